"""PRELU and DIV of int8 tensors, with numpy's broadcasting: a constant decides what happens to the other operand."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycompiler import fixed_point
from tinycompiler.fixed_point import Multiplier, multiply_by_quantized_multiplier, quantize_multiplier
from tinycompiler.ops.activation import DISTANCES, GREATEST, overflow
from tinycompiler.ops.base import Ints, Numerics, Shape, Tensors, Values, signed
from tinycompiler.ops.elementwise import Elementwise
from tinycompiler.tensor import Array

LEAST_HEADROOM = 23
"""Sign bits to spare in a - zero_point."""


@dataclass(frozen=True)
class Prelu(Elementwise):
    """x where it is not negative, else alpha·x; alpha broadcasts to the shape of x."""

    name: ClassVar[str] = "PRELU"

    @staticmethod
    def multipliers(inputs: Tensors, outputs: Tensors, numerics: Numerics) -> tuple[Multiplier, Multiplier]:
        """Of x and of alpha·x; LiteRT forms the real scales in float32, TensorFlow Lite Micro in double."""
        wide = np.float32 if numerics is Numerics.LITERT else np.float64
        x, alpha, y = (wide(t.scale) for t in (*inputs, *outputs))
        with np.errstate(over="ignore"):
            reals = float(x / y), float(x * alpha / y)
        same, slope = (quantize_multiplier(min(real, GREATEST)) for real in reals)
        return same, slope

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (inputs[0].shape,)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        problem = super().why_not(inputs, outputs)
        if problem:
            return problem
        x, alpha = inputs
        if np.broadcast_shapes(x.shape, alpha.shape) != x.shape:
            return f"alpha of shape {alpha.shape} does not broadcast to shape {x.shape}"
        found = [self.multipliers(inputs, outputs, numerics) for numerics in Numerics]
        problems = (overflow(same) or overflow(slope, DISTANCES**2) for same, slope in found)
        return next((p for p in problems if p), None)

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        x, alpha = (signed(v) - t.zero_point for v, t in zip(values, inputs, strict=True))
        same, slope = self.multipliers(inputs, outputs, numerics)
        above = multiply_by_quantized_multiplier(x, same.value, same.shift)
        below = multiply_by_quantized_multiplier(x * alpha, slope.value, slope.shift)
        result = np.where(x >= 0, above, below)
        return (self.clamp(result + outputs[0].zero_point).astype(np.int8),)


@dataclass(frozen=True)
class Div(Elementwise):
    """a / b for a constant b without zeros, by b's reciprocal in fixed point."""

    name: ClassVar[str] = "DIV"

    @staticmethod
    def multiplier(inputs: Tensors, outputs: Tensors, numerics: Numerics) -> Multiplier:
        """Of the quotient; LiteRT forms the real scale in float32, TensorFlow Lite Micro in double."""
        wide = np.float32 if numerics is Numerics.LITERT else np.float64
        a, b, y = (wide(t.scale) for t in (*inputs, *outputs))
        with np.errstate(over="ignore", divide="ignore"):
            return quantize_multiplier(min(float(a / (b * y)), GREATEST))

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        problem = super().why_not(inputs, outputs)
        if problem:
            return problem
        b = inputs[1]
        if b.data is None:
            return f"divisor '{b.name}' is computed at run time and may be zero, at which the reference stops"
        if (b.data == b.zero_point).any():
            return f"divisor '{b.name}' holds a zero"
        magnitudes = np.abs(signed(b.data) - b.zero_point)
        right = bit_length(np.array([magnitudes.min(), magnitudes.max()])) - 1
        shifts = [self.multiplier(inputs, outputs, numerics).shift for numerics in Numerics]
        if right[0] - max(shifts) < -LEAST_HEADROOM or right[1] - min(shifts) > 0:
            return (
                f"divisors of magnitude {magnitudes.min()} to {magnitudes.max()} with the output's scale "
                f"{outputs[0].scale:.6g} are undefined in the reference (it shifts by more than 31); multiply by the "
                "reciprocal instead"
            )
        return None

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        a, b = (signed(v) - t.zero_point for v, t in zip(values, inputs, strict=True))
        m = self.multiplier(inputs, outputs, numerics)
        a, b = np.broadcast_arrays(a * np.sign(b), np.abs(b))
        bits = bit_length(b)
        reciprocal = fixed_point.one_over_one_plus_x((b << (32 - bits)) - 2**31)
        headroom = 31 - bit_length(np.where(a < 0, ~a, a))
        quotient = fixed_point.saturating_rounding_doubling_high_mul(a << headroom, reciprocal)
        product = fixed_point.saturating_rounding_doubling_high_mul(quotient, m.value)
        result = fixed_point.rounding_divide_by_power_of_two(product, headroom + bits - 1 - m.shift)
        return (self.clamp(result + outputs[0].zero_point).astype(np.int8),)


def bit_length(x: Ints) -> Ints:
    """Of non-negative values below 2^53."""
    return np.frexp(x.astype(np.float64))[1].astype(np.int64)
