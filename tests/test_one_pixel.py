"""Kernels for networks over time: evenly spaced taps, and matrix times vector; over shapes, on host and boards."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import models
from tests.draws import Case
from tests.programs import kernels_of, merged
from tests.test_kernels import check_on_board, check_on_host
from tinycompiler.board import CORES
from tinycompiler.kernels import lower
from tinycompiler.kernels.depthwise_spaced import live_taps, spacing
from tinycompiler.ops import Numerics, Window

SPACED, VECTOR, DOT = "depthwise_conv_2d_s8_spaced", "conv_2d_s8_vector", "conv_2d_s8_dot"
BOARDS = ("nucleo_l4r5zi", "stm32f746g_disco", "nucleo_l552ze_q")
PROFILES = pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)


def ends(seed: int) -> dict[str, Any]:
    """Outputs on both sides of the zero point, or clamped there or tighter."""
    clamped = ({}, {"activation": "RELU6"}, {"activation": "RELU", "output_zero_point": -128})
    return {**clamped[seed % 3], "padding": "VALID"}


def columns_rows_and_images(count: int, seed: int) -> list[Case]:
    """Taps along one axis, or under a kernel as wide as the image; any dilation and stride, ends that are zero."""
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(count):
        long, channels, batches = int(rng.integers(2, 10)), int(rng.integers(4, 68)), int(rng.integers(1, 3))
        far, stride, other = (int(rng.integers(1, 4)) for _ in range(3))
        size = (long - 1) * far + 1 + int(rng.integers(0, 4))
        column = {"kernel": (long, 1), "dilation": (far, 1), "shape": (batches, size, other, channels)}
        row = {"kernel": (1, long), "dilation": (1, far), "shape": (batches, other, size, channels)}
        whole = {"kernel": (other + 1, long), "shape": (batches, other + 2, long, channels)}
        told: dict[str, Any] = [column, row, whole][i % 3] | {"stride": (stride, stride if far == 1 else 1)}
        told |= {"stride": (1, 1)} if far > 1 else {}  # LiteRT takes one of both
        weights = rng.integers(-127, 128, (1, *told["kernel"], channels), np.int8)
        if i % 4 == 0:
            weights[:, : told["kernel"][0] // 2, : told["kernel"][1] // 2 + 1, : channels // 2] = 0
            weights[..., -1] = 0
        cases.append(Case(models.depthwise_conv_2d, seed + i, {**told, **ends(i), "weights": weights}))
    return cases


def vectors(count: int, seed: int) -> list[Case]:
    """Fully connected layers and kernels over a whole image; a single output, or an even number."""
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(count):
        filters = 1 if i % 2 else int(2 * rng.integers(2, 20))
        taps, told = int(rng.integers(1, 260)), ends(i)
        if i % 3 == 0:
            del told["padding"]
            cases.append(Case(models.fully_connected, seed + i, {**told, "shape": (1, taps), "units": filters}))
            continue
        kernel, channels = (int(rng.integers(1, 6)), int(rng.integers(1, 5))), int(rng.integers(1, 17))
        told |= {"shape": (1, *kernel, channels), "filters": filters, "kernel": kernel}
        cases.append(Case(models.conv_2d, seed + i, told))
    return cases


def extremes() -> list[Case]:
    """All weights alike and as large as they get, against the extreme inputs that every case is tried with."""
    cases = []
    for seed, weight in enumerate((127, -127)):
        deep, long, told = np.full((8, 500), weight, np.int8), np.full((1, 33, 1, 6), weight, np.int8), ends(seed)
        both: dict[str, Any] = {"weights": long, "kernel": (33, 1), "shape": (1, 35, 1, 6), **told}
        cases.append(Case(models.depthwise_conv_2d, seed, both))
        for units in (8, 1):
            flat: dict[str, Any] = {"weights": deep[:units], "shape": (1, 500), "units": units}
            cases.append(Case(models.fully_connected, seed, flat))
    return cases


@pytest.mark.slow
@PROFILES
def test_shapes_on_the_host(numerics: Numerics, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cases = [*columns_rows_and_images(36, 11), *vectors(30, 70), *extremes()]
    found = list(check_on_host(cases, "cortex-m4f", numerics, tmp_path, capfd).values())
    assert found.count(SPACED) >= 30
    assert found.count(VECTOR) >= 12
    assert found.count(DOT) >= 12


@pytest.mark.emulator
@pytest.mark.parametrize("board", BOARDS)
def test_shapes_on_boards(board: str) -> None:
    check_on_board([*columns_rows_and_images(12, 5), *vectors(12, 30), *extremes()], board, Numerics.LITERT)


@pytest.mark.parametrize(
    ("window", "width", "pixels"),
    [
        (Window((5, 1)), 1, 1),
        (Window((5, 1), dilation=(2, 1)), 3, 6),
        (Window((1, 4), dilation=(1, 3)), 12, 3),
        (Window((2, 4)), 4, 1),
        (Window((2, 4)), 5, None),
        (Window((2, 4), dilation=(2, 1)), 4, None),
        (Window((2, 4), dilation=(2, 2)), 8, None),
    ],
)
def test_spacing(window: Window, width: int, pixels: int | None) -> None:
    assert spacing(window, width) == pixels
    rows, columns = np.indices(window.kernel)
    places = (rows * window.dilation[0] * width + columns * window.dilation[1]).ravel()
    assert (set(np.diff(places)) == {pixels}) == (pixels is not None)


@pytest.mark.parametrize(("live", "first", "count"), [("00110", 2, 2), ("11111", 0, 5), ("00001", 3, 2), ("000", 0, 2)])
def test_taps_that_are_zero_at_the_ends_are_left_out(live: str, first: int, count: int) -> None:
    weights = np.array([[int(c) for c in live], [0] * len(live)])
    found, taps = live_taps(weights)
    assert (found, taps.shape[1]) == (first, count)
    assert (np.abs(weights).sum(axis=1) == np.abs(taps).sum(axis=1)).all()


@pytest.mark.parametrize(
    ("case", "kernel", "why"),
    [
        (Case(models.depthwise_conv_2d, 0, {"kernel": (3, 1), "shape": (1, 7, 6, 4)}), SPACED, "outside the image"),
        (Case(models.depthwise_conv_2d, 0, {"padding": "VALID"}), SPACED, "not evenly spaced in an image 6 pixels"),
        (Case(models.fully_connected, 0, {"units": 5}), VECTOR, "there are 5 output channels"),
        (Case(models.fully_connected, 0, {"units": 5}), DOT, "there are 5 output channels; one is supported"),
        (Case(models.fully_connected, 0, {"shape": (2, 8), "units": 6}), VECTOR, "there are 2 output pixels"),
        (Case(models.conv_2d, 0, {"shape": (1, 3, 5, 4), "padding": "VALID", "stride": (3, 5)}), VECTOR, "5 pixels"),
    ],
)
def test_refusals(case: Case, kernel: str, why: str) -> None:
    graph = merged([case], Numerics.LITERT)
    calls = lower(graph, CORES["cortex-m4f"])
    assert kernel not in kernels_of(calls).values()
    [reason] = [reason for call in calls.calls for name, reason in call.rejected if name == kernel]
    assert why in reason
