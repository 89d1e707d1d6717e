"""Networks whose memory is worth planning: chains, residual and inverted bottleneck blocks, branches, odd sizes.

Unlike those of `tests.fuzz_steps`, their images are large beside their weights, and most operators have a row by row
form; so their plans overlap, fuse and reorder. A seed is a network.
"""

from collections.abc import Callable
from math import prod
from typing import ClassVar

import numpy as np

from tests.draws import graph_of
from tests.fuzz_drafts import Draft, Numbers, Unsuitable
from tests.fuzz_grower import Grower, single
from tests.fuzz_steps import STEPS
from tests.models import DEVIATION, SPREAD
from tinycompiler.graph import Graph
from tinycompiler.ops import Numerics
from tinycompiler.passes import optimize
from tinycompiler.readers import schema

LARGEST = 12_000
"""Elements of an activation."""
MOST_MACS = 800_000
ACTIVATIONS = ("NONE", "NONE", "RELU", "RELU6")


class PlanGrower(Grower):
    """A draft with larger images, whose convolutions count their MACs."""

    greatest: ClassVar[int] = LARGEST

    def __init__(self, rng: np.random.Generator, *, flat: bool) -> None:
        super().__init__(rng, Numerics.LITERT)
        self.macs = 0
        self.flat = flat
        """Whether images have one row, as in 1-D networks."""

    def size(self) -> int:
        """Of an image: anything up to 33, mostly not a power of two."""
        return int(self.among((self.between(1, 9), self.between(3, 17), self.between(1, 33), 16, 32)))

    def depth(self) -> int:
        return int(self.among((1, 2, 3, 4, 4, 5, 7, 8, 8, 12, 16, 17, self.between(1, 24))))

    def image(self) -> str:
        """A new input, (n, h, w, c)."""
        batch = int(self.among((1, 1, 1, 1, 1, 1, 2, 3)))
        shape = [batch, self.size(), self.size(), self.depth()]
        while prod(shape) > LARGEST:
            shape[int(np.argmax(shape))] //= 2
        batch, height, width, depth = shape
        return self.input((batch, 1, height * width, depth) if self.flat else (batch, height, width, depth))

    def late(self, rank: int = 4) -> str:
        """A value to go on from: mostly the last."""
        found = [n for n in self.values if len(self.told(n).shape) == rank and self.told(n).dtype == "int8"]
        if not found:
            raise Unsuitable
        return found[-1 - min(int(self.rng.exponential(0.4)), len(found) - 1)]


def activation(g: Grower) -> int:
    return schema.ACTIVATIONS.index(g.among(ACTIVATIONS))


