"""The whole line on real networks: exact, in little memory, fast, self-contained, the same every time."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.commands import DIGITS, MLPERF, needs_compiler, needs_real, real, say, tree
from tests.judges import judge
from tests.test_report import validate
from tinycompiler import board
from tinycompiler.board import load
from tinycompiler.compile import Compiled, compile_model
from tinycompiler.ops import Numerics

NUCLEO = "nucleo_l4r5zi"
ARENA = {"kws": 17_500, "vww": 57_500, "ic": 51_500, "ad": 2_100}
"""Bytes, inputs, outputs and scratch included."""
TFLM_INSTRUCTIONS = {"kws": 7_696_753, "vww": 24_101_548, "ic": 29_862_754, "ad": 582_267}
"""Per inference on a Cortex-M4 by TensorFlow Lite Micro with CMSIS-NN, counted under emulation."""
CODE = 20_000
"""Bytes, without weights and tables."""

ONE_OF_EACH_CORE = {load(name).core.name: name for name in board.names()}.values()
PROFILES = pytest.mark.parametrize("numerics", [n.value for n in Numerics])
NETWORKS = pytest.mark.parametrize("name", MLPERF)
needs_host = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc for this machine")
needs_cpp = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++ for this machine")


@cache
def compiled(path: Path, board_name: str = NUCLEO, numerics: str = "litert") -> Compiled:
    return compile_model(path, load(board_name), Numerics(numerics))


# Exact, small and fast.


@pytest.mark.emulator
@pytest.mark.models
@pytest.mark.slow
@needs_real
@needs_compiler
@NETWORKS
@PROFILES
def test_mlperf_networks(name: str, numerics: str) -> None:
    words = ("verify", real(name), "-b", NUCLEO, "-n", 2, "--layers", "--numerics", numerics, "--json")
    said = say(*words)
    found = said.json
    validate(found)
    assert (said.code, found["fits"]) == (0, True)
    verified, run, memory = found["verify"], found["run"], found["memory"]
    assert verified["reference"].startswith({"litert": "ai-edge-litert ", "tflm": "tflite-micro "}[numerics])
    assert (verified["mismatches"], verified["vectors"]) == (0, 5)
    assert verified["layers_checked"] == len(found["layers"]) > 9
    assert run["inferences"] == 5
    assert run["instructions"] < TFLM_INSTRUCTIONS[name]
    assert sum(layer["instructions"] or 0 for layer in found["layers"]) <= run["instructions"]
    assert run["cycles"] > run["instructions"]
    assert memory["flash"]["code"] < CODE
    assert run["arena_touched"] <= memory["ram"]["arena"] == found["plan"]["arena"] <= ARENA[name]
    assert found["plan"]["arena"] == found["plan"]["lower_bound"]
    assert run["stack_high_water"] <= memory["ram"]["stack"]
    scratch = sum(layer["scratch"] for layer in found["layers"])
    assert found["plan"]["arena"] <= found["plan"]["layer_wise"] + scratch


@pytest.mark.slow
@pytest.mark.models
@needs_real
@NETWORKS
@PROFILES
def test_arenas_as_planned(name: str, numerics: str) -> None:
    """Without a compiler; and a core without DSP needs no more."""
    for board_name in (NUCLEO, "rpi_pico"):
        plan = compiled(real(name), board_name, numerics).layout.plan
        assert plan.lower_bound <= plan.arena <= ARENA[name]


@pytest.mark.emulator
@needs_compiler
@pytest.mark.parametrize(
    ("board_name", "numerics"),
    [*((name, "litert") for name in board.names()), *((name, "tflm") for name in ONE_OF_EACH_CORE)],
)
def test_digits_on_every_board(board_name: str, numerics: str) -> None:
    layers = board_name in ONE_OF_EACH_CORE
    said = say(*("verify", DIGITS, "-b", board_name, "-n", 2, "--numerics", numerics, "--json", *["--layers"] * layers))
    found = said.json
    validate(found)
    assert (said.code, found["fits"]) == (0, True)
    assert found["verify"]["mismatches"] == 0
    assert found["verify"]["layers_checked"] == len(found["layers"]) * layers
    assert not found["verify"]["reference"].startswith("tinycompiler")


@pytest.mark.emulator
@needs_compiler
@pytest.mark.parametrize("board_name", ["bluepill", NUCLEO])
def test_held_out_digits(board_name: str, tmp_path: Path) -> None:
    held_out = np.load(DIGITS.parent / "digits_heldout.npz")
    np.save(tmp_path / "x.npy", held_out["inputs"])
    said = say("run", DIGITS, "-b", board_name, "--input", tmp_path / "x.npy", "--json")
    assert (said.code, said.err) == (0, "")
    answers = np.array([each["outputs"]["digit"]["values"][0] for each in said.json["outputs"]])
    accuracy = float((answers.argmax(axis=1) == held_out["labels"]).mean())
    assert accuracy > 0.95
    graph = compiled(DIGITS).network
    theirs = judge(DIGITS.read_bytes(), graph, [{"image": each[np.newaxis]} for each in held_out["inputs"]])
    np.testing.assert_array_equal(answers, np.array([output[0] for [output] in theirs]))


@pytest.mark.emulator
@pytest.mark.models
@needs_real
@needs_compiler
def test_what_does_not_fit_is_explained(tmp_path: Path) -> None:
    said = say("compile", real("vww"), "-b", "bluepill", "-o", tmp_path / "out", "--json")
    found = said.json
    validate(found)
    assert (said.code, said.err, found["fits"]) == (1, "", False)
    assert list(tmp_path.iterdir()) == []
    shortfall = found["shortfall"]
    assert {r["kind"] for r in shortfall["regions"]} == {"ram"}  # without its dead channels it fits into flash
    for region in shortfall["regions"]:
        assert region["missing"] == region["used"] - region["capacity"] > 0
        assert region["capacity"] == {"flash": 65536, "ram": 20480}[region["kind"]]
    assert shortfall["peak_node"] in [layer["name"] for layer in found["layers"]]
    alive = sum(piece["bytes"] for piece in shortfall["alive"])
    shared = alive - found["plan"]["lower_bound"]
    assert shared >= 0
    assert len(shortfall["alive"]) >= 2
    text = say("compile", real("vww"), "-b", "bluepill").out
    assert "DOES NOT FIT" in text
    for region in shortfall["regions"]:
        assert f"{region['region']}: {region['missing']:,} bytes missing" in text
    peak = next(
        line for line in text.splitlines() if line.startswith(f"peak at {shortfall['peak_node']}, alive together:")
    )
    assert all(f" {piece['bytes']:,}" in peak for piece in shortfall["alive"])
    assert not shared or peak.endswith(f" - {shared:,} where an output overlaps what it is made of")
    assert all(sentence in text for sentence in shortfall["help"])
    named = next(h for h in shortfall["help"] if h.startswith("boards with room"))
    smallest = re.split(r"[:,] ", named)[1]
    assert say("compile", real("vww"), "-b", smallest).code == 0, "the advice was wrong"


# Self-contained C.

STRICT = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
LEVELS = ("-O2", "-O0", "-Os", "-O3")
NO_LIBRARY = frozenset({"memcpy", "memmove", "memset"})
SOFT_ARITHMETIC = {  # libgcc's, where a core has no instruction for it
    "cortex-m0plus": frozenset(
        f"__aeabi_{name}" for name in ("idiv", "idivmod", "uidiv", "uidivmod", "lmul", "lasr", "llsl")
    ),
    "cortex-m3": frozenset[str](),
    "cortex-m4f": frozenset[str](),
}


def put(files: Mapping[str, str], folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        if not names or name in names:
            (folder / name).write_text(text)


def call(folder: Path, *words: str) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stderr[:3000]}"
    assert done.stderr == ""
    return done.stdout


def alone(name: str) -> tuple[str, str, str]:
    """The files that a user needs."""
    return f"{name}.h", f"{name}.c", f"{name}_weights.c"


def compile_alone(path: Path, folder: Path, compiler: Sequence[str], level: str) -> None:
    """The two C files with the header, in a folder that holds nothing else."""
    c = compiled(path)
    put(c.program.files, folder, *alone(c.program.name))
    for source in alone(c.program.name)[1:]:
        call(folder, *compiler, *STRICT, level, "-c", source)


@pytest.mark.slow
@needs_host
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", [*(pytest.param(n, marks=(pytest.mark.models, needs_real)) for n in MLPERF), "digits"])
def test_compiles_alone_for_the_host(name: str, level: str, tmp_path: Path) -> None:
    compile_alone(DIGITS if name == "digits" else real(name), tmp_path, ("gcc",), level)


@pytest.mark.slow
@pytest.mark.emulator
@needs_compiler
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", [*(pytest.param(n, marks=(pytest.mark.models, needs_real)) for n in MLPERF), "digits"])
def test_compiles_alone_for_arm(name: str, level: str, tmp_path: Path) -> None:
    flags = load(NUCLEO).core.flags
    compile_alone(DIGITS if name == "digits" else real(name), tmp_path, ("arm-none-eabi-gcc", *flags), level)


def global_symbols(nm: str, file: str, folder: Path) -> tuple[set[str], set[str]]:
    """(defined, undefined) external symbols of an object file."""
    rows = [line.split() for line in call(folder, nm, "-g", file).splitlines()]
    undefined = {row[-1] for row in rows if row[-2] == "U"}
    return {row[-1] for row in rows} - undefined, undefined


@pytest.mark.slow
@pytest.mark.emulator
@needs_compiler
@pytest.mark.parametrize("board_name", ["rpi_pico", "bluepill", NUCLEO])
@pytest.mark.parametrize("name", [*(pytest.param(n, marks=(pytest.mark.models, needs_real)) for n in MLPERF), "digits"])
def test_symbols_carry_the_prefix_and_nothing_else_is_needed(name: str, board_name: str, tmp_path: Path) -> None:
    core = load(board_name).core
    program = compiled(DIGITS if name == "digits" else real(name), board_name).program
    put(program.files, tmp_path, *alone(name))
    defined: set[str] = set()
    needed: set[str] = set()
    for source in alone(name)[1:]:
        call(tmp_path, "arm-none-eabi-gcc", *core.flags, *STRICT, "-O2", "-c", source, "-o", "x.o")
        here, there = global_symbols("arm-none-eabi-nm", "x.o", tmp_path)
        defined |= here
        needed |= there
    api = {f"tc_{name}_{function}" for function in ("init", "input", "output", "invoke", "reset_state")}
    assert api <= defined
    assert {s for s in defined - api if not re.fullmatch(rf"tc_{name}_[wt]_\d+", s)} == set()
    assert needed - defined <= NO_LIBRARY | SOFT_ARITHMETIC[core.name]


MAIN = """\
#include <stdio.h>
#include <string.h>
{includes}
static void show(const char *name, const void *data, unsigned bytes)
{{
    printf("%s ", name);
    for (unsigned i = 0; i < bytes; i++) {{
        printf("%02x", ((const unsigned char *)data)[i]);
    }}
    printf("\\n");
}}

