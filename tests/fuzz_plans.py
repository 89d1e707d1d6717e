"""Random networks, planned in random ways: every plan must hold, and every tensor of every network must be exact.

    python -m tests.fuzz_plans --graphs 2000 --seed 0 [--batch 25] [--board nucleo_l4r5zi] [--emulator 4] [--only SEED]

A network (`tests.draws_plans`) is planned with random goals (fusion or none, any slowdown, a budget between the least
arena and the usual one), or with wishes that no planner would have: random runs, random scratch, a random order of its
nodes. The plan is checked, played byte by byte, and run on this machine under sanitizers; every `--emulator`-th batch
also on an emulated board. Held to `Graph.evaluate`: each tensor of each node, and the outputs as they are at the end.
"""

import argparse
import json
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tests.draws_plans import network
from tests.fuzz_graphs import cpu_seconds, trials_of
from tests.planned import Feeds, differences, named, on_board, on_host, together
from tinycompiler import memory
from tinycompiler.board import Core, load
from tinycompiler.bytemap import play
from tinycompiler.errors import DoesNotFit, ModelError
from tinycompiler.graph import Graph, Node
from tinycompiler.kernels import Run, Wishes, lower, stage_of
from tinycompiler.kernels.runs import run_of
from tinycompiler.lifetimes import QUICK_EFFORT, lay_out
from tinycompiler.ops import Reshape
from tinycompiler.planning import Goals, Planned, plan

BOARDS = ("nucleo_l4r5zi", "rpi_pico")
RUNS = 10_000_000
"""Seeds of one `--seed`."""
THOROUGH = 40
"""Every such network is packed with all effort, the others quickly."""


@dataclass(frozen=True, eq=False)
class Tried:
    """A network and its plan."""

    seed: int
    how: str
    planned: Planned
    trials: list[Feeds]


def attempt(seed: int, core: Core, number: int = 0) -> Tried:
    """The network of a seed, planned. Raises ModelError where it is refused; AssertionError for a plan that is bad."""
    rng = np.random.default_rng([seed, 1])
    graph = named(network(seed), number)
    if rng.random() < 0.3:
        graph = shuffled(graph, rng)
    if rng.random() < 0.55:
        how, planned = by_goals(graph, core, rng, memory.EFFORT if seed % THOROUGH == 0 else QUICK_EFFORT)
    else:
        how, planned = by_wishes(graph, core, rng)
    memory.check(planned.layout.plan)
    play(planned.calls, planned.layout)
    assert planned.layout.plan.lower_bound <= planned.arena
    return Tried(seed, how, planned, trials_of(graph, seed))


def by_goals(graph: Graph, core: Core, rng: np.random.Generator, effort: int) -> tuple[str, Planned]:
    """As a user may ask for it; a budget below what is possible is met when it is raised to what was said."""
    slowdown = [None, None, 0.03, 0.3, 0.0][int(rng.integers(5))]
    goals = Goals(fusion=bool(rng.random() < 0.85), slowdown=slowdown, effort=effort)
    usual = plan(graph, core, goals)
    if rng.random() < 0.5:
        return str(goals), usual
    budget = int(usual.arena * rng.uniform(0.3, 1))
    goals = replace(goals, budget=budget)
    try:
        return str(goals), met(graph, core, goals)
    except DoesNotFit as refusal:
        least = smallest_of(str(refusal))
    if not budget < least <= usual.arena:
        raise AssertionError(f"the smallest arena of {least} with a budget of {budget} and {usual.arena} without one")
    goals = replace(goals, budget=least)
    return str(goals), met(graph, core, goals)


def met(graph: Graph, core: Core, goals: Goals) -> Planned:
    """A plan within its budget."""
    planned = plan(graph, core, goals)
    assert goals.budget is not None
    assert planned.arena <= goals.budget
    return planned


def smallest_of(refusal: str) -> int:
    """The arena that a refused budget could have been."""
    found = re.search(r"smallest that was found has ([\d,]+)", refusal)
    assert found is not None, refusal
    return int(found[1].replace(",", ""))


def by_wishes(graph: Graph, core: Core, rng: np.random.Generator) -> tuple[str, Planned]:
    """Runs wherever some are possible, scratch as it comes."""
    limits = {node.name: int(rng.choice((0, 64, 300, 2000))) for node in graph.nodes} if rng.random() < 0.3 else {}
    spare = {node.name: int(rng.integers(0, 3000)) for node in graph.nodes} if rng.random() < 0.5 else {}
    wishes = Wishes(spare=spare, limits=limits)
    wishes = replace(wishes, runs=tuple(random_runs(graph, core, wishes, rng)))
    calls = lower(graph, core, wishes)
    planned = Planned(calls, lay_out(calls, effort=QUICK_EFFORT))
    return f"{'limits ' * bool(limits)}{'spare ' * bool(spare)}{len(wishes.runs)} runs {wishes.runs}", planned


def random_runs(graph: Graph, core: Core, wishes: Wishes, rng: np.random.Generator) -> Iterator[tuple[str, ...]]:
    """Nodes that follow each other and can be computed row by row, from the first to the last node."""
    nodes = [node for node in graph.nodes if not isinstance(node.op, Reshape)]
    start = 0
    while start < len(nodes) - 1:
        ends = [n for n in range(start + 2, min(start + 14, len(nodes)) + 1) if possible(graph, nodes[start:n])]
        rng.shuffle(ends)
        for end in ends[: int(rng.integers(0, 4))]:
            stages = [stage_of(wishes.site(graph, node), core) for node in nodes[start:end]]
            whole = [stage for stage in stages if stage is not None]
            if len(whole) == len(stages) and run_of(whole) is not None:
                yield tuple(node.name for node in nodes[start:end])
                start = end - 1
                break
        start += 1


