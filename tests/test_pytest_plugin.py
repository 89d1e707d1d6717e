"""The pytest plugin, in a session of its own."""

import re
import tomllib
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest

from tests.commands import DIGITS, needs_compiler
from tinycompiler.board import load
from tinycompiler.errors import DoesNotFit, UsageError
from tinycompiler.on_board import firmware

pytest_plugins = ("pytester",)
PLUGIN = ("-p", "tinycompiler.pytest_plugin", "-p", "no:cacheprovider")

README = (DIGITS.parents[2] / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.emulator
@needs_compiler
def test_the_example_of_the_readme(pytester: pytest.Pytester) -> None:
    pytest.importorskip("unicorn")
    (example,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert example.count("\n") <= 12
    (pytester.mkdir("tests") / "models").symlink_to(DIGITS.parent)
    pytester.makepyfile(example)
    pytester.runpytest(*PLUGIN).assert_outcomes(passed=1)


@pytest.mark.slow
@pytest.mark.emulator
@needs_compiler
def test_several_inferences() -> None:
    pytest.importorskip("unicorn")
    digits = firmware(DIGITS, "bluepill")
    pictures = np.random.default_rng(0).integers(-128, 128, (3, 1, 8, 8, 1), np.int8)
    (together,) = digits.run(pictures).outputs
    (last,) = digits.run(pictures[2]).outputs
    assert together.shape == (3, 1, 10)
    assert together.dtype == np.int8
    assert (together[2:] == last).all()
    with pytest.raises(UsageError, match=r"digits on bluepill: input .* is float64, wanted int8"):
        digits.run(np.zeros((1, 8, 8, 1)))


@pytest.mark.slow
@needs_compiler
def test_what_does_not_fit_is_not_run() -> None:
    board = load("bluepill")
    small = [replace(region, size=1024) if region.kind == "ram" else region for region in board.regions]
    with (
        patch("tinycompiler.on_board.load", lambda _: replace(board, regions=tuple(small))),
        pytest.raises(DoesNotFit, match=r"digits does not fit on bluepill: sram lacks [0-9,]+ bytes"),
    ):
        firmware(DIGITS, "bluepill")


def test_the_option_names_the_emulator(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test(firmware):\n    assert firmware.keywords == {'emulator': 'renode'}")
    pytester.runpytest(*PLUGIN, "--firmware-emulator", "renode").assert_outcomes(passed=1)


def test_installing_tinycompiler_installs_it() -> None:
    metadata = tomllib.loads((DIGITS.parents[2] / "pyproject.toml").read_text())
    # by its own name, so that naming it by -p besides is no second plugin
    assert metadata["project"]["entry-points"]["pytest11"] == {PLUGIN[1]: PLUGIN[1]}
