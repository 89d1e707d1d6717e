"""The emitted C of every fixture, before every compiler and checker, and run under sanitizers against the judges.

    python -m tests.emitted_c [--together 40] [--draws 2] [--only WORD] [--checks WORD] [--list]

Each network of `tests.fixtures`, for both numeric profiles and both instruction sets, becomes a program (or
`--together` so many of them become one); those of several layers once more by themselves, with all that can run row by
row. Each program is compiled for this machine and for every Cortex-M core by gcc and clang with the warnings that are
errors, and read by cppcheck. It runs on this machine with every output byte compared, under AddressSanitizer and
UndefinedBehaviorSanitizer of both compilers, and once more optimized without them. It is linked for boards with and
without an FPU, to see whether the layers that compute in floating point are those that the report names. Nothing is
suppressed. The last line is one JSON object.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice, product
from pathlib import Path

import numpy as np

from tests.draws import graph_of, random_values
from tests.fixtures import Fixture, every_fixture
from tests.floating_point import BOARDS, wrongly_stated
from tests.judges import judge
from tests.programs import Feeds, joined, program_of
from tinycompiler.board import CORES
from tinycompiler.emit import Program, Source, emit
from tinycompiler.errors import ModelError, TinyCompilerError
from tinycompiler.graph import Graph
from tinycompiler.host import FLAGS, WARNINGS, run_on_host
from tinycompiler.kernels import Calls, lower
from tinycompiler.lifetimes import QUICK_EFFORT
from tinycompiler.ops import Numerics
from tinycompiler.passes import optimize
from tinycompiler.passes.edges import with_io
from tinycompiler.planning import Goals, plan
from tinycompiler.tensor import Array, DType
from tinycompiler.vectors import Vector

STRICT = ("-std=c11", "-O2", *WARNINGS, "-Wstrict-aliasing=2")
OPTIMIZED = ("-std=c11", "-O3")
CPPCHECK = ("--enable=warning,portability,performance", "--std=c11", "--error-exitcode=1", "--quiet")
COMPILED_FOR = {"scalar": "cortex-m0plus", "dsp": "cortex-m4f"}
"""The C is one for all cores of an instruction set."""
VECTORS = 4


@dataclass(frozen=True, eq=False)
class Network:
    """A fixture as its profile reads it, and what its judge says of each vector."""

    fixture: str
    graph: Graph
    trials: Sequence[Feeds]
    wanted: Sequence[Sequence[Array]]
    """[vector][output]"""


@dataclass(frozen=True, eq=False)
class Subject:
    """A program, of one network or of several."""

    networks: Sequence[Network]
    isa: str
    calls: Calls
    program: Program

    def __str__(self) -> str:
        names = ", ".join(n.fixture for n in self.networks)
        return f"[{self.calls.graph.numerics.value}, {self.isa}] {names}"


@dataclass(frozen=True)
class Finding:
    """What a check has to say against a program."""

    check: str
    subject: str
    words: str

    def __str__(self) -> str:
        return f"{self.check}: {self.subject}:\n{self.words}"


# Networks and programs.


def network_of(fixture: Fixture, numerics: Numerics) -> Network:
    """Raises ModelError."""
    read = graph_of(fixture.model(), numerics)
    graph = optimize(with_io(read, fixture.io))
    trials = vectors_of(graph)
    if fixture.io or not fixture.judge:
        assert not graph.states, "evaluate would need them"
        values = [graph.evaluate(trial) for trial in trials]
        return Network(fixture.name, graph, trials, [[each[n] for n in graph.outputs] for each in values])
    return Network(fixture.name, graph, trials, judge(fixture.judged(numerics), graph, trials))


def vectors_of(graph: Graph) -> list[Feeds]:
    """Random values, all lowest, all highest, random values; state goes on from one to the next."""
    rng = np.random.default_rng(0)
    tensors = [graph.tensors[name] for name in graph.inputs]
    random = [{t.name: random_values(t, rng) for t in tensors} for _ in range(VECTORS)]
    for index, end in ((1, 0), (2, 1)):
        levels = {t.name: t.dtype.range[end] for t in tensors if t.dtype is not DType.FLOAT32}
        random[index] |= {name: np.full_like(random[index][name], level) for name, level in levels.items()}
    return random


def subject_of(networks: Sequence[Network], isa: str) -> Subject:
    """Raises ModelError when no kernel takes some node."""
    calls = lower(joined([n.graph for n in networks], name="many"), CORES[COMPILED_FOR[isa]])
    return Subject(networks, isa, calls, program_of(calls))


def row_by_row(network: Network, isa: str) -> Subject:
    """By itself, planned as `compile` does, with layers that run row by row wherever they can."""
    graph = replace(network.graph, name="many")
    planned = plan(graph, CORES[COMPILED_FOR[isa]], Goals(slowdown=None, effort=QUICK_EFFORT))
    program = emit(planned.calls, planned.layout, Source("test", "0" * 64))
    return Subject([replace(network, fixture=f"{network.fixture}, row by row")], isa, planned.calls, program)


# Checks: each says what is wrong, or nothing.


def said(command: Iterable[str], folder: Path) -> str:
    done = subprocess.run([*command], cwd=folder, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"{done.returncode} {done.stdout}{done.stderr}"[:4000]


@cache
def newlib() -> str:
    """The folder of the C library's headers for Arm."""
    asked = ("arm-none-eabi-gcc", "-E", "-")
    told = subprocess.run(asked, input="#include <string.h>", capture_output=True, text=True, check=True).stdout
    return next(line.split('"')[1] for line in told.splitlines() if line.endswith('string.h" 1 3')).rpartition("/")[0]


