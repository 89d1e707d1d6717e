"""Unary int8 functions (LOGISTIC, RELU, RELU6) and SOFTMAX.

A unary function of an int8 is a table of 256 values that the host computes with the reference's own arithmetic, so
such an operator only says its function; evaluating it, compiling it and fusing it are the same for all of them.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tinycompiler import fixed_point
from tinycompiler.fixed_point import Multiplier, multiply_by_quantized_multiplier, quantize_multiplier, round_half_away
from tinycompiler.ops import int16
from tinycompiler.ops.base import INT8_OR_INT16, Clamp, Ints, Numerics, Op, Shape, Tensors, Values, signed
from tinycompiler.tensor import Array, DType, Tensor


@dataclass(frozen=True)
class Unary(Op):
    """y[i] = f(x[i]) for 8-bit x and y."""

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (inputs[0].shape,)

    def function(self, x: Ints, source: Tensor, target: Tensor, numerics: Numerics) -> Ints:
        """f of quantized values of `source`, in quantized units of `target`, before saturation."""
        raise NotImplementedError

    def table(self, source: Tensor, target: Tensor, numerics: Numerics) -> Array:
        """f of every value of the input's type, smallest first: 256 values of the output's type."""
        low, high = source.dtype.range
        values = self.function(np.arange(low, high + 1, dtype=np.int64), source, target, numerics)
        return np.clip(values, *target.dtype.range).astype(target.dtype.numpy)

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        table = self.table(inputs[0], outputs[0], numerics)
        return (table[signed(values[0]) - inputs[0].dtype.range[0]],)


def q4_why_not(source: Tensor, numerics: Numerics) -> str | None:
    """A sentence when an int8 input's scale has no multiplier to Q4, of which TensorFlow Lite Micro takes the curve."""
    if numerics is Numerics.LITERT or source.dtype is not DType.INT8 or source.scale >= fixed_point.LEAST_OF_Q4:
        return None
    return (
        f"with tflm numerics: the input's scale {source.scale} is below the reference's fixed point, whose least is "
        f"{fixed_point.LEAST_OF_Q4}; quantize the network again, or compile with --numerics litert"
    )


@dataclass(frozen=True)
class Logistic(Unary):
    """1 / (1 + exp(-x)). LiteRT fills a table in float32; TensorFlow Lite Micro computes in fixed point."""

    name: ClassVar[str] = "LOGISTIC"
    activations: ClassVar[tuple[DType, ...]] = INT8_OR_INT16

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        problem = super().why_not(inputs, outputs)
        if problem is None and inputs[0].dtype is DType.INT16:
            return int16.curve_why_not(inputs[0], outputs[0])
        if problem is None and (outputs[0].scale, outputs[0].zero_point) != (1 / 256, -128):
            return f"output quantization {outputs[0].quantization} must be (1/256, zero point -128)"
        return problem

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        return q4_why_not(inputs[0], numerics)

    def function(self, x: Ints, source: Tensor, target: Tensor, numerics: Numerics) -> Ints:
        if source.dtype is DType.INT16:
            return int16.logistic(x, source.scale)
        centered = x - source.zero_point
        if numerics is Numerics.LITERT:
            return np.array([_logistic_in_float(int(v), source.scale, target) for v in centered], np.int64)
        radius, in_q4 = fixed_point.to_q4(centered, source.scale)
        in_q0 = fixed_point.logistic(in_q4, 4)
        result = np.minimum(fixed_point.rounding_divide_by_power_of_two(in_q0, 23) - 128, 127)
        return np.where(centered <= -radius, -128, np.where(centered >= radius, 127, result))


def _logistic_in_float(centered: int, scale: float, target: Tensor) -> int:
    """float32 at every step, as LUTPopulate does it; exp is correctly rounded, as glibc's expf is to within 0.502
    ulp.
    """
    real = np.float32(scale) * np.float32(centered)
    one = np.float32(1)
    with np.errstate(over="ignore"):
        try:
            exponential = np.float32(math.exp(-float(real)))
        except OverflowError:
            exponential = np.float32(np.inf)
    scaled = one / (one + exponential) * (one / np.float32(target.scale))
    return round_half_away(float(scaled)) + target.zero_point


