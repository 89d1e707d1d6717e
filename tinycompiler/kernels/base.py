"""Kernel, Call, Constant, Context: how an operator becomes C.

A kernel is one way to run an operator: it says why it cannot run a given node (`why_not`, one sentence that serves
selection, error and report alike), or lowers the node to a `Call`: a template, the context that specialises it, the
constants it reads from flash, and the scratch it needs. Calls with equal template and context share one C function;
what differs between them goes into a constant struct (`fields`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from tinycompiler.graph import Graph, Node
from tinycompiler.kernels.order import Touch, distances
from tinycompiler.ops import Numerics, Op, Window
from tinycompiler.tensor import Array, DType, Tensor


@dataclass(frozen=True)
class Context:
    """Base of a template's variables; equal contexts of one template share one C function."""

    raw: ClassVar[bool] = False
    """Whether the C function takes its operands as bytes, whatever their type."""


@dataclass(frozen=True, eq=False)
class Constant:
    """An array that lies in flash. `table` tells look-up tables from weights in the accounts."""

    data: Array
    table: bool = False

    @property
    def key(self) -> tuple[str, bytes]:
        """Equal for equal contents: such constants are stored once."""
        return str(self.data.dtype), self.data.tobytes()

    @property
    def size(self) -> int:
        """In bytes."""
        return self.data.nbytes


Field = int | float | Sequence[int] | Constant


@dataclass(frozen=True, eq=False)
class Invocation:
    """One call of a C function: its operands in the order of its parameters, and the members of its constant struct.

    An operand is a tensor's name; a field is a number, a list of numbers, or a `Constant` that the struct points to.
    """

    operands: tuple[str, ...]
    fields: Mapping[str, Field]


@dataclass(frozen=True, eq=False)
class Call:
    """A node with its chosen kernel."""

    node: Node
    kernel: str
    template: str
    isa: str
    inner: tuple[str, ...]
    """Headers of inner loops, in order, as `name` or `name:variant`."""
    context: Context
    invocations: tuple[Invocation, ...]
    scratch: int = 0
    """Bytes of working memory, 4-aligned, that live during this call only; passed as the last argument when not 0."""
    in_place: tuple[str, ...] = ()
    """Inputs whose memory the output may take over."""
    order: tuple[Touch, ...] = ()
    """How the call walks through its operands; empty: it may read any byte until it has written the last."""
    macs: int = 0
    floating_point: str = ""
    """What the C computes with beside integers: "", "single" or "double" precision."""
    encoding: str = ""
    """How weights are stored, where that is not one after another in 8 or 16 bits: "int4", "blocks of 4"."""
    bits: int = 8
    """That a stored weight takes."""
    rejected: tuple[tuple[str, str], ...] = ()
    """Better kernels that refused, and why."""
    reason: str = ""
    """Why weights are encoded so, where there was a choice."""

    @property
    def constants(self) -> tuple[Constant, ...]:
        return tuple(v for i in self.invocations for v in i.fields.values() if isinstance(v, Constant))

    @cached_property
    def under(self) -> Mapping[str, int]:
        """Bytes that the output has to begin under each input, at least, where the order is known."""
        return distances(self.order, self.node.outputs[0], self.node.inputs)

    def __str__(self) -> str:
        constants = sum(c.size for c in self.constants)
        why = "".join(f"\n      not {name}: {reason}" for name, reason in self.rejected)
        use = f"{constants} bytes of constants, {self.scratch} of scratch"
        return f"{self.node.name}: {self.kernel} {self.context}, {use}{why}"


@dataclass(frozen=True)
class Site:
    """A node in its graph, as kernels look at it."""

    graph: Graph
    node: Node
    spare: int = 0
    """Bytes of scratch that would not raise the peak of the network."""
    limit: int | None = None
    """Bytes of scratch that a kernel may take at most, where the arena has a budget."""

    chosen: str = ""
    """The kernel to take where it does not refuse, see choice.py."""
    reason: str = ""
    """Why it was chosen, where there is something to say."""
    dense: bool = False
    """Whether weights are to stay bytes one after another: no kernel that packs them tighter."""
    plain: bool = False
    """Whether code is dearer than time: inner loops have no forms for special cases beside the general one."""

    def scratch(self, usual: int, most: int) -> int:
        """Bytes that a kernel may take: `usual` even where that raises the peak, up to `most` where they are spare."""
        wanted = max(usual, min(self.spare, most))
        return wanted if self.limit is None else min(wanted, self.limit)

    def no_room(self, what: str, least: int) -> str | None:
        """None, or the sentence where `what` ("a column takes") is more scratch than a kernel may take."""
        if self.limit is None or least <= self.limit:
            return None
        return f"{what} {least:,} bytes of scratch, and the arena's budget leaves {self.limit:,}"

    @property
    def op(self) -> Op:
        return self.node.op

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return self.graph.inputs_of(self.node)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return self.graph.outputs_of(self.node)

    @property
    def numerics(self) -> Numerics:
        return self.graph.numerics

    @property
    def moving(self) -> tuple[str, ...]:
        """Names of the inputs that are not constants."""
        return tuple(t.name for t in self.inputs if not t.is_constant)


