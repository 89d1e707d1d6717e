"""QUANTIZE and DEQUANTIZE at float32 edges, in the device's own IEEE single precision."""

from dataclasses import dataclass

from tinycompiler.kernels.base import Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.ops import Dequantize, Quantize
from tinycompiler.tensor import DType


@dataclass(frozen=True)
class EdgeContext(Context):
    """Variables of kernels/quantize.c.j2 and kernels/dequantize.c.j2."""

    c_type: str
    """Of the integer side, as the arena's bytes are accessed."""
    low: int
    high: int
    bound: int
    """Of quotients, in float: far enough that what is beyond is saturated."""


def edge_context(dtype: DType) -> EdgeContext:
    if dtype is DType.INT16:
        return EdgeContext("tc_s16", *dtype.range, bound=65536)
    return EdgeContext(dtype.c_type, *dtype.range, bound=1024)


class QuantizeFloat(Kernel):
    """float32 to 8 bits."""

    name = "quantize_f32"
    template = "quantize"
    ops = (Quantize,)

    def lower(self, site: Site) -> Lowered:
        x, y = site.inputs[0], site.outputs[0]
        fields: dict[str, Field] = {"scale": y.scale, "zero_point": y.zero_point, "count": y.elements}
        invocation = Invocation((x.name, y.name), fields)
        return Lowered((), edge_context(y.dtype), (invocation,), floating_point="single")


class DequantizeFloat(Kernel):
    """8 bits to float32."""

    name = "dequantize_f32"
    template = "dequantize"
    ops = (Dequantize,)

    def lower(self, site: Site) -> Lowered:
        x, y = site.inputs[0], site.outputs[0]
        fields: dict[str, Field] = {"scale": x.scale, "zero_point": x.zero_point, "count": y.elements}
        invocation = Invocation((x.name, y.name), fields)
        return Lowered((), edge_context(x.dtype), (invocation,), floating_point="single")
