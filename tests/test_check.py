"""`check`: a model with every kind of unsupported thing gives one complete list; versions; several networks."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands import Said, needs_compiler, say
from tests.test_report import validate
from tests.tflite_builder import ModelBuilder, encode
from tinycompiler.readers import variables
from tinycompiler.readers.operators import OPERATORS
from tinycompiler.readers.signatures import as_judged, chosen
from tinycompiler.readers.supported import NEWEST, newest
from tinycompiler.readers.tflite import parse

Names = tuple[str, ...]
Options = Mapping[str, Any]
WINDOW = {"padding": 1, "stride_w": 1, "stride_h": 1, "fused_activation_function": 0}


class Model(ModelBuilder):
    """A model in the making, whose tensors are called t0, t1, ...; all that nobody makes are inputs."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.nobodys: set[int] = set()
        """Tensors that are made by nobody and no inputs."""

    def t(self, shape: Sequence[int] = (1, 4), dtype: str = "int8", **more: Any) -> str:
        if dtype in ("int8", "uint8", "int16") and "quantization" not in more:
            more = {"scales": 0.1, **more}
        return self.tensor(f"t{len(self._tensors)}", shape, dtype, **more)

    def op(self, name: str, inputs: Sequence[str | None], outputs: Sequence[str], **more: Any) -> str:
        """The name of its node."""
        self.operator(name, inputs, outputs, **{"options": {}, **more})
        return f"{name.removeprefix('CUSTOM:').lower()}_{len(self._operators) - 1}"

    def unary(self, name: str, source: Options, target: Options, **more: Any) -> tuple[Names, Names]:
        x, y = self.t(**source), self.t(**target)
        return (self.op(name, [x], [y], **more),), (x, y)

    def finish(self) -> dict[str, Any]:
        """The Model table: inputs are what nobody makes, outputs what nobody reads."""
        made = {i for o in self._operators for i in o["outputs"]}
        read = {i for o in self._operators for i in o["inputs"]} - {-1}
        loose = {i for i, t in enumerate(self._tensors) if t.get("buffer") or t.get("external_buffer")}
        self._inputs = sorted(read - made - loose - self.nobodys)
        self._outputs = sorted(made - read)
        return self.values()


@dataclass(frozen=True)
class Thing:
    """Something unsupported: how a model gets it, and what is to be said of it."""

    kind: str
    problem: str
    hint: str
    add: Callable[[Model], tuple[Names, Names]]
    """The nodes and the tensors that must be named, in this order."""


PLAIN: dict[str, Any] = {}
CONVERTER = "converter.representative_dataset"


def dense(m: Model, weights: str, **more: Any) -> tuple[Names, Names]:
    """A fully connected layer of float32 values; float16 weights are widened first."""
    x, y = m.t(dtype="float32"), m.t((1, 2), "float32")
    scales = {"scales": 0.1} if weights == "int8" else {}
    w = m.tensor(f"t{len(m._tensors)}", (2, 4), weights, data=np.ones((2, 4), weights), **scales)
    if weights != "float16":
        return (m.op("FULLY_CONNECTED", [x, w, None], [y]),), (w, x, y)
    wide = m.t((2, 4), "float32")
    first = m.op("DEQUANTIZE", [w], [wide])
    return (first, m.op("FULLY_CONNECTED", [x, wide, None], [y])), (w, x, wide, y)


def convolution(m: Model, options: Mapping[str, Any] = WINDOW, version: int = 1, **weights: Any) -> tuple[Names, Names]:
    x, y = m.t((1, 4, 4, 2)), m.t((1, 4, 4, 3))
    w = m.t((3, 1, 1, 2), **{"data": np.ones((3, 1, 1, 2), np.int8), **weights})
    return (m.op("CONV_2D", [x, w, None], [y], options={**WINDOW, **options}, version=version),), (x, w, y)


def one_of(names: Names, at: int) -> Names:
    return names[at : at + 1]


