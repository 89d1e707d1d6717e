"""Where a counter of instructions has to be read, so that those of an inference, and of each node, come out.

For emulators that count exactly but tell nothing of blocks. Marks are addresses: the entry of `tc_<name>_invoke` and
what follows its call; within it, what follows each call; and the entry of every function that it calls or jumps to, and
of every node. An instruction counts for a node when it ran between a call that `invoke` made, in which the node was
entered, and what follows that call: the same rule as in counting.py, which sees all blocks.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tinycompiler.build import Elf
from tinycompiler.emulators.counting import node_number
from tinycompiler.emulators.model import Model
from tinycompiler.errors import EmulatorError


@dataclass(frozen=True)
class Marks:
    """Addresses, without the Thumb bit."""

    invoke: int
    returns: frozenset[int]  # behind the calls of invoke
    backs: frozenset[int]  # behind the calls that invoke makes
    entries: frozenset[int]  # of functions that invoke calls, and of nodes

    @property
    def addresses(self) -> tuple[int, ...]:
        """All of them, sorted."""
        return tuple(sorted({self.invoke, *self.returns, *self.backs, *self.entries}))


def marks_of(elf: Elf, model: Model) -> Marks:
    """The marks of the model in `elf`. Raises EmulatorError when nothing calls it."""
    functions = {symbol.address for symbol in elf.symbols if symbol.kind == "func"}
    invoke, returns, backs, entries = model.invoke, set(), set(), set(model.nodes)
    for address, target, is_call in _branches(elf):
        if target == invoke.address and is_call:
            returns.add(address + 4)
        elif invoke.address <= address < invoke.address + invoke.size and target in functions:
            entries.add(target)
            backs |= {address + 4} if is_call else set()
    if not returns:
        raise EmulatorError(f"nothing in the ELF calls {invoke.name}, so its instructions cannot be counted")
    return Marks(invoke.address, frozenset(returns), frozenset(backs), frozenset(entries - {invoke.address}))


def tally(readings: Sequence[tuple[int, int]], marks: Marks, model: Model) -> tuple[int, tuple[int, ...]]:
    """(instructions of the first inference, those of each node), from (mark, instructions executed before it).

    Raises EmulatorError when the inference does not begin, or does not end.
    """
    begin = next((i for i, (mark, _) in enumerate(readings) if mark == marks.invoke), len(readings))
    entered: list[int] = []
    called: int | None = None
    nodes: Counter[int] = Counter()
    node = -1
    for mark, count in readings[begin + 1 :]:
        if mark in marks.entries:
            called = count if called is None else called
            entered += [model.nodes[mark]] if mark in model.nodes else []
        elif mark in marks.backs | marks.returns:
            if called is not None and entered:
                node = node_number(node, entered)
                nodes[node] += count - called
            called, entered = None, []
        if mark in marks.returns:
            return count - readings[begin][1], tuple(nodes[index] for index in range(node + 1))
    raise EmulatorError(
        f"{len(readings)} marks were reported, but not one from {model.invoke.name}'s begin and one from its end"
    )


def _branches(elf: Elf) -> Iterator[tuple[int, int, bool]]:
    """(address, target, whether it is a call) of whatever in the image reads as a BL or a 32-bit B.

    Encodings T1 of BL and T4 of B: Armv7-M Architecture Reference Manual, A7.7.18 and A7.7.12. Constants may read as
    one too; who asks looks at the target.
    """
    for segment in elf.segments:
        data = segment.data[: len(segment.data) & ~1]
        words = memoryview(data).cast("H")
        for index in range(len(words) - 1):
            first, second = words[index], words[index + 1]
            if first & 0xF800 == 0xF000 and second & 0x9000 == 0x9000:
                address = segment.address + 2 * index
                yield address, address + 4 + _offset(first, second), second & 0x4000 != 0


def _offset(first: int, second: int) -> int:
    """Bytes from behind the instruction to its target: S:I1:I2:imm10:imm11:0, I1 and I2 being J1 and J2 as S says."""
    sign = first >> 10 & 1
    one, two = (1 - (second >> bit & 1 ^ sign) for bit in (13, 11))
    offset = one << 23 | two << 22 | (first & 0x3FF) << 12 | (second & 0x7FF) << 1
    return offset - (sign << 24)