int main(void)
{{
{body}
    return 0;
}}
"""


def calls_of(name: str, fill: int, arena: str = "") -> str:
    """C that runs a model once on an input of one value, and shows its output."""
    upper = name.upper()
    return (
        f"    if (tc_{name}_init({arena}) != 0) {{ return 1; }}\n"
        f"    memset(tc_{name}_input(0), {fill}, TC_{upper}_INPUT0_BYTES);\n"
        f"    tc_{name}_invoke();\n"
        f'    show("{name}", tc_{name}_output(0), TC_{upper}_OUTPUT0_BYTES);\n'
        f"    if (tc_{name}_input(TC_{upper}_INPUTS) || tc_{name}_output(-1)) {{ return 2; }}\n"
    )


def expected(name: str, path: Path, fill: int) -> str:
    graph = compiled(path).graph
    tensor = graph.tensors[graph.inputs[0]]
    values = graph.evaluate({tensor.name: np.full(tensor.shape, fill, np.int8)})
    return f"{name} {values[graph.outputs[0]].tobytes().hex()}\n"


def main_of(names: Sequence[str], body: str) -> str:
    return MAIN.format(includes="\n".join(f'#include "{n}.h"' for n in names), body=body)


@pytest.mark.slow
@pytest.mark.models
@needs_real
@needs_host
@needs_cpp
@pytest.mark.parametrize("compiler", ["gcc", "g++"])
def test_two_models_in_one_program(compiler: str, tmp_path: Path) -> None:
    """From C and from C++, in turns: neither disturbs the other."""
    paths = {"kws": real("kws"), "digits": DIGITS}
    for name, path in paths.items():
        put(compiled(path).program.files, tmp_path, *alone(name))
        for source in alone(name)[1:]:
            call(tmp_path, "gcc", *STRICT, "-O2", "-c", source)
    order = (("kws", 3), ("digits", 100), ("kws", -7), ("digits", -128))
    body = "".join(calls_of(name, fill) for name, fill in order)
    source = "main.c" if compiler == "gcc" else "main.cpp"
    (tmp_path / source).write_text(main_of(list(paths), body))
    flags = STRICT if compiler == "gcc" else ("-std=c++17", *STRICT[1:])
    objects = sorted(path.name for path in tmp_path.glob("*.o"))
    call(tmp_path, compiler, *flags, "-O2", source, *objects, "-o", "both")
    assert call(tmp_path, "./both") == "".join(expected(name, paths[name], fill) for name, fill in order)


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.emulator
@needs_real
@needs_compiler
@pytest.mark.parametrize("board_name", ["rpi_pico", NUCLEO])
def test_two_models_in_one_firmware(board_name: str, tmp_path: Path) -> None:
    """Linked for Arm, with nothing but mem* and libgcc beside them."""
    paths = {"kws": real("kws"), "ad": real("ad")}
    flags = load(board_name).core.flags
    for name, path in paths.items():
        put(compiled(path, board_name).program.files, tmp_path, *alone(name))
    body = "".join(f"    tc_{n}_init();\n    tc_{n}_invoke();\n" for n in paths)
    includes = "\n".join(f'#include "{n}.h"' for n in paths)
    (tmp_path / "main.c").write_text(f"{includes}\nint main(void);\nint main(void)\n{{\n{body}    return 0;\n}}\n")
    sources = ["main.c", *(source for name in paths for source in alone(name)[1:])]
    link = ("-nostartfiles", "-nodefaultlibs", "-Wl,-e,main", "-lc", "-lgcc", "-o", "both.elf")
    call(tmp_path, "arm-none-eabi-gcc", *flags, *STRICT, "-O2", *sources, *link)
    defined, undefined = global_symbols("arm-none-eabi-nm", "both.elf", tmp_path)
    assert {"tc_kws_invoke", "tc_ad_invoke"} <= defined
    assert not undefined
    assert not defined & {"malloc", "_malloc_r", "_sbrk", "printf"}


@pytest.mark.slow
@needs_host
def test_the_caller_may_own_the_arena(tmp_path: Path) -> None:
    put(compiled(DIGITS).program.files, tmp_path, *alone("digits"))
    owned = "-DTC_DIGITS_CALLER_OWNS_ARENA"
    body = (
        "    static _Alignas(TC_DIGITS_ARENA_ALIGN) unsigned char arena[TC_DIGITS_ARENA_BYTES + 16];\n"
        "    memset(arena, 0xa5, sizeof arena);\n"
        "    if (tc_digits_init(NULL) != -1 || tc_digits_init(arena + 1) != -1) { return 3; }\n"
        + calls_of("digits", 5, "arena")
        + "    for (int i = 0; i < 16; i++) { if (arena[TC_DIGITS_ARENA_BYTES + i] != 0xa5) { return 4; } }\n"
        + "    memset(arena, 0x77, sizeof arena); /* between inferences it is the caller's */\n"
        + calls_of("digits", 6, "arena")
    )
    (tmp_path / "main.c").write_text(main_of(["digits"], body))
    call(tmp_path, "gcc", *STRICT, "-O2", owned, "main.c", *alone("digits")[1:], "-o", "owned")
    assert call(tmp_path, "./owned") == expected("digits", DIGITS, 5) + expected("digits", DIGITS, 6)
    call(tmp_path, "gcc", *STRICT, "-O2", owned, "-c", "digits.c")
    sizes = call(tmp_path, "nm", "-S", "digits.o")
    bss = [int(row.split()[1], 16) for row in sizes.splitlines() if row.split()[-2] in ("b", "B", "d", "D")]
    assert sum(bss) <= 8, "the static arena is still there"


@pytest.mark.slow
@needs_host
def test_invoke_again_and_again_is_the_same(tmp_path: Path) -> None:
    """No state is left behind, and the input has to be written every time."""
    put(compiled(DIGITS).program.files, tmp_path, *alone("digits"))
    (tmp_path / "main.c").write_text(main_of(["digits"], 3 * calls_of("digits", 5)))
    call(tmp_path, "gcc", *STRICT, "-O2", "-fsanitize=undefined", "main.c", *alone("digits")[1:], "-o", "thrice")
    assert call(tmp_path, "./thrice") == 3 * expected("digits", DIGITS, 5)


FORBIDDEN = r"\b(malloc|calloc|realloc|free|printf|alloca|setjmp|longjmp)\s*\("


@pytest.mark.parametrize("board_name", board.names())
def test_the_source_says_where_it_comes_from_and_uses_no_library(board_name: str) -> None:
    c = compiled(DIGITS, board_name)
    for name, text in c.program.files.items():
        assert "tinycompiler 0." in text.replace("tinycompiler  ", ""), name
        if name.endswith((".c", ".h")):
            assert c.source.sha256 in text
            assert "may use, change and distribute this file freely" in text
            assert not re.search(FORBIDDEN, text), name
            assert set(re.findall(r"#include <(.*)>", text)) <= {"stdint.h", "stddef.h", "string.h"}
            assert all(line == line.rstrip() for line in text.splitlines())
        assert "\t" not in text
        assert str(DIGITS.parent) not in text


# The same every time.


def written(output: Path, model: object, folder: Path, environment: Mapping[str, str]) -> dict[str, bytes]:
    """The files, and what was said, by a process of its own."""
    words = (
        sys.executable,
        "-m",
        "tinycompiler.cli",
        "compile",
        str(model),
        "-b",
        "rpi_pico",
        "-o",
        str(output),
        "--json",
    )
    folder.mkdir(exist_ok=True)
    done = subprocess.run(words, cwd=folder, env={**os.environ, **environment}, capture_output=True, check=True)
    return {**tree(output), "standard output": done.stdout}


def assert_same_everywhere(model: Path, tmp_path: Path, environment: Mapping[str, str]) -> dict[str, bytes]:
    """Whatever the hash seed, the current folder, the language, and however the model's path is written."""
    first = written(tmp_path / "one", model, tmp_path, {**environment, "PYTHONHASHSEED": "1"})
    shutil.copy(model, tmp_path / model.name)
    other = {**environment, "PYTHONHASHSEED": "2", "LC_ALL": "C", "TZ": "Asia/Tokyo", "HOME": str(tmp_path)}
    second = written(tmp_path / "deep" / "two", f"../{model.name}", tmp_path / "elsewhere", other)
    assert list(first) == list(second)
    assert [name for name in first if first[name] != second[name]] == []
    return first


