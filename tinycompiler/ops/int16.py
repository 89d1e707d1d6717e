"""int16x8: the arithmetic of operators whose activations are int16 (zero point 0) and whose weights are int8.

An operator asks here for what its int16 form computes; that it is int16 is a property of its tensors. Which of two
accumulators the references use follows from the bias: with an int32 bias an int32 one and the 31-bit multiplier of
int8, with an int64 bias an int64 one and a multiplier of 15 bits. Without a bias the file says it, or it is int64.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from tinycompiler.fixed_point import (
    Multiplier,
    interpolate,
    multiply_by_quantized_multiplier,
    multiply_by_reduced_multiplier,
    quantize_multiplier,
    reduced_multiplier,
    rounding_divide_by_power_of_two,
)
from tinycompiler.ops.base import Clamp, Ints, Numerics, Tensors
from tinycompiler.tensor import Array, DType, Tensor

LEAST = 32768
"""The greatest magnitude of an int16."""
ADD_LEFT_SHIFT = 15
"""Bits by which ADD and SUB raise their int16 operands before scaling them (TFLite add.cc)."""
REDUCED_SHIFT = 7
"""The greatest left shift that the references' 15-bit multiplication allows."""
BIASES = (DType.INT32, DType.INT64)


# Convolutions and FULLY_CONNECTED.


def accumulator(inputs: Tensors, said: DType | None) -> DType:
    """INT32 or INT64; `said` is the file's own word on the bias."""
    found = inputs[2].dtype if len(inputs) > 2 else said
    return DType.INT32 if found is DType.INT32 else DType.INT64


def bias_why_not(inputs: Tensors, channels: int, types: Sequence[DType] = BIASES) -> str | None:
    """What a bias must be: a constant vector of one of `types`, one value per output channel."""
    if len(inputs) < 3:
        return None
    bias, wanted = inputs[2], " or ".join(t.value for t in types)
    if not bias.is_constant or bias.dtype not in types or bias.elements != channels:
        found = f"bias '{bias.name}' ({bias.dtype.value}, {bias.elements} values)"
        return f"{found} must be a constant of {channels} {wanted} where activations are int16"
    return None


def bias_type_why_not(inputs: Tensors, said: DType | None) -> str | None:
    """LiteRT reads a bias as int64 unless the file says otherwise, and refuses one that is not what the file says."""
    found = inputs[2].dtype if len(inputs) > 2 else None
    if found is None or found is (said or DType.INT64):
        return None
    word = f"says quantized_bias_type {said.value}" if said else "does not say so in quantized_bias_type"
    return f"bias '{inputs[2].name}' is {found.value} and the operator {word}: LiteRT does not run this"


def reach_of(weights: Ints, bias: Ints) -> list[int]:
    """The largest magnitude of each accumulator over all int16 inputs; `weights` are (channels, taps)."""
    sums = np.abs(weights).sum(axis=1)
    return [int(s) * LEAST + abs(int(b)) for s, b in zip(sums, bias, strict=True)]


def overflow_why_not(weights: Ints, bias: Ints, kind: DType, scales: Sequence[float]) -> str | None:
    """A sentence when some input takes the references' arithmetic beyond its range; `scales` are in · weight / out."""
    limit = 31 if kind is DType.INT32 else 47
    for channel, (reach, scale) in enumerate(zip(reach_of(weights, bias), scales, strict=True)):
        place = f"output channel {channel} can reach"
        if reach >= 2**limit:
            return (
                f"{place} {reach:,} in an {kind.value} accumulator (limit 2^{limit}): convert with an int64 bias, or "
                "retrain with weight decay"
            )
        if not reach * scale < 2**31 or not _is_scalable(reach, scale, kind):
            return (
                f"{place} {reach * scale:.3g} steps of the output before it is clamped, by a multiplier of {scale:.3g},"
                " where the references are undefined: the output's scale is far too small; calibrate the network again"
            )
    return None


def _is_scalable(reach: int, scale: float, kind: DType) -> bool:
    """Whether the references' left shift stays in their integers."""
    shift = quantize_multiplier(min(scale, 2.0**126)).shift
    return reach << max(shift, 0) < 2**31 if kind is DType.INT32 else shift <= REDUCED_SHIFT


def requantize(accumulators: Ints, chosen: Sequence[Multiplier], kind: DType, clamp: Clamp) -> Array:
    """Accumulators (..., channels) of a kind to int16."""
    if kind is DType.INT64:
        chosen = [reduced_multiplier(m) for m in chosen]
    value = np.array([m.value for m in chosen], np.int64)
    shift = np.array([m.shift for m in chosen], np.int64)
    multiply = multiply_by_reduced_multiplier if kind is DType.INT64 else multiply_by_quantized_multiplier
    return clamp(multiply(accumulators, value, shift)).astype(np.int16)


