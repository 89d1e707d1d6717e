/* Console of SAM E70 (and S70, V70, V71): USART, asynchronous. Source: DS60001527, chapters USART, PIO, PMC, MATRIX and WDT.
 * After reset the watchdog runs, and would reset the part within 16 seconds; the pin may be one of JTAG's. */
#include "console.h"
#include "console_wait.h"

enum { PIO_DISABLE = 0x04, PIO_PERIPHERAL_LOW = 0x70, PIO_PERIPHERAL_HIGH = 0x74 };      /* PDR, ABCDSR1, ABCDSR2 */
enum { CONTROL = 0x00, MODE = 0x04, STATUS = 0x14, TRANSMIT_DATA = 0x1C, BAUD_RATE = 0x20 };
enum { CONTROL_RESET_TX = 1 << 3, CONTROL_TX_ENABLE = 1 << 6, STATUS_TX_READY = 1 << 1 };
enum { MODE_8_BITS = 3 << 6, MODE_NO_PARITY = 4 << 9, WATCHDOG_DISABLE = 1 << 15 };

static void pin_to_peripheral(void)
{
    uint32_t const pin = 1u << CONSOLE_TX_PIN;
    uint32_t const low = REGISTER(CONSOLE_GPIO_ADDRESS + PIO_PERIPHERAL_LOW) & ~pin;
    uint32_t const high = REGISTER(CONSOLE_GPIO_ADDRESS + PIO_PERIPHERAL_HIGH) & ~pin;
    REGISTER(CONSOLE_SYSTEM_IO_REGISTER) |= CONSOLE_SYSTEM_IO_MASK;
    REGISTER(CONSOLE_GPIO_ADDRESS + PIO_PERIPHERAL_LOW) = low | ((CONSOLE_PERIPHERAL & 1u) << CONSOLE_TX_PIN);
    REGISTER(CONSOLE_GPIO_ADDRESS + PIO_PERIPHERAL_HIGH) = high | ((CONSOLE_PERIPHERAL >> 1) << CONSOLE_TX_PIN);
    REGISTER(CONSOLE_GPIO_ADDRESS + PIO_DISABLE) = pin;
}

void console_init(void)
{
    REGISTER(CONSOLE_WATCHDOG_REGISTER) = WATCHDOG_DISABLE;
    REGISTER(CONSOLE_CLOCK_REGISTER) = 1u << CONSOLE_PERIPHERAL_ID;
    pin_to_peripheral();
    uint32_t const divisor = (CONSOLE_CLOCK_HZ / 2u + CONSOLE_BAUD / 2u) / CONSOLE_BAUD; /* in 1/8 of 16 clocks */
    REGISTER(CONSOLE_ADDRESS + CONTROL) = CONTROL_RESET_TX;
    REGISTER(CONSOLE_ADDRESS + MODE) = (uint32_t)MODE_8_BITS | (uint32_t)MODE_NO_PARITY;
    REGISTER(CONSOLE_ADDRESS + BAUD_RATE) = divisor / 8u | (divisor % 8u) << 16;
    REGISTER(CONSOLE_ADDRESS + CONTROL) = CONTROL_TX_ENABLE;
}

void console_put(char character)
{
    console_wait(CONSOLE_ADDRESS + STATUS, STATUS_TX_READY, STATUS_TX_READY);
    REGISTER(CONSOLE_ADDRESS + TRANSMIT_DATA) = (uint8_t)character;
}
