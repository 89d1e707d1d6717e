"""Squared differences and extremes of two int8 tensors, with numpy's broadcasting."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycompiler.fixed_point import Multiplier, multiply_by_quantized_multiplier, quantize_multiplier
from tinycompiler.ops.base import Numerics, Tensors, Values, signed
from tinycompiler.ops.elementwise import Elementwise
from tinycompiler.tensor import Array, Tensor

TOO_FINE = "the output's scale {} is too fine for the inputs': the reference needs a multiplier below 1"


def fits_one(real: float, output: Tensor) -> bool:
    """Whether real / output scale is a multiplier that needs no left shift."""
    return real < output.scale and quantize_multiplier(real / output.scale).shift <= 0


@dataclass(frozen=True)
class Maximum(Elementwise):
    """The greater of the stored values, whatever their scales are."""

    name: ClassVar[str] = "MAXIMUM"

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        return (self.clamp(np.maximum(*(signed(v) for v in values))).astype(np.int8),)


@dataclass(frozen=True)
class Minimum(Elementwise):
    """The smaller of the stored values, whatever their scales are."""

    name: ClassVar[str] = "MINIMUM"

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        return (self.clamp(np.minimum(*(signed(v) for v in values))).astype(np.int8),)


@dataclass(frozen=True)
class SquaredDifference(Elementwise):
    """(a - b)², of operands at twice the larger scale and 7 bits up."""

    name: ClassVar[str] = "SQUARED_DIFFERENCE"
    LEFT_SHIFT: ClassVar[int] = 7

    @classmethod
    def multipliers(cls, inputs: Tensors, outputs: Tensors) -> tuple[Multiplier, Multiplier, Multiplier]:
        """Of the two operands and of the square."""
        a, b = inputs[0].scale, inputs[1].scale
        common = 2 * max(a, b)
        square = common * common / ((1 << 2 * cls.LEFT_SHIFT) * outputs[0].scale)
        return quantize_multiplier(a / common), quantize_multiplier(b / common), quantize_multiplier(square)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        problem = super().why_not(inputs, outputs)
        if problem:
            return problem
        square = (2 * max(t.scale for t in inputs)) ** 2 / (1 << 2 * self.LEFT_SHIFT)
        return None if fits_one(square, outputs[0]) else TOO_FINE.format(outputs[0].scale)

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        first, second, square = self.multipliers(inputs, outputs)
        raised = [(signed(v) - t.zero_point) << self.LEFT_SHIFT for v, t in zip(values, inputs, strict=True)]
        a = multiply_by_quantized_multiplier(raised[0], first.value, first.shift)
        b = multiply_by_quantized_multiplier(raised[1], second.value, second.shift)
        scaled = multiply_by_quantized_multiplier((a - b) ** 2, square.value, square.shift)
        return (self.clamp(scaled + outputs[0].zero_point).astype(np.int8),)
