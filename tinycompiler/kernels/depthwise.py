"""DEPTHWISE_CONV_2D: for each output pixel a list of pointers, one per tap, then all channels.

Chosen: tap pointers, with taps outside the image pointing at one row of zero points, instead of a column, because
depthwise taps are read once and copying them would double the work. The row of zero points costs `channels` bytes of
scratch.
"""

from dataclasses import dataclass, replace

import numpy as np

from tinycompiler.kernels.base import (
    Constant,
    Context,
    Field,
    Invocation,
    Kernel,
    Lowered,
    Site,
    quads,
    round_up,
    window_fields,
    words,
)
from tinycompiler.kernels.geometry import clamp_of
from tinycompiler.kernels.order import by_windows
from tinycompiler.kernels.requantize import Requantization, pad_channels, requantization
from tinycompiler.ops import Clamp, DepthwiseConv2D
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array, DType


@dataclass(frozen=True)
class DepthwiseContext(Context):
    """Variables of kernels/depthwise_conv_2d.c.j2."""

    kernel_height: int
    kernel_width: int
    clamped: bool
    rowwise: bool = False
    """One row of outputs, from row pointers."""


def tap_weights(site: Site) -> Ints:
    """Weights as (channels, taps), taps in the order (row, column)."""
    w = site.inputs[1]
    return w.values.astype(np.int64).reshape(-1, w.shape[3]).T


class DepthwiseKernel(Kernel):
    """What both instruction sets share."""

    template = "depthwise_conv_2d"
    ops = (DepthwiseConv2D,)
    types = (DType.INT8,)

    def pack(self, weights: Ints, r: Requantization, zero_point: int, clamp: Clamp) -> Array:
        raise NotImplementedError

    def lower(self, site: Site) -> Lowered:
        op, x, y = site.op, site.inputs[0], site.outputs[0]
        assert isinstance(op, DepthwiseConv2D)
        clamp = clamp_of(op)
        weights = tap_weights(site)
        r = requantization(site, weights, clamp)
        window = op.window
        (n, in_h, in_w, in_c), (_, out_h, out_w, out_c) = x.shape, y.shape
        fields: dict[str, Field] = {
            "stream": Constant(self.pack(weights, r, y.zero_point, clamp)),
            "batches": n,
            "in_h": in_h,
            "in_w": in_w,
            "in_c": in_c,
            "out_h": out_h,
            "out_w": out_w,
            "multiplier": out_c // in_c,
            **window_fields(window),
            "middle": 1 + 2 * y.zero_point,
            "fill": x.zero_point,
        }
        if not clamp.is_natural:
            fields |= {"low": clamp.low, "high": clamp.high}
        context = DepthwiseContext(*window.kernel, clamped=not clamp.is_natural)
        return Lowered(
            inner=("requantize", "column", "depthwise"),
            context=context,
            invocations=(Invocation((x.name, y.name), fields),),
            scratch=round_up(in_c, 4),
            order=by_windows(x, y, window, together=1, apart=False),
        )

    def lower_row(self, site: Site) -> Lowered | None:
        lowered = self.lower(site)
        assert isinstance(lowered.context, DepthwiseContext)
        return replace(lowered, context=replace(lowered.context, rowwise=True), order=())


class DepthwiseScalar(DepthwiseKernel):
    """Runs everywhere, any depth multiplier."""

    name = "depthwise_conv_2d_s8_scalar"

    def pack(self, weights: Ints, r: Requantization, zero_point: int, clamp: Clamp) -> Array:
        """Per channel: bias, multiplier, right shift, zero point, then the taps."""
        channels, taps = weights.shape
        padded = np.zeros((channels, round_up(taps, 4)), np.int8)
        padded[:, :taps] = weights
        header = (r.bias, r.multiplier, r.shift, np.full(channels, zero_point))
        return np.column_stack([*(words(v) for v in header), padded.view(np.uint32)]).astype(np.uint32).ravel()


class DepthwiseDsp(DepthwiseKernel):
    """Four channels and two taps at a time."""

    name = "depthwise_conv_2d_s8_dsp"
    isa = "dsp"

    def why_not(self, site: Site) -> str | None:
        x, y = site.inputs[0], site.outputs[0]
        if y.shape[3] != x.shape[3]:
            return f"the depth multiplier is {y.shape[3] // x.shape[3]}; 1 is supported"
        if x.shape[3] < 4:
            return f"there are {x.shape[3]} channels; 4 or more are supported"
        r = requantization(site, tap_weights(site), clamp_of(site.op))
        live = ~r.constant
        if ((r.shift < 1) | (r.shift > 22))[live].any():
            return "some channel's right shift is outside 1 to 22"
        if (r.reach[live] >= 2**30).any():
            return "some accumulator can reach 2^30, and accumulators are doubled"
        return None

    def pack(self, weights: Ints, r: Requantization, zero_point: int, clamp: Clamp) -> Array:
        """Per four channels: biases; for every two taps a, b the bytes 0a 2a 0b 2b, 1a 3a 1b 3b; shifts - 1 as
        bytes; multipliers.
        """
        _, bias, multiplier, shift = pad_channels(weights, r, zero_point, clamp)
        channels, taps = weights.shape
        groups = quads(channels)
        padded = np.zeros((channels, round_up(taps, 2)), np.int8)
        padded[:, :taps] = weights
        # (groups of channels, channel, pairs of taps, tap)
        grouped = padded[groups].reshape(len(groups), 4, -1, 2)
        order = np.stack([grouped[:, [0, 2]], grouped[:, [1, 3]]], axis=1)  # (groups, word, half, pairs, tap)
        packed = np.ascontiguousarray(order.transpose(0, 3, 1, 4, 2)).reshape(len(groups), -1).view(np.uint32)
        shifts = (shift[groups] - 1).astype(np.uint8).view(np.uint32)
        columns = [words(bias[groups]), packed, shifts, words(multiplier[groups])]
        return np.column_stack(columns).astype(np.uint32).ravel()
