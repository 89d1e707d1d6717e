"""What kernels cost, measured: instructions, cycles and bytes of code. The figures are in costs.json, which
`python -m tests.measure_costs` writes after counting in the emulator, so that compiling needs none.

A kernel's time is taken as a sum of its node's work with a weight for each kind (`work`). That is off by some ten
percent where borders or odd counts matter; costs.json holds the largest difference that was seen for each kernel.
Chosen: few kinds of work that every operator has, instead of a formula for each kernel, because the choice between
kernels needs their order and rough distance, and a formula has to be kept true by hand.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tinycompiler.board import Core
from tinycompiler.graph import Graph, Node

LIKE = {"cortex-m7": "cortex-m4", "cortex-m33": "cortex-m4", "cortex-m55": "cortex-m4"}
"""Cores that have the instructions of another, whose figures are taken for want of own ones."""


@dataclass(frozen=True)
class Cost:
    """Of a kernel on a core: weights of `work` in instructions and cycles, and the bytes of code of its first use."""

    instructions: tuple[float, ...]
    cycles: tuple[float, ...]
    code: int


@cache
def costs(core: Core) -> Mapping[str, Cost]:
    """By the name of the kernel; kernels that have no sibling are not there."""
    tables = json.loads(Path(__file__).with_name("costs.json").read_text())
    table = tables[LIKE.get(core.cost_table, core.cost_table)]
    return {
        name: Cost(tuple(entry["instructions"]), tuple(entry["cycles"]), entry["code"]) for name, entry in table.items()
    }


def work(graph: Graph, node: Node, multiplied: int) -> list[int]:
    """Multiplications that are `multiplied`; outputs; the node's multiplications for one output channel (values to
    gather); inputs that are not constants; output channels; one, for the call itself.
    """
    macs = graph.macs(node)
    outputs = graph.outputs_of(node)
    channels = outputs[0].shape[-1] if outputs[0].shape else 1
    moving = sum(t.elements for t in graph.inputs_of(node) if not t.is_constant)
    return [multiplied, sum(t.elements for t in outputs), macs // max(1, channels), moving, channels, 1]


def cycles(graph: Graph, node: Node, kernel: str, core: Core, multiplied: int | None = None) -> float | None:
    """Estimated, of one call; None for a kernel without figures. `multiplied`: where that is not all the MACs."""
    cost = costs(core).get(kernel)
    if cost is None:
        return None
    macs = graph.macs(node) if multiplied is None else multiplied
    return sum(w * c for w, c in zip(work(graph, node, macs), cost.cycles, strict=True))
