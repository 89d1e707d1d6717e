"""The fixed-point functions against twins in Python's own integers and fractions, which have no width to overflow."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tinycompiler import fixed_point as fp

MIN, MAX = -(2**31), 2**31 - 1
EDGES = (MIN, MIN + 1, -(2**30), -1, 0, 1, 2**30 - 1, 2**30, MAX - 1, MAX)

int32s = st.one_of(st.sampled_from(EDGES), st.integers(MIN, MAX), st.integers(-1000, 1000))
multipliers = st.one_of(st.sampled_from((0, 2**30, MAX)), st.integers(2**30, MAX))


def array(*values: int) -> fp.Ints:
    return np.array(values, np.int64)


def half_up(x: Fraction) -> int:
    return math.floor(x + Fraction(1, 2))


def half_away(x: Fraction) -> int:
    return half_up(x) if x >= 0 else -half_up(-x)


def wrapped(x: int) -> int:
    return (x - MIN) % 2**32 + MIN


def high_mul(a: int, b: int) -> int:
    return min(half_up(Fraction(a * b, 2**31)), MAX)


def twice(x: int, value: int, shift: int) -> int:
    raised = wrapped(x * 2 ** max(shift, 0))
    return half_away(Fraction(high_mul(raised, value), 2 ** max(-shift, 0)))


@given(st.floats(-1e15, 1e15))
def test_round_half_away(x: float) -> None:
    assert fp.round_half_away(x) == half_away(Fraction(x))


@pytest.mark.parametrize(
    ("x", "rounded"),
    [(0.5, 1), (-0.5, -1), (1.5, 2), (2.5, 3), (-2.5, -3), (0.49999999999999994, 0), (2.0**52 + 1, 2**52 + 1)],
)
def test_halves_go_away_from_zero(x: float, rounded: int) -> None:
    assert fp.round_half_away(x) == rounded


@given(st.one_of(st.floats(2.0**-40, 2.0**20), st.integers(-40, 20).map(lambda e: 2.0**e)))
def test_quantize_multiplier_is_the_nearest(real: float) -> None:
    m = fp.quantize_multiplier(real)
    if m.value == 0:
        assert real < 2.0**-32
        return
    assert 2**30 <= m.value < 2**31
    assert m.shift >= -31
    exact = Fraction(real) * 2**31 / Fraction(2) ** m.shift
    assert abs(exact - m.value) <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("real", "value", "shift"),
    [
        (0.0, 0, 0),
        (1.0, 2**30, 1),
        (0.5, 2**30, 0),
        (math.nextafter(1.0, 0.0), 2**30, 1),  # rounds up to 2^31, which is halved
        (2.0**-32, 2**30, -31),
        (math.nextafter(2.0**-32, 0.0), 2**30, -31),
        (2.0**-33, 0, 0),
    ],
)
def test_quantize_multiplier_at_its_ends(real: float, value: int, shift: int) -> None:
    assert fp.quantize_multiplier(real) == fp.Multiplier(value, shift)


@given(st.integers(-(2**62), 2**62))
def test_wrap_int32(x: int) -> None:
    assert fp.wrap_int32(array(x)) == wrapped(x)


@given(a=int32s, b=int32s)
def test_saturating_rounding_doubling_high_mul(a: int, b: int) -> None:
    assert fp.saturating_rounding_doubling_high_mul(array(a), b) == high_mul(a, b)
    assert fp.saturating_rounding_doubling_high_mul(array(a), array(b)) == high_mul(a, b)


@given(x=int32s, exponent=st.integers(0, 31))
def test_rounding_divide_by_power_of_two(x: int, exponent: int) -> None:
    assert fp.rounding_divide_by_power_of_two(array(x), exponent) == half_away(Fraction(x, 2**exponent))


@given(x=int32s, value=multipliers, shift=st.integers(-31, 30))
def test_multiply_by_quantized_multiplier(x: int, value: int, shift: int) -> None:
    assert fp.multiply_by_quantized_multiplier(array(x), value, shift) == twice(x, value, shift)


@given(st.lists(st.tuples(int32s, multipliers, st.integers(-31, 30)), min_size=1, max_size=9))
def test_multipliers_of_many_channels(rows: list[tuple[int, int, int]]) -> None:
    x, value, shift = (array(*column) for column in zip(*rows, strict=True))
    assert fp.multiply_by_quantized_multiplier(x, value, shift).tolist() == [twice(*row) for row in rows]


@given(x=int32s, real=st.one_of(st.floats(2.0**-40, 2.0**20), st.integers(-20, 4).map(lambda e: 2.0**e)))
def test_multiply_in_double(x: int, real: float) -> None:
    product = x * real  # Python's float is the IEEE double that is meant
    assert fp.multiply_in_double(array(x), real) == half_away(Fraction(product))


# The transcendental functions: against gemmlowp's steps in Python's integers, and against what they approximate.


def saturated(x: int) -> int:
    return min(max(x, MIN), MAX)


def exp_twin(a: int, integer_bits: int) -> int:
    if a == 0:
        return MAX
    fraction_bits = 31 - integer_bits
    quarter = 2 ** (fraction_bits - 2)
    a_mod_quarter = a % quarter - quarter
    x = saturated(a_mod_quarter * 2**integer_bits) + 2**28
    x2 = high_mul(x, x)
    x3, x4 = high_mul(x2, x), high_mul(x2, x2)
    tail = half_away(Fraction(high_mul(half_away(Fraction(x4, 4)) + x3, 715827883) + x2, 2))
    result = saturated(1895147668 + high_mul(x + tail, 1895147668))
    remainder = a_mod_quarter - a
    for exponent in range(-2, integer_bits):
        if remainder // 2 ** (fraction_bits + exponent) % 2:
            result = high_mul(result, half_up(Fraction(math.exp(-(2.0**exponent))) * 2**31))
    return result


def one_over_twin(a: int) -> int:
    half_denominator = half_away(Fraction(a + MAX, 2))
    x = 1515870810 + high_mul(half_denominator, -1010580540)
    for _ in range(3):
        x += saturated(high_mul(x, 2**29 - high_mul(half_denominator, x)) * 4)
    return saturated(2 * x)


def logistic_twin(a: int, integer_bits: int) -> int:
    if a == 0:
        return 2**30
    positive = one_over_twin(exp_twin(-abs(a), integer_bits))
    return positive if a > 0 else MAX - positive


negatives = st.one_of(st.sampled_from((MIN, MIN + 1, -1, 0)), st.integers(MIN, 0))


@given(a=negatives, integer_bits=st.sampled_from((4, 5)))
def test_exp_on_negative_values(a: int, integer_bits: int) -> None:
    found = int(fp.exp_on_negative_values(array(a), integer_bits)[0])
    assert found == exp_twin(a, integer_bits)
    assert found / 2**31 == pytest.approx(math.exp(a / 2 ** (31 - integer_bits)), abs=1e-6)


@given(st.one_of(st.sampled_from((0, 1, MAX - 1, MAX)), st.integers(0, MAX)))
def test_one_over_one_plus_x(a: int) -> None:
    found = int(fp.one_over_one_plus_x(array(a))[0])
    assert found == one_over_twin(a)
    assert found / 2**31 == pytest.approx(1 / (1 + a / 2**31), abs=1e-7)


@given(a=int32s, integer_bits=st.just(4))
def test_logistic(a: int, integer_bits: int) -> None:
    assume(a > MIN)  # its magnitude is no int32; callers stay within `input_radius`
    found = int(fp.logistic(array(a), integer_bits)[0])
    assert found == logistic_twin(a, integer_bits)
    assert found / 2**31 == pytest.approx(1 / (1 + math.exp(-a / 2 ** (31 - integer_bits))), abs=1e-6)


@given(integer_bits=st.sampled_from((4, 5)), left_shift=st.integers(0, 31))
def test_input_radius_is_the_greatest_that_fits(integer_bits: int, left_shift: int) -> None:
    """By the definition in TFLite: floor((2^m - 1) · 2^(31 - m) / 2^shift)."""
    radius = fp.input_radius(integer_bits, left_shift)
    limit = (2**integer_bits - 1) * 2 ** (31 - integer_bits)
    assert radius * 2**left_shift <= limit < (radius + 1) * 2**left_shift


def test_constants_of_the_exponential() -> None:
    for exponent, factor in fp._EXP_BARREL.items():
        assert abs(factor - math.exp(-(2.0**exponent)) * 2**31) <= 1
