/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plan: where bridge windows and BARs go. Pure functions over plain data.
 *
 * What may live where follows the rules of PCI-to-PCI bridges and of Linux, which claims what it
 * finds only when it obeys them: below a port, prefetchable 64-bit BARs go through the prefetchable
 * window (above 4 GiB), all other memory BARs through the 32-bit window (below); on the root bus a
 * 64-bit BAR may be in either.
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

/*
 * What the host bridge decodes; the same ranges go into the tables for the guest (_CRS or FDT), the
 * 64-bit one as not prefetchable: Linux lets no other BAR into a prefetchable root window.
 */
struct pci_windows {
	struct pci_range io;    /* 16-bit port addresses; size 0 on machines without */
	struct pci_range mem32; /* below 4 GiB, never prefetchable-only */
	struct pci_range mem64; /* above RAM, above 4 GiB */
};

/* One BAR (or ROM) to place. */
struct pci_bar_request {
	unsigned bridge; /* index of the port it is below; PCI_ON_ROOT_BUS for the root bus */
	bool io;
	bool mem64;        /* may live above 4 GiB */
	bool prefetchable; /* below a port only prefetchable BARs can use the 64-bit window */
	uint64_t size;     /* power of two */
	uint64_t address;  /* out; never 0, which drivers take for unset */
};
#define PCI_ON_ROOT_BUS UINT32_MAX

/* The windows of one port (type 1 header granularity: I/O 4 KiB, memory 1 MiB). */
struct pci_bridge_windows {
	struct pci_range io, mem, prefetch; /* out */
	/*
	 * In: the least size of each window, room for devices plugged in later; 0 = only what is
	 * needed. Where not all of this fits, the largest are halved until it does.
	 */
	uint64_t spare_io, spare_mem, spare_prefetch;
};

/*
 * Each memory BAR has this much address space to itself: the largest host page there is, so that a
 * BAR smaller than a page can still be mapped into the guest without a neighbour on its page.
 */
#define PCI_BAR_SPACING 0x10000

/* Does the request belong into mem64, or the prefetchable window of its port there? */
bool pci_request_goes_high(const struct pci_windows *windows,
			   const struct pci_bar_request *request);

/*
 * Place every request and every bridge's windows inside @windows. BARs are naturally aligned, and a
 * window as its largest BAR, so that a BAR of 2 MiB or 1 GiB can be mapped by huge pages.
 * Deterministic: the same input gives the same layout.
 *
 * Returns 0, or with *@failed = index of the request: -ENOSPC no room for it, -EINVAL its size is no
 * power of two or there is no such bridge. -EINVAL with *@failed = SIZE_MAX: a range of @windows
 * wraps, io reaches above 64 KiB, mem32 reaches above 4 GiB, or mem64 below. Outputs are then not to be used.
 */
int pci_plan_windows(const struct pci_windows *windows, struct pci_bridge_windows *bridges,
		     size_t bridge_count, struct pci_bar_request *requests, size_t request_count,
		     size_t *failed);

#endif
