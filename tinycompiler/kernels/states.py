"""States in whose memory new values are joined to the old ones (`State.joined`): joining moves nothing, or little.

The memory of such a state is as long as `joined`. It begins with the state; what makes a frame writes it behind, if the
place is aligned and nobody else has a say in where the frame lies. At the end the next value is moved down.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from tinycompiler.graph import Graph, Node, State
from tinycompiler.kernels.base import Context, Invocation, Kernel, Lowered, Site
from tinycompiler.kernels.movement import Rearrange
from tinycompiler.kernels.order import Touch
from tinycompiler.ops import Concatenation
from tinycompiler.ops.movement import Movement
from tinycompiler.passes.rewriting import memory_of
from tinycompiler.passes.shift_states import run_start, why_not_joined

ALIGNMENT = 4
"""Of tensors, in bytes: kernels load words, and LDM faults on an address that is not a multiple of 4."""

TOGETHER = 16
"""Bytes that are all read before the first of them is written, at least."""


def parts_of(graph: Graph) -> dict[str, tuple[str, int]]:
    """Tensors that lie within another: which, and from which byte on. States, and the frames that are made in place."""
    parts: dict[str, tuple[str, int]] = {}
    outputs = {memory_of(graph, name) for name in graph.outputs}
    fixed = outputs | {name for s in graph.states for name in (s.tensor, s.next, s.joined) if name}
    for state in graph.states:
        if state.joined is None:
            continue
        parts[state.tensor] = (state.joined, 0)
        for name, start in _frames(graph, state.joined):
            memory = memory_of(graph, name)
            free = graph.writer_of(memory) is not None and memory not in fixed and memory not in parts
            if free and start % ALIGNMENT == 0:
                parts[memory] = (state.joined, start)
    return parts


def _frames(graph: Graph, joined: str) -> Iterator[tuple[str, int]]:
    """What is joined behind a state, and where it begins."""
    joining = graph.writer_of(joined)
    assert joining is not None
    start = 0
    for name in joining.inputs:
        if start:
            yield name, start
        start += graph.tensors[name].bytes


def state_of(graph: Graph, node: Node) -> State | None:
    """The state that a concatenation begins with."""
    first = memory_of(graph, node.inputs[0]) if isinstance(node.op, Concatenation) else None
    return next((s for s in graph.states if s.tensor == first), None)


class Append(Rearrange):
    """A concatenation in the memory of the state that it begins with; what could not be made in place is copied."""

    name = "append"
    ops = (Concatenation,)

    def is_for(self, site: Site) -> bool:
        return super().is_for(site) and state_of(site.graph, site.node) is not None

    def why_not(self, site: Site) -> str | None:
        state, joined = state_of(site.graph, site.node), site.outputs[0].name
        assert state is not None
        if state.joined == joined:
            return None
        why = "another concatenation lies in the memory of the state" if state.joined else None
        return why or why_not_joined(site.graph, state) or "with room for the frame in the state, more memory is needed"

    def lower(self, site: Site) -> Lowered:
        whole, [y] = super().lower(site), site.outputs
        parts = parts_of(site.graph)
        copied = [
            invocation
            for invocation in whole.invocations
            if parts.get(memory_of(site.graph, invocation.operands[0])) != (y.name, invocation.fields["out_start"])
        ]
        reads = tuple((t.name, 0, t.bytes) for t in site.inputs if not t.is_constant)
        return Lowered((), whole.context, tuple(copied), order=(Touch(reads, ((y.name, 0, y.bytes),), apart=True),))


@dataclass(frozen=True)
class MoveDownContext(Context):
    """Variables of kernels/move_down.c.j2."""

    raw: ClassVar[bool] = True

    words: bool
    """Everything is a multiple of four bytes."""


class MoveDown(Kernel):
    """The next value of a state, out of the tensor that begins where it goes."""

    name = "move_down"
    template = "move_down"
    ops = (Movement,)

    def is_for(self, site: Site) -> bool:
        return super().is_for(site) and any(s.joined and s.next in site.node.outputs for s in site.graph.states)

    def lower(self, site: Site) -> Lowered:
        [x], [y] = site.inputs, site.outputs
        first = run_start(site.graph, site.node)
        assert first is not None, "the next value of a state that shifts is no piece of what it is cut out of"
        start = first * y.dtype.bytes
        fields = {"start": start, "bytes": y.bytes}
        ends = [(n, min(n + TOGETHER, y.bytes)) for n in range(0, y.bytes, TOGETHER)]
        order = [Touch(((x.name, start + a, start + b),), ((y.name, a, b),), apart=True) for a, b in ends]
        words = start % 4 == 0 and y.bytes % 4 == 0
        move = Invocation((x.name, y.name), fields)
        return Lowered(("move",) * words, MoveDownContext(words), (move,), order=tuple(order))
