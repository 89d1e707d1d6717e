"""The numpy references, byte for byte against the interpreters that they are references of.

Each operator has its own one-operator networks, see `tests.draws`; the judges are in `tests.judges`.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests import models, models_algebra
from tests.draws import STRATEGIES, Case, Pattern, seeds, trial_inputs
from tests.draws_elementwise import DIFFERENT as DIFFERENT_ELEMENTWISE
from tests.judges import judge, judged_model
from tinycompiler.errors import ModelError
from tinycompiler.ops import Numerics
from tinycompiler.ops.convolution import Padding, Window
from tinycompiler.tensor import Array

PROFILES = pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)


def assert_same(ours: Array, theirs: Array, what: str) -> None:
    """Equal shapes and bytes, or a message with the first difference."""
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape}, and the judge's is {theirs.shape}"
    assert ours.dtype == theirs.dtype, f"{what}: {ours.dtype}, and the judge's is {theirs.dtype}"
    wrong = np.argwhere(ours != theirs)
    if len(wrong):
        at = tuple(wrong[0].tolist())
        raise AssertionError(f"{what}: {len(wrong)} of {ours.size} differ, first at {at}: {ours[at]}, not {theirs[at]}")


def check(case: Case, numerics: Numerics, seed: int) -> None:
    if numerics not in case.profiles:
        with pytest.raises(ModelError, match=numerics.value):
            case.graph(numerics)
        return
    graph = case.graph(numerics)
    trials = trial_inputs(graph, seed)
    for number, (feeds, wanted) in enumerate(
        zip(trials, judge(judged_model(case, numerics), graph, trials), strict=True)
    ):
        values = graph.evaluate(feeds)
        for name, theirs in zip(graph.outputs, wanted, strict=True):
            assert_same(values[name], theirs, f"trial {number}, {name}")


@PROFILES
@pytest.mark.parametrize("operator", STRATEGIES)
@given(data=st.data(), seed=seeds)
def test_bytes_are_the_judges(data: st.DataObject, seed: int, operator: str, numerics: Numerics) -> None:
    check(data.draw(STRATEGIES[operator]), numerics, seed)


# Where the two profiles part.

DIFFERENT = {
    "FULLY_CONNECTED": Case(models.fully_connected, 3, {"shape": (64, 20), "units": 64}),
    "FULLY_CONNECTED dynamic": Case(models_algebra.fully_connected_dynamic, 14, {"shape": (64, 20), "units": 64}),
    "LOGISTIC": Case(
        models.logistic, 0, {"shape": (1, 256), "input_scale": 0.11266021430492401, "input_zero_point": -42}
    ),
    "MUL": Case(
        models.mul,
        200,
        {
            "shape": (1, 1, 256, 1),
            "other": (1, 256, 1, 1),
            "scales": (0.02, 0.03),
            "output_scale": 0.07754269242286682,
        },
    ),
    "RELU": Case(models.relu, 0, {"shape": (1, 256), "input_scale": 0.11, "output_scale": 0.1}),
    "RELU6": Case(models.relu6, 0, {"shape": (1, 16, 16, 1), "input_scale": 0.05, "output_scale": 0.1}),
    **DIFFERENT_ELEMENTWISE,
}
"""Operators of which the references differ, and a network that shows it."""


@pytest.mark.parametrize("operator", DIFFERENT)
def test_profiles_differ(operator: str) -> None:
    """In the judges themselves, somewhere in an input that holds every int8."""
    case = DIFFERENT[operator]
    graphs = [case.graph(numerics) for numerics in Numerics]
    shapes = {name: graphs[0].tensors[name].shape for name in graphs[0].inputs}
    feeds = {name: np.resize(np.arange(-128, 128), shape).astype(np.int8) for name, shape in shapes.items()}
    [[litert]], [[tflm]] = (judge(judged_model(case, g.numerics), g, [feeds]) for g in graphs)
    assert (litert != tflm).any()


@pytest.mark.slow
@pytest.mark.parametrize("operator", [name for name in STRATEGIES if name not in DIFFERENT])
@given(data=st.data(), seed=seeds)
def test_profiles_agree(data: st.DataObject, seed: int, operator: str) -> None:
    """Our two references of such an operator are one; `test_bytes_are_the_judges` holds each to its judge."""
    case = data.draw(STRATEGIES[operator])
    graph = case.graph(case.profiles[0])
    for feeds in trial_inputs(graph, seed):
        first, *others = (replace(graph, numerics=numerics).evaluate(feeds) for numerics in case.profiles)
        for other in others:
            for name in graph.outputs:
                assert_same(first[name], other[name], name)


def test_results_beyond_int32_are_refused() -> None:
    """There the references are undefined C++: LiteRT's makes -128 of what should saturate to 127."""
    told = {"shape": (1, 67), "units": 2, "weights": Pattern("all 127", (2, 67)), "per_channel": False}
    scales = {"input_scale": 1.0, "weight_scale": 1.0, "output_scale": 2.0**-12}
    case = Case(models.fully_connected, 0, {**told, **scales})
    with pytest.raises(ModelError, match=r"fully_connected_0 .*: output channel . can reach .* steps of the output"):
        case.graph(Numerics.LITERT)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_windows_far_outside_the_image(data: st.DataObject) -> None:
    """Gathered one by one, or cut out of a padded image."""
    draw = data.draw
    small, pair = st.integers(1, 4), st.tuples(st.integers(1, 4), st.integers(1, 4))
    padding = Padding(*(draw(st.integers(0, 5)) for _ in range(4)))
    window = Window(draw(pair), draw(pair), draw(pair), padding)
    image = np.arange(draw(small) * 30).reshape(-1, 5, 6, 1)
    assume(min(window.output_size(5, 6)) > 0)
    np.testing.assert_array_equal(window.gathered(image, 7), window.patches(image, 7))
    far = replace(window, dilation=(1, 32767), padding=Padding(0, 0, 32767, 32767), kernel=(1, 3), stride=(1, 1))
    assert far.patches(image, 7).shape == (len(image), 5, 6, 1, 3, 1)
