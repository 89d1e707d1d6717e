"""The kernels for cores without DSP: proofs tried out, and judges over shapes, borders and extreme sums."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from tests import models, models_elementwise
from tests.draws import Case, Pattern
from tests.test_kernels import by_multiplier, check_on_board, check_on_host, fully_connected, image
from tinycompiler.board import CORES
from tinycompiler.fixed_point import multiply_by_quantized_multiplier, multiply_in_double
from tinycompiler.kernels import Site, Wishes, lower
from tinycompiler.kernels.add import plane_of
from tinycompiler.kernels.add_products import Products, _proves, products_of
from tinycompiler.kernels.conv_lanes import ConvLanes
from tinycompiler.kernels.geometry import flat_weights
from tinycompiler.kernels.requantize import Requantization, requantization
from tinycompiler.kernels.short_products import ONCE, TWICE, ShortProducts, short_products
from tinycompiler.ops import Clamp, Numerics

CONV, PIXELS, DEPTHWISE, ADD = "conv_2d_s8_lanes", "conv_2d_s8_pixels", "depthwise_3x3_s8_lanes", "add_s8_products"
PATTERNS = (None, "all 127", "all -127", "alternating")
PROFILES = pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)


def site_of(case: Case, numerics: Numerics = Numerics.LITERT) -> Site:
    graph = case.graph(numerics)
    return Site(graph, graph.nodes[0])


# Requantization.


def reference(r: Requantization, accumulators: np.ndarray[Any, Any], zero_point: int) -> np.ndarray[Any, Any]:
    """What the operator's rounding makes of (channels, n) accumulators."""
    if r.real and r.rounding != "twice":
        return multiply_in_double(accumulators, np.array(r.real)[:, None]) + zero_point
    return multiply_by_quantized_multiplier(accumulators, r.multiplier[:, None], -r.shift[:, None]) + zero_point


def products_of_case(case: Case, numerics: Numerics) -> tuple[ShortProducts | None, Requantization, int]:
    site = site_of(case, numerics)
    r = requantization(site, flat_weights(site), Clamp())
    return short_products(site, r), r, site.outputs[0].zero_point


def pointwise(taps: int, seed: int, **told: Any) -> Case:
    return Case(models.conv_2d, seed, {"shape": (1, 1, 2, taps), "filters": 5, "kernel": (1, 1), **told})


def scaled_cases(count: int) -> list[Case]:
    """Layers of all depths, with outputs on both sides of zero or on one."""
    rng = np.random.default_rng(3)
    cases = []
    for i in range(count):
        taps = int(2 ** rng.uniform(2, 14))
        told = {"output_zero_point": int(rng.integers(-100, 100)) if i % 2 else -128}
        cases.append(fully_connected(taps, 5, **told) if i % 3 == 0 else pointwise(taps, i, **told))
    return cases


@PROFILES
def test_short_products_take_every_step_where_the_reference_does(numerics: Numerics) -> None:
    rng = np.random.default_rng(4)
    forms = set()
    for case in scaled_cases(40):
        found, r, zero_point = products_of_case(case, numerics)
        if found is None:
            continue
        forms.add(found.form)
        scales = r.multiplier * 2.0 ** (-31.0 - r.shift)
        steps = ((np.arange(-256, 257) - 0.5) / scales[:, None]).astype(np.int64)
        near = [steps + offset for offset in range(-3, 5)]
        anywhere = rng.integers(-r.reach[:, None], r.reach[:, None] + 1, (len(scales), 2000))
        ends = np.stack([-r.reach, r.reach, 0 * r.reach, 0 * r.reach - 1], axis=1)
        accumulators = np.concatenate([*near, anywhere, ends], axis=1).clip(-r.reach[:, None], r.reach[:, None])
        wanted = reference(r, accumulators, zero_point).clip(-128, 127)
        assert (found(accumulators).clip(-128, 127) == wanted).all(), case
    assert len(forms) >= 5, forms


def test_every_product_stays_in_32_bits() -> None:
    for case in scaled_cases(40):
        found, r, _ = products_of_case(case, Numerics.TFLM)
        if found is not None:
            scaled = np.zeros_like(r.reach)
            for part in found.parts.T:
                scaled = (scaled >> found.form.bits) + r.reach * part
                assert (scaled < 2**31).all(), case
            for sign in (-1, 1):
                assert (np.abs(sign * scaled + found.constant) < 2**31).all(), case


def test_a_channel_without_weights_is_its_bias() -> None:
    """Whatever form the other channels need."""
    forms = set()
    for i, case in enumerate(scaled_cases(40)):
        site = site_of(case, Numerics.TFLM)
        r = requantization(site, flat_weights(site), Clamp())
        bias = (-1) ** i * np.minimum(r.reach, 10 ** (i % 8))
        empty = np.arange(len(bias)) % 2 == 0
        r = replace(r, constant=empty, bias=np.where(empty, bias, r.bias), reach=np.where(empty, abs(bias), r.reach))
        if (found := short_products(site, r)) is not None:
            forms.add(found.form.signed)
            zero_point = site.outputs[0].zero_point
            wanted = reference(r, bias[:, None], zero_point).clip(-128, 127)
            assert (found(bias[:, None]).clip(-128, 127) == wanted)[empty].all(), case
    assert forms == {False, True}


