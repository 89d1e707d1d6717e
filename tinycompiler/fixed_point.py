"""TFLite's integer arithmetic, as numpy functions on int64 arrays holding int32 values.

Source: the TFLite 8-bit quantization specification, and gemmlowp's fixed-point scheme ("Quantization and Training of
Neural Networks for Efficient Integer-Arithmetic-Only Inference", Jacob et al. 2018, section 2.2 and appendix B).
Values are exact: everything that would wrap in C is asserted not to, except where the reference itself wraps.
"""

import math
from dataclasses import dataclass
from functools import cache

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


def saturating_rounding_doubling_high_mul(a: Ints | int, b: Ints | int) -> Ints:
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


def _times(a: Ints | int, b: Ints | int) -> Ints:
    return saturating_rounding_doubling_high_mul(a, b)


def _shift_left_saturating(x: Ints, bits: Ints | int) -> Ints:
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
    """1 / (1 + a) for a in [0, 1], Q0 to Q0."""
    return _shift_left_saturating(_two_over_one_plus_x(a), 1)


def _two_over_one_plus_x(a: Ints) -> Ints:
    """2 / (1 + a) for a in [0, 1], Q0 to Q2: three Newton-Raphson steps."""
    forty_eight_over_17, minus_32_over_17, one_q2 = 1515870810, -1010580540, 1 << 29
    half_denominator = (a + ONE_Q0 + 1) >> 1
    x = forty_eight_over_17 + _times(half_denominator, minus_32_over_17)
    for _ in range(3):
        residue = one_q2 - _times(half_denominator, x)
        x = x + _shift_left_saturating(_times(x, residue), 2)
    return x


def logistic(a: Ints, integer_bits: int) -> Ints:
    """1 / (1 + exp(-a)), from Q(integer_bits) to Q0."""
    positive = one_over_one_plus_x(exp_on_negative_values(-np.abs(a), integer_bits))
    return np.where(a == 0, 1 << 30, np.where(a > 0, positive, ONE_Q0 - positive))


def tanh(a: Ints, integer_bits: int) -> Ints:
    """tanh(a), from Q(integer_bits) to Q0: with e = exp(-2|a|), (1 - e) / (1 + e) = 2 / (1 + e) - 1."""
    exponential = exp_on_negative_values(-np.abs(a), integer_bits + 1)  # the doubling is the point moved by one
    magnitude = _shift_left_saturating(_two_over_one_plus_x(exponential) - (1 << 29), 2)
    return np.sign(a) * magnitude


@cache
def reciprocal_square_root(x: int) -> Multiplier:
    """1 / √x for 1 <= x < 2^27, by five Newton-Raphson steps in Q3, after TFLite's GetInvSqrtQuantizedMultiplierExp."""
    if x == 1:
        return Multiplier(INT32_MAX, 0)
    one_q3, three_halves_q3, half_square_root_of_two = 1 << 28, (1 << 28) + (1 << 27), 1518500250
    pairs = (31 - x.bit_length()) // 2 - 1  # of bits to the left, until x is in [2^27, 2^29)
    source = np.array([x << (2 * pairs) >> 1], np.int64)
    half = rounding_divide_by_power_of_two(source, 1)
    root = np.array([one_q3], np.int64)
    for _ in range(5):
        cube = _shift_left_saturating(_times(_times(root, root), root), 6)
        root = _shift_left_saturating(_times(root, three_halves_q3) - _times(half, cube), 3)
    return Multiplier(int(_times(root, half_square_root_of_two)[0]), pairs - 11)


def _saturate(x: Ints) -> Ints:
    saturated: Ints = np.clip(x, INT32_MIN, INT32_MAX)
    return saturated


def bit_length(x: Ints) -> Ints:
    """Bits of 0 <= x < 2^53: 0 of 0, 1 of 1, 2 of 2 and 3."""
    return np.frexp(x.astype(np.float64))[1].astype(np.int64)


