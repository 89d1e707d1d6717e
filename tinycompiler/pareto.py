"""What flash and RAM buy on a board: `compile --pareto`.

Choices of kernels (choice.py) and of how much runs row by row are compiled, linked and counted in the emulator; shown
are those that no other is better than in flash, RAM and time together. Chosen: to measure a handful, spread over the
estimated front, instead of printing estimates of all, because a figure here is what somebody buys a part for.
"""

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tinycompiler.choice import Choice, front, options_of
from tinycompiler.compile import FIRMWARE, Compiled, link
from tinycompiler.emulators import run
from tinycompiler.planning import Goals
from tinycompiler.progress import Progress
from tinycompiler.report_text import table
from tinycompiler.vectors import random_vectors

MOST = 5
"""Choices of kernels that are measured, with and without more row by row."""
ANY_SLOWDOWN = 10.0


@dataclass(frozen=True)
class Point:
    """A program, measured: bytes of flash and RAM of the linked image, counted instructions, estimated cycles."""

    flash: int
    ram: int
    instructions: int
    cycles: int | None
    fits: bool
    options: str
    """That compile it."""

    @property
    def time(self) -> int:
        return self.cycles or self.instructions

    def beats(self, other: "Point") -> bool:
        mine, theirs = ((p.flash, p.ram, p.time) for p in (self, other))
        return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))


def spread(choices: Sequence[Choice], count: int = MOST) -> list[Choice]:
    """The smallest, the fastest, and some between them, at even distances in time."""
    if len(choices) <= count:
        return list(choices)
    slow, fast = choices[0].cycles, choices[-1].cycles
    wanted = [slow + (fast - slow) * i / (count - 1) for i in range(count)]
    nearest = [min(range(len(choices)), key=lambda i, t=time: abs(choices[i].cycles - t)) for time in wanted]  # type: ignore[misc]
    return [choices[i] for i in sorted(set(nearest))]


def candidates(compiled: Compiled) -> list[tuple[Goals, str]]:
    """Goals that lead to different programs, and the options that ask for them."""
    goals, core = compiled.goals, compiled.board.core
    found = []
    for choice in spread(front(options_of(compiled.graph, core, dense=goals.dense), core)):
        budget = f"--flash-budget {choice.flash + FIRMWARE}"
        for slowdown in dict.fromkeys((goals.slowdown, ANY_SLOWDOWN)):
            more = f" --max-slowdown {100 * ANY_SLOWDOWN:g}" if slowdown == ANY_SLOWDOWN else ""
            found.append((replace(goals, aim="speed", flash=choice.flash, slowdown=slowdown), budget + more))
    return found


def measured(compiled: Compiled, options: str) -> Point:
    """Linked, and one inference counted. A program that does not fit the board is not run."""
    compiled, elf = link(compiled, random_vectors(compiled.graph, 1, 0))
    memory = elf.memory
    ran = run(elf, compiled.board, count=True) if memory.vectors_fit else None
    instructions, cycles = (ran.instructions or 0, ran.cycles) if ran else (0, None)
    return Point(memory.flash.used, memory.ram.used, instructions, cycles, ran is not None, options)


def undominated(points: Sequence[Point]) -> list[Point]:
    """Those that run and that none of the others beats, the fastest first; of equal ones the first."""
    distinct = {(p.flash, p.ram, p.time): p for p in reversed(points) if p.fits}
    kept = [p for p in distinct.values() if not any(other.beats(p) for other in distinct.values())]
    return sorted(kept, key=lambda p: (p.time, p.flash, p.ram))


def pareto(options: Namespace, compiled: Compiled, again: Callable[[Goals], Compiled]) -> tuple[str, dict[str, Any]]:
    """The table and its data; `again` compiles for other goals."""
    progress, tried = Progress(), candidates(compiled)
    progress("measuring", 0, len(tried) + 1)
    chosen = measured(compiled, "")
    points = [chosen]
    for number, (goals, words) in enumerate(tried, 1):
        progress("measuring", number, len(tried) + 1)
        points.append(measured(again(goals), words))
    progress.done()
    kept = undominated(points)
    rows: list[tuple[object, ...]] = [("", "flash", "RAM", "instructions", "cycles", "ms", "options")]
    for p in kept:
        ms = None if p.cycles is None else f"{1000 * p.cycles / compiled.board.clock_hz:.2f}"
        mark = "*" if (p.flash, p.ram, p.time) == (chosen.flash, chosen.ram, chosen.time) else ""
        rows.append((mark, p.flash, p.ram, p.instructions, p.cycles, ms, p.options or "(as asked)"))
    notes = (
        "flash and RAM in bytes (linked ELF); instructions counted, cycles estimated without wait states; * as asked"
    )
    text = f"{options.model.name} on {compiled.board.name}\n\n{table(rows, right='lrrrrrl')}\n\n{notes}"
    data = {"points": [asdict(p) for p in kept], "asked": asdict(chosen)}
    return text, data
