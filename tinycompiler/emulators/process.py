"""An emulator that is a process of its own: started in a folder, listened to, and never left behind.

What a backend does: write its files into a `workplace`, `listen` until the firmware has said its last line, and turn
what was heard into a `Transcript` or an error by `transcript`.

Chosen: the console is a file that is read while it grows, because both Renode and QEMU write one, and it is still there
when they crash. Standard input is an open pipe that nobody writes to: Renode ends early or spins without one. The
process leads a session of its own, and at the end, be it the last line, a limit, Ctrl-C or a signal that ends this
program, the whole of its group is killed.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tinycompiler.build import Elf
from tinycompiler.emulators import Progress
from tinycompiler.emulators.model import describe_fault
from tinycompiler.emulators.protocol import Fault, Transcript, fault, parse
from tinycompiler.errors import EmulatorError

CONSOLE = "console.txt"
"""The file in the folder that the emulator is to write the console to."""
SAID = "said.txt"
"""The file in the folder that gets the process's standard output and standard error."""

POLL_SECONDS = 0.02
PATIENCE_SECONDS = 2.0  # for the rest of a log, and for a process that was asked to end before it is killed
MOST_BYTES = 1 << 30  # of a file: a firmware or an emulator gone mad must not fill the disk
LEAST_FREE_BYTES = 1 << 20  # on the disk; with less, that is why something is missing
TAIL_LINES = 12


@dataclass(frozen=True)
class Heard:
    """One run of the process, which is over."""

    lines: tuple[str, ...]  # of the console; the last one may be broken off
    logs: Mapping[str, Sequence[str]]  # lines of what else it said: SAID, and the log files that were asked for
    why: str  # why it was over; "" when the firmware said its last line
    kept: Path | None  # a copy of the logs that stays, when there is a why

    @property
    def fault(self) -> Fault | None:
        """The first that the firmware reported."""
        return next((each for each in map(fault, self.lines) if each is not None), None)


