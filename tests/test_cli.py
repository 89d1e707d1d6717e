"""The command line: bad input gets one clear sentence, the right exit code, and leaves nothing behind."""

import builtins
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import models
from tests.commands import DIGITS, Said, needs_compiler, needs_real, real, say, tree
from tests.test_report import validate
from tests.tflite_builder import ModelBuilder
from tinycompiler import board, cli, emulators
from tinycompiler.output import write
from tinycompiler.resources import folder

BOARD = ("-b", "bluepill")
COMMANDS = ("check", "compile", "run", "verify")  # those that take a model


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYCOMPILER_CC", "/nonexistent")


def refused(said: Said, code: int, *words: str, lines: int = 1) -> None:
    """The exit code, nothing on standard output, and the sentence (or one a line) on standard error."""
    assert said.code == code, said
    assert said.out == ""
    assert "Traceback" not in said.err
    assert said.err.startswith("tinycompiler: ")
    assert said.err.endswith("\n")
    assert len(said.err.splitlines()) <= lines, said.err
    for word in words:
        assert word in said.err


def refused_by_all(model: Path, code: int, *words: str, lines: int = 1) -> None:
    """Every command that takes a model says so, with --json too, and leaves no file."""
    before = tree(model.parent)
    for command in COMMANDS:
        output = ("-o", model.parent / "out") if command == "compile" else ()
        said = say(command, model, *BOARD, *output)
        if command == "check" and said.out:  # it answers with the list that was asked for
            assert said.code == code
            assert said.err == ""
            assert all(word in said.out for word in words), said.out
            continue
        refused(said, code, *words, lines=lines)
        said = say(command, model, *BOARD, *output, "--json")
        assert (said.code, said.err) == (code, "")
        validate(said.json, "error")
        assert all(word in said.json["error"] for word in words)
    assert tree(model.parent) == before


def saved(folder: Path, data: bytes, name: str = "net.tflite") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# Model files.


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it has 0 bytes only"),
        (b"hello, world\n", "not a .tflite file"),
        (b"\x1c\x00\x00\x00TFL2" + bytes(100), "TFL2"),
        (b"PK\x03\x04" + bytes(100), "zip archive"),
        (b"\x1c\x00\x00\x00TFL3" + b"\xff" * 100, "broken or truncated"),
    ],
    ids=["empty", "text", "identifier", "zip", "garbage"],
)
def test_files_that_are_no_networks(data: bytes, words: str, work: Path) -> None:
    refused_by_all(saved(work, data), 3, "net.tflite: ", words)


@pytest.mark.parametrize("length", [9, 100, 3000, 11000])
def test_truncated_files(length: int, work: Path) -> None:
    refused_by_all(saved(work, DIGITS.read_bytes()[:length]), 3, "net.tflite: ", "truncated")


def test_no_such_file_and_folders(work: Path) -> None:
    (work / "folder").mkdir()
    refused_by_all(work / "none.tflite", 3, "cannot be read: No such file")
    refused_by_all(work / ("n" * 300), 3, "cannot be read: File name too long")
    for command in ("check", "compile", "verify"):
        refused(say(command, work / "folder", *BOARD), 3, "a folder, wanted a .tflite file")


def network(*types: str) -> ModelBuilder:
    """An input, and an output, of these types; quantized when they are integers."""
    model = ModelBuilder("net")
    for name, kind in zip(("input", "output"), types, strict=True):
        model.tensor(name, (1, 4), kind, scales=0.1 if "int" in kind.lower() else None)
    return model.inputs("input").outputs("output")


