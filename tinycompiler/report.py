"""Report: everything a user asks about one compilation, as JSON, on a terminal, and as Markdown.

Every number says its unit and its source. `Report.data` is the JSON object whose keys DESIGN promises (schema in
report_schema.json); the other forms are views of it, so that they cannot disagree.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinycompiler import __version__
from tinycompiler.board import Board, load, names
from tinycompiler.build import Elf
from tinycompiler.emit import Program
from tinycompiler.emulators import Run
from tinycompiler.graph import Graph
from tinycompiler.kernels import Call, Calls, Constant, calls_of
from tinycompiler.lifetimes import Layout
from tinycompiler.memory import alive_at
from tinycompiler.verify import Verification

SCHEMA = 1

Json = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Report:
    """A JSON object; see report_schema.json."""

    data: Json

    @property
    def json(self) -> str:
        return json.dumps(self.data, indent=2) + "\n"

    @property
    def fits(self) -> bool | None:
        """The verdict on the linked ELF; None when nothing was linked."""
        fits: bool | None = self.data["fits"]
        return fits


def make(
    *,
    network: Graph,
    calls: Calls,
    layout: Layout,
    program: Program,
    sha256: str,
    board: Board,
    elf: Elf | None = None,
    run: Run | None = None,
    verification: Verification | None = None,
    without_elf: str = "",
) -> Report:
    """The report; what was not done is null. `without_elf` says why nothing was linked."""
    planned = planned_use(calls, layout, board)
    data: Json = {
        "schema": SCHEMA,
        "generator": f"tinycompiler {__version__}",
        "model": {
            "name": network.name,
            "sha256": sha256,
            "numerics": network.numerics.value,
            "macs": network.total_macs,
            "macs_live": sum(c.macs for c in calls.calls),
            "inputs": [_edge(network, n) for n in network.inputs],
            "outputs": [_edge(network, n) for n in network.outputs],
        },
        "board": board.name,
        "core": board.core.name,
        "program_digest": program.digest,
        "fits": elf.memory.fits if elf else None,
        "fits_source": "linked ELF" if elf else f"plan only: {without_elf or 'nothing was linked'}",
        "memory": _memory(elf) if elf else None,
        "plan": _plan(calls, layout, planned),
        "layers": [_layer(step, call, calls, run) for step, part in enumerate(calls.steps) for call in calls_of(part)],
        "run": _run(run) if run else None,
        "verify": _verify(verification) if verification else None,
    }
    fits = data["fits"] if elf else planned["fits"]
    data["shortfall"] = None if fits else shortfall(calls, layout, board, elf)
    return Report(data)


def _edge(graph: Graph, name: str) -> Json:
    t = graph.tensors[name]
    quantized = t.quantization is not None and len(t.quantization.scales) == 1
    return {
        "name": name,
        "shape": list(t.shape),
        "dtype": t.dtype.value,
        "scale": t.scale if quantized else None,
        "zero_point": t.zero_point if quantized else None,
    }


def _memory(elf: Elf) -> Json:
    m = elf.memory
    flash, ram = vars(m.flash), vars(m.ram)
    return {
        "flash": dict(flash),
        "ram": dict(ram),
        "regions": [dict(vars(r)) for r in m.regions],
        "stack_path": list(elf.stack.path),
        "toolchain": elf.toolchain,
        "unit": "bytes (linked ELF)",
    }


def constant_bytes(calls: Calls) -> int:
    """Bytes of weights and tables, equal ones counted once."""
    return sum({c.key: c.size for call in calls.calls for c in call.constants}.values())


def planned_use(calls: Calls, layout: Layout, board: Board) -> Json:
    """What the plan alone says: constants against flash, arena with state against RAM; code and stack come on top."""
    constants, arena = constant_bytes(calls), layout.plan.arena + layout.state_bytes
    flash = board.flash.size - board.reserve_flash
    ram = board.ram.size - board.reserve_ram
    return {
        "constants": constants,
        "arena": arena,
        "flash": flash,
        "ram": ram,
        "fits": constants <= flash and arena <= ram,
    }


def _plan(calls: Calls, layout: Layout, planned: Json) -> Json:
    plan = layout.plan
    step = plan.peak_step
    return {
        "arena": plan.arena,
        "lower_bound": plan.lower_bound,
        "optimal": plan.optimal,
        "layer_wise": layout.layer_wise,
        "constants": planned["constants"],
        "peak_node": calls_of(calls.steps[step])[0].node.name if calls.steps else None,
        "peak_alive": [{"name": b.name, "bytes": b.size} for b in alive_at(plan, step)],
        "unit": "bytes (planned)",
    }


def _layer(step: int, call: Call, calls: Calls, run: Run | None) -> Json:
    """A layer; what was counted for a run of layers that go row by row stands at its first."""
    graph = calls.graph
    shape = graph.tensors[call.node.outputs[0]].shape
    together = calls_of(calls.steps[step])
    first = call is together[0]
    counted = first and run is not None and step < len(run.node_instructions)
    timed = first and run is not None and step < len(run.node_cycles)
    return {
        "name": call.node.name,
        "op": call.node.op.name,
        "output": list(shape),
        "kernel": call.kernel,
        "row_by_row_with": [c.node.name for c in together if c is not call],
        "macs": call.macs,
        "weights": sum(c.size for c in call.constants if not c.table),
        "tables": sum(c.size for c in call.constants if c.table),
        "scratch": call.scratch,
        "instructions": run.node_instructions[step] if counted and run else None,
        "cycles": run.node_cycles[step] if timed and run else None,
        "rejected": [{"kernel": name, "why": why} for name, why in call.rejected],
    }


def _run(run: Run) -> Json:
    return {
        "emulator": run.emulator,
        "inferences": run.inferences,
        "instructions": run.instructions,
        "instructions_source": "counted, one inference, from the entry of invoke to its return",
        "cycles": run.cycles,
        "cycles_source": run.cycles_source,
        "stack_high_water": run.stack_high_water,
        "arena_touched": run.arena_touched,
    }


def _verify(v: Verification) -> Json:
    return {
        "reference": v.reference,
        "vectors": v.vectors,
        "outputs": v.outputs,
        "mismatches": v.mismatches,
        "max_abs_diff": v.max_abs_diff,
        "layers_checked": v.layers_checked,
        "layer_bytes": v.layer_bytes,
        "first_difference": str(v.first) if v.first else None,
    }


def shortfall(calls: Calls, layout: Layout, board: Board, elf: Elf | None) -> Json:
    """By how many bytes it does not fit, where, what is alive there, and what would help."""
    planned = planned_use(calls, layout, board)
    if elf:
        used = {r.name: (r.kind, r.used, r.capacity) for r in elf.memory.regions}
    else:
        used = {
            board.flash.name: ("flash", planned["constants"], planned["flash"]),
            board.ram.name: ("ram", planned["arena"], planned["ram"]),
        }
    regions = [
        {"region": name, "kind": kind, "used": use, "capacity": capacity, "missing": use - capacity}
        for name, (kind, use, capacity) in used.items()
        if use > capacity
    ]
    kinds = {r["kind"] for r in regions}
    plan = layout.plan
    help_: list[str] = []
    if "ram" in kinds:
        alive = alive_at(plan, plan.peak_step)
        largest = alive[0]
        help_.append(
            f"RAM: halve '{short(largest.name)}' ({largest.size:,} bytes at the peak), by a smaller input, "
            "a stride in an earlier layer, or fewer channels"
        )
    if "flash" in kinds:
        heaviest = max(calls.calls, key=lambda c: _flash_of(c.constants))
        help_.append(
            f"flash: prune or narrow {heaviest.node.name}, which holds {_flash_of(heaviest.constants):,} of "
            f"{planned['constants']:,} bytes of constants"
        )
    enough = boards_with(planned["constants"], planned["arena"])
    help_.append(
        f"boards with room for the plan: {', '.join(enough)}"
        if enough
        else "no board in `tinycompiler boards` has the room"
    )
    return {
        "regions": regions,
        "peak_node": calls_of(calls.steps[plan.peak_step])[0].node.name if calls.steps else None,
        "alive": [{"name": b.name, "bytes": b.size} for b in alive_at(plan, plan.peak_step)],
        "help": help_,
    }


def _flash_of(constants: Sequence[Constant]) -> int:
    return sum(c.size for c in constants)


def boards_with(flash: int, ram: int) -> list[str]:
    """Known boards whose default regions are that large, with a margin for code (16 KB) and stack (1 KB); the
    smallest RAM first.
    """
    found = []
    for name in names():
        board = load(name)
        if board.flash.size - board.reserve_flash >= flash + 16384 and board.ram.size - board.reserve_ram >= ram + 1024:
            found.append(board)
    return [b.name for b in sorted(found, key=lambda b: (b.ram.size, b.name))]


# Views


def table(rows: Sequence[Sequence[object]], *, right: str = "", indent: str = "") -> str:
    """Rows as aligned text; `right` has an `r` for each column that is flush right."""
    cells = [[f"{c:,}" if isinstance(c, int) else "" if c is None else str(c) for c in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = []
    for row in cells:
        aligned = [
            c.rjust(w) if i < len(right) and right[i] == "r" else c.ljust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((indent + "  ".join(aligned)).rstrip())
    return "\n".join(lines)


def short(tensor: str, limit: int = 48) -> str:
    """A tensor's name for people: converters join the names of all that they fused with `;`."""
    first = tensor.split(";")[0]
    return first if len(first) <= limit else f"...{first[-limit + 3 :]}"


