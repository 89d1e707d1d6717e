"""What a whole .tflite file says that tinycompiler cannot do, every reason at once, each with the way out.

Only the network as such is judged: its kind of arithmetic, its shapes, where its weights are, which operators it names.
What the operators say of their options and tensors is the matter of `network`. Only tensors that something uses count.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from math import isfinite

from tinycompiler.readers import variables
from tinycompiler.readers.blocker import AGAIN, Blocker, listing, typed
from tinycompiler.readers.constants import DTYPES, MOST_AXES
from tinycompiler.readers.file import Details, File, Operator, Subgraph
from tinycompiler.readers.supported import densifies, unsupported
from tinycompiler.tensor import DType, Tensor

FULL_INTEGER = (
    "converter.optimizations = [tf.lite.Optimize.DEFAULT]; "
    "converter.representative_dataset = samples; "
    "converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]; "
    "converter.inference_input_type = tf.int8; converter.inference_output_type = tf.int8"
)
FIXED_SHAPE = (
    "fix the input before conversion, for example "
    "converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function("
    "tf.TensorSpec([1, 96, 96, 3], tf.float32))])"
)
EDGES = (
    *("QUANTIZE", "DEQUANTIZE", "BATCH_TO_SPACE_ND", "BROADCAST_TO", "CONCATENATION", "DEPTH_TO_SPACE", "EXPAND_DIMS"),
    *("FILL", "GATHER", "MIRROR_PAD", "PACK", "PAD", "PADV2", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "SHAPE", "SLICE"),
    *("SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE"),
    *("UNPACK", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE", "CAST"),
)
"""Operators that compute nothing in float: they stand at the edges, or move or convert whatever they get."""
SMALL_WEIGHTS = {
    "INT4": ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"),
    "INT2": ("FULLY_CONNECTED",),
}
"""Types of weights that share bytes, and the operators in which the reference runs them."""
MOST_ELEMENTS = 1 << 23  # of a tensor that is computed; eight times as many of all of them
SMALLER = "make the network smaller: fewer channels, a smaller input"
LEAST_SCALE, GREATEST_SCALE = 1e-30, 1e30  # so that quotients of two are finite and normal in float32, nearly always


def problems(file: File, *, custom: Collection[str] = ()) -> list[Blocker]:
    """Every blocker of the file as a whole; `custom` names the custom operators that are supported."""
    main = file.subgraphs[0]
    used = _used(main)
    return [
        *_arithmetic(main),
        *_types(main, used),
        *_shapes(main, used),
        *_quantization(main, used),
        *_storage(main, used),
        *unsupported(file, custom),
    ]


def _used(main: Subgraph) -> tuple[Tensor, ...]:
    names = {*main.inputs, *main.outputs}
    for operator in main.operators:
        names.update(name for name in (*operator.inputs, *operator.outputs) if name)
    return tuple(tensor for tensor in main.tensors if tensor.name in names)


def _arithmetic(main: Subgraph) -> Iterator[Blocker]:
    """Networks that compute in float: dynamic-range, float16 or float32, told apart by their weights.

    Operators without weights of a telling type, as converters leave some in each kind, go with the first kind found.
    """
    tensors = {tensor.name: tensor for tensor in main.tensors}
    floats = [operator for operator in main.operators if _is_float(operator, tensors)]
    weights = _weights(floats, main)
    kinds = {operator.index: _told_by(weights[operator.index].values()) for operator in floats}
    found = [kind for kind in (DYNAMIC_RANGE, FLOAT16) if kind in kinds.values()] or ([PLAIN_FLOAT] if floats else [])
    everywhere = len(floats) == sum(operator.name not in EDGES for operator in main.operators)
    for kind in found:
        concerned = [o for o in floats if (kinds[o.index] or found[0]) == kind]
        constants = [name for o in concerned for name in weights[o.index]]
        named = {o.index for o in concerned}
        named |= {o.index for name in constants for o in main.users[name] if o.name == "DEQUANTIZE"}
        ends = [n for o in concerned for n in (*o.inputs, *o.outputs) if n and tensors[n].dtype is DType.FLOAT32]
        operators = (o for o in main.operators if o.index in named)
        place = f"float arithmetic in {len(concerned)} of {len(main.operators)} operators"
        problem, hint = _kind_of_float(kind, everywhere)
        yield Blocker("float", place + problem, hint, tuple(operators), typed(main, (*constants, *ends)))


DYNAMIC_RANGE, FLOAT16, PLAIN_FLOAT = "dynamic range", "float16", "float32"


def _told_by(types: Collection[str]) -> str:
    """The kind of quantization that the types of an operator's weights tell, or nothing."""
    if not {"INT8", "UINT8", "INT4", "UINT4", "INT2"}.isdisjoint(types):
        return DYNAMIC_RANGE
    return "" if {"FLOAT16", "BFLOAT16"}.isdisjoint(types) else FLOAT16


