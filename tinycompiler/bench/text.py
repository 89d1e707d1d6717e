"""Figures as tables, for a terminal or as Markdown."""

from collections.abc import Callable, Iterable, Sequence

from tinycompiler.bench.compare import Change, Comparison, name_of
from tinycompiler.bench.figures import BYTES, Figures, Step
from tinycompiler.bench.marks import unjudged, verdicts
from tinycompiler.bench.recorded import by_step, recorded, source
from tinycompiler.report_text import markdown_table, table

Rows = Sequence[Sequence[object]]
Layout = Callable[[Rows, str], str]

SUMMARY = ("model", "board", "engine", "MACs", "instructions", "per MAC", "times", "cycles", "waiting", *BYTES)
STEPS = ("layer", "output", "kernel", "MACs", "instructions", "per MAC", "cycles", "per MAC", "recorded", "times")
CHANGES = ("what", "figure", "old", "new", "change", "")


def shown(figures: Sequence[Figures], comparison: Comparison | None, *, markdown: bool = False) -> str:
    """Everything: layers, sums, marks, and what changed."""
    lay: Layout = markdown_table if markdown else lambda rows, right: table(rows, right=right)
    parts = [part for each in figures for part in _layers(each, lay, markdown=markdown)]
    if figures:
        parts += [lay(summary(figures), "lll" + "r" * 13), "\n".join(_explained(figures))]
    if comparison is not None:
        parts += _compared(comparison, lay)
    return "\n\n".join(parts) + "\n"


def summary(figures: Iterable[Figures]) -> Rows:
    """A row for each, and one for the engine recorded for the same file and core."""
    rows: list[Sequence[object]] = [SUMMARY]
    for each in figures:
        theirs = recorded(each.sha256, each.core)
        times = f"{theirs.instructions / each.instructions:.2f}" if theirs else None
        name = " ".join(part for part in (each.model, each.options) if part)
        sizes = (each.bytes[figure] for figure in BYTES)
        per = _per(each.instructions, each.macs)
        row = (each.macs, each.instructions, per, times, each.cycles, each.cycles_waiting, *sizes)
        rows.append((name, each.board, "tinycompiler", *row))
        if theirs:
            size = (theirs.code, theirs.model_file, None, theirs.arena, None, theirs.static, theirs.stack)
            per = _per(theirs.instructions, theirs.macs)
            rows.append(("", "", theirs.engine, theirs.macs, theirs.instructions, per, None, None, None, *size))
    return rows


def _per(count: int | None, work: int) -> str | None:
    return f"{count / work:.2f}" if count is not None and work else None


def _layers(figures: Figures, lay: Layout, *, markdown: bool) -> list[str]:
    rows: list[Sequence[object]] = [STEPS]
    for step, theirs in zip(figures.steps, by_step(figures), strict=True):
        times = f"{theirs / step.instructions:.2f}" if theirs and step.instructions else None
        output = "x".join(map(str, step.layers[-1].output))
        counts = (step.instructions, _rate(step, step.instructions), step.cycles, _rate(step, step.cycles))
        rows.append((_names(step), output, _kernels(step), step.macs, *counts, theirs, times))
    filled = [i for i in range(len(STEPS)) if any(row[i] is not None for row in rows[1:])]
    right = "".join(side for i, side in enumerate("lll" + "r" * 7) if i in filled)
    parts = [("### " if markdown else "") + f"{name_of(figures.key)} ({figures.core})"]
    parts.append(lay([[row[i] for i in filled] for row in rows], right))
    return [*parts, "\n".join(notes)] if (notes := marked(figures)) else parts


def _names(step: Step) -> str:
    first, last = step.layers[0].name, step.layers[-1].name
    return first if len(step.layers) == 1 else f"{first} to {last}, row by row"


def _kernels(step: Step) -> str:
    return ", ".join(dict.fromkeys(layer.kernel for layer in step.layers))


def _rate(step: Step, count: int | None) -> str | None:
    if count is not None and not step.macs and len(step.layers) == 1 and step.layers[0].family == "add":
        return f"{count / step.layers[0].work:.2f} an element"
    return _per(count, step.macs)


def marked(figures: Figures) -> list[str]:
    """A sentence on each step above a mark; steps of which the same is to be said share one."""
    judged = list(verdicts(figures))
    above: dict[str, list[str]] = {}
    for verdict in judged:
        if verdict.above:
            above.setdefault(verdict.sentence, []).append(verdict.names)
    lines = [f"- {', '.join(names)}: {sentence}" for sentence, names in above.items()]
    apart = unjudged(figures)
    if apart:
        lines.append(f"- not judged, as they run row by row with layers that have no mark: {', '.join(apart)}")
    head = [f"above the marks: {sum(map(len, above.values()))} of {len(judged)}"] if judged else []
    return [*head, *lines]


def _explained(figures: Sequence[Figures]) -> list[str]:
    """Where the numbers come from."""
    references = dict.fromkeys(f"{each.reference} ({each.vectors} inputs)" for each in figures)
    lines = [
        f"exact: every output byte is that of {', '.join(references)}",
        "instructions: counted in the emulator, one inference",
        "bytes: linked ELF; code with start-up and console, stack in the worst case",
        *dict.fromkeys(f"cycles, {f.core}: {f.cycles_source}" for f in figures if f.cycles_source),
        "waiting: cycles with the wait states of the board's flash at every jump that is taken, as without a cache",
    ]
    if any(recorded(each.sha256, each.core) for each in figures):
        lines += [*source(), "The model file stands under weights. times: their instructions over ours."]
    return lines


def _compared(comparison: Comparison, lay: Layout) -> list[str]:
    changes = sorted(comparison.changes, key=lambda change: (not change.fails, -abs(change.growth)))
    parts = [lay([CHANGES, *map(_row, changes)], "llrrrl")] if changes else []
    failed = sum(change.fails for change in changes)
    verdict = f"{failed} figures grew too much" if failed else "nothing grew too much"
    if not comparison.compared:
        return ["\n".join([*comparison.notes, "nothing was compared"])]
    allowed = "allowed: instructions +1 %, bytes +2 %; cycles are shown and never fail"
    return [*parts, "\n".join([*comparison.notes, f"{verdict}: {comparison.compared} compared; {allowed}"])]


def _row(change: Change) -> Sequence[object]:
    percent = f"{100 * change.growth:+.2f} %" if change.old else "new"
    verdict = "TOO MUCH" if change.fails else "grew" if change.new > change.old else "better"
    return name_of(change.key), change.figure, change.old, change.new, percent, verdict