def dense(weights: str, *, dequantized: bool = False) -> bytes:
    """A fully connected layer in float32 with weights of another type."""
    model = network("float32", "float32")
    model.tensor("w", (4, 4), weights, scales=0.1 if weights == "int8" else None, data=np.ones((4, 4), weights))
    if dequantized:
        model.tensor("wide", (4, 4), "float32")
        model.operator("DEQUANTIZE", ["w"], ["wide"])
    return model.operator(
        "FULLY_CONNECTED", ["input", "wide" if dequantized else "w", None], ["output"], options={}
    ).build()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (dense("float32"), "a float32 model"),
        (dense("float16", dequantized=True), "float16 weights"),
        (dense("int8"), "dynamic-range (hybrid)"),
    ],
    ids=["float32", "float16", "hybrid"],
)
def test_networks_that_compute_in_float(data: bytes, words: str, work: Path) -> None:
    refused_by_all(saved(work, data), 3, "net.tflite: ", words, "converter.representative_dataset")


def test_dynamic_shapes(work: Path) -> None:
    model = ModelBuilder("net")
    model.tensor("input", (1, 1), scales=0.1, shape_signature=(1, -1))
    model.tensor("output", (1, 1), scales=0.1)
    model.operator("RELU", ["input"], ["output"]).inputs("input").outputs("output")
    refused_by_all(saved(work, model.build()), 3, "'input'", "dynamic shape", "fix the input before conversion")


def test_custom_operators(work: Path) -> None:
    model = network("int8", "int8").operator("CUSTOM:MyThing", ["input"], ["output"])
    refused_by_all(saved(work, model.build()), 3, "custom operator 'MyThing'", "allow_custom_ops")


def test_all_blockers_are_named_at_once(work: Path) -> None:
    model = network("int8", "int8")
    model.tensor("a", (1, 4), "int16", scales=0.1)
    model.tensor("b", (1, 4), "int8", scales=0.1)
    model.operator("WHILE", ["input"], ["a"])
    model.operator("EMBEDDING_LOOKUP", ["input"], ["b"]).operator("LSH_PROJECTION", ["b"], ["output"])
    model.operator("CUSTOM:Mine", ["input"], ["output"])
    words = ("WHILE", "EMBEDDING_LOOKUP", "LSH_PROJECTION", "'Mine'", "is not supported", "`tinycompiler ops` lists")
    refused_by_all(saved(work, model.build()), 3, *words, lines=9)
    said = say("check", "net.tflite")
    assert said.out.splitlines()[0] == f"net.tflite: {len(said.out.splitlines()) - 1} blockers"


def test_types_are_named_with_the_way_out(work: Path) -> None:
    model = network("FLOAT64", "int8").operator("RELU", ["input"], ["output"])
    model.tensor("c", (1, 4), "COMPLEX64")
    model.operator("RELU", ["c"], ["output"]).inputs("input", "c")
    words = (
        "'input' (float64): values of type FLOAT64",
        "'c' (complex64): values of type COMPLEX64",
        "wanted int8",
        "converter.",
    )
    refused_by_all(saved(work, model.build()), 3, *words, lines=4)


def test_a_type_that_an_operator_does_not_take(work: Path) -> None:
    model = network("int8", "uint8").operator("RELU", ["input"], ["output"])
    refused_by_all(saved(work, model.build()), 3, "relu_0", "'input' is int8", "uint8", "support")


@pytest.mark.parametrize("make", [models.conv_2d, models.depthwise_conv_2d, models.fully_connected])
def test_weights_that_could_overflow_are_refused_by_name(make: Callable[..., bytes], work: Path) -> None:
    rng = np.random.default_rng(0)
    count = {"conv_2d": 4, "depthwise_conv_2d": 3, "fully_connected": 5}[make.__name__]
    name = f"{make.__name__}_0"
    for bias in (2**31 - 1, -(2**31), 2**31 - 20_000):
        data = make(rng, biases=np.full(count, bias, np.int32))
        refused_by_all(saved(work, data), 3, name, "can reach", "int32 accumulator (limit 2^31 - 1)", "retrain")
    assert say("check", saved(work, make(rng, biases=np.full(count, 2**28, np.int32)))).code == 0


def test_weights_alone_can_overflow(work: Path) -> None:
    taps = 2**31 // (127 * 255) + 1000
    data = models.fully_connected(
        np.random.default_rng(0),
        (1, taps),
        1,
        bias=False,
        weights=np.full((1, taps), 127, np.int8),
        input_zero_point=-128,
    )
    refused_by_all(saved(work, data), 3, "fully_connected_0", "can reach", "int32 accumulator")