def log_x_for_x_greater_than_or_equal_to_1(a: Ints) -> Ints:
    """log(a) for a >= 1, from Q12 to Q5: log(2) · the exponent, and a rational function of the rest (log_softmax's).

    The exponent is taken of a or of a / sqrt(2), whichever leaves the rest nearer to 1; sums have one bit of headroom.
    """
    log_2, fourth_root_of_half, root_of_half = 1488522236, 1805811301, 1518500250
    alpha_n, alpha_d, alpha_i, alpha_f = 117049297, 127690142, 1057819769, 638450708
    quarter = 1 << 23  # Q6

    def exponent_q6(headroom: Ints) -> Ints:
        return _shift_left_saturating(12 - headroom, 25)

    headroom_a = 32 - bit_length(a)  # plus 1
    rest_a = _shift_left_saturating(_times(_shift_left_saturating(a, headroom_a - 1), root_of_half), 1)
    exponent_a = _saturate(exponent_q6(headroom_a) + quarter)
    headroom_b = 31 - bit_length(_times(a, root_of_half))
    rest_b = _shift_left_saturating(a, headroom_b)
    exponent_b = _saturate(exponent_q6(headroom_b) - quarter)
    rest, exponent = np.minimum(rest_a, rest_b), np.maximum(exponent_a, exponent_b)

    total = rest + fourth_root_of_half
    p = (total + 1) >> 1  # halves up: both are positive
    q = 2 * (rest - fourth_root_of_half)
    square = _times(q, q)
    numerator = _times(q, rest) + _times(_times(q, square), alpha_n)
    denominator = _times(p, alpha_i + q + _times(alpha_d, square)) + _times(alpha_f, q)  # minus 1
    reciprocal = one_over_one_plus_x(denominator)
    rational = _times(rounding_divide_by_power_of_two(numerator, 6), reciprocal)
    return _shift_left_saturating(_times(exponent, log_2) + rational, 1)


def inverse_square_root(a: Ints) -> tuple[Ints, Ints]:
    """(value, shift) with 1 / sqrt(a) near value · 2^(shift - 31), for int32 a >= 0: five Newton-Raphson steps in Q3.

    0 is taken for 1, as in GetInvSqrtQuantizedMultiplierExp.
    """
    # a power of 4 that brings a into [2^27, 2^29)
    length = bit_length(np.maximum(a, 2))
    pairs = (29 - length) // 2
    scaled = np.where(pairs >= 0, a << (2 * np.maximum(pairs, 0)), a >> (2 * np.maximum(-pairs, 0)))
    right = 11 - pairs
    half = rounding_divide_by_power_of_two(scaled >> 1, 1)
    x = np.full_like(a, 1 << 28)
    for _ in range(5):
        cube = _shift_left_saturating(_times(_times(x, x), x), 6)
        x = _shift_left_saturating(_times((1 << 28) + (1 << 27), x) - _times(half, cube), 3)
    x = _times(x, 1518500250)  # sqrt(1/2)
    small = a <= 1
    value = np.where(small, INT32_MAX, x << np.maximum(-right, 0))
    return value, np.where(small, 0, -np.maximum(right, 0))


LEAST_OF_Q4 = 2.0**-28
"""The least scale whose multiplier to Q4 is 1/2 or more, as a shift to the left needs."""


def to_q4(x: Ints, scale: float) -> tuple[int, Ints]:
    """The `input_radius` of Q4 at a scale of `LEAST_OF_Q4` or more, and scale · x in Q4 with x held inside it."""
    fraction, shift = math.frexp(scale * (1 << 27))
    radius = input_radius(4, shift)
    value = round_half_away(fraction * 2**31)
    return radius, multiply_by_quantized_multiplier(np.clip(x, -radius, radius), value, shift)


def input_radius(integer_bits: int, left_shift: int, total_bits: int = 31) -> int:
    """Largest |x| for which x · 2^left_shift still fits Q(integer_bits)."""
    return math.floor(((1 << integer_bits) - 1) * (1 << (total_bits - integer_bits)) / (1 << left_shift))


# Sixteen-bit activations.


def reduced_multiplier(m: Multiplier) -> Multiplier:
    """The multiplier rounded to 15 bits: `value · 2^(shift - 15)`."""
    return Multiplier((m.value + (1 << 15)) >> 16 if m.value < 0x7FFF0000 else 0x7FFF, m.shift)


def multiply_by_reduced_multiplier(x: Ints, value: Ints | int, shift: Ints | int) -> Ints:
    """x · value · 2^(shift - 15) for |x| < 2^47 and a `reduced_multiplier`, rounded once, halves up; shift <= 14."""
    right = 15 - np.asarray(shift, np.int64)
    scaled: Ints = (x * value + (np.int64(1) << (right - 1))) >> right
    return scaled


def interpolate(x: Ints, table: Ints) -> Ints:
    """int16 x in a table of 513 values over the whole of int16, straight lines between them, halves up."""
    index, offset = (x >> 7) + 256, x & 0x7F
    base = table[index]
    line: Ints = base + (((table[index + 1] - base) * offset + 64) >> 7)
    return line
