"""TFLite's sparse constants become dense ones.

A file says in which order the axes are traversed, which of them are in blocks (a block's own axes come last), and of
each axis either that all of its places are there or, as in compressed rows, which: for every place above, `segments`
say where its own among the `indices` begin and end. The data holds the values of all places in that order.

Two operators of LiteRT's reference read such constants: DENSIFY, which is done here, and FULLY_CONNECTED, which reads
blocks of 1x16 and rounds otherwise than it does with dense weights. Every claim is checked before anything is read:
what indices say is where values go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np

from tinycompiler.ops import FullyConnected, Op
from tinycompiler.ops.base import Ints
from tinycompiler.readers.constants import stored_bytes, unpacked
from tinycompiler.readers.file import Operator, Subgraph
from tinycompiler.readers.operators import Refused
from tinycompiler.tensor import Array, Tensor

DENSE, COMPRESSED = 0, 1
"""Formats of an axis."""
MOST_ELEMENTS = 1 << 23
"""Of a constant: beyond any board's flash, and what a few bytes of a damaged file may ask for."""


class Lie(Exception):
    """What a file says of a sparse constant cannot be; the words go behind "stored sparse, "."""


def blocks_of(parameters: Mapping[str, Any]) -> str:
    """ "1x16" for a matrix in blocks as FULLY_CONNECTED reads them, "other" for anything else."""
    axes = parameters["dim_metadata"]
    formats = tuple(axis["format"] for axis in axes)
    is_read = parameters["traversal_order"] == (0, 1, 2) and parameters["block_map"] == (1,)
    return "1x16" if is_read and formats == (DENSE, COMPRESSED, DENSE) and axes[2]["dense_size"] == 16 else "other"


def dense(parameters: Mapping[str, Any], shape: Sequence[int], stored: memoryview, kind: str) -> Array:
    """All values of a constant of `shape` and the file's type `kind`. Lie when that cannot be."""
    if prod(shape) > MOST_ELEMENTS or min(shape, default=1) < 1:
        raise Lie(f"in a shape of {prod(shape):,} elements, wanted 1 to {MOST_ELEMENTS:,}")
    places = np.zeros(1, np.int64)
    for axis, size, step in _axes(parameters, shape):
        places = _below(places, parameters["dim_metadata"][axis], f"axis {axis} of its order", size, step)
    wanted = stored_bytes(kind, len(places))
    if len(stored) != wanted:
        raise Lie(f"with {len(stored)} bytes of values, wanted {wanted} for {len(places)} places")
    values = unpacked(stored, kind, (len(places),))
    result = np.zeros(prod(shape), values.dtype)
    result[places] = values
    result.flags.writeable = False
    return result.reshape(shape)