# Boards.


@pytest.mark.parametrize("name", ["nope", "nope.toml", "./nope", "b" * 300 + ".toml", ".", ""])
def test_unknown_boards(name: str, work: Path) -> None:
    for command in COMMANDS:
        refused(say(command, DIGITS, "-b", name), 2, name, "exist" if ".toml" in name or "/" in name else "known are")
    if "/" not in name and ".toml" not in name:
        assert all(each in say("check", DIGITS, "-b", name).err for each in board.names())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = [", "as TOML"),
        ("\x00", "as TOML"),
        ("", "is missing"),
        ("= 3", "as TOML"),
        ("[[regions]]\nname = 3", "wanted"),
    ],
)
def test_broken_boards(text: str, words: str, work: Path) -> None:
    (work / "mine.toml").write_text(text)
    refused(say("verify", DIGITS, "-b", "mine.toml"), 2, "board mine.toml", words)
    (work / "mine.toml").write_bytes(b"\xff\xfe")
    refused(say("verify", DIGITS, "-b", "mine.toml"), 2, "board mine.toml", "cannot read it as TOML")


def test_a_key_that_is_wrong_is_named(work: Path) -> None:
    text = (folder("boards") / "bluepill.toml").read_text()
    assert "cortex-m3" in text
    (work / "mine.toml").write_text(text.replace("cortex-m3", "cortex-m99"))
    refused(say("check", DIGITS, "-b", "mine.toml"), 2, "mine.toml", "core", "cortex-m99", "cortex-m3")


def test_a_board_by_its_path(work: Path, no_compiler: None) -> None:
    shutil.copy(folder("boards") / "bluepill.toml", work / "mine.toml")
    assert say("compile", DIGITS, "-b", "mine.toml", "--json").json["board"] == "mine"


# Output folders.


OUTPUTS = pytest.mark.usefixtures("no_compiler")


def compiled_to(output: object) -> Said:
    return say("compile", DIGITS, *BOARD, "-o", output)


@OUTPUTS
def test_output_folders_are_written_whole(work: Path) -> None:
    (work / "empty").mkdir()
    for output in ("new", "deep/er/new", "empty", "new"):  # the last one replaces an earlier output
        said = compiled_to(output)
        assert (said.code, said.err) == (0, "")
        assert said.out.endswith(f"\nwritten to {output}\n")
    assert tree(work / "new") == tree(work / "empty") == tree(work / "deep" / "er" / "new")
    assert {"digits.c", "digits.h", "digits_weights.c", "manifest.json", "report.json", "CMakeLists.txt"} <= set(
        tree(work / "new")
    )
    assert sorted(p.name for p in work.iterdir()) == ["deep", "empty", "new"]


@OUTPUTS
def test_an_earlier_output_is_replaced_not_mixed(work: Path) -> None:
    assert compiled_to("out").code == 0
    shutil.copy(DIGITS, work / "other.tflite")
    assert say("compile", "other.tflite", *BOARD, "-o", "out").code == 0
    assert "digits.c" not in tree(work / "out")
    assert "other.c" in tree(work / "out")


@OUTPUTS
def test_the_current_folder_is_an_output_too(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "here").mkdir()
    for _ in range(2):  # empty, then an earlier output
        monkeypatch.chdir(work / "here")
        assert compiled_to(".").code == 0
        assert compiled_to(work / "there").code == 0
        assert tree(work / "here") == tree(work / "there")
        assert sorted(p.name for p in work.iterdir()) == ["here", "there"]