def _kind_of_float(kind: str, everywhere: bool) -> tuple[str, str]:
    """What such a network is called, and the converter's lines that mend it."""
    if kind == DYNAMIC_RANGE:
        return (
            " on integer weights: dynamic-range (hybrid) quantization, wanted int8 activations too",
            f"add a representative dataset: {FULL_INTEGER}",
        )
    if kind == FLOAT16:
        return (
            " on float16 weights, wanted int8 throughout",
            f"take out converter.target_spec.supported_types = [tf.float16] and quantize: {FULL_INTEGER}",
        )
    if everywhere:
        return ": a float32 model, wanted int8 throughout", f"quantize it: {FULL_INTEGER}"
    return (
        " in a network that is quantized elsewhere, wanted int8 throughout",
        f"end the network before these operators, or quantize them too: {FULL_INTEGER}",
    )


def _is_float(operator: Operator, tensors: Mapping[str, Tensor]) -> bool:
    """Edges may be float, and a custom operator is refused for what it is."""
    if operator.name in EDGES or operator.name.startswith("CUSTOM:"):
        return False
    ends = [tensors[name] for name in (*operator.inputs, *operator.outputs) if name]
    return any(tensor.dtype is DType.FLOAT32 and not tensor.is_constant for tensor in ends)


def _weights(operators: Sequence[Operator], main: Subgraph) -> dict[int, dict[str, str]]:
    """The constants that each operator reads, also those that are dequantized first, with their types in the file."""
    makers = {name: other for other in main.operators for name in other.outputs}
    constants = {t.name for t in main.tensors if t.name not in makers and t.name not in main.inputs and not t.variable}
    found: dict[int, dict[str, str]] = {operator.index: {} for operator in operators}
    for operator in operators:
        for name in filter(None, operator.inputs):
            maker = makers.get(name)
            source = maker.inputs[0] if maker and maker.name in ("DEQUANTIZE", "DENSIFY") and maker.inputs else name
            if source in constants:
                found[operator.index][source] = main.details[source].type
    return found


def _types(main: Subgraph, used: Sequence[Tensor]) -> Iterator[Blocker]:
    """Types that a Tensor cannot hold as they are; handles of variables are no values."""
    handles = {end for o in main.operators for end in variables.handle_of(o)}
    odd = [tensor for tensor in used if tensor.name not in handles and _odd(tensor, main)]
    yield from _grouped("type", main, ((tensor, *_type_problem(tensor, main)) for tensor in odd))


def _odd(tensor: Tensor, main: Subgraph) -> bool:
    kind = main.details[tensor.name].type
    if kind == "FLOAT16" and tensor.is_constant:
        return False  # those are told by `_arithmetic`
    return kind not in DTYPES and not (kind in SMALL_WEIGHTS and not _small_problem(tensor, main))


