// SPDX-License-Identifier: Apache-2.0
/*
 * One guest for many tests: the first word of the command line says which. A status of 0 is never
 * handed out by accident: what succeeds leaves with 50.
 */
#include "guest.h"

#define GOOD 50
#define BAD  51

extern uint8_t ap_code[], ap_end[], ap_flag[];

static bool word(char **text, const char *wanted)
{
	char *at = *text;

	while (*wanted != '\0') {
		if (*at++ != *wanted++)
			return false;
	}
	if (*at != '\0' && *at != ' ')
		return false;
	*text = *at == ' ' ? at + 1 : at;
	return true;
}

static uint8_t number(const char *text)
{
	unsigned n = 0;

	while (*text >= '0' && *text <= '9')
		n = n * 10 + (unsigned)(*text++ - '0');
	return (uint8_t)n;
}

/* Take input by interrupts (pin 4) and send it back until a q comes. */
static uint8_t echo(void)
{
	uint32_t seen = 0;

	apic_enable();
	route_pin(4, 0, false);
	out8(COM1 + 2, 1);   /* FIFO */
	out8(COM1 + 1, 1);   /* received data interrupts */
	out8(COM1 + 4, 0xb); /* DTR, RTS, OUT2 */
	print("ready\n");
	for (;;) {
		while (!(in8(COM1 + 5) & 1)) {
			if (!wait_interrupts(0, seen + 1))
				return BAD;
			seen = interrupts[0];
		}
		uint8_t byte = in8(COM1);

		if (byte == 'q')
			return interrupts[0] > 0 ? GOOD : BAD;
		out8(COM1, byte);
	}
}

/* The transmitter's interrupt: an irqfd on an edge-triggered pin, a thousand times. */
static uint8_t irqfd(void)
{
	apic_enable();
	route_pin(4, 0, false);
	out8(COM1 + 4, 8);
	for (uint32_t i = 1; i <= 1000; i++) {
		out8(COM1 + 1, 2);
		if (!wait_interrupts(0, i))
			return BAD;
		(void)in8(COM1 + 2);
		out8(COM1 + 1, 0);
	}
	return GOOD;
}

/* Wait for the power button: interrupt on pin 20, event in the register, cleared by reading. */
static uint8_t button(void)
{
	apic_enable();
	route_pin(20, 1, false);
	print("ready\n");
	if (!wait_interrupts(1, 1))
		return BAD;
	if (read32(POWER) != 1 || read32(POWER) != 0)
		return BAD;
	return GOOD;
}

/* Start processor 1 and see that it runs. */
static uint8_t second_cpu(void)
{
	volatile uint8_t *page = (volatile uint8_t *)0x8000;
	uint64_t until = tsc() + 20000000000;

	for (size_t i = 0; i < (size_t)(ap_end - ap_code); i++)
		page[i] = ap_code[i];
	apic_enable();
	write32(LAPIC + 0x310, 1u << 24);
	write32(LAPIC + 0x300, 0x4500); /* INIT */
	write32(LAPIC + 0x310, 1u << 24);
	write32(LAPIC + 0x300, 0x4608); /* start at 0x8000 */
	while (page[ap_flag - ap_code] != 0x5a) {
		if (tsc() > until)
			return BAD;
	}
	return GOOD;
}

/* ---- the entropy device: configuration space, BAR, MSI-X, ioeventfd and message in one ---- */

#define QUEUE    0x1000000ul  /* descriptors, rings and buffer: 16 MiB, above the program */
#define BAR      0xd0000000ul /* moved there: in the window below 4 GiB, and mapped here */
#define REQUESTS 100

static uint64_t config(unsigned device, unsigned offset)
{
	return ECAM + (device << 15) + offset;
}

static unsigned find_rng(void)
{
	for (unsigned device = 0; device < 32; device++) {
		if (read32(config(device, 0)) == 0x10441af4)
			return device;
	}
	return 0;
}

/* The capability of virtio with configuration type @type: its offset in BAR 0 and multiplier. */
static uint32_t virtio_part(unsigned device, uint8_t type, uint32_t *multiplier)
{
	uint8_t at = (uint8_t)read32(config(device, 0x34));

	while (at != 0) {
		uint32_t head = read32(config(device, at));

		if ((head & 0xff) == 9 && head >> 24 == type) {
			if (multiplier != NULL)
				*multiplier = read32(config(device, at + 16u));
			return read32(config(device, at + 8u));
		}
		at = (uint8_t)(head >> 8);
	}
	return UINT32_MAX;
}

static unsigned find_capability(unsigned device, uint8_t id)
{
	uint8_t at = (uint8_t)read32(config(device, 0x34));

	while (at != 0 && (read32(config(device, at)) & 0xff) != id)
		at = (uint8_t)(read32(config(device, at)) >> 8);
	return at;
}

