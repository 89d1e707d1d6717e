"""Binary layers: our reference against the answers that came with the models, kernels against the reference, and files
that say nonsense.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from tests import models, models_binary
from tests.commands import REAL, needs_compiler, needs_real, say
from tests.draws import Case, graph_of, trials
from tests.models_binary import flexbuffer, lce_bconv_2d, lce_chain
from tests.planned import differences, named, on_board, together
from tests.programs import HostProgram, assert_exact, board_outputs, joined, kernels_of, merged, program_of, trials_of
from tests.tflite_builder import ModelBuilder
from tinycompiler.board import CORES, load
from tinycompiler.build import build
from tinycompiler.emulators import run
from tinycompiler.errors import ModelError
from tinycompiler.graph import Graph
from tinycompiler.kernels import Run, Site, Wishes, lower
from tinycompiler.kernels.binary import Bconv, BconvContext, formulas_of, table_of
from tinycompiler.kernels.conv_signs import ConvSigns, magnitudes
from tinycompiler.lifetimes import lay_out
from tinycompiler.ops import Conv2D, LceBconv2d, LceBMaxPool2d, LceQuantize, MaxPool2D, Numerics, Op
from tinycompiler.ops.binary import packed, unpacked
from tinycompiler.passes import optimize
from tinycompiler.planning import Goals, Planned, plan
from tinycompiler.readers import flexbuffers
from tinycompiler.readers.network import read
from tinycompiler.reference import reference
from tinycompiler.tensor import Array, DType, Quantization, Tensor

FOLDER = REAL / "binary"
BOARDS = ("nucleo_l4r5zi", "nucleo_l552ze_q", "rpi_pico")
NETWORKS = sorted(FOLDER.glob("*.tflite"))
ANSWERED = sorted(path.with_suffix(".tflite") for path in (FOLDER / "ops").glob("*.npz"))
REFUSED = sorted(path for path in (FOLDER / "ops").glob("*.tflite") if path not in ANSWERED)
KINDS = ("bits", "int8", "float32")


def answers(path: Path, numerics: Numerics) -> Iterator[tuple[Array, Array]]:
    """Inputs of a network, and what larq's operators and the profile's interpreter made of them."""
    stored = np.load(path.with_suffix(".npz"))
    ending = "tflm" if numerics is Numerics.TFLM else ""
    for name in stored.files:
        for start, prefix in (("in0_seed", f"hyb{ending}0_seed"), ("natin_", f"nathyb{ending}_")):
            if name.startswith(start):
                yield stored[name], stored[prefix + name.removeprefix(start)]


# Against stored answers.


@needs_real
@pytest.mark.models
def test_operators_are_what_larq_computes() -> None:
    assert len(ANSWERED) == 60
    for path in ANSWERED:
        graph, stored = read(path), np.load(path.with_suffix(".npz"))
        found = graph.evaluate({graph.inputs[0]: stored["in0"]})[graph.outputs[0]]
        assert found.tobytes() == stored["out0"].tobytes(), path.name


@needs_real
@pytest.mark.models
@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_networks_are_what_larq_and_the_interpreters_compute(path: Path) -> None:
    for numerics in Numerics:
        graph = read(path, numerics)
        pairs = list(answers(path, numerics))
        assert len(pairs) >= 8
        for x, wanted in pairs:
            assert graph.evaluate({graph.inputs[0]: x})[graph.outputs[0]].tobytes() == wanted.tobytes()


@needs_real
@pytest.mark.models
@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_what_larq_refuses(path: Path) -> None:
    with pytest.raises(ModelError, match="not defined where the image is padded with 0; pad with ones"):
        read(path)


@needs_real
@needs_compiler
@pytest.mark.models
@pytest.mark.emulator
@pytest.mark.parametrize("board", BOARDS[::2])
def test_operators_on_boards(board: str) -> None:
    stored = [np.load(path.with_suffix(".npz")) for path in ANSWERED]
    graph = joined([read(path) for path in ANSWERED]).verify()
    calls = lower(graph, load(board).core)
    feeds = dict(zip(graph.inputs, (each["in0"] for each in stored), strict=True))
    [found] = board_outputs(calls, board, [feeds])
    for name, path, each in zip(graph.outputs, ANSWERED, stored, strict=True):
        assert found[name].tobytes() == each["out0"].tobytes(), path.name


@needs_real
@needs_compiler
@pytest.mark.models
@pytest.mark.emulator
@pytest.mark.parametrize("board", BOARDS)
def test_networks_on_boards(board: str) -> None:
    """All in one image, each as it is planned: every tensor, and the stored answers."""
    graphs = [named(optimize(read(path)), i) for i, path in enumerate(NETWORKS)]
    planned = together([plan(graph, load(board).core) for graph in graphs])
    stored = [next(answers(path, Numerics.LITERT)) for path in NETWORKS]
    whole = planned.calls.graph
    feeds = dict(zip(whole.inputs, (x for x, _ in stored), strict=True))
    [heard] = on_board(planned, board, [feeds])
    assert not list(differences(whole, feeds, heard))
    for name, (_, wanted) in zip(whole.outputs, stored, strict=True):
        assert heard[f"output {name}"] == wanted.tobytes()


# Kernels against the reference.


def drawn_convolutions(count: int, start: int) -> Iterator[Case]:
    """Every output and padding, with windows, strides, dilations and groups of all kinds."""
    rng = np.random.default_rng(start)
    for i in range(count):
        groups = int(rng.choice([1, 1, 1, 2, 3]))
        channels = int(rng.choice([1, 16, 24, 33, 64, 70])) if groups == 1 else 32 * groups * int(rng.integers(1, 3))
        output, activation = KINDS[i % 3], str(rng.choice(models_binary.ACTIVATIONS))
        ones = output == "bits" or channels % 2 == 1 or bool(rng.integers(2))
        told: dict[str, Any] = {
            "shape": (int(rng.integers(1, 3)), *(int(n) for n in rng.integers(3, 8, 2)), channels),
            "filters": groups * int(rng.choice([1, 5, 11, 32, 40])),
            "kernel": tuple(int(n) for n in rng.integers(1, 4, 2)),
            "stride": tuple(int(n) for n in rng.integers(1, 3, 2)),
            "padding": str(rng.choice(models_binary.PADDINGS)),
            "ones": ones,
            "groups": groups,
            "output": output,
            "activation": activation,
            "zero_point": int(rng.integers(-128, 128)),
        }
        if told["padding"] == "SAME":
            told["dilation"] = tuple(int(n) for n in rng.integers(1, 3, 2))
        yield Case(lce_bconv_2d, start + i, told)


DEEP: dict[str, Any] = {"shape": (1, 3, 3, 512), "filters": 24, "padding": "VALID", "output": "int8", "scale": 18.0}
CASES = (
    *(Case(models_binary.lce_quantize, 0, {"zero_point": z}) for z in (-128, 0, 127)),
    *(Case(models_binary.lce_quantize, 0, {"shape": (2, 1, c), "zero_point": -1}) for c in (1, 31, 32, 33, 64)),
    *(Case(models_binary.lce_quantize, 0, {"dtype": t}) for t in ("bool", "float32")),
    *(Case(models_binary.lce_dequantize, 0, {"dtype": t}) for t in ("int8", "bool", "float32")),
    *(Case(models_binary.lce_dequantize, 0, {"shape": (3, c), "scale": 0.004}) for c in (1, 32, 64, 65)),
    *(Case(models_binary.lce_b_max_pool_2d, 0, {"padding": p}) for p in models_binary.PADDINGS),
    Case(models_binary.lce_b_max_pool_2d, 0, {"kernel": (3, 1), "stride": (1, 3), "shape": (2, 4, 5, 3)}),
    # the least and the most products of a sum, around the powers of two at which a plane is added
    *(
        Case(lce_bconv_2d, c, {"shape": (1, 1, 3, c), "kernel": (1, k), "padding": "VALID", "output": o, "filters": 34})
        for c, k, o in product((15, 16, 32, 127, 128, 255, 256), (1, 2), ("bits", "int8"))
    ),
    # sums whose values take 64 bits, and slopes without end
    Case(lce_bconv_2d, 1, {**DEEP, "multipliers": np.random.default_rng(0).normal(0, 1, 24)}),
    Case(lce_bconv_2d, 0, {"output": "int8", "filters": 2, "multipliers": np.array([1e9, 1.0])}),
    Case(lce_bconv_2d, 0, {"output": "int8", "filters": 2, "multipliers": np.array([0.0, -2.0]), "ones": False}),
)


def check_on_host(cases: list[Case], folder: Path, capfd: pytest.CaptureFixture[str]) -> set[str]:
    """Runs them as one program; the kinds of output that convolutions had."""
    calls = lower(merged(cases, Numerics.LITERT), CORES["cortex-m0plus"])
    program = HostProgram(calls, folder)
    for feeds in trials_of(calls.graph):
        assert_exact(calls, cases, feeds, program.outputs(feeds))
    complaints = capfd.readouterr().err
    assert "runtime error" not in complaints, complaints
    return {call.context.output for call in calls.calls if isinstance(call.context, BconvContext)}


@pytest.mark.slow
def test_limits_on_the_host(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert check_on_host(list(CASES), tmp_path, capfd) == {"bits", "line", "wide"}


def test_tables_on_the_host(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Where no formula is found."""
    cases = [Case(lce_bconv_2d, 0, {"output": "int8", "activation": a, "ones": False}) for a in ("NONE", "RELU")]
    with patch("tinycompiler.kernels.binary.formulas_of", return_value=None):
        assert check_on_host(cases, tmp_path, capfd) == {"table"}


