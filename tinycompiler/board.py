"""A board: its core, its memory regions, its console and what the program must leave free.

A board is data: one TOML file in `boards/`, each number with the document it comes from. `load` reads one, checks every
key and refuses what it does not know, because a misspelt key would otherwise silently keep a default.

Decisions:
* The regions are what the linker and the emulator get, exactly; a part's aliases and its peripherals are not regions.
  Pieces of RAM that lie one behind another and have their clock after reset are one region: a tensor may cross them.
* `Region.speed` is a rank, not a number of cycles: it says in which order regions are filled, and datasheets give no
  more that holds for every access. All that is wrong with the regions is told at once; of other keys, the first.
* `Board.clock_hz` is the part's highest core clock: reports use it to turn cycles into milliseconds. The verify
  firmware itself leaves the clock tree as reset leaves it (correct bytes need no speed, and a PLL is one more thing
  that an emulator would have to model); `Console.clock_hz` is the clock that the UART really gets then.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from types import MappingProxyType

from tinycompiler.errors import BoardError
from tinycompiler.resources import folder
from tinycompiler.toml_table import Table


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


def _core(cpu: str, isa: str, *, fpu: str | None = None, code_of: str | None = None, without: str = "") -> Core:
    """The frame: 8 words, 26 with the FPU's (Armv7-M ARM B1.5.7, Armv8-M ARM B3.19), and one to align SP to 8 bytes."""
    compiled = code_of or cpu  # the core whose code is run, when its own has instructions that not every emulator knows
    missing = f"+no{without}" if without else ""
    flags = (f"-mcpu={compiled}{missing}", "-mthumb", *((f"-mfpu={fpu}", "-mfloat-abi=hard") if fpu else ()))
    return Core(
        name=f"{cpu}f" if fpu else f"{cpu}{missing.replace('+', '-')}",
        isa=isa,
        flags=flags,
        unicorn_model=compiled.removesuffix("plus").replace("-", "_").upper(),  # an M0 executes what an M0+ does
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
        "cortex-m33-nodsp": _core("cortex-m33", "scalar", without="dsp"),
        "cortex-m33f": _core("cortex-m33", "dsp", fpu="fpv5-sp-d16"),
        # Without Helium, and without the loop instructions of Armv8.1-M.
        "cortex-m55f": _core("cortex-m55", "dsp", fpu="fpv5-sp-d16", code_of="cortex-m33"),
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
    default: bool  # where code and weights (flash), or data and stack (ram) go
    speed: int = 1  # rank, 1 is the fastest: what is planned goes there first
    clock_register: int | None = None  # where start-up sets `clock_mask`, for RAM that reset leaves without a clock
    clock_mask: int = 0

    @property
    def first(self) -> int:
        """Where programs may begin to put something: no variable at address 0, which C takes for no object."""
        return 16 if self.kind == "ram" and self.address == 0 else self.address

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
class Qemu:
    """QEMU's machine of this board: the same core, console and regions."""

    machine: str


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
    stack_region: str | None = None  # None: the default one
    qemu: Qemu | None = None

    @property
    def flash(self) -> Region:
        """Where code and weights go."""
        return next(region for region in self.regions if region.kind == "flash" and region.default)

    @property
    def ram(self) -> Region:
        """Where data goes, and what is not placed elsewhere."""
        return next(region for region in self.regions if region.kind == "ram" and region.default)

    @property
    def stack(self) -> Region:
        """Where the stack goes."""
        return self.ram if self.stack_region is None else self.region(self.stack_region)

    @property
    def rams(self) -> tuple[Region, ...]:
        """RAM in order of preference: the fastest first, of these the default one, then the largest."""
        rams = [region for region in self.regions if region.kind == "ram"]
        return tuple(sorted(rams, key=lambda r: (r.speed, not r.default, -r.size, r.address)))

    def within(self, flash: int | None, ram: int | None) -> "Board":
        """The same board, of whose default regions the program may take no more bytes than these."""
        reserved = {
            f"reserve_{kind}": max(reserve, region.size - budget)
            for kind, budget, reserve, region in (
                ("flash", flash, self.reserve_flash, self.flash),
                ("ram", ram, self.reserve_ram, self.ram),
            )
            if budget is not None
        }
        return replace(self, **reserved)  # type: ignore[arg-type]

    @property
    def stacks(self) -> tuple[Region, ...]:
        """Where the stack may go: it is needed before start-up has switched anything on."""
        return tuple(region for region in self.rams if region.clock_register is None)

    def region(self, name: str) -> Region:
        return next(region for region in self.regions if region.name == name)

    def capacity(self, region: Region) -> int:
        """Its bytes without what is left to the application."""
        reserved = {self.flash.name: self.reserve_flash, self.ram.name: self.reserve_ram}
        return max(0, region.end - region.first) - reserved.get(region.name, 0)


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
    return _board(path.stem, Table(f"board {name_or_path}", table))


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


def _board(name: str, table: Table) -> Board:
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
        qemu=_qemu(table.table("qemu")) if table.has("qemu") else None,
        boot=table.optional_text("boot"),
        stack_region=table.optional_text("stack_region"),
        reserve_flash=reserve.number("flash"),
        reserve_ram=reserve.number("ram"),
        reserve_stack=reserve.number("stack"),
        source=table.text("source"),
    )
    reserve.finish()
    table.finish()
    if (board.stack_region or board.ram.name) not in (stacks := [region.name for region in board.stacks]):
        raise BoardError(f"{table.place}: stack_region is {board.stack_region!r}; wanted one of: {', '.join(stacks)}")
    _check_files(table.place, board)
    return board


