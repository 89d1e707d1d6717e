"""Renode as the emulator: a process that runs the ELF on a platform with exactly the board's memory.

Found as `renode` on PATH, or by TINYCOMPILER_RENODE; 1.16 or newer. What is written for it was tried on 1.16.1 and on
its main branch of August 2026; renode_files.py says more about the platform.

How a run is judged: by the console file alone, because Renode's exit code is 0 whatever happened. Its log is read for
what only it tells: a CPU that gave up, an access outside every region, and the counter of instructions at the marks
(see marks.py), which hooks write. Renode counts an instruction as one, and knows no cycles.

The firmware gets its virtual time in slices, after each of which the script asks for the PC. So a firmware that hangs
is named with the function that it hangs in, and the limit of instructions is one of virtual time, the same everywhere.
Renode ends no slice early: when the last line has come it is ended from here.

Not noticed here but by the embedded emulator: a write to flash, and an instruction that the core lacks.
"""

import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from tinycompiler.board import Board
from tinycompiler.build import Elf
from tinycompiler.emulators import Progress, Run
from tinycompiler.emulators.marks import Marks, marks_of, tally
from tinycompiler.emulators.model import Model, model_of, where
from tinycompiler.emulators.process import CONSOLE, SAID, Heard, ask, listen, transcript, workplace
from tinycompiler.emulators.renode_files import console_of, machine, mips, repl
from tinycompiler.errors import EmulatorError

TOOL = "renode"
OLDEST = (1, 16)
INSTALL = "it from renode.io (Linux: the portable archive; macOS: the .dmg), on PATH or named by TINYCOMPILER_RENODE"
OPTIONS = ("--disable-gui", "--console", "--plain", "--hide-log")  # without --console it listens on a port
PLATFORM, SCRIPT, IMAGE, LOG = "board.repl", "run.resc", "firmware.elf", "renode.log"
SLICES = 200
VERSION_SECONDS = 60.0

_SCRIPT_ERROR = re.compile(
    r"There was an error executing command|No such command or device|Bad parameters for command|^\s*Error E\d+:"
)
_ABORT = re.compile(r"CPU abort(?: \[PC=0x([0-9A-Fa-f]+)\])?")
_ACCESS = re.compile(
    r"\[[\w.]*cpu: 0x([0-9A-Fa-f]+)\].*?(Read|Write)\w* \w+ non existing peripheral at 0x([0-9A-Fa-f]+)"
)
_PC = re.compile(r"(?:\([\w.-]+\) )?0x([0-9A-Fa-f]{1,8})\s*")
_MARK = re.compile(r"tc:mark ([0-9a-f]+) (\d+)$")
_PERIPHERALS = ((0x40000000, 0x60000000), (0xE0000000, 0xE0100000))


def run(
    elf: Elf,
    board: Board,
    *,
    count: bool,
    wall_seconds: float,
    max_instructions: int,
    progress: Progress | None,
) -> Run:
    """See `tinycompiler.emulators.run`. `max_instructions` is for each inference, and for what is around them."""
    begin = time.monotonic()
    command = [find(), *OPTIONS, SCRIPT]
    model = model_of(elf)
    marks = marks_of(elf, model) if count and not model.prints_layers else None
    limit = max_instructions * (_vectors(elf) + 1)
    files: dict[str, str | bytes] = {PLATFORM: repl(board), SCRIPT: script(board, marks, limit), IMAGE: elf.image}
    watch = _Watch(elf, board, limit)

    def complete(logs: Mapping[str, Sequence[str]]) -> bool:
        return marks is None or bool((read := _readings(logs[LOG], marks)) and read[-1][0] in marks.returns)

    with workplace(files, tool=TOOL) as folder:
        heard = listen(
            command,
            tool=TOOL,
            folder=folder,
            wall_seconds=wall_seconds - (time.monotonic() - begin),
            progress=progress,
            logs=(LOG,),
            given_up=watch,
            complete=complete,
        )
    told = [line for line in heard.logs[SAID] if not _PC.fullmatch(line)]
    return _result(replace(heard, logs={**heard.logs, SAID: told}), elf, watch, model, marks)


def find() -> str:
    """The path of a Renode that is new enough. Raises EmulatorError."""
    wanted = os.environ.get("TINYCOMPILER_RENODE") or "renode"
    found = shutil.which(wanted)
    if found is None and os.path.exists(wanted):
        raise EmulatorError(
            f"renode: {wanted} is there but cannot be executed; chmod +x it, or name the program itself"
        )
    if found is None:
        raise EmulatorError(f"emulator renode: {wanted} was not found; install {INSTALL}; or use --emulator unicorn")
    path = os.path.abspath(found)
    number = version(path)
    if number[:2] < OLDEST:
        text = ".".join(map(str, number))
        raise EmulatorError(f"renode: {path} is version {text}; wanted 1.16 or newer; install {INSTALL}")
    return path


