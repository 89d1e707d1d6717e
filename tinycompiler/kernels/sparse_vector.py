"""CONV_2D and FULLY_CONNECTED with one output pixel by the weights that are not zero, on cores with DSP.

As kernels/conv_vector.py, but one output channel at a time: channels share no taps. Taps are read from the input where
it lies, as bytes (deltas) or words (blocks).
"""

from typing import ClassVar

from tinycompiler.kernels.base import Lowered, Site, round_up
from tinycompiler.kernels.conv_vector import VectorKernel, vector_why_not
from tinycompiler.kernels.geometry import clamp_of, flat_weights
from tinycompiler.kernels.requantize import Requantization, numbers_why_not, requantization
from tinycompiler.kernels.sparse import Blocks, Deltas, Form
from tinycompiler.ops import Clamp
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array


class SparseVector(VectorKernel):
    """What both forms share."""

    template = "conv_vector"
    rival = True
    form: ClassVar[Form]
    word: ClassVar[int]
    """Taps of one load."""

    def why_not(self, site: Site) -> str | None:
        why, weights = vector_why_not(site), flat_weights(site)
        if why is not None:
            return why
        if len(weights) < 2:
            return "there is one output channel; two or more are supported"
        return (
            site.no_room("a copy of its taps takes", self._scratch(weights.shape[1]))
            or self.form.why_not(weights)
            or numbers_why_not(requantization(site, weights, clamp_of(site.op)))
        )

    def multiplications(self, site: Site) -> int:
        return self.form.steps(flat_weights(site)).weights.size

    def _scratch(self, taps: int) -> int:
        """The last word must not reach beyond the input."""
        return round_up(taps, 4) if taps % self.word else 0

    def variant(self, r: Requantization) -> str:
        return f"{self.form.name}_{r.kind}" + "_wide" * r.wide

    def lower(self, site: Site) -> Lowered:
        return self.lower_with(site, "sparse_vector", self.word, self._scratch(flat_weights(site).shape[1]))

    def pack(self, weights: Ints, r: Requantization, zero_point: int, clamp: Clamp) -> Array:
        return self.form.pack(weights, r, zero_point, clamp, wide=r.wide)


class VectorBlocks(SparseVector):
    """Four taps side by side."""

    name = "conv_2d_s8_vector_blocks"
    form = Blocks(anywhere=True)
    encoding = form.encoding
    word = 4


class VectorDeltas(SparseVector):
    """Single weights."""

    name = "conv_2d_s8_vector_deltas"
    form = Deltas(1)
    encoding = form.encoding
    word = 1
