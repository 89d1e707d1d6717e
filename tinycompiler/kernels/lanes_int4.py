"""CONV_2D and FULLY_CONNECTED whose weights are all within -8 and 7, in four bits each, on cores without DSP.

As kernels/conv_lanes.py, two weights in the halves of a word, but four taps of them come in one word, and a shift and a
mask take out one tap's. Products are so short that sixteen taps fit a half before it has to be split, which makes up
for most of that. Weights are stored + 8, so that a mask is enough; sums start with what that takes.
"""

import numpy as np

from tinycompiler.kernels.base import Site, words
from tinycompiler.kernels.conv_int4 import fits
from tinycompiler.kernels.conv_lanes import ConvLanes
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array


class LanesInt4(ConvLanes):
    """Runs everywhere; four output channels of one pixel."""

    name = "conv_2d_s4_lanes"
    rival = True
    tile = "lanes_s4"
    zeroed = True
    encoding = "int4"
    bits = 4

    def is_for(self, site: Site) -> bool:
        return super().is_for(site) and fits(site.inputs[1].values, 4)

    def lanes(self, fours: Ints) -> Array:
        """For every four taps a word of either pair: four fields of the first channel, four of the second."""
        fields = (fours + 8).reshape(len(fours), 2, 2, -1, 4)  # (four, pair, channel, four taps, tap)
        shifts = np.arange(0, 16, 4) + np.array([[[0]], [[16]]])
        return words((fields << shifts).sum(axis=(2, 4)).transpose(0, 2, 1).reshape(len(fours), -1))
