"""A bounded share of the fuzzers, and what they found, each as a small file."""

import argparse
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flatbuffers.table import Table

from tests import fuzz_graphs, fuzz_reader
from tests.fuzz_graphs import Place, Skipped, Tried, attempt, compare
from tests.fuzz_reader import Found, front
from tests.fuzz_steps import STEPS, drawn
from tests.tflite_builder import ModelBuilder, encode
from tinycompiler.ops import Numerics
from tinycompiler.readers.flatbuffer import FIELDS
from tinycompiler.readers.operators import OPERATORS

pytest.importorskip("ai_edge_litert.interpreter")
pytest.importorskip("tflite_micro.python.tflite_micro.runtime")


def options(**change: Any) -> argparse.Namespace:
    told = fuzz_graphs.arguments([])
    return argparse.Namespace(**{**vars(told), **change})


def test_every_operator_has_a_step() -> None:
    assert {*OPERATORS, "READ_VARIABLE", "ASSIGN_VARIABLE"} <= set(STEPS)


def test_drafts_hold_what_is_unusual() -> None:
    """int16, variables, edges of uint8, groups, weights that are computed."""
    found = {kind for seed in range(150) for numerics in Numerics for kind in drawn(seed, numerics).kinds()}
    int16 = (
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "TRANSPOSE_CONV",
        "ADD",
        "SUB",
        "MUL",
        "SOFTMAX",
        "TANH",
    )
    assert {f"{operator} int16" for operator in int16} <= found
    assert {"READ_VARIABLE", "ASSIGN_VARIABLE", "ASSIGN_VARIABLE int16"} <= found
    assert {"QUANTIZE uint8", "CONV_2D grouped", "FULLY_CONNECTED dynamic"} <= found


@pytest.mark.slow
def test_drafts_are_the_same_every_time_and_mostly_compile() -> None:
    refused = 0
    for seed in range(40):
        draft = drawn(seed)
        assert draft.model() == drawn(seed).model()
        try:
            attempt(seed, draft, Place("nucleo_l4r5zi", Numerics.LITERT))
        except fuzz_graphs.Skipped:
            refused += 1
    assert refused < 8


@pytest.mark.slow
def test_random_networks_on_the_host() -> None:
    tally = fuzz_graphs.Tally()
    fuzz_graphs.fuzz(range(1000, 1060), options(host=True, batch=20), tally)
    assert not tally.failures
    assert tally.kinds["exact"] > 40


@pytest.mark.emulator
@pytest.mark.slow
def test_random_networks_on_boards() -> None:
    tally = fuzz_graphs.Tally()
    fuzz_graphs.fuzz(range(2000, 2096), options(batch=24), tally)
    assert not tally.failures
    assert tally.kinds["exact"] > 70


@pytest.mark.slow
def test_damaged_files() -> None:
    tally = fuzz_reader.Tally()
    fuzz_reader.fuzz(0, range(600), tally)
    assert not tally.failures
    assert tally.kinds["graph"] > 0


