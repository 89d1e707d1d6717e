"""TRANSPOSE_CONV as the convolutions that it is made of.

Chosen: gathering. An output pixel (i, j) is reached by the taps whose row and column agree with (i + top, j + left)
modulo the stride, so outputs fall into stride · stride phases, each a plain convolution by every stride-th tap: columns
are gathered and tiles computed as for CONV_2D. Instead of the reference's scattering into an int32 image, because that
image is four times the output in RAM, and no product here is with a zero that a stride has put in. Every weight is
stored once; what is repeated in each phase is the 16 bytes or so of requantization of a channel.

Within a phase the taps of a row are stored from the last to the first, so that the pixels they read are neighbours.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycompiler.kernels.base import Constant, Context, Field, Invocation, Kernel, Lowered, Site, round_up
from tinycompiler.kernels.convolution import ConvDsp, ConvKernel, ConvScalar, pairs_why_not
from tinycompiler.kernels.requantize import requantization
from tinycompiler.ops import TransposeConv
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import DType


@dataclass(frozen=True)
class TransposeConvContext(Context):
    """Variables of kernels/transpose_conv.c.j2."""

    pixels: int
    """Output pixels of one tile."""
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
        streams = [
            self.convolution.pack(flat, requantization(site, flat, op.clamp), y.zero_point, op.clamp)
            for flat in weights
        ]
        offsets = [sum(len(s) for s in streams[:i]) for i in range(len(streams))]
        most = max(flat.shape[1] for flat in weights)
        (n, in_h, in_w, in_c), (_, out_h, out_w, out_c), (_, kh, kw, _) = x.shape, y.shape, w.shape
        top, left = op.before((kh, kw))
        fields: dict[str, Field] = {
            "stream": Constant(np.concatenate(streams)),
            "phase": Constant(np.array(offsets, np.int32), table=True),
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
            "fill": x.zero_point,
        }
        if not op.clamp.is_natural:
            fields |= {"low": op.clamp.low, "high": op.clamp.high}
        pixels = min(self.convolution.pixels, -(-out_w // op.stride[1]))
        context = TransposeConvContext(
            pixels=pixels,
            rows=-(-kh // op.stride[0]),
            direct=in_c % 4 == 0,
            clamped=not op.clamp.is_natural,
        )
        return Lowered(
            inner=("requantize", "column", "tile:twice"),
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
