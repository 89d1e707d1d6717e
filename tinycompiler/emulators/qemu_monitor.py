"""QEMU's machine protocol: a question as one JSON object, an answer as one line of it, and events in between.

Source: QEMU, "QEMU Machine Protocol Specification" (docs/interop/qmp-spec).
"""

import json
import socket
import time
from typing import Any

from tinycompiler.errors import EmulatorError


class QemuMonitor:
    """One conversation. `ask` raises EOFError when QEMU has gone, TimeoutError when it does not answer."""

    def __init__(self, connection: socket.socket, *, patience: float) -> None:
        self._connection = connection
        self._patience = patience
        self._heard = b""

    def ask(self, command: str) -> Any:
        """What it returns; the first command is to be qmp_capabilities. Raises EmulatorError when it refuses."""
        end = time.monotonic() + self._patience
        try:
            self._connection.sendall(json.dumps({"execute": command}).encode() + b"\n")
            while "return" not in (answer := self._line(end)):
                if "error" in answer:
                    raise EmulatorError(f"its monitor refuses {command}: {answer['error']}")
        except TimeoutError:
            raise
        except OSError as problem:
            raise EOFError(str(problem)) from None
        return answer["return"]

    def _line(self, end: float) -> Any:
        while b"\n" not in self._heard:
            self._connection.settimeout(max(0.001, end - time.monotonic()))
            data = self._connection.recv(1 << 16)
            if not data:
                raise EOFError("QEMU's monitor has gone")
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        return json.loads(line)
