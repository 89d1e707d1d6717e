"""RESIZE_BILINEAR: positions are counted on the device, since they cost little a pixel and tables would cost flash."""

from dataclasses import dataclass

from tinycompiler.kernels.base import Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.ops import ResizeBilinear
from tinycompiler.tensor import DType


@dataclass(frozen=True)
class ResizeContext(Context):
    """kernels/resize_bilinear.c.j2 has no variables."""


class ResizeBilinearScalar(Kernel):
    """Four pixels, weighted down and then across: products stay below 2^31."""

    name = "resize_bilinear_s8"
    template = "resize_bilinear"
    ops = (ResizeBilinear,)
    types = (DType.INT8,)

    def lower(self, site: Site) -> Lowered:
        x, y, op = site.inputs[0], site.outputs[0], site.op
        assert isinstance(op, ResizeBilinear)
        (n, in_h, in_w, channels), (_, out_h, out_w, _) = x.shape, y.shape
        step_h, first_h = op.step(in_h, out_h)
        step_w, first_w = op.step(in_w, out_w)
        fields: dict[str, Field] = {
            "batches": n,
            "in_h": in_h,
            "in_w": in_w,
            "channels": channels,
            "out_h": out_h,
            "out_w": out_w,
            "step_h": step_h,
            "step_w": step_w,
            "first_h": first_h,
            "first_w": first_w,
        }
        return Lowered((), ResizeContext(), (Invocation((x.name, y.name), fields),))