def _small_problem(tensor: Tensor, main: Subgraph) -> str:
    """What is wrong with the place of a tensor whose values share bytes, or nothing."""
    kind, written = main.details[tensor.name].type, {*main.inputs, *(n for o in main.operators for n in o.outputs)}
    if tensor.name in written:
        return f"activations of type {kind}, which are read as weights only"
    users, takers = main.users[tensor.name], SMALL_WEIGHTS[kind]
    if all(o.name in takers and o.inputs.index(tensor.name) == 1 for o in users):
        return ""
    return f"{kind}, which is read as the weights of {', '.join(takers)} only"


def _type_problem(tensor: Tensor, main: Subgraph) -> tuple[str, str]:
    kind = main.details[tensor.name].type
    if kind in SMALL_WEIGHTS:
        return f"{_small_problem(tensor, main)}, wanted INT8", "quantize to 8 bits"
    return f"values of type {kind}, wanted int8", f"quantize the network: {FULL_INTEGER}"


def _sizes(shape: Sequence[int]) -> str:
    """A shape, of which a damaged file can make thousands of sizes."""
    return f"[{listing(list(shape), 8)}]"


def _shapes(main: Subgraph, used: Sequence[Tensor]) -> Iterator[Blocker]:
    """A batch that was unknown when the network was converted is fine, since `shape` says 1; other unknowns are not."""
    inputs = frozenset(main.inputs)
    found = ((t, _shape_problem(t, main.details[t.name], t.name in inputs)) for t in used)
    yield from _grouped("shape", main, ((t, *problem) for t, problem in found if problem))
    sound = [t for t in used if not t.is_constant and not _bad_shape(t)]
    together = sum(tensor.elements for tensor in sound)
    if together > 8 * MOST_ELEMENTS:
        problem = f"its {len(sound)} tensors hold {together:,} elements together, far more than any board's memory"
        yield Blocker("shape", problem, SMALLER)


def _grouped(kind: str, main: Subgraph, found: Iterable[tuple[Tensor, str, str]]) -> Iterator[Blocker]:
    """One blocker for all tensors of which the same is said."""
    groups: dict[tuple[str, str], list[Tensor]] = {}
    for tensor, problem, hint in found:
        groups.setdefault((problem, hint), []).append(tensor)
    for (problem, hint), tensors in groups.items():
        names = [tensor.name for tensor in tensors]
        concerned = {o.index: o for name in names for o in main.users.get(name, ())}
        operators = tuple(concerned[index] for index in sorted(concerned))
        yield Blocker(kind, problem, hint, operators, typed(main, names))


def _shape_problem(tensor: Tensor, details: Details, is_input: bool) -> tuple[str, str] | None:
    """What is wrong with a tensor's shape, and the way out."""
    shape = details.shape_signature or tensor.shape
    if len(tensor.shape) > MOST_AXES:
        return f"a shape of {len(tensor.shape)} axes, wanted at most {MOST_AXES}", AGAIN
    if is_input and _is_dynamic(tensor, details):
        found = _sizes(shape) if shape else "of unknown rank"
        return f"dynamic shape {found}, wanted all but the batch static", FIXED_SHAPE
    if tensor.is_constant or not _bad_shape(tensor):
        return None
    if min(tensor.shape) <= 0:
        return f"dynamic shape {_sizes(tensor.shape)}, wanted sizes above 0", FIXED_SHAPE
    found = f"shape {_sizes(tensor.shape)} of {tensor.elements:,} elements, more than any board has room for"
    return f"{found}; up to {MOST_ELEMENTS:,} are read", SMALLER


def _bad_shape(tensor: Tensor) -> bool:
    return len(tensor.shape) > MOST_AXES or min(tensor.shape, default=1) <= 0 or tensor.elements > MOST_ELEMENTS


