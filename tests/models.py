"""Random quantized networks of one operator each, as .tflite bytes.

Every function draws what it is not told from `rng`: weights, zero points, scales. Output scales are chosen so that
outputs of uniform random inputs spread over the int8 range and only their tails are clamped. Shapes include the batch;
pairs are (vertical, horizontal).
"""

from collections.abc import Sequence
from math import prod, sqrt
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from tests.tflite_builder import ModelBuilder
from tinycompiler.readers import schema

Rng = np.random.Generator
Shape = tuple[int, ...]
Pair = tuple[int, int]

DEVIATION = 74.0  # of a uniform int8
SPREAD = 45.0  # wanted deviation of an output, in steps


class Numbers(TypedDict, total=False):
    """Quantization from one tensor to another; what is not given is drawn."""

    input_scale: float
    output_scale: float
    input_zero_point: int
    output_zero_point: int


class Weighted(Numbers, total=False):
    """And of an operator with weights (the first of these per channel, bias True, the arrays random)."""

    per_channel: bool
    bias: bool
    weights: NDArray[np.int8]
    biases: NDArray[np.int32]
    weight_scale: float


class Window(TypedDict, total=False):
    """How a window moves; 1, 1, "SAME" and "NONE" when not given (pooling: "VALID")."""

    stride: Pair
    dilation: Pair
    padding: str
    activation: str


class Convolution(Weighted, Window, total=False):
    """Everything that a convolution can be told."""


class TwoInputs(TypedDict, total=False):
    """What ADD and MUL can be told; `constant` makes the second input a constant."""

    activation: str
    constant: bool
    scales: tuple[float, float]
    zero_points: tuple[int, int]
    output_scale: float
    output_zero_point: int


class Pooling(TypedDict, total=False):
    """What pooling can be told; the output has the quantization of the input."""

    stride: Pair
    padding: str
    activation: str
    scale: float
    zero_point: int


def _zero_point(rng: Rng, given: int | None) -> int:
    return int(rng.integers(-60, 60)) if given is None else given


def _scale(rng: Rng, given: float | None, low: float = 0.01, high: float = 0.1) -> float:
    return float(rng.uniform(low, high)) if given is None else given


def _activation(name: str) -> int:
    return schema.ACTIVATIONS.index(name)


