"""The straight line: a model file to a program, to an image for a board."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinycompiler.board import Board
from tinycompiler.build import Elf, build
from tinycompiler.emit import Program, Source, emit
from tinycompiler.errors import ModelError
from tinycompiler.graph import Graph
from tinycompiler.kernels import Calls
from tinycompiler.lifetimes import Layout
from tinycompiler.ops import Numerics
from tinycompiler.passes import optimize
from tinycompiler.passes.edges import with_io
from tinycompiler.planning import USUAL, Goals, plan
from tinycompiler.readers.network import inspect
from tinycompiler.readers.tflite import File
from tinycompiler.vectors import Vector


@dataclass(frozen=True, eq=False)
class Compiled:
    """Every noun of the line, from the file's bytes to the program."""

    data: bytes
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
    path: Path, board: Board, numerics: Numerics, *, io: str | None = None, goals: Goals = USUAL
) -> Compiled:
    """read → optimize → lower → place → emit. Raises ModelError with every blocker.

    `io` is what the API takes and gives: int8, float, or None for the file's own types.
    """
    found = inspect(path, numerics)
    if found.graph is None:
        raise ModelError("\n".join(f"{path.name}: {blocker}" for blocker in found.blockers))
    data = path.read_bytes()
    source = Source(path.name, hashlib.sha256(data).hexdigest())
    graph = optimize(with_io(found.graph, io))
    planned = plan(graph, board.core, goals)
    program = emit(planned.calls, planned.layout, source)
    return Compiled(
        data, found.file, found.graph, planned.calls.graph, planned.calls, planned.layout, program, source, board
    )


def link(compiled: Compiled, vectors: Sequence[Vector]) -> tuple[Compiled, Elf]:
    """The image, and the program with the stack that the image was found to need."""
    elf = build(compiled.program, compiled.board, vectors=[v.bytes for v in vectors])
    measured = emit(compiled.calls, compiled.layout, compiled.source, stack_bytes=elf.model_stack.bytes)
    return replace(compiled, program=measured), elf
