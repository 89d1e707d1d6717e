"""Test inputs: seeded random ones, extremes, and those that a user brings.

One vector holds an array for every network input. In firmware a vector is the bytes of its arrays, one after another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from tinycompiler.errors import UsageError
from tinycompiler.graph import Graph
from tinycompiler.ops import Quantize
from tinycompiler.tensor import Array, DType, Tensor


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
    arrays = _load(path)
    inputs = [graph.tensors[name] for name in graph.inputs]
    if set(graph.inputs) <= set(arrays):
        chosen = [arrays[name] for name in graph.inputs]
    elif len(arrays) == len(inputs):
        chosen = list(arrays.values())
    else:
        found = f"arrays {', '.join(arrays)}" if arrays else "no array"
        raise UsageError(f"{path}: found {found}, wanted one for each input: {', '.join(map(str, inputs))}")
    stacks = [_stacked(path, array, tensor) for array, tensor in zip(chosen, inputs, strict=True)]
    if len({len(s) for s in stacks}) != 1:
        raise UsageError(f"{path}: the inputs have different numbers of inferences: {[len(s) for s in stacks]}")
    return [
        Vector(f"{path.name}[{i}]", tuple(np.ascontiguousarray(s[i]) for s in stacks)) for i in range(len(stacks[0]))
    ]


def _load(path: Path) -> Mapping[str, Array]:
    try:
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {path.stem: loaded}
            with loaded:
                return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, BadZipFile) as problem:
        what = "no array of numbers" if "pickle" in str(problem) else problem  # numpy's own words advise to trust it
        raise UsageError(f"{path}: cannot be read as .npy or .npz ({what}); save it with numpy.save") from problem


def _stacked(path: Path, array: Array, tensor: Tensor) -> Array:
    several = ", ".join(["n", *map(str, tensor.shape)])
    wanted = f"wanted {tensor.dtype.value} of shape {tensor.shape}, or several as ({several})"
    if array.dtype != tensor.dtype.numpy:
        raise UsageError(f"{path}: input '{tensor.name}' is {array.dtype}, {wanted}")
    if array.shape == tensor.shape:
        return array[np.newaxis]
    if array.shape[1:] == tensor.shape and len(array):
        return array
    if tensor.shape[:1] == (1,) and array.shape[1:] == tensor.shape[1:] and len(array):
        return array[:, np.newaxis]
    raise UsageError(f"{path}: input '{tensor.name}' has shape {array.shape}, {wanted}")


def _random(rng: np.random.Generator, tensor: Tensor) -> Array:
    if tensor.dtype is DType.FLOAT32:
        return rng.standard_normal(tensor.shape, dtype=np.float32)
    low, high = tensor.dtype.range
    return rng.integers(low, high + 1, size=tensor.shape, dtype=tensor.dtype.numpy)


def _range(graph: Graph, tensor: Tensor) -> tuple[float, float]:
    """Of floats, as far as QUANTIZE is defined: the references convert the quotient to int32 before they clamp it."""
    if tensor.dtype is not DType.FLOAT32:
        return tensor.dtype.range
    scales = [graph.tensors[n.outputs[0]].scale for n in graph.nodes if isinstance(n.op, Quantize)]
    greatest = 2.0**30 * min(scales, default=1.0)
    return -greatest, greatest


def _full(tensor: Tensor, value: float) -> Array:
    return np.full(tensor.shape, value, tensor.dtype.numpy)


def batches(vectors: Sequence[Vector], room: int) -> list[list[Vector]]:
    """The vectors in runs that fit into `room` bytes of flash each, at least one in each."""
    size = max(1, room // max(1, len(vectors[0].bytes)))
    return [list(vectors[i : i + size]) for i in range(0, len(vectors), size)]
