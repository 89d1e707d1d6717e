/* Console of Arm's MPS2 and MPS3 images: the CMSDK's APB UART. Source: CMSDK technical reference manual (DDI 0479), APB UART.
 * Its pins are its own and its clock always runs: nothing else is to be set. */
#include "console.h"
#include "console_wait.h"

enum { DATA = 0x00, STATE = 0x04, CONTROL = 0x08, BAUD_DIVIDER = 0x10 };
enum { STATE_TX_FULL = 1 << 0, CONTROL_TX_ENABLE = 1 << 0 };

void console_init(void)
{
    REGISTER(CONSOLE_ADDRESS + BAUD_DIVIDER) = (CONSOLE_CLOCK_HZ + CONSOLE_BAUD / 2u) / CONSOLE_BAUD; /* 16 at least */
    REGISTER(CONSOLE_ADDRESS + CONTROL) = CONTROL_TX_ENABLE;
}

void console_put(char character)
{
    console_wait(CONSOLE_ADDRESS + STATE, STATE_TX_FULL, 0);
    REGISTER(CONSOLE_ADDRESS + DATA) = (uint8_t)character;
}
