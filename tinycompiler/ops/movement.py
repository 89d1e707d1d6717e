"""Operators that move values and compute nothing: PAD, CONCATENATION, TRANSPOSE, slices, splits, tiles, and RESHAPE.

Such an operator says only, in numpy, where each output value comes from (`rearrange`). Its kernel finds the loops
itself, by rearranging the inputs' indices instead of their values, so the next one of this family is a few lines.
Shape rules are arithmetic of their own: a broken file may ask for an output that no memory holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from tinycompiler.ops.base import Numerics, Op, Shape, Tensors, Values
from tinycompiler.tensor import Array, DType

GREATEST = 1 << 22
"""Elements of a tensor: more than any microcontroller holds, and few enough to be moved one by one on the host."""

USUAL = (DType.INT8, DType.INT16, DType.INT32, DType.FLOAT32)


def moves(litert: str = "", tflm: str = "") -> Mapping[Numerics, tuple[DType, ...]]:
    """The types that each judge was seen to move, beside those of `USUAL`; a word after `-` is one of these less."""

    def types(words: str) -> tuple[DType, ...]:
        added = [DType(w) for w in words.split() if not w.startswith("-")]
        return (*(t for t in USUAL if f"-{t.value}" not in words.split()), *added)

    return MappingProxyType({Numerics.LITERT: types(litert), Numerics.TFLM: types(tflm)})


def up_to(litert: int, tflm: int) -> Mapping[Numerics, int]:
    """The greatest rank that each judge was seen to move (8: no limit was found)."""
    return MappingProxyType({Numerics.LITERT: litert, Numerics.TFLM: tflm})


def same_quantization(inputs: Tensors, outputs: Tensors) -> str | None:
    """A sentence when some input's type or quantization is not the output's."""
    for x in inputs:
        for y in outputs:
            if x.dtype is not y.dtype or x.quantization != y.quantization:
                found = f"'{x.name}' {x.dtype.value} {x.quantization} and '{y.name}' {y.dtype.value} {y.quantization}"
                return f"{found} must have the same type and quantization"
    return None


@dataclass(frozen=True)
class Movement(Op):
    """Base: every output value is some input value, or the fill."""

    types: ClassVar[Mapping[Numerics, tuple[DType, ...]]] = moves("uint8")
    ranks: ClassVar[Mapping[Numerics, int]] = up_to(8, 8)
    moves_scalars: ClassVar[bool] = True

    def rearrange(self, values: Values, fill: float) -> tuple[Array, ...]:
        """The outputs for arrays of any type; indexing only, no arithmetic."""
        raise NotImplementedError

    def fill(self, outputs: Tensors) -> float:
        """What stands where no input value goes."""
        return outputs[0].zero_point

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        for t in (*inputs, *outputs):
            if t.elements > GREATEST:
                return f"tensor '{t.name}' has {t.elements:,} elements; at most {GREATEST:,} are supported"
            if t.quantization is not None and t.quantization.axis is not None and not t.is_constant:
                return f"activation '{t.name}' has {len(t.quantization.scales)} scales; one per tensor is supported"
        return same_quantization(inputs, outputs)

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        known, found = self.types[numerics], outputs[0].dtype
        if all(t.is_constant for t in inputs):
            return None
        rank = max(len(t.shape) for t in (*inputs, *outputs))
        if known and rank > self.ranks[numerics]:
            return f"rank {rank}, and the reference of {numerics.value} moves up to rank {self.ranks[numerics]}"
        if rank == 0 and not self.moves_scalars:
            return f"it moves a scalar, of which no reference makes anything definite; remove the {self.name}"
        if found in known:
            return None
        if not known:
            return f"the reference of {numerics.value} does not have this operator; use --numerics litert"
        names = ", ".join(t.value for t in known)
        return f"values are {found.value}, and the reference of {numerics.value} moves {names}"

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        moved = self.rearrange(values, self.fill(outputs))
        return tuple(np.asarray(y, t.dtype.numpy, order="C") for y, t in zip(moved, outputs, strict=True))


@dataclass(frozen=True)
class Assign(Movement):
    """Keeps a value as state for the next inference."""

    name: ClassVar[str] = "ASSIGN_VARIABLE"
    types: ClassVar[Mapping[Numerics, tuple[DType, ...]]] = moves("uint8 int64 bool", "uint8 int64 bool")

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (inputs[0].shape,)

    def rearrange(self, values: Values, fill: float) -> tuple[Array, ...]:
        return (values[0],)


@dataclass(frozen=True)
class Copy(Assign):
    """The same values in memory of their own."""

    name: ClassVar[str] = "COPY"


@dataclass(frozen=True)
class Pad(Movement):
    """x, `before` and `after` elements of `value` (the zero point, when None) added along each axis."""

    name: ClassVar[str] = "PAD"
    ranks: ClassVar[Mapping[Numerics, int]] = up_to(5, 5)
    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float | None = None

    def fill(self, outputs: Tensors) -> float:
        return outputs[0].zero_point if self.value is None else self.value

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        if min((*self.before, *self.after, 0)) < 0:
            return "negative paddings are not supported"
        return super().why_not(inputs, outputs)

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (_widened(inputs[0].shape, self.before, self.after),)

    def rearrange(self, values: Values, fill: float) -> tuple[Array, ...]:
        widths = tuple(zip(self.before, self.after, strict=True))
        return (np.pad(values[0], widths, constant_values=fill) if widths else values[0],)  # numpy pads no scalars


def _widened(shape: Shape, before: Shape, after: Shape) -> Shape:
    return tuple(n + b + a for n, b, a in zip(shape, before, after, strict=True))


@dataclass(frozen=True)
class MirrorPad(Movement):
    """x with its border mirrored; without the border itself (REFLECT), or with it (SYMMETRIC)."""

    name: ClassVar[str] = "MIRROR_PAD"
    types: ClassVar[Mapping[Numerics, tuple[DType, ...]]] = moves("uint8", "-int16 -int32")
    before: tuple[int, ...]
    after: tuple[int, ...]
    reflect: bool

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        for b, a, n in zip(self.before, self.after, inputs[0].shape, strict=True):
            if min(a, b) < 0 or max(a, b) > n - self.reflect:
                return f"paddings {b} and {a} of an axis of {n} cannot be mirrored"
        return super().why_not(inputs, outputs)

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (_widened(inputs[0].shape, self.before, self.after),)

    def rearrange(self, values: Values, fill: float) -> tuple[Array, ...]:
        widths = tuple(zip(self.before, self.after, strict=True))
        return (np.pad(values[0], widths, mode="reflect" if self.reflect else "symmetric") if widths else values[0],)


@dataclass(frozen=True)
class Concatenation(Movement):
    """Inputs that agree in all axes but one, joined along it."""

    name: ClassVar[str] = "CONCATENATION"
    axis: int

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        others = {(*x.shape[: self.axis], *x.shape[self.axis + 1 :]) for x in inputs}
        if len(others) > 1 or any(len(x.shape) <= self.axis for x in inputs):
            return f"shapes {[x.shape for x in inputs]} do not join along axis {self.axis}"
        return super().why_not(inputs, outputs)

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (_with(inputs[0].shape, self.axis, sum(x.shape[self.axis] for x in inputs)),)

    def rearrange(self, values: Values, fill: float) -> tuple[Array, ...]:
        return (np.concatenate(values, axis=self.axis),)


def _with(shape: Shape, axis: int, *sizes: int) -> Shape:
    """A shape with other sizes (none: the axis goes) in place of one axis."""
    return (*shape[:axis], *sizes, *shape[axis + 1 :])


@dataclass(frozen=True)
class Pack(Movement):
    """Inputs of one shape, stacked along a new axis."""

    name: ClassVar[str] = "PACK"
    axis: int

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        if len({x.shape for x in inputs}) != 1:
            return f"shapes {[x.shape for x in inputs]} do not stack; they must be one"
        return super().why_not(inputs, outputs)

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        shape = inputs[0].shape
        return ((*shape[: self.axis], len(inputs), *shape[self.axis :]),)

    def rearrange(self, values: Values, fill: float) -> tuple[Array, ...]:
        return (np.stack(values, axis=self.axis),)


@dataclass(frozen=True)
class Unpack(Movement):
    """The slices along an axis, which goes."""

    name: ClassVar[str] = "UNPACK"
    axis: int

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (_with(inputs[0].shape, self.axis),) * inputs[0].shape[self.axis]

    def rearrange(self, values: Values, fill: float) -> tuple[Array, ...]:
        return tuple(np.moveaxis(values[0], self.axis, 0))


@dataclass(frozen=True)
class Split(Movement):
    """Pieces of the given sizes along an axis (SPLIT and SPLIT_V)."""

    name: ClassVar[str] = "SPLIT"
    axis: int
    sizes: tuple[int, ...]

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return tuple(_with(inputs[0].shape, self.axis, n) for n in self.sizes)

    def rearrange(self, values: Values, fill: float) -> tuple[Array, ...]:
        return tuple(np.split(values[0], np.cumsum(self.sizes)[:-1].tolist(), axis=self.axis))


@dataclass(frozen=True)
class Slice(Movement):
    """x[start:stop:step] along each axis, as normalized by the reader (SLICE and STRIDED_SLICE).

    A `stop` of None runs to the end in the direction of the step. `shape` is the result's, where axes of size 1 go or
    come. `plain` when there was one index for each axis; TensorFlow Lite Micro misreads anything else.
    """

    name: ClassVar[str] = "STRIDED_SLICE"
    ranks: ClassVar[Mapping[Numerics, int]] = up_to(8, 5)
    ranges: tuple[tuple[int, int | None, int], ...]
    shape: tuple[int, ...] | None = None
    plain: bool = True

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        if not self.plain and numerics is Numerics.TFLM:
            return (
                "the reference of tflm wants one plain index for each axis (no ellipsis, new axis or offset); "
                "slice with plain ranges, then reshape"
            )
        return super().numerics_why_not(inputs, outputs, numerics)

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        if self.shape is not None:
            return (self.shape,)
        return (tuple(len(range(*slice(*r).indices(n))) for r, n in zip(self.ranges, inputs[0].shape, strict=True)),)

    def rearrange(self, values: Values, fill: float) -> tuple[Array, ...]:
        cut = values[0][tuple(slice(*r) for r in self.ranges)]
        return (cut if self.shape is None else cut.reshape(self.shape),)


@dataclass(frozen=True)
class Transpose(Movement):
    """The axes in another order."""

    name: ClassVar[str] = "TRANSPOSE"
    moves_scalars: ClassVar[bool] = False
    types: ClassVar[Mapping[Numerics, tuple[DType, ...]]] = moves("uint8", "-int32")
    ranks: ClassVar[Mapping[Numerics, int]] = up_to(8, 5)
    axes: tuple[int, ...]

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (tuple(inputs[0].shape[a] for a in self.axes),)

    def rearrange(self, values: Values, fill: float) -> tuple[Array, ...]:
        return (np.transpose(values[0], self.axes),)


@dataclass(frozen=True)
class Gather(Movement):
    """Slices of the input chosen by constant indices along an axis."""

    name: ClassVar[str] = "GATHER"
    types: ClassVar[Mapping[Numerics, tuple[DType, ...]]] = moves("uint8", "-int16 -int32")
    axis: int
    indices: tuple[int, ...]
    index_shape: tuple[int, ...]

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (_with(inputs[0].shape, self.axis, *self.index_shape),)

    def rearrange(self, values: Values, fill: float) -> tuple[Array, ...]:
        indices = np.array(self.indices, np.int64).reshape(self.index_shape)
        return (np.take(values[0], indices, axis=self.axis),)


@dataclass(frozen=True)
class Tile(Movement):
    """x repeated along each axis."""

    name: ClassVar[str] = "TILE"
    moves_scalars: ClassVar[bool] = False
    types: ClassVar[Mapping[Numerics, tuple[DType, ...]]] = moves("uint8", "-int8 -int16 -int32 -float32")
    repeats: tuple[int, ...]

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (tuple(n * r for n, r in zip(inputs[0].shape, self.repeats, strict=True)),)

    def rearrange(self, values: Values, fill: float) -> tuple[Array, ...]:
        return (np.tile(values[0], self.repeats),)


@dataclass(frozen=True)
class BroadcastTo(Movement):
    """x repeated along axes of size 1."""

    name: ClassVar[str] = "BROADCAST_TO"
    types: ClassVar[Mapping[Numerics, tuple[DType, ...]]] = moves("uint8", "uint8")
    ranks: ClassVar[Mapping[Numerics, int]] = up_to(8, 5)
    shape: tuple[int, ...]

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (self.shape,)

    def rearrange(self, values: Values, fill: float) -> tuple[Array, ...]:
        return (np.broadcast_to(values[0], self.shape),)


@dataclass(frozen=True)
class Fill(BroadcastTo):
    """A scalar repeated."""

    name: ClassVar[str] = "FILL"
    types: ClassVar[Mapping[Numerics, tuple[DType, ...]]] = moves("uint8", "-int16")


@dataclass(frozen=True)
class DepthToSpace(Movement):
    """(n, h, w, b·b·c) -> (n, h·b, w·b, c)."""

    name: ClassVar[str] = "DEPTH_TO_SPACE"
    types: ClassVar[Mapping[Numerics, tuple[DType, ...]]] = moves("uint8 -int16", "-int16 -int32")
    block: int

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        (n, h, w, c), b = inputs[0].shape, self.block
        return ((n, h * b, w * b, c // (b * b)),)

    def rearrange(self, values: Values, fill: float) -> tuple[Array, ...]:
        (n, h, w, c), b = values[0].shape, self.block
        blocks = values[0].reshape(n, h, w, b, b, c // (b * b))
        return (blocks.transpose(0, 1, 3, 2, 4, 5).reshape(n, h * b, w * b, c // (b * b)),)


@dataclass(frozen=True)
class SpaceToDepth(Movement):
    """(n, h·b, w·b, c) -> (n, h, w, b·b·c)."""

    name: ClassVar[str] = "SPACE_TO_DEPTH"
    types: ClassVar[Mapping[Numerics, tuple[DType, ...]]] = moves("uint8 -int16", "-int16 -int32")
    block: int

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        (n, h, w, c), b = inputs[0].shape, self.block
        return ((n, h // b, w // b, c * b * b),)

    def rearrange(self, values: Values, fill: float) -> tuple[Array, ...]:
        (n, h, w, c), b = values[0].shape, self.block
        blocks = values[0].reshape(n, h // b, b, w // b, b, c)
        return (blocks.transpose(0, 1, 3, 2, 4, 5).reshape(n, h // b, w // b, b * b * c),)


@dataclass(frozen=True)
class SpaceToBatch(Movement):
    """Spatial axes 1.. padded and dealt out over the batch, block by block (TensorFlow's SpaceToBatchND)."""

    name: ClassVar[str] = "SPACE_TO_BATCH_ND"
    types: ClassVar[Mapping[Numerics, tuple[DType, ...]]] = moves("uint8", "-int16 -int32")
    block: tuple[int, ...]
    paddings: tuple[tuple[int, int], ...]

    def numerics_why_not(self, inputs: Tensors, outputs: Tensors, numerics: Numerics) -> str | None:
        if numerics is Numerics.TFLM and any(sum(p) for p in self.paddings):
            return "the reference of tflm pads with a number that it never sets; pad with PAD first"
        return super().numerics_why_not(inputs, outputs, numerics)

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        n, *rest = inputs[0].shape
        dealt = [(n + sum(p)) // b for n, p, b in zip(rest, self.paddings, self.block, strict=False)]
        return ((n * prod(self.block), *dealt, *rest[len(dealt) :]),)

    def rearrange(self, values: Values, fill: float) -> tuple[Array, ...]:
        x, m = values[0], len(self.block)
        tail = ((0, 0),) * (x.ndim - 1 - m)
        x = np.pad(x, ((0, 0), *self.paddings, *tail), constant_values=fill)
        split = [(n // b, b) for n, b in zip(x.shape[1:], self.block, strict=False)]
        blocks = x.reshape(x.shape[0], *(v for pair in split for v in pair), *x.shape[1 + m :])
        inner, outer = range(2, 2 * m + 1, 2), range(1, 2 * m + 1, 2)
        order = (*inner, 0, *outer, *range(2 * m + 1, blocks.ndim))
        shape = (x.shape[0] * prod(self.block), *(n for n, _ in split), *x.shape[1 + m :])
        return (blocks.transpose(order).reshape(shape),)


@dataclass(frozen=True)
class BatchToSpace(Movement):
    """The reverse of SpaceToBatch, borders cropped."""

    name: ClassVar[str] = "BATCH_TO_SPACE_ND"
    types: ClassVar[Mapping[Numerics, tuple[DType, ...]]] = moves("uint8", "-int16 -int32")
    block: tuple[int, ...]
    crops: tuple[tuple[int, int], ...]

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        n, *rest = inputs[0].shape
        joined = [n * b - sum(c) for n, c, b in zip(rest, self.crops, self.block, strict=False)]
        return ((n // prod(self.block), *joined, *rest[len(joined) :]),)

    def rearrange(self, values: Values, fill: float) -> tuple[Array, ...]:
        x, m = values[0], len(self.block)
        batch = x.shape[0] // prod(self.block)
        blocks = x.reshape(*self.block, batch, *x.shape[1:])
        pairs = [axis for i in range(m) for axis in (m + 1 + i, i)]
        order = (m, *pairs, *range(2 * m + 1, blocks.ndim))
        spatial = [n * b for n, b in zip(x.shape[1:], self.block, strict=False)]
        whole = blocks.transpose(order).reshape(batch, *spatial, *x.shape[1 + m :])
        kept = [slice(a, n - b) for (a, b), n in zip(self.crops, spatial, strict=True)]
        return (whole[(slice(None), *kept)],)


@dataclass(frozen=True)
class ResizeNearestNeighbor(Movement):
    """(n, h, w, c) -> (n, height, width, c): each output pixel is one input pixel, chosen on the host."""

    name: ClassVar[str] = "RESIZE_NEAREST_NEIGHBOR"
    types: ClassVar[Mapping[Numerics, tuple[DType, ...]]] = moves("uint8", "-int32")
    size: tuple[int, int]
    align_corners: bool = False
    half_pixel_centers: bool = False

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        n, _, _, c = inputs[0].shape
        return ((n, *self.size, c),)

    def rearrange(self, values: Values, fill: float) -> tuple[Array, ...]:
        rows = self._nearest(values[0].shape[1], self.size[0])
        columns = self._nearest(values[0].shape[2], self.size[1])
        return (values[0][:, rows][:, :, columns],)

    def _nearest(self, source: int, target: int) -> Sequence[int]:
        """float32 at every step, as the reference."""
        corners = self.align_corners and target > 1
        scale = np.float32(source - 1) / np.float32(target - 1) if corners else np.float32(source) / np.float32(target)
        offset = np.float32(0.5 if self.half_pixel_centers else 0.0)
        chosen = []
        for i in range(target):
            at = (np.float32(i) + offset) * scale
            nearest = _round_half_away(at) if self.align_corners else int(np.floor(at))
            chosen.append(max(0, min(nearest, source - 1)) if self.half_pixel_centers else min(nearest, source - 1))
        return chosen


def _round_half_away(x: np.float32) -> int:
    return int(np.floor(np.float64(x) + 0.5))


@dataclass(frozen=True)
class Reshape(Op):
    """The same elements in another shape; costs nothing, the output is the input's memory."""

    name: ClassVar[str] = "RESHAPE"
    shape: tuple[int, ...]

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        return (self.shape,)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        if prod(self.shape) != inputs[0].elements:
            return f"{inputs[0].elements} elements do not make shape {self.shape}"
        if inputs[0].dtype is not outputs[0].dtype:
            return f"{inputs[0].dtype.value} cannot become {outputs[0].dtype.value}"
        return None

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        return (values[0].reshape(self.shape),)
