"""All operators that only move values, by one kernel.

The operator rearranges the *indices* of its inputs on the host; what comes out says for each output element where it
is from. From that map the kernel finds its loops: the output is cut into boxes that read one input each, and in a box
the source index must be a sum of one term per axis, which is a step where it grows evenly and a small table where it
does not (mirrored borders, chosen indices, resizing). The loops are exact by construction, since they were compared
with the map; where a map has no such loops, neighbouring axes become one with a table of its own, at worst all of them.
Instead of a kernel per operator: twenty operators share some thirty lines of C.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tinycompiler.kernels.base import Constant, Context, Field, Invocation, Kernel, Lowered, Site
from tinycompiler.ops.base import Op, signed
from tinycompiler.ops.movement import Movement
from tinycompiler.tensor import Tensor

LOOPS = 5

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class RearrangeContext(Context):
    """Variables of kernels/rearrange.c.j2."""

    raw: ClassVar[bool] = True

    tables: bool
    """Some axis is read through a table."""
    run: str
    """How a run of neighbouring bytes is copied: `byte`, `bytes` (a short loop) or `memcpy`."""
    fill: bool


@dataclass(frozen=True, eq=False)
class Axis:
    """A loop: how many turns, how far the output moves in each, and where the input is read (elements)."""

    size: int
    out_step: int
    terms: Indices

    @property
    def step(self) -> int | None:
        """The input's step when it grows evenly, else None."""
        if self.size <= 1:
            return 0
        steps = np.diff(self.terms)
        return int(steps[0]) if (steps == steps[0]).all() else None


@dataclass(frozen=True, eq=False)
class Box:
    """Part of an output that is read from one input by nested loops, outermost first."""

    out_start: int
    in_start: int
    axes: tuple[Axis, ...]


def boxes_of(mask: NDArray[np.bool_]) -> Iterator[tuple[slice, ...]]:
    """Boxes that together are exactly the true elements: one when they are a box, else cut along the first axis."""
    if not mask.any():
        return
    bounds = []
    for axis in range(mask.ndim):
        used = np.flatnonzero(mask.any(axis=tuple(i for i in range(mask.ndim) if i != axis)))
        bounds.append(slice(int(used[0]), int(used[-1]) + 1))
    box = tuple(bounds)
    if mask[box].all():
        yield box
        return
    axis = next(i for i, b in enumerate(box) if b.stop - b.start > 1)
    for at in range(box[axis].start, box[axis].stop):
        layer = (slice(None),) * axis + (slice(at, at + 1),)
        for inner in boxes_of(mask[layer]):
            yield (*inner[:axis], slice(at, at + 1), *inner[axis + 1 :])


def separate(source: Indices, out_steps: Sequence[int]) -> tuple[Axis, ...] | None:
    """The map as a sum of one term per axis, or None."""
    origin = source[(0,) * source.ndim]
    terms = []
    total = np.full(source.shape, origin)
    for axis in range(source.ndim):
        line = source[(0,) * axis + (slice(None),) + (0,) * (source.ndim - axis - 1)] - origin
        terms.append(line)
        total = total + line.reshape((1,) * axis + (-1,) + (1,) * (source.ndim - axis - 1))
    if not (total == source).all():
        return None
    axes = [Axis(n, s, t) for n, s, t in zip(source.shape, out_steps, terms, strict=True)]
    return merged(axes)


