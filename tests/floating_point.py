"""Which layers of a linked image compute in floating point, by its machine code, held against what the report says.

Double precision is software on every core here. A copy of a float by a register of the FPU is no arithmetic.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tinycompiler.board import Board, load
from tinycompiler.build import Elf, build, toolchain
from tinycompiler.emit import Program
from tinycompiler.kernels import Calls, calls_of
from tinycompiler.stack import parse_code


def _soft(name: str) -> Board:
    """A board whose FPU is not used."""
    board = load(name)
    flags = tuple(flag for flag in board.core.flags if not flag.startswith(("-mfpu", "-mfloat-abi")))
    return replace(board, core=replace(board.core, flags=flags))


HARD = ("rpi_pico", "bluepill", "nucleo_l4r5zi", "stm32f746g_disco", "nucleo_l552ze_q")
BOARDS: Mapping[str, Board] = {
    **{name: load(name) for name in HARD},
    **{f"{name} without its FPU": _soft(name) for name in HARD[2:]},
}

SOFT = re.compile(
    r"__(?:aeabi_(?:c?[fd]r?(?:add|sub|mul|div|neg|cmp\w*)|[fd]2\w+|u?[il]2[fd])|\w+?[sd]f(?:[sd]i|[sd]f)?[23]?)$"
)
"""Functions of libgcc that compute in floating point, by their names in the Arm ABI and in gcc's."""
DOUBLE = re.compile(r"__aeabi_(?:c?d|\w*2d$)|__\w*df")
INSTRUCTION = re.compile(r"\tv(?!mov|ldr|str|ldm|stm|push|pop|mrs|msr|lldm|lstm)[a-z]+")
"""Arithmetic, comparison and conversion in the FPU."""


def wrongly_stated(calls: Calls, program: Program, board: Board) -> str:
    """What the layers state and what the image for that board does, where they differ."""
    nothing = bytes(sum(calls.graph.tensors[name].bytes for name in calls.graph.inputs))
    found = precisions(build(program, board, vectors=[nothing]), program.name, len(calls.steps))
    wrong = []
    for step, words in zip(calls.steps, found, strict=True):
        stated = highest(call.floating_point for call in calls_of(step))
        if stated != words:
            names = ", ".join(f"{call.node.name} ({call.kernel})" for call in calls_of(step))
            wrong.append(f"{names} states {stated or 'integers'!r}, found {words or 'integers'!r}")
    return "; ".join(wrong)


def highest(precisions: Iterable[str]) -> str:
    """Of "", "single" and "double"."""
    return max(precisions, key=("", "single", "double").index)


def precisions(elf: Elf, name: str, steps: int) -> list[str]:
    """Of each step: "", "single" or "double", by everything that its function can call; some need no function."""
    code = _disassembled(elf)
    functions = parse_code(code, elf.symbols)
    own = _own_precisions(code, elf)

    def reached(start: str) -> set[str]:
        seen, waiting = {start}, [start]
        while waiting:
            new = set(functions[waiting.pop()].calls) - seen
            seen |= new
            waiting += new
        return seen

    names = [f"tc_{name}_node_{i}" for i in range(steps)]
    return [highest(own[f] for f in reached(name)) if name in functions else "" for name in names]


def _disassembled(elf: Elf) -> str:
    with tempfile.NamedTemporaryFile(suffix=".elf") as file:
        file.write(elf.image)
        file.flush()
        command = (toolchain().objdump, "-d", "--no-show-raw-insn", file.name)
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _own_precisions(disassembly: str, elf: Elf) -> Mapping[str, str]:
    """What each function itself is or holds, by the names that `parse_code` gives."""
    names: dict[int, list[str]] = {}
    for symbol in elf.symbols:
        names.setdefault(symbol.address, []).append(symbol.name)
    parts = re.split(r"^([0-9a-f]{8}) <.*>:$", disassembly, flags=re.MULTILINE)
    found: dict[str, str] = {}
    for address, code in zip(map(_hex, parts[1::2]), parts[2::2], strict=True):
        own = _precision(names.get(address, []), code)
        for name in names.get(address, []):
            found.setdefault(name, own)
            found[f"{name}@{address:08x}"] = own
    return found


def _precision(names: Sequence[str], code: str) -> str:
    soft = [name for name in names if SOFT.match(name)]
    if soft:
        return "double" if any(DOUBLE.match(name) for name in soft) else "single"
    return "single" if INSTRUCTION.search(code) else ""


def _hex(text: str) -> int:
    return int(text, 16)
