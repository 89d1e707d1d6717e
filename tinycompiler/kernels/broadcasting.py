"""The loops of operators whose operands broadcast: neighbouring axes that move the same operands are one loop."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from tinycompiler.kernels.base import Constant, Field
from tinycompiler.ops.base import Shape
from tinycompiler.tensor import Tensor

RANK = 5
"""Loops that the templates have."""


@dataclass(frozen=True)
class Loop:
    """How many turns, and which operands move in them."""

    size: int
    moves: tuple[bool, ...]


def loops_of(shapes: Sequence[Shape]) -> list[Loop]:
    """Outermost first; a single loop that moves every operand when nothing is broadcast."""
    rank = max(len(shape) for shape in shapes)
    loops: list[Loop] = []
    for sizes in zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True):
        size, moves = max(sizes), tuple(n > 1 for n in sizes)
        if size == 1:
            continue
        if loops and loops[-1].moves == moves:
            loops[-1] = Loop(loops[-1].size * size, moves)
        else:
            loops.append(Loop(size, moves))
    return loops or [Loop(1, (True,) * len(shapes))]


def why_not(loops: Sequence[Loop]) -> str | None:
    return f"broadcasting needs {len(loops)} loops; {RANK} are supported" if len(loops) > RANK else None


def is_broadcast(loops: Sequence[Loop]) -> bool:
    return not all(all(loop.moves) for loop in loops)


def loop_fields(loops: Sequence[Loop], names: Sequence[str]) -> dict[str, Field]:
    """`count`, or `size` and the `step_<name>` of each operand, when something is broadcast."""
    if not is_broadcast(loops):
        return {"count": prod(loop.size for loop in loops)}
    padded = [Loop(1, (True,) * len(names))] * (RANK - len(loops)) + list(loops)
    steps: dict[str, Field] = {f"step_{name}": _steps(padded, i) for i, name in enumerate(names)}
    return {"size": [loop.size for loop in padded], **steps}


def _steps(loops: Sequence[Loop], operand: int) -> list[int]:
    """Step of an operand in each loop, 0 where it is broadcast."""
    inner = [prod(loop.size for loop in loops[i + 1 :] if loop.moves[operand]) for i in range(len(loops))]
    return [step if loop.moves[operand] else 0 for step, loop in zip(inner, loops, strict=True)]


def constant_fields(operands: Sequence[Tensor], names: Sequence[str]) -> dict[str, Field]:
    """`constant_<name>`, as int8, of each operand that is a constant."""
    return {
        f"constant_{name}": Constant(tensor.data.reshape(-1).view("int8"))
        for name, tensor in zip(names, operands, strict=True)
        if tensor.data is not None
    }


def takes_over(x: Tensor, y: Tensor) -> bool:
    """Whether y, written in the order that x is read, may lie where x lies."""
    return not x.is_constant and x.bytes == y.bytes and x.shape == y.shape
