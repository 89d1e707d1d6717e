"""The UARTs that the firmware's console drivers talk to, as far as they must be there: characters out, flags "ready".

One entry per driver `firmware/console_<driver>.c`. All other peripheral registers read as 0 and ignore what is written.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tinycompiler.board import Console
from tinycompiler.errors import EmulatorError

_ALL_ONES = 0xFFFFFFFF


@dataclass(frozen=True)
class Uart:
    """Registers as offsets from the UART's address, with what they read as."""

    data: int | None  # write: one character out
    ready: Mapping[int, int]
    elsewhere: Mapping[int, int] = field(
        default_factory=dict
    )  # absolute addresses: clocks and resets that are waited for
    start: int | None = None  # write 1: send by DMA what `pointer` and `count` say
    pointer: int = 0
    count: int = 0


_STM32_OLD = Uart(data=0x04, ready={0x00: 1 << 7 | 1 << 6})  # SR: TXE, TC (RM0008, RM0090)
_STM32_NEW = Uart(data=0x28, ready={0x1C: 1 << 22 | 1 << 21 | 1 << 7 | 1 << 6})  # ISR: REACK, TEACK, TXE, TC (RM0385)

UARTS: Mapping[str, Uart] = MappingProxyType(
    {
        "stm32f1": _STM32_OLD,
        "stm32f4": _STM32_OLD,
        "stm32f7": _STM32_NEW,
        # PL011 of RP2040 (datasheet, sections UART, XOSC, Clocks, Subsystem resets): UARTFR says that the FIFO is empty
        "rp2040": Uart(
            data=0x00,
            ready={0x18: 1 << 7 | 1 << 4},
            elsewhere={0x40024004: 1 << 31, 0x40008038: _ALL_ONES, 0x4000C008: _ALL_ONES},
        ),
        # US_CSR: TXRDY, TXEMPTY (DS60001527)
        "sam": Uart(data=0x1C, ready={0x14: 1 << 9 | 1 << 1}),
        # INTFLAG: TXC, DRE; GCLK_PCHCTRL24: CHEN (DS60001507)
        "samd5": Uart(data=0x28, ready={0x18: 1 << 1 | 1 << 0}, elsewhere={0x40001CE0: 1 << 6}),
        "cmsdk": Uart(data=0x00, ready={}),  # STATE: the transmitter is not full (DDI 0479, APB UART)
        # UARTE: EVENTS_ENDTX, _TXSTARTED, _TXSTOPPED; CLOCK: EVENTS_HFCLKSTARTED (nRF52840 Product Specification)
        "nrf52": Uart(
            data=None,
            ready={0x120: 1, 0x150: 1, 0x158: 1},
            elsewhere={0x40000100: 1},
            start=0x008,
            pointer=0x544,
            count=0x548,
        ),
    }
)


class Peripherals:
    """Everything behind the peripheral addresses. `send` gets each character that leaves by the console.

    `memory(address, size)` reads RAM for a UART that fetches its characters itself. A sender is always done at once:
    there is no time here that it could take.
    """

    def __init__(self, console: Console, send: Callable[[bytes], None], memory: Callable[[int, int], bytes]) -> None:
        if console.driver not in UARTS:
            raise EmulatorError(
                f"console driver {console.driver!r} is not known to this emulator; known are {', '.join(UARTS)}"
            )
        self._uart = UARTS[console.driver]
        self._base = console.address
        self._send = send
        self._memory = memory
        self._reads = {self._base + offset: value for offset, value in self._uart.ready.items()}
        self._reads |= self._uart.elsewhere
        self._dma = {self._uart.pointer: 0, self._uart.count: 0}

    def read(self, address: int) -> int:
        """The register at `address`."""
        return self._reads.get(address, 0)

    def write(self, address: int, value: int) -> None:
        """Write the register at `address`."""
        offset = address - self._base
        uart = self._uart
        if offset == uart.data:
            self._send(bytes((value & 0xFF,)))
        elif offset == uart.start and value & 1:
            self._send(self._memory(self._dma[uart.pointer], self._dma[uart.count]))
        elif uart.start is not None and offset in self._dma:
            self._dma[offset] = value
