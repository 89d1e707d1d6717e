"""FULLY_CONNECTED.

The one operator in which the two numeric profiles differ in every model: since 2.20, LiteRT's reference multiplies
the accumulator by the real scale in IEEE double and rounds once; TensorFlow Lite Micro rounds twice in integers.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from tinycompiler.fixed_point import multiply_in_double, quantize_multiplier
from tinycompiler.ops import int16
from tinycompiler.ops.base import INT8_OR_INT16, Clamp, Ints, Numerics, Op, Shape, Tensors, Values, signed
from tinycompiler.ops.convolution import (
    accumulators_why_not,
    bias_of,
    bias_why_not,
    constants,
    overflow_why_not,
    reach_of,
    requantize,
    weights_why_not,
)
from tinycompiler.tensor import Array, DType


def real_scales(inputs: Tensors, outputs: Tensors) -> tuple[float, ...]:
    """in_scale · weight_scale / out_scale for each output channel, in double in both profiles."""
    x, weights, y = inputs[0], inputs[1], outputs[0]
    assert weights.quantization is not None
    channels = weights.shape[0]
    return tuple(x.scale * s / y.scale for s in weights.quantization.per_channel(channels))


@dataclass(frozen=True)
class FullyConnected(Op):
    """x (any shape of batches·k elements), weights (units, k), bias (units) -> (batches, units) or x's shape with
    units last.
    """

    name: ClassVar[str] = "FULLY_CONNECTED"
    activations: ClassVar[tuple[DType, ...]] = INT8_OR_INT16
    keep_num_dims: bool = False
    clamp: Clamp = field(default_factory=Clamp)
    bias_type: DType | None = field(default=None, repr=False)
    """What the file says that the bias is, with int16 activations."""
    sparse: bool = field(default=False, repr=False)
    """Weights are stored sparse: LiteRT's reference rounds twice in integers then."""

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        x, weights = inputs[:2]
        units, depth = weights.shape
        if self.keep_num_dims:
            return ((*x.shape[:-1], units),)
        return ((x.elements // depth, units),)

    def macs(self, inputs: Tensors, outputs: Tensors) -> int:
        return outputs[0].elements * inputs[1].shape[1]

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        x, weights = inputs[:2]
        if len(weights.shape) != 2 or x.elements % weights.shape[1]:
            return f"weights {weights.shape} do not divide an input of {x.elements} elements"
        units = weights.shape[0]
        if self.sparse and x.dtype is not DType.INT8:
            return "weights are stored sparse, and the reference reads such ones beside int8 activations only"
        problem = super().why_not((x,), outputs) or weights_why_not(weights, units, 0)
        if problem is None and x.dtype is DType.INT16:
            return accumulators_why_not(inputs, outputs, signed(weights.values), self.bias_type)
        problem = problem or bias_why_not(inputs, units)
        if problem:
            return problem
        values, bias = signed(weights.values), bias_of(inputs, constants(inputs), units)
        return overflow_why_not(values, bias, x.zero_point) or self._result_why_not(
            inputs, outputs, reach_of(values, bias, x.zero_point)
        )

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        if self.sparse and numerics is Numerics.TFLM:
            return "weights are stored sparse, and TensorFlow Lite Micro takes them for dense ones"
        if inputs[0].dtype is DType.INT16 and numerics is Numerics.LITERT:
            return int16.bias_type_why_not(inputs, self.bias_type)
        return None

    def _result_why_not(self, inputs: Tensors, outputs: Tensors, reach: Ints) -> str | None:
        """A sentence when a scaled accumulator can leave int32, where both references are undefined C++."""
        worst = reach * np.array(real_scales(inputs, outputs))
        if (worst < 2**31).all():
            return None
        return (
            f"output channel {int(np.argmax(worst))} can reach {worst.max():.3g} steps of the output before it is "
            "clamped, and the references are undefined from 2^31 on: the output's scale is far too small; calibrate "
            "the network again"
        )

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        x, weights, y = inputs[0], inputs[1], outputs[0]
        units, depth = weights.shape
        rows = (signed(values[0]) - x.zero_point).reshape(-1, depth)
        accumulators = rows @ signed(values[1]).T + bias_of(inputs, values, units)
        if numerics is Numerics.TFLM and y.dtype is DType.INT16:
            chosen = tuple(quantize_multiplier(s) for s in real_scales(inputs, outputs))
            result = int16.requantize(accumulators, chosen, int16.accumulator(inputs, self.bias_type), self.clamp)
        else:
            rounding = Numerics.TFLM if self.sparse else numerics
            result = rescaled(accumulators, inputs, outputs, self.clamp, rounding)
        return (result.reshape(y.shape),)


def rescaled(accumulators: Ints, inputs: Tensors, outputs: Tensors, clamp: Clamp, numerics: Numerics) -> Array:
    """Accumulators (batches, units) as outputs: in double, or int8 rounded twice."""
    scales, y = real_scales(inputs, outputs), outputs[0]
    if numerics is Numerics.LITERT:
        result: Array = clamp(multiply_in_double(accumulators, np.array(scales)) + y.zero_point).astype(y.dtype.numpy)
        return result
    return requantize(accumulators, tuple(quantize_multiplier(s) for s in scales), y.zero_point, clamp)


@dataclass(frozen=True)
class PartialSums(Op):
    """x (k), weights (units, k), and the sums so far where there are some -> int32 sums: no file has it, see splits.py.

    `total`: the sums are all there, of which every |accumulator| is at most `reach`; with a bias, they become outputs.
    """

    name: ClassVar[str] = "FULLY_CONNECTED"
    shape: Shape
    total: bool = False
    clamp: Clamp = field(default_factory=Clamp)
    reach: tuple[int, ...] = ()

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (self.shape,)

    def macs(self, inputs: Tensors, outputs: Tensors) -> int:
        return inputs[1].elements

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        return None

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        sums = (signed(values[0]) - inputs[0].zero_point).reshape(1, -1) @ signed(values[1]).T
        for more in values[2:]:
            sums = sums + signed(more).reshape(1, -1)
        result = rescaled(sums, inputs, outputs, self.clamp, numerics) if self.total else sums.astype(np.int32)
        return (result.reshape(self.shape),)
