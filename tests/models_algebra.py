"""Random networks of one operator that adds, multiplies or compares many values, as .tflite bytes; see `tests.models`.

Reductions, normalizations, products of matrices, transposed and grouped convolutions, bilinear resizing.
"""

from collections.abc import Callable, Sequence
from math import prod, sqrt
from typing import Any, TypedDict, Unpack

import numpy as np

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


class Matrices(TypedDict, total=False):
    """Of two inputs and their product; `constant` names an input, "first" or "second", that is one."""

    scales: tuple[float, float]
    zero_points: tuple[int, int]
    output_scale: float
    output_zero_point: int
    constant: str


def _scale(rng: Rng, low: float = 0.01, high: float = 0.1) -> float:
    return float(rng.uniform(low, high))


def _point(rng: Rng) -> int:
    return int(rng.integers(-60, 60))


def _one_input(
    rng: Rng,
    operator: str,
    shape: Shape,
    output_shape: Sequence[int],
    told: Numbers,
    *,
    ratio: float = 1.0,
    options: dict[str, Any] | None = None,
    constants: Sequence[tuple[str, Any]] = (),
    version: int = 1,
) -> bytes:
    """`ratio` is that of the output's scale to the input's when nothing is told; 0 keeps the quantization."""
    model = ModelBuilder(operator.lower())
    scale, point = told.get("input_scale", _scale(rng)), told.get("input_zero_point", _point(rng))
    model.tensor("input", shape, scales=scale, zero_points=point)
    for name, values in constants:
        model.tensor(name, np.shape(values), "int32", data=np.asarray(values, np.int32))
    if ratio:
        scale, point = told.get("output_scale", scale * ratio), told.get("output_zero_point", _point(rng))
    model.tensor("output", output_shape, scales=scale, zero_points=point)
    model.operator(operator, ["input", *(n for n, _ in constants)], ["output"], options=options, version=version)
    return model.inputs("input").outputs("output").build()


# Reductions.


def _reduced(shape: Shape, axes: Sequence[int], keep_dims: bool) -> list[int]:
    over = {axis % len(shape) for axis in axes}
    return [1 if axis in over else size for axis, size in enumerate(shape) if axis not in over or keep_dims]


def sum_(
    rng: Rng, shape: Shape = (1, 4, 5, 3), axes: Sequence[int] = (1, 2), *, keep_dims: bool = False,
    **told: Unpack[Numbers],
) -> bytes:  # fmt: skip
    """SUM over `axes`."""
    ratio = DEVIATION / SPREAD * sqrt(prod(shape[axis] for axis in {a % len(shape) for a in axes}))
    output, options = _reduced(shape, axes, keep_dims), {"keep_dims": keep_dims}
    return _one_input(rng, "SUM", shape, output, told, ratio=ratio, options=options, constants=[("axes", list(axes))])


def reduce_max(rng: Rng, shape: Shape = (1, 4, 5, 3), axes: Sequence[int] = (1, 2), **told: Any) -> bytes:
    """REDUCE_MAX over `axes`."""
    return _extreme(rng, "REDUCE_MAX", shape, axes, **told)


def reduce_min(rng: Rng, shape: Shape = (1, 4, 5, 3), axes: Sequence[int] = (1, 2), **told: Any) -> bytes:
    """REDUCE_MIN over `axes`."""
    return _extreme(rng, "REDUCE_MIN", shape, axes, **told)


def _extreme(
    rng: Rng, operator: str, shape: Shape, axes: Sequence[int], *, keep_dims: bool = False, **told: Unpack[Numbers]
) -> bytes:
    output, options = _reduced(shape, axes, keep_dims), {"keep_dims": keep_dims}
    return _one_input(rng, operator, shape, output, told, ratio=0, options=options, constants=[("axes", list(axes))])


def arg_max(rng: Rng, shape: Shape = (1, 4, 5, 3), axis: int = -1, *, index: str = "int32") -> bytes:
    """ARG_MAX along `axis`, to indices of a type; inputs have few values, so that extremes occur more than once."""
    return _arg_extreme(rng, "ARG_MAX", shape, axis, index)


