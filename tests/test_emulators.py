"""The embedded emulator: counting, faults, limits; all on firmware that build.py links."""

import os
import re
import shutil
import signal
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tinycompiler import board as boards
from tinycompiler.board import Board
from tinycompiler.build import Elf, Symbol, build
from tinycompiler.emulators import Run, run
from tinycompiler.emulators.consoles import UARTS
from tinycompiler.emulators.counting import Code, tally
from tinycompiler.emulators.cycles import COST_TABLES
from tinycompiler.emulators.unicorn import PAINT
from tinycompiler.errors import EmulatorError
from tinycompiler.resources import folder

pytest.importorskip("unicorn", reason="the embedded emulator is an optional extra")
pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="no arm-none-eabi-gcc on PATH"),
]

HEADER = """\
#include <stdint.h>
#define MODEL_NAME "probe"
#define MODEL_INPUTS 1
#define MODEL_OUTPUTS 1
#define MODEL_INPUT_BYTES 8
int tc_probe_init(void);
void tc_probe_invoke(void);
void tc_probe_reset_state(void);
extern uint8_t tc_probe_arena[256];
static inline int model_init(void) { return tc_probe_init(); }
static inline void *model_input(int index) { (void)index; return tc_probe_arena; }
static inline unsigned model_input_bytes(int index) { (void)index; return 8; }
static inline const void *model_output(int index) { (void)index; return tc_probe_arena + 8; }
static inline unsigned model_output_bytes(int index) { (void)index; return 4; }
static inline void model_invoke(void) { tc_probe_invoke(); }
static inline void model_reset_state(void) { tc_probe_reset_state(); }
"""

SOURCE = """\
#include "model.h"
#ifdef TC_NODE_HOOK
extern void tc_node_hook(int node, int output, unsigned offset, const void *data, unsigned bytes);
#define NODE_DONE(node) tc_node_hook(node, 0, 0, tc_probe_arena + 8, 4)
#else
#define NODE_DONE(node) (void)0
#endif
uint8_t tc_probe_arena[256] __attribute__((aligned(16)));
@globals@
int tc_probe_init(void) { return 0; }
void tc_probe_reset_state(void) {}
static __attribute__((noinline)) void tc_probe_node_0(void)
{
    uint32_t sum = 0;
    for (int index = 0; index < 8; ++index) { sum = sum * 31u + tc_probe_arena[index]; }
    for (int index = 0; index < 4; ++index) { tc_probe_arena[8 + index] = (uint8_t)(sum >> (8 * index)); }
    tc_probe_arena[99] = (uint8_t)~tc_probe_arena[99];
}
static __attribute__((noinline)) void tc_probe_node_1(void)
{
@body@
}
void tc_probe_invoke(void)
{
    tc_probe_node_0();
    NODE_DONE(0);
    tc_probe_node_1();
    NODE_DONE(1);
}
"""


@dataclass(frozen=True)
class Probe:
    """As much of a Program as build.py looks at."""

    name: str = "probe"
    files: dict[str, str] = field(default_factory=dict)
    digest: str = ""
    level: str = "-O2"


NOTHING = '__asm volatile("");'  # an empty function would be left out
VECTORS = (bytes(range(8)), bytes(range(100, 108)), bytes(8))


def probe(
    body: str = NOTHING, *, board: Board | str = "nucleo_l4r5zi", globals_: str = "", layers: bool = False
) -> tuple[Elf, Board]:
    """Firmware whose node 1 is `body`."""
    board = boards.load(board) if isinstance(board, str) else board
    source = SOURCE.replace("@body@", body).replace("@globals@", globals_)
    program: Any = Probe(files={"model.h": HEADER, "probe.c": source})
    return build(program, board, vectors=VECTORS, layers=layers), board


