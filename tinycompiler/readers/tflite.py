"""A .tflite file becomes a `File`: names instead of indices, plain numpy constants, decoded options.

Nothing is judged here but whether the file is whole: what it says and tinycompiler cannot do is the matter of
`blockers` and of the operators. Whatever a damaged file makes the layers below raise is translated in `parse`, and only
there.
"""

import os
import struct
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tinycompiler.errors import ModelError
from tinycompiler.readers import schema
from tinycompiler.readers.constants import DTYPES, MOST_AXES, WIDENED, readable, stored_bytes, unpacked
from tinycompiler.readers.file import Details, File, Operator, Signature, Subgraph
from tinycompiler.readers.flatbuffer import FOREIGN, Decoder
from tinycompiler.readers.magic import ZIP, looks_like
from tinycompiler.readers.sparsity import Lie, blocks_of, dense
from tinycompiler.tensor import Array, DType, Quantization, Tensor

MOST_BYTES = 1 << 27
HEAD = 1 << 16
"""Bytes from which another format is told."""
LONGEST_NAME = 500  # characters; converters join the names of fused layers


def load(path: Path) -> File:
    """The file at `path`; ModelError when it cannot be read."""
    if os.path.isdir(path):  # unlike Path.is_dir, False for names that the system refuses
        kind = " (a SavedModel? convert it with tf.lite.TFLiteConverter.from_saved_model)"
        raise ModelError(f"{path}: a folder{kind if (path / 'saved_model.pb').exists() else ''}, wanted a .tflite file")
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            data = stream.read(HEAD)
            if (data[4:8] == schema.IDENTIFIER or data.startswith(ZIP)) and size <= MOST_BYTES:
                data += stream.read(MOST_BYTES + 1 - HEAD)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    size = max(size, len(data))  # a device says nothing of its size
    if size > MOST_BYTES:
        raise ModelError(f"{path.name}: {size:,} bytes; up to {MOST_BYTES:,} are read, far above any board's flash")
    return parse(data, name=path.name)


def parse(data: bytes, *, name: str) -> File:
    """The network in `data`; `name` stands in the errors. ModelError when the file is another format, or damaged."""
    if data[4:8] != schema.IDENTIFIER:
        raise ModelError(f"{name}: not a .tflite file: {looks_like(data)}")
    where: list[str] = []
    try:
        return _Reader(data, where).file()
    except FOREIGN as error:
        too_short = isinstance(error, struct.error)  # whose own words speak of buffers and unpacking
        what = "it ends too early" if too_short else str(error) or type(error).__name__
        place = "".join(where).lstrip(".") or "its root"
        raise ModelError(
            f"{name}: broken or truncated .tflite file of {len(data)} bytes: {what}, while reading {place}; "
            "copy or convert it again"
        ) from error


