"""Why a network does not fit, and what would help, each with its price.

Decisions:
* What is named as too much is a minimal set: at the step that needs most, tensors are left out, the smallest first, as
  long as the rest still has no room; so each one that is named matters, and any one less would do. Where no step is too
  much by itself, the buffers are such that no placement was found, and the set is minimal for the planner.
* What would help is planned like any plan, with fewer search nodes, and not estimated: a help that helps less than it
  says is worse than none. Only the price in instructions is an estimate, the one that runs are chosen by.
* Large networks get no alternatives, since planning one takes seconds: the limit is their size, so that an answer does
  not depend on the machine.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tinycompiler.board import Board, load, names
from tinycompiler.build import Elf
from tinycompiler.fusion import estimate
from tinycompiler.graph import Graph
from tinycompiler.kernels import Calls, Constant, Run, calls_of
from tinycompiler.lifetimes import QUICK_EFFORT, Layout
from tinycompiler.memory import Buffer, alive_at
from tinycompiler.places import rooms_beside
from tinycompiler.planning import USUAL, Goals, Planned, plan, thriftiest
from tinycompiler.regions import arrange
from tinycompiler.report_facts import Json, short

MOST_NODES = 300
"""Nodes of a network for which alternatives are planned."""
MOST_BUFFERS = 120
"""Buffers among which a minimal set is sought where no single step is too much."""
CODE, STACK = 16384, 1024
"""Bytes that a board has to have beyond the plan."""


def constant_bytes(calls: Calls) -> int:
    """Bytes of weights and tables, equal ones counted once."""
    return sum({c.key: c.size for call in calls.calls for c in call.constants}.values())


def planned_use(calls: Calls, layout: Layout, board: Board) -> Json:
    """What the plan alone says: constants against flash, arena with state against RAM; code and stack come on top."""
    constants = constant_bytes(calls)
    regions = _planned_regions(constants, layout, board)
    return {"constants": constants, "fits": all(used <= capacity for _, used, capacity in regions.values())}


def _planned_regions(constants: int, layout: Layout, board: Board) -> dict[str, tuple[str, int, int]]:
    """Region -> kind, bytes planned there, capacity."""
    weights = next(r for r in board.regions if r.name == (layout.places.weights or board.flash.name))
    used = {part.region or board.ram.name: part.size for part in layout.plan.parts}
    used = used or {board.ram.name: layout.plan.arena}
    for region, size in ((layout.state_region or board.ram.name, layout.state_bytes), (weights.name, constants)):
        used[region] = used.get(region, 0) + size
    if weights.kind == "ram":  # start-up copies them from flash
        used[board.flash.name] = constants
    return {r.name: (r.kind, used.get(r.name, 0), board.capacity(r)) for r in board.regions}


def shortfall(
    calls: Calls,
    layout: Layout,
    board: Board,
    elf: Elf | None,
    *,
    goals: Goals = USUAL,
    integer: Callable[[], Graph | None] = lambda: None,
) -> Json:
    """By how many bytes it does not fit, where, what cannot live together, and what would help.

    `integer` makes the same network with int8 inputs and outputs, where it has others.
    """
    used = _planned_regions(constant_bytes(calls), layout, board)
    if elf:
        used = {r.name: (r.kind, r.used, r.capacity) for r in elf.memory.regions}
    regions = [
        {"region": name, "kind": kind, "used": use, "capacity": capacity, "missing": use - capacity}
        for name, (kind, use, capacity) in used.items()
        if use > capacity
    ]
    full = {kind: name for name, (kind, use, capacity) in used.items() if use > capacity}
    places = replace(goals.places, rooms=rooms_beside(board, others_in(elf, layout) if elf else {}))
    case = _Case(calls, layout, board, replace(goals, places=places, effort=QUICK_EFFORT), integer)
    remedies = list(case.remedies(full["ram"])) if "ram" in full else []
    return {
        "regions": regions,
        "peak_node": calls_of(calls.steps[layout.plan.peak_step])[0].node.name if calls.steps else None,
        "alive": [{"name": b.name, "bytes": b.size} for b in alive_at(layout.plan, layout.plan.peak_step)],
        "conflict": case.conflict() if "ram" in full else None,
        "remedies": [remedy.json for remedy in remedies],
        "help": [*map(str, remedies), *_advice(calls, layout, set(full))],
    }


def _advice(calls: Calls, layout: Layout, kinds: set[str]) -> Iterator[str]:
    """What only the user can do."""
    constants = constant_bytes(calls)
    if "ram" in kinds:
        if len(calls.graph.nodes) > MOST_NODES:
            yield f"RAM: no other plans were tried, as the network has more than {MOST_NODES} nodes"
        largest = alive_at(layout.plan, layout.plan.peak_step)[0]
        yield (
            f"RAM: halve '{short(largest.name)}' ({largest.size:,} bytes at the peak), by a smaller input, "
            "a stride in an earlier layer, or fewer channels"
        )
    if "flash" in kinds:
        heaviest = max(calls.calls, key=lambda c: _flash_of(c.constants))
        yield (
            f"flash: prune or narrow {heaviest.node.name}, which holds {_flash_of(heaviest.constants):,} of "
            f"{constants:,} bytes of constants"
        )
    enough = boards_with(constants, layout.plan.arena + layout.state_bytes)
    yield (
        f"boards with room for the plan: {', '.join(enough)}"
        if enough
        else "no board in `tinycompiler boards` has the room"
    )


def others_in(elf: Elf, layout: Layout) -> dict[str, int]:
    """Bytes of each region that are neither arena nor state."""
    own = {part.region: part.size for part in layout.plan.parts}
    own[layout.state_region] = own.get(layout.state_region, 0) + layout.state_bytes
    return {region.name: max(0, region.used - own.get(region.name, 0)) for region in elf.memory.regions}


def _flash_of(constants: Sequence[Constant]) -> int:
    return sum(c.size for c in constants)


def boards_with(flash: int, ram: int) -> list[str]:
    """Known boards with regions that large, and a margin for code and stack; the smallest RAM first."""
    found = []
    for name in names():
        board = load(name)
        largest = max(board.capacity(region) for region in board.rams)
        if board.capacity(board.flash) >= flash + CODE and largest >= ram + STACK:
            found.append(board)
    return [b.name for b in sorted(found, key=lambda b: (b.ram.size, b.name))]


@dataclass(frozen=True)
class Remedy:
    """Something to do, and what it gives and costs."""

    what: str
    option: str
    """On the command line."""
    region: str
    """Which has too much."""
    saves: int
    """Bytes there."""
    missing: int
    """Bytes that are then still missing, in all regions."""
    slower: float
    """Share of instructions that it adds (estimated), as far as runs cost any."""

    @property
    def json(self) -> Json:
        return {**vars(self), "fits": self.missing == 0}

    def __str__(self) -> str:
        price = f", {100 * self.slower:+.2g} % instructions" if self.slower else ""
        verdict = f"{self.missing:,} bytes still missing" if self.missing else "then it fits"
        return f"{self.what}: {-self.saves:,} bytes in {self.region}{price} ({self.option}); {verdict}"


@dataclass(frozen=True, eq=False)
class _Case:
    calls: Calls
    layout: Layout
    board: Board
    goals: Goals
    integer: Callable[[], Graph | None]

    # What cannot live together

    def conflict(self) -> Json | None:
        """A minimal set of buffers that have no room together; None when there are too many to look at."""
        buffers, step = self.layout.plan.buffers, self.worst_step()
        if step is None and len(buffers) > MOST_BUFFERS:
            return None
        found = buffers if step is None else self.at(step)
        left = sorted((b for b in found if b.size), key=lambda b: (b.size, b.name))
        shrunk = True
        while shrunk:  # where an output overlaps what it is made of, one that goes can make room for another to go
            shrunk = False
            for buffer in list(left):
                without = [b for b in left if b is not buffer]
                if self.excess(without):
                    left, shrunk = without, True
        return {
            "layer": None if step is None or not self.calls.steps else calls_of(self.calls.steps[step])[0].node.name,
            "tensors": [{"name": b.name, "bytes": b.size} for b in reversed(left)],
            "excess": self.excess(left),
        }

    def worst_step(self) -> int | None:
        """The step that needs most, if it is too much by itself."""
        plan = self.layout.plan
        births = sorted({b.first for b in plan.buffers}, key=lambda step: step != plan.peak_step)
        needs = {step: self.excess(self.at(step)) for step in births}
        worst = max(births, key=lambda step: needs[step], default=None)
        return worst if worst is not None and needs[worst] else None

    def at(self, step: int) -> tuple[Buffer, ...]:
        """What is alive at a step, as if nothing else were."""
        return tuple(replace(b, first=0, last=0) for b in alive_at(self.layout.plan, step))

    def excess(self, buffers: Sequence[Buffer]) -> int:
        """Bytes that are missing for these."""
        places = self.goals.places
        left = places.less(self.layout.state_bytes, places.state_region(self.layout.state_bytes))
        return arrange(buffers, self.layout.plan.overlaps, left, effort=QUICK_EFFORT).excess

    # What would help

    def remedies(self, region: str) -> Iterator[Remedy]:
        """What saves bytes in that region, each more than the one before; what is dear only where nothing else does."""
        if len(self.calls.graph.nodes) > MOST_NODES:
            return
        best, enough = 0, False
        for found in (self.elsewhere, self.other_runs, self.int8, self.thrift):
            for remedy in found(region):
                if remedy.saves > best:
                    best, enough = remedy.saves, enough or remedy.missing == 0
                    yield remedy
            if enough:
                return

    def remedy(self, what: str, option: str, region: str, planned: Planned) -> Remedy:
        slower = _cost(planned) - _cost(Planned(self.calls, self.layout))
        saves = _bytes_in(self.layout, region) - _bytes_in(planned.layout, region)
        return Remedy(what, option, region, saves, planned.layout.plan.excess, round(slower, 4))

    def planned(self, **more: Any) -> Planned:
        return plan(self.calls.graph, self.board.core, replace(self.goals, budget=None, **more))

    def elsewhere(self, region: str) -> Iterator[Remedy]:
        """Other places for what the user placed."""
        places = self.goals.places
        if places.arena or places.pins:
            freed = self.planned(places=replace(places, arena=None, pins={}))
            yield self.remedy("tensors wherever there is room", "without --place for tensors", region, freed)
        size = sum(self.calls.graph.tensors[name].bytes for name in self.calls.graph.inputs)
        for room in places.rooms:
            if room.region != region and room.size >= size and places.arena:
                pins = {**places.pins, **{self.calls.memory_of(name): room.region for name in self.calls.graph.inputs}}
                moved = self.planned(places=replace(places, pins=pins))
                yield self.remedy(f"input in {room.region}", f"--place input={room.region}", region, moved)

    def other_runs(self, region: str) -> Iterator[Remedy]:
        """Runs that the user forbade, or the cap on instructions."""
        if not self.goals.fusion:
            fused = self.planned(fusion=True)
            yield self.remedy(_fusing(fused), "without --no-fusion", region, fused)
        if self.goals.slowdown is not None:
            fused = self.planned(fusion=True, slowdown=None)
            remedy = self.remedy(_fusing(fused), "", region, fused)
            share = -(-10_000 * _cost(fused) // 100) + 1
            yield replace(remedy, option=f"--max-slowdown {share:.0f}")

    def int8(self, region: str) -> Iterator[Remedy]:
        graph = self.integer()
        if graph is not None:
            planned = plan(graph, self.board.core, replace(self.goals, budget=None))
            yield self.remedy("int8 inputs and outputs", "--io int8", region, planned)

    def thrift(self, region: str) -> Iterator[Remedy]:
        """Less scratch: as little as must be, or, where that is not enough, as little as can be."""
        graph = self.calls.graph
        if sum(graph.tensors[name].bytes for name in graph.inputs) > sum(room.size for room in self.goals.places.rooms):
            return  # inputs have to be whole
        found = thriftiest(graph, self.board.core, replace(self.goals, fusion=True, budget=None))
        remedy = self.remedy(self.thriftily(found), f"--arena-budget {found.arena}", region, found)
        yield remedy

    def thriftily(self, planned: Planned) -> str:
        """What is different about a plan with less scratch."""
        before = {call.node.name: call for call in self.calls.calls}
        slower = [c.node.name for c in planned.calls.calls if c.kernel != before[c.node.name].kernel]
        less = [c.node.name for c in planned.calls.calls if c.scratch < before[c.node.name].scratch]
        less = [name for name in less if name not in slower]
        told = [_fusing(planned)] if _runs(planned) else []
        told += [f"slower kernels at {_listed(slower)}"] if slower else []
        told += [f"less scratch at {_listed(less)}"] if less else []
        return ", ".join(told) or "other places in the arena"


def _runs(planned: Planned) -> list[Run]:
    return [step for step in planned.calls.steps if isinstance(step, Run)]


def _cost(planned: Planned) -> float:
    """What runs add, as a share of all instructions."""
    calls = planned.calls
    return sum(run.extra for run in _runs(planned)) / max(1.0, estimate(calls.calls, calls.graph, calls.core))


def _bytes_in(layout: Layout, region: str) -> int:
    """Of a region, for arena and state."""
    state = layout.state_bytes if layout.state_region == region else 0
    return state + sum(part.size for part in layout.plan.parts if part.region == region)


def _fusing(planned: Planned) -> str:
    ends = [(run.calls[0].node.name, run.calls[-1].node.name) for run in _runs(planned)]
    return "fuse " + _listed([f"{first}..{last}" for first, last in ends])


def _listed(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
