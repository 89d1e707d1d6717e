"""Which states have room behind them for what is joined to them (`State.joined`).

With room, a state takes as many bytes more as the frame has, for good; without, the joined tensor takes arena while it
is needed. So room pays for the largest joined tensors, down to where something else is the peak. Chosen is what needs
the fewest bytes in arena and states together; of equals, what copies less.

Chosen: to try the largest one, the largest two, and so on, then each one by itself, instead of every set, since what
matters is the peak, and the largest make it. Bytes are counted step by step, without placing anything.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tinycompiler.board import Core
from tinycompiler.graph import Graph, State
from tinycompiler.kernels import Calls, lower
from tinycompiler.kernels.states import parts_of
from tinycompiler.needs import Needs
from tinycompiler.passes.settle_states import settle_states

Bytes = NDArray[np.int64]
Choice = frozenset[int]


def give_room(graph: Graph, core: Core) -> Graph:
    """The graph with `joined` kept only for the states where it pays. Raises ModelError for nodes without a kernel."""
    able = [s for s in graph.states if s.joined]
    if not able:
        return graph
    scale = _Scale(graph, lower(_with_room(graph, ()), core), able)
    order = sorted(range(len(able)), key=lambda i: -graph.tensors[able[i].joined or ""].bytes)
    best = min((frozenset(order[:count]) for count in range(len(able) + 1)), key=scale.weight)
    for i in order:
        best = min(best, best ^ {i}, key=scale.weight)
    return _with_room(graph, [able[i].tensor for i in best])


def _with_room(graph: Graph, chosen: Iterable[str]) -> Graph:
    states = tuple(s if s.tensor in chosen else replace(s, joined=None) for s in graph.states)
    return settle_states(replace(graph, states=states))


@dataclass(frozen=True, eq=False)
class _Scale:
    """Weighs choices among the states `able`; `base`: the calls where none of them has room."""

    graph: Graph
    base: Calls
    able: Sequence[State]

    def weight(self, choice: Choice) -> tuple[int, int]:
        """(bytes that the largest step needs and that states take, copies)."""
        chosen = sorted(choice)
        saved = np.where(self._touched[chosen].any(axis=0), 0, self._saved)
        peak = (self._needed - saved - self._moved[chosen].sum(axis=0)).max()
        longer = sum(self._size(self.able[i].joined or "") - self._size(self.able[i].tensor) for i in chosen)
        return int(peak) + longer, -len(chosen)

    def _size(self, name: str) -> int:
        return -(-self.graph.tensors[name].bytes // 4) * 4

    @cached_property
    def _needs(self) -> Needs:
        return Needs(self.base.graph, self.base.aliases)

    @cached_property
    def _lives(self) -> dict[str, tuple[int, int]]:
        """First and last step of each piece of memory in the arena."""
        lives: dict[str, tuple[int, int]] = {}
        for step, call in enumerate(self.base.calls):
            lives |= dict.fromkeys(self._needs.writes(call), (step, step))
            lives |= {name: (lives.get(name, (0, 0))[0], step) for name in self._needs.reads(call)}
        end = len(self.base.calls) - 1
        return lives | {name: (lives.get(name, (0, 0))[0], end) for name in self._needs.kept}

    def _alive(self, names: Iterable[str]) -> Bytes:
        """Bytes of these at each step."""
        found = np.zeros(len(self.base.calls), np.int64)
        for first, last, size in ((*self._lives[name], self._size(name)) for name in names if name in self._lives):
            found[first : last + 1] += size
        return found

    @cached_property
    def _needed(self) -> Bytes:
        """At each step, if no output lay over an input."""
        own = np.array([self._needs.own(call) for call in self.base.calls], np.int64)
        return np.add(self._alive(self._lives), own)

    @cached_property
    def _saved(self) -> Bytes:
        """By outputs over inputs that die."""
        saved = []
        for step, call in enumerate(self.base.calls):
            reads = self._needs.reads(call) - self._needs.kept
            saved.append(self._needs.saved(call, {name for name in reads if self._lives[name][1] == step}))
        return np.array(saved, np.int64)

    @cached_property
    def _within(self) -> list[set[str]]:
        """What leaves the arena for each of the states."""
        parts = parts_of(self.graph)
        return [{s.joined or "", *(n for n, (whole, _) in parts.items() if whole == s.joined)} for s in self.able]

    @cached_property
    def _moved(self) -> Bytes:
        """(states, steps): bytes that leave the arena with each."""
        return np.array([self._alive(names) for names in self._within])

    @cached_property
    def _touched(self) -> NDArray[np.bool_]:
        """(states, steps): whether the step works on what leaves."""
        used = [self._needs.reads(call) | self._needs.writes(call) for call in self.base.calls]
        return np.array([[bool(names & step) for step in used] for names in self._within])
