"""A report read back from where it was left."""

import json
from pathlib import Path

from tinycompiler.report import SCHEMA, Report
from tinycompiler.report_diff import compare
from tinycompiler.report_html import page
from tinycompiler.report_text import markdown, terminal


def load_report(place: Path) -> Report:
    """The report in an output folder of `compile`, or in a file that --json was written to. Raises OSError or
    ValueError.
    """
    file = place / "report.json" if place.is_dir() else place
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except RecursionError as problem:
        raise ValueError("nested too deep") from problem
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ValueError(f"schema {data.get('schema') if isinstance(data, dict) else '?'} instead of {SCHEMA}")
    found = Report(data)
    try:
        markdown(found)
        terminal(found, verbose=True)
        page(found)
        compare(found, found)
    except Exception as problem:  # whatever the views do with what no report holds
        raise ValueError(f"damaged, or of another version: {type(problem).__name__} {problem}") from problem
    return found
