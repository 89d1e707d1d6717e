"""Compiles quantized TFLite networks to self-contained C11 for Cortex-M, and proves that they fit and compute the
same bytes.
"""

import os
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinycompiler import catalog, reference, report_diff
from tinycompiler import verify as verification
from tinycompiler.board import CORES, Board, load
from tinycompiler.build import Elf, toolchain
from tinycompiler.compile import Compiled, blockers, compile_model, link
from tinycompiler.doctor import examine
from tinycompiler.emit import commented, notice
from tinycompiler.emulators import Run, renode_files
from tinycompiler.errors import BuildError, DoesNotFit, ModelError, UsageError
from tinycompiler.graph import Graph
from tinycompiler.host import run_on_host
from tinycompiler.memory import draw
from tinycompiler.ops import Numerics
from tinycompiler.output import read as read_output
from tinycompiler.output import write
from tinycompiler.pareto import pareto
from tinycompiler.passes import optimize
from tinycompiler.passes.edges import file_inputs
from tinycompiler.planning import Goals
from tinycompiler.progress import Progress
from tinycompiler.readers.network import inspect
from tinycompiler.readers.signatures import as_data, choice_of
from tinycompiler.report import Report, make, warnings
from tinycompiler.report_file import load_report
from tinycompiler.report_html import diff_page, page
from tinycompiler.report_text import markdown, table, terminal
from tinycompiler.tensor import DType
from tinycompiler.vectors import StoredAnswers, Vector, extreme_vectors, random_vectors, user_vectors


@dataclass(frozen=True)
class Outcome:
    """What a command says, as text and as JSON, and its exit code."""

    text: str
    data: Mapping[str, Any]
    exit_code: int = 0


Action = Callable[[Namespace], Outcome]

ANY_CORE = "cortex-m0plus"
"""What its kernels take, every core's do."""


def check(options: Namespace) -> Outcome:
    """Every blocker of a model; with a board, also those of its kernels and of the plan."""
    board = None if options.board is None else load(options.board)
    found = inspect(options.model, Numerics(options.numerics), signature=options.signature)
    against = blockers(found, board.core if board else CORES[ANY_CORE])
    data = {
        "model": options.model.name,
        "network": as_data(found.file),
        "board": board.name if board else None,
        "blockers": [blocker.data for blocker in against],
        "warnings": [] if against else warnings(optimize(found.sound)),
        "plan": None,
        "pruning": None,
        "shortfall": None,
    }
    choice = [f"network: {choice_of(found.file)}"] if choice_of(found.file) else []
    if against:
        count = f"{options.model.name}: {len(against)} blocker{'s' * (len(against) > 1)}"
        return Outcome("\n".join([count, *(f"  {b}" for b in against), *choice]), data, ModelError.exit_code)
    if board is not None:
        compiled = _compiled(options, board)
        report = _report(compiled, without_elf="`check` links nothing")
        data |= {key: report.data[key] for key in ("plan", "pruning", "shortfall")}
        code = 0 if report.data["shortfall"] is None else DoesNotFit.exit_code
        return Outcome("\n".join([terminal(report), *choice]), data, code)
    graph = found.sound
    summary = f"{options.model.name}: no blockers, {len(graph.nodes)} operators, {graph.total_macs:,} MACs"
    return Outcome("\n".join([summary, *(f"WARNING: {w}" for w in data["warnings"]), *choice]), data)


def compile_(options: Namespace) -> Outcome:
    """The whole line up to the linked image, and an output folder when it fits."""
    progress = Progress()
    board = load(options.board)
    progress(f"compiling {options.model.name}")
    compiled = _compiled(options, board)
    if options.stop in ("graph", "calls", "plan", "program"):
        progress.done()
        return _stopped(options.stop, compiled)
    if options.pareto:
        progress.done()
        return Outcome(*pareto(options, compiled, lambda goals: _compiled(options, board, goals)))
    vectors = random_vectors(compiled.graph, 1, 0)
    progress("building firmware")
    compiled, elf, missing = _linked(compiled, vectors)
    progress.done()
    if options.stop == "elf":
        return _elf_listing(elf, missing)
    report = _report(compiled, elf=elf, without_elf=missing)
    fits = report.data["shortfall"] is None
    text = _shown_report(report, compiled, options)
    if fits and options.output:
        write(options.output, _output_files(compiled, report, elf, vectors, stock=options.stock))
        text += f"\nwritten to {options.output}\n"
    return Outcome(text, report.data, 0 if fits else DoesNotFit.exit_code)


