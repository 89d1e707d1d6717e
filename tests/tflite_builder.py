"""Writes .tflite files for tests, by the tables that the reader reads them by; foreign interpreters are the judge."""

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import ArrayLike

from tinycompiler.readers import schema
from tinycompiler.readers.flatbuffer import FIELDS, SCALARS, Field

# Options tables without fields, which the reader need not know.
EMPTY_OPTIONS = {
    "ASSIGN_VARIABLE": "AssignVariableOptions",
    "BATCH_TO_SPACE_ND": "BatchToSpaceNDOptions",
    "BROADCAST_TO": "BroadcastToOptions",
    "DEQUANTIZE": "DequantizeOptions",
    "EXPAND_DIMS": "ExpandDimsOptions",
    "FILL": "FillOptions",
    "LOG_SOFTMAX": "LogSoftmaxOptions",
    "PAD": "PadOptions",
    "PADV2": "PadV2Options",
    "QUANTIZE": "QuantizeOptions",
    "READ_VARIABLE": "ReadVariableOptions",
    "SLICE": "SliceOptions",
    "SPACE_TO_BATCH_ND": "SpaceToBatchNDOptions",
    "TILE": "TileOptions",
    "TRANSPOSE": "TransposeOptions",
}
DATA_ALIGNMENT = 16  # bytes, as the schema asks for buffers