@OUTPUTS
def test_outputs_that_hold_something_else(work: Path) -> None:
    (work / "mine").mkdir()
    (work / "mine" / "thesis.tex").write_text("years of work")
    (work / "app").mkdir()
    (work / "app" / "manifest.json").write_text('{"name": "a web app"}')
    assert compiled_to("added").code == 0
    (work / "added" / "main.c").write_text("int main(void) { return 0; }")
    (work / "file").write_text("x")
    (work / "loop").symlink_to("loop")
    before = tree(work)
    for output in ("mine", "app", "added", "file", ".", ""):
        refused(compiled_to(output), 2, "is not an earlier output of tinycompiler; choose another -o")
    refused(compiled_to("file/out"), 2, "file/out: cannot be written", "choose another -o")
    with suppress(RuntimeError):  # Path.resolve of Python 3.11 and 3.12 on a loop
        refused(compiled_to("loop"), 2, "choose another -o")
    assert tree(work) == before


@OUTPUTS
@pytest.mark.parametrize("output", ["n" * 300, "n" * 250, "new/" + "n" * 250, "/proc/new/out", "/proc/new"])
def test_outputs_that_cannot_be_written(output: str, work: Path) -> None:
    if output.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("no /proc")
    refused(compiled_to(output), 2, output, "cannot be written", "choose another -o")
    assert list(work.iterdir()) == []


def test_a_disk_that_fills_up_leaves_nothing(work: Path, monkeypatch: pytest.MonkeyPatch, no_compiler: None) -> None:
    """And an earlier output as it was."""
    assert compiled_to("out").code == 0
    before = tree(work)
    written: list[Path] = []
    true_write = Path.write_bytes

    def write_bytes(path: Path, data: bytes) -> int:
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(path)
        return true_write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    for output in ("out", "new", "a/b/c"):
        written.clear()
        refused(compiled_to(output), 2, "No space left on device")
        assert len(written) == 3
    assert sorted(p.name for p in work.iterdir()) == ["out"]
    assert tree(work) == before


def test_an_interrupted_output_leaves_nothing(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(work / "out", {"a": "b"})
    assert list(work.iterdir()) == []


@OUTPUTS
def test_reading_outputs_that_are_none(work: Path) -> None:
    (work / "other").mkdir()
    refused(say("run", "other", *BOARD), 2, "other: not a whole output", "compile again")
    for name in ("other", "none", "n" * 300):
        refused(say("report", name), 2, "no report of `tinycompiler compile` there")
    assert compiled_to("out").code == 0
    refused(say("run", "out", "-b", "nucleo_l4r5zi"), 2, "compiled for cortex-m3", "cortex-m4f", "compile again")
    refused(say("run", "out", *BOARD), 4, "/nonexistent was not found")
    (work / "out" / "digits.c").unlink()
    refused(say("run", "out", *BOARD), 2, "not a whole output", "digits.c")
    for text in ("{", "[]", "{}", '{"model": 3}'):
        (work / "out" / "manifest.json").write_text(text)
        refused(say("run", "out", *BOARD), 2, "not a whole output")


# Input files.


def saved_input(work: Path, name: str) -> Path:
    path = work / name
    good = np.zeros((1, 8, 8, 1), np.int8)
    match name:
        case "shape.npy":
            np.save(path, np.zeros((1, 8, 9, 1), np.int8))
        case "type.npy":
            np.save(path, good.astype(np.float32))
        case "none.npy":
            np.save(path, good[:0])
        case "objects.npy":
            np.save(path, np.array([{}]), allow_pickle=True)
        case "text.npy":
            path.write_text("1, 2, 3")
        case "short.npy":
            np.save(path, good)
            path.write_bytes(path.read_bytes()[:-10])
        case "two.npz":
            np.savez(path, a=good, b=good)
        case "none.npz":
            np.savez(path)
        case "broken.npz":
            np.savez(path, a=good)
            path.write_bytes(path.read_bytes()[:-30])
        case "folder":
            path.mkdir()
    return path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("shape.npy", ("(1, 8, 9, 1)", "wanted int8 of shape (1, 8, 8, 1)")),
        ("type.npy", ("float32", "wanted int8 of shape (1, 8, 8, 1)")),
        ("none.npy", ("(0, 8, 8, 1)", "wanted int8")),
        ("objects.npy", ("cannot be read as .npy or .npz", "numpy.save")),
        ("text.npy", ("no array of numbers", "numpy.save")),
        ("short.npy", ("cannot be read", "numpy.save")),
        ("two.npz", ("found arrays a, b", "wanted one for each input", "image")),
        ("none.npz", ("found no array", "image")),
        ("broken.npz", ("cannot be read", "numpy.save")),
        ("folder", ("cannot be read",)),
        ("absent.npy", ("No such file",)),
        ("n" * 300, ("File name too long",)),
    ],
)
def test_input_files(name: str, words: tuple[str, ...], work: Path) -> None:
    path = saved_input(work, name)
    for command in ("run", "verify"):
        refused(say(command, DIGITS, *BOARD, "--input", path), 2, f"{path}: ", *words)


