"""Graph -> Graph rewrites. A pass changes no output byte: evaluate(g) == evaluate(pass(g)) on every graph that it
touches.
"""

from collections.abc import Callable

from tinycompiler.graph import Graph
from tinycompiler.passes.drop_dead import drop_dead
from tinycompiler.passes.drop_identities import drop_identities
from tinycompiler.passes.fold_constants import fold_constants
from tinycompiler.passes.fuse_clamps import fuse_clamps
from tinycompiler.passes.fuse_pads import fuse_pads
from tinycompiler.passes.own_outputs import own_outputs

PASSES: tuple[Callable[[Graph], Graph], ...] = (
    fold_constants,  # first: what is constant needs no other rewrite
    drop_identities,  # before fusing: an identity between two nodes hides that they are neighbours
    fuse_pads,
    fuse_clamps,
    drop_dead,  # sweeps up what the others left unread
    own_outputs,  # last: outputs that turned out to be constants
)


def optimize(graph: Graph) -> Graph:
    """The graph after all passes."""
    for rewrite in PASSES:
        graph = rewrite(graph).verify()
    return graph


__all__ = ["PASSES", "optimize"]
