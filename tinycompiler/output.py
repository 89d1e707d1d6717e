"""Output folders: written whole or not at all."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tinycompiler.emit import Program
from tinycompiler.errors import UsageError

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
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or (folder / MANIFEST).is_file())):
        raise UsageError(f"{given} is there and is not an earlier output of tinycompiler; choose another -o")
    made = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _replace(folder, files)
    except OSError:
        for parent in made:
            with suppress(OSError):
                parent.rmdir()
        raise


def _replace(folder: Path, files: Mapping[str, str | bytes]) -> None:
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        draft.chmod(0o755)
        for name, content in files.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def read_program(folder: Path) -> tuple[Program, dict[str, object]]:
    """The program in an output folder, and its manifest. Raises UsageError."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        name = str(manifest["model"]["name"])
        wanted = [f"{name}.h", *manifest["files"]]
        files = {file: (folder / file).read_text() for file in wanted}
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise UsageError(
            f"{folder}: not a whole output of `tinycompiler compile` ({problem}); compile again"
        ) from problem
    return Program(name, files, ""), manifest
