"""Output folders: written whole or not at all."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from re import fullmatch
from typing import Any

from tinycompiler.emit import Program
from tinycompiler.errors import UsageError
from tinycompiler.tensor import DType, Quantization, Tensor

MANIFEST = "manifest.json"


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Makes `folder` hold exactly these files (names may have folders in them).

    A folder that is there already is replaced only if it is empty or an earlier output. Raises UsageError.
    """
    try:
        _write(folder, folder.resolve(), files)
    except OSError as problem:
        raise UsageError(f"{folder}: cannot be written ({problem.strerror or problem}); choose another -o") from problem


def _write(given: Path, folder: Path, files: Mapping[str, str | bytes]) -> None:
    """`folder` is `given` made absolute: "." has neither a name nor a parent to put the draft into."""
    if folder.exists():
        foreign = _foreign(folder)
        if foreign is not None:
            raise UsageError(
                f"{given} is there and is not an earlier output of tinycompiler; choose another -o ({foreign})"
            )
    made = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _replace(folder, files)
    except OSError:
        for parent in made:
            with suppress(OSError):
                parent.rmdir()
        raise


def _foreign(folder: Path) -> str | None:
    """Something in the way that no earlier compilation wrote: what it is, or None."""
    if not folder.is_dir():
        return "it is a file"
    found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())
    if not found:
        return None
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        name, ours = str(manifest["model"]["name"]), str(manifest["generator"]).startswith("tinycompiler ")
        written = {MANIFEST, "report.json", "report.html", f"{name}.h", *map(str, manifest["files"])}
    except (OSError, ValueError, KeyError, TypeError):
        return f"it holds {found[0]}"
    written |= {
        f"firmware/{name}.elf",
        *(f"renode/{file}" for file in (f"{name}.resc", f"{name}.robot", "workflow.yml")),
    }
    strange = [f for f in found if not ours or not (f in written or fullmatch(r"renode/[^/]+\.repl", f))]
    return f"it holds {strange[0]}" if strange else None


def _replace(folder: Path, files: Mapping[str, str | bytes]) -> None:
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        draft.chmod(0o755)
        for name, content in files.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        if folder.exists():
            old = draft.with_name(f"{draft.name}-old")
            folder.rename(old)
            draft.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@dataclass(frozen=True, eq=False)
class Output:
    """What an output folder holds, as far as running it needs."""

    program: Program
    core: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def read(folder: Path) -> Output:
    """The program in an output folder, and its edges. Raises UsageError."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        name = str(manifest["model"]["name"])
        wanted = [f"{name}.h", *manifest["files"]]
        if any(Path(file).name != file for file in wanted):
            raise ValueError("a file name that leads elsewhere")
        files = {file: (folder / file).read_text(encoding="utf-8") for file in wanted}
        inputs, outputs = (tuple(map(_edge, manifest[kind])) for kind in ("inputs", "outputs"))
        return Output(Program(name, files, "", str(manifest["level"])), str(manifest["core"]), inputs, outputs)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise UsageError(
            f"{folder}: not a whole output of `tinycompiler compile` ({problem}); compile again"
        ) from problem


def _edge(described: Mapping[str, Any]) -> Tensor:
    """An input or output as the manifest tells it."""
    scale, zero_point = described["scale"], described["zero_point"]
    quantization = None if scale is None or zero_point is None else Quantization((float(scale),), int(zero_point))
    shape = tuple(int(n) for n in described["shape"])
    return Tensor(str(described["name"]), shape, DType(described["dtype"]), quantization)
