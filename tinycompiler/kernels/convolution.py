"""CONV_2D and FULLY_CONNECTED (a 1x1 convolution whose pixels are the batches).

One loop nest for both instruction sets: gather the taps of a few output pixels into a column, then a tile computes
all output channels of those pixels from one stream of host-packed weights. Chosen: columns, instead of walking the
image inside the innermost loop, because borders, strides and dilation then cost once per pixel and not once per
channel. A row outside the image is a null pointer and is filled while gathering, instead of a row of zero points in
memory, because that row would cost RAM or flash and saves nothing.

The stream of the `dsp` tile holds pairs of output channels A, B; each half-word is wA + 256·wB, so one load brings
weights for two channels: T = Σ x·(wA + 256·wB) by SMLAD, S_A from the low bytes (SXTB16), and S_B = (T - S_A) / 256.
It needs |S_B| < 2^23, which is proved here from Σ|w|.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

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
from tinycompiler.kernels.geometry import Geometry, clamp_of, flat_weights, geometry, one_group
from tinycompiler.kernels.order import Touch, by_pixels, by_windows
from tinycompiler.kernels.requantize import Requantization, pad_channels, pairs_why_not, requantization
from tinycompiler.ops import Clamp, Conv2D, FullyConnected
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array, DType


@dataclass(frozen=True)
class ConvContext(Context):
    """Variables of kernels/conv_2d.c.j2."""

    pixels: int
    """Output pixels of one tile."""
    tile: str
    """Its rounding (twice | positive | once | real: see kernels/requantize.py), and the form of the stream."""
    pointwise: bool
    """The taps of a pixel are its own channels, one after another: nothing to gather."""
    kernel_height: int
    direct: bool
    """Runs of taps are multiples of four: they are widened straight into the column (dsp)."""
    clamped: bool
    """The output is clamped tighter than int8."""
    run: int
    """Taps of one run where it is split into words and a rest, else 0."""
    runs: int
    """Of a kernel row."""
    run_pixels: int
    """Neighbouring pixels in a run."""
    spread: bool = False
    """The pixels of a tap are neighbours in the column, instead of four taps of a pixel."""
    packed: bool = False
    """The stream is unpacked into scratch first."""
    rowwise: bool = False
    """One row of outputs, from row pointers."""
    woven: bool = False
    """The pixels of a column take turns word by word, and their sums stand behind it, see inner/dsp/weave.h.j2."""


class DenseKernel(Kernel):
    """Of convolutions in which every output channel reads every input channel."""

    ops = (Conv2D, FullyConnected)
    types = (DType.INT8,)

    def is_for(self, site: Site) -> bool:
        """Several groups are the matter of kernels/grouped.py."""
        return super().is_for(site) and (isinstance(site.op, FullyConnected) or one_group(site))


class RowKernel(DenseKernel):
    """Those whose C function comes as one row of outputs too."""

    def lower_row(self, site: Site) -> Lowered | None:
        lowered = self.lower(site)
        context: Any = lowered.context
        return None if context.pointwise else replace(lowered, context=replace(context, rowwise=True), order=())


def by_tiles(site: Site, g: Geometry, *, together: int, apart: bool) -> tuple[Touch, ...]:
    """Tile after tile of pixels; `apart`: a tile's are read before it writes."""
    x, y = site.inputs[0], site.outputs[0]
    if g.pointwise:
        return by_pixels(x, y, g.out_w, together=together, apart=apart)
    return by_windows(x, y, g.window, together=together, apart=apart)


