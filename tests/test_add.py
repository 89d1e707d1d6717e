"""ADD and SUB as two multiplications: every pair of values, judges over random numbers, and no proof, no kernel."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import models, models_elementwise
from tests.draws import Case
from tests.test_kernels import check_on_board, check_on_host
from tinycompiler.board import CORES
from tinycompiler.kernels import lower
from tinycompiler.kernels.add import AddDsp, Fit, _proves, _reference, every_pair, fit_of
from tinycompiler.kernels.base import Site
from tinycompiler.ops import Clamp, Numerics

NAME = "add_s8_fitted"
SCALES = st.floats(-5, 0).map(lambda power: float(np.float32(10**power)))
POINTS = st.integers(-128, 127)


def site(scales: tuple[float, float, float], points: tuple[int, int, int]) -> Site:
    told = {"scales": scales[:2], "output_scale": scales[2], "zero_points": points[:2], "output_zero_point": points[2]}
    graph = Case(models.add, 0, told).graph(Numerics.LITERT)
    return Site(graph, graph.nodes[0])


@pytest.mark.slow
@given(st.tuples(SCALES, SCALES, SCALES), st.tuples(POINTS, POINTS, POINTS))
@settings(max_examples=25, deadline=None)
def test_a_fit_has_the_value_of_every_pair(scales: tuple[float, float, float], points: tuple[int, int, int]) -> None:
    if scales[2] * 100 < max(scales[:2]):
        return  # the judges refuse it
    node = site(scales, points)
    fit = fit_of(node)
    if fit is None:
        return
    a, b = (np.broadcast_to(v, (256, 256)).astype(np.int8) for v in every_pair())
    tensors = [replace(t, shape=(256, 256)) for t in (*node.inputs, *node.outputs)]
    wanted = node.op.evaluate(tensors[:2], tensors[2:], (a, b), Numerics.LITERT)[0]
    assert (np.clip(fit(a.astype(np.int64), b.astype(np.int64)) >> 16, -128, 127) == wanted).all()


def test_usual_numbers_are_fitted() -> None:
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(20):
        scales = tuple(float(np.float32(v)) for v in np.exp(rng.uniform(np.log(0.01), np.log(0.1), 3)))
        found += fit_of(site(scales, tuple(map(int, rng.integers(-128, 128, 3))))) is not None  # type: ignore[arg-type]
    assert found == 20


def test_coefficients_that_miss_one_pair_are_no_proof() -> None:
    numbers = ((0.0513, 3), (0.0437, -7), (0.0611, 11))
    fit = fit_of(site((0.0513, 0.0437, 0.0611), (3, -7, 11)))
    assert fit is not None
    rounded = tuple((float(np.float32(scale)), point) for scale, point in numbers)
    wanted = _reference(False, rounded, Clamp())
    assert _proves(fit, wanted, Clamp())
    wanted[100, 200] += 1
    assert not _proves(fit, wanted, Clamp())
    assert not _proves(Fit(fit.constant, fit.a, 2**31), wanted, Clamp())


def test_ties_on_both_sides_of_zero_have_no_short_form() -> None:
    """With scales 5 : 4 : 6 every third pair lies between two values, and the reference rounds away from zero."""
    node = site((0.05, 0.04, 0.06), (3, -7, 11))
    assert AddDsp().why_not(node) == "no coefficients were found that give the reference's value for all 65,536 pairs"
    [call] = lower(node.graph, CORES["cortex-m4f"]).calls
    assert call.kernel == "elementwise_s8_dsp"


def cases(count: int) -> list[Case]:
    rng = np.random.default_rng(5)
    found = []
    for i in range(count):
        make = models.add if i % 3 else models_elementwise.subtract
        shape = (1, int(rng.integers(1, 8)), int(rng.integers(1, 8)), int(rng.integers(1, 9)))
        told = (
            {"shape": shape} if make is models.add else {"shapes": (shape, shape), "scales": (0.0513, 0.0437, 0.0611)}
        )
        found.append(Case(make, i, told | {"activation": str(rng.choice(["NONE", "RELU", "RELU6"]))}))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)
def test_shapes_on_the_host(numerics: Numerics, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    kernels = check_on_host(cases(30), "cortex-m4f", numerics, tmp_path, capfd)
    assert list(kernels.values()).count(NAME) >= 25


@pytest.mark.emulator
@pytest.mark.parametrize("board", ["nucleo_l4r5zi", "stm32f746g_disco", "nucleo_l552ze_q"])
def test_shapes_on_boards(board: str) -> None:
    check_on_board(cases(40), board, Numerics.LITERT)
