/* SPDX-License-Identifier: Apache-2.0 */
/* DMA by the device: what it reaches, and what it no longer reaches. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/pci_regs.h>

#include "tests/contract/contract.h"

/* Are @count bytes of the guest's memory at @offset all @value? */
static bool memory_is(struct run *run, uint64_t offset, size_t count, uint8_t value)
{
	for (size_t i = 0; i < count; i++) {
		if (run->memory[offset + i] != value)
			return false;
	}
	return true;
}

static void the_device_reads_and_writes_memory(struct run *run)
{
	const struct driver *driver = run->target->driver;

	expect_rc(run, driver->start(run), 0, "start");
	for (uint32_t i = 0; i < 0x3000; i++)
		run->memory[i] = (uint8_t)(i * 7 + i / 256);
	expect_rc(run, driver->copy(run, 0, MEMORY_IOVA, MEMORY_IOVA + 0x10000, 0x3000), 0,
		  "a copy of three pages");
	expect(run, !memcmp(run->memory, run->memory + 0x10000, 0x3000), "the bytes differ");
	expect_rc(run, driver->copy(run, 0, MEMORY_IOVA + 5, MEMORY_IOVA + 0x20ffd, 7), 0,
		  "an unaligned copy across a page's end");
	expect(run, !memcmp(run->memory + 5, run->memory + 0x20ffd, 7), "the bytes differ");
	expect(run, !run->memory[0x20ffc] && !run->memory[0x21004], "bytes around it changed");
	expect_rc(run, driver->fill(run, 0, MEMORY_IOVA + MEMORY_SIZE - 4096, 4096, 0x5a), 0,
		  "a fill of the last page");
	expect(run, memory_is(run, MEMORY_SIZE - 4096, 4096, 0x5a), "the last page");
}

static void a_hole_is_an_error_of_the_request(struct run *run)
{
	const struct driver *driver = run->target->driver;

	expect_rc(run, driver->start(run), 0, "start");
	expect(run, driver->fill(run, 0, MEMORY_IOVA + MEMORY_SIZE, 16, 1) > 0, "DMA to a hole");
	expect(run, driver->copy(run, 0, MEMORY_IOVA - 16, MEMORY_IOVA, 16) > 0, "DMA from a hole");
	expect(run, driver->fill(run, 0, UINT64_MAX - 7, 16, 1) > 0, "DMA that wraps");
	expect_rc(run, driver->fill(run, 0, MEMORY_IOVA, 16, 1), 0, "the next request");
}

static void without_bus_master_there_is_no_dma(struct run *run)
{
	const struct driver *driver = run->target->driver;

	expect_rc(run, driver->start(run), 0, "start");
	command(run, 0, PCI_COMMAND_MASTER);
	memset(run->memory, 0x11, 4096);
	expect(run, driver->fill(run, 0, MEMORY_IOVA, 4096, 0x22) > 0, "DMA without bus master");
	expect(run, memory_is(run, 0, 4096, 0x11), "memory changed");
	command(run, PCI_COMMAND_MASTER, 0);
	expect_rc(run, driver->fill(run, 0, MEMORY_IOVA, 4096, 0x22), 0, "DMA with bus master");
}

static void a_detached_device_reaches_nothing(struct run *run)
{
	const struct driver *driver = run->target->driver;

	expect_rc(run, driver->start(run), 0, "start");
	memset(run->memory, 0x11, 4096);
	expect_rc(run, vfio_device_detach(run->vdev), 0, "detach");
	expect(run, driver->fill(run, 0, MEMORY_IOVA, 4096, 0x22) > 0, "DMA of a detached device");
	expect(run, memory_is(run, 0, 4096, 0x11), "memory changed");
	expect_rc(run, attach(run, run->space), 0, "attach");
	expect_rc(run, driver->fill(run, 0, MEMORY_IOVA, 4096, 0x22), 0, "DMA");
	expect(run, memory_is(run, 0, 4096, 0x22), "memory did not change");
}

