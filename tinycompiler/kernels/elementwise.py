"""Operators of two 8-bit operands, of equal shapes or broadcast: arithmetic, extremes, comparisons, logic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from tinycompiler.fixed_point import Multiplier
from tinycompiler.kernels.base import Constant, Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.kernels.broadcasting import constant_fields, is_broadcast, loop_fields, loops_of, takes_over, why_not
from tinycompiler.kernels.geometry import clamp_of
from tinycompiler.ops import Add, Comparison, Div, Elementwise, Logic, Mul, Op, Prelu, SquaredDifference, Sub
from tinycompiler.ops.elementwise import ADD_LEFT_SHIFT
from tinycompiler.tensor import DType, Quantization, Tensor

RELATIONS: Mapping[str, str] = MappingProxyType(
    {
        "EQUAL": "==",
        "NOT_EQUAL": "!=",
        "GREATER": ">",
        "GREATER_EQUAL": ">=",
        "LESS": "<",
        "LESS_EQUAL": "<=",
        "LOGICAL_AND": "&",
        "LOGICAL_OR": "|",
        "MAXIMUM": ">",
        "MINIMUM": "<",
    }
)
"""C's word for what an operator compares, combines or chooses by."""


@dataclass(frozen=True)
class ElementwiseContext(Context):
    """Variables of kernels/elementwise.c.j2."""

    raw: ClassVar[bool] = True

    operation: str
    """add, sub, squared_difference, mul, prelu, compare, logic, extreme, or rows: a table for each value of b."""
    relation: str
    """The C operator of compare, logic and extreme."""
    left: int
    """Bits by which operands are raised before they are scaled."""
    broadcast: bool
    clamped: bool


class ElementwiseScalar(Kernel):
    """Runs everywhere."""

    name = "elementwise_s8_scalar"
    template = "elementwise"
    ops: ClassVar[tuple[type[Op], ...]] = (Elementwise, Comparison, Logic)

    def why_not(self, site: Site) -> str | None:
        types = {t.dtype for t in (*site.inputs, *site.outputs)}
        if not types <= {DType.INT8, DType.BOOL}:
            return f"its tensors are {', '.join(sorted(t.value for t in types))}; int8 and bool are supported"
        return why_not(loops_of([t.shape for t in site.inputs]))

    def lower(self, site: Site) -> Lowered:
        a, b = site.inputs
        y, clamp = site.outputs[0], clamp_of(site.op)
        loops = loops_of([a.shape, b.shape])
        fields: dict[str, Field] = {
            "zero_a": a.zero_point,
            "zero_b": b.zero_point,
            "zero_y": y.zero_point,
            **self.scaling(site),
            **constant_fields((a, b), "ab"),
            **loop_fields(loops, "ab"),
        }
        operation = operation_of(site)
        if operation == "rows":
            fields |= rows(site)
        clamped = not clamp.is_natural and operation != "rows"
        if clamped:
            fields |= {"low": clamp.low, "high": clamp.high}
        left = {"add": ADD_LEFT_SHIFT, "sub": ADD_LEFT_SHIFT, "compare": Comparison.LEFT_SHIFT}.get(
            operation, SquaredDifference.LEFT_SHIFT
        )
        relation = RELATIONS.get(site.op.name, "")
        context = ElementwiseContext(operation, relation, left, is_broadcast(loops), clamped)
        in_place = tuple(t.name for t in (a, b) if takes_over(t, y))
        inner = () if operation in ("rows", "logic", "extreme") else ("requantize",)
        return Lowered(inner, context, (Invocation((a.name, b.name, y.name), fields),), in_place=in_place)

    def scaling(self, site: Site) -> dict[str, Field]:
        """Multipliers and right shifts."""
        op, inputs, outputs = site.op, site.inputs, site.outputs
        found: Sequence[Multiplier]
        match op:
            case Add() | Sub() | SquaredDifference():
                names, found = "aby", op.multipliers(inputs, outputs)
            case Mul():
                names, found = "y", (op.multiplier(inputs, outputs, site.numerics),)
            case Prelu():
                names, found = "ab", op.multipliers(inputs, outputs, site.numerics)
            case Comparison():
                names, found = "ab", op.multipliers(inputs)
            case _:
                names, found = "", ()
        scaling: dict[str, Field] = {f"m_{name}": m.value for name, m in zip(names, found, strict=True)}
        return scaling | {f"s_{name}": -m.shift for name, m in zip(names, found, strict=True)}


def operation_of(site: Site) -> str:
    """The template's word for an operator."""
    match site.op:
        case Comparison():
            return "compare"
        case Logic():
            return "logic"
        case Div():
            return "rows"
        case Add() | Sub() | Mul() | Prelu() | SquaredDifference():
            return site.op.name.lower()
        case _:
            return "extreme"


def rows(site: Site) -> dict[str, Field]:
    """A table of results by a's bit pattern for each distinct value of the constant b, and b as numbers of tables."""
    b = site.inputs[1]
    values, numbers = np.unique(b.values.reshape(-1), return_inverse=True)
    tables = np.concatenate([table_of(site, 1, value) for value in values])
    return {"rows": Constant(tables, table=True), "constant_b": Constant(numbers.astype(np.uint8).view(np.int8))}


def table_of(site: Site, constant: int, value: np.generic) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """The results for every value of one operand, by its bit pattern, where operand number `constant` is `value`."""
    moving = site.inputs[1 - constant]
    every = np.arange(256, dtype=np.uint8)
    patterns = every != 0 if moving.dtype is DType.BOOL else every.view(moving.dtype.numpy)
    operands = [_as_vector(t, 256 if t is moving else 1) for t in site.inputs]
    values = [patterns, patterns]
    values[constant] = np.array([value], site.inputs[constant].dtype.numpy)
    outputs = [_as_vector(site.outputs[0], 256)]
    return site.op.evaluate(operands, outputs, values, site.numerics)[0].view(np.uint8)


def _as_vector(tensor: Tensor, elements: int) -> Tensor:
    quantization: Quantization | None = tensor.quantization
    return Tensor(tensor.name, (elements,), tensor.dtype, quantization)


class ElementwiseDsp(ElementwiseScalar):
    """ADD, SUB and MUL with SMMULR, where every operand and shift stays in its range."""

    name = "elementwise_s8_dsp"
    isa = "dsp"
    ops: ClassVar[tuple[type[Op], ...]] = (Add, Mul, Sub)

    def why_not(self, site: Site) -> str | None:
        problem = super().why_not(site)
        if problem:
            return problem
        shifts = {key: value for key, value in self.scaling(site).items() if key.startswith("s_")}
        right = {key: value for key, value in shifts.items() if isinstance(value, int)}
        # ADD's operands stay under 2^29, MUL's products under 2^16: room for these left shifts, and for right shifts
        # of int32
        left = 13 if isinstance(site.op, Mul) else 0
        if right["s_y"] < -left or max(right.values()) > 30:
            return f"the output is shifted right by {right['s_y']}; {-left} to 30 are supported"
        return None
