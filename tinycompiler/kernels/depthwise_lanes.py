"""3x3 DEPTHWISE_CONV_2D on cores without DSP: two outputs in the halves of a word, so that one MUL does two MACs.

One channel at a time, input lines are written into a plane of words x[k] + 65536·x[k + stride]: what a weight meets for
two neighbouring outputs of a line. The sums come apart as in kernels/conv_lanes.py. Instead of two channels in a word:
they have a weight each, and there is no product for that. Lines run along rows or along columns, whichever is cheaper.

Strips, and how they walk over the image, are as in kernels/depthwise_planar.py.
"""

from dataclasses import dataclass, replace

import numpy as np

from tinycompiler.kernels.base import Constant, Context, Field, Invocation, Kernel, Lowered, Site, words
from tinycompiler.kernels.broadcasting import takes_over
from tinycompiler.kernels.conv_lanes import lanes_why_not
from tinycompiler.kernels.depthwise import tap_weights
from tinycompiler.kernels.geometry import clamp_of
from tinycompiler.kernels.lines import LARGEST_LINE, Lines
from tinycompiler.kernels.order import by_strips
from tinycompiler.kernels.requantize import requantization
from tinycompiler.kernels.short_products import short_products, why_not
from tinycompiler.ops import DepthwiseConv2D
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array, DType

SCRATCH = 1024
"""Bytes that a plane may take; more where the arena has them to spare at this step."""
PIXEL_COST = 240
"""Instructions of the kernel that goes pixel by pixel, for an output."""


@dataclass(frozen=True)
class DepthwiseLanesContext(Context):
    """Variables of kernels/depthwise_lanes.c.j2."""

    stride: int
    """Of the lines: how many inputs an output is further than the one before it."""
    products: str
    """See short_products.Form."""
    walk: str
    """channels: one after the other, from top to bottom; strips: strip after strip; row: one row of outputs."""
    odd: bool
    """So is the length of the lines."""
    clamped: bool


