/* SPDX-License-Identifier: Apache-2.0 */
/* DMA logging: order of the calls, ranges, bits. */
#include <errno.h>
#include <string.h>

#include "tests/contract/contract.h"

#define START (VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START)
#define STOP  (VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP)
#define READ  (VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT)

#define PAGE 4096ull

static int log_start(struct run *run, uint64_t page_size, uint32_t count,
		     const struct vfio_device_feature_dma_logging_range *ranges)
{
	struct vfio_device_feature_dma_logging_control control = {
		.page_size = page_size, .num_ranges = count, .ranges = (uintptr_t)ranges};
	const int rc = feature(run, START, &control, sizeof(control));

	if (!rc)
		expect(run,
		       control.page_size >= PAGE && !(control.page_size & (control.page_size - 1)),
		       "the device logs pages of %llu", (unsigned long long)control.page_size);
	return rc;
}

static int log_start_all(struct run *run)
{
	const struct vfio_device_feature_dma_logging_range all = {MEMORY_IOVA, MEMORY_SIZE};

	return log_start(run, PAGE, 1, &all);
}

static int log_stop(struct run *run)
{
	return feature(run, STOP, NULL, 0);
}

static int log_read(struct run *run, uint64_t iova, uint64_t length, uint64_t page_size,
		    uint64_t *bitmap)
{
	struct vfio_device_feature_dma_logging_report report = {.iova = iova,
								.length = length,
								.page_size = page_size,
								.bitmap = (uintptr_t)bitmap};

	return feature(run, READ, &report, sizeof(report));
}

static void order_is_enforced(struct run *run)
{
	uint64_t bitmap[MEMORY_SIZE / PAGE / 64] = {0};

	expect_rc(run, log_stop(run), -EINVAL, "stop of what was not started");
	expect_rc(run, log_read(run, MEMORY_IOVA, MEMORY_SIZE, PAGE, bitmap), -EINVAL,
		  "read of what was not started");
	expect(run, !run->vdev->dma_logging, "logging before start");
	expect_rc(run, log_start_all(run), 0, "start");
	expect(run, run->vdev->dma_logging, "not logging after start");
	expect_rc(run, log_start_all(run), -EBUSY, "a second start");
	expect_rc(run, log_read(run, MEMORY_IOVA, MEMORY_SIZE, PAGE, bitmap), 0, "read");
	expect_rc(run, log_stop(run), 0, "stop");
	expect(run, !run->vdev->dma_logging, "logging after stop");
	expect_rc(run, log_stop(run), -EINVAL, "a second stop");
	expect_rc(run, log_read(run, MEMORY_IOVA, MEMORY_SIZE, PAGE, bitmap), -EINVAL,
		  "read after stop");
	expect_rc(run, log_start_all(run), 0, "start again");
}

static void close_ends_it(struct run *run)
{
	expect_rc(run, log_start_all(run), 0, "start");
	vfio_device_close(run->vdev);
	expect(run, !run->vdev->dma_logging, "logging after close");
	expect_rc(run, device_open(run, run->vdev), 0, "open again");
	expect_rc(run, log_stop(run), -EINVAL, "stop by the next user");
	expect_rc(run, log_start_all(run), 0, "start by the next user");
}

