"""Measures what kernels cost: `python -m tests.measure_costs` writes tinycompiler/costs.json (a few minutes).

For every kernel with a faster or slower sibling: networks of one operator, several shapes each, on one board of each
kind of core, counted in the emulator. What is written are the weights of the work in `costs.work` with which the sum is
nearest to the counted figures (no weight below zero, relative differences), the largest relative difference, and the
bytes of code that a program with this kernel has more than one with none.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests import models
from tests.draws import Case
from tests.models_sparse import pruned
from tests.programs import joined, merged, program_of
from tinycompiler import costs
from tinycompiler.board import Board, load
from tinycompiler.build import build
from tinycompiler.emulators import run
from tinycompiler.graph import Graph
from tinycompiler.kernels import KERNELS, Calls, Site, Wishes, lower, options
from tinycompiler.ops import Numerics
from tinycompiler.progress import Progress
from tinycompiler.tensor import Array

BOARDS = ("nucleo_l4r5zi", "nucleo_f207zg", "rpi_pico")
Floats = NDArray[np.float64]


def cases() -> list[Case]:
    """Operators whose kernels are a choice, over the shapes that networks for such cores have."""

    def each(make: Any, *told: dict[str, Any], activation: str = "RELU6") -> Iterator[Case]:
        for seed, more in enumerate(told):
            yield Case(make, seed, {"activation": activation, **more})

    sizes = ((1, 6, 6, 16), (1, 8, 8, 32), (1, 12, 12, 8), (1, 5, 5, 64), (1, 16, 16, 4), (1, 10, 9, 13))
    more = ({"filters": f, "kernel": (k, k)} for k in (1, 3) for f in (8, 24))
    dense = [{"shape": shape, **told} for told in more for shape in sizes]
    nibbles = [with_weights(t, lambda rng, shape: rng.integers(-7, 8, shape, np.int8)) for t in dense]
    pairs = [with_weights(t, lambda rng, shape: rng.integers(-2, 2, shape, np.int8)) for t in dense[::2]]
    bits = [with_weights(t, signs) for t in dense]
    left, rng = ((4, 0.25), (1, 0.1), (1, 0.25)), np.random.default_rng(0)

    def zeros(layers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**t, "weights": pruned(rng, weights_shape(t), *some)} for t in layers for some in left]

    holes = zeros(dense[::2])
    thin = [{"shape": (1, 24, 24, c), "filters": 8, "kernel": (3, 3), "stride": (2, 2)} for c in (1, 3)]
    deep = [{"shape": s, "kernel": k, "stride": (n, n)} for s in sizes for k in ((3, 3), (5, 1)) for n in (1, 2)]
    long = [{"shape": (1, n, 1, c), "kernel": (n, 1), "padding": "VALID"} for n in (3, 5, 9, 21) for c in (8, 32, 64)]
    flat = [{"shape": (1, c), "units": u} for c in (16, 64, 256) for u in (1, 4, 32, 64)]
    ones = [with_weights(t, signs) for t in flat]
    few = [with_weights(t, lambda rng, shape: rng.integers(-2, 2, shape)) for t in flat[2:]]
    gaps = zeros(flat[2:])
    grouped = [
        {"shape": (1, n, n, c), "filters": f, "kernel": (k, k), "groups": g}
        for n, c, f, g in ((8, 16, 16, 4), (8, 32, 16, 2), (5, 12, 24, 3), (10, 8, 8, 2))
        for k in (1, 3)
    ]
    element = [{"shape": s} for s in (*sizes, (1, 64), (1, 200), (1, 16, 16, 8))]
    pools = [{"shape": s, "kernel": (k, k), "stride": (k, k)} for s in sizes for k in (2, 4)]
    return [
        *each(models.conv_2d, *dense, *nibbles, *pairs, *bits, *holes, *thin, *grouped),
        *each(models.depthwise_conv_2d, *deep, *long),
        *each(models.fully_connected, *flat, *ones, *few, *gaps),
        *each(models.add, *element),
        *each(models.mul, *element),
        *each(models.max_pool_2d, *pools, activation="NONE"),
        *each(models.average_pool_2d, *pools, activation="NONE"),
        *packable(),
    ]


def weights_shape(told: dict[str, Any]) -> tuple[int, ...]:
    """Of a CONV_2D or FULLY_CONNECTED in one group."""
    return (told.get("filters") or told["units"], *told.get("kernel", ()), told["shape"][-1])


def with_weights(told: dict[str, Any], draw: Callable[[np.random.Generator, tuple[int, ...]], Array]) -> dict[str, Any]:
    """The layer with weights that are drawn."""
    return {**told, "weights": draw(np.random.default_rng(0), weights_shape(told))}


def signs(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Weights of two values."""
    return rng.choice([-5, 5], shape)


def packable() -> list[Case]:
    """Convolutions with weights that rivals take."""
    layers: list[tuple[Any, tuple[int, ...], dict[str, Any]]] = [
        (models.conv_2d, (f, k, k, c), {"shape": (1, n, n, c), "filters": f, "kernel": (k, k)})
        for n, c, f, k in ((8, 16, 16, 3), (6, 32, 24, 3), (12, 32, 32, 1), (8, 64, 48, 1), (10, 8, 12, 3))
    ]
    layers += [(models.fully_connected, (u, c), {"shape": (1, c), "units": u}) for c, u in ((128, 64), (256, 32))]
    return [
        Case(make, seed, {**told, "activation": "RELU6", "weights": values})
        for make, shape, told in layers
        for seed, values in enumerate(weights_with_a_pattern(shape))
    ]


