"""The .tflite reader: against two foreign readers of the format, against real files, and against damaged ones."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import models
from tests.draws import graph_of
from tests.tflite_builder import ModelBuilder, encode
from tinycompiler.errors import ModelError
from tinycompiler.ops import Numerics
from tinycompiler.readers import schema
from tinycompiler.readers.blockers import problems
from tinycompiler.readers.file import File
from tinycompiler.readers.flatbuffer import FIELDS
from tinycompiler.readers.tflite import load, parse
from tinycompiler.tensor import DType, Tensor

REAL = Path(os.environ.get("TINYCOMPILER_MODELS", Path(__file__).parents[2] / "shared" / "models"))
needs_real = pytest.mark.skipif(
    not (REAL / "kws.tflite").exists(), reason=f"no MLPerf Tiny networks in {REAL}; set TINYCOMPILER_MODELS"
)


def tensors(file: File) -> dict[str, Tensor]:
    return {tensor.name: tensor for tensor in file.subgraphs[0].tensors}


def sentences(file: File, *, custom: Sequence[str] = ()) -> list[str]:
    return [str(blocker) for blocker in problems(file, custom=custom)]


def read(builder: ModelBuilder, **change: Any) -> File:
    return parse(encode({**builder.values(), **change}), name="model.tflite")


# The schema, against the module that flatc generated for ai-edge-litert.


@pytest.fixture(scope="module")
def generated() -> Any:
    return pytest.importorskip("ai_edge_litert.schema_py_generated")


@pytest.mark.parametrize(
    ("enum", "names"),
    [
        ("BuiltinOperator", schema.OPERATORS),
        ("TensorType", schema.TENSOR_TYPES),
        ("Padding", schema.PADDINGS),
        ("ActivationFunctionType", schema.ACTIVATIONS),
    ],
)
def test_enums_are_the_generated_ones(generated: Any, enum: str, names: tuple[str, ...]) -> None:
    theirs = {name: value for name, value in vars(getattr(generated, enum)).items() if not name.startswith("_")}
    ours = {name: value for value, name in enumerate(names)}
    assert ours == {name: value for name, value in theirs.items() if value < len(names)}


@pytest.mark.parametrize("union", schema.UNIONS)
def test_unions_are_the_generated_ones(generated: Any, union: str) -> None:
    for value, name in enumerate(schema.UNIONS[union]):
        assert getattr(getattr(generated, union), name or "NONE") == value


@pytest.mark.parametrize("table", schema.TABLES)
def test_slots_are_the_generated_ones(generated: Any, table: str) -> None:
    """flatc's writers tell a field's slot: {table}Add{Field}(builder, value) calls builder.Prepend..Slot(slot, ..)."""

    class Recorder:
        def __getattr__(self, method: str) -> Callable[..., None]:
            return lambda slot, _value, default: calls.append((method, slot, default))

    calls: list[tuple[str, int, Any]] = []
    for field in FIELDS[table]:
        if field.kind == "-":
            continue
        calls.clear()
        camel = "".join(part[:1].upper() + part[1:] for part in field.name.split("_"))
        getattr(generated, f"{table}Add{camel}")(Recorder(), 0)
        [(method, slot, default)] = calls
        words = {"scalar": field.of.replace("float32", "Float32").capitalize()}
        assert slot == field.slot, field.name
        assert default == field.default
        assert method == f"Prepend{words.get(field.kind, 'UOffsetTRelative')}Slot", field.name


# One-operator models, judged by both interpreters.


def random_inputs(file: File, rng: np.random.Generator) -> list[Any]:
    arrays = []
    for name in file.subgraphs[0].inputs:
        tensor = tensors(file)[name]
        is_float = tensor.dtype is DType.FLOAT32
        values = rng.normal(0, 2, tensor.shape) if is_float else rng.integers(-128, 128, tensor.shape)
        arrays.append(values.astype(tensor.dtype.numpy))
    return arrays


@pytest.mark.parametrize("make", models.EVERY_OPERATOR, ids=lambda make: make.__name__)
def test_built_models_run_elsewhere_and_are_read_back(make: Callable[[np.random.Generator], bytes]) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    tflm = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    rng = np.random.default_rng(1)
    data = make(rng)
    file = parse(data, name="model.tflite")
    assert problems(file) == []
    [operator] = file.subgraphs[0].operators
    assert operator.name == {"requantize": "QUANTIZE"}.get(make.__name__, make.__name__.upper())
    judge = litert.Interpreter(model_content=data, experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF)
    judge.allocate_tensors()
    micro = tflm.Interpreter.from_bytes(data)
    for index, (details, values) in enumerate(zip(judge.get_input_details(), random_inputs(file, rng), strict=True)):
        judge.set_tensor(details["index"], values)
        micro.set_input(values, index)
    judge.invoke()
    micro.invoke()
    output = judge.get_tensor(judge.get_output_details()[0]["index"])
    assert output.shape == micro.get_output(0).shape == tensors(file)["output"].shape
    for details in judge.get_tensor_details():
        if not details["name"]:  # a temporary of the interpreter's own
            continue
        ours = tensors(file)[details["name"]]
        assert tuple(details["shape"]) == ours.shape
        assert details["dtype"] == ours.dtype.numpy
        if ours.quantization:
            np.testing.assert_array_equal(details["quantization_parameters"]["scales"], ours.quantization.scales)
            assert details["quantization"][1] in (0, ours.zero_point)
        if ours.is_constant:
            np.testing.assert_array_equal(judge.get_tensor(details["index"]), ours.values)


def test_options_have_every_default() -> None:
    file = parse(models.conv_2d(np.random.default_rng(0), stride=(2, 1)), name="model.tflite")
    options = file.subgraphs[0].operators[0].options
    assert options == {
        "padding": 0,
        "stride_w": 1,
        "stride_h": 2,
        "fused_activation_function": 0,
        "dilation_w_factor": 1,
        "dilation_h_factor": 1,
        "quantized_bias_type": 0,
    }


# Real files.


def test_the_bundled_digits_classifier_is_right() -> None:
    """As computed elsewhere; that the emulated board computes the same is another test's matter."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    path = Path(__file__).parent / "models" / "digits.tflite"
    file = load(path)
    assert problems(file) == []
    assert sum(tensor.bytes for tensor in tensors(file).values() if tensor.is_constant) < 12_000
    held_out = np.load(path.with_name("digits_heldout.npz"))
    judge = litert.Interpreter(
        model_content=path.read_bytes(), experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF
    )
    judge.allocate_tensors()
    answers = []
    for image in held_out["inputs"]:
        judge.set_tensor(judge.get_input_details()[0]["index"], image[None])
        judge.invoke()
        answers.append(judge.get_tensor(judge.get_output_details()[0]["index"]).argmax())
    assert np.mean(answers == held_out["labels"]) > 0.95