def assembly(text: str, clobbers: str = '"r0", "r1", "r2", "r3", "cc", "memory"') -> str:
    """C that holds these instructions and nothing else."""
    lines = "".join(f'"{line.strip()}\\n"' for line in text.strip().splitlines())
    unified = '".syntax unified\\n"'
    return f"__asm volatile({unified} {lines} : : : {clobbers});"


def run_probe(body: str = NOTHING, *, board: Board | str = "nucleo_l4r5zi", globals_: str = "", **options: Any) -> Run:
    elf, found = probe(body, board=board, globals_=globals_)
    return run(elf, found, **{"wall_seconds": 60.0, **options})


def expected(vector: bytes) -> bytes:
    total = 0
    for byte in vector:
        total = (total * 31 + byte) & 0xFFFFFFFF
    return total.to_bytes(4, "little")


# The whole line, on every board


@pytest.mark.parametrize("name", boards.names())
def test_firmware_runs_on_every_board(name: str) -> None:
    seen: list[tuple[int, int]] = []
    ran = run_probe(board=name, progress=lambda done, total: seen.append((done, total)))
    assert ran.outputs == tuple((expected(vector),) for vector in VECTORS)
    assert ran.inferences == 3
    assert ran.instructions is not None
    assert 30 < ran.instructions < 400
    assert len(ran.node_instructions) == 2
    assert sum(ran.function_instructions.values()) == ran.instructions
    assert ran.arena_touched == 100
    assert ran.stack_high_water is not None
    assert ran.stack_high_water % 4 == 0
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert (ran.cycles is None) == (boards.load(name).core.cost_table not in COST_TABLES)


def test_counting_can_be_left_out() -> None:
    ran = run_probe(count=False)
    assert (ran.instructions, ran.cycles, ran.cycles_source, ran.node_instructions) == (None, None, None, ())
    assert ran.arena_touched == 100


def test_layers_build_gives_nodes_and_no_counts() -> None:
    elf, board = probe(layers=True)
    ran = run(elf, board, wall_seconds=60.0)
    assert set(ran.nodes) == {(vector, node, 0) for vector in range(3) for node in range(2)}
    assert ran.nodes[2, 1, 0] == expected(VECTORS[2])
    assert ran.instructions is None


# What was written


@pytest.mark.parametrize("layers", [False, True])
def test_what_is_written_beside_arena_and_stack_is_found(layers: bool) -> None:
    elf, board = probe("tc_probe_other[2] ^= 1;", globals_="uint8_t tc_probe_other[8];", layers=layers)
    assert run(elf, board).stray == (elf.symbol("tc_probe_other").address + 2,)
    elf, board = probe("volatile int deep[50]; deep[9] = 1; tc_probe_arena[255] ^= (uint8_t)deep[9];", layers=layers)
    assert run(elf, board).stray == ()


def test_what_is_written_below_the_stack_is_found() -> None:
    """By a word's address, as if the stack had grown too far."""
    elf, board = probe()
    bottom = next(s.address for s in elf.sections if s.name == ".stack")
    low = bottom - 64 if bottom - 64 >= board.ram.address else bottom + elf.memory.ram.stack + 4096
    elf, board = probe(f"*(volatile uint32_t *)0x{low:08x}u ^= 0x01010101u;")
    assert run(elf, board).stray == tuple(range(low, low + 4))


# Counting: exact, against loops of known length


@pytest.mark.parametrize("turns", [1, 2, 3, 1000, 65535])
def test_a_block_that_jumps_to_itself_is_counted_at_every_turn(turns: int) -> None:
    loop = assembly(f"movw r0, #{turns}\n1: subs r0, r0, #1\nbne 1b")
    assert node_count(loop) == 1 + 2 * turns + 1  # and bx lr


def test_long_straight_code_is_counted_whole() -> None:
    straight = assembly("movs r1, #5\n1:\n.rept 6000\nadd.w r0, r0, #1\n.endr\nsubs r1, r1, #1\nbeq 2f\nb.w 1b\n2: nop")
    assert node_count(straight) == 1 + 5 * 6003 - 1 + 1 + 1


