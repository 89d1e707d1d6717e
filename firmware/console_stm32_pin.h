/* Give a pin to an alternate function: GPIO of STM32 with MODER and AFR, that is all but F1.
 * Source: RM0090 (STM32F4) section GPIO registers; the same layout in RM0385 (F7), RM0433 (H7), RM0432 (L4+), RM0438 (L5), RM0493 (WBA). */
#ifndef CONSOLE_STM32_PIN_H
#define CONSOLE_STM32_PIN_H

#include "console_wait.h"

enum { GPIO_MODE = 0x00, GPIO_ALTERNATE_LOW = 0x20 };

static inline void stm32_alternate_function(uint32_t gpio, uint32_t pin, uint32_t function)
{
    uint32_t const select = gpio + GPIO_ALTERNATE_LOW + 4u * (pin / 8u); /* AFRL: pins 0-7, AFRH: 8-15 */
    uint32_t const shift = 4u * (pin % 8u);
    REGISTER(select) = (REGISTER(select) & ~(0xFu << shift)) | (function << shift);
    REGISTER(gpio + GPIO_MODE) = (REGISTER(gpio + GPIO_MODE) & ~(3u << (2u * pin))) | (2u << (2u * pin));
}

static inline void stm32_clock_enable(uint32_t address, uint32_t mask)
{
    REGISTER(address) |= mask;
    (void)REGISTER(address); /* the clock runs only some bus cycles after the write */
}

#endif