@cache
def version(path: str) -> tuple[int, ...]:
    """What `--version` says. Raises EmulatorError when that is nothing of Renode's."""
    said = ask([path, "--version"], tool=TOOL, wall_seconds=VERSION_SECONDS)
    match = re.search(r"[Rr]enode\D{0,20}(\d+)\.(\d+)(?:\.(\d+))?", said) or re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    if match is None:
        raise EmulatorError(f"renode: {path} --version says {said.strip()[:200]!r}; wanted Renode's version")
    return tuple(int(part) for part in match.groups() if part is not None)


def script(board: Board, marks: Marks | None, limit: int) -> str:
    """The .resc: the machine, a hook at each mark, and virtual time for `limit` instructions."""
    seconds = limit / (mips(board) * 1e6) / SLICES
    hook = "cpu AddHook 0x{0:x} \"self.InfoLog('tc:mark {0:x} {{0}}', self.ExecutedInstructions)\""
    lines = [
        f"logFile @{LOG} true",
        *machine(board, board.name, PLATFORM, IMAGE),
        f"{console_of(board)} CreateFileBackend @{CONSOLE} true",
        *(hook.format(address) for address in (marks.addresses if marks else ())),
        *[f'emulation RunFor "{max(seconds, 1e-6):.6f}"', "cpu PC"] * SLICES,
        "quit",
        "",
    ]
    return "\n".join(lines)


class _Watch:
    """Reads what Renode says while it runs. Called with a line, it says why the firmware need not be waited for."""

    def __init__(self, elf: Elf, board: Board, limit: int) -> None:
        self._elf, self._board, self._limit = elf, board, limit
        self._slices = 0
        self._pc: int | None = None

    def __call__(self, line: str) -> str:
        if _SCRIPT_ERROR.search(line):
            return f"its script failed: {line.strip()}"
        if found := _ABORT.search(line):
            self._pc = int(found[1], 16) if found[1] else self._pc
            return f"the core gave up: {line[found.start() :].strip()}"
        if found := _ACCESS.search(line):
            return self._stray(*found.groups())
        if found := _PC.fullmatch(line):
            self._pc, self._slices = int(found[1], 16), self._slices + 1
        return f"the firmware did not finish within {self._limit:,} instructions" if self._slices == SLICES else ""

    def _stray(self, pc: str, what: str, at: str) -> str:
        """A sentence for an access outside the board's regions; peripherals that are left out are none."""
        address = int(at, 16)
        if any(low <= address < high for low, high in _PERIPHERALS):
            return ""
        place = where(self._elf, int(pc, 16))
        return f"{what.lower()} at 0x{address:08x} by {place}: outside every region of {self._board.name}"

    @property
    def place(self) -> str:
        """Where the firmware was last seen, as a clause."""
        return "" if self._pc is None else f"it was last seen in {where(self._elf, self._pc)}"


def _result(heard: Heard, elf: Elf, watch: _Watch, model: Model, marks: Marks | None) -> Run:
    said = transcript(heard, elf, tool=TOOL, place=watch.place)
    try:
        instructions, nodes = tally(_readings(heard.logs[LOG], marks), marks, model) if marks else (None, ())
    except EmulatorError as problem:
        raise EmulatorError(f"renode: its log is not whole: {problem}") from None
    return Run(
        emulator=TOOL,
        inferences=said.vectors,
        lines=heard.lines,
        outputs=said.outputs,
        nodes=said.nodes,
        instructions=instructions,
        node_instructions=nodes,
        stack_high_water=said.stack,
    )


def _readings(log: Sequence[str], marks: Marks) -> list[tuple[int, int]]:
    """(mark, instructions executed before it), up to the first inference's end. Raises EmulatorError."""
    found: list[tuple[int, int]] = []
    for line in log:
        if "tc:mark" in line:
            match = _MARK.search(line.rstrip())
            if match is None:
                raise EmulatorError(
                    f"renode: garbled line {line[:200]!r} in its log; wanted tc:mark <address> <number>"
                )
            found.append((int(match[1], 16), int(match[2])))
            if found[-1][0] in marks.returns:
                break
    return found


def _vectors(elf: Elf) -> int:
    """How many test inputs are in the image."""
    address = elf.symbol("vector_count").address
    segment = next(s for s in elf.segments if s.address <= address < s.address + len(s.data))
    return int.from_bytes(segment.data[address - segment.address :][:4], "little")
