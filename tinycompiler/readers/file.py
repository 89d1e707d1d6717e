"""What a .tflite file says, as values: names instead of indices, plain numpy constants, decoded options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tinycompiler.tensor import Tensor


@dataclass(frozen=True)
class Details:
    """What the file says of a tensor and a Tensor does not hold."""

    type: str  # the file's own name, such as "INT4"
    shape_signature: tuple[int, ...] = ()  # -1: unknown when the network was converted
    has_rank: bool = False
    zero_points: tuple[int, ...] = ()
    scheme: str = ""  # of a quantization that is neither per tensor nor per axis
    scaling: str = ""  # why there is no quantization although there are scales
    sparse: str = ""  # how a sparse constant is stored: "1x16" or "other", see sparsity.py
    lie: str = ""  # what is wrong with how it is
    missing: str = ""  # why a constant has no data


@dataclass(frozen=True)
class Operator:
    """`options` are the whole decoded table, defaults included and enums as numbers, or {} when the file has none.

    A custom operator is called "CUSTOM:<name>"; its options are {"custom_options": bytes}, when there are any.
    """

    index: int
    name: str
    version: int
    options: Mapping[str, Any]
    inputs: tuple[str | None, ...]  # None: an optional input that is not there
    outputs: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The operator's name without the mark of custom ones."""
        return self.name.removeprefix("CUSTOM:")

    @property
    def node(self) -> str:
        """What graphs and reports call it."""
        return f"{self.kind.lower()}_{self.index}"


@dataclass(frozen=True)
class Subgraph:
    """A network: its tensors, and operators in running order; `inputs` and `outputs` are names of tensors."""

    name: str
    tensors: tuple[Tensor, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[Operator, ...]
    details: Mapping[str, Details]  # by tensor name

    @cached_property
    def users(self) -> Mapping[str, Sequence[Operator]]:
        """The operators that read or write a tensor, by its name."""
        found: dict[str, list[Operator]] = {}
        for operator in self.operators:
            for name in dict.fromkeys((*operator.inputs, *operator.outputs)):
                if name is not None:
                    found.setdefault(name, []).append(operator)
        return found


@dataclass(frozen=True)
class Signature:
    """A named way to call a subgraph: (the caller's name, tensor name) for each input and output."""

    key: str
    subgraph: int
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class File:
    """All that a file says; the first subgraph is the network."""

    subgraphs: tuple[Subgraph, ...]
    description: str
    signatures: tuple[Signature, ...]
    data: bytes = field(repr=False)
    """The file itself."""
    first: int = 0
    """Which of its subgraphs is the network."""
