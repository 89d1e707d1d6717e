"""ADD and MUL of two int8 tensors, with numpy's broadcasting."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from tinycompiler.fixed_point import Multiplier, multiply_by_quantized_multiplier, quantize_multiplier
from tinycompiler.ops.base import Clamp, Numerics, Op, Shape, Tensors, Values, signed
from tinycompiler.tensor import Array

ADD_LEFT_SHIFT = 20
"""Bits by which ADD raises its int8 operands before scaling them (TFLite add.cc)."""


@dataclass(frozen=True)
class Elementwise(Op):
    """a, b -> their broadcast shape."""

    clamp: Clamp = field(default_factory=Clamp)

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (np.broadcast_shapes(inputs[0].shape, inputs[1].shape),)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        try:
            np.broadcast_shapes(inputs[0].shape, inputs[1].shape)
        except ValueError:
            return f"shapes {inputs[0].shape} and {inputs[1].shape} do not broadcast"
        return super().why_not(inputs, outputs)


@dataclass(frozen=True)
class Add(Elementwise):
    """Both operands are brought to twice the larger scale, added, and brought to the output's."""

    name: ClassVar[str] = "ADD"

    @staticmethod
    def multipliers(inputs: Tensors, outputs: Tensors) -> tuple[Multiplier, Multiplier, Multiplier]:
        """Of the two operands and of the sum."""
        a, b, y = inputs[0].scale, inputs[1].scale, outputs[0].scale
        common = 2 * max(a, b)
        return (
            quantize_multiplier(a / common),
            quantize_multiplier(b / common),
            quantize_multiplier(common / ((1 << ADD_LEFT_SHIFT) * y)),
        )

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        first, second, total = self.multipliers(inputs, outputs)
        raised = [(signed(v) - t.zero_point) << ADD_LEFT_SHIFT for v, t in zip(values, inputs, strict=True)]
        a = multiply_by_quantized_multiplier(raised[0], first.value, first.shift)
        b = multiply_by_quantized_multiplier(raised[1], second.value, second.shift)
        scaled = multiply_by_quantized_multiplier(a + b, total.value, total.shift)
        return (self.clamp(scaled + outputs[0].zero_point).astype(np.int8),)


@dataclass(frozen=True)
class Mul(Elementwise):
    """The product of the operands without their zero points, scaled once."""

    name: ClassVar[str] = "MUL"

    @staticmethod
    def multiplier(inputs: Tensors, outputs: Tensors, numerics: Numerics) -> Multiplier:
        """LiteRT forms the real scale in float32, TensorFlow Lite Micro in double."""
        a, b, y = inputs[0].scale, inputs[1].scale, outputs[0].scale
        if numerics is Numerics.LITERT:
            return quantize_multiplier(float(np.float32(a) * np.float32(b) / np.float32(y)))
        return quantize_multiplier(a * b / y)

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        a, b = (signed(v) - t.zero_point for v, t in zip(values, inputs, strict=True))
        m = self.multiplier(inputs, outputs, numerics)
        scaled = multiply_by_quantized_multiplier(a * b, m.value, m.shift)
        return (self.clamp(scaled + outputs[0].zero_point).astype(np.int8),)
