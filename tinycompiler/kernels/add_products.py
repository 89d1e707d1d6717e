"""ADD and SUB as in kernels/add.py, with products of 32 bits: y = (C + A·a + B·b) >> shift, saturated.

Nothing is shifted before it is added, so that the coefficients are as fine as 32 bits allow, on any core.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from tinycompiler.kernels.add import NO_FIT, AddContext, Plane, every_pair, operands_why_not, plane_of
from tinycompiler.kernels.base import Field, Invocation, Kernel, Lowered, Site
from tinycompiler.kernels.broadcasting import takes_over
from tinycompiler.kernels.geometry import clamp_of
from tinycompiler.ops import Add, Clamp, Sub
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import DType

MOST_SHIFT = 24


@dataclass(frozen=True)
class Products:
    """The coefficients."""

    constant: int
    a: int
    b: int
    shift: int

    def __call__(self, a: Ints, b: Ints) -> Ints:
        """The sum, before it is shifted and saturated. Shapes broadcast."""
        total: Ints = self.constant + self.a * a + self.b * b
        return total


def products_of(site: Site) -> Products | None:
    """Coefficients for the node, proved on every pair; None when none were found."""
    plane = plane_of(site)
    return None if plane is None else _search(plane, clamp_of(site.op))


@lru_cache(maxsize=256)
def _search(plane: Plane, clamp: Clamp) -> Products | None:
    middle, a, b = (plane.low + plane.high) / 2, *every_pair()
    largest = float(np.abs(middle + plane.by_a * a + plane.by_b * b).max())
    shift = min(MOST_SHIFT, math.floor(31 - math.log2(max(largest, 1.0) + 0.01)))
    constant, by_a, by_b = (round(v * 2.0**shift) for v in (middle, plane.by_a, plane.by_b))
    for change in sorted(product(range(-1, 2), repeat=3), key=lambda c: sum(map(abs, c))):
        found = Products(constant + change[0], by_a + change[1], by_b + change[2], shift)
        if _proves(found, plane.wanted, clamp):
            return found
    return None


def _proves(found: Products, wanted: Ints, clamp: Clamp) -> bool:
    """Whether the value of every pair is the wanted one, and its sum an int32, as all coefficients are."""
    total = found(*every_pair())
    largest = max(int(np.abs(total).max()), abs(found.constant), 128 * abs(found.a), 128 * abs(found.b))
    values = (total >> found.shift).clip(-128, 127).clip(clamp.low, clamp.high)
    return found.shift >= 0 and largest < 2**31 and bool((values == wanted).all())


class AddProducts(Kernel):
    """Runs everywhere."""

    name = "add_s8_products"
    template = "add_s8"
    ops = (Add, Sub)
    types = (DType.INT8,)

    def why_not(self, site: Site) -> str | None:
        return operands_why_not(site) or (NO_FIT if products_of(site) is None else None)

    def lower(self, site: Site) -> Lowered:
        (a, b), y = site.inputs, site.outputs[0]
        clamp, found = clamp_of(site.op), products_of(site)
        assert found is not None
        fields: dict[str, Field] = {"constant": found.constant, "m_a": found.a, "m_b": found.b, "shift": found.shift}
        fields["count"] = y.elements
        if not clamp.is_natural:
            fields |= {"low": clamp.low, "high": clamp.high}
        in_place = tuple(t.name for t in (a, b) if takes_over(t, y))
        context = AddContext(not clamp.is_natural)
        return Lowered(("add",), context, (Invocation((a.name, b.name, y.name), fields),), in_place=in_place)
