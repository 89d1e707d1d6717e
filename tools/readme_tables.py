"""`make readme`: what stands between markers in README.md, made anew from the code.

The figures come from tests/bench.json, which `make bench` measures: nothing is measured here but the transcript and,
where the networks are, what memory they are planned to take.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from tinycompiler import catalog
from tinycompiler.bench.figures import Figures, load
from tinycompiler.bench.recorded import Recorded, recorded
from tinycompiler.board import load as load_board
from tinycompiler.compile import compile_model
from tinycompiler.errors import DoesNotFit
from tinycompiler.ops import Numerics
from tinycompiler.planning import Goals

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BENCH = ROOT / "tests" / "bench.json"
BOARD = "nucleo_l4r5zi"
NETWORKS = Path(os.environ.get("TINYCOMPILER_MODELS", ROOT.parent / "shared" / "models"))
TRANSCRIPT = ["tinycompiler", "verify", "tests/models/digits.tflite", "-b", "bluepill", "--layers"]


def main() -> None:
    listings = {"ops": catalog.operators_markdown(), "boards": catalog.boards_markdown()}
    parts = {**listings, "transcript": transcript(), **measured(load(BENCH))}
    if (NETWORKS / "kws.tflite").exists():
        parts["memory"] = arenas()
    README.write_text(lined_up(filled(README.read_text(), parts)))


def measured(figures: Sequence[Figures]) -> dict[str, str]:
    """The parts that are made of measured figures: networks that another engine's are recorded of."""
    pairs = [(ours, theirs) for ours in figures if (theirs := recorded(ours.sha256, ours.core))]
    return {"figures": footprints(pairs), "speed": speeds(pairs)}


def arenas() -> str:
    """The table of planned arenas, by what is asked for."""
    asked = {"`--no-fusion`": Goals(fusion=False), "as usual": Goals(), "`--max-slowdown 50`": Goals(slowdown=0.5)}
    rows = [["network", *asked, "least `--arena-budget`"], ["---"] + ["---:"] * (len(asked) + 1)]
    for name in ("kws", "vww", "ic", "ad"):
        found = [arena(name, goals) for goals in (*asked.values(), Goals(budget=1))]
        rows.append([f"**{name}**", *(f"{size:,}" for size in found)])
    return _markdown(rows)


def arena(name: str, goals: Goals) -> int:
    """Bytes that are planned, or that a refused budget needs."""
    try:
        path = NETWORKS / f"{name}.tflite"
        return compile_model(path, load_board(BOARD), Numerics.LITERT, goals=goals).layout.plan.arena
    except DoesNotFit as refusal:
        [least] = re.findall(r"smallest that was found has ([\d,]+)", str(refusal))
        return int(least.replace(",", ""))


def transcript() -> str:
    """A command and what it prints."""
    return f"```\n$ {' '.join(TRANSCRIPT)}\n{tinycompiler(*TRANSCRIPT[1:])}```\n"


def tinycompiler(*arguments: str | Path) -> str:
    """What the command prints; it must end well."""
    command = [Path(sys.executable).with_name("tinycompiler"), *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout


def footprints(pairs: Sequence[tuple[Figures, Recorded]]) -> str:
    """The table of bytes on one board, ours and the other engine's in turn."""
    rows = [["network", "engine", "arena", "code", "weights and tables", "stack", "MACs"], ["---"] * 2 + ["---:"] * 5]
    for ours, theirs in pairs:
        if ours.board == BOARD:
            b = ours.bytes
            mine = (b["arena"], b["code"], b["weights"] + b["tables"], b["stack"], ours.macs)
            other = (theirs.arena, theirs.code, theirs.model_file, theirs.stack, theirs.macs)
            rows.append([f"**{ours.model}**", "tinycompiler", *(f"{v:,}" for v in mine)])
            rows.append(["", theirs.engine, *(f"{v:,}" for v in other)])
    return _markdown(rows)


def speeds(pairs: Sequence[tuple[Figures, Recorded]]) -> str:
    """The table of instructions and cycles on every core."""
    head = ["network", "core", "instructions", "per MAC", "TFLM + CMSIS-NN", "times fewer", "cycles", "per MAC"]
    return _markdown([head, ["---"] * 2 + ["---:"] * 6, *_speeds(pairs)])


def _speeds(pairs: Sequence[tuple[Figures, Recorded]]) -> Iterator[list[str]]:
    last = ""
    for ours, theirs in pairs:
        name = "" if ours.model == last else f"**{ours.model}**"
        last = ours.model
        times = f"{theirs.instructions / ours.instructions:.2f}"
        counted = [f"{ours.instructions:,}", f"{ours.instructions / ours.macs:.2f}", f"{theirs.instructions:,}", times]
        timed = ["", ""] if ours.cycles is None else [f"{ours.cycles:,}", f"{ours.cycles / ours.macs:.2f}"]
        yield [name, ours.core, *counted, *timed]


def _markdown(rows: Sequence[Sequence[str]]) -> str:
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
