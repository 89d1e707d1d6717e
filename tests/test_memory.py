"""The arena: `check` judges every plan, a permutation search judges optimality, known networks judge the figures."""

import random
from dataclasses import replace
from itertools import permutations
from time import perf_counter, process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinycompiler.memory import (
    NO_OVERLAPS,
    Buffer,
    Overlaps,
    Plan,
    alive_at,
    bytes_needed,
    check,
    draw,
    needs_at,
    place,
)

ALIGNMENTS = (1, 2, 4, 8, 16, 32, 64)


@st.composite
def lifetimes(draw_from: st.DrawFn, most: int = 14, steps: int = 8, largest: int = 70) -> list[Buffer]:
    buffers = []
    for number in range(draw_from(st.integers(0, most))):
        first = draw_from(st.integers(0, steps))
        last = draw_from(st.integers(first, steps + 2))
        size, alignment = draw_from(st.integers(0, largest)), draw_from(st.sampled_from(ALIGNMENTS))
        buffers.append(Buffer(f"b{number}", size, first, last, alignment))
    return buffers


@st.composite
def overlapping(draw_from: st.DrawFn, most: int, steps: int, largest: int) -> tuple[list[Buffer], Overlaps]:
    """Buffers, some of which may begin under those that die where they are born: one such output for each step."""
    buffers = draw_from(lifetimes(most=most, steps=steps, largest=largest))
    overlaps: dict[tuple[str, str], int] = {}
    outputs: dict[int, Buffer] = {}
    for above in buffers:
        born = [b for b in buffers if b.first == above.last and b.size and b is not above]
        below = outputs.get(above.last) or (draw_from(st.sampled_from(born)) if born else None)
        if below is None or below is above or (above.name, below.name) in overlaps or not draw_from(st.booleans()):
            continue
        outputs[above.last] = below
        overlaps[below.name, above.name] = draw_from(st.integers(0, below.size - 1))
    return buffers, overlaps


def least_arena(buffers: list[Buffer], overlaps: Overlaps = NO_OVERLAPS) -> int:
    """By trying every order of offsets, each buffer as low as those before it allow with which it shares a step."""
    real = [buffer for buffer in buffers if buffer.size]
    best = sum(buffer.size + buffer.alignment for buffer in real)
    for order in permutations(real):
        starts: list[tuple[Buffer, int]] = []
        for buffer in order:
            under = [(o, at) for o, at in starts if o.first <= buffer.last and buffer.first <= o.last]
            start = max((at + overlaps.get((o.name, buffer.name), o.size) for o, at in under), default=0)
            while start % buffer.alignment:
                start += 1
            starts.append((buffer, start))
        best = min(best, max((start + buffer.size for buffer, start in starts), default=0))
    return best


def chain(*sizes: int) -> list[Buffer]:
    """Step i reads tensor i and writes tensor i + 1; the input is there from step 0."""
    lives = enumerate(sizes)
    return [Buffer(f"t{i}", size, max(0, i - 1), min(i, len(sizes) - 2), 16) for i, size in lives]


def tiling(count: int, seed: int, steps: int, height: int) -> list[Buffer]:
    """A full rectangle cut into pieces: some plan has no gap at all, and few have."""
    rng = random.Random(seed)
    pieces = [(0, steps, 0, height)]
    while len(pieces) < count:
        pieces.sort(key=lambda piece: (piece[0] - piece[1]) * (piece[3] - piece[2]))
        left, right, low, high = pieces.pop(rng.randrange(min(len(pieces), 6)))
        if right - left > 1 and (rng.random() < 0.5 or high - low < 2):
            cut = rng.randrange(left + 1, right)
            pieces += [(left, cut, low, high), (cut, right, low, high)]
        else:
            cut = rng.randrange(low + 1, high)
            pieces += [(left, right, low, cut), (left, right, cut, high)]
    rng.shuffle(pieces)
    return [Buffer(f"p{i}", high - low, left, right - 1) for i, (left, right, low, high) in enumerate(pieces)]


