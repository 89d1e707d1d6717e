"""What pruning left behind, found channel by channel: constants forward, needs backward.

Forward, a channel (an index of a tensor's last axis) is *constant* when no input can change it: its weights over
channels that vary are all zero, or it is computed from constant ones only. Backward, a channel is *needed* when some
reader cannot do without it: a convolution does without a constant by folding it into its biases, and without a dead
one by its weights being zero. Borders are the trap: a convolution that pads sees the zero point outside the image, so a
constant other than the zero point may be folded only where nothing is padded.

Instead of a rule for each operator that computes values: constants run through the operators' own references, so that
nothing here rounds.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import (
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Mul,
    Reshape,
    Unary,
)
from tinycompiler.ops.base import Ints, signed
from tinycompiler.tensor import DType, Tensor

Mask = NDArray[np.bool_]
Constants = dict[str, tuple[Mask, Ints]]
"""Tensor -> (which channels are constant, their values)."""


def channels_of(tensor: Tensor) -> int:
    return tensor.shape[-1] if tensor.shape else 1


def constants_of(graph: Graph) -> Constants:
    """Forward: what every computed tensor's channels are when they cannot vary."""
    found: Constants = {}
    for name in graph.inputs:
        found[name] = _varying(graph.tensors[name])
    for state in graph.states:
        found[state.tensor] = _varying(graph.tensors[state.tensor])
    for node in graph.nodes:
        if isinstance(node.op, Concatenation):
            joined = (graph.tensors[name] for name in node.inputs)
            found |= {t.name: _fixed(t) for t in joined if t.is_constant and len(graph.readers_of(t.name)) == 1}
    for node in graph.nodes:
        for name in node.outputs:
            found[name] = _varying(graph.tensors[name])
        if all(graph.tensors[name].dtype is DType.INT8 for name in (*node.inputs[:1], *node.outputs)):
            result = _constants_of_node(graph, node, found)
            if result is not None:
                found[node.outputs[0]] = result
    return found


def _varying(tensor: Tensor) -> tuple[Mask, Ints]:
    n = channels_of(tensor)
    return np.zeros(n, np.bool_), np.zeros(n, np.int64)


def _fixed(tensor: Tensor) -> tuple[Mask, Ints]:
    """A constant's channels that are the same everywhere."""
    lines = signed(tensor.values).reshape(-1, channels_of(tensor))
    same: Mask = (lines == lines[0]).all(axis=0)
    return same, np.where(same, lines[0], 0)


def _constants_of_node(graph: Graph, node: Node, found: Constants) -> tuple[Mask, Ints] | None:
    x, y = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    moving = [name for name in node.inputs if not graph.tensors[name].is_constant]
    match node.op:
        case Conv2D() | FullyConnected():
            if len(moving) != 1 or moving[0] != x.name or not _plain(graph, node):
                return None
            mask, _ = found[x.name]
            weights = by_input(graph, node)
            foldable = mask & _foldable(graph, node, found)
            constant = (weights[:, :, ~foldable] == 0).all(axis=(1, 2))
        case DepthwiseConv2D():
            if y.shape[3] != x.shape[3] or len(moving) != 1:
                return None
            weights = signed(graph.tensors[node.inputs[1]].values)
            constant = found[x.name][0] | (weights[0] == 0).all(axis=(0, 1))
        case Reshape():
            return _reshaped(found[x.name], x, y)
        case Concatenation() if node.op.axis == len(y.shape) - 1 and all(name in found for name in node.inputs):
            parts = [found[name] for name in node.inputs]
            return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
        case AveragePool2D() | MaxPool2D() | Unary():
            constant = found[x.name][0]
        case Add() | Mul():
            if len(moving) != 2 or len({graph.tensors[name].shape for name in node.inputs}) != 1:
                return None
            constant = found[node.inputs[0]][0] & found[node.inputs[1]][0]
        case _:
            return None
    return _evaluated(graph, node, found, constant)


def _evaluated(graph: Graph, node: Node, found: Constants, constant: Mask) -> tuple[Mask, Ints]:
    """The values of channels said to be constant, by the operator's own reference; those that differ at borders are
    not.
    """
    x = graph.tensors[node.inputs[0]]
    y = graph.tensors[node.outputs[0]]
    if not constant.any():
        return _varying(y)
    values = []
    for name in node.inputs:
        t = graph.tensors[name]
        if t.data is not None:
            values.append(t.data)
        else:
            mask, fixed = found[name]
            line = np.where(mask, fixed, t.zero_point).astype(np.int8)
            values.append(np.broadcast_to(line, t.shape) if t.shape else line.reshape(()))
    assert x.dtype is DType.INT8
    result = node.op.evaluate(graph.inputs_of(node), (y,), values, graph.numerics)[0]
    lines = signed(result).reshape(-1, channels_of(y))
    same = (lines == lines[0]).all(axis=0)
    return constant & same, np.where(constant & same, lines[0], 0)


def _plain(graph: Graph, node: Node) -> bool:
    """Whether a weighted node is one that channels can be cut out of: constant weights, one group."""
    x, w = graph.tensors[node.inputs[0]], graph.tensors[node.inputs[1]]
    return w.is_constant and w.shape[-1] == x.shape[-1] and all(graph.tensors[n].is_constant for n in node.inputs[1:])


