"""DEPTHWISE_CONV_2D whose taps lie evenly spaced in memory: one column, one row, or all columns of the input under the
kernel, and no border.

So it is in networks over time (windows of Kx1) and where one kernel sees the whole image. No pointers are gathered: a
tap is a step further than the one before. Two taps are interleaved before they are widened, which takes six
instructions for eight values; weights are held doubled, as int16, so that accumulators need no doubling.

Chosen: weights of 16 bits instead of 8, because unpacking them would take a quarter of the time, and there are few.
Taps that are zero for all four channels at an end of the window are left out: kernels of different lengths, joined to
one, have such.
"""

from dataclasses import dataclass

import numpy as np

from tinycompiler.kernels.base import Constant, Context, Field, Invocation, Kernel, Lowered, Site, quads, words
from tinycompiler.kernels.depthwise import DepthwiseDsp, tap_weights
from tinycompiler.kernels.geometry import clamp_of
from tinycompiler.kernels.order import by_windows
from tinycompiler.kernels.requantize import Requantization, pad_channels, requantization
from tinycompiler.ops import Clamp, DepthwiseConv2D, Window
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array, DType


@dataclass(frozen=True)
class SpacedContext(Context):
    """Variables of kernels/depthwise_spaced.c.j2."""

    variant: str
    """twice, or positive: see Requantization.kind."""
    clamped: bool


def spacing(window: Window, width: int) -> int | None:
    """Pixels from a tap to the next, in an image of this width; None where that is not the same for all taps."""
    (height, columns), (down, right) = window.kernel, window.dilation
    if columns == 1:
        return down * width
    if height == 1 or (columns * right, down) == (width, 1):
        return right
    return None


class DepthwiseSpaced(Kernel):
    """Armv7E-M and Armv8-M with DSP, four channels or more, any number of outputs."""

    name = "depthwise_conv_2d_s8_spaced"
    template = "depthwise_spaced"
    isa = "dsp"
    ops = (DepthwiseConv2D,)
    types = (DType.INT8,)

    def why_not(self, site: Site) -> str | None:
        assert isinstance(site.op, DepthwiseConv2D)
        window, width = site.op.window, site.inputs[0].shape[2]
        if window.kernel == (1, 1):
            return "there is one tap; two or more are supported"
        if window.padding:
            return "some taps are outside the image"
        if spacing(window, width) is None:
            return f"the taps of a {window.kernel} kernel are not evenly spaced in an image {width} pixels wide"
        return DepthwiseDsp().why_not(site)

    def lower(self, site: Site) -> Lowered:
        op, x, y = site.op, site.inputs[0], site.outputs[0]
        assert isinstance(op, DepthwiseConv2D)
        clamp, weights, window = clamp_of(op), tap_weights(site), op.window
        (batches, _, in_w, channels), (_, out_h, out_w, _) = x.shape, y.shape
        apart = spacing(window, in_w)
        assert apart is not None
        r = requantization(site, weights, clamp)
        stream = self._pack(weights, r, y.zero_point, clamp, apart * channels)
        fields: dict[str, Field] = {
            "stream": Constant(stream),
            "words": stream.size,
            "batches": batches,
            "out_h": out_h,
            "out_w": out_w,
            "channels": channels,
            "in_bytes": x.bytes // batches,
            "row_step": window.stride[0] * in_w * channels,
            "pixel_step": window.stride[1] * channels,
            "tap_step": apart * channels,
            "middle": 1 + 2 * y.zero_point,
        }
        if not clamp.is_natural:
            fields |= {"low": clamp.low, "high": clamp.high}
        return Lowered(
            inner=(f"spaced:{r.kind}",),
            context=SpacedContext(r.kind, clamped=not clamp.is_natural),
            invocations=(Invocation((x.name, y.name), fields),),
            order=by_windows(x, y, window, together=1, apart=False),
        )

    def _pack(self, weights: Ints, r: Requantization, zero_point: int, clamp: Clamp, step: int) -> Array:
        """Per four channels, see inner/dsp/spaced.h.j2: where their values begin, how many taps, doubled biases,
        doubled weights, multipliers, shifts - 1 as bytes, the first channel.
        """
        padded, bias, multiplier, shift = pad_channels(weights, r, zero_point, clamp)
        parts: list[Array] = []
        for four in quads(len(weights)):
            first, taps = live_taps(padded[four])
            pairs, single = divmod(taps.shape[1], 2)
            head = words(np.array([first * step + four[0], 32 * pairs + single]))
            less = (shift[four] - 1).astype(np.uint8).view(np.uint32)
            tail = (words(multiplier[four]), less, words(four[:1]))
            parts += [head, words(2 * bias[four]), _halves(2 * taps), *tail]
        return np.concatenate(parts).astype(np.uint32)


def live_taps(weights: Ints) -> tuple[int, Ints]:
    """(channels, taps) weights without zeros at both ends, at least two taps; and which was the first."""
    live = np.flatnonzero(weights.any(axis=0))
    count = weights.shape[1]
    first, end = (int(live[0]), int(live[-1]) + 1) if live.size else (0, 0)
    first = min(first, count - 2)
    return first, weights[:, first : max(end, first + 2)]


def _halves(weights: Ints) -> Array:
    """(4, taps) as words: of an odd number of taps the first in channels (0,2), (1,3); then for two taps a, b the
    words (a,b) of each channel.
    """
    single = weights.shape[1] % 2
    halves = np.concatenate([weights[[0, 2, 1, 3], :single].T.ravel(), _pairs(weights[:, single:]).ravel()])
    return np.ascontiguousarray(halves.astype(np.int16)).view(np.uint32)


def _pairs(weights: Ints) -> Ints:
    """(4, taps) as (pairs, channel, tap)."""
    pairs: Ints = weights.reshape(4, -1, 2).transpose(1, 0, 2)
    return pairs
