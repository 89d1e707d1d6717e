"""MEAN over any axes."""

from dataclasses import dataclass
from math import prod

from tinycompiler.kernels.base import Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.ops import Mean

LOOPS = 5
"""kept, reduced, kept, reduced, kept: what any axes of rank 5 merge into at most."""


@dataclass(frozen=True)
class MeanContext(Context):
    """kernels/mean.c.j2 has no variables."""


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


class MeanScalar(Kernel):
    """Sums with strides; needs no scratch."""

    name = "mean_s8"
    template = "mean"
    ops = (Mean,)

    def why_not(self, site: Site) -> str | None:
        assert isinstance(site.op, Mean)
        loops = alternating(site.inputs[0].shape, site.op.axes)
        if len(loops) > LOOPS:
            return f"axes {site.op.axes} of shape {site.inputs[0].shape} interleave too often"
        reach = site.op.count(site.inputs) * 255
        if reach >= 2**31:
            return f"a sum over {site.op.count(site.inputs):,} values can overflow an int32 accumulator"
        return None

    def lower(self, site: Site) -> Lowered:
        x, y = site.inputs[0], site.outputs[0]
        assert isinstance(site.op, Mean)
        sizes = alternating(x.shape, site.op.axes)
        sizes += [1] * (LOOPS - len(sizes))
        m = site.op.multiplier(site.inputs, site.outputs)
        fields: dict[str, Field] = {
            "size": sizes,
            "step": [prod(sizes[i + 1 :]) for i in range(LOOPS)],
            "multiplier": m.value,
            "shift": -m.shift,
            "offset": -x.zero_point * site.op.count(site.inputs),
            "zero_y": y.zero_point,
        }
        return Lowered(("requantize",), MeanContext(), (Invocation((x.name, y.name), fields),))
