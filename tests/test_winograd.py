"""Winograd's transforms against the sum they stand for, and the kernel against judges over shapes and borders."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import models
from tests.draws import Case
from tests.programs import kernels_of, merged
from tests.test_kernels import check_on_board, check_on_host
from tinycompiler.board import CORES
from tinycompiler.kernels import Wishes, lower
from tinycompiler.kernels.winograd import MOST_PATCH, transformed
from tinycompiler.ops import Numerics
from tinycompiler.planning import Goals, plan

PATCH = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
NAME, PAIRED = "conv_3x3_s8_winograd", "conv_3x3_s4_winograd"


@given(st.integers(0, 2**32 - 1), st.sampled_from(["random", "lowest", "mixed"]))
@settings(max_examples=60, deadline=None)
def test_four_times_the_convolution(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    weights, patch = rng.integers(-127, 128, (2, 3, 3, 4)), rng.integers(-128, 128, (4, 4, 4))
    if kind != "random":
        weights, patch = np.full_like(weights, -127), np.full_like(patch, -128)
    if kind == "mixed":
        weights *= rng.choice([-1, 1], weights.shape)
    kernels = transformed(weights)
    assert np.abs(kernels).max() < 2**15
    turned = np.einsum("ik,kls,jl->ijs", PATCH, patch, PATCH)
    assert np.abs(turned).max() <= MOST_PATCH
    products = np.einsum("ops,ps->op", kernels, turned.reshape(16, 4)).reshape(2, 4, 4)
    found = np.einsum("ik,okl,jl->oij", OUTPUT, products, OUTPUT)
    windows = np.lib.stride_tricks.sliding_window_view(patch, (3, 3), axis=(0, 1))
    assert (found == 4 * np.einsum("ijskl,okls->oij", windows, weights)).all()


def shapes(count: int, seed: int) -> list[Case]:
    """Large enough for the kernel to be worth it; odd sizes, one or no pixels around, a few or many channels."""
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(count):
        channels, filters = int(4 * rng.integers(2, 8 if i else 22)), int(rng.integers(5, 20))
        height, width = (int(rng.integers(5, 14)) for _ in range(2))
        told: dict[str, Any] = {"shape": (int(rng.integers(1, 3)), height, width, channels), "filters": filters}
        told |= {"padding": str(rng.choice(["SAME", "VALID"])), "activation": str(rng.choice(["NONE", "RELU6"]))}
        cases.append(Case(models.conv_2d, seed + i, told))
    return cases


@pytest.mark.slow
@pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)
def test_shapes_on_the_host(numerics: Numerics, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    kernels = check_on_host(shapes(24, 40), "cortex-m4f", numerics, tmp_path, capfd)
    assert list(kernels.values()).count(NAME) >= 20


def few_bits(cases: list[Case]) -> list[Case]:
    """The same with weights whose transforms are bytes; random ones, and those of the largest sums."""
    rng, found = np.random.default_rng(1), []
    for i, case in enumerate(cases):
        shape = (case.told["filters"], 3, 3, case.told["shape"][3])
        weights = rng.integers(-14, 15, shape) if i % 3 else np.full(shape, 14 * (-1) ** i)
        found.append(Case(case.make, case.seed, {**case.told, "weights": weights.astype(np.int8)}))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)
def test_few_bits_on_the_host(numerics: Numerics, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cases = few_bits(shapes(24, 60))
    kernels = check_on_host(cases, "cortex-m4f", numerics, tmp_path, capfd, prefer=PAIRED)
    assert list(kernels.values()).count(PAIRED) >= 20


@pytest.mark.emulator
@pytest.mark.parametrize("board", ["nucleo_l4r5zi", "nucleo_l552ze_q"])
def test_few_bits_on_boards(board: str) -> None:
    check_on_board(few_bits(shapes(10, 90)), board, Numerics.LITERT, prefer=PAIRED)


def test_a_transform_beyond_a_byte_is_refused() -> None:
    [case] = few_bits(shapes(1, 5))
    whole = Case(case.make, case.seed, {**case.told, "weights": case.told["weights"] + np.int8(1)})
    for each, kernel in ((case, PAIRED), (whole, NAME)):
        graph = each.graph(Numerics.LITERT)
        [call] = lower(graph, CORES["cortex-m4f"], Wishes(chosen={graph.nodes[0].name: PAIRED})).calls
        assert call.kernel == kernel


@pytest.mark.emulator
@pytest.mark.parametrize("board", ["nucleo_l4r5zi", "stm32f746g_disco", "nucleo_l552ze_q"])
def test_shapes_on_boards(board: str) -> None:
    check_on_board(shapes(10, 7), board, Numerics.LITERT)


def test_where_flash_is_short_another_kernel_is_taken() -> None:
    graph = merged(shapes(1, 3), Numerics.LITERT)
    assert NAME in kernels_of(lower(graph, CORES["cortex-m4f"])).values()
    constants = plan(graph, CORES["cortex-m4f"], Goals(flash=12_000)).calls.calls[0].constants
    [call] = plan(graph, CORES["cortex-m4f"], Goals(flash=constants[0].size)).calls.calls
    assert call.kernel != NAME
    assert NAME in dict(call.rejected)
