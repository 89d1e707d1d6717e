"""All operators: attributes, shape rules and numpy references, one file per family."""

from tinycompiler.ops.activation import Logistic, Relu, Relu6, Softmax, Unary
from tinycompiler.ops.base import Clamp, Numerics, Op
from tinycompiler.ops.convolution import Conv2D, DepthwiseConv2D, Padding, Window
from tinycompiler.ops.elementwise import Add, Mul
from tinycompiler.ops.fully_connected import FullyConnected
from tinycompiler.ops.movement import Concatenation, Pad, Reshape
from tinycompiler.ops.pooling import AveragePool2D, MaxPool2D
from tinycompiler.ops.quantization import Dequantize, Quantize, Requantize
from tinycompiler.ops.reduction import Mean

OPERATORS: tuple[type[Op], ...] = (
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    FullyConnected,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Pad,
    Quantize,
    Relu,
    Relu6,
    Requantize,
    Reshape,
    Softmax,
)

__all__ = [
    "OPERATORS",
    "Add",
    "AveragePool2D",
    "Clamp",
    "Concatenation",
    "Conv2D",
    "DepthwiseConv2D",
    "Dequantize",
    "FullyConnected",
    "Logistic",
    "MaxPool2D",
    "Mean",
    "Mul",
    "Numerics",
    "Op",
    "Pad",
    "Padding",
    "Quantize",
    "Relu",
    "Relu6",
    "Requantize",
    "Reshape",
    "Softmax",
    "Unary",
    "Window",
]
