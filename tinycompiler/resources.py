"""Where the data folders are: templates, boards, firmware.

They stand at the top of the repository, because people edit them; in a wheel they lie inside the package (see
`[tool.hatch.build.targets.wheel.force-include]` in pyproject.toml).
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder `templates`, `boards` or `firmware`, installed or in a checkout."""
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
