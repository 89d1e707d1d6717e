"""Verify: what the device printed against what the judge computes, byte for byte."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tinycompiler.board import Board
from tinycompiler.build import Elf, build
from tinycompiler.emit import Program
from tinycompiler.emulators import Run, run
from tinycompiler.errors import DoesNotFit, EmulatorError
from tinycompiler.graph import Graph
from tinycompiler.kernels import Calls
from tinycompiler.ops import Assign, Dequantize
from tinycompiler.passes.edges import FLOAT_NAME, file_inputs
from tinycompiler.progress import Progress
from tinycompiler.reference import Reference
from tinycompiler.tensor import Array, Tensor
from tinycompiler.vectors import Vector, batches

LAYERS = (
    ", in the build of --layers, which has more code and stack to print every tensor; verify without --layers, or on a "
    "board with more memory and the same core"
)


@dataclass(frozen=True)
class Difference:
    """The first wrong value."""

    vector: str
    node: str
    tensor: str
    index: tuple[int, ...]
    device: float
    reference: float

    def __str__(self) -> str:
        place = f"element {self.index}"
        if len(self.index) == 4:
            _, y, x, channel = self.index
            place = f"channel {channel} of pixel ({y}, {x})"
        return (
            f"first difference: vector {self.vector}, node {self.node}, tensor '{self.tensor}', {place}: "
            f"the device computed {self.device}, the reference {self.reference}"
        )


@dataclass(frozen=True)
class Verification:
    """What was compared, and what was found."""

    reference: str
    vectors: int
    outputs: int
    """Output bytes compared."""
    mismatches: int
    """Bytes that differ, of outputs and of layers."""
    max_abs_diff: float
    layers_checked: int
    """Intermediate tensors compared, per vector."""
    layer_bytes: int
    first: Difference | None

    @property
    def exact(self) -> bool:
        return self.mismatches == 0


def execute(
    program: Program,
    board: Board,
    vectors: Sequence[Vector],
    *,
    emulator: str,
    progress: Progress,
    layers: bool = False,
    first: Elf | None = None,
) -> list[Run]:
    """Runs every vector on the board, in as many images as the spare flash demands; instructions are counted in the
    first run.

    `first` is an image that was already linked with vectors[:1]; it tells how much flash is spare.
    """
    image = first or build(program, board, vectors=[vectors[0].bytes], layers=layers)
    memory = image.memory
    if not memory.fits:
        missing = [f"{r.name} lacks {r.used - r.capacity:,} bytes" for r in memory.regions if r.used > r.capacity]
        raise DoesNotFit(f"{program.name} does not fit on {board.name}: {', '.join(missing)}{LAYERS if layers else ''}")
    if not memory.vectors_fit:
        raise DoesNotFit(
            f"{program.name} on {board.name}: {memory.spare_flash:,} bytes of flash are left, and one test input needs "
            f"{len(vectors[0].bytes):,}; verify on a board with more flash and the same core"
        )
    runs: list[Run] = []
    done = 0
    beside = memory.flash.vectors - len(vectors[0].bytes)  # their count, in front of them
    for batch in batches(vectors, memory.spare_flash - beside):
        if batch != [vectors[0]] or layers or first is None:
            progress("building firmware", done, len(vectors))
            image = build(program, board, vectors=[v.bytes for v in batch], layers=layers)

        def tell(inferences: int, _: int, start: int = done) -> None:
            progress(f"running on {board.name}", start + inferences, len(vectors))

        runs.append(run(image, board, emulator=emulator, count=not runs and not layers, progress=tell))
        _within_plan(runs[-1], image, board)
        if len(runs[-1].outputs) != len(batch):
            raise EmulatorError(f"{emulator}: {len(batch)} inferences were asked for, {len(runs[-1].outputs)} answered")
        done += len(batch)
    return runs


def _within_plan(ran: Run, image: Elf, board: Board) -> None:
    """Raises DoesNotFit when more memory was used than is planned."""
    ram, problems = image.memory.ram, []
    if (ran.arena_touched or 0) > ram.arena:
        problems.append(f"{ran.arena_touched:,} bytes of an arena of {ram.arena:,} were written")
    if (ran.stack_high_water or 0) > ram.stack:
        problems.append(f"{ran.stack_high_water:,} bytes of a stack of {ram.stack:,} were used")
    if ran.stray:
        holder = next((s.name for s in image.symbols if s.address <= ran.stray[0] < s.address + s.size), "nothing")
        problems.append(
            f"an inference wrote {len(ran.stray):,} bytes beside arena, state and stack, the first at "
            f"0x{ran.stray[0]:08x}, where {holder} lies"
        )
    if problems:
        why = f"{'; '.join(problems)}; this is a defect of tinycompiler, please report it with the model"
        raise DoesNotFit(f"the plan is exceeded on {board.name}: {why}")


def compare(
    network: Graph,
    calls: Calls,
    vectors: Sequence[Vector],
    runs: Sequence[Run],
    judge: Reference,
    *,
    layers: bool,
    tell: Callable[[int], None] = lambda _: None,
) -> Verification:
    """Every output byte of every run, and with `layers` every tensor that some node wrote, against the judge.

    `network` is the file's own, which the judge runs; `calls` are those of the device's, whose edges may have other
    types.
    """
    graph = calls.graph
    judged = {FLOAT_NAME.format(name): name for name in network.outputs}  # outputs that only we make float
    where = {name: call.node.name for call in calls.calls for name in call.node.outputs}
    outputs = {name: calls.memory_of(name) for name in graph.outputs}
    computed = {*network.inputs, *(name for node in network.nodes for name in node.outputs)}
    computed -= {s.next for s in network.states}
    # a state's next value is what is assigned to it, which the judge knows
    assigned = {c.node.outputs[0]: c.node.inputs[0] for c in calls.calls if isinstance(c.node.op, Assign)}
    assigned |= {name: part for name in where if (part := graph.tensors[name].part_of)}
    assigned = {name: source for name, source in assigned.items() if name not in computed and source in computed}
    own = {n for n in where if n not in {*computed, *assigned} or n in network.inputs}  # no judge computes these
    hooks = [
        (step, i, name)
        for step, c in enumerate(calls.calls)
        for i, name in enumerate(c.node.outputs)
        if name not in own
    ]
    hooked = (assigned.get(n, n) for _, _, n in hooks if layers)
    wanted = list(dict.fromkeys([*hooked, *(judged.get(n, n) for n in graph.outputs)]))
    compared = mismatches = layer_bytes = 0
    largest = 0.0
    first: Difference | None = None
    answers = [(r, i) for r in runs for i in range(len(r.outputs))]
    for number, (vector, (ran, i)) in enumerate(zip(vectors, answers, strict=True)):
        if i == 0 and graph.states:
            judge.reset()  # each image begins with the initial state
        truth = judge(file_inputs(network, graph, vector.values), wanted)
        truth |= {
            mine: Dequantize().evaluate((network.tensors[name],), (), (truth[name],), graph.numerics)[0]
            for mine, name in judged.items()
            if mine in graph.outputs
        }
        truth |= {name: truth[source] for name, source in assigned.items() if source in truth}
        pairs = [(name, ran.nodes[i, step, k]) for step, k, name in hooks] if layers else []
        layer_bytes += sum(len(data) for _, data in pairs)
        pairs += list(zip(graph.outputs, ran.outputs[i], strict=True))
        compared += sum(len(data) for data in ran.outputs[i])
        for name, data in pairs:
            tensor = graph.tensors[name]
            wanted_values = truth[name] if tensor.channels is None else truth[name][..., list(tensor.channels)]
            wrong, size, difference = _compare(tensor, data, wanted_values)
            mismatches += wrong
            largest = max(largest, size)
            if difference is not None and first is None:
                index, device, right = difference
                node = where.get(outputs.get(name, name), name)
                first = Difference(vector.label, node, name, index, device, right)
        tell(number + 1)
    checked = len(hooks) if layers else 0
    return Verification(judge.name, len(vectors), compared, mismatches, largest, checked, layer_bytes, first)


def _compare(
    tensor: Tensor, data: bytes, truth: Array
) -> tuple[int, float, tuple[tuple[int, ...], float, float] | None]:
    """(differing bytes, largest difference, the first: index, device, reference)."""
    expected = np.ascontiguousarray(truth).astype(tensor.dtype.numpy.newbyteorder("<"))
    if data == expected.tobytes():
        return 0, 0.0, None
    found = np.frombuffer(data, tensor.dtype.numpy.newbyteorder("<")).reshape(tensor.shape)
    expected = expected.reshape(tensor.shape)
    raw = np.frombuffer(data, np.uint8) != np.frombuffer(expected.tobytes(), np.uint8)
    different = raw.reshape(-1, tensor.dtype.bytes).any(axis=1)
    index = tuple(int(v) for v in np.unravel_index(int(np.argmax(different)), tensor.shape))
    distance = float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max())
    return int(raw.sum()), distance, (index, float(found[index]), float(expected[index]))
