"""Which states have room behind them for what is joined to them (`State.joined`).

With room, a state takes as many bytes more as the frame has, for good; without, the joined tensor takes arena while it
is needed. So room pays for the largest joined tensors, down to where something else is the peak. Chosen is what needs
the fewest bytes in arena and states together; of equals, what copies less.

Chosen: to try the largest one, the largest two, and so on, then each one by itself, instead of every set, since what
matters is the peak, and the largest make it.
"""

from collections.abc import Iterable
from dataclasses import replace

from tinycompiler.board import Core
from tinycompiler.graph import Graph
from tinycompiler.kernels import Calls, lower
from tinycompiler.needs import Needs
from tinycompiler.passes.settle_states import settle_states

MOST_TRIALS = 60
"""Sets of states that are tried in one round."""


def give_room(graph: Graph, core: Core) -> Graph:
    """The graph with `joined` kept only for the states where it pays. Raises ModelError for nodes without a kernel."""
    able = [s.tensor for s in graph.states if s.joined]
    if not able:
        return graph
    base = lower(_with_room(graph, ()), core)
    able.sort(key=lambda name: -_joined_bytes(graph, name))
    step = -(-len(able) // MOST_TRIALS)
    trials = [frozenset(able[:count]) for count in (*range(0, len(able), step), len(able))]
    best = min(trials, key=lambda chosen: _cost(graph, base, chosen))
    for name in able[:MOST_TRIALS]:
        best = min(best, best ^ {name}, key=lambda chosen: _cost(graph, base, chosen))
    return _with_room(graph, best)


def _with_room(graph: Graph, chosen: Iterable[str]) -> Graph:
    states = tuple(s if s.tensor in chosen else replace(s, joined=None) for s in graph.states)
    return settle_states(replace(graph, states=states))


def _joined_bytes(graph: Graph, state: str) -> int:
    joined = next(s.joined for s in graph.states if s.tensor == state)
    return graph.tensors[joined].bytes if joined else 0


def _cost(graph: Graph, base: Calls, chosen: frozenset[str]) -> tuple[int, int]:
    """(bytes of arena at least and of states, copies); `base`: the calls where no state has room."""
    states = tuple(s if s.tensor in chosen else replace(s, joined=None) for s in graph.states)
    needs = Needs(replace(base.graph, states=states), base.aliases)
    alive, last = needs.alive_before(base.calls), needs.last_reads(base.calls)
    peak = max(needs.of(call, alive[i], last, i) for i, call in enumerate(base.calls))
    return peak + needs.sizes(s.joined or s.tensor for s in states), -len(chosen)