def bar(used: int, capacity: int, width: int = 30) -> str:
    """How full a region is."""
    filled = min(width, -(-width * used // max(capacity, 1)))
    return f"[{'#' * filled}{'.' * (width - filled)}] {100 * used / max(capacity, 1):5.1f} %"


def terminal(report: Report, *, verbose: bool = False) -> str:
    """For people at a terminal."""
    d = report.data
    parts = [_header(d), _verdict(d)]
    if d["memory"]:
        parts.append(_regions(d["memory"]))
    parts.append(_plan_lines(d["plan"]))
    if d["shortfall"]:
        parts.append(_shortfall_lines(d["shortfall"]))
    if d["run"]:
        parts.append(_run_lines(d["run"], d["model"]["macs_live"]))
    if d["verify"]:
        parts.append(_verify_lines(d["verify"]))
    if verbose:
        parts.append(_layer_table(d["layers"]))
    return "\n\n".join(parts) + "\n"


def _header(d: Json) -> str:
    m = d["model"]
    edges = [f"{e['dtype']} {'x'.join(map(str, e['shape']))}" for e in (*m["inputs"], *m["outputs"])]
    rows = [
        ("model", f"{m['name']}  ({', '.join(edges[: len(m['inputs'])])} -> {', '.join(edges[len(m['inputs']) :])})"),
        ("", f"{_macs(m)}, numerics {m['numerics']}, SHA-256 {m['sha256'][:16]}..."),
        ("board", f"{d['board']} ({d['core']})"),
        ("program", d["program_digest"][:16] + "..."),
    ]
    return table(rows)


def _macs(model: Json) -> str:
    live, total = model["macs_live"], model["macs"]
    return f"{total:,} MACs" if live == total else f"{live:,} MACs (of {total:,}: the others were pruned away)"


def _verdict(d: Json) -> str:
    if d["fits"] is None:
        planned = "would fit as far as planned" if d["shortfall"] is None else "DOES NOT FIT, by the plan alone"
        return f"{planned}: this is a plan, not a verdict ({d['fits_source'].removeprefix('plan only: ')})"
    return ("FITS" if d["fits"] else "DOES NOT FIT") + f"  ({d['fits_source']})"


def _regions(memory: Json) -> str:
    rows: list[tuple[object, ...]] = [("region", "used", "of", "")]
    rows += [(r["name"], r["used"], r["capacity"], bar(r["used"], r["capacity"])) for r in memory["regions"]]
    f, r = memory["flash"], memory["ram"]
    return "\n".join(
        [
            table(rows, right="lrr"),
            f"flash = weights {f['weights']:,} + tables {f['tables']:,} + code {f['code']:,}   {memory['unit']}",
            f"ram   = arena {r['arena']:,} + state {r['state']:,} + static {r['static']:,} + "
            f"stack {r['stack']:,} (worst case)",
        ]
    )


def _plan_lines(plan: Json) -> str:
    proof = "optimal: the lower bound is met" if plan["arena"] == plan["lower_bound"] else "best found"
    proof = "optimal: proven by search" if plan["optimal"] and plan["arena"] != plan["lower_bound"] else proof
    return (
        f"plan.arena {plan['arena']:,}  plan.lower_bound {plan['lower_bound']:,}  ({proof})   {plan['unit']}\n"
        f"peak at {plan['peak_node'] or 'the input'}, alive together: "
        + " + ".join(f"{short(b['name'])} {b['bytes']:,}" for b in plan["peak_alive"])
    )


def _shortfall_lines(s: Json) -> str:
    lines = [
        f"{r['region']}: {r['missing']:,} bytes missing ({r['used']:,} of {r['capacity']:,})" for r in s["regions"]
    ]
    return "\n".join([*lines, "what would help:", *(f"  {h}" for h in s["help"])])


def _run_lines(run: Json, macs: int) -> str:
    lines = [f"run on {run['emulator']}, {run['inferences']} inference{'' if run['inferences'] == 1 else 's'}"]
    if run["instructions"]:
        per = f" ({run['instructions'] / macs:.2f} per MAC)" if macs else ""
        lines.append(f"  instructions {run['instructions']:,}{per}, counted")
    if run["cycles"]:
        lines += [f"  cycles       {run['cycles']:,}", f"               {run['cycles_source']}"]
    if run["stack_high_water"] is not None:
        lines.append(f"  stack        {run['stack_high_water']:,} bytes used at most (painted)")
    if run["arena_touched"] is not None:
        lines.append(f"  arena        {run['arena_touched']:,} bytes touched")
    return "\n".join(lines)


def _verify_lines(v: Json) -> str:
    layers = f", {v['layers_checked']} layers ({v['layer_bytes']:,} bytes)" if v["layers_checked"] else ""
    verdict = "EXACT" if v["mismatches"] == 0 else "MISMATCH"
    compared = f"{v['outputs']:,} output bytes"
    if v["mismatches"] and v["layers_checked"]:
        compared = f"{v['outputs'] + v['layer_bytes']:,} output and layer bytes"
    line = f"{verdict}: {v['mismatches']:,} of {compared} differ over {v['vectors']} vectors{layers}"
    lines = [line, f"  reference {v['reference']}"]
    if v["first_difference"]:
        lines += [f"  largest difference {v['max_abs_diff']:g}", f"  {v['first_difference']}"]
    return "\n".join(lines)


def _layer_rows(layers: Sequence[Mapping[str, Any]]) -> list[tuple[object, ...]]:
    head = ("node", "output", "kernel", "MACs", "flash", "scratch", "instructions", "per MAC", "cycles")
    rows: list[tuple[object, ...]] = [head]
    for x in layers:
        per = f"{x['instructions'] / x['macs']:.2f}" if x["instructions"] and x["macs"] else None
        shape = "x".join(map(str, x["output"]))
        flash = x["weights"] + x["tables"]
        rows.append(
            (x["name"], shape, x["kernel"], x["macs"], flash, x["scratch"], x["instructions"], per, x["cycles"])
        )
    filled = [i for i in range(len(head)) if any(row[i] is not None for row in rows[1:])]
    return [tuple(row[i] for i in filled) for row in rows]


def _layer_table(layers: Sequence[Mapping[str, Any]]) -> str:
    text = table(_layer_rows(layers), right="lllrrrrrr")
    refused: dict[tuple[str, str], list[str]] = {}
    for x in layers:
        for r in x["rejected"]:
            refused.setdefault((r["kernel"], r["why"]), []).append(x["name"])
    notes = [f"  {kernel}: {why}: {_listed(nodes)}" for (kernel, why), nodes in refused.items()]
    return "\n".join([text, *(["why not a better kernel:", *notes] if notes else [])])


def _listed(nodes: Sequence[str]) -> str:
    return nodes[0] if len(nodes) == 1 else f"{nodes[0]} and {len(nodes) - 1} more"


def markdown(report: Report) -> str:
    """For a README or a pull request."""
    d = report.data
    rows = _layer_rows(d["layers"])
    lines = [
        "|" + "|".join("" if c is None else f"{c:,}" if isinstance(c, int) else str(c) for c in r) + "|" for r in rows
    ]
    lines.insert(1, "|---" * 3 + "|--:" * (len(rows[0]) - 3) + "|")
    return f"# {d['model']['name']} on {d['board']}\n\n```\n{terminal(report)}```\n\n" + "\n".join(lines) + "\n"


def load_report(folder: Path) -> Report:
    """The report that `compile` left in an output folder. Raises OSError or ValueError."""
    data = json.loads((folder / "report.json").read_text())
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ValueError(f"schema {data.get('schema') if isinstance(data, dict) else '?'} instead of {SCHEMA}")
    found = Report(data)
    try:
        markdown(found)
        terminal(found, verbose=True)
    except (KeyError, IndexError, TypeError, AttributeError) as problem:
        raise ValueError(f"report.json is damaged: {type(problem).__name__} {problem}") from problem
    return found
