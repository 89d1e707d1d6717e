"""TFLite operators in our terms: one small function each, gathered in `OPERATORS`.

To add an operator to this reader is to add its function and its line in the table.
"""

from collections.abc import Callable, Mapping
from math import prod
from types import MappingProxyType

import numpy as np

from tinycompiler.fixed_point import round_half_away
from tinycompiler.ops import (
    Abs,
    Add,
    ArgMax,
    ArgMin,
    AveragePool2D,
    BatchMatMul,
    BatchToSpace,
    BroadcastTo,
    Cast,
    Clamp,
    Concatenation,
    Conv2D,
    DepthToSpace,
    DepthwiseConv2D,
    Dequantize,
    Div,
    DynamicFullyConnected,
    Elu,
    Equal,
    Exp,
    Fill,
    FullyConnected,
    Gather,
    Gelu,
    Greater,
    GreaterEqual,
    HardSwish,
    L2Normalization,
    LeakyRelu,
    Less,
    LessEqual,
    Log,
    LogicalAnd,
    LogicalNot,
    LogicalOr,
    Logistic,
    LogSoftmax,
    Maximum,
    MaxPool2D,
    Mean,
    Minimum,
    MirrorPad,
    Mul,
    Neg,
    NotEqual,
    Op,
    Pack,
    Pad,
    Padding,
    Prelu,
    Quantize,
    ReduceMax,
    ReduceMin,
    Relu,
    Relu0To1,
    Relu6,
    ReluN1To1,
    Requantize,
    Reshape,
    ResizeBilinear,
    ResizeNearestNeighbor,
    Rsqrt,
    Select,
    SelectV2,
    Slice,
    Softmax,
    SpaceToBatch,
    SpaceToDepth,
    Split,
    Sqrt,
    SquaredDifference,
    Sub,
    Sum,
    Tanh,
    Tile,
    Transpose,
    TransposeConv,
    Unpack,
    Window,
)
from tinycompiler.ops.base import INT8_OR_INT16
from tinycompiler.ops.convolution import same_padding
from tinycompiler.ops.reduction import ArgExtreme, Reduction
from tinycompiler.readers import schema
from tinycompiler.readers.file import Operator
from tinycompiler.tensor import DType, Tensor

BEYOND_INT32 = 2.0**31 - 64
"""The least number that float32 rounds to 2^31."""
FARTHEST = 65535
"""The largest stride and dilation: beyond, a file is damaged rather than a network unusual."""
MOST_VALUES = 16
"""Of a parameter: two for each axis that a tensor can have."""


class Refused(Exception):
    """An operator's options say what is not supported; the message is the sentence."""


class NotConstant(Refused):
    """A parameter of an operator is computed, and is needed when compiling."""


