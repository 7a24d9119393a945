/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine for PCI tests: real buses, a host bridge, and stand-ins for interrupt router and event
 * loop that write down what they were told. Included once by a test program.
 */
#ifndef SLUICE_TESTS_PCI_MACHINE_H
#define SLUICE_TESTS_PCI_MACHINE_H

#include "tests/unit/support.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/pci_regs.h>

#include "vmm/base/bus.h"
#include "vmm/base/irq.h"
#include "vmm/base/loop.h"
#include "vmm/pci/capability.h"
#include "vmm/pci/function.h"
#include "vmm/pci/host_bridge.h"

#define ECAM UINT64_C(0xb0000000)

static struct bus *mmio, *pio;
static struct pci_host_bridge *bridge;

/* ---- stand-ins -------------------------------------------------------------------------------- */

static unsigned messages; /* MSIs sent */
static struct msi_message last_message;
static uint32_t last_devid;
static bool line[32];
static unsigned line_changes;

int irq_msi_send(struct irq_router *router, uint32_t devid, const struct msi_message *message)
{
	(void)router;
	messages++;
	last_message = *message;
	last_devid = devid;
	return 0;
}

int irq_line_set(struct irq_router *router, uint32_t gsi, bool level)
{
	(void)router;
	cr_assert_lt(gsi, 32);
	cr_assert_neq(line[gsi], level, "line %u set to what it is", gsi);
	line[gsi] = level;
	line_changes++;
	return 0;
}

static struct {
	loop_fn fn;
	void *ctx;
} posted[64];
static unsigned posted_count;
static int post_error;

int loop_post(struct loop *loop, loop_fn fn, void *ctx)
{
	(void)loop;
	if (post_error)
		return post_error;
	cr_assert_lt(posted_count, 64);
	posted[posted_count].fn = fn;
	posted[posted_count++].ctx = ctx;
	return 0;
}

static inline void run_loop(void)
{
	for (unsigned i = 0; i < posted_count; i++)
		posted[i].fn(posted[i].ctx);
	posted_count = 0;
}

/* ---- a function that checks how it is treated ------------------------------------------------- */

struct card {
	struct pci_function fn;
	uint64_t mapped[PCI_BAR_COUNT + 1];
	unsigned resets;
	bool destroyed;
	bool heap; /* free it when it is destroyed */
};

static unsigned cards_destroyed;

static int card_map(struct pci_function *fn, unsigned bar, uint64_t address)
{
	struct card *card = (struct card *)fn;

	cr_assert(!card->destroyed);
	cr_assert_eq(card->mapped[bar], PCI_BAR_NONE, "BAR mapped twice");
	cr_assert_not_null(fn->windows, "mapped while unreachable");
	card->mapped[bar] = address;
	return 0;
}

static void card_unmap(struct pci_function *fn, unsigned bar, uint64_t address)
{
	struct card *card = (struct card *)fn;

	cr_assert(!card->destroyed);
	cr_assert_eq(card->mapped[bar], address, "BAR unmapped that is not mapped there");
	card->mapped[bar] = PCI_BAR_NONE;
}

static void card_reset(struct pci_function *fn)
{
	struct card *card = (struct card *)fn;

	cr_assert(!card->destroyed);
	card->resets++;
}

static void card_destroy(struct pci_function *fn)
{
	struct card *card = (struct card *)fn;

	cr_assert(!card->destroyed, "destroyed twice");
	for (unsigned i = 0; i <= PCI_BAR_ROM; i++)
		cr_assert_eq(card->mapped[i], PCI_BAR_NONE, "destroyed while mapped");
	card->destroyed = true;
	cards_destroyed++;
	if (card->heap)
		free(card);
}

static const struct pci_function_ops card_ops = {
	.bar_map = card_map,
	.bar_unmap = card_unmap,
	.reset = card_reset,
	.destroy = card_destroy,
};

/* An NVMe-like function: 64-bit BAR of 16 KiB, INTA. */
static void card_init(struct card *card, const char *id)
{
	memset(card, 0, sizeof(*card));
	pci_function_init(&card->fn, &card_ops, id, 0x1b36, 0x0010, 0x010802, 2);
	cr_assert_eq(pci_function_add_bar(&card->fn, 0, PCI_BAR_MEM64, false, 16384), 0);
	card->fn.config[PCI_INTERRUPT_PIN] = 1;
	for (unsigned i = 0; i <= PCI_BAR_ROM; i++)
		card->mapped[i] = PCI_BAR_NONE;
}

/* ---- the machine ------------------------------------------------------------------------------ */

static const struct pci_windows machine_windows = {
	.io = {0x1000, 0xf000},
	.mem32 = {0xc0000000, 0x20000000},
	.mem64 = {UINT64_C(0x1000000000), UINT64_C(0x1000000000)},
};

static void machine_start(void)
{
	struct pci_host_bridge_config config = {
		.ecam_base = ECAM,
		.bus_count = 256,
		.windows = machine_windows,
		.intx_gsi = {16, 17, 18, 19},
	};

	messages = line_changes = posted_count = cards_destroyed = 0;
	post_error = 0;
	memset(line, 0, sizeof(line));
	cr_assert_eq(bus_create(&mmio), 0);
	cr_assert_eq(bus_create(&pio), 0);
	config.mmio = mmio;
	config.pio = pio;
	cr_assert_eq(pci_host_bridge_create(&config, &bridge), 0);
}

static void machine_stop(void)
{
	pci_host_bridge_destroy(bridge);
	bridge = NULL;
	bus_destroy(mmio);
	bus_destroy(pio);
	for (unsigned i = 0; i < 32; i++)
		cr_assert(!line[i], "line %u is left asserted", i);
}

static uint64_t ecam(unsigned bus, unsigned device, unsigned function, unsigned offset)
{
	return ECAM + ((uint64_t)bus << 20 | device << 15 | function << 12 | offset);
}

static inline uint32_t config_get(unsigned bus, unsigned device, unsigned function, unsigned offset,
				  unsigned size)
{
	uint8_t bytes[4] = {0};

	cr_assert_eq(bus_read(mmio, ecam(bus, device, function, offset), bytes, size), 0);
	return pci_get(bytes, 0, size);
}

static inline void config_set(unsigned bus, unsigned device, unsigned function, unsigned offset,
			      uint32_t value, unsigned size)
{
	uint8_t bytes[4];

	pci_set(bytes, 0, value, 4);
	cr_assert_eq(bus_write(mmio, ecam(bus, device, function, offset), bytes, size), 0);
}

#endif
