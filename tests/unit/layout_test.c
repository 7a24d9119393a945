// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>

#include "arch/arch.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static struct arch_layout layout;

static int plan(uint64_t memory, uint64_t alignment, unsigned bits,
		const struct pci_range *reserved, size_t count)
{
	const struct arch_layout_request request = {
		.memory = memory,
		.alignment = alignment,
		.address_bits = bits,
		.reserved = reserved,
		.reserved_count = count,
	};

	return arch_plan_layout(&request, &layout);
}

static bool disjoint(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a_size == 0 || b_size == 0 || a + a_size <= b || b + b_size <= a;
}

/* What holds for every layout that the plan gives out. */
static void check_layout(uint64_t memory, uint64_t alignment, unsigned bits,
			 const struct pci_range *reserved, size_t count)
{
	const struct pci_range fixed[] = {layout.ecam,
					  layout.windows.mem32,
					  layout.windows.mem64,
					  layout.msi,
					  {layout.power.base, layout.power.size},
					  {0xfec00000, 0x1000},
					  {0xfd00000000, 0x300000000}};
	const size_t fixed_count = sizeof(fixed) / sizeof(fixed[0]);
	uint64_t total = 0, above = 0;

	for (unsigned i = 0; i < layout.ram_count; i++) {
		const struct memory_piece *ram = &layout.ram[i];

		cr_assert_neq(ram->size, 0);
		cr_assert_eq(ram->gpa % alignment, 0);
		cr_assert_eq(ram->size % alignment, 0);
		cr_assert_geq(ram->offset, total);
		cr_assert_eq((ram->offset - ram->gpa) % alignment, 0);
		cr_assert_geq(ram->gpa, above);
		above = ram->gpa + ram->size;
		cr_assert_leq(above, 1ull << bits);
		total += ram->size;
		for (size_t j = 0; j < fixed_count; j++)
			cr_assert(disjoint(ram->gpa, ram->size, fixed[j].base, fixed[j].size),
				  "RAM %u over fixed range %zu", i, j);
		for (size_t j = 0; j < count; j++)
			cr_assert(disjoint(ram->gpa, ram->size, reserved[j].base, reserved[j].size),
				  "RAM %u over reserved range %zu", i, j);
	}
	cr_assert_eq(total, memory);
	for (size_t i = 0; i < fixed_count; i++) {
		for (size_t j = 0; j < i; j++)
			cr_assert(disjoint(fixed[i].base, fixed[i].size, fixed[j].base,
					   fixed[j].size),
				  "ranges %zu and %zu overlap", i, j);
	}
	cr_assert_geq(layout.windows.mem64.base, 4 * GIB);
	cr_assert_geq(layout.windows.mem64.base, above);
	cr_assert_leq(layout.windows.mem64.base + layout.windows.mem64.size, 1ull << bits);
}

Test(layout, little_memory_is_one_piece_from_zero)
{
	cr_assert_eq(plan(256 * MIB, 4096, 40, NULL, 0), 0);
	check_layout(256 * MIB, 4096, 40, NULL, 0);
	cr_assert_eq(layout.ram_count, 1);
	cr_assert_eq(layout.ram[0].gpa, 0);
	cr_assert_eq(layout.windows.mem64.base, 4 * GIB);
	cr_assert_eq(layout.ecam.size, (uint64_t)layout.bus_count << 20);
}

Test(layout, the_ecam_is_as_long_as_there_are_buses)
{
	struct arch_layout_request request = {
		.memory = 256 * MIB, .alignment = 4096, .address_bits = 40, .buses = 3};

	cr_assert_eq(arch_plan_layout(&request, &layout), 0);
	cr_assert_eq(layout.bus_count, 3);
	cr_assert_eq(layout.ecam.size, 3 * MIB);
	request.buses = 0;
	cr_assert_eq(arch_plan_layout(&request, &layout), 0);
	cr_assert_eq(layout.bus_count, 256);
	request.buses = 257;
	cr_assert_eq(arch_plan_layout(&request, &layout), -EINVAL);
}

Test(layout, memory_above_the_hole_goes_above_4_gib)
{
	cr_assert_eq(plan(5 * GIB, 4096, 46, NULL, 0), 0);
	check_layout(5 * GIB, 4096, 46, NULL, 0);
	cr_assert_eq(layout.ram_count, 2);
	cr_assert_eq(layout.ram[0].size, 2 * GIB);
	cr_assert_eq(layout.ram[1].gpa, 4 * GIB);
	cr_assert_eq(layout.ram[1].size, 3 * GIB);
	cr_assert_eq(layout.windows.mem64.base, 7 * GIB);
}

