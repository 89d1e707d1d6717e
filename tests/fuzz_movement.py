"""Steps of operators that move values; see `tests.fuzz_steps`."""

from collections.abc import Callable
from math import prod

import numpy as np

from tests.fuzz_drafts import Shape, Told
from tests.fuzz_grower import Grower, Step
from tinycompiler.ops import Numerics


def reshape(g: Grower) -> None:
    x = g.pick()
    total = prod(g.told(x).shape)
    new: list[int] = []
    for _ in range(g.between(0, 3)):
        rest = total // prod(new)
        new.append(int(g.among([d for d in range(1, rest + 1) if rest % d == 0])))
    new.insert(g.between(0, len(new)), total // prod(new))
    asked = list(new)
    if g.chance(0.3):
        asked[g.between(0, len(new) - 1)] = -1
    g.make("RESHAPE", [x, g.constant(asked)], [(new, g.told(x).numbers)], "ReshapeOptions", new_shape=asked)


def squeeze(g: Grower) -> None:
    x = g.pick(where=lambda t: 1 in t.shape and len(t.shape) > 1)
    shape = g.told(x).shape
    ones = [i for i, n in enumerate(shape) if n == 1]
    dims = [] if g.chance(0.3) else [d for d in ones if g.chance(0.6)] or ones[:1]
    out = [n for i, n in enumerate(shape) if i not in (dims or ones)]
    g.make("SQUEEZE", [x], [(out, g.told(x).numbers)], "SqueezeOptions", squeeze_dims=dims)


def expand_dims(g: Grower) -> None:
    x = g.pick(where=lambda t: len(t.shape) < 5)
    shape = list(g.told(x).shape)
    axis = g.between(-len(shape) - 1, len(shape))
    at = axis if axis >= 0 else axis + len(shape) + 1
    g.make("EXPAND_DIMS", [x, g.constant(axis)], [([*shape[:at], 1, *shape[at:]], g.told(x).numbers)])


def concatenation(g: Grower) -> None:
    """Of what has the same quantization; what has not is brought to it first."""
    x = g.pick()
    shape, numbers = g.told(x).shape, g.told(x).numbers
    axis = g.between(0, len(shape) - 1)

    def joins(t: Told) -> bool:
        near = [i for i in range(len(shape)) if i != axis]
        return t.dtype == g.dtype and len(t.shape) == len(shape) and all(t.shape[i] == shape[i] for i in near)

    parts = [x]
    for _ in range(g.between(0, 3)):
        y = g.pick(where=joins) if g.chance(0.8) else g.constant_value(shape, numbers)
        if g.told(y).numbers != numbers:
            if not 1e-4 < g.told(y).scales[0] / numbers[0] < 1e4:
                continue
            [y] = g.make("QUANTIZE", [y], [(g.told(y).shape, numbers)], "QuantizeOptions")
        parts.insert(g.between(0, len(parts)), y)
    out = [*shape[:axis], sum(g.told(p).shape[axis] for p in parts), *shape[axis + 1 :]]
    given = axis - len(shape) if g.chance(0.3) else axis
    g.make("CONCATENATION", parts, [(out, numbers)], "ConcatenationOptions", axis=given)


def pack(g: Grower) -> None:
    x = g.pick(where=lambda t: len(t.shape) < 5)
    shape, numbers = g.told(x).shape, g.told(x).numbers
    found = [n for n in g.values if (g.told(n).shape, g.told(n).numbers, g.told(n).dtype) == (shape, numbers, g.dtype)]
    parts = [x, *(g.among(found) for _ in range(g.between(0, 2)))]
    axis = g.between(0, len(shape))
    given = axis - len(shape) - 1 if g.chance(0.3) else axis
    out = [*shape[:axis], len(parts), *shape[axis:]]
    g.make("PACK", parts, [(out, numbers)], "PackOptions", values_count=len(parts), axis=given)


def unpack(g: Grower) -> None:
    x = g.pick(where=lambda t: len(t.shape) > 1 and min(t.shape) <= 4)
    shape = g.told(x).shape
    axis = g.among([i for i, n in enumerate(shape) if n <= 4])
    out = (*shape[:axis], *shape[axis + 1 :])
    given = axis - len(shape) if g.chance(0.3) else axis
    outputs = [(out, g.told(x).numbers)] * shape[axis]
    g.make("UNPACK", [x], outputs, "UnpackOptions", num=shape[axis], axis=given)


def split(g: Grower) -> None:
    x = g.pick()
    shape = g.told(x).shape
    axis = g.between(0, len(shape) - 1)
    count = g.among([d for d in range(1, 5) if shape[axis] % d == 0])
    out = (*shape[:axis], shape[axis] // count, *shape[axis + 1 :])
    given = axis - len(shape) if g.chance(0.3) else axis
    outputs = [(out, g.told(x).numbers)] * count
    g.make("SPLIT", [g.constant(given), x], outputs, "SplitOptions", num_splits=count)


def split_v(g: Grower) -> None:
    x = g.pick(where=lambda t: max(t.shape, default=1) > 1)
    shape = g.told(x).shape
    axis = g.among([i for i, n in enumerate(shape) if n > 1])
    cuts = sorted({g.between(1, shape[axis] - 1) for _ in range(g.between(1, 3))})
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, shape[axis]], strict=True)]
    asked = list(sizes)
    if g.chance(0.3):
        asked[g.between(0, len(sizes) - 1)] = -1
    outputs = [((*shape[:axis], n, *shape[axis + 1 :]), g.told(x).numbers) for n in sizes]
    g.make("SPLIT_V", [x, g.constant(asked), g.constant(axis)], outputs, "SplitVOptions", num_splits=len(sizes))


