"""Renode's backend, with a stand-in for Renode: the protocol between the two, the limits, and that nothing is left."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.commands import DIGITS, needs_compiler
from tinycompiler import board as boards
from tinycompiler.build import Elf, Segment, Symbol, build
from tinycompiler.compile import compile_model
from tinycompiler.doctor import Finding, examine
from tinycompiler.emulators import Run, process, renode, run
from tinycompiler.emulators.marks import marks_of, tally
from tinycompiler.emulators.model import model_of
from tinycompiler.emulators.protocol import seal
from tinycompiler.errors import EmulatorError
from tinycompiler.ops import Numerics
from tinycompiler.vectors import random_vectors

STAND_IN = Path(__file__).parent / "stand_in_renode.py"
BOARD = boards.load("nucleo_l4r5zi")

FLASH = 0x08000000
CODE = {  # main at 0 calls invoke at 16, which calls node 0 at 32 and jumps to node 1 at 48
    0: "00f0 06f8",  # bl invoke
    16: "00f0 06f8",  # bl node_0
    20: "00f0 0cb8",  # b.w node_1
}
FUNCTIONS = {"main": 0, "tc_toy_invoke": 16, "tc_toy_node_0": 32, "tc_toy_node_1": 48, "tc_toy_init": 64}
MARKS = (FLASH + 16, FLASH + 32, FLASH + 20, FLASH + 48, FLASH + 4)
READINGS = (100, 101, 150, 151, 180)
LOG = "".join(f"12:00:00.0000 [INFO] cpu: tc:mark {m:x} {n}\n" for m, n in zip(MARKS, READINGS, strict=True))
GOOD = [
    seal("tc:hello toy 2"),
    seal("tc:output 0 0 0102"),
    seal("tc:output 1 0 0304"),
    seal("tc:stack 96"),
    seal("tc:done 2"),
]


def made(vectors: int = 2) -> Elf:
    """As much of a linked firmware as the backend looks at."""
    code = bytearray(96)
    for at, text in CODE.items():
        code[at : at + 4] = bytes.fromhex(text)
    code[80:84] = vectors.to_bytes(4, "little")
    symbols = [Symbol(name, FLASH + at, 16, "func") for name, at in FUNCTIONS.items()]
    symbols.append(Symbol("vector_count", FLASH + 80, 4, "object"))
    nothing: Any = None
    return Elf(
        path=None,
        image=b"an ELF file",
        entry=FLASH | 1,
        vector_table=FLASH,
        segments=(Segment(FLASH, bytes(code)),),
        sections=(),
        symbols=tuple(symbols),
        stack=nothing,
        model_stack=nothing,
        toolchain="",
        memory=nothing,
    )


@pytest.fixture
def renode_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in as a program, found on PATH; what is temporary goes below tmp_path."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "temporary").mkdir()
    program = tmp_path / "bin" / "renode"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} ${{STAND_IN:+-I -S}} {STAND_IN} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(STAND_IN.parents[1]))
    monkeypatch.delenv("TINYCOMPILER_RENODE", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(process, "PATIENCE_SECONDS", 0.05)
    renode.version.cache_clear()
    return program


@pytest.fixture
def plays(renode_at: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Give the stand-in its part; the file of its processes' numbers."""

    def play(*, console: list[str] = GOOD, ended: bool = True, **part: Any) -> Path:
        text = "\n".join(console) + "\n" * (ended and bool(console))
        pids = tmp_path / "pids"
        (tmp_path / "part.json").write_text(json.dumps({"console": text, "log": LOG, "pids": str(pids), **part}))
        monkeypatch.setenv("STAND_IN", str(tmp_path / "part.json"))
        if "version" not in part:
            monkeypatch.setattr(renode, "version", lambda _: (1, 16, 1))  # as one process less is quicker
        return pids

    return play


def run_it(**options: Any) -> Run:
    return run(made(), BOARD, emulator="renode", **{"wall_seconds": 20.0, **options})


def alive(pids: Path) -> list[int]:
    """Those of the processes that are neither gone nor dead."""

    def lives(number: int) -> bool:
        stat = Path(f"/proc/{number}/stat")
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"

    found = [int(number) for number in pids.read_text().split()]
    assert len(found) == 2
    until = time.monotonic() + 2  # the system takes a moment to bury those that were killed
    while (left := [number for number in found if lives(number)]) and time.monotonic() < until:
        time.sleep(0.01)
    return left


