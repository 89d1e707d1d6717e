"""QUANTIZE and DEQUANTIZE: between float32 and int8 at the edges, and between 8-bit quantizations anywhere."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycompiler.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier
from tinycompiler.ops.activation import Unary
from tinycompiler.ops.base import Ints, Numerics, Op, Shape, Tensors, Values, signed
from tinycompiler.tensor import Array, DType, Tensor

EIGHT_BITS = (DType.INT8, DType.UINT8)


def _needs_one_scale(tensor: Tensor) -> str | None:
    if tensor.dtype not in EIGHT_BITS or tensor.quantization is None or len(tensor.quantization.scales) != 1:
        return f"'{tensor.name}' must be int8 or uint8 with one scale, not {tensor.dtype.value} {tensor.quantization}"
    return None


@dataclass(frozen=True)
class Quantize(Op):
    """float32 to 8 bits: round(x / scale) + zero_point in float32, halves away from zero, saturated."""

    name: ClassVar[str] = "QUANTIZE"

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (inputs[0].shape,)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        return _needs_one_scale(outputs[0])

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        y = outputs[0]
        quotient = values[0].astype(np.float32) / np.float32(y.scale)
        whole = np.trunc(quotient)
        rounded = whole + np.sign(quotient) * (np.abs(quotient - whole) >= 0.5)
        return (np.clip(rounded.astype(np.float64) + y.zero_point, *y.dtype.range).astype(y.dtype.numpy),)


@dataclass(frozen=True)
class Requantize(Unary):
    """8 bits to 8 bits of another scale, zero point or signedness; also written QUANTIZE in files."""

    name: ClassVar[str] = "QUANTIZE"

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        return _needs_one_scale(inputs[0]) or _needs_one_scale(outputs[0])

    def function(self, x: Ints, source: Tensor, target: Tensor, numerics: Numerics) -> Ints:
        m = quantize_multiplier(source.scale / target.scale)
        return multiply_by_quantized_multiplier(x - source.zero_point, m.value, m.shift) + target.zero_point


@dataclass(frozen=True)
class Dequantize(Op):
    """8 bits to float32: scale · (x - zero_point), exact before the one rounding to float32."""

    name: ClassVar[str] = "DEQUANTIZE"

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (inputs[0].shape,)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        return _needs_one_scale(inputs[0])

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        x = inputs[0]
        return ((x.scale * (signed(values[0]) - x.zero_point)).astype(np.float32),)
