"""Kernels, best first, and `lower`: every node gets the first kernel that does not refuse it."""

from collections.abc import Mapping
from dataclasses import dataclass

from tinycompiler.board import Core
from tinycompiler.errors import ModelError
from tinycompiler.graph import Graph, Node
from tinycompiler.kernels.base import Call, Constant, Context, Invocation, Kernel, Site
from tinycompiler.kernels.cast import CastScalar
from tinycompiler.kernels.convolution import ConvDsp, ConvScalar
from tinycompiler.kernels.depthwise import DepthwiseDsp, DepthwiseScalar
from tinycompiler.kernels.depthwise_planar import DepthwisePlanar
from tinycompiler.kernels.elementwise import ElementwiseDsp, ElementwiseScalar
from tinycompiler.kernels.grouped import GroupedDsp, GroupedScalar
from tinycompiler.kernels.int16 import ConvDsp16, ConvScalar16, DepthwiseScalar16
from tinycompiler.kernels.int16_values import (
    CurveScalar16,
    ElementwiseScalar16,
    MeanScalar16,
    PoolScalar16,
    Rescale,
    SoftmaxScalar16,
)
from tinycompiler.kernels.matmul import MatMul
from tinycompiler.kernels.movement import Rearrange
from tinycompiler.kernels.normalization import L2NormalizationScalar, LogSoftmaxScalar
from tinycompiler.kernels.pooling import PoolDsp, PoolScalar
from tinycompiler.kernels.quantization import DequantizeFloat, QuantizeFloat
from tinycompiler.kernels.reduction import ArgReduce, Reduce
from tinycompiler.kernels.resize import ResizeBilinearScalar
from tinycompiler.kernels.select import SelectScalar
from tinycompiler.kernels.softmax import SoftmaxScalar
from tinycompiler.kernels.table import Table, TableOfConstant
from tinycompiler.kernels.transpose_conv import (
    TransposeConvDsp,
    TransposeConvDsp16,
    TransposeConvScalar,
    TransposeConvScalar16,
)
from tinycompiler.ops import AveragePool2D, Conv2D, DepthwiseConv2D, FullyConnected, MaxPool2D, Reshape

KERNELS: tuple[Kernel, ...] = (
    ConvDsp(),
    ConvScalar(),
    GroupedDsp(),
    GroupedScalar(),
    TransposeConvDsp(),
    TransposeConvScalar(),
    MatMul(),
    DepthwisePlanar(),
    DepthwiseDsp(),
    DepthwiseScalar(),
    PoolDsp(),
    PoolScalar(),
    TableOfConstant(),
    ElementwiseDsp(),
    ElementwiseScalar(),
    Table(),
    SelectScalar(),
    CastScalar(),
    SoftmaxScalar(),
    LogSoftmaxScalar(),
    L2NormalizationScalar(),
    ResizeBilinearScalar(),
    Reduce(),
    ArgReduce(),
    Rearrange(),
    QuantizeFloat(),
    DequantizeFloat(),
    ConvDsp16(),
    ConvScalar16(),
    TransposeConvDsp16(),
    TransposeConvScalar16(),
    DepthwiseScalar16(),
    PoolScalar16(),
    ElementwiseScalar16(),
    CurveScalar16(),
    SoftmaxScalar16(),
    MeanScalar16(),
    Rescale(),
)

NEVER_IN_PLACE = (Conv2D, DepthwiseConv2D, FullyConnected, AveragePool2D, MaxPool2D)

ISAS = {"scalar": ("scalar",), "dsp": ("scalar", "dsp")}
"""Instruction sets whose kernels a core runs."""


@dataclass(frozen=True, eq=False)
class Calls:
    """The graph as calls of kernels, in running order; `aliases` maps a reshaped tensor to the one whose memory it
    is.
    """

    graph: Graph
    core: Core
    calls: tuple[Call, ...]
    aliases: dict[str, str]

    def memory_of(self, tensor: str) -> str:
        """The tensor whose memory a tensor lies in: itself, unless it is reshaped from another."""
        while tensor in self.aliases:
            tensor = self.aliases[tensor]
        return tensor

    def __str__(self) -> str:
        return "\n".join([f"calls {self.graph.name} on {self.core.name}", *(f"  {c}" for c in self.calls), ""])


class NoKernel(ModelError):
    """Some nodes have no kernel; `reasons` has a sentence for each, by name."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__("\n".join(f"{node}: {why}" for node, why in reasons.items()))
        self.reasons = reasons


def lower(graph: Graph, core: Core) -> Calls:
    """Kernels for every node; NoKernel names every node that no kernel takes, with all reasons."""
    aliases = {n.outputs[0]: n.inputs[0] for n in graph.nodes if isinstance(n.op, Reshape)}
    spare = spare_bytes(graph, aliases)
    calls, problems = [], dict[str, str]()
    for node in graph.nodes:
        if isinstance(node.op, Reshape):
            continue
        call, rejected = choose(Site(graph, node, spare[node.name]), core)
        if call is None:
            reasons = "; ".join(f"{name}: {why}" for name, why in rejected) or "no kernel for this operator"
            problems[node.name] = reasons
        else:
            calls.append(call)
    if problems:
        raise NoKernel(problems)
    return Calls(graph, core, tuple(calls), aliases)


def spare_bytes(graph: Graph, aliases: Mapping[str, str]) -> dict[str, int]:
    """For each node, the bytes between what is alive while it runs and a peak that the network has in any case.

    Reshaped tensors are the memory that they are reshaped from, states lie elsewhere, and an operator that might work
    in place counts its larger side only: so the peak is never overestimated, and scratch of that size never raises it.
    """

    def owner(name: str) -> str:
        while name in aliases:
            name = aliases[name]
        return name

    nodes = [node for node in graph.nodes if not isinstance(node.op, Reshape)]
    elsewhere = {owner(name) for s in graph.states for name in (s.tensor, s.next)}
    last = {owner(name): i for i, node in enumerate(nodes) for name in node.inputs}
    last |= {owner(name): len(nodes) for name in graph.outputs}
    alive = {owner(name) for name in graph.inputs if owner(name) in last} - elsewhere
    use, peak = [], 0
    for i, node in enumerate(nodes):
        made = {owner(name) for name in node.outputs} - elsewhere
        before = sum(graph.tensors[name].bytes for name in alive)
        alive |= made
        use.append(sum(graph.tensors[name].bytes for name in alive))
        kept = {name for name in alive if last.get(name, i) > i}
        after = sum(graph.tensors[name].bytes for name in kept)
        peak = max(peak, use[-1] if isinstance(node.op, NEVER_IN_PLACE) else max(before, after))
        alive = kept
    return {node.name: max(0, peak - bytes_) for node, bytes_ in zip(nodes, use, strict=True)}


def choose(site: Site, core: Core) -> tuple[Call | None, tuple[tuple[str, str], ...]]:
    """The first kernel that takes the node, and the refusals of those before it."""
    rejected: list[tuple[str, str]] = []
    for kernel in KERNELS:
        if not kernel.is_for(site):
            continue
        if kernel.isa not in ISAS[core.isa]:
            why: str | None = f"{core.name} has no {kernel.isa} instructions"
        else:
            why = kernel.why_not(site)
        if why is None:
            return kernel.call(site, tuple(rejected)), tuple(rejected)
        rejected.append((kernel.name, why))
    return None, tuple(rejected)


__all__ = [
    "ISAS",
    "KERNELS",
    "Call",
    "Calls",
    "Constant",
    "Context",
    "Invocation",
    "Kernel",
    "NoKernel",
    "Node",
    "Site",
    "lower",
]
