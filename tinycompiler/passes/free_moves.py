"""Movements that leave every element where it lies become reshapes, which cost nothing.

A transpose that moves only axes of size 1, a slice of everything, a tile by ones: `drop_identities` drops what is left
of them where not even the shape changes.
"""

from dataclasses import replace
from math import prod

import numpy as np

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Assign, Reshape
from tinycompiler.ops.movement import Movement


def free_moves(graph: Graph) -> Graph:
    """A Reshape instead of each such node."""
    nodes = [
        replace(n, op=Reshape(graph.tensors[n.outputs[0]].shape)) if moves_nothing(graph, n) else n for n in graph.nodes
    ]
    return graph.with_nodes(nodes) if nodes != list(graph.nodes) else graph


def moves_nothing(graph: Graph, node: Node) -> bool:
    """Whether the elements of the output are those of the input in the same order; found by moving indices."""
    if not isinstance(node.op, Movement) or isinstance(node.op, Assign):
        return False  # a copy is asked for
    if len(node.inputs) != 1 or len(node.outputs) != 1:
        return False
    shape = graph.tensors[node.inputs[0]].shape
    if prod(shape) != graph.tensors[node.outputs[0]].elements:
        return False
    indices = np.arange(prod(shape)).reshape(shape)
    [moved] = node.op.rearrange([indices], -1)
    return bool((moved.ravel() == indices.ravel()).all())
