"""Channels that pruning made constant or dead are removed, exactly.

What `channel_facts` finds not needed is cut out of every tensor, weight and bias, and what was constant is folded
into the biases of its readers; operators never learn of it. To a fixpoint, since each removal can make others. Found
and proved on MLPerf Tiny's visual wake words network, half of whose multiplications are dead.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Concatenation, Conv2D, DepthwiseConv2D, FullyConnected, Reshape
from tinycompiler.ops.base import Ints
from tinycompiler.ops.convolution import bias_of
from tinycompiler.passes.channel_facts import Constants, Mask, by_input, channels_of, constants_of, needed_of
from tinycompiler.passes.drop_dead import drop_dead
from tinycompiler.passes.fold_constants import fold_constants
from tinycompiler.tensor import Array, DType, Quantization, Tensor

MOSTLY = 7 / 8
"""Of the channels: where more go, the exact number that is needed is left, whatever it is."""


def prune_channels(graph: Graph) -> Graph:
    """The network without constant and dead channels; to a fixpoint, since each removal can make others."""
    while True:
        constants = constants_of(graph)
        whole = [name for name, (mask, _) in constants.items() if mask.all() and graph.writer_of(name)]
        if whole:
            graph = drop_dead(fold_constants(_replaced(graph, constants, whole)))
            continue
        needed = kept_of(graph, constants)
        # A tensor of which nothing is needed is left whole: with its last reader cut, it is dead in the next round.
        keep = {name: np.flatnonzero(mask) for name, mask in needed.items() if mask.any() and not mask.all()}
        empty = {name for name, mask in needed.items() if not mask.any()}
        joined = {name for n in graph.nodes if isinstance(n.op, Concatenation) for name in n.inputs}
        if not keep and not empty & joined:
            return graph
        graph = drop_dead(_cut(graph, constants, keep, empty))


def kept_of(graph: Graph, constants: Constants) -> dict[str, Mask]:
    """The channels that stay: those that are needed, and in images what `in_fours` adds, with all that these need in
    turn.
    """
    found = needed_of(graph, constants, {})
    images = [name for name in found if len(graph.tensors[name].shape) == 4]
    while True:
        wider = found | {name: in_fours(found[name]) for name in images}
        if all((wider[name] == mask).all() for name, mask in found.items()):
            return found
        found = needed_of(graph, constants, wider)


def in_fours(needed: Mask) -> Mask:
    """Where few channels would go, with as many as make a multiple of four, if all were one: kernels load fours, and
    that gains more.
    """
    count = int(needed.sum())
    wider = needed.copy()
    if count and needed.size % 4 == 0 and count >= MOSTLY * needed.size:
        wider[np.flatnonzero(~needed)[: -count % 4]] = True
    return wider


def _replaced(graph: Graph, constants: Constants, names: Sequence[str]) -> Graph:
    """The graph with tensors that are constant as a whole made constants."""
    fixed = []
    for name in names:
        t = graph.tensors[name]
        line = constants[name][1].astype(t.dtype.numpy)
        values = np.broadcast_to(line, t.shape) if t.shape else line.reshape(())
        fixed.append(replace(t, data=np.array(values)))
    return graph.with_nodes((n for n in graph.nodes if n.outputs[0] not in names), fixed)


def _cut(graph: Graph, constants: Constants, keep: dict[str, Ints], empty: set[str]) -> Graph:
    """The graph with only the kept channels, and without the joined tensors that are not needed at all."""
    changed: dict[str, Tensor] = {name: _cut_tensor(graph.tensors[name], kept) for name, kept in keep.items()}
    nodes = []
    for node in graph.nodes:
        new, tensors = _cut_node(graph, node, constants, keep, empty)
        changed |= {t.name: t for t in tensors}
        nodes.append(new)
    return graph.with_nodes(nodes, changed.values())


def _cut_tensor(tensor: Tensor, kept: Ints) -> Tensor:
    origin = tensor.channels if tensor.channels is not None else tuple(range(channels_of(tensor)))
    data = None if tensor.data is None else np.ascontiguousarray(tensor.data[..., kept])
    return replace(tensor, shape=(*tensor.shape[:-1], len(kept)), data=data, channels=tuple(origin[i] for i in kept))


def _cut_node(
    graph: Graph, node: Node, constants: Constants, keep: dict[str, Ints], empty: set[str]
) -> tuple[Node, Sequence[Tensor]]:
    """A node that reads and writes the kept channels, and its new weights and biases."""
    x, y = node.inputs[0], node.outputs[0]
    if isinstance(node.op, Concatenation):
        left = tuple(name for name in node.inputs if name not in empty)
        return replace(node, inputs=left or node.inputs), ()
    if not any(name in keep for name in (x, y)):
        return node, ()
    match node.op:
        case Conv2D() | FullyConnected():
            return _cut_weighted(graph, node, constants, keep)
        case DepthwiseConv2D():
            outputs = keep.get(y, np.arange(channels_of(graph.tensors[y])))
            w = graph.tensors[node.inputs[1]]
            tensors = [_sliced(w, w.values[..., outputs], outputs, f"{node.name} weights")]
            if len(node.inputs) > 2:
                bias = graph.tensors[node.inputs[2]]
                tensors.append(_sliced(bias, bias.values[outputs], outputs, f"{node.name} bias"))
            return replace(node, inputs=(x, *(t.name for t in tensors))), tensors
        case Reshape():
            shape = graph.tensors[y].shape
            return replace(node, op=Reshape((*shape[:-1], len(keep.get(y, range(shape[-1])))))), ()
    return node, ()


def _cut_weighted(
    graph: Graph, node: Node, constants: Constants, keep: dict[str, Ints]
) -> tuple[Node, Sequence[Tensor]]:
    """Weights without the channels that go, and biases that hold what the constant ones added."""
    x, y = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    w = graph.tensors[node.inputs[1]]
    inputs = keep.get(x.name, np.arange(channels_of(x)))
    outputs = keep.get(y.name, np.arange(channels_of(y)))
    mask, values = constants[x.name]
    gone = np.setdiff1d(np.arange(channels_of(x)), inputs)
    sums = by_input(graph, node).sum(axis=1)  # (outputs, inputs)
    added = sums[:, gone] @ np.where(mask[gone], values[gone] - x.zero_point, 0)
    bias = (bias_of(graph.inputs_of(node), [graph.tensors[n].data for n in node.inputs], len(sums)) + added)[outputs]  # type: ignore[misc]
    kept = w.values[outputs][..., inputs]
    old = graph.tensors[node.inputs[2]] if len(node.inputs) > 2 else None
    template = old or Tensor("", (len(sums),), DType.INT32)
    tensors = [
        _sliced(w, kept, outputs, f"{node.name} weights"),
        _sliced(template, bias.astype(np.int32), outputs, f"{node.name} bias"),
    ]
    return replace(node, inputs=(x.name, *(t.name for t in tensors))), tensors


def _sliced(tensor: Tensor, data: Array, outputs: Ints, name: str) -> Tensor:
    """A constant with other data, its scales those of the chosen output channels."""
    q = tensor.quantization
    if q is not None and len(q.scales) > 1:
        q = Quantization(tuple(q.scales[i] for i in outputs), q.zero_point, q.axis)
    return replace(tensor, name=name, shape=data.shape, data=np.ascontiguousarray(data), quantization=q)
