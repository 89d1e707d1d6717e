"""Hypothesis strategies for int16x8 networks of one operator each, by `tests.models_int16`."""

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests import models_int16 as models
from tests.draws import ACTIVATIONS, PATTERNS, Case, Pattern, case, channels, images, seeds, single, windows
from tinycompiler.ops import Numerics

Told = dict[str, Any]

PATTERNS["bias 2^33"] = lambda shape, _: np.full(shape, 2**33, np.int64)

exponents = st.integers(-18, -6)
WEIGHTS = ("random", "random", "random", "all 127", "all -127", "all -128", "alternating", "zero", "small")


def scales(low: float = 1e-6, high: float = 1e-2) -> SearchStrategy[float]:
    """Any float32, or a power of two, with which results fall exactly between two steps."""
    return st.one_of(st.floats(low, high).map(single), exponents.map(lambda e: 2.0**e))


@st.composite
def weighted(draw: DrawFn, shape: tuple[int, ...], count: int, *, types: tuple[str, ...]) -> Told:
    """Weights, biases and scales; natural scales spread outputs over int16, others reach to the ends of multipliers."""
    told: Told = {"bias_type": draw(st.sampled_from(types)), "per_channel": draw(st.booleans())}
    pattern = draw(st.sampled_from(WEIGHTS))
    if pattern != "random":
        told["weights"] = Pattern(pattern, shape, draw(seeds))
    if draw(st.booleans()):
        told["biases"] = Pattern("small bias", (count,), draw(seeds))
    if draw(st.booleans()):
        source, weight = draw(scales()), draw(scales(1e-4, 1e-1))
        ratio = draw(st.one_of(st.sampled_from((2.0**-16, 2.0**-12, 2.0**-8, 0.25, 0.5, 1.0)), st.floats(1e-9, 0.9)))
        told |= {
            "input_scale": source,
            "weight_scale": weight,
            "output_scale": single(max(source * weight / ratio, 1e-8)),
        }
        told["per_channel"] = False
    return told


def _types(taps: int) -> tuple[str, ...]:
    """Of biases: 516 taps of ±128 at most stay in an int32 sum."""
    return ("int64",) if taps > 500 else ("int64", "int64", "int32")


@st.composite
def _conv_2d(draw: DrawFn) -> Told:
    shape = draw(images())
    kernel, window = draw(windows(shape))
    filters = draw(channels)
    told = {"shape": shape, "filters": filters, "kernel": kernel, **window, "activation": draw(ACTIVATIONS)}
    return told | draw(weighted((filters, *kernel, shape[3]), filters, types=_types(prod(kernel) * shape[3])))


@st.composite
def _depthwise_conv_2d(draw: DrawFn) -> Told:
    shape = draw(images())
    kernel, window = draw(windows(shape))
    multiplier = draw(st.sampled_from((1, 1, 2, 3)))
    told = {"shape": shape, "multiplier": multiplier, "kernel": kernel, **window, "activation": draw(ACTIVATIONS)}
    return told | draw(weighted((1, *kernel, shape[3] * multiplier), shape[3] * multiplier, types=("int64",)))


@st.composite
def _transpose_conv(draw: DrawFn) -> Told:
    shape = draw(images(greatest=5))
    kernel, filters = (draw(st.integers(1, 5)), draw(st.integers(1, 5))), draw(channels)
    told = {
        "shape": shape,
        "filters": filters,
        "kernel": kernel,
        "stride": (draw(st.integers(1, 4)), draw(st.integers(1, 4))),
        "padding": draw(st.sampled_from(("SAME", "VALID"))),
        "less": (draw(st.integers(0, 3)), draw(st.integers(0, 3))),
        "activation": draw(ACTIVATIONS),
    }
    told |= draw(weighted((filters, *kernel, shape[3]), filters, types=_types(prod(kernel) * shape[3])))
    return told | {"bias": draw(st.integers(0, 3)) > 0}


def _of_bias(found: Case) -> Case:
    """TensorFlow Lite Micro reads every bias as int64."""
    return replace(found, profiles=(Numerics.LITERT,)) if found.told["bias_type"] == "int32" else found


@st.composite
def _fully_connected(draw: DrawFn) -> Told:
    depth, units = draw(st.one_of(st.integers(1, 67), st.sampled_from((515, 600)))), draw(channels)
    shape = draw(st.sampled_from(((1, depth), (3, depth), (2, 2, depth))))
    told = {"shape": shape, "units": units, "activation": draw(ACTIVATIONS), "keep_num_dims": draw(st.booleans())}
    told |= draw(weighted((units, depth), units, types=_types(depth)))
    return told | {"bias": told["bias_type"] == "int32" or draw(st.integers(0, 3)) > 0}


