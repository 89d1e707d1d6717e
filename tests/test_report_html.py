"""The page, judged without a browser: whole, alone, safe with hostile names, legible in both colour schemes."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.commands import DIGITS, say
from tests.test_report import KINDS, chain, every_report, report_of, validate
from tinycompiler.board import load
from tinycompiler.compile import compile_model
from tinycompiler.ops import Numerics
from tinycompiler.report_diff import compare
from tinycompiler.report_facts import short
from tinycompiler.report_html import diff_page, page
from tinycompiler.report_picture import arena, treemap
from tinycompiler.report_text import terminal

BASE = (Path(__file__).parents[1] / "templates" / "report_base.html.j2").read_text()
VOID = {"meta", "link", "br"}  # elements without an end, as far as the pages use any
KINDS_OF_BUFFER = ("input", "output", "tensor", "scratch", "ring")


class Page(HTMLParser):
    """Elements in order, refusing what a browser would have to guess at."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"<{tag}> has an attribute twice"
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open, f"<{tag}/> outside of a picture"
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], data))

    def text_of(self, tag: str) -> list[str]:
        return [text for where, text in self.texts if where == tag]


def pages() -> Iterator[str]:
    reports = every_report()
    yield from map(page, reports.values())
    yield diff_page(compare(reports["fits"], reports["run"]))
    yield diff_page(compare(reports["run"], reports["run"]))


def test_pages_are_whole_and_stand_alone() -> None:
    for text in pages():
        assert text.startswith("<!doctype html>\n")
        found = Page(text)
        tags = [tag for tag, _ in found.elements]
        assert not {"img", "iframe", "object", "embed", "form", "base", "audio", "video"} & set(tags)
        assert tags.count("script") == 2
        assert tags.count("title") >= tags.count("h1") == tags.count("main") == 1
        for tag, attributes in found.elements:
            assert not [name for name in attributes if name.startswith("on")], "a handler in an attribute"
            for name in ("src", "href", "xlink:href", "action", "srcset", "data"):
                assert attributes.get(name, "data:,") == "data:,", f"<{tag}> asks for {attributes[name]}"
        assert set(re.findall(r"url\(([^)]*)\)", text)) <= {"#hatch"}
        assert "@import" not in text
        assert not re.findall(r"\w+://|\bfetch\b|XMLHttpRequest|import\s*\(", text)


def test_references_within_pages_lead_somewhere() -> None:
    for text in pages():
        elements = Page(text).elements
        ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
        assert len(set(ids)) == len(ids)
        for _, attributes in elements:
            assert set(attributes.get("aria-labelledby", "").split()) <= set(ids)


def test_everything_that_can_be_reached_has_a_name() -> None:
    for text in pages():
        found = Page(text)
        for tag, attributes in found.elements:
            if attributes.get("role") in ("group", "region"):
                assert attributes["aria-label"]
            if tag == "th":
                assert attributes["scope"] in ("col", "row")
        images = sum(attributes.get("role") == "img" for _, attributes in found.elements)
        assert images == len(found.text_of("title")) - 1  # the page has one, too
        starts = sum(attributes.get("tabindex") == "0" and tag == "g" for tag, attributes in found.elements)
        assert starts == sum(attributes.get("class") == "marks" for _, attributes in found.elements)


@KINDS
def test_the_same_numbers_as_in_the_json(kind: str) -> None:
    report = every_report()[kind]
    text = page(report)
    found = Page(text)
    (embedded,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert json.loads(embedded) == json.loads(report.json)
    told = found.text_of("title")
    for b in report.data["plan"]["buffers"]:
        assert any(
            f"{b['name']}: {b['kind']}, {b['bytes']:,} bytes at offset {b['offset']:,}, " in each for each in told
        )
    cells = " ".join(text for _, text in found.texts)
    for layer in report.data["layers"]:
        for key in ("macs", "weights", "tables", "scratch", "instructions", "cycles"):
            assert layer[key] is None or f"{layer[key]:,}" in cells
    shown = {None: "planned", True: "Fits", False: "Does not fit"}[report.fits]
    assert shown in " ".join(found.text_of("p"))


def test_a_page_is_the_same_every_time() -> None:
    assert list(pages()) == list(pages())


# Names are hostile input.

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><!--",
    "{{ 7 * 7 }}{% raw %}",
    "</title></svg><style>*{display:none}</style>",
    "' onfocus='alert(1)' autofocus='",
    "javascript:alert(1)//",
    "\u202egnp.exe\x00\x07 &lt;b&gt; 名",
)


def test_hostile_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "hostile.tflite"
    file.write_bytes(chain(HOSTILE))
    report = report_of(compile_model(file, load("nucleo_l4r5zi"), Numerics.LITERT))
    validate(report.data)
    names = {name for b in report.data["plan"]["buffers"] for name in b["tensors"]}
    assert names > set(HOSTILE[:-1])  # the reader has made control characters harmless
    calm = [(tag, set(attributes)) for tag, attributes in Page(page(every_report()["plan only"])).elements]
    for text in (page(report), diff_page(compare(report, every_report()["plan only"]))):
        found = Page(text)
        assert {tag for tag, _ in found.elements} <= {tag for tag, _ in calm}
        assert {name for _, attributes in found.elements for name in attributes} <= {n for _, a in calm for n in a}
        assert text.count("<script") == text.count("</script>") == 2
    (embedded,) = re.findall(r'id="data">(.*?)</script>', page(report), re.DOTALL)
    assert json.loads(embedded) == report.data
    said = " ".join(text for _, text in Page(page(report)).texts)
    for name in names:
        assert short(name, 200) in said
    assert not re.search(r"[^\n\x20-\U0010ffff]|\u202e", said + terminal(report, verbose=True))


