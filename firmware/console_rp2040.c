/* Console of RP2040: PL011. Source: RP2040 datasheet, sections UART, XOSC, Clocks, Subsystem resets and GPIO.
 * After the boot ROM the ring oscillator clocks everything, far too loose for a UART: the crystal is started and taken. */
#include "console.h"
#include "console_wait.h"

enum { RESETS = 0x4000C000, RESETS_DONE = 0x4000C008 };
enum { RESET_IO_BANK0 = 1 << 5, RESET_PADS_BANK0 = 1 << 8, RESET_UART0 = 1 << 22 };
enum { XOSC_CONTROL = 0x40024000, XOSC_STATUS = 0x40024004, XOSC_STARTUP = 0x4002400C };
enum { XOSC_RANGE_1_15MHZ = 0xAA0, XOSC_ENABLE = 0xFAB000, XOSC_STARTUP_1MS = 47 }; /* 47 * 256 periods of 12 MHz */
enum { CLOCK_REFERENCE_CONTROL = 0x40008030, CLOCK_REFERENCE_SELECTED = 0x40008038, CLOCK_PERIPHERAL_CONTROL = 0x40008048 };
enum { REFERENCE_FROM_XOSC = 2, PERIPHERAL_ENABLE_FROM_XOSC = (1 << 11) | (4 << 5) };
enum { GPIO0_CONTROL = 0x40014004, FUNCTION_UART = 2 };
enum { DATA = 0x00, FLAGS = 0x18, DIVISOR = 0x24, DIVISOR_FRACTION = 0x28, LINE_CONTROL = 0x2C, CONTROL = 0x30 };
enum { FLAGS_TX_FULL = 1 << 5, LINE_8_BITS_FIFO = 0x70, CONTROL_UART_TX = 0x101 };

static void clocks_from_crystal(void)
{
    REGISTER(XOSC_STARTUP) = XOSC_STARTUP_1MS;
    REGISTER(XOSC_CONTROL) = XOSC_RANGE_1_15MHZ | XOSC_ENABLE;
    console_wait(XOSC_STATUS, 1u << 31, 1u << 31);
    REGISTER(CLOCK_REFERENCE_CONTROL) = REFERENCE_FROM_XOSC; /* the system clock follows it, as reset leaves it */
    console_wait(CLOCK_REFERENCE_SELECTED, 1u << REFERENCE_FROM_XOSC, 1u << REFERENCE_FROM_XOSC);
    REGISTER(CLOCK_PERIPHERAL_CONTROL) = PERIPHERAL_ENABLE_FROM_XOSC;
}

void console_init(void)
{
    uint32_t const needed = RESET_IO_BANK0 | RESET_PADS_BANK0 | RESET_UART0;
    clocks_from_crystal();
    REGISTER(RESETS) &= ~needed;
    console_wait(RESETS_DONE, needed, needed);

    REGISTER(GPIO0_CONTROL + 8u * CONSOLE_TX_PIN) = FUNCTION_UART;
    uint32_t const divisor = (4u * CONSOLE_CLOCK_HZ + CONSOLE_BAUD / 2u) / CONSOLE_BAUD; /* in 1/64 of 16 clocks */
    REGISTER(CONSOLE_ADDRESS + DIVISOR) = divisor / 64u;
    REGISTER(CONSOLE_ADDRESS + DIVISOR_FRACTION) = divisor % 64u;
    REGISTER(CONSOLE_ADDRESS + LINE_CONTROL) = LINE_8_BITS_FIFO;
    REGISTER(CONSOLE_ADDRESS + CONTROL) = CONTROL_UART_TX;
}

void console_put(char character)
{
    console_wait(CONSOLE_ADDRESS + FLAGS, FLAGS_TX_FULL, 0);
    REGISTER(CONSOLE_ADDRESS + DATA) = (uint8_t)character;
}
