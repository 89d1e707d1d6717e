"""The command line in this process, and the networks that tests of the whole line run."""

import json
import os
import shutil
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tinycompiler import cli

REAL = Path(os.environ.get("TINYCOMPILER_MODELS", Path(__file__).parents[2] / "shared" / "models"))
MLPERF = ("kws", "vww", "ic", "ad")
DIGITS = Path(__file__).parent / "models" / "digits.tflite"

needs_real = pytest.mark.skipif(
    not (REAL / "kws.tflite").exists(), reason=f"no MLPerf Tiny networks in {REAL}; set TINYCOMPILER_MODELS"
)
needs_compiler = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs arm-none-eabi-gcc")


def real(name: str) -> Path:
    """The file of an MLPerf Tiny network."""
    return REAL / f"{name}.tflite"


@dataclass(frozen=True)
class Said:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on standard output; anything before or after it is a failure."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


def say(*words: object) -> Said:
    """`tinycompiler` with these words; nothing but an exit code may come out of it."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as exit_:  # argparse: usage, --help, --version
            code = exit_.code if isinstance(exit_.code, int) else 99
    return Said(code, out.getvalue(), err.getvalue())


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, by its relative name; folders that hold nothing end in a slash."""
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    empty = {f"{p.relative_to(folder)}/": b"" for p in folder.rglob("*") if p.is_dir() and not any(p.iterdir())}
    return files | empty
