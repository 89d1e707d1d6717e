"""QUANTIZE and DEQUANTIZE at float32 edges, in the device's own IEEE single precision."""

from dataclasses import dataclass

from tinycompiler.kernels.base import Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.ops import Dequantize, Quantize
from tinycompiler.tensor import DType


@dataclass(frozen=True)
class EdgeContext(Context):
    """Variables of kernels/quantize.c.j2 and kernels/dequantize.c.j2."""

    c_type: str
    """Of the 8-bit side."""
    low: int
    high: int


def edge_context(dtype: DType) -> EdgeContext:
    return EdgeContext(dtype.c_type, *dtype.range)


class QuantizeFloat(Kernel):
    """float32 to 8 bits."""

    name = "quantize_f32"
    template = "quantize"
    ops = (Quantize,)

    def lower(self, site: Site) -> Lowered:
        x, y = site.inputs[0], site.outputs[0]
        fields: dict[str, Field] = {"scale": y.scale, "zero_point": y.zero_point, "count": y.elements}
        return Lowered((), edge_context(y.dtype), (Invocation((x.name, y.name), fields),))


class DequantizeFloat(Kernel):
    """8 bits to float32."""

    name = "dequantize_f32"
    template = "dequantize"
    ops = (Dequantize,)

    def lower(self, site: Site) -> Lowered:
        x, y = site.inputs[0], site.outputs[0]
        fields: dict[str, Field] = {"scale": x.scale, "zero_point": x.zero_point, "count": y.elements}
        return Lowered((), edge_context(x.dtype), (Invocation((x.name, y.name), fields),))