class _Reader:
    """Decoded tables to values. `where` always tells the place, for the error."""

    def __init__(self, data: bytes, where: list[str]) -> None:
        self.data = data
        self.where = where
        self.dense: dict[str, Array] = {}  # values of sparse constants, by name
        self.model = Decoder(data, where).root("Model")

    def file(self) -> File:
        where, model = self.where, self.model
        where[:] = ["its version"]
        if model["version"] != 3:
            raise ValueError(f"schema version {model['version']} instead of 3")
        where[:] = ["its subgraphs"]
        if not model["subgraphs"]:
            raise ValueError("there is no network in it")
        subgraphs = tuple(self.subgraph(index, table) for index, table in enumerate(model["subgraphs"]))
        signatures = tuple(self.signature(table, subgraphs) for table in model["signature_defs"])
        return File(subgraphs, plain(model["description"]), signatures, self.data)

    def subgraph(self, index: int, table: Mapping[str, Any]) -> Subgraph:
        names = _unique(plain(tensor["name"]) for tensor in table["tensors"])
        operators = tuple(self.operator(number, row, names) for number, row in enumerate(table["operators"]))
        self.where[:] = [f"inputs and outputs of subgraph {index}"]
        inputs, outputs = _names(table["inputs"], names), _names(table["outputs"], names)
        written = {*inputs, *(name for operator in operators for name in operator.outputs)}
        details = {
            name: self.details(name, row, name in written) for name, row in zip(names, table["tensors"], strict=True)
        }
        tensors = tuple(
            self.tensor(name, row, details[name], name in written)
            for name, row in zip(names, table["tensors"], strict=True)
        )
        return Subgraph(plain(table["name"]), tensors, inputs, outputs, operators, MappingProxyType(details))

    def operator(self, index: int, table: Mapping[str, Any], names: Sequence[str]) -> Operator:
        self.where[:] = [f"operator {index}"]
        code = _at(self.model["operator_codes"], table["opcode_index"])
        number = max(code["builtin_code"], code["deprecated_builtin_code"])
        known = 0 <= number < len(schema.OPERATORS)
        name = schema.OPERATORS[number] if known else f"BUILTIN_{number}"
        self.where[:] = [f"operator {index} {name}"]
        options = self.custom_options(table) if name == "CUSTOM" else _options(name, table)
        if name == "CUSTOM":
            name = f"CUSTOM:{plain(code['custom_code'])}"
        inputs = tuple(None if i == -1 else _at(names, i) for i in table["inputs"])
        return Operator(index, name, code["version"], options, inputs, _names(table["outputs"], names))

    def custom_options(self, table: Mapping[str, Any]) -> dict[str, Any]:
        options = bytes(table["custom_options"])
        if table["large_custom_options_offset"] > 1:
            start, size = table["large_custom_options_offset"], table["large_custom_options_size"]
            options = self.data[start : start + size]
        return {"custom_options": options} if options else {}

    def details(self, name: str, table: Mapping[str, Any], written: bool) -> Details:
        self.where[:] = [f"tensor '{name}'"]
        quantization = table["quantization"] or {}
        scheme = quantization.get("details")
        number = table["type"]
        kind = schema.TENSOR_TYPES[number] if 0 <= number < len(schema.TENSOR_TYPES) else f"type {number}"
        return Details(
            type=kind,
            shape_signature=table["shape_signature"],
            has_rank=table["has_rank"],
            zero_points=quantization.get("zero_point", ()),
            scheme=scheme[0] if scheme else "",
            scaling=_scaling(quantization, table["shape"]),
            sparse=blocks_of(table["sparsity"]) if table["sparsity"] else "",
            lie=self.lie(name, table, kind),
            missing=self.missing(table, kind, written or table["is_variable"]),
        )

    def lie(self, name: str, table: Mapping[str, Any], kind: str) -> str:
        """What cannot be of a sparse constant, or nothing: then `dense` has its values."""
        if table["sparsity"] is None or not readable(kind):
            return ""
        try:
            self.dense[name] = dense(table["sparsity"], table["shape"], self.stored(table["buffer"]), kind)
        except Lie as lie:
            return str(lie)
        return ""

    def missing(self, table: Mapping[str, Any], kind: str, computed: bool) -> str:
        """Why the data that a tensor refers to cannot be had, or nothing."""
        if table["external_buffer"]:
            return "lies in another file"
        buffer = _at(self.model["buffers"], table["buffer"]) if table["buffer"] else {"offset": 0}
        start, end = buffer["offset"], buffer["offset"] + buffer.get("size", 0)
        if start > 1 and end > len(self.data):
            return f"lies at byte {start} to {end} of a file of {len(self.data)}"
        found, shape = len(self.stored(table["buffer"])), table["shape"]
        if computed or not readable(kind) or table["sparsity"] is not None or not found:
            return ""
        if _is_no_shape(shape):
            return ""  # it is refused for that
        wanted = stored_bytes(kind, prod(shape))
        return "" if found == wanted else f"has {found} bytes instead of {wanted}"

    def tensor(self, name: str, table: Mapping[str, Any], details: Details, written: bool) -> Tensor:
        self.where[:] = [f"tensor '{name}'"]
        dtype = DTYPES.get(details.type) or WIDENED.get(details.type, DType.UINT8)
        data = None if written or table["is_variable"] else self.constant(name, table, details)
        quantization = _quantization(table["quantization"], table["shape"], details)
        return Tensor(name, table["shape"], dtype, quantization, data, table["is_variable"])

    def constant(self, name: str, table: Mapping[str, Any], details: Details) -> Array | None:
        """A tensor's data, or None when it has none or none that could be read."""
        stored, shape = self.stored(table["buffer"]), table["shape"]
        absent = _is_no_shape(shape) or (not stored and 0 not in shape)
        if details.sparse:
            return self.dense.get(name)
        if absent or details.missing or not readable(details.type):
            return None
        return unpacked(stored, details.type, shape)

    def stored(self, index: int) -> memoryview:
        """A buffer's bytes, inside the flatbuffer or behind it; buffer 0 is empty by definition."""
        if index == 0:
            return memoryview(b"")
        buffer = _at(self.model["buffers"], index)
        if buffer["offset"] > 1:
            return memoryview(self.data)[buffer["offset"] : buffer["offset"] + buffer["size"]]
        stored: memoryview = buffer["data"]
        return stored

    def signature(self, table: Mapping[str, Any], subgraphs: Sequence[Subgraph]) -> Signature:
        self.where[:] = [f"signature '{plain(table['signature_key'])}'"]
        tensors = _at(subgraphs, table["subgraph_index"]).tensors
        inputs, outputs = (
            tuple((plain(entry["name"]), _at(tensors, entry["tensor_index"]).name) for entry in table[side])
            for side in ("inputs", "outputs")
        )
        return Signature(plain(table["signature_key"]), table["subgraph_index"], inputs, outputs)


