"""The emitted C against `evaluate`: on the host in plain C, and (marked `emulator`) on every kind of core."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests import models
from tests.draws import STRATEGIES, Case, Pattern
from tests.programs import HostProgram, assert_exact, board_outputs, drawn, groups, kernels_of, merged, trials_of
from tinycompiler.board import CORES, load
from tinycompiler.kernels import lower
from tinycompiler.ops import Numerics

PROFILES = pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)

# Networks at the limits of the inner loops.

TAPS = (1, 3, 4, 5, 15, 16, 17, 33)  # around the groups of four, and of two groups, that tiles take at a time
CHANNELS = (1, 2, 3, 4, 5, 33, 67)
WEIGHTS = ("all 127", "all -127", "alternating", "even -128")


def fully_connected(taps: int, units: int, *, pattern: str | None = None, bias: str | None = None, **told: Any) -> Case:
    arrays: dict[str, Any] = {} if pattern is None else {"weights": Pattern(pattern, (units, taps))}
    if bias is not None:
        arrays["biases"] = Pattern(bias, (units,))
    return Case(models.fully_connected, taps, {"shape": (1, taps), "units": units, **arrays, **told})


def by_multiplier(multiplier: float) -> dict[str, float]:
    """Scales, powers of two but for the multiplier that comes of them."""
    return {"input_scale": 2.0**-6, "weight_scale": 2.0**-8, "output_scale": 2.0**-14 / multiplier}


def image(make: Callable[..., bytes], seed: int, shape: tuple[int, ...], **told: Any) -> Case:
    return Case(make, seed, {"shape": shape, **told})


PAIRS_LIMIT = 516  # taps of ±127: Σ|w| = 65,532, the most that a pair of channels takes is 65,535
GREATEST_BIAS = {"pattern": "all 127", **by_multiplier(2.0**-23)}  # and the greatest shift, 22

LIMITS: tuple[Case, ...] = (
    *(
        fully_connected(taps, units, pattern=(*WEIGHTS, None)[(i + j) % 5], shape=(1 + (i + j) % 3, taps))
        for i, taps in enumerate(TAPS)
        for j, units in enumerate(CHANNELS)
        if (i + j) % 2 == 0 or units < 4
    ),
    *(fully_connected(PAIRS_LIMIT, 3, pattern=pattern, shape=(3, PAIRS_LIMIT)) for pattern in WEIGHTS[:3]),
    fully_connected(16, 3, bias="bias 2^30 - 2^25", **GREATEST_BIAS),
    fully_connected(16, 3, bias="bias 2^25 - 2^30", **GREATEST_BIAS),
    fully_connected(7, 5, pattern="small", bias="small bias", **by_multiplier(0.49)),  # shift 1
    fully_connected(7, 5, pattern="zero", bias="bias 2^30"),  # channels without weights are constants
    *(
        image(
            models.conv_2d,
            width,
            (1 + i % 2, 3, width, channels),
            filters=filters,
            kernel=(3, 3 - i % 3),
            stride=(1 + i % 4, 1 + (i + i // 4) % 4),
            **({"weights": Pattern(WEIGHTS[i % 4], (filters, 3, 3 - i % 3, channels))} if i % 2 else {}),
        )
        for i, (width, channels, filters) in enumerate(
            ((1, 1, 1), (2, 3, 2), (3, 4, 3), (5, 5, 4), (8, 8, 67), (15, 1, 5), (16, 2, 2), (17, 3, 3), (33, 4, 1))
        )
    ),
    image(models.conv_2d, 1, (2, 3, 5, 67), filters=33, kernel=(1, 1)),  # pointwise: all pixels are one row
    image(models.conv_2d, 1, (1, 3, 5, 12), filters=5, kernel=(1, 1), stride=(2, 2)),
    *(
        image(
            models.depthwise_conv_2d,
            width,
            (1, 4, width, channels),
            kernel=kernel,
            stride=(1 + i % 4, 1 + (i + i // 4) % 4),
            **({"weights": Pattern(WEIGHTS[i % 3], (1, *kernel, channels))} if i % 2 else {}),
        )
        for i, (width, channels, kernel) in enumerate(
            (
                (1, 4, (1, 1)),
                (2, 8, (3, 3)),
                (3, 12, (2, 3)),
                (5, 68, (3, 1)),
                (17, 4, (3, 3)),
                (33, 16, (3, 3)),
                (7, 3, (3, 3)),
                (6, 67, (2, 2)),
                (9, 4, (4, 5)),
            )
        )
    ),
    image(models.depthwise_conv_2d, 1, (1, 5, 5, 8), dilation=(2, 2)),
    image(models.depthwise_conv_2d, 1, (1, 5, 5, 8), weights=Pattern("all -128", (1, 3, 3, 8))),
    image(models.average_pool_2d, 1, (1, 16, 16, 4), kernel=(16, 16)),  # 256 pixels: sums of 16 bits at their limit
    image(models.max_pool_2d, 1, (1, 9, 33, 8), kernel=(3, 3), stride=(2, 4), padding="SAME"),
)


@cache
def random_cases(count: int, start: int) -> tuple[Case, ...]:
    return tuple(case for strategy in STRATEGIES.values() for case in drawn(strategy, count, start=start))


# On the host.


def check_on_host(cases: list[Case], core: str, numerics: Numerics, folder: Path, capfd: Any) -> dict[str, str]:
    """Compiles and runs the cases as one program. Returns the kernels by node."""
    calls = lower(merged(cases, numerics), CORES[core])
    program = HostProgram(calls, folder)
    for feeds in trials_of(cases, numerics):
        assert_exact(calls, cases, feeds, program.outputs(feeds))
    complaints = capfd.readouterr().err
    assert "runtime error" not in complaints, complaints
    return kernels_of(calls)


@PROFILES
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4f"])
def test_random_networks_on_the_host(
    core: str, numerics: Numerics, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    start = 2 * (numerics is Numerics.TFLM) + (core == "cortex-m4f")
    check_on_host(list(random_cases(6, start)), core, numerics, tmp_path, capfd)


@PROFILES
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4f"])
def test_limits_on_the_host(core: str, numerics: Numerics, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check_on_host(list(LIMITS), core, numerics, tmp_path, capfd)


# On boards.

BOARDS = {
    "nucleo_l4r5zi": (150_000, 60_000),
    "stm32f746g_disco": (150_000, 60_000),
    "nucleo_l552ze_q": (150_000, 60_000),
    "rpi_pico": (150_000, 60_000),
    "bluepill": (20_000, 9_000),
}
"""Bytes of constants, and of inputs with outputs, that one program may have beside its code and stack."""


@pytest.mark.emulator
@PROFILES
@pytest.mark.parametrize("board", BOARDS)
def test_networks_on_boards(board: str, numerics: Numerics) -> None:
    flash, ram = BOARDS[board]
    cases = [*LIMITS, *random_cases(3, len(board))]
    for group in groups(cases, numerics, flash=flash, ram=ram):
        calls = lower(merged(group, numerics), load(board).core)
        trials = trials_of(group, numerics)
        for feeds, found in zip(trials, board_outputs(calls, board, trials), strict=True):
            assert_exact(calls, group, feeds, found)
