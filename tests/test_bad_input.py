"""Bad input from outside: each file or array gets one clear sentence a line, exit 3 (2 for usage), in a second and in
500 MB, and leaves nothing behind.

`python -m tests.test_bad_input` prints the figures of all cases, each a process of its own, since starting Python and
importing count too.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from struct import pack
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest

from tests.commands import DIGITS, say, tree
from tests.test_check import Model
from tests.test_fuzz import with_entries
from tests.tflite_builder import encode

SECONDS = 1.0
"""Of processor time; the wall's depend on what else runs."""
SLACK = 3.0
"""For slow machines, in tests."""
MEGABYTES = 500
BOARD = ("-b", "bluepill")
ROOT = Path(__file__).parents[1]
CACHE = tempfile.TemporaryDirectory(prefix="tinycompiler-")


@dataclass(frozen=True)
class Case:
    """Files by name, the command on them, its exit code, and words that its answer must have."""

    command: Sequence[str]
    files: Callable[[], Mapping[str, bytes]]
    code: int
    words: str


@dataclass(frozen=True)
class Told:
    """What a process said and took."""

    code: int
    out: str
    err: str
    seconds: float
    megabytes: float
    left: Mapping[str, bytes]


def environment() -> dict[str, str]:
    """This process's, and modules are compiled once, as in an installation."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": CACHE.name}


def saved(case: Case, folder: Path) -> Mapping[str, bytes]:
    """The case's files, which are in the folder now."""
    files = case.files()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return files


def told(case: Case, folder: Path) -> Told:
    """Runs the case in an empty folder."""
    files = saved(case, folder)
    command = [sys.executable, "-m", "tinycompiler.cli", *case.command]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=err, env=environment())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        left = {name: data for name, data in tree(folder).items() if name not in files}
        seconds = usage.ru_utime + usage.ru_stime
        return Told(process.returncode, out.read(), err.read(), seconds, usage.ru_maxrss / 1024, left)


# Files.


def digits() -> bytes:
    return DIGITS.read_bytes()


def flipped(seed: int) -> bytes:
    """One bit in sixteen places among the tables."""
    rng, data = np.random.default_rng(seed), bytearray(digits())
    for place in rng.integers(8, len(data), 16):
        data[place] ^= 1 << int(rng.integers(8))
    return bytes(data)


def noise(seed: int) -> bytes:
    return pack("<I", 16) + b"TFL3" + np.random.default_rng(seed).bytes(100_000)


def with_root(offset: int) -> bytes:
    return pack("<I", offset) + digits()[4:]


def with_vtable(distance: int) -> bytes:
    """The root table's vtable elsewhere."""
    data = bytearray(digits())
    root = int.from_bytes(data[:4], "little")
    data[root : root + 4] = pack("<i", distance)
    return bytes(data)


def model(build: Callable[[Model], object]) -> bytes:
    made = Model("bad")
    build(made)
    return encode(made.finish())


def relu(**source: Any) -> bytes:
    return model(lambda m: m.unary("RELU", source, {}))


def quantized(*scales: float, zero_points: Sequence[int] = (0,), axis: int = 0, shape: Sequence[int] = (1, 4)) -> bytes:
    quantization = {"scale": list(scales), "zero_point": list(zero_points), "quantized_dimension": axis}
    return relu(shape=shape, quantization=quantization)


def in_a_circle(m: Model) -> None:
    x, a, b, y = m.t(), m.t(), m.t(), m.t()
    m.op("ADD", [x, b], [a])
    m.op("RELU", [a], [b])
    m.op("RELU", [b], [y])


def itself(m: Model) -> None:
    x = m.t()
    m.op("RELU", [x], [x])


def twice(m: Model) -> None:
    x, y = m.t(), m.t()
    for name in ("RELU", "ABS"):
        m.op(name, [x], [y])


def weights(data: bytes) -> bytes:
    def build(m: Model) -> None:
        x, y = m.t(), m.t((1, 2))
        m.op("FULLY_CONNECTED", [x, m.t((2, 4), data=data), None], [y])

    return model(build)


def many(count: int, name: str = "RELU", **source: Any) -> bytes:
    """`count` operators on tensors of their own."""

    def build(m: Model) -> None:
        for _ in range(count):
            m.unary(name, source, {})

    return model(build)


def with_subgraphs(*operators: tuple[str, dict[str, int]]) -> bytes:
    """Subgraphs of one operator each."""
    tables = [versioned_call(name, options) for name, options in operators]
    codes = [table["operator_codes"][0] for table in tables]
    subgraphs = [table["subgraphs"][0] for table in tables]
    for number, subgraph in enumerate(subgraphs):
        subgraph["operators"][0]["opcode_index"] = number
    return encode({**tables[0], "operator_codes": codes, "subgraphs": subgraphs})


