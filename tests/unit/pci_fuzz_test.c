/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A root port and its card under a guest and a host that do anything at any time. The card checks
 * every call it gets (tests/unit/pci_machine.h); the port's registers are checked after each step.
 */
#include "tests/unit/pci_machine.h"

#define PORT_DEVICE 3

static struct pci_root_port *port;
static unsigned express, msi;
static unsigned dones;

static uint32_t port_get(unsigned offset, unsigned size)
{
	return config_get(0, PORT_DEVICE, 0, offset, size);
}

static void port_set(unsigned offset, uint32_t value, unsigned size)
{
	config_set(0, PORT_DEVICE, 0, offset, value, size);
}

static bool link_active(void)
{
	return port_get(express + PCI_EXP_LNKSTA, 2) & PCI_EXP_LNKSTA_DLLLA;
}

static bool present(void)
{
	return port_get(express + PCI_EXP_SLTSTA, 2) & PCI_EXP_SLTSTA_PDS;
}

static uint64_t seed;

static uint32_t roll(uint32_t range)
{
	seed = seed * 6364136223846793005 + 1442695040888963407;
	return (uint32_t)((seed >> 33) % range);
}

static unsigned plugged, accepted;

static void fuzz_done(void *ctx)
{
	(void)ctx;
	dones++;
}

Test(pci_fuzz, random_writes_and_host_actions_break_no_rule)
{
	static uint8_t fixed[4096];
	struct card *in = NULL, *next; /* the last one plugged in: there while the slot has one */
	unsigned moved = 0, ups = 0;

	machine_start();
	cr_assert_eq(pci_root_port_create(bridge, PORT_DEVICE, &port), 0);
	seed = 7;
	plugged = accepted = dones = 0;
	cr_assert_eq(pci_host_bridge_assign(bridge), 0);
	for (unsigned i = 0; i < 4096; i++)
		fixed[i] = (uint8_t)port_get(i, 1);
	express = pci_capability_offset(fixed, 4096, PCI_CAP_ID_EXP);
	msi = pci_capability_offset(fixed, 4096, PCI_CAP_ID_MSI);

	for (unsigned round = 0; round < 100000; round++) {
		unsigned size = 1u << roll(3), offset, what = roll(100), answering;
		uint32_t value = roll(4) ? 0 : roll(UINT32_MAX);
		uint8_t bus;

		value |= roll(2) ? 1u << roll(32) : 0;
		switch (what) {
		case 0: /* plug */
			next = calloc(1, sizeof(*next));
			card_init(next, "fuzz");
			next->heap = true;
			if (pci_root_port_plug(port, &next->fn, 0)) {
				free(next);
			} else {
				in = next;
				plugged++;
			}
			break;
		case 1:
			accepted += !pci_root_port_unplug(port, roll(2), fuzz_done, NULL);
			break;
		case 2:
			run_loop();
			break;
		case 3:
			if (!roll(40))
				cr_assert_eq(pci_host_bridge_reset(bridge), 0);
			break;
		default:
			/* Mostly the port, and there mostly what matters. */
			offset = roll(8) < 5 ? express + PCI_EXP_LNKCTL + roll(16)
				 : roll(3)   ? roll(0x80)
					     : roll(4096);
			offset &= ~(size - 1);
			bus = (uint8_t)port_get(PCI_SECONDARY_BUS, 1);
			if (what < 30) { /* the card; often something that makes it decode */
				offset = roll(2) ? PCI_COMMAND : 0x10 + roll(2) * 4;
				value = offset == PCI_COMMAND ? roll(8)
					: offset == 0x10      ? roll(16) << 14
							      : 0x10 + roll(17);
				config_set(bus, 0, 0, offset, value, 4);
			} else if (what < 33) {
				port_set(PCI_SECONDARY_BUS, 1 + roll(3), 1);
			} else {
				port_set(offset, value, size);
			}
		}

		/* What is fixed stays fixed. */
		if (round % 64 == 0)
			for (unsigned i = 0; i < 256; i += 4) {
				if ((i >= 0x04 && i < 0x40) ||
				    (i >= express + 4 && i < express + 0x3c) ||
				    (i >= msi && i < msi + 16))
					continue;
				cr_assert_eq(port_get(i, 4), pci_get(fixed, i, 4), "%#x", i);
			}
		cr_assert_eq(port_get(0, 4), 0x000c1b36);
		cr_assert_eq(port_get(express + PCI_EXP_SLTCAP, 4),
			     pci_get(fixed, express + PCI_EXP_SLTCAP, 4));

		/* The card answers exactly when the link is active, and the link only with a card. */
		bus = (uint8_t)port_get(PCI_SECONDARY_BUS, 1);
		answering = bus && config_get(bus, 0, 0, 0, 4) != 0xffffffff;
		if (bus)
			cr_assert_eq(answering, link_active());
		cr_assert(!link_active() || present());
		cr_assert(!link_active() ||
			  !(port_get(express + PCI_EXP_LNKCTL, 2) & PCI_EXP_LNKCTL_LD));
		cr_assert(!link_active() ||
			  !(port_get(PCI_BRIDGE_CONTROL, 2) & PCI_BRIDGE_CTL_BUS_RESET));
		ups += link_active();
		if (present() && in && !link_active() &&
		    !(port_get(PCI_BRIDGE_CONTROL, 2) & PCI_BRIDGE_CTL_BUS_RESET))
			cr_assert_eq(in->mapped[0], PCI_BAR_NONE, "mapped behind a dead link");
		if (present() && in && in->mapped[0] != PCI_BAR_NONE)
			moved++;
		cr_assert_leq(dones, accepted);
	}
	run_loop();
	cr_expect_gt(plugged, 100, "%u", plugged);
	cr_expect_gt(dones, 100, "%u", dones);
	cr_expect_gt(moved, 100, "%u", moved);
	cr_expect_gt(ups, 1000, "%u", ups);
	machine_stop();
	cr_expect_eq(cards_destroyed, plugged);
}
