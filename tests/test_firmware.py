"""The firmware, run: in an emulator that knows only memory and the console's data register, and in QEMU.

The small emulator here is not the product's: it shares no code with tinycompiler/emulators, so each can be wrong alone.
Every peripheral register reads as 0 and swallows what is written, which is the least that an emulator can do.
"""

import binascii
import random
import re
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from toy_program import toy

from tinycompiler import board
from tinycompiler.board import Board
from tinycompiler.build import Elf, build

unicorn = pytest.importorskip("unicorn")
arm = pytest.importorskip("unicorn.arm_const")

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs arm-none-eabi-gcc"),
]

VECTORS = [bytes([1, 2, 3, 255]), bytes(4), bytes([254, 127, 128, 9])]
TRANSMIT = {  # register that sends
    "cmsdk": 0x00,
    "nrf52": 0x008,
    "rp2040": 0x00,
    "sam": 0x1C,
    "samd5": 0x28,
    "stm32f1": 0x04,
    "stm32f4": 0x04,
    "stm32f7": 0x28,
}
DRIVERS = {board.load(name).console.driver: name for name in board.names()}
INCLUDE = "#include <string.h>"
USE_MEM = (  # so that all three are linked: the counts are not known to the compiler
    "memcpy(tc_toy_arena + 40, tc_toy_arena, tc_toy_arena[0] & 3u);"
    "memmove(tc_toy_arena + 44, tc_toy_arena + 43, tc_toy_arena[0] & 3u);"
    "memset(tc_toy_arena + 32, 0, tc_toy_arena[0] & 15u);"
)


@cache
def built(name: str, layers: bool = False) -> Elf:
    return build(toy(extra=INCLUDE, node=USE_MEM), board.load(name), vectors=VECTORS, layers=layers)


def machine(elf: Elf, part: Board) -> Any:
    """A core with the board's regions, loaded."""
    core = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
    core.ctl_set_cpu_model(getattr(arm, f"UC_CPU_ARM_{part.core.unicorn_model}"))
    for region in part.regions:
        core.mem_map(region.address, region.size)
    for segment in elf.segments:
        core.mem_write(segment.address, segment.data)
    return core


def console_text(elf: Elf, part: Board, limit: int = 20_000_000) -> str:
    """Everything that the firmware sends until `tc:done`, with dumb peripherals."""
    return played(elf, part, limit)[0]


def played(elf: Elf, part: Board, limit: int = 20_000_000) -> tuple[str, dict[int, int]]:
    """That, and what was last written to each register."""
    core, sent = machine(elf, part), bytearray()
    registers: dict[int, int] = {}

    def write(_core: Any, offset: int, _size: int, value: int, base: int) -> None:
        registers[base + offset] = value
        if base + offset == part.console.address + TRANSMIT[part.console.driver]:
            if part.console.driver == "nrf52":
                pointer, count = (registers[part.console.address + at] for at in (0x544, 0x548))
                assert part.ram.address <= pointer < part.ram.end, "EasyDMA reads RAM only"
                value = core.mem_read(pointer, count)[0]
            sent.append(value & 0xFF)
            if sent.endswith(b"\n") and b"tc:done" in sent:
                core.emu_stop()

    for base, size in ((0x4000_0000, 0x2000_0000), (0xE000_0000, 0x10_0000)):
        core.mmio_map(base, size, lambda *_: 0, None, write, base)
    table = core.mem_read(elf.vector_table, 8)
    core.reg_write(arm.UC_ARM_REG_MSP, int.from_bytes(table[:4], "little"))
    core.emu_start(int.from_bytes(table[4:], "little"), 0xFFFF_FFFE, count=limit)
    return sent.decode("ascii"), registers


def unwrapped(text: str) -> list[str]:
    """The lines without their checksums, which are judged by the standard library's CRC."""
    lines = []
    for line in text.splitlines():
        content, _, checksum = line.rpartition(" *")
        assert f"{binascii.crc_hqx(content.encode(), 0xFFFF):04x}" == checksum
        lines.append(content)
    return lines


