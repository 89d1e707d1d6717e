"""Test inputs: seeded random ones, extremes, and those that a user brings.

One vector holds an array for every network input. In firmware a vector is the bytes of its arrays, one after another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile, is_zipfile
from zlib import error as ZlibError

import numpy as np

from tinycompiler.errors import UsageError
from tinycompiler.graph import Graph
from tinycompiler.ops import Quantize
from tinycompiler.tensor import Array, DType, Tensor

MOST_BYTES = 1 << 27
"""Of a user's arrays, unpacked."""
# Everything that reading a damaged file can raise in numpy, zipfile and the system.
FOREIGN = (OSError, ValueError, EOFError, BadZipFile, ZlibError, MemoryError, RuntimeError, SyntaxError)


@dataclass(frozen=True, eq=False)
class Vector:
    """One inference's inputs, in the network's order; `label` says where they come from."""

    label: str
    values: tuple[Array, ...]

    @property
    def bytes(self) -> bytes:
        return b"".join(np.ascontiguousarray(v).astype(v.dtype.newbyteorder("<")).tobytes() for v in self.values)


def random_vectors(graph: Graph, count: int, seed: int) -> list[Vector]:
    """Uniform integers over the whole type; standard normal floats."""
    rng = np.random.default_rng(seed)
    return [
        Vector(f"random {i} of seed {seed}", tuple(_random(rng, graph.tensors[name]) for name in graph.inputs))
        for i in range(count)
    ]


def extreme_vectors(graph: Graph) -> list[Vector]:
    """All inputs lowest, highest, and zero."""
    inputs = [graph.tensors[name] for name in graph.inputs]
    return [
        Vector("all lowest", tuple(_full(t, _range(graph, t)[0]) for t in inputs)),
        Vector("all highest", tuple(_full(t, _range(graph, t)[1]) for t in inputs)),
        Vector("all zero", tuple(_full(t, 0 if t.dtype is DType.FLOAT32 else t.zero_point) for t in inputs)),
    ]


def user_vectors(graph: Graph, path: Path) -> list[Vector]:
    """From .npy (one input) or .npz (arrays named after the inputs, or in their order).

    Each array has the input's shape, or one more leading axis for several inferences. Raises UsageError.
    """
    return array_vectors(graph, _load(path), place=str(path), label=path.name)


def array_vectors(graph: Graph, arrays: Mapping[str, Array], *, place: str, label: str) -> list[Vector]:
    """The same from arrays at hand. `place` is for errors, `label` for the vectors. Raises UsageError."""
    inputs = [graph.tensors[name] for name in graph.inputs]
    if set(graph.inputs) <= set(arrays):
        chosen = [arrays[name] for name in graph.inputs]
    elif len(arrays) == len(inputs):
        chosen = list(arrays.values())
    else:
        found = f"arrays {', '.join(arrays)}" if arrays else "no array"
        raise UsageError(f"{place}: found {found}, wanted one for each input: {', '.join(map(str, inputs))}")
    greatest = _greatest(graph) or float(np.finfo(np.float32).max)
    stacks = [_stacked(place, array, tensor, greatest) for array, tensor in zip(chosen, inputs, strict=True)]
    if len({len(s) for s in stacks}) != 1:
        raise UsageError(f"{place}: the inputs have different numbers of inferences: {[len(s) for s in stacks]}")
    return [Vector(f"{label}[{i}]", tuple(np.ascontiguousarray(s[i]) for s in stacks)) for i in range(len(stacks[0]))]


class StoredAnswers:
    """A judge who knows the outputs of some inferences, one after another, from a file as inputs are read from one."""

    def __init__(self, graph: Graph, path: Path, count: int) -> None:
        outputs = Graph("", graph.outputs, (), (), graph.tensors)
        self.name, self.outputs = f"answers stored in {path.name}", graph.outputs
        rows = user_vectors(outputs, path)
        if len(rows) != count:
            raise UsageError(f"{path}: found outputs of {len(rows)} inferences, wanted {count} as in --input")
        self.rows = iter(rows)

    def reset(self) -> None:
        """There is nothing to forget."""

    def __call__(self, inputs: Sequence[Array], wanted: Sequence[str]) -> dict[str, Array]:
        """The outputs of the next inference, whatever its inputs."""
        values = dict(zip(self.outputs, next(self.rows).values, strict=True))
        return {name: values[name] for name in wanted}


