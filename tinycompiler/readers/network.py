"""`read`: a .tflite file becomes a Graph, or one ModelError with every blocker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinycompiler.errors import ModelError
from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Copy, Numerics
from tinycompiler.readers import variables
from tinycompiler.readers.blockers import problems, unsound
from tinycompiler.readers.operators import OPERATORS, VALUES, Refused, Site, wrong_count
from tinycompiler.readers.tflite import File, Operator, Subgraph, load
from tinycompiler.tensor import DType, Tensor

SHAPE_TYPES = (DType.INT32, DType.INT64)


@dataclass(frozen=True, eq=False)
class Inspection:
    """What a file holds: the graph when nothing blocks it, else the blockers, one sentence or more each."""

    file: File
    graph: Graph | None
    blockers: tuple[str, ...]


def read(path: Path, numerics: Numerics = Numerics.LITERT) -> Graph:
    """The network in a file. ModelError lists every blocker."""
    found = inspect(path, numerics)
    if found.graph is None:
        raise ModelError("\n".join(f"{path.name}: {blocker}" for blocker in found.blockers))
    return found.graph


def inspect(path: Path, numerics: Numerics = Numerics.LITERT) -> Inspection:
    """The network, or all that blocks it. ModelError only for files that are no .tflite at all, or damaged."""
    file = load(path)
    blockers = problems(file)
    main = file.subgraphs[0]
    nodes: list[Node] = []
    # A network of another arithmetic would have every operator refused for the same one reason.
    integer = any(t.dtype is DType.INT8 for t in main.tensors)
    if integer or not blockers:
        nodes, refused, known = _nodes(main, numerics, unsound(main) if blockers else frozenset())
        blockers += refused
    if not blockers:
        graph, problems_of_state = _graph(path.stem, file, nodes, known, numerics)
        blockers += problems_of_state or _objections(graph)
        if not blockers:
            return Inspection(file, graph.verify(), ())
    return Inspection(file, None, tuple(blockers))


def _graph(
    stem: str, file: File, nodes: Sequence[Node], known: Mapping[str, Tensor], numerics: Numerics
) -> tuple[Graph, list[str]]:
    """The graph, its variables as states, and what is wrong with them."""
    main = file.subgraphs[0]
    tensors = dict(known)
    walk = variables.variables_of(file)
    for operator in main.operators:
        walk.take(operator, tensors)
    read = [replace(n, inputs=tuple(walk.aliases.get(i, i) for i in n.inputs)) for n in nodes]
    # an output that is read from a variable keeps its name, by which a reference knows it
    copied = [o for o in dict.fromkeys(main.outputs) if o in walk.aliases]
    read += [Node(f"copy {o}", Copy(), (walk.aliases[o],), (o,)) for o in copied]
    read, states = walk.states(read, tensors)
    graph = Graph(c_identifier(stem), main.inputs, main.outputs, (), tensors, numerics, states)
    return graph.with_nodes(read), walk.problems


C11_HEADERS = (
    *(
        "assert",
        "complex",
        "ctype",
        "errno",
        "fenv",
        "float",
        "inttypes",
        "iso646",
        "limits",
        "locale",
        "math",
        "setjmp",
    ),
    *("signal", "stdalign", "stdarg", "stdatomic", "stdbool", "stddef", "stdint", "stdio", "stdlib", "stdnoreturn"),
    *("string", "tgmath", "threads", "time", "uchar", "wchar", "wctype"),
)
TAKEN = frozenset(("model", *C11_HEADERS))
"""Names whose header, `<name>.h`, would hide another one: `model.h` is emitted too, the others are C11's."""


def c_identifier(name: str) -> str:
    """A name that C accepts, lower case, and whose header hides no other."""
    cleaned = "".join(c if c.isascii() and c.isalnum() else "_" for c in name.lower()).strip("_")
    named = f"m{cleaned}" if not cleaned or cleaned[0].isdigit() else cleaned
    return f"{named}_net" if named in TAKEN else named


