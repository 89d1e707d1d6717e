"""A .tflite file becomes a `File`: names instead of indices, plain numpy constants, decoded options.

Nothing is judged here but whether the file is whole: what it says and tinycompiler cannot do is the matter of
`blockers` and of the operators. Whatever a damaged file makes the layers below raise is translated in `parse`, and only
there.
"""

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from tinycompiler.errors import ModelError
from tinycompiler.readers import schema
from tinycompiler.readers.flatbuffer import FOREIGN, Decoder
from tinycompiler.readers.magic import looks_like
from tinycompiler.tensor import Array, DType, Quantization, Tensor

# The file's types that a Tensor can hold, and below them those that are widened on reading (`blockers` names them).
DTYPES: Mapping[str, DType] = MappingProxyType({dtype.name: dtype for dtype in DType})
WIDENED: Mapping[str, DType] = MappingProxyType({"FLOAT16": DType.FLOAT32, "INT4": DType.INT8})
MOST_BYTES = 1 << 27
LONGEST_NAME = 500  # characters; converters join the names of fused layers


@dataclass(frozen=True)
class Details:
    """What the file says of a tensor and a Tensor does not hold."""

    type: str  # the file's own name, such as "INT4"
    shape_signature: tuple[int, ...] = ()  # -1: unknown when the network was converted
    has_rank: bool = False
    zero_points: tuple[int, ...] = ()
    scheme: str = ""  # of a quantization that is neither per tensor nor per axis
    sparse: bool = False
    missing: str = ""  # why a constant has no data


@dataclass(frozen=True)
class Operator:
    """`options` are the whole decoded table, defaults included and enums as numbers, or {} when the file has none.

    A custom operator is called "CUSTOM:<name>"; its options are {"custom_options": bytes}, when there are any.
    """

    index: int
    name: str
    version: int
    options: Mapping[str, Any]
    inputs: tuple[str | None, ...]  # None: an optional input that is not there
    outputs: tuple[str, ...]

    def __str__(self) -> str:
        return f"operator {self.index} {self.name}"


