"""RESIZE_BILINEAR. (RESIZE_NEAREST_NEIGHBOR only moves values: see movement.py.)"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycompiler.ops.base import Ints, Numerics, Op, Shape, Tensors, Values, signed
from tinycompiler.tensor import Array

ONE = 1 << 10
"""Positions in the input are counted in 1024ths of a pixel."""
LARGEST = 1 << 20
"""Sizes that int32 positions can be counted for."""


@dataclass(frozen=True)
class ResizeBilinear(Op):
    """(n, h, w, c) -> (n, height, width, c): four pixels weighted by their distances, in 10-bit fixed point."""

    name: ClassVar[str] = "RESIZE_BILINEAR"
    size: tuple[int, int]
    align_corners: bool = False
    half_pixel_centers: bool = False

    def output_shapes(self, inputs: Tensors) -> tuple[Shape, ...]:
        n, _, _, c = inputs[0].shape
        return ((n, *self.size, c),)

    def why_not(self, inputs: Tensors, outputs: Tensors) -> str | None:
        x, y = inputs[0], outputs[0]
        if len(x.shape) != 4:
            return f"input must have rank 4, not {len(x.shape)}"
        if self.align_corners and self.half_pixel_centers:
            return "align_corners and half_pixel_centers exclude each other"
        problem = super().why_not(inputs, outputs)
        if problem is None and x.quantization != y.quantization:
            return f"input {x.quantization} and output {y.quantization} must have the same quantization"
        for source, target in zip(x.shape[1:3], self.size, strict=True):
            if problem is None and (max(source, target) >= LARGEST or self._leaves(source, target)):
                return f"from {source} to {target} pixels, 10 bits of position reach outside the image"
        return problem

    def step(self, source: int, target: int) -> tuple[int, int]:
        """(distance between outputs, position of the first) along an axis, in 1024ths of a pixel."""
        if self.align_corners and target > 1:
            return (ONE * (source - 1) + (target - 1) // 2) // (target - 1), 0
        step = (ONE * source + target // 2) // target
        return step, step // 2 - ONE // 2 if self.half_pixel_centers else 0

    def positions(self, source: int, target: int) -> tuple[Ints, Ints, Ints]:
        """Of every output along an axis: position, and the pixels before and after it."""
        step, first = self.step(source, target)
        position = first + step * np.arange(target, dtype=np.int64)
        before = np.maximum(position // ONE, 0)
        after = np.minimum(-(-position // ONE), source - 1)
        return position, before, after

    def _leaves(self, source: int, target: int) -> bool:
        """Whether rounded positions add up to a pixel that is not there, which the references read all the same."""
        return bool(self.positions(source, target)[1].max() >= source)

    def evaluate(self, inputs: Tensors, outputs: Tensors, values: Values, numerics: Numerics) -> tuple[Array, ...]:
        x = signed(values[0])
        rows, top, bottom = self.positions(x.shape[1], self.size[0])
        columns, left, right = self.positions(x.shape[2], self.size[1])
        down = (rows - ONE * top)[:, None, None]
        across = (columns - ONE * left)[:, None]
        upper = x[:, top] * (ONE - down) + x[:, bottom] * down
        total = upper[:, :, left] * (ONE - across) + upper[:, :, right] * across
        rounded = np.sign(total) * ((np.abs(total) + (1 << 19)) >> 20)
        return (rounded.astype(np.int8),)
