"""Networks by their shape: long, wide, of repeated blocks; as files, and as optimized graphs."""

from functools import cached_property
from math import sqrt

import numpy as np

from tests.draws import graph_of
from tests.tflite_builder import ModelBuilder
from tinycompiler.graph import Graph
from tinycompiler.ops import Numerics
from tinycompiler.passes import optimize
from tinycompiler.readers import schema
from tinycompiler.tensor import Array

SCALE, ZERO = 0.05, 3
"""Of every activation."""
RELU6 = schema.ACTIVATIONS.index("RELU6")


class Sketch:
    """A network in the making; every method makes an operator and returns its output."""

    def __init__(self, height: int, width: int, depth: int) -> None:
        self.model = ModelBuilder("model")
        self.rng = np.random.default_rng(0)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.shared: dict[tuple[int, ...], tuple[str, str]] = {}
        self.activation("x", (1, height, width, depth))

    def activation(self, name: str, shape: tuple[int, ...]) -> str:
        self.shapes[name] = shape
        return self.model.tensor(name, shape, scales=SCALE, zero_points=ZERO)

    def operator(self, kind: str, inputs: list[str], shape: tuple[int, ...], **options: int) -> str:
        output = self.activation(f"t{len(self.shapes)}", shape)
        self.model.operator(kind, inputs, [output], options=options)
        return output

    def weights(self, shape: tuple[int, ...], axis: int) -> tuple[str, str]:
        """Weights and biases, the same for every operator that asks for that shape."""
        if shape not in self.shared:
            number, channels = len(self.shared), shape[axis]
            taps = int(np.prod(shape)) // channels
            scale = float(np.float32(1 / (74 * sqrt(taps))))
            name, bias = f"w{number}", f"b{number}"
            data: Array = self.rng.integers(-127, 128, shape).astype(np.int8)
            self.model.tensor(name, shape, scales=[scale] * channels, axis=axis, data=data)
            biases = self.rng.integers(-500, 500, channels).astype(np.int32)
            bias_scale = float(np.float32(SCALE) * np.float32(scale))
            self.model.tensor(bias, (channels,), "int32", scales=[bias_scale] * channels, data=biases)
            self.shared[shape] = name, bias
        return self.shared[shape]

    def conv(self, x: str, filters: int, kernel: int = 3, stride: int = 1, activation: int = 0) -> str:
        n, height, width, depth = self.shapes[x]
        weights = self.weights((filters, kernel, kernel, depth), 0)
        shape = (n, -(-height // stride), -(-width // stride), filters)
        moving = {"stride_h": stride, "stride_w": stride, "fused_activation_function": activation}
        return self.operator("CONV_2D", [x, *weights], shape, **moving)

    def dense(self, x: str, units: int, activation: int = 0) -> str:
        weights = self.weights((units, int(np.prod(self.shapes[x]))), 0)
        return self.operator("FULLY_CONNECTED", [x, *weights], (1, units), fused_activation_function=activation)

    def depthwise(self, x: str, stride: int = 1, activation: int = 0) -> str:
        n, height, width, depth = self.shapes[x]
        weights = self.weights((1, 3, 3, depth), 3)
        shape = (n, -(-height // stride), -(-width // stride), depth)
        moving = {"stride_h": stride, "stride_w": stride, "depth_multiplier": 1}
        return self.operator("DEPTHWISE_CONV_2D", [x, *weights], shape, **moving, fused_activation_function=activation)

    def add(self, a: str, b: str) -> str:
        return self.operator("ADD", [a, b], self.shapes[a])

    def reshape(self, x: str, *shape: int) -> str:
        name = f"s{len(self.shapes)}"
        self.model.tensor(name, (len(shape),), "int32", data=np.array(shape, np.int32))
        return self.operator("RESHAPE", [x, name], shape)

    def to(self, *outputs: str) -> "Sketch":
        self.model.inputs("x").outputs(*outputs)
        return self

    @cached_property
    def file(self) -> bytes:
        return self.model.build()

    @cached_property
    def graph(self) -> Graph:
        """After all passes."""
        return optimize(graph_of(self.file, Numerics.LITERT))


def chain(count: int) -> Sketch:
    """So many convolutions one after the other."""
    s = Sketch(4, 4, 2)
    x = "x"
    for _ in range(count):
        x = s.conv(x, 2)
    return s.to(x)


def diamonds(count: int) -> Sketch:
    """About so many nodes in blocks of three ways that meet again."""
    s = Sketch(4, 4, 2)
    x = "x"
    for _ in range(count // 6):
        a, b = s.conv(x, 2), s.conv(x, 2)
        x = s.add(s.add(s.conv(s.conv(a, 2), 2), b), a)
    return s.to(x)


def wide(ways: int, *, breadth_first: bool = False) -> Sketch:
    """So many ways of two convolutions from one input, summed one by one."""
    s = Sketch(4, 4, 2)
    if breadth_first:
        found = [s.conv(x, 2) for x in [s.conv("x", 8) for _ in range(ways)]]
    else:
        found = [s.conv(s.conv("x", 8), 2) for _ in range(ways)]
    total = found[0]
    for other in found[1:]:
        total = s.add(total, other)
    return s.to(total)


def readers(count: int) -> Sketch:
    """One tensor that so many nodes read, all of whose results are wanted at the end."""
    s = Sketch(9, 7, 5)
    x = s.conv("x", 5)
    return s.to(*(s.conv(x, 3, kernel=1 + 2 * (i % 2)) for i in range(count)))


def with_itself() -> Sketch:
    """A residual with itself: the sum of a tensor and the same tensor, twice."""
    s = Sketch(11, 9, 6)
    x = s.conv("x", 6)
    y = s.add(x, x)
    z = s.conv(y, 6)
    return s.to(s.add(z, z), s.add(y, z))


def audio(width: int, depth: int) -> Sketch:
    """Convolutions along one axis, as exporters write them: in and out of images of one row; and a bottleneck."""
    s = Sketch(1, width, depth)
    x = s.conv("x", 16, 3, 2, RELU6)
    flat = s.reshape(x, *s.shapes[x][1:])
    x = s.conv(s.reshape(flat, *s.shapes[x]), 32, 1, 1, RELU6)
    x = s.add(x, s.conv(s.depthwise(x, 1, RELU6), 32, 1))
    return s.to(s.conv(s.conv(x, 48, 3, 2, RELU6), 8, 3, 2, RELU6))


def perceptron(depth: int, *units: int) -> Sketch:
    """Fully connected layers."""
    s = Sketch(1, 1, depth)
    x = "x"
    for count in units:
        x = s.dense(x, count, RELU6 if count != units[-1] else 0)
    return s.to(x)


INVERTED = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
"""Expansion, channels, repetitions and first stride of the bottlenecks of MobileNetV2 (Sandler et al. 2018), table 2,
without the last stages, which need little memory.
"""


def mobilenet_v2(size: int, width: float) -> Sketch:
    """Its inverted bottlenecks on images of size x size x 3."""

    def channels(wanted: int) -> int:
        return max(8, int(wanted * width + 4) // 8 * 8)

    s = Sketch(size, size, 3)
    x = s.conv("x", channels(32), 3, 2, RELU6)
    for expansion, depth, repetitions, first in INVERTED:
        for stride in (first, *[1] * (repetitions - 1)):
            before = x
            if expansion > 1:
                x = s.conv(x, s.shapes[x][3] * expansion, 1, activation=RELU6)
            x = s.conv(s.depthwise(x, stride, RELU6), channels(depth), 1)
            if s.shapes[x] == s.shapes[before]:
                x = s.add(before, x)
    return s.to(x)
