"""LOG_SOFTMAX and L2_NORMALIZATION along the last axis, in gemmlowp's fixed point in both profiles."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycompiler import fixed_point
from tinycompiler.fixed_point import Multiplier, multiply_by_quantized_multiplier, quantize_multiplier
from tinycompiler.ops.base import Numerics, Op, Shape, Tensors, Values, signed
from tinycompiler.tensor import Array, Tensor


@dataclass(frozen=True)
class Normalization(Op):
    """Rows along the last axis, each for itself."""

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (inputs[0].shape,)

    def _why_not(self, inputs: Tensors, outputs: Tensors, scale: float, zero_point: int) -> str | None:
        """What both operators demand: rows, and an output of one quantization."""
        problem = super().why_not(inputs, outputs)
        if problem is None and not inputs[0].shape:
            return "its input is a scalar, and a row is needed"
        if problem is None and (outputs[0].scale, outputs[0].zero_point) != (scale, zero_point):
            return f"output quantization {outputs[0].quantization} must be ({scale:g}, zero point {zero_point})"
        return problem


@dataclass(frozen=True)
class LogSoftmax(Normalization):
    """x - log Σ exp(x): exponentials added in Q12, differences and the logarithm in Q5."""

    name: ClassVar[str] = "LOG_SOFTMAX"

    DIFFERENCE_BITS: ClassVar[int] = 5
    ACCUMULATION_BITS: ClassVar[int] = 12
    OUTPUT_SHIFT: ClassVar[int] = 31 - 5 - 4
    """From Q5 to steps of 1/16."""

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        problem = super()._why_not(inputs, outputs, 1 / 16, 127)
        x = inputs[0]
        if problem is None and x.scale * (1 << (31 - self.DIFFERENCE_BITS)) <= 1:
            return f"the input's scale {x.scale} is too small for fixed point"
        if problem is None and x.shape[-1] >= 1 << self.ACCUMULATION_BITS:
            return f"a sum over {x.shape[-1]:,} exponentials can overflow int32; at most 4,095 are supported"
        return problem

    def multiplier(self, source: Tensor) -> Multiplier:
        """The input's scale in Q5 units; its shift is at least 1."""
        real = source.scale * (1 << (31 - self.DIFFERENCE_BITS))
        return quantize_multiplier(min(real, 2.0**31 - 1))

    def reverse(self, source: Tensor) -> Multiplier:
        """From Q5 to steps of the input."""
        m = self.multiplier(source)
        return quantize_multiplier((1 << (31 - m.shift)) / m.value)

    def exponentials(self, source: Tensor) -> Array:
        """exp(-d · scale) in Q12 for d = 0, 1, … as far as the reference adds them up; at most 256 values."""
        m = self.multiplier(source)
        count = min(255, fixed_point.input_radius(self.DIFFERENCE_BITS, m.shift)) + 1
        scaled = multiply_by_quantized_multiplier(-np.arange(count, dtype=np.int64), m.value, m.shift)
        exponential = fixed_point.exp_on_negative_values(scaled, self.DIFFERENCE_BITS)
        return fixed_point.rounding_divide_by_power_of_two(exponential, self.ACCUMULATION_BITS).astype(np.int32)

    def least_difference(self, source: Tensor) -> int:
        """The greatest -d that an output of -128 is certain for, before the row's sum is known."""
        return -fixed_point.input_radius(self.DIFFERENCE_BITS, self.multiplier(source).shift) - 1

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        x = inputs[0]
        rows = signed(values[0]).reshape(-1, x.shape[-1])
        table, m, reverse = signed(self.exponentials(x)), self.multiplier(x), self.reverse(x)
        difference = rows - rows.max(axis=1, keepdims=True)
        counted = -difference < len(table)
        total = np.where(counted, table[np.minimum(-difference, len(table) - 1)], 0).sum(axis=1, keepdims=True)
        logarithm = fixed_point.log_x_for_x_greater_than_or_equal_to_1(total)
        least = multiply_by_quantized_multiplier(logarithm - 2**31, reverse.value, reverse.shift)
        inside = difference > np.maximum(least, self.least_difference(x))
        in_q5 = multiply_by_quantized_multiplier(np.where(inside, difference, 0), m.value, m.shift)
        scaled = fixed_point.rounding_divide_by_power_of_two(in_q5 - logarithm, self.OUTPUT_SHIFT) + 127
        result = np.where(inside, np.clip(scaled, -128, 127), -128)
        return (result.astype(np.int8).reshape(outputs[0].shape),)


@dataclass(frozen=True)
class L2Normalization(Normalization):
    """x / sqrt(Σ x²), in steps of 1/128."""

    name: ClassVar[str] = "L2_NORMALIZATION"

    OUTPUT_BITS: ClassVar[int] = 7

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        problem = super()._why_not(inputs, outputs, 1 / 128, 0)
        x = inputs[0]
        if problem is None and x.shape[-1] * max(127 - x.zero_point, x.zero_point + 128) ** 2 >= 2**31:
            return f"a sum of {x.shape[-1]:,} squares can overflow an int32 accumulator"
        return problem

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        rank = len(inputs[0].shape)
        if numerics is Numerics.TFLM and rank > 4:
            return f"with tflm numerics: TensorFlow Lite Micro normalizes up to rank 4, not {rank}; reshape the input"
        return None

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        rows = signed(values[0]).reshape(-1, inputs[0].shape[-1]) - inputs[0].zero_point
        value, shift = fixed_point.inverse_square_root((rows * rows).sum(axis=1, keepdims=True))
        scaled = multiply_by_quantized_multiplier(rows, value, shift + self.OUTPUT_BITS)
        return (np.clip(scaled, -128, 127).astype(np.int8).reshape(outputs[0].shape),)
