"""A board: its core, its memory regions, its console and what the program must leave free.

A board is data: one TOML file in `boards/`, each number with the document it comes from. `load` reads one, checks every
key and refuses what it does not know, because a misspelt key would otherwise silently keep a default.

Decisions:
* The regions are what the linker and the emulator get, exactly; a part's aliases and its peripherals are not regions.
* `Board.clock_hz` is the part's highest core clock: reports use it to turn cycles into milliseconds. The verify
  firmware itself leaves the clock tree as reset leaves it (correct bytes need no speed, and a PLL is one more thing
  that an emulator would have to model); `Console.clock_hz` is the clock that the UART really gets then.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tinycompiler.errors import BoardError
from tinycompiler.resources import folder


@dataclass(frozen=True)
class Core:
    """A processor core as the compiler, the kernels and the emulator see it."""

    name: str
    isa: str  # "scalar" or "dsp": the folder of inner loops
    flags: tuple[str, ...]  # for gcc
    unicorn_model: str  # UC_CPU_ARM_<this>
    cost_table: str  # the core whose cycle table applies
    exception_frame: int  # bytes that the core pushes when an exception is taken, alignment word included

    @property
    def has_fpu(self) -> bool:
        """Whether code for it computes in single precision by instructions; double precision is software on all."""
        return any(flag.startswith("-mfpu=") for flag in self.flags)


def _core(cpu: str, isa: str, *, fpu: str | None = None) -> Core:
    """The frame: 8 words, 26 with the FPU's (Armv7-M ARM B1.5.7, Armv8-M ARM B3.19), and one to align SP to 8 bytes."""
    flags = (f"-mcpu={cpu}", "-mthumb", *((f"-mfpu={fpu}", "-mfloat-abi=hard") if fpu else ()))
    return Core(
        name=f"{cpu}f" if fpu else cpu,
        isa=isa,
        flags=flags,
        unicorn_model=cpu.removesuffix("plus").replace("-", "_").upper(),  # an M0 executes what an M0+ does
        cost_table=cpu,
        exception_frame=(104 if fpu else 32) + 4,
    )


# Both M7 parts here share one entry with a single-precision FPU: the F746 has no double, and integer kernels need none.
CORES: Mapping[str, Core] = MappingProxyType(
    {
        "cortex-m0plus": _core("cortex-m0plus", "scalar"),
        "cortex-m3": _core("cortex-m3", "scalar"),
        "cortex-m4f": _core("cortex-m4", "dsp", fpu="fpv4-sp-d16"),
        "cortex-m7f": _core("cortex-m7", "dsp", fpu="fpv5-sp-d16"),
        "cortex-m33f": _core("cortex-m33", "dsp", fpu="fpv5-sp-d16"),
    }
)


@dataclass(frozen=True)
class Region:
    """A piece of memory that programs may use: `size` bytes from `address`."""

    name: str
    kind: str  # "flash" or "ram"
    address: int
    size: int
    source: str
    default: bool  # where code and weights (flash), or data, arena and stack (ram) go

    @property
    def end(self) -> int:
        """The first address behind the region."""
        return self.address + self.size


@dataclass(frozen=True)
class Console:
    """The UART that a user sees, and the driver `firmware/console_<driver>.c` for it."""

    driver: str
    address: int
    clock_hz: int  # of the UART, with the clock tree as reset (or the driver) leaves it
    baud: int
    settings: Mapping[str, int]  # `name = 1` becomes the driver's macro CONSOLE_NAME
    source: str


@dataclass(frozen=True)
class Renode:
    """How Renode names this board's parts (class names of its platform descriptions)."""

    cpu: str
    uart: str
    uart_name: str
    uart_options: tuple[str, ...]  # lines of the UART's entry, e.g. "easyDMA: true"
    stock: str | None  # a platform file that Renode itself ships and that has this UART
    frequency: int  # Hz; also its PerformanceInMips


@dataclass(frozen=True)
class Board:
    """One board. Sizes in bytes."""

    name: str
    title: str
    mcu: str
    core: Core
    clock_hz: int
    flash_wait_states: int  # at clock_hz
    regions: tuple[Region, ...]
    console: Console
    renode: Renode | None
    boot: str | None  # `firmware/<boot>.S`, 256 bytes in front of the vector table
    reserve_flash: int  # left to the application
    reserve_ram: int  # left to the application
    reserve_stack: int  # for the frames of the application's interrupt handlers
    source: str

    @property
    def flash(self) -> Region:
        """Where code and weights go."""
        return self._default("flash")

    @property
    def ram(self) -> Region:
        """Where data, arena and stack go."""
        return self._default("ram")

    def _default(self, kind: str) -> Region:
        return next(region for region in self.regions if region.kind == kind and region.default)


def names() -> tuple[str, ...]:
    """The boards that come with tinycompiler, sorted."""
    return tuple(sorted(path.stem for path in folder("boards").glob("*.toml")))