@needs_real
@pytest.mark.models
@pytest.mark.parametrize(
    ("name", "operators", "shape"),
    [("kws", 13, (1, 49, 10, 1)), ("vww", 31, (1, 96, 96, 3)), ("ic", 16, (1, 32, 32, 3)), ("ad", 10, (1, 640))],
)
def test_real_networks(name: str, operators: int, shape: tuple[int, ...]) -> None:
    file = load(REAL / f"{name}.tflite")
    assert problems(file) == []
    main = file.subgraphs[0]
    assert len(main.operators) == operators
    source = tensors(file)[main.inputs[0]]
    assert (source.shape, source.dtype) == (shape, DType.INT8)
    weights = tensors(file)[main.operators[0].inputs[1] or ""]
    assert weights.values.dtype == np.int8
    assert not weights.values.flags.writeable
    assert all(operator.version >= 1 for operator in main.operators)


@needs_real
@pytest.mark.models
@pytest.mark.parametrize("path", sorted(REAL.glob("*/*.tflite")), ids=lambda path: path.stem)
def test_compressed_networks(path: Path) -> None:
    assert sentences(load(path)) == []


# Single features.


@pytest.mark.parametrize("bits", [4, 2])
def test_parts_of_bytes_are_the_values_that_litert_computes_with(bits: int) -> None:
    """The same weights as INT4 or INT2 and as INT8 give the same outputs; an odd row makes rows run on across bytes."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    rng = np.random.default_rng(0)
    weights = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (3, 5), np.int8)
    outputs = []
    for kind in (f"INT{bits}", "INT8"):
        model = ModelBuilder("parts")
        model.tensor("input", (1, 5), scales=0.1, zero_points=3)
        model.tensor("weights", (3, 5), kind, scales=0.1, data=weights)
        model.tensor("output", (1, 3), scales=0.1)
        model.operator("FULLY_CONNECTED", ["input", "weights", None], ["output"], options={})
        file = read(model.inputs("input").outputs("output"))
        assert sentences(file) == []
        np.testing.assert_array_equal(tensors(file)["weights"].values, weights)
        judge = litert.Interpreter(
            model_content=model.build(), experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF
        )
        judge.allocate_tensors()
        judge.set_tensor(judge.get_input_details()[0]["index"], np.array([[1, -50, 127, 9, -128]], np.int8))
        judge.invoke()
        outputs.append(judge.get_tensor(judge.get_output_details()[0]["index"]).tolist())
    assert outputs[0] == outputs[1]


def small() -> ModelBuilder:
    """RELU from one int8 tensor to another."""
    model = ModelBuilder("small")
    model.tensor("input", (1, 4), scales=0.1)
    model.tensor("output", (1, 4), scales=0.1)
    return model.operator("RELU", ["input"], ["output"]).inputs("input").outputs("output")


def changed_input(**change: Any) -> File:
    """`small`, with other words in the input tensor's table."""
    model = small()
    model.values()["subgraphs"][0]["tensors"][0].update(change)
    return read(model)


