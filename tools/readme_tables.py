"""`make readme`: what stands between markers in README.md, made anew from the code and by measuring.

The figures are measured only where the MLPerf Tiny networks are: in TINYCOMPILER_MODELS, or in ../shared/models.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from tinycompiler import catalog

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
MODELS = Path(os.environ.get("TINYCOMPILER_MODELS", ROOT.parent / "shared" / "models"))
BOARD = "nucleo_l4r5zi"
TRANSCRIPT = ["tinycompiler", "verify", "tests/models/digits.tflite", "-b", "bluepill", "--layers"]


class Footprint(NamedTuple):
    """Bytes of working memory, code and constants; multiplications and executed instructions of one inference."""

    arena: int
    code: int
    constants: int
    macs: int
    instructions: int


TFLM = {
    "kws": Footprint(22832, 52568, 53936, 2656768, 7696753),
    "vww": Footprint(100720, 52568, 333288, 7489664, 24101548),
    "ic": Footprint(55008, 50376, 98496, 12501632, 29862754),
    "ad": Footprint(3024, 27424, 276976, 264192, 582267),
}
"""TensorFlow Lite Micro with CMSIS-NN, recorded once; README.md says how."""


def main() -> None:
    parts = {"ops": catalog.operators_markdown(), "boards": catalog.boards_markdown(), "transcript": transcript()}
    if all((MODELS / f"{name}.tflite").exists() for name in TFLM):
        parts["figures"] = figures({name: measure(name) for name in TFLM})
    else:
        print(f"the figures stay as they are: no MLPerf Tiny networks in {MODELS}; set TINYCOMPILER_MODELS")
    README.write_text(lined_up(filled(README.read_text(), parts)))


def transcript() -> str:
    """A command and what it prints."""
    return f"```\n$ {' '.join(TRANSCRIPT)}\n{tinycompiler(*TRANSCRIPT[1:])}```\n"


def tinycompiler(*arguments: str | Path) -> str:
    """What the command prints; it must end well."""
    command = [Path(sys.executable).with_name("tinycompiler"), *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout


def measure(name: str) -> Footprint:
    """What `tinycompiler verify` counts for an MLPerf Tiny network; the run must be exact."""
    report: dict[str, Any] = json.loads(tinycompiler("verify", MODELS / f"{name}.tflite", "-b", BOARD, "--json"))
    flash = report["memory"]["flash"]
    constants = flash["weights"] + flash["tables"]
    return Footprint(
        report["plan"]["arena"], flash["code"], constants, report["model"]["macs_live"], report["run"]["instructions"]
    )


def figures(measured: Mapping[str, Footprint]) -> str:
    """The table of footprints, ours and TFLM's in turn."""
    rows = [
        ["network", "engine", "arena", "code", "weights and tables", "MACs", "instructions"],
        ["---"] * 2 + ["---:"] * 5,
    ]
    for name, ours in measured.items():
        rows.append([f"**{name}**", "tinycompiler", *(f"{v:,}" for v in ours)])
        rows.append(["", "TFLM + CMSIS-NN", *(f"{v:,}" for v in TFLM[name])])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def filled(text: str, parts: Mapping[str, str]) -> str:
    """The text with each part between its markers, `<!-- name -->` and `<!-- /name -->`."""
    for name, part in parts.items():
        opening, closing = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, rest = text.split(opening)
        _, after = rest.split(closing)
        text = f"{before}{opening}{part}{closing}{after}"
    return text


def lined_up(text: str) -> str:
    """The text with the columns of its Markdown tables lined up in the source too."""
    blocks = groupby(text.splitlines(keepends=True), key=lambda line: line.startswith("|"))
    return "".join(_table(list(lines)) if is_table else "".join(lines) for is_table, lines in blocks)


def _table(lines: Sequence[str]) -> str:
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    right = [cell.endswith(":") for cell in rows[1]]
    widths = [max(3, *(len(row[i]) for row in (rows[0], *rows[2:]))) for i in range(len(right))]
    rows[1] = ["-" * (width - 1) + (":" if flush else "-") for width, flush in zip(widths, right, strict=True)]
    return "".join(f"| {' | '.join(_padded(row, widths, right))} |\n" for row in rows)


def _padded(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    return [c.rjust(w) if flush else c.ljust(w) for c, w, flush in zip(row, widths, right, strict=True)]


if __name__ == "__main__":
    main()
