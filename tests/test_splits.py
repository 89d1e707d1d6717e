"""Fully connected layers whose channels between are computed some at a time: smaller, and the same bytes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.commands import needs_compiler, say
from tests.draws import graph_of
from tests.fuzz_graphs import trials_of
from tests.networks import Sketch, perceptron
from tests.planned import differences, named, on_board, on_host, together
from tinycompiler.board import CORES
from tinycompiler.bytemap import play
from tinycompiler.errors import DoesNotFit
from tinycompiler.graph import Graph
from tinycompiler.ops import Numerics, PartialSums
from tinycompiler.passes import optimize
from tinycompiler.planning import Goals, Planned, plan
from tinycompiler.splits import PARTS, between, splits

ANY = float("inf")
SIZES = ((40, 600, 10), (33, 257, 5), (1, 90, 1), (24, 400, 12, 300, 7))
BOARDS = (("cortex-m4f", "nucleo_l4r5zi"), ("cortex-m0plus", "rpi_pico"))


def graphs(numerics: Numerics) -> list[Graph]:
    return [named(optimize(graph_of(perceptron(*sizes).file, numerics)), number) for number, sizes in enumerate(SIZES)]


def sums(planned: Planned) -> int:
    return sum(isinstance(call.node.op, PartialSums) for call in planned.calls.calls)


@pytest.mark.parametrize("numerics", Numerics)
def test_every_split_computes_the_same(numerics: Numerics) -> None:
    """In numpy: what the parts compute are the channels of the whole."""
    for graph in graphs(numerics):
        found = list(splits(graph, "dsp", ANY))
        assert 0 < len(found) <= len(PARTS)
        for other in found:
            [feeds] = trials_of(graph, len(other.nodes))[:1]
            whole, split = graph.evaluate(feeds), other.evaluate(feeds)
            assert all((whole[name] == split[name]).all() for name in graph.outputs)
            made = [other.tensors[name] for node in other.nodes for name in node.outputs]
            for name in {tensor.part_of for tensor in made if tensor.part_of}:
                parts = [tensor for tensor in made if tensor.part_of == name]
                assert (np.concatenate([split[part.name] for part in parts], axis=-1) == whole[name]).all()
                left = graph.tensors[name].channels or tuple(range(graph.tensors[name].elements))
                assert tuple(channel for part in parts for channel in part.channels or ()) == left


@pytest.mark.slow
@pytest.mark.parametrize("core", [core for core, _ in BOARDS])
def test_plans_are_smaller(core: str) -> None:
    for graph, sizes in zip(graphs(Numerics.LITERT), SIZES, strict=True):
        usual, split = (plan(graph, CORES[core], Goals(fusion=fusion, slowdown=None)) for fusion in (False, True))
        assert sums(usual) == 0
        assert sums(split) > 0
        assert split.arena < usual.arena
        if max(sizes) > 200:
            assert split.arena < usual.arena / 2
        with_less = replace(split.calls, steps=split.calls.steps[1:])
        with pytest.raises(AssertionError, match="is not there any more"):
            play(with_less, split.layout)


@pytest.mark.slow
def test_only_as_much_as_was_asked_for() -> None:
    """A cap on instructions keeps layers whole; a budget splits them, and says what is possible."""
    graph, core = perceptron(40, 600, 10).graph, CORES["cortex-m0plus"]
    whole, split = plan(graph, core), plan(graph, core, Goals(slowdown=None))
    assert sums(whole) == 0
    assert sums(split) > 0
    enough = plan(graph, core, Goals(budget=whole.arena))
    assert sums(enough) == 0
    half = plan(graph, core, Goals(budget=whole.arena // 2))
    assert sums(half) > 0
    assert half.arena <= whole.arena // 2
    with pytest.raises(DoesNotFit, match="the smallest that was found has"):
        plan(graph, core, Goals(budget=60))
    with pytest.raises(DoesNotFit, match="without --no-fusion it may be smaller"):
        plan(graph, core, Goals(budget=whole.arena // 2, fusion=False))


def test_what_cannot_be_split() -> None:
    """What lies between is read elsewhere, is a result, or is too small to be worth it."""
    s = Sketch(1, 1, 8)
    x = s.dense("x", 300)
    twice = s.add(s.dense(x, 8), s.dense(x, 8))
    assert not between(s.to(twice).graph)
    s = Sketch(1, 1, 8)
    x = s.dense("x", 300)
    assert not between(s.to(s.dense(x, 8), x).graph)
    assert list(splits(perceptron(100, 8, 100).graph, "dsp", ANY)) == []
    assert list(splits(perceptron(8, 300, 8).graph, "dsp", 0)) == []


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.parametrize("numerics", Numerics)
@pytest.mark.parametrize(("core", "board"), BOARDS)
def test_splits_are_exact(core: str, board: str, numerics: Numerics) -> None:
    """Also with outputs that need arithmetic in double, and with all parts that there may be."""
    every = graphs(numerics)
    planned = [plan(graph, CORES[core], Goals(slowdown=None)) for graph in every]
    others = [next(splits(named(graph, 90 + i), "scalar", ANY)) for i, graph in enumerate(every)]
    planned += [plan(graph, CORES[core], Goals(fusion=False)) for graph in others]
    assert all(map(sums, planned))
    many = together(planned)
    trials = trials_of(many.calls.graph, 3)
    for given, heard in zip(trials, on_host(many, trials), strict=True):
        assert not list(differences(many.calls.graph, given, heard))
    [heard] = on_board(many, board, trials[:1])
    assert not list(differences(many.calls.graph, trials[0], heard))


def test_what_no_integer_form_is_proved_for_is_computed_in_double() -> None:
    """The first network's second layer with a scale of the output that no multiplier reproduces."""
    graph = graphs(Numerics.LITERT)[0]
    [split] = list(splits(graph, "dsp", ANY))[:1]
    total = split.nodes[-1]
    assert isinstance(total.op, PartialSums)
    far = tuple(2**31 for _ in total.op.reach)
    nodes = (*split.nodes[:-1], replace(total, op=replace(total.op, reach=far)))
    planned = plan(replace(split, nodes=nodes), CORES["cortex-m4f"])
    assert planned.calls.calls[-1].floating_point == "double"
    trials = trials_of(graph, 1)[:2]
    for given, heard in zip(trials, on_host(together([planned]), trials), strict=True):
        assert not list(differences(planned.calls.graph, given, heard))


