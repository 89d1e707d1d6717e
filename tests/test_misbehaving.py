"""Firmware that misbehaves on purpose, in the emulators that are here: named, in time, and nothing is left running."""

import stat
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.commands import DIGITS, needs_compiler, say
from tests.test_emulators import NOTHING, assembly, probe
from tinycompiler.board import Board
from tinycompiler.build import Elf
from tinycompiler.emulators import Run, qemu, run
from tinycompiler.errors import EmulatorError

BOARD = "mps2_an386"
SAY = "extern void protocol_begin(const char *); extern void protocol_end(void); extern void console_put(char);"

pytestmark = [pytest.mark.emulator, needs_compiler]
EMULATORS = pytest.mark.parametrize(
    "emulator",
    [
        "unicorn",
        pytest.param("qemu", marks=pytest.mark.skipif(qemu.find() is None, reason="needs qemu-system-arm")),
    ],
)


def children() -> set[str]:
    """Processes that this one has started, and that are not over; none where the system does not tell."""
    tasks = Path("/proc/self/task")
    return {child for task in tasks.glob("*") for child in (task / "children").read_text().split()}


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process, and of files the log that an error names."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = children()
    yield
    assert children() <= before
    assert all(path.suffix == ".log" for path in tmp_path.glob("tinycompiler-*"))


@cache
def linked(body: str, board: str, globals_: str) -> tuple[Elf, Board]:
    return probe(body, board=board, globals_=globals_)


def running(body: str, emulator: str, *, board: str = BOARD, globals_: str = "", wall_seconds: float = 60.0) -> Run:
    elf, found = linked(body, board, globals_)
    return run(elf, found, emulator=emulator, wall_seconds=wall_seconds)


def refused(body: str, emulator: str, *words: str, **options: object) -> None:
    """It is an error, with these words and exit code 4."""
    with pytest.raises(EmulatorError) as caught:
        running(body, emulator, **options)  # type: ignore[arg-type]
    assert all(word in str(caught.value) for word in words), caught.value
    assert caught.value.exit_code == 4


@EMULATORS
@pytest.mark.parametrize("board", [BOARD, "mps2_an385", "mps2_an505"])
def test_it_writes_outside_ram(emulator: str, board: str) -> None:
    """Of QEMU's machines only the last one faults there; at the others it knows the neighbourhood."""
    body = "*(volatile unsigned *)0x1ffe0000u = 1;"
    exact = emulator == "unicorn" or board == "mps2_an505"
    words = ["0x1ffe0000"] if exact else ["0x1ffff000", f"outside every region of {board}"]
    refused(body, emulator, "tc_probe_node_1", *words, board=board)


@EMULATORS
def test_it_reads_behind_ram(emulator: str) -> None:
    """Where QEMU has the same memory once more."""
    refused(
        "(void)*(volatile unsigned *)0x20400000u;", emulator, "tc_probe_node_1", "0x20400000", "outside every region"
    )


@EMULATORS
def test_it_faults(emulator: str) -> None:
    refused('__asm volatile("udf #0");', emulator, "tc_probe_node_1")


@EMULATORS
def test_it_faults_in_the_fault_handler(emulator: str) -> None:
    """The table of handlers is moved to where there is no memory."""
    body = '*(volatile unsigned *)0xE000ED08u = 0x1ffe0000u; __asm volatile("dsb\\nudf #0");'
    refused(body, emulator, "tc_probe_node_1" if emulator == "unicorn" else "0x")


@EMULATORS
def test_it_loops_for_ever(emulator: str) -> None:
    loop = '__asm volatile("1: b 1b");'
    refused(loop, emulator, "did not finish within the time limit", "in tc_probe_node_1", wall_seconds=2.0)


