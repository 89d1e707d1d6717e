"""Random small networks through the whole line, against the interpreters that say what the bytes are.

    python -m tests.fuzz_graphs --graphs 20000 --seed 0 [--batch 100] [--board nucleo_l4r5zi] [--host] [--only SEED]

Each network (`tests.fuzz_steps`) is read from the bytes of a .tflite file. Held to one another, for every trial input:
the judge, `evaluate` of the graph as read, `evaluate` of the optimized graph, and what the emulated board (or with
`--host` this machine under sanitizers) prints. Held to its bounds: the plan. Many networks are one program, as one
compilation and one run of an emulator cost more than a hundred networks do. Half of the networks run with the kernels
that are best, the others with any that take a node.

Everything that may crash runs in a child process, one at a time. A failure is made smaller, operator by operator, and
printed with the seed for `--only`. The last line is one JSON object.
"""

import argparse
import json
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any
from unittest.mock import patch

import numpy as np

from tests.draws import graph_of
from tests.fuzz_drafts import Draft
from tests.fuzz_steps import STEPS, drawn
from tests.judges import judge
from tests.programs import joined, program_of
from tinycompiler import memory
from tinycompiler.board import Core, load
from tinycompiler.build import build
from tinycompiler.emulators import run
from tinycompiler.errors import ModelError
from tinycompiler.graph import Graph
from tinycompiler.host import run_on_host
from tinycompiler.kernels import Site, Wishes, lower, options
from tinycompiler.lifetimes import ALIGNMENT, lay_out
from tinycompiler.ops import Numerics, Reshape
from tinycompiler.passes import optimize
from tinycompiler.readers.operators import OPERATORS
from tinycompiler.tensor import Array, DType, Tensor
from tinycompiler.vectors import Vector

Feeds = dict[str, Array]

BOARDS = ("nucleo_l4r5zi", "rpi_pico")
"""A Cortex-M4 and a Cortex-M0+, in turn."""
RUNS = 10_000_000
"""Seeds of one `--seed`."""
TRIALS = 5
"""One after another: states go on from each to the next."""
EFFORT = 300
"""Of the planner for one network: its bounds are what is checked, and the last byte is another test's matter."""
SILENCE = 600.0
"""Seconds without a word after which a child is taken to hang."""


class Wrong(Exception):
    """A failure; `stage` is where, the message what."""

    def __init__(self, stage: str, words: str) -> None:
        super().__init__(words)
        self.stage = stage


class Skipped(Exception):
    """A network that is not tried to the end; `stage` is who refuses it."""

    def __init__(self, stage: str, words: str) -> None:
        super().__init__(words)
        self.stage = stage


@dataclass(frozen=True)
class Place:
    """Where networks are tried, and whose numerics they follow."""

    board: str
    numerics: Numerics
    host: bool = False


def place_of(seed: int, board: str | None, host: bool) -> Place:
    """The boards take turns, and every third pair of networks follows TensorFlow Lite Micro."""
    numerics = Numerics.TFLM if seed // 2 % 3 == 2 else Numerics.LITERT
    return Place(board or BOARDS[seed % 2], numerics, host)


@dataclass(frozen=True, eq=False)
class Tried:
    """A network that passed everything but the device."""

    seed: int
    graph: Graph
    """Optimized."""
    trials: list[Feeds]
    wanted: list[list[bytes]]
    """Of each trial, each output's bytes."""


@dataclass(frozen=True)
class Outcome:
    """What became of a network: "exact", "wrong", or who refused it."""

    seed: int
    kind: str
    stage: str = ""
    words: str = ""
    operators: tuple[str, ...] = ()


# One network, without a device.


def trials_of(graph: Graph, seed: int) -> list[Feeds]:
    """By turns random values; one level for each input; any mixture of levels and random values."""
    rng = np.random.default_rng(seed)
    inputs = [graph.tensors[name] for name in graph.inputs]
    return [{t.name: _values(t, rng, trial % 3) for t in inputs} for trial in range(TRIALS)]


