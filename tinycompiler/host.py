"""The emitted C on the machine at hand, under AddressSanitizer and UndefinedBehaviorSanitizer.

It proves nothing about a board, and finds in a second what an emulator cannot: undefined shifts, signed overflow,
misaligned or stray accesses. Kernels with assembly run in their plain C form.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tinycompiler.emit import Program
from tinycompiler.emulators import Run
from tinycompiler.errors import BuildError, EmulatorError
from tinycompiler.resources import folder
from tinycompiler.vectors import Vector

FLAGS = (
    *("-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wdouble-promotion"),
    *("-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
)
INSTALL = "install a C compiler (Debian, Ubuntu: apt install gcc) or set CC"


def host_compiler() -> str:
    """The compiler named by CC, else cc, gcc or clang on the path. Raises BuildError."""
    for wanted in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if wanted and shutil.which(wanted):
            return wanted
    raise BuildError(f"no C compiler for this machine was found; {INSTALL}")


def run_on_host(
    program: Program, vectors: Sequence[Vector], output_bytes: Sequence[int], *, seconds: float = 300
) -> Run:
    """Every vector, one after another in one process; state goes on from vector to vector.

    Raises BuildError when the compiler refuses, EmulatorError when a sanitizer speaks or the program ends early.
    """
    compiler = host_compiler()
    with tempfile.TemporaryDirectory(prefix="tinycompiler-") as name:
        work = Path(name)
        (work / "program").mkdir()
        for file, text in program.files.items():
            (work / "program" / file).write_text(text, encoding="utf-8")
        shutil.copy(folder("firmware") / "main_host.c", work)
        sources = ["main_host.c", f"program/{program.name}.c", f"program/{program.name}_weights.c", "-Iprogram"]
        built = subprocess.run(
            [compiler, *FLAGS, *sources, "-o", "network"], cwd=work, capture_output=True, text=True, check=False
        )
        if built.returncode:
            raise BuildError(f"{compiler} refused the emitted C:\n{built.stderr.strip()}")
        try:
            ran = subprocess.run(
                [str(work / "network")],
                input=b"".join(v.bytes for v in vectors),
                capture_output=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise EmulatorError(f"{program.name} on the host: not done after {seconds:.0f} s") from late
    each = sum(output_bytes)
    if ran.returncode or len(ran.stdout) != each * len(vectors):
        told = ran.stderr.decode(errors="replace").strip()[-2000:]
        raise EmulatorError(f"{program.name} on the host ended with code {ran.returncode}:\n{told}")
    answers = [ran.stdout[i : i + each] for i in range(0, len(ran.stdout), each)]
    return Run(
        "host, AddressSanitizer and UndefinedBehaviorSanitizer",
        len(vectors),
        (),
        tuple(_cut(a, output_bytes) for a in answers),
    )


def _cut(data: bytes, sizes: Sequence[int]) -> tuple[bytes, ...]:
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple(data[start : start + size] for start, size in zip(starts, sizes, strict=True))
