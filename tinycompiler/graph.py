"""Node and Graph: a network as a frozen value.

Nodes name their tensors instead of pointing at them, so a pass replaces a tensor by replacing one name, and a graph
prints, compares and hashes as text. Nodes stand in an order in which they can run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from tinycompiler.errors import UsageError
from tinycompiler.ops import Numerics, Op
from tinycompiler.tensor import Array, Tensor


@dataclass(frozen=True)
class Node:
    """One operator of the network; `name` is unique."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.outputs)} = {self.op}({', '.join(self.inputs)})  # {self.name}"


@dataclass(frozen=True, eq=False)
class State:
    """A value that an inference leaves for the next: `tensor` is read, and becomes `next` when all have read it.

    `joined` is the tensor that begins with `tensor` and lies in the same memory, which is as long as `joined` then;
    `next` is cut out of it and moved to its begin.
    """

    tensor: str
    next: str
    initial: Array
    joined: str | None = None


@dataclass(frozen=True, eq=False)
class Graph:
    """A network: tensors by name, nodes in running order, and whose numerics it follows."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    numerics: Numerics = Numerics.LITERT
    states: tuple[State, ...] = ()

    @property
    def results(self) -> tuple[str, ...]:
        """What must be computed: the outputs, and the states' next values."""
        return (*self.outputs, *(s.next for s in self.states))

    def inputs_of(self, node: Node) -> tuple[Tensor, ...]:
        return tuple(self.tensors[name] for name in node.inputs)

    def outputs_of(self, node: Node) -> tuple[Tensor, ...]:
        return tuple(self.tensors[name] for name in node.outputs)

    @cached_property
    def _readers(self) -> dict[str, list[Node]]:
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers.setdefault(name, []).append(node)
        return readers

    @cached_property
    def _writers(self) -> dict[str, Node]:
        return {name: node for node in self.nodes for name in node.outputs}

    def readers_of(self, tensor: str) -> tuple[Node, ...]:
        """The nodes that read a tensor, in order."""
        return tuple(self._readers.get(tensor, ()))

    def writer_of(self, tensor: str) -> Node | None:
        """The node that computes a tensor; None for inputs and constants."""
        return self._writers.get(tensor)

    def macs(self, node: Node) -> int:
        return node.op.macs(self.inputs_of(node), self.outputs_of(node))

    @property
    def total_macs(self) -> int:
        return sum(self.macs(node) for node in self.nodes)

    def why_not(self, node: Node) -> str | None:
        """The operator's objection to its tensors, or a shape that is not what its rule says."""
        inputs, outputs = self.inputs_of(node), self.outputs_of(node)
        problem = node.op.why_not(inputs, outputs) or node.op.numerics_why_not(inputs, outputs, self.numerics)
        if problem:
            return problem
        shapes = node.op.output_shapes(inputs)
        if len(shapes) != len(outputs):
            return f"it has {len(outputs)} outputs, and the operator makes {len(shapes)}"
        for tensor, shape in zip(outputs, shapes, strict=True):
            if tensor.shape != tuple(shape):
                return f"output '{tensor.name}' has shape {tensor.shape}, and the operator makes {tuple(shape)}"
        return None

    def verify(self) -> "Graph":
        """Itself, after checking what every pass must keep; a failure is our bug."""
        known = {*self.inputs, *(s.tensor for s in self.states)}
        known |= {name for name, t in self.tensors.items() if t.is_constant}
        for node in self.nodes:
            for name in node.inputs:
                assert name in known, f"{node.name} reads '{name}' before it is computed"
            for name in node.outputs:
                assert name in self.tensors, f"'{name}' is unknown"
                assert name not in known, f"'{name}' is computed twice"
                known.add(name)
            problem = self.why_not(node)
            assert problem is None, f"{node.name}: {problem}"
        missing = [name for name in self.results if name not in known]
        assert not missing, f"results {missing} are never computed"
        return self

    def evaluate(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Every tensor's value for the given inputs (name to array of exact shape and type), in numpy.

        States that are not fed have their initial values.
        """
        values: dict[str, Array] = {name: t.data for name, t in self.tensors.items() if t.data is not None}
        values |= {s.tensor: feeds.get(s.tensor, s.initial) for s in self.states}
        for name in self.inputs:
            values[name] = self._checked(name, feeds[name])
        for node in self.nodes:
            results = node.op.evaluate(
                self.inputs_of(node), self.outputs_of(node), [values[n] for n in node.inputs], self.numerics
            )
            values.update(zip(node.outputs, results, strict=True))
        return values

    def _checked(self, name: str, value: Array) -> Array:
        tensor = self.tensors[name]
        if value.shape != tensor.shape or value.dtype != tensor.dtype.numpy:
            raise UsageError(
                f"input '{name}': found {value.dtype} of shape {value.shape}, "
                f"wanted {tensor.dtype.value} of shape {tensor.shape}"
            )
        return value

    def with_nodes(self, nodes: Iterable[Node], changed: Iterable[Tensor] = ()) -> "Graph":
        """The same network with other nodes, some tensors replaced or added, and unused tensors gone."""
        nodes = tuple(nodes)
        tensors = {**self.tensors, **{t.name: t for t in changed}}
        kept = {*self.inputs, *self.results, *(s.tensor for s in self.states)}
        used = {*kept, *(n for node in nodes for n in (*node.inputs, *node.outputs))}
        return replace(self, nodes=nodes, tensors={name: t for name, t in tensors.items() if name in used})

    def __str__(self) -> str:
        lines = [f"graph {self.name} ({self.numerics.value})"]
        lines += [f"  {tensor}" for tensor in self.tensors.values()]
        lines += [f"  input {', '.join(self.inputs)}", *(f"  {node}" for node in self.nodes)]
        lines += [
            f"  state {s.tensor} becomes {s.next}" + (f", in the memory of {s.joined}" if s.joined else "")
            for s in self.states
        ]
        return "\n".join([*lines, f"  output {', '.join(self.outputs)}", ""])