def test_names_are_filled_and_made_unique() -> None:
    model = ModelBuilder("names")
    for name in "abc":
        model.tensor(name, (1,), scales=0.1)
    model.operator("RELU", ["a"], ["b"]).operator("RELU", ["b"], ["c"]).inputs("a").outputs("c")
    for table, name in zip(model.values()["subgraphs"][0]["tensors"], ["", "x", "x"], strict=True):
        table["name"] = name
    main = read(model).subgraphs[0]
    assert [tensor.name for tensor in main.tensors] == ["tensor_0", "x", "x_2"]
    assert [(o.inputs, o.outputs) for o in main.operators] == [(("tensor_0",), ("x",)), (("x",), ("x_2",))]


def test_parts_of_bytes_elsewhere_than_in_weights() -> None:
    values = np.array([[-8, 7, 1], [0, -1, 3], [5, -7, 2]], np.int8)
    model = small()
    model.tensor("weights", values.shape, "INT4", scales=1.0, data=values)
    model.operator("RELU", ["weights"], ["output"])
    file = read(model)
    np.testing.assert_array_equal(tensors(file)["weights"].values, values)
    assert file.subgraphs[0].details["weights"].type == "INT4"
    assert (
        "INT4, which is read as the weights of CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED only" in sentences(file)[0]
    )


@pytest.mark.parametrize(("kind", "wanted"), [("INT4", 8), ("INT2", 4)])
def test_parts_of_bytes_that_are_too_few(kind: str, wanted: int) -> None:
    model = small()
    model.tensor("weights", (3, 5), kind, scales=0.1, data=bytes(wanted - 1))
    model.operator("FULLY_CONNECTED", ["input", "weights", None], ["output"], options={})
    assert (
        f"'weights' ({kind.lower()}): the data has {wanted - 1} bytes instead of {wanted}" in sentences(read(model))[0]
    )


