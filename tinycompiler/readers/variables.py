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
from tinycompiler.readers.blocker import AGAIN, Blocker, objection
from tinycompiler.readers.file import File, Operator, Subgraph
from tinycompiler.tensor import Array, Tensor

OPERATORS = ("CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE")

COUNTS = {"CALL_ONCE": (0, 0), "VAR_HANDLE": (0, 1), "READ_VARIABLE": (1, 1), "ASSIGN_VARIABLE": (2, 0)}
"""Inputs and outputs of each."""
MISCOUNTED = "it has not the inputs and outputs of its kind; the file is inconsistent"


def well_formed(operator: Operator) -> bool:
    """Whether a variable operator has as many inputs and outputs as its kind, and none is absent."""
    return (len(operator.inputs), len(operator.outputs)) == COUNTS[operator.name] and None not in operator.inputs


def handle_of(operator: Operator) -> tuple[str | None, ...]:
    """The tensor that stands for a variable at an operator, if there is one."""
    return operator.outputs[:1] if operator.name == "VAR_HANDLE" else operator.inputs[: operator.name in OPERATORS]


Key = tuple[object, object]
"""Container and shared name: what makes two handles one variable, across subgraphs."""


@dataclass
class Variables:
    """What the variable operators of a file say, collected in one walk over the main subgraph."""

    main: Subgraph
    passed_over: frozenset[str]
    """Tensors that make no sense to look at."""
    file_tensors: Mapping[str, Tensor]
    initial: dict[Key, Array] = field(default_factory=dict)
    handles: dict[str, Key] = field(default_factory=dict)
    names: dict[Key, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    current: dict[Key, str] = field(default_factory=dict)
    """The tensor that holds a variable's value at this point of the walk."""
    aliases: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    problems: list[Blocker] = field(default_factory=list)
    blocked: set[str] = field(default_factory=set)
    """What nobody computes for one of these problems."""

    def take(self, operator: Operator, tensors: dict[str, Tensor]) -> None:
        """One variable operator; others are none of our business."""
        if operator.name not in COUNTS:
            return
        if not self.passed_over.isdisjoint((*operator.inputs, *operator.outputs)):
            self.blocked.update(operator.outputs)
            return
        if not well_formed(operator):
            self._refuse(operator, MISCOUNTED)
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
            self.names[key] = name if name not in self.taken else f"{name} of {key[0] or len(self.names)}"
            self.taken.add(self.names[key])

    def _read(self, operator: Operator, read: Tensor) -> None:
        key = self._key_of(operator)
        if key is None:
            return
        if key not in self.current:
            state = f"state {self.names[key]}"
            self.current[key] = state
            self.tensors[state] = replace(read, name=state, variable=True)
        held = self.tensors.get(self.current[key]) or self.file_tensors[self.current[key]]
        if (held.shape, held.dtype, held.quantization) != (read.shape, read.dtype, read.quantization):
            self._refuse(operator, f"reads '{read}' where variable '{self.names[key]}' holds '{held}'")
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
            self._refuse(operator, "its variable has no VAR_HANDLE before it; the file is inconsistent")
        return key

    def _refuse(self, operator: Operator, sentence: str) -> None:
        self.problems.append(objection("state", sentence, operator, self.main))
        self.blocked.update(operator.outputs)

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
            starts = f"variable '{self.names[key]}' starts as {found.dtype} {found.shape}"
            self.problems.append(Blocker("state", f"{starts} and is read as {old.dtype.value} {old.shape}", AGAIN))
            return np.zeros(old.shape, old.dtype.numpy)
        return found


def variables_of(file: File, passed_over: frozenset[str]) -> Variables:
    """An empty walk, with the initial values that CALL_ONCE's subgraphs assign."""
    main = file.subgraphs[0]
    walk = Variables(main, passed_over, {t.name: t for t in main.tensors})
    for operator in main.operators:
        if operator.name != "CALL_ONCE":
            continue
        index = operator.options.get("init_subgraph_index", 0)
        if not isinstance(index, int) or not 0 < index < len(file.subgraphs):
            walk.problems.append(objection("state", f"subgraph {index} is not there", operator, main))
            continue
        _initialize(file.subgraphs[index], walk)
    return walk


def _initialize(subgraph: Subgraph, walk: Variables) -> None:
    """What a subgraph of CALL_ONCE assigns; only constants are understood."""
    tensors = {t.name: t for t in subgraph.tensors}
    handles: dict[str, Key] = {}
    for operator in subgraph.operators:
        value = tensors.get(operator.inputs[1] or "") if len(operator.inputs) == 2 else None
        problem = ""
        if operator.name in COUNTS and not well_formed(operator):
            problem = MISCOUNTED
        elif operator.name == "VAR_HANDLE":
            handles[operator.outputs[0]] = _key(operator)
        elif operator.name != "ASSIGN_VARIABLE" or operator.inputs[0] not in handles:
            problem = "it is not understood; only constants can be assigned"
        elif value is None or value.data is None:
            problem = "the initial value is not a constant"
        else:
            walk.initial[handles[operator.inputs[0]]] = value.data
        if problem:
            place = f"in subgraph '{subgraph.name}', which initializes variables: "
            walk.problems.append(objection("state", place + problem, operator, subgraph))


def _key(operator: Operator) -> Key:
    return operator.options.get("container", ""), operator.options.get("shared_name", "")
