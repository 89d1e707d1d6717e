"""The judges: whose bytes the device must reproduce.

`litert` is judged by ai_edge_litert with BUILTIN_REF (or tflite_runtime's own reference kernels would round
FULLY_CONNECTED otherwise, so it is not used), `tflm` by the tflite-micro wheel. Both are optional: without them
tinycompiler's own numpy reference judges, and the report says so, since agreeing with oneself proves less.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import version
from importlib.util import find_spec
from io import StringIO
from typing import Any, Protocol

from tinycompiler.errors import ModelError
from tinycompiler.graph import Graph
from tinycompiler.ops import Numerics
from tinycompiler.readers.tflite import File
from tinycompiler.tensor import Array


class Reference(Protocol):
    """A judge: `name` with its version, and the values of tensors for given inputs."""

    name: str

    def reset(self) -> None:
        """Forgets what earlier inferences left behind."""
        ...

    def __call__(self, inputs: Sequence[Array], wanted: Sequence[str]) -> dict[str, Array]:
        """The values of the `wanted` tensors, by name, for inputs in the network's order."""
        ...


def reference(data: bytes, file: File, graph: Graph, *, layers: bool) -> Reference:
    """The best judge there is for the graph's numerics; `data` is the model file, `graph` what was read from it.

    With `layers`, intermediate tensors can be asked for too. Raises ModelError when the judge refuses the file.
    """
    index = {t.name: i for i, t in enumerate(file.subgraphs[0].tensors)}
    try:
        if graph.numerics is Numerics.LITERT and find_spec("ai_edge_litert"):
            return _LiteRt(data, index, graph, layers)
        if graph.numerics is Numerics.TFLM and find_spec("tflite_micro"):
            return _TfLiteMicro(data, index, graph, layers)
    except (RuntimeError, ValueError) as refusal:
        raise ModelError(
            f"the reference ({graph.numerics.value}) refuses this model: {str(refusal).strip()}"
        ) from refusal
    return _Numpy(graph)


class _LiteRt:
    def __init__(self, data: bytes, index: Mapping[str, int], graph: Graph, layers: bool) -> None:
        self.data, self.index, self.graph, self.layers = data, index, graph, layers
        self.name = f"ai-edge-litert {version('ai-edge-litert')}, BUILTIN_REF"
        self.reset()

    def reset(self) -> None:
        """A new interpreter: resource variables have no other way back to their initial values."""
        with _quiet():
            from ai_edge_litert.interpreter import Interpreter, OpResolverType

            self.interpreter: Any = Interpreter(
                model_content=self.data,
                experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
                experimental_preserve_all_tensors=self.layers,
                num_threads=1,
            )
            self.interpreter.allocate_tensors()

    def __call__(self, inputs: Sequence[Array], wanted: Sequence[str]) -> dict[str, Array]:
        for name, value in zip(self.graph.inputs, inputs, strict=True):
            self.interpreter.set_tensor(self.index[name], value)
        self.interpreter.invoke()
        return {name: self.interpreter.get_tensor(self.index[name]) for name in wanted}


class _TfLiteMicro:
    def __init__(self, data: bytes, index: Mapping[str, int], graph: Graph, layers: bool) -> None:
        self.data, self.index, self.graph, self.layers = data, index, graph, layers
        self.name = f"tflite-micro {version('tflite-micro')}"
        self.reset()

    def reset(self) -> None:
        """A new interpreter, with room for all tensors where they are kept."""
        with _quiet():
            from tflite_micro.python.tflite_micro import runtime

            config = runtime.InterpreterConfig
            room = 10 * len(self.data) + 4 * sum(t.bytes for t in self.graph.tensors.values()) + (1 << 20)
            self.interpreter: Any = runtime.Interpreter.from_bytes(
                self.data,
                arena_size=room,
                intrepreter_config=config.kPreserveAllTensors if self.layers else config.kAllocationRecording,
            )

    def __call__(self, inputs: Sequence[Array], wanted: Sequence[str]) -> dict[str, Array]:
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
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        package = {"litert": "ai-edge-litert", "tflm": "tflite-micro"}[graph.numerics.value]
        self.name = f"tinycompiler's own numpy reference ({package} is not installed: pip install {package})"
        self.state: dict[str, Array] = {}

    def reset(self) -> None:
        self.state = {}

    def __call__(self, inputs: Sequence[Array], wanted: Sequence[str]) -> dict[str, Array]:
        values = self.graph.evaluate({**dict(zip(self.graph.inputs, inputs, strict=True)), **self.state})
        self.state = {s.tensor: values[s.next] for s in self.graph.states}
        return {name: values[name] for name in wanted}


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