static void ranges_are_checked(struct run *run)
{
	struct vfio_device_feature_dma_logging_range ranges[257] = {0};

	expect_rc(run, log_start(run, PAGE, 0, ranges), -EINVAL, "no ranges");
	for (uint64_t i = 0; i < 257; i++)
		ranges[i] = (struct vfio_device_feature_dma_logging_range){
			MEMORY_IOVA + i * 2 * PAGE, PAGE};
	expect_rc(run, log_start(run, PAGE, 257, ranges), -E2BIG, "257 ranges");
	ranges[1] = ranges[0];
	expect_rc(run, log_start(run, PAGE, 2, ranges), -EINVAL, "ranges that overlap");
	ranges[0].iova += 1;
	expect_rc(run, log_start(run, PAGE, 1, ranges), -EINVAL, "an unaligned range");
	ranges[0] = (struct vfio_device_feature_dma_logging_range){MEMORY_IOVA, PAGE + 1};
	expect_rc(run, log_start(run, PAGE, 1, ranges), -EINVAL, "an unaligned length");
	ranges[0] =
		(struct vfio_device_feature_dma_logging_range){UINT64_MAX & ~(PAGE - 1), 2 * PAGE};
	expect_rc(run, log_start(run, PAGE, 1, ranges), -EOVERFLOW, "a range that wraps");
	expect_rc(run, log_start(run, 0, 1, ranges), -EINVAL, "page size 0");
	expect(run, !run->vdev->dma_logging, "logging after refusals");
	/* In any order they come. */
	ranges[0] = (struct vfio_device_feature_dma_logging_range){MEMORY_IOVA + 8 * PAGE, PAGE};
	ranges[1] = (struct vfio_device_feature_dma_logging_range){MEMORY_IOVA, PAGE};
	expect_rc(run, log_start(run, PAGE, 2, ranges), 0, "ranges in descending order");
}

static void reports_are_checked(struct run *run)
{
	uint64_t bitmap[MEMORY_SIZE / PAGE / 64] = {0};

	expect_rc(run, log_start_all(run), 0, "start");
	expect_rc(run, log_read(run, MEMORY_IOVA, PAGE, 2048, bitmap), -EINVAL, "pages of 2 KiB");
	expect_rc(run, log_read(run, MEMORY_IOVA, PAGE, 12288, bitmap), -EINVAL, "pages of 12 KiB");
	expect_rc(run, log_read(run, MEMORY_IOVA, PAGE, 0, bitmap), -EINVAL, "pages of 0");
	expect_rc(run, log_read(run, UINT64_MAX & ~(PAGE - 1), 2 * PAGE, PAGE, bitmap), -EOVERFLOW,
		  "a range that wraps");
	expect_rc(run, log_read(run, MEMORY_IOVA, 0, PAGE, bitmap), -EINVAL, "a range of nothing");
	expect_rc(run, log_read(run, MEMORY_IOVA, PAGE, PAGE, NULL), -EFAULT, "no bitmap");
}

static void a_device_that_did_nothing_has_no_bits(struct run *run)
{
	uint64_t bitmap[MEMORY_SIZE / PAGE / 64] = {0};

	expect_rc(run, log_start_all(run), 0, "start");
	expect_rc(run, log_read(run, MEMORY_IOVA, MEMORY_SIZE, PAGE, bitmap), 0, "read");
	for (size_t i = 0; i < sizeof(bitmap) / sizeof(bitmap[0]); i++)
		expect(run, !bitmap[i], "word %zu is %#llx", i, (unsigned long long)bitmap[i]);
}

