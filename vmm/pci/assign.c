/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What firmware would do: number the buses and give every bridge window and BAR its address, so that
 * the guest finds a finished machine and only has to claim it.
 */
#include <errno.h>
#include <stdlib.h>

#include <linux/pci_regs.h>

#include "vmm/base/log.h"
#include "vmm/pci/root_port.h"

/*
 * Room for hotplug: as much I/O and 32-bit memory as Linux would reserve for a hotplug bridge
 * (drivers/pci/setup-bus.c, rounded to what a bridge can decode); of the 64-bit window, which has
 * plenty, half is shared out among the ports.
 */
#define SPARE_IO  0x1000
#define SPARE_MEM 0x200000

#define MOST_FUNCTIONS (PCI_ROOT_DEVICES + PCI_ROOT_DEVICES * PCI_PORT_FUNCTIONS)
#define MOST_REQUESTS  (MOST_FUNCTIONS * (PCI_BAR_COUNT + 1))

/* Which BAR a request is of. */
struct origin {
	struct pci_function *fn;
	unsigned bar;
};

struct assignment {
	size_t port_count, request_count;
	struct pci_root_port *ports[PCI_ROOT_DEVICES];
	struct pci_bridge_windows bridges[PCI_ROOT_DEVICES];
	struct pci_bar_request requests[MOST_REQUESTS];
	struct origin origins[MOST_REQUESTS];
};

static void add_function(struct assignment *a, struct pci_function *fn, unsigned bridge)
{
	for (unsigned i = 0; i <= PCI_BAR_ROM; i++) {
		const struct pci_bar *bar = &fn->bars[i];

		if (bar->kind == PCI_BAR_ABSENT)
			continue;
		a->origins[a->request_count] = (struct origin){.fn = fn, .bar = i};
		a->requests[a->request_count++] = (struct pci_bar_request){
			.bridge = bridge,
			.io = bar->kind == PCI_BAR_IO,
			.mem64 = bar->kind == PCI_BAR_MEM64,
			.prefetchable = bar->prefetchable,
			.size = bar->size,
		};
	}
}

static void collect(struct assignment *a, const struct pci_host_bridge *bridge)
{
	for (unsigned i = 0; i < PCI_ROOT_DEVICES; i++) {
		struct pci_root_port *port = bridge->ports[i];

		if (bridge->root[i])
			add_function(a, bridge->root[i], PCI_ON_ROOT_BUS);
		if (!port)
			continue;
		for (unsigned j = 0; j < PCI_PORT_FUNCTIONS; j++)
			if (port->functions[j])
				add_function(a, port->functions[j], (unsigned)a->port_count);
		a->ports[a->port_count++] = port;
	}
	for (size_t i = 0; i < a->port_count; i++) {
		struct pci_bridge_windows *w = &a->bridges[i];

		*w = (struct pci_bridge_windows){
			.spare_io = bridge->config.windows.io.size ? SPARE_IO : 0,
			.spare_mem = SPARE_MEM,
			.spare_prefetch = bridge->config.windows.mem64.size / 2 / a->port_count,
		};
		/* A window is aligned as the largest BAR it may hold. */
		while (w->spare_prefetch & (w->spare_prefetch - 1))
			w->spare_prefetch &= w->spare_prefetch - 1;
	}
}

/* A size as people say it: all of them are powers of two, or nearly. */
static unsigned long long scaled(uint64_t size, const char **unit)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
	unsigned i = 0;

	for (; i < 5 && size >= 1024 && size % 1024 == 0; i++)
		size /= 1024;
	*unit = units[i];
	return size;
}

static void say_no_room(const struct assignment *a, const struct pci_windows *windows,
			size_t failed)
{
	const struct pci_bar_request *request = &a->requests[failed];
	const struct origin *origin = &a->origins[failed];
	const struct pci_range *range = &windows->mem32;
	const char *kind = "32-bit memory", *bar_unit, *range_unit;
	unsigned long long bar_size, range_size;

	if (request->io) {
		range = &windows->io;
		kind = "I/O";
	} else if (pci_request_goes_high(windows, request)) {
		range = &windows->mem64;
		kind = "64-bit memory";
	}
	bar_size = scaled(request->size, &bar_unit);
	range_size = scaled(range->size, &range_unit);
	log_error("pci %s: no room for BAR %u of %llu %s in the guest's %s window of %llu %s; "
		  "pass fewer devices to this guest",
		  origin->fn->id, origin->bar, bar_size, bar_unit, kind, range_size, range_unit);
}

static void apply(const struct assignment *a)
{
	for (size_t i = 0; i < a->port_count; i++) {
		pci_root_port_set_bus(a->ports[i], (uint8_t)(i + 1));
		pci_root_port_set_windows(a->ports[i], &a->bridges[i]);
		pci_root_port_settle(a->ports[i]);
	}
	for (size_t i = 0; i < a->request_count; i++)
		pci_function_set_bar(a->origins[i].fn, a->origins[i].bar, a->requests[i].address);
	for (size_t i = 0; i < a->request_count; i++)
		pci_function_update_bars(a->origins[i].fn);
}

int pci_host_bridge_assign(struct pci_host_bridge *bridge)
{
	const struct pci_windows *windows = &bridge->config.windows;
	/* Not cleared: it has room for all functions that there can be, 80 KiB, and few machines touch much of it. */
	struct assignment *a = malloc(sizeof(*a));
	size_t failed;
	int err;

	if (!a)
		return -ENOMEM;
	a->port_count = a->request_count = 0;
	pci_lock(bridge);
	collect(a, bridge);
	if (a->port_count >= bridge->config.bus_count) {
		log_error("pci: %zu root ports need a bus each, and the guest has %u buses; "
			  "give it fewer ports",
			  a->port_count, bridge->config.bus_count);
		err = -ENOSPC;
		goto unlock;
	}
	err = pci_plan_windows(windows, a->bridges, a->port_count, a->requests, a->request_count,
			       &failed);
	if (err && failed < a->request_count)
		say_no_room(a, windows, failed);
	else if (err)
		log_error("pci: the host bridge's windows are not sound");
	else
		apply(a);
unlock:
	pci_unlock(bridge);
	free(a);
	return err;
}