static void unmapped_memory_is_out_of_reach(struct run *run)
{
	const struct driver *driver = run->target->driver;
	struct ioas_area area = {.iova = MEMORY_IOVA + 2 * MEMORY_SIZE,
				 .length = 0x10000,
				 .fd = run->memfd,
				 .offset = 0x10000,
				 .hva = run->memory + 0x10000,
				 .rights = IOAS_READ | IOAS_WRITE};

	expect_rc(run, driver->start(run), 0, "start");
	for (int i = 0; i < 3; i++) {
		expect_rc(run, ioas_map(run->space, &area), 0, "map");
		expect_rc(run, driver->fill(run, 0, area.iova, 0x10000, 0x22), 0, "DMA");
		expect(run, memory_is(run, 0x10000, 0x10000, 0x22), "memory did not change");
		expect_rc(run, ioas_unmap(run->space, area.iova, area.length), 0, "unmap");
		memset(run->memory + 0x10000, 0x33, 0x10000);
		expect(run, driver->fill(run, 0, area.iova, 4096, 0x44) > 0,
		       "DMA to what was unmapped");
		expect(run, memory_is(run, 0x10000, 0x10000, 0x33), "unmapped memory changed");
	}
}

/*
 * What the device is doing when its memory goes is over when the call returns: it is done, or an error of
 * the request, but nothing comes later.
 */
static void dma_in_flight_is_waited_for(struct run *run)
{
	const struct driver *driver = run->target->driver;
	struct ioas_area area = {.iova = MEMORY_IOVA + 2 * MEMORY_SIZE,
				 .length = 0x200000,
				 .fd = run->memfd,
				 .offset = 0x100000,
				 .hva = run->memory + 0x100000,
				 .rights = IOAS_READ | IOAS_WRITE};
	uint32_t before, after;

	expect_rc(run, driver->start(run), 0, "start");
	for (int i = 0; i < 24; i++) {
		const bool detach = i & 1;

		step(run, "%s %d", detach ? "detach" : "unmap", i);
		expect_rc(run, ioas_map(run->space, &area), 0, "map");
		expect_rc(run, driver->completed(run, &before), 0, "requests done");
		expect_rc(run, driver->post_fill(run, area.iova, (uint32_t)area.length, 0x22), 0,
			  "a request");
		/* Some begin before it has begun, and some amid it. */
		usleep((unsigned)i * 40);
		if (detach)
			expect_rc(run, vfio_device_detach(run->vdev), 0, "detach");
		else
			expect_rc(run, ioas_unmap(run->space, area.iova, area.length), 0, "unmap");
		memset(area.hva, 0x33, area.length);
		do {
			if (!expect_rc(run, driver->completed(run, &after), 0, "requests done"))
				return;
		} while (after == before);
		expect(run, memory_is(run, area.offset, area.length, 0x33),
		       "memory changed after the %s", detach ? "detach" : "unmap");
		if (detach) {
			expect_rc(run, attach(run, run->space), 0, "attach");
			expect_rc(run, ioas_unmap(run->space, area.iova, area.length), 0, "unmap");
		}
	}
}

static void rights_are_kept(struct run *run)
{
	const struct driver *driver = run->target->driver;
	struct ioas_area area = {.iova = MEMORY_IOVA + 2 * MEMORY_SIZE,
				 .length = 0x10000,
				 .fd = run->memfd,
				 .offset = 0x10000,
				 .hva = run->memory + 0x10000,
				 .rights = IOAS_READ};

	expect_rc(run, driver->start(run), 0, "start");
	memset(run->memory + 0x10000, 0x33, 0x10000);
	expect_rc(run, ioas_map(run->space, &area), 0, "map for reading");
	expect_rc(run, driver->copy(run, 0, area.iova, MEMORY_IOVA, 4096), 0, "a read of it");
	expect(run, memory_is(run, 0, 4096, 0x33), "what was read");
	expect(run, driver->fill(run, 0, area.iova, 4096, 0x44) > 0, "a write of it");
	expect(run, memory_is(run, 0x10000, 4096, 0x33), "memory without the right changed");
	expect_rc(run, ioas_unmap(run->space, area.iova, area.length), 0, "unmap");
}

