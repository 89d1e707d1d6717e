"""CONV_2D whose weights are stored without their zeros, and unpacked into scratch before the dense kernel runs.

For zeros that are too few for a sparse kernel to be faster: a bit for each byte, and the bytes that are not zero. All
weights are unpacked at once, since each tile of pixels reads them all; so this takes as much RAM as it saves and more,
and is only for layers whose weights fit where the arena has room.
"""

from dataclasses import replace

import numpy as np

from tinycompiler.kernels.base import Lowered, Site, round_up
from tinycompiler.kernels.convolution import ConvContext, ConvDsp
from tinycompiler.kernels.geometry import clamp_of, flat_weights, geometry
from tinycompiler.kernels.requantize import Requantization, requantization
from tinycompiler.ops import Clamp
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array

USUAL, MOST = 4_096, 1 << 16
"""Bytes that unpacked weights may take even where that raises the peak, and where it does not."""


class ConvBitmap(ConvDsp):
    """Several pixels, or one read by several channels: where each weight is read once, there is no sense in it."""

    name = "conv_2d_s8_bitmap"
    rival = True
    encoding = "bitmap"

    def why_not(self, site: Site) -> str | None:
        g, dense = geometry(site), self.dense_bytes(site)
        if g.pixels == 1:
            return "each weight is read once: unpacking it would take longer than all else"
        room = site.scratch(USUAL, MOST)
        if dense > room:
            return f"unpacked weights take {dense:,} bytes of scratch, and {room:,} are to be had"
        why = super().why_not(self._beside(site))
        weights = flat_weights(site)
        size = weights.size // 8 + int((weights != 0).sum())
        if why is None and size >= weights.size:
            zeros = (weights == 0).mean()
            return f"{zeros:.0%} of its weights are zero: a bitmap takes {size:,} bytes instead of {weights.size:,}"
        return why

    def dense_bytes(self, site: Site) -> int:
        """Of the stream that the tile reads."""
        weights = flat_weights(site)
        wide = requantization(site, weights, clamp_of(site.op)).wide
        channels, taps = round_up(len(weights), 2), round_up(weights.shape[1], 4)
        return channels * (taps + (12 if wide else 8))

    def _beside(self, site: Site) -> Site:
        """With what is left of the scratch."""
        return site if site.limit is None else replace(site, limit=site.limit - self.dense_bytes(site))

    def lower(self, site: Site) -> Lowered:
        lowered = super().lower(self._beside(site))
        assert isinstance(lowered.context, ConvContext)
        *head, tile = lowered.inner
        return replace(
            lowered,
            inner=(*head, "unpack", tile),
            context=replace(lowered.context, packed=True),
            scratch=lowered.scratch + self.dense_bytes(site),
        )

    def lower_row(self, site: Site) -> Lowered | None:
        """For each row anew would be too often."""
        return None

    def pack(self, weights: Ints, r: Requantization, zero_point: int, clamp: Clamp, tile: str) -> Array:
        return without_zeros(super().pack(weights, r, zero_point, clamp, tile))


def without_zeros(stream: Array) -> Array:
    """See inner/dsp/unpack.h.j2."""
    halves = stream.view(np.uint8).reshape(-1, 2).astype(np.int64)
    halves[:, 1] += halves[:, 0] >> 7  # what sign extension of the first takes off the second
    data = (halves.ravel() & 0xFF).astype(np.uint8)
    bits = np.packbits(data != 0, bitorder="little")
    parts = (np.array([stream.size], np.uint32).view(np.uint8), _filled(bits), _filled(data[data != 0]))
    return np.concatenate(parts).view(np.uint32)


def _filled(data: Array) -> Array:
    """Up to a whole word."""
    return np.pad(data, (0, -data.size % 4))
