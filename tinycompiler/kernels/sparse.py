"""Weights that are zero for the most part: only the others are stored, and multiplied.

Two forms. Blocks: four taps that lie side by side, with how far they lie behind the channel's block before (a byte);
what tools that prune in blocks leave. Deltas: single weights, each with a byte of distance; what pruning one by one
leaves, and N:M. kernels/sparse_conv.py and kernels/sparse_vector.py read them.

Chosen: distances, instead of a bitmap, because a bitmap's bits have to be searched at run time, and a byte for each
weight is added to a pointer by one instruction that also picks it out of its word; instead of places of 16 bits, which
are larger and no faster. A distance too long for its byte is bridged by a weight of zero. Every channel has its own
pattern: channels that share one would share loads of taps, but no tool that prunes makes such groups.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from tinycompiler.kernels.base import round_up, words
from tinycompiler.kernels.requantize import Requantization, pad_channels
from tinycompiler.ops import Clamp
from tinycompiler.ops.base import Ints
from tinycompiler.tensor import Array

MOST = 255
"""Of what is counted in a byte."""


@dataclass(frozen=True, eq=False)
class Steps:
    """What is left of (channels, taps) weights: for each step its channel, its distance to the one before, and its
    weights, (steps, weights). Channels in order.
    """

    channel: Ints
    distance: Ints
    weights: Ints

    @classmethod
    def of(cls, weights: Ints, unit: int, farthest: int) -> Self:
        """Of the groups of `unit` weights that are not all zero; `farthest`: distances are at most that many groups, or
        bridged by zeros. A distance is counted from the place of the step before.
        """
        padded = np.pad(weights, ((0, 0), (0, -weights.shape[1] % unit)))
        groups = padded.reshape(len(weights), -1, unit)
        channel, place = np.nonzero(groups.any(axis=2))
        first = np.diff(channel, prepend=-1) != 0
        distance = np.where(first, place, np.diff(place, prepend=0))
        bridges = np.maximum(distance - 1, 0) // farthest
        count = bridges + 1
        own = np.cumsum(count) - 1  # where the step itself stands, behind its bridges
        values = np.zeros((int(count.sum()), unit), np.int64)
        values[own] = groups[channel, place]
        distances = np.full(len(values), farthest, np.int64)
        distances[own] = distance - farthest * bridges
        return cls(np.repeat(channel, count), distances, values)

    @classmethod
    def covering(cls, weights: Ints, farthest: int) -> Self:
        """The fewest blocks of four taps, wherever they begin, that hold all weights that are not zero; a distance is
        counted from the end of the block before.
        """
        padded = np.pad(weights, ((0, 0), (0, -weights.shape[1] % 4)))
        steps: list[tuple[int, int, int]] = []
        for channel, starts in enumerate(_starts(padded)):
            end = 0
            for start in starts:
                while start - end > farthest:  # bridged by a block of zeros
                    place = min(end + farthest, start - 4)
                    steps.append((channel, place - end, place))
                    end = place + 4
                steps.append((channel, start - end, start))
                end = start + 4
        channels, distances, places = np.array(steps, np.int64).reshape(-1, 3).T
        return cls(channels, distances, padded[channels[:, None], places[:, None] + np.arange(4)])

    def counts(self, channels: int) -> Ints:
        """Steps of each channel."""
        return np.bincount(self.channel, minlength=channels).astype(np.int64)

    def paired(self, channels: int) -> Self:
        """With an even number of steps in every channel: where it is odd, one of zeros follows."""
        odd = np.flatnonzero(self.counts(channels) % 2)
        order = np.argsort(np.concatenate([self.channel, odd]), kind="stable")
        zeros = np.zeros((len(odd), self.weights.shape[1]), np.int64)
        return type(self)(
            np.concatenate([self.channel, odd])[order],
            np.concatenate([self.distance, np.zeros(len(odd), np.int64)])[order],
            np.concatenate([self.weights, zeros])[order],
        )


def _starts(weights: Ints) -> list[list[int]]:
    """Where the blocks of each channel begin: from the left, each where the first weight is that none before holds.
    Those that would reach beyond the taps, whose number is a multiple of four, are moved to the left, with those that
    are then in their way.
    """
    channels, taps = weights.shape
    places = np.where(weights != 0, np.arange(taps), taps)
    following = np.minimum.accumulate(places[:, ::-1], axis=1)[
        :, ::-1
    ]  # the first that is not zero, from each place on
    found = [[int(following[channel, 0])] for channel in range(channels)]
    for channel, starts in enumerate(found):
        while starts[-1] < taps:
            end = starts[-1] + 4
            starts.append(int(following[channel, end]) if end < taps else taps)
        starts.pop()
        limit = taps - 4
        for number in reversed(range(len(starts))):
            starts[number] = min(starts[number], limit)
            limit = starts[number] - 4
    return found


class Form:
    """A way to store what is left of weights."""

    name: ClassVar[str]
    encoding: ClassVar[str]
    unit: ClassVar[int]
    """Steps that are counted as one."""

    def steps(self, weights: Ints) -> Steps:
        """Of (channels, taps) weights in the order of the taps in memory."""
        raise NotImplementedError

    def stored(self, steps: Steps) -> tuple[Array, Array]:
        """Words of weights, and bytes of distances apart from them where there are any, of all channels."""
        raise NotImplementedError

    def why_not(self, weights: Ints) -> str | None:
        """What a form asks: that weights become smaller, and that a byte holds the number of each channel's steps."""
        if 5 * np.count_nonzero(weights) > 4 * weights.size:  # sooner, since it is so of most layers
            return f"{(weights == 0).mean():.0%} of its weights are zero: {self.encoding} save nothing"
        steps = self.steps(weights)
        size = steps.weights.size + steps.distance.size
        if size >= weights.size:
            zeros = (weights == 0).mean()
            return (
                f"{zeros:.0%} of its weights are zero: {self.encoding} take {size:,} bytes instead of {weights.size:,}"
            )
        counts = steps.counts(len(weights))
        if counts.max() > MOST * self.unit:
            channel, most = int(np.argmax(counts)), MOST * self.unit
            return f"output channel {channel} has {counts.max():,} {self.encoding}; {most} are supported"
        return None

    def pack(self, weights: Ints, r: Requantization, zero_point: int, clamp: Clamp, *, wide: bool) -> Array:
        """How many words follow; each channel's words and its tail (multiplier, bias · 256 + shift - 1, or apart where
        biases are `wide`); each channel's count and its distances, as bytes.
        """
        channels, steps = len(weights), self.steps(weights)
        _, bias, multiplier, shift = (array[:channels] for array in pad_channels(weights, r, zero_point, clamp))
        columns = (multiplier, shift - 1, 2 * bias) if wide else (multiplier, bias * 256 + shift - 1)
        tails = np.column_stack([words(column) for column in columns])
        values, distances = self.stored(steps)
        counts = steps.counts(channels) // self.unit
        ends = np.cumsum(counts)
        stream = np.insert(values, np.repeat(ends, tails.shape[1]), tails.ravel())
        starts = np.concatenate([[0], ends[:-1]])
        behind = np.insert(distances, starts, counts) if distances.size else counts
        data = np.zeros(round_up(len(behind) + 1, 4), np.uint8)  # the last byte is loaded ahead, and not used
        data[: len(behind)] = behind
        return np.concatenate([[len(stream)], stream, data.view(np.uint32)]).astype(np.uint32)


