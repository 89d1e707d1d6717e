"""The emitted C against `evaluate`: on the host in plain C, and (marked `emulator`) on every kind of core."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import models
from tests.cases import BOARDS as JUDGED
from tests.draws import STRATEGIES, Case, Pattern
from tests.programs import HostProgram, assert_exact, board_outputs, drawn, groups, kernels_of, merged, trials_of
from tinycompiler.board import CORES, Core, load
from tinycompiler.errors import ModelError
from tinycompiler.fixed_point import quantize_multiplier
from tinycompiler.kernels import Calls, Site, Wishes, lower, options
from tinycompiler.kernels.requantize import prove_once
from tinycompiler.ops import Clamp, FullyConnected, Numerics

PROFILES = pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)

# Networks at the limits of the inner loops.

TAPS = (1, 3, 4, 5, 15, 16, 17, 33)  # around the groups of four, and of two groups, that tiles take at a time
CHANNELS = (1, 2, 3, 4, 5, 33, 67)
WEIGHTS = ("all 127", "all -127", "alternating", "even -128")


def fully_connected(taps: int, units: int, *, pattern: str | None = None, bias: str | None = None, **told: Any) -> Case:
    arrays: dict[str, Any] = {} if pattern is None else {"weights": Pattern(pattern, (units, taps))}
    if bias is not None:
        arrays["biases"] = Pattern(bias, (units,))
    return Case(models.fully_connected, taps, {"shape": (1, taps), "units": units, **arrays, **told})


def by_multiplier(multiplier: float) -> dict[str, float]:
    """Scales, powers of two but for the multiplier that comes of them."""
    return {"input_scale": 2.0**-6, "weight_scale": 2.0**-8, "output_scale": 2.0**-14 / multiplier}


def image(make: Callable[..., bytes], seed: int, shape: tuple[int, ...], **told: Any) -> Case:
    return Case(make, seed, {"shape": shape, **told})


PAIRS_LIMIT = 516  # taps of ±127: Σ|w| = 65,532, the most that a pair of channels takes is 65,535
GREATEST_BIAS = {"pattern": "all 127", **by_multiplier(2.0**-23)}  # and the greatest shift, 22

LIMITS: tuple[Case, ...] = (
    *(
        fully_connected(taps, units, pattern=(*WEIGHTS, None)[(i + j) % 5], shape=(1 + (i + j) % 3, taps))
        for i, taps in enumerate(TAPS)
        for j, units in enumerate(CHANNELS)
        if (i + j) % 2 == 0 or units < 4
    ),
    *(fully_connected(PAIRS_LIMIT, 3, pattern=pattern, shape=(3, PAIRS_LIMIT)) for pattern in WEIGHTS[:3]),
    fully_connected(16, 3, bias="bias 2^30 - 2^25", **GREATEST_BIAS),
    fully_connected(16, 3, bias="bias 2^25 - 2^30", **GREATEST_BIAS),
    fully_connected(7, 5, pattern="small", bias="small bias", **by_multiplier(0.49)),  # shift 1
    fully_connected(7, 5, pattern="zero", bias="bias 2^30"),  # channels without weights are constants
    *(
        image(
            models.conv_2d,
            width,
            (1 + i % 2, 3, width, channels),
            filters=filters,
            kernel=(3, 3 - i % 3),
            stride=(1 + i % 4, 1 + (i + i // 4) % 4),
            **({"weights": Pattern(WEIGHTS[i % 4], (filters, 3, 3 - i % 3, channels))} if i % 2 else {}),
        )
        for i, (width, channels, filters) in enumerate(
            ((1, 1, 1), (2, 3, 2), (3, 4, 3), (5, 5, 4), (8, 8, 67), (15, 1, 5), (16, 2, 2), (17, 3, 3), (33, 4, 1))
        )
    ),
    image(models.conv_2d, 1, (2, 3, 5, 67), filters=33, kernel=(1, 1)),  # pointwise: all pixels are one row
    image(models.conv_2d, 1, (1, 3, 5, 12), filters=5, kernel=(1, 1), stride=(2, 2)),
    *(
        image(
            models.depthwise_conv_2d,
            width,
            (1, 4, width, channels),
            kernel=kernel,
            stride=(1 + i % 4, 1 + (i + i // 4) % 4),
            **({"weights": Pattern(WEIGHTS[i % 3], (1, *kernel, channels))} if i % 2 else {}),
        )
        for i, (width, channels, kernel) in enumerate(
            (
                (1, 4, (1, 1)),
                (2, 8, (3, 3)),
                (3, 12, (2, 3)),
                (5, 68, (3, 1)),
                (17, 4, (3, 3)),
                (33, 16, (3, 3)),
                (7, 3, (3, 3)),
                (6, 67, (2, 2)),
                (9, 4, (4, 5)),
            )
        )
    ),
    *(  # 3x3 on larger images, as rows and as columns, at widths around the blocks of two and of four outputs
        image(
            models.depthwise_conv_2d,
            height,
            (1 + i // 7, height, width, 4),
            stride=stride,
            padding=("SAME", "VALID")[i % 2],
            activation=("NONE", "RELU6")[i // 2 % 2],
            **({"weights": Pattern((*WEIGHTS[:3], "all -128")[i // 2], (1, 3, 3, 4))} if i % 2 else {}),
        )
        for i, (height, width, stride) in enumerate(
            (
                (9, 12, (1, 1)),
                (13, 9, (1, 1)),
                (16, 18, (2, 2)),
                (19, 15, (2, 2)),
                (33, 7, (1, 2)),
                (8, 33, (2, 1)),
                (14, 17, (3, 1)),
                (17, 11, (1, 4)),
            )
        )
    ),
    image(models.depthwise_conv_2d, 1, (1, 5, 5, 8), dilation=(2, 2)),
    image(models.depthwise_conv_2d, 1, (1, 5, 5, 8), weights=Pattern("all -128", (1, 3, 3, 8))),
    image(models.average_pool_2d, 1, (1, 16, 16, 4), kernel=(16, 16)),  # 256 pixels: sums of 16 bits at their limit
    image(models.max_pool_2d, 1, (1, 9, 33, 8), kernel=(3, 3), stride=(2, 4), padding="SAME"),
    image(models.softmax, 1, (2, 1000)),  # equal values add up to more than 2^28, and to more than 2^31
    image(models.softmax, 1, (1, 4100), input_scale=0.001),
)


@cache
def random_cases(count: int, start: int) -> tuple[Case, ...]:
    return tuple(case for strategy in STRATEGIES.values() for case in drawn(strategy, count, start=start))


# On the host.


def lowered(cases: Sequence[Case], core: Core, numerics: Numerics, prefer: str) -> Calls:
    """The cases as one network, with the kernel that is preferred wherever it does not refuse."""
    graph = merged(cases, numerics)
    return lower(graph, core, Wishes(chosen={node.name: prefer for node in graph.nodes} if prefer else {}))


def check_on_host(
    cases: list[Case], core: str, numerics: Numerics, folder: Path, capfd: Any, *, prefer: str = ""
) -> dict[str, str]:
    """Compiles and runs the cases as one program. Returns the kernels by node."""
    cases = [case for case in cases if numerics in case.profiles]
    calls = lowered(cases, CORES[core], numerics, prefer)
    program = HostProgram(calls, folder)
    for feeds in trials_of(calls.graph):
        assert_exact(calls, cases, feeds, program.outputs(feeds))
    complaints = capfd.readouterr().err
    assert "runtime error" not in complaints, complaints
    return kernels_of(calls)


@pytest.mark.slow
@PROFILES
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4f"])
def test_random_networks_on_the_host(
    core: str, numerics: Numerics, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    start = 2 * (numerics is Numerics.TFLM) + (core == "cortex-m4f")
    check_on_host(list(random_cases(3, start)), core, numerics, tmp_path, capfd)


@pytest.mark.slow
@PROFILES
def test_kernels_behind_the_first_compute_the_same(
    numerics: Numerics, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Those that are taken where flash is short, on the host."""
    relu6 = Case(models.relu6, 0, {"input_zero_point": -35, "output_zero_point": 0})
    core, taking = CORES["cortex-m4f"], dict[str, list[Case]]()
    for case in [relu6, *random_cases(1, 5)]:
        if numerics in case.profiles:
            graph = case.graph(numerics)
            for kernel, _ in options(Site(graph, graph.nodes[0]), core)[1:]:
                taking.setdefault(kernel.name, []).append(case)
    assert len(taking) >= 6
    for name, cases in taking.items():
        (tmp_path / name).mkdir()
        assert name in check_on_host(cases, "cortex-m4f", numerics, tmp_path / name, capfd, prefer=name).values()


