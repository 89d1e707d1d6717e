"""Hypothesis strategies for the operators of `tests.models_elementwise`; `tests.draws` merges them into its own."""

from dataclasses import replace
from itertools import product
from math import trunc

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests import models_elementwise as models
from tests.draws import (
    ACTIVATIONS,
    Case,
    Told,
    case,
    scales,
    seeds,
    single,
    unary_numbers,
    unary_shapes,
    zero_points,
)
from tinycompiler.ops import Numerics
from tinycompiler.ops.unary import Float

ONLY = {
    **dict.fromkeys(("EXP", "GELU", "LOG", "NEG", "RELU_0_TO_1", "RELU_N1_TO_1", "SELECT", "SQRT"), (Numerics.LITERT,)),
    "ELU": (Numerics.TFLM,),
}
"""Operators that one judge runs."""
Shape = tuple[int, ...]


# Unary operators.


@st.composite
def _unary(draw: DrawFn, operator: str) -> Case:
    told: Told = {"operator": operator, "shape": draw(unary_shapes()), **draw(unary_numbers())}
    if operator in ("EXP", "LOG", "RSQRT", "SQRT"):
        told |= {"input_scale": draw(scales(1e-4, 0.05)), "output_scale": draw(scales(1e-3, 10.0))}
    if operator == "TANH":
        told["input_scale"] = draw(scales(1e-4, 2))
    told |= models.RESTRICTED.get(operator, {})
    if operator == "LEAKY_RELU":
        told["options"] = {"alpha": draw(st.one_of(st.sampled_from((0.0, 0.5, 1.0)), st.floats(0, 4).map(single)))}
    if operator == "GELU":
        told["options"] = {"approximate": draw(st.booleans())}
    found = replace(_case(models.unary, draw(seeds), told), profiles=ONLY.get(operator, tuple(Numerics)))
    assume(not _doubtful(found))
    return found


def _case(make: object, seed: int, told: Told) -> Case:
    return Case(make, seed, told)  # type: ignore[arg-type]


def _doubtful(found: Case) -> bool:
    """Whether the last bits of a C library's function, which differ between libraries, decide an output."""
    graph = found.graph(found.profiles[0])
    [node] = graph.nodes
    if not isinstance(node.op, Float):
        return False
    steps = node.op.steps(graph.tensors["input"], graph.tensors["output"])
    distances = [(abs(abs(s) - trunc(abs(s)) - 0.5), abs(s)) for s in steps if abs(s) < 512]
    return any(0 < distance < 2.0**-20 * max(size, 0.5) for distance, size in distances)


# Operators of several operands.


@st.composite
def shapes(draw: DrawFn, count: int, *, whole: bool = False) -> list[Shape]:
    """Shapes that broadcast, of rank 0 to 5; `whole`: the first is what comes out."""
    rank = draw(st.integers(1, 5))
    shape = tuple(draw(st.integers(1, 9 if rank < 3 else 4)) for _ in range(rank))
    found = [shape] if whole else []
    while len(found) < count:
        other = tuple(n if draw(st.integers(0, 3)) else 1 for n in shape)
        short = other[draw(st.integers(0, rank)) :]
        found.append(draw(st.sampled_from((shape, shape, other, short))))
    return found


@st.composite
def _constant(draw: DrawFn, chosen: tuple[int | None, ...]) -> Told:
    return {"constant": draw(st.sampled_from(chosen)), "uniform": draw(st.booleans())}


@st.composite
def _arithmetic(draw: DrawFn, operator: str) -> Told:
    a = draw(scales())
    b = draw(st.one_of(st.just(a), scales()))
    ratio = draw(st.one_of(st.sampled_from((0.25, 0.5, 1.0, 2.0)), st.floats(0.02, 50.0)))
    output = {
        "DIV": a / b * 2.0 ** -draw(st.integers(8, 15)) * draw(st.sampled_from((1.0, 0.9, 0.6))),
        "MUL": a * b * ratio,
        "SQUARED_DIFFERENCE": max(a, b) ** 2 * ratio,
        "PRELU": a * ratio,
    }.get(operator, max(a, b) * ratio)
    told: Told = {"operator": operator, "shapes": draw(shapes(2, whole=operator == "PRELU"))}
    told |= {"scales": (a, b, single(output)), "zero_points": tuple(draw(zero_points) for _ in range(3))}
    if operator in models.CLAMPED:
        told["activation"] = draw(ACTIVATIONS)
    chosen = {"DIV": (1,), "PRELU": (1, 1, 1, None)}.get(operator, (None, None, 0, 1))
    return told | draw(_constant(chosen))


