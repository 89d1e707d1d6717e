"""CONV_2D and FULLY_CONNECTED whose weights are all within -8 and 7, in four bits each, on cores with DSP.

A half-word h = a + 16·b + 256·c + 4096·d holds the weights of four output channels, so one load brings eight of them.
Nothing is unpacked: h is multiplied as it is and, three times masked, with 12, 8 and 4 of its bits. Each of these sums
has one channel more than the next, 4096, 256 or 16 times as large: S_d = (H - P3) / 4096, S_c = (P3 - P2) / 256, and so
on, exactly, since sums may wrap and the differences fit. That takes |S_d| < 2^19, which is proved here from Σ|w|.

Chosen: fields of weights + 8 below the signed one, instead of signed ones, because a mask is one instruction and the
offset is the same 8·Σx for all channels: it is counted once per pixel, and sums begin with it. Instead of nibbles that
are widened to half-words (3.7 instructions per MAC in public kernels), because three masks serve sixteen MACs here.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinycompiler.kernels.base import Lowered, Site, words
from tinycompiler.kernels.convolution import ConvDsp, Geometry
from tinycompiler.kernels.requantize import Requantization, numbers_why_not, pad_channels
from tinycompiler.ops import Clamp
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array

LOWEST, HIGHEST = -8, 7
TOP_LIMIT = 2**19 // 128
"""Of Σ|w| of every fourth channel, whose sum is read 4096 times as large."""
SUMS = 8
"""Bytes of the sums of taps behind a column."""
RAISED = 2
"""Bits by which accumulators are held larger still than doubled, where some output would take no shift to the right.

So it often is where four bits serve all channels of a layer: their scale is large, and one rounding takes any shift.
"""


def is_raised(r: Requantization) -> bool:
    return r.rounding == "once" and bool((r.shift[~r.constant] < 1).any())


def is_shared(r: Requantization) -> bool:
    """Whether all channels have the same multiplier, as of weights with one scale."""
    return not r.constant.any() and bool((r.multiplier == r.multiplier[0]).all())


def fits_nibbles(weights: Array) -> bool:
    """Whether four bits hold every weight."""
    return bool(weights.min(initial=0) >= LOWEST and weights.max(initial=0) <= HIGHEST)


class ConvInt4(ConvDsp):
    """Armv7E-M and Armv8-M with DSP: two pixels by four channels, widened columns."""

    name = "conv_2d_s4_dsp"
    rival = True
    header = "tile_s4"
    shapes = ("tile_shape", "weave")
    woven = True

    def is_for(self, site: Site) -> bool:
        return super().is_for(site) and fits_nibbles(site.inputs[1].values)

    def numbers_why_not(self, weights: Ints, r: Requantization) -> str | None:
        held = replace(r, shift=r.shift + RAISED, reach=r.reach << RAISED) if is_raised(r) else r
        return numbers_why_not(held) or fours_why_not(weights, r)

    def scratch(self, g: Geometry, direct: bool, pixels: int) -> int:
        return super().scratch(g, direct, pixels) + SUMS

    def lower(self, site: Site) -> Lowered:
        return replace(super().lower(site), encoding="int4", bits=4)

    def tile(self, requantizations: Sequence[Requantization]) -> str:
        [r] = requantizations
        forms = {"raised": is_raised(r), "shared": is_shared(r)}
        return "_".join(["s4", r.kind, *(form for form, applies in forms.items() if applies)])

    def pack(self, weights: Ints, r: Requantization, zero_point: int, clamp: Clamp, tile: str) -> Array:
        """Per four channels: for every four taps the half-words (0,2), (1,3); of each channel M and bias · 256 +
        shift - 1, the shift of what is held; where all share M, once M, and then the others.
        """
        weights, *ends = pad_channels(weights, r, zero_point, clamp)
        bias, multiplier, shift = (np.pad(end, (0, -len(end) % 4), constant_values=1) for end in ends)
        each = (bias * 256 + shift - 1 + RAISED * is_raised(r)).reshape(-1, 4)
        if is_shared(r):
            tails = np.column_stack([np.full(len(each), multiplier[0]), each])
        else:
            tails = np.stack([multiplier.reshape(-1, 4), each], axis=2).reshape(len(each), -1)
        return np.column_stack([nibbles(weights), words(tails)]).astype(np.uint32).ravel()


def nibbles(weights: Ints) -> Array:
    """(channels, taps) as (channels / 4, words), both counts rounded up to multiples of 4."""
    padded = np.pad(weights, [(0, -size % 4) for size in weights.shape])
    a, b, c, d = (padded[channel::4] for channel in range(4))
    halves = (a + 8) + ((b + 8) << 4) + ((c + 8) << 8) + (d << 12)
    in_order = halves.reshape(len(halves), -1, 4)[..., [0, 2, 1, 3]].reshape(halves.shape)
    stream: Array = np.ascontiguousarray(in_order, np.int16).view(np.uint32)
    return stream


def fours_why_not(weights: Ints, r: Requantization) -> str | None:
    """What the tile asks of (channels, taps) weights of four bits beyond what pairs ask."""
    fourth = np.abs(weights[3::4]).sum(axis=1)
    if (fourth >= TOP_LIMIT).any():
        channel = 4 * int(np.argmax(fourth)) + 3
        return (
            f"output channel {channel} has Σ|w| = {int(fourth.max()):,}; every fourth channel needs below {TOP_LIMIT:,}"
        )
    if (np.abs(r.bias[~r.constant]) >= 2**23).any():
        channel = int(np.argmax(np.where(r.constant, 0, np.abs(r.bias))))
        return f"output channel {channel} has a bias of {int(r.bias[channel]):,}, of more than 24 bits"
    return None
