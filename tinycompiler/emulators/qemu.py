"""QEMU: `qemu-system-arm`, 5.2 or newer, a process, on the machines that it has. Tried with 7.2.

The console is its CMSDK UART, written to a file; see process.py for the limits and for who is killed. By its debugger's
stub the run is stopped at the entries and returns of the model's functions, and at a limit, to say where it was.

Chosen: instructions come from QEMU's own count (`-icount`), which its monitor tells where the stub has stopped it;
instead of a timer in the firmware, whose tick is 40 instructions on these boards, and instead of a log of every
instruction, which takes minutes. It counts an instruction in an IT block whether its condition holds or not, as the
embedded emulator does; tests hold both to the same number. A counted inference stops in front of every node and behind
it. QEMU estimates no cycles.

Not all of its machines fault where there is no memory, and all have memory that the part has not. So the stub also
watches everything that is neither a region of the board nor a peripheral; not noticed is a write to flash.

The connections of debugger and monitor are pairs of sockets that the process inherits: no port that anyone could
connect to, no two runs that meet, no path that is too long.
"""

import os
import random
import re
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

from tinycompiler import board as boards
from tinycompiler.board import Board
from tinycompiler.build import Elf
from tinycompiler.emulators import Progress, Run
from tinycompiler.emulators.counting import node_number
from tinycompiler.emulators.gdb_remote import GdbRemote
from tinycompiler.emulators.model import Model, model_of, overflow, where
from tinycompiler.emulators.process import CONSOLE, SAID, Heard, listen, transcript, workplace
from tinycompiler.emulators.qemu_monitor import QemuMonitor
from tinycompiler.errors import EmulatorError

TOOL = "qemu"
IMAGE = "firmware.elf"
INSTALL = "install it (Debian, Ubuntu: apt install qemu-system-arm; macOS: brew install qemu) or set TINYCOMPILER_QEMU"
PATIENCE_SECONDS = 10.0  # for an answer of the debugger's stub or of the monitor
LOOK_SECONDS = 1.0  # how often a counted inference is stopped to see whether it exceeds its limit
SP, LR, PC = 13, 14, 15
PERIPHERALS = ((0x40000000, 0x60000000), (0xE0000000, 0x100000000))
FAULT_SECONDS = 0.3  # for the firmware, to report a fault
NEAR = 4096  # bytes around a region

_NOISE = re.compile(r"^\s*$|has no peer|terminating on signal|^\w{3,5} ?=[0-9a-f]{8}|^FPSCR")


def run(
    elf: Elf,
    board: Board,
    *,
    count: bool,
    wall_seconds: float,
    max_instructions: int,
    progress: Progress | None,
) -> Run:
    """See `tinycompiler.emulators.run`. The layers build prints during the inference, so it is never counted."""
    program, machine, model = _program(), _machine(board), model_of(elf)
    counted = count and not model.prints_layers
    with workplace({IMAGE: elf.image}, tool=TOOL) as folder, _sockets() as debugger, _sockets() as monitor:
        watch = _Watch(elf, board, model, max_instructions if counted else None, wall_seconds)
        thread = threading.Thread(target=watch.run, args=(debugger.ours, monitor.ours), daemon=True)
        thread.start()
        heard = listen(
            _command(program, machine, debugger.number, monitor.number),
            tool=TOOL,
            folder=folder,
            wall_seconds=wall_seconds + PATIENCE_SECONDS,  # the watch is there first, and knows where it was
            progress=progress,
            inherited=(debugger.number, monitor.number),
            over=lambda: watch.why,
        )
        for pair in (debugger, monitor):
            pair.theirs.close()  # the watch hears that the process is gone
        thread.join()
    return _result(elf, heard, watch)


class _Pair(NamedTuple):
    ours: socket.socket
    theirs: socket.socket

    @property
    def number(self) -> int:
        return self.theirs.fileno()


@contextmanager
def _sockets() -> Iterator[_Pair]:
    with (pair := _Pair(*socket.socketpair())).ours, pair.theirs:
        yield pair


