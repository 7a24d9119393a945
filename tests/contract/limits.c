/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address spaces at their limits, and memory that is none. With irqs.copies_errors_and_vectors_take_turns what the
 * kernel's selftests of VFIO see of its devices (docs/testing.md), for every device.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <linux/pci_regs.h>

#include "tests/contract/contract.h"

#define PAGE     4096u
#define LAST     (UINT64_MAX - (PAGE - 1)) /* the last page of all */
#define MAX_MAPS 8

/* A page of the guest's memory, another for each @index, at @iova. */
static struct ioas_area page_at(struct run *run, unsigned index, uint64_t iova)
{
	const uint64_t offset = 0x10000 + index * PAGE;

	return (struct ioas_area){.iova = iova,
				  .length = PAGE,
				  .fd = run->memfd,
				  .offset = offset,
				  .hva = run->memory + offset,
				  .rights = IOAS_READ | IOAS_WRITE};
}

/* DMA to the page reaches it, or (not @mapped) is an error and does not. */
static void page_is_reached(struct run *run, const struct ioas_area *page, bool mapped)
{
	const uint8_t *bytes = page->hva;
	const struct driver *driver = run->target->driver;
	int rc;

	if (!(run->target->has & HAS_DMA))
		return;
	memset(page->hva, 0x11, PAGE);
	rc = driver->fill(run, 0, page->iova, PAGE, 0x22);
	expect(run, mapped ? !rc : rc > 0, "DMA to %#llx: %d", (unsigned long long)page->iova, rc);
	expect(run, bytes[0] == (mapped ? 0x22 : 0x11) && bytes[PAGE - 1] == bytes[0],
	       "the page at %#llx has %#x and %#x", (unsigned long long)page->iova, bytes[0],
	       bytes[PAGE - 1]);
}

/* @known: it is in the ranges. Else the device may take it, or not. */
static void map_use_and_unmap(struct run *run, uint64_t iova, bool known)
{
	const struct ioas_area page = page_at(run, 0, iova);
	int rc;

	step(run, "a page at %#llx", (unsigned long long)iova);
	rc = ioas_map(run->space, &page);
	if (!known && rc == -EINVAL) {
		page_is_reached(run, &page, false);
		return;
	}
	if (!expect_rc(run, rc, 0, "a page at %#llx", (unsigned long long)iova))
		return;
	page_is_reached(run, &page, true);
	expect_rc(run, ioas_unmap(run->space, iova, PAGE), 0, "unmap it");
	page_is_reached(run, &page, false);
	expect_rc(run, ioas_unmap(run->space, iova, PAGE), -ENOENT, "unmap it again");
}

/* The first and the last page that each range has, and none beside it. */
static void every_range_is_whole(struct run *run)
{
	const bool known = answer(run, "known", 1);
	struct iova_range ranges[16];
	size_t count = 16;

	if (run->target->has & HAS_DMA)
		expect_rc(run, run->target->driver->start(run), 0, "start");
	if (!expect_rc(run, ioas_iova_ranges(run->space, ranges, &count), 0, "the ranges"))
		return;
	expect(run, count, "no ranges");
	for (size_t i = 0; i < count; i++) {
		const uint64_t first = (ranges[i].first + PAGE - 1) & ~(PAGE - 1ull);
		const uint64_t last = ranges[i].last & ~(PAGE - 1ull);
		struct ioas_area page = page_at(run, 0, last + PAGE);

		map_use_and_unmap(run, first, true);
		map_use_and_unmap(run, last, known);
		if (ranges[i].last == UINT64_MAX)
			continue;
		expect_rc(run, ioas_map(run->space, &page), -EINVAL, "a page behind range %zu", i);
		page_is_reached(run, &page, false);
		page.iova = last;
		page.length = 2 * PAGE;
		expect_rc(run, ioas_map(run->space, &page), -EINVAL, "pages across its end");
		page_is_reached(run, &page, false);
	}
	/* What was refused has left nothing. */
	page_is_reached(run, &(struct ioas_area){.iova = MEMORY_IOVA, .hva = run->memory}, true);
}

static void what_wraps_is_refused(struct run *run)
{
	struct ioas_area area = page_at(run, 0, LAST);

	if (run->target->has & HAS_DMA)
		expect_rc(run, run->target->driver->start(run), 0, "start");
	area.length = 2 * PAGE;
	expect_rc(run, ioas_map(run->space, &area), -EINVAL, "pages across the end of everything");
	expect_rc(run, ioas_unmap(run->space, area.iova, area.length), -ENOENT, "unmap them");
	page_is_reached(run, &area, false);
	area = page_at(run, 0, MEMORY_IOVA + 2 * MEMORY_SIZE);
	area.length = UINT64_MAX & ~(PAGE - 1ull);
	expect_rc(run, ioas_map(run->space, &area), -EINVAL, "all but a page, from amid");
	area.length = 0;
	expect_rc(run, ioas_map(run->space, &area), -EINVAL, "nothing");
	expect_rc(run, ioas_unmap(run->space, area.iova, 0), -ENOENT, "unmap nothing");
	page_is_reached(run, &area, false);
	/* No way to say everything: nobody's memory goes by a slip. */
	expect_rc(run, ioas_unmap(run->space, 0, UINT64_MAX), -ENOENT, "unmap everything");
	page_is_reached(run, &(struct ioas_area){.iova = MEMORY_IOVA, .hva = run->memory}, true);
}