def test_each_slot_of_an_it_block_counts_once() -> None:
    body = "movs r0, #10\n1: cmp r0, #4\nitee gt\naddgt r1, #1\naddle r1, #2\naddle r1, #3\nsubs r0, r0, #1\nbne 1b"
    assert node_count(assembly(body)) == 1 + 10 * 7 + 1


def test_code_that_ran_before_is_counted_too() -> None:
    """memcpy has been translated, for the input, when the counting starts."""
    ran = run_probe(
        "extern void *memcpy(void *, const void *, __SIZE_TYPE__); "
        "volatile unsigned size = 40; memcpy(tc_probe_arena + 40, tc_probe_arena, size);"
    )
    assert ran.function_instructions["memcpy"] >= 40
    assert ran.arena_touched == 100


def test_counts_do_not_depend_on_the_neighbours() -> None:
    loop = assembly("movw r0, #500\n1: subs r0, r0, #1\nbne 1b")
    assert run_probe(loop, board="bluepill").node_instructions[1] == run_probe(loop).node_instructions[1]


def node_count(body: str) -> int:
    return run_probe(body).node_instructions[1]


def test_the_plain_binding_counts_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    elf, board = probe()
    fast = run(elf, board)
    monkeypatch.setattr("tinycompiler.emulators.unicorn_native._library", lambda: None)
    assert run(elf, board) == fast


def test_counts_agree_with_stepping() -> None:
    """The same inference, one instruction at a time: slower, and shares nothing with block counting."""
    body = (
        "volatile unsigned x = 7; for (unsigned i = 1; i < 50; ++i) { x = (x * i) % (i + 3); if (x & 1) { x += 5; } }"
    )
    elf, board = probe(body, board="bluepill")
    assert run(elf, board).instructions == stepped(elf, board)


def stepped(elf: Elf, board: Board) -> int:
    from tinycompiler.emulators.unicorn_machine import Machine

    machine = Machine(elf, board, deadline=time.monotonic() + 60, progress=None)
    machine.go(elf.symbol("tc_probe_invoke").address)
    back, steps = machine.link, 0
    while machine._pc != back:
        machine._start(back, instructions=1)
        steps += 1
    return steps


def test_a_node_that_was_merged_or_left_out_does_not_shift_the_others() -> None:
    counts = tally(
        [
            {(0, 0, 2): 1},
            {(0, 4, 2): 1, (4, 20, 2): 10},
            {(20, 6, 2): 1, (6, 20, 2): 5},
            {(20, 8, 2): 1, (8, 30, 2): 3},
        ],
        Code(
            read=lambda address, size: b"\x00\xbf" * (size // 2),
            functions=[Symbol("invoke", 0, 10, "func"), Symbol("one", 20, 2, "func"), Symbol("four", 30, 2, "func")],
            invoke=Symbol("invoke", 0, 10, "func"),
            nodes={20: 1, 30: 4},
            core="cortex-m4f",
            lacks=frozenset(),
            table=None,
        ),
    )
    assert counts.node_instructions == (0, 10, 5, 0, 3)
    assert counts.function_instructions == {"one": 15, "invoke": 4, "four": 3}


def test_cycles_of_a_loop() -> None:
    """subs 1, bne 1 + 1 when taken (or 2: the loop's place decides), 1 at the end."""
    ran = run_probe(assembly("movs r0, #100\n.balign 4\n1: subs r0, r0, #1\nbne 1b"))
    assert 1 + 100 * 2 + 99 + 1 <= ran.node_cycles[1] <= 1 + 100 * 2 + 99 + 1 + 8


# Whatever goes wrong has a place and a name


def jump(address: int) -> str:
    """By way of the stack, because build.py refuses jumps whose target it does not know."""
    return assembly(f"ldr r3, =0x{address:x}\npush {{r3}}\npop {{pc}}\n.ltorg")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("*(volatile unsigned *)0x20200000u = 1;", ["write of 4 bytes at 0x20200000", "tc_probe_node_1", "outside"]),
        (
            assembly("ldr r1, =0x2009ffff\nldrh r0, [r1]\nb 1f\n.ltorg\n1: nop"),
            ["read of 2 bytes at 0x200a0000", "tc_probe_node_1", "outside"],
        ),
        ("*(volatile unsigned char *)0x08000000u = 1;", ["write of 1 bytes at 0x08000000", "can only be read"]),
        (jump(0x20000001), ["execution at 0x20000000", "called from main"]),
        (jump(0x1), ["execution at 0x00000000", "outside"]),
        ('__asm volatile("udf #0");', ["undefined instruction", "cortex-m4f", "tc_probe_node_1"]),
        ('__asm volatile("svc #0");', ["SVC", "tc_probe_node_1"]),
        ('__asm volatile("bkpt #0");', ["BKPT", "tc_probe_node_1"]),
        ('__asm volatile(".inst.w 0xee300b00");', ["undefined instruction for cortex-m4f"]),  # vadd.f64
    ],
)
def test_a_fault_names_kind_address_and_function(body: str, words: list[str]) -> None:
    for counted in (True, False):
        with pytest.raises(EmulatorError) as caught:
            run_probe(body, count=counted)
        assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("access", ["ldr r0, [r1]", "str r0, [r1]", "ldrh r0, [r1]"])
