"""LceQuantize, LceDequantize and LceBMaxPool2d: bits from values, values from bits, and bits from bits."""

from dataclasses import dataclass
from typing import ClassVar

from tinycompiler.kernels.base import Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.kernels.cast import C_TYPES
from tinycompiler.kernels.order import by_pixels, by_windows
from tinycompiler.ops import LceBMaxPool2d, LceDequantize, LceQuantize
from tinycompiler.tensor import DType


@dataclass(frozen=True)
class BitsContext(Context):
    """Variables of kernels/lce_quantize.c.j2 and kernels/lce_dequantize.c.j2."""

    raw: ClassVar[bool] = True

    c_type: str
    """Of the values."""
    positive: bool
    """The zero point of int8 values is 0 or more."""
    whole: bool
    """Words have no bits beyond the channels."""


@dataclass(frozen=True)
class BitPoolContext(Context):
    """kernels/lce_max_pool.c.j2 has no variables."""


class LceQuantizeScalar(Kernel):
    """Runs everywhere; four int8 values at a time."""

    name = "lce_quantize"
    template = "lce_quantize"
    ops = (LceQuantize,)

    def lower(self, site: Site) -> Lowered:
        x, y = site.inputs[0], site.outputs[0]
        channels, zero_point = x.shape[-1], x.zero_point if x.dtype is DType.INT8 else 0
        bound = (zero_point + 128) * 0x01010101
        fields: dict[str, Field] = {"pixels": x.elements // channels, "channels": channels, "bound": bound & 0x7F7F7F7F}
        if x.dtype is DType.INT8:
            fields["zero_point"] = zero_point
        context = BitsContext(C_TYPES[x.dtype], zero_point >= 0, channels % 32 == 0)
        order = by_pixels(x, y, x.elements // channels, together=1, apart=False)
        floats = "single" if x.dtype is DType.FLOAT32 else ""
        return Lowered((), context, (Invocation((x.name, y.name), fields),), floating_point=floats, order=order)


class LceDequantizeScalar(Kernel):
    """Runs everywhere."""

    name = "lce_dequantize"
    template = "lce_dequantize"
    ops = (LceDequantize,)

    def lower(self, site: Site) -> Lowered:
        x, y = site.inputs[0], site.outputs[0]
        assert isinstance(site.op, LceDequantize)
        channels = y.shape[-1]
        plus, minus = (int(v) for v in site.op.images(y))
        fields: dict[str, Field] = {
            "pixels": y.elements // channels,
            "channels": channels,
            "plus": plus,
            "minus": minus,
        }
        context = BitsContext(C_TYPES[y.dtype], True, channels % 32 == 0)
        floats = "single" if y.dtype is DType.FLOAT32 else ""
        return Lowered((), context, (Invocation((x.name, y.name), fields),), floating_point=floats)


class LceMaxPoolScalar(Kernel):
    """Runs everywhere, a word at a time."""

    name = "lce_max_pool_2d"
    template = "lce_max_pool"
    ops = (LceBMaxPool2d,)

    def lower(self, site: Site) -> Lowered:
        op, x, y = site.op, site.inputs[0], site.outputs[0]
        assert isinstance(op, LceBMaxPool2d)
        (n, in_h, in_w, words), (_, out_h, out_w, _) = x.shape, y.shape
        fields: dict[str, Field] = {
            "batches": n,
            "in_h": in_h,
            "in_w": in_w,
            "words": words,
            "out_h": out_h,
            "out_w": out_w,
            "kernel_h": op.window.kernel[0],
            "kernel_w": op.window.kernel[1],
            "stride_h": op.window.stride[0],
            "stride_w": op.window.stride[1],
            "pad_top": op.window.padding.top,
            "pad_left": op.window.padding.left,
        }
        order = by_windows(x, y, op.window, together=1, apart=False)
        return Lowered((), BitPoolContext(), (Invocation((x.name, y.name), fields),), order=order)
