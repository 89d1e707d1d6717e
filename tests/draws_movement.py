"""Hypothesis strategies for the operators that only move values; `tests.draws` merges them into its own."""

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests import models_movement as models
from tests.draws import Case, Told, case
from tinycompiler.ops import Numerics, movement
from tinycompiler.ops.movement import Movement
from tinycompiler.tensor import DType

TYPES = ("int8", "int8", "int8", "uint8", "int16", "int32", "float32")
sizes = st.integers(1, 5)


@st.composite
def shapes(draw: DrawFn, least: int = 1, greatest: int = 4) -> tuple[int, ...]:
    return tuple(draw(sizes) for _ in range(draw(st.integers(least, greatest))))


def moved(make: Callable[..., bytes], told: SearchStrategy[Told], op: type[Movement]) -> SearchStrategy[Case]:
    """Cases of every type, each for the profiles whose judge moves it."""

    def typed(found: Case, dtype: str) -> Case:
        profiles = [n for n in Numerics if DType(dtype) in op.types[n]]
        if Numerics.TFLM in profiles and only_litert(found.told):
            profiles.remove(Numerics.TFLM)
        assume(profiles)
        return replace(found, told={**found.told, "dtype": dtype}, profiles=tuple(profiles))

    return st.builds(typed, case(make, told), st.sampled_from(TYPES))


def only_litert(told: Told) -> bool:
    """What TensorFlow Lite Micro misreads: indices other than one plain one an axis, SPACE_TO_BATCH_ND's paddings."""
    masks = told.get("masks", {})
    odd = any(masks.get(name) for name in ("ellipsis_mask", "new_axis_mask", "offset"))
    few = "masks" in told and len(told["begin"]) != len(told["shape"])
    return odd or few or ("block" in told and any(sum(p) for p in told.get("paddings", ())))


@st.composite
def _transpose(draw: DrawFn) -> Told:
    shape = draw(shapes(1, 5))
    return {"shape": shape, "axes": tuple(draw(st.permutations(range(len(shape)))))}


@st.composite
def _squeeze(draw: DrawFn) -> Told:
    shape = tuple(draw(st.sampled_from((1, 1, 2, 3))) for _ in range(draw(st.integers(2, 5))))
    ones = [i for i, n in enumerate(shape) if n == 1]
    assume(0 < len(ones) < len(shape))
    axes = tuple(a - draw(st.sampled_from((0, len(shape)))) for a in ones if draw(st.booleans()))
    return {"shape": shape, "axes": axes}


@st.composite
def _expand_dims(draw: DrawFn) -> Told:
    shape = draw(shapes())
    return {"shape": shape, "axis": draw(st.integers(-len(shape) - 1, len(shape)))}


@st.composite
def _slice(draw: DrawFn) -> Told:
    shape = draw(shapes(1, 5))
    begin = tuple(draw(st.integers(0, n - 1)) for n in shape)
    size = tuple(draw(st.sampled_from((-1, *range(1, n - b + 1)))) for n, b in zip(shape, begin, strict=True))
    return {"shape": shape, "begin": begin, "size": size}


@st.composite
def _strided_slice(draw: DrawFn) -> Told:
    shape = draw(shapes())
    kind = draw(st.sampled_from(("plain", "plain", "plain", "extended", "offset")))
    if kind == "offset":
        return draw(_offsets(shape))
    count = draw(st.sampled_from((len(shape), len(shape), draw(st.integers(1, len(shape))))))
    masks = {name: draw(st.integers(0, 2**count - 1)) for name in ("begin_mask", "end_mask", "shrink_axis_mask")}
    if kind == "extended":
        masks["new_axis_mask"] = draw(st.integers(0, 2**count - 1))
        masks["ellipsis_mask"] = draw(st.sampled_from((0, *(1 << i for i in range(count)))))
    begin = tuple(draw(st.integers(-7, 6)) for _ in range(count))
    end = tuple(draw(st.integers(-7, 6)) for _ in range(count))
    strides = tuple(draw(st.sampled_from((1, 1, 2, 3, -1, -2))) for _ in range(count))
    strides = tuple(1 if masks["shrink_axis_mask"] >> i & 1 else s for i, s in enumerate(strides))
    # which `begin_mask` overrules, unlike numpy
    begin = tuple(0 if masks["shrink_axis_mask"] & masks["begin_mask"] >> i & 1 else b for i, b in enumerate(begin))
    told = {"shape": shape, "begin": begin, "end": end, "strides": strides, "masks": masks}
    try:
        result = np.zeros(shape)[models.numpy_index(begin, end, strides, masks)]  # type: ignore[arg-type]
    except IndexError:
        result = np.zeros(0)
    assume(result.size and result.ndim)
    return told


