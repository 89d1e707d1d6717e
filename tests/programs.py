"""Many one-operator networks in one program: compiled once by the host's compiler, or for a board and run in its emulator."""

import ctypes
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from tests.draws import Case
from tinycompiler.board import Core, load
from tinycompiler.build import build
from tinycompiler.emit import Program, Source, emit
from tinycompiler.emulators import run
from tinycompiler.graph import Graph
from tinycompiler.kernels import Calls, lower
from tinycompiler.kernels.base import round_up
from tinycompiler.lifetimes import ALIGNMENT, Layout, lay_out, scratch_name
from tinycompiler.memory import Buffer, Plan
from tinycompiler.ops import Numerics
from tinycompiler.tensor import Array

Feeds = dict[str, Array]


def drawn(strategy: SearchStrategy[Case], count: int, *, start: int = 0) -> list[Case]:
    """About `count` cases, the same every time."""
    cases: list[Case] = []

    @seed(start)
    @settings(max_examples=count, phases=[Phase.generate], database=None, deadline=None, derandomize=False)
    @given(strategy)
    def collect(case: Case) -> None:
        cases.append(case)

    collect()
    return cases


def merged(cases: Sequence[Case], numerics: Numerics, *, name: str = "many") -> Graph:
    """One network of independent operators: every tensor of case i has the name `<i>_<its own>`."""
    graphs = [prefixed(case.graph(numerics), f"{index}_") for index, case in enumerate(cases)]
    return Graph(
        name,
        inputs=tuple(n for g in graphs for n in g.inputs),
        outputs=tuple(n for g in graphs for n in g.outputs),
        nodes=tuple(n for g in graphs for n in g.nodes),
        tensors={key: tensor for g in graphs for key, tensor in g.tensors.items()},
        numerics=numerics,
    ).verify()


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
    )


def side_by_side(calls: Calls) -> Layout:
    """Every tensor in memory of its own, but for outputs that may take over an input: nothing is searched for."""
    graph = calls.graph
    owner = {name: calls.memory_of(name) for name, t in graph.tensors.items() if not t.is_constant}
    for call in calls.calls:
        if call.in_place:
            owner[call.node.outputs[0]] = owner[call.in_place[0]]
    sizes = {name: graph.tensors[name].bytes for name in dict.fromkeys(owner.values())}
    sizes |= {scratch_name(step): call.scratch for step, call in enumerate(calls.calls) if call.scratch}
    buffers = tuple(Buffer(name, size, 0, len(calls.calls), ALIGNMENT) for name, size in sizes.items())
    ends = list(accumulate((round_up(b.size, ALIGNMENT) for b in buffers), initial=0))
    offsets = {b.name: offset for b, offset in zip(buffers, ends, strict=False)}
    return Layout(Plan(buffers, offsets, ends[-1], ends[-1], 0, True), owner, ends[-1])


def program_of(calls: Calls, layout: Layout | None = None) -> Program:
    return emit(calls, layout or lay_out(calls), Source("test", "0" * 64))


def kernels_of(calls: Calls) -> dict[str, str]:
    """The kernel of each node."""
    return {call.node.name: call.kernel for call in calls.calls}


# On the host.

FLAGS = ("-std=c11", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-shared", "-fPIC")
SANITIZE = ("-fsanitize=undefined", "-fno-sanitize-recover=undefined", "-static-libubsan")


class HostProgram:
    """A program as a shared library of this machine, which has no DSP instructions: dsp kernels run in their plain form."""

    def __init__(self, calls: Calls, folder: Path) -> None:
        self.graph = calls.graph
        program = program_of(calls, side_by_side(calls))
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


def assert_exact(graph: Graph, cases: Sequence[Case], trial: int, feeds: Feeds, found: Feeds, calls: Calls) -> None:
    """Every output is what `evaluate` says, or a message that names the case."""
    values = graph.evaluate(feeds)
    kernels = kernels_of(calls)
    for name in graph.outputs:
        wrong = np.argwhere(values[name].view(np.uint8) != found[name].view(np.uint8))
        if len(wrong):
            writer = graph.writer_of(name)
            case = cases[int(name.split("_")[0])]
            at = tuple(wrong[0].tolist())
            raise AssertionError(
                f"{case}\ntrial {trial}, {kernels.get(writer.name) if writer else None}: {len(wrong)} of "
                f"{values[name].size} differ, first at {at}: {found[name].ravel()[:20]}, not {values[name].ravel()[:20]}"
            )


def lowered(graph: Graph, core: Core) -> Calls:
    return lower(graph, core)