def scattered(count: int, seed: int) -> list[Buffer]:
    rng = random.Random(seed)
    buffers = []
    for number in range(count):
        first = rng.randrange(count)
        buffers.append(
            Buffer(f"b{number}", rng.randrange(5000), first, first + rng.randrange(30), rng.choice([1, 4, 16]))
        )
    return buffers


@pytest.mark.slow
@given(lifetimes())
@settings(max_examples=50, deadline=None)
def test_every_plan_is_sound(buffers: list[Buffer]) -> None:
    plan = place(buffers, effort=400)
    check(plan)
    assert plan.buffers == tuple(buffers)
    assert plan.arena >= plan.lower_bound
    assert plan.arena == max((plan.offsets[buffer.name] + buffer.size for buffer in buffers), default=0)
    for step in range(12):
        alive = alive_at(buffers, step)
        assert bytes_needed(alive) <= plan.lower_bound
        assert sum(buffer.size for buffer in alive) <= bytes_needed(alive)
    assert plan.lower_bound == bytes_needed(alive_at(plan, plan.peak_step))
    assert plan.optimal == (plan.proven or plan.arena == plan.lower_bound)


@given(lifetimes(most=6, steps=4, largest=40))
@settings(max_examples=70, deadline=None)
def test_proven_plans_are_optimal(buffers: list[Buffer]) -> None:
    plan = place(buffers)
    check(plan)
    assert plan.proven  # six buffers are always searched to the end
    assert plan.lower_bound <= plan.arena == least_arena(buffers)


@pytest.mark.slow
@given(lifetimes(most=7, steps=9, largest=100))
@settings(max_examples=60, deadline=None)
def test_proven_plans_are_optimal_more(buffers: list[Buffer]) -> None:
    plan = place(buffers)
    best = least_arena(buffers)
    assert plan.arena == best if plan.proven else plan.arena >= best


@given(overlapping(most=6, steps=3, largest=40))
@settings(max_examples=120)
def test_plans_with_overlaps_are_optimal(drawn: tuple[list[Buffer], Overlaps]) -> None:
    buffers, overlaps = drawn
    plan = place(buffers, overlaps)
    check(plan)
    assert plan.proven
    assert plan.lower_bound <= plan.arena == least_arena(buffers, overlaps)
    assert place(buffers[::-1], overlaps).offsets == plan.offsets


@given(overlapping(most=14, steps=8, largest=70))
@settings(max_examples=60, deadline=None)
def test_needs_of_all_steps_at_once(drawn: tuple[list[Buffer], Overlaps]) -> None:
    buffers, overlaps = drawn
    steps = sorted({buffer.first for buffer in buffers})
    assert needs_at(buffers, overlaps, steps).tolist() == [bytes_needed(alive_at(buffers, s), overlaps) for s in steps]


@pytest.mark.slow
@given(overlapping(most=7, steps=5, largest=100))
@settings(max_examples=100)
def test_plans_with_overlaps_are_optimal_more(drawn: tuple[list[Buffer], Overlaps]) -> None:
    buffers, overlaps = drawn
    plan, best = place(buffers, overlaps), least_arena(buffers, overlaps)
    check(plan)
    assert plan.lower_bound <= best
    assert plan.arena == best if plan.proven else plan.arena >= best


@given(overlapping(most=25, steps=9, largest=200))
@settings(max_examples=30)
def test_every_plan_with_overlaps_is_sound(drawn: tuple[list[Buffer], Overlaps]) -> None:
    buffers, overlaps = drawn
    plan = place(buffers, overlaps, effort=300)
    check(plan)
    assert plan.lower_bound <= plan.arena
    for buffer in buffers:  # by pairs, where `check` paints
        for other in buffers:
            together = buffer.first <= other.last and other.first <= buffer.last
            low, high = plan.offsets[buffer.name], plan.offsets[other.name]
            if together and buffer is not other and buffer.size and other.size and low <= high:
                apart = overlaps.get((buffer.name, other.name), buffer.size)
                same = low == high and overlaps.get((other.name, buffer.name)) == 0
                assert low + apart <= high or same


