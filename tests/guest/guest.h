/* SPDX-License-Identifier: Apache-2.0 */
/* What the guests in C have: ports, memory, the serial line, interrupts. No library. */
#ifndef SLUICE_TESTS_GUEST_H
#define SLUICE_TESTS_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VECTORS   4
#define VECTOR(n) (0x40 + (n))
#define LAPIC     0xfee00000ul
#define IOAPIC    0xfec00000ul
#define ECAM      0xe0000000ul
#define POWER     0xf0000000ul
#define COM1      0x3f8
#define EXIT_PORT 0xf4

/* How often each vector came. */
extern volatile uint32_t interrupts[VECTORS];

static inline void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint32_t read32(uint64_t address)
{
	return *(volatile uint32_t *)address;
}

static inline void write32(uint64_t address, uint32_t value)
{
	*(volatile uint32_t *)address = value;
}

static inline void write16(uint64_t address, uint16_t value)
{
	*(volatile uint16_t *)address = value;
}

static inline void write8(uint64_t address, uint8_t value)
{
	*(volatile uint8_t *)address = value;
}

static inline uint64_t tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

/* Halt for good. */
_Noreturn void stop(void);
_Noreturn void triple_fault(void);
void print(const char *text);
void print_number(uint64_t number);
_Noreturn void leave(uint8_t status);

/* Let I/O APIC @pin arrive as vector @n; unmask. */
void route_pin(unsigned pin, unsigned n, bool level);
void apic_enable(void);

/* Spin until interrupt @n came @count times, about ten seconds at most. */
bool wait_interrupts(unsigned n, uint32_t count);

/* reference.c: drive the reference device, and say what is wrong. */
bool reference(void);
bool reference_removed(void);
bool reference_rings(void);
bool reference_rings_again(void); /* and by another server, once the first is gone */

/* Ends the guest when it returns: the value is the exit status. */
uint8_t guest_main(char *command);

#endif
