"""BATCH_MATMUL, and FULLY_CONNECTED whose weights are computed at run time: rows of one times columns of another.

Both operands are read where they lie, by strides, so a transposed one costs nothing and there is no scratch.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from tinycompiler.fixed_point import quantize_multiplier
from tinycompiler.kernels.base import Constant, Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.kernels.geometry import clamp_of
from tinycompiler.kernels.requantize import prove_once
from tinycompiler.ops import BatchMatMul, Clamp, DynamicFullyConnected, Numerics
from tinycompiler.ops.convolution import bias_of, constants
from tinycompiler.ops.fully_connected import real_scales
from tinycompiler.ops.matmul import GREATEST_RANK
from tinycompiler.tensor import DType

BATCH_LOOPS = GREATEST_RANK - 2


@dataclass(frozen=True)
class MatMulContext(Context):
    """Variables of kernels/matmul.c.j2."""

    rounding: str
    """twice | once | real: see kernels/requantize.py."""
    bias: bool
    contiguous: bool
    """The values of a row of a, and of a column of b, are neighbours."""


@dataclass(frozen=True)
class Strides:
    """How an operand is walked, in elements: from batch to batch in each loop, line to line, value to value."""

    batch: list[int]
    line: int
    value: int


def strides(shape: tuple[int, ...], batches: tuple[int, ...], lines_first: bool) -> Strides:
    """Of an operand whose batches are broadcast to `batches`; its lines are its rows, or else its columns."""
    padded = (1,) * (len(batches) - len(shape[:-2])) + shape[:-2]
    matrix = shape[-2] * shape[-1]
    steps = [0 if n == 1 else prod(padded[i + 1 :]) * matrix for i, n in enumerate(padded)]
    steps = [0] * (BATCH_LOOPS - len(steps)) + steps
    return Strides(steps, shape[-1], 1) if lines_first else Strides(steps, 1, shape[-1])


class MatMul(Kernel):
    """Runs everywhere."""

    name = "matmul_s8_scalar"
    template = "matmul"
    ops = (BatchMatMul, DynamicFullyConnected)
    types = (DType.INT8,)

    def lower(self, site: Site) -> Lowered:
        op, (a, b), y, clamp = site.op, site.inputs[:2], site.outputs[0], clamp_of(site.op)
        if isinstance(op, BatchMatMul):
            batches, (rows, columns) = y.shape[:-2], y.shape[-2:]
            depth = a.shape[-2] if op.adj_x else a.shape[-1]
            walk_a = strides(a.shape, batches, lines_first=not op.adj_x)
            walk_b = strides(b.shape, batches, lines_first=op.adj_y)
        else:
            (columns, depth), batches = b.shape, ()
            rows = a.elements // depth
            walk_a, walk_b = strides((rows, depth), (), lines_first=True), strides(b.shape, (), lines_first=True)
        rounding, scaling = self.scaling(site, clamp)
        fields: dict[str, Field] = {
            "batches": [1] * (BATCH_LOOPS - len(batches)) + list(batches),
            "batch_a": walk_a.batch,
            "batch_b": walk_b.batch,
            "rows": rows,
            "columns": columns,
            "depth": depth,
            "row_a": walk_a.line,
            "step_a": walk_a.value,
            "column_b": walk_b.line,
            "step_b": walk_b.value,
            "zero_a": a.zero_point,
            "zero_b": b.zero_point,
            "zero_y": y.zero_point,
            "low": clamp.low,
            "high": clamp.high,
            **scaling,
        }
        for name, tensor in (("constant_a", a), ("constant_b", b)):
            if tensor.data is not None:
                fields[name] = Constant(tensor.data.reshape(-1))
        has_bias = len(site.inputs) > 2
        if has_bias:
            fields["bias"] = Constant(bias_of(site.inputs, constants(site.inputs), columns).astype(np.int32))
        context = MatMulContext(rounding, has_bias, contiguous=walk_a.value == walk_b.value == 1)
        inner = ("requantize", *(("real",) * (rounding == "real")))
        invocation = Invocation((a.name, b.name, y.name), fields)
        return Lowered(inner, context, (invocation,), floating_point="double" if rounding == "real" else "")

    def scaling(self, site: Site, clamp: Clamp) -> tuple[str, dict[str, Field]]:
        """The rounding and its numbers."""
        op, y = site.op, site.outputs[0]
        if isinstance(op, BatchMatMul):
            m = op.multiplier(site.inputs, site.outputs)
            return "twice", {"multiplier": m.value, "shift": -m.shift}
        assert isinstance(op, DynamicFullyConnected)
        real = real_scales(site.inputs, site.outputs)[0]
        m = quantize_multiplier(real)
        if site.numerics is Numerics.TFLM:
            return "twice", {"multiplier": m.value, "shift": -m.shift}
        arrays = (np.array([m.value]), np.array([-m.shift]), np.array([real]), np.array([op.reach(site.inputs)]))
        proved = prove_once(*arrays, Clamp(clamp.low - y.zero_point, clamp.high - y.zero_point))
        if proved is not None:
            return "once", {"multiplier": int(proved[0]), "shift": -m.shift}
        return "real", {"scale": np.array([real]).view(np.uint32).tolist()}
