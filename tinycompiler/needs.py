"""Bytes that each step of a network needs, whatever order its steps run in: what a search weighs before it places.

A step's need is what is alive around it, with its output over the inputs that it uses up as far as its kernel allows.
Placed buffers never take less; how much more they take, only placing them tells.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tinycompiler.graph import Graph
from tinycompiler.kernels import Call, Run, calls_of
from tinycompiler.kernels.states import parts_of


@dataclass(frozen=True, eq=False)
class Needs:
    """Of a graph whose reshaped tensors are `aliases`."""

    graph: Graph
    aliases: Mapping[str, str]

    def memory_of(self, tensor: str) -> str | None:
        """Whose memory a tensor is; None for constants and states, which lie elsewhere."""
        while tensor in self.aliases:
            tensor = self.aliases[tensor]
        return None if tensor in self._elsewhere else tensor

    @cached_property
    def _elsewhere(self) -> set[str]:
        constants = {name for name, t in self.graph.tensors.items() if t.is_constant}
        states = {name for s in self.graph.states for name in (s.tensor, s.next, s.joined) if name}
        return constants | states | set(parts_of(self.graph))

    @cached_property
    def kept(self) -> frozenset[str]:
        """What outlives every step."""
        return frozenset(m for name in self.graph.outputs if (m := self.memory_of(name)))

    def reads(self, part: Call | Run) -> set[str]:
        names = part.inputs if isinstance(part, Run) else part.node.inputs
        return {m for name in names if (m := self.memory_of(name))}

    def writes(self, part: Call | Run) -> set[str]:
        names = calls_of(part)[-1].node.outputs
        return {m for name in names if (m := self.memory_of(name))}

    @cached_property
    def size(self) -> Mapping[str, int]:
        """Of every tensor, in bytes of whole words."""
        return {name: -(-tensor.bytes // 4) * 4 for name, tensor in self.graph.tensors.items()}

    def sizes(self, memory: Iterable[str]) -> int:
        return sum(map(self.size.__getitem__, memory))

    def saved(self, part: Call | Run, dying: set[str]) -> int:
        """Bytes of its output that a step may write over the inputs that die there."""
        writes = calls_of(part)[-1].node.outputs
        output = self.memory_of(writes[0]) if len(writes) == 1 else None
        if output is None or not dying:
            return 0
        if isinstance(part, Call) and any(self.memory_of(name) in dying for name in part.in_place):
            return self.size[output]
        under = {name: apart for name, apart in part.under.items() if self.memory_of(name) in dying}
        if not under:
            return 0
        covered = {m for name in under if (m := self.memory_of(name))}
        both = self.sizes(covered) + self.size[output]
        apart = -(-min(under.values()) // 4) * 4
        return both - max(self.sizes(covered) + min(apart, self.size[output]), self.size[output])

    def own(self, part: Call | Run) -> int:
        """Bytes that live during the step only."""
        rings = sum(part.ring_bytes(name) for name in part.rings) if isinstance(part, Run) else 0
        return rings + part.scratch

    def of(self, part: Call | Run, alive: set[str], last: Mapping[str, int], end: int) -> int:
        """Of a step up to position `end` that `alive` memory comes before; `last`: positions of last readers."""
        dying = {name for name in self.reads(part) if last.get(name, -1) <= end and name not in self.kept}
        return self.sizes(alive | self.writes(part)) - self.saved(part, dying) + self.own(part)

    def last_reads(self, parts: Sequence[Call | Run]) -> dict[str, int]:
        """The position of each memory's last reader."""
        return {name: i for i, part in enumerate(parts) for name in self.reads(part)}

    def alive_before(self, parts: Sequence[Call | Run]) -> list[set[str]]:
        """What is alive before each step, and after the last."""
        last = self.last_reads(parts)
        alive = {m for name in self.graph.inputs if (m := self.memory_of(name)) and (m in last or m in self.kept)}
        before = [set(alive)]
        for i, part in enumerate(parts):
            alive |= {name for name in self.writes(part) if last.get(name, -1) > i or name in self.kept}
            alive -= {name for name in self.reads(part) if last[name] <= i and name not in self.kept}
            before.append(set(alive))
        return before
