"""Random int16x8 networks of one operator each, as .tflite bytes; as tests/models.py, with int16 activations."""

from math import prod, sqrt
from typing import Any

import numpy as np

from tests.models import Pair, Rng, Shape, _activation, _window
from tests.tflite_builder import ModelBuilder
from tinycompiler.readers import schema

DEVIATION = 18900.0  # of a uniform int16
WEIGHTS = 74.0  # of a uniform int8
SPREAD = 12000.0  # wanted deviation of an output, in steps


def _scale(rng: Rng, given: float | None, low: float = 1e-5, high: float = 1e-3) -> float:
    return float(rng.uniform(low, high)) if given is None else given


def conv_2d_int16(rng: Rng, shape: Shape = (1, 7, 6, 3), filters: int = 4, kernel: Pair = (3, 3), **told: Any) -> bytes:
    """CONV_2D; the bias is int64 or, with `bias_type` "int32", int32."""
    size, options = _window(shape, kernel, _part(told, "stride", "dilation", "padding", "activation"))
    return _weighted(rng, "CONV_2D", shape, (filters, *kernel, shape[3]), (shape[0], *size, filters), options, 0, told)


def depthwise_conv_2d_int16(
    rng: Rng, shape: Shape = (1, 7, 6, 3), multiplier: int = 1, kernel: Pair = (3, 3), **told: Any
) -> bytes:
    """DEPTHWISE_CONV_2D; its bias is always int64."""
    size, options = _window(shape, kernel, _part(told, "stride", "dilation", "padding", "activation"))
    options["depth_multiplier"] = multiplier
    channels = shape[3] * multiplier
    return _weighted(
        rng, "DEPTHWISE_CONV_2D", shape, (1, *kernel, channels), (shape[0], *size, channels), options, 3, told
    )


def transpose_conv_int16(
    rng: Rng, shape: Shape = (1, 4, 5, 3), filters: int = 4, kernel: Pair = (3, 3), **told: Any
) -> bytes:
    """TRANSPOSE_CONV; `less` pixels than the largest output (VALID: more), below stride."""
    stride, same = told.get("stride", (2, 2)), told.get("padding", "SAME") == "SAME"
    less = [n % s for n, s in zip(told.get("less", (0, 0)), stride, strict=True)]
    largest = [n * s if same else (n - 1) * s + k for n, s, k in zip(shape[1:3], stride, kernel, strict=True)]
    size = [n - v if same else n + v for n, v in zip(largest, less, strict=True)]
    options = {
        "padding": 0 if same else 1,
        "stride_h": stride[0],
        "stride_w": stride[1],
        "fused_activation_function": _activation(told.get("activation", "NONE")),
    }
    output = (shape[0], *size, filters)
    return _weighted(rng, "TRANSPOSE_CONV", shape, (filters, *kernel, shape[3]), output, options, 0, told)


def fully_connected_int16(rng: Rng, shape: Shape = (1, 20), units: int = 5, **told: Any) -> bytes:
    """FULLY_CONNECTED, per tensor when not told otherwise; `bias` False leaves the bias out."""
    keep = told.get("keep_num_dims", False)
    rows = shape[:-1] if keep else (prod(shape[:-1]),)
    options = {"fused_activation_function": _activation(told.get("activation", "NONE")), "keep_num_dims": keep}
    told.setdefault("per_channel", False)
    return _weighted(rng, "FULLY_CONNECTED", shape, (units, shape[-1]), (*rows, units), options, 0, told)


def _part(told: dict[str, Any], *keys: str) -> Any:
    return {key: told[key] for key in keys if key in told}


