"""The table of operators: whole, true of the code, and tested."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest

from tests import test_architecture
from tests.commands import say
from tests.draws import STRATEGIES
from tests.draws_int16 import STRATEGIES_INT16
from tests.test_report import validate
from tinycompiler import catalog
from tinycompiler.catalog import Row, operator_rows, shown
from tinycompiler.kernels import ISAS, KERNELS
from tinycompiler.ops import OPERATORS, Numerics, Op
from tinycompiler.ops.movement import Movement
from tinycompiler.ops.unary import Abs
from tinycompiler.readers.larq import OPERATORS as LARQ
from tinycompiler.readers.operators import OPERATORS as READERS
from tinycompiler.readers.variables import OPERATORS as VARIABLES
from tinycompiler.samples import NO_CODE, SAMPLES
from tinycompiler.tensor import DType


@cache
def rows() -> tuple[Row, ...]:
    return tuple(operator_rows())


def of(name: str) -> list[Row]:
    return [row for row in rows() if row.name == name]


def test_every_operator_of_files_has_its_rows() -> None:
    """Who adds one adds a sample, in tinycompiler/samples.py."""
    assert {*SAMPLES, *NO_CODE} == {*READERS, *VARIABLES, *LARQ, "SHAPE"}
    assert {row.operator for row in rows()} == {*SAMPLES, *NO_CODE}
    sampled = {type(sample.op) for samples in SAMPLES.values() for sample in samples}
    assert sampled == set(OPERATORS), "an operator without a sample, or a sample of none"


def test_every_row_is_taken_by_a_profile_and_run_by_every_core() -> None:
    for row in rows():
        if row.operator not in NO_CODE:
            assert any(row.types.values()), row.name
        for isa, kernels in row.kernels.items():
            assert kernels, f"{row.name} ({row.both or row.types}): no kernel on {isa} takes the sample"
        assert set(row.kernels["scalar"]) <= set(row.kernels["dsp"])


def test_every_kernel_stands_in_a_row() -> None:
    """But those for operators that no file has: passes make them of others."""
    ours = {"append", "move_down", "partial_sums_s8"}
    named = {kernel for row in rows() for kernels in row.kernels.values() for kernel in kernels}
    assert named - {catalog.ALIAS, *NO_CODE.values()} == {kernel.name for kernel in KERNELS} - ours


def test_every_operator_has_cases() -> None:
    """Variables are tested in networks of their own, tests/models_state.py, and binary ones in tests/test_binary.py."""
    drawn = {name.split()[0] for name in STRATEGIES}
    assert set(SAMPLES) - {"ASSIGN_VARIABLE", *LARQ} <= drawn


def test_int16_is_claimed_where_it_is_tested() -> None:
    """Of operators that compute: those that move values take any type alike."""
    int16 = {
        row.operator
        for row in rows()
        for values, results in (types for every in row.types.values() for types in every)
        if DType.INT16 in (values[0], results[0])
    }
    moving = {name for name, samples in SAMPLES.items() if isinstance(samples[0].op, Movement)}
    assert int16 - moving - {"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CAST", "DEQUANTIZE"} <= {
        name.split()[0] for name in STRATEGIES_INT16
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "ADD",
            [
                ("int8", "", "", "table_of_constant_s8", "elementwise_s8_scalar", "elementwise_s8_dsp"),
                ("int16", "", "", "elementwise_s16_scalar"),
            ],
        ),
        ("EXP", [("", "int8", "", "table_s8")]),
        ("SUM", [("", "", "int8", "reduce_s8")]),
        ("EQUAL", [("int8 -> bool", "", "", "elementwise_s8_scalar")]),
        ("ARG_MAX", [("int8 -> int32", "int8 -> int64", "", "arg_reduce_s8")]),
        ("DEQUANTIZE", [("int8, uint8, int16 -> float32", "", "", "dequantize_f32")]),
        ("FULLY_CONNECTED (weights computed)", [("int8", "", "", "matmul_s8_scalar")]),
        ("RESHAPE", [("int8, uint8, int16, int32, int64, float32, bool", "", "", catalog.ALIAS)]),
        ("SHAPE", [("", "", "", "no code: a constant")]),
    ],
)
def test_rows_say_types_profiles_and_kernels(name: str, expected: list[tuple[str, ...]]) -> None:
    for row, (both, litert, tflm, *kernels) in zip(of(name), expected, strict=True):
        assert (row.both, row.only(Numerics.LITERT), row.only(Numerics.TFLM)) == (both, litert, tflm)
        assert set(kernels) <= set(row.kernels["dsp"])


def test_a_kernel_that_is_gone_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    left = tuple(kernel for kernel in KERNELS if kernel.name != "reduce_s8")
    monkeypatch.setattr(catalog, "KERNELS", left)
    [row] = [row for row in operator_rows() if row.operator == "SUM"]
    assert row.kernels == dict.fromkeys(ISAS, ())
    assert "| SUM |  |  | int8 | `none` | the same |" in catalog.operators_markdown()


def test_types_in_words() -> None:
    a, b, c = DType.INT8, DType.UINT8, DType.BOOL
    assert shown([((a, a), (a,)), ((b, b), (b,))]) == "int8, uint8"
    assert shown([((a,), (c,)), ((b,), (c,))]) == "int8, uint8 -> bool"
    assert shown([((a,), (b,)), ((a,), (c,)), ((b,), (c,))]) == "int8 -> uint8; int8, uint8 -> bool"
    assert shown([((c, a, a), (a,))]) == "bool and int8 -> int8"
    assert shown([]) == ""


def test_json() -> None:
    found = say("ops", "--json").json
    validate(found, "ops")
    assert [(o["operator"], o["note"]) for o in found["operators"]] == [(row.operator, row.note) for row in rows()]


# The tests of tests/test_architecture.py see what an operator lacks.


@dataclass(frozen=True)
class Nothing(Op):
    """An operator that has a name only."""

    name = "NOTHING"


@pytest.mark.parametrize(
    "test",
    [
        test_architecture.test_operators_have_shape_rule_and_reference,
        test_architecture.test_operators_are_read,
        test_architecture.test_operators_have_a_scalar_kernel,
        test_architecture.test_operators_have_a_model,
    ],
    ids=lambda test: test.__name__,
)
def test_what_an_operator_lacks_is_seen(test: Callable[[type[Op]], None]) -> None:
    test(Abs)
    with pytest.raises(AssertionError):
        test(Nothing)