def _is_dynamic(tensor: Tensor, details: Details) -> bool:
    """Where the signature knows no size, converters write 1 into `shape`; any other number was set by who knew it."""
    if not tensor.shape and not details.has_rank:
        return True
    unknown = [axis for axis, size in enumerate(details.shape_signature) if size < 0]
    in_shape = any(size <= 0 for size in tensor.shape)
    return in_shape or any(axis > 0 and tensor.shape[axis : axis + 1] in ((), (1,)) for axis in unknown)


def _quantization(main: Subgraph, used: Sequence[Tensor]) -> Iterator[Blocker]:
    schemes = ((t, main.details[t.name].scheme) for t in used)
    wanted, hint = "wanted one scale per tensor or channel", f"quantize plainly: {FULL_INTEGER}"
    yield from _grouped("quantization", main, ((t, f"{scheme}, {wanted}", hint) for t, scheme in schemes if scheme))
    found = ((t, "; ".join(_numbers(t, main.details[t.name]))) for t in used)
    yield from _grouped("quantization", main, ((t, problem, AGAIN) for t, problem in found if problem))


def _numbers(tensor: Tensor, details: Details) -> Iterator[str]:
    """Scales and zero points that no sound converter writes."""
    if details.scaling:
        yield f"{details.scaling}, wanted one scale, or one for each channel of an axis"
    if tensor.quantization is None or tensor.dtype is DType.FLOAT32:
        return
    bad = _bad_scales(tensor)
    if bad:
        yield f"a scale of {bad[0]}, wanted a positive number between 1e-30 and 1e30"
    low, high = tensor.dtype.range if tensor.dtype is not DType.BOOL else (0, 1)
    if any(not low <= zero_point <= high for zero_point in details.zero_points):
        yield f"a zero point outside {low} to {high}"
    if len(details.zero_points) not in (0, 1, len(tensor.quantization.scales)):
        yield f"{len(details.zero_points)} zero points for {len(tensor.quantization.scales)} scales"
    if tensor.quantization.axis is not None and any(details.zero_points):
        yield (
            "quantized per channel with zero points other than 0, wanted symmetric weights "
            "(TFLite's 8-bit quantization specification)"
        )


def _bad_scales(tensor: Tensor) -> list[float]:
    """Scales with which nothing can be computed. One of many may be 0 or nearly so, for a channel of zeros; beside
    floats they mean nothing.
    """
    scales = tensor.quantization.scales if tensor.quantization and tensor.dtype is not DType.FLOAT32 else ()
    least = LEAST_SCALE if len(scales) == 1 else 0.0
    return [scale for scale in scales if not isfinite(scale) or not least <= scale <= GREATEST_SCALE]


def unsound(main: Subgraph) -> frozenset[str]:
    """Tensors whose shape, scale or data is none; operators that look at them find nonsense only."""
    details = main.details
    of_lies = (o for o in main.operators if densifies(o, main) and any(details[n].lie for n in o.inputs if n))
    return frozenset(name for o in of_lies for name in o.outputs) | frozenset(
        t.name
        for t in main.tensors
        if (not t.is_constant and _bad_shape(t))
        or _bad_scales(t)
        or details[t.name].scaling
        or details[t.name].lie
        or details[t.name].missing
    )


def _storage(main: Subgraph, used: Sequence[Tensor]) -> Iterator[Blocker]:
    """Weights that are not plainly there."""
    found = ((t, main.details[t.name]) for t in used)
    yield from _grouped("storage", main, ((t, *_stored_elsewhere(d)) for t, d in found if d.lie or d.missing))


def _stored_elsewhere(details: Details) -> tuple[str, str]:
    if details.lie:
        return (
            f"stored sparse, {details.lie}; the file is inconsistent",
            "convert without tf.lite.Optimize.EXPERIMENTAL_SPARSITY (zeros in dense weights are fine)",
        )
    return (
        f"the data {details.missing}, wanted it whole inside the .tflite file",
        "is the file complete? otherwise convert without external weights",
    )
