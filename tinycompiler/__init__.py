"""tinycompiler: a trained, quantized network goes in; C11 that provably fits and provably computes the same bytes
comes out.
"""

# Read by pyproject.toml; asking importlib.metadata instead would take a tenth of every command's time.
__version__ = "0.1.0"
