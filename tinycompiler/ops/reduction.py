"""MEAN over any axes."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from tinycompiler.fixed_point import Multiplier, multiply_by_quantized_multiplier, quantize_multiplier
from tinycompiler.ops.base import Clamp, Numerics, Op, Shape, Tensors, Values, signed
from tinycompiler.tensor import Array


@dataclass(frozen=True)
class Mean(Op):
    """x -> x without the axes (or with size 1 there); axes are sorted and not negative."""

    name: ClassVar[str] = "MEAN"
    axes: tuple[int, ...]
    keep_dims: bool = False

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        shape = inputs[0].shape
        if self.keep_dims:
            return (tuple(1 if i in self.axes else n for i, n in enumerate(shape)),)
        return (tuple(n for i, n in enumerate(shape) if i not in self.axes),)

    def count(self, inputs: Tensors) -> int:
        """How many values one output is the mean of."""
        return prod(inputs[0].shape[i] for i in self.axes)

    def multiplier(self, inputs: Tensors, outputs: Tensors) -> Multiplier:
        """in_scale / (out_scale · count): the division by count is folded into the integer multiplier, truncating."""
        base = quantize_multiplier(inputs[0].scale / outputs[0].scale)
        count = self.count(inputs)
        raised = min(count.bit_length() - 1, 32, 31 + base.shift)
        return Multiplier((base.value << raised) // count, base.shift - raised)

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        x, y = inputs[0], outputs[0]
        total = signed(values[0]).sum(axis=self.axes) - x.zero_point * self.count(inputs)
        m = self.multiplier(inputs, outputs)
        scaled = multiply_by_quantized_multiplier(total, m.value, m.shift)
        return (Clamp()(scaled + y.zero_point).astype(np.int8).reshape(y.shape),)
