"""What an ELF file holds, and how much of the board's memory it takes.

The verdict "it fits" is taken here, on the linked file and nothing else. A program that is too large still links (the
linker script gives it a window larger than the part), so that `memory` can say by how many bytes. Windows of regions
that lie close overlap: whose a section is therefore tells its name, `.ram.<region>` and `.weights.<region>` being those
that the linker script makes for regions other than the default ones.
"""

import io
from collections.abc import Iterable, Sequence
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
    region: str  # where it is when the program runs


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
    weights: int  # those too that start-up copies to RAM
    tables: int
    code: int  # the rest: instructions, the interrupt table, initial data, gaps for alignment
    vectors: int


@dataclass(frozen=True)
class RamUse:
    """Bytes of RAM in all regions together, linked. `used` = `arena` + `state` + `static` + `stack`."""

    used: int
    capacity: int  # of the regions in use
    arena: int
    state: int
    static: int  # the rest of .data and .bss, weights that were placed in RAM, gaps for alignment
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
        """Bytes of flash left for test inputs, in the fullest region in use; 0 when it does not fit."""
        return max(0, min(r.capacity - r.used for r in self.regions if r.kind == "flash" and r.used))

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
        region = _region_of(section.name, board)
        found.append(Section(section.name, address, address + shift, section["sh_size"], has_bytes, region))
    return tuple(sorted(found, key=lambda section: section.address))


def _region_of(section: str, board: Board) -> str:
    _, kind, *region = section.split(".")
    if kind in ("ram", "weights"):
        return region[0]
    if section == STACK:
        return board.stack.name
    return board.ram.name if kind in ("data", "bss") else board.flash.name


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
    used = {region.name: _used(contents, region, board) for region in board.regions}
    regions = tuple(RegionUse(r.name, r.kind, used[r.name], board.capacity(r)) for r in board.regions)
    flash = [r for r in regions if r.kind == "flash" and (r.used or r.name == board.flash.name)]
    ram = [r for r in regions if r.kind == "ram" and (r.used or r.name == board.ram.name)]
    return Memory(regions, _flash(contents, flash, prefix), _ram(contents, ram, prefix))


def _used(contents: Contents, region: Region, board: Board) -> int:
    """Bytes from the region's begin to the end of what lies there; in flash that is what a loader writes there."""
    ends = [s.address + s.size for s in contents.sections if s.region == region.name and s.name != VECTORS]
    if region == board.flash:
        away = {r.name for r in board.regions if r.kind == "flash" and r != region}
        loaded = [s for s in contents.sections if s.in_flash and s.name != VECTORS and s.region not in away]
        ends = [s.load_address + s.size for s in loaded]
    return max(ends, default=region.first) - region.first


def _flash(contents: Contents, regions: Sequence[RegionUse], prefix: str) -> FlashUse:
    used = sum(region.used for region in regions)
    weights, tables = _sizes(contents.symbols, f"{prefix}w_"), _sizes(contents.symbols, f"{prefix}t_")
    return FlashUse(
        used=used,
        capacity=sum(region.capacity for region in regions),
        weights=weights,
        tables=tables,
        code=used - weights - tables,
        vectors=sum(section.size for section in contents.sections if section.name == VECTORS),
    )


def _ram(contents: Contents, regions: Sequence[RegionUse], prefix: str) -> RamUse:
    used = sum(region.used for region in regions)
    arena, state = _sizes(contents.symbols, f"{prefix}arena"), _sizes(contents.symbols, f"{prefix}state")
    stack = sum(section.size for section in contents.sections if section.name == STACK)
    return RamUse(
        used=used,
        capacity=sum(region.capacity for region in regions),
        arena=arena,
        state=state,
        static=used - arena - state - stack,
        stack=stack,
    )


def _sizes(symbols: Iterable[Symbol], prefix: str) -> int:
    return sum(s.size for s in symbols if s.kind == "object" and s.name.startswith(prefix))