def _weighted(
    rng: Rng,
    operator: str,
    shape: Shape,
    weights_shape: Shape,
    output_shape: Shape,
    options: dict[str, Any],
    axis: int,
    told: dict[str, Any],
) -> bytes:
    channels = weights_shape[axis]
    taps = prod(weights_shape) // channels
    scale = _scale(rng, told.get("input_scale"))
    base = _scale(rng, told.get("weight_scale"), 0.002, 0.02)
    scales = base * (rng.uniform(0.5, 1.5, channels) if told.get("per_channel", True) else np.ones(1))
    deviation = DEVIATION * WEIGHTS * sqrt(taps)  # of an accumulator
    weights = rng.integers(-127, 128, weights_shape, np.int8)
    kind = told.get("bias_type", "int64")
    biases = rng.integers(-round(deviation), round(deviation) + 1, channels, np.int64)
    model = ModelBuilder(operator.lower())
    model.tensor("input", shape, "int16", scales=scale)
    model.tensor("weights", weights_shape, scales=scales.tolist(), axis=axis, data=told.get("weights", weights))
    inputs: list[str | None] = ["input", "weights"]
    if told.get("bias", True):
        data = np.asarray(told.get("biases", biases)).astype(kind)
        model.tensor("bias", (channels,), kind, scales=(scales * scale).tolist(), data=data)
        inputs.append("bias")
    elif operator == "FULLY_CONNECTED":
        inputs.append(None)
    if operator == "TRANSPOSE_CONV":
        model.tensor("shape", (4,), "int32", data=output_shape)
        inputs = ["shape", "weights", "input", *inputs[2:]]
    if kind == "int32" and told.get("said", True):
        options["quantized_bias_type"] = schema.TENSOR_TYPES.index("INT32")
    output_scale = told.get("output_scale", deviation * scale * base / SPREAD)
    model.tensor("output", output_shape, "int16", scales=output_scale)
    model.operator(operator, inputs, ["output"], options=options)
    return model.inputs("input").outputs("output").build()


def add_int16(rng: Rng, shape: Shape = (1, 4, 5, 3), other: Shape | None = None, **told: Any) -> bytes:
    """ADD; `pot` asks LiteRT for shifts where scales are powers of two."""
    a, b = told.setdefault("scales", (_scale(rng, None), _scale(rng, None)))
    told.setdefault("output_scale", DEVIATION * sqrt(a**2 + b**2) / SPREAD)
    return _two_inputs(rng, "ADD", shape, shape if other is None else other, told)


def sub_int16(rng: Rng, shape: Shape = (1, 4, 5, 3), other: Shape | None = None, **told: Any) -> bytes:
    """SUB; `pot` asks LiteRT for shifts where scales are powers of two."""
    a, b = told.setdefault("scales", (_scale(rng, None), _scale(rng, None)))
    told.setdefault("output_scale", DEVIATION * sqrt(a**2 + b**2) / SPREAD)
    return _two_inputs(rng, "SUB", shape, shape if other is None else other, told)


def mul_int16(rng: Rng, shape: Shape = (1, 4, 5, 3), other: Shape | None = None, **told: Any) -> bytes:
    """MUL."""
    a, b = told.setdefault("scales", (_scale(rng, None), _scale(rng, None)))
    told.setdefault("output_scale", DEVIATION**2 * a * b / SPREAD)
    return _two_inputs(rng, "MUL", shape, shape if other is None else other, told)


def _two_inputs(rng: Rng, operator: str, shape: Shape, other: Shape, told: dict[str, Any]) -> bytes:
    constant = told.get("constant", False)
    data = rng.integers(-32768, 32768, other).astype(np.int16) if constant else None
    model = ModelBuilder(operator.lower())
    model.tensor("input", shape, "int16", scales=told["scales"][0])
    model.tensor("other", other, "int16", scales=told["scales"][1], data=data)
    model.tensor("output", np.broadcast_shapes(shape, other), "int16", scales=told["output_scale"])
    options: dict[str, Any] = {"fused_activation_function": _activation(told.get("activation", "NONE"))}
    if operator in ("ADD", "SUB"):
        options["pot_scale_int16"] = told.get("pot", False)
    model.operator(operator, ["input", "other"], ["output"], options=options)
    return model.inputs(*(["input"] if constant else ["input", "other"])).outputs("output").build()


def average_pool_2d_int16(rng: Rng, shape: Shape = (1, 6, 5, 3), kernel: Pair = (2, 2), **told: Any) -> bytes:
    """AVERAGE_POOL_2D."""
    return _pool(rng, "AVERAGE_POOL_2D", shape, kernel, told)


def max_pool_2d_int16(rng: Rng, shape: Shape = (1, 6, 5, 3), kernel: Pair = (2, 2), **told: Any) -> bytes:
    """MAX_POOL_2D."""
    return _pool(rng, "MAX_POOL_2D", shape, kernel, told)


def _pool(rng: Rng, operator: str, shape: Shape, kernel: Pair, told: dict[str, Any]) -> bytes:
    told.setdefault("padding", "VALID")
    size, options = _window(shape, kernel, _part(told, "stride", "padding", "activation"))
    options |= {"filter_height": kernel[0], "filter_width": kernel[1]}
    scale = _scale(rng, told.get("scale"))
    return _one_input(rng, operator, shape, (shape[0], *size, shape[3]), options, (scale, scale))


