"""3x3 DEPTHWISE_CONV_2D on planes: the taps of one channel side by side, so that one SMLAD does two of them.

Four channels at a time, rows of the input are widened into four planes of int16, border included; then each channel's
lines of outputs are computed from its plane with its weights in a few registers. Instead of gathering nine taps per
pixel: every value is widened once and not nine times, and six multiplies do nine taps. Lines run along rows or along
columns, whichever wastes fewer of the outputs that are computed four (stride 2: two) at a time.

A strip is as many output lines as the scratch holds. Where the output has the input's shape, four channels are done
from top to bottom, and the input lines that a strip shares with the next are kept in the planes: nothing that is still
to be read has been written, so the output may lie where the input lies. Otherwise strips are done from top to bottom,
all channels of one before the next, so that the output may begin a little under the input.
"""

from dataclasses import dataclass, replace

import numpy as np

from tinycompiler.kernels.base import Constant, Context, Field, Invocation, Kernel, Lowered, Site, words
from tinycompiler.kernels.broadcasting import takes_over
from tinycompiler.kernels.depthwise import DepthwiseDsp, tap_weights
from tinycompiler.kernels.geometry import clamp_of
from tinycompiler.kernels.lines import LARGEST_LINE, Lines
from tinycompiler.kernels.order import by_strips
from tinycompiler.kernels.requantize import Requantization, pad_channels, requantization
from tinycompiler.ops import Clamp, DepthwiseConv2D
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array, DType

SCRATCH = 2048
"""Bytes that a strip may take at least; more where the arena has them to spare at this step."""


@dataclass(frozen=True)
class PlanarContext(Context):
    """Variables of kernels/depthwise_planar.c.j2."""

    variant: str
    """Of the inner loops: the stride along a line, and "positive" where no output is below the zero point."""
    walk: str
    """channels: four after the other, from top to bottom; strips: strip after strip; row: one row of outputs."""
    clamped: bool


