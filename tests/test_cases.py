"""A share of `python -m tests.cases`: one-operator networks on both kinds of core, held against their judges."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import settings

from tests import cases
from tests.cases import OPERATORS, check, different
from tests.programs import Feeds
from tinycompiler.kernels import Calls
from tinycompiler.ops import Numerics

PARTS = 4
"""Of the operators, that workers can take apart."""


@pytest.mark.emulator
@pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)
@pytest.mark.parametrize("part", range(PARTS))
def test_networks_on_boards(part: int, numerics: Numerics) -> None:
    count = max(settings.default.max_examples // 3, 1)  # type: ignore[attr-defined]
    drawn = [case for operator in list(OPERATORS)[part::PARTS] for case in different(operator, numerics, count)]
    assert not list(map(str, check(drawn, numerics)))


@pytest.mark.slow
def test_a_wrong_byte_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the one board that says it, of the one network."""

    def outputs(calls: Calls, board: str, trials: Sequence[Mapping[str, Any]]) -> list[Feeds]:
        found = [{name: calls.graph.evaluate(feeds)[name].copy() for name in calls.graph.outputs} for feeds in trials]
        if board == "rpi_pico":
            found[-1]["2_output"].flat[-1] ^= 1
        return found

    monkeypatch.setattr(cases, "board_outputs", outputs)
    drawn = different("ADD", Numerics.LITERT, 4)
    [wrong] = check(drawn, Numerics.LITERT)
    assert (wrong.board, wrong.case) == ("rpi_pico", drawn[2])
    assert "1 of" in wrong.words


@pytest.mark.slow
def test_no_two_networks_are_alike() -> None:
    found = different("SHAPE", Numerics.TFLM, 30)
    assert len({repr(case.told) for case in found}) == 30


def test_what_a_profile_lacks_has_no_networks() -> None:
    assert different("SUM", Numerics.LITERT, 5) == []
    assert len(different("SUM", Numerics.TFLM, 5)) == 5
