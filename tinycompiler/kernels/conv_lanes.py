"""CONV_2D and FULLY_CONNECTED on cores without DSP: two weights in the halves of a word, so that one MUL does two MACs.

W = wA + 65536·wB, of two output channels of a pair. P = x·W + x'·W' of two taps holds two sums of 16 bits each. T sums
P, H sums P's upper halves (rounded, since a negative lower half has borrowed one); H is the sum of B, T - 65536·H that
of A, both exactly and in 32 bits. Two pairs share the loads of x.

A column is the pixel's taps, widened to int32 where the scratch may be had, so that LDM loads several; else as int8, or
where the input's bytes lie that way already, the input itself. Outputs are scaled by kernels/short_products.py.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycompiler.kernels.base import (
    Constant,
    Context,
    Field,
    Invocation,
    Lowered,
    Site,
    quads,
    round_up,
    window_fields,
    words,
)
from tinycompiler.kernels.convolution import RowKernel, by_tiles
from tinycompiler.kernels.geometry import Geometry, clamp_of, flat_weights, geometry
from tinycompiler.kernels.requantize import Requantization, requantization
from tinycompiler.kernels.short_products import ShortProducts, short_products, why_not
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array

SCRATCH = 1280
"""Bytes that a widened column may take; more where the arena has them to spare at this step."""
MOST_SCRATCH = 8192
FEWEST_CHANNELS = 3
"""Fewer are computed four at a time all the same."""


@dataclass(frozen=True)
class LanesContext(Context):
    """Variables of kernels/conv_lanes.c.j2."""

    products: str
    """See short_products.Form."""
    wide: bool
    """Columns are int32."""
    pointwise: bool
    """The taps of a pixel are its own channels, one after another."""
    gathered: bool
    """There are columns."""
    kernel_height: int
    fours: bool
    """Output channels are a multiple of four."""
    clamped: bool
    tile: str = "lanes"
    """Whose inner loop it is."""
    rest: int = 0
    """Taps behind the last four, where those of a column that are none must be 0."""
    rowwise: bool = False
    """One row of outputs, from row pointers."""


class ConvLanes(RowKernel):
    """Runs everywhere; four output channels of one pixel."""

    name = "conv_2d_s8_lanes"
    template = "conv_lanes"
    tile: ClassVar[str] = "lanes"
    """The inner loop."""
    zeroed: ClassVar[bool] = False
    """Whether values of a column that are no taps must be 0."""

    def why_not(self, site: Site) -> str | None:
        g = geometry(site)
        if g.out_c < FEWEST_CHANNELS:
            return f"there are {g.out_c} output channels; {FEWEST_CHANNELS} or more are supported"
        weights, why = flat_weights(site), site.no_room("a column takes", 0 if self.direct(g) else round_up(g.taps, 4))
        return why or lanes_why_not(weights) or why_not(site, requantization(site, weights, clamp_of(site.op)))

    def direct(self, g: Geometry) -> bool:
        """Whether a pixel's bytes can serve as its column."""
        return g.pointwise and g.taps % 4 == 0

    def is_wide(self, site: Site, g: Geometry) -> bool:
        """Whether columns are widened: not for a single pixel of few channels, which reads each but a few times."""
        return 4 * round_up(g.taps, 4) <= site.scratch(SCRATCH, MOST_SCRATCH) and (g.out_w > 1 or g.out_c > 4)

    def lower(self, site: Site) -> Lowered:
        g, clamp = geometry(site), clamp_of(site.op)
        x, y = site.inputs[0], site.outputs[0]
        weights = flat_weights(site)
        products = short_products(site, requantization(site, weights, clamp))
        assert products is not None
        wide = self.is_wide(site, g)
        gathered = wide or not self.direct(g)
        context = LanesContext(
            products=str(products.form),
            wide=wide,
            pointwise=g.pointwise,
            gathered=gathered,
            kernel_height=g.window.kernel[0],
            fours=g.out_c % 4 == 0,
            clamped=not clamp.is_natural,
            tile=self.tile,
            rest=g.taps % 4 if self.zeroed else 0,
        )
        stream = self.pack(weights, requantization(site, weights, clamp), products)
        fields = {"stream": Constant(stream), **geometry_fields(g, x.zero_point)}
        if context.clamped:
            fields |= {"low": clamp.low, "high": clamp.high}
        return Lowered(
            inner=(
                "wide" if wide else "column",
                f"products:{products.form}",
                f"{self.tile}:{'wide' if wide else 'narrow'}_{products.form}",
            ),
            context=context,
            invocations=(Invocation((x.name, y.name), fields),),
            scratch=round_up(g.taps, 4) * (4 if wide else 1) * gathered,
            order=by_tiles(site, g, together=1, apart=gathered or not g.pointwise),
        )

    def pack(self, weights: Ints, r: Requantization, products: ShortProducts) -> Array:
        """Per four channels: T of both pairs, H of both; the weights' words; each channel's requantization."""
        channels = len(weights)
        padded = np.zeros((max(channels, 4), round_up(weights.shape[1], 4)), np.int64)
        padded[:channels, : weights.shape[1]] = weights
        bias = np.zeros(len(padded), np.int64)
        bias[:channels] = r.bias
        groups = quads(len(padded))
        first, second = bias[groups][:, 0::2], bias[groups][:, 1::2]
        tails = products.stream(np.minimum(groups, channels - 1).ravel()).reshape(len(groups), -1)
        columns = [words(first + (second << 16)), words(second), self.lanes(padded[groups]), tails]
        return np.column_stack(columns).astype(np.uint32).ravel()

    def lanes(self, fours: Ints) -> Array:
        """Weights (groups, four channels, taps) as words: for every two taps two of either pair."""
        pairs = fours.reshape(len(fours), 2, 2, -1, 2)  # (four, pair, channel, two taps, tap)
        return words((pairs[:, :, 0] + (pairs[:, :, 1] << 16)).transpose(0, 2, 1, 3).reshape(len(fours), -1))


def geometry_fields(g: Geometry, fill: int) -> dict[str, Field]:
    """Sizes and window, as the members of the constant struct."""
    fields: dict[str, Field] = {"out_w": g.out_w, "out_c": g.out_c, "in_c": g.in_c, "taps": round_up(g.taps, 4)}
    if g.pointwise:
        return fields
    return fields | {
        "batches": g.batches,
        "in_h": g.in_h,
        "in_w": g.in_w,
        "out_h": g.out_h,
        **window_fields(g.window),
        "runs": g.runs,
        "run_pixels": g.run_pixels,
        "fill": fill,
    }


def lanes_why_not(weights: Ints) -> str | None:
    """What two products in a half-word ask of (channels, taps) weights."""
    lowest = weights == -128
    paired = lowest[:, 0:-1:2] & lowest[:, 1::2] if weights.shape[1] > 1 else lowest[:, :0]
    if paired.any():
        channel = int(np.argmax(paired.any(axis=1)))
        return f"two taps of output channel {channel} are -128, outside TFLite's symmetric range: 2^15 is no int16"
    return None