def refused(match: str, **options: Any) -> str:
    with pytest.raises(EmulatorError, match=match) as caught:
        run_it(**options)
    return str(caught.value)


# A run as it should be.


def test_a_run(plays: Callable[..., Path], tmp_path: Path) -> None:
    pids = plays()
    seen: list[tuple[int, int]] = []
    ran = run_it(progress=lambda done, total: seen.append((done, total)))
    assert ran.emulator == "renode"
    assert ran.outputs == ((b"\x01\x02",), (b"\x03\x04",))
    assert (ran.instructions, ran.node_instructions, ran.cycles) == (80, (49, 29), None)
    assert ran.stack_high_water == 96
    assert seen == [(1, 2), (2, 2)]
    assert not alive(pids)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_nothing_is_counted_unasked(plays: Callable[..., Path]) -> None:
    plays(log="")
    assert run_it(count=False).instructions is None


def test_the_script() -> None:
    elf = made()
    text = renode.script(BOARD, marks_of(elf, model_of(elf)), 24_000_000_000)
    assert re_hooks(text) == sorted(MARKS)
    assert text.count('emulation RunFor "1.000000"\ncpu PC\n') == renode.SLICES  # 24e9 at 120 MIPS: 200 s
    assert text.endswith("\nquit\n")


def re_hooks(text: str) -> list[int]:
    lines = [line.split() for line in text.splitlines() if line.startswith("cpu AddHook ")]
    assert all(f"tc:mark {line[2][2:]} {{0}}" in " ".join(line) for line in lines)
    return [int(line[2], 16) for line in lines]


def test_marks_are_read_as_counting_reads_blocks() -> None:
    elf = made()
    marks = marks_of(elf, model_of(elf))
    assert marks.addresses == tuple(sorted(MARKS))
    readings = list(zip(MARKS, READINGS, strict=True))
    assert tally([(FLASH + 32, 7), *readings, (FLASH + 16, 999)], marks, model_of(elf)) == (80, (49, 29))
    again = [(MARKS[0], 0), (MARKS[1], 1), (MARKS[2], 11), (MARKS[1], 12), (MARKS[2], 32), (MARKS[4], 40)]
    assert tally(again, marks, model_of(elf)) == (40, (10, 20))  # node 1 was merged with node 0


def test_runs_side_by_side_do_not_meet(plays: Callable[..., Path]) -> None:
    plays()
    with ThreadPoolExecutor(3) as pool:
        assert [ran.instructions for ran in pool.map(lambda _: run_it(), range(3))] == [80, 80, 80]


# Firmware and Renode that misbehave.


@pytest.mark.parametrize(
    ("console", "match"),
    [
        ([*GOOD[:1], *GOOD[2:]], "missing its predecessor"),
        ([*GOOD[:2], *GOOD[1:]], "sent twice"),
        ([*GOOD[:3], *GOOD[3:4], *GOOD[3:]], "tc:stack twice"),
        ([*GOOD[:3], *GOOD[4:]], "did not say tc:stack"),
        ([GOOD[0], GOOD[1][:-7], *GOOD[2:]], "garbled console line"),
        ([GOOD[0], GOOD[1].replace("0102", "0103"), *GOOD[2:]], "garbled console line"),
        ([*GOOD[:4], seal("tc:done 3")], "announced 2 vectors and 3 outputs"),
        ([*GOOD[:4], "tc:done"], "garbled console line 'tc:done'"),
        ([GOOD[0], seal("tc:fault bus pc=08000022 lr=08000015 address=30000000")], "bus fault in tc_toy_node_0 .*"
         "called from tc_toy_invoke .*address 0x30000000"),
        (["tc:fault"], "garbled console line"),
    ],
)  # fmt: skip
def test_a_console_that_is_not_whole(plays: Callable[..., Path], console: list[str], match: str) -> None:
    pids = plays(console=console)
    assert refused(match).startswith("renode: ")
    assert not alive(pids)


