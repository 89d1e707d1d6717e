"""From calls of kernels to buffers with lifetimes, and from the placed buffers back to the offset of every tensor.

A step is a call, or a run of calls that go row by row. Network inputs are alive from step 0 until they are last read:
their memory is then used again, so inputs have to be written before every inference. Outputs stay alive past the last
step. Scratch, and each ring of rows in a run, is a buffer of its own in one step. Tensors that share memory (a reshape;
an output that takes over an input it is computed from, element by element) are one buffer. An output whose call reads
in a known order may also begin under an input that dies there, less than its size away: an overlap.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tinycompiler.kernels import Call, Calls, Run, calls_of
from tinycompiler.kernels.states import ALIGNMENT as ALIGNMENT  # of every buffer, too
from tinycompiler.memory import EFFORT, Buffer, Overlaps, Plan, check
from tinycompiler.regions import ANYWHERE, Places, arrange

QUICK_EFFORT = 300
"""Search nodes of a trial."""
MOST_TRIALS = 40
"""Outputs that are tried apart in one round."""
TRIAL_WORK = 2_500
"""Buffers that are placed in all trials together."""


@dataclass(frozen=True, eq=False)
class Layout:
    """A plan, and whose memory each tensor lies in."""

    plan: Plan
    owner: dict[str, str]
    """Tensor -> the buffer's name."""
    states: dict[str, int]
    """Tensor -> offset in the state block, for states, their next values and their aliases."""
    state_bytes: int
    places: Places = ANYWHERE
    state_region: str = ""
    apart: frozenset[str] = frozenset()
    """Outputs that take over nothing."""

    @property
    def cost(self) -> tuple[int, int]:
        """The less, the better: bytes that no region has the room for, then bytes of the arena."""
        return self.plan.excess, self.plan.arena

    def offset(self, tensor: str) -> int:
        """Where a tensor begins in the arena, in bytes."""
        return self.plan.offsets[self.owner[tensor]]

    def scratch_offset(self, step: Call | Run) -> int:
        return self.plan.offsets[scratch_name(step)]


def scratch_name(step: Call | Run) -> str:
    return f"scratch of {calls_of(step)[0].node.name}"


def lay_out(calls: Calls, *, effort: int = EFFORT, places: Places = ANYWHERE, start: Layout | None = None) -> Layout:
    """Every tensor and scratch buffer in one arena, as small as can be found, and checked; `start`: what less effort
    found.
    """
    best = start or _quick(calls, min(effort, QUICK_EFFORT), places)
    if best.plan.arena > best.plan.lower_bound and effort > QUICK_EFFORT:
        best = min(best, _laid(calls, best.apart, effort, places), key=lambda layout: layout.cost)
    check(best.plan)
    return best


def _quick(calls: Calls, effort: int, places: Places) -> Layout:
    """Outputs take over inputs wherever they may. As that ties two places in the arena together, it is given up again,
    one output at a time, where a quick packing is lower without.
    """
    best = _laid(calls, frozenset(), effort, places)
    left = TRIAL_WORK // max(1, len(best.plan.buffers))
    while best.plan.arena > best.plan.lower_bound:
        tied = [name for name, memory in best.owner.items() if name != memory and name not in calls.aliases]
        tied = tied[: min(MOST_TRIALS, left)]
        left -= len(tied)
        trials = [_laid(calls, best.apart | {name}, effort, places) for name in tied]
        better = min(trials, key=lambda trial: trial.cost, default=None)
        if better is None or better.cost >= best.cost:
            break
        best = better
    return best


def layer_wise(calls: Calls) -> int:
    """Bytes alive at the worst layer counting tensors only, each whole and with memory of its own: what a plain planner
    needs at least.
    """
    whole = replace(calls, steps=calls.calls)
    life = _lifetimes(whole, _state_offsets(whole)[0])
    return _peak([(calls.graph.tensors[tensor].bytes, *steps) for tensor, steps in life.items()])


def _laid(calls: Calls, apart: frozenset[str], effort: int, places: Places) -> Layout:
    """The layout; outputs in `apart` take over nothing."""
    states, state_bytes = _state_offsets(calls)
    life = _lifetimes(calls, states)
    owner = {tensor: calls.memory_of(tensor) for tensor in _tensors(calls) if tensor not in states}
    _take_over(calls, owner, life, apart, places.pins)
    rings = {name: run.ring_bytes(name) for run in calls.steps if isinstance(run, Run) for name in run.rings}
    sizes = {t: rings.get(t, calls.graph.tensors[t].bytes) for t in dict.fromkeys(owner.values())}
    buffers = [Buffer(t, size, *life[t], ALIGNMENT, places.pins.get(t, "")) for t, size in sizes.items()]
    buffers += [
        Buffer(scratch_name(part), part.scratch, step, step, ALIGNMENT)
        for step, part in enumerate(calls.steps)
        if part.scratch
    ]
    state_region = places.state_region(state_bytes)
    left = places.less(state_bytes, state_region)
    plan = arrange(buffers, _overlaps(calls, owner, life), left, effort=effort)
    return Layout(plan, owner, states, state_bytes, places, state_region, apart)


