"""QUANTIZE and DEQUANTIZE: between float32 and 8 or 16 bits at the edges, and between integers anywhere."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycompiler.fixed_point import Multiplier, multiply_by_quantized_multiplier, quantize_multiplier
from tinycompiler.ops.activation import Unary, distances, overflow
from tinycompiler.ops.base import Ints, Numerics, Op, Shape, Tensors, Values, only_in, signed
from tinycompiler.tensor import Array, DType, Tensor

EIGHT_BITS = (DType.INT8, DType.UINT8)
QUANTIZED = (*EIGHT_BITS, DType.INT16)
FAR = np.float32(2**20)
"""Quotients beyond are saturated, and have no fraction that counts."""


def _needs_one_scale(tensor: Tensor, types: tuple[DType, ...] = QUANTIZED) -> str | None:
    if tensor.dtype not in types or tensor.quantization is None or len(tensor.quantization.scales) != 1:
        wanted = " or ".join(t.value for t in types)
        return f"'{tensor.name}' must be {wanted} with one scale, not {tensor.dtype.value} {tensor.quantization}"
    if tensor.dtype is DType.INT16 and tensor.zero_point != 0:
        return f"'{tensor.name}' is int16 with zero point {tensor.zero_point}; 0 is supported"
    return None


def _needs_float(tensor: Tensor) -> str | None:
    return None if tensor.dtype is DType.FLOAT32 else f"'{tensor.name}' must be float32, not {tensor.dtype.value}"


@dataclass(frozen=True)
class Quantize(Op):
    """float32 to 8 or 16 bits: round(x / scale) + zero_point in float32, halves away from zero, saturated.

    What is not a number becomes the least value; the interpreters' behaviour is undefined there.
    """

    name: ClassVar[str] = "QUANTIZE"

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (inputs[0].shape,)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        return _needs_float(inputs[0]) or _needs_one_scale(outputs[0])

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        if outputs[0].dtype is DType.UINT8:
            return only_in(Numerics.LITERT, numerics, "QUANTIZE of float32 to uint8")
        return None

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        y = outputs[0]
        with np.errstate(over="ignore"):
            quotient = values[0].astype(np.float32) / np.float32(y.scale)
        quotient = np.clip(np.where(np.isnan(quotient), -np.inf, quotient), -FAR, FAR)
        whole = np.trunc(quotient)
        rounded = whole + np.sign(quotient) * (np.abs(quotient - whole) >= 0.5)
        return (np.clip(rounded.astype(np.float64) + y.zero_point, *y.dtype.range).astype(y.dtype.numpy),)


@dataclass(frozen=True)
class Requantize(Unary):
    """Integers to others of another type, scale or zero point; also written QUANTIZE in files."""

    name: ClassVar[str] = "QUANTIZE"

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        x, y = inputs[0], outputs[0]
        results = (DType.INT8, DType.INT16, DType.INT32) if x.dtype is DType.INT16 else QUANTIZED
        problem = _needs_one_scale(x) or _needs_one_scale(y, results)
        if problem is None and y.dtype is DType.INT32 and y.zero_point != 0:
            return f"'{y.name}' is int32 with zero point {y.zero_point}; 0 is supported"
        return problem or overflow(self.multiplier(x, y), distances(x))

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        if inputs[0].dtype is DType.UINT8 and outputs[0].dtype is not DType.INT8:
            return only_in(Numerics.LITERT, numerics, f"QUANTIZE of uint8 to {outputs[0].dtype.value}")
        return None

    @staticmethod
    def multiplier(source: Tensor, target: Tensor) -> Multiplier:
        """in_scale / out_scale, in double."""
        return quantize_multiplier(min(source.scale / target.scale, 2.0**126))

    def function(self, x: Ints, source: Tensor, target: Tensor, numerics: Numerics) -> Ints:
        m = self.multiplier(source, target)
        return multiply_by_quantized_multiplier(x - source.zero_point, m.value, m.shift) + target.zero_point


@dataclass(frozen=True)
class Dequantize(Op):
    """8 or 16 bits to float32: scale · (x - zero_point), exact before the one rounding to float32."""

    name: ClassVar[str] = "DEQUANTIZE"

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (inputs[0].shape,)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        return _needs_one_scale(inputs[0]) or _needs_float(outputs[0])

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        x = inputs[0]
        return ((x.scale * (signed(values[0]) - x.zero_point)).astype(np.float32),)
