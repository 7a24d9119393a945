/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "vmm/pci/window.h"

#define FOUR_GIB       (UINT64_C(1) << 32)
#define IO_GRANULE     0x1000   /* PCI-to-PCI Bridge 1.2 section 3.2.5.6 */
#define MEMORY_GRANULE 0x100000 /* section 3.2.5.8 */
#define UNPLACED       UINT64_MAX

/*
 * I/O, 32-bit and 64-bit memory are three independent plans over the same code. Each is made in two
 * steps: the requests below a bridge are packed into a window, then windows and the root bus's own
 * requests are packed into the host bridge's range.
 */
enum kind {
	KIND_IO,
	KIND_MEM32,
	KIND_MEM64,
};

struct plan {
	enum kind kind;
	const struct pci_windows *windows;
	struct pci_range range;
	struct pci_bridge_windows *bridges;
	size_t bridge_count;
	struct pci_bar_request *requests;
	size_t request_count;
	/* Spare room is at most @cap for the first @favoured bridges, half of it for the others. */
	uint64_t cap;
	size_t favoured;
};

bool pci_request_goes_high(const struct pci_windows *windows, const struct pci_bar_request *request)
{
	return windows->mem64.size && request->mem64 && !request->io &&
	       (request->prefetchable || request->bridge == PCI_ON_ROOT_BUS);
}

static enum kind kind_of(const struct pci_windows *windows, const struct pci_bar_request *request)
{
	if (request->io)
		return KIND_IO;
	return pci_request_goes_high(windows, request) ? KIND_MEM64 : KIND_MEM32;
}

static struct pci_range *window_of(const struct plan *plan, size_t bridge)
{
	struct pci_bridge_windows *b = &plan->bridges[bridge];

	switch (plan->kind) {
	case KIND_IO:
		return &b->io;
	case KIND_MEM32:
		return &b->mem;
	default:
		return &b->prefetch;
	}
}

static uint64_t granule(const struct plan *plan)
{
	return plan->kind == KIND_IO ? IO_GRANULE : MEMORY_GRANULE;
}

/* What bridge @bridge gets of the room it asked for, as far as this attempt goes. */
static uint64_t spare_of(const struct plan *plan, size_t bridge)
{
	const struct pci_bridge_windows *b = &plan->bridges[bridge];
	uint64_t spare = plan->kind == KIND_IO      ? b->spare_io
			 : plan->kind == KIND_MEM32 ? b->spare_mem
						    : b->spare_prefetch;
	uint64_t cap = bridge < plan->favoured ? plan->cap : plan->cap / 2;

	if (spare > cap)
		spare = cap;
	return spare < granule(plan) ? 0 : spare;
}
/* Round up to a power of two; false when the result has no place in 64 bits. */
static bool round_up(uint64_t value, uint64_t align, uint64_t *out)
{
	*out = (value + align - 1) & ~(align - 1);
	return *out >= value;
}

static uint64_t power_below(uint64_t value)
{
	while (value & (value - 1))
		value &= value - 1;
	return value;
}

static uint64_t footprint(const struct pci_bar_request *request)
{
	return !request->io && request->size < PCI_BAR_SPACING ? PCI_BAR_SPACING : request->size;
}

/* The largest request on @bridge without an address yet, the first of equals; SIZE_MAX for none. */
static size_t next_request(const struct plan *plan, uint32_t bridge)
{
	size_t best = SIZE_MAX;

	for (size_t i = 0; i < plan->request_count; i++) {
		const struct pci_bar_request *r = &plan->requests[i];

		if (r->bridge != bridge || r->address != UNPLACED ||
		    kind_of(plan->windows, r) != plan->kind)
			continue;
		if (best == SIZE_MAX || footprint(r) > footprint(&plan->requests[best]))
			best = i;
	}
	return best;
}

/*
 * Pack the requests below @bridge from offset 0 on, largest first: powers of two in that order leave
 * no gaps. Addresses are offsets until the window has its place. Size 0: no window is needed.
 */
