"""Networks of one operator of Larq Compute Engine, as .tflite bytes; see `tests.models`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.tflite_builder import ModelBuilder
from tinycompiler.ops.binary import packed, words_of
from tinycompiler.ops.convolution import Window
from tinycompiler.tensor import Array

Rng = np.random.Generator
Pair = tuple[int, int]
ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6")
PADDINGS = ("SAME", "VALID")


def flexbuffer(values: Mapping[str, Any], *, width: int = 4, kind: int = 1) -> bytes:
    """A flexbuffer map of these values as integers of `width` bytes; `kind` is their type."""
    names = sorted(values)
    text = b"".join(name.encode() + b"\0" for name in names)
    starts = [sum(len(n) + 1 for n in names[:i]) for i in range(len(names))]
    out = bytearray(text)
    out += len(names).to_bytes(1, "little")  # of the keys
    keys = len(out)
    assert keys + len(names) < 256, "distances of one byte"
    for start in starts:
        out.append(len(out) - start)
    out += (len(out) - keys).to_bytes(width, "little") + (1).to_bytes(width, "little")
    out += len(names).to_bytes(width, "little")
    items = len(out)
    for name in names:
        out += int(values[name]).to_bytes(width, "little", signed=kind == 1)
    out += bytes([kind << 2 | (width.bit_length() - 1)] * len(names))
    return bytes(out + (len(out) - items).to_bytes(1, "little") + bytes([9 << 2 | width.bit_length() - 1, 1]))


def random_bits(rng: Rng, shape: Sequence[int], channels: int) -> Array:
    """(*shape, words) of random values."""
    return packed(rng.integers(0, 2, (*shape, channels)))


def lce_bconv_2d(
    rng: Rng,
    *,
    shape: tuple[int, int, int, int] = (1, 5, 6, 40),
    filters: int = 35,
    kernel: Pair = (3, 3),
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
    padding: str = "SAME",
    ones: bool = True,
    groups: int = 1,
    output: str = "bits",
    activation: str = "NONE",
    scale: float | None = None,
    zero_point: int = 3,
    more: Mapping[str, Any] | None = None,
    without: Sequence[str] = (),
    inputs: Mapping[int, str | None] | None = None,
    **told: Array,
) -> bytes:
    """x (n, h, w, words of c) -> bits, int8 or float32; `told`: thresholds, multipliers or biases. `more` and `without`
    change options, `inputs` which tensors the operator reads.
    """
    n, height, width, channels = shape
    depth = channels // groups
    taps = kernel[0] * kernel[1] * depth
    size = _size((height, width), kernel, stride, dilation, padding)
    model = ModelBuilder("lce_bconv_2d")
    model.tensor("x", (n, height, width, words_of(channels)), "int32")
    weights = random_bits(rng, (filters, *kernel), depth)
    model.tensor("filter", weights.shape, "int32", data=weights)
    if output == "bits":
        usual = rng.integers(taps // 2 - 5, taps // 2 + 6, filters)
        extremes = usual[:: max(2, filters // 5)]
        extremes[:] = rng.choice([-(2**31), 2**31 - 1, -1, 0, taps], len(extremes))
        model.tensor("threshold", (filters,), "int32", data=told.get("thresholds", usual).astype(np.int32))
        model.tensor("y", (n, *size, words_of(filters)), "int32")
    else:
        multipliers = told.get("multipliers", rng.normal(0, 1, filters)).astype(np.float32)
        biases = told.get("biases", rng.normal(0, 3, filters)).astype(np.float32)
        model.tensor("multiplier", (filters,), "float32", data=multipliers)
        model.tensor("bias", (filters,), "float32", data=biases)
        quantization = {"scales": scale or taps**0.5 / 40, "zero_points": zero_point} if output == "int8" else {}
        model.tensor("y", (n, *size, filters), output, **quantization)
    names: list[str | None] = ["x", "filter", "multiplier", "bias", "threshold"]
    absent = {2: None, 3: None} if output == "bits" else {4: None}
    for place, name in (absent | dict(inputs or {})).items():
        names[place] = name
    options = {
        "channels_in": channels,
        "stride_height": stride[0],
        "stride_width": stride[1],
        "dilation_height_factor": dilation[0],
        "dilation_width_factor": dilation[1],
        "padding": PADDINGS.index(padding),
        "pad_values": int(ones),
        "fused_activation_function": ACTIVATIONS.index(activation),
        **(more or {}),
    }
    encoded = flexbuffer({k: v for k, v in options.items() if k not in without})
    return model.operator("CUSTOM:LceBconv2d", names, ["y"], custom_options=encoded).inputs("x").outputs("y").build()


def _size(size: Pair, kernel: Pair, stride: Pair, dilation: Pair, padding: str) -> Pair:
    if padding == "VALID":
        return Window(kernel, stride, dilation).output_size(*size)
    return -(-size[0] // stride[0]), -(-size[1] // stride[1])


def lce_b_max_pool_2d(
    rng: Rng,
    *,
    shape: tuple[int, int, int, int] = (1, 5, 6, 40),
    kernel: Pair = (2, 3),
    stride: Pair = (2, 1),
    padding: str = "SAME",
    more: Mapping[str, Any] | None = None,
) -> bytes:
    """x (n, h, w, words of c) -> (n, out_h, out_w, words)."""
    n, *size, channels = shape
    model = ModelBuilder("lce_b_max_pool_2d")
    model.tensor("x", (n, *size, words_of(channels)), "int32")
    out = _size((size[0], size[1]), kernel, stride, (1, 1), padding)
    model.tensor("y", (n, *out, words_of(channels)), "int32")
    options = {
        "filter_height": kernel[0],
        "filter_width": kernel[1],
        "stride_height": stride[0],
        "stride_width": stride[1],
        "padding": PADDINGS.index(padding),
        **(more or {}),
    }
    return (
        model.operator("CUSTOM:LceBMaxPool2d", ["x"], ["y"], custom_options=flexbuffer(options, width=1))
        .inputs("x")
        .outputs("y")
        .build()
    )


def _edge(operator: str, source: tuple[Sequence[int], str], target: tuple[Sequence[int], str], **scaling: Any) -> bytes:
    model = ModelBuilder(operator.lower())
    for name, (shape, dtype) in (("x", source), ("y", target)):
        model.tensor(name, shape, dtype, **(scaling if dtype == "int8" else {}))
    return model.operator(f"CUSTOM:{operator}", ["x"], ["y"]).inputs("x").outputs("y").build()


def lce_quantize(
    rng: Rng, *, shape: tuple[int, ...] = (1, 2, 3, 70), dtype: str = "int8", zero_point: int = -5
) -> bytes:
    """x (..., c) -> (..., words)."""
    target = (*shape[:-1], words_of(shape[-1]))
    return _edge("LceQuantize", (shape, dtype), (target, "int32"), scales=0.1, zero_points=zero_point)


def lce_dequantize(
    rng: Rng, *, shape: tuple[int, ...] = (1, 2, 3, 70), dtype: str = "int8", scale: float = 0.3, zero_point: int = -5
) -> bytes:
    """x (..., words) -> (..., c)."""
    source = (*shape[:-1], words_of(shape[-1]))
    return _edge("LceDequantize", (source, "int32"), (shape, dtype), scales=scale, zero_points=zero_point)


def lce_chain(rng: Rng, *, size: int = 10, output: str = "int8") -> bytes:
    """Bits from int8 values, two convolutions with a max pool between them, and int8 or float32 values."""
    model = ModelBuilder("lce_chain")
    model.tensor("x", (1, size, size, 24), scales=0.1, zero_points=4)
    model.tensor("bits", (1, size, size, 1), "int32")
    model.operator("CUSTOM:LceQuantize", ["x"], ["bits"])
    options = {
        "stride_height": 1,
        "stride_width": 1,
        "dilation_height_factor": 1,
        "dilation_width_factor": 1,
        "padding": 0,
        "pad_values": 1,
        "fused_activation_function": 0,
    }
    model.tensor("w1", (48, 3, 3, 1), "int32", data=random_bits(rng, (48, 3, 3), 24))
    model.tensor("t1", (48,), "int32", data=rng.integers(100, 116, 48).astype(np.int32))
    model.tensor("a", (1, size, size, 2), "int32")
    encoded = flexbuffer({"channels_in": 24, **options})
    model.operator("CUSTOM:LceBconv2d", ["bits", "w1", None, None, "t1"], ["a"], custom_options=encoded)
    half = (size - 2) // 2 + 1
    model.tensor("b", (1, half, half, 2), "int32")
    pool = {"filter_height": 2, "filter_width": 2, "stride_height": 2, "stride_width": 2, "padding": 1}
    model.operator("CUSTOM:LceBMaxPool2d", ["a"], ["b"], custom_options=flexbuffer(pool))
    model.tensor("w2", (20, 3, 3, 2), "int32", data=random_bits(rng, (20, 3, 3), 48))
    model.tensor("m2", (20,), "float32", data=rng.normal(0, 1, 20).astype(np.float32))
    model.tensor("b2", (20,), "float32", data=rng.normal(0, 1, 20).astype(np.float32))
    model.tensor("y", (1, half, half, 20), output, **({"scales": 0.7, "zero_points": 2} if output == "int8" else {}))
    encoded = flexbuffer({"channels_in": 48, **options, "pad_values": 0})
    model.operator("CUSTOM:LceBconv2d", ["b", "w2", "m2", "b2", None], ["y"], custom_options=encoded)
    return model.inputs("x").outputs("y").build()
