"""Values of int8 from counts of differing bits, without floats: numbers of an integer formula, proved on every count.

The reference computes float32(t) · m + c, rounds it, halves away from zero, and saturates; t is twice a count. The
formula is round((t · M + C) / 2^s), in 32 bits or, where those are too few for sums of thousands of products, in 64. M
and C are looked for near m · 2^s and c · 2^s, and taken when every count that can occur has its value.
"""

from functools import lru_cache

import numpy as np

from tinycompiler.ops.base import Ints
from tinycompiler.ops.binary import on_line, rounded
from tinycompiler.tensor import Array

LINE, WIDE = "line", "wide"
"""In 32 bits, in 64."""
STEEP = 256.0
"""A slope beyond goes from the least value to the greatest within one count, as this one does."""
TRIED = 6
"""Shifts, the finest first."""
NUDGES = {LINE: (0, 1, -1, 2, -2), WIDE: (0, *(sign << n for n in range(0, 17, 2) for sign in (1, -1)))}
MULTIPLIER_BITS, SUM_BITS = {LINE: 26, WIDE: 31}, {LINE: 31, WIDE: 55}
FAR = 2**60


@lru_cache(maxsize=64)  # every question about a node asks for the same
def formulas(twice: bytes, slope: bytes, constant: bytes) -> tuple[str, Array] | None:
    """The form, and of each channel the words M · 32 + s - 1 and C, or M, s - 1 and C as 64 bits; None where some
    channel has no formula. `twice`: (counts) int64, `slope` and `constant`: (channels) float32.
    """
    counts = np.frombuffer(twice, np.int64)
    channels = list(zip(*(np.frombuffer(v, np.float32) for v in (slope, constant)), strict=True))
    for form in (LINE, WIDE):
        found = [_line(form, counts, m, c) for m, c in channels]
        numbers = [line for line in found if line is not None]
        if len(numbers) == len(channels):
            return form, np.array([_words(form, *line) for line in numbers], np.int64).astype(np.uint32)
    return None


def _words(form: str, multiplier: int, shift: int, constant: int) -> tuple[int, ...]:
    if form == LINE:
        return multiplier * 32 + shift - 1, constant
    return multiplier, shift - 1, constant & 0xFFFFFFFF, constant >> 32


def _line(form: str, twice: Ints, m: np.float32, c: np.float32) -> tuple[int, int, int] | None:
    """M, s and C of one channel, tried on every count."""
    wanted, slope, constant = rounded(on_line(twice, m, c)).astype(np.int64), float(m), float(c)
    if abs(slope) > STEEP:
        slope, constant = _gentler(twice, wanted, slope)
    largest = max(abs(slope) * int(twice.max()) + abs(constant), 1.0)
    finest = min(SUM_BITS[form] - 2 - _log2(largest), MULTIPLIER_BITS[form] - 1 - _log2(abs(slope)), 48)
    for shift in range(finest, max(0, finest - TRIED), -1):
        for nudge in NUDGES[form]:
            multiplier = round(slope * 2**shift) + nudge
            products = twice * multiplier
            for candidate in _constants(products, wanted, shift, constant):
                exact = products + candidate
                found = (((exact - (exact < 0)) >> (shift - 1)) + 1) >> 1
                fits = max(np.abs(exact).max(), np.abs(products).max()) < 2 ** SUM_BITS[form] - 1
                if (
                    fits
                    and abs(multiplier) < 2 ** MULTIPLIER_BITS[form]
                    and (np.clip(found, -128, 127) == wanted).all()
                ):
                    return multiplier, shift, candidate
    return None


def _log2(value: float) -> int:
    return int(np.ceil(np.log2(max(value, 2.0**-40))))


def _gentler(twice: Ints, wanted: Ints, slope: float) -> tuple[float, float]:
    """A slope of STEEP and its constant, with which all counts but one at most are saturated too."""
    between = np.flatnonzero(np.abs(2 * wanted + 1) < 255)
    changes = np.flatnonzero(np.diff(wanted))
    steep = float(np.copysign(STEEP, slope))
    if between.size:
        return steep, float(wanted[between[0]] - steep * twice[between[0]])
    if changes.size:
        return steep, float(-steep * (twice[changes[0]] + twice[changes[0] + 1]) / 2)
    return 0.0, float(2 * wanted[0])


def _constants(products: Ints, wanted: Ints, shift: int, constant: float) -> tuple[int, ...]:
    """Constants that may suit: the nearest one, and the middle of those that suit halves which are rounded up."""
    half = 1 << (shift - 1)
    least = int(np.where(wanted > -128, wanted * 2 * half - half - products, -FAR).max())
    most = int(np.where(wanted < 127, wanted * 2 * half + half - 1 - products, FAR).min())
    nearest = round(constant * 2**shift)
    return nearest, min(max(nearest, least), most), (least + most) // 2
