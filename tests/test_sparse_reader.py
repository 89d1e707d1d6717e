"""Constants that a file stores sparse: the judge's values, and a sentence for every lie."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import models_sparse
from tests.draws import graph_of, trial_inputs
from tests.judges import judge
from tinycompiler.cli import main
from tinycompiler.errors import ModelError
from tinycompiler.kernels import Site
from tinycompiler.kernels.requantize import requantization
from tinycompiler.ops import Clamp, Numerics
from tinycompiler.readers.sparsity import Lie, dense

Parameters = dict[str, Any]
Change = Callable[[Parameters, bytes], tuple[Parameters, bytes]]

FULLY_CONNECTED: tuple[dict[str, Any], ...] = (
    {},
    {"shape": (3, 64), "units": 7},
    {"shape": (1, 640), "units": 33, "activation": "RELU"},
    {"shape": (2, 48), "units": 5, "per_channel": True, "activation": "RELU6"},
)
DENSIFIED: tuple[dict[str, Any], ...] = (
    {},
    {"blocks": {}},
    {"blocks": {0: 2, 3: 2}},
    {"blocks": {3: 2}, "order": (3, 1, 2, 0)},
    {"shape": (2, 3, 3, 16), "filters": 4, "kernel": (1, 1), "blocks": {3: 16}},
)


@pytest.mark.parametrize("told", FULLY_CONNECTED, ids=str)
def test_fully_connected_reads_blocks_of_sixteen(told: dict[str, Any]) -> None:
    check(models_sparse.fully_connected(np.random.default_rng(len(str(told))), **told))


@pytest.mark.parametrize("told", DENSIFIED, ids=str)
def test_densify_is_done_on_reading(told: dict[str, Any]) -> None:
    model = models_sparse.densified(np.random.default_rng(len(str(told))), **told)
    assert [node.op.name for node in graph_of(model, Numerics.LITERT).nodes] == ["CONV_2D"]
    check(model)


def check(model: bytes) -> None:
    """`evaluate` against the judge."""
    graph = graph_of(model, Numerics.LITERT)
    trials = trial_inputs(graph, 0)
    for feeds, [wanted] in zip(trials, judge(model, graph, trials), strict=True):
        np.testing.assert_array_equal(graph.evaluate(feeds)[graph.outputs[0]], wanted)


def test_sparse_layers_round_twice() -> None:
    """And dense ones once: it is the same network but for that."""
    sparse = graph_of(models_sparse.fully_connected(np.random.default_rng(0)), Numerics.LITERT)
    [node] = sparse.nodes
    assert (
        requantization(Site(sparse, node), sparse.inputs_of(node)[1].values.astype(np.int64), Clamp()).rounding
        == "twice"
    )


# Metadata that lies.


def axis(place: int, **fields: Any) -> Change:
    """Other words of one axis."""

    def change(parameters: Parameters, data: bytes) -> tuple[Parameters, bytes]:
        metadata = list(parameters["dim_metadata"])
        metadata[place] = {**metadata[place], **fields}
        return {**parameters, "dim_metadata": metadata}, data

    return change


def values(key: str, place: int, edit: Callable[[list[int]], list[int]]) -> Change:
    """Other segments or indices."""

    def change(parameters: Parameters, data: bytes) -> tuple[Parameters, bytes]:
        told = list(parameters["dim_metadata"][place][key][1]["values"])
        return axis(place, **{key: ("Int32Vector", {"values": edit(told)})})(parameters, data)

    return change


def other(**fields: Any) -> Change:
    return lambda parameters, data: ({**parameters, **fields}, data)


SEGMENTS, INDICES = "array_segments", "array_indices"
LIES: dict[str, tuple[Change, str]] = {
    "segments end late": (values(SEGMENTS, 1, lambda v: [*v[:-1], v[-1] + 1]), "the number of its indices"),
    "segments end early": (values(SEGMENTS, 1, lambda v: [*v[:-1], v[-1] - 1]), "the number of its indices"),
    "segments begin late": (values(SEGMENTS, 1, lambda v: [1, *v[1:]]), "segments of axis 1 of its order (1 to"),
    "a segment is missing": (values(SEGMENTS, 1, lambda v: v[:-1]), "wanted 7 from 0"),
    "segments run back": (values(SEGMENTS, 1, lambda v: [0, v[-1], *v[2:]]), "end before they begin"),
    "no segments": (values(SEGMENTS, 1, lambda v: []), "0 segments of axis 1 of its order (none)"),
    "negative index": (values(INDICES, 1, lambda v: [-1, *v[1:]]), "from -1 to"),
    "index past the end": (values(INDICES, 1, lambda v: [*v[:-1], 9]), "to 9, wanted 0 to 1"),
    "indices out of order": (values(INDICES, 1, lambda v: [1, 0, *v[2:]]), "not in order"),
    "no indices": (axis(1, array_indices=None), "the number of its indices"),
    "format": (axis(1, format=7), "in format 7"),
    "dense size": (axis(0, dense_size=5), "5 places in axis 0 of its order, wanted 6"),
    "block does not divide": (axis(2, dense_size=15), "blocks of 15 along axis 1 of 32"),
    "block of none": (axis(2, dense_size=0), "blocks of 0 along"),
    "block below zero": (axis(2, dense_size=-16), "blocks of -16 along"),
    "compressed block": (axis(2, format=1), "blocks of 16 along axis 1"),
    "order": (other(traversal_order=[0, 0, 2]), "order of axes (0, 0, 2)"),
    "order is short": (other(traversal_order=[0]), "order of axes (0,)"),
    "blocks first": (other(traversal_order=[2, 0, 1]), "order of axes (2, 0, 1)"),
    "block axis": (other(block_map=[2]), "blocks along axes (2,)"),
    "block axis below zero": (other(block_map=[-1]), "blocks along axes (-1,)"),
    "axes": (lambda p, d: ({**p, "dim_metadata": p["dim_metadata"][:2]}, d), "2 descriptions of axes, wanted 3"),
    "data is short": (lambda p, d: (p, d[:-1]), "bytes of values, wanted"),
    "data is long": (lambda p, d: (p, d + b"x"), "bytes of values, wanted"),
}


@pytest.mark.parametrize("what", LIES)
def test_lies_are_refused_with_a_sentence(what: str) -> None:
    change, words = LIES[what]
    with pytest.raises(ModelError) as refusal:
        graph_of(spoiled(change), Numerics.LITERT)
    [line] = str(refusal.value).splitlines()
    assert "'weights' (int8): stored sparse, " in line
    assert words in line


def spoiled(change: Change) -> bytes:
    """A network whose blocks are all there, but for the lie."""
    return models_sparse.fully_connected(np.random.default_rng(0), kept=1.0, change=change)


def test_lies_behind_densify_have_one_cause() -> None:
    model = models_sparse.densified(np.random.default_rng(0), change=axis(0, dense_size=99))
    with pytest.raises(ModelError) as refusal:
        graph_of(model, Numerics.LITERT)
    [line] = str(refusal.value).splitlines()
    assert "99 places in axis 0" in line


def test_a_few_bytes_do_not_become_gigabytes() -> None:
    """No row has a value."""
    rows = {"format": 1, "array_segments": ("Int32Vector", {"values": (0, 0)}), "array_indices": None, "dense_size": 0}
    columns = {"format": 0, "dense_size": 1 << 20}
    told = {"traversal_order": (0, 1), "block_map": (), "dim_metadata": (rows, columns)}
    assert not dense(told, (1 << 3, 1 << 20), memoryview(b""), "INT8").any()
    with pytest.raises(Lie, match="16,777,216 elements, wanted 1 to"):
        dense(told, (1 << 4, 1 << 20), memoryview(b""), "INT8")


def test_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lying.tflite"
    file.write_bytes(spoiled(LIES["index past the end"][0]))
    assert main(["compile", str(file), "-b", "nucleo_l4r5zi", "-o", str(tmp_path / "out")]) == 3
    [line] = capsys.readouterr().err.splitlines()
    assert "to 9, wanted 0 to 1" in line


# What the references do not read.


@pytest.mark.parametrize("blocks", [{}, {1: 4}, {0: 2, 1: 16}], ids=str)
def test_fully_connected_takes_no_other_blocks(blocks: dict[int, int]) -> None:
    model = models_sparse.fully_connected(np.random.default_rng(0), blocks=blocks)
    with pytest.raises(ModelError, match="not in blocks of 1x16"):
        graph_of(model, Numerics.LITERT)


def test_no_other_operator_takes_sparse_weights() -> None:
    model = models_sparse.densified(np.random.default_rng(0), direct=True)
    with pytest.raises(ModelError, match="the weights of FULLY_CONNECTED only"):
        graph_of(model, Numerics.LITERT)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (models_sparse.densified, "has no DENSIFY"),
        (models_sparse.fully_connected, "takes them for dense ones"),
    ],
)
def test_micro_has_no_sparse_weights(make: Callable[..., bytes], words: str) -> None:
    with pytest.raises(ModelError, match=words) as refusal:
        graph_of(make(np.random.default_rng(0)), Numerics.TFLM)
    assert len(str(refusal.value).splitlines()) == 1
    assert "--numerics litert" in str(refusal.value)
