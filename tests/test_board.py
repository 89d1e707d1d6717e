"""boards/*.toml and what load() refuses."""

from pathlib import Path

import pytest

from tinycompiler import board
from tinycompiler.errors import BoardError
from tinycompiler.resources import folder

KIB = 1024
PARTS = {  # flash bytes, RAM bytes where the program lives, core
    "arduino_nano_33_ble": (960 * KIB, 256 * KIB, "cortex-m4f"),  # behind the bootloader
    "atsamd51": (512 * KIB, 192 * KIB, "cortex-m4f"),
    "bbc_microbit_v2": (512 * KIB, 128 * KIB, "cortex-m4f"),
    "bluepill": (64 * KIB, 20 * KIB, "cortex-m3"),
    "mps2_an385": (4096 * KIB, 4096 * KIB, "cortex-m3"),
    "mps2_an386": (4096 * KIB, 4096 * KIB, "cortex-m4f"),
    "mps2_an500": (4096 * KIB, 4096 * KIB, "cortex-m7f"),
    "mps2_an505": (4096 * KIB, 4096 * KIB, "cortex-m33f"),
    "mps2_an521": (4096 * KIB, 4096 * KIB, "cortex-m33-nodsp"),
    "mps3_an547": (512 * KIB, 512 * KIB, "cortex-m55f"),
    "nrf52840dk": (1024 * KIB, 256 * KIB, "cortex-m4f"),
    "nucleo_f103rb": (128 * KIB, 20 * KIB, "cortex-m3"),
    "nucleo_f207zg": (1024 * KIB, 128 * KIB, "cortex-m3"),
    "nucleo_f446re": (512 * KIB, 128 * KIB, "cortex-m4f"),
    "nucleo_f767zi": (2048 * KIB, 512 * KIB, "cortex-m7f"),
    "nucleo_h743zi": (2048 * KIB, 512 * KIB, "cortex-m7f"),
    "nucleo_h753zi": (2048 * KIB, 512 * KIB, "cortex-m7f"),
    "nucleo_l4r5zi": (2048 * KIB, 640 * KIB, "cortex-m4f"),
    "nucleo_l552ze_q": (512 * KIB, 256 * KIB, "cortex-m33f"),
    "nucleo_wba52cg": (1024 * KIB, 128 * KIB, "cortex-m33f"),
    "rpi_pico": (2048 * KIB, 264 * KIB, "cortex-m0plus"),
    "sam_e70_xplained": (2048 * KIB, 384 * KIB, "cortex-m7f"),
    "stm32f4_discovery": (1024 * KIB, 128 * KIB, "cortex-m4f"),
    "stm32f746g_disco": (1024 * KIB, 320 * KIB, "cortex-m7f"),
}


def test_names() -> None:
    assert board.names() == tuple(sorted(PARTS))


@pytest.mark.parametrize("name", PARTS)
def test_part(name: str) -> None:
    loaded = board.load(name)
    assert loaded.name == name
    assert (loaded.flash.size, loaded.ram.size, loaded.core.name) == PARTS[name]
    assert loaded.flash.kind == "flash"
    assert loaded.ram.kind == "ram"
    assert loaded.renode is not None
    assert loaded.reserve_stack == 64
    assert all(source for source in (loaded.source, loaded.console.source, *(r.source for r in loaded.regions)))


def test_cores_say_what_the_kernels_need() -> None:
    assert {name: core.isa for name, core in board.CORES.items()} == {
        "cortex-m0plus": "scalar",
        "cortex-m3": "scalar",
        "cortex-m4f": "dsp",
        "cortex-m7f": "dsp",
        "cortex-m33-nodsp": "scalar",
        "cortex-m33f": "dsp",
        "cortex-m55f": "dsp",
    }
    for core in board.CORES.values():
        assert core.exception_frame == (108 if "-mfloat-abi=hard" in core.flags else 36)


