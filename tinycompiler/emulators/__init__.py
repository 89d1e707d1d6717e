"""Emulators: an ELF and a board in, a `Run` out.

A backend is a module of this package with a function `run(elf, board, *, count, wall_seconds, max_instructions,
progress)`. It is imported when it is asked for, so that an emulator that is not installed disturbs nobody else.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, cast

from tinycompiler.board import Board
from tinycompiler.build import Elf
from tinycompiler.errors import EmulatorError

Progress = Callable[[int, int], None]  # (inferences done, inferences in all)


@dataclass(frozen=True)
class Run:
    """What a firmware did. Counts are of vector 0's inference, from the entry of `tc_<name>_invoke` to its return."""

    emulator: str
    inferences: int
    lines: tuple[str, ...]  # the console, as it came
    outputs: tuple[tuple[bytes, ...], ...]  # [vector][output]
    nodes: Mapping[tuple[int, int, int], bytes] = field(
        default_factory=dict
    )  # (vector, node, output), layers build only
    instructions: int | None = None  # None: not counted
    node_instructions: tuple[int, ...] = ()  # per node, the functions that it calls included
    node_cycles: tuple[int, ...] = ()  # like node_instructions; empty when the core has no cost table
    function_instructions: Mapping[str, int] = field(default_factory=dict)  # without the functions that it calls
    cycles: int | None = None
    cycles_source: str | None = None
    stack_high_water: int | None = None  # bytes, from the painted stack
    arena_touched: int | None = None  # bytes from the arena's start to behind the last one written; None: no arena
    stray: tuple[int, ...] = ()  # addresses in RAM beside arena, state and stack that vector 0's inference changed
    jumps: int | None = None  # taken: each may wait for flash, see cycles.waiting


class _Backend(Protocol):
    def __call__(
        self,
        elf: Elf,
        board: Board,
        *,
        count: bool,
        wall_seconds: float,
        max_instructions: int,
        progress: Progress | None,
    ) -> Run: ...


EMULATORS: Mapping[str, str] = MappingProxyType(
    {
        "unicorn": "tinycompiler.emulators.unicorn",
        "renode": "tinycompiler.emulators.renode",
        "qemu": "tinycompiler.emulators.qemu",
    }
)


def run(
    elf: Elf,
    board: Board,
    *,
    emulator: str = "unicorn",
    count: bool = True,
    wall_seconds: float = 300.0,
    max_instructions: int = 10_000_000_000,
    progress: Progress | None = None,
) -> Run:
    """Run `elf` on an emulated `board` until the firmware says that it is done.

    `count`: also count instructions, and estimate cycles, of vector 0's inference.
    `max_instructions` bounds that counted inference, the same on every machine; `wall_seconds` bounds everything.

    Raises EmulatorError when the emulator is missing, and when the firmware faults, hangs or says something garbled.
    """
    if emulator not in EMULATORS:
        raise EmulatorError(f"unknown emulator {emulator!r}; known are {', '.join(EMULATORS)}")
    backend = cast(_Backend, importlib.import_module(EMULATORS[emulator]).run)
    return backend(
        elf,
        board,
        count=count,
        wall_seconds=wall_seconds,
        max_instructions=max_instructions,
        progress=progress,
    )
