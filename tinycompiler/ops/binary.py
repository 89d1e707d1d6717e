"""Operators of Larq Compute Engine: values of +1 and -1, 32 of them in an int32.

A bit of 1 is -1, a bit of 0 is +1; channel c is bit c % 32 of word c // 32, and bits beyond the channels are 0. So a
product of two values is the exclusive or of two bits, and a sum of K products is K - 2 · (how many bits differ).

Source: the meaning as it was verified against the reference kernels of larq-compute-engine 0.16. Bits beyond the
channels of an input are taken for 0, whatever they are.
"""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tinycompiler.ops.base import Ints, Numerics, Op, Shape, Tensors, Values, signed
from tinycompiler.ops.convolution import Window
from tinycompiler.tensor import Array, DType, Tensor

LANES = 32
"""Values in a word."""
AGAIN = "the file is inconsistent"
Floats = NDArray[np.float32]


def words_of(channels: int) -> int:
    """Words that hold so many channels."""
    return -(-channels // LANES)


def packed(negative: Array) -> Array:
    """(..., channels) of what is -1 to (..., words) int32."""
    channels = negative.shape[-1]
    spare = [*(((0, 0),) * (negative.ndim - 1)), (0, words_of(channels) * LANES - channels)]
    bits = np.pad(negative.astype(bool), spare).reshape(*negative.shape[:-1], -1, LANES)
    values = (bits.astype(np.uint64) << np.arange(LANES, dtype=np.uint64)).sum(axis=-1)
    words: Array = values.astype(np.uint32).view(np.int32)
    return words


def unpacked(words: Array, channels: int) -> Ints:
    """(..., words) int32 to (..., channels) of 0 and 1."""
    bits = words.astype(np.int64)[..., None] >> np.arange(LANES) & 1
    flat: Ints = bits.reshape(*words.shape[:-1], -1)[..., :channels]
    return flat


def _half_away(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rounded, halves away from zero; what is beyond integers stays."""
    double = x.astype(np.float64)
    return np.copysign(np.floor(np.abs(double) + 0.5), double)


def on_line(twice: Ints, slope: Floats | np.float32, constant: Floats | np.float32) -> Floats:
    """twice · slope + constant in float32, rounded after either."""
    with np.errstate(over="ignore"):
        result: Floats = twice.astype(np.float32) * slope + constant
    return result


def rounded(values: Floats) -> Array:
    """To int8, halves away from zero, saturated."""
    return np.clip(_half_away(values), -128, 127).astype(np.int8)


def _bits_why_not(tensor: Tensor, words: int | None = None) -> str | None:
    if tensor.dtype is not DType.INT32 or not tensor.shape:
        return f"'{tensor.name}' is {tensor.dtype.value} of shape {tensor.shape}; words of 32 bits are needed; {AGAIN}"
    if words is not None and tensor.shape[-1] != words:
        return f"'{tensor.name}' has {tensor.shape[-1]} words for its channels, and {words} are needed; {AGAIN}"
    return None


def _values_why_not(tensor: Tensor, types: tuple[DType, ...]) -> str | None:
    if tensor.dtype not in types:
        wanted = " or ".join(t.value for t in types)
        return f"'{tensor.name}' is {tensor.dtype.value}; {wanted} is supported"
    if tensor.dtype is DType.INT8 and (tensor.quantization is None or len(tensor.quantization.scales) != 1):
        return f"'{tensor.name}' is int8 and needs one scale, not {tensor.quantization}"
    return None


@dataclass(frozen=True)
class LceQuantize(Op):
    """Signs: x (..., c) of int8, float32 or bool -> (..., words); what is below zero, or false, is -1."""

    name: ClassVar[str] = "LceQuantize"

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        *others, channels = inputs[0].shape
        return ((*others, words_of(channels)),)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        if not inputs[0].shape:
            return f"'{inputs[0].name}' has no channels; {AGAIN}"
        return _values_why_not(inputs[0], (DType.INT8, DType.FLOAT32, DType.BOOL)) or _bits_why_not(outputs[0])

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        x = values[0]
        if x.dtype == np.bool_:
            return (packed(~x.astype(bool)),)
        return (packed(x < np.asarray(inputs[0].zero_point if x.dtype == np.int8 else 0, np.float32)),)


@dataclass(frozen=True)
class LceDequantize(Op):
    """x (..., words) -> (..., channels): +1 and -1 in float32, what is nearest to them in int8, or whether it is +1."""

    name: ClassVar[str] = "LceDequantize"
    channels: int

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return ((*inputs[0].shape[:-1], self.channels),)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        types = (DType.INT8, DType.FLOAT32, DType.BOOL)
        return _bits_why_not(inputs[0], words_of(self.channels)) or _values_why_not(outputs[0], types)

    @staticmethod
    def images(y: Tensor) -> tuple[float, float]:
        """What +1 and -1 become."""
        if y.dtype is not DType.INT8:
            return (1.0, -1.0) if y.dtype is DType.FLOAT32 else (1, 0)
        off = float(_half_away(np.float32(1.0) / np.array(y.scale, np.float32)))
        return min(127, y.zero_point + off), max(-128, y.zero_point - off)

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        plus, minus = self.images(outputs[0])
        return (np.where(unpacked(values[0], self.channels) == 0, plus, minus).astype(outputs[0].dtype.numpy),)


@dataclass(frozen=True)
class LceBMaxPool2d(Op):
    """x (n, h, w, words) -> (n, out_h, out_w, words): +1 where any pixel inside the window is, thus a bitwise and."""

    name: ClassVar[str] = "LceBMaxPool2d"
    window: Window

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        n, h, w, words = inputs[0].shape
        return ((n, *self.window.output_size(h, w), words),)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        if len(inputs[0].shape) != 4:
            return f"input must have rank 4, not {len(inputs[0].shape)}"
        return _bits_why_not(inputs[0]) or _bits_why_not(outputs[0])

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        patches = self.window.patches(signed(values[0]), -1)
        return (np.bitwise_and.reduce(patches, axis=(3, 4)).astype(np.int32),)


@dataclass(frozen=True)
class LceBconv2d(Op):
    """x (n, h, w, words), filter (c_out, kh, kw, words of a group), then threshold int32 (c_out) -> (n, out_h, out_w,
    words), or multiplier and bias float32 (c_out) -> (n, out_h, out_w, c_out) of int8 or float32.
    """

    name: ClassVar[str] = "LceBconv2d"
    window: Window
    channels: int
    """Of the input."""
    zeros: bool = False
    """Whether what is outside the image is 0, and not +1."""
    low: int | None = None
    high: int | None = None
    """Bounds of the fused activation, before multiplier and bias."""

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        n, h, w, _ = inputs[0].shape
        filters = inputs[1].shape[0]
        return ((n, *self.window.output_size(h, w), words_of(filters) if len(inputs) == 3 else filters),)

    def groups(self, inputs: Tensors) -> int:
        """How many groups the filter's shape says."""
        return inputs[0].shape[3] // inputs[1].shape[3]

    def depth(self, inputs: Tensors) -> int:
        """Input channels of a group."""
        return self.channels // self.groups(inputs)

    def taps(self, inputs: Tensors) -> int:
        """K: products in a sum."""
        return prod(self.window.kernel) * self.depth(inputs)

    def macs(self, inputs: Tensors, outputs: Tensors) -> int:
        return prod(outputs[0].shape[:3]) * inputs[1].shape[0] * self.taps(inputs)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        return self._shapes_why_not(inputs) or self._filter_why_not(inputs) or self._output_why_not(inputs, outputs[0])

    def _shapes_why_not(self, inputs: Tensors) -> str | None:
        x, filters = inputs[:2]
        if len(x.shape) != 4 or len(filters.shape) != 4:
            return f"input and filter must have rank 4, not {len(x.shape)} and {len(filters.shape)}"
        problem = _bits_why_not(x, words_of(self.channels)) or _bits_why_not(filters)
        if problem:
            return problem
        words, groups = filters.shape[3], x.shape[3] // max(1, filters.shape[3])
        if min(filters.shape) < 1 or words * groups != x.shape[3] or filters.shape[0] % groups:
            found = f"{self.channels} input and {filters.shape[0]} output channels"
            return f"{found} do not divide into groups of {words} words; {AGAIN}"
        if groups > 1 and self.channels != words * groups * LANES:
            return f"{groups} groups of {self.channels} channels do not begin at whole words; {AGAIN}"
        return None

    def _filter_why_not(self, inputs: Tensors) -> str | None:
        filters = inputs[1]
        if not filters.is_constant:
            return f"filter '{filters.name}' is computed at run time; constants are supported"
        spare = unpacked(filters.values, filters.shape[3] * LANES)[..., self.depth(inputs) :]
        if spare.any():
            return f"filter '{filters.name}' has bits beyond its {self.depth(inputs)} channels; {AGAIN}"
        if self.zeros and self.depth(inputs) % 2:
            found = f"{self.depth(inputs)} input channels are an odd number"
            return f"{found}, and padding with 0 is defined for even ones; pad with ones (pad_values=1)"
        return None

    def _output_why_not(self, inputs: Tensors, y: Tensor) -> str | None:
        filters = inputs[1].shape[0]
        wanted = ("threshold",) if y.dtype is DType.INT32 else ("multiplier", "bias")
        if len(inputs) != 2 + len(wanted):
            return f"its output is {y.dtype.value}, for which it needs {' and '.join(wanted)}; {AGAIN}"
        if y.dtype is DType.INT32 and self.zeros:
            return "bits as output are not defined where the image is padded with 0; pad with ones (pad_values=1)"
        dtype = DType.INT32 if y.dtype is DType.INT32 else DType.FLOAT32
        for what, tensor in zip(wanted, inputs[2:], strict=True):
            if not tensor.is_constant or tensor.dtype is not dtype or tensor.elements != filters:
                found = f"{what} '{tensor.name}' ({tensor.dtype.value}, {tensor.elements} values)"
                return f"{found} must be a constant of {filters} {dtype.value}; {AGAIN}"
        if y.dtype is DType.INT32:
            return None
        return _values_why_not(y, (DType.INT8, DType.FLOAT32)) or self._line_why_not(inputs, y)

    def _line_why_not(self, inputs: Tensors, y: Tensor) -> str | None:
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(np.array(self.line(inputs, y)))
        if not finite.all():
            return f"multiplier and bias of output channel {int(np.argmin(finite.all(axis=0)))} are no finite numbers"
        return None

    def line(self, inputs: Tensors, y: Tensor) -> tuple[Floats, Floats]:
        """(m, c) of each output channel: an output is t · m + c before it is rounded, with t from `bounded`."""
        multiplier, bias = (t.values.astype(np.float64).ravel() for t in inputs[2:])
        scale, zero_point = (y.scale, y.zero_point) if y.dtype is DType.INT8 else (1.0, 0)
        slope = (-multiplier / scale).astype(np.float32)
        return slope, ((bias + self.taps(inputs) * multiplier) / scale + zero_point).astype(np.float32)

    def bounded(self, inputs: Tensors, accumulators: Ints) -> Ints:
        """K minus the activated sums, for numbers of bits that differ."""
        taps = self.taps(inputs)
        low = -taps if self.low is None else max(self.low, -taps)
        high = taps if self.high is None else min(self.high, taps)
        return np.clip(2 * accumulators, taps - high, taps - low)

    def outputs_of(self, inputs: Tensors, y: Tensor, accumulators: Ints) -> Array:
        """Of numbers of bits that differ (..., c_out) what is written for them, before bits are packed."""
        if y.dtype is DType.INT32:
            return accumulators > inputs[2].values.ravel().astype(np.int64)
        values = on_line(self.bounded(inputs, accumulators), *self.line(inputs, y))
        return rounded(values) if y.dtype is DType.INT8 else values

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        result = self.outputs_of(inputs, outputs[0], self.accumulators(inputs, values))
        return (packed(result) if outputs[0].dtype is DType.INT32 else result,)

    def accumulators(self, inputs: Tensors, values: Values) -> Ints:
        """(n, out_h, out_w, c_out): how many bits differ; each tap outside counts a half where it is 0."""
        groups, depth = self.groups(inputs), self.depth(inputs)
        filters = unpacked(values[1], depth)
        patches = self.window.patches(unpacked(values[0], self.channels), 0)
        inside = self.window.patches(np.ones((*inputs[0].shape[:3], 1), np.int64), int(not self.zeros))
        # of a tap inside x + w - 2xw of bits x and w; float64 holds every sum, and its matrix product is the fast one
        parts = [
            (bits * inside).reshape(*bits.shape[:3], -1).astype(np.float64) @ (1.0 - 2 * w.reshape(len(w), -1)).T
            + np.repeat(inside, depth, axis=5).reshape(*bits.shape[:3], -1) @ w.reshape(len(w), -1).T.astype(np.float64)
            for bits, w in zip(np.split(patches, groups, axis=5), np.split(filters, groups), strict=True)
        ]
        outside = (1 - inside).sum(axis=(3, 4, 5))[..., None] * (depth // 2)
        differing: Ints = np.concatenate(parts, axis=3).astype(np.int64) + outside
        return differing