@EMULATORS
def test_it_takes_too_many_instructions(emulator: str) -> None:
    loop = assembly("ldr r0, =300000\n1: subs r0, r0, #1\nbne 1b\nb 2f\n.ltorg\n2: nop")
    elf, board = linked(loop, BOARD, "")
    with pytest.raises(EmulatorError, match="limit of 100,000 instructions"):
        run(elf, board, emulator=emulator, max_instructions=100_000)
    assert (run(elf, board, emulator=emulator, max_instructions=1_000_000).instructions or 0) > 600_000


@EMULATORS
def test_its_stack_overflows(emulator: str) -> None:
    refused('__asm volatile("1: push {r0-r7}\\n b 1b");', emulator, "the stack overflowed")


@EMULATORS
def test_a_line_comes_twice(emulator: str) -> None:
    again = 'protocol_begin("tc:output 0 0 00000000"); protocol_end();'
    refused(again, emulator, "tc:output", "sent twice", globals_=SAY)


@EMULATORS
def test_a_line_is_cut_short(emulator: str) -> None:
    cut = "protocol_begin(\"tc:output 0 0 00\"); console_put('\\n');"
    refused(cut, emulator, "garbled console line", "'tc:output 0 0 00'", globals_=SAY)


@EMULATORS
def test_characters_come_in_between(emulator: str) -> None:
    refused("console_put('x');", emulator, "garbled console line 'xtc:output 0 0", globals_=SAY)


@EMULATORS
def test_it_says_too_early_that_it_is_done(emulator: str) -> None:
    done = 'protocol_begin("tc:done 3"); protocol_end();'
    late = "announced 3 vectors" if emulator == "unicorn" else "tc:done"  # it has gone on by then, or not
    refused(done, emulator, late, globals_=SAY)


@EMULATORS
def test_it_is_silent(emulator: str) -> None:
    body = 'for (;;) { __asm volatile(""); }'
    refused(body, emulator, "did not finish", "its last line is 'tc:hello probe 3", wall_seconds=2.0)


@EMULATORS
def test_ctrl_c(emulator: str) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    elf, board = linked(NOTHING, BOARD, "")
    with pytest.raises(KeyboardInterrupt):
        run(elf, board, emulator=emulator, progress=stop)


# What stands in for QEMU


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str, *, mode: int = 0o755) -> Path:
    path = folder / "qemu"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(mode)
    monkeypatch.setenv("TINYCOMPILER_QEMU", str(path))
    return path


def test_a_qemu_that_ends_well_and_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "exit 0")
    refused(NOTHING, "qemu", "qemu ended with code 0 before the firmware had finished", "it has printed nothing")


def test_a_qemu_that_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "echo 'qemu: no such machine' >&2; kill -SEGV $$")
    refused(NOTHING, "qemu", "killed by signal 11", "the end of its log", "no such machine")


def test_a_qemu_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "trap '' TERM; echo $$ > pid; sleep 1000 & wait; sleep 1000")
    monkeypatch.setattr(qemu, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr("tinycompiler.emulators.process.PATIENCE_SECONDS", 0.3)
    refused(NOTHING, "qemu", "gave no answer within 0.3 s")


def test_a_qemu_that_cannot_be_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stand_in(tmp_path, monkeypatch, "exit 0", mode=stat.S_IRUSR)
    refused(NOTHING, "qemu", str(path), "was not found, or cannot be executed", "apt install qemu-system-arm")


def test_a_qemu_that_is_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stand_in(tmp_path, monkeypatch, "")
    path.write_bytes(b"\x7fELF garbage")
    refused(NOTHING, "qemu", "cannot start", str(path))


def test_a_board_that_qemu_has_not() -> None:
    refused(NOTHING, "qemu", "it has no machine that is bluepill", "mps2_an385", board="bluepill")


def test_the_command_line_says_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYCOMPILER_QEMU", str(tmp_path / "nowhere"))
    said = say("run", DIGITS, "-b", BOARD, "--emulator", "qemu")
    assert (said.code, said.out) == (4, "")
    assert "nowhere was not found" in said.err
    assert "Traceback" not in said.err