def _widths(g: Grower, shape: Shape, greatest: Callable[[int], int]) -> list[list[int]]:
    few = g.chance(0.5)
    return [
        [0, 0] if few and i in (0, len(shape) - 1) else [g.between(0, greatest(n)), g.between(0, greatest(n))]
        for i, n in enumerate(shape)
    ]


def pad(name: str) -> Step:
    def step(g: Grower) -> None:
        x = g.pick(where=lambda t: len(t.shape) <= 4)
        shape, numbers = g.told(x).shape, g.told(x).numbers
        reflect = g.chance(0.5)
        mirror = name == "MIRROR_PAD"
        widths = _widths(g, shape, lambda n: min(3, n - reflect) if mirror else 2)
        out = [n + a + b for n, (a, b) in zip(shape, widths, strict=True)]
        inputs = [x, g.constant(np.reshape(widths, (-1, 2)))]
        if name == "PADV2":
            inputs.append(g.constant([g.zero_point()], g.dtype, (numbers[0],), numbers[1]))
        if mirror:
            g.make(name, inputs, [(out, numbers)], "MirrorPadOptions", mode=0 if reflect else 1)
        else:
            g.make(name, inputs, [(out, numbers)], "PadOptions" if name == "PAD" else "PadV2Options")

    return step


def transpose(g: Grower) -> None:
    x = g.pick(where=lambda t: 1 <= len(t.shape) <= 5)
    shape = g.told(x).shape
    axes = g.rng.permutation(len(shape)).tolist()
    g.make("TRANSPOSE", [x, g.constant(axes)], [([shape[a] for a in axes], g.told(x).numbers)])


def slice_(g: Grower) -> None:
    x = g.pick()
    shape = g.told(x).shape
    begin = [g.between(0, n - 1) for n in shape]
    size = [g.between(1, n - b) for n, b in zip(shape, begin, strict=True)]
    asked = [-1 if b + s == n and g.chance(0.5) else s for n, b, s in zip(shape, begin, size, strict=True)]
    g.make("SLICE", [x, g.constant(begin), g.constant(asked)], [(size, g.told(x).numbers)])


def strided_slice(g: Grower) -> None:
    x = g.pick(where=lambda t: len(t.shape) <= 4)
    shape = g.told(x).shape
    masks = {"begin_mask": 0, "end_mask": 0, "shrink_axis_mask": 0}
    begin, end, strides, out = [], [], [], []
    whole = g.numerics is Numerics.TFLM or g.chance(0.8)
    for i, n in enumerate(shape[: len(shape) if whole else g.between(1, len(shape))]):
        first, last = sorted((g.between(0, n - 1), g.between(0, n - 1)))
        stride = int(g.among((1, 1, 1, 2, 3, -1, -2)))
        if g.chance(0.1):
            masks["shrink_axis_mask"] |= 1 << i
            ends = (first, first + 1, 1)
        elif stride > 0:
            ends = (first, last + 1, stride)
            out.append(len(range(first, last + 1, stride)))
        elif first == last:
            ends = (first, first + 1, 1)
            out.append(1)
        else:
            ends = (last, first, stride)
            out.append(len(range(last, first, stride)))
        if ends[0] == 0 and ends[2] > 0 and g.chance(0.3) and not masks["shrink_axis_mask"] >> i & 1:
            masks["begin_mask"] |= 1 << i
        if ends[1] == n and ends[2] > 0 and g.chance(0.3) and not masks["shrink_axis_mask"] >> i & 1:
            masks["end_mask"] |= 1 << i
        negative = ends[0] - n if g.chance(0.2) else ends[0]
        begin.append(negative)
        end.append(ends[1])
        strides.append(ends[2])
    out += shape[len(begin) :]
    inputs = [x, g.constant(begin), g.constant(end), g.constant(strides)]
    g.make("STRIDED_SLICE", inputs, [(out, g.told(x).numbers)], "StridedSliceOptions", **masks)


