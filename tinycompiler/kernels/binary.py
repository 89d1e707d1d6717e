"""LceBconv2d: the bits that differ are counted for 32 output channels at once.

A word of weights holds one tap's bit of 32 output channels. Exclusive or with the input's bit of that tap, spread over
the word, tells which channels differ there, and such words are summed bit-sliced: three words of a weight become one of
it and one of the next with five operations (a carry-save adder), so a word costs about eight instructions in all, a
quarter of one per product. Chosen: this, instead of words of 32 taps of one output channel and a population count,
because there each channel ends with several population counts and an insertion of its bit, some sixty instructions
that a layer of few taps cannot hide (0.44 per product of a 3x3 on 32 channels, by hand count); and because thresholds
cost nothing here: counting begins at 2^n - 1 - threshold, so that bit n of the count is the answer for 32 channels, and
already where the packed output wants it.

Values as output: twice a count goes through one multiplication, an addition and a shift with rounding, whose numbers
are searched here for each channel and proved on every count that can occur, so that no float is computed on the device.
Where a channel has no such numbers, the layer takes a table of its values.
"""

from dataclasses import dataclass, replace
from math import prod

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
)
from tinycompiler.kernels.binary_lines import LINE, WIDE, formulas
from tinycompiler.kernels.order import by_windows
from tinycompiler.ops import LceBconv2d
from tinycompiler.ops.base import Ints
from tinycompiler.ops.binary import LANES, unpacked
from tinycompiler.tensor import Array, DType

UNIT = 16
"""Channels of a tap that are counted together; those beyond the last are bits of 0 on both sides."""
PLANES = 20
"""Of counts, at most."""
VALUE_PLANES = 16
"""Where counts become values."""
LARGEST_TABLE = 1 << 17


@dataclass(frozen=True)
class BconvContext(Context):
    """Variables of kernels/bconv.c.j2."""

    output: str
    """bits, line or wide (int8 by a formula, see kernels/binary_lines.py), table (int8 by a table), float."""
    kernel_height: int
    zeros: bool
    """What is outside the image is 0, and not +1."""
    masked: bool
    """The last unit of a tap has bits that are no channels."""
    shifted: bool
    """Groups of output channels begin within words."""
    bounded: bool
    """There is a fused activation."""
    rowwise: bool = False
    """One row of outputs, from row pointers."""


