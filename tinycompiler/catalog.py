"""The tables of operators and boards, made from the code: for `tinycompiler ops`, `tinycompiler boards` and the
README.
"""

from dataclasses import dataclass

from tinycompiler.board import CORES, Board, load, names
from tinycompiler.kernels import ISAS, KERNELS
from tinycompiler.ops import OPERATORS, Op, Reshape

EDGE_TYPES = {
    "ArgMax": "int8 -> int32, int64",
    "ArgMin": "int8 -> int32, int64",
    "DynamicFullyConnected": "int8, weights not constant",
    "Quantize": "float32 -> int8, uint8, int16",
    "Dequantize": "int8, uint8, int16 -> float32",
    "Requantize": "int8, uint8, int16 -> int8, uint8, int16, int32",
}


@dataclass(frozen=True)
class Row:
    """An operator: its types, and the kernel family that each instruction set gets first."""

    operator: str
    types: str
    kernels: dict[str, str]


def operator_rows() -> list[Row]:
    """One row per operator class, by name."""
    rows = [
        Row(op.name, EDGE_TYPES.get(op.__name__, types_of(op)), {isa: first_kernel(op, isa) for isa in ISAS})
        for op in OPERATORS
    ]
    return sorted(rows, key=lambda r: (r.operator, r.types))


def types_of(op: type[Op]) -> str:
    """The types of an operator's activations; with int16, weights are int8."""
    return ", ".join(dtype.value for dtype in op.activations)


def first_kernel(op: type[Op], isa: str) -> str:
    """The name of the best kernel that may run the operator on an instruction set."""
    if op is Reshape:
        return "no code: an alias"
    return next((k.name for k in KERNELS if issubclass(op, k.ops) and k.isa in ISAS[isa]), "none")


def cores_of(isa: str) -> str:
    """The cores that run an instruction set's kernels first."""
    return ", ".join(
        name.removeprefix("cortex-").removesuffix("f").upper().replace("PLUS", "+")
        for name, c in CORES.items()
        if c.isa == isa
    )


def boards() -> list[Board]:
    """All boards, by name."""
    return [load(name) for name in names()]


def operators_markdown() -> str:
    """The README's operator table."""
    lines = [
        f"| operator | types | {' | '.join(f'{isa} ({cores_of(isa)})' for isa in ISAS)} |",
        "|---" * (2 + len(ISAS)) + "|",
    ]
    lines += [
        f"| {r.operator} | {r.types} | {' | '.join(f'`{k}`' if ' ' not in k else k for k in r.kernels.values())} |"
        for r in operator_rows()
    ]
    return "\n".join(lines) + "\n"


def boards_markdown() -> str:
    """The README's board table."""
    lines = ["| board | part | core | flash KB | RAM KB | embedded emulator | real hardware |", "|---" * 7 + "|"]
    lines += [
        f"| `{b.name}` | {b.mcu} | {b.core.name} | {b.flash.size // 1024} | {b.ram.size // 1024} | yes | not tried |"
        for b in boards()
    ]
    return "\n".join(lines) + "\n"
