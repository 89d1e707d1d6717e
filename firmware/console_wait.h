/* Registers, and waiting for a flag in one, for the console drivers. */
#ifndef CONSOLE_WAIT_H
#define CONSOLE_WAIT_H

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

/* Every wait is bounded. An emulator may model the UART's data register and nothing else: then flags read as 0 for ever, and
 * the firmware must still run. The bound is far above what a real part needs: one character at 115200 baud lasts 87 us, that
 * is 5,600 cycles of a 64 MHz core or about 700 polls; an oscillator starts within 2 ms. A flag that failed to come once is
 * not waited for again, so that such an emulator pays the bound once and not for each character. */
enum { CONSOLE_PATIENCE = 50000 };

static inline void console_wait(uint32_t address, uint32_t mask, uint32_t wanted)
{
    static uint32_t patience = CONSOLE_PATIENCE;
    for (uint32_t polls = 0; polls < patience; ++polls) {
        if ((REGISTER(address) & mask) == wanted) {
            return;
        }
    }
    patience = 1;
}

#endif