class ConvKernel(RowKernel):
    """What both instruction sets share: geometry and fields."""

    template = "conv_2d"
    pixels: ClassVar[int]
    shapes: ClassVar[tuple[str, ...]] = ()
    header: ClassVar[str] = "tile"
    """Headers that the tile needs, and its own."""
    spread: ClassVar[bool] = False
    woven: ClassVar[bool] = False
    """See ConvContext."""

    def tile(self, requantizations: Sequence[Requantization]) -> str:
        """The variant of the tile that serves them all."""
        return requantizations[0].rounding

    def pack(self, weights: Ints, r: Requantization, zero_point: int, clamp: Clamp, tile: str) -> Array:
        """The stream of uint32 words that the tile reads."""
        raise NotImplementedError

    def columns(self, taps: int, direct: bool, pixels: int) -> int:
        """Bytes of the columns of one tile."""
        raise NotImplementedError

    def scratch(self, g: Geometry, direct: bool, pixels: int) -> int:
        """Bytes of the columns of one tile, where there are any."""
        return self.columns(g.taps, direct, pixels)

    def splits(self, g: Geometry) -> bool:
        """Whether the whole words of all runs come first in a column, and then the rests of all runs."""
        return False

    def in_order(self, weights: Ints, g: Geometry) -> Ints:
        """Weights in the order in which a column has the taps."""
        return weights

    def lower(self, site: Site) -> Lowered:
        g, clamp = geometry(site), clamp_of(site.op)
        x, y = site.inputs[0], site.outputs[0]
        weights = flat_weights(site)
        r = requantization(site, weights, clamp)
        direct = g.in_c % 4 == 0
        pixels, tile = self.pixels_of(site, g, direct), self.tile([r])
        context = ConvContext(
            pixels=pixels,
            tile=tile,
            pointwise=g.pointwise,
            kernel_height=g.window.kernel[0],
            direct=direct,
            clamped=not clamp.is_natural,
            run=g.run if self.splits(g) else 0,
            runs=g.runs,
            run_pixels=g.run_pixels,
            spread=self.spread,
            woven=self.woven,
        )
        window = g.window
        fields: dict[str, Field] = {
            "stream": Constant(self.pack(self.in_order(weights, g), r, y.zero_point, clamp, tile)),
            "middle": 1 + 2 * y.zero_point,
            "out_w": g.out_w,
            "out_c": g.out_c,
            "in_c": g.in_c,
            "taps": g.taps,
        }
        if not g.pointwise:
            fields |= {
                "batches": g.batches,
                "in_h": g.in_h,
                "in_w": g.in_w,
                "out_h": g.out_h,
                **window_fields(window),
                "runs": g.runs,
                "run_pixels": g.run_pixels,
                "fill": x.zero_point,
            }
        if context.clamped:
            fields |= {"low": clamp.low, "high": clamp.high}
        real = ("real",) * (r.rounding == "real")
        return Lowered(
            inner=("requantize", *real, "column", *self.shapes, f"{self.header}:{tile}"),
            context=context,
            invocations=(Invocation((x.name, y.name), fields),),
            scratch=round_up(self.scratch(g, direct, pixels), 4),
            floating_point="double" if r.rounding == "real" else "",
            order=by_tiles(site, g, together=pixels, apart=self.scratch(g, False, pixels) > 0),
        )

    def pixels_of(self, site: Site, g: Geometry, direct: bool) -> int:
        """Pixels of a tile: with one output pixel per row there is never a second one to share the weights with."""
        pixels = min(self.pixels, g.out_w)
        return pixels if site.limit is None or self.scratch(g, direct, pixels) <= site.limit else 1


class ConvDsp(ConvKernel):
    """Armv7E-M and Armv8-M with DSP: two pixels by two channels, widened columns, paired weights."""

    name = "conv_2d_s8_dsp"
    isa = "dsp"
    pixels = 2
    shapes: ClassVar[tuple[str, ...]] = ("tile_shape",)

    def why_not(self, site: Site) -> str | None:
        g = geometry(site)
        why = site.no_room("a column takes", self.scratch(g, g.in_c % 4 == 0, 1))
        if why is not None:
            return why
        if g.pointwise and g.out_c == g.out_w == 1:
            return "one output reads each value once: widening them into a column takes longer than it saves"
        weights = flat_weights(site)
        return self.numbers_why_not(weights, requantization(site, weights, clamp_of(site.op)))

    def numbers_why_not(self, weights: Ints, r: Requantization) -> str | None:
        """What the tile asks of (channels, taps) weights and their outputs."""
        return pairs_why_not(weights, r)

    def columns(self, taps: int, direct: bool, pixels: int) -> int:
        padded = round_up(taps, 4)
        return 2 * padded * pixels + (0 if direct else padded)

    def scratch(self, g: Geometry, direct: bool, pixels: int) -> int:
        padded = round_up(g.taps, 4)
        if direct or g.pointwise:
            return 2 * padded * pixels + (0 if direct else padded * pixels)
        rests = g.window.kernel[0] * g.runs * (g.run % 4)
        return 2 * padded * pixels + round_up(rests, 4) + round_up(g.run, 4)

    def splits(self, g: Geometry) -> bool:
        return not g.pointwise and g.in_c % 4 > 0

    def in_order(self, weights: Ints, g: Geometry) -> Ints:
        if not self.splits(g):
            return weights
        parts = np.split(weights.reshape(len(weights), -1, g.run), [g.run // 4 * 4], axis=2)
        return np.concatenate([part.reshape(len(weights), -1) for part in parts], axis=1)

    def tile(self, requantizations: Sequence[Requantization]) -> str:
        """Biases of less than 24 bits share a word with their shift."""
        wide = any(r.wide for r in requantizations)
        return requantizations[0].kind + "_wide" * wide

    def pack(self, weights: Ints, r: Requantization, zero_point: int, clamp: Clamp, tile: str) -> Array:
        """Per pair A, B: for every four taps (0,2), (1,3) of wA + 256·wB; M of A, of B; bias · 256 + shift - 1 of A,
        of B, or where biases are wide, shift - 1 of A, of B, 2 · bias of A, of B.
        """
        weights, bias, multiplier, shift = pad_channels(weights, r, zero_point, clamp)
        channels, taps = weights.shape
        padded = np.zeros((channels, round_up(taps, 4)), np.int64)
        padded[:, :taps] = weights
        paired = (padded[0::2] + 256 * padded[1::2]) & 0xFFFF
        groups = paired.reshape(channels // 2, -1, 4)
        even = groups[:, :, 0] | (groups[:, :, 2] << 16)
        odd = groups[:, :, 1] | (groups[:, :, 3] << 16)
        stream = np.stack([even, odd], axis=2).reshape(channels // 2, -1)
        tails = (multiplier, shift - 1, 2 * bias) if tile.endswith("wide") else (multiplier, bias * 256 + shift - 1)
        return np.column_stack([words(stream), *(words(t.reshape(-1, 2)) for t in tails)]).astype(np.uint32).ravel()