def possible(graph: Graph, nodes: Sequence[Node]) -> bool:
    """Whether only the last one's output is read elsewhere."""
    names = {node.name for node in nodes}
    inner = [name for node in nodes[:-1] for name in node.outputs]
    readers = [[reader.name for reader in graph.readers_of(name)] for name in inner]
    return not set(inner) & set(graph.results) and all(some and set(some) <= names for some in readers)


def shuffled(graph: Graph, rng: np.random.Generator) -> Graph:
    """The nodes in another order in which they can run."""
    ready = {*graph.inputs, *(name for name, t in graph.tensors.items() if t.is_constant)}
    left, placed = list(graph.nodes), []
    while left:
        possible_now = [node for node in left if ready.issuperset(node.inputs)]
        node = possible_now[int(rng.integers(len(possible_now)))]
        left.remove(node)
        placed.append(node)
        ready.update(node.outputs)
    return replace(graph, nodes=tuple(placed)).verify()


# Many at once.


def compare(tried: Sequence[Tried], board: str | None) -> Iterator[tuple[Tried, str]]:
    """What is wrong with whom; a program that fails as a whole is halved."""
    planned = together([each.planned for each in tried])
    count = len(tried[0].trials) if board is None else 1
    trials = [{key: v for each in tried for key, v in each.trials[i].items()} for i in range(count)]
    try:
        heard = on_host(planned, trials) if board is None else on_board(planned, board, trials)
    except Exception as problem:
        if len(tried) == 1:
            if not isinstance(problem, DoesNotFit):
                yield tried[0], f"{type(problem).__name__}: {problem}"
            return
        for half in (tried[: len(tried) // 2], tried[len(tried) // 2 :]):
            yield from compare(half, board)
        return
    for each in tried:
        prefix = each.planned.calls.graph.nodes[0].name.partition("_")[0] + "_"
        for feeds, found in zip(each.trials, heard, strict=False):
            mine = {n: data for n, data in found.items() if n.removeprefix("output ").startswith(prefix)}
            wrong = list(differences(each.planned.calls.graph, feeds, mine))
            if wrong:
                yield each, f"{board or 'host'}: {'; '.join(wrong[:3])}"
                break


@dataclass
class Tally:
    """Figures of a run."""

    kinds: Counter[str]
    features: Counter[str]
    failures: list[tuple[int, str]]

    def fail(self, seed: int, words: str) -> None:
        self.kinds["wrong"] += 1
        self.failures.append((seed, words[:300]))
        print(f"FAILURE seed {seed}: {words}", flush=True)

    def take(self, planned: Planned) -> None:
        runs = [step for step in planned.calls.steps if isinstance(step, Run)]
        overlaps = planned.layout.plan.overlaps
        used = [o for o in overlaps if _overlap(planned, *o)]
        self.features.update(
            networks=1,
            tensors=len(planned.layout.owner),
            runs=len(runs),
            stages=sum(len(run.stages) for run in runs),
            overlaps=len(used),
            with_runs=bool(runs),
            with_overlaps=bool(used),
            optimal=planned.layout.plan.optimal,
        )


def _overlap(planned: Planned, below: str, above: str) -> bool:
    layout = planned.layout.plan
    size = next(b.size for b in layout.buffers if b.name == below)
    return layout.offsets[below] <= layout.offsets[above] < layout.offsets[below] + size


def fuzz_batch(seeds: Sequence[int], board: str, tally: Tally, *, emulator: bool, loud: bool = False) -> None:
    tried = []
    for number, seed in enumerate(seeds):
        try:
            tried.append(attempt(seed, load(board).core, number))
            if loud:
                print(tried[-1].how, tried[-1].planned.calls, memory.draw(tried[-1].planned.layout.plan), sep="\n")
        except ModelError:
            tally.kinds["refused"] += 1
        except Exception as problem:
            tally.fail(seed, f"plan: {type(problem).__name__}: {problem} {traceback.format_exc()[-600:]}")
    for each in tried:
        tally.take(each.planned)
    for place in (None, board) if emulator and tried else (None,) if tried else ():
        wrong = {each.seed for each, words in compare(tried, place) if not tally.fail(each.seed, words)}
        tally.kinds["exact on a board" if place else "exact on the host"] += len(tried) - len(wrong)


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_plans", description=__doc__)
    parser.add_argument("--graphs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help=f"networks have seeds from {RUNS:,} times this on")
    parser.add_argument("--batch", type=int, default=25, help="networks in one program")
    parser.add_argument("--board", default=None, help=f"instead of {' and '.join(BOARDS)} in turn")
    parser.add_argument("--emulator", type=int, default=4, help="every how many batches also run on a board; 0: none")
    parser.add_argument("--only", type=int, default=None, metavar="SEED", help="one network, told whole")
    options = parser.parse_args(given)
    tally, start = Tally(Counter(), Counter(), []), time.monotonic()
    first = options.seed * RUNS
    seeds: Sequence[int] = range(first, first + options.graphs) if options.only is None else [options.only]
    for number, at in enumerate(range(0, len(seeds), options.batch)):
        batch = seeds[at : at + options.batch]
        board = options.board or BOARDS[batch[0] // options.batch % 2]
        on_emulator = bool(options.emulator) and number // 2 % options.emulator == 0
        fuzz_batch(batch, board, tally, emulator=on_emulator, loud=options.only is not None)
        print(f"{time.monotonic() - start:.0f} s: {at + len(batch)} networks: {dict(tally.kinds)}", flush=True)
    summary = {"fuzz": "plans", "seed": options.seed, **tally.kinds, **tally.features, "cpu_seconds": cpu_seconds()}
    print(json.dumps({**summary, "failures": tally.failures}))
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
