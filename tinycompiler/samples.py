"""The plainest node of every operator that files name, for asking what types and profiles it takes, and which kernels
run it.

A sample is tried with every type of tensor and a few quantizations; what the operator and the kernels themselves say is
what the tables of `catalog` show. So a claim cannot be older than the code.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np

from tinycompiler import ops
from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Clamp, Numerics, Op, Window
from tinycompiler.tensor import DType, Quantization, Tensor

Shape = tuple[int, ...]
Types = tuple[tuple[DType, ...], tuple[DType, ...]]
"""Of a node's values, weights and biases left out, and of its outputs."""

ROW, IMAGE = (1, 4), (1, 4, 4, 4)
WIDE_BIAS = DType.INT64  # of activations of int16
QUANTIZATIONS: Mapping[DType, tuple[Quantization | None, ...]] = MappingProxyType(
    {
        DType.INT8: tuple(
            Quantization((scale,), zero_point)
            for scale, zero_point in ((0.05, 0), (0.05, -128), (1 / 256, -128), (1 / 128, 0), (1 / 16, 127))
        ),
        DType.UINT8: (Quantization((0.05,), 128),),
        DType.INT16: (Quantization((0.0005,)), Quantization((1 / 32768,))),
        DType.INT32: (None, Quantization((0.05,))),
    }
)
"""What is tried; other types have none. Some operators want a certain one of their output."""


@dataclass(frozen=True)
class Sample:
    """A node in the making. `weights`: int8 weights and a bias follow the values; `constant`: the last value is one."""

    op: Op
    inputs: tuple[Shape, ...] = (ROW,)
    outputs: tuple[Shape, ...] = (ROW,)
    types: str = "same"
    """Of values and outputs: same, any pair, to bool, bool, or chosen by bool."""
    weights: tuple[Shape, ...] = ()
    constant: bool = False
    constants: tuple[Tensor, ...] = ()
    """That follow the values, other than `weights`."""
    live: int | None = None
    """So many weights of each output channel are not zero; None: all."""
    note: str = ""
    """What tells it from other samples of the operator."""

    @cached_property
    def every_types(self) -> tuple[Types, ...]:
        """All that are worth a question."""
        values, outputs = len(self.inputs), len(self.outputs)
        match self.types:
            case "any pair":
                return tuple(((a,), (b,)) for a, b in product(DType, DType))
            case "to bool":
                return tuple(((a,) * values, (DType.BOOL,)) for a in DType)
            case "bool":
                return (((DType.BOOL,) * values, (DType.BOOL,)),)
            case "chosen by bool":
                return tuple(((DType.BOOL, a, a), (a,)) for a in DType)
        return tuple(((a,) * values, (a,) * outputs) for a in DType)

    def graphs(self, types: Types, numerics: Numerics) -> list[Graph]:
        """Networks of this node with these types that are accepted: as it is, and with a constant, if it has two."""
        variants = [self, replace(self, constant=True)] if len(self.inputs) == 2 else [self]
        return [graph for variant in variants if (graph := variant._accepted(types, numerics)) is not None]

    def _accepted(self, types: Types, numerics: Numerics) -> Graph | None:
        for x, y in product(*(QUANTIZATIONS.get(kinds[-1], (None,)) for kinds in types)):
            graph = self._graph(types, numerics, x, y)
            if graph.why_not(graph.nodes[0]) is None:
                return graph
        return None

    def _graph(self, types: Types, numerics: Numerics, x: Quantization | None, y: Quantization | None) -> Graph:
        inputs = list(self._inputs(types[0], x))
        outputs = [_tensor(f"y{i}", self.outputs[i], kind, y) for i, kind in enumerate(types[1])]
        clamped = any(field.name == "clamp" for field in fields(self.op)) and types[1][0] is not DType.FLOAT32
        op: Any = self.op
        op = replace(op, clamp=Clamp(*types[1][0].range)) if clamped else op
        node = Node("sample", op, tuple(t.name for t in inputs), tuple(t.name for t in outputs))
        moving = tuple(t.name for t in inputs if not t.is_constant)
        return Graph("sample", moving, node.outputs, (node,), {t.name: t for t in (*inputs, *outputs)}, numerics)

    def _inputs(self, kinds: tuple[DType, ...], quantization: Quantization | None) -> Iterator[Tensor]:
        for i, (kind, shape) in enumerate(zip(kinds, self.inputs, strict=True)):
            is_constant = self.constant and i == len(kinds) - 1
            data = np.ones(shape, kind.numpy) if is_constant else None
            yield _tensor(f"x{i}", shape, kind, quantization, data)
        yield from self.constants
        if self.weights:
            weights, bias = self.weights
            scale = quantization.scales[0] if quantization else 1.0
            wide = DType.INT64 if kinds[0] is DType.INT16 else DType.INT32
            values = np.ones((weights[0], int(np.prod(weights[1:]))), np.int8)
            values[:, self.live :] = 0 if self.live else 1
            yield _tensor("w", weights, DType.INT8, Quantization((0.02,)), values.reshape(weights))
            yield _tensor("b", bias, wide, Quantization((0.02 * scale,)), np.zeros(bias, wide.numpy))


