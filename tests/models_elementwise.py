"""Random networks of one unary, binary or selecting operator, as .tflite bytes; see `tests.models`.

Functions of several operators take the operator's name; `constant` names the input that is a constant.
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypedDict, Unpack

import numpy as np

from tests.tflite_builder import ModelBuilder
from tinycompiler.readers import schema

Rng = np.random.Generator
Shape = tuple[int, ...]


class Numbers(TypedDict, total=False):
    """Quantization from one tensor to another."""

    input_scale: float
    output_scale: float
    input_zero_point: int
    output_zero_point: int


def unary(
    rng: Rng,
    operator: str = "ABS",
    shape: Shape = (1, 256),
    *,
    options: dict[str, Any] | None = None,
    **told: Unpack[Numbers],
) -> bytes:
    """One int8 input and one int8 output of one shape."""
    model = ModelBuilder(operator.lower())
    for name, other in (("input", 0.05), ("output", 0.04)):
        scale, zero_point = told.get(f"{name}_scale", other), told.get(f"{name}_zero_point", 3)
        model.tensor(name, shape, scales=scale, zero_points=zero_point)  # type: ignore[arg-type]
    model.operator(operator, ["input"], ["output"], options=options)
    return model.inputs("input").outputs("output").build()


class Operands(TypedDict, total=False):
    """Of an operator with two inputs or more; a bool operand has no numbers."""

    scales: Sequence[float]
    zero_points: Sequence[int]
    constant: int | None
    uniform: bool
    activation: str


def several(
    rng: Rng,
    operator: str = "SUB",
    shapes: Sequence[Shape] = ((1, 4, 5, 3), (1, 4, 5, 3)),
    output: Shape | None = None,
    *,
    dtypes: Sequence[str] = ("int8", "int8", "int8"),
    **told: Unpack[Operands],
) -> bytes:
    """Inputs of `shapes`, an output of their broadcast shape; `dtypes`, scales and zero points end with its own.

    A `uniform` constant is one value everywhere; the divisor of a DIV is never zero.
    """
    scales, points = told.get("scales", (0.05, 0.04, 0.06)), told.get("zero_points", (3, -7, 11))
    constant = told.get("constant")
    model = ModelBuilder(operator.lower())
    names = [f"input{i}" for i in range(len(shapes))]
    all_shapes = (*shapes, np.broadcast_shapes(*shapes) if output is None else output)
    for i, (name, shape, dtype) in enumerate(zip((*names, "output"), all_shapes, dtypes, strict=True)):
        avoided = points[i] if operator == "DIV" and i == 1 else None
        data = _constant(rng, shape, dtype, told.get("uniform", False), avoided) if i == constant else None
        quantization = {} if dtype == "bool" else {"scales": scales[i], "zero_points": points[i]}
        model.tensor(name, shape, dtype, data=data, **quantization)  # type: ignore[arg-type]
    options = None
    if operator in CLAMPED:
        options = {"fused_activation_function": schema.ACTIVATIONS.index(told.get("activation", "NONE"))}
    model.operator(operator, names, ["output"], options=options)
    moving = [name for i, name in enumerate(names) if i != constant]
    return model.inputs(*moving).outputs("output").build()


def _constant(rng: Rng, shape: Shape, dtype: str, uniform: bool, avoided: int | None) -> Any:
    low, high = (0, 2) if dtype == "bool" else (-128, 128)
    values = rng.integers(low, high, () if uniform else shape)
    if avoided is not None:
        values = np.where(values == avoided, -avoided - 1, values)
    return np.broadcast_to(values, shape).astype(dtype)


def logical_not(rng: Rng, shape: Shape = (1, 7)) -> bytes:
    """LOGICAL_NOT."""
    return cast(rng, shape, dtypes=("bool", "bool"), operator="LOGICAL_NOT")


def cast(
    rng: Rng, shape: Shape = (1, 7), *, dtypes: tuple[str, str] = ("int8", "int16"), operator: str = "CAST"
) -> bytes:
    """CAST of values without quantization."""
    types = [schema.TENSOR_TYPES.index(dtype.upper()) for dtype in dtypes]
    options = {"in_data_type": types[0], "out_data_type": types[1]} if operator == "CAST" else None
    model = ModelBuilder(operator.lower())
    model.tensor("input", shape, dtypes[0])
    model.tensor("output", shape, dtypes[1])
    model.operator(operator, ["input"], ["output"], options=options)
    return model.inputs("input").outputs("output").build()


RESTRICTED: dict[str, dict[str, Any]] = {
    "TANH": {"output_scale": 1 / 128, "output_zero_point": 0},
    "SQRT": {"input_zero_point": -128},
    "RSQRT": {"input_zero_point": -128},
    "LEAKY_RELU": {"options": {"alpha": 0.3}},
    "GELU": {"options": {"approximate": False}},
}
"""What an operator must be told."""
UNARY = (
    *("ABS", "ELU", "EXP", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "NEG", "RELU_0_TO_1", "RELU_N1_TO_1", "RSQRT"),
    *("SQRT", "TANH"),
)
CLAMPED = ("ADD", "DIV", "MUL", "SUB")
"""Operators with a fused activation."""
ARITHMETIC = ("DIV", "MAXIMUM", "MINIMUM", "PRELU", "SQUARED_DIFFERENCE", "SUB")
COMPARISONS = ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL")
LOGIC = ("LOGICAL_AND", "LOGICAL_OR")
SELECTIONS = ("SELECT", "SELECT_V2")


# One function for each operator, with numbers that it takes.


class Maker(Protocol):
    """Makes a model of one operator."""

    def __call__(self, rng: Rng, **told: Any) -> bytes: ...


def _maker(operator: str, build: Any, **fixed: Any) -> Maker:
    def make(rng: Rng, **told: Any) -> bytes:
        result: bytes = build(rng, operator, **{**fixed, **told})
        return result

    return make


(
    absolute, elu, exponential, gelu, hard_swish, leaky_relu, logarithm, negative, relu_0_to_1, relu_n1_to_1,
    reciprocal_root, root, hyperbolic_tangent,
) = (_maker(operator, unary, **RESTRICTED.get(operator, {})) for operator in UNARY)  # fmt: skip
divide = _maker("DIV", several, constant=1, scales=(0.05, 0.04, 0.004))
maximum, minimum, prelu, squared_difference, subtract = (_maker(operator, several) for operator in ARITHMETIC[1:])
equal, greater, greater_equal, less, less_equal, not_equal = (
    _maker(operator, several, dtypes=("int8", "int8", "bool")) for operator in COMPARISONS
)
logical_and, logical_or = (_maker(operator, several, dtypes=("bool",) * 3) for operator in LOGIC)
select, select_v2 = (
    _maker(
        operator,
        several,
        shapes=((1, 4, 5, 3),) * 3,
        dtypes=("bool", "int8", "int8", "int8"),
        scales=(1.0, 0.05, 0.05, 0.05),
        zero_points=(0, 3, 3, 3),
    )
    for operator in SELECTIONS
)
