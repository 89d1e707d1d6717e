"""ADD and SUB of two int8 tensors of equal shape as two multiplications: y = (C + (A·a >> 16) + (B·b >> 16)) >> 16.

The reference scales both operands and the sum, with three roundings. As a function of 65,536 pairs it is nearly linear,
and coefficients are searched here for which the short form gives the reference's value for *every* pair; that is tried
out, so it is a proof. What slack the values of all pairs leave between them is a concave function of the two slopes,
so climbing finds the best.

Chosen: a search with proof, instead of the reference's own steps in fewer instructions, because no exact rewriting of
three roundings comes near: 6 instructions per element, 55 step by step. Where no coefficients are found, another kernel
does it step by step.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tinycompiler.kernels.base import Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.kernels.broadcasting import takes_over
from tinycompiler.kernels.geometry import clamp_of
from tinycompiler.ops import Add, Clamp, Numerics, Sub
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import DType, Quantization, Tensor

Floats = NDArray[np.float64]

FRACTION = 16
"""Bits after the point of the sum."""
RAISED = 8
"""Bits by which the operands stand higher in their half-words."""
ENOUGH = 4 / (1 << FRACTION)
"""Slack: rounding the coefficients and both products loses less."""
NEAR = 0.02
"""Slack of pairs that are looked at while climbing: further ones cannot come to matter."""
MISSES = 8
"""Directions that do not help before the step is halved."""


@dataclass(frozen=True)
class AddContext(Context):
    """Variables of kernels/add_s8.c.j2."""

    clamped: bool


@dataclass(frozen=True)
class Fit:
    """The coefficients."""

    constant: int
    a: int
    b: int

    def __call__(self, a: Ints, b: Ints) -> Ints:
        """The short form, before saturation. Shapes broadcast."""
        raised_a, raised_b = a << RAISED, b << RAISED
        total: Ints = self.constant + (self.a * raised_a >> 16) + (self.b * raised_b >> 16)
        return total


def every_pair() -> tuple[Ints, Ints]:
    """All values of a as (256, 1), all of b as (1, 256)."""
    values = np.arange(-128, 128, dtype=np.int64)
    return values[:, np.newaxis], values[np.newaxis, :]


@dataclass(frozen=True, eq=False)
class Plane:
    """The operator, nearly: constant + by_a·a + by_b·b, rounded down, with any constant from `low` to `high`."""

    wanted: Ints
    """Its results for every pair, (256, 256)."""
    by_a: float
    by_b: float
    low: float
    high: float


def plane_of(site: Site) -> Plane | None:
    """The node as a plane that has the value of every pair; None when none was found."""
    a, b = site.inputs
    y = site.outputs[0]
    numbers = tuple((t.scale, t.zero_point) for t in (a, b, y))
    return _plane(isinstance(site.op, Sub), numbers, clamp_of(site.op))


@lru_cache(maxsize=256)
def _plane(subtracts: bool, numbers: tuple[tuple[float, int], ...], clamp: Clamp) -> Plane | None:
    wanted = _reference(subtracts, numbers, clamp)
    (scale_a, _), (scale_b, _), (scale_y, _) = numbers
    slopes = _climb(wanted, scale_a / scale_y, (-scale_b if subtracts else scale_b) / scale_y, clamp)
    low, high = _bounds(wanted, *slopes, clamp)
    return Plane(wanted, *slopes, low, high) if low < high else None


def fit_of(site: Site) -> Fit | None:
    """Coefficients for the node, proved on every pair; None when none were found."""
    plane = plane_of(site)
    return None if plane is None else _fit(plane, clamp_of(site.op))


@lru_cache(maxsize=256)
def _fit(plane: Plane, clamp: Clamp) -> Fit | None:
    unit = 1 << FRACTION
    by_a, by_b = (round(slope * unit * (1 << (16 - RAISED))) for slope in (plane.by_a, plane.by_b))
    middle = round((plane.low + plane.high) / 2 * unit)
    for change in sorted(product(range(-2, 3), repeat=3), key=lambda c: sum(map(abs, c))):
        fit = Fit(middle + 1 + change[0], by_a + change[1], by_b + change[2])
        if _proves(fit, plane.wanted, clamp):
            return fit
    return None


def _proves(fit: Fit, wanted: Ints, clamp: Clamp) -> bool:
    """Whether the short form has the wanted value for every pair, and no step of it overflows."""
    if max(abs(fit.a), abs(fit.b)) >= 2**31:
        return False
    total = fit(*every_pair())
    return bool(np.abs(total).max() < 2**31 and (np.clip(total >> FRACTION, clamp.low, clamp.high) == wanted).all())


def _reference(subtracts: bool, numbers: tuple[tuple[float, int], ...], clamp: Clamp) -> Ints:
    """The operator's result for every pair, (256, 256)."""
    a, b = every_pair()
    grid = [np.broadcast_to(v, (256, 256)).astype(np.int8) for v in (a, b)]
    quantized = [Quantization((scale,), zero_point) for scale, zero_point in numbers]
    tensors = [Tensor(name, (256, 256), DType.INT8, q) for name, q in zip("aby", quantized, strict=True)]
    op = (Sub if subtracts else Add)(clamp)
    return op.evaluate(tensors[:2], tensors[2:], grid, Numerics.LITERT)[0].astype(np.int64)


