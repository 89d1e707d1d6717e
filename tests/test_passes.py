"""Rewrites change no byte: graphs that trigger each pass, and graphs that it must leave alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import (
    Add,
    AveragePool2D,
    Clamp,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    Logistic,
    MaxPool2D,
    Mul,
    Numerics,
    Op,
    Pad,
    Padding,
    Relu,
    Relu6,
    Requantize,
    Reshape,
    Window,
)
from tinycompiler.passes import PASSES, optimize
from tinycompiler.passes.drop_dead import drop_dead
from tinycompiler.passes.drop_identities import drop_identities
from tinycompiler.passes.fold_constants import fold_constants
from tinycompiler.passes.fuse_clamps import fuse_clamps
from tinycompiler.passes.fuse_pads import fuse_pads
from tinycompiler.tensor import Array, DType, Quantization, Tensor

Pass = Callable[[Graph], Graph]
Shape = tuple[int, ...]

IMAGE: Shape = (2, 6, 5, 3)
USUAL = Quantization((0.05,), -3)
NO_PADDING, NO_CLAMP = Padding(), Clamp()
OTHER = Quantization((0.03,), 11)
BOTH = pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)


class Sketch:
    """A graph in the making: `x` is its input, every operator makes the next tensor."""

    def __init__(self, shape: Shape = IMAGE) -> None:
        self._rng = np.random.default_rng(7)
        self._tensors = {"x": Tensor("x", shape, DType.INT8, USUAL)}
        self._nodes: list[Node] = []

    def constant(self, shape: Shape, dtype: DType = DType.INT8, quantization: Quantization = USUAL) -> str:
        low, high = (-127, 127) if dtype is DType.INT8 else (-9000, 9000)
        data = self._rng.integers(low, high + 1, shape).astype(dtype.numpy)
        return self._tensor(Tensor(f"c{len(self._tensors)}", shape, dtype, quantization, data))

    def _tensor(self, tensor: Tensor) -> str:
        self._tensors[tensor.name] = tensor
        return tensor.name

    def node(self, op: Op, *inputs: str, quantization: Quantization = USUAL) -> str:
        """The operator's output."""
        [shape] = op.output_shapes([self._tensors[name] for name in inputs])
        output = self._tensor(Tensor(f"t{len(self._tensors)}", shape, DType.INT8, quantization))
        self._nodes.append(Node(f"n{len(self._nodes)}", op, inputs, (output,)))
        return output

    def conv(
        self,
        x: str,
        *,
        padding: Padding = NO_PADDING,
        clamp: Clamp = NO_CLAMP,
        quantization: Quantization = USUAL,
    ) -> str:
        weights = self.constant((4, 3, 3, self._tensors[x].shape[3]), quantization=Quantization((0.01,)))
        bias = self.constant((4,), DType.INT32, Quantization((0.0005,)))
        op = Conv2D(Window((3, 3), padding=padding), clamp)
        return self.node(op, x, weights, bias, quantization=quantization)

    def depthwise(self, x: str) -> str:
        weights = self.constant((1, 2, 2, self._tensors[x].shape[3]), quantization=Quantization((0.02,)))
        return self.node(DepthwiseConv2D(Window((2, 2), stride=(2, 1))), x, weights)

    def graph(self, *outputs: str, numerics: Numerics = Numerics.LITERT) -> Graph:
        return Graph("g", ("x",), outputs, tuple(self._nodes), self._tensors, numerics).with_nodes(self._nodes).verify()


def feeds(graph: Graph) -> list[dict[str, Array]]:
    rng = np.random.default_rng(1)
    shapes = {name: graph.tensors[name].shape for name in graph.inputs}
    random = {name: rng.integers(-128, 128, shape).astype(np.int8) for name, shape in shapes.items()}
    return [random, *({n: np.full(s, v, np.int8) for n, s in shapes.items()} for v in (-128, 127, -3))]


def after(rewrite: Pass, graph: Graph) -> Graph:
    """The rewritten graph, with the same outputs for several inputs."""
    rewritten = rewrite(graph).verify()
    assert (rewritten.inputs, rewritten.outputs) == (graph.inputs, graph.outputs)
    for feed in feeds(graph):
        old, new = graph.evaluate(feed), rewritten.evaluate(feed)
        for name in graph.outputs:
            np.testing.assert_array_equal(old[name], new[name])
    return rewritten


def kinds(graph: Graph) -> list[str]:
    return [type(node.op).__name__ for node in graph.nodes]


def untouched(rewrite: Pass, graph: Graph) -> None:
    assert after(rewrite, graph).nodes == graph.nodes


def pads(top: int = 1, bottom: int = 2, left: int = 0, right: int = 1, *, batch: int = 0, channel: int = 0) -> Pad:
    return Pad((batch, top, left, 0), (0, bottom, right, channel))


# fuse_pads