def test_forms_are_told_apart() -> None:
    words = [str(form) for form in {*ONCE, *TWICE}]
    assert len(words) == len(set(words))


def test_without_a_proof_there_is_no_kernel() -> None:
    case = fully_connected(16, 3, bias="bias 2^30 - 2^25", pattern="all 127", **by_multiplier(2.0**-23))
    [call] = lower(case.graph(Numerics.LITERT), CORES["cortex-m0plus"]).calls
    assert call.kernel == "conv_2d_s8_scalar"
    assert any("no form of five products of 32 bits" in why for _, why in call.rejected)


# What the kernels refuse.


REFUSALS: dict[str, tuple[Case, str]] = {
    "few channels": (fully_connected(8, 2), "there are 2 output channels; 3 or more are supported"),
    "lowest weights": (fully_connected(8, 3, pattern="all -128"), "are -128, outside TFLite's symmetric range"),
    "lowest weights of a line": (
        image(models.depthwise_conv_2d, 1, (1, 5, 5, 3), weights=Pattern("all -128", (1, 3, 3, 3))),
        "are -128, outside TFLite's symmetric range",
    ),
    "kernel": (image(models.depthwise_conv_2d, 1, (1, 5, 5, 3), kernel=(3, 2)), "the kernel is (3, 2)"),
    "dilation": (image(models.depthwise_conv_2d, 1, (1, 9, 9, 3), dilation=(2, 2)), "with dilation (2, 2)"),
    "multiplier": (image(models.depthwise_conv_2d, 1, (1, 5, 5, 3), multiplier=2), "the depth multiplier is 2"),
    "one output": (image(models.depthwise_conv_2d, 1, (1, 1, 1, 3)), "an output of (1, 1) is faster pixel by pixel"),
    "stride": (image(models.depthwise_conv_2d, 1, (1, 9, 9, 3), stride=(3, 3)), "is the stride (3, 3) 1 or 2"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_refusals_say_why(what: str) -> None:
    case, words = REFUSALS[what]
    [call] = lower(case.graph(Numerics.LITERT), CORES["cortex-m0plus"]).calls
    assert call.kernel in ("conv_2d_s8_scalar", "depthwise_conv_2d_s8_scalar")
    assert any(words in why for _, why in call.rejected), call.rejected


@pytest.mark.parametrize(
    ("case", "kernel"),
    [
        (pointwise(8, 1), PIXELS),
        (fully_connected(8, 5), "conv_2d_s8_scalar"),
        (image(models.depthwise_conv_2d, 1, (1, 5, 5, 8)), DEPTHWISE),
    ],
    ids=["convolution", "one pixel", "depthwise"],
)
def test_where_flash_is_short_weights_stay_bytes(case: Case, kernel: str) -> None:
    graph, core = case.graph(Numerics.LITERT), CORES["cortex-m0plus"]
    [call] = lower(graph, core, Wishes(chosen={graph.nodes[0].name: kernel})).calls
    assert call.kernel == kernel
    weights = sum(constant.size for constant in call.constants)
    assert weights < graph.tensors["weights"].bytes + 40 * graph.tensors["output"].shape[-1]


def test_a_column_that_the_budget_has_no_room_for() -> None:
    graph = image(models.conv_2d, 1, (1, 5, 5, 16), filters=4).graph(Numerics.LITERT)
    name, core = graph.nodes[0].name, CORES["cortex-m0plus"]
    wide, narrow, none = (lower(graph, core, Wishes(limits={name: limit})).calls[0] for limit in (576, 575, 143))
    assert [call.scratch for call in (wide, narrow)] == [576, 144]
    assert wide.kernel == narrow.kernel == CONV
    assert (CONV, "a column takes 144 bytes of scratch, and the arena's budget leaves 143") in none.rejected


# ADD.


@pytest.mark.parametrize("operator", [models.add, models_elementwise.subtract], ids=["add", "subtract"])
def test_sums_have_the_value_of_every_pair(operator: Any) -> None:
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(12):
        scales = tuple(float(np.float32(v)) for v in np.exp(rng.uniform(np.log(0.01), np.log(0.1), 3)))
        points = tuple(map(int, rng.integers(-128, 128, 3)))
        told: dict[str, Any] = {"scales": scales, "zero_points": points}
        if operator is models.add:
            told = {"scales": scales[:2], "output_scale": scales[2], "zero_points": points[:2]}
        site = site_of(Case(operator, 0, told))
        products, plane = products_of(site), plane_of(site)
        if products is None or plane is None:
            continue
        found += 1
        assert _proves(products, plane.wanted, Clamp())
        wrong = plane.wanted.copy()
        wrong[100, 200] += 1
        assert not _proves(products, wrong, Clamp())
        assert not _proves(Products(2**31, products.a, products.b, products.shift), plane.wanted, Clamp())
    assert found >= 10


# Shapes.


def convolutions(count: int, seed: int) -> list[Case]:
    """Channels 1 to 67, widths 1 to 33, strides 1 to 4; whatever is gathered at borders."""
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(count):
        channels, filters = int(rng.integers(1, 68 if i % 4 == 0 else 12)), int(rng.integers(3, 68 if i % 4 else 9))
        kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 5))) if i % 3 else (1, 1)
        height, width = int(rng.integers(kernel[0], 7)), int(rng.integers(kernel[1], 34 if i % 5 == 0 else 9))
        told: dict[str, Any] = {"filters": filters, "kernel": kernel, "padding": str(rng.choice(["SAME", "VALID"]))}
        told |= {"activation": str(rng.choice(["NONE", "RELU", "RELU6"]))}
        if i % 2:
            told["stride"] = (int(rng.integers(1, 5)), int(rng.integers(1, 5)))
        elif i % 4 == 0 and min(kernel) > 1:
            told |= {"dilation": (2, 2), "padding": "SAME"}
        pattern = PATTERNS[i % len(PATTERNS)]
        if pattern is not None:
            told["weights"] = Pattern(pattern, (filters, *kernel, channels))
        cases.append(Case(models.conv_2d, seed + i, {"shape": (1 + i % 2, height, width, channels), **told}))
    return cases