@pytest.mark.parametrize(
    ("name", "layers"), [*((name, False) for name in board.names()), *((name, True) for name in DRIVERS.values())]
)
def test_says_what_the_model_computes(name: str, layers: bool) -> None:
    elf = built(name, layers)
    lines = unwrapped(console_text(elf, board.load(name)))
    expected = ["tc:hello toy 3"]
    for index, vector in enumerate(VECTORS):
        output = bytes((byte + 1) & 0xFF for byte in vector).hex()
        expected += [f"tc:node {index} 0 0 0 {output}"] * layers + [f"tc:output {index} 0 {output}"]
    assert lines[:-2] == expected
    assert lines[-1] == "tc:done 3"
    high_water = int(lines[-2].removeprefix("tc:stack "))
    assert elf.stack.bytes // 2 <= high_water <= elf.stack.bytes


SET_UP = {  # register -> value, by hand from the manuals that the board's file names; others' bits read as 0 here
    "arduino_nano_33_ble": {
        0x4000_0000: 1,  # the crystal is started
        0x5000_0818: 1 << 3,  # P1.03 is an output
        0x4000_250C: 1 << 5 | 3,  # and the UARTE's TXD
        0x4000_2524: 0x01D6_0000,
        0x4000_2500: 8,
    },
    "atsamd51": {
        0x4000_0818: 1 << 10,  # bus clock of SERCOM3
        0x4000_1CE0: 1 << 6,  # its own clock is generator 0
        0x4100_8028: 0xD301_0002,  # PA17 to function D
        0x4101_400C: 63019,  # 115,203 baud at 48 MHz
        0x4101_4000: 0x4000_0006,  # LSB first, internal clock, enabled
        0x4101_4004: 1 << 16,
    },
    "mps2_an386": {0x4000_4010: 217, 0x4000_4008: 1},  # 115,207 baud at 25 MHz
    "mps2_an521": {0x5020_0010: 174, 0x5020_0008: 1},  # 114,943 baud at 20 MHz
    "nucleo_f103rb": {
        0x4002_1018: 1 << 2,  # port A
        0x4002_101C: 1 << 17,  # USART2
        0x4001_0800: 0xA00,  # PA2: alternate function, push-pull, 2 MHz
        0x4000_4408: 69,  # 115,942 baud at 8 MHz
        0x4000_440C: 1 << 13 | 1 << 3,
    },
    "nucleo_wba52cg": {
        0x4602_0C8C: 1 << 1,  # port B
        0x4602_0CA4: 1 << 14,  # USART1
        0x4202_0400: 2 << 24,  # PB12: alternate function
        0x4202_0424: 7 << 16,
        0x4001_380C: 139,  # 115,108 baud at 16 MHz
        0x4001_3800: 1 << 3 | 1,
    },
    "sam_e70_xplained": {
        0x400E_1854: 1 << 15,  # no watchdog
        0x400E_0610: 1 << 14,  # clock of USART1
        0x4008_8114: 1 << 4,  # PB4 is no TDI
        0x400E_1070: 1 << 4,  # but, by both bits,
        0x400E_1074: 1 << 4,  # function D
        0x400E_1004: 1 << 4,
        0x4002_8004: 0x8C0,  # 8 bits, no parity, clocked by MCK
        0x4002_8020: 4 << 16 | 6,  # 115,385 baud at 12 MHz
        0x4002_8000: 1 << 6,
    },
}


@pytest.mark.parametrize("name", SET_UP)
def test_console_is_set_up(name: str) -> None:
    _, registers = played(built(name), board.load(name))
    assert {address: registers.get(address) for address in SET_UP[name]} == SET_UP[name]


