"""Why the weights of a layer are stored as they are: what that saves and costs, and what was aimed at."""

from collections.abc import Mapping, Sequence

import numpy as np

from tinycompiler.choice import NEAR, Option
from tinycompiler.graph import Graph, Node

WORTH_A_WORD = 0.1
"""The least share of zeros."""


def reasons(
    graph: Graph, found: Mapping[str, Sequence[Option]], kernels: Mapping[str, str], aim: str
) -> dict[str, str]:
    """Of nodes where a rival was a choice: what the chosen encoding saves and costs, and what was aimed at."""
    result = {}
    for node in graph.nodes:
        listed = found.get(node.name, ())
        rivals = [option for option in listed if option.encoding]
        if rivals:
            chosen = next(option for option in listed if option.kernel == kernels[node.name])
            dense = next(option for option in listed if not option.encoding)
            result[node.name] = _zeros(graph, node) + _weighed(chosen, dense, rivals[0], listed[0], aim)
    return result


def _zeros(graph: Graph, node: Node) -> str:
    """The share of weights that are zero, where there are enough to mention."""
    constants = [t for t in graph.inputs_of(node) if t.is_constant]
    weights = max(constants, key=lambda t: t.elements, default=None)
    share = 0.0 if weights is None else 1 - np.count_nonzero(weights.values) / weights.elements
    return f"{100 * share:.0f} % zero: " if share >= WORTH_A_WORD else ""


def _weighed(chosen: Option, dense: Option, rival: Option, fastest: Option, aim: str) -> str:
    """Against the fastest dense kernel; where that was chosen, what the fastest rival would have given."""
    told = chosen if chosen.encoding else rival
    saved, time = dense.constants - told.constants, round(100 * (told.cycles / max(dense.cycles, 1.0) - 1))
    size = f"{'saves' if saved >= 0 else 'adds'} {abs(saved):,} bytes"
    speed = f"{'costs' if time >= 0 else 'saves'} {abs(time)} % of the time (estimated)"
    taken = "chosen" if chosen.encoding else f"{chosen.kernel} was chosen"
    return f"{told.encoding} {size} and {speed}; {taken} because {_because(chosen, fastest, aim)}"


def _because(chosen: Option, fastest: Option, aim: str) -> str:
    if chosen is fastest:
        return "it is the fastest"
    if aim != "speed":
        return f"of --optimize {aim}"
    return "it is as fast, within the estimate" if chosen.cycles <= NEAR * fastest.cycles else "flash is the limit"
