"""One network of all kinds of weights: bytes, four bits, one bit, and few that are not zero."""

from pathlib import Path

import numpy as np
import pytest

from tests.commands import say
from tests.models_binary import flexbuffer, random_bits
from tests.networks import SCALE, Sketch
from tests.tflite_builder import ModelBuilder
from tinycompiler.tensor import Array

DEPTH, BITS = 32, 64


def constants(s: Sketch, name: str, values: Array, kind: str) -> list[str]:
    """Weights of one scale, and a bias."""
    scale = float(np.float32(1 / (np.abs(values).mean() * np.sqrt(np.count_nonzero(values[0]) + 1) * 2)))
    s.model.tensor(f"{name}_w", values.shape, kind, scales=[scale], data=values)
    biases = s.rng.integers(-200, 200, len(values)).astype(np.int32)
    s.model.tensor(
        f"{name}_b", biases.shape, "int32", scales=[float(np.float32(SCALE) * np.float32(scale))], data=biases
    )
    return [f"{name}_w", f"{name}_b"]


def binary(model: ModelBuilder, x: str, y: str, shape: tuple[int, ...], rest: list[str | None], depth: int) -> None:
    """A 3x3 LceBconv2d with ones around the image; `rest`: multipliers, biases, thresholds."""
    rng = np.random.default_rng(depth)
    model.tensor(f"{y}_w", shape, "int32", data=random_bits(rng, shape[:-1], depth))
    sizes = {f"{what}_{way}": 1 for what in ("stride", "dilation") for way in ("height", "width")}
    options = {k if k.startswith("stride") else f"{k}_factor": v for k, v in sizes.items()}
    options |= {"channels_in": depth, "padding": 0, "pad_values": 1, "fused_activation_function": 0}
    model.operator("CUSTOM:LceBconv2d", [x, f"{y}_w", *rest], [y], custom_options=flexbuffer(options))


def mixed() -> bytes:
    s = Sketch(16, 16, 3)
    first = s.conv("x", 16, stride=2)
    values = s.rng.integers(-7, 8, (DEPTH, 1, 1, 16))
    pointwise = s.operator(
        "CONV_2D", [first, *constants(s, "pw", values, "INT4")], (1, 8, 8, DEPTH), stride_h=1, stride_w=1
    )
    m = s.model
    m.tensor("bits", (1, 8, 8, DEPTH // 32), "int32")
    m.operator("CUSTOM:LceQuantize", [pointwise], ["bits"])
    m.tensor("thresholds", (BITS,), "int32", data=s.rng.integers(130, 158, BITS).astype(np.int32))
    m.tensor("middle", (1, 8, 8, BITS // 32), "int32")
    binary(m, "bits", "middle", (BITS, 3, 3, DEPTH // 32), [None, None, "thresholds"], DEPTH)
    m.tensor("multipliers", (DEPTH,), "float32", data=s.rng.normal(0, 0.05, DEPTH).astype(np.float32))
    m.tensor("biases", (DEPTH,), "float32", data=s.rng.normal(0, 1, DEPTH).astype(np.float32))
    s.activation("last", (1, 8, 8, DEPTH))
    binary(m, "middle", "last", (DEPTH, 3, 3, BITS // 32), ["multipliers", "biases", None], BITS)
    pooled = s.operator(
        "MAX_POOL_2D",
        ["last"],
        (1, 4, 4, DEPTH),
        **dict.fromkeys(("stride_h", "stride_w"), 2),
        filter_width=2,
        filter_height=2,
    )
    flat = s.reshape(pooled, 1, 16 * DEPTH)
    weights = s.rng.integers(-127, 128, (10, 16 * DEPTH)) * (s.rng.random((10, 16 * DEPTH)) < 0.1)
    y = s.operator("FULLY_CONNECTED", [flat, *constants(s, "fc", weights.astype(np.int8), "int8")], (1, 10))
    return s.to(y).file


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("mixed") / "mixed.tflite"
    file.write_bytes(mixed())
    return file


@pytest.mark.emulator
@pytest.mark.parametrize("board", ["bluepill", "nucleo_l4r5zi", "nucleo_l552ze_q", "rpi_pico"])
def test_on_boards_with_20_kb(path: Path, board: str) -> None:
    said = say("verify", path, "-b", board, "-n", "1", "--layers", "--ram-budget", "20480", "--json")
    assert said.code == 0, said.out
    assert said.json["fits"]
    assert said.json["verify"]["mismatches"] == 0
    assert said.json["verify"]["layers_checked"] == 7


@pytest.mark.slow
def test_every_layer_is_stored_in_its_own_way(path: Path) -> None:
    """And the report says how, and what that saves."""
    layers = say("compile", path, "-b", "nucleo_l4r5zi", "--json").json["layers"]
    stored = {x["name"]: x["stored"] for x in layers if x["stored"]}
    assert [(s["bits"], s["encoding"]) for s in stored.values()] == [
        (8, "dense"),
        (4, "int4"),
        (1, "binary"),
        (1, "binary"),
        (8, "deltas"),
    ]
    assert "% zero: deltas saves" in stored["fully_connected_7"]["reason"]
    dense = say("compile", path, "-b", "nucleo_l4r5zi", "--json", "--weights", "int8").json["layers"]
    assert {x["stored"]["encoding"] for x in dense if x["op"] in ("CONV_2D", "FULLY_CONNECTED")} == {"dense"}
