"""The report as one HTML page that needs nothing else: no network, no font, no file beside it.

Every number comes from the report's JSON, which stands in the page too. What is drawn is laid out in report_picture.py;
the templates only place it. Names come from a model file and may be anything, so the templates escape all they print.
"""

import json
from functools import cache

import jinja2
from markupsafe import Markup

from tinycompiler.report import Report
from tinycompiler.report_diff import signed, told
from tinycompiler.report_facts import Json, short
from tinycompiler.report_picture import arena, treemap
from tinycompiler.report_text import changed, lost, told_apart
from tinycompiler.resources import folder


def page(report: Report) -> str:
    """The picture of one compilation."""
    d = report.data
    cost = next((k for k in ("cycles", "instructions") if any(x[k] is not None for x in d["layers"])), "macs")
    template = _environment().get_template("report.html.j2")
    return template.render(
        d=d,
        embedded=embedded(d),
        arena=arena(d["plan"]),
        treemap=treemap(d["flash_map"]["pieces"]),
        cost=cost,
        largest=max((x[cost] or 0 for x in d["layers"]), default=0),
        narrowed=[x for x in d["pruning"]["layers"] if lost(x)],
        left_alone=[x for x in d["pruning"]["layers"] if not lost(x)],
        encoded=[x for x in d["layers"] if x["stored"]] if any(map(told_apart, d["layers"])) else [],
        runs=_runs(d),
    )


def diff_page(data: Json) -> str:
    """What changed between two reports; `data` is what `report_diff.compare` found."""
    return _environment().get_template("report_diff.html.j2").render(d=data, embedded=embedded(data))


def embedded(data: Json) -> Markup:
    """JSON as it can stand in a script element: no character that could end it."""
    text = json.dumps(data, indent=1)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _runs(d: Json) -> dict[int, int]:
    """Step -> how many layers go row by row there, where there is more than one."""
    return {number: len(step["layers"]) for number, step in enumerate(d["plan"]["steps"]) if len(step["layers"]) > 1}


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,
    )
    made.filters |= {"n": _number, "short": short, "pct": _percent, "signed": _signed, "changed": changed, "told": told}
    return made


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,}"


def _percent(value: float) -> str:
    """A length in an attribute: short, and the same on every machine."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _signed(value: float | None) -> str:
    return signed(value).replace("-", "\N{MINUS SIGN}")
