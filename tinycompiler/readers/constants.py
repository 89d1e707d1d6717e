"""The bytes of a constant become numpy values in a natural dtype, aligned and read-only."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from tinycompiler.tensor import Array, DType

# The file's types that a Tensor can hold, and below them those that are widened on reading, where `blockers` lets them.
DTYPES: Mapping[str, DType] = MappingProxyType({dtype.name: dtype for dtype in DType})
WIDENED: Mapping[str, DType] = MappingProxyType({"FLOAT16": DType.FLOAT32, "INT4": DType.INT8, "INT2": DType.INT8})
BITS: Mapping[str, int] = MappingProxyType({"INT4": 4, "INT2": 2})  # of types that share bytes
MOST_AXES = 8  # of a tensor; the format's own operators go no further


def readable(kind: str) -> bool:
    """Whether values of the file's type `kind` can be read."""
    return kind in DTYPES or kind in WIDENED


def stored_bytes(kind: str, elements: int) -> int:
    """Bytes that `elements` values of a readable type take in the file."""
    if kind in BITS:
        return -(-elements * BITS[kind] // 8)
    return elements * (2 if kind == "FLOAT16" else DTYPES[kind].bytes)


def unpacked(stored: memoryview, kind: str, shape: tuple[int, ...]) -> Array:
    """Values of the file's type `kind`; `stored` has exactly as many bytes as they take."""
    if kind in BITS:
        values = _parts(stored, BITS[kind])[: int(np.prod(shape, dtype=np.int64))]
    elif kind == "BOOL":  # any byte but 0 is true
        values = np.frombuffer(stored, np.uint8) != 0
    else:
        dtype = np.dtype(np.float16) if kind == "FLOAT16" else DTYPES[kind].numpy
        values = np.frombuffer(stored, dtype.newbyteorder("<"))
    natural = (WIDENED.get(kind) or DTYPES[kind]).numpy
    result: Array = np.require(values, natural, ["C", "A"]).reshape(shape).view()
    result.flags.writeable = False
    return result


def _parts(stored: memoryview, bits: int) -> Array:
    """Several signed values a byte, the lowest bits first, without gaps over the whole tensor; the last byte may have
    bits to spare.
    """
    packed = np.frombuffer(stored, np.int8)
    raised = [packed << (8 - bits - shift) for shift in range(0, 8, bits)]
    return (np.stack(raised, axis=-1).astype(np.int8) >> (8 - bits)).reshape(-1)