@st.composite
def _offsets(draw: DrawFn, shape: tuple[int, ...]) -> Told:
    begin = tuple(draw(st.integers(0, n - 1)) for n in shape)
    end = tuple(draw(st.integers(1, n - b)) for n, b in zip(shape, begin, strict=True))
    strides = tuple(draw(st.sampled_from((1, 2, 3))) for _ in shape)
    return {"shape": shape, "begin": begin, "end": end, "strides": strides, "masks": {"offset": True}}


@st.composite
def _split(draw: DrawFn) -> Told:
    shape = list(draw(shapes()))
    axis, pieces = draw(st.integers(0, len(shape) - 1)), draw(st.integers(1, 4))
    shape[axis] *= pieces
    return {"shape": tuple(shape), "axis": axis - draw(st.sampled_from((0, len(shape)))), "pieces": pieces}


@st.composite
def _split_v(draw: DrawFn) -> Told:
    shape = list(draw(shapes()))
    axis = draw(st.integers(0, len(shape) - 1))
    parts = draw(st.lists(sizes, min_size=1, max_size=4))
    shape[axis] = sum(parts)
    if draw(st.booleans()):
        parts[draw(st.integers(0, len(parts) - 1))] = -1
    return {"shape": tuple(shape), "axis": axis - draw(st.sampled_from((0, len(shape)))), "sizes": tuple(parts)}


@st.composite
def _pack(draw: DrawFn) -> Told:
    shape = draw(shapes(1, 3))
    return {"shape": shape, "axis": draw(st.integers(-len(shape) - 1, len(shape))), "count": draw(st.integers(1, 4))}


@st.composite
def _unpack(draw: DrawFn) -> Told:
    shape = draw(shapes(2, 4))
    return {"shape": shape, "axis": draw(st.integers(-len(shape), len(shape) - 1))}


@st.composite
def _gather(draw: DrawFn) -> Told:
    shape = draw(shapes(1, 3))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    rank = draw(st.integers(0, 2))
    index_shape = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    assume(rank + len(shape) > 1)
    indices = [draw(st.integers(0, shape[axis] - 1)) for _ in range(prod(index_shape))]
    return {"shape": shape, "axis": axis, "indices": np.reshape(indices, index_shape).tolist()}


@st.composite
def _tile(draw: DrawFn) -> Told:
    shape = draw(shapes())
    return {"shape": shape, "repeats": tuple(draw(st.integers(1, 3)) for _ in shape)}


@st.composite
def _broadcast_to(draw: DrawFn) -> Told:
    target = draw(shapes(1, 5))
    shape = tuple(n if draw(st.booleans()) else 1 for n in target[draw(st.integers(0, len(target) - 1)) :])
    return {"shape": shape, "target": target}


@st.composite
def _fill(draw: DrawFn) -> Told:
    return {"shape": draw(shapes(1, 5))}


@st.composite
def _blocks(draw: DrawFn, deep: bool) -> Told:
    n, h, w, c = (draw(st.integers(1, 3)) for _ in range(4))
    b = draw(st.integers(1, 4))
    return {"shape": (n, h, w, c * b * b) if deep else (n, h * b, w * b, c), "block": b}


@st.composite
def _batch_to_space(draw: DrawFn) -> Told:
    spatial = draw(st.integers(1, 2))
    block = tuple(draw(st.integers(1, 3)) for _ in range(spatial))
    shape = (draw(st.integers(1, 2)) * prod(block), *(draw(st.integers(1, 4)) for _ in range(spatial)))
    before = [draw(st.integers(0, n * b - 1)) for n, b in zip(shape[1:], block, strict=True)]
    crops = [(a, draw(st.integers(0, n * b - 1 - a))) for a, n, b in zip(before, shape[1:], block, strict=True)]
    return {"shape": (*shape, draw(sizes)), "block": block, "crops": crops}


