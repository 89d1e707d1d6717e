"""A board inside unicorn (QEMU's CPU as a library): memory, console, and a core that runs, stops and is counted.

Exactly the board's regions are mapped, flash for reading and executing, RAM for reading and writing; any other access
ends the run with its address and function. Above 0x40000000 stand the console's UART and registers that read as 0.
The firmware's own fault handlers never run here: an exception is reported from outside, where more is known.

What was found out about unicorn 2.1.4, by test:
* UC_MODE_MCLASS turns every model into a Cortex-M33. Without it the model that was set is the one that runs:
  Cortex-M0 then refuses 32-bit instructions and faults on unaligned accesses, as it must.
* The M3 model lets DSP instructions pass, M0 lets CBZ and IT pass, and the FPU is on without CPACR. counting.py looks
  for these in what was executed during the counted inference.
* Not found: unaligned LDM, STM, LDRD, STRD, VLDR, VSTR on M3 and above, which fault on the real core.
* Pages may be as small as 256 bytes, so a region ends where it ends.
* A block hook is part of the translated code: without a flush, code translated before is not counted. Then it is
  exact, for each turn of a loop and for long straight code.
* Stopping from another thread (its timeout does that too) and going on is not exact: a block hook is called twice, and
  a store to a peripheral is done twice, so a character is printed twice. Therefore each stretch runs in one go, up to a
  stop address, and a timeout is always the end. emu_start runs in a thread of its own, because Python hears the
  keyboard's interrupt only between two of its own steps.

Unicorn is GPL-2.0: an optional extra, imported here and nowhere else, never part of what is shipped to a device.
"""

import random
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tinycompiler.board import Board, Region
from tinycompiler.build import Elf, Symbol
from tinycompiler.emulators import Progress
from tinycompiler.emulators.consoles import Peripherals
from tinycompiler.emulators.counting import Segment, Step, function_at
from tinycompiler.emulators.model import describe_fault, overflow
from tinycompiler.emulators.protocol import fault
from tinycompiler.emulators.unicorn_native import hook_blocks, map_registers
from tinycompiler.errors import EmulatorError

PERIPHERALS = (0x40000000, 0x20000000)
PRIVATE_PERIPHERALS = (0xE0000000, 0x00100000)
COPROCESSOR_ACCESS = 0xE000ED88  # CPACR
SMALLEST_PAGE, LARGEST_PAGE = 256, 4096
NOWHERE = 0xFFFFFFFE

_EXCEPTIONS = {2: "SVC instruction", 4: "unaligned access", 7: "BKPT instruction", 17: "the FPU is absent or off"}


