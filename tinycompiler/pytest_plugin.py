"""The pytest plugin: tests that run a network on an emulated board.

Installing tinycompiler installs it. Its one fixture, `firmware`, compiles and builds: `firmware(model, board)`, with
`numerics` and `emulator` if wanted, returns an `on_board.Firmware`. The option `--firmware-emulator` names another
emulator for all tests that name none. Nothing is imported before a test asks for the fixture.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tinycompiler.on_board import Firmware


def pytest_addoption(parser: pytest.Parser) -> None:
    """--firmware-emulator."""
    group = parser.getgroup("tinycompiler")
    group.addoption("--firmware-emulator", default="unicorn", help="what runs `firmware` (default unicorn)")


@pytest.fixture
def firmware(pytestconfig: pytest.Config) -> "Callable[..., Firmware]":
    """Compiles and links a network for a board: `firmware(model, board)`, see tinycompiler.on_board.firmware."""
    from tinycompiler import on_board

    return partial(on_board.firmware, emulator=pytestconfig.getoption("--firmware-emulator"))
