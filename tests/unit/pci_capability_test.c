/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/pci/capability.h"

static uint8_t config[4096];

static void blank(void)
{
	memset(config, 0, sizeof(config));
	config[0] = 0x36;
	config[1] = 0x1b;
}

static void conventional(uint8_t at, uint8_t id, uint8_t next)
{
	config[6] |= 0x10;
	config[at] = id;
	config[at + 1] = next;
}

static void extended(unsigned at, unsigned id, unsigned version, unsigned next)
{
	uint32_t value = id | version << 16 | next << 20;

	memcpy(config + at, &value, 4);
}

Test(pci_capability, a_space_without_the_status_bit_has_no_chain)
{
	struct pci_capability caps[PCI_CAPABILITY_MAX];
	size_t count = 9;

	blank();
	config[0x34] = 0x40;
	config[0x40] = 5;
	cr_assert_eq(pci_capability_walk(config, 256, caps, PCI_CAPABILITY_MAX, &count), 0);
	cr_assert_eq(count, 0);
}

Test(pci_capability, the_chain_is_listed_in_its_order_with_room_by_space)
{
	struct pci_capability caps[PCI_CAPABILITY_MAX];
	size_t count;

	blank();
	config[0x34] = 0x80;
	conventional(0x80, 0x10, 0x43); /* reserved low bits of the pointer are ignored */
	conventional(0x40, 0x01, 0xfc);
	conventional(0xfc, 0x09, 0);
	cr_assert_eq(pci_capability_walk(config, 256, caps, PCI_CAPABILITY_MAX, &count), 0);
	cr_assert_eq(count, 3);
	cr_expect_eq(caps[0].id, 0x10);
	cr_expect_eq(caps[0].offset, 0x80);
	cr_expect_eq(caps[0].room, 0x7c);
	cr_expect_eq(caps[1].id, 0x01);
	cr_expect_eq(caps[1].offset, 0x40);
	cr_expect_eq(caps[1].room, 0x40);
	cr_expect_eq(caps[2].offset, 0xfc);
	cr_expect_eq(caps[2].room, 4);
	cr_expect_eq(pci_capability_offset(config, 256, 0x09), 0xfc);
	cr_expect_eq(pci_capability_offset(config, 256, 0x11), 0);
	cr_expect_eq(pci_capability_find(caps, count, 0x01), &caps[1]);
	cr_expect_null(pci_capability_find(caps, count, 0x77));
}

Test(pci_capability, broken_conventional_chains_give_their_sound_part_and_an_error)
{
	static const struct {
		const char *name;
		uint8_t first, at[3], id[3], next[3];
		size_t max;
		int err;
		size_t count;
	} rows[] = {
		{"self loop", 0x40, {0x40}, {5}, {0x40}, 48, -ELOOP, 1},
		{"long loop",
		 0x40,
		 {0x40, 0x50, 0x60},
		 {1, 5, 16},
		 {0x50, 0x60, 0x50},
		 48,
		 -ELOOP,
		 3},
		{"into the header", 0x40, {0x40}, {5}, {0x3c}, 48, -ERANGE, 1},
		{"starts in the header", 0x04, {0x40}, {5}, {0}, 48, -ERANGE, 0},
		{"pointer of ones", 0xff, {0x40}, {5}, {0}, 48, 0, 1},
		{"id of ones", 0x40, {0x40, 0x50}, {1, 0xff}, {0x50, 0xff}, 48, -EIO, 1},
		{"array too small", 0x40, {0x40, 0x50}, {1, 5}, {0x50, 0}, 1, -ENOSPC, 1},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct pci_capability caps[PCI_CAPABILITY_MAX];
		size_t count;
		int err;

		blank();
		config[0x34] = rows[i].first;
		for (int j = 0; j < 3; j++)
			if (rows[i].at[j])
				conventional(rows[i].at[j], rows[i].id[j], rows[i].next[j]);
		err = pci_capability_walk(config, 256, caps, rows[i].max, &count);
		cr_expect_eq(err, rows[i].err, "%s: %d", rows[i].name, err);
		cr_expect_eq(count, rows[i].count, "%s: %zu", rows[i].name, count);
	}
}

Test(pci_capability, a_device_that_is_gone_is_an_error)
{
	struct pci_capability caps[PCI_EXTENDED_MAX];
	size_t count;

	memset(config, 0xff, sizeof(config));
	cr_expect_eq(pci_capability_walk(config, 256, caps, PCI_CAPABILITY_MAX, &count), -EIO);
	cr_expect_eq(count, 0);
	cr_expect_eq(pci_extended_walk(config, 4096, caps, PCI_EXTENDED_MAX, &count), -EIO);
	cr_expect_eq(count, 0);
}