static void a_replaced_space_is_out_of_reach(struct run *run)
{
	const struct driver *driver = run->target->driver;
	struct ioas *other = space_create(run, MEMORY_SIZE / 2, 0x10000);
	uint32_t id = 12345;

	if (!other)
		return;
	expect_rc(run, driver->start(run), 0, "start");
	memset(run->memory, 0x11, MEMORY_SIZE);
	expect_rc(run, attach(run, other), 0, "replace");
	expect_rc(run, driver->fill(run, 0, MEMORY_IOVA, 4096, 0x22), 0, "DMA");
	expect(run, memory_is(run, 0, 4096, 0x11), "the old space was written");
	expect(run, memory_is(run, MEMORY_SIZE / 2, 4096, 0x22), "the new space was not");
	/* A replacement that fails leaves the one that is. */
	expect_rc(run, vfio_device_attach(run->vdev, &id), -ENOENT, "an unknown space");
	expect_rc(run, driver->fill(run, 0, MEMORY_IOVA, 4096, 0x33), 0, "DMA after that");
	expect(run, memory_is(run, MEMORY_SIZE / 2, 4096, 0x33), "the new space is lost");
	expect_rc(run, attach(run, run->space), 0, "and back");
	expect_rc(run, driver->fill(run, 0, MEMORY_IOVA, 4096, 0x44), 0, "DMA");
	expect(run, memory_is(run, 0, 4096, 0x44), "the first space is not back");
	expect(run, memory_is(run, MEMORY_SIZE / 2, 4096, 0x33), "the other space was written");
	expect_rc(run, ioas_destroy(other), 0, "destroying the other space");
}

/* What fails below the provider, in the kernel or its driver: the attachment that is there stays whole. */
static void a_failed_replacement_keeps_the_old_one(struct run *run)
{
	const struct driver *driver = run->target->driver;
	struct ioas *other = space_create(run, MEMORY_SIZE / 2, 0x10000);
	const uint32_t before = run->vdev->iommufd_pt_id;

	if (!other)
		return;
	expect_rc(run, driver->start(run), 0, "start");
	memset(run->memory, 0x11, MEMORY_SIZE);
	control_set(run, "fail_attach", "12"); /* ENOMEM */
	expect_rc(run, attach(run, other), -ENOMEM, "a replacement that fails");
	control_set(run, "fail_attach", "0");
	expect(run, run->vdev->iommufd_attached && run->vdev->iommufd_pt_id == before,
	       "the old attachment is lost");
	expect_rc(run, driver->fill(run, 0, MEMORY_IOVA, 4096, 0x22), 0, "DMA after that");
	expect(run, memory_is(run, 0, 4096, 0x22), "the old space is out of reach");
	expect(run, memory_is(run, MEMORY_SIZE / 2, 4096, 0x11), "the new space was written");
	expect_rc(run, ioas_destroy(other), 0, "destroying the space that nobody has");
}

/* ---- memory without a descriptor: DMA by call ----------------------------------------------------- */

struct calls {
	uint8_t bytes[0x10000];
	uint64_t base;
	atomic_uint reads, writes;         /* of the area */
	atomic_uint own_reads, own_writes; /* by the device's owner */
	bool refuse;
};

static int area_read(void *ctx, uint64_t iova, void *buffer, size_t length)
{
	struct calls *calls = ctx;

	atomic_fetch_add(&calls->reads, 1);
	memcpy(buffer, calls->bytes + (iova - calls->base), length);
	return 0;
}

static int area_write(void *ctx, uint64_t iova, const void *buffer, size_t length)
{
	struct calls *calls = ctx;

	atomic_fetch_add(&calls->writes, 1);
	memcpy(calls->bytes + (iova - calls->base), buffer, length);
	return 0;
}

static int own_read(void *ctx, uint64_t iova, void *buffer, size_t length)
{
	struct calls *calls = ctx;

	(void)iova;
	atomic_fetch_add(&calls->own_reads, 1);
	memset(buffer, 0x99, length);
	return calls->refuse ? -EFAULT : 0;
}

static int own_write(void *ctx, uint64_t iova, const void *buffer, size_t length)
{
	struct calls *calls = ctx;

	(void)iova;
	(void)buffer;
	(void)length;
	atomic_fetch_add(&calls->own_writes, 1);
	return calls->refuse ? -EFAULT : 0;
}

static const struct vfio_device_events own_dma = {.dma_read = own_read, .dma_write = own_write};