def of_weights(**weights: Any) -> Callable[[Model], tuple[Names, Names]]:
    """A convolution of which only the weights are to be named."""

    def add(m: Model) -> tuple[Names, Names]:
        nodes, tensors = convolution(m, **weights)
        return nodes, one_of(tensors, 1)

    return add


def of_input(**source: Any) -> Callable[[Model], tuple[Names, Names]]:
    """A RELU of which only the input is to be named."""

    def add(m: Model) -> tuple[Names, Names]:
        nodes, tensors = m.unary("RELU", source, PLAIN)
        return nodes, one_of(tensors, 0)

    return add


def of_output(**target: Any) -> Callable[[Model], tuple[Names, Names]]:
    def add(m: Model) -> tuple[Names, Names]:
        nodes, tensors = m.unary("RELU", PLAIN, target)
        return nodes, one_of(tensors, 1)

    return add


def several(name: str, count: int, **more: Any) -> Callable[[Model], tuple[Names, Names]]:
    """Operators of one name: one cause."""

    def add(m: Model) -> tuple[Names, Names]:
        found = [m.unary(name, PLAIN, PLAIN, **more) for _ in range(count)]
        return tuple(n for nodes, _ in found for n in nodes), tuple(t for _, tensors in found for t in tensors)

    return add


def one(name: str, *shapes: Sequence[int], output: Sequence[int] = (1, 4), **more: Any) -> Callable[[Model], Any]:
    """An operator of int8 inputs of these shapes."""

    def add(m: Model) -> tuple[Names, Names]:
        ends = [m.t(shape) for shape in shapes] + [m.t(output)]
        return (m.op(name, ends[:-1], ends[-1:], **more),), tuple(ends)

    return add


def sparse(m: Model) -> tuple[Names, Names]:
    """Sparse weights through DENSIFY: one cause."""
    x, y, made = m.t(), m.t((1, 2)), m.t((2, 4))
    w = m.t((2, 4), data=b"xy", sparsity={"traversal_order": [0, 1]})
    node = m.op("DENSIFY", [w], [made])
    m.op("FULLY_CONNECTED", [x, made, None], [y])
    return (node,), (w,)


def padded(m: Model) -> tuple[Names, Names]:
    x, widths, y = m.t((2, 2)), m.t((2, 2), "int32"), m.t((4, 4))
    return (m.op("PAD", [x, widths], [y]),), (x, widths, y)


def unknown_shape(m: Model) -> tuple[Names, Names]:
    x, y = m.t(), m.t((7,), "int32")
    return (m.op("SHAPE", [x], [y]),), (x, y)


def unmade(m: Model) -> tuple[Names, Names]:
    nodes, tensors = m.unary("RELU", PLAIN, PLAIN)
    m.nobodys.add(len(m._tensors) - 2)
    return nodes, tensors


def made_twice(m: Model) -> tuple[Names, Names]:
    x, y = m.t(), m.t()
    m.op("RELU", [x], [y])
    return (m.op("ABS", [x], [y]),), (x, y)


def unassigned(m: Model) -> tuple[Names, Names]:
    handle, y = m.t((), "RESOURCE"), m.t()
    return (m.op("READ_VARIABLE", [handle], [y]),), (handle, y)


def filled(m: Model) -> tuple[Names, Names]:
    """Values of two bytes that differ: no kernel fills with them."""
    x, y = m.t((4,), "int16"), m.t((5,), "int16")
    widths, value = m.t((1, 2), "int32", data=[[1, 0]]), m.t((), "int16", data=300)
    return (m.op("PADV2", [x, widths, value], [y]),), (x, widths, value, y)


def summed(m: Model) -> tuple[Names, Names]:
    x, axis, y = m.t(), m.t((1,), "int32", data=[1]), m.t((1,))
    return (m.op("SUM", [x, axis], [y]),), (x, axis, y)