def _at(items: Sequence[Any], index: int) -> Any:
    """items[index], where a negative index is as wrong as one that is too large."""
    if not 0 <= index < len(items):
        raise IndexError(f"entry {index} of {len(items)} is asked for")
    return items[index]


def _names(indices: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(_at(names, index) for index in indices)


def plain(text: str) -> str:
    """A name from the file as part of one line: no breaks, no control characters, no more than fits a screen."""
    shown = text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown if len(shown) <= LONGEST_NAME else f"{shown[:LONGEST_NAME]}\N{HORIZONTAL ELLIPSIS}"


def _unique(names: Any) -> tuple[str, ...]:
    """The names, with empty ones filled and repeated ones numbered."""
    taken: dict[str, int] = {}
    for index, name in enumerate(names):
        wanted = name or f"tensor_{index}"
        while wanted in taken:
            wanted = f"{wanted}_{index}"
        taken[wanted] = index
    return tuple(taken)


def _options(name: str, table: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options; another operator's are refused, since their words are not those that this one will look for."""
    if table["builtin_options"] is None:
        return MappingProxyType({})
    found, values = table["builtin_options"]
    wanted = schema.OPTIONS.get(name, found)
    if found != wanted:
        raise ValueError(f"{found} instead of {wanted}")
    return MappingProxyType({key: plain(value) if isinstance(value, str) else value for key, value in values.items()})


def _is_no_shape(shape: tuple[int, ...]) -> bool:
    return len(shape) > MOST_AXES or min(shape, default=0) < 0


def _scaling(table: Mapping[str, Any], shape: tuple[int, ...]) -> str:
    """Why the scales do not suit the shape, or nothing."""
    scales, axis = table.get("scale", ()), _axis(table, shape)
    if len(scales) < 2 or (0 <= axis < len(shape) and shape[axis] == len(scales)):
        return ""
    place = f"{shape[axis]} channels along axis {axis}" if 0 <= axis < len(shape) else f"axis {axis} of {len(shape)}"
    return f"{len(scales)} scales for {place}"


def _axis(table: Mapping[str, Any], shape: tuple[int, ...]) -> int:
    """Of the scales; an axis other than 0 for a vector is a converter's slip."""
    axis: int = table.get("quantized_dimension", 0)
    return axis if len(shape) != 1 else 0


def _quantization(table: Mapping[str, Any] | None, shape: tuple[int, ...], details: Details) -> Quantization | None:
    """One scale is per tensor, whatever axis stands beside it."""
    if table is None or not table["scale"] or details.scaling:
        return None
    scales: tuple[float, ...] = table["scale"]
    zero_point: int = next(iter(table["zero_point"]), 0)
    return Quantization(scales, zero_point, _axis(table, shape) if len(scales) > 1 else None)
