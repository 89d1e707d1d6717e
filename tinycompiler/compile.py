"""The straight line: a model file to a program, to an image for a board."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinycompiler.board import Board, Core
from tinycompiler.build import Elf, build
from tinycompiler.emit import Program, Source, emit
from tinycompiler.graph import Graph
from tinycompiler.kernels import Calls, NoKernel, lower
from tinycompiler.lifetimes import Layout, lay_out
from tinycompiler.ops import Numerics
from tinycompiler.passes import optimize
from tinycompiler.passes.edges import with_io
from tinycompiler.readers.blocker import Blocker, objection
from tinycompiler.readers.file import File
from tinycompiler.readers.network import Inspection, inspect
from tinycompiler.vectors import Vector


@dataclass(frozen=True, eq=False)
class Compiled:
    """Every noun of the line, from the file's bytes to the program."""

    file: File
    network: Graph
    """As read."""
    graph: Graph
    """After the passes."""
    calls: Calls
    layout: Layout
    program: Program
    source: Source
    board: Board


def compile_model(
    path: Path, board: Board, numerics: Numerics, *, io: str | None = None, signature: str | None = None
) -> Compiled:
    """read → optimize → lower → place → emit. Raises ModelError with every blocker.

    `io` is what the API takes and gives: int8, float, or None for the file's own types. `signature` chooses one of
    several networks in the file.
    """
    found = inspect(path, numerics, signature=signature)
    network = found.network(path.name)
    source = Source(path.name, hashlib.sha256(found.file.data).hexdigest())
    graph = optimize(with_io(network, io))
    calls = lower(graph, board.core)
    layout = lay_out(calls)
    program = emit(calls, layout, source)
    return Compiled(found.file, network, graph, calls, layout, program, source, board)


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
    """The image, and the program with the stack that the image was found to need."""
    elf = build(compiled.program, compiled.board, vectors=[v.bytes for v in vectors])
    measured = emit(compiled.calls, compiled.layout, compiled.source, stack_bytes=elf.model_stack.bytes)
    return replace(compiled, program=measured), elf