def convolved(
    g: PlanGrower,
    x: str,
    filters: int | None,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    *,
    dilation: tuple[int, int] = (1, 1),
    same: bool = True,
    numbers: Numbers | None = None,
) -> str:
    """CONV_2D, or with `filters` None DEPTHWISE_CONV_2D."""
    n, height, width, depth = g.told(x).shape
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if not same and (reach[0] > height or reach[1] > width):
        raise Unsuitable
    sizes = zip((height, width), reach, stride, strict=True)
    rows, columns = (-(-m // s) if same else -(-(m - r + 1) // s) for m, r, s in sizes)
    channels = filters or depth
    taps = prod(kernel) * (depth if filters else 1)
    macs = n * rows * columns * channels * taps
    if g.macs + macs > MOST_MACS or n * rows * columns * channels > LARGEST:
        raise Unsuitable
    g.macs += macs
    shape = (filters, *kernel, depth) if filters else (1, *kernel, depth)
    scale = single(g.rng.uniform(0.002, 0.02))
    scales = [single(scale * g.rng.uniform(0.3, 1.7)) for _ in range(channels)]
    weights = g.constant(g.rng.integers(-127, 128, shape), "int8", scales, 0, 0 if filters else 3)
    source = g.told(x).scales[0]
    deviation = DEVIATION**2 * taps**0.5
    bias = g.rng.integers(-round(deviation), round(deviation) + 1, channels)
    biases = g.constant(bias, "int32", [single(np.float32(source) * np.float32(s)) for s in scales])
    natural = single(deviation * source * float(np.mean(scales)) / SPREAD)
    if not 1e-6 < natural < 1e4:
        raise Unsuitable
    options = {"padding": 0 if same else 1, "stride_h": stride[0], "stride_w": stride[1]}
    options |= {"dilation_h_factor": dilation[0], "dilation_w_factor": dilation[1]}
    options |= {"fused_activation_function": activation(g)}
    if not filters:
        options["depth_multiplier"] = 1
    kind, table = ("CONV_2D", "Conv2DOptions") if filters else ("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions")
    out = (n, rows, columns, channels)
    [y] = g.make(kind, [x, weights, biases], [(out, numbers or (natural, g.zero_point()))], table, **options)
    return y


def strides(g: Grower) -> tuple[int, int]:
    return (1, 1) if g.chance(0.6) else (int(g.among((1, 2, 2, 3))), int(g.among((1, 2, 2, 3))))


def conv(g: PlanGrower) -> None:
    kernel = g.among(((1, 1), (1, 1), (3, 3), (3, 3), (5, 3), (2, 2), (1, 7), (7, 1)))
    dilation = (g.between(1, 3), g.between(1, 2)) if kernel != (1, 1) and g.chance(0.2) else (1, 1)
    stride = strides(g) if dilation == (1, 1) else (1, 1)
    convolved(g, g.late(), g.depth(), kernel, stride, dilation=dilation, same=g.chance(0.6))


def depthwise(g: PlanGrower) -> None:
    kernel = g.among(((3, 3), (3, 3), (3, 3), (5, 5), (3, 1), (2, 4)))
    dilation = (2, 2) if g.chance(0.1) else (1, 1)
    stride = g.among(((1, 1), (1, 1), (2, 2), (1, 2), (2, 1))) if dilation == (1, 1) else (1, 1)
    convolved(g, g.late(), None, kernel, stride, dilation=dilation, same=g.chance(0.7))


def pool(g: PlanGrower) -> None:
    x = g.late()
    n, height, width, depth = g.told(x).shape
    kernel = g.among(((2, 2), (2, 2), (3, 3), (2, 1), (1, 3), (3, 2)))
    stride = kernel if g.chance(0.6) else g.among(((1, 1), (2, 2), (1, 2)))
    same = g.chance(0.3) or kernel[0] > height or kernel[1] > width
    sizes = zip((height, width), kernel, stride, strict=True)
    rows, columns = (-(-m // s) if same else -(-(m - k + 1) // s) for m, k, s in sizes)
    options = {"padding": 0 if same else 1, "stride_h": stride[0], "stride_w": stride[1]}
    options |= {"filter_height": kernel[0], "filter_width": kernel[1], "fused_activation_function": activation(g)}
    kind = g.among(("MAX_POOL_2D", "AVERAGE_POOL_2D"))
    g.make(kind, [x], [((n, rows, columns, depth), g.told(x).numbers)], "Pool2DOptions", **options)


def added(g: PlanGrower, a: str, b: str, kind: str = "ADD") -> str:
    scales = (g.told(a).scales[0], g.told(b).scales[0])
    natural = DEVIATION * float(np.hypot(*scales)) / SPREAD if kind != "MUL" else DEVIATION**2 * prod(scales) / SPREAD
    if max(scales) / min(scales) > 1e3 or not 1e-6 < natural < 1e4:
        raise Unsuitable
    out = np.broadcast_shapes(g.told(a).shape, g.told(b).shape)
    numbers = (single(natural), g.zero_point())
    [y] = g.make(kind, [a, b], [(out, numbers)], f"{kind.title()}Options", fused_activation_function=activation(g))
    return y


def join(g: PlanGrower) -> None:
    """Of two values of one shape, of a value with itself, with a constant, or with a vector of its channels."""
    x = g.late()
    shape = g.told(x).shape
    others = [n for n in g.values if g.told(n).shape == shape and g.told(n).dtype == "int8"]
    kind = g.rng.random()
    if kind < 0.6:
        other = str(g.among(others))
    elif kind < 0.8:
        other = g.constant_value(g.among((shape, (1, 1, 1, shape[3]), (shape[3],), (1,))), g.numbers())
    else:
        other = g.input((1, 1, 1, shape[3]) if g.chance(0.5) else shape)
    pair = (x, other) if g.chance(0.6) else (other, x)
    added(g, *pair, kind=g.among(("ADD", "ADD", "MUL", "SUB")))


def bottleneck(g: PlanGrower) -> None:
    """expand → depthwise → project, and the sum where the shapes agree."""
    x = g.late()
    depth = g.told(x).shape[3]
    kernel = g.among(((3, 3), (3, 3), (5, 5)))
    stride = g.among(((1, 1), (1, 1), (2, 2)))
    wide = convolved(g, x, max(2, depth * g.between(2, 6)), (1, 1))
    y = convolved(g, convolved(g, wide, None, kernel, stride), depth if g.chance(0.7) else g.depth(), (1, 1))
    if g.told(y).shape == g.told(x).shape:
        added(g, *((x, y) if g.chance(0.5) else (y, x)))


def residual(g: PlanGrower) -> None:
    """conv → conv → add, with a strided 1x1 convolution on the shortcut where the shape changes."""
    x = g.late()
    filters = g.told(x).shape[3] if g.chance(0.6) else g.depth()
    stride = g.among(((1, 1), (1, 1), (2, 2), (2, 1)))
    first = g.chance(0.5)
    shortcut = x
    changed = stride != (1, 1) or filters != g.told(x).shape[3]
    if changed and first:
        shortcut = convolved(g, x, filters, (1, 1), stride)
    y = convolved(g, convolved(g, x, filters, (3, 3), stride), filters, (3, 3))
    if changed and not first:
        shortcut = convolved(g, x, filters, (1, 1), stride)
    added(g, *((y, shortcut) if g.chance(0.5) else (shortcut, y)))


def branches(g: PlanGrower) -> None:
    """Two to four ways from one value, joined by sums or side by side."""
    x = g.late()
    depth, numbers = g.depth(), g.numbers()
    ways = []
    for _ in range(g.between(2, 4)):
        y = x
        for _ in range(g.between(0, 1)):
            y = convolved(g, y, g.depth() * 2, g.among(((1, 1), (3, 3))))
        ways.append(convolved(g, y, depth, g.among(((1, 1), (3, 3))), numbers=numbers))
    if g.chance(0.5):
        out = (*g.told(ways[0]).shape[:3], depth * len(ways))
        g.make("CONCATENATION", ways, [(out, numbers)], "ConcatenationOptions", axis=3)
        return
    while len(ways) > 1:
        ways.append(added(g, ways.pop(0), ways.pop(0)))


def excitation(g: PlanGrower) -> None:
    """Squeeze and excite: each channel by what its mean says."""
    x = g.late()
    n, _, _, depth = g.told(x).shape
    axes = g.constant([1, 2])
    [mean] = g.make("MEAN", [x, axes], [((n, 1, 1, depth), g.told(x).numbers)], "ReducerOptions", keep_dims=True)
    y = convolved(g, mean, depth, (1, 1))
    [gate] = g.make("LOGISTIC", [y], [(g.told(y).shape, (1 / 256, -128))])
    added(g, x, gate, "MUL")


def classifier(g: PlanGrower) -> None:
    """A reshape in the middle, and a fully connected layer behind it."""
    x = g.late()
    n, elements = g.told(x).shape[0], prod(g.told(x).shape[1:])
    if elements > 1000:
        raise Unsuitable
    shape = (n, elements)
    g.make("RESHAPE", [x, g.constant(shape)], [(shape, g.told(x).numbers)], "ReshapeOptions", new_shape=shape)
    STEPS["FULLY_CONNECTED"](g)


BLOCKS: dict[Callable[[PlanGrower], None], float] = {
    conv: 3,
    depthwise: 3,
    pool: 2,
    join: 2,
    bottleneck: 3,
    residual: 2,
    branches: 1.5,
    excitation: 0.7,
    classifier: 0.4,
    lambda g: STEPS[g.among(("RELU", "RELU6", "LOGISTIC", "TANH", "QUANTIZE", "LEAKY_RELU"))](g): 1.5,
    lambda g: STEPS[g.among(("PAD", "TRANSPOSE", "STRIDED_SLICE", "SPLIT", "CONCATENATION"))](g): 0.4,
    lambda g: STEPS[g.among(("MAXIMUM", "GREATER", "SELECT_V2", "TRANSPOSE_CONV", "MEAN"))](g): 0.4,
}


def drawn(seed: int) -> Draft:
    """The draft of that seed: 1 to 6 blocks, or what they are made of."""
    rng = np.random.default_rng(seed)
    while True:
        g = PlanGrower(rng, flat=seed % 9 == 7)
        _grow(g, int(rng.integers(1, 7)))
        draft = g.draft()
        if draft.operators and draft.outputs and draft.inputs:
            return draft


def _grow(g: PlanGrower, count: int) -> None:
    blocks, weights = list(BLOCKS), np.array(list(BLOCKS.values()))
    g.image()
    for _ in range(4 * count):
        if len(g.operators) >= 2 * count:
            return
        before, macs = len(g.operators), g.macs
        try:
            blocks[int(g.rng.choice(len(blocks), p=weights / weights.sum()))](g)
        except Unsuitable:  # a block is whole, or is not there
            g.macs = macs
            gone = [name for made in g.operators[before:] for name in made.outputs]
            del g.operators[before:]
            g.values = [name for name in g.values if name not in gone]


def network(seed: int) -> Graph:
    """The network of that seed, mostly optimized. ModelError where the reader refuses it."""
    graph = graph_of(drawn(seed).model(), Numerics.LITERT)
    as_read = seed % 5 == 0 and not any(graph.tensors[name].is_constant for name in graph.outputs)
    return graph if as_read else optimize(graph)
