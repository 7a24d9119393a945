/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * A log of DMA writes: a bit per page of the ranges that are logged. The reference device has one; so has
 * the client of vfio-user, for what it writes on behalf of its server and what the server reports.
 *
 * Nothing is allocated here, and nothing locked: that is the owner's.
 */
#ifndef SLUICE_VFIO_REFERENCE_DIRTY_LOG_H
#define SLUICE_VFIO_REFERENCE_DIRTY_LOG_H

#include "devices/vfio/reference/types.h"

/* A range of IOVA whose writes are logged. */
struct dirty_log_range {
	uint64_t iova;
	uint64_t length;
};

struct dirty_log {
	bool running;
	const struct dirty_log_range *ranges;
	uint32_t count;
	uint64_t page_size;
	uint64_t *bitmap; /* the ranges' pages one after the other */
};

/*
 * The page size a log would have for a wish (kept within 4 KiB..2 MiB, a power of two), and the bytes
 * of bitmap that @ranges need then. -EOVERFLOW: a range wraps, or the bitmap is beyond 64 MiB.
 */
int dirty_log_size(const struct dirty_log_range *ranges, uint32_t count, uint64_t *page_size,
		   uint64_t *bitmap_bytes);

/*
 * @ranges and @bitmap (cleared here) are lent until stop. -EBUSY started already; -EINVAL no ranges,
 * page size not from dirty_log_size().
 */
int dirty_log_start(struct dirty_log *log, const struct dirty_log_range *ranges, uint32_t count,
		    uint64_t page_size, uint64_t *bitmap);
/* -EINVAL: not started. */
int dirty_log_stop(struct dirty_log *log);

/* [@iova, @iova + @length) was written; no log, no note. */
void dirty_log_write(struct dirty_log *log, uint64_t iova, uint64_t length);

/*
 * Call @set for every written page inside [@iova, @iova + @length), cut to that, and
 * forget it if all of it was asked for. -EINVAL: not started, or the range is empty or wraps.
 */
int dirty_log_read(struct dirty_log *log, uint64_t iova, uint64_t length,
		   void (*set)(void *ctx, uint64_t iova, uint64_t length), void *ctx);

/* The same into @bitmap, whose bit n is the page of @page_size at @iova + n * @page_size. */
int dirty_log_read_bitmap(struct dirty_log *log, uint64_t iova, uint64_t length, uint64_t page_size,
			  uint64_t *bitmap);

#endif