def run(options: Namespace) -> Outcome:
    """Runs a model or an output folder, and shows the outputs."""
    _check_place(options)
    board = load(options.board)
    if os.path.isdir(options.model):  # unlike Path.is_dir, False for names that the system refuses
        return _run_output(options, board)
    compiled = _compiled(options, board)
    vectors = (
        user_vectors(compiled.graph, options.input)
        if options.input
        else random_vectors(compiled.graph, 1, options.seed)
    )
    compiled, elf, runs = _execute(compiled, vectors, options)
    report = _report(compiled, elf=elf, run=_merged(runs))
    outputs = [_decoded(compiled, v.label, data) for v, data in zip(vectors, _answers(runs), strict=True)]
    text = "\n".join([_shown_report(report, compiled, options), *(_shown(o) for o in outputs)])
    return Outcome(text, {**report.data, "outputs": outputs})


def verify(options: Namespace) -> Outcome:
    """Runs seeded, extreme and user inputs, and compares with the reference."""
    _check_place(options)
    if options.layers and options.emulator == "host":
        raise UsageError("--layers needs an emulator, since the host's program prints outputs only; leave --host away")
    progress = Progress()
    board = load(options.board)
    compiled = _compiled(options, board)
    vectors, left_out, judge = _asked(compiled, options)
    compiled, elf, runs = _execute(compiled, vectors, options, progress)
    result = verification.compare(compiled.network, compiled.calls, vectors, runs, judge, layers=False)
    if options.layers:
        hooked = verification.execute(
            compiled.program, compiled.board, vectors, emulator=options.emulator, progress=progress, layers=True
        )
        layers = verification.compare(compiled.network, compiled.calls, vectors, hooked, judge, layers=True)
        result = replace(
            layers,
            mismatches=max(layers.mismatches, result.mismatches),
            max_abs_diff=max(layers.max_abs_diff, result.max_abs_diff),
            first=layers.first or result.first,
        )
    progress.done()
    report = _report(compiled, elf=elf, run=_merged(runs), result=result)
    text = "\n".join([_shown_report(report, compiled, options), *left_out])
    return Outcome(text, report.data, 0 if result.exact else 1)


def _asked(compiled: Compiled, options: Namespace) -> tuple[list[Vector], list[str], reference.Reference]:
    """What is run, what is left out, and who judges: stored answers know those to the user's inputs alone."""
    if options.expect is not None:
        if options.input is None or options.layers:
            raise UsageError("--expect has the outputs for --input: add that, and leave --layers away")
        vectors = user_vectors(compiled.graph, options.input)
        return vectors, [], StoredAnswers(compiled.network, options.expect, len(vectors))
    judge = reference.reference(compiled.file, compiled.network, layers=options.layers or bool(options.io))
    vectors = random_vectors(compiled.graph, options.n, options.seed) + extreme_vectors(compiled.graph)
    if options.input:
        vectors = user_vectors(compiled.graph, options.input) + vectors
    return *_judged(compiled, vectors), judge


def _judged(compiled: Compiled, vectors: Sequence[Vector]) -> tuple[list[Vector], list[str]]:
    """Vectors that the references survive, and a sentence for each of the others."""
    network, kept, left_out = compiled.network, [], []
    for vector in vectors:
        feeds = dict(zip(network.inputs, file_inputs(network, compiled.graph, vector.values), strict=True))
        node = reference.aborts_at(network, feeds)
        if node is None:
            kept.append(vector)
        else:
            left_out.append(f"left out: {vector.label}; at {node} both references end the process for it")
    if not kept:
        raise UsageError("\n".join([*left_out, "no input is left to verify; give some by --input"]))
    return kept, left_out


def report(options: Namespace) -> Outcome:
    """The report that compile left, or what changed between two."""
    if options.diff:
        data = report_diff.compare(*(_loaded(place) for place in options.diff))
        form = {"markdown": report_diff.markdown, "html": diff_page}.get(options.form, report_diff.terminal)
        return Outcome(form(data), data)
    found = _loaded(options.output)
    if options.form is None:
        return Outcome(terminal(found, verbose=options.verbose), found.data)
    return Outcome({"markdown": markdown, "html": page}[options.form](found), found.data)


def boards(options: Namespace) -> Outcome:
    """All boards."""
    found = catalog.boards()
    rows: list[Sequence[object]] = [("board", "part", "core", "flash", "RAM", "name")]
    rows += [(b.name, b.mcu, b.core.name, b.flash.size, b.ram.size, b.title) for b in found]
    data = {
        "boards": [
            {
                "name": b.name,
                "title": b.title,
                "mcu": b.mcu,
                "core": b.core.name,
                "regions": [asdict(r) for r in b.regions],
            }
            for b in found
        ]
    }
    return Outcome(catalog.boards_markdown() if options.markdown else table(rows, right="lllrr"), data)


