"""The order of nodes: the best of all orders for small networks, and no worse than the own for large ones."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from tests.draws import random_values
from tests.draws_plans import network
from tests.fuzz_plans import shuffled
from tests.networks import diamonds, wide
from tinycompiler.board import CORES
from tinycompiler.errors import ModelError
from tinycompiler.graph import Graph
from tinycompiler.kernels import Call, Calls, lower
from tinycompiler.lifetimes import lay_out
from tinycompiler.needs import Needs
from tinycompiler.node_order import best_order
from tinycompiler.ops import Reshape

CORE = CORES["cortex-m4f"]


def peak(calls: Calls, order: Sequence[Call]) -> int:
    """Bytes that the hungriest call needs, with tensors that live from their call to their last reader."""
    needs = Needs(calls.graph, calls.aliases)
    alive, last = needs.alive_before(order), needs.last_reads(order)
    return max(needs.of(call, alive[i], last, i) for i, call in enumerate(order))


def without_scratch(calls: Calls) -> Calls:
    """Of which every call needs its own at its time, in whatever order."""
    return replace(calls, steps=tuple(replace(call, scratch=0) for call in calls.calls))


def orders(calls: Calls) -> Iterator[tuple[Call, ...]]:
    """Every order in which the calls can run."""
    graph = calls.graph
    constants = {name for name, t in graph.tensors.items() if t.is_constant}

    def extended(done: tuple[Call, ...], ready: frozenset[str]) -> Iterator[tuple[Call, ...]]:
        if len(done) == len(calls.calls):
            yield done
        for call in calls.calls:
            if call not in done and all(calls.memory_of(name) in ready for name in call.node.inputs):
                yield from extended((*done, call), ready | {*call.node.outputs})

    yield from extended((), frozenset({*graph.inputs, *constants}))


def branchy(count: int, least: int, most: int) -> list[Calls]:
    """Networks of so many calls that leave a choice, in orders that they may not have thought of."""

    def found() -> Iterator[Calls]:
        for seed in range(10_000):
            try:
                graph = shuffled(network(seed), np.random.default_rng(seed))
            except ModelError:
                continue
            calls = lower(graph, CORE)
            if least <= len(calls.calls) <= most and len(list(islice(orders(calls), 2))) == 2:
                yield calls

    return list(islice(found(), count))


@pytest.mark.slow
def test_no_order_is_better() -> None:
    changed = 0
    for calls in branchy(60, 3, 7):
        best = best_order(calls)
        everything = [peak(calls, order) for order in orders(calls)]
        found = {call.node.name: call for call in calls.calls}
        chosen = [found[node.name] for node in best.nodes if not isinstance(node.op, Reshape)]
        assert peak(calls, chosen) == min(everything)
        assert (best is calls.graph) == (peak(calls, calls.calls) == min(everything))
        changed += best is not calls.graph
    assert changed > 5


@pytest.mark.slow
def test_the_same_values() -> None:
    rng = np.random.default_rng(0)
    for calls in branchy(10, 4, 12):
        graph, best = calls.graph, best_order(calls)
        feeds = {name: random_values(graph.tensors[name], rng) for name in graph.inputs}
        before, after = graph.evaluate(feeds), best.evaluate(feeds)
        assert all((before[name] == after[name]).all() for name in graph.outputs)
        assert best.inputs == graph.inputs
        assert best.outputs == graph.outputs


def test_a_branch_is_finished_before_the_next() -> None:
    """Six ways of two convolutions, summed one by one: level by level as they stand, one by one as they should."""
    graph = wide(6, breadth_first=True).graph
    own = without_scratch(lower(graph, CORE))
    best = without_scratch(lower(best_order(own), CORE))
    assert lay_out(best).plan.arena < 0.4 * lay_out(own).plan.arena


def test_own_order_is_kept_where_it_is_as_good() -> None:
    calls = lower(diamonds(12).graph, CORE)
    best = best_order(calls)
    assert best is calls.graph or peak(lower(best, CORE), lower(best, CORE).calls) < peak(calls, calls.calls)
    chain = [node for node in calls.graph.nodes if node.op.name == "CONV_2D"][:1]
    alone = Graph("one", calls.graph.inputs, chain[0].outputs, tuple(chain), calls.graph.tensors)
    assert best_order(lower(alone, CORE)) is alone


def test_greedy_orders_are_never_worse_than_the_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinycompiler.node_order.MOST_WORK", 0)
    graph = wide(6, breadth_first=True).graph
    calls = lower(graph, CORE)
    best = lower(best_order(calls), CORE)
    assert peak(best, best.calls) < peak(calls, calls.calls)
    shuffles = [shuffled(graph, np.random.default_rng(seed)) for seed in range(8)]
    for each in shuffles:
        calls = lower(each, CORE)
        again = lower(best_order(calls), CORE)
        assert peak(again, again.calls) <= peak(calls, calls.calls)
        assert {n.name for n in replace(each).nodes} == {n.name for n in again.graph.nodes}
