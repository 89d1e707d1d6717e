"""A flatbuffer becomes plain dictionaries, by the tables of `schema`.

What a damaged file may say is checked here, once: every read lies inside the file (`struct` sees to the end), a
vector's length is compared with the file before anything is allocated, and all vectors together may hold no more than
about twice the file's size, so that entries that point at each other cannot multiply; nor more than any network for a
microcontroller needs, so that a file with a million operators is refused at once.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from flatbuffers import number_types

from tinycompiler.readers import schema

SCALARS: Mapping[str, Any] = MappingProxyType({
    "bool": number_types.BoolFlags, "int8": number_types.Int8Flags, "uint8": number_types.Uint8Flags,
    "uint16": number_types.Uint16Flags, "int32": number_types.Int32Flags, "uint32": number_types.Uint32Flags,
    "int64": number_types.Int64Flags, "uint64": number_types.Uint64Flags, "float32": number_types.Float32Flags,
})  # fmt: skip

_INT32, _UINT32, _UINT16 = struct.Struct("<i"), struct.Struct("<I"), struct.Struct("<H")

# Everything that reading a damaged file can raise in struct, numpy and plain Python.
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

    @cached_property
    def unpack(self) -> Callable[[bytes, int], tuple[Any, ...]]:
        """Reads a scalar."""
        read: Callable[[bytes, int], tuple[Any, ...]] = SCALARS[self.of].packer_type.unpack_from
        return read


ABSENT: Mapping[str, Any] = MappingProxyType(
    {"union": None, "string": "", "bytes": memoryview(b""), "table": None, "scalars": (), "tables": ()}
)
"""What stands for a field that is not there and is no scalar."""


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


SLOTS: Mapping[str, int] = MappingProxyType(
    {name: max((field.slot + 1 for field in fields), default=0) for name, fields in FIELDS.items()}
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

    def place(self, name: str, field: str, table: int) -> int:
        """Where a field of a table of type `name` stands."""
        return table + self._slots(name, table)[next(f.slot for f in FIELDS[name] if f.name == field)]

    def items(self, name: str, field: str) -> int:
        """Where the items of a vector begin that the root table, of type `name`, has."""
        return self._vector(self.place(name, field, self._follow(0)), 1)[0]

    def _table(self, name: str, position: int) -> dict[str, Any]:
        """A table as {field: value}; a table that the schema does not list as {}."""
        slots = self._slots(name, position)
        values: dict[str, Any] = {}
        for field in FIELDS.get(name, ()):
            offset = slots[field.slot]
            if field.kind == "scalar":
                place = position + offset
                values[field.name] = field.unpack(self.data, place)[0] if offset else field.default
            elif field.kind != "-":
                self.path.append(f".{field.name}")
                values[field.name] = self._field(field, position, slots)
                self.path.pop()
        return values

    def _slots(self, name: str, position: int) -> tuple[int, ...]:
        """For each slot of the schema's table, the distance of its field from `position`; 0 for an absent field."""
        vtable = position - _INT32.unpack_from(self.data, position)[0]
        wanted = SLOTS.get(name, 0)
        if vtable < 0:
            raise ValueError(f"a table's vtable lies {-vtable} bytes before the file")
        there = min(wanted, max(0, (_UINT16.unpack_from(self.data, vtable)[0] - 4) // 2))
        return (*struct.unpack_from(f"<{there}H", self.data, vtable + 4), *(0,) * (wanted - there))

    def _field(self, field: Field, table: int, slots: tuple[int, ...]) -> Any:
        """The value of a field that is no scalar: absent vectors are (), absent tables None."""
        offset = slots[field.slot]
        if not offset:
            return ABSENT[field.kind]
        position = table + offset
        match field.kind:
            case "union":
                return self._union(field, position, table, slots[field.slot - 1])
            case "string":
                return self._string(position)
            case "bytes":
                return self._bytes(position)
            case "table":
                return self._table(field.of, self._follow(position))
            case "scalars":
                return self._scalars(field.of, position)
            case _:
                return self._tables(field.of, position)

    def _union(self, field: Field, position: int, table: int, of_kind: int) -> tuple[str, dict[str, Any]] | None:
        """(name of the member's table, its values), or None; `of_kind` is the distance of the member's number."""
        number = self.data[table + of_kind] if of_kind else 0
        if number == 0:
            return None
        members = schema.UNIONS[field.of]
        name = members[number] if number < len(members) else f"{field.of} {number}"
        return name, self._table(name, self._follow(position))

    def _follow(self, position: int) -> int:
        """Where the 32-bit offset at `position` points."""
        offset: int = _UINT32.unpack_from(self.data, position)[0]
        if not 0 < offset <= len(self.data) - position:
            raise ValueError(f"an offset of {offset} bytes leads outside")
        return position + offset

    def _vector(self, position: int, item_size: int) -> tuple[int, int]:
        """(start, length) of the vector whose offset stands at `position`, checked against the file."""
        start = self._follow(position) + 4
        length: int = _UINT32.unpack_from(self.data, start - 4)[0]
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
        return str(text, "utf-8", "replace")  # old converters wrote names of layers in other encodings

    def _scalars(self, of: str, position: int) -> tuple[Any, ...]:
        packer: struct.Struct = SCALARS[of].packer_type
        start, length = self._vector(position, packer.size)
        self._spend(length * packer.size)
        return struct.unpack_from(f"<{length}{packer.format[-1]}", self.data, start)

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


def moved_first(data: bytes, index: int) -> bytes:
    """The model file with its first subgraph and the one at `index` in each other's place, and without signatures.

    `data` was read whole before; OverflowError when its offsets, which lead forward only, do not allow the exchange.
    """
    decoder, result = Decoder(data, []), bytearray(data)
    first = decoder.items("Model", "subgraphs")
    places = (first, first + 4 * index)
    targets = [place + int.from_bytes(data[place : place + 4], "little") for place in places]
    for place, target in zip(places, reversed(targets), strict=True):
        result[place : place + 4] = (target - place).to_bytes(4, "little")
    length = decoder.items("Model", "signature_defs") - 4
    result[length : length + 4] = bytes(4)
    return bytes(result)


def with_outputs(data: bytes, tensors: Sequence[int]) -> bytes:
    """The model file with these tensors as the outputs of its first subgraph; `data` was read whole before."""
    decoder, result = Decoder(data, []), bytearray(data)
    first = decoder.items("Model", "subgraphs")
    place = decoder.place("SubGraph", "outputs", first + _UINT32.unpack_from(data, first)[0])
    return _with_vector(result, place, tensors)


def with_operators(data: bytes, kept: Sequence[int], inputs: Sequence[int]) -> bytes:
    """The model file with these operators of its first subgraph alone, and these tensors as its inputs; `data` was read
    whole before.
    """
    decoder, result = Decoder(data, []), bytearray(data)
    first = decoder.items("Model", "subgraphs")
    table = first + _UINT32.unpack_from(data, first)[0]
    place = decoder.place("SubGraph", "operators", table)
    start = place + _UINT32.unpack_from(data, place)[0]
    _UINT32.pack_into(result, start, len(kept))
    for slot, index in enumerate(kept):  # each moves to the front, from where the way to it is longer
        own, old = start + 4 * (slot + 1), start + 4 * (index + 1)
        _UINT32.pack_into(result, own, _UINT32.unpack_from(data, old)[0] + old - own)
    return _with_vector(result, decoder.place("SubGraph", "inputs", table), inputs)


def _with_vector(result: bytearray, place: int, tensors: Sequence[int]) -> bytes:
    """A file whose field at `place` is a new vector behind all else."""
    result += bytes(-len(result) % 4)
    _UINT32.pack_into(result, place, len(result) - place)
    return bytes(result + struct.pack(f"<I{len(tensors)}i", len(tensors), *tensors))
