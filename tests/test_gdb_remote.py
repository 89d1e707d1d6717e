"""The two conversations with QEMU, against a partner that says what it was told to."""

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest

from tinycompiler.board import load
from tinycompiler.emulators.gdb_remote import GdbRemote
from tinycompiler.emulators.qemu import PERIPHERALS, nowhere
from tinycompiler.emulators.qemu_monitor import QemuMonitor
from tinycompiler.errors import EmulatorError


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


class Stub:
    """Answers each packet with the next text; what it was asked is in `asked`."""

    def __init__(self, connection: socket.socket, answers: Sequence[str]) -> None:
        self.asked: list[str] = []
        self._connection, self._answers = connection, list(answers)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        heard = b""
        while self._answers:
            data = self._connection.recv(4096)
            if not data:
                return
            heard += data.replace(b"+", b"").replace(b"\x03", b"$interrupt#xx")
            while b"#" in heard and len(heard) >= heard.index(b"#") + 3:
                packet, heard = heard[: heard.index(b"#")], heard[heard.index(b"#") + 3 :]
                self.asked.append(packet.lstrip(b"$").decode())
                if answer := self._answers.pop(0):
                    self._connection.sendall(b"+$" + answer.encode() + b"#00")


def gdb(pair: tuple[socket.socket, socket.socket], *answers: str) -> tuple[GdbRemote, Stub]:
    return GdbRemote(pair[0], patience=2.0), Stub(pair[1], answers)


def test_registers(pair: tuple[socket.socket, socket.socket]) -> None:
    content = b"".join((100 + number).to_bytes(4, "little") for number in range(16)) + bytes(8)
    debugger, stub = gdb(pair, content.hex())
    assert debugger.registers() == list(range(100, 116))
    assert stub.asked == ["g"]


def test_memory_goes_in_pieces(pair: tuple[socket.socket, socket.socket]) -> None:
    debugger, stub = gdb(pair, "aa" * 1024, "bb" * 6, "OK", "OK")
    assert debugger.read(0x1000, 1030) == b"\xaa" * 1024 + b"\xbb" * 6
    debugger.write(0x2000, bytes(1025))
    assert stub.asked == ["m1000,400", "m1400,6", f"M2000,400:{'00' * 1024}", "M2400,1:00"]


def test_it_goes_and_stops(pair: tuple[socket.socket, socket.socket]) -> None:
    debugger, stub = gdb(pair, "OK", "T05thread:01;", "OK")
    debugger.halt_at(0x88)
    assert debugger.go(2.0) == "T05thread:01;"
    debugger.pass_by(0x88)
    assert stub.asked == ["Z0,88,2", "c", "z0,88,2"]


def test_it_is_stopped_when_it_goes_too_long(pair: tuple[socket.socket, socket.socket]) -> None:
    debugger, stub = gdb(pair, "", "T02thread:01;")
    assert debugger.go(0.05) == ""
    assert stub.asked == ["c", "interrupt"]


def test_a_stub_that_refuses(pair: tuple[socket.socket, socket.socket]) -> None:
    debugger, _ = gdb(pair, "E22")
    with pytest.raises(EmulatorError, match="answers 'E22' to 'Z4,10,20'"):
        debugger.watch(0x10, 0x20)


def test_a_partner_that_goes(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].close()
    with pytest.raises(EOFError):
        GdbRemote(pair[0], patience=2.0).registers()
    with pytest.raises(EOFError):
        QemuMonitor(pair[0], patience=2.0).ask("query-replay")


def test_a_partner_that_is_silent(pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(TimeoutError):
        GdbRemote(pair[0], patience=0.05).registers()
    with pytest.raises(TimeoutError):
        QemuMonitor(pair[0], patience=0.05).ask("query-replay")


def test_the_monitor_skips_greeting_and_events(pair: tuple[socket.socket, socket.socket]) -> None:
    lines = [{"QMP": {}}, {"event": "STOP"}, {"return": {"icount": 7}}, {"error": {"desc": "no"}}]
    pair[1].sendall(b"".join(json.dumps(line).encode() + b"\r\n" for line in lines))
    monitor = QemuMonitor(pair[0], patience=2.0)
    assert monitor.ask("query-replay") == {"icount": 7}
    with pytest.raises(EmulatorError, match=r"its monitor refuses quit: .*no"):
        monitor.ask("quit")
    assert pair[1].recv(4096).splitlines()[0] == b'{"execute": "query-replay"}'


@pytest.mark.parametrize("name", ["mps2_an385", "mps2_an500", "mps2_an521", "mps3_an547"])
def test_what_is_neither_memory_nor_peripheral(name: str) -> None:
    board = load(name)
    spans = sorted([*nowhere(board), *PERIPHERALS, *((region.address, region.end) for region in board.regions)])
    assert spans[0][0] == 0
    assert spans[-1][1] == 1 << 32
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert (board.ram.address - 4096, board.ram.address) in nowhere(board)
