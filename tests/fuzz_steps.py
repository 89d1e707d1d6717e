"""How each operator joins a draft of `tests.fuzz_drafts`: one line in `STEPS` for each.

Operators that the reader does not know yet are not drawn, so a line may stand there before its operator does.
"""

from collections.abc import Mapping

import numpy as np

from tests.fuzz_drafts import Draft
from tests.fuzz_grower import Grower, Step, single
from tests.fuzz_movement import (
    batch_to_space_nd,
    broadcast_to,
    concatenation,
    depth_to_space,
    expand_dims,
    gather,
    pack,
    pad,
    reshape,
    resize,
    slice_,
    space_to_batch_nd,
    space_to_depth,
    split,
    split_v,
    squeeze,
    strided_slice,
    tile,
    transpose,
    unpack,
)
from tests.fuzz_states import assign, delay, read, shift
from tests.fuzz_values import (
    arg,
    binary,
    cast,
    dequantize,
    div,
    fill,
    fixed,
    free,
    logic,
    moderate,
    not_negative,
    pool,
    prelu,
    quantize,
    quantize_input,
    reduce,
    same,
    select,
    unary,
)
from tests.fuzz_weights import batch_matmul, conv_2d, depthwise_conv_2d, dynamic, fully_connected, transpose_conv
from tinycompiler.ops import Numerics
from tinycompiler.readers.operators import OPERATORS
from tinycompiler.readers.variables import OPERATORS as VARIABLES


def drawn(seed: int, numerics: Numerics = Numerics.LITERT) -> Draft:
    """The draft of that seed for those numerics, 1 to 12 operators."""
    rng = np.random.default_rng(seed)
    known = {*OPERATORS, *VARIABLES} - REFUSED[numerics]
    steps = {name: step for name, step in STEPS.items() if name.split()[0] in known}
    while True:
        grower = Grower(rng, numerics, wide=float(rng.choice((0, 1, 0.5), p=(0.7, 0.2, 0.1))))
        draft = grower.grow(int(rng.integers(1, 13)), steps, WEIGHTS, INT16)
        if draft.operators and draft.outputs and draft.inputs:
            return draft