def merged(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """Loops of one turn gone, and neighbours joined that step through input and output as one loop would."""
    result: list[Axis] = []
    for axis in axes:
        if axis.size == 1:
            continue
        if result:
            outer = result[-1]
            even = outer.step is not None and axis.step is not None
            if even and outer.out_step == axis.out_step * axis.size and outer.step == (axis.step or 0) * axis.size:
                joined = (axis.step or 0) * np.arange(outer.size * axis.size, dtype=np.int64)
                result[-1] = Axis(outer.size * axis.size, axis.out_step, joined)
                continue
        result.append(axis)
    return tuple(result)


def plan_boxes(source: Indices, low: int, high: int) -> list[Box]:
    """Boxes for the output elements that come from indices [low, high); `source` is -1 where the fill goes."""
    out_steps = [prod(source.shape[i + 1 :]) for i in range(source.ndim)]
    found = []
    for box in boxes_of((source >= low) & (source < high)):
        start = sum(b.start * s for b, s in zip(box, out_steps, strict=True))
        found += _planned(source[box] - low, out_steps, start)
    return found


def _planned(part: Indices, out_steps: Sequence[int], start: int) -> list[Box]:
    """One box that reads `part`, the more axes apart the better; cut along its first axis when there is none."""
    for shape, steps in groupings(part.shape, out_steps):
        joined = part.reshape(shape)
        axes = separate(joined, steps)
        if axes is not None and loops_of(axes) <= LOOPS:
            return [Box(start, int(part.flat[0]), axes)]
    return [box for at in range(part.shape[0]) for box in _planned(part[at], out_steps[1:], start + at * out_steps[0])]


def groupings(shape: Sequence[int], out_steps: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Every way to make one axis of neighbours that follow each other in the output, fewest joins first."""
    joinable = [i for i in range(1, len(shape)) if out_steps[i - 1] == out_steps[i] * shape[i]]
    for count in range(len(joinable) + 1):
        for joins in combinations(joinable, count):
            sizes, steps = list(shape[:1]), list(out_steps[:1])
            for i in range(1, len(shape)):
                if i in joins:
                    sizes[-1], steps[-1] = sizes[-1] * shape[i], out_steps[i]
                else:
                    sizes.append(shape[i])
                    steps.append(out_steps[i])
            yield sizes, steps


def loops_of(axes: Sequence[Axis]) -> int:
    """How many loops these axes need: none for the last one where it is a run."""
    return len(axes) - bool(axes and is_run(axes[-1]))


def is_run(axis: Axis) -> bool:
    return axis.step == 1 and axis.out_step == 1


class Rearrange(Kernel):
    """Nested loops of runs, tables where a step does not do."""

    name = "rearrange"
    template = "rearrange"
    ops: ClassVar[tuple[type[Op], ...]] = (Movement,)

    def why_not(self, site: Site) -> str | None:
        assert isinstance(site.op, Movement)
        fill, y = site.op.fill(site.outputs), site.outputs[0]
        if len(set(fill_bytes(fill, y))) > 1:
            return f"filling with {fill} of type {y.dtype.value} is not supported: its bytes are not all the same"
        if any(state.joined and y.name in (state.joined, state.next) for state in site.graph.states):
            return "its output lies in the memory of what it is made of"
        return None

    def lower(self, site: Site) -> Lowered:
        op = site.op
        assert isinstance(op, Movement)
        sizes = [t.elements for t in site.inputs]
        starts = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
        ids = [np.arange(starts[i], starts[i + 1], dtype=np.int64).reshape(t.shape) for i, t in enumerate(site.inputs)]
        maps = op.rearrange(ids, -1)
        pieces: list[tuple[Tensor, Tensor, Box, bool]] = []
        for y, source in zip(site.outputs, maps, strict=True):
            origin = signed(np.atleast_1d(source))
            filled = bool((origin < 0).any())
            for i, x in enumerate(site.inputs):
                for box in plan_boxes(origin, starts[i], starts[i + 1]):
                    pieces.append((x, y, box, filled))
                    filled = False  # once, before the first piece
            assert not filled, "an output of nothing but fill would come from an empty input"
        bytes_each = site.outputs[0].dtype.bytes
        described = [_fields(x, y, box, filled, op.fill(site.outputs)) for x, y, box, filled in pieces]
        longest = max((run for run, _ in described), default=1)
        context = RearrangeContext(
            tables=any("table" in key for _, f in described for key in f),
            run="byte" if longest == bytes_each == 1 else "bytes" if longest <= 8 else "memcpy",
            fill=any(filled for *_, filled in pieces),
        )
        invocations = [Invocation((x.name, y.name), f) for (x, y, _, _), (_, f) in zip(pieces, described, strict=True)]
        return Lowered((), context, tuple(invocations))


def _fields(x: Tensor, y: Tensor, box: Box, filled: bool, fill: float) -> tuple[int, dict[str, Field]]:
    """The bytes of a run, and the constant struct of one box; steps and starts in bytes."""
    each = y.dtype.bytes
    axes = list(box.axes)
    run = each
    if axes and is_run(axes[-1]):
        run = axes.pop().size * each
    padded: list[Axis | None] = [None] * (LOOPS - len(axes)) + list(axes)
    fields: dict[str, Field] = {
        "run": run,
        "size": [1 if a is None else a.size for a in padded],
        "out_step": [0 if a is None else a.out_step * each for a in padded],
        "in_step": [0 if a is None or a.step is None else a.step * each for a in padded],
        "out_start": box.out_start * each,
        "in_start": box.in_start * each,
    }
    for i, a in enumerate(padded):
        if a is not None and a.step is None:
            fields[f"table{i}"] = Constant((a.terms * each).astype(np.int32), table=True)
    if filled:
        fields |= {"fill_bytes": y.bytes, "fill": fill_bytes(fill, y)[0]}
    if x.data is not None:
        fields["constant"] = Constant(flat_bytes(x.data))
    return run, fields


def fill_bytes(fill: float, y: Tensor) -> bytes:
    """One element of the fill."""
    return np.array([fill], y.dtype.numpy).tobytes()


def flat_bytes(values: Any) -> NDArray[np.uint8]:
    """An array's bytes in the device's (little-endian) order."""
    return np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
