"""The foreign interpreters that say what the bytes are, one for each numeric profile."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from tests import models
from tests.draws import Case
from tinycompiler.graph import Graph
from tinycompiler.ops import Numerics
from tinycompiler.reference import UNJUDGED
from tinycompiler.tensor import Array

Feeds = Mapping[str, Array]


def judged_model(case: Case, numerics: Numerics) -> bytes:
    """The network for the judge: LiteRT refuses an int8 CONV_2D without a bias, so it gets one of zeros."""
    if numerics is Numerics.LITERT and case.make is models.conv_2d and case.told.get("bias") is False:
        return case.model(bias=True, biases=np.zeros(case.told["filters"], np.int32))
    return case.model()


def judge(model: bytes, graph: Graph, trials: Sequence[Feeds]) -> list[list[Array]]:
    """The outputs, in the graph's order, of each trial, by the interpreter whose numerics the graph follows.

    Neither has binary operators: our reference for them, which tests/test_binary.py holds to stored answers, stands in.
    """
    if any(isinstance(node.op, UNJUDGED) for node in graph.nodes):
        return [[values[name] for name in graph.outputs] for values in map(graph.evaluate, trials)]
    return (_litert if graph.numerics is Numerics.LITERT else _tflm)(model, graph, trials)


def _litert(model: bytes, graph: Graph, trials: Sequence[Feeds]) -> list[list[Array]]:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = litert.Interpreter(
        model_content=model, experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    results = []
    for feeds in trials:
        for details, name in zip(interpreter.get_input_details(), graph.inputs, strict=True):
            interpreter.set_tensor(details["index"], feeds[name])
        interpreter.invoke()
        results.append([interpreter.get_tensor(details["index"]) for details in interpreter.get_output_details()])
    return results


def _tflm(model: bytes, graph: Graph, trials: Sequence[Feeds]) -> list[list[Array]]:
    tflm = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    interpreter = tflm.Interpreter.from_bytes(model, arena_size=1 << 20)
    results = []
    for feeds in trials:
        for index, name in enumerate(graph.inputs):
            interpreter.set_input(feeds[name], index)
        interpreter.invoke()
        results.append([interpreter.get_output(index).copy() for index in range(len(graph.outputs))])
    return results
