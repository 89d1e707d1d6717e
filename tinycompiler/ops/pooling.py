"""AVERAGE_POOL_2D and MAX_POOL_2D; pixels outside the image do not count."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from tinycompiler.ops.base import INT8_OR_INT16, Clamp, Ints, Numerics, Op, Shape, Tensors, Values, signed
from tinycompiler.ops.convolution import Window
from tinycompiler.tensor import Array, DType


@dataclass(frozen=True)
class Pool2D(Op):
    """x (n, h, w, c) -> (n, out_h, out_w, c)."""

    activations: ClassVar[tuple[DType, ...]] = INT8_OR_INT16
    window: Window
    clamp: Clamp = field(default_factory=Clamp)

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        n, h, w, c = inputs[0].shape
        return ((n, *self.window.output_size(h, w), c),)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        x, y = inputs[0], outputs[0]
        if len(x.shape) != 4:
            return f"input must have rank 4, not {len(x.shape)}"
        problem = super().why_not(inputs, outputs)
        if problem is None and x.quantization != y.quantization:
            return f"input {x.quantization} and output {y.quantization} must have the same quantization"
        return problem


@dataclass(frozen=True)
class AveragePool2D(Pool2D):
    """The mean of the pixels inside, halves away from zero; in raw int8, since both sides have one quantization."""

    name: ClassVar[str] = "AVERAGE_POOL_2D"

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        x = signed(values[0])
        total = self.window.patches(x, 0).sum(axis=(3, 4))
        count = self.window.patches(np.ones_like(x), 0).sum(axis=(3, 4))
        half = np.where(total > 0, count // 2, -(count // 2))
        return (self.clamp(truncated_quotient(total + half, count)).astype(outputs[0].dtype.numpy),)


@dataclass(frozen=True)
class MaxPool2D(Pool2D):
    """The largest pixel inside."""

    name: ClassVar[str] = "MAX_POOL_2D"

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        y = outputs[0]
        largest = self.window.patches(signed(values[0]), y.dtype.range[0]).max(axis=(3, 4))
        return (self.clamp(largest).astype(y.dtype.numpy),)


def truncated_quotient(a: Ints, b: Ints) -> Ints:
    """a / b rounded toward zero, as C divides."""
    quotient: Ints = np.sign(a) * (np.abs(a) // b)
    return quotient
