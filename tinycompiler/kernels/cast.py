"""CAST between the types that activations have."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from tinycompiler.kernels.base import Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.kernels.broadcasting import takes_over
from tinycompiler.ops import Cast
from tinycompiler.tensor import DType

C_TYPES: Mapping[DType, str] = MappingProxyType(
    {
        DType.BOOL: "uint8_t",
        DType.INT8: "int8_t",
        DType.UINT8: "uint8_t",
        DType.INT16: "tc_s16",
        DType.INT32: "tc_s32",
        DType.FLOAT32: "tc_f32",
    }
)
"""Types that may alias the arena's bytes."""


@dataclass(frozen=True)
class CastContext(Context):
    """Variables of kernels/cast.c.j2."""

    raw: ClassVar[bool] = True

    source: str
    target: str
    """C types."""
    how: str
    """truth (not zero), of_truth (from bool), saturate (float to integer), or plain."""
    low: str
    high: str
    not_a_number: str
    """Of the target where floats saturate, as C."""


class CastScalar(Kernel):
    """Runs everywhere; floats only where the network has them."""

    name = "cast_scalar"
    template = "cast"
    ops = (Cast,)

    def lower(self, site: Site) -> Lowered:
        x, y = site.inputs[0], site.outputs[0]
        assert isinstance(site.op, Cast)
        low = high = not_a_number = ""
        how = "truth" if y.dtype is DType.BOOL else "of_truth" if x.dtype is DType.BOOL else "plain"
        if x.dtype is DType.FLOAT32 and y.dtype not in (DType.FLOAT32, DType.BOOL):
            how, stem = "saturate", y.dtype.value.upper()
            low, high = "0" if y.dtype is DType.UINT8 else f"{stem}_MIN", f"{stem}_MAX"
            not_a_number = high if site.op.not_a_number(y.dtype, site.numerics) else "0"
        context = CastContext(C_TYPES[x.dtype], C_TYPES[y.dtype], how, low, high, not_a_number)
        fields: dict[str, Field] = {"count": y.elements}
        in_place = (x.name,) if takes_over(x, y) else ()
        # whether a float is 0, and 0.0 or 1.0 of a bool, can be told without arithmetic, but compilers need not
        floats = DType.FLOAT32 in (x.dtype, y.dtype) and x.dtype is not y.dtype
        return Lowered(
            inner=(),
            context=context,
            invocations=(Invocation((x.name, y.name), fields),),
            in_place=in_place,
            floating_point="single" if floats else "",
        )
