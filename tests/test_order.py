"""The orders that kernels document, held to what their C does: outputs lie over inputs, as near as the order allows.

A byte nearer, a byte that is still to be read is overwritten: where a kernel reads its pixels before it writes, the
result must then differ, or the stated distance is not the least. And scratch is held to its size: another call's
output begins where it ends.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice

import numpy as np
import pytest

from tests import models
from tests.draws import STRATEGIES, Case, random_values, trials
from tests.draws_int16 import STRATEGIES_INT16
from tests.draws_plans import network
from tests.fuzz_plans import random_runs
from tests.planned import Feeds, Heard, differences, named, on_board, on_host
from tests.programs import drawn, prefixed
from tinycompiler.board import CORES, Core
from tinycompiler.errors import ModelError
from tinycompiler.graph import Graph
from tinycompiler.kernels import Call, Calls, Run, Wishes, calls_of, lower
from tinycompiler.kernels.order import distance
from tinycompiler.lifetimes import Layout, scratch_name
from tinycompiler.memory import Plan
from tinycompiler.ops import Numerics
from tinycompiler.planning import Planned

NO_WISHES = Wishes()
GAP = 16
"""What lies apart begins at multiples of this."""
BOTH = pytest.mark.parametrize("core", ["cortex-m4f", "cortex-m0plus"])


class Shelf:
    """Offsets, handed out one behind the other."""

    def __init__(self) -> None:
        self.offsets: dict[str, int] = {}
        self.end = 0

    def put(self, name: str, size: int) -> None:
        self.offsets[name] = self.end
        self.take(self.end + size)

    def take(self, end: int) -> None:
        self.end = max(self.end, -(-end // GAP) * GAP + GAP)


def nearest(step: Call | Run, number: int) -> dict[str, int]:
    """Bytes that the output has to begin under inputs: as the order says; or 0, where it may be in place."""
    output = calls_of(step)[-1].node.outputs[0]
    names = step.inputs if isinstance(step, Run) else step.node.inputs
    if step.order:
        return {
            name: distance(step.order, output, name)
            for name in names
            if any(name == read for touch in step.order for read, _, _ in touch.reads)
        }
    assert isinstance(step, Call)
    return {step.in_place[number % len(step.in_place)]: 0} if step.in_place else {}


def over_each_other(calls: Calls, *, nearer: int = 0) -> Planned:
    """Every step by itself, its output over its inputs; by `nearer` bytes nearer than its order has it."""
    shelf, tensors = Shelf(), calls.graph.tensors
    for number, step in enumerate(calls.steps):
        output, start = calls_of(step)[-1].node.outputs[0], shelf.end
        shelf.put(output, tensors[output].bytes)
        low = start
        for name, apart in sorted(nearest(step, number).items(), key=lambda pair: pair[1]):
            shelf.offsets[name] = max(low, start + apart - nearer)
            low = shelf.offsets[name] + tensors[name].bytes
            shelf.take(low)
        apart = {n: t.bytes for call in calls_of(step) for n in call.node.inputs if not (t := tensors[n]).is_constant}
        apart |= {name: step.ring_bytes(name) for name in step.rings} if isinstance(step, Run) else {}
        apart |= {scratch_name(step): step.scratch} if step.scratch else {}
        for name, size in apart.items():
            if name not in shelf.offsets:
                shelf.put(name, size)
    owner = {name: name for name in shelf.offsets if name in tensors}
    return Planned(calls, Layout(Plan((), shelf.offsets, shelf.end, 0, 0, proven=False), owner, {}, 0))


def behind_scratch(calls: Calls) -> Planned:
    """Every call by itself; right behind its scratch lies what the call before it made."""
    shelf, tensors = Shelf(), calls.graph.tensors
    made: tuple[str, ...] = ()
    for call in calls.calls:
        shelf.offsets[scratch_name(call)] = shelf.end
        end = shelf.end + call.scratch
        for name in made:
            shelf.offsets[name] = end
            end += -(-tensors[name].bytes // GAP) * GAP
        shelf.take(end)
        for name in dict.fromkeys(n for n in call.node.inputs if not tensors[n].is_constant):
            shelf.put(name, tensors[name].bytes)
        made = call.node.outputs
    for name in made:
        shelf.put(name, tensors[name].bytes)
    owner = {name: name for name in shelf.offsets if name in tensors}
    return Planned(calls, Layout(Plan((), shelf.offsets, shelf.end, 0, 0, proven=False), owner, {}, 0))


def joined(graphs: Sequence[Graph]) -> Graph:
    """One network of independent ones."""
    return replace(
        graphs[0],
        name="many",
        inputs=tuple(n for g in graphs for n in g.inputs),
        outputs=tuple(n for g in graphs for n in g.outputs),
        nodes=tuple(n for g in graphs for n in g.nodes),
        tensors={key: tensor for g in graphs for key, tensor in g.tensors.items()},
    ).verify()


def alone(cases: Sequence[Case], core: Core, *, numerics: Numerics = Numerics.LITERT) -> list[Graph]:
    """Networks of one call that may write over what it reads."""
    found = []
    for number, case in enumerate(cases):
        try:
            graph = prefixed(case.graph(numerics), f"{number}_")
            calls = lower(graph, core)
        except ModelError:
            continue
        plain = len(calls.steps) == 1 and not calls.aliases and not graph.states and graph.inputs
        if plain and nearest(calls.steps[0], 0) and set(graph.outputs) == set(calls.calls[0].node.outputs):
            found.append(graph)
    return found


def feeds_of(graphs: Sequence[Graph], seed: int) -> list[Feeds]:
    """Random values twice, then each input at an end of its range."""
    rng, tensors = np.random.default_rng(seed), [g.tensors[name] for g in graphs for name in g.inputs]
    low = {t.name: trials([t], 0)[min(1, len(trials([t], 0)) - 1)][t.name] for t in tensors}
    return [{t.name: random_values(t, rng) for t in tensors} for _ in range(2)] + [low]


def wrong(graphs: Sequence[Graph], trials: Sequence[Feeds], heard: Sequence[Heard]) -> Iterator[tuple[Graph, str]]:
    """Networks of whose tensors some differ in some trial."""
    for graph in graphs:
        mine = {f"output {name}" for name in graph.outputs}
        for feeds, found in zip(trials, heard, strict=True):
            words = list(differences(graph, feeds, {name: data for name, data in found.items() if name in mine}))
            if words:
                yield graph, f"{graph.nodes[0]}: {words[0]}"
                break


def check(graphs: Sequence[Graph], core: Core, *, board: str | None = None, wishes: Wishes = NO_WISHES) -> None:
    planned = over_each_other(lower(joined(graphs), core, wishes))
    trials = feeds_of(graphs, 0)
    heard = on_board(planned, board, trials[:1]) if board else on_host(planned, trials)
    assert not list(wrong(graphs, trials[: len(heard)], heard))


# What kernels walk through in an order.


def windowed(count: int, seed: int, *, plain: bool = False) -> list[Case]:
    """Convolutions and poolings of images up to 20x20; `plain`: nothing that makes a byte matter less than others."""
    rng = np.random.default_rng(seed)
    cases = []
    for number in range(count):
        shape = (int(rng.choice((1, 1, 2))), *(int(n) for n in rng.integers(1, 21, 2)), int(rng.integers(1, 18)))
        kernel = tuple(int(k) for k in ((1, 1), (3, 3), (5, 5), rng.integers(1, 6, 2))[int(rng.integers(4))])
        told = {"shape": shape, "kernel": kernel, "stride": tuple(int(s) for s in rng.choice((1, 1, 2, 3), 2))}
        if not plain:
            told["activation"] = str(rng.choice(("NONE", "RELU6")))
        fits, twice = (all(k * n <= size for k, size in zip(kernel, shape[1:3], strict=True)) for n in (1, 2))
        told["padding"] = "VALID" if fits and rng.random() < 0.4 else "SAME"
        kind = number % 4 if not plain else 0
        if kind == 0:
            told["filters"] = int(rng.integers(1, 18))
        elif kind == 1 and rng.random() < 0.2:
            told["multiplier"] = 2
        if kind < 2 and not plain and told["stride"] == (1, 1) and twice:
            told["dilation"] = (2, 2) if rng.random() < 0.4 else (1, 1)
        make = (models.conv_2d, models.depthwise_conv_2d, models.max_pool_2d, models.average_pool_2d)[kind]
        cases.append(Case(make, number, told))
    return cases


def large() -> list[Case]:
    """Depthwise images of several strips, and layers of more than one tile."""
    shapes = [(1, 33, 17, 8), (2, 31, 33, 5), (1, 9, 40, 12), (1, 40, 9, 4), (1, 33, 33, 6)]
    strided = ((2, 2), (1, 2), (2, 1), (3, 2), (1, 1))
    return [
        Case(models.depthwise_conv_2d, n, {"shape": shape, "stride": stride, "padding": padding, "activation": act})
        for n, (shape, stride) in enumerate((a, b) for a in shapes for b in strided)
        for padding, act in (("SAME", "NONE"), ("VALID", "RELU6"))
    ]


@pytest.mark.slow
@BOTH
def test_outputs_as_near_as_the_order_says(core: str) -> None:
    check(alone([*windowed(120, 0), *large()], CORES[core]), CORES[core])


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 300])
def test_also_with_little_scratch(limit: int) -> None:
    """Other kernels, or other strips and tiles of the same, with other orders."""
    core = CORES["cortex-m4f"]
    graphs = alone([*windowed(60, 1), *large()[::3]], core)
    check(graphs, core, wishes=Wishes(limits={g.nodes[0].name: limit for g in graphs}))


@pytest.mark.slow
@BOTH
def test_every_operator_in_place(core: str) -> None:
    """Whatever draws there are: each kernel that may write over an input does."""
    every = {**STRATEGIES, **STRATEGIES_INT16}
    cases = [case for n, strategy in enumerate(every.values()) for case in drawn(strategy, 3, start=n)]
    check(alone(cases, CORES[core]), CORES[core])


@pytest.mark.emulator
@pytest.mark.slow
@pytest.mark.parametrize(("core", "board"), [("cortex-m4f", "nucleo_l4r5zi"), ("cortex-m0plus", "rpi_pico")])
def test_assembly_keeps_the_order_too(core: str, board: str) -> None:
    check(alone([*windowed(40, 2), *large()[::4]], CORES[core]), CORES[core], board=board)


@pytest.mark.slow
@BOTH
def test_runs_as_near_as_their_order_says(core: str) -> None:
    graphs, runs = [], []
    for graph, names in islice(_runs(CORES[core]), 40):
        graphs.append(graph)
        runs.append(names)
    check(graphs, CORES[core], wishes=Wishes(runs=tuple(runs)))


def _runs(core: Core) -> Iterator[tuple[Graph, tuple[str, ...]]]:
    """Networks that are one run, cut out of larger ones."""
    rng = np.random.default_rng(0)
    for seed in count():
        try:
            graph = named(network(seed), seed)
        except ModelError:
            continue
        for names in islice(random_runs(graph, core, Wishes(), rng), 1):
            nodes = tuple(node for node in graph.nodes if node.name in names)
            made = {name for node in nodes for name in node.outputs}
            read = dict.fromkeys(name for node in nodes for name in node.inputs)
            inputs = tuple(n for n in read if n not in made and not graph.tensors[n].is_constant)
            tensors = {name: graph.tensors[name] for name in (*read, *made)}
            yield replace(graph, inputs=inputs, outputs=nodes[-1].outputs, nodes=nodes, tensors=tensors), names


@pytest.mark.slow
def test_a_byte_nearer_is_too_near() -> None:
    """Of the convolution that reads a tile before it writes it: the distance is the least there is."""
    core = CORES["cortex-m4f"]
    graphs = alone(windowed(60, 3, plain=True), core)
    tight = [g for g in graphs if _reads_first(lower(g, core).calls[0])]
    planned = over_each_other(lower(joined(tight), core), nearer=1)
    trials = feeds_of(tight, 0)
    differ = {graph.nodes[0].name for graph, _ in wrong(tight, trials, on_host(planned, trials))}
    assert len(tight) > 20
    assert differ == {graph.nodes[0].name for graph in tight}


def _reads_first(call: Call) -> bool:
    """Whether the order is exact, and has the output begin under the input."""
    return all(t.apart for t in call.order) and distance(call.order, call.node.outputs[0], call.node.inputs[0]) > 0


@pytest.mark.slow
@BOTH
def test_scratch_is_as_long_as_it_says(core: str) -> None:
    every = {**STRATEGIES, **STRATEGIES_INT16}
    cases = [case for n, strategy in enumerate(every.values()) for case in drawn(strategy, 4, start=100 + n)]
    rng = np.random.default_rng(7)
    sizes = rng.integers(1, 9, (40, 3)).tolist()
    points = [
        Case(models.conv_2d, n, {"shape": (1, 1, width, depth), "kernel": (1, 1), "stride": (1, 1), "filters": filters})
        for n, (width, depth, filters) in enumerate(sizes)
    ]
    graphs = with_scratch([*cases, *points, *windowed(60, 5), *large()[::5]], CORES[core])
    planned = behind_scratch(lower(joined(graphs), CORES[core]))
    assert len(graphs) > 60
    trials = feeds_of(graphs, 0)
    assert not list(wrong(graphs, trials, on_host(planned, trials)))


def with_scratch(cases: Sequence[Case], core: Core) -> list[Graph]:
    """Networks of one call that has scratch."""
    found = []
    for number, case in enumerate(cases):
        try:
            graph = prefixed(case.graph(Numerics.LITERT), f"{number}_")
            calls = lower(graph, core)
        except ModelError:
            continue
        if len(calls.steps) == 1 and not calls.aliases and not graph.states and calls.steps[0].scratch:
            found.append(graph)
    return found