@dataclass(frozen=True)
class Blocks(Form):
    """Four taps side by side: one of the groups of four into which taps are cut, or `anywhere`. A distance is that from
    the end of the block before, in groups or in taps.
    """

    name: ClassVar[str] = "blocks"
    encoding: ClassVar[str] = "blocks of 4"
    unit: ClassVar[int] = 1
    anywhere: bool = False

    def steps(self, weights: Ints) -> Steps:
        if self.anywhere:
            return Steps.covering(weights, MOST)
        steps = Steps.of(weights, 4, MOST)
        behind = np.diff(steps.channel, prepend=-1) == 0
        return replace(steps, distance=steps.distance - behind)

    def stored(self, steps: Steps) -> tuple[Array, Array]:
        return steps.weights.astype(np.int8).view(np.uint32).ravel(), steps.distance


@dataclass(frozen=True)
class Deltas(Form):
    """Single weights, two in a word, with distances in bytes."""

    name: ClassVar[str] = "deltas"
    encoding: ClassVar[str] = "deltas"
    unit: ClassVar[int] = 2
    tap: int
    """Bytes from a tap to the next."""

    def steps(self, weights: Ints) -> Steps:
        return Steps.of(weights, 1, MOST // self.tap).paired(len(weights))

    def stored(self, steps: Steps) -> tuple[Array, Array]:
        """Bytes of each word: distance, weight, distance, weight."""
        pairs = np.column_stack([self.tap * steps.distance, steps.weights & 0xFF]).astype(np.uint8)
        return pairs.reshape(-1, 4).view(np.uint32).ravel(), np.zeros(0, np.int64)
