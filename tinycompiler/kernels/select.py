"""SELECT and SELECT_V2 of 8-bit values."""

from dataclasses import dataclass
from typing import ClassVar

from tinycompiler.kernels.base import Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.kernels.broadcasting import constant_fields, is_broadcast, loop_fields, loops_of, takes_over, why_not
from tinycompiler.ops import SelectV2


@dataclass(frozen=True)
class SelectContext(Context):
    """Variables of kernels/select.c.j2."""

    raw: ClassVar[bool] = True

    broadcast: bool


class SelectScalar(Kernel):
    """Runs everywhere."""

    name = "select_s8_scalar"
    template = "select"
    ops = (SelectV2,)

    def why_not(self, site: Site) -> str | None:
        assert isinstance(site.op, SelectV2)
        return why_not(loops_of(site.op.shapes(site.inputs)))

    def lower(self, site: Site) -> Lowered:
        assert isinstance(site.op, SelectV2)
        loops, y = loops_of(site.op.shapes(site.inputs)), site.outputs[0]
        fields: dict[str, Field] = {**constant_fields(site.inputs, "cab"), **loop_fields(loops, "cab")}
        operands = (*(t.name for t in site.inputs), y.name)
        in_place = tuple(t.name for t in site.inputs if takes_over(t, y))
        return Lowered((), SelectContext(is_broadcast(loops)), (Invocation(operands, fields),), in_place=in_place)