@pytest.mark.slow
def test_a_failure_is_found_and_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong SOFTMAX, seen in a network with other operators: what is left holds little else."""
    from tinycompiler.ops import Softmax

    right = Softmax.evaluate
    monkeypatch.setattr(
        Softmax, "evaluate", lambda *told: tuple((y.astype(np.int16) ^ 1).astype(y.dtype) for y in right(*told))
    )
    seed = next(s for s in range(500) if [o.operator for o in drawn(s).operators].count("SOFTMAX") and s % 6 < 4)
    place = Place("nucleo_l4r5zi", Numerics.LITERT)
    outcome = fuzz_graphs.outcome_alone(seed, drawn(seed), place)
    assert (outcome.kind, outcome.stage) == ("wrong", "evaluate")
    draft, _ = fuzz_graphs.smaller(outcome, place)
    assert [o.operator for o in draft.operators] == ["SOFTMAX"]


# What was found in networks. Each seed's network once failed; `smaller` made of it what stands here.


def check(builder: ModelBuilder, numerics: Numerics = Numerics.LITERT) -> Tried:
    """Everything but the device."""

    class Given:
        operators = ()

        def model(self) -> bytes:
            return builder.build()

    return attempt(0, Given(), Place("nucleo_l4r5zi", numerics))  # type: ignore[arg-type]


def network(*tensors: tuple[str, tuple[int, ...]]) -> ModelBuilder:
    model = ModelBuilder("found")
    for name, shape in tensors:
        model.tensor(name, shape, scales=0.1, zero_points=3)
    return model


def test_padding_of_a_scalar() -> None:
    model = network(("x", ()), ("y", ()))
    model.tensor("widths", (0, 2), "int32", data=np.zeros((0, 2), np.int32))
    model.operator("MIRROR_PAD", ["x", "widths"], ["y"], options={"mode": 0})
    check(model.inputs("x").outputs("y"))


def test_a_split_along_channels_into_unequal_parts() -> None:
    model = network(("x", (2, 12)), ("a", (2, 3)), ("b", (2, 2)), ("c", (2, 7)))
    model.tensor("sizes", (3,), "int32", data=[3, 2, 7])
    model.tensor("axis", (), "int32", data=1)
    model.operator("SPLIT_V", ["x", "sizes", "axis"], ["a", "b", "c"], options={"num_splits": 3})
    check(model.inputs("x").outputs("b", "a", "c"))


def test_an_operator_that_nobody_reads() -> None:
    model = network(("x", (1, 2, 2, 3)), ("y", (1, 2, 2, 3)), ("dead", (1, 2, 2, 3)))
    model.operator("RELU", ["x"], ["y"]).operator("LOGISTIC", ["x"], ["dead"])
    model.values()["subgraphs"][0]["tensors"][2]["quantization"] = {"scale": [1 / 256], "zero_point": [-128]}
    check(model.inputs("x").outputs("y"))


def test_a_constant_channel_that_becomes_a_scalar() -> None:
    model = network(("x", (1, 3)), ("y", (1, 1)), ("z", ()))
    model.tensor("weights", (1, 3), scales=1.0, zero_points=0, data=np.zeros((1, 3), np.int8))
    model.tensor("bias", (1,), "int32", scales=0.1, zero_points=0, data=[40])
    model.operator("FULLY_CONNECTED", ["x", "weights", "bias"], ["y"])
    model.operator("SQUEEZE", ["y"], ["z"], options={"squeeze_dims": []})
    check(model.inputs("x").outputs("z"))


@pytest.mark.parametrize("operator", ["TRANSPOSE", "TILE"])
def test_a_scalar_that_litert_does_not_move(operator: str) -> None:
    """It crashes at TILE, and TRANSPOSE leaves what was in memory."""
    model = network(("x", ()), ("y", ()))
    model.tensor("order", (0,), "int32", data=np.zeros(0, np.int32))
    model.operator(operator, ["x", "order"], ["y"], options={})
    with pytest.raises(Skipped, match="it moves a scalar"):
        check(model.inputs("x").outputs("y"))


@pytest.mark.emulator
@pytest.mark.parametrize("numerics", Numerics, ids=lambda numerics: numerics.value)
def test_a_node_that_gcc_took_for_one_without_effect(numerics: Numerics) -> None:
    """GCC 12 dropped the call of a layer with one unit over many rows."""
    model = network(("x", (2, 7, 4)), ("y", (2, 7, 1)))
    model.tensor("w", (1, 4), scales=1 / 256, data=np.array([[1, -2, 0, 1]], np.int8))
    model.tensor("b", (1,), "int32", scales=0.1 / 256, data=[8121])
    model.operator("FULLY_CONNECTED", ["x", "w", "b"], ["y"], options={"keep_num_dims": True})
    tried = check(model.inputs("x").outputs("y"), numerics)
    [outcome] = compare([tried], Place("nucleo_l4r5zi", numerics))
    assert outcome.kind == "exact", outcome


@pytest.mark.emulator
def test_an_odd_last_pixel_that_gcc_took_for_an_endless_loop() -> None:
    """It refused the image: alone, a layer of int16 is inlined with its constants."""
    model = ModelBuilder("found")
    model.tensor("x", (1, 4, 5, 2), "int16", scales=2.0**-12)
    model.tensor("w", (6, 2), scales=2.0**-7, data=np.arange(-6, 6, dtype=np.int8).reshape(6, 2))
    model.tensor("b", (6,), "int64", scales=2.0**-19, data=np.arange(6))
    model.tensor("y", (1, 4, 5, 6), "int16", scales=2.0**-11)
    model.operator("FULLY_CONNECTED", ["x", "w", "b"], ["y"], options={"keep_num_dims": True})
    tried = check(model.inputs("x").outputs("y"), Numerics.TFLM)
    [outcome] = compare([tried], Place("nucleo_l4r5zi", Numerics.TFLM))
    assert outcome.kind == "exact", outcome


# What was found in files.


def judged(tmp_path: Path, data: bytes) -> Found:
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    return front(path, 0)


def small() -> ModelBuilder:
    model = network(("x", (1, 4)), ("y", (1, 4)))
    return model.operator("RELU6", ["x"], ["y"]).inputs("x").outputs("y")


def tensor_said(**change: Any) -> Callable[[], bytes]:
    def make() -> bytes:
        model = small()
        model.values()["subgraphs"][0]["tensors"][1].update(change)
        return model.build()

    return make


def operator_said(**change: Any) -> Callable[[], bytes]:
    def make() -> bytes:
        model = small()
        model.values()["subgraphs"][0]["operators"][0].update(change)
        return model.build()

    return make


def variable_without_output() -> bytes:
    model = small()
    return model.operator("READ_VARIABLE", ["x"], []).build()


def softmax_of(beta: float, shape: tuple[int, ...] = (1, 4), dtype: str = "int8") -> Callable[[], bytes]:
    def make() -> bytes:
        scale, zero_point = (1 / 256, -128) if dtype == "int8" else (1 / 32768, 0)
        model = ModelBuilder("found")
        model.tensor("x", shape, dtype, scales=0.1 * scale)
        model.tensor("y", shape, dtype, scales=scale, zero_points=zero_point)
        model.operator("SOFTMAX", ["x"], ["y"], options={"beta": beta})
        return model.inputs("x").outputs("y").build()

    return make


def channels_at_the_edge() -> bytes:
    model = small()
    model.tensor("c", (2,), scales=[0.1, 0.2], data=np.array([1, 2], np.int8))
    return model.outputs("y", "c").build()


def pad_with_activation_clamp(scale: float) -> Callable[[], bytes]:
    """A fused activation's bounds are quotients by the scale."""

    def make() -> bytes:
        model = network(("x", (1, 4)))
        model.tensor("y", (1, 4), scales=1.0)
        model.operator("ADD", ["x", "x"], ["y"], options={"fused_activation_function": 3})
        model.values()["subgraphs"][0]["tensors"][1]["quantization"] = {"scale": [scale], "zero_point": [0]}
        return model.inputs("x").outputs("y").build()

    return make