def arg_min(rng: Rng, shape: Shape = (1, 4, 5, 3), axis: int = -1, *, index: str = "int32") -> bytes:
    """ARG_MIN along `axis`."""
    return _arg_extreme(rng, "ARG_MIN", shape, axis, index)


def _arg_extreme(rng: Rng, operator: str, shape: Shape, axis: int, index: str) -> bytes:
    model = ModelBuilder(operator.lower())
    model.tensor("input", shape, scales=_scale(rng), zero_points=_point(rng))
    model.tensor("axis", (), "int32", data=np.int32(axis))
    model.tensor("output", [n for i, n in enumerate(shape) if i != axis % len(shape)], index)
    options = {"output_type": schema.TENSOR_TYPES.index(index.upper())}
    model.operator(operator, ["input", "axis"], ["output"], options=options)
    return model.inputs("input").outputs("output").build()


# Normalizations.


def log_softmax(rng: Rng, shape: Shape = (2, 10), **told: Unpack[Numbers]) -> bytes:
    """LOG_SOFTMAX over the last dimension; the output is 1/16 a step from 127."""
    numbers: Numbers = {**told, "output_scale": 1 / 16, "output_zero_point": 127}
    return _one_input(rng, "LOG_SOFTMAX", shape, shape, numbers, options={})


def l2_normalization(rng: Rng, shape: Shape = (2, 10), **told: Unpack[Numbers]) -> bytes:
    """L2_NORMALIZATION over the last dimension; the output is 1/128 a step from 0."""
    numbers: Numbers = {**told, "output_scale": 1 / 128, "output_zero_point": 0}
    return _one_input(rng, "L2_NORMALIZATION", shape, shape, numbers, options={})


# Images.


def resize_bilinear(
    rng: Rng, shape: Shape = (1, 4, 5, 3), size: Pair = (7, 3), *, align_corners: bool = False,
    half_pixel_centers: bool = False, **told: Unpack[Numbers],
) -> bytes:  # fmt: skip
    """RESIZE_BILINEAR to `size`."""
    options = {"align_corners": align_corners, "half_pixel_centers": half_pixel_centers}
    output = (shape[0], *size, shape[3])
    constants = [("size", list(size))]
    return _one_input(
        rng, "RESIZE_BILINEAR", shape, output, told, ratio=0, options=options, constants=constants, version=3
    )


def transpose_conv(
    rng: Rng,
    shape: Shape = (1, 4, 5, 3),
    filters: int = 4,
    kernel: Pair = (3, 3),
    *,
    stride: Pair = (2, 2),
    padding: str = "SAME",
    less: Pair = (0, 0),
    activation: str = "NONE",
    per_channel: bool = True,
    bias: bool = True,
    weights: Any = None,
    biases: Any = None,
    weight_scale: float | None = None,
    **told: Unpack[Numbers],
) -> bytes:
    """TRANSPOSE_CONV; weights (filters, kernel h, kernel w, c); `less` pixels than the largest output, below stride."""
    same = padding == "SAME"
    size = [n * s if same else (n - 1) * s + k for n, s, k in zip(shape[1:3], stride, kernel, strict=True)]
    if same:
        size = [n - (v % s) for n, v, s in zip(size, less, stride, strict=True)]
    else:
        size = [n + (v % s) for n, v, s in zip(size, less, stride, strict=True)]
    scale, base = told.get("input_scale", _scale(rng)), weight_scale or _scale(rng, 0.002, 0.02)
    scales = base * (rng.uniform(0.5, 1.5, filters) if per_channel else np.ones(1))
    taps = max(1.0, prod(kernel) * shape[3] / prod(stride))
    deviation = DEVIATION**2 * sqrt(taps)
    drawn = rng.integers(-127, 128, (filters, *kernel, shape[3]), np.int8)
    model = ModelBuilder("transpose_conv")
    output = (shape[0], *size, filters)
    model.tensor("shape", (4,), "int32", data=np.array(output, np.int32))
    model.tensor("weights", drawn.shape, scales=scales.tolist(), axis=0, data=drawn if weights is None else weights)
    model.tensor("input", shape, scales=scale, zero_points=told.get("input_zero_point", _point(rng)))
    if bias:
        drawn = rng.integers(-round(deviation), round(deviation) + 1, filters, np.int32)
        biased = drawn if biases is None else biases
        model.tensor("bias", (filters,), "int32", scales=(scales * scale).tolist(), data=biased)
    output_scale = told.get("output_scale", deviation * scale * base / SPREAD)
    model.tensor("output", output, scales=output_scale, zero_points=told.get("output_zero_point", _point(rng)))
    options = {
        "padding": schema.PADDINGS.index(padding), "stride_h": stride[0], "stride_w": stride[1],
        "fused_activation_function": schema.ACTIVATIONS.index(activation),
    }  # fmt: skip
    inputs = ["shape", "weights", "input", *(["bias"] if bias else [])]
    model.operator("TRANSPOSE_CONV", inputs, ["output"], options=options, version=3)
    return model.inputs("input").outputs("output").build()


