"""An output that is a constant or a state gets memory of its own: it is copied there."""

from dataclasses import replace

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Copy


def own_outputs(graph: Graph) -> Graph:
    """The copies keep the outputs' names, since references know them by those; the constants are renamed.

    Copies stand first: whatever the state becomes, the output is what it was when the inference began.
    """
    states = {s.tensor for s in graph.states}
    copied = [name for name in dict.fromkeys(graph.outputs) if graph.tensors[name].is_constant or name in states]
    if not copied:
        return graph
    source = {name: f"source of {name}" for name in copied}
    tensors = [replace(graph.tensors[name], name=source[name]) for name in copied]
    tensors += [replace(graph.tensors[name], data=None, variable=False) for name in copied]
    copies = [Node(f"copy_{i}", Copy(), (source[name],), (name,)) for i, name in enumerate(copied)]
    nodes = [replace(n, inputs=tuple(source.get(i, i) for i in n.inputs)) for n in graph.nodes]
    kept = tuple(replace(s, tensor=source.get(s.tensor, s.tensor)) for s in graph.states)
    return replace(graph, states=kept).with_nodes([*copies, *nodes], tensors)
