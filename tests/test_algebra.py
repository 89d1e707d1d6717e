"""What random networks of `tests.models_algebra` do not reach: refusals, and which kernel runs what."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests import models
from tests import models_algebra as algebra
from tests.draws import Case, Pattern, graph_of, trial_inputs
from tests.judges import judge
from tests.tflite_builder import ModelBuilder
from tinycompiler.board import CORES
from tinycompiler.errors import ModelError
from tinycompiler.kernels import Call, lower
from tinycompiler.ops import Numerics
from tinycompiler.passes import optimize
from tinycompiler.tensor import Array

LITERT, TFLM = Numerics.LITERT, Numerics.TFLM
TINY = 2.0**-20  # of an output's scale


def case(make: Callable[..., bytes], **told: Any) -> Case:
    return Case(make, 1, told)


REFUSALS: dict[str, tuple[Case, Numerics, str]] = {
    "int8 sums": (case(algebra.sum_), LITERT, "reads int8 as uint8"),
    "int64 indices": (case(algebra.arg_max, index="int64"), TFLM, "no int64 indices"),
    "rank 5": (case(algebra.l2_normalization, shape=(1, 1, 1, 2, 3)), TFLM, "up to rank 4, not 5"),
    "sum": (case(algebra.sum_, shape=(1, 400), axes=(1,), input_scale=1.0, output_scale=TINY), TFLM, "shifted left by"),
    "mean": (case(models.mean, shape=(1, 400), axes=(1,), input_scale=1.0, output_scale=2.0**-24), LITERT, "overflow"),
    "squares": (
        case(algebra.l2_normalization, shape=(1, 40_000), input_zero_point=-128),
        LITERT,
        "sum of 40,000 squares",
    ),
    "exponentials": (case(algebra.log_softmax, shape=(1, 4096)), LITERT, "4,096 exponentials"),
    "probabilities": (case(models.softmax, shape=(1, 8192)), TFLM, "8,192 exponentials .* at most 8,191"),
    "tiny scale": (case(algebra.log_softmax, input_scale=2.0**-27), LITERT, "too small for fixed point"),
    "corners and centers": (
        case(algebra.resize_bilinear, align_corners=True, half_pixel_centers=True),
        LITERT,
        "exclude each other",
    ),
    "beyond the image": (
        case(algebra.resize_bilinear, shape=(1, 2, 1, 1), size=(4000, 1)),
        LITERT,
        "reach outside the image",
    ),
    "products": (case(algebra.batch_matmul, scales=(1.0, 1.0), output_scale=TINY), LITERT, "a sum of 4 products"),
    "dynamic weights": (
        case(algebra.fully_connected_dynamic, scales=(1.0, 1.0), output_scale=TINY),
        LITERT,
        "a sum of 20 products",
    ),
    "spread": (
        case(algebra.transpose_conv, input_scale=1.0, weight_scale=1.0, output_scale=TINY),
        LITERT,
        "output channel . can reach",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_refusals_say_why(what: str) -> None:
    refused, numerics, words = REFUSALS[what]
    with pytest.raises(ModelError, match=words):
        refused.graph(numerics)


@pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)
@pytest.mark.parametrize("depth", [512, 1000, 4096, 8191])
def test_deep_rows_of_softmax(depth: int, numerics: Numerics) -> None:
    """As long as their exponentials add up to less than 512, beyond which no reference answers."""
    given = case(models.softmax, shape=(3, depth), input_scale=1.0)
    graph, rng = given.graph(numerics), np.random.default_rng(depth)
    few = np.full((3, depth), -128, np.int8)
    few[:, rng.permutation(depth)[:511]] = 127
    feeds: list[dict[str, Array]] = [{"input": rng.integers(-128, 128, (3, depth), np.int8)}, {"input": few}]
    for each, [wanted] in zip(feeds, judge(given.model(), graph, feeds), strict=True):
        np.testing.assert_array_equal(graph.evaluate(each)["output"], wanted)


def call_of(given: Case, core: str = "cortex-m4f", numerics: Numerics = LITERT) -> Call:
    [call] = lower(given.graph(numerics), CORES[core]).calls
    return call


@pytest.mark.parametrize(
    ("given", "kernel", "words"),
    [
        (case(models.conv_2d, shape=(1, 5, 5, 8), filters=6, groups=2), "grouped_conv_2d_s8_dsp", None),
        (
            case(models.conv_2d, shape=(1, 5, 5, 8), groups=2, weights=Pattern("all -128", (4, 3, 3, 4))),
            "grouped_conv_2d_s8_scalar",
            "-128",
        ),
        (case(algebra.transpose_conv), "transpose_conv_s8_dsp", None),
        (case(algebra.transpose_conv, kernel=(1, 3)), "transpose_conv_s8_scalar", "leaves gaps"),
        (
            case(algebra.transpose_conv, weights=Pattern("all -128", (4, 3, 3, 3))),
            "transpose_conv_s8_scalar",
            "-128",
        ),
    ],
)  # fmt: skip
def test_kernels_are_the_best_that_take_it(given: Case, kernel: str, words: str | None) -> None:
    call = call_of(given)
    assert call.kernel == kernel
    assert words is None or any(words in why for _, why in call.rejected)


def test_phases_hold_every_weight_once() -> None:
    """A stride repeats what stands beside the weights of a channel, and no weight."""
    many = call_of(case(algebra.transpose_conv, shape=(1, 4, 5, 64), kernel=(4, 4)), "cortex-m0plus")
    assert many.constants[0].size == 4 * 4 * 4 * 64 + 4 * 4 * 16  # weights, and 16 bytes in each phase and channel
    assert many.scratch == 2 * 2 * 64  # the taps of one output pixel


@pytest.mark.parametrize(
    ("numerics", "told", "rounding"),
    [
        (TFLM, {}, "twice"),
        (LITERT, {}, "once"),
        # the only accumulators that matter lie near 2^30 here, where no integer multiplier is near enough
        (LITERT, {"shape": (1, 16_500), "scales": (1.0, 1.0), "output_scale": 2.0**23 * 60 / 65}, "real"),
    ],
)
def test_dynamic_weights_are_proved_like_constant_ones(numerics: Numerics, told: Any, rounding: str) -> None:
    made = case(algebra.fully_connected_dynamic, zero_points=(-128, -128), **{"units": 2, **told})
    assert call_of(made, numerics=numerics).context.rounding == rounding  # type: ignore[attr-defined]


@pytest.mark.parametrize("flat", [False, True], ids=["groups", "flattened"])
def test_channels_stay_where_weights_do_not_show_them(flat: bool) -> None:
    """Pruning leaves outputs of grouped convolutions, and of layers that flatten their input, whole."""
    rng = np.random.default_rng(0)
    operator, taps = ("FULLY_CONNECTED", (64,)) if flat else ("CONV_2D", (3, 3, 2))
    middle, last = ((1, 6), (1, 5)) if flat else ((1, 4, 4, 6), (1, 4, 4, 5))
    unread = rng.integers(-127, 128, (5, 6), np.int8)
    unread[:, [1, 4]] = 0  # channels of the first that the second does not read
    model = ModelBuilder("pruned")
    model.tensor("input", (1, 4, 4, 4), scales=0.05, zero_points=3)
    model.tensor("first", (6, *taps), scales=0.01, data=rng.integers(-127, 128, (6, *taps), np.int8))
    model.tensor("second", (5, 6) if flat else (5, 1, 1, 6), scales=0.01, data=unread)
    model.tensor("first bias", (6,), "int32", scales=0.0005, data=np.zeros(6))
    model.tensor("second bias", (5,), "int32", scales=0.002, data=np.zeros(5))
    model.tensor("middle", middle, scales=0.2, zero_points=1)
    model.tensor("output", last, scales=0.3, zero_points=1)
    options = {} if flat else {"padding": 0, "stride_h": 1, "stride_w": 1}
    model.operator(operator, ["input", "first", "first bias"], ["middle"], options=options)
    model.operator(operator, ["middle", "second", "second bias"], ["output"], options=options)
    graph = graph_of(model.inputs("input").outputs("output").build(), LITERT)
    feeds = trial_inputs(graph, 0)[0]
    np.testing.assert_array_equal(optimize(graph).evaluate(feeds)["output"], graph.evaluate(feeds)["output"])
