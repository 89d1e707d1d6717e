"""From an int32 accumulator to int8 by products of 32 bits, for cores on which a product of 64 bits is slow or missing.

    y = (floor(acc · M / 2^(bits · (parts - 1))) + C - (2^(bits - 1) where signed and acc < 0)) >> shift, saturated

M is cut into a few parts of `bits` bits, so that no product with an accumulator leaves 32 bits; from the lowest part
on, each product takes the one before, shifted right by `bits`, so that the floor above is exact.

The reference's own roundings do not matter here: as a function of the accumulator it never decreases and has 255 steps
at most, and neither does the short form. M is tried next to the real scale, and C follows from the steps: between which
numbers it lies for all of them to be taken where the reference takes them. If there is such a number, both agree on
every reachable accumulator; that is the proof. TFLite rounds halves away from zero after it has rounded once already,
so that its steps below zero come a little later; the `signed` form makes up for that.

Chosen: a proof of the steps, instead of the reference's arithmetic in fewer instructions, because M needs few bits
beyond those of the steps' places.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tinycompiler.fixed_point import multiply_by_quantized_multiplier
from tinycompiler.kernels.base import Site, words
from tinycompiler.kernels.geometry import clamp_of
from tinycompiler.kernels.requantize import Requantization, first_accumulators
from tinycompiler.ops import Clamp
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array

Floats = NDArray[np.float64]

MOST_OUTPUT = 130
"""The zero point and rounding add less than this to an output."""
NEAR = 4
"""The reference, which may round twice, takes a step so far at most from where the real scale says."""
NUDGES = (0, 1, -1, 2, -2, 3, -3, 5, -5, 8, -8)
"""What is tried beside the nearest M."""


@dataclass(frozen=True)
class Form:
    """How M is cut, and whether sums below zero are made up for."""

    parts: int
    bits: int
    signed: bool = False

    @property
    def less(self) -> int:
        """What is taken off below zero."""
        return 1 << (self.bits - 1) if self.signed else 0

    def __str__(self) -> str:
        """The word for it in the names of inner loops."""
        return f"{self.parts}x{self.bits}{'s' * self.signed}"


ONCE = (Form(2, 12), Form(3, 10), Form(4, 8), Form(5, 6))
TWICE = (
    Form(2, 12),
    Form(2, 12, signed=True),
    Form(3, 10),
    Form(3, 10, signed=True),
    Form(4, 8, signed=True),
    Form(4, 8),
    Form(5, 6, signed=True),
)
"""What is tried, in this order, for the roundings of kernels/requantize.py: few forms, for little code."""


@dataclass(frozen=True, eq=False)
class ShortProducts:
    """Per channel: M's parts (channels, parts) from the lowest, C, shift."""

    form: Form
    parts: Ints
    constant: Ints
    shift: Ints

    def __call__(self, accumulators: Ints) -> Ints:
        """(channels, n) accumulators as outputs, before saturation."""
        scaled: Ints = np.zeros_like(accumulators)
        for part in self.parts.T:
            scaled = (scaled >> self.form.bits) + accumulators * part[:, None]
        scaled = scaled - self.form.less * (accumulators < 0)
        shifted: Ints = (scaled + self.constant[:, None]) >> self.shift[:, None]
        return shifted

    def stream(self, channels: Ints) -> Array:
        """Words for each of `channels`, (n, 2 + parts): shift, M's parts, C."""
        return words(np.column_stack([self.shift, self.parts, self.constant])[channels])


def short_products(site: Site, r: Requantization) -> ShortProducts | None:
    """The node's requantization with as few parts as can be proved; None when five are too few."""
    y, clamp = site.outputs[0], clamp_of(site.op)
    arrays = (r.multiplier, r.shift, r.reach, np.where(r.constant, r.bias, 0), r.constant)
    key = tuple(tuple(v.tolist()) for v in arrays)
    return _proved(r.rounding, key, r.real, Clamp(clamp.low - y.zero_point, clamp.high - y.zero_point), y.zero_point)


def why_not(site: Site, r: Requantization) -> str | None:
    """The sentence for kernels that need it."""
    if short_products(site, r) is None:
        return "some channel's requantization has no form of five products of 32 bits that could be proved equal"
    return None


