"""Every network that the tests have, as .tflite bytes under a name."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import pytest

from tests import test_int16, test_kernels
from tests.commands import REAL
from tests.draws import STRATEGIES, Case
from tests.draws_int16 import STRATEGIES_INT16
from tests.judges import judged_model
from tests.models_state import ring
from tests.networks import audio, perceptron
from tests.programs import drawn
from tests.test_architecture import makers
from tests.test_exporters import channels_first, dilated, flatten, quantized
from tests.test_state import WAKE_WORDS, wake_word
from tinycompiler.ops import Numerics

SHIPPED = Path(__file__).parent / "models"


@dataclass(frozen=True)
class Fixture:
    """`io` as in `--io`; a case may be for one profile only, and its judge may get another file of the same meaning."""

    name: str
    model: Callable[[], bytes]
    io: str | None = None
    case: Case | None = None
    judge: bool = True
    """Whether its judge stands every input; if not, `evaluate` is what it is held against."""
    optional: bool = False
    """Not among the files that tinycompiler promises to take."""
    whole: bool = False
    """Of several layers, which may run row by row."""

    def judged(self, numerics: Numerics) -> bytes:
        return self.model() if self.case is None else judged_model(self.case, numerics)

    @property
    def profiles(self) -> tuple[Numerics, ...]:
        return tuple(Numerics) if self.case is None else self.case.profiles


def every_fixture(draws: int = 0) -> Iterator[Fixture]:
    """All of them, with `draws` random networks of each operator."""
    yield from one_operator()
    yield from at_limits()
    yield from by_route()
    yield from by_shape()
    yield from files()
    for operator, strategy in (STRATEGIES | {f"{key} int16": s for key, s in STRATEGIES_INT16.items()}).items():
        for case in drawn(strategy, draws) if draws else ():
            yield of_case(f"drawn {operator}", case)


def one_operator() -> Iterator[Fixture]:
    """The functions of tests/models*.py."""
    for make in makers():
        module = make.func.__module__
        name = next(key for key, each in vars(sys.modules[module]).items() if each is make.func)
        # the generator that the function is given goes on from call to call
        yield Fixture(f"{module.removeprefix('tests.')}.{name}", cache(make))
    for dtype in ("int16", "int32", "float32"):
        yield Fixture(f"models_state.ring {dtype}", partial(ring, dtype))


def of_case(origin: str, case: Case, *, judge: bool = True) -> Fixture:
    return Fixture(f"{origin}: {case}", case.model, case=case, judge=judge)


def at_limits() -> Iterator[Fixture]:
    """At the limits of the inner loops, and beyond, where another kernel takes over."""
    for module in (test_kernels, test_int16):
        yield from (of_case("limit", case, judge=False) for case in module.LIMITS)
    yield from (of_case(f"refusal, {what}", case, judge=False) for what, (case, _) in test_kernels.REFUSALS.items())


def by_route() -> Iterator[Fixture]:
    """As exporters write them."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            data = quantized(Path(folder))
        except pytest.skip.Exception:
            pass
        else:
            yield Fixture("ai-edge-quantizer", lambda: data, whole=True)
    yield Fixture("channels first", channels_first, whole=True)
    yield Fixture("channels first, one scale", partial(channels_first, per_channel=False))
    yield Fixture("dilated", dilated)
    yield from (Fixture(f"flatten, io {io}", flatten, io) for io in (None, "int8", "float"))


def by_shape() -> Iterator[Fixture]:
    """Which the planner changes when memory is short."""
    yield Fixture("shape, perceptron", lambda: perceptron(24, 400, 12, 300, 7).file, whole=True)
    yield Fixture("shape, audio", lambda: audio(60, 5).file, whole=True)


def files() -> Iterator[Fixture]:
    """The files of this folder, and those of others where they are there."""
    for path in sorted(SHIPPED.glob("*.tflite")):
        yield from (Fixture(f"{path.stem}, io {io}", path.read_bytes, io, whole=True) for io in (None, "float"))
    for name in WAKE_WORDS:
        try:
            yield Fixture(name, wake_word(name).read_bytes, whole=True)
        except pytest.skip.Exception:
            return
    for path in sorted(REAL.rglob("*.tflite")):
        name = str(path.relative_to(REAL).with_suffix(""))
        promised = path.parent == REAL
        yield Fixture(name, path.read_bytes, optional=not promised, whole=promised)
