/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vfio/front/bar_layout.h"

#include <errno.h>
#include <string.h>
#include <linux/pci_regs.h>

#define HUGE_MAX (1ull << 30) /* the largest page a second-level table can use for a BAR */
#define BAR_MAX  (1ull << 52) /* no physical address of today is wider */

/* Smallest sizes a BAR register can express (PCI Local Bus 3.0 section 6.2.5). */
#define IO_LEAST   4
#define MEM_LEAST  16
#define ROM_LEAST  2048
#define IO_MOST    (64ull << 10)
#define MEM32_MOST (2ull << 30)
#define ROM_MOST   (16ull << 20)

/* Cutting can leave at most two more pieces than there were areas: two ranges are cut out. */
#define PIECE_MAX (BAR_SPARSE_MAX + 2)

struct pieces {
	unsigned count;
	struct bar_area list[PIECE_MAX];
};

static uint64_t power_of_two(uint64_t size, uint64_t least)
{
	uint64_t power = least;

	while (power < size)
		power <<= 1;
	return power;
}

static void add_piece(struct pieces *pieces, uint64_t start, uint64_t end)
{
	unsigned i;

	if (start >= end || pieces->count == PIECE_MAX)
		return;
	for (i = pieces->count; i && pieces->list[i - 1].offset > start; i--)
		pieces->list[i] = pieces->list[i - 1];
	pieces->list[i] = (struct bar_area){.offset = start, .size = end - start};
	pieces->count++;
}

/* Join areas that touch or overlap; the list is sorted. */
static void join(struct pieces *pieces)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < pieces->count; i++) {
		struct bar_area *last = kept ? &pieces->list[kept - 1] : NULL,
				*next = &pieces->list[i];

		if (last && next->offset <= last->offset + last->size) {
			if (next->offset + next->size > last->offset + last->size)
				last->size = next->offset + next->size - last->offset;
		} else {
			pieces->list[kept++] = *next;
		}
	}
	pieces->count = kept;
}

static void cut(struct pieces *pieces, uint64_t start, uint64_t end)
{
	struct pieces old = *pieces;

	pieces->count = 0;
	for (unsigned i = 0; i < old.count; i++) {
		uint64_t from = old.list[i].offset, to = from + old.list[i].size;

		add_piece(pieces, from, to < start ? to : start);
		add_piece(pieces, from > end ? from : end, to);
	}
}

/* The whole host pages of the region that its owner allows to map. */
static void mappable_pages(const struct bar_region *region, uint64_t page, struct pieces *pieces)
{
	unsigned count = region->sparse ? region->sparse_count : 1;

	pieces->count = 0;
	if (count > BAR_SPARSE_MAX)
		count = BAR_SPARSE_MAX;
	for (unsigned i = 0; i < count; i++) {
		uint64_t start = region->sparse ? region->sparse_areas[i].offset : 0, end;

		if (start >= region->size)
			continue;
		end = region->size;
		if (region->sparse && region->sparse_areas[i].size < end - start)
			end = start + region->sparse_areas[i].size;
		add_piece(pieces, (start + page - 1) & ~(page - 1), end & ~(page - 1));
	}
	join(pieces);
}

static uint64_t table_size(unsigned vectors)
{
	return (uint64_t)vectors * PCI_MSIX_ENTRY_SIZE;
}

static uint64_t pba_size(unsigned vectors)
{
	return ((uint64_t)vectors + 63) / 64 * 8;
}

/* Take the pages of [@start, @start + @size) out. */
static void cut_pages(struct pieces *pieces, uint64_t page, uint64_t start, uint64_t size)
{
	cut(pieces, start & ~(page - 1), (start + size + page - 1) & ~(page - 1));
}

static void place_areas(const struct bar_layout_input *in, unsigned bar, struct bar_layout *out)
{
	const struct bar_region *region = &in->regions[bar];
	bool table = in->msix_vectors && in->table_bar == bar;
	bool pba = in->msix_vectors && in->pba_bar == bar;
	struct pieces pieces;

	if (!region->mappable || out->kind == PCI_BAR_IO)
		return;
	if (region->size < in->page_size) {
		if (table || pba || region->sparse)
			return;
		out->sub_page = true;
		out->area_count = 1;
		out->areas[0] = (struct bar_area){.size = in->page_size};
		return;
	}

	mappable_pages(region, in->page_size, &pieces);
	if (table)
		cut_pages(&pieces, in->page_size, in->table_offset, table_size(in->msix_vectors));
	if (pba)
		cut_pages(&pieces, in->page_size, in->pba_offset, pba_size(in->msix_vectors));
	out->area_count = pieces.count < BAR_AREA_MAX ? pieces.count : BAR_AREA_MAX;
	memcpy(out->areas, pieces.list, out->area_count * sizeof(out->areas[0]));
}

