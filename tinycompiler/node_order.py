"""The order in which nodes run: where branches leave a choice, the one with the lowest peak.

Exact as long as there are not too many sets of nodes that can have run (thirty nodes with branches have few; a chain
has one order): the set with the lowest peak so far is extended first. Beyond that, greedily: of the nodes that can run,
the one that needs least. The network's own order is kept unless another one is better, and where it has states: these
are overwritten when all have read them.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from tinycompiler.graph import Graph, Node
from tinycompiler.kernels import Call, Calls
from tinycompiler.needs import Needs
from tinycompiler.ops import Reshape

MOST_SETS = 300_000
"""Sets of nodes, times the nodes of the network, that are looked at before the search becomes greedy."""


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
        self.readers: dict[str, int] = {}
        for i, names in enumerate(self.reads):
            for name in names:
                self.readers[name] = self.readers.get(name, 0) | 1 << i

    @cached_property
    def has_choice(self) -> bool:
        if self.base.graph.states:
            return False
        done = 0
        for i in range(len(self.base.calls)):
            if len(list(self.ready(done))) > 1:
                return True
            done |= 1 << i
        return False

    def ready(self, done: int) -> Iterator[int]:
        return (i for i, before in enumerate(self.before) if not done >> i & 1 and before & ~done == 0)

    def alive(self, done: int) -> set[str]:
        """What memory holds when the nodes of `done` have run."""
        made = [name for i, names in enumerate(self.writes) if done >> i & 1 for name in names]
        inputs = [m for name in self.base.graph.inputs if (m := self.needs.memory_of(name))]
        kept = self.needs.kept
        return {n for n in (*made, *inputs) if n in kept or self.readers.get(n, 0) & ~done}

    def need(self, alive: set[str], done: int, i: int) -> int:
        """Bytes while node i runs."""
        call: Call = self.base.calls[i]
        dying = {n for n in self.reads[i] if n not in self.needs.kept and not self.readers[n] & ~(done | 1 << i)}
        saved = self.needs.saved(call, dying)
        return self.needs.sizes(alive | self.writes[i]) - saved + call.scratch

    def peak(self, order: Sequence[int] | range) -> int:
        done, highest, alive = 0, 0, self.alive(0)
        for i in order:
            highest = max(highest, self.need(alive, done, i))
            alive = self.left(alive, done, i)
            done |= 1 << i
        return highest

    def exact(self) -> list[int] | None:
        """The best order, or None when there are too many sets."""
        everything = (1 << len(self.base.calls)) - 1
        queue: list[tuple[int, int, tuple[int, ...]]] = [(0, 0, ())]
        seen: set[int] = set()
        while queue:
            peak, _, order = heapq.heappop(queue)
            done = sum(1 << i for i in order)
            if done == everything:
                return list(order)
            if done in seen:
                continue
            seen.add(done)
            if len(seen) * len(self.base.calls) > MOST_SETS:
                return None
            alive = self.alive(done)
            for i in self.ready(done):
                found = max(peak, self.need(alive, done, i))
                heapq.heappush(queue, (found, -len(order) - 1, (*order, i)))
        return None

    def greedy(self) -> list[int]:
        """Of what can run, what needs least; of these, what leaves least."""
        order: list[int] = []
        done, alive = 0, self.alive(0)
        while len(order) < len(self.base.calls):
            left = {i: self.needs.sizes(self.left(alive, done, i)) for i in self.ready(done)}
            chosen = min(left, key=lambda i: (self.need(alive, done, i), left[i], i))
            order.append(chosen)
            alive = self.left(alive, done, chosen)
            done |= 1 << chosen
        return order

    def left(self, alive: set[str], done: int, i: int) -> set[str]:
        """What memory holds after node i."""
        done |= 1 << i
        return {n for n in alive | self.writes[i] if n in self.needs.kept or self.readers.get(n, 0) & ~done}