@dataclass(frozen=True)
class PairedLines(Lines):
    """Rows of a plane of words."""

    @property
    def pitch(self) -> int:
        """Words of a plane's row."""
        pairs = (self.out_size[1] + 1) // 2
        return 2 * pairs + 1 if self.stride[1] == 1 else 3 * pairs

    def cost(self, strip: int, *, keeps: bool) -> int:
        """Instructions for a channel on M0+, to within some 5 %: pairs, lines, rows of the plane; `keeps`: rows that
        strips share are moved and not made again.
        """
        lines, strips = self.out_size[0], -(-self.out_size[0] // strip)
        shared = (strips - 1) * max(3 - self.stride[0], 0)
        rows = (lines - 1) * self.stride[0] + 3 + (0 if keeps else shared)
        pairs, odd = (self.out_size[1] + 1) // 2, self.out_size[1] % 2
        row = 7 * self.pitch + 80 + 45 * (self.stride[1] - 1)
        return lines * (88 * pairs + 40 + 40 * odd) + rows * row + strips * 150


def best_lines(site: Site) -> tuple[PairedLines, int] | None:
    """The cheaper direction, and the output lines of a strip."""
    return PairedLines.best(site, SCRATCH, keeps=takes_over(site.inputs[0], site.outputs[0]))


def line_weights(site: Site, along: int) -> Ints:
    """Weights as (channels, 9), in the order in which lines meet them."""
    square = tap_weights(site).reshape(-1, 3, 3)
    return (square if along else square.transpose(0, 2, 1)).reshape(-1, 9)


class DepthwiseLanes(Kernel):
    """Runs everywhere, 3x3."""

    name = "depthwise_3x3_s8_lanes"
    template = "depthwise_lanes"
    ops = (DepthwiseConv2D,)
    types = (DType.INT8,)

    def why_not(self, site: Site) -> str | None:
        op, x, y = site.op, site.inputs[0], site.outputs[0]
        assert isinstance(op, DepthwiseConv2D)
        if op.window.kernel != (3, 3) or op.window.dilation != (1, 1):
            return f"the kernel is {op.window.kernel} with dilation {op.window.dilation}; 3x3 without is supported"
        if y.shape[3] != x.shape[3]:
            return f"the depth multiplier is {y.shape[3] // x.shape[3]}; 1 is supported"
        best = best_lines(site)
        if best is None:
            room = "" if site.limit is None else f" of {site.limit:,} bytes"
            return (
                f"along no axis is the stride {op.window.stride} 1 or 2 and a line short enough for a strip of "
                f"scratch{room}"
            )
        size, cost = y.shape[1:3], best[0].cost(best[1], keeps=takes_over(x, y))
        other = size[0] * size[1] * PIXEL_COST
        if cost > other and site.limit is None:  # with little memory, it counts that this one works in place
            return f"an output of {size} is faster pixel by pixel (about {other:,} to {cost:,} instructions a channel)"
        problem = lanes_why_not(np.pad(line_weights(site, best[0].along).reshape(-1, 3), ((0, 0), (0, 1))))
        return problem or why_not(site, requantization(site, tap_weights(site), clamp_of(op)))

    def lower(self, site: Site) -> Lowered:
        best = best_lines(site)
        assert best is not None
        return self._lower(site, *best)

    def _lower(self, site: Site, lines: PairedLines, strip: int) -> Lowered:
        op, x, y = site.op, site.inputs[0], site.outputs[0]
        assert isinstance(op, DepthwiseConv2D)
        clamp, same = clamp_of(op), takes_over(x, y)
        products = short_products(site, requantization(site, tap_weights(site), clamp))
        assert products is not None
        raster = lines.along == 1 and not same
        context = DepthwiseLanesContext(
            stride=lines.stride[1],
            products=str(products.form),
            walk="strips" if raster else "channels",
            odd=lines.out_size[1] % 2 == 1,
            clamped=not clamp.is_natural,
        )
        fields: dict[str, Field] = {
            "stream": Constant(_pack(site, lines)),
            **lines.fields(site, strip),
            "fill": x.zero_point,
        }
        if context.clamped:
            fields |= {"low": clamp.low, "high": clamp.high}
        return Lowered(
            inner=(
                *("wide", "pair", "move", f"products:{products.form}"),
                *(f"paired:{lines.stride[1]}", f"lines:{products.form}"),
            ),
            context=context,
            invocations=(Invocation((x.name, y.name), fields),),
            scratch=lines.strip_bytes(strip),
            in_place=(x.name,) if same else (),
            order=by_strips(x, y, op.window, strip) if raster else (),
        )

    def lower_row(self, site: Site) -> Lowered | None:
        lines = PairedLines.of(site, 1)
        if lines.stride[1] > 2 or lines.strip_bytes(1) > site.scratch(LARGEST_LINE, LARGEST_LINE):
            return None
        best = best_lines(site)
        assert best is not None
        if lanes_why_not(np.pad(line_weights(site, 1).reshape(-1, 3), ((0, 0), (0, 1)))):
            return None
        lowered = self._lower(site, lines, 1)
        assert isinstance(lowered.context, DepthwiseLanesContext)
        context = replace(lowered.context, walk="row")
        return replace(lowered, context=context, in_place=(), order=())

    def row_extra(self, site: Site) -> int:
        """Neighbouring rows share no words."""
        best = best_lines(site)
        assert best is not None
        keeps = takes_over(site.inputs[0], site.outputs[0])
        by_row = PairedLines.of(site, 1).cost(1, keeps=False)
        return max(0, by_row - best[0].cost(best[1], keeps=keeps)) * site.outputs[0].shape[3]


def _pack(site: Site, lines: PairedLines) -> Array:
    """Per channel: bias, nine weights and three zeros, requantization."""
    weights = tap_weights(site)
    r = requantization(site, weights, clamp_of(site.op))
    products = short_products(site, r)
    assert products is not None
    padded = np.zeros((len(weights), 12), np.int8)
    padded[:, :9] = line_weights(site, lines.along)
    tail = products.stream(np.arange(len(weights)))
    stream: Array = np.column_stack([words(r.bias), padded.view(np.uint32), tail]).astype(np.uint32).ravel()
    return stream
