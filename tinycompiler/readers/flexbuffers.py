"""A flexbuffer map of integers becomes a dictionary: the options of custom operators.

A flexbuffer is read from its end: the width of the root in bytes, its type, its value. A map is a vector of values,
with in front of it the distance to the vector of its keys, the width of those, and its length, and behind it a byte of
type for each value. All distances lead backwards. Whatever a damaged one says, every read lies inside it.

Source of the facts: FlatBuffers' documentation, "FlexBuffers".
"""

from collections.abc import Iterator

INT, UINT, MAP, BOOL = 1, 2, 9, 26
WIDTHS = (1, 2, 4, 8)
MOST = 64
"""Options of an operator; the ones that are known have eight."""


def decode(data: bytes) -> dict[str, int]:
    """The map; ValueError when it is none, holds anything but integers, or leads outside `data`."""
    if len(data) < 3:
        raise ValueError(f"{len(data)} bytes are no flexbuffer")
    width, kind = data[-1], data[-2]
    if width not in WIDTHS or kind >> 2 != MAP:
        raise ValueError(f"its root is of type {kind >> 2} and {width} bytes wide, not a map")
    items = _follow(data, len(data) - 2 - width, width)
    return dict(_items(data, items, 1 << (kind & 3)))


def _items(data: bytes, start: int, width: int) -> Iterator[tuple[str, int]]:
    """Keys and values of the map whose first value stands at `start`."""
    length, key_width = _unsigned(data, start - width, width), _unsigned(data, start - 2 * width, width)
    if length > MOST or key_width not in WIDTHS:
        raise ValueError(f"a map of {length} values, with keys of {key_width} bytes")
    keys = _follow(data, start - 3 * width, width)
    for index in range(length):
        place = _follow(data, keys + index * key_width, key_width)
        kind = _unsigned(data, start + length * width + index, 1) >> 2
        if kind not in (INT, UINT, BOOL):
            raise ValueError(f"a value of type {kind}, not an integer")
        yield _text(data, place), _integer(data, start + index * width, width, signed=kind == INT)


def _follow(data: bytes, position: int, width: int) -> int:
    """Where the distance at `position` leads."""
    target = position - _unsigned(data, position, width)
    if not 0 <= target < position:
        raise ValueError("a distance leads outside")
    return target


def _unsigned(data: bytes, position: int, width: int) -> int:
    return _integer(data, position, width, signed=False)


def _integer(data: bytes, position: int, width: int, *, signed: bool) -> int:
    if position < 0 or position + width > len(data):
        raise ValueError("it ends too early")
    return int.from_bytes(data[position : position + width], "little", signed=signed)


def _text(data: bytes, start: int) -> str:
    end = data.find(b"\0", start)
    if end < 0:
        raise ValueError("a key without an end")
    return str(data[start:end], "utf-8", "replace")
