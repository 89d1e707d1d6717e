"""README.md tells the truth: its tables are fresh, its commands parse, its files exist, its C compiles."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.commands import needs_real
from tinycompiler import cli
from tinycompiler.bench.figures import load as load_figures
from tinycompiler.board import load
from tinycompiler.compile import compile_model
from tinycompiler.ops import Numerics
from tools import readme_tables

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DIGITS = ROOT / "tests" / "models" / "digits.tflite"
FENCES = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = FENCES.findall(README)
PROSE = FENCES.sub("", README)
SPANS = re.findall(r"`([^`\n]+)`", PROSE)


def between(name: str) -> str:
    """What stands between a pair of markers."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", README, re.DOTALL)
    assert found, f"README.md has no pair of markers for {name}"
    return found[1]


def commands() -> list[str]:
    """Every tinycompiler command, in prose and in transcripts."""
    shown = [line.removeprefix("$ ") for _, body in BLOCKS for line in body.splitlines()]
    return [text for text in (*SPANS, *shown) if text.startswith("tinycompiler ")]


@pytest.mark.parametrize("name", ["ops", "boards"])
def test_tables_are_fresh(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--markdown"]) == 0
    printed = readme_tables.lined_up(capsys.readouterr().out.rstrip("\n") + "\n")
    assert between(name) == printed, "README.md is stale: make readme"


def test_tables_line_up() -> None:
    assert readme_tables.lined_up(README) == README, "the tables of README.md do not line up: make readme"


@pytest.mark.parametrize("command", commands())
def test_commands_parse(command: str) -> None:
    cli.build_parser().parse_args(shlex.split(command)[1:])


def test_every_command_is_shown() -> None:
    shown = {shlex.split(command)[1] for command in commands()}
    told = re.search(r"\{([\w,]+)\}", cli.build_parser().format_usage())
    listed = re.findall(r"^    (\w+) ", cli.build_parser().format_help(), re.MULTILINE)
    assert shown == set(told[1].split(",") if told else listed)


@pytest.mark.parametrize(
    "target", re.findall(r"^make (\w+)", README, re.MULTILINE) + [s[5:] for s in SPANS if s.startswith("make ")]
)
def test_make_has_the_target(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_linked_files_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", PROSE) if "://" not in link]
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


def test_linked_headings_exist() -> None:
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", PROSE, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", PROSE)) <= anchors


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc for this machine")
def test_the_c_compiles(tmp_path: Path) -> None:
    program = compile_model(DIGITS, load("bluepill"), Numerics.LITERT).program
    (code,) = [body for language, body in BLOCKS if language == "c"]
    for name, text in (*program.files.items(), ("application.c", code)):
        (tmp_path / name).write_text(text)
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
    done = subprocess.run(["gcc", *flags, "application.c"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.models
@needs_real
def test_arenas_are_those_of_the_planner() -> None:
    assert between("memory") == readme_tables.lined_up(readme_tables.arenas()), "README.md is stale: make readme"


@pytest.mark.parametrize("name", ["figures", "speed"])
def test_figures_are_those_of_the_bench(name: str) -> None:
    part = readme_tables.measured(load_figures(readme_tables.BENCH))[name]
    assert between(name) == readme_tables.lined_up(part), "README.md is stale: make readme"
