"""States that shift: joined, cut and moved within their own memory, against numpy over many steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from tests.commands import needs_compiler
from tests.programs import HostProgram, board_outputs
from tests.test_state import Feeds, assert_outputs, evaluated, steps_of
from tinycompiler.board import CORES, load
from tinycompiler.bytemap import play
from tinycompiler.graph import Graph, Node, State
from tinycompiler.kernels import Calls, lower
from tinycompiler.lifetimes import lay_out
from tinycompiler.ops import Assign, Concatenation, DepthwiseConv2D, Op, Relu, Reshape, Slice, Split, Window
from tinycompiler.passes import optimize
from tinycompiler.passes.shift_states import shift_states, why_not_joined
from tinycompiler.passes.stack_depthwise import stack_depthwise
from tinycompiler.planning import Goals, plan
from tinycompiler.states import give_room
from tinycompiler.tensor import DType, Quantization, Tensor

NUMBERS = Quantization((0.05,), 3)
STEPS = 9

Shape = tuple[int, ...]
Range = tuple[int, int | None, int]


class Streams:
    """A graph in the making: any number of inputs, states and outputs, all values of one type each."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.states: list[State] = []

    def tensor(self, shape: Shape, dtype: DType, *, name: str = "", variable: bool = False) -> str:
        numbers = NUMBERS if dtype in (DType.INT8, DType.INT16) else None
        numbers = replace(NUMBERS, zero_point=0) if dtype is DType.INT16 else numbers
        name = name or f"t{len(self.tensors)}"
        self.tensors[name] = Tensor(name, shape, dtype, numbers, variable=variable)
        return name

    def input(self, shape: Shape, dtype: DType = DType.INT8) -> str:
        self.inputs.append(self.tensor(shape, dtype))
        return self.inputs[-1]

    def state(self, shape: Shape, dtype: DType = DType.INT8) -> str:
        """Its next value is assigned later."""
        initial = self.rng.integers(-9, 9, shape).astype(dtype.numpy)
        name = self.tensor(shape, dtype, name=f"state {len(self.states)}", variable=True)
        self.states.append(State(name, "", initial))
        return name

    def node(self, op: Op, *inputs: str) -> str:
        [shape] = op.output_shapes([self.tensors[name] for name in inputs])
        output = self.tensor(shape, self.tensors[inputs[0]].dtype)
        self.nodes.append(Node(f"n{len(self.nodes)}", op, inputs, (output,)))
        return output

    def cut(self, x: str, axis: int, begin: int, end: int | None, step: int = 1) -> str:
        ranges: list[Range] = [(0, n, 1) for n in self.tensors[x].shape]
        ranges[axis] = (begin, end, step)
        return self.node(Slice(tuple(ranges)), x)

    def turned(self, x: str) -> str:
        """Its rows backwards: something that no pass takes for a view."""
        rows = self.tensors[x].shape[1]
        return self.cut(x, 1, rows - 1, None, -1)

    def assign(self, state: str, value: str) -> None:
        name = self.node(Assign(), value)
        self.states = [replace(s, next=name) if s.tensor == state else s for s in self.states]

    def graph(self, *outputs: str) -> Graph:
        outputs = (*self.outputs, *outputs)
        states = tuple(self.states)
        graph = Graph("streams", tuple(self.inputs), outputs, tuple(self.nodes), self.tensors, states=states)
        return graph.verify()


@dataclass(frozen=True)
class Shift:
    """What one state of a random network does."""

    dtype: DType
    rows: int
    frame: int
    channels: int
    start: int
    """Rows by which it is shifted."""
    made: bool
    """The frame is computed, not an input."""
    twice: bool
    """The same frame is joined once more."""
    read_before: bool
    read_after: bool
    """The old state, and the frame, have other readers."""
    fed: bool
    """The frame comes from the state before."""


