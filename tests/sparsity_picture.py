"""Draws tests/sparsity.json: `python -m tests.sparsity_picture` writes tests/sparsity.svg."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

FIGURES = Path(__file__).with_name("sparsity.json")
PICTURE = Path(__file__).with_name("sparsity.svg")
WIDTH, HEIGHT = 420, 300
"""Of a panel, in units of the picture."""
LEFT, TOP, RIGHT, BOTTOM = 52, 44, 12, 46
MOST = 2.0
"""Times what dense kernels take: lines end there."""
COLOURS = ("#0b6e99", "#b3541e")

Point = tuple[float, float]


def break_even(points: Sequence[Mapping[str, float]], dense: float, what: str) -> float | None:
    """The share of zeros from which on less is taken than by the dense kernel, between measured points."""
    for before, after in pairwise(points):
        if before[what] > dense >= after[what]:
            part = (before[what] - dense) / (before[what] - after[what])
            return before["zeros"] + part * (after["zeros"] - before["zeros"])
    return None if points[-1][what] > dense else 0.0


def picture(figures: Mapping[str, Any]) -> str:
    """A panel for each layer, side by side."""
    panels = [line for number, layer in enumerate(figures["layers"]) for line in _panel(layer, number * WIDTH)]
    width = WIDTH * len(figures["layers"])
    style = "text{font:11px sans-serif;fill:#222}.t{font-weight:bold}line{stroke:#ccc}path{fill:none;stroke-width:2}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" role="img">'
    title = "<title>Cycles and bytes of sparse layers, as shares of the dense ones, by the share of zeros</title>"
    lines = [head, title, f"<style>{style}</style>", f'<rect width="{width}" height="{HEIGHT}" fill="#fff"/>', *panels]
    return "\n".join([*lines, "</svg>", ""])


def _panel(layer: Mapping[str, Any], left: int) -> Iterator[str]:
    first, *others = layer["dense"].values()
    yield f'<text class="t" x="{left + LEFT}" y="16">{escape(layer["name"])}</text>'
    yield from _grid(left)
    for other in others:
        share = other["cycles"] / first["cycles"]
        yield _line([(0.1, share), (0.95, share)], left, "#666", "1 4")
        yield _text(_place((0.1, share), left), f"Winograd, dense: {share:.2f} of the cycles", dy=12)
    for number, (encoding, told) in enumerate(layer["sparse"].items()):
        colour = COLOURS[number]
        for what, dash in (("cycles", ""), ("bytes", "5 4")):
            points = [(point["zeros"], point[what] / first[what]) for point in told["points"]]
            yield _line(list(_cut(points)), left, colour, dash)
        yield from _legend(number, encoding, told["points"], first, left)


def _grid(left: int) -> Iterator[str]:
    for step in range(5):
        share = MOST * step / 4
        (x, y), (end, _) = _place((0.1, share), left), _place((0.95, share), left)
        stroke = ' style="stroke:#444"' if share == 1 else ""
        yield f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{end:.1f}" y2="{y:.1f}"{stroke}/>'
        yield _text((x - 6, y + 4), f"{share:g}", anchor="end")
    for tenth in range(1, 10):
        x, y = _place((tenth / 10, 0), left)
        yield _text((x, y + 15), f"{10 * tenth}", anchor="middle")
    yield _text((left + LEFT, HEIGHT - 12), "percent of the weights that are zero; 1 is the dense kernel")


def _legend(number: int, encoding: str, points: Any, dense: Mapping[str, float], left: int) -> Iterator[str]:
    def told(what: str) -> str:
        share = break_even(points, dense[what], what)
        return "never" if share is None else f"from {100 * share:.0f} %"

    y = 30 + 13 * number
    yield f'<path d="M{left + LEFT} {y - 4}h16" stroke="{COLOURS[number]}"/>'
    words = f"{encoding}: fewer cycles {told('cycles')}, bytes (dashed) {told('bytes')}"
    yield _text((left + LEFT + 22, y), words)


def _cut(points: Sequence[Point]) -> Iterator[Point]:
    """The line as far as it lies within the panel."""
    for number, (x, y) in enumerate(points):
        if y <= MOST:
            if number and points[number - 1][1] > MOST:
                before_x, before_y = points[number - 1]
                yield before_x + (before_y - MOST) / (before_y - y) * (x - before_x), MOST
            yield x, y


def _place(point: Point, left: int) -> Point:
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    return left + LEFT + (point[0] - 0.1) / 0.85 * wide, TOP + 8 + (1 - point[1] / MOST) * (high - 8)


def _line(points: Sequence[Point], left: int, colour: str, dash: str) -> str:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in (_place(point, left) for point in points))
    return f'<path d="M{path}" stroke="{colour}" stroke-dasharray="{dash}"/>'


def _text(place: Point, words: str, *, anchor: str = "start", dy: int = 0) -> str:
    return f'<text x="{place[0]:.1f}" y="{place[1] + dy:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def main() -> None:
    PICTURE.write_text(picture(json.loads(FIGURES.read_text())))


if __name__ == "__main__":
    main()
