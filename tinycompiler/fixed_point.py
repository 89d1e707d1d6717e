"""TFLite's integer arithmetic, as numpy functions on int64 arrays holding int32 values.

Source: the TFLite 8-bit quantization specification, and gemmlowp's fixed-point scheme ("Quantization and Training of
Neural Networks for Efficient Integer-Arithmetic-Only Inference", Jacob et al. 2018, section 2.2 and appendix B).
Values are exact: everything that would wrap in C is asserted not to, except where the reference itself wraps.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


@dataclass(frozen=True)
class Multiplier:
    """A positive real as `value · 2^(shift - 31)`, value in [2^30, 2^31) or 0; a positive shift is to the left."""

    value: int
    shift: int


def round_half_away(x: float) -> int:
    """C's round(): halves go away from zero (Python's go to even)."""
    whole = math.floor(abs(x))
    return (whole + (abs(x) - whole >= 0.5)) * (1 if x >= 0 else -1)


def quantize_multiplier(real: float) -> Multiplier:
    """The nearest `Multiplier`; reals below 2^-32 become zero, as in TFLite's QuantizeMultiplier."""
    if real == 0.0:
        return Multiplier(0, 0)
    fraction, shift = math.frexp(real)
    value = round_half_away(fraction * 2**31)
    if value == 2**31:
        value, shift = value // 2, shift + 1
    return Multiplier(0, 0) if shift < -31 else Multiplier(value, shift)


def wrap_int32(x: Ints) -> Ints:
    """Two's complement wrap-around to 32 bits."""
    wrapped: Ints = ((x + 2**31) & 0xFFFFFFFF) - 2**31
    return wrapped


def saturating_rounding_doubling_high_mul(a: Ints, b: Ints | int) -> Ints:
    """round(a·b / 2^31), halves up; the one overflowing case (both INT32_MIN) saturates."""
    product = a * np.int64(b) if isinstance(b, int) else a * b
    high: Ints = np.minimum((product + (1 << 30)) >> 31, INT32_MAX)
    return high


def rounding_divide_by_power_of_two(x: Ints, exponent: Ints | int) -> Ints:
    """round(x / 2^exponent), halves away from zero."""
    exponent = np.asarray(exponent, np.int64)
    mask = (np.int64(1) << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    rounded: Ints = (x >> exponent) + ((x & mask) > threshold)
    return rounded


def multiply_by_quantized_multiplier(x: Ints, value: Ints | int, shift: Ints | int) -> Ints:
    """x · value · 2^(shift - 31), rounded twice; the left shift wraps at 32 bits as C's does."""
    shift = np.asarray(shift, np.int64)
    shifted = wrap_int32(x << np.maximum(shift, 0))
    return rounding_divide_by_power_of_two(saturating_rounding_doubling_high_mul(shifted, value), np.maximum(-shift, 0))


def multiply_in_double(x: Ints, real: NDArray[np.float64] | float) -> Ints:
    """round(x · real) in IEEE double, halves away from zero: LiteRT's FULLY_CONNECTED since 2.20."""
    product = x.astype(np.float64) * real
    magnitude = np.abs(product)
    whole = np.floor(magnitude)  # magnitude - whole is exact, magnitude + 0.5 is not
    rounded: Ints = (np.sign(product) * (whole + (magnitude - whole >= 0.5))).astype(np.int64)
    return rounded


# Transcendental functions on fixed-point values, after gemmlowp's fixedpoint.h. A value in Qm is an int32 `raw` that
# stands for raw · 2^(m - 31). Each function is exact with regard to that source: no float takes part.

ONE_Q0 = INT32_MAX
_EXP_BARREL = {-2: 1672461947, -1: 1302514674, 0: 790015084, 1: 290630308, 2: 39332535, 3: 720401, 4: 242}
"""exp(-2^k) in Q0 for each k."""


def _times(a: Ints, b: Ints | int) -> Ints:
    return saturating_rounding_doubling_high_mul(a, b)


def _shift_left_saturating(x: Ints, bits: int) -> Ints:
    shifted: Ints = np.clip(x << bits, INT32_MIN, INT32_MAX)
    return shifted


def _exp_between_minus_a_quarter_and_zero(a: Ints) -> Ints:
    """exp(a) for a in [-1/4, 0), Q0 to Q0: a Taylor polynomial around -1/8."""
    exp_of_minus_an_eighth, one_third = 1895147668, 715827883
    x = a + (1 << 28)
    x2 = _times(x, x)
    x3, x4 = _times(x2, x), _times(x2, x2)
    tail = rounding_divide_by_power_of_two(
        _times(rounding_divide_by_power_of_two(x4, 2) + x3, one_third) + x2,
        1,
    )
    return np.clip(exp_of_minus_an_eighth + _times(x + tail, exp_of_minus_an_eighth), INT32_MIN, INT32_MAX)


def exp_on_negative_values(a: Ints, integer_bits: int) -> Ints:
    """exp(a) for a <= 0, from Q(integer_bits) to Q0."""
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    a_mod_quarter = (a & (quarter - 1)) - quarter
    result = _exp_between_minus_a_quarter_and_zero(_shift_left_saturating(a_mod_quarter, integer_bits))
    remainder = a_mod_quarter - a
    for exponent, factor in _EXP_BARREL.items():
        if exponent < integer_bits:
            bit = (remainder >> (fraction_bits + exponent)) & 1
            result = np.where(bit == 1, _times(result, factor), result)
    return np.where(a == 0, ONE_Q0, result)


def one_over_one_plus_x(a: Ints) -> Ints:
    """1 / (1 + a) for a in [0, 1], Q0 to Q0: three Newton-Raphson steps in Q2."""
    forty_eight_over_17, minus_32_over_17, one_q2 = 1515870810, -1010580540, 1 << 29
    half_denominator = (a + ONE_Q0 + 1) >> 1
    x = forty_eight_over_17 + _times(half_denominator, minus_32_over_17)
    for _ in range(3):
        residue = one_q2 - _times(half_denominator, x)
        x = x + _shift_left_saturating(_times(x, residue), 2)
    return _shift_left_saturating(x, 1)


def logistic(a: Ints, integer_bits: int) -> Ints:
    """1 / (1 + exp(-a)), from Q(integer_bits) to Q0."""
    positive = one_over_one_plus_x(exp_on_negative_values(-np.abs(a), integer_bits))
    return np.where(a == 0, 1 << 30, np.where(a > 0, positive, ONE_Q0 - positive))


def input_radius(integer_bits: int, left_shift: int, total_bits: int = 31) -> int:
    """Largest |x| for which x · 2^left_shift still fits Q(integer_bits)."""
    return math.floor(((1 << integer_bits) - 1) * (1 << (total_bits - integer_bits)) / (1 << left_shift))
