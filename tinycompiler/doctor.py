"""What is installed, what each missing thing would give, and how to get it."""

import re
import sys
from dataclasses import dataclass

from tinycompiler.build import INSTALL, toolchain
from tinycompiler.emulators import qemu, renode
from tinycompiler.emulators.process import ask
from tinycompiler.errors import BuildError, EmulatorError
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
    return [
        Finding("python", ".".join(map(str, sys.version_info[:3])), "tinycompiler itself", ""),
        _compiler(),
        _host(),
        _package("unicorn", "the embedded emulator: run, verify", "emulator"),
        _renode(),
        _qemu(),
        _package("ai-edge-litert", "the judge of the litert numerics", "reference"),
        *_judges_of_tflm(),
        Finding("pytest", _version("pytest"), "the fixture `firmware` in your own tests", "pip install pytest"),
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


def _renode() -> Finding:
    gives = "the Renode emulator: --emulator renode, and the emitted .resc and .robot files"
    try:
        path = renode.find()
        return Finding("renode", ".".join(map(str, renode.version(path))), gives, f"install {renode.INSTALL}")
    except EmulatorError as problem:
        return Finding("renode", None, gives, str(problem).removeprefix("emulator renode: "))


def _qemu() -> Finding:
    path = qemu.find()
    gives = "the QEMU emulator: --emulator qemu, for the boards that it has"
    try:
        found = re.search(r"version (\S+)", ask([path, "--version"], tool="qemu", wall_seconds=20)) if path else None
    except EmulatorError:
        found = None
    return Finding("qemu-system-arm", found[1] if found else None, gives, qemu.INSTALL)


def _package(name: str, gives: str, extra: str) -> Finding:
    return Finding(name, _version(name), gives, f"pip install 'tinycompiler[{extra}]'")


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # takes a while, and no other command asks

    try:
        return version(package)
    except PackageNotFoundError:
        return None