@st.composite
def _two_inputs(draw: DrawFn, product: bool, shifted_broadcasts: bool = False) -> Told:
    shape = draw(images(greatest=5))
    other = tuple(n if draw(st.integers(0, 3)) else 1 for n in shape)
    other = draw(st.sampled_from((shape, other, (1, 1, 1, shape[3]))))
    told: Told = {"shape": shape, "other": other, "activation": draw(ACTIVATIONS), "constant": draw(st.booleans())}
    if draw(st.booleans()):
        a, b = told["scales"] = (draw(scales()), draw(scales()))
        ratio = draw(st.one_of(st.sampled_from((0.25, 0.5, 1.0, 2.0, 64.0)), st.floats(0.02, 300.0)))
        told["output_scale"] = single(a * b * 32768 * ratio if product else max(a, b) * ratio)
    elif not product and draw(st.booleans()):
        exponent, less = draw(exponents), draw(st.integers(0, 10))
        near = draw(st.sampled_from((1.0, 1.0, 1.0005)))
        told |= {"pot": True, "output_scale": 2.0**exponent}
        told["other"] = told["other"] if shifted_broadcasts else shape
        told["scales"] = (single(near * 2.0**exponent), 2.0 ** (exponent - less))
        if draw(st.booleans()):
            told["scales"] = told["scales"][::-1]
    return told


@st.composite
def _pool(draw: DrawFn) -> Told:
    shape = draw(images())
    kernel, window = draw(windows(shape, dilated=False))
    return {"shape": shape, "kernel": kernel, **window, "activation": draw(ACTIVATIONS), "scale": draw(scales())}


@st.composite
def _rescaled(draw: DrawFn) -> Told:
    if draw(st.booleans()):
        return {}
    source = draw(scales())
    ratio = draw(st.one_of(st.sampled_from((0.125, 0.5, 1.0, 2.0, 4.0)), st.floats(0.01, 100.0)))
    return {"input_scale": source, "output_scale": single(source * ratio)}


@st.composite
def _mean(draw: DrawFn) -> Told:
    rank = draw(st.integers(1, 4))
    shape = tuple(draw(st.integers(1, 9)) for _ in range(rank))
    axes = draw(st.lists(st.integers(-rank, rank - 1), min_size=1, max_size=rank, unique_by=lambda a: a % rank))
    return {"shape": shape, "axes": tuple(axes), "keep_dims": draw(st.booleans()), **draw(_rescaled())}


@st.composite
def _softmax(draw: DrawFn) -> Told:
    shape = (draw(st.integers(1, 4)), draw(st.one_of(st.integers(1, 20), st.sampled_from((100, 257)))))
    return {"shape": shape, "beta": draw(st.sampled_from((1.0, 1.0, 0.5, 2.0, 10.0))), "input_scale": draw(scales())}


@st.composite
def _curve(draw: DrawFn) -> Told:
    near = st.sampled_from((2.0**-12, 2.0**-11, 2.0**-13, single(2.0**-12 * 1.0005), single(2.0**-12 * 1.001), 5.0))
    return {"shape": (1, 512), "input_scale": draw(st.one_of(scales(), scales(1e-3, 4), near))}


@st.composite
def _unary(draw: DrawFn) -> Told:
    return {"shape": (1, 16, 16, 1), **draw(_rescaled())}


TYPES = (("float32", "int16"), ("int16", "int8"), ("int8", "int16"), ("int16", "int16"), ("int16", "int32"))


@st.composite
def _quantize(draw: DrawFn) -> Told:
    source, target = draw(st.sampled_from(TYPES))
    told = draw(_unary()) | {"source": source, "target": target, "zero_point": draw(st.integers(-128, 127))}
    if source == "float32":
        told["output_scale"] = draw(scales(1e-5, 1e-2))
    return told


@st.composite
def _concatenation(draw: DrawFn) -> Told:
    rank = draw(st.integers(1, 4))
    shape = [draw(st.integers(1, 5)) for _ in range(rank)]
    axis = draw(st.integers(0, rank - 1))
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    return {"shapes": tuple((*shape[:axis], size, *shape[axis + 1 :]) for size in sizes), "axis": axis}


@st.composite
def _pad(draw: DrawFn) -> Told:
    shape = tuple(draw(st.integers(1, 5)) for _ in range(draw(st.integers(1, 4))))
    return {"shape": shape, "paddings": tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in shape)}


STRATEGIES_INT16: dict[str, SearchStrategy[Case]] = {
    "CONV_2D": case(models.conv_2d_int16, _conv_2d()),
    "DEPTHWISE_CONV_2D": case(models.depthwise_conv_2d_int16, _depthwise_conv_2d()),
    "TRANSPOSE_CONV": case(models.transpose_conv_int16, _transpose_conv()).map(_of_bias),
    "FULLY_CONNECTED": case(models.fully_connected_int16, _fully_connected()),
    "ADD": case(models.add_int16, _two_inputs(False)),
    "SUB": case(models.sub_int16, _two_inputs(False, shifted_broadcasts=True)),
    "MUL": case(models.mul_int16, _two_inputs(True)),
    "AVERAGE_POOL_2D": case(models.average_pool_2d_int16, _pool()),
    "MAX_POOL_2D": case(models.max_pool_2d_int16, _pool()),
    "MEAN": case(models.mean_int16, _mean()),
    "SOFTMAX": case(models.softmax_int16, _softmax()),
    "LOGISTIC": case(models.logistic_int16, _curve()),
    "TANH": case(models.tanh_int16, _curve()),
    "RELU": case(models.relu_int16, _unary()),
    "RELU6": case(models.relu6_int16, _unary()),
    "QUANTIZE": case(models.quantize_int16, _quantize()),
    "DEQUANTIZE": case(models.dequantize_int16, _unary()),
    "CONCATENATION": case(models.concatenation_int16, _concatenation()),
    "PAD": case(models.pad_int16, _pad()),
}
