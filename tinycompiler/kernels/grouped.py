"""CONV_2D of several groups: the columns and tiles of CONV_2D, one group's after another for the same pixels."""

from dataclasses import dataclass, replace
from typing import ClassVar

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
from tinycompiler.kernels.conv_scalar import ConvScalar
from tinycompiler.kernels.convolution import ConvDsp, ConvKernel
from tinycompiler.kernels.geometry import clamp_of, flat_weights, one_group
from tinycompiler.kernels.requantize import Requantization, pairs_why_not, requantization
from tinycompiler.ops import Conv2D
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import DType


@dataclass(frozen=True)
class GroupedContext(Context):
    """Variables of kernels/grouped_conv_2d.c.j2."""

    pixels: int
    """Output pixels of one tile."""
    tile: str
    """See kernels/conv_2d.c.j2."""
    kernel_height: int
    direct: bool
    """A group's input channels are a multiple of four: they are widened straight into the column (dsp)."""
    clamped: bool


def groups_of(site: Site) -> list[tuple[Ints, Requantization]]:
    """Each group's weights as (channels, taps), and its requantization."""
    assert isinstance(site.op, Conv2D)
    weights, count = flat_weights(site), site.op.groups(site.inputs)
    r, each = requantization(site, weights, clamp_of(site.op)), len(weights) // count
    found = []
    for group in range(count):
        s = slice(group * each, (group + 1) * each)
        arrays = {key: getattr(r, key)[s] for key in ("bias", "multiplier", "shift", "reach", "constant")}
        found.append((weights[s], replace(r, **arrays)))
    return found


class GroupedKernel(Kernel):
    """What both instruction sets share."""

    template = "grouped_conv_2d"
    ops = (Conv2D,)
    types = (DType.INT8,)
    convolution: ClassVar[ConvKernel]
    """Whose tiles and streams are used."""

    def is_for(self, site: Site) -> bool:
        return super().is_for(site) and not one_group(site)

    def lower(self, site: Site) -> Lowered:
        op, x, y = site.op, site.inputs[0], site.outputs[0]
        assert isinstance(op, Conv2D)
        clamp, window = clamp_of(op), op.window
        groups = groups_of(site)
        tile = self.convolution.tile([r for _, r in groups])
        streams = [self.convolution.pack(weights, r, y.zero_point, clamp, tile) for weights, r in groups]
        (n, in_h, in_w, in_c), (_, out_h, out_w, out_c) = x.shape, y.shape
        depth, taps = in_c // len(groups), groups[0][0].shape[1]
        fields: dict[str, Field] = {
            "stream": Constant(np.concatenate(streams)),
            "middle": 1 + 2 * y.zero_point,
            "groups": len(groups),
            "words": len(streams[0]),
            "depth": depth,
            "filters": out_c // len(groups),
            "taps": taps,
            "batches": n,
            "in_h": in_h,
            "in_w": in_w,
            "in_c": in_c,
            "out_h": out_h,
            "out_w": out_w,
            "out_c": out_c,
            "kernel_w": window.kernel[1],
            **window_fields(window),
            "fill": x.zero_point,
        }
        if not clamp.is_natural:
            fields |= {"low": clamp.low, "high": clamp.high}
        context = GroupedContext(
            pixels=min(self.convolution.pixels, out_w),
            tile=tile,
            kernel_height=window.kernel[0],
            direct=depth % 4 == 0,
            clamped=not clamp.is_natural,
        )
        return Lowered(
            inner=("requantize", "column", *self.convolution.shapes, f"tile:{tile}"),
            context=context,
            invocations=(Invocation((x.name, y.name), fields),),
            scratch=round_up(self.convolution.columns(taps, context.direct, context.pixels), 4),
        )


class GroupedScalar(GroupedKernel):
    """Runs everywhere."""

    name = "grouped_conv_2d_s8_scalar"
    convolution = ConvScalar()


class GroupedDsp(GroupedKernel):
    """Two pixels by two channels of a group."""

    name = "grouped_conv_2d_s8_dsp"
    isa = "dsp"
    convolution = ConvDsp()

    def why_not(self, site: Site) -> str | None:
        return next((why for weights, r in groups_of(site) if (why := pairs_why_not(weights, r))), None)
