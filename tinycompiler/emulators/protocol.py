"""What the verify firmware says on its console, checked.

One line each: text, blank, `*`, and CRC-16/CCITT-FALSE of the text before the blank as four lower-case hex digits.

    tc:hello <name> <vector_count>
    tc:node <vector> <node> <output> <offset> <hex bytes>       layers build only; a tensor may come in pieces
    tc:output <vector> <index> <hex bytes>
    tc:stack <bytes>
    tc:fault <kind> pc=<hex> lr=<hex> address=<hex>
    tc:done <number of tc:output lines>

An emulator, or a real board, that ends early, drops a character or repeats a line must never pass for a run that
worked; so everything that can be counted is counted, and whatever does not match is an error that quotes the line.
"""

import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile

from tinycompiler.errors import EmulatorError

_HEX = "((?:[0-9a-f]{2})*)"
_FORMS = {
    "hello": re.compile(r"tc:hello (\S+) (\d+)"),
    "node": re.compile(rf"tc:node (\d+) (\d+) (\d+) (\d+) {_HEX}"),
    "output": re.compile(rf"tc:output (\d+) (\d+) {_HEX}"),
    "stack": re.compile(r"tc:stack (\d+)"),
    "fault": re.compile(r"tc:fault (hard|mem|bus|usage|nmi) pc=([0-9a-f]{8}) lr=([0-9a-f]{8}) address=([0-9a-f]{8})"),
    "done": re.compile(r"tc:done (\d+)"),
}


@dataclass(frozen=True)
class Fault:
    """An exception that the firmware's own handler reported. `address` is 0 when the core does not tell it."""

    kind: str  # hard, mem, bus, usage or nmi
    pc: int
    lr: int
    address: int


@dataclass(frozen=True)
class Transcript:
    """A complete run."""

    name: str
    vectors: int
    outputs: tuple[tuple[bytes, ...], ...]  # [vector][output]
    nodes: Mapping[tuple[int, int, int], bytes]  # (vector, node, output)
    stack: int  # bytes


def checksum(text: str) -> str:
    """CRC-16/CCITT-FALSE of `text`, four lower-case hex digits."""
    return f"{binascii.crc_hqx(text.encode('ascii', 'replace'), 0xFFFF):04x}"


def seal(text: str) -> str:
    """`text` as the firmware would send it, without the line end."""
    return f"{text} *{checksum(text)}"


def fault(line: str) -> Fault | None:
    """The fault that `line` reports; None when it is another line. Raises EmulatorError when it is garbled."""
    if not line.startswith("tc:fault"):
        return None
    _, (kind, pc, lr, address) = _split(line)
    return Fault(kind, int(pc, 16), int(lr, 16), int(address, 16))


def parse(lines: Sequence[str]) -> Transcript:
    """The whole console, line by line, as one checked value.

    What comes before `tc:hello` is not ours (a boot loader's greeting) and is skipped. Raises EmulatorError on a line
    that is garbled, missing, repeated or out of order, and on a reported fault.
    """
    said = list(dropwhile(lambda line: not line.startswith("tc:"), lines))
    for line in said:
        if (found := fault(line)) is not None:
            raise EmulatorError(
                f"the firmware faulted: {found.kind} fault at pc 0x{found.pc:08x}, lr 0x{found.lr:08x}, "
                f"address 0x{found.address:08x}"
            )
    parsed = [_split(line) for line in said]
    if not parsed or parsed[0][0] != "hello":
        raise EmulatorError(
            f"the firmware did not begin with tc:hello, but with {_shown(said[0]) if said else 'nothing'}"
        )
    if parsed[-1][0] != "done":
        raise EmulatorError(f"the firmware did not end with tc:done; its last line is {_shown(said[-1])}")
    return _transcript(parsed)


def _split(line: str) -> tuple[str, tuple[str, ...]]:
    """(kind, fields) of one line whose checksum is right."""
    text, star, found = line.rpartition(" *")
    if not star or found != checksum(text):
        raise EmulatorError(
            f"garbled console line {_shown(line)}: wanted the checksum *{checksum(text if star else line)} at its end"
        )
    kind = text.removeprefix("tc:").partition(" ")[0]
    match = _FORMS[kind].fullmatch(text) if kind in _FORMS else None
    if match is None:
        raise EmulatorError(f"console line {_shown(line)} is not part of the protocol")
    return kind, match.groups()


def _shown(line: str) -> str:
    """The line, quoted, without the middle of a long one."""
    return repr(line if len(line) <= 100 else f"{line[:60]} ... {line[-30:]}")


def _transcript(parsed: Sequence[tuple[str, tuple[str, ...]]]) -> Transcript:
    name, count = parsed[0][1]
    outputs: list[list[bytes]] = []
    nodes: dict[tuple[int, int, int], bytes] = {}
    stack: int | None = None
    for kind, fields in parsed[1:-1]:
        if kind == "output":
            _take_output(outputs, int(fields[0]), int(fields[1]), bytes.fromhex(fields[2]))
        elif kind == "node":
            vector, node, output, offset = map(int, fields[:4])
            _take_node(nodes, len(outputs), (vector, node, output), offset, bytes.fromhex(fields[4]))
        elif kind == "stack" and stack is None:
            stack = int(fields[0])
        else:
            raise EmulatorError(f"the firmware said tc:{kind} twice, or in the wrong place")
    _check_counts(outputs, vectors=int(count), said=int(parsed[-1][1][0]))
    if stack is None:
        raise EmulatorError("the firmware did not say tc:stack before tc:done")
    return Transcript(name, int(count), tuple(tuple(each) for each in outputs), nodes, stack)


def _take_output(outputs: list[list[bytes]], vector: int, index: int, data: bytes) -> None:
    if index == 0:
        outputs.append([])
    if vector != len(outputs) - 1 or index != len(outputs[-1]):
        raise EmulatorError(f"tc:output {vector} {index} is missing its predecessor, or was sent twice")
    outputs[-1].append(data)


def _take_node(
    nodes: dict[tuple[int, int, int], bytes], done: int, key: tuple[int, int, int], offset: int, data: bytes
) -> None:
    vector, node, output = key
    before = nodes.get(key, b"")
    if vector != done or offset != len(before) or (key in nodes and not data):
        raise EmulatorError(f"tc:node {vector} {node} {output} {offset} came out of order, or was sent twice")
    nodes[key] = before + data


def _check_counts(outputs: Sequence[Sequence[bytes]], *, vectors: int, said: int) -> None:
    lines = sum(len(each) for each in outputs)
    if len(outputs) != vectors or lines != said:
        raise EmulatorError(
            f"the firmware announced {vectors} vectors and {said} outputs, "
            f"but {lines} outputs of {len(outputs)} vectors came"
        )
    if len({tuple(len(data) for data in each) for each in outputs}) > 1:
        raise EmulatorError("the outputs of one vector differ in number or size from those of another")
