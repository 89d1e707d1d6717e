"""Every unary 8-bit operator: one table of 256 bytes, shared by all nodes whose tables are equal."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycompiler.kernels.base import Constant, Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.kernels.elementwise import takes_over
from tinycompiler.ops import Logistic, Relu, Relu6, Requantize, Unary


@dataclass(frozen=True)
class TableContext(Context):
    """kernels/table.c.j2 has no variables."""

    raw: ClassVar[bool] = True


class Table(Kernel):
    """y[i] = table[x[i]]; the table is ordered by the input's bit pattern, so signedness costs nothing."""

    name = "table_s8"
    template = "table"
    ops = (Logistic, Relu, Relu6, Requantize)

    def lower(self, site: Site) -> Lowered:
        x, y = site.inputs[0], site.outputs[0]
        assert isinstance(site.op, Unary)
        by_value = site.op.table(x, y, site.numerics)
        by_pattern = np.roll(by_value, x.dtype.range[0]).view(np.uint8)
        fields: dict[str, Field] = {"table": Constant(by_pattern, table=True), "count": y.elements}
        in_place = (x.name,) if takes_over(x, y) else ()
        return Lowered((), TableContext(), (Invocation((x.name, y.name), fields),), in_place=in_place)
