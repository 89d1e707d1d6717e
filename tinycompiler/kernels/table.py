"""Every function of one 8-bit value: a table of 256 bytes, shared by all nodes whose tables are equal."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycompiler.kernels.base import Constant, Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.kernels.broadcasting import takes_over
from tinycompiler.kernels.elementwise import table_of
from tinycompiler.ops import Comparison, Elementwise, Logic, Unary
from tinycompiler.tensor import DType, Tensor


@dataclass(frozen=True)
class TableContext(Context):
    """kernels/table.c.j2 has no variables."""

    raw: ClassVar[bool] = True


def looked_up(x: Tensor, y: Tensor, by_pattern: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> Lowered:
    """y[i] = table[x[i]]; the table is ordered by the input's bit pattern, so signedness costs nothing."""
    fields: dict[str, Field] = {"table": Constant(by_pattern, table=True), "count": y.elements}
    in_place = (x.name,) if takes_over(x, y) else ()
    return Lowered((), TableContext(), (Invocation((x.name, y.name), fields),), in_place=in_place)


class Table(Kernel):
    """Unary operators."""

    name = "table_s8"
    template = "table"
    ops = (Unary,)

    def why_not(self, site: Site) -> str | None:
        wide = [t for t in (*site.inputs, *site.outputs) if t.dtype.bytes > 1]
        return f"'{wide[0].name}' is {wide[0].dtype.value}; values of 8 bits are supported" if wide else None

    def lower(self, site: Site) -> Lowered:
        x, y = site.inputs[0], site.outputs[0]
        assert isinstance(site.op, Unary)
        by_value = site.op.table(x, y, site.numerics)
        # of a bool there are two values, and every byte but 0 is true
        whole = np.concatenate([by_value, np.repeat(by_value[-1:], 256 - len(by_value))])
        return looked_up(x, y, np.roll(whole, x.dtype.range[0]).view(np.uint8))


class TableOfConstant(Kernel):
    """Operators of two operands, one of which is everywhere the same constant."""

    name = "table_of_constant_s8"
    template = "table"
    ops = (Elementwise, Comparison, Logic)

    def why_not(self, site: Site) -> str | None:
        if any(t.dtype not in (DType.INT8, DType.BOOL) for t in (*site.inputs, *site.outputs)):
            return "values of 8 bits are supported"
        constants = [t for t in site.inputs if t.data is not None]
        if len(constants) != 1 or (constants[0].values != constants[0].values.flat[0]).any():
            return "neither operand is everywhere the same constant"
        if max(t.elements for t in site.inputs if t.data is None) != site.outputs[0].elements:
            return "its other operand is broadcast"
        return None

    def lower(self, site: Site) -> Lowered:
        constant = next(i for i, t in enumerate(site.inputs) if t.data is not None)
        table = table_of(site, constant, site.inputs[constant].values.flat[0])
        return looked_up(site.inputs[1 - constant], site.outputs[0], table)
