"""From how many zeros on a sparse encoding pays: `python -m tests.measure_sparsity` writes tests/sparsity.json and the
picture of it, tests/sparsity.svg (a minute).

One convolution and one fully connected layer of random weights, of which more and more are zero: in blocks of four
taps for the kernels that store blocks, one by one for those that store single weights. Counted on a Cortex-M4; what a
sparse layer takes is told as a share of what the dense kernels take, which is the same for all weights.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from tests import models, sparsity_picture
from tests.draws import Case
from tests.models_sparse import pruned
from tests.programs import kernels_of, merged, program_of
from tinycompiler.board import load
from tinycompiler.build import build
from tinycompiler.emulators import run
from tinycompiler.kernels import Wishes, lower
from tinycompiler.kernels.sparse import Form
from tinycompiler.ops import Numerics

BOARD = "nucleo_l4r5zi"
ZEROS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Layer:
    """What is swept: the name in the picture, how to make one, its weights, and kernels by encoding."""

    name: str
    make: Any
    told: dict[str, Any]
    weights: tuple[int, ...]
    dense: tuple[str, ...]
    """Of kernels whose time does not depend on zeros: the first is what others are compared with."""
    sparse: dict[str, tuple[str, int]]
    """Kernel, and how many weights are zero together."""

    def case(self, unit: int, zeros: float, seed: int) -> Case:
        weights = pruned(np.random.default_rng(seed), self.weights, unit, 1 - zeros)
        return Case(self.make, seed, {**self.told, "weights": weights})


LAYERS = (
    Layer(
        "3x3 convolution, 32 to 32 channels, 16x16",
        models.conv_2d,
        {"shape": (1, 16, 16, 32), "filters": 32, "kernel": (3, 3), "activation": "RELU", "output_zero_point": -128},
        (32, 3, 3, 32),
        ("conv_2d_s8_dsp", "conv_3x3_s8_winograd"),
        {"blocks of 4": ("conv_2d_s8_blocks", 4), "single weights": ("conv_2d_s8_deltas", 1)},
    ),
    Layer(
        "fully connected, 256 to 128",
        models.fully_connected,
        {"shape": (1, 256), "units": 128},
        (128, 256),
        ("conv_2d_s8_vector",),
        {"blocks of 4": ("conv_2d_s8_vector_blocks", 4), "single weights": ("conv_2d_s8_vector_deltas", 1)},
    ),
)


def counted(cases: list[Case], kernel: str) -> list[tuple[int, int, int]]:
    """Of each as one network's node by that kernel: instructions, cycles, bytes of constants."""
    board, graph = load(BOARD), merged(cases, Numerics.LITERT)
    with patch.object(Form, "why_not", lambda form, weights: None):  # also where it saves nothing
        calls = lower(graph, board.core, Wishes(chosen={node.name: kernel for node in graph.nodes}))
    assert set(kernels_of(calls).values()) == {kernel}
    size = sum(graph.tensors[name].bytes for name in graph.inputs)
    outcome = run(build(program_of(calls), board, vectors=[bytes(size)]), board, count=True)
    sizes = [sum(constant.size for constant in call.constants) for call in calls.calls]
    return list(zip(outcome.node_instructions, outcome.node_cycles, sizes, strict=True))


def sweep(layer: Layer) -> dict[str, Any]:
    """Figures of the dense kernels, and by encoding of each share of zeros."""
    found: dict[str, Any] = {"name": layer.name, "macs": 0, "dense": {}, "sparse": {}}
    for kernel in layer.dense:
        case = layer.case(1, 0.0, 0)
        [(instructions, cycles, size)] = counted([case], kernel)
        graph = case.graph(Numerics.LITERT)
        found["macs"] = graph.macs(graph.nodes[0])
        found["dense"][kernel] = {"instructions": instructions, "cycles": cycles, "bytes": size}
    for encoding, (kernel, unit) in layer.sparse.items():
        cases = [layer.case(unit, zeros, seed) for seed, zeros in enumerate(ZEROS)]
        points = [
            {"zeros": zeros, "instructions": instructions, "cycles": cycles, "bytes": size}
            for zeros, (instructions, cycles, size) in zip(ZEROS, counted(cases, kernel), strict=True)
        ]
        found["sparse"][encoding] = {"kernel": kernel, "points": points}
    return found


def main() -> int:
    figures = {"board": BOARD, "layers": [sweep(layer) for layer in LAYERS]}
    Path(__file__).with_name("sparsity.json").write_text(json.dumps(figures, indent=1) + "\n")
    sparsity_picture.main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
