// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The log of DMA writes: a bit per page of the ranges, range after range. */
#include "devices/vfio/reference/dirty_log.h"

#define PAGE_SIZE_MIN ((uint64_t)4096)
#define PAGE_SIZE_MAX ((uint64_t)2 << 20)
#define BITMAP_MAX    ((uint64_t)64 << 20)

static uint64_t pages_of(const struct dirty_log_range *range, uint64_t page_size)
{
	return (range->iova + range->length - 1) / page_size - range->iova / page_size + 1;
}

int dirty_log_size(const struct dirty_log_range *ranges, uint32_t count, uint64_t *page_size,
		   uint64_t *bitmap_bytes)
{
	uint64_t size = PAGE_SIZE_MIN, bits = 0;

	while (size < PAGE_SIZE_MAX && size * 2 <= *page_size)
		size *= 2;
	for (uint32_t i = 0; i < count; i++) {
		if (ranges[i].length == 0 || ranges[i].length - 1 > ~ranges[i].iova)
			return -EOVERFLOW;
		bits += pages_of(&ranges[i], size);
		if (bits > BITMAP_MAX * 8)
			return -EOVERFLOW;
	}
	*page_size = size;
	*bitmap_bytes = (bits + 63) / 64 * 8;
	return 0;
}

int dirty_log_start(struct dirty_log *log, const struct dirty_log_range *ranges, uint32_t count,
		    uint64_t page_size, uint64_t *bitmap)
{
	uint64_t size = page_size, bytes;
	int rc;

	if (log->running)
		return -EBUSY;
	if (count == 0)
		return -EINVAL;
	rc = dirty_log_size(ranges, count, &size, &bytes);
	if (rc)
		return rc;
	if (size != page_size)
		return -EINVAL;
	memset(bitmap, 0, bytes);
	*log = (struct dirty_log){
		.running = true,
		.ranges = ranges,
		.count = count,
		.page_size = page_size,
		.bitmap = bitmap,
	};
	return 0;
}

int dirty_log_stop(struct dirty_log *log)
{
	if (!log->running)
		return -EINVAL;
	memset(log, 0, sizeof(*log));
	return 0;
}

/* The common part of two ranges, by their first and last bytes. */
static bool overlap(const struct dirty_log_range *range, uint64_t *first, uint64_t *last)
{
	const uint64_t range_last = range->iova + range->length - 1;

	if (*first < range->iova)
		*first = range->iova;
	if (*last > range_last)
		*last = range_last;
	return *first <= *last;
}

void dirty_log_write(struct dirty_log *log, uint64_t iova, uint64_t length)
{
	const uint64_t end = length - 1 > ~iova ? ~(uint64_t)0 : iova + length - 1;
	uint64_t base = 0;

	for (uint32_t i = 0; i < log->count; i++) {
		const struct dirty_log_range *range = &log->ranges[i];
		uint64_t first = iova, last = end;

		if (overlap(range, &first, &last)) {
			const uint64_t zero = range->iova / log->page_size;

			for (uint64_t page = first / log->page_size; page <= last / log->page_size;
			     page++) {
				const uint64_t bit = base + page - zero;

				log->bitmap[bit / 64] |= (uint64_t)1 << bit % 64;
			}
		}
		base += pages_of(range, log->page_size);
	}
}

/* The pages of one range; @base is its first bit. */
static void read_range(const struct dirty_log *log, const struct dirty_log_range *range,
		       uint64_t base, uint64_t first, uint64_t last,
		       void (*set)(void *ctx, uint64_t iova, uint64_t length), void *ctx)
{
	const uint64_t size = log->page_size, zero = range->iova / size;
	const uint64_t range_last = range->iova + range->length - 1;

	for (uint64_t page = first / size; page <= last / size; page++) {
		const uint64_t bit = base + page - zero, mask = (uint64_t)1 << bit % 64;
		/* The page as far as the range and the question go. */
		const uint64_t page_first = page * size, page_last = page_first + size - 1;
		const uint64_t from = page_first > first ? page_first : first;
		const uint64_t to = page_last < last ? page_last : last;

		if (!(log->bitmap[bit / 64] & mask)) {
			if (bit % 64 == 0 && !log->bitmap[bit / 64])
				page += 63; /* none of the word */
			continue;
		}
		set(ctx, from, to - from + 1);
		/* Forgotten only when all of it was asked for. */
		if ((from <= page_first || from == range->iova) &&
		    (to >= page_last || to == range_last))
			log->bitmap[bit / 64] &= ~mask;
	}
}

int dirty_log_read(struct dirty_log *log, uint64_t iova, uint64_t length,
		   void (*set)(void *ctx, uint64_t iova, uint64_t length), void *ctx)
{
	uint64_t base = 0;

	if (!log->running || length == 0 || length - 1 > ~iova)
		return -EINVAL;
	for (uint32_t i = 0; i < log->count; i++) {
		uint64_t first = iova, last = iova + length - 1;

		if (overlap(&log->ranges[i], &first, &last))
			read_range(log, &log->ranges[i], base, first, last, set, ctx);
		base += pages_of(&log->ranges[i], log->page_size);
	}
	return 0;
}

struct report {
	uint64_t iova, page_size, *bitmap;
};

static void set_bits(void *ctx, uint64_t iova, uint64_t length)
{
	const struct report *report = ctx;
	const uint64_t last = (iova + (length - 1) - report->iova) / report->page_size;

	for (uint64_t bit = (iova - report->iova) / report->page_size; bit <= last; bit++)
		report->bitmap[bit / 64] |= (uint64_t)1 << bit % 64;
}

int dirty_log_read_bitmap(struct dirty_log *log, uint64_t iova, uint64_t length, uint64_t page_size,
			  uint64_t *bitmap)
{
	struct report report = {.iova = iova, .page_size = page_size, .bitmap = bitmap};

	return dirty_log_read(log, iova, length, set_bits, &report);
}
