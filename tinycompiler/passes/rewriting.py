"""What several rewrites need."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Reshape


def renamed(nodes: Iterable[Node], names: Mapping[str, str]) -> list[Node]:
    """The nodes reading other tensors: chains of names are followed to their end."""

    def final(name: str) -> str:
        while name in names:
            name = names[name]
        return name

    return [replace(n, inputs=tuple(final(i) for i in n.inputs)) for n in nodes]


def memory_of(graph: Graph, tensor: str) -> str:
    """The tensor that a reshaped one is the memory of."""
    writer = graph.writer_of(tensor)
    while writer is not None and isinstance(writer.op, Reshape):
        tensor = writer.inputs[0]
        writer = graph.writer_of(tensor)
    return tensor


def only_reader(graph: Graph, tensor: str) -> bool:
    """Whether exactly one node reads a tensor and nobody outside wants it."""
    return len(graph.readers_of(tensor)) == 1 and tensor not in graph.results
