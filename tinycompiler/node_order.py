"""The order in which nodes run: where branches leave a choice, the one with the lowest peak.

Exact as long as there are not too many sets of nodes that can have run (thirty nodes with branches have few; a chain
has one order): the set with the lowest peak so far is extended first. Beyond that, greedily, by two rules. The
network's own order is kept unless another one is better, and where it has states: these are overwritten when all have
read them.
"""

import heapq
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count

import numpy as np

from tinycompiler.graph import Graph, Node
from tinycompiler.kernels import Calls
from tinycompiler.needs import Needs
from tinycompiler.ops import Reshape

MOST_WORK = 1_000_000
"""Nodes copied, and weighed, that many sets of nodes take before the search becomes greedy."""
WEIGHING = 10
"""Copies that take as long as weighing a node."""


def best_order(base: Calls) -> Graph:
    """The graph with its nodes in the best order found; the same graph where its own is as good."""
    search = _Search(base)
    if not search.has_choice:
        return base.graph
    own = search.peak(range(len(base.calls)))
    found = search.exact() or search.greedy()
    if search.peak(found) >= own:
        return base.graph
    return _reordered(base.graph, [base.calls[i].node for i in found])


def _reordered(graph: Graph, nodes: Sequence[Node]) -> Graph:
    """Reshapes, which cost nothing, follow as soon as their input is there."""
    ready = {*graph.inputs, *(s.tensor for s in graph.states), *(n for n, t in graph.tensors.items() if t.is_constant)}
    views = [node for node in graph.nodes if isinstance(node.op, Reshape)]
    placed: list[Node] = []

    def place_views() -> None:
        for view in list(views):
            if view.inputs[0] in ready:
                views.remove(view)
                placed.append(view)
                ready.update(view.outputs)

    place_views()
    for node in nodes:
        placed.append(node)
        ready.update(node.outputs)
        place_views()
    return replace(graph, nodes=tuple(placed)).verify()


@dataclass(eq=False)
class _Search:
    base: Calls
    needs: Needs = field(init=False)

    def __post_init__(self) -> None:
        self.needs = Needs(self.base.graph, self.base.aliases)
        calls = self.base.calls
        self.reads = [self.needs.reads(call) for call in calls]
        self.writes = [self.needs.writes(call) for call in calls]
        makers = {name: i for i, names in enumerate(self.writes) for name in names}
        self.before = [sum({1 << makers[n] for n in names if n in makers}) for names in self.reads]
        self.readers: dict[str, list[int]] = {}
        for i, names in enumerate(self.reads):
            for name in names:
                self.readers.setdefault(name, []).append(i)

    @cached_property
    def has_choice(self) -> bool:
        """Whether there is another order: some call does not read what the one before it makes."""
        return not self.base.graph.states and any(not b >> i & 1 for i, b in enumerate(self.before[1:]))

    def peak(self, order: Iterable[int]) -> int:
        memory, highest = _Memory(self), 0
        for i in order:
            highest = max(highest, memory.alive + memory.weigh(i)[0])
            memory.take(i)
        return highest

    def exact(self) -> list[int] | None:
        """The best order, or None when there are too many sets."""
        numbers, start = count(), _Memory(self)
        queue = [(start.alive + start.weigh(i)[0], 0, next(numbers), i, start) for i in sorted(start.ready)]
        seen: set[int] = set()
        work = 0
        while queue:
            peak, _, _, last, before = heapq.heappop(queue)
            done = before.done | 1 << last
            if done in seen:
                continue
            seen.add(done)
            memory = before.after(last)
            if not memory.ready:
                return memory.order
            work += len(self.base.calls) + WEIGHING * len(memory.ready)
            if work > MOST_WORK:
                return None
            for i in sorted(memory.ready):
                found = max(peak, memory.alive + memory.weigh(i)[0])
                heapq.heappush(queue, (found, -len(memory.order), next(numbers), i, memory))
        return None

    def greedy(self) -> list[int]:
        """The best of: always what leaves least; always what makes the peak the least higher."""
        return min((self.step_by_step(patient) for patient in (True, False)), key=self.peak)

    def step_by_step(self, patient: bool) -> list[int]:
        memory, highest = _Memory(self), 0
        need, more = np.zeros((2, len(self.base.calls)), np.int64)
        changed = sorted(memory.ready)
        while memory.ready:
            for i in changed:
                need[i], more[i] = memory.weigh(i)
            ready = np.array(sorted(memory.ready))
            peaks, left = np.maximum(highest, memory.alive + need[ready]), more[ready]
            chosen = np.lexsort((ready, peaks, left) if patient else (ready, left, peaks))[0]
            highest = int(peaks[chosen])
            changed = memory.take(int(ready[chosen]))
        return memory.order


class _Memory:
    """What memory holds while calls run one after the other, and what each would change."""

    def __init__(self, search: _Search) -> None:
        self.search, self.needs = search, search.needs
        self.left = {name: len(readers) for name, readers in search.readers.items()}
        self.missing = [before.bit_count() for before in search.before]
        self.ready = {i for i, missing in enumerate(self.missing) if not missing}
        inputs = {m for name in search.base.graph.inputs if (m := self.needs.memory_of(name))}
        self.alive = self.needs.sizes(name for name in inputs if self.lives(name))
        """Bytes."""
        self.order: list[int] = []
        self.done = 0

    def after(self, i: int) -> "_Memory":
        """The same when call i has run."""
        memory = copy(self)
        memory.left, memory.missing = dict(self.left), list(self.missing)
        memory.ready, memory.order = set(self.ready), list(self.order)
        memory.take(i)
        return memory

    def lives(self, name: str) -> bool:
        return name in self.needs.kept or self.left.get(name, 0) > 0

    def dying(self, i: int) -> set[str]:
        """What call i is the last one to read."""
        return {name for name in self.search.reads[i] if name not in self.needs.kept and self.left[name] == 1}

    def weigh(self, i: int) -> tuple[int, int]:
        """Bytes more that call i needs while it runs, and leaves."""
        call, dying, writes = self.search.base.calls[i], self.dying(i), self.search.writes[i]
        need = self.needs.sizes(writes) - self.needs.saved(call, dying) + call.scratch
        return need, self.needs.sizes(name for name in writes if self.lives(name)) - self.needs.sizes(dying)

    def take(self, i: int) -> list[int]:
        """Runs call i. Returns those that can run and weigh otherwise than before."""
        self.alive += self.weigh(i)[1]
        self.ready.discard(i)
        self.order.append(i)
        self.done |= 1 << i
        changed = []
        for name in self.search.reads[i]:
            self.left[name] -= 1
            if self.left[name] == 1:
                changed += [j for j in self.search.readers[name] if j in self.ready]
        for j in {j for name in self.search.writes[i] for j in self.search.readers.get(name, ())}:
            self.missing[j] -= 1
            if not self.missing[j]:
                self.ready.add(j)
                changed.append(j)
        return changed
