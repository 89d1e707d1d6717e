"""MEAN, SUM, REDUCE_MAX and REDUCE_MIN over any axes by one loop nest; ARG_MAX and ARG_MIN along one axis."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from tinycompiler.kernels.base import Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.ops import ArgMax, ArgMin, Mean, ReduceMax, ReduceMin, Sum
from tinycompiler.ops.reduction import ArgExtreme, Reduction, Summation
from tinycompiler.tensor import DType

LOOPS = 5
"""kept, reduced, kept, reduced, kept: what any axes of rank 5 merge into at most."""


@dataclass(frozen=True)
class ReduceContext(Context):
    """Variables of kernels/reduce.c.j2."""

    operation: str
    """sum | max | min."""


def alternating(shape: tuple[int, ...], axes: tuple[int, ...]) -> list[int]:
    """Sizes of kept and reduced loops in turn, a kept one first; neighbours of one kind merged."""
    sizes = [1]
    for i, n in enumerate(shape):
        reduced = i in axes
        if n == 1:
            continue
        if (len(sizes) % 2 == 0) == reduced:
            sizes[-1] *= n
        else:
            sizes.append(n)
    return sizes


class Reduce(Kernel):
    """Strides; needs no scratch."""

    name = "reduce_s8"
    template = "reduce"
    ops = (Mean, Sum, ReduceMax, ReduceMin)
    types = (DType.INT8,)

    def why_not(self, site: Site) -> str | None:
        assert isinstance(site.op, Reduction)
        loops = alternating(site.inputs[0].shape, site.op.axes)
        if len(loops) > LOOPS:
            return f"axes {site.op.axes} of shape {site.inputs[0].shape} interleave too often"
        return None

    def lower(self, site: Site) -> Lowered:
        x, y, op = site.inputs[0], site.outputs[0], site.op
        assert isinstance(op, Reduction)
        sizes = alternating(x.shape, op.axes)
        sizes += [1] * (LOOPS - len(sizes))
        fields: dict[str, Field] = {"size": sizes, "step": [prod(sizes[i + 1 :]) for i in range(LOOPS)]}
        operation = "max" if isinstance(op, ReduceMax) else "min"
        inner: tuple[str, ...] = ()
        if isinstance(op, Summation):
            m = op.multiplier(site.inputs, site.outputs)
            fields |= {
                "multiplier": m.value,
                "shift": -m.shift,
                "offset": -x.zero_point * op.count(site.inputs),
                "zero_y": y.zero_point,
            }
            operation, inner = "sum", ("requantize",)
        return Lowered(inner, ReduceContext(operation), (Invocation((x.name, y.name), fields),))


@dataclass(frozen=True)
class ArgReduceContext(Context):
    """Variables of kernels/arg_reduce.c.j2."""

    raw: ClassVar[bool] = True
    """int64 indices lie at multiples of 4, where only bytes may be written as what they are."""

    better: str
    """The comparison that a value makes the new extreme by."""
    index_type: str


class ArgReduce(Kernel):
    """One comparison a value."""

    name = "arg_reduce_s8"
    template = "arg_reduce"
    ops = (ArgMax, ArgMin)

    def lower(self, site: Site) -> Lowered:
        x, y, op = site.inputs[0], site.outputs[0], site.op
        assert isinstance(op, ArgExtreme)
        fields: dict[str, Field] = {
            "outer": prod(x.shape[: op.axis]),
            "size": x.shape[op.axis],
            "inner": prod(x.shape[op.axis + 1 :]),
        }
        context = ArgReduceContext(">" if isinstance(op, ArgMax) else "<", y.dtype.c_type)
        return Lowered((), context, (Invocation((x.name, y.name), fields),))
