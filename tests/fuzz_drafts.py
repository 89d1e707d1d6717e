"""Networks in the making: branches, joins, shared constants, dead ends, odd quantization.

A `Draft` is plain data that becomes a .tflite file, and can lose operators to find out which of them a failure needs.
A `Grower` (`tests.fuzz_grower`) draws one, by the steps of `tests.fuzz_steps`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.models_state import started
from tests.tflite_builder import ModelBuilder
from tinycompiler.tensor import Array

Shape = tuple[int, ...]
Numbers = tuple[float, int]
"""Scale and zero point."""

GREATEST = 600  # elements of an activation


VERSIONS = {"BROADCAST_TO": 2}
"""Where LiteRT knows no version 1 of an operator for int8."""


class Unsuitable(Exception):
    """Nothing in the draft suits an operator."""


@dataclass(frozen=True, eq=False)
class Told:
    """A tensor of the file."""

    shape: Shape
    dtype: str = "int8"
    scales: tuple[float, ...] = ()
    zero_point: int = 0
    axis: int = 0
    data: Array | None = None

    @property
    def numbers(self) -> Numbers:
        return (self.scales[0] if self.scales else 0.0), self.zero_point


@dataclass(frozen=True, eq=False)
class Made:
    """An operator of the file; `options` are those of the table named."""

    operator: str
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    table: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        options = "".join(f", {key}={value}" for key, value in self.options.items())
        return f"{', '.join(self.outputs)} = {self.operator}({', '.join(map(str, self.inputs))}{options})"


@dataclass(frozen=True, eq=False)
class Draft:
    """A network as data."""

    tensors: Mapping[str, Told]
    operators: tuple[Made, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    states: Mapping[str, Told] = field(default_factory=dict)
    """Variables, which READ_VARIABLE and ASSIGN_VARIABLE take as their first input, and their first values."""

    def model(self) -> bytes:
        """The .tflite file."""
        builder, init = ModelBuilder("fuzz"), ModelBuilder("init")
        for name, t in self.tensors.items():
            _add(builder, name, t)
        rows = builder.values()["subgraphs"][0]["operators"]
        used = {name for made in self.operators for name in made.inputs} & set(self.states)
        for name in sorted(used):
            _declare(builder, name)
            _declare(init, name)
            _add(init, f"{name} first", self.states[name])
            init.operator("ASSIGN_VARIABLE", [name, f"{name} first"], [], options={})
        for made in self.operators:
            builder.operator(made.operator, made.inputs, made.outputs, version=VERSIONS.get(made.operator, 1))
            rows[-1]["builtin_options"] = (made.table, dict(made.options)) if made.table else None
        builder.inputs(*self.inputs).outputs(*self.outputs)
        return started(builder, init) if used else builder.build()

    def kinds(self) -> tuple[str, ...]:
        """The operators' names, each with what is unusual about it."""
        return tuple(f"{made.operator}{self._unusual(made)}" for made in self.operators)

    def _unusual(self, made: Made) -> str:
        told = [self.tensors[name] for name in (*made.inputs, *made.outputs) if name in self.tensors]
        words = [dtype for dtype in ("int16", "uint8") if any(t.dtype == dtype for t in told)]
        if made.operator == "FULLY_CONNECTED" and told[1].data is None:
            words.append("dynamic")
        if made.operator == "CONV_2D" and told[0].shape[3] != told[1].shape[3]:
            words.append("grouped")
        return "".join(f" {word}" for word in words)

    def without(self, index: int) -> "Draft | None":
        """The draft without an operator: what others read of it becomes an input. None when no output is left."""
        gone = self.operators[index]
        rest = tuple(o for i, o in enumerate(self.operators) if i != index)
        read = {name for o in rest for name in o.inputs if name}
        inputs = [n for n in self.inputs if n in read or n in self.outputs]
        inputs += [name for name in gone.outputs if name in read]
        outputs = [n for n in self.outputs if n not in gone.outputs or n in inputs]
        written = {name for o in rest for name in o.outputs}
        outputs += [n for n in gone.inputs if n in written and n not in read and n not in outputs and n]
        used = {*inputs, *outputs, *read, *written}
        tensors = {n: t for n, t in self.tensors.items() if n in used}
        draft = Draft(tensors, rest, tuple(inputs), tuple(outputs), self.states)
        known = {*inputs, *written}
        homeless = any(n not in known and t.data is None for n, t in tensors.items())
        return None if not outputs or not rest or homeless else draft

    def __str__(self) -> str:
        lines = []
        for name, t in self.tensors.items():
            scales = f" {t.scales[0]!r}" + ("…" if len(t.scales) > 1 else "") if t.scales else ""
            data = " const" if t.data is not None else ""
            lines.append(f"  {name}: {t.shape} {t.dtype}{scales} {t.zero_point}{data}")
        lines += [f"  state {name}: {t.shape} {t.dtype} {t.numbers}" for name, t in self.states.items()]
        lines += [f"  {made}" for made in self.operators]
        return "\n".join([*lines, f"  inputs {', '.join(self.inputs)}", f"  outputs {', '.join(self.outputs)}"])


def _add(builder: ModelBuilder, name: str, t: Told) -> None:
    scales = list(t.scales) or None
    builder.tensor(name, t.shape, t.dtype, scales=scales, zero_points=t.zero_point, axis=t.axis, data=t.data)


def _declare(builder: ModelBuilder, name: str) -> None:
    """The handle of a variable."""
    builder.tensor(name, (), "RESOURCE")
    builder.operator("VAR_HANDLE", [], [name], options={"container": "", "shared_name": name})
