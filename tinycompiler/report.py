"""Report: everything a user asks about one compilation, as JSON.

Every number says its unit and its source. `Report.data` is the JSON object whose keys DESIGN promises (schema in
report_schema.json); all other forms (report_text.py, report_html.py) are views of it, so that they cannot disagree.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from tinycompiler import __version__
from tinycompiler.board import Board
from tinycompiler.build import Elf
from tinycompiler.choice import Gain
from tinycompiler.emit import Program
from tinycompiler.emulators import Run
from tinycompiler.graph import Graph
from tinycompiler.kernels import Call, Calls, calls_of, lower
from tinycompiler.lifetimes import Layout, layer_wise
from tinycompiler.memory import alive_at
from tinycompiler.passes.pruned import constant_outputs, pruned
from tinycompiler.planning import USUAL, Goals
from tinycompiler.report_facts import Json, buffers, flash_map, overlaps, pruning, short, steps, stored
from tinycompiler.shortfall import planned_use, shortfall
from tinycompiler.verify import Verification

SCHEMA = 1


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
    unpruned: Graph,
    graph: Graph,
    calls: Calls,
    layout: Layout,
    program: Program,
    sha256: str,
    board: Board,
    elf: Elf | None = None,
    run: Run | None = None,
    verification: Verification | None = None,
    without_elf: str = "",
    goals: Goals = USUAL,
    gain: Gain | None = None,
    integer: Callable[[], Graph | None] = lambda: None,
) -> Report:
    """The report; what was not done is null. `network` is as read, `unpruned` the one that channels were cut out of,
    `graph` what is left of it. `without_elf` says why nothing was linked; `goals` are what was planned for; `gain`:
    what more flash would buy; `integer`: see shortfall.py.
    """
    planned = planned_use(calls, layout, board)
    as_read = {node.name: unpruned.macs(node) for node in unpruned.nodes}
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
        "warnings": warnings(calls.graph),
        "memory": _memory(elf) if elf else None,
        "plan": {**_plan(calls, layout, planned), "layer_wise": _layer_wise(graph, calls)},
        "more_flash": {"bytes": gain.flash, "cycles_saved": round(gain.cycles, 4)} if gain else None,
        "floating_point": [_floats(c, board) for c in calls.calls if c.floating_point],
        "layers": [
            _layer(step, call, calls, run, as_read.get(call.node.name))
            for step, part in enumerate(calls.steps)
            for call in calls_of(part)
        ],
        "flash_map": flash_map(calls, elf),
        "pruning": pruning(pruned(unpruned, graph), calls, run),
        "run": _run(run) if run else None,
        "verify": _verify(verification) if verification else None,
    }
    fits = data["fits"] if elf else planned["fits"]
    data["shortfall"] = None if fits else shortfall(calls, layout, board, elf, goals=goals, integer=integer)
    return Report(data)


def warnings(graph: Graph) -> list[str]:
    """What must not be overlooked, of a graph after all passes."""
    return [
        f"output '{short(name)}' is the same for every input: a broken model more often than a clever one; "
        "look at its weights and scales, and compare it with the network that it was made from"
        for name in constant_outputs(graph)
    ]


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


def _layer_wise(graph: Graph, calls: Calls) -> int:
    split = any(tensor.part_of for tensor in calls.graph.tensors.values())
    return layer_wise(lower(graph, calls.core) if split else calls)


def _plan(calls: Calls, layout: Layout, planned: Json) -> Json:
    plan = layout.plan
    step = plan.peak_step
    return {
        "arena": plan.arena,
        "lower_bound": plan.lower_bound,
        "optimal": plan.optimal,
        "parts": [{"region": p.region, "offset": p.start, "bytes": p.size, "room": p.room} for p in plan.parts],
        "constants": planned["constants"],
        "peak_node": calls_of(calls.steps[step])[0].node.name if calls.steps else None,
        "peak_step": step if calls.steps else None,
        "peak_alive": [{"name": b.name, "bytes": b.size} for b in alive_at(plan, step)],
        "buffers": buffers(calls, layout),
        "overlaps": overlaps(layout),
        "steps": steps(calls, layout),
        "unit": "bytes (planned)",
    }


def _layer(step: int, call: Call, calls: Calls, run: Run | None, as_read: int | None) -> Json:
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
        "step": step,
        "output": list(shape),
        "kernel": call.kernel,
        "row_by_row_with": [c.node.name for c in together if c is not call],
        "macs": call.macs,
        "macs_as_read": as_read,
        "weights": sum(c.size for c in call.constants if not c.table),
        "stored": stored(call, graph),
        "tables": sum(c.size for c in call.constants if c.table),
        "scratch": call.scratch,
        "instructions": run.node_instructions[step] if counted and run else None,
        "cycles": run.node_cycles[step] if timed and run else None,
        "rejected": [{"kernel": name, "why": why} for name, why in call.rejected],
    }


def _floats(call: Call, board: Board) -> Json:
    hardware = board.core.has_fpu and call.floating_point == "single"
    return {"name": call.node.name, "precision": call.floating_point, "in": "hardware" if hardware else "software"}


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