# Colours.


def schemes() -> dict[str, dict[str, str]]:
    """Variable -> #rrggbb, in light and in dark."""
    light, dark = re.findall(r":root \{(.*?)\}", BASE, re.DOTALL)
    found = {
        name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", text)) for name, text in (("light", light), ("dark", dark))
    }
    assert found["light"].keys() == found["dark"].keys()
    return found


def luminance(colour: str) -> float:
    """As WCAG 2 defines it."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, two: str) -> float:
    light, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


TEXTS = [
    *(("ink", kind) for kind in (*KINDS_OF_BUFFER, "weights", "tables", "code", "spare", "share", "paper", "ground")),
    *(("muted", ground) for ground in ("paper", "ground")),
    *((word, ground) for word in ("good", "bad", "warn", "accent") for ground in ("paper", "ground")),
    *((word, f"{word}-ground") for word in ("good", "bad", "warn")),
]
SHAPES = [
    *((f"{kind}-line", "paper") for kind in (*KINDS_OF_BUFFER, "weights", "tables", "code")),
    *((f"{kind}-line", kind) for kind in (*KINDS_OF_BUFFER, "weights", "tables", "code")),
    ("accent", "paper"),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(scheme: str) -> None:
    """WCAG 2.2 AA: 4.5 for text, 3 for edges of shapes."""
    colours = schemes()[scheme]
    for pairs, least in ((TEXTS, 4.5), (SHAPES, 3.0)):
        low = {pair: round(contrast(*(colours[name] for name in pair)), 2) for pair in pairs}
        assert not {pair: ratio for pair, ratio in low.items() if ratio < least}


def test_every_colour_is_a_variable() -> None:
    body = re.sub(r":root \{.*?\}", "", BASE, flags=re.DOTALL)
    assert not re.findall(r"#[0-9a-fA-F]{3,8}\b|rgb|hsl", body)
    used = set(re.findall(r"var\(--([\w-]+)\)", page(every_report()["fits"]))) - {"part"}  # which is a length
    assert used == set(schemes()["light"])


# Places of the marks.


@KINDS
def test_rectangles_lie_where_their_bytes_are(kind: str) -> None:
    plan = every_report()[kind].data["plan"]
    drawn = arena(plan)
    assert drawn is not None
    assert len(drawn.rows) == len(plan["steps"])
    for b, mark in zip(plan["buffers"], drawn.marks, strict=True):
        assert mark.x * plan["arena"] == pytest.approx(100 * b["offset"])
        assert mark.width * plan["arena"] == pytest.approx(100 * b["bytes"])
        assert mark.height == pytest.approx(drawn.row * (b["last_step"] - b["first_step"] + 1))
        assert 0 <= mark.x <= mark.x + mark.width <= 100.001
        assert mark.y + mark.height <= drawn.height + 0.001
    assert [row.peak for row in drawn.rows].count(True) == 1


def test_an_arena_of_no_bytes_or_of_very_many_steps() -> None:
    plan = every_report()["fits"].data["plan"]
    assert arena({**plan, "arena": 0}) is None
    many = [{"layers": [f"n{i}"], "bytes": 1} for i in range(5000)]
    drawn = arena({**plan, "steps": many})
    assert drawn is not None
    assert drawn.height < 5000 * 4


@given(st.lists(st.tuples(st.sampled_from(["weights", "tables", "code"]), st.integers(1, 10**7)), max_size=40))
def test_treemap_shares_the_area_out(drawn: list[tuple[str, int]]) -> None:
    pieces = [{"name": f"p{i}", "of": "layer", "kind": kind, "bytes": size} for i, (kind, size) in enumerate(drawn)]
    total = sum(size for _, size in drawn)
    marks = treemap(pieces)
    assert sum(mark.width * mark.height for mark in marks) == pytest.approx(10_000 if drawn else 0)
    for mark in marks:
        (size,) = re.findall(r": ([\d,]+) bytes", mark.told)
        assert mark.width * mark.height == pytest.approx(10_000 * int(size.replace(",", "")) / total)
        assert -0.001 <= mark.x <= mark.x + mark.width <= 100.001
        assert -0.001 <= mark.y <= mark.y + mark.height <= 100.001
    for i, one in enumerate(marks):
        for two in marks[:i]:
            wide = min(one.x + one.width, two.x + two.width) - max(one.x, two.x)
            high = min(one.y + one.height, two.y + two.height) - max(one.y, two.y)
            assert min(wide, high) <= 0.001, "two pieces overlap"


# The command.


def test_the_command_prints_the_page_that_compile_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYCOMPILER_CC", "/nonexistent")
    assert say("compile", DIGITS, "-b", "bluepill", "-o", tmp_path / "out").code == 0
    written = (tmp_path / "out" / "report.html").read_text()
    Page(written)
    assert say("report", tmp_path / "out", "--html").out == written
    assert say("report", tmp_path / "out" / "report.json", "--html").out == written
    assert say("report", tmp_path / "out", "--html", "--json").json == json.loads(
        (tmp_path / "out" / "report.json").read_text()
    )
