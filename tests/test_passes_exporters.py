"""Rewrites of what exporters write: transposes that cancel, dilation as a batch, movements that move nothing."""

from math import prod

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.test_passes import OTHER, Sketch, after, kinds, untouched
from tinycompiler.graph import Graph
from tinycompiler.ops import (
    Add,
    BatchToSpace,
    Concatenation,
    Copy,
    Gather,
    MaxPool2D,
    Mul,
    Op,
    Pack,
    Pad,
    Padding,
    Relu,
    Requantize,
    Reshape,
    Slice,
    SpaceToBatch,
    Tile,
    Transpose,
    Window,
)
from tinycompiler.passes import optimize
from tinycompiler.passes.fold_dilation import fold_dilation
from tinycompiler.passes.free_moves import free_moves
from tinycompiler.passes.merge_transposes import merge_transposes
from tinycompiler.passes.own_outputs import own_outputs
from tinycompiler.passes.sink_transposes import sink_transposes

FIRST = Transpose((0, 3, 1, 2))
LAST = Transpose((0, 2, 3, 1))

# merge_transposes, free_moves


def test_two_transposes_are_one() -> None:
    s = Sketch()
    merged = after(merge_transposes, s.graph(s.node(Transpose((3, 2, 1, 0)), s.node(FIRST, "x"))))
    assert [n.op for n in merged.nodes] == [Transpose((2, 1, 3, 0))]


def test_a_transpose_that_others_read_stays_for_them() -> None:
    s = Sketch()
    first = s.node(FIRST, "x")
    merged = after(merge_transposes, s.graph(s.node(LAST, first), s.node(Relu(), first)))
    assert kinds(merged) == ["Transpose", "Transpose", "Relu"]
    assert {n.inputs[0] for n in merged.nodes[:2]} == {"x"}


def test_a_transpose_that_is_an_output_stays() -> None:
    s = Sketch()
    first = s.node(FIRST, "x")
    assert len(after(merge_transposes, s.graph(s.node(LAST, first), first)).nodes) == 2


@given(orders=st.lists(st.permutations(range(4)), min_size=2, max_size=4))
def test_rows_of_transposes(orders: list[list[int]]) -> None:
    s = Sketch()
    made = "x"
    for axes in orders:
        made = s.node(Transpose(tuple(axes)), made)
    small = after(optimize, s.graph(s.node(Relu(), made)))
    assert len(small.nodes) <= 2


FREE: tuple[tuple[Op, tuple[int, ...]], ...] = (
    (Transpose((0, 2, 1, 3)), (1, 6, 1, 3)),
    (Transpose((1, 0, 3, 2)), (1, 1, 1, 5)),
    (Slice(((0, 2, 1), (0, 5, 1))), (2, 5)),
    (Slice(((0, 1, 1), (0, 5, 1)), (5,)), (1, 5)),
    (Tile((1, 1)), (2, 5)),
    (Pad((0, 0), (0, 0)), (2, 5)),
    (Pack(0), (2, 5)),
    (Concatenation(1), (2, 5)),
    (Gather(0, (0, 1), (2,)), (2, 5)),
)


@pytest.mark.parametrize(("op", "shape"), FREE, ids=lambda v: v.name if isinstance(v, Op) else "")
def test_movements_that_move_nothing(op: Op, shape: tuple[int, ...]) -> None:
    s = Sketch(shape)
    assert kinds(after(free_moves, s.graph(s.node(op, "x")))) == ["Reshape"]


STAY: tuple[tuple[Op, tuple[int, ...]], ...] = (
    (Transpose((1, 0)), (2, 5)),
    (Slice(((1, 2, 1), (0, 5, 1))), (2, 5)),
    (Slice(((0, 2, 1), (4, None, -1))), (2, 5)),
    (Tile((2, 1)), (1, 5)),
    (Gather(0, (1, 0), (2,)), (2, 5)),
    (Copy(), (2, 5)),
)


