/* Console of STM32F1: USART with SR/DR, pins set by CRL/CRH. Source: RM0008 (STM32F10x), sections USART and GPIO. */
#include "console.h"
#include "console_wait.h"

enum { STATUS = 0x00, DATA = 0x04, BAUD_RATE = 0x08, CONTROL1 = 0x0C };
enum { STATUS_TXE = 1 << 7, CONTROL1_UE = 1 << 13, CONTROL1_TE = 1 << 3 };
enum { PIN_OUTPUT_2MHZ = 0x2, PIN_ALTERNATE_PUSH_PULL = 0x8 };

static void clock_enable(uint32_t address, uint32_t mask)
{
    REGISTER(address) |= mask;
    (void)REGISTER(address); /* the clock runs only some bus cycles after the write */
}

void console_init(void)
{
    clock_enable(CONSOLE_GPIO_CLOCK_REGISTER, CONSOLE_GPIO_CLOCK_MASK);
    clock_enable(CONSOLE_UART_CLOCK_REGISTER, CONSOLE_UART_CLOCK_MASK);

    uint32_t const configuration = CONSOLE_GPIO_ADDRESS + 4u * (CONSOLE_TX_PIN / 8u); /* CRL: pins 0-7, CRH: 8-15 */
    uint32_t const shift = 4u * (CONSOLE_TX_PIN % 8u);
    uint32_t const mode = (uint32_t)PIN_ALTERNATE_PUSH_PULL | (uint32_t)PIN_OUTPUT_2MHZ;
    REGISTER(configuration) = (REGISTER(configuration) & ~(0xFu << shift)) | (mode << shift);

    REGISTER(CONSOLE_ADDRESS + BAUD_RATE) = (CONSOLE_CLOCK_HZ + CONSOLE_BAUD / 2u) / CONSOLE_BAUD;
    REGISTER(CONSOLE_ADDRESS + CONTROL1) = CONTROL1_UE | CONTROL1_TE;
}

void console_put(char character)
{
    console_wait(CONSOLE_ADDRESS + STATUS, STATUS_TXE, STATUS_TXE);
    REGISTER(CONSOLE_ADDRESS + DATA) = (uint8_t)character;
}
