"""Variables that outlive an inference, and odd edges: over many steps, against the judges' own state."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests import draws
from tests.commands import needs_compiler, say
from tests.draws import random_values
from tests.judges import judge
from tests.models_state import EDGES, STATEFUL, Stream, ring
from tests.programs import HostProgram, board_outputs
from tinycompiler.board import CORES, load
from tinycompiler.errors import ModelError
from tinycompiler.graph import Graph
from tinycompiler.kernels import lower
from tinycompiler.lifetimes import lay_out
from tinycompiler.ops import Numerics
from tinycompiler.passes import optimize
from tinycompiler.tensor import Array

PROFILES = pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)
MODELS = pytest.mark.parametrize("make", [*STATEFUL, *EDGES], ids=lambda make: make.__name__)
STEPS = 7

Feeds = dict[str, Array]


def graph_of(model: bytes, numerics: Numerics) -> Graph:
    """By a name whose header hides none of the emitted ones."""
    return replace(draws.graph_of(model, numerics), name="stream")


def steps_of(graph: Graph, count: int = STEPS) -> list[Feeds]:
    rng = np.random.default_rng(5)
    return [{name: random_values(graph.tensors[name], rng) for name in graph.inputs} for _ in range(count)]


def evaluated(graph: Graph, steps: Sequence[Feeds]) -> list[Feeds]:
    """All values of every step, states carried from one to the next."""
    state: Feeds = {}
    found = []
    for feeds in steps:
        values = graph.evaluate({**feeds, **state})
        state = {s.tensor: values[s.next] for s in graph.states}
        found.append(values)
    return found


def assert_outputs(graph: Graph, found: Feeds, wanted: Feeds, step: int) -> None:
    for name in graph.outputs:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=f"step {step}, {name}")


@PROFILES
@MODELS
def test_steps_are_the_judges(make: Callable[[], bytes], numerics: Numerics) -> None:
    graph = graph_of(make(), numerics)
    steps = steps_of(graph)
    ours, small = evaluated(graph, steps), evaluated(optimize(graph), steps)
    for step, (values, passed, theirs) in enumerate(zip(ours, small, judge(make(), graph, steps), strict=True)):
        assert_outputs(graph, values, dict(zip(graph.outputs, theirs, strict=True)), step)
        assert_outputs(graph, passed, values, step)


@pytest.mark.slow
@MODELS
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4f"])
def test_steps_on_the_host(make: Callable[[], bytes], core: str, tmp_path: Path) -> None:
    """Twice, with the state reset between."""
    graph = optimize(graph_of(make(), Numerics.LITERT))
    program = HostProgram(lower(graph, CORES[core]), tmp_path)
    steps = steps_of(graph)
    for _ in range(2):
        for step, (feeds, wanted) in enumerate(zip(steps, evaluated(graph, steps), strict=True)):
            assert_outputs(graph, program.outputs(feeds), wanted, step)
        program._function("reset_state")()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "float32"])
def test_states_of_every_type(dtype: str, tmp_path: Path) -> None:
    graph = optimize(graph_of(ring(dtype), Numerics.LITERT))
    steps = steps_of(graph)
    program = HostProgram(lower(graph, CORES["cortex-m0plus"]), tmp_path)
    theirs = judge(ring(dtype), graph, steps)
    for step, (feeds, wanted) in enumerate(zip(steps, theirs, strict=True)):
        assert_outputs(graph, program.outputs(feeds), dict(zip(graph.outputs, wanted, strict=True)), step)


@pytest.mark.emulator
@needs_compiler
@MODELS
def test_steps_on_a_board(make: Callable[[], bytes]) -> None:
    graph = optimize(graph_of(make(), Numerics.LITERT))
    steps = steps_of(graph)
    found = board_outputs(lower(graph, load("rpi_pico").core), "rpi_pico", steps)
    for step, (ours, wanted) in enumerate(zip(found, evaluated(graph, steps), strict=True)):
        assert_outputs(graph, ours, wanted, step)


def states_of(make: Callable[[], bytes]) -> int:
    """Bytes of state after the passes."""
    return lay_out(lower(optimize(graph_of(make(), Numerics.LITERT)), CORES["cortex-m0plus"])).state_bytes


def test_only_what_is_wanted_later_is_state() -> None:
    found = {make.__name__: states_of(make) for make in STATEFUL}
    assert found == {
        **dict.fromkeys(found, 4),
        "ring": 12,
        "assigned_before_read": 0,
        "never_assigned": 0,
        "never_read": 0,
        "change_places": 12,
        "delay_line": 12,
        "shifted": 16,
        "shifted_behind": 12 + 12,
    }


def test_no_assignment_before_a_reader_of_the_old_value() -> None:
    for make in STATEFUL:
        graph = optimize(graph_of(make(), Numerics.LITERT))
        gone: set[str] = set()
        memory = {s.next: s.tensor for s in graph.states}
        joined = {s.tensor: s.joined for s in graph.states if s.joined}
        aliases = lower(graph, CORES["cortex-m0plus"]).aliases
        for node in graph.nodes:
            for name in node.inputs:
                while name in aliases:
                    name = aliases[name]
                assert name not in gone, f"{make.__name__}: {node} reads what was overwritten"
            if node.outputs[0] in memory:
                state = memory[node.outputs[0]]
                gone |= {state, joined.get(state, state)}


def test_variables_that_change_shape_are_refused() -> None:
    s = Stream()
    v = s.variable("a")
    s.read(v, "old")
    s.assign(v, s.reshape("x", "flat", (4,)))
    with pytest.raises(ModelError, match="assign a: output 'next a' has shape"):
        graph_of(s.called("old"), Numerics.LITERT)


def test_handles_that_lead_nowhere_are_refused() -> None:
    s = Stream()
    s.tensor("nothing", (1,), "int32")
    s.operator("READ_VARIABLE", ["nothing"], [s.values_of("old")], options={})
    with pytest.raises(ModelError, match="its variable has no VAR_HANDLE before it"):
        graph_of(s.called("old"), Numerics.LITERT)


# Four wake words that run in people's homes.

WAKE_WORDS = ("alexa", "hey_jarvis", "hey_mycroft", "okay_nabu")


def wake_word(name: str) -> Path:
    """A network of the pymicro-wakeword package; the package itself is not imported, since it loads a library."""
    found = find_spec("pymicro_wakeword")
    if found is None or found.origin is None:
        pytest.skip("needs pymicro-wakeword")
    return Path(found.origin).parent / "models" / f"{name}.tflite"


@pytest.mark.slow
@pytest.mark.emulator
@needs_compiler
@pytest.mark.parametrize("name", WAKE_WORDS)
@pytest.mark.parametrize(
    ("board", "steps"), [("nrf52840dk", 97), ("nucleo_l552ze_q", 7), ("rpi_pico", 7)], ids=lambda v: str(v)
)
def test_wake_words(name: str, board: str, steps: int) -> None:
    """100 steps on one board (with the three extremes), ten on the others: outputs and every layer."""
    said = say("verify", wake_word(name), "-b", board, "-n", steps, "--layers", "--json")
    assert said.code == 0, said.out + said.err
    found = said.json
    assert found["verify"]["mismatches"] == 0
    assert found["verify"]["layers_checked"] > 20
    assert found["memory"]["ram"]["state"] > 1000


def test_wake_words_keep_state() -> None:
    """Each step depends on those before it: a network that forgot would say the same again."""
    graph = optimize(graph_of(wake_word("okay_nabu").read_bytes(), Numerics.LITERT))
    same = steps_of(graph, 1) * 3
    first, *rest = ([values[n].tobytes() for n in graph.results] for values in evaluated(graph, same))
    assert all(r != first for r in rest)