@pytest.mark.slow
@PROFILES
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4f"])
def test_limits_on_the_host(core: str, numerics: Numerics, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check_on_host(list(LIMITS), core, numerics, tmp_path, capfd)


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4f"])
def test_outputs_survive_the_steps_that_read_them(core: str, tmp_path: Path) -> None:
    """A table works in place, but not where its input is an output of the network too."""
    graph = Case(models.relu, 0, {"shape": (1, 16)}).graph(Numerics.LITERT)
    graph = replace(graph, name="both", outputs=("input", "output")).verify()
    feeds = {"input": np.arange(-8, 8, dtype=np.int8).reshape(1, 16)}
    found = HostProgram(lower(graph, CORES[core]), tmp_path).outputs(feeds)
    for name, wanted in graph.evaluate(feeds).items():
        np.testing.assert_array_equal(found[name], wanted)


# On boards.

BOARDS = {
    "nucleo_l4r5zi": (150_000, 60_000),
    "stm32f746g_disco": (150_000, 60_000),
    "nucleo_l552ze_q": (150_000, 60_000),
    "rpi_pico": (150_000, 60_000),
    "bluepill": (9_000, 9_000),
}
"""Bytes of constants, and of inputs with outputs, that one program may have beside its code and stack."""


def check_on_board(cases: Sequence[Case], board: str, numerics: Numerics, *, prefer: str = "") -> None:
    flash, ram = BOARDS[board]
    cases = [case for case in cases if numerics in case.profiles]
    for group in groups(cases, numerics, flash=flash, ram=ram):
        calls = lowered(group, load(board).core, numerics, prefer)
        trials = trials_of(calls.graph)
        for feeds, found in zip(trials, board_outputs(calls, board, trials), strict=True):
            assert_exact(calls, group, feeds, found)


def divides_floats(case: Case) -> bool:
    return case.make is models.quantize and case.told.get("source", "float32") == "float32"


@pytest.mark.emulator
@PROFILES
@pytest.mark.parametrize("board", BOARDS)
def test_networks_on_boards(board: str, numerics: Numerics) -> None:
    random = () if board in JUDGED else random_cases(3, len(board))  # tests/test_cases.py has more of them
    cases = [case for case in (*LIMITS, *random) if not divides_floats(case)]
    check_on_board(cases, board, numerics)


@pytest.mark.emulator
@pytest.mark.parametrize("board", BOARDS)
def test_float_arithmetic_on_boards(board: str) -> None:
    """QUANTIZE divides in single precision; a FULLY_CONNECTED without a proof multiplies in double precision."""
    quantize = Case(models.quantize, 1, {"shape": (1, 16, 16, 1)})
    check_on_board([quantize, UNPROVED], board, Numerics.LITERT)


# What the dsp kernels refuse, and the kernel that takes it instead.

UNPROVED = fully_connected(16, 3, bias="bias 2^30 - 2^25", **by_multiplier(65 / 60 * 2.0**-23))


def window(make: Callable[..., bytes], **told: Any) -> Case:
    return Case(make, 1, {"shape": (1, 5, 5, 8), **told})


REFUSALS: dict[str, tuple[Case, str]] = {
    "a -128 in an odd channel": (fully_connected(5, 3, pattern="all -128"), "-128, outside TFLite's symmetric range"),
    "pairs overflow": (fully_connected(517, 2, pattern="all 127"), "Σ|w| = 65,659"),
    "multiplier of a half": (fully_connected(5, 3, **by_multiplier(0.5)), "right shift of 0; 1 to 22"),
    "multiplier of sixty": (fully_connected(5, 3, **by_multiplier(60)), "right shift of -6; 1 to 22"),
    "tiny multiplier": (fully_connected(5, 3, **by_multiplier(2.0**-24)), "right shift of 23; 1 to 22"),
    "huge bias": (
        fully_connected(5, 3, pattern="small", bias="bias 2^30", **by_multiplier(2.0**-23)),
        "accumulators are held doubled (limit 2^30)",
    ),
    "no proof": (UNPROVED, "no integer form that could be proved equal"),
    "convolution": (window(models.conv_2d, weights=Pattern("all -128", (4, 3, 3, 8))), "-128"),
    "depth multiplier": (window(models.depthwise_conv_2d, multiplier=2), "the depth multiplier is 2; 1 is supported"),
    "few channels": (window(models.depthwise_conv_2d, shape=(1, 5, 5, 3)), "there are 3 channels"),
    "depthwise shift": (window(models.depthwise_conv_2d, per_channel=False, **by_multiplier(0.5)), "outside 1 to 22"),
    "depthwise bias": (
        window(
            models.depthwise_conv_2d, per_channel=False, biases=Pattern("bias 2^30", (8,)), **by_multiplier(2.0**-23)
        ),
        "some accumulator can reach 2^30",
    ),
    "pooled channels": (window(models.max_pool_2d, shape=(1, 5, 5, 3)), "there are 3 channels"),
    "pooled pixels": (
        window(models.average_pool_2d, shape=(1, 17, 17, 4), kernel=(17, 16)),
        "272 pixels can overflow sums of 16 bits",
    ),
    "great product": (
        window(models.mul, scales=(1.0, 1.0), output_scale=2.0**-14),
        "the output is shifted right by -15; -13 to 30",
    ),
    "small sum": (
        window(models.add, other=(1, 1, 1, 8), scales=(2.0**-10, 2.0**-10), output_scale=8.0),
        "; 0 to 30 are supported",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_refusals_say_why(what: str) -> None:
    case, words = REFUSALS[what]
    [call] = lower(case.graph(Numerics.LITERT), CORES["cortex-m4f"]).calls
    assert call.isa == "scalar"
    assert any(words in why for _, why in call.rejected), call.rejected


@pytest.mark.slow
@PROFILES
def test_what_dsp_refuses_is_exact_all_the_same(
    numerics: Numerics, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check_on_host([case for case, _ in REFUSALS.values()], "cortex-m4f", numerics, tmp_path, capfd)


def test_limits_are_taken_by_dsp() -> None:
    """The networks at the limits of the dsp kernels are inside them, so that the limits themselves are tried."""
    graph = merged(LIMITS, Numerics.TFLM)
    calls = [call for call in lower(graph, CORES["cortex-m4f"]).calls if call.template == "conv_2d"]
    for call in calls:
        alone = isinstance(call.node.op, FullyConnected) and graph.tensors[call.node.outputs[0]].elements == 1
        assert call.kernel == ("conv_2d_s8_scalar" if alone else "conv_2d_s8_dsp")
    assert len(calls) > 30


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (Case(models.mean, 0, {"shape": (2, 3, 2, 3, 2, 3), "axes": (1, 3, 5)}), "interleave too often"),
        (
            Case(models.add, 0, {"shape": (2, 1, 2, 1, 2, 1), "other": (1, 2, 1, 2, 1, 2)}),
            "broadcasting needs 6 loops; 5 are supported",
        ),
    ],
    ids=["mean", "add"],
)
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4f"])
def test_what_no_kernel_takes_is_refused_with_every_reason(case: Case, words: str, core: str) -> None:
    with pytest.raises(ModelError, match=words):
        lower(case.graph(Numerics.LITERT), CORES[core])


# The proof that one rounding is enough.


def once(accumulator: int, value: int, shift: int) -> int:
    """What kernels compute, in Python's integers."""
    return (accumulator * value + (1 << (30 + shift))) >> (31 + shift)


def in_double(accumulator: int, real: float) -> int:
    """C's round(acc * real)."""
    product = accumulator * real
    whole = math.floor(abs(product))
    return int(math.copysign(whole + (abs(product) - whole >= 0.5), product))


def proved(real: float, reach: int, clamp: Clamp) -> int | None:
    m = quantize_multiplier(real)
    arrays = (np.array([m.value]), np.array([-m.shift]), np.array([real]), np.array([reach]))
    found = prove_once(*arrays, clamp)
    return None if found is None else int(found[0])


def assert_equal_at(accumulators: Iterable[int], value: int, real: float, clamp: Clamp) -> None:
    shift = -quantize_multiplier(real).shift
    for accumulator in accumulators:
        ours, theirs = once(accumulator, value, shift), in_double(accumulator, real)
        bounded = [min(max(v, clamp.low), clamp.high) for v in (ours, theirs)]
        assert bounded[0] == bounded[1], f"{accumulator} · {real.hex()}: {ours}, not {theirs}"


clamps = st.tuples(st.integers(-255, 255), st.integers(0, 255)).map(lambda ends: Clamp(ends[0], ends[0] + ends[1]))
reals = st.one_of(
    st.floats(2.0**-14, 40.0),
    st.integers(-14, 5).map(lambda e: 2.0**e),  # ties
    st.builds(lambda odd, e: odd * 2.0**-e, st.integers(1, 99), st.integers(4, 12)),  # ties between other fractions
)


@given(real=reals, reach=st.integers(0, 400), clamp=clamps)
def test_what_is_proved_is_equal_everywhere(real: float, reach: int, clamp: Clamp) -> None:
    value = proved(real, reach, clamp)
    assert value is not None, "so few accumulators always have a multiplier"
    assert_equal_at(range(-reach, reach + 1), value, real, clamp)


@given(data=st.data())
def test_what_is_proved_of_many_is_equal_around_every_step(data: st.DataObject) -> None:
    reach = data.draw(st.integers(2**16, 2**31 - 1))
    real = data.draw(st.one_of(st.floats(0.1, 2.0), st.sampled_from((0.5, 1.0)))) * 128 / reach
    clamp = data.draw(clamps)
    value = proved(real, reach, clamp)
    if value is not None:
        steps = (round((step - 0.5) / real) for step in range(clamp.low - 1, clamp.high + 2))
        near = {a + d for a in steps for d in range(-8, 9)} | {-reach, reach}
        assert_equal_at((a for a in near if abs(a) <= reach), value, real, clamp)


def test_some_networks_have_no_proof() -> None:
    [call] = lower(UNPROVED.graph(Numerics.LITERT), CORES["cortex-m0plus"]).calls
    assert call.context.tile == "real"  # type: ignore[attr-defined]
    assert proved(1.1 * 2.0**-23, 2**30, Clamp()) is None


def test_products_beyond_int32_are_not_proved() -> None:
    assert proved(3.7, 2**30, Clamp()) is None