class Machine:
    """A board with a program in it, from reset to `tc:done`."""

    def __init__(self, elf: Elf, board: Board, *, deadline: float, progress: Progress | None) -> None:
        self.unicorn = _library()
        self.elf, self.board = elf, board
        self.lines: list[str] = []
        self.finished = False
        self.float_is_on = False
        self.functions = sorted((s for s in elf.symbols if s.kind == "func"), key=lambda symbol: symbol.address)
        self._deadline, self._progress = deadline, progress
        self._line = bytearray()
        self._violation: tuple[int, int, int] | None = None  # (kind, address, size)
        self._exception: int | None = None
        self._problem: BaseException | None = None
        self.engine = self._engine()
        self._load()
        self._connect()
        table = self.read(elf.vector_table, 8)
        self._write_register("SP", int.from_bytes(table[:4], "little"))
        self._pc = int.from_bytes(table[4:], "little") & ~1

    # Set up

    def _engine(self) -> Any:
        unicorn = self.unicorn
        engine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)
        engine.ctl_set_cpu_model(getattr(unicorn.arm_const, f"UC_CPU_ARM_{self.board.core.unicorn_model}"))
        engine.ctl_set_page_size(_page_size(self.board.regions))
        for region in self.board.regions:
            flash = region.kind == "flash"
            rights = unicorn.UC_PROT_READ | (unicorn.UC_PROT_EXEC if flash else unicorn.UC_PROT_WRITE)
            engine.mem_map(region.address, region.size, rights)
            if not flash:
                engine.mem_write(region.address, random.Random(2).randbytes(region.size))
        return engine

    def _load(self) -> None:
        for segment in self.elf.segments:
            end = segment.address + len(segment.data)
            if not any(r.address <= segment.address and end <= r.address + r.size for r in self.board.regions):
                raise EmulatorError(
                    f"the program has bytes at 0x{segment.address:08x} to 0x{end:08x}, "
                    f"outside every region of {self.board.name}; it does not fit"
                )
            self.engine.mem_write(segment.address, segment.data)

    def _connect(self) -> None:
        unicorn, engine = self.unicorn, self.engine
        parts = Peripherals(self.board.console, self._receive, self.read)

        def write(address: int, value: int) -> None:
            if address == COPROCESSOR_ACCESS:
                self.float_is_on = value >> 20 & 0xF == 0xF
            parts.write(address, value)

        spaces = (PERIPHERALS, PRIVATE_PERIPHERALS)
        self._registers = [map_registers(engine, base, size, parts.read, write) for base, size in spaces]
        engine.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_violation)
        engine.hook_add(unicorn.UC_HOOK_INTR, self._on_exception)

    # Called by unicorn

    def _receive(self, characters: bytes) -> None:
        self._line += characters
        if b"\n" not in characters:
            return
        *lines, self._line = self._line.split(b"\n")
        for line in lines:
            self._take(line.decode("ascii", "replace").rstrip("\r"))

    def _take(self, line: str) -> None:
        self.lines.append(line)
        words = line.split()
        if line.startswith(("tc:done", "tc:fault")):
            self.finished = True
            self.engine.emu_stop()
        elif self._progress is not None and len(words) > 1 and words[0] == "tc:output" and words[1].isdigit():
            self._tell(int(words[1]) + 1)

    def _tell(self, done: int) -> None:
        announced = self.lines[0].split()[2:3]
        assert self._progress is not None
        try:
            self._progress(done, int(announced[0]) if announced and announced[0].isdigit() else 0)
        except BaseException as problem:  # it is raised again outside: unicorn stands between here and there
            self._problem = problem
            self.engine.emu_stop()

    def _on_violation(self, _engine: Any, kind: int, address: int, size: int, _value: int, _data: object) -> bool:
        self._violation = (kind, address, size)
        return False

    def _on_exception(self, engine: Any, number: int, _data: object) -> None:
        self._exception = number
        engine.emu_stop()

    # Running

    def go(self, until: int) -> bool:
        """Run until the instruction at `until` is next; False when the firmware finished before."""
        self.engine.ctl_flush_tb()  # a stop address is part of the translated code
        while not self.finished and self._pc != until:  # WFI ends a start, too
            if time.monotonic() > self._deadline:
                raise EmulatorError(self._hang("the time limit"))
            self._start(until)
        self._check_fault_line()
        return not self.finished

    def go_counting(self, invoke: Symbol, until: int, *, limit: int) -> list[Segment]:
        """Run until `until` and count every step on the way. See counting.py for what a segment is."""
        segments: list[Segment] = []
        steps: defaultdict[Step, int] = defaultdict(int)
        before = 0

        def on_invoke(_engine: object, _address: int, _size: int, _data: object) -> None:
            nonlocal steps
            steps = defaultdict(int)
            segments.append(steps)

        def on_block(_engine: object, address: int, size: int, _data: object) -> None:
            nonlocal before
            steps[before, address, size] += 1
            before = address

        self.engine.ctl_flush_tb()
        kind = self.unicorn.UC_HOOK_BLOCK
        hooks = [
            hook_blocks(self.engine, kind, on_invoke, invoke.address, invoke.address + invoke.size - 1),
            hook_blocks(self.engine, kind, on_block, 1, 0),
        ]
        self._start(until, instructions=limit)
        for unhook in hooks:
            unhook()
        self._check_fault_line()
        if self._pc != until and not self.finished:
            late = time.monotonic() > self._deadline
            raise EmulatorError(self._hang("the time limit" if late else f"the limit of {limit:,} instructions"))
        return segments

    def _start(self, until: int, *, instructions: int = 0) -> None:
        microseconds = int(1e6 * max(0.001, self._deadline - time.monotonic()))
        with ThreadPoolExecutor(max_workers=1) as pool:
            begin = self._pc | 1
            work = pool.submit(self.engine.emu_start, begin, until, timeout=microseconds, count=instructions)
            try:
                work.result()
            except self.unicorn.UcError as problem:
                raise EmulatorError(self._describe(problem)) from None
            except KeyboardInterrupt:
                self.engine.emu_stop()
                raise
        self._pc = self._register("PC")
        if self._problem is not None:
            raise self._problem
        if self._exception is not None:
            raise EmulatorError(self._describe(None))

    def _check_fault_line(self) -> None:
        found = fault(self.lines[-1]) if self.lines else None
        if found is not None:
            raise EmulatorError(describe_fault(found, self.elf))

    # Looking

    @property
    def link(self) -> int:
        """Where the function just entered returns to."""
        return self._register("LR") & ~1

    def read(self, address: int, size: int) -> bytes:
        """Memory, as the program sees it."""
        return bytes(self.engine.mem_read(address, size))

    @property
    def lacks(self) -> frozenset[str]:
        """What the core lacks, or has not switched on, though unicorn would run it. In the words of `thumb.needs`."""
        core = self.board.core
        lacking = {
            "mainline": core.unicorn_model == "CORTEX_M0",
            "dsp": core.isa == "scalar",
            "float": not (core.has_fpu and self.float_is_on),
        }
        return frozenset(name for name, absent in lacking.items() if absent)

    def where(self, address: int) -> str:
        """The function at `address`, for people."""
        return f"{function_at(self.functions, address)} (0x{address:08x})"

    def _register(self, name: str) -> int:
        value: int = self.engine.reg_read(getattr(self.unicorn.arm_const, f"UC_ARM_REG_{name}"))
        return value

    def _write_register(self, name: str, value: int) -> None:
        self.engine.reg_write(getattr(self.unicorn.arm_const, f"UC_ARM_REG_{name}"), value)

    def _hang(self, limit: str) -> str:
        last = f"; its last line is {self.lines[-1]!r}" if self.lines else "; it has printed nothing"
        return f"the firmware did not finish within {limit}; it is in {self.where(self._pc)}{last}"

    def _describe(self, problem: Exception | None) -> str:
        """The sentence for a run that ended early."""
        pc, link, stack = self._register("PC"), self._register("LR") & ~1, self._register("SP")
        place = f"{self.where(pc)}, called from {self.where(link)}"
        if self._violation is not None:
            kind, address, size = self._violation
            what = _access(self.unicorn, kind, size)
            agent = f"by {place}" if what else f"called from {self.where(link)}"
            text = f"{what or 'execution at'} 0x{address:08x} {agent}: {self._rule(address)}"
        elif self._exception is not None:
            text = f"{_EXCEPTIONS.get(self._exception, f'exception {self._exception}')} in {place}"
        else:
            text = f"undefined instruction for {self.board.core.name} in {place} ({problem})"
        return text + overflow(self.board, stack, self._violation[1] if self._violation else stack)

    def _rule(self, address: int) -> str:
        for region in self.board.regions:
            if region.address <= address < region.address + region.size:
                allowed = "read and executed" if region.kind == "flash" else "read and written"
                return f"{region.name} of {self.board.name} can only be {allowed}"
        return f"outside every region of {self.board.name}"


def _access(unicorn: Any, kind: int, size: int) -> str:
    """Words for a data access; none for an instruction fetch."""
    if kind in (unicorn.UC_MEM_FETCH_UNMAPPED, unicorn.UC_MEM_FETCH_PROT):
        return ""
    writes = kind in (unicorn.UC_MEM_WRITE_UNMAPPED, unicorn.UC_MEM_WRITE_PROT)
    return f"{'write' if writes else 'read'} of {size} bytes at"


def _page_size(regions: tuple[Region, ...]) -> int:
    """The largest page of which every region is a whole number."""
    page = LARGEST_PAGE
    while page >= SMALLEST_PAGE:
        if all(region.address % page == 0 and region.size % page == 0 for region in regions):
            return page
        page //= 2
    raise EmulatorError(
        f"a region's address or size is not a multiple of {SMALLEST_PAGE} bytes, which this emulator cannot map exactly"
    )


def _library() -> Any:
    try:
        import unicorn
        import unicorn.arm_const
    except ImportError:
        raise EmulatorError(
            "emulator unicorn is not installed; pip install 'tinycompiler[emulator]' (unicorn is GPL-2.0)"
        ) from None
    return unicorn
