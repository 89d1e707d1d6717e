"""CAST: stored values of one type as another, whatever their quantization."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycompiler.ops.base import Numerics, Op, Shape, Tensors, Values, only_in
from tinycompiler.tensor import Array, DType

TYPES = (DType.BOOL, DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.FLOAT32)


@dataclass(frozen=True)
class Cast(Op):
    """Integers wrap, floats go towards zero and saturate, bool is "not zero"."""

    name: ClassVar[str] = "CAST"

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (inputs[0].shape,)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        for tensor in (*inputs, *outputs):
            if tensor.dtype not in TYPES:
                supported = ", ".join(t.value for t in TYPES)
                return f"tensor '{tensor.name}' is {tensor.dtype.value}; supported are {supported}"
        return None

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        if DType.UINT8 not in (inputs[0].dtype, outputs[0].dtype):
            return None
        return only_in(Numerics.LITERT, numerics, f"{self.name} of uint8")

    @staticmethod
    def not_a_number(target: DType, numerics: Numerics) -> int:
        """What NaN becomes as an integer."""
        return target.range[1] if numerics is Numerics.LITERT else 0

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        (value,), target = values, outputs[0].dtype
        if inputs[0].dtype is DType.FLOAT32 and target not in (DType.FLOAT32, DType.BOOL):
            real = value.astype(np.float64)  # which holds every int32
            real = np.where(np.isnan(real), self.not_a_number(target, numerics), real)
            value = np.trunc(np.clip(real, *target.range))
        return (value.astype(target.numpy),)
