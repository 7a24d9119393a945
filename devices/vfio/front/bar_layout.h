/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plan: which parts of a device's BARs the guest reaches directly (a memory slot over the device's
 * mapping) and which are trapped. A pure function; nothing in its input is trusted.
 *
 * A part is mapped only when the device allows it (VFIO_REGION_INFO_FLAG_MMAP, the sparse areas),
 * in whole host pages, and never where the MSI-X table or its pending bits lie: the kernel may
 * allow that (VFIO_REGION_INFO_CAP_MSIX_MAPPABLE), but the guest must not reach the real table.
 */
#ifndef SLUICE_VFIO_FRONT_BAR_LAYOUT_H
#define SLUICE_VFIO_FRONT_BAR_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/pci/function.h"

#define BAR_AREA_MAX   16                 /* mapped areas of one BAR; what is beyond is trapped */
#define BAR_HOLE_MAX   (BAR_AREA_MAX + 1) /* trapped parts between and around them */
#define BAR_SPARSE_MAX 64                 /* sparse areas of one region that are looked at */

struct bar_area {
	uint64_t offset; /* in the BAR */
	uint64_t size;
};

/* One region of the device, as VFIO_DEVICE_GET_REGION_INFO has it. */
struct bar_region {
	uint64_t size;   /* 0: not there */
	uint64_t offset; /* for vfio_device_read, _write and _mmap */
	bool readable, writable, mappable;
	bool sparse; /* only these areas are mappable */
	unsigned sparse_count;
	struct bar_area sparse_areas[BAR_SPARSE_MAX];
};

struct bar_layout_input {
	struct bar_region regions[PCI_BAR_COUNT];
	uint32_t registers
		[PCI_BAR_COUNT]; /* BAR registers as the device shows them: the type bits */
	uint64_t rom_size;       /* 0: no expansion ROM is shown */
	uint64_t page_size;      /* of the host */
	/*
	 * 64-bit BARs of this size and more are shown as prefetchable (0: as they are). Only
	 * prefetchable BARs fit above 4 GiB below a PCIe port, and no virtual bridge ever prefetches
	 * (PCI Express 6.0 section 7.5.1.2.1, implementation note on the prefetchable bit).
	 */
	uint64_t prefetchable_from;
	/* 0 vectors: no MSI-X */
	unsigned msix_vectors;
	unsigned table_bar, pba_bar;
	uint64_t table_offset, pba_offset;
};

struct bar_layout {
	enum pci_bar_kind kind;
	bool prefetchable;
	uint64_t size; /* what the guest's BAR decodes: a power of two */
	uint64_t
		align; /* of the host address of its byte 0, so that huge pages can back the slots */
	/*
	 * The one area is a host page, the BAR smaller: the kernel reserved the rest of the page for
	 * it. It can be mapped only at page-aligned guest addresses where nothing else shares the
	 * page; the BAR is in holes as well.
	 */
	bool sub_page;
	unsigned area_count, hole_count;
	struct bar_area areas[BAR_AREA_MAX]; /* sorted, page-aligned, apart from each other */
	struct bar_area holes[BAR_HOLE_MAX]; /* sorted; with the areas they cover [0, size) */
};

/*
 * Lay out BARs 0..5 and the ROM (PCI_BAR_ROM) into @out.
 * -EINVAL: the device contradicts itself; *@bar names the BAR, *@why the reason (static).
 */
int bar_layout_make(const struct bar_layout_input *in, struct bar_layout out[PCI_BAR_COUNT + 1],
		    unsigned *bar, const char **why);

#endif
