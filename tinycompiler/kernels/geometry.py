"""A convolution as loop nests see it: sizes, windows, weights of each output channel."""

from dataclasses import dataclass

import numpy as np

from tinycompiler.kernels.base import Site
from tinycompiler.ops import Clamp, Conv2D, FullyConnected, Op, Window
from tinycompiler.ops.base import Ints


@dataclass(frozen=True)
class Geometry:
    """Of a convolution as the loop nest sees it."""

    batches: int
    in_h: int
    in_w: int
    in_c: int
    out_h: int
    out_w: int
    out_c: int
    window: Window
    pointwise: bool

    @property
    def pixels(self) -> int:
        """Of the output."""
        return self.batches * self.out_h * self.out_w

    @property
    def taps(self) -> int:
        kh, kw = self.window.kernel
        return kh * kw * self.in_c

    @property
    def run_pixels(self) -> int:
        """Pixels under a row of the kernel that lie one after another in the input."""
        return self.window.kernel[1] if self.window.dilation[1] == 1 else 1

    @property
    def runs(self) -> int:
        """Of a row of the kernel."""
        return self.window.kernel[1] // self.run_pixels

    @property
    def run(self) -> int:
        """Taps that lie one after another in the input."""
        return self.in_c * self.run_pixels


def geometry(site: Site) -> Geometry:
    """Of CONV_2D, or of FULLY_CONNECTED seen as one; a pointwise layer is one row of all its pixels."""
    x, w, y = site.inputs[0], site.inputs[1], site.outputs[0]
    if isinstance(site.op, FullyConnected):
        units, depth = w.shape
        pixels = x.elements // depth
        return Geometry(1, 1, pixels, depth, 1, pixels, units, Window((1, 1)), True)
    assert isinstance(site.op, Conv2D)
    (n, in_h, in_w, in_c), (_, out_h, out_w, out_c) = x.shape, y.shape
    window = site.op.window
    if window == Window((1, 1)):
        pixels = n * in_h * in_w
        return Geometry(1, 1, pixels, in_c, 1, pixels, out_c, window, True)
    return Geometry(n, in_h, in_w, in_c, out_h, out_w, out_c, window, False)


def clamp_of(op: Op) -> Clamp:
    clamp = getattr(op, "clamp", Clamp())
    assert isinstance(clamp, Clamp)
    return clamp


def one_group(site: Site) -> bool:
    """Whether every output channel of a CONV_2D reads every input channel."""
    assert isinstance(site.op, Conv2D)
    return site.op.groups(site.inputs) == 1


def flat_weights(site: Site) -> Ints:
    """Weights as (out_c, taps), taps in the order (row, column, channel)."""
    w = site.inputs[1]
    return w.values.astype(np.int64).reshape(w.shape[0], -1)
