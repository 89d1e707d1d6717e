"""The wheel, installed into an empty environment: templates, boards and firmware are inside, and `compile` works."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest

from tinycompiler import board

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "tests" / "models" / "digits.tflite"
DEPENDENCIES = ("flatbuffers", "jinja2", "markupsafe", "numpy", "elftools")

pytestmark = pytest.mark.slow


def call(*command: object, cwd: Path) -> str:
    """What a program prints, without this process's Python settings; it must end well."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources by the build backend that is installed here, so without the network."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    for name in ("tinycompiler", "templates", "boards", "firmware"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    call(*pip, "--no-deps", "--no-build-isolation", ".", "--wheel-dir", folder, cwd=sources)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def empty(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts' folder of an environment with the wheel and, as links, its dependencies, and nothing else."""
    home = tmp_path_factory.mktemp("empty")
    call(sys.executable, "-m", "venv", home, cwd=home)
    scripts = home / Path(sysconfig.get_path("scripts")).name
    pip = [scripts / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    call(*pip, "--no-deps", "--no-index", wheel, cwd=home)
    site = Path(
        call(scripts / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip()
    )
    for name in DEPENDENCIES:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        for path in Path(spec.origin).parent.parent.glob(f"{name}*"):  # with libraries beside it, as numpy.libs
            (site / path.name).symlink_to(path)
    return scripts


def test_everything_is_inside(wheel: Path) -> None:
    inside = {name for name in ZipFile(wheel).namelist() if name.startswith("tinycompiler/_data/")}
    there = {
        f"tinycompiler/_data/{path.relative_to(ROOT)}"
        for name in ("templates", "boards", "firmware")
        for path in (ROOT / name).rglob("*")
        if path.is_file()
    }
    assert inside == there


def test_nothing_else_is_inside(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in ZipFile(wheel).namelist()}
    assert {top.split("-")[0] for top in tops} == {"tinycompiler"}


def test_it_is_the_installed_package(empty: Path, tmp_path: Path) -> None:
    where = call(empty / "python", "-c", "import tinycompiler; print(tinycompiler.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(empty.parent)


def test_compile(empty: Path, tmp_path: Path) -> None:
    shutil.copy(DIGITS, tmp_path)
    told = call(
        empty / "tinycompiler", "compile", "digits.tflite", "-b", "bluepill", "-o", "out", "--json", cwd=tmp_path
    )
    report = json.loads(told)
    assert report["fits"] is (True if shutil.which("arm-none-eabi-gcc") else None)
    assert {"digits.c", "digits.h", "digits_weights.c", "manifest.json"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }


def test_listings(empty: Path, tmp_path: Path) -> None:
    told = json.loads(call(empty / "tinycompiler", "boards", "--json", cwd=tmp_path))
    assert [b["name"] for b in told["boards"]] == list(board.names())
    assert "CONV_2D" in call(empty / "tinycompiler", "ops", cwd=tmp_path)


def test_missing_extras_are_named(empty: Path, tmp_path: Path) -> None:
    told = call(empty / "tinycompiler", "doctor", cwd=tmp_path)
    assert "tinycompiler[emulator]" in told