@dataclass(frozen=True)
class _Sizes:
    """Of a node: groups, input and output channels of one, units of a tap and of a sum."""

    groups: int
    depth: int
    channels: int
    units: int
    taps: int

    @classmethod
    def of(cls, site: Site) -> "_Sizes":
        op = site.op
        assert isinstance(op, LceBconv2d)
        groups, depth = op.groups(site.inputs), op.depth(site.inputs)
        return cls(groups, depth, site.inputs[1].shape[0] // groups, -(-depth // UNIT), prod(op.window.kernel))

    @property
    def last(self) -> int:
        """The plane above every count."""
        return (UNIT * self.units * self.taps).bit_length()


class Bconv(Kernel):
    """Runs everywhere."""

    name = "lce_bconv_2d"
    encoding = "binary"
    bits = 1
    template = "bconv"
    ops = (LceBconv2d,)

    def why_not(self, site: Site) -> str | None:
        sizes, bits = _Sizes.of(site), site.outputs[0].dtype is DType.INT32
        most = PLANES - 1 if bits else VALUE_PLANES - 1
        if sizes.last > most:
            return f"sums of {sizes.taps * sizes.depth:,} products have more than {most} bits"
        table = site.inputs[1].shape[0] * (sizes.taps * sizes.depth + 1)
        if site.outputs[0].dtype is DType.INT8 and table > LARGEST_TABLE and formulas_of(site) is None:
            return f"its values have no formula, and their table takes {table:,} bytes"
        return None

    @staticmethod
    def scratch(sizes: _Sizes) -> int:
        return round_up(2 * sizes.units * sizes.taps, 4)

    def lower(self, site: Site) -> Lowered:
        op, sizes = site.op, _Sizes.of(site)
        assert isinstance(op, LceBconv2d)
        x, y = site.inputs[0], site.outputs[0]
        output, tails = _output(site)
        context = BconvContext(
            output=output,
            kernel_height=op.window.kernel[0],
            zeros=op.zeros and bool(op.window.padding),
            masked=sizes.depth % UNIT > 0,
            shifted=sizes.groups > 1 and sizes.channels % LANES > 0,
            bounded=output in (LINE, WIDE, "float") and (op.low, op.high) != (None, None),
        )
        fields = {"stream": Constant(pack(site, sizes, tails)), **geometry_fields(site, op, sizes)}
        if output == "table":
            fields |= {"table": Constant(table_of(site), table=True), "counts": table_of(site).shape[1]}
        if context.bounded:
            low, high = (int(v) for v in op.bounded(site.inputs, np.array([-(2**20), 2**20])))
            fields |= {"low": low, "high": high}
        return Lowered(
            inner=("bits",) if output == "bits" else ("bits", "bit_values"),
            context=context,
            invocations=(Invocation((x.name, y.name), fields),),
            scratch=self.scratch(sizes),
            floating_point="single" if output == "float" else "",
            order=by_windows(x, y, op.window, together=1, apart=sizes.groups == 1),
        )

    def lower_row(self, site: Site) -> Lowered | None:
        lowered = self.lower(site)
        assert isinstance(lowered.context, BconvContext)
        return replace(lowered, context=replace(lowered.context, rowwise=True), order=())


def geometry_fields(site: Site, op: LceBconv2d, sizes: _Sizes) -> dict[str, Field]:
    """Sizes and steps, as the members of the constant struct."""
    (n, in_h, in_w, words), (_, out_h, out_w, step) = site.inputs[0].shape, site.outputs[0].shape
    return {
        "batches": n,
        "in_h": in_h,
        "in_w": in_w,
        "in_words": words,
        "out_h": out_h,
        "out_w": out_w,
        "out_step": step,
        **window_fields(op.window),
        "kernel_w": op.window.kernel[1],
        "groups": sizes.groups,
        "group_c": sizes.channels,
        "units": sizes.units,
        "mask": (1 << ((sizes.depth - 1) % UNIT + 1)) - 1,
        "last": sizes.last,
        "half": sizes.depth // 2,
    }


def _output(site: Site) -> tuple[str, Array | None]:
    """How outputs are made, and the words of it for each channel."""
    y, op = site.outputs[0], site.op
    assert isinstance(op, LceBconv2d)
    if y.dtype is DType.INT32:
        return "bits", None
    if y.dtype is DType.FLOAT32:
        return "float", np.stack(op.line(site.inputs, y), axis=1).view(np.uint32)
    return formulas_of(site) or ("table", None)


def pack(site: Site, sizes: _Sizes, tails: Array | None) -> Array:
    """Per group and 32 output channels: counts to begin with (bits only), weights, the words of each channel's output.

    Values are made of four channels at a time, so channel c lies in lane c // 4 + 8 · (c % 4) there, and in lane c of
    bits.
    """
    op, filters = site.op, site.inputs[1]
    assert isinstance(op, LceBconv2d)
    bits = unpacked(filters.values, sizes.depth).reshape(sizes.groups, sizes.channels, sizes.taps, sizes.depth)
    blocks = []
    for group in range(sizes.groups):
        for first in range(0, sizes.channels, LANES):
            chosen = slice(first, min(first + LANES, sizes.channels))
            own = slice(group * sizes.channels + chosen.start, group * sizes.channels + chosen.stop)
            weights = np.zeros((sizes.taps, sizes.units * UNIT, LANES), np.int64)
            places = np.arange(chosen.stop - chosen.start)
            if site.outputs[0].dtype is not DType.INT32:
                places = places // 4 + 8 * (places % 4)
            weights[:, : sizes.depth, places] = bits[group, chosen].transpose(1, 2, 0)
            if site.outputs[0].dtype is DType.INT32:
                blocks.append(_begin(site.inputs[2].values.ravel()[own], sizes.last))
            blocks.append(_joined(weights.reshape(-1, LANES)))
            if tails is not None:
                blocks.append(tails[own].ravel())
    return np.concatenate(blocks).astype(np.uint32)


def _begin(thresholds: Array, last: int) -> Array:
    """The planes to begin with, so that plane `last` is set in the end where a count is above its threshold."""
    beyond = 2**last - 1
    wanted = np.full(LANES, beyond, np.int64)
    wanted[: len(thresholds)] = np.clip(thresholds.astype(np.int64), -1, beyond)
    return _joined((beyond - wanted) >> np.arange(last + 1)[:, None] & 1)


def _joined(bits: Ints) -> Array:
    """(n, 32) bits to n words."""
    words: Array = (bits << np.arange(LANES)).sum(axis=1).astype(np.uint32)
    return words


def table_of(site: Site) -> Array:
    """(channels, counts) int8: the value of every number of bits that differ."""
    op = site.op
    assert isinstance(op, LceBconv2d)
    counts, channels = op.taps(site.inputs) + 1, site.inputs[1].shape[0]
    every = np.broadcast_to(np.arange(counts)[:, None], (counts, channels))
    return np.ascontiguousarray(op.outputs_of(site.inputs, site.outputs[0], every).T)


def formulas_of(site: Site) -> tuple[str, Array] | None:
    """How values of int8 are computed from counts, and the words of it for each channel; None for by a table."""
    op = site.op
    assert isinstance(op, LceBconv2d)
    slope, constant = op.line(site.inputs, site.outputs[0])
    twice = op.bounded(site.inputs, np.arange(op.taps(site.inputs) + 1))
    return formulas(twice.tobytes(), slope.tobytes(), constant.tobytes())
