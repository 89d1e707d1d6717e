"""From calls of kernels to buffers with lifetimes, and from the placed buffers back to the offset of every tensor.

A step is the index of a call. Network inputs are alive from step 0 until they are last read: their memory is then
used again, so inputs have to be written before every inference. Outputs stay alive past the last step. Scratch is a
buffer of its own in one step. Tensors that share memory (a reshape; an output that takes over an input it is computed
from, element by element) are one buffer.
"""

from dataclasses import dataclass

from tinycompiler.kernels import Call, Calls
from tinycompiler.memory import Buffer, Plan, check, place

ALIGNMENT = 4
"""Of every buffer, in bytes: kernels load words, and LDM faults on an address that is not a multiple of 4."""


@dataclass(frozen=True, eq=False)
class Layout:
    """A plan, and whose memory each tensor lies in."""

    plan: Plan
    owner: dict[str, str]
    """Tensor -> the buffer's name."""
    states: dict[str, int]
    """Tensor -> offset in the state block, for states, their next values and their aliases."""
    state_bytes: int
    layer_wise: int
    """Bytes alive at the worst step counting tensors only, each with memory of its own: what a plain planner needs at
    least.
    """

    def offset(self, tensor: str) -> int:
        """Where a tensor begins in the arena, in bytes."""
        return self.plan.offsets[self.owner[tensor]]

    def scratch_offset(self, call: Call) -> int:
        return self.plan.offsets[scratch_name(call)]


def scratch_name(call: Call) -> str:
    return f"scratch of {call.node.name}"


def lay_out(calls: Calls) -> Layout:
    """Every tensor and scratch buffer in one arena, as small as can be found, and checked."""
    states, state_bytes = _state_offsets(calls)
    life = _lifetimes(calls, states)
    owner = {tensor: calls.memory_of(tensor) for tensor in _tensors(calls) if tensor not in states}
    layer_wise = _peak([(size_of(calls, t), *life[t]) for t in dict.fromkeys(owner.values())])
    _take_over(calls, owner, life)
    buffers = [Buffer(t, size_of(calls, t), *life[t], ALIGNMENT) for t in dict.fromkeys(owner.values())]
    buffers += [
        Buffer(scratch_name(call), call.scratch, step, step, ALIGNMENT)
        for step, call in enumerate(calls.calls)
        if call.scratch
    ]
    plan = place(buffers)
    check(plan)
    return Layout(plan, owner, states, state_bytes, layer_wise)


def _state_offsets(calls: Calls) -> tuple[dict[str, int], int]:
    """Where states lie, one after another: a state and its next value are the same memory."""
    offsets: dict[str, int] = {}
    total = 0
    for state in calls.graph.states:
        offsets[state.tensor] = offsets[state.next] = total
        total += -(-size_of(calls, state.tensor) // ALIGNMENT) * ALIGNMENT
    offsets |= {alias: offsets[calls.memory_of(alias)] for alias in calls.aliases if calls.memory_of(alias) in offsets}
    return offsets, total


def size_of(calls: Calls, tensor: str) -> int:
    return calls.graph.tensors[tensor].bytes


def _tensors(calls: Calls) -> list[str]:
    graph = calls.graph
    names = [*graph.inputs, *(name for call in calls.calls for name in call.node.outputs), *calls.aliases]
    return [name for name in dict.fromkeys(names) if not graph.tensors[name].is_constant]


def _lifetimes(calls: Calls, states: dict[str, int]) -> dict[str, tuple[int, int]]:
    """(first, last) step of every piece of memory, by the tensor that owns it."""
    life: dict[str, tuple[int, int]] = {}
    last_step = max(len(calls.calls) - 1, 0)

    def extend(tensor: str, step: int) -> None:
        memory = calls.memory_of(tensor)
        if memory in states:
            return
        first, last = life.get(memory, (step, step))
        life[memory] = (min(first, step), max(last, step))

    for name in calls.graph.inputs:
        extend(name, 0)
    for step, call in enumerate(calls.calls):
        for name in (*call.node.inputs, *call.node.outputs):
            if not calls.graph.tensors[name].is_constant:
                extend(name, step)
    for name in calls.graph.outputs:
        extend(name, last_step)
    return life


def _take_over(calls: Calls, owner: dict[str, str], life: dict[str, tuple[int, int]]) -> None:
    """Merges an output into an input that dies at that step, where the kernel allows it."""
    for step, call in enumerate(calls.calls):
        wanted = {owner[name] for name in calls.graph.outputs if name in owner}
        for name in call.in_place:
            if name not in owner or call.node.outputs[0] not in owner:
                continue  # states have a place of their own
            source, target = owner[name], owner[call.node.outputs[0]]
            if source == target or source in wanted or life[source][1] != step or life[target][0] != step:
                continue
            life[source] = (life[source][0], life[target][1])
            del life[target]
            for tensor, memory in owner.items():
                if memory == target:
                    owner[tensor] = source
            break


def _peak(sized: list[tuple[int, int, int]]) -> int:
    """Most bytes alive at one step."""
    steps = {first for _, first, _ in sized}
    return max((sum(size for size, first, last in sized if first <= s <= last) for s in steps), default=0)