def drawn(rng: np.random.Generator, number: int) -> Shift:
    frame = int(rng.integers(1, 5))
    flags = [bool(rng.integers(2)) for _ in range(5)]
    return Shift(
        dtype=(DType.INT8, DType.INT8, DType.INT16, DType.INT32, DType.FLOAT32)[rng.integers(5)],
        rows=int(rng.integers(1, 8)),
        frame=frame,
        channels=int(rng.integers(1, 10)),
        start=int(rng.integers(0, frame + 1)),
        made=flags[0],
        twice=flags[1],
        read_before=flags[2],
        read_after=flags[3],
        fed=flags[4] and number > 0,
    )


def network(count: int, seed: int) -> Graph:
    """That many shifting states beside each other and one behind the other."""
    s = Streams(seed)
    last = ""
    for number in range(count):
        last = add(s, drawn(s.rng, number), last)
    return s.graph()


def add(s: Streams, shift: Shift, last: str) -> str:
    """One state more; something as long as a frame that the next state may have for its frame."""
    if shift.fed:
        shift = replace(shift, dtype=s.tensors[last].dtype, channels=s.tensors[last].shape[3], frame=1, start=1)
        frame = s.cut(last, 1, 0, 1)
    else:
        frame = s.input((1, shift.frame, 1, shift.channels), shift.dtype)
    frame = s.turned(frame) if shift.made else frame
    state = s.state((1, shift.rows, 1, shift.channels), shift.dtype)
    joined = s.node(Concatenation(1), state, frame, *([frame] * shift.twice))
    read = s.turned(joined)
    kept = s.cut(joined, 1, shift.start, shift.start + shift.rows)
    s.outputs += [read, *([s.turned(state)] * shift.read_before), *([s.turned(frame)] * shift.read_after)]
    s.assign(state, kept)
    return s.cut(read, 1, 0, 2 if s.tensors[read].shape[1] > 1 else 1)


def steps(graph: Graph) -> list[Feeds]:
    return steps_of(graph, STEPS)


