"""Random networks of one operator that only moves values, as .tflite bytes; see `tests.models`.

Every function takes `dtype`, which all values have; int8, uint8 and int16 are quantized, the others are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypedDict, Unpack

import numpy as np

from tests.tflite_builder import ModelBuilder

Rng = np.random.Generator
Shape = tuple[int, ...]
Pair = tuple[int, int]
Pairs = Sequence[Pair]


class Numbers(TypedDict, total=False):
    """What every value is; what is not given is drawn (the type is int8)."""

    dtype: str
    scale: float
    zero_point: int


@dataclass(frozen=True)
class Parameter:
    """A constant input; `at` is where it stands among the inputs."""

    name: str
    values: Any
    dtype: str = "int32"
    at: int | None = None
    quantized: bool = False
    shape: Shape | None = None


@dataclass(frozen=True)
class Move:
    """An operator from some shapes to others."""

    operator: str
    inputs: Sequence[Shape]
    outputs: Sequence[Sequence[int]]
    options: dict[str, Any] | None = None
    parameters: Sequence[Parameter] = field(default=())
    version: int = 1

    def build(self, rng: Rng, told: Numbers) -> bytes:
        dtype = told.get("dtype", "int8")
        quantization = _quantization(rng, dtype, told)
        model = ModelBuilder(self.operator.lower())
        names = [f"input{i}" for i in range(len(self.inputs))]
        for name, shape in zip(names, self.inputs, strict=True):
            model.tensor(name, shape, dtype, **quantization)
        operands = list(names)
        for p in self.parameters:
            more = quantization if p.quantized else {}
            shape = np.shape(p.values) if p.shape is None else p.shape
            model.tensor(p.name, shape, p.dtype, data=np.asarray(p.values, p.dtype), **more)
            operands.insert(len(operands) if p.at is None else p.at, p.name)
        outputs = [f"output{i}" for i in range(len(self.outputs))]
        for name, sizes in zip(outputs, self.outputs, strict=True):
            model.tensor(name, sizes, dtype, **quantization)
        model.operator(self.operator, operands, outputs, options=self.options, version=self.version)
        return model.inputs(*names).outputs(*outputs).build()


def _quantization(rng: Rng, dtype: str, told: Numbers) -> dict[str, Any]:
    if dtype not in ("int8", "uint8", "int16"):
        return {}
    scale = told.get("scale", float(rng.uniform(0.01, 0.1)))
    drawn = {"int8": int(rng.integers(-60, 60)), "uint8": int(rng.integers(60, 200)), "int16": 0}[dtype]
    return {"scales": scale, "zero_points": told.get("zero_point", drawn) if dtype != "int16" else 0}


def transpose(rng: Rng, shape: Shape = (1, 4, 5, 3), axes: Shape = (0, 3, 1, 2), **told: Unpack[Numbers]) -> bytes:
    """TRANSPOSE."""
    output = [shape[a] for a in axes]
    return Move("TRANSPOSE", [shape], [output], {}, [Parameter("axes", axes)]).build(rng, told)


def squeeze(rng: Rng, shape: Shape = (1, 4, 1, 3), axes: Shape = (2,), **told: Unpack[Numbers]) -> bytes:
    """SQUEEZE of `axes`, of all axes of size 1 when there are none."""
    gone = {a % len(shape) for a in axes} or {i for i, n in enumerate(shape) if n == 1}
    output = [n for i, n in enumerate(shape) if i not in gone]
    return Move("SQUEEZE", [shape], [output], {"squeeze_dims": list(axes)}).build(rng, told)


def expand_dims(rng: Rng, shape: Shape = (4, 5, 3), axis: int = 0, **told: Unpack[Numbers]) -> bytes:
    """EXPAND_DIMS; a negative axis counts from behind the last."""
    output = list(shape)
    output.insert(axis % (len(shape) + 1), 1)
    return Move("EXPAND_DIMS", [shape], [output], {}, [Parameter("axis", [axis])]).build(rng, told)


def slice_(
    rng: Rng,
    shape: Shape = (1, 4, 5, 3),
    begin: Shape = (0, 1, 2, 0),
    size: Shape = (1, 2, -1, 2),
    **told: Unpack[Numbers],
) -> bytes:
    """SLICE; a size of -1 runs to the end."""
    output = [n - b if s < 0 else s for n, b, s in zip(shape, begin, size, strict=True)]
    parameters = [Parameter("begin", begin), Parameter("size", size)]
    return Move("SLICE", [shape], [output], {}, parameters).build(rng, told)


class Masks(TypedDict, total=False):
    """Bits of STRIDED_SLICE."""

    begin_mask: int
    end_mask: int
    shrink_axis_mask: int
    ellipsis_mask: int
    new_axis_mask: int
    offset: bool


def strided_slice(
    rng: Rng,
    shape: Shape = (1, 4, 5, 3),
    begin: Shape = (0, 3, 0, 0),
    end: Shape = (1, 0, 5, 3),
    strides: Shape = (1, -1, 2, 1),
    *,
    masks: Masks | None = None,
    **told: Unpack[Numbers],
) -> bytes:
    """STRIDED_SLICE, whose output shape is numpy's own."""
    masks = masks or {}
    output = np.zeros(shape, np.int8)[numpy_index(begin, end, strides, masks)].shape
    parameters = [Parameter("begin", begin), Parameter("end", end), Parameter("strides", strides)]
    return Move("STRIDED_SLICE", [shape], [output], dict(masks), parameters).build(rng, told)


