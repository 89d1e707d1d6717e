"""What scaling an int32 accumulator by an integer multiplier needs, where the references do not check it."""

from tinycompiler.fixed_point import Multiplier

LIMIT = 2**31
"""Accumulators, also when shifted left, stay below it."""
ZERO_POINTS = 256
"""Room for the zero point that is added at the end."""


def scaling_why_not(reach: int, m: Multiplier, what: str = "a sum") -> str | None:
    """A sentence when an accumulator of magnitude `reach` takes a reference to undefined C++."""
    if reach >= LIMIT:
        return f"{what} can reach {reach:,} in an int32 accumulator (limit 2^31 - 1), where the references overflow"
    raised = reach << max(m.shift, 0)
    if raised >= LIMIT or (raised * m.value >> 31) >= LIMIT - ZERO_POINTS:
        return (
            f"{what} can reach {reach:,} and is shifted left by {m.shift}, where the references overflow: "
            "the output's scale is far too small; calibrate the network again"
        )
    return None
