/* SPDX-License-Identifier: Apache-2.0 */
/* The storage of block devices with a kernel that is short of something, or has 4 KiB sectors. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "devices/virtio/disk.h"
#include "tests/unit/fake_log.h"
#include "vmm/base/host.h"

/* What the host gives. */
static struct host_disk given;

int host_open_disk(const char *path, unsigned flags, struct host_disk *disk)
{
	char name[] = "/tmp/sluice-disk-test.XXXXXX";

	(void)path;
	*disk = given;
	disk->direct = given.direct && (flags & HOST_DISK_DIRECT);
	disk->fd = mkstemp(name);
	cr_assert_geq(disk->fd, 0);
	unlink(name);
	cr_assert_eq(ftruncate(disk->fd, (off_t)given.size), 0);
	return 0;
}

/* io_submit() takes @accept requests at a time and then answers @refuse, @refusals times. */
static unsigned accept_most = 1000;
static int refuse;
static unsigned refusals;
static unsigned submitted, stable;

int io_submit(io_context_t ctx, long count, struct iocb **iocbs)
{
	long ret;

	if (refusals > 0 && submitted >= accept_most) {
		refusals--;
		return refuse;
	}
	if (refusals > 0 && (unsigned long)count > accept_most - submitted)
		count = (long)(accept_most - submitted);
	for (long i = 0; i < count; i++)
		stable += iocbs[i]->aio_rw_flags == RWF_DSYNC;
	ret = syscall(SYS_io_submit, ctx, count, iocbs);
	if (ret < 0)
		return -errno;
	submitted += (unsigned)ret;
	return (int)ret;
}

struct test_request {
	struct disk_request disk;
	unsigned calls;
	int64_t result;
};

static void done(struct disk_request *request, int64_t result)
{
	struct test_request *r = (struct test_request *)request;

	r->calls++;
	r->result = result;
}

static struct disk disk;
static struct test_request requests[8];
static uint8_t *buffer; /* 8 pages */
static struct iovec iov[8];

static void open_with(bool block_device, bool direct, uint32_t block_size)
{
	given = (struct host_disk){.size = 1 << 20,
				   .block_size = block_size,
				   .block_device = block_device,
				   .direct = direct};
	cr_assert_eq(disk_open(&disk, "disk0", "/somewhere", false), 0);
	buffer = aligned_alloc(4096, 8 * 4096);
	memset(buffer, 0x5a, 8 * 4096);
	for (unsigned i = 0; i < 8; i++) {
		requests[i].disk.done = done;
		iov[i] = (struct iovec){.iov_base = buffer + 4096 * i, .iov_len = 4096};
	}
}

static void setup(void)
{
	open_with(false, false, 1);
}

static void teardown(void)
{
	cr_expect_eq(disk.in_flight, 0);
	disk_close(&disk);
	free(buffer);
}

TestSuite(disk_io, .init = setup, .fini = teardown);

static void write_all(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		disk_write(&disk, &requests[i].disk, &iov[i], 1, 4096 * i);
}

static unsigned count_done(int64_t result)
{
	unsigned count = 0;

	for (unsigned i = 0; i < 8; i++)
		count += requests[i].calls == 1 && requests[i].result == result;
	return count;
}

Test(disk_io, what_the_kernel_takes_in_parts_is_done_whole)
{
	accept_most = 3;
	refuse = -EAGAIN;
	refusals = 1;
	write_all(8);
	disk_submit(&disk);
	cr_expect_eq(disk.waiting_count, 5, "short of something: the rest waits");
	while (disk.in_flight > 0 || disk.waiting_count > 0)
		disk_reap(&disk);
	cr_expect_eq(count_done(4096), 8);
}

Test(disk_io, shortage_with_nothing_in_flight_is_an_error_of_the_request)
{
	accept_most = 0;
	refuse = -EAGAIN;
	refusals = 2;
	write_all(3);
	disk_submit(&disk);
	cr_expect_eq(count_done(-EAGAIN), 2, "nothing would come to try again");
	cr_expect_eq(disk.waiting_count, 0);
	disk_drain(&disk);
	cr_expect_eq(count_done(4096), 1);
}

Test(disk_io, a_refused_request_does_not_stop_the_others)
{
	accept_most = 2;
	refuse = -EINVAL;
	refusals = 1;
	write_all(6);
	disk_submit(&disk);
	disk_drain(&disk);
	cr_expect_eq(count_done(-EINVAL), 1);
	cr_expect_eq(requests[2].result, -EINVAL);
	cr_expect_eq(count_done(4096), 5);
}

Test(disk_io, draining_cancels_what_was_never_submitted)
{
	accept_most = 3;
	refuse = -EAGAIN;
	refusals = 1;
	write_all(8);
	disk_submit(&disk);
	disk_drain(&disk);
	cr_expect_eq(count_done(4096), 3);
	cr_expect_eq(count_done(-ECANCELED), 5);
}

Test(disk_io, write_through_asks_for_stable_writes)
{
	write_all(2);
	disk_submit(&disk);
	disk_drain(&disk);
	cr_expect_eq(stable, 0);
	disk.write_through = true;
	requests[2].calls = 0;
	disk_write(&disk, &requests[2].disk, &iov[2], 1, 0);
	disk_read(&disk, &requests[3].disk, &iov[3], 1, 0);
	disk_flush(&disk, &requests[4].disk);
	disk_submit(&disk);
	disk_drain(&disk);
	cr_expect_eq(stable, 1, "the write alone");
	cr_expect_eq(requests[4].result, 0);
}

