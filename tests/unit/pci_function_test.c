/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include <linux/pci_regs.h>

#include "vmm/pci/capability.h"
#include "vmm/pci/function.h"
#include "vmm/pci/window.h"

static const struct pci_windows windows = {
	.io = {0x1000, 0xf000},
	.mem32 = {0xc0000000, 0x20000000},
	.mem64 = {UINT64_C(0x1000000000), UINT64_C(0x1000000000)},
};

/* The owner keeps its own account of what is mapped and checks each call against it. */
static struct pci_function fn;
static uint64_t mapped[PCI_BAR_COUNT + 1];
static unsigned maps, unmaps, resets, refused;
static int map_error;
static bool hardware_decodes; /* what an owner with hardware has written to it so far */
static bool watch_hardware;

static int bar_map(struct pci_function *f, unsigned bar, uint64_t address)
{
	cr_assert_eq(mapped[bar], PCI_BAR_NONE, "BAR %u mapped twice", bar);
	cr_assert_eq(f->bars[bar].address, PCI_BAR_NONE);
	cr_assert_neq(f->bars[bar].kind, PCI_BAR_ABSENT);
	cr_assert_eq(address & (f->bars[bar].size - 1), 0);
	cr_assert(f->config[PCI_COMMAND] & (f->bars[bar].kind == PCI_BAR_IO ? 1 : 2));
	if (watch_hardware)
		cr_assert(hardware_decodes, "mapped before the hardware decodes");
	if (map_error) {
		refused++;
		return map_error;
	}
	mapped[bar] = address;
	maps++;
	return 0;
}

static void bar_unmap(struct pci_function *f, unsigned bar, uint64_t address)
{
	cr_assert_eq(mapped[bar], address, "BAR %u unmapped but not mapped there", bar);
	cr_assert_eq(f->bars[bar].address, address);
	if (watch_hardware)
		cr_assert(hardware_decodes, "unmapped after the hardware stopped decoding");
	mapped[bar] = PCI_BAR_NONE;
	unmaps++;
}

static void reset(struct pci_function *f)
{
	for (unsigned i = 0; i <= PCI_BAR_ROM; i++)
		cr_assert_eq(f->bars[i].address, PCI_BAR_NONE);
	resets++;
}

static const struct pci_function_ops ops = {
	.bar_map = bar_map,
	.bar_unmap = bar_unmap,
	.reset = reset,
};

static void start(void)
{
	pci_function_init(&fn, &ops, "test0", 0x1b36, 0x0010, 0x010802, 2);
	fn.windows = &windows;
	for (unsigned i = 0; i <= PCI_BAR_ROM; i++)
		mapped[i] = PCI_BAR_NONE;
	maps = unmaps = resets = refused = 0;
	map_error = 0;
	watch_hardware = false;
}

static void write(uint32_t offset, uint32_t value, unsigned size)
{
	pci_function_default_write(&fn, offset, value, size);
}

static uint32_t read(uint32_t offset, unsigned size)
{
	return pci_function_default_read(&fn, offset, size);
}

TestSuite(pci_function, .init = start);

Test(pci_function, identity_is_what_it_was_made_with)
{
	cr_expect_eq(read(0, 4), 0x00101b36);
	cr_expect_eq(read(8, 4), 0x01080202);
	cr_expect_eq(read(0x0a, 2), 0x0108);
	cr_expect_eq(read(0x0e, 1), 0);
	write(0, 0xffffffff, 4);
	write(8, 0xffffffff, 4);
	write(0x34, 0xff, 1);
	cr_expect_eq(read(0, 4), 0x00101b36);
	cr_expect_eq(read(8, 4), 0x01080202);
	cr_expect_eq(read(0x34, 1), 0);
	write(0x3c, 0x5a, 1);
	cr_expect_eq(read(0x3c, 1), 0x5a);
	cr_expect_eq(pci_function_bdf(&fn), 0);
}

Test(pci_function, the_command_register_takes_its_own_bits_only)
{
	write(PCI_COMMAND, 0xffffffff, 4);
	cr_expect_eq(read(PCI_COMMAND, 2), 0x547);
	cr_expect_eq(read(PCI_STATUS, 2), 0);
	write(PCI_COMMAND + 1, 0, 1);
	cr_expect_eq(read(PCI_COMMAND, 2), 0x147 & 0xff);
}

