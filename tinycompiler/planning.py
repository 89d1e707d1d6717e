"""The search around the pure steps: which order, which runs, how much scratch; then `lower` and `lay_out`.

Nothing here undoes a step: each trial lowers and lays out anew from other wishes, and the best layout is kept. Without
a budget, kernels take the scratch that makes them fast, and calls become runs as long as that costs few instructions.
With one, everything is made smaller until the budget is met; then kernels are given back what is left under it. Which
kernels there are to begin with is chosen for the flash that there is (choice.py).
Each plan is played back byte by byte before it is believed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from tinycompiler.board import Core
from tinycompiler.bytemap import play
from tinycompiler.choice import LEVELS, Choice, Gain, Option, fastest, front, gain, options_of, pick
from tinycompiler.errors import DoesNotFit
from tinycompiler.fusion import choose_runs, estimate
from tinycompiler.graph import Graph
from tinycompiler.kernels import Call, Calls, Run, Wishes, calls_of, lower
from tinycompiler.lifetimes import QUICK_EFFORT, Layout, lay_out, scratch_name
from tinycompiler.memory import alive_at, needs_at
from tinycompiler.node_order import best_order
from tinycompiler.reasons import reasons
from tinycompiler.regions import ANYWHERE, Places
from tinycompiler.splits import between, splits
from tinycompiler.states import give_room

SLOWDOWN = 0.03
"""Instructions that runs may add, as a share, unless the user says otherwise."""
EFFORT = 12_000
"""Search nodes: about a second."""
THRIFT = (512, 256, 128, 64, 0)
"""Bytes of scratch that each kernel may take when the usual plan is over the budget, tried in turn: less scratch makes
other kernels, and these may need more elsewhere.
"""


@dataclass(frozen=True)
class Goals:
    """What the user asks of the plan."""

    fusion: bool = True
    slowdown: float | None = SLOWDOWN
    """The share of instructions that runs may add; None: any."""
    budget: int | None = None
    """Bytes that the arena may take."""
    flash: int | None = None
    """Bytes that are there for code, weights and tables of the network."""
    aim: str = "speed"
    """What kernels are chosen for: see choice.LEVELS."""
    dense: bool = False
    """Whether weights are to stay bytes one after another."""
    tight: bool = False
    """Whether the arena may be made smaller at any price where the RAM would not do."""
    places: Places = ANYWHERE
    effort: int = EFFORT
    """Search nodes of the last layout."""

    @property
    def level(self) -> str:
        """What the C compiler is asked for."""
        return LEVELS[self.aim]


@dataclass(frozen=True, eq=False)
class Planned:
    """A choice of calls, and where everything lies."""

    calls: Calls
    layout: Layout
    gain: Gain | None = None
    """What more flash would buy."""

    @property
    def arena(self) -> int:
        return self.layout.plan.arena

    @property
    def cost(self) -> tuple[int, int]:
        return self.layout.cost


USUAL = Goals()


def plan(graph: Graph, core: Core, goals: Goals = USUAL) -> Planned:
    """The calls and their layout. Raises ModelError for nodes without a kernel, DoesNotFit for a budget that no plan
    found meets, with the smallest arena found.
    """
    found = _within_budget(graph, core, goals)
    for other in _splits(found, graph, goals):
        found = min(found, _within_budget(other, core, goals), key=lambda planned: planned.cost)
        if goals.budget is not None and found.arena <= goals.budget:
            break
    if goals.budget is not None and found.arena > goals.budget:
        raise DoesNotFit(
            f"an arena of {goals.budget:,} bytes was asked for; the smallest that was found has {found.arena:,}"
            + ("" if goals.fusion else " (without --no-fusion it may be smaller)")
        )
    play(found.calls, found.layout)
    return found


def _splits(planned: Planned, graph: Graph, goals: Goals) -> Iterable[Graph]:
    """The network with layers split by channels, if what lies between such layers is at the peak."""
    calls, placed, most = planned.calls, planned.layout.plan, inf
    if not goals.fusion or (goals.budget is not None and planned.arena <= goals.budget):
        return ()
    if goals.budget is None and goals.slowdown is not None:
        run = sum(step.extra for step in calls.steps if isinstance(step, Run))
        most = goals.slowdown * estimate(calls.calls, calls.graph, calls.core) - run
    names = {buffer.name for buffer in alive_at(placed, placed.peak_step)}
    return splits(graph, calls.core.isa, most) if names & between(graph) else ()


def _within_budget(graph: Graph, core: Core, goals: Goals) -> Planned:
    """A plan within the budget, or the smallest that was found."""
    graph = give_room(graph, core)
    found, more = options_of(graph, core, dense=goals.dense), None
    picked = fastest(found, core)
    if goals.aim != "speed" or (goals.flash is not None and picked.flash > goals.flash):
        choices = front(found, core)
        picked = pick(choices, goals.aim, goals.flash)
        more = gain(picked, choices)
    chosen = _chosen(graph, found, picked, goals)
    usual = _best(graph, core, chosen, goals)
    if usual.layout.plan.excess:
        smallest = _best(graph, core, _chosen(graph, found, front(found, core)[0], goals), goals)
        usual = min(usual, smallest, key=lambda planned: planned.cost)
    if goals.budget is None or usual.arena <= goals.budget:
        return replace(usual, gain=more)
    least = usual
    for trial in _thrifty(graph, core, goals, chosen):
        least = min(least, trial, key=lambda planned: planned.arena)
        if least.arena <= goals.budget:
            break
    else:
        return least
    return replace(_given_back(least, core, goals.budget, chosen), gain=more)


def _chosen(graph: Graph, found: Mapping[str, Sequence[Option]], picked: Choice, goals: Goals) -> Wishes:
    kernels = picked.kernels
    told = reasons(graph, found, kernels, goals.aim)
    return Wishes(chosen=kernels, reasons=told, dense=goals.dense, plain=goals.aim == "size")


def thriftiest(graph: Graph, core: Core, goals: Goals = USUAL) -> Planned:
    """The first plan with less and less scratch that the regions have room for, else the one that needs least; however
    many instructions it costs.
    """
    found: Planned | None = None
    for trial in _thrifty(graph, core, goals, Wishes(dense=goals.dense)):
        found = trial if found is None or trial.cost < found.cost else found
        if found.layout.plan.excess == 0:
            break
    assert found is not None
    play(found.calls, found.layout)
    return found


def _thrifty(graph: Graph, core: Core, goals: Goals, chosen: Wishes) -> Iterator[Planned]:
    """With as many runs as it takes, then with less and less scratch."""
    goals = replace(goals, slowdown=None)
    if goals.budget is not None:
        yield _best(graph, core, chosen, goals)
    for limit in THRIFT:
        wishes = replace(chosen, limits={node.name: limit for node in graph.nodes})
        yield _best(graph, core, wishes, goals)
        if goals.budget:  # which a lowest way may meet after all
            yield _best(graph, core, wishes, replace(goals, budget=0))


def _best(graph: Graph, core: Core, wishes: Wishes, goals: Goals) -> Planned:
    """The smaller arena of the network's own order and the best order of nodes, packed with all effort."""
    base = lower(graph, core, wishes)
    found = _in_order(base, wishes, goals)
    other = best_order(base)
    if other is not base.graph:
        again = _in_order(lower(other, core, wishes), wishes, goals)
        found = min(found, again, key=lambda planned: planned.cost)
    if not found.layout.plan.optimal:
        layout = lay_out(found.calls, effort=goals.effort, places=goals.places, start=found.layout)
        found = replace(found, layout=layout)
    if wishes.limits:
        return found
    wishes = replace(wishes, runs=runs_of(found.calls), spare=rooms(found, found.arena))
    return _with(found, wishes, found.arena) or found


