"""AVERAGE_POOL_2D and MAX_POOL_2D."""

from dataclasses import dataclass

from tinycompiler.kernels.base import Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.kernels.geometry import clamp_of
from tinycompiler.kernels.order import by_windows
from tinycompiler.ops import AveragePool2D, MaxPool2D
from tinycompiler.ops.pooling import Pool2D
from tinycompiler.tensor import DType, Tensor


@dataclass(frozen=True)
class PoolContext(Context):
    """Variables of kernels/pool_2d.c.j2."""

    average: bool
    clamped: bool


def geometry_fields(op: Pool2D, x: Tensor, y: Tensor) -> dict[str, Field]:
    """Sizes and window, as the members of a pooling's constant struct."""
    window = op.window
    (n, in_h, in_w, c), (_, out_h, out_w, _) = x.shape, y.shape
    return {
        "batches": n,
        "in_h": in_h,
        "in_w": in_w,
        "channels": c,
        "out_h": out_h,
        "out_w": out_w,
        "kernel_h": window.kernel[0],
        "kernel_w": window.kernel[1],
        "stride_h": window.stride[0],
        "stride_w": window.stride[1],
        "pad_top": window.padding.top,
        "pad_left": window.padding.left,
    }


class PoolScalar(Kernel):
    """Runs everywhere, one channel at a time."""

    name = "pool_2d_s8_scalar"
    template = "pool_2d"
    ops = (AveragePool2D, MaxPool2D)
    types = (DType.INT8,)

    def lower(self, site: Site) -> Lowered:
        op, x, y = site.op, site.inputs[0], site.outputs[0]
        assert isinstance(op, Pool2D)
        clamp, fields = clamp_of(op), geometry_fields(op, x, y)
        if not clamp.is_natural:
            fields |= {"low": clamp.low, "high": clamp.high}
        context = PoolContext(average=isinstance(op, AveragePool2D), clamped=not clamp.is_natural)
        order = by_windows(x, y, op.window, together=1, apart=False)
        return Lowered(("pool",), context, (Invocation((x.name, y.name), fields),), order=order)


class PoolDsp(PoolScalar):
    """Four channels at a time: bytes compared in parallel, or sums in half-words."""

    name = "pool_2d_s8_dsp"
    isa = "dsp"

    def why_not(self, site: Site) -> str | None:
        assert isinstance(site.op, Pool2D)
        channels, (kh, kw) = site.inputs[0].shape[3], site.op.window.kernel
        if channels < 4:
            return f"there are {channels} channels; 4 or more are supported"
        if isinstance(site.op, AveragePool2D) and kh * kw > 256:
            return f"a window of {kh * kw} pixels can overflow sums of 16 bits; at most 256 are supported"
        return None