DISTANCES = 256
"""Values of x - zero_point of 8 bits are smaller than this, in magnitude."""


GREATEST = 2.0**126
"""A real multiplier beyond this is refused anyway."""


def distances(tensor: Tensor) -> int:
    """The same of any integer type, with symmetric int16."""
    return 32768 if tensor.dtype is DType.INT16 else DISTANCES


def overflow(multiplier: Multiplier, limit: int = DISTANCES) -> str | None:
    """A sentence when values below `limit` leave int32 on their way through a multiplier: undefined in the reference.

    >>> overflow(Multiplier(2**30, 23)), overflow(Multiplier(2**30, 24)) is None
    (None, False)
    """
    if limit << max(multiplier.shift, 0) > 2**31:
        return "its output scale is too fine for its input's: the reference overflows; quantize the network again"
    return None


def ratio(source: Tensor, target: Tensor, numerics: Numerics, factor: float = 1.0) -> Multiplier:
    """factor · from one scale to another; LiteRT computes it in float32, TensorFlow Lite Micro in double."""
    wide = np.float32 if numerics is Numerics.LITERT else np.float64
    with np.errstate(over="ignore"):
        real = float(wide(source.scale) * wide(factor) / wide(target.scale))
    return quantize_multiplier(min(real, GREATEST))


@dataclass(frozen=True)
class Rectifier(Unary):
    """max(x, floor), and min(…, ceiling) where there is one, rescaled to the output's quantization."""

    floor: ClassVar[float] = 0.0
    ceiling: ClassVar[float | None] = None

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        problem = super().why_not(inputs, outputs) or overflow(
            ratio(inputs[0], outputs[0], Numerics.TFLM), distances(inputs[0])
        )
        if problem is None and min(inputs[0].scale, outputs[0].scale) < 2.0**-27:
            return f"a scale of {min(inputs[0].scale, outputs[0].scale)} puts its bounds beyond int32"
        return problem

    def clamp(self, target: Tensor) -> Clamp:
        """The bounds in the output's units; quotients are float32, as in the reference."""
        low, high = target.dtype.range
        lower = max(low, target.zero_point + round_half_away(float(np.float32(self.floor) / np.float32(target.scale))))
        if self.ceiling is None:
            return Clamp(lower, high)
        top = target.zero_point + round_half_away(float(np.float32(self.ceiling) / np.float32(target.scale)))
        return Clamp(lower, max(lower, min(high, top)))

    def is_clamp_only(self, source: Tensor, target: Tensor, numerics: Numerics) -> bool:
        """Whether the operator changes nothing but by its bounds."""
        return source.quantization == target.quantization

    def function(self, x: Ints, source: Tensor, target: Tensor, numerics: Numerics) -> Ints:
        m = ratio(source, target, numerics)
        scaled = multiply_by_quantized_multiplier(x - source.zero_point, m.value, m.shift) + target.zero_point
        return self.clamp(target)(scaled)


@dataclass(frozen=True)
class Relu(Rectifier):
    """max(x, 0)."""

    name: ClassVar[str] = "RELU"
    activations: ClassVar[tuple[DType, ...]] = INT8_OR_INT16


@dataclass(frozen=True)
class Relu6(Rectifier):
    """min(max(x, 0), 6). TensorFlow Lite Micro clamps in the input's units and does not rescale."""

    name: ClassVar[str] = "RELU6"
    activations: ClassVar[tuple[DType, ...]] = INT8_OR_INT16
    ceiling: ClassVar[float | None] = 6.0

    def is_clamp_only(self, source: Tensor, target: Tensor, numerics: Numerics) -> bool:
        return numerics is Numerics.TFLM or super().is_clamp_only(source, target, numerics)

    def function(self, x: Ints, source: Tensor, target: Tensor, numerics: Numerics) -> Ints:
        if numerics is Numerics.TFLM:
            return self.clamp(source)(x)
        return super().function(x, source, target, numerics)


