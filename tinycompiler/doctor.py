"""What is installed, what each missing thing would give, and how to get it."""

import os
import shutil
import sys
from dataclasses import dataclass

from tinycompiler.build import INSTALL, toolchain
from tinycompiler.errors import BuildError
from tinycompiler.host import INSTALL as HOST_INSTALL
from tinycompiler.host import host_compiler


@dataclass(frozen=True)
class Finding:
    """One tool: `found` is its version, or None."""

    tool: str
    found: str | None
    gives: str
    install: str


def examine() -> list[Finding]:
    """Every tool that tinycompiler can use."""
    renode = os.environ.get("TINYCOMPILER_RENODE", "renode")
    return [
        Finding("python", ".".join(map(str, sys.version_info[:3])), "tinycompiler itself", ""),
        _compiler(),
        _host(),
        _package("unicorn", "the embedded emulator: run, verify", "emulator"),
        Finding(
            "renode",
            shutil.which(renode),
            "the Renode emulator, for the emitted .resc and .robot files",
            "the portable archive from renode.io, on PATH or named by TINYCOMPILER_RENODE",
        ),
        _package("ai-edge-litert", "the judge of the litert numerics", "reference"),
        *_judges_of_tflm(),
    ]


def _judges_of_tflm() -> list[Finding]:
    """tflite-micro, and what stands in for it, if it is there."""
    stand_in = _package("tflite-runtime", "a judge of the tflm numerics for common operators", "reference-runtime")
    found = _package("tflite-micro", "the judge of the tflm numerics", "reference-tflm")
    return [found, stand_in] if stand_in.found else [found]


def _compiler() -> Finding:
    gives = "the verdict on the linked ELF, and firmware to run"
    try:
        return Finding("arm-none-eabi-gcc", toolchain().version, gives, INSTALL)
    except BuildError:
        return Finding("arm-none-eabi-gcc", None, gives, INSTALL)


def _host() -> Finding:
    try:
        found = " ".join(host_compiler())
    except BuildError:
        found = None
    return Finding("C compiler of this machine", found, "run and verify with --host", HOST_INSTALL)


def _package(name: str, gives: str, extra: str) -> Finding:
    from importlib.metadata import PackageNotFoundError, version  # takes a while, and no other command asks

    try:
        found = version(name)
    except PackageNotFoundError:
        found = None
    return Finding(name, found, gives, f"pip install 'tinycompiler[{extra}]'")