def _nodes(
    main: Subgraph, numerics: Numerics, passed_over: frozenset[str]
) -> tuple[list[Node], list[str], dict[str, Tensor]]:
    """The nodes, refusals, and all tensors: those that say shapes are constants now.

    Operators at tensors that are `passed_over`, as something blocks those already, are not looked at.
    """
    tensors = {t.name: t for t in main.tensors}
    nodes: list[Node] = []
    refused: list[str] = []
    unknown: dict[str, list[Operator]] = {}
    for operator in main.operators:
        if operator.name in variables.OPERATORS or not passed_over.isdisjoint((*operator.inputs, *operator.outputs)):
            continue
        if operator.name == "SHAPE" and _is_shape(operator, tensors):
            tensors[operator.outputs[0]] = _shape(operator, tensors)
            continue
        if operator.name not in OPERATORS:
            if not operator.name.startswith("CUSTOM:"):  # those are named by `blockers`
                unknown.setdefault(operator.name, []).append(operator)
            continue
        miscounted = wrong_count(operator)
        if miscounted:
            refused.append(f"{operator}: {miscounted}")
            continue
        try:
            op = OPERATORS[operator.name](Site(operator, tensors))
        except Refused as refusal:
            refused.append(f"{operator}: {refusal}")
            continue
        inputs = tuple(name for name in operator.inputs if name is not None)
        if operator.name in VALUES:
            inputs = tuple(inputs[i] for i in VALUES[operator.name] if i < len(inputs))
        node = Node(f"{operator.name.lower()}_{operator.index}", op, inputs, operator.outputs)
        folded = _computed(node, tensors, numerics)
        tensors |= {t.name: t for t in folded}
        if not folded:
            nodes.append(node)
    supported = ", ".join(OPERATORS)
    for name, users in unknown.items():
        places = ", ".join(str(o.index) for o in users[:3]) + (f" and {len(users) - 3} more" if len(users) > 3 else "")
        refused.append(
            f"{name} (operator {places}, version {users[0].version}) is not supported; supported are {supported}"
        )
    return nodes, refused, tensors


def _is_shape(operator: Operator, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a SHAPE is well formed; else it is refused as unknown."""
    if len(operator.inputs) != 1 or operator.inputs[0] is None or len(operator.outputs) != 1:
        return False
    y = tensors[operator.outputs[0]]
    return y.dtype in SHAPE_TYPES and y.shape == (len(tensors[operator.inputs[0]].shape),)


def _shape(operator: Operator, tensors: Mapping[str, Tensor]) -> Tensor:
    """SHAPE's output as a constant: every shape is known."""
    y = tensors[operator.outputs[0]]
    return replace(y, data=np.array(tensors[operator.inputs[0] or ""].shape, y.dtype.numpy))


def _computed(node: Node, tensors: Mapping[str, Tensor], numerics: Numerics) -> list[Tensor]:
    """The outputs of a node that computes with shapes, as constants; none for any other node.

    Later operators may need them as parameters, which is why this cannot wait for `fold_constants`.
    """
    inputs, outputs = [tensors[n] for n in node.inputs], [tensors[n] for n in node.outputs]
    if not all(t.dtype in SHAPE_TYPES and t.is_constant for t in inputs) or not inputs:
        return []
    if any(t.dtype not in SHAPE_TYPES for t in outputs):
        return []
    graph = Graph("", (), (), (), tensors, numerics)
    if graph.why_not(node) is not None:
        return []
    values = node.op.evaluate(inputs, outputs, [t.values for t in inputs], numerics)
    return [replace(t, data=v) for t, v in zip(outputs, values, strict=True)]


def _objections(graph: Graph) -> list[str]:
    """What the operators say of their tensors, and values that nobody computes."""
    found = []
    known = {*graph.inputs, *(s.tensor for s in graph.states)}
    known |= {name for name, t in graph.tensors.items() if t.is_constant}
    for node in graph.nodes:
        missing = [name for name in node.inputs if name not in known]
        if missing:
            found.append(
                f"{node.name}: reads '{missing[0]}', which nothing before it computes; the file is inconsistent"
            )
        else:
            objection = graph.why_not(node)
            if objection:
                found.append(f"{node.name}: {objection}")
        twice = [name for name in node.outputs if name in known]
        if twice:
            found.append(f"{node.name}: computes '{twice[0]}', which has a value already; the file is inconsistent")
        known.update(node.outputs)
    found += [f"output '{name}' is never computed" for name in graph.results if name not in known]
    for name in dict.fromkeys((*graph.inputs, *graph.outputs)):
        quantization = graph.tensors[name].quantization
        if quantization is not None and len(quantization.scales) > 1:
            found.append(f"'{name}', an input or output of the network, has a scale for each channel; wanted one scale")
    return found