@dataclass(frozen=True)
class Subgraph:
    """A network: its tensors, and operators in running order; `inputs` and `outputs` are names of tensors."""

    name: str
    tensors: tuple[Tensor, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[Operator, ...]
    details: Mapping[str, Details]  # by tensor name


@dataclass(frozen=True)
class Signature:
    """A named way to call a subgraph: (the caller's name, tensor name) for each input and output."""

    key: str
    subgraph: int
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class File:
    """All that a file says; the first subgraph is the network."""

    subgraphs: tuple[Subgraph, ...]
    description: str
    signatures: tuple[Signature, ...]


def load(path: Path) -> File:
    """The file at `path`; ModelError when it cannot be read."""
    if os.path.isdir(path):  # unlike Path.is_dir, False for names that the system refuses
        kind = " (a SavedModel? convert it with tf.lite.TFLiteConverter.from_saved_model)"
        raise ModelError(f"{path}: a folder{kind if (path / 'saved_model.pb').exists() else ''}, wanted a .tflite file")
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ModelError(f"{path.name}: {size:,} bytes; up to {MOST_BYTES:,} are read, far above any board's flash")
        return parse(path.read_bytes(), name=path.name)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error


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
        return File(subgraphs, model["description"], signatures)

    def subgraph(self, index: int, table: Mapping[str, Any]) -> Subgraph:
        names = _unique(plain(tensor["name"]) for tensor in table["tensors"])
        operators = tuple(self.operator(number, row, names) for number, row in enumerate(table["operators"]))
        self.where[:] = [f"inputs and outputs of subgraph {index}"]
        inputs, outputs = _names(table["inputs"], names), _names(table["outputs"], names)
        written = {*inputs, *(name for operator in operators for name in operator.outputs)}
        details = {name: self.details(name, row) for name, row in zip(names, table["tensors"], strict=True)}
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

    def details(self, name: str, table: Mapping[str, Any]) -> Details:
        self.where[:] = [f"tensor '{name}'"]
        quantization = table["quantization"] or {}
        scheme = quantization.get("details")
        number = table["type"]
        return Details(
            type=schema.TENSOR_TYPES[number] if 0 <= number < len(schema.TENSOR_TYPES) else f"type {number}",
            shape_signature=table["shape_signature"],
            has_rank=table["has_rank"],
            zero_points=quantization.get("zero_point", ()),
            scheme=scheme[0] if scheme else "",
            sparse=table["sparsity"] is not None,
            missing=self.missing(table),
        )

    def missing(self, table: Mapping[str, Any]) -> str:
        """Why the data that a tensor refers to cannot be had, or nothing."""
        if table["external_buffer"]:
            return "lies in another file"
        buffer = _at(self.model["buffers"], table["buffer"]) if table["buffer"] else {"offset": 0}
        if buffer["offset"] <= 1 or buffer["offset"] + buffer["size"] <= len(self.data):
            return ""
        return f"lies at byte {buffer['offset']} to {buffer['offset'] + buffer['size']} of a file of {len(self.data)}"

    def tensor(self, name: str, table: Mapping[str, Any], details: Details, written: bool) -> Tensor:
        self.where[:] = [f"tensor '{name}'"]
        dtype = DTYPES.get(details.type) or WIDENED.get(details.type, DType.UINT8)
        data = None if written or table["is_variable"] else self.constant(table, details)
        quantization = _quantization(table["quantization"], table["shape"])
        return Tensor(name, table["shape"], dtype, quantization, data, table["is_variable"])

    def constant(self, table: Mapping[str, Any], details: Details) -> Array | None:
        """A tensor's data, or None when it has none or none that could be read."""
        unreadable = details.type not in DTYPES and details.type not in WIDENED
        if unreadable or details.sparse or details.missing:
            return None
        stored = self.stored(table["buffer"])
        shape = table["shape"]
        if not stored and 0 not in shape:
            return None
        values = _values(stored, details.type, prod(shape)).reshape(shape)
        values.flags.writeable = False
        return values

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
            tuple((entry["name"], _at(tensors, entry["tensor_index"]).name) for entry in table[side])
            for side in ("inputs", "outputs")
        )
        return Signature(table["signature_key"], table["subgraph_index"], inputs, outputs)


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


def _quantization(table: Mapping[str, Any] | None, shape: tuple[int, ...]) -> Quantization | None:
    """One scale is per tensor, whatever axis stands beside it; so is an axis other than 0 for a vector."""
    if table is None or not table["scale"]:
        return None
    scales: tuple[float, ...] = table["scale"]
    zero_point: int = next(iter(table["zero_point"]), 0)
    if len(scales) == 1:
        return Quantization(scales, zero_point)
    axis: int = table["quantized_dimension"] if len(shape) != 1 else 0
    if _at(shape, axis) != len(scales):
        raise ValueError(f"{len(scales)} scales for {shape[axis]} channels (axis {axis})")
    return Quantization(scales, zero_point, axis)


def _values(stored: memoryview, kind: str, elements: int) -> Array:
    """`elements` values of the file's type `kind`, in a natural dtype, aligned."""
    if kind == "INT4":
        return _unpack_int4(stored, elements)
    dtype = np.dtype(np.float16) if kind == "FLOAT16" else DTYPES[kind].numpy
    wanted = elements * dtype.itemsize
    if len(stored) != wanted:
        raise ValueError(f"{len(stored)} bytes of data instead of {wanted}")
    values: Array = np.frombuffer(stored, dtype.newbyteorder("<"))
    if kind == "BOOL":  # any byte but 0 is true
        values = np.frombuffer(stored, np.uint8) != 0
    return np.require(values, WIDENED[kind].numpy if kind in WIDENED else dtype, ["C", "A"]).view()


def _unpack_int4(stored: memoryview, elements: int) -> Array:
    """Two values a byte, the low half first, without gaps over the whole tensor; the last half byte may be spare."""
    if len(stored) != (elements + 1) // 2:
        raise ValueError(f"{len(stored)} bytes of data instead of {(elements + 1) // 2}")
    packed = np.frombuffer(stored, np.int8)
    halves = np.stack([packed << 4, packed & -16], axis=-1).astype(np.int8)
    return (halves >> 4).reshape(-1)[:elements]
