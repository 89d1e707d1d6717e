/* Console of nRF52: UARTE, by EasyDMA. Source: nRF52840 Product Specification, chapters UARTE, GPIO and CLOCK.
 * EasyDMA reads RAM only, so the character goes through a static byte. (The older interface without DMA, TXD at 0x51C, is
 * not used: the part keeps it for compatibility and emulators leave it out.) */
#include "console.h"
#include "console_wait.h"

enum { HFCLK_START = 0x000, HFCLK_STARTED = 0x100 };                                   /* CLOCK */
enum { GPIO_OUT_SET = 0x508, GPIO_DIRECTION_SET = 0x518 };                             /* GPIO */
enum { START_TX = 0x008, END_TX = 0x120, ENABLE = 0x500, PIN_TXD = 0x50C, BAUD_RATE = 0x524, TXD_POINTER = 0x544,
       TXD_COUNT = 0x548, ENABLE_UARTE = 8 };                                          /* UARTE */

#ifndef CONSOLE_TX_PORT
#define CONSOLE_TX_PORT 0u
#endif

static uint8_t volatile transmit_byte;

void console_init(void)
{
    /* The crystal, because the internal oscillator may be off by more than a UART bears. */
    REGISTER(CONSOLE_CLOCK_ADDRESS + HFCLK_START) = 1;
    console_wait(CONSOLE_CLOCK_ADDRESS + HFCLK_STARTED, 1, 1);

    REGISTER(CONSOLE_GPIO_ADDRESS + GPIO_OUT_SET) = 1u << CONSOLE_TX_PIN; /* the line idles high */
    REGISTER(CONSOLE_GPIO_ADDRESS + GPIO_DIRECTION_SET) = 1u << CONSOLE_TX_PIN;
    REGISTER(CONSOLE_ADDRESS + PIN_TXD) = CONSOLE_TX_PORT << 5 | CONSOLE_TX_PIN; /* bit 31 clear: connected */
    REGISTER(CONSOLE_ADDRESS + BAUD_RATE) = CONSOLE_BAUD_VALUE;
    REGISTER(CONSOLE_ADDRESS + ENABLE) = ENABLE_UARTE;
}

void console_put(char character)
{
    transmit_byte = (uint8_t)character;
    REGISTER(CONSOLE_ADDRESS + TXD_POINTER) = (uint32_t)(uintptr_t)&transmit_byte;
    REGISTER(CONSOLE_ADDRESS + TXD_COUNT) = 1;
    REGISTER(CONSOLE_ADDRESS + END_TX) = 0;
    REGISTER(CONSOLE_ADDRESS + START_TX) = 1;
    console_wait(CONSOLE_ADDRESS + END_TX, 1, 1); /* the byte must stay until it was read */
}
