"""CONV_2D, and FULLY_CONNECTED of several rows, by the weights that are not zero, on cores with DSP.

Four output pixels at a time, since what it costs to find a weight's taps is then paid once for four pixels. For blocks,
columns hold groups of four taps as for dense tiles; for deltas, the four pixels of a tap are neighbours, so that two
loads bring them.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from tinycompiler.kernels.base import Lowered, Site, round_up
from tinycompiler.kernels.convolution import ConvDsp
from tinycompiler.kernels.geometry import Geometry, clamp_of, flat_weights, geometry
from tinycompiler.kernels.requantize import Requantization, numbers_why_not, requantization
from tinycompiler.kernels.sparse import Blocks, Deltas, Form
from tinycompiler.ops import Clamp
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array

PIXELS = 4
"""Output pixels of a tile."""


class SparseKernel(ConvDsp):
    """What both forms share."""

    pixels = PIXELS
    rival = True
    header = "sparse"
    form: ClassVar[Form]

    def why_not(self, site: Site) -> str | None:
        g, weights = geometry(site), flat_weights(site)
        if g.out_w < 2:
            return "one pixel in a row leaves nothing to share"
        return (
            site.no_room("columns take", self.scratch(g, g.in_c % 4 == 0, PIXELS))
            or self.form.why_not(self.in_order(weights, g))
            or numbers_why_not(requantization(site, weights, clamp_of(site.op)))
        )

    def multiplications(self, site: Site) -> int:
        g = geometry(site)
        return self.form.steps(self.in_order(flat_weights(site), g)).weights.size * g.pixels

    def columns(self, taps: int, direct: bool, pixels: int) -> int:
        return 2 * round_up(taps, 4) * PIXELS

    def scratch(self, g: Geometry, direct: bool, pixels: int) -> int:
        columns = self.columns(g.taps, direct, pixels)
        if direct:
            return columns
        if g.pointwise:
            return columns + round_up(g.taps, 4)
        rests = g.window.kernel[0] * g.runs * (g.run % 4)
        return columns + round_up(rests, 4) + round_up(g.run, 4)

    def pixels_of(self, site: Site, g: Geometry, direct: bool) -> int:
        return PIXELS

    def tile(self, requantizations: Sequence[Requantization]) -> str:
        return f"{self.form.name}_{super().tile(requantizations)}"

    def lower(self, site: Site) -> Lowered:
        lowered = super().lower(site)
        head, tile = lowered.inner[:-1], lowered.inner[-1]
        inner = (*head, f"four:{'spread' if self.spread else 'widen'}", tile)
        return replace(lowered, inner=inner)

    def pack(self, weights: Ints, r: Requantization, zero_point: int, clamp: Clamp, tile: str) -> Array:
        return self.form.pack(weights, r, zero_point, clamp, wide=tile.endswith("wide"))


class ConvBlocks(SparseKernel):
    """Four taps side by side."""

    name = "conv_2d_s8_blocks"
    form = Blocks()
    encoding = form.encoding


class ConvDeltas(SparseKernel):
    """Single weights."""

    name = "conv_2d_s8_deltas"
    form = Deltas(2 * PIXELS)
    encoding = form.encoding
    spread = True
