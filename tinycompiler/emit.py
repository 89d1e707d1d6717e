"""Calls and Layout become a Program: C11 sources, their header, and the files that a build needs.

Instances of kernels are shared: calls with the same template, instruction set and
context use one C function. Constants with the same bytes are stored once. Nothing here depends on the time, on paths
or on the order of a dictionary that the graph did not give.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import Any

import jinja2
import numpy as np

from tinycompiler import __version__
from tinycompiler.choice import LEVELS
from tinycompiler.kernels import Call, Calls, Constant, Context, Invocation, Run
from tinycompiler.kernels.movement import flat_bytes
from tinycompiler.kernels.runs import RowSource
from tinycompiler.lifetimes import Layout
from tinycompiler.memory import Part
from tinycompiler.ops import Numerics
from tinycompiler.resources import folder
from tinycompiler.tensor import DType, Tensor

ABI_VERSION = 1
"""Of the emitted API and of the manifest."""

ARENA_ALIGNMENT = 16
ALIASING = {DType.FLOAT32: "tc_f32", DType.INT16: "tc_s16", DType.INT32: "tc_s32"}
"""What the arena's bytes are accessed as; 8-bit types may alias as they are."""


@dataclass(frozen=True)
class Source:
    """The model file a program was made from."""

    name: str
    sha256: str


@dataclass(frozen=True, eq=False)
class Program:
    """Files by name, relative to the output folder; `digest` covers all of them but measured figures (the stack
    bound).
    """

    name: str
    files: Mapping[str, str]
    digest: str
    level: str = LEVELS["speed"]
    """Of the C compiler's optimization."""

    def __str__(self) -> str:
        lines = [f"program {self.name} {self.digest}"]
        return "\n".join([*lines, *(f"  {name}: {len(text)} characters" for name, text in self.files.items()), ""])


def emit(
    calls: Calls, layout: Layout, source: Source, *, stack_bytes: int | None = None, level: str = LEVELS["speed"]
) -> Program:
    """The program; with `stack_bytes`, the stack that a build was found to need, the header says so too."""
    emitter = _Emitter(calls, layout, source, level)
    planned = emitter.files(None)
    digest = hashlib.sha256(json.dumps(planned, sort_keys=True).encode()).hexdigest()
    return Program(emitter.name, planned if stack_bytes is None else emitter.files(stack_bytes), digest, level)


@cache  # compiling the templates is most of the time that a small network takes
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # the output is C
    )


def notice(source: Source, numerics: Numerics) -> str:
    """Where a generated file comes from, and that it may be used freely."""
    template = _environment().get_template("notice.j2")
    return template.render(version=__version__, source=source, numerics=numerics.value)


def in_comment(text: str) -> str:
    """A name from a file as it can stand in a C comment: neither opening nor closing one, printable."""
    plain = "".join(c if c.isprintable() else "?" for c in text)
    return plain.replace("*/", "* /").replace("/*", "/ *")


def commented(text: str, sign: str) -> str:
    """Lines behind a comment sign."""
    return "".join(f"{sign} {line}\n" for line in text.splitlines())


def c_words(data: np.ndarray[Any, Any], per_line: int = 12) -> str:
    """The elements as C initialisers, lines of a readable length."""
    flat = data.ravel()
    form = "0x{:08x}" if flat.dtype == np.uint32 else "{}"
    items = [form.format(v) for v in flat.tolist()]
    lines = [", ".join(items[i : i + per_line]) for i in range(0, len(items), per_line)]
    return ",\n    ".join(lines)


def c_value(value: int | float | Sequence[int] | Constant, symbols: Mapping[tuple[str, bytes], str]) -> str:
    """A member of a constant struct."""
    if isinstance(value, Constant):
        return symbols[value.key]
    if isinstance(value, float):
        return f"{float(value).hex()}f"
    if isinstance(value, int | np.integer):
        return str(int(value))
    return "{" + ", ".join(str(int(v)) for v in value) + "}"


def wrapped(members: Sequence[str], width: int = 108) -> list[str]:
    """Members joined by commas, in lines that break between members only."""
    lines = [""]
    for member in members:
        if lines[-1] and len(lines[-1]) + len(member) > width:
            lines.append("")
        lines[-1] += f"{member}, "
    return [line.rstrip() for line in lines]