def depthwise(count: int, seed: int) -> list[Case]:
    """Lines of one output and more, in strips, as rows and as columns; in place and not."""
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(count):
        height, width = int(rng.integers(3, 34 if i % 3 == 1 else 12)), int(rng.integers(3, 34 if i % 3 == 2 else 12))
        channels = int(rng.integers(1, 68 if height * width < 80 else 6))
        told: dict[str, Any] = {"padding": str(rng.choice(["SAME", "VALID"]))}
        told |= {"activation": str(rng.choice(["NONE", "RELU", "RELU6"]))}
        if i % 2:
            stride = (int(rng.integers(1, 3)), int(rng.integers(1, 5)))
            told["stride"] = stride if i % 4 == 1 else stride[::-1]
        pattern = PATTERNS[i % len(PATTERNS)]
        if pattern is not None:
            told["weights"] = Pattern(pattern, (1, 3, 3, channels))
        cases.append(Case(models.depthwise_conv_2d, seed + i, {"shape": (1 + i % 2, height, width, channels), **told}))
    return cases


def others(seed: int) -> list[Case]:
    """FULLY_CONNECTED of few and many taps, ADD, and extreme biases."""
    rng = np.random.default_rng(seed)
    cases = [
        fully_connected(taps, int(rng.integers(3, 20)), pattern=pattern, shape=(1 + i % 3, taps))
        for i, taps in enumerate((1, 2, 3, 4, 5, 15, 16, 17, 33, 64))
        for pattern in (PATTERNS[i % len(PATTERNS)],)
    ]
    cases += [fully_connected(7, 5, pattern="zero", bias="bias 2^30"), fully_connected(7, 4, pattern="small")]
    cases += [Case(models.add, i, {"shape": (1, 3, i, 5), "activation": ("NONE", "RELU6")[i % 2]}) for i in range(1, 5)]
    return cases


def shapes(count: int, seed: int) -> list[Case]:
    return [*convolutions(count, seed), *depthwise(count, seed + 1000), *others(seed + 2000)]


@pytest.mark.slow
@PROFILES
def test_shapes_on_the_host(numerics: Numerics, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    kernels = list(check_on_host(shapes(40, 60), "cortex-m0plus", numerics, tmp_path, capfd).values())
    assert kernels.count(CONV) >= 40
    assert kernels.count(DEPTHWISE) >= 28
    assert kernels.count(ADD) >= 3


@pytest.mark.slow
@PROFILES
def test_two_pixels_on_the_host(numerics: Numerics, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with patch.object(ConvLanes, "why_not", lambda *_: "it is not to be tried here"):
        kernels = check_on_host(convolutions(40, 20), "cortex-m0plus", numerics, tmp_path, capfd)
    assert list(kernels.values()).count(PIXELS) >= 25


@pytest.mark.emulator
@pytest.mark.parametrize("board", ["rpi_pico", "bluepill"])
def test_two_pixels_on_boards(board: str) -> None:
    with patch.object(ConvLanes, "why_not", lambda *_: "it is not to be tried here"):
        check_on_board(convolutions(20, 90), board, Numerics.LITERT)


@pytest.mark.emulator
@PROFILES
@pytest.mark.parametrize("board", ["rpi_pico", "bluepill"])
def test_shapes_on_boards(board: str, numerics: Numerics) -> None:
    check_on_board(shapes(16, 80 + 40 * (numerics is Numerics.TFLM)), board, numerics)
