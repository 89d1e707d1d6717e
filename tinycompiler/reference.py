"""The judges: whose bytes the device must reproduce.

`litert` is judged by ai_edge_litert with BUILTIN_REF, `tflm` by the tflite-micro wheel. Where that is absent,
tflite_runtime, the older name of LiteRT, stands in: its FULLY_CONNECTED rounds as TensorFlow Lite Micro's does. It
judges networks of those operators only that were found to agree (`AS_TFLM`), and never `litert`.

All are optional: without them tinycompiler's own numpy reference judges, and the report says so, since agreeing with
oneself proves less.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from importlib.util import find_spec
from io import StringIO
from typing import Any, Protocol

import numpy as np

from tinycompiler.errors import JudgeError, ModelError
from tinycompiler.graph import Graph, Node
from tinycompiler.ops import (
    Add,
    ArgMax,
    ArgMin,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    DynamicFullyConnected,
    FullyConnected,
    HardSwish,
    LceBconv2d,
    LceBMaxPool2d,
    LceDequantize,
    LceQuantize,
    LogSoftmax,
    Maximum,
    MaxPool2D,
    Mean,
    Minimum,
    Numerics,
    Op,
    Quantize,
    ReduceMax,
    ReduceMin,
    Requantize,
    Reshape,
    ResizeBilinear,
    Rsqrt,
    Softmax,
    SquaredDifference,
    Sub,
    TransposeConv,
)
from tinycompiler.ops.movement import Movement
from tinycompiler.readers.file import File
from tinycompiler.readers.flatbuffer import with_operators, with_outputs
from tinycompiler.readers.signatures import as_judged
from tinycompiler.tensor import Array, DType


class Reference(Protocol):
    """A judge: `name` with its version, and the values of tensors for given inputs."""

    name: str

    def reset(self) -> None:
        """Forgets what earlier inferences left behind."""
        ...

    def __call__(self, inputs: Sequence[Array], wanted: Sequence[str]) -> dict[str, Array]:
        """The values of the `wanted` tensors, by name, for inputs in the network's order."""
        ...


AS_TFLM: tuple[type[Op], ...] = (
    *(Add, ArgMax, ArgMin, AveragePool2D, Conv2D, DepthwiseConv2D, Dequantize, DynamicFullyConnected, FullyConnected),
    *(HardSwish, LogSoftmax, Maximum, MaxPool2D, Mean, Minimum, Movement, Quantize, ReduceMax, ReduceMin, Requantize),
    *(Reshape, ResizeBilinear, Rsqrt, Softmax, SquaredDifference, Sub, TransposeConv),
)
"""What tflite_runtime 2.14 computes as TensorFlow Lite Micro does, on all cases of `tests.draws`."""


UNJUDGED: tuple[type[Op], ...] = (LceBconv2d, LceBMaxPool2d, LceDequantize, LceQuantize)
"""Operators that none of these interpreters has: tests hold our reference for them to stored answers."""


def reference(file: File, graph: Graph, *, layers: bool) -> Reference:
    """The best judge there is for the graph's numerics; `graph` is what was read from the model `file`.

    With `layers`, intermediate tensors can be asked for too. Raises ModelError when the judge refuses the file, and
    JudgeError when only another profile's is there. Operators that no judge has are computed by our own reference, from
    what the judge says of the others.
    """
    if any(isinstance(node.op, UNJUDGED) for node in graph.nodes):
        return _mixed(file, graph)
    data, index = as_judged(file), {t.name: i for i, t in enumerate(file.subgraphs[0].tensors)}
    match graph.numerics, *(bool(find_spec(name)) for name in ("ai_edge_litert", "tflite_micro", "tflite_runtime")):
        case Numerics.LITERT, True, _, _:
            return _LiteRt("ai-edge-litert", data, index, graph, layers)
        case Numerics.LITERT, _, _, True:
            raise JudgeError(
                f"{_installed('tflite-runtime')} rounds otherwise than --numerics litert asks, so it cannot judge it; "
                "pip install ai-edge-litert, or verify with --numerics tflm, which it can judge"
            )
        case Numerics.TFLM, _, True, _:
            return _TfLiteMicro(data, index, graph, layers)
        case Numerics.TFLM, _, _, True:
            why = _why_not_runtime(graph)
            if why:
                return _Numpy(graph, f"{why}: pip install {JUDGES[graph.numerics]}")
            return _LiteRt("tflite-runtime", data, index, graph, layers)
    wanted = JUDGES[graph.numerics]
    return _Numpy(graph, f"{wanted} is not installed: pip install {wanted}")


