"""Files for Renode: the platform, a script to run the firmware by hand, and a Robot Framework test of its outputs.

Pure functions from a board to text; nothing here starts Renode. The caller writes them side by side:
`<board>.repl`, `<name>.resc`, `<name>.robot` and `workflow.yml`, with the ELF near. The form was tried on Renode 1.16.1
and on its main branch of August 2026.

Chosen: a platform of our own for every board, with exactly its regions, instead of Renode's stock file, because those
declare more memory than the parts have, and a program that is too large would run. Who wants the stock file's other
peripherals asks for it by `stock`. In a platform of ours, peripherals other than the console are left out: Renode logs
an access to them and reads 0, which the firmware's console drivers bear. Renode counts one instruction as one cycle;
DWT is there, where the core has one, so that firmware can read the same count itself.
"""

from collections.abc import Sequence

from tinycompiler.board import Board, Renode
from tinycompiler.build import Elf
from tinycompiler.emulators.protocol import seal
from tinycompiler.errors import EmulatorError, UsageError

_BOOT_BYTES = 256  # in front of the vector table, see Board.boot
_PAINT = 0x5AFEC0DE
_VIRTUAL_SECONDS = 60  # for one line: several times the slowest inference
_CORES_WITHOUT_DWT = ("cortex-m0plus",)


def project(
    board: Board, elf: Elf | None, *, name: str, expected: Sequence[Sequence[bytes]], stock: bool = False
) -> dict[str, str]:
    """Every file of the folder `renode/` beside `firmware/<name>.elf`; without an `elf`, memory is not tested.

    Raises EmulatorError for a board without facts about Renode, UsageError when it has no stock platform.
    """
    image = f"../firmware/{name}.elf"
    platform = {} if stock else {f"{board.name}.repl": repl(board)}
    return platform | {
        f"{name}.resc": resc(board, name, image, stock=stock),
        f"{name}.robot": robot(
            board,
            name,
            image,
            expected,
            stack=elf.memory.ram.stack if elf else None,
            ends=_ends(elf, board) if elf else (),
            stock=stock,
        ),
        "workflow.yml": workflow(board, name),
    }


