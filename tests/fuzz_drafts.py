"""Networks in the making: branches, joins, shared constants, dead ends, odd quantization.

A `Draft` is plain data that becomes a .tflite file, and can lose operators to find out which of them a failure needs.
A `Grower` draws one, by the steps of `tests.fuzz_steps`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar

import numpy as np

from tests.tflite_builder import ModelBuilder
from tinycompiler.ops import Numerics
from tinycompiler.tensor import Array

Shape = tuple[int, ...]
Numbers = tuple[float, int]
"""Scale and zero point."""

GREATEST = 600  # elements of an activation
ENDS = (-128, -127, -1, 0, 1, 126, 127)


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

    def model(self) -> bytes:
        """The .tflite file."""
        builder = ModelBuilder("fuzz")
        for name, t in self.tensors.items():
            scales = list(t.scales) or None
            builder.tensor(name, t.shape, t.dtype, scales=scales, zero_points=t.zero_point, axis=t.axis, data=t.data)
        rows = builder.values()["subgraphs"][0]["operators"]
        for made in self.operators:
            builder.operator(made.operator, made.inputs, made.outputs, version=VERSIONS.get(made.operator, 1))
            rows[-1]["builtin_options"] = (made.table, dict(made.options)) if made.table else None
        return builder.inputs(*self.inputs).outputs(*self.outputs).build()

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
        draft = Draft(tensors, rest, tuple(inputs), tuple(outputs))
        known = {*inputs, *written}
        homeless = any(n not in known and t.data is None for n, t in tensors.items())
        return None if not outputs or not rest or homeless else draft

    def __str__(self) -> str:
        lines = []
        for name, t in self.tensors.items():
            scales = f" {t.scales[0]!r}" + ("…" if len(t.scales) > 1 else "") if t.scales else ""
            data = " const" if t.data is not None else ""
            lines.append(f"  {name}: {t.shape} {t.dtype}{scales} {t.zero_point}{data}")
        lines += [f"  {made}" for made in self.operators]
        return "\n".join([*lines, f"  inputs {', '.join(self.inputs)}", f"  outputs {', '.join(self.outputs)}"])


class Grower:
    """A draft in the making, and what steps draw from."""

    greatest: ClassVar[int] = GREATEST

    def __init__(self, rng: np.random.Generator, numerics: Numerics) -> None:
        self.rng = rng
        self.numerics = numerics
        self.tensors: dict[str, Told] = {}
        self.operators: list[Made] = []
        self.inputs: list[str] = []
        self.values: list[str] = []
        self.constants: dict[tuple[object, ...], str] = {}
        self.palette: list[Numbers] = [self.fresh_numbers() for _ in range(2)]

    # Chances.

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def among(self, items: Sequence[Any]) -> Any:
        if not items:
            raise Unsuitable
        return items[int(self.rng.integers(len(items)))]

    def between(self, low: int, high: int) -> int:
        """An integer, both ends included."""
        if high < low:
            raise Unsuitable
        return int(self.rng.integers(low, high + 1))

    # Quantization.

    def zero_point(self) -> int:
        return int(self.among(ENDS)) if self.chance(0.4) else self.between(-128, 127)

    def fresh_numbers(self) -> Numbers:
        kind = self.rng.random()
        if kind < 0.6:
            scale = self.rng.uniform(0.01, 0.1)
        elif kind < 0.85:
            scale = 2.0 ** self.between(-12, 0)
        else:
            scale = 10.0 ** self.rng.uniform(-6, 2)
        return single(scale), self.zero_point()

    def numbers(self) -> Numbers:
        """Of the few that much of the draft shares, or new ones."""
        if self.chance(0.6):
            found: Numbers = self.among(self.palette)
            return found
        return self.fresh_numbers()

    def near(self, scale: float) -> Numbers:
        """Numbers for results whose natural scale this is; sometimes far off."""
        kind = self.rng.random()
        if kind < 0.25:
            for numbers in self.palette:
                if 0.3 < numbers[0] / scale < 3:
                    return numbers
        ratio = self.rng.uniform(0.6, 1.6) if kind < 0.8 else self.among((0.25, 0.5, 1.0, 2.0, 4.0))
        if kind > 0.93:
            ratio = 10.0 ** self.rng.uniform(-2, 2)
        return single(scale * ratio), self.zero_point()

    # Tensors.

    def name(self, kind: str) -> str:
        return f"{kind}{len(self.tensors)}"

    def shape(self, rank: int | None = None) -> Shape:
        rank = rank or int(self.among((4, 4, 4, 4, 2, 2, 3, 1)))
        sizes = [int(self.among((1, 1, 2, 3))), *(self.between(1, 7) for _ in range(rank - 1))]
        if self.chance(0.15):
            sizes[-1] = int(self.among((8, 12, 16, 17, 33)))
        while prod(sizes) > GREATEST // 2:
            sizes[int(np.argmax(sizes))] //= 2
        return tuple(sizes) if rank > 1 else (self.between(1, 33),)

    def input(self, shape: Shape, dtype: str = "int8", numbers: Numbers | None = None) -> str:
        if len(self.inputs) >= 4:
            raise Unsuitable
        name = self.tensor("in", shape, dtype, numbers or self.numbers())
        self.inputs.append(name)
        self.values.append(name)
        return name

    def tensor(self, kind: str, shape: Sequence[int], dtype: str, numbers: Numbers | None) -> str:
        if prod(shape) > self.greatest or min(shape, default=1) < 1 or len(shape) > 5:
            raise Unsuitable
        name = self.name(kind)
        scale, zero_point = numbers or (0.0, 0)
        quantized = numbers is not None and dtype in ("int8", "uint8", "int16")
        scales = (scale,) if quantized else ()
        self.tensors[name] = Told(tuple(shape), dtype, scales, 0 if dtype == "int16" else zero_point)
        return name

    def constant(
        self, data: Any, dtype: str = "int32", scales: Sequence[float] = (), zero_point: int = 0, axis: int = 0
    ) -> str:
        """A constant; equal ones are mostly one tensor."""
        array = np.array(data, dtype)
        key = (array.tobytes(), array.shape, dtype, tuple(scales), zero_point, axis)
        if key in self.constants and self.chance(0.8):
            return self.constants[key]
        name = self.constants[key] = self.name("c")
        self.tensors[name] = Told(array.shape, dtype, tuple(scales), zero_point, axis, array)
        return name

    def constant_value(self, shape: Shape, numbers: Numbers) -> str:
        """An int8 operand that is a constant."""
        return self.constant(self.rng.integers(-128, 128, shape), "int8", (numbers[0],), numbers[1])

    def told(self, name: str) -> Told:
        return self.tensors[name]

    def pick(self, rank: int | None = None, dtype: str = "int8", where: Callable[[Told], bool] = lambda _: True) -> str:
        """A value to read, mostly a late one; sometimes, and where there is none, a new input."""

        def suits(t: Told) -> bool:
            return t.dtype == dtype and (rank is None or len(t.shape) == rank) and where(t)

        found = [name for name in self.values if suits(self.tensors[name])]
        if found and not self.chance(0.08):
            late = min(int(self.rng.exponential(1.5)), len(found) - 1)
            return found[-1 - late]
        for _ in range(4):
            told = Told(self.shape(rank), dtype, (1.0,))
            if suits(told):
                return self.input(told.shape, dtype)
        raise Unsuitable

    def make(
        self,
        operator: str,
        inputs: Sequence[str | None],
        outputs: Sequence[tuple[Sequence[int], Numbers | None] | tuple[Sequence[int], Numbers | None, str]],
        table: str | None = None,
        **options: Any,
    ) -> list[str]:
        """The operator with new outputs of the shapes, numbers and types given."""
        made = [self.tensor("t", one[0], one[2] if len(one) > 2 else "int8", one[1]) for one in outputs]
        self.operators.append(Made(operator, tuple(inputs), tuple(made), table, options))
        self.values += made
        return made

    # The whole.

    def grow(self, count: int, steps: Mapping[str, "Step"], weights: Mapping[str, float]) -> Draft:
        """About `count` operators by the given steps."""
        names = list(steps)
        chances = np.array([weights.get(name, 1.0) for name in names])
        for _ in range(12 * count):
            if len(self.operators) >= count:
                break
            with suppress(Unsuitable):
                steps[str(self.rng.choice(names, p=chances / chances.sum()))](self)
        return self.draft()

    def draft(self) -> Draft:
        """What nobody reads is an output, some of the rest too; sometimes a dead end, an unused input, a constant."""
        read = {name for o in self.operators for name in o.inputs if name}
        written = [name for o in self.operators for name in o.outputs]
        sinks = [name for name in written if name not in read]
        outputs = [n for n in sinks if not self.chance(0.12)] or sinks[-1:]
        outputs += [n for n in written if n in read and self.chance(0.06)]
        inputs = [n for n in self.inputs if n in read or self.chance(0.2)]
        if self.chance(0.03):
            outputs += [n for n in inputs if n in read][:1]
        if self.chance(0.03):
            outputs += [n for n in self.constants.values() if self.told(n).dtype == "int8"][:1]
        self.rng.shuffle(outputs)
        tensors = {n: t for n, t in self.tensors.items() if n in inputs or n not in self.inputs}
        return Draft(tensors, tuple(self.operators), tuple(inputs), tuple(dict.fromkeys(outputs)))


def single(value: float) -> float:
    """The nearest float32, which is what a file holds."""
    return float(np.float32(value))


Step = Callable[[Grower], None]
"""How an operator joins a draft; raises Unsuitable where nothing suits it, and another one is drawn."""