STEPS: Mapping[str, Step] = {
    "ABS": unary("ABS", same),
    "ADD": binary("ADD", "AddOptions", "sum"),
    "ARG_MAX": arg("ARG_MAX"),
    "ARG_MIN": arg("ARG_MIN"),
    "ASSIGN_VARIABLE": assign,
    "ASSIGN_VARIABLE delayed": delay,
    "ASSIGN_VARIABLE shifted": shift,
    "AVERAGE_POOL_2D": pool("AVERAGE_POOL_2D"),
    "BATCH_MATMUL": batch_matmul,
    "BATCH_TO_SPACE_ND": batch_to_space_nd,
    "BROADCAST_TO": broadcast_to,
    "CAST": cast,
    "CONCATENATION": concatenation,
    "CONV_2D": conv_2d,
    "DEPTH_TO_SPACE": depth_to_space,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "DEQUANTIZE": dequantize,
    "DIV": div,
    "ELU": unary("ELU", free, where=moderate),
    "EQUAL": binary("EQUAL", None, "truth"),
    "EXP": unary("EXP", free, where=moderate),
    "EXPAND_DIMS": expand_dims,
    "FILL": fill,
    "FULLY_CONNECTED": fully_connected,
    "FULLY_CONNECTED dynamic": dynamic,
    "GATHER": gather,
    "GELU": unary("GELU", free, "GeluOptions", lambda g: {"approximate": g.chance(0.5)}, where=moderate),
    "GREATER": binary("GREATER", None, "truth"),
    "GREATER_EQUAL": binary("GREATER_EQUAL", None, "truth"),
    "HARD_SWISH": unary("HARD_SWISH", free, where=moderate),
    "L2_NORMALIZATION": unary("L2_NORMALIZATION", fixed(1 / 128, 0), "L2NormOptions"),
    "LEAKY_RELU": unary(
        "LEAKY_RELU", free, "LeakyReluOptions", lambda g: {"alpha": single(g.rng.uniform(0, 1))}, where=moderate
    ),
    "LESS": binary("LESS", None, "truth"),
    "LESS_EQUAL": binary("LESS_EQUAL", None, "truth"),
    "LOGICAL_AND": logic("LOGICAL_AND"),
    "LOGICAL_NOT": logic("LOGICAL_NOT"),
    "LOGICAL_OR": logic("LOGICAL_OR"),
    "LOG": unary("LOG", free, where=not_negative),
    "LOG_SOFTMAX": unary("LOG_SOFTMAX", fixed(16 / 256, 127), where=moderate),
    "LOGISTIC": unary("LOGISTIC", fixed(1 / 256, -128), where=moderate),
    "MAXIMUM": binary("MAXIMUM", None, "same"),
    "MAX_POOL_2D": pool("MAX_POOL_2D"),
    "MEAN": reduce("MEAN"),
    "MINIMUM": binary("MINIMUM", None, "same"),
    "MIRROR_PAD": pad("MIRROR_PAD"),
    "MUL": binary("MUL", "MulOptions", "product"),
    "NEG": unary("NEG", same),
    "NOT_EQUAL": binary("NOT_EQUAL", None, "truth"),
    "PACK": pack,
    "PAD": pad("PAD"),
    "PADV2": pad("PADV2"),
    "PRELU": prelu,
    "QUANTIZE": quantize,
    "QUANTIZE input": quantize_input,
    "READ_VARIABLE": read,
    "REDUCE_MAX": reduce("REDUCE_MAX", same=True),
    "REDUCE_MIN": reduce("REDUCE_MIN", same=True),
    "RELU": unary("RELU", free),
    "RELU6": unary("RELU6", free),
    "RELU_0_TO_1": unary("RELU_0_TO_1", free),
    "RELU_N1_TO_1": unary("RELU_N1_TO_1", free),
    "RESHAPE": reshape,
    "RESIZE_BILINEAR": resize("RESIZE_BILINEAR", "ResizeBilinearOptions"),
    "RESIZE_NEAREST_NEIGHBOR": resize("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
    "RSQRT": unary("RSQRT", free, where=not_negative),
    "SELECT": select("SELECT"),
    "SELECT_V2": select("SELECT_V2"),
    "SLICE": slice_,
    "SOFTMAX": unary(
        "SOFTMAX",
        fixed(1 / 256, -128),
        "SoftmaxOptions",
        lambda g: {"beta": g.among((1.0, 1.0, 0.5, 2.0))},
        where=moderate,
    ),
    "SPACE_TO_BATCH_ND": space_to_batch_nd,
    "SPACE_TO_DEPTH": space_to_depth,
    "SPLIT": split,
    "SPLIT_V": split_v,
    "SQRT": unary("SQRT", free, where=not_negative),
    "SQUARED_DIFFERENCE": binary("SQUARED_DIFFERENCE", None, "squares", activation=False),
    "SQUEEZE": squeeze,
    "STRIDED_SLICE": strided_slice,
    "SUB": binary("SUB", "SubOptions", "sum"),
    "SUM": reduce("SUM"),
    "TANH": unary("TANH", fixed(1 / 128, 0), where=moderate),
    "TILE": tile,
    "TRANSPOSE": transpose,
    "TRANSPOSE_CONV": transpose_conv,
    "UNPACK": unpack,
}
"""How each operator joins a draft; a second word tells several ways of one apart."""

REFUSED: Mapping[Numerics, frozenset[str]] = {
    Numerics.LITERT: frozenset(("ELU", "SUM")),
    Numerics.TFLM: frozenset(
        ("EXP", "GELU", "LOG", "NEG", "RELU_0_TO_1", "RELU_N1_TO_1", "RSQRT", "SELECT", "SQRT", "TILE")
    ),
}
"""What the reference of these numerics does not run for int8, so that it would be drawn in vain."""

INT16 = frozenset(
    (
        *("ADD", "ASSIGN_VARIABLE", "ASSIGN_VARIABLE delayed", "ASSIGN_VARIABLE shifted", "AVERAGE_POOL_2D"),
        *("CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEQUANTIZE", "EXPAND_DIMS", "FULLY_CONNECTED", "LOGISTIC"),
        *("MAX_POOL_2D", "MEAN", "MUL", "PACK", "PAD", "QUANTIZE", "QUANTIZE input", "READ_VARIABLE", "RELU", "RELU6"),
        *("RESHAPE", "SLICE", "SOFTMAX", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "SUB", "TANH", "TRANSPOSE"),
        *("TRANSPOSE_CONV", "UNPACK"),
    )
)
"""What both references run for int16."""

WEIGHTS: Mapping[str, float] = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 3,
    "ADD": 3,
    "MUL": 2,
    "CONCATENATION": 2,
    "DEQUANTIZE": 0.5,
}
"""How often an operator is drawn, where that is not once."""
