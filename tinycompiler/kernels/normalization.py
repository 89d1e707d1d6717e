"""LOG_SOFTMAX and L2_NORMALIZATION: rows, each for itself, in fixed point; outputs may lie where inputs lie."""

from dataclasses import dataclass
from math import prod

from tinycompiler.kernels.base import Constant, Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.kernels.broadcasting import takes_over
from tinycompiler.ops import L2Normalization, LogSoftmax
from tinycompiler.tensor import DType


@dataclass(frozen=True)
class RowsContext(Context):
    """kernels/log_softmax.c.j2 and kernels/l2_normalization.c.j2 have no variables."""


class LogSoftmaxScalar(Kernel):
    """The reference's exp() of a difference of int8 has at most 256 arguments: they are computed on the host."""

    name = "log_softmax_s8"
    template = "log_softmax"
    ops = (LogSoftmax,)
    types = (DType.INT8,)

    def lower(self, site: Site) -> Lowered:
        x, y, op = site.inputs[0], site.outputs[0], site.op
        assert isinstance(op, LogSoftmax)
        table, m, reverse = op.exponentials(x), op.multiplier(x), op.reverse(x)
        fields: dict[str, Field] = {
            "exponentials": Constant(table, table=True),
            "count": len(table),
            "rows": prod(x.shape[:-1]),
            "depth": x.shape[-1],
            "multiplier": m.value,
            "shift": -m.shift,
            "reverse_multiplier": reverse.value,
            "reverse_shift": -reverse.shift,
            "least": op.least_difference(x),
        }
        in_place = (x.name,) if takes_over(x, y) else ()
        inner = ("requantize", "high", "reciprocal", "logarithm")
        return Lowered(inner, RowsContext(), (Invocation((x.name, y.name), fields),), in_place=in_place)


class L2NormalizationScalar(Kernel):
    """One inverse square root a row."""

    name = "l2_normalization_s8"
    template = "l2_normalization"
    ops = (L2Normalization,)
    types = (DType.INT8,)

    def lower(self, site: Site) -> Lowered:
        x, y = site.inputs[0], site.outputs[0]
        fields: dict[str, Field] = {"rows": prod(x.shape[:-1]), "depth": x.shape[-1], "zero_x": x.zero_point}
        in_place = (x.name,) if takes_over(x, y) else ()
        inner = ("requantize", "high", "reciprocal", "inverse_square_root")
        return Lowered(inner, RowsContext(), (Invocation((x.name, y.name), fields),), in_place=in_place)
