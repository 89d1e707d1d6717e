"""How each operator joins a draft of `tests.fuzz_drafts`: one line in `STEPS` for each.

Operators that the reader does not know yet are not drawn, so a line may stand there before its operator does.
"""

from collections.abc import Callable, Mapping
from math import prod, sqrt
from typing import Any

import numpy as np

from tests.fuzz_drafts import GREATEST, Draft, Grower, Numbers, Shape, Step, Told, Unsuitable, single
from tinycompiler.ops import Numerics
from tinycompiler.readers import schema
from tinycompiler.readers.operators import OPERATORS

DEVIATION, SPREAD = 74.0, 45.0  # of a uniform int8; wanted of an output


def drawn(seed: int, numerics: Numerics = Numerics.LITERT) -> Draft:
    """The draft of that seed for those numerics, 1 to 12 operators."""
    rng = np.random.default_rng(seed)
    steps = {name: step for name, step in STEPS.items() if name in OPERATORS and name not in REFUSED[numerics]}
    while True:
        draft = Grower(rng, numerics).grow(int(rng.integers(1, 13)), steps, WEIGHTS)
        if draft.operators and draft.outputs and draft.inputs:
            return draft


# Operators with weights.


def _activation(g: Grower) -> int:
    return schema.ACTIVATIONS.index(g.among(("NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1")))


