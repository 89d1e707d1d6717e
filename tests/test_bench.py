"""`tinycompiler bench`: its comparison and its verdicts on invented figures, and the small network as it is today.

What the kernels take is asserted nowhere but in the comparison with tests/bench.json.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.commands import DIGITS, needs_compiler, say
from tinycompiler.bench import recorded
from tinycompiler.bench.compare import LIMITS, compare
from tinycompiler.bench.figures import BYTES, Figures, Layer, Step, dump, load, save
from tinycompiler.bench.marks import MARKS, layer_of, unjudged, verdicts
from tinycompiler.bench.text import marked, shown, summary
from tinycompiler.board import CORES
from tinycompiler.board import load as load_board
from tinycompiler.build import toolchain
from tinycompiler.compile import compile_model
from tinycompiler.emulators.cycles import COST_TABLES
from tinycompiler.errors import UsageError
from tinycompiler.ops import Numerics
from tinycompiler.verify import Verification

BENCH = Path(__file__).with_name("bench.json")


def conv(name: str = "conv", *, macs: int = 1000, family: str | None = "wide_convolution") -> Layer:
    return Layer(name, "CONV_2D", "some_kernel", (1, 4, 4, 16), macs, family, macs)


def add(name: str = "add", *, elements: int = 100) -> Layer:
    return Layer(name, "ADD", "another_kernel", (1, elements), 0, "add", elements)


INVENTED = Figures(
    model="net",
    sha256="0" * 64,
    board="some_board",
    core="cortex-m4f",
    numerics="litert",
    options="",
    toolchain="gcc 1.2",
    reference="a judge",
    vectors=5,
    macs=1000,
    instructions=10_000,
    cycles=15_000,
    cycles_source="estimated",
    wait_states=5,
    cycles_waiting=17_000,
    bytes=dict.fromkeys(BYTES, 1000),
    steps=(Step((conv(),), 900, 1400), Step((add(),), 900, 1000)),
)


def with_bytes(**changed: int) -> Figures:
    return replace(INVENTED, bytes={**INVENTED.bytes, **changed})


# The comparison.


def test_equal_figures_have_no_changes() -> None:
    found = compare([INVENTED], [INVENTED])
    assert (found.changes, found.compared, found.notes, found.fails) == ((), 1, (), False)


@pytest.mark.parametrize(
    ("instructions", "fails"), [(10_100, False), (10_101, True), (9_000, False), (1, False), (20_000, True)]
)
def test_instructions_may_grow_by_one_percent(instructions: int, fails: bool) -> None:
    found = compare([INVENTED], [replace(INVENTED, instructions=instructions)])
    assert [(c.figure, c.old, c.new) for c in found.changes] == [("instructions", 10_000, instructions)]
    assert found.fails == fails


@pytest.mark.parametrize("name", BYTES)
def test_bytes_may_grow_by_two_percent(name: str) -> None:
    for new, fails in ((1020, False), (1021, True), (980, False), (0, False)):
        found = compare([INVENTED], [with_bytes(**{name: new})])
        assert [c.figure for c in found.changes] == [name]
        assert found.fails == fails


def test_something_from_nothing_is_too_much() -> None:
    assert compare([with_bytes(state=0)], [with_bytes(state=1)]).fails
    assert not compare([with_bytes(state=0)], [with_bytes(state=0)]).fails


def test_cycles_never_fail() -> None:
    found = compare([INVENTED], [replace(INVENTED, cycles=90_000)])
    assert ([c.figure for c in found.changes], found.fails) == (["cycles"], False)
    assert compare([INVENTED], [replace(INVENTED, cycles=None)]).changes == ()


def test_every_figure_has_a_limit() -> None:
    assert set(LIMITS) == {"instructions", "cycles", *BYTES}


def test_one_failure_among_gains_fails() -> None:
    new = replace(with_bytes(code=500, stack=1100), instructions=5_000)
    found = compare([INVENTED], [new])
    assert {c.figure: c.fails for c in found.changes} == {"instructions": False, "code": False, "stack": True}
    text = shown([new], found)
    assert "1 figures grew too much" in text
    rows = [line for line in text.splitlines() if line.startswith("net on some_board  ")]
    assert [("TOO MUCH" in row, "better" in row) for row in rows] == [(True, False), (False, True), (False, True)]


def test_pairs_are_found_by_model_board_numerics_and_options() -> None:
    others = [replace(INVENTED, **{key: "other"}) for key in ("model", "board", "numerics", "options")]
    found = compare([INVENTED], [*others, INVENTED])
    assert found.compared == 1
    assert len(found.notes) == 4
    assert all("no earlier figures" in note for note in found.notes)


def test_another_file_of_the_same_name_is_not_compared() -> None:
    found = compare([INVENTED], [replace(INVENTED, sha256="1" * 64, instructions=10**9)])
    assert (found.compared, found.changes, found.fails) == (0, (), True)
    assert shown([], found).endswith("nothing was compared\n")
    assert "its file is another one now" in found.notes[0]


def test_another_compiler_is_named() -> None:
    found = compare([INVENTED], [replace(INVENTED, toolchain="gcc 2.0")])
    assert found.notes == ("net on some_board: now by gcc 2.0, before by gcc 1.2",)


# The file.


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save(tmp_path / "x.json", [INVENTED, replace(INVENTED, cycles=None, cycles_source=None, cycles_waiting=None)])
    assert load(tmp_path / "x.json")[0] == INVENTED
    assert load(tmp_path / "x.json")[1].cycles is None
    assert dump(load(tmp_path / "x.json")) == (tmp_path / "x.json").read_text()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "{}", '{"schema": 99, "figures": []}', '{"schema": 1, "figures": [{}]}', "[" * 9999]
)
def test_broken_files_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UsageError, match="no figures of `tinycompiler bench`"):
        load(tmp_path / "x.json")


def test_a_figure_that_is_no_number_is_refused(tmp_path: Path) -> None:
    data = json.loads(dump([INVENTED]))
    data["figures"][0]["instructions"] = "many"
    (tmp_path / "x.json").write_text(json.dumps(data))
    with pytest.raises(UsageError, match="no integer"):
        load(tmp_path / "x.json")


def test_the_tracked_file_is_as_it_was_written() -> None:
    figures = load(BENCH)
    assert dump(figures) == BENCH.read_text()
    assert {(f.core, f.model) for f in figures} >= {(core, "digits") for core in TIMED}
    for each in figures:
        assert sum(step.macs for step in each.steps) == each.macs
        assert sum(step.instructions for step in each.steps) <= each.instructions
        assert each.cycles is None or each.cycles > each.instructions


TIMED = ("cortex-m4f", "cortex-m3", "cortex-m0plus")


def test_rough_estimates_are_marked() -> None:
    for core in CORES.values():
        assert bool(COST_TABLES[core.cost_table].rough) == (core.name not in TIMED)


# The marks.


def test_verdicts() -> None:
    found = {(v.names, v.what): v.above for v in verdicts(INVENTED)}
    assert found == {("conv", "instructions"): False, ("conv", "cycles"): False, ("add", "instructions"): False}
    assert marked(INVENTED) == ["above the marks: 0 of 3"]
    slow = replace(INVENTED, steps=(Step((conv("a"),), 1001, 1450), Step((conv("b"),), 1000, 1451)))
    assert {(v.names, v.what) for v in verdicts(slow) if v.above} == {("a", "instructions"), ("b", "cycles")}


def test_a_sentence_names_figure_and_mark() -> None:
    steps = (Step((conv("a"),), 1200, 1300), Step((conv("b"),), 1200, 1300), Step((add("c"),), 1500, 1600))
    head, convolutions, addition = marked(replace(INVENTED, steps=steps))
    assert head == "above the marks: 3 of 5"
    assert "a, b: 1.20 instructions per MAC, 20 % above the mark of 1.00" in convolutions
    assert "c: 15.00 instructions per element, 50 % above the mark of 10.00 (ADD; 100 of them)" in addition


def test_layers_of_a_run_are_judged_together() -> None:
    """A wide convolution's 1000 MACs allow 1000 instructions, 100 elements of an ADD another 1000."""
    both = replace(INVENTED, steps=(Step((conv(), add()), 1999, 9999),))
    assert [(v.allowed, v.above) for v in verdicts(both)] == [(2000, False)]  # an ADD has no mark of cycles
    assert [v.above for v in verdicts(replace(both, steps=(Step((conv(), add()), 2001, 1),)))] == [True]


