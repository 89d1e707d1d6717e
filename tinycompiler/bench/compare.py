"""Two sets of figures compared: what grew, what shrank, what fails.

Instructions may grow by 1 % and each figure of bytes by 2 %; from nothing to something is too much. Cycles are shown
and never fail: they are an estimate, and follow its table. Shrinking never fails.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tinycompiler.bench.figures import BYTES, Figures, Key

LIMITS = {"instructions": 0.01, "cycles": None, **dict.fromkeys(BYTES, 0.02)}
"""Growth, as a share of the old figure, that passes."""


@dataclass(frozen=True)
class Change:
    """A figure that is not what it was."""

    key: Key
    figure: str
    old: int
    new: int

    @property
    def growth(self) -> float:
        """As a share of the old figure."""
        return (self.new - self.old) / self.old if self.old else float("inf")

    @property
    def fails(self) -> bool:
        limit = LIMITS[self.figure]
        return limit is not None and self.growth > limit


@dataclass(frozen=True)
class Comparison:
    """Every change, and what could not be compared."""

    changes: tuple[Change, ...]
    compared: int  # pairs
    notes: tuple[str, ...]

    @property
    def fails(self) -> bool:
        """Something grew too much, or nothing was compared at all: that is no reason to be content."""
        return not self.compared or any(change.fails for change in self.changes)


def compare(old: Sequence[Figures], new: Sequence[Figures]) -> Comparison:
    """What changed for each model and board that both have."""
    before = {figures.key: figures for figures in old}
    changes: list[Change] = []
    notes: list[str] = []
    compared = 0
    for after in new:
        reference = before.get(after.key)
        why = _incomparable(reference, after)
        if reference is None or why:
            notes.append(f"{name_of(after.key)}: not compared, {why}")
            continue
        compared += 1
        changes += _changes(reference, after)
        if reference.toolchain != after.toolchain:
            notes.append(f"{name_of(after.key)}: now by {after.toolchain}, before by {reference.toolchain}")
    return Comparison(tuple(changes), compared, tuple(notes))


def name_of(key: Key) -> str:
    """A key for people."""
    model, board, numerics, options = key
    return " ".join(part for part in (model, "on", board, "" if numerics == "litert" else numerics, options) if part)


def _incomparable(old: Figures | None, new: Figures) -> str:
    if old is None:
        return "it has no earlier figures"
    return "its file is another one now" if old.sha256 != new.sha256 else ""


def _changes(old: Figures, new: Figures) -> Iterator[Change]:
    pairs = [("instructions", old.instructions, new.instructions), ("cycles", old.cycles, new.cycles)]
    pairs += [(name, old.bytes[name], new.bytes[name]) for name in BYTES]
    for name, before, after in pairs:
        if before is not None and after is not None and before != after:
            yield Change(new.key, name, before, after)