def test_input_files_for_output_folders(work: Path, no_compiler: None) -> None:
    assert compiled_to("out").code == 0
    for name in ("shape.npy", "type.npy", "text.npy", "two.npz"):
        path = saved_input(work, name)
        refused(say("run", "out", *BOARD, "--input", path), 2, f"{path}: ")


# Missing tools.


def test_without_a_compiler_there_is_a_plan_only(work: Path, no_compiler: None) -> None:
    said = say("compile", DIGITS, *BOARD)
    assert (said.code, said.err) == (0, "")
    assert "this is a plan, not a verdict (compiler /nonexistent was not found; install one" in said.out
    assert "FITS" not in said.out
    found = say("compile", DIGITS, *BOARD, "--json").json
    assert (found["fits"], found["memory"]) == (None, None)
    assert found["fits_source"].startswith("plan only: compiler /nonexistent was not found")
    validate(found)


def test_without_a_compiler_nothing_runs(work: Path, no_compiler: None) -> None:
    for command in (("run", DIGITS), ("verify", DIGITS), ("compile", DIGITS, "--stop", "elf")):
        refused(say(*command, *BOARD), 4, "compiler /nonexistent was not found", "apt install", "TINYCOMPILER_CC")
    assert list(work.iterdir()) == []


def test_a_compiler_for_something_else(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "cc").write_text("#!/bin/sh\necho x86_64-linux-gnu\n")
    (work / "cc").chmod(0o755)
    monkeypatch.setenv("TINYCOMPILER_CC", str(work / "cc"))
    refused(say("verify", DIGITS, *BOARD), 4, "compiles for 'x86_64-linux-gnu'; wanted arm-none-eabi")
    assert "plan, not a verdict" in say("compile", DIGITS, *BOARD).out


def test_plans_that_do_not_fit_need_no_compiler(work: Path, no_compiler: None) -> None:
    data = models.reshape(np.random.default_rng(0), (1, 200, 200, 3), (1, 120000))
    said = say("compile", saved(work, data), *BOARD, "-o", "out")
    assert said.code == 1
    for words in ("DOES NOT FIT, by the plan alone", "bytes missing", "alive together", "would help"):
        assert words in said.out
    assert not (work / "out").exists()
    assert say("check", "net.tflite", *BOARD).code == 1


def without_unicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    true_import = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.split(".")[0] == "unicorn":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return true_import(name, *rest)

    for name in [name for name in sys.modules if name.split(".")[0] == "unicorn" or "emulators.unicorn" in name]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("unicorn", "unicorn_machine", "unicorn_native", "counting"):
        monkeypatch.delattr(emulators, name, raising=False)
    monkeypatch.setattr(builtins, "__import__", missing)


