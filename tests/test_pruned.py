"""What pruning says it did is what it did, and a network that does nothing any more says so."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import models
from tests.commands import REAL, say
from tests.test_prune_channels import POINT, SAME, VALID, Network
from tests.test_report import validate
from tinycompiler.graph import Graph
from tinycompiler.ops import Add, Concatenation, Conv2D, DepthwiseConv2D, Numerics, Op
from tinycompiler.passes import PASSES, optimize
from tinycompiler.passes.prune_channels import prune_channels
from tinycompiler.passes.pruned import Pruned, constant_outputs, pruned
from tinycompiler.readers.network import read


def told(graph: Graph) -> dict[str, Pruned]:
    return {layer.node: layer for layer in pruned(graph, prune_channels(graph))}


def constant_of(net: Network, x: str, values: list[int], varying: list[int] | None = None) -> str:
    """A 1x1 convolution whose channels are constant but for those named."""
    depth = net.tensors[x].shape[-1]
    weights = np.zeros((len(values), 1, 1, depth), np.int8)
    weights[varying or []] = 9
    return net.add(Conv2D(POINT), (x, net.constant(weights, (0.01,)), net.constant(np.array(values, np.int32))))


def reading(net: Network, x: str, op: Op, channels: int = 3, like: str | None = None) -> str:
    """A convolution that reads every channel."""
    kernel = op.window.kernel if isinstance(op, Conv2D) else (1, 1)
    weights = np.full((channels, *kernel, net.tensors[x].shape[-1]), 5, np.int8)
    return net.add(op, (x, net.constant(weights, (0.01,))), like)


@given(seed=st.integers(0, 2**32 - 1))
def test_counts_add_up(seed: int) -> None:
    net = Network(seed, Numerics.LITERT)
    x = net.tensor((1, 6, 6, 4))
    a = net.weighted(x, 8, SAME)
    b = net.weighted(a, 8, SAME, depthwise=True)
    y = net.weighted(net.weighted(b, 6, POINT), 5, SAME)
    graph = net.graph((x,), (y,))
    after = prune_channels(graph)
    layers = pruned(graph, after)
    assert sum(layer.macs[0] for layer in layers) == graph.total_macs
    assert sum(layer.macs[1] for layer in layers) == after.total_macs
    for layer in layers:
        gone = layer.channels[0] - layer.channels[1]
        assert 0 <= layer.constant <= gone <= layer.channels[0]
        assert layer.gone == (layer.node not in {node.name for node in after.nodes})
        assert layer.gone == (layer.channels[1] == 0)
        assert layer.weight_bytes[1] <= layer.weight_bytes[0]
        assert layer.why


def test_constant_and_unread_channels_are_told_apart() -> None:
    net = Network(0, Numerics.LITERT)
    x = net.tensor((1, 5, 5, 2))
    some = constant_of(net, x, [100, 200, 300, 400, 500], varying=[1, 2, 4])
    weights = np.full((2, 1, 1, 5), 5, np.int8)
    weights[..., 4] = 0
    y = net.add(Conv2D(POINT), (some, net.constant(weights, (0.01,))))
    first, last = told(net.graph((x,), (y,))).values()
    assert (first.channels, first.constant) == ((5, 2), 2)
    assert first.why == "2 channels never change; nobody reads 1 channel"
    assert first.macs == (5 * 5 * 2 * 5, 5 * 5 * 2 * 2)
    assert last.inputs == (5, 2)
    assert last.why == "reads 3 channels fewer; every channel can change, and is a result of the network"


def test_a_constant_channel_stays_in_front_of_padding() -> None:
    net = Network(0, Numerics.LITERT)
    x = net.tensor((1, 5, 5, 2))
    y = reading(net, constant_of(net, x, [5000, 6000, 7000], varying=[0]), Conv2D(SAME))
    why = told(net.graph((x,), (y,)))["n0"].why
    assert why == "2 channels could not go: constant, but not the zero point, with which n1 pads its input"


def test_a_constant_channel_stays_as_a_result() -> None:
    net = Network(0, Numerics.LITERT)
    x = net.tensor((1, 5, 5, 2))
    y = constant_of(net, x, [5000, 6000], varying=[0])
    assert told(net.graph((x,), (y,)))["n0"].why == "1 channel could not go: constant, but results of the network"


def test_a_constant_channel_stays_where_it_is_joined() -> None:
    net = Network(0, Numerics.LITERT)
    x = net.tensor((1, 5, 5, 2))
    some = constant_of(net, x, [5000, 6000, 7000], varying=[0])
    y = reading(net, net.add(Add(), (some, reading(net, x, Conv2D(POINT)))), Conv2D(POINT))
    why = told(net.graph((x,), (y,)))["n0"].why
    assert why == "2 channels could not go: constant, but n2 joins them with channels that can change"


def test_zeros_that_fill_no_channel_are_mentioned() -> None:
    net = Network(0, Numerics.LITERT)
    x = net.tensor((1, 4, 4, 4))
    y = net.add(Conv2D(POINT), (x, net.constant(np.eye(4, dtype=np.int8).reshape(4, 1, 1, 4), (0.01,))))
    (layer,) = told(net.graph((x,), (y,))).values()
    assert layer.why.endswith("12 of its 16 weights are zero, but not those of a whole channel")


def test_whole_layers_go() -> None:
    net = Network(0, Numerics.LITERT)
    x = net.tensor((1, 5, 5, 2))
    still = constant_of(net, x, [100, 200])
    deep = net.add(DepthwiseConv2D(VALID), (still, net.constant(np.full((1, 3, 3, 2), 7, np.int8), (0.01,))))
    moving = reading(net, x, Conv2D(VALID), 2, like=deep)
    y = reading(net, net.add(Concatenation(3), (deep, moving), deep), Conv2D(POINT))
    layers = told(net.graph((x,), (y,)))
    for name in ("n0", "n1"):
        assert layers[name].gone
        assert layers[name].why == "its output never changes, so it was computed when compiling"
        assert layers[name].macs[1] == layers[name].weight_bytes[1] == 0
    assert not layers["n2"].gone


# Networks whose output is the same for every input.


@pytest.fixture
def still(tmp_path: Path) -> Path:
    """The file of a convolution all of whose weights are zero."""
    path = tmp_path / "still.tflite"
    path.write_bytes(models.conv_2d(np.random.default_rng(0), weights=np.zeros((4, 3, 3, 3), np.int8)))
    return path


LOUD = "is the same for every input: a broken model more often than a clever one"


def test_a_constant_network_says_so_everywhere(still: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYCOMPILER_CC", "/nonexistent")
    board = ("-b", "nucleo_l4r5zi")
    out = tmp_path / "out"
    for words in (
        ("check", still),
        ("check", still, *board),
        ("compile", still, *board, "-o", out),
        ("report", out),
        ("report", out, "--markdown"),
        ("report", out, "--html"),
    ):
        said = say(*words)
        assert said.code == 0
        assert LOUD in said.out.replace("&#39;", "'"), words
        (warning,) = say(*words, "--json").json["warnings"]
        assert LOUD in warning
    validate(say("report", out, "--json").json)


def test_others_do_not(tmp_path: Path) -> None:
    path = tmp_path / "moving.tflite"
    path.write_bytes(models.conv_2d(np.random.default_rng(0)))
    for words in (("check", path), ("check", path, "-b", "nucleo_l4r5zi")):
        assert "WARNING" not in say(*words).out
        assert say(*words, "--json").json["warnings"] == []


def test_only_outputs_that_no_input_reaches() -> None:
    net = Network(0, Numerics.LITERT)
    x = net.tensor((1, 5, 5, 2))
    still, moving = constant_of(net, x, [100, 200]), reading(net, x, Conv2D(POINT))
    graph = optimize(net.graph((x,), (still, moving)))
    assert constant_outputs(graph) == (still,)


@pytest.mark.slow
@pytest.mark.models
def test_the_pruned_network_that_nobody_labelled_so() -> None:
    path = REAL / "vww.tflite"
    if not path.is_file():
        pytest.skip(f"{path.name} is not there; set TINYCOMPILER_MODELS")
    at = PASSES.index(prune_channels)
    before = optimize(read(path), PASSES[:at])
    layers = {layer.node: layer for layer in pruned(before, optimize(before, PASSES[at:]))}
    assert sum(layer.macs[0] for layer in layers.values()) == 7_489_664
    assert sum(layer.macs[1] for layer in layers.values()) <= 3_733_073
    assert layers["conv_2d_26"].channels == (256, 22)
    assert layers["conv_2d_26"].weight_bytes[0] == 256 * 256 + 4 * 256
    assert layers["conv_2d_0"].channels == (8, 8)
