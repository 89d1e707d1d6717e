"""ADD, SUB and MUL of two tensors, with numpy's broadcasting; and the base of all such operators."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from tinycompiler.fixed_point import Multiplier, multiply_by_quantized_multiplier, quantize_multiplier
from tinycompiler.ops import int16
from tinycompiler.ops.activation import DISTANCES, GREATEST, overflow
from tinycompiler.ops.base import INT8_OR_INT16, Clamp, Numerics, Op, Shape, Tensors, Values, signed
from tinycompiler.tensor import Array, DType

ADD_LEFT_SHIFT = 20
"""Bits by which ADD and SUB raise their int8 operands before scaling them (TFLite add.cc)."""


@dataclass(frozen=True)
class Broadcasting(Op):
    """a, b -> their broadcast shape."""

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (np.broadcast_shapes(*(x.shape for x in inputs)),)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        return broadcast_why_not(inputs) or super().why_not(inputs, outputs)


def broadcast_why_not(inputs: Tensors) -> str | None:
    """A sentence when the operands' shapes do not broadcast, or one has a scale for each channel."""
    try:
        np.broadcast_shapes(*(x.shape for x in inputs))
    except ValueError:
        return f"shapes {' and '.join(str(x.shape) for x in inputs)} do not broadcast"
    for x in inputs:
        if x.quantization is not None and len(x.quantization.scales) > 1:
            return f"tensor '{x.name}' has {len(x.quantization.scales)} scales; one scale per tensor is supported"
    return None


@dataclass(frozen=True)
class Elementwise(Broadcasting):
    """Such an operator with a clamp on its result."""

    clamp: Clamp = field(default_factory=Clamp)


@dataclass(frozen=True)
class Additive(Elementwise):
    """ADD and SUB: operands are brought to twice the larger scale, added or subtracted, and brought to the output's."""

    sign: ClassVar[int]
    """Of the second operand."""
    activations: ClassVar[tuple[DType, ...]] = INT8_OR_INT16
    power_of_two: bool = field(default=False, repr=False)
    """Whether LiteRT only shifts int16 operands whose scales are powers of two (pot_scale_int16)."""

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        problem = super().why_not(inputs, outputs)
        if problem is None and not self._is_fraction(inputs, outputs):
            found = f"the output's scale {outputs[0].scale:.6g} is too small for a sum of such inputs"
            return f"{found}: the references need a multiplier below 1"
        return problem

    def _is_fraction(self, inputs: Tensors, outputs: Tensors) -> bool:
        """Whether the sum is scaled down, as the references demand."""
        real = 2 * max(t.scale for t in inputs) / ((1 << self.left_shift(outputs)) * outputs[0].scale)
        return real < 1 and self.multipliers(inputs, outputs)[2].shift <= 0

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        if self.shifts(inputs, outputs, numerics) is None:
            return None
        return int16.shifts_why_not(inputs, outputs)

    def shifts(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> tuple[int, int] | None:
        """By how much the operands are only shifted, where they are."""
        if not self.power_of_two or numerics is not Numerics.LITERT or outputs[0].dtype is not DType.INT16:
            return None
        return int16.shifts(inputs, outputs)

    @staticmethod
    def multipliers(inputs: Tensors, outputs: Tensors) -> tuple[Multiplier, Multiplier, Multiplier]:
        """Of the two operands and of the sum."""
        a, b, y = inputs[0].scale, inputs[1].scale, outputs[0].scale
        common = 2 * max(a, b)
        raised = Additive.left_shift(outputs)
        return (
            quantize_multiplier(a / common),
            quantize_multiplier(b / common),
            quantize_multiplier(common / ((1 << raised) * y)),
        )

    @staticmethod
    def left_shift(outputs: Tensors) -> int:
        """Bits by which the operands are raised first."""
        return int16.ADD_LEFT_SHIFT if outputs[0].dtype is DType.INT16 else ADD_LEFT_SHIFT

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        by = self.shifts(inputs, outputs, numerics)
        if by is not None:
            total_of_shifted = int16.sum_of_shifted(signed(values[0]), self.sign * signed(values[1]), by)
            return (self.clamp(total_of_shifted).astype(np.int16),)
        first, second, total = self.multipliers(inputs, outputs)
        left = self.left_shift(outputs)
        raised = [(signed(v) - t.zero_point) << left for v, t in zip(values, inputs, strict=True)]
        a = multiply_by_quantized_multiplier(raised[0], first.value, first.shift)
        b = multiply_by_quantized_multiplier(raised[1], second.value, second.shift)
        scaled = multiply_by_quantized_multiplier(a + self.sign * b, total.value, total.shift)
        return (self.clamp(scaled + outputs[0].zero_point).astype(outputs[0].dtype.numpy),)


@dataclass(frozen=True)
class Add(Additive):
    """a + b."""

    name: ClassVar[str] = "ADD"
    sign: ClassVar[int] = 1

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        problem = super().numerics_why_not(inputs, outputs, numerics)
        shifted = self.shifts(inputs, outputs, numerics) is not None
        if problem is None and shifted and inputs[0].shape != inputs[1].shape:
            return "LiteRT does not broadcast ADD where scales are powers of two; convert with pot_scale_int16 false"
        return problem


@dataclass(frozen=True)
class Sub(Additive):
    """a - b."""

    name: ClassVar[str] = "SUB"
    sign: ClassVar[int] = -1


@dataclass(frozen=True)
class Mul(Elementwise):
    """The product of the operands without their zero points, scaled once."""

    name: ClassVar[str] = "MUL"
    activations: ClassVar[tuple[DType, ...]] = INT8_OR_INT16

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        y = outputs[0]
        too_small = inputs[0].scale * inputs[1].scale >= y.scale
        if y.dtype is DType.INT16 and (too_small or self.multiplier(inputs, outputs, numerics).shift > 0):
            return f"the output's scale {outputs[0].scale:.6g} is too small: products of int16 would overflow"
        if y.dtype is DType.INT8:
            return overflow(self.multiplier(inputs, outputs, numerics), DISTANCES**2)
        return None

    @staticmethod
    def multiplier(inputs: Tensors, outputs: Tensors, numerics: Numerics) -> Multiplier:
        """LiteRT forms the real scale in float32, TensorFlow Lite Micro in double."""
        a, b, y = inputs[0].scale, inputs[1].scale, outputs[0].scale
        if numerics is Numerics.TFLM:
            return quantize_multiplier(min(a * b / y, GREATEST))
        with np.errstate(over="ignore"):
            return quantize_multiplier(min(float(np.float32(a) * np.float32(b) / np.float32(y)), GREATEST))

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        a, b = (signed(v) - t.zero_point for v, t in zip(values, inputs, strict=True))
        m = self.multiplier(inputs, outputs, numerics)
        scaled = multiply_by_quantized_multiplier(a * b, m.value, m.shift)
        return (self.clamp(scaled + outputs[0].zero_point).astype(outputs[0].dtype.numpy),)