class Site:
    """An operator with its tensors at hand."""

    def __init__(self, operator: Operator, tensors: Mapping[str, Tensor]) -> None:
        self.options = operator.options
        self.inputs = tuple(tensors[name] for name in operator.inputs if name is not None)
        self.outputs = tuple(tensors[name] for name in operator.outputs)

    def option(self, name: str, default: int = 0) -> int:
        return int(self.options.get(name, default))

    def bit(self, mask: str, index: int) -> int:
        return self.option(mask) >> index & 1

    def real(self, name: str, default: float) -> float:
        """A real option of ordinary size."""
        value = float(self.options.get(name, default))
        if not abs(value) < 1e30:
            raise Refused(f"its {name} is {value}, and a number of ordinary size is needed")
        return value

    def constant(self, index: int, what: str, most: int = MOST_VALUES) -> list[int]:
        """The integers of a constant input, no more than `most`."""
        if index >= len(self.inputs) or self.inputs[index].data is None:
            raise NotConstant(f"its {what} is computed at run time; export the network with constant {what}")
        if self.inputs[index].dtype is DType.FLOAT32:
            raise Refused(f"its {what} is float32, and integers are needed; the file is inconsistent")
        if self.inputs[index].elements > most:
            raise Refused(f"its {what} has {self.inputs[index].elements:,} values; the file is inconsistent")
        return [int(v) for v in np.atleast_1d(self.inputs[index].values).ravel()]

    def scalar(self, index: int, what: str) -> int:
        """The one integer of a constant input."""
        values = self.constant(index, what)
        if len(values) != 1:
            raise Refused(f"its {what} is {values}, and one number is needed")
        return values[0]

    def clamp(self) -> Clamp:
        """Of the fused activation, in the output's units; quotients in float32 as in the reference."""
        code, y = self.option("fused_activation_function"), self.outputs[0]
        name = schema.ACTIVATIONS[code] if 0 <= code < len(schema.ACTIVATIONS) else str(code)
        bounds: dict[str, tuple[float | None, float | None]] = {
            "NONE": (None, None),
            "RELU": (0.0, None),
            "RELU6": (0.0, 6.0),
            "RELU_N1_TO_1": (-1.0, 1.0),
        }
        if name not in bounds:
            raise Refused(f"the fused activation {name} is not supported; export it as an operator of its own")
        if y.dtype not in INT8_OR_INT16 or y.quantization is None or len(y.quantization.scales) != 1:
            return Clamp()  # the operator itself refuses such an output
        least, greatest = y.dtype.range
        if max(abs(bound or 0) for bound in bounds[name]) >= BEYOND_INT32 * y.scale:
            found = f"its output's scale {y.scale:.6g} puts the bounds of its fused {name} beyond int32"
            raise Refused(f"{found}, and no reference runs that; calibrate the network again")
        low, high = (
            default if bound is None else y.zero_point + round_half_away(float(np.float32(bound) / np.float32(y.scale)))
            for bound, default in zip(bounds[name], (least, greatest), strict=True)
        )
        low = min(max(least, low), greatest)
        return Clamp(low, max(min(greatest, high), low))

    def bias_type(self) -> DType | None:
        """What the file says of the type of an operator's bias."""
        types = {schema.TENSOR_TYPES.index(t.value.upper()): t for t in (DType.INT32, DType.INT64)}
        return types.get(self.option("quantized_bias_type"))

    def window(self, kernel: tuple[int, int]) -> Window:
        stride = (self.option("stride_h"), self.option("stride_w"))
        dilation = (self.option("dilation_h_factor", 1), self.option("dilation_w_factor", 1))
        if min(*stride, *dilation, *kernel) < 1:
            raise Refused(f"kernel {kernel}, stride {stride} and dilation {dilation} must be at least 1")
        if max(*stride, *dilation) > FARTHEST:
            raise Refused(f"stride {stride} and dilation {dilation} must be at most {FARTHEST}")
        if len(self.inputs[0].shape) != 4:
            raise Refused(f"its input has rank {len(self.inputs[0].shape)}, and 4 is needed")
        if self.option("padding") != schema.PADDINGS.index("SAME"):
            return Window(kernel, stride, dilation)
        _, height, width, _ = self.inputs[0].shape
        top, bottom = same_padding(height, kernel[0], stride[0], dilation[0])
        left, right = same_padding(width, kernel[1], stride[1], dilation[1])
        return Window(kernel, stride, dilation, Padding(top, bottom, left, right))

    def kernel_of_weights(self) -> tuple[int, int]:
        shape = self.inputs[1].shape
        if len(shape) != 4:
            raise Refused(f"its weights have shape {shape}, and rank 4 is needed")
        return shape[1], shape[2]


def _pool(kind: type[AveragePool2D] | type[MaxPool2D]) -> Callable[[Site], Op]:
    return lambda s: kind(s.window((s.option("filter_height"), s.option("filter_width"))), s.clamp())


def _fully_connected(s: Site) -> Op:
    if s.option("weights_format"):
        raise Refused("its weights are shuffled (weights_format 1); export them in the default format")
    if len(s.inputs) > 1 and not s.inputs[1].is_constant:
        return DynamicFullyConnected(bool(s.option("keep_num_dims")), s.clamp())
    return FullyConnected(bool(s.option("keep_num_dims")), s.clamp(), s.bias_type())


def _reduction(kind: type[Reduction]) -> Callable[[Site], Op]:
    def read(s: Site) -> Op:
        rank = len(s.inputs[0].shape)
        axes = s.constant(1, "axes")
        if any(not -rank <= a < rank for a in axes):
            raise Refused(f"axes {axes} are outside rank {rank}")
        return kind(tuple(sorted({a % rank for a in axes})), bool(s.option("keep_dims")))

    return read