@st.composite
def _space_to_batch(draw: DrawFn) -> Told:
    block = tuple(draw(st.integers(1, 3)) for _ in range(draw(st.integers(1, 2))))
    spatial = [draw(st.integers(1, 6)) for _ in block]
    before = [draw(st.integers(0, 3)) for _ in block]
    paddings = [(a, -(n + a) % b + b * draw(st.integers(0, 1))) for a, n, b in zip(before, spatial, block, strict=True)]
    if draw(st.booleans()):
        spatial, paddings = [n * b for n, b in zip(spatial, block, strict=True)], [(0, 0)] * len(block)
    return {"shape": (draw(st.integers(1, 2)), *spatial, draw(sizes)), "block": block, "paddings": paddings}


@st.composite
def _resize(draw: DrawFn) -> Told:
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 7)), draw(st.integers(1, 7)), draw(st.integers(1, 3)))
    size = (draw(st.integers(1, 15)), draw(st.integers(1, 15)))
    corners, centers = draw(st.booleans()), draw(st.booleans())
    return {"shape": shape, "size": size, "align_corners": corners, "half_pixel_centers": centers}


@st.composite
def _padding(draw: DrawFn, greatest: int = 3) -> Told:
    shape = draw(shapes())
    return {
        "shape": shape,
        "paddings": [(draw(st.integers(0, greatest)), draw(st.integers(0, greatest))) for _ in shape],
    }


@st.composite
def _padv2(draw: DrawFn) -> Told:
    return {**draw(_padding()), "value": draw(st.sampled_from((0, 0, 0, 5, 127)))}


@st.composite
def _mirror_pad(draw: DrawFn) -> Told:
    shape, mode = draw(shapes()), draw(st.integers(0, 1))
    reach = [n - (mode == 0) for n in shape]
    return {
        "shape": shape,
        "mode": mode,
        "paddings": [(draw(st.integers(0, r)), draw(st.integers(0, r))) for r in reach],
    }


def usable(found: Case) -> bool:
    """A fill of several bytes that are not all the same has no kernel."""
    value: Any = found.told.get("value", 0)
    return found.told["dtype"] in ("int8", "uint8") or value == 0


MOVEMENT: dict[str, SearchStrategy[Case]] = {
    "BATCH_TO_SPACE_ND": moved(models.batch_to_space, _batch_to_space(), movement.BatchToSpace),
    "BROADCAST_TO": moved(models.broadcast_to, _broadcast_to(), movement.BroadcastTo),
    "DEPTH_TO_SPACE": moved(models.depth_to_space, _blocks(True), movement.DepthToSpace),
    "EXPAND_DIMS": case(models.expand_dims, _expand_dims()),
    "FILL": moved(models.fill, _fill(), movement.Fill),
    "GATHER": moved(models.gather, _gather(), movement.Gather),
    "MIRROR_PAD": moved(models.mirror_pad, _mirror_pad(), movement.MirrorPad),
    "PACK": moved(models.pack, _pack(), movement.Pack),
    "PADV2": moved(models.padv2, _padv2(), movement.Pad).filter(usable),
    "RESIZE_NEAREST_NEIGHBOR": moved(models.resize_nearest_neighbor, _resize(), movement.ResizeNearestNeighbor),
    "SHAPE": case(models.shape_, st.builds(lambda shape: {"shape": shape}, shapes(2, 4))),
    "SLICE": moved(models.slice_, _slice(), movement.Slice),
    "SPACE_TO_BATCH_ND": moved(models.space_to_batch, _space_to_batch(), movement.SpaceToBatch),
    "SPACE_TO_DEPTH": moved(models.space_to_depth, _blocks(False), movement.SpaceToDepth),
    "SPLIT": moved(models.split, _split(), movement.Split),
    "SPLIT_V": moved(models.split_v, _split_v(), movement.Split),
    "SQUEEZE": case(models.squeeze, _squeeze()),
    "STRIDED_SLICE": moved(models.strided_slice, _strided_slice(), movement.Slice),
    "TILE": moved(models.tile, _tile(), movement.Tile),
    "TRANSPOSE": moved(models.transpose, _transpose(), movement.Transpose),
    "UNPACK": moved(models.unpack, _unpack(), movement.Unpack),
}