@pytest.mark.parametrize("name", PARTS)
def test_baud_rate_is_close_enough(name: str) -> None:
    """A UART bears about 2 % between both ends; the divisors as the drivers compute them."""
    console = board.load(name).console
    if console.driver == "nrf52":
        actual = 16_000_000 * console.settings["baud_value"] / 2**32  # product specification: 115108 for Baud115200
    elif console.driver == "rp2040":
        actual = console.clock_hz * 4 / ((4 * console.clock_hz + console.baud // 2) // console.baud)
    elif console.driver == "cmsdk":
        divisor = (console.clock_hz + console.baud // 2) // console.baud
        assert divisor >= 16
        actual = console.clock_hz / divisor
    elif console.driver == "sam":
        eighths = (console.clock_hz // 2 + console.baud // 2) // console.baud
        actual = console.clock_hz / 16 / (eighths / 8)
    elif console.driver == "samd5":
        value = 65536 - (65536 * 16 * console.baud + console.clock_hz // 2) // console.clock_hz
        actual = console.clock_hz / 16 * (1 - value / 65536)
    else:
        scaled = console.clock_hz * console.settings.get("divisor_scale", 1)
        divisor = (scaled + console.baud // 2) // console.baud
        assert 16 <= divisor < 2**20
        actual = scaled / divisor
    assert abs(actual / console.baud - 1) < 0.01


def test_path_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(bluepill())
    assert board.load(str(path)).name == "mine"
    assert board.load(str(path)).regions == board.load("bluepill").regions


def bluepill() -> str:
    return (folder("boards") / "bluepill.toml").read_text()


@pytest.mark.parametrize(
    ("found", "instead", "words"),
    [
        ('core = "cortex-m3"', 'core = "cortex-m9"', ["core", "'cortex-m9'", "cortex-m0plus"]),
        ('core = "cortex-m3"', "core = 3", ["core is 3", "text"]),
        ("clock_hz = 72_000_000", "", ["clock_hz", "missing"]),
        ("clock_hz = 72_000_000", "clock_hz = 0", ["clock_hz is 0"]),
        ("clock_hz = 72_000_000", "clock_hz = true", ["clock_hz is True", "whole number"]),
        ("clock_hz = 72_000_000", "clock_hz = 72e6", ["clock_hz is 72000000.0"]),
        ("clock_hz = 72_000_000", "clock_hz = 72_000_000\nclock_khz = 1", ["unknown key 'clock_khz'", "spelling"]),
        ('driver = "stm32f1"', 'driver = "stm32f0"', ["driver 'stm32f0'", "stm32f1", "rp2040"]),
        ("tx_pin = 9", "TX-pin = 9", ["'TX-pin'", "macro"]),
        ("tx_pin = 9", "tx_pin = -1", ["tx_pin is -1"]),
        ("address = 0x2000_0000", "address = 0x0800_0000", ["flash and sram overlap"]),
        ("address = 0x2000_0000", "address = 0xFFFF_F000", ["sram", "2^32"]),
        ('kind = "ram"', 'kind = "rom"', ["[[region]] 1", "'rom'", "flash, ram"]),
        ('kind = "ram"', 'kind = "flash"', ["2 flash regions", "exactly one"]),
        ("[reserve]\nflash", "[reserve]\nflush", ["[reserve]", "'flash' is missing"]),
        ("[reserve]", "[reserve", ["TOML"]),
        ("[reserve]", 'boot = 3\n"x"=1\n[reserve]', ["unknown key"]),
        ("[console]", "[consoles]", ["[console]", "'driver' is missing"]),
        ('title = "', 'boot = "boot3"\ntitle = "', ["boot3.S"]),
        ('uart_options = ["frequency: 8000000"]', "uart_options = [1]", ["uart_options"]),
        ('title = "Blue Pill (STM32F103C8)"', 'title = ""', ["title", "empty"]),
        ("size = 0x5000", "size = 0", ["[[region]] 1", "size is 0"]),
        ('name = "sram"', 'name = "sram 1"', ["'sram 1'", "letters, digits and _"]),
        ('name = "sram"', 'name = "FLASH"', ["two regions are called flash"]),
        ("size = 0x5000", "size = 0x5000\nspeed = 0", ["speed is 0"]),
        ("size = 0x5000", "size = 0x5000\nclock_mask = 1", ["clock_register and clock_mask go together"]),
        ("size = 0x5000", "size = 0x5000\nclock_register = 4", ["clock_register and clock_mask go together"]),
        ('title = "', 'stack_region = "ccm"\ntitle = "', ["stack_region is 'ccm'", "sram"]),
        ("[reserve]", '[qemu]\nkind = "x"\n[reserve]', ["[qemu]", "'machine' is missing"]),
        ("[reserve]", '[qemu]\nmachine = "x"\nkind = 1\n[reserve]', ["[qemu]", "unknown key 'kind'"]),
    ],
)
def test_broken_file(tmp_path: Path, found: str, instead: str, words: list[str]) -> None:
    path = tmp_path / "broken.toml"
    assert found in bluepill()
    path.write_text(bluepill().replace(found, instead))
    with pytest.raises(BoardError) as problem:
        board.load(str(path))
    for word in [str(path), *words]:
        assert word in str(problem.value)


def test_all_that_is_wrong_with_regions_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(bluepill().replace("size = 0x5000", "size = 0").replace('kind = "flash"', 'kind = "rom"'))
    with pytest.raises(BoardError) as problem:
        board.load(str(path))
    assert [line.partition(": ")[0].rpartition(" ")[2] for line in str(problem.value).splitlines()] == ["0", "1"]


def test_ram_in_order_of_preference() -> None:
    orders = {name: [region.name for region in board.load(name).rams] for name in PARTS}
    assert orders["bluepill"] == ["sram"]
    assert orders["stm32f4_discovery"] == ["sram", "ccm"]
    assert orders["stm32f746g_disco"] == ["sram", "itcm"]
    assert orders["nucleo_f767zi"] == ["sram", "itcm"]
    assert orders["mps2_an500"] == ["sram", "psram"]
    assert orders["mps2_an521"] == ["sram", "internal"]
    assert orders["mps3_an547"] == ["dtcm", "sram"]
    assert orders["nucleo_h753zi"] == orders["nucleo_h743zi"]
    assert orders["nucleo_h743zi"] == ["dtcm", "axi_sram", "sram1", "sram2", "sram3", "sram4", "itcm"]
    for name in PARTS:
        loaded = board.load(name)
        assert loaded.stack == loaded.ram
        assert all(region.kind == "ram" and region.first >= max(16, region.address) for region in loaded.rams)
        for region in loaded.regions:  # start-up has to switch these on, and RAM below has a clock after reset
            assert (region.clock_register is not None) == (region.clock_mask != 0)
            assert region.clock_register is None or 0x3000_0000 <= region.address < 0x3800_0000


def test_qemu_has_machines_of_the_same_console() -> None:
    machines = {name: found.machine for name in PARTS if (found := board.load(name).qemu) is not None}
    assert machines == {name: name.replace("_", "-") for name in PARTS if name.startswith("mps")}
    assert {board.load(name).console.driver for name in machines} == {"cmsdk"}


def test_region_must_be_tables(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    text = bluepill()
    start, end = text.index("[[region]]"), text.index("[console]")
    path.write_text("region = [1]\n" + text[:start] + text[end:])
    with pytest.raises(BoardError, match="wanted a table"):
        board.load(str(path))


def test_unknown_name() -> None:
    with pytest.raises(BoardError, match="unknown board 'blue'; known are arduino_nano_33_ble, atsamd51"):
        board.load("blue")


def test_missing_file() -> None:
    with pytest.raises(BoardError, match=r"nowhere/x\.toml does not exist"):
        board.load("nowhere/x.toml")


def test_not_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BoardError, match="cannot read it as TOML"):
        board.load(str(path))