@pytest.mark.slow
def test_the_same_bytes_without_a_compiler(tmp_path: Path) -> None:
    files = assert_same_everywhere(DIGITS, tmp_path, {"TINYCOMPILER_CC": "/nonexistent"})
    digest = compiled(DIGITS, "rpi_pico").program.digest
    assert digest.encode() in files["standard output"]
    assert digest.encode() in files["report.json"]


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.models
@needs_real
@needs_compiler
def test_the_same_bytes_with_a_compiler(tmp_path: Path) -> None:
    files = assert_same_everywhere(real("kws"), tmp_path, {})
    assert "firmware/kws.elf" in files
    for name, data in files.items():
        assert str(tmp_path).encode() not in data, name
        assert str(Path(__file__).parents[1]).encode() not in data, name


def test_the_digest_depends_on_what_it_should() -> None:
    digests = {
        (name, numerics): compiled(DIGITS, name, numerics).program.digest
        for name in (NUCLEO, "rpi_pico", "bluepill")
        for numerics in ("litert", "tflm")
    }
    assert len(set(digests.values())) == 6
    again = compile_model(DIGITS, load("bluepill"), Numerics.LITERT)
    assert again.program.digest == digests["bluepill", "litert"]
    assert dict(again.program.files) == dict(compiled(DIGITS, "bluepill").program.files)
