// SPDX-License-Identifier: Apache-2.0
#include "guest.h"

struct pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

struct gate {
	uint16_t low, selector;
	uint16_t flags;
	uint16_t middle;
	uint32_t high, zero;
};

struct task_state {
	uint32_t reserved;
	uint64_t stack[3];
	uint64_t more[9];
	uint16_t zero, ports;
	uint8_t port_bits[8192 + 1]; /* all allowed; the last byte has to be ones */
} __attribute__((packed));

#define GATE 0x8e00

void guest_setup(void);
void vector_0(void);
void vector_1(void);
void vector_2(void);
void vector_3(void);
void do_exception(void);
extern uint8_t stack_0[];

volatile uint32_t interrupts[VECTORS];
volatile uint8_t stopping;

uint64_t tables[512] __attribute__((aligned(4096)));
static uint64_t level_3[512] __attribute__((aligned(4096)));
static uint64_t level_2[512] __attribute__((aligned(4096)));
static uint64_t level_2_top[512] __attribute__((aligned(4096)));
static struct task_state task;
static struct gate idt[0x44];
static uint64_t gdt[] = {
	[2] = 0x00af9b000000ffff, /* ring 0 */
	[3] = 0x00cf93000000ffff,
	[5] = 0x00cff3000000ffff, /* ring 3, in the order of syscall */
	[6] = 0x00affb000000ffff,
	[8] = 0, /* the task */
	[9] = 0,
};
const struct pointer gdt_pointer = {sizeof(gdt) - 1, (uintptr_t)gdt};
const struct pointer idt_pointer = {sizeof(idt) - 1, (uintptr_t)idt};

static void set_gate(unsigned vector, void (*handler)(void))
{
	uintptr_t address = (uintptr_t)handler;

	idt[vector] = (struct gate){.low = (uint16_t)address,
				    .selector = 0x10,
				    .flags = GATE,
				    .middle = (uint16_t)(address >> 16)};
}

/* In ring 0, where every instruction may be emulated: no more than is needed. */
void guest_setup(void)
{
	uintptr_t base = (uintptr_t)&task;

	/* RAM and, from 3.25 GiB on, devices; for ring 3. */
	tables[0] = (uintptr_t)level_3 | 7;
	level_3[0] = (uintptr_t)level_2 | 7;
	level_3[3] = (uintptr_t)level_2_top | 7;
	for (uint64_t i = 0; i < 16; i++) /* 32 MiB */
		level_2[i] = i << 21 | 0x87;
	for (uint64_t i = 128; i < 512; i++)
		level_2_top[i] = (3ul << 30) + (i << 21) + 0x87;

	for (unsigned i = 0; i < 15; i++)
		set_gate(i, do_exception);
	set_gate(VECTOR(0), vector_0);
	set_gate(VECTOR(1), vector_1);
	set_gate(VECTOR(2), vector_2);
	set_gate(VECTOR(3), vector_3);

	task.stack[0] = (uintptr_t)stack_0;
	task.ports = offsetof(struct task_state, port_bits);
	task.port_bits[8192] = 0xff;
	gdt[8] = (sizeof(task) - 1) | (base & 0xffffff) << 16 | 0x89ul << 40 | (base >> 24) << 56;
}

/* hlt is not for ring 3: the exception's handler does it. */
_Noreturn void stop(void)
{
	stopping = 1;
	for (;;)
		__asm__ volatile("hlt");
}

/* No handler is left for the exception, nor for the one that this raises, nor for the next. */
_Noreturn void triple_fault(void)
{
	for (unsigned i = 0; i < 15; i++)
		idt[i] = (struct gate){0};
	for (;;)
		__asm__ volatile("ud2");
}

void print(const char *text)
{
	while (*text != '\0')
		out8(COM1, (uint8_t)*text++);
}

void print_number(uint64_t number)
{
	char digits[21] = "";
	unsigned at = 20;

	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number != 0);
	print(digits + at);
}

_Noreturn void leave(uint8_t status)
{
	out8(EXIT_PORT, status);
	stop();
}

void route_pin(unsigned pin, unsigned n, bool level)
{
	write32(IOAPIC, 0x10 + 2 * pin + 1);
	write32(IOAPIC + 0x10, 0); /* to APIC id 0 */
	write32(IOAPIC, 0x10 + 2 * pin);
	write32(IOAPIC + 0x10, VECTOR(n) | (level ? 1u << 15 : 0));
}

void apic_enable(void)
{
	write32(LAPIC + 0xf0, 0x1ff);
}

bool wait_interrupts(unsigned n, uint32_t count)
{
	uint64_t until = tsc() + 20000000000;

	while (interrupts[n] < count) {
		if (tsc() > until)
			return false;
		__asm__ volatile("pause");
	}
	return true;
}
