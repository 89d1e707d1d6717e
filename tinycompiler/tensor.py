"""DType, Quantization, Tensor: what a network's values are.

Tensor data is always plain, unpacked numpy in the tensor's natural dtype; packings (nibbles, permuted weights) are
chosen by kernels and never seen here.
"""

from dataclasses import dataclass
from enum import Enum
from math import prod

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


class DType(Enum):
    """Element types; the value is the name that files, reports and C (with `_t`) use."""

    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT32 = "float32"
    BOOL = "bool"

    @property
    def numpy(self) -> np.dtype[np.generic]:
        return np.dtype(self.value)

    @property
    def bytes(self) -> int:
        """Size of one element in bytes."""
        return self.numpy.itemsize

    @property
    def c_type(self) -> str:
        """What an element is in C; a bool is a byte, 0 or 1."""
        return {DType.FLOAT32: "float", DType.BOOL: "uint8_t"}.get(self, f"{self.value}_t")

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest value of an integer type or bool."""
        if self is DType.BOOL:
            return 0, 1
        bits = 8 * self.bytes
        return (0, 2**bits - 1) if self.value.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@dataclass(frozen=True)
class Quantization:
    """real = scale · (value - zero_point); one scale per tensor, or one per index of `axis`.

    Scales are float32 in the file and kept as the equal Python floats. Per-axis zero points are all zero by the TFLite
    quantization specification, so one zero point is kept.
    """

    scales: tuple[float, ...]
    zero_point: int = 0
    axis: int | None = None

    @property
    def scale(self) -> float:
        assert len(self.scales) == 1, "a per-axis tensor has no single scale"
        return self.scales[0]

    def per_channel(self, channels: int) -> tuple[float, ...]:
        """One scale for each of `channels`, a single scale being repeated."""
        return self.scales * channels if len(self.scales) == 1 else self.scales

    def __str__(self) -> str:
        scale = f"{self.scales[0]:.6g}" if len(self.scales) == 1 else f"{len(self.scales)} scales"
        return f"({scale}, zero point {self.zero_point})"


@dataclass(frozen=True, eq=False)
class Tensor:
    """A named value of static shape; a constant when `data` is given.

    `shape` is exactly what the file says, batch included. `variable` marks state that outlives an inference.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    quantization: Quantization | None = None
    data: Array | None = None
    variable: bool = False
    channels: tuple[int, ...] | None = None
    """Which indices of the last axis of the file's tensor are left; None for all."""
    part_of: str = ""
    """The file's tensor whose `channels` these are, where it is computed in several parts."""

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * self.dtype.bytes

    @property
    def is_constant(self) -> bool:
        return self.data is not None

    @property
    def values(self) -> Array:
        """The constant's data."""
        assert self.data is not None, f"{self.name} is not a constant"
        return self.data

    @property
    def scale(self) -> float:
        assert self.quantization is not None, f"{self.name} is not quantized"
        return self.quantization.scale

    @property
    def zero_point(self) -> int:
        return self.quantization.zero_point if self.quantization else 0

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape)) or "scalar"
        kind = " const" if self.is_constant else ""
        return f"{self.name}: {shape} {self.dtype.value}{kind} {self.quantization or ''}".rstrip()
