// SPDX-License-Identifier: Apache-2.0
/*
 * A driver of the reference device (docs/reference-device.md) without a kernel under it: below a root
 * port, BARs placed, MSI-X, DMA both ways, scatter lists, checksums, errors and a function level reset.
 */
#include "guest.h"

#include "devices/vfio/reference/registers.h"

#define SOURCE     0x1000000ul /* RAM, above the program */
#define TARGET     0x1200000ul
#define LIST       0x1400000ul
#define LENGTH     0x100000u
#define WINDOW     0xd0000000ul /* in the window below 4 GiB, and mapped here */
#define BAR0       WINDOW
#define BAR1       (WINDOW + 0x20000)
#define BAR2       (WINDOW + 0x200000)
#define NOTHING    0x80000000ul /* neither memory nor anything else */
#define INTERRUPTS 1000
#define RINGS      10000

struct device {
	uint64_t port, config; /* configuration spaces */
	uint32_t completed;    /* requests since the reset */
	uint32_t arrived;      /* interrupts */
};

/* Where it went wrong, for who reads the output. */
static bool check(bool good, const char *what)
{
	if (!good) {
		print("not good: ");
		print(what);
		print("\n");
	}
	return good;
}

static uint64_t find_port(uint64_t *config)
{
	for (unsigned slot = 0; slot < 32; slot++) {
		uint64_t port = ECAM + (slot << 15);
		uint32_t bus;

		if (read32(port) == UINT32_MAX || read32(port + 8) >> 16 != 0x0604)
			continue;
		bus = read32(port + 0x18) >> 8 & 0xff;
		*config = ECAM + ((uint64_t)bus << 20);
		if (bus != 0 &&
		    read32(*config) == (REFERENCE_DEVICE_ID << 16 | REFERENCE_VENDOR_ID))
			return port;
	}
	return 0;
}

/* Entry 5 comes as interrupt 2, entry 6 as interrupt 3. */
static void place(struct device *d)
{
	const uint64_t table = BAR1 + REFERENCE_MSIX_TABLE_OFFSET;

	write32(d->config + 0x10, (uint32_t)BAR0);
	write32(d->config + 0x14, (uint32_t)BAR1);
	write32(d->config + 0x18, (uint32_t)BAR2);
	write32(d->config + 0x1c, 0);
	write16(d->config + 4, 6);
	for (unsigned i = 5; i <= 6; i++) {
		write32(table + 16 * i, (uint32_t)LAPIC);
		write32(table + 16 * i + 4, 0);
		write32(table + 16 * i + 8, VECTOR(i - 3));
		write32(table + 16 * i + 12, 0);
	}
	write16(d->config + REFERENCE_CAP_MSIX + 2, 0x8000);
}

static bool probe(struct device *d)
{
	d->port = find_port(&d->config);
	if (!check(d->port != 0, "no device"))
		return false;
	/* All BARs in the port's window for memory that is not prefetchable. */
	write32(d->port + 0x20, (uint32_t)((WINDOW + 0x3fffff) & 0xfff00000) | WINDOW >> 16);
	write32(d->port + 0x24, 0x0001fff1);
	write16(d->port + 4, 6);
	place(d);
	return check(read32(BAR0 + REFERENCE_ID) == REFERENCE_ID_VALUE, "identity") &&
	       check(read32(BAR0 + REFERENCE_VERSION) >> 16 == 1, "version") &&
	       check(read32(BAR0 + REFERENCE_VECTORS) == 64, "vectors") &&
	       check(read32(BAR0 + REFERENCE_MEMORY_SIZE) == 0x100000, "memory");
}

static void write64(uint64_t address, uint64_t value)
{
	*(volatile uint64_t *)address = value;
}

