"""Verify has to be able to say no: wrong bytes, on purpose, are found and named."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests import models
from tests.commands import DIGITS, needs_compiler, say
from tinycompiler import actions, compile
from tinycompiler import verify as verification
from tinycompiler.board import Board, load
from tinycompiler.build import build
from tinycompiler.compile import Compiled, compile_model
from tinycompiler.emit import Program
from tinycompiler.emit import emit as true_emit
from tinycompiler.emulators import Run
from tinycompiler.errors import DoesNotFit, EmulatorError, ModelError
from tinycompiler.ops import Numerics
from tinycompiler.progress import Progress
from tinycompiler.reference import reference
from tinycompiler.tensor import Array
from tinycompiler.vectors import Vector, batches, extreme_vectors, random_vectors, user_vectors

SILENT = Progress(enabled=False)


@cache
def digits(board: str = "bluepill") -> Compiled:
    return compile_model(DIGITS, load(board), Numerics.LITERT)


class Judge:
    """The numpy reference, which may be made to lie about one element of one tensor."""

    name = "a judge"

    def __init__(self, lie: tuple[str, tuple[int, ...], int] | None = None) -> None:
        self.lie = lie

    def reset(self) -> None:
        """The network has no state."""

    def __call__(self, inputs: Sequence[Array], wanted: Sequence[str]) -> dict[str, Array]:
        graph = digits().graph
        values = graph.evaluate(dict(zip(graph.inputs, inputs, strict=True)))
        found = {name: values[name].copy() for name in wanted}
        if self.lie is not None and self.lie[0] in found:
            name, index, by = self.lie
            found[name][index] = (int(found[name][index]) + by + 128) % 256 - 128
        return found


def honest_run(vectors: Sequence[Vector]) -> Run:
    """What a device that computes right would say, layers included."""
    calls = digits().calls
    judge, nodes, outputs = Judge(), {}, []
    for number, vector in enumerate(vectors):
        names = [n for call in calls.calls for n in call.node.outputs]
        values = judge(vector.values, [*names, *calls.graph.outputs])
        for step, call in enumerate(calls.calls):
            for i, name in enumerate(call.node.outputs):
                nodes[number, step, i] = values[name].tobytes()
        outputs.append(tuple(values[name].tobytes() for name in calls.graph.outputs))
    return Run("a device", len(vectors), (), tuple(outputs), nodes)


@cache
def vectors() -> tuple[Vector, ...]:
    return tuple(random_vectors(digits().graph, 2, 0))


def compared(judge: Judge, runs: Sequence[Run] | None = None, *, layers: bool) -> verification.Verification:
    """`vectors` of a device that computes right, or of `runs`, against a judge."""
    c = digits()
    return verification.compare(c.network, c.calls, vectors(), runs or [honest_run(vectors())], judge, layers=layers)


# What is compared.


def test_right_bytes_are_exact() -> None:
    found = compared(Judge(), layers=True)
    assert found.exact
    assert (found.mismatches, found.max_abs_diff, found.first) == (0, 0.0, None)
    calls = digits().calls
    assert found.outputs == 2 * 10
    assert found.layers_checked == len(calls.calls)
    assert found.layer_bytes == 2 * sum(calls.graph.tensors[c.node.outputs[0]].bytes for c in calls.calls)


@pytest.mark.parametrize("step", range(len(digits().calls.calls)))
def test_the_first_wrong_node_is_named(step: int) -> None:
    call = digits().calls.calls[step]
    name = call.node.outputs[0]
    shape = digits().graph.tensors[name].shape
    index = tuple(size // 2 for size in shape)
    found = compared(Judge((name, index, 3)), layers=True)
    assert not found.exact
    assert found.first is not None
    assert (found.first.node, found.first.tensor, found.first.index) == (call.node.name, name, index)
    assert found.first.vector == "random 0 of seed 0"
    assert (found.first.reference - found.first.device) % 256 == 3
    assert found.mismatches >= 2
    if len(shape) == 4:
        assert f"channel {index[3]} of pixel ({index[1]}, {index[2]})" in str(found.first)
    assert f"the device computed {found.first.device}, the reference {found.first.reference}" in str(found.first)


def test_without_layers_only_outputs_count() -> None:
    lie = Judge((digits().calls.calls[0].node.outputs[0], (0, 1, 1, 1), 3))
    assert compared(lie, layers=False).exact
    lie = Judge((digits().graph.outputs[0], (0, 7), 1))
    found = compared(lie, layers=False)
    assert (found.mismatches, found.max_abs_diff) == (2, 1.0)
    assert found.first is not None
    assert found.first.index == (0, 7)
    assert found.first.node == digits().calls.calls[-1].node.name


def test_every_differing_byte_is_counted() -> None:
    ran = honest_run(vectors())
    wrong = bytes(b ^ 1 for b in ran.outputs[1][0])
    found = compared(Judge(), [replace(ran, outputs=(ran.outputs[0], (wrong,)))], layers=False)
    assert (found.mismatches, found.outputs, found.max_abs_diff) == (10, 20, 1.0)
    assert found.first is not None
    assert found.first.vector == "random 1 of seed 0"


def test_answers_of_several_runs_are_put_together() -> None:
    runs = [honest_run([vector]) for vector in vectors()]
    assert compared(Judge(), runs, layers=True).exact
    assert not compared(Judge(), runs[::-1], layers=True).exact


# Inputs.


def test_random_inputs_depend_on_the_seed_only() -> None:
    one, same, other = (random_vectors(digits().graph, 3, seed) for seed in (1, 1, 2))
    assert [v.bytes for v in one] == [v.bytes for v in same] != [v.bytes for v in other]
    assert [v.bytes for v in random_vectors(digits().graph, 5, 1)][:3] == [v.bytes for v in one]
    assert len(set().union(*(v.bytes for v in random_vectors(digits().graph, 40, 0)))) == 256


def test_extremes_are_the_ends_and_the_zero_point() -> None:
    labels = {v.label: set(v.values[0].ravel().tolist()) for v in extreme_vectors(digits().graph)}
    zero_point = digits().graph.tensors["image"].zero_point
    assert labels == {"all lowest": {-128}, "all highest": {127}, "all zero": {zero_point}}


@pytest.mark.parametrize("lead", [(), (1,), (4,)], ids=str)
def test_user_inputs(lead: tuple[int, ...], tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-128, 128, (*lead, 1, 8, 8, 1), np.int8)
    np.save(tmp_path / "x.npy", values)
    np.savez(tmp_path / "x.npz", unrelated=np.zeros(3), image=values)
    for name in ("x.npy", "x.npz"):
        found = user_vectors(digits().graph, tmp_path / name)
        assert b"".join(v.bytes for v in found) == values.tobytes()
        assert found[-1].label == f"{name}[{len(found) - 1}]"


def test_batches_hold_every_vector_once_and_in_order() -> None:
    many = random_vectors(digits().graph, 10, 0)
    for room in (0, 63, 64, 127, 128, 300, 640, 10_000):
        found = batches(many, room)
        assert [v for batch in found for v in batch] == many
        assert all(len(batch) * 64 <= max(room, 64) for batch in found)
        assert len(found) == -(-10 // max(1, room // 64))


# On the board.


def altered(program: Program) -> Program:
    """The program with one weight of its first layer a little different."""
    name = f"{program.name}_weights.c"
    text = program.files[name]
    number = re.search(r"tc_digits_w_\d+\[\d+\] = \{\s+(0x[0-9a-f]+|-?\d+)", text)
    assert number is not None
    value = int(number[1], 0)
    other = f"0x{value ^ 0x40:08x}" if number[1].startswith("0x") else str(value - 9 if value > 0 else value + 9)
    return replace(program, files={**program.files, name: text[: number.start(1)] + other + text[number.end(1) :]})


@pytest.mark.emulator
@needs_compiler
def test_a_wrong_weight_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile, "emit", lambda *a, **k: altered(true_emit(*a, **k)))
    said = say("verify", DIGITS, "-b", "bluepill", "-n", 2, "--layers")
    assert (said.code, said.err) == (1, "")
    assert "MISMATCH: " in said.out
    assert re.search(
        r"first difference: vector random 0 of seed 0, node conv_2d_0, tensor '\w+', channel \d+ of pixel \(\d, \d\): "
        r"the device computed -?\d+\.0, the reference -?\d+\.0\n",
        said.out,
    )
    found = say("verify", DIGITS, "-b", "bluepill", "-n", 2, "--layers", "--json")
    assert found.code == 1
    assert found.json["verify"]["mismatches"] > 0
    assert "node conv_2d_0" in found.json["verify"]["first_difference"]


@pytest.mark.emulator
@needs_compiler
def test_a_lying_reference_is_contradicted(monkeypatch: pytest.MonkeyPatch) -> None:
    lie = Judge(("digit", (0, 3), 2))
    monkeypatch.setattr(actions.reference, "reference", lambda *_, **__: lie)
    said = say("verify", DIGITS, "-b", "bluepill", "-n", 2)
    assert said.code == 1
    assert "MISMATCH: 5 of 50 output bytes differ over 5 vectors" in said.out
    assert "vector random 0 of seed 0, node softmax_" in said.out
    assert "tensor 'digit', element (0, 3)" in said.out
    assert "reference a judge" in said.out


@pytest.mark.emulator
@needs_compiler
def test_inputs_of_every_kind_are_verified(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.zeros((2, 8, 8, 1), np.int8))
    words = ("verify", DIGITS, "-b", "bluepill", "--seed", 7, "--input", tmp_path / "mine.npy", "-n", 3, "--json")
    found = say(*words).json
    assert found["verify"]["vectors"] == found["run"]["inferences"] == 2 + 3 + 3
    assert found["verify"]["mismatches"] == 0
    assert found["verify"]["reference"].startswith("ai-edge-litert ")


def small_flash(board: Board, spare: int, used: int) -> Board:
    """The board with so much flash reserved that `spare` bytes are left beside a product of `used` bytes."""
    return replace(board, reserve_flash=board.flash.size - used - spare)


@pytest.mark.emulator
@needs_compiler
@pytest.mark.parametrize("spare", [64 + 4, 3 * 64 + 4, 3 * 64 + 67, 3 * 64])
def test_batches_over_a_small_flash_give_the_same(spare: int) -> None:
    compiled = digits()
    many = random_vectors(compiled.graph, 7, 0)
    whole = verification.execute(compiled.program, compiled.board, many, emulator="unicorn", progress=SILENT)
    used = build(compiled.program, compiled.board, vectors=[many[0].bytes]).memory.flash.used
    board = small_flash(compiled.board, spare, used)
    runs = verification.execute(compiled.program, board, many, emulator="unicorn", progress=SILENT)
    assert len(whole) == 1
    assert [len(r.outputs) for r in runs] == ([1] * 7 if spare == 68 else [2, 2, 2, 1] if spare == 192 else [3, 3, 1])
    assert [answer for r in runs for answer in r.outputs] == list(whole[0].outputs)
    assert runs[0].instructions == whole[0].instructions
    assert runs[1].instructions is None, "counted once is enough"


@pytest.mark.emulator
@needs_compiler
def test_no_room_for_a_single_input() -> None:
    compiled = digits()
    used = build(compiled.program, compiled.board, vectors=[vectors()[0].bytes]).memory.flash.used
    board = small_flash(compiled.board, 60, used)
    with pytest.raises(DoesNotFit, match=r"60 bytes of flash are left, and one test input needs 64"):
        verification.execute(compiled.program, board, vectors(), emulator="unicorn", progress=SILENT)
    board = small_flash(compiled.board, -8, used)
    with pytest.raises(DoesNotFit, match=r"digits does not fit on bluepill: flash lacks 8 bytes$"):
        verification.execute(compiled.program, board, vectors(), emulator="unicorn", progress=SILENT)


@pytest.mark.emulator
@needs_compiler
def test_printing_layers_needs_more_room() -> None:
    compiled = digits()
    used = build(compiled.program, compiled.board, vectors=[vectors()[0].bytes]).memory.flash.used
    board = small_flash(compiled.board, 200, used)
    assert verification.execute(compiled.program, board, vectors()[:1], emulator="unicorn", progress=SILENT)
    words = r"flash lacks [\d,]+ bytes, in the build of --layers, .*; verify without --layers, or on a board with more"
    with pytest.raises(DoesNotFit, match=words):
        verification.execute(compiled.program, board, vectors(), emulator="unicorn", progress=SILENT, layers=True)


@pytest.mark.emulator
@needs_compiler
def test_answers_that_are_missing_are_no_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "run", lambda *_, **__: honest_run(vectors()[:1]))
    with pytest.raises(EmulatorError, match="2 inferences were asked for, 1 answered"):
        verification.execute(digits().program, digits().board, vectors(), emulator="unicorn", progress=SILENT)


@pytest.mark.emulator
@needs_compiler
def test_a_plan_that_is_exceeded_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, right = digits(), honest_run(vectors())
    image = build(compiled.program, compiled.board, vectors=[v.bytes for v in vectors()])
    ram, arena = image.memory.ram, image.symbol("tc_digits_arena").address
    for more, words in (
        ({"arena_touched": ram.arena + 1}, f"{ram.arena + 1:,} bytes of an arena of {ram.arena:,} were written"),
        ({"stack_high_water": ram.stack + 4}, f"{ram.stack + 4:,} bytes of a stack of {ram.stack:,} were used"),
        ({"stray": (arena, arena + 1)}, f"wrote 2 bytes .* the first at 0x{arena:08x}, where tc_digits_arena lies"),
    ):
        monkeypatch.setattr(verification, "run", lambda *_, more=more, **__: replace(right, **more))
        with pytest.raises(DoesNotFit, match=f"the plan is exceeded on bluepill: .*{words}"):
            verification.execute(compiled.program, compiled.board, vectors(), emulator="unicorn", progress=SILENT)


# Judges.


@pytest.mark.parametrize(("numerics", "name"), [(Numerics.LITERT, "ai-edge-litert "), (Numerics.TFLM, "tflite-micro ")])
def test_judges_agree_with_the_numpy_reference(numerics: Numerics, name: str) -> None:
    pytest.importorskip("ai_edge_litert" if numerics is Numerics.LITERT else "tflite_micro")
    c = compile_model(DIGITS, load("bluepill"), numerics)
    judge = reference(c.file, c.network, layers=True)
    assert judge.name.startswith(name)
    wanted = [n for node in c.network.nodes for n in node.outputs]
    for vector in (*vectors(), *extreme_vectors(c.network)):
        ours = c.network.evaluate(dict(zip(c.network.inputs, vector.values, strict=True)))
        for tensor, theirs in judge(vector.values, wanted).items():
            np.testing.assert_array_equal(ours[tensor], theirs, err_msg=tensor)


def test_without_a_judge_the_report_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinycompiler.reference.find_spec", lambda _: None)
    c = digits()
    judge = reference(c.file, c.network, layers=True)
    assert "tinycompiler's own numpy reference (ai-edge-litert is not installed: pip install" in judge.name
    assert set(judge(vectors()[0].values, ["digit", "stem"])) == {"digit", "stem"}


def test_a_judge_that_refuses_is_one_sentence() -> None:
    pytest.importorskip("ai_edge_litert")
    c = digits()
    with pytest.raises(ModelError, match=r"the reference \(litert\) refuses this model: "):
        reference(replace(c.file, data=c.file.data[:2000]), c.network, layers=False)


@pytest.mark.emulator
@pytest.mark.parametrize("numerics", ["litert", "tflm"])
def test_inputs_that_end_the_judges_process_are_left_out(numerics: str, tmp_path: Path) -> None:
    """SOFTMAX over 1,000 equal values: both references abort. Random values are judged."""
    path = tmp_path / "classes.tflite"
    path.write_bytes(models.softmax(np.random.default_rng(0), (1, 1000)))
    said = say("verify", path, "-b", "nucleo_l4r5zi", "-n", 2, "--numerics", numerics)
    assert said.code == 0, said.err
    assert "EXACT: 0 of 2,000 output bytes differ over 2 vectors" in said.out
    assert said.out.count("left out: all ") == 3
    assert "at softmax_0 both references end the process" in said.out
