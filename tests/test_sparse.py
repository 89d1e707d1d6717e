"""Kernels that pass over zeros: exact over shapes and patterns, on host and boards; what they refuse; their streams."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import models, sparsity_picture
from tests.draws import Case
from tests.programs import HostProgram, assert_exact, board_outputs, groups, kernels_of, merged, prefixed, trials_of
from tests.test_order import alone, check, joined
from tinycompiler.board import CORES, load
from tinycompiler.graph import Graph, Node
from tinycompiler.kernels import Calls, Run, Site, Wishes, lower
from tinycompiler.kernels.geometry import flat_weights
from tinycompiler.kernels.sparse import Blocks, Deltas, Form
from tinycompiler.kernels.sparse_conv import ConvBlocks, ConvDeltas
from tinycompiler.kernels.sparse_scalar import ScalarBlocks, ScalarDeltas
from tinycompiler.kernels.sparse_stored import ConvBitmap
from tinycompiler.kernels.sparse_vector import VectorBlocks, VectorDeltas
from tinycompiler.ops import Numerics, Relu
from tinycompiler.ops.base import Ints

PROFILES = pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)
BOARDS = ("nucleo_l4r5zi", "nucleo_l552ze_q")
ENDS: tuple[dict[str, Any], ...] = (
    {},
    {"activation": "RELU6"},
    {"activation": "RELU", "output_zero_point": -128},
)
"""Outputs on both sides of the zero point, or clamped there or tighter."""


def zeros(shape: tuple[int, ...], unit: int, kept: float, seed: int) -> np.ndarray[Any, Any]:
    """Weights of which groups of `unit` are zero; a channel of zeros, one without any, the least and greatest."""
    rng = np.random.default_rng(seed)
    flat = rng.integers(-128, 128, (shape[0], int(np.prod(shape[1:])))).astype(np.int8)
    groups_of = -(-flat.shape[1] // unit)
    flat[np.repeat(rng.random((len(flat), groups_of)) > kept, unit, axis=1)[:, : flat.shape[1]]] = 0
    flat[seed % len(flat), :] = 0
    flat[-1, -1], flat[-1, 0] = -128, 127
    return flat.reshape(shape)


def images(unit: int) -> list[Case]:
    """Tiles of four pixels and what is left of a row; channels in words or not; windows and borders of all kinds."""
    told: list[dict[str, Any]] = [
        {"shape": (1, 5, width, channels), "filters": filters, "kernel": kernel}
        for width, channels, filters, kernel in (
            (2, 4, 3, (3, 3)),
            (3, 8, 5, (3, 3)),
            (4, 3, 8, (3, 3)),
            (5, 6, 4, (2, 5)),
            (9, 16, 7, (3, 3)),
            (6, 8, 5, (1, 1)),
            (3, 7, 4, (1, 1)),
            (5, 33, 6, (1, 1)),
        )
    ]
    told += [
        {"shape": (2, 6, 11, 8), "filters": 6, "kernel": (3, 3), "stride": (2, 2)},
        {"shape": (1, 7, 9, 12), "filters": 5, "kernel": (3, 3), "dilation": (2, 2), "padding": "VALID"},
        {"shape": (1, 6, 9, 5), "filters": 5, "kernel": (3, 3), "dilation": (1, 2)},
        {"shape": (1, 3, 7, 16), "filters": 3, "kernel": (1, 1), "stride": (1, 2)},
        {"shape": (1, 4, 4, 300), "filters": 3, "kernel": (2, 2), "kept": 0.02},  # distances beyond a byte
        {"shape": (1, 2, 2, 1200), "filters": 2, "kernel": (1, 1), "kept": 0.002},
    ]
    return [_case(models.conv_2d, i, each, unit) for i, each in enumerate(told)]


def rows(unit: int) -> list[Case]:
    """Fully connected layers of several rows."""
    told = [{"shape": (n, k), "units": u} for n, k, u in ((2, 16, 3), (3, 33, 8), (9, 40, 5))]
    return [_case(models.fully_connected, i, each, unit) for i, each in enumerate(told)]


def vectors(unit: int) -> list[Case]:
    """Fully connected layers of one row, and a kernel over a whole image."""
    sizes = ((16, 2), (33, 5), (40, 8), (129, 3), (640, 4), (31, 67))
    told: list[dict[str, Any]] = [{"shape": (1, k), "units": u} for k, u in sizes]
    told += [{"shape": (1, 1300), "units": 3, "kept": 0.004}, {"shape": (1, 600), "units": 3, "kept": 0.35}]
    wide = {"weight_scale": 2.0**-8, "input_scale": 2.0**-6, "output_scale": 2.0**7}
    told += [{"shape": (1, 24), "units": 3, "biases": np.array([2**28, -(2**27), 5], np.int32), **wide}]
    whole = {"shape": (1, 3, 2, 8), "filters": 5, "kernel": (3, 2), "padding": "VALID"}
    cases = [_case(models.fully_connected, i, each, unit) for i, each in enumerate(told)]
    return [*cases, _case(models.conv_2d, len(told), whole, unit)]


def narrow(unit: int) -> list[Case]:
    """But for biases too large for products of 32 bits."""
    return [case for case in vectors(unit) if "biases" not in case.told]


def small(cases: list[Case]) -> list[Case]:
    """Those whose weights fit into a few kilobytes of scratch, and as pairs of channels have to be."""
    fitting = [case for case in cases if case.told["weights"].size < 3_000]
    return [replace(c, told={**c.told, "weights": np.maximum(c.told["weights"], -127)}) for c in fitting]


def _case(make: Any, seed: int, told: dict[str, Any], unit: int) -> Case:
    shape = told["shape"]
    weights = (told["filters"], *told["kernel"], shape[3]) if make is models.conv_2d else (told["units"], shape[1])
    told = {**ENDS[seed % 3], **told}
    return Case(make, seed, {**told, "weights": zeros(weights, unit, told.pop("kept", 0.2), seed)})


KERNELS: dict[str, list[Case]] = {
    ConvBlocks.name: [*images(4), *rows(4)],
    ConvDeltas.name: [*images(1), *rows(1)],
    VectorBlocks.name: vectors(4),
    VectorDeltas.name: vectors(1),
    ConvBitmap.name: small([*images(1), *rows(1)]),
    ScalarBlocks.name: [*images(4), *rows(4), *narrow(4)],
    ScalarDeltas.name: [*images(1), *rows(1), *narrow(1)],
}
SCALAR = (ScalarBlocks.name, ScalarDeltas.name)


def core_of(kernel: str) -> str:
    return "cortex-m0plus" if kernel in SCALAR else "cortex-m4f"


def forced(graph: Graph, core: str, kernel: str) -> Calls:
    """Every node by that kernel, which takes them all."""
    calls = lower(graph, CORES[core], Wishes(chosen={node.name: kernel for node in graph.nodes}))
    refused = {name: found for name, found in kernels_of(calls).items() if found != kernel}
    assert not refused
    return calls


@pytest.mark.slow
@PROFILES
@pytest.mark.parametrize("kernel", KERNELS)
def test_on_the_host(kernel: str, numerics: Numerics, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    calls = forced(merged(KERNELS[kernel], numerics), core_of(kernel), kernel)
    program = HostProgram(calls, tmp_path)
    for feeds in trials_of(calls.graph):
        assert_exact(calls, KERNELS[kernel], feeds, program.outputs(feeds))
    complaints = capfd.readouterr().err
    assert "runtime error" not in complaints, complaints


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("kernel", "board"),
    [(kernel, board) for kernel in KERNELS for board in (("rpi_pico",) if kernel in SCALAR else BOARDS)],
)
def test_on_boards(kernel: str, board: str) -> None:
    numerics = Numerics.TFLM if board == BOARDS[1] else Numerics.LITERT
    for group in groups(KERNELS[kernel], numerics, flash=150_000, ram=60_000):
        calls = forced(merged(group, numerics), load(board).core.name, kernel)
        trials = trials_of(calls.graph)
        for feeds, found in zip(trials, board_outputs(calls, board, trials), strict=True):
            assert_exact(calls, group, feeds, found)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
def test_outputs_as_near_as_the_order_says(kernel: str) -> None:
    core = CORES[core_of(kernel)]
    graphs = alone(KERNELS[kernel], core)
    wishes = Wishes(chosen={node.name: kernel for graph in graphs for node in graph.nodes})
    check(graphs, core, wishes=wishes)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", [ConvBlocks.name, ConvDeltas.name, *SCALAR])
def test_row_by_row(kernel: str) -> None:
    """Two layers, with some rows of what lies between in memory."""
    core, graphs = CORES[core_of(kernel)], []
    for number, case in enumerate(KERNELS[kernel][:5]):
        graphs.append(prefixed(twice(case.graph(Numerics.LITERT)), f"{number}_"))
    names = tuple(tuple(node.name for node in graph.nodes) for graph in graphs)
    wishes = Wishes(runs=names, chosen={name: kernel for pair in names for name in pair})
    calls = lower(joined(graphs), core, wishes)
    assert all(isinstance(step, Run) for step in calls.steps)
    assert {found for name, found in kernels_of(calls).items() if not name.endswith("relu")} == {kernel}
    check(graphs, core, wishes=wishes)


def twice(graph: Graph) -> Graph:
    """With what is below zero taken out first."""
    [node], x = graph.nodes, graph.tensors[graph.inputs[0]]
    rectified = replace(x, name="rectified")
    first = Node("relu", Relu(), (x.name,), ("rectified",))
    layer = replace(node, inputs=("rectified", *node.inputs[1:]))
    return replace(graph, nodes=(first, layer), tensors={**graph.tensors, "rectified": rectified}).verify()


# What is refused.


def dense(unit: int, kept: float) -> Case:
    return _case(models.conv_2d, 0, {"shape": (1, 4, 8, 16), "filters": 8, "kernel": (3, 3), "kept": kept}, unit)


def long(kept: float) -> Case:
    return _case(models.fully_connected, 0, {"shape": (2, 1600), "units": 3, "kept": kept}, 1)


REFUSALS: dict[str, tuple[Case, Any, str]] = {
    "no zeros": (dense(1, 1.0), ConvBlocks, "of its weights are zero: blocks of 4 save nothing"),
    "some": (dense(1, 0.7), ConvBlocks, "of its weights are zero: blocks of 4 take"),
    "half": (dense(1, 0.6), ConvDeltas, "of its weights are zero: deltas take"),
    "too many": (long(0.4), ConvDeltas, "deltas; 510 are supported"),
    "one pixel": (_case(models.fully_connected, 0, {"shape": (1, 64), "units": 8}, 1), ConvDeltas, "nothing to share"),
    "several": (dense(1, 0.1), VectorDeltas, "output pixels; one is supported"),
    "one output": (_case(models.fully_connected, 1, {"shape": (1, 64), "units": 1}, 1), VectorDeltas, "one output"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_refusals_say_why(what: str) -> None:
    case, kernel, words = REFUSALS[what]
    graph = case.graph(Numerics.LITERT)
    assert words in (kernel().why_not(Site(graph, graph.nodes[0])) or "")


def test_scratch_has_a_limit() -> None:
    graph = dense(1, 0.1).graph(Numerics.LITERT)
    site = Site(graph, graph.nodes[0])
    need = ConvDeltas().lower(site).scratch
    assert ConvDeltas().why_not(Site(graph, graph.nodes[0], limit=need)) is None
    assert "columns take 1,152 bytes" in (ConvDeltas().why_not(Site(graph, graph.nodes[0], limit=need - 1)) or "")


# The streams, read back by loops.


def unpacked(form: Form, weights: Ints) -> Ints:
    """The weights that a stream's steps stand for."""
    steps = form.steps(weights)
    width = steps.weights.shape[1]
    result = np.zeros((len(weights), -(-weights.shape[1] // width) * width), np.int64)
    place, channel = 0, -1
    apart = 1 if getattr(form, "anywhere", False) else width  # taps of a distance
    for of, distance, values in zip(steps.channel, steps.distance, steps.weights, strict=True):
        begins = of != channel
        place = apart * distance + (0 if begins else place + width * isinstance(form, Blocks))
        channel = of
        result[of, place : place + width] += values
        assert 0 <= distance * getattr(form, "tap", 1) <= 255
    return result[:, : weights.shape[1]]


@pytest.mark.parametrize("form", [Blocks(), Blocks(anywhere=True), Deltas(1), Deltas(8)], ids=str)
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.05, 0.5, 1.0])
def test_streams_hold_the_weights(form: Form, kept: float) -> None:
    rng = np.random.default_rng(int(1000 * kept))
    weights = (rng.integers(-128, 128, (9, 4001)) * (rng.random((9, 4001)) < kept)).astype(np.int64)
    np.testing.assert_array_equal(unpacked(form, weights), weights)
    counts = form.steps(weights).counts(len(weights))
    assert not (counts % form.unit).any()


def test_multiplications_are_those_of_the_stream() -> None:
    """What is not zero, and what fills up: at most one weight a channel here."""
    graph = dense(1, 0.1).graph(Numerics.LITERT)
    site = Site(graph, graph.nodes[0])
    left, pixels = int((flat_weights(site) != 0).sum()), 4 * 8
    assert left * pixels <= ConvDeltas().multiplications(site) <= 2 * (left + 8) * pixels
    assert ConvBlocks().multiplications(site) % (4 * pixels) == 0


def test_the_picture_is_of_the_figures() -> None:
    figures = json.loads(sparsity_picture.FIGURES.read_text())
    assert sparsity_picture.PICTURE.read_text() == sparsity_picture.picture(figures)


def test_sparse_layers_pay_where_the_picture_says() -> None:
    """By the figures: blocks of a convolution from a quarter of zeros on, single weights from a half."""
    convolution, vector = json.loads(sparsity_picture.FIGURES.read_text())["layers"]
    for layer, blocks, single in ((convolution, 0.3, 0.55), (vector, 0.6, 0.75)):
        dense = next(iter(layer["dense"].values()))["cycles"]
        for encoding, most in (("blocks of 4", blocks), ("single weights", single)):
            share = sparsity_picture.break_even(layer["sparse"][encoding]["points"], dense, "cycles")
            assert share is not None
            assert share < most
