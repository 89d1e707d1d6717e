"""Constant and dead channels go, and no byte changes: in random pruned networks, and in real ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.commands import REAL
from tinycompiler.graph import Graph, Node
from tinycompiler.ops import (
    Add,
    AveragePool2D,
    Clamp,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Numerics,
    Op,
    Padding,
    Reshape,
    Window,
)
from tinycompiler.passes import optimize
from tinycompiler.passes.prune_channels import prune_channels
from tinycompiler.readers.network import read
from tinycompiler.tensor import DType, Quantization, Tensor

SAME = Window((3, 3), padding=Padding(1, 1, 1, 1))
VALID = Window((3, 3))
POINT = Window((1, 1))


class Network:
    """A network in the making: each call adds an operator on int8 tensors and returns its output."""

    def __init__(self, seed: int, numerics: Numerics) -> None:
        self.rng = np.random.default_rng(seed)
        self.numerics = numerics
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []

    def tensor(self, shape: tuple[int, ...], like: str | None = None) -> str:
        name = f"t{len(self.tensors)}"
        fresh = Quantization((float(np.float32(self.rng.uniform(0.02, 0.2))),), int(self.rng.integers(-128, 60)))
        quantization = self.tensors[like].quantization if like else fresh
        self.tensors[name] = Tensor(name, shape, DType.INT8, quantization)
        return name

    def constant(self, data: np.ndarray, scales: tuple[float, ...] = (), axis: int | None = None) -> str:
        name = f"c{len(self.tensors)}"
        quantization = Quantization(scales, 0, axis) if scales else None
        self.tensors[name] = Tensor(name, data.shape, DType(str(data.dtype)), quantization, data)
        return name

    def add(self, op: Op, inputs: tuple[str, ...], like: str | None = None) -> str:
        (shape,) = op.output_shapes([self.tensors[n] for n in inputs])
        output = self.tensor(tuple(shape), like)
        self.nodes.append(Node(f"n{len(self.nodes)}", op, inputs, (output,)))
        return output

    def weighted(self, x: str, channels: int, window: Window | None, depthwise: bool = False) -> str:
        """A convolution (or FULLY_CONNECTED without a window) some of whose output channels are pruned away."""
        depth = self.tensors[x].shape[-1]
        taps = window.kernel if window else ()
        shape = (1, *taps, depth) if depthwise else (channels, *taps, depth)
        weights = self.rng.integers(-40, 41, shape).astype(np.int8)
        pruned = self.rng.random(channels) < self.rng.choice([0.5, 0.1])
        if depthwise:
            weights[..., pruned] = 0
        else:
            weights[pruned] = 0
            weights[..., self.rng.random(depth) < self.rng.choice([0.3, 0.1])] = 0
        scales = tuple(float(np.float32(s)) for s in self.rng.uniform(0.001, 0.02, channels))
        bias = self.rng.integers(-3000, 3000, channels).astype(np.int32)
        low = int(self.rng.choice([-128, -128, -20]))
        clamp = Clamp(low, int(self.rng.choice([127, 90])))
        if window is None:
            op: Op = FullyConnected(clamp=clamp)
        else:
            op = DepthwiseConv2D(window, clamp) if depthwise else Conv2D(window, clamp)
        axis = (3 if depthwise else 0) if len(scales) > 1 else None
        return self.add(op, (x, self.constant(weights, scales, axis), self.constant(bias)))

    def graph(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Graph:
        return Graph("net", inputs, outputs, (), self.tensors, self.numerics).with_nodes(self.nodes).verify()


def assert_unchanged(graph: Graph, seed: int) -> Graph:
    pruned = prune_channels(graph).verify()
    rng = np.random.default_rng(seed)
    for _ in range(3):
        feeds = {n: rng.integers(-128, 128, graph.tensors[n].shape).astype(np.int8) for n in graph.inputs}
        before, after = graph.evaluate(feeds), pruned.evaluate(feeds)
        for name, tensor in pruned.tensors.items():
            if tensor.is_constant or name not in before:
                continue
            kept = list(tensor.channels) if tensor.channels is not None else slice(None)
            np.testing.assert_array_equal(after[name], before[name][..., kept], err_msg=name)
    return pruned


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32 - 1), numerics=st.sampled_from(Numerics))
def test_random_networks_keep_every_byte(seed: int, numerics: Numerics) -> None:
    net = Network(seed, numerics)
    x = net.tensor((1, 8, 8, 4))
    stem = net.weighted(x, 8, SAME)
    deep = net.weighted(stem, 8, SAME if net.rng.random() < 0.5 else VALID, depthwise=True)
    point = net.weighted(deep, 8, POINT)
    joined = net.add(Add(), (point, deep)) if net.rng.random() < 0.5 else point
    pooled = net.add(MaxPool2D(Window((2, 2), (2, 2))), (joined,), joined)
    other = net.weighted(pooled, 6, SAME)
    again = net.weighted(other, 8, SAME, depthwise=False)
    wide = net.add(Concatenation(3), (pooled, net.add(AveragePool2D(SAME), (pooled,), pooled)), pooled)
    last = net.weighted(wide, 5, POINT if net.rng.random() < 0.5 else SAME)
    height, width = net.tensors[last].shape[1:3]
    mean = net.add(AveragePool2D(Window((height, width))), (last,), last)
    flat = net.add(Reshape((1, 5)), (mean,), mean)
    result = net.weighted(flat, 3, None)
    shape = net.tensors[again].shape
    long = net.add(Reshape((1, shape[1] * shape[2] * shape[3])), (again,), again)
    second = net.weighted(long, 4, None)
    assert_unchanged(net.graph((x,), (result, second)), seed)


@pytest.mark.parametrize(
    ("channels", "dead", "left"),
    [(16, 2, 16), (16, 3, 13), (32, 4, 28), (32, 3, 32), (40, 5, 36), (18, 1, 17), (8, 1, 8)],
)
def test_few_dead_channels_stay_where_that_makes_fours(channels: int, dead: int, left: int) -> None:
    net = Network(5, Numerics.LITERT)
    x = net.tensor((1, 4, 4, 4))
    first = net.weighted(x, channels, POINT)
    second = net.weighted(first, 4, POINT)
    for node, axis, count in ((net.nodes[0], 0, channels), (net.nodes[1], 3, channels)):
        weights = net.tensors[node.inputs[1]].values
        weights[:] = np.where(weights == 0, 1, weights)
        weights[(slice(None),) * axis + (slice(count - dead, None),)] = 0
    pruned = assert_unchanged(net.graph((x,), (second,)), 5)
    assert pruned.tensors[first].shape[-1] == left


def test_a_constant_other_than_the_zero_point_stays_in_front_of_padding() -> None:
    """Inside the image it is the constant, at the border the zero point: folding it would be wrong."""
    for window, folds in ((SAME, False), (VALID, True)):
        net = Network(3, Numerics.LITERT)
        x = net.tensor((1, 5, 5, 2))
        zero = net.constant(np.zeros((4, 1, 1, 2), np.int8), (0.01,))
        bias = net.constant(np.array([5000, 6000, 7000, 8000], np.int32))
        constant = net.add(Conv2D(POINT), (x, zero, bias))
        varying = net.constant(net.rng.integers(1, 20, (4, 1, 1, 2)).astype(np.int8), (0.01,))
        some = net.add(Concatenation(3), (constant, net.add(Conv2D(POINT), (x, varying), constant)), constant)
        weights = net.constant(np.ones((2, 3, 3, 8), np.int8), (0.02,))
        y = net.add(Conv2D(window), (some, weights))
        graph = net.graph((x,), (y,))
        pruned = assert_unchanged(graph, 0)
        read_channels = pruned.tensors[pruned.nodes[-1].inputs[0]].shape[3]
        assert (read_channels < 8) == folds


def test_dead_channels_vanish_and_what_feeds_only_them() -> None:
    net = Network(1, Numerics.TFLM)
    x = net.tensor((1, 4, 4, 3))
    first = net.add(
        Conv2D(POINT),
        (x, net.constant(net.rng.integers(1, 50, (6, 1, 1, 3)).astype(np.int8), (0.01,))),
    )
    deep = net.add(
        DepthwiseConv2D(SAME),
        (first, net.constant(net.rng.integers(1, 50, (1, 3, 3, 6)).astype(np.int8), (0.01,))),
    )
    weights = net.rng.integers(1, 50, (2, 1, 1, 6)).astype(np.int8)
    weights[..., [1, 4, 5]] = 0  # nobody reads these
    y = net.add(Conv2D(POINT), (deep, net.constant(weights, (0.01,))))
    pruned = assert_unchanged(net.graph((x,), (y,)), 0)
    assert [pruned.tensors[n.outputs[0]].shape[3] for n in pruned.nodes] == [3, 3, 2]
    assert pruned.tensors[deep].channels == (0, 2, 3)


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize(
    ("model", "macs"),
    [("vww", 3_733_073), ("sparse/ic_chan_dead", None), ("sparse/ic_chan_const", None), ("sparse/ic_u90", None)],
)
def test_real_networks(model: str, macs: int | None) -> None:
    """The visual wake words network was pruned and nobody said so: 3,733,073 of 7,489,664 MACs matter."""
    path = REAL / f"{model}.tflite"
    if not path.is_file():
        pytest.skip(f"{path.name} is not there; set TINYCOMPILER_MODELS")
    for numerics in Numerics:
        graph = read(path, numerics)
        pruned = optimize(graph)
        if macs is not None:
            assert pruned.total_macs <= macs
        rng = np.random.default_rng(0)
        feeds = {n: rng.integers(-128, 128, graph.tensors[n].shape).astype(np.int8) for n in graph.inputs}
        before, after = graph.evaluate(feeds), pruned.evaluate(feeds)
        for name in graph.outputs:
            np.testing.assert_array_equal(before[name], after[name])
