"""What operators say against their tensors, and values that nobody computes or that are computed twice."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Numerics
from tinycompiler.readers.blocker import AGAIN, LISTED, Blocker, objection, typed
from tinycompiler.readers.nodes import Nodes


@dataclass
class Objections:
    """A walk over a graph's nodes; `spoiled` tensors and `covered` nodes were blocked before, and are not asked."""

    graph: Graph
    made: Nodes
    spoiled: frozenset[str]
    covered: Collection[str]
    sound: list[Node] = field(default_factory=list)
    """The nodes against which nothing is said, after the walk."""

    def walk(self) -> list[Blocker]:
        """Every blocker, in the order of the nodes, then of the outputs."""
        graph = self.graph
        known = {*graph.inputs, *(s.tensor for s in graph.states), *self.made.blocked, *self.made.passed_over}
        known |= {name for name, t in graph.tensors.items() if t.is_constant}
        # constants of types that are not read have no data
        known |= self.spoiled - {name for operator in self.made.main.operators for name in operator.outputs}
        found: list[Blocker] = []
        for node in graph.nodes:
            is_covered = node.name in self.covered or not self.spoiled.isdisjoint((*node.inputs, *node.outputs))
            against = list(self._against(node, known, is_covered))
            found += against
            if not against and not is_covered:
                self.sound.append(node)
            known.update(node.outputs)
        said = {name for blocker in found for name, _ in blocker.tensors}
        return [*found, *self._edges(known, said | self.spoiled)]

    def _against(self, node: Node, known: Collection[str], is_covered: bool) -> Iterator[Blocker]:
        missing = [name for name in node.inputs if name not in known]
        if missing:
            sentence = f"reads '{missing[0]}', which nothing before it computes; the file is inconsistent"
            yield self._blocker("structure", node, sentence)
        elif not is_covered:
            yield from self._of_operator(node)
        twice = [name for name in node.outputs if name in known]
        if twice:
            sentence = f"computes '{twice[0]}', which has a value already; the file is inconsistent"
            yield self._blocker("structure", node, sentence)

    def _of_operator(self, node: Node) -> Iterator[Blocker]:
        sentence = self.graph.why_not(node)
        if sentence is None:
            return
        others = [n for n in Numerics if replace(self.graph, numerics=n).why_not(node) is None]
        if others:
            hint = f"compile with --numerics {others[0].value}"
            yield replace(self._blocker("numerics", node, sentence), hint=hint)
        else:
            yield self._blocker("tensors", node, sentence)

    def _blocker(self, kind: str, node: Node, sentence: str) -> Blocker:
        operator = self.made.makers.get(node.name)
        if operator is not None:
            return objection(kind, sentence, operator, self.made.main)
        tensors = typed(self.made.main, (*node.inputs, *node.outputs))
        return Blocker("state", f"{node.name}: {sentence}", LISTED, (), tensors)

    def _edges(self, known: Collection[str], said: Collection[str]) -> Iterator[Blocker]:
        graph, main = self.graph, self.made.main
        for name in graph.results:
            if name not in known:
                yield Blocker("structure", f"output '{name}' is never computed", AGAIN, (), typed(main, [name]))
        for name in dict.fromkeys((*graph.inputs, *graph.outputs)):
            quantization = graph.tensors[name].quantization
            if quantization is not None and len(quantization.scales) > 1 and name not in said:
                problem = "an input or output of the network has a scale for each channel, wanted one scale"
                yield Blocker("quantization", problem, AGAIN, tuple(main.users.get(name, ())), typed(main, [name]))
