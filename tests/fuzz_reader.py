"""Damaged .tflite files through the front of the line: inspect, optimize, lower, lay out.

    python -m tests.fuzz_reader --files 200000 --seed 0 [--only NUMBER --save FILE]

Files are real ones ($TINYCOMPILER_MODELS, the bundled classifier, the wake words where `pymicro_wakeword` is installed)
and drafts of `tests.fuzz_steps`. They are damaged byte by byte, or field by field: decoded by the reader's own schema
tables, changed to an extreme, encoded again. What must come of each: a graph, or ModelError with one plain line for
each blocker; a refusal in a second of processor time; nothing above 500 MB. Files are tried in a child process with a
limit on its memory. The last line is one JSON object.
"""

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import numpy as np

from tests.fuzz_graphs import Died, cpu_seconds, isolated, reason, told
from tests.fuzz_steps import drawn
from tests.tflite_builder import encode
from tinycompiler import memory
from tinycompiler.board import CORES
from tinycompiler.errors import ModelError
from tinycompiler.kernels import lower
from tinycompiler.lifetimes import lay_out
from tinycompiler.ops import Numerics
from tinycompiler.passes import optimize
from tinycompiler.readers import schema
from tinycompiler.readers.flatbuffer import FIELDS, SCALARS, Decoder, Field
from tinycompiler.readers.network import inspect

MODELS = Path(os.environ.get("TINYCOMPILER_MODELS", Path(__file__).parents[2] / "shared" / "models"))
DRAFTS = 80
SECONDS = 1.0
"""Of processor time, for a refusal."""
LONGEST = 10.0
"""For a network that is accepted, however large."""
BYTES = 500_000_000
CHUNK = 250
"""Files of one child."""

Rng = np.random.Generator


# What is damaged.


@dataclass(frozen=True, eq=False)
class Base:
    """A sound file; `hot` are the places of all bytes that are not in the midst of weights."""

    name: str
    data: bytes
    values: dict[str, Any]
    hot: Any


def base(name: str, data: bytes) -> Base:
    values = Decoder(data, []).root("Model")
    cold = np.zeros(len(data), bool)
    for buffer in values["buffers"]:
        stored = bytes(buffer["data"])
        start = data.find(stored) if len(stored) > 64 else -1
        if start >= 0:
            cold[start + 16 : start + len(stored) - 16] = True
    return Base(name, data, values, np.flatnonzero(~cold))


@cache
def bases() -> tuple[tuple[Base, ...], Any]:
    """Every base, and its chance: small ones are tried more often, as they are faster."""
    folders = [MODELS, Path(__file__).parent / "models"]
    wake_words = find_spec("pymicro_wakeword")
    if wake_words and wake_words.origin:
        folders.append(Path(wake_words.origin).parent)
    paths = sorted(path for folder in folders for path in folder.rglob("*.tflite"))
    found = [base(path.name, path.read_bytes()) for path in paths]
    drafts = [base(f"draft {seed}", drawn(seed).model()) for seed in range(DRAFTS)]
    chances = np.array([1 / max(20_000, len(b.data)) for b in found])
    chances = chances / max(chances.sum(), 1e-9) * 0.4
    rest = (1 - chances.sum()) / DRAFTS
    return (*found, *drafts), np.append(chances, np.full(DRAFTS, rest))


# Damage to bytes.

WORDS = (0, 1, 2, 3, 4, 8, 16, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFF0)
ODD_BYTES = (0, 1, 2, 4, 0x7F, 0x80, 0xFE, 0xFF)


def flip_bits(b: Base, rng: Rng) -> bytes:
    data = bytearray(b.data)
    for at in _places(b, rng):
        data[at] ^= 1 << int(rng.integers(8))
    return bytes(data)


def odd_bytes(b: Base, rng: Rng) -> bytes:
    data = bytearray(b.data)
    for at in _places(b, rng):
        data[at] = int(rng.choice(ODD_BYTES))
    return bytes(data)


def odd_words(b: Base, rng: Rng) -> bytes:
    data = bytearray(b.data)
    for at in _places(b, rng):
        start = int(at) & ~3
        word = int(rng.choice((*WORDS, len(data), len(data) - start, int(rng.integers(2**32)))))
        data[start : start + 4] = word.to_bytes(4, "little")
    return bytes(data[: len(b.data)])


