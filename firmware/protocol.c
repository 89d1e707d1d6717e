#include "protocol.h"

#include "console.h"

static uint16_t checksum;
static uint8_t line_is_open;

/* CRC-16/CCITT-FALSE, one byte in eight steps: no table, because speed is the UART's. */
static uint16_t checksum_add(uint16_t sum, uint8_t byte)
{
    uint32_t value = sum ^ ((uint32_t)byte << 8);
    for (int bit = 0; bit < 8; ++bit) {
        value = (value & 0x8000u) != 0 ? (value << 1) ^ 0x1021u : value << 1;
    }
    return (uint16_t)value;
}

/* Not inlined: it stands in every line of this file, with a loop in it. */
__attribute__((noinline)) static void put(char character)
{
    checksum = checksum_add(checksum, (uint8_t)character);
    console_put(character);
}

static void put_digits(uint32_t value, int digits)
{
    for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
        put("0123456789abcdef"[(value >> shift) & 0xFu]);
    }
}

void protocol_begin(const char *text)
{
    if (line_is_open) {
        console_put('\n'); /* a fault came while a line was being written */
    }
    line_is_open = 1;
    checksum = 0xFFFF;
    protocol_text(text);
}

void protocol_text(const char *text)
{
    while (*text != '\0') {
        put(*text++);
    }
}

void protocol_number(uint32_t value)
{
    /* By subtraction: Armv6-M has no divide instruction, and libgcc's would be a tenth of this firmware. */
    static const uint32_t powers[] = {1000000000, 100000000, 10000000, 1000000, 100000, 10000, 1000, 100, 10, 1};
    uint8_t started = 0;
    put(' ');
    for (int index = 0; index < 10; ++index) {
        char digit = '0';
        for (; value >= powers[index]; value -= powers[index]) {
            ++digit;
        }
        started |= digit != '0' || index == 9;
        if (started) {
            put(digit);
        }
    }
}

void protocol_bytes(const void *data, uint32_t count)
{
    const uint8_t *bytes = data;
    put(' ');
    for (uint32_t index = 0; index < count; ++index) {
        put_digits(bytes[index], 2);
    }
}

void protocol_word(uint32_t value)
{
    put_digits(value, 8);
}

void protocol_end(void)
{
    uint16_t const sum = checksum;
    protocol_text(" *");
    put_digits(sum, 4);
    console_put('\n');
    line_is_open = 0;
}
