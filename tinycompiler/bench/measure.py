"""A model on a board, measured."""

from collections.abc import Sequence
from pathlib import Path

from tinycompiler import reference
from tinycompiler import verify as verification
from tinycompiler.bench.figures import BYTES, Figures, Step
from tinycompiler.bench.marks import layer_of
from tinycompiler.board import Board
from tinycompiler.build import Elf
from tinycompiler.compile import Compiled, compile_model, link
from tinycompiler.emulators import Run
from tinycompiler.emulators.cycles import waiting
from tinycompiler.errors import DoesNotFit, Mismatch
from tinycompiler.kernels import calls_of
from tinycompiler.ops import Numerics
from tinycompiler.planning import USUAL, Goals
from tinycompiler.progress import Progress
from tinycompiler.vectors import extreme_vectors, random_vectors

RANDOM = 2
"""Random inputs that are compared beside the extremes; the first of them is the one that is counted."""


def measure(
    path: Path,
    board: Board,
    numerics: Numerics,
    *,
    goals: Goals = USUAL,
    options: str = "",
    progress: Progress | None = None,
) -> Figures:
    """The figures of a .tflite file. `options` names what in `goals` is not the default.

    Raises DoesNotFit, and Mismatch when an output byte is not the reference's: wrong bytes have no speed.
    """
    progress = progress or Progress(enabled=False)
    compiled = compile_model(path, board, numerics, goals=goals)
    judge = reference.reference(compiled.file, compiled.network, layers=False)
    vectors = random_vectors(compiled.graph, RANDOM, 0) + extreme_vectors(compiled.graph)
    compiled, elf = link(compiled, vectors[:1])
    missing = [f"{r.name} lacks {r.used - r.capacity:,} bytes" for r in elf.memory.regions if r.used > r.capacity]
    if missing:
        raise DoesNotFit(f"{path.stem} does not fit on {board.name}: {', '.join(missing)}")
    runs = verification.execute(
        compiled.program, compiled.board, vectors, emulator="unicorn", progress=progress, first=elf
    )
    result = verification.compare(compiled.network, compiled.calls, vectors, runs, judge, layers=False)
    if not result.exact:
        raise Mismatch(f"{path.stem} on {board.name}: {result.mismatches:,} wrong bytes; {result.first}")
    return _figures(path.stem, compiled, elf, runs[0], result, options)


def _figures(
    name: str, compiled: Compiled, elf: Elf, run: Run, result: verification.Verification, options: str
) -> Figures:
    board, calls = compiled.board, compiled.calls
    sizes = vars(elf.memory.flash) | vars(elf.memory.ram)
    timed = run.cycles is not None and run.jumps is not None
    return Figures(
        model=name,
        sha256=compiled.source.sha256,
        board=board.name,
        core=board.core.name,
        numerics=compiled.network.numerics.value,
        options=options,
        toolchain=elf.toolchain,
        reference=result.reference,
        vectors=result.vectors,
        macs=sum(call.macs for call in calls.calls),
        instructions=run.instructions or 0,
        cycles=run.cycles,
        cycles_source=run.cycles_source,
        wait_states=board.flash_wait_states,
        cycles_waiting=waiting(run.cycles or 0, run.jumps or 0, board.flash_wait_states) if timed else None,
        bytes={each: sizes[each] for each in BYTES},
        steps=tuple(_steps(compiled, run)),
    )


def _steps(compiled: Compiled, run: Run) -> Sequence[Step]:
    """A step that the linker merged away or that is never entered has no count of its own: it took nothing."""
    found = []
    for number, part in enumerate(compiled.calls.steps):
        layers = tuple(layer_of(compiled.calls.graph, call) for call in calls_of(part))
        counted = run.node_instructions[number] if number < len(run.node_instructions) else 0
        cycles = run.node_cycles[number] if number < len(run.node_cycles) else None
        found.append(Step(layers, counted, cycles))
    return found