/* A device that leaves a space leaves all of it: also what came after it had joined. */
static void all_maps_go_together(struct run *run)
{
	struct ioas *other = space_create(run, 0, 0);
	struct ioas_area pages[MAX_MAPS];

	if (!other)
		return;
	expect_rc(run, run->target->driver->start(run), 0, "start");
	for (unsigned i = 0; i < MAX_MAPS; i++) {
		/* With holes in between, and the last next to the one before. */
		pages[i] = page_at(run, i,
				   MEMORY_IOVA + (i < MAX_MAPS - 1 ? 2 * i : 2 * i - 1) * PAGE);
		if (i == MAX_MAPS / 2)
			expect_rc(run, attach(run, other), 0, "attach to it half full");
		expect_rc(run, ioas_map(other, &pages[i]), 0, "page %u", i);
	}
	for (unsigned i = 0; i < MAX_MAPS; i++)
		page_is_reached(run, &pages[i], true);
	expect_rc(run, vfio_device_detach(run->vdev), 0, "detach");
	for (unsigned i = 0; i < MAX_MAPS; i++)
		page_is_reached(run, &pages[i], false);
	expect_rc(run, attach(run, other), 0, "attach");
	for (unsigned i = 0; i < MAX_MAPS; i++)
		page_is_reached(run, &pages[i], true);
	expect_rc(run, vfio_device_detach(run->vdev), 0, "detach");
	expect_rc(run, ioas_destroy(other), 0, "the space goes with all that is in it");
	for (unsigned i = 0; i < MAX_MAPS; i++)
		page_is_reached(run, &pages[i], false);
}

/* ---- device memory --------------------------------------------------------------------------------- */

/* @length bytes of the BAR, at an address that is no multiple of a large page; to be unmapped. */
static uint8_t *map_bar(struct run *run, uint8_t **reserved, size_t *room, size_t length)
{
	const struct vfio_region_info info = region(run, run->target->map_bar);
	const size_t large = 0x200000;
	uint8_t *where;

	*room = length + 2 * large;
	*reserved = mmap(NULL, *room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!expect(run, *reserved != MAP_FAILED, "no address space"))
		return NULL;
	where = *reserved + (large - (uintptr_t)*reserved % large) + PAGE;
	if (!expect_rc(
		    run,
		    vfio_device_mmap(run->vdev, where, length, PROT_READ | PROT_WRITE, info.offset),
		    0, "mmap of %#zx bytes", length))
		return NULL;
	return where;
}

/*
 * A mapping of a BAR is no memory of the guest's: who translates by an IOMMU pins pages, and a BAR has none; who
 * copies reaches it like any other. As peer memory it may be in a space, where a device that cannot reach it is no
 * failure of the space.
 */
static void a_mapped_bar_is_device_memory(struct run *run)
{
	const uint64_t size = region(run, run->target->map_bar).size;
	const size_t lengths[] = {PAGE, size};
	const struct driver *driver = run->target->driver;

	expect_rc(run, driver->start(run), 0, "start");
	for (unsigned i = 0; i < 4; i++) {
		const bool peer = i & 1;
		size_t room;
		uint8_t *reserved, *bar = map_bar(run, &reserved, &room, lengths[i / 2]);
		struct ioas_area area = {.iova = MEMORY_IOVA + 2 * MEMORY_SIZE,
					 .length = lengths[i / 2],
					 .fd = -1,
					 .hva = bar,
					 .rights = IOAS_READ | IOAS_WRITE,
					 .peer = peer};
		const long mapped = peer ? 0 : answer(run, "map", 0);
		const bool reached = peer ? answer(run, "peer", 0) : answer(run, "reached", 1);

		if (!bar)
			return;
		step(run, "%#zx bytes%s", lengths[i / 2], peer ? " as a peer's" : "");
		bar[0] = bar[area.length - 1] = 0x11;
		expect_rc(run, ioas_map(run->space, &area), mapped, "a BAR's %#zx bytes, peer %d",
			  lengths[i / 2], peer);
		expect_rc(run, driver->fill(run, 0, area.iova, 1, 0x22) == 0, reached,
			  "DMA to its first byte, peer %d", peer);
		expect_rc(run, driver->fill(run, 0, area.iova + area.length - 1, 1, 0x22) == 0,
			  reached, "DMA to its last byte, peer %d", peer);
		expect(run, bar[0] == (reached ? 0x22 : 0x11) && bar[area.length - 1] == bar[0],
		       "the BAR has %#x and %#x, peer %d", bar[0], bar[area.length - 1], peer);
		expect_rc(run, ioas_unmap(run->space, area.iova, area.length), mapped ? -ENOENT : 0,
			  "unmap, peer %d", peer);
		expect(run, driver->fill(run, 0, area.iova, 1, 0x33) > 0, "DMA after the unmap");
		munmap(reserved, room);
	}
	expect_rc(run, driver->fill(run, 0, MEMORY_IOVA, PAGE, 0x44), 0, "DMA to memory");
	expect(run, run->memory[0] == 0x44, "memory did not change");
}

const struct contract_test limits_tests[] = {
	{"limits.every_range_is_whole", "vfio_device_ops.attach_ioas, vfio_device_ops.dma_unmap", 0,
	 0, every_range_is_whole},
	{"limits.what_wraps_is_refused", "vfio_device_ops.attach_ioas, vfio_device_ops.dma_unmap",
	 0, 0, what_wraps_is_refused},
	{"limits.all_maps_go_together", "vfio_device_ops.detach_ioas, vfio_device_ops.dma_unmap",
	 HAS_DMA, 0, all_maps_go_together},
	{"limits.a_mapped_bar_is_device_memory",
	 "vfio_device_ops.mmap, vfio_device_ops.attach_ioas", HAS_DMA | HAS_MMAP, 0,
	 a_mapped_bar_is_device_memory},
	{0},
};
