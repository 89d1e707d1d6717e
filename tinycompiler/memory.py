"""Where every tensor, scratch buffer and state lives in the arena: `place` decides, `check` distrusts, `draw` shows.

A buffer is a rectangle, bytes × steps; two that are alive at one step may not share a byte. Tensors that share their
bytes (in place, aliases) reach this module as one `Buffer`. Offsets count from the arena's base, which the emitted C
aligns to the largest alignment.

Decisions, each as chosen, instead of, because:

* Quick packings first, then branch and bound; instead of an integer-programming solver: for most networks the first
  order meets the bound, which is a proof, and a solver is a heavy dependency whose answer changes with its version.
* The search places buffers in the order of their offsets, each as low as those below it allow (the canonical form of
  MinimAlloc, Moffitt 2023); instead of choosing an offset per buffer: some optimal plan always has this form, so trying
  every such order is exhaustive. What is unplaced falls apart where nothing unplaced crosses; parts are searched alone.
* Effort is counted in search nodes; instead of seconds: the same input gives the same bytes on every machine.
* Steps are reduced to sections, the steps whose buffers are not all alive at another section; instead of every step:
  equally exact (intervals that overlap share such a section), and fewer.
* `check` paints bytes, step by step; instead of comparing rectangles: it must not be wrong in the way `place` is.
* Which pairs may not share bytes is stated in `_Problem` alone, and how far apart they lie in its `reach`; instead of
  tests on lifetimes everywhere. An output may begin less than its size under an input that its call uses up (an
  `Overlap`): then `reach` is that distance, which is never negative, so that offsets still rise in the search's order.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, groupby, pairwise
from string import ascii_letters, digits
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

EFFORT = 20_000  # search nodes per stretch: a few seconds at most, spent if the bound is not met at once
QUICK_WORK = 8_000_000  # pairs of buffers that are looked at in quick packings, the first one apart
MENDINGS = 40  # times that a quick packing is mended
MENDING_WORK = 100_000  # pairs of buffers that are looked at in this
STRAIGHT = 1_000  # buffers up to which a search without a limit is one of the quick packings
NODE_SIZE = 8_192  # buffers times sections of a part that count as one more node
ANY_HEIGHT = 2**40  # bytes: a capacity that nothing reaches

Overlaps = Mapping[tuple[str, str], int]
"""(below, above) -> bytes: `above` may begin that far over the begin of `below`, which is shorter than `below`.