@pytest.mark.parametrize("seed", range(3))
def test_optimum_above_the_bound_is_proven(seed: int) -> None:
    """Drawn until the optimum lies above the bound, so that the search, not the bound, has to prove it."""
    rng = random.Random(seed)
    while True:
        buffers = []
        for number in range(6):
            first = rng.randrange(5)
            buffers.append(
                Buffer(f"b{number}", rng.randrange(1, 9), first, first + rng.randrange(4), rng.choice([1, 4]))
            )
        best = least_arena(buffers)
        if best > max(bytes_needed(alive_at(buffers, step)) for step in range(9)):
            break
    plan = place(buffers)
    assert plan.lower_bound < plan.arena == best
    assert plan.proven
    assert plan.optimal
    assert not place(buffers, effort=0).proven


@pytest.mark.slow
@given(lifetimes(), st.randoms(use_true_random=False))
@settings(max_examples=8, deadline=None)
def test_same_input_same_plan_in_any_order(buffers: list[Buffer], rng: random.Random) -> None:
    shuffled = rng.sample(buffers, len(buffers))
    assert place(buffers, effort=300) == place(buffers, effort=300)
    assert place(buffers, effort=300).offsets == place(shuffled, effort=300).offsets


def test_no_buffers() -> None:
    plan = place([])
    check(plan)
    assert (plan.arena, plan.lower_bound, plan.optimal) == (0, 0, True)
    assert draw(plan).startswith("arena 0 bytes")


def test_one_buffer() -> None:
    plan = place([Buffer("only", 100, 3, 9, 64)])
    check(plan)
    assert (plan.offsets, plan.arena, plan.lower_bound, plan.proven) == ({"only": 0}, 100, 100, True)
    assert 3 <= plan.peak_step <= 9


def test_buffers_of_zero_bytes_take_no_room() -> None:
    plan = place([Buffer("empty", 0, 0, 5, 64), Buffer("full", 10, 0, 5), Buffer("other", 10, 2, 3)])
    check(plan)
    assert (plan.arena, plan.offsets["empty"]) == (20, 0)
    nothing = place([Buffer("empty", 0, 4, 5)])
    check(nothing)
    assert (nothing.arena, nothing.peak_step) == (0, 4)


