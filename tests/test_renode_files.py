"""The files for Renode: golden ones for three boards, and for every board exactly its memory and its console.

TINYCOMPILER_GOLDEN=write writes the golden files anew; look at the difference before keeping it.
"""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tinycompiler import board as boards
from tinycompiler.board import Board
from tinycompiler.emulators.protocol import parse, seal
from tinycompiler.emulators.renode_files import project, repl, resc, robot, workflow
from tinycompiler.errors import EmulatorError, UsageError

GOLDEN = Path(__file__).parent / "golden" / "renode"
EXPECTED = (
    (bytes.fromhex("00ff7f80"), bytes.fromhex("01")),
    (bytes.fromhex("0102f3f4"), bytes.fromhex("02")),
)


@pytest.mark.parametrize("name", ["nucleo_l4r5zi", "rpi_pico", "nrf52840dk"])
@pytest.mark.parametrize("kind", ["repl", "resc", "robot", "yml"])
def test_golden(name: str, kind: str) -> None:
    board = boards.load(name)
    texts = {
        "repl": repl(board),
        "resc": resc(board, "kws", "kws.elf"),
        "robot": robot(board, "kws", "kws.elf", EXPECTED, stack=328, ends=(board.ram.address + 0x1000,)),
        "yml": workflow(board, "kws"),
    }
    path = GOLDEN / f"{name}.{kind}"
    if os.environ.get("TINYCOMPILER_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[kind])
    assert texts[kind] == path.read_text()


@pytest.mark.parametrize("name", boards.names())
def test_the_platform_has_exactly_the_memory_of_the_board(name: str) -> None:
    board = boards.load(name)
    found = re.findall(r"^(\w+): Memory\.MappedMemory @ sysbus 0x(\w+) \{ size: 0x(\w+) \}$", repl(board), re.MULTILINE)
    wanted = [(region.name, region.address, region.size) for region in board.regions]
    assert [(region, int(address, 16), int(size, 16)) for region, address, size in found] == wanted


@pytest.mark.parametrize("name", boards.names())
def test_the_platform_has_the_core_and_the_console_of_the_board(name: str) -> None:
    board = boards.load(name)
    assert board.renode is not None
    text = repl(board)
    uart = f"{board.renode.uart_name}: {board.renode.uart} @ sysbus 0x{board.console.address:08X}"
    assert uart in text
    assert f'cpuType: "{board.renode.cpu}"' in text
    assert ("Miscellaneous.DWT @ sysbus 0xE0001000" in text) == (board.core.name != "cortex-m0plus")
    assert len(re.findall(r"^\w+:", text, re.MULTILINE)) == len(set(re.findall(r"^\w+:", text, re.MULTILINE)))


@pytest.mark.parametrize("name", boards.names())
def test_script_and_test_use_what_the_platform_names(name: str) -> None:
    board = boards.load(name)
    entries = set(re.findall(r"^(\w+):", repl(board), re.MULTILINE))
    for text in (resc(board, "ad", "ad.elf"), robot(board, "ad", "ad.elf", EXPECTED)):
        assert set(re.findall(r"sysbus\.(\w+)", text)) <= entries
        assert ("VectorTableOffset" in text) == (board.boot is not None)


def test_the_lines_waited_for_are_a_complete_run() -> None:
    text = robot(boards.load("bluepill"), "kws", "kws.elf", EXPECTED)
    waited = re.findall(r"Wait For Line On Uart    (tc:.*)", text)
    parsed = parse([seal("tc:hello kws 2"), *waited[:-1], seal("tc:stack 8"), waited[-1]])
    assert parsed.outputs == EXPECTED
    assert all("  " not in line for line in waited)  # two blanks would end Robot's argument


def test_a_board_that_renode_does_not_know_is_an_error() -> None:
    board = replace(boards.load("bluepill"), renode=None)
    with pytest.raises(EmulatorError, match=r"bluepill.*\[renode\]"):
        repl(board)


def with_stock(name: str, stock: str | None) -> Board:
    board = boards.load(name)
    assert board.renode is not None
    return replace(board, renode=replace(board.renode, stock=stock))


def test_a_project_is_a_folder_of_files_that_name_each_other() -> None:
    files = project(with_stock("bluepill", None), None, name="kws", expected=EXPECTED)
    assert sorted(files) == ["bluepill.repl", "kws.resc", "kws.robot", "workflow.yml"]
    assert "LoadPlatformDescription @bluepill.repl\n" in files["kws.resc"]
    assert "${REPL}    ${CURDIR}/bluepill.repl\n" in files["kws.robot"]
    assert "${ELF}     ${CURDIR}/../firmware/kws.elf\n" in files["kws.robot"]
    assert "tests-to-run: renode/kws.robot\n" in files["workflow.yml"]


def test_the_stock_platform_stands_in_for_ours() -> None:
    stock = "platforms/boards/some.repl"
    files = project(with_stock("bluepill", stock), None, name="kws", expected=EXPECTED, stock=True)
    assert sorted(files) == ["kws.resc", "kws.robot", "workflow.yml"]
    assert f"LoadPlatformDescription @{stock}\n" in files["kws.resc"]
    assert f"${{REPL}}    {stock}\n" in files["kws.robot"]


def test_without_a_stock_platform_there_is_a_way_out() -> None:
    with pytest.raises(UsageError, match=r"board bluepill: Renode ships no platform .*leave --stock away"):
        project(with_stock("bluepill", None), None, name="kws", expected=EXPECTED, stock=True)


@pytest.mark.parametrize("name", boards.names())
def test_stock_platforms_are_files_of_renodes_tree(name: str) -> None:
    board = boards.load(name)
    if board.renode is not None and board.renode.stock is not None:
        assert re.fullmatch(r"platforms/(boards|cpus)/[\w-]+\.repl", board.renode.stock)


def test_memory_is_tested_where_there_is_an_image() -> None:
    text = robot(boards.load("bluepill"), "kws", "kws.elf", EXPECTED, stack=320, ends=(0x20001000,))
    steps = [line.strip() for line in text.splitlines()]
    (paint,) = [line for line in steps if "WriteDoubleWord 0x20001000" in line]
    assert steps.index(paint) < steps.index("Start Emulation")
    assert "Should Be True           ${line.Groups[0]} <= 320" in steps
    assert steps[-2].endswith("sysbus ReadDoubleWord 0x20001000")
    assert paint.split()[-1][2:] in steps[-1]
    assert "tc:stack" not in robot(boards.load("bluepill"), "kws", "kws.elf", EXPECTED)
