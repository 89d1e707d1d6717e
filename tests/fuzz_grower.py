"""Grows a draft of `tests.fuzz_drafts` by the steps of `tests.fuzz_steps`."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from math import prod
from typing import Any, ClassVar

import numpy as np

from tests.fuzz_drafts import GREATEST, Draft, Made, Numbers, Shape, Told, Unsuitable
from tinycompiler.ops import Numerics

ENDS = (-128, -127, -1, 0, 1, 126, 127)
FINER = 256
"""How much finer the scales of int16 are than those of int8."""


class Grower:
    """A draft in the making, and what steps draw from.

    `wide` is how often a step that can works in int16. A step reads and makes what `dtype` says, unless it says more.
    """

    greatest: ClassVar[int] = GREATEST

    def __init__(self, rng: np.random.Generator, numerics: Numerics, wide: float = 0) -> None:
        self.rng = rng
        self.numerics = numerics
        self.wide = wide
        self.dtype = "int8"
        self.states: dict[str, Told] = {}
        self.assigned: list[Made] = []
        """Assignments that are still to come."""
        self.tensors: dict[str, Told] = {}
        self.operators: list[Made] = []
        self.inputs: list[str] = []
        self.values: list[str] = []
        self.constants: dict[tuple[object, ...], str] = {}
        self.palettes: dict[str, list[Numbers]] = {}
        for self.dtype in ("int16", "int8"):
            self.palettes[self.dtype] = [self.fresh_numbers() for _ in range(2)]

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

    @property
    def finer(self) -> float:
        """How much finer scales are than those of int8."""
        return FINER if self.dtype == "int16" else 1

    @property
    def deviation(self) -> float:
        """Of a uniform value."""
        return 18900.0 if self.dtype == "int16" else 74.0

    @property
    def spread(self) -> float:
        """The deviation that is wanted of an output, in steps."""
        return 12000.0 if self.dtype == "int16" else 45.0

    def zero_point(self) -> int:
        if self.dtype == "int16":
            return 0
        return int(self.among(ENDS)) if self.chance(0.4) else self.between(-128, 127)

    def fresh_numbers(self) -> Numbers:
        kind = self.rng.random()
        if kind < 0.6:
            scale = self.rng.uniform(0.01, 0.1)
        elif kind < 0.85:
            scale = 2.0 ** self.between(-12, 0)
        else:
            scale = 10.0 ** self.rng.uniform(-6, 2)
        return single(scale / self.finer), self.zero_point()

    def numbers(self) -> Numbers:
        """Of the few that much of the draft shares, or new ones."""
        if self.chance(0.6):
            found: Numbers = self.among(self.palettes[self.dtype])
            return found
        return self.fresh_numbers()

    def near(self, scale: float) -> Numbers:
        """Numbers for results whose natural scale this is; sometimes far off."""
        kind = self.rng.random()
        if kind < 0.25:
            for numbers in self.palettes[self.dtype]:
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

    def input(self, shape: Shape, dtype: str | None = None, numbers: Numbers | None = None) -> str:
        if len(self.inputs) >= 4:
            raise Unsuitable
        name = self.tensor("in", shape, dtype or self.dtype, numbers or self.numbers())
        self.inputs.append(name)
        self.values.append(name)
        return name

    def tensor(self, kind: str, shape: Sequence[int], dtype: str, numbers: Numbers | None) -> str:
        if prod(shape) > self.greatest or min(shape, default=1) < 1 or len(shape) > 5:
            raise Unsuitable
        name = self.name(kind)
        scale, zero_point = numbers or (0.0, 0)
        quantized = numbers is not None and dtype not in ("float32", "bool")
        scales = (scale,) if quantized else ()
        zero_points = {"uint8": zero_point & 255, "int16": 0, "int32": 0}
        self.tensors[name] = Told(tuple(shape), dtype, scales, zero_points.get(dtype, zero_point))
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
        """An operand that is a constant."""
        bound = 128 * FINER if self.dtype == "int16" else 128
        return self.constant(self.rng.integers(-bound, bound, shape), self.dtype, (numbers[0],), numbers[1])

    def told(self, name: str) -> Told:
        return self.tensors[name]

    def pick(
        self, rank: int | None = None, dtype: str | None = None, where: Callable[[Told], bool] = lambda _: True
    ) -> str:
        """A value to read, mostly a late one; sometimes, and where there is none, a new input."""
        wanted = dtype or self.dtype

        def suits(t: Told) -> bool:
            return t.dtype == wanted and (rank is None or len(t.shape) == rank) and where(t)

        found = [name for name in self.values if suits(self.tensors[name])]
        if found and not self.chance(0.08):
            late = min(int(self.rng.exponential(1.5)), len(found) - 1)
            return found[-1 - late]
        for _ in range(4):
            told = Told(self.shape(rank), wanted, (1 / self.finer,))
            if suits(told):
                return self.input(told.shape, wanted)
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
        made = [self.tensor("t", one[0], one[2] if len(one) > 2 else self.dtype, one[1]) for one in outputs]
        self.operators.append(Made(operator, tuple(inputs), tuple(made), table, options))
        self.values += made
        return made

    # The whole.

    def grow(
        self, count: int, steps: Mapping[str, "Step"], weights: Mapping[str, float], in_int16: Collection[str]
    ) -> Draft:
        """About `count` operators by the given steps."""
        for _ in range(12 * count):
            if len(self.operators) >= count:
                break
            self.dtype = "int16" if self.chance(self.wide) else "int8"
            names = [name for name in steps if self.dtype == "int8" or name in in_int16]
            chances = np.array([weights.get(name, 1.0) for name in names])
            with suppress(Unsuitable):
                steps[str(self.rng.choice(names, p=chances / chances.sum()))](self)
            if self.assigned and self.chance(0.3):
                self.operators.append(self.assigned.pop(0))
        self.operators += self.assigned
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
            outputs += [n for n in self.constants.values() if self.told(n).dtype in ("int8", "int16")][:1]
        self.rng.shuffle(outputs)
        tensors = {n: t for n, t in self.tensors.items() if n in inputs or n not in self.inputs}
        return Draft(tensors, tuple(self.operators), tuple(inputs), tuple(dict.fromkeys(outputs)), self.states)


def single(value: float) -> float:
    """The nearest float32, which is what a file holds."""
    return float(np.float32(value))


Step = Callable[[Grower], None]
"""How an operator joins a draft; raises Unsuitable where nothing suits it, and another one is drawn."""
