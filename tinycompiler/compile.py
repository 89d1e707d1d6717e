"""The straight line: a model file to a program, to an image for a board."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinycompiler.board import Board, Core
from tinycompiler.build import Elf, build
from tinycompiler.choice import Gain
from tinycompiler.emit import Program, Source, emit
from tinycompiler.errors import DoesNotFit
from tinycompiler.graph import Graph
from tinycompiler.kernels import Calls, NoKernel, lower
from tinycompiler.lifetimes import Layout
from tinycompiler.ops import Numerics
from tinycompiler.passes import PASSES, optimize
from tinycompiler.passes.edges import with_io
from tinycompiler.passes.prune_channels import prune_channels
from tinycompiler.places import rooms_beside, with_places
from tinycompiler.planning import USUAL, Goals, plan
from tinycompiler.readers.blocker import Blocker, objection
from tinycompiler.readers.file import File
from tinycompiler.readers.network import Inspection, inspect
from tinycompiler.shortfall import others_in
from tinycompiler.tensor import DType
from tinycompiler.vectors import Vector

FIRMWARE = 2_048
"""Bytes of code that are not the network's, to be expected in flash before anything is linked."""


@dataclass(frozen=True, eq=False)
class Compiled:
    """Every noun of the line, from the file's bytes to the program."""

    file: File
    network: Graph
    """As read."""
    unpruned: Graph
    """After the passes that leave every channel there."""
    graph: Graph
    """After all passes; the planner may have reordered or split what `calls` run."""
    calls: Calls
    layout: Layout
    program: Program
    source: Source
    board: Board
    """With its stack where the user wants it."""
    goals: Goals
    gain: Gain | None

    def integer(self) -> Graph | None:
        """The graph with int8 inputs and outputs, where it has float ones now."""
        graph = optimize(with_io(self.network, "int8"))
        now = [self.graph.tensors[name].dtype for name in (*self.graph.inputs, *self.graph.outputs)]
        return graph if DType.FLOAT32 in now else None


def compile_model(
    path: Path,
    board: Board,
    numerics: Numerics,
    *,
    io: str | None = None,
    signature: str | None = None,
    goals: Goals = USUAL,
    place: Sequence[str] = (),
    flash: int | None = None,
    ram: int | None = None,
) -> Compiled:
    """read → optimize → lower → place → emit. Raises ModelError with every blocker, UsageError for a wrong `place`.

    `io` is what the API takes and gives: int8, float, or None for the file's own types. `signature` chooses one of
    several networks in the file. `place`: see places.py. `flash` and `ram`: the most that the program may take of the
    board's default regions, in bytes.
    """
    board = board.within(flash, ram)
    found = inspect(path, numerics, signature=signature)
    network = found.network(path.name)
    source = Source(path.name, hashlib.sha256(found.file.data).hexdigest())
    pruning = PASSES.index(prune_channels)
    unpruned = optimize(with_io(network, io), PASSES[:pruning])
    graph = optimize(unpruned, PASSES[pruning:])
    board, places = with_places(board, graph, place)
    room = board.capacity(board.flash) - FIRMWARE
    goals = replace(goals, places=places, flash=min(room, goals.flash or room), tight=ram is not None)
    planned = plan(graph, board.core, goals)
    calls, layout = planned.calls, planned.layout
    program = emit(calls, layout, source, level=goals.level)
    return Compiled(found.file, network, unpruned, graph, calls, layout, program, source, board, goals, planned.gain)


def blockers(found: Inspection, core: Core) -> list[Blocker]:
    """All that blocks a network on a core: what the file says, and nodes that no kernel takes."""
    main = found.file.subgraphs[0]
    operators = {operator.node: operator for operator in main.operators}
    try:
        lower(optimize(found.sound), core)
    except NoKernel as refusal:
        against = ((operators.get(node), f"{core.name}: {why}") for node, why in refusal.reasons.items())
        return [*found.blockers, *(objection("kernel", why, operator, main) for operator, why in against if operator)]
    return list(found.blockers)


def link(compiled: Compiled, vectors: Sequence[Vector]) -> tuple[Compiled, Elf]:
    """The image, and the program with the stack that the image was found to need.

    Where a region is too small because stack or variables take more of it than was expected, everything is planned
    again with what they take.
    """
    elf = build(compiled.program, compiled.board, vectors=[v.bytes for v in vectors])
    if not elf.memory.fits and (again := _replanned(compiled, elf)):
        compiled, elf = again, build(again.program, again.board, vectors=[v.bytes for v in vectors])
    measured = emit(
        compiled.calls,
        compiled.layout,
        compiled.source,
        stack_bytes=elf.model_stack.bytes,
        level=compiled.goals.level,
    )
    return replace(compiled, program=measured), elf


def _replanned(compiled: Compiled, elf: Elf) -> Compiled | None:
    """With the room that the linked file leaves, if the planner finds a way then."""
    board, goals = compiled.board, compiled.goals
    missing = {use.kind: use.used - use.capacity for use in elf.memory.regions if use.used > use.capacity}
    rooms = rooms_beside(board, others_in(elf, compiled.layout))
    if "flash" in missing and goals.flash is not None:
        goals = replace(goals, flash=goals.flash - missing["flash"])
    if "ram" in missing and len(rooms) > 1:
        goals = replace(goals, places=replace(goals.places, rooms=rooms))
    elif "ram" in missing and goals.tight and goals.budget is None:
        goals = replace(goals, budget=max(0, compiled.layout.plan.arena - missing["ram"]))
    if goals == compiled.goals:
        return None
    try:
        planned = plan(compiled.graph, board.core, goals)
    except DoesNotFit:
        return None
    if planned.layout.plan.excess:
        return None
    program = emit(planned.calls, planned.layout, compiled.source, level=goals.level)
    calls, layout = planned.calls, planned.layout
    return replace(compiled, calls=calls, layout=layout, program=program, goals=goals, gain=planned.gain)