def tidy(text: str) -> str:
    """At most one empty line in a row, no blanks at line ends."""
    lines = "\n".join(line.rstrip() for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", lines).strip("\n") + "\n"


class _Emitter:
    def __init__(self, calls: Calls, layout: Layout, source: Source, level: str) -> None:
        self.calls, self.layout, self.source, self.level = calls, layout, source, level
        self.graph = calls.graph
        self.name = self.graph.name
        self.environment = _environment()

    def files(self, stack_bytes: int | None) -> dict[str, str]:
        name = self.name
        rendered = {
            f"{name}.h": self._render("model.h.j2", stack_bytes=stack_bytes),
            f"{name}.c": self._render("model.c.j2"),
            f"{name}_weights.c": self._render("weights.c.j2"),
            "model.h": self._render("model_names.h.j2"),
            "CMakeLists.txt": self._render("CMakeLists.txt.j2", level=self.level),
        }
        return {**rendered, "manifest.json": self._manifest(rendered)}

    def _render(self, template: str, **more: object) -> str:
        text = self.environment.get_template(template).render(
            name=self.name,
            upper=self.name.upper(),
            prefix=f"tc_{self.name}",
            version=__version__,
            abi_version=ABI_VERSION,
            source=self.source,
            numerics=self.graph.numerics.value,
            core=self.calls.core,
            parts=self.parts,
            state_section=self._section(self.layout.state_region),
            weights_section=self._section(self.layout.places.weights or ""),
            state_bytes=self.layout.state_bytes,
            arena_alignment=ARENA_ALIGNMENT,
            inputs=[self._edge(name) for name in self.graph.inputs],
            outputs=[self._edge(name) for name in self.graph.outputs],
            program=self,
            **more,
        )
        return tidy(text)

    def _edge(self, name: str) -> dict[str, object]:
        t = self.graph.tensors[name]
        return {
            "name": in_comment(name),
            "place": self._at(self.layout.offset(name)),
            "bytes": t.bytes,
            "elements": t.elements,
            "rank": len(t.shape),
            "shape": t.shape,
            "type": t.dtype.c_type,
            "scale": None if t.quantization is None or t.dtype is DType.FLOAT32 else f"{np.float32(t.scale)!s}f",
            "zero_point": t.zero_point,
        }

    def _manifest(self, rendered: Mapping[str, str]) -> str:
        def describe(name: str) -> dict[str, object]:
            t = self.graph.tensors[name]
            part, offset = self._part(self.layout.offset(name))
            quantized = t.quantization is not None and t.dtype is not DType.FLOAT32
            return {
                "name": name,
                "shape": list(t.shape),
                "dtype": t.dtype.value,
                "bytes": t.bytes,
                "scale": t.scale if quantized else None,
                "zero_point": t.zero_point if quantized else None,
                "arena_region": part["region"],
                "arena_offset": offset,
            }

        manifest = {
            "schema": ABI_VERSION,
            "generator": f"tinycompiler {__version__}",
            "model": {"name": self.name, "file": self.source.name, "sha256": self.source.sha256},
            "numerics": self.graph.numerics.value,
            "core": self.calls.core.name,
            "level": self.level,
            "arena_bytes": self.layout.plan.arena,
            "arena": [{"region": part["region"], "bytes": part["bytes"]} for part in self.parts],
            "state_bytes": self.layout.state_bytes,
            "inputs": [describe(n) for n in self.graph.inputs],
            "outputs": [describe(n) for n in self.graph.outputs],
            "files": {
                f: hashlib.sha256(text.encode()).hexdigest() for f, text in rendered.items() if f != f"{self.name}.h"
            },
        }
        return json.dumps(manifest, indent=2) + "\n"

    # What the templates ask for.

    @cached_property
    def parts(self) -> list[dict[str, Any]]:
        """Pieces of the arena, each in a region; the first one bears the name that an arena in one piece has."""
        plan = self.layout.plan
        pieces = plan.parts or (Part(self.layout.places.default, 0, plan.arena, plan.arena),)
        return [
            {
                "region": piece.region,
                "bytes": max(piece.size, 1),
                "section": self._section(piece.region),
                "suffix": f"_{piece.region.lower()}" if number else "",
            }
            for number, piece in enumerate(pieces)
        ]

    def _section(self, region: str) -> str | None:
        """The end of a macro's name that says where a variable goes; None where variables go anyway."""
        return None if region in ("", self.layout.places.default) else region

    def _part(self, offset: int) -> tuple[dict[str, Any], int]:
        """The piece of the arena at an offset, and the offset in it."""
        plan = self.layout.plan
        number = plan.part_of(offset)
        return self.parts[number], offset - (plan.parts[number].start if plan.parts else 0)

    def _at(self, offset: int) -> str:
        """A place in the arena, as C."""
        part, inside = self._part(offset)
        return f"TC_ARENA{part['suffix'].upper()}({inside})"

    @property
    def sections(self) -> dict[str, str]:
        """Macro's end -> section, of every region but the default one that variables are in."""
        names = [*(part["section"] for part in self.parts), self._section(self.layout.state_region)]
        return {name.upper(): f".bss.tc_{name}" for name in names if name is not None}

    @cached_property
    def symbols(self) -> dict[tuple[str, bytes], str]:
        """The C name of every distinct constant."""
        names: dict[tuple[str, bytes], str] = {}
        for constant in self._constants:
            if constant.key not in names:
                kind = "t" if constant.table else "w"
                names[constant.key] = f"tc_{self.name}_{kind}_{len(names)}"
        return names

    @property
    def _constants(self) -> list[Constant]:
        initial = [Constant(flat_bytes(s.initial)) for s in self.graph.states if len(set(flat_bytes(s.initial))) > 1]
        return [*(constant for call in self.calls.calls for constant in call.constants), *initial]

    @property
    def arrays(self) -> list[dict[str, object]]:
        """Distinct constants, with name, C type, count and values."""
        distinct = {constant.key: constant for constant in self._constants}
        return [
            {
                "name": self.symbols[key],
                "type": f"{constant.data.dtype}_t",
                "count": constant.data.size,
                "values": c_words(constant.data, 8 if constant.data.dtype == np.uint32 else 24),
            }
            for key, constant in distinct.items()
        ]

    @cached_property
    def instances(self) -> dict[tuple[str, str, Context], str]:
        """The C function of every distinct template, instruction set and context."""
        names: dict[tuple[str, str, Context], str] = {}
        for call in self.calls.calls:
            key = (call.template, call.isa, call.context)
            if call.invocations and key not in names:
                count = sum(template == call.template for template, *_ in names)
                names[key] = f"tc_{call.template}_{count}"
        return names

    @property
    def inner(self) -> list[str]:
        """The text of every header of inner loops that some call needs, once, in the order of need."""
        wanted = dict.fromkeys((call.isa, header) for call in self.calls.calls for header in call.inner)
        return [self._inner_text(isa, header) for isa, header in wanted]

    def _inner_text(self, isa: str, header: str) -> str:
        file, _, variant = header.partition(":")
        return self.environment.get_template(f"inner/{isa}/{file}.h.j2").render(variant=variant)

    @property
    def common(self) -> str:
        return self.environment.get_template("inner/common.h.j2").render()

    @property
    def types(self) -> list[str]:
        """The struct of every template in use."""
        templates = dict.fromkeys(template for template, *_ in self.instances)
        return [self._block(template, "types", {}) for template in templates]

    @property
    def functions(self) -> list[str]:
        """Every instance's C."""
        texts = []
        for (template, isa, context), name in self.instances.items():
            variables = {f.name: getattr(context, f.name) for f in fields(context)}
            texts.append(self._block(template, "function", {"name": name, "isa": isa, **variables}))
        return texts

    def _block(self, template: str, block: str, variables: Mapping[str, object]) -> str:
        loaded = self.environment.get_template(f"kernels/{template}.c.j2")
        return "".join(loaded.blocks[block](loaded.new_context(dict(variables))))

    @property
    def initial_states(self) -> list[dict[str, object]]:
        """Where each state lies and what it is at the start: one byte repeated, or an array."""
        described: list[dict[str, object]] = []
        for state in self.graph.states:
            data = flat_bytes(state.initial)
            even = len(set(data.tobytes())) == 1
            described.append(
                {
                    "offset": self.layout.states[state.tensor],
                    "bytes": data.size,
                    "value": int(data[0]) if even else None,
                    "symbol": None if even else self.symbols[Constant(data).key],
                }
            )
        return described

    @property
    def steps(self) -> list[dict[str, object]]:
        """One entry per step: a call with its outputs for the hook, or the stages of a run."""
        numbers = iter(range(len(self.calls.calls)))
        return [self._run(s, numbers) if isinstance(s, Run) else self._step(s, next(numbers)) for s in self.calls.steps]

    def _step(self, call: Call, number: int) -> dict[str, object]:
        tensors = self.graph.tensors
        scratch = self._scratch(call)
        return {
            "stages": [],
            "node": number,
            "summary": self._summary(call),
            "invocations": [
                self._invocation(call, i, [*(self._operand(name, call) for name in i.operands), *scratch])
                for i in call.invocations
            ],
            "outputs": [{"place": self._place(name), "bytes": tensors[name].bytes} for name in call.node.outputs],
        }

    def _summary(self, call: Call) -> str:
        graph = self.graph
        shapes = [str(t.shape) for t in (*graph.inputs_of(call.node)[:1], *graph.outputs_of(call.node))]
        return in_comment(f"{call.node.name}: {' -> '.join(shapes)}, {call.macs:,} MACs, {call.kernel}")

    def _scratch(self, step: Call | Run) -> list[str]:
        return [self._at(self.layout.scratch_offset(step))] if step.scratch else []

    def _run(self, run: Run, numbers: Iterator[int]) -> dict[str, object]:
        stages = list(enumerate(run.stages))
        wanted = [
            {
                "stage": i,
                "readers": [
                    {"stage": j, "end": _row(f"made_{j}", s.stride, s.reach - s.pad), "height": s.height}
                    for j, reader in stages
                    for s in reader.sources
                    if s.tensor == stage.output
                ],
            }
            for i, stage in stages[-2::-1]
        ]
        return {"stages": [self._stage(run, i, next(numbers)) for i, _ in stages], "wanted": wanted, "outputs": []}

    def _stage(self, run: Run, index: int, number: int) -> dict[str, object]:
        stage, row = run.stages[index], f"made_{index}"
        call = stage.call
        sources = {s.tensor: s for s in stage.sources}
        operands = []
        for name in call.invocations[0].operands:
            kind = self._type(name, call)
            if name == stage.output:
                operands.append("y")
            elif name not in sources:
                operands.append("NULL")
            elif stage.pointers:
                operands.append("rows")
            else:
                first = _row(row, sources[name].stride, 0)
                operands.append(f"(const {kind} *){self._row_place(run, name, first, sources[name].row_bytes)}")
        scratch = self._scratch(run) if call.scratch else []
        return {
            "summary": self._summary(call),
            "node": number,
            "height": stage.height,
            "bytes": stage.row_bytes,
            "type": self._type(stage.output, call),
            "place": self._row_place(run, stage.output, row, stage.row_bytes),
            "rows": [self._rows(run, source, row) for source in stage.sources if stage.pointers],
            "invocation": self._invocation(call, call.invocations[0], [*operands, *scratch]),
        }

    def _rows(self, run: Run, source: RowSource, row: str) -> dict[str, object]:
        """Pointers to the rows under a window."""
        return {
            "count": source.count,
            "first": _row(row, source.stride, -source.pad),
            "dilation": source.dilation,
            "height": source.height,
            "place": self._place(source.tensor),
            "kept": run.rings.get(source.tensor, source.height),
            "bytes": source.row_bytes,
        }

    def _row_place(self, run: Run, name: str, row: str, row_bytes: int) -> str:
        """Where a row lies, as C: in a ring it takes the place of an older one."""
        kept = run.rings.get(name)
        if kept == 1:
            return self._place(name)
        place = f"({row}) % {kept}" if kept else f"({row})"
        return f"((uint8_t *){self._place(name)} + {place} * {row_bytes})"

    def _invocation(self, call: Call, invocation: Invocation, operands: Sequence[str]) -> dict[str, object]:
        members = [f".{key} = {c_value(value, self.symbols)}" for key, value in invocation.fields.items()]
        instance = self.instances[call.template, call.isa, call.context]
        return {
            "type": f"tc_{call.template}",
            "members": wrapped(members),
            "call": f"{instance}({', '.join(['&p', *operands])})",
        }

    def _type(self, name: str, call: Call) -> str:
        """What a kernel's C takes a tensor's elements for."""
        tensor: Tensor = self.graph.tensors[name]
        return "uint8_t" if call.context.raw else ALIASING.get(tensor.dtype, tensor.dtype.c_type)

    def _operand(self, name: str, call: Call) -> str:
        if self.graph.tensors[name].is_constant:
            return "NULL"  # the struct points to it
        constant = "" if name in call.node.outputs else "const "
        return f"({constant}{self._type(name, call)} *){self._place(name)}"

    def _place(self, name: str) -> str:
        """Where a tensor lies, as C."""
        if name in self.layout.states:
            return f"TC_STATE({self.layout.states[name]})"
        return self._at(self.layout.offset(name))


def _row(made: str, stride: int, offset: int) -> str:
    """made · stride + offset as C."""
    text = made if stride == 1 else f"{made} * {stride}"
    return text if offset == 0 else f"{text} {'+' if offset > 0 else '-'} {abs(offset)}"
