"""Operators that move bytes and compute nothing: PAD, CONCATENATION, RESHAPE."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from tinycompiler.ops.base import Numerics, Op, Shape, Tensors, Values
from tinycompiler.tensor import Array


def same_quantization(inputs: Tensors, outputs: Tensors) -> str | None:
    """A sentence when some input's quantization is not the output's."""
    for x in inputs:
        if x.quantization != outputs[0].quantization:
            found = f"'{x.name}' {x.quantization} and '{outputs[0].name}' {outputs[0].quantization}"
            return f"{found} must have the same quantization"
    return None


@dataclass(frozen=True)
class Pad(Op):
    """x, `before` and `after` elements of zero point added along each axis."""

    name: ClassVar[str] = "PAD"
    before: tuple[int, ...]
    after: tuple[int, ...]

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (tuple(b + n + a for b, n, a in zip(self.before, inputs[0].shape, self.after, strict=True)),)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        if min((*self.before, *self.after, 0)) < 0:
            return "negative paddings are not supported"
        if len(inputs[0].shape) > 5:
            return f"rank {len(inputs[0].shape)} is not supported; at most 5"
        return super().why_not(inputs, outputs) or same_quantization(inputs, outputs)

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        widths = tuple(zip(self.before, self.after, strict=True))
        return (np.pad(values[0], widths, constant_values=outputs[0].zero_point),)


@dataclass(frozen=True)
class Concatenation(Op):
    """Inputs that agree in all axes but one, joined along it."""

    name: ClassVar[str] = "CONCATENATION"
    axis: int

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        first = inputs[0].shape
        total = sum(x.shape[self.axis] for x in inputs)
        return ((*first[: self.axis], total, *first[self.axis + 1 :]),)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        return super().why_not(inputs, outputs) or same_quantization(inputs, outputs)

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        return (np.concatenate(values, axis=self.axis),)


@dataclass(frozen=True)
class Reshape(Op):
    """The same elements in another shape; costs nothing, the output is the input's memory."""

    name: ClassVar[str] = "RESHAPE"
    shape: tuple[int, ...]

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (self.shape,)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        if prod(self.shape) != inputs[0].elements:
            return f"{inputs[0].elements} elements do not make shape {self.shape}"
        if inputs[0].dtype is not outputs[0].dtype:
            return f"{inputs[0].dtype.value} cannot become {outputs[0].dtype.value}"
        return None

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        return (values[0].reshape(self.shape),)
