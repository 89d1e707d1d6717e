"""`read`: a .tflite file becomes a Graph, or one ModelError with every blocker."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinycompiler.errors import ModelError
from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Numerics
from tinycompiler.readers import variables
from tinycompiler.readers.blockers import problems
from tinycompiler.readers.operators import OPERATORS, VALUES, Refused, Site
from tinycompiler.readers.tflite import File, Operator, Subgraph, load
from tinycompiler.tensor import DType


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
        nodes, refused = _nodes(main)
        blockers += refused
    if not blockers:
        graph, problems_of_state = _graph(path.stem, file, nodes, numerics)
        blockers += problems_of_state or _objections(graph)
        if not blockers:
            return Inspection(file, graph.verify(), ())
    return Inspection(file, None, tuple(blockers))


def _graph(stem: str, file: File, nodes: Sequence[Node], numerics: Numerics) -> tuple[Graph, list[str]]:
    """The graph, its variables as states, and what is wrong with them."""
    main = file.subgraphs[0]
    tensors = {t.name: t for t in main.tensors}
    walk = variables.variables_of(file)
    for operator in main.operators:
        walk.take(operator, tensors)
    read = [replace(n, inputs=tuple(walk.aliases.get(i, i) for i in n.inputs)) for n in nodes]
    outputs = tuple(walk.aliases.get(o, o) for o in main.outputs)
    read, states = walk.states(read, tensors)
    graph = Graph(c_identifier(stem), main.inputs, outputs, (), tensors, numerics, states)
    return graph.with_nodes(read), walk.problems


TAKEN = frozenset(
    "model assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg "
    "stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype".split()
)
"""Names whose header, `<name>.h`, would hide another one: `model.h` is emitted too, the others are C11's."""


def c_identifier(name: str) -> str:
    """A name that C accepts, lower case, and whose header hides no other."""
    cleaned = "".join(c if c.isascii() and c.isalnum() else "_" for c in name.lower()).strip("_")
    named = f"m{cleaned}" if not cleaned or cleaned[0].isdigit() else cleaned
    return f"{named}_net" if named in TAKEN else named


def _nodes(main: Subgraph) -> tuple[list[Node], list[str]]:
    tensors = {t.name: t for t in main.tensors}
    nodes: list[Node] = []
    refused: list[str] = []
    unknown: dict[str, list[Operator]] = {}
    for operator in main.operators:
        if operator.name in variables.OPERATORS:
            continue
        if operator.name not in OPERATORS:
            if not operator.name.startswith("CUSTOM:"):  # those are named by `blockers`
                unknown.setdefault(operator.name, []).append(operator)
            continue
        try:
            op = OPERATORS[operator.name](Site(operator, tensors))
        except Refused as refusal:
            refused.append(f"{operator}: {refusal}")
            continue
        except IndexError:
            refused.append(f"{operator}: {len(operator.inputs)} inputs and {len(operator.outputs)} outputs are too few")
            continue
        inputs = tuple(name for name in operator.inputs if name is not None)
        if operator.name in VALUES:
            inputs = tuple(inputs[i] for i in VALUES[operator.name])
        nodes.append(Node(f"{operator.name.lower()}_{operator.index}", op, inputs, operator.outputs))
    supported = ", ".join(OPERATORS)
    for name, users in unknown.items():
        places = ", ".join(str(o.index) for o in users[:3]) + (f" and {len(users) - 3} more" if len(users) > 3 else "")
        refused.append(
            f"{name} (operator {places}, version {users[0].version}) is not supported; supported are {supported}"
        )
    return nodes, refused


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
        known.update(node.outputs)
    found += [f"output '{name}' is never computed" for name in graph.results if name not in known]
    return found
