// SPDX-License-Identifier: Apache-2.0
/*
 * The guest-physical address space of the x86 machine (plan).
 *
 *   0         - 2 GiB       RAM (the rest of it from 4 GiB on)
 *   2 GiB     - 3.5 GiB     PCI window for 32-bit BARs: room for one naturally aligned BAR of 1 GiB
 *   e000_0000 - f000_0000   ECAM, 256 buses
 *   f000_0000 - fec0_0000   devices of the board
 *   fec0_0000               I/O APIC
 *   fee0_0000 - fef0_0000   local APIC; messages (MSI) go here
 *   fffb_c000 - ffff_f000   pages KVM needs for real mode on Intel
 *   4 GiB     - RAM's end   RAM
 *   RAM's end - limit       PCI window for 64-bit BARs
 */
#include "arch/arch.h"

#include <errno.h>
#include <stdlib.h>

#include "arch/x86/platform.h"

#define GIB (1ull << 30)

const unsigned arch_max_cpus = 254; /* 8-bit APIC ids: 255 is broadcast */

/*
 * The HyperTransport range of AMD hosts, 1012 GiB to 1 TiB: the IOMMU does not translate there, so
 * neither RAM nor BARs that other devices reach may lie in it. Left out everywhere: the layout does
 * not depend on the host's maker.
 */
static const struct pci_range hyper_transport = {.base = 0xfd00000000, .size = 0x300000000};

static uint64_t align_up(uint64_t value, uint64_t alignment)
{
	return (value + alignment - 1) & ~(alignment - 1);
}

static bool overlaps(const struct pci_range *range, uint64_t first, uint64_t end)
{
	return range->size != 0 && range->base < end && range->base + range->size > first;
}

/* RAM around what the board has below 4 GiB, and around what devices cannot reach. */
static int place_ram(const struct arch_layout_request *request, uint64_t limit,
		     struct arch_layout *out)
{
	struct memory_request ram = {
		.size = request->memory,
		.base = 0,
		.last = limit - 1,
		.page_size = request->alignment,
	};
	struct iova_range *forbidden;
	int r;

	forbidden = calloc(request->reserved_count + 2, sizeof(*forbidden));
	if (!forbidden)
		return -ENOMEM;
	forbidden[ram.forbidden_count++] = (struct iova_range){PCI_MEM32_BASE, HIGH_RAM_BASE - 1};
	forbidden[ram.forbidden_count++] = (struct iova_range){
		hyper_transport.base, hyper_transport.base + hyper_transport.size - 1};
	for (size_t i = 0; i < request->reserved_count; i++) {
		const struct pci_range *range = &request->reserved[i];

		if (range->size != 0)
			forbidden[ram.forbidden_count++] =
				(struct iova_range){range->base, range->base + range->size - 1};
	}
	ram.forbidden = forbidden;
	out->ram_count = ARCH_RAM_RANGES;
	r = memory_plan(&ram, out->ram, &out->ram_count);
	free(forbidden);
	return r;
}

/* Above all RAM, up to the address limit, on one side of the HyperTransport range. */
static int place_high_window(uint64_t limit, struct arch_layout *out)
{
	const struct memory_piece *last = &out->ram[out->ram_count - 1];
	uint64_t base = align_up(last->gpa + last->size, GIB);

	if (base < HIGH_RAM_BASE)
		base = HIGH_RAM_BASE;
	if (overlaps(&hyper_transport, base, base + 1))
		base = hyper_transport.base + hyper_transport.size;
	if (limit > hyper_transport.base && base < hyper_transport.base)
		limit = hyper_transport.base;
	if (base >= limit)
		return -ENOSPC;
	out->windows.mem64 = (struct pci_range){.base = base, .size = limit - base};
	return 0;
}

int arch_plan_layout(const struct arch_layout_request *request, struct arch_layout *out)
{
	unsigned buses = request->buses ? request->buses : ECAM_BUSES;
	uint64_t limit;
	int r;

	if (request->alignment < 4096 || (request->alignment & (request->alignment - 1)) != 0 ||
	    request->alignment > GIB || request->address_bits < 32 || request->address_bits > 52 ||
	    buses > ECAM_BUSES)
		return -EINVAL;
	for (size_t i = 0; i < request->reserved_count; i++) {
		if (request->reserved[i].base + request->reserved[i].size <
		    request->reserved[i].base)
			return -EINVAL;
	}
	limit = 1ull << request->address_bits;

	*out = (struct arch_layout){
		.ecam = {.base = ECAM_BASE, .size = (uint64_t)buses << 20},
		.bus_count = buses,
		.windows = {.io = {.base = PCI_IO_BASE, .size = PCI_IO_SIZE},
			    .mem32 = {.base = PCI_MEM32_BASE, .size = ECAM_BASE - PCI_MEM32_BASE}},
		.msi = {.base = LAPIC_BASE, .size = 0x100000},
		.intx_gsi = {16, 17, 18, 19},
		.uart = {.pio = true, .base = 0x3f8, .size = 8, .gsi = 4},
		.power = {.base = BOARD_BASE, .size = 0x1000, .gsi = 20},
		.panic = {.pio = true, .base = 0x505, .size = 1},
		.exit = {.pio = true, .base = 0xf4, .size = 1},
		.reset = {.pio = true, .base = 0x64, .size = 1},
	};

	r = place_ram(request, limit, out);
	if (r < 0)
		return r;
	return place_high_window(limit, out);
}