def encode(values: Mapping[str, Any]) -> bytes:
    """The file with `values` as its Model table."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(_table(builder, "Model", values), schema.IDENTIFIER)
    return bytes(builder.Output())


def _table(builder: flatbuffers.Builder, name: str, values: Mapping[str, Any]) -> int:
    """Writes what the table refers to, then the table; absent values take no room."""
    fields = [field for field in FIELDS.get(name, ()) if values.get(field.name) is not None]
    unknown = set(values) - {field.name for field in fields if field.kind != "-"}
    assert not {key for key in unknown if values[key] is not None}, f"{name} has no {unknown}"
    written = {field.name: _reference(builder, field, values[field.name]) for field in fields}
    slots = max((field.slot + 1 for field in FIELDS.get(name, ())), default=0)
    builder.StartObject(slots)
    for field in fields:
        value = values[field.name]
        if field.kind == "scalar":
            builder.PrependSlot(SCALARS[field.of], field.slot, value, field.default)
        else:
            builder.PrependUOffsetTRelativeSlot(field.slot, written[field.name], 0)
        if field.kind == "union":
            builder.PrependUint8Slot(field.slot - 1, schema.UNIONS[field.of].index(value[0]), 0)
    return int(builder.EndObject())


def _reference(builder: flatbuffers.Builder, field: Field, value: Any) -> int | None:
    match field.kind:
        case "scalar":
            return None
        case "string":
            return int(builder.CreateString(value))
        case "bytes":
            builder.Prep(DATA_ALIGNMENT, len(value))
            return int(builder.CreateByteVector(bytes(value)))
        case "table":
            return _table(builder, field.of, value)
        case "union":
            return _table(builder, *value)
        case "scalars":
            return _vector(builder, SCALARS[field.of], value)
        case _:
            offsets = [_table(builder, field.of, item) for item in value]
            builder.StartVector(4, len(offsets), 4)
            for offset in reversed(offsets):
                builder.PrependUOffsetTRelative(offset)
            return int(builder.EndVector())


def _vector(builder: flatbuffers.Builder, flags: Any, values: Sequence[Any]) -> int:
    dtype = flatbuffers.number_types.to_numpy_type(flags)
    return int(builder.CreateNumpyVector(np.asarray(values, dtype)))


def pack(values: ArrayLike, bits: int) -> bytes:
    """Several values a byte, the lowest bits first."""
    flat, each = np.asarray(values, np.int64).reshape(-1), 8 // bits
    parts = np.pad(flat, (0, -flat.size % each)).reshape(-1, each) & (2**bits - 1)
    return (parts << np.arange(0, 8, bits)).sum(axis=1).astype(np.uint8).tobytes()


class ModelBuilder:
    """A model of one subgraph, said tensor by tensor and operator by operator."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._tensors: list[dict[str, Any]] = []
        self._indices: dict[str, int] = {}
        self._operators: list[dict[str, Any]] = []
        self._codes: list[dict[str, Any]] = []
        self._buffers: list[dict[str, Any]] = [{}]
        self._inputs: list[int] = []
        self._outputs: list[int] = []

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str | np.dtype[Any] = "int8",
        *,
        scales: float | Sequence[float] | None = None,
        zero_points: int | Sequence[int] = 0,
        axis: int = 0,
        data: ArrayLike | None = None,
        variable: bool = False,
        shape_signature: Sequence[int] | None = None,
        **more: Any,
    ) -> str:
        """A tensor; `dtype` is numpy's or the file's own name ("INT4"), `more` are further fields of the table."""
        kind = dtype if isinstance(dtype, str) and dtype.isupper() else np.dtype(dtype).name.upper()
        quantization = None
        if scales is not None:
            each = np.atleast_1d(np.asarray(scales, float))
            points = np.broadcast_to(zero_points, each.shape).tolist()
            quantization = {"scale": each.tolist(), "zero_point": points, "quantized_dimension": axis}
        self._indices[name] = len(self._tensors)
        table = {
            "shape": list(shape),
            "type": schema.TENSOR_TYPES.index(kind),
            "buffer": 0 if data is None else self.buffer(data, kind),
            "name": name,
            "quantization": quantization,
            "is_variable": variable,
            "shape_signature": shape_signature,
            "has_rank": True,
        }
        self._tensors.append({**table, **more})
        return name

    def buffer(self, data: ArrayLike, kind: str) -> int:
        """The number of a new buffer with `data`, which is bytes already or values of the type `kind`."""
        if isinstance(data, bytes):
            stored = data
        elif kind in ("INT4", "INT2"):
            stored = pack(data, int(kind[3:]))
        else:
            stored = np.ascontiguousarray(data, kind.lower()).tobytes()
        self._buffers.append({"data": stored})
        return len(self._buffers) - 1

    def operator(
        self,
        name: str,
        inputs: Sequence[str | None],
        outputs: Sequence[str],
        *,
        options: Mapping[str, Any] | None = None,
        version: int = 1,
        custom_options: bytes | None = None,
    ) -> "ModelBuilder":
        """An operator, "CUSTOM:<name>" for a custom one; `options` None writes no options table at all."""
        table = schema.OPTIONS.get(name) or EMPTY_OPTIONS.get(name)
        self._operators.append(
            {
                "opcode_index": self._code(name, version),
                "inputs": [-1 if tensor is None else self._indices[tensor] for tensor in inputs],
                "outputs": [self._indices[tensor] for tensor in outputs],
                "builtin_options": (table, options) if table and options is not None else None,
                "custom_options": custom_options,
            }
        )
        return self

    def _code(self, name: str, version: int) -> int:
        builtin, _, custom = name.partition(":")
        number = schema.OPERATORS.index(builtin)
        code = {
            "deprecated_builtin_code": min(number, 127),
            "builtin_code": number,
            "custom_code": custom or None,
            "version": version,
        }
        if code not in self._codes:
            self._codes.append(code)
        return self._codes.index(code)

    def inputs(self, *names: str) -> "ModelBuilder":
        self._inputs = [self._indices[name] for name in names]
        return self

    def outputs(self, *names: str) -> "ModelBuilder":
        self._outputs = [self._indices[name] for name in names]
        return self

    def values(self) -> dict[str, Any]:
        """The Model table, for tests that change something that no method here changes."""
        subgraph = {
            "tensors": self._tensors,
            "inputs": self._inputs,
            "outputs": self._outputs,
            "operators": self._operators,
            "name": "main",
        }
        return {
            "version": 3,
            "operator_codes": self._codes,
            "subgraphs": [subgraph],
            "description": self.name,
            "buffers": self._buffers,
        }

    def build(self) -> bytes:
        return encode(self.values())