# Products of matrices.


def batch_matmul(
    rng: Rng, shape: Shape = (2, 3, 4), other: Shape = (2, 4, 5), *, adj_x: bool = False, adj_y: bool = False,
    **told: Unpack[Matrices],
) -> bytes:  # fmt: skip
    """BATCH_MATMUL of any two shapes that multiply, those of which adj_x and adj_y say so transposed."""
    rows, depth = (shape[-1], shape[-2]) if adj_x else shape[-2:]
    columns = other[-2] if adj_y else other[-1]
    output = (*np.broadcast_shapes(shape[:-2], other[:-2]), rows, columns)
    model = ModelBuilder("batch_matmul")
    inputs = _two(rng, model, shape, other, output, depth, told)
    options = {"adj_x": adj_x, "adj_y": adj_y}
    model.operator("BATCH_MATMUL", ["first", "second"], ["output"], options=options, version=2)
    return model.inputs(*inputs).outputs("output").build()


def fully_connected_dynamic(
    rng: Rng, shape: Shape = (3, 20), units: int = 5, *, activation: str = "NONE", keep_num_dims: bool = False,
    bias: bool = True, **told: Unpack[Matrices],
) -> bytes:  # fmt: skip
    """FULLY_CONNECTED whose weights are an input."""
    rows = shape[:-1] if keep_num_dims else (prod(shape[:-1]),)
    model = ModelBuilder("fully_connected")
    scales = told.setdefault("scales", (_scale(rng), _scale(rng)))
    inputs = _two(rng, model, shape, (units, shape[-1]), (*rows, units), shape[-1], told)
    deviation = round(DEVIATION**2 * sqrt(shape[-1]))
    if bias:
        values = rng.integers(-deviation, deviation + 1, units, np.int32)
        model.tensor("bias", (units,), "int32", scales=scales[0] * scales[1], data=values)
    options = {"fused_activation_function": schema.ACTIVATIONS.index(activation), "keep_num_dims": keep_num_dims}
    operands = ["first", "second", "bias" if bias else None]
    model.operator("FULLY_CONNECTED", operands, ["output"], options=options, version=4)
    return model.inputs(*inputs).outputs("output").build()


def _two(
    rng: Rng, model: ModelBuilder, shape: Shape, other: Shape, output: Shape, depth: int, told: Matrices
) -> list[str]:
    """Both inputs and the output; the names of those that are no constants."""
    scales = told.get("scales", (_scale(rng), _scale(rng)))
    points = told.get("zero_points", (_point(rng), _point(rng)))
    for name, each, scale, point in zip(("first", "second"), (shape, other), scales, points, strict=True):
        data = rng.integers(-128, 128, each, np.int8) if told.get("constant") == name else None
        model.tensor(name, each, scales=scale, zero_points=point, data=data)
    natural = DEVIATION**2 * sqrt(depth) * scales[0] * scales[1] / SPREAD
    output_scale = told.get("output_scale", natural)
    model.tensor("output", output, scales=output_scale, zero_points=told.get("output_zero_point", _point(rng)))
    return [name for name in ("first", "second") if told.get("constant") != name]


ALGEBRA: tuple[Callable[..., bytes], ...] = (
    sum_, reduce_max, reduce_min, arg_max, arg_min, log_softmax, l2_normalization, resize_bilinear, transpose_conv,
    batch_matmul, fully_connected_dynamic,
)  # fmt: skip
