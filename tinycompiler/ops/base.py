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

    def spans(self, dtype: DType) -> bool:
        """Whether saturating to a type already is this clamp."""
        return (self.low, self.high) == dtype.range

    def __call__(self, x: Ints) -> Ints:
        return np.clip(x, self.low, self.high)


@dataclass(frozen=True)
class Op:
    """Base of all operators."""

    name: ClassVar[str]
    """The TFLite name, such as CONV_2D."""
    activations: ClassVar[tuple[DType, ...]] = (DType.INT8,)
    """The types that a node's activations may have, one for all of them."""

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
        return activations_why_not(inputs, outputs, self.activations)

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        """A sentence when one profile's reference cannot run what the other's can; asked when `why_not` is None."""
        return None


FULL_INTEGER = "convert with full-integer int8 quantization"


def only_in(judged: Numerics, numerics: Numerics, what: str) -> str | None:
    """A sentence when another profile than `judged` is asked for, and its reference lacks `what`."""
    if numerics is judged:
        return None
    return f"the {numerics.value} profile's reference does not run {what}; compile with --numerics {judged.value}"


INT8_OR_INT16 = (DType.INT8, DType.INT16)


def activations_are_int8(inputs: Tensors, outputs: Tensors) -> str | None:
    """The demand of most operators: every non-constant tensor is int8 with one scale."""
    return activations_why_not(inputs, outputs, (DType.INT8,))


def activations_why_not(inputs: Tensors, outputs: Tensors, accepted: Sequence[DType]) -> str | None:
    """Tensors must all be of one accepted type, with one scale; int16 is symmetric. Biases may be int32, int64."""
    types = " or ".join(dtype.value for dtype in accepted)
    for position, tensor in enumerate((*inputs, *outputs)):
        may_be_bias = 2 <= position < len(inputs) and tensor.is_constant
        if may_be_bias and tensor.dtype in (DType.INT32, DType.INT64):
            continue
        if tensor.dtype not in accepted:
            return f"tensor '{tensor.name}' is {tensor.dtype.value}; {types} is supported: {FULL_INTEGER}"
        if tensor.dtype is not outputs[0].dtype:
            found = f"tensor '{tensor.name}' is {tensor.dtype.value} and '{outputs[0].name}' {outputs[0].dtype.value}"
            return f"{found}; one type for all is supported"
        if tensor.quantization is None:
            return f"tensor '{tensor.name}' is {tensor.dtype.value} without a scale: {FULL_INTEGER}"
        if tensor.dtype is DType.INT16 and tensor.zero_point != 0:
            return f"tensor '{tensor.name}' is int16 with zero point {tensor.zero_point}; 0 is supported"
        if (not tensor.is_constant or position == 0) and len(tensor.quantization.scales) != 1:
            return (
                f"activation '{tensor.name}' has {len(tensor.quantization.scales)} scales; one per tensor is supported"
            )
    return None


def signed(values: Array) -> Ints:
    """Values as int64 for exact arithmetic."""
    return values.astype(np.int64)
