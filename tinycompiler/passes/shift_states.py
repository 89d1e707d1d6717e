"""States that shift: new values are joined to the old ones, and the last of all these are what the next inference gets.

    joined = concatenation(state, frame)      next = joined[start:]      state becomes next

Two things follow. The slice writes where the state lies, so nothing is assigned any more. And `joined` may lie where
the state lies: with room for the frame behind it, what makes the frame writes it there, those that read `joined` read
it where it lies, and the slice moves bytes down within that memory. Nothing is joined by copying.

The second costs memory that lasts, as long as the frame; whether that pays is for the plan of memory to say, so this
pass marks every state for which it is exact (`State.joined`).
"""

from dataclasses import replace
from math import prod

import numpy as np

from tinycompiler.graph import Graph, Node, State
from tinycompiler.ops import Assign, Concatenation
from tinycompiler.ops.movement import Movement
from tinycompiler.passes.rewriting import memory_of, only_reader


def shift_states(graph: Graph) -> Graph:
    """Slices that write states themselves, and the states that may lie in what they are cut out of."""
    gone: set[str] = set()
    states = []
    for state in graph.states:
        assign = graph.writer_of(state.next)
        if assign is not None and _writes_itself(graph, assign):
            gone.add(assign.name)
            joined = joined_of(graph, state) if why_not_joined(graph, state) is None else None
            state = replace(state, next=assign.inputs[0], joined=joined)
        states.append(state)
    return replace(graph, states=tuple(states)).with_nodes(n for n in graph.nodes if n.name not in gone)


def _writes_itself(graph: Graph, assign: Node) -> bool:
    """Whether what moves the assigned value can write it into the state, where only the state wants it."""
    value = assign.inputs[0]
    mover = graph.writer_of(value)
    if mover is None or not isinstance(mover.op, Movement) or isinstance(mover.op, Assign):
        return False
    if len(mover.inputs) != 1 or len(mover.outputs) != 1 or not only_reader(graph, value):
        return False
    return memory_of(graph, mover.inputs[0]) not in {s.tensor for s in graph.states}


def joined_of(graph: Graph, state: State) -> str | None:
    """The tensor that the next value is cut out of."""
    mover = _mover(graph, state)
    return None if mover is None else memory_of(graph, mover.inputs[0])


def _mover(graph: Graph, state: State) -> Node | None:
    """What makes the next value out of one tensor without computing."""
    node = graph.writer_of(state.next)
    if node is not None and isinstance(node.op, Assign):
        node = graph.writer_of(node.inputs[0]) if only_reader(graph, node.inputs[0]) else None
    if node is None or not isinstance(node.op, Movement) or isinstance(node.op, Assign):
        return None
    return node if len(node.inputs) == 1 and len(node.outputs) == 1 else None


def why_not_joined(graph: Graph, state: State) -> str | None:
    """None where the state may lie in the memory of what its next value is cut out of; else a sentence."""
    mover = _mover(graph, state)
    if mover is None:
        return "the next value of the state is not a slice that only the state wants"
    joined = memory_of(graph, mover.inputs[0])
    joining = graph.writer_of(joined)
    if joining is None or not isinstance(joining.op, Concatenation):
        return f"the next value of the state is cut out of '{joined}', which is not a concatenation"
    if memory_of(graph, joining.inputs[0]) != state.tensor:
        return f"'{joined}' does not begin with the state"
    if prod(graph.tensors[joined].shape[: joining.op.axis]) != 1:
        return f"the state's bytes do not stay together in '{joined}', which is joined along axis {joining.op.axis}"
    if run_start(graph, mover) is None:
        return f"{mover.name} does not cut one piece out of '{joined}'"
    if any(memory_of(graph, name) == joined for name in graph.outputs):
        return f"'{joined}' is an output, which has to outlive the state's change"
    return None


def run_start(graph: Graph, mover: Node) -> int | None:
    """The first element of the run of neighbours that a node cuts out of its input; None where it is no such run.

    Found by moving indices.
    """
    assert isinstance(mover.op, Movement)
    x, y = graph.tensors[mover.inputs[0]], graph.tensors[mover.outputs[0]]
    if not 0 < y.elements <= x.elements:
        return None
    [moved] = mover.op.rearrange([np.arange(x.elements).reshape(x.shape)], -1)
    found = moved.ravel()
    first = int(found[0])
    return first if first >= 0 and (found == np.arange(first, first + y.elements)).all() else None