Test(pci_capability, the_longest_chains_fit_and_nothing_is_read_past_the_end)
{
	struct pci_capability caps[PCI_EXTENDED_MAX];
	uint8_t *small = malloc(0x104);
	size_t count;

	blank();
	config[0x34] = 0x40;
	for (unsigned at = 0x40; at < 0x100; at += 4)
		conventional((uint8_t)at, 9, at + 4 < 0x100 ? (uint8_t)(at + 4) : 0);
	for (unsigned at = 0x100; at < 0x1000; at += 4)
		extended(at, 11, 1, at + 4 < 0x1000 ? at + 4 : 0);
	cr_expect_eq(pci_capability_walk(config, 4096, caps, PCI_CAPABILITY_MAX, &count), 0);
	cr_expect_eq(count, PCI_CAPABILITY_MAX);
	cr_expect_eq(pci_extended_walk(config, 4096, caps, PCI_EXTENDED_MAX, &count), 0);
	cr_expect_eq(count, PCI_EXTENDED_MAX);
	cr_expect_eq(caps[959].offset, 0xffc);
	cr_expect_eq(caps[959].room, 4);

	/* Sanitizers see a read beyond @size. */
	memcpy(small, config, 0x104);
	cr_expect_eq(pci_extended_walk(small, 0x104, caps, PCI_EXTENDED_MAX, &count), -ERANGE);
	cr_expect_eq(count, 1);
	cr_expect_eq(pci_extended_walk(small, 0x100, caps, PCI_EXTENDED_MAX, &count), 0);
	cr_expect_eq(count, 0);
	cr_expect_eq(pci_capability_walk(small, 0x40, caps, PCI_CAPABILITY_MAX, &count), -ERANGE);
	cr_expect_eq(pci_capability_walk(small, 0x3f, caps, PCI_CAPABILITY_MAX, &count), -ERANGE);
	free(small);
}

Test(pci_capability, broken_extended_chains_give_their_sound_part_and_an_error)
{
	struct pci_capability caps[PCI_EXTENDED_MAX];
	size_t count;

	blank();
	cr_expect_eq(pci_extended_walk(config, 4096, caps, PCI_EXTENDED_MAX, &count), 0);
	cr_expect_eq(count, 0);

	extended(0x100, 1, 2, 0x140);
	extended(0x140, 13, 1, 0x100);
	cr_expect_eq(pci_extended_walk(config, 4096, caps, PCI_EXTENDED_MAX, &count), -ELOOP);
	cr_expect_eq(count, 2);
	cr_expect_eq(caps[0].version, 2);
	cr_expect_eq(caps[0].room, 0x40);
	cr_expect_eq(caps[1].id, 13);

	extended(0x140, 13, 1, 0x80);
	cr_expect_eq(pci_extended_walk(config, 4096, caps, PCI_EXTENDED_MAX, &count), -ERANGE);

	extended(0x140, 0xffff, 15, 0xfff);
	cr_expect_eq(pci_extended_walk(config, 4096, caps, PCI_EXTENDED_MAX, &count), -EIO);
	cr_expect_eq(count, 1);
}

Test(pci_capability, random_bytes_never_hurt_a_walk)
{
	struct pci_capability caps[PCI_EXTENDED_MAX];
	size_t count;

	srand(1);
	for (int round = 0; round < 3000; round++) {
		for (size_t i = 0; i < sizeof(config); i++)
			config[i] = (uint8_t)rand();
		config[6] |= 0x10;
		pci_capability_walk(config, 256, caps, PCI_CAPABILITY_MAX, &count);
		for (size_t i = 0; i < count; i++) {
			cr_assert(caps[i].offset >= 0x40 && caps[i].offset + caps[i].room <= 0x100);
			cr_assert(caps[i].room >= 4);
		}
		pci_extended_walk(config, sizeof(config), caps, PCI_EXTENDED_MAX, &count);
		for (size_t i = 0; i < count; i++)
			cr_assert(caps[i].offset >= 0x100 &&
				  caps[i].offset + caps[i].room <= 0x1000);
	}
}

Test(pci_capability, a_filtered_chain_is_linked_and_walks_back)
{
	const struct pci_capability keep[] = {{.id = 1, .offset = 0x80}, {.id = 5, .offset = 0x40}};
	struct pci_capability caps[PCI_CAPABILITY_MAX];
	size_t count;

	blank();
	config[0x42] = 0xab;
	cr_assert_eq(pci_capability_link(config, keep, 2), 0);
	cr_assert_eq(pci_capability_walk(config, 256, caps, PCI_CAPABILITY_MAX, &count), 0);
	cr_assert_eq(count, 2);
	cr_expect_eq(caps[0].offset, 0x80);
	cr_expect_eq(caps[1].offset, 0x40);
	cr_expect_eq(config[0x42], 0xab, "the body stays");

	cr_assert_eq(pci_capability_link(config, keep, 0), 0);
	cr_expect_eq(config[0x34], 0);
	cr_expect_eq(config[6] & 0x10, 0);
}

