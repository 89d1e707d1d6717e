"""From an int32 accumulator to int8 in a few instructions, with the proof that it is the reference's result.

Two integer forms serve all kernels. With a multiplier M in [2^30, 2^31), a right shift s and the zero point z:

    twice:  ((round_up(acc·M / 2^31) + 2^(s-1) - (acc < 0)) >> s) + z    TFLite's double rounding, exact as it stands
    once:   ((acc·M + 2^(30+s)) >> (31+s)) + z                           one rounding

LiteRT's FULLY_CONNECTED computes round(acc · scale) in IEEE double. Chosen: the `once` form with an M near scale ·
2^(31+s), accepted only when it is *proved* equal over all reachable accumulators. Both functions never decrease, so
they are equal everywhere if they take each step at the same accumulator; there are at most 255 steps that a clamped
int8 output can show. Instead of: soft-float on the device (some 120 instructions an output). Because: the proof costs
the host milliseconds and nearly always succeeds; where it does not, kernels use the `real` form, which is the
reference's own double arithmetic.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tinycompiler.fixed_point import multiply_by_quantized_multiplier, multiply_in_double, quantize_multiplier
from tinycompiler.kernels.base import Site
from tinycompiler.ops import Clamp, FullyConnected, Numerics
from tinycompiler.ops.base import Ints
from tinycompiler.ops.convolution import bias_of, constants, multipliers, reach_of
from tinycompiler.ops.fully_connected import real_scales


@dataclass(frozen=True, eq=False)
class Requantization:
    """Per output channel: bias with the input's zero point folded in, multiplier, shift (right is positive),
    reachable |acc|.

    `real` holds the scales for the `real` rounding; `constant` marks channels whose weights are all zero; `positive`
    says that outputs below the zero point are clamped away, so that rounding twice needs no care of accumulators below
    zero: (round_up(acc·M / 2^31) + 2^(s-1)) >> s differs there only where both are below the zero point.
    """

    rounding: str
    bias: Ints
    multiplier: Ints
    shift: Ints
    reach: Ints
    real: tuple[float, ...]
    constant: NDArray[np.bool_]
    positive: bool

    @property
    def kind(self) -> str:
        """As kernels name it that make a difference of `positive`."""
        return "positive" if self.positive and self.rounding == "twice" else self.rounding

    @property
    def wide(self) -> bool:
        """Whether some bias has 24 bits or more, and so does not share a word with its shift."""
        return bool((np.abs(self.bias[~self.constant]) >= 2**23).any())


def requantization(site: Site, weights: Ints, clamp: Clamp) -> Requantization:
    """Of a convolution or fully connected node; `weights` are (channels, taps) in any tap order."""
    x, y = site.inputs[0], site.outputs[0]
    channels = len(weights)
    bias = bias_of(site.inputs, constants(site.inputs), channels)
    reach = reach_of(weights, bias, x.zero_point)
    folded = bias - x.zero_point * weights.sum(axis=1)
    constant = (weights == 0).all(axis=1)
    if isinstance(site.op, FullyConnected):
        real = real_scales(site.inputs, site.outputs)
        chosen = tuple(quantize_multiplier(s) for s in real)
    else:
        chosen = multipliers(x, site.inputs[1], y, channels)
        real = ()
    value = np.array([m.value for m in chosen], np.int64)
    shift = -np.array([m.shift for m in chosen], np.int64)
    rounding = "twice"
    if isinstance(site.op, FullyConnected) and not site.op.sparse and site.numerics is Numerics.LITERT:
        proved = prove_once(
            value, shift, np.array(real), reach, Clamp(clamp.low - y.zero_point, clamp.high - y.zero_point)
        )
        rounding, value = ("real", value) if proved is None else ("once", proved)
    positive = clamp.low >= y.zero_point and not site.plain
    return Requantization(rounding, folded, value, shift, reach, real, constant, positive)


def prove_once(value: Ints, shift: Ints, real: NDArray[np.float64], reach: Ints, clamp: Clamp) -> Ints | None:
    """Multipliers near `value` with which the `once` form equals round(acc·real) in double for all |acc| <= reach.

    `clamp` bounds the output before the zero point. None when some channel has no such multiplier. Kept, since every
    kernel that looks at a node asks for the same.
    """
    values, shifts, reaches = (np.asarray(array, np.int64).tobytes() for array in (value, shift, reach))
    return _proved_once(values, shifts, np.asarray(real, np.float64).tobytes(), reaches, clamp)


@lru_cache(maxsize=512)
def _proved_once(values: bytes, shifts: bytes, reals: bytes, farthest: bytes, clamp: Clamp) -> Ints | None:
    value, shift, reach = (np.frombuffer(data, np.int64) for data in (values, shifts, farthest))
    real = np.frombuffer(reals, np.float64)
    if ((shift < -30) | (shift > 31)).any() or (reach >= 2**31).any() or (reach * real >= 2**31 - 256).any():
        return None  # outside the arithmetic of `once`: in C its result is an int32
    steps = np.arange(clamp.low + 1, clamp.high + 1, dtype=np.int64)
    # each step's first accumulator, or the end of the reachable range that it lies beyond
    first = np.clip(first_accumulators(steps, real), -reach[:, None], reach[:, None] + 1)
    above, below = first > reach[:, None], first <= -reach[:, None]
    chosen, done = value.copy(), value == 0
    for nudge in (0, 1, -1, 2, -2, 3, -3):
        candidate = np.minimum(value + nudge, 2**31 - 1)
        reaches = once(first, candidate[:, None], shift[:, None]) >= steps
        early = once(first - 1, candidate[:, None], shift[:, None]) >= steps
        equal = ((reaches | above) & (~early | below)).all(axis=1)
        chosen = np.where(equal & ~done, candidate, chosen)
        done |= equal
    return chosen if done.all() else None


def first_accumulators(steps: Ints, real: NDArray[np.float64]) -> Ints:
    """(channels, steps): the least accumulator for which round(acc·real) reaches the step, clipped to ±2^33."""
    guess = np.ceil((steps[None, :] - 0.5) / real[:, None])
    guess = np.clip(guess, -(2.0**33), 2.0**33).astype(np.int64)
    lowest = guess + 2
    for offset in (1, 0, -1, -2):
        reached = multiply_in_double(guess + offset, real[:, None]) >= steps
        lowest = np.where(reached, guess + offset, lowest)
    return lowest


def once(accumulator: Ints, value: Ints, shift: Ints) -> Ints:
    """The `once` form without zero point, on Python-sized products (object-free: |acc| <= 2^33 times 2^31 needs 65
    bits).

    Accumulators are clipped to 32 bits first; the caller ignores those outside.
    """
    clipped = np.clip(accumulator, -(2**31), 2**31 - 1)
    right = 31 + shift
    half = np.where(right > 0, np.int64(1) << np.maximum(right - 1, 0), 0)
    result: Ints = (clipped * value + half) >> np.maximum(right, 0)
    return result


def pad_channels(weights: Ints, r: Requantization, zero_point: int, clamp: Clamp) -> tuple[Ints, Ints, Ints, Ints]:
    """(weights, bias, multiplier, shift) for an even number of channels.

    A channel without weights is made the constant that it is by a small bias, instead of one that could overflow when
    it is doubled: 2^30 · 8d / 2^32 is 2d, which a shift of 1 makes d above the zero point.
    """
    bias, multiplier, shift = r.bias, r.multiplier, r.shift
    if r.constant.any():
        value = (
            multiply_in_double(r.bias, np.array(r.real))
            if r.real and r.rounding == "once"
            else multiply_by_quantized_multiplier(r.bias, r.multiplier, -r.shift)
        )
        above = np.clip(value, clamp.low - zero_point, clamp.high - zero_point)
        bias = np.where(r.constant, 4 * above, bias)
        multiplier = np.where(r.constant, 2**30, multiplier)
        shift = np.where(r.constant, 1, shift)
    if len(weights) % 2:
        weights = np.vstack([weights, np.zeros((1, weights.shape[1]), np.int64)])
        bias, multiplier, shift = np.append(bias, 0), np.append(multiplier, 0), np.append(shift, 1)
    return weights, bias, multiplier, shift


def numbers_why_not(r: Requantization) -> str | None:
    """What the dsp tiles ask of every channel's numbers."""
    live = ~r.constant
    if r.rounding == "real":
        return "some channel's float requantization has no integer form that could be proved equal"
    if ((r.shift < 1) | (r.shift > 22))[live].any():
        channel = int(np.flatnonzero(live & ((r.shift < 1) | (r.shift > 22)))[0])
        return f"output channel {channel} needs a right shift of {int(r.shift[channel])}; 1 to 22 are supported"
    if (r.reach[live] >= 2**30).any():
        channel = int(np.flatnonzero(live & (r.reach >= 2**30))[0])
        reach = int(r.reach[channel])
        return f"output channel {channel} can reach {reach:,}, and accumulators are held doubled (limit 2^30)"
    return None


def pairs_why_not(weights: Ints, r: Requantization) -> str | None:
    """What the dsp tile asks of (channels, taps) weights that it pairs."""
    if (why := numbers_why_not(r)) is not None:
        return why
    second = np.abs(weights[1::2]).sum(axis=1)
    if (second * 128 >= 2**23).any():
        channel = 2 * int(np.argmax(second)) + 1
        return f"output channel {channel} has Σ|w| = {int(second.max()):,}; pairs of channels need below 65,536"
    if (weights[1::2] == -128).any():
        return "a weight of an odd output channel is -128, outside TFLite's symmetric range, and does not pair"
    return None
