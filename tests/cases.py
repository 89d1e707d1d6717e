"""Random networks of one operator each, run in the emulator and held against their judge, counted in one table.

    python -m tests.cases --cases 200

runs that many of every operator, numeric profile and board, all different in shape or parameters, and prints how many
had every byte of the judge. The suite runs a share of it (tests/test_cases.py). Numbers are the same every time.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np

from tests.draws import STRATEGIES, Case
from tests.draws_int16 import STRATEGIES_INT16
from tests.judges import judge, judged_model
from tests.programs import Feeds, board_outputs, drawn, groups, kernels_of, merged, trials_of
from tinycompiler.board import load
from tinycompiler.errors import ModelError, TinyCompilerError
from tinycompiler.graph import Graph
from tinycompiler.kernels import lower
from tinycompiler.ops import Numerics

BOARDS = ("rpi_pico", "nucleo_l4r5zi")
"""A scalar core (Cortex-M0+) and one with the DSP extension (Cortex-M4)."""
OPERATORS = {**STRATEGIES, **{f"{operator} int16": strategy for operator, strategy in STRATEGIES_INT16.items()}}
ROUNDS = 8
"""Of drawing, before an operator is said to have no more different networks."""
FLASH, RAM = 150_000, 60_000
"""Bytes of constants, and of inputs with outputs, of the networks in one image."""


@dataclass(frozen=True)
class Wrong:
    """A network whose bytes are not the judge's, or which did not run."""

    board: str
    case: Case
    words: str

    def __str__(self) -> str:
        return f"{self.case!r} on {self.board}: {self.words}"


def different(operator: str, numerics: Numerics, count: int) -> list[Case]:
    """`count` networks that this profile's judge runs, no two alike but for their seed; fewer where there are no more.

    There is none where the profile does not have the operator.
    """
    strategy = OPERATORS[operator]
    if not any(numerics in case.profiles for case in drawn(strategy, 20)):
        return []
    found: dict[str, Case] = {}
    for start in range(ROUNDS):
        for case in drawn(strategy.filter(lambda case: _is_taken(case, numerics)), count, start=start):
            found.setdefault(f"{case.make.__name__} {case.told}", case)
        if len(found) >= count:
            break
    return list(found.values())[:count]


def _is_taken(case: Case, numerics: Numerics) -> bool:
    """Whether there is a judge, and its bytes are defined; tests/test_ops.py says when more is refused than that."""
    try:
        return numerics in case.profiles and bool(case.graph(numerics))
    except ModelError:
        return False


def check(cases: Sequence[Case], numerics: Numerics, boards: Sequence[str] = BOARDS) -> Iterator[Wrong]:
    """Builds and runs the networks, as many in one image as fit, and yields those that are wrong."""
    for group in groups(cases, numerics, flash=FLASH, ram=RAM):
        graph = merged(group, numerics)
        trials = trials_of(graph)
        wanted = [_judged(case, numerics, index, trials) for index, case in enumerate(group)]
        for board in boards:
            yield from _check_together(group, graph, trials, wanted, board)


def _judged(case: Case, numerics: Numerics, index: int, trials: Sequence[Feeds]) -> list[Feeds]:
    """What the judge says, by the names of the merged network's outputs, trial by trial."""
    graph = case.graph(numerics)
    feeds = [{name: trial[f"{index}_{name}"] for name in graph.inputs} for trial in trials]
    names = [f"{index}_{name}" for name in graph.outputs]
    return [dict(zip(names, each, strict=True)) for each in judge(judged_model(case, numerics), graph, feeds)]


def _check_together(
    cases: Sequence[Case], graph: Graph, trials: Sequence[Feeds], wanted: Sequence[list[Feeds]], board: str
) -> Iterator[Wrong]:
    try:
        calls = lower(graph, load(board).core)
        found = board_outputs(calls, board, trials)
    except (AssertionError, TinyCompilerError) as problem:
        yield from (Wrong(board, case, f"in one image of {len(cases)}: {problem}") for case in cases)
        return
    kernels = kernels_of(calls)
    for index, (case, each) in enumerate(zip(cases, wanted, strict=True)):
        words = [_difference(theirs, outputs) for theirs, outputs in zip(each, found, strict=True)]
        if any(words):
            names = sorted({kernel for node, kernel in kernels.items() if node.startswith(f"{index}_")})
            yield Wrong(board, case, f"{next(filter(None, words))}, by {', '.join(names) or 'no kernel'}")


def _difference(wanted: Feeds, found: Feeds) -> str | None:
    for name, theirs in wanted.items():
        ours = found[name]
        if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
            return f"'{name}' is {ours.dtype} {ours.shape}, and the judge's is {theirs.dtype} {theirs.shape}"
        at = np.flatnonzero((ours != theirs).ravel())
        if len(at):
            return f"'{name}': {len(at)} of {ours.size} differ, first {ours.flat[at[0]]}, not {theirs.flat[at[0]]}"
    return None


# The table.


@dataclass(frozen=True)
class Row:
    """What came of one operator in one profile."""

    operator: str
    numerics: Numerics
    cases: int
    wrong: tuple[Wrong, ...]

    def cell(self, board: str) -> str:
        wrong = sum(w.board == board for w in self.wrong)
        return f"{self.cases - wrong:,} exact, {wrong:,} wrong" if self.cases else "not in this profile"


def run(operator: str, numerics: Numerics, count: int, boards: Sequence[str]) -> Row:
    """One row of the table."""
    cases = different(operator, numerics, count)
    return Row(operator, numerics, len(cases), tuple(check(cases, numerics, boards)))


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.cases", description=__doc__)
    parser.add_argument("--cases", type=int, default=200, help="networks of each operator and profile, on each board")
    parser.add_argument("--operators", nargs="+", default=list(OPERATORS), choices=OPERATORS, metavar="NAME")
    parser.add_argument("--profiles", nargs="+", default=list(Numerics), type=Numerics)
    parser.add_argument("--boards", nargs="+", default=list(BOARDS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    options = arguments(given)
    started = time.monotonic()
    turns = list(product(options.operators, options.profiles))
    print(line(("operator", "profile", *(f"{board} ({load(board).core.name})" for board in options.boards))))
    rows = []
    with ProcessPoolExecutor(options.jobs) as pool:
        one = partial(run, count=options.cases, boards=options.boards)
        for row in pool.map(one, *zip(*turns, strict=True)):
            rows.append(row)
            print(line((row.operator, row.numerics.value, *map(row.cell, options.boards))), flush=True)
            for wrong in row.wrong[:3]:
                print(f"    {wrong}", flush=True)
    runs, wrong = sum(row.cases for row in rows) * len(options.boards), sum(len(row.wrong) for row in rows)
    print(f"{runs:,} networks ran, {wrong:,} wrong, {time.monotonic() - started:.0f} s")
    return 1 if wrong else 0


def line(words: Sequence[str]) -> str:
    return f"{words[0]:24} {words[1]:8} " + "".join(f"{word:32}" for word in words[2:])


if __name__ == "__main__":
    sys.exit(main())
