"""TFLite operators in our terms: one small function each, gathered in `OPERATORS`.

To add an operator to this reader is to add its function and its line in the table.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from tinycompiler.fixed_point import round_half_away
from tinycompiler.ops import (
    Add,
    AveragePool2D,
    Clamp,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    FullyConnected,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Op,
    Pad,
    Padding,
    Quantize,
    Relu,
    Relu6,
    Requantize,
    Reshape,
    Softmax,
    Window,
)
from tinycompiler.ops.convolution import same_padding
from tinycompiler.readers import schema
from tinycompiler.readers.tflite import Operator
from tinycompiler.tensor import DType, Tensor


class Refused(Exception):
    """An operator's options say what is not supported; the message is the sentence."""


class Site:
    """An operator with its tensors at hand."""

    def __init__(self, operator: Operator, tensors: Mapping[str, Tensor]) -> None:
        self.options = operator.options
        self.inputs = tuple(tensors[name] for name in operator.inputs if name is not None)
        self.outputs = tuple(tensors[name] for name in operator.outputs)

    def option(self, name: str, default: int = 0) -> int:
        return int(self.options.get(name, default))

    def constant(self, index: int, what: str) -> list[int]:
        """The integers of a constant input."""
        if index >= len(self.inputs) or self.inputs[index].data is None:
            raise Refused(f"its {what} is computed at run time; export the network with constant {what}")
        return [int(v) for v in np.atleast_1d(self.inputs[index].values).ravel()]

    def clamp(self) -> Clamp:
        """Of the fused activation, in the output's units; quotients in float32 as in the reference."""
        code, y = self.option("fused_activation_function"), self.outputs[0]
        name = schema.ACTIVATIONS[code] if 0 <= code < len(schema.ACTIVATIONS) else str(code)
        bounds: dict[str, tuple[float | None, float | None]] = {
            "NONE": (None, None),
            "RELU": (0.0, None),
            "RELU6": (0.0, 6.0),
            "RELU_N1_TO_1": (-1.0, 1.0),
        }
        if name not in bounds:
            raise Refused(f"the fused activation {name} is not supported; export it as an operator of its own")
        if y.dtype is not DType.INT8 or y.quantization is None or len(y.quantization.scales) != 1:
            return Clamp()  # the operator itself refuses such an output
        low, high = (
            default if bound is None else y.zero_point + round_half_away(float(np.float32(bound) / np.float32(y.scale)))
            for bound, default in zip(bounds[name], (-128, 127), strict=True)
        )
        low = max(-128, low)
        return Clamp(min(low, 127), max(min(127, high), min(low, 127)))

    def window(self, kernel: tuple[int, int]) -> Window:
        stride = (self.option("stride_h"), self.option("stride_w"))
        dilation = (self.option("dilation_h_factor", 1), self.option("dilation_w_factor", 1))
        if min(*stride, *dilation, *kernel) < 1:
            raise Refused(f"kernel {kernel}, stride {stride} and dilation {dilation} must be at least 1")
        if len(self.inputs[0].shape) != 4:
            raise Refused(f"its input has rank {len(self.inputs[0].shape)}, and 4 is needed")
        if self.option("padding") != schema.PADDINGS.index("SAME"):
            return Window(kernel, stride, dilation)
        _, height, width, _ = self.inputs[0].shape
        top, bottom = same_padding(height, kernel[0], stride[0], dilation[0])
        left, right = same_padding(width, kernel[1], stride[1], dilation[1])
        return Window(kernel, stride, dilation, Padding(top, bottom, left, right))

    def kernel_of_weights(self) -> tuple[int, int]:
        shape = self.inputs[1].shape
        if len(shape) != 4:
            raise Refused(f"its weights have shape {shape}, and rank 4 is needed")
        return shape[1], shape[2]


def _pool(kind: type[AveragePool2D] | type[MaxPool2D]) -> Callable[[Site], Op]:
    return lambda s: kind(s.window((s.option("filter_height"), s.option("filter_width"))), s.clamp())


def _fully_connected(s: Site) -> Op:
    if s.option("weights_format"):
        raise Refused("its weights are shuffled (weights_format 1); export them in the default format")
    return FullyConnected(bool(s.option("keep_num_dims")), s.clamp())


def _mean(s: Site) -> Op:
    rank = len(s.inputs[0].shape)
    axes = s.constant(1, "axes")
    if any(not -rank <= a < rank for a in axes):
        raise Refused(f"axes {axes} are outside rank {rank}")
    return Mean(tuple(sorted({a % rank for a in axes})), bool(s.option("keep_dims")))


def _pad(s: Site) -> Op:
    widths = s.constant(1, "paddings")
    if len(widths) != 2 * len(s.inputs[0].shape):
        raise Refused(f"it has {len(widths)} paddings for rank {len(s.inputs[0].shape)}")
    return Pad(tuple(widths[0::2]), tuple(widths[1::2]))


def _concatenation(s: Site) -> Op:
    if not s.clamp().is_natural:
        raise Refused("a fused activation on CONCATENATION is not supported")
    rank, axis = len(s.outputs[0].shape), s.option("axis")
    if any(len(x.shape) != rank for x in s.inputs) or not -rank <= axis < rank:
        raise Refused(f"axis {axis} does not suit shapes {[x.shape for x in s.inputs]}")
    return Concatenation(axis % rank)


def _quantize(s: Site) -> Op:
    source = s.inputs[0].dtype
    if source is DType.FLOAT32:
        return Quantize()
    return Requantize()


OPERATORS: Mapping[str, Callable[[Site], Op]] = MappingProxyType(
    {
        "ADD": lambda s: Add(s.clamp()),
        "AVERAGE_POOL_2D": _pool(AveragePool2D),
        "CONCATENATION": _concatenation,
        "CONV_2D": lambda s: Conv2D(s.window(s.kernel_of_weights()), s.clamp()),
        "DEPTHWISE_CONV_2D": lambda s: DepthwiseConv2D(s.window(s.kernel_of_weights()), s.clamp()),
        "DEQUANTIZE": lambda _: Dequantize(),
        "FULLY_CONNECTED": _fully_connected,
        "LOGISTIC": lambda _: Logistic(),
        "MAX_POOL_2D": _pool(MaxPool2D),
        "MEAN": _mean,
        "MUL": lambda s: Mul(s.clamp()),
        "PAD": _pad,
        "QUANTIZE": _quantize,
        "RELU": lambda _: Relu(),
        "RELU6": lambda _: Relu6(),
        "RESHAPE": lambda s: Reshape(s.outputs[0].shape),
        "SOFTMAX": lambda s: Softmax(float(s.options.get("beta", 1.0))),
    }
)

PARAMETERS: Mapping[str, int] = MappingProxyType({"MEAN": 1, "PAD": 1, "RESHAPE": 1})
"""How many leading inputs are values; the others are parameters that went into the attributes."""