def _arg_extreme(kind: type[ArgExtreme]) -> Callable[[Site], Op]:
    def read(s: Site) -> Op:
        axes = s.constant(1, "axis")
        if len(axes) != 1:
            raise Refused(f"it has axes {axes}, and one is needed")
        return kind(_axis(axes[0], len(s.inputs[0].shape)))

    return read


def _l2_normalization(s: Site) -> Op:
    if s.option("fused_activation_function"):
        raise Refused("a fused activation on L2_NORMALIZATION is not supported")
    return L2Normalization()


def _resize_bilinear(s: Site) -> Op:
    size = s.constant(1, "size")
    if len(size) != 2 or min(size) < 1 or len(s.inputs[0].shape) != 4:
        raise Refused(f"size {size} does not suit shape {s.inputs[0].shape}")
    corners, centers = bool(s.option("align_corners")), bool(s.option("half_pixel_centers"))
    return ResizeBilinear((size[0], size[1]), corners, centers)


def _transpose_conv(s: Site) -> Op:
    shape, stride = s.constant(0, "output shape"), (s.option("stride_h"), s.option("stride_w"))
    if len(s.inputs) < 3 or len(shape) != 4 or min(*shape, *stride) < 1:
        raise Refused(f"its output shape {shape} and stride {stride} need to be 4 and 2 numbers of at least 1")
    if max(stride) > 64:
        raise Refused(f"stride {stride} is more than 64 along an axis")  # each step of it becomes a convolution
    same = s.option("padding") == schema.PADDINGS.index("SAME")
    return TransposeConv((shape[1], shape[2]), stride, same, s.clamp(), s.bias_type())


def _pad(s: Site) -> Op:
    widths = s.constant(1, "paddings")
    if len(widths) != 2 * len(s.inputs[0].shape):
        raise Refused(f"it has {len(widths)} paddings for rank {len(s.inputs[0].shape)}")
    return Pad(tuple(widths[0::2]), tuple(widths[1::2]))


def _concatenation(s: Site) -> Op:
    if not s.clamp().is_natural and not s.clamp().spans(s.outputs[0].dtype):
        raise Refused("a fused activation on CONCATENATION is not supported")
    rank, axis = len(s.outputs[0].shape), s.option("axis")
    if any(len(x.shape) != rank for x in s.inputs) or not -rank <= axis < rank:
        raise Refused(f"axis {axis} does not suit shapes {[x.shape for x in s.inputs]}")
    return Concatenation(axis % rank)


def _mirror_pad(s: Site) -> Op:
    widths = s.constant(1, "paddings")
    if len(widths) != 2 * len(s.inputs[0].shape):
        raise Refused(f"it has {len(widths)} paddings for rank {len(s.inputs[0].shape)}")
    return MirrorPad(tuple(widths[0::2]), tuple(widths[1::2]), reflect=s.option("mode") == 0)


def _pad_with_value(s: Site) -> Op:
    pad, x = _pad(s), s.inputs[0]
    assert isinstance(pad, Pad)
    if s.inputs[2].data is None or s.inputs[2].dtype is not x.dtype or s.inputs[2].elements != 1:
        raise Refused(f"its padding value is not one {x.dtype.value}, the type of what it pads")
    return Pad(pad.before, pad.after, s.inputs[2].values.reshape(1).tolist()[0])


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise Refused(f"axis {axis} is outside rank {rank}")
    return axis % rank


def _transpose(s: Site) -> Op:
    rank = len(s.inputs[0].shape)
    axes = tuple(_axis(a, rank) for a in s.constant(1, "permutation"))
    if sorted(axes) != list(range(rank)):
        raise Refused(f"permutation {axes} does not name each of {rank} axes once")
    return Transpose(axes)


