"""The loops that the movement kernel plans, simulated in numpy, against the plain map of indices."""

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import models_movement as models
from tests.draws import Case, graph_of
from tests.draws_movement import MOVEMENT
from tinycompiler.board import CORES
from tinycompiler.errors import ModelError
from tinycompiler.kernels import lower
from tinycompiler.kernels.movement import LOOPS, Box, Indices, is_run, plan_boxes
from tinycompiler.ops import Concatenation, Numerics, Pack, Transpose
from tinycompiler.ops.movement import GREATEST, Movement
from tinycompiler.tensor import DType, Tensor


def walked(box: Box) -> dict[int, int]:
    """Output index -> input index, by nested loops as the C has them."""
    assert len(box.axes) - bool(box.axes and is_run(box.axes[-1])) <= LOOPS
    result = {}
    for turn in np.ndindex(*(a.size for a in box.axes)):
        to, source = box.out_start, box.in_start
        for axis, i in zip(box.axes, turn, strict=True):
            to += i * axis.out_step
            source += int(axis.terms[i]) if axis.step is None else i * axis.step
        assert to not in result, "an output is written twice"
        result[to] = source
    return result


def check_plan(source: Indices, low: int, high: int) -> list[Box]:
    boxes = plan_boxes(source, low, high)
    found: dict[int, int] = {}
    for box in boxes:
        walk = walked(box)
        assert not found.keys() & walk.keys(), "boxes overlap"
        found |= walk
    flat = source.ravel()
    assert found == {int(i): int(flat[i] - low) for i in np.flatnonzero((flat >= low) & (flat < high))}
    return boxes


shapes = st.lists(st.integers(1, 4), min_size=1, max_size=6).filter(lambda s: prod(s) <= 300)


@given(data=st.data())
def test_any_map_has_loops(data: st.DataObject) -> None:
    """Even one without any order, and with holes."""
    shape = data.draw(shapes)
    values = data.draw(st.lists(st.integers(-1, 20), min_size=prod(shape), max_size=prod(shape)))
    low = data.draw(st.integers(0, 9))
    check_plan(np.array(values, np.int64).reshape(shape), low, low + data.draw(st.integers(1, 20)))


@pytest.mark.parametrize("operator", [name for name in MOVEMENT if name not in ("EXPAND_DIMS", "SQUEEZE", "SHAPE")])
@given(data=st.data())
def test_operators_have_loops(operator: str, data: st.DataObject) -> None:
    case = data.draw(MOVEMENT[operator])
    graph = case.graph(case.profiles[0])
    [node] = graph.nodes
    assert isinstance(node.op, Movement)
    inputs = graph.inputs_of(node)
    starts = np.cumsum([0, *(t.elements for t in inputs)])
    ids = [np.arange(starts[i], starts[i + 1]).reshape(t.shape) for i, t in enumerate(inputs)]
    for source, shape in zip(node.op.rearrange(ids, -1), node.op.output_shapes(inputs), strict=True):
        assert source.shape == shape
        for i in range(len(inputs)):
            boxes = check_plan(np.atleast_1d(source), int(starts[i]), int(starts[i + 1]))
            assert len(boxes) <= prod(getattr(node.op, "block", (1,)) if operator == "SPACE_TO_BATCH_ND" else (1,)) * 2


def test_neighbours_that_move_together_are_one_run() -> None:
    [box] = check_plan(np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5), 0, 120)
    assert [(a.size, a.step) for a in box.axes] == [(120, 1)]


def test_six_loops_of_which_one_is_a_run() -> None:
    source = np.arange(2**6).reshape((2,) * 6).transpose(4, 3, 2, 1, 0, 5)
    [box] = check_plan(source, 0, 64)
    assert [a.step for a in box.axes] == [2, 4, 8, 16, 32, 1]


def test_seven_loops_become_six() -> None:
    source = np.arange(2**7).reshape((2,) * 7).transpose(5, 4, 3, 2, 1, 0, 6)
    [box] = check_plan(source, 0, 128)
    assert len(box.axes) == LOOPS + 1


def test_fills_of_uneven_bytes_are_refused() -> None:
    graph = graph_of(models.padv2(np.random.default_rng(0), dtype="int16", value=5), Numerics.LITERT)
    with pytest.raises(ModelError, match="filling with 5 of type int16 is not supported: its bytes"):
        lower(graph, CORES["cortex-m0plus"])


def test_fills_of_even_bytes_are_not() -> None:
    graph = graph_of(models.padv2(np.random.default_rng(0), dtype="int16", value=-1), Numerics.LITERT)
    assert lower(graph, CORES["cortex-m0plus"]).calls


# What broken files say.


def tensor(*shape: int) -> Tensor:
    return Tensor(f"t{shape}", shape, DType.INT32)


def test_tensors_that_no_memory_holds_are_refused() -> None:
    """Without making an array of that size first."""
    x, y = tensor(1 << 20, 1 << 20), tensor(1 << 20, 1 << 20)
    assert f"at most {GREATEST:,} are supported" in str(Transpose((1, 0)).why_not([x], [y]))


@pytest.mark.parametrize("op", [Concatenation(0), Pack(0)], ids=lambda op: op.name)
def test_shapes_that_do_not_suit_are_refused(op: Movement) -> None:
    assert "(2, 4)" in str(op.why_not([tensor(2, 3), tensor(2, 4)], [tensor(4, 3)]))


REFUSED = {
    "gigantic tile": (models.tile, {"shape": (2, 2), "repeats": (30000, 30000)}, "900,000,000|3,600,000,000"),
    "gigantic broadcast": (models.broadcast_to, {"shape": (1,), "target": (1 << 30,)}, "1,073,741,824"),
    "float fill": (models.padv2, {"shape": (2,), "paddings": ((0, 1),), "dtype": "uint8"}, "tflm moves"),
    "tile": (models.tile, {}, "tflm does not have this operator"),
    "new axis": (models.strided_slice, {"masks": {"new_axis_mask": 1}, "begin": (0,), "end": (1,), "strides": (1,)},
                 "tflm wants one plain index"),
    "rank": (models.pad, {"shape": (1,) * 6, "paddings": ((0, 0),) * 6}, "moves up to rank 5"),
    "padded batch": (models.space_to_batch, {}, "pads with a number that it never sets"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refusals_say_why(what: str) -> None:
    make, told, words = REFUSED[what]
    with pytest.raises(ModelError, match=words):
        Case(make, 0, told).graph(Numerics.TFLM)
