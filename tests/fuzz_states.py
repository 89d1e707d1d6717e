"""Steps of variables, which outlive an inference; see `tests.fuzz_steps`.

Assignments come some steps after their values, so that readers stand on either side of them.
"""

from tests.fuzz_drafts import Made, Numbers, Shape, Told, Unsuitable
from tests.fuzz_grower import Grower


def _state(g: Grower, shape: Shape, numbers: Numbers) -> str:
    """A new variable, with any first value."""
    if len(g.states) >= 3:
        raise Unsuitable
    low, high = (-32768, 32767) if g.dtype == "int16" else (-128, 127)
    name = f"s{len(g.states)}"
    first = g.rng.integers(low, high + 1, shape).astype(g.dtype)
    g.states[name] = Told(shape, g.dtype, (numbers[0],), numbers[1], data=first)
    return name


def _known(g: Grower) -> str:
    """A variable of the type at hand."""
    return str(g.among([name for name, t in g.states.items() if t.dtype == g.dtype]))


def _read(g: Grower, state: str) -> str:
    told = g.states[state]
    [found] = g.make("READ_VARIABLE", [state], [(told.shape, told.numbers)])
    return found


def _assign(g: Grower, state: str, value: str) -> None:
    g.assigned.append(Made("ASSIGN_VARIABLE", (state, value), ()))


def shift(g: Grower) -> None:
    """A variable holds the last values of all that came; what is newer pushes the oldest out."""
    x = g.pick(where=lambda t: len(t.shape) in (2, 3, 4))
    shape, numbers = g.told(x).shape, g.told(x).numbers
    axis = g.between(0, len(shape) - 1)
    kept = g.between(1, 3 * shape[axis])

    def of(length: int) -> Shape:
        return (*shape[:axis], length, *shape[axis + 1 :])

    state = _state(g, of(kept), numbers)
    joined_shape = of(kept + shape[axis])
    parts = [_read(g, state), x]
    [joined] = g.make("CONCATENATION", parts, [(joined_shape, numbers)], "ConcatenationOptions", axis=axis)
    begin = [shape[axis] if i == axis else 0 for i in range(len(shape))]
    inputs = [joined, g.constant(begin), g.constant(of(kept))]
    [newest] = g.make("SLICE", inputs, [(of(kept), numbers)])
    _assign(g, state, newest)


def delay(g: Grower) -> None:
    """A variable holds a value for the next inference."""
    x = g.pick()
    state = _state(g, g.told(x).shape, g.told(x).numbers)
    if g.chance(0.7):
        _read(g, state)
    _assign(g, state, x)


def read(g: Grower) -> None:
    """Once more, before or after what was assigned."""
    _read(g, _known(g))


def assign(g: Grower) -> None:
    """Another value of the same shape and quantization."""
    state = _known(g)
    told = g.states[state]
    found = [name for name in g.values if _alike(g.told(name), told)]
    _assign(g, state, str(g.among(found)))


def _alike(a: Told, b: Told) -> bool:
    return (a.shape, a.dtype, a.numbers) == (b.shape, b.dtype, b.numbers)