@dataclass(frozen=True)
class Lowered:
    """What a kernel makes of a node; `Kernel.call` completes it to a Call."""

    inner: tuple[str, ...]
    context: Context
    invocations: tuple[Invocation, ...]
    scratch: int = 0
    in_place: tuple[str, ...] = ()
    floating_point: str = ""
    """See `Call`; copying floats is no arithmetic."""
    order: tuple[Touch, ...] = ()


class Kernel:
    """Base of all kernels: one instance each in `KERNELS`, best first."""

    name: ClassVar[str]
    template: ClassVar[str]
    isa: ClassVar[str] = "scalar"
    ops: ClassVar[tuple[type[Op], ...]]
    types: ClassVar[tuple[DType, ...] | None] = None
    """Types of a first output that the kernel is for, others being another kernel's matter; None: any."""
    rival: ClassVar[bool] = False
    """Whether the values of the weights decide if it is faster than other kernels, so that estimates are asked."""
    encoding: ClassVar[str] = ""
    """How it stores weights: see Call. All rivals have a word for it."""
    bits: ClassVar[int] = 8

    def is_for(self, site: Site) -> bool:
        """Whether the kernel runs such operators at all; if not, its refusal is not worth a word."""
        return isinstance(site.op, self.ops) and (self.types is None or site.outputs[0].dtype in self.types)

    def why_not(self, site: Site) -> str | None:
        """None, or the sentence that says why this kernel cannot run the node."""
        return None

    def lower(self, site: Site) -> Lowered:
        """The node in this kernel's terms; asked only when `why_not` is None."""
        raise NotImplementedError

    def lower_row(self, site: Site) -> Lowered | None:
        """One row of the node's output from pointers to the input rows under its window, where there is such a form.

        The C function takes these pointers in place of the input: null for a row outside the image.
        """
        return None

    def multiplications(self, site: Site) -> int:
        """That it does for the node: less than the node's where it passes over zeros."""
        return site.graph.macs(site.node)

    def row_extra(self, site: Site) -> int:
        """Instructions that computing row by row takes more than the whole node, estimated."""
        return 0

    def call(self, site: Site, rejected: tuple[tuple[str, str], ...], lowered: Lowered | None = None) -> Call:
        """The call of the node, or of its `lowered` form."""
        lowered = lowered or self.lower(site)
        return Call(
            node=site.node,
            kernel=self.name,
            template=self.template,
            isa=self.isa,
            inner=lowered.inner,
            context=lowered.context,
            invocations=lowered.invocations,
            scratch=lowered.scratch,
            in_place=lowered.in_place,
            order=lowered.order,
            macs=site.graph.macs(site.node),
            floating_point=lowered.floating_point,
            encoding=self.encoding,
            bits=self.bits,
            rejected=rejected,
            reason=site.reason if site.chosen == self.name else "",
        )


def words(values: Array) -> Array:
    """int32 values as the uint32 words that streams are made of."""
    return np.asarray(values, np.int64).astype(np.uint32)


def window_fields(window: Window) -> dict[str, Field]:
    """How a window moves, as the members of a convolution's constant struct."""
    return {
        "stride_h": window.stride[0],
        "stride_w": window.stride[1],
        "dilation_h": window.dilation[0],
        "dilation_w": window.dilation[1],
        "pad_top": window.padding.top,
        "pad_left": window.padding.left,
    }


def quads(channels: int) -> Array:
    """Channels in fours, (groups, 4); the last four overlap the ones before when the count is no multiple of 4.

    Computing a few channels twice is cheaper than a second loop for the rest, and needs no code.
    """
    starts = np.minimum(np.arange(0, channels, 4), channels - 4)
    return starts[:, np.newaxis] + np.arange(4)


def round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