@dataclass(frozen=True)
class Softmax(Op):
    """exp(beta·x) / Σ exp(beta·x) along the last axis, in gemmlowp's fixed point in both profiles.

    Where the exponentials of a row of int8, each at most 1, add up to 512 or more, as 512 equal values do, both
    references end their process: the last shift is by more than 31 bits. Here it is taken in 64 bits, which gives -128.
    """

    name: ClassVar[str] = "SOFTMAX"
    activations: ClassVar[tuple[DType, ...]] = INT8_OR_INT16
    GREATEST_DEPTH: ClassVar[int] = (1 << 13) - 1
    """With more, a sum in Q12 can overflow 32 bits, int8 inputs."""
    beta: float = 1.0

    DIFFERENCE_BITS: ClassVar[int] = 5
    ACCUMULATION_BITS: ClassVar[int] = 12

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (inputs[0].shape,)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        y = outputs[0]
        problem = super().why_not(inputs, outputs)
        if problem is None and not inputs[0].shape:
            return "its input is a scalar, and a row is needed"
        if problem is None and y.dtype is DType.INT16:
            return int16.softmax_why_not(inputs[0], y, self.beta)
        if problem is None and (y.zero_point != -128 or abs(y.scale * 256 - 1) > 0.001):
            return f"output quantization {y.quantization} must be (1/256, zero point -128)"
        if problem is None and self.multiplier(inputs[0]).shift < 0:
            return f"beta {self.beta} times the input's scale {inputs[0].scale} is too small for fixed point"
        depth = inputs[0].shape[-1] if problem is None else 0
        if depth > self.GREATEST_DEPTH:
            return f"a sum over {depth:,} exponentials can overflow; at most {self.GREATEST_DEPTH:,} are supported"
        return problem

    def multiplier(self, source: Tensor) -> Multiplier:
        """beta · scale in Q5 units."""
        real = self.beta * source.scale * (1 << (31 - self.DIFFERENCE_BITS))
        return quantize_multiplier(min(real, 2.0**31 - 1))

    def exponentials(self, source: Tensor) -> Array:
        """exp(beta · scale · -d) in Q0 for d = 0, 1, … as far as the reference adds them up; at most 256 values."""
        m = self.multiplier(source)
        count = min(255, fixed_point.input_radius(self.DIFFERENCE_BITS, m.shift)) + 1
        difference = -np.arange(count, dtype=np.int64)
        scaled = multiply_by_quantized_multiplier(difference, m.value, m.shift)
        return fixed_point.exp_on_negative_values(scaled, self.DIFFERENCE_BITS).astype(np.int32)

    def exponentials_of(self, source: Tensor, rows: Ints) -> tuple[Ints, NDArray[np.bool_], Ints]:
        """(rows, depth) int8 values: their exponentials in Q0, which of them count, and the rows' sums in Q12."""
        table = signed(self.exponentials(source))
        distance = rows.max(axis=1, keepdims=True) - rows
        counted = distance < len(table)
        exponential = np.where(counted, table[np.minimum(distance, len(table) - 1)], 0)
        in_q12 = np.where(counted, fixed_point.rounding_divide_by_power_of_two(exponential, self.ACCUMULATION_BITS), 0)
        return exponential, counted, in_q12.sum(axis=1, keepdims=True)

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        rows = signed(values[0]).reshape(-1, inputs[0].shape[-1])
        if inputs[0].dtype is DType.INT16:
            wide = int16.softmax(rows, int16.softmax_multiplier(inputs[0], self.beta), numerics)
            return (wide.astype(np.int16).reshape(outputs[0].shape),)
        exponential, counted, total = self.exponentials_of(inputs[0], rows)
        headroom = np.array([[32 - int(t).bit_length()] for t in total[:, 0]], np.int64)
        reciprocal = fixed_point.one_over_one_plus_x((total << headroom) - (1 << 31))
        product = fixed_point.saturating_rounding_doubling_high_mul(exponential, reciprocal)
        exponent = self.ACCUMULATION_BITS - headroom + 31 - 8
        scaled = fixed_point.rounding_divide_by_power_of_two(product, exponent) - 128
        result = np.where(counted, np.clip(scaled, -128, 127), -128)
        return (result.astype(np.int8).reshape(outputs[0].shape),)
