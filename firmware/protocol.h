/* What the firmware says: lines of text on the console, each with a checksum.
 *
 *     tc:output 0 1 80ff7f *29b1\n
 *
 * The four digits are CRC-16/CCITT-FALSE (polynomial 0x1021, start 0xFFFF) of the text before " *". A line is
 * protocol_begin, any of the fields, protocol_end. What lines there are stands where they are read, in protocol.py of
 * tinycompiler's emulators. */
#ifndef PROTOCOL_H
#define PROTOCOL_H

#include <stdint.h>

void protocol_begin(const char *text);               /* a broken-off line is ended first */
void protocol_text(const char *text);                /* as it is */
void protocol_number(uint32_t value);                /* a blank, decimal */
void protocol_bytes(const void *data, uint32_t count); /* a blank, two digits per byte */
void protocol_word(uint32_t value);                  /* eight digits */
void protocol_end(void);

#endif
