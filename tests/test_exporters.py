"""Networks by the routes that a user takes today, each compiled, run on an emulated board, and verified.

Wake words of the pymicro-wakeword package (TensorFlow's own converter) are in `test_state`.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands import needs_compiler, say
from tests.tflite_builder import ModelBuilder, encode
from tinycompiler.ops import Conv2D, Transpose
from tinycompiler.passes import optimize
from tinycompiler.readers import schema
from tinycompiler.readers.network import read

pytestmark = [pytest.mark.emulator, needs_compiler]

BOARD = "rpi_pico"
NUMBERS = {"scales": 0.05, "zero_points": 3}
RELU = schema.ACTIVATIONS.index("RELU")


def verified(folder: Path, model: bytes, *more: str) -> Any:
    """The report of `verify --layers`; every byte is right."""
    path = folder / "net.tflite"
    path.write_bytes(model)
    said = say("verify", path, "-b", BOARD, "-n", 3, "--layers", "--json", *more)
    assert said.code == 0, said.out + said.err
    assert said.json["verify"]["mismatches"] == 0
    return said.json


# ai-edge-quantizer, on a float network.


def float_network() -> bytes:
    rng = np.random.default_rng(0)
    m = ModelBuilder("float")
    for name, shape in (
        ("x", (1, 8, 8, 2)),
        ("c", (1, 8, 8, 4)),
        ("flat", (1, 256)),
        ("logits", (1, 5)),
        ("y", (1, 5)),
    ):
        m.tensor(name, shape, "float32")
    for name, shape in (("w", (4, 3, 3, 2)), ("b", (4,)), ("v", (5, 256)), ("d", (5,))):
        m.tensor(name, shape, "float32", data=rng.normal(0, 0.2, shape))
    m.tensor("shape", (2,), "int32", data=[1, 256])
    window = {"padding": 0, "stride_w": 1, "stride_h": 1, "fused_activation_function": RELU}
    m.operator("CONV_2D", ["x", "w", "b"], ["c"], options=window)
    m.operator("RESHAPE", ["c", "shape"], ["flat"], options={"new_shape": [1, 256]})
    m.operator("FULLY_CONNECTED", ["flat", "v", "d"], ["logits"], options={"fused_activation_function": 0})
    m.operator("SOFTMAX", ["logits"], ["y"], options={"beta": 1.0})
    values = m.inputs("x").outputs("y").values()
    edges = {"inputs": [{"name": "x", "tensor_index": 0}], "outputs": [{"name": "y", "tensor_index": 4}]}
    values["signature_defs"] = [{**edges, "signature_key": "serving_default", "subgraph_index": 0}]
    return encode(values)


def quantized(folder: Path, kind: str = "static_wi8_ai8") -> bytes:
    """`float_network` by one of the package's recipes, or "float16", which has none of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package's own imports
        quantizer = pytest.importorskip("ai_edge_quantizer.quantizer")
        recipe = pytest.importorskip("ai_edge_quantizer.recipe")
        path = folder / "float.tflite"
        path.write_bytes(float_network())
        made = quantizer.Quantizer(str(path))
        made.load_quantization_recipe(float16_recipe() if kind == "float16" else getattr(recipe, kind)())
        rng = np.random.default_rng(1)
        samples = [{"x": rng.normal(0, 1, (1, 8, 8, 2)).astype(np.float32)} for _ in range(8)]
        calibrated = made.calibrate({"serving_default": samples}) if made.need_calibration else None
        return bytes(made.quantize(calibrated).quantized_model)


def float16_recipe() -> list[dict[str, Any]]:
    weights = {"num_bits": 16, "symmetric": True, "granularity": "TENSORWISE", "dtype": "FLOAT"}
    config = {"weight_tensor_config": weights, "compute_precision": "FLOAT", "explicit_dequantize": True}
    return [{"regex": ".*", "operation": "*", "algorithm_key": "float_casting", "op_config": config}]


def test_ai_edge_quantizer(tmp_path: Path) -> None:
    report = verified(tmp_path, quantized(tmp_path))
    assert report["verify"]["layers_checked"] >= 3


