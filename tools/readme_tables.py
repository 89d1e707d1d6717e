"""`make readme`: the tables between markers in README.md, made anew from the code and by measuring.

The figures are measured only where the MLPerf Tiny networks are: in TINYCOMPILER_MODELS, or in ../shared/models.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinycompiler import catalog

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
MODELS = Path(os.environ.get("TINYCOMPILER_MODELS", ROOT.parent / "shared" / "models"))
BOARD = "nucleo_l4r5zi"


class Footprint(NamedTuple):
    """Of one network: bytes of working memory, code and constants, and executed instructions of one inference."""

    arena: int
    code: int
    constants: int
    instructions: int


TFLM = {
    "kws": Footprint(22832, 52568, 53936, 7696753),
    "vww": Footprint(100720, 52568, 333288, 24101548),
    "ic": Footprint(55008, 50376, 98496, 29862754),
    "ad": Footprint(3024, 27424, 276976, 582267),
}
"""TensorFlow Lite Micro with CMSIS-NN, recorded once; README.md says how."""


def main() -> None:
    tables = {"ops": catalog.operators_markdown(), "boards": catalog.boards_markdown()}
    if all((MODELS / f"{name}.tflite").exists() for name in TFLM):
        tables["figures"] = figures({name: measure(name) for name in TFLM})
    else:
        print(f"the figures stay as they are: no MLPerf Tiny networks in {MODELS}; set TINYCOMPILER_MODELS")
    README.write_text(filled(README.read_text(), tables))


def measure(name: str) -> Footprint:
    """What `tinycompiler verify` counts for an MLPerf Tiny network; the run must be exact."""
    command = [
        Path(sys.executable).with_name("tinycompiler"),
        "verify",
        MODELS / f"{name}.tflite",
        "-b",
        BOARD,
        "--json",
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    flash = report["memory"]["flash"]
    constants = flash["weights"] + flash["tables"]
    return Footprint(report["plan"]["arena"], flash["code"], constants, report["run"]["instructions"])


def figures(measured: Mapping[str, Footprint]) -> str:
    """The table of footprints, ours and TFLM's in turn."""
    rows = [["network", "", "arena", "code", "weights and tables", "instructions"]]
    for name, ours in measured.items():
        theirs = TFLM[name]
        less = [
            f"{100 - 100 * a / b:.0f} % less" if a < b else f"{100 * a / b - 100:.0f} % more"
            for a, b in zip(ours, theirs, strict=True)
        ]
        rows.append([f"**{name}**", "tinycompiler", *(f"{v:,}" for v in ours)])
        rows.append(["", "TFLM + CMSIS-NN", *(f"{v:,}" for v in theirs)])
        rows.append(["", "", *less])
    return (
        "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], ["---", "---", *["---:"] * 4], *rows[1:]]) + "\n"
    )


def filled(text: str, tables: Mapping[str, str]) -> str:
    """The text with each table between its markers, `<!-- name -->` and `<!-- /name -->`."""
    for name, table in tables.items():
        opening, closing = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, rest = text.split(opening)
        _, after = rest.split(closing)
        text = f"{before}{opening}{aligned(table)}{closing}{after}"
    return text


def aligned(table: str) -> str:
    """A Markdown table with its columns lined up in the source too."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    rules = [cell.endswith(":") for cell in rows[1]]
    widths = [max(len(row[i]) for row in rows if row is not rows[1]) for i in range(len(rules))]
    rows[1] = ["-" * (width - 1) + (":" if right else "-") for width, right in zip(widths, rules, strict=True)]
    return "".join(f"| {' | '.join(_padded(row, widths, rules))} |\n" for row in rows)


def _padded(row: Sequence[str], widths: Sequence[int], rules: Sequence[bool]) -> list[str]:
    return [c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, rules, strict=True)]


if __name__ == "__main__":
    main()
