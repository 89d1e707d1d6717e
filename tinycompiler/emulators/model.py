"""Where a model's parts are in its ELF: what every emulator that counts needs to know."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tinycompiler.board import Board
from tinycompiler.build import Elf, Symbol
from tinycompiler.emulators.counting import function_at
from tinycompiler.emulators.protocol import Fault
from tinycompiler.errors import EmulatorError

FRAME_BYTES = 256  # more than any instruction, or exception, pushes


@dataclass(frozen=True)
class Model:
    """The functions and objects of the one model in an ELF."""

    init: Symbol
    invoke: Symbol
    nodes: Mapping[int, int]  # address of a node function -> node
    arenas: tuple[Symbol, ...]
    state: Symbol | None
    prints_layers: bool  # the build of --layers, which prints during an inference: its counts mean nothing


def model_of(elf: Elf) -> Model:
    """The model in `elf`. Raises EmulatorError when there is not exactly one."""
    named = {symbol.name: symbol for symbol in elf.symbols}
    prefixes = [match[1] for match in (re.fullmatch(r"(tc_\w+_)invoke", name) for name in named) if match]
    if len(prefixes) != 1:
        raise EmulatorError(f"the ELF holds {len(prefixes)} functions tc_<name>_invoke; wanted one model")
    prefix = re.escape(prefixes[0])
    arenas = [s for name, s in named.items() if s.kind == "object" and re.fullmatch(rf"{prefix}arena\w*", name)]
    matches = ((s, re.match(rf"{prefix}node_(\d+)", name)) for name, s in named.items() if s.kind == "func")
    return Model(
        init=named[f"{prefixes[0]}init"],
        invoke=named[f"{prefixes[0]}invoke"],
        nodes={symbol.address: int(match[1]) for symbol, match in matches if match},
        arenas=tuple(arenas),
        state=named.get(f"{prefixes[0]}state"),
        prints_layers="tc_node_hook" in named,
    )


def where(elf: Elf, address: int) -> str:
    """The function at `address`, for people."""
    functions = sorted((s for s in elf.symbols if s.kind == "func"), key=lambda symbol: symbol.address)
    return f"{function_at(functions, address & ~1)} (0x{address & ~1:08x})"


def overflow(board: Board, stack_pointer: int, address: int) -> str:
    """A clause when the stack has left its region downwards, by its pointer or by an access close to that."""
    bottom = board.stack.first
    if stack_pointer >= bottom and not (address < bottom <= stack_pointer <= address + FRAME_BYTES):
        return ""
    return f"; the stack overflowed (sp 0x{stack_pointer:08x}, {board.stack.name} begins at 0x{bottom:08x})"


def describe_fault(found: Fault, elf: Elf) -> str:
    """The sentence for a fault that the firmware's own handler reported, which knows no pc when sp is no stack's."""
    if found.pc == found.lr == 0:
        return (
            f"the firmware faulted: {found.kind} fault, address 0x{found.address:08x}, with the stack pointer outside "
            "the stack: the stack overflowed"
        )
    return (
        f"the firmware faulted: {found.kind} fault in {where(elf, found.pc)}, "
        f"called from {where(elf, found.lr)}, address 0x{found.address:08x}"
    )
