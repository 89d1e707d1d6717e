"""PAD by the zero point in front of a convolution is the convolution's own padding."""

from dataclasses import replace

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Conv2D, DepthwiseConv2D, Pad, Padding


def fuse_pads(graph: Graph) -> Graph:
    """pad; conv -> conv with wider padding, for every convolution that reads the pad."""
    nodes = [_absorbed(graph, node) for node in graph.nodes]
    if nodes == list(graph.nodes):
        return graph
    read = {name for node in nodes for name in node.inputs} | set(graph.results)
    return graph.with_nodes(n for n in nodes if not isinstance(n.op, Pad) or n.outputs[0] in read)


def _absorbed(graph: Graph, node: Node) -> Node:
    pad = graph.writer_of(node.inputs[0])
    if not isinstance(node.op, Conv2D | DepthwiseConv2D) or pad is None or not isinstance(pad.op, Pad):
        return node
    (n0, top, left, c0), (n1, bottom, right, c1) = pad.op.before, pad.op.after
    source = graph.tensors[pad.inputs[0]]
    if n0 or n1 or c0 or c1 or pad.op.fill(graph.outputs_of(pad)) != source.zero_point:
        return node  # a convolution pads pixels only, and with the zero point only
    own = node.op.window.padding
    wider = Padding(own.top + top, own.bottom + bottom, own.left + left, own.right + right)
    op = replace(node.op, window=replace(node.op.window, padding=wider))
    return replace(node, op=op, inputs=(pad.inputs[0], *node.inputs[1:]))
