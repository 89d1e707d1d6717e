"""An output that lies in a constant or in a state gets memory of its own: it is copied there."""

from dataclasses import replace

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Copy
from tinycompiler.passes.rewriting import memory_of


def own_outputs(graph: Graph) -> Graph:
    """The copies keep the outputs' names, since references know them by those; what they copy is renamed."""
    states = {s.tensor for s in graph.states}
    places = {name: memory_of(graph, name) for name in dict.fromkeys(graph.outputs)}
    copied = [name for name, at in places.items() if graph.tensors[at].is_constant or at in states]
    if not copied:
        return graph
    source = {name: f"source of {name}" for name in copied}
    tensors = [replace(graph.tensors[name], name=source[name]) for name in copied]
    tensors += [replace(graph.tensors[name], data=None, variable=False) for name in copied]
    copies = {source[n]: Node(f"copy_{i}", Copy(), (source[n],), (n,)) for i, n in enumerate(copied)}
    nodes = [copies.pop(source[name]) for name in copied if graph.writer_of(name) is None]
    for node in graph.nodes:
        inputs, outputs = (tuple(source.get(n, n) for n in names) for names in (node.inputs, node.outputs))
        nodes.append(replace(node, inputs=inputs, outputs=outputs))
        nodes += [copies.pop(name) for name in outputs if name in copies]
    kept = tuple(replace(s, tensor=source.get(s.tensor, s.tensor)) for s in graph.states)
    return replace(graph, states=kept).with_nodes(nodes, tensors)