def compiles(compiler: Sequence[str], subject: Subject, folder: Path) -> str:
    return said((*compiler, *STRICT, "-c", "many.c", "many_weights.c"), folder)


def compiles_by_clang(core: str, subject: Subject, folder: Path) -> str:
    return compiles(("clang", "--target=arm-none-eabi", "-isystem", newlib(), *CORES[core].flags), subject, folder)


def reads(subject: Subject, folder: Path) -> str:
    return said(("cppcheck", *CPPCHECK, "many.c", "many_weights.c"), folder)


def runs(compiler: str, flags: Sequence[str], subject: Subject, folder: Path) -> str:
    graph, networks = subject.calls.graph, subject.networks
    sizes = [graph.tensors[name].bytes for name in graph.outputs]
    vectors = [
        Vector(f"vector {i}", tuple(n.trials[i][name] for n in networks for name in n.graph.inputs))
        for i in range(VECTORS)
    ]
    found = run_on_host(subject.program, vectors, sizes, compiler=compiler, flags=flags).outputs
    wrong = {
        name
        for i, outputs in enumerate(found)
        for name, ours, wanted in zip(graph.outputs, outputs, wanted_at(i, networks), strict=True)
        if ours != wanted.tobytes()
    }
    return f"not the judge's: {', '.join(sorted(wrong))}" if wrong else ""


def wanted_at(vector: int, networks: Sequence[Network]) -> list[Array]:
    return [values for n in networks for values in n.wanted[vector]]


def states_floats(board: str, subject: Subject, folder: Path) -> str:
    return wrongly_stated(subject.calls, subject.program, BOARDS[board])


@dataclass(frozen=True)
class Check:
    """`words` says what is wrong, or nothing."""

    words: Callable[[Subject, Path], str]
    isas: tuple[str, ...] = ("scalar", "dsp")


MACROS = ("-DTC_NODE_HOOK", "-DTC_MANY_CALLER_OWNS_ARENA")
CHECKS: dict[str, Check] = {
    "gcc": Check(partial(compiles, ("gcc",))),
    "gcc, hook and caller's arena": Check(partial(compiles, ("gcc", *MACROS))),
    "clang": Check(partial(compiles, ("clang",))),
    **{
        f"gcc for {core.name}": Check(partial(compiles, ("arm-none-eabi-gcc", *core.flags)), (core.isa,))
        for core in CORES.values()
    },
    **{f"clang for {core.name}": Check(partial(compiles_by_clang, core.name), (core.isa,)) for core in CORES.values()},
    "cppcheck": Check(reads),
    "run, gcc": Check(partial(runs, "gcc", FLAGS)),
    "run, clang": Check(partial(runs, "clang", FLAGS)),
    # sanitizers align variables generously, and so hide an alignment that is expected without reason
    "run, gcc -O3": Check(partial(runs, "gcc", OPTIMIZED)),
    "run, clang -O3": Check(partial(runs, "clang", OPTIMIZED)),
    **{f"floats, {name}": Check(partial(states_floats, name), (board.core.isa,)) for name, board in BOARDS.items()},
}


