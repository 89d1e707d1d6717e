"""The host's run: by every compiler that is there, and every kind of undefined behaviour ends it."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests import models
from tests.commands import DIGITS, say
from tests.draws import Case
from tests.programs import program_of
from tests.test_report import validate
from tinycompiler.board import CORES
from tinycompiler.emulators import Run
from tinycompiler.errors import BuildError, EmulatorError
from tinycompiler.host import host_compiler, run_on_host
from tinycompiler.kernels import Calls, lower
from tinycompiler.ops import Numerics
from tinycompiler.vectors import Vector, random_vectors

BOARD = ("-b", "bluepill")
COMPILERS = [
    pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"needs {name}"))
    for name in ("gcc", "clang")
]
EACH = pytest.mark.parametrize("compiler", COMPILERS)


@pytest.fixture(autouse=True)
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)


@cache
def small() -> Calls:
    graph = Case(models.relu, 0, {"shape": (1, 16)}).graph(Numerics.LITERT)
    return lower(replace(graph, name="net"), CORES["cortex-m3"])


def run_small(change: Callable[[str], str], compiler: str) -> Run:
    """The network with its C changed."""
    calls = small()
    program, graph = program_of(calls), calls.graph
    files = {**program.files, "net.c": change(program.files["net.c"])}
    assert files != program.files
    sizes = [graph.tensors[name].bytes for name in graph.outputs]
    return run_on_host(replace(program, files=files), random_vectors(graph, 1, 0), sizes, compiler=compiler)


@pytest.mark.slow
@EACH
def test_verify_and_run(compiler: str, tmp_path: Path) -> None:
    said = say("verify", DIGITS, *BOARD, "--host", "--cc", compiler, "-n", 2, "--json")
    assert said.code == 0, said.out + said.err
    validate(said.json)
    assert said.json["verify"]["mismatches"] == 0
    assert compiler in said.json["run"]["emulator"]
    assert say("compile", DIGITS, *BOARD, "-o", tmp_path / "out").code == 0
    run = say("run", tmp_path / "out", *BOARD, "--host", "--cc", f"{compiler} -O2")
    assert (run.code, run.err) == (0, "")
    assert "1 inferences" in run.out


def test_a_compiler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for words, place in ((("--cc", "nocc"), "--cc"), ((), "CC")):
        if not words:
            monkeypatch.setenv("CC", "nocc -m32")
        said = say("verify", DIGITS, *BOARD, "--host", *words)
        assert said.code == 4
        assert f"{place}: compiler nocc was not found" in said.err
        assert "apt install" in said.err
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    assert say("verify", DIGITS, *BOARD, "--host").code == 4


def test_which_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name if name in ("gcc", "ccache") else None)
    assert host_compiler() == ("gcc",)
    assert host_compiler("gcc -O2") == ("gcc", "-O2")
    monkeypatch.setenv("CC", "ccache gcc")
    assert host_compiler() == ("ccache", "gcc")
    assert host_compiler("gcc") == ("gcc",)
    with pytest.raises(BuildError, match="--cc: compiler clang was not found"):
        host_compiler("clang")


def test_a_compiler_for_the_host_needs_the_host() -> None:
    for command in ("run", "verify"):
        said = say(command, DIGITS, *BOARD, "--cc", "gcc")
        assert said.code == 2
        assert "add --host" in said.err


WRONG: Mapping[str, tuple[str, str]] = {
    "signed overflow": ("volatile int32_t x = INT32_MAX; x = x + 1;", "signed integer overflow"),
    "shift": ("volatile int32_t x = 32; x = 1 << x;", "shift exponent"),
    "division": ("volatile int32_t x = 0; x = 1 / x;", "division by zero"),
    "alignment": ("volatile int32_t x = *(tc_s32 *)TC_ARENA(1); (void)x;", "misaligned"),
    "null": ("volatile int32_t *volatile x = NULL; *x = 1;", "null pointer|SEGV"),
    "beyond the arena": (
        "((volatile uint8_t *)TC_ARENA(0))[TC_NET_ARENA_BYTES] = 1;",
        "global-buffer-overflow|insufficient space",
    ),
    "float to integer": ("volatile float x = 1e20f; volatile int32_t y = (int32_t)x; (void)y;", "outside the range"),
    "float division": ("volatile float x = 0; x = 1 / x;", "division by zero"),
}


@pytest.mark.slow
@EACH
@pytest.mark.parametrize("what", WRONG)
def test_undefined_behaviour_is_found(what: str, compiler: str) -> None:
    code, words = WRONG[what]
    start = "void tc_net_invoke(void)\n{\n"
    with pytest.raises(EmulatorError, match=words):
        run_small(lambda text: text.replace(start, f"{start}    {code}\n"), compiler)


@EACH
def test_a_warning_is_an_error(compiler: str) -> None:
    narrow = "int8_t narrow(int x);\nint8_t narrow(int x)\n{\n    return x;\n}\n"
    with pytest.raises(BuildError, match="refused the emitted C"):
        run_small(lambda text: text + narrow, compiler)


@pytest.mark.slow
@EACH
def test_floats_that_are_no_int8(compiler: str) -> None:
    """Saturated, and the least for what is not a number, without a conversion that is undefined."""
    graph = Case(models.quantize, 0, {"shape": (1, 7)}).graph(Numerics.LITERT)
    graph = replace(graph, name="net")
    values = np.array([[np.nan, np.inf, -np.inf, 3e38, -3e38, 1e10, 0]], np.float32)
    [name], [output] = graph.inputs, graph.outputs
    program = program_of(lower(graph, CORES["cortex-m3"]))
    [[found]] = run_on_host(program, [Vector("odd", (values,))], [7], compiler=compiler).outputs
    assert found == graph.evaluate({name: values})[output].tobytes()
    assert np.frombuffer(found, np.int8)[:6].tolist() == [-128, 127, -128, 127, -128, 127]
