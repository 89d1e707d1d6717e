"""The plan played back byte by byte: the dumb twin of everything that decides where bytes lie.

Of every byte of the arena, and of the states behind it, it is known whose it is, and which byte of that tensor. The
calls are played in their order, each by the touches that its kernel documents: what a touch reads must be there, what
it writes is there from then on. It knows offsets, sizes and orders only, nothing of lifetimes, overlaps or rings beyond
their length; so a plan that passes gives every call the bytes that it asks for, whatever reason the planner had.
"""

from collections.abc import Iterable

import numpy as np

from tinycompiler.kernels import Call, Calls, Run, calls_of
from tinycompiler.kernels.order import Range, Touch
from tinycompiler.lifetimes import Layout, scratch_name

NOBODY = -1


def play(calls: Calls, layout: Layout) -> None:
    """Raises AssertionError with the step, the tensor and the byte that is not there when it is read."""
    arena = _Arena(calls, layout)
    given = (*(s.tensor for s in calls.graph.states), *calls.graph.inputs)
    arena.write([(name, 0, arena.size(name)) for name in given])
    for step in calls.steps:
        arena.step(step)
    arena.read("the end", [(name, 0, arena.size(name)) for name in calls.graph.results])


class _Arena:
    def __init__(self, calls: Calls, layout: Layout) -> None:
        self.calls, self.layout = calls, layout
        self.whose = np.full(layout.plan.arena + layout.state_bytes, NOBODY, np.int32)
        self.which = np.zeros(layout.plan.arena + layout.state_bytes, np.int32)
        self.numbers: dict[str, int] = {}
        self.rings = {n: s.ring_bytes(n) for s in calls.steps if isinstance(s, Run) for n in s.rings}

    def size(self, name: str) -> int:
        return self.calls.graph.tensors[name].bytes

    def number(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))

    def step(self, step: Call | Run) -> None:
        where = calls_of(step)[0].node.name
        scratch = scratch_name(step)
        start = self.layout.plan.offsets[scratch] if step.scratch else 0
        mine = slice(start, start + step.scratch)
        self.whose[mine] = self.number(scratch)
        for touch in step.order or (self._whole(step),):
            if touch.apart:
                self.read(where, touch.reads)
            self.write(touch.writes)
            if not touch.apart:
                self.read(where, touch.reads)
        assert (self.whose[mine] == self.number(scratch)).all(), f"{where}: its scratch is written over"

    def _whole(self, call: Call | Run) -> Touch:
        """A call of no documented order. It reads first what it may write over, byte by byte."""
        assert isinstance(call, Call)
        reads = [(name, 0, self.size(name)) for name in call.node.inputs]
        writes = [(name, 0, self.size(name)) for name in call.node.outputs]
        places = {self._place(name) for name in call.node.outputs}
        shared = any(self._place(name) in places for name in call.in_place)
        return Touch(tuple(reads), tuple(writes), apart=shared)

    def _place(self, name: str) -> int | None:
        """Where a tensor begins; None for constants."""
        if name in self.layout.states:
            return self.layout.plan.arena + self.layout.states[name]
        return self.layout.offset(name) if name in self.layout.owner else None

    def _pieces(self, ranges: Iterable[Range]) -> Iterable[tuple[str, slice, int]]:
        """(name, bytes of the memory, first byte of the tensor) of every range, cut where a ring begins again.

        A tensor within another goes by the name of that one.
        """
        for name, first, end in ranges:
            offset, ring = self._place(name), self.rings.get(name)
            if offset is None or end <= first:
                continue
            while first < end:
                turn = 0 if ring is None else first // ring * ring
                stop = end if ring is None else min(end, turn + ring)
                memory = self.calls.memory_of(name)
                memory, start = self.calls.parts.get(memory, (memory, 0))
                yield memory, slice(offset + first - turn, offset + stop - turn), start + first
                first = stop

    def read(self, where: str, ranges: Iterable[Range]) -> None:
        for name, place, first in self._pieces(ranges):
            wanted = np.arange(first, first + place.stop - place.start)
            there = (self.whose[place] == self.number(name)) & (self.which[place] == wanted)
            assert there.all(), f"{where}: byte {first + int(np.argmin(there))} of '{name}' is not there any more"

    def write(self, ranges: Iterable[Range]) -> None:
        for name, place, first in self._pieces(ranges):
            self.whose[place] = self.number(name)
            self.which[place] = np.arange(first, first + place.stop - place.start)
