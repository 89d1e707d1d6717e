"""Networks that are hard by their shape: what planning them takes, how small the plans are, and that they are exact."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz_graphs import trials_of
from tests.networks import Sketch, audio, chain, diamonds, mobilenet_v2, readers, wide, with_itself
from tests.planned import differences, named, on_board, on_host, together
from tests.test_bad_input import SLACK, Case, told
from tinycompiler import memory
from tinycompiler.board import CORES
from tinycompiler.kernels import Run
from tinycompiler.lifetimes import layer_wise
from tinycompiler.memory import Ints
from tinycompiler.planning import Goals, Planned, plan

CORE = CORES["cortex-m4f"]
CALLS, PAIRS = 15_000_000, 15_000_000
"""Of Python functions, and of buffers that are looked at to place one: several times what is needed."""


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """The work that is done within, the same on every machine."""
    work: Counter[str] = Counter()
    fit = memory._fit

    def with_pairs(problem: Any, order: Sequence[int]) -> Ints:
        work["pairs"] += sum(map(len, problem.rivals))
        return fit(problem, list(order))

    def heard(_frame: object, event: str, _argument: object) -> None:
        work[event] += 1

    monkeypatch.setattr(memory, "_fit", with_pairs)
    before = sys.getprofile()
    sys.setprofile(heard)
    try:
        yield work
    finally:
        sys.setprofile(before)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "count"), [(chain, 400), (wide, 30), (readers, 400)])
def test_planning_takes_a_bounded_amount_of_work(
    make: Callable[[int], Sketch], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = make(count).graph
    with counted(monkeypatch) as work:
        planned = plan(graph, CORE)
    assert 0 < work["call"] < CALLS
    assert 0 < work["pairs"] < PAIRS
    assert planned.arena <= 1.2 * planned.layout.plan.lower_bound


@pytest.mark.slow
def test_two_thousand_nodes(tmp_path: Path) -> None:
    """From the file to the plan, in 10 s of processor time and 1 GB."""
    command = ("compile", "large.tflite", "-b", "nucleo_h743zi", "--stop", "plan")
    found = told(Case(command, lambda: {"large.tflite": readers(2000).file}, 0, "arena"), tmp_path)
    assert found.code == 0, found.err
    assert "lower bound" in found.out.splitlines()[0]
    assert found.seconds < 10 * SLACK
    assert found.megabytes < 1000


@pytest.mark.slow
def test_each_is_exact() -> None:
    """A tensor that twenty nodes read, residuals of tensors with themselves, ways in an order that is not theirs."""
    graphs = [
        named(sketch.graph, number)
        for number, sketch in enumerate((readers(20), with_itself(), wide(5, breadth_first=True), diamonds(18)))
    ]
    planned = [plan(graph, CORE, Goals(slowdown=None)) for graph in graphs]
    assert any(each.calls.graph is not graph for each, graph in zip(planned, graphs, strict=True))
    heard_exactly(together(planned))


def heard_exactly(planned: Planned) -> None:
    trials = trials_of(planned.calls.graph, 0)
    for given, heard in zip(trials, on_host(planned, trials), strict=True):
        assert not list(differences(planned.calls.graph, given, heard))


def bottlenecks() -> tuple[Planned, int]:
    """MobileNetV2's inverted bottlenecks of width 0.35 on 96x96, planned as usual; and its layer-wise peak."""
    planned = plan(mobilenet_v2(96, 0.35).graph, CORE)
    return planned, layer_wise(planned.calls)


def test_bottlenecks_need_less_than_half() -> None:
    planned, peak = bottlenecks()
    assert peak >= 96 * 96 // 4 * 8 * 6
    assert planned.arena < peak / 2


@pytest.mark.emulator
@pytest.mark.slow
def test_bottlenecks_are_exact() -> None:
    planned, _ = bottlenecks()
    graph = planned.calls.graph
    [trial] = trials_of(graph, 0)[:1]
    [heard] = on_board(together([planned]), "nucleo_l4r5zi", [trial])
    assert len(heard) == len(planned.calls.calls) + len(graph.outputs)
    assert not list(differences(graph, trial, heard))


BOTH = pytest.mark.parametrize(("core", "board"), [("cortex-m4f", "nucleo_l4r5zi"), ("cortex-m0plus", "rpi_pico")])


@BOTH
def test_rows_along_the_only_axis(core: str, board: str) -> None:
    """An image of one row is taken for one column, and so goes row by row."""
    graph = audio(300, 6).graph
    whole, fused = (plan(graph, CORES[core], Goals(fusion=fusion, slowdown=None)) for fusion in (False, True))
    [run] = fused.calls.steps
    assert isinstance(run, Run)
    assert fused.arena < whole.arena / 3


@pytest.mark.emulator
@pytest.mark.slow
@BOTH
def test_rows_along_the_only_axis_are_exact(core: str, board: str) -> None:
    graphs = [named(audio(width, depth).graph, width) for width, depth in ((90, 4), (75, 3), (61, 8))]
    planned = together([plan(graph, CORES[core], Goals(slowdown=None)) for graph in graphs])
    assert sum(isinstance(step, Run) for step in planned.calls.steps) == len(graphs)
    heard_exactly(planned)
    [trial] = trials_of(planned.calls.graph, 1)[:1]
    [heard] = on_board(planned, board, [trial])
    assert not list(differences(planned.calls.graph, trial, heard))
