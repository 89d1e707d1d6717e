"""What pruning took from each layer, and why it left the rest: the network before it against the network after.

Nothing is recorded while channels are cut. What went is read off both networks (`Tensor.channels` tells which channels
are left), and why off the same facts that the cutting rests on; so this can say nothing that was not done.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Conv2D, DepthwiseConv2D, FullyConnected, Reshape
from tinycompiler.passes.channel_facts import Constants, Mask, channels_of, constants_of, needs
from tinycompiler.tensor import DType

MOSTLY = 0.5
"""The share of zeros among weights from which on it is worth a word that no channel of them could go."""


@dataclass(frozen=True)
class Pruned:
    """One layer, each pair before and after; a layer that is gone has no channels left."""

    node: str
    op: str
    gone: bool
    channels: tuple[int, int]
    """Of the first output."""
    inputs: tuple[int, int]
    """Channels of the first input."""
    macs: tuple[int, int]
    weight_bytes: tuple[int, int]
    """Of weights and biases, as in the file."""
    constant: int
    """Channels that went since no input can change them; the others that went are read by nobody."""
    why: str
    """A sentence: why channels went, or why none did."""


def pruned(before: Graph, after: Graph) -> tuple[Pruned, ...]:
    """Every layer that multiplies or that lost something, in the order of `before`."""
    constants, left = constants_of(before), constants_of(after)
    nodes = {node.name: node for node in after.nodes}
    found = []
    for node in before.nodes:
        if isinstance(node.op, Reshape):
            continue
        now = nodes.get(node.name)
        layer = _gone(before, node, constants) if now is None else _kept(before, after, node, now, constants, left)
        if layer.gone or layer.macs[0] or layer.channels[0] != layer.channels[1]:
            found.append(layer)
    return tuple(found)


def constant_outputs(graph: Graph) -> tuple[str, ...]:
    """Outputs that no input and no state reaches: they are the same in every inference."""
    moving = {*graph.inputs, *(s.tensor for s in graph.states)}
    for node in graph.nodes:
        if moving.intersection(node.inputs):
            moving.update(node.outputs)
    return tuple(name for name in graph.outputs if name not in moving)


def _gone(graph: Graph, node: Node, constants: Constants) -> Pruned:
    y = node.outputs[0]
    n = channels_of(graph.tensors[y])
    mask = constants[y][0] if y in constants else np.zeros(n, np.bool_)
    computed = "its output never changes, so it was computed when compiling"
    return Pruned(
        node=node.name,
        op=node.op.name,
        gone=True,
        channels=(n, 0),
        inputs=(_inputs(graph, node), 0),
        macs=(graph.macs(node), 0),
        weight_bytes=(_weight_bytes(graph, node), 0),
        constant=int(mask.sum()),
        why=computed if mask.all() else "nothing that is left reads it",
    )


def _kept(before: Graph, after: Graph, node: Node, now: Node, constants: Constants, left: Constants) -> Pruned:
    old, new = before.tensors[node.outputs[0]], after.tensors[now.outputs[0]]
    n = channels_of(old)
    kept = np.arange(n) if new.channels is None else np.array(new.channels, np.int64)
    cut = np.setdiff1d(np.arange(n), kept)
    constant = int(constants[old.name][0][cut].sum()) if len(cut) else 0
    inputs = _inputs(before, node), _inputs(after, now)
    fewer = [f"reads {_channels(inputs[0] - inputs[1])} fewer"] if inputs[1] < inputs[0] and not len(cut) else []
    return Pruned(
        node=node.name,
        op=node.op.name,
        gone=False,
        channels=(n, n - len(cut)),
        inputs=inputs,
        macs=(before.macs(node), after.macs(now)),
        weight_bytes=(_weight_bytes(before, node), _weight_bytes(after, now)),
        constant=constant,
        why="; ".join([*fewer, *_sentences(after, now, left, constant, len(cut) - constant)]),
    )


def _inputs(graph: Graph, node: Node) -> int:
    return channels_of(graph.tensors[node.inputs[0]]) if node.inputs else 0


def _weight_bytes(graph: Graph, node: Node) -> int:
    return sum(graph.tensors[name].bytes for name in dict.fromkeys(node.inputs) if graph.tensors[name].is_constant)


def _sentences(graph: Graph, node: Node, constants: Constants, constant: int, unread: int) -> Iterator[str]:
    if constant:
        yield f"{_channels(constant)} never {'changes' if constant == 1 else 'change'}"
    if unread:
        yield f"nobody reads {_channels(unread)}"
    y = graph.tensors[node.outputs[0]]
    stay = constants[y.name][0] if y.name in constants else np.zeros(channels_of(y), np.bool_)
    if stay.any():
        yield f"{_channels(int(stay.sum()))} could not go: {_blocker(graph, y.name, stay, constants)}"
    elif not constant and not unread:
        yield _whole(graph, node)
        yield from _scattered(graph, node)


def _channels(count: int) -> str:
    return f"{count} channel{'' if count == 1 else 's'}"


def _whole(graph: Graph, node: Node) -> str:
    """Why a layer none of whose channels is constant has all of them."""
    y = graph.tensors[node.outputs[0]]
    if any(graph.tensors[name].dtype is not DType.INT8 for name in (node.inputs[0], y.name)):
        return f"it makes {y.dtype.value} of {graph.tensors[node.inputs[0]].dtype.value}; channels go in int8 only"
    if not _looked_into(graph, node):
        return "only channels of CONV_2D in one group, of DEPTHWISE_CONV_2D and of FULLY_CONNECTED can go"
    if y.name in graph.results:
        return "every channel can change, and is a result of the network"
    readers = [reader.name for reader in graph.readers_of(y.name)]
    more = f" and {len(readers) - 1} more read" if len(readers) > 1 else " reads"
    return f"every channel can change, and {readers[0]}{more} it"


def _looked_into(graph: Graph, node: Node) -> bool:
    x, y = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    if not all(graph.tensors[name].is_constant for name in node.inputs[1:]):
        return False
    match node.op:
        case Conv2D() | FullyConnected():
            return graph.tensors[node.inputs[1]].shape[-1] == x.shape[-1]
        case DepthwiseConv2D():
            return channels_of(y) == channels_of(x)
    return False


def _scattered(graph: Graph, node: Node) -> Iterator[str]:
    """Zeros that fill no channel."""
    if isinstance(node.op, Conv2D | DepthwiseConv2D | FullyConnected) and graph.tensors[node.inputs[1]].is_constant:
        weights = graph.tensors[node.inputs[1]].values
        zeros = weights.size - int(np.count_nonzero(weights))
        if zeros >= MOSTLY * weights.size:
            yield f"{zeros:,} of its {weights.size:,} weights are zero, but not those of a whole channel"


def _blocker(graph: Graph, name: str, stay: Mask, constants: Constants) -> str:
    """Who cannot do without these constant channels, and why."""
    if name in graph.results:
        return "constant, but results of the network"
    everything = {n: np.ones(channels_of(t), np.bool_) for n, t in graph.tensors.items()}
    for reader in graph.readers_of(name):
        held = needs(graph, reader, constants, everything).get(name)
        if held is not None and (stay & held).any():
            return _objection(graph, reader, name, stay, constants)
    return "constant, but what they are computed with is needed"


def _objection(graph: Graph, reader: Node, name: str, stay: Mask, constants: Constants) -> str:
    y = reader.outputs[0]
    if isinstance(reader.op, Conv2D) and _looked_into(graph, reader):
        return f"constant, but not the zero point, with which {reader.name} pads its input"
    if isinstance(reader.op, Conv2D | FullyConnected):
        return f"constant, but {reader.name} takes its input whole"
    on = constants.get(y)
    if on is not None and on[0].shape == stay.shape:
        if (on[0] & stay).any():
            return _blocker(graph, y, on[0] & stay, constants)
        if isinstance(reader.op, DepthwiseConv2D):
            return f"constant, but {reader.name} makes other values of them at the border"
        return f"constant, but {reader.name} joins them with channels that can change"
    return f"constant, but {reader.name} takes its input whole"
