"""The linked ELF: its figures against binutils, its stack bound against known frames, the same file every time."""

import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from toy_program import toy

from tinycompiler import board
from tinycompiler.build import Elf, Symbol, build, linker_script, toolchain
from tinycompiler.emit import Program
from tinycompiler.emulators import run
from tinycompiler.emulators.consoles import Peripherals
from tinycompiler.errors import BuildError
from tinycompiler.stack import Function, bound, parse_code, parse_usage

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs arm-none-eabi-gcc"),
]

VECTORS = [bytes([1, 2, 3, 255]), bytes(4)]


def built(program: Program, name: str = "nucleo_l4r5zi") -> Elf:
    return build(program, board.load(name), vectors=VECTORS)


@cache
def plain(name: str = "nucleo_l4r5zi") -> Elf:
    return built(toy(), name)


def binutils_sizes(elf: Elf, folder: Path) -> dict[str, int]:
    """Section sizes as `arm-none-eabi-size` sees them."""
    (folder / "x.elf").write_bytes(elf.image)
    out = subprocess.run(
        ["arm-none-eabi-size", "-A", folder / "x.elf"], capture_output=True, text=True, check=True
    ).stdout
    return {name: int(size) for name, size in re.findall(r"^(\.\S+)\s+(\d+)\s+\d+$", out, re.MULTILINE)}


@pytest.mark.parametrize("name", board.names())
def test_memory_against_binutils(name: str, tmp_path: Path) -> None:
    elf = plain(name)
    sizes = binutils_sizes(elf, tmp_path)
    part = board.load(name)
    product = sum(sizes.get(section, 0) for section in (".boot2", ".vectors", ".text", ".rodata", ".data"))
    living = sum(sizes.get(section, 0) for section in (".stack", ".data", ".bss"))
    flash, ram = elf.memory.flash, elf.memory.ram
    assert elf.memory.fits
    assert elf.memory.vectors_fit
    assert 0 <= flash.used - product < 16  # gaps for alignment only
    assert 0 <= ram.used - living < 24
    assert flash.vectors == sizes[".tc_vectors"] == 4 + 8
    assert (flash.weights, flash.tables) == (4, 2)
    assert flash.weights + flash.tables + flash.code == flash.used
    assert (ram.arena, ram.state, ram.stack) == (64, 12, sizes[".stack"])
    assert ram.arena + ram.state + ram.static + ram.stack == ram.used
    assert (flash.capacity, ram.capacity) == (part.flash.size, part.ram.size)
    assert elf.memory.spare_flash == flash.capacity - flash.used
    assert [region.name for region in elf.memory.regions] == [region.name for region in part.regions]
    assert sum(region.used for region in elf.memory.regions) == flash.used + ram.used


@pytest.mark.parametrize("name", board.names())
def test_layout(name: str) -> None:
    elf, part = plain(name), board.load(name)
    table = 256 if part.boot else 0
    assert elf.vector_table == part.flash.address + table
    image = next(s for s in elf.segments if s.address == part.flash.address).data
    stack = next(section for section in elf.sections if section.name == ".stack")
    words = [int.from_bytes(image[table + 4 * i :][:4], "little") for i in range(16)]
    assert stack.address == part.ram.address
    assert words[0] == stack.address + stack.size
    assert words[0] % 8 == 0
    assert words[1] == elf.entry == elf.symbol("reset_handler").address | 1
    assert set(words[2:]) == {elf.symbol("fault_handler").address | 1}
    segments = sorted(elf.segments, key=lambda segment: segment.address)
    assert all(low.address + len(low.data) <= high.address for low, high in pairwise(segments))


@pytest.mark.parametrize("name", board.names())
def test_stack_is_the_worst_case(name: str) -> None:
    elf, part = plain(name), board.load(name)
    frames = [elf.stack.frames[function] for function in elf.stack.path]
    assert elf.stack.path[:2] == ("reset_handler", "main")
    assert elf.stack.bytes == sum(frames)
    wanted = elf.stack.bytes + part.core.exception_frame + part.reserve_stack
    assert wanted <= elf.memory.ram.stack < wanted + 8


