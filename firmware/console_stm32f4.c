/* Console of STM32F4 (and F2): USART with SR/DR, pins set by MODER and AFR. Source: RM0090, sections USART and GPIO. */
#include "console.h"
#include "console_stm32_pin.h"

enum { STATUS = 0x00, DATA = 0x04, BAUD_RATE = 0x08, CONTROL1 = 0x0C };
enum { STATUS_TXE = 1 << 7, CONTROL1_UE = 1 << 13, CONTROL1_TE = 1 << 3 };

void console_init(void)
{
    stm32_clock_enable(CONSOLE_GPIO_CLOCK_REGISTER, CONSOLE_GPIO_CLOCK_MASK);
    stm32_clock_enable(CONSOLE_UART_CLOCK_REGISTER, CONSOLE_UART_CLOCK_MASK);
    stm32_alternate_function(CONSOLE_GPIO_ADDRESS, CONSOLE_TX_PIN, CONSOLE_ALTERNATE_FUNCTION);
    REGISTER(CONSOLE_ADDRESS + BAUD_RATE) = (CONSOLE_CLOCK_HZ + CONSOLE_BAUD / 2u) / CONSOLE_BAUD;
    REGISTER(CONSOLE_ADDRESS + CONTROL1) = CONTROL1_UE | CONTROL1_TE;
}

void console_put(char character)
{
    console_wait(CONSOLE_ADDRESS + STATUS, STATUS_TXE, STATUS_TXE);
    REGISTER(CONSOLE_ADDRESS + DATA) = (uint8_t)character;
}
