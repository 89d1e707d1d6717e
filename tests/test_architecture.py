"""The house: floors, who may import what from outside, files that stay readable, and operators that are whole."""

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import tinycompiler
from tests.draws import graph_of
from tinycompiler.errors import ModelError
from tinycompiler.kernels import ISAS, KERNELS
from tinycompiler.ops import OPERATORS, Numerics, Op, PartialSums, Reshape
from tinycompiler.readers.larq import OPERATORS as LARQ
from tinycompiler.readers.operators import OPERATORS as READERS
from tinycompiler.readers.variables import OPERATORS as VARIABLES

PACKAGE = Path(tinycompiler.__file__).parent

FLOORS: tuple[tuple[str, ...], ...] = (
    ("__init__", "errors", "resources", "fixed_point", "progress"),
    ("toml_table",),
    ("tensor", "board"),
    ("ops",),
    ("graph",),
    ("readers", "passes", "vectors"),
    ("kernels",),
    ("memory",),
    ("regions",),
    ("places",),
    ("lifetimes",),
    ("needs", "bytemap"),
    ("fusion", "node_order", "splits", "states"),
    ("costs",),
    ("choice",),
    ("reasons",),
    ("planning",),
    ("emit",),
    ("elf",),
    ("stack",),
    ("build",),
    ("emulators",),
    ("host",),
    ("reference",),
    ("verify",),
    ("report_facts",),
    ("shortfall",),
    ("report",),
    ("report_text", "report_picture"),
    ("report_diff",),
    ("report_html",),
    ("report_file",),
    ("compile",),
    ("samples",),
    ("doctor", "catalog", "output", "pareto", "on_board"),
    ("actions", "pytest_plugin"),
    ("bench",),
    ("cli",),
)
"""A module imports from floors below its own (and from its own package), and from nothing beside or above it."""

FOREIGN = {
    "ai_edge_litert": ("reference",),
    "elftools": ("elf",),
    "flatbuffers": ("readers.",),
    "jinja2": ("emit", "build", "report_html"),
    "markupsafe": ("report_html",),
    "numpy": ("",),
    "pytest": ("pytest_plugin",),
    "tflite_micro": ("reference",),
    "tflite_runtime": ("reference",),
    "unicorn": ("emulators.unicorn",),
}
"""Third-party packages, and how the names of the modules begin that may import them."""

OPTIONAL = ("ai_edge_litert", "tflite_micro", "tflite_runtime", "unicorn", "pytest")
"""Of these, the ones that need not be installed."""

LIMIT = 320
LONG = {
    "actions": "one short function per command; apart, they would need their common part imported from a third file",
    "board": "a description of a part, and every complaint about the file it comes from",
    "emit": "what the templates ask for is one object; its halves would have to know each other",
    "memory": "placing and its independent check stand side by side, so that a reader can see that they share nothing",
    "ops.movement": "many operators of a few lines each, which are easiest compared side by side",
    "ops.unary": "many operators of a few lines each, which are easiest compared side by side",
    "readers.operators": "a table: one small function per TFLite operator",
}
"""Modules of more lines than LIMIT, each with its reason."""