def _tensor(
    name: str, shape: Shape, kind: DType, quantization: Quantization | None, data: np.ndarray | None = None
) -> Tensor:
    return Tensor(name, shape, kind, quantization if kind in QUANTIZATIONS else None, data)


def _two(op: Op, **more: object) -> tuple[Sample, ...]:
    return (Sample(op, (ROW, ROW), **more),)  # type: ignore[arg-type]


def _moved(op: Op, source: Shape, target: Shape) -> tuple[Sample, ...]:
    return (Sample(op, (source,), (target,)),)


def _weighted(op: Op, weights: Shape, target: Shape, source: Shape = IMAGE) -> tuple[Sample, ...]:
    channels = target[-1]
    return (Sample(op, (source,), (target,), weights=(weights, (channels,))),)


def _constant(name: str, shape: Shape, kind: DType) -> Tensor:
    return Tensor(name, shape, kind, None, np.zeros(shape, kind.numpy))


def _binary_convolutions() -> tuple[Sample, ...]:
    op, x, filters = ops.LceBconv2d(_WINDOW, 32), (1, 4, 4, 1), _constant("filter", (4, 2, 2, 1), DType.INT32)
    bits = (filters, _constant("threshold", (4,), DType.INT32))
    values = (filters, *(_constant(name, (4,), DType.FLOAT32) for name in ("multiplier", "bias")))
    return (
        Sample(op, (x,), ((1, 3, 3, 1),), "any pair", constants=bits, note="to bits"),
        Sample(op, (x,), ((1, 3, 3, 4),), "any pair", constants=values, note="to values"),
    )


