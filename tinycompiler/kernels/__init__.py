"""`lower`: every node gets the first kernel that does not refuse it (registry.py has them, best first)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from tinycompiler.board import Core
from tinycompiler.errors import ModelError
from tinycompiler.graph import Graph, Node
from tinycompiler.kernels.base import Call, Constant, Context, Invocation, Kernel, Site
from tinycompiler.kernels.registry import KERNELS
from tinycompiler.kernels.runs import ROW_COST, Run, Stage, lone_pixels, one_row, run_of, sliced, sources_of, upright
from tinycompiler.kernels.states import parts_of
from tinycompiler.ops import Reshape

ISAS = {"scalar": ("scalar",), "dsp": ("scalar", "dsp")}
"""Instruction sets whose kernels a core runs."""


@dataclass(frozen=True, eq=False)
class Calls:
    """The graph as calls of kernels, in running order; `aliases` maps a reshaped tensor to the one whose memory it
    is.
    """

    graph: Graph
    core: Core
    steps: tuple[Call | Run, ...]
    aliases: dict[str, str]

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """One after the other, those of runs too."""
        return tuple(call for step in self.steps for call in calls_of(step))

    def memory_of(self, tensor: str) -> str:
        """The tensor whose memory a tensor lies in: itself, unless it is reshaped from another."""
        while tensor in self.aliases:
            tensor = self.aliases[tensor]
        return tensor

    @cached_property
    def parts(self) -> dict[str, tuple[str, int]]:
        """Tensors that lie within the memory of another: which, and from which byte on."""
        return parts_of(self.graph)

    def __str__(self) -> str:
        lines = [f"calls {self.graph.name} on {self.core.name}"]
        for step in self.steps:
            if isinstance(step, Run):
                kept = ", ".join(f"{rows} of {name}" for name, rows in step.rings.items())
                lines.append(f"  row by row, keeping rows: {kept}")
            lines += [f"  {'  ' * isinstance(step, Run)}{call}" for call in calls_of(step)]
        return "\n".join([*lines, ""])


class NoKernel(ModelError):
    """Some nodes have no kernel; `reasons` has a sentence for each, by name."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__("\n".join(f"{node}: {why}" for node, why in reasons.items()))
        self.reasons = reasons


def calls_of(step: Call | Run) -> tuple[Call, ...]:
    return step.calls if isinstance(step, Run) else (step,)


@dataclass(frozen=True)
class Wishes:
    """What the plan of memory asks of the kernels, by the names of nodes."""

    spare: Mapping[str, int] = field(default_factory=dict)
    """Bytes of scratch that would not raise the peak."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Bytes of scratch that are not to be exceeded."""
    runs: tuple[tuple[str, ...], ...] = ()
    """Nodes that follow each other, to be computed row by row."""
    chosen: Mapping[str, str] = field(default_factory=dict)
    """The kernel of a node, see choice.py; where it refuses, the next one that does not is taken."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why that kernel, where there is something to say."""
    dense: bool = False
    """See Site."""
    plain: bool = False
    """Whether code is dearer than time: see Site."""

    def site(self, graph: Graph, node: Node) -> Site:
        return Site(
            graph,
            node,
            spare=self.spare.get(node.name, 0),
            limit=self.limits.get(node.name),
            chosen=self.chosen.get(node.name, ""),
            reason=self.reasons.get(node.name, ""),
            dense=self.dense,
            plain=self.plain,
        )


def lower(graph: Graph, core: Core, wishes: Wishes = Wishes()) -> Calls:
    """Kernels for every node; NoKernel names every node that no kernel takes, with all reasons."""
    aliases = {n.outputs[0]: n.inputs[0] for n in graph.nodes if isinstance(n.op, Reshape)}
    in_run = {name: names for names in wishes.runs for name in names}
    steps: list[Call | Run] = []
    problems: dict[str, str] = {}
    for node in graph.nodes:
        if isinstance(node.op, Reshape):
            continue
        names = in_run.get(node.name)
        if names is not None:
            if node.name == names[-1]:
                steps.append(_run([wishes.site(graph, n) for n in graph.nodes if n.name in names], core))
            continue
        call, rejected = choose(wishes.site(graph, node), core)
        if call is None:
            reasons = "; ".join(f"{name}: {why}" for name, why in rejected) or "no kernel for this operator"
            problems[node.name] = reasons
        else:
            steps.append(call)
    if problems:
        raise NoKernel(problems)
    return Calls(graph, core, tuple(steps), aliases)


