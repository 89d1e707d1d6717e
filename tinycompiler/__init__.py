"""tinycompiler: a trained, quantized network goes in; C11 that provably fits and provably computes the same bytes
comes out.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("tinycompiler")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0.1.0"
