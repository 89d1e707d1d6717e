/* memcpy, memmove, memset: gcc calls them for ordinary C even without a library. Ours, so that the image holds nothing that
 * we did not write, and fast enough not to hide in the counts: whole words wherever both pointers allow it.
 * Built with -fno-tree-loop-distribute-patterns, else gcc would turn these very loops into calls of themselves. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict destination, const void *restrict source, size_t count);
void *memmove(void *destination, const void *source, size_t count);
void *memset(void *destination, int value, size_t count);

typedef uint32_t __attribute__((may_alias)) word;
#ifdef __ARM_FEATURE_UNALIGNED
typedef uint32_t __attribute__((may_alias, aligned(1))) source_word; /* the core loads a word from any address */
#define SAME_ALIGNMENT(a, b) 1
#else
typedef word source_word;
#define SAME_ALIGNMENT(a, b) ((((uintptr_t)(a) ^ (uintptr_t)(b)) & 3u) == 0)
#endif

void *memcpy(void *restrict destination, const void *restrict source, size_t count)
{
    uint8_t *to = destination;
    const uint8_t *from = source;
    if (count >= 8 && SAME_ALIGNMENT(to, from)) {
        for (; ((uintptr_t)to & 3u) != 0; --count) {
            *to++ = *from++;
        }
        for (; count >= 16; count -= 16, to += 16, from += 16) {
            word const first = ((const source_word *)from)[0];
            word const second = ((const source_word *)from)[1];
            word const third = ((const source_word *)from)[2];
            word const fourth = ((const source_word *)from)[3];
            ((word *)to)[0] = first;
            ((word *)to)[1] = second;
            ((word *)to)[2] = third;
            ((word *)to)[3] = fourth;
        }
        for (; count >= 4; count -= 4, to += 4, from += 4) {
            *(word *)to = *(const source_word *)from;
        }
    }
    for (; count != 0; --count) {
        *to++ = *from++;
    }
    return destination;
}

void *memmove(void *destination, const void *source, size_t count)
{
    uint8_t *to = destination;
    const uint8_t *from = source;
    if ((uintptr_t)to - (uintptr_t)from >= count) { /* also when destination lies below: the difference wraps */
        for (; count != 0; --count) {
            *to++ = *from++;
        }
    } else {
        while (count-- != 0) {
            to[count] = from[count];
        }
    }
    return destination;
}

void *memset(void *destination, int value, size_t count)
{
    uint8_t *to = destination;
    if (count >= 8) {
        word const pattern = (uint8_t)value * 0x01010101u;
        for (; ((uintptr_t)to & 3u) != 0; --count) {
            *to++ = (uint8_t)value;
        }
        for (; count >= 16; count -= 16, to += 16) {
            ((word *)to)[0] = pattern;
            ((word *)to)[1] = pattern;
            ((word *)to)[2] = pattern;
            ((word *)to)[3] = pattern;
        }
        for (; count >= 4; count -= 4, to += 4) {
            *(word *)to = pattern;
        }
    }
    for (; count != 0; --count) {
        *to++ = (uint8_t)value;
    }
    return destination;
}
