"""Two transposes one after the other are one."""

from dataclasses import replace

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Transpose


def merge_transposes(graph: Graph) -> Graph:
    """The second reads what the first reads; the first goes when nobody else reads it."""
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        before = nodes.get(node.inputs[0]) if node.inputs else None
        if isinstance(node.op, Transpose) and before is not None and isinstance(before.op, Transpose):
            axes = tuple(before.op.axes[a] for a in node.op.axes)
            node = replace(node, op=Transpose(axes), inputs=before.inputs)
        nodes |= dict.fromkeys(node.outputs, node)
    merged = list(dict.fromkeys(nodes.values()))
    if merged == list(graph.nodes):
        return graph
    read = {name for node in merged for name in node.inputs} | set(graph.results)
    return graph.with_nodes(n for n in merged if not isinstance(n.op, Transpose) or n.outputs[0] in read)