static bool map_by_call(struct run *run, struct calls *calls)
{
	static const struct ioas_area_ops ops = {.read = area_read, .write = area_write};
	struct ioas_area area = {.iova = MEMORY_IOVA + 2 * MEMORY_SIZE,
				 .length = sizeof(calls->bytes),
				 .fd = -1,
				 .rights = IOAS_READ | IOAS_WRITE,
				 .ops = &ops,
				 .ops_ctx = calls};

	calls->base = area.iova;
	return expect_rc(run, ioas_map(run->space, &area), 0, "memory without a descriptor");
}

/* Whoever can do DMA by call reaches memory that has no descriptor; to the others it is a hole. */
static void memory_without_a_descriptor_goes_by_call(struct run *run)
{
	const struct driver *driver = run->target->driver;
	const bool reached = answer(run, "reached", 1);
	struct calls *calls = calloc(1, sizeof(*calls));

	if (!map_by_call(run, calls))
		return;
	expect_rc(run, driver->start(run), 0, "start");
	expect_rc(run, driver->fill(run, 0, calls->base + 0x1000, 0x2000, 0x22) == 0, reached,
		  "DMA to it");
	expect_rc(run, calls->bytes[0x1000] == 0x22 && calls->bytes[0x2fff] == 0x22, reached,
		  "the bytes");
	expect(run, !calls->bytes[0xfff] && !calls->bytes[0x3000], "bytes around it");
	expect_rc(run, driver->copy(run, 0, calls->base + 0x1000, MEMORY_IOVA, 0x1000) == 0,
		  reached, "DMA from it");
	expect_rc(run, memory_is(run, 0, 0x1000, 0x22), reached, "what was read");
	expect_rc(run, calls->reads && calls->writes, reached, "calls");
	expect_rc(run, ioas_unmap(run->space, calls->base, sizeof(calls->bytes)), 0, "unmap");
	calls->writes = 0;
	expect(run, driver->fill(run, 0, calls->base, 16, 0x33) > 0, "DMA to what was unmapped");
	expect(run, !calls->writes, "a call for memory that was unmapped");
	free(calls);
}

/* DMA by message is the owner's affair, if it wants it to be. */
static void messages_are_the_owners(struct run *run)
{
	const struct driver *driver = run->target->driver;
	struct calls *calls = calloc(1, sizeof(*calls));

	vfio_device_set_events(run->vdev, &own_dma, calls);
	expect_rc(run, device_open(run, run->vdev), 0, "open");
	expect_rc(run, attach(run, run->space), 0, "attach");
	if (!map_by_call(run, calls))
		return;
	expect_rc(run, driver->start(run), 0, "start");
	expect_rc(run, driver->fill(run, 0, calls->base, 0x1000, 0x22), 0, "DMA to it");
	expect_rc(run, driver->copy(run, 0, calls->base, MEMORY_IOVA, 0x1000), 0, "DMA from it");
	expect(run, memory_is(run, 0, 0x1000, 0x99), "what the owner gave");
	expect(run, calls->own_reads && calls->own_writes && !calls->reads && !calls->writes,
	       "%u and %u calls of the owner, %u and %u of the area", calls->own_reads,
	       calls->own_writes, calls->reads, calls->writes);
	calls->refuse = true;
	expect(run, driver->fill(run, 0, calls->base, 16, 0x33) > 0, "DMA that the owner refuses");
	expect(run, driver->copy(run, 0, calls->base, MEMORY_IOVA, 16) > 0,
	       "DMA that the owner refuses");
	vfio_device_close(run->vdev);
	vfio_device_set_events(run->vdev, NULL, NULL);
	expect_rc(run, ioas_unmap(run->space, calls->base, sizeof(calls->bytes)), 0, "unmap");
	free(calls);
}

static void a_reset_ends_dma(struct run *run)
{
	const struct driver *driver = run->target->driver;
	uint32_t count = 7;

	expect_rc(run, driver->start(run), 0, "start");
	expect_rc(run, driver->fill(run, 0, MEMORY_IOVA, 0x1000, 0x22), 0, "DMA");
	expect_rc(run, device_reset(run), 0, "reset");
	memset(run->memory, 0x11, 0x1000);
	expect_rc(run, driver->start(run), 0, "start again");
	expect_rc(run, driver->completed(run, &count), 0, "requests done");
	expect_rc(run, count, 0, "requests done since the reset");
	expect(run, memory_is(run, 0, 0x1000, 0x11), "memory changed after the reset");
	expect_rc(run, driver->fill(run, 0, MEMORY_IOVA, 0x1000, 0x33), 0, "DMA after the reset");
	expect(run, memory_is(run, 0, 0x1000, 0x33), "memory did not change");
}