/* With a message of entry 5. Returns the error. */
static uint32_t request(struct device *d, uint32_t command, uint64_t from, uint64_t to,
			uint32_t length)
{
	write64(BAR0 + REFERENCE_SOURCE, from);
	write64(BAR0 + REFERENCE_DESTINATION, to);
	write32(BAR0 + REFERENCE_LENGTH, length);
	write32(BAR0 + REFERENCE_VECTOR, 5);
	write32(BAR0 + REFERENCE_COMMAND, command | REFERENCE_COMMAND_INTERRUPT);
	write32(BAR0 + REFERENCE_DOORBELL, ++d->completed);
	if (!check(wait_interrupts(2, ++d->arrived), "interrupt"))
		return UINT32_MAX;
	if (!check(read32(BAR0 + REFERENCE_TAG) == d->completed, "tag") ||
	    !check(read32(BAR0 + REFERENCE_COMPLETED) == d->completed, "count"))
		return UINT32_MAX;
	return read32(BAR0 + REFERENCE_ERROR);
}

static uint32_t crc32c(uint64_t address, uint32_t length)
{
	uint32_t crc = ~0u;

	for (uint32_t i = 0; i < length; i++) {
		crc ^= *(volatile uint8_t *)(address + i);
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

static bool equal(uint64_t a, uint64_t b, uint32_t length)
{
	for (uint32_t i = 0; i < length; i += 4) {
		if (read32(a + i) != read32(b + i))
			return false;
	}
	return true;
}

static bool copies(struct device *d)
{
	uint32_t sum;

	for (uint32_t i = 0; i < LENGTH; i += 4)
		write32(SOURCE + i, i * 2654435761u);
	sum = crc32c(SOURCE, LENGTH);
	return check(!request(d, REFERENCE_OPCODE_COPY | REFERENCE_COMMAND_CRC, SOURCE, TARGET,
			      LENGTH),
		     "copy") &&
	       check(equal(SOURCE, TARGET, LENGTH), "what was copied") &&
	       check(read32(BAR0 + REFERENCE_RESULT) == sum, "its sum");
}

/* Device memory by DMA and by the processor, through the mapped BAR. */
static bool device_memory(struct device *d)
{
	if (!check(!request(d, REFERENCE_OPCODE_COPY | REFERENCE_COMMAND_DESTINATION_MEMORY, SOURCE,
			    0, LENGTH),
		   "into device memory") ||
	    !check(equal(BAR2, SOURCE, LENGTH), "the BAR"))
		return false;
	for (uint32_t i = 0; i < 4096; i += 4)
		write32(BAR2 + 0x5000 + i, ~i);
	return check(!request(d, REFERENCE_OPCODE_COPY | REFERENCE_COMMAND_SOURCE_MEMORY, 0x5000,
			      TARGET, 4096),
		     "out of device memory") &&
	       check(equal(BAR2 + 0x5000, TARGET, 4096), "what came out");
}

static bool lists(struct device *d)
{
	/* 256 pages, backwards. */
	for (uint32_t i = 0; i < 256; i++) {
		write64(LIST + 16 * i, TARGET + 4096 * (255 - i));
		write32(LIST + 16 * i + 8, 4096);
		write32(LIST + 16 * i + 12, 0);
	}
	write32(BAR0 + REFERENCE_DESTINATION_ENTRIES, 256);
	if (!check(!request(d, REFERENCE_OPCODE_COPY | REFERENCE_COMMAND_DESTINATION_LIST, SOURCE,
			    LIST, LENGTH),
		   "list"))
		return false;
	for (uint32_t i = 0; i < 256; i++) {
		if (!check(equal(SOURCE + 4096 * i, TARGET + 4096 * (255 - i), 4096), "a page"))
			return false;
	}
	return true;
}

static bool errors(struct device *d)
{
	return check(request(d, REFERENCE_OPCODE_COPY, NOTHING, TARGET, 64) == REFERENCE_ERROR_READ,
		     "read of nothing") &&
	       check(read32(BAR0 + REFERENCE_ERROR_ADDRESS) == NOTHING, "where") &&
	       check(request(d, REFERENCE_OPCODE_FILL, 0, NOTHING, 64) == REFERENCE_ERROR_WRITE,
		     "write of nothing") &&
	       check(request(d, 0x55, 0, 0, 1) == REFERENCE_ERROR_COMMAND, "command") &&
	       check(!request(d, REFERENCE_OPCODE_NOP, 0, 0, 0), "one that works");
}

static bool many_interrupts(struct device *d)
{
	for (unsigned i = 0; i < INTERRUPTS; i++) {
		if (request(d, REFERENCE_OPCODE_NOP, 0, 0, 0))
			return check(false, "a thousand interrupts");
	}
	return true;
}

static bool reset(struct device *d)
{
	const uint64_t devctl = d->config + REFERENCE_CAP_EXP + 8;

	write16(devctl, (uint16_t)(read32(devctl) | 0x8000));
	if (!check((read32(d->config + 4) & 7) == 0, "the command after a reset"))
		return false;
	place(d);
	d->completed = 0;
	return check(read32(BAR0 + REFERENCE_COMPLETED) == 0, "the count after a reset") &&
	       check(read32(BAR2 + 0x5000) == 0, "memory after a reset") && copies(d);
}

/* The capabilities that need an IOMMU for the guest are not shown. */
static bool capabilities(const struct device *d)
{
	uint32_t at = 0x100;

	while (at >= 0x100) {
		const uint32_t head = read32(d->config + at);

		if (!check((head & 0xffff) != 0x1b && (head & 0xffff) != 0x0f &&
				   (head & 0xffff) != 0x13,
			   "PASID, ATS and PRI are hidden"))
			return false;
		at = head >> 20;
	}
	return true;
}

/* With remove-after=1: the doorbell takes the device away, and every register is ones from then on. */
bool reference_removed(void)
{
	struct device d = {0};
	const uint64_t until = tsc() + 20000000000;

	if (!probe(&d))
		return false;
	write32(BAR0 + REFERENCE_DOORBELL, 1);
	while (read32(BAR0 + REFERENCE_ID) != UINT32_MAX || read32(d.config) != UINT32_MAX) {
		if (tsc() > until)
			return check(false, "it is there still");
	}
	return true;
}

/* Doorbells that the device saw. A read comes after all writes before it, signalled or not. */
static uint64_t rung(void)
{
	while (read32(BAR0 + REFERENCE_STATUS) & REFERENCE_STATUS_BUSY)
		;
	return (uint64_t)read32(BAR0 + REFERENCE_COMPLETED) + read32(BAR0 + REFERENCE_REJECTED);
}

static bool rings(void)
{
	const uint64_t before = rung();

	write32(BAR0 + REFERENCE_COMMAND, REFERENCE_OPCODE_NOP);
	for (uint32_t i = 0; i < RINGS; i++)
		write32(BAR0 + REFERENCE_RING, i);
	return check(rung() - before == RINGS, "each ring is counted");
}

static void flr(struct device *d)
{
	const uint64_t devctl = d->config + REFERENCE_CAP_EXP + 8;

	write16(devctl, (uint16_t)(read32(devctl) | 0x8000));
	place(d);
}

/* At once, after a reset, and where the BAR has moved to and come back from. */
bool reference_rings(void)
{
	struct device d = {0};

	if (!probe(&d) || !rings())
		return false;
	flr(&d);
	if (!check(rung() == 0, "a reset") || !rings())
		return false;
	write32(d.config + 0x10, (uint32_t)BAR0 + 0x100000);
	write32(BAR0 + REFERENCE_RING, 0); /* nobody's */
	write32(d.config + 0x10, (uint32_t)BAR0);
	write16(d.config + 4, 4);
	write32(BAR0 + REFERENCE_RING, 0);
	write16(d.config + 4, 6);
	return check(rung() == RINGS, "nothing where the BAR is not") && rings();
}

bool reference_rings_again(void)
{
	const uint64_t until = tsc() + 100000000000;
	struct device d = {0};

	if (!probe(&d) || !rings())
		return false;
	print("ready\n");
	while (read32(BAR0 + REFERENCE_ID) == REFERENCE_ID_VALUE) {
		if (tsc() > until)
			return check(false, "the server goes away");
	}
	do {
		if (tsc() > until)
			return check(false, "another server comes");
		flr(&d);
	} while (read32(BAR0 + REFERENCE_ID) != REFERENCE_ID_VALUE);
	if (!rings())
		return false;
	print("again\n");
	return true;
}

bool reference(void)
{
	struct device d = {0};

	apic_enable();
	return probe(&d) && capabilities(&d) && copies(&d) && device_memory(&d) && lists(&d) &&
	       errors(&d) && many_interrupts(&d) && reset(&d);
}