def find() -> str | None:
    """The program, named by TINYCOMPILER_QEMU or on the path."""
    return shutil.which(os.environ.get("TINYCOMPILER_QEMU") or "qemu-system-arm")


def _program() -> str:
    program = find()
    if program is None:
        wanted = os.environ.get("TINYCOMPILER_QEMU") or "qemu-system-arm"
        raise EmulatorError(f"emulator qemu: {wanted} was not found, or cannot be executed; {INSTALL}")
    return program


def _machine(board: Board) -> str:
    if board.qemu is None:
        known = [name for name in boards.names() if boards.load(name).qemu is not None]
        raise EmulatorError(f"emulator qemu: it has no machine that is {board.name}; it has {', '.join(known)}")
    return board.qemu.machine


def _command(program: str, machine: str, debugger: int, monitor: int) -> list[str]:
    return [
        *(program, "-machine", machine, "-nic", "none", "-display", "none", "-parallel", "none"),
        *("-serial", f"file:{CONSOLE}", "-kernel", IMAGE, "-icount", "shift=0", "-S"),
        *("-chardev", f"socket,id=debugger,fd={debugger}", "-gdb", "chardev:debugger"),
        *("-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"),
    ]


@dataclass
class _Watch:
    """The debugger's side of a run, in a thread of its own. What it finds is read when the run is over."""

    elf: Elf
    board: Board
    model: Model
    limit: int | None  # instructions of the counted inference; None: it is not counted
    wall_seconds: float
    why: str = ""  # the run need not go on, and this is why
    place: str = ""
    outside: str = ""  # the first access to no memory
    instructions: int | None = None
    nodes: Counter[int] = field(default_factory=Counter)
    arena_touched: int | None = None
    problem: Exception | None = None

    def run(self, debugger: socket.socket, monitor: socket.socket) -> None:
        self._deadline = time.monotonic() + self.wall_seconds
        self._gdb = GdbRemote(debugger, patience=PATIENCE_SECONDS)
        self._monitor = QemuMonitor(monitor, patience=PATIENCE_SECONDS)
        try:
            self._monitor.ask("qmp_capabilities")
            self._watch()
        except (EOFError, ConnectionError):
            pass  # the process has ended, and the console says whether it should have
        except TimeoutError:
            self.why = f"it gave no answer within {PATIENCE_SECONDS:g} s"
        except EmulatorError as problem:
            self.why = str(problem)
        except Exception as problem:  # of this program: raised again where it is heard
            self.problem, self.why = problem, "the watch broke"

    def _watch(self) -> None:
        for start, end in nowhere(self.board):
            self._gdb.watch(start, end - start)
        model, paint = self.model, {arena: random.Random(1).randbytes(arena.size) for arena in self.model.arenas}
        self._until({model.init.address})
        for arena, bytes_ in paint.items():
            self._gdb.write(arena.address, bytes_)
        self._until({model.invoke.address})
        back = self._gdb.registers()[LR] & ~1
        if self.limit is not None:
            self._count(back)
        else:
            self._until({back})
        left = {arena: self._gdb.read(arena.address, arena.size) for arena in paint}
        self.arena_touched = sum(_touched(paint[arena], left[arena]) for arena in paint)
        self._until(set())

    def _count(self, back: int) -> None:
        """The inference whose first instruction is next."""
        start, node = self._executed(), -1
        while (at := self._until({back, *self.model.nodes}, start)) != back:
            before = self._executed()
            node = node_number(node, [self.model.nodes[at]])
            self._until({self._gdb.registers()[LR] & ~1}, start)
            self.nodes[node] += self._executed() - before
            if self._gdb.registers()[PC] == back:  # called in place of a return
                break
        self._judge(start)
        self.instructions = self._executed() - start

    def _executed(self) -> int:
        """Instructions since reset."""
        return int(self._monitor.ask("query-replay")["icount"])

    def _until(self, addresses: set[int], start: int | None = None) -> int:
        """Run to one of these; the one. With `start` the limit of instructions since then holds."""
        for address in sorted(addresses):
            self._gdb.halt_at(address)
        stop, at = "", -1
        while not stop or at not in addresses:
            stop = self._gdb.go(min(LOOK_SECONDS, self._deadline - time.monotonic()))
            at = self._gdb.registers()[PC]
            self._look_outside(stop)
            if not stop:
                self._judge(start)
        for address in sorted(addresses):
            self._gdb.pass_by(address)
        return at

    def _judge(self, start: int | None) -> None:
        """Raises EmulatorError when one of the limits is reached."""
        late = time.monotonic() > self._deadline and f"the time limit of {self.wall_seconds:g} s"
        if start is not None and self.limit is not None and self._executed() - start > self.limit:
            late = f"the limit of {self.limit:,} instructions"
        if late:
            registers = self._gdb.registers()
            self.place = f"it is in {where(self.elf, registers[PC])}"
            raise EmulatorError(f"the firmware did not finish within {late}")

    def _look_outside(self, stop: str) -> None:
        """Raises EmulatorError when it stopped at an access to no memory, after the time to report a fault itself."""
        found = re.search(r"watch:([0-9a-f]+)", stop)
        if found is None:
            return
        pieces, registers = nowhere(self.board), self._gdb.registers()
        start, end = next(piece for piece in pieces if piece[0] == int(found[1], 16))
        self.outside = (
            f"access somewhere in 0x{start:08x} to 0x{end:08x} by {where(self.elf, registers[PC])}, called from "
            f"{where(self.elf, registers[LR])}: outside every region of {self.board.name}"
            f"{overflow(self.board, registers[SP], end - 4)}"
        )
        for first, behind in pieces:
            self._gdb.unwatch(first, behind - first)
        self._gdb.go(FAULT_SECONDS)
        raise EmulatorError(self.outside)