def test_a_line_that_is_broken_off(plays: Callable[..., Path]) -> None:
    plays(console=[GOOD[0], GOOD[1][:-7]], ended=False, end=0)
    assert "its last line is 'tc:output 0 0 01" in refused("renode ended with code 0 before the firmware had finished")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "match"),
    [
        ({"console": [], "end": 0}, "renode ended with code 0 before .*has printed nothing"),
        ({"console": [], "end": 3, "said": "Fatal error: why"}, "(?s)ended with code 3 .*    Fatal error: why"),
        ({"console": GOOD[:2], "end": "abort"}, "was killed by signal 6 before"),
        ({"console": ["\0\1\2\xff garbage"], "end": 0}, "ended with code 0"),
        ({"console": [], "said": "There was an error executing command 'x'"}, "its script failed: .*command 'x'"),
        ({"console": [], "log": "[ERROR] cpu: CPU abort [PC=0x8000022]: illegal\n"}, "the core gave up.*tc_toy_node_0"),
        ({"console": [], "log": "[WARNING] sysbus: [cpu: 0x8000032] WriteDoubleWord to non existing peripheral at "
          "0x30000000, value 0x1.\n"}, r"write at 0x30000000 by tc_toy_node_1 \(0x08000032\): outside every region"),
        ({"log": "[INFO] cpu: tc:mark 8000010 1000\n"}, "its log is not whole: 1 marks"),
        ({"log": LOG.replace("150", "1 5")}, "garbled line .*in its log"),
        ({"console": [], "said": "0x8000022\n" * renode.SLICES}, "did not finish within 30,000 instructions; it was "
         r"last seen in tc_toy_node_0 \(0x08000022\); it has printed nothing"),
    ],
)  # fmt: skip
def test_a_renode_that_misbehaves(plays: Callable[..., Path], part: dict[str, Any], match: str) -> None:
    pids = plays(**part)
    refused(match, max_instructions=10_000)
    assert not alive(pids)


def test_accesses_to_peripherals_that_are_left_out_are_fine(plays: Callable[..., Path]) -> None:
    left_out = "[WARNING] sysbus: [cpu: 0x8000032] ReadDoubleWord from non existing peripheral at 0x40021000.\n"
    plays(log=left_out + LOG)
    assert run_it().instructions == 80


@pytest.mark.slow
def test_a_hang_ends_at_the_time_limit_and_the_log_is_kept(plays: Callable[..., Path], tmp_path: Path) -> None:
    pids = plays(console=GOOD[:2], said="0x8000022", log="the log\n")
    begin = time.monotonic()
    text = refused("did not finish within the time limit of .* s; it was last seen in tc_toy_node_0", wall_seconds=0.8)
    assert time.monotonic() - begin < 5
    assert not alive(pids)
    (kept,) = (tmp_path / "temporary").iterdir()
    assert f"the whole log: {kept}" in text
    assert kept.read_text() == "0x8000022\nthe log\n"
    assert text.count("0x8000022") == 0


