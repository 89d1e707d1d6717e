"""SOFTMAX: exponentials from a table, one reciprocal per row in fixed point."""

from dataclasses import dataclass

from tinycompiler.kernels.base import Constant, Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.kernels.broadcasting import takes_over
from tinycompiler.ops import Softmax
from tinycompiler.tensor import DType


@dataclass(frozen=True)
class SoftmaxContext(Context):
    """kernels/softmax.c.j2 has no variables."""


class SoftmaxScalar(Kernel):
    """The reference's exp() of a difference of int8 has at most 256 arguments: they are computed on the host."""

    name = "softmax_s8"
    template = "softmax"
    ops = (Softmax,)
    types = (DType.INT8,)

    def lower(self, site: Site) -> Lowered:
        x, y = site.inputs[0], site.outputs[0]
        assert isinstance(site.op, Softmax)
        table = site.op.exponentials(x)
        depth = x.shape[-1]
        fields: dict[str, Field] = {
            "exponentials": Constant(table, table=True),
            "count": len(table),
            "rows": x.elements // depth,
            "depth": depth,
        }
        in_place = (x.name,) if takes_over(x, y) else ()
        calls = (Invocation((x.name, y.name), fields),)
        return Lowered(("high", "reciprocal"), SoftmaxContext(), calls, in_place=in_place)