# ADD and SUB.


def power_of_two(scale: float) -> int | None:
    """The exponent of a scale that LiteRT takes for a power of two (within 0.001 of one), in float32."""
    exponent = np.log(np.float32(scale)) * (np.float32(1) / np.log(np.float32(2)))
    nearest = np.float32(math.floor(abs(exponent) + np.float32(0.5))) * np.sign(exponent)
    return int(nearest) if abs(exponent - nearest) < np.float32(1e-3) else None


def shifts(inputs: Tensors, outputs: Tensors) -> tuple[int, int] | None:
    """By how much LiteRT's ADD and SUB of power-of-two scales raise operands; None where a scale is not one."""
    exponents = [power_of_two(t.scale) for t in (*inputs, outputs[0])]
    a, b, y = exponents
    return None if a is None or b is None or y is None else (a - y, b - y)


def shifts_why_not(inputs: Tensors, outputs: Tensors) -> str | None:
    """What LiteRT's ADD and SUB of power-of-two scales cannot do."""
    found = shifts(inputs, outputs)
    if found is None:
        return None
    if max(found) > 0 or min(found) < -15 or 0 not in found:
        scales = ", ".join(f"{t.scale:.6g}" for t in (*inputs, *outputs))
        return f"scales {scales} are powers of two: one input's must be the output's, and the other not greater"
    return None


def sum_of_shifted(a: Ints, b: Ints, by: tuple[int, int]) -> Ints:
    """The operands, divided by powers of two, added and saturated."""
    raised = [rounding_divide_by_power_of_two(v, -s) for v, s in zip((a, b), by, strict=True)]
    total: Ints = np.clip(raised[0] + raised[1], -LEAST, LEAST - 1)
    return total


# LOGISTIC and TANH.


@cache
def sigmoid_table() -> tuple[int, ...]:
    """sigmoid(i / 24) in steps of 2^-16 for i = 0 to 255, raised by half of what the line to the next lies too low."""

    def exact(i: float) -> float:
        return 65536 / (1 + math.exp(-i / 24))

    raised = (exact(i) + (exact(i + 0.5) - (exact(i) + exact(i + 1)) / 2) / 2 for i in range(255))
    return (*(math.floor(v + 0.5) for v in raised), 65535)


def curve_multiplier(scale: float, exact_shifts: Sequence[int]) -> tuple[int, int]:
    """(multiplier, right shift) from an input's scale to steps of 1 / 12288.

    `exact_shifts` are the left shifts with which the function takes an input whose scale is a power of two.
    """
    exponent = power_of_two(scale)
    if exponent is not None and 12 + exponent in exact_shifts:
        return 3 << (12 + exponent), 0
    multiplier, shift = scale * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        multiplier, shift = 2 * multiplier, shift + 1
    return int(multiplier), shift


def curve_why_not(source: Tensor, target: Tensor) -> str | None:
    """What LOGISTIC and TANH ask of int16 scales."""
    if target.scale != 1 / 32768:
        return f"output scale {target.scale:.6g} must be 1/32768 where activations are int16"
    if source.scale * 4096 * 3 >= 65536:
        return f"input scale {source.scale:.6g} must be below 5.33, or the references' arithmetic overflows"
    return None


def _scaled(x: Ints, multiplier: int, shift: int) -> tuple[Ints, Ints]:
    """(scaled input, its magnitude)."""
    scaled = (x * multiplier + ((1 << shift) >> 1)) >> shift
    return scaled, np.abs(scaled)


def _curve(magnitude: Ints, bits: int, top: int) -> Ints:
    """The sigmoid of a magnitude whose lower `bits` are the fraction between two values of the table."""
    table = np.array([*sigmoid_table(), 0], np.int64)
    index = magnitude >> bits
    inside = np.minimum(index, 254)
    slope = table[inside + 1] - table[inside]
    line = (table[inside] << bits) + (magnitude & ((1 << bits) - 1)) * slope
    return np.where(index >= 255, top, line)


def logistic(x: Ints, scale: float) -> Ints:
    """1 / (1 + exp(-x)) in steps of 1/32768, from straight lines between 256 values."""
    scaled, magnitude = _scaled(x, *curve_multiplier(scale, (0,)))
    line = _curve(magnitude, 9, 0x7FFF << 10)
    return np.where(scaled >= 0, line + (1 << 9), (1 << 25) - line + (1 << 9) - 1) >> 10