Test(pci_function, sizing_gives_the_mask_of_each_kind)
{
	static const struct {
		const char *name;
		unsigned index;
		enum pci_bar_kind kind;
		bool prefetchable;
		uint64_t size;
		uint32_t low, high;
	} rows[] = {
		{"I/O 32", 0, PCI_BAR_IO, false, 32, 0xffffffe1, 0},
		{"I/O least", 1, PCI_BAR_IO, false, 1, 0xfffffffd, 0},
		{"I/O most", 1, PCI_BAR_IO, true, 65536, 0xffff0001, 0},
		{"mem32 4 KiB", 2, PCI_BAR_MEM32, false, 4096, 0xfffff000, 0},
		{"mem32 least", 2, PCI_BAR_MEM32, false, 3, 0xfffffff0, 0},
		{"mem32 rounded", 5, PCI_BAR_MEM32, true, 4097, 0xffffe008, 0},
		{"mem32 most", 5, PCI_BAR_MEM32, false, UINT64_C(1) << 31, 0x80000000, 0},
		{"mem64 16 KiB", 0, PCI_BAR_MEM64, false, 16384, 0xffffc004, 0xffffffff},
		{"mem64 4 GiB", 2, PCI_BAR_MEM64, true, UINT64_C(1) << 32, 0x0000000c, 0xffffffff},
		{"mem64 16 GiB", 4, PCI_BAR_MEM64, true, UINT64_C(1) << 34, 0x0000000c, 0xfffffffc},
		{"mem64 most", 4, PCI_BAR_MEM64, false, UINT64_C(1) << 63, 0x00000004, 0x80000000},
		{"ROM", PCI_BAR_ROM, PCI_BAR_MEM32, false, 65536, 0xffff0001, 0},
		{"ROM least", PCI_BAR_ROM, PCI_BAR_MEM32, false, 1, 0xfffff801, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t reg;

		start();
		reg = pci_function_bar_register(&fn, rows[i].index);
		cr_assert_eq(pci_function_add_bar(&fn, rows[i].index, rows[i].kind,
						  rows[i].prefetchable, rows[i].size),
			     0, "%s", rows[i].name);
		write(reg, 0xffffffff, 4);
		cr_expect_eq(read(reg, 4), rows[i].low, "%s: %#x", rows[i].name, read(reg, 4));
		if (rows[i].kind == PCI_BAR_MEM64) {
			write(reg + 4, 0xffffffff, 4);
			cr_expect_eq(read(reg + 4, 4), rows[i].high, "%s", rows[i].name);
		}
		cr_expect_eq(maps, 0, "%s: decode is off", rows[i].name);
	}
	/* A BAR that is not there reads 0, also in the middle of sizing. */
	start();
	write(PCI_BASE_ADDRESS_3, 0xffffffff, 4);
	cr_expect_eq(read(PCI_BASE_ADDRESS_3, 4), 0);
}

Test(pci_function, bars_that_cannot_be_are_refused)
{
	static const struct {
		unsigned index;
		enum pci_bar_kind kind;
		uint64_t size;
	} rows[] = {
		{7, PCI_BAR_MEM32, 4096},
		{0, PCI_BAR_MEM32, 0},
		{0, PCI_BAR_ABSENT, 4096},
		{0, PCI_BAR_MEM32, (UINT64_C(1) << 31) + 1},
		{0, PCI_BAR_IO, 65537},
		{0, PCI_BAR_MEM64, UINT64_MAX},
		{5, PCI_BAR_MEM64, 4096},
		{1, PCI_BAR_MEM64, 4096}, /* 2 is taken below */
		{2, PCI_BAR_MEM32, 4096},
		{3, PCI_BAR_MEM32, 4096}, /* upper half of 2 */
		{PCI_BAR_ROM, PCI_BAR_MEM64, 4096},
		{PCI_BAR_ROM, PCI_BAR_IO, 4096},
		{PCI_BAR_ROM, PCI_BAR_MEM32, (16 << 20) + 1},
	};

	cr_assert_eq(pci_function_add_bar(&fn, 2, PCI_BAR_MEM64, false, 4096), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_expect_eq(
			pci_function_add_bar(&fn, rows[i].index, rows[i].kind, false, rows[i].size),
			-EINVAL, "row %zu", i);

	start();
	fn.config[PCI_HEADER_TYPE] = PCI_HEADER_TYPE_BRIDGE;
	cr_expect_eq(pci_function_add_bar(&fn, 2, PCI_BAR_MEM32, false, 4096), -EINVAL);
	cr_expect_eq(pci_function_add_bar(&fn, 1, PCI_BAR_MEM64, false, 4096), -EINVAL);
	cr_expect_eq(pci_function_add_bar(&fn, 0, PCI_BAR_MEM64, false, 4096), 0);
	cr_expect_eq(pci_function_add_bar(&fn, PCI_BAR_ROM, PCI_BAR_MEM32, false, 4096), 0);
	cr_expect_eq(pci_function_bar_register(&fn, PCI_BAR_ROM), 0x38);
}

Test(pci_function, decode_and_moves_map_and_unmap)
{
	pci_function_add_bar(&fn, 0, PCI_BAR_MEM64, false, 16384);
	pci_function_add_bar(&fn, 2, PCI_BAR_IO, false, 32);
	pci_function_set_bar(&fn, 0, UINT64_C(0x1000004000));
	pci_function_set_bar(&fn, 2, 0x2000);
	cr_expect_eq(read(PCI_BASE_ADDRESS_0, 4), 0x00004004);
	cr_expect_eq(read(PCI_BASE_ADDRESS_1, 4), 0x10);
	cr_expect_eq(maps, 0);

	write(PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	cr_expect_eq(mapped[0], UINT64_C(0x1000004000));
	cr_expect_eq(mapped[2], PCI_BAR_NONE);
	write(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_IO, 1);
	cr_expect_eq(mapped[2], 0x2000);
	cr_expect_eq(maps, 2);

	/* A write that changes nothing, or nothing of decode, does not touch the mappings. */
	write(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_IO | PCI_COMMAND_MASTER, 2);
	write(PCI_INTERRUPT_LINE, 11, 1);
	cr_expect_eq(maps + unmaps, 2);

	/* Moved by its low half, then by its high half; byte writes count as well. */
	write(PCI_BASE_ADDRESS_0, 0x8000, 4);
	cr_expect_eq(mapped[0], UINT64_C(0x1000008000));
	write(PCI_BASE_ADDRESS_1, 0x11, 1);
	cr_expect_eq(mapped[0], UINT64_C(0x1100008000));
	write(PCI_BASE_ADDRESS_2 + 1, 0x30, 1);
	cr_expect_eq(mapped[2], 0x3000);

	/* Into the 32-bit window is fine as well, out of the windows it is not decoded. */
	write(PCI_BASE_ADDRESS_1, 0, 4);
	cr_expect_eq(mapped[0], PCI_BAR_NONE);
	write(PCI_BASE_ADDRESS_0, 0xc0000000, 4);
	cr_expect_eq(mapped[0], 0xc0000000);

	write(PCI_COMMAND, 0, 2);
	cr_expect_eq(mapped[0], PCI_BAR_NONE);
	cr_expect_eq(mapped[2], PCI_BAR_NONE);
	cr_expect_eq(maps, unmaps);
}

Test(pci_function, nothing_outside_of_the_host_windows_is_decoded)
{
	static const uint64_t places[] = {
		0,
		0x100000,                     /* RAM */
		0xbfff0000,                   /* ends where the window begins, less one BAR */
		0xe0000000,                   /* just behind it */
		0xfee00000,                   /* LAPIC */
		0xffff0000,                   /* what sizing leaves there */
		UINT64_C(0xfffffffff0000),    /* beyond */
		UINT64_C(0x2000000000),       /* behind mem64 */
		UINT64_C(0xffffffffffff0000), /* sizing, both halves */
	};

	pci_function_add_bar(&fn, 0, PCI_BAR_MEM64, false, 0x10000);
	pci_function_add_bar(&fn, 2, PCI_BAR_IO, false, 256);
	write(PCI_COMMAND, 3, 2);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		write(PCI_BASE_ADDRESS_1, (uint32_t)(places[i] >> 32), 4);
		write(PCI_BASE_ADDRESS_0, (uint32_t)places[i], 4);
		cr_expect_eq(mapped[0], PCI_BAR_NONE, "%zu", i);
	}
	write(PCI_BASE_ADDRESS_2, 0x300, 4);
	cr_expect_eq(mapped[2], PCI_BAR_NONE);
	write(PCI_BASE_ADDRESS_2, 0x10000, 4);
	cr_expect_eq(mapped[2], PCI_BAR_NONE);
	write(PCI_BASE_ADDRESS_2, 0xff00, 4);
	cr_expect_eq(mapped[2], 0xff00);
	write(PCI_BASE_ADDRESS_1, 0, 4);
	write(PCI_BASE_ADDRESS_0, 0xdfff0000, 4);
	cr_expect_eq(mapped[0], 0xdfff0000);
}

Test(pci_function, a_bar_larger_than_a_window_and_address_0_are_not_decoded)
{
	static const struct pci_windows from_0 = {.io = {0, 0x10000}, .mem32 = {0, 1 << 30}};

	pci_function_add_bar(&fn, 0, PCI_BAR_MEM64, false, UINT64_C(1) << 30);
	pci_function_set_bar(&fn, 0, 0xc0000000);
	write(PCI_COMMAND, 3, 2);
	cr_expect_eq(mapped[0], PCI_BAR_NONE, "half of it is outside");
	write(PCI_BASE_ADDRESS_1, 0x10, 4);
	cr_expect_eq(mapped[0], UINT64_C(0x10c0000000));

	start();
	fn.windows = &from_0;
	pci_function_add_bar(&fn, 0, PCI_BAR_MEM32, false, 4096);
	pci_function_add_bar(&fn, 1, PCI_BAR_IO, false, 32);
	write(PCI_COMMAND, 3, 2);
	cr_expect_eq(maps, 0);
	write(PCI_BASE_ADDRESS_0, 4096, 4);
	cr_expect_eq(mapped[0], 4096);
}

Test(pci_function, a_function_that_is_not_plugged_in_decodes_nothing)
{
	pci_function_add_bar(&fn, 0, PCI_BAR_MEM32, false, 4096);
	pci_function_set_bar(&fn, 0, 0xc0000000);
	fn.windows = NULL;
	write(PCI_COMMAND, 2, 2);
	cr_expect_eq(maps, 0);
	fn.windows = &windows;
	pci_function_update_bars(&fn);
	pci_function_update_bars(&fn);
	cr_expect_eq(maps, 1);
	fn.windows = NULL;
	pci_function_update_bars(&fn);
	cr_expect_eq(unmaps, 1);
}

Test(pci_function, low_power_states_unmap_and_d0_maps_again)
{
	int pm;

	pci_function_add_bar(&fn, 0, PCI_BAR_MEM32, false, 4096);
	pm = pci_function_add_capability(&fn, PCI_CAP_ID_PM, PCI_PM_SIZEOF);
	cr_assert_eq(pm, 0x40);
	pci_set(fn.writable, (uint32_t)pm + PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK, 2);
	pci_function_set_bar(&fn, 0, 0xc0000000);
	write(PCI_COMMAND, 2, 2);
	for (uint32_t state = 1; state <= 3; state++) {
		write((uint32_t)pm + PCI_PM_CTRL, state, 2);
		cr_expect_eq(mapped[0], PCI_BAR_NONE, "D%u", state);
		write(PCI_COMMAND, 0, 2);
		write(PCI_COMMAND, 2, 2);
		cr_expect_eq(mapped[0], PCI_BAR_NONE, "D%u", state);
		write((uint32_t)pm + PCI_PM_CTRL, 0, 1);
		cr_expect_eq(mapped[0], 0xc0000000);
	}
}

Test(pci_function, the_rom_needs_its_own_enable_bit_and_memory_decode)
{
	pci_function_add_bar(&fn, PCI_BAR_ROM, PCI_BAR_MEM32, false, 65536);
	write(PCI_ROM_ADDRESS, 0xc0010000, 4);
	write(PCI_COMMAND, 2, 2);
	cr_expect_eq(mapped[PCI_BAR_ROM], PCI_BAR_NONE);
	write(PCI_ROM_ADDRESS, 0xc0010001, 4);
	cr_expect_eq(mapped[PCI_BAR_ROM], 0xc0010000);
	write(PCI_COMMAND, 1, 2);
	cr_expect_eq(mapped[PCI_BAR_ROM], PCI_BAR_NONE);
	write(PCI_COMMAND, 2, 2);
	write(PCI_ROM_ADDRESS, 0, 1);
	cr_expect_eq(mapped[PCI_BAR_ROM], PCI_BAR_NONE);
	cr_expect_eq(read(PCI_ROM_ADDRESS, 4), 0xc0010000);
}

Test(pci_function, a_map_that_fails_leaves_the_bar_unmapped_and_is_tried_again)
{
	pci_function_add_bar(&fn, 0, PCI_BAR_MEM32, false, 4096);
	pci_function_set_bar(&fn, 0, 0xc0000000);
	map_error = -EEXIST;
	write(PCI_COMMAND, 2, 2);
	cr_expect_eq(refused, 1);
	cr_expect_eq(fn.bars[0].address, PCI_BAR_NONE);
	write(PCI_COMMAND, 0, 2);
	cr_expect_eq(unmaps, 0);
	map_error = 0;
	write(PCI_COMMAND, 2, 2);
	cr_expect_eq(mapped[0], 0xc0000000);
}

Test(pci_function, an_owner_with_hardware_can_unmap_first_and_map_last)
{
	static const uint32_t commands[] = {2, 0, 2, 6, 4, 0, 3};

	watch_hardware = true;
	hardware_decodes = false;
	pci_function_add_bar(&fn, 0, PCI_BAR_MEM32, false, 4096);
	pci_function_set_bar(&fn, 0, 0xc0000000);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		pci_function_write_registers(&fn, PCI_COMMAND, commands[i], 2);
		hardware_decodes = commands[i] & PCI_COMMAND_MEMORY;
		pci_function_update_bars(&fn);
		cr_expect_eq(mapped[0], commands[i] & 2 ? 0xc0000000 : PCI_BAR_NONE);
	}
}

Test(pci_function, capabilities_are_chained_in_the_order_added)
{
	struct pci_capability caps[PCI_CAPABILITY_MAX];
	size_t count;

	cr_expect_eq(pci_function_add_capability(&fn, PCI_CAP_ID_MSIX, 12), 0x40);
	cr_expect_eq(pci_function_add_capability(&fn, PCI_CAP_ID_VNDR, 17), 0x4c);
	cr_expect_eq(pci_function_add_capability(&fn, PCI_CAP_ID_EXP, 0x3c), 0x60);
	cr_expect_eq(pci_function_add_capability(&fn, PCI_CAP_ID_VNDR, 0x65), -ENOSPC);
	cr_expect_eq(pci_function_add_capability(&fn, PCI_CAP_ID_VNDR, 0x64), 0x9c);
	cr_expect_eq(pci_function_add_capability(&fn, PCI_CAP_ID_VNDR, 4), -ENOSPC);
	cr_expect_eq(pci_function_add_capability(&fn, PCI_CAP_ID_VNDR, 1), -ENOSPC);
	cr_assert_eq(pci_capability_walk(fn.config, 256, caps, PCI_CAPABILITY_MAX, &count), 0);
	cr_assert_eq(count, 4);
	cr_expect_eq(caps[0].id, PCI_CAP_ID_MSIX);
	cr_expect_eq(caps[2].id, PCI_CAP_ID_EXP);
	cr_expect_eq(fn.pm, 0);

	cr_expect_eq(pci_function_add_extended(&fn, PCI_EXT_CAP_ID_ACS, 1, 8), 0x100);
	cr_expect_eq(pci_function_add_extended(&fn, PCI_EXT_CAP_ID_ERR, 2, 0x48), 0x108);
	cr_expect_eq(pci_function_add_extended(&fn, PCI_EXT_CAP_ID_DSN, 1, 0xeb4), -ENOSPC);
	cr_expect_eq(pci_function_add_extended(&fn, PCI_EXT_CAP_ID_DSN, 1, 0xeb0), 0x150);
	cr_expect_eq(pci_function_add_extended(&fn, PCI_EXT_CAP_ID_DSN, 1, 4), -ENOSPC);
	cr_expect_eq(pci_extended_offset(fn.config, 4096, PCI_EXT_CAP_ID_ERR), 0x108);
}

Test(pci_function, reset_unmaps_then_clears_what_is_writable)
{
	pci_function_add_bar(&fn, 0, PCI_BAR_MEM64, true, 4096);
	pci_function_set_bar(&fn, 0, UINT64_C(0x1000000000));
	write(PCI_COMMAND, 7, 2);
	write(PCI_INTERRUPT_LINE, 9, 1);
	cr_expect_eq(maps, 1);
	pci_function_reset(&fn);
	cr_expect_eq(unmaps, 1);
	cr_expect_eq(resets, 1);
	cr_expect_eq(read(PCI_COMMAND, 2), 0);
	cr_expect_eq(read(PCI_INTERRUPT_LINE, 1), 0);
	cr_expect_eq(read(PCI_BASE_ADDRESS_0, 4), 0xc);
	cr_expect_eq(read(PCI_BASE_ADDRESS_1, 4), 0);
	cr_expect_eq(read(0, 4), 0x00101b36);
}

Test(pci_function, random_writes_keep_mappings_paired_and_true_to_the_registers)
{
	static uint8_t before[PCI_CONFIG_SIZE];
	uint64_t seed = 42;
	unsigned moved = 0;
	int pm;

	pci_function_add_bar(&fn, 0, PCI_BAR_MEM64, false, 16384);
	pci_function_add_bar(&fn, 2, PCI_BAR_IO, false, 64);
	pci_function_add_bar(&fn, 3, PCI_BAR_MEM32, true, 1 << 20);
	pci_function_add_bar(&fn, 4, PCI_BAR_MEM64, true, UINT64_C(1) << 33);
	pci_function_add_bar(&fn, PCI_BAR_ROM, PCI_BAR_MEM32, false, 4096);
	pm = pci_function_add_capability(&fn, PCI_CAP_ID_PM, PCI_PM_SIZEOF);
	pci_set(fn.writable, (uint32_t)pm + PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK, 2);

	for (unsigned round = 0; round < 200000; round++) {
		unsigned size, offset;
		uint32_t value;

		seed = seed * 6364136223846793005 + 1442695040888963407;
		size = 1u << (seed >> 60) % 3;
		offset = (unsigned)(seed >> 33) % 80 & ~(size - 1);
		value = (uint32_t)(seed >> 20);
		if (seed >> 59 & 1) { /* half of the time something that can be decoded */
			value = offset >= 0x10 && offset < 0x40 && size == 4
					? (value & 0x1fffffff) | 0xc0000001
					: (value & 3);
			if (offset % 8 == 4 && offset >= 0x10)
				value &= 0x1f;
		}
		memcpy(before, fn.config, sizeof(before));
		write(offset, value, size);
		for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++)
			cr_assert_eq((before[i] ^ fn.config[i]) & ~fn.writable[i], 0);
		for (unsigned i = 0; i <= PCI_BAR_ROM; i++) {
			struct pci_bar *bar = &fn.bars[i];
			uint32_t reg = pci_function_bar_register(&fn, i);
			uint64_t at = pci_get(fn.config, reg, 4) & ~(uint64_t)0xf;

			cr_assert_eq(bar->address, mapped[i]);
			if (bar->address == PCI_BAR_NONE)
				continue;
			cr_assert_eq(fn.config[pm + PCI_PM_CTRL] & 3, 0);
			if (bar->kind == PCI_BAR_MEM64)
				at |= (uint64_t)pci_get(fn.config, reg + 4, 4) << 32;
			cr_assert_eq(at & ~(bar->size - 1), bar->address);
		}
		moved = maps;
	}
	cr_expect_gt(moved, 1000, "%u", moved);
	for (unsigned i = 0; i <= PCI_BAR_ROM; i++)
		unmaps += mapped[i] != PCI_BAR_NONE;
	cr_expect_eq(maps, unmaps);
}