def _values(t: Tensor, rng: np.random.Generator, trial: int) -> Array:
    if t.dtype is DType.FLOAT32:
        return (rng.normal(0, (2, 300, 0.01)[trial], t.shape)).astype(np.float32)
    if t.dtype is DType.BOOL:
        return rng.integers(0, 2, t.shape).astype(bool)
    low, high = t.dtype.range if t.dtype.bytes < 4 else (-1000, 1000)
    random = rng.integers(low, high + 1, t.shape)
    levels = np.array([low, high, t.zero_point])
    if trial == 1:
        random = np.full(t.shape, rng.choice(levels))
    elif trial == 2:
        random = np.where(rng.random(t.shape) < 0.25, random, rng.choice(levels, t.shape))
    return random.astype(t.dtype.numpy)


def attempt(seed: int, draft: Draft, place: Place, tell: Callable[[str], None] = lambda _: None) -> Tried:
    """Everything but the device. Raises Wrong or Skipped; any other exception is a failure at the stage told last."""
    tell("read")
    model = draft.model()
    try:
        graph = graph_of(model, place.numerics)
        tell("lower")
        optimized = optimize(graph)
        tell("plan")
        _check_plan(optimized, place)
    except ModelError as refusal:
        raise Skipped("refused", str(refusal)) from refusal
    trials = trials_of(graph, seed)
    tell("judge")
    try:
        judged = judge(model, graph, trials)
    except (RuntimeError, ValueError, SystemError) as refusal:
        raise Skipped("judge", f"{place.numerics.value}: {refusal}") from refusal
    tell("evaluate")
    wanted = []
    steps = zip(judged, evaluations(graph, trials), evaluations(optimized, trials), strict=True)
    for number, (theirs, values, again) in enumerate(steps):
        ours = [values[name] for name in graph.outputs]
        for name, mine, other in zip(graph.outputs, ours, theirs, strict=True):
            _same("evaluate", f"trial {number}, {name} against the judge", mine, other)
        for name, mine, same in zip(graph.outputs, ours, optimized.outputs, strict=True):
            _same("optimize", f"trial {number}, {name} of the optimized graph", again[same], mine)
        wanted.append([np.ascontiguousarray(value).tobytes() for value in ours])
    return Tried(seed, optimized, trials, wanted)


def evaluations(graph: Graph, trials: Sequence[Feeds]) -> Iterator[Feeds]:
    """All values of each trial, states carried on."""
    state: Feeds = {}
    for feeds in trials:
        values = graph.evaluate({**feeds, **state})
        state = {s.tensor: values[s.next] for s in graph.states}
        yield values