def strided_slice_of_nothing() -> bytes:
    model = network(("x", (-1, 4)), ("y", (1, 4)))
    for name, data in (("begin", [0, 0]), ("end", [1, 4]), ("strides", [1, 1])):
        model.tensor(name, (2,), "int32", data=data)
    model.operator("STRIDED_SLICE", ["x", "begin", "end", "strides"], ["y"])
    return model.inputs("x").outputs("y").build()


def float_sizes() -> bytes:
    model = network(("x", (1, 4)), ("y", (1, 4)))
    model.tensor("begin", (2,), "int32", data=[0, 0])
    model.tensor("size", (2,), "float32", data=[float("nan")] * 2)
    return model.operator("SLICE", ["x", "begin", "size"], ["y"]).inputs("x").outputs("y").build()


def operand(shape: tuple[int, ...], dtype: str, scales: list[float] | None, *, first: bool) -> Callable[[], bytes]:
    """A constant where an activation should be."""

    def make() -> bytes:
        model = network(("x", (1, 2)), ("y", (1, 2)))
        model.tensor("c", shape, dtype, scales=scales, axis=1, data=np.ones(shape, dtype))
        model.operator("RELU", ["c"], ["y"]) if first else model.operator("ADD", ["x", "c"], ["y"], options={})
        return model.inputs("x").outputs("y").build()

    return make


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a name with control characters": (
        lambda: encode({**small().values(), "operator_codes": [{"builtin_code": 32, "custom_code": "\x1b[31m\n"}]}),
        "custom operator",
    ),
    "a very long name": (
        lambda: encode({**small().values(), "operator_codes": [{"builtin_code": 32, "custom_code": "x" * 9999}]}),
        "custom operator",
    ),
    "no inputs": (operator_said(inputs=[]), "it has 0 inputs, and 1 are needed"),
    "too many inputs": (operator_said(inputs=[0, 0]), "it has 2 inputs"),
    "an absent input": (operator_said(inputs=[-1]), "one of its 1 inputs is absent"),
    "no outputs": (operator_said(outputs=[]), "it has 0 outputs"),
    "a variable that is read into nothing": (variable_without_output, "inputs and outputs of its kind"),
    "softmax of NaN": (softmax_of(float("nan")), "its beta is nan"),
    "softmax of infinity": (softmax_of(-float("inf")), "its beta is -inf"),
    "softmax of less than nothing": (softmax_of(-1.0), "its beta is -1.0"),
    "softmax of a scalar": (softmax_of(1.0, ()), "its input is a scalar"),
    "softmax of a scalar of int16": (softmax_of(1.0, (), "int16"), "its input is a scalar"),
    "channels at the edge": (channels_at_the_edge, "a scale for each channel"),
    "a clamp by NaN": (pad_with_activation_clamp(float("nan")), "a scale of nan"),
    "a clamp by a subnormal": (pad_with_activation_clamp(1e-45), "a scale of 1.4"),
    "a clamp beyond int32": (pad_with_activation_clamp(1e-9), "the bounds of its fused RELU6 beyond int32"),
    "a slice of a negative shape": (strided_slice_of_nothing, "dynamic shape [-1, 4]"),
    "sizes that are not a number": (float_sizes, "its size is float32, and integers are needed"),
    "the maximum of integers": (operand((1, 2), "int32", None, first=True), "'c' is int32"),
    "a sum with integers": (operand((1, 2), "int32", None, first=False), "'c' is int32"),
    "a sum with channels": (operand((1, 2), "int8", [0.1, 0.2], first=False), "has 2 scales"),
    "the maximum of channels": (operand((1, 2), "int8", [0.1, 0.2], first=True), "has 2 scales"),
    "a tensor of 2^40 elements": (tensor_said(shape=[2**20, 2**20]), "elements, more than any board"),
}