def _output_size(size: int, kernel: int, stride: int, dilation: int, padding: str) -> int:
    reach = (kernel - 1) * dilation + 1
    return -(-size // stride) if padding == "SAME" else -(-(size - reach + 1) // stride)


def _window(shape: Shape, kernel: Pair, told: Window) -> tuple[Pair, dict[str, int]]:
    """((output height, width), the options that say so); dilations only when told."""
    stride, dilation = told.get("stride", (1, 1)), told.get("dilation")
    padding = told.get("padding", "SAME")
    height, width = (
        _output_size(*sizes, padding) for sizes in zip(shape[1:3], kernel, stride, dilation or (1, 1), strict=True)
    )
    assert min(height, width) > 0, f"a window of {kernel} does not fit {shape}"
    options = {
        "padding": schema.PADDINGS.index(padding),
        "stride_h": stride[0],
        "stride_w": stride[1],
        "fused_activation_function": _activation(told.get("activation", "NONE")),
    }
    if dilation:
        options |= {"dilation_h_factor": dilation[0], "dilation_w_factor": dilation[1]}
    return (height, width), options


def _part(told: Any, keys: type) -> Any:
    """The entries of `told` that the typed dictionary `keys` declares."""
    return {key: value for key, value in told.items() if key in keys.__annotations__}


def conv_2d(
    rng: Rng,
    shape: Shape = (1, 7, 6, 3),
    filters: int = 4,
    kernel: Pair = (3, 3),
    *,
    groups: int = 1,
    **told: Unpack[Convolution],
) -> bytes:
    """CONV_2D; shape (n, h, w, c), weights (filters, kernel h, kernel w, c / groups).

    LiteRT refuses int8 without a bias.
    """
    size, options = _window(shape, kernel, _part(told, Window))
    weights_shape = (filters, *kernel, shape[3] // groups)
    output_shape = (shape[0], *size, filters)
    return _weighted(rng, "CONV_2D", shape, weights_shape, output_shape, options, 0, _part(told, Weighted))


def depthwise_conv_2d(
    rng: Rng, shape: Shape = (1, 7, 6, 3), multiplier: int = 1, kernel: Pair = (3, 3), **told: Unpack[Convolution]
) -> bytes:
    """DEPTHWISE_CONV_2D; weights (1, kernel h, kernel w, c · multiplier)."""
    size, options = _window(shape, kernel, _part(told, Window))
    options["depth_multiplier"] = multiplier
    weights_shape = (1, *kernel, shape[3] * multiplier)
    output_shape = (shape[0], *size, shape[3] * multiplier)
    return _weighted(rng, "DEPTHWISE_CONV_2D", shape, weights_shape, output_shape, options, 3, _part(told, Weighted))


def fully_connected(
    rng: Rng,
    shape: Shape = (1, 20),
    units: int = 5,
    *,
    activation: str = "NONE",
    keep_num_dims: bool = False,
    **told: Unpack[Weighted],
) -> bytes:
    """FULLY_CONNECTED; weights (units, inputs), inputs being the last dimension; per tensor when not told otherwise."""
    rows = shape[:-1] if keep_num_dims else (prod(shape[:-1]),)
    options = {"fused_activation_function": _activation(activation), "keep_num_dims": keep_num_dims}
    told.setdefault("per_channel", False)
    return _weighted(rng, "FULLY_CONNECTED", shape, (units, shape[-1]), (*rows, units), options, 0, told)


def _weighted(
    rng: Rng,
    operator: str,
    shape: Shape,
    weights_shape: Shape,
    output_shape: Shape,
    options: dict[str, Any],
    axis: int,
    told: Weighted,
) -> bytes:
    """An operator with weights, whose output channels stand at `axis`."""
    channels = weights_shape[axis]
    taps = prod(weights_shape) // channels  # products in one output
    scale = _scale(rng, told.get("input_scale"))
    base = _scale(rng, told.get("weight_scale"), 0.002, 0.02)
    scales = base * (rng.uniform(0.5, 1.5, channels) if told.get("per_channel", True) else np.ones(1))
    deviation = DEVIATION**2 * sqrt(taps)  # of an accumulator
    weights = rng.integers(-127, 128, weights_shape, np.int8)
    biases = rng.integers(-round(deviation), round(deviation) + 1, channels, np.int32)
    model = ModelBuilder(operator.lower())
    model.tensor("input", shape, scales=scale, zero_points=_zero_point(rng, told.get("input_zero_point")))
    model.tensor("weights", weights_shape, scales=scales.tolist(), axis=axis, data=told.get("weights", weights))
    if told.get("bias", True):
        model.tensor("bias", (channels,), "int32", scales=(scales * scale).tolist(), data=told.get("biases", biases))
        last: list[str | None] = ["bias"]
    else:  # as converters write it: -1 in FULLY_CONNECTED, left out elsewhere (where LiteRT refuses -1)
        last = [None] if operator == "FULLY_CONNECTED" else []
    output_scale = told.get("output_scale", deviation * scale * base / SPREAD)
    model.tensor(
        "output", output_shape, scales=output_scale, zero_points=_zero_point(rng, told.get("output_zero_point"))
    )
    model.operator(operator, ["input", "weights", *last], ["output"], options=options)
    return model.inputs("input").outputs("output").build()


def add(rng: Rng, shape: Shape = (1, 4, 5, 3), other: Shape | None = None, **told: Unpack[TwoInputs]) -> bytes:
    """ADD; `other` is the second input's shape when it is broadcast."""
    scales = told.setdefault("scales", (_scale(rng, None), _scale(rng, None)))
    told.setdefault("output_scale", DEVIATION * sqrt(scales[0] ** 2 + scales[1] ** 2) / SPREAD)
    return _two_inputs(rng, "ADD", shape, shape if other is None else other, told)


def mul(rng: Rng, shape: Shape = (1, 4, 5, 3), other: Shape | None = None, **told: Unpack[TwoInputs]) -> bytes:
    """MUL; `other` is the second input's shape when it is broadcast."""
    scales = told.setdefault("scales", (_scale(rng, None), _scale(rng, None)))
    told.setdefault("output_scale", DEVIATION**2 * scales[0] * scales[1] / SPREAD)
    return _two_inputs(rng, "MUL", shape, shape if other is None else other, told)


def _two_inputs(rng: Rng, operator: str, shape: Shape, other: Shape, told: TwoInputs) -> bytes:
    points = told.get("zero_points") or (_zero_point(rng, None), _zero_point(rng, None))
    output_point = _zero_point(rng, told.get("output_zero_point"))
    constant = told.get("constant", False)
    data = rng.integers(-128, 128, other, np.int8) if constant else None
    model = ModelBuilder(operator.lower())
    model.tensor("input", shape, scales=told["scales"][0], zero_points=points[0])
    model.tensor("other", other, scales=told["scales"][1], zero_points=points[1], data=data)
    shape = np.broadcast_shapes(shape, other)
    model.tensor("output", shape, scales=told["output_scale"], zero_points=output_point)
    options = {"fused_activation_function": _activation(told.get("activation", "NONE"))}
    model.operator(operator, ["input", "other"], ["output"], options=options)
    return model.inputs(*(["input"] if constant else ["input", "other"])).outputs("output").build()


def average_pool_2d(rng: Rng, shape: Shape = (1, 6, 5, 3), kernel: Pair = (2, 2), **told: Unpack[Pooling]) -> bytes:
    """AVERAGE_POOL_2D."""
    return _pool(rng, "AVERAGE_POOL_2D", shape, kernel, told)


def max_pool_2d(rng: Rng, shape: Shape = (1, 6, 5, 3), kernel: Pair = (2, 2), **told: Unpack[Pooling]) -> bytes:
    """MAX_POOL_2D."""
    return _pool(rng, "MAX_POOL_2D", shape, kernel, told)


def _pool(rng: Rng, operator: str, shape: Shape, kernel: Pair, told: Pooling) -> bytes:
    told.setdefault("padding", "VALID")
    size, options = _window(shape, kernel, _part(told, Window))
    options |= {"filter_height": kernel[0], "filter_width": kernel[1]}
    output_shape = (shape[0], *size, shape[3])
    numbers = (told.get("scale"), told.get("zero_point"))
    return _same_numbers(rng, operator, [shape], output_shape, options, numbers)


def _same_numbers(
    rng: Rng,
    operator: str,
    shapes: Sequence[Shape],
    output_shape: Sequence[int],
    options: dict[str, Any] | None,
    numbers: tuple[float | None, int | None],
    constants: Sequence[tuple[str, Sequence[Any]]] = (),
) -> bytes:
    """Inputs and an output of one (scale, zero point), and int32 constants."""
    scale, zero_point = _scale(rng, numbers[0]), _zero_point(rng, numbers[1])
    names = ["input"] if len(shapes) == 1 else [f"input{index}" for index in range(len(shapes))]
    model = ModelBuilder(operator.lower())
    for name, shape in zip(names, shapes, strict=True):
        model.tensor(name, shape, scales=scale, zero_points=zero_point)
    for name, values in constants:
        model.tensor(name, np.shape(values), "int32", data=values)
    model.tensor("output", output_shape, scales=scale, zero_points=zero_point)
    model.operator(operator, [*names, *(name for name, _ in constants)], ["output"], options=options)
    return model.inputs(*names).outputs("output").build()


def pad(
    rng: Rng,
    shape: Shape = (1, 4, 5, 3),
    paddings: Sequence[Pair] = ((0, 0), (1, 2), (0, 1), (0, 0)),
    *,
    scale: float | None = None,
    zero_point: int | None = None,
) -> bytes:
    """PAD with the zero point; `paddings` are (before, after) for each dimension."""
    output_shape = [size + before + after for size, (before, after) in zip(shape, paddings, strict=True)]
    constants = [("paddings", paddings)]
    return _same_numbers(rng, "PAD", [shape], output_shape, {}, (scale, zero_point), constants)


def reshape(
    rng: Rng,
    shape: Shape = (1, 4, 5, 3),
    new_shape: Shape = (1, 60),
    *,
    told_by: str = "both",
    asked: Shape | None = None,
    scale: float | None = None,
    zero_point: int | None = None,
) -> bytes:
    """RESHAPE, told by a "tensor", by "options" or by "both"; `asked` may hold a -1, `new_shape` is what comes out."""
    asked = new_shape if asked is None else asked
    options = {"new_shape": list(asked)} if told_by in ("options", "both") else None
    constants = [("shape", asked)] if told_by in ("tensor", "both") else []
    return _same_numbers(rng, "RESHAPE", [shape], new_shape, options, (scale, zero_point), constants)


def concatenation(
    rng: Rng,
    shapes: Sequence[Shape] = ((1, 4, 5, 3), (1, 4, 5, 2)),
    axis: int = 3,
    *,
    scale: float | None = None,
    zero_point: int | None = None,
) -> bytes:
    """CONCATENATION of inputs of one quantization, which is what LiteRT demands of int8."""
    output_shape = list(shapes[0])
    output_shape[axis] = sum(shape[axis] for shape in shapes)
    return _same_numbers(rng, "CONCATENATION", shapes, output_shape, {"axis": axis}, (scale, zero_point))


def mean(
    rng: Rng,
    shape: Shape = (1, 4, 5, 3),
    axes: Sequence[int] = (1, 2),
    *,
    keep_dims: bool = False,
    **told: Unpack[Numbers],
) -> bytes:
    """MEAN over `axes`."""
    over = {axis % len(shape) for axis in axes}
    kept = [1 if axis in over else size for axis, size in enumerate(shape) if axis not in over or keep_dims]
    scale = _scale(rng, told.get("input_scale"))
    output_scale = told.get("output_scale", scale * DEVIATION / SPREAD / sqrt(prod(shape[axis] for axis in over)))
    model = ModelBuilder("mean")
    model.tensor("input", shape, scales=scale, zero_points=_zero_point(rng, told.get("input_zero_point")))
    model.tensor("axes", (len(axes),), "int32", data=axes)
    model.tensor("output", kept, scales=output_scale, zero_points=_zero_point(rng, told.get("output_zero_point")))
    model.operator("MEAN", ["input", "axes"], ["output"], options={"keep_dims": keep_dims})
    return model.inputs("input").outputs("output").build()


def _unary(
    rng: Rng,
    operator: str,
    shape: Shape,
    told: Numbers,
    *,
    options: dict[str, Any] | None = None,
    dtypes: tuple[str, str] = ("int8", "int8"),
) -> bytes:
    """One input and one output of one shape; a float32 end has no quantization."""
    scale = _scale(rng, told.get("input_scale"))
    output_scale = told.get("output_scale", scale * float(rng.uniform(0.8, 2.0)))
    points = [_zero_point(rng, told.get("input_zero_point")), _zero_point(rng, told.get("output_zero_point"))]
    model = ModelBuilder(operator.lower())
    for name, dtype, each, point in zip(("input", "output"), dtypes, (scale, output_scale), points, strict=True):
        model.tensor(name, shape, dtype, scales=None if dtype == "float32" else each, zero_points=point)
    model.operator(operator, ["input"], ["output"], options=options)
    return model.inputs("input").outputs("output").build()


def _probabilities(
    rng: Rng, operator: str, shape: Shape, told: Numbers, options: dict[str, Any] | None = None
) -> bytes:
    """int8 outputs are 1/256 a step from -128, by TFLite's 8-bit quantization specification."""
    told.setdefault("input_scale", _scale(rng, None, 0.005, 0.05))
    told.setdefault("output_scale", 1 / 256)
    told.setdefault("output_zero_point", -128)
    return _unary(rng, operator, shape, told, options=options)


def softmax(rng: Rng, shape: Shape = (1, 10), *, beta: float = 1.0, **told: Unpack[Numbers]) -> bytes:
    """SOFTMAX over the last dimension."""
    return _probabilities(rng, "SOFTMAX", shape, told, {"beta": beta})


def logistic(rng: Rng, shape: Shape = (1, 4, 5, 3), **told: Unpack[Numbers]) -> bytes:
    """LOGISTIC."""
    return _probabilities(rng, "LOGISTIC", shape, told)


def relu(rng: Rng, shape: Shape = (1, 4, 5, 3), **told: Unpack[Numbers]) -> bytes:
    """RELU from one quantization to another."""
    return _unary(rng, "RELU", shape, told)


def relu6(rng: Rng, shape: Shape = (1, 4, 5, 3), **told: Unpack[Numbers]) -> bytes:
    """RELU6 from one quantization to another (TensorFlow Lite Micro ignores the output's)."""
    return _unary(rng, "RELU6", shape, told)


def quantize(
    rng: Rng, shape: Shape = (1, 4, 5, 3), *, source: str = "float32", target: str = "int8", **told: Unpack[Numbers]
) -> bytes:
    """QUANTIZE from float32, or from one quantization to another."""
    return _unary(rng, "QUANTIZE", shape, told, options={}, dtypes=(source, target))


def requantize(rng: Rng, shape: Shape = (1, 4, 5, 3), **told: Unpack[Numbers]) -> bytes:
    """QUANTIZE from int8 to int8 of another scale and zero point."""
    return quantize(rng, shape, source="int8", **told)


def dequantize(rng: Rng, shape: Shape = (1, 4, 5, 3), *, source: str = "int8", **told: Unpack[Numbers]) -> bytes:
    """DEQUANTIZE to float32."""
    return _unary(rng, "DEQUANTIZE", shape, told, options={}, dtypes=(source, "float32"))


EVERY_OPERATOR = (
    conv_2d, depthwise_conv_2d, fully_connected, add, mul, average_pool_2d, max_pool_2d, mean, pad, concatenation,
    reshape, softmax, logistic, relu, relu6, quantize, requantize, dequantize,
)  # fmt: skip