static int pack(const struct plan *plan, size_t bridge, size_t *failed)
{
	struct pci_range *window = window_of(plan, bridge);
	uint64_t spare = spare_of(plan, bridge), size = 0;
	size_t i;

	while ((i = next_request(plan, (uint32_t)bridge)) != SIZE_MAX) {
		uint64_t length = footprint(&plan->requests[i]);

		*failed = i;
		if (size + length < size)
			return -ENOSPC;
		plan->requests[i].address = size;
		size += length;
	}
	if (!round_up(size < spare ? spare : size, granule(plan), &window->size))
		return -ENOSPC;
	window->base = UNPLACED;
	return 0;
}

static uint64_t window_align(const struct plan *plan, size_t bridge)
{
	uint64_t align = granule(plan), spare = power_below(spare_of(plan, bridge));

	if (align < spare)
		align = spare;
	for (size_t i = 0; i < plan->request_count; i++) {
		const struct pci_bar_request *r = &plan->requests[i];

		if (r->bridge == bridge && kind_of(plan->windows, r) == plan->kind &&
		    align < footprint(r))
			align = footprint(r);
	}
	return align;
}

/* When [@base, @base + @size) meets something placed, @base becomes the end of that. */
static bool collides(const struct plan *plan, uint64_t *base, uint64_t size)
{
	for (size_t i = 0; i < plan->bridge_count; i++) {
		const struct pci_range *w = window_of(plan, i);

		if (w->base != UNPLACED && w->size && *base < w->base + w->size &&
		    w->base < *base + size) {
			*base = w->base + w->size;
			return true;
		}
	}
	for (size_t i = 0; i < plan->request_count; i++) {
		const struct pci_bar_request *r = &plan->requests[i];
		uint64_t length = footprint(r);

		if (r->bridge != PCI_ON_ROOT_BUS || r->address == UNPLACED ||
		    kind_of(plan->windows, r) != plan->kind)
			continue;
		if (*base < r->address + length && r->address < *base + size) {
			*base = r->address + length;
			return true;
		}
	}
	return false;
}

/* The lowest aligned free place in the host bridge's range. */
static bool place(const struct plan *plan, uint64_t size, uint64_t align, uint64_t *out)
{
	const struct pci_range *range = &plan->range;
	uint64_t base = range->base ? range->base : 1;

	do {
		if (!round_up(base, align, &base) || base < range->base ||
		    base - range->base > range->size || size > range->size - (base - range->base))
			return false;
	} while (collides(plan, &base, size));
	*out = base;
	return true;
}

/* The window with the strictest alignment that has no place yet, the largest of these. */
static size_t next_window(const struct plan *plan, uint64_t *align)
{
	size_t best = SIZE_MAX;

	for (size_t i = 0; i < plan->bridge_count; i++) {
		const struct pci_range *w = window_of(plan, i);
		uint64_t a = window_align(plan, i);

		if (!w->size || w->base != UNPLACED)
			continue;
		if (best == SIZE_MAX || a > *align ||
		    (a == *align && w->size > window_of(plan, best)->size)) {
			best = i;
			*align = a;
		}
	}
	return best;
}

/* The window at @bridge got its place: offsets become addresses. */
static void settle(const struct plan *plan, size_t bridge, uint64_t base)
{
	window_of(plan, bridge)->base = base;
	for (size_t i = 0; i < plan->request_count; i++) {
		struct pci_bar_request *r = &plan->requests[i];

		if (r->bridge == bridge && kind_of(plan->windows, r) == plan->kind)
			r->address += base;
	}
}

/* Which request to name when the window of @bridge found no place: the largest, else any. */
static size_t culprit(const struct plan *plan, size_t bridge)
{
	size_t found = SIZE_MAX;

	for (size_t i = 0; i < plan->request_count; i++) {
		const struct pci_bar_request *r = &plan->requests[i];

		if (r->bridge == bridge && kind_of(plan->windows, r) == plan->kind &&
		    (found == SIZE_MAX || r->size > plan->requests[found].size))
			found = i;
	}
	return found;
}