@dataclass(frozen=True)
class PlanarLines(Lines):
    """Rows of planes, of which the pitch is in bytes."""

    @property
    def block(self) -> int:
        """Outputs that are computed together."""
        return 4 if self.stride[1] == 1 else 2

    @property
    def blocks(self) -> int:
        return -(-self.out_size[1] // self.block)

    @property
    def pitch(self) -> int:
        """Bytes of a plane's row: two int16 in a word, and one word that the last block reads beyond its own."""
        return 4 * (2 * self.blocks + 1)

    def cost(self, strip: int, *, keeps: bool) -> int:
        """Instructions for four channels, to within some 10 %: blocks, lines, strips, and words widened (border:
        edges); `keeps`: the lines that strips share are moved and not widened again.
        """
        lines, strips = self.out_size[0], -(-self.out_size[0] // strip)
        shared = (strips - 1) * max(3 - self.stride[0], 0)
        rows = (lines - 1) * self.stride[0] + 3 + (0 if keeps else shared)
        each = 64 if self.block == 4 else 45
        words_of_row, edges = 2 * self.blocks + 1, 2
        widening = rows * (30 + 19 * words_of_row + 16 * edges)
        moving = 4 * shared * (4 * words_of_row + 10) if keeps else 0
        return 4 * (lines * (self.blocks * each + 18) + strips * 75) + widening + moving


def best_lines(site: Site) -> tuple[PlanarLines, int] | None:
    """The cheaper direction, and the output lines of a strip."""
    return PlanarLines.best(site, SCRATCH, keeps=in_place(site))


def in_place(site: Site) -> bool:
    """Whether the output may lie where the input lies; the last four channels must not overlap those before."""
    x, y = site.inputs[0], site.outputs[0]
    return takes_over(x, y) and x.shape[3] % 4 == 0


def pixel_cost(site: Site) -> int:
    """Instructions of the kernel that goes pixel by pixel, for four channels: taps, requantizing, pointers."""
    _, height, width, channels = site.outputs[0].shape
    return height * width * (155 + 110 * 4 // channels)


class DepthwisePlanar(Kernel):
    """Armv7E-M and Armv8-M with DSP, 3x3, four channels or more."""

    name = "depthwise_3x3_s8_planar"
    template = "depthwise_planar"
    isa = "dsp"
    ops = (DepthwiseConv2D,)
    types = (DType.INT8,)

    def why_not(self, site: Site) -> str | None:
        op = site.op
        assert isinstance(op, DepthwiseConv2D)
        if op.window.kernel != (3, 3) or op.window.dilation != (1, 1):
            return f"the kernel is {op.window.kernel} with dilation {op.window.dilation}; 3x3 without is supported"
        best = best_lines(site)
        if best is None:
            room = "" if site.limit is None else f" of {site.limit:,} bytes"
            return (
                f"along no axis is the stride {op.window.stride} 1 or 2 and a line short enough for a strip of "
                f"scratch{room}"
            )
        cost, other = best[0].cost(best[1], keeps=in_place(site)), pixel_cost(site)
        if cost > other and site.limit is None:  # with little memory, it counts that this one works in place
            size = site.outputs[0].shape[1:3]
            return f"an output of {size} is faster pixel by pixel (about {other:,} to {cost:,} instructions)"
        return DepthwiseDsp().why_not(site)

    def lower(self, site: Site) -> Lowered:
        best = best_lines(site)
        assert best is not None
        return self._lower(site, *best)

    def _lower(self, site: Site, lines: PlanarLines, strip: int) -> Lowered:
        op, x, y = site.op, site.inputs[0], site.outputs[0]
        assert isinstance(op, DepthwiseConv2D)
        clamp, weights = clamp_of(op), tap_weights(site)
        r = requantization(site, weights, clamp)
        fields: dict[str, Field] = {
            "stream": Constant(self._pack(weights, r, y.zero_point, clamp, lines)),
            **lines.fields(site, strip),
            "middle": 1 + 2 * y.zero_point,
            "fill": x.zero_point,
        }
        if not clamp.is_natural:
            fields |= {"low": clamp.low, "high": clamp.high}
        variant = f"{lines.stride[1]}{'_positive' * r.positive}"
        same = in_place(site)
        raster = lines.along == 1 and not same
        return Lowered(
            inner=("column", "widen", f"planar:{variant}"),
            context=PlanarContext(variant, "strips" if raster else "channels", clamped=not clamp.is_natural),
            invocations=(Invocation((x.name, y.name), fields),),
            scratch=lines.strip_bytes(strip),
            in_place=(x.name,) if same else (),
            order=by_strips(x, y, op.window, strip) if raster else (),
        )

    def lower_row(self, site: Site) -> Lowered | None:
        lines = PlanarLines.of(site, 1)
        room = site.scratch(LARGEST_LINE, LARGEST_LINE)
        if lines.stride[1] > 2 or lines.strip_bytes(1) > room or lines.cost(1, keeps=False) > pixel_cost(site):
            return None
        lowered = self._lower(site, lines, 1)
        assert isinstance(lowered.context, PlanarContext)
        context = replace(lowered.context, walk="row")
        return replace(lowered, context=context, scratch=lines.strip_bytes(1), in_place=(), order=())

    def row_extra(self, site: Site) -> int:
        """Neighbouring rows share no widened lines."""
        best = best_lines(site)
        assert best is not None
        by_row = min(PlanarLines.of(site, 1).cost(1, keeps=False), pixel_cost(site))
        return max(0, by_row - best[0].cost(best[1], keeps=in_place(site))) * -(-site.outputs[0].shape[3] // 4)

    def _pack(self, weights: Ints, r: Requantization, zero_point: int, clamp: Clamp, lines: PlanarLines) -> Array:
        """Per channel: three rows of three weights, shift - 1 behind the first; doubled bias, M."""
        _, bias, multiplier, shift = pad_channels(weights, r, zero_point, clamp)
        square = weights.reshape(-1, 3, 3)
        if not lines.along:
            square = square.transpose(0, 2, 1)
        padded = np.zeros((len(weights), 3, 4), np.int8)
        padded[:, :, :3] = square
        padded[:, 0, 3] = shift[: len(weights)] - 1
        rows = padded.reshape(len(weights), 12).view(np.uint32)
        tail = (words(v[: len(weights)]) for v in (2 * bias, multiplier))
        stream: Array = np.column_stack([rows, *tail]).astype(np.uint32).ravel()
        return stream
