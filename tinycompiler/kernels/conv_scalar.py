"""CONV_2D and FULLY_CONNECTED as plainly as can be: what runs everywhere, whatever the numbers, in the least flash."""

import numpy as np

from tinycompiler.kernels.base import round_up, words
from tinycompiler.kernels.convolution import ConvKernel
from tinycompiler.kernels.geometry import Geometry
from tinycompiler.kernels.requantize import Requantization
from tinycompiler.ops import Clamp
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array


class ConvScalar(ConvKernel):
    """Runs everywhere; one pixel at a time against an int8 column."""

    name = "conv_2d_s8_scalar"
    pixels = 1

    def columns(self, taps: int, direct: bool, pixels: int) -> int:
        return taps

    def scratch(self, g: Geometry, direct: bool, pixels: int) -> int:
        return 0 if g.pointwise else g.taps

    def pack(self, weights: Ints, r: Requantization, zero_point: int, clamp: Clamp, tile: str) -> Array:
        """Per channel: bias, multiplier, shift, zero point (or bias, zero point, scale as a double), then weights."""
        channels, taps = weights.shape
        padded = np.zeros((channels, round_up(taps, 4)), np.int8)
        padded[:, :taps] = weights
        if r.rounding == "real":
            scale = np.array(r.real, np.float64).view(np.uint32).reshape(channels, 2)
            header = np.column_stack([words(r.bias), np.full(channels, zero_point).astype(np.uint32), scale])
        else:
            header = np.column_stack([words(v) for v in (r.bias, r.multiplier, r.shift, np.full(channels, zero_point))])
        return np.column_stack([header, padded.view(np.uint32)]).astype(np.uint32).ravel()