At one step all pairs have the same `below`: the output of the call that uses up the others.
"""
NO_OVERLAPS: Overlaps = MappingProxyType({})


@dataclass(frozen=True)
class Buffer:
    """`size` bytes, alive from step `first` to `last`, both included, at a multiple of `alignment` (a power of two)."""

    name: str
    size: int
    first: int
    last: int
    alignment: int = 1
    region: str = ""
    """Where it has to lie; empty: anywhere."""

    def __post_init__(self) -> None:
        assert self.size >= 0, f"buffer {self.name}: size {self.size} is negative"
        assert self.first <= self.last, (
            f"buffer {self.name}: dies at step {self.last}, before its birth at {self.first}"
        )
        power_of_two = self.alignment > 0 and self.alignment & (self.alignment - 1) == 0
        assert power_of_two, f"buffer {self.name}: alignment {self.alignment} is not a power of two"


@dataclass(frozen=True)
class Part:
    """Offsets `start` to `end`, not included: the piece of an arena that lies in a region, where it may have `room`."""

    region: str
    start: int
    size: int
    room: int

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True)
class Plan:
    """Offsets in bytes by buffer name; no arena can be smaller than `lower_bound`, which `peak_step` alone demands.

    `proven`: no plan with a smaller arena exists (the bound is met, or the search tried everything). `parts`: one after
    another the pieces of the arena, each in a region of its own; none: one piece, whose region nobody asked for.
    """

    buffers: tuple[Buffer, ...]
    offsets: dict[str, int]
    arena: int
    lower_bound: int
    peak_step: int
    proven: bool
    overlaps: Overlaps = field(default_factory=dict)
    parts: tuple[Part, ...] = ()

    @property
    def optimal(self) -> bool:
        return self.proven or self.arena == self.lower_bound

    @property
    def excess(self) -> int:
        """Bytes by which parts are larger than their rooms."""
        return sum(max(0, part.size - part.room) for part in self.parts)

    def part_of(self, offset: int) -> int:
        """The number of the part that holds an offset."""
        return max((i for i, part in enumerate(self.parts) if part.start <= offset), default=0)


def alive_at(plan: Plan | Iterable[Buffer], step: int) -> tuple[Buffer, ...]:
    """The buffers alive at `step`, largest first (then by name)."""
    buffers = plan.buffers if isinstance(plan, Plan) else plan
    alive = (buffer for buffer in buffers if buffer.first <= step <= buffer.last)
    return tuple(sorted(alive, key=lambda buffer: (-buffer.size, buffer.name)))


def bytes_needed(alive: Iterable[Buffer], overlaps: Overlaps = NO_OVERLAPS) -> int:
    """The least arena for buffers that are all alive at once: true, though not always reachable.

    Starts at multiples of `a` are at least the size rounded up to `a` apart; only the topmost saves its rounding.
    That holds for the buffers aligned to `a` or more, whatever else is alive; the bound is the largest over every `a`.
    """
    real = _melted([buffer for buffer in alive if buffer.size > 0], overlaps)
    best = 0
    for alignment in {buffer.alignment for buffer in real}:
        sizes = [buffer.size for buffer in real if buffer.alignment >= alignment]
        rounding = [-size % alignment for size in sizes]
        best = max(best, sum(sizes) + sum(rounding) - max(rounding))
    return best


def needs_at(buffers: Iterable[Buffer], overlaps: Overlaps, steps: Sequence[int]) -> Ints:
    """`bytes_needed` of what is alive at each of `steps`, which rise."""
    first, last, size, alignment = np.array([*_pieces(buffers, overlaps)], np.int64).reshape(-1, 4).T
    low, high = np.searchsorted(steps, first), np.searchsorted(steps, last, side="right")
    best = np.zeros(len(steps), np.int64)
    for unit in np.unique(alignment).tolist():
        own = alignment >= unit
        rounding = -size % unit * own
        saved = np.zeros_like(best)
        for bytes_more in np.unique(rounding).tolist():
            saved[_summed(low, high, own & (rounding == bytes_more), len(steps)) > 0] = bytes_more
        best = np.maximum(best, _summed(low, high, (size + rounding) * own, len(steps)) - saved)
    return best


def _summed(low: Ints, high: Ints, amount: NDArray[Any], count: int) -> Ints:
    """At each of `count` places, the amounts of the intervals (low to high, not included) that hold it."""
    edges = np.zeros(count + 1, np.int64)
    np.add.at(edges, low, amount)
    np.subtract.at(edges, high, amount)
    return np.cumsum(edges)[:-1]


def _pieces(buffers: Iterable[Buffer], overlaps: Overlaps) -> Iterator[tuple[int, int, int, int]]:
    """(first, last, size, alignment), with an output and what it may overlap as one at the step that they share."""
    lives = {buffer.name: buffer for buffer in buffers if buffer.size > 0}
    groups: dict[str, list[str]] = {}
    for below, above in overlaps:
        if below in lives and above in lives:
            assert lives[below].first == lives[above].last, f"{below} overlaps {above}, which does not die at its birth"
            groups.setdefault(below, []).append(above)
    for below, names in groups.items():
        step = lives[below].first
        for melted in _melted([lives[below], *map(lives.__getitem__, names)], overlaps):
            yield step, step, melted.size, melted.alignment
    dying = {name for names in groups.values() for name in names}
    for name, buffer in lives.items():
        first, last = buffer.first + (name in groups), buffer.last - (name in dying)
        if first <= last:
            yield first, last, buffer.size, buffer.alignment


def _melted(alive: list[Buffer], overlaps: Overlaps) -> list[Buffer]:
    """An output and those that it may overlap as one buffer of the bytes that they cover together at least.

    The others lie apart, and under the lowest of those that the output overlaps are `distance` bytes of its own.
    """
    names = {buffer.name: buffer for buffer in alive}
    pairs = {pair: distance for pair, distance in overlaps.items() if pair[0] in names and pair[1] in names}
    if not pairs:
        return alive
    assert len({below for below, _ in pairs}) == 1, "two outputs of one step overlap inputs"
    below = names[next(iter(pairs))[0]]
    above = [names[name] for _, name in pairs]
    covered = max(sum(buffer.size for buffer in above) + min(pairs.values()), below.size)
    apart = [buffer for buffer in alive if buffer is not below and buffer not in above]
    return [*apart, replace(below, size=covered, alignment=min(b.alignment for b in (below, *above)))]


def place(buffers: Sequence[Buffer], overlaps: Overlaps = NO_OVERLAPS, *, effort: int = EFFORT) -> Plan:
    """The smallest arena found with `effort` search nodes per stretch; the order of `buffers` does not matter."""
    assert len({buffer.name for buffer in buffers}) == len(buffers), "two buffers have the same name"
    offsets = {buffer.name: 0 for buffer in buffers}  # buffers of zero bytes stay at 0
    problems = [_Problem(stretch, overlaps) for stretch in _stretches(buffers)]
    problems.sort(key=lambda problem: -problem.bound)
    bound = problems[0].bound if problems else 0
    arena, proven = bound, True
    for problem in problems:  # hardest first: no later stretch need be better than an earlier one
        found, proven_here = _pack(problem, arena, effort)
        offsets.update(zip((buffer.name for buffer in problem.buffers), found.tolist(), strict=True))
        height = problem.height(found)
        if height > arena:
            arena, proven = height, proven_here
        elif height == arena:
            proven = proven or proven_here
    peak = problems[0].peak_step if problems else min((buffer.first for buffer in buffers), default=0)
    return Plan(tuple(buffers), offsets, arena, bound, peak, proven, dict(overlaps))


def _stretches(buffers: Iterable[Buffer]) -> list[list[Buffer]]:
    """Buffers with bytes, cut wherever nothing is alive across a step; in a fixed order."""
    stretches: list[list[Buffer]] = []
    end = 0
    for buffer in sorted(buffers, key=lambda each: (each.first, -each.size, -each.last, -each.alignment, each.name)):
        if buffer.size == 0:
            continue
        if not stretches or buffer.first > end:
            stretches.append([])
            end = buffer.last
        stretches[-1].append(buffer)
        end = max(end, buffer.last)
    return stretches


class _Problem:
    """Buffers as arrays, index = place in `buffers` (sorted by first step); alive from section `low` to `high`."""

    def __init__(self, buffers: list[Buffer], overlaps: Overlaps) -> None:
        self.buffers = buffers
        self.size: Ints = np.array([buffer.size for buffer in buffers], np.int64)
        self.alignment: Ints = np.array([buffer.alignment for buffer in buffers], np.int64)
        births = sorted({buffer.first for buffer in buffers})
        deaths = np.unique([buffer.last for buffer in buffers])
        # A birth step opens a section when something dies before the next birth.
        before = np.searchsorted(deaths, [*births, deaths[-1] + 1])
        steps = [step for step, now, later in zip(births, before, before[1:], strict=False) if later > now]
        self.low = np.searchsorted(steps, [buffer.first for buffer in buffers])
        self.high = np.searchsorted(steps, [buffer.last for buffer in buffers], side="right") - 1
        section = np.arange(len(steps))
        self.alive = (self.low[:, None] <= section) & (section <= self.high[:, None])  # (buffers, sections)
        index = {buffer.name: i for i, buffer in enumerate(buffers)}
        self.above: dict[int, dict[int, int]] = {}  # output -> what it may begin under -> how far at least
        for (below, above), distance in overlaps.items():
            if below in index and above in index:
                self.above.setdefault(index[below], {})[index[above]] = distance
        self.present = self.alive.astype(np.float64)  # exact below 2^53, and their matrix product is the fast one
        needs = needs_at(buffers, overlaps, steps)
        self.bound = int(needs.max())
        self.peak_step = steps[int(needs.argmax())]
        length = np.array([buffer.last - buffer.first for buffer in buffers], np.int64)
        area = self.size * (self.high - self.low + 1)
        pressure = np.where(self.alive, needs, 0).max(axis=1)  # of the fullest section of each life
        self.clash = (self.low[:, None] <= self.high) & (self.low <= self.high[:, None])
        np.fill_diagonal(self.clash, False)
        self.unit = int(self.alignment.min())
        self.rounded = -(-self.size // self.unit) * self.unit
        self.savings = self._savings()
        self.near = self._near()
        self.rivals = [np.flatnonzero(row).tolist() for row in self._apart()]
        shape = np.stack([self.size, self.alignment, self.low, self.high])
        same = (shape[:, 1:] == shape[:, :-1]).all(axis=0)
        single = np.ones(len(buffers), np.bool_)
        single[[i for output, above in self.above.items() for i in (output, *above)]] = False
        same &= single[1:] & single[:-1]
        self.twin = np.append(-1, np.where(same, np.arange(len(same)), -1))  # the buffer before, if interchangeable
        self.greedy = [self.order(self.size, length), self.order(pressure, self.size), self.order(area)]
        # the latest first, as outputs that overlap inputs go below them; the earliest first
        self.greedy += [np.arange(len(buffers))[::-1], self.order(-self.low)]
        self.preferences = [self.order(area, self.size), self.order(pressure, length, area)]
        self.preferences.append(self.order(length, self.size))

    def _near(self) -> list[list[tuple[int, int, int]]]:
        """For each buffer those that may lie nearer than their sizes: which, how far above it, how far below it."""
        near: list[list[tuple[int, int, int]]] = [[] for _ in self.buffers]
        for output, above in self.above.items():
            for i, distance in above.items():
                near[output].append((i, distance, int(self.size[i])))
                near[i].append((output, int(self.size[i]), distance))
        return near

    def _apart(self) -> NDArray[np.bool_]:
        """Which pairs lie their sizes apart."""
        apart = self.clash.copy()
        for output, above in self.above.items():
            apart[output, [*above]] = apart[[*above], output] = False
        return apart

    def _savings(self) -> tuple[Ints, Ints]:
        """Outputs that may overlap others, and what this saves at most, at their birth, of the sum of all sizes."""
        saved = []
        for output, above in self.above.items():
            own, inputs = int(self.rounded[output]), int(self.rounded[[*above]].sum())
            saved.append(own + inputs - max(inputs + min(above.values()), own))
        return np.array([*self.above], np.int64), np.array(saved, np.int64)

    def height(self, offsets: Ints) -> int:
        return int((offsets + self.size).max())

    def rise(self, floor: Ints, members: Ints, i: int, offset: int) -> Ints:
        """`floor`, the least offsets of `members`, after buffer `i` went to `offset` below its rivals."""
        alignment = self.alignment[members]
        above = -(-(offset + self.reach(i, members)) // alignment) * alignment
        return np.where(self.clash[i, members], np.maximum(floor, above), floor)

    def reach(self, i: int, members: Ints) -> Ints:
        """Bytes from the begin of buffer `i` to that of each of `members`, if it is not lower."""
        reach = np.full(len(members), self.size[i])
        for j, distance in self.above.get(i, {}).items():
            reach[members == j] = distance
        return reach

    def order(self, *keys: Ints) -> Ints:
        """Indices, the largest first by each of `keys` in turn."""
        return np.lexsort([-key for key in reversed(keys)])


def _pack(problem: _Problem, target: int, effort: int) -> tuple[Ints, bool]:
    """Offsets no higher than `target` (a bound, or already lost) if possible, and whether no lower ones exist."""
    best = _quick(problem, target)
    top, tried, impossible, left = problem.height(best), target - 1, problem.bound - 1, effort
    while top > target and impossible < top - 1 and left > 0:
        orders = problem.preferences
        if tried == target - 1:
            capacity, share = target, left // 2  # likely, and would end everything
        elif tried < top - 1:
            capacity, share = (tried + top) // 2, left // 8
        else:
            capacity, share, orders = top - 1, left, orders[:1]  # all that is left, for the proof
        found, exhausted, used = _search(problem, capacity, share, orders)
        left -= max(1, used)
        if found is not None:
            best, top = found, problem.height(found)
        else:
            tried = max(tried, capacity)
            impossible = max(impossible, capacity if exhausted else 0)
    return best, impossible == top - 1


def _quick(problem: _Problem, target: int) -> Ints:
    """The lowest of several quick packings; the first that meets `target` ends the trial."""
    best: Ints | None = None
    for offsets in _trials(problem, target):
        if best is None or problem.height(offsets) < problem.height(best):
            best = offsets
        if problem.height(best) <= target:
            break
    assert best is not None
    return best


def _trials(problem: _Problem, target: int) -> Iterator[Ints]:
    pairs = 1 + sum(map(len, problem.rivals))
    for order in problem.greedy[: max(1, QUICK_WORK // pairs)]:
        yield _fit(problem, order.tolist())
    for order in problem.preferences if len(problem.buffers) <= STRAIGHT else ():
        offsets, _, _ = _search(problem, ANY_HEIGHT, 2**62, [order])  # straight down: nothing can fail
        assert offsets is not None
        yield offsets
    for order in problem.greedy[:2]:  # mending: what ended too high goes halfway to the front, again and again
        rank = np.argsort(order)
        for _ in range(min(MENDINGS, MENDING_WORK // pairs)):
            offsets = _fit(problem, np.lexsort([np.arange(len(rank)), rank]).tolist())
            yield offsets
            rank = np.where(offsets + problem.size > target, rank // 2, rank + 1)


def _fit(problem: _Problem, order: list[int]) -> Ints:
    """Each buffer in `order` into its tightest gap between its rivals, else above them."""
    size, alignment = problem.size.tolist(), problem.alignment.tolist()
    offsets = [-1] * len(order)
    for i in order:
        room, choice, cursor, own, unit = 2**62, -1, 0, size[i], alignment[i]
        # between the two offsets of each of those that are placed, the buffer may not begin
        closed = [(offsets[j] - own, offsets[j] + size[j]) for j in problem.rivals[i] if offsets[j] >= 0]
        closed += [(offsets[j] - over, offsets[j] + under) for j, over, under in problem.near[i] if offsets[j] >= 0]
        for low, high in sorted(closed):
            if cursor <= low < cursor + room:
                offset = -(-cursor // unit) * unit
                if offset <= low:
                    choice, room = offset, low - cursor
            if high > cursor:
                cursor = high
        offsets[i] = choice if choice >= 0 else -(-cursor // unit) * unit
    return np.array(offsets, np.int64)


class _OutOfNodes(Exception):
    """The node limit is reached: nothing is known."""


def _search(problem: _Problem, capacity: int, effort: int, orders: list[Ints]) -> tuple[Ints | None, bool, int]:
    """Offsets within `capacity` or None, whether that is certain, and the nodes used; the orders share the effort."""
    used = 0
    if effort // len(orders) <= problem.alive.size // NODE_SIZE:  # not enough for a single node
        return None, False, effort
    for order in orders:
        searcher = _Searcher(problem, capacity, effort // len(orders), np.argsort(order))
        try:
            fits = searcher.run()
        except _OutOfNodes:
            used += effort // len(orders)
            continue
        return searcher.offsets if fits else None, True, used + effort // len(orders) - searcher.nodes
    return None, False, used


class _Searcher:
    """Depth first over the orders of offsets. A part is its unplaced `members` and the `floor` under each of them."""

    def __init__(self, problem: _Problem, capacity: int, nodes: int, preference: Ints) -> None:
        self.problem, self.capacity, self.nodes, self.preference = problem, capacity, nodes, preference
        self.offsets: Ints = np.zeros(len(problem.buffers), np.int64)
        # Starts are multiples of the least alignment, so sizes may be rounded up to it, if the capacity is too.
        self.rounded = problem.rounded.astype(np.float64)
        self.rounded_capacity = -(-capacity // problem.unit) * problem.unit

    def run(self) -> bool:
        """Drive the generators from a list: Python's own stack would end at a thousand buffers."""
        members = np.arange(len(self.problem.buffers))
        stack: list[Generator[Any, bool, bool]] = [self.solve(members, np.zeros_like(members), 0, None)]
        answer: bool | None = None
        while stack:
            try:
                stack.append(next(stack[-1]) if answer is None else stack[-1].send(answer))
                answer = None
            except StopIteration as stop:
                stack.pop()
                answer = stop.value
        assert answer is not None
        return answer

    def solve(self, members: Ints, floor: Ints, last: int, previous: int | None) -> Generator[Any, bool, bool]:
        """Whether `members` fit, all at or above offset `last`, where buffer `previous` was placed."""
        self.nodes -= 1
        if self.nodes < 0:
            raise _OutOfNodes
        if self.too_high(members, floor, last):
            return False
        for k in self.candidates(members, floor, last, previous):
            i, offset = int(members[k]), int(floor[k])
            self.offsets[i] = offset
            others = members != i
            rest = members[others]
            risen = self.problem.rise(floor[others], rest, i, offset)
            for part in self.parts(rest):
                fits = yield self.solve(rest[part], risen[part], offset, i)
                if not fits:
                    break
            else:
                return True
        return False

    def too_high(self, members: Ints, floor: Ints, last: int) -> bool:
        """True when some section's unplaced bytes, from the lowest that one of them may start, pass the capacity."""
        problem = self.problem
        if self.capacity == ANY_HEIGHT:
            return False
        alignment = problem.alignment[members]
        least = np.maximum(floor, -(-last // alignment) * alignment)
        if (least + problem.size[members] > self.capacity).any():
            return True
        self.nodes -= len(members) * problem.present.shape[1] // NODE_SIZE
        alive = problem.present[members, problem.low[members[0]] : problem.high[members].max() + 1]
        base = np.where(alive > 0, least[:, None], self.capacity).min(axis=0)
        needed = base + self.rounded[members] @ alive
        unplaced = np.zeros(len(problem.buffers), np.bool_)
        unplaced[members] = True
        outputs, saved = (each[unplaced[problem.savings[0]]] for each in problem.savings)
        np.subtract.at(needed, problem.low[outputs] - problem.low[members[0]], saved)
        return bool((needed > self.rounded_capacity).any())

    def candidates(self, members: Ints, floor: Ints, last: int, previous: int | None) -> list[int]:
        """Places in `members` of those that may come next, lowest first; what is left out cannot be needed.

        In a plan with the least sum of offsets each buffer stands on its floor, and none lies so high that an unplaced
        one would fit wholly below it: moving that one down would lessen the sum. Ties go by rank, twins in order.
        """
        unplaced = np.zeros(len(self.problem.buffers) + 1, np.bool_)  # one more: a twin of -1 is nobody
        unplaced[members] = True
        rank = self.preference[members]
        may = floor > last
        if previous is None:
            may |= floor == last
        else:  # of equal offsets by rank, but an output before what it overlaps
            under = self.problem.clash[previous, members] & (self.problem.reach(previous, members) == 0)
            may |= (floor == last) & ((rank > self.preference[previous]) | under)
        may &= (floor < (floor + self.problem.size[members]).min()) & ~unplaced[self.problem.twin[members]]
        chosen = np.flatnonzero(may)
        return list(map(int, chosen[np.lexsort((rank[chosen], floor[chosen]))]))

    def parts(self, members: Ints) -> list[slice]:
        """Runs of `members` that share no section with the others, the smallest first: it fails soonest."""
        if len(members) == 0:
            return []
        reach = np.maximum.accumulate(self.problem.high[members])
        cuts = np.flatnonzero(self.problem.low[members][1:] > reach[:-1]) + 1
        edges = [0, *cuts.tolist(), len(members)]
        return sorted(map(slice, edges, edges[1:]), key=lambda part: part.stop - part.start)


def check(plan: Plan) -> None:
    """Raise AssertionError, naming both buffers, if a byte has two owners at some step; or if the plan is malformed."""
    names = [buffer.name for buffer in plan.buffers]
    assert len(set(names)) == len(names), "two buffers of the plan have the same name"
    assert set(names) == set(plan.offsets), "the plan's names and offsets do not match"
    assert plan.lower_bound <= plan.arena, f"the arena of {plan.arena} bytes is below the bound of {plan.lower_bound}"
    edges = [0, *(edge for part in plan.parts for edge in (part.start, part.start + part.size)), plan.arena]
    assert not plan.parts or edges[::2] == edges[1::2], "the parts of the arena are not one behind another"
    for buffer in plan.buffers:
        offset = plan.offsets[buffer.name]
        assert offset % buffer.alignment == 0, f"{buffer.name} at {offset} is not aligned to {buffer.alignment}"
        assert 0 <= offset <= plan.arena - buffer.size, (
            f"{buffer.name} leaves the arena of {plan.arena} bytes at {offset}"
        )
        whole = {p.region for p in plan.parts if p.start <= offset and offset + buffer.size <= p.start + p.size}
        assert whole or not plan.parts, f"{buffer.name} at {offset} lies in no part of the arena as a whole"
        assert buffer.region in {"", *whole} or buffer.size == 0, f"{buffer.name} at {offset} is not in {buffer.region}"
    allowed = _allowed(plan)
    owner = np.full(plan.arena, -1, np.int32)
    numbers = range(len(plan.buffers))
    deaths = deque(sorted(numbers, key=lambda i: plan.buffers[i].last))
    for step, born in groupby(sorted(numbers, key=lambda i: plan.buffers[i].first), lambda i: plan.buffers[i].first):
        output, above = allowed.get(step, ("", set()))
        while plan.buffers[deaths[0]].last < step:
            number = deaths.popleft()
            mine = _painted(owner, plan, number)
            mine[mine == number] = -1
        for number in sorted(born, key=lambda i: plan.buffers[i].name == output):  # lest it hide that two others meet
            mine = _painted(owner, plan, number)
            name, taken = plan.buffers[number].name, mine[mine >= 0]
            for other in (plan.buffers[i].name for i in (np.unique(taken).tolist() if len(taken) else ())):
                shared = name == output and other in above
                assert shared, f"{other} and {name} share bytes at step {step}"
            mine[:] = number


def _painted(owner: NDArray[np.int32], plan: Plan, number: int) -> NDArray[np.int32]:
    """The bytes of a buffer."""
    start = plan.offsets[plan.buffers[number].name]
    return owner[start : start + plan.buffers[number].size]


def _allowed(plan: Plan) -> dict[int, tuple[str, set[str]]]:
    """By step: the output that is born there, and those that die there and that it begins as far under as it must."""
    lives = {buffer.name: buffer for buffer in plan.buffers}
    found: dict[int, tuple[str, set[str]]] = {}
    for (below, above), distance in plan.overlaps.items():
        step = lives[below].first
        if lives[above].last == step and plan.offsets[below] + distance <= plan.offsets[above]:
            output, dying = found.setdefault(step, (below, set()))
            assert output == below, f"{output} and {below} both overlap others at step {step}"
            dying.add(above)
    return found


def draw(plan: Plan, width: int = 80) -> str:
    """The arena, offsets to the right and steps down, then the buffers; no line is longer than `width`."""
    names = [buffer.name for buffer in plan.buffers]
    symbols = dict(zip(names, cycle(ascii_letters + digits), strict=False))
    bound = f"lower bound {plan.lower_bound} at step {plan.peak_step}"
    lines = [f"arena {plan.arena} bytes, {bound}{', optimal' if plan.optimal else ''}"]
    if len(plan.parts) > 1:
        lines[0] += ": " + ", ".join(f"{part.size} in {part.region} from {part.start}" for part in plan.parts)
    births = sorted({buffer.first for buffer in plan.buffers} | {buffer.last + 1 for buffer in plan.buffers})
    columns, arena = max(1, width - 24), max(1, plan.arena)
    drawn = {}
    for buffer in plan.buffers:
        start = plan.offsets[buffer.name] * columns // arena
        end = -(-(plan.offsets[buffer.name] + buffer.size) * columns // arena)
        drawn[buffer.name] = slice(start, end), symbols[buffer.name] * (end - start)
    for step, following in pairwise(births):
        alive = alive_at(plan, step)
        cells = ["."] * columns
        for buffer in alive:  # the smallest last, so that each shows
            columns_of, letters = drawn[buffer.name]
            cells[columns_of] = letters
        mark = "<" if step <= plan.peak_step < following else " "
        steps = f"{step}" if following == step + 1 else f"{step}-{following - 1}"
        lines.append(f"{steps:>9} |{''.join(cells)}|{sum(buffer.size for buffer in alive):>9} {mark}")
    for buffer in plan.buffers:
        where = f"at {plan.offsets[buffer.name]}, steps {buffer.first}-{buffer.last}, {buffer.name}"
        lines.append(f"{symbols[buffer.name]} {buffer.size:>9} bytes {where}")
    return "\n".join(line[:width].rstrip() for line in lines)