def tanh(x: Ints, scale: float) -> Ints:
    """tanh(x) = 2 / (1 + exp(-2x)) - 1 in steps of 1/32768, from the same table."""
    scaled, magnitude = _scaled(x, *curve_multiplier(scale, (0, 1)))
    line = _curve(magnitude, 8, 0xFFFF << 8)
    return np.where(scaled >= 0, line - (1 << 23) + (1 << 7), (1 << 23) - line + (1 << 7) - 1) >> 8


# SOFTMAX.

_RANGE = 65535


def _table(function: Callable[[float], float], step: float, zero_point: int, kind: type[np.floating]) -> Array:
    """513 values of a function over int16, each moved so that the middle of its line is nearest; float `kind`."""

    def rounded(v: np.floating) -> np.floating:
        return kind(math.copysign(math.floor(abs(float(v)) + 0.5), v))

    low, high = kind(step) * kind(-LEAST - zero_point), kind(step) * kind(LEAST - 1 - zero_point)
    out_low, out_high = kind(2.0 / _RANGE) * kind(-LEAST), kind(2.0 / _RANGE) * kind(LEAST - 1)
    each = (high - low) / kind(512)
    half = each / kind(2)
    scale = kind(65536) / (out_high - out_low)
    table = []
    for i in range(512):
        at = low + kind(i) * each
        value, middle, after = (kind(function(float(v))) for v in (at, at + half, low + kind(i + 1) * each))
        first = rounded(value * scale)
        error = rounded((after * scale + first) / kind(2)) - rounded(middle * scale)
        table.append(min(max(float(first - rounded(error / kind(2))), -LEAST), LEAST - 1))
    last = rounded(kind(function(float(high))) * scale)
    return np.array([*table, min(max(float(last), -LEAST), LEAST - 1)]).astype(np.int16)


@cache
def softmax_tables(numerics: Numerics) -> tuple[Array, Array]:
    """exp over [-10, 0] and 1 / (1 + x) over [0, 1]: LiteRT computes them in double, TensorFlow Lite Micro in float."""
    kind = np.float64 if numerics is Numerics.LITERT else np.float32
    ten, one = (10.0 / _RANGE, 1.0 / _RANGE)
    if kind is np.float32:
        ten, one = float(np.float32(10) / np.float32(_RANGE)), float(np.float32(1) / np.float32(_RANGE))
    exponential = _table(math.exp, ten, LEAST - 1, kind)
    reciprocal = _table(lambda v: float(kind(1) / (kind(1) + kind(v))), one, -LEAST, kind)
    return exponential, reciprocal


def softmax_multiplier(source: Tensor, beta: float) -> Multiplier:
    """beta · scale in steps of 10/65535."""
    return quantize_multiplier(source.scale * beta / (10.0 / 65535.0))


def softmax_why_not(source: Tensor, target: Tensor, beta: float) -> str | None:
    """What SOFTMAX asks of int16 scales."""
    if abs(target.scale * 32768 - 1) > 0.001:
        return f"output scale {target.scale:.6g} must be 1/32768 where activations are int16"
    if not 0 < beta * source.scale <= 5:
        return f"beta {beta} times the input's scale {source.scale:.6g} must be above 0 and at most 5"
    if source.shape[-1] > 65535:
        return f"{source.shape[-1]:,} values in a row can overflow the references' sum; 65,535 are supported"
    return None


def softmax(rows: Ints, m: Multiplier, numerics: Numerics) -> Ints:
    """exp(x - max) / Σ along the last axis of (rows, depth), in steps of 1/32768."""
    exponentials, reciprocals = (t.astype(np.int64) for t in softmax_tables(numerics))
    difference = rows - rows.max(axis=1, keepdims=True)
    scaled = multiply_by_quantized_multiplier(difference, m.value, m.shift)
    powers = interpolate(np.clip(scaled + LEAST - 1, -LEAST, LEAST - 1), exponentials)
    total = powers.sum(axis=1, keepdims=True)
    headroom = np.array([[31 - int(t).bit_length()] for t in total[:, 0]], np.int64)
    excess = (((total << headroom) + (1 << 13)) >> 14) - 3 * LEAST
    reciprocal = interpolate(np.clip(excess, -LEAST, LEAST - 1), reciprocals)
    right = 30 - headroom
    result: Ints = np.clip((powers * reciprocal + (np.int64(1) << (right - 1))) >> right, 0, LEAST - 1)
    return result