NAN = {"quantization": {"scale": [float("nan")], "zero_point": [0]}}
FAR = {"quantization": {"scale": [0.1], "zero_point": [300]}}
FEW = {"quantization": {"scale": [0.1, 0.1], "zero_point": [0, 0], "quantized_dimension": 0}}
UNEVEN = {"quantization": {"scale": [0.1] * 3, "zero_point": [0, 1], "quantized_dimension": 0}}
BLOCKS = {"quantization": {"details": ("BlockwiseQuantization", {})}}
THINGS = (
    Thing("float", "dynamic-range (hybrid)", "add a representative dataset", lambda m: dense(m, "int8")),
    Thing("float", "float16 weights", "take out converter.target_spec.supported_types", lambda m: dense(m, "float16")),
    Thing("type", "values of type FLOAT64, wanted int8", CONVERTER, of_input(dtype="FLOAT64")),
    Thing("type", "values of type STRING", CONVERTER, of_output(dtype="STRING")),
    Thing("type", "INT2, which is read as the weights of FULLY", "to 8 bits", of_weights(dtype="INT2", scales=0.1)),
    Thing("type", "activations of type INT4", "to 8 bits", of_input(dtype="INT4", scales=0.1)),
    Thing("shape", "dynamic shape [1, -1]", "TensorSpec", of_input(shape=(1, 1), shape_signature=(1, -1))),
    Thing("shape", "dynamic shape [0, 4]", "TensorSpec", of_output(shape=(0, 4))),
    Thing("shape", "shape of 9 axes, wanted at most 8", "convert the network again", of_output(shape=(1,) * 9)),
    Thing("shape", "[4096, 4096]", "make the network smaller", of_output(shape=(4096, 4096))),
    Thing("quantization", "BlockwiseQuantization", "quantize plainly", of_weights(**BLOCKS)),
    Thing("quantization", "a scale of nan", "convert the network again", of_input(**NAN)),
    Thing("quantization", "a zero point outside -128 to 127", "convert the network again", of_output(**FAR)),
    Thing("quantization", "2 scales for 3 channels along axis 0", "convert the network again", of_weights(**FEW)),
    Thing("quantization", "2 zero points for 3 scales", "convert the network again", of_weights(**UNEVEN)),
    Thing("storage", "stored sparse", "EXPERIMENTAL_SPARSITY", sparse),
    Thing("storage", "has 5 bytes instead of 6", "is the file complete?", of_weights(data=b"12345")),
    Thing("storage", "lies in another file", "without external", of_weights(data=None, external_buffer=1)),
    Thing("operator", "EMBEDDING_LOOKUP is not supported", "`tinycompiler ops` lists", several("EMBEDDING_LOOKUP", 3)),
    Thing("operator", "LSTM is not supported", "unroll=True", several("LSTM", 1)),
    Thing("operator", "STABLEHLO_ADD is not supported", "TFLite's own operators", several("STABLEHLO_ADD", 2)),
    Thing("custom", "custom operator 'Mine'", "allow_custom_ops", several("CUSTOM:Mine", 2, custom_options=b"abc")),
    Thing("custom", "custom operator 'FlexErf'", "SELECT_TF_OPS", several("CUSTOM:FlexErf", 1)),
    Thing("custom", "custom operator 'LceOther'", "larq-compute-engine 0.16", several("CUSTOM:LceOther", 12)),
    Thing("control flow", "control flow", "unroll", several("WHILE", 2)),
    Thing("control flow", "control flow", "take branches out", several("IF", 1)),
    Thing("version", "version 99, wanted 1 to 8", "update tinycompiler", lambda m: convolution(m, version=99)),
    Thing("version", "version 0, wanted 1 to 3", "convert the network again", several("TANH", 2, version=0)),
    Thing(
        "options",
        "the fused activation SIGN_BIT is not supported",
        "export it as an operator of its own",
        lambda m: convolution(m, {"fused_activation_function": 5}),
    ),
    Thing("options", "stride (0, 1)", "`tinycompiler ops` lists", lambda m: convolution(m, {"stride_h": 0})),
    Thing(
        "options",
        "its weights are shuffled",
        "export them in the default format",
        one("FULLY_CONNECTED", (1, 4), (2, 4), output=(1, 2), options={"weights_format": 1}),
    ),
    Thing("options", "its paddings is computed at run time", "export the network with constant", padded),
    Thing("options", "it has 1 inputs, and 2 are needed", "convert the network again", one("ADD", (1, 4))),
    Thing("options", "is no list of 2 sizes", "convert the network again", unknown_shape),
    Thing("state", "its variable has no VAR_HANDLE before it", "convert the network again", unassigned),
    Thing("tensors", "is int8 and", "`tinycompiler ops` lists", lambda m: m.unary("RELU", PLAIN, {"dtype": "uint8"})),
    Thing(
        "tensors",
        "has 4 scales; one per tensor is supported",
        "`tinycompiler ops` lists",
        lambda m: m.unary("RELU", {"scales": [0.1] * 4, "axis": 1}, PLAIN),
    ),
    Thing("tensors", "do not broadcast", "`tinycompiler ops` lists", one("ADD", (1, 4), (1, 3))),
    Thing("numerics", "reads int8 as uint8", "compile with --numerics tflm", summed),
    Thing("structure", "which nothing before it computes", "convert the network again", unmade),
    Thing("structure", "which has a value already", "convert the network again", made_twice),
    Thing("kernel", "filling with 300 of type int16", "`tinycompiler ops` lists", filled),
)


