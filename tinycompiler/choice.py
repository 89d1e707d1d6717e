"""Which kernel each node gets: the fastest choice within the flash, the smallest, or a middle.

Kernels stand best first, and by themselves nodes take the first that does not refuse (kernels/). Here the later ones
are looked at too: they are slower, and take less code or smaller weights. Code that nodes share is counted once, so
nodes cannot be decided one by one: for every set of kernels that a program may have the code of, each node's choices
are merged into the front of (flash, cycles), and the fronts of all sets into one. That is exact; it stays small since
few kernels are a choice, and what is dominated is dropped at every node.

Most kernels are faster than those behind them whatever the weights are. Of rivals, which pass over zeros or pack
weights into fewer bits, that depends on the weights, so estimates decide; reasons.py says what that gave and cost.

Estimates are measured ones (costs.py); the verdict on the fit is taken on the linked file as ever.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from operator import attrgetter, itemgetter
from typing import TypeAlias

from tinycompiler.board import Core
from tinycompiler.costs import costs, cycles
from tinycompiler.graph import Graph
from tinycompiler.kernels import Site, options
from tinycompiler.ops import Reshape

LEVELS = {"speed": "-O2", "balanced": "-O2", "size": "-Os"}
"""What a choice may aim at, and the C compiler's optimization for it."""
SLOWER = 1.02
"""A later kernel is taken for at least so many times slower than those before: estimates are not nearer than that."""
NEAR = 1.1
"""Rivals up to so many times slower are as fast, as far as estimates tell."""
MUCH_SMALLER = 0.75
"""Of the bytes, or less: then such a rival is taken."""
NODE = 160
"""Bytes of a node's call, its constant struct, and its share of what a kernel's variants take beyond the first."""
MOST_KERNELS = 8
"""Kernels whose code may be in the program or not; of more, those that are a choice for the fewest nodes always may."""
MOST_STATES = 3_000
"""Of a front while it grows; larger ones are thinned evenly by their flash, and the choice is then no longer proven."""
MOST_WORK = 300_000
"""Nodes times states of all fronts together, which bounds the states of large networks: about a second."""
LEAST_STATES = 4


Way: TypeAlias = "tuple[Way, str, str] | None"
"""Of the nodes so far: that of those before, the last node, its kernel. Shared, since a front has thousands."""
State = tuple[int, float, Way]
"""Flash, cycles, and the kernels that take so much."""


@dataclass(frozen=True)
class Option:
    """A kernel for a node, in estimated cycles and bytes of constants; its code is counted with the kernel."""

    kernel: str
    cycles: float
    constants: int
    encoding: str = ""
    """How weights are stored, where the kernel is a rival."""


@dataclass(frozen=True)
class Choice:
    """A kernel for every node that has several, and what the whole network then takes, estimated."""

    kernels: Mapping[str, str]
    cycles: float
    flash: int
    """Bytes of code and constants, without the firmware."""


@dataclass(frozen=True)
class Gain:
    """What more flash would buy, estimated: bytes, and the share of cycles that the fastest kernels save."""

    flash: int
    cycles: float


def gain(chosen: Choice, choices: Sequence[Choice]) -> Gain | None:
    """From a choice to the fastest of a front, where that is worth a word."""
    saved = 1 - choices[-1].cycles / chosen.cycles if chosen.cycles else 0.0
    return Gain(choices[-1].flash - chosen.flash, saved) if saved > 0.005 else None


def options_of(graph: Graph, core: Core, *, dense: bool = False) -> dict[str, list[Option]]:
    """The kernels of every node that has code, the fastest first. `dense`: see Site."""
    sites = (Site(graph, node, dense=dense) for node in graph.nodes if not isinstance(node.op, Reshape))
    return {site.node.name: listed for site in sites if (listed := _options(site, core))}


def _options(site: Site, core: Core) -> list[Option]:
    """Rivals without figures, or without a gain over the kernel that is taken without them, are left out."""
    listed: list[Option] = []
    for kernel, call in options(site, core):
        estimated = cycles(site.graph, site.node, kernel.name, core, kernel.multiplications(site))
        constants = sum({c.key: c.size for c in call.constants}.values())
        if not kernel.rival:
            slowest = max((SLOWER * option.cycles for option in listed), default=0.0)
            listed.append(Option(kernel.name, max(estimated or 0.0, slowest), constants))
        elif listed and estimated is not None and (estimated < listed[0].cycles or constants < listed[0].constants):
            listed.append(Option(kernel.name, estimated, constants, kernel.encoding))
    return sorted(listed, key=attrgetter("cycles"))