def versioned_call(name: str, options: dict[str, int]) -> dict[str, Any]:
    m = Model("calls")
    if name == "CALL_ONCE":
        m.unary("RELU", {}, {})
        m.op(name, [], [], options=options)
        m._operators.reverse()
        m._codes.reverse()
        for number, operator in enumerate(m._operators):
            operator["opcode_index"] = number
    else:
        m.unary(name, {}, {}, options=options)
    return m.finish()


# Arrays.


def npy(array: Any) -> bytes:
    stream = BytesIO()
    np.save(stream, np.asarray(array))
    return stream.getvalue()


def claimed(shape: str, kind: str = "|i1") -> bytes:
    """An .npy file whose header promises an array of that shape, and which ends there."""
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + pack("<H", len(header)) + header.encode()


def bomb() -> bytes:
    """A small archive of a large array of zeros."""
    stream = BytesIO()
    with ZipFile(stream, "w", ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as entry:
        entry.write(claimed("(600, 1, 1048576)"))
        for _ in range(600):
            entry.write(bytes(1 << 20))
    return stream.getvalue()


def float_network() -> bytes:
    """Four floats that are quantized."""
    return model(lambda m: m.unary("QUANTIZE", {"dtype": "float32", "scales": None}, {}))


def broken(make: Callable[[], bytes], words: str) -> Case:
    return Case(("check", "bad.tflite"), lambda: {"bad.tflite": make()}, 3, words)


def given(name: str, make: Callable[[], bytes], words: str, network: Callable[[], bytes] = digits) -> Case:
    command = ("verify", "good.tflite", *BOARD, "--input", name)
    return Case(command, lambda: {"good.tflite": network(), name: make()}, 2, words)


CALLS = "control flow into one of 2 subgraphs"
CASES: dict[str, Case] = {
    "empty": broken(lambda: b"", "it has 0 bytes only"),
    **{
        f"truncated to {p} %": broken(lambda p=p: digits()[: len(digits()) * p // 100], "truncated")
        for p in (5, 50, 99)
    },
    **{f"noise {seed}": broken(lambda seed=seed: noise(seed), "broken or truncated") for seed in range(3)},
    **{f"flipped {seed}": broken(lambda seed=seed: flipped(seed), "bad.tflite: ") for seed in range(6)},
    "a root outside": broken(lambda: with_root(1 << 31), "leads outside"),
    "a root at the identifier": broken(lambda: with_root(4), "broken or truncated"),
    "a vtable before the file": broken(lambda: with_vtable(1 << 20), "before the file"),
    "a vtable behind the file": broken(lambda: with_vtable(-(1 << 20)), "it ends too early"),
    "a million operators": broken(lambda: with_entries("operators", 1_000_000, distinct=True), "has so many"),
    "a million times one tensor": broken(lambda: with_entries("tensors", 1_000_000, distinct=False), "has so many"),
    "as many operators as are read": broken(
        lambda: many(3000, "EMBEDDING_LOOKUP"), "EMBEDDING_LOOKUP is not supported"
    ),
    "as many sentences": broken(lambda: many(3000, dtype="uint8"), "3000 blockers"),
    "values in a circle": broken(lambda: model(in_a_circle), "which nothing before it computes"),
    "an operator on itself": broken(lambda: model(itself), "which nothing before it computes"),
    "a value computed twice": broken(lambda: model(twice), "has a value already"),
    "a negative size": broken(lambda: relu(shape=(1, -4)), "dynamic shape [1, -4]"),
    "a size of zero": broken(lambda: relu(shape=(1, 0)), "dynamic shape [1, 0]"),
    "a huge size": broken(lambda: relu(shape=(1, 2**31 - 1)), "more than any board has room for"),
    "huge sizes": broken(lambda: relu(shape=(2**31 - 1,) * 8), "more than any board has room for"),
    "a thousand axes": broken(lambda: relu(shape=(2**31 - 1,) * 1000), "a shape of 1000 axes"),
    "a scale of zero": broken(lambda: quantized(0.0), "a scale of 0.0"),
    "a scale of NaN": broken(lambda: quantized(float("nan")), "a scale of nan"),
    "a scale of infinity": broken(lambda: quantized(float("inf")), "a scale of inf"),
    "a subnormal scale": broken(lambda: quantized(1e-42), "a scale of 1.0"),
    "a negative scale": broken(lambda: quantized(-0.5), "a scale of -0.5"),
    "a zero point outside": broken(lambda: quantized(0.5, zero_points=[128]), "a zero point outside -128 to 127"),
    "a huge zero point": broken(lambda: quantized(0.5, zero_points=[2**63 - 1]), "a zero point outside"),
    "an axis outside": broken(lambda: quantized(*[0.5] * 4, zero_points=[0] * 4, axis=7), "4 scales for axis 7 of 2"),
    "a negative axis": broken(lambda: quantized(*[0.5] * 4, zero_points=[0] * 4, axis=-1), "4 scales for axis -1 of 2"),
    "too few scales": broken(lambda: quantized(0.5, 0.5, zero_points=[0, 0], axis=1), "2 scales for 4 channels"),
    "too few zero points": broken(
        lambda: quantized(*[0.5] * 4, zero_points=[0, 0], axis=1), "2 zero points for 4 scales"
    ),
    "a short buffer": broken(lambda: weights(bytes(7)), "has 7 bytes instead of 8"),
    "a long buffer": broken(lambda: weights(bytes(9)), "has 9 bytes instead of 8"),
    "a loop into itself": broken(lambda: with_subgraphs(*[("WHILE", {"body_subgraph_index": 0})] * 2), CALLS),
    "branches into each other": broken(
        lambda: with_subgraphs(("IF", {"then_subgraph_index": 1}), ("IF", {"then_subgraph_index": 0})), CALLS
    ),
    "an initialization by itself": broken(
        lambda: with_subgraphs(("CALL_ONCE", {"init_subgraph_index": 0}), ("RELU", {})), "subgraph 0 is not there"
    ),
    "initializations in a circle": broken(
        lambda: with_subgraphs(*[("CALL_ONCE", {"init_subgraph_index": 1})] * 2), "only constants can be assigned"
    ),
    "an array of another shape": given(
        "x.npy", lambda: npy(np.zeros((1, 9), np.int8)), "has shape (1, 9), wanted int8"
    ),
    "an array of another type": given("x.npy", lambda: npy(np.zeros((1, 8, 8, 1))), "is float64, wanted int8"),
    "an array of objects": given("x.npy", lambda: npy(np.array([{}])), "no array of numbers"),
    "an array of text": given("x.npy", lambda: npy(np.array(["a"])), "is <U1, wanted int8"),
    "an array that ends early": given("x.npy", lambda: npy(np.zeros((1, 8, 8, 1), np.int8))[:-9], "cannot be read"),
    "an array that promises a terabyte": given("x.npy", lambda: claimed("(1099511627776,)"), "cannot be read"),
    "an array of negative size": given("x.npy", lambda: claimed("(-1,)"), "cannot be read"),
    "an archive that unpacks to 600 MB": given("x.npz", bomb, "unpacks to more than"),
    "noise for an array": given("x.npy", lambda: noise(5), "cannot be read"),
    "NaN": given("x.npy", lambda: npy(np.full((1, 4), np.nan, np.float32)), "holds nan", float_network),
    "infinity": given("x.npy", lambda: npy(np.full((1, 4), -np.inf, np.float32)), "holds -inf", float_network),
    "a float beyond int32": given(
        "x.npy", lambda: npy(np.full((1, 4), 1e30, np.float32)), "holds 1.0000", float_network
    ),
    "an unknown signature": Case(("check", "x.tflite", "--signature", "y"), lambda: {"x.tflite": digits()}, 2, "'y'"),
}


def verdict(case: Case, found: Told, slack: float) -> str:
    """What is wrong with what became of a case; nothing when all is well."""
    lines = (found.out if case.command[0] == "check" and found.out else found.err).splitlines()
    problems = {
        "exit code": found.code != case.code,
        "traceback": "Traceback" in found.err,
        "words": not any(case.words in line for line in lines),
        "both streams": bool(found.out and found.err),
        "no plain line": any(not line.isprintable() or not line for line in lines),
        "something left behind": bool(found.left),
        "time": found.seconds > SECONDS * slack,
        "memory": found.megabytes > MEGABYTES,
    }
    return ", ".join(what for what, wrong in problems.items() if wrong)


HEAVY = (
    *("empty", "truncated to 99 %", "noise 0", "a million operators", "a million times one tensor", "huge sizes"),
    *("as many operators as are read", "as many sentences", "an array that promises a terabyte", "NaN"),
    "an archive that unpacks to 600 MB",
)
"""What might take long or much, and what is usual, to compare with."""


@pytest.mark.parametrize("what", [what for what in CASES if what not in HEAVY])
def test_bad_input(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, since only a few cases could be slow."""
    case = CASES[what]
    before = saved(case, tmp_path)
    monkeypatch.chdir(tmp_path)
    said = say(*case.command)
    left = {name: data for name, data in tree(tmp_path).items() if name not in before}
    found = Told(said.code, said.out, said.err, 0, 0, left)
    assert verdict(case, found, 1) == "", found


@pytest.mark.slow
@pytest.mark.parametrize("what", HEAVY)
def test_bad_input_takes_neither_long_nor_much(what: str, tmp_path: Path) -> None:
    found = told(CASES[what], tmp_path)
    assert verdict(CASES[what], found, SLACK) == "", found


def main() -> int:
    """All cases with their figures, and a verdict without slack."""
    wrong = 0
    subprocess.run(
        [sys.executable, "-m", "tinycompiler.cli", "boards"], env=environment(), check=True, capture_output=True
    )
    for what, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            found = told(case, Path(folder))
        problem = verdict(case, found, 1.0)
        wrong += bool(problem)
        first = (found.out + found.err).splitlines()
        figures = f"{found.seconds:5.2f} s {found.megabytes:5.0f} MB"
        print(f"{figures}  {what}: {problem or 'well'}: {first[min(1, len(first) - 1)][:150]}")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
