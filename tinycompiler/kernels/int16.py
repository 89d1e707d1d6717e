"""int16x8: kernels of operators whose activations are int16.

Sums are int32 where Σ|w| · 32768 + |bias| < 2^31 for every channel, which is proved here, else int64. From the sum to
int16 there are four forms:

    reduced:  (sum · M15 + 2^(right-1)) >> right, the references' 15-bit multiplier for int64 biases
    twice:    the 31-bit multiplier with two roundings, the references' for int32 biases
    wide:     a 63-bit multiplier, for LiteRT's FULLY_CONNECTED, where it is proved equal
    real:     LiteRT's own double arithmetic, where it is not

LiteRT's FULLY_CONNECTED computes round(sum · scale) in double. `wide` multiplies by the exact scale, so it can differ
only where sum · scale comes within 2^-29 or so of a half. `close_calls` finds all such sums in logarithmic time (which
multiples of a number lie in an interval modulo another), and each is compared; there are few or none. Instead of
comparing all 65,535 steps of the output, as the int8 kernels do with 255.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import frexp

import numpy as np

from tinycompiler.fixed_point import multiply_in_double, quantize_multiplier, reduced_multiplier
from tinycompiler.kernels.base import (
    Constant,
    Context,
    Field,
    Invocation,
    Kernel,
    Lowered,
    Site,
    round_up,
    window_fields,
    words,
)
from tinycompiler.kernels.depthwise import tap_weights
from tinycompiler.kernels.geometry import clamp_of, flat_weights, geometry
from tinycompiler.ops import Conv2D, DepthwiseConv2D, FullyConnected, Numerics, TransposeConv, int16
from tinycompiler.ops.base import Ints
from tinycompiler.ops.convolution import bias_of, constants, real_multipliers
from tinycompiler.ops.fully_connected import real_scales
from tinycompiler.tensor import Array, DType

OUTSIDE = 32769
"""Beyond this an output is clamped."""
CLOSE_CALLS = 64
"""So many sums are compared one by one; a channel with more is not proved."""


# Sums and how they become int16.


@dataclass(frozen=True, eq=False)
class Scaling:
    """Per output channel, what the tile reads before the weights; `sum` is "s32" or "s64"."""

    sum: str
    rounding: str
    header: Array
    """(channels, words)"""

    @property
    def variant(self) -> str:
        return f"{self.sum}_{self.rounding}"


def scaling(site: Site, weights: Ints) -> Scaling:
    """Of a convolution or FULLY_CONNECTED; `weights` are (channels, taps)."""
    channels, op = len(weights), site.op
    bias = bias_of(site.inputs, constants(site.inputs), channels)
    reach = int16.reach_of(weights, bias)
    total = "s32" if max(reach) < 2**31 else "s64"
    halves = [bias & 0xFFFFFFFF, bias >> 32]
    if isinstance(op, FullyConnected):
        reals = real_scales(site.inputs, site.outputs)
        if site.numerics is Numerics.LITERT:
            if all(is_proved(real, r) for real, r in zip(reals, reach, strict=True)):
                return Scaling(total, "wide", _header([*halves, *np.array([wide(real) for real in reals]).T]))
            doubles = np.array(reals, np.float64).view(np.uint32).reshape(channels, 2)
            return Scaling(total, "real", _header([*halves, *doubles.T]))
    else:
        reals = real_multipliers(site.inputs[0], site.inputs[1], site.outputs[0], channels)
    kind = DType.INT64
    if isinstance(op, Conv2D | FullyConnected | TransposeConv):
        kind = int16.accumulator(site.inputs, op.bias_type)
    chosen = [quantize_multiplier(real) for real in reals]
    if kind is DType.INT32:
        return Scaling(total, "twice", _header([*halves, [m.value for m in chosen], [-m.shift for m in chosen]]))
    chosen = [reduced_multiplier(m) for m in chosen]
    return Scaling(total, "reduced", _header([*halves, [m.value for m in chosen], [15 - m.shift for m in chosen]]))


def _header(columns: Sequence[Ints | Array | Sequence[int]]) -> Array:
    return np.column_stack([words(np.asarray(c)) for c in columns])


def with_weights(header: Array, weights: Ints, order: Sequence[int] = (0, 1, 2, 3)) -> Array:
    """The stream: each channel's header and its weights, padded to words; `order` of the bytes in a word."""
    channels, taps = weights.shape
    padded = np.zeros((channels, round_up(taps, 4)), np.int8)
    padded[:, :taps] = weights
    moved = np.ascontiguousarray(padded.reshape(channels, padded.shape[1] // 4, 4)[:, :, list(order)])
    return np.column_stack([header, moved.reshape(padded.shape).view(np.uint32)]).astype(np.uint32).ravel()


# The proof of `wide`.


def wide(real: float) -> tuple[int, int, int]:
    """(high word, right shift, low word) of the 63-bit multiplier that is exactly `real`."""
    fraction, exponent = frexp(real)
    whole = int(Fraction(fraction) * 2**63)
    return whole >> 32, 31 - exponent, whole & 0xFFFFFFFF


def scaled_wide(total: int, real: float) -> int:
    """What the tile computes."""
    high, right, low = wide(real)
    return (total * high + (total * low >> 32) + (1 << (right - 1)) - (total < 0)) >> right


def is_proved(real: float, reach: int) -> bool:
    """Whether `wide` equals round(sum · real) in double, after clamping to int16, for all |sum| <= reach."""
    right = wide(real)[1]
    if not 1 <= right <= 62 or (reach >= 2**31 and (2**31 - 1) * real < OUTSIDE):
        return False
    last = min(reach, int(OUTSIDE / real) + 1)  # monotonic: beyond it, both are clamped
    exact = Fraction(real)
    if exact.numerator.bit_length() <= 22:
        return True  # sum · real has 53 bits: double is exact, and so is a low word of zeros
    for number, magnitude in enumerate(close_calls(exact, Fraction(2, 1 << right) + Fraction(1, 1 << 37), last)):
        if number >= CLOSE_CALLS or not all(_agree(total, real) for total in (magnitude, -magnitude)):
            return False
    return True


def _agree(total: int, real: float) -> bool:
    ours, theirs = scaled_wide(total, real), int(multiply_in_double(np.array([total], np.int64), real)[0])
    return min(max(ours, -32768), 32767) == min(max(theirs, -32768), 32767)


def close_calls(real: Fraction, distance: Fraction, last: int) -> Iterator[int]:
    """All n in 1 … last for which n · real lies within `distance` of a half; in order."""
    modulus, step = real.denominator, real.numerator % real.denominator
    half = Fraction(modulus, 2)
    low, high = -(-(half - distance * modulus) // 1), (half + distance * modulus) // 1
    at = 1
    while low <= high and at <= last:
        offset = at * step
        further = first_multiple(step, modulus, (int(low) - offset) % modulus, (int(high) - offset) % modulus)
        if further is None or at + further > last:
            return
        at += further
        yield at
        at += 1


def first_multiple(step: int, modulus: int, low: int, high: int) -> int | None:
    """The least n >= 0 with n · step mod modulus in [low, high], an interval that may wrap around.

    >>> first_multiple(7, 10, 2, 2), first_multiple(4, 10, 1, 1)
    (6, None)
    """
    if low == 0 or low > high:
        return 0
    if step == 0:
        return None
    if 2 * step > modulus:
        step, low, high = modulus - step, modulus - high, modulus - low
    least = -(-low // step)
    if least * step <= high:
        return least
    turns = first_multiple(modulus % step, step, -high % step, -low % step)
    return None if turns is None else -(-(low + modulus * turns) // step)


# CONV_2D and FULLY_CONNECTED.


@dataclass(frozen=True)
class ConvContext16(Context):
    """Variables of kernels/conv_2d_s16.c.j2."""

    variant: str
    """Of the tile: the type of the sum, and its rounding."""
    pixels: int
    pointwise: bool
    kernel_height: int
    clamped: bool


class ConvScalar16(Kernel):
    """Runs everywhere; one pixel at a time."""

    name = "conv_2d_s16_scalar"
    template = "conv_2d_s16"
    ops = (Conv2D, FullyConnected)
    types = (DType.INT16,)
    pixels = 1
    order: tuple[int, ...] = (0, 1, 2, 3)

    def lower(self, site: Site) -> Lowered:
        g, clamp, weights = geometry(site), clamp_of(site.op), flat_weights(site)
        chosen = scaling(site, weights)
        pixels = min(self.pixels, g.out_w)
        clamped = not clamp.spans(DType.INT16)
        fields: dict[str, Field] = {
            "stream": Constant(with_weights(chosen.header, weights, self.order)),
            "out_w": g.out_w,
            "out_c": g.out_c,
            "in_c": g.in_c,
            "taps": g.taps,
        }
        if not g.pointwise:
            window, contiguous = g.window, g.window.dilation[1] == 1
            fields |= {
                "batches": g.batches,
                "in_h": g.in_h,
                "in_w": g.in_w,
                "out_h": g.out_h,
                **window_fields(window),
                "runs": 1 if contiguous else window.kernel[1],
                "run_pixels": window.kernel[1] if contiguous else 1,
            }
        if clamped:
            fields |= {"low": clamp.low, "high": clamp.high}
        return Lowered(
            inner=("requantize_s16", *(("real_s16",) * (chosen.rounding == "real")), f"tile_s16:{chosen.variant}"),
            context=ConvContext16(chosen.variant, pixels, g.pointwise, g.window.kernel[0], clamped),
            invocations=(Invocation((site.inputs[0].name, site.outputs[0].name), fields),),
            scratch=0 if g.pointwise else 2 * round_up(g.taps, 4) * pixels,
            floating_point="double" if chosen.rounding == "real" else "",
        )


class ConvDsp16(ConvScalar16):
    """Armv7E-M and Armv8-M with DSP: two pixels at a time, four taps by two SMLAD (SMLALD for int64 sums) each."""

    name = "conv_2d_s16_dsp"
    isa = "dsp"
    pixels = 2
    order = (0, 2, 1, 3)  # SXTB16 takes bytes 0 and 2, then 1 and 3


# DEPTHWISE_CONV_2D.


@dataclass(frozen=True)
class DepthwiseContext16(Context):
    """Variables of kernels/depthwise_conv_2d_s16.c.j2."""

    variant: str
    kernel_height: int
    kernel_width: int
    clamped: bool


class DepthwiseScalar16(Kernel):
    """Runs everywhere, any depth multiplier."""

    name = "depthwise_conv_2d_s16_scalar"
    template = "depthwise_conv_2d_s16"
    ops = (DepthwiseConv2D,)
    types = (DType.INT16,)

    def lower(self, site: Site) -> Lowered:
        op, x, y = site.op, site.inputs[0], site.outputs[0]
        assert isinstance(op, DepthwiseConv2D)
        weights = tap_weights(site)
        chosen, clamped = scaling(site, weights), not op.clamp.spans(DType.INT16)
        window = op.window
        (n, in_h, in_w, in_c), (_, out_h, out_w, out_c) = x.shape, y.shape
        fields: dict[str, Field] = {
            "stream": Constant(with_weights(chosen.header, weights)),
            "batches": n,
            "in_h": in_h,
            "in_w": in_w,
            "in_c": in_c,
            "out_h": out_h,
            "out_w": out_w,
            "multiplier": out_c // in_c,
            **window_fields(window),
        }
        if clamped:
            fields |= {"low": op.clamp.low, "high": op.clamp.high}
        return Lowered(
            inner=("requantize_s16", f"depthwise_s16:{chosen.sum}"),
            context=DepthwiseContext16(chosen.sum, *window.kernel, clamped),
            invocations=(Invocation((x.name, y.name), fields),),
            scratch=round_up(2 * in_c, 4),
        )