def _regions(table: Table) -> tuple[Region, ...]:
    entries = table.take("region", list, "one or more [[region]] tables")
    regions, problems = [], []
    for index, entry in enumerate(entries):
        try:
            regions.append(_region(f"{table.place}, [[region]] {index}", entry))
        except BoardError as problem:
            problems.append(str(problem))
    problems += [f"{table.place}: {problem}" for problem in _clashes(regions)]
    for kind in () if problems else ("flash", "ram"):
        if (count := sum(region.kind == kind and region.default for region in regions)) != 1:
            problems.append(f"{table.place}: {count} {kind} regions have default = true; wanted exactly one")
    if problems:
        raise BoardError("\n".join(problems))
    return tuple(regions)


def _clashes(regions: Sequence[Region]) -> Iterator[str]:
    """What is wrong between regions. Names become macros and sections, so case does not tell them apart."""
    for one, other in combinations(sorted(regions, key=lambda region: region.address), 2):
        if one.name.lower() == other.name.lower():
            yield f"two regions are called {one.name}; rename one"
        if other.address < one.end:
            yield f"regions {one.name} and {other.name} overlap; correct address or size"


def _region(place: str, entry: object) -> Region:
    if not isinstance(entry, dict):
        raise BoardError(f"{place}: is {entry!r}; wanted a table")
    table = Table(place, entry)
    region = Region(
        name=table.text("name"),
        kind=table.text("kind", among=("flash", "ram")),
        address=table.number("address"),
        size=table.number("size", least=1),
        source=table.text("source"),
        default=table.take("default", bool, "true or false"),
        speed=table.optional_number("speed", least=1) or 1,
        clock_register=table.optional_number("clock_register", least=1),
        clock_mask=table.optional_number("clock_mask", least=1) or 0,
    )
    table.finish()
    if (region.clock_register is None) != (region.clock_mask == 0):
        raise BoardError(f"{place}: clock_register and clock_mask go together; add the other one")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", region.name):
        raise BoardError(f"{place}: {region.name!r} cannot name a section; wanted letters, digits and _")
    if region.end > 2**32:
        raise BoardError(f"{place}: region {region.name} ends behind 2^32; correct address or size")
    return region


def _console(table: Table) -> Console:
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


def _renode(table: Table) -> Renode:
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


def _qemu(table: Table) -> Qemu:
    qemu = Qemu(machine=table.text("machine"))
    table.finish()
    return qemu


def _check_files(place: str, board: Board) -> None:
    firmware = folder("firmware")
    if not (firmware / f"console_{board.console.driver}.c").is_file():
        known = sorted(path.stem.removeprefix("console_") for path in firmware.glob("console_*.c"))
        raise BoardError(f"{place}: no console driver {board.console.driver!r}; known are {', '.join(known)}")
    if board.boot is not None and not (firmware / f"{board.boot}.S").is_file():
        raise BoardError(f"{place}: boot is {board.boot!r}, but there is no firmware/{board.boot}.S")