def ops(options: Namespace) -> Outcome:
    """All operators."""
    if options.json:
        return Outcome("", {"operators": [row.data for row in catalog.operator_rows()]})
    return Outcome(catalog.operators_markdown() if options.markdown else table(catalog.operators_table()), {})


def doctor(_: Namespace) -> Outcome:
    """All tools."""
    found = examine()
    rows = [("", "tool", "found", "gives")]
    rows += [("ok" if f.found else "MISSING", f.tool, f.found or "", f.gives) for f in found]
    missing = [f"  {f.tool}: {f.install}" for f in found if not f.found]
    text = "\n".join([table(rows), *(["", "to install what is missing:", *missing] if missing else [])])
    return Outcome(text, {"tools": [asdict(f) for f in found]})


# What the commands share.


def _compiled(options: Namespace, board: Board, goals: Goals | None = None) -> Compiled:
    """The program, as the options wish it, or with these goals."""
    usual = Goals(
        not options.no_fusion,
        options.max_slowdown,
        options.arena_budget,
        aim=options.optimize,
        dense=options.weights == "int8",
    )
    return compile_model(
        options.model,
        board,
        Numerics(options.numerics),
        io=options.io,
        signature=options.signature,
        goals=goals or usual,
        place=options.place,
        flash=options.flash_budget,
        ram=options.ram_budget,
    )


def _shown_report(report: Report, compiled: Compiled, options: Namespace) -> str:
    choice = choice_of(compiled.file)
    return terminal(report, verbose=options.verbose) + (f"\nnetwork: {choice}\n" if choice else "")


def _linked(compiled: Compiled, vectors: Sequence[Vector]) -> tuple[Compiled, Elf | None, str]:
    """The image, or None and why there is none: no compiler is no error where a plan will do."""
    try:
        toolchain()
    except BuildError as missing:
        return compiled, None, str(missing)
    return (*link(compiled, vectors), "")


def _check_place(options: Namespace) -> None:
    """UsageError for a compiler that would not be used."""
    if options.cc is not None and options.emulator != "host":
        raise UsageError("--cc names the compiler of --host; add --host, or set TINYCOMPILER_CC for the board")


def _execute(
    compiled: Compiled, vectors: Sequence[Vector], options: Namespace, progress: Progress | None = None
) -> tuple[Compiled, Elf | None, list[Run]]:
    """Builds and runs; DoesNotFit with the whole report when it does not fit. No image when the host runs it."""
    progress = progress or Progress()
    if options.emulator == "host":
        sizes = [compiled.graph.tensors[name].bytes for name in compiled.graph.outputs]
        return compiled, None, [run_on_host(compiled.program, vectors, sizes, compiler=options.cc)]
    progress("building firmware")
    compiled, elf = link(compiled, vectors[:1])
    if not elf.memory.fits:
        progress.done()
        raise DoesNotFit("\n" + terminal(_report(compiled, elf=elf)).rstrip())
    runs = verification.execute(
        compiled.program, compiled.board, vectors, emulator=options.emulator, progress=progress, first=elf
    )
    progress.done()
    return compiled, elf, runs


def _report(
    compiled: Compiled,
    *,
    elf: Elf | None = None,
    run: Run | None = None,
    result: verification.Verification | None = None,
    without_elf: str = "",
) -> Report:
    return make(
        network=compiled.network,
        unpruned=compiled.unpruned,
        graph=compiled.graph,
        calls=compiled.calls,
        layout=compiled.layout,
        program=compiled.program,
        sha256=compiled.source.sha256,
        board=compiled.board,
        elf=elf,
        run=run,
        verification=result,
        without_elf=without_elf,
        goals=compiled.goals,
        gain=compiled.gain,
        integer=compiled.integer,
    )


def _loaded(place: Path) -> Report:
    try:
        return load_report(place)
    except (OSError, ValueError) as problem:
        raise UsageError(f"{place}: no report of `tinycompiler compile` there ({problem})") from problem


def _stopped(noun: str, compiled: Compiled) -> Outcome:
    text = {
        "graph": lambda: str(compiled.graph),
        "calls": lambda: str(compiled.calls),
        "plan": lambda: draw(compiled.layout.plan),
        "program": lambda: str(compiled.program) + "\n".join(compiled.program.files.values()),
    }[noun]()
    return Outcome(text, {noun: text})