def checked(subject: Subject, name: str) -> Finding | None:
    with tempfile.TemporaryDirectory() as folder:
        for file, text in subject.program.files.items():
            (Path(folder) / file).write_text(text)
        try:
            words = CHECKS[name].words(subject, Path(folder))
        except TinyCompilerError as problem:
            words = str(problem)
    return Finding(name, str(subject), words) if words else None


# All together.


@dataclass
class Tally:
    """What was done."""

    fixtures: set[str]
    refused: dict[tuple[str, Numerics], str]
    checks: Counter[str]
    findings: list[Finding]
    networks: int = 0
    programs: int = 0


def subjects(
    fixtures: Iterable[Fixture], together: int, tally: Tally, profiles: Sequence[Numerics]
) -> Iterator[Subject]:
    """Programs for these profiles and both instruction sets, of so many fixtures each."""
    ready: dict[Numerics, list[Network]] = {numerics: [] for numerics in profiles}
    for fixture in fixtures:
        tally.fixtures.add(fixture.name)
        for numerics in (each for each in fixture.profiles if each in profiles):
            try:
                network = network_of(fixture, numerics)
                for core in COMPILED_FOR.values():
                    lower(network.graph, CORES[core])
            except ModelError as refusal:
                tally.refused[fixture.name, numerics] = str(refusal)
                continue
            tally.networks += 1
            if fixture.whole:
                yield from (row_by_row(network, isa) for isa in COMPILED_FOR)
            ready[numerics].append(network)
            if len(ready[numerics]) == together:
                yield from (subject_of(ready[numerics], isa) for isa in COMPILED_FOR)
                ready[numerics] = []
    yield from (subject_of(networks, isa) for networks in ready.values() if networks for isa in COMPILED_FOR)


def check(
    fixtures: Iterable[Fixture], checks: Sequence[str], *, together: int, profiles: Sequence[Numerics] = tuple(Numerics)
) -> Tally:
    """These checks of every program."""
    tally = Tally(set(), {}, Counter(), [])
    found = subjects(fixtures, together, tally, profiles)
    with ThreadPoolExecutor(2) as pool:
        while some := list(islice(found, 8)):
            tally.programs += len(some)
            tasks = [(subject, name) for subject, name in product(some, checks) if subject.isa in CHECKS[name].isas]
            tally.checks.update(name for _, name in tasks)
            for finding in pool.map(lambda task: checked(*task), tasks):
                if finding:
                    print(finding, flush=True)
                    tally.findings.append(finding)
            print(f"{tally.programs} programs, {sum(tally.checks.values())} checks", file=sys.stderr)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--together", type=int, default=40, help="networks in one program (default 40)")
    parser.add_argument("--draws", type=int, default=2, help="random networks of each operator (default 2)")
    parser.add_argument("--only", default="", help="fixtures with this in their names")
    parser.add_argument("--checks", default="", help="checks with this in their names")
    parser.add_argument("--list", action="store_true", help="names the fixtures and leaves")
    options = parser.parse_args()
    fixtures = [f for f in every_fixture(options.draws) if options.only in f.name]
    if options.list:
        print(*(f.name for f in fixtures), sep="\n")
        return 0
    start = time.monotonic()
    tally = check(fixtures, [name for name in CHECKS if options.checks in name], together=options.together)
    optional = {f.name for f in fixtures if f.optional}
    for (name, numerics), why in tally.refused.items():
        if name not in optional:
            print(f"refused: {name}, {numerics.value}: {why.splitlines()[0]}")
    summary = {
        "fixtures": len(tally.fixtures),
        "refused": len(tally.refused),
        "networks": tally.networks,
        "programs": tally.programs,
        "checks": dict(tally.checks),
        "findings": dict(Counter(f.check for f in tally.findings)),
        "seconds": round(time.monotonic() - start),
    }
    print(json.dumps(summary))
    return 1 if tally.findings else 0


if __name__ == "__main__":
    sys.exit(main())