@lru_cache(maxsize=256)
def _proved(
    rounding: str, key: tuple[tuple[int, ...], ...], real: tuple[float, ...], clamp: Clamp, zero_point: int
) -> ShortProducts | None:
    multiplier, shift, reach, bias, constant = (np.array(v, np.int64) for v in key)
    if ((reach + 1) << np.clip(-shift, 0, 31) >= 2**31).any():
        return None  # the reference may wrap, and its steps are not in order
    once = bool(real) and rounding != "twice"
    scales = np.array(real) if once else multiplier * 2.0 ** (-31.0 - shift)
    steps = np.arange(clamp.low + 1, clamp.high + 1, dtype=np.int64)
    first = _first_in_double(steps, scales, reach) if once else _first(steps, scales, multiplier, shift, reach)
    if first is None or (scales <= 0).any():
        return None
    never = constant != 0  # changes: a channel without weights
    fixed = clamp.low + zero_point + (first <= bias[:, None]).sum(axis=1)
    for form in ONCE if once else TWICE:
        found = _search(form, shift, scales, np.where(never, 0, reach), first, steps + zero_point, never)
        if found is not None:
            parts = np.where(never[:, None], 0, found.parts)
            alone = (fixed << found.shift) + form.less * (bias < 0)  # the accumulator is the bias
            fixed_constant = np.where(never, alone, found.constant)
            return ShortProducts(form, parts, fixed_constant, found.shift)
    return None


def _first_in_double(steps: Ints, scales: Floats, reach: Ints) -> Ints:
    """As `_first`, of the reference that multiplies in double."""
    return np.clip(first_accumulators(steps, scales), -reach[:, None], reach[:, None] + 1)


def _first(steps: Ints, scales: Floats, value: Ints, shift: Ints, reach: Ints) -> Ints | None:
    """(channels, steps): the least accumulator within reach, or one beyond, from which the reference takes a step.

    None when it is not where it is looked for.
    """
    low, high = -reach[:, None], reach[:, None] + 1
    guess = np.ceil((steps - 0.5) / np.maximum(scales, 2.0**-40)[:, None]).clip(-(2.0**40), 2.0**40).astype(np.int64)
    first: Ints = np.broadcast_to(high, guess.shape)
    for offset in range(NEAR, -NEAR - 1, -1):
        tried = np.clip(guess + offset, low, high)
        reached = multiply_by_quantized_multiplier(tried, value[:, None], -shift[:, None]) >= steps
        if offset == NEAR and (~reached & (tried < high)).any():
            return None
        if offset == -NEAR and (reached & (tried > low)).any():
            return None
        first = np.where(reached, tried, first)
    return first


def _search(
    form: Form, twice: Ints, scales: Floats, reach: Ints, first: Ints, outputs: Ints, free: NDArray[np.bool_]
) -> ShortProducts | None:
    """M and C, with which every step to `outputs` is where `first` says; channels that are `free` of steps take any.
    `twice`: by how much the reference shifts after its first rounding.
    """
    whole, most = form.bits * (form.parts - 1), np.int64(1) << (form.bits * form.parts)
    room = 2.0**31 / (reach * scales + MOST_OUTPUT) - 2.0  # of 32 bits, for the output with the zero point in it
    free_shift = np.minimum(np.ceil(form.bits - np.log2(scales)) - 1, np.floor(np.log2(np.maximum(room, 1.0))))
    shift = twice + form.bits - 1 if form.signed else np.maximum(free_shift, 0).astype(np.int64)
    nearest = np.round(np.minimum(scales * 2.0 ** (whole + shift), 2.0**62)).astype(np.int64)
    if (reach << form.bits >= 2**31).any() or (nearest >= most).any() or ((shift < 0) | (shift > 30)).any():
        return None
    m, constant, done = nearest.copy(), np.zeros_like(nearest), free.copy()
    for nudge in NUDGES:
        tried = np.clip(nearest + nudge, 0, most - 1)
        low, high = _constants(tried, whole, shift, form.less, reach, first, outputs)
        middle = (low + high) >> 1
        ends = np.stack([(reach * tried >> whole) + middle, (-reach * tried >> whole) + middle - form.less, middle])
        fits = (low <= high) & (np.abs(ends) < 2**31).all(axis=0) & ~done
        m, constant, done = np.where(fits, tried, m), np.where(fits, middle, constant), done | fits
        if done.all():
            parts = np.column_stack([(m >> (form.bits * part)) & ((1 << form.bits) - 1) for part in range(form.parts)])
            return ShortProducts(form, parts, constant, shift)
    return None


def _constants(
    m: Ints, whole: int, shift: Ints, less: int, reach: Ints, first: Ints, outputs: Ints
) -> tuple[Ints, Ints]:
    """Between which C, both included, every step is taken where it should be; the first is the larger where there is
    none. `less`: what is taken off below zero.
    """
    wanted = outputs << shift[:, None]
    reached = first <= reach[:, None]
    missed = first > -reach[:, None]
    scaled, before = ((acc * m[:, None] >> whole) - less * (acc < 0) for acc in (first, first - 1))
    low = np.where(reached, wanted - scaled, -(2**31) + 1).max(axis=1, initial=-(2**31) + 1)
    high = np.where(missed, wanted - 1 - before, 2**31 - 1).min(axis=1, initial=2**31 - 1)
    return low, high
