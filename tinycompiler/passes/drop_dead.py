"""Nodes that no output depends on."""

from tinycompiler.graph import Graph


def drop_dead(graph: Graph) -> Graph:
    """They go; backwards, so that what fed only them goes too."""
    wanted = set(graph.results)
    kept = []
    for node in reversed(graph.nodes):
        if wanted & set(node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
    return graph.with_nodes(reversed(kept))
