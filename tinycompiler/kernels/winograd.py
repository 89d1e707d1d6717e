"""3x3 CONV_2D of stride 1 by Winograd's F(2x2, 3x3), exactly, in integers.

Four outputs of a channel are 16 products of a transformed patch (4, 4) with a transformed kernel, summed over the input
channels, and not 36. The kernel's transform has halves in it; doubled in either dimension it is integral, at most 1,143
in magnitude, and the sum comes out four times as large. (Lavin and Gray, Fast Algorithms for Convolutional Neural
Networks, 2016; section 4.1.) Sums may wrap on the way: the result is right modulo 2^32, and it is proved to be smaller.

Two patches and two output channels share their loads, as in the tile of kernels/convolution.py. Weights take 3.6 bytes
each in place of one, so this is for boards with flash to spare. The transform of weights of few bits fits into a byte
(7 becomes 63 at most): then they are paired like those of the tile, which takes half of that, and two instructions more
for every ten but no more cycles, since what unpacks them is not loaded.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycompiler.kernels.base import Constant, Context, Field, Invocation, Kernel, Lowered, Site, words
from tinycompiler.kernels.geometry import clamp_of, flat_weights, geometry, one_group
from tinycompiler.kernels.order import by_strips
from tinycompiler.kernels.requantize import pad_channels, requantization
from tinycompiler.ops import Conv2D
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array, DType

KERNEL = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]], np.int64)
"""Twice the matrix G."""
MOST_PATCH = 512
"""The greatest magnitude of a transformed patch."""
MOST_GROUPS = 21
"""Of four input channels: the loop over them is unrolled, and places are reached by the offsets of STRD."""


@dataclass(frozen=True)
class WinogradContext(Context):
    """Variables of kernels/conv_winograd.c.j2."""

    groups: int
    """Of four input channels."""
    rounding: str
    """twice | once: see kernels/requantize.py."""
    products: str
    """Of kernels in half-words (products), or in bytes (paired)."""
    clamped: bool


def winograd_cost(site: Site) -> int:
    """Instructions, to within some 10 %: patches, products, outputs."""
    _, height, width, channels = site.outputs[0].shape
    groups, pairs = site.inputs[0].shape[3] // 4, -(-channels // 2)
    turns = -(-height // 2) * -(-width // 4)
    return turns * (2 * (60 + 195 * groups) + pairs * (16 * (10 * groups + 5) + 4 * 90 + 30))


def direct_cost(site: Site) -> int:
    """Instructions of the tile of kernels/convolution.py, likewise."""
    g = geometry(site)
    pixels, pairs = g.out_h * g.out_w, -(-g.out_c // 2)
    return pixels * (g.taps + 90) + pixels // 2 * pairs * (13 * -(-g.taps // 4) + 50)


class WinogradKernel(Kernel):
    """Armv7E-M and Armv8-M with DSP: two patches by two output channels."""

    template = "conv_winograd"
    isa = "dsp"
    ops = (Conv2D,)
    types = (DType.INT8,)
    products: ClassVar[str]
    """See WinogradContext."""

    def halves(self, places: Ints) -> Ints:
        """The stream's half-words (pairs, place, group, value) of transformed kernels (pairs, 2, place, group, 4)."""
        raise NotImplementedError

    def is_for(self, site: Site) -> bool:
        return super().is_for(site) and one_group(site)

    def why_not(self, site: Site) -> str | None:
        op, channels = site.op, site.inputs[0].shape[3]
        assert isinstance(op, Conv2D)
        window = op.window
        if window.kernel != (3, 3) or window.stride != (1, 1) or window.dilation != (1, 1):
            return f"the kernel is {window.kernel}, its stride {window.stride}; 3x3 of stride 1 is supported"
        if channels % 4 or channels > 4 * MOST_GROUPS:
            return f"there are {channels} input channels; multiples of 4 up to {4 * MOST_GROUPS} are supported"
        cost, other = winograd_cost(site), direct_cost(site)
        if cost >= other:
            return f"patch by patch it is no faster (about {cost:,} to {other:,} instructions)"
        if site.limit is not None and scratch_of(channels) > site.limit:
            return f"patches take {scratch_of(channels):,} bytes of scratch, and the budget leaves {site.limit:,}"
        return _numbers_why_not(site)

    def row_extra(self, site: Site) -> int:
        return max(0, direct_cost(site) - winograd_cost(site))

    def lower(self, site: Site) -> Lowered:
        op, x, y = site.op, site.inputs[0], site.outputs[0]
        assert isinstance(op, Conv2D)
        clamp = clamp_of(op)
        (n, in_h, in_w, in_c), (_, out_h, out_w, out_c) = x.shape, y.shape
        r = requantization(site, flat_weights(site), clamp)
        fields: dict[str, Field] = {
            "stream": Constant(self.pack(site)),
            "batches": n,
            "in_h": in_h,
            "in_w": in_w,
            "in_c": in_c,
            "out_h": out_h,
            "out_w": out_w,
            "out_c": out_c,
            "pad_top": op.window.padding.top,
            "pad_left": op.window.padding.left,
            "fill": x.zero_point,
        }
        if not clamp.is_natural:
            fields |= {"low": clamp.low, "high": clamp.high}
        groups = in_c // 4
        return Lowered(
            inner=("column", *(f"winograd:{v}" for v in (r.rounding, f"patch_{groups}", f"{self.products}_{groups}"))),
            context=WinogradContext(groups, r.rounding, self.products, not clamp.is_natural),
            invocations=(Invocation((x.name, y.name), fields),),
            scratch=scratch_of(in_c),
            order=by_strips(x, y, op.window, 2),
        )

    def pack(self, site: Site) -> Array:
        """Per pair A, B: the stream of `halves`; of A and B doubled biases, multipliers, rounding constants, shifts."""
        clamp, y = clamp_of(site.op), site.outputs[0]
        flat = flat_weights(site)
        r = requantization(site, flat, clamp)
        flat, bias, multiplier, shift = pad_channels(flat, r, y.zero_point, clamp)
        places = transformed(flat.reshape(len(flat), 3, 3, -1)).reshape(len(flat) // 2, 2, 16, -1, 4)
        stream = self.halves(places[..., [0, 2, 1, 3]]).astype(np.int16).reshape(len(flat) // 2, -1).view(np.uint32)
        constant = (1 + 2 * y.zero_point) << (shift - 1)
        tail = [words(v[i::2]) for v in (2 * bias, multiplier, constant, shift) for i in (0, 1)]
        packed: Array = np.column_stack([stream, *tail]).astype(np.uint32).ravel()
        return packed


class ConvWinograd(WinogradKernel):
    """Transformed kernels in half-words."""

    name = "conv_3x3_s8_winograd"
    products = "products"

    def halves(self, places: Ints) -> Ints:
        return places.transpose(0, 2, 3, 1, 4)


class ConvWinogradPaired(WinogradKernel):
    """Transformed kernels in bytes, two channels in a half-word."""

    name = "conv_3x3_s4_winograd"
    products = "paired"
    rival = True
    encoding = "bytes, transformed"

    def why_not(self, site: Site) -> str | None:
        why = super().why_not(site)
        if why is not None:
            return why
        places = np.abs(transformed(flat_weights(site).reshape(len(flat_weights(site)), 3, 3, -1)))
        if places.max(initial=0) > 127:
            return f"a transformed weight is {places.max()}; up to 127 are supported"
        if places.sum(axis=2).max(initial=0) * MOST_PATCH >= 2**23:
            return "some sum can reach 2^23, where two channels share a word"
        return None

    def halves(self, places: Ints) -> Ints:
        return places[:, 0] + 256 * places[:, 1]


def scratch_of(channels: int) -> int:
    """Bytes of two transformed patches, 64 products, and a patch at the border."""
    return 64 * channels + 256 + 16 * channels


def _numbers_why_not(site: Site) -> str | None:
    """What the output's rounding asks."""
    r = requantization(site, flat_weights(site), clamp_of(site.op))
    live = ~r.constant
    if r.rounding == "real":
        return "some channel's float requantization has no integer form that could be proved equal"
    if ((r.shift < 1) | (r.shift > 22))[live].any():
        return "some channel's right shift is outside 1 to 22"
    if (r.reach[live] >= 2**29).any():
        return "some accumulator can reach 2^29, and sums are four times as large"
    return None


def transformed(weights: Ints) -> Ints:
    """Kernels (out_c, 3, 3, in_c) as (out_c, 16, in_c)."""
    places: Ints = np.einsum("ik,okls,jl->oijs", KERNEL, weights, KERNEL).reshape(len(weights), 16, -1)
    return places