def test_an_interrupt_leaves_nothing(plays: Callable[..., Path], tmp_path: Path) -> None:
    pids = plays(console=GOOD[:2])

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_it(progress=stop)
    assert not alive(pids)
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing(plays: Callable[..., Path], tmp_path: Path, number: signal.Signals, code: int) -> None:
    pids = plays(console=GOOD[:2])
    command = [sys.executable, "-m", "tinycompiler.cli", "run", DIGITS, "-b", "bluepill", "--emulator", "renode"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        until = time.monotonic() + 60
        while not (pids.exists() and pids.read_text().count(" ")) and time.monotonic() < until:
            time.sleep(0.05)
        running.send_signal(number)
        assert running.wait(20) == code
    assert not alive(pids)


def test_a_console_that_never_ends_is_cut(plays: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MOST_BYTES", 1000)
    pids = plays(console=["x" * 50] * 100)
    refused("console.txt grew beyond 1,000 bytes")
    assert not alive(pids)


def test_a_full_disk(plays: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    plays()

    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        refused("cannot write .*: No space left on device; make room, or name another folder by TMPDIR")
    plays(console=GOOD[:1], end=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))  # type: ignore[attr-defined]
    refused(r"ended with code 0 before the firmware had finished \(the disk of .* is full: 0 bytes are left\)")


# Finding it.


def test_without_renode_the_error_says_where_to_get_it(renode_at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYCOMPILER_RENODE", "no-such-renode")
    refused("emulator renode: no-such-renode was not found; install it from renode.io .*--emulator unicorn")


def test_a_renode_that_is_not_executable(renode_at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYCOMPILER_RENODE", str(renode_at))
    renode_at.chmod(0o644)
    refused("is there but cannot be executed; chmod")
    renode_at.write_bytes(b"\x7fELF of another machine")
    renode_at.chmod(0o755)
    refused("cannot start .*renode: Exec format error")


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ("Renode, version 1.15.3.27287 (fc6be3a6)", "is version 1.15.3; wanted 1.16 or newer"),
        ("Renode v0.9", "is version 0.9; wanted 1.16 or newer"),
        ("usage: renode [-h]", "--version says 'usage: renode .*; wanted Renode's version"),
        ("", "--version says ''"),
    ],
)
def test_another_version(plays: Callable[..., Path], said: str, match: str) -> None:
    plays(version=said)
    refused(match)


@pytest.mark.slow
def test_a_version_that_does_not_come(renode_at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renode_at.write_text("#!/bin/sh\nsleep 1000\n")
    monkeypatch.setattr(renode, "VERSION_SECONDS", 0.2)
    refused("--version` gave no answer within 0.2 s")


@pytest.mark.parametrize("said", ["Renode v1.16.1", "Renode, version 1.16.1.5 (a)\n build: x", "renode 2.0"])
def test_a_version_that_is_new_enough(plays: Callable[..., Path], said: str) -> None:
    plays(version=said)
    assert run_it().instructions == 80


# What doctor says of it.


def said_by_doctor() -> Finding:
    return next(finding for finding in examine() if finding.tool == "renode")


def test_doctor_tells_the_version(plays: Callable[..., Path]) -> None:
    plays(version="Renode, version 1.17.0.1 (a)")
    assert said_by_doctor().found == "1.17.0"


def test_doctor_tells_why_it_cannot_be_used(plays: Callable[..., Path]) -> None:
    plays(version="Renode v1.15.0")
    assert said_by_doctor().found is None
    assert "is version 1.15.0; wanted 1.16 or newer; install it from renode.io" in said_by_doctor().install


def test_doctor_tells_where_to_get_it(renode_at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYCOMPILER_RENODE", "no-such-renode")
    assert said_by_doctor().install.startswith("no-such-renode was not found; install it from renode.io")


# Real firmware, run by the stand-in.


@pytest.mark.slow
@pytest.mark.emulator
@needs_compiler
@pytest.mark.parametrize("name", ["rpi_pico", "nucleo_l4r5zi"])
def test_digits_are_as_in_the_embedded_emulator(renode_at: Path, name: str) -> None:
    pytest.importorskip("unicorn")
    board = boards.load(name)
    compiled = compile_model(DIGITS, board, Numerics.LITERT)
    elf = build(compiled.program, board, vectors=[vector.bytes for vector in random_vectors(compiled.graph, 2, 0)])
    here, there = run(elf, board), run(elf, board, emulator="renode")
    assert there.outputs == here.outputs
    assert there.instructions == here.instructions is not None
    assert there.node_instructions == here.node_instructions
    assert there.stack_high_water == here.stack_high_water


@pytest.mark.slow
@pytest.mark.emulator
@needs_compiler
@pytest.mark.parametrize(
    ("body", "match"),
    [
        (
            'for (;;) { __asm volatile(""); }',
            "did not finish within 40,000 instructions; it was last seen in .*_node_1",
        ),
        ("*(volatile int *)0x30000000 = 1;", "write at 0x30000000 by tc_probe_node_1 .*outside every region"),
        ('__asm volatile("udf #1");', "the core gave up: .*it was last seen in tc_probe_node_1"),
    ],
)
def test_firmware_that_misbehaves_is_named(renode_at: Path, body: str, match: str) -> None:
    pytest.importorskip("unicorn")
    from tests.test_emulators import probe  # a module that is skipped as a whole without unicorn

    elf, board = probe(body)
    with pytest.raises(EmulatorError, match=match):
        run(elf, board, emulator="renode", max_instructions=10_000)
