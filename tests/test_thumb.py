"""Thumb decoding against objdump, on the C library's code; cycles against the examples of Arm's manual."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tinycompiler.emulators.cycles import COST_TABLES, block, refill, waiting
from tinycompiler.emulators.cycles import source as cost_source
from tinycompiler.emulators.thumb import decode, needs, size

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="no arm-none-eabi-gcc on PATH"),
]

CONDITION = "(?:eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|al)?"
_DSP = """
pkhbt pkhtb qadd qadd16 qadd8 qasx qdadd qdsub qsax qsub qsub16 qsub8 sadd16 sadd8 sasx sel shadd16
shadd8 shasx shsax shsub16 shsub8 smlabb smlabt smlatb smlatt smlad smladx smlalbb smlalbt smlaltb
smlaltt smlald smlaldx smlawb smlawt smlsd smlsdx smlsld smlsldx smmla smmlar smmls smmlsr smmul
smmulr smuad smuadx smulbb smulbt smultb smultt smulwb smulwt smusd smusdx ssat16 ssax ssub16 ssub8
sxtab sxtab16 sxtah sxtb16 uadd16 uadd8 uasx uhadd16 uhadd8 uhasx uhsax uhsub16 uhsub8 umaal uqadd16
uqadd8 uqasx uqsax uqsub16 uqsub8 usad8 usada8 usat16 usax usub16 usub8 uxtab uxtab16 uxtah uxtb16
"""
DSP = _DSP.split()
DSP_MULTIPLY = "smla[bdtw](?!ll)|smlsd|smm|smu|usad"
KINDS = {  # the rows of the cost tables, by the mnemonics that belong there; everything else is "alu"
    "multiply": "mul|muls",
    "multiply_accumulate": "mla|mls|" + "|".join(name for name in DSP if re.match(DSP_MULTIPLY, name)),
    "long_multiply": "smull|umull",
    "long_accumulate": "smlal|umlal|umaal|smlal[bt][bt]|smlaldx?|smlsldx?",
    "divide": "sdiv|udiv",
    "load": "ldr|ldrb|ldrh|ldrsb|ldrsh",
    "store": "str|strb|strh",
    "multiple": "push|pop|ldmi?a?|ldmdb|stmi?a?|stmdb|ldrd|strd|vldr|vstr|vldmia|vstmia|vldmdb|vstmdb|vpush|vpop",
    "exclusive": "(?:ldr|str)ex[bh]?",
    "table": "tbb|tbh",
    "system": "mrs|msr|cpsi[de]",
    "barrier": "dmb|dsb|isb|clrex",
    "float_accumulate": "vn?ml[as]\\.f..|vfn?m[as]\\.f..",
    "float_divide": "(?:vdiv|vsqrt)\\.f..",
    "float": "v(?!ldr|str|ldm|stm|push|pop|n?ml|fn?m|div|sqrt).*",
}


@dataclass(frozen=True)
class Line:
    first: int
    second: int
    mnemonic: str
    operands: str


def disassembled(*arguments: str) -> list[Line]:
    """What objdump reads in a file. Data among the code (.word, .short) is left out."""
    text = subprocess.run(
        ["arm-none-eabi-objdump", "-d", *arguments], capture_output=True, text=True, check=True
    ).stdout
    pattern = re.compile(
        r"^ *[0-9a-f]+:\t([0-9a-f]{4})(?: ([0-9a-f]{4}))? *\t([a-z][a-z0-9.]*)(?:\t([^;<@\n]*))?", re.M
    )
    return [
        Line(int(first, 16), int(second or "0", 16), mnemonic, operands.strip())
        for first, second, mnemonic, operands in pattern.findall(text)
    ]


def library_code() -> list[Line]:
    flags = ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")
    lines: set[Line] = set()
    for name in ("libgcc.a", "libc.a", "libm.a"):
        asked = ["arm-none-eabi-gcc", *flags, f"-print-file-name={name}"]
        path = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        if not Path(path).is_file():
            pytest.skip(f"the compiler comes without {name}")
        lines |= set(disassembled(path))
    # FSTMX is an old form with a word too many; coprocessors other than the FPU are data that looks like code.
    lines = {line for line in lines if line.first & 0xEC00 != 0xEC00 or line.mnemonic.startswith("v")}
    return sorted(lines, key=lambda line: (line.first, line.second))


def dsp_code(folder: Path) -> list[Line]:
    """Each DSP instruction once, with operands as the assembler wants them."""
    three = "sm(?:uad|usd|mul|ulw?[bt]+)|s?sel|[qsu]h?(?:add|sub)|.*(?:asx|sax)|usad8|pkh|.xta[bh]|uq|uh|sh|q"
    source = [".syntax unified", ".thumb", ".cpu cortex-m4"]
    for name in DSP:
        if name.startswith(("ssat16", "usat16")):
            operands = "r1, #5, r2"
        elif re.fullmatch(".xtb16", name):
            operands = "r1, r2"
        elif re.match("smlal|smlsl|umaal|smla|smls|smmla|smmls|usada8", name):
            operands = "r1, r2, r3, r4"
        else:
            assert re.match(three, name), name
            operands = "r1, r2, r3"
        source.append(f"{name} {operands}")
    source += [
        "sxth r1, r9",
        "uxtb r1, r9, ror #8",
        "rev r1, r9",
        "clz r1, r9",
        "ssat r1, #5, r2",
        "mrs r0, msp",
        "msr msp, r0",
        "cpsid i",
        "ldrex r0, [r1]",
        "strexb r0, r1, [r2]",
        "tbh [r0, r1, lsl #1]",
        "usat r1, #5, r2, asr #3",
    ]
    (folder / "dsp.s").write_text("\n".join(source) + "\n")
    subprocess.run(["arm-none-eabi-as", "-o", str(folder / "dsp.o"), str(folder / "dsp.s")], check=True)
    return disassembled(str(folder / "dsp.o"))


def base(mnemonic: str) -> str:
    """Without width and condition."""
    name = mnemonic.removesuffix(".w").removesuffix(".n")
    if name.startswith("v"):
        stem, _, suffix = name.partition(".")
        known = next((k for k in ("vmls", "vnmls", "vfms") if stem.startswith(k)), None)
        return f"{known or re.sub(f'{CONDITION}$', '', stem)}{'.' + suffix if suffix else ''}"
    for names in ("|".join(DSP), *KINDS.values(), "blx|bx|bl|cbz|cbnz"):
        match = re.fullmatch(f"({names})s?{CONDITION}", name)
        if match and not name.startswith("v") and name not in ("bls", "blt", "ble"):
            return match[1]
    return name


def kind_of(line: Line) -> str:
    name = base(line.mnemonic)
    kind = next((kind for kind, names in KINDS.items() if re.fullmatch(names, name)), "alu")
    by_register = len(registers(line.operands.partition("[")[2].partition("]")[0])) > 1
    return "store_register" if kind == "store" and by_register else kind


def registers(text: str) -> list[int]:
    names = {"sp": 13, "lr": 14, "pc": 15, "ip": 12, "fp": 11, "sl": 10, "r9": 9, "sb": 9}
    return [names[r] if r in names else int(r[1:]) for r in re.findall(r"\b(?:r\d+|sp|lr|pc|ip|fp|sl|sb)\b", text)]


def count_of(line: Line) -> int:
    if base(line.mnemonic) in ("ldrd", "strd"):
        return 2
    if line.mnemonic.startswith(("vldr", "vstr")):
        return 2 if line.operands.startswith("d") else 1
    total = 0
    for part in line.operands.partition("{")[2].rstrip("}").split(","):
        words = 2 if part.strip().startswith("d") else 1
        ends = [int(number) for number in re.findall(r"\d+", part)]
        total += words * (ends[1] - ends[0] + 1 if "-" in part else 1)
    return total


def jump_of(line: Line) -> str:
    name = base(line.mnemonic)
    first = line.operands.split(",")[0].strip()
    if re.fullmatch(f"b{CONDITION}", name) or name in ("cbz", "cbnz"):
        return "direct"
    if name == "bl":
        return "call"
    if name in ("bx", "blx") or (name in ("mov", "add") and first == "pc"):
        return "register"
    from_memory = (name == "ldr" and first == "pc") or (
        name in ("pop", "ldmia", "ldmdb", "ldm") and "pc" in line.operands
    )
    return "memory" if from_memory or name in ("tbb", "tbh") else ""


def test_thumb_agrees_with_objdump_on_the_libraries(tmp_path: Path) -> None:
    lines = library_code() + dsp_code(tmp_path)
    assert len(lines) > 10_000
    seen = set()
    for line in lines:
        found = decode(line.first, line.second)
        assert size(line.first) == (4 if line.second or line.first >= 0xE800 else 2), line
        assert found.kind == kind_of(line), line
        assert found.jump == jump_of(line), line
        if found.kind == "multiple":
            assert found.count == count_of(line), line
        if found.kind in ("load", "store", "store_register") and "[pc" not in line.operands:
            assert list(found.address) == registers(line.operands.partition("[")[2].partition("]")[0]), line
        if found.kind in ("load", "divide", "multiply", "multiply_accumulate") and not found.jump:
            assert found.writes == registers(line.operands)[0], line
        seen.add(found.kind)
    assert seen == set(COST_TABLES["cortex-m4"].cycles)


def test_what_an_instruction_needs_agrees_with_objdump(tmp_path: Path) -> None:
    for line in library_code() + dsp_code(tmp_path):
        name = base(line.mnemonic)
        wanted = "dsp" if name in DSP else "float" if name.startswith("v") else ""
        if name in ("cbz", "cbnz") or re.fullmatch("it[te]*", name):
            wanted = "mainline"
        assert needs(line.first, line.second) == wanted, line


def cycles_of(text: str, folder: Path, core: str = "cortex-m4") -> int:
    source = f".syntax unified\n.thumb\n.cpu cortex-m4\n.fpu fpv4-sp-d16\n{text}\n"
    (folder / "code.s").write_text(source)
    subprocess.run(["arm-none-eabi-as", "-o", str(folder / "code.o"), str(folder / "code.s")], check=True)
    copy = ["arm-none-eabi-objcopy", "-O", "binary", "-j", ".text", str(folder / "code.o"), str(folder / "code.bin")]
    subprocess.run(copy, check=True)
    return block((folder / "code.bin").read_bytes(), 0, COST_TABLES[core]).cycles


@pytest.mark.parametrize(
    ("code", "cycles"),
    [  # Cortex-M4 Technical Reference Manual, table 3-1, section 3.3.3 (with its own examples), table 7-1
        ("add r0, r1, r2", 1),
        ("mla r0, r1, r2, r3\nsmlad r0, r1, r2, r3\nsmmul r0, r1, r2\nsmull r0, r1, r2, r3", 4),
        ("ldr r0, [r1]", 2),
        ("str r0, [r1, #4]", 1),
        ("str r0, [r1, r2]", 2),
        ("ldr r0, [r1]\nldr r1, [r2]", 3),
        ("ldr r0, [r1, r2]\nstr r0, [r3, #20]", 3),
        ("ldr r0, [r1, r2]\nstr r1, [r3, r2]", 3),
        ("ldr r0, [r1, r5]\nldr r1, [r2]\nldr r2, [r3, #4]", 4),
        ("ldr r0, [r1]\nldr r2, [r0]", 4),
        ("add r1, r1, #4\nldr r0, [r1]", 4),
        ("ldm r0, {r1, r2, r3}", 4),
        ("push {r4, r5, lr}", 4),
        ("ldrd r0, r1, [r2]", 3),
        ("udiv r0, r1, r2", 7),
        ("vadd.f32 s0, s1, s2\nvmul.f32 s0, s1, s2", 2),
        ("vmla.f32 s0, s1, s2\nvfma.f32 s0, s1, s2", 6),
        ("vdiv.f32 s0, s1, s2", 14),
        ("vsqrt.f32 s0, s1", 14),
        ("vldr s0, [r0]", 2),
        ("vldr d0, [r0]", 3),
        ("vldmia r0, {s0-s3}", 5),
        ("vmov r0, r1, d0", 2),
        ("vmov.f32 s0, #1.0\nvabs.f32 s0, s1\nvcvt.s32.f32 s0, s1\nvcmp.f32 s0, s1", 4),
    ],
)
def test_cycles_are_those_of_the_manual(code: str, cycles: int, tmp_path: Path) -> None:
    assert cycles_of(code, tmp_path) == cycles


def test_other_cores_have_their_own_table(tmp_path: Path) -> None:
    assert cycles_of("mla r0, r1, r2, r3\nsmull r0, r1, r2, r3", tmp_path, "cortex-m3") == 6
    assert cycles_of("ldr r0, [r1]\nldr r1, [r2]\nstr r0, [r1]", tmp_path, "cortex-m0plus") == 6


def test_wait_states_come_with_each_jump() -> None:
    assert waiting(1000, 70, 0) == 1000
    assert waiting(1000, 70, 5) == 1350


def test_rough_estimates_say_so() -> None:
    rough = {name for name, table in COST_TABLES.items() if "roughly" in cost_source(table)}
    assert rough == {"cortex-m7", "cortex-m33", "cortex-m55"}


def test_a_taken_branch_costs_the_refill_of_its_kind() -> None:
    table = COST_TABLES["cortex-m4"]
    target = block(bytes.fromhex("00bf"), 0, table)
    wide = block(bytes.fromhex("aff30080"), 2, table)  # nop.w across a word boundary
    for code, cycles in (("fee7", 1), ("7047", 2), ("10bd", 3)):  # b, bx lr, pop {r4, pc}
        source = block(bytes.fromhex(code), 0, table)
        assert refill(source, target, table) == cycles
        assert refill(source, wide, table) == min(3, cycles + 1)
    assert (
        refill(block(bytes.fromhex("10bd"), 0, COST_TABLES["cortex-m0plus"]), wide, COST_TABLES["cortex-m0plus"]) == 2
    )
