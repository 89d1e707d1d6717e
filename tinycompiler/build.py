"""From emitted C and a board to a linked ELF file, and what is known of it.

The verdict "it fits" is the linked file's, see elf.py. The stack's size is its worst case, which is known only from a
linked file, so it is linked twice: once to read the calls, once with the stack at its size. Nothing else differs.

    stack = the larger of   the deepest chain from reset + one exception frame + the board's reserve for its handlers
                            the deepest chain of the fault handler, which starts on a fresh stack

Everything happens in a temporary folder with names relative to it, so no path of this machine can enter the file;
nothing is cached. Test inputs go in through the assembler (`.incbin`): as C, a megabyte of them would take seconds.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined

from tinycompiler.board import Board
from tinycompiler.elf import (
    WINDOW,
    Contents,
    FlashUse,
    Memory,
    RamUse,
    RegionUse,
    Section,
    Segment,
    Symbol,
    memory,
    read,
)
from tinycompiler.errors import BuildError
from tinycompiler.resources import folder as data_folder
from tinycompiler.stack import StackBound, bound, parse_code, parse_usage

if TYPE_CHECKING:
    from tinycompiler.emit import Program

__all__ = [
    "Elf",
    "FlashUse",
    "Memory",
    "RamUse",
    "RegionUse",
    "Section",
    "Segment",
    "StackBound",
    "Symbol",
    "Toolchain",
    "build",
    "toolchain",
]

INSTALL = (
    "install one (Debian, Ubuntu: apt install gcc-arm-none-eabi libnewlib-arm-none-eabi; "
    "macOS: brew install --cask gcc-arm-embedded) or set TINYCOMPILER_CC"
)
FLAGS = (
    *("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fno-common"),
    *("-ffunction-sections", "-fdata-sections", "-fstack-usage"),
)
FIRMWARE_FLAGS = (
    "-fno-tree-loop-distribute-patterns",
)  # mem.c must not call itself, start-up must not call it too early
API = ("init", "input", "output", "invoke", "reset_state")


@dataclass(frozen=True)
class Toolchain:
    """A usable compiler, its disassembler, and the first line of what `--version` says."""

    compiler: str
    objdump: str
    version: str


@dataclass(frozen=True)
class Elf:
    """A linked firmware and what is known of it. Addresses and sizes in bytes."""

    path: Path | None
    image: bytes  # the ELF file
    entry: int  # with the Thumb bit; a core starts from the table at `vector_table` instead
    vector_table: int  # initial stack pointer, reset handler, ...
    segments: tuple[Segment, ...]  # as the loader sees them: physical addresses
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    stack: StackBound  # the deepest chain from reset
    model_stack: StackBound  # the deepest chain from any function of the model's API
    toolchain: str
    memory: Memory

    def symbol(self, name: str) -> Symbol:
        """The symbol of that name. Raises KeyError."""
        found = next((symbol for symbol in self.symbols if symbol.name == name), None)
        if found is None:
            raise KeyError(name)
        return found


def toolchain() -> Toolchain:
    """The compiler named by TINYCOMPILER_CC, else `arm-none-eabi-gcc` on the path.

    Raises BuildError when there is none or when it does not compile for Arm without an operating system.
    """
    wanted = os.environ.get("TINYCOMPILER_CC") or "arm-none-eabi-gcc"
    compiler = shutil.which(wanted)
    if compiler is None:
        raise BuildError(f"compiler {wanted} was not found; {INSTALL}")
    machine = _ask(compiler, "-dumpmachine")
    if not (machine.startswith("arm") and "eabi" in machine and "linux" not in machine):
        raise BuildError(f"compiler {wanted} compiles for {machine!r}; wanted arm-none-eabi; {INSTALL}")
    objdump = shutil.which(_ask(compiler, "-print-prog-name=objdump"))
    if objdump is None:
        raise BuildError(f"compiler {wanted} has no objdump; install its binutils (apt install binutils-arm-none-eabi)")
    return Toolchain(compiler, objdump, _ask(compiler, "--version").splitlines()[0])


def build(
    program: "Program",
    board: Board,
    *,
    vectors: Sequence[bytes],
    layers: bool = False,
    folder: Path | None = None,
) -> Elf:
    """Compile and link `program` with the verify firmware for `board`.

    `vectors`: the test inputs, at least one, all of MODEL_INPUT_BYTES. `layers`: the build that prints every node's
    outputs. `folder`: where to leave `<name>.elf`. A program too large for the board is no error: see `Elf.memory`.
    Raises BuildError: no compiler, the compiler or linker refuses, or the stack has no bound.
    """
    assert len({len(vector) for vector in vectors}) == 1, "no test input, or some of different sizes"
    tools = toolchain()
    with tempfile.TemporaryDirectory(prefix="tinycompiler-") as name:
        work = _Work(tools, board, Path(name), program.level)
        work.write(program, vectors)
        work.compile(layers=layers, vector_bytes=len(vectors[0]))
        elf = _analysed(work, program.name)
    if folder is None:
        return elf
    return _saved(elf, folder / f"{program.name}.elf")


def _analysed(work: "_Work", name: str) -> Elf:
    """Link, read the stack's worst case, link again with a stack of that size."""
    usage = parse_usage(path.read_text() for path in sorted(work.folder.rglob("*.su")))
    draft = read(work.link(stack_bytes=0), work.board)
    functions = parse_code(work.disassemble(), draft.symbols)
    prefix = f"tc_{name}_"
    program = bound(["reset_handler"], functions, usage)
    fault = bound(["fault_handler"], functions, usage)
    model = bound([prefix + function for function in API if prefix + function in functions], functions, usage)
    worst = program.bytes + work.board.core.exception_frame + work.board.reserve_stack
    image = work.link(stack_bytes=_align(max(worst, fault.bytes), 8))
    contents = read(image, work.board)
    assert _code(draft) == _code(contents), "the size of the stack changed the code"
    return Elf(
        path=None,
        image=image,
        entry=contents.entry,
        vector_table=next(s.address for s in contents.symbols if s.name == "interrupt_vectors"),
        segments=contents.segments,
        sections=contents.sections,
        symbols=contents.symbols,
        stack=program,
        model_stack=model,
        toolchain=work.tools.version,
        memory=memory(contents, work.board, prefix=prefix),
    )


