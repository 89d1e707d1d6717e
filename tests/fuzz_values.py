"""Steps of operators that compute element by element, pool or reduce; see `tests.fuzz_steps`."""

from collections.abc import Callable
from math import prod, sqrt
from typing import Any

import numpy as np

from tests.fuzz_drafts import GREATEST, Numbers, Told, Unsuitable
from tests.fuzz_grower import FINER, Grower, Step, single
from tests.fuzz_weights import fused_activation, window
from tinycompiler.ops import Numerics
from tinycompiler.readers import schema

# Two inputs.


def _second(g: Grower, x: str, numbers: Numbers | None = None) -> str:
    """Something that broadcasts with x: another value (x itself too), a constant, a new input."""
    shape = g.told(x).shape

    def suits(name: str) -> bool:
        t = g.told(name)
        if t.dtype != g.dtype or (numbers is not None and t.numbers != numbers):
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


def binary(name: str, table: str | None, kind: str, *, activation: bool = True) -> Step:
    def step(g: Grower) -> None:
        x = g.pick()
        y = _second(g, x, g.told(x).numbers if kind == "same" else None)
        a, b = g.told(x).scales[0], g.told(y).scales[0]
        out = np.broadcast_shapes(g.told(x).shape, g.told(y).shape)
        pair = [x, y] if g.chance(0.7) else [y, x]
        options = {"fused_activation_function": fused_activation(g)} if activation else {}
        if g.dtype == "int16" and kind == "sum":
            options["pot_scale_int16"] = int(g.chance(0.3))
        natural = {
            "sum": g.deviation * sqrt(a * a + b * b) / g.spread,
            "product": g.deviation**2 * a * b / g.spread,
            "squares": 2 * g.deviation**2 * (a * a + b * b) / g.spread,
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
    x = g.pick(where=moderate)
    scale = single(g.rng.uniform(0.02, 0.2))
    numbers = single(g.told(x).scales[0] / scale / g.rng.uniform(40, 120)), g.zero_point()
    divisor = g.rng.integers(5, 128, g.told(x).shape) * g.rng.choice((-1, 1), g.told(x).shape)
    y = g.constant(divisor, "int8", (scale,), 0)
    options = {"fused_activation_function": fused_activation(g)}
    g.make("DIV", [x, y], [(g.told(x).shape, numbers)], "DivOptions", **options)


def logic(name: str) -> Step:
    def step(g: Grower) -> None:
        x = g.pick(dtype="bool", where=lambda t: t.dtype == "bool" and bool(g.values))
        shape = g.told(x).shape
        others = [n for n in g.values if g.told(n).dtype == "bool" and g.told(n).shape == shape]
        inputs = [x] if name == "LOGICAL_NOT" else [x, g.among(others)]
        g.make(name, inputs, [(shape, None, "bool")])

    return step


def cast(g: Grower) -> None:
    """Between types that are not quantized."""
    x = g.pick(dtype=g.among(("bool", "int32")), where=lambda t: not t.scales or t.scales == (1.0,))
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


def unary(
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


def free(g: Grower, x: Told) -> Numbers:
    return g.near(x.scales[0])


def same(_: Grower, x: Told) -> Numbers:
    return x.numbers


def fixed(scale: float, zero_point: int) -> Callable[[Grower, Told], Numbers]:
    """In int16 it is 1/32768 of all such operators."""
    return lambda g, x: (1 / 32768, 0) if g.dtype == "int16" else (scale, zero_point)


def moderate(t: Told) -> bool:
    return 1e-3 <= t.scales[0] * (FINER if t.dtype == "int16" else 1) <= 2


def not_negative(t: Told) -> bool:
    return t.zero_point == -128 and moderate(t)


def prelu(g: Grower) -> None:
    x = g.pick(where=lambda t: len(t.shape) > 0 and moderate(t))
    shape = g.told(x).shape
    alpha = g.constant_value((*[1] * (len(shape) - 1), shape[-1]), (single(g.rng.uniform(0.001, 0.02)), g.zero_point()))
    g.make("PRELU", [x, alpha], [(shape, g.near(g.told(x).scales[0]))])


STEP = {"int8": 1.0, "uint8": 1.0, "int16": 1 / FINER, "int32": 1 / FINER**2}
"""How far the scales of a type are from those of int8."""


def quantize(g: Grower) -> None:
    """Between integers, mostly of one type."""
    targets = {"int8": ("int8", "int8", "int16", "uint8"), "int16": ("int8", "int16", "int32")}[g.dtype]
    x, target = g.pick(), g.among(targets)
    numbers = g.near(g.told(x).scales[0] * STEP[target] / STEP[g.dtype])
    g.make("QUANTIZE", [x], [(g.told(x).shape, numbers, target)], "QuantizeOptions")


def quantize_input(g: Grower) -> None:
    """From a float32 or a uint8 at the edge."""
    shape, numbers, source = g.shape(), g.numbers(), g.among(("float32", "uint8"))
    target = g.dtype if g.chance(0.8) or source == "uint8" else "uint8"
    if g.numerics is Numerics.TFLM and "uint8" in (source, target) and target != "int8":
        raise Unsuitable  # it has no such kernel
    if source == "float32" and numbers[0] < 2e-6:
        raise Unsuitable  # trials reach beyond int32 in such steps, where both references are undefined
    ratio = g.rng.uniform(0.6, 1.6) * STEP["uint8"] / STEP[g.dtype]
    x = g.input(shape, source, (single(numbers[0] * ratio), g.between(0, 255)))
    g.make("QUANTIZE", [x], [(shape, numbers, target)], "QuantizeOptions")


def dequantize(g: Grower) -> None:
    x = g.pick(dtype="uint8") if g.chance(0.15) else g.pick()
    g.make("DEQUANTIZE", [x], [(g.told(x).shape, None, "float32")], "DequantizeOptions")


# Windows and reductions.


def pool(name: str) -> Step:
    def step(g: Grower) -> None:
        x = g.pick(4)
        n, _, _, depth = g.told(x).shape
        kernel, size, options = window(g, g.told(x).shape, dilated=False)
        options |= {"filter_height": kernel[0], "filter_width": kernel[1]}
        g.make(name, [x], [((n, *size, depth), g.told(x).numbers)], "Pool2DOptions", **options)

    return step


def reduce(name: str, *, same: bool = False) -> Step:
    def step(g: Grower) -> None:
        x = g.pick()
        shape = g.told(x).shape
        rank, keep = len(shape), g.chance(0.6)
        axes = sorted({g.between(0, rank - 1) for _ in range(g.between(1, min(2, rank)))})
        out = [1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes]
        given = g.constant([a - rank if g.chance(0.2) else a for a in axes])
        count = prod(shape[a] for a in axes)
        natural = g.told(x).scales[0] * g.deviation / g.spread * (sqrt(count) if name == "SUM" else 1 / sqrt(count))
        numbers = g.told(x).numbers if same else g.near(natural)
        g.make(name, [x, given], [(out, numbers)], "ReducerOptions", keep_dims=keep)

    return step


def arg(name: str) -> Step:
    def step(g: Grower) -> None:
        x = g.pick()
        shape = g.told(x).shape
        axis = g.between(-len(shape), len(shape) - 1)
        out = [n for i, n in enumerate(shape) if i != axis % len(shape)]
        kind = schema.TENSOR_TYPES.index("INT32")
        table = "ArgMaxOptions" if name == "ARG_MAX" else "ArgMinOptions"
        g.make(name, [x, g.constant(axis)], [(out, None, "int32")], table, output_type=kind)

    return step