/* One attempt. Windows and the root bus's own BARs go in together, strictest alignment first. */
static int attempt(const struct plan *plan, size_t *failed)
{
	for (size_t i = 0; i < plan->request_count; i++)
		if (kind_of(plan->windows, &plan->requests[i]) == plan->kind)
			plan->requests[i].address = UNPLACED;
	for (size_t i = 0; i < plan->bridge_count; i++) {
		int err = pack(plan, i, failed);

		if (err)
			return err;
	}

	for (;;) {
		uint64_t align = 0, base;
		size_t window = next_window(plan, &align);
		size_t bar = next_request(plan, PCI_ON_ROOT_BUS);

		if (window == SIZE_MAX && bar == SIZE_MAX)
			return 0;
		if (bar != SIZE_MAX &&
		    (window == SIZE_MAX || footprint(&plan->requests[bar]) > align)) {
			uint64_t length = footprint(&plan->requests[bar]);

			*failed = bar;
			if (!place(plan, length, length, &base))
				return -ENOSPC;
			plan->requests[bar].address = base;
		} else {
			*failed = culprit(plan, window);
			if (!place(plan, window_of(plan, window)->size, align, &base))
				return -ENOSPC;
			settle(plan, window, base);
		}
	}
}

/* A little less spare room for the next attempt; false when there is none left to take. */
static bool tighten(struct plan *plan)
{
	if (plan->cap < granule(plan))
		return false;
	if (plan->favoured > 0) {
		plan->favoured--;
	} else {
		plan->cap /= 2;
		plan->favoured = plan->bridge_count;
	}
	return true;
}

static int plan_kind(struct plan *plan, size_t *failed)
{
	int err;

	plan->cap = power_below(plan->range.size);
	plan->favoured = plan->bridge_count;
	while ((err = attempt(plan, failed)) && tighten(plan))
		;
	/* An empty window has no address either. */
	for (size_t i = 0; i < plan->bridge_count; i++)
		if (!window_of(plan, i)->size)
			window_of(plan, i)->base = 0;
	return err;
}

static bool range_sound(const struct pci_range *range, uint64_t first, uint64_t last)
{
	return !range->size || (range->base >= first && range->base <= last &&
				range->size - 1 <= last - range->base);
}

int pci_plan_windows(const struct pci_windows *windows, struct pci_bridge_windows *bridges,
		     size_t bridge_count, struct pci_bar_request *requests, size_t request_count,
		     size_t *failed)
{
	const struct pci_range *const ranges[] = {
		[KIND_IO] = &windows->io,
		[KIND_MEM32] = &windows->mem32,
		[KIND_MEM64] = &windows->mem64,
	};
	int err = 0;

	*failed = SIZE_MAX;
	if (!range_sound(&windows->io, 0, UINT16_MAX) ||
	    !range_sound(&windows->mem32, 0, UINT32_MAX) ||
	    !range_sound(&windows->mem64, FOUR_GIB, UINT64_MAX - 1))
		return -EINVAL;
	for (size_t i = 0; i < request_count; i++) {
		const struct pci_bar_request *r = &requests[i];

		*failed = i;
		if (!r->size || r->size & (r->size - 1) ||
		    (r->bridge != PCI_ON_ROOT_BUS && r->bridge >= bridge_count))
			return -EINVAL;
	}

	for (int kind = KIND_IO; kind <= KIND_MEM64 && !err; kind++) {
		struct plan plan = {
			.kind = (enum kind)kind,
			.windows = windows,
			.range = *ranges[kind],
			.bridges = bridges,
			.bridge_count = bridge_count,
			.requests = requests,
			.request_count = request_count,
		};

		err = plan_kind(&plan, failed);
	}
	return err;
}
