"""Depthwise convolutions that each take some channels of one image, side by side again afterwards, become one.

    split → (crop) → depthwise, for each piece; concatenation      one depthwise with the largest window

Mixed kernels look so: every group of channels has a window of its own size. The smaller ones get zeros around them, as
crops and sizes say; a zero adds exactly nothing to an integer accumulator. That costs multiplications by zero, and
saves taking the image apart and putting it together: it is done where the first are no more than the elements moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Concatenation, DepthwiseConv2D, Slice, Split, Window
from tinycompiler.passes.drop_dead import drop_dead
from tinycompiler.passes.rewriting import only_reader
from tinycompiler.tensor import Array, DType, Quantization, Tensor


@dataclass(frozen=True, eq=False)
class Piece:
    """A depthwise convolution, and where what it reads begins in the image whose channels it takes some of."""

    node: Node
    op: DepthwiseConv2D
    image: str
    top: int
    left: int
    channel: int
    moved: int
    """Elements that are moved to bring it there."""

    @property
    def end(self) -> tuple[int, int]:
        """Of the window at the first pixel, in rows and columns."""
        return self.top + self.op.window.kernel[0], self.left + self.op.window.kernel[1]


def stack_depthwise(graph: Graph) -> Graph:
    """One convolution instead of such pieces."""
    nodes, added = [], list[Tensor]()
    for node in graph.nodes:
        pieces = _pieces(graph, node)
        window = _window(graph, node, pieces) if pieces else None
        if window is not None:
            constants = _weights(graph, node, pieces, window), _bias(graph, node, pieces)
            op = replace(pieces[0].op, window=window)
            node = replace(node, op=op, inputs=(pieces[0].image, *(t.name for t in constants)))
            added += constants
        nodes.append(node)
    return drop_dead(graph.with_nodes(nodes, added)) if added else graph


def _pieces(graph: Graph, node: Node) -> list[Piece]:
    """What a concatenation of channels joins, if that is all channels of one image in order; else none."""
    y = graph.tensors[node.outputs[0]]
    if not isinstance(node.op, Concatenation) or node.op.axis != 3 or len(y.shape) != 4:
        return []
    pieces = [piece for name in node.inputs if (piece := _piece(graph, name)) is not None]
    sizes = [graph.tensors[name].shape[3] for name in node.inputs]
    if len(pieces) != len(sizes) or {p.image for p in pieces} != {pieces[0].image}:
        return []
    in_order = [p.channel for p in pieces] == [sum(sizes[:i]) for i in range(len(sizes))]
    return pieces if in_order and sum(sizes) == graph.tensors[pieces[0].image].shape[3] else []


def _piece(graph: Graph, name: str) -> Piece | None:
    node = graph.writer_of(name)
    if node is None or not isinstance(node.op, DepthwiseConv2D) or not only_reader(graph, name):
        return None
    x, weights = graph.inputs_of(node)[:2]
    exact = x.dtype in (DType.INT8, DType.INT16) and weights.shape[3] == x.shape[3]
    if not exact or node.op.window.padding or node.op.window.dilation != (1, 1):
        return None
    image, indices, moved = _origin(graph, x.name)
    whole = graph.tensors[image]
    if len(whole.shape) != 4 or whole.shape[0] != x.shape[0]:
        return None
    _, top, left, channel = (int(i) for i in np.unravel_index(int(indices.flat[0]), whole.shape))
    box = np.arange(whole.elements).reshape(whole.shape)[
        :, top : top + x.shape[1], left : left + x.shape[2], channel : channel + x.shape[3]
    ]
    return Piece(node, node.op, image, top, left, channel, moved) if np.array_equal(indices, box) else None


def _origin(graph: Graph, name: str) -> tuple[str, Array, int]:
    """What a tensor is cut out of, the indices of its elements there, and how many elements are moved on the way."""
    writer = graph.writer_of(name)
    if writer is None or not isinstance(writer.op, Slice | Split) or not only_reader(graph, name):
        tensor = graph.tensors[name]
        return name, np.arange(tensor.elements).reshape(tensor.shape), 0
    image, indices, moved = _origin(graph, writer.inputs[0])
    cut = writer.op.rearrange([indices], -1)[writer.outputs.index(name)]
    return image, cut, moved + cut.size


def _window(graph: Graph, node: Node, pieces: Sequence[Piece]) -> Window | None:
    """The window around those of all pieces, or None where these do not fit together or it would not pay."""
    image, y = graph.tensors[pieces[0].image], graph.tensors[node.outputs[0]]
    alike = {(p.op.window.stride, p.op.clamp) for p in pieces}
    kernel = max(p.end[0] for p in pieces), max(p.end[1] for p in pieces)
    window = Window(kernel, pieces[0].op.window.stride)
    begins = min(p.top for p in pieces) == min(p.left for p in pieces) == 0
    if len(alike) != 1 or not begins or window.output_size(*image.shape[1:3]) != y.shape[1:3]:
        return None
    taps = sum(graph.macs(p.node) for p in pieces)
    return window if y.elements * prod(kernel) - taps <= sum(p.moved for p in pieces) + y.elements else None


def _weights(graph: Graph, node: Node, pieces: Sequence[Piece], window: Window) -> Tensor:
    """(1, kh, kw, channels), zero outside of each piece's own window."""
    parts, scales = list[Array](), list[float]()
    for piece in pieces:
        own = graph.tensors[piece.node.inputs[1]]
        assert own.quantization is not None
        after = window.kernel[0] - piece.end[0], window.kernel[1] - piece.end[1]
        parts.append(np.pad(own.values, ((0, 0), (piece.top, after[0]), (piece.left, after[1]), (0, 0))))
        scales += own.quantization.per_channel(own.shape[3])
    data = np.concatenate(parts, axis=3)
    return Tensor(f"weights of {node.name}", data.shape, DType.INT8, Quantization(tuple(scales), 0, 3), data)


def _bias(graph: Graph, node: Node, pieces: Sequence[Piece]) -> Tensor:
    """(channels,), zeros where a piece has none."""
    dtype = DType.INT64 if graph.tensors[pieces[0].image].dtype is DType.INT16 else DType.INT32
    parts: list[Array] = [
        graph.tensors[p.node.inputs[2]].values.reshape(-1)
        if len(p.node.inputs) > 2
        else np.zeros(graph.tensors[p.node.inputs[1]].shape[3], dtype.numpy)
        for p in pieces
    ]
    data = np.concatenate(parts)
    return Tensor(f"bias of {node.name}", data.shape, dtype, None, data)