def _places(b: Base, rng: Rng) -> list[int]:
    count = int(rng.integers(1, 9)) if rng.random() < 0.7 else 1
    return [int(v) for v in rng.choice(b.hot, count)]


def truncate(b: Base, rng: Rng) -> bytes:
    return b.data[: int(rng.integers(len(b.data)))] + bytes(int(rng.integers(2)) * int(rng.integers(100)))


def move_bytes(b: Base, rng: Rng) -> bytes:
    """A stretch of the file over another, or taken out, or in once more."""
    at, source = (int(v) for v in rng.choice(b.hot, 2))
    size = int(rng.integers(1, 64))
    kept = int(rng.choice((0, size)))
    return b.data[:at] + b.data[source : source + size * int(rng.integers(2))] + b.data[at + kept :]


def splice(b: Base, rng: Rng) -> bytes:
    """The beginning of one file and the end of another."""
    found, _ = bases()
    other = found[int(rng.integers(len(found)))].data
    at = int(rng.integers(len(b.data)))
    return b.data[:at] + other[min(at, len(other)) if rng.random() < 0.5 else int(rng.integers(len(other))) :]


# Damage to fields.

TEXTS = ("", "\n", "a\r\nb", "x" * 3000, "\x1b[31mred", "*/", 'a"b\\', "ü\u202e", "\0", "input", "%s{}", "//\\\n")
FLOATS = (0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1e-45, 1e-38, 3e38, -1.0, 1e-12, 1e12, 1.0)
INTEGERS = (0, 1, -1, 2, 3, 5, 127, 128, 255, -128, 32767, 65536, 10**6, 2**28, 2**31 - 1, -(2**31), 2**40, 2**63 - 1)


def fields(b: Base, rng: Rng) -> bytes:
    """One to three fields changed, anywhere in the tree."""
    model = _thawed("Model", b.values)
    for _ in range(int(rng.choice((1, 1, 1, 2, 3)))):
        places = list(_walk("Model", model))
        # a table far down is one of many: every kind of field has the same chance
        kinds = sorted({(table, f.name) for table, _, f in places})
        kind = kinds[int(rng.integers(len(kinds)))]
        same = [(values, f) for table, values, f in places if (table, f.name) == kind]
        values, chosen = same[int(rng.integers(len(same)))]
        donors = [v[chosen.name] for v, _ in same if v[chosen.name] is not None]
        values[chosen.name] = _changed(chosen, values[chosen.name], donors, rng)
    return encode(model)