def test_buffers_behind_the_flatbuffer() -> None:
    values = np.arange(-3, 3, dtype=np.int32)
    model = small()
    model.tensor("far", values.shape, "int32", data=values)
    model.operator("RELU", ["far"], ["output"])
    buffers = model.values()["buffers"]
    place = {"offset": 10**6, "size": values.nbytes}
    size = len(encode({**model.values(), "buffers": [buffers[0], place]}))
    place["offset"] = size + 3  # unaligned on purpose
    data = encode({**model.values(), "buffers": [buffers[0], place]}) + bytes(3) + values.tobytes()
    file = parse(data, name="model.tflite")
    np.testing.assert_array_equal(tensors(file)["far"].values, values)
    assert tensors(file)["far"].values.flags.aligned
    assert problems(file) == []
    assert "'far'" in sentences(parse(data[:-1], name="model.tflite"))[0]


def test_variable_tensors_and_empty_constants() -> None:
    model = small()
    model.tensor("state", (1, 4), scales=0.1, variable=True)
    model.tensor("nothing", (0,), "int32", data=[])
    model.operator("RELU", ["state", "nothing"], ["output"])
    file = read(model)
    assert tensors(file)["state"].variable
    assert tensors(file)["nothing"].values.shape == (0,)
    assert problems(file) == []


def test_a_vector_of_scales_beside_a_wrong_axis_is_accepted() -> None:
    model = small()
    model.tensor("bias", (3,), "int32", scales=[0.1, 0.2, 0.3], axis=3, data=[1, 2, 3])
    assert tensors(read(model))["bias"].quantization.axis == 0  # type: ignore[union-attr]


def test_the_greater_operator_code_counts() -> None:
    for old, new, name in [(19, 0, "RELU"), (127, 150, "GELU"), (0, 19, "RELU"), (0, 999, "BUILTIN_999")]:
        codes = [{"deprecated_builtin_code": old, "builtin_code": new}]
        assert read(small(), operator_codes=codes).subgraphs[0].operators[0].name == name


def test_signatures_name_tensors() -> None:
    ends = {"inputs": [{"name": "x", "tensor_index": 0}], "outputs": [{"name": "y", "tensor_index": 1}]}
    [signature] = read(small(), signature_defs=[{**ends, "signature_key": "serve"}]).signatures
    assert (signature.key, signature.inputs, signature.outputs) == ("serve", (("x", "input"),), (("y", "output"),))


# What a network as a whole says and is not supported.


def float_model(weights: str = "float32", through: str | None = None) -> ModelBuilder:
    """A fully connected layer in float32, whose weights are `through` an operator first."""
    model = ModelBuilder("float")
    model.tensor("input", (1, 4), "float32")
    scales = 0.1 if weights == "int8" else None
    model.tensor("weights", (2, 4), weights, scales=scales, data=np.ones((2, 4), weights.lower()))
    model.tensor("output", (1, 2), "float32")
    if through:
        model.tensor("dequantized", (2, 4), "float32")
        model.operator(through, ["weights"], ["dequantized"])
    model.operator("FULLY_CONNECTED", ["input", "dequantized" if through else "weights", None], ["output"], options={})
    return model.inputs("input").outputs("output")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (float_model(), "a float32 model"),
        (float_model("float16", "DEQUANTIZE"), "float16 weights"),
        (float_model("int8"), "dynamic-range (hybrid)"),
        (float_model("int8", "DEQUANTIZE"), "dynamic-range (hybrid)"),
    ],
)
def test_float_networks_are_told_apart(model: ModelBuilder, words: str) -> None:
    [sentence] = sentences(read(model))
    assert words in sentence
    assert "FULLY_CONNECTED" in sentence
    assert "converter.representative_dataset" in sentence
    assert "TFLITE_BUILTINS_INT8" in sentence


