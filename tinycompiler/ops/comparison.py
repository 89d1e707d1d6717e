"""Comparisons of int8 tensors, logic on bool tensors, and the selection of one of two values by a bool."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycompiler.fixed_point import Multiplier, multiply_by_quantized_multiplier, quantize_multiplier
from tinycompiler.ops.base import Numerics, Op, Shape, Tensors, Values, activations_are_int8, only_in, signed
from tinycompiler.ops.elementwise import Broadcasting, broadcast_why_not
from tinycompiler.tensor import Array, DType, Tensor


def bool_why_not(*tensors: Tensor) -> str | None:
    """A sentence when one is not bool."""
    for tensor in tensors:
        if tensor.dtype is not DType.BOOL:
            return f"tensor '{tensor.name}' is {tensor.dtype.value}, and bool is needed"
    return None


@dataclass(frozen=True)
class Comparison(Broadcasting):
    """int8 operands, each brought to integers of 1/256 by its own scale, compared: bool."""

    compare: ClassVar[np.ufunc]
    LEFT_SHIFT: ClassVar[int] = 8

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        problem = broadcast_why_not(inputs) or activations_are_int8(inputs, inputs[:1]) or bool_why_not(*outputs)
        if problem is None and any(t.scale >= 1 for t in inputs):
            scale = max(t.scale for t in inputs)
            return f"an input's scale is {scale:.6g}, and the reference compares only scales below 1"
        return problem

    @staticmethod
    def multipliers(inputs: Tensors) -> tuple[Multiplier, Multiplier]:
        """Of the two operands."""
        return quantize_multiplier(inputs[0].scale), quantize_multiplier(inputs[1].scale)

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        a, b = (
            multiply_by_quantized_multiplier((signed(v) - t.zero_point) << self.LEFT_SHIFT, m.value, m.shift)
            for v, t, m in zip(values, inputs, self.multipliers(inputs), strict=True)
        )
        return (np.asarray(self.compare(a, b), np.bool_),)


@dataclass(frozen=True)
class Equal(Comparison):
    """a == b."""

    name: ClassVar[str] = "EQUAL"
    compare: ClassVar[np.ufunc] = np.equal


@dataclass(frozen=True)
class NotEqual(Comparison):
    """a != b."""

    name: ClassVar[str] = "NOT_EQUAL"
    compare: ClassVar[np.ufunc] = np.not_equal


@dataclass(frozen=True)
class Greater(Comparison):
    """a > b."""

    name: ClassVar[str] = "GREATER"
    compare: ClassVar[np.ufunc] = np.greater


@dataclass(frozen=True)
class GreaterEqual(Comparison):
    """a >= b."""

    name: ClassVar[str] = "GREATER_EQUAL"
    compare: ClassVar[np.ufunc] = np.greater_equal


@dataclass(frozen=True)
class Less(Comparison):
    """a < b."""

    name: ClassVar[str] = "LESS"
    compare: ClassVar[np.ufunc] = np.less


@dataclass(frozen=True)
class LessEqual(Comparison):
    """a <= b."""

    name: ClassVar[str] = "LESS_EQUAL"
    compare: ClassVar[np.ufunc] = np.less_equal


@dataclass(frozen=True)
class Logic(Broadcasting):
    """Two bool operands."""

    combine: ClassVar[np.ufunc]

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        return broadcast_why_not(inputs) or bool_why_not(*inputs, *outputs)

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        a, b = (v.astype(np.bool_) for v in values)
        return (np.asarray(self.combine(a, b), np.bool_),)


@dataclass(frozen=True)
class LogicalAnd(Logic):
    """a and b."""

    name: ClassVar[str] = "LOGICAL_AND"
    combine: ClassVar[np.ufunc] = np.logical_and


@dataclass(frozen=True)
class LogicalOr(Logic):
    """a or b."""

    name: ClassVar[str] = "LOGICAL_OR"
    combine: ClassVar[np.ufunc] = np.logical_or


@dataclass(frozen=True)
class SelectV2(Op):
    """The stored value of x where the condition holds, else that of y; all three broadcast."""

    name: ClassVar[str] = "SELECT_V2"

    def shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        """The operands' shapes as they broadcast."""
        return tuple(t.shape for t in inputs)

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (np.broadcast_shapes(*self.shapes(inputs)),)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        try:
            self.output_shapes(inputs)
        except ValueError:
            return f"shapes {' and '.join(str(x.shape) for x in inputs)} do not broadcast"
        return bool_why_not(inputs[0]) or activations_are_int8(inputs[1:], outputs)

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        condition, x, y = (v.reshape(shape) for v, shape in zip(values, self.shapes(inputs), strict=True))
        return (np.where(condition, x, y).astype(np.int8),)


@dataclass(frozen=True)
class Select(SelectV2):
    """Without broadcasting, but a condition that is one value, or one for each index of x's first axis."""

    name: ClassVar[str] = "SELECT"

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        return only_in(Numerics.LITERT, numerics, self.name)

    def shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        condition, x, y = (t.shape for t in inputs)
        by_row = len(condition) == 1 and condition != x and condition == x[:1]
        return (condition + (1,) * (len(x) - 1) if by_row else condition), x, y

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        condition, x, y = (t.shape for t in inputs)
        if x != y or condition not in ((), x, x[:1]):
            return f"a condition of shape {condition} does not choose between shapes {x} and {y}; export SELECT_V2"
        return super().why_not(inputs, outputs)
