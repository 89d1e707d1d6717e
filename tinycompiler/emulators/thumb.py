"""Thumb instructions, read as far as counting needs: how long, what kind, and what the core must have.

Source: Armv7-M Architecture Reference Manual (DDI 0403E), chapter A5, The Thumb instruction set encoding. Not a
disassembler: operands are read only where the cycle estimate asks (address registers of single loads and stores, the
register that is written, the number of registers of a multiple transfer). Undefined encodings come out as something
harmless: the emulator has refused them already. A test compares this file with objdump on the C library's code.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

PC, SP = 15, 13


@dataclass(frozen=True)
class Instruction:
    """One instruction: `kind` is a row of the cost tables."""

    kind: str
    count: int = 1  # registers of a multiple transfer, words of a floating-point one
    jump: str = ""  # where the new pc comes from: "direct", "call", "register", "memory"; "" when it goes on
    address: tuple[int, ...] = ()  # registers that a single load or store computes its address from
    writes: int | None = None  # register that gets the result


def size(first: int) -> int:
    """Bytes of the instruction whose first half-word is `first`."""
    return 4 if first >> 11 in (0b11101, 0b11110, 0b11111) else 2


def halfwords(code: bytes) -> Iterator[tuple[int, int]]:
    """(first, second) of each instruction in `code`; second is 0 for a short one."""
    offset = 0
    while offset < len(code):
        first = int.from_bytes(code[offset : offset + 2], "little")
        second = int.from_bytes(code[offset + 2 : offset + 4], "little") if size(first) == 4 else 0
        offset += size(first)
        yield first, second
    assert offset == len(code), "a block ends inside an instruction"


def decode(first: int, second: int) -> Instruction:
    """What kind of instruction it is."""
    if size(first) == 2:
        return next(make(first) for mask, value, make in _NARROW if first & mask == value)
    both = first << 16 | second
    return next(make(both) for mask, value, make in _WIDE if both & mask == value)


def needs(first: int, second: int) -> str:
    """What the core must have: "mainline" (Armv7-M and more), "dsp", "float", or "" for any Cortex-M.

    Only what the emulator lets pass on smaller cores: it refuses 32-bit instructions on Armv6-M by itself.
    """
    if size(first) == 2:
        compare_and_branch = first & 0xF500 == 0xB100
        if_then = first & 0xFF00 == 0xBF00 and first & 15 != 0
        return "mainline" if compare_and_branch or if_then else ""
    both = first << 16 | second
    if both & 0xEC000E00 == 0xEC000A00:
        return "float"
    matches = (row for row in _DSP if both & row[0] == row[1] and both & row[2] != row[3])
    return "dsp" if any(True for _ in matches) else ""


# 16 bits: mask, value, what it is; the first row that matches


def _kind(name: str, *, jump: str = "") -> Callable[[int], Instruction]:
    found = Instruction(name, jump=jump)
    return lambda word: found


def _writing(name: str, shift: int, *, bits: int = 7) -> Callable[[int], Instruction]:
    return lambda word: Instruction(name, writes=word >> shift & bits)


def _transfer(base: int, register: int) -> Callable[[int], Instruction]:
    """A single transfer with bit 11 set for a load; base and data register stand at those bits."""

    def make(word: int) -> Instruction:
        address = (word >> base & 7,) if base else (SP,)
        if word >> 11 & 1:
            return Instruction("load", address=address, writes=word >> register & 7)
        return Instruction("store", address=address)

    return make


def _register_offset(word: int) -> Instruction:
    address = (word >> 3 & 7, word >> 6 & 7)
    if word >> 9 & 7 >= 3:  # LDRSB stands among the stores
        return Instruction("load", address=address, writes=word & 7)
    return Instruction("store_register", address=address)


def _high(word: int) -> Instruction:
    register = word >> 4 & 8 | word & 7
    return Instruction("alu", jump="register" if register == PC else "", writes=register)


def _pop(word: int) -> Instruction:
    return Instruction("multiple", count=(word & 0x1FF).bit_count(), jump="memory" if word & 0x100 else "")


def _list(bits: int) -> Callable[[int], Instruction]:
    return lambda word: Instruction("multiple", count=(word & bits).bit_count())


_NARROW: tuple[tuple[int, int, Callable[[int], Instruction]], ...] = (
    (0xF800, 0x2800, _kind("alu")),  # CMP immediate
    (0xE000, 0x2000, _writing("alu", 8)),  # MOV, ADD, SUB 8-bit immediate
    (0xE000, 0x0000, _writing("alu", 0)),  # shifts, ADD, SUB three operands
    (0xFFC0, 0x4200, _kind("alu")),  # TST
    (0xFF80, 0x4280, _kind("alu")),  # CMP, CMN
    (0xFFC0, 0x4340, _writing("multiply", 0)),
    (0xFC00, 0x4000, _writing("alu", 0)),  # data processing
    (0xFF00, 0x4500, _kind("alu")),  # CMP high registers
    (0xFF00, 0x4700, _kind("alu", jump="register")),  # BX, BLX
    (0xFC00, 0x4400, _high),  # ADD, MOV high registers
    (0xF800, 0x4800, _writing("load", 8)),  # literal
    (0xF000, 0x5000, _register_offset),
    (0xF000, 0x9000, _transfer(0, 8)),  # relative to SP
    (0xE000, 0x6000, _transfer(3, 0)),
    (0xF000, 0x8000, _transfer(3, 0)),
    (0xF000, 0xA000, _writing("alu", 8)),  # ADR, ADD SP
    (0xFF00, 0xB000, lambda word: Instruction("alu", writes=SP)),
    (0xF500, 0xB100, _kind("alu", jump="direct")),  # CBZ, CBNZ
    (0xFE00, 0xB400, _list(0x1FF)),  # PUSH
    (0xFE00, 0xBC00, _pop),
    (0xFF00, 0xB600, _kind("system")),  # CPS
    (0xF700, 0xB200, _writing("alu", 0)),  # SXTH ... UXTB, REV
    (0xF000, 0xB000, _kind("alu")),  # IT, hints, BKPT
    (0xF000, 0xC000, _list(0xFF)),  # STM, LDM
    (0xFE00, 0xDE00, _kind("alu")),  # UDF, SVC
    (0xF000, 0xD000, _kind("alu", jump="direct")),
    (0xF800, 0xE000, _kind("alu", jump="direct")),
)


# 32 bits: both half-words, the first one above


def _load_multiple(word: int) -> Instruction:
    to_pc = word >> 20 & 1 and word >> PC & 1
    return Instruction("multiple", count=(word & 0xFFFF).bit_count(), jump="memory" if to_pc else "")


def _wide_transfer(word: int) -> Instruction:
    base, register = word >> 16 & 15, word >> 12 & 15
    by_register = word & 0x00800800 == 0 and base != PC
    address = (base, word & 15) if by_register else () if base == PC else (base,)
    if not word >> 20 & 1:
        return Instruction("store_register" if by_register else "store", address=address)
    if register != PC:
        return Instruction("load", address=address, writes=register)
    of_word = word & 0x00600000 == 0x00400000
    return Instruction("load", address=address, jump="memory") if of_word else Instruction("alu")  # PLD, PLI


def _float_multiple(word: int) -> Instruction:
    return Instruction("multiple", count=word & 0xFF)


def _float_single(word: int) -> Instruction:
    return Instruction("multiple", count=2 if word & 0x100 else 1)  # 2 or 3 cycles: as a multiple transfer of its words


_WIDE: tuple[tuple[int, int, Callable[[int], Instruction]], ...] = (
    (0xFFF0FFE0, 0xE8D0F000, _kind("table", jump="memory")),  # TBB, TBH
    (0xFFE00000, 0xE8400000, _kind("exclusive")),  # LDREX, STREX (and TT, Armv8-M)
    (0xFFE00000, 0xE8C00000, _kind("exclusive")),  # LDREXB ..., LDA, STL
    (0xFE400000, 0xE8000000, _load_multiple),
    (0xFE400000, 0xE8400000, lambda word: Instruction("multiple", count=2)),  # LDRD, STRD
    (0xFFE00E00, 0xEC400A00, lambda word: Instruction("float", count=2)),  # VMOV of two registers
    (0xFF200E00, 0xED000A00, _float_single),  # VLDR, VSTR
    (0xFE000E00, 0xEC000A00, _float_multiple),  # VLDM, VSTM, VPUSH, VPOP
    (0xFF000E10, 0xEE000A10, _kind("float")),  # moves between the core and the FPU
    (0xFFB00E10, 0xEE800A00, _kind("float_divide")),
    (0xFFBF0ED0, 0xEEB10AC0, _kind("float_divide")),  # VSQRT
    (0xFFA00E10, 0xEE000A00, _kind("float_accumulate")),  # VMLA, VMLS, VNMLA, VNMLS
    (0xFFB00E10, 0xEE900A00, _kind("float_accumulate")),  # VFNMA, VFNMS
    (0xFFB00E10, 0xEEA00A00, _kind("float_accumulate")),  # VFMA, VFMS
    (0xEC000000, 0xEC000000, _kind("float")),
    (0xFE000000, 0xEA000000, _writing("alu", 8, bits=15)),  # data processing, shifted register
    (0xFFE0D000, 0xF3808000, _kind("system")),  # MSR
    (0xFFF0D000, 0xF3A08000, _kind("alu")),  # hints
    (0xFFF0D000, 0xF3B08000, _kind("barrier")),
    (0xFFE0D000, 0xF3E08000, _kind("system")),  # MRS
    (0xF800D000, 0xF000D000, _kind("alu", jump="call")),
    (0xF8008000, 0xF0008000, _kind("alu", jump="direct")),
    (0xF8008000, 0xF0000000, _writing("alu", 8, bits=15)),  # data processing, immediate
    (0xFE000000, 0xF8000000, _wide_transfer),
    (0xFFD000F0, 0xFB9000F0, _writing("divide", 8, bits=15)),
    (0xFFF0F0F0, 0xFB00F000, _writing("multiply", 8, bits=15)),
    (0xFF800000, 0xFB000000, _writing("multiply_accumulate", 8, bits=15)),
    (0xFFD000F0, 0xFB800000, _writing("long_multiply", 8, bits=15)),
    (0xFF800000, 0xFB800000, _writing("long_accumulate", 8, bits=15)),
    (0xFE000000, 0xFA000000, _writing("alu", 8, bits=15)),  # register shifts, extensions, parallel arithmetic, CLZ
    (0x00000000, 0x00000000, _kind("alu")),
)


# The DSP extension (A5.3 throughout): mask, value, and mask, value of what is not in it

_NEVER = (0, 1)
_DSP: tuple[tuple[int, int, int, int], ...] = (
    (0xFFE00000, 0xEAC00000, *_NEVER),  # PKHBT, PKHTB
    (0xFF70F0C0, 0xF3200000, *_NEVER),  # SSAT16, USAT16: SSAT, USAT with a shift by ASR 0
    (0xFF80F080, 0xFA80F000, *_NEVER),  # parallel addition and subtraction
    (0xFFD0F0C0, 0xFA80F080, *_NEVER),  # QADD, QSUB, QDADD, QDSUB, SEL
    (0xFFE0F080, 0xFA20F080, *_NEVER),  # SXTB16, UXTB16, SXTAB16, UXTAB16
    (0xFF80F080, 0xFA00F080, 0x000F0000, 0x000F0000),  # SXTAB, SXTAH, UXTAB, UXTAH; without an addend: in every core
    (0xFF800000, 0xFB000000, 0x00700000, 0x00000000),  # SMLABB, SMLAD, SMMLA, USAD8 ...; not MUL, MLA, MLS
    (0xFFF000F0, 0xFBE00060, *_NEVER),  # UMAAL
    (0xFFF000C0, 0xFBC00080, *_NEVER),  # SMLALBB ...
    (0xFFE000E0, 0xFBC000C0, *_NEVER),  # SMLALD, SMLSLD
)
