"""From "this block ran so often" to instructions and cycles per node and per function.

What is counted is steps: (block before, block, its size). So each block is decoded once, however often it runs, and it
is known whether a branch was taken (the block does not begin where the one before ends), which cycles depend on.

The steps come in segments: a new one begins whenever the flow is in `tc_<name>_invoke` itself. As that calls the nodes
one after another, a segment in which a node is entered holds that node, with all that it calls, and the part of
`invoke` before it.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tinycompiler.build import Symbol
from tinycompiler.emulators.cycles import Block, CostTable, block, refill
from tinycompiler.emulators.thumb import halfwords, needs
from tinycompiler.errors import EmulatorError

Step = tuple[int, int, int]  # (address of the block before, 0 at first; address; size in bytes)
Segment = Mapping[Step, int]  # how often


@dataclass(frozen=True)
class Counts:
    """One inference. Instructions that stand in an IT block count whether their condition holds or not."""

    instructions: int
    node_instructions: tuple[int, ...]
    function_instructions: Mapping[str, int]  # most first
    cycles: int | None
    node_cycles: tuple[int, ...]
    jumps: int  # taken, calls and returns included


@dataclass(frozen=True)
class Code:
    """The program as far as counting needs it."""

    read: Callable[[int, int], bytes]  # (address, size)
    functions: Sequence[Symbol]  # sorted by address
    invoke: Symbol
    nodes: Mapping[int, int]  # address of a node function -> node
    core: str  # for messages
    lacks: frozenset[str]  # of "mainline", "dsp", "float": what this core does not have, or has not switched on
    table: CostTable | None  # None: no estimate


def function_at(functions: Sequence[Symbol], address: int) -> str:
    """The function that `address` is in; a hexadecimal number when it is in none."""
    index = bisect_right(functions, address, key=lambda symbol: symbol.address) - 1
    if index >= 0 and address < functions[index].address + max(functions[index].size, 2):
        return functions[index].name
    return f"0x{address:08x}"


def tally(segments: Sequence[Segment], code: Code) -> Counts:
    """Add it all up. Raises EmulatorError when a block holds an instruction that the core lacks."""
    blocks = {key: _block(code, *key) for key in {step[1:] for segment in segments for step in segment}}
    ends = _ends(blocks)
    functions: Counter[str] = Counter()
    node_instructions: Counter[int] = Counter()
    node_cycles: Counter[int] = Counter()
    cycles = jumps = 0
    node = -1
    for segment in segments:
        entered = [code.nodes[address] for _, address, _ in segment if address in code.nodes]
        node = node_number(node, entered)
        for (before, address, size), times in segment.items():
            cost, spent = blocks[address, size], 0
            jumped = before in ends and address not in ends[before][0]
            jumps += times * jumped
            if code.table is not None:
                after_jump = refill(ends[before][1], cost, code.table) if jumped else 0
                spent = times * (cost.cycles + after_jump)
            functions[function_at(code.functions, address)] += times * cost.instructions
            cycles += spent
            if entered and not _within(code.invoke, address):
                node_instructions[node] += times * cost.instructions
                node_cycles[node] += spent
    return Counts(
        instructions=functions.total(),
        node_instructions=tuple(node_instructions[index] for index in range(node + 1)),
        function_instructions=dict(functions.most_common()),
        cycles=cycles if code.table is not None else None,
        node_cycles=tuple(node_cycles[index] for index in range(node + 1)) if code.table is not None else (),
        jumps=jumps,
    )


def node_number(last: int, entered: Sequence[int]) -> int:
    """The node of a segment. Nodes come in order: one that comes again is a later one that was merged with it."""
    if not entered:
        return last
    return entered[0] if entered[0] > last else last + 1


def _block(code: Code, address: int, size: int) -> Block:
    content = code.read(address, size)
    missing = code.lacks & {needs(first, second) for first, second in halfwords(content)}
    if missing:
        raise EmulatorError(
            f"function {function_at(code.functions, address)}, block at 0x{address:08x}: needs {_WORDS[min(missing)]}, "
            f"which {code.core} does not have or the start-up code has not switched on; check the core's compiler flags"
        )
    if code.table is None:
        return Block(sum(1 for _ in halfwords(content)), 0, "", misaligned=False)
    return block(content, address, code.table)


_WORDS = {
    "mainline": "an instruction that Armv6-M lacks",
    "dsp": "the DSP extension",
    "float": "the floating-point unit",
}


def _ends(blocks: Mapping[tuple[int, int], Block]) -> Mapping[int, tuple[set[int], Block]]:
    """By address: where the block may end, and the block."""
    found: dict[int, tuple[set[int], Block]] = {}
    for (address, size), each in blocks.items():
        found.setdefault(address, (set(), each))[0].add(address + size)
    return found


def _within(function: Symbol, address: int) -> bool:
    return function.address <= address < function.address + function.size