@pytest.mark.emulator
@needs_compiler
def test_without_an_emulator(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_unicorn(monkeypatch)
    for command in ("run", "verify"):
        refused(say(command, DIGITS, *BOARD), 4, "unicorn", "pip install", "tinycompiler[emulator]")
    assert list(work.iterdir()) == []
    assert say("compile", DIGITS, *BOARD, "-o", "out").code == 0


@pytest.mark.emulator
@needs_compiler
def test_without_renode(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYCOMPILER_RENODE", "no-such-renode")
    for command in ("run", "verify"):
        refused(say(command, DIGITS, *BOARD, "--emulator", "renode"), 4, "renode.io", "--emulator unicorn")
    assert list(work.iterdir()) == []


@pytest.mark.slow
@needs_compiler
def test_scripts_for_renode_come_with_the_output(work: Path) -> None:
    assert say("compile", DIGITS, *BOARD, "-o", "out").code == 0
    ours = {"bluepill.repl", "digits.resc", "digits.robot", "workflow.yml"}
    assert {path.name for path in (work / "out" / "renode").iterdir()} == ours
    assert say("compile", DIGITS, *BOARD, "-o", "out", "--stock").code == 0  # an output that is replaced
    assert {path.name for path in (work / "out" / "renode").iterdir()} == ours - {"bluepill.repl"}
    refused(say("compile", DIGITS, "-b", "rpi_pico", "-o", "out", "--stock"), 2, "rpi_pico", "--stock")


# Usage.


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("nothing",),
        ("compile", DIGITS),
        ("verify", DIGITS, *BOARD, "-n", "0"),
        ("verify", DIGITS, *BOARD, "-n", "many"),
        ("verify", DIGITS, *BOARD, "--seed", "-1"),
        ("run", DIGITS, *BOARD, "--seed", "x"),
        ("run", DIGITS, *BOARD, "--emulator", "gem5"),
        ("compile", DIGITS, *BOARD, "--stop", "nowhere"),
        ("compile", DIGITS, *BOARD, "--numerics", "mine"),
    ],
    ids=lambda words: "_".join(Path(str(w)).name for w in words) or "nothing at all",
)
def test_usage(words: tuple[object, ...]) -> None:
    said = say(*words)
    assert said.code == 2
    assert said.out == ""
    assert "usage: tinycompiler" in said.err
    assert "error:" in said.err
    assert "_" not in said.err.splitlines()[-1].replace("_compile", "")  # no names of functions


def test_help_and_version() -> None:
    for words in (("--help",), *((command, "--help") for command in (*COMMANDS, "report", "boards", "ops", "doctor"))):
        said = say(*words)
        assert (said.code, said.err) == (0, "")
        assert "exit codes: 0 fine, 1 the answer is no" in said.out
    assert say("--version").out.startswith("tinycompiler 0.")


# Answers.


@pytest.mark.parametrize("command", ["boards", "ops", "doctor"])
def test_listings(command: str) -> None:
    said = say(command)
    assert (said.code, said.err) == (0, "")
    assert all(line == line.rstrip() for line in said.out.splitlines())
    assert say(command).out == said.out
    [(_, rows)] = say(command, "--json").json.items()
    table = said.out.split("\n\n")[0].splitlines()  # doctor goes on with what to install
    assert len(rows) == len(table) - 1
    if command != "doctor":
        lines = say(command, "--markdown").out.splitlines()
        assert len(lines) == len(rows) + 2
        assert len({line.count("|") for line in lines}) == 1


@pytest.mark.slow
def test_json_is_one_object(work: Path, no_compiler: None) -> None:
    assert compiled_to("out").code == 0
    stops = [("compile", DIGITS, *BOARD, "--stop", noun) for noun in ("graph", "calls", "plan", "program")]
    for words in (
        *((command, DIGITS, *BOARD) for command in COMMANDS),
        ("check", DIGITS),
        ("check", "none.tflite"),
        ("report", "out"),
        ("report", "none"),
        *stops,
    ):
        said = say(*words, "--json")
        assert said.err == ""
        assert said.json
        assert say(*words).code == said.code