def fastest(found: Mapping[str, Sequence[Option]], core: Core) -> Choice:
    """Every node's fastest kernel, or one that is as fast within the estimate and packs weights much smaller."""
    table, first = costs(core), {node: _near_fastest(listed) for node, listed in found.items()}
    code = sum(table[kernel].code for kernel in {option.kernel for option in first.values()} if kernel in table)
    flash = code + sum(option.constants + NODE for option in first.values())
    return Choice({n: o.kernel for n, o in first.items()}, sum(o.cycles for o in first.values()), flash)


def _near_fastest(listed: Sequence[Option]) -> Option:
    first = listed[0]
    near = (o for o in listed if o.encoding and o.cycles <= NEAR * first.cycles)
    smaller = (o for o in near if o.constants <= MUCH_SMALLER * first.constants)
    return min(smaller, key=attrgetter("constants"), default=first)


def front(found: Mapping[str, Sequence[Option]], core: Core) -> list[Choice]:
    """All choices that none is better than in both flash and cycles, the smallest first."""
    table = costs(core)
    code = {name: cost.code for name, cost in table.items()}
    free = {node: listed for node, listed in found.items() if len(listed) > 1}
    forced = {listed[0].kernel for listed in found.values() if len(listed) == 1}
    fixed = sum(listed[0].constants for listed in found.values() if len(listed) == 1)
    fixed += sum(code.get(kernel, 0) for kernel in forced) + NODE * len(found)
    steady = sum(listed[0].cycles for listed in found.values() if len(listed) == 1)
    states: list[State] = []
    every = list(_sets(free, forced))
    most = max(LEAST_STATES, min(MOST_STATES, MOST_WORK // (len(every) * max(1, len(free)))))
    for allowed in every:
        extra = sum(code.get(kernel, 0) for kernel in allowed - forced)
        states += _within(free, allowed, (fixed + extra, steady, None), most)
    return [Choice(_kernels(way), spent, flash) for flash, spent, way in _undominated(states)]


def _kernels(way: Way) -> dict[str, str]:
    chosen = {}
    while way is not None:
        way, node, kernel = way
        chosen[node] = kernel
    return dict(reversed(chosen.items()))


def _sets(free: Mapping[str, Sequence[Option]], forced: set[str]) -> Iterator[frozenset[str]]:
    """The sets of kernels whose code is in the program."""
    uses: dict[str, int] = {}
    for listed in free.values():
        for option in listed:
            uses[option.kernel] = uses.get(option.kernel, 0) + 1
    optional = sorted((kernel for kernel in uses if kernel not in forced), key=lambda kernel: (-uses[kernel], kernel))
    always = forced | set(optional[MOST_KERNELS:])
    for count in range(min(len(optional), MOST_KERNELS) + 1):
        for chosen in combinations(optional[:MOST_KERNELS], count):
            yield frozenset(always | set(chosen))


def _within(free: Mapping[str, Sequence[Option]], allowed: frozenset[str], start: State, most: int) -> list[State]:
    """The front with the code of these kernels, which `start` has counted; empty where a node has none of them."""
    states = [start]
    for node, listed in free.items():
        usable = [option for option in listed if option.kernel in allowed]
        states = _undominated(
            (flash + o.constants, spent + o.cycles, (way, node, o.kernel))
            for flash, spent, way in states
            for o in usable
        )
        if len(states) > most:
            states = [*states[: -1 : -(-len(states) // most)], states[-1]]
    return states


def _undominated(states: Iterable[State]) -> list[State]:
    kept: list[State] = []
    for state in sorted(states, key=itemgetter(0, 1)):
        if not kept or state[1] < kept[-1][1]:
            kept.append(state)
    return kept


def pick(choices: Sequence[Choice], aim: str, flash: int | None) -> Choice:
    """Of a front: `speed` the fastest within `flash` bytes, `size` the smallest, `balanced` the one with the least
    product of flash and cycles, also within; the smallest where none is.
    """
    fitting = [choice for choice in choices if flash is None or choice.flash <= flash]
    if aim == "size" or not fitting:
        return choices[0]
    if aim == "balanced":
        return min(fitting, key=lambda choice: choice.flash * choice.cycles)
    return fitting[-1]
