"""The emulators: protocol, Thumb decoding, cycles, counting, faults; all on firmware that build.py links."""

import binascii
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tinycompiler import board as boards
from tinycompiler.board import Board, Region
from tinycompiler.build import Elf, build
from tinycompiler.emulators import Run, run
from tinycompiler.emulators.cycles import COST_TABLES, block, refill
from tinycompiler.emulators.protocol import checksum, parse, seal
from tinycompiler.emulators.thumb import decode, needs, size
from tinycompiler.emulators.unicorn import PAINT
from tinycompiler.errors import EmulatorError
from tinycompiler.resources import folder

pytest.importorskip("unicorn", reason="the embedded emulator is an optional extra")
needs_compiler = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="no arm-none-eabi-gcc on PATH")
pytestmark = needs_compiler

ARENA, INPUT, OUTPUT = 256, 8, 4

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
extern void tc_node_hook(int node, int output, const void *data, unsigned bytes);
#define NODE_DONE(node) tc_node_hook(node, 0, tc_probe_arena + 8, 4)
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
