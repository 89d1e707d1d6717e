"""int16x8: kernels of operators without weights."""

from dataclasses import dataclass
from math import prod

import numpy as np

from tinycompiler.fixed_point import quantize_multiplier
from tinycompiler.kernels.base import Constant, Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.kernels.broadcasting import is_broadcast, loop_fields, loops_of, takes_over, why_not
from tinycompiler.kernels.geometry import clamp_of
from tinycompiler.kernels.pooling import geometry_fields
from tinycompiler.kernels.reduction import LOOPS, alternating
from tinycompiler.ops import (
    Add,
    AveragePool2D,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Relu,
    Relu6,
    Requantize,
    Softmax,
    Sub,
    Tanh,
    int16,
)
from tinycompiler.ops.activation import Rectifier, ratio
from tinycompiler.ops.base import Numerics
from tinycompiler.ops.pooling import Pool2D
from tinycompiler.tensor import DType, Tensor

ONLY_INT16 = (DType.INT16,)


# ADD, SUB and MUL.


@dataclass(frozen=True)
class ElementwiseContext16(Context):
    """Variables of kernels/elementwise_s16.c.j2."""

    operation: str
    """sum | shifted (a sum of power-of-two scales) | product"""
    sign: str
    """Of the second operand in a sum."""
    broadcast: bool


class ElementwiseScalar16(Kernel):
    """ADD, SUB and MUL, of equal shapes or broadcast."""

    name = "elementwise_s16_scalar"
    template = "elementwise_s16"
    ops = (Add, Mul, Sub)
    types = ONLY_INT16

    def why_not(self, site: Site) -> str | None:
        return why_not(loops_of([t.shape for t in site.inputs]))

    def lower(self, site: Site) -> Lowered:
        a, b = site.inputs
        y, clamp = site.outputs[0], clamp_of(site.op)
        loops = loops_of([a.shape, b.shape])
        operation, scaling = self.scaling(site)
        fields: dict[str, Field] = {**scaling, **loop_fields(loops, "ab"), "low": clamp.low, "high": clamp.high}
        for name, tensor in (("constant_a", a), ("constant_b", b)):
            if tensor.data is not None:
                fields[name] = Constant(tensor.data.reshape(-1))
        in_place = tuple(t.name for t in (a, b) if takes_over(t, y))
        invocation = Invocation((a.name, b.name, y.name), fields)
        context = ElementwiseContext16(operation, "-" if isinstance(site.op, Sub) else "+", is_broadcast(loops))
        return Lowered(("requantize",), context, (invocation,), in_place=in_place)

    def scaling(self, site: Site) -> tuple[str, dict[str, int]]:
        """The operation, and its multipliers and right shifts."""
        if isinstance(site.op, Add | Sub):
            by = site.op.shifts(site.inputs, site.outputs, site.numerics)
            if by is not None:
                return "shifted", {"s_a": -by[0], "s_b": -by[1]}
            a, b, y = site.op.multipliers(site.inputs, site.outputs)
            scaled = {"m_a": a.value, "s_a": -a.shift, "m_b": b.value, "s_b": -b.shift}
            return "sum", {**scaled, "m_y": y.value, "s_y": -y.shift}
        assert isinstance(site.op, Mul)
        m = site.op.multiplier(site.inputs, site.outputs, site.numerics)
        return "product", {"m_y": m.value, "s_y": -m.shift}


# Pooling and MEAN.


@dataclass(frozen=True)
class PoolContext16(Context):
    """Variables of kernels/pool_2d_s16.c.j2."""

    average: bool


class PoolScalar16(Kernel):
    """AVERAGE_POOL_2D and MAX_POOL_2D, one channel at a time."""

    name = "pool_2d_s16_scalar"
    template = "pool_2d_s16"
    ops = (AveragePool2D, MaxPool2D)
    types = ONLY_INT16

    def why_not(self, site: Site) -> str | None:
        assert isinstance(site.op, Pool2D)
        pixels = prod(site.op.window.kernel)
        if isinstance(site.op, AveragePool2D) and pixels > 65535:
            return f"a window of {pixels:,} pixels can overflow an int32 sum; at most 65,535 are supported"
        return None

    def lower(self, site: Site) -> Lowered:
        op, x, y = site.op, site.inputs[0], site.outputs[0]
        assert isinstance(op, Pool2D)
        clamp = clamp_of(op)
        fields: dict[str, Field] = {**geometry_fields(op, x, y), "low": clamp.low, "high": clamp.high}
        context = PoolContext16(average=isinstance(op, AveragePool2D))
        return Lowered((), context, (Invocation((x.name, y.name), fields),))


@dataclass(frozen=True)
class MeanContext16(Context):
    """kernels/mean_s16.c.j2 has no variables."""


