"""A network on an emulated board, for tests of applications: compiled and built once, run as often as asked."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinycompiler import reference
from tinycompiler import verify as verification
from tinycompiler.board import load
from tinycompiler.build import Elf, Memory
from tinycompiler.compile import Compiled, compile_model, link
from tinycompiler.emulators import Run
from tinycompiler.errors import DoesNotFit
from tinycompiler.ops import Numerics
from tinycompiler.progress import Progress
from tinycompiler.tensor import Array
from tinycompiler.vectors import Vector, array_vectors, extreme_vectors, random_vectors


@dataclass(frozen=True, eq=False)
class Answer:
    """What some inferences gave."""

    outputs: tuple[Array, ...]  # one for each output of the network, (n, *its shape)
    instructions: int | None  # of the first inference; None where the emulator does not count
    stack: int | None  # bytes used at most
    console: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Firmware:
    """A network in a linked image for a board, and the emulator that runs it."""

    compiled: Compiled
    elf: Elf
    emulator: str

    @property
    def memory(self) -> Memory:
        """Bytes of flash and RAM, from the linked ELF file."""
        return self.elf.memory

    def run(self, *inputs: Array) -> Answer:
        """One inference for arrays of the inputs' shapes, or n of them for arrays with one more leading axis.

        Raises UsageError for arrays of another shape or type, EmulatorError when the firmware faults or hangs.
        """
        graph = self.compiled.graph
        arrays = {str(index): np.asarray(values) for index, values in enumerate(inputs)}
        vectors = array_vectors(graph, arrays, place=f"{graph.name} on {self.compiled.board.name}", label="input")
        runs = self._execute(vectors)
        answers = [answer for ran in runs for answer in ran.outputs]
        tensors = [graph.tensors[name] for name in graph.outputs]
        outputs = (
            np.stack([np.frombuffer(answer[k], t.dtype.numpy.newbyteorder("<")).reshape(t.shape) for answer in answers])
            for k, t in enumerate(tensors)
        )
        return Answer(
            tuple(outputs),
            runs[0].instructions,
            runs[0].stack_high_water,
            tuple(line for r in runs for line in r.lines),
        )

    def verify(self, n: int = 8, seed: int = 0) -> verification.Verification:
        """Every output byte of n random inputs and of extremes against the reference, as `tinycompiler verify` does."""
        compiled = self.compiled
        vectors = random_vectors(compiled.graph, n, seed) + extreme_vectors(compiled.graph)
        judge = reference.reference(compiled.file, compiled.network, layers=False)
        return verification.compare(
            compiled.network, compiled.calls, vectors, self._execute(vectors), judge, layers=False
        )

    def _execute(self, vectors: list[Vector]) -> list[Run]:
        return verification.execute(
            self.compiled.program,
            self.compiled.board,
            vectors,
            emulator=self.emulator,
            progress=Progress(enabled=False),
        )


def firmware(
    model: str | Path, board: str, *, numerics: str = Numerics.LITERT.value, emulator: str = "unicorn"
) -> Firmware:
    """Compile and link the network in the file `model` for a board, by name or by the path of its TOML.

    Raises ModelError, BoardError, BuildError, and DoesNotFit when the linked image is too large.
    """
    compiled = compile_model(Path(model), load(board), Numerics(numerics))
    compiled, elf = link(compiled, random_vectors(compiled.graph, 1, 0))
    if not elf.memory.fits:
        beyond = [f"{r.name} lacks {r.used - r.capacity:,} bytes" for r in elf.memory.regions if r.used > r.capacity]
        raise DoesNotFit(f"{compiled.program.name} does not fit on {board}: {', '.join(beyond)}")
    return Firmware(compiled, elf, emulator)
