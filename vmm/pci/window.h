/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plan: where bridge windows and BARs go. Pure functions over plain data.
 */
#ifndef SLUICE_PCI_WINDOW_H
#define SLUICE_PCI_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pci_range {
	uint64_t base;
	uint64_t size; /* 0: none */
};

/* What the host bridge decodes; the same ranges go into the tables for the guest (_CRS or FDT). */
struct pci_windows {
	struct pci_range io;    /* port addresses; size 0 on machines without */
	struct pci_range mem32; /* below 4 GiB, never prefetchable-only */
	struct pci_range mem64; /* above RAM */
};

/* One BAR (or ROM) to place. */
struct pci_bar_request {
	unsigned bridge; /* index of the port it is below; PCI_ON_ROOT_BUS for the root bus */
	bool io;
	bool mem64;        /* may live above 4 GiB */
	bool prefetchable; /* below a port only prefetchable BARs can use the 64-bit window */
	uint64_t size;     /* power of two */
	uint64_t address;  /* out */
};
#define PCI_ON_ROOT_BUS UINT32_MAX

/* The windows of one port (type 1 header granularity: I/O 4 KiB, memory 1 MiB). */
struct pci_bridge_windows {
	struct pci_range io, mem, prefetch;
	/* in: room to keep for devices plugged in later; 0 = only what is needed */
	uint64_t spare_io, spare_mem, spare_prefetch;
};

/*
 * Place every request and every bridge's windows inside @windows. BARs are naturally aligned; a
 * memory BAR of 2 MiB or more is so aligned that huge pages fit, and so is its window. Deterministic:
 * the same input gives the same layout. Returns 0, or -ENOSPC with *@failed = index of the request.
 */
int pci_plan_windows(const struct pci_windows *windows, struct pci_bridge_windows *bridges,
		     size_t bridge_count, struct pci_bar_request *requests, size_t request_count,
		     size_t *failed);

#endif
