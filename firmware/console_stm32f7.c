/* Console of STM32F7, H7, L4, L5, WBA: USART or LPUART with ISR/TDR. Source: RM0385 (F7), RM0433 (H7), RM0432 (L4+),
 * RM0438 (L5), RM0493 (WBA).
 * Two things that not every part has are set by the board: an I/O supply to switch on (port G of L4+ and L5 hangs on VDDIO2,
 * PWR_CR2.IOSV), and LPUART's divisor, which counts in 1/256. */
#include "console.h"
#include "console_stm32_pin.h"

enum { CONTROL1 = 0x00, BAUD_RATE = 0x0C, STATUS = 0x1C, TRANSMIT_DATA = 0x28 };
enum { STATUS_TXE = 1 << 7, CONTROL1_UE = 1 << 0, CONTROL1_TE = 1 << 3 };

#ifndef CONSOLE_DIVISOR_SCALE
#define CONSOLE_DIVISOR_SCALE 1ull
#endif

void console_init(void)
{
#ifdef CONSOLE_SUPPLY_REGISTER
    stm32_clock_enable(CONSOLE_SUPPLY_CLOCK_REGISTER, CONSOLE_SUPPLY_CLOCK_MASK);
    REGISTER(CONSOLE_SUPPLY_REGISTER) |= CONSOLE_SUPPLY_MASK;
#endif
    stm32_clock_enable(CONSOLE_GPIO_CLOCK_REGISTER, CONSOLE_GPIO_CLOCK_MASK);
    stm32_clock_enable(CONSOLE_UART_CLOCK_REGISTER, CONSOLE_UART_CLOCK_MASK);
    stm32_alternate_function(CONSOLE_GPIO_ADDRESS, CONSOLE_TX_PIN, CONSOLE_ALTERNATE_FUNCTION);
    REGISTER(CONSOLE_ADDRESS + BAUD_RATE) =
        (uint32_t)((1ull * CONSOLE_DIVISOR_SCALE * CONSOLE_CLOCK_HZ + CONSOLE_BAUD / 2u) / CONSOLE_BAUD);
    REGISTER(CONSOLE_ADDRESS + CONTROL1) = CONTROL1_UE | CONTROL1_TE;
}

void console_put(char character)
{
    console_wait(CONSOLE_ADDRESS + STATUS, STATUS_TXE, STATUS_TXE);
    REGISTER(CONSOLE_ADDRESS + TRANSMIT_DATA) = (uint8_t)character;
}