def test_known_frames() -> None:
    assembly = """
        __attribute__((naked)) void by_hand(void);
        void by_hand(void) { __asm("push {r4-r7, lr}\\n vpush {d8-d9}\\n sub sp, #100\\n str r0, [sp, #-8]!\\n"
                                   "add sp, #108\\n vpop {d8-d9}\\n pop {r4-r7, pc}"); }
        static __attribute__((noinline)) void deep(void)
        { volatile char room[200]; room[0] = 1; by_hand(); room[1] = room[0]; }
    """
    elf = built(toy(extra=assembly, node="deep();"))
    frames = elf.model_stack.frames
    assert frames["by_hand"] == 20 + 16 + 100 + 8
    assert 200 + 4 <= frames["deep"] <= 200 + 16
    assert elf.model_stack.path == ("tc_toy_invoke", "tc_toy_node_0", "deep", "by_hand")
    assert elf.model_stack.bytes == sum(frames[name] for name in elf.model_stack.path)


@pytest.mark.parametrize("name", ["rpi_pico", "bluepill", "nucleo_l552ze_q"])
def test_large_frame(name: str) -> None:
    """Beyond what one `sub sp, #n` can say: Armv6-M then adds a register to sp, and the `.su` file knows."""
    deep = "static __attribute__((noinline)) void deep(void) { volatile char room[5000]; room[0] = room[9] = 1; }"
    assert 5000 <= built(toy(extra=deep, node="deep();"), name).model_stack.frames["deep"] <= 5032


NOINLINE = "__attribute__((noinline, noclone))"


@pytest.mark.parametrize(
    ("extra", "node", "words"),
    [
        (
            f"{NOINLINE} int again(volatile int *n); {NOINLINE} int again(volatile int *n)"
            "{ *n -= 1; return *n > 0 ? again(n) * 3 + again(n) : 1; }",
            "volatile int n = 3; (void)again(&n);",
            ["function again is recursive", "again -> again"],
        ),
        (
            f"{NOINLINE} int ping(volatile int *n); {NOINLINE} int pong(volatile int *n); "
            f"{NOINLINE} int ping(volatile int *n) {{ return *n ? pong(n) + *n : 1; }} "
            f"{NOINLINE} int pong(volatile int *n) {{ return *n ? ping(n) + *n : 1; }}",
            "volatile int n = 3; (void)ping(&n);",
            ["function ping is recursive", "ping -> pong -> ping"],
        ),
        (
            f"static {NOINLINE} void heap_like(int n)"
            "{ volatile char *p = __builtin_alloca(n); p[0] = p[n - 1] = 1; }",
            "heap_like(tc_toy_arena[0]);",
            ["function heap_like", "depends on data", "alloca"],
        ),
        (
            f"static {NOINLINE} void variable(int n) {{ volatile char p[n]; p[0] = p[n - 1] = 1; }}",
            "variable(tc_toy_arena[0]);",
            ["function variable", "variable-length array"],
        ),
        (
            f"static void (*volatile where)(void);static {NOINLINE} void jumps(void) {{ where(); where(); }}",
            "jumps();",
            ["function jumps calls through a pointer", "blx"],
        ),
        (
            f"static void (*volatile where)(void); static {NOINLINE} void jumps(void) {{ where(); }}",
            "jumps();",
            ["function jumps calls through a pointer", "bx"],
        ),
        (
            '__asm(".section .text.bare, \\"ax\\"\\n.thumb_func\\n.type bare, %function\\n'
            'bare: sub.w sp, sp, r0\\n add sp, r0\\n bx lr\\n .size bare, . - bare\\n .text"); void bare(void);',
            "bare();",
            ["function bare cannot be read", "sub sp, sp, r0"],
        ),
    ],
)
def test_unbounded_stack_is_refused(extra: str, node: str, words: list[str]) -> None:
    with pytest.raises(BuildError) as problem:
        built(toy(extra=extra, node=node))
    for word in words:
        assert word in str(problem.value)


def test_what_cannot_be_reached_does_not_matter() -> None:
    extra = "__attribute__((used)) void unused(int n); void unused(int n) { volatile char p[n]; p[0] = p[n - 1] = 1; }"
    built(toy(extra=extra))


@pytest.mark.parametrize("name", board.names())
def test_compiler_helpers_have_a_bound(name: str) -> None:
    """Division of 64 bits and a dense switch: calls into libgcc (on Armv6-M also for the jump) and computed jumps."""
    cases = " ".join(f"case {i}: return x * {i * i + 7}u ^ {i}u;" for i in range(24))
    extra = (
        f"static {NOINLINE} uint32_t choose(uint32_t x, uint32_t k) {{ switch (k) {{ {cases} default: return x; }} }}\n"
        f"static {NOINLINE} uint64_t divide(volatile uint64_t *x) {{ return x[0] / x[1] + x[0] % 10u; }}\n"
    )
    node = (
        "volatile uint64_t x[2] = {99, 7};"
        "tc_toy_arena[20] = (uint8_t)(choose(tc_toy_arena[0], tc_toy_arena[1]) + divide(x));"
    )
    elf = built(toy(extra=extra, node=node), name)
    assert "__aeabi_uldivmod" in elf.model_stack.path
    assert elf.memory.flash.code < 6000
    assert not any("unwind" in symbol.name for symbol in elf.symbols)