def _check_plan(graph: Graph, place: Place) -> None:
    """The plan overlaps nowhere, and is between its bound and what tensors beside one another would take."""
    calls = lower(graph, load(place.board).core)
    with patch("tinycompiler.regions.place", partial(memory.place, effort=EFFORT)):
        layout = lay_out(calls)
    memory.check(layout.plan)
    buffers = {*graph.inputs, *(name for call in calls.calls for name in call.node.outputs)} - set(layout.states)
    sizes = [graph.tensors[name].bytes for name in buffers if not graph.tensors[name].is_constant]
    sizes += [call.scratch for call in calls.calls]
    naive = sum(-(-size // ALIGNMENT) * ALIGNMENT for size in sizes)
    arena, bound = layout.plan.arena, layout.plan.lower_bound
    if not bound <= arena <= naive:
        raise Wrong("plan", f"an arena of {arena} bytes, bound {bound}, tensors side by side {naive}")


def _same(stage: str, what: str, found: Array, wanted: Array) -> None:
    """Bytes of one type and shape; else Wrong with the first difference."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        raise Wrong(stage, f"{what}: {found.dtype} {found.shape}, not {wanted.dtype} {wanted.shape}")
    if np.ascontiguousarray(found).tobytes() == np.ascontiguousarray(wanted).tobytes():
        return
    at = int(np.flatnonzero((found != wanted).ravel())[0]) if (found != wanted).any() else 0
    count = int((found != wanted).sum())
    raise Wrong(
        stage,
        f"{what}: {count} of {found.size} differ, first {at}: {found.ravel()[at]}, not {wanted.ravel()[at]}",
    )


# Many networks on a device.


class TooLarge(Exception):
    """The networks do not fit on the board together."""


def device_outputs(tried: Sequence[Tried], place: Place) -> list[tuple[bytes, ...]]:
    """Of each trial, every output of the networks together, as the device says them."""
    board = load(place.board)
    chosen = {
        f"{i}_{node}": kernel
        for i, each in enumerate(tried)
        for node, kernel in any_kernels(each.graph, board.core, each.seed).items()
    }
    calls = lower(joined([each.graph for each in tried]), board.core, Wishes(chosen=chosen))
    program = program_of(calls)
    vectors = [
        Vector(f"trial {i}", tuple(t.trials[i][name] for t in tried for name in t.graph.inputs)) for i in range(TRIALS)
    ]
    if place.host:
        sizes = [calls.graph.tensors[name].bytes for name in calls.graph.outputs]
        return list(run_on_host(program, vectors, sizes).outputs)
    elf = build(program, board, vectors=[v.bytes for v in vectors])
    if not (elf.memory.fits and elf.memory.vectors_fit):
        raise TooLarge(str(elf.memory))
    return list(run(elf, board, count=False, wall_seconds=SILENCE / 2).outputs)


def any_kernels(graph: Graph, core: Core, seed: int) -> dict[str, str]:
    """For every other network, any kernel that takes a node: also those that a choice would hardly make."""
    rng = np.random.default_rng(seed)
    if rng.random() < 0.5:
        return {}
    nodes = [node for node in graph.nodes if not isinstance(node.op, Reshape)]
    return {node.name: rng.choice([kernel.name for kernel, _ in options(Site(graph, node), core)]) for node in nodes}


def compare(tried: Sequence[Tried], place: Place) -> Iterator[Outcome]:
    """What the device says of each; networks that it cannot have together are tried in halves."""
    try:
        found = device_outputs(tried, place)
    except Exception as problem:
        if len(tried) > 1:
            yield from compare(tried[: len(tried) // 2], place)
            yield from compare(tried[len(tried) // 2 :], place)
        else:
            kind = "does not fit" if isinstance(problem, TooLarge) else "wrong"
            yield Outcome(tried[0].seed, kind, "device", told(problem))
        return
    start = 0
    for each in tried:
        stop = start + len(each.graph.outputs)
        wrong = [
            f"trial {i}, {name}"
            for i in range(TRIALS)
            for name, ours, wanted in zip(each.graph.outputs, found[i][start:stop], each.wanted[i], strict=True)
            if ours != wanted
        ]
        start = stop
        yield Outcome(each.seed, "wrong" if wrong else "exact", "device", ", ".join(wrong[:3]))


# Children.


def batch(send: Callable[[Any], None], seeds: Sequence[int], place: Place) -> list[Outcome]:
    """Everything about the networks of these seeds; `send` hears the seed and the stage that are begun."""
    outcomes: dict[int, Outcome] = {}
    tried: list[Tried] = []
    operators = {}
    for seed in seeds:
        send((seed, "draw"))
        draft = drawn(seed, place.numerics)
        operators[seed] = draft.kinds()
        outcome = _outcome(send, seed, draft, place)
        if isinstance(outcome, Tried):
            tried.append(outcome)
        else:
            outcomes[seed] = outcome
    send((-1, "device"))
    if tried:
        outcomes |= {o.seed: o for o in compare(tried, place)}
    return [replace(outcomes[seed], operators=operators[seed]) for seed in seeds]


def _outcome(send: Callable[[Any], None], seed: int, draft: Draft, place: Place) -> Tried | Outcome:
    stage = ["read"]

    def tell(now: str) -> None:
        stage[0] = now
        send((seed, now))

    try:
        return attempt(seed, draft, place, tell)
    except Skipped as skipped:
        return Outcome(seed, skipped.stage, stage[0], str(skipped))
    except Wrong as wrong:
        return Outcome(seed, "wrong", wrong.stage, str(wrong))
    except Exception as problem:
        return Outcome(seed, "wrong", stage[0], told(problem))


def told(problem: BaseException) -> str:
    """An exception in one line: what, and where it was raised."""
    frame = traceback.extract_tb(problem.__traceback__)[-1]
    words = " ".join(str(problem).split())
    return f"{type(problem).__name__}: {words} ({os.path.basename(frame.filename)}:{frame.lineno}, {frame.name})"


def whole(send: Callable[[Any], None], seed: int, draft: Draft, place: Place) -> Outcome:
    """One network alone, the device included."""
    outcome = _outcome(send, seed, draft, place)
    if isinstance(outcome, Outcome):
        return outcome
    send((seed, "device"))
    [found] = compare([outcome], place)
    return found


@dataclass(frozen=True)
class Died:
    """A child that gave no answer: at what, and how it ended."""

    seed: int
    stage: str
    words: str


def isolated(function: Callable[..., Any], *arguments: Any, pulse: Callable[[], None] = lambda: None) -> Any:
    """What the function returns in a child process, or Died. Its first argument is how it tells what it begins.

    `pulse` is called every few seconds at least.
    """
    context = get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_in_child, args=(theirs, function, arguments), daemon=True)
    child.start()
    theirs.close()
    at = (-1, "start")
    heard = time.monotonic()
    try:
        while time.monotonic() - heard < SILENCE:
            pulse()
            if not ours.poll(5):
                continue
            kind, message = ours.recv()
            heard = time.monotonic()
            if kind == "result":
                child.join()
                return message
            at = message
        ended = f"no word for {SILENCE:.0f} s"
        child.kill()
    except EOFError:
        child.join()
        code = child.exitcode or 0
        ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    finally:
        ours.close()
    child.join()
    return Died(*at, ended)


def _in_child(pipe: Connection, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
    null = os.open(os.devnull, os.O_WRONLY)  # where the judges' own words go
    os.dup2(null, 1)
    os.dup2(null, 2)
    pipe.send(("result", function(lambda at: pipe.send(("at", at)), *arguments)))


# Failures.


def outcome_alone(seed: int, draft: Draft, place: Place) -> Outcome:
    found = isolated(whole, seed, draft, place)
    if isinstance(found, Died):
        kind = "judge" if found.stage == "judge" else "wrong"
        return Outcome(seed, kind, found.stage, found.words)
    assert isinstance(found, Outcome)
    return found


def smaller(outcome: Outcome, place: Place) -> tuple[Draft, Outcome]:
    """The draft with fewer operators that fails at the same stage, and what is said of that one."""
    draft = drawn(outcome.seed, place.numerics)
    index = len(draft.operators) - 1
    while index >= 0:
        candidate = draft.without(index)
        if candidate is not None:
            found = outcome_alone(outcome.seed, candidate, place)
            if (found.kind, found.stage) == (outcome.kind, outcome.stage):
                draft, outcome = candidate, found
        index = min(index - 1, len(draft.operators) - 1)
    return draft, outcome


def tell_failure(outcome: Outcome, place: Place, *, minimise: bool = True) -> str:
    """The failure as text: where, what, the smaller network, and how to see it again."""
    told = f"{place.board}, {place.numerics.value}{', host' if place.host else ''}"
    lines = [f"FAILURE seed {outcome.seed} ({told}) at {outcome.stage}: {outcome.words}"]
    if minimise:
        alone = outcome_alone(outcome.seed, drawn(outcome.seed, place.numerics), place)
        if (alone.kind, alone.stage) != (outcome.kind, outcome.stage):
            lines.append(f"  alone it is {alone.kind} {alone.words}: only others in the same image make it fail")
        else:
            draft, found = smaller(alone, place)
            lines += [f"  smaller: {found.words}", str(draft)]
    return "\n".join(lines)


# The run.


@dataclass
class Tally:
    """Figures of a run."""

    kinds: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, Counter[str]] = field(default_factory=dict)
    operators: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)

    def take(self, outcome: Outcome, place: Place) -> None:
        self.kinds[outcome.kind] += 1
        if outcome.kind == "exact":
            self.operators.update(outcome.operators)
            self.places[f"{place.board} {place.numerics.value}"] += 1
        elif outcome.kind == "wrong":
            self.failures.append({"seed": outcome.seed, "stage": outcome.stage, "words": outcome.words[-300:]})
        else:
            self.reasons.setdefault(outcome.kind, Counter())[reason(outcome.words)] += 1

    def progress(self, wanted: int) -> None:
        now = time.monotonic()
        if now - self.told >= 10:
            self.told = now
            done = sum(self.kinds.values())
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
            print(f"{now - self.started:.0f} s: {done} of {wanted} networks: {kinds}", flush=True)

    def summary(self, options: argparse.Namespace) -> dict[str, Any]:
        return {
            "fuzz": "graphs",
            "seed": options.seed,
            "graphs": sum(self.kinds.values()),
            **{kind: self.kinds[kind] for kind in sorted({"exact", "refused", "judge", "wrong", *self.kinds})},
            "seconds": round(time.monotonic() - self.started, 1),
            "cpu_seconds": cpu_seconds(),
            "places": dict(sorted(self.places.items())),
            "operators": dict(sorted(self.operators.items())),
            "without_step": sorted(set(OPERATORS) - set(STEPS)),
            "reasons": {kind: dict(found.most_common(12)) for kind, found in self.reasons.items()},
            "failures": self.failures,
        }


def cpu_seconds() -> float:
    """Of this process and its children, compilers included."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return round(sum(u.ru_utime + u.ru_stime for u in used), 1)


def reason(words: str) -> str:
    """A refusal without what differs from network to network: file, names and numbers."""
    line = words.strip().splitlines()[-1] if words.strip() else "?"
    line = re.sub(r"^\S*\.tflite: |'[^']*'", "", line)
    return re.sub(r"\(?[-+]?\d[\d.,e+-]*\)?", "#", line)[:160]


def fuzz(seeds: Sequence[int], options: argparse.Namespace, tally: Tally) -> None:
    """All the seeds, in batches of one place; failures are printed as they come."""
    waiting: dict[Place, list[int]] = {}
    for seed in seeds:
        place = place_of(seed, options.board, options.host)
        waiting.setdefault(place, []).append(seed)
        if len(waiting[place]) >= options.batch:
            _fuzz_batch(waiting.pop(place), place, options, tally, len(seeds))
    for place, rest in waiting.items():
        _fuzz_batch(rest, place, options, tally, len(seeds))


def _fuzz_batch(seeds: list[int], place: Place, options: argparse.Namespace, tally: Tally, wanted: int) -> None:
    left = list(seeds)
    while left:
        found = isolated(batch, left, place, pulse=lambda: tally.progress(wanted))
        if isinstance(found, Died):
            if found.stage in ("start", "draw"):
                raise RuntimeError(f"the fuzzer itself failed at seed {found.seed}: {found.words}")
            if found.seed not in left:  # together: find out alone which it is
                outcomes = [outcome_alone(seed, drawn(seed, place.numerics), place) for seed in left]
                left = []
            else:
                outcomes = [outcome_alone(found.seed, drawn(found.seed, place.numerics), place)]
                left.remove(found.seed)
        else:
            outcomes, left = found, []
        for outcome in outcomes:
            tally.take(outcome, place)
            if outcome.kind == "wrong":
                print(tell_failure(outcome, place, minimise=not options.quick), flush=True)
            tally.progress(wanted)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_graphs", description=__doc__)
    parser.add_argument("--graphs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help=f"networks have seeds from {RUNS:,} times this on")
    parser.add_argument("--batch", type=int, default=100, help="networks in one image")
    parser.add_argument("--board", default=None, help=f"instead of {' and '.join(BOARDS)} in turn")
    parser.add_argument("--host", action="store_true", help="run on this machine under sanitizers instead")
    parser.add_argument("--only", type=int, default=None, metavar="SEED", help="one network, told whole")
    parser.add_argument("--quick", action="store_true", help="do not make failures smaller")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    options = arguments(given)
    tally = Tally()
    seeds: Sequence[int] = range(options.seed * RUNS, options.seed * RUNS + options.graphs)
    if options.only is not None:
        seeds = [options.only]
        print(drawn(options.only, place_of(options.only, options.board, options.host).numerics))
    fuzz(seeds, options, tally)
    print(json.dumps(tally.summary(options)), flush=True)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
