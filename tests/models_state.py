"""Small networks with variables, as .tflite bytes, one function each (`STATEFUL`); and odd edges (`EDGES`).

Every variable begins with a pattern that a subgraph of CALL_ONCE assigns.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.tflite_builder import ModelBuilder, encode

Shape = tuple[int, ...]
NUMBERS = {"scales": 0.05, "zero_points": 3}


class Stream(ModelBuilder):
    """A model in the making: `x` is an input of 4 values, variables hold (1, 4)."""

    def __init__(self, dtype: str = "int8") -> None:
        super().__init__("stream")
        self.dtype = dtype
        self.numbers: dict[str, Any] = NUMBERS if dtype == "int8" else {}
        self.initial: dict[str, np.ndarray[Any, Any]] = {}
        self.handles: dict[str, str] = {}
        self.values_of("x")
        self.inputs("x")

    def values_of(self, name: str, shape: Shape = (1, 4), data: Any = None) -> str:
        return self.tensor(name, shape, self.dtype, data=data, **self.numbers)

    def variable(self, name: str, shape: Shape = (1, 4)) -> str:
        """A handle of a variable, which begins as 1, 2, 3, ... and is shared by handles of one name."""
        size = int(np.prod(shape))
        handle = self.tensor(f"handle {len(self.handles)}", (), "RESOURCE")
        self.initial.setdefault(name, np.arange(1, size + 1).astype(self.dtype).reshape(shape))
        self.handles[handle] = name
        options = {"container": "", "shared_name": name}
        self.operator("VAR_HANDLE", [], [handle], options=options)
        return handle

    def read(self, handle: str, name: str) -> str:
        shape = self.initial[self.handles[handle]].shape
        self.operator("READ_VARIABLE", [handle], [self.values_of(name, shape)], options={})
        return name

    def assign(self, handle: str, value: str) -> None:
        self.operator("ASSIGN_VARIABLE", [handle, value], [], options={})

    def concatenation(self, names: Sequence[str], name: str, size: int, axis: int = 1) -> str:
        shape = (1, size) if axis else (size, 4)
        self.operator("CONCATENATION", names, [self.values_of(name, shape)], options={"axis": axis})
        return name

    def slice(self, source: str, name: str, begin: int, size: int = 4) -> str:
        for key, value in ((f"{name} begin", (0, begin)), (f"{name} size", (1, size))):
            self.tensor(key, (2,), "int32", data=value)
        self.operator("SLICE", [source, f"{name} begin", f"{name} size"], [self.values_of(name, (1, size))], options={})
        return name

    def reshape(self, source: str, name: str, shape: Shape) -> str:
        self.tensor(f"{name} shape", (len(shape),), "int32", data=shape)
        self.operator("RESHAPE", [source, f"{name} shape"], [self.values_of(name, shape)])
        return name

    def called(self, *outputs: str) -> bytes:
        """The file, with a second subgraph that gives variables their first values."""
        init = ModelBuilder("init")
        for name, data in self.initial.items():
            init.tensor(f"{name} handle", (), "RESOURCE")
            init.tensor(f"{name} first", data.shape, self.dtype, data=data, **self.numbers)
            init.operator("VAR_HANDLE", [], [f"{name} handle"], options={"container": "", "shared_name": name})
            init.operator("ASSIGN_VARIABLE", [f"{name} handle", f"{name} first"], [], options={})
        return started(self.outputs(*outputs), init)


def started(builder: ModelBuilder, init: ModelBuilder) -> bytes:
    """The file of a network that runs `init` once before all else."""
    builder.operator("CALL_ONCE", [], [], options={"init_subgraph_index": 1})
    main, other = builder.values(), init.values()
    [first], [second] = main["subgraphs"], other["subgraphs"]
    first["operators"] = [first["operators"][-1], *first["operators"][:-1]]
    for tensor in second["tensors"]:
        tensor["buffer"] += len(main["buffers"]) - 1 if tensor["buffer"] else 0
    for operator in second["operators"]:
        operator["opcode_index"] += len(main["operator_codes"])
    main["subgraphs"] = [first, {**second, "name": "init"}]
    main["buffers"] = [*main["buffers"], *other["buffers"][1:]]
    main["operator_codes"] = [*main["operator_codes"], *other["operator_codes"]]
    return encode(main)


def ring(dtype: str = "int8") -> bytes:
    """The last values of all that came: read, concatenate, slice, assign."""
    s = Stream(dtype)
    v = s.variable("ring", (1, 12))
    joined = s.concatenation([s.read(v, "old"), "x"], "joined", 16)
    s.assign(v, s.slice(joined, "kept", 4, 12))
    return s.called(joined)


def read_twice() -> bytes:
    s = Stream()
    v, w = s.variable("a"), s.variable("a")
    first = s.read(v, "first")
    joined = s.concatenation([first, s.read(w, "second"), "x"], "joined", 12)
    s.assign(v, s.slice(joined, "kept", 6))
    return s.called(joined)


def assigned_twice() -> bytes:
    s = Stream()
    v = s.variable("a")
    old = s.read(v, "old")
    s.assign(v, "x")
    joined = s.concatenation([s.read(v, "between"), old], "joined", 8)
    s.assign(v, s.slice(joined, "kept", 2))
    return s.called(s.concatenation([joined, s.read(v, "after")], "all", 12))


def assigned_before_read() -> bytes:
    s = Stream()
    v = s.variable("a")
    s.assign(v, "x")
    return s.called(s.concatenation([s.read(v, "new"), "x"], "joined", 8))


def never_assigned() -> bytes:
    s = Stream()
    return s.called(s.concatenation([s.read(s.variable("a"), "old"), "x"], "joined", 8))


def never_read() -> bytes:
    s = Stream()
    s.assign(s.variable("a"), "x")
    return s.called(s.concatenation(["x", "x"], "joined", 8))


def assigned_to_itself() -> bytes:
    s = Stream()
    v = s.variable("a")
    old = s.read(v, "old")
    s.assign(v, s.reshape(old, "same", (1, 4)))
    return s.called(s.concatenation([old, "x"], "joined", 8))


def change_places() -> bytes:
    """Three variables in a ring; the third takes the input too."""
    s = Stream()
    a, b, c = (s.variable(n) for n in "abc")
    old = [s.read(v, f"old {n}") for v, n in ((a, "a"), (b, "b"), (c, "c"))]
    s.assign(a, old[1])
    s.assign(b, old[2])
    s.assign(c, old[0])
    return s.called(s.concatenation([*old, "x"], "joined", 16))


def delay_line() -> bytes:
    """x goes into a, a into b, b into c, in the order in which a careless order loses values."""
    s = Stream()
    a, b, c = (s.variable(n) for n in "abc")
    old = [s.read(v, f"old {n}") for v, n in ((a, "a"), (b, "b"), (c, "c"))]
    s.assign(a, "x")
    s.assign(b, old[0])
    s.assign(c, old[1])
    return s.called(s.concatenation(old, "joined", 12))


def read_late() -> bytes:
    """The old value, reshaped, is read after the new one is there."""
    s = Stream()
    v = s.variable("a")
    old = s.read(v, "old")
    seen = s.reshape(old, "seen", (4, 1))
    new = s.slice(s.concatenation([old, "x"], "joined", 8), "new", 3)
    s.assign(v, new)
    flat = s.reshape(seen, "flat", (1, 4))
    return s.called(s.concatenation([new, flat], "all", 8))


def output_is_state() -> bytes:
    s = Stream()
    v = s.variable("a")
    old = s.read(v, "old")
    s.assign(v, "x")
    return s.called(old, s.reshape(old, "flat", (4,)))


def output_is_new_state() -> bytes:
    s = Stream()
    v = s.variable("a")
    new = s.slice(s.concatenation([s.read(v, "old"), "x"], "joined", 8), "new", 3)
    s.assign(v, new)
    return s.called(s.read(v, "again"), new)


def constant_into_state() -> bytes:
    s = Stream()
    v = s.variable("a")
    old = s.read(v, "old")
    s.assign(v, s.values_of("constant", data=[[7, -7, 9, -9]]))
    return s.called(s.concatenation([old, "x"], "joined", 8))


def nameless() -> bytes:
    """Handles without a name are all of one variable."""
    s = Stream()
    v, w = s.variable(""), s.variable("")
    old = s.read(v, "old")
    s.assign(w, "x")
    return s.called(s.concatenation([old, "x"], "joined", 8))


def shifted(dtype: str = "int8") -> bytes:
    """As `ring`, but what is joined stays inside: it can lie where the state lies."""
    s = Stream(dtype)
    v = s.variable("ring", (1, 12))
    joined = s.concatenation([s.read(v, "old"), "x"], "joined", 16)
    s.assign(v, s.slice(joined, "kept", 4, 12))
    return s.called(s.slice(joined, "seen", 2, 11))


def shifted_behind() -> bytes:
    """What falls out of one ring goes into another; both have other readers before and after."""
    s = Stream()
    a, b = s.variable("a", (1, 8)), s.variable("b", (1, 6))
    old_a, old_b = s.read(a, "old a"), s.read(b, "old b")
    first = s.concatenation([old_a, "x"], "first", 12)
    s.assign(a, s.slice(first, "kept a", 4, 8))
    gone = s.slice(first, "gone", 0, 4)
    second = s.concatenation([old_b, gone], "second", 10)
    s.assign(b, s.slice(second, "kept b", 3, 6))
    return s.called(s.slice(second, "seen", 1, 9), s.concatenation([old_a, old_b, gone], "all", 18))


STATEFUL: tuple[Callable[[], bytes], ...] = (
    ring, read_twice, assigned_twice, assigned_before_read, never_assigned, never_read, assigned_to_itself,
    change_places, delay_line, read_late, output_is_state, output_is_new_state, constant_into_state, nameless,
    shifted, shifted_behind,
)  # fmt: skip


def _edges(names: Sequence[str] = ("x", "z")) -> ModelBuilder:
    model = ModelBuilder("edges")
    for name in (*names, "y"):
        model.tensor(name, (1, 4), **NUMBERS)
    return model


def output_is_constant() -> bytes:
    model = _edges(["x"])
    model.tensor("c", (1, 3), data=[[1, -2, 3]], **NUMBERS)
    model.operator("RELU", ["x"], ["y"])
    return model.inputs("x").outputs("c", "y", "c").build()


def output_is_input() -> bytes:
    model = _edges(["x"])
    model.operator("RELU", ["x"], ["y"])
    return model.inputs("x").outputs("x", "y").build()


def one_tensor_is_two_outputs() -> bytes:
    model = _edges(["x"])
    model.operator("RELU", ["x"], ["y"])
    return model.inputs("x").outputs("y", "y").build()


def unused_input() -> bytes:
    model = _edges()
    model.operator("RELU", ["z"], ["y"])
    return model.inputs("x", "z").outputs("y").build()


def reshaped_input_is_output() -> bytes:
    model = _edges(["x"])
    model.tensor("flat", (4,), **NUMBERS)
    model.tensor("shape", (1,), "int32", data=[4])
    model.operator("RELU", ["x"], ["y"])
    model.operator("RESHAPE", ["x", "shape"], ["flat"])
    return model.inputs("x").outputs("flat", "y").build()


EDGES: tuple[Callable[[], bytes], ...] = (
    output_is_constant, output_is_input, one_tensor_is_two_outputs, unused_input, reshaped_input_is_output,
)  # fmt: skip
