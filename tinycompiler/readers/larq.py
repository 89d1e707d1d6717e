"""Operators of Larq Compute Engine in our terms: what `operators` is for the built-in ones."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from tinycompiler.ops import LceBconv2d, LceBMaxPool2d, LceDequantize, LceQuantize, Op, Padding, Window
from tinycompiler.ops.convolution import same_padding
from tinycompiler.readers import flexbuffers
from tinycompiler.readers.file import Operator
from tinycompiler.readers.operators import FARTHEST, Refused
from tinycompiler.tensor import DType, Tensor

BROKEN = "the file is inconsistent"
SAME, VALID = 0, 1
ACTIVATIONS: tuple[tuple[int | None, int | None], ...] = ((None, None), (0, None), (-1, 1), (0, 6))
"""Bounds of NONE, RELU, RELU_N1_TO_1 and RELU6."""
Read = tuple[Op, tuple[str, ...]]
"""An operator, and which of its inputs it is computed from."""


class _Site:
    """An operator with its options and tensors at hand."""

    def __init__(self, operator: Operator, tensors: Mapping[str, Tensor]) -> None:
        self.operator, self.tensors = operator, tensors
        self.x, self.y = tensors[operator.inputs[0] or ""], tensors[operator.outputs[0]]

    def options(self) -> dict[str, int]:
        try:
            return flexbuffers.decode(self.operator.options.get("custom_options", b""))
        except ValueError as problem:
            raise Refused(f"its options cannot be read: {problem}; {BROKEN}") from problem

    def window(self, options: Mapping[str, int], kernel: tuple[int, int], *, dilated: bool) -> Window:
        stride = _pair(options, "stride_{}")
        dilation = _pair(options, "dilation_{}_factor") if dilated else (1, 1)
        if min(*kernel) < 1:
            raise Refused(f"its window is {kernel[0]} x {kernel[1]}; {BROKEN}")
        if len(self.x.shape) != 4 or min(self.x.shape) < 1:
            raise Refused(f"its input has shape {self.x.shape}, and rank 4 is needed")
        if _option(options, "padding", SAME, VALID) == VALID:
            return Window(kernel, stride, dilation)
        sides = (same_padding(self.x.shape[1 + i], kernel[i], stride[i], dilation[i]) for i in range(2))
        return Window(kernel, stride, dilation, Padding(*(pixels for side in sides for pixels in side)))


def _option(options: Mapping[str, int], name: str, least: int, most: int) -> int:
    if name not in options:
        raise Refused(f"its option {name} is missing; {BROKEN}")
    if not least <= options[name] <= most:
        raise Refused(f"its option {name} is {options[name]}, and {least} to {most} is possible; {BROKEN}")
    return options[name]


def _pair(options: Mapping[str, int], name: str) -> tuple[int, int]:
    """Of height and width."""
    return _option(options, name.format("height"), 1, FARTHEST), _option(options, name.format("width"), 1, FARTHEST)


def _quantize(s: _Site) -> Read:
    return LceQuantize(), (s.x.name,)


def _dequantize(s: _Site) -> Read:
    if not s.y.shape:
        raise Refused(f"its output '{s.y.name}' has no channels; {BROKEN}")
    return LceDequantize(s.y.shape[-1]), (s.x.name,)


def _max_pool(s: _Site) -> Read:
    options = s.options()
    return LceBMaxPool2d(s.window(options, _pair(options, "filter_{}"), dilated=False)), (s.x.name,)


def _convolution(s: _Site) -> Read:
    names, options = s.operator.inputs, s.options()
    filters, bits = s.tensors[names[1] or ""], s.y.dtype is DType.INT32
    if len(filters.shape) != 4 or min(filters.shape) < 1:
        raise Refused(f"its filter has shape {filters.shape}, and rank 4 is needed")
    wanted = {"threshold": names[4]} if bits else {"multiplier": names[2], "bias": names[3]}
    absent = [what for what, name in wanted.items() if name is None]
    if absent:
        raise Refused(f"its output is {s.y.dtype.value}, and its {' and '.join(absent)} is absent; {BROKEN}")
    low, high = ACTIVATIONS[_option(options, "fused_activation_function", 0, len(ACTIVATIONS) - 1)]
    zeros = not _option(options, "pad_values", 0, 1) and _option(options, "padding", SAME, VALID) == SAME
    window = s.window(options, (filters.shape[1], filters.shape[2]), dilated=True)
    channels = _option(options, "channels_in", 1, FARTHEST)
    # the threshold has the activation in it already
    op = LceBconv2d(window, channels, zeros, None if bits else low, None if bits else high)
    return op, (s.x.name, filters.name, *(name for name in wanted.values() if name is not None))


OPERATORS: Mapping[str, Callable[[_Site], Read]] = MappingProxyType(
    {
        "LceBMaxPool2d": _max_pool,
        "LceBconv2d": _convolution,
        "LceDequantize": _dequantize,
        "LceQuantize": _quantize,
    }
)
"""By their names without the mark of custom operators."""
_INPUTS: Mapping[str, tuple[int, int]] = MappingProxyType({"LceBconv2d": (5, 2)})
"""Inputs in a file, and those of them that are never absent, where that is not one."""


def is_known(operator: Operator) -> bool:
    """Whether it is one of these operators."""
    return operator.name.startswith("CUSTOM:") and operator.kind in OPERATORS


def read(operator: Operator, tensors: Mapping[str, Tensor]) -> Read:
    """The operator and the names of its inputs; Refused with a sentence when its options or inputs are none."""
    count, needed = _INPUTS.get(operator.kind, (1, 1))
    if len(operator.inputs) != count or None in operator.inputs[:needed] or len(operator.outputs) != 1:
        found = f"{len(operator.inputs)} inputs and {len(operator.outputs)} outputs"
        raise Refused(f"it has {found}, and {count} and 1 are needed, the first {needed} not absent; {BROKEN}")
    return OPERATORS[operator.kind](_Site(operator, tensors))
