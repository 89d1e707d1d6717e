"""What tests start in place of Renode: a program that takes its options and its scripts.

With STAND_IN, the path of a JSON file, it only plays a part: {"version", "console", "log", "said": text that it writes,
"pids": a file for its own process number and that of a child that it leaves, "end": "wait" (the default, through any
polite request), a number to exit with, or "abort"}. Without it, it does what the script says: the ELF runs in unicorn,
instructions are counted (those of an IT block whether their condition holds or not), and hooks write the log.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

DRIVERS = {"UART.STM32_UART": "stm32f4", "UART.STM32F7_USART": "stm32f7", "UART.PL011": "rp2040"}


def main() -> None:
    part: dict[str, Any] = json.loads(Path(os.environ["STAND_IN"]).read_text()) if "STAND_IN" in os.environ else {}
    if "--version" in sys.argv:
        print(part.get("version", "Renode, version 1.16.1.12345 (0123abcd-202602171200)"), flush=True)
        return
    assert sys.argv[1:-1] == ["--disable-gui", "--console", "--plain", "--hide-log"], sys.argv
    if part:
        play(part)
    else:
        Monitor().include(Path(sys.argv[-1]))


def play(part: dict[str, Any]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "pids" in part:
        child = subprocess.Popen(["sleep", "1000"])
        Path(part["pids"]).write_text(f"{os.getpid()} {child.pid}")
    for name, key in (("renode.log", "log"), ("console.txt", "console")):
        Path(name).write_bytes(part.get(key, "").encode("latin-1"))
    print(part.get("said", ""), flush=True)
    if part.get("end") == "abort":
        os.abort()
    if part.get("end", "wait") == "wait":
        sys.stdin.read()  # nothing comes, and it never ends
        time.sleep(1000)
    sys.exit(part["end"])


class Monitor:
    """The commands of scripts that tinycompiler writes, and no others."""

    def __init__(self) -> None:
        self.log, self.console = Path(os.devnull), Path(os.devnull)
        self.hooks: dict[int, str] = {}
        self.platform = self.image = ""
        self.table: int | None = None
        self.board: Board | None = None

    def include(self, script: Path) -> None:
        commands = {
            r"logFile @(\S+) true": self.open_log,
            r'using sysbus|mach create "\w+"|cpu PerformanceInMips \d+': lambda: None,
            r"machine LoadPlatformDescription @(\S+)": lambda name: setattr(self, "platform", Path(name).read_text()),
            r"sysbus LoadELF @(\S+)": lambda name: setattr(self, "image", name),
            r"cpu VectorTableOffset 0x(\w+)": lambda value: setattr(self, "table", int(value, 16)),
            r"sysbus\.\w+ CreateFileBackend @(\S+) true": self.open_console,
            r"cpu AddHook 0x(\w+) \"self\.InfoLog\('(.*)', self\.ExecutedInstructions\)\"": self.add_hook,
            r'emulation RunFor "([\d.]+)"': self.run_for,
            r"cpu PC": lambda: print(f"0x{self.running().pc:X}", flush=True),
            r"quit": sys.exit,
        }
        for line in script.read_text().splitlines():
            found = next(((m, c) for pattern, c in commands.items() if (m := re.fullmatch(pattern, line))), None)
            if found is None:
                print(f"There was an error executing command '{line}'", flush=True)
                sys.stdin.read()
            else:
                found[1](*found[0].groups())
        sys.stdin.read()

    def open_log(self, name: str) -> None:
        self.log = Path(name)

    def open_console(self, name: str) -> None:
        self.console = Path(name)

    def add_hook(self, address: str, text: str) -> None:
        self.hooks[int(address, 16)] = text

    def info(self, text: str) -> None:
        append(self.log, f"12:00:00.0000 {text}\n".encode())

    def running(self) -> "Board":
        self.board = self.board or Board(self)
        return self.board

    def run_for(self, seconds: str) -> None:
        self.running().go(float(seconds))


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


class Board:
    """The machine of the .repl, block by block: every mark is where one begins."""

    def __init__(self, monitor: Monitor) -> None:
        import unicorn
        from elftools.elf.elffile import ELFFile

        from tinycompiler.board import Console
        from tinycompiler.emulators.consoles import Peripherals
        from tinycompiler.emulators.thumb import halfwords

        self.monitor, self.executed, self.until = monitor, 0, 0
        self.halfwords = halfwords
        self.sizes: dict[tuple[int, int], int] = {}  # instructions of each block
        regions = [[int(v, 16) for v in found] for found in re.findall(MEMORY, monitor.platform)]
        kind, address = re.findall(r"^\w+: (UART\.\w+) @ sysbus 0x(\w+)", monitor.platform, re.MULTILINE)[0]
        self.mips = int(re.findall(r"PerformanceInMips: (\d+)", monitor.platform)[0])
        self.engine = engine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)
        engine.ctl_set_cpu_model(unicorn.arm_const.UC_CPU_ARM_CORTEX_M4)
        for start, size in regions:
            engine.mem_map(start, size)
        console = Console(DRIVERS[kind], int(address, 16), 1, 1, {}, "")
        parts = Peripherals(console, lambda sent: append(monitor.console, sent), self.read)
        for start, size in ((0x40000000, 0x20000000), (0xE0000000, 0x100000)):
            engine.mmio_map(
                start,
                size,
                lambda _, offset, __, start: parts.read(start + offset),
                start,
                lambda _, offset, __, value, start: parts.write(start + offset, value),
                start,
            )
        with Path(monitor.image).open("rb") as file:
            loads = [s for s in ELFFile(file).iter_segments() if s["p_type"] == "PT_LOAD" and s["p_filesz"]]
            for segment in loads:
                engine.mem_write(segment["p_paddr"], segment.data())
            table = monitor.table if monitor.table is not None else min(s["p_paddr"] for s in loads)
        stack, self.pc = (int.from_bytes(self.read(table + at, 4), "little") for at in (0, 4))
        engine.reg_write(unicorn.arm_const.UC_ARM_REG_SP, stack)
        self.pc &= ~1
        engine.hook_add(unicorn.UC_HOOK_BLOCK, self.on_block)
        engine.hook_add(unicorn.UC_HOOK_MEM_INVALID, self.on_stray)

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.engine.mem_read(address, size))

    def go(self, seconds: float) -> None:
        self.until = self.executed + int(seconds * self.mips * 1e6)
        while self.executed < self.until:
            try:
                self.engine.emu_start(self.pc | 1, 0xFFFFFFFE)
            except Exception as problem:  # whatever unicorn finds wrong
                self.monitor.info(f"[ERROR] cpu: CPU abort [PC=0x{self.pc:x}]: {problem}")
                time.sleep(1000)

    def on_block(self, engine: Any, address: int, size: int, data: object) -> None:
        self.pc = address
        if self.executed >= self.until:
            engine.emu_stop()
            return
        if address in self.monitor.hooks:
            self.monitor.info("[INFO] cpu: " + self.monitor.hooks[address].format(self.executed))
        self.executed += self.instructions(address, size)

    def instructions(self, address: int, size: int) -> int:
        if (address, size) not in self.sizes:
            self.sizes[address, size] = sum(1 for _ in self.halfwords(self.read(address, size)))
        return self.sizes[address, size]

    def on_stray(self, engine: Any, kind: int, address: int, size: int, value: int, data: object) -> bool:
        place = f"[cpu: 0x{self.pc:X}] WriteDoubleWord to non existing peripheral at 0x{address:X}, value 0x{value:X}."
        self.monitor.info(f"[WARNING] sysbus: {place}")
        return False


MEMORY = re.compile(r"^\w+: Memory\.MappedMemory @ sysbus 0x(\w+) \{ size: 0x(\w+) \}$", re.MULTILINE)

if __name__ == "__main__":
    main()
