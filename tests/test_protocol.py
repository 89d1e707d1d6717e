"""What the firmware says: read when it is whole, refused when anything is missing or damaged."""

from collections.abc import Sequence

import pytest

from tinycompiler.emulators.protocol import checksum, parse, seal
from tinycompiler.errors import EmulatorError

GOOD = [
    "tc:hello kws 2",
    "tc:node 0 0 0 0 00",
    "tc:node 0 0 0 1 ff",
    "tc:output 0 0 0102",
    "tc:output 0 1 03",
    "tc:node 1 0 0 0 ff00",
    "tc:output 1 0 0405",
    "tc:output 1 1 ",
    "tc:stack 120",
    "tc:done 4",
]


def transcript(*lines: str) -> list[str]:
    return [seal(line) for line in lines]


def test_checksum_is_crc_16_ccitt_false() -> None:
    assert checksum("123456789") == "29b1"  # the check value in the catalogue of parametrised CRC algorithms


def test_parse_reads_everything() -> None:
    lines = [line if line != "tc:output 1 1 " else "tc:output 1 1 06" for line in GOOD]
    parsed = parse(["boot rom v1", *transcript(*lines)])
    assert (parsed.name, parsed.vectors, parsed.stack) == ("kws", 2, 120)
    assert parsed.outputs == ((b"\1\2", b"\3"), (b"\4\5", b"\6"))
    assert parsed.nodes == {(0, 0, 0): b"\x00\xff", (1, 0, 0): b"\xff\x00"}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "did not begin"),
        (["tc:done 0"], "did not begin"),
        (["tc:hello a 1", "tc:output 0 0 01"], "did not end"),
        (["tc:hello a 1", "tc:done 0"], "announced 1 vectors"),
        (["tc:hello a 1", "tc:output 0 0 01", "tc:done 2"], "announced 1 vectors and 2 outputs"),
        (["tc:hello a 2", "tc:output 0 0 01", "tc:done 1"], "outputs of 1 vectors"),
        (["tc:hello a 2", "tc:output 1 0 01", "tc:done 1"], "missing its predecessor"),
        (["tc:hello a 1", "tc:output 0 0 01", "tc:output 0 0 01", "tc:done 2"], "twice"),
        (["tc:hello a 1", "tc:output 0 1 01", "tc:done 1"], "missing its predecessor|wrong place"),
        (["tc:hello a 1", "tc:node 1 0 0 0 01", "tc:output 0 0 01", "tc:done 1"], "out of order"),
        (["tc:hello a 1", "tc:node 0 0 0 0 01", "tc:node 0 0 0 0 01", "tc:output 0 0 01", "tc:done 1"], "twice"),
        (["tc:hello a 1", "tc:node 0 0 0 1 01", "tc:output 0 0 01", "tc:done 1"], "out of order"),
        (["tc:hello a 2", "tc:output 0 0 01", "tc:output 1 0 0102", "tc:done 2"], "differ in number or size"),
        (["tc:hello a 1", "tc:stack 1", "tc:stack 1", "tc:output 0 0 01", "tc:done 1"], "tc:stack twice"),
        (["tc:hello a 1", "tc:output 0 0 01", "tc:done 1"], "did not say tc:stack"),
        (["tc:hello a 1", "tc:hello a 1", "tc:output 0 0 01", "tc:done 1"], "tc:hello twice"),
        (["tc:hello a 1", "tc:output 0 0 1", "tc:done 1"], "not part of the protocol"),
        (["tc:hello a 1", "tc:what", "tc:done 1"], "not part of the protocol"),
        (["tc:hello a 1", "tc:fault bus pc=00000010 lr=00000020 address=00000030"], "bus fault at pc 0x00000010"),
    ],
)
def test_parse_refuses_what_is_missing_or_wrong(lines: Sequence[str], words: str) -> None:
    with pytest.raises(EmulatorError, match=words):
        parse(transcript(*lines))


def test_parse_refuses_every_damaged_line() -> None:
    good = transcript("tc:hello a 1", "tc:output 0 0 01", "tc:stack 8", "tc:done 1")
    parse(good)
    for index, line in enumerate(good):
        for at in range(len(line)):
            for damaged in (line[:at] + line[at + 1 :], line[:at] + chr(ord(line[at]) ^ 1) + line[at + 1 :]):
                with pytest.raises(EmulatorError):
                    parse([*good[:index], damaged, *good[index + 1 :]])
