"""CONV_2D and FULLY_CONNECTED with one output pixel, whose taps lie one after another in the input: a matrix times a
vector.

So it is in networks over time and at the end of most. Weights are read once each, so what counts is how few loads and
instructions they take: four output channels at a time share the taps, and the weights of both pairs (see
kernels/convolution.py) stand side by side, so that one LDM brings sixteen of them.

Chosen: pairs of channels in a word instead of weights of 16 bits, since loads make up for what unpacking takes, and the
weights are half as large. A single output channel has weights of 16 bits: there is nothing to pair. Taps are widened as
they come instead of into a column once: that would save one cycle in a hundred and take twice the input in scratch.
"""

from dataclasses import dataclass

import numpy as np

from tinycompiler.kernels.base import (
    Constant,
    Context,
    Field,
    Invocation,
    Lowered,
    Site,
    quads,
    round_up,
    words,
)
from tinycompiler.kernels.convolution import DenseKernel
from tinycompiler.kernels.depthwise_spaced import spacing
from tinycompiler.kernels.geometry import clamp_of, flat_weights, geometry
from tinycompiler.kernels.order import by_pixels
from tinycompiler.kernels.requantize import Requantization, pad_channels, pairs_why_not, requantization
from tinycompiler.ops import Clamp
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array

CHUNK = 8
"""Taps that a single output channel takes at once."""


@dataclass(frozen=True)
class VectorContext(Context):
    """Variables of kernels/conv_vector.c.j2 and kernels/conv_dot.c.j2."""

    variant: str
    """Of the inner loop: twice, positive or once, see Requantization.kind."""
    rest: int
    """Taps behind the last whole word, or chunk."""
    clamped: bool


def vector_why_not(site: Site) -> str | None:
    """What both kernels ask of the node's shape."""
    g = geometry(site)
    if g.pixels > 1:
        return f"there are {g.pixels:,} output pixels; one is supported"
    if g.window.padding:
        return "some taps are outside the image"
    if g.window.kernel != (1, 1) and spacing(g.window, g.in_w) != 1:
        return f"the taps of a {g.window.kernel} kernel do not lie one after another in an image {g.in_w} pixels wide"
    return None


class VectorKernel(DenseKernel):
    """What both have in common."""

    isa = "dsp"

    def pack(self, weights: Ints, r: Requantization, zero_point: int, clamp: Clamp) -> Array:
        """The stream of uint32 words that the inner loop reads."""
        raise NotImplementedError

    def variant(self, r: Requantization) -> str:
        """Of the inner loop."""
        return r.kind

    def lower_with(self, site: Site, inner: str, unit: int, scratch: int) -> Lowered:
        """`unit`: taps that are taken together."""
        x, y, clamp, weights = site.inputs[0], site.outputs[0], clamp_of(site.op), flat_weights(site)
        r = requantization(site, weights, clamp)
        channels, taps = weights.shape
        stream = self.pack(weights, r, y.zero_point, clamp)
        fields: dict[str, Field] = {"stream": Constant(stream), "taps": taps, "middle": 1 + 2 * y.zero_point}
        if channels > 1:
            fields |= {"words": stream.size, "out_c": channels}
        if not clamp.is_natural:
            fields |= {"low": clamp.low, "high": clamp.high}
        return Lowered(
            inner=(f"{inner}:{self.variant(r)}",),
            context=VectorContext(self.variant(r), taps % unit, clamped=not clamp.is_natural),
            invocations=(Invocation((x.name, y.name), fields),),
            scratch=scratch,
            order=by_pixels(x, y, 1, together=1, apart=scratch > 0 or channels == 1),
        )


class ConvVector(VectorKernel):
    """An even number of output channels, four or more."""

    name = "conv_2d_s8_vector"
    template = "conv_vector"

    def why_not(self, site: Site) -> str | None:
        why, weights = vector_why_not(site), flat_weights(site)
        if why is not None:
            return why
        if len(weights) % 2 or len(weights) < 4:
            return f"there are {len(weights)} output channels; an even number of four or more is supported"
        why = site.no_room("a copy of its taps takes", self._scratch(weights.shape[1]))
        return why or pairs_why_not(weights, requantization(site, weights, clamp_of(site.op)))

    def _scratch(self, taps: int) -> int:
        """The last word must not reach beyond the input."""
        return round_up(taps, 4) if taps % 4 else 0

    def lower(self, site: Site) -> Lowered:
        taps = flat_weights(site).shape[1]
        return self.lower_with(site, "vector", 4, self._scratch(taps))

    def pack(self, weights: Ints, r: Requantization, zero_point: int, clamp: Clamp) -> Array:
        """Per four channels A, B, C, D, see inner/dsp/vector.h.j2: for every four taps the words (0,2), (1,3) of
        wA + 256·wB, and those of C and D; shifts - 1 as bytes, the first channel; M and doubled biases of both pairs.
        """
        weights, bias, multiplier, shift = pad_channels(weights, r, zero_point, clamp)
        padded = np.pad(weights, ((0, 0), (0, -weights.shape[1] % 4)))
        fours = quads(len(weights))
        # (groups of channels, pair, channel, groups of taps, tap)
        taps = padded[fours].reshape(len(fours), 2, 2, -1, 4)
        paired = (taps[:, :, 0] + 256 * taps[:, :, 1]).transpose(0, 2, 1, 3)[..., [0, 2, 1, 3]]
        stream = paired.astype(np.int16).reshape(len(fours), -1).view(np.uint32)
        less = (shift[fours] - 1).astype(np.uint8).view(np.uint32)
        ends = [words(v[fours[:, i : i + 2]]) for i in (0, 2) for v in (multiplier, 2 * bias)]
        return np.column_stack([stream, less, words(fours[:, :1]), *ends]).astype(np.uint32).ravel()


class ConvDot(VectorKernel):
    """A single output."""

    name = "conv_2d_s8_dot"
    template = "conv_dot"

    def why_not(self, site: Site) -> str | None:
        why, weights = vector_why_not(site), flat_weights(site)
        if why is not None:
            return why
        if len(weights) > 1:
            return f"there are {len(weights)} output channels; one is supported"
        return pairs_why_not(weights, requantization(site, weights, clamp_of(site.op)))

    def lower(self, site: Site) -> Lowered:
        return self.lower_with(site, "dot", CHUNK, 0)

    def pack(self, weights: Ints, r: Requantization, zero_point: int, clamp: Clamp) -> Array:
        """See inner/dsp/dot.h.j2: doubled bias, M, shift - 1; doubled weights, (0,2), (1,3) of every four taps, the
        rest in their order.
        """
        weights, bias, multiplier, shift = pad_channels(weights, r, zero_point, clamp)
        taps = 2 * weights[0].astype(np.int16)
        whole = len(taps) // CHUNK * CHUNK
        chunks = taps[:whole].reshape(-1, 4)[:, [0, 2, 1, 3]].ravel()
        rest = np.pad(taps[whole:], (0, len(taps) % 2))
        halves = np.concatenate([chunks, rest]).astype(np.int16).view(np.uint32)
        head = words(np.array([2 * bias[0], multiplier[0], shift[0] - 1]))
        return np.concatenate([head, halves]).astype(np.uint32)
