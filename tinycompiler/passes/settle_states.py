"""What writes a state stands where every reader of the old value has run.

A state and its next value are one memory. So an assignment waits for all that read the state, under its own name or
reshaped, other assignments too; where states change places with each other, one of them is copied first. Where new
values are joined to the state in its own memory, what moves them waits for those that read all this, too; it stands at
the end, as nothing is gained before, and calls between which it stood could not become a run.
"""

from collections.abc import Mapping
from dataclasses import replace

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Assign, Copy
from tinycompiler.passes.rewriting import memory_of
from tinycompiler.tensor import Tensor


def settle_states(graph: Graph) -> Graph:
    """The writers of states as early as they may stand; a state that is assigned to itself stays what it is."""
    writers = {s.tensor: graph.writer_of(s.next) for s in graph.states}
    moving = {s: n for s, n in writers.items() if n is not None and not _changes_nothing(graph, s, n)}
    ordered, added = _ordered(graph, moving)
    gone = {n.name for n in writers.values() if n is not None}
    others = [n for n in graph.nodes if n.name not in gone]
    settled = replace(graph, states=tuple(s if s.tensor in moving else replace(s, next=s.tensor) for s in graph.states))
    return settled.with_nodes(_placed(settled, others, ordered), added)


def _changes_nothing(graph: Graph, state: str, writer: Node) -> bool:
    return isinstance(writer.op, Assign) and memory_of(graph, writer.inputs[0]) == state


def _state_of(graph: Graph, tensor: str) -> str:
    """The state in whose memory a tensor lies, or the tensor whose memory it is."""
    memory = memory_of(graph, tensor)
    return next((s.tensor for s in graph.states if s.joined == memory), memory)


def _ordered(graph: Graph, moving: Mapping[str, Node]) -> tuple[list[Node], list[Tensor]]:
    """Writers, each behind those that read its state, and the copies that break rings; new tensors."""
    pending, ordered, added = dict(moving), list[Node](), list[Tensor]()
    reads = {state: _state_of(graph, node.inputs[0]) for state, node in moving.items()}
    reads = {state: read for state, read in reads.items() if read != state}  # within its memory, a writer may read
    while pending:
        waited_for = {reads[state] for state in pending if state in reads}
        free = next((state for state in pending if state not in waited_for), None)
        if free is not None:
            ordered.append(pending.pop(free))
            continue
        state = next(state for state in pending if reads.get(state) in pending)
        node = pending[state]
        kept = replace(graph.tensors[node.inputs[0]], name=f"kept {node.inputs[0]} for {state}", variable=False)
        ordered.append(Node(f"keep for {node.name}", Copy(), node.inputs, (kept.name,)))
        pending[state] = replace(node, inputs=(kept.name,))
        del reads[state]
        added.append(kept)
    return ordered, added


def _placed(graph: Graph, others: list[Node], ordered: list[Node]) -> list[Node]:
    """Each of `ordered` behind the writer of what it reads, the readers of what it overwrites, and its like before."""
    overwritten = {s.next: s for s in graph.states}
    written = {name: i + 1 for i, node in enumerate(others) for name in node.outputs}
    last_read: dict[str, int] = {}
    for i, node in enumerate(others):
        for name in node.inputs:
            last_read[_state_of(graph, name)] = i + 1
    at: dict[int, list[Node]] = {}
    for node in ordered:
        state = overwritten.get(node.outputs[0])
        place = max(written.get(node.inputs[0], 0), last_read.get(state.tensor, 0) if state else 0)
        if state is not None and state.joined is not None:
            place = len(others)
        source = _state_of(graph, node.inputs[0])
        last_read[source] = max(last_read.get(source, 0), place)
        written[node.outputs[0]] = place
        at.setdefault(place, []).append(node)
    return [n for i in range(len(others) + 1) for n in (*at.get(i, ()), *others[i : i + 1])]
