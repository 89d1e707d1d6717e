/* The console: one UART, transmit only. One driver per UART family, console_<family>.c, chosen and set by the board's TOML. */
#ifndef CONSOLE_H
#define CONSOLE_H

void console_init(void);
void console_put(char character);

#endif
