"""Runs: calls that are computed row by row, so that what lies between them is never whole in memory.

A run makes the next row of its last tensor; what that row needs is made first, also row by row, and lies in rings:
as many rows as are needed at once. Nothing is computed twice. Two convolutions, an inverted bottleneck and a residual
block are all runs; the order in which rows are made follows from one rule (`trace`), which the emitted C repeats and
from which the sizes of the rings and the order of all reads and writes are read off.

An image of one row, as in 1-D networks, is taken for one column: its bytes are the same, and its pixels become rows.

Chosen: that rule, evaluated on the device, instead of an unrolled schedule, because a schedule is as long as the image
is high; and rings of rows, instead of moving rows up, because a window's rows are found by pointers anyway.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tinycompiler.graph import Graph, Node
from tinycompiler.kernels.base import Call, Site
from tinycompiler.kernels.order import Touch, distances
from tinycompiler.ops import (
    Comparison,
    Conv2D,
    DepthwiseConv2D,
    Elementwise,
    LceBconv2d,
    LceBMaxPool2d,
    LceDequantize,
    LceQuantize,
    Logic,
    Op,
    Padding,
    Unary,
    Window,
)
from tinycompiler.ops.pooling import Pool2D
from tinycompiler.tensor import Tensor

ROW_BY_ROW = (Elementwise, Comparison, Logic, Unary, LceQuantize, LceDequantize)
"""Operators each of whose output rows is made of the same row of its inputs."""
POOLS = (Pool2D, LceBMaxPool2d)
WINDOWED = (Conv2D, DepthwiseConv2D, LceBconv2d, *POOLS)
ROW_COST = 60
"""Instructions that finding the next row, and its neighbours, takes: counted on a Cortex-M4, to within a half."""
LONE_PIXEL = {"dsp": (0.35, 1.2), "scalar": (0.1, 0.1)}
"""Instructions per MAC more where a row of a convolution has one pixel, which shares its weights with no second one:
of channels in whole words, and of others. Counted on Cortex-M4 and M0+, to within a half.
"""


@dataclass(frozen=True)
class RowSource:
    """An input of a stage: output row r is made of rows r·stride - pad + k·dilation, k < count, where they exist."""

    tensor: str
    height: int
    row_bytes: int
    stride: int = 1
    pad: int = 0
    count: int = 1
    dilation: int = 1

    @property
    def reach(self) -> int:
        """Rows from the first to the end of what one row is made of."""
        return (self.count - 1) * self.dilation + 1

    def rows(self, row: int) -> tuple[int, int]:
        """(first, end) of what output row `row` is made of."""
        first = row * self.stride - self.pad
        return min(max(first, 0), self.height), max(min(first + self.reach, self.height), 0)


@dataclass(frozen=True, eq=False)
class Stage:
    """A node of a run. Its call computes one row; `pointers`: from pointers to the rows under the window."""

    call: Call
    sources: tuple[RowSource, ...]
    pointers: bool
    height: int
    row_bytes: int
    extra: int
    """Instructions more than the whole node would take at once, estimated."""

    @property
    def output(self) -> str:
        return self.call.node.outputs[0]


@dataclass(frozen=True, eq=False)
class Run:
    """Stages in an order in which they can run; only the last one's output leaves."""

    stages: tuple[Stage, ...]
    rings: Mapping[str, int]
    """Rows that are kept of each tensor between stages."""
    order: tuple[Touch, ...]

    @property
    def calls(self) -> tuple[Call, ...]:
        return tuple(stage.call for stage in self.stages)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Tensors that are whole in memory before."""
        return tuple(dict.fromkeys(s.tensor for t in self.stages for s in t.sources if s.tensor not in self.rings))

    @cached_property
    def under(self) -> Mapping[str, int]:
        """Bytes that the output has to begin under each input, at least."""
        return distances(self.order, self.stages[-1].output, self.inputs)

    @property
    def scratch(self) -> int:
        """Bytes that the rows take turns in."""
        return max(stage.call.scratch for stage in self.stages)

    @property
    def extra(self) -> int:
        """Instructions more than without the run, estimated."""
        return sum(stage.extra for stage in self.stages)

    def ring_bytes(self, tensor: str) -> int:
        return self.rings[tensor] * next(s.row_bytes for s in self.stages if s.output == tensor)


def trace(stages: Sequence[Stage]) -> Iterator[tuple[int, int]]:
    """(stage, row) in the order of computation: the first stage that lacks a row which a later one needs next."""
    made = [0] * len(stages)
    feeds = [(i, j, s) for j, stage in enumerate(stages) for s in stage.sources for i in _making(stages[:j], s)]
    while made[-1] < stages[-1].height:
        wanted = [0] * len(stages)
        wanted[-1] = made[-1] + 1
        for i, j, source in reversed(feeds):
            if made[j] < wanted[j]:
                wanted[i] = max(wanted[i], source.rows(made[j])[1])
        stage = next(i for i in range(len(stages)) if made[i] < wanted[i])
        yield stage, made[stage]
        made[stage] += 1


def _making(stages: Sequence[Stage], source: RowSource) -> list[int]:
    return [i for i, stage in enumerate(stages) if stage.output == source.tensor]


def run_of(stages: Sequence[Stage]) -> Run | None:
    """The stages as a run; None if some row between them is never needed, or is another's column."""
    made = dict.fromkeys((s.output for s in stages), 0)
    readers = [(stage.output, source) for stage in stages for source in stage.sources if source.tensor in made]
    heights = {s.output: s.height for s in stages}
    if any(source.height != heights[source.tensor] for _, source in readers):
        return None
    kept = dict.fromkeys(made, 0)
    touches = []
    for i, row in trace(stages):
        stage = stages[i]
        made[stage.output] += 1
        needed = [
            source.rows(made[reader])[0]
            for reader, source in readers
            if source.tensor == stage.output and made[reader] < heights[reader]
        ]
        kept[stage.output] = max(kept[stage.output], row + 1 - min(needed, default=row))
        touches.append(_touch(stage, row))
    if made != heights:
        return None
    rings = {stage.output: kept[stage.output] for stage in stages[:-1]}
    for stage in stages:
        for source in stage.sources:
            if source.tensor in rings and not stage.pointers and source.count > 1:
                rings[source.tensor] = -(-rings[source.tensor] // source.count) * source.count
    return Run(tuple(stages), rings, tuple(touches))


def _touch(stage: Stage, row: int) -> Touch:
    reads = []
    for source in stage.sources:
        first, end = source.rows(row)
        reads.append((source.tensor, first * source.row_bytes, end * source.row_bytes))
    return Touch(tuple(reads), ((stage.output, row * stage.row_bytes, (row + 1) * stage.row_bytes),), apart=False)


def upright(site: Site) -> Site:
    """The node with images of one row as one column, where all that it reads and makes are such images."""
    constants = [t for t in site.inputs if t.is_constant]
    images = [*(t for t in site.inputs if not t.is_constant), *site.outputs]
    if not all(len(t.shape) == 4 and t.shape[:2] == (1, 1) for t in images) or site.outputs[0].shape[2] == 1:
        return site
    op = site.op
    if isinstance(op, WINDOWED):
        turned = [_turned(t) for t in (*images, *constants[:1])]
        node = replace(site.node, op=replace(op, window=_turned_window(op.window)))
    elif isinstance(op, ROW_BY_ROW) and all(t.shape[-2:-1] in ((), (1,)) for t in constants):
        turned, node = [_turned(t) for t in images], site.node
    else:
        return site
    graph = replace(site.graph, tensors={**site.graph.tensors, **{t.name: t for t in turned}})
    return replace(site, graph=graph, node=node)


def lone_pixels(site: Site, isa: str) -> int:
    """Instructions more for the pixels of an image that was turned, each a row by itself."""
    x, y = site.inputs[0], site.outputs[0]
    if not isinstance(site.op, Conv2D) or y.shape[2] > 1:
        return 0
    return int(site.graph.macs(site.node) * LONE_PIXEL[isa][x.shape[3] % 4 > 0])


def _turned(tensor: Tensor) -> Tensor:
    """With rows and columns exchanged: an image of one row, or the weights of a window."""
    first, height, width, last = tensor.shape
    data = None if tensor.data is None else np.ascontiguousarray(tensor.data.swapaxes(1, 2))
    return replace(tensor, shape=(first, width, height, last), data=data)


def _turned_window(window: Window) -> Window:
    pad = window.padding
    return Window(
        window.kernel[::-1],
        window.stride[::-1],
        window.dilation[::-1],
        Padding(top=pad.left, bottom=pad.right, left=pad.top, right=pad.bottom),
    )


def sources_of(graph: Graph, node: Node) -> tuple[RowSource, ...] | None:
    """How a node's rows are made, or None when it cannot be computed row by row."""
    outputs = graph.outputs_of(node)
    moving = [t for t in graph.inputs_of(node) if not t.is_constant]
    if len(outputs) != 1 or not all(len(t.shape) == 4 and t.shape[0] == 1 for t in (*moving, *outputs)):
        return None
    y = outputs[0]
    if isinstance(node.op, ROW_BY_ROW):
        constants = [t for t in graph.inputs_of(node) if t.is_constant]
        if any(t.shape[1] != y.shape[1] for t in moving) or any(
            len(t.shape) > 2 and t.shape[-3] > 1 for t in constants
        ):
            return None
        return tuple(RowSource(t.name, t.shape[1], t.bytes // t.shape[1]) for t in {t.name: t for t in moving}.values())
    if not isinstance(node.op, WINDOWED) or len(moving) != 1:
        return None
    window: Window = node.op.window
    x = moving[0]
    source = RowSource(
        x.name,
        x.shape[1],
        x.bytes // x.shape[1],
        window.stride[0],
        window.padding.top,
        window.kernel[0],
        window.dilation[0],
    )
    if isinstance(node.op, POOLS) and (source.pad or source.stride != source.count or window.padding.bottom):
        return None
    return (source,)


def sliced(op: Op) -> bool:
    """Whether a row of the output is what the whole operator makes of the rows that the row is made of."""
    return isinstance(op, (*ROW_BY_ROW, *POOLS)) or (isinstance(op, Conv2D) and op.window == Window((1, 1)))


def one_row(site: Site, sources: Sequence[RowSource]) -> Site:
    """The same node on one row of its output and the rows of its inputs that this is made of."""
    heights = {s.tensor: s.count for s in sources} | {site.node.outputs[0]: 1}
    rows = {
        name: replace(site.graph.tensors[name], shape=(1, height, *site.graph.tensors[name].shape[2:]))
        for name, height in heights.items()
    }
    return replace(site, graph=replace(site.graph, tensors={**site.graph.tensors, **rows}))