def test_alignment_is_kept_and_counted() -> None:
    buffers = [Buffer(f"a{alignment}", alignment // 2 + 1, 0, 0, alignment) for alignment in ALIGNMENTS]
    plan = place(buffers)
    check(plan)
    assert plan.proven
    assert plan.arena == least_arena(buffers)
    two = place([Buffer("x", 33, 0, 0, 64), Buffer("y", 40, 0, 0, 64)])
    assert (two.arena, two.lower_bound) == (97, 97)  # y, a gap, then x: the bound knows of the gap


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("b", -1, 0, 0), "negative"),
        (("b", 1, 3, 2), "dies at step 2"),
        (("b", 1, 0, 0, 3), "power of two"),
        (("b", 1, 0, 0, 0), "power of two"),
    ],
)
def test_impossible_buffers_are_refused(arguments: tuple[str, int, int, int], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        Buffer(*arguments)


def test_two_buffers_of_one_name_are_refused() -> None:
    with pytest.raises(AssertionError, match="two buffers have the same name"):
        place([Buffer("b", 1, 0, 0), Buffer("b", 2, 1, 1)])


def residual_ic() -> list[Buffer]:
    """ResNet-8: three stacks conv → conv → add, the second and third with a convolution on the shortcut."""
    sizes = [3072, 16384, 16384, 16384, 16384, 8192, 8192, 8192, 8192, 4096, 4096, 4096, 4096, 64, 10, 10]
    reads = [[0], [1], [2], [1, 3], [4], [5], [4], [6, 7], [8], [9], [8], [10, 11], [12], [13], [14]]
    last = {tensor: step for step, tensors in enumerate(reads) for tensor in tensors}
    steps = len(reads)
    return [Buffer(f"t{i}", size, max(0, i - 1), last.get(i, steps - 1), 16) for i, size in enumerate(sizes)]


NETWORKS = {
    "kws": (chain(490, *[8000] * 9, 64, 12, 12), 16_000),
    "vww": (
        chain(27648, 18432, 18432, 36864, 9216, 18432, 18432, 18432, 4608, *[9216] * 3, 2304, *[4608] * 12),
        55_296,
    ),
    "ic": (residual_ic(), 49_152),
    "ad": (chain(640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640), 768),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_mlperf_tiny_networks_reach_their_bound(name: str) -> None:
    buffers, arena = NETWORKS[name]
    plan = place(buffers, effort=0)
    check(plan)
    assert (plan.arena, plan.lower_bound, plan.proven) == (arena, arena, True)


@pytest.mark.parametrize(("count", "seed"), [(10, 0), (20, 1), (30, 2), (40, 0), (60, 0), (60, 2)])
def test_gapless_tilings_are_found(count: int, seed: int) -> None:
    plan = place(tiling(count, seed, steps=max(8, count // 3), height=4096))
    check(plan)
    assert (plan.arena, plan.proven) == (4096, True)


@pytest.mark.slow
def test_long_chains_need_no_deep_stack() -> None:
    """1,200 buffers, more than Python's own stack holds; the input is read again at the end."""
    plan = place(
        [*chain(*[16 * (1 + i * 7919 % 97) for i in range(1200)]), Buffer("skip", 160, 0, 1198, 16)],
        effort=50,
    )
    check(plan)
    assert plan.optimal


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_five_hundred_buffers_in_seconds(seed: int) -> None:
    buffers = scattered(500, seed)
    start = perf_counter()
    plan = place(buffers)
    assert perf_counter() - start < 30  # a few seconds on an idle machine
    check(plan)
    assert plan.arena <= 1.1 * plan.lower_bound


def test_quick_packings_know_of_overlaps() -> None:
    """A chain each of whose outputs begins a little under its input: the last lies lowest."""
    buffers = [Buffer(f"t{i}", 800, i, i + 1, 4) for i in range(9)]
    overlaps = {(f"t{i + 1}", f"t{i}"): 8 * (1 + i % 3) for i in range(8)}
    plan = place(buffers, overlaps, effort=0)
    check(plan)
    assert plan.arena == 800 + sum(overlaps.values())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_five_hundred_buffers_that_overlap(seed: int) -> None:
    """A chain with shortcuts; each output may begin under the input that it uses up."""
    rng = random.Random(seed)
    buffers = [Buffer(f"t{i}", rng.randrange(1, 500) * 4, i, i + 1, 4) for i in range(400)]
    overlaps = {(f"t{i + 1}", f"t{i}"): rng.randrange(buffers[i + 1].size // 4) * 4 for i in range(399)}
    buffers += [Buffer(f"s{i}", rng.randrange(1, 300) * 4, 4 * i, 4 * i + rng.randrange(1, 12), 4) for i in range(100)]
    start = process_time()
    plan = place(buffers, overlaps)
    assert process_time() - start < 20
    check(plan)
    assert plan.arena <= 1.1 * plan.lower_bound
    assert place(buffers, overlaps) == plan


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_hard_tilings_stay_sound(seed: int) -> None:
    buffers = tiling(200, seed, steps=66, height=4096)
    plan = place(buffers)
    check(plan)
    assert plan.lower_bound == 4096
    assert plan.arena <= 1.3 * 4096
    assert place(buffers) == plan


@given(lifetimes(most=8), st.data())
@settings(max_examples=40, deadline=None)
def test_check_catches_every_harmful_shift(buffers: list[Buffer], data: st.DataObject) -> None:
    """One offset is moved: `check` complains if and only if two live byte ranges meet, or a limit is passed."""
    plan = place(buffers, effort=200)
    if not buffers:
        return
    moved = data.draw(st.sampled_from(buffers))
    offset = data.draw(st.integers(-8, plan.arena + 8))
    bad = replace(plan, offsets={**plan.offsets, moved.name: offset})
    harmful = offset % moved.alignment != 0 or offset < 0 or offset + moved.size > plan.arena
    for other in buffers:
        together = other.name != moved.name and other.first <= moved.last and moved.first <= other.last
        apart = offset + moved.size <= plan.offsets[other.name] or plan.offsets[other.name] + other.size <= offset
        harmful = harmful or (together and not apart and 0 not in (moved.size, other.size))
    if harmful:
        with pytest.raises(AssertionError, match=rf"\b{moved.name}\b"):
            check(bad)
    else:
        check(bad)


def test_check_names_both_buffers() -> None:
    buffers = (Buffer("conv1", 10, 0, 2), Buffer("conv2", 10, 2, 3))
    plan = Plan(buffers, {"conv1": 0, "conv2": 9}, arena=20, lower_bound=20, peak_step=2, proven=True)
    with pytest.raises(AssertionError, match="conv1 and conv2 share bytes at step 2"):
        check(plan)


def test_check_sees_what_an_overlapping_output_covers() -> None:
    """Two inputs that meet under the output, which may lie under either; lives that overlap for more than a step."""
    buffers = (Buffer("a", 8, 0, 1), Buffer("out", 16, 1, 2), Buffer("b", 8, 0, 1))
    overlaps = {("out", "a"): 0, ("out", "b"): 0}
    good = Plan(buffers, {"a": 0, "out": 0, "b": 8}, 16, 16, 1, proven=True, overlaps=overlaps)
    check(good)
    with pytest.raises(AssertionError, match="a and b share bytes at step"):
        check(replace(good, offsets={"a": 0, "out": 0, "b": 4}))
    late = replace(good, buffers=(*buffers[:2], replace(buffers[2], first=1)))
    with pytest.raises(AssertionError, match="a and b share bytes at step 1"):
        check(replace(late, offsets={"a": 0, "out": 0, "b": 4}))
    with pytest.raises(AssertionError, match="b and out share bytes at step 1"):
        check(replace(good, buffers=(*buffers[:2], replace(buffers[2], last=2))))
    with pytest.raises(AssertionError, match="a and out share bytes at step 1"):
        check(replace(good, overlaps={("out", "a"): 4, ("out", "b"): 0}))
    more = replace(good, buffers=(*buffers, Buffer("two", 8, 1, 1)), offsets={**good.offsets, "two": 0})
    with pytest.raises(AssertionError, match="out and two both overlap others at step 1"):
        check(replace(more, overlaps={**overlaps, ("two", "a"): 0}))


def test_check_refuses_malformed_plans() -> None:
    plan = place([Buffer("a", 8, 0, 1), Buffer("b", 8, 1, 2)])
    with pytest.raises(AssertionError, match="do not match"):
        check(replace(plan, offsets={"a": 0}))
    with pytest.raises(AssertionError, match="below the bound"):
        check(replace(plan, arena=15))
    with pytest.raises(AssertionError, match="same name"):
        check(replace(plan, buffers=plan.buffers + plan.buffers[:1]))


def test_alive_at_is_largest_first() -> None:
    buffers = [Buffer("c", 5, 0, 3), Buffer("a", 5, 1, 2), Buffer("big", 9, 2, 2), Buffer("gone", 99, 0, 1)]
    assert [buffer.name for buffer in alive_at(buffers, 2)] == ["big", "a", "c"]
    assert alive_at(place(buffers), 2) == alive_at(buffers, 2)
    assert alive_at(buffers, 7) == ()


DRAWING = """\
arena 24 bytes, lower bound 24 at step 1, optimal
        0 |aaaaaaaaaaaaaaaa................................|        8
      1-2 |aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb|       24 <
        3 |cccccccc........bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb|       20
a         8 bytes at 0, steps 0-2, input
b        16 bytes at 8, steps 1-3, conv
c         4 bytes at 0, steps 3-3, out"""


def test_drawing() -> None:
    buffers = (Buffer("input", 8, 0, 2), Buffer("conv", 16, 1, 3), Buffer("out", 4, 3, 3))
    plan = Plan(buffers, {"input": 0, "conv": 8, "out": 0}, arena=24, lower_bound=24, peak_step=1, proven=True)
    check(plan)
    assert draw(plan, width=72) == DRAWING


@pytest.mark.slow
@given(lifetimes(), st.integers(30, 120))
@settings(max_examples=30, deadline=None)
def test_drawings_keep_to_their_width(buffers: list[Buffer], width: int) -> None:
    plan = place(buffers, effort=0)
    lines = draw(plan, width).splitlines()
    assert max(map(len, lines)) <= width
    assert sum(" bytes at " in line[:30] for line in lines) == len(buffers) or width < 40