def mean_int16(rng: Rng, shape: Shape = (1, 4, 5, 3), axes: tuple[int, ...] = (1, 2), **told: Any) -> bytes:
    """MEAN over `axes`."""
    over, keep = {axis % len(shape) for axis in axes}, told.get("keep_dims", False)
    kept = tuple(1 if i in over else size for i, size in enumerate(shape) if i not in over or keep)
    scale = _scale(rng, told.get("input_scale"))
    output_scale = told.get("output_scale", scale * DEVIATION / SPREAD / sqrt(prod(shape[axis] for axis in over)))
    model = ModelBuilder("mean")
    model.tensor("input", shape, "int16", scales=scale)
    model.tensor("axes", (len(axes),), "int32", data=axes)
    model.tensor("output", kept, "int16", scales=output_scale)
    model.operator("MEAN", ["input", "axes"], ["output"], options={"keep_dims": keep})
    return model.inputs("input").outputs("output").build()


def _one_input(
    rng: Rng,
    operator: str,
    shape: Shape,
    output_shape: Shape,
    options: dict[str, Any] | None,
    scales: tuple[float, float],
    dtypes: tuple[str, str] = ("int16", "int16"),
    zero_points: tuple[int, int] = (0, 0),
) -> bytes:
    """A float32 end has no quantization."""
    model = ModelBuilder(operator.lower())
    ends = zip(("input", "output"), (shape, output_shape), dtypes, scales, zero_points, strict=True)
    for name, each, dtype, scale, zero_point in ends:
        model.tensor(name, each, dtype, scales=None if dtype == "float32" else scale, zero_points=zero_point)
    model.operator(operator, ["input"], ["output"], options=options)
    return model.inputs("input").outputs("output").build()


def softmax_int16(rng: Rng, shape: Shape = (1, 10), *, beta: float = 1.0, input_scale: float | None = None) -> bytes:
    """SOFTMAX over the last dimension."""
    return _one_input(rng, "SOFTMAX", shape, shape, {"beta": beta}, (_scale(rng, input_scale), 1 / 32768))


def logistic_int16(rng: Rng, shape: Shape = (1, 4, 5, 3), *, input_scale: float | None = None) -> bytes:
    """LOGISTIC."""
    return _one_input(rng, "LOGISTIC", shape, shape, None, (_scale(rng, input_scale), 1 / 32768))


def tanh_int16(rng: Rng, shape: Shape = (1, 4, 5, 3), *, input_scale: float | None = None) -> bytes:
    """TANH."""
    return _one_input(rng, "TANH", shape, shape, None, (_scale(rng, input_scale), 1 / 32768))


def _rescaling(rng: Rng, told: dict[str, Any]) -> tuple[float, float]:
    scale = _scale(rng, told.get("input_scale"))
    return scale, told.get("output_scale", scale * float(rng.uniform(0.8, 2.0)))


def relu_int16(rng: Rng, shape: Shape = (1, 4, 5, 3), **told: Any) -> bytes:
    """RELU from one scale to another."""
    return _one_input(rng, "RELU", shape, shape, None, _rescaling(rng, told))


def relu6_int16(rng: Rng, shape: Shape = (1, 4, 5, 3), **told: Any) -> bytes:
    """RELU6 from one scale to another (TensorFlow Lite Micro ignores the output's)."""
    return _one_input(rng, "RELU6", shape, shape, None, _rescaling(rng, told))


def quantize_int16(rng: Rng, shape: Shape = (1, 4, 5, 3), **told: Any) -> bytes:
    """QUANTIZE from `source` to `target`, one of which is int16."""
    source, target = told.get("source", "float32"), told.get("target", "int16")
    points = tuple(told.get("zero_point", 3) if kind in ("int8", "uint8") else 0 for kind in (source, target))
    scales = _rescaling(rng, told)
    if "output_scale" not in told:
        wider = {"int8": 256.0, "uint8": 256.0, "int16": 1.0, "float32": 1.0, "int32": 1 / 256}
        scales = (scales[0], scales[1] * wider[target] / wider[source])
    if source == "float32":
        scales = (1.0, told.get("output_scale", 2.0**-12))
    return _one_input(rng, "QUANTIZE", shape, shape, {}, scales, (source, target), (points[0], points[1]))


