"""Figures of one network on one board, and the file that holds them.

The file is meant to be kept under version control: it names no machine, no folder and no time, its order is that of
models and boards as asked, and each step is one line.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinycompiler.errors import UsageError

SCHEMA = 1
BYTES = ("code", "weights", "tables", "arena", "state", "static", "stack")
"""From the linked ELF; the stack is its worst case."""

Key = tuple[str, str, str, str]  # model, board, numerics, options


@dataclass(frozen=True)
class Layer:
    """A node of the network, as far as its speed is judged."""

    name: str
    op: str
    kernel: str
    output: tuple[int, ...]  # shape
    macs: int
    family: str | None  # key of marks.MARKS
    work: int  # what the family counts: multiply-accumulates, or elements


@dataclass(frozen=True)
class Step:
    """Layers that run together (mostly one), with what was counted for all of them."""

    layers: tuple[Layer, ...]
    instructions: int
    cycles: int | None

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)


@dataclass(frozen=True)
class Figures:
    """One inference of a network on a board. No cycles where there is no table for the core."""

    model: str
    sha256: str  # of the file
    board: str
    core: str
    numerics: str
    options: str  # those of the command line that change the program; "" for none
    toolchain: str
    reference: str  # that every output byte was compared with
    vectors: int  # inputs that were compared
    macs: int
    instructions: int
    cycles: int | None  # without wait states
    cycles_source: str | None
    wait_states: int  # of the board's flash at its highest clock
    cycles_waiting: int | None  # with these at every jump; see emulators/cycles.py
    bytes: Mapping[str, int]  # by BYTES
    steps: tuple[Step, ...]

    @property
    def key(self) -> Key:
        return self.model, self.board, self.numerics, self.options


def dump(figures: Sequence[Figures]) -> str:
    """The file's text."""
    blocks = []
    for each in figures:
        data = asdict(each)
        steps = ",\n".join(f"    {json.dumps(step)}" for step in data.pop("steps"))
        rest = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in data.items())
        blocks.append(f'{{\n{rest},\n  "steps": [\n{steps}\n  ]\n}}')
    return f'{{"schema": {SCHEMA}, "figures": [\n' + ",\n".join(blocks) + "\n]}\n"


def save(place: Path, figures: Sequence[Figures]) -> None:
    """Raises UsageError when the file cannot be written."""
    try:
        place.write_text(dump(figures), encoding="utf-8")
    except OSError as problem:
        raise UsageError(f"{place}: cannot be written ({problem.strerror or problem}); choose another file") from None


def load(place: Path) -> list[Figures]:
    """The figures in a file of `save`. Raises UsageError."""
    try:
        data = json.loads(place.read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']} instead of {SCHEMA}")
        return [_figures(each) for each in data["figures"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise UsageError(
            f"{place}: no figures of `tinycompiler bench` there ({problem}); make them with --json {place}"
        ) from problem


def _figures(data: dict[str, Any]) -> Figures:
    steps = tuple(_step(step) for step in data["steps"])
    found = Figures(**{**data, "steps": steps, "bytes": {name: int(data["bytes"][name]) for name in BYTES}})
    if not all(isinstance(n, int) for n in (found.macs, found.instructions, found.cycles or 0, found.wait_states)):
        raise ValueError("a figure that is no integer")
    return found


def _step(data: dict[str, Any]) -> Step:
    layers = tuple(Layer(**{**layer, "output": tuple(layer["output"])}) for layer in data["layers"])
    return Step(layers, int(data["instructions"]), data["cycles"])