/* Of an emulated device the kernel tells the driver, which has a page of the guest's in its hands. */
static void dma_unmap_takes_a_pinned_page_back(struct run *run)
{
	const struct driver *driver = run->target->driver;
	struct ioas_area area = {.iova = MEMORY_IOVA + 2 * MEMORY_SIZE,
				 .length = 0x10000,
				 .fd = run->memfd,
				 .offset = 0x10000,
				 .hva = run->memory + 0x10000,
				 .rights = IOAS_READ | IOAS_WRITE};
	long before;

	expect_rc(run, driver->start(run), 0, "start");
	expect_rc(run, ioas_map(run->space, &area), 0, "map");
	expect_rc(run, driver->fill(run, 0, area.iova, 16, 0x22), 0, "DMA");
	expect_rc(run, control_get(run, "pinned"), 1, "a page that is pinned");
	before = control_get(run, "dma_unmaps");
	expect_rc(run, ioas_unmap(run->space, area.iova, area.length), 0, "unmap");
	expect_rc(run, control_get(run, "pinned"), 0, "a page pinned after the unmap");
	expect(run, control_get(run, "dma_unmaps") > before, "the driver was not told");
}

const struct contract_test dma_tests[] = {
	{"dma.the_device_reads_and_writes_memory", "vfio_device_ops.attach_ioas", HAS_DMA, 0,
	 the_device_reads_and_writes_memory},
	{"dma.a_hole_is_an_error_of_the_request", "vfio_device_ops.attach_ioas", HAS_DMA, 0,
	 a_hole_is_an_error_of_the_request},
	{"dma.without_bus_master_there_is_no_dma", "vfio_device_ops.write", HAS_DMA, 0,
	 without_bus_master_there_is_no_dma},
	{"dma.a_detached_device_reaches_nothing", "vfio_device_ops.detach_ioas", HAS_DMA, 0,
	 a_detached_device_reaches_nothing},
	{"dma.unmapped_memory_is_out_of_reach", "vfio_device_ops.dma_unmap", HAS_DMA, 0,
	 unmapped_memory_is_out_of_reach},
	{"dma.dma_in_flight_is_waited_for",
	 "vfio_device_ops.dma_unmap, vfio_device_ops.detach_ioas", HAS_DMA, 0,
	 dma_in_flight_is_waited_for},
	{"dma.dma_unmap_takes_a_pinned_page_back", "vfio_device_ops.dma_unmap", HAS_DMA | HAS_PINS,
	 0, dma_unmap_takes_a_pinned_page_back},
	{"dma.rights_are_kept", "vfio_device_ops.attach_ioas", HAS_DMA, 0, rights_are_kept},
	{"dma.a_replaced_space_is_out_of_reach", "vfio_device_ops.attach_ioas", HAS_DMA, 0,
	 a_replaced_space_is_out_of_reach},
	{"dma.a_failed_replacement_keeps_the_old_one",
	 "vfio_device_ops.attach_ioas, vfio_device.iommufd_attached, vfio_device.iommufd_pt_id",
	 HAS_DMA | HAS_ATTACH_FAULT, 0, a_failed_replacement_keeps_the_old_one},
	{"dma.memory_without_a_descriptor_goes_by_call", "vfio_device_ops.attach_ioas", HAS_DMA, 0,
	 memory_without_a_descriptor_goes_by_call},
	{"dma.messages_are_the_owners",
	 "vfio_device_events.dma_read, vfio_device_events.dma_write, vfio_device.events",
	 HAS_DMA | HAS_DMA_MESSAGES, CLOSED, messages_are_the_owners},
	{"dma.a_reset_ends_dma", "vfio_device_ops.ioctl", HAS_DMA, 0, a_reset_ends_dma},
	{0},
};
