"""Resource variables become states: values that a graph reads at its start and leaves for the next inference.

VAR_HANDLE names a variable, CALL_ONCE runs a subgraph that assigns constants to them, READ_VARIABLE and
ASSIGN_VARIABLE move values. In our graph a read is another name for the state's tensor (or for what was assigned
before it), and the last assignment is one `Assign` node at the end; `settle_states` says where it may stand. What is
never assigned is a constant, and what is assigned before every read needs no state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tinycompiler.graph import Node, State
from tinycompiler.ops import Assign
from tinycompiler.readers.tflite import File, Operator, Subgraph
from tinycompiler.tensor import Array, Tensor

OPERATORS = ("CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE")

COUNTS = {"CALL_ONCE": (0, 0), "VAR_HANDLE": (0, 1), "READ_VARIABLE": (1, 1), "ASSIGN_VARIABLE": (2, 0)}
"""Inputs and outputs of each."""
MISCOUNTED = "it has not the inputs and outputs of its kind; the file is inconsistent"


def well_formed(operator: Operator) -> bool:
    """Whether a variable operator has as many inputs and outputs as its kind, and none is absent."""
    return (len(operator.inputs), len(operator.outputs)) == COUNTS[operator.name] and None not in operator.inputs


Key = tuple[object, object]
"""Container and shared name: what makes two handles one variable, across subgraphs."""


@dataclass
class Variables:
    """What the variable operators of a file say, collected in one walk over the main subgraph."""

    initial: dict[Key, Array]
    file_tensors: Mapping[str, Tensor]
    handles: dict[str, Key] = field(default_factory=dict)
    names: dict[Key, str] = field(default_factory=dict)
    current: dict[Key, str] = field(default_factory=dict)
    """The tensor that holds a variable's value at this point of the walk."""
    aliases: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def take(self, operator: Operator, tensors: dict[str, Tensor]) -> None:
        """One variable operator; others are none of our business."""
        if operator.name in COUNTS and not well_formed(operator):
            self.problems.append(f"{operator}: {MISCOUNTED}")
            return
        match operator.name:
            case "VAR_HANDLE":
                self._handle(operator)
            case "READ_VARIABLE":
                self._read(operator, tensors[operator.outputs[0]])
            case "ASSIGN_VARIABLE":
                self._assign(operator)

    def _handle(self, operator: Operator) -> None:
        key = _key(operator)
        self.handles[operator.outputs[0]] = key
        if key not in self.names:
            name = str(key[1] or operator.outputs[0])
            self.names[key] = name if name not in self.names.values() else f"{name} of {key[0] or len(self.names)}"

    def _read(self, operator: Operator, read: Tensor) -> None:
        key = self._key_of(operator)
        if key is None:
            return
        if key not in self.current:
            state = f"state {self.names[key]}"
            self.current[key] = state
            self.tensors[state] = replace(read, name=state, variable=True)
        held = {**self.file_tensors, **self.tensors}[self.current[key]]
        if (held.shape, held.dtype, held.quantization) != (read.shape, read.dtype, read.quantization):
            self.problems.append(f"{operator}: reads '{read}' where variable '{self.names[key]}' holds '{held}'")
        self.aliases[read.name] = self.current[key]

    def _assign(self, operator: Operator) -> None:
        key = self._key_of(operator)
        value = operator.inputs[1] if len(operator.inputs) > 1 else None
        if key is None or value is None:
            return
        self.current[key] = self.aliases.get(value, value)

    def _key_of(self, operator: Operator) -> Key | None:
        handle = operator.inputs[0] if operator.inputs else None
        key = self.handles.get(handle) if handle else None
        if key is None:
            self.problems.append(f"{operator}: its variable has no VAR_HANDLE before it")
        return key

    def states(self, nodes: Sequence[Node], tensors: dict[str, Tensor]) -> tuple[list[Node], tuple[State, ...]]:
        """The nodes with one Assign per variable, and the states; new tensors go into `tensors`."""
        result, states = list(nodes), []
        for key, name in self.names.items():
            state = f"state {name}"
            if state not in self.tensors:
                continue
            old = self.tensors[state]
            initial = self._initial(key, old)
            if self.current[key] == state:
                tensors[state] = replace(old, data=initial, variable=False)
                continue
            last = f"next {name}"
            tensors[state], tensors[last] = old, replace(old, name=last, variable=False)
            result.append(Node(f"assign {name}", Assign(), (self.current[key],), (last,)))
            states.append(State(state, last, initial))
        return result, tuple(states)

    def _initial(self, key: Key, old: Tensor) -> Array:
        found = self.initial.get(key)
        if found is None:
            return np.zeros(old.shape, old.dtype.numpy)
        if found.shape != old.shape or found.dtype != old.dtype.numpy:
            self.problems.append(
                f"variable '{self.names[key]}' starts as {found.dtype} {found.shape} "
                f"and is read as {old.dtype.value} {old.shape}"
            )
            return np.zeros(old.shape, old.dtype.numpy)
        return found


def variables_of(file: File) -> Variables:
    """An empty walk, with the initial values that CALL_ONCE's subgraphs assign."""
    initial: dict[Key, Array] = {}
    problems: list[str] = []
    for operator in file.subgraphs[0].operators:
        if operator.name != "CALL_ONCE":
            continue
        index = operator.options.get("init_subgraph_index", 0)
        if not isinstance(index, int) or not 0 < index < len(file.subgraphs):
            problems.append(f"{operator}: subgraph {index} is not there")
            continue
        _initialize(file.subgraphs[index], initial, problems)
    return Variables(initial, {t.name: t for t in file.subgraphs[0].tensors}, problems=problems)


def _initialize(subgraph: Subgraph, initial: dict[Key, Array], problems: list[str]) -> None:
    """What a subgraph of CALL_ONCE assigns; only constants are understood."""
    tensors = {t.name: t for t in subgraph.tensors}
    handles: dict[str, Key] = {}
    for operator in subgraph.operators:
        if operator.name in COUNTS and not well_formed(operator):
            problems.append(f"{operator} of subgraph '{subgraph.name}': {MISCOUNTED}")
        elif operator.name == "VAR_HANDLE":
            handles[operator.outputs[0]] = _key(operator)
        elif operator.name == "ASSIGN_VARIABLE" and len(operator.inputs) == 2 and operator.inputs[0] in handles:
            value = tensors.get(operator.inputs[1] or "")
            if value is None or value.data is None:
                problems.append(f"{operator} of subgraph '{subgraph.name}': the initial value is not a constant")
            else:
                initial[handles[operator.inputs[0]]] = value.data
        else:
            problems.append(
                f"{operator} of subgraph '{subgraph.name}' is not understood; only constants can be assigned"
            )


def _key(operator: Operator) -> Key:
    return operator.options.get("container", ""), operator.options.get("shared_name", "")