@pytest.mark.parametrize("seed", range(6))
def test_random_shifts_are_numpys(seed: int) -> None:
    """The passes, what is marked, where it lies, and the byte map."""
    graph = network(12, seed)
    small = optimize(graph)
    feeds = steps(graph)
    for step, (found, wanted) in enumerate(zip(evaluated(small, feeds), evaluated(graph, feeds), strict=True)):
        assert_outputs(graph, found, wanted, step)
    assert [why_not_joined(small, s) for s in small.states] == [None] * 12
    for core in ("cortex-m0plus", "cortex-m4f"):
        calls = lower(small, CORES[core])
        layout = lay_out(calls)
        play(calls, layout)
        assert layout.state_bytes == sum(-(-small.tensors[s.joined or ""].bytes // 4) * 4 for s in small.states)
        roomy = lower(give_room(small, CORES[core]), CORES[core])
        least = lay_out(roomy)
        play(roomy, least)
        assert least.plan.arena + least.state_bytes <= layout.plan.arena + layout.state_bytes


def nothing(graph: Graph) -> Graph:
    return graph


def room_where_it_pays(graph: Graph) -> Graph:
    return give_room(graph, CORES["cortex-m4f"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("choose", [nothing, room_where_it_pays], ids=["all", "where it pays"])
def test_random_shifts_on_the_host(choose: Callable[[Graph], Graph], seed: int, tmp_path: Path) -> None:
    """Twice, with the states reset between."""
    graph = choose(optimize(network(30, 100 + seed)))
    program = HostProgram(lower(graph, CORES["cortex-m4f"]), tmp_path)
    feeds = steps(graph)
    for _ in range(2):
        for step, (values, wanted) in enumerate(zip(feeds, evaluated(graph, feeds), strict=True)):
            assert_outputs(graph, program.outputs(values), wanted, step)
        program._function("reset_state")()


@pytest.mark.emulator
@needs_compiler
@pytest.mark.parametrize("board", ["rpi_pico", "nrf52840dk"])
def test_random_shifts_on_a_board(board: str) -> None:
    graph = optimize(network(24, 200))
    feeds = steps(graph)
    found = board_outputs(lower(graph, load(board).core), board, feeds)
    for step, (ours, wanted) in enumerate(zip(found, evaluated(graph, feeds), strict=True)):
        assert_outputs(graph, ours, wanted, step)


# One state, and how far it gets.


def shifting(s: Streams) -> tuple[str, str, str, str]:
    """(state, frame, joined, kept): eight rows of four channels, the frame computed."""
    frame = s.turned(s.input((1, 2, 1, 4)))
    state = s.state((1, 8, 1, 4))
    joined = s.node(Concatenation(1), state, frame)
    return state, frame, joined, s.cut(joined, 1, 2, 10)


def lowered(graph: Graph) -> Calls:
    return lower(optimize(graph), CORES["cortex-m4f"])


def test_nothing_is_copied() -> None:
    s = Streams()
    state, _, joined, kept = shifting(s)
    s.assign(state, kept)
    calls = lowered(s.graph(s.turned(joined)))
    layout = lay_out(calls)
    kernels = {call.node.name: call for call in calls.calls}
    assert [kernels[name].kernel for name in ("n1", "n2")] == ["append", "move_down"]
    assert kernels["n1"].invocations == ()
    assert "n3" not in kernels  # the slice writes the state itself
    assert calls.graph.nodes[-1].name == "n2"
    assert layout.state_bytes == 40
    assert layout.states == {state: 0, kept: 0, joined: 0, "t1": 32}
    assert "in the memory of" in str(calls.graph)


def test_an_input_is_copied_behind_the_state() -> None:
    s = Streams()
    state = s.state((1, 8, 1, 4))
    joined = s.node(Concatenation(1), state, s.input((1, 2, 1, 4)))
    s.assign(state, s.cut(joined, 1, 2, 10))
    [append, *_] = lowered(s.graph(s.turned(joined))).calls
    assert append.kernel == "append"
    assert [i.operands for i in append.invocations] == [("t1", joined)]


def test_what_is_not_aligned_is_copied() -> None:
    s = Streams()
    frame = s.turned(s.input((1, 2, 1, 3)))
    state = s.state((1, 3, 1, 3))
    joined = s.node(Concatenation(1), state, frame)
    s.assign(state, s.cut(joined, 1, 2, 5))
    calls = lowered(s.graph(s.turned(joined)))
    assert set(calls.parts) == {state}
    assert [len(call.invocations) for call in calls.calls if call.kernel == "append"] == [1]


def test_an_output_is_not_made_within_a_state() -> None:
    s = Streams()
    state, frame, joined, kept = shifting(s)
    s.assign(state, kept)
    calls = lowered(s.graph(frame, s.turned(joined)))
    assert set(calls.parts) == {state}


Left = Callable[[Streams], tuple[str, ...]]


def joined_is_output(s: Streams) -> tuple[str, ...]:
    state, _, joined, kept = shifting(s)
    s.assign(state, kept)
    return (joined,)


def reshaped_is_output(s: Streams) -> tuple[str, ...]:
    state, _, joined, kept = shifting(s)
    s.assign(state, kept)
    return (s.node(Reshape((40,)), joined),)


def kept_is_read(s: Streams) -> tuple[str, ...]:
    state, _, joined, kept = shifting(s)
    s.assign(state, kept)
    return s.turned(joined), s.turned(kept)


def frame_comes_first(s: Streams) -> tuple[str, ...]:
    frame, state = s.turned(s.input((1, 2, 1, 4))), s.state((1, 8, 1, 4))
    joined = s.node(Concatenation(1), frame, state)
    s.assign(state, s.cut(joined, 1, 0, 8))
    return (s.turned(joined),)


def channels_are_joined(s: Streams) -> tuple[str, ...]:
    frame, state = s.turned(s.input((1, 8, 1, 2))), s.state((1, 8, 1, 4))
    joined = s.node(Concatenation(3), state, frame)
    s.assign(state, s.cut(joined, 3, 2, 6))
    return (s.turned(joined),)


def every_second_row_is_kept(s: Streams) -> tuple[str, ...]:
    frame, state = s.turned(s.input((1, 4, 1, 4))), s.state((1, 4, 1, 4))
    joined = s.node(Concatenation(1), state, frame)
    s.assign(state, s.cut(joined, 1, 0, None, 2))
    return (s.turned(joined),)


def computed(s: Streams) -> tuple[str, ...]:
    state, _, joined, kept = shifting(s)
    s.assign(state, s.node(Relu(), kept))
    return (s.turned(joined),)


def cut_out_of_the_state(s: Streams) -> tuple[str, ...]:
    state = s.state((1, 8, 1, 4))
    s.assign(state, s.turned(state))
    return (s.turned(s.node(Concatenation(1), state, s.input((1, 2, 1, 4)))),)


REFUSED: dict[Left, str] = {
    joined_is_output: "is an output, which has to outlive the state's change",
    reshaped_is_output: "is an output, which has to outlive the state's change",
    kept_is_read: "not a slice that only the state wants",
    frame_comes_first: "does not begin with the state",
    channels_are_joined: "do not stay together in 't3', which is joined along axis 3",
    every_second_row_is_kept: "does not cut one piece out",
    computed: "not a slice that only the state wants",
    cut_out_of_the_state: "is not a concatenation",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_others_stay_as_they_are(make: Left, tmp_path: Path) -> None:
    s = Streams()
    graph = s.graph(*make(s))
    small = optimize(graph)
    [state] = small.states
    assert state.joined is None
    why = why_not_joined(small, state)
    assert why is not None
    assert REFUSED[make] in why
    calls = lower(small, CORES["cortex-m4f"])
    play(calls, lay_out(calls))
    feeds = steps(graph)
    for step, (found, wanted) in enumerate(zip(evaluated(small, feeds), evaluated(graph, feeds), strict=True)):
        assert_outputs(graph, found, wanted, step)


def test_a_refusal_says_why() -> None:
    s = Streams()
    calls = lowered(s.graph(*joined_is_output(s)))
    rejected = [call.rejected for call in calls.calls if isinstance(call.node.op, Concatenation)]
    assert "append" in dict(rejected[0])
    assert "is an output" in dict(rejected[0])["append"]


def test_no_room_where_it_does_not_pay() -> None:
    """A long frame behind a short state would be kept for good; the arena has room for it under something larger."""
    s = Streams()
    frame, state = s.turned(s.input((1, 64, 1, 4))), s.state((1, 2, 1, 4))
    joined = s.node(Concatenation(1), state, frame)
    s.assign(state, s.cut(joined, 1, 64, 66))
    read = s.cut(s.turned(joined), 1, 0, 1)
    larger = s.turned(s.turned(s.input((1, 400, 1, 4))))
    graph = optimize(s.graph(read, s.cut(larger, 1, 0, 1)))
    assert [s.joined for s in graph.states] == [joined]
    planned = plan(graph, CORES["cortex-m4f"])
    assert [s.joined for s in planned.calls.graph.states] == [None]
    assert planned.layout.state_bytes == 8
    [append] = [call for call in planned.calls.calls if isinstance(call.node.op, Concatenation)]
    assert dict(append.rejected)["append"] == "with room for the frame in the state, more memory is needed"


def test_a_budget_gives_every_state_room() -> None:
    s = Streams()
    state, _, joined, kept = shifting(s)
    s.assign(state, kept)
    s.outputs.append(s.cut(s.turned(joined), 1, 0, 1))
    graph = optimize(s.graph())
    without = replace(graph, states=tuple(replace(state, joined=None) for state in graph.states))
    usual = plan(without, CORES["cortex-m4f"])
    least = plan(graph, CORES["cortex-m4f"], Goals(budget=usual.arena - 8))
    assert least.arena <= usual.arena - 8


def test_the_byte_map_sees_a_move_that_is_too_early() -> None:
    s = Streams()
    state, _, joined, kept = shifting(s)
    s.assign(state, kept)
    graph = optimize(s.graph(s.turned(joined)))
    *others, move = graph.nodes
    early = replace(graph, nodes=(*others[:2], move, *others[2:])).verify()
    calls = lower(early, CORES["cortex-m4f"])
    with pytest.raises(AssertionError, match="is not there any more"):
        play(calls, lay_out(calls))


# Depthwise convolutions side by side.


def depthwise(s: Streams, x: str, kernel: int) -> str:
    channels = s.tensors[x].shape[3]
    names = []
    for name, shape, dtype in (
        ("weights", (1, kernel, 1, channels), DType.INT8),
        ("bias", (channels,), DType.INT32),
    ):
        data = s.rng.integers(-90, 90, shape).astype(dtype.numpy)
        scales = Quantization(
            tuple(s.rng.uniform(0.001, 0.01, channels).astype(np.float32).tolist()), 0, len(shape) - 1
        )
        names.append(f"{name} {len(s.tensors)}")
        s.tensors[names[-1]] = Tensor(names[-1], shape, dtype, scales if name == "weights" else None, data)
    return s.node(DepthwiseConv2D(Window((kernel, 1))), x, *names)


def mixed(sizes: Sequence[int], kernels: Sequence[int], *, order: Sequence[int] = (), rows: int = 9) -> Graph:
    """Some channels each, of which the last rows as the kernel is high."""
    s = Streams()
    x = s.input((1, rows, 1, sum(sizes)))
    split = Split(3, tuple(sizes))
    pieces = [s.tensor((1, rows, 1, n), DType.INT8) for n in sizes]
    s.nodes.append(Node("split", split, (x,), tuple(pieces)))
    cropped = [s.cut(p, 1, rows - k, rows) if k < rows else p for p, k in zip(pieces, kernels, strict=True)]
    made = [depthwise(s, piece, kernel) for piece, kernel in zip(cropped, kernels, strict=True)]
    return s.graph(s.node(Concatenation(3), *(made[i] for i in order or range(len(made)))))


@pytest.mark.parametrize(("sizes", "kernels"), [((4, 4), (5, 9)), ((3, 1, 6), (9, 7, 8)), ((5, 5), (9, 9))], ids=str)
def test_mixed_kernels_become_one(sizes: Sequence[int], kernels: Sequence[int], tmp_path: Path) -> None:
    graph = mixed(sizes, kernels)
    small = optimize(graph)
    assert [node.op.name for node in small.nodes] == ["DEPTHWISE_CONV_2D"]
    feeds = steps(graph)
    program = HostProgram(lower(small, CORES["cortex-m4f"]), tmp_path)
    for step, (values, wanted) in enumerate(zip(feeds, evaluated(graph, feeds), strict=True)):
        assert_outputs(graph, small.evaluate(values), wanted, step)
        assert_outputs(graph, program.outputs(values), wanted, step)


def another_order() -> Graph:
    return mixed((4, 4), (5, 9), order=(1, 0))


def nothing_reaches_the_first_row() -> Graph:
    return mixed((4, 4), (5, 7))


def too_many_zeros() -> Graph:
    """Every one of 40 outputs of a row would multiply by eight zeros, to save moving five."""
    s = Streams()
    x = s.input((1, 48, 1, 8))
    pieces = [s.tensor((1, 48, 1, 4), DType.INT8) for _ in range(2)]
    s.nodes.append(Node("split", Split(3, (4, 4)), (x,), tuple(pieces)))
    made = [depthwise(s, s.cut(pieces[0], 1, 0, 40), 1), depthwise(s, pieces[1], 9)]
    return s.graph(s.node(Concatenation(3), *made))


def a_piece_is_read_twice() -> Graph:
    graph = mixed((4, 4), (9, 9))
    return replace(graph, outputs=(*graph.outputs, graph.nodes[1].outputs[0])).verify()


@pytest.mark.parametrize(
    "make",
    [another_order, nothing_reaches_the_first_row, too_many_zeros, a_piece_is_read_twice],
    ids=lambda make: make.__name__,
)
def test_other_depthwise_convolutions_stay(make: Callable[[], Graph]) -> None:
    graph = make()
    assert stack_depthwise(graph).nodes == graph.nodes


def test_passes_leave_graphs_without_states_alone() -> None:
    graph = mixed((4, 4), (5, 9))
    assert shift_states(graph).nodes == graph.nodes
    assert give_room(graph, CORES["cortex-m4f"]) is graph
