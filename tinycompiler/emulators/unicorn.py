"""The embedded default: the board in this process, see unicorn_machine.py.

A run has four stretches: from reset to `tc_<name>_init`, where the arena is painted; to vector 0's `tc_<name>_invoke`;
that inference, counted; the rest, at full speed.

Chosen: the arena is painted and looked at afterwards, instead of a hook on writes, because any memory hook takes all
memory accesses off the fast path. The paint is pseudo-random: that the last byte written equals it, and the figure is
one too small, has a chance of 1 in 256. RAM starts as noise, as in a real part, and the arena is noise when the model
comes to it: firmware that counts on zeros fails here too. All RAM in which an inference has nothing to write, behind
the arena and below the stack for instance, is compared before and after vector 0's.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tinycompiler.board import Board, Region
from tinycompiler.build import Elf, Symbol
from tinycompiler.elf import STACK
from tinycompiler.emulators import Progress, Run
from tinycompiler.emulators.counting import Code, Counts, tally
from tinycompiler.emulators.cycles import COST_TABLES, source
from tinycompiler.emulators.model import Model, model_of
from tinycompiler.emulators.protocol import Transcript, parse
from tinycompiler.emulators.unicorn_machine import NOWHERE, Machine
from tinycompiler.errors import EmulatorError

PAINT = (0x5AFEC0DE).to_bytes(4, "little")  # of the stack, by firmware/startup.c


def run(
    elf: Elf,
    board: Board,
    *,
    count: bool,
    wall_seconds: float,
    max_instructions: int,
    progress: Progress | None,
) -> Run:
    """See `tinycompiler.emulators.run`. The layers build prints during the inference, so it is never counts."""
    machine = Machine(elf, board, deadline=time.monotonic() + wall_seconds, progress=progress)
    model = model_of(elf)
    arena = _Arena(machine, model.arenas)
    counts: Counts | None = None
    machine.go(model.init.address)
    arena.paint()
    stray: tuple[int, ...] = ()
    if machine.go(model.invoke.address):
        back, elsewhere = machine.link, _Elsewhere(machine, model)
        if count and not model.prints_layers:
            counts = tally(machine.go_counting(model.invoke, back, limit=max_instructions), _code(machine, model))
        if machine.go(back):
            stray = elsewhere.changed()
    touched = arena.touched()
    machine.go(NOWHERE)
    result = _result(machine, parse(machine.lines), counts or _NOT_COUNTED)
    return replace(result, arena_touched=touched, stray=stray)


_NOT_COUNTED = Counts(0, (), {}, None, (), 0)


def _code(machine: Machine, model: Model) -> Code:
    table = COST_TABLES.get(machine.board.core.cost_table)
    name = machine.board.core.name
    return Code(machine.read, machine.functions, model.invoke, model.nodes, name, machine.lacks, table)


def _result(machine: Machine, transcript: Transcript, counts: Counts) -> Run:
    table = COST_TABLES.get(machine.board.core.cost_table)
    return Run(
        emulator="unicorn",
        inferences=transcript.vectors,
        lines=tuple(machine.lines),
        outputs=transcript.outputs,
        nodes=transcript.nodes,
        instructions=counts.instructions or None,
        node_instructions=counts.node_instructions,
        node_cycles=counts.node_cycles,
        function_instructions=counts.function_instructions,
        cycles=counts.cycles,
        cycles_source=source(table) if table is not None and counts.cycles is not None else None,
        jumps=counts.jumps if counts.instructions else None,
        stack_high_water=_stack(machine, transcript.stack),
    )


def _stack(machine: Machine, said: int) -> int:
    """The stack's high water. The firmware's own figure is checked against the paint left in RAM."""
    section = next((each for each in machine.elf.sections if each.name == STACK), None)
    if section is None:
        return said
    content = machine.read(section.address, section.size)
    untouched = next((at for at in range(0, len(content), 4) if content[at : at + 4] != PAINT), len(content))
    seen = section.size - untouched
    if seen < said:
        raise EmulatorError(f"the firmware says tc:stack {said}, but only {seen} bytes of the stack were written")
    return seen


class _Arena:
    """The model's working memory, one piece or several: how far is it really used?"""

    def __init__(self, machine: Machine, pieces: Sequence[Symbol]) -> None:
        self._machine = machine
        self._paint = [(piece, random.Random(1).randbytes(piece.size)) for piece in pieces]

    def paint(self) -> None:
        """To be done before the input is written; start-up code has cleared it by then."""
        for piece, paint in self._paint:
            self._machine.engine.mem_write(piece.address, paint)

    def touched(self) -> int:
        """Bytes from each start to behind the last one that changed, together."""
        return sum(self._touched(piece, paint) for piece, paint in self._paint)

    def _touched(self, piece: Symbol, paint: bytes) -> int:
        content = self._machine.read(piece.address, piece.size)
        last = len(content)
        while last and content[last - 1] == paint[last - 1]:
            last -= 1
        return last


def _written(elf: Elf, model: Model) -> list[Symbol]:
    """The objects that an inference may write."""
    state = [model.state] if model.state is not None else []
    prefix = model.invoke.name.removesuffix("invoke")
    console = [s for s in elf.symbols if s.kind == "object" and not s.name.startswith(prefix)]
    return [*model.arenas, *state, *(console if model.prints_layers else [])]


class _Elsewhere:
    """RAM as it was, but for what an inference may write: arena, state and stack."""

    def __init__(self, machine: Machine, model: Model) -> None:
        self._machine = machine
        self._may = [(s.address, s.address + s.size) for s in _written(machine.elf, model)]
        self._may += [(s.address, s.address + s.size) for s in machine.elf.sections if s.name == STACK]
        self._before = [self._content(region) for region in machine.board.rams]

    def _content(self, region: Region) -> NDArray[np.uint8]:
        return np.frombuffer(self._machine.read(region.address, region.size), np.uint8)

    def changed(self) -> tuple[int, ...]:
        """Addresses."""
        found: list[int] = []
        for region, before in zip(self._machine.board.rams, self._before, strict=True):
            differs = self._content(region) != before
            for low, high in self._may:
                differs[max(0, low - region.address) : max(0, high - region.address)] = False
            found += (region.address + np.flatnonzero(differs)).tolist()
        return tuple(found)
