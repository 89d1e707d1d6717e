"""Which region of RAM each buffer of the arena lies in, when a board has several.

Decisions, each as chosen, instead of, because:

* One region for everything that nobody placed, the fastest one with the room; instead of each buffer in the fastest
  region that is left: buffers of one region take over each other's bytes, and every cut costs some of that.
* Where no region has the room, buffers are shared out, each whole: the largest first, each to the fastest region whose
  bytes alive then still allow it, and back again where that leads nowhere; instead of an exact search, because what
  counts is whether it fits. A leaf of that search is packed by `place`, region by region, and so is believed.
* The pieces stand one behind another in one space of offsets; instead of a plan for each, so that `check` and the byte
  map judge all of them as they judge one.
* Regions have the room that stack and variables leave, which is an estimate until there is a linked file.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from tinycompiler.memory import Buffer, Overlaps, Part, Plan, bytes_needed, needs_at, place

WORK = 30_000
"""Buffers that are looked at, at least, in the search for a way to share them out; more with more effort."""
LEAVES = 10
"""Ways that are packed before it is given up."""


@dataclass(frozen=True)
class Room:
    """Bytes of a region that the arena and the state may have."""

    region: str
    size: int


@dataclass(frozen=True)
class Places:
    """Where the user and the board want what the program needs."""

    rooms: tuple[Room, ...] = ()
    """In order of preference; none: one arena and one state, wherever."""
    default: str = ""
    """The region of what is not told to be elsewhere."""
    pins: Mapping[str, str] = field(default_factory=dict)
    """Memory of a tensor -> region."""
    arena: str | None = None
    """Of all tensors and scratch without a pin; None: as it fits."""
    state: str | None = None
    weights: str | None = None

    def state_region(self, size: int) -> str:
        """Of a state of `size` bytes: the default one, if it has the room."""
        by_choice = sorted(self.rooms, key=lambda room: room.region != self.default)
        return self.state or next((room.region for room in by_choice if size <= room.size), self.default)

    def less(self, size: int, region: str) -> "Places":
        """With less room in a region."""
        rooms = (replace(r, size=max(0, r.size - size)) if r.region == region else r for r in self.rooms)
        return replace(self, rooms=tuple(rooms))


ANYWHERE = Places()


def arrange(buffers: Sequence[Buffer], overlaps: Overlaps, places: Places, *, effort: int) -> Plan:
    """A plan with every buffer in a region; too large for some region where no better way was found."""
    if not places.rooms:
        return place(buffers, overlaps, effort=effort)
    packing = _Packing(buffers, overlaps, places, effort)
    tried = []
    for room in packing.free:
        plan = packing.plan([buffer.region or room.region for buffer in buffers])
        if plan.excess == 0:
            return plan
        tried.append(plan)
    return packing.shared_out() or min(tried, key=lambda plan: plan.excess)


class _Packing:
    def __init__(self, buffers: Sequence[Buffer], overlaps: Overlaps, places: Places, effort: int) -> None:
        self.buffers, self.overlaps, self.rooms, self.effort = buffers, overlaps, places.rooms, effort
        self.free = [room for room in places.rooms if places.arena in (None, room.region)]
        self.alignment = max((buffer.alignment for buffer in buffers), default=1)  # what follows a piece keeps its own
        self.packed: dict[tuple[str, ...], Plan] = {}

    def pack(self, buffers: Sequence[Buffer], effort: int) -> Plan:
        """One region's buffers."""
        names = tuple(buffer.name for buffer in buffers)
        if names not in self.packed:
            self.packed[names] = place(buffers, self.overlaps, effort=effort)
        return self.packed[names]

    def plan(self, homes: Sequence[str], effort: int | None = None) -> Plan:
        """Buffer i in region homes[i]."""
        pairs = list(zip(self.buffers, homes, strict=True))
        here = {room: [b for b, home in pairs if home == room.region] for room in self.rooms}
        used = [room for room, own in here.items() if any(b.size for b in own)] or self.free[:1]
        plans = [self.pack(here[room], self.effort if effort is None else effort) for room in used]
        parts: list[Part] = []
        offsets = {buffer.name: 0 for buffer in self.buffers}
        for room, plan in zip(used, plans, strict=True):
            start = parts[-1].end if parts else 0
            size = plan.arena if room == used[-1] else -(-plan.arena // self.alignment) * self.alignment
            parts.append(Part(room.region, start, size, room.size))
            offsets |= {buffer.name: start + plan.offsets[buffer.name] for buffer in plan.buffers if buffer.size}
        worst = max(range(len(parts)), key=lambda i: parts[i].size - parts[i].room)
        bound, proven = (plans[0].lower_bound, plans[0].proven) if len(plans) == 1 else (self.bound, False)
        peak, overlaps = plans[worst].peak_step, dict(self.overlaps)
        return Plan(tuple(self.buffers), offsets, parts[-1].end, bound, peak, proven, overlaps, tuple(parts))

    @cached_property
    def bound(self) -> int:
        """No pieces are smaller together."""
        births = sorted({buffer.first for buffer in self.buffers})
        return int(needs_at(self.buffers, self.overlaps, births).max(initial=0))

    def shared_out(self) -> Plan | None:
        """Every buffer in some region so that all fit, or None when no way was found."""
        largest = max((room.size for room in self.free), default=0)
        hopeless = self.bound > sum(room.size for room in self.rooms)
        if len(self.free) < 2 or hopeless or any(b.size > largest for b in self.buffers if not b.region):
            return None
        order = sorted(range(len(self.buffers)), key=lambda i: (-self.buffers[i].size, self.buffers[i].name))
        regions = [room.region for room in self.free]
        work = WORK + 10 * self.effort
        search = _Sharing([self.buffers[i] for i in order], self.overlaps, self.rooms, regions, work)

        def accept(homes: Sequence[str]) -> Plan | None:
            by_index = dict(zip(order, homes, strict=True))
            plan = self.plan([by_index[i] for i in range(len(order))], self.effort // LEAVES)
            return plan if plan.excess == 0 else None

        return search.run(accept)


class _Sharing:
    """Depth first, buffer by buffer: each tries the regions in turn; what does not fit at some step is not entered."""

    def __init__(
        self, buffers: Sequence[Buffer], overlaps: Overlaps, rooms: Sequence[Room], free: Sequence[str], work: int
    ) -> None:
        self.buffers, self.overlaps = buffers, overlaps
        self.size = {room.region: room.size for room in rooms}
        self.choices = [[buffer.region] if buffer.region else list(free) for buffer in buffers]
        births = sorted({buffer.first for buffer in buffers})
        self.steps = [[step for step in births if b.first <= step <= b.last] for b in buffers]
        self.alive: dict[tuple[str, int], list[Buffer]] = {(r, step): [] for r in self.size for step in births}
        self.work = work

    def run(self, accept: Callable[[Sequence[str]], Plan | None]) -> Plan | None:
        """The first way that `accept` makes a plan of."""
        tried = [0] * (len(self.buffers) + 1)
        homes: list[str] = []
        leaves = LEAVES
        while self.work > 0 and leaves > 0:
            i = len(homes)
            if i == len(self.buffers):
                leaves -= 1
                plan = accept(homes)
                if plan is not None:
                    return plan
            elif tried[i] < len(self.choices[i]):
                region = self.choices[i][tried[i]]
                tried[i] += 1
                if self.enters(i, region):
                    homes.append(region)
                    tried[i + 1] = 0
                continue
            if not homes:
                return None
            self.leaves(len(homes) - 1, homes.pop())
        return None

    def enters(self, i: int, region: str) -> bool:
        """Puts buffer i there, unless the region is then too small for what is alive at some step."""
        buffer = self.buffers[i]
        for step in self.steps[i]:
            together = [*self.alive[region, step], buffer]
            self.work -= len(together)
            if bytes_needed(together, self.overlaps) > self.size[region]:
                return False
        for step in self.steps[i]:
            self.alive[region, step].append(buffer)
        return True

    def leaves(self, i: int, region: str) -> None:
        for step in self.steps[i]:
            self.alive[region, step].pop()