def weights_with_a_pattern(shape: tuple[int, ...]) -> Iterator[Array]:
    """Of few bits, of two values, and with zeros: one by one, in blocks of four, one of four left."""
    rng = np.random.default_rng(len(shape))
    for low in (-127, -7, -2):
        values = rng.integers(low, max(2, 1 - low), shape).astype(np.int8)
        yield values
        for kept in (0.5, 0.25, 0.1):
            yield values * (rng.random(shape) < kept)
            yield values * np.repeat(rng.random((*shape[:-1], shape[-1] // 4)) < kept, 4, axis=-1)
        one = np.repeat(rng.integers(0, 4, (*shape[:-1], shape[-1] // 4)), 4, axis=-1)
        yield values * (np.arange(shape[-1]) % 4 == one)
    yield np.where(rng.random(shape) < 0.5, -5, 5).astype(np.int8)


def forced(graph: Graph, board: Board) -> Iterator[tuple[str, Graph]]:
    """The network of one operator once for each kernel, with that kernel's name."""
    [node] = graph.nodes
    for kernel, _ in options(Site(graph, node), board.core):
        yield kernel.name, graph


def measured(pairs: Sequence[tuple[str, Graph]], board: Board) -> list[tuple[list[int], int, int]]:
    """Work, instructions and cycles of each."""
    graph = joined([graph for _, graph in pairs]).verify()
    chosen = {node.name: kernel for node, (kernel, _) in zip(graph.nodes, pairs, strict=True)}
    calls = lower(graph, board.core, Wishes(chosen=chosen))
    assert [call.kernel for call in calls.calls] == [kernel for kernel, _ in pairs]
    size = sum(graph.tensors[name].bytes for name in graph.inputs)
    elf = build(program_of(calls), board, vectors=[bytes(size)])
    assert elf.memory.fits, str(elf.memory)
    outcome = run(elf, board, count=True)
    by_name = {kernel.name: kernel for kernel in KERNELS}
    work = [
        costs.work(graph, node, by_name[chosen[node.name]].multiplications(Site(graph, node))) for node in graph.nodes
    ]
    return list(zip(work, outcome.node_instructions, outcome.node_cycles, strict=True))


def code_of(kernel: str, graph: Graph, board: Board) -> int:
    """Bytes of code in a program of this one operator with this kernel."""
    [node] = graph.nodes
    return code(lower(graph, board.core, Wishes(chosen={node.name: kernel})), board)


def code(calls: Calls, board: Board) -> int:
    """Bytes, linked, with the firmware."""
    size = sum(calls.graph.tensors[name].bytes for name in calls.graph.inputs)
    return build(program_of(calls), board, vectors=[bytes(size)]).memory.flash.code


def weights(rows: Floats, wanted: Floats) -> Floats:
    """Not below zero, with the least sum of squared relative differences: what would be negative is left out."""
    scaled, ones = rows / wanted[:, None], np.ones(len(wanted))
    kept = list(range(rows.shape[1]))
    while True:
        found = np.linalg.lstsq(scaled[:, kept], ones, rcond=None)[0]
        if (found >= 0).all() or len(kept) == 1:
            result = np.zeros(rows.shape[1])
            result[kept] = np.maximum(found, 0)
            return result
        kept.pop(int(np.argmin(found)))


def groups(pairs: Sequence[tuple[str, Graph]], board: Board) -> Iterator[list[tuple[str, Graph]]]:
    """As many together as a board holds."""
    room = min(ram.size for ram in board.regions if ram.kind == "ram" and ram.default) // 3
    group: list[tuple[str, Graph]] = []
    used = 0
    for pair in pairs:
        need = sum(t.bytes for t in pair[1].tensors.values())
        if group and used + need > room:
            yield group
            group, used = [], 0
        group.append(pair)
        used += need
    yield group


def table(board_name: str) -> dict[str, Any]:
    """The costs of all kernels that are a choice on that board's core."""
    board = load(board_name)
    graphs = [merged([case], Numerics.LITERT) for case in cases()]
    pairs = [pair for graph in graphs for pair in forced(graph, board)]
    progress, found = Progress(), []
    for number, group in enumerate(groups(pairs, board)):
        progress(f"{board_name}: {number}")
        found += measured(group, board)
    progress.done()
    first = dict(reversed(pairs))
    bare = code(lower(bare_graph(), board.core), board)
    result = {}
    for kernel in sorted({kernel for kernel, _ in pairs}):
        chosen = [figures for (name, _), figures in zip(pairs, found, strict=True) if name == kernel]
        rows = np.array([work for work, _, _ in chosen], np.float64)
        entry: dict[str, Any] = {"code": max(0, code_of(kernel, first[kernel], board) - bare)}
        for what, column in (("instructions", 1), ("cycles", 2)):
            wanted = np.array([figures[column] for figures in chosen], np.float64)
            found_weights = weights(rows, wanted)
            entry[what] = [float(f"{w:.4g}") for w in found_weights]
            entry[f"{what} off by"] = round(float(np.abs(rows @ found_weights / wanted - 1).max()), 2)
        result[kernel] = {**entry, "samples": len(chosen)}
    return result


def bare_graph() -> Graph:
    """A network of next to no code."""
    return replace(merged([Case(models.relu, 0, {"shape": (1, 4)})], Numerics.LITERT), name="bare")


def main() -> int:
    found = {load(name).core.cost_table: table(name) for name in BOARDS}
    Path(costs.__file__).with_name("costs.json").write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
