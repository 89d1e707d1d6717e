"""What a channel brings beside its weights, in few bytes: biases of any size, dead channels, odd counts; both forms."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import models
from tests.draws import Case, graph_of
from tests.test_kernels import check_on_board, check_on_host
from tinycompiler.board import CORES
from tinycompiler.kernels import lower
from tinycompiler.ops import Numerics

WIDE = 2**23
"""The least bias that does not fit beside a shift."""
PROFILES = pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)
SHAPES: tuple[tuple[Any, dict[str, Any], tuple[int, ...]], ...] = (
    (models.conv_2d, {"shape": (1, 5, 6, 5), "filters": 7, "kernel": (3, 2)}, (7, 3, 2, 5)),
    (models.conv_2d, {"shape": (1, 4, 5, 9), "filters": 4, "kernel": (1, 1)}, (4, 1, 1, 9)),
    (models.conv_2d, {"shape": (1, 4, 5, 6), "filters": 6, "kernel": (2, 2), "groups": 2}, (6, 2, 2, 3)),
    (models.depthwise_conv_2d, {"shape": (1, 9, 12, 7)}, (1, 3, 3, 7)),
    (models.depthwise_conv_2d, {"shape": (1, 9, 12, 8), "stride": (2, 2)}, (1, 3, 3, 8)),
    (models.depthwise_conv_2d, {"shape": (1, 5, 4, 6), "kernel": (2, 3)}, (1, 2, 3, 6)),
    (models.fully_connected, {"shape": (1, 11), "units": 5}, (5, 11)),
    (models.fully_connected, {"shape": (3, 16), "units": 1}, (1, 16)),
)


def cases(greatest: int, *, dead: bool) -> list[Case]:
    """Every shape with biases up to `greatest`, and dead channels whose biases are the largest that there are."""
    made = []
    for seed, (make, told, shape) in enumerate(SHAPES):
        rng = np.random.default_rng(seed)
        axis = 3 if make is models.depthwise_conv_2d else 0
        weights = rng.integers(-127, 128, shape, np.int8)
        biases = rng.integers(-greatest, greatest, shape[axis], np.int32)
        biases[0] = greatest - 1
        if dead:
            biases[-1] = (2**31 - 1) * (-1) ** seed
            np.moveaxis(weights, axis, 0)[-1] = 0
        numbers = {"input_scale": 0.05, "weight_scale": 0.01, "output_scale": 0.05 * 0.01 * greatest / 90}
        activation = "RELU6" if seed % 3 == 2 else "NONE"
        more = {"weights": weights, "biases": biases, "activation": activation, **numbers}
        made.append(Case(make, seed, {**told, **more}))
    return made


def all_cases() -> list[Case]:
    sizes = (2000, WIDE, WIDE + 1, 2**28)
    return [case for greatest in sizes for dead in (False, True) for case in cases(greatest, dead=dead)]


@pytest.mark.slow
@PROFILES
def test_on_the_host(numerics: Numerics, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check_on_host(all_cases(), "cortex-m4f", numerics, tmp_path, capfd)


@pytest.mark.emulator
@PROFILES
def test_on_a_board(numerics: Numerics) -> None:
    check_on_board(all_cases(), "nucleo_l4r5zi", numerics)


@pytest.mark.parametrize(("greatest", "tile"), [(WIDE, "twice"), (WIDE + 1, "twice_wide")])
def test_only_large_biases_take_a_word_of_their_own(greatest: int, tile: str) -> None:
    """Also beside a dead channel with the largest bias, which is none any more."""
    case = cases(greatest, dead=True)[0]
    content = case.make(np.random.default_rng(0), **case.told, input_zero_point=0)
    [call] = lower(graph_of(content, Numerics.LITERT), CORES["cortex-m4f"]).calls
    assert f"tile:{tile}" in call.inner


# SOFTMAX of two classes.


def two_classes() -> list[Case]:
    """Scales at which a step of the input is nothing, something, everything; rows of which one value is alike."""
    scales = (2e-4, 0.004, 0.0146, 0.0217, 0.05, 0.2, 1.9)
    return [
        Case(models.softmax, seed, {"shape": (40, 2), "input_scale": scale, "beta": beta})
        for seed, (scale, beta) in enumerate((scale, beta) for scale in scales for beta in (1.0, 2.0))
    ]


@pytest.mark.slow
@PROFILES
def test_two_classes_on_the_host(numerics: Numerics, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    kernels = check_on_host(two_classes(), "cortex-m0plus", numerics, tmp_path, capfd)
    assert set(kernels.values()) == {"softmax_two_s8"}


@pytest.mark.emulator
def test_two_classes_on_a_board() -> None:
    check_on_board(two_classes(), "nucleo_l4r5zi", Numerics.TFLM)


def test_half_a_table_where_the_other_half_is_the_same() -> None:
    sizes = []
    for scale in (0.0146, 0.05):
        graph = graph_of(models.softmax(np.random.default_rng(0), (1, 2), input_scale=scale), Numerics.LITERT)
        [call] = lower(graph, CORES["cortex-m4f"]).calls
        sizes.append((call.context, call.constants[0].size))
    assert sizes[0][0] != sizes[1][0]
    assert sizes[0][1] <= 256
