"""The image of a 3x3 DEPTHWISE_CONV_2D as lines of outputs, along rows or along columns, computed strip after strip.

What the kernels for either instruction set share: kernels/depthwise_planar.py, kernels/depthwise_lanes.py.
"""

from dataclasses import dataclass
from typing import Self

from tinycompiler.kernels.base import Field, Site
from tinycompiler.ops import DepthwiseConv2D

MOST_SCRATCH = 8192
"""Bytes that a strip may take where the arena has them to spare."""
LARGEST_LINE = 2048
"""Bytes that the strip of a single line may take even where that raises the peak; longer lines go pixel by pixel."""


@dataclass(frozen=True)
class Lines:
    """The image as lines: `along` is the axis of an output line (1: rows are lines, 0: columns are)."""

    along: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    """All as (lines, along a line)."""

    @classmethod
    def of(cls, site: Site, along: int) -> Self:
        """The node's geometry with lines along rows (1) or columns (0)."""
        op, x, y = site.op, site.inputs[0], site.outputs[0]
        assert isinstance(op, DepthwiseConv2D)
        pad = (op.window.padding.top, op.window.padding.left)
        sizes = (x.shape[1:3], y.shape[1:3], op.window.stride, pad)
        in_size, out_size, stride, pads = ((s[0], s[1]) if along else (s[1], s[0]) for s in sizes)
        return cls(along, in_size, out_size, stride, pads)

    @classmethod
    def best(cls, site: Site, usual: int, *, keeps: bool) -> tuple[Self, int] | None:
        """The cheaper direction, of those whose stride is 1 or 2, and the output lines of a strip, which takes `usual`
        bytes of scratch even where that raises the peak; `keeps`: see `cost`.
        """
        budget = site.scratch(usual, MOST_SCRATCH)
        most = site.scratch(max(usual, LARGEST_LINE), MOST_SCRATCH)
        both = (cls.of(site, 1), cls.of(site, 0))
        possible = [lines for lines in both if lines.stride[1] in (1, 2) and lines.strip_bytes(1) <= most]
        strips = [(lines, lines.strip(budget)) for lines in possible]
        return min(strips, key=lambda pair: pair[0].cost(pair[1], keeps=keeps), default=None)

    @property
    def pitch(self) -> int:
        """From a row of the scratch to the next, in the kernel's unit."""
        raise NotImplementedError

    def cost(self, strip: int, *, keeps: bool) -> int:
        """Instructions, estimated; `keeps`: what strips share of the input is moved and not made again."""
        raise NotImplementedError

    def strip_bytes(self, lines: int) -> int:
        """Scratch for that many output lines: four planes with a pitch in bytes, or one with a pitch in words."""
        return 4 * self.pitch * ((lines - 1) * self.stride[0] + 3)

    def strip(self, budget: int) -> int:
        """Output lines of a strip: as many as `budget` bytes hold, at least one."""
        fitting = [n for n in range(1, self.out_size[0] + 1) if self.strip_bytes(n) <= budget]
        return max(fitting, default=1)

    def fields(self, site: Site, strip: int) -> dict[str, Field]:
        """Sizes and steps, as the members of the constant struct."""
        x, y = site.inputs[0], site.outputs[0]
        channels = x.shape[3]
        step, out_step = (channels * s.shape[2] for s in (x, y))  # of a row
        return {
            "batches": x.shape[0],
            "in_bytes": x.bytes // x.shape[0],
            "out_bytes": y.bytes // y.shape[0],
            "channels": channels,
            "in_lines": self.in_size[0],
            "in_length": self.in_size[1],
            "line_step": step if self.along else channels,
            "step": channels if self.along else step,
            "out_lines": self.out_size[0],
            "out_length": self.out_size[1],
            "out_line_step": out_step if self.along else channels,
            "out_step": channels if self.along else out_step,
            "stride_lines": self.stride[0],
            "pad_lines": self.pad[0],
            "pad": self.pad[1],
            "pitch": self.pitch,
            "strip": strip,
        }