def _code(contents: Contents) -> list[Symbol]:
    return [symbol for symbol in contents.symbols if symbol.kind == "func"]


def _align(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment


def _saved(elf: Elf, path: Path) -> Elf:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(elf.image)
    except OSError as problem:
        raise BuildError(f"cannot write {path}: {problem.strerror}; choose a folder that can be written") from None
    return replace(elf, path=path)


@dataclass(frozen=True)
class _Work:
    """A folder with the sources (program/, firmware/, vectors.S, linker.ld) and what is made of them (objects/)."""

    tools: Toolchain
    board: Board
    folder: Path
    level: str

    def write(self, program: "Program", vectors: Sequence[bytes]) -> None:
        for name, text in program.files.items():
            if name.endswith((".c", ".h")):
                path = self.folder / "program" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        shutil.copytree(data_folder("firmware"), self.folder / "firmware")
        (self.folder / "objects").mkdir()
        (self.folder / "vectors.bin").write_bytes(b"".join(vectors))
        (self.folder / "vectors.S").write_text(_VECTORS.format(count=len(vectors)))
        (self.folder / "linker.ld").write_text(linker_script(self.board))

    def compile(self, *, layers: bool, vector_bytes: int) -> None:
        hook: tuple[str, ...] = ("-DTC_NODE_HOOK",) if layers else ()
        main = (*FIRMWARE_FLAGS, *hook, f"-DVECTOR_BYTES={vector_bytes}u")
        program = sorted(path.relative_to(self.folder) for path in self.folder.glob("program/**/*.c"))
        jobs = [(source, hook) for source in program]
        jobs.append((Path("firmware/main_verify.c"), main))
        jobs.append((Path("firmware/startup.c"), (*FIRMWARE_FLAGS, *self._clocks())))
        jobs += [(Path("firmware") / name, FIRMWARE_FLAGS) for name in ("protocol.c", "mem.c")]
        jobs.append((Path(f"firmware/console_{self.board.console.driver}.c"), (*FIRMWARE_FLAGS, *self._console())))
        jobs.append((Path("vectors.S"), ()))
        if self.board.boot is not None:
            jobs.append((Path(f"firmware/{self.board.boot}.S"), ()))
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            list(pool.map(lambda job: self._compile_one(*job), jobs))

    def _compile_one(self, source: Path, extra: tuple[str, ...]) -> None:
        target = Path("objects") / ("_".join(source.with_suffix("").parts) + ".o")
        flags = (*self.board.core.flags, *FLAGS, self.level, "-Iprogram", "-Ifirmware", *extra)
        self._gcc(f"compiling {source}", *flags, "-c", str(source), "-o", str(target))

    def _console(self) -> tuple[str, ...]:
        console = self.board.console
        values = {"address": console.address, "clock_hz": console.clock_hz, "baud": console.baud, **console.settings}
        return tuple(f"-DCONSOLE_{key.upper()}={value}u" for key, value in values.items())

    def _clocks(self) -> tuple[str, ...]:
        """What start-up has to switch on before it touches any RAM."""
        clocked = [r for r in self.board.regions if r.clock_register is not None]
        enables = " ".join(f"CLOCK({r.clock_register}u, {r.clock_mask}u)" for r in clocked)
        return (f"-DRAM_CLOCKS={enables}",) if enables else ()

    def link(self, *, stack_bytes: int) -> bytes:
        objects = sorted(str(path.relative_to(self.folder)) for path in self.folder.glob("objects/*.o"))
        options = (
            *("--gc-sections", "--build-id=none", f"--defsym=__stack_size={stack_bytes}", "--fatal-warnings"),
            "--no-check-sections",  # windows of regions that lie close overlap
        )
        flags = (*self.board.core.flags, "-nostdlib", "-T", "linker.ld", *(f"-Wl,{option}" for option in options))
        self._gcc(f"linking for {self.board.name}", *flags, *objects, "-lgcc", "-o", "firmware.elf")
        return (self.folder / "firmware.elf").read_bytes()

    def disassemble(self) -> str:
        return _run((self.tools.objdump, "-d", "--no-show-raw-insn", "firmware.elf"), self.folder, "disassembling")

    def _gcc(self, what: str, *arguments: str) -> None:
        _run((self.tools.compiler, *arguments), self.folder, what)


_VECTORS = """\
    .section .tc_vectors, "a"
    .global vector_count, vector_data
    .balign 4
    .type vector_count, %object
    .size vector_count, 4
vector_count:
    .word {count}
    .type vector_data, %object
vector_data:
    .incbin "vectors.bin"
    .size vector_data, . - vector_data
"""


def linker_script(board: Board) -> str:
    """The linker script for that board."""
    template = (data_folder("firmware") / "linker.ld.j2").read_text(encoding="utf-8")
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(template).render(
        board=board.name,
        flash=board.flash,
        ram=board.ram,
        stack=board.stack,
        others=[region for region in board.regions if not region.default],
        memory={r.name: r.kind.upper() if r.default else f"REGION_{r.name}" for r in board.regions},
        window=WINDOW,
        boot=board.boot is not None,
    )


def _ask(compiler: str, question: str) -> str:
    return _run((compiler, question), Path.cwd(), f"asking {compiler} for {question}").strip()


def _run(command: tuple[str, ...], folder: Path, what: str) -> str:
    """The program's output. Raises BuildError with the first lines of what it complained about."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    except OSError as problem:
        raise BuildError(f"{what}: cannot start {command[0]}: {problem.strerror}; {INSTALL}") from None
    if done.returncode != 0:
        complaint = "\n".join(f"    {line}" for line in done.stderr.strip().splitlines()[:8])
        missing = ".h: No such file" in complaint
        hint = f"\nthe compiler lacks its C library's headers; {INSTALL}" if missing else ""
        raise BuildError(f"{what}: {Path(command[0]).name} refused:\n{complaint}{hint}")
    return done.stdout