def test_armv6m_faults_on_unaligned_accesses(access: str) -> None:
    body = assembly(f"ldr r1, =0x20000101\n{access}\nb 1f\n.ltorg\n1: nop")
    with pytest.raises(EmulatorError, match="unaligned access in tc_probe_node_1"):
        run_probe(body, board="rpi_pico")
    assert run_probe(body).inferences == 3  # Armv7-M does it


@pytest.mark.parametrize(
    ("board", "code", "word"),
    [
        ("rpi_pico", 0xF2400000, "undefined instruction for cortex-m0plus"),  # MOVW
        ("rpi_pico", 0xB108, "lacks"),  # CBZ
        ("rpi_pico", 0xBF18, "lacks"),  # IT
        ("bluepill", 0xFB20F000, "the DSP extension"),  # SMUAD
        ("bluepill", 0xEE300A20, "FPU"),  # VADD
    ],
)
def test_an_instruction_that_the_core_lacks_is_an_error(board: str, code: int, word: str) -> None:
    width = "w" if code > 0xFFFF else "n"
    after = "nop\\nnop\\nnop\\n"
    body = f'__asm volatile("movs r0, #1\\n.inst.{width} 0x{code:x}\\n{after}" : : : "r0", "cc");'
    with pytest.raises(EmulatorError, match=word):
        run_probe(body, board=board)


@pytest.mark.parametrize("board", ["nucleo_l4r5zi", "stm32f746g_disco", "nucleo_l552ze_q"])
def test_floats_run_when_the_start_up_code_has_switched_the_fpu_on(board: str) -> None:
    body = "volatile float x = 1.5f; x = x * 2.0f + 1.0f; tc_probe_arena[8] = (uint8_t)x;"
    assert run_probe(body, board=board).outputs[0][0][0] == 4


def test_floats_without_the_fpu_switched_on_are_an_error() -> None:
    off = "(*(volatile unsigned *)0xE000ED88u) = 0;"
    with pytest.raises(EmulatorError, match="floating-point unit"):
        run_probe(off + " volatile float x = 1.5f; x = x * 2.0f;")


def test_a_stack_overflow_says_so() -> None:
    """Moved by way of r1, because build.py sees SUB SP and makes room."""
    body = assembly("mov r0, sp\nsub r1, r0, #4096\nmov sp, r1\nstr r0, [sp]\nmov sp, r0")
    with pytest.raises(EmulatorError, match=r"write of 4 bytes .* stack overflowed"):
        run_probe(body)


