"""Files for Renode: the platform, a script to run the firmware by hand, and a Robot Framework test of its outputs.

Pure functions from a board to text; nothing here starts Renode. The caller writes them side by side: `<name>.repl`,
`<name>.resc`, `<name>.robot` and the ELF. The form was tried on Renode 1.16.1 and on its main branch of August 2026.

Chosen: a platform of our own for every board, with exactly its regions, instead of Renode's stock file, because those
declare more memory than the parts have, and a program that is too large would run. Peripherals other than the console
are left out: Renode logs an access to them and reads 0, which the firmware's console drivers bear. Renode counts one
instruction as one cycle; DWT is there, where the core has one, so that firmware can read the same count itself.
"""

from collections.abc import Sequence

from tinycompiler.board import Board, Renode
from tinycompiler.emulators.protocol import seal
from tinycompiler.errors import EmulatorError

_BOOT_BYTES = 256  # in front of the vector table, see Board.boot
_VIRTUAL_SECONDS = 60  # for one line: several times the slowest inference
_CORES_WITHOUT_DWT = ("cortex-m0plus",)


def repl(board: Board) -> str:
    """The platform description of `board`: core, exact regions, console."""
    renode = _renode(board)
    entries = [
        f"nvic: IRQControllers.NVIC @ sysbus 0xE000E000 {{ systickFrequency: {renode.frequency}; -> cpu@0 }}",
        f'cpu: CPU.CortexM @ sysbus {{ cpuType: "{renode.cpu}"; nvic: nvic; PerformanceInMips: {_mips(renode)} }}',
    ]
    if board.core.name not in _CORES_WITHOUT_DWT:
        entries.append(f"dwt: Miscellaneous.DWT @ sysbus 0xE0001000 {{ frequency: {_mips(renode) * 1_000_000} }}")
    entries += [
        f"{region.name}: Memory.MappedMemory @ sysbus 0x{region.address:08X} {{ size: 0x{region.size:X} }}"
        for region in board.regions
    ]
    options = f" {{ {'; '.join(renode.uart_options)} }}" if renode.uart_options else ""
    entries.append(f"{renode.uart_name}: {renode.uart} @ sysbus 0x{board.console.address:08X}{options}")
    return "\n".join((_comment("//", f"{board.title}, {board.mcu}: memory exactly as the part has it."), *entries, ""))


def resc(board: Board, name: str, elf_file: str) -> str:
    """A script that runs `elf_file` on the platform `<name>.repl` until the firmware is done."""
    renode = _renode(board)
    uart = f"sysbus.{renode.uart_name}"
    lines = [
        _comment("#", f"In this folder: renode --disable-gui --console --plain --hide-log {name}.resc"),
        "# Leave its standard input open, and judge by the console file: a script that fails exits with 0 too.",
        "using sysbus",
        f'mach create "{name}"',
        f"machine LoadPlatformDescription @{name}.repl",
        f"sysbus LoadELF @{elf_file}",
        *_vector_table(board),
        f"{uart} CreateFileBackend @{name}_console.txt true",
        f"cpu PerformanceInMips {_mips(renode)}",
        f"{uart} AddLineHook \"tc:done\" \"monitor.Parse('cpu ExecutedInstructions'); monitor.Parse('quit')\"",
        "start",
        "",
    ]
    return "\n".join(lines)


def robot(board: Board, name: str, elf_file: str, expected: Sequence[Sequence[bytes]]) -> str:
    """A test that `elf_file` prints `expected`, [vector][output], for `renode-test <name>.robot`."""
    renode = _renode(board)
    said = [
        seal(f"tc:output {vector} {index} {output.hex()}")
        for vector, outputs in enumerate(expected)
        for index, output in enumerate(outputs)
    ]
    done = seal(f"tc:done {len(said)}")
    steps = [
        f'Execute Command          mach create "{name}"',
        "Execute Command          machine LoadPlatformDescription @${REPL}",
        "Execute Command          sysbus LoadELF @${ELF}",
        *(f"Execute Command          {command}" for command in _vector_table(board)),
        f"Execute Command          cpu PerformanceInMips {_mips(renode)}",
        f"Create Terminal Tester   sysbus.{renode.uart_name}    timeout={_VIRTUAL_SECONDS}    "
        "defaultPauseEmulation=true",
        "Start Emulation",
        *(f"Wait For Line On Uart    {line}" for line in (*said, done)),
    ]
    lines = [
        _comment("#", f"{name} on {board.title}: renode-test {name}.robot"),
        "*** Variables ***",
        f"${{REPL}}    ${{CURDIR}}/{name}.repl",
        f"${{ELF}}     ${{CURDIR}}/{elf_file}",
        "",
        "*** Test Cases ***",
        "Model Computes The Same Bytes",
        *(f"    {step}" for step in steps),
        "",
    ]
    return "\n".join(lines)


def _renode(board: Board) -> Renode:
    if board.renode is None:
        raise EmulatorError(
            f"board {board.name}: its file has no [renode] table, so there is nothing to write for Renode"
        )
    return board.renode


def _mips(renode: Renode) -> int:
    return renode.frequency // 1_000_000


def _vector_table(board: Board) -> tuple[str, ...]:
    """Where the core starts, when that is not the first word of flash."""
    if board.boot is None:
        return ()
    return (f"cpu VectorTableOffset 0x{board.flash.address + _BOOT_BYTES:08X}",)


def _comment(sign: str, text: str) -> str:
    return f"{sign} {text}"