def test_float_edges_are_fine_and_a_float_tail_is_not() -> None:
    model = ModelBuilder("edges")
    for name, dtype in [("input", "float32"), ("a", "int8"), ("b", "int8"), ("output", "float32"), ("tail", "float32")]:
        model.tensor(name, (1, 4), dtype, scales=0.1 if dtype == "int8" else None)
    model.operator("QUANTIZE", ["input"], ["a"]).operator("RELU", ["a"], ["b"]).operator(
        "DEQUANTIZE", ["b"], ["output"]
    )
    assert problems(read(model.inputs("input").outputs("output"))) == []
    model.operator("SOFTMAX", ["output"], ["tail"], options={"beta": 1.0}).outputs("tail")
    [sentence] = sentences(read(model))
    assert "softmax_3 (SOFTMAX version 1)" in sentence
    assert "quantized elsewhere" in sentence


def test_a_scale_beside_floats_means_nothing() -> None:
    model = ModelBuilder("edge")
    model.tensor("input", (1, 4), "float32", scales=-0.0)
    model.tensor("output", (1, 4), scales=0.1)
    model.operator("QUANTIZE", ["input"], ["output"]).inputs("input").outputs("output")
    assert [node.op.name for node in graph_of(model.build(), Numerics.LITERT).nodes] == ["QUANTIZE"]


@pytest.mark.parametrize(
    ("shape", "signature", "fine"),
    [
        ([1, 4], [-1, 4], True),
        ([1, 4], [1, 4], True),
        ([1, 4], [-1, -1], True),  # somebody fixed it
        ([1, 1], [-1, -1], False),
        ([1, 1], [1, -1], False),
        ([0, 4], None, False),
        ([-1, 4], None, False),
        ([1, 0], [1, -1], False),
    ],
)
def test_dynamic_shapes(shape: list[int], signature: list[int] | None, fine: bool) -> None:
    found = sentences(changed_input(shape=shape, shape_signature=signature))
    assert [("'input' (int8): dynamic shape" in sentence) for sentence in found] == ([] if fine else [True])


def test_unknown_rank() -> None:
    [sentence] = sentences(changed_input(shape=[], has_rank=False))
    assert "of unknown rank" in sentence
    assert problems(changed_input(shape=[], has_rank=True)) == []


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        ({"scale": [float("nan")], "zero_point": [0]}, "a scale of nan"),
        ({"scale": [-1.0], "zero_point": [0]}, "a scale of -1.0"),
        ({"scale": [0.0], "zero_point": [0]}, "a scale of 0.0"),
        ({"scale": [1.0], "zero_point": [128]}, "a zero point outside -128 to 127"),
        ({"scale": [1.0] * 4, "zero_point": [0, 0, 1, 0], "quantized_dimension": 1}, "zero points other than 0"),
        ({"scale": [1.0] * 4, "zero_point": [0, 0], "quantized_dimension": 1}, "2 zero points for 4 scales"),
    ],
)
def test_quantization_that_no_converter_writes(quantization: dict[str, Any], words: str) -> None:
    [sentence] = sentences(changed_input(quantization=quantization))
    assert words in sentence


def test_all_at_once_and_only_what_is_used() -> None:
    model = small()
    model.tensor("unused", (0, -1), "STRING")
    model.tensor("text", (1,), "STRING")
    model.tensor("sparse", (4,), sparsity={"traversal_order": [0]}, data=b"xy")
    model.tensor("elsewhere", (4,), external_buffer=1)
    model.operator("CUSTOM:FlexErf", ["text", "sparse"], ["output"], custom_options=b"abc")
    model.operator("CUSTOM:Mine", ["elsewhere"], ["output"]).operator("WHILE", ["input"], ["output"])
    file = read(model)
    text = "\n".join(sentences(file))
    assert file.subgraphs[0].operators[1].options == {"custom_options": b"abc"}
    for words in ("STRING", "stored sparse", "another file", "SELECT_TF_OPS", "custom operator 'Mine'", "control flow"):
        assert words in text
    assert "unused" not in text
    assert "'Mine'" not in "\n".join(sentences(file, custom=["Mine"]))


