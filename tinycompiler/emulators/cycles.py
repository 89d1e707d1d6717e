"""An estimate of cycles, from tables that Arm printed. An estimate: no bus contention, no write buffer, no cache.

Sources, all for memory without wait states:
* Cortex-M4 Technical Reference Manual r0p1 (DDI 0439): table 3-1 (instructions), section 3.3.3 (load and store
  timings), table 7-1 (floating point).
* Cortex-M3 Technical Reference Manual r2p1 (DDI 0337), table 3-1: as M4 but for the multiplications.
* Cortex-M0+ Technical Reference Manual r0p1 (DDI 0484), table 3-1, with the single-cycle multiplier.
Arm prints no such table for M7, M33 and M55. They get M4's, and the report calls that rough: M33 and M55 have a short
pipeline like M4's; M7 issues up to two instructions at a time, so M4's cycles are a bound from above for it. Engines
that were timed on both (MLPerf Tiny, closed division, L4R5 and H7A3) took 0.53 to 0.62 of M4's cycles on M7.

Where a table gives a range, this is what is taken:
* P, the pipeline refill of a taken branch, "1 to 3 depending on the alignment and width of the target instruction, and
  whether the processor manages to speculate the address early": 1 for a target in the instruction, 2 for one in a
  register, 3 for one that comes from memory; 1 more, up to 3, for a 32-bit target across a word boundary.
* SDIV, UDIV, 2 to 12 by their operands: 7. M3's long multiplications, 3 to 5 and 4 to 7: 4 and 6.
* A single load or store right behind a single load takes 1 instead of 2 (their phases overlap), unless its address
  needs the loaded value; STR with an immediate offset takes 1; an address that the instruction before computed costs 1
  more.
* IT takes 1 (it is sometimes folded to 0), and so does each instruction in its block, executed or not.

The cost of a block is computed once and multiplied by how often it ran; only the refill belongs to the step from one
block to the next.

What the estimate cannot see, all of which makes a real part slower:
* Words and half-words at addresses that are no multiple of their size: one or two more cycles each on M3 and M4.
* Wait states. `waiting` adds those of jumps, by the board's figure. Constants that are read from flash wait too: with
  W wait states and flash rows of R bytes, about W cycles for every R bytes that stream past a small data cache.

Checked on CMSIS-NN's kernels, which MLPerf Tiny has times of: microTVM calls them for all four networks on an L4R5 (M4,
120 MHz, 5 wait states, small caches; round 1.1, closed division, microtvm_cmsis_nn). The same layers, called one after
the other with invented weights and multipliers (CMSIS-NN of 2026, gcc 12.2 -O2), and counted here, in millions of
cycles:

    network   published          estimated   published /   with `waiting`   published /
                                             estimated                      waiting
    kws        99.8 ms   11.98        9.06          1.32            10.02          1.19
    vww       300.8 ms   36.10       28.84          1.25            32.52          1.11
    ic        389.6 ms   46.75       36.27          1.29            43.08          1.09
    ad          8.61 ms   1.03        0.72          1.43             0.78          1.32

So that part took 1.25 to 1.45 times the estimate; the most for ad, which reads many weights once. TVM's own code, and
its version of CMSIS-NN instead of the one counted here, are in that factor too. The counted instructions agree with
those recorded under QEMU for TFLM with CMSIS-NN within 1 %. For M3 and M0+ there is no such check: no published time of
code that could be run here was found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

from tinycompiler.emulators.thumb import Instruction, decode, halfwords, size

_REFILL_LIMIT = 3


@dataclass(frozen=True)
class CostTable:
    """Cycles by `Instruction.kind`; kinds with a `count` in `per_register` add one for each."""

    name: str  # for people
    source: str
    cycles: Mapping[str, int]
    refill: Mapping[str, int]  # by Instruction.jump, beyond the instruction's own cycle
    overlapping: bool  # the rules of section 3.3.3, and a dearer refill for a misaligned wide target
    rough: str = ""  # why the estimate is rougher than for a core with a table of its own


@dataclass(frozen=True)
class Block:
    """Straight code from one branch target to the next branch."""

    instructions: int
    cycles: int  # when nothing jumps at its end
    jump: str  # how its last instruction jumps, when it does
    misaligned: bool  # it begins with a 32-bit instruction across a word boundary


_M4: Mapping[str, int] = MappingProxyType(
    {
        "alu": 1,
        "multiply": 1,
        "multiply_accumulate": 1,
        "long_multiply": 1,
        "long_accumulate": 1,
        "divide": 7,
        "load": 2,
        "store": 1,
        "store_register": 2,
        "multiple": 1,  # and N
        "exclusive": 2,
        "table": 3,
        "system": 2,
        "barrier": 1,
        "float": 1,  # each; VMOV of two registers counts 2
        "float_accumulate": 3,
        "float_divide": 14,
    }
)
_M3 = MappingProxyType({**_M4, "multiply_accumulate": 2, "long_multiply": 4, "long_accumulate": 6})
_M0PLUS = MappingProxyType({**_M4, "store": 2, "store_register": 2, "system": 3, "barrier": 3})
_REFILL = MappingProxyType({"direct": 1, "call": 1, "register": 2, "memory": 3})


def _like_m4(name: str, why: str) -> CostTable:
    manual = "Cortex-M4 Technical Reference Manual r0p1, table 3-1"
    return CostTable(name, manual, _M4, _REFILL, overlapping=True, rough=why)


COST_TABLES: Mapping[str, CostTable] = MappingProxyType(
    {
        "cortex-m4": CostTable(
            "Cortex-M4", "Technical Reference Manual r0p1, table 3-1", _M4, _REFILL, overlapping=True
        ),
        "cortex-m3": CostTable(
            "Cortex-M3", "Technical Reference Manual r2p1, table 3-1", _M3, _REFILL, overlapping=True
        ),
        "cortex-m0plus": CostTable(
            "Cortex-M0+",
            "Technical Reference Manual r0p1, table 3-1",
            _M0PLUS,
            MappingProxyType({"direct": 1, "call": 2, "register": 1, "memory": 2}),
            overlapping=False,
        ),
        "cortex-m33": _like_m4("Cortex-M33", "Arm prints none for Cortex-M33"),
        "cortex-m55": _like_m4("Cortex-M55", "Arm prints none for Cortex-M55"),
        "cortex-m7": _like_m4(
            "Cortex-M7", "Arm prints none for Cortex-M7, which issues two instructions at a time: a bound from above"
        ),
    }
)


def source(table: CostTable) -> str:
    """Where the figures come from, in the words that go into a report."""
    if table.rough:
        return f"estimated, roughly, with Cortex-M4's cost table ({table.source}), no wait states; {table.rough}"
    return f"estimated, {table.name} cost table ({table.source}), no wait states"


def waiting(cycles: int, jumps: int, wait_states: int) -> int:
    """Cycles with wait states of flash: once for each jump that was taken, as with a prefetch buffer that keeps up with
    straight code, and no cache. A cache that holds the loops makes it `cycles` again.
    """
    return cycles + jumps * wait_states


def block(code: bytes, address: int, table: CostTable) -> Block:
    """The cost of `code`, the instructions of one block at `address`."""
    words = list(halfwords(code))
    instructions = [decode(first, second) for first, second in words]
    cycles = sum(_own(instruction, table) for instruction in instructions)
    if table.overlapping:
        pairs = pairwise(instructions)
        cycles += sum(_interaction(before, after) for before, after in pairs)
    misaligned = address % 4 != 0 and size(words[0][0]) == 4
    return Block(len(words), cycles, instructions[-1].jump, misaligned)


def refill(before: Block, after: Block, table: CostTable) -> int:
    """Cycles until the pipeline runs again when the flow jumps from `before` to `after`."""
    cycles = table.refill.get(before.jump, 0)
    if table.overlapping and after.misaligned:
        cycles = min(cycles + 1, _REFILL_LIMIT)
    return cycles


def _own(instruction: Instruction, table: CostTable) -> int:
    cycles = table.cycles[instruction.kind]
    if instruction.kind == "multiple":
        return cycles + instruction.count
    return cycles * instruction.count


def _interaction(before: Instruction, after: Instruction) -> int:
    """What section 3.3.3 adds to, or takes from, a single load or store for the instruction before it."""
    if after.kind not in ("load", "store", "store_register"):
        return 0
    depends = before.writes in after.address
    if before.kind == "load":
        return 0 if depends or after.kind == "store" else -1
    return 1 if depends else 0