def _window(g: Grower, shape: Shape, *, dilated: bool) -> tuple[tuple[int, int], tuple[int, int], dict[str, int]]:
    """(kernel, output height and width, options)."""
    kernel = (g.between(1, 3), g.between(1, 3)) if g.chance(0.8) else (g.between(1, 5), g.between(1, 5))
    stride = (1, 1) if g.chance(0.5) else (g.between(1, 3), g.between(1, 3))
    dilation = (g.between(1, 2), g.between(1, 3)) if dilated and stride == (1, 1) and g.chance(0.2) else (1, 1)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    same = g.chance(0.6) or reach[0] > shape[1] or reach[1] > shape[2]
    size = [-(-n // s) if same else -(-(n - r + 1) // s) for n, r, s in zip(shape[1:3], reach, stride, strict=True)]
    options = {"padding": 0 if same else 1, "stride_h": stride[0], "stride_w": stride[1]}
    options["fused_activation_function"] = _activation(g)
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
    pattern = g.among(("random", "random", "random", "random", "small", "zero", 127, -127, "signs"))
    random = g.rng.integers(-127, 128, shape)
    values: dict[Any, Any] = {
        "random": random,
        "small": random // 64,
        "zero": random * 0,
        "signs": np.where(random > 0, 127, -127),
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
    deviation = DEVIATION**2 * sqrt(taps)
    if g.chance(0.1):
        bias = g.rng.integers(-(2**24), 2**24, channels)
    else:
        bias = g.rng.integers(-round(deviation), round(deviation) + 1, channels)
    last: str | None = g.constant(bias, "int32", product)
    if operator == "FULLY_CONNECTED" and g.chance(0.2):
        last = None
    natural = deviation * source.scales[0] * float(np.mean(w.scales)) / SPREAD
    g.make(operator, [x, weights, last], [(out, g.near(natural))], table, **options)


def conv_2d(g: Grower) -> None:
    x = g.pick(4)
    n, _, _, depth = g.told(x).shape
    kernel, size, options = _window(g, g.told(x).shape, dilated=True)
    filters = g.between(1, 8)
    weights = _weights(g, (filters, *kernel, depth), 0)
    _weighted(g, "CONV_2D", x, weights, (n, *size, filters), filters, options, "Conv2DOptions")


def depthwise_conv_2d(g: Grower) -> None:
    x = g.pick(4)
    n, _, _, depth = g.told(x).shape
    kernel, size, options = _window(g, g.told(x).shape, dilated=True)
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
    options = {"fused_activation_function": _activation(g), "keep_num_dims": keep}
    _weighted(g, "FULLY_CONNECTED", x, weights, (*rows, units), units, options, "FullyConnectedOptions")


def transpose_conv(g: Grower) -> None:
    x = g.pick(4, where=lambda t: prod(t.shape) < 150)
    n, height, width, depth = g.told(x).shape
    kernel, stride, same = (g.between(1, 3), g.between(1, 3)), (g.between(1, 2), g.between(1, 2)), g.chance(0.6)
    size = [m * s if same else (m - 1) * s + k for m, s, k in zip((height, width), stride, kernel, strict=True)]
    filters = g.between(1, 5)
    weights, source = _weights(g, (filters, *kernel, depth), 0), g.told(x)
    w = g.told(weights)
    deviation = DEVIATION**2 * sqrt(prod(w.shape) / filters)
    product = [single(np.float32(source.scales[0]) * np.float32(s)) for s in w.scales]
    bias = g.constant(g.rng.integers(-round(deviation), round(deviation) + 1, filters), "int32", product)
    out = (n, size[0], size[1], filters)
    options = {"padding": 0 if same else 1, "stride_h": stride[0], "stride_w": stride[1]}
    natural = deviation * source.scales[0] * float(np.mean(w.scales)) / SPREAD
    g.make(
        "TRANSPOSE_CONV",
        [g.constant(out), weights, x, bias],
        [(out, g.near(natural))],
        "TransposeConvOptions",
        **options,
    )


def batch_matmul(g: Grower) -> None:
    x = g.pick(where=lambda t: 2 <= len(t.shape) <= 4)
    shape, adjoint = g.told(x).shape, (g.chance(0.3), g.chance(0.3))
    rows, depth = shape[-2:][:: -1 if adjoint[0] else 1]
    columns = g.between(1, 6)
    other = (*shape[:-2], *((columns, depth) if adjoint[1] else (depth, columns)))
    found = [n for n in g.values if g.told(n).shape == other and g.told(n).dtype == "int8"]
    y = g.among(found) if found and g.chance(0.7) else g.input(other)
    natural = DEVIATION**2 * sqrt(depth) * g.told(x).scales[0] * g.told(y).scales[0] / SPREAD
    out = (*shape[:-2], rows, columns)
    g.make("BATCH_MATMUL", [x, y], [(out, g.near(natural))], "BatchMatMulOptions", adj_x=adjoint[0], adj_y=adjoint[1])


# Two inputs.


def _second(g: Grower, x: str, numbers: Numbers | None = None) -> str:
    """Something that broadcasts with x: another value (x itself too), a constant, a new input."""
    shape = g.told(x).shape

    def suits(name: str) -> bool:
        t = g.told(name)
        if t.dtype != "int8" or (numbers is not None and t.numbers != numbers):
            return False
        try:
            return prod(np.broadcast_shapes(shape, t.shape)) <= GREATEST and (
                len(t.shape) == len(shape) or g.chance(0.3)
            )
        except ValueError:
            return False

    found = [name for name in g.values if suits(name)]
    if found and g.chance(0.7):
        return str(g.among(found))
    other = tuple(1 if g.chance(0.3) else n for n in shape) if g.chance(0.5) else shape
    if g.chance(0.15):
        other = other[g.between(0, len(other) - 1) :]
    if g.chance(0.6):
        return g.constant_value(other, numbers or g.numbers())
    return g.input(other, numbers=numbers)


def _binary(name: str, table: str | None, kind: str, *, activation: bool = True) -> Step:
    def step(g: Grower) -> None:
        x = g.pick()
        y = _second(g, x, g.told(x).numbers if kind == "same" else None)
        a, b = g.told(x).scales[0], g.told(y).scales[0]
        out = np.broadcast_shapes(g.told(x).shape, g.told(y).shape)
        pair = [x, y] if g.chance(0.7) else [y, x]
        options = {"fused_activation_function": _activation(g)} if activation else {}
        natural = {
            "sum": DEVIATION * sqrt(a * a + b * b) / SPREAD,
            "product": DEVIATION**2 * a * b / SPREAD,
            "squares": 2 * DEVIATION**2 * (a * a + b * b) / SPREAD,
        }
        if kind == "truth":
            if max(a, b) >= 1:  # undefined in the reference
                raise Unsuitable
            g.make(name, pair, [(out, None, "bool")])
        elif kind == "same":
            g.make(name, pair, [(out, g.told(x).numbers)], table)
        elif max(a, b) / min(a, b) > 1e4 or natural[kind] < 1e-25:
            raise Unsuitable
        else:
            g.make(name, pair, [(out, g.near(natural[kind]))], table, **options)

    return step


def div(g: Grower) -> None:
    """By a constant, which holds no zero."""
    x = g.pick(where=_moderate)
    scale = single(g.rng.uniform(0.02, 0.2))
    numbers = single(g.told(x).scales[0] / scale / g.rng.uniform(40, 120)), g.zero_point()
    divisor = g.rng.integers(5, 128, g.told(x).shape) * g.rng.choice((-1, 1), g.told(x).shape)
    y = g.constant(divisor, "int8", (scale,), 0)
    options = {"fused_activation_function": _activation(g)}
    g.make("DIV", [x, y], [(g.told(x).shape, numbers)], "DivOptions", **options)


def _logic(name: str) -> Step:
    def step(g: Grower) -> None:
        x = g.pick(dtype="bool", where=lambda t: t.dtype == "bool" and bool(g.values))
        shape = g.told(x).shape
        others = [n for n in g.values if g.told(n).dtype == "bool" and g.told(n).shape == shape]
        inputs = [x] if name == "LOGICAL_NOT" else [x, g.among(others)]
        g.make(name, inputs, [(shape, None, "bool")])

    return step


def cast(g: Grower) -> None:
    """Between types that are not quantized."""
    x = g.pick(dtype=g.among(("bool", "int32")), where=lambda t: True)
    source = g.told(x).dtype
    target = "int32" if source == "bool" else "bool"
    numbers = [schema.TENSOR_TYPES.index(kind.upper()) for kind in (source, target)]
    options = {"in_data_type": numbers[0], "out_data_type": numbers[1]}
    g.make("CAST", [x], [(g.told(x).shape, None, target)], "CastOptions", **options)


def fill(g: Grower) -> None:
    """A constant, computed when the network is read."""
    shape, numbers = g.shape(), g.numbers()
    value = g.constant(g.zero_point(), "int8", (numbers[0],), numbers[1])
    g.make("FILL", [g.constant(shape), value], [(shape, numbers)])


def select(name: str) -> Step:
    def step(g: Grower) -> None:
        conditions = [n for n in g.values if g.told(n).dtype == "bool"]
        if not conditions:
            raise Unsuitable
        condition = g.told(conditions[-1]).shape
        x = g.pick(where=lambda t: t.shape == condition)
        others = [n for n in g.values if g.told(n).shape == condition and g.told(n).numbers == g.told(x).numbers]
        others = [n for n in others if g.told(n).dtype == "int8"]
        y = g.among(others) if g.chance(0.6) else g.constant_value(condition, g.told(x).numbers)
        g.make(name, [conditions[-1], x, y], [(condition, g.told(x).numbers)])

    return step


# One input, element by element.


def _unary(
    name: str,
    numbers: Callable[[Grower, Told], Numbers],
    table: str | None = None,
    options: Callable[[Grower], dict[str, Any]] = lambda _: {},
    *,
    where: Callable[[Told], bool] = lambda _: True,
    rank: int | None = None,
) -> Step:
    def step(g: Grower) -> None:
        x = g.pick(rank, where=where)
        g.make(name, [x], [(g.told(x).shape, numbers(g, g.told(x)))], table, **options(g))

    return step


def _free(g: Grower, x: Told) -> Numbers:
    return g.near(x.scales[0])


def _same(_: Grower, x: Told) -> Numbers:
    return x.numbers


def _fixed(scale: float, zero_point: int) -> Callable[[Grower, Told], Numbers]:
    return lambda g, x: (scale, zero_point)


def _moderate(t: Told) -> bool:
    return 1e-3 <= t.scales[0] <= 2


def _not_negative(t: Told) -> bool:
    return t.zero_point == -128 and _moderate(t)


def prelu(g: Grower) -> None:
    x = g.pick(where=_moderate)
    shape = g.told(x).shape
    alpha = g.constant_value((*[1] * (len(shape) - 1), shape[-1]), (single(g.rng.uniform(0.001, 0.02)), g.zero_point()))
    g.make("PRELU", [x, alpha], [(shape, g.near(g.told(x).scales[0]))])


def quantize(g: Grower) -> None:
    """Mostly int8 to int8, sometimes from a float32 input."""
    if g.chance(0.25):
        shape, numbers = g.shape(), g.numbers()
        x = g.input(shape, "float32")
        g.make("QUANTIZE", [x], [(shape, numbers)], "QuantizeOptions")
        return
    x = g.pick()
    g.make("QUANTIZE", [x], [(g.told(x).shape, g.near(g.told(x).scales[0]))], "QuantizeOptions")


def dequantize(g: Grower) -> None:
    x = g.pick()
    g.make("DEQUANTIZE", [x], [(g.told(x).shape, None, "float32")], "DequantizeOptions")


# Windows and reductions.


def _pool(name: str) -> Step:
    def step(g: Grower) -> None:
        x = g.pick(4)
        n, _, _, depth = g.told(x).shape
        kernel, size, options = _window(g, g.told(x).shape, dilated=False)
        options |= {"filter_height": kernel[0], "filter_width": kernel[1]}
        g.make(name, [x], [((n, *size, depth), g.told(x).numbers)], "Pool2DOptions", **options)

    return step


def _reduce(name: str, *, same: bool = False) -> Step:
    def step(g: Grower) -> None:
        x = g.pick()
        shape = g.told(x).shape
        rank, keep = len(shape), g.chance(0.6)
        axes = sorted({g.between(0, rank - 1) for _ in range(g.between(1, min(2, rank)))})
        out = [1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes]
        given = g.constant([a - rank if g.chance(0.2) else a for a in axes])
        count = prod(shape[a] for a in axes)
        natural = g.told(x).scales[0] * DEVIATION / SPREAD * (sqrt(count) if name == "SUM" else 1 / sqrt(count))
        numbers = g.told(x).numbers if same else g.near(natural)
        g.make(name, [x, given], [(out, numbers)], "ReducerOptions", keep_dims=keep)

    return step


def _arg(name: str) -> Step:
    def step(g: Grower) -> None:
        x = g.pick()
        shape = g.told(x).shape
        axis = g.between(-len(shape), len(shape) - 1)
        out = [n for i, n in enumerate(shape) if i != axis % len(shape)]
        kind = schema.TENSOR_TYPES.index("INT32")
        table = "ArgMaxOptions" if name == "ARG_MAX" else "ArgMinOptions"
        g.make(name, [x, g.constant(axis)], [(out, None, "int32")], table, output_type=kind)

    return step


# Movement.


def reshape(g: Grower) -> None:
    x = g.pick()
    total = prod(g.told(x).shape)
    new: list[int] = []
    for _ in range(g.between(0, 3)):
        rest = total // prod(new)
        new.append(int(g.among([d for d in range(1, rest + 1) if rest % d == 0])))
    new.insert(g.between(0, len(new)), total // prod(new))
    asked = list(new)
    if g.chance(0.3):
        asked[g.between(0, len(new) - 1)] = -1
    g.make("RESHAPE", [x, g.constant(asked)], [(new, g.told(x).numbers)], "ReshapeOptions", new_shape=asked)


def squeeze(g: Grower) -> None:
    x = g.pick(where=lambda t: 1 in t.shape and len(t.shape) > 1)
    shape = g.told(x).shape
    ones = [i for i, n in enumerate(shape) if n == 1]
    dims = [] if g.chance(0.3) else [d for d in ones if g.chance(0.6)] or ones[:1]
    out = [n for i, n in enumerate(shape) if i not in (dims or ones)]
    g.make("SQUEEZE", [x], [(out, g.told(x).numbers)], "SqueezeOptions", squeeze_dims=dims)


def expand_dims(g: Grower) -> None:
    x = g.pick(where=lambda t: len(t.shape) < 5)
    shape = list(g.told(x).shape)
    axis = g.between(-len(shape) - 1, len(shape))
    at = axis if axis >= 0 else axis + len(shape) + 1
    g.make("EXPAND_DIMS", [x, g.constant(axis)], [([*shape[:at], 1, *shape[at:]], g.told(x).numbers)])


def concatenation(g: Grower) -> None:
    """Of what has the same quantization; what has not is brought to it first."""
    x = g.pick()
    shape, numbers = g.told(x).shape, g.told(x).numbers
    axis = g.between(0, len(shape) - 1)

    def joins(t: Told) -> bool:
        near = [i for i in range(len(shape)) if i != axis]
        return t.dtype == "int8" and len(t.shape) == len(shape) and all(t.shape[i] == shape[i] for i in near)

    parts = [x]
    for _ in range(g.between(0, 3)):
        y = g.pick(where=joins) if g.chance(0.8) else g.constant_value(shape, numbers)
        if g.told(y).numbers != numbers:
            if not 1e-4 < g.told(y).scales[0] / numbers[0] < 1e4:
                continue
            [y] = g.make("QUANTIZE", [y], [(g.told(y).shape, numbers)], "QuantizeOptions")
        parts.insert(g.between(0, len(parts)), y)
    out = [*shape[:axis], sum(g.told(p).shape[axis] for p in parts), *shape[axis + 1 :]]
    given = axis - len(shape) if g.chance(0.3) else axis
    g.make("CONCATENATION", parts, [(out, numbers)], "ConcatenationOptions", axis=given)


def pack(g: Grower) -> None:
    x = g.pick(where=lambda t: len(t.shape) < 5)
    shape, numbers = g.told(x).shape, g.told(x).numbers
    found = [n for n in g.values if (g.told(n).shape, g.told(n).numbers, g.told(n).dtype) == (shape, numbers, "int8")]
    parts = [x, *(g.among(found) for _ in range(g.between(0, 2)))]
    axis = g.between(0, len(shape))
    given = axis - len(shape) - 1 if g.chance(0.3) else axis
    out = [*shape[:axis], len(parts), *shape[axis:]]
    g.make("PACK", parts, [(out, numbers)], "PackOptions", values_count=len(parts), axis=given)


def unpack(g: Grower) -> None:
    x = g.pick(where=lambda t: len(t.shape) > 1 and min(t.shape) <= 4)
    shape = g.told(x).shape
    axis = g.among([i for i, n in enumerate(shape) if n <= 4])
    out = (*shape[:axis], *shape[axis + 1 :])
    given = axis - len(shape) if g.chance(0.3) else axis
    outputs = [(out, g.told(x).numbers)] * shape[axis]
    g.make("UNPACK", [x], outputs, "UnpackOptions", num=shape[axis], axis=given)


def split(g: Grower) -> None:
    x = g.pick()
    shape = g.told(x).shape
    axis = g.between(0, len(shape) - 1)
    count = g.among([d for d in range(1, 5) if shape[axis] % d == 0])
    out = (*shape[:axis], shape[axis] // count, *shape[axis + 1 :])
    given = axis - len(shape) if g.chance(0.3) else axis
    outputs = [(out, g.told(x).numbers)] * count
    g.make("SPLIT", [g.constant(given), x], outputs, "SplitOptions", num_splits=count)


def split_v(g: Grower) -> None:
    x = g.pick(where=lambda t: max(t.shape, default=1) > 1)
    shape = g.told(x).shape
    axis = g.among([i for i, n in enumerate(shape) if n > 1])
    cuts = sorted({g.between(1, shape[axis] - 1) for _ in range(g.between(1, 3))})
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, shape[axis]], strict=True)]
    asked = list(sizes)
    if g.chance(0.3):
        asked[g.between(0, len(sizes) - 1)] = -1
    outputs = [((*shape[:axis], n, *shape[axis + 1 :]), g.told(x).numbers) for n in sizes]
    g.make("SPLIT_V", [x, g.constant(asked), g.constant(axis)], outputs, "SplitVOptions", num_splits=len(sizes))


def _widths(g: Grower, shape: Shape, greatest: Callable[[int], int]) -> list[list[int]]:
    few = g.chance(0.5)
    return [
        [0, 0] if few and i in (0, len(shape) - 1) else [g.between(0, greatest(n)), g.between(0, greatest(n))]
        for i, n in enumerate(shape)
    ]


def _pad(name: str) -> Step:
    def step(g: Grower) -> None:
        x = g.pick(where=lambda t: len(t.shape) <= 4)
        shape, numbers = g.told(x).shape, g.told(x).numbers
        reflect = g.chance(0.5)
        mirror = name == "MIRROR_PAD"
        widths = _widths(g, shape, lambda n: min(3, n - reflect) if mirror else 2)
        out = [n + a + b for n, (a, b) in zip(shape, widths, strict=True)]
        inputs = [x, g.constant(widths)]
        if name == "PADV2":
            inputs.append(g.constant([g.zero_point()], "int8", (numbers[0],), numbers[1]))
        if mirror:
            g.make(name, inputs, [(out, numbers)], "MirrorPadOptions", mode=0 if reflect else 1)
        else:
            g.make(name, inputs, [(out, numbers)], "PadOptions" if name == "PAD" else "PadV2Options")

    return step


def transpose(g: Grower) -> None:
    x = g.pick(where=lambda t: len(t.shape) <= 5)
    shape = g.told(x).shape
    axes = g.rng.permutation(len(shape)).tolist()
    g.make("TRANSPOSE", [x, g.constant(axes)], [([shape[a] for a in axes], g.told(x).numbers)])


def slice_(g: Grower) -> None:
    x = g.pick()
    shape = g.told(x).shape
    begin = [g.between(0, n - 1) for n in shape]
    size = [g.between(1, n - b) for n, b in zip(shape, begin, strict=True)]
    asked = [-1 if b + s == n and g.chance(0.5) else s for n, b, s in zip(shape, begin, size, strict=True)]
    g.make("SLICE", [x, g.constant(begin), g.constant(asked)], [(size, g.told(x).numbers)])


def strided_slice(g: Grower) -> None:
    x = g.pick(where=lambda t: len(t.shape) <= 4)
    shape = g.told(x).shape
    masks = {"begin_mask": 0, "end_mask": 0, "shrink_axis_mask": 0}
    begin, end, strides, out = [], [], [], []
    whole = g.numerics is Numerics.TFLM or g.chance(0.8)
    for i, n in enumerate(shape[: len(shape) if whole else g.between(1, len(shape))]):
        first, last = sorted((g.between(0, n - 1), g.between(0, n - 1)))
        stride = int(g.among((1, 1, 1, 2, 3, -1, -2)))
        if g.chance(0.1):
            masks["shrink_axis_mask"] |= 1 << i
            ends = (first, first + 1, 1)
        elif stride > 0:
            ends = (first, last + 1, stride)
            out.append(len(range(first, last + 1, stride)))
        elif first == last:
            ends = (first, first + 1, 1)
            out.append(1)
        else:
            ends = (last, first, stride)
            out.append(len(range(last, first, stride)))
        if ends[0] == 0 and ends[2] > 0 and g.chance(0.3) and not masks["shrink_axis_mask"] >> i & 1:
            masks["begin_mask"] |= 1 << i
        if ends[1] == n and ends[2] > 0 and g.chance(0.3) and not masks["shrink_axis_mask"] >> i & 1:
            masks["end_mask"] |= 1 << i
        negative = ends[0] - n if g.chance(0.2) else ends[0]
        begin.append(negative)
        end.append(ends[1])
        strides.append(ends[2])
    out += shape[len(begin) :]
    inputs = [x, g.constant(begin), g.constant(end), g.constant(strides)]
    g.make("STRIDED_SLICE", inputs, [(out, g.told(x).numbers)], "StridedSliceOptions", **masks)


def gather(g: Grower) -> None:
    x = g.pick()
    shape = g.told(x).shape
    axis = g.between(0, len(shape) - 1)
    picked = g.among([(3,), (1,), (2, 2), (5,), ()])
    indices = g.rng.integers(0, shape[axis], picked)
    out = (*shape[:axis], *picked, *shape[axis + 1 :])
    given = axis - len(shape) if g.chance(0.2) else axis
    g.make("GATHER", [x, g.constant(indices)], [(out, g.told(x).numbers)], "GatherOptions", axis=given, batch_dims=0)


def tile(g: Grower) -> None:
    x = g.pick(where=lambda t: prod(t.shape) < 120)
    shape = g.told(x).shape
    times = [int(g.among((1, 1, 2, 3))) for _ in shape]
    g.make("TILE", [x, g.constant(times)], [([n * m for n, m in zip(shape, times, strict=True)], g.told(x).numbers)])


def broadcast_to(g: Grower) -> None:
    x = g.pick(where=lambda t: prod(t.shape) < 200)
    shape = g.told(x).shape
    out = [g.between(1, 4) if n == 1 else n for n in shape]
    if len(out) < 4 and g.chance(0.4):
        out.insert(0, g.between(1, 3))
    g.make("BROADCAST_TO", [x, g.constant(out)], [(out, g.told(x).numbers)])


def depth_to_space(g: Grower) -> None:
    block = g.between(1, 3)
    x = g.pick(4, where=lambda t: t.shape[3] % (block * block) == 0)
    n, h, w, c = g.told(x).shape
    out = (n, h * block, w * block, c // block**2)
    g.make("DEPTH_TO_SPACE", [x], [(out, g.told(x).numbers)], "DepthToSpaceOptions", block_size=block)


def space_to_depth(g: Grower) -> None:
    block = g.between(1, 3)
    x = g.pick(4, where=lambda t: t.shape[1] % block == 0 and t.shape[2] % block == 0)
    n, h, w, c = g.told(x).shape
    out = (n, h // block, w // block, c * block**2)
    g.make("SPACE_TO_DEPTH", [x], [(out, g.told(x).numbers)], "SpaceToDepthOptions", block_size=block)


def space_to_batch_nd(g: Grower) -> None:
    x = g.pick(4)
    n, h, w, c = g.told(x).shape
    block = [g.between(1, 3), g.between(1, 3)]
    pads = []
    if g.numerics is Numerics.TFLM:  # whose padding is undefined
        block = [g.among([d for d in (1, 2, 3) if size % d == 0]) for size in (h, w)]
    for size, b in zip((h, w), block, strict=True):
        before = g.between(0, 2) if g.numerics is Numerics.LITERT else 0
        pads.append([before, -(size + before) % b])
    out = [(m + sum(p)) // b for m, p, b in zip((h, w), pads, block, strict=True)]
    shape = (n * prod(block), *out, c)
    g.make("SPACE_TO_BATCH_ND", [x, g.constant(block), g.constant(pads)], [(shape, g.told(x).numbers)])


def batch_to_space_nd(g: Grower) -> None:
    block = [g.between(1, 2), g.between(1, 2)]
    x = g.pick(4, where=lambda t: t.shape[0] % prod(block) == 0)
    n, h, w, c = g.told(x).shape
    crops = [[g.between(0, 1) if m * b > 3 else 0, 0] for m, b in zip((h, w), block, strict=True)]
    out = [m * b - sum(p) for m, b, p in zip((h, w), block, crops, strict=True)]
    shape = (n // prod(block), *out, c)
    g.make("BATCH_TO_SPACE_ND", [x, g.constant(block), g.constant(crops)], [(shape, g.told(x).numbers)])


def _resize(name: str, table: str) -> Step:
    def step(g: Grower) -> None:
        x = g.pick(4)
        n, _, _, c = g.told(x).shape
        size = [g.between(1, 9), g.between(1, 9)]
        mode = g.among(({}, {"align_corners": True}, {"half_pixel_centers": True}))
        g.make(name, [x, g.constant(size)], [((n, *size, c), g.told(x).numbers)], table, **mode)

    return step


STEPS: Mapping[str, Step] = {
    "ABS": _unary("ABS", _same),
    "ADD": _binary("ADD", "AddOptions", "sum"),
    "ARG_MAX": _arg("ARG_MAX"),
    "ARG_MIN": _arg("ARG_MIN"),
    "AVERAGE_POOL_2D": _pool("AVERAGE_POOL_2D"),
    "BATCH_MATMUL": batch_matmul,
    "BATCH_TO_SPACE_ND": batch_to_space_nd,
    "BROADCAST_TO": broadcast_to,
    "CAST": cast,
    "CONCATENATION": concatenation,
    "CONV_2D": conv_2d,
    "DEPTH_TO_SPACE": depth_to_space,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "DEQUANTIZE": dequantize,
    "DIV": div,
    "ELU": _unary("ELU", _free, where=_moderate),
    "EQUAL": _binary("EQUAL", None, "truth"),
    "EXP": _unary("EXP", _free, where=_moderate),
    "EXPAND_DIMS": expand_dims,
    "FILL": fill,
    "FULLY_CONNECTED": fully_connected,
    "GATHER": gather,
    "GELU": _unary("GELU", _free, "GeluOptions", lambda g: {"approximate": g.chance(0.5)}, where=_moderate),
    "GREATER": _binary("GREATER", None, "truth"),
    "GREATER_EQUAL": _binary("GREATER_EQUAL", None, "truth"),
    "HARD_SWISH": _unary("HARD_SWISH", _free, where=_moderate),
    "L2_NORMALIZATION": _unary("L2_NORMALIZATION", _fixed(1 / 128, 0), "L2NormOptions"),
    "LEAKY_RELU": _unary(
        "LEAKY_RELU", _free, "LeakyReluOptions", lambda g: {"alpha": single(g.rng.uniform(0, 1))}, where=_moderate
    ),
    "LESS": _binary("LESS", None, "truth"),
    "LESS_EQUAL": _binary("LESS_EQUAL", None, "truth"),
    "LOGICAL_AND": _logic("LOGICAL_AND"),
    "LOGICAL_NOT": _logic("LOGICAL_NOT"),
    "LOGICAL_OR": _logic("LOGICAL_OR"),
    "LOG": _unary("LOG", _free, where=_not_negative),
    "LOG_SOFTMAX": _unary("LOG_SOFTMAX", _fixed(16 / 256, 127), where=_moderate),
    "LOGISTIC": _unary("LOGISTIC", _fixed(1 / 256, -128), where=_moderate),
    "MAXIMUM": _binary("MAXIMUM", None, "same"),
    "MAX_POOL_2D": _pool("MAX_POOL_2D"),
    "MEAN": _reduce("MEAN"),
    "MINIMUM": _binary("MINIMUM", None, "same"),
    "MIRROR_PAD": _pad("MIRROR_PAD"),
    "MUL": _binary("MUL", "MulOptions", "product"),
    "NEG": _unary("NEG", _same),
    "NOT_EQUAL": _binary("NOT_EQUAL", None, "truth"),
    "PACK": pack,
    "PAD": _pad("PAD"),
    "PADV2": _pad("PADV2"),
    "PRELU": prelu,
    "QUANTIZE": quantize,
    "REDUCE_MAX": _reduce("REDUCE_MAX", same=True),
    "REDUCE_MIN": _reduce("REDUCE_MIN", same=True),
    "RELU": _unary("RELU", _free),
    "RELU6": _unary("RELU6", _free),
    "RELU_0_TO_1": _unary("RELU_0_TO_1", _free),
    "RELU_N1_TO_1": _unary("RELU_N1_TO_1", _free),
    "RESHAPE": reshape,
    "RESIZE_BILINEAR": _resize("RESIZE_BILINEAR", "ResizeBilinearOptions"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
    "RSQRT": _unary("RSQRT", _free, where=_not_negative),
    "SELECT": select("SELECT"),
    "SELECT_V2": select("SELECT_V2"),
    "SLICE": slice_,
    "SOFTMAX": _unary(
        "SOFTMAX",
        _fixed(1 / 256, -128),
        "SoftmaxOptions",
        lambda g: {"beta": g.among((1.0, 1.0, 0.5, 2.0))},
        where=_moderate,
    ),
    "SPACE_TO_BATCH_ND": space_to_batch_nd,
    "SPACE_TO_DEPTH": space_to_depth,
    "SPLIT": split,
    "SPLIT_V": split_v,
    "SQRT": _unary("SQRT", _free, where=_not_negative),
    "SQUARED_DIFFERENCE": _binary("SQUARED_DIFFERENCE", None, "squares", activation=False),
    "SQUEEZE": squeeze,
    "STRIDED_SLICE": strided_slice,
    "SUB": _binary("SUB", "SubOptions", "sum"),
    "SUM": _reduce("SUM"),
    "TANH": _unary("TANH", _fixed(1 / 128, 0), where=_moderate),
    "TILE": tile,
    "TRANSPOSE": transpose,
    "TRANSPOSE_CONV": transpose_conv,
    "UNPACK": unpack,
}
"""How each operator joins a draft."""

REFUSED: Mapping[Numerics, frozenset[str]] = {
    Numerics.LITERT: frozenset(("ELU", "SUM")),
    Numerics.TFLM: frozenset(
        ("EXP", "GELU", "LOG", "NEG", "RELU_0_TO_1", "RELU_N1_TO_1", "RSQRT", "SELECT", "SQRT", "TILE")
    ),
}
"""What the reference of these numerics does not run for int8, so that it would be drawn in vain."""

WEIGHTS: Mapping[str, float] = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 3,
    "ADD": 3,
    "MUL": 2,
    "CONCATENATION": 2,
    "DEQUANTIZE": 0.5,
}
"""How often an operator is drawn, where that is not once."""
