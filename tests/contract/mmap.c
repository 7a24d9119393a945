/* SPDX-License-Identifier: Apache-2.0 */
/* BARs in the address space of the process. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <linux/pci_regs.h>

#include "tests/contract/contract.h"

/* Address space for @length bytes, to be mapped over. */
static void *reserve(struct run *run, size_t length)
{
	void *where = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	expect(run, where != MAP_FAILED, "no address space");
	return where;
}

static void mapping_and_access_are_the_same_bytes(struct run *run)
{
	const struct vfio_region_info info = region(run, run->target->map_bar);
	const size_t length = 4096;
	volatile uint32_t *map = reserve(run, length);
	uint32_t value = 0x5eed1234;

	expect(run, info.flags & VFIO_REGION_INFO_FLAG_MMAP, "BAR %u: flags %#x",
	       run->target->map_bar, info.flags);
	command(run, PCI_COMMAND_MEMORY, 0);
	if (!expect_rc(run,
		       vfio_device_mmap(run->vdev, (void *)map, length, PROT_READ | PROT_WRITE,
					info.offset),
		       0, "mmap"))
		return;
	expect_rc(run, vfio_device_write(run->vdev, &value, 4, info.offset + 8), 4, "a write");
	expect(run, map[2] == value, "the mapping reads %#x", map[2]);
	map[3] = 0xabcd4321;
	expect_rc(run, vfio_device_read(run->vdev, &value, 4, info.offset + 12), 4, "a read");
	expect(run, value == 0xabcd4321, "the read gives %#x", value);
	munmap((void *)map, length);
}

/* For another process, which maps it by itself. */
static void a_descriptor_shows_the_same_bytes(struct run *run)
{
	const struct vfio_region_info info = region(run, run->target->map_bar);
	const long alone = answer(run, "alone", 0);
	volatile uint32_t *map;
	uint32_t value = 0x5eed5678;
	uint64_t offset = 0;
	int fd = -1;

	expect_rc(run, vfio_device_region_fd(run->vdev, run->target->map_bar, false, &fd, &offset),
		  alone, "a descriptor of this region alone");
	expect_rc(run, vfio_device_region_fd(run->vdev, run->target->map_bar, true, &fd, &offset),
		  0, "a descriptor of whatever");
	expect_rc(
		run,
		vfio_device_region_fd(run->vdev, VFIO_PCI_CONFIG_REGION_INDEX, false, &fd, &offset),
		-ENODEV, "a descriptor of config space alone");
	vfio_device_region_fd(run->vdev, run->target->map_bar, true, &fd, &offset);
	command(run, PCI_COMMAND_MEMORY, 0);
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
	if (!expect(run, map != MAP_FAILED, "it cannot be mapped: %s", strerror(errno)))
		return;
	expect_rc(run, vfio_device_write(run->vdev, &value, 4, info.offset + 8), 4, "a write");
	expect(run, map[2] == value, "the mapping reads %#x", map[2]);
	munmap((void *)map, 4096);
}

static void what_cannot_be_mapped_is_refused(struct run *run)
{
	const struct vfio_region_info config = region(run, VFIO_PCI_CONFIG_REGION_INDEX);
	const struct vfio_region_info info = region(run, run->target->map_bar);
	void *where = reserve(run, 2 * 4096);

	command(run, PCI_COMMAND_MEMORY, 0);
	expect_rc(run, vfio_device_mmap(run->vdev, where, 4096, PROT_READ, config.offset), -EINVAL,
		  "mmap of config space");
	expect_rc(run, vfio_device_mmap(run->vdev, where, 4096, PROT_READ, info.offset + info.size),
		  -EINVAL, "mmap beyond the end");
	expect_rc(run,
		  vfio_device_mmap(run->vdev, where, 2 * 4096, PROT_READ,
				   info.offset + info.size - 4096),
		  -EINVAL, "mmap across the end");
	expect_rc(run,
		  vfio_device_mmap(run->vdev, where, 4096, PROT_READ, UINT64_MAX / 4 & ~4095ull),
		  -EINVAL, "mmap of no region");
	munmap(where, 2 * 4096);
}

static void without_mmap_it_is_einval(struct run *run)
{
	void *where = reserve(run, 4096);

	for (uint32_t i = 0; i < VFIO_PCI_NUM_REGIONS; i++) {
		const struct vfio_region_info info = region(run, i);

		if (!info.size || (info.flags & VFIO_REGION_INFO_FLAG_MMAP))
			continue;
		expect_rc(run, vfio_device_mmap(run->vdev, where, 4096, PROT_READ, info.offset),
			  -EINVAL, "mmap of region %u, which has no mmap flag", i);
	}
	munmap(where, 4096);
}

static void count_call(void *ctx)
{
	++*(unsigned *)ctx;
}

static void revoke_runs_the_owners_call(struct run *run)
{
	unsigned revoked = 0;

	vfio_device_revoke(run->vdev);
	vfio_device_set_revoke(run->vdev, count_call, &revoked);
	vfio_device_revoke(run->vdev);
	vfio_device_revoke(run->vdev);
	expect(run, revoked == 2, "%u calls", revoked);
	vfio_device_set_revoke(run->vdev, NULL, NULL);
}

const struct contract_test mmap_tests[] = {
	{"mmap.mapping_and_access_are_the_same_bytes", "vfio_device_ops.mmap", HAS_MMAP, 0,
	 mapping_and_access_are_the_same_bytes},
	{"mmap.a_descriptor_shows_the_same_bytes", "vfio_device_ops.region_fd", HAS_MMAP, 0,
	 a_descriptor_shows_the_same_bytes},
	{"mmap.what_cannot_be_mapped_is_refused", "vfio_device_ops.mmap", HAS_MMAP, 0,
	 what_cannot_be_mapped_is_refused},
	{"mmap.without_mmap_it_is_einval", "vfio_device_ops.mmap", 0, 0, without_mmap_it_is_einval},
	{"mmap.revoke_runs_the_owners_call", "vfio_device.revoke, vfio_device.revoke_ctx", 0, 0,
	 revoke_runs_the_owners_call},
	{0},
};