def _state_offsets(calls: Calls) -> tuple[dict[str, int], int]:
    """Where states lie, one after another: a state, its next value and what is joined to it are the same memory."""
    offsets: dict[str, int] = {}
    total = 0
    for state in calls.graph.states:
        longest = state.joined or state.tensor
        offsets[state.tensor] = offsets[state.next] = offsets[longest] = total
        total += -(-calls.graph.tensors[longest].bytes // ALIGNMENT) * ALIGNMENT
    offsets |= {name: offsets[whole] + start for name, (whole, start) in calls.parts.items()}
    offsets |= {alias: offsets[calls.memory_of(alias)] for alias in calls.aliases if calls.memory_of(alias) in offsets}
    return offsets, total


def _tensors(calls: Calls) -> list[str]:
    graph = calls.graph
    names = [*graph.inputs, *(name for call in calls.calls for name in call.node.outputs), *calls.aliases]
    return [name for name in dict.fromkeys(names) if not graph.tensors[name].is_constant]


def _lifetimes(calls: Calls, states: dict[str, int]) -> dict[str, tuple[int, int]]:
    """(first, last) step of every piece of memory, by the tensor that owns it."""
    life: dict[str, tuple[int, int]] = {}
    last_step = max(len(calls.steps) - 1, 0)

    def extend(tensor: str, step: int) -> None:
        memory = calls.memory_of(tensor)
        if memory in states:
            return
        first, last = life.get(memory, (step, step))
        life[memory] = (min(first, step), max(last, step))

    for name in calls.graph.inputs:
        extend(name, 0)
    for step, part in enumerate(calls.steps):
        for name in (name for call in calls_of(part) for name in (*call.node.inputs, *call.node.outputs)):
            if not calls.graph.tensors[name].is_constant:
                extend(name, step)
    for name in calls.graph.outputs:
        extend(name, last_step)
    return life


def _take_over(
    calls: Calls,
    owner: dict[str, str],
    life: dict[str, tuple[int, int]],
    apart: frozenset[str],
    pins: Mapping[str, str],
) -> None:
    """Merges an output into an input that dies at that step, where the kernel allows it and both may lie together."""
    wanted = {owner[name] for name in calls.graph.outputs if name in owner}
    tenants: dict[str, list[str]] = {}
    for tensor, memory in owner.items():
        tenants.setdefault(memory, []).append(tensor)
    for step, call in enumerate(calls.steps):
        if isinstance(call, Run) or call.node.outputs[0] in apart:
            continue
        for name in call.in_place:
            if name not in owner or call.node.outputs[0] not in owner:
                continue  # states have a place of their own
            source, target = owner[name], owner[call.node.outputs[0]]
            if source == target or source in wanted or life[source][1] != step or life[target][0] != step:
                continue
            if pins.get(source) != pins.get(target):
                continue
            life[source] = (life[source][0], life[target][1])
            del life[target]
            moved = tenants.pop(target)
            tenants[source] += moved
            owner.update(dict.fromkeys(moved, source))
            if target in wanted:
                wanted.add(source)
            break


def _overlaps(calls: Calls, owner: dict[str, str], life: dict[str, tuple[int, int]]) -> Overlaps:
    """How far each output must at least begin under an input that its step uses up."""
    found: dict[tuple[str, str], int] = {}
    wanted = {owner[name] for name in calls.graph.outputs if name in owner}
    for step, part in enumerate(calls.steps):
        last = calls_of(part)[-1].node
        output = owner.get(last.outputs[0]) if len(last.outputs) == 1 else None
        if not part.order or output is None or life[output][0] != step:
            continue
        for operand in dict.fromkeys(owner[name] for name in _read(part) if name in owner):
            if operand == output or operand in wanted or life[operand][1] != step:
                continue
            # a buffer may be read under several names
            names = [name for name in _read(part) if owner.get(name) == operand]
            if not part.under.keys() >= {*names}:
                continue
            least = max(part.under[n] for n in names)
            apart = -(-least // ALIGNMENT) * ALIGNMENT  # as both begin at such multiples
            if apart < calls.graph.tensors[output].bytes:
                found[output, operand] = apart
    return found


def _read(part: Call | Run) -> Iterable[str]:
    return part.inputs if isinstance(part, Run) else part.node.inputs


def _peak(sized: list[tuple[int, int, int]]) -> int:
    """Most bytes alive at one step."""
    steps = {first for _, first, _ in sized}
    return max((sum(size for size, first, last in sized if first <= s <= last) for s in steps), default=0)
