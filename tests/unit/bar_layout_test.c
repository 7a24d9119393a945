/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <linux/pci_regs.h>

#include "devices/vfio/front/bar_layout.h"

/* Criterion records each assertion, which is too much for the loops of random tests. */
#define must(what)                                                                                 \
	do {                                                                                       \
		if (!(what))                                                                       \
			cr_assert_fail("line %d: %s", __LINE__, #what);                            \
	} while (0)

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

static struct bar_layout_input in;
static struct bar_layout out[PCI_BAR_COUNT + 1];
static unsigned bar;
static const char *why;

static void begin(void)
{
	memset(&in, 0, sizeof(in));
	in.page_size = 4096;
}

static void region(unsigned index, uint64_t size, uint32_t type)
{
	in.regions[index] = (struct bar_region){
		.size = size,
		.offset = (uint64_t)index << 40,
		.readable = true,
		.writable = true,
		.mappable = !(type & 1),
	};
	in.registers[index] = type;
}

static void msix(unsigned vectors, unsigned table_bar, uint64_t table, unsigned pba_bar,
		 uint64_t pba)
{
	in.msix_vectors = vectors;
	in.table_bar = table_bar;
	in.table_offset = table;
	in.pba_bar = pba_bar;
	in.pba_offset = pba;
}

static int make(void)
{
	return bar_layout_make(&in, out, &bar, &why);
}

static bool is(const struct bar_area *area, uint64_t offset, uint64_t size)
{
	return area->offset == offset && area->size == size;
}

Test(bar_layout, a_device_without_regions_has_no_bars)
{
	begin();
	cr_assert_eq(make(), 0);
	for (unsigned i = 0; i <= PCI_BAR_ROM; i++)
		cr_expect_eq(out[i].kind, PCI_BAR_ABSENT);
}

Test(bar_layout, kinds_come_from_the_registers)
{
	begin();
	region(0, 0x100, PCI_BASE_ADDRESS_SPACE_IO);
	region(1, KIB(4), 0);
	region(2, KIB(16), PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH);
	region(4, KIB(8), PCI_BASE_ADDRESS_MEM_PREFETCH);
	region(5, KIB(8), PCI_BASE_ADDRESS_MEM_TYPE_1M);
	cr_assert_eq(make(), 0);
	cr_expect_eq(out[0].kind, PCI_BAR_IO);
	cr_expect_eq(out[0].size, 0x100);
	cr_expect_eq(out[0].area_count, 0);
	cr_expect_eq(out[0].hole_count, 1);
	cr_expect_eq(out[1].kind, PCI_BAR_MEM32);
	cr_expect(!out[1].prefetchable);
	cr_expect_eq(out[2].kind, PCI_BAR_MEM64);
	cr_expect(out[2].prefetchable);
	cr_expect_eq(out[3].kind, PCI_BAR_ABSENT);
	cr_expect_eq(out[4].kind, PCI_BAR_MEM32);
	cr_expect(out[4].prefetchable);
	cr_expect_eq(out[5].kind, PCI_BAR_MEM32);
}

Test(bar_layout, a_whole_bar_is_one_area_and_no_hole)
{
	begin();
	region(0, MIB(64), PCI_BASE_ADDRESS_MEM_TYPE_64);
	cr_assert_eq(make(), 0);
	cr_expect_eq(out[0].area_count, 1);
	cr_expect(is(&out[0].areas[0], 0, MIB(64)));
	cr_expect_eq(out[0].hole_count, 0);
	cr_expect_eq(out[0].align, MIB(64));
}

Test(bar_layout, alignment_fits_huge_pages_and_no_more)
{
	static const struct {
		uint64_t size, page, align;
	} cases[] = {
		{0x100, 4096, 4096},    {KIB(4), 4096, KIB(4)},  {MIB(2), 4096, MIB(2)},
		{GIB(1), 4096, GIB(1)}, {GIB(64), 4096, GIB(1)}, {KIB(16), KIB(64), KIB(64)},
		{MIB(3), 4096, MIB(4)},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin();
		in.page_size = cases[i].page;
		region(0, cases[i].size, PCI_BASE_ADDRESS_MEM_TYPE_64);
		cr_assert_eq(make(), 0);
		cr_expect_eq(out[0].align, cases[i].align, "case %u", i);
	}
}

Test(bar_layout, the_page_of_the_msix_table_is_trapped)
{
	begin();
	region(0, KIB(16), PCI_BASE_ADDRESS_MEM_TYPE_64);
	msix(65, 0, KIB(8), 0, KIB(12));
	cr_assert_eq(make(), 0);
	cr_assert_eq(out[0].area_count, 1);
	cr_expect(is(&out[0].areas[0], 0, KIB(8)));
	cr_assert_eq(out[0].hole_count, 1);
	cr_expect(is(&out[0].holes[0], KIB(8), KIB(8)));
}

Test(bar_layout, a_table_in_the_middle_leaves_two_areas)
{
	begin();
	region(2, MIB(1), 0);
	msix(16, 2, KIB(512) + 0x800, 2, KIB(512) + 0x900);
	cr_assert_eq(make(), 0);
	cr_assert_eq(out[2].area_count, 2);
	cr_expect(is(&out[2].areas[0], 0, KIB(512)));
	cr_expect(is(&out[2].areas[1], KIB(516), KIB(508)));
	cr_expect_eq(out[2].hole_count, 1);
}

Test(bar_layout, a_table_that_crosses_pages_takes_all_of_them)
{
	begin();
	region(0, KIB(64), 0);
	msix(2048, 0, KIB(8) - 16, 0, 0);
	cr_assert_eq(make(), 0);
	cr_assert_eq(out[0].area_count, 1);
	cr_expect(is(&out[0].areas[0], KIB(40), KIB(24)));
	cr_assert_eq(out[0].hole_count, 1);
	cr_expect(is(&out[0].holes[0], 0, KIB(40)));
}

Test(bar_layout, table_and_pba_may_be_in_two_bars)
{
	begin();
	region(0, KIB(16), 0);
	region(4, KIB(16), 0);
	msix(3, 0, 0, 4, KIB(12) + 8);
	cr_assert_eq(make(), 0);
	cr_expect(is(&out[0].areas[0], KIB(4), KIB(12)));
	cr_expect(is(&out[4].areas[0], 0, KIB(12)));
}

Test(bar_layout, a_bar_that_is_all_table_is_all_trapped)
{
	begin();
	region(1, KIB(4), 0);
	msix(4, 1, 0, 1, KIB(2));
	cr_assert_eq(make(), 0);
	cr_expect_eq(out[1].area_count, 0);
	cr_expect_eq(out[1].hole_count, 1);
	cr_expect(is(&out[1].holes[0], 0, KIB(4)));
	cr_expect(!out[1].sub_page);
}

Test(bar_layout, a_table_or_pba_past_the_end_is_refused_with_a_reason)
{
	static const struct {
		unsigned vectors, table_bar;
		uint64_t table;
		unsigned pba_bar;
		uint64_t pba;
		int ret;
		unsigned bar;
	} cases[] = {
		{256, 0, 0, 0, KIB(4), 0, 0},
		{256, 0, KIB(4), 0, 0, 0, 0},
		{257, 0, KIB(4), 0, 0, -EINVAL, 0},
		{1, 0, KIB(8) - 8, 0, 0, -EINVAL, 0},
		{1, 0, KIB(8), 0, 0, -EINVAL, 0},
		{1, 0, 0xfffffff8, 0, 0, -EINVAL, 0},
		{65, 0, 0, 0, KIB(8) - 8, -EINVAL, 0},
		{64, 0, 0, 0, KIB(8) - 8, 0, 0},
		{1, 3, 0, 0, 0, -EINVAL, 3},
		{1, 0, 0, 5, 0, -EINVAL, 5},
		{1, 6, 0, 0, 0, -EINVAL, 6},
		{1, 7, 0, 0, 0, -EINVAL, 7},
		{1, 2, 0, 0, 0, -EINVAL, 2},
		{64, 0, 0, 0, 0, -EINVAL, 0},
		{64, 0, 0, 0, KIB(1) - 8, -EINVAL, 0},
		{64, 0, 0, 0, KIB(1), 0, 0},
		{64, 0, 8, 0, 0, 0, 0},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin();
		region(0, KIB(8), 0);
		region(2, 0x20, PCI_BASE_ADDRESS_SPACE_IO);
		msix(cases[i].vectors, cases[i].table_bar, cases[i].table, cases[i].pba_bar,
		     cases[i].pba);
		why = NULL;
		cr_expect_eq(make(), cases[i].ret, "case %u", i);
		if (cases[i].ret) {
			cr_expect_not_null(why, "case %u", i);
			cr_expect_eq(bar, cases[i].bar, "case %u", i);
		}
	}
}

Test(bar_layout, regions_that_contradict_their_register_are_refused)
{
	begin();
	region(5, KIB(4), PCI_BASE_ADDRESS_MEM_TYPE_64);
	cr_expect_eq(make(), -EINVAL);
	cr_expect_eq(bar, 5);
	begin();
	region(0, GIB(4), 0);
	cr_expect_eq(make(), -EINVAL);
	begin();
	region(1, GIB(2), 0);
	cr_expect_eq(make(), 0);
	begin();
	region(1, KIB(64) + 1, PCI_BASE_ADDRESS_SPACE_IO);
	cr_expect_eq(make(), -EINVAL);
	begin();
	region(0, UINT64_MAX, PCI_BASE_ADDRESS_MEM_TYPE_64);
	cr_expect_eq(make(), -EINVAL);
	begin();
	in.rom_size = MIB(17);
	cr_expect_eq(make(), -EINVAL);
	cr_expect_eq(bar, PCI_BAR_ROM);
}

Test(bar_layout, the_upper_half_of_a_64_bit_bar_is_no_bar_even_with_a_region)
{
	begin();
	region(0, KIB(16), PCI_BASE_ADDRESS_MEM_TYPE_64);
	region(1, KIB(16), 0);
	cr_assert_eq(make(), 0);
	cr_expect_eq(out[1].kind, PCI_BAR_ABSENT);
	msix(1, 1, 0, 1, 0x800);
	cr_expect_eq(make(), -EINVAL, "nor can it hold a table");
}

Test(bar_layout, a_region_that_is_not_mappable_is_trapped)
{
	begin();
	region(0, MIB(1), 0);
	in.regions[0].mappable = false;
	cr_assert_eq(make(), 0);
	cr_expect_eq(out[0].area_count, 0);
	cr_expect(is(&out[0].holes[0], 0, MIB(1)));
}

Test(bar_layout, sparse_areas_are_the_whole_truth)
{
	begin();
	region(0, MIB(1), 0);
	in.regions[0].sparse = true;
	cr_assert_eq(make(), 0);
	cr_expect_eq(out[0].area_count, 0, "a list of none maps nothing");

	in.regions[0].sparse_count = 5;
	in.regions[0].sparse_areas[0] = (struct bar_area){KIB(512), KIB(16)};
	in.regions[0].sparse_areas[1] = (struct bar_area){KIB(8), KIB(4)};
	in.regions[0].sparse_areas[2] = (struct bar_area){KIB(12), KIB(4)};
	in.regions[0].sparse_areas[3] = (struct bar_area){KIB(32) + 1, KIB(8)};
	in.regions[0].sparse_areas[4] = (struct bar_area){MIB(1) - KIB(4), UINT64_MAX};
	cr_assert_eq(make(), 0);
	cr_assert_eq(out[0].area_count, 4);
	cr_expect(is(&out[0].areas[0], KIB(8), KIB(8)), "neighbours are joined");
	cr_expect(is(&out[0].areas[1], KIB(36), KIB(4)), "only whole pages");
	cr_expect(is(&out[0].areas[2], KIB(512), KIB(16)), "sorted");
	cr_expect(is(&out[0].areas[3], MIB(1) - KIB(4), KIB(4)), "cut at the region's end");
	cr_expect_eq(out[0].hole_count, 4);
}

Test(bar_layout, the_table_is_cut_out_of_sparse_areas_too)
{
	begin();
	region(0, MIB(1), 0);
	in.regions[0].sparse = true;
	in.regions[0].sparse_count = 1;
	in.regions[0].sparse_areas[0] = (struct bar_area){0, KIB(64)};
	msix(8, 0, KIB(32), 0, KIB(48));
	cr_assert_eq(make(), 0);
	cr_assert_eq(out[0].area_count, 3);
	cr_expect(is(&out[0].areas[0], 0, KIB(32)));
	cr_expect(is(&out[0].areas[1], KIB(36), KIB(12)));
	cr_expect(is(&out[0].areas[2], KIB(52), KIB(12)));
}

Test(bar_layout, more_sparse_areas_than_slots_are_trapped_beyond)
{
	begin();
	region(0, MIB(1), 0);
	in.regions[0].sparse = true;
	in.regions[0].sparse_count = 1000; /* the list is cut, not read beyond its end */
	for (unsigned i = 0; i < BAR_SPARSE_MAX; i++)
		in.regions[0].sparse_areas[i] = (struct bar_area){KIB(8) * i, KIB(4)};
	cr_assert_eq(make(), 0);
	cr_expect_eq(out[0].area_count, BAR_AREA_MAX);
	cr_expect_eq(out[0].hole_count, BAR_AREA_MAX);
	cr_expect(is(&out[0].holes[BAR_AREA_MAX - 1], KIB(8) * BAR_AREA_MAX - KIB(4),
		     MIB(1) - (KIB(8) * BAR_AREA_MAX - KIB(4))));
}

Test(bar_layout, a_bar_below_a_page_is_trapped_and_may_be_mapped_as_a_page)
{
	begin();
	region(0, 0x100, 0);
	cr_assert_eq(make(), 0);
	cr_expect(out[0].sub_page);
	cr_assert_eq(out[0].area_count, 1);
	cr_expect(is(&out[0].areas[0], 0, 4096));
	cr_assert_eq(out[0].hole_count, 1);
	cr_expect(is(&out[0].holes[0], 0, 0x100));
	cr_expect_eq(out[0].size, 0x100);

	in.regions[0].mappable = false; /* the kernel could not reserve the rest of the page */
	cr_assert_eq(make(), 0);
	cr_expect(!out[0].sub_page);
	cr_expect_eq(out[0].area_count, 0);
}

Test(bar_layout, a_16_kib_bar_is_below_a_page_of_64_kib)
{
	begin();
	in.page_size = KIB(64);
	region(0, KIB(16), 0);
	cr_assert_eq(make(), 0);
	cr_expect(out[0].sub_page);
	cr_expect(is(&out[0].areas[0], 0, KIB(64)));
	msix(65, 0, KIB(8), 0, KIB(12));
	cr_assert_eq(make(), 0);
	cr_expect(!out[0].sub_page, "its table would be in reach");
	cr_expect_eq(out[0].area_count, 0);
}

Test(bar_layout, sizes_are_rounded_up_to_what_a_register_can_say)
{
	begin();
	region(0, 1, 0);
	region(1, 1, PCI_BASE_ADDRESS_SPACE_IO);
	region(2, KIB(5), 0);
	in.rom_size = 1;
	cr_assert_eq(make(), 0);
	cr_expect_eq(out[0].size, 16);
	cr_expect_eq(out[1].size, 4);
	cr_expect_eq(out[2].size, KIB(8));
	cr_assert_eq(out[2].area_count, 1);
	cr_expect(is(&out[2].areas[0], 0, KIB(4)), "no page beyond the region's end is mapped");
	cr_expect(is(&out[2].holes[0], KIB(4), KIB(4)));
	cr_expect_eq(out[PCI_BAR_ROM].size, 2048);
	cr_expect_eq(out[PCI_BAR_ROM].kind, PCI_BAR_MEM32);
	cr_expect_eq(out[PCI_BAR_ROM].area_count, 0);
}

Test(bar_layout, large_64_bit_bars_are_shown_prefetchable)
{
	begin();
	in.prefetchable_from = MIB(64);
	region(0, MIB(64), PCI_BASE_ADDRESS_MEM_TYPE_64);
	region(2, MIB(32), PCI_BASE_ADDRESS_MEM_TYPE_64);
	region(4, MIB(256), 0);
	cr_assert_eq(make(), 0);
	cr_expect(out[0].prefetchable);
	cr_expect(!out[2].prefetchable);
	cr_expect(!out[4].prefetchable, "a 32-bit BAR gains nothing");
}

/* Byte by byte: what one page of a BAR has to be. */
static bool page_is_mapped(const struct bar_region *r, unsigned index, uint64_t page)
{
	uint64_t start = page * in.page_size, end = start + in.page_size;
	bool allowed = !r->sparse;

	if (!r->mappable || in.registers[index] & 1 || end > r->size)
		return false;
	if (r->sparse) {
		uint64_t byte = start;

		/* Every byte in some area; areas of this test are sorted by nothing. */
		for (unsigned pass = 0; pass <= r->sparse_count; pass++)
			for (unsigned i = 0; i < r->sparse_count; i++) {
				const struct bar_area *a = &r->sparse_areas[i];
				/* Pages of one area only: a page made of two is not mapped. */
				uint64_t from =
					(a->offset + in.page_size - 1) & ~(in.page_size - 1);
				uint64_t to = (a->offset + a->size) & ~(in.page_size - 1);

				if (from <= byte && to > byte)
					byte = to;
			}
		allowed = byte >= end;
	}
	if (in.msix_vectors && in.table_bar == index && in.table_offset < end &&
	    in.table_offset + in.msix_vectors * 16 > start)
		return false;
	if (in.msix_vectors && in.pba_bar == index && in.pba_offset < end &&
	    in.pba_offset + (in.msix_vectors + 63) / 64 * 8 > start)
		return false;
	return allowed;
}

static uint32_t seed;

static uint32_t draw(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

static bool covers(const struct bar_area *list, unsigned count, uint64_t byte)
{
	for (unsigned i = 0; i < count; i++)
		if (byte >= list[i].offset && byte - list[i].offset < list[i].size)
			return true;
	return false;
}

Test(bar_layout, random_devices_map_exactly_the_pages_they_may)
{
	unsigned made = 0;

	for (unsigned round = 0; round < 20000; round++) {
		unsigned index;

		seed = round;
		begin();
		if (round % 4 == 0)
			in.page_size = KIB(64);
		for (unsigned i = 0; i < PCI_BAR_COUNT; i++) {
			if (draw(2))
				continue;
			region(i, (uint64_t)(1 + draw(32)) * (draw(4) ? in.page_size : 999),
			       draw(5) ? draw(2) * 4 : 1);
			in.regions[i].mappable = draw(5) > 0;
			in.regions[i].sparse = draw(3) == 0;
			in.regions[i].sparse_count = draw(6);
			for (unsigned a = 0; a < in.regions[i].sparse_count; a++)
				in.regions[i].sparse_areas[a] =
					(struct bar_area){(uint64_t)draw(64) * in.page_size / 2,
							  (uint64_t)draw(16) * in.page_size / 2};
		}
		if (draw(2))
			msix(1 + draw(300), draw(8), draw(0x8000) & ~7u, draw(8),
			     draw(0x8000) & ~7u);
		if (make()) {
			must(bar <= 7);
			continue;
		}
		made++;
		for (index = 0; index < PCI_BAR_COUNT; index++) {
			const struct bar_layout *l = &out[index];

			if (l->kind == PCI_BAR_ABSENT)
				continue;
			must(!(l->size & (l->size - 1)));
			must(l->size >= in.regions[index].size);
			if (l->sub_page) {
				must(in.regions[index].size < in.page_size);
				continue;
			}
			for (unsigned i = 1; i < l->area_count; i++)
				must(l->areas[i].offset >
				     l->areas[i - 1].offset + l->areas[i - 1].size);
			for (uint64_t at = 0; at < l->size; at += in.page_size / 2) {
				bool mapped = covers(l->areas, l->area_count, at);

				must(mapped != covers(l->holes, l->hole_count, at));
				must(mapped ==
				     page_is_mapped(&in.regions[index], index, at / in.page_size));
			}
		}
	}
	cr_expect_gt(made, 4000);
}
