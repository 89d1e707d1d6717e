"""The emitted C on the machine at hand, under AddressSanitizer and UndefinedBehaviorSanitizer.

It proves nothing about a board, and finds in a second what an emulator cannot: undefined shifts, signed overflow,
misaligned or stray accesses. Kernels with assembly run in their plain C form.
"""

import os
import shlex
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

WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wdouble-promotion", "-Werror")
SANITIZERS = "address,undefined,float-cast-overflow,float-divide-by-zero"  # the last two are no part of `undefined`
FLAGS = (
    *("-std=c11", "-O1", "-g", *WARNINGS),
    *(f"-fsanitize={SANITIZERS}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
)
INSTALL = (
    "install one (Debian, Ubuntu: apt install gcc, or clang libclang-rt-dev; macOS: xcode-select --install), "
    "or name another by --cc or CC"
)


def host_compiler(wanted: str | None = None) -> tuple[str, ...]:
    """The words that call `wanted`, else the compiler named by CC, else cc, gcc or clang on the path.

    As in make, CC may hold options too. Raises BuildError when a compiler that was named is not there, or when there is
    none at all.
    """
    for source, named in (("--cc", wanted), ("CC", os.environ.get("CC"))):
        if words := shlex.split(named or ""):
            if shutil.which(words[0]) is None:
                raise BuildError(f"{source}: compiler {words[0]} was not found; {INSTALL}")
            return tuple(words)
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return (name,)
    raise BuildError(f"no C compiler for this machine was found; {INSTALL}")


def run_on_host(
    program: Program,
    vectors: Sequence[Vector],
    output_bytes: Sequence[int],
    *,
    compiler: str | None = None,
    flags: Sequence[str] = FLAGS,
    seconds: float = 300,
) -> Run:
    """Every vector, one after another in one process; state goes on from vector to vector.

    `compiler` as in `host_compiler`; other `flags` are for programs without sanitizers. Raises BuildError when it
    refuses, EmulatorError when a sanitizer speaks or the program ends early.
    """
    words = host_compiler(compiler)
    with tempfile.TemporaryDirectory(prefix="tinycompiler-") as name:
        work = Path(name)
        (work / "program").mkdir()
        for file, text in program.files.items():
            (work / "program" / file).write_text(text, encoding="utf-8")
        shutil.copy(folder("firmware") / "main_host.c", work)
        sources = ["main_host.c", f"program/{program.name}.c", f"program/{program.name}_weights.c", "-Iprogram"]
        _compile([*words, *flags, *sources, "-o", "network"], work)
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
        f"host, {Path(words[0]).name}, AddressSanitizer and UndefinedBehaviorSanitizer",
        len(vectors),
        (),
        tuple(_cut(a, output_bytes) for a in answers),
    )


def _compile(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    told = done.stderr.strip()
    if "cannot find" in told and "san" in told:
        raise BuildError(f"{command[0]} lacks its sanitizers' libraries:\n{told}\n{INSTALL}")
    raise BuildError(f"{command[0]} refused the emitted C:\n{told}")


def _cut(data: bytes, sizes: Sequence[int]) -> tuple[bytes, ...]:
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple(data[start : start + size] for start, size in zip(starts, sizes, strict=True))