def test_a_pad_goes_into_the_convolution() -> None:
    s = Sketch()
    fused = after(fuse_pads, s.graph(s.conv(s.node(pads(), "x"), padding=Padding(1, 0, 1, 2))))
    [node] = fused.nodes
    assert isinstance(node.op, Conv2D)
    assert node.op.window.padding == Padding(2, 2, 1, 3)
    assert node.inputs[0] == "x"


def test_a_pad_goes_into_the_depthwise_convolution() -> None:
    s = Sketch()
    assert kinds(after(fuse_pads, s.graph(s.depthwise(s.node(pads(), "x"))))) == ["DepthwiseConv2D"]


def test_a_pad_read_by_two_convolutions_goes_into_both() -> None:
    s = Sketch()
    padded = s.node(pads(), "x")
    assert kinds(after(fuse_pads, s.graph(s.conv(padded), s.depthwise(padded)))) == ["Conv2D", "DepthwiseConv2D"]


def test_a_pad_that_others_read_stays_for_them() -> None:
    s = Sketch()
    padded = s.node(pads(), "x")
    graph = s.graph(s.conv(padded), s.node(MaxPool2D(Window((2, 2))), padded))
    fused = after(fuse_pads, graph)
    assert kinds(fused) == ["Pad", "Conv2D", "MaxPool2D"]
    assert fused.nodes[1].inputs[0] == "x"


def test_a_pad_that_is_an_output_stays() -> None:
    s = Sketch()
    padded = s.node(pads(), "x")
    assert kinds(after(fuse_pads, s.graph(s.conv(padded), padded))) == ["Pad", "Conv2D"]


def test_pads_one_after_another() -> None:
    """One run takes the nearer one, another the farther."""
    s = Sketch()
    graph = s.graph(s.conv(s.node(pads(0, 1, 1, 0), s.node(pads(), "x"))))
    once = after(fuse_pads, graph)
    assert kinds(once) == ["Pad", "Conv2D"]
    assert kinds(after(fuse_pads, once)) == ["Conv2D"]


def test_a_pad_with_another_value_than_the_zero_point_stays() -> None:
    """PADV2: a convolution pads with its input's zero point and nothing else."""
    s, t = Sketch(), Sketch()
    other, zero = (replace(pads(), value=v) for v in (USUAL.zero_point + 1, USUAL.zero_point))
    untouched(fuse_pads, s.graph(s.conv(s.node(other, "x"))))
    assert kinds(after(fuse_pads, t.graph(t.conv(t.node(zero, "x"))))) == ["Conv2D"]


@pytest.mark.parametrize("pad", [pads(batch=1), pads(channel=1), pads(0, 0, 0, 0, channel=2)])
def test_pads_of_other_axes_stay(pad: Pad) -> None:
    s = Sketch()
    untouched(fuse_pads, s.graph(s.conv(s.node(pad, "x"))))


def test_pads_before_pooling_stay() -> None:
    """Pooling does not count what lies outside; a pad's pixels count."""
    s = Sketch()
    untouched(fuse_pads, s.graph(s.node(AveragePool2D(Window((2, 2))), s.node(pads(), "x"))))


# fuse_clamps


@BOTH
@pytest.mark.parametrize("op", [Relu(), Relu6()], ids=lambda op: op.name)
def test_a_clamp_goes_into_the_operator_before(op: Op, numerics: Numerics) -> None:
    s = Sketch()
    fused = after(fuse_clamps, s.graph(s.node(op, s.conv("x")), numerics=numerics))
    [node] = fused.nodes
    assert node.op == replace(node.op, clamp=Clamp(-3, 117 if op == Relu6() else 127))  # type: ignore[call-arg]


@pytest.mark.parametrize("clamp", [Clamp(-50, 50), Clamp(-128, -20), Clamp(60, 100), Clamp(0, 0)])
def test_two_clamps_meet(clamp: Clamp) -> None:
    s = Sketch()
    assert kinds(after(fuse_clamps, s.graph(s.node(Relu6(), s.conv("x", clamp=clamp))))) == ["Conv2D"]


def test_clamps_in_a_row_all_go() -> None:
    s = Sketch()
    assert kinds(after(fuse_clamps, s.graph(s.node(Relu6(), s.node(Relu(), s.conv("x")))))) == ["Conv2D"]


@pytest.mark.parametrize("op", [Add(), Mul()], ids=lambda op: op.name)
def test_a_clamp_goes_into_arithmetic(op: Op) -> None:
    s = Sketch()
    assert len(after(fuse_clamps, s.graph(s.node(Relu(), s.node(op, "x", "x")))).nodes) == 1


def test_a_clamp_goes_into_pooling() -> None:
    s = Sketch()
    pooled = s.node(AveragePool2D(Window((2, 2))), "x")
    assert kinds(after(fuse_clamps, s.graph(s.node(Relu(), pooled)))) == ["AveragePool2D"]


