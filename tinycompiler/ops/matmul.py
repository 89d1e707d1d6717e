"""BATCH_MATMUL, and FULLY_CONNECTED with weights that are computed at run time."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from tinycompiler.fixed_point import Multiplier, multiply_in_double, quantize_multiplier
from tinycompiler.ops.base import Clamp, Ints, Numerics, Op, Shape, Tensors, Values, signed
from tinycompiler.ops.convolution import bias_of, bias_why_not, constants, requantize
from tinycompiler.ops.fully_connected import real_scales
from tinycompiler.ops.scaling import scaling_why_not
from tinycompiler.tensor import Array, Tensor

GREATEST_RANK = 5


def farthest(tensor: Tensor) -> int:
    """The largest magnitude of an int8 value without its zero point."""
    return max(127 - tensor.zero_point, tensor.zero_point + 128)


def product_reach(a: Tensor, b: Tensor, depth: int) -> int:
    """The largest magnitude of a sum of `depth` products, over all values of both."""
    return depth * farthest(a) * farthest(b)


@dataclass(frozen=True)
class BatchMatMul(Op):
    """a (…, m, k), b (…, k, n) -> (…, m, n), batches broadcast; adj_x and adj_y say which come transposed."""

    name: ClassVar[str] = "BATCH_MATMUL"
    adj_x: bool = False
    adj_y: bool = False
    clamp: Clamp = field(default_factory=Clamp)

    def matrices(self, inputs: Tensors) -> tuple[tuple[int, int], tuple[int, int]]:
        """(m, k) of a and (k, n) of b."""
        (m, k), (p, n) = inputs[0].shape[-2:], inputs[1].shape[-2:]
        return ((k, m) if self.adj_x else (m, k)), ((n, p) if self.adj_y else (p, n))

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        batches = np.broadcast_shapes(inputs[0].shape[:-2], inputs[1].shape[:-2])
        (m, _), (_, n) = self.matrices(inputs)
        return ((*batches, m, n),)

    def macs(self, inputs: Tensors, outputs: Tensors) -> int:
        return outputs[0].elements * self.matrices(inputs)[0][1]

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        a, b = inputs
        for t in inputs:
            if not 2 <= len(t.shape) <= GREATEST_RANK:
                return f"'{t.name}' has rank {len(t.shape)}, and 2 to {GREATEST_RANK} are supported"
        (_, k), (p, _) = self.matrices(inputs)
        try:
            np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        except ValueError:
            return f"the batches of {a.shape} and {b.shape} do not broadcast"
        if k != p:
            return f"matrices of {a.shape} and {b.shape} do not multiply: {k} columns and {p} rows"
        problem = super().why_not(inputs, outputs)
        if problem:
            return problem
        for t in inputs:
            if t.quantization is not None and len(t.quantization.scales) != 1:
                return f"'{t.name}' has {len(t.quantization.scales)} scales; one per tensor is supported"
        return scaling_why_not(product_reach(a, b, k), self.multiplier(inputs, outputs), f"a sum of {k:,} products")

    @staticmethod
    def multiplier(inputs: Tensors, outputs: Tensors) -> Multiplier:
        """a_scale · b_scale / out_scale; the product is float32, as in GetQuantizedConvolutionMultipler."""
        product = np.float32(inputs[0].scale) * np.float32(inputs[1].scale)
        return quantize_multiplier(float(product) / outputs[0].scale)

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        a, b = (signed(v) - t.zero_point for v, t in zip(values, inputs, strict=True))
        accumulators = product_of(a.swapaxes(-1, -2) if self.adj_x else a, b.swapaxes(-1, -2) if self.adj_y else b)
        y = outputs[0]
        return (requantize(accumulators, (self.multiplier(inputs, outputs),), y.zero_point, self.clamp),)


@dataclass(frozen=True)
class DynamicFullyConnected(Op):
    """FULLY_CONNECTED whose weights (units, k) are an activation, with any zero point; the bias is constant.

    Apart from FullyConnected, because all that is known of weights there has no counterpart here.
    """

    name: ClassVar[str] = "FULLY_CONNECTED"
    keep_num_dims: bool = False
    clamp: Clamp = field(default_factory=Clamp)

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        x, (units, depth) = inputs[0], inputs[1].shape
        return ((*x.shape[:-1], units) if self.keep_num_dims else (x.elements // depth, units),)

    def macs(self, inputs: Tensors, outputs: Tensors) -> int:
        return outputs[0].elements * inputs[1].shape[1]

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        x, weights = inputs[:2]
        if len(weights.shape) != 2 or x.elements % weights.shape[1]:
            return f"weights {weights.shape} do not divide an input of {x.elements} elements"
        problem = super().why_not((x, weights), outputs) or bias_why_not(inputs, weights.shape[0])
        if problem:
            return problem
        for t in (x, weights):
            if t.quantization is not None and len(t.quantization.scales) != 1:
                return f"'{t.name}' has {len(t.quantization.scales)} scales; one per tensor is supported"
        reach, what = self.reach(inputs), f"a sum of {weights.shape[1]:,} products"
        return scaling_why_not(reach, quantize_multiplier(real_scales(inputs, outputs)[0]), what)

    @staticmethod
    def reach(inputs: Tensors) -> int:
        """The largest magnitude of an accumulator."""
        x, weights = inputs[:2]
        bias = bias_of(inputs, constants(inputs), weights.shape[0])
        return product_reach(x, weights, weights.shape[1]) + int(np.abs(bias).max())

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        y, (units, depth) = outputs[0], inputs[1].shape
        a, b = (signed(v) - t.zero_point for v, t in zip(values[:2], inputs[:2], strict=True))
        accumulators = product_of(a.reshape(-1, depth), b.T) + bias_of(inputs, values, units)
        scale = real_scales(inputs, outputs)[0]
        if numerics is Numerics.LITERT:
            result: Array = self.clamp(multiply_in_double(accumulators, scale) + y.zero_point).astype(np.int8)
        else:
            result = requantize(accumulators, (quantize_multiplier(scale),), y.zero_point, self.clamp)
        return (result.reshape(y.shape),)


def product_of(a: Ints, b: Ints) -> Ints:
    """The matrix product; float64 holds every int32 accumulator exactly, and its product is the fast one."""
    result: Ints = (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
    return result
