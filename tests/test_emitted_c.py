"""A share of the fixtures passes every check of `tests.emitted_c`, and each check finds what it is for."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import models
from tests.commands import DIGITS, say
from tests.draws import Case
from tests.emitted_c import Finding, Subject, check, checked, network_of, subject_of
from tests.fixtures import Fixture, by_route, every_fixture, of_case, one_operator
from tests.floating_point import BOARDS
from tests.test_report import validate
from tinycompiler.emit import Program
from tinycompiler.ops import Numerics

TOOLS = ("gcc", "clang", "cppcheck", "arm-none-eabi-gcc")
pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in TOOLS), reason=f"needs {', '.join(TOOLS)}: tools/packages.sh host"
)

COMPILERS = ("gcc", "gcc for cortex-m0plus", "gcc for cortex-m4f", "clang", "clang for cortex-m4f")
FLOATS = ("floats, rpi_pico", "floats, nucleo_l4r5zi", "floats, nucleo_l4r5zi without its FPU")
SHARE = (*COMPILERS, "cppcheck", "run, gcc", "run, clang -O3", *FLOATS)


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)
def test_every_operator_and_route(numerics: Numerics) -> None:
    """All functions of tests/models*.py, all exporters, and a network: as one program for each instruction set."""
    digits = Fixture("digits", DIGITS.read_bytes, whole=True)
    tally = check([*one_operator(), *by_route(), digits], SHARE, together=1000, profiles=[numerics])
    assert [str(finding) for finding in tally.findings] == []
    assert tally.programs >= 2 + 2 * 2  # with those that run row by row
    assert tally.networks > 100
    assert len(tally.refused) < 20, tally.refused


def test_fixtures_have_names_of_their_own() -> None:
    names = [fixture.name for fixture in every_fixture() if not fixture.name.startswith("limit")]
    assert len(set(names)) == len(names) > 150


# Each check can fail.


def subject(case: Case, isa: str = "scalar") -> Subject:
    return subject_of([network_of(of_case("one", case), Numerics.LITERT)], isa)


def changed(found: Subject, change: Callable[[str], str]) -> Subject:
    files = {**found.program.files, "many.c": change(found.program.files["many.c"])}
    return replace(found, program=Program(found.program.name, files, ""))


RELU = Case(models.relu, 0, {"shape": (1, 16)})
NARROW = "int8_t tc_bad(int32_t x);\nint8_t tc_bad(int32_t x)\n{\n    return x;\n}\n"
SIGN = "int32_t tc_bad(int32_t x);\nint32_t tc_bad(int32_t x)\n{\n    return x >> 31;\n}\n"


def words(found: Finding | None) -> str:
    return found.words if found else ""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMPILERS if name.endswith(("gcc", "clang", "cortex-m0plus"))])
def test_compilers_find_a_narrowing(name: str) -> None:
    good = subject(RELU)
    assert words(checked(good, name)) == ""
    assert "onversion" in words(checked(changed(good, lambda text: text + NARROW), name))


@pytest.mark.slow
def test_cppcheck_finds_what_is_not_portable() -> None:
    good = subject(RELU)
    assert words(checked(good, "cppcheck")) == ""
    assert "shiftTooManyBitsSigned" in words(checked(changed(good, lambda text: text + SIGN), "cppcheck"))


@pytest.mark.slow
def test_a_run_finds_a_wrong_byte() -> None:
    good = subject(RELU)
    [network] = good.networks
    wanted = [[np.bitwise_xor(v, i == 3) for v in outputs] for i, outputs in enumerate(network.wanted)]
    wrong = replace(good, networks=[replace(network, wanted=wanted)])
    assert words(checked(good, "run, gcc")) == ""
    assert words(checked(wrong, "run, gcc")) == "not the judge's: 0_output"


# What reports say of floating point.

DIVIDES = Case(models.quantize, 1, {"shape": (1, 16)})


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize(("case", "stated"), [(RELU, "single"), (RELU, "double"), (DIVIDES, ""), (DIVIDES, "double")])
def test_a_wrong_statement_is_found(name: str, case: Case, stated: str) -> None:
    good = subject(case, BOARDS[name.removeprefix("floats, ")].core.isa)
    [call] = good.calls.calls
    assert call.floating_point not in (stated, "double")
    lie = replace(good, calls=replace(good.calls, steps=(replace(call, floating_point=stated),)))
    assert words(checked(good, name)) == ""
    assert "states" in words(checked(lie, name))


@pytest.mark.parametrize(("board", "place"), [("bluepill", "software"), ("nucleo_l4r5zi", "hardware")])
def test_reports_name_who_computes_in_floating_point(
    board: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYCOMPILER_CC", "/nonexistent")  # it is known without one
    path = tmp_path / "net.tflite"
    path.write_bytes(DIVIDES.model())
    said = say("compile", path, "-b", board, "--json")
    validate(said.json)
    assert said.json["floating_point"] == [{"name": "quantize_0", "precision": "single", "in": place}]
    assert f"floating point, single precision in {place}: quantize_0\n" in say("compile", path, "-b", board).out
    path.write_bytes(RELU.model())
    assert say("compile", path, "-b", board, "--json").json["floating_point"] == []
    assert "floating" not in say("compile", path, "-b", board).out