_WINDOW = Window((2, 2))
_ALL = ((0, 1, 1), (0, 4, 1))
SAMPLES: Mapping[str, tuple[Sample, ...]] = MappingProxyType(
    {
        "ABS": (Sample(ops.Abs()),),
        "ADD": _two(ops.Add()),
        "ARG_MAX": (Sample(ops.ArgMax(1), outputs=((1,),), types="any pair"),),
        "ARG_MIN": (Sample(ops.ArgMin(1), outputs=((1,),), types="any pair"),),
        "ASSIGN_VARIABLE": (Sample(ops.Assign()),),
        "AVERAGE_POOL_2D": _moved(ops.AveragePool2D(_WINDOW), IMAGE, (1, 3, 3, 4)),
        "BATCH_MATMUL": (Sample(ops.BatchMatMul(), ((2, 3), (3, 4)), ((2, 4),)),),
        "BATCH_TO_SPACE_ND": _moved(ops.BatchToSpace((2, 2), ((0, 0), (0, 0))), (4, 2, 2, 4), IMAGE),
        "BROADCAST_TO": _moved(ops.BroadcastTo((3, 4)), ROW, (3, 4)),
        "CAST": (Sample(ops.Cast(), types="any pair"),),
        "CONCATENATION": (Sample(ops.Concatenation(1), (ROW, ROW), ((1, 8),)),),
        "CONV_2D": (
            *_weighted(ops.Conv2D(Window((3, 3))), (16, 3, 3, 16), (1, 14, 14, 16), (1, 16, 16, 16)),
            replace(_weighted(ops.Conv2D(_WINDOW), (4, 2, 2, 2), (1, 3, 3, 4))[0], note="in groups"),
            replace(
                _weighted(ops.Conv2D(Window((3, 3))), (16, 3, 3, 16), (1, 14, 14, 16), (1, 16, 16, 16))[0],
                live=8,
                note="most weights zero",
            ),
        ),
        "DEPTHWISE_CONV_2D": (
            *_weighted(ops.DepthwiseConv2D(Window((3, 3))), (1, 3, 3, 4), (1, 14, 14, 4), (1, 16, 16, 4)),
            replace(
                _weighted(ops.DepthwiseConv2D(Window((3, 1))), (1, 3, 1, 4), (1, 2, 4, 4))[0], note="along one axis"
            ),
        ),
        "DEPTH_TO_SPACE": _moved(ops.DepthToSpace(2), IMAGE, (1, 8, 8, 1)),
        "DEQUANTIZE": (Sample(ops.Dequantize(), types="any pair"),),
        "DIV": _two(ops.Div(), constant=True),
        "ELU": (Sample(ops.Elu()),),
        "EQUAL": _two(ops.Equal(), types="to bool"),
        "EXP": (Sample(ops.Exp()),),
        "EXPAND_DIMS": _moved(ops.Reshape((1, 1, 4)), ROW, (1, 1, 4)),
        "FILL": _moved(ops.Fill((3, 4)), (), (3, 4)),
        "FULLY_CONNECTED": (
            *_weighted(ops.FullyConnected(), (4, 4), (1, 4), ROW),
            replace(_weighted(ops.FullyConnected(), (1, 4), (1, 1), ROW)[0], note="to one output"),
            replace(_weighted(ops.FullyConnected(), (8, 64), (1, 8), (1, 64))[0], live=8, note="most weights zero"),
            Sample(ops.DynamicFullyConnected(), (ROW, (3, 4)), ((1, 3),), note="weights computed"),
        ),
        "GATHER": _moved(ops.Gather(1, (2, 0), (2,)), ROW, (1, 2)),
        "GELU": (Sample(ops.Gelu()),),
        "GREATER": _two(ops.Greater(), types="to bool"),
        "GREATER_EQUAL": _two(ops.GreaterEqual(), types="to bool"),
        "HARD_SWISH": (Sample(ops.HardSwish()),),
        "L2_NORMALIZATION": (Sample(ops.L2Normalization()),),
        "LceBMaxPool2d": _moved(ops.LceBMaxPool2d(_WINDOW), IMAGE, (1, 3, 3, 4)),
        "LceBconv2d": _binary_convolutions(),
        "LceDequantize": (Sample(ops.LceDequantize(4), ((1, 4, 4, 1),), (IMAGE,), "any pair"),),
        "LceQuantize": (Sample(ops.LceQuantize(), (IMAGE,), ((1, 4, 4, 1),), "any pair"),),
        "LEAKY_RELU": (Sample(ops.LeakyRelu(0.1)),),
        "LESS": _two(ops.Less(), types="to bool"),
        "LESS_EQUAL": _two(ops.LessEqual(), types="to bool"),
        "LOG": (Sample(ops.Log()),),
        "LOGICAL_AND": _two(ops.LogicalAnd(), types="bool"),
        "LOGICAL_NOT": (Sample(ops.LogicalNot(), types="bool"),),
        "LOGICAL_OR": _two(ops.LogicalOr(), types="bool"),
        "LOGISTIC": (Sample(ops.Logistic()),),
        "LOG_SOFTMAX": (Sample(ops.LogSoftmax()),),
        "MAXIMUM": _two(ops.Maximum()),
        "MAX_POOL_2D": _moved(ops.MaxPool2D(_WINDOW), IMAGE, (1, 3, 3, 4)),
        "MEAN": _moved(ops.Mean((1, 2)), IMAGE, ROW),
        "MINIMUM": _two(ops.Minimum()),
        "MIRROR_PAD": _moved(ops.MirrorPad((0, 1), (0, 1), reflect=True), ROW, (1, 6)),
        "MUL": _two(ops.Mul()),
        "NEG": (Sample(ops.Neg()),),
        "NOT_EQUAL": _two(ops.NotEqual(), types="to bool"),
        "PACK": (Sample(ops.Pack(1), (ROW, ROW), ((1, 2, 4),)),),
        "PAD": _moved(ops.Pad((0, 1), (0, 1)), ROW, (1, 6)),
        "PADV2": _moved(ops.Pad((0, 1), (0, 1), 0), ROW, (1, 6)),
        "PRELU": _two(ops.Prelu(), constant=True),
        "QUANTIZE": (Sample(ops.Quantize(), types="any pair"), Sample(ops.Requantize(), types="any pair")),
        "REDUCE_MAX": _moved(ops.ReduceMax((1, 2)), IMAGE, ROW),
        "REDUCE_MIN": _moved(ops.ReduceMin((1, 2)), IMAGE, ROW),
        "RELU": (Sample(ops.Relu()),),
        "RELU6": (Sample(ops.Relu6()),),
        "RELU_0_TO_1": (Sample(ops.Relu0To1()),),
        "RELU_N1_TO_1": (Sample(ops.ReluN1To1()),),
        "RESHAPE": _moved(ops.Reshape((4,)), ROW, (4,)),
        "RESIZE_BILINEAR": _moved(ops.ResizeBilinear((8, 8)), IMAGE, (1, 8, 8, 4)),
        "RESIZE_NEAREST_NEIGHBOR": _moved(ops.ResizeNearestNeighbor((8, 8)), IMAGE, (1, 8, 8, 4)),
        "RSQRT": (Sample(ops.Rsqrt()),),
        "SELECT": (Sample(ops.Select(), (ROW, ROW, ROW), types="chosen by bool"),),
        "SELECT_V2": (Sample(ops.SelectV2(), (ROW, ROW, ROW), types="chosen by bool"),),
        "SLICE": _moved(ops.Slice(((0, 1, 1), (1, 3, 1))), ROW, (1, 2)),
        "SOFTMAX": (Sample(ops.Softmax()), Sample(ops.Softmax(), ((1, 2),), ((1, 2),), note="of two values")),
        "SPACE_TO_BATCH_ND": _moved(ops.SpaceToBatch((2, 2), ((0, 0), (0, 0))), IMAGE, (4, 2, 2, 4)),
        "SPACE_TO_DEPTH": _moved(ops.SpaceToDepth(2), IMAGE, (1, 2, 2, 16)),
        "SPLIT": (Sample(ops.Split(1, (2, 2)), outputs=((1, 2), (1, 2))),),
        "SPLIT_V": (Sample(ops.Split(1, (1, 3)), outputs=((1, 1), (1, 3))),),
        "SQRT": (Sample(ops.Sqrt()),),
        "SQUARED_DIFFERENCE": _two(ops.SquaredDifference()),
        "SQUEEZE": _moved(ops.Reshape((4,)), ROW, (4,)),
        "STRIDED_SLICE": _moved(ops.Slice(((0, 1, 1), (0, 4, 2))), ROW, (1, 2)),
        "SUB": _two(ops.Sub()),
        "SUM": _moved(ops.Sum((1, 2)), IMAGE, ROW),
        "TANH": (Sample(ops.Tanh()),),
        "TILE": _moved(ops.Tile((1, 2)), ROW, (1, 8)),
        "TRANSPOSE": _moved(ops.Transpose((1, 0)), ROW, (4, 1)),
        "TRANSPOSE_CONV": _weighted(ops.TransposeConv((5, 5), bias_type=None), (3, 2, 2, 4), (1, 5, 5, 3)),
        "UNPACK": (Sample(ops.Unpack(1), ((1, 2),), ((1,), (1,))),),
    }
)
"""By the operator's name in files."""

NO_CODE: Mapping[str, str] = MappingProxyType(
    {
        "CALL_ONCE": "no code: initial values",
        "READ_VARIABLE": "no code: another name of the state",
        "SHAPE": "no code: a constant",
        "VAR_HANDLE": "no code: a name",
    }
)
"""Operators that are gone when the network has been read."""
