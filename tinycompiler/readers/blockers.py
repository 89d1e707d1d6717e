"""What a whole .tflite file says that tinycompiler cannot do, every reason at once, each with the way out.

Only the network as such is judged: its kind of arithmetic, its shapes, where its weights are. Which operators and types
are supported is the operators' own matter. Only tensors that something uses count.
"""

from collections.abc import Collection, Iterator, Sequence
from math import isfinite

from tinycompiler.readers.tflite import DTYPES, Details, File, Operator, Subgraph
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
AGAIN = "convert the network again with a current converter"
EDGES = (
    *("QUANTIZE", "DEQUANTIZE", "BATCH_TO_SPACE_ND", "BROADCAST_TO", "CONCATENATION", "DEPTH_TO_SPACE", "EXPAND_DIMS"),
    *("FILL", "GATHER", "MIRROR_PAD", "PACK", "PAD", "PADV2", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "SHAPE", "SLICE"),
    *("SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE"),
    *("UNPACK", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE", "CAST"),
)
"""Operators that compute nothing in float: they stand at the edges, or move or convert whatever they get."""
SUBGRAPH_CALLS = ("IF", "WHILE", "CALL", "STABLEHLO_WHILE", "STABLEHLO_CASE", "STABLEHLO_COMPOSITE")
MOST_ELEMENTS = 1 << 23  # of a tensor that is computed; eight times as many of all of them
LEAST_SCALE, GREATEST_SCALE = 1e-30, 1e30  # so that quotients of two are finite and normal in float32, nearly always
QUANTIZED = (DType.INT8, DType.UINT8, DType.INT16)


def problems(file: File, *, custom: Collection[str] = ()) -> list[str]:
    """One sentence a blocker, none when there is none; `custom` names the custom operators that are supported."""
    main = file.subgraphs[0]
    used = _used(main)
    return [
        *_arithmetic(main),
        *_types(main, used),
        *_shapes(main, used),
        *_quantization(main, used),
        *_storage(main, used),
        *_custom(main, custom),
        *_control_flow(file),
    ]


def _used(main: Subgraph) -> tuple[Tensor, ...]:
    names = {*main.inputs, *main.outputs}
    for operator in main.operators:
        names.update(name for name in (*operator.inputs, *operator.outputs) if name)
    return tuple(tensor for tensor in main.tensors if tensor.name in names)


def _listing(items: Sequence[object], limit: int = 3) -> str:
    """The first few, and how many more."""
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(map(str, items[:limit])) + more


def _quoted(tensors: Sequence[Tensor]) -> str:
    return ("tensors " if len(tensors) > 1 else "tensor ") + _listing([f"'{tensor.name}'" for tensor in tensors])


def _arithmetic(main: Subgraph) -> Iterator[str]:
    """Networks that compute in float: dynamic-range, float16 or float32, told apart by their weights."""
    tensors = {tensor.name: tensor for tensor in main.tensors}
    floats = [operator for operator in main.operators if _is_float(operator, tensors)]
    if not floats:
        return
    weights = {kind for operator in floats for kind in _weight_types(operator, main)}
    place = f"float arithmetic in {len(floats)} of {len(main.operators)} operators ({_listing(floats)})"
    if weights & {"INT8", "UINT8", "INT4"}:
        yield (
            f"{place} on 8-bit weights: dynamic-range (hybrid) quantization, wanted int8 activations too; "
            f"add a representative dataset: {FULL_INTEGER}"
        )
    elif weights & {"FLOAT16", "BFLOAT16"}:
        yield (
            f"{place} on float16 weights, wanted int8 throughout; take out "
            f"converter.target_spec.supported_types = [tf.float16] and quantize: {FULL_INTEGER}"
        )
    elif len(floats) == sum(operator.name not in EDGES for operator in main.operators):
        yield f"{place}: a float32 model, wanted int8 throughout; quantize it: {FULL_INTEGER}"
    else:
        yield (
            f"{place} in a network that is quantized elsewhere, wanted int8 throughout; end the network before these "
            f"operators, or quantize them too: {FULL_INTEGER}"
        )


def _is_float(operator: Operator, tensors: dict[str, Tensor]) -> bool:
    """Edges may be float, and a custom operator is refused for what it is."""
    if operator.name in EDGES or operator.name.startswith("CUSTOM:"):
        return False
    ends = [tensors[name] for name in (*operator.inputs, *operator.outputs) if name]
    return any(tensor.dtype is DType.FLOAT32 and not tensor.is_constant for tensor in ends)


def _weight_types(operator: Operator, main: Subgraph) -> Iterator[str]:
    """File types of the constants that an operator reads, also those that are dequantized first."""
    constants = {tensor.name for tensor in main.tensors if tensor.is_constant}
    makers = {name: other for other in main.operators for name in other.outputs}
    for name in filter(None, operator.inputs):
        maker = makers.get(name)
        source = maker.inputs[0] if maker and maker.name in ("DEQUANTIZE", "DENSIFY") and maker.inputs else name
        if source in constants or main.details[source or name].sparse:
            yield main.details[source or name].type


def _types(main: Subgraph, used: Sequence[Tensor]) -> Iterator[str]:
    """Types that a Tensor cannot hold as they are."""
    handles = {o.outputs[0] for o in main.operators if o.name == "VAR_HANDLE" and o.outputs}
    by_type: dict[str, list[Tensor]] = {}
    for tensor in used:
        kind = main.details[tensor.name].type
        if tensor.name in handles:
            continue  # a name for a variable, no value
        if kind not in DTYPES and not (kind == "FLOAT16" and tensor.is_constant):  # told by `_arithmetic`
            by_type.setdefault(kind, []).append(tensor)
    for kind, tensors in by_type.items():
        if kind == "INT4":
            yield f"{_quoted(tensors)}: INT4 weights are not supported yet, wanted INT8; quantize weights to 8 bits"
        else:
            yield f"{_quoted(tensors)}: values of type {kind}, wanted int8; quantize the network: {FULL_INTEGER}"


def _sizes(shape: Sequence[int]) -> str:
    """A shape, of which a damaged file can make thousands of sizes."""
    return f"[{_listing(list(shape), 8)}]"


def _shapes(main: Subgraph, used: Sequence[Tensor]) -> Iterator[str]:
    """A batch that was unknown when the network was converted is fine, since `shape` says 1; other unknowns are not."""
    by_name = {tensor.name: tensor for tensor in used}
    inputs = [by_name[name] for name in main.inputs]
    dynamic = [tensor for tensor in inputs if _is_dynamic(tensor, main.details[tensor.name])]
    for tensor in dynamic:
        details = main.details[tensor.name]
        shape = details.shape_signature or tensor.shape
        found = _sizes(shape) if shape else "of unknown rank"
        yield f"input '{tensor.name}': dynamic shape {found}, wanted all but the batch static; {FIXED_SHAPE}"
    broken = [tensor for tensor in used if any(size <= 0 for size in tensor.shape) and tensor not in dynamic]
    for tensor in broken:
        if not tensor.is_constant:
            yield f"tensor '{tensor.name}': dynamic shape {_sizes(tensor.shape)}, wanted sizes above 0; {FIXED_SHAPE}"
    large = [tensor for tensor in used if tensor.elements > MOST_ELEMENTS and not tensor.is_constant]
    if large:
        found = f"{large[0].elements:,} elements, more than any board has room for"
        yield f"{_quoted(large)}: {found}; up to {MOST_ELEMENTS:,} are read"
    together = sum(tensor.elements for tensor in used if not tensor.is_constant and tensor not in broken)
    if together > 8 * MOST_ELEMENTS and not large:
        yield f"its tensors hold {together:,} elements together, far more than any board's memory"


def _is_dynamic(tensor: Tensor, details: Details) -> bool:
    """Where the signature knows no size, converters write 1 into `shape`; any other number was set by who knew it."""
    if not tensor.shape and not details.has_rank:
        return True
    unknown = [axis for axis, size in enumerate(details.shape_signature) if size < 0]
    in_shape = any(size <= 0 for size in tensor.shape)
    return in_shape or any(axis > 0 and tensor.shape[axis : axis + 1] in ((), (1,)) for axis in unknown)


def _quantization(main: Subgraph, used: Sequence[Tensor]) -> Iterator[str]:
    for tensor in used:
        details = main.details[tensor.name]
        if details.scheme:
            yield f"tensor '{tensor.name}': {details.scheme}, wanted one scale per tensor or channel; {FULL_INTEGER}"
        if tensor.quantization and tensor.dtype is not DType.FLOAT32:
            yield from _numbers(tensor, details)


def _numbers(tensor: Tensor, details: Details) -> Iterator[str]:
    """Scales and zero points that no sound converter writes."""
    assert tensor.quantization is not None
    scales, place = tensor.quantization.scales, f"tensor '{tensor.name}'"
    bad = _bad_scales(tensor)
    if bad:
        yield f"{place}: a scale of {bad[0]}, wanted a positive number between 1e-30 and 1e30; {AGAIN}"
    low, high = tensor.dtype.range if tensor.dtype is not DType.BOOL else (0, 1)
    if any(not low <= zero_point <= high for zero_point in details.zero_points):
        yield f"{place}: a zero point outside {low} to {high}; {AGAIN}"
    if len(details.zero_points) not in (0, 1, len(scales)):
        yield f"{place}: {len(details.zero_points)} zero points for {len(scales)} scales; {AGAIN}"
    if tensor.quantization.axis is not None and any(details.zero_points):
        yield (
            f"{place}: quantized per channel with zero points other than 0, wanted symmetric weights "
            f"(TFLite's 8-bit quantization specification); {AGAIN}"
        )


def _bad_scales(tensor: Tensor) -> list[float]:
    """Scales with which nothing can be computed. One of many may be 0 or nearly so, for a channel of zeros."""
    scales = tensor.quantization.scales if tensor.quantization else ()
    least = LEAST_SCALE if len(scales) == 1 else 0.0
    return [scale for scale in scales if not isfinite(scale) or not least <= scale <= GREATEST_SCALE]


def unsound(main: Subgraph) -> frozenset[str]:
    """Tensors whose shape or scale is no shape or scale; operators that look at them find nonsense only."""
    return frozenset(
        t.name
        for t in main.tensors
        if (not t.is_constant and (min(t.shape, default=1) <= 0 or t.elements > MOST_ELEMENTS)) or _bad_scales(t)
    )


def _storage(main: Subgraph, used: Sequence[Tensor]) -> Iterator[str]:
    """Weights that are not plainly there."""
    sparse = [tensor for tensor in used if main.details[tensor.name].sparse]
    missing = [tensor for tensor in used if main.details[tensor.name].missing]
    if sparse:
        yield (
            f"{_quoted(sparse)}: stored sparse (TFLite sparsity), which is not supported yet, wanted dense weights; "
            "convert without tf.lite.Optimize.EXPERIMENTAL_SPARSITY (zeros in dense weights are fine)"
        )
    if missing:
        yield (
            f"{_quoted(missing)}: the data {main.details[missing[0].name].missing}, wanted it inside the .tflite file; "
            "is the file complete? otherwise convert without external weights"
        )


def _custom(main: Subgraph, known: Collection[str]) -> Iterator[str]:
    found: dict[str, list[Operator]] = {}
    for operator in main.operators:
        kind, _, name = operator.name.partition(":")
        if kind == "CUSTOM" and name not in known:
            found.setdefault(name, []).append(operator)
    for name, operators in found.items():
        place = f"operator{'s' * (len(operators) > 1)} {_listing([operator.index for operator in operators])}"
        if name.startswith("Flex"):
            way_out = (
                "take tf.lite.OpsSet.SELECT_TF_OPS out of converter.target_spec.supported_ops and replace the layer"
            )
        else:
            way_out = (
                "replace the layer by one that converts to built-in operators (converter.allow_custom_ops = False)"
            )
        yield f"{place}: custom operator '{name}', wanted built-in operators; {way_out}"


def _control_flow(file: File) -> Iterator[str]:
    for operator in file.subgraphs[0].operators:
        if operator.name in SUBGRAPH_CALLS:
            yield (
                f"{operator}: control flow into one of {len(file.subgraphs)} subgraphs, wanted a network without it; "
                "unroll loops (unroll=True in Keras) and take branches out of the network"
            )
