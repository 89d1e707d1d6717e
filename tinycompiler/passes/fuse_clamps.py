"""RELU and RELU6 that only clamp go into the operator before them."""

from dataclasses import replace

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Clamp, Op
from tinycompiler.ops.activation import Rectifier
from tinycompiler.passes.rewriting import only_reader


def fuse_clamps(graph: Graph) -> Graph:
    """conv; relu -> conv with a tighter clamp, writing the relu's tensor."""
    while (pair := _next_pair(graph)) is not None:
        producer, rectifier = pair
        fused = replace(producer, op=_clamped(graph, producer.op, rectifier), outputs=rectifier.outputs)
        nodes = [fused if n is producer else n for n in graph.nodes if n is not rectifier]
        graph = graph.with_nodes(nodes)
    return graph


def _next_pair(graph: Graph) -> tuple[Node, Node] | None:
    for node in graph.nodes:
        if not isinstance(node.op, Rectifier) or not only_reader(graph, node.inputs[0]):
            continue
        source, target = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
        producer = graph.writer_of(node.inputs[0])
        if (
            producer is not None
            and hasattr(producer.op, "clamp")
            and not isinstance(producer.op, Rectifier)
            and source.quantization == target.quantization
            and node.op.is_clamp_only(source, target, graph.numerics)
        ):
            return producer, node
    return None


def _clamped(graph: Graph, op: Op, rectifier: Node) -> Op:
    assert isinstance(rectifier.op, Rectifier)
    clamp = getattr(op, "clamp", Clamp())
    bounds = rectifier.op.clamp(graph.tensors[rectifier.outputs[0]])
    return replace(op, clamp=clamp.meet(bounds))  # type: ignore[call-arg]
