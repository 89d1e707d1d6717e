/* What the start-up code tells the rest. */
#ifndef STARTUP_H
#define STARTUP_H

#include <stdint.h>

uint32_t startup_stack_high_water(void); /* bytes of stack used so far, from the painted stack */

#endif
