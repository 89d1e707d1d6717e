"""Parts of the report's JSON that pictures are drawn from: the arena piece by piece, flash piece by piece, and what
pruning took. Keys, units and sources are described in report_schema.json.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinycompiler.build import Elf
from tinycompiler.emulators import Run as Ran
from tinycompiler.graph import Graph
from tinycompiler.kernels import Call, Calls, Run, calls_of
from tinycompiler.lifetimes import Layout, scratch_name
from tinycompiler.memory import alive_at, bytes_needed
from tinycompiler.passes.pruned import Pruned
from tinycompiler.tensor import DType

Json = dict[str, Any]

WHEN = ("before", "after")
SAVED_SOURCE = "estimated: the MACs that went, each at what the layer's other MACs cost; small layers cost more per MAC"


def short(tensor: str, limit: int = 48) -> str:
    """A tensor's name for people: converters join the names of all that they fused with `;`."""
    first = tensor.split(";")[0]
    return first if len(first) <= limit else f"...{first[-limit + 3 :]}"


def buffers(calls: Calls, layout: Layout) -> list[Json]:
    """Every buffer of the arena, in the order of birth, then of offset."""
    plan, graph = layout.plan, calls.graph
    rings = {name for step in calls.steps if isinstance(step, Run) for name in step.rings}
    scratch = {scratch_name(step) for step in calls.steps}
    found = []
    for b in plan.buffers:
        tensors = [name for name, owner in layout.owner.items() if owner == b.name]
        kinds = {
            "scratch": b.name in scratch and not tensors,
            "ring": b.name in rings,
            "input": not set(graph.inputs).isdisjoint(tensors),
            "output": not set(graph.outputs).isdisjoint(tensors),
            "tensor": True,
        }
        found.append(
            {
                "name": b.name,
                "kind": next(kind for kind, is_one in kinds.items() if is_one),
                "tensors": tensors,
                "offset": plan.offsets[b.name],
                "bytes": b.size,
                "first_step": b.first,
                "last_step": b.last,
            }
        )
    return sorted(found, key=lambda b: (b["first_step"], b["offset"], b["name"]))


def overlaps(layout: Layout) -> list[Json]:
    """Outputs that may begin under an input which their call uses up."""
    return [
        {"output": output, "input": operand, "apart": apart}
        for (output, operand), apart in sorted(layout.plan.overlaps.items())
    ]


def steps(calls: Calls, layout: Layout) -> list[Json]:
    """The layers of each step, and the bytes that it needs."""
    plan = layout.plan
    return [
        {
            "layers": [call.node.name for call in calls_of(step)],
            "bytes": bytes_needed(alive_at(plan, number), plan.overlaps),
        }
        for number, step in enumerate(calls.steps)
    ]


def flash_map(calls: Calls, elf: Elf | None) -> Json:
    """Flash in pieces, whose sum is what is used: constants by the first layer that reads them, code by function."""
    pieces = [piece for piece in _constants(calls) if piece["bytes"]]
    if elf is None:
        return {"pieces": pieces, "unit": "bytes (planned), without code"}
    pieces += _functions(calls, elf)
    flash = elf.memory.flash
    for kind, total in (("weights", flash.weights), ("tables", flash.tables), ("code", flash.code)):
        rest = total - sum(piece["bytes"] for piece in pieces if piece["kind"] == kind)
        if rest > 0:
            name = "parameters of calls, interrupt table, gaps" if kind == "code" else "of no layer"
            pieces.append({"name": name, "of": "rest", "kind": kind, "bytes": rest})
    return {"pieces": pieces, "unit": "bytes (linked ELF)"}


def _constants(calls: Calls) -> Iterator[Json]:
    seen = set()
    for call in calls.calls:
        sizes = {"weights": 0, "tables": 0}
        for constant in call.constants:
            if constant.key not in seen:
                seen.add(constant.key)
                sizes["tables" if constant.table else "weights"] += constant.size
        for kind, size in sizes.items():
            yield {"name": call.node.name, "of": "layer", "kind": kind, "bytes": size}


def _functions(calls: Calls, elf: Elf) -> list[Json]:
    """Functions, those of steps under the names of their layers; what the linker merged is there once."""
    nodes = {f"tc_{calls.graph.name}_node_{i}": calls_of(step) for i, step in enumerate(calls.steps)}
    found: dict[int, Json] = {}
    for symbol in elf.symbols:
        if symbol.kind == "func" and symbol.size:
            of = "layer" if symbol.name in nodes else "function"
            name = _joined(nodes[symbol.name]) if symbol.name in nodes else symbol.name
            found.setdefault(symbol.address, {"name": name, "of": of, "kind": "code", "bytes": symbol.size})
    return [found[address] for address in sorted(found)]


def _joined(calls: tuple[Call, ...]) -> str:
    names = [call.node.name for call in calls]
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def stored(call: Call, graph: Graph) -> Json | None:
    """How the weights of a layer lie in flash, beside what they would take as bytes; None for a layer without."""
    constants = [t for name in call.node.inputs[1:] if (t := graph.tensors[name]).is_constant]
    if not call.macs or not constants:
        return None
    weights = constants[0]
    values = weights.values
    in_words = weights.dtype is DType.INT32  # 32 weights of one bit
    bits = 32 if in_words else 1
    return {
        "bits": call.bits,
        "encoding": call.encoding or "dense",
        "zeros": 0 if in_words else values.size - int(np.count_nonzero(values)),
        "bytes": sum(constant.size for constant in call.constants if not constant.table),
        "bytes_dense": values.size * bits,
        "reason": call.reason or None,
    }


def pruning(layers: tuple[Pruned, ...], calls: Calls, run: Ran | None) -> Json:
    """What went, in all and of each layer."""
    described = [_pruned(layer, calls, run) for layer in layers]
    total: Json = {
        key: {when: sum(layer[key][when] for layer in described if layer["macs"]["before"]) for when in WHEN}
        for key in ("channels", "macs", "weight_bytes")
    }
    for key in ("instructions_saved", "cycles_saved"):
        saved = [layer[key] for layer in described if layer[key] is not None]
        total[key] = sum(saved) if saved else None
    return {**total, "saved_source": SAVED_SOURCE, "layers": described}


def _pruned(layer: Pruned, calls: Calls, run: Ran | None) -> Json:
    def pair(values: tuple[int, int]) -> Json:
        return dict(zip(WHEN, values, strict=True))

    instructions = () if run is None else run.node_instructions
    cycles = () if run is None else run.node_cycles
    return {
        "name": layer.node,
        "op": layer.op,
        "gone": layer.gone,
        "channels": pair(layer.channels),
        "inputs": pair(layer.inputs),
        "macs": pair(layer.macs),
        "weight_bytes": pair(layer.weight_bytes),
        "constant": layer.constant,
        "instructions_saved": _saved(layer, calls, instructions),
        "cycles_saved": _saved(layer, calls, cycles),
        "why": layer.why,
    }


def _saved(layer: Pruned, calls: Calls, counted: tuple[int, ...]) -> int | None:
    """What the MACs that went would have cost, at the price of those of the same step that are left."""
    went = layer.macs[0] - layer.macs[1]
    for step, spent in zip(calls.steps, counted, strict=False):
        together = calls_of(step)
        macs = sum(call.macs for call in together)
        if macs and went and any(call.node.name == layer.node for call in together):
            return round(spent / macs * went)
    return None