static void bits_are_right(struct run *run)
{
	const struct vfio_device_feature_dma_logging_range ranges[2] = {
		{MEMORY_IOVA, 0x100000}, {MEMORY_IOVA + 0x200000, 0x100000}};
	const struct driver *driver = run->target->driver;
	uint64_t bitmap[MEMORY_SIZE / PAGE / 64] = {0};

	expect_rc(run, driver->start(run), 0, "start the engine");
	expect_rc(run, driver->fill(run, 0, MEMORY_IOVA + 0x1000, 16, 1), 0, "DMA before the log");
	expect_rc(run, log_start(run, PAGE, 2, ranges), 0, "start");
	/* Across a page's end; one byte; outside the ranges; a page that is only read. */
	expect_rc(run, driver->fill(run, 0, MEMORY_IOVA + 0x5800, 0x1000, 2), 0, "DMA");
	expect_rc(run, driver->fill(run, 0, MEMORY_IOVA + 0x201000, 1, 2), 0, "DMA of a byte");
	expect_rc(run, driver->fill(run, 0, MEMORY_IOVA + 0x180000, 16, 2), 0, "DMA elsewhere");
	expect_rc(run, driver->copy(run, 0, MEMORY_IOVA + 0x9000, MEMORY_IOVA + 0x2ff000, 4096), 0,
		  "a copy");
	expect_rc(run, log_read(run, MEMORY_IOVA, 0x100000, PAGE, bitmap), 0, "read of range 1");
	for (size_t i = 0; i < 4; i++)
		expect(run, bitmap[i] == (i ? 0 : 0x60), "range 1, word %zu is %#llx", i,
		       (unsigned long long)bitmap[i]);
	memset(bitmap, 0, sizeof(bitmap));
	expect_rc(run, log_read(run, MEMORY_IOVA + 0x200000, 0x100000, PAGE, bitmap), 0,
		  "read of range 2");
	for (size_t i = 0; i < 4; i++)
		expect(run,
		       bitmap[i] == (i == 0   ? 2
				     : i == 3 ? 1ull << 63
					      : 0),
		       "range 2, word %zu is %#llx", i, (unsigned long long)bitmap[i]);
	/* What was read is cleared; what the user had in the bitmap stays. */
	memset(bitmap, 0, sizeof(bitmap));
	bitmap[1] = 0x10;
	expect_rc(run, log_read(run, MEMORY_IOVA, 0x100000, PAGE, bitmap), 0, "read again");
	expect(run, !bitmap[0] && bitmap[1] == 0x10, "words %#llx %#llx",
	       (unsigned long long)bitmap[0], (unsigned long long)bitmap[1]);
	/* In larger pages than were asked for at the start. */
	bitmap[1] = 0;
	expect_rc(run, driver->fill(run, 0, MEMORY_IOVA + 0x15000, 16, 3), 0, "DMA");
	expect_rc(run, log_read(run, MEMORY_IOVA, 0x100000, 0x10000, bitmap), 0,
		  "read in pages of 64 KiB");
	expect(run, bitmap[0] == 2, "word 0 is %#llx", (unsigned long long)bitmap[0]);
	expect_rc(run, log_stop(run), 0, "stop");
	expect_rc(run, driver->fill(run, 0, MEMORY_IOVA + 0x15000, 16, 3), 0, "DMA after stop");
	memset(bitmap, 0, sizeof(bitmap));
	expect_rc(run, log_start(run, PAGE, 2, ranges), 0, "start again");
	expect_rc(run, log_read(run, MEMORY_IOVA, 0x100000, PAGE, bitmap), 0, "read");
	expect(run, !bitmap[0], "a bit of before the start: %#llx", (unsigned long long)bitmap[0]);
}

const struct contract_test logging_tests[] = {
	{"logging.order_is_enforced",
	 "vfio_log_ops.log_start, vfio_log_ops.log_stop, vfio_log_ops.log_read_and_clear, "
	 "vfio_device.dma_logging",
	 HAS_LOG, 0, order_is_enforced},
	{"logging.close_ends_it", "vfio_device.dma_logging, vfio_log_ops.log_stop", HAS_LOG, 0,
	 close_ends_it},
	{"logging.ranges_are_checked", "vfio_log_ops.log_start", HAS_LOG, 0, ranges_are_checked},
	{"logging.reports_are_checked", "vfio_log_ops.log_read_and_clear", HAS_LOG, 0,
	 reports_are_checked},
	{"logging.a_device_that_did_nothing_has_no_bits", "vfio_log_ops.log_read_and_clear",
	 HAS_LOG, 0, a_device_that_did_nothing_has_no_bits},
	{"logging.bits_are_right", "vfio_log_ops.log_read_and_clear, vfio_log_ops.log_start",
	 HAS_LOG | HAS_DMA, 0, bits_are_right},
	{0},
};
