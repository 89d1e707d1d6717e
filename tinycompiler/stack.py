"""How deep the stack can get, from the linked machine code and gcc's -fstack-usage.

A function's frame is the larger of two figures: what gcc wrote into the `.su` file, and what its instructions subtract
from the stack pointer, added up over all of them (an upper bound, since not all lie on one path). Assembly has no
`.su`, and `.su` does not see inline assembly. Calls are read from the disassembly, so nothing that the linker or libgcc
adds is missed. Not seen: inline assembly in a C function that moves the stack pointer by a register.

What has no bound is refused by name, but only where it can be reached: recursion, a call through a pointer, a frame
whose size depends on data. A tail call counts as a call, though the caller's frame is gone by then: an upper bound too.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tinycompiler.elf import Symbol
from tinycompiler.errors import BuildError


@dataclass(frozen=True)
class StackBound:
    """The deepest chain of calls from some functions: its bytes, its path, and the frame of every function reached."""

    bytes: int
    path: tuple[str, ...]
    frames: Mapping[str, int]


@dataclass(frozen=True)
class Usage:
    """A line of a `.su` file."""

    bytes: int
    bounded: bool


@dataclass
class Function:
    """What the machine code of one function says about the stack."""

    name: str
    frame: int = 0
    calls: list[str] = field(default_factory=list)
    unbounded: str | None = None  # an instruction after which the frame's size is not known
    indirect: str | None = None  # a call to a computed address
    table_jump: str | None = None  # a computed jump, which gcc uses for switch


def parse_usage(texts: Iterable[str]) -> dict[str, Usage]:
    """Read `.su` files: `file.c:12:6:function<tab>bytes<tab>static|dynamic|dynamic,bounded`.

    Static functions of the same name in several files: the largest, and unbounded if one is.
    """
    found: dict[str, Usage] = {}
    for line in (line for text in texts for line in text.splitlines()):
        place, size, kind = line.split("\t")
        name = place.rsplit(":", 1)[-1]
        known = found.get(name, Usage(0, True))
        found[name] = Usage(max(known.bytes, int(size)), known.bounded and kind != "dynamic")
    return found


def parse_code(disassembly: str, symbols: Sequence[Symbol]) -> dict[str, Function]:
    """Read what `objdump -d --no-show-raw-insn` prints, cut at the function symbols."""
    starts, names = _starts(symbols)
    functions = {name: Function(name) for name in names}
    by_start = {symbol.address: symbol.size for symbol in symbols if symbol.kind == "func"}
    sizes = {name: by_start[start] for start, name in zip(starts, names, strict=True)}
    last: dict[str, str] = {}
    for address, mnemonic, operands in _instructions(disassembly):
        index = bisect_right(starts, address) - 1
        if index < 0 or 0 < sizes[names[index]] <= address - starts[index]:
            continue  # padding behind a function, which disassembles as something
        function = functions[names[index]]
        _note_frame(function, mnemonic, operands)
        _note_flow(function, mnemonic, operands, starts=starts, names=names)
        if mnemonic != "nop":
            last[function.name] = f"{mnemonic} {operands}"
    for name, following in pairwise(names):
        if name in last and not _ENDS.match(last[name]):
            functions[name].calls.append(following)  # runs on into the next function, as hand-written assembly may
    return functions


def _starts(symbols: Sequence[Symbol]) -> tuple[list[int], list[str]]:
    """Addresses and names of the functions, in order; of several names for one address the first.

    A name that stands at several addresses (static functions of several files) gets `@address` from the second on.
    """
    by_address: dict[int, str] = {}
    for symbol in symbols:
        if symbol.kind == "func":
            by_address.setdefault(symbol.address, symbol.name)
    ordered = sorted(by_address.items())
    seen: set[str] = set()
    names = []
    for address, name in ordered:
        names.append(f"{name}@{address:08x}" if name in seen else name)
        seen.add(name)
    return [address for address, _ in ordered], names


_LINE = re.compile(r"^\s*([0-9a-f]+):\t([a-z][a-z0-9.]*)(?:\t([^;@]*))?")
_ENDS = re.compile(r"(b |bx |bl |blx |udf|tbb |tbh |mov pc|ldr pc|(pop|ldmia|ldmfd|ldmdb) .*\bpc\b)")


def _instructions(disassembly: str) -> Iterable[tuple[int, str, str]]:
    for line in disassembly.splitlines():
        if match := _LINE.match(line):
            mnemonic = match[2].removesuffix(".n").removesuffix(".w")
            yield int(match[1], 16), mnemonic, (match[3] or "").strip()


def _note_frame(function: Function, mnemonic: str, operands: str) -> None:
    """Add what one instruction takes from the stack pointer."""
    if mnemonic == "push" or (mnemonic in ("stmdb", "stmfd") and operands.startswith("sp!")):
        function.frame += 4 * _registers(operands)
    elif mnemonic == "vpush" or (mnemonic == "vstmdb" and operands.startswith("sp!")):
        function.frame += (8 if "{d" in operands else 4) * _registers(operands)
    elif match := re.search(r"\[sp, #-(\d+)\]!", operands):
        function.frame += int(match[1])
    elif mnemonic in ("sub", "subw", "subs") and operands.startswith("sp,"):
        if match := re.fullmatch(r"sp, (?:sp, )?#(\d+)", operands):
            function.frame += int(match[1])
        else:
            function.unbounded = function.unbounded or f"{mnemonic} {operands}"
    elif mnemonic in ("add", "mov") and re.match(r"sp, (?!.*#)", operands):
        function.unbounded = function.unbounded or f"{mnemonic} {operands}"


def _registers(operands: str) -> int:
    """How many registers a list such as `{r4, r5, lr}` or `{d8-d15}` names."""
    count = 0
    for part in operands[operands.index("{") + 1 : operands.index("}")].split(","):
        numbers = [int(number) for number in re.findall(r"[rsd](\d+)", part)]
        count += numbers[1] - numbers[0] + 1 if len(numbers) == 2 else 1
    return count


_CONDITIONS = "eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|hs|lo"
_BRANCH = re.compile(rf"(?:b(?:{_CONDITIONS})?|bl|blx|cbz|cbnz)$")
_REGISTER_BRANCH = re.compile(rf"(?:blx|bx|blxns|bxns)(?:{_CONDITIONS})?$")


def _note_flow(function: Function, mnemonic: str, operands: str, *, starts: list[int], names: list[str]) -> None:
    """Note a call, a jump into another function, or a jump to a computed address."""
    target = re.search(r"(?:^|, )([0-9a-f]+) <", operands)
    if _BRANCH.match(mnemonic) and target:
        index = bisect_right(starts, int(target[1], 16)) - 1
        callee, is_entry = names[index], starts[index] == int(target[1], 16)
        # into the middle of itself, BL is the long jump that Armv6-M has
        if callee != function.name or (is_entry and mnemonic in ("bl", "blx")):
            function.calls.append(callee)
    elif _REGISTER_BRANCH.match(mnemonic) and operands != "lr":
        function.indirect = function.indirect or f"{mnemonic} {operands}"
    elif mnemonic in ("mov", "ldr", "add") and re.match(r"pc, (?!lr$|\[sp\])", operands):
        function.table_jump = function.table_jump or f"{mnemonic} {operands}"


def bound(roots: Iterable[str], functions: Mapping[str, Function], usage: Mapping[str, Usage]) -> StackBound:
    """The deepest chain from any of the roots. Raises BuildError, naming the function, when there is no bound."""
    frames: dict[str, int] = {}
    depths: dict[str, tuple[int, tuple[str, ...]]] = {}

    def walk(name: str, above: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
        if name in above:
            chain = " -> ".join((*above[above.index(name) :], name))
            raise BuildError(
                f"stack: function {name} is recursive ({chain}); its depth has no bound; write it as a loop"
            )
        if name not in depths:
            function = functions[name]
            frames[name] = _frame(function, _usage_of(name, usage))
            below = [walk(callee, (*above, name)) for callee in sorted(set(function.calls))]
            deepest, path = max(below, default=(0, ()), key=lambda item: item[0])
            depths[name] = (frames[name] + deepest, (name, *path))
        return depths[name]

    deepest, path = max((walk(root, ()) for root in roots), key=lambda item: item[0])
    return StackBound(deepest, path, dict(sorted(frames.items())))


def _usage_of(name: str, usage: Mapping[str, Usage]) -> Usage | None:
    """The `.su` line of a function; gcc leaves the number of a clone (`row.constprop.0`) away there."""
    plain = name.partition("@")[0]
    return usage.get(plain) or usage.get(re.sub(r"\.\d+$", "", plain))


def _frame(function: Function, usage: Usage | None) -> int:
    if usage is not None and not usage.bounded:
        raise BuildError(
            f"stack: function {function.name} has a frame whose size depends on data "
            "(alloca or a variable-length array); use an array of constant size"
        )
    # libgcc's names begin with two underscores: what it jumps to by a table lies in the same function
    jumps_away = usage is None and function.table_jump is not None and not function.name.startswith("__")
    if function.indirect is not None or jumps_away:
        found = function.indirect or function.table_jump
        raise BuildError(f"stack: function {function.name} calls through a pointer ({found}); call functions by name")
    if usage is None and function.unbounded is not None:
        raise BuildError(
            f"stack: the frame of function {function.name} cannot be read from its code ({function.unbounded}); "
            "compile it from C, so that the compiler says how large it is"
        )
    return max(function.frame, usage.bytes if usage is not None else 0)
