"""Everything that can go wrong, as one tree.

    TinyCompilerError           exit code 3
    ├── ModelError              3   the file is broken, or says something that is not supported
    ├── DoesNotFit              1   our answer is no: bytes, region, node, tensors alive, way out
    ├── Mismatch                1   our answer is no: the device computed another byte
    ├── BuildError              4   a compiler is missing, or refused the emitted C
    ├── EmulatorError           4   an emulator is missing, or the firmware faulted or hung
    ├── JudgeError              4   the reference is missing, and another one is there that would judge otherwise
    ├── BoardError              2   unknown board, or a board file that cannot be read
    └── UsageError              2   an argument or an input file that does not match the model

Each message is one or more lines: the place, what was found, what was wanted, the way out. Foreign errors are
translated at one boundary each; our own bugs stay `assert`.
"""


class TinyCompilerError(Exception):
    """Base of all errors that a user can cause and mend."""

    exit_code = 3


class ModelError(TinyCompilerError):
    """The model file cannot be read, or holds something that is not supported."""


class DoesNotFit(TinyCompilerError):
    """The network does not fit on the board."""

    exit_code = 1


class Mismatch(TinyCompilerError):
    """The device computed something else than the reference."""

    exit_code = 1


class BuildError(TinyCompilerError):
    """No usable compiler, or the compiler or linker refused."""

    exit_code = 4


class EmulatorError(TinyCompilerError):
    """No usable emulator, or the firmware faulted, hung or said something garbled."""

    exit_code = 4


class JudgeError(TinyCompilerError):
    """The reference of these numerics is missing, and the one that is installed computes other bytes."""

    exit_code = 4


class BoardError(TinyCompilerError):
    """No such board, or its file is broken."""

    exit_code = 2


class UsageError(TinyCompilerError):
    """An argument, or a file given as input, does not suit the model."""

    exit_code = 2