@contextmanager
def workplace(files: Mapping[str, str | bytes], *, tool: str) -> Iterator[Path]:
    """A temporary folder with these files in it. Raises EmulatorError when it cannot be written, as on a full disk."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"tinycompiler-{tool}-"))
    except OSError as problem:
        raise _unwritable(problem, tool) from None
    try:
        try:
            for name, content in files.items():
                (folder / name).write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        except OSError as problem:
            raise _unwritable(problem, tool) from None
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unwritable(problem: OSError, tool: str) -> EmulatorError:
    way_out = "make room, or name another folder by TMPDIR"
    return EmulatorError(f"{tool}: cannot write {problem.filename}: {problem.strerror}; {way_out}")


def listen(
    command: Sequence[str],
    *,
    tool: str,
    folder: Path,
    wall_seconds: float,
    progress: Progress | None = None,
    logs: Sequence[str] = (),
    inherited: Sequence[int] = (),
    over: Callable[[], str] = lambda: "",
    given_up: Callable[[str], str] = lambda line: "",
    complete: Callable[[Mapping[str, Sequence[str]]], bool] = lambda logs: True,
) -> Heard:
    """Run `command` in `folder` until the firmware's last line, its own end or the limit; then nothing of it is left.

    `logs`: files in the folder that the process writes besides. `inherited`: open files that it gets, by number.
    `over()` is asked all the time why the firmware need not be waited for, or "".
    `given_up(line)` sees every line of SAID and `logs`, and says why the firmware need not be waited for, or "".
    `complete(logs)` is asked after the firmware's last line: whether all that is wanted from the logs has come. They
    are waited for PATIENCE_SECONDS at most.
    Raises EmulatorError when the process cannot be started.
    """
    deadline = time.monotonic() + wall_seconds
    console = _Console(folder / CONSOLE, progress)
    others = {name: _Growing(folder / name) for name in (SAID, *logs)}
    with _started(command, tool, folder, inherited) as process:
        why = ""
        while not (why or console.finished):
            code = process.poll()  # before the look at its files: what it wrote before it ended is seen
            console.read()
            told = [given_up(line) for file in others.values() for line in file.read()]
            why = next(filter(None, told), "") or over() or _mad([console, *others.values()])
            if not (why or console.finished):
                why = _late(code, tool, deadline, wall_seconds)
                time.sleep(POLL_SECONDS)
        _wait(process, min(deadline, time.monotonic() + PATIENCE_SECONDS), others, complete if not why else None)
    lines, texts = console.all(), {name: file.all() for name, file in others.items()}
    return Heard(tuple(lines), texts, why and why + _full(folder), _kept(texts, tool) if why else None)


def ask(command: Sequence[str], *, tool: str, wall_seconds: float) -> str:
    """All that `command` says. Raises EmulatorError when it cannot be started, or does not end in time."""
    with workplace({}, tool=tool) as folder, _started(command, tool, folder) as process:
        with suppress(subprocess.TimeoutExpired):
            process.wait(wall_seconds)
        if process.poll() is None:
            raise EmulatorError(f"{tool}: `{' '.join(command)}` gave no answer within {wall_seconds:g} s")
        return (folder / SAID).read_text(encoding="utf-8", errors="replace")


def _late(code: int | None, tool: str, deadline: float, wall_seconds: float) -> str:
    if code is not None:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return f"{tool} {how} before the firmware had finished"
    if time.monotonic() > deadline:
        return f"the firmware did not finish within the time limit of {wall_seconds:.3g} s"
    return ""


def _wait(
    process: "subprocess.Popen[bytes]",
    until: float,
    others: Mapping[str, "_Growing"],
    complete: Callable[[Mapping[str, Sequence[str]]], bool] | None,
) -> None:
    while complete is not None and process.poll() is None and time.monotonic() < until:
        for file in others.values():
            file.read()
        if complete({name: file.lines for name, file in others.items()}):
            return
        time.sleep(POLL_SECONDS)


def transcript(heard: Heard, elf: Elf, *, tool: str, place: str = "") -> Transcript:
    """The checked console. Raises EmulatorError: a fault, a garbled or missing line, or no end; with the log's tail.

    `place`: where the firmware was last seen, as a clause.
    """
    try:
        if (found := heard.fault) is not None:
            raise EmulatorError(describe_fault(found, elf))
        if heard.why:
            last = f"its last line is {heard.lines[-1][:100]!r}" if heard.lines else "it has printed nothing"
            raise EmulatorError("; ".join(clause for clause in (heard.why, place, last) if clause))
        return parse(heard.lines)
    except EmulatorError as problem:
        raise EmulatorError(f"{tool}: {problem}{_tail(heard)}") from None


def _tail(heard: Heard) -> str:
    """The last lines of each log, where there are any, and where all of it is."""
    said = [line for lines in heard.logs.values() for line in lines[-TAIL_LINES:]]
    shown = "\nthe end of its log:\n" + "\n".join(f"    {line[:200]}" for line in said) if said else ""
    return shown + (f"\nthe whole log: {heard.kept}" if heard.kept else "")


def _kept(logs: Mapping[str, Sequence[str]], tool: str) -> Path | None:
    """A file with all logs that stays; none when there is nothing to keep, or no room."""
    text = "".join(f"{line}\n" for lines in logs.values() for line in lines)
    if not text:
        return None
    try:
        number, name = tempfile.mkstemp(prefix=f"tinycompiler-{tool}-", suffix=".log")
        with open(number, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        return None
    return Path(name)


def _full(folder: Path) -> str:
    free = shutil.disk_usage(folder).free
    return f" (the disk of {folder.parent} is full: {free:,} bytes are left)" if free < LEAST_FREE_BYTES else ""


def _mad(files: Sequence["_Growing"]) -> str:
    """A sentence when a file has grown beyond all measure."""
    found = [file for file in files if file.bytes > MOST_BYTES]
    return f"{found[0].path.name} grew beyond {MOST_BYTES:,} bytes" if found else ""


class _Growing:
    """A text file that another process writes; it may not be there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0
        self.lines: list[str] = []
        self.rest = ""  # of a line that is still being written

    def read(self) -> list[str]:
        """The lines that have been completed since."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.bytes)
                data = file.read()
        except FileNotFoundError:
            return []
        self.bytes += len(data)
        *lines, self.rest = (self.rest + data.decode("utf-8", "replace")).split("\n")
        new = [line.rstrip("\r") for line in lines]
        self.lines += new
        return new

    def all(self) -> list[str]:
        """Every line up to now, a broken-off one too."""
        self.read()
        return [*self.lines, *([self.rest] if self.rest else [])]


class _Console(_Growing):
    """The firmware's lines as they come."""

    def __init__(self, path: Path, progress: Progress | None) -> None:
        super().__init__(path)
        self.finished = False
        self._progress = progress

    def read(self) -> list[str]:
        new = super().read()
        for line in new:
            self.finished = self.finished or line.startswith(("tc:done", "tc:fault"))
            self._tell(line.split())
        return new

    def _tell(self, words: Sequence[str]) -> None:
        """A garbled line tells nothing; that it is an error comes out later."""
        if self._progress is not None and len(words) > 1 and words[0] == "tc:output" and words[1].isdigit():
            announced = self.lines[0].split()[2:3]
            self._progress(int(words[1]) + 1, int(announced[0]) if announced and announced[0].isdigit() else 0)


@contextmanager
def _started(
    command: Sequence[str], tool: str, folder: Path, inherited: Sequence[int] = ()
) -> Iterator["subprocess.Popen[bytes]"]:
    with _signals_raise(), (folder / SAID).open("wb") as said:
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "TMPDIR": str(folder)},  # what a killed process leaves lying goes with the folder
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=inherited,
            )
        except OSError as problem:
            raise EmulatorError(f"{tool}: cannot start {command[0]}: {problem.strerror}") from None
        try:
            yield process
        finally:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Its whole group: first asked, then killed, even when a second Ctrl-C comes meanwhile."""
    try:
        if process.poll() is None:
            _send(process, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE_SECONDS)
    finally:
        _send(process, signal.SIGKILL)
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def _send(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # the group is empty; macOS says so by the second one
        os.killpg(process.pid, number)


@contextmanager
def _signals_raise() -> Iterator[None]:
    """While this lasts, a signal that would end this program at once ends it by an exception, as Ctrl-C does."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)