Test(pci_capability, an_extended_chain_whose_first_entry_went_gets_a_filler)
{
	const struct pci_capability keep[] = {{.id = 3, .offset = 0x148, .version = 1},
					      {.id = 0x1e, .offset = 0x200, .version = 2}};
	const struct pci_capability late[] = {{.id = 3, .offset = 0x148, .version = 1},
					      {.id = 1, .offset = 0x100, .version = 2}};
	struct pci_capability caps[PCI_EXTENDED_MAX];
	size_t count;

	blank();
	extended(0x100, 0x10, 1, 0x148);
	cr_assert_eq(pci_extended_link(config, keep, 2), 0);
	cr_assert_eq(pci_extended_walk(config, 4096, caps, PCI_EXTENDED_MAX, &count), 0);
	cr_assert_eq(count, 3);
	cr_expect_eq(caps[0].id, 0xffff);
	cr_expect_eq(caps[1].id, 3);
	cr_expect_eq(caps[2].id, 0x1e);
	cr_expect_eq(caps[2].version, 2);
	cr_expect_eq(pci_extended_offset(config, 4096, 0x1e), 0x200);

	cr_expect_eq(pci_extended_link(config, late, 2), -EINVAL);
	cr_assert_eq(pci_extended_link(config, keep, 0), 0);
	cr_assert_eq(pci_extended_walk(config, 4096, caps, PCI_EXTENDED_MAX, &count), 0);
	cr_expect_eq(count, 0);
}

Test(pci_capability, unsound_lists_are_refused_and_write_nothing)
{
	static const struct pci_capability rows[][2] = {
		{{.id = 1, .offset = 0x3c}, {.id = 2, .offset = 0x50}},
		{{.id = 1, .offset = 0x42}, {.id = 2, .offset = 0x50}},
		{{.id = 1, .offset = 0x50}, {.id = 2, .offset = 0x50}},
		{{.id = 1, .offset = 0x50}, {.id = 2, .offset = 0x100}},
		{{.id = 0x100, .offset = 0x50}, {.id = 2, .offset = 0x60}},
	};
	static const struct pci_capability wide[][2] = {
		{{.id = 1, .offset = 0xfc}, {.id = 2, .offset = 0x150}},
		{{.id = 1, .offset = 0x102}, {.id = 2, .offset = 0x150}},
		{{.id = 1, .offset = 0x150}, {.id = 2, .offset = 0x150}},
		{{.id = 1, .offset = 0x150}, {.id = 2, .offset = 0x1000}},
	};
	static uint8_t before[4096];

	blank();
	memcpy(before, config, sizeof(before));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_expect_eq(pci_capability_link(config, rows[i], 2), -EINVAL, "row %zu", i);
	for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++)
		cr_expect_eq(pci_extended_link(config, wide[i], 2), -EINVAL, "row %zu", i);
	cr_expect_arr_eq(config, before, sizeof(before));
}

Test(pci_capability, a_place_is_the_lowest_gap_that_is_long_enough)
{
	const struct pci_capability caps[] = {{.offset = 0x60, .room = 0x1a},
					      {.offset = 0x40, .room = 8},
					      {.offset = 0xf0, .room = 16}};

	cr_expect_eq(pci_capability_place(caps, 3, 0x18, 0x40, 0x100), 0x48);
	cr_expect_eq(pci_capability_place(caps, 3, 0x19, 0x40, 0x100), 0x7c);
	cr_expect_eq(pci_capability_place(caps, 3, 0x74, 0x40, 0x100), 0x7c);
	cr_expect_eq(pci_capability_place(caps, 3, 0x75, 0x40, 0x100), -ENOSPC);
	cr_expect_eq(pci_capability_place(caps, 0, 0xc0, 0x40, 0x100), 0x40);
	cr_expect_eq(pci_capability_place(caps, 0, 0xc1, 0x40, 0x100), -ENOSPC);
	cr_expect_eq(pci_capability_place(caps, 0, 0x101, 0x40, 0x100), -ENOSPC);
	cr_expect_eq(pci_capability_place(caps, 0, 0, 0x40, 0x100), -ENOSPC);
	cr_expect_eq(pci_capability_place(NULL, 0, 0xf00, 0x100, 0x1000), 0x100);
}