class MeanScalar16(Kernel):
    """MEAN over any axes: sums with strides."""

    name = "mean_s16"
    template = "mean_s16"
    ops = (Mean,)
    types = ONLY_INT16

    def why_not(self, site: Site) -> str | None:
        assert isinstance(site.op, Mean)
        if len(alternating(site.inputs[0].shape, site.op.axes)) > LOOPS:
            return f"axes {site.op.axes} of shape {site.inputs[0].shape} interleave too often"
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
        }
        return Lowered(("requantize",), MeanContext16(), (Invocation((x.name, y.name), fields),))


# Functions of one value.


@dataclass(frozen=True)
class SoftmaxContext16(Context):
    """kernels/softmax_s16.c.j2 has no variables."""


class SoftmaxScalar16(Kernel):
    """Exponentials and the reciprocal of their sum from the references' tables, with straight lines between."""

    name = "softmax_s16"
    template = "softmax_s16"
    ops = (Softmax,)
    types = ONLY_INT16

    def lower(self, site: Site) -> Lowered:
        x, y = site.inputs[0], site.outputs[0]
        assert isinstance(site.op, Softmax)
        exponentials, reciprocals = int16.softmax_tables(site.numerics)
        m = int16.softmax_multiplier(x, site.op.beta)
        fields: dict[str, Field] = {
            "exponentials": Constant(exponentials, table=True),
            "reciprocals": Constant(reciprocals, table=True),
            "multiplier": m.value,
            "shift": -m.shift,
            "rows": x.elements // x.shape[-1],
            "depth": x.shape[-1],
        }
        in_place = (x.name,) if takes_over(x, y) else ()
        invocation = Invocation((x.name, y.name), fields)
        return Lowered(("requantize",), SoftmaxContext16(), (invocation,), in_place=in_place)


@dataclass(frozen=True)
class CurveContext16(Context):
    """Variables of kernels/curve_s16.c.j2."""

    tanh: bool


class CurveScalar16(Kernel):
    """LOGISTIC and TANH: straight lines between 256 values of the sigmoid, which all such nodes share."""

    name = "curve_s16"
    template = "curve_s16"
    ops = (Logistic, Tanh)
    types = ONLY_INT16

    def lower(self, site: Site) -> Lowered:
        x, y = site.inputs[0], site.outputs[0]
        tanh = isinstance(site.op, Tanh)
        multiplier, shift = int16.curve_multiplier(x.scale, (0, 1) if tanh else (0,))
        fields: dict[str, Field] = {
            "table": Constant(np.array(int16.sigmoid_table(), np.uint16), table=True),
            "multiplier": multiplier,
            "shift": shift,
            "count": y.elements,
        }
        in_place = (x.name,) if takes_over(x, y) else ()
        return Lowered((), CurveContext16(tanh), (Invocation((x.name, y.name), fields),), in_place=in_place)


@dataclass(frozen=True)
class RescaleContext(Context):
    """Variables of kernels/rescale.c.j2."""

    source: str
    target: str
    """C types."""


class Rescale(Kernel):
    """RELU, RELU6 and QUANTIZE where a table of 256 bytes does not do: multiply, round twice, clamp."""

    name = "rescale"
    template = "rescale"
    ops = (Relu, Relu6, Requantize)
    types = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32)

    def lower(self, site: Site) -> Lowered:
        op, x, y = site.op, site.inputs[0], site.outputs[0]
        (low, high), zero = y.dtype.range, y.zero_point
        if isinstance(op, Rectifier):
            unscaled = op.is_clamp_only(x, y, site.numerics)
            zero = x.zero_point if unscaled else zero
            clamp = op.clamp(x if isinstance(op, Relu6) and site.numerics is Numerics.TFLM else y)
            m, (low, high) = ratio(x, y, site.numerics), (clamp.low, clamp.high)
            m = quantize_multiplier(1.0) if unscaled else m
        else:
            assert isinstance(op, Requantize)
            m = op.multiplier(x, y)
        fields: dict[str, Field] = {
            "multiplier": m.value,
            "shift": -m.shift,
            "zero_x": x.zero_point,
            "zero_y": zero,
            "low": low,
            "high": high,
            "count": y.elements,
        }
        in_place = (x.name,) if takes_over(x, y) else ()
        context = RescaleContext(c_type(x), c_type(y))
        return Lowered(("requantize",), context, (Invocation((x.name, y.name), fields),), in_place=in_place)


def c_type(tensor: Tensor) -> str:
    """What the arena's bytes are accessed as."""
    return {DType.INT16: "tc_s16", DType.INT32: "tc_s32"}.get(tensor.dtype, tensor.dtype.c_type)
