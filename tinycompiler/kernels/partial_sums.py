"""PARTIAL_SUMS: the int32 sums of a fully connected layer, as its inputs come some at a time; see splits.py."""

from dataclasses import dataclass

import numpy as np

from tinycompiler.fixed_point import quantize_multiplier
from tinycompiler.kernels.base import Constant, Context, Field, Invocation, Kernel, Lowered, Site, round_up, words
from tinycompiler.kernels.order import Touch
from tinycompiler.kernels.requantize import prove_once
from tinycompiler.ops import Clamp, Numerics, PartialSums
from tinycompiler.ops.base import Ints, signed
from tinycompiler.ops.fully_connected import real_scales
from tinycompiler.tensor import Array


@dataclass(frozen=True)
class PartialSumsContext(Context):
    """Variables of kernels/partial_sums.c.j2."""

    added: bool
    """There are sums so far."""
    rounding: str
    """Of the outputs, see kernels/requantize.py; empty: sums are the output."""
    header: int
    """Words before a unit's weights."""


class PartialSumsScalar(Kernel):
    """Runs everywhere. The sums so far are read before their place is written."""

    name = "partial_sums_s8"
    template = "partial_sums"
    ops = (PartialSums,)

    def lower(self, site: Site) -> Lowered:
        op, y = site.op, site.outputs[0]
        assert isinstance(op, PartialSums)
        x, weights = site.inputs[0], signed(site.inputs[1].values)
        before = tuple(t.name for t in site.inputs[2:] if not t.is_constant)
        bias = sum((signed(t.values).reshape(-1) for t in site.inputs[2:] if t.is_constant), np.zeros(len(weights)))
        folded = np.asarray(bias, np.int64) - x.zero_point * weights.sum(axis=1)
        rounding, scaling = scaling_of(site) if op.total else ("", [])
        context = PartialSumsContext(bool(before), rounding, header=3 if op.total else 1)
        fields: dict[str, Field] = {
            "stream": Constant(packed(weights, [words(folded), *scaling])),
            "taps": weights.shape[1],
            "units": len(weights),
        }
        if op.total:
            fields |= {"zero_y": y.zero_point, "low": op.clamp.low, "high": op.clamp.high}
        return Lowered(
            inner=("requantize", *(("real",) * (rounding == "real"))) if op.total else (),
            context=context,
            invocations=(Invocation((x.name, *before, y.name), fields),),
            floating_point="double" if rounding == "real" else "",
            in_place=() if op.total else before,
            order=self.order(site, before) if op.total else (),
        )

    def order(self, site: Site, before: tuple[str, ...]) -> tuple[Touch, ...]:
        """Unit after unit, each from all of x and from its sum."""
        x, y = site.inputs[0], site.outputs[0]
        sums = [tuple((name, 4 * unit, 4 * unit + 4) for name in before) for unit in range(y.elements)]
        return tuple(
            Touch(((x.name, 0, x.bytes), *own), ((y.name, i, i + 1),), apart=True) for i, own in enumerate(sums)
        )


def packed(weights: Ints, header: list[Array]) -> Array:
    """Per unit the header's words, then its weights in whole words."""
    rows = np.zeros((len(weights), round_up(weights.shape[1], 4)), np.int8)
    rows[:, : weights.shape[1]] = weights
    return np.column_stack([*header, rows.view(np.uint32)]).astype(np.uint32).ravel()


def scaling_of(site: Site) -> tuple[str, list[Array]]:
    """The rounding, and two words for each unit: multiplier and shift, or a scale in double."""
    op, y = site.op, site.outputs[0]
    assert isinstance(op, PartialSums)
    real = real_scales(site.inputs, site.outputs)
    chosen = [quantize_multiplier(scale) for scale in real]
    value, shift = np.array([m.value for m in chosen], np.int64), -np.array([m.shift for m in chosen], np.int64)
    if site.numerics is Numerics.TFLM:
        return "twice", [words(value), words(shift)]
    bounds = Clamp(op.clamp.low - y.zero_point, op.clamp.high - y.zero_point)
    proved = prove_once(value, shift, np.array(real), np.array(op.reach, np.int64), bounds)
    if proved is None:
        return "real", [np.array(real, np.float64).view(np.uint32).reshape(-1, 2)]
    return "once", [words(proved), words(shift)]