def _axes(parameters: Mapping[str, Any], shape: Sequence[int]) -> list[tuple[int, int, int]]:
    """In order of traversal: (place in that order, its places, from one to the next in the dense constant)."""
    order, blocked, axes = (parameters[key] for key in ("traversal_order", "block_map", "dim_metadata"))
    rank, count = len(shape), len(shape) + len(blocked)
    if sorted(order[:rank]) != list(range(rank)) or sorted(order[rank:]) != list(range(rank, count)):
        raise Lie(f"in an order of axes {order[:16]}, wanted one of {rank} axes and then of {len(blocked)} of blocks")
    if len(axes) != count:
        raise Lie(f"with {len(axes)} descriptions of axes, wanted {count}")
    if len(set(blocked)) != len(blocked) or not set(blocked) <= set(range(rank)):
        raise Lie(f"in blocks along axes {blocked[:16]}, wanted different ones of 0 to {rank - 1}")
    steps = list(accumulate(reversed(shape), lambda a, b: a * b, initial=1))[-2::-1]
    sizes = list(shape)
    for place, axis in enumerate(order[rank:], rank):
        own = blocked[axis - rank]
        size = axes[place]["dense_size"]
        if axes[place]["format"] != DENSE or size < 1 or shape[own] % size:
            raise Lie(f"in blocks of {size} along axis {own} of {shape[own]}, wanted a size that divides it")
        sizes[own] //= size
    each = [shape[axis] // sizes[axis] for axis in range(rank)]
    outer = [(place, sizes[axis], steps[axis] * each[axis]) for place, axis in enumerate(order[:rank])]
    inner = [(blocked[axis - rank], place) for place, axis in enumerate(order[rank:], rank)]
    return outer + [(place, each[own], steps[own]) for own, place in inner]


def _below(places: Ints, axis: Mapping[str, Any], name: str, size: int, step: int) -> Ints:
    """Where the places of an axis lie that stand under each of `places`."""
    if axis["format"] == DENSE:
        if axis["dense_size"] != size:
            raise Lie(f"with {axis['dense_size']} places in {name}, wanted {size}")
        result: Ints = (places[:, None] + step * np.arange(size)).reshape(-1)
        return result
    if axis["format"] != COMPRESSED:
        raise Lie(f"with {name} in format {axis['format']}, wanted 0 (dense) or 1 (compressed)")
    segments, indices = _numbers(axis["array_segments"]), _numbers(axis["array_indices"])
    if len(segments) != len(places) + 1 or segments[0] != 0 or segments[-1] != len(indices):
        ends = f"{segments[0]} to {segments[-1]}" if len(segments) else "none"
        raise Lie(
            f"with {len(segments)} segments of {name} ({ends}), wanted {len(places) + 1} from 0 to {len(indices)}, "
            "the number of its indices"
        )
    lengths = np.diff(segments)
    if (lengths < 0).any():
        raise Lie(f"with segments of {name} that end before they begin")
    if len(indices) and not 0 <= indices.min() <= indices.max() < size:
        raise Lie(f"with indices of {name} from {indices.min()} to {indices.max()}, wanted 0 to {size - 1}")
    parents = np.repeat(np.arange(len(places)), lengths)
    if ((np.diff(indices) <= 0) & (np.diff(parents) == 0)).any():
        raise Lie(f"with indices of {name} that are not in order")
    under: Ints = places[parents] + step * indices
    return under


def _numbers(vector: tuple[str, Mapping[str, Any]] | None) -> Ints:
    """Of a vector of any width; none where there is none."""
    return np.array(vector[1].get("values", ()) if vector else (), np.int64)


def densified(operator: Operator, tensors: Mapping[str, Tensor]) -> Tensor:
    """DENSIFY's output as a constant; Refused where nothing says what it would be."""
    source = tensors[operator.inputs[0] or ""]
    if len(operator.outputs) != 1 or tensors[operator.outputs[0]].shape != source.shape:
        raise Refused(f"it makes another shape of '{source}'; the file is inconsistent")
    y = tensors[operator.outputs[0]]
    if y.dtype is not source.dtype:
        raise Refused(f"it makes another type of '{source}'; the file is inconsistent")
    return replace(y, data=source.values)


def told(op: Op, operator: Operator, main: Subgraph) -> Op:
    """The operator, knowing that its weights are stored sparse; Refused where the reference does not read them."""
    sparse = [name for name in operator.inputs if name and main.details[name].sparse]
    if not sparse:
        return op
    weights = operator.inputs[1] if len(operator.inputs) > 1 else None
    if not isinstance(op, FullyConnected) or sparse != [weights]:
        raise Refused(
            f"'{sparse[0]}' is stored sparse, which the reference reads as the weights of FULLY_CONNECTED only; "
            "convert without tf.lite.Optimize.EXPERIMENTAL_SPARSITY"
        )
    if main.details[sparse[0]].sparse != "1x16":
        raise Refused(
            f"'{sparse[0]}' is stored sparse, but not in blocks of 1x16, and the reference runs no others in "
            "FULLY_CONNECTED; convert without tf.lite.Optimize.EXPERIMENTAL_SPARSITY"
        )
    return replace(op, sparse=True)
