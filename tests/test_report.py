"""Reports: the JSON against its schema, and the views of it."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import tinycompiler
from tests.commands import DIGITS, say
from tests.tflite_builder import ModelBuilder
from tinycompiler import errors
from tinycompiler.board import load
from tinycompiler.build import Elf, StackBound
from tinycompiler.compile import Compiled, compile_model
from tinycompiler.elf import FlashUse, Memory, RamUse, RegionUse, Symbol
from tinycompiler.emulators import Run
from tinycompiler.ops import Numerics
from tinycompiler.planning import Goals
from tinycompiler.report import Report, make
from tinycompiler.report_file import load_report
from tinycompiler.report_text import bar, markdown, table, terminal
from tinycompiler.verify import Difference, Verification

SCHEMA = json.loads((Path(tinycompiler.__file__).parent / "report_schema.json").read_text())
UNITS = r"bytes|count|steps|real units|instructions|cycles|multiply-accumulates|elements along each axis"


def validate(data: Any, kind: str = "report") -> None:
    """Against one of the schema's kinds, so that a failure says what is wrong with that one."""
    Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]}).validate(data)


# The schema itself.


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def properties(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property in the schema, with its place."""
    if isinstance(schema, dict):
        for key, inner in schema.items():
            for name, each in (
                inner.items() if key == "properties" and not path.endswith(("if", "then", "else")) else ()
            ):
                yield f"{path}/{name}", each
            yield from properties(inner, f"{path}/{key}")
    if isinstance(schema, list):
        for inner in schema:
            yield from properties(inner, path)


def test_the_schema_is_strict_and_says_every_unit() -> None:
    for name, definition in SCHEMA["$defs"].items():
        if definition.get("type") == "object":
            assert definition["additionalProperties"] is False, name
            assert set(definition["required"]) <= set(definition["properties"]), name
            assert set(definition["properties"]) - set(definition["required"]) <= {"outputs"}, name
    for place, each in properties(SCHEMA["$defs"]):
        kinds = each.get("type", each.get("$ref", ""))
        if any(kind in kinds for kind in ("integer", "number", "bytes", "count")):
            assert re.search(UNITS, each.get("description", "")), f"{place} has no unit"


def test_error_kinds_are_the_error_classes() -> None:
    kinds = {name for name, each in vars(errors).items() if isinstance(each, type)} - {"TinyCompilerError"}
    assert set(SCHEMA["$defs"]["error"]["properties"]["kind"]["enum"]) == kinds


# Reports of every kind, made without a compiler.


@cache
def digits(board: str = "nucleo_l4r5zi") -> Compiled:
    return compile_model(DIGITS, load(board), Numerics.LITERT)


def image(compiled: Compiled, *, code: int = 4000) -> Elf:
    """As much of a linked image as a report looks at; a little `code` fits."""
    board, arena = compiled.board, compiled.layout.plan.arena
    constants = {c.key: c for call in compiled.calls.calls for c in call.constants}.values()
    weights, tables = (sum(c.size for c in constants if c.table is table) for table in (False, True))
    flash = FlashUse(weights + tables + code, board.flash.size, weights=weights, tables=tables, code=code, vectors=68)
    ram = RamUse(arena + 24 + 296, board.ram.size, arena=arena, state=0, static=24, stack=296)
    regions = (
        RegionUse(board.flash.name, "flash", flash.used, flash.capacity),
        RegionUse(board.ram.name, "ram", ram.used, ram.capacity),
    )
    stack = StackBound(bytes=180, path=("reset_handler", "main", "tc_digits_invoke"), frames={})
    symbols = (Symbol("tc_digits_node_0", 0x100, 40, "func"), Symbol("main", 0x200, 60, "func"))
    return cast(
        Elf, SimpleNamespace(memory=Memory(regions, flash, ram), stack=stack, toolchain="gcc 12.2.1", symbols=symbols)
    )


def ran(compiled: Compiled) -> Run:
    nodes = tuple(1000 * (i + 1) for i in range(len(compiled.calls.calls)))
    return Run("unicorn", 11, (), (), {}, sum(nodes), nodes, nodes, {}, sum(nodes), "a cost table", 188, 3072)


EXACT = Verification("a judge 1.0", 11, 110, 0, 0.0, 10, 99, None)
FIRST = Difference("random 0 of seed 0", "conv_2d_0", "stem", (0, 2, 3, 4), 5.0, 6.0)
WRONG = replace(EXACT, mismatches=7, max_abs_diff=2.0, first=FIRST)


def report_of(compiled: Compiled, **more: Any) -> Report:
    c = compiled
    return make(
        network=c.network,
        unpruned=c.unpruned,
        graph=c.graph,
        calls=c.calls,
        layout=c.layout,
        program=c.program,
        sha256=c.source.sha256,
        board=c.board,
        **more,
    )


@cache
def every_report() -> dict[str, Report]:
    c = digits()
    return {
        "plan only": report_of(c, without_elf="no compiler"),
        "fits": report_of(c, elf=image(c)),
        "does not fit": report_of(c, elf=image(c, code=3_000_000)),
        "run": report_of(c, elf=image(c), run=ran(c)),
        "exact": report_of(c, elf=image(c), run=ran(c), verification=EXACT),
        "mismatch": report_of(c, elf=image(c), run=ran(c), verification=WRONG),
    }


KINDS = pytest.mark.parametrize(
    "kind", ["plan only", "fits", "does not fit", "run", "exact", "mismatch"], ids=lambda kind: kind.replace(" ", "_")
)


@KINDS
def test_reports_are_valid(kind: str) -> None:
    validate(every_report()[kind].data)


@KINDS
def test_a_report_is_the_same_every_time_and_survives_its_file(kind: str, tmp_path: Path) -> None:
    before = every_report()[kind]
    every_report.cache_clear()
    digits.cache_clear()
    after = every_report()[kind]
    assert after.json == before.json
    (tmp_path / "report.json").write_text(before.json)
    found = load_report(tmp_path)
    assert found.data == before.data
    assert terminal(found, verbose=True) == terminal(after, verbose=True)
    assert markdown(found) == markdown(after)


def test_the_schema_refuses_what_a_report_cannot_mean() -> None:
    for change in (
        {"fits": None},
        {"fits": False},
        {"memory": None},
        {"fits_source": "plan only: nothing"},
        {"extra": 1},
        {"schema": 2},
        {"program_digest": "0" * 63},
    ):
        data = every_report()["run"].data | change
        assert not Draft202012Validator(SCHEMA).is_valid(data), change


@KINDS
def test_no_paths_and_no_times(kind: str) -> None:
    found = every_report()[kind]
    for text in (found.json, terminal(found, verbose=True), markdown(found)):
        assert not re.search(r"""(^|[\s"'(=])(/|~/|[A-Z]:\\)\w+""", text), text
        assert not re.search(r"\b\d{4}-\d\d-\d\d\b|\b\d\d:\d\d:\d\d\b", text), text
        assert str(Path(__file__).parents[1]) not in text
        assert DIGITS.name not in text


@KINDS
def test_numbers_agree_with_each_other(kind: str) -> None:
    d = every_report()[kind].data
    assert d["model"]["macs"] == d["model"]["macs_live"] == sum(layer["macs"] for layer in d["layers"])
    assert sum(piece["bytes"] for piece in d["plan"]["peak_alive"]) == d["plan"]["lower_bound"] <= d["plan"]["arena"]
    if d["memory"]:
        flash, ram = d["memory"]["flash"], d["memory"]["ram"]
        assert flash["used"] == flash["weights"] + flash["tables"] + flash["code"]
        assert ram["used"] == ram["arena"] + ram["state"] + ram["static"] + ram["stack"]
    if d["run"]:
        assert d["run"]["instructions"] == sum(layer["instructions"] for layer in d["layers"])
    pieces = d["flash_map"]["pieces"]
    total = d["memory"]["flash"]["used"] if d["memory"] else d["plan"]["constants"]
    assert sum(piece["bytes"] for piece in pieces) == total


@KINDS
def test_the_plan_can_be_drawn(kind: str) -> None:
    d = every_report()[kind].data
    plan = d["plan"]
    assert max(b["offset"] + b["bytes"] for b in plan["buffers"]) == plan["arena"]
    assert max(step["bytes"] for step in plan["steps"]) == plan["steps"][plan["peak_step"]]["bytes"]
    assert plan["steps"][plan["peak_step"]]["bytes"] == plan["lower_bound"]
    assert [name for step in plan["steps"] for name in step["layers"]] == [layer["name"] for layer in d["layers"]]
    for layer in d["layers"]:
        assert layer["name"] in plan["steps"][layer["step"]]["layers"]
    alive = {b["name"] for b in plan["buffers"] if b["first_step"] <= plan["peak_step"] <= b["last_step"]}
    assert alive == {piece["name"] for piece in plan["peak_alive"]}
    kinds = {name: b["kind"] for b in plan["buffers"] for name in b["tensors"]}
    assert kinds[d["model"]["inputs"][0]["name"]] == "input"
    assert kinds[d["model"]["outputs"][0]["name"]] in ("output", "input")
    assert {b["kind"] for b in plan["buffers"] if b["name"].startswith("scratch of ")} <= {"scratch"}


def chain(names: Sequence[str], size: int = 4, wide: int = 4) -> bytes:
    """Convolutions one after another, 1x1 at first and 3x3 then; the names are those of all tensors that move, of 4
    channels at both ends and `wide` between.
    """
    model = ModelBuilder("chain")
    rng = np.random.default_rng(0)
    depths: list[int] = []
    for i, name in enumerate(names):
        channels = wide if 0 < i < len(names) - 1 else 4
        model.tensor(name, (1, size, size, channels), scales=0.05, zero_points=i % 100)
        depths.append(channels)
    for i, (x, y) in enumerate(pairwise(names)):
        n, kernel = depths[i + 1], 3 if i else 1
        shape = (n, kernel, kernel, depths[i])
        model.tensor(f"w{i}", shape, data=rng.integers(-50, 50, shape), scales=[0.01] * n)
        model.tensor(f"b{i}", (n,), "int32", data=np.arange(n), scales=[0.0005] * n)
        options = {"stride_h": 1, "stride_w": 1, "padding": 0, "dilation_h_factor": 1, "dilation_w_factor": 1}
        model.operator("CONV_2D", [x, f"w{i}", f"b{i}"], [y], options=options, version=3)
    return model.inputs(names[0]).outputs(names[-1]).build()


def test_runs_rings_and_overlaps_are_in_the_report(tmp_path: Path) -> None:
    (tmp_path / "chain.tflite").write_bytes(chain(("a", "b", "c", "d"), size=24, wide=16))
    goals = Goals(slowdown=None)
    report = report_of(compile_model(tmp_path / "chain.tflite", load("nucleo_l4r5zi"), Numerics.LITERT, goals=goals))
    validate(report.data)
    plan = report.data["plan"]
    (run,) = [step["layers"] for step in plan["steps"] if len(step["layers"]) > 1]
    assert {b["name"] for b in plan["buffers"] if b["kind"] == "ring"} <= {"b", "c"}
    assert [b["name"] for b in plan["buffers"] if b["kind"] == "ring"]
    for layer in report.data["layers"]:
        assert set(layer["row_by_row_with"]) == (set(run) - {layer["name"]} if layer["name"] in run else set())
    assert plan["overlaps"]
    shared = sum(piece["bytes"] for piece in plan["peak_alive"]) - plan["lower_bound"]
    assert f" - {shared:,} where an output overlaps what it is made of" in terminal(report)
    assert plan["arena"] < plan["layer_wise"] == 2 * 24 * 24 * 16


# Views.


def test_tables_line_up() -> None:
    text = table([("name", "bytes", "why"), ("a", 1, "x"), ("longer", 1234567, None)], right="lrl", indent="  ")
    assert text.splitlines() == ["  name        bytes  why", "  a               1  x", "  longer  1,234,567"]


def test_bars_are_of_one_length_and_never_empty_or_overfull() -> None:
    bars = [bar(used, 1000) for used in (0, 1, 500, 999, 1000, 5000)]
    assert len({each.index("]") for each in bars}) == 1
    assert [each.count("#") for each in bars] == [0, 1, 15, 30, 30, 30]


def block(text: str, first_word: str) -> list[str]:
    """The lines of a table, from its header to the next line that is not a row of it."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:1] == [first_word])
    rows = lines[start:]
    return rows[: next((i for i, line in enumerate(rows) if not line or "=" in line or line.endswith(":")), len(rows))]


@KINDS
def test_columns_of_the_terminal_line_up(kind: str) -> None:
    text = terminal(every_report()[kind], verbose=True)
    assert all(line == line.rstrip() for line in text.splitlines())
    layers = block(text, "node")
    ends = [match.end() for match in re.finditer(r"per MAC|\S+", layers[0])]
    assert len(layers) == 1 + len(digits().calls.calls)
    for line in layers[1:]:
        for start in (match.start() for match in re.finditer(r"\S+", layers[0][: ends[2]])):  # flush left
            assert f" {line}"[start] == " " != line[start]
        assert all(line[end : end + 1] in ("", " ") for end in ends[3:]), "a number runs past its column"
        assert line[ends[3] - 1].isdigit()
        assert line[ends[4] - 1].isdigit()
    if "region " in text:
        regions = block(text, "region")
        assert len({line.index("[") for line in regions[1:]}) == 1
        used, of = (match.end() for match in re.finditer(r"used|of", regions[0]))
        assert all(line[used - 1].isdigit() and line[of - 1].isdigit() for line in regions[1:])
        assert all(line[used] == line[of] == " " for line in regions[1:])


def test_the_terminal_says_what_matters() -> None:
    reports = every_report()
    assert "this is a plan, not a verdict (no compiler)" in terminal(reports["plan only"])
    assert "\nFITS  (linked ELF)" in terminal(reports["fits"])
    no = terminal(reports["does not fit"])
    missing = reports["does not fit"].data["memory"]["flash"]["used"] - 2 * 1024 * 1024
    for words in (
        "DOES NOT FIT  (linked ELF)",
        f"flash: {missing:,} bytes missing",
        "alive together",
        "would help",
    ):
        assert words in no
    assert "bytes of constants" in no
    run = terminal(reports["run"])
    assert "instructions" in run
    assert "counted" in run
    assert "estimated" not in run  # the words come from the emulator
    assert "11 inferences" in run
    assert "EXACT: 0 of 110 output bytes differ over 11 vectors" in terminal(reports["exact"])
    wrong = terminal(reports["mismatch"])
    assert re.search(r"MISMATCH: 7 of [\d,]+ output and layer bytes differ", wrong)
    assert (
        "node conv_2d_0, tensor 'stem', channel 4 of pixel (2, 3): the device computed 5.0, the reference 6.0" in wrong
    )
    for found in reports.values():
        assert f"plan.arena {found.data['plan']['arena']:,}" in terminal(found)
        assert f"plan.lower_bound {found.data['plan']['lower_bound']:,}" in terminal(found)


@KINDS
def test_markdown_has_whole_tables(kind: str) -> None:
    text = markdown(every_report()[kind])
    assert text.startswith("# digits on nucleo_l4r5zi\n")
    assert text.count("```") == 2
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(digits().calls.calls)
    # node, output, kernel, MACs, flash, scratch; columns of which nothing is known are left out
    counted = 3 if every_report()[kind].data["run"] else 0
    assert {row.count("|") for row in rows} == {7 + counted}
    assert re.fullmatch(rf"\|(---\|){{3}}(--:\|){{{3 + counted}}}", rows[1])


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"schema": 1}', '{"schema": 99}', '{"schema": 1, "model": 3}'])
def test_damaged_reports_are_one_sentence(damage: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(damage)
    said = say("report", tmp_path)
    assert said.code == 2
    assert "no report of `tinycompiler compile` there" in said.err
    assert said.out == ""


# The real thing.


@pytest.mark.emulator
def test_real_reports_are_valid(tmp_path: Path) -> None:
    compiled = say("compile", DIGITS, "-b", "bluepill", "-o", tmp_path / "out", "--json")
    assert (compiled.code, compiled.err) == (0, "")
    validate(compiled.json)
    assert compiled.json == json.loads((tmp_path / "out" / "report.json").read_text())
    assert compiled.json == say("report", tmp_path / "out", "--json").json
    ran = say("run", DIGITS, "-b", "bluepill", "--json").json
    validate(ran)
    assert ran["run"]["inferences"] == len(ran["outputs"]) == 1
    folder = say("run", tmp_path / "out", "-b", "bluepill", "--json").json
    validate(folder, "output_run")
    values = ran["outputs"][0]["outputs"]["digit"]["values"]
    assert folder["outputs"] == [{"digit": bytes(v % 256 for v in values[0]).hex()}]
    verified = say("verify", DIGITS, "-b", "bluepill", "-n", 1, "--layers", "--json").json
    validate(verified)
    assert verified["fits"] is True
    assert verified["verify"]["mismatches"] == 0
    for found in (compiled.out, (tmp_path / "out" / "manifest.json").read_text()):
        assert str(tmp_path) not in found
        assert str(Path.home()) not in found
