"""TRANSPOSE_CONV as the convolutions that it is made of.

Chosen: gathering. An output pixel (i, j) is reached by the taps whose row and column agree with (i + top, j + left)
modulo the stride, so outputs fall into stride · stride phases, each a plain convolution by every stride-th tap: columns
are gathered and tiles computed as for CONV_2D. Instead of the reference's scattering into an int32 image, because that
image is four times the output in RAM, and no product here is with a zero that a stride has put in. Every weight is
stored once; what is repeated in each phase is the 16 bytes or so of requantization of a channel.

Within a phase the taps of a row are stored from the last to the first, so that the pixels they read are neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycompiler.kernels.base import Constant, Context, Field, Invocation, Kernel, Lowered, Site, round_up
from tinycompiler.kernels.conv_scalar import ConvScalar
from tinycompiler.kernels.convolution import ConvDsp, ConvKernel
from tinycompiler.kernels.int16 import ConvDsp16, ConvScalar16, scaling, with_weights
from tinycompiler.kernels.requantize import pairs_why_not, requantization
from tinycompiler.ops import TransposeConv
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array, DType


@dataclass(frozen=True)
class TransposeConvContext(Context):
    """Variables of kernels/transpose_conv.c.j2."""

    pixels: int
    """Output pixels of one tile."""
    tile: str
    """See kernels/conv_2d.c.j2."""
    rows: int
    """Kernel rows of the phase that has most."""
    direct: bool
    """Runs of taps are multiples of four: they are widened straight into the column (dsp)."""
    clamped: bool


def phases(site: Site) -> list[Ints]:
    """Of each phase, row by row, the weights as (channels, rows, columns, in_c), columns reversed."""
    op, w = site.op, site.inputs[1].values.astype(np.int64)
    assert isinstance(op, TransposeConv)
    (sh, sw) = op.stride
    return [w[:, row::sh, column::sw][:, :, ::-1] for row in range(sh) for column in range(sw)]


def stream_fields(streams: Sequence[Array]) -> dict[str, Field]:
    """The streams of all phases, one behind the other, and where each begins."""
    offsets = [sum(len(s) for s in streams[:i]) for i in range(len(streams))]
    return {
        "stream": Constant(np.concatenate(streams)),
        "phase": Constant(np.array(offsets, np.int32), table=True),
    }


def geometry_fields(site: Site) -> dict[str, Field]:
    """Shapes and strides, as the members of the constant struct."""
    op, x, w, y = site.op, site.inputs[0], site.inputs[1], site.outputs[0]
    assert isinstance(op, TransposeConv)
    (n, in_h, in_w, in_c), (_, out_h, out_w, out_c), (_, kh, kw, _) = x.shape, y.shape, w.shape
    top, left = op.before((kh, kw))
    return {
        "batches": n,
        "in_h": in_h,
        "in_w": in_w,
        "in_c": in_c,
        "out_h": out_h,
        "out_w": out_w,
        "out_c": out_c,
        "kernel_h": kh,
        "kernel_w": kw,
        "stride_h": op.stride[0],
        "stride_w": op.stride[1],
        "top": top,
        "left": left,
    }


class TransposeConvKernel(Kernel):
    """What both instruction sets share."""

    template = "transpose_conv"
    ops = (TransposeConv,)
    types = (DType.INT8,)
    convolution: ClassVar[ConvKernel]
    """Whose tiles and streams are used."""

    def lower(self, site: Site) -> Lowered:
        op, x, w, y = site.op, site.inputs[0], site.inputs[1], site.outputs[0]
        assert isinstance(op, TransposeConv)
        weights = [phase.reshape(len(phase), -1) for phase in phases(site)]
        requantizations = [requantization(site, flat, op.clamp) for flat in weights]
        tile = self.convolution.tile(requantizations)
        streams = [
            self.convolution.pack(flat, r, y.zero_point, op.clamp, tile)
            for flat, r in zip(weights, requantizations, strict=True)
        ]
        most = max(flat.shape[1] for flat in weights)
        fields = {**stream_fields(streams), **geometry_fields(site), "fill": x.zero_point}
        fields["middle"] = 1 + 2 * y.zero_point
        if not op.clamp.is_natural:
            fields |= {"low": op.clamp.low, "high": op.clamp.high}
        pixels = min(self.convolution.pixels, -(-y.shape[2] // op.stride[1]))
        context = TransposeConvContext(
            pixels=pixels,
            tile=tile,
            rows=-(-w.shape[1] // op.stride[0]),
            direct=x.shape[3] % 4 == 0,
            clamped=not op.clamp.is_natural,
        )
        return Lowered(
            inner=("requantize", "column", *self.convolution.shapes, f"tile:{tile}"),
            context=context,
            invocations=(Invocation((x.name, y.name), fields),),
            scratch=round_up(self.convolution.columns(most, context.direct, pixels), 4),
        )


class TransposeConvScalar(TransposeConvKernel):
    """Runs everywhere."""

    name = "transpose_conv_s8_scalar"
    convolution = ConvScalar()


class TransposeConvDsp(TransposeConvKernel):
    """Two pixels of a phase by two channels."""

    name = "transpose_conv_s8_dsp"
    isa = "dsp"
    convolution = ConvDsp()

    def why_not(self, site: Site) -> str | None:
        op = site.op
        assert isinstance(op, TransposeConv)
        for phase in phases(site):
            if not phase.size:
                return f"a kernel of {site.inputs[1].shape[1:3]} leaves gaps between strides of {op.stride}"
            flat = phase.reshape(len(phase), -1)
            problem = pairs_why_not(flat, requantization(site, flat, op.clamp))
            if problem:
                return problem
        return None


# int16.


@dataclass(frozen=True)
class TransposeConvContext16(Context):
    """Variables of kernels/transpose_conv_s16.c.j2."""

    variant: str
    """Of the tile: the type of the sum, and its rounding."""
    pixels: int
    """Output pixels of one tile."""
    rows: int
    """Kernel rows of the phase that has most."""
    clamped: bool


class TransposeConvScalar16(Kernel):
    """Runs everywhere; one pixel of a phase at a time. Every phase has the tile that all taps together need."""

    name = "transpose_conv_s16_scalar"
    template = "transpose_conv_s16"
    ops = (TransposeConv,)
    types = (DType.INT16,)
    convolution: ClassVar[ConvScalar16] = ConvScalar16()

    def lower(self, site: Site) -> Lowered:
        op, x, w, y = site.op, site.inputs[0], site.inputs[1], site.outputs[0]
        assert isinstance(op, TransposeConv)
        chosen = scaling(site, w.values.astype(np.int64).reshape(len(w.values), -1))
        weights = [phase.reshape(len(phase), -1) for phase in phases(site)]
        streams = [with_weights(chosen.header, flat, self.convolution.order) for flat in weights]
        fields, clamped = {**stream_fields(streams), **geometry_fields(site)}, not op.clamp.spans(DType.INT16)
        if clamped:
            fields |= {"low": op.clamp.low, "high": op.clamp.high}
        pixels = min(self.convolution.pixels, -(-y.shape[2] // op.stride[1]))
        taps = max(flat.shape[1] for flat in weights)
        return Lowered(
            inner=("requantize_s16", f"tile_s16:{chosen.variant}"),
            context=TransposeConvContext16(chosen.variant, pixels, -(-w.shape[1] // op.stride[0]), clamped),
            invocations=(Invocation((x.name, y.name), fields),),
            scratch=2 * round_up(taps, 4) * pixels,
        )


class TransposeConvDsp16(TransposeConvScalar16):
    """Two pixels of a phase at a time, as `ConvDsp16`."""

    name = "transpose_conv_s16_dsp"
    isa = "dsp"
    convolution = ConvDsp16()
