"""Many one-operator networks in one program: compiled once for the host, or for a board and run in its emulator."""

import ctypes
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from tests.draws import Case, trials
from tinycompiler.board import load
from tinycompiler.build import build
from tinycompiler.emit import Program, Source, emit
from tinycompiler.emulators import run
from tinycompiler.graph import Graph
from tinycompiler.kernels import Calls
from tinycompiler.lifetimes import lay_out
from tinycompiler.memory import place
from tinycompiler.ops import Numerics
from tinycompiler.tensor import Array

Feeds = dict[str, Array]


def drawn(strategy: SearchStrategy[Case], count: int, *, start: int = 0) -> list[Case]:
    """About `count` cases, the same every time."""
    cases: list[Case] = []

    @seed(start)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],  # what matters is what comes out
    )
    @given(strategy)
    def collect(case: Case) -> None:
        cases.append(case)

    collect()
    return cases


def merged(cases: Sequence[Case], numerics: Numerics, *, name: str = "many") -> Graph:
    """One network of independent operators: every tensor of case i has the name `<i>_<its own>`."""
    return joined([case.graph(numerics) for case in cases], name=name).verify()


def joined(graphs: Sequence[Graph], *, name: str = "many") -> Graph:
    """One network of independent ones of the same numerics: every name of the i-th begins with `<i>_`."""
    apart = [prefixed(graph, f"{index}_") for index, graph in enumerate(graphs)]
    return Graph(
        name,
        inputs=tuple(n for g in apart for n in g.inputs),
        outputs=tuple(n for g in apart for n in g.outputs),
        nodes=tuple(n for g in apart for n in g.nodes),
        tensors={key: tensor for g in apart for key, tensor in g.tensors.items()},
        numerics=graphs[0].numerics,
        states=tuple(s for g in apart for s in g.states),
    )


def prefixed(graph: Graph, prefix: str) -> Graph:
    def names(given: Iterable[str]) -> tuple[str, ...]:
        return tuple(prefix + name for name in given)

    return replace(
        graph,
        inputs=names(graph.inputs),
        outputs=names(graph.outputs),
        nodes=tuple(
            replace(n, name=prefix + n.name, inputs=names(n.inputs), outputs=names(n.outputs)) for n in graph.nodes
        ),
        tensors={prefix + key: replace(t, name=prefix + t.name) for key, t in graph.tensors.items()},
        states=tuple(
            replace(s, tensor=prefix + s.tensor, next=prefix + s.next, joined=s.joined and prefix + s.joined)
            for s in graph.states
        ),
    )


def program_of(calls: Calls) -> Program:
    """The program, in an arena that nobody spends seconds on making a little smaller."""
    with patch("tinycompiler.regions.place", partial(place, effort=50)), patch("tinycompiler.memory.MENDINGS", 1):
        return emit(calls, lay_out(calls), Source("test", "0" * 64))


def kernels_of(calls: Calls) -> dict[str, str]:
    """The kernel of each node."""
    return {call.node.name: call.kernel for call in calls.calls}


# On the host.

FLAGS = ("-std=c11", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsanitize=undefined", "-shared", "-fPIC")
"""The sanitizer reports undefined behaviour on standard error and goes on."""


class HostProgram:
    """A program as a shared library of this machine, where dsp kernels run in their plain form."""

    def __init__(self, calls: Calls, folder: Path) -> None:
        self.graph = calls.graph
        program = program_of(calls)
        for file, text in program.files.items():
            (folder / file).write_text(text)
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler for this machine")
        library = folder / f"{self.graph.name}.so"
        sources = (f"{self.graph.name}.c", f"{self.graph.name}_weights.c")
        done = subprocess.run(
            (compiler, *FLAGS, *sources, "-o", str(library)), cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[:3000]
        self._library = ctypes.CDLL(str(library))
        for function in ("input", "output"):
            self._function(function).restype = ctypes.c_void_p
        assert self._function("init")() == 0

    def _function(self, name: str) -> "ctypes._NamedFuncPointer":
        return getattr(self._library, f"tc_{self.graph.name}_{name}")  # type: ignore[no-any-return]

    def outputs(self, feeds: Mapping[str, Array]) -> Feeds:
        for index, name in enumerate(self.graph.inputs):
            data = np.ascontiguousarray(feeds[name]).tobytes()
            ctypes.memmove(self._function("input")(index), data, len(data))
        self._function("invoke")()
        results = {}
        for index, name in enumerate(self.graph.outputs):
            tensor = self.graph.tensors[name]
            data = ctypes.string_at(self._function("output")(index), tensor.bytes)
            results[name] = np.frombuffer(data, tensor.dtype.numpy).reshape(tensor.shape)
        return results


# On a board.


def groups(cases: Sequence[Case], numerics: Numerics, *, flash: int, ram: int) -> Iterator[list[Case]]:
    """Cases in turn, as many together as fit these budgets of constants, and of inputs with outputs, in bytes."""
    group: list[Case] = []
    used_flash = used_ram = 0
    for case in cases:
        tensors = case.graph(numerics).tensors.values()
        constants = sum(t.bytes for t in tensors if t.is_constant)
        moving = sum(t.bytes for t in tensors if not t.is_constant)
        if group and (used_flash + constants > flash or used_ram + moving > ram):
            yield group
            group, used_flash, used_ram = [], 0, 0
        group.append(case)
        used_flash, used_ram = used_flash + constants, used_ram + moving
    if group:
        yield group


def board_outputs(calls: Calls, board_name: str, trials: Sequence[Mapping[str, Array]]) -> list[Feeds]:
    """The network's outputs for each trial, as the emulated board says them."""
    graph, board = calls.graph, load(board_name)
    assert calls.core == board.core
    vectors = [b"".join(np.ascontiguousarray(feeds[n]).tobytes() for n in graph.inputs) for feeds in trials]
    elf = build(program_of(calls), board, vectors=vectors)
    assert elf.memory.fits, str(elf.memory)
    outcome = run(elf, board, count=False, wall_seconds=120)
    tensors = [graph.tensors[name] for name in graph.outputs]
    return [
        {t.name: np.frombuffer(data, t.dtype.numpy).reshape(t.shape) for t, data in zip(tensors, outputs, strict=True)}
        for outputs in outcome.outputs
    ]


def trials_of(graph: Graph) -> list[Feeds]:
    """The trial inputs of every case of a `merged` network together."""
    inputs = groupby((graph.tensors[name] for name in graph.inputs), key=lambda tensor: tensor.name.partition("_")[0])
    each = [trials(list(tensors), int(index)) for index, tensors in inputs]
    return [
        {name: values for case in each for name, values in case[min(number, len(case) - 1)].items()}
        for number in range(max(len(case) for case in each))
    ]


def assert_exact(calls: Calls, cases: Sequence[Case], feeds: Mapping[str, Array], found: Feeds) -> None:
    """Every output of a `merged` network is what `evaluate` says, or a message that names the case."""
    values = calls.graph.evaluate(feeds)
    kernels = kernels_of(calls)
    for name in calls.graph.outputs:
        ours, wanted = found[name], values[name]
        wrong = np.flatnonzero(ours.ravel() != wanted.ravel())
        if len(wrong):
            index = int(name.split("_")[0])
            writer = calls.graph.writer_of(name)
            raise AssertionError(
                f"{cases[index]} by {kernels.get(writer.name) if writer else None}: {len(wrong)} of {wanted.size} "
                f"differ, first element {wrong[0]}: {ours.ravel()[wrong[0]]}, not {wanted.ravel()[wrong[0]]}"
            )
