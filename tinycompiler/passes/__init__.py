"""Graph -> Graph rewrites. A pass changes no output byte: evaluate(g) == evaluate(pass(g)) on every graph that it
touches.
"""

from collections.abc import Callable, Sequence

from tinycompiler.graph import Graph
from tinycompiler.passes.drop_dead import drop_dead
from tinycompiler.passes.drop_identities import drop_identities
from tinycompiler.passes.fold_constants import fold_constants
from tinycompiler.passes.fold_dilation import fold_dilation
from tinycompiler.passes.free_moves import free_moves
from tinycompiler.passes.fuse_clamps import fuse_clamps
from tinycompiler.passes.fuse_pads import fuse_pads
from tinycompiler.passes.merge_transposes import merge_transposes
from tinycompiler.passes.own_outputs import own_outputs
from tinycompiler.passes.prune_channels import prune_channels
from tinycompiler.passes.settle_states import settle_states
from tinycompiler.passes.shift_states import shift_states
from tinycompiler.passes.sink_transposes import sink_transposes
from tinycompiler.passes.stack_depthwise import stack_depthwise

PASSES: tuple[Callable[[Graph], Graph], ...] = (
    fold_constants,  # first: what is constant needs no other rewrite
    merge_transposes,
    sink_transposes,  # behind what they surround, where they meet and cancel
    free_moves,  # what of all that moves nothing
    drop_identities,  # before fusing: an identity between two nodes hides that they are neighbours
    fold_dilation,  # before pads are fused, since it looks for the three as exporters write them
    fuse_pads,
    fuse_clamps,
    stack_depthwise,  # when each has its own clamp, if any
    prune_channels,  # after the clamps are fused: what a ReLU makes constant is one operator's own output then
    fold_constants,  # again: a layer may have become constant as a whole
    drop_dead,  # sweeps up what the others left unread
    own_outputs,  # outputs that turned out to be constants
    shift_states,  # when it is known who reads what
    settle_states,  # last: where a state may be overwritten depends on who reads it in the end
)


def optimize(graph: Graph, passes: Sequence[Callable[[Graph], Graph]] = PASSES) -> Graph:
    """The graph after all passes, or some."""
    for rewrite in passes:
        graph = rewrite(graph).verify()
    return graph


__all__ = ["PASSES", "optimize"]