def numpy_index(begin: Shape, end: Shape, strides: Shape, masks: Masks) -> tuple[Any, ...]:
    """What stands in the brackets in Python, by the meaning that TensorFlow gives to the masks."""

    def bit(mask: str, i: int) -> int:
        return int(masks.get(mask, 0)) >> i & 1  # type: ignore[call-overload]

    index: list[Any] = []
    for i, (b, e, s) in enumerate(zip(begin, end, strides, strict=True)):
        if bit("ellipsis_mask", i):
            index.append(Ellipsis)
        elif bit("new_axis_mask", i):
            index.append(None)
        elif bit("shrink_axis_mask", i):
            index.append(b)
        else:
            stop = e + b if masks.get("offset") else e
            index.append(slice(None if bit("begin_mask", i) else b, None if bit("end_mask", i) else stop, s))
    return tuple(index)


def split(rng: Rng, shape: Shape = (1, 4, 6, 3), axis: int = 2, pieces: int = 3, **told: Unpack[Numbers]) -> bytes:
    """SPLIT into equal pieces."""
    output = [n // pieces if i == axis % len(shape) else n for i, n in enumerate(shape)]
    parameters = [Parameter("axis", axis, at=0, shape=())]
    return Move("SPLIT", [shape], [output] * pieces, {"num_splits": pieces}, parameters).build(rng, told)


def split_v(
    rng: Rng, shape: Shape = (1, 4, 6, 3), axis: int = 2, sizes: Shape = (1, 3, 2), **told: Unpack[Numbers]
) -> bytes:
    """SPLIT_V; one size may be -1."""
    rest = shape[axis] - sum(n for n in sizes if n >= 0)
    outputs = [[(rest if s < 0 else s) if i == axis % len(shape) else n for i, n in enumerate(shape)] for s in sizes]
    parameters = [Parameter("sizes", sizes), Parameter("axis", axis, shape=())]
    return Move("SPLIT_V", [shape], outputs, {"num_splits": len(sizes)}, parameters).build(rng, told)


def pack(rng: Rng, shape: Shape = (4, 5, 3), axis: int = 1, count: int = 3, **told: Unpack[Numbers]) -> bytes:
    """PACK."""
    output = list(shape)
    output.insert(axis % (len(shape) + 1), count)
    return Move("PACK", [shape] * count, [output], {"values_count": count, "axis": axis}).build(rng, told)


def unpack(rng: Rng, shape: Shape = (2, 3, 4), axis: int = 1, **told: Unpack[Numbers]) -> bytes:
    """UNPACK."""
    output = [n for i, n in enumerate(shape) if i != axis % len(shape)]
    count = shape[axis]
    return Move("UNPACK", [shape], [output] * count, {"num": count, "axis": axis}).build(rng, told)


def gather(
    rng: Rng,
    shape: Shape = (2, 5, 3),
    axis: int = 1,
    indices: Any = (4, 0, 0, 2),
    **told: Unpack[Numbers],
) -> bytes:
    """GATHER with constant indices of any shape."""
    at = axis % len(shape)
    output = [*shape[:at], *np.shape(indices), *shape[at + 1 :]]
    options = {"axis": axis, "batch_dims": 0}
    return Move("GATHER", [shape], [output], options, [Parameter("indices", indices)]).build(rng, told)


def tile(rng: Rng, shape: Shape = (2, 1, 3), repeats: Shape = (1, 3, 2), **told: Unpack[Numbers]) -> bytes:
    """TILE."""
    output = [n * r for n, r in zip(shape, repeats, strict=True)]
    return Move("TILE", [shape], [output], {}, [Parameter("multiples", repeats)]).build(rng, told)


def broadcast_to(rng: Rng, shape: Shape = (1, 3, 1), target: Shape = (2, 4, 3, 2), **told: Unpack[Numbers]) -> bytes:
    """BROADCAST_TO."""
    return Move("BROADCAST_TO", [shape], [target], {}, [Parameter("shape", target)], 2).build(rng, told)


def fill(rng: Rng, shape: Shape = (2, 3), **told: Unpack[Numbers]) -> bytes:
    """FILL with a scalar that is an input."""
    return Move("FILL", [()], [shape], {}, [Parameter("dims", shape, at=0)]).build(rng, told)


def depth_to_space(rng: Rng, shape: Shape = (1, 2, 3, 12), block: int = 2, **told: Unpack[Numbers]) -> bytes:
    """DEPTH_TO_SPACE."""
    n, h, w, c = shape
    output = (n, h * block, w * block, c // block**2)
    return Move("DEPTH_TO_SPACE", [shape], [output], {"block_size": block}).build(rng, told)


def space_to_depth(rng: Rng, shape: Shape = (1, 4, 6, 3), block: int = 2, **told: Unpack[Numbers]) -> bytes:
    """SPACE_TO_DEPTH."""
    n, h, w, c = shape
    output = (n, h // block, w // block, c * block**2)
    return Move("SPACE_TO_DEPTH", [shape], [output], {"block_size": block}).build(rng, told)


def batch_to_space(
    rng: Rng,
    shape: Shape = (4, 2, 3, 2),
    block: Shape = (2, 2),
    crops: Pairs = ((0, 1), (1, 0)),
    **told: Unpack[Numbers],
) -> bytes:
    """BATCH_TO_SPACE_ND."""
    spatial = [n * b - sum(c) for n, b, c in zip(shape[1:], block, crops, strict=False)]
    output = (shape[0] // prod(block), *spatial, *shape[1 + len(block) :])
    parameters = [Parameter("block", block), Parameter("crops", crops)]
    return Move("BATCH_TO_SPACE_ND", [shape], [output], {}, parameters).build(rng, told)


def space_to_batch(
    rng: Rng,
    shape: Shape = (1, 3, 5, 2),
    block: Shape = (2, 2),
    paddings: Pairs = ((0, 1), (1, 0)),
    **told: Unpack[Numbers],
) -> bytes:
    """SPACE_TO_BATCH_ND."""
    spatial = [(n + sum(p)) // b for n, b, p in zip(shape[1:], block, paddings, strict=False)]
    output = (shape[0] * prod(block), *spatial, *shape[1 + len(block) :])
    parameters = [Parameter("block", block), Parameter("paddings", paddings)]
    return Move("SPACE_TO_BATCH_ND", [shape], [output], {}, parameters).build(rng, told)


def resize_nearest_neighbor(
    rng: Rng,
    shape: Shape = (1, 3, 4, 2),
    size: Pair = (7, 5),
    *,
    align_corners: bool = False,
    half_pixel_centers: bool = False,
    **told: Unpack[Numbers],
) -> bytes:
    """RESIZE_NEAREST_NEIGHBOR."""
    options = {"align_corners": align_corners, "half_pixel_centers": half_pixel_centers}
    output = (shape[0], *size, shape[3])
    version = 3 if align_corners or half_pixel_centers else 2
    parameters = [Parameter("size", size)]
    return Move("RESIZE_NEAREST_NEIGHBOR", [shape], [output], options, parameters, version).build(rng, told)


def _padded(shape: Shape, paddings: Pairs) -> list[int]:
    return [n + sum(p) for n, p in zip(shape, paddings, strict=True)]


PADDINGS: Pairs = ((0, 0), (1, 2), (0, 1), (0, 0))


def pad(rng: Rng, shape: Shape = (1, 4, 5, 3), paddings: Pairs = PADDINGS, **told: Unpack[Numbers]) -> bytes:
    """PAD with the zero point."""
    parameters = [Parameter("paddings", paddings)]
    return Move("PAD", [shape], [_padded(shape, paddings)], {}, parameters, 2).build(rng, told)


def padv2(
    rng: Rng,
    shape: Shape = (1, 4, 5, 3),
    paddings: Pairs = PADDINGS,
    value: float = 7,
    **told: Unpack[Numbers],
) -> bytes:
    """PADV2 with a constant of the values' own type."""
    each = Parameter("value", value, told.get("dtype", "int8"), quantized=True, shape=())
    parameters = [Parameter("paddings", paddings), each]
    return Move("PADV2", [shape], [_padded(shape, paddings)], {}, parameters, 2).build(rng, told)


def mirror_pad(
    rng: Rng, shape: Shape = (1, 4, 5, 3), paddings: Pairs = PADDINGS, mode: int = 0, **told: Unpack[Numbers]
) -> bytes:
    """MIRROR_PAD; mode 0 is REFLECT, 1 SYMMETRIC."""
    parameters = [Parameter("paddings", paddings)]
    return Move("MIRROR_PAD", [shape], [_padded(shape, paddings)], {"mode": mode}, parameters).build(rng, told)


def concatenation(
    rng: Rng, shapes: Sequence[Shape] = ((1, 4, 5, 3), (1, 4, 5, 2)), axis: int = 3, **told: Unpack[Numbers]
) -> bytes:
    """CONCATENATION."""
    output = list(shapes[0])
    output[axis] = sum(shape[axis] for shape in shapes)
    return Move("CONCATENATION", shapes, [output], {"axis": axis}).build(rng, told)


def reshape(rng: Rng, shape: Shape = (1, 4, 5, 3), target: Shape = (5, 12), **told: Unpack[Numbers]) -> bytes:
    """RESHAPE."""
    parameters = [Parameter("shape", target)]
    return Move("RESHAPE", [shape], [target], {"new_shape": list(target)}, parameters).build(rng, told)


def shape_(rng: Rng, shape: Shape = (2, 3, 4), **told: Unpack[Numbers]) -> bytes:
    """SHAPE, an axis of it, PACK and RESHAPE, as Keras writes a Flatten; folded when it is read."""
    quantization = _quantization(rng, told.get("dtype", "int8"), told)
    model = ModelBuilder("shape")
    model.tensor("input", shape, told.get("dtype", "int8"), **quantization)
    rest = prod(shape[1:])
    for name, data in (("zero", [0]), ("one", [1]), ("step", [1]), ("rest", rest)):
        model.tensor(name, np.shape(data), "int32", data=data)
    model.tensor("shape", (len(shape),), "int32")
    model.tensor("batch", (), "int32")
    model.tensor("wanted", (2,), "int32")
    model.tensor("output", (shape[0], rest), told.get("dtype", "int8"), **quantization)
    model.operator("SHAPE", ["input"], ["shape"], options={"out_type": 2})
    masks = {"shrink_axis_mask": 1}
    model.operator("STRIDED_SLICE", ["shape", "zero", "one", "step"], ["batch"], options=masks)
    model.operator("PACK", ["batch", "rest"], ["wanted"], options={"values_count": 2, "axis": 0})
    model.operator("RESHAPE", ["input", "wanted"], ["output"])
    return model.inputs("input").outputs("output").build()