@pytest.mark.slow
@pytest.mark.emulator
@needs_compiler
@pytest.mark.parametrize("numerics", ["litert", "tflm"])
def test_both_judges_agree_with_every_channel(numerics: str, tmp_path: Path) -> None:
    path = tmp_path / "layers.tflite"
    path.write_bytes(perceptron(24, 400, 12, 300, 7).file)
    words = ("-b", "rpi_pico", "--numerics", numerics, "--arena-budget", 300, "--layers", "-n", 1, "--json")
    found = say("verify", path, *words).json
    assert found["plan"]["arena"] <= 300 < found["plan"]["layer_wise"]
    assert found["verify"]["mismatches"] == 0
    parts = [layer for layer in found["layers"] if layer["kernel"] != "partial_sums_s8"]
    assert len(parts) >= 4
    assert found["verify"]["layers_checked"] == len(parts) + 2, "both outputs, and every part of what lies between"
    assert found["pruning"]["layers"] == [] or not any(layer["gone"] for layer in found["pruning"]["layers"])


def test_a_layer_is_not_split_twice() -> None:
    graph = perceptron(24, 400, 12, 300, 7).graph
    for other in splits(graph, "dsp", ANY):
        assert not between(other)
        assert sum(other.macs(node) for node in other.nodes) == graph.total_macs