@st.composite
def _comparison(draw: DrawFn, operator: str) -> Told:
    """Often of equal scales and zero points, where equal values are equal."""
    few = st.one_of(st.sampled_from((0.5, 0.0625, 0.001)), scales(1e-5, 0.99))
    a = draw(few)
    b = draw(st.one_of(st.just(a), few))
    point = draw(zero_points)
    points = (point, draw(st.one_of(st.just(point), zero_points)), 0)
    told = {"operator": operator, "shapes": draw(shapes(2)), "scales": (a, b, 1.0), "zero_points": points}
    return told | {"dtypes": ("int8", "int8", "bool")} | draw(_constant((None, None, 0, 1)))


@st.composite
def _logic(draw: DrawFn, operator: str) -> Told:
    told = {"operator": operator, "shapes": draw(shapes(2)), "dtypes": ("bool",) * 3}
    return told | draw(_constant((None, None, 0, 1)))


@st.composite
def _select(draw: DrawFn, operator: str) -> Told:
    found = draw(shapes(3))
    if operator == "SELECT":
        shape = found[0] or (1,)
        found = [draw(st.sampled_from((shape, shape[:1], ()))), shape, shape]
    told: Told = {"operator": operator, "shapes": found, "dtypes": ("bool", "int8", "int8", "int8")}
    told["scales"], told["zero_points"] = (1.0, 0.05, 0.05, 0.05), (0, 3, 3, 3)
    return told | {"output": np.broadcast_shapes(*found[1:])} | draw(_constant((None, None, 0, 1, 2)))


TYPES = ("bool", "int8", "uint8", "int16", "int32", "float32")


@st.composite
def _cast(draw: DrawFn) -> Case:
    dtypes = draw(st.sampled_from(tuple(product(TYPES, TYPES))))
    profiles = (Numerics.LITERT,) if "uint8" in dtypes else tuple(Numerics)
    shape = draw(unary_shapes())
    return replace(_case(models.cast, draw(seeds), {"shape": shape, "dtypes": dtypes}), profiles=profiles)


def _several(operator: str, told: SearchStrategy[Told]) -> SearchStrategy[Case]:
    profiles = ONLY.get(operator, tuple(Numerics))
    return case(models.several, told).map(lambda found: replace(found, profiles=profiles))


def _select_v2(told: Told) -> Told:
    return {key: value for key, value in told.items() if key != "output"}


BROADCAST: dict[str, SearchStrategy[Case]] = {
    operator: _several(operator, _arithmetic(operator)) for operator in ("ADD", "MUL")
}
"""Of any rank, beside what `tests.draws` tries of them."""

ELEMENTWISE: dict[str, SearchStrategy[Case]] = {
    **{operator: _unary(operator) for operator in models.UNARY},
    **{operator: _several(operator, _arithmetic(operator)) for operator in models.ARITHMETIC},
    **{operator: _several(operator, _comparison(operator)) for operator in models.COMPARISONS},
    **{operator: _several(operator, _logic(operator)) for operator in models.LOGIC},
    "LOGICAL_NOT": case(models.logical_not, st.fixed_dictionaries({"shape": unary_shapes()})),
    "SELECT": _several("SELECT", _select("SELECT")),
    "SELECT_V2": _several("SELECT_V2", _select("SELECT_V2").map(_select_v2)),
    "CAST": _cast(),
}

_SCALES = {"input_scale": single(0.11), "output_scale": single(0.1)}
_RIVALS: Told = {"shapes": ((256, 256), (256, 1)), "constant": 1}
DIFFERENT: dict[str, Case] = {
    "ABS": Case(models.unary, 0, {"operator": "ABS", **_SCALES}),
    "LEAKY_RELU": Case(
        models.unary,
        0,
        {"operator": "LEAKY_RELU", **_SCALES, "output_scale": single(0.01), "options": {"alpha": 0.3}},
    ),
    "TANH": Case(
        models.unary, 0, {"operator": "TANH", "input_scale": 0.07466787844896317, **models.RESTRICTED["TANH"]}
    ),
    "PRELU": Case(
        models.several, 0, {"operator": "PRELU", **_RIVALS, "scales": (single(0.11), single(0.03), single(0.01))}
    ),
    "DIV": Case(
        models.several, 0, {"operator": "DIV", **_RIVALS, "scales": (single(0.03), single(0.03), single(0.0002))}
    ),
}
"""Operators of which the references differ, and a network that shows it."""