@pytest.mark.slow
def test_random_convolutions_on_the_host(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert {"bits", "line", "float"} <= check_on_host(list(drawn_convolutions(40, 0)), tmp_path, capfd)


@needs_compiler
@pytest.mark.emulator
@pytest.mark.parametrize("board", BOARDS[::2])
def test_random_convolutions_on_boards(board: str) -> None:
    cases = [*CASES, *drawn_convolutions(12, 2000)]
    calls = lower(merged(cases, Numerics.LITERT), load(board).core)
    trials = trials_of(calls.graph)
    for feeds, found in zip(trials, board_outputs(calls, board, trials), strict=True):
        assert_exact(calls, cases, feeds, found)


def test_an_image_of_one_row_is_computed_upright(tmp_path: Path) -> None:
    """Rows that are columns: the filter is turned too."""
    case = Case(lce_bconv_2d, 0, {"shape": (1, 1, 9, 40), "kernel": (1, 3), "stride": (1, 2)})
    graph = replace(case.graph(Numerics.LITERT), name="turned")
    names = tuple(node.name for node in graph.nodes)
    calls = lower(graph, CORES["cortex-m0plus"], Wishes(runs=(names,)))
    [run_] = calls.steps
    assert isinstance(run_, Run)
    assert run_.stages[0].height == 5
    program = HostProgram(calls, tmp_path)
    for feeds in trials([graph.tensors["x"]], 0):
        assert (program.outputs(feeds)["y"] == graph.evaluate(feeds)["y"]).all()


@needs_compiler
@pytest.mark.emulator
def test_row_by_row() -> None:
    """Chains from int8 values to values as one run each: what lies between is never whole in memory."""
    core, rng = load(BOARDS[0]).core, np.random.default_rng(1)
    found = []
    for number, output in enumerate(("int8", "float32")):
        graph = named(graph_of(lce_chain(rng, output=output), Numerics.LITERT), number)
        calls = lower(graph, core, Wishes(runs=(tuple(node.name for node in graph.nodes),)))
        [run_] = calls.steps
        assert isinstance(run_, Run)
        assert sum(map(run_.ring_bytes, run_.rings)) < sum(graph.tensors[name].bytes for name in run_.rings) / 2
        found.append(Planned(calls, lay_out(calls)))
    planned = together(found)
    whole = planned.calls.graph
    trials = [
        {name: rng.integers(-128, 128, (1, 10, 10, 24)).astype(np.int8) for name in whole.inputs} for _ in range(2)
    ]
    for feeds, heard in zip(trials, on_board(planned, BOARDS[0], trials), strict=True):
        assert not list(differences(whole, feeds, heard))


@pytest.mark.parametrize(
    ("form", "channels", "scale"), [("line", 40, 1.0), ("line", 40, 2.0**20), ("wide", 512, 100.0)]
)
def test_formulas_are_tried_on_every_count(form: str, channels: int, scale: float) -> None:
    """Played with integers of as many bits as on the device; slopes without end are as good as steep ones."""
    for seed in range(4):
        told = {"filters": 12, "output": "int8", "activation": models_binary.ACTIVATIONS[seed % 4], "ones": seed < 2}
        told |= {"shape": (1, 3, 3, channels), "scale": 9 * channels / 250 if form == "wide" else None}
        multipliers = np.random.default_rng(seed).normal(0, 1, 12) * (scale if form == "line" else 1)
        graph = Case(lce_bconv_2d, seed, {**told, "multipliers": multipliers}).graph(Numerics.LITERT)
        site = Site(graph, graph.nodes[0])
        found, wanted = formulas_of(site), table_of(site)
        assert found is not None
        assert form == found[0] or form == "wide"
        assert isinstance(site.op, LceBconv2d)
        twice = site.op.bounded(site.inputs, np.arange(wanted.shape[1]))[np.newaxis]
        words = found[1].view(np.int32).T[:, :, np.newaxis]
        if found[0] == "line":
            exact = twice.astype(np.int32) * (words[0] >> 5) + words[1]
            assert exact.dtype == np.int32
            shift = words[0] & 31
        else:
            exact = twice * words[0].astype(np.int64) + (words[3].astype(np.int64) << 32) + words[2].astype(np.uint32)
            shift = words[1]
        assert (np.clip((((exact - (exact < 0)) >> shift) + 1) >> 1, -128, 127) == wanted).all()


def test_bits_are_packed_and_unpacked() -> None:
    bits = np.random.default_rng(0).integers(0, 2, (3, 70))
    assert (unpacked(packed(bits), 70) == bits).all()
    assert packed(np.array([[1, 0, 1]])).tolist() == [[5]]
    assert packed(np.ones((1, 32))).tolist() == [[-1]]


# int8 values and weights that are signs.


def with_signs(make: Callable[..., bytes], size: tuple[int, ...], seed: int = 0, scale: int = 0, **told: Any) -> Case:
    """Weights of +s or -s, s drawn for each output channel or told."""
    rng = np.random.default_rng(seed)
    magnitudes = np.full(size[0], scale) if scale else rng.integers(1, 128, size[0])
    weights = rng.choice([-1, 1], size) if scale != 128 else np.full(size, -1)
    scaled = weights * magnitudes.reshape(-1, *(1,) * (len(size) - 1))
    return Case(make, seed, {"activation": "NONE", "weights": scaled.astype(np.int8), **told})


def image_with_signs(filters: int, kernel: tuple[int, int], shape: tuple[int, ...], **told: Any) -> Case:
    more = {"shape": shape, "filters": filters, "kernel": kernel, **told}
    return with_signs(models.conv_2d, (filters, *kernel, shape[3]), sum(shape), **more)


SIGNED = (
    image_with_signs(9, (3, 3), (1, 5, 6, 5)),
    image_with_signs(8, (3, 3), (2, 4, 5, 28)),  # sums of 252 values
    image_with_signs(3, (3, 3), (1, 4, 4, 57), activation="RELU6"),  # in three pieces of unlike length
    image_with_signs(17, (1, 1), (1, 3, 3, 64), scale=127),
    image_with_signs(16, (2, 3), (1, 6, 1, 1), stride=(2, 1)),
    image_with_signs(4, (3, 1), (1, 7, 5, 3), dilation=(2, 1)),
    image_with_signs(5, (3, 3), (1, 3, 3, 28), scale=128),  # the greatest sum of one table
    *(with_signs(models.fully_connected, (u, c), c, shape=(n, c), units=u) for u, c, n in ((1, 3, 1), (9, 256, 3))),
)


def chosen_signs(graph: Graph, spare: int = 0) -> Wishes:
    names = [node.name for node in graph.nodes]
    return Wishes(chosen=dict.fromkeys(names, "conv_2d_s1_signs"), spare=dict.fromkeys(names, spare))


@pytest.mark.slow
@pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)
def test_signs_on_the_host(numerics: Numerics, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    graph = merged(SIGNED, numerics)
    calls = lower(graph, CORES["cortex-m0plus"], chosen_signs(graph, 10_000))
    assert {(call.kernel, call.encoding, call.bits) for call in calls.calls} == {("conv_2d_s1_signs", "binary", 1)}
    program = HostProgram(calls, tmp_path)
    for feeds in trials_of(graph):
        assert_exact(calls, SIGNED, feeds, program.outputs(feeds))
    assert "runtime error" not in capfd.readouterr().err


@needs_compiler
@pytest.mark.emulator
@pytest.mark.parametrize("board", BOARDS[::2])
def test_signs_on_boards(board: str) -> None:
    graph = merged(SIGNED, Numerics.LITERT)
    calls = lower(graph, load(board).core, chosen_signs(graph))
    trials = trials_of(graph)
    for feeds, found in zip(trials, board_outputs(calls, board, trials), strict=True):
        assert_exact(calls, SIGNED, feeds, found)


def test_what_signs_take() -> None:
    """An eighth of the bytes; as much scratch as there is, and a refusal where there is none; and no other weights."""
    graph = merged([image_with_signs(32, (3, 3), (1, 8, 8, 64))], Numerics.LITERT)
    [call] = lower(graph, CORES["cortex-m4f"], chosen_signs(graph)).calls
    bits = 32 * 9 * 64 // 8
    assert sum(c.size for c in call.constants) == bits + 16 * 32
    site = Site(graph, graph.nodes[0])
    kernel = ConvSigns()
    taken = {kernel.lower(replace(site, spare=spare)).scratch for spare in (0, 4200, 100_000)}
    assert len(taken) == 3
    least = 4 * 9 * 64 + 64 + 8 * 32
    assert kernel.lower(replace(site, limit=least)).scratch == least
    assert "the arena's budget leaves" in (kernel.why_not(replace(site, limit=least - 1)) or "")
    assert magnitudes(np.array([[1, -1], [3, 3]])) is not None
    assert magnitudes(np.array([[1, -1], [3, 2]])) is None
    assert magnitudes(np.array([[0, 0]])) is None


@needs_compiler
@pytest.mark.emulator
def test_signs_row_by_row() -> None:
    rng = np.random.default_rng(0)
    case = image_with_signs(9, (3, 3), (1, 5, 6, 5))
    graph = replace(case.graph(Numerics.LITERT), name="signs")
    names = tuple(node.name for node in graph.nodes)
    wishes = replace(chosen_signs(graph), runs=(names,))
    calls = lower(graph, load(BOARDS[0]).core, wishes)
    assert {call.kernel for call in calls.calls} == {"conv_2d_s1_signs"}
    planned = Planned(calls, lay_out(calls))
    feeds = {name: rng.integers(-128, 128, graph.tensors[name].shape).astype(np.int8) for name in graph.inputs}
    [heard] = on_board(planned, BOARDS[0], [feeds])
    assert not list(differences(graph, feeds, heard))


# Speed and memory.


def layer(channels: int, size: int, output: str) -> Graph:
    """A 3x3 layer of as many channels as it reads."""
    told = {"shape": (1, size, size, channels), "filters": channels, "output": output}
    return replace(Case(lce_bconv_2d, 0, told).graph(Numerics.LITERT), name="layer")


@needs_compiler
@pytest.mark.emulator
@pytest.mark.parametrize(
    ("channels", "size", "output", "most"),
    [(128, 8, "bits", 0.30), (32, 16, "bits", 0.32), (128, 8, "int8", 0.35), (32, 16, "int8", 0.50)],
)
def test_instructions_of_a_product(channels: int, size: int, output: str, most: float) -> None:
    graph, board = layer(channels, size, output), load("nucleo_l4r5zi")
    calls = lower(graph, board.core)
    elf = build(program_of(calls), board, vectors=[bytes(4 * graph.tensors["x"].elements)])
    [instructions] = run(elf, board, count=True).node_instructions
    assert instructions / graph.total_macs <= most
    bits = graph.tensors["filter"].bytes
    assert sum(c.size for c in calls.calls[0].constants) <= (1.05 if output == "bits" else 1.25) * bits


def with_int8_activations(graph: Graph) -> Graph:
    """The same layers on int8 values of the same shapes, the bits of whose words are the channels."""
    nodes, tensors, source = [], dict(graph.tensors), {}
    for node in graph.nodes:
        [y], inputs = graph.outputs_of(node), tuple(source.get(name, name) for name in node.inputs)
        if isinstance(node.op, LceQuantize):
            source[y.name] = inputs[0]
            continue
        if isinstance(node.op, LceBconv2d | LceBMaxPool2d):
            filters = graph.tensors[node.inputs[1]].shape if isinstance(node.op, LceBconv2d) else None
            depth = tensors[inputs[0]].shape[-1]
            shape = (*y.shape[:3], filters[0] if filters else depth)
            tensors[y.name] = Tensor(y.name, shape, DType.INT8, y.quantization or Quantization((0.1,)))
            op: Op = MaxPool2D(node.op.window)
            if filters:
                data = np.ones((*filters[:3], depth), np.int8)
                tensors[inputs[1]] = Tensor(inputs[1], data.shape, DType.INT8, Quantization((0.1,)), data)
                op, inputs = Conv2D(node.op.window), inputs[:2]
            node = replace(node, op=op)
        nodes.append(replace(node, inputs=inputs))
    return replace(graph, tensors=tensors).with_nodes(nodes).verify()


@pytest.mark.slow
@needs_real
@pytest.mark.models
def test_bits_take_a_part_of_the_memory_of_int8_values() -> None:
    """Of the arena, whether rows are computed as they are needed or whole layers; and of flash the bits alone."""
    graph = read(FOLDER / "bnn_mnist_chain_q.tflite")
    core, int8 = CORES["cortex-m4f"], with_int8_activations(graph)
    for goals in (Goals(), Goals(fusion=False)):
        assert 2 * plan(graph, core, goals=goals).arena < plan(int8, core, goals=goals).arena
    weights = sum(c.size for call in plan(graph, core).calls.calls for c in call.constants)
    bits = [
        graph.tensors[node.inputs[1]].bytes
        for node in graph.nodes
        if len(node.inputs) > 1 and graph.tensors[node.inputs[1]].is_constant
    ]
    assert weights <= 1.1 * sum(bits)


# Files that say nonsense.


def test_a_flexbuffer_is_read_back() -> None:
    values = {"a": 3, "stride_height": -1, "zz": 100}
    for width in (1, 2, 4, 8):
        assert flexbuffers.decode(flexbuffer(values, width=width)) == values
    assert flexbuffers.decode(flexbuffer({"b": 255}, width=1, kind=flexbuffers.UINT)) == {"b": 255}


def test_a_damaged_flexbuffer_is_refused_or_read() -> None:
    rng = np.random.default_rng(0)
    whole = flexbuffer({f"option_{i}": i for i in range(8)}, width=1)
    for end in range(len(whole)):
        with pytest.raises(ValueError, match=r"."):
            flexbuffers.decode(whole[:end])
    for _ in range(3000):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 2):
            data[place] = rng.integers(256)
        try:
            found = flexbuffers.decode(bytes(data))
        except ValueError:
            continue
        assert all(isinstance(v, int) for v in found.values())