@pytest.mark.parametrize(
    ("kind", "problem", "hint"),
    [
        ("", "a float32 model", "quantize it: converter.optimizations"),
        ("dynamic_wi8_afp32", "dynamic-range (hybrid)", "add a representative dataset: converter.optimizations"),
        ("weight_only_wi8_afp32", "dynamic-range (hybrid)", "add a representative dataset: converter.optimizations"),
        ("float16", "on float16 weights", "take out converter.target_spec.supported_types = [tf.float16]"),
    ],
)
def test_networks_that_compute_in_float_are_recognised(kind: str, problem: str, hint: str, tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(quantized(tmp_path, kind) if kind else float_network())
    said = say("check", path, "--json")
    assert said.code == 3
    [blocker] = said.json["blockers"]
    assert problem in blocker["problem"]
    assert blocker["hint"].startswith(hint)
    assert "converter.representative_dataset = samples" in blocker["hint"]
    computing = {o["operator"] for o in blocker["operators"]} - {"DEQUANTIZE"}
    assert computing == {"CONV_2D", "FULLY_CONNECTED", "SOFTMAX"}


@pytest.mark.parametrize("kind", ["dynamic_wi4c_afp32", "dynamic_wi2b32_afp32"])
def test_smaller_weights_are_named_too(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(quantized(tmp_path, kind))
    found = [(b["kind"], b["problem"].split(",")[0]) for b in say("check", path, "--json").json["blockers"]]
    assert found[0][0] == "float"
    assert found[1:] == ([("quantization", "BlockwiseQuantization")] if "wi2" in kind else [])


# Channels first, as converters from ONNX and PyTorch write it.


def channels_first(*, per_channel: bool = True, version: int = 3) -> bytes:
    """(1, c, h, w) in and out; transposes around the convolution, a sandwich, what nobody reads, and two signatures."""
    rng = np.random.default_rng(2)
    m = ModelBuilder("channels_first")
    m.tensor("x", (1, 2, 7, 6), **NUMBERS)
    m.tensor("unused", (3,), **NUMBERS)
    m.tensor("to last", (4,), "int32", data=[0, 2, 3, 1])
    m.tensor("to first", (4,), "int32", data=[0, 3, 1, 2])
    scales = (0.01 * rng.uniform(0.5, 1.5, 4)).tolist() if per_channel else 0.01
    biases = (0.05 * np.asarray(scales)).tolist()
    m.tensor("w", (4, 3, 3, 2), scales=scales, axis=0, data=rng.integers(-127, 128, (4, 3, 3, 2)))
    m.tensor("b", (4,), "int32", scales=biases, data=rng.integers(-500, 500, 4))
    for name in ("last", "once more last"):
        m.tensor(name, (1, 7, 6, 2) if name == "last" else (1, 7, 6, 4), **NUMBERS)
    m.tensor("made", (1, 7, 6, 4), **NUMBERS)
    for name in ("first", "first relu", "dangling", "y"):
        m.tensor(name, (1, 4, 7, 6), **NUMBERS)
    m.tensor("again", (1, 7, 6, 4), **NUMBERS)
    window = {"padding": 0, "stride_w": 1, "stride_h": 1, "fused_activation_function": 0}
    m.operator("TRANSPOSE", ["x", "to last"], ["last"], options={})
    m.operator("CONV_2D", ["last", "w", "b"], ["made"], options=window, version=version)
    m.operator("TRANSPOSE", ["made", "to first"], ["first"], options={})
    m.operator("RELU", ["first"], ["first relu"])
    m.operator("ABS", ["first relu"], ["dangling"], options={})
    m.operator("TRANSPOSE", ["first relu", "to last"], ["once more last"], options={})
    m.operator("ADD", ["once more last", "made"], ["again"], options={"fused_activation_function": 0}, version=2)
    m.operator("TRANSPOSE", ["again", "to first"], ["y"], options={})
    values = m.inputs("x").outputs("y").values()
    edges = {"inputs": [{"name": "x", "tensor_index": 0}], "outputs": [{"name": "y", "tensor_index": 12}]}
    keys = ("serving_default", "another")
    values["signature_defs"] = [{**edges, "signature_key": key, "subgraph_index": 0} for key in keys]
    return encode(values)


@pytest.mark.parametrize("per_channel", [True, False])
def test_channels_first(tmp_path: Path, per_channel: bool) -> None:
    verified(tmp_path, channels_first(per_channel=per_channel))
    network = read(tmp_path / "net.tflite")
    graph = optimize(network)
    assert sum(isinstance(n.op, Transpose) for n in network.nodes) == 4
    assert sum(isinstance(n.op, Transpose) for n in graph.nodes) == 2  # what the API asks for
    assert "unused" not in graph.tensors
    assert "dangling" not in graph.tensors


# Dilation, as converters write it for 2-D convolutions of Keras.


def dilated() -> bytes:
    rng = np.random.default_rng(3)
    m = ModelBuilder("dilated")
    m.tensor("x", (1, 9, 8, 2), **NUMBERS)
    m.tensor("w", (4, 3, 3, 2), scales=0.01, data=rng.integers(-127, 128, (4, 3, 3, 2)))
    m.tensor("b", (4,), "int32", scales=0.0005, data=rng.integers(-500, 500, 4))
    for name, values in (("block", [2, 2]), ("paddings", [[2, 3], [2, 2]]), ("crops", [[0, 1], [0, 0]])):
        m.tensor(name, np.shape(values), "int32", data=values)
    m.tensor("dealt", (4, 7, 6, 2), **NUMBERS)
    m.tensor("made", (4, 5, 4, 4), **NUMBERS)
    m.tensor("y", (1, 9, 8, 4), **NUMBERS)
    window = {"padding": 1, "stride_w": 1, "stride_h": 1, "fused_activation_function": RELU}
    m.operator("SPACE_TO_BATCH_ND", ["x", "block", "paddings"], ["dealt"], options={}, version=2)
    m.operator("CONV_2D", ["dealt", "w", "b"], ["made"], options=window, version=3)
    m.operator("BATCH_TO_SPACE_ND", ["made", "block", "crops"], ["y"], options={}, version=2)
    return m.inputs("x").outputs("y").build()


def test_dilation_written_as_a_batch(tmp_path: Path) -> None:
    verified(tmp_path, dilated())
    [node] = optimize(read(tmp_path / "net.tflite")).nodes
    assert isinstance(node.op, Conv2D)
    assert node.op.window.dilation == (2, 2)


# Shapes computed in the network, as Keras writes a Flatten of unknown batch; floats moved before they are quantized.


def flatten() -> bytes:
    m = ModelBuilder("flatten")
    m.tensor("x", (1, 4, 5, 2), "float32")
    m.tensor("flipped", (1, 5, 4, 2), "float32")
    m.tensor("axes", (4,), "int32", data=[0, 2, 1, 3])
    m.tensor("quantized", (1, 5, 4, 2), **NUMBERS)
    for name, data in (("zero", [0]), ("one", [1]), ("rest", 40)):
        m.tensor(name, np.shape(data), "int32", data=data)
    m.tensor("shape", (4,), "int32")
    m.tensor("batch", (), "int32")
    m.tensor("wanted", (2,), "int32")
    m.tensor("y", (1, 40), **NUMBERS)
    m.operator("TRANSPOSE", ["x", "axes"], ["flipped"], options={})
    m.operator("QUANTIZE", ["flipped"], ["quantized"], options={})
    m.operator("SHAPE", ["quantized"], ["shape"], options={"out_type": 2})
    m.operator("STRIDED_SLICE", ["shape", "zero", "one", "one"], ["batch"], options={"shrink_axis_mask": 1})
    m.operator("PACK", ["batch", "rest"], ["wanted"], options={"values_count": 2, "axis": 0})
    m.operator("RESHAPE", ["quantized", "wanted"], ["y"])
    return m.inputs("x").outputs("y").build()


@pytest.mark.parametrize("more", [(), ("--io", "int8"), ("--io", "float")], ids=str)
def test_shapes_computed_in_the_network(tmp_path: Path, more: tuple[str, ...]) -> None:
    verified(tmp_path, flatten(), *more)
