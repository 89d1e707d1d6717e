"""Hypothesis strategies for one-operator networks: what `tests.models` is told, and inputs that try an operator hard.

A drawn `Case` prints as the call that makes its model, so a failing example can be pasted.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests import models
from tinycompiler.graph import Graph
from tinycompiler.ops import Numerics
from tinycompiler.readers.network import read
from tinycompiler.tensor import Array, DType, Tensor

Told = dict[str, Any]


@dataclass(frozen=True)
class Pattern:
    """Weights or biases by the name of a pattern."""

    name: str
    shape: tuple[int, ...]
    seed: int = 0

    @property
    def values(self) -> Array:
        return PATTERNS[self.name](self.shape, np.random.default_rng(self.seed))


PATTERNS: dict[str, Callable[[tuple[int, ...], np.random.Generator], Array]] = {
    "all 127": lambda shape, _: np.full(shape, 127, np.int8),
    "all -127": lambda shape, _: np.full(shape, -127, np.int8),
    "all -128": lambda shape, _: np.full(shape, -128, np.int8),
    "even -128": lambda shape, rng: _even_channels(rng.integers(-127, 128, shape).astype(np.int8), -128),
    "alternating": lambda shape, _: (127 - 254 * (np.arange(prod(shape)) % 2)).reshape(shape).astype(np.int8),
    "zero": lambda shape, _: np.zeros(shape, np.int8),
    "small": lambda shape, rng: rng.integers(-2, 3, shape).astype(np.int8),
    "bias 2^30 - 2^25": lambda shape, _: np.full(shape, 2**30 - 2**25, np.int32),
    "bias 2^25 - 2^30": lambda shape, _: np.full(shape, 2**25 - 2**30, np.int32),
    "bias 2^30": lambda shape, _: np.full(shape, 2**30, np.int32),
    "small bias": lambda shape, rng: rng.integers(-9, 10, shape).astype(np.int32),
}


def _even_channels(weights: Array, value: int) -> Array:
    """Weights (channels, …) with every other channel at one value."""
    weights[::2] = value
    return weights


@dataclass(frozen=True)
class Case:
    """One call of a function of `tests.models`."""

    make: Callable[..., bytes]
    seed: int
    told: Told
    profiles: tuple[Numerics, ...] = tuple(Numerics)
    """Whose judge runs it; in any other profile it is refused."""

    def __repr__(self) -> str:
        told = "".join(f", {key}={value!r}" for key, value in self.told.items())
        return f"{self.make.__name__}(np.random.default_rng({self.seed}){told})"

    def model(self, **more: Any) -> bytes:
        told = {key: value.values if isinstance(value, Pattern) else value for key, value in self.told.items()}
        return self.make(np.random.default_rng(self.seed), **(told | more))

    def graph(self, numerics: Numerics) -> Graph:
        return graph_of(self.model(), numerics)


def graph_of(model: bytes, numerics: Numerics) -> Graph:
    """The bytes of a .tflite file as a graph of the name `model`."""
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(model)
        file.flush()
        return replace(read(Path(file.name), numerics), name="model")


def trial_inputs(graph: Graph, seed: int) -> list[dict[str, Array]]:
    """Values for the inputs of a graph, see `trials`."""
    return trials([graph.tensors[name] for name in graph.inputs], seed)


def trials(inputs: Sequence[Tensor], seed: int) -> list[dict[str, Array]]:
    """Uniform random values, and every element at the least value, the greatest, the zero point."""
    rng = np.random.default_rng(seed)
    random = {t.name: random_values(t, rng) for t in inputs}
    if any(t.dtype is DType.FLOAT32 for t in inputs):
        return [random]
    levels = [[t.dtype.range[0] for t in inputs], [t.dtype.range[1] for t in inputs], [t.zero_point for t in inputs]]
    if len(inputs) == 2:  # opposite ends
        levels.append([inputs[0].dtype.range[0], inputs[1].dtype.range[1]])
    constant = [
        {t.name: np.full(t.shape, value, t.dtype.numpy) for t, value in zip(inputs, level, strict=True)}
        for level in levels
    ]
    return [random, *constant]


def random_values(tensor: Tensor, rng: np.random.Generator) -> Array:
    if tensor.dtype is DType.FLOAT32:
        values = rng.normal(0, 2, tensor.shape)
        halfway = np.round(values * 16) / 16  # between two steps of many a scale
        return np.where(rng.random(tensor.shape) < 0.25, halfway, values).astype(np.float32)
    low, high = tensor.dtype.range
    if high - low < tensor.elements:  # every value there is
        values = np.resize(np.arange(low, high + 1), tensor.elements)
        return rng.permutation(values).reshape(tensor.shape).astype(tensor.dtype.numpy)
    return rng.integers(low, high + 1, tensor.shape).astype(tensor.dtype.numpy)


# Numbers.

ENDS = (-128, -127, -1, 0, 1, 126, 127)
ACTIVATIONS = st.sampled_from(("NONE", "RELU", "RELU6", "RELU_N1_TO_1"))
zero_points = st.one_of(st.sampled_from(ENDS), st.integers(-128, 127))
seeds = st.integers(0, 2**20)
channels = st.one_of(st.integers(1, 9), st.sampled_from((12, 15, 16, 17, 33)))
batches = st.sampled_from((1, 1, 2, 3))
exponents = st.integers(-12, 1)


def single(value: float) -> float:
    """The nearest float32, which is what a file can hold."""
    return float(np.float32(value))


def scales(low: float = 1e-3, high: float = 1.0) -> SearchStrategy[float]:
    """Any float32, or a power of two, with which results fall exactly between two steps."""
    return st.one_of(
        st.floats(low, high).map(single),
        exponents.map(lambda e: 2.0**e).filter(lambda s: low <= s <= high),
    )


@st.composite
def weighted(draw: DrawFn, shape: tuple[int, ...], channels: int) -> Told:
    """Zero points, weights of a shape and scales of an operator, by the multiplier that comes of them.

    natural: outputs spread over int8. tie: the multiplier is 2^-shift and accumulators are small, so that many
    outputs fall exactly between two steps. great: the multiplier is one or more. any: anything down to zero.
    """
    told: Told = {"input_zero_point": draw(zero_points), "output_zero_point": draw(zero_points)}
    told["bias"] = draw(st.integers(0, 3)) > 0
    kind = draw(st.sampled_from(("natural", "natural", "tie", "great", "any")))
    weight, source = 2.0 ** draw(exponents), 2.0 ** draw(exponents)
    if kind == "tie":
        seed = draw(seeds)
        told |= {"per_channel": False, "input_scale": source, "weight_scale": weight}
        told["weights"] = Pattern("small", shape, seed)
        told["biases"] = Pattern("small bias", (channels,), seed)
        return told | {"output_scale": single(source * weight * 2.0 ** draw(st.integers(0, 10)))}
    told["per_channel"] = draw(st.booleans())
    pattern = draw(st.sampled_from(("random", "random", "random", "all 127", "all -127", "alternating", "zero")))
    if pattern != "random":
        told["weights"] = Pattern(pattern, shape)
    if kind == "natural":
        return told
    source = single(source * draw(st.floats(1, 2)))
    ratio = draw(st.sampled_from((1.0, 1.5, 2.0, 3.7, 60.0)) if kind == "great" else scales(1e-9, 0.9))
    return told | {"input_scale": source, "weight_scale": weight, "output_scale": single(source * weight / ratio)}


@st.composite
def unary_numbers(draw: DrawFn, *, least: float = 1e-3) -> Told:
    numbers: Told = {"input_zero_point": draw(zero_points), "output_zero_point": draw(zero_points)}
    if draw(st.booleans()):
        source = draw(scales(least))
        ratio = draw(st.one_of(st.sampled_from((0.125, 0.5, 1.0, 2.0, 4.0)), st.floats(0.01, 100.0)))
        numbers |= {"input_scale": source, "output_scale": single(source * ratio)}
    return numbers


# Shapes and windows.


def unary_shapes() -> SearchStrategy[tuple[int, ...]]:
    """Often with room for every int8, see `random_values`; else of rank 0 to 5."""
    other = st.lists(st.integers(1, 7), max_size=5).filter(lambda shape: prod(shape) < 1000).map(tuple)
    return st.one_of(st.sampled_from(((1, 256), (1, 16, 16, 1), (257,))), other)


@st.composite
def images(draw: DrawFn, channels: SearchStrategy[int] = channels, greatest: int = 9) -> tuple[int, int, int, int]:
    sizes = st.integers(1, greatest)
    return draw(batches), draw(sizes), draw(sizes), draw(channels)


@st.composite
def windows(draw: DrawFn, shape: tuple[int, ...], *, dilated: bool = True) -> tuple[tuple[int, int], Told]:
    """(kernel, stride, dilation and padding) that fit an image."""
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    told: Told = {"stride": (draw(st.integers(1, 4)), draw(st.integers(1, 4)))}
    dilation = (1, 1)
    if dilated and draw(st.booleans()):
        dilation = told["dilation"] = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    fits = all((k - 1) * d < n for k, d, n in zip(kernel, dilation, shape[1:3], strict=True))
    told["padding"] = draw(st.sampled_from(("SAME", "VALID"))) if fits else "SAME"
    return kernel, told


# Operators.


def case(make: Callable[..., bytes], told: SearchStrategy[Told]) -> SearchStrategy[Case]:
    return st.builds(Case, st.just(make), seeds, told)


@st.composite
def _conv_2d(draw: DrawFn) -> Told:
    shape = draw(images())
    kernel, window = draw(windows(shape))
    filters = draw(channels)
    told = {"shape": shape, "filters": filters, "kernel": kernel, **window, "activation": draw(ACTIVATIONS)}
    return told | draw(weighted((filters, *kernel, shape[3]), filters))


@st.composite
def _depthwise_conv_2d(draw: DrawFn) -> Told:
    shape = draw(images())
    kernel, window = draw(windows(shape))
    multiplier = draw(st.sampled_from((1, 1, 1, 2, 3)))
    told = {"shape": shape, "multiplier": multiplier, "kernel": kernel, **window, "activation": draw(ACTIVATIONS)}
    return told | draw(weighted((1, *kernel, shape[3] * multiplier), shape[3] * multiplier))


@st.composite
def _fully_connected(draw: DrawFn) -> Told:
    depth, units = draw(st.integers(1, 67)), draw(channels)
    shape = draw(st.sampled_from(((1, depth), (3, depth), (2, 2, depth))))
    told = {"shape": shape, "units": units, "activation": draw(ACTIVATIONS)}
    told |= {"keep_num_dims": draw(st.booleans())}
    return told | draw(weighted((units, depth), units))


@st.composite
def _two_inputs(draw: DrawFn, product: bool) -> Told:
    shape = draw(images(greatest=5))
    other = tuple(n if draw(st.integers(0, 3)) else 1 for n in shape)
    other = draw(st.sampled_from((shape, other, (1, 1, 1, shape[3]))))
    told: Told = {"shape": shape, "other": other, "activation": draw(ACTIVATIONS), "constant": draw(st.booleans())}
    if draw(st.booleans()):
        shape, other = other, shape
        if np.broadcast_shapes(shape, other) == shape or not told["constant"]:
            told |= {"shape": shape, "other": other}
    told["zero_points"] = (draw(zero_points), draw(zero_points))
    told["output_zero_point"] = draw(zero_points)
    if draw(st.booleans()):
        a, b = told["scales"] = (draw(scales()), draw(scales()))
        ratio = draw(st.one_of(st.sampled_from((0.25, 0.5, 1.0, 2.0, 64.0)), st.floats(0.02, 300.0)))
        told["output_scale"] = single((a * b if product else max(a, b)) * ratio)
    return told


@st.composite
def _pool(draw: DrawFn) -> Told:
    shape = draw(images())
    kernel, window = draw(windows(shape, dilated=False))
    told = {"shape": shape, "kernel": kernel, **window, "activation": draw(ACTIVATIONS)}
    return told | {"scale": draw(scales()), "zero_point": draw(zero_points)}


@st.composite
def _mean(draw: DrawFn) -> Told:
    rank = draw(st.integers(1, 4))
    shape = tuple(draw(st.integers(1, 9)) for _ in range(rank))
    axes = draw(st.lists(st.integers(-rank, rank - 1), min_size=1, max_size=rank, unique_by=lambda a: a % rank))
    told = {"shape": shape, "axes": axes, "keep_dims": draw(st.booleans())}
    return told | draw(unary_numbers())


@st.composite
def _pad(draw: DrawFn) -> Told:
    shape = tuple(draw(st.integers(1, 5)) for _ in range(draw(st.integers(1, 4))))
    paddings = [(draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in shape]
    return {"shape": shape, "paddings": paddings, "zero_point": draw(zero_points)}


@st.composite
def _concatenation(draw: DrawFn) -> Told:
    rank = draw(st.integers(1, 4))
    shape = [draw(st.integers(1, 5)) for _ in range(rank)]
    axis = draw(st.integers(0, rank - 1))
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    shapes = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    return {"shapes": shapes, "axis": draw(st.sampled_from((axis, axis - rank))), "zero_point": draw(zero_points)}


@st.composite
def _reshape(draw: DrawFn) -> Told:
    shape = tuple(draw(st.integers(1, 5)) for _ in range(draw(st.integers(1, 4))))
    return {"shape": shape, "new_shape": (1, prod(shape)), "zero_point": draw(zero_points)}


@st.composite
def _softmax(draw: DrawFn) -> Told:
    shape = (draw(st.integers(1, 4)), draw(st.one_of(st.integers(1, 20), st.sampled_from((100, 257)))))
    beta = draw(st.sampled_from((1.0, 1.0, 0.5, 2.0, 10.0)))
    return {"shape": shape, "beta": beta, "input_scale": draw(scales(1e-3, 2)), "input_zero_point": draw(zero_points)}


@st.composite
def _logistic(draw: DrawFn) -> Told:
    return {"shape": draw(unary_shapes()), "input_scale": draw(scales(1e-4, 2)), "input_zero_point": draw(zero_points)}


@st.composite
def _unary(draw: DrawFn) -> Told:
    return {"shape": draw(unary_shapes()), **draw(unary_numbers())}


@st.composite
def _quantize(draw: DrawFn) -> Told:
    source = draw(st.sampled_from(("float32", "float32", "int8", "int8", "uint8")))
    return _of_types(draw(_unary()), source, draw(st.sampled_from(("int8", "int8", "uint8"))))


@st.composite
def _dequantize(draw: DrawFn) -> Told:
    told = _of_types(draw(_unary()), draw(st.sampled_from(("int8", "uint8"))), "float32")
    del told["target"]
    return told


def _of_types(told: Told, source: str, target: str) -> Told:
    """Zero points as the types have them."""
    points = {f"{name}_zero_point": told[f"{name}_zero_point"] for name in ("input", "output")}
    types = {"input_zero_point": source, "output_zero_point": target}
    points = {name: point + 128 * (types[name] == "uint8") for name, point in points.items()}
    return {**told, **points, "source": source, "target": target}


def _of_uint8(found: Case) -> Case:
    """TensorFlow Lite Micro makes uint8 of int8 alone."""
    only_litert = found.told["target"] == "uint8" and found.told["source"] != "int8"
    return replace(found, profiles=(Numerics.LITERT,)) if only_litert else found


from tests.draws_algebra import ALGEBRA  # noqa: E402 - it needs what stands above
from tests.draws_elementwise import BROADCAST, ELEMENTWISE  # noqa: E402 - it needs what stands above
from tests.draws_movement import MOVEMENT  # noqa: E402 - it needs what stands above

STRATEGIES: dict[str, SearchStrategy[Case]] = {
    "CONV_2D": case(models.conv_2d, _conv_2d()),
    "DEPTHWISE_CONV_2D": case(models.depthwise_conv_2d, _depthwise_conv_2d()),
    "FULLY_CONNECTED": case(models.fully_connected, _fully_connected()),
    "ADD": case(models.add, _two_inputs(False)) | BROADCAST["ADD"],
    "MUL": case(models.mul, _two_inputs(True)) | BROADCAST["MUL"],
    "AVERAGE_POOL_2D": case(models.average_pool_2d, _pool()),
    "MAX_POOL_2D": case(models.max_pool_2d, _pool()),
    "MEAN": case(models.mean, _mean()),
    "PAD": case(models.pad, _pad()),
    "CONCATENATION": case(models.concatenation, _concatenation()),
    "RESHAPE": case(models.reshape, _reshape()),
    "SOFTMAX": case(models.softmax, _softmax()),
    "LOGISTIC": case(models.logistic, _logistic()),
    "RELU": case(models.relu, _unary()),
    "RELU6": case(models.relu6, _unary()),
    "QUANTIZE": case(models.quantize, _quantize()).map(_of_uint8),
    "DEQUANTIZE": case(models.dequantize, _dequantize()),
    **ALGEBRA,
    **ELEMENTWISE,
    **MOVEMENT,
}
