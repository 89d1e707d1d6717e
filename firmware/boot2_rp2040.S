/* Second boot stage of RP2040, 256 bytes. The boot ROM copies it to RAM, checks its checksum and calls it; it makes the flash
 * readable at 0x10000000 and enters the program behind it. Sources: RP2040 datasheet, sections Bootrom (flash second stage)
 * and SSI; W25Q16JV datasheet (command 03h, read data, needs no mode set up in the flash chip, so any chip will do).
 *
 * Plain serial reads at a quarter of the system clock: slow, and it always works. No real board was at hand to try it. */

    .syntax unified
    .cpu cortex-m0plus
    .thumb

    .equ SSI, 0x18000000
    .equ SSI_CTRLR0, 0x00
    .equ SSI_CTRLR1, 0x04
    .equ SSI_SSIENR, 0x08
    .equ SSI_BAUDR, 0x14
    .equ SSI_SPI_CTRLR0, 0xF4
    .equ VTOR, 0xE000ED08
    .equ PROGRAM, 0x10000100

    .section .boot2, "a"
    ldr  r3, =SSI
    movs r0, #0
    str  r0, [r3, #SSI_SSIENR]      /* off: the other registers can be written only then */
    movs r1, #4
    str  r1, [r3, #SSI_BAUDR]
    ldr  r1, =(31 << 16) | (3 << 8) /* 32-bit frames, standard SPI, EEPROM read: command and address out, data in */
    str  r1, [r3, #SSI_CTRLR0]
    str  r0, [r3, #SSI_CTRLR1]      /* one frame for each read */
    ldr  r1, =(0x03 << 24) | (2 << 8) | (6 << 2) /* command 03h, 8 bits of command, 24 bits of address */
    ldr  r2, =SSI + SSI_SPI_CTRLR0
    str  r1, [r2]
    movs r0, #1
    str  r0, [r3, #SSI_SSIENR]

    ldr  r0, =PROGRAM
    ldr  r1, =VTOR
    str  r0, [r1]
    ldmia r0!, {r1, r2}             /* the vector table: stack, reset handler */
    msr  msp, r1
    bx   r2
    .ltorg

    /* CRC-32 (polynomial 0x04C11DB7, start 0xFFFFFFFF, bits not reversed) of the 252 bytes before it. A test recomputes it. */
    .org 252
    .word 0x1812A82C
