"""Emulators that share no code: the same ELF gives the same outputs, and the same instructions to the last one."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.commands import DIGITS, needs_compiler, needs_real, real, say
from tinycompiler.board import Board, load
from tinycompiler.build import Elf
from tinycompiler.compile import compile_model, link
from tinycompiler.emulators import Run, qemu, run
from tinycompiler.ops import Numerics
from tinycompiler.vectors import random_vectors

needs_qemu = pytest.mark.skipif(qemu.find() is None, reason="needs qemu-system-arm")
RENODE = shutil.which(os.environ.get("TINYCOMPILER_RENODE") or "renode")
OTHERS = ("qemu", *(["renode"] if RENODE else []))
M3, M4, M7, M33, M33_NO_DSP, M55 = (
    f"mps{n}" for n in ("2_an385", "2_an386", "2_an500", "2_an505", "2_an521", "3_an547")
)

pytestmark = [pytest.mark.emulator, needs_compiler, needs_qemu]


@dataclass(frozen=True)
class Linked:
    elf: Elf
    board: Board

    def run(self, emulator: str) -> Run:
        return run(self.elf, self.board, emulator=emulator, wall_seconds=120)


def linked(path: Path, board_name: str) -> Linked:
    board = load(board_name)
    compiled = compile_model(path, board, Numerics.LITERT)
    return Linked(link(compiled, random_vectors(compiled.graph, 2, 0))[1], board)


def assert_agree(program: Linked) -> None:
    ours = program.run("unicorn")
    assert ours.instructions is not None
    for emulator in OTHERS:
        theirs = program.run(emulator)
        assert theirs.emulator == emulator
        assert (theirs.lines, theirs.outputs, theirs.inferences) == (ours.lines, ours.outputs, 2)
        assert theirs.instructions == ours.instructions
        assert theirs.node_instructions == ours.node_instructions
        assert theirs.stack_high_water == ours.stack_high_water
        assert theirs.arena_touched in (ours.arena_touched, None)


@pytest.mark.parametrize("board", [M3, M4, M7, M33, M33_NO_DSP, M55])
def test_digits(board: str) -> None:
    assert_agree(linked(DIGITS, board))


@pytest.mark.models
@pytest.mark.slow
@needs_real
@pytest.mark.parametrize("board", [M3, M4, M33])
def test_kws(board: str) -> None:
    assert_agree(linked(real("kws"), board))


def test_verify_layer_by_layer() -> None:
    said = say("verify", DIGITS, "-b", M4, "-n", 1, "--layers", "--emulator", "qemu", "--json")
    found = said.json
    assert (said.code, found["verify"]["mismatches"]) == (0, 0)
    assert found["verify"]["layers_checked"] == len(found["layers"])
    assert found["run"]["emulator"] == "qemu"
    assert found["run"]["instructions"] > 100_000
    assert found["run"]["cycles"] is None


def test_counting_can_be_left_out() -> None:
    program = linked(DIGITS, M4)
    ran = run(program.elf, program.board, emulator="qemu", count=False)
    assert (ran.instructions, ran.node_instructions, ran.inferences) == (None, (), 2)
    assert ran.arena_touched == program.run("unicorn").arena_touched


def test_progress_is_told() -> None:
    program = linked(DIGITS, M3)
    seen: list[tuple[int, int]] = []
    run(program.elf, program.board, emulator="qemu", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_side_by_side() -> None:
    program = linked(DIGITS, M33)
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda _: program.run("qemu"), range(3)))
    assert runs[0] == runs[1] == runs[2]
