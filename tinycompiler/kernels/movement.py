"""PAD and CONCATENATION: copies. RESHAPE is no kernel: its output is its input's memory."""

from dataclasses import dataclass
from math import prod

from tinycompiler.kernels.base import Constant, Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.ops import Concatenation, Pad

RANK = 5


@dataclass(frozen=True)
class PadContext(Context):
    """kernels/pad.c.j2 has no variables."""


@dataclass(frozen=True)
class CopyContext(Context):
    """kernels/copy_blocks.c.j2 has no variables."""


class PadScalar(Kernel):
    """The output is filled, then the input's innermost runs are copied into it."""

    name = "pad_s8"
    template = "pad"
    ops = (Pad,)

    def lower(self, site: Site) -> Lowered:
        x, y = site.inputs[0], site.outputs[0]
        assert isinstance(site.op, Pad)
        missing = (0,) * (RANK - len(x.shape))
        before = missing + site.op.before
        size = (1,) * len(missing) + x.shape
        total = (1,) * len(missing) + y.shape
        step = [prod(total[i + 1 :]) for i in range(RANK)]
        fields: dict[str, Field] = {
            "size": size,
            "step": step,
            "start": sum(b * s for b, s in zip(before, step, strict=True)),
            "bytes": y.bytes,
            "fill": y.zero_point,
        }
        return Lowered((), PadContext(), (Invocation((x.name, y.name), fields),))


class ConcatenationCopy(Kernel):
    """Each input is copied in blocks into its place in the output."""

    name = "concatenation_s8"
    template = "copy_blocks"
    ops = (Concatenation,)

    def lower(self, site: Site) -> Lowered:
        y, op = site.outputs[0], site.op
        assert isinstance(op, Concatenation)
        row = prod(y.shape[op.axis :])
        invocations, start = [], 0
        for x in site.inputs:
            block = prod(x.shape[op.axis :])
            fields: dict[str, Field] = {
                "blocks": x.elements // block if block else 0,
                "block": block,
                "row": row,
                "start": start,
            }
            if x.data is not None:
                fields["constant"] = Constant(x.data.reshape(-1))
            invocations.append(Invocation((x.name, y.name), fields))
            start += block
        return Lowered((), CopyContext(), tuple(invocations))
