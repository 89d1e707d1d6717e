"""A node whose inputs are all constants is computed now."""

from dataclasses import replace

from tinycompiler.graph import Graph
from tinycompiler.ops import Assign


def fold_constants(graph: Graph) -> Graph:
    """Such nodes become constants, and so on through the graph; states and outputs stay in memory of their own."""
    tensors = dict(graph.tensors)
    kept = []
    for node in graph.nodes:
        inputs = [tensors[name] for name in node.inputs]
        if all(t.is_constant for t in inputs) and not isinstance(node.op, Assign):
            outputs = [tensors[name] for name in node.outputs]
            results = node.op.evaluate(inputs, outputs, [t.values for t in inputs], graph.numerics)
            tensors.update({t.name: replace(t, data=v) for t, v in zip(outputs, results, strict=True)})
        else:
            kept.append(node)
    return graph.with_nodes(kept, tensors.values())