Test(layout, every_size_and_page_size_keeps_the_rules)
{
	static const uint64_t alignments[] = {4096, 16384, 65536, 2 * MIB, GIB};

	for (size_t a = 0; a < sizeof(alignments) / sizeof(alignments[0]); a++) {
		for (unsigned shift = 21; shift < 42; shift++) {
			uint64_t memory = (1ull << shift) + alignments[a];

			memory -= memory % alignments[a];
			cr_assert_eq(plan(memory, alignments[a], 46, NULL, 0), 0);
			check_layout(memory, alignments[a], 46, NULL, 0);
		}
	}
}

Test(layout, reserved_ranges_are_left_free_and_memory_stays_complete)
{
	const struct pci_range reserved[] = {{0x7d000000, 0x800000},
					     {0x1000000000, 0x10000000},
					     {0xfee00000, 0x100000},
					     {0x7d400000, 0x801000},
					     {0x120000fff, 1}};

	for (unsigned count = 0; count <= 5; count++) {
		cr_assert_eq(plan(70 * GIB, 4096, 40, reserved, count), 0);
		check_layout(70 * GIB, 4096, 40, reserved, count);
		cr_assert_eq(plan(70 * GIB, 2 * MIB, 40, reserved, count), 0);
		check_layout(70 * GIB, 2 * MIB, 40, reserved, count);
	}
	cr_assert_gt(layout.ram_count, 3);
}

Test(layout, a_page_reserved_at_zero_leaves_no_place_to_boot)
{
	const struct pci_range reserved[] = {{0, 4096}};

	cr_assert_eq(plan(64 * MIB, 4096, 40, reserved, 1), -EADDRINUSE);
}

Test(layout, ram_and_windows_keep_out_of_the_hypertransport_range)
{
	cr_assert_eq(plan(1100 * GIB, GIB, 46, NULL, 0), 0);
	check_layout(1100 * GIB, GIB, 46, NULL, 0);
	cr_assert_eq(layout.ram_count, 3);
	cr_assert_eq(layout.ram[2].gpa, 1ull << 40);
	/* with a 40-bit address space nothing is left above it */
	cr_assert_eq(plan(1010 * GIB, GIB, 40, NULL, 0), -ENOSPC);
	cr_assert_eq(plan(900 * GIB, GIB, 40, NULL, 0), 0);
	check_layout(900 * GIB, GIB, 40, NULL, 0);
}

Test(layout, what_does_not_fit_is_refused)
{
	struct pci_range many[64];

	cr_assert_eq(plan(0, 4096, 40, NULL, 0), -EINVAL);
	cr_assert_eq(plan(MIB + 1, 4096, 40, NULL, 0), -EINVAL);
	cr_assert_eq(plan(MIB, 1000, 40, NULL, 0), -EINVAL);
	cr_assert_eq(plan(MIB, 2048, 40, NULL, 0), -EINVAL);
	cr_assert_eq(plan(MIB, 4096, 53, NULL, 0), -EINVAL);
	cr_assert_eq(plan(MIB, 4096, 0, NULL, 0), -EINVAL);
	cr_assert_eq(plan(64 * GIB, 4096, 36, NULL, 0), -ENOSPC);
	cr_assert_eq(plan(3 * GIB, 4096, 32, NULL, 0), -ENOSPC);
	cr_assert_eq(plan(UINT64_MAX - 4095, 4096, 46, NULL, 0), -ENOSPC);

	many[0] = (struct pci_range){UINT64_MAX - 10, 100};
	cr_assert_eq(plan(64 * MIB, 4096, 40, many, 1), -EINVAL);
	many[0] = (struct pci_range){0, UINT64_MAX};
	cr_assert_eq(plan(64 * MIB, 4096, 40, many, 1), -EADDRINUSE);
	/* More pieces than there is room for, aligned to 2 MiB or to pages. */
	for (unsigned i = 0; i < 64; i++)
		many[i] = (struct pci_range){(i + 1) * 4 * MIB, 4096};
	cr_assert_eq(plan(64 * MIB, 4096, 40, many, 64), -ENOSPC);
}