@BOTH
@pytest.mark.parametrize("op", [Relu(), Relu6()], ids=lambda op: op.name)
def test_a_clamp_to_other_quantization_stays(op: Op, numerics: Numerics) -> None:
    """TensorFlow Lite Micro's RELU6 even keeps the numbers, and only says that they are of another scale."""
    s = Sketch()
    untouched(fuse_clamps, s.graph(s.node(op, s.conv("x"), quantization=OTHER), numerics=numerics))


def test_a_clamp_stays_when_its_input_is_an_output() -> None:
    s = Sketch()
    made = s.conv("x")
    untouched(fuse_clamps, s.graph(s.node(Relu(), made), made))


def test_a_clamp_stays_when_its_input_has_other_readers() -> None:
    s = Sketch()
    made = s.conv("x")
    untouched(fuse_clamps, s.graph(s.node(Add(), s.node(Relu(), made), made)))


def test_a_clamp_of_an_input_or_after_a_table_stays() -> None:
    s = Sketch()
    untouched(fuse_clamps, s.graph(s.node(Relu(), "x")))
    t = Sketch()
    table = t.node(Requantize(), "x", quantization=OTHER)
    untouched(fuse_clamps, t.graph(t.node(Relu(), table, quantization=OTHER)))


# drop_identities


IDENTITIES: Sequence[Op] = (Reshape(IMAGE), pads(0, 0, 0, 0), Concatenation(3), Requantize())


@pytest.mark.parametrize("op", IDENTITIES, ids=lambda op: op.name)
def test_identities_go(op: Op) -> None:
    s = Sketch()
    assert kinds(after(drop_identities, s.graph(s.conv(s.node(op, s.node(op, "x")))))) == ["Conv2D"]


@pytest.mark.parametrize("op", IDENTITIES, ids=lambda op: op.name)
def test_identities_that_make_an_output_stay(op: Op) -> None:
    s = Sketch()
    untouched(drop_identities, s.graph(s.node(op, "x")))


def test_what_only_looks_like_an_identity_stays() -> None:
    s = Sketch()
    flat = s.node(Reshape((2, 90)), "x")
    scaled = s.node(Requantize(), flat, quantization=OTHER)
    relu = s.node(Relu(), scaled, quantization=OTHER)
    joined = s.node(Concatenation(1), relu, relu, quantization=OTHER)
    moved = s.node(Logistic(), joined, quantization=Quantization((1 / 256,), -128))
    untouched(drop_identities, s.graph(s.node(Reshape((360,)), moved, quantization=Quantization((1 / 256,), -128))))


def test_a_requantization_that_rounds_to_the_same_numbers_stays() -> None:
    """Its numbers are the same and mean something else: their readers would compute with another scale."""
    s = Sketch()
    nearly = Quantization((0.05000001,), -3)
    untouched(drop_identities, s.graph(s.conv(s.node(Requantize(), "x", quantization=nearly))))


# fold_constants, drop_dead


def test_constants_are_computed_now() -> None:
    s = Sketch()
    weights = s.node(Mul(), s.constant((2, 1, 1, 3)), s.node(Relu(), s.constant(IMAGE)))
    folded = after(fold_constants, s.graph(s.node(Add(), "x", weights)))
    assert kinds(folded) == ["Add"]
    assert folded.tensors[weights].is_constant
    assert set(folded.tensors) == {"x", weights, folded.outputs[0]}


def test_what_depends_on_an_input_is_not() -> None:
    s = Sketch()
    untouched(fold_constants, s.graph(s.node(Add(), "x", s.constant((1, 1, 1, 3)))))


def test_what_no_output_needs_goes() -> None:
    s = Sketch()
    s.node(Relu(), s.conv("x"))
    kept = s.node(Relu(), "x")
    s.node(Add(), kept, kept)
    assert kinds(after(drop_dead, s.graph(kept))) == ["Relu"]


def test_what_an_output_needs_stays() -> None:
    s = Sketch()
    made = s.conv("x")
    untouched(drop_dead, s.graph(s.node(Relu(), made), made))


# All together.


@BOTH
def test_all_passes(numerics: Numerics) -> None:
    s = Sketch()
    padded = s.node(pads(1, 1, 1, 1), s.node(Reshape(IMAGE), "x"))
    s.depthwise(padded)  # nobody reads it
    left = s.node(Relu6(), s.node(Requantize(), s.node(Relu(), s.conv(padded))))
    right = s.conv(padded, quantization=OTHER)
    scale = s.node(Relu(), s.constant((1, 1, 1, 4), quantization=OTHER), quantization=OTHER)
    total = s.node(Relu(), s.node(Add(), left, s.node(Mul(), right, scale)))
    graph = s.graph(total, numerics=numerics)
    small = after(optimize, graph)
    assert (len(graph.nodes), kinds(small)) == (12, ["Conv2D", "Conv2D", "Mul", "Add"])
    assert str(optimize(small)) == str(small)


def test_every_pass_leaves_an_empty_network_alone() -> None:
    s = Sketch()
    graph = s.graph("x")
    for rewrite in PASSES:
        untouched(rewrite, graph)