@pytest.mark.parametrize(("op", "shape"), STAY, ids=lambda v: v.name if isinstance(v, Op) else "")
def test_movements_that_move_something(op: Op, shape: tuple[int, ...]) -> None:
    s = Sketch(shape)
    untouched(free_moves, s.graph(s.node(op, "x")))


# sink_transposes


def work(graph: Graph) -> list[str]:
    """The operators that cost something."""
    return [kind for kind in kinds(graph) if kind != "Reshape"]


def transposes(graph: Graph) -> int:
    return kinds(graph).count("Transpose")


def test_a_sandwich_of_transposes_around_arithmetic() -> None:
    s = Sketch()
    inside = s.node(Relu(), s.node(Add(), s.node(FIRST, "x"), s.node(FIRST, s.node(Relu(), "x"))))
    assert kinds(after(sink_transposes, s.graph(s.conv(s.node(LAST, inside))))) == ["Relu", "Add", "Relu", "Conv2D"]


@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 3, 6, 5), (1, 1, 1, 1), (1,)], ids=str)
def test_constants_between_transposes_are_transposed(shape: tuple[int, ...]) -> None:
    s = Sketch()
    inside = s.node(Mul(), s.node(FIRST, "x"), s.constant(shape))
    assert work(after(sink_transposes, s.graph(s.node(LAST, inside)))) == ["Mul"]


def test_pads_and_joins_between_transposes() -> None:
    s = Sketch()
    first, second = s.node(FIRST, "x"), s.node(FIRST, s.node(Relu(), "x"))
    joined = s.node(Concatenation(1), first, s.constant((2, 3, 6, 5)), second)
    padded = s.node(Pad((0, 0, 1, 0), (0, 2, 0, 3)), joined)
    sunk = after(sink_transposes, s.graph(s.node(LAST, padded)))
    assert work(sunk) == ["Relu", "Concatenation", "Pad"]


def test_other_quantization_between_transposes() -> None:
    s = Sketch()
    inside = s.node(Requantize(), s.node(FIRST, "x"), quantization=OTHER)
    assert transposes(after(sink_transposes, s.graph(s.node(LAST, inside, quantization=OTHER)))) == 0


def test_transposes_that_do_not_meet_stay() -> None:
    s = Sketch()
    untouched(sink_transposes, s.graph(s.node(Relu(), s.node(FIRST, "x"))))
    t = Sketch()
    untouched(sink_transposes, t.graph(t.node(Pad((0, 0, 2, 2), (0, 0, 2, 2)), t.node(FIRST, "x"))))


def test_transposes_around_what_cares_for_axes_stay() -> None:
    s = Sketch((2, 5, 5, 3))
    untouched(sink_transposes, s.graph(s.node(LAST, s.node(MaxPool2D(Window((2, 2))), s.node(FIRST, "x")))))


def test_different_transposes_stay() -> None:
    s = Sketch((2, 4, 4, 4))
    total = s.node(Add(), s.node(FIRST, "x"), s.node(LAST, "x"))
    untouched(sink_transposes, s.graph(s.node(LAST, total)))


def test_one_transpose_instead_of_two() -> None:
    s = Sketch()
    total = s.node(Add(), s.node(FIRST, "x"), s.node(FIRST, s.node(Relu(), "x")))
    assert transposes(after(sink_transposes, s.graph(total))) == 1


def test_a_sandwiched_value_that_is_an_output_keeps_its_order() -> None:
    s = Sketch()
    inside = s.node(Relu(), s.node(FIRST, "x"))
    sunk = after(sink_transposes, s.graph(s.node(LAST, inside), inside))
    assert transposes(sunk) == 1


# fold_dilation


def dilated(
    s: Sketch,
    block: tuple[int, int] = (2, 2),
    paddings: tuple[tuple[int, int], tuple[int, int]] = ((2, 2), (2, 3)),
    crops: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 1)),
    *,
    padding: Padding | None = None,
    depthwise: bool = False,
) -> str:
    dealt = s.node(SpaceToBatch(block, paddings), "x")
    made = s.depthwise(dealt) if depthwise else s.conv(dealt, padding=padding or Padding())
    return s.node(BatchToSpace(block, crops), made)