def _slice(s: Site) -> Op:
    begin, size, shape = s.constant(1, "begin"), s.constant(2, "size"), s.inputs[0].shape
    if not len(begin) == len(size) == len(shape):
        raise Refused(f"begin {begin} and size {size} do not suit shape {shape}")
    ends = [n if length < 0 else b + length for b, length, n in zip(begin, size, shape, strict=True)]
    if any(not 0 <= b <= e <= n for b, e, n in zip(begin, ends, shape, strict=True)):
        raise Refused(f"begin {begin} and size {size} reach outside shape {shape}")
    return Slice(tuple((b, e, 1) for b, e in zip(begin, ends, strict=True)))


def _strided_slice(s: Site) -> Op:
    begin, end, steps = (s.constant(i, what) for i, what in ((1, "begin"), (2, "end"), (3, "strides")))
    shape = s.inputs[0].shape
    if not len(begin) == len(end) == len(steps) or 0 in steps:
        raise Refused(f"begin {begin}, end {end} and strides {steps} do not suit shape {shape}")
    places = _places(s, len(begin))
    if len(places) > len(shape) + places.count(None):
        raise Refused(f"{len(begin)} indices do not suit shape {shape}")
    ranges: list[tuple[int, int | None, int]] = []
    result: list[int] = []
    for i in places:
        axis = len(ranges)
        if i is None:
            result.append(1)
        elif i < 0:
            ranges.append((0, shape[axis], 1))
            result.append(shape[axis])
        else:
            ranges.append(_range(s, i, shape[axis], (begin[i], end[i], steps[i])))
            if not s.bit("shrink_axis_mask", i):
                result.append(len(range(*slice(*ranges[-1]).indices(shape[axis]))))
    plain = places == list(range(len(shape))) and not s.option("offset") and len(shape) <= 4
    return Slice(tuple(ranges), tuple(result) if len(result) != len(shape) or None in places else None, plain)


WHOLE = -1


def _places(s: Site, count: int) -> list[int | None]:
    """For each axis of the input, and of the output where it is new, which index speaks of it.

    None: a new axis. WHOLE: none does, or an ellipsis.
    """
    rank = len(s.inputs[0].shape)
    places: list[int | None] = []
    ellipsis = [i for i in range(count) if s.bit("ellipsis_mask", i)]
    if len(ellipsis) > 1:
        raise Refused("it has more than one ellipsis in its index")
    plain = sum(not s.bit("new_axis_mask", i) for i in range(count) if i not in ellipsis)
    for i in range(count):
        if i in ellipsis:
            places += [WHOLE] * (rank - plain)
        else:
            places.append(None if s.bit("new_axis_mask", i) else i)
    return places + [WHOLE] * (rank - len(places) + places.count(None))


def _range(s: Site, i: int, n: int, told: tuple[int, int, int]) -> tuple[int, int | None, int]:
    """(start, stop, step) of one index on an axis of n."""
    begin, end, step = told
    if s.bit("shrink_axis_mask", i):
        at = 0 if s.bit("begin_mask", i) else begin + n if begin < 0 else begin
        if not 0 <= at < n or step < 0:
            raise Refused(f"index {begin} (stride {step}) does not name one of {n} elements")
        return at, at + 1, 1
    first = None if s.bit("begin_mask", i) else begin
    last = None if s.bit("end_mask", i) else end
    if s.option("offset"):
        start = slice(first, None, 1).indices(n)[0]
        if last is None or step < 0 or not 0 < last <= n - start:
            raise Refused(f"offset {end} from {start} (stride {step}) does not stay inside {n} elements")
        return start, start + last, step
    start, stop, step = slice(first, last, step).indices(n)
    return start, None if stop < 0 else stop, step