def by_input(graph: Graph, node: Node) -> Ints:
    """Weights as (outputs, taps, inputs)."""
    w = graph.tensors[node.inputs[1]]
    return signed(w.values).reshape(w.shape[0], -1, w.shape[-1])


def _foldable(graph: Graph, node: Node, found: Constants) -> Mask:
    """Constant input channels that the biases can take over."""
    mask, values = found[node.inputs[0]]
    if isinstance(node.op, Conv2D) and node.op.window.padding:
        at_zero: Mask = mask & (values == graph.tensors[node.inputs[0]].zero_point)
        return at_zero
    return mask


def _reshaped(constants: tuple[Mask, Ints], x: Tensor, y: Tensor) -> tuple[Mask, Ints]:
    """Through a reshape that keeps the last axis, or that lays pixels side by side."""
    n, m = channels_of(x), channels_of(y)
    if n == m:
        return constants
    if m % n == 0:
        return np.tile(constants[0], m // n), np.tile(constants[1], m // n)
    return _varying(y)


def needed_of(graph: Graph, constants: Constants, wanted: Mapping[str, Mask]) -> dict[str, Mask]:
    """Backward: which channels of each computed tensor some reader cannot do without, to a fixpoint; those that are
    `wanted` are to be kept for other reasons.

    An operator that works channel by channel has as many inputs as outputs, so what is needed of one side for other
    reasons is needed of the other.
    """
    needed = {name: np.zeros(channels_of(graph.tensors[name]), np.bool_) for name in constants}
    for name in {*graph.inputs, *graph.results, *(s.tensor for s in graph.states)} & set(needed):
        needed[name][:] = True
    for name, mask in wanted.items():
        needed[name] |= mask
    while True:
        before = sum(int(mask.sum()) for mask in needed.values())
        for node in reversed(graph.nodes):
            for name, mask in needs(graph, node, constants, needed).items():
                if name in needed:
                    needed[name] |= mask
            for name in node.outputs:
                needed[name] |= _bound(graph, node, graph.tensors[name], needed)
        if sum(int(mask.sum()) for mask in needed.values()) == before:
            return needed


def needs(graph: Graph, node: Node, constants: Constants, needed: dict[str, Mask]) -> dict[str, Mask]:
    """What a node needs of its inputs, given what is needed of its output."""
    y = node.outputs[0]
    if isinstance(node.op, Conv2D | FullyConnected):
        if _plain(graph, node) and node.inputs[0] in constants:
            unread = (by_input(graph, node)[needed[y]] == 0).all(axis=(0, 1))
            return {node.inputs[0]: ~(unread | _foldable(graph, node, constants))}
    elif _channel_by_channel(graph, node):
        match node.op:
            case Concatenation():
                ends = np.cumsum([channels_of(graph.tensors[name]) for name in node.inputs])
                return dict(zip(node.inputs, np.split(needed[y], ends[:-1].tolist()), strict=True))
            case Reshape():
                lines = needed[y].reshape(-1, channels_of(graph.tensors[node.inputs[0]]))
                return {node.inputs[0]: lines.sum(axis=0) > 0}
            case _:
                return {name: needed[y] for name in node.inputs if not graph.tensors[name].is_constant}
    return {name: np.ones(channels_of(graph.tensors[name]), np.bool_) for name in node.inputs}


def _bound(graph: Graph, node: Node, y: Tensor, needed: dict[str, Mask]) -> Mask:
    """What of a node's output y must be there because the inputs have it."""
    if isinstance(node.op, Conv2D | FullyConnected) and _plain(graph, node):
        return np.zeros(channels_of(y), np.bool_)
    if not _channel_by_channel(graph, node):
        return np.ones(channels_of(y), np.bool_)
    inputs = [needed[name] for name in node.inputs if name in needed]
    match node.op:
        case Concatenation():
            return np.concatenate(inputs)
        case Reshape():
            return np.tile(inputs[0], channels_of(y) // len(inputs[0]))
        case _:
            every: Mask = np.any(inputs, axis=0)
            return every


def _channel_by_channel(graph: Graph, node: Node) -> bool:
    """Whether output channel i depends on input channel i only, so that it can be cut from both."""
    x, y = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    match node.op:
        case DepthwiseConv2D():
            return x.shape[3] == y.shape[3] and all(graph.tensors[n].is_constant for n in node.inputs[1:])
        case AveragePool2D() | MaxPool2D() | Unary():
            return True
        case Add() | Mul():
            return _same_shapes(graph, node)
        case Concatenation():
            alone = (not graph.tensors[n].is_constant or len(graph.readers_of(n)) == 1 for n in node.inputs)
            return node.op.axis == len(y.shape) - 1 and len(set(node.inputs)) == len(node.inputs) and all(alone)
        case Reshape():
            return channels_of(y) % channels_of(x) == 0
    return False


def _same_shapes(graph: Graph, node: Node) -> bool:
    a, b = graph.inputs_of(node)
    return a.shape == b.shape and not a.is_constant and not b.is_constant
