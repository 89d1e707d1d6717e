"""CONV_2D and FULLY_CONNECTED on cores without DSP, where flash is short: two pixels in the halves of a word.

As kernels/conv_lanes.py, but it is the column that holds two values in a word, one of either pixel, and a weight stays
a byte: slower, since every weight is loaded by an instruction of its own, and none for one pixel alone.
"""

from dataclasses import dataclass

import numpy as np

from tinycompiler.kernels.base import Constant, Context, Invocation, Lowered, Site, round_up, words
from tinycompiler.kernels.conv_lanes import geometry_fields, lanes_why_not
from tinycompiler.kernels.convolution import RowKernel, by_tiles
from tinycompiler.kernels.geometry import clamp_of, flat_weights, geometry
from tinycompiler.kernels.requantize import Requantization, requantization
from tinycompiler.kernels.short_products import ShortProducts, short_products, why_not
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array


@dataclass(frozen=True)
class PixelsContext(Context):
    """Variables of kernels/conv_pixels.c.j2."""

    products: str
    """See short_products.Form."""
    pointwise: bool
    """The taps of a pixel are its own channels, one after another."""
    kernel_height: int
    odd: bool
    """So is the number of output channels."""
    clamped: bool
    rowwise: bool = False
    """One row of outputs, from row pointers."""
    signs: bool = False
    """Weights are signs: see kernels/conv_signs.py."""


class ConvPixels(RowKernel):
    """Runs everywhere; two output channels of two pixels."""

    name = "conv_2d_s8_pixels"
    template = "conv_pixels"

    def why_not(self, site: Site) -> str | None:
        g = geometry(site)
        if g.out_w < 2 or g.out_c < 2:
            return f"there are {g.out_w} pixels in a row and {g.out_c} output channels; 2 or more of both are supported"
        weights, why = flat_weights(site), site.no_room("a column takes", 4 * round_up(g.taps, 4))
        return why or lanes_why_not(weights) or why_not(site, requantization(site, weights, clamp_of(site.op)))

    def lower(self, site: Site) -> Lowered:
        g, clamp = geometry(site), clamp_of(site.op)
        x, y = site.inputs[0], site.outputs[0]
        weights = flat_weights(site)
        r = requantization(site, weights, clamp)
        products = short_products(site, r)
        assert products is not None
        context = PixelsContext(
            products=str(products.form),
            pointwise=g.pointwise,
            kernel_height=g.window.kernel[0],
            odd=g.out_c % 2 == 1,
            clamped=not clamp.is_natural,
        )
        fields = {"stream": Constant(pack(weights, r, products)), **geometry_fields(g, x.zero_point)}
        if context.clamped:
            fields |= {"low": clamp.low, "high": clamp.high}
        return Lowered(
            inner=("wide", "raise", f"products:{products.form}", f"pixels:{products.form}"),
            context=context,
            invocations=(Invocation((x.name, y.name), fields),),
            scratch=4 * round_up(g.taps, 4),
            order=by_tiles(site, g, together=2, apart=True),
        )


def pack(weights: Ints, r: Requantization, products: ShortProducts) -> Array:
    """Per two channels: biases; for every two taps two weights of either; either's requantization. A last odd channel
    comes with the one before it again.
    """
    channels, taps = weights.shape
    starts = np.minimum(np.arange(0, channels, 2), channels - 2)
    pairs = starts[:, np.newaxis] + np.arange(2)
    padded = np.zeros((channels, round_up(taps, 4)), np.int8)
    padded[:, :taps] = weights
    taken = padded[pairs].reshape(len(pairs), 2, -1, 2).transpose(0, 2, 1, 3)  # (pair, two taps, channel, tap)
    bytes_of = np.ascontiguousarray(taken).reshape(len(pairs), -1).view(np.uint32)
    tails = products.stream(pairs.ravel()).reshape(len(pairs), -1)
    stream: Array = np.column_stack([words(r.bias[pairs]), bytes_of, tails]).astype(np.uint32).ravel()
    return stream
