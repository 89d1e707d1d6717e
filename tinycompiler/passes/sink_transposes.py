"""Transposes around operators that do not care for the order of axes meet behind them, and cancel.

Exporters from channels-first frameworks write transpose; add; transpose. An operator that works element by element (or
pads, or joins along one axis) does the same on the transposes' inputs, its axes renamed, and one transpose follows it.
Done step by step towards the outputs; kept only when fewer elements are transposed in the end.
"""

from dataclasses import replace

import numpy as np

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Concatenation, Dequantize, Op, Pad, Quantize, Transpose, Unary
from tinycompiler.ops.elementwise import Broadcasting
from tinycompiler.passes.drop_dead import drop_dead
from tinycompiler.passes.drop_identities import drop_identities
from tinycompiler.passes.free_moves import free_moves
from tinycompiler.passes.merge_transposes import merge_transposes
from tinycompiler.tensor import Tensor

Axes = tuple[int, ...]


def sink_transposes(graph: Graph) -> Graph:
    """The graph with transposes sunk as far as they go, when that makes less work."""
    if not any(isinstance(n.op, Transpose) for n in graph.nodes):
        return graph
    sunk = drop_dead(drop_identities(free_moves(merge_transposes(_all_sunk(graph)))))
    return sunk if transposed(sunk) < transposed(graph) else graph


def transposed(graph: Graph) -> int:
    """Elements that transposes move, not counting those that move nothing."""
    return sum(graph.tensors[n.outputs[0]].elements for n in free_moves(graph).nodes if isinstance(n.op, Transpose))


def _all_sunk(graph: Graph) -> Graph:
    """One walk towards the outputs: what a transpose sinks behind is passed before its readers are looked at."""
    tensors = dict(graph.tensors)
    writers: dict[str, Node] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        for new in _sunk(node, writers, tensors) or (node,):
            nodes.append(new)
            writers |= dict.fromkeys(new.outputs, new)
    return graph.with_nodes(nodes, tensors.values())


def _sunk(node: Node, writers: dict[str, Node], tensors: dict[str, Tensor]) -> tuple[Node, ...] | None:
    """The node on untransposed values and a transpose behind it; None when it cannot be so. New tensors are added."""
    axes = _common_axes(node, writers, tensors)
    if axes is None or len(node.outputs) != 1:
        return None
    op = _renamed(node.op, axes)
    if op is None:
        return None
    inputs = [_untransposed(name, axes, writers, tensors) for name in node.inputs]
    y = tensors[node.outputs[0]]
    shape = tuple(np.array(y.shape)[np.argsort(axes)].tolist())
    before = replace(y, name=f"{y.name} untransposed", shape=shape)
    tensors[before.name] = before
    return (
        replace(node, op=op, inputs=tuple(inputs), outputs=(before.name,)),
        Node(f"transpose behind {node.name}", Transpose(axes), (before.name,), (y.name,)),
    )


def _common_axes(node: Node, writers: dict[str, Node], tensors: dict[str, Tensor]) -> Axes | None:
    """The axes that all moving inputs are transposed by, when constants can be untransposed too."""
    found = set()
    for name in node.inputs:
        writer = writers.get(name)
        if writer is not None and isinstance(writer.op, Transpose):
            found.add(writer.op.axes)
        elif not tensors[name].is_constant:
            return None
    if len(found) != 1:
        return None
    [axes] = found
    constants = [tensors[name] for name in node.inputs if tensors[name].is_constant]
    plain = all(c.quantization is None or c.quantization.axis is None for c in constants)
    return axes if plain and all(len(c.shape) <= len(axes) for c in constants) else None


def _renamed(op: Op, axes: Axes) -> Op | None:
    """The operator on values whose axis `axes[i]` was axis i; None for operators that care."""
    match op:
        case Unary() | Broadcasting() | Quantize() | Dequantize():
            return op
        case Concatenation():
            return Concatenation(axes[op.axis])
        case Pad():
            order = np.argsort(axes).tolist()
            return replace(op, before=tuple(op.before[i] for i in order), after=tuple(op.after[i] for i in order))
    return None


def _untransposed(name: str, axes: Axes, writers: dict[str, Node], tensors: dict[str, Tensor]) -> str:
    """What a transpose reads, or a new constant with its axes in that order."""
    if name in writers:
        return writers[name].inputs[0]
    c = tensors[name]
    if c.elements == 1:
        return name
    full = c.values.reshape((1,) * (len(axes) - len(c.shape)) + c.shape)
    data = np.ascontiguousarray(full.transpose(np.argsort(axes)))
    new = replace(c, name=f"{name} by {'-'.join(map(str, axes))}", shape=data.shape, data=data)
    tensors[new.name] = new
    return new.name
