"""What TensorFlow Lite Micro with CMSIS-NN took for some well-known files, recorded once; recorded.json says how."""

import json
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tinycompiler.bench.figures import Figures, Step

FILE = Path(__file__).with_name("recorded.json")


@dataclass(frozen=True)
class Recorded:
    """One inference by the other engine; bytes as recorded.json explains them."""

    engine: str
    macs: int
    instructions: int
    code: int
    model_file: int
    arena: int
    static: int
    stack: int
    operators: tuple[tuple[str, int], ...]  # (name, instructions) in the file's order; empty when not recorded


@cache
def _data() -> Any:
    return json.loads(FILE.read_text(encoding="utf-8"))


def source() -> list[str]:
    """How the figures came to be, in sentences."""
    return list(_data()["source"])


def recorded(sha256: str, core: str) -> Recorded | None:
    """The figures of the file with that SHA-256 on that core, if there are any."""
    networks = [network for network in _data()["networks"].values() if network["sha256"] == sha256]
    if not networks or core not in networks[0]["cores"]:
        return None
    found = dict(networks[0]["cores"][core])
    operators = tuple((name, count) for name, count in found.pop("operators"))
    network = {name: networks[0][name] for name in ("model_file", "macs")}
    return Recorded(_data()["engine"], operators=operators, **network, **found)


def by_step(figures: Figures) -> list[int | None]:
    """The other engine's instructions for the layers of each step.

    Layers are matched by operator, the n-th with the n-th, where both have as many of it. So None where passes removed
    or made some.
    """
    theirs = recorded(figures.sha256, figures.core)
    queues: dict[str, list[int]] = {}
    for name, count in theirs.operators if theirs else ():
        queues.setdefault(name, []).append(count)
    ours = Counter(layer.op for step in figures.steps for layer in step.layers)
    queues = {name: queue for name, queue in queues.items() if len(queue) == ours[name]}
    return [_of(step, queues) for step in figures.steps]


def _of(step: Step, queues: dict[str, list[int]]) -> int | None:
    counts = [queues[layer.op].pop(0) if layer.op in queues else None for layer in step.layers]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
