"""The remote protocol of gdb, as far as a debugger of firmware must speak it to QEMU's stub.

Source: "Debugging with GDB", appendix Remote Serial Protocol. A packet is `$text#checksum`; the other side acknowledges
each with `+`, and so do we. Nothing here knows what is debugged.
"""

import socket
import time

from tinycompiler.errors import EmulatorError

STOPS = ("S", "T")
"""How answers begin that say that the target has stopped."""

INTERRUPT = b"\x03"
CHUNK = 1024  # bytes of memory in one packet, two digits each; stubs announce room for 4,096 digits


class GdbRemote:
    """One conversation. Every question raises EOFError when the stub has gone, TimeoutError when it does not answer."""

    def __init__(self, connection: socket.socket, *, patience: float) -> None:
        self._connection = connection
        self._patience = patience
        self._heard = b""

    def ask(self, question: str) -> str:
        """One answer."""
        self._send(question)
        return self._answer(self._patience)

    def go(self, seconds: float) -> str:
        """Let it run until it stops by itself, and why it did; "" when it did not within that time, and was stopped."""
        self._send("c")
        try:
            return self._stop(seconds)
        except TimeoutError:
            self._connection.sendall(INTERRUPT)
            self._stop(self._patience)
            return ""

    def registers(self) -> list[int]:
        """r0 to r15."""
        content = bytes.fromhex(self.ask("g"))
        return [int.from_bytes(content[at : at + 4], "little") for at in range(0, 64, 4)]

    def read(self, address: int, size: int) -> bytes:
        """Memory, as the program sees it."""
        spans = ((address + at, min(CHUNK, size - at)) for at in range(0, size, CHUNK))
        return b"".join(bytes.fromhex(self.ask(f"m{at:x},{count:x}")) for at, count in spans)

    def write(self, address: int, content: bytes) -> None:
        """Memory, changed."""
        for at in range(0, len(content), CHUNK):
            piece = content[at : at + CHUNK]
            self._wants_ok(f"M{address + at:x},{len(piece):x}:{piece.hex()}")

    def halt_at(self, address: int) -> None:
        """Stop in front of the instruction there."""
        self._wants_ok(f"Z0,{address:x},2")

    def pass_by(self, address: int) -> None:
        """Do not stop there any more."""
        self._wants_ok(f"z0,{address:x},2")

    def watch(self, address: int, size: int) -> None:
        """Stop at or behind every instruction that reads or writes there; `go` then tells `address` as `watch:...`."""
        self._wants_ok(f"Z4,{address:x},{size:x}")

    def unwatch(self, address: int, size: int) -> None:
        """Do not stop there any more."""
        self._wants_ok(f"z4,{address:x},{size:x}")

    def _wants_ok(self, question: str) -> None:
        answer = self.ask(question)
        if answer != "OK":
            raise EmulatorError(f"its debugger's stub answers {answer!r} to {question[:40]!r}")

    def _send(self, text: str) -> None:
        content = text.encode()
        try:
            self._connection.sendall(b"$" + content + b"#%02x" % (sum(content) & 0xFF))
        except OSError as problem:
            raise EOFError(str(problem)) from None

    def _stop(self, seconds: float) -> str:
        while not (answer := self._answer(seconds)).startswith(STOPS):  # "W": it has exited, and its connection ends
            pass
        return answer

    def _answer(self, seconds: float) -> str:
        """The next packet, acknowledged."""
        end = time.monotonic() + seconds
        while (stop := self._heard.find(b"#")) < 0 or len(self._heard) < stop + 3:
            self._heard += self._receive(end)
        start = self._heard.index(b"$")
        packet, self._heard = self._heard[start + 1 : stop], self._heard[stop + 3 :]
        self._connection.sendall(b"+")
        return packet.decode("ascii", "replace")

    def _receive(self, end: float) -> bytes:
        self._connection.settimeout(max(0.001, end - time.monotonic()))
        try:
            data = self._connection.recv(1 << 16)
        except TimeoutError:
            raise
        except OSError as problem:
            raise EOFError(str(problem)) from None
        if not data:
            raise EOFError("the debugger's stub has gone")
        return data