def _thawed(table: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The decoded table with dictionaries and lists that can be changed."""
    result: dict[str, Any] = {}
    for f in FIELDS.get(table, ()):
        value = values.get(f.name)
        if f.kind == "-" or value is None:
            continue
        match f.kind:
            case "table":
                result[f.name] = _thawed(f.of, value)
            case "tables":
                result[f.name] = [_thawed(f.of, item) for item in value]
            case "union":
                result[f.name] = (value[0], _thawed(*value))
            case "bytes":
                result[f.name] = bytes(value)
            case "scalars":
                result[f.name] = list(value)
            case _:
                result[f.name] = value
    return result


def _walk(table: str, values: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], Field]]:
    for f in FIELDS.get(table, ()):
        value = values.get(f.name)
        if f.kind == "-" or value is None:
            continue
        yield table, values, f
        if f.kind == "table":
            yield from _walk(f.of, value)
        elif f.kind == "union":
            yield from _walk(*value)
        elif f.kind == "tables":
            for item in value:
                yield from _walk(f.of, item)


def _changed(f: Field, value: Any, donors: Sequence[Any], rng: Rng) -> Any:
    """An extreme of the field's kind, or what another table has there."""
    if donors and rng.random() < 0.2:
        return donors[int(rng.integers(len(donors)))]
    match f.kind:
        case "scalar":
            return _scalar(f.of, rng)
        case "string":
            return str(rng.choice(TEXTS))
        case "bytes":
            cut = value[: int(rng.integers(len(value) + 1))]
            return [cut, b"", value + b"\0", rng.bytes(min(len(value), 4096))][int(rng.integers(4))]
        case "table":
            return None
        case "union":
            name = schema.UNIONS[f.of][int(rng.integers(1, len(schema.UNIONS[f.of])))]
            return None if rng.random() < 0.4 else (name, {})
        case "scalars":
            return _list(value, lambda: _scalar(f.of, rng), rng)
        case _:
            return _list(value, dict, rng)


def _scalar(of: str, rng: Rng) -> Any:
    if of == "bool":
        return bool(rng.integers(2))
    if of == "float32":
        return float(rng.choice(FLOATS))
    flags = SCALARS[of]
    fitting = [v for v in INTEGERS if flags.min_val <= v <= flags.max_val]
    return int(fitting[int(rng.integers(len(fitting)))])


def _list(value: Sequence[Any], new: Callable[[], Any], rng: Rng) -> list[Any]:
    """The list with one entry changed, gone, twice, elsewhere, or very many of them."""
    items = list(value)
    at = int(rng.integers(len(items))) if items else 0
    match int(rng.integers(9)):
        case 0 | 1 | 2 if items:
            items[at] = new()
        case 3:
            del items[at : at + 1]
        case 4:
            items.insert(at, items[at] if items else new())
        case 5:
            items.reverse()
        case 6:
            items = []
        case 7:
            items = (items or [new()]) * int(rng.integers(2, 40))
        case _:
            items.insert(at, new())
    return items


DAMAGE: Mapping[str, tuple[Callable[[Base, Rng], bytes], float]] = {
    "bits": (flip_bits, 0.15),
    "bytes": (odd_bytes, 0.1),
    "words": (odd_words, 0.12),
    "truncated": (truncate, 0.03),
    "moved": (move_bytes, 0.05),
    "spliced": (splice, 0.05),
    "fields": (fields, 0.5),
}


def damaged(seed: int, number: int) -> tuple[str, bytes]:
    """(what was done to which file, the file)."""
    rng = np.random.default_rng([seed, number])
    found, chances = bases()
    chosen = found[int(rng.choice(len(found), p=chances))]
    kind = str(rng.choice(list(DAMAGE), p=[chance for _, chance in DAMAGE.values()]))
    return f"{kind} of {chosen.name}", DAMAGE[kind][0](chosen, rng)


# What becomes of a file.


class Hang(BaseException):
    """Nothing came of a file in far too long."""


@dataclass
class Found:
    """What became of a file: "graph", "refused", or "wrong" with the words."""

    kind: str
    words: str = ""
    seconds: float = 0.0
    bytes: int = 0


def front(path: Path, number: int) -> Found:
    """The front of the line on a file, judged."""
    before, began = _resident("VmRSS"), time.process_time()
    _forget_peak()
    signal.setitimer(signal.ITIMER_PROF, 2 * LONGEST)
    try:
        found = Found("graph", _accepted(path, number))
    except ModelError as refusal:
        found = Found("refused", str(refusal))
        if isinstance(refusal.__cause__, MemoryError):
            found = Found("wrong", f"MemoryError, translated: {refusal}")
    except Exception as problem:
        found = Found("wrong", told(problem))
    except Hang as hang:
        found = Found("wrong", f"hangs: {told(hang)}")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    found.seconds = time.process_time() - began
    found.bytes = _resident("VmHWM") - before
    return _judged(found)


def _accepted(path: Path, number: int) -> str:
    inspected = inspect(path, tuple(Numerics)[number // 2 % 2])
    if inspected.graph is None:
        assert inspected.blockers, "neither a graph nor a blocker"
        raise ModelError("\n".join(map(str, inspected.blockers)))
    core = ("cortex-m4f", "cortex-m0plus")[number % 2]
    with patch("tinycompiler.regions.place", partial(memory.place, effort=100)):
        lay_out(lower(optimize(inspected.graph), CORES[core]))
    return ""


def _judged(found: Found) -> Found:
    if found.kind == "wrong":
        return found
    limit = SECONDS if found.kind == "refused" else LONGEST
    if found.seconds > limit:
        return Found("wrong", f"{found.kind} after {found.seconds:.1f} s: {found.words[:300]}", found.seconds)
    if found.bytes > BYTES:
        return Found("wrong", f"{found.kind} with {found.bytes:,} bytes: {found.words[:300]}")
    lines = found.words.split("\n") if found.kind == "refused" else []
    odd = [line for line in lines if not line.strip() or not line.isprintable() or len(line) > 2000]
    if odd:
        return Found("wrong", f"not a plain line: {odd[0][:300]!r}")
    return found


def _resident(key: str) -> int:
    """Bytes, by the kernel's own account of this process; 0 where there is none."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(key)), 0)


def _forget_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def limited() -> None:
    """For a child: twice the memory that is allowed, so that what asks for far more fails; hangs raise."""
    most = _resident("VmData") + 2 * BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))

    def stop(_: int, frame: FrameType | None) -> None:
        raise Hang

    signal.signal(signal.SIGPROF, stop)


def chunk(send: Callable[[Any], None], seed: int, numbers: Sequence[int], path: Path) -> list[tuple[int, str, Found]]:
    """What becomes of the damaged files of these numbers, each put at `path` in turn."""
    limited()
    results = []
    for number in numbers:
        send((number, "damage"))
        what, data = damaged(seed, number)
        send((number, what))
        path.write_bytes(data)
        found = front(path, number)
        if found.kind == "wrong" and " after " in found.words:  # once more: another process may have had the caches
            found = front(path, number)
        results.append((number, what, found))
    return results


# The run.


@dataclass
class Tally:
    """Figures of a run."""

    kinds: Counter[str] = field(default_factory=Counter)
    damage: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)
    slowest: float = 0.0
    largest: int = 0
    started: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)

    def take(self, number: int, what: str, found: Found) -> None:
        self.kinds[found.kind] += 1
        self.damage[f"{what.split()[0]}: {found.kind}"] += 1
        if found.kind == "wrong":
            self.failures.append({"number": number, "what": what, "words": found.words})
            print(f"FAILURE --only {number} ({what}): {found.words}", flush=True)
        elif found.kind == "refused":
            self.reasons[reason(found.words)] += 1
            self.slowest = max(self.slowest, found.seconds)
        self.largest = max(self.largest, found.bytes)

    def progress(self, wanted: int) -> None:
        now = time.monotonic()
        if now - self.told >= 10:
            self.told = now
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
            print(f"{now - self.started:.0f} s: {sum(self.kinds.values())} of {wanted} files: {kinds}", flush=True)

    def summary(self, seed: int) -> dict[str, Any]:
        return {
            "fuzz": "reader",
            "seed": seed,
            "files": sum(self.kinds.values()),
            **{kind: self.kinds[kind] for kind in ("graph", "refused", "wrong")},
            "seconds": round(time.monotonic() - self.started, 1),
            "cpu_seconds": cpu_seconds(),
            "slowest_refusal_s": round(self.slowest, 3),
            "largest_mb": round(self.largest / 1e6, 1),
            "damage": dict(sorted(self.damage.items())),
            "distinct_reasons": len(self.reasons),
            "failures": self.failures[:200],
        }


def fuzz(seed: int, numbers: Sequence[int], tally: Tally) -> None:
    """All the files of these numbers."""
    bases()  # once, for all children
    with tempfile.TemporaryDirectory(prefix="tinycompiler-") as folder:
        path = Path(folder) / "model.tflite"
        waiting = list(numbers)
        while waiting:
            part, waiting = waiting[:CHUNK], waiting[CHUNK:]
            results = isolated(chunk, seed, part, path, pulse=lambda: tally.progress(len(numbers)))
            if isinstance(results, Died):
                tally.take(results.seed, results.stage, Found("wrong", f"the process died: {results.words}"))
                # what was done before is done again, without the one
                waiting = [n for n in part if n != results.seed] + waiting
                continue
            for number, what, found in results:
                tally.take(number, what, found)
            tally.progress(len(numbers))


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_reader", description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="the first number")
    parser.add_argument("--only", type=int, default=None, metavar="NUMBER")
    parser.add_argument("--save", type=Path, default=None, help="with --only: where to leave the file")
    options = parser.parse_args(given)
    numbers: Sequence[int] = range(options.start, options.start + options.files)
    if options.only is not None:
        numbers = [options.only]
        if options.save:
            options.save.write_bytes(damaged(options.seed, options.only)[1])
    tally = Tally()
    fuzz(options.seed, numbers, tally)
    summary = tally.summary(options.seed)
    if options.only is not None:
        summary["reasons"] = dict(tally.reasons)
    print(json.dumps(summary), flush=True)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