def _run(sites: Sequence[Site], core: Core) -> Run:
    stages = [stage for site in sites if (stage := stage_of(site, core))]
    assert len(stages) == len(sites), "a run of nodes that have no row by row form"
    run = run_of(stages)
    assert run is not None, "a run that does not need all its rows"
    return run


def stage_of(site: Site, core: Core) -> Stage | None:
    """A node as part of a run, or None when it has no row by row form."""
    node, site = site.node, upright(site)
    sources = sources_of(site.graph, site.node)
    if sources is None:
        return None
    y = site.outputs[0]
    extra, call, pointers = 0, None, False
    for kernel in candidates(site):
        if why_not(kernel, site, core) is not None:
            continue
        extra = extra or kernel.row_extra(site)
        lowered = kernel.lower_row(site)
        if lowered is not None:
            call, pointers = kernel.call(site, (), lowered), True
            break
        if sliced(site.op):
            call, _ = choose(one_row(site, sources), core)
            break
    if call is None:
        return None
    extra += lone_pixels(site, call.isa)
    whole = replace(call, node=node, macs=site.graph.macs(site.node))
    return Stage(whole, sources, pointers, y.shape[1], y.bytes // y.shape[1], extra + ROW_COST * y.shape[1])


def why_not(kernel: Kernel, site: Site, core: Core) -> str | None:
    """None, or the sentence that says why a kernel is not taken for a node that it is for."""
    if kernel.isa not in ISAS[core.isa]:
        return f"{core.name} has no {kernel.isa} instructions"
    return kernel.why_not(site)


def candidates(site: Site) -> list[Kernel]:
    """Kernels for the node in the order in which they are asked: the chosen one, those behind it, those before it;
    but for the chosen one rivals last.
    """
    listed = [kernel for kernel in KERNELS if kernel.is_for(site) and not (kernel.rival and site.dense)]
    first = next((i for i, kernel in enumerate(listed) if kernel.name == site.chosen), 0)
    turned = [*listed[first:], *listed[:first]]
    return sorted(turned, key=lambda kernel: kernel.rival and kernel.name != site.chosen)


def options(site: Site, core: Core) -> list[tuple[Kernel, Call]]:
    """All kernels that take the node, best first, and their calls."""
    fitting = [kernel for kernel in candidates(site) if why_not(kernel, site, core) is None]
    return [(kernel, kernel.call(site, ())) for kernel in fitting]


def choose(site: Site, core: Core) -> tuple[Call | None, tuple[tuple[str, str], ...]]:
    """The first kernel that takes the node, and why not those that usually come before it."""
    refused: dict[str, str] = {}
    for kernel in candidates(site):
        why = why_not(kernel, site, core)
        if why is None:
            rejected = tuple(_better(kernel, refused, site, core))
            return kernel.call(site, rejected), rejected
        refused[kernel.name] = why
    return None, tuple(refused.items())


def _better(taken: Kernel, refused: Mapping[str, str], site: Site, core: Core) -> Iterator[tuple[str, str]]:
    """Kernels that stand before the one that was taken, and why they were not; of a choice among rivals, `Call.reason`
    says it.
    """
    if taken.rival:
        return
    for kernel in candidates(replace(site, chosen="", dense=True)):
        if kernel is taken:
            break
        why = refused.get(kernel.name) or why_not(kernel, site, core)
        if why is None:
            why = "its code or weights would take flash that is kept for what gains more by it"
        yield kernel.name, why


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
    "Run",
    "Site",
    "Stage",
    "Wishes",
    "calls_of",
    "lower",
    "options",
    "stage_of",
]