@pytest.mark.parametrize("noun", ["graph", "calls", "plan", "program"])
def test_stops_print_their_noun(noun: str, work: Path) -> None:
    words = ("compile", DIGITS, *BOARD, "--stop", noun, "-o", "out")
    said = say(*words)
    assert (said.code, said.err) == (0, "")
    assert say(*words).out == said.out
    assert " at 0x" not in said.out, "the address of an object in this process"
    assert list(work.iterdir()) == []
    if noun != "plan":
        assert said.out.startswith(f"{noun} digits")
    for node in ("conv_2d_0", "softmax") if noun in ("graph", "calls") else ():
        assert node in said.out
    assert say(*words, "--json").json == {noun: said.out.rstrip("\n")} or noun in say(*words, "--json").json


def test_check(work: Path) -> None:
    said = say("check", DIGITS)
    assert (said.code, said.err) == (0, "")
    assert said.out == "digits.tflite: no blockers, 11 operators, 109,824 MACs\n" or "no blockers" in said.out
    assert say("check", DIGITS, "--json").json["blockers"] == []


class Terminal(StringIO):
    """Standard error as a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_speaks_on_a_terminal_only(
    work: Path, no_compiler: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compile", str(DIGITS), *BOARD]
    assert cli.main(words) == 0
    silent = capsys.readouterr()
    assert silent.err == ""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert cli.main(words) == 0
    assert "compiling digits.tflite" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[2K"), "the line is removed at the end"
    assert capsys.readouterr().out == silent.out


def test_progress_goes_before_an_error_is_said(
    work: Path, no_compiler: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for words in (["compile", "none.tflite", *BOARD], ["verify", str(DIGITS), *BOARD], ["run", str(DIGITS), *BOARD]):
        terminal.truncate(0)
        terminal.seek(0)
        assert cli.main(words) in (3, 4)
        last = terminal.getvalue().split("\x1b[2K")[-1]
        assert last.startswith("tinycompiler: "), repr(terminal.getvalue())


def test_a_reader_that_leaves_early_is_no_error(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    assert cli.main(["boards"]) == 0


@pytest.mark.emulator
@needs_compiler
def test_stop_elf_prints_sections_and_symbols(work: Path) -> None:
    words = ("compile", DIGITS, *BOARD, "--stop", "elf", "-o", "out")
    said = say(*words)
    assert (said.code, said.err) == (0, "")
    assert say(*words).out == said.out
    for word in (".text", ".bss", ".stack", "tc_digits_invoke", "tc_digits_arena", "reset_handler"):
        assert word in said.out
    assert set(say(*words, "--json").json) == {"sections", "symbols"}
    assert list(work.iterdir()) == []


@pytest.mark.emulator
@needs_compiler
@pytest.mark.parametrize("name", ["model", "string", "3d", "l", "é", "weights", "console", "main"])
def test_any_file_name_makes_a_working_program(name: str, work: Path) -> None:
    """A header of the same name as another must not take its place."""
    shutil.copy(DIGITS, work / f"{name}.tflite")
    assert say("compile", f"{name}.tflite", *BOARD, "-o", "out").code == 0
    said = say("run", "out", *BOARD)
    assert (said.code, said.err) == (0, "")
    direct = say("run", DIGITS, *BOARD, "--json").json["outputs"][0]["outputs"]["digit"]["values"][0]
    assert bytes(v % 256 for v in direct).hex() in said.out


@pytest.mark.emulator
@needs_compiler
def test_many_inputs_in_an_output_folder(work: Path) -> None:
    """More than the spare flash holds at once."""
    np.save("many.npy", np.random.default_rng(0).integers(-128, 128, (900, 8, 8, 1), np.int8))
    assert say("compile", DIGITS, *BOARD, "-o", "out").code == 0
    assert len(say("run", "out", *BOARD, "--input", "many.npy", "--json").json["outputs"]) == 900


@pytest.mark.emulator
@pytest.mark.models
@needs_real
@needs_compiler
@pytest.mark.parametrize("command", ["run", "verify"])
def test_what_does_not_fit_does_not_run(command: str, work: Path) -> None:
    said = say(command, real("vww"), *BOARD)
    refused(said, 1, "DOES NOT FIT", "bytes missing", "what would help", lines=40)
    validate(say(command, real("vww"), *BOARD, "--json").json, "error")
