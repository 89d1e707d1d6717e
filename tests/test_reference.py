"""Which judge is taken, and the stand-in for TensorFlow Lite Micro's.

tflite-runtime needs Python 3.11 and numpy 1, so it is not among the packages of the tests. LiteRT, whose interpreter
has the same interface, plays its part; where it is installed, it plays it itself.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import models
from tests.commands import DIGITS, say
from tinycompiler import reference
from tinycompiler.errors import JudgeError, ModelError
from tinycompiler.graph import Graph
from tinycompiler.ops import Numerics
from tinycompiler.readers.flatbuffer import with_outputs
from tinycompiler.readers.network import Inspection, inspect
from tinycompiler.readers.tflite import parse
from tinycompiler.vectors import extreme_vectors, random_vectors


def install(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """As if these judges were there and no others."""
    monkeypatch.setattr(reference, "find_spec", lambda name: name in packages or None)
    monkeypatch.setattr(reference, "_installed", lambda package: f"{package} 1.2.3")


def network(folder: Path, make: Callable[..., bytes], numerics: Numerics, **told: Any) -> Inspection:
    path = folder / "net.tflite"
    path.write_bytes(make(np.random.default_rng(0), **told))
    return inspect(path, numerics)


def judged_by(found: Inspection, *, layers: bool = False) -> reference.Reference:
    assert found.graph is not None, found.blockers
    return reference.reference(found.file, found.graph, layers=layers)


def test_litert_is_not_judged_by_what_rounds_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "tflite_runtime")
    with pytest.raises(JudgeError, match=r"tflite-runtime 1\.2\.3 rounds otherwise") as caught:
        judged_by(inspect(DIGITS))
    assert caught.value.exit_code == 4
    said = say("verify", DIGITS, "-b", "bluepill")
    assert (said.code, said.out) == (4, "")
    assert "pip install ai-edge-litert, or verify with --numerics tflm" in said.err


def test_tflite_micro_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tflite_micro")
    install(monkeypatch, "tflite_micro", "tflite_runtime")
    assert judged_by(inspect(DIGITS, Numerics.TFLM)).name == "tflite-micro 1.2.3"


@pytest.mark.parametrize(
    ("make", "told", "words"),
    [
        (models.logistic, {}, "is no judge of LOGISTIC:"),
        (models.mul, {}, "is no judge of MUL:"),
        (models.relu6, {}, "is no judge of RELU6:"),
        (models.fully_connected, {"per_channel": True}, "is no judge of FULLY_CONNECTED per channel:"),
    ],
    ids=["logistic", "mul", "relu6", "fully_connected"],
)
def test_operators_that_it_computes_otherwise(
    make: Callable[..., bytes], told: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, "tflite_runtime")
    name = judged_by(network(tmp_path, make, Numerics.TFLM, **told)).name
    assert name.startswith("tinycompiler's own numpy reference (tflite-runtime ")
    assert words in name
    assert name.endswith("pip install tflite-micro)")


def test_the_stand_in_is_asked_as_litert_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for intermediate tensors, which it is told to keep as outputs."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", litert)
    install(monkeypatch, "tflite_runtime")
    found = inspect(DIGITS, Numerics.TFLM)
    judge = judged_by(found, layers=True)
    assert judge.name == "tflite-runtime 1.2.3, BUILTIN_REF"
    assert found.graph is not None
    wanted = [name for node in found.graph.nodes for name in node.outputs]
    values = judge([np.zeros((1, 8, 8, 1), np.int8)], wanted)
    ours = found.graph.evaluate({found.graph.inputs[0]: np.zeros((1, 8, 8, 1), np.int8)})
    before = [name for name in wanted if found.graph.writer_of(name).op.name != "FULLY_CONNECTED"]  # type: ignore[union-attr]
    assert {name for name in before[:8] if (values[name] != ours[name]).any()} == set()


def test_tflite_runtime_itself() -> None:
    pytest.importorskip("tflite_runtime.interpreter")
    found = inspect(DIGITS, Numerics.TFLM)
    assert found.graph is not None
    judge = reference._LiteRt("tflite-runtime", *judged(found), layers=True)
    wanted = [name for node in found.graph.nodes for name in node.outputs]
    for vector in (*random_vectors(found.graph, 3, 0), *extreme_vectors(found.graph)):
        ours = found.graph.evaluate(dict(zip(found.graph.inputs, vector.values, strict=True)))
        for name, theirs in judge(vector.values, wanted).items():
            np.testing.assert_array_equal(ours[name], theirs, err_msg=name)


def judged(found: Inspection) -> tuple[bytes, dict[str, int], Graph]:
    assert found.graph is not None
    return found.file.data, {t.name: i for i, t in enumerate(found.file.subgraphs[0].tensors)}, found.graph


def test_outputs_of_a_file_can_be_changed() -> None:
    data = with_outputs(DIGITS.read_bytes(), [3, 5, 3])
    main = parse(data, name="digits").subgraphs[0]
    names = [tensor.name for tensor in main.tensors]
    assert main.outputs == (names[3], names[5], names[3])
    assert main.operators == parse(DIGITS.read_bytes(), name="digits").subgraphs[0].operators


def test_what_a_judge_refuses_when_it_runs_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    found = network(tmp_path, models.relu, Numerics.LITERT)
    judge = judged_by(found)
    assert found.graph is not None
    with pytest.raises(ModelError, match=r"the reference \(litert\) refuses this model: "):
        judge([np.zeros((1, 2), np.int8)], found.graph.outputs)