def test_work_without_a_mark_spoils_a_verdict() -> None:
    mixed = replace(INVENTED, steps=(Step((conv("first", family=None), conv("second")), 10, 10),))
    assert list(verdicts(mixed)) == []
    assert unjudged(mixed) == ["second"]
    assert "row by row with layers that have no mark: second" in marked(mixed)[-1]


def test_only_cores_with_dsp_have_marks() -> None:
    plain = replace(INVENTED, core="cortex-m3", steps=(Step((conv(),), 10**6, 10**6),))
    assert marked(plain) == []


def test_families_of_a_real_network() -> None:
    compiled = compile_model(DIGITS, load_board("nucleo_l4r5zi"), Numerics.LITERT)
    layers = [layer_of(compiled.calls.graph, call) for call in compiled.calls.calls]
    found = {layer.name: (layer.family, layer.work) for layer in layers}
    assert found["conv_2d_0"] == (None, 9216)  # one input channel
    assert found["conv_2d_2"] == ("wide_convolution", 16384)
    assert found["depthwise_conv_2d_1"] == ("depthwise_3x3", 9216)
    assert found["fully_connected_8"] == ("fully_connected", 1280)
    assert found["add_3"] == ("add", 8 * 8 * 16)
    assert {family for family, _ in found.values()} == {*MARKS, None}