def _in_order(base: Calls, wishes: Wishes, goals: Goals) -> Planned:
    """With runs, where these make the arena smaller."""
    planned = _laid_out(base, goals)
    runs = choose_runs(base, wishes, slowdown=goals.slowdown, budget=goals.budget) if goals.fusion else ()
    if not runs:
        return planned
    fused = _laid_out(lower(base.graph, base.core, replace(wishes, runs=runs)), goals)
    return fused if fused.cost < planned.cost else planned


def _given_back(least: Planned, core: Core, budget: int, chosen: Wishes) -> Planned:
    """The smallest plan with as much scratch as the budget leaves."""
    room = rooms(least, budget)
    return _with(least, replace(chosen, spare=room, limits=room, runs=runs_of(least.calls)), budget) or least


def runs_of(calls: Calls) -> tuple[tuple[str, ...], ...]:
    """The names of each run's nodes."""
    return tuple(tuple(call.node.name for call in step.calls) for step in calls.steps if isinstance(step, Run))


def _with(planned: Planned, wishes: Wishes, most: int) -> Planned | None:
    """The same steps lowered with other wishes, if the arena then has at most `most` bytes."""
    calls = lower(planned.calls.graph, planned.calls.core, wishes)
    if [*map(_claims, calls.steps)] == [*map(_claims, planned.calls.steps)]:
        return Planned(calls, planned.layout)
    again = Planned(calls, lay_out(calls, effort=QUICK_EFFORT, places=planned.layout.places))
    return again if again.arena <= most and again.layout.plan.excess <= planned.layout.plan.excess else None


def _claims(step: Call | Run) -> tuple[object, ...]:
    """All that a layout takes from a step of the same nodes."""
    own = step.rings if isinstance(step, Run) else step.in_place
    return step.scratch, own, dict(step.under), bool(step.order)


def _laid_out(calls: Calls, goals: Goals) -> Planned:
    return Planned(calls, lay_out(calls, effort=min(QUICK_EFFORT, goals.effort), places=goals.places))


def rooms(planned: Planned, arena: int) -> Mapping[str, int]:
    """For each node, the bytes of scratch that an arena of that size has for it."""
    layout, steps = planned.layout.plan, planned.calls.steps
    scratch = {scratch_name(step) for step in steps}
    others = [buffer for buffer in layout.buffers if buffer.name not in scratch]
    needs = needs_at(others, layout.overlaps, range(len(steps))).tolist()
    free = {number: max(0, arena - need) // 4 * 4 for number, need in enumerate(needs)}
    return {call.node.name: free[number] for number, step in enumerate(steps) for call in calls_of(step)}