def nowhere(board: Board) -> list[tuple[int, int]]:
    """(first address, first behind) of what is neither memory nor peripheral, in pieces: what lies close to a region,
    and what lies far from all.
    """
    regions = sorted([*((r.address, r.end) for r in board.regions), *PERIPHERALS])
    gaps = [(low, high) for (_, low), (high, _) in pairwise([(0, 0), *regions, (1 << 32, 0)]) if low < high]
    pieces: list[tuple[int, int]] = []
    for low, high in gaps:
        cuts = sorted({low, min(low + NEAR, high), max(high - NEAR, low), high})
        pieces += pairwise(cuts)
    return pieces


def _touched(paint: bytes, left: bytes) -> int:
    """Bytes up to behind the last one that changed."""
    return next((at + 1 for at in reversed(range(len(left))) if left[at] != paint[at]), 0)


def _result(elf: Elf, heard: Heard, watch: _Watch) -> Run:
    if watch.problem is not None:
        raise watch.problem
    if watch.outside and not (heard.fault and heard.fault.pc):
        raise EmulatorError(f"{TOOL}: {watch.outside}")
    said = transcript(_quiet(heard), elf, tool=TOOL, place=watch.place or _place(elf, heard))
    numbers = range(max(watch.nodes, default=-1) + 1)
    return Run(
        emulator=TOOL,
        inferences=said.vectors,
        lines=heard.lines,
        outputs=said.outputs,
        nodes=said.nodes,
        instructions=watch.instructions,
        node_instructions=tuple(watch.nodes[number] for number in numbers),
        stack_high_water=said.stack,
        arena_touched=watch.arena_touched if watch.model.arenas else None,
    )


def _place(elf: Elf, heard: Heard) -> str:
    """From the registers that it prints when the core locks up, as after a fault in the fault handler."""
    found = re.search(r"\bR15=([0-9a-f]{8})", "\n".join(heard.logs[SAID]))
    return f"it is in {where(elf, int(found[1], 16))}" if found else ""


def _quiet(heard: Heard) -> Heard:
    """Without what it prints in any case, and without its dump of registers."""
    kept = [line for line in heard.logs[SAID] if not _NOISE.search(line)]
    return replace(heard, logs={**heard.logs, SAID: kept})