Test(disk_io, buffered_storage_takes_any_buffer)
{
	struct iovec odd = {.iov_base = buffer + 1, .iov_len = 511};

	cr_expect_eq(disk.block_size, 512);
	cr_expect(disk_aligned(&disk, &odd, 1));
}

Test(disk_sectors, a_block_device_keeps_its_sector_size)
{
	struct iovec odd[2] = {{.iov_len = 4096}, {.iov_len = 512}};

	open_with(true, true, 4096);
	cr_expect_eq(disk.block_size, 4096);
	odd[0].iov_base = odd[1].iov_base = buffer;
	cr_expect(disk_aligned(&disk, odd, 1));
	cr_expect_not(disk_aligned(&disk, odd, 2));
	odd[0].iov_base = buffer + 512;
	cr_expect_not(disk_aligned(&disk, odd, 1));
	disk_discard(&disk, &requests[0].disk, &(struct disk_range){.length = 4096}, 1);
	cr_expect_not(disk_step(&disk));
	cr_expect_eq(requests[0].calls, 1);
	cr_expect_eq(requests[0].result, 0, "cannot, which does not matter");
	teardown();
}

/* Steps until @request has been answered. */
static unsigned steps_of(const struct test_request *request)
{
	unsigned steps = 0;

	for (; request->calls == 0 && steps < 1000; steps++)
		disk_step(&disk);
	return steps;
}

Test(disk_io, a_large_discard_takes_many_steps_and_lets_others_pass)
{
	static const struct disk_range gigabyte = {.offset = 4096, .length = 1 << 30};
	static const struct disk_range small[2] = {{.offset = 0, .length = 512},
						   {.offset = 8192, .length = 0}};

	disk_discard(&disk, &requests[0].disk, &gigabyte, 1);
	cr_assert(disk_step(&disk));
	disk_zero(&disk, &requests[1].disk, small, 2);
	cr_expect_leq(steps_of(&requests[1]), 4, "it waits for the whole discard");
	cr_expect_eq(requests[1].result, 0);
	cr_expect_eq(requests[0].calls, 0);
	cr_expect_gt(steps_of(&requests[0]), 50);
	cr_expect_eq(requests[0].result, 0);
	cr_expect_not(disk_step(&disk));
}

Test(disk_io, zeroes_of_a_driver_without_flushes_are_written)
{
	static const struct disk_range range = {.length = 2 * DISK_SLICE_TRANSFER, .unmap = true};
	struct stat st;

	disk_zero(&disk, &requests[0].disk, &range, 1);
	cr_expect_eq(steps_of(&requests[0]), 1, "a hole, in one call");
	cr_assert_eq(fstat(disk.fd, &st), 0);
	cr_expect_eq(st.st_blocks, 0);
	disk.write_through = true;
	disk_zero(&disk, &requests[1].disk, &range, 1);
	cr_expect_eq(steps_of(&requests[1]), 2, "by slices, each stable when it is done");
	cr_expect_eq(requests[1].result, 0);
	cr_assert_eq(fstat(disk.fd, &st), 0);
	cr_expect_geq(st.st_blocks * 512, (blkcnt_t)range.length);
}

Test(disk_io, unaligned_transfers_go_slice_by_slice)
{
	enum { LENGTH = 3 * DISK_SLICE_TRANSFER + 512 };
	uint8_t *odd = malloc(2 * LENGTH + 2);
	struct iovec out[3] = {
		{odd + 1, 700}, {odd + 701, LENGTH - 1400}, {odd + LENGTH - 699, 700}};
	struct iovec in = {odd + LENGTH + 2, LENGTH};

	for (unsigned i = 0; i < LENGTH; i++)
		odd[i + 1] = (uint8_t)(i * 7 + i / 256);
	disk_write_unaligned(&disk, &requests[0].disk, out, 3, 1024);
	cr_expect_eq(steps_of(&requests[0]), 4);
	cr_expect_eq(requests[0].result, LENGTH);
	disk_read_unaligned(&disk, &requests[1].disk, &in, 1, 1024);
	cr_expect_eq(steps_of(&requests[1]), 4);
	cr_expect_eq(requests[1].result, LENGTH);
	cr_expect_eq(memcmp(odd + 1, odd + LENGTH + 2, LENGTH), 0);
	free(odd);
}

Test(disk_io, what_is_half_done_is_cancelled_or_fails_once)
{
	static const struct disk_range ranges[2] = {{.offset = 0, .length = 64 << 20},
						    {.offset = 0, .length = 4096}};
	struct iovec past = {buffer, 4096};

	disk_discard(&disk, &requests[0].disk, ranges, 2);
	disk_zero(&disk, &requests[1].disk, ranges, 1);
	disk_step(&disk);
	disk_drain(&disk);
	cr_expect_eq(count_done(-ECANCELED), 2);
	/* The file was cut under us. */
	disk_read_unaligned(&disk, &requests[2].disk, &past, 1, 2 << 20);
	cr_expect_not(disk_step(&disk));
	cr_expect_eq(requests[2].calls, 1);
	cr_expect_eq(requests[2].result, -EIO);
}

Test(disk_sectors, an_image_on_large_sectors_goes_through_the_page_cache)
{
	open_with(false, true, 4096);
	cr_expect_not(disk.direct);
	cr_expect_eq(disk.block_size, 512);
	cr_expect_eq(disk.alignment, 1);
	teardown();
}

Test(disk_sectors, an_image_on_small_sectors_is_read_directly)
{
	open_with(false, true, 512);
	cr_expect(disk.direct);
	cr_expect_eq(disk.alignment, 512);
	teardown();
}
