/* Console of SAM D5x and E5x: a SERCOM as USART, with its own clock. Source: DS60001507, chapters SERCOM USART, GCLK, MCLK
 * and PORT. Transmits on pad 0. Registers of 8 and 16 bits are reached by their words: what stands beside them is 0. */
#include "console.h"
#include "console_wait.h"

enum { PORT_WRITE_CONFIGURATION = 0x28, GENERATOR_0 = 0, CHANNEL_ENABLE = 1 << 6 };
enum { CONTROL_A = 0x00, CONTROL_B = 0x04, BAUD_RATE = 0x0C, INTERRUPT_FLAGS = 0x18, SYNCHRONIZING = 0x1C, DATA = 0x28 };
enum { SOFTWARE_RESET = 1 << 0, ENABLE = 1 << 1, MODE_USART = 1 << 2, DATA_ORDER_LSB_FIRST = 1 << 30 };
enum { TRANSMIT_ENABLE = 1 << 16, DATA_REGISTER_EMPTY = 1 << 0 };

/* WRCONFIG sets PMUX and PMUXEN of the named pins of one half (HWSEL: pins 16 to 31) in one write. */
static void pin_to_peripheral(void)
{
    uint32_t const half = CONSOLE_TX_PIN / 16u, pins = 1u << (CONSOLE_TX_PIN % 16u);
    uint32_t const write_multiplexer = 1u << 28, write_pin = 1u << 30, enable_multiplexer = 1u << 16;
    REGISTER(CONSOLE_GPIO_ADDRESS + PORT_WRITE_CONFIGURATION) =
        half << 31 | write_pin | write_multiplexer | CONSOLE_PERIPHERAL << 24 | enable_multiplexer | pins;
}

static void set(uint32_t offset, uint32_t value)
{
    REGISTER(CONSOLE_ADDRESS + offset) = value;
    console_wait(CONSOLE_ADDRESS + SYNCHRONIZING, ~0u, 0);
}

void console_init(void)
{
    REGISTER(CONSOLE_BUS_CLOCK_REGISTER) |= CONSOLE_BUS_CLOCK_MASK;
    REGISTER(CONSOLE_CORE_CLOCK_REGISTER) = (uint32_t)GENERATOR_0 | (uint32_t)CHANNEL_ENABLE;
    console_wait(CONSOLE_CORE_CLOCK_REGISTER, CHANNEL_ENABLE, CHANNEL_ENABLE);
    pin_to_peripheral();
    set(CONTROL_A, SOFTWARE_RESET);
    set(CONTROL_A, (uint32_t)MODE_USART | (uint32_t)DATA_ORDER_LSB_FIRST);
    set(CONTROL_B, TRANSMIT_ENABLE);
    /* 65536 * (1 - 16 * baud / clock), rounded */
    REGISTER(CONSOLE_ADDRESS + BAUD_RATE) =
        65536u - (uint32_t)((65536ull * 16u * CONSOLE_BAUD + CONSOLE_CLOCK_HZ / 2u) / CONSOLE_CLOCK_HZ);
    set(CONTROL_A, (uint32_t)MODE_USART | (uint32_t)DATA_ORDER_LSB_FIRST | (uint32_t)ENABLE);
}

void console_put(char character)
{
    console_wait(CONSOLE_ADDRESS + INTERRUPT_FLAGS, DATA_REGISTER_EMPTY, DATA_REGISTER_EMPTY);
    REGISTER(CONSOLE_ADDRESS + DATA) = (uint8_t)character;
}
