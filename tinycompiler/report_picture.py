"""Where the marks of the report's pictures stand: the arena as rectangles, offset × step, and flash as a treemap.

Widths are percent and the arena's heights are pixels, so that text keeps its size whatever the width of the page; what
a mark is called at which width (`Labels`) is decided here too. Chosen instead of a view box, which scales text away on
a phone, and instead of a script that lays out, which would be a second place that computes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinycompiler.report_facts import short

ARENA_WIDTHS = (220, 430, 750)
"""Pixels that the arena has at least on a phone, on a tablet, on a desktop."""
MAP_WIDTHS = (320, 560, 920)
"""The treemap likewise."""
LETTER = 6.6
"""Pixels that a letter takes, on the average."""
LINE = 15
"""Pixels that a line of text needs."""
PAGE = 1400
"""Pixels that an arena of many steps is squeezed into."""
ROWS = (3, 26)
"""Pixels of a step: at least, at most."""
LABEL = (40, 14)
"""Percent of the arena that the peak's label and a tick take: on a phone, on a desktop."""
TOP = 24
"""Pixels above the first step, for the ticks."""
MAP = (100.0, 38.0)
"""Width and height of the treemap in units of 10 pixels, on a desktop."""
CRUMB = 0.004
"""Pieces under this share of flash are drawn as one."""

Labels = tuple[tuple[str, ...], ...]
"""The lines that a mark says on itself on a phone, a tablet, a desktop; none where nothing fits."""