def dequantize_int16(rng: Rng, shape: Shape = (1, 4, 5, 3), **told: Any) -> bytes:
    """DEQUANTIZE from int16 to float32."""
    return _one_input(rng, "DEQUANTIZE", shape, shape, {}, _rescaling(rng, told), ("int16", "float32"))


def concatenation_int16(rng: Rng, shapes: tuple[Shape, ...] = ((1, 4, 5, 3), (1, 4, 5, 2)), axis: int = 3) -> bytes:
    """CONCATENATION of one scale."""
    output_shape = list(shapes[0])
    output_shape[axis] = sum(shape[axis] for shape in shapes)
    scale = _scale(rng, None)
    model = ModelBuilder("concatenation")
    names = [model.tensor(f"input{i}", shape, "int16", scales=scale) for i, shape in enumerate(shapes)]
    model.tensor("output", output_shape, "int16", scales=scale)
    model.operator("CONCATENATION", names, ["output"], options={"axis": axis})
    return model.inputs(*names).outputs("output").build()


def pad_int16(
    rng: Rng, shape: Shape = (1, 4, 5, 3), paddings: tuple[Pair, ...] = ((0, 0), (1, 2), (0, 1), (0, 0))
) -> bytes:
    """PAD with zeros."""
    scale = _scale(rng, None)
    output_shape = [size + before + after for size, (before, after) in zip(shape, paddings, strict=True)]
    model = ModelBuilder("pad")
    model.tensor("input", shape, "int16", scales=scale)
    model.tensor("paddings", np.shape(paddings), "int32", data=paddings)
    model.tensor("output", output_shape, "int16", scales=scale)
    model.operator("PAD", ["input", "paddings"], ["output"], options={})
    return model.inputs("input").outputs("output").build()


def network_int16(rng: Rng, *, bias_type: str = "int64") -> bytes:
    """conv, depthwise, pool, fully connected, softmax."""
    model = ModelBuilder("network")
    scale = 1 / 8192
    model.tensor("input", (1, 10, 8, 1), "int16", scales=scale)

    def weighted(operator: str, source: str, shape: Shape, axis: int, output: Shape, options: dict[str, Any]) -> str:
        number = len(model._tensors)
        taps, channels = prod(shape) // shape[axis], shape[axis]
        kind = "int64" if operator == "DEPTHWISE_CONV_2D" else bias_type
        scales = rng.uniform(0.005, 0.01, channels)
        weights = model.tensor(
            f"weights{number}", shape, scales=scales.tolist(), axis=axis, data=rng.integers(-127, 128, shape, np.int8)
        )
        bias = model.tensor(
            f"bias{number}",
            (channels,),
            kind,
            scales=(scales * scale).tolist(),
            data=rng.integers(-100000, 100000, channels).astype(kind),
        )
        result = model.tensor(f"made{number}", output, "int16", scales=scale * 0.0075 * WEIGHTS * sqrt(taps) * 1.2)
        if kind == "int32":
            options = options | {"quantized_bias_type": schema.TENSOR_TYPES.index("INT32")}
        model.operator(operator, [source, weights, bias], [result], options=options)
        return result

    relu = {"fused_activation_function": _activation("RELU")}
    same = {"padding": 0, "stride_h": 1, "stride_w": 1}
    x = weighted("CONV_2D", "input", (8, 3, 3, 1), 0, (1, 5, 4, 8), {"padding": 0, "stride_h": 2, "stride_w": 2} | relu)
    x = weighted("DEPTHWISE_CONV_2D", x, (1, 3, 3, 8), 3, (1, 5, 4, 8), same | {"depth_multiplier": 1} | relu)
    x = weighted("CONV_2D", x, (12, 1, 1, 8), 0, (1, 5, 4, 12), same | relu)
    last = model._tensors[model._indices[x]]["quantization"]["scale"][0]
    model.tensor("pooled", (1, 1, 1, 12), "int16", scales=last)
    window = {"padding": 1, "stride_h": 5, "stride_w": 4, "filter_height": 5, "filter_width": 4}
    model.operator("AVERAGE_POOL_2D", [x], ["pooled"], options=window)
    x = weighted("FULLY_CONNECTED", "pooled", (6, 12), 0, (1, 6), {})
    model.tensor("output", (1, 6), "int16", scales=1 / 32768)
    model.operator("SOFTMAX", [x], ["output"], options={"beta": 1.0})
    return model.inputs("input").outputs("output").build()