Change = dict[str, Any]
NONSENSE: tuple[tuple[str, Change], ...] = (
    ("its option stride_height is missing", {"without": ("stride_height",)}),
    ("its option channels_in is missing", {"without": ("channels_in",)}),
    ("its option channels_in is 0, and 1 to 65535 is possible", {"more": {"channels_in": 0}}),
    ("its option padding is 2, and 0 to 1 is possible", {"more": {"padding": 2}}),
    ("its option pad_values is -1", {"more": {"pad_values": -1}}),
    ("its option stride_width is 0", {"more": {"stride_width": 0}}),
    ("its option dilation_height_factor is 70000", {"more": {"dilation_height_factor": 70000}}),
    ("its option fused_activation_function is 4", {"more": {"fused_activation_function": 4}}),
    ("its threshold is absent", {"inputs": {4: None}}),
    ("its multiplier is absent", {"output": "int8", "inputs": {2: None}}),
    ("its multiplier and bias is absent", {"output": "float32", "inputs": {2: None, 3: None}}),
    ("the first 2 not absent", {"inputs": {1: None}}),
    ("'x' has 2 words for its channels, and 3 are needed", {"more": {"channels_in": 70}}),
    ("has bits beyond its 33 channels", {"more": {"channels_in": 33}}),
    ("bits as output are not defined where the image is padded with 0", {"ones": False}),
    ("33 input channels are an odd number", {"shape": (1, 5, 6, 33), "ones": False, "output": "int8"}),
    ("do not divide into groups", {"shape": (1, 5, 6, 96), "groups": 3, "filters": 4}),
    ("threshold 'filter' (int32", {"inputs": {4: "filter"}}),
    ("output channel 1 are no finite", {"output": "int8", "multipliers": np.array([1, np.nan] * 20)}),
    ("output 'y' has shape (1, 5, 6, 2), and the operator makes", {"more": {"stride_height": 2}}),
)