ABORTS = 1 << 28
"""Q12 sum of a row's exponentials at which both references' int8 SOFTMAX ends the process: 512 equal values."""


def aborts_at(network: Graph, inputs: Mapping[str, Array]) -> str | None:
    """The node at which a judge would end the whole process for these inputs, if there is one."""
    wide = [
        node
        for node in network.nodes
        if isinstance(node.op, Softmax)
        and network.tensors[node.inputs[0]].dtype is DType.INT8
        and network.tensors[node.inputs[0]].shape[-1] >= 512
    ]
    values = network.evaluate(inputs) if wide else {}
    for node in wide:
        x = network.tensors[node.inputs[0]]
        assert isinstance(node.op, Softmax)
        rows = values[x.name].astype(np.int64).reshape(-1, x.shape[-1])
        if (node.op.exponentials_of(x, rows)[2] >= ABORTS).any():
            return node.name
    return None


JUDGES = {Numerics.LITERT: "ai-edge-litert", Numerics.TFLM: "tflite-micro"}


def _why_not_runtime(graph: Graph) -> str | None:
    """Why tflite_runtime cannot stand in for TensorFlow Lite Micro, or None."""
    for node in graph.nodes:
        weights = graph.inputs_of(node)[1:2] if isinstance(node.op, FullyConnected) else ()
        per_channel = any(t.quantization is not None and t.quantization.axis is not None for t in weights)
        int16 = any(t.dtype is DType.INT16 for t in graph.inputs_of(node))
        if per_channel or int16 or not isinstance(node.op, AS_TFLM):
            what = " per channel" if per_channel else " of int16" if int16 else ""
            return f"tflite-runtime is no judge of {node.op.name}{what}"
    return None


@contextmanager
def _refusals(numerics: Numerics) -> Iterator[None]:
    """What an interpreter says against a file, now or when it runs, as ModelError."""
    try:
        yield
    except (RuntimeError, ValueError) as refusal:
        raise ModelError(f"the reference ({numerics.value}) refuses this model: {str(refusal).strip()}") from refusal


def _installed(package: str) -> str:
    """A package's name and version."""
    from importlib.metadata import version  # takes a while, and only judges ask

    return f"{package} {version(package)}"


class _LiteRt:
    """LiteRT, under its own or its older name: the packages' interpreters are one class."""

    def __init__(self, package: str, data: bytes, index: Mapping[str, int], graph: Graph, layers: bool) -> None:
        self.data, self.index, self.graph, self.layers = data, index, graph, layers
        self.package, self.name = package, f"{_installed(package)}, BUILTIN_REF"
        if layers and package == "tflite-runtime":  # its ADD works in place even where all tensors are to be preserved
            made = [index[name] for node in graph.nodes for name in node.outputs if name in index]
            self.data = with_outputs(data, list(dict.fromkeys([*(index[name] for name in graph.outputs), *made])))
        self.reset()

    def reset(self) -> None:
        """A new interpreter: resource variables have no other way back to their initial values."""
        with _quiet(), _refusals(self.graph.numerics):
            if self.package == "tflite-runtime":
                from tflite_runtime.interpreter import Interpreter, OpResolverType
            else:
                from ai_edge_litert.interpreter import Interpreter, OpResolverType

            self.interpreter: Any = Interpreter(
                model_content=self.data,
                experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
                experimental_preserve_all_tensors=self.layers,
                num_threads=1,
            )
            self.interpreter.allocate_tensors()

    def __call__(self, inputs: Sequence[Array], wanted: Sequence[str]) -> dict[str, Array]:
        with _refusals(self.graph.numerics):
            for name, value in zip(self.graph.inputs, inputs, strict=True):
                self.interpreter.set_tensor(self.index[name], value)
            self.interpreter.invoke()
        return {name: self.interpreter.get_tensor(self.index[name]) for name in wanted}


