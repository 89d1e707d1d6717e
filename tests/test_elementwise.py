"""Unary, binary and selecting operators: what they refuse and why, the kernels that take them, values at the ends."""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import models
from tests import models_elementwise as elementwise
from tests.draws import Case
from tests.judges import judge
from tests.programs import HostProgram, merged
from tests.test_ops import check
from tinycompiler.board import CORES
from tinycompiler.errors import ModelError
from tinycompiler.kernels import lower
from tinycompiler.ops import Numerics
from tinycompiler.ops.quotient import bit_length
from tinycompiler.passes.edges import with_io
from tinycompiler.tensor import DType

PROFILES = pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)


def unary(operator: str, **told: Any) -> Case:
    return Case(elementwise.unary, 0, {"operator": operator, **elementwise.RESTRICTED.get(operator, {}), **told})


def program_of(case: Case, numerics: Numerics, folder: Path) -> HostProgram:
    return HostProgram(lower(merged([case], numerics), CORES["cortex-m4f"]), folder)


def several(operator: str, **told: Any) -> Case:
    return Case(elementwise.several, 0, {"operator": operator, **told})


# Refusals.

SHORT = ((1, 4), (1, 4))
POINTS = {"input_zero_point": 3, "output_zero_point": 3}
COMPARED = ("int8", "int8", "bool")
REFUSED: dict[str, tuple[Case, Numerics, str]] = {
    "only LiteRT": (unary("EXP"), Numerics.TFLM, "tflm profile's reference does not run EXP; .* --numerics litert"),
    "only TensorFlow Lite Micro": (unary("ELU"), Numerics.LITERT, "litert .* does not run ELU; .* --numerics tflm"),
    "uint8 of floats": (Case(models.quantize, 0, {"target": "uint8", **POINTS}), Numerics.TFLM, "of float32 to uint8"),
    "uint8 of uint8": (
        Case(models.quantize, 0, {"source": "uint8", "target": "uint8", **POINTS}),
        Numerics.TFLM,
        "tflm .* does not run QUANTIZE of uint8 to uint8; .* --numerics litert",
    ),
    "cast of uint8": (Case(elementwise.cast, 0, {"dtypes": ("uint8", "int8")}), Numerics.TFLM, "CAST of uint8"),
    "negative root": (unary("SQRT", input_zero_point=-127), Numerics.LITERT, "zero point -127 allows negative values"),
    "tanh output": (unary("TANH", output_scale=0.01), Numerics.LITERT, "must be .1/128, zero point 0"),
    "tanh input": (unary("TANH", input_scale=2.0**-40), Numerics.TFLM, "below the reference's fixed point"),
    "logistic input": (
        Case(models.logistic, 0, {"input_scale": 0.99 * 2.0**-28}),
        Numerics.TFLM,
        "below the reference's fixed point, .* --numerics litert",
    ),
    "huge exponential": (unary("EXP", input_scale=1.0), Numerics.LITERT, "values beyond int32"),
    "infinite exponential": (unary("EXP", input_scale=1e29), Numerics.LITERT, "values beyond int32"),
    "fine output": (unary("ABS", input_scale=1.0, output_scale=2.0**-24), Numerics.LITERT, "the reference overflows"),
    "least output": (unary("ABS", input_scale=1e29, output_scale=1e-29), Numerics.TFLM, "the reference overflows"),
    "steep slope": (unary("LEAKY_RELU", options={"alpha": 1e8}), Numerics.LITERT, "the reference overflows"),
    "negative slope": (unary("LEAKY_RELU", options={"alpha": -1.0}), Numerics.LITERT, "zero or positive"),
    "no slope": (unary("LEAKY_RELU", options={"alpha": float("nan")}), Numerics.LITERT, "ordinary size"),
    "far apart": (unary("HARD_SWISH", output_scale=1e-6), Numerics.LITERT, "too far apart"),
    "tiny scale": (unary("RELU_N1_TO_1", input_scale=1e-20, output_scale=1e-20), Numerics.LITERT, "beyond int32"),
    "reciprocal root": (unary("RSQRT", output_scale=1e-12), Numerics.LITERT, "outside the reference's fixed point"),
    "fine sum": (Case(models.add, 0, {"scales": (1.0, 1.0), "output_scale": 2.0**-19}), Numerics.TFLM, "too small"),
    "fine product": (
        Case(models.mul, 0, {"scales": (1.0, 1.0), "output_scale": 2.0**-15}),
        Numerics.LITERT,
        "the reference overflows",
    ),
    "fine difference": (several("SUB", scales=(1.0, 1.0, 2.0**-19)), Numerics.TFLM, "a multiplier below 1"),
    "fine square": (several("SQUARED_DIFFERENCE", scales=(1.0, 1.0, 2e-4)), Numerics.LITERT, "multiplier below 1"),
    "great scale": (several("LESS", scales=(1.0, 0.5, 1.0), dtypes=COMPARED), Numerics.LITERT, "scales below 1"),
    "moving divisor": (several("DIV"), Numerics.LITERT, "computed at run time"),
    "coarse quotient": (several("DIV", constant=1, shapes=SHORT), Numerics.LITERT, "shifts by more than 31"),
    "wide alpha": (several("PRELU", shapes=((1, 4), (3, 4)), output=(3, 4)), Numerics.LITERT, "alpha of shape"),
    "shapes": (several("MAXIMUM", shapes=((1, 3), (1, 4)), output=(1, 4)), Numerics.LITERT, "do not broadcast"),
    "condition": (
        several("SELECT_V2", shapes=((1, 4),) * 3, dtypes=("int8",) * 4, scales=(1.0,) * 4, zero_points=(0,) * 4),
        Numerics.LITERT,
        "int8, and bool is needed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refusals_say_why(what: str) -> None:
    case, numerics, words = REFUSED[what]
    with pytest.raises(ModelError, match=words):
        case.graph(numerics)


def test_edges_stay_where_no_reference_makes_them_of_floats() -> None:
    case = Case(models.quantize, 0, {"source": "uint8", "target": "int8", "input_zero_point": 3})
    graphs = [with_io(case.graph(numerics), "float") for numerics in (Numerics.LITERT, Numerics.TFLM)]
    assert [g.tensors[g.inputs[0]].dtype for g in graphs] == [DType.FLOAT32, DType.UINT8]
    assert [g.tensors[g.outputs[0]].dtype for g in graphs] == [DType.FLOAT32, DType.FLOAT32]


@pytest.mark.parametrize("case", [Case(models.logistic, 0, {}), unary("TANH")], ids=["LOGISTIC", "TANH"])
@pytest.mark.parametrize(("scale", "profiles"), [(2.0**-28, tuple(Numerics)), (2.0**-29, (Numerics.LITERT,))])
def test_the_least_scales_of_curves(case: Case, scale: float, profiles: tuple[Numerics, ...]) -> None:
    least = Case(case.make, 0, {**case.told, "shape": (1, 256), "input_scale": scale}, profiles)
    for numerics in Numerics:
        check(least, numerics, 0)


# Kernels.


@pytest.mark.parametrize(
    ("case", "kernel"),
    [
        (several("SUB", constant=1, uniform=True), "table_of_constant_s8"),
        (several("LESS", constant=0, uniform=True, dtypes=("int8", "int8", "bool")), "table_of_constant_s8"),
        (several("SUB", constant=1), "elementwise_s8_dsp"),
        (several("MAXIMUM", constant=1, shapes=((1, 1), (1, 4)), uniform=True), "elementwise_s8_scalar"),
        (Case(models.mul, 0, {"constant": True}), "elementwise_s8_dsp"),
        (unary("HARD_SWISH"), "table_s8"),
    ],
)
def test_kernels_are_chosen(case: Case, kernel: str) -> None:
    """A constant that is one value everywhere makes the operator a function of the other operand."""
    [call] = lower(case.graph(Numerics.LITERT), CORES["cortex-m4f"]).calls
    assert call.kernel == kernel


def test_of_a_bool_every_byte_but_zero_is_true(tmp_path: Path) -> None:
    program = program_of(Case(elementwise.logical_not, 0, {"shape": (3,)}), Numerics.LITERT, tmp_path)
    ctypes.memmove(program._function("input")(0), bytes([0, 1, 7]), 3)
    program._function("invoke")()
    assert ctypes.string_at(program._function("output")(0), 3) == bytes([1, 0, 0])


# CAST at the ends.

FAR = np.array([0, -1.5, 2.5, 127.9, -128.9, 300, -300, 1e10, -1e10, np.nan, np.inf, -np.inf], np.float32)
WHOLE = np.array([0, 1, -1, 255, 256, 32768, -(2**31), 2**31 - 1, 2**24 + 1], np.int32)


@pytest.mark.slow
@PROFILES
@pytest.mark.parametrize("target", ["bool", "int8", "uint8", "int16", "int32", "float32"])
@pytest.mark.parametrize("values", [FAR, WHOLE], ids=["float32", "int32"])
def test_casts_at_the_ends(values: np.ndarray[Any, Any], target: str, numerics: Numerics, tmp_path: Path) -> None:
    if target == "uint8" and numerics is Numerics.TFLM:
        pytest.skip("its reference has no uint8")
    case = Case(elementwise.cast, 0, {"shape": values.shape, "dtypes": (str(values.dtype), target)})
    graph, feeds = case.graph(numerics), {"input": values}
    [[wanted]] = judge(case.model(), graph, [feeds])
    np.testing.assert_array_equal(graph.evaluate(feeds)["output"], wanted)
    found = program_of(case, numerics, tmp_path).outputs({"0_input": values})
    np.testing.assert_array_equal(found["0_output"], wanted)


def test_bit_length() -> None:
    values = np.arange(2**17)
    assert bit_length(values).tolist() == [int(v).bit_length() for v in values]
