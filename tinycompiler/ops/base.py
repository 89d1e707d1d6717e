"""What every operator is: attributes, a shape rule, a reference in numpy, and a word on what it does not accept.

One family is one file. An operator is a frozen dataclass of its attributes; the tensors that it reads and writes are
passed in, because scales and zero points belong to tensors. Quantized clamps are kept as (low, high) in output units
rather than as the name of an activation: after fusing, a clamp need not be any named activation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tinycompiler.tensor import Array, DType, Tensor

Shape = tuple[int, ...]
Tensors = Sequence[Tensor]
Values = Sequence[Array]
Ints = NDArray[np.int64]


class Numerics(Enum):
    """Whose bytes are reproduced; a property of the graph."""

    LITERT = "litert"
    """`ai_edge_litert` with `OpResolverType.BUILTIN_REF`."""
    TFLM = "tflm"
    """TensorFlow Lite Micro's reference kernels (and CMSIS-NN, which agrees with them)."""


@dataclass(frozen=True)
class Clamp:
    """Inclusive bounds of an output, in quantized units."""

    low: int = -128
    high: int = 127

    def meet(self, other: "Clamp") -> "Clamp":
        """Both clamps, this one first."""
        low = min(max(self.low, other.low), other.high)
        return Clamp(low, max(low, min(self.high, other.high)))

    @property
    def is_natural(self) -> bool:
        """Whether saturating to int8 already is this clamp."""
        return self == Clamp()

    def __call__(self, x: Ints) -> Ints:
        return np.clip(x, self.low, self.high)


@dataclass(frozen=True)
class Op:
    """Base of all operators."""

    name: ClassVar[str]
    """The TFLite name, such as CONV_2D."""

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        """Shapes that the outputs must have."""
        raise NotImplementedError

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        """The output values, bit for bit those of `numerics`' reference; `values` are the inputs' values."""
        raise NotImplementedError

    def macs(self, inputs: Tensors, outputs: Tensors) -> int:
        """Multiply-accumulates of one inference."""
        return 0

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        """A sentence when these tensors' types or quantization are not supported."""
        return activations_are_int8(inputs, outputs)


FULL_INTEGER = "convert with full-integer int8 quantization"


def activations_are_int8(inputs: Tensors, outputs: Tensors) -> str | None:
    """The demand of most operators: every non-constant tensor is int8 with one scale."""
    for tensor in (*inputs, *outputs):
        if tensor.is_constant and tensor.dtype in (DType.INT32, DType.INT64):
            continue
        if tensor.dtype is not DType.INT8:
            return f"tensor '{tensor.name}' is {tensor.dtype.value}; int8 is supported: {FULL_INTEGER}"
        if tensor.quantization is None:
            return f"tensor '{tensor.name}' is int8 without a scale: {FULL_INTEGER}"
        if not tensor.is_constant and len(tensor.quantization.scales) != 1:
            return (
                f"activation '{tensor.name}' has {len(tensor.quantization.scales)} scales; one per tensor is supported"
            )
    return None


def signed(values: Array) -> Ints:
    """Values as int64 for exact arithmetic."""
    return values.astype(np.int64)