@pytest.mark.parametrize("name", ["bluepill", "rpi_pico"])
def test_too_large_still_gives_figures(name: str) -> None:
    part = board.load(name)
    elf = built(
        toy(weights=part.flash.size, node="volatile char *p = big; p[0] = 1;", extra=f"char big[{part.ram.size}];"),
        name,
    )
    flash, ram = elf.memory.flash, elf.memory.ram
    assert not elf.memory.fits
    assert not elf.memory.vectors_fit
    assert flash.weights == part.flash.size
    assert elf.memory.spare_flash == 0
    assert 1000 < flash.used - flash.capacity < 4000
    assert 0 < ram.used - ram.capacity < 1000
    assert {region.kind for region in elf.memory.regions if region.used > region.capacity} == {"flash", "ram"}


def test_exact_edge() -> None:
    """One byte decides."""
    part = board.load("bluepill")
    spare = part.flash.size - built(toy(weights=4), "bluepill").memory.flash.used
    full = built(toy(weights=4 + spare), "bluepill").memory
    assert full.flash.used == full.flash.capacity
    assert full.fits
    assert full.spare_flash == 0
    assert not full.vectors_fit
    over = built(toy(weights=4 + spare + 1), "bluepill").memory
    assert over.flash.used > over.flash.capacity
    assert not over.fits


def test_vectors_do_not_count_for_the_product() -> None:
    few = build(toy(), board.load("bluepill"), vectors=[bytes(4)])
    many = build(toy(), board.load("bluepill"), vectors=[bytes(4)] * 20_000)
    assert many.memory.flash.used == few.memory.flash.used
    assert many.memory.fits
    assert not many.memory.vectors_fit
    assert many.memory.flash.vectors == 4 + 80_000


def test_two_builds_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(toy(), board.load("rpi_pico"), vectors=VECTORS, folder=tmp_path / "a" / "b")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    second = build(toy(), board.load("rpi_pico"), vectors=VECTORS)
    assert first.image == second.image
    assert first.path == tmp_path / "a" / "b" / "toy.elf"
    assert first.path.read_bytes() == first.image
    assert second.path is None
    for word in (b"/tmp", str(tmp_path).encode(), b"tinycompiler", b"program/"):
        assert word not in first.image


def test_layers() -> None:
    layers = build(toy(), board.load("nucleo_l4r5zi"), vectors=VECTORS, layers=True)
    assert "tc_node_hook" not in {symbol.name for symbol in plain().symbols}
    assert "tc_node_hook" in layers.stack.frames
    assert layers.symbol("vector_data").size == 8


def test_symbols() -> None:
    elf = plain()
    assert elf.symbol("tc_toy_node_0").kind == "func"
    assert elf.symbol("tc_toy_node_0").address % 2 == 0
    assert elf.symbol("tc_toy_arena").address % 16 == 0
    with pytest.raises(KeyError):
        elf.symbol("nothing")
    assert "gcc" in elf.toolchain


@pytest.mark.parametrize("node", ["undeclared();", "int unused;"])
def test_compiler_refuses(node: str) -> None:
    with pytest.raises(BuildError, match=r"compiling program/toy\.c: .*refused:\n.*toy\.c"):
        built(toy(node=node))


def test_linker_refuses() -> None:
    with pytest.raises(BuildError, match=r"(?s)linking for nucleo_l4r5zi.*nowhere"):
        built(toy(extra="void nowhere(void);", node="nowhere();"))


def test_inputs_of_the_wrong_size() -> None:
    with pytest.raises(BuildError, match="not as long as the model's inputs"):
        build(toy(), board.load("bluepill"), vectors=[bytes(5)])


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match="cannot write"):
        build(toy(), board.load("bluepill"), vectors=VECTORS, folder=tmp_path / "file")