def test_dilation_written_as_a_batch() -> None:
    s = Sketch()
    [node] = after(fold_dilation, s.graph(dilated(s))).nodes
    window = node.op.window  # type: ignore[attr-defined]
    assert (window.dilation, window.padding) == ((2, 2), Padding(2, 2, 2, 2))


@given(data=st.data())
def test_dilations(data: st.DataObject) -> None:
    pixels = st.integers(0, 5)
    height, width = data.draw(st.integers(3, 9)), data.draw(st.integers(3, 9))
    block = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3)))
    before = (data.draw(pixels), data.draw(pixels))
    paddings = tuple((a, -(n + a) % b + b) for a, n, b in zip(before, (height, width), block, strict=True))
    inner = [data.draw(st.integers(0, 1)) for _ in range(4)]
    s = Sketch((1, height, width, 2))
    dealt = SpaceToBatch(block, paddings).output_shapes([s._tensors["x"]])[0]
    out = [(n + sum(inner[2 * i : 2 * i + 2]) - 2) * b for i, (n, b) in enumerate(zip(dealt[1:3], block, strict=True))]
    assume(min(out) > 0)
    crops = tuple((data.draw(st.integers(0, min(n - 1, 4))), 0) for n in out)
    graph = s.graph(dilated(s, block, paddings, crops, padding=Padding(*inner)))
    folded = after(fold_dilation, graph)
    sides = [paddings[i][0] + block[i] * inner[2 * i] - crops[i][0] for i in range(2)]
    assert len(folded.nodes) == (1 if min(sides) >= 0 else 3)


def test_a_depthwise_dilation_of_stride_two_stays() -> None:
    """Stride 2 in the phases is no stride of the whole."""
    s = Sketch()
    untouched(fold_dilation, s.graph(dilated(s, depthwise=True)))


def test_a_batch_that_others_read_stays() -> None:
    s = Sketch()
    dealt = s.node(SpaceToBatch((2, 2), ((0, 0), (0, 1))), "x")
    joined = s.node(BatchToSpace((2, 2), ((0, 0), (0, 0))), s.conv(dealt, padding=Padding(1, 1, 1, 1)))
    untouched(fold_dilation, s.graph(joined, dealt))


def test_crops_beyond_the_paddings_stay() -> None:
    s = Sketch()
    untouched(fold_dilation, s.graph(dilated(s, paddings=((0, 2), (2, 3)), crops=((1, 0), (0, 0)))))


def test_other_blocks_stay() -> None:
    s = Sketch((1, 8, 8, 3))
    dealt = s.node(SpaceToBatch((2, 2), ((0, 0), (0, 0))), "x")
    untouched(fold_dilation, s.graph(s.node(BatchToSpace((4, 1), ((0, 0), (0, 0))), s.conv(dealt))))


# own_outputs


def test_outputs_that_are_constants() -> None:
    s = Sketch()
    constant = s.constant((2, 3))
    own = after(own_outputs, s.graph(s.node(Reshape((6,)), constant), constant, s.node(Relu(), "x")))
    assert kinds(own) == ["Copy", "Reshape", "Copy", "Relu"]
    assert not any(own.tensors[name].is_constant for name in own.outputs)


def test_everything_together() -> None:
    """A channels-first exporter's block: sandwiches, dilation, and what nobody reads."""
    s = Sketch()
    first = s.node(FIRST, s.node(Transpose((0, 1, 2, 3)), "x"))
    padded = s.node(Pad((0, 0, 2, 2), (0, 0, 2, 3)), s.node(Relu(), first))
    back = s.node(LAST, padded)
    dealt = s.node(SpaceToBatch((2, 2), ((0, 0), (0, 0))), back)
    made = s.node(BatchToSpace((2, 2), ((0, 0), (0, 0))), s.conv(dealt))
    s.node(Relu(), s.node(FIRST, made))
    graph = s.graph(s.node(Reshape((2, prod((6, 6, 4)))), made))
    assert kinds(after(optimize, graph)) == ["Relu", "Conv2D", "Reshape"]