@pytest.mark.parametrize(("words", "told"), NONSENSE, ids=[words for words, _ in NONSENSE])
def test_nonsense_is_refused_in_a_sentence(words: str, told: Change, tmp_path: Path) -> None:
    told = {"filters": 40, **told} if "multipliers" in told else told
    path = tmp_path / "nonsense.tflite"
    path.write_bytes(lce_bconv_2d(np.random.default_rng(0), **told))
    said = say("compile", path, "-b", "bluepill")
    assert said.code == 3
    [line] = said.err.splitlines()
    assert words in line
    assert "lcebconv2d_0" in line


def test_options_that_are_no_flexbuffer_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "nonsense.tflite"
    data = lce_bconv_2d(np.random.default_rng(0))
    options = flexbuffer({"channels_in": 40})
    assert options[:11] in data
    path.write_bytes(data.replace(options[:11], b"channels_on"))
    assert "its option channels_in is missing" in say("compile", path, "-b", "bluepill").err
    pool = models_binary.lce_b_max_pool_2d(np.random.default_rng(0), more={"stride_height": 0})
    path.write_bytes(pool)
    assert "its option stride_height is 0" in say("compile", path, "-b", "bluepill").err


def test_why_a_kernel_refuses() -> None:
    graph = Case(lce_bconv_2d, 0, {"output": "int8"}).graph(Numerics.LITERT)
    site = Site(graph, graph.nodes[0])
    with patch("tinycompiler.kernels.binary.PLANES", 8), patch("tinycompiler.kernels.binary.VALUE_PLANES", 8):
        assert "products have more than 7 bits" in (Bconv().why_not(site) or "")
    with patch("tinycompiler.kernels.binary.formulas_of", return_value=None):
        assert kernels_of(lower(graph, CORES["cortex-m0plus"])) == {graph.nodes[0].name: "lce_bconv_2d"}
        with patch("tinycompiler.kernels.binary.LARGEST_TABLE", 100):
            assert "have no formula, and their table takes" in (Bconv().why_not(site) or "")


