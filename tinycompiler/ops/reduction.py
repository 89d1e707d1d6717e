"""Operators that make one value of many: MEAN, SUM, REDUCE_MAX, REDUCE_MIN, ARG_MAX and ARG_MIN."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from tinycompiler.fixed_point import Multiplier, multiply_by_quantized_multiplier, quantize_multiplier
from tinycompiler.ops.base import (
    INT8_OR_INT16,
    Numerics,
    Op,
    Shape,
    Tensors,
    Values,
    activations_are_int8,
    signed,
)
from tinycompiler.ops.scaling import scaling_why_not
from tinycompiler.tensor import Array, DType


@dataclass(frozen=True)
class Reduction(Op):
    """x -> x without the axes (or with size 1 there); axes are sorted and not negative."""

    axes: tuple[int, ...]
    keep_dims: bool = False

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        shape = inputs[0].shape
        if self.keep_dims:
            return (tuple(1 if i in self.axes else n for i, n in enumerate(shape)),)
        return (tuple(n for i, n in enumerate(shape) if i not in self.axes),)

    def count(self, inputs: Tensors) -> int:
        """How many values one output is made of."""
        return prod(inputs[0].shape[i] for i in self.axes)


@dataclass(frozen=True)
class Summation(Reduction):
    """The values added without their zero points, then scaled."""

    def multiplier(self, inputs: Tensors, outputs: Tensors) -> Multiplier:
        """What scales the sum."""
        raise NotImplementedError

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        problem = super().why_not(inputs, outputs)
        if problem:
            return problem
        zero_point, count = inputs[0].zero_point, self.count(inputs)
        low, high = inputs[0].dtype.range
        reach = count * max(high - zero_point, zero_point - low)
        m = self.multiplier(inputs, outputs)
        return scaling_why_not(reach, m, f"a sum over {count:,} values")

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        x, y = inputs[0], outputs[0]
        total = signed(values[0]).sum(axis=self.axes) - x.zero_point * self.count(inputs)
        m = self.multiplier(inputs, outputs)
        scaled = multiply_by_quantized_multiplier(total, m.value, m.shift)
        return (np.clip(scaled + y.zero_point, *y.dtype.range).astype(y.dtype.numpy).reshape(y.shape),)


@dataclass(frozen=True)
class Mean(Summation):
    """MEAN over any axes."""

    name: ClassVar[str] = "MEAN"
    activations: ClassVar[tuple[DType, ...]] = INT8_OR_INT16

    def multiplier(self, inputs: Tensors, outputs: Tensors) -> Multiplier:
        """in_scale / (out_scale · count): the division by count is folded into the integer multiplier, truncating."""
        base = quantize_multiplier(inputs[0].scale / outputs[0].scale)
        count = self.count(inputs)
        raised = min(count.bit_length() - 1, 32, 31 + base.shift)
        return Multiplier((base.value << raised) // count, base.shift - raised)


@dataclass(frozen=True)
class Sum(Summation):
    """SUM over any axes."""

    name: ClassVar[str] = "SUM"

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        if numerics is Numerics.LITERT:
            # reduce.cc hands int8 tensors to QuantizedMeanOrSum<uint8_t> in its reference registration
            return (
                "with litert numerics: LiteRT's reference kernel reads int8 as uint8, so its sums are wrong; use tflm"
            )
        return None

    def multiplier(self, inputs: Tensors, outputs: Tensors) -> Multiplier:
        """in_scale / out_scale."""
        return quantize_multiplier(inputs[0].scale / outputs[0].scale)


@dataclass(frozen=True)
class Extreme(Reduction):
    """The greatest or least value, as it is: both sides have one quantization."""

    choose: ClassVar[Callable[..., Array]]

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        x, y = inputs[0], outputs[0]
        problem = super().why_not(inputs, outputs)
        if problem is None and x.quantization != y.quantization:
            return f"input {x.quantization} and output {y.quantization} must have the same quantization"
        return problem

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        return (np.asarray(type(self).choose(values[0], axis=self.axes)).reshape(outputs[0].shape),)


@dataclass(frozen=True)
class ReduceMax(Extreme):
    """The greatest value over any axes."""

    name: ClassVar[str] = "REDUCE_MAX"
    choose: ClassVar[Callable[..., Array]] = np.max


@dataclass(frozen=True)
class ReduceMin(Extreme):
    """The least value over any axes."""

    name: ClassVar[str] = "REDUCE_MIN"
    choose: ClassVar[Callable[..., Array]] = np.min


@dataclass(frozen=True)
class ArgExtreme(Op):
    """Where the first extreme value stands along an axis, which goes; the output is int32 or int64."""

    choose: ClassVar[Callable[..., Array]]
    axis: int

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (tuple(n for i, n in enumerate(inputs[0].shape) if i != self.axis),)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        if outputs[0].dtype not in (DType.INT32, DType.INT64):
            return f"output '{outputs[0].name}' is {outputs[0].dtype.value}; int32 and int64 are supported"
        return activations_are_int8(inputs, inputs)

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        if numerics is Numerics.TFLM and outputs[0].dtype is DType.INT64:
            return "with tflm numerics: TensorFlow Lite Micro has no int64 indices; convert with output_type=tf.int32"
        return None

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        index = type(self).choose(values[0], axis=self.axis)
        return (np.asarray(index).astype(outputs[0].dtype.numpy),)


@dataclass(frozen=True)
class ArgMax(ArgExtreme):
    """The index of the greatest value."""

    name: ClassVar[str] = "ARG_MAX"
    choose: ClassVar[Callable[..., Array]] = np.argmax


@dataclass(frozen=True)
class ArgMin(ArgExtreme):
    """The index of the least value."""

    name: ClassVar[str] = "ARG_MIN"
    choose: ClassVar[Callable[..., Array]] = np.argmin
