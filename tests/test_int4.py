"""Weights of four bits and of two: what is packed is what is read; judges over shapes and extreme sums; refusals."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import models
from tests.draws import Case
from tests.programs import (
    HostProgram,
    assert_exact,
    board_outputs,
    groups,
    kernels_of,
    merged,
    program_of,
    trials_of,
)
from tinycompiler.board import CORES, Core, load
from tinycompiler.build import build
from tinycompiler.emulators import run
from tinycompiler.kernels import KERNELS as ALL
from tinycompiler.kernels import Calls, Site, Wishes, lower
from tinycompiler.kernels.conv_int4 import fields, limits
from tinycompiler.ops import Numerics
from tinycompiler.planning import Goals, plan

DSP, TWO, LANES = "conv_2d_s4_dsp", "conv_2d_s2_dsp", "conv_2d_s4_lanes"
BITS = {DSP: 4, TWO: 2, LANES: 4}
PROFILES = pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)
TAPS = (1, 3, 4, 5, 8, 12, 13, 15, 16, 17, 20, 28, 33, 40, 64, 144)
CHANNELS = (1, 2, 3, 4, 5, 6, 7, 8, 33)


def weights(shape: Sequence[int], seed: int, bits: int) -> np.ndarray[Any, Any]:
    """Random ones, or all of an extreme, or extremes by turns."""
    rng, half = np.random.default_rng(seed), 2 ** (bits - 1)
    if seed % 4 == 0:
        return np.full(shape, (-half, half - 1)[seed // 4 % 2], np.int8)
    if seed % 4 == 1:
        return rng.choice([-half, half - 1], shape).astype(np.int8)
    return rng.integers(-half, half, shape).astype(np.int8)


def ends(seed: int) -> dict[str, Any]:
    """Outputs on both sides of the zero point, or clamped there or tighter."""
    clamped = ({}, {"activation": "RELU6"}, {"activation": "RELU", "output_zero_point": -128})
    return dict(clamped[seed % 3])


def flat(count: int, seed: int, bits: int) -> list[Case]:
    """FULLY_CONNECTED of one row and of several."""
    cases = []
    for i in range(seed, seed + count):
        taps, units = TAPS[i % len(TAPS)], CHANNELS[(i + i // len(TAPS)) % len(CHANNELS)]
        told = {"shape": (1 + i % 3, taps), "units": units, "weights": weights((units, taps), i, bits)}
        cases.append(Case(models.fully_connected, i, {**told, **ends(i)}))
    return cases


def images(count: int, seed: int, bits: int) -> list[Case]:
    """CONV_2D of one tap and more, at odd widths, with borders, strides and dilation."""
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(seed, seed + count):
        channels, filters = int(rng.integers(1, 20)), int(rng.integers(1, 20))
        kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 5))) if i % 3 else (1, 1)
        channels = 4 * -(-channels // 4) if i % 2 else channels
        height, width = int(rng.integers(kernel[0], 7)), int(rng.integers(kernel[1], 9))
        told: dict[str, Any] = {"filters": filters, "kernel": kernel, "padding": str(rng.choice(["SAME", "VALID"]))}
        if i % 4 == 0:
            told["stride"] = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        elif i % 4 == 1 and min(kernel) > 1:
            told |= {"dilation": (2, 2), "padding": "SAME"}
        told |= {
            "weights": weights((filters, *kernel, channels), i, bits),
            "shape": (1 + i % 2, height, width, channels),
        }
        cases.append(Case(models.conv_2d, i, {**told, **ends(i)}))
    return cases


def longest(bits: int) -> list[Case]:
    """As many taps as the proof lets by, all of one sign, against inputs of one sign."""
    most, half = limits(bits)[-1], 2 ** (bits - 1)
    shapes = [(8, most // half - 1, -half), (8, (most - 1) // (half - 1), half - 1), (5, most // 2, -1)]
    return [
        Case(models.fully_connected, i, {"weights": np.full((u, t), w, np.int8), "shape": (1 + i, t), "units": u})
        for i, (u, t, w) in enumerate(shapes)
    ]


def raised(bits: int) -> list[Case]:
    """Outputs that take no shift to the right, or one to the left, as of layers with one scale of few bits."""
    scales = ({"input_scale": 2.0**-6, "weight_scale": 2.0**-8, "output_scale": 2.0**-14 / m} for m in (0.7, 1.0, 1.9))
    return [
        Case(
            models.fully_connected,
            i,
            {"shape": (1 + i, 7), "units": 9, "weights": weights((9, 7), i + 2, bits), **told},
        )
        for i, told in enumerate(scales)
    ]


def cases(count: int, seed: int, kernel: str) -> list[Case]:
    bits = BITS[kernel]
    return [*flat(count, seed, bits), *images(count, seed, bits), *longest(bits), *raised(bits)]


def forced(cases: Sequence[Case], core: Core, kernel: str, numerics: Numerics) -> Calls:
    """With the kernel wherever it does not refuse; it does not refuse many."""
    graph = merged(cases, numerics)
    calls = lower(graph, core, Wishes(chosen={node.name: kernel for node in graph.nodes}))
    assert list(kernels_of(calls).values()).count(kernel) >= 0.7 * len(cases)
    return calls


# What is packed.


@pytest.mark.parametrize("bits", [4, 2])
def test_packed_weights_are_read_back(bits: int) -> None:
    rng, count, half = np.random.default_rng(0), 16 // bits, 2 ** (bits - 1)
    for channels, taps in ((1, 1), (4, 4), (5, 7), (8, 33), (7, 12), (17, 5)):
        given = rng.integers(-half, half, (channels, taps))
        halves = fields(given, bits).view(np.int16)
        for channel in range(channels):
            for tap in range(taps):
                place = 4 * (tap // 4) + (0, 2, 1, 3)[tap % 4]
                text = f"{int(halves[channel // count, place]) & 0xFFFF:016b}"
                field = int(text[16 - bits - bits * (channel % count) :][:bits], 2)
                found = field - half if channel % count < count - 1 else field - 2 * half * (field >= half)
                assert found == given[channel, tap], (channel, tap)


# What comes out.


@pytest.mark.slow
@PROFILES
@pytest.mark.parametrize("kernel", BITS)
def test_shapes_on_the_host(kernel: str, numerics: Numerics, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tried = cases(40, 0, kernel)
    calls = forced(tried, CORES["cortex-m4f"], kernel, numerics)
    program = HostProgram(calls, tmp_path)
    for feeds in trials_of(calls.graph):
        assert_exact(calls, tried, feeds, program.outputs(feeds))
    complaints = capfd.readouterr().err
    assert "runtime error" not in complaints, complaints


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("board", "kernel"),
    [
        ("nucleo_l4r5zi", DSP),
        ("nucleo_l552ze_q", DSP),
        ("nucleo_l4r5zi", TWO),
        ("rpi_pico", LANES),
        ("nucleo_f207zg", LANES),
    ],
)
def test_shapes_on_boards(board: str, kernel: str) -> None:
    numerics = Numerics.TFLM if board == "nucleo_l4r5zi" else Numerics.LITERT
    for group in groups(cases(14, 3 * len(board), kernel), numerics, flash=150_000, ram=60_000):
        calls = forced(group, load(board).core, kernel, numerics)
        trials = trials_of(calls.graph)
        for feeds, found in zip(trials, board_outputs(calls, board, trials), strict=True):
            assert_exact(calls, group, feeds, found)


# What is refused, and what it takes to be chosen.


def dense(taps: int, value: int, **told: Any) -> Case:
    arrays: dict[str, Any] = {"weights": np.full((8, taps), value, np.int8), "shape": (1, taps)}
    return Case(models.fully_connected, 0, {"units": 8, **arrays, **told})


WIDE = np.array([0, 0, 2**24, 0, 0, 0, 0, 0], np.int32)
REFUSALS = {
    "sum": (dense(512, -8), "channel 3 has Σ|w| = 4,096; as number 4 of 4 in a half-word it needs below 4,096"),
    "bias": (dense(8, 3, biases=WIDE), "output channel 2 has a bias of 16,77"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_refusals_say_why(what: str) -> None:
    case, words = REFUSALS[what]
    graph = case.graph(Numerics.LITERT)
    calls = lower(graph, CORES["cortex-m4f"], Wishes(chosen={graph.nodes[0].name: DSP}))
    assert DSP not in kernels_of(calls).values()
    [kernel] = [kernel for kernel in ALL if kernel.name == DSP]
    assert words in (kernel.why_not(Site(graph, graph.nodes[0])) or "")


def test_weights_that_fit_are_packed_unless_they_are_to_stay_bytes() -> None:
    found = {}
    for value in (7, 8):
        graph = dense(64, value, units=96, weights=np.full((96, 64), value, np.int8)).graph(Numerics.LITERT)
        for asked in (False, True):
            [call] = plan(graph, CORES["cortex-m4f"], Goals(dense=asked, fusion=False)).calls.calls
            found[value, asked] = call.encoding, call.bits
    assert found.pop((7, False)) == ("int4", 4)
    assert set(found.values()) == {("", 8)}


def test_four_bits_take_half_the_bytes() -> None:
    graph, core = dense(640, 6).graph(Numerics.LITERT), CORES["cortex-m4f"]
    sizes = []
    for kernel in (DSP, "conv_2d_s8_vector"):
        [call] = lower(graph, core, Wishes(chosen={graph.nodes[0].name: kernel})).calls
        assert call.kernel == kernel
        sizes.append(sum(constant.size for constant in call.constants))
    assert sizes[0] <= 0.52 * sizes[1]


@pytest.mark.emulator
def test_instructions_of_a_multiplication() -> None:
    """With all that gathers, scales and stores: 3x3 of 32 channels, and fully connected from 640 to 128."""
    rng, board = np.random.default_rng(0), load("nucleo_l4r5zi")
    image = {"shape": (1, 16, 16, 32), "filters": 32, "kernel": (3, 3), "weights": rng.integers(-7, 8, (32, 3, 3, 32))}
    row = {"shape": (1, 640), "units": 128, "weights": rng.integers(-7, 8, (128, 640))}
    tried = [Case(models.conv_2d, 0, image), Case(models.fully_connected, 1, row)]
    calls = forced(tried, board.core, DSP, Numerics.LITERT)
    size = sum(calls.graph.tensors[name].bytes for name in calls.graph.inputs)
    counted = run(build(program_of(calls), board, vectors=[bytes(size)]), board, count=True).node_instructions
    each = [spent / calls.graph.macs(node) for spent, node in zip(counted, calls.graph.nodes, strict=True)]
    assert each[0] <= 0.95
    assert each[1] <= 1.0