def _bounds(wanted: Ints, by_a: float, by_b: float, clamp: Clamp) -> tuple[float, float]:
    """Between which constants every pair gets its value, if the first is the smaller."""
    a, b = every_pair()
    rest: Floats = by_a * a + by_b * b
    low = float(np.where(wanted > clamp.low, wanted - rest, -np.inf).max())
    high = float(np.where(wanted < clamp.high, wanted + 1 - rest, np.inf).min())
    if low == -np.inf:  # every value is the lowest, or every one the highest
        low = high - 1 if high < np.inf else float(clamp.high - rest.min())
    return low, min(high, low + 256)


def _climb(wanted: Ints, by_a: float, by_b: float, clamp: Clamp) -> tuple[float, float]:
    """Slopes with much slack, near the real ones: along random directions while that helps, then with smaller steps.

    So near, only the pairs that leave little slack matter.
    """
    a, b = every_pair()
    rest = by_a * a + by_b * b
    low, high = _bounds(wanted, by_a, by_b, clamp)
    lower = (wanted > clamp.low) & (wanted - rest > low - NEAR)
    upper = (wanted < clamp.high) & (wanted + 1 - rest < high + NEAR)
    points = np.stack([np.broadcast_to(v, wanted.shape) for v in (a, b)]).astype(np.float64)
    under, over = points[:, lower], points[:, upper]
    floor, ceiling = (wanted - rest)[lower], (wanted + 1 - rest)[upper]

    def slack(step: Floats) -> float:
        """Of slopes that far from the real ones."""
        if not floor.size or not ceiling.size:
            return np.inf
        return float((ceiling - step @ over).min() - (floor - step @ under).max())

    rng = np.random.default_rng(0)
    best, size, misses = np.zeros(2), 2.0**-16, 0
    found = slack(best)
    while found < ENOUGH and size > 2.0**-34:
        direction = rng.normal(size=2)
        direction *= size / np.linalg.norm(direction)
        value, step = max((slack(best + sign * direction), sign) for sign in (-1, 1))
        if value > found:
            found, best, size, misses = value, best + step * direction, 1.5 * size, 0
        else:
            misses += 1
            if misses > MISSES:
                size, misses = size / 2, 0
    return by_a + float(best[0]), by_b + float(best[1])


NO_FIT = "no coefficients were found that give the reference's value for all 65,536 pairs"


def operands_why_not(site: Site) -> str | None:
    """What is asked of the operands."""
    if any(t.is_constant for t in site.inputs):
        return "an operand is a constant"
    if any(t.shape != site.outputs[0].shape for t in site.inputs):
        return "an operand is broadcast"
    return None


class AddDsp(Kernel):
    """Armv7E-M and Armv8-M with DSP: four elements at a time."""

    name = "add_s8_fitted"
    template = "add_s8"
    isa = "dsp"
    ops = (Add, Sub)
    types = (DType.INT8,)

    def why_not(self, site: Site) -> str | None:
        return operands_why_not(site) or (NO_FIT if fit_of(site) is None else None)

    def lower(self, site: Site) -> Lowered:
        (a, b), y = site.inputs, site.outputs[0]
        clamp, fit = clamp_of(site.op), fit_of(site)
        assert fit is not None
        fields: dict[str, Field] = {"constant": fit.constant, "m_a": fit.a, "m_b": fit.b, "count": y.elements}
        if not clamp.is_natural:
            fields |= {"low": clamp.low, "high": clamp.high}
        in_place = tuple(t.name for t in (a, b) if takes_over(t, y))
        context = AddContext(not clamp.is_natural)
        return Lowered(("add",), context, (Invocation((a.name, b.name, y.name), fields),), in_place=in_place)