# Files that are something else, or damaged.


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes only"),
        (b"PK\x03\x04....model.weights.h5", "Keras archive"),
        (b"PK\x03\x04....", "a zip archive; unpack it"),
        (b"\x89HDF\r\n\x1a\n....", "HDF5"),
        (b"\x08\x07\x12\x07pytorch", "ONNX"),
        (b"\x08\x01\x12\x80....", "SavedModel"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\n<!DOCTYPE html>", "web page"),
        (b"\x1c\x00\x00\x00TFL2....", "format version b'TFL2'"),
        (b"alignas(16) const unsigned char model[] = {", "C source"),
        (b"\xfe\xed\xfa\xce\x00\x00\x00\x00", "fe ed fa ce"),
    ],
)
def test_other_formats_are_told(data: bytes, words: str) -> None:
    with pytest.raises(ModelError, match=r"^x\.bin: not a \.tflite file") as caught:
        parse(data, name="x.bin")
    assert words in str(caught.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        load(tmp_path / "none.tflite")
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(ModelError, match="from_saved_model"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "schema version 2"),
        ({"subgraphs": []}, "no network"),
        ({"operator_codes": []}, "operator 0"),
        ({"description": b"\xff".decode("latin1"), "signature_defs": [{"subgraph_index": 7}]}, "signature ''"),
    ],
)
def test_broken_tables_name_the_place(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=r"^model.tflite: broken or truncated .* while reading") as caught:
        read(small(), **change)
    assert words in str(caught.value)


def test_options_of_another_operator_are_refused() -> None:
    model = small()
    model.operator("ADD", ["input", "input"], ["output"], options={})
    model.values()["subgraphs"][0]["operators"][1]["builtin_options"] = ("MulOptions", {})
    with pytest.raises(ModelError, match="MulOptions instead of AddOptions, while reading operator 1 ADD"):
        read(model)


def test_entries_that_point_at_each_other_cannot_multiply() -> None:
    """A vector of a thousand tensors which are all the same one, with a vector of its own."""
    model = small()
    model.tensor("wide", [1] * 1000, scales=0.1)
    subgraph = model.values()["subgraphs"][0]
    subgraph["tensors"] += [{"name": "x"}] * 1000
    data = bytearray(encode(model.values()))
    vector = data.index((1003).to_bytes(4, "little")) + 4
    wide = int.from_bytes(data[vector + 8 : vector + 12], "little") + vector + 8
    for place in range(vector, vector + 4 * 1003, 4):
        data[place : place + 4] = (wide - place).to_bytes(4, "little")
    with pytest.raises(ModelError, match="more than the file's size allows"):
        parse(bytes(data), name="model.tflite")


def survives(data: bytes) -> bool:
    """Whether the file is read; anything but a ModelError is a failure of the test."""
    try:
        problems(parse(data, name="model.tflite"))
    except ModelError:
        return False
    return True


def fuzz(data: bytes, rng: np.random.Generator, flips: int) -> list[bool]:
    """Every outcome of `flips` damaged copies; half of them near the end, where the tables lie that matter."""
    outcomes = []
    for trial in range(flips):
        damaged = bytearray(data)
        start = 0 if trial % 2 else max(0, len(data) - 8000)
        for place in rng.integers(start, len(data), rng.integers(1, 8)):
            damaged[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(256))))
        outcomes.append(survives(bytes(damaged)))
    return outcomes


def test_damaged_small_files_are_read_or_refused() -> None:
    rng = np.random.default_rng(0)
    for make in models.EVERY_OPERATOR:
        data = make(rng)
        assert survives(data)
        outcomes = fuzz(data, rng, 40)
        assert True in outcomes
        assert False in outcomes
        for length in range(0, len(data), 97):
            survives(data[:length])


@needs_real
@pytest.mark.models
def test_damaged_real_files_are_read_or_refused() -> None:
    rng = np.random.default_rng(0)
    data = (REAL / "kws.tflite").read_bytes()
    fuzz(data, rng, 120)
    for length in (*range(64), *rng.integers(64, len(data), 60)):
        assert not survives(data[:length])
