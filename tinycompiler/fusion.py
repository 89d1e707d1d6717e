"""Which calls become runs: the way through the network with the lowest peak that stays within a cap of extra work.

A step of the way is one call or one run of calls that follow each other; its length is the instructions that the run
costs more, its height the bytes that it needs (`needs`). The lowest height is taken at which the shortest way of steps
no higher is short enough; the higher, the more steps there are, so it is found by halves.

With a budget, it is the highest one under that: nothing is given for bytes that are not needed.

Chosen: such heights, instead of weighing bytes against instructions, because cap and budget are what a user can state.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tinycompiler.board import Core
from tinycompiler.graph import Graph, Node
from tinycompiler.kernels import Call, Calls, Run, Stage, Wishes, stage_of
from tinycompiler.kernels.runs import run_of
from tinycompiler.needs import Needs
from tinycompiler.ops import Reshape

LONGEST = 14
"""Nodes of a run."""
LOWEST = 0.3
"""Only runs through a node that needs more than this share of the peak are tried."""
ROWS = 25_000
"""Rows that may be traced in the search for runs: some seconds."""
PER_MAC = {"dsp": 1.1, "scalar": 5.0}
PER_OUTPUT = {"dsp": 10, "scalar": 40}
"""Instructions, to within a third: what a share of extra ones is a share of."""


@dataclass(frozen=True)
class Step:
    """Nodes first to end (not included) at once: bytes needed, and instructions more than one by one."""

    first: int
    end: int
    need: int
    extra: int


def choose_runs(
    base: Calls, wishes: Wishes, *, slowdown: float | None, budget: int | None = None
) -> tuple[tuple[str, ...], ...]:
    """Names of the nodes of each run; `base`: every node by itself. `slowdown`: the share of instructions that may be
    added, None for any. `budget`: bytes under which no more need be saved.
    """
    nodes, calls = [node for node in base.graph.nodes if not isinstance(node.op, Reshape)], base.calls
    if not nodes:
        return ()
    needs = Needs(base.graph, base.aliases)
    alive, last = needs.alive_before(calls), needs.last_reads(calls)
    steps = [Step(i, i + 1, needs.of(call, alive[i], last, i), 0) for i, call in enumerate(calls)]
    peak = max(step.need for step in steps)
    cap = None if slowdown is None else slowdown * estimate(calls, base.graph, base.core)
    for i, end, run in _candidates(base.graph, nodes, steps, base.core, wishes, peak):
        if cap is None or run.extra <= cap:
            steps.append(Step(i, end, needs.of(run, alive[i], last, end - 1), run.extra))
    steps.sort(key=lambda step: (step.first, step.end))

    def within(height: int) -> list[Step] | None:
        way = _shortest([step for step in steps if step.need <= height], len(nodes))
        short = way is not None and (cap is None or sum(step.extra for step in way) <= cap)
        return way if short else None

    heights = sorted({step.need for step in steps if step.need <= peak})
    lowest = bisect_left(heights, True, key=lambda height: within(height) is not None)
    if budget is not None:
        lowest = max(lowest, bisect_right(heights, budget) - 1)
    chosen = [tuple(node.name for node in nodes[step.first : step.end]) for step in within(heights[lowest]) or ()]
    return tuple(names for names in chosen if len(names) > 1)


def estimate(calls: Sequence[Call], graph: Graph, core: Core) -> float:
    """Instructions of an inference, roughly."""
    outputs = sum(graph.tensors[name].elements for call in calls for name in call.node.outputs)
    return PER_MAC[core.isa] * sum(call.macs for call in calls) + PER_OUTPUT[core.isa] * outputs


def _shortest(steps: Sequence[Step], count: int) -> list[Step] | None:
    """The way from node 0 to `count` with the least extra work, and of these the one with the fewest runs; `steps` are
    sorted.
    """
    best: list[tuple[int, int, Step | None] | None] = [None] * (count + 1)
    best[0] = (0, 0, None)
    for step in steps:
        before = best[step.first]
        if before is None:
            continue
        found = (before[0] + step.extra, before[1] + (step.end - step.first > 1), step)
        now = best[step.end]
        if now is None or found[:2] < now[:2]:
            best[step.end] = found
    way: list[Step] = []
    place = count
    while place:
        entry = best[place]
        if entry is None or entry[2] is None:
            return None
        way.append(entry[2])
        place = entry[2].first
    return way[::-1]


def _candidates(
    graph: Graph, nodes: Sequence[Node], singles: Sequence[Step], core: Core, wishes: Wishes, peak: int
) -> Iterator[tuple[int, int, Run]]:
    """(first, end, run) for every run worth trying, those around the highest nodes first."""
    stages: dict[int, Stage | None] = {}
    position = {node.name: i for i, node in enumerate(nodes)}
    reach = [_reach(graph, node, position) for node in nodes]
    left = ROWS
    spans = [(i, end) for i in range(len(nodes)) for end in range(i + 2, min(i + LONGEST, len(nodes)) + 1)]
    heights = {span: max(step.need for step in singles[span[0] : span[1]]) for span in spans}
    for i, end in sorted(spans, key=lambda span: (-heights[span], span[1] - span[0], span)):
        if heights[i, end] <= LOWEST * peak or left <= 0:
            break
        if any(place is None or place >= end for place in reach[i : end - 1]):
            continue  # not only the last one's output is read outside
        for number in range(i, end):
            if number not in stages:
                stages[number] = stage_of(wishes.site(graph, nodes[number]), core)
        chosen = [stage for number in range(i, end) if (stage := stages[number])]
        if len(chosen) < end - i:
            continue
        left -= sum(stage.height for stage in chosen)
        run = run_of(chosen)
        if run is not None:
            yield i, end, run


def _reach(graph: Graph, node: Node, position: dict[str, int]) -> int | None:
    """The position of the last reader of what a node makes; None when it is needed beyond any run."""
    readers = [reader for name in node.outputs for reader in graph.readers_of(name)]
    if not readers or any(name in graph.results for name in node.outputs):
        return None
    if any(isinstance(reader.op, Reshape) for reader in readers):
        return None
    return max(position[reader.name] for reader in readers)