@pytest.mark.parametrize("what", FILES)
def test_files_that_once_failed(what: str, tmp_path: Path) -> None:
    make, words = FILES[what]
    found = judged(tmp_path, make())
    assert found.kind == "refused", found
    assert words in found.words


@pytest.mark.parametrize("vector", ["operators", "tensors"])
@pytest.mark.parametrize("distinct", [True, False])
def test_a_million_entries_are_refused_at_once(vector: str, distinct: bool, tmp_path: Path) -> None:
    found = judged(tmp_path, with_entries(vector, 1_000_000, distinct=distinct))
    assert found.kind == "refused"
    assert "no network for a microcontroller has so many" in found.words


def with_entries(name: str, count: int, *, distinct: bool) -> bytes:
    """A file whose first subgraph has that many entries in a vector, all empty tables: one, or each its own."""
    data = bytearray(encode(small().values()))
    data += bytes(-len(data) % 4)
    (root,) = struct.unpack_from("<I", data)
    subgraphs = _followed(data, _place(data, root, "Model", "subgraphs"))
    vector = _place(data, _followed(data, subgraphs + 4), "SubGraph", name)
    struct.pack_into("<I", data, vector, len(data) - vector)
    first = len(data) + 4
    tables = first + 4 * count + 4  # behind the vtable that they share
    at = np.arange(count, dtype=np.int64)
    data += struct.pack("<I", count) + (tables + 4 * at * distinct - first - 4 * at).astype("<u4").tobytes()
    data += struct.pack("<HH", 4, 4) + (4 + 4 * at[: count if distinct else 1]).astype("<i4").tobytes()
    return bytes(data)


def _followed(data: bytearray, at: int) -> int:
    (offset,) = struct.unpack_from("<I", data, at)
    return at + int(offset)


def _place(data: bytearray, table: int, kind: str, name: str) -> int:
    """Where a field of a table stands."""
    slot = 4 + 2 * next(f for f in FIELDS[kind] if f.name == name).slot
    return table + int(Table(bytes(data), table).Offset(slot))


def test_too_large_files_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    found = front(path, 0)
    assert found.kind == "refused"
    assert "bytes; up to" in found.words


@pytest.mark.slow
def test_networks_together_say_whose_bytes_differ() -> None:
    """`compare` names the network, not its company."""
    place = Place("nucleo_l4r5zi", Numerics.LITERT, host=True)
    tried = []
    for seed in range(40):
        try:
            tried.append(attempt(seed, drawn(seed), place))
        except fuzz_graphs.Skipped:
            continue
        if len(tried) == 3:
            break
    wrong = tried[1]
    wrong.wanted[0][0] = bytes(b ^ 1 for b in wrong.wanted[0][0])
    assert [o.kind for o in compare(tried, place)] == ["exact", "wrong", "exact"]
