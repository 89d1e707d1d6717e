"""The tables of operators and boards, made from the code: for `tinycompiler ops`, `tinycompiler boards` and the
README.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tinycompiler.board import CORES, Board, load, names
from tinycompiler.kernels import ISAS, KERNELS, Site
from tinycompiler.ops import Numerics, Reshape
from tinycompiler.samples import NO_CODE, SAMPLES, Sample, Types

ALIAS = "no code: an alias"
ROOM = 1 << 16
"""Bytes of scratch that a kernel may take."""


@dataclass(frozen=True)
class Row:
    """An operator with values of types that the same kernels run."""

    operator: str
    note: str
    types: dict[Numerics, tuple[Types, ...]]
    """What each profile takes."""
    kernels: dict[str, tuple[str, ...]]
    """For each instruction set those that may run it, as they are asked; a reason where there is no code."""

    @property
    def name(self) -> str:
        return f"{self.operator} ({self.note})" if self.note else self.operator

    @property
    def both(self) -> str:
        """Types that both profiles take."""
        litert, tflm = self.types.values()
        return shown([types for types in litert if types in tflm])

    def only(self, numerics: Numerics) -> str:
        """Types that this profile alone takes."""
        others = {types for n, every in self.types.items() if n is not numerics for types in every}
        return shown([types for types in self.types[numerics] if types not in others])

    @property
    def data(self) -> dict[str, Any]:
        """As JSON; see report_schema.json."""
        types = {n.value: [shown([each]) for each in every] for n, every in self.types.items()}
        return {
            "operator": self.operator,
            "note": self.note,
            "types": types,
            "kernels": {isa: list(kernels) for isa, kernels in self.kernels.items()},
        }


def operator_rows() -> list[Row]:
    """Every operator that files name, by name; a row for each set of kernels."""
    rows = [row for name, samples in SAMPLES.items() for sample in samples for row in _rows(name, sample)]
    nothing: dict[Numerics, tuple[Types, ...]] = dict.fromkeys(Numerics, ())
    rows += [Row(name, "", nothing, dict.fromkeys(ISAS, (why,))) for name, why in NO_CODE.items()]
    return sorted(rows, key=lambda row: row.operator)


def _rows(name: str, sample: Sample) -> Iterator[Row]:
    """The sample's rows, in the order of types."""
    found: dict[tuple[tuple[str, ...], ...], dict[Numerics, list[Types]]] = {}
    for types in sample.every_types:
        for numerics in Numerics:
            sites = [Site(graph, graph.nodes[0], ROOM) for graph in sample.graphs(types, numerics)]
            if sites:
                kernels = tuple(_kernels(sites, isa) for isa in ISAS)
                found.setdefault(kernels, {n: [] for n in Numerics})[numerics].append(types)
    for kernels, every in found.items():
        taken = {numerics: tuple(types) for numerics, types in every.items()}
        yield Row(name, sample.note, taken, dict(zip(ISAS, kernels, strict=True)))


def _kernels(sites: Sequence[Site], isa: str) -> tuple[str, ...]:
    """Kernels that run one of these nodes on an instruction set."""
    if isinstance(sites[0].op, Reshape):
        return (ALIAS,)
    asked = [kernel for kernel in KERNELS if kernel.isa in ISAS[isa]]
    return tuple(k.name for k in asked if any(k.is_for(site) and k.why_not(site) is None for site in sites))


def shown(every: Sequence[Types]) -> str:
    """Types in words: of values, and of results where those are others."""
    same = [types for types in every if len({*types[0], *types[1]}) == 1]
    targets: dict[str, dict[str, None]] = {}
    if len(same) < len(every):
        for values, results in every:
            targets.setdefault(results[0].value, {})[" and ".join(dict.fromkeys(v.value for v in values))] = None
    else:
        return ", ".join(types[1][0].value for types in every)
    sources: dict[tuple[str, ...], list[str]] = {}
    for target, found in targets.items():
        sources.setdefault(tuple(found), []).append(target)
    return "; ".join(f"{', '.join(found)} -> {', '.join(all_)}" for found, all_ in sources.items())


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


def operators_table() -> list[Sequence[str]]:
    """Head and rows."""
    head = ("operator", "types", *(f"only {n.value}" for n in Numerics), *(f"{isa} ({cores_of(isa)})" for isa in ISAS))
    return [
        head,
        *((r.name, r.both, *map(r.only, Numerics), *map(_listed, r.kernels.values())) for r in operator_rows()),
    ]


def _listed(kernels: Iterable[str]) -> str:
    return ", ".join(kernels) or "none"


def operators_markdown() -> str:
    """The README's operator table; kernels that an operator has on any core stand once."""
    head, *rows = operators_table()
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for *words, scalar, dsp in rows:
        kernels = [k if k.startswith("no code") else f"`{k.replace(', ', '`, `')}`" for k in (scalar, dsp)]
        kernels[1] = "the same" if scalar == dsp else kernels[1]
        lines.append(f"| {' | '.join([*words, *kernels])} |")
    return "\n".join(lines) + "\n"


def boards_markdown() -> str:
    """The README's board table."""
    head = ("board", "part", "core", "flash KB", "RAM KB", "embedded emulator", "Renode", "QEMU", "real hardware")
    rows = [
        (
            *(f"`{b.name}`", b.mcu, b.core.name, str(b.flash.size // 1024), str(b.ram.size // 1024)),
            *("yes", "yes" if b.renode else "no", f"`{b.qemu.machine}`" if b.qemu else "no", "not tried"),
        )
        for b in boards()
    ]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"