def _split(s: Site) -> Op:
    axis, x, count = s.scalar(0, "axis"), s.inputs[1], len(s.outputs)
    axis = _axis(axis, len(x.shape))
    if not count or x.shape[axis] % count:
        raise Refused(f"axis {axis} of shape {x.shape} does not split into {count}")
    return Split(axis, (x.shape[axis] // count,) * count)


def _split_v(s: Site) -> Op:
    sizes, shape = s.constant(1, "sizes"), s.inputs[0].shape
    axis = _axis(s.scalar(2, "axis"), len(shape))
    sizes = [n if n >= 0 else shape[axis] - sum(m for m in sizes if m >= 0) for n in sizes]
    if sum(sizes) != shape[axis] or len(sizes) != len(s.outputs) or min(sizes, default=0) < 1:
        raise Refused(f"sizes {sizes} do not add up to axis {axis} of shape {shape}")
    return Split(axis, tuple(sizes))


def _gather(s: Site) -> Op:
    indices, rank = s.constant(1, "indices", FARTHEST), len(s.inputs[0].shape)
    axis = _axis(s.option("axis"), rank)
    if s.option("batch_dims"):
        raise Refused("batch dimensions are not supported; gather with batch_dims=0")
    if any(not 0 <= i < s.inputs[0].shape[axis] for i in indices):
        raise Refused(f"an index of {indices} is outside axis {axis} of shape {s.inputs[0].shape}")
    return Gather(axis, tuple(indices), s.inputs[1].shape)


def _tile(s: Site) -> Op:
    repeats = s.constant(1, "multiples")
    if len(repeats) != len(s.inputs[0].shape) or min(repeats, default=1) < 1:
        raise Refused(f"multiples {repeats} do not suit shape {s.inputs[0].shape}")
    return Tile(tuple(repeats))


def _broadcast_to(s: Site) -> Op:
    shape, source = tuple(s.constant(1, "shape")), s.inputs[0].shape
    tail = shape[len(shape) - len(source) :] if len(source) <= len(shape) else ()
    if len(source) > len(shape) or any(m not in (1, n) for m, n in zip(source, tail, strict=True)):
        raise Refused(f"shape {source} does not broadcast to {shape}")
    return BroadcastTo(shape)


def _block(s: Site, *, deep: bool) -> int:
    """The block size, which must divide the channels (deep), or height and width."""
    block, shape = s.option("block_size"), s.inputs[0].shape
    if block < 1:
        raise Refused(f"a block of {block} is not supported")
    if len(shape) != 4:
        raise Refused(f"its input has rank {len(shape)}, and 4 is needed")
    divided = shape[3] % (block * block) if deep else shape[1] % block or shape[2] % block
    if divided:
        raise Refused(f"block {block} does not divide shape {shape}")
    return block


def _batch_blocks(s: Site, what: str) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    block, borders = s.constant(1, "block shape"), s.constant(2, what)
    if (
        len(borders) != 2 * len(block)
        or len(s.inputs[0].shape) not in (3, 4)
        or len(block) != len(s.inputs[0].shape) - 2
        or min((*block, 1)) < 1
        or min((*borders, 0)) < 0
    ):
        raise Refused(f"block {block} and {what} {borders} do not suit shape {s.inputs[0].shape}")
    return tuple(block), tuple(zip(borders[0::2], borders[1::2], strict=True))


def _space_to_batch(s: Site) -> Op:
    block, paddings = _batch_blocks(s, "paddings")
    for b, (before, after), n in zip(block, paddings, s.inputs[0].shape[1:], strict=False):
        if (n + before + after) % b:
            raise Refused(f"block {block} does not divide the padded shape")
    return SpaceToBatch(block, paddings)


def _batch_to_space(s: Site) -> Op:
    block, crops = _batch_blocks(s, "crops")
    if s.inputs[0].shape[0] % prod(block):
        raise Refused(f"block {block} does not divide the batch of shape {s.inputs[0].shape}")
    if any(sum(c) >= n * b for c, n, b in zip(crops, s.inputs[0].shape[1:], block, strict=False)):
        raise Refused(f"crops {crops} leave nothing of shape {s.inputs[0].shape}")
    return BatchToSpace(block, crops)


def _resize_nearest(s: Site) -> Op:
    size = s.constant(1, "size")
    if len(size) != 2 or min(size) < 1 or len(s.inputs[0].shape) != 4:
        raise Refused(f"size {size} does not suit shape {s.inputs[0].shape}")
    corners, centers = bool(s.option("align_corners")), bool(s.option("half_pixel_centers"))
    return ResizeNearestNeighbor((size[0], size[1]), corners, centers)


def _quantize(s: Site) -> Op:
    source = s.inputs[0].dtype
    if source is DType.FLOAT32:
        return Quantize()
    return Requantize()


def _softmax(s: Site) -> Op:
    beta = s.real("beta", 1.0)
    if beta <= 0:
        raise Refused(f"its beta is {beta}, and a positive number is needed")
    return Softmax(beta)


OPERATORS: Mapping[str, Callable[[Site], Op]] = MappingProxyType(
    {
        "ABS": lambda _: Abs(),
        "ADD": lambda s: Add(s.clamp(), power_of_two=bool(s.option("pot_scale_int16"))),
        "ARG_MAX": _arg_extreme(ArgMax),
        "ARG_MIN": _arg_extreme(ArgMin),
        "AVERAGE_POOL_2D": _pool(AveragePool2D),
        "BATCH_MATMUL": lambda s: BatchMatMul(bool(s.option("adj_x")), bool(s.option("adj_y"))),
        "BATCH_TO_SPACE_ND": _batch_to_space,
        "BROADCAST_TO": _broadcast_to,
        "CAST": lambda _: Cast(),
        "CONCATENATION": _concatenation,
        "CONV_2D": lambda s: Conv2D(s.window(s.kernel_of_weights()), s.clamp(), s.bias_type()),
        "DEPTHWISE_CONV_2D": lambda s: DepthwiseConv2D(s.window(s.kernel_of_weights()), s.clamp()),
        "DEPTH_TO_SPACE": lambda s: DepthToSpace(_block(s, deep=True)),
        "DEQUANTIZE": lambda _: Dequantize(),
        "DIV": lambda s: Div(s.clamp()),
        "ELU": lambda _: Elu(),
        "EQUAL": lambda _: Equal(),
        "EXP": lambda _: Exp(),
        "EXPAND_DIMS": lambda s: Reshape(s.outputs[0].shape),
        "FILL": lambda s: Fill(tuple(s.constant(0, "dims"))),
        "FULLY_CONNECTED": _fully_connected,
        "GATHER": _gather,
        "GELU": lambda s: Gelu(bool(s.option("approximate"))),
        "GREATER": lambda _: Greater(),
        "GREATER_EQUAL": lambda _: GreaterEqual(),
        "HARD_SWISH": lambda _: HardSwish(),
        "LEAKY_RELU": lambda s: LeakyRelu(s.real("alpha", 0.0)),
        "LESS": lambda _: Less(),
        "LESS_EQUAL": lambda _: LessEqual(),
        "LOG": lambda _: Log(),
        "LOGICAL_AND": lambda _: LogicalAnd(),
        "LOGICAL_NOT": lambda _: LogicalNot(),
        "LOGICAL_OR": lambda _: LogicalOr(),
        "L2_NORMALIZATION": _l2_normalization,
        "LOGISTIC": lambda _: Logistic(),
        "LOG_SOFTMAX": lambda _: LogSoftmax(),
        "MAXIMUM": lambda _: Maximum(),
        "MAX_POOL_2D": _pool(MaxPool2D),
        "MEAN": _reduction(Mean),
        "MINIMUM": lambda _: Minimum(),
        "MIRROR_PAD": _mirror_pad,
        "MUL": lambda s: Mul(s.clamp()),
        "NEG": lambda _: Neg(),
        "NOT_EQUAL": lambda _: NotEqual(),
        "PACK": lambda s: Pack(_axis(s.option("axis"), len(s.outputs[0].shape))),
        "PAD": _pad,
        "PADV2": _pad_with_value,
        "PRELU": lambda _: Prelu(),
        "QUANTIZE": _quantize,
        "RELU": lambda _: Relu(),
        "RELU6": lambda _: Relu6(),
        "RELU_0_TO_1": lambda _: Relu0To1(),
        "RELU_N1_TO_1": lambda _: ReluN1To1(),
        "RESHAPE": lambda s: Reshape(s.outputs[0].shape),
        "REDUCE_MAX": _reduction(ReduceMax),
        "REDUCE_MIN": _reduction(ReduceMin),
        "RESIZE_BILINEAR": _resize_bilinear,
        "RESIZE_NEAREST_NEIGHBOR": _resize_nearest,
        "RSQRT": lambda _: Rsqrt(),
        "SELECT": lambda _: Select(),
        "SELECT_V2": lambda _: SelectV2(),
        "SLICE": _slice,
        "SOFTMAX": _softmax,
        "SPACE_TO_BATCH_ND": _space_to_batch,
        "SPACE_TO_DEPTH": lambda s: SpaceToDepth(_block(s, deep=False)),
        "SPLIT": _split,
        "SPLIT_V": _split_v,
        "SQRT": lambda _: Sqrt(),
        "SQUARED_DIFFERENCE": lambda _: SquaredDifference(),
        "SQUEEZE": lambda s: Reshape(s.outputs[0].shape),
        "STRIDED_SLICE": _strided_slice,
        "SUB": lambda s: Sub(s.clamp(), power_of_two=bool(s.option("pot_scale_int16"))),
        "TANH": lambda _: Tanh(),
        "TILE": _tile,
        "SUM": _reduction(Sum),
        "TRANSPOSE": _transpose,
        "TRANSPOSE_CONV": _transpose_conv,
        "UNPACK": lambda s: Unpack(_axis(s.option("axis"), len(s.inputs[0].shape))),
    }
)

_FIRST = (
    *("BATCH_TO_SPACE_ND", "BROADCAST_TO", "EXPAND_DIMS", "GATHER", "MEAN", "MIRROR_PAD", "PAD", "PADV2", "RESHAPE"),
    *("RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPACE_TO_BATCH_ND", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE"),
    "TRANSPOSE",
)
_REDUCED = ("ARG_MAX", "ARG_MIN", "REDUCE_MAX", "REDUCE_MIN", "RESIZE_BILINEAR", "SUM")
VALUES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {**dict.fromkeys((*_FIRST, *_REDUCED), (0,)), "SPLIT": (1,), "FILL": (1,), "TRANSPOSE_CONV": (2, 1, 3)}
)
"""Which inputs are values, where some are parameters that went into the attributes."""

_MANY = 2**31
_TWO = (
    *("ADD", "ARG_MAX", "ARG_MIN", "BATCH_MATMUL", "BROADCAST_TO", "DIV", "EQUAL", "EXPAND_DIMS", "FILL", "GATHER"),
    *("GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "LOGICAL_AND", "LOGICAL_OR", "MAXIMUM", "MEAN", "MINIMUM"),
    *("MIRROR_PAD", "MUL", "NOT_EQUAL", "PAD", "PRELU", "REDUCE_MAX", "REDUCE_MIN", "RESIZE_BILINEAR"),
    *("RESIZE_NEAREST_NEIGHBOR", "SPLIT", "SQUARED_DIFFERENCE", "SUB", "SUM", "TILE", "TRANSPOSE"),
)
_THREE = ("BATCH_TO_SPACE_ND", "PADV2", "SELECT", "SELECT_V2", "SLICE", "SPACE_TO_BATCH_ND", "SPLIT_V")
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_INPUTS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        **dict.fromkeys(_TWO, (2, 2)),
        **dict.fromkeys(_THREE, (3, 3)),
        **dict.fromkeys(_WEIGHTED, (2, 3)),
        **dict.fromkeys(("CONCATENATION", "PACK"), (1, _MANY)),
        "RESHAPE": (1, 2),
        "STRIDED_SLICE": (4, 4),
        "TRANSPOSE_CONV": (3, 4),
    }
)
"""The least and the most inputs that an operator has in a file, where that is not one; only those beyond the least may
be absent."""
_SPLITTING = ("SPLIT", "SPLIT_V", "UNPACK")


def wrong_count(operator: Operator) -> str | None:
    """A sentence when an operator has not as many inputs and outputs as its kind has in every sound file."""
    least, most = _INPUTS.get(operator.name, (1, 1))
    inputs, outputs = len(operator.inputs), len(operator.outputs)
    wanted = f"{least}" if least == most else f"{least} or more" if most == _MANY else f"{least} or {most}"
    if not least <= inputs <= most:
        return f"it has {inputs} inputs, and {wanted} are needed; the file is inconsistent"
    if None in operator.inputs[: inputs if most == _MANY else least]:
        return f"one of its {inputs} inputs is absent; the file is inconsistent"
    if outputs != 1 and not (outputs and operator.name in _SPLITTING):
        return f"it has {outputs} outputs; the file is inconsistent"
    return None