@pytest.mark.parametrize("name", ["rpi_pico", "bluepill", "stm32f746g_disco"])
def test_mem_functions(name: str) -> None:
    """Against Python, at every alignment and near every length at which the code changes its step."""
    elf, part = built(name), board.load(name)
    core = machine(elf, part)
    room = part.ram.address + 0x1000
    seed = random.Random(7)
    stop = part.flash.end - 2
    for _ in range(600):
        before = seed.randbytes(160)
        to, origin, count = seed.randrange(8, 60), seed.randrange(8, 60), seed.choice([*range(24), 31, 32, 33, 64, 67])
        for function in ("memcpy", "memmove", "memset"):
            from_ = origin + 80 if function == "memcpy" and abs(to - origin) < count else origin
            if from_ + count > 160:
                continue
            after = bytearray(before)
            after[to : to + count] = bytes([0xA7]) * count if function == "memset" else before[from_ : from_ + count]
            core.mem_write(room, before)
            core.reg_write(arm.UC_ARM_REG_R0, room + to)
            core.reg_write(arm.UC_ARM_REG_R1, 0x1A7 if function == "memset" else room + from_)
            core.reg_write(arm.UC_ARM_REG_R2, count)
            core.reg_write(arm.UC_ARM_REG_MSP, part.ram.address + 0x800)
            core.reg_write(arm.UC_ARM_REG_LR, stop | 1)
            core.emu_start(elf.symbol(function).address | 1, stop, count=10_000)
            assert core.reg_read(arm.UC_ARM_REG_PC) == stop
            assert core.mem_read(room, 160) == after, (function, to, from_, count)
            assert core.reg_read(arm.UC_ARM_REG_R0) == room + to


QEMU = {  # machines with the same core, UART, flash and start of RAM as the board
    "stm32f4_discovery": ("netduinoplus2", ("-serial", "null")),
    "bluepill": ("stm32vldiscovery", ()),
    "nucleo_f207zg": ("netduino2", ("-serial", "null", "-serial", "null")),
}
FAULTING = tuple(name for name in QEMU if name != "nucleo_f207zg")  # its machine has something below RAM


def qemu_text(elf: Elf, name: str, folder: Path, until: str) -> str:
    """What QEMU's UART says up to a line with `until`, at most ten seconds."""
    kind, serials = QEMU[name]
    (folder / "x.elf").write_bytes(elf.image)
    log = folder / "uart.txt"
    command = ["qemu-system-arm", "-M", kind, "-display", "none", "-monitor", "none", "-kernel", str(folder / "x.elf")]
    with subprocess.Popen([*command, *serials, "-serial", f"file:{log}"], stdin=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 10
            while time.monotonic() < end:
                time.sleep(0.05)
                if log.exists() and re.search(rf"{until}.*\n", log.read_text()):
                    break
        finally:
            process.kill()
    return log.read_text()


needs_qemu = pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="needs qemu-system-arm")


@needs_qemu
@pytest.mark.parametrize("name", QEMU)
def test_qemu_agrees(name: str, tmp_path: Path) -> None:
    """QEMU models the UART's flags and the core's system registers, which the small emulator does not."""
    assert qemu_text(built(name), name, tmp_path, "tc:done") == console_text(built(name), board.load(name))


@needs_qemu
@pytest.mark.parametrize("name", FAULTING)
@pytest.mark.parametrize(
    ("node", "kind", "address"),
    [
        ("*(volatile uint32_t *)0x1ffe0000u = 1;", "bus", "1ffe0000"),
        ('__asm volatile("udf #0");', "usage", "00000000"),
        ('__asm volatile("cpsid i\\n udf #0");', "hard", "00000000"),
    ],
)
def test_fault_is_reported(name: str, node: str, kind: str, address: str, tmp_path: Path) -> None:
    elf = build(toy(node=node), board.load(name), vectors=VECTORS)
    last = unwrapped(qemu_text(elf, name, tmp_path, "tc:fault"))[-1]
    match = re.fullmatch(r"tc:fault (\w+) pc=([0-9a-f]{8}) lr=([0-9a-f]{8}) address=([0-9a-f]{8})", last)
    assert match is not None
    assert (match[1], match[4]) == (kind, address)
    guilty = elf.symbol("tc_toy_node_0")
    assert guilty.address <= int(match[2], 16) < guilty.address + guilty.size


@needs_qemu
@pytest.mark.parametrize("name", FAULTING)
def test_stack_overflow_faults_and_is_reported(name: str, tmp_path: Path) -> None:
    """Below the stack there is no memory. The frame is lost with the stack, so pc and lr are 0."""
    node = '__asm volatile("1: push {r0-r7}\\n b 1b");'
    elf = build(toy(node=node), board.load(name), vectors=VECTORS)
    last = unwrapped(qemu_text(elf, name, tmp_path, "tc:fault"))[-1]
    assert re.fullmatch(r"tc:fault (bus|hard) pc=00000000 lr=00000000 address=[01][0-9a-f]{7}", last)
