"""`read`: a .tflite file becomes a Graph, or one ModelError with every blocker."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinycompiler.errors import ModelError
from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Assign, Copy, Numerics
from tinycompiler.readers import variables
from tinycompiler.readers.blocker import Blocker
from tinycompiler.readers.blockers import problems, unsound
from tinycompiler.readers.file import File
from tinycompiler.readers.nodes import Nodes
from tinycompiler.readers.objections import Objections
from tinycompiler.readers.signatures import chosen
from tinycompiler.readers.supported import REFUSED
from tinycompiler.readers.tflite import load

OF_TENSORS = ("type", "shape", "quantization", "storage")
"""Kinds of blockers after which an operator need not say the same of its tensors once more."""


@dataclass(frozen=True, eq=False)
class Inspection:
    """What a file holds: the graph when nothing blocks it, else the blockers."""

    file: File
    graph: Graph | None
    blockers: tuple[Blocker, ...]
    sound: Graph
    """The nodes that nothing blocks, what they lack being inputs: kernels can be asked about them in any case."""

    def network(self, name: str) -> Graph:
        """The whole network; ModelError with every blocker, each on a line of its own behind the file's `name`."""
        if self.graph is None:
            raise ModelError("\n".join(f"{name}: {blocker}" for blocker in self.blockers))
        return self.graph


def read(path: Path, numerics: Numerics = Numerics.LITERT) -> Graph:
    """The network in a file. ModelError lists every blocker."""
    return inspect(path, numerics).network(path.name)


def inspect(path: Path, numerics: Numerics = Numerics.LITERT, *, signature: str | None = None) -> Inspection:
    """The network, or all that blocks it; `signature` chooses one of several networks.

    ModelError only for files that are no .tflite at all, or damaged; UsageError for a signature that is not there.
    """
    file = load(path) if signature is None else chosen(load(path), signature)
    whole = problems(file)
    graph, nodes, of_states = _graph(c_identifier(path.stem), file, whole, numerics)
    spoiled = frozenset(name for blocker in whole if blocker.kind in OF_TENSORS for name, _ in blocker.tensors)
    floats = {operator.node for blocker in whole if blocker.kind == "float" for operator in blocker.operators}
    against = Objections(graph, nodes, spoiled, floats)
    found = (*whole, *nodes.refused, *of_states, *against.walk())
    if not found:
        return Inspection(file, graph.verify(), (), graph)
    return Inspection(file, None, found, _partial(graph, against.sound))


def _graph(name: str, file: File, whole: Sequence[Blocker], numerics: Numerics) -> tuple[Graph, Nodes, list[Blocker]]:
    """The graph of all operators that can be read, its variables as states, and what is wrong with those."""
    main, passed_over = file.subgraphs[0], unsound(file.subgraphs[0])
    refused = {o.index for blocker in whole if blocker.kind in REFUSED for o in blocker.operators}
    nodes = Nodes(main, numerics, passed_over, {t.name: t for t in main.tensors})
    walk = variables.variables_of(file, passed_over)
    for operator in main.operators:
        if operator.index in refused:
            nodes.blocked.update(operator.outputs)
        else:
            nodes.take(operator)
    for operator in main.operators:
        walk.take(operator, nodes.tensors)
    nodes.blocked |= walk.blocked
    read = [replace(n, inputs=tuple(walk.aliases.get(i, i) for i in n.inputs)) for n in nodes.nodes]
    # an output that is read from a variable keeps its name, by which a reference knows it
    copied = [o for o in dict.fromkeys(main.outputs) if o in walk.aliases]
    read += [Node(f"copy {o}", Copy(), (walk.aliases[o],), (o,)) for o in copied]
    tensors = dict(nodes.tensors)
    read, states = walk.states(read, tensors)
    graph = Graph(name, main.inputs, main.outputs, (), tensors, numerics, states)
    return graph.with_nodes(read), nodes, walk.problems


def _partial(graph: Graph, nodes: Sequence[Node]) -> Graph:
    """A network of these nodes alone: what nobody makes is an input, what nobody reads an output."""
    kept = [node for node in nodes if not isinstance(node.op, Assign)]
    made = {name for node in kept for name in node.outputs}
    asked = dict.fromkeys(name for node in kept for name in node.inputs)
    inputs = tuple(name for name in asked if name not in made and not graph.tensors[name].is_constant)
    outputs = tuple(name for node in kept for name in node.outputs if name not in asked)
    return replace(graph, inputs=inputs, outputs=outputs, states=()).with_nodes(kept)


C11_HEADERS = (
    *("assert", "complex", "ctype", "errno", "fenv", "float", "inttypes", "iso646", "limits", "locale", "math"),
    *("setjmp", "signal", "stdalign", "stdarg", "stdatomic", "stdbool", "stddef", "stdint", "stdio", "stdlib"),
    *("stdnoreturn", "string", "tgmath", "threads", "time", "uchar", "wchar", "wctype"),
)
TAKEN = frozenset(("model", *C11_HEADERS))
"""Names whose header, `<name>.h`, would hide another one: `model.h` is emitted too, the others are C11's."""


def c_identifier(name: str) -> str:
    """A name that C accepts, lower case, and whose header hides no other."""
    cleaned = "".join(c if c.isascii() and c.isalnum() else "_" for c in name.lower()).strip("_")
    named = f"m{cleaned}" if not cleaned or cleaned[0].isdigit() else cleaned
    return f"{named}_net" if named in TAKEN else named