static void place_holes(struct bar_layout *out)
{
	uint64_t at = 0;

	for (unsigned i = 0; !out->sub_page && i < out->area_count; i++) {
		if (out->areas[i].offset > at)
			out->holes[out->hole_count++] =
				(struct bar_area){.offset = at, .size = out->areas[i].offset - at};
		at = out->areas[i].offset + out->areas[i].size;
	}
	if (at < out->size)
		out->holes[out->hole_count++] =
			(struct bar_area){.offset = at, .size = out->size - at};
}

static int lay_out(const struct bar_layout_input *in, unsigned bar, struct bar_layout *out,
		   const char **why)
{
	const struct bar_region *region = &in->regions[bar];
	uint32_t type = in->registers[bar];

	if (type & PCI_BASE_ADDRESS_SPACE_IO) {
		out->kind = PCI_BAR_IO;
		if (region->size > IO_MOST) {
			*why = "is an I/O BAR of more than 64 KiB";
			return -EINVAL;
		}
		out->size = power_of_two(region->size, IO_LEAST);
	} else if ((type & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64) {
		out->kind = PCI_BAR_MEM64;
		if (bar == PCI_BAR_COUNT - 1) {
			*why = "is a 64-bit BAR without a second half";
			return -EINVAL;
		}
		if (region->size > BAR_MAX) {
			*why = "is larger than any address space";
			return -EINVAL;
		}
		out->size = power_of_two(region->size, MEM_LEAST);
		out->prefetchable = type & PCI_BASE_ADDRESS_MEM_PREFETCH ||
				    (in->prefetchable_from && out->size >= in->prefetchable_from);
	} else {
		out->kind = PCI_BAR_MEM32;
		if (region->size > MEM32_MOST) {
			*why = "is a 32-bit BAR of more than 2 GiB";
			return -EINVAL;
		}
		out->size = power_of_two(region->size, MEM_LEAST);
		out->prefetchable = type & PCI_BASE_ADDRESS_MEM_PREFETCH;
	}

	place_areas(in, bar, out);
	place_holes(out);
	out->align = out->size < HUGE_MAX ? out->size : HUGE_MAX;
	if (out->align < in->page_size)
		out->align = in->page_size;
	return 0;
}

static int check_msix(const struct bar_layout_input *in, const struct bar_layout *out,
		      unsigned bar_index, uint64_t offset, uint64_t size, const char *what[3],
		      const char **why)
{
	if (bar_index >= PCI_BAR_COUNT || out[bar_index].kind == PCI_BAR_ABSENT) {
		*why = what[0];
		return -EINVAL;
	}
	if (out[bar_index].kind == PCI_BAR_IO) {
		*why = what[1];
		return -EINVAL;
	}
	if (offset > in->regions[bar_index].size || size > in->regions[bar_index].size - offset) {
		*why = what[2];
		return -EINVAL;
	}
	return 0;
}

int bar_layout_make(const struct bar_layout_input *in, struct bar_layout out[PCI_BAR_COUNT + 1],
		    unsigned *bar, const char **why)
{
	static const char *table_words[3] = {
		"is to hold the MSI-X table and does not exist",
		"is to hold the MSI-X table and is an I/O BAR",
		"ends before the MSI-X table does",
	};
	static const char *pba_words[3] = {
		"is to hold the MSI-X pending bits and does not exist",
		"is to hold the MSI-X pending bits and is an I/O BAR",
		"ends before the MSI-X pending bits do",
	};
	uint64_t table = table_size(in->msix_vectors), pba = pba_size(in->msix_vectors);
	int ret;

	memset(out, 0, (PCI_BAR_COUNT + 1) * sizeof(*out));
	for (*bar = 0; *bar < PCI_BAR_COUNT; (*bar)++) {
		if (!in->regions[*bar].size)
			continue;
		ret = lay_out(in, *bar, &out[*bar], why);
		if (ret)
			return ret;
		/* The upper half of a 64-bit BAR is no BAR, whatever its region says. */
		if (out[*bar].kind == PCI_BAR_MEM64)
			(*bar)++;
	}

	if (in->rom_size) {
		struct bar_layout *rom = &out[PCI_BAR_ROM];

		*bar = PCI_BAR_ROM;
		if (in->rom_size > ROM_MOST) {
			*why = "(expansion ROM) is larger than 16 MiB";
			return -EINVAL;
		}
		rom->kind = PCI_BAR_MEM32;
		rom->size = power_of_two(in->rom_size, ROM_LEAST);
		rom->align = in->page_size;
		place_holes(rom);
	}

	if (!in->msix_vectors)
		return 0;
	*bar = in->table_bar;
	ret = check_msix(in, out, in->table_bar, in->table_offset, table, table_words, why);
	if (ret)
		return ret;
	*bar = in->pba_bar;
	ret = check_msix(in, out, in->pba_bar, in->pba_offset, pba, pba_words, why);
	if (ret)
		return ret;
	if (in->table_bar == in->pba_bar && in->table_offset < in->pba_offset + pba &&
	    in->pba_offset < in->table_offset + table) {
		*why = "has its MSI-X pending bits inside the table";
		return -EINVAL;
	}
	return 0;
}