def _load(path: Path) -> Mapping[str, Array]:
    """The arrays of a file by name; UsageError when it is none, or larger than MOST_BYTES when unpacked."""
    try:
        with path.open("rb") as stream:
            if not is_zipfile(stream):
                stream.seek(0)
                return {path.stem: _array(stream, path.stat().st_size)}
            with ZipFile(stream) as archive:
                entries = archive.infolist()
                if sum(entry.file_size for entry in entries) > MOST_BYTES:
                    raise ValueError(f"it unpacks to more than {MOST_BYTES:,} bytes")
                return {e.filename.removesuffix(".npy"): _array(archive.open(e), e.file_size) for e in entries}
    except FOREIGN as problem:
        what = "no array of numbers" if "pickle" in str(problem) else problem  # numpy's own words advise to trust it
        raise UsageError(f"{path}: cannot be read as .npy or .npz ({what}); save it with numpy.save") from problem


def _array(stream: IO[bytes], size: int) -> Array:
    """One array from `size` bytes, which are read whole, so that a header cannot promise more than there is."""
    if size > MOST_BYTES:
        raise ValueError(f"{size:,} bytes; up to {MOST_BYTES:,} are read")
    data = stream.read(MOST_BYTES)
    if not data.startswith(np.lib.format.MAGIC_PREFIX):
        raise ValueError("no array of numbers")
    array: Array = np.lib.format.read_array(BytesIO(data), allow_pickle=False)
    return array


def _stacked(place: str, array: Array, tensor: Tensor, greatest: float) -> Array:
    """(n, *shape) values of an input, each float at most `greatest` in magnitude."""
    several = ", ".join(["n", *map(str, tensor.shape)])
    wanted = f"wanted {tensor.dtype.value} of shape {tensor.shape}, or several as ({several})"
    if array.dtype != tensor.dtype.numpy:
        raise UsageError(f"{place}: input '{tensor.name}' is {array.dtype}, {wanted}")
    beyond = array[~(np.abs(array) <= greatest)] if tensor.dtype is DType.FLOAT32 else array[:0]
    if beyond.size:
        limit = f"at most {greatest:.6g} in magnitude, as far as the reference is defined"
        raise UsageError(f"{place}: input '{tensor.name}' holds {beyond.flat[0]}, wanted numbers of {limit}")
    if array.shape == tensor.shape:
        return array[np.newaxis]
    if array.shape[1:] == tensor.shape and len(array):
        return array
    if tensor.shape[:1] == (1,) and array.shape[1:] == tensor.shape[1:] and len(array):
        return array[:, np.newaxis]
    raise UsageError(f"{place}: input '{tensor.name}' has shape {array.shape}, {wanted}")


def _random(rng: np.random.Generator, tensor: Tensor) -> Array:
    if tensor.dtype is DType.FLOAT32:
        return rng.standard_normal(tensor.shape, dtype=np.float32)
    low, high = tensor.dtype.range
    return rng.integers(low, high + 1, size=tensor.shape, dtype=tensor.dtype.numpy)


def _range(graph: Graph, tensor: Tensor) -> tuple[float, float]:
    """Of floats, as far as QUANTIZE is defined: the references convert the quotient to int32 before they clamp it."""
    if tensor.dtype is not DType.FLOAT32:
        return tensor.dtype.range
    greatest = _greatest(graph) or 2.0**30
    return -greatest, greatest


def _greatest(graph: Graph) -> float | None:
    """The largest float that every QUANTIZE is defined for; None when there is none."""
    scales = [graph.tensors[n.outputs[0]].scale for n in graph.nodes if isinstance(n.op, Quantize)]
    return 2.0**30 * min(scales) if scales else None


def _full(tensor: Tensor, value: float) -> Array:
    return np.full(tensor.shape, value, tensor.dtype.numpy)


def batches(vectors: Sequence[Vector], room: int) -> list[list[Vector]]:
    """The vectors in runs that fit into `room` bytes of flash each, at least one in each."""
    size = max(1, room // max(1, len(vectors[0].bytes)))
    return [list(vectors[i : i + size]) for i in range(0, len(vectors), size)]