@pytest.fixture(scope="module")
def everything() -> tuple[bytes, list[tuple[Names, Names]]]:
    model = Model("everything")
    named = [thing.add(model) for thing in THINGS]
    return encode(model.finish()), named


def blockers(said: Said) -> list[dict[str, Any]]:
    validate(said.json, "check")
    found: list[dict[str, Any]] = said.json["blockers"]
    return found


def test_everything_unsupported_is_in_one_list(everything: Any, tmp_path: Path) -> None:
    data, named = everything
    path = tmp_path / "everything.tflite"
    path.write_bytes(data)
    said = say("check", path, "--json")
    assert (said.code, said.err) == (3, "")
    found = blockers(said)
    assert [b["kind"] for b in found] == [thing.kind for thing in THINGS]
    for thing, (nodes, tensors), blocker in zip(THINGS, named, found, strict=True):
        assert thing.problem in blocker["problem"]
        assert thing.hint in blocker["hint"]
        assert tuple(o["node"] for o in blocker["operators"]) == nodes, thing
        assert tuple(t["name"] for t in blocker["tensors"]) == tensors, thing


def test_the_list_is_stable_and_complete_in_text_too(everything: Any, tmp_path: Path) -> None:
    path = tmp_path / "everything.tflite"
    path.write_bytes(everything[0])
    found = blockers(say("check", path, "--json"))
    assert blockers(say("check", path, "--json")) == found
    first, *lines = say("check", path).out.splitlines()
    assert first == f"everything.tflite: {len(found)} blockers"
    assert lines == [f"  {b['text']}" for b in found]
    with_board = blockers(say("check", path, "-b", "bluepill", "--json"))
    assert [b["kind"] for b in with_board] == [b["kind"] for b in found]
    of_file = [f"everything.tflite: {b['text']}" for b in found if b["kind"] != "kernel"]
    assert say("compile", path, "-b", "bluepill").err.removeprefix("tinycompiler: ").splitlines() == of_file


