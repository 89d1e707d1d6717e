"""A flatbuffer becomes plain dictionaries, by the tables of `schema`.

What a damaged file may say is checked here, once: every read lies inside the file (by `flatbuffers` and `struct`), a
vector's length is compared with the file before anything is allocated, and all vectors together may hold no more than
about twice the file's size, so that entries that point at each other cannot multiply; nor more than any network for a
microcontroller needs, so that a file with a million operators is refused at once.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from flatbuffers import number_types
from flatbuffers.table import Table

from tinycompiler.readers import schema

SCALARS: Mapping[str, Any] = MappingProxyType({
    "bool": number_types.BoolFlags, "int8": number_types.Int8Flags, "uint8": number_types.Uint8Flags,
    "uint16": number_types.Uint16Flags, "int32": number_types.Int32Flags, "uint32": number_types.Uint32Flags,
    "int64": number_types.Int64Flags, "uint64": number_types.Uint64Flags, "float32": number_types.Float32Flags,
})  # fmt: skip

# Everything that reading a damaged file can raise in flatbuffers, struct, numpy and plain Python.
FOREIGN = (struct.error, ValueError, TypeError, LookupError, ArithmeticError, MemoryError, RecursionError)


MOST_TABLES = 16_384
"""In all vectors of tables: operators, tensors, buffers and so on. Networks for microcontrollers have some hundreds."""
MOST_BYTES = 1 << 24
"""In all vectors that become Python's objects: names, shapes, scales. Weights are not among them."""


@dataclass(frozen=True)
class Field:
    """One field: its slot, and what lies there."""

    name: str
    slot: int
    kind: str  # scalar, string, bytes, table, union, scalars, tables, or - for a field that is not read
    of: str  # the scalar, table or union that `kind` speaks of
    default: int | float | bool = 0

    @property
    def vtable_offset(self) -> int:
        """Bytes from the start of the vtable: two 16-bit sizes, then one 16-bit offset a slot."""
        return 4 + 2 * self.slot


def _kind(word: str) -> tuple[str, str]:
    if word in ("string", "bytes", "-"):
        return word, word
    if word.startswith("union:"):
        return "union", word.removeprefix("union:")
    of, many = word.strip("[]"), "s" if word.startswith("[") else ""
    return ("scalar" if of in SCALARS else "table") + many, of


def _fields(words: Mapping[str, str]) -> tuple[Field, ...]:
    """The fields of one table; a union's value stands in the second of its two slots."""
    fields: list[Field] = []
    slot = 0
    for name, declaration in words.items():
        word, _, default = declaration.partition("=")
        kind, of = _kind(word)
        slot += kind == "union"
        value = SCALARS[of].py_type(int(default or 0)) if kind == "scalar" else 0
        fields.append(Field(name, slot, kind, of, value))
        slot += 1
    return tuple(fields)


FIELDS: Mapping[str, tuple[Field, ...]] = MappingProxyType(
    {name: _fields(words) for name, words in schema.TABLES.items()}
)


class Decoder:
    """Reads one file. `path` is where it stands, and stays there when something is raised."""

    def __init__(self, data: bytes, path: list[str]) -> None:
        self.data = data
        self.path = path
        self._budget = min(2 * len(data) + 4096, MOST_BYTES)  # what converters write takes about an eighth of it
        self._tables_left = MOST_TABLES

    def root(self, name: str) -> dict[str, Any]:
        """The file's root table, of type `name`."""
        return self._table(name, self._follow(0))

    def _table(self, name: str, position: int) -> dict[str, Any]:
        """A table as {field: value}; a table that the schema does not list as {}."""
        table = Table(self.data, position)
        values: dict[str, Any] = {}
        for field in FIELDS.get(name, ()):
            if field.kind != "-":
                self.path.append(f".{field.name}")
                values[field.name] = self._field(table, field)
                self.path.pop()
        return values

    def _field(self, table: Table, field: Field) -> Any:
        """A field's value: absent scalars are their default, absent vectors (), absent tables None."""
        offset = table.Offset(field.vtable_offset)
        position = table.Pos + offset
        match field.kind:
            case "scalar":
                return table.Get(SCALARS[field.of], position) if offset else field.default
            case "union":
                return self._union(table, field, position if offset else None)
            case "string":
                return self._string(position) if offset else ""
            case "bytes":
                return self._bytes(position) if offset else memoryview(b"")
            case "table":
                return self._table(field.of, self._follow(position)) if offset else None
            case "scalars":
                return self._scalars(field.of, position) if offset else ()
            case _:
                return self._tables(field.of, position) if offset else ()

    def _union(self, table: Table, field: Field, position: int | None) -> tuple[str, dict[str, Any]] | None:
        """(name of the member's table, its values), or None."""
        offset = table.Offset(field.vtable_offset - 2)
        number = table.Get(number_types.Uint8Flags, table.Pos + offset) if offset else 0
        if number == 0 or position is None:
            return None
        members = schema.UNIONS[field.of]
        name = members[number] if number < len(members) else f"{field.of} {number}"
        return name, self._table(name, self._follow(position))

    def _follow(self, position: int) -> int:
        """Where the 32-bit offset at `position` points."""
        offset: int = Table(self.data, position).Get(number_types.UOffsetTFlags, position)
        if not 0 < offset <= len(self.data) - position:
            raise ValueError(f"an offset of {offset} bytes leads outside")
        return position + offset

    def _vector(self, position: int, item_size: int) -> tuple[int, int]:
        """(start, length) of the vector whose offset stands at `position`, checked against the file."""
        start = self._follow(position) + 4
        length: int = Table(self.data, start).Get(number_types.UOffsetTFlags, start - 4)
        if length * item_size > len(self.data) - start:
            raise ValueError(f"{length} items of {item_size} bytes do not fit")
        return start, length

    def _spend(self, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            raise ValueError("the entries hold more than the file's size allows")

    def _bytes(self, position: int) -> memoryview:
        start, length = self._vector(position, 1)
        return memoryview(self.data)[start : start + length]

    def _string(self, position: int) -> str:
        text = self._bytes(position)
        self._spend(len(text))
        return str(text, "utf-8")

    def _scalars(self, of: str, position: int) -> tuple[Any, ...]:
        flags = SCALARS[of]
        start, length = self._vector(position, flags.bytewidth)
        self._spend(length * flags.bytewidth)
        dtype = np.dtype(number_types.to_numpy_type(flags)).newbyteorder("<")
        return tuple(np.frombuffer(self.data, dtype, length, start).tolist())

    def _tables(self, of: str, position: int) -> tuple[dict[str, Any], ...]:
        start, length = self._vector(position, 4)
        self._tables_left -= length
        if self._tables_left < 0:
            raise ValueError(f"more than {MOST_TABLES:,} entries, and no network for a microcontroller has so many")
        tables = []
        for index in range(length):
            self._spend(32)  # about what a table takes in the file
            self.path.append(f"[{index}]")
            tables.append(self._table(of, self._follow(start + 4 * index)))
            self.path.pop()
        return tuple(tables)