class _TfLiteMicro:
    def __init__(self, data: bytes, index: Mapping[str, int], graph: Graph, layers: bool) -> None:
        self.data, self.index, self.graph, self.layers = data, index, graph, layers
        self.name = _installed("tflite-micro")
        self.reset()

    def reset(self) -> None:
        """A new interpreter, with room for all tensors where they are kept."""
        with _quiet(), _refusals(self.graph.numerics):
            from tflite_micro.python.tflite_micro import runtime

            config = runtime.InterpreterConfig
            room = 10 * len(self.data) + 4 * sum(t.bytes for t in self.graph.tensors.values()) + (1 << 20)
            self.interpreter: Any = runtime.Interpreter.from_bytes(
                self.data,
                arena_size=room,
                intrepreter_config=config.kPreserveAllTensors if self.layers else config.kAllocationRecording,
            )

    def __call__(self, inputs: Sequence[Array], wanted: Sequence[str]) -> dict[str, Array]:
        with _refusals(self.graph.numerics):
            for i, value in enumerate(inputs):
                self.interpreter.set_input(value, i)
            self.interpreter.invoke()
        outputs = {name: self.interpreter.get_output(i) for i, name in enumerate(self.graph.outputs)}
        return {n: outputs[n] if n in outputs else self._tensor(n) for n in wanted}

    def _tensor(self, name: str) -> Array:
        described = self.interpreter.GetTensor(self.index[name], 0)
        value: Array = described["tensor_data"]
        return value


class _Numpy:
    def __init__(self, graph: Graph, why: str) -> None:
        self.graph = graph
        self.name = f"tinycompiler's own numpy reference ({why})"
        self.state: dict[str, Array] = {}

    def reset(self) -> None:
        self.state = {}

    def __call__(self, inputs: Sequence[Array], wanted: Sequence[str]) -> dict[str, Array]:
        values = self.graph.evaluate({**dict(zip(self.graph.inputs, inputs, strict=True)), **self.state})
        self.state = {s.tensor: values[s.next] for s in self.graph.states}
        return {name: values[name] for name in wanted}


def _mixed(file: File, graph: Graph) -> Reference:
    """Of a graph with operators that no judge has; the others are judged where that is possible."""
    own = tuple(node for node in graph.nodes if isinstance(node.op, UNJUDGED))
    names = ", ".join(dict.fromkeys(node.op.name for node in own))
    if len(own) == len(graph.nodes) or graph.states:
        return _Numpy(graph, f"no interpreter has {names} as specified; compare with stored answers by --expect")
    main, made = file.subgraphs[0], [name for node in own for name in node.outputs]
    index = {t.name: i for i, t in enumerate(main.tensors)}
    rest = replace(graph, inputs=(*graph.inputs, *made)).with_nodes(n for n in graph.nodes if n not in own)
    kept = [i for i, o in enumerate(main.operators) if set(o.outputs).isdisjoint(made)]
    data = with_operators(as_judged(file), kept, [index[name] for name in rest.inputs])
    judge = reference(replace(file, data=data, first=0), rest, layers=True)
    return _Mixed(graph, own, judge, f"{judge.name}; {names} by tinycompiler's own, compare with --expect")


class _Mixed:
    """A judge to whom the outputs of some nodes, our `own`, are inputs; it runs again when they are known."""

    def __init__(self, graph: Graph, own: Sequence[Node], judge: Reference, name: str) -> None:
        self.graph, self.own, self.judge, self.name = graph, own, judge, name

    def reset(self) -> None:
        self.judge.reset()

    def __call__(self, inputs: Sequence[Array], wanted: Sequence[str]) -> dict[str, Array]:
        graph = self.graph
        known = {name: t.data for name, t in graph.tensors.items() if t.data is not None}
        known |= dict(zip(graph.inputs, inputs, strict=True))
        made = {t.name: np.zeros(t.shape, t.dtype.numpy) for node in self.own for t in graph.outputs_of(node)}
        for node in self.own:
            known |= self._judged(inputs, made, [name for name in node.inputs if name not in known])
            values = [known[name] for name in node.inputs]
            found = node.op.evaluate(graph.inputs_of(node), graph.outputs_of(node), values, graph.numerics)
            made |= zip(node.outputs, found, strict=True)
            known |= made
        known |= self._judged(inputs, made, [name for name in wanted if name not in known])
        return {name: known[name] for name in wanted}

    def _judged(self, inputs: Sequence[Array], made: Mapping[str, Array], wanted: Sequence[str]) -> dict[str, Array]:
        """What the judge says of tensors that hang on nothing that is not made yet."""
        return self.judge([*inputs, *made.values()], wanted) if wanted else {}


@contextmanager
def _quiet() -> Any:
    """Without the greetings that the runtimes print to file descriptor 2."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        with redirect_stderr(StringIO()):
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
