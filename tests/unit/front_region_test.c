/* SPDX-License-Identifier: Apache-2.0 */
/* Region info as a device tells it, in the place of the core's vfio_device_ioctl(). */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/device.h"
#include "devices/vfio/front/region.h"

static uint8_t reply[70000] __attribute__((aligned(8)));
static uint32_t reply_size; /* what the device says it needs */
static int error, error_at;
static unsigned calls;
static ssize_t (*reader)(void *buffer, size_t count, uint64_t offset);

int vfio_device_ioctl(struct vfio_device *vdev, unsigned command, void *arg)
{
	struct vfio_region_info *info = arg;
	uint32_t argsz = info->argsz;

	(void)vdev;
	cr_assert_eq(command, VFIO_DEVICE_GET_REGION_INFO);
	calls++;
	if (error && (int)calls == error_at)
		return error;
	if (argsz < reply_size) {
		memcpy(info, reply, sizeof(*info));
		info->argsz = reply_size;
		info->cap_offset = 0;
		return 0;
	}
	memcpy(info, reply, reply_size ? reply_size : sizeof(*info));
	info->argsz = argsz;
	return 0;
}

ssize_t vfio_device_read(struct vfio_device *vdev, void *buffer, size_t count, uint64_t offset)
{
	(void)vdev;
	return reader(buffer, count, offset);
}

static struct vfio_region_info *begin(uint32_t size)
{
	struct vfio_region_info *info = (struct vfio_region_info *)reply;

	memset(reply, 0, sizeof(reply));
	calls = 0;
	error = 0;
	reply_size = size;
	info->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_MMAP |
		      (size ? VFIO_REGION_INFO_FLAG_CAPS : 0);
	info->size = 0x10000;
	info->offset = 0x30000000000;
	info->cap_offset = size ? sizeof(*info) : 0;
	return info;
}

static void cap(uint32_t at, uint16_t id, uint32_t next)
{
	struct vfio_info_cap_header header = {.id = id, .version = 1, .next = next};

	memcpy(reply + at, &header, sizeof(header));
}

static void sparse(uint32_t at, uint32_t next, uint32_t said, uint32_t there)
{
	cap(at, VFIO_REGION_INFO_CAP_SPARSE_MMAP, next);
	memcpy(reply + at + 8, &said, 4);
	for (uint32_t i = 0; i < there; i++) {
		struct vfio_region_sparse_mmap_area area = {.offset = 0x1000 * (2 * i),
							    .size = 0x1000};

		memcpy(reply + at + 16 + 16 * i, &area, sizeof(area));
	}
}

Test(front_region, a_plain_region_takes_one_call)
{
	struct bar_region region;

	begin(0);
	cr_assert_eq(front_region_get(NULL, 2, &region), 0);
	cr_expect_eq(calls, 1);
	cr_expect_eq(region.size, 0x10000);
	cr_expect_eq(region.offset, 0x30000000000);
	cr_expect(region.readable);
	cr_expect(!region.writable);
	cr_expect(region.mappable);
	cr_expect(!region.sparse);
}

Test(front_region, sparse_areas_are_found_behind_other_capabilities)
{
	struct bar_region region;

	begin(32 + 8 + 16 + 3 * 16);
	cap(32, VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, 40);
	sparse(40, 0, 3, 3);
	cr_assert_eq(front_region_get(NULL, 2, &region), 0);
	cr_expect_eq(calls, 2);
	cr_expect(region.sparse);
	cr_assert_eq(region.sparse_count, 3);
	cr_expect_eq(region.sparse_areas[2].offset, 0x4000);
}

Test(front_region, a_region_that_does_not_exist_is_of_size_zero)
{
	struct bar_region region;

	begin(0);
	error = -EINVAL;
	error_at = 1;
	cr_assert_eq(front_region_get(NULL, 8, &region), 0);
	cr_expect_eq(region.size, 0);
	error = -EIO;
	calls = 0;
	cr_assert_eq(front_region_get(NULL, 8, &region), -EIO);
	begin(64);
	error = -EIO;
	error_at = 2;
	cr_assert_eq(front_region_get(NULL, 8, &region), -EIO);
}

Test(front_region, more_areas_than_there_are_or_fit_are_not_read)
{
	struct bar_region region;

	begin(32 + 16 + 2 * 16);
	sparse(32, 0, 1000, 2);
	cr_assert_eq(front_region_get(NULL, 0, &region), 0);
	cr_expect_eq(region.sparse_count, 2);
	begin(32 + 16 + 100 * 16);
	sparse(32, 0, 100, 100);
	cr_assert_eq(front_region_get(NULL, 0, &region), 0);
	cr_expect_eq(region.sparse_count, BAR_SPARSE_MAX);
	begin(32 + 10);
	sparse(32, 0, 1, 0);
	cr_assert_eq(front_region_get(NULL, 0, &region), 0);
	cr_expect(region.sparse);
	cr_expect_eq(region.sparse_count, 0, "a cut capability maps nothing");
}

Test(front_region, chains_that_run_in_circles_or_away_end)
{
	static const uint32_t nexts[] = {32, 40, 31, 4, 0xffffffff, 63, 64, 1000};

	for (unsigned i = 0; i < sizeof(nexts) / sizeof(nexts[0]); i++) {
		struct bar_region region;

		begin(64);
		cap(32, 77, 40);
		cap(40, 78, nexts[i]);
		cr_assert_eq(front_region_get(NULL, 0, &region), 0);
		cr_expect(!region.sparse);
	}
}

Test(front_region, a_size_beyond_reason_is_cut)
{
	struct bar_region region;

	begin(0);
	reply_size = 0xfffffff0; /* never satisfied: the second answer is the first again */
	((struct vfio_region_info *)reply)->flags |= VFIO_REGION_INFO_FLAG_CAPS;
	cr_assert_eq(front_region_get(NULL, 0, &region), 0);
	cr_expect_eq(calls, 2);
	cr_expect(!region.sparse);
}

static ssize_t by_seven(void *buffer, size_t count, uint64_t offset)
{
	static unsigned turn;
	size_t n = count < 7 ? count : 7;

	if (++turn % 3 == 0)
		return -EINTR;
	for (size_t i = 0; i < n; i++)
		((uint8_t *)buffer)[i] = (uint8_t)(offset + i);
	return (ssize_t)n;
}

static ssize_t ends_at_ten(void *buffer, size_t count, uint64_t offset)
{
	if (offset >= 10)
		return -EFAULT;
	memset(buffer, 1, count < 10 ? count : 10);
	return count < 10 ? (ssize_t)count : 10;
}

static ssize_t lies(void *buffer, size_t count, uint64_t offset)
{
	(void)buffer, (void)offset;
	return (ssize_t)count + 1;
}

Test(front_region, is_read_in_as_many_reads_as_it_takes)
{
	struct bar_region region = {.size = 100, .offset = 3};
	uint8_t bytes[100];

	reader = by_seven;
	cr_assert_eq(front_region_read_all(NULL, &region, 2, bytes, 100), 100);
	for (unsigned i = 0; i < 100; i++)
		cr_assert_eq(bytes[i], i + 5);
	reader = ends_at_ten;
	region.offset = 0;
	cr_expect_eq(front_region_read_all(NULL, &region, 0, bytes, 100), 10);
	cr_expect_eq(front_region_read_all(NULL, &region, 20, bytes, 100), -EFAULT);
	reader = lies;
	cr_expect_eq(front_region_read_all(NULL, &region, 0, bytes, 100), 0);
}
