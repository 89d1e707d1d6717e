"""Channel split: two fully connected layers, with the channels between them computed some at a time.

Each part of the channels is added to the int32 sums of the second layer at once, and is then forgotten. Integer sums
are exact in any order, so nothing changes but the memory: all channels between, for a part of them and the sums.

Chosen: to write the network so, as layers of some channels and partial sums, instead of a kernel for the pair, because
planner, byte map and emission then know it already; and few parts, since each has its own call.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import FullyConnected, PartialSums
from tinycompiler.ops.base import signed
from tinycompiler.ops.convolution import bias_of, constants, reach_of
from tinycompiler.tensor import DType, Tensor

PARTS = (2, 4, 8)
"""In how many the channels between two layers may come."""
PER_MAC = {"dsp": 4.0, "scalar": 5.0}
"""Instructions per MAC that partial sums take more than a layer at once: counted on Cortex-M4 and M0+."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two layers, and what lies between."""

    first: Node
    second: Node
    between: Tensor
    given: int
    made: int
    """Bytes of the first's input and of the second's output."""

    def saves(self, parts: int) -> int:
        """Bytes that they need less, at least, of what they need one after the other."""
        part, sums = -(-self.between.elements // parts), 4 * self.made
        return self.between.bytes + max(self.given, self.made) - max(self.given + part + sums, part + sums + self.made)


def splits(graph: Graph, isa: str, most: float) -> Iterator[Graph]:
    """The network with those pairs split that need less by it, in more and more parts; adding `most` instructions."""
    for parts in PARTS:
        chosen, extra, used = [], 0.0, set[str]()
        for pair in sorted(_pairs(graph), key=lambda pair: -pair.saves(parts)):
            more = PER_MAC[isa] * graph.macs(pair.second)
            if pair.saves(parts) > 0 and extra + more <= most and not used & {pair.first.name, pair.second.name}:
                chosen.append(pair)
                extra += more
                used |= {pair.first.name, pair.second.name}
        if chosen:
            yield _split(graph, chosen, parts)


def between(graph: Graph) -> set[str]:
    """Tensors between layers that could be split."""
    return {pair.between.name for pair in _pairs(graph)}


def _pairs(graph: Graph) -> Iterator[Pair]:
    for second in graph.nodes:
        first = graph.writer_of(second.inputs[0]) if second.inputs else None
        if first is None or not (_is_plain(graph, first) and _is_plain(graph, second)):
            continue
        name = second.inputs[0]
        if graph.readers_of(name) == (second,) and name not in graph.results:
            given, made = graph.inputs_of(first)[0], graph.outputs_of(second)[0]
            yield Pair(first, second, graph.tensors[name], given.bytes, made.bytes)


def _is_plain(graph: Graph, node: Node) -> bool:
    """Whether it is an int8 layer of one batch."""
    if not isinstance(node.op, FullyConnected) or node.op.sparse:  # its sums are rounded otherwise
        return False
    (x, weights), y = graph.inputs_of(node)[:2], graph.outputs_of(node)[0]
    return x.dtype is y.dtype is DType.INT8 and not x.is_constant and x.elements == weights.shape[1]


def _split(graph: Graph, pairs: Sequence[Pair], parts: int) -> Graph:
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    firsts = {pair.first.name for pair in pairs}
    seconds = {pair.second.name: pair for pair in pairs}
    for node in graph.nodes:
        if node.name in seconds:
            made, new = _parts(graph, seconds[node.name], parts)
            nodes += made
            tensors += new
        elif node.name not in firsts:
            nodes.append(node)
    return graph.with_nodes(nodes, tensors).verify()


def _parts(graph: Graph, pair: Pair, parts: int) -> tuple[list[Node], list[Tensor]]:
    """The pair's nodes, and the tensors that are new."""
    between, y = pair.between, graph.outputs_of(pair.second)[0]
    second, weights = graph.inputs_of(pair.second), graph.inputs_of(pair.second)[1]
    size = -(-between.elements // parts // 4) * 4
    starts = range(0, between.elements, size)
    reach = reach_of(signed(weights.values), bias_of(second, constants(second), y.elements), between.zero_point)
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    sums: tuple[str, ...] = ()
    for number, start in enumerate(starts):
        chosen = slice(start, min(start + size, between.elements))
        some = _part(between, chosen)
        own = [_rows(t, chosen) for t in graph.inputs_of(pair.first)[1:]]
        columns = replace(
            weights, name=f"{weights.name}[:{start}]", shape=(y.elements, some.elements), data=_columns(weights, chosen)
        )
        names = (pair.first.inputs[0], *(t.name for t in own))
        nodes.append(Node(f"{pair.first.name}_{number}", pair.first.op, names, (some.name,)))
        total = start == starts[-1]
        made = y if total else Tensor(f"{y.name}+{number}", y.shape, DType.INT32)
        assert isinstance(pair.second.op, FullyConnected)
        op = PartialSums(y.shape)
        if total:
            op = PartialSums(y.shape, True, pair.second.op.clamp, tuple(reach.tolist()))
        read = (some.name, columns.name, *sums, *(pair.second.inputs[2:] if total else ()))
        nodes.append(Node(f"{pair.second.name}_{number}", op, read, (made.name,)))
        tensors += [some, columns, made, *own]
        sums = (made.name,)
    return nodes, tensors


def _part(tensor: Tensor, chosen: slice) -> Tensor:
    """Some channels."""
    channels = tensor.channels or tuple(range(tensor.elements))
    shape = (*tensor.shape[:-1], chosen.stop - chosen.start)
    name = f"{tensor.name}[{chosen.start}]"
    return replace(tensor, name=name, shape=shape, channels=channels[chosen], part_of=tensor.part_of or tensor.name)


def _rows(tensor: Tensor, chosen: slice) -> Tensor:
    """The weights, or the biases, of some channels."""
    q, data = tensor.quantization, np.ascontiguousarray(tensor.values[chosen])
    if q is not None and len(q.scales) > 1:
        q = replace(q, scales=q.scales[chosen])
    return replace(tensor, name=f"{tensor.name}[{chosen.start}:]", shape=data.shape, data=data, quantization=q)


def _columns(weights: Tensor, chosen: slice) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    return np.ascontiguousarray(weights.values[:, chosen])
