"""The order in which a call reads and writes its operands, so that an output may take over bytes that are used up.

A `Touch` is a piece of work: ranges of bytes that it reads, then ranges that it writes. A kernel states the touches of
its documented order, lowest addresses first; from them follows how far an output must begin under an input
(`distance`), and tests/bytemap.py plays them byte by byte on the finished plan. A call that states none may read any
byte until it has written the last.

Chosen: a list of ranges, instead of a formula per kernel, because a list can be played back, and a formula cannot.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tinycompiler.ops import Window
from tinycompiler.tensor import Tensor

Range = tuple[str, int, int]
"""(operand, first byte, end)."""


@dataclass(frozen=True)
class Touch:
    """One piece of a call's work."""

    reads: tuple[Range, ...]
    writes: tuple[Range, ...]
    apart: bool
    """All reads are done before the first write."""


def distance(touches: Sequence[Touch], output: str, operand: str) -> int:
    """Bytes that `output` has to begin under `operand`, at least, so that nothing is overwritten that is still read."""
    least, unread = 0, None
    for touch in reversed(touches):
        reads = [first for name, first, end in touch.reads if name == operand and end > first]
        lowest = min([*reads, *([] if unread is None else [unread])], default=None)
        limit = unread if touch.apart else lowest
        if limit is not None:
            least = max([least, *(end - limit for name, _, end in touch.writes if name == output)])
        unread = lowest
    return least


def by_pixels(x: Tensor, y: Tensor, pixels: int, *, together: int, apart: bool) -> tuple[Touch, ...]:
    """Some pixels after the other, each made of the one at its place."""
    reads, writes = x.bytes // pixels, y.bytes // pixels
    ends = [(n, min(n + together, pixels)) for n in range(0, pixels, together)]
    return tuple(Touch(((x.name, a * reads, b * reads),), ((y.name, a * writes, b * writes),), apart) for a, b in ends)


def by_windows(x: Tensor, y: Tensor, window: Window, *, together: int, apart: bool) -> tuple[Touch, ...]:
    """Images (n, h, w, c): `together` output pixels of a row after the other, each made of those under its window."""
    (batches, _, in_w, in_c), (_, out_h, out_w, out_c) = x.shape, y.shape
    in_pixel, out_pixel = in_c * x.dtype.bytes, out_c * y.dtype.bytes
    touches = []
    for batch in range(batches):
        for out_y in range(out_h):
            top, bottom = rows_under(window, out_y, x.shape[1])
            for out_x in range(0, out_w, together):
                end_x = min(out_x + together, out_w)
                left, _ = span_under(window, 1, out_x, in_w)
                _, right = span_under(window, 1, end_x - 1, in_w)
                low, high = (batch * x.shape[1] + top) * in_w + left, (batch * x.shape[1] + bottom - 1) * in_w + right
                start = (batch * out_h + out_y) * out_w
                reads = ((x.name, low * in_pixel, high * in_pixel),) if bottom > top and right > left else ()
                writes = ((y.name, (start + out_x) * out_pixel, (start + end_x) * out_pixel),)
                touches.append(Touch(reads, writes, apart))
    return tuple(touches)


def by_strips(x: Tensor, y: Tensor, window: Window, lines: int) -> tuple[Touch, ...]:
    """Images (n, h, w, c): `lines` rows of outputs after the other, in no particular order of their own."""
    in_row, out_row = (t.bytes // t.shape[0] // t.shape[1] for t in (x, y))
    touches = []
    for batch in range(x.shape[0]):
        for line in range(0, y.shape[1], lines):
            end = min(line + lines, y.shape[1])
            top, bottom = rows_under(window, line, x.shape[1])[0], rows_under(window, end - 1, x.shape[1])[1]
            start, base = batch * x.shape[1], batch * y.shape[1]
            reads = ((x.name, (start + top) * in_row, (start + bottom) * in_row),) if bottom > top else ()
            touches.append(Touch(reads, ((y.name, (base + line) * out_row, (base + end) * out_row),), apart=False))
    return tuple(touches)


def rows_under(window: Window, out_y: int, in_h: int) -> tuple[int, int]:
    """(first, end) of the input rows that one output row is made of."""
    return span_under(window, 0, out_y, in_h)


def span_under(window: Window, axis: int, place: int, size: int) -> tuple[int, int]:
    """(first, end) along rows (0) or columns (1) of what lies under a window, within the image."""
    pad = window.padding.left if axis else window.padding.top
    first = place * window.stride[axis] - pad
    end = first + (window.kernel[axis] - 1) * window.dilation[axis] + 1
    return min(max(first, 0), size), max(min(end, size), 0)


def distances(touches: Sequence[Touch], output: str, operands: Sequence[str]) -> dict[str, int]:
    """The `distance` to each of the operands that the order speaks of."""
    known = {name for touch in touches for name, _, _ in touch.reads}
    return {name: distance(touches, output, name) for name in operands if name in known}
