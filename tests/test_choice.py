"""The choice of kernels against all choices there are, and what the user says of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import models
from tests.commands import DIGITS, say
from tests.draws import Case
from tests.programs import assert_exact, merged, program_of, trials_of
from tinycompiler import choice
from tinycompiler.board import CORES, load
from tinycompiler.build import build
from tinycompiler.choice import Option, fastest, front, options_of, pick
from tinycompiler.costs import Cost, costs, cycles
from tinycompiler.emulators import run
from tinycompiler.kernels import KERNELS, lower
from tinycompiler.ops import Numerics
from tinycompiler.pareto import Point, undominated
from tinycompiler.reasons import reasons

CORE = CORES["cortex-m4f"]
NAMES = ("a", "b", "c", "d", "e")


@st.composite
def networks(draw: st.DrawFn) -> tuple[dict[str, list[Option]], dict[str, int]]:
    """Up to five nodes of up to three kernels, the later ones no faster; bytes of code of each kernel."""
    found = {}
    for node in range(draw(st.integers(1, 5))):
        kernels = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
        times = sorted(draw(st.integers(0, 40)) for _ in kernels)
        found[f"n{node}"] = [Option(k, t, draw(st.integers(0, 30))) for k, t in zip(kernels, times, strict=True)]
    return found, {name: draw(st.integers(0, 60)) for name in NAMES}


def all_choices(found: Mapping[str, Sequence[Option]], code: Mapping[str, int]) -> list[tuple[int, float]]:
    """(flash, cycles) of every way to give each node a kernel."""
    return [
        (
            sum(o.constants for o in way) + sum(code[kernel] for kernel in {o.kernel for o in way}),
            sum(o.cycles for o in way),
        )
        for way in product(*found.values())
    ]


@given(networks(), st.integers(0, 300))
@settings(max_examples=300, deadline=None)
def test_nothing_is_better(drawn: tuple[dict[str, list[Option]], dict[str, int]], flash: int) -> None:
    found, code = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "NODE", 0)
        patch.setattr(choice, "costs", lambda _: {name: Cost((), (), size) for name, size in code.items()})
        choices, first = front(found, CORE), fastest(found, CORE)
    ways = all_choices(found, code)
    best = sorted({w for w in ways if not any(o != w and o[0] <= w[0] and o[1] <= w[1] for o in ways)})
    assert [(c.flash, c.cycles) for c in choices] == best
    assert first.cycles == choices[-1].cycles
    assert (first.flash, first.cycles) in ways
    within = [w for w in ways if w[0] <= flash]
    speed = pick(choices, "speed", flash)
    assert (speed.cycles == min(w[1] for w in within)) if within else speed is choices[0]
    assert pick(choices, "size", flash).flash == min(w[0] for w in ways)
    balanced = pick(choices, "balanced", flash)
    assert not within or balanced.flash * balanced.cycles == min(w[0] * w[1] for w in within)


DENSE, SPARSE, PACKED = Option("d", 100, 900), Option("s", 60, 1000, "deltas"), Option("p", 106, 500, "int4")


@pytest.mark.parametrize(
    ("listed", "kernel"),
    [
        ([DENSE], "d"),
        ([SPARSE, DENSE], "s"),
        ([DENSE, PACKED], "p"),
        ([SPARSE, DENSE, PACKED], "s"),
        ([DENSE, replace(PACKED, cycles=111)], "d"),
        ([DENSE, replace(PACKED, constants=700)], "d"),
    ],
)
def test_rivals_that_are_as_fast_and_much_smaller_are_taken(listed: list[Option], kernel: str) -> None:
    assert fastest({"n": listed}, CORE).kernels == {"n": kernel}


@pytest.mark.parametrize(
    ("kernel", "aim", "words"),
    [
        (
            "s",
            "speed",
            "75 % zero: deltas adds 100 bytes and saves 40 % of the time (estimated); chosen because it is the f",
        ),
        (
            "p",
            "speed",
            "75 % zero: int4 saves 400 bytes and costs 6 % of the time (estimated); chosen because flash is the",
        ),
        (
            "d",
            "size",
            "deltas adds 100 bytes and saves 40 % of the time (estimated); d was chosen because of --optimize size",
        ),
    ],
)
def test_reasons_weigh_bytes_and_time(kernel: str, aim: str, words: str) -> None:
    weights = np.array([[0, 0, 0, 5]] * 4, np.int8)
    graph = Case(models.fully_connected, 0, {"shape": (1, 4), "units": 4, "weights": weights}).graph(Numerics.LITERT)
    [node] = graph.nodes
    [said] = reasons(graph, {node.name: [SPARSE, DENSE, PACKED]}, {node.name: kernel}, aim).values()
    assert words in said
    assert reasons(graph, {node.name: [DENSE]}, {node.name: "d"}, aim) == {}


def convolutions() -> list[Case]:
    numbers = np.random.default_rng(0)
    told = [
        {"shape": (1, int(h), int(w), int(c)), "filters": int(f), "kernel": (int(k), int(k)), "activation": a}
        for h, w, c, f, k, a in zip(
            *(numbers.integers(low, high, 6) for low, high in ((4, 9), (4, 9), (1, 13), (1, 10), (1, 4))),
            ("NONE", "RELU6", "RELU", "NONE", "RELU6", "NONE"),
            strict=True,
        )
    ]
    deep = [{"shape": (1, 9, 12, 8)}, {"shape": (1, 8, 8, 5), "stride": (2, 2)}]
    return [
        *(Case(models.conv_2d, i, t) for i, t in enumerate(told)),
        *(Case(models.depthwise_conv_2d, i, t) for i, t in enumerate(deep)),
        Case(models.fully_connected, 0, {"shape": (1, 21), "units": 7}),
        Case(models.softmax, 0, {"shape": (1, 2)}),
    ]


@pytest.mark.emulator
@pytest.mark.parametrize("board", ["nucleo_l4r5zi", "rpi_pico"])
def test_the_smallest_code_computes_the_same(board: str) -> None:
    """Functions lie at other addresses then, and the assembly has to bear that."""
    described = load(board)
    graph = merged(convolutions(), Numerics.LITERT)
    calls = lower(graph, described.core)
    feeds = trials_of(graph)[0]
    given = b"".join(np.ascontiguousarray(feeds[name]).tobytes() for name in graph.inputs)
    elf = build(replace(program_of(calls), level="-Os"), described, vectors=[given])
    [answer] = run(elf, described).outputs
    tensors = [graph.tensors[name] for name in graph.outputs]
    found = {t.name: np.frombuffer(d, t.dtype.numpy).reshape(t.shape) for t, d in zip(tensors, answer, strict=True)}
    assert_exact(calls, convolutions(), feeds, found)


def test_every_choice_has_its_figures() -> None:
    """Kernels that have a sibling were measured: see tests/measure_costs.py."""
    graph = merged(convolutions(), Numerics.LITERT)
    assert all(kernel.encoding for kernel in KERNELS if kernel.rival), "reasons need a word for it"
    for core in ("cortex-m0plus", "cortex-m3", "cortex-m4f", "cortex-m33f"):
        for node, listed in options_of(graph, CORES[core]).items():
            if len(listed) > 1 and "softmax" not in node:
                assert all(option.cycles > 0 for option in listed), node
        assert set(costs(CORES[core])) <= {kernel.name for kernel in KERNELS}, "of a kernel that is gone"


def test_estimates_grow_with_the_work() -> None:
    small, large = (
        merged([Case(models.conv_2d, 0, {"shape": (1, n, n, 8), "filters": 8})], Numerics.LITERT) for n in (4, 16)
    )
    estimates = [cycles(g, g.nodes[0], "conv_2d_s8_dsp", CORE) for g in (small, large)]
    assert None not in estimates
    assert 8 < estimates[1] / estimates[0] < 32  # type: ignore[operator]


def test_points_that_another_one_beats_are_not_shown() -> None:
    figures = ((1, 1, 9), (2, 2, 9), (9, 1, 5))
    points = [Point(flash, ram, 0, time, True, "") for flash, ram, time in figures]
    points.append(Point(0, 0, 0, 0, False, "does not fit"))
    assert undominated(points) == [points[2], points[0]]


# What a user sees.


@pytest.mark.emulator
@pytest.mark.parametrize("aim", ["speed", "balanced", "size"])
def test_every_aim_is_exact(aim: str) -> None:
    said = say("verify", DIGITS, "-b", "nucleo_l4r5zi", "-n", "1", "--optimize", aim)
    assert said.code == 0, said.err
    assert "EXACT" in said.out


@pytest.mark.emulator
def test_the_smallest_is_smaller() -> None:
    flash = {
        aim: say("compile", DIGITS, "-b", "nucleo_l4r5zi", "--json", "--optimize", aim).json["memory"]["flash"]["code"]
        for aim in ("speed", "size")
    }
    assert flash["size"] < flash["speed"]


@pytest.mark.emulator
def test_budgets_are_the_board() -> None:
    usual = say("compile", DIGITS, "-b", "bluepill", "--json").json["memory"]
    for what, short in (("flash", 9000), ("ram", 300)):
        enough = str(usual[what]["used"])
        assert say("compile", DIGITS, "-b", "bluepill", f"--{what}-budget", enough).code == 0
        said = say("compile", DIGITS, "-b", "bluepill", f"--{what}-budget", str(short))
        assert said.code == 1
        assert "DOES NOT FIT" in said.out


@pytest.mark.emulator
def test_what_more_flash_would_buy_is_said() -> None:
    usual = say("compile", DIGITS, "-b", "nucleo_l4r5zi", "--json").json
    assert usual["more_flash"] is None
    budget = ("--flash-budget", str(usual["memory"]["flash"]["used"] - 4000))
    less = say("compile", DIGITS, "-b", "nucleo_l4r5zi", "--json", *budget).json
    assert less["more_flash"]["bytes"] > 2000
    assert 0 < less["more_flash"]["cycles_saved"] < 1
    text = say("compile", DIGITS, "-b", "nucleo_l4r5zi", *budget).out
    assert f"{less['more_flash']['bytes']:,} bytes more flash would buy " in text


@pytest.mark.emulator
def test_less_ram_is_found_when_it_is_asked_for() -> None:
    usual = say("compile", DIGITS, "-b", "nucleo_l4r5zi", "--json", "--no-fusion").json["memory"]["ram"]["used"]
    said = say("compile", DIGITS, "-b", "nucleo_l4r5zi", "--json", "--ram-budget", str(usual - 40))
    assert said.code == 0, said.out
    assert said.json["memory"]["ram"]["used"] <= usual - 40


@pytest.mark.emulator
def test_the_front() -> None:
    said = say("compile", DIGITS, "-b", "nucleo_l4r5zi", "--pareto")
    assert said.code == 0, said.err
    assert any(line.startswith("*") for line in said.out.splitlines())
