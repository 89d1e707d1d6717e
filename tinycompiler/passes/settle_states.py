"""Assignments of states stand where every reader of the old value has run.

A state and its next value are one memory. So an assignment waits for all that read the state, under its own name or
reshaped, other assignments too; where states change places with each other, one of them is copied first.
"""

from dataclasses import replace

from tinycompiler.graph import Graph, Node, State
from tinycompiler.ops import Copy
from tinycompiler.passes.rewriting import memory_of
from tinycompiler.tensor import Tensor


def settle_states(graph: Graph) -> Graph:
    """The assignments as early as they may stand; a state that is assigned to itself stays what it is."""
    assigns = {s.tensor: graph.writer_of(s.next) for s in graph.states}
    moving = {s: n for s, n in assigns.items() if n is not None and memory_of(graph, n.inputs[0]) != s}
    ordered, added = _ordered(graph, moving)
    gone = {n.name for n in assigns.values() if n is not None}
    others = [n for n in graph.nodes if n.name not in gone]
    states = tuple(s if s.tensor in moving else replace(s, next=s.tensor) for s in graph.states)
    return replace(graph, states=states).with_nodes(_placed(graph, others, ordered, states), added)


def _ordered(graph: Graph, moving: dict[str, Node]) -> tuple[list[Node], list[Tensor]]:
    """Assignments, each behind those that read its state, and the copies that break rings; new tensors."""
    pending, ordered, added = dict(moving), list[Node](), list[Tensor]()
    while pending:
        read = {memory_of(graph, node.inputs[0]) for node in pending.values()}
        free = next((state for state in pending if state not in read), None)
        if free is not None:
            ordered.append(pending.pop(free))
            continue
        state, node = next((s, n) for s, n in pending.items() if memory_of(graph, n.inputs[0]) in pending)
        kept = replace(graph.tensors[node.inputs[0]], name=f"kept {node.inputs[0]} for {state}", variable=False)
        ordered.append(Node(f"keep for {node.name}", Copy(), node.inputs, (kept.name,)))
        pending[state] = replace(node, inputs=(kept.name,))
        added.append(kept)
    return ordered, added


def _placed(graph: Graph, others: list[Node], ordered: list[Node], states: tuple[State, ...]) -> list[Node]:
    """Each of `ordered` behind the writer of what it reads, the readers of what it overwrites, and its like before."""
    overwritten = {s.next: s.tensor for s in states}
    written = {name: i + 1 for i, node in enumerate(others) for name in node.outputs}
    last_read: dict[str, int] = {}
    for i, node in enumerate(others):
        for name in node.inputs:
            last_read[memory_of(graph, name)] = i + 1
    at: dict[int, list[Node]] = {}
    for node in ordered:
        state = overwritten.get(node.outputs[0], "")
        place = max(written.get(node.inputs[0], 0), last_read.get(state, 0))
        source = memory_of(graph, node.inputs[0])
        last_read[source] = max(last_read.get(source, 0), place)
        written[node.outputs[0]] = place
        at.setdefault(place, []).append(node)
    return [n for i in range(len(others) + 1) for n in (*at.get(i, ()), *others[i : i + 1])]