@pytest.mark.parametrize(
    ("compiler", "words"),
    [("no-such-gcc", "no-such-gcc was not found; install one"), ("true", "compiles for ''"), ("false", "refused")],
)
def test_no_usable_compiler(compiler: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYCOMPILER_CC", compiler)
    with pytest.raises(BuildError, match=words):
        toolchain()


def test_boot_stage_has_its_checksum() -> None:
    """RP2040 datasheet, Bootrom: CRC-32, polynomial 0x04C11DB7, start 0xFFFFFFFF, not reflected, over 252 bytes."""
    stage = next(s for s in plain("rpi_pico").segments if s.address == 0x1000_0000).data[:256]
    remainder = 0xFFFF_FFFF
    for byte in stage[:252]:
        remainder ^= byte << 24
        for _ in range(8):
            remainder = (remainder << 1) ^ (0x1_04C1_1DB7 if remainder & 0x8000_0000 else 0)
    assert stage[252:] == remainder.to_bytes(4, "little")


def test_linker_script_has_the_board() -> None:
    script = linker_script(board.load("nucleo_h743zi"))
    assert "ORIGIN = 0x08000000" in script
    assert "ORIGIN = 0x24000000" in script
    assert ".boot2" not in script
    assert ".boot2" in linker_script(board.load("rpi_pico"))


def test_linker_script_has_every_region() -> None:
    script = linker_script(board.load("nucleo_h743zi"))
    for region in ("dtcm", "sram1", "sram2", "sram3", "sram4", "itcm"):
        assert f".ram.{region} (NOLOAD)" in script
        assert f".weights.{region} :" in script
    assert "REGION_itcm (rw) : ORIGIN = 0x00000010" in script  # nothing at address 0, which is no object in C
    assert ".ram." not in linker_script(board.load("bluepill"))
    stack = replace(board.load("nucleo_h743zi"), stack_region="dtcm")
    assert re.search(r"\.stack .* > REGION_dtcm", linker_script(stack))


def test_start_up_switches_ram_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """RM0433: RCC_AHB2ENR at 0x580244DC, SRAM1EN to SRAM3EN its bits 29 to 31."""
    written: list[tuple[int, int]] = []
    write = Peripherals.write

    def spy(self: Peripherals, address: int, value: int) -> None:
        written.append((address, value))
        write(self, address, value)

    monkeypatch.setattr(Peripherals, "write", spy)
    run(plain("nucleo_h743zi"), board.load("nucleo_h743zi"), count=False)
    assert written[:3] == [(0x5802_44DC, 1 << bit) for bit in (29, 30, 31)]


def test_usage_of_one_name_in_two_files() -> None:
    usage = parse_usage(["a.c:1:1:put\t8\tstatic\n", "b.c:9:1:put\t16\tdynamic\nb.c:1:1:f\t24\tdynamic,bounded\n"])
    assert (usage["put"].bytes, usage["put"].bounded) == (16, False)
    assert (usage["f"].bytes, usage["f"].bounded) == (24, True)


def test_functions_of_one_name() -> None:
    """Static functions of the same name in two files are two functions, each with its own callees."""
    same = f"static {NOINLINE} void put(void) {{ volatile char room[300]; room[0] = 1; room[1] = room[0]; }}"
    elf = built(toy(extra=same, node="put();"))
    frames = {name: size for name, size in elf.stack.frames.items() if name.partition("@")[0] == "put"}
    assert len(frames) == 2
    assert "@" in "".join(frames)


@pytest.mark.parametrize(
    ("code", "frame"),
    [
        ("push\t{r4, r5, lr}", 12),
        ("push.w\t{r4, r5, r6, r7, r8, r9, r10, r11, ip, lr}", 40),
        ("stmdb\tsp!, {r0, r1, r2, r3, r4, lr}", 24),
        ("vpush\t{d8-d15}", 64),
        ("vpush\t{s16-s19}", 16),
        ("vpush\t{d8}", 8),
        ("sub\tsp, #24", 24),
        ("sub.w\tsp, sp, #1024\t@ 0x400", 1024),
        ("subw\tsp, sp, #2052\t; 0x804", 2052),
        ("str.w\tlr, [sp, #-4]!", 4),
        ("strd\tr4, r5, [sp, #-16]!", 16),
        ("stmdb\tr0!, {r1, r2}", 0),
        ("add\tsp, #24", 0),
        ("ldr.w\tpc, [sp], #4", 0),
    ],
)
def test_frame_of_an_instruction(code: str, frame: int) -> None:
    functions = parse_code(f" 8000100:\t{code}\n", [Symbol("f", 0x8000100, 8, "func")])
    assert functions["f"].frame == frame
    assert functions["f"].unbounded is None


def test_a_clone_has_the_frame_of_its_su_line() -> None:
    """gcc names the clone `row.constprop.0` in the code and `row.constprop` in the `.su` file."""
    usage = parse_usage(["net.c:131:13:row.constprop\t2176\tstatic\n"])
    functions = {"row.constprop.0": Function("row.constprop.0", unbounded="add sp, r4")}
    assert bound(["row.constprop.0"], functions, usage).bytes == 2176
