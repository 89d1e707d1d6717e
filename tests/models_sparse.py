"""Networks whose weights are stored sparse, as .tflite bytes: encoded here by the plainest loops there are."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.tflite_builder import ModelBuilder
from tinycompiler.readers import schema

Rng = np.random.Generator
Weights = NDArray[np.int8]


def pruned(rng: Rng, shape: tuple[int, ...], block: int, kept: float = 0.4) -> Weights:
    """Random weights with zeros in blocks along the last axis."""
    weights = rng.integers(-127, 128, shape).astype(np.int8)
    blocks = rng.random((*shape[:-1], -(-shape[-1] // block))) < kept
    return np.asarray(weights * np.repeat(blocks, block, axis=-1)[..., : shape[-1]], np.int8)


def stored(weights: Weights, blocks: Mapping[int, int], order: tuple[int, ...] = ()) -> tuple[dict[str, Any], bytes]:
    """SparsityParameters and values; `blocks`: sizes by axis. The last axis before blocks is compressed."""
    rank = weights.ndim
    order = order or tuple(range(rank))
    shape: list[int] = []
    for axis, size in enumerate(weights.shape):
        shape += [size // blocks.get(axis, 1), blocks.get(axis, 1)]
    axes = [*(2 * axis for axis in order), *(2 * axis + 1 for axis in blocks)]
    ones = [2 * axis + 1 for axis in range(rank) if axis not in blocks]
    level = weights.reshape(shape).transpose(*axes, *ones).reshape([shape[axis] for axis in axes])
    parts: list[Any] = [level]
    metadata: list[dict[str, Any]] = []
    for place, axis in enumerate(axes):
        if place == rank - 1:
            chosen = [[i for i in range(len(part)) if np.any(part[i])] for part in parts]
            segments = [sum(len(c) for c in chosen[:n]) for n in range(len(chosen) + 1)]
            metadata.append(
                {
                    "format": 1,
                    "array_segments": ("Uint16Vector", {"values": segments}),
                    "array_indices": ("Uint8Vector", {"values": [i for c in chosen for i in c]}),
                }
            )
        else:
            chosen = [list(range(len(part))) for part in parts]
            metadata.append({"format": 0, "dense_size": shape[axis]})
        parts = [part[i] for part, c in zip(parts, chosen, strict=True) for i in c]
    parameters = {"traversal_order": [*order, *range(rank, rank + len(blocks))], "dim_metadata": metadata}
    if blocks:
        parameters["block_map"] = list(blocks)
    return parameters, np.array(parts, np.int8).tobytes()


def fully_connected(
    rng: Rng,
    shape: tuple[int, int] = (1, 32),
    units: int = 6,
    *,
    blocks: Mapping[int, int] | None = None,
    activation: str = "NONE",
    per_channel: bool = False,
    change: Any = None,
    kept: float = 0.4,
) -> bytes:
    """FULLY_CONNECTED that reads sparse weights itself; `change` spoils what the file says of them."""
    weights = pruned(rng, (units, shape[1]), 16, kept)
    parameters, data = stored(weights, {1: 16} if blocks is None else blocks)
    if change is not None:
        parameters, data = change(parameters, data)
    scales = rng.uniform(0.004, 0.01, units) if per_channel else float(rng.uniform(0.004, 0.01))
    m = ModelBuilder("sparse")
    m.tensor("input", shape, scales=0.03, zero_points=int(rng.integers(-40, 40)))
    m.tensor("weights", weights.shape, scales=scales, data=data, sparsity=parameters)
    biases = rng.integers(-2000, 2000, units).astype(np.int32)
    m.tensor("bias", (units,), "int32", scales=np.multiply(scales, 0.03), data=biases)
    m.tensor("output", (shape[0], units), scales=float(rng.uniform(0.05, 0.2)), zero_points=int(rng.integers(-40, 40)))
    options = {"fused_activation_function": schema.ACTIVATIONS.index(activation)}
    m.operator("FULLY_CONNECTED", ["input", "weights", "bias"], ["output"], options=options)
    return m.inputs("input").outputs("output").build()


def densified(
    rng: Rng,
    shape: tuple[int, int, int, int] = (1, 5, 4, 8),
    filters: int = 6,
    kernel: tuple[int, int] = (3, 3),
    *,
    blocks: Mapping[int, int] | None = None,
    order: tuple[int, ...] = (),
    change: Any = None,
    direct: bool = False,
) -> bytes:
    """CONV_2D whose weights come through DENSIFY; `direct`: it is left out."""
    weights = pruned(rng, (filters, *kernel, shape[3]), 4)
    parameters, data = stored(weights, {3: 4} if blocks is None else blocks, order)
    if change is not None:
        parameters, data = change(parameters, data)
    scales = rng.uniform(0.004, 0.01, filters)
    m = ModelBuilder("densified")
    m.tensor("input", shape, scales=0.03, zero_points=int(rng.integers(-40, 40)))
    m.tensor("stored", weights.shape, scales=scales, data=data, sparsity=parameters)
    m.tensor("weights", weights.shape, scales=scales)
    biases = rng.integers(-2000, 2000, filters).astype(np.int32)
    m.tensor("bias", (filters,), "int32", scales=np.multiply(scales, 0.03), data=biases)
    m.tensor("output", (*shape[:3], filters), scales=float(rng.uniform(0.05, 0.2)), zero_points=3)
    if not direct:
        m.operator("DENSIFY", ["stored"], ["weights"])
    read = ["input", "stored" if direct else "weights", "bias"]
    m.operator("CONV_2D", read, ["output"], options={"padding": 0, "stride_h": 1, "stride_w": 1})
    return m.inputs("input").outputs("output").build()
