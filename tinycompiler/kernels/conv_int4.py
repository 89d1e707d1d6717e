"""CONV_2D and FULLY_CONNECTED whose weights are all within -8 and 7, in four bits each, on cores with DSP; or in two.

A half-word h = a + 16·b + 256·c + 4096·d holds the weights of four output channels, so one load brings eight of them.
Nothing is unpacked: h is multiplied as it is and, three times masked, with 12, 8 and 4 of its bits. Each of these sums
has one channel more than the next, 4096, 256 or 16 times as large: S_d = (H - P3) / 4096, S_c = (P3 - P2) / 256, and so
on, exactly, since sums may wrap and the differences fit. That takes |S_d| < 2^19, which is proved here from Σ|w|. Two
bits a weight, within -2 and 1, are the same with eight channels in a half-word.

Chosen: fields of weights + 8 below the signed one, instead of signed ones, because a mask is one instruction and the
offset is the same 8·Σx for all channels: it is counted once per pixel, and sums begin with it. Instead of nibbles that
are widened to half-words (3.7 instructions per MAC in public kernels), because three masks serve sixteen MACs here.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinycompiler.kernels.base import Site, words
from tinycompiler.kernels.convolution import ConvDsp
from tinycompiler.kernels.geometry import Geometry
from tinycompiler.kernels.requantize import Requantization, numbers_why_not, pad_channels
from tinycompiler.ops import Clamp
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array

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


def fits(weights: Array, bits: int) -> bool:
    """Whether so many bits hold every weight."""
    return bool(weights.min(initial=0) >= -(2 ** (bits - 1)) and weights.max(initial=0) < 2 ** (bits - 1))


class FieldsKernel(ConvDsp):
    """Armv7E-M and Armv8-M with DSP: weights in fields of half-words, widened columns."""

    rival = True
    shapes = ("tile_shape", "weave")
    woven = True

    def is_for(self, site: Site) -> bool:
        return super().is_for(site) and fits(site.inputs[1].values, self.bits)

    def numbers_why_not(self, weights: Ints, r: Requantization) -> str | None:
        held = replace(r, shift=r.shift + RAISED, reach=r.reach << RAISED) if is_raised(r) else r
        return numbers_why_not(held) or fields_why_not(weights, r, self.bits)

    def scratch(self, g: Geometry, direct: bool, pixels: int) -> int:
        return super().scratch(g, direct, pixels) + SUMS

    def tile(self, requantizations: Sequence[Requantization]) -> str:
        [r] = requantizations
        forms = {"raised": is_raised(r), "shared": is_shared(r)}
        return "_".join([f"s{self.bits}", r.kind, *(form for form, applies in forms.items() if applies)])

    def pack(self, weights: Ints, r: Requantization, zero_point: int, clamp: Clamp, tile: str) -> Array:
        """Per four channels (or eight): for every four taps the half-words (0,2), (1,3); of each channel M and bias ·
        256 + shift - 1, the shift of what is held; where all share M, once M, and then the others.
        """
        weights, *ends = pad_channels(weights, r, zero_point, clamp)
        count = 16 // self.bits
        bias, multiplier, shift = (np.pad(end, (0, -len(end) % count), constant_values=1) for end in ends)
        each = (bias * 256 + shift - 1 + RAISED * is_raised(r)).reshape(-1, count)
        if is_shared(r):
            tails = np.column_stack([np.full(len(each), multiplier[0]), each])
        else:
            tails = np.stack([multiplier.reshape(-1, count), each], axis=2).reshape(len(each), -1)
        return np.column_stack([fields(weights, self.bits), words(tails)]).astype(np.uint32).ravel()


class ConvInt4(FieldsKernel):
    """Two pixels by four channels."""

    name = "conv_2d_s4_dsp"
    header = "tile_s4"
    encoding = "int4"
    bits = 4


class ConvInt2(FieldsKernel):
    """One pixel by eight channels: as many instructions for a weight, but the pixels of a pair do not share masks."""

    name = "conv_2d_s2_dsp"
    header = "tile_s2"
    encoding = "int2"
    bits = 2
    pixels = 1


def fields(weights: Ints, bits: int) -> Array:
    """(channels, taps) as (groups of 16 / bits channels, words), both counts rounded up, taps to a multiple of 4."""
    count = 16 // bits
    padded = np.pad(weights, [(0, -len(weights) % count), (0, -weights.shape[1] % 4)])
    halves = sum((padded[at::count] + (2 ** (bits - 1) if at < count - 1 else 0)) << (bits * at) for at in range(count))
    in_order = np.asarray(halves).reshape(-1, padded.shape[1] // 4, 4)[..., [0, 2, 1, 3]].reshape(-1, padded.shape[1])
    stream: Array = np.ascontiguousarray(in_order, np.int16).view(np.uint32)
    return stream


def limits(bits: int) -> list[int]:
    """What Σ|w| of a channel has to be below, by its place in a half-word: its sum is read so much larger."""
    return [2 ** (31 - bits * place) // 128 for place in range(16 // bits)]


def fields_why_not(weights: Ints, r: Requantization, bits: int) -> str | None:
    """What the tile asks of (channels, taps) weights beyond what all tiles do."""
    sums, count = np.abs(weights).sum(axis=1), 16 // bits
    most = np.resize(limits(bits), len(sums))
    if (sums >= most).any():
        channel = int(np.argmax(sums >= most))
        place = f"as number {channel % count + 1} of {count} in a half-word"
        return f"output channel {channel} has Σ|w| = {int(sums[channel]):,}; {place} it needs below {most[channel]:,}"
    if r.wide:
        channel = int(np.argmax(np.where(r.constant, 0, np.abs(r.bias))))
        return f"output channel {channel} has a bias of {int(r.bias[channel]):,}, of more than 24 bits"
    return None
