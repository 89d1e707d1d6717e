"""CONV_2D and FULLY_CONNECTED whose weights are all +s or -s, s of each output channel's own: one bit for each weight.

Four values have sixteen sums with signs. They are computed once, for two pixels in the halves of a word, and every
output channel looks its own up by four bits of weights: three instructions for eight products, where kernels that
multiply take six. Chosen: this, instead of spreading bits to weights of a byte, which costs more than a byte's load.
The tables take 64 bytes of scratch for four taps, so that long sums are cut into pieces that share one table.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinycompiler.kernels.base import Constant, Invocation, Lowered, Site, round_up, words
from tinycompiler.kernels.conv_lanes import geometry_fields
from tinycompiler.kernels.conv_pixels import ConvPixels, PixelsContext
from tinycompiler.kernels.convolution import by_tiles
from tinycompiler.kernels.geometry import Geometry, clamp_of, flat_weights, geometry
from tinycompiler.kernels.requantize import Requantization, requantization
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array

MOST = 63
"""Fours of taps that share a table: sums of 252 int8 values fit in 16 bits."""
USUAL = 16
"""Of them even where that raises the peak."""


@dataclass(frozen=True)
class SignsContext(PixelsContext):
    """Variables of kernels/conv_pixels.c.j2; `products` is the rounding: see kernels/requantize.py."""


def magnitudes(weights: Ints) -> Ints | None:
    """s of each channel of (channels, taps) weights that are all +s or -s; None where some are not."""
    found: Ints = np.abs(weights[:, 0])
    return found if found.all() and (np.abs(weights) == found[:, np.newaxis]).all() else None


class ConvSigns(ConvPixels):
    """Runs everywhere; eight output channels of two pixels."""

    name = "conv_2d_s1_signs"
    rival = True
    encoding = "binary"
    bits = 1

    def is_for(self, site: Site) -> bool:
        return super().is_for(site) and magnitudes(flat_weights(site)) is not None

    def why_not(self, site: Site) -> str | None:
        return site.no_room("tables take", self.scratch(geometry(site), 1))

    @staticmethod
    def scratch(g: Geometry, most: int) -> int:
        """Bytes of a column, of tables for `most` times four taps, and of totals."""
        return 4 * round_up(g.taps, 4) + 64 * most + 8 * round_up(g.out_c, 8)

    def most(self, site: Site, g: Geometry) -> int:
        """Fours of taps that share a table, in pieces of nearly one length."""
        fours, room = -(-g.taps // 4), site.scratch(self.scratch(g, USUAL), self.scratch(g, MOST)) - self.scratch(g, 0)
        fitting = max(room // 64, 1)
        return -(-fours // -(-fours // fitting))

    def lower(self, site: Site) -> Lowered:
        g, clamp = geometry(site), clamp_of(site.op)
        x, y = site.inputs[0], site.outputs[0]
        weights = flat_weights(site)
        r, most = requantization(site, weights, clamp), self.most(site, g)
        context = SignsContext(
            products=r.rounding,
            pointwise=g.pointwise,
            kernel_height=g.window.kernel[0],
            odd=False,
            clamped=not clamp.is_natural,
            signs=True,
        )
        fields = {
            "stream": Constant(signs(weights, r, most)),
            **geometry_fields(g, x.zero_point),
            "spare": -g.taps % 4,
            "most": most,
            "zero_point": y.zero_point,
        }
        if context.clamped:
            fields |= {"low": clamp.low, "high": clamp.high}
        real = r.rounding == "real"
        return Lowered(
            inner=("requantize", *(("real",) * real), "wide", "raise", "signs", f"signs_tile:{r.rounding}"),
            context=context,
            invocations=(Invocation((x.name, y.name), fields),),
            scratch=self.scratch(g, most),
            floating_point="double" if real else "",
            order=by_tiles(site, g, together=2, apart=True),
        )


def signs(weights: Ints, r: Requantization, most: int) -> Array:
    """For every `most` fours of taps and every eight channels a word for each four, four bits of each channel; then s,
    bias, multiplier and shift (or the scale as a double) of each channel.
    """
    channels, taps = weights.shape
    scale = magnitudes(weights)
    assert scale is not None
    negative = np.zeros((round_up(channels, 8), round_up(taps, 4)), np.int64)
    negative[:channels, :taps] = weights < 0
    nibbles = (negative.reshape(len(negative), -1, 4) << np.arange(4)).sum(axis=2)
    eights = (nibbles.reshape(-1, 8, nibbles.shape[1]) << 4 * np.arange(8)[:, np.newaxis]).sum(axis=1)
    pieces = [eights[:, first : first + most].ravel() for first in range(0, eights.shape[1], most)]
    tails = np.column_stack([words(scale), words(r.bias), _roundings(r)])
    stream: Array = np.concatenate([words(np.concatenate(pieces)), tails.ravel()]).astype(np.uint32)
    return stream


def _roundings(r: Requantization) -> NDArray[np.uint32]:
    """(channels, 2)."""
    if r.rounding == "real":
        return np.array(r.real, np.float64).view(np.uint32).reshape(-1, 2)
    return np.column_stack([words(r.multiplier), words(r.shift)]).astype(np.uint32)
