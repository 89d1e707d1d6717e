"""Marks: what a layer should take at most on a core with the DSP extension, and a sentence on each that takes more.

They are aims that this project set itself from what hand-written exact prototypes reached on Cortex-M4; nothing fails
when one is missed. Layers that run row by row are counted together, and judged together: each brings the instructions
that its own mark allows. Where one of them has work but no mark, there is no verdict.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

from tinycompiler.bench.figures import Figures, Layer, Step
from tinycompiler.graph import Graph, Node
from tinycompiler.kernels import Call
from tinycompiler.ops import Add, Conv2D, DepthwiseConv2D, FullyConnected

WIDE = 16
CORES = ("cortex-m4f", "cortex-m7f", "cortex-m33f")


@dataclass(frozen=True)
class Mark:
    """At most so many instructions, and cycles, for each `unit`."""

    name: str
    unit: str
    instructions: float
    cycles: float | None = None


MARKS: Mapping[str, Mark] = MappingProxyType(
    {
        "wide_convolution": Mark(f"convolution of {WIDE} input channels or more", "MAC", 1.0, 1.45),
        "depthwise_3x3": Mark("depthwise 3x3", "MAC", 2.3),
        "fully_connected": Mark("fully connected", "MAC", 1.05),
        "add": Mark("ADD", "element", 10.0),
    }
)


def layer_of(graph: Graph, call: Call) -> Layer:
    """What is kept of a call."""
    node, shape = call.node, graph.tensors[call.node.outputs[0]].shape
    family = _family(graph, node)
    work = prod(shape) if family == "add" else call.macs
    return Layer(node.name, node.op.name, call.kernel, shape, call.macs, family, work)


def _family(graph: Graph, node: Node) -> str | None:
    match node.op:
        case Conv2D() if graph.tensors[node.inputs[1]].shape[3] >= WIDE:
            return "wide_convolution"
        case DepthwiseConv2D(window=window) if window.kernel == (3, 3):
            return "depthwise_3x3"
        case FullyConnected():
            return "fully_connected"
        case Add():
            return "add"
    return None


@dataclass(frozen=True)
class Verdict:
    """A step that has a mark: what it took, and what the mark allows."""

    step: Step
    taken: int
    allowed: float
    what: str  # "instructions" or "cycles"

    @property
    def above(self) -> bool:
        return self.taken > self.allowed

    @property
    def names(self) -> str:
        return " with ".join(layer.name for layer in self.step.layers if layer.family)

    @property
    def sentence(self) -> str:
        """Without its subject: which figure, which mark."""
        work = sum(layer.work for layer in self.step.layers if layer.family)
        marks = dict.fromkeys(MARKS[layer.family] for layer in self.step.layers if layer.family)
        unit = " or ".join(dict.fromkeys(mark.unit for mark in marks))
        return (
            f"{self.taken / work:.2f} {self.what} per {unit}, {100 * (self.taken / self.allowed - 1):.0f} % above the "
            f"mark of {self.allowed / work:.2f} ({', '.join(mark.name for mark in marks)}; {work:,} of them)"
        )


def verdicts(figures: Figures) -> Iterator[Verdict]:
    """On every step that can be judged, by instructions, and where the mark says so by cycles."""
    if figures.core not in CORES:
        return
    for step in figures.steps:
        busy = [layer for layer in step.layers if layer.work]
        marks = [MARKS.get(layer.family or "") for layer in busy]
        known = [(layer.work, mark) for layer, mark in zip(busy, marks, strict=True) if mark]
        if not known or len(known) < len(busy):
            continue
        yield Verdict(step, step.instructions, sum(work * mark.instructions for work, mark in known), "instructions")
        timed = [(work, mark.cycles) for work, mark in known if mark.cycles is not None]
        if step.cycles is not None and len(timed) == len(known):
            yield Verdict(step, step.cycles, sum(work * cycles for work, cycles in timed), "cycles")


def unjudged(figures: Figures) -> list[str]:
    """Layers with a mark that run row by row with one that has none."""
    if figures.core not in CORES:
        return []
    judged = [verdict.step for verdict in verdicts(figures)]
    return [layer.name for step in figures.steps if step not in judged for layer in step.layers if layer.family]
