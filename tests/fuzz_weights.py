"""Steps of operators with weights, and of matrix products; see `tests.fuzz_steps`."""

from math import prod, sqrt
from typing import Any

import numpy as np

from tests.fuzz_drafts import Shape, Unsuitable
from tests.fuzz_grower import Grower, single
from tinycompiler.ops import Numerics
from tinycompiler.readers import schema
from tinycompiler.tensor import Array

WEIGHTS = 74.0
"""The deviation of a uniform int8."""


def fused_activation(g: Grower) -> int:
    return schema.ACTIVATIONS.index(g.among(("NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1")))


def window(g: Grower, shape: Shape, *, dilated: bool) -> tuple[tuple[int, int], tuple[int, int], dict[str, int]]:
    """(kernel, output height and width, options)."""
    kernel = (g.between(1, 3), g.between(1, 3)) if g.chance(0.8) else (g.between(1, 5), g.between(1, 5))
    stride = (1, 1) if g.chance(0.5) else (g.between(1, 3), g.between(1, 3))
    dilation = (g.between(1, 2), g.between(1, 3)) if dilated and stride == (1, 1) and g.chance(0.2) else (1, 1)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    same = g.chance(0.6) or reach[0] > shape[1] or reach[1] > shape[2]
    size = [-(-n // s) if same else -(-(n - r + 1) // s) for n, r, s in zip(shape[1:3], reach, stride, strict=True)]
    options = {"padding": 0 if same else 1, "stride_h": stride[0], "stride_w": stride[1]}
    options["fused_activation_function"] = fused_activation(g)
    if dilated:
        options |= {"dilation_h_factor": dilation[0], "dilation_w_factor": dilation[1]}
    return kernel, (size[0], size[1]), options


def _weights(g: Grower, shape: Shape, axis: int) -> str:
    """Weights per tensor or per channel (at `axis`); sometimes those of another operator."""
    known = [n for n in g.constants.values() if g.told(n).shape == shape and g.told(n).dtype == "int8"]
    known = [n for n in known if g.told(n).zero_point == 0 and len(g.told(n).scales) in (1, shape[axis])]
    known = [n for n in known if len(g.told(n).scales) == 1 or g.told(n).axis == axis]
    if known and g.chance(0.5):
        return str(g.among(known))
    base = single(g.rng.uniform(0.002, 0.02)) if g.chance(0.8) else 2.0 ** g.between(-12, 0)
    count = shape[axis] if g.chance(0.6) else 1
    scales = [single(base * g.rng.uniform(0.3, 1.7)) if count > 1 else base for _ in range(count)]
    plain = ("random", "random", "random", "random", "small", "zero", 127, -127, "signs")
    pattern = g.among((*plain, "nibbles", "sparse", "blocks", "sparse nibbles"))
    random = g.rng.integers(-127, 128, shape)
    kept = g.rng.random(shape) < g.rng.random()
    fours = np.repeat(g.rng.random((*shape[:-1], -(-shape[-1] // 4))) < g.rng.random(), 4, axis=-1)[..., : shape[-1]]
    values: dict[Any, Any] = {
        "random": random,
        "small": random // 64,
        "zero": random * 0,
        "signs": np.where(random > 0, 127, -127),
        "nibbles": random // 16,
        "sparse": random * kept,
        "blocks": random * fours,
        "sparse nibbles": random // 16 * kept,
    }
    return g.constant(
        values.get(pattern, np.full(shape, pattern if isinstance(pattern, int) else 0)), "int8", scales, 0, axis
    )


def _weighted(
    g: Grower, operator: str, x: str, weights: str, out: Shape, channels: int, options: dict[str, Any], table: str
) -> None:
    """The operator with a bias of its own and an output scale that suits, mostly."""
    source, w = g.told(x), g.told(weights)
    taps = prod(w.shape) // channels
    product = [single(np.float32(source.scales[0]) * np.float32(s)) for s in w.scales]
    if min(product) < 1e-30:
        raise Unsuitable
    deviation = g.deviation * WEIGHTS * sqrt(taps)
    bound = 2**24 if g.chance(0.1) else round(deviation) + 1
    last, said = _bias(g, operator, g.rng.integers(-bound, bound, channels), product)
    if operator == "FULLY_CONNECTED" and g.chance(0.2):
        last = None
    natural = deviation * source.scales[0] * float(np.mean(w.scales)) / g.spread
    inputs = [g.constant(out), weights, x, last] if operator == "TRANSPOSE_CONV" else [x, weights, last]
    g.make(operator, inputs, [(out, g.near(natural))], table, **options, **said)


def _bias(g: Grower, operator: str, values: Array, scales: list[float]) -> tuple[str | None, dict[str, int]]:
    """The constant, and what the options say of it: with int16 activations it may be of two types."""
    if g.dtype == "int8":
        return g.constant(values, "int32", scales), {}
    only_int64 = operator == "DEPTHWISE_CONV_2D" or (operator == "TRANSPOSE_CONV" and g.numerics is Numerics.TFLM)
    if only_int64 or g.chance(0.7):
        return g.constant(values, "int64", scales), {}
    said = {"quantized_bias_type": schema.TENSOR_TYPES.index("INT32")}
    return g.constant(np.clip(values, -(2**24), 2**24), "int32", scales), said


def conv_2d(g: Grower) -> None:
    x = g.pick(4)
    n, _, _, depth = g.told(x).shape
    kernel, size, options = window(g, g.told(x).shape, dilated=True)
    groups = g.among([n for n in range(1, depth + 1) if depth % n == 0]) if g.dtype == "int8" and g.chance(0.2) else 1
    filters = groups * g.between(1, 8 // min(groups, 4))
    weights = _weights(g, (filters, *kernel, depth // groups), 0)
    _weighted(g, "CONV_2D", x, weights, (n, *size, filters), filters, options, "Conv2DOptions")


def depthwise_conv_2d(g: Grower) -> None:
    x = g.pick(4)
    n, _, _, depth = g.told(x).shape
    kernel, size, options = window(g, g.told(x).shape, dilated=True)
    options["depth_multiplier"] = g.among((1, 1, 1, 2, 3))
    channels = depth * options["depth_multiplier"]
    weights = _weights(g, (1, *kernel, channels), 3)
    _weighted(g, "DEPTHWISE_CONV_2D", x, weights, (n, *size, channels), channels, options, "DepthwiseConv2DOptions")


def fully_connected(g: Grower) -> None:
    x = g.pick(where=lambda t: len(t.shape) >= 2)
    shape = g.told(x).shape
    keep = g.chance(0.4)
    units = g.between(1, 12)
    rows = shape[:-1] if keep else (prod(shape[:-1]),)
    weights = _weights(g, (units, shape[-1]), 0)
    options = {"fused_activation_function": fused_activation(g), "keep_num_dims": keep}
    _weighted(g, "FULLY_CONNECTED", x, weights, (*rows, units), units, options, "FullyConnectedOptions")


def dynamic(g: Grower) -> None:
    """FULLY_CONNECTED whose weights are computed."""
    x = g.pick(where=lambda t: len(t.shape) >= 2)
    shape = g.told(x).shape
    found = [n for n in g.values if len(g.told(n).shape) == 2 and g.told(n).shape[1] == shape[-1]]
    found = [n for n in found if g.told(n).dtype == "int8"]
    weights = g.among(found) if found and g.chance(0.8) else g.input((g.between(1, 8), shape[-1]))
    units, keep = g.told(weights).shape[0], g.chance(0.4)
    product = single(g.told(x).scales[0] * g.told(weights).scales[0])
    if product < 1e-25:
        raise Unsuitable
    deviation = g.deviation**2 * sqrt(shape[-1])
    bound = round(deviation)
    bias = g.constant(g.rng.integers(-bound, bound + 1, units), "int32", (product,)) if g.chance(0.6) else None
    options = {"fused_activation_function": fused_activation(g), "keep_num_dims": keep}
    out = (*(shape[:-1] if keep else (prod(shape[:-1]),)), units)
    numbers = g.near(deviation * product / g.spread)
    g.make("FULLY_CONNECTED", [x, weights, bias], [(out, numbers)], "FullyConnectedOptions", **options)


def transpose_conv(g: Grower) -> None:
    x = g.pick(4, where=lambda t: prod(t.shape) < 150)
    n, height, width, depth = g.told(x).shape
    kernel, stride, same = (g.between(1, 3), g.between(1, 3)), (g.between(1, 2), g.between(1, 2)), g.chance(0.6)
    size = [m * s if same else (m - 1) * s + k for m, s, k in zip((height, width), stride, kernel, strict=True)]
    filters = g.between(1, 5)
    weights = _weights(g, (filters, *kernel, depth), 0)
    options = {"padding": 0 if same else 1, "stride_h": stride[0], "stride_w": stride[1]}
    options["fused_activation_function"] = fused_activation(g)
    out = (n, size[0], size[1], filters)
    _weighted(g, "TRANSPOSE_CONV", x, weights, out, filters, options, "TransposeConvOptions")


def batch_matmul(g: Grower) -> None:
    x = g.pick(where=lambda t: 2 <= len(t.shape) <= 4)
    shape, adjoint = g.told(x).shape, (g.chance(0.3), g.chance(0.3))
    rows, depth = shape[-2:][:: -1 if adjoint[0] else 1]
    columns = g.between(1, 6)
    other = (*shape[:-2], *((columns, depth) if adjoint[1] else (depth, columns)))
    found = [n for n in g.values if g.told(n).shape == other and g.told(n).dtype == "int8"]
    y = g.among(found) if found and g.chance(0.7) else g.input(other)
    natural = g.deviation**2 * sqrt(depth) * g.told(x).scales[0] * g.told(y).scales[0] / g.spread
    out = (*shape[:-2], rows, columns)
    g.make("BATCH_MATMUL", [x, y], [(out, g.near(natural))], "BatchMatMulOptions", adj_x=adjoint[0], adj_y=adjoint[1])