def test_lines_name_node_version_tensor_and_type(everything: Any, tmp_path: Path) -> None:
    path = tmp_path / "everything.tflite"
    path.write_bytes(everything[0])
    for blocker in blockers(say("check", path, "--json")):
        text = blocker["text"]
        assert text.endswith(f": {blocker['problem']}; {blocker['hint']}")
        for o in blocker["operators"][:1]:
            assert o["node"] in text
            assert f"({o['operator']} version {o['version']})" in text
        for t in blocker["tensors"][:1]:
            assert f"'{t['name']}' ({t['type']})" in text
        assert len(text) < 1000


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.problem)
def test_alone_it_is_the_only_blocker(thing: Thing, tmp_path: Path) -> None:
    model = Model("alone")
    nodes, _ = thing.add(model)
    path = tmp_path / "alone.tflite"
    path.write_bytes(encode(model.finish()))
    [blocker] = blockers(say("check", path, "--json"))
    assert blocker["kind"] == thing.kind
    assert thing.problem in blocker["problem"]
    assert tuple(o["node"] for o in blocker["operators"]) == nodes


# Versions of operators.


def test_versions_are_those_that_litert_registers() -> None:
    """By the newest of its two resolvers; one of a later version it does not find."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    kinds = (litert.OpResolverType.BUILTIN_REF, litert.OpResolverType.BUILTIN)

    def is_found(name: str, version: int) -> bool:
        data = encode(versioned(name, version).finish())
        for kind in kinds:
            with suppress(ValueError):
                litert.Interpreter(model_content=data, experimental_op_resolver_type=kind)
                return True
        return False

    known = {*OPERATORS, *variables.OPERATORS, "SHAPE"}
    assert set(NEWEST) <= known
    for name in sorted(known):
        assert is_found(name, newest(name)), name
        assert not is_found(name, newest(name) + 1), name


def versioned(name: str, version: int) -> Model:
    model = Model("versioned")
    model.unary(name, PLAIN, PLAIN, version=version)
    return model


# Several networks in one file.


def two_networks() -> bytes:
    """Subgraph 0 adds 1 to four values, subgraph 2 takes the absolute of three; subgraph 1 has neither signature."""
    first, idle, second = Model("two"), ModelBuilder("idle"), ModelBuilder("second")
    buffers = [{}, {"data": np.array([[10, 10, 10, 10]], np.int8).tobytes()}]
    numbers = {"scales": 0.1}
    for name, more in (("x", {}), ("one", {"buffer": 1}), ("y", {})):
        first.tensor(name, (1, 4), **numbers, **more)
    first.operator("ADD", ["x", "one"], ["y"], options={})
    for name in ("a", "b"):
        second.tensor(name, (1, 3), **numbers)
        idle.tensor(name, (1, 2), **numbers)
    second.operator("ABS", ["a"], ["b"], options={})
    graphs = [m.inputs(i).outputs(o).values() for m, i, o in ((first, "x", "y"), (idle, "a", "b"), (second, "a", "b"))]
    codes = [*graphs[0]["operator_codes"], *graphs[2]["operator_codes"]]
    graphs[2]["subgraphs"][0]["operators"][0]["opcode_index"] = 1

    def signature(key: str, subgraph: int, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> dict[str, Any]:
        sides = [[{"name": name, "tensor_index": i} for name, i in side.items()] for side in (inputs, outputs)]
        return {"signature_key": key, "subgraph_index": subgraph, "inputs": sides[0], "outputs": sides[1]}

    return encode(
        {
            **graphs[0],
            "operator_codes": codes,
            "subgraphs": [g["subgraphs"][0] for g in graphs],
            "buffers": buffers,
            "signature_defs": [
                signature("plus", 0, {"start": 0}, {"sum": 2}),
                signature("magnitude", 2, {"signed": 0}, {"magnitude": 1}),
            ],
        }
    )


@pytest.fixture
def several_networks(tmp_path: Path) -> Path:
    path = tmp_path / "two.tflite"
    path.write_bytes(two_networks())
    return path


def test_the_first_network_is_taken_and_the_choice_is_told(several_networks: Path) -> None:
    said = say("check", several_networks)
    first, network = said.out.splitlines()
    assert "no blockers, 1 operators" in first
    assert network == (
        "network: subgraph 0 of 3, signature 'plus'; choose another by --signature, which may be 'magnitude'"
    )
    found = say("check", several_networks, "--json").json["network"]
    assert (found["subgraph"], found["subgraphs"]) == (0, 3)
    assert [(s["key"], s["subgraph"], s["inputs"], s["outputs"]) for s in found["signatures"]] == [
        ("plus", 0, ["start"], ["sum"]),
        ("magnitude", 2, ["signed"], ["magnitude"]),
    ]


def test_a_signature_chooses_a_network_and_names_its_edges(several_networks: Path) -> None:
    said = say("compile", several_networks, "-b", "bluepill", "--signature", "magnitude", "--stop", "graph")
    assert said.code == 0, said.err
    assert "signed: 1x3 int8" in said.out
    assert "magnitude = Abs" in said.out
    said = say("compile", several_networks, "-b", "bluepill")
    assert "network: subgraph 0 of 3, signature 'plus'; choose another" in said.out
    said = say("check", several_networks, "--signature", "magnitude")
    assert "network: subgraph 2 of 3, signature 'magnitude'; choose another" in said.out


def test_signatures_that_are_not_there(several_networks: Path) -> None:
    for command in ("check", "compile", "run", "verify"):
        said = say(command, several_networks, "-b", "bluepill", "--signature", "minus")
        assert (said.code, said.out) == (2, "")
        assert "signature 'minus' is not in the file; wanted one of 'plus', 'magnitude'" in said.err
    several_networks.write_bytes(encode(versioned("RELU", 1).finish()))
    said = say("check", several_networks, "--signature", "minus")
    assert said.code == 2
    assert "the file has none: leave --signature away" in said.err


def test_judges_get_the_chosen_network(several_networks: Path) -> None:
    """The exchange of subgraphs in the file's bytes, as the reader and the interpreters see it."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    data = as_judged(chosen(parse(several_networks.read_bytes(), name="two"), "magnitude"))
    exchanged = parse(data, name="two")
    assert [s.operators[0].name if s.operators else "" for s in exchanged.subgraphs] == ["ABS", "", "ADD"]
    assert exchanged.signatures == ()
    judge = litert.Interpreter(model_content=data)
    assert [tuple(d["shape"]) for d in judge.get_input_details()] == [(1, 3)]


