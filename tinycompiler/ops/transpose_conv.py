"""TRANSPOSE_CONV: every input pixel is spread over the output by a window."""

from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

import numpy as np

from tinycompiler.ops import int16
from tinycompiler.ops.base import INT8_OR_INT16, Clamp, Ints, Numerics, Op, Shape, Tensors, Values, only_in, signed
from tinycompiler.ops.convolution import (
    accumulators_why_not,
    bias_of,
    constants,
    multipliers,
    same_padding,
    scaled_output,
    weights_why_not,
)
from tinycompiler.ops.scaling import scaling_why_not
from tinycompiler.tensor import Array, DType


@dataclass(frozen=True)
class TransposeConv(Op):
    """x (n, h, w, c_in), weights (c_out, kh, kw, c_in), bias (c_out) -> (n, height, width, c_out).

    Tap (r, s) of input pixel (i, j) falls on output pixel (i·stride + r - top, j·stride + s - left), or outside.
    """

    name: ClassVar[str] = "TRANSPOSE_CONV"
    activations: ClassVar[tuple[DType, ...]] = INT8_OR_INT16
    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    same: bool = False
    """TensorFlow's padding SAME: the output is what a convolution of such padding would make the input of."""
    clamp: Clamp = field(default_factory=Clamp)
    bias_type: DType | None = field(default=None, repr=False)
    """What the file says that the bias is, with int16 activations."""

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return ((inputs[0].shape[0], *self.size, inputs[1].shape[0]),)

    def macs(self, inputs: Tensors, outputs: Tensors) -> int:
        return inputs[0].elements * prod(inputs[1].shape[:3])

    def before(self, kernel: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns that fall outside before the output: its (top, left)."""
        if not self.same:
            return 0, 0
        top, left = (same_padding(n, k, s, 1)[0] for n, k, s in zip(self.size, kernel, self.stride, strict=True))
        return top, left

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        x, weights = inputs[:2]
        if len(x.shape) != 4 or len(weights.shape) != 4 or weights.shape[3] != x.shape[3]:
            return f"input {x.shape} and weights {weights.shape} must have rank 4 and the same number of channels"
        if outputs[0].shape[1:3] != self.size:
            return f"output shape {outputs[0].shape} is not of size {self.size}"
        channels, *kernel, _ = weights.shape
        for n, k, s, found in zip(self.size, kernel, self.stride, x.shape[1:3], strict=True):
            wanted = -(-n // s) if self.same else (n - k + s) // s
            if wanted != found:
                return f"an output of {self.size} needs {wanted} input pixels along an axis, and there are {found}"
        problem = super().why_not((x,), outputs) or weights_why_not(weights, channels, 0)
        if problem:
            return problem
        taps = signed(weights.values).reshape(channels, -1)
        problem = accumulators_why_not(inputs, outputs, taps, self.bias_type)
        return problem or (None if x.dtype is DType.INT16 else self._scaling_why_not(inputs, outputs, taps))

    @staticmethod
    def _scaling_why_not(inputs: Tensors, outputs: Tensors, taps: Ints) -> str | None:
        x, channels = inputs[0], len(taps)
        bias = bias_of(inputs, constants(inputs), channels)
        reach = np.abs(taps).sum(axis=1) * max(127 - x.zero_point, x.zero_point + 128) + np.abs(bias)
        chosen = multipliers(x, inputs[1], outputs[0], channels)
        problem = None
        for channel, (r, m) in enumerate(zip(reach, chosen, strict=True)):
            problem = problem or scaling_why_not(int(r), m, f"output channel {channel}")
        return problem

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        if inputs[0].dtype is not DType.INT16:
            return None
        if int16.accumulator(inputs, self.bias_type) is DType.INT32:
            problem = only_in(Numerics.LITERT, numerics, "TRANSPOSE_CONV of int16 with an int32 bias")
            if problem:
                return problem
        return int16.bias_type_why_not(inputs, self.bias_type) if numerics is Numerics.LITERT else None

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        x, weights, y = inputs[0], inputs[1], outputs[0]
        channels, kh, kw, _ = weights.shape
        (n, h, w, _), (sh, sw), (height, width) = x.shape, self.stride, self.size
        top, left = self.before((kh, kw))
        centered = (signed(values[0]) - x.zero_point).astype(np.float64)  # exact, and the fast matrix product
        spread = np.zeros((n, max((h - 1) * sh + kh, top + height), max((w - 1) * sw + kw, left + width), channels))
        for r in range(kh):
            for s in range(kw):
                part = centered @ values[1][:, r, s].astype(np.float64).T
                spread[:, r : r + (h - 1) * sh + 1 : sh, s : s + (w - 1) * sw + 1 : sw] += part
        image = spread[:, top : top + height, left : left + width].astype(np.int64)
        accumulators = image + bias_of(inputs, values, channels)
        return (scaled_output(accumulators, inputs, y, self.bias_type, self.clamp),)