def gather(g: Grower) -> None:
    x = g.pick()
    shape = g.told(x).shape
    axis = g.between(0, len(shape) - 1)
    picked = g.among([(3,), (1,), (2, 2), (5,), ()])
    indices = g.rng.integers(0, shape[axis], picked)
    out = (*shape[:axis], *picked, *shape[axis + 1 :])
    given = axis - len(shape) if g.chance(0.2) else axis
    g.make("GATHER", [x, g.constant(indices)], [(out, g.told(x).numbers)], "GatherOptions", axis=given, batch_dims=0)


def tile(g: Grower) -> None:
    x = g.pick(where=lambda t: len(t.shape) > 0 and prod(t.shape) < 120)
    shape = g.told(x).shape
    times = [int(g.among((1, 1, 2, 3))) for _ in shape]
    g.make("TILE", [x, g.constant(times)], [([n * m for n, m in zip(shape, times, strict=True)], g.told(x).numbers)])


def broadcast_to(g: Grower) -> None:
    x = g.pick(where=lambda t: prod(t.shape) < 200)
    shape = g.told(x).shape
    out = [g.between(1, 4) if n == 1 else n for n in shape]
    if len(out) < 4 and g.chance(0.4):
        out.insert(0, g.between(1, 3))
    g.make("BROADCAST_TO", [x, g.constant(out)], [(out, g.told(x).numbers)])


def depth_to_space(g: Grower) -> None:
    block = g.between(1, 3)
    x = g.pick(4, where=lambda t: t.shape[3] % (block * block) == 0)
    n, h, w, c = g.told(x).shape
    out = (n, h * block, w * block, c // block**2)
    g.make("DEPTH_TO_SPACE", [x], [(out, g.told(x).numbers)], "DepthToSpaceOptions", block_size=block)


def space_to_depth(g: Grower) -> None:
    block = g.between(1, 3)
    x = g.pick(4, where=lambda t: t.shape[1] % block == 0 and t.shape[2] % block == 0)
    n, h, w, c = g.told(x).shape
    out = (n, h // block, w // block, c * block**2)
    g.make("SPACE_TO_DEPTH", [x], [(out, g.told(x).numbers)], "SpaceToDepthOptions", block_size=block)


def space_to_batch_nd(g: Grower) -> None:
    x = g.pick(4)
    n, h, w, c = g.told(x).shape
    block = [g.between(1, 3), g.between(1, 3)]
    pads = []
    if g.numerics is Numerics.TFLM:  # whose padding is undefined
        block = [g.among([d for d in (1, 2, 3) if size % d == 0]) for size in (h, w)]
    for size, b in zip((h, w), block, strict=True):
        before = g.between(0, 2) if g.numerics is Numerics.LITERT else 0
        pads.append([before, -(size + before) % b])
    out = [(m + sum(p)) // b for m, p, b in zip((h, w), pads, block, strict=True)]
    shape = (n * prod(block), *out, c)
    g.make("SPACE_TO_BATCH_ND", [x, g.constant(block), g.constant(pads)], [(shape, g.told(x).numbers)])


def batch_to_space_nd(g: Grower) -> None:
    block = [g.between(1, 2), g.between(1, 2)]
    x = g.pick(4, where=lambda t: t.shape[0] % prod(block) == 0)
    n, h, w, c = g.told(x).shape
    crops = [[g.between(0, 1) if m * b > 3 else 0, 0] for m, b in zip((h, w), block, strict=True)]
    out = [m * b - sum(p) for m, b, p in zip((h, w), block, crops, strict=True)]
    shape = (n // prod(block), *out, c)
    g.make("BATCH_TO_SPACE_ND", [x, g.constant(block), g.constant(crops)], [(shape, g.told(x).numbers)])


def resize(name: str, table: str) -> Step:
    def step(g: Grower) -> None:
        x = g.pick(4)
        n, _, _, c = g.told(x).shape
        size = [g.between(1, 9), g.between(1, 9)]
        mode = g.among(({}, {"align_corners": True}, {"half_pixel_centers": True}))
        g.make(name, [x, g.constant(size)], [((n, *size, c), g.told(x).numbers)], table, **mode)

    return step