@pytest.mark.emulator
@needs_compiler
@pytest.mark.parametrize("numerics", ["litert", "tflm"])
@pytest.mark.parametrize("signature", ["plus", "magnitude"])
def test_each_network_is_exact(several_networks: Path, signature: str, numerics: str) -> None:
    words = ("--signature", signature, "--numerics", numerics, "--layers", "--json")
    report = say("verify", several_networks, "-b", "bluepill", *words).json
    assert report["verify"]["mismatches"] == 0
    assert "numpy" not in report["verify"]["reference"]
    assert report["model"]["inputs"][0]["name"] == {"plus": "start", "magnitude": "signed"}[signature]


# Names.


def test_names_in_other_encodings(tmp_path: Path) -> None:
    """Layers named in Latin-1 or with control characters; two that look alike then stay two."""
    model = Model("names")
    model.unary("RELU", PLAIN, PLAIN)
    data = encode(model.finish())
    for old, new in ((b"t0", b"\xe91"), (b"t1", b"\xe81")):
        assert data.count(b"\x02\x00\x00\x00" + old) == 1
        data = data.replace(b"\x02\x00\x00\x00" + old, b"\x02\x00\x00\x00" + new)
    path = tmp_path / "names.tflite"
    path.write_bytes(data)
    said = say("compile", path, "-b", "bluepill", "--stop", "graph")
    assert said.code == 0, said.err
    assert "\N{REPLACEMENT CHARACTER}1_1 = Relu" in said.out
    assert say("check", path).code == 0
