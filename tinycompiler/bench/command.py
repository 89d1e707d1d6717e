"""`tinycompiler bench`: measures what it is told, or reads it from a file of figures; shows and compares."""

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from tinycompiler.actions import Outcome
from tinycompiler.bench.compare import compare
from tinycompiler.bench.figures import Figures, load, save
from tinycompiler.bench.measure import measure
from tinycompiler.bench.text import shown
from tinycompiler.board import load as load_board
from tinycompiler.errors import DoesNotFit, Mismatch, UsageError
from tinycompiler.ops import Numerics
from tinycompiler.planning import USUAL, Goals
from tinycompiler.progress import Progress

BOARDS = ("nucleo_l4r5zi", "nucleo_f207zg", "rpi_pico")
"""Cortex-M4, M3 and M0+ with room for the MLPerf Tiny networks."""


def bench(options: Namespace) -> Outcome:
    """Figures of models x boards; exit code 1 when one does not fit, is not exact, or has grown too much."""
    earlier = load(options.compare) if options.compare else None  # before the long work, and before --json replaces it
    figures, refusals = _figures(options, Progress())
    if options.write:
        save(options.write, figures)
    comparison = None if earlier is None else compare(earlier, figures)
    text = shown(figures, comparison, markdown=options.markdown) + "".join(f"\n{line}\n" for line in refusals)
    failed = bool(refusals) or (comparison is not None and comparison.fails)
    return Outcome(text, {}, 1 if failed else 0)


def _figures(options: Namespace, progress: Progress) -> tuple[list[Figures], list[str]]:
    """What was measured or read, and a sentence on each pair that has no figures."""
    figures: list[Figures] = []
    refusals: list[str] = []
    boards = [load_board(name) for name in options.board or BOARDS]
    goals = Goals(fusion=not options.no_fusion)
    named = "" if goals == USUAL else "--no-fusion"
    models = options.models or _usual_models()
    for model in models:
        if model.suffix == ".json":
            figures += load(model)
            continue
        for board in boards:
            progress(f"{model.stem} on {board.name}", len(figures) + len(refusals), len(models) * len(boards))
            try:
                figures.append(measure(model, board, Numerics(options.numerics), goals=goals, options=named))
            except (DoesNotFit, Mismatch) as refusal:
                refusals.append(str(refusal))
    progress.done()
    return figures, refusals


def _usual_models() -> Sequence[Path]:
    folder = os.environ.get("TINYCOMPILER_MODELS", "")
    found = sorted(Path(folder).glob("*.tflite")) if folder else []
    if not found:
        raise UsageError("no model is given, and no .tflite file is in TINYCOMPILER_MODELS; name one, or set it")
    return found
