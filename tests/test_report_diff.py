"""Two reports compared, in every form."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.commands import DIGITS, say
from tests.test_report import every_report, validate
from tinycompiler.report import Report
from tinycompiler.report_diff import compare, markdown, terminal


def changed(report: Report, *path: Any, to: Any) -> Report:
    """The report with something else at a place."""
    data = copy.deepcopy(report.data)
    found = data
    for key in path[:-1]:
        found = found[key]
    found[path[-1]] = to
    return Report(data)


def figure(data: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [f for f in data["figures"] if f["name"] == name]
    return dict(found)


def test_equal_reports_say_so() -> None:
    for report in every_report().values():
        found = compare(report, Report(json.loads(report.json)))
        validate(found, "diff")
        assert found["equal"]
        assert found["identity"] == found["layers"] == []
        assert all(f["change"] == 0 for f in found["figures"] if f["old"] is not None)
        assert terminal(found) == "equal: the two reports say the same\n"
        assert "equal: the two reports say the same" in markdown(found)


def test_any_two_reports_can_be_compared() -> None:
    for old in every_report().values():
        for new in every_report().values():
            found = compare(old, new)
            validate(found, "diff")
            back = compare(new, old)
            assert found["equal"] == back["equal"] == (old.data == new.data)
            for there, here in zip(found["figures"], back["figures"], strict=True):
                assert (there["old"], there["new"]) == (here["new"], here["old"])
                if there["change"] is not None:
                    assert there["change"] == -here["change"] == there["new"] - there["old"]


def test_what_a_report_does_not_know_has_no_change() -> None:
    found = compare(every_report()["plan only"], every_report()["run"])
    assert figure(found, "flash")["change"] is None
    assert figure(found, "flash")["new"] > 0
    assert figure(found, "arena")["change"] == 0
    assert {"name": "fits", "old": None, "new": True} in found["identity"]


def test_figures_layers_and_kernels() -> None:
    old = every_report()["run"]
    arena = old.data["plan"]["arena"]
    new = changed(old, "plan", "arena", to=arena * 3 // 4)
    new = changed(new, "layers", 1, "kernel", to="another_kernel")
    new = changed(new, "layers", 2, "cycles", to=1500)
    new = changed(new, "layers", 3, "name", to="new_3")
    found = compare(old, new)
    validate(found, "diff")
    assert not found["equal"]
    assert figure(found, "arena") | {"change": -arena // 4, "percent": -25.0} == figure(found, "arena")
    names = [layer["name"] for layer in old.data["layers"]]
    what = {layer["name"]: layer["what"] for layer in found["layers"]}
    assert what == {names[1]: "kernel", names[2]: "figures", "new_3": "added", names[3]: "removed"}
    (cycles,) = [layer["cycles"] for layer in found["layers"] if layer["name"] == names[2]]
    assert cycles == {"old": 3000, "new": 1500, "change": -1500, "percent": -50.0}
    for text in (terminal(found), markdown(found)):
        for words in (f"-{arena // 4:,}", "-25.0 %", "-1,500 -50.0 %", "-> another_kernel", "added:", "removed:"):
            assert words in text


def test_layers_that_go_row_by_row_are_counted_together() -> None:
    """What stands at the first layer of a run is no loss of that layer, and none of it goes missing."""
    old = every_report()["run"]
    names = [layer["name"] for layer in old.data["layers"]]
    new = changed(old, "layers", 1, "row_by_row_with", to=[names[2]])
    new = changed(new, "layers", 2, "row_by_row_with", to=[names[1]])
    counted = sum(old.data["layers"][i]["instructions"] for i in (1, 2))
    new = changed(new, "layers", 1, "instructions", to=counted + 10)
    new = changed(new, "layers", 2, "instructions", to=None)
    for one, two, sign in ((old, new, 1), (new, old, -1)):
        first, second = compare(one, two)["layers"]
        assert first["instructions"]["change"] == 10 * sign
        assert second["instructions"] == {"old": None, "new": None, "change": None, "percent": None}
    assert "now row by row" in terminal(compare(old, new))
    assert "now as a whole" in terminal(compare(new, old))


def test_columns_line_up() -> None:
    new = changed(every_report()["run"], "layers", 2, "cycles", to=1500)
    rows = [line for line in markdown(compare(every_report()["fits"], new)).splitlines() if line.startswith("|")]
    tables: list[list[str]] = [[]]
    for row in rows:
        if re.fullmatch(r"(\|--[-:])+\|", row):
            tables.append([tables[-1].pop()])
        tables[-1].append(row)
    assert all(len({row.count("|") for row in table}) <= 1 for table in tables)


# The command.


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two outputs: the same network for two boards."""
    home = tmp_path_factory.mktemp("reports")
    found = home / "old", home / "new"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYCOMPILER_CC", "/nonexistent")
        for folder, board in zip(found, ("bluepill", "nucleo_l4r5zi"), strict=True):
            assert say("compile", DIGITS, "-b", board, "-o", folder).code == 0
    return found


def test_every_form(folders: tuple[Path, Path]) -> None:
    found = say("report", "--diff", *folders, "--json").json
    validate(found, "diff")
    assert {"name": "board", "old": "bluepill", "new": "nucleo_l4r5zi"} in found["identity"]
    assert "bluepill" in say("report", "--diff", *folders).out
    assert say("report", "--diff", *folders, "--markdown").out.startswith("# What changed\n\n|")
    assert say("report", "--diff", *folders, "--html").out.startswith("<!doctype html>")
    assert say("report", "--diff", folders[0], folders[0] / "report.json").out.startswith("equal")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("", "Expecting value"),
        ("[1]", "schema ?"),
        ('{"schema": 1}', "damaged, or of another version"),
        ("[" * 100_000, "nested too deep"),
        ('{"schema": 7}', "schema 7 instead of 1"),
    ],
)
def test_bad_reports_are_one_sentence(
    content: str | None, words: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.json"
    if content is not None:
        bad.write_text(content)
    for pair in ((folders[0], bad), (bad, folders[0])):
        said = say("report", "--diff", *pair)
        assert (said.code, said.out) == (2, "")
        assert "no report of `tinycompiler compile` there" in said.err
        assert words in said.err
        assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    "path",
    [
        ("plan",),
        ("plan", "buffers"),
        ("plan", "steps"),
        ("plan", "arena"),
        ("layers",),
        ("layers", 0, "row_by_row_with"),
        ("layers", 0, "macs"),
        ("pruning", "layers"),
        ("flash_map", "pieces"),
        ("model", "macs"),
        ("warnings",),
    ],
    ids=str,
)
def test_damaged_reports_are_refused_or_shown(
    path: tuple[Any, ...], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """Whatever stands in place of a number or a name: a sentence, or a page, and never a traceback."""
    bad = tmp_path / "bad.json"
    for value in ("x", 1e400, [None], {}):
        bad.write_text(changed(Report(json.loads((folders[0] / "report.json").read_text())), *path, to=value).json)
        said = say("report", "--diff", folders[0], bad, "--html")
        assert said.code in (0, 2), value
        assert said.code == 0 or len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    "words", [(), ("one", "--diff", "two", "three"), ("--diff", "one"), ("a", "--html", "--markdown")]
)
def test_usage(words: tuple[str, ...]) -> None:
    said = say("report", *words)
    assert (said.code, said.out) == (2, "")
    assert "tinycompiler report: error: " in said.err