def _ends(elf: Elf, board: Board) -> tuple[int, ...]:
    """Per RAM in use, the first word behind everything that the program has in it, where there is one."""
    used = {s.region: -(-(s.address + s.size) // 4) * 4 for s in elf.sections}  # sections are sorted by address
    return tuple(used[r.name] for r in board.rams if r.name in used and used[r.name] + 4 <= r.end)


def repl(board: Board) -> str:
    """The platform description of `board`: core, exact regions, console."""
    renode = _renode(board)
    entries = [
        f"nvic: IRQControllers.NVIC @ sysbus 0xE000E000 {{ systickFrequency: {renode.frequency}; -> cpu@0 }}",
        f'cpu: CPU.CortexM @ sysbus {{ cpuType: "{renode.cpu}"; nvic: nvic; PerformanceInMips: {mips(board)} }}',
    ]
    if board.core.name not in _CORES_WITHOUT_DWT:
        entries.append(f"dwt: Miscellaneous.DWT @ sysbus 0xE0001000 {{ frequency: {mips(board) * 1_000_000} }}")
    entries += [
        f"{region.name}: Memory.MappedMemory @ sysbus 0x{region.address:08X} {{ size: 0x{region.size:X} }}"
        for region in board.regions
    ]
    options = f" {{ {'; '.join(renode.uart_options)} }}" if renode.uart_options else ""
    entries.append(f"{renode.uart_name}: {renode.uart} @ sysbus 0x{board.console.address:08X}{options}")
    return "\n".join((_comment("//", f"{board.title}, {board.mcu}: memory exactly as the part has it."), *entries, ""))


def platform_of(board: Board, *, stock: bool) -> str:
    """The platform file: ours beside the script, or the one that Renode ships. Raises UsageError when it ships none."""
    renode = _renode(board)
    if not stock:
        return f"{board.name}.repl"
    if renode.stock is None:
        raise UsageError(
            f"board {board.name}: Renode ships no platform file for it that has its console (its file has no "
            "renode.stock); leave --stock away"
        )
    return renode.stock


def console_of(board: Board) -> str:
    """Renode's name of the console's UART."""
    return f"sysbus.{_renode(board).uart_name}"


def mips(board: Board) -> int:
    """Million instructions per virtual second."""
    return _renode(board).frequency // 1_000_000


def machine(board: Board, name: str, platform: str, elf_file: str) -> tuple[str, ...]:
    """The commands of the monitor that make the machine, with the program in it."""
    return (
        "using sysbus",
        f'mach create "{name}"',
        f"machine LoadPlatformDescription @{platform}",
        f"sysbus LoadELF @{elf_file}",
        *_vector_table(board),
        f"cpu PerformanceInMips {mips(board)}",
    )


def resc(board: Board, name: str, elf_file: str, *, stock: bool = False) -> str:
    """A script that runs `elf_file` until the firmware is done; `stock`: on the platform file that Renode ships."""
    uart = console_of(board)
    lines = [
        _comment("#", f"In this folder: renode --disable-gui --console --plain --hide-log {name}.resc"),
        "# Leave its standard input open, and judge by the console file: a script that fails exits with 0 too.",
        *machine(board, name, platform_of(board, stock=stock), elf_file),
        f"{uart} CreateFileBackend @{name}_console.txt true",
        f"{uart} AddLineHook \"tc:done\" \"monitor.Parse('cpu ExecutedInstructions'); monitor.Parse('quit')\"",
        "start",
        "",
    ]
    return "\n".join(lines)


def robot(
    board: Board,
    name: str,
    elf_file: str,
    expected: Sequence[Sequence[bytes]],
    *,
    stack: int | None = None,
    ends: Sequence[int] = (),
    stock: bool = False,
) -> str:
    """A test for `renode-test <name>.robot`: that `elf_file` prints `expected`, [vector][output], within its memory.

    `stack`: the most bytes of it. `ends`: addresses in RAM behind all that the program has: a word there must stay.
    """
    platform = platform_of(board, stock=stock)
    said = [
        seal(f"tc:output {vector} {index} {output.hex()}")
        for vector, outputs in enumerate(expected)
        for index, output in enumerate(outputs)
    ]
    done = seal(f"tc:done {len(said)}")
    create, load, *others = machine(board, name, "${REPL}", "${ELF}")[1:]
    steps = [
        *(f"Execute Command          {command}" for command in (create, load, *others)),
        *(f"Execute Command          sysbus WriteDoubleWord 0x{end:08X} 0x{_PAINT:08X}" for end in ends),
        f"Create Terminal Tester   {console_of(board)}    timeout={_VIRTUAL_SECONDS}    defaultPauseEmulation=true",
        "Start Emulation",
        *(f"Wait For Line On Uart    {line}" for line in said),
        *(_within_stack(stack) if stack is not None else ()),
        f"Wait For Line On Uart    {done}",
        *(step for end in ends for step in _untouched(end)),
    ]
    lines = [
        _comment("#", f"{name} on {board.title}: renode-test {name}.robot"),
        "*** Variables ***",
        f"${{REPL}}    {platform if stock else '${CURDIR}/' + platform}",
        f"${{ELF}}     ${{CURDIR}}/{elf_file}",
        "",
        "*** Test Cases ***",
        "Model Computes The Same Bytes",
        *(f"    {step}" for step in steps),
        "",
    ]
    return "\n".join(lines)


def _within_stack(stack: int) -> tuple[str, str]:
    return (
        "${line}=    Wait For Line On Uart    tc:stack ([0-9]+)    treatAsRegex=true",
        f"Should Be True           ${{line.Groups[0]}} <= {stack}",
    )


def _untouched(end: int) -> tuple[str, str]:
    return (
        f"${{word}}=    Execute Command    sysbus ReadDoubleWord 0x{end:08X}",
        f"Should Contain           ${{word}}    {_PAINT:08X}    ignore_case=True",
    )


def workflow(board: Board, name: str) -> str:
    """An example for GitHub's CI that runs the test on every push, for the emitted project as it is."""
    lines = [
        _comment(
            "#", f"{name} on {board.title}, in Renode, on every push. Copy it to .github/workflows/ of a repository"
        ),
        "# with the emitted project in it, the ELF file too, and correct the path of the .robot file.",
        f"name: {name} on {board.name}",
        "on: [push, pull_request]",
        "jobs:",
        "  renode:",
        "    runs-on: ubuntu-latest",
        "    steps:",
        "      - uses: actions/checkout@v4",
        "      - uses: antmicro/renode-test-action@v5",
        "        with:",
        "          renode-revision: v1.16.1",
        f"          tests-to-run: renode/{name}.robot",
        "",
    ]
    return "\n".join(lines)


def _renode(board: Board) -> Renode:
    if board.renode is None:
        raise EmulatorError(
            f"board {board.name}: its file has no [renode] table, so there is nothing to write for Renode"
        )
    return board.renode


def _vector_table(board: Board) -> tuple[str, ...]:
    """Where the core starts, when that is not the first word of flash."""
    if board.boot is None:
        return ()
    return (f"cpu VectorTableOffset 0x{board.flash.address + _BOOT_BYTES:08X}",)


def _comment(sign: str, text: str) -> str:
    return f"{sign} {text}"