# Figures of others.


def test_recorded_figures_are_found_by_the_file() -> None:
    data = json.loads(recorded.FILE.read_text())["networks"]
    assert set(data) == {"kws", "vww", "ic", "ad"}
    for network in data.values():
        for core in network["cores"]:
            assert core in CORES
            found = recorded.recorded(network["sha256"], core)
            assert found is not None
            assert found.instructions == network["cores"][core]["instructions"]
            if found.operators:  # the rest is the interpreter's
                assert 0 < found.instructions - sum(count for _, count in found.operators) < 100
    assert recorded.recorded("0" * 64, "cortex-m4f") is None
    assert all(sentence.endswith(".") for sentence in recorded.source())


def test_recorded_layers_stand_beside_ours() -> None:
    for each in load(BENCH):
        theirs = recorded.recorded(each.sha256, each.core)
        row = recorded.by_step(each)
        assert len(row) == len(each.steps)
        if theirs is None or not theirs.operators:
            assert set(row) == {None}
        elif each.model == "ad":
            assert sum(count or 0 for count in row) == sum(count for _, count in theirs.operators)


def test_the_other_engine_has_a_row_of_its_own() -> None:
    figures = [f for f in load(BENCH) if f.core == "cortex-m4f"]
    rows = summary(figures)
    assert len({len(row) for row in rows}) == 1
    assert sum(row[2] == "tinycompiler" for row in rows) == len(figures)
    known = [f for f in figures if recorded.recorded(f.sha256, f.core)]
    assert sum(row[2] == "TFLM + CMSIS-NN" for row in rows) == len(known)


# The command.


def test_earlier_figures_are_shown_and_compared_without_running_anything(tmp_path: Path) -> None:
    grown = [replace(each, instructions=2 * each.instructions) for each in load(BENCH)]
    save(tmp_path / "new.json", grown)
    same = say("bench", BENCH, "--compare", BENCH)
    assert (same.code, same.err) == (0, "")
    assert "nothing grew too much" in same.out
    worse = say("bench", tmp_path / "new.json", "--compare", BENCH)
    assert worse.code == 1
    assert f"{len(grown)} figures grew too much" in worse.out
    assert say("bench", BENCH, "--compare", tmp_path / "new.json").code == 0


def test_tables_line_up() -> None:
    for lines in (part.splitlines() for part in say("bench", BENCH).out.split("\n\n")):
        if lines[0].startswith(("layer ", "model ")):
            ends = {len(line) for line in lines}
            assert len(ends) <= 2, lines  # the last column may be empty
    for part in say("bench", BENCH, "--markdown").out.split("\n\n"):
        if part.startswith("|"):
            assert len({line.count("|") for line in part.splitlines()}) == 1


def test_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYCOMPILER_MODELS", str(tmp_path))
    assert (said := say("bench")).code == 2
    assert "TINYCOMPILER_MODELS" in said.err
    assert say("bench", BENCH, "--compare", tmp_path / "none.json").code == 2
    assert say("bench", BENCH, "--json", tmp_path / "no" / "x.json").code == 2
    assert say("bench", tmp_path / "none.tflite").code == 3
    assert say("bench", DIGITS, "-b", "nope").code == 2


@pytest.mark.slow
@pytest.mark.emulator
@needs_compiler
def test_what_does_not_fit_is_named_and_the_rest_is_measured(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "boards" / "bluepill.toml").read_text()
    (tmp_path / "small.toml").write_text(text.replace("0x1_0000", "0x1000"))
    said = say("bench", DIGITS, "-b", tmp_path / "small.toml", "-b", "bluepill", "--json", tmp_path / "x.json")
    assert said.code == 1
    assert "digits does not fit on small: flash lacks" in said.out
    assert [each.board for each in load(tmp_path / "x.json")] == ["bluepill"]


@pytest.mark.slow
@pytest.mark.emulator
@needs_compiler
def test_wrong_bytes_have_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Verification("a judge", 5, 50, 3, 1.0, 0, 0, None)
    monkeypatch.setattr("tinycompiler.verify.compare", lambda *_, **__: wrong)
    said = say("bench", DIGITS, "-b", "bluepill", "--json", tmp_path / "x.json")
    assert said.code == 1
    assert "digits on bluepill: 3 wrong bytes" in said.out
    assert load(tmp_path / "x.json") == []


@pytest.mark.slow
@pytest.mark.emulator
@needs_compiler
def test_the_small_network_has_not_grown() -> None:
    """The one place where speed is asserted: `make bench` writes the file anew after a change that is worth it."""
    kept = {each.toolchain for each in load(BENCH)}
    if toolchain().version not in kept:
        pytest.skip(f"tests/bench.json was measured with {', '.join(kept)}, and here is {toolchain().version}")
    said = say("bench", DIGITS, "--compare", BENCH)
    assert said.code == 0, said.out
    assert "3 compared" in said.out
