"""ADD and MUL, of equal shapes or broadcast."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from tinycompiler.kernels.base import Constant, Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.kernels.convolution import clamp_of
from tinycompiler.ops import Add, Mul
from tinycompiler.tensor import Tensor

RANK = 4
"""Loops of the broadcasting kernel; neighbouring axes that broadcast alike are merged first."""


@dataclass(frozen=True)
class ElementwiseContext(Context):
    """Variables of kernels/elementwise.c.j2."""

    operation: str
    broadcast: bool
    clamped: bool


def merged_axes(a: tuple[int, ...], b: tuple[int, ...]) -> list[tuple[int, bool, bool]]:
    """(size, a moves, b moves) of each loop, outermost first, neighbours that behave alike merged."""
    rank = max(len(a), len(b))
    loops: list[tuple[int, bool, bool]] = []
    for m, n in zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True):
        size, moves = max(m, n), (m > 1, n > 1)
        if size == 1:
            continue
        if loops and loops[-1][1:] == moves:
            loops[-1] = (loops[-1][0] * size, *moves)
        else:
            loops.append((size, *moves))
    return loops or [(1, True, True)]


def strides(loops: Sequence[tuple[int, bool, bool]], operand: int) -> list[int]:
    """Step of an operand in each loop, 0 where it is broadcast."""
    result = []
    for i, loop in enumerate(loops):
        inner = prod(size for size, *moves in loops[i + 1 :] if moves[operand])
        result.append(inner if loop[1 + operand] else 0)
    return result


class ElementwiseScalar(Kernel):
    """Runs everywhere."""

    name = "elementwise_s8_scalar"
    template = "elementwise"
    ops = (Add, Mul)

    def why_not(self, site: Site) -> str | None:
        loops = merged_axes(site.inputs[0].shape, site.inputs[1].shape)
        return f"broadcasting needs {len(loops)} loops; {RANK} are supported" if len(loops) > RANK else None

    def lower(self, site: Site) -> Lowered:
        a, b = site.inputs
        y, clamp = site.outputs[0], clamp_of(site.op)
        loops = merged_axes(a.shape, b.shape)
        broadcast = not all(moves_a and moves_b for _, moves_a, moves_b in loops)
        fields: dict[str, Field] = {
            "zero_a": a.zero_point,
            "zero_b": b.zero_point,
            "zero_y": y.zero_point,
            **self.scaling(site),
        }
        for name, tensor in (("constant_a", a), ("constant_b", b)):
            if tensor.data is not None:
                fields[name] = Constant(tensor.data.reshape(-1))
        if broadcast:
            padded = [(1, True, True)] * (RANK - len(loops)) + loops
            fields |= {
                "size": [size for size, *_ in padded],
                "step_a": strides(padded, 0),
                "step_b": strides(padded, 1),
            }
        else:
            fields["count"] = y.elements
        if not clamp.is_natural:
            fields |= {"low": clamp.low, "high": clamp.high}
        context = ElementwiseContext(site.op.name.lower(), broadcast, not clamp.is_natural)
        operands = (a.name, b.name, y.name)
        in_place = tuple(t.name for t in (a, b) if takes_over(t, y))
        return Lowered(("requantize",), context, (Invocation(operands, fields),), in_place=in_place)

    def scaling(self, site: Site) -> dict[str, int]:
        """Multipliers and right shifts."""
        if isinstance(site.op, Add):
            a, b, y = site.op.multipliers(site.inputs, site.outputs)
            return {"m_a": a.value, "s_a": -a.shift, "m_b": b.value, "s_b": -b.shift, "m_y": y.value, "s_y": -y.shift}
        assert isinstance(site.op, Mul)
        m = site.op.multiplier(site.inputs, site.outputs, site.numerics)
        return {"m_y": m.value, "s_y": -m.shift}


class ElementwiseDsp(ElementwiseScalar):
    """ADD with SMMULR, where every operand and shift stays in its range."""

    name = "elementwise_s8_dsp"
    isa = "dsp"

    def why_not(self, site: Site) -> str | None:
        scaling = self.scaling(site)
        # ADD's operands stay under 2^29, MUL's products under 2^16: room for these left shifts, and for right shifts
        # of int32
        left = 0 if isinstance(site.op, Add) else 13
        worst = max(scaling[key] for key in scaling if key.startswith("s_"))
        if scaling["s_y"] < -left or worst > 30:
            return f"the output is shifted right by {scaling['s_y']}; {-left} to 30 are supported"
        return super().why_not(site)


def takes_over(x: Tensor, y: Tensor) -> bool:
    """Whether y, written in the order that x is read, may lie where x lies."""
    return not x.is_constant and x.bytes == y.bytes and x.shape == y.shape
