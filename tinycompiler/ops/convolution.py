"""CONV_2D and DEPTHWISE_CONV_2D.

Padding is explicit, in pixels per side, because SAME depends on the shape and because a PAD node folds into it.
"""

from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

import numpy as np

from tinycompiler.fixed_point import Multiplier, multiply_by_quantized_multiplier, quantize_multiplier
from tinycompiler.ops import int16
from tinycompiler.ops.base import INT8_OR_INT16, Clamp, Ints, Numerics, Op, Shape, Tensors, Values, signed
from tinycompiler.tensor import Array, DType, Tensor

FAR = 16
"""Times larger than the image, or than all windows, a padded image is not made."""


@dataclass(frozen=True)
class Padding:
    """Pixels added on each side of an image."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def __bool__(self) -> bool:
        return any((self.top, self.bottom, self.left, self.right))


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """(before, after) of TensorFlow's SAME: ceil(size / stride) outputs, the odd pixel after."""
    reach = (kernel - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


@dataclass(frozen=True)
class Window:
    """A window that slides over an image of shape (n, h, w, c)."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: Padding = Padding()

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the output."""
        (kh, kw), (sh, sw), (dh, dw), pad = self.kernel, self.stride, self.dilation, self.padding
        rows = (height + pad.top + pad.bottom - (kh - 1) * dh - 1) // sh + 1
        columns = (width + pad.left + pad.right - (kw - 1) * dw - 1) // sw + 1
        return rows, columns

    def patches(self, image: Ints, fill: int) -> Ints:
        """Every window of `image` (n, h, w, c) as (n, out_h, out_w, kh, kw, c), `fill` outside."""
        pad, (kh, kw), (dh, dw), (sh, sw) = self.padding, self.kernel, self.dilation, self.stride
        height, width = image.shape[1:3]
        with_padding = (height + pad.top + pad.bottom) * (width + pad.left + pad.right)
        if with_padding > FAR * max(height * width, prod(self.output_size(height, width)) * kh * kw):
            return self.gathered(image, fill)
        padded = np.pad(
            image,
            ((0, 0), (pad.top, pad.bottom), (pad.left, pad.right), (0, 0)),
            constant_values=fill,
        )
        reach = ((kh - 1) * dh + 1, (kw - 1) * dw + 1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(1, 2))
        chosen = windows[:, ::sh, ::sw, :, ::dh, ::dw]
        return np.moveaxis(chosen, 3, 5)

    def gathered(self, image: Ints, fill: int) -> Ints:
        """The same for windows that reach far beyond the image, without a padded copy of it."""
        sizes, before = image.shape[1:3], (self.padding.top, self.padding.left)
        places = []
        for axis, count in enumerate(self.output_size(*sizes)):
            starts = np.arange(count) * self.stride[axis] - before[axis]
            at = starts[:, None] + np.arange(self.kernel[axis]) * self.dilation[axis]
            places.append(np.where((at >= 0) & (at < sizes[axis]), at, sizes[axis]))
        one_more = np.pad(image, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=fill)
        found: Ints = one_more[:, places[0][:, None, :, None], places[1][None, :, None, :]]
        return found


def multipliers(x: Tensor, weights: Tensor, y: Tensor, channels: int) -> tuple[Multiplier, ...]:
    """in_scale · weight_scale / out_scale of each output channel, as PopulateConvolutionQuantizationParams forms it."""
    return tuple(quantize_multiplier(real) for real in real_multipliers(x, weights, y, channels))


def real_multipliers(x: Tensor, weights: Tensor, y: Tensor, channels: int) -> tuple[float, ...]:
    """The same in double."""
    assert weights.quantization is not None
    return tuple(x.scale * s / y.scale for s in weights.quantization.per_channel(channels))


def requantize(accumulators: Ints, chosen: tuple[Multiplier, ...], zero_point: int, clamp: Clamp) -> Array:
    """int32 accumulators (..., channels) to int8, rounding twice."""
    value = np.array([m.value for m in chosen], np.int64)
    shift = np.array([m.shift for m in chosen], np.int64)
    scaled = multiply_by_quantized_multiplier(accumulators, value, shift)
    return clamp(scaled + zero_point).astype(np.int8)


def bias_of(inputs: Tensors, values: Values, channels: int) -> Ints:
    """The bias (channels,), zeros when there is none."""
    return signed(values[2]).reshape(-1) if len(inputs) > 2 else np.zeros(channels, np.int64)


def weights_why_not(weights: Tensor, channels: int, axis: int) -> str | None:
    """What weights must be: constant, symmetric int8, one scale or one per output channel along `axis`."""
    q = weights.quantization
    if not weights.is_constant:
        return f"weights '{weights.name}' are computed at run time; constants are supported"
    if weights.dtype is not DType.INT8 or q is None:
        return f"weights '{weights.name}' are {weights.dtype.value} and need to be int8 with a scale"
    if q.zero_point != 0:
        return f"weights '{weights.name}' have zero point {q.zero_point}; symmetric weights (0) are supported"
    if len(q.scales) not in (1, channels) or (len(q.scales) > 1 and q.axis != axis):
        found, wanted = f"{len(q.scales)} scales along axis {q.axis}", f"1, or {channels} along axis {axis}"
        return f"weights '{weights.name}' have {found}; {wanted} are supported"
    return None


def bias_why_not(inputs: Tensors, channels: int) -> str | None:
    """What a bias must be: a constant int32 vector of one value per output channel."""
    if len(inputs) < 3:
        return None
    bias = inputs[2]
    if not bias.is_constant or bias.dtype is not DType.INT32 or bias.elements != channels:
        return f"bias '{bias.name}' ({bias.dtype.value}, {bias.elements} values) must be a constant of {channels} int32"
    return None


def accumulators_why_not(inputs: Tensors, outputs: Tensors, weights: Ints, said: DType | None) -> str | None:
    """What is wrong with the bias, or how an accumulator can overflow; `weights` are (channels, taps)."""
    x, y, channels = inputs[0], outputs[0], len(weights)
    bias = bias_of(inputs, constants(inputs), channels)
    if x.dtype is DType.INT16:
        scales = real_multipliers(x, inputs[1], y, channels)
        kind = int16.accumulator(inputs, said)
        return int16.bias_why_not(inputs, channels) or int16.overflow_why_not(weights, bias, kind, scales)
    return bias_why_not(inputs, channels) or overflow_why_not(weights, bias, x.zero_point)


def scaled_output(accumulators: Ints, inputs: Tensors, y: Tensor, said: DType | None, clamp: Clamp) -> Array:
    """Accumulators (..., channels) in the type and scale of the output."""
    chosen = multipliers(inputs[0], inputs[1], y, accumulators.shape[-1])
    if y.dtype is DType.INT16:
        return int16.requantize(accumulators, chosen, int16.accumulator(inputs, said), clamp)
    return requantize(accumulators, chosen, y.zero_point, clamp)


def reach_of(weights: Ints, bias: Ints, zero_point: int) -> Ints:
    """The largest magnitude of each accumulator over all int8 inputs; `weights` are (channels, taps)."""
    reach: Ints = np.abs(weights).sum(axis=1) * max(127 - zero_point, zero_point + 128) + np.abs(bias)
    return reach


def overflow_why_not(weights: Ints, bias: Ints, zero_point: int) -> str | None:
    """A sentence when some int8 input could overflow an int32 accumulator; `weights` are (channels, taps).

    The reference's partial sums run over (x - zero_point)·w in any order and end with the bias, so the largest
    magnitude is Σ|w| · max|x - zero_point| + |bias|.
    """
    reach = max(127 - zero_point, zero_point + 128)
    sums = np.abs(weights).sum(axis=1) * reach
    worst = np.maximum(sums, sums + np.abs(bias))
    channel = int(np.argmax(worst))
    saturated = bias[channel] in (-(2**31), 2**31 - 1) and not weights[channel].any()
    if worst[channel] > 2**31 - 1 and not saturated:
        return (
            f"output channel {channel} can reach {int(worst[channel]):,} in an int32 accumulator (limit 2^31 - 1): "
            "its weights or bias are too large; retrain with weight decay or quantize per channel"
        )
    return None


@dataclass(frozen=True)
class Conv2D(Op):
    """x (n, h, w, c_in), weights (c_out, kh, kw, c_in / groups), bias (c_out) -> (n, out_h, out_w, c_out).

    Every group of output channels reads its own group of input channels; nearly always there is one group.
    """

    name: ClassVar[str] = "CONV_2D"
    activations: ClassVar[tuple[DType, ...]] = INT8_OR_INT16
    window: Window
    clamp: Clamp = field(default_factory=Clamp)
    bias_type: DType | None = field(default=None, repr=False)
    """What the file says that the bias is, with int16 activations."""

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        n, h, w, _ = inputs[0].shape
        return ((n, *self.window.output_size(h, w), inputs[1].shape[0]),)

    @staticmethod
    def groups(inputs: Tensors) -> int:
        """How many groups the weights' shape says."""
        return inputs[0].shape[3] // inputs[1].shape[3]

    def macs(self, inputs: Tensors, outputs: Tensors) -> int:
        return outputs[0].elements * prod(inputs[1].shape[1:])

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        x, weights = inputs[:2]
        if len(x.shape) != 4 or len(weights.shape) != 4:
            return f"input and weights must have rank 4, not {len(x.shape)} and {len(weights.shape)}"
        channels, depth = weights.shape[0], weights.shape[3]
        if x.shape[3] % depth or channels % (x.shape[3] // depth):
            return f"{x.shape[3]} input and {channels} output channels do not divide into groups of {depth} inputs"
        problem = super().why_not((x,), outputs) or weights_why_not(weights, channels, 0)
        if problem is None and x.dtype is DType.INT16 and self.groups(inputs) > 1:
            return f"{self.groups(inputs)} groups are supported with int8 activations, not with int16"
        return problem or accumulators_why_not(
            inputs, outputs, signed(weights.values).reshape(channels, -1), self.bias_type
        )

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        if inputs[0].dtype is DType.INT16 and numerics is Numerics.LITERT:
            return int16.bias_type_why_not(inputs, self.bias_type)
        return None

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        x, y = inputs[0], outputs[0]
        channels = inputs[1].shape[0]
        patches = self.window.patches(signed(values[0]), x.zero_point) - x.zero_point
        groups = self.groups(inputs)
        # float64 holds every int32 accumulator exactly, and its matrix product is the fast one
        weights = values[1].reshape(channels, -1).astype(np.float64)
        products = [
            part.reshape(*part.shape[:3], -1).astype(np.float64) @ filters.T
            for part, filters in zip(np.split(patches, groups, axis=5), np.split(weights, groups), strict=True)
        ]
        accumulators = np.concatenate(products, axis=3).astype(np.int64) + bias_of(inputs, values, channels)
        return (scaled_output(accumulators, inputs, y, self.bias_type, self.clamp),)


@dataclass(frozen=True)
class DepthwiseConv2D(Op):
    """x (n, h, w, c), weights (1, kh, kw, c·m), bias (c·m) -> (n, out_h, out_w, c·m); output channel o reads o // m."""

    name: ClassVar[str] = "DEPTHWISE_CONV_2D"
    activations: ClassVar[tuple[DType, ...]] = INT8_OR_INT16
    window: Window
    clamp: Clamp = field(default_factory=Clamp)

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        n, h, w, _ = inputs[0].shape
        return ((n, *self.window.output_size(h, w), inputs[1].shape[3]),)

    def macs(self, inputs: Tensors, outputs: Tensors) -> int:
        return outputs[0].elements * prod(self.window.kernel)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        x, weights = inputs[:2]
        if len(x.shape) != 4 or len(weights.shape) != 4 or weights.shape[0] != 1:
            return f"input must have rank 4 and weights shape (1, h, w, c), not {x.shape} and {weights.shape}"
        channels = weights.shape[3]
        if channels % x.shape[3]:
            return f"{channels} output channels are not a multiple of {x.shape[3]} input channels"
        problem = super().why_not((x,), outputs) or weights_why_not(weights, channels, 3)
        if problem is None and x.dtype is DType.INT16:
            problem = int16.bias_why_not(inputs, channels, (DType.INT64,))
        return problem or accumulators_why_not(
            inputs, outputs, signed(weights.values).reshape(-1, channels).T, DType.INT64
        )

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        x, y = inputs[0], outputs[0]
        channels = inputs[1].shape[3]
        patches = self.window.patches(signed(values[0]), x.zero_point) - x.zero_point
        repeated = np.repeat(patches, channels // x.shape[3], axis=5)
        accumulators = (repeated * signed(values[1])[0]).sum(axis=(3, 4)) + bias_of(inputs, values, channels)
        return (scaled_output(accumulators, inputs, y, DType.INT64, self.clamp),)


def constants(inputs: Tensors) -> tuple[Array, ...]:
    """The data of constant inputs, an empty array for the others; `values` for rules that look at constants only."""
    return tuple(t.data if t.data is not None else np.zeros(0, np.int8) for t in inputs)
