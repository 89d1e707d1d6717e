"""Nodes that change nothing: reshapes to the same shape, paddings by nothing, tables that are the identity, joins of
one. Of several reshapes on end, as around each layer of a 1-D network, the last one reads what the first one does.
"""

from dataclasses import replace

import numpy as np

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Concatenation, Pad, Reshape, Unary
from tinycompiler.ops.activation import Rectifier
from tinycompiler.passes.rewriting import renamed


def drop_identities(graph: Graph) -> Graph:
    """Readers of such a node's output read its input; a node that makes an output of the network stays."""
    dropped: dict[str, str] = {}
    shown: dict[str, str] = {}
    kept = []
    for node in graph.nodes:
        if isinstance(node.op, Reshape):
            shown[node.outputs[0]] = shown.get(node.inputs[0], node.inputs[0])
            node = replace(node, inputs=(shown[node.outputs[0]], *node.inputs[1:]))
        if _changes_nothing(graph, node) and node.outputs[0] not in graph.results:
            dropped[node.outputs[0]] = node.inputs[0]
        else:
            kept.append(node)
    return graph.with_nodes(renamed(kept, dropped)) if kept != list(graph.nodes) else graph


def _changes_nothing(graph: Graph, node: Node) -> bool:
    x, y = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    if x.shape != y.shape or x.dtype is not y.dtype or x.quantization != y.quantization:
        return False
    match node.op:
        case Reshape() | Pad():
            return True
        case Concatenation():
            return len(node.inputs) == 1
        case Rectifier():
            return False  # a clamp says what the values' bounds are: `fuse_clamps` merges it
        case Unary():
            low, high = x.dtype.range
            return bool((node.op.table(x, y, graph.numerics) == np.arange(low, high + 1)).all())
    return False