@pytest.mark.parametrize("size", [0x1400, 0x1500])
def test_a_region_ends_where_it_ends(size: int) -> None:
    full = boards.load("bluepill")
    regions = tuple(replace(region, size=size) if region.kind == "ram" else region for region in full.regions)
    board = replace(full, regions=regions)
    last = 0x20000000 + size - 4
    assert run_probe(f"(void)*(volatile unsigned *)0x{last:x}u;", board=board).inferences == 3
    with pytest.raises(EmulatorError, match=f"0x{last + 4:08x}"):
        run_probe(f"(void)*(volatile unsigned *)0x{last + 4:x}u;", board=board)


def test_a_region_that_cannot_be_mapped_exactly_is_refused() -> None:
    full = boards.load("bluepill")
    regions = tuple(replace(region, size=0x1410) if region.kind == "ram" else region for region in full.regions)
    with pytest.raises(EmulatorError, match="multiple of 256"):
        run_probe(board=replace(full, regions=regions))


def test_a_program_that_does_not_fit_is_refused() -> None:
    elf, full = probe(board="bluepill")
    regions = tuple(replace(region, size=0x400) if region.kind == "flash" else region for region in full.regions)
    with pytest.raises(EmulatorError, match="outside every region"):
        run(elf, replace(full, regions=regions))


def test_a_hang_names_its_function() -> None:
    for counted in (True, False):
        begin = time.monotonic()
        with pytest.raises(EmulatorError, match=r"time limit; it is in tc_probe_node_1 .*tc:hello"):
            run_probe(assembly("1: b 1b"), count=counted, wall_seconds=0.5)
        assert time.monotonic() - begin < 10


def test_the_instruction_limit_is_kept() -> None:
    with pytest.raises(EmulatorError, match=r"limit of 5,000 instructions; it is in tc_probe_node_1"):
        run_probe(assembly("1: b 1b"), max_instructions=5000)
    assert run_probe(max_instructions=5000).inferences == 3


def test_an_interrupt_from_the_keyboard_ends_a_hang() -> None:
    elf, board = probe(assembly("1: b 1b"))
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(elf, board, wall_seconds=60.0)
    assert time.monotonic() - begin < 10


def test_an_interrupt_from_the_progress_function_ends_the_run() -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_probe(progress=stop)


def test_a_fault_line_of_the_firmware_is_an_error() -> None:
    body = "fault_report(6, (uint32_t)(uintptr_t)&tc_probe_init, 0);"
    with pytest.raises(EmulatorError, match="usage fault in tc_probe_init"):
        run_probe(body, globals_="extern void fault_report(uint32_t, uint32_t, uint32_t);")


def test_an_emulator_that_is_not_there() -> None:
    elf, board = probe()
    with pytest.raises(EmulatorError, match="known are unicorn, renode"):
        run(elf, board, emulator="gem5")


def test_without_unicorn_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    elf, board = probe()
    monkeypatch.setitem(sys.modules, "unicorn", None)
    with pytest.raises(EmulatorError, match=r"pip install 'tinycompiler\[emulator\]'"):
        run(elf, board)


def test_the_paint_is_that_of_the_start_up_code() -> None:
    text = (folder("firmware") / "startup.c").read_text()
    assert int(re.search(r"PAINT = (0x[0-9A-Fa-f]+)", text)[1], 16).to_bytes(4, "little") == PAINT  # type: ignore[index]


def test_every_console_driver_is_known() -> None:
    drivers = {path.stem.removeprefix("console_") for path in folder("firmware").glob("console_*.c")}
    assert set(UARTS) == drivers


def test_stack_high_water_grows_with_the_stack_used() -> None:
    deep = run_probe("volatile uint8_t big[512]; for (int i = 0; i < 512; ++i) { big[i] = 1; } (void)big[7];")
    plain = run_probe()
    assert deep.stack_high_water is not None
    assert plain.stack_high_water is not None
    assert deep.stack_high_water >= plain.stack_high_water + 400