def load(name_or_path: str) -> Board:
    """The board of that name, or the one described by that TOML file.

    Raises BoardError for an unknown name, an unreadable file, and any key that is missing, unknown or wrong.
    """
    path = _find(name_or_path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise BoardError(f"board {name_or_path}: cannot read it as TOML: {problem}") from None
    return _board(path.stem, _Table(f"board {name_or_path}", table))


def _find(name_or_path: str) -> Path:
    if name_or_path in names():
        return folder("boards") / f"{name_or_path}.toml"
    if name_or_path.endswith(".toml") or "/" in name_or_path:
        path = Path(name_or_path)
        if os.path.isfile(path):  # unlike Path.is_file, False for names that the system refuses
            return path
        raise BoardError(f"board file {name_or_path} does not exist")
    known = ", ".join(names())
    raise BoardError(f"unknown board {name_or_path!r}; known are {known}; or give the path of a TOML file")


class _Table:
    """A TOML table that knows its place, and which of its keys nobody asked for."""

    def __init__(self, place: str, values: dict[str, Any]) -> None:
        self.place = place
        self._values = dict(values)

    def take(self, key: str, kind: type, wanted: str) -> Any:
        if key not in self._values:
            raise BoardError(f"{self.place}: key {key!r} is missing; wanted {wanted}")
        value = self._values.pop(key)
        if type(value) is not kind:  # not isinstance: a TOML true is not a size
            raise BoardError(f"{self.place}: {key} is {value!r}; wanted {wanted}")
        return value

    def text(self, key: str, among: Mapping[str, object] | tuple[str, ...] = ()) -> str:
        value: str = self.take(key, str, "a text")
        if not value or (among and value not in among):
            wanted = ", ".join(among) if among else "a text that is not empty"
            raise BoardError(f"{self.place}: {key} is {value!r}; wanted one of: {wanted}")
        return value

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if key in self._values else None

    def number(self, key: str, *, least: int = 0) -> int:
        value: int = self.take(key, int, "a whole number")
        if not least <= value < 2**32:
            raise BoardError(f"{self.place}: {key} is {value}; wanted {least} to 2^32 - 1")
        return value

    def table(self, key: str) -> "_Table":
        return _Table(f"{self.place}, [{key}]", self.take(key, dict, "a table"))

    def has(self, key: str) -> bool:
        return key in self._values

    def left(self) -> tuple[str, ...]:
        return tuple(self._values)

    def finish(self) -> None:
        if self._values:
            raise BoardError(
                f"{self.place}: unknown key {sorted(self._values)[0]!r}; remove it or correct its spelling"
            )


def _board(name: str, table: _Table) -> Board:
    reserve = table.table("reserve")
    board = Board(
        name=name,
        title=table.text("title"),
        mcu=table.text("mcu"),
        core=CORES[table.text("core", among=CORES)],
        clock_hz=table.number("clock_hz", least=1),
        flash_wait_states=table.number("flash_wait_states"),
        regions=_regions(table),
        console=_console(table.table("console")),
        renode=_renode(table.table("renode")) if table.has("renode") else None,
        boot=table.optional_text("boot"),
        reserve_flash=reserve.number("flash"),
        reserve_ram=reserve.number("ram"),
        reserve_stack=reserve.number("stack"),
        source=table.text("source"),
    )
    reserve.finish()
    table.finish()
    _check_files(table.place, board)
    return board


def _regions(table: _Table) -> tuple[Region, ...]:
    entries = table.take("region", list, "one or more [[region]] tables")
    regions = tuple(_region(f"{table.place}, [[region]] {index}", entry) for index, entry in enumerate(entries))
    for kind in ("flash", "ram"):
        count = sum(region.kind == kind and region.default for region in regions)
        if count != 1:
            raise BoardError(f"{table.place}: {count} {kind} regions have default = true; wanted exactly one")
    ordered = sorted(regions, key=lambda region: region.address)
    for low, high in pairwise(ordered):
        if low.end > high.address:
            raise BoardError(f"{table.place}: regions {low.name} and {high.name} overlap; correct address or size")
    return regions


def _region(place: str, entry: object) -> Region:
    if not isinstance(entry, dict):
        raise BoardError(f"{place}: is {entry!r}; wanted a table")
    table = _Table(place, entry)
    region = Region(
        name=table.text("name"),
        kind=table.text("kind", among=("flash", "ram")),
        address=table.number("address"),
        size=table.number("size", least=1),
        source=table.text("source"),
        default=table.take("default", bool, "true or false"),
    )
    table.finish()
    if region.end > 2**32:
        raise BoardError(f"{place}: region {region.name} ends behind 2^32; correct address or size")
    return region


def _console(table: _Table) -> Console:
    settings = table.table("settings")
    console = Console(
        driver=table.text("driver"),
        address=table.number("address"),
        clock_hz=table.number("clock_hz", least=1),
        baud=table.number("baud", least=1),
        settings=MappingProxyType({key: settings.number(key) for key in settings.left()}),
        source=table.text("source"),
    )
    table.finish()
    for key in console.settings:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", key):
            raise BoardError(
                f"{settings.place}: {key!r} cannot become a macro; wanted lower case letters, digits and _"
            )
    return console


def _renode(table: _Table) -> Renode:
    options = table.take("uart_options", list, "a list of texts")
    if not all(isinstance(option, str) for option in options):
        raise BoardError(f"{table.place}: uart_options is {options!r}; wanted a list of texts")
    renode = Renode(
        cpu=table.text("cpu"),
        uart=table.text("uart"),
        uart_name=table.text("uart_name"),
        uart_options=tuple(options),
        stock=table.optional_text("stock"),
        frequency=table.number("frequency", least=1),
    )
    table.finish()
    return renode


def _check_files(place: str, board: Board) -> None:
    firmware = folder("firmware")
    if not (firmware / f"console_{board.console.driver}.c").is_file():
        known = sorted(path.stem.removeprefix("console_") for path in firmware.glob("console_*.c"))
        raise BoardError(f"{place}: no console driver {board.console.driver!r}; known are {', '.join(known)}")
    if board.boot is not None and not (firmware / f"{board.boot}.S").is_file():
        raise BoardError(f"{place}: boot is {board.boot!r}, but there is no firmware/{board.boot}.S")
