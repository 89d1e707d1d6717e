"""Many planned networks in one program, every tensor of which is heard: on this machine under sanitizers, or a board.

Each network keeps its own plan, byte for byte; the arenas lie one after another.
"""

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.programs import prefixed
from tinycompiler.board import load
from tinycompiler.build import Elf, build
from tinycompiler.emit import ARENA_ALIGNMENT, Program, Source, emit
from tinycompiler.emulators import Run, run
from tinycompiler.errors import DoesNotFit
from tinycompiler.graph import Graph
from tinycompiler.host import FLAGS, host_compiler
from tinycompiler.kernels import Calls
from tinycompiler.lifetimes import Layout
from tinycompiler.memory import Plan
from tinycompiler.planning import Planned
from tinycompiler.resources import folder
from tinycompiler.tensor import Array

Feeds = dict[str, Array]
Heard = dict[str, bytes]
"""A tensor's bytes, by its name, as its node left them."""


def together(planned: Sequence[Planned]) -> Planned:
    """One network of independent ones, whose names differ already."""
    graphs = [each.calls.graph for each in planned]
    assert not any(graph.states for graph in graphs)
    graph = replace(
        graphs[0],
        name="many",
        inputs=tuple(n for g in graphs for n in g.inputs),
        outputs=tuple(n for g in graphs for n in g.outputs),
        nodes=tuple(n for g in graphs for n in g.nodes),
        tensors={key: tensor for g in graphs for key, tensor in g.tensors.items()},
    )
    offsets: dict[str, int] = {}
    base = 0
    for each in planned:
        offsets |= {name: base + at for name, at in each.layout.plan.offsets.items()}
        base += -(-each.layout.plan.arena // ARENA_ALIGNMENT) * ARENA_ALIGNMENT
    aliases = {key: name for each in planned for key, name in each.calls.aliases.items()}
    owner = {key: name for each in planned for key, name in each.layout.owner.items()}
    steps = tuple(step for each in planned for step in each.calls.steps)
    plan = Plan((), offsets, base, 0, 0, proven=False)
    return Planned(Calls(graph, planned[0].calls.core, steps, aliases), Layout(plan, owner, {}, 0))


def named(graph: Graph, number: int) -> Graph:
    """The network with names that no other has."""
    return prefixed(graph, f"{number}_")


def program(planned: Planned) -> Program:
    return emit(planned.calls, planned.layout, Source("test", "0" * 64))


def on_host(planned: Planned, trials: Sequence[Feeds], *, seconds: float = 600) -> list[Heard]:
    """What every node computed in each trial. AssertionError with what a sanitizer or the compiler said."""
    emitted, compiler = program(planned), host_compiler()
    with tempfile.TemporaryDirectory(prefix="tinycompiler-") as name:
        work = Path(name)
        for file, text in emitted.files.items():
            (work / file).write_text(text, encoding="utf-8")
        shutil.copy(folder("firmware") / "main_host.c", work)
        (work / "hook.c").write_text(HOOK, encoding="utf-8")
        sources = ["main_host.c", "hook.c", f"{emitted.name}.c", f"{emitted.name}_weights.c"]
        built = subprocess.run(
            [*compiler, *FLAGS, "-DTC_NODE_HOOK", *sources, "-o", "network"],
            cwd=work,
            capture_output=True,
            text=True,
            check=False,
        )
        assert built.returncode == 0, built.stderr[:3000]
        heard = []
        for feeds in trials:
            given = b"".join(np.ascontiguousarray(feeds[name]).tobytes() for name in planned.calls.graph.inputs)
            ran = subprocess.run(
                [str(work / "network")], input=given, capture_output=True, timeout=seconds, check=False
            )
            assert ran.returncode == 0, ran.stderr.decode(errors="replace")[-3000:]
            heard.append(_heard(planned, ran.stderr, ran.stdout))
    return heard


HOOK = """\
#include <stdio.h>
void tc_node_hook(int node, int output, unsigned offset, const void *data, unsigned bytes);
void tc_node_hook(int node, int output, unsigned offset, const void *data, unsigned bytes)
{
    const int numbers[4] = {node, output, (int)offset, (int)bytes};
    fwrite(numbers, sizeof numbers, 1, stderr);
    fwrite(data, 1, bytes, stderr);
}
"""


def _heard(planned: Planned, frames: bytes, outputs: bytes) -> Heard:
    """Every tensor that a node wrote, its pieces put together, and the network's outputs as they are at the end."""
    graph, calls = planned.calls.graph, planned.calls.calls
    names = [[*call.node.outputs] for call in calls]
    found = {name: bytearray() for some in names for name in some}
    at = 0
    while at < len(frames):
        node, output, offset, size = struct.unpack_from("<4i", frames, at)
        tensor = found[names[node][output]]
        assert len(tensor) == offset, f"{names[node][output]}: byte {offset} comes after byte {len(tensor)}"
        tensor += frames[at + 16 : at + 16 + size]
        at += 16 + size
    return {name: bytes(data) for name, data in found.items()} | _outputs(graph, outputs)


def _outputs(graph: Graph, data: bytes) -> Heard:
    found, at = {}, 0
    for name in graph.outputs:
        found[f"output {name}"] = data[at : at + graph.tensors[name].bytes]
        at += graph.tensors[name].bytes
    return found


def on_board(planned: Planned, board_name: str, trials: Sequence[Feeds], *, seconds: float = 600) -> list[Heard]:
    """The same from the emulated board, whose writes must stay inside arena and stack. Raises DoesNotFit."""
    graph, board = planned.calls.graph, load(board_name)
    vectors = [b"".join(np.ascontiguousarray(feeds[name]).tobytes() for name in graph.inputs) for feeds in trials]
    elf = build(program(planned), board, vectors=vectors, layers=True)
    if not (elf.memory.fits and elf.memory.vectors_fit):
        raise DoesNotFit(str(elf.memory))
    ran = run(elf, board, count=False, wall_seconds=seconds)
    assert_within(ran, planned.arena, elf)
    heard = []
    for vector, outputs in enumerate(ran.outputs):
        nodes = {
            name: ran.nodes[vector, number, i]
            for number, call in enumerate(planned.calls.calls)
            for i, name in enumerate(call.node.outputs)
        }
        heard.append(nodes | _outputs(graph, b"".join(outputs)))
    return heard


def assert_within(ran: Run, arena: int, elf: Elf) -> None:
    """What was touched is within what was planned: bytes of the arena, and of the stack's bound."""
    assert ran.arena_touched is not None
    assert ran.arena_touched <= arena, f"{ran.arena_touched} bytes of an arena of {arena} were touched"
    assert ran.stack_high_water is not None
    bound = elf.memory.ram.stack
    assert ran.stack_high_water <= bound, f"{ran.stack_high_water} bytes of a stack of {bound} were used"
    assert not ran.stray, f"{len(ran.stray)} bytes beside arena, state and stack were written"


def differences(graph: Graph, feeds: Feeds, heard: Heard) -> Iterator[str]:
    """What differs from `evaluate`."""
    values = graph.evaluate(feeds)
    for name, data in heard.items():
        wanted = np.ascontiguousarray(values[name.removeprefix("output ")]).tobytes()
        if data != wanted:
            ours, theirs = (np.frombuffer(d, np.uint8) for d in (data, wanted))
            first = int(np.argmax(ours != theirs)) if len(ours) == len(theirs) else -1
            yield f"{name}: {len(ours)} bytes for {len(theirs)}, first difference at byte {first}"
