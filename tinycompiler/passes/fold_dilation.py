"""SPACE_TO_BATCH_ND, a convolution of stride 1, BATCH_TO_SPACE_ND: that is a dilated convolution.

Exporters write dilation so when their source has no other word for it. Phase r of the batch holds pixels r, r + b, ...
of the padded image, so that neighbours in a phase are b apart in the image: output i of the whole reads padded pixels
i + b·j. The paddings of both become one, of which the crops take away: they must not be greater.
"""

from dataclasses import replace

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import BatchToSpace, Conv2D, DepthwiseConv2D, Padding, SpaceToBatch, Window
from tinycompiler.passes.drop_dead import drop_dead
from tinycompiler.passes.rewriting import only_reader


def fold_dilation(graph: Graph) -> Graph:
    """The convolution, dilated, instead of the three."""
    folded = [_folded(graph, node) or node for node in graph.nodes]
    return drop_dead(graph.with_nodes(folded)) if folded != list(graph.nodes) else graph


def _folded(graph: Graph, last: Node) -> Node | None:
    if not isinstance(last.op, BatchToSpace) or not only_reader(graph, last.inputs[0]):
        return None
    middle = graph.writer_of(last.inputs[0])
    if (
        middle is None
        or not isinstance(middle.op, Conv2D | DepthwiseConv2D)
        or not only_reader(graph, middle.inputs[0])
    ):
        return None
    first = graph.writer_of(middle.inputs[0])
    if first is None or not isinstance(first.op, SpaceToBatch) or first.op.block != last.op.block:
        return None
    window = _dilated(middle.op.window, first.op, last.op)
    if window is None:
        return None
    inputs = (*first.inputs, *middle.inputs[1:])
    return replace(middle, op=replace(middle.op, window=window), inputs=inputs, outputs=last.outputs)


def _dilated(window: Window, first: SpaceToBatch, last: BatchToSpace) -> Window | None:
    if window.stride != (1, 1) or len(first.block) != 2:
        return None
    own = window.padding
    sides = []
    for b, paddings, crops, inner in zip(
        first.block, first.paddings, last.crops, ((own.top, own.bottom), (own.left, own.right)), strict=True
    ):
        sides += [p + b * i - c for p, c, i in zip(paddings, crops, inner, strict=True)]
    if min(sides) < 0:
        return None
    dilation = (window.dilation[0] * first.block[0], window.dilation[1] * first.block[1])
    return replace(window, dilation=dilation, padding=Padding(*sides))
