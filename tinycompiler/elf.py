"""What an ELF file holds, and how much of the board's memory it takes.

The verdict "it fits" is taken here, on the linked file and nothing else. A program that is too large still links (the
linker script gives it a window larger than the part), so that `memory` can say by how many bytes.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from tinycompiler.board import Board, Region

WINDOW = 64 * 1024 * 1024  # bytes that the linker may use in either region, however small the part is
VECTORS = ".tc_vectors"  # the section of test inputs, which the product does not carry
STACK = ".stack"


@dataclass(frozen=True)
class Symbol:
    """A function or an object; `address` without the Thumb bit, `size` in bytes."""

    name: str
    address: int
    size: int
    kind: str  # "func" or "object"


@dataclass(frozen=True)
class Section:
    """A section that takes memory: bytes at `load_address` in flash, seen by the program at `address`."""

    name: str
    address: int
    load_address: int
    size: int
    in_flash: bool  # has bytes in the image
    in_ram: bool  # lives in RAM when the program runs


@dataclass(frozen=True)
class Segment:
    """Bytes that a loader writes to a physical address."""

    address: int
    data: bytes


@dataclass(frozen=True)
class Contents:
    """An ELF file, read."""

    entry: int  # with the Thumb bit
    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]


@dataclass(frozen=True)
class RegionUse:
    """Bytes of one region; `capacity` is its size less what the board reserves."""

    name: str
    kind: str
    used: int
    capacity: int


@dataclass(frozen=True)
class FlashUse:
    """Bytes of flash, linked. `used` = `weights` + `tables` + `code`; the test inputs `vectors` come on top."""

    used: int
    capacity: int
    weights: int
    tables: int
    code: int  # the rest: instructions, the interrupt table, initial data, gaps for alignment
    vectors: int


@dataclass(frozen=True)
class RamUse:
    """Bytes of RAM, linked. `used` = `arena` + `state` + `static` + `stack`."""

    used: int
    capacity: int
    arena: int
    state: int
    static: int  # the rest of .data and .bss, gaps for alignment included
    stack: int  # the worst case, see build.py


@dataclass(frozen=True)
class Memory:
    """The verdict. All in bytes, from the linked ELF."""

    regions: tuple[RegionUse, ...]
    flash: FlashUse
    ram: RamUse

    @property
    def fits(self) -> bool:
        """Whether the product, without the test inputs, fits into every region."""
        return all(region.used <= region.capacity for region in self.regions)

    @property
    def spare_flash(self) -> int:
        """Bytes of flash left for test inputs; 0 when it does not fit."""
        return max(0, self.flash.capacity - self.flash.used)

    @property
    def vectors_fit(self) -> bool:
        """Whether the test inputs fit beside the product; when not, run fewer at a time."""
        return self.fits and self.flash.vectors <= self.spare_flash


def read(image: bytes, board: Board) -> Contents:
    """Read a linked ELF file."""
    elf = ELFFile(io.BytesIO(image))
    segments = tuple(
        Segment(segment["p_paddr"], segment.data())
        for segment in elf.iter_segments()
        if segment["p_type"] == "PT_LOAD" and segment["p_filesz"] > 0
    )
    return Contents(elf.header["e_entry"], segments, _sections(elf, board), _symbols(elf))


def _sections(elf: ELFFile, board: Board) -> tuple[Section, ...]:
    loads = [segment for segment in elf.iter_segments() if segment["p_type"] == "PT_LOAD"]
    found = []
    for section in elf.iter_sections():
        if not section["sh_flags"] & SH_FLAGS.SHF_ALLOC or section["sh_size"] == 0:
            continue
        has_bytes = section["sh_type"] != "SHT_NOBITS"
        load = next((s for s in loads if has_bytes and s.section_in_segment(section)), None)
        shift = 0 if load is None else load["p_paddr"] - load["p_vaddr"]
        address: int = section["sh_addr"]
        in_ram = _within(address, board.ram)
        found.append(Section(section.name, address, address + shift, section["sh_size"], has_bytes, in_ram))
    return tuple(sorted(found, key=lambda section: section.address))


def _within(address: int, region: Region) -> bool:
    return region.address <= address < region.address + WINDOW


def _symbols(elf: ELFFile) -> tuple[Symbol, ...]:
    kinds = {"STT_FUNC": "func", "STT_OBJECT": "object"}
    table = elf.get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    found = []
    for symbol in table.iter_symbols():
        kind = kinds.get(symbol["st_info"]["type"])
        if kind is not None and symbol["st_shndx"] != "SHN_UNDEF":
            address = symbol["st_value"] & ~1 if kind == "func" else symbol["st_value"]
            found.append(Symbol(symbol.name, address, symbol["st_size"], kind))
    return tuple(sorted(found, key=lambda symbol: (symbol.address, symbol.name)))


def memory(contents: Contents, board: Board, *, prefix: str) -> Memory:
    """Count the bytes of each region. `prefix` is that of the model's symbols, "tc_<name>_"."""
    flash = _flash(contents, board, prefix)
    ram = _ram(contents, board, prefix)
    used = {board.flash.name: flash.used, board.ram.name: ram.used}
    reserved = {board.flash.name: board.reserve_flash, board.ram.name: board.reserve_ram}
    regions = tuple(
        RegionUse(r.name, r.kind, used.get(r.name, 0), r.size - reserved.get(r.name, 0)) for r in board.regions
    )
    return Memory(regions, flash, ram)


def _flash(contents: Contents, board: Board, prefix: str) -> FlashUse:
    loaded = [section for section in contents.sections if section.in_flash]
    product = [section for section in loaded if section.name != VECTORS]
    used = max((section.load_address + section.size for section in product), default=board.flash.address)
    used -= board.flash.address
    constants = [symbol for symbol in contents.symbols if _within(symbol.address, board.flash)]
    weights = _sizes(constants, f"{prefix}w_")
    tables = _sizes(constants, f"{prefix}t_")
    return FlashUse(
        used=used,
        capacity=board.flash.size - board.reserve_flash,
        weights=weights,
        tables=tables,
        code=used - weights - tables,
        vectors=sum(section.size for section in loaded if section.name == VECTORS),
    )


def _ram(contents: Contents, board: Board, prefix: str) -> RamUse:
    living = [section for section in contents.sections if section.in_ram]
    used = max((section.address + section.size for section in living), default=board.ram.address) - board.ram.address
    variables = [symbol for symbol in contents.symbols if _within(symbol.address, board.ram)]
    arena = _sizes(variables, f"{prefix}arena")
    state = _sizes(variables, f"{prefix}state")
    stack = sum(section.size for section in living if section.name == STACK)
    return RamUse(
        used=used,
        capacity=board.ram.size - board.reserve_ram,
        arena=arena,
        state=state,
        static=used - arena - state - stack,
        stack=stack,
    )


def _sizes(symbols: Iterable[Symbol], prefix: str) -> int:
    return sum(s.size for s in symbols if s.kind == "object" and s.name.startswith(prefix))
