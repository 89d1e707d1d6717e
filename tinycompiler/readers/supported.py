"""Which operators are understood, in which versions; for the others, what to do instead.

A version of an operator in a file says which options and types its writer counted on. A newer one than is known here
may mean something that this reader does not see, so it is refused by name.
"""

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType

from tinycompiler.readers import larq, variables
from tinycompiler.readers.blocker import AGAIN, LISTED, Blocker, typed
from tinycompiler.readers.file import File, Operator, Subgraph
from tinycompiler.readers.operators import OPERATORS

NEWEST: Mapping[str, int] = MappingProxyType({
    "ABS": 5, "ADD": 6, "ARG_MAX": 3, "ARG_MIN": 3, "AVERAGE_POOL_2D": 3, "BATCH_MATMUL": 4, "BATCH_TO_SPACE_ND": 4,
    "BROADCAST_TO": 4, "CAST": 9, "CONCATENATION": 7, "CONV_2D": 8, "DEPTHWISE_CONV_2D": 7, "DEPTH_TO_SPACE": 2,
    "DEQUANTIZE": 9, "DIV": 2, "EQUAL": 5, "EXP": 2, "FILL": 5, "FULLY_CONNECTED": 14, "GATHER": 8, "GELU": 3,
    "GREATER": 2, "GREATER_EQUAL": 3, "L2_NORMALIZATION": 2, "LEAKY_RELU": 2, "LESS": 3, "LESS_EQUAL": 2, "LOG": 2,
    "LOGISTIC": 3, "LOG_SOFTMAX": 2, "MAXIMUM": 4, "MAX_POOL_2D": 3, "MEAN": 3, "MINIMUM": 4, "MIRROR_PAD": 3,
    "MUL": 8, "NOT_EQUAL": 4, "PACK": 5, "PAD": 6, "PADV2": 6, "QUANTIZE": 6, "REDUCE_MAX": 3, "REDUCE_MIN": 3,
    "RELU": 3, "RELU6": 3, "RESIZE_BILINEAR": 4, "RESIZE_NEAREST_NEIGHBOR": 4, "RSQRT": 3, "SELECT": 4,
    "SELECT_V2": 2, "SLICE": 8, "SOFTMAX": 4, "SPACE_TO_BATCH_ND": 4, "SPACE_TO_DEPTH": 2, "SPLIT": 5, "SPLIT_V": 3,
    "SQRT": 2, "SQUARED_DIFFERENCE": 2, "SQUEEZE": 2, "STRIDED_SLICE": 8, "SUB": 5, "SUM": 2, "TANH": 3, "TILE": 3,
    "TRANSPOSE": 9, "TRANSPOSE_CONV": 5, "UNPACK": 6,
})  # fmt: skip
"""The newest version that is understood, where it is not 1: what the resolvers of LiteRT 2.3 register; a test asks
them."""
REFUSED = ("control flow", "custom", "operator", "version")
"""Kinds of blockers whose operators are not looked at any further."""
SUBGRAPH_CALLS = ("IF", "WHILE", "CALL", "STABLEHLO_WHILE", "STABLEHLO_CASE", "STABLEHLO_COMPOSITE")
UNROLL = "unroll loops (unroll=True in Keras) and take branches out of the network"
CUSTOM = "replace the layer by one that converts to built-in operators (converter.allow_custom_ops = False)"
WAYS_OUT: Mapping[tuple[str, ...], str] = MappingProxyType(
    {
        ("LSTM", "RNN", "UNIDIRECTIONAL_", "BIDIRECTIONAL_", "SVDF"): (
            "keep the state in variables that each step reads and assigns (supported), or unroll=True in Keras"
        ),
        ("NON_MAX_", "TOPK_V2", "TFLite_Detection"): "end the network before it and do this step in your own C",
        ("STABLEHLO_",): "convert with a converter that lowers to TFLite's own operators",
        ("Flex",): (
            "take tf.lite.OpsSet.SELECT_TF_OPS out of converter.target_spec.supported_ops and replace the layer"
        ),
        ("Lce",): ("convert with larq-compute-engine 0.16, of which all operators are supported"),
    }
)
"""By how the names of operators begin."""


def newest(operator: str) -> int:
    """The newest version of a built-in operator that is understood."""
    return NEWEST.get(operator, 1)


def is_known(operator: Operator, custom: Collection[str] = ()) -> bool:
    """Whether an operator has a counterpart here; `custom` names the custom ones that have."""
    if operator.name.startswith("CUSTOM:"):
        return operator.kind in custom or larq.is_known(operator)
    return operator.name == "SHAPE" or operator.name in OPERATORS or operator.name in variables.OPERATORS


def unsupported(file: File, custom: Collection[str]) -> Iterator[Blocker]:
    """One blocker for all operators of a name, of a version, and for those that call other subgraphs."""
    main = file.subgraphs[0]
    unknown: dict[str, list[Operator]] = {}
    versions: dict[tuple[str, int], list[Operator]] = {}
    for operator in main.operators:
        if operator.name in SUBGRAPH_CALLS or not (is_known(operator, custom) or densifies(operator, main)):
            unknown.setdefault(operator.name, []).append(operator)
        elif is_known(operator) and not 1 <= operator.version <= newest(operator.name):
            versions.setdefault((operator.name, operator.version), []).append(operator)
    for operators in unknown.values():
        yield _of_operators(main, operators, *_unknown(operators[0], len(file.subgraphs)))
    for (name, version), operators in versions.items():
        hint = "convert with an older converter, or update tinycompiler" if version > 0 else AGAIN
        yield _of_operators(main, operators, "version", f"version {version}, wanted 1 to {newest(name)}", hint)


def densifies(operator: Operator, main: Subgraph) -> bool:
    """Whether a DENSIFY makes a sparse constant dense, which is done on reading."""
    is_one = operator.name == "DENSIFY" and len(operator.inputs) == 1
    return is_one and all(name and main.details[name].sparse for name in operator.inputs)


def _unknown(operator: Operator, subgraphs: int) -> tuple[str, str, str]:
    """Kind, problem and hint."""
    if operator.name in SUBGRAPH_CALLS:
        problem = f"control flow into one of {subgraphs} subgraphs, wanted a network without it"
        return "control flow", problem, UNROLL
    hint = next((hint for starts, hint in WAYS_OUT.items() if operator.kind.startswith(starts)), None)
    if operator.name.startswith("CUSTOM:"):
        return "custom", f"custom operator '{operator.kind}', wanted built-in operators", hint or CUSTOM
    return "operator", f"{operator.name} is not supported", hint or LISTED


def _of_operators(main: Subgraph, operators: list[Operator], kind: str, problem: str, hint: str) -> Blocker:
    ends = [end for operator in operators for end in (*operator.inputs, *operator.outputs)]
    return Blocker(kind, problem, hint, tuple(operators), typed(main, ends))
