"""What is installed, what each missing thing would give, and how to get it."""

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from tinycompiler.build import toolchain
from tinycompiler.errors import BuildError


@dataclass(frozen=True)
class Finding:
    """One tool: `found` is its version, or None."""

    tool: str
    found: str | None
    gives: str
    install: str


def examine() -> list[Finding]:
    """Every tool that tinycompiler can use."""
    return [
        Finding("python", ".".join(map(str, sys.version_info[:3])), "tinycompiler itself", ""),
        _compiler(),
        _package("unicorn", "unicorn", "the embedded emulator: run, verify", "pip install 'tinycompiler[emulator]'"),
        _program("renode", os.environ.get("TINYCOMPILER_RENODE", "renode"), "the Renode emulator, for the emitted .resc and .robot",
                 "the portable archive from renode.io, on PATH or in TINYCOMPILER_RENODE"),
        _package("ai-edge-litert", "ai_edge_litert", "the judge of the litert numerics", "pip install 'tinycompiler[reference]'"),
        _package("tflite-micro", "tflite_micro", "the judge of the tflm numerics", "pip install 'tinycompiler[reference-tflm]'"),
    ]  # fmt: skip


def _compiler() -> Finding:
    gives = "the verdict on the linked ELF, and firmware to run"
    install = "apt install gcc-arm-none-eabi libnewlib-arm-none-eabi (Debian, Ubuntu); brew install --cask gcc-arm-embedded (macOS)"
    try:
        return Finding("arm-none-eabi-gcc", toolchain().version, gives, install)
    except BuildError:
        return Finding("arm-none-eabi-gcc", None, gives, install)


def _package(name: str, module: str, gives: str, install: str) -> Finding:
    try:
        found = version(name) if find_spec(module) else None
    except PackageNotFoundError:
        found = None
    return Finding(name, found, gives, install)


def _program(name: str, command: str, gives: str, install: str) -> Finding:
    return Finding(name, shutil.which(command), gives, install)