# The judge of networks with such operators.


def test_other_operators_are_judged_as_ever(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert.interpreter")
    from tinycompiler.readers.network import inspect

    path = tmp_path / "chain.tflite"
    path.write_bytes(with_edges(np.random.default_rng(0)))
    found = inspect(path)
    assert found.graph is not None
    judge = reference(found.file, found.graph, layers=True)
    assert "ai-edge-litert" in judge.name
    assert "LceQuantize, LceBconv2d" in judge.name
    x = np.random.default_rng(1).integers(-128, 128, (1, 4, 4, 8)).astype(np.int8)
    names = [name for node in found.graph.nodes for name in node.outputs]
    theirs, ours = judge([x], names), found.graph.evaluate({"x": x})
    for name in names:
        assert theirs[name].tobytes() == ours[name].tobytes()


def with_edges(rng: np.random.Generator) -> bytes:
    """int8 operators before, between and behind binary ones, and beside them."""
    model = ModelBuilder("edges")
    scaling = {"scales": 0.1, "zero_points": 3}
    model.tensor("x", (1, 4, 4, 8), **scaling)
    for name in ("r", "p", "s", "y"):
        model.tensor(name, (1, 4, 4, 8), **(scaling if name in ("r", "s", "y") else {"scales": 0.7, "zero_points": -2}))
    model.operator("RELU", ["x"], ["r"])
    options = {"stride_height": 1, "stride_width": 1, "dilation_height_factor": 1, "dilation_width_factor": 1}
    options |= {"channels_in": 8, "padding": 0, "pad_values": 1, "fused_activation_function": 0}
    for i, (source, target) in enumerate((("r", "p"), ("s", "q"))):
        if target == "q":
            model.operator("ADD", ["p", "x"], ["s"], options={})
            model.tensor("q", (1, 4, 4, 8), scales=0.7, zero_points=-2)
        model.tensor(f"bits{i}", (1, 4, 4, 1), "int32")
        model.operator("CUSTOM:LceQuantize", [source], [f"bits{i}"])
        model.tensor(f"w{i}", (8, 3, 3, 1), "int32", data=models_binary.random_bits(rng, (8, 3, 3), 8))
        for kind in ("m", "b"):
            model.tensor(f"{kind}{i}", (8,), "float32", data=rng.normal(0, 1, 8).astype(np.float32))
        ends = [f"bits{i}", f"w{i}", f"m{i}", f"b{i}", None]
        model.operator("CUSTOM:LceBconv2d", ends, [target], custom_options=flexbuffer(options))
    model.operator("ADD", ["q", "r"], ["y"], options={})
    return model.inputs("x").outputs("y").build()


@needs_real
@needs_compiler
@pytest.mark.models
@pytest.mark.emulator
def test_verify_by_stored_answers(tmp_path: Path) -> None:
    """Exact by the stored answers, no longer with one byte changed; and what is asked of the files."""
    path = FOLDER / "ops" / "bconv_000.tflite"
    stored = np.load(path.with_suffix(".npz"))
    given, right, wrong = (tmp_path / name for name in ("x.npy", "y.npy", "z.npy"))
    np.save(given, np.stack([stored["in0"]] * 2))
    outputs = np.stack([stored["out0"]] * 2)
    np.save(right, outputs)
    outputs[-1, 0, 3, 1, 2] ^= 1
    np.save(wrong, outputs)
    command = ("verify", path, "-b", BOARDS[0], "--input", given, "--expect")
    said = say(*command, right)
    assert said.code == 0, said.err
    assert f"EXACT: 0 of {outputs.size} output bytes differ over 2 vectors" in said.out
    assert "answers stored in y.npy" in said.out
    assert say(*command, wrong).code == 1
    np.save(right, outputs[:1])
    assert "found outputs of 1 inferences, wanted 2 as in --input" in say(*command, right).err
    assert say("verify", path, "-b", BOARDS[0], "--expect", right).code == 2
