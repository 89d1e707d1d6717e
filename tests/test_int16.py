"""int16x8: references against the judges, the emitted C against the references, and the proofs."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import models_int16 as models
from tests.draws import Case, Pattern, seeds
from tests.draws_int16 import STRATEGIES_INT16
from tests.programs import drawn
from tests.test_kernels import check_on_board, check_on_host
from tests.test_ops import check
from tinycompiler.board import CORES
from tinycompiler.errors import ModelError
from tinycompiler.fixed_point import multiply_in_double
from tinycompiler.kernels import lower
from tinycompiler.kernels.int16 import close_calls, is_proved, scaled_wide
from tinycompiler.ops import Numerics

PROFILES = pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)


@pytest.mark.slow
@PROFILES
@pytest.mark.parametrize("operator", STRATEGIES_INT16)
@given(data=st.data(), seed=seeds)
def test_bytes_are_the_judges(data: st.DataObject, seed: int, operator: str, numerics: Numerics) -> None:
    check(data.draw(STRATEGIES_INT16[operator]), numerics, seed)


SCALE = {"per_channel": False, "input_scale": 2.0**-12, "weight_scale": 2.0**-8}
LIMITS: tuple[Case, ...] = (
    # int32 sums at their limit: 515 · 127 · 32768 < 2^31 <= 516 · 127 · 32768 + bias
    *(
        Case(
            models.fully_connected_int16,
            taps,
            {
                "shape": (1 + taps % 3, taps),
                "units": 3,
                "weights": Pattern(pattern, (3, taps)),
                "biases": Pattern("small bias", (3,)),
                "bias_type": kind,
                **SCALE,
                "output_scale": 2.0**-6,
            },
        )
        for taps in (1, 2, 3, 4, 5, 15, 16, 17, 33, 515, 516, 517)
        for pattern, kind in (("all 127", "int64"), ("all -127", "int32"), ("alternating", "int64"))
        if kind == "int64" or taps < 516
    ),
    # halves between two steps, and multipliers without an int32 form
    *(
        Case(
            models.fully_connected_int16,
            1,
            {"shape": (2, 9), "units": 4, "weights": Pattern("small", (4, 9)), **SCALE, "output_scale": scale},
        )
        for scale in (2.0**-20, 2.0**-17, 2.0**-14, 2.0**-19 / 3, 2.0**8)
    ),
    Case(
        models.fully_connected_int16,
        2,
        {"shape": (1, 600), "units": 3, "weights": Pattern("all 127", (3, 600)), **SCALE, "output_scale": 2.0},
    ),
    *(
        Case(models.conv_2d_int16, width, {"shape": (2, 3, width, c), "filters": 5, "kernel": (3, 2), "stride": (1, 2)})
        for width, c in ((1, 1), (2, 3), (5, 4), (8, 5))
    ),
    Case(models.conv_2d_int16, 1, {"shape": (2, 3, 5, 7), "filters": 3, "kernel": (1, 1)}),
    # strides beyond the kernel leave phases without taps; images of one column; an odd last pixel of a phase
    *(
        Case(
            models.transpose_conv_int16,
            width,
            {"shape": (2, 3, width, c), "kernel": kernel, "stride": (2, 3), "padding": padding, "less": (1, 2)},
        )
        for width, c, kernel, padding in ((1, 1, (3, 3), "SAME"), (4, 3, (1, 2), "VALID"), (5, 4, (4, 5), "SAME"))
    ),
    # int64 sums
    *(
        Case(
            models.depthwise_conv_2d_int16,
            m,
            {
                "shape": (1, 4, 5, 3),
                "multiplier": m,
                "biases": Pattern("bias 2^33", (3 * m,)),
                **SCALE,
                "output_scale": 2.0,
            },
        )
        for m in (1, 2)
    ),
    *(
        Case(
            make,
            1,
            {"shape": (1, 4, 5, 60), "filters": 3, "weights": Pattern("all -127", (3, 3, 3, 60)), "per_channel": False},
        )
        for make in (models.conv_2d_int16, models.transpose_conv_int16)
    ),
)


def cases(count: int, start: int) -> list[Case]:
    return [case for strategy in STRATEGIES_INT16.values() for case in drawn(strategy, count, start=start)]


@pytest.mark.slow
@PROFILES
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4f"])
def test_networks_on_the_host(core: str, numerics: Numerics, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check_on_host([*LIMITS, *cases(6, 7)], core, numerics, tmp_path, capfd)


def divides_floats(case: Case) -> bool:
    return case.make is models.quantize_int16 and case.told.get("source", "float32") == "float32"


@pytest.mark.emulator
@PROFILES
@pytest.mark.parametrize("board", ["nucleo_l4r5zi", "rpi_pico"])
def test_networks_on_boards(board: str, numerics: Numerics) -> None:
    check_on_board([case for case in (*LIMITS, *cases(4, 11)) if not divides_floats(case)], board, numerics)


# The proof that a multiplication in double is one of integers.

reals = st.one_of(
    st.floats(2.0**-20, 2.0**-3),
    st.builds(lambda odd, e: odd * 2.0**-e, st.integers(1, 999), st.integers(8, 24)),  # ties
    st.builds(lambda a, b: float(Fraction(a, b)), st.integers(1, 99), st.integers(10**3, 10**6)),
)


@pytest.mark.slow
@given(real=reals, seed=seeds)
def test_what_is_proved_is_equal(real: float, seed: int) -> None:
    if not is_proved(real, 2**31 - 1):
        return
    near = np.random.default_rng(seed).integers(-40000, 40000, 300)
    for total in (round((step + 0.5) / real) + d for step in near.tolist() for d in (-1, 0, 1)):
        if abs(total) < 2**31:
            theirs = int(multiply_in_double(np.array([total], np.int64), real)[0])
            assert np.clip(scaled_wide(total, real), -32768, 32767) == np.clip(theirs, -32768, 32767), total


@given(
    real=st.fractions(Fraction(1, 3000), 3, max_denominator=5000),
    distance=st.fractions(0, Fraction(1, 9), max_denominator=999),
)
def test_all_close_calls_are_found(real: Fraction, distance: Fraction) -> None:
    half = Fraction(1, 2)
    wanted = [n for n in range(1, 400) if abs(n * real % 1 - half) <= distance]
    assert list(close_calls(real, distance, 399)) == wanted


def test_common_networks_are_proved_and_ties_are_too() -> None:
    for seed, told in enumerate(({}, {**SCALE, "output_scale": 2.0**-14}, {"shape": (1, 900), "units": 40})):
        graph = Case(models.fully_connected_int16, seed, told).graph(Numerics.LITERT)
        [call] = lower(graph, CORES["cortex-m4f"]).calls
        assert "wide" in call.context.variant  # type: ignore[attr-defined]


# What is refused.

REFUSALS = {
    "the reference overflows": (
        models.conv_2d_int16,
        {
            "shape": (1, 1, 1, 520),
            "kernel": (1, 1),
            "bias_type": "int32",
            "weights": Pattern("all 127", (4, 1, 1, 520)),
        },
        "int32 accumulator",
    ),
    "too fine an output": (models.mul_int16, {"scales": (1.0, 1.0), "output_scale": 0.5}, "products of int16"),
    "sums": (models.add_int16, {"scales": (1.0, 1.0), "output_scale": 2.0**-14}, "too small for a sum"),
    "differences": (models.sub_int16, {"scales": (1.0, 1.0), "output_scale": 2.0**-14}, "too small for a sum"),
    "weights spread too far": (
        models.transpose_conv_int16,
        {
            "shape": (1, 1, 1, 520),
            "kernel": (1, 1),
            "bias_type": "int32",
            "weights": Pattern("all 127", (4, 1, 1, 520)),
        },
        "int32 accumulator",
    ),
    "curve": (models.logistic_int16, {"input_scale": 6.0}, "below 5.33"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_refusals_say_why(what: str) -> None:
    make, told, words = REFUSALS[what]
    with pytest.raises(ModelError, match=words):
        Case(make, 1, told).graph(Numerics.LITERT)


@pytest.mark.parametrize("make", [models.add_int16, models.sub_int16])
def test_shifted_sums_of_other_scales_are_refused_by_litert_alone(make: Callable[..., bytes]) -> None:
    case = Case(make, 1, {"pot": True, "scales": (2.0**-12, 2.0**-12), "output_scale": 2.0**-11})
    with pytest.raises(ModelError, match="powers of two"):
        case.graph(Numerics.LITERT)
    case.graph(Numerics.TFLM)


def test_an_int32_bias_of_a_transposed_convolution_is_for_litert_alone() -> None:
    case = Case(models.transpose_conv_int16, 1, {"bias_type": "int32"})
    case.graph(Numerics.LITERT)
    with pytest.raises(ModelError, match="does not run TRANSPOSE_CONV of int16 with an int32 bias"):
        case.graph(Numerics.TFLM)


def test_a_bias_that_the_file_is_silent_about_is_refused_by_litert() -> None:
    """It would read an int32 bias as int64."""
    case = Case(models.transpose_conv_int16, 1, {"bias_type": "int32", "said": False})
    with pytest.raises(ModelError, match="does not say so in quantized_bias_type"):
        case.graph(Numerics.LITERT)
