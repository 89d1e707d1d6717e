"""SOFTMAX: exponentials from a table, one reciprocal per row in fixed point; of two classes, a table of the result."""

from dataclasses import dataclass, replace

import numpy as np

from tinycompiler.kernels.base import Constant, Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.kernels.broadcasting import takes_over
from tinycompiler.ops import Softmax
from tinycompiler.tensor import Array, DType


@dataclass(frozen=True)
class SoftmaxContext(Context):
    """kernels/softmax.c.j2 has no variables."""


@dataclass(frozen=True)
class SoftmaxTwoContext(Context):
    """Variables of kernels/softmax_two.c.j2."""

    odd: bool
    """Exchanging the values changes the results' signs, as where they never saturate: half of the table is enough."""


class SoftmaxTwo(Kernel):
    """Of two values, the results depend on their difference alone, which has 511 values, and soon saturates."""

    name = "softmax_two_s8"
    template = "softmax_two"
    ops = (Softmax,)
    types = (DType.INT8,)

    def why_not(self, site: Site) -> str | None:
        depth = site.inputs[0].shape[-1]
        return None if depth == 2 else f"it is over {depth:,} values; 2 are supported"

    def lower(self, site: Site) -> Lowered:
        x, y = site.inputs[0], site.outputs[0]
        results = self._results(site)
        moving = [np.flatnonzero(results != results[end]) for end in (0, -1)]
        first, last = int(moving[0].min(initial=255)) - 1, int(moving[1].max(initial=255)) + 1
        odd = bool((results[::-1] == -results.astype(np.int16)).all())
        first = 255 if odd else first
        fields: dict[str, Field] = {
            "table": Constant(results[first : last + 1], table=True),
            "lowest": first - 255,
            "highest": last - 255,
            "rows": x.elements // 2,
        }
        in_place = (x.name,) if takes_over(x, y) else ()
        return Lowered((), SoftmaxTwoContext(odd), (Invocation((x.name, y.name), fields),), in_place=in_place)

    def _results(self, site: Site) -> Array:
        """(511): the first result, by the first value less the second from -255 to 255."""
        x, y = site.inputs[0], site.outputs[0]
        difference = np.arange(-255, 256)
        first = np.maximum(difference - 128, -128)
        rows = np.stack([first, first - difference], axis=1).clip(-128, 127).astype(np.int8)
        many = (replace(x, shape=rows.shape, data=None), replace(y, shape=rows.shape))
        [result] = site.op.evaluate(many[:1], many[1:], [rows], site.numerics)
        by_difference: Array = result[:, 0]
        return by_difference


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