@cache
def modules() -> dict[str, ast.Module]:
    """Every module's syntax tree, by its name inside the package ("kernels.base", "kernels" for its __init__)."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text())
    return found


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere, in functions and by name too."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module="tinycompiler", names=names, level=0):
                yield from (f"tinycompiler.{alias.name}" for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module
            case ast.ImportFrom():
                raise AssertionError("a relative import")
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(module))]):
                yield module


def floor_of(name: str) -> int:
    found = [level for level, floor in enumerate(FLOORS) if name.split(".")[0] in floor]
    assert len(found) == 1, f"{name}: say in FLOORS on which floor it stands"
    return found[0]


@pytest.mark.parametrize("name", modules())
def test_floors(name: str) -> None:
    own = name.split(".")[0]
    for imported in imports(modules()[name]):
        package, _, rest = imported.partition(".")
        if package != "tinycompiler":
            continue
        other = rest.split(".")[0] or "__init__"
        if other.startswith("__"):
            other = "__init__"
        assert other == own or floor_of(other) < floor_of(own), f"{name} imports {imported}, which is not below it"


def test_every_floor_exists() -> None:
    there = {name.split(".")[0] for name in modules()}
    assert {name for floor in FLOORS for name in floor} == there


@pytest.mark.parametrize("name", modules())
def test_foreign_packages_stay_where_they_belong(name: str) -> None:
    for imported in imports(modules()[name]):
        package = imported.split(".")[0]
        if package == "tinycompiler" or package in sys.stdlib_module_names:
            continue
        assert package in FOREIGN, f"{name} imports {package}: is it in pyproject.toml? then say here who may"
        assert name.startswith(FOREIGN[package]), f"{name} imports {package}; only {FOREIGN[package]} may"


def test_the_command_line_starts_without_optional_packages() -> None:
    code = f"import sys, tinycompiler.cli; print([p for p in {OPTIONAL!r} if p in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_files_stay_readable() -> None:
    lines = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): len(
            path.read_text().splitlines()
        )
        for path in PACKAGE.rglob("*.py")
    }
    too_long = {name: count for name, count in lines.items() if count > LIMIT and name not in LONG}
    assert not too_long, f"of more than {LIMIT} lines without a reason in LONG: {too_long}"
    stale = [name for name in LONG if lines.get(name, 0) <= 0.9 * LIMIT]
    assert not stale, f"listed in LONG and short by now: {stale}"


def test_nothing_is_called_utils() -> None:
    words = ("utils", "util", "helpers", "misc", "manager", "handler")
    assert not [name for name in modules() if name.split(".")[-1] in words]
    classes = [n.name for tree in modules().values() for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    assert not [name for name in classes if name.endswith(("Manager", "Handler", "Helper"))]


def test_every_module_and_public_class_says_what_it_is() -> None:
    for name, tree in modules().items():
        assert ast.get_docstring(tree), f"{name} has no docstring"
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{name}.{node.name} has no docstring"


# Operators. Who adds one and forgets a part reads here which.

INTERNAL: tuple[type[Op], ...] = (PartialSums,)
"""Operators that no file has."""
EVERY = pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.__name__)


@EVERY
def test_operators_have_shape_rule_and_reference(op: type[Op]) -> None:
    assert op.output_shapes is not Op.output_shapes, f"{op.__name__} has no shape rule"
    assert op.evaluate is not Op.evaluate, f"{op.__name__} has no numpy reference"
    assert op.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert op.name == op.name.upper() != "" or op.name in LARQ


@EVERY
def test_operators_are_read(op: type[Op]) -> None:
    known = {*READERS, *VARIABLES, *LARQ}  # READERS may know several names for one operator
    assert op.name in known, f"{op.name} has no entry in tinycompiler/readers/operators.py"


@EVERY
def test_operators_have_a_scalar_kernel(op: type[Op]) -> None:
    scalar = [k for k in KERNELS if k.isa in ISAS["scalar"] and issubclass(op, k.ops)]
    assert scalar or op is Reshape, f"{op.__name__} has no kernel that runs on every core"


def makers() -> Iterator["partial[bytes]"]:
    """Every function in tests/models*.py that makes a model from a random generator at most."""
    for path in sorted(Path(__file__).parent.glob("models*.py")):
        module = importlib.import_module(f"tests.{path.stem}")
        for name, function in vars(module).items():
            if name.startswith("_") or not inspect.isfunction(function) or function.__module__ != module.__name__:
                continue
            parameters = inspect.signature(function).parameters
            told = {n for n, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD}
            if function.__annotations__.get("return") is bytes and told <= {"rng"}:
                yield partial(function, *(np.random.default_rng(0) for _ in told))


@cache
def modelled() -> frozenset[type[Op]]:
    """The operators in those models."""
    found: set[type[Op]] = set()
    for make, numerics in product(makers(), Numerics):
        with suppress(ModelError):  # some operators are for one profile only
            found.update(type(node.op) for node in graph_of(make(), numerics).nodes)
    return frozenset(found)


@EVERY
def test_operators_have_a_model(op: type[Op]) -> None:
    assert op in modelled(), f"no function in tests/models*.py makes a {op.__name__} without being told more"


def test_every_kernel_is_for_some_operator_and_has_a_name_of_its_own() -> None:
    assert len({k.name for k in KERNELS}) == len(KERNELS)
    for kernel in KERNELS:
        assert any(issubclass(op, kernel.ops) for op in (*OPERATORS, *INTERNAL)), kernel.name
