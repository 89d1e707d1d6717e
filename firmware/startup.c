/* From reset to main, and what happens on a fault. For Armv6-M, Armv7-M and Armv8-M.
 *
 * The stack stands at the bottom of its region: an overflow leaves the region and faults instead of eating data. Names
 * with two underscores in front come from linker.ld.j2. What the network has in regions other than the default one is not
 * cleared: it counts on no zeros.
 *
 * Interrupts are never enabled here, so the table holds the 16 system entries only, and all of them but reset end in one
 * fault handler. */
#include "startup.h"

#include "console.h"
#include "protocol.h"

/* Armv7-M ARM B3.2 (system control block); the same addresses in Armv8-M. Armv6-M has VTOR at most. */
#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define SCB_VTOR REGISTER(0xE000ED08)
#define SCB_SHCSR REGISTER(0xE000ED24)
#define SCB_CFSR REGISTER(0xE000ED28)
#define SCB_MMFAR REGISTER(0xE000ED34)
#define SCB_BFAR REGISTER(0xE000ED38)
#define SCB_CPACR REGISTER(0xE000ED88)

#if defined(__ARM_ARCH_7M__) || defined(__ARM_ARCH_7EM__) || defined(__ARM_ARCH_8M_MAIN__)
#define HAS_FAULT_STATUS 1
#else
#define HAS_FAULT_STATUS 0
#endif

extern uint32_t __stack_bottom[], __stack_top[];
extern uint32_t __bss_start[], __bss_end[];

struct copy {
    const uint32_t *from;
    uint32_t *to;
    uint32_t *end;
};
extern const struct copy __copies[], __copies_end[]; /* .data, and weights that live in RAM */

int main(void);
void reset_handler(void);
void fault_handler(void);
void fault_report(uint32_t kind, uint32_t pc, uint32_t lr);

typedef void (*handler)(void);

struct vector_table {
    uint32_t *stack;
    handler handlers[15];
};

__attribute__((section(".vectors"), used)) struct vector_table const interrupt_vectors = {
    __stack_top,
    {reset_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler,
     fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler},
};

enum { PAINT = 0x5AFEC0DE };

/* RAM that has no clock after reset; the build names it, from the board's file. */
#define CLOCK(register_address, mask) REGISTER(register_address) |= (mask);
#ifndef RAM_CLOCKS
#define RAM_CLOCKS
#endif

static void enable_core_features(void)
{
    RAM_CLOCKS
    SCB_VTOR = (uint32_t)(uintptr_t)&interrupt_vectors;
#if HAS_FAULT_STATUS
    SCB_SHCSR |= 7u << 16; /* memory, bus and usage faults each by their own name */
#endif
#if defined(__ARM_FP)
    SCB_CPACR |= 0xFu << 20; /* CP10 and CP11: full access */
    __asm volatile("dsb\n\tisb" ::: "memory");
#endif
}

/* Called before anything else: must not touch .data or .bss, nor the FPU before it is on. */
void reset_handler(void)
{
    enable_core_features();

    volatile uint32_t *paint = __stack_bottom; /* volatile: a call of memset would need the stack being painted */
    uint32_t *stack_pointer;
    __asm volatile("mov %0, sp" : "=r"(stack_pointer));
    while (paint < stack_pointer) {
        *paint++ = PAINT;
    }

    for (const struct copy *each = __copies; each < __copies_end; ++each) {
        const uint32_t *load = each->from;
        for (uint32_t *word = each->to; word < each->end;) {
            *word++ = *load++;
        }
    }
    for (uint32_t *word = __bss_start; word < __bss_end;) {
        *word++ = 0;
    }
    (void)main();
    for (;;) {
    }
}

uint32_t startup_stack_high_water(void)
{
    const volatile uint32_t *word = __stack_bottom;
    while (word < __stack_top && *word == PAINT) {
        ++word;
    }
    return (uint32_t)((uintptr_t)__stack_top - (uintptr_t)word);
}

/* Takes pc and lr out of the frame that the core pushed, when the stack pointer is inside the stack, and starts on a fresh
 * stack: after an overflow there is no room left to report it on. Armv6-M instructions only. */
__attribute__((naked)) void fault_handler(void)
{
    __asm volatile("mrs   r3, msp\n\t"
                   "movs  r1, #0\n\t"
                   "movs  r2, #0\n\t"
                   "ldr   r0, =__stack_bottom\n\t"
                   "cmp   r3, r0\n\t"
                   "blo   1f\n\t"
                   "ldr   r0, =__stack_top - 32\n\t"
                   "cmp   r3, r0\n\t"
                   "bhi   1f\n\t"
                   "ldr   r1, [r3, #24]\n\t"
                   "ldr   r2, [r3, #20]\n"
                   "1:\n\t"
                   "ldr   r0, =__stack_top\n\t"
                   "mov   sp, r0\n\t"
                   "mrs   r0, ipsr\n\t"
                   "bl    fault_report\n\t"
                   ".ltorg");
}

static const char *fault_name(uint32_t kind)
{
    switch (kind & 0x1FFu) {
    case 2:
        return "nmi";
    case 4:
        return "mem";
    case 5:
        return "bus";
    case 6:
        return "usage";
    default:
        return "hard";
    }
}

static uint32_t fault_address(void)
{
#if HAS_FAULT_STATUS
    uint32_t const status = SCB_CFSR;
    if (status & (1u << 7)) { /* MMARVALID */
        return SCB_MMFAR;
    }
    if (status & (1u << 15)) { /* BFARVALID */
        return SCB_BFAR;
    }
#endif
    return 0; /* not known */
}

__attribute__((noreturn)) void fault_report(uint32_t kind, uint32_t pc, uint32_t lr)
{
    protocol_begin("tc:fault ");
    protocol_text(fault_name(kind));
    protocol_text(" pc=");
    protocol_word(pc);
    protocol_text(" lr=");
    protocol_word(lr);
    protocol_text(" address=");
    protocol_word(fault_address());
    protocol_end();
    for (;;) {
    }
}