@dataclass(frozen=True)
class Mark:
    """A rectangle: `x` and `width` in percent; `y` and `height` in pixels (arena) or percent (treemap)."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    told: str
    """Everything about it, in a sentence."""
    labels: Labels = ((), (), ())
    label_y: float = LINE
    """Pixels from its top to the foot of the first line."""


@dataclass(frozen=True)
class Row:
    """A step at the side of the arena."""

    name: str
    told: str
    together: int
    """Layers that go row by row together; 1 for a whole layer."""
    peak: bool


@dataclass(frozen=True)
class Arena:
    """The picture of the arena: steps from top to bottom, offsets from left to right."""

    row: float
    """Height of a step in pixels."""
    height: float
    rows: tuple[Row, ...]
    marks: tuple[Mark, ...]
    shared: tuple[Mark, ...]
    """Bytes of an output that begins under what it is made of."""
    ticks: tuple[tuple[float, int, bool], ...]
    """(percent, bytes, whether the peak's label covers it on a phone)"""
    bound: float
    """Percent of the arena that the peak demands."""


def arena(plan: Mapping[str, Any]) -> Arena | None:
    """The picture of `plan` in a report; None for an arena of no bytes."""
    size, steps = plan["arena"], plan["steps"]
    if not size:
        return None
    row = min(max(PAGE / max(len(steps), 1), ROWS[0]), ROWS[1])
    buffers = [b for b in plan["buffers"] if b["bytes"]]
    covered = {overlap["output"] for overlap in plan["overlaps"]}
    marks = [_buffer(b, plan, row, b["name"] in covered) for b in buffers]
    return Arena(
        row=row,
        height=TOP + row * max(len(steps), 1),
        rows=tuple(_row(step, number, plan) for number, step in enumerate(steps)),
        marks=tuple(marks),
        shared=tuple(_shared(buffers, plan, row)),
        ticks=tuple(_ticks(size, 100 * plan["lower_bound"] / size)),
        bound=100 * plan["lower_bound"] / size,
    )


def _row(step: Mapping[str, Any], number: int, plan: Mapping[str, Any]) -> Row:
    layers = step["layers"]
    told = f"step {number + 1}: {', row by row with '.join(layers)}; needs {step['bytes']:,} bytes"
    return Row(layers[0], told, len(layers), number == plan["peak_step"])


def _buffer(buffer: Mapping[str, Any], plan: Mapping[str, Any], row: float, covered: bool) -> Mark:
    """`covered`: its first step may lie under what it is made of, so that the label stands a step lower."""
    first, last = buffer["first_step"], buffer["last_step"]
    height = row * (last - first + 1)
    lower = row if covered and last > first else 0
    width = 100 * buffer["bytes"] / plan["arena"]
    name, size = short(buffer["name"]), f"{buffer['bytes']:,}"
    return Mark(
        x=100 * buffer["offset"] / plan["arena"],
        y=TOP + row * first,
        width=width,
        height=height,
        kind=buffer["kind"],
        told=_told(buffer, plan["steps"]),
        labels=_labels(((f"{name} {size}",), (size,)), width, height - lower, ARENA_WIDTHS),
        label_y=LINE + lower,
    )


def _told(buffer: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> str:
    first, last = buffer["first_step"], buffer["last_step"]
    when = f"step {first + 1}" if first == last else f"steps {first + 1} to {last + 1}"
    if steps:
        names = dict.fromkeys((steps[first]["layers"][0], steps[min(last, len(steps) - 1)]["layers"][-1]))
        when += f" ({' to '.join(names)})"
    others = [short(name) for name in buffer["tensors"] if name != buffer["name"]]
    more = f"; the same bytes are then {', then '.join(others)}" if others else ""
    return (
        f"{short(buffer['name'], 120)}: {buffer['kind']}, {buffer['bytes']:,} bytes at offset {buffer['offset']:,}, "
        f"{when}{more}"
    )


def _labels(choices: Sequence[tuple[str, ...]], width: float, height: float, widths: Sequence[int]) -> Labels:
    """At each width of the picture the first choice of lines that fits into `width` percent and `height` pixels."""
    rooms = [(width * pixels / 100 - 8) / LETTER for pixels in widths]
    return tuple(
        next((c for c in choices if len(c) * LINE <= height and max(map(len, c)) <= room), ()) for room in rooms
    )


def _shared(buffers: Sequence[Mapping[str, Any]], plan: Mapping[str, Any], row: float) -> Iterator[Mark]:
    by_name = {b["name"]: b for b in buffers}
    for overlap in plan["overlaps"]:
        pair = [by_name[overlap[key]] for key in ("output", "input") if overlap[key] in by_name]
        low = max(b["offset"] for b in pair)
        high = min(b["offset"] + b["bytes"] for b in pair)
        if len(pair) == 2 and low < high:
            x, width = 100 * low / plan["arena"], 100 * (high - low) / plan["arena"]
            yield Mark(x, TOP + row * pair[0]["first_step"], width, row, "shared", "")


def _ticks(size: int, bound: float) -> Iterator[tuple[float, int, bool]]:
    """A few round offsets, none where the peak's label stands: left of `bound` percent."""
    steps = (factor * 10**power for power in range(12) for factor in (1, 2, 5))
    step = next(s for s in steps if size <= 5 * s)
    for offset in range(0, size, step):
        x = 100 * offset / size
        if x <= 90 and not bound - LABEL[1] < x <= bound + 1:
            yield x, offset, bound - LABEL[0] < x <= bound


# Flash.


def treemap(pieces: Sequence[Mapping[str, Any]]) -> tuple[Mark, ...]:
    """Pieces of flash as areas, side by side by kind."""
    total = sum(piece["bytes"] for piece in pieces)
    kinds = dict.fromkeys(piece["kind"] for piece in sorted(pieces, key=lambda p: str(p["kind"])))
    by_kind = {kind: _crumbs([p for p in pieces if p["kind"] == kind], total) for kind in kinds}
    order = sorted(by_kind, key=lambda kind: -sum(p["bytes"] for p in by_kind[kind]))
    areas = _squarified([sum(p["bytes"] for p in by_kind[kind]) for kind in order], (0.0, 0.0, *MAP))
    marks = []
    for kind, area in zip(order, areas, strict=True):
        places = _squarified([p["bytes"] for p in by_kind[kind]], area)
        marks += [_piece(piece, place, total) for piece, place in zip(by_kind[kind], places, strict=True)]
    return tuple(marks)


def _crumbs(pieces: Sequence[Mapping[str, Any]], total: int) -> list[Mapping[str, Any]]:
    """Largest first; those too small to be seen as one."""
    small = [p for p in pieces if p["bytes"] < CRUMB * total]
    large = [p for p in pieces if p["bytes"] >= CRUMB * total]
    if len(small) > 1:
        large.append(
            {**small[0], "name": f"{len(small)} smaller pieces", "of": "rest", "bytes": sum(p["bytes"] for p in small)}
        )
    else:
        large += small
    return sorted(large, key=lambda p: (-p["bytes"], p["name"]))


Area = tuple[float, float, float, float]
"""(x, y, width, height)"""


def _squarified(sizes: Sequence[int], area: Area) -> list[Area]:
    """Rectangles of areas in proportion to `sizes`, largest first, as square as can be (Bruls, Huizing, van Wijk)."""
    x, y, width, height = area
    scale = width * height / sum(sizes) if sum(sizes) else 0.0
    left, found = [size * scale for size in sizes], list[Area]()
    while left:
        side = min(width, height)
        count = 1
        while count < len(left) and _worst(left[: count + 1], side) <= _worst(left[:count], side):
            count += 1
        thick = sum(left[:count]) / side if side else 0.0
        at = 0.0
        for each in left[:count]:
            long = each / thick if thick else 0.0
            found.append((x, y + at, thick, long) if width >= height else (x + at, y, long, thick))
            at += long
        x, y, width, height = (
            (x + thick, y, width - thick, height) if width >= height else (x, y + thick, width, height - thick)
        )
        left = left[count:]
    return found


def _worst(row: Sequence[float], side: float) -> float:
    """The largest aspect ratio in a row of areas along `side`."""
    total = sum(row)
    if not total or not side or not row[-1]:
        return 0.0
    return max(side * side * row[0] / (total * total), total * total / (side * side * row[-1]))


def _piece(piece: Mapping[str, Any], area: Area, total: int) -> Mark:
    x, y, width, height = area
    name, size = piece["name"], f"{piece['bytes']:,}"
    what = {"layer": "of layer", "function": "of function", "rest": "of"}[piece["of"]]
    return Mark(
        x=100 * x / MAP[0],
        y=100 * y / MAP[1],
        width=100 * width / MAP[0],
        height=100 * height / MAP[1],
        kind=piece["kind"],
        told=f"{piece['kind']} {what} {name}: {size} bytes, {100 * piece['bytes'] / total:.1f} % of what is shown",
        labels=_labels(((name, size), (f"{name} {size}",), (size,)), 100 * width / MAP[0], 10 * height - 4, MAP_WIDTHS),
    )
