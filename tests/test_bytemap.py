"""Good plans are spoiled in every way: what `check` and the byte map let pass must still compute the same bytes."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import pytest
from hypothesis import strategies as st

from tests.fuzz_graphs import trials_of
from tests.fuzz_plans import attempt
from tests.networks import mobilenet_v2
from tests.planned import differences, on_host, together
from tests.programs import drawn
from tinycompiler.board import CORES
from tinycompiler.bytemap import play
from tinycompiler.kernels import Call, Run
from tinycompiler.kernels.order import Touch
from tinycompiler.memory import Plan, check, place
from tinycompiler.planning import Planned, plan

SHARE = 30
"""Mutants that pass, and are run."""
SEEDS = (3, 4, 8, 11, 14, 15, 26, 38, 55, 56)
"""Of small networks with runs, overlaps and branches."""


@dataclass(frozen=True)
class Mutation:
    """What is spoiled in which plan; numbers say where and how far."""

    seed: int
    kind: str
    where: int
    far: int


MUTATIONS = st.builds(
    Mutation,
    st.sampled_from(SEEDS),
    st.sampled_from(("offset", "nudge", "life", "overlap", "steps", "ring")),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
)


@cache
def good(seed: int) -> Planned:
    return attempt(seed, CORES["cortex-m4f" if seed % 2 else "cortex-m0plus"], seed).planned


def moved(planned: Planned, mutation: Mutation) -> Planned | None:
    """A buffer at any other place."""
    old = planned.layout.plan
    buffer = old.buffers[mutation.where % len(old.buffers)]
    offset = mutation.far % max(1, old.arena - buffer.size + 1) // 4 * 4
    return with_plan(planned, replace(old, offsets={**old.offsets, buffer.name: offset}))


def nudged(planned: Planned, mutation: Mutation) -> Planned | None:
    """A buffer a few words higher or lower."""
    old = planned.layout.plan
    buffer = old.buffers[mutation.where % len(old.buffers)]
    offset = old.offsets[buffer.name] + 4 * (mutation.far % 9 - 4)
    return with_plan(planned, replace(old, offsets={**old.offsets, buffer.name: offset}))


def living(planned: Planned, mutation: Mutation) -> Planned | None:
    """Everything placed anew, with a buffer that is born later or dies sooner."""
    old = planned.layout.plan
    buffer = old.buffers[mutation.where % len(old.buffers)]
    shorter = 1 + mutation.far // 2 % 3
    first, last = (buffer.first + shorter, buffer.last) if mutation.far % 2 else (buffer.first, buffer.last - shorter)
    if first > last:
        return None
    buffers = [replace(b, first=first, last=last) if b is buffer else b for b in old.buffers]
    lives = {b.name: b for b in buffers}
    kept = {(o, i): d for (o, i), d in old.overlaps.items() if lives[o].first == lives[i].last}
    return with_plan(planned, place(buffers, kept, effort=50))


def overlapping(planned: Planned, mutation: Mutation) -> Planned | None:
    """Everything placed anew, with an output that may begin closer to its input."""
    old = planned.layout.plan
    pairs = [pair for pair, distance in old.overlaps.items() if distance]
    if not pairs:
        return None
    pair = pairs[mutation.where % len(pairs)]
    nearer = {**old.overlaps, pair: mutation.far % old.overlaps[pair] // 4 * 4}
    return with_plan(planned, place(old.buffers, nearer, effort=50))


def exchanged(planned: Planned, mutation: Mutation) -> Planned | None:
    """Two steps change places."""
    steps = list(planned.calls.steps)
    if len(steps) < 2:
        return None
    i = mutation.where % (len(steps) - 1)
    j = i + 1 + (mutation.far % (len(steps) - i - 1) if mutation.far % 3 == 0 else 0)
    steps[i], steps[j] = steps[j], steps[i]
    return replace(planned, calls=replace(planned.calls, steps=tuple(steps)))


def with_smaller_ring(planned: Planned, mutation: Mutation) -> Planned | None:
    """A ring of a row less, or of fewer."""
    rings = [(step, name) for step in planned.calls.steps if isinstance(step, Run) for name in step.rings]
    rings = [(run, name) for run, name in rings if run.rings[name] > 1]
    if not rings:
        return None
    run, name = rings[mutation.where % len(rings)]
    rows = max(1, run.rings[name] - 1 - (mutation.far % 2))
    smaller = replace(run, rings={**run.rings, name: rows})
    steps = tuple(smaller if step is run else step for step in planned.calls.steps)
    return replace(planned, calls=replace(planned.calls, steps=steps))


MUTATE: dict[str, Callable[[Planned, Mutation], Planned | None]] = {
    "offset": moved,
    "nudge": nudged,
    "life": living,
    "overlap": overlapping,
    "steps": exchanged,
    "ring": with_smaller_ring,
}


def with_plan(planned: Planned, plan: Plan) -> Planned:
    return replace(planned, layout=replace(planned.layout, plan=plan))


def mutants(count: int, start: int = 0) -> Iterator[tuple[Mutation, Planned]]:
    """Plans that differ from the good ones."""
    for mutation in dict.fromkeys(drawn(MUTATIONS, count, start=start)):
        planned = good(mutation.seed)
        mutant = MUTATE[mutation.kind](planned, mutation)
        same_place = mutant is not None and mutant.layout.plan.offsets == planned.layout.plan.offsets
        if mutant is not None and not (same_place and mutant.calls is planned.calls):
            yield mutation, mutant


def caught(planned: Planned) -> bool:
    try:
        check(planned.layout.plan)
        play(planned.calls, planned.layout)
    except AssertionError:
        return True
    return False


@pytest.mark.slow
def test_what_passes_is_harmless() -> None:
    verdicts: Counter[tuple[str, bool]] = Counter()
    passing = []
    for mutation, mutant in mutants(500):
        bad = caught(mutant)
        verdicts[mutation.kind, bad] += 1
        if not bad:
            passing.append((mutation, mutant))
    for kind in MUTATE:
        assert verdicts[kind, True] > 5, f"no {kind} was caught: {verdicts}"
    assert passing
    for group in groups(passing[:: max(1, len(passing) // SHARE)]):
        assert not differing(group), group


def groups(mutants: Sequence[tuple[Mutation, Planned]]) -> Iterator[list[tuple[Mutation, Planned]]]:
    """At most one mutant of each network together: their names are the same."""
    left = list(mutants)
    while left:
        group = {mutation.seed: (mutation, mutant) for mutation, mutant in left}
        yield list(group.values())
        left = [pair for pair in left if pair not in group.values()]


def differing(group: Sequence[tuple[Mutation, Planned]]) -> list[str]:
    """What the emitted programs compute otherwise than `evaluate`."""
    trials = {mutation.seed: trials_of(mutant.calls.graph, mutation.seed) for mutation, mutant in group}
    feeds = [{k: v for each in trials.values() for k, v in each[i].items()} for i in range(3)]
    found = []
    for given, heard in zip(feeds, on_host(together([mutant for _, mutant in group]), feeds), strict=True):
        for mutation, mutant in group:
            mine = {n: data for n, data in heard.items() if n.removeprefix("output ").startswith(f"{mutation.seed}_")}
            found += [f"{mutation}: {words}" for words in differences(mutant.calls.graph, given, mine)]
    return found


# What an order says is what is played.


def small() -> Planned:
    """A plan with an overlap, a run, and something in place."""
    return plan(mobilenet_v2(16, 0.35).graph, CORES["cortex-m4f"])


def test_good_plans_pass() -> None:
    planned = small()
    check(planned.layout.plan)
    play(planned.calls, planned.layout)


def test_a_late_read_is_caught() -> None:
    """The order's last touch reads again what the first wrote over."""
    planned = small()
    for number, step in enumerate(planned.calls.steps):
        output = step.calls[-1].node.outputs[0] if isinstance(step, Run) else step.node.outputs[0]
        near = [n for n in step.under if planned.layout.plan.overlaps.get((output, n)) is not None]
        over = [
            n for n in near if planned.layout.offset(n) < planned.layout.offset(output) + step.order[0].writes[0][2]
        ]
        if not over or planned.layout.offset(over[0]) < planned.layout.offset(output):
            continue
        late = Touch(((over[0], 0, 1),), (), apart=False)
        steps = list(planned.calls.steps)
        steps[number] = replace(step, order=(*step.order, late))
        with pytest.raises(AssertionError, match=f"byte 0 of '{over[0]}' is not there any more"):
            play(replace(planned.calls, steps=tuple(steps)), planned.layout)
        return
    raise AssertionError("no output lies over the begin of its input")


def test_a_call_without_an_order_reads_to_its_end() -> None:
    planned = small()
    steps = tuple(replace(s, order=()) if isinstance(s, Call) and not s.in_place else s for s in planned.calls.steps)
    with pytest.raises(AssertionError, match="is not there any more"):
        play(replace(planned.calls, steps=steps), planned.layout)


def test_scratch_is_nobody_elses() -> None:
    planned = small()
    old, step = planned.layout.plan, next(s for s in planned.calls.steps if isinstance(s, Call) and s.scratch)
    scratch, output = f"scratch of {step.node.name}", planned.layout.owner[step.node.outputs[0]]
    spoiled = replace(old, offsets={**old.offsets, scratch: old.offsets[output]})
    with pytest.raises(AssertionError, match=f"{step.node.name}: "):
        play(planned.calls, replace(planned.layout, plan=spoiled))
    with pytest.raises(AssertionError, match="share bytes"):
        check(spoiled)
