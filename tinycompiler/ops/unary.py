"""Unary operators beyond the rectifiers: each only says its function, of which `Unary` makes the table.

Two kinds of reference stand behind them. Some compute in integers, and the function here is that arithmetic. Others
fill a table from float32; here every step is rounded to float32 as there, and what the C library computes (exp, log,
tanh, erfc) is rounded correctly. Libraries differ in that last bit, so where two of them would round an output to
different steps the reference itself depends on its host: about one table in a thousand of GELU, fewer of the others.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycompiler import fixed_point
from tinycompiler.fixed_point import (
    Multiplier,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    reciprocal_square_root,
    round_half_away,
)
from tinycompiler.ops import int16
from tinycompiler.ops.activation import GREATEST, Rectifier, Unary, overflow, q4_why_not, ratio
from tinycompiler.ops.base import INT8_OR_INT16, Ints, Numerics, Tensors, activations_why_not, only_in
from tinycompiler.tensor import DType, Tensor


@dataclass(frozen=True)
class ReluN1To1(Rectifier):
    """min(max(x, -1), 1)."""

    name: ClassVar[str] = "RELU_N1_TO_1"
    floor: ClassVar[float] = -1.0
    ceiling: ClassVar[float | None] = 1.0

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        return only_in(Numerics.LITERT, numerics, self.name)


@dataclass(frozen=True)
class Relu0To1(ReluN1To1):
    """min(max(x, 0), 1)."""

    name: ClassVar[str] = "RELU_0_TO_1"
    floor: ClassVar[float] = 0.0


@dataclass(frozen=True)
class Rescaling(Unary):
    """Functions that scale by input scale / output scale, at most."""

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        return super().why_not(inputs, outputs) or overflow(ratio(inputs[0], outputs[0], Numerics.TFLM))


@dataclass(frozen=True)
class Abs(Rescaling):
    """|x|, rescaled where the scales differ."""

    name: ClassVar[str] = "ABS"

    def function(self, x: Ints, source: Tensor, target: Tensor, numerics: Numerics) -> Ints:
        magnitude = np.abs(x - source.zero_point)
        if source.scale == target.scale:
            return magnitude + target.zero_point
        m = ratio(source, target, numerics)
        return multiply_by_quantized_multiplier(magnitude, m.value, m.shift) + target.zero_point


@dataclass(frozen=True)
class Neg(Unary):
    """-x of the stored values, whatever the scales and zero points are; -128 stays what it is."""

    name: ClassVar[str] = "NEG"

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        return only_in(Numerics.LITERT, numerics, self.name)

    def function(self, x: Ints, source: Tensor, target: Tensor, numerics: Numerics) -> Ints:
        return np.where(x == -128, -128, -x)


@dataclass(frozen=True)
class LeakyRelu(Rescaling):
    """x where it is not negative, else alpha·x, each rescaled by a multiplier of its own."""

    name: ClassVar[str] = "LEAKY_RELU"
    alpha: float = 0.0

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        if not (math.isfinite(self.alpha) and self.alpha >= 0):
            return f"alpha {self.alpha} must be zero or positive"
        return super().why_not(inputs, outputs) or overflow(ratio(inputs[0], outputs[0], Numerics.TFLM, self.alpha))

    def function(self, x: Ints, source: Tensor, target: Tensor, numerics: Numerics) -> Ints:
        centered = x - source.zero_point
        same, slope = (ratio(source, target, numerics, factor) for factor in (1.0, self.alpha))
        above = multiply_by_quantized_multiplier(centered, same.value, same.shift)
        below = multiply_by_quantized_multiplier(centered, slope.value, slope.shift)
        return np.where(centered >= 0, above, below) + target.zero_point


@dataclass(frozen=True)
class HardSwish(Unary):
    """x · min(max(x + 3, 0), 6) / 6, in 16-bit fixed point: the second factor is "reluish", in [0, 1)."""

    name: ClassVar[str] = "HARD_SWISH"

    @staticmethod
    def multipliers(source: Tensor, target: Tensor) -> tuple[Multiplier, Multiplier]:
        """Of x to the output's scale and of x to reluish's, from 1/128 steps of the input; 16-bit values."""
        fine = np.float32(1 / 128) * np.float32(source.scale)
        with np.errstate(over="ignore"):
            reals = float(fine / np.float32(target.scale)), float(fine / (np.float32(3) / np.float32(32768)))
        wide = [quantize_multiplier(min(real, GREATEST)) for real in reals]
        output, reluish = (Multiplier(min((m.value + (1 << 15)) >> 16, 2**15 - 1), m.shift) for m in wide)
        return output, reluish

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        problem = super().why_not(inputs, outputs)
        if problem:
            return problem
        output, reluish = self.multipliers(inputs[0], outputs[0])
        if not -15 <= output.shift <= 0 or not -15 <= reluish.shift <= 30:
            return (
                f"scales {inputs[0].scale} and {outputs[0].scale} are too far apart for the reference's 16-bit "
                "arithmetic; quantize the network again"
            )
        return None

    def function(self, x: Ints, source: Tensor, target: Tensor, numerics: Numerics) -> Ints:
        output, reluish = self.multipliers(source, target)
        fine = (x - source.zero_point) << 7
        scaled = _doubling_high_16(fine, output.value)
        gate = fine
        if reluish.shift > 0:
            gate = np.clip(gate << (reluish.shift - 1), -(2**15), 2**15 - 1)
        gate = _doubling_high_16(gate, reluish.value)
        if reluish.shift > 0:
            gate = np.clip(gate << 1, -(2**15), 2**15 - 1)
        gate = fixed_point.rounding_divide_by_power_of_two(gate, max(-reluish.shift, 0))
        gate = (gate + (1 << 15)) >> 1
        product = gate * scaled
        high = np.sign(product) * (np.abs(product) >> 15)  # this one rounds towards zero
        return fixed_point.rounding_divide_by_power_of_two(high, -output.shift) + target.zero_point


def _doubling_high_16(a: Ints, b: int) -> Ints:
    """round(a·b / 2^15) of 16-bit values, halves up; b is not negative, so nothing saturates."""
    product = a * b
    nudged = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    high: Ints = np.sign(nudged) * (np.abs(nudged) >> 15)
    return high


@dataclass(frozen=True)
class RootLike(Unary):
    """Functions of values that are not negative; the references stop at an input that is."""

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        problem = super().why_not(inputs, outputs)
        if problem is None and inputs[0].zero_point != -128:
            return (
                f"input zero point {inputs[0].zero_point} allows negative values, at which the reference stops; "
                "its input must be quantized with zero point -128"
            )
        return problem


@dataclass(frozen=True)
class Sqrt(RootLike):
    """√x in float32, rounded towards zero."""

    name: ClassVar[str] = "SQRT"

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        return only_in(Numerics.LITERT, numerics, self.name)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        problem = super().why_not(inputs, outputs)
        if problem is None and math.sqrt(255 * inputs[0].scale) / outputs[0].scale >= 2**31 - 256:
            return overflow(Multiplier(0, 31))
        return problem

    def function(self, x: Ints, source: Tensor, target: Tensor, numerics: Numerics) -> Ints:
        real = np.float32(source.scale) * (x - source.zero_point).astype(np.float32)
        steps: Ints = np.trunc(np.sqrt(real) / np.float32(target.scale)).astype(np.int64)
        return steps + target.zero_point


@dataclass(frozen=True)
class Rsqrt(RootLike):
    """1 / √x in fixed point; the greatest output for 0."""

    name: ClassVar[str] = "RSQRT"
    ROOM: ClassVar[int] = 20
    """Bits by which 1 / √integer is raised."""

    @staticmethod
    def multiplier(source: Tensor, target: Tensor) -> Multiplier:
        """1 / (√input scale · output scale), whose product is float32."""
        root = np.sqrt(np.float32(source.scale)) * np.float32(target.scale)
        return quantize_multiplier(min(1 / float(root), GREATEST)) if root > 0 else Multiplier(2**30, 127)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        problem = super().why_not(inputs, outputs)
        if problem is None and not -11 <= self.multiplier(inputs[0], outputs[0]).shift <= 30:
            return f"scales {inputs[0].scale} and {outputs[0].scale} are outside the reference's fixed point"
        return problem

    def function(self, x: Ints, source: Tensor, target: Tensor, numerics: Numerics) -> Ints:
        m = self.multiplier(source, target)
        roots = [reciprocal_square_root(int(v)) for v in np.maximum(x - source.zero_point, 1)]
        one, shift = np.int64(1), np.array([r.shift for r in roots]) + self.ROOM
        raised = multiply_by_quantized_multiplier(np.full(len(x), one), np.array([r.value for r in roots]), shift)
        result = multiply_by_quantized_multiplier(raised, m.value, m.shift - self.ROOM) + target.zero_point
        return np.where(x == source.zero_point, target.dtype.range[1], result)


@dataclass(frozen=True)
class Float(Unary):
    """Functions whose reference fills a table from float32."""

    def real(self, x: np.float32, target: Tensor) -> np.float32:
        """f of a real number."""
        raise NotImplementedError

    def steps(self, source: Tensor, target: Tensor) -> list[float]:
        """f of every value of the input, in output steps before the zero point, not yet rounded."""
        inverse = np.float32(1) / np.float32(target.scale)
        low, high = source.dtype.range
        reals = np.float32(source.scale) * (np.arange(low, high + 1) - source.zero_point).astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            return [float(self.real(real, target) * inverse) for real in reals]

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        problem = super().why_not(inputs, outputs)
        if problem is None and not all(abs(s) < 2**31 - 256 for s in self.steps(inputs[0], outputs[0])):
            return (
                f"with the input's scale {inputs[0].scale} it reaches values beyond int32 in steps of "
                f"{outputs[0].scale}, which are undefined in the reference; quantize the network again"
            )
        return problem

    def function(self, x: Ints, source: Tensor, target: Tensor, numerics: Numerics) -> Ints:
        rounded = np.array([round_half_away(s) for s in self.steps(source, target)], np.int64)
        return rounded[x - source.dtype.range[0]] + target.zero_point


def _library(function: Callable[[float], float], x: np.float32) -> np.float32:
    """A function of the C library, rounded once to float32."""
    try:
        return np.float32(function(float(x)))
    except OverflowError:
        return np.float32(np.inf)


@dataclass(frozen=True)
class Exp(Float):
    """exp(x)."""

    name: ClassVar[str] = "EXP"

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        return only_in(Numerics.LITERT, numerics, self.name)

    def real(self, x: np.float32, target: Tensor) -> np.float32:
        return _library(math.exp, x)


@dataclass(frozen=True)
class Log(Float):
    """log(x), the least output where x is not positive."""

    name: ClassVar[str] = "LOG"

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        return only_in(Numerics.LITERT, numerics, self.name)

    def real(self, x: np.float32, target: Tensor) -> np.float32:
        if x <= 0:
            return np.float32(target.dtype.range[0] - target.zero_point) * np.float32(target.scale)
        return _library(math.log, x)


@dataclass(frozen=True)
class Elu(Float):
    """x where it is not negative, else exp(x) - 1."""

    name: ClassVar[str] = "ELU"

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        return only_in(Numerics.TFLM, numerics, self.name)

    def real(self, x: np.float32, target: Tensor) -> np.float32:
        return x if x >= 0 else _library(math.exp, x) - np.float32(1)


@dataclass(frozen=True)
class Gelu(Float):
    """x · Φ(x), by erfc or by the approximation with tanh."""

    name: ClassVar[str] = "GELU"
    approximate: bool = False

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        return only_in(Numerics.LITERT, numerics, self.name)

    def real(self, x: np.float32, target: Tensor) -> np.float32:
        half = np.float32(0.5) * x
        if not self.approximate:
            return half * _library(math.erfc, x * np.float32(-math.sqrt(0.5)))
        inner = x + np.float32(0.044715) * x * x * x
        return half * (np.float32(1) + _library(math.tanh, np.float32(math.sqrt(2 / math.pi)) * inner))


@dataclass(frozen=True)
class Tanh(Float):
    """tanh(x). LiteRT fills a table in float32; TensorFlow Lite Micro computes in fixed point."""

    name: ClassVar[str] = "TANH"
    activations: ClassVar[tuple[DType, ...]] = INT8_OR_INT16

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        if inputs[0].dtype is DType.INT16:
            wrong = activations_why_not(inputs, outputs, self.activations)
            return wrong or int16.curve_why_not(inputs[0], outputs[0])
        problem = super().why_not(inputs, outputs)
        if problem is None and (outputs[0].scale, outputs[0].zero_point) != (1 / 128, 0):
            return f"output quantization {outputs[0].quantization} must be (1/128, zero point 0)"
        return problem

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        return q4_why_not(inputs[0], numerics)

    def real(self, x: np.float32, target: Tensor) -> np.float32:
        return _library(math.tanh, x)

    def function(self, x: Ints, source: Tensor, target: Tensor, numerics: Numerics) -> Ints:
        if source.dtype is DType.INT16:
            return int16.tanh(x, source.scale)
        if numerics is Numerics.LITERT:
            return super().function(x, source, target, numerics)
        centered = x - source.zero_point
        radius, in_q4 = fixed_point.to_q4(centered, source.scale)
        result = fixed_point.rounding_divide_by_power_of_two(fixed_point.tanh(in_q4, 4), 31 - 7)
        return np.where(centered <= -radius, -128, np.where(centered >= radius, 127, result))


@dataclass(frozen=True)
class LogicalNot(Unary):
    """true of false, and false of everything else."""

    name: ClassVar[str] = "LOGICAL_NOT"

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        for tensor in (*inputs, *outputs):
            if tensor.dtype is not DType.BOOL:
                return f"tensor '{tensor.name}' is {tensor.dtype.value}, and bool is needed"
        return None

    def function(self, x: Ints, source: Tensor, target: Tensor, numerics: Numerics) -> Ints:
        return np.where(x == 0, 1, 0)