static uint8_t rng(void)
{
	unsigned device = find_rng();
	uint32_t multiplier = 0;
	uint64_t common, notify;
	unsigned msix;
	uint32_t table;

	if (device == 0)
		return BAD;
	apic_enable();
	/* BAR 0 into the GiB that this guest maps; then decode and DMA on. */
	write32(config(device, 0x10), (uint32_t)BAR);
	write32(config(device, 0x14), 0);
	write16(config(device, 4), 6);
	common = BAR + virtio_part(device, 1, NULL);
	notify = BAR + virtio_part(device, 2, &multiplier);
	msix = find_capability(device, 0x11);
	if (msix == 0)
		return BAD;
	table = read32(config(device, msix + 4)) & ~7u;
	write32(BAR + table, (uint32_t)LAPIC);
	write32(BAR + table + 4, 0);
	write32(BAR + table + 8, VECTOR(2));
	write32(BAR + table + 12, 0);
	write16(config(device, msix + 2), 0x8000);

	write8(common + 20, 0);
	write8(common + 20, 1 | 2);
	write32(common + 8, 1);
	write32(common + 12, 1); /* VIRTIO_F_VERSION_1 */
	write32(common + 8, 0);
	write32(common + 12, 0);
	write8(common + 20, 1 | 2 | 8);
	write16(common + 22, 0); /* queue 0 */
	write16(common + 24, 8);
	write16(common + 26, 0); /* its vector */
	write32(common + 32, (uint32_t)QUEUE);
	write32(common + 36, 0);
	write32(common + 40, (uint32_t)QUEUE + 0x1000);
	write32(common + 44, 0);
	write32(common + 48, (uint32_t)QUEUE + 0x2000);
	write32(common + 52, 0);
	write16(common + 28, 1);
	write8(common + 20, 1 | 2 | 8 | 4);

	volatile uint64_t *buffer = (volatile uint64_t *)(QUEUE + 0x3000);

	write32(QUEUE, (uint32_t)(uintptr_t)buffer);
	write32(QUEUE + 4, 0);
	write32(QUEUE + 8, 64);
	write16(QUEUE + 12, 2); /* the device writes */
	for (uint16_t i = 1; i <= REQUESTS; i++) {
		for (unsigned j = 0; j < 8; j++)
			buffer[j] = 0;
		write16(QUEUE + 0x1000 + 4 + 2 * ((i - 1) % 8), 0);
		write16(QUEUE + 0x1002, i);
		write16(notify, 0);
		if (!wait_interrupts(2, i))
			return BAD;
		if (*(volatile uint16_t *)(QUEUE + 0x2002) != i || (buffer[0] | buffer[7]) == 0)
			return BAD;
	}
	return GOOD;
}

/* Each boot finds the count of the one before in memory: a reset in place keeps RAM. */
static uint8_t reboot(void)
{
	volatile uint32_t *count = (volatile uint32_t *)QUEUE;

	print("boot ");
	print_number(++*count);
	print("\n");
	if (*count == 5)
		return GOOD;
	if (*count % 2 != 0)
		write8(POWER + 10, 0x42);
	else
		out8(0x64, 0xfe);
	stop();
}

static _Noreturn void sleep_forever(void)
{
	print("ready\n");
	stop();
}

uint8_t guest_main(char *command)
{
	if (word(&command, "exit"))
		return number(command);
	if (word(&command, "print")) {
		print(command);
		print("\n");
		return GOOD;
	}
	if (word(&command, "triple-fault"))
		triple_fault();
	if (word(&command, "power-off"))
		write8(POWER + 8, 1u << 5 | 5u << 2);
	if (word(&command, "reset-register"))
		write8(POWER + 10, 0x42);
	if (word(&command, "reset-keyboard"))
		out8(0x64, 0xfe);
	if (word(&command, "panic"))
		out8(0x505, 1);
	if (word(&command, "nonsense")) {
		/* Accesses that mean nothing must not end anything. */
		write32(POWER + 8, 0xffffffff);
		write8(POWER + 8, 0x20);
		write8(POWER + 10, 0);
		write32(0xfd000000, 1);
		out8(0x64, 0);
		out8(0x80, 0);
		return read32(0xfd000000) == UINT32_MAX && in8(0x500) == 0xff ? GOOD : BAD;
	}
	if (word(&command, "echo"))
		return echo();
	if (word(&command, "irqfd"))
		return irqfd();
	if (word(&command, "button"))
		return button();
	if (word(&command, "second-cpu"))
		return second_cpu();
	if (word(&command, "rng"))
		return rng();
	if (word(&command, "reference-wait")) {
		if (!reference())
			return BAD;
		sleep_forever();
	}
	if (word(&command, "rings-wait")) {
		if (!reference_rings())
			return BAD;
		sleep_forever();
	}
	if (word(&command, "rings-again")) {
		if (!reference_rings_again())
			return BAD;
		sleep_forever();
	}
	if (word(&command, "reference-removed"))
		return reference_removed() ? GOOD : BAD;
	if (word(&command, "reference"))
		return reference() ? GOOD : BAD;
	if (word(&command, "reboot"))
		return reboot();
	if (word(&command, "sleep"))
		sleep_forever();
	if (word(&command, "spin"))
		for (;;)
			;
	return BAD;
}