def _elf_listing(elf: Elf | None, missing: str) -> Outcome:
    if elf is None:
        raise BuildError(missing)
    sections = [(s.name, hex(s.address), s.size) for s in elf.sections]
    symbols = [(s.name, hex(s.address), s.size) for s in sorted(elf.symbols, key=lambda s: (s.address, s.name))]
    return Outcome(
        table([("section", "address", "bytes"), *sections], right="lrr")
        + "\n\n"
        + table([("symbol", "address", "bytes"), *symbols], right="lrr"),
        {"sections": sections, "symbols": symbols},
    )


def _output_files(
    compiled: Compiled, report: Report, elf: Elf | None, vectors: Sequence[Vector], *, stock: bool
) -> dict[str, str | bytes]:
    """Everything that `compile` leaves behind."""
    files: dict[str, str | bytes] = {**compiled.program.files, "report.json": report.json, "report.html": page(report)}
    name, board, graph = compiled.program.name, compiled.board, compiled.graph
    if elf is not None:
        files[f"firmware/{name}.elf"] = elf.image
    if board.renode is not None or stock:
        values = [graph.evaluate(dict(zip(graph.inputs, v.values, strict=True))) for v in vectors]
        expected = [[values[i][n].tobytes() for n in graph.outputs] for i in range(len(vectors))]
        made = notice(compiled.source, graph.numerics)
        project = renode_files.project(board, elf, name=name, expected=expected, stock=stock)
        for file, text in project.items():
            files[f"renode/{file}"] = commented(made, "//" if file.endswith(".repl") else "#") + text
    return files


def _run_output(options: Namespace, board: Board) -> Outcome:
    """Runs the sources in an output folder as they are there."""
    output = read_output(options.model)
    program = output.program
    if output.core != board.core.name:
        raise UsageError(
            f"{options.model} was compiled for {output.core}, and {board.name} is a {board.core.name}; compile again"
        )
    inputs = Graph("", tuple(t.name for t in output.inputs), (), (), {t.name: t for t in output.inputs})
    vectors = user_vectors(inputs, options.input) if options.input else random_vectors(inputs, 1, options.seed)
    if options.emulator == "host":
        ran = run_on_host(program, vectors, [t.bytes for t in output.outputs], compiler=options.cc)
    else:
        ran = _merged(verification.execute(program, board, vectors, emulator=options.emulator, progress=Progress()))
    names = [t.name for t in output.outputs]
    outputs = [{n: data.hex() for n, data in zip(names, answer, strict=True)} for answer in ran.outputs]
    counted = "" if ran.instructions is None else f"{ran.instructions:,} instructions (counted), "
    place = board.name if counted else ran.emulator
    lines = [f"{program.name} on {place}: {counted}{ran.inferences} inferences"]
    lines += [f"{i} {n}: {data}" for i, answer in enumerate(outputs) for n, data in answer.items()]
    return Outcome(
        "\n".join(lines),
        {"name": program.name, "board": board.name, "instructions": ran.instructions, "outputs": outputs},
    )


def _answers(runs: Sequence[Run]) -> list[tuple[bytes, ...]]:
    return [answer for r in runs for answer in r.outputs]


def _merged(runs: Sequence[Run]) -> Run:
    """The first run, whose inference was counted, standing for all."""
    return replace(runs[0], inferences=sum(r.inferences for r in runs), outputs=tuple(_answers(runs)))


def _decoded(compiled: Compiled, label: str, answer: tuple[bytes, ...]) -> dict[str, Any]:
    outputs = {}
    for name, data in zip(compiled.graph.outputs, answer, strict=True):
        t = compiled.graph.tensors[name]
        values = np.frombuffer(data, t.dtype.numpy).reshape(t.shape)
        quantized = t.dtype is not DType.FLOAT32 and t.quantization is not None
        real = (values.astype(np.float64) - t.zero_point) * t.scale if quantized else values
        outputs[name] = {"values": values.tolist(), "real": np.round(np.asarray(real, np.float64), 6).tolist()}
    return {"input": label, "outputs": outputs}


def _shown(decoded: Mapping[str, Any]) -> str:
    lines = [decoded["input"]]
    for name, output in decoded["outputs"].items():
        real = np.asarray(output["real"]).ravel()
        text = np.array2string(real, threshold=16, precision=4, max_line_width=120)
        lines.append(f"  {name}: {text}  largest at {int(np.argmax(real))}")
    return "\n".join(lines)
