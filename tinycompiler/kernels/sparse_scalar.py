"""CONV_2D and FULLY_CONNECTED by the weights that are not zero, on cores without DSP: one output channel of a pixel.

Nothing is shared between pixels, since there are few registers; still a weight that is not there costs nothing, while
one of two in a word (kernels/conv_lanes.py) costs a third of what it does here. Taps are read as bytes, from a column
or where the input has them that way already.
"""

from dataclasses import replace
from typing import ClassVar

import numpy as np

from tinycompiler.kernels.base import Lowered, Site, round_up, words
from tinycompiler.kernels.conv_lanes import ConvLanes, LanesContext
from tinycompiler.kernels.geometry import Geometry, clamp_of, flat_weights, geometry
from tinycompiler.kernels.requantize import Requantization, requantization
from tinycompiler.kernels.short_products import ShortProducts, why_not
from tinycompiler.kernels.sparse import Blocks, Deltas, Form
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array


class SparseScalar(ConvLanes):
    """What both forms share."""

    rival = True
    form: ClassVar[Form]

    def why_not(self, site: Site) -> str | None:
        g, weights = geometry(site), flat_weights(site)
        why = site.no_room("a column takes", 0 if self.direct(g) else round_up(g.taps, 4))
        return why or self.form.why_not(weights) or why_not(site, requantization(site, weights, clamp_of(site.op)))

    def multiplications(self, site: Site) -> int:
        return self.form.steps(flat_weights(site)).weights.size * geometry(site).pixels

    def is_wide(self, site: Site, g: Geometry) -> bool:
        return False

    def lower(self, site: Site) -> Lowered:
        lowered = super().lower(site)
        assert isinstance(lowered.context, LanesContext)
        return replace(lowered, context=replace(lowered.context, fours=False))

    def pack(self, weights: Ints, r: Requantization, products: ShortProducts) -> Array:
        """Per channel: bias, bytes of its steps, those (each its distance and its weights), its requantization."""
        steps = self.form.steps(weights)
        data = np.column_stack([steps.distance, steps.weights & 0xFF]).astype(np.uint8)
        parts: list[Array] = []
        for channel, own in enumerate(np.split(data, np.cumsum(steps.counts(len(weights)))[:-1])):
            padded = np.zeros(round_up(own.size, 4), np.uint8)
            padded[: own.size] = own.ravel()
            head = words(np.array([r.bias[channel], own.size]))
            parts += [head, padded.view(np.uint32), products.stream(np.array([channel])).ravel()]
        return np.concatenate(parts).astype(np.uint32)


class ScalarBlocks(SparseScalar):
    """Four taps side by side; the column has room for the last four."""

    name = "conv_2d_s8_scalar_blocks"
    tile = "sparse_blocks"
    form = Blocks(anywhere=True)
    encoding = form.encoding


class ScalarDeltas(SparseScalar):
    """Single weights."""

    name = "conv_2d_s8_scalar_deltas"
    tile = "sparse_deltas"
    form = Deltas(1)
    encoding = form.encoding

    def direct(self, g: Geometry) -> bool:
        return g.pointwise
