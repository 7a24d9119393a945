/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of a log of DMA writes (dirty_log.h) that a provider of this process keeps. */
#ifndef SLUICE_VFIO_OWN_LOG_H
#define SLUICE_VFIO_OWN_LOG_H

#include <stdint.h>

struct dirty_log;
struct vfio_log_range;

/*
 * Start @log over copies of @ranges. *@page_size: what is wished for, then what it is. -ENOMEM, and the
 * errors of dirty_log_size() and dirty_log_start(): the log is as before, -EBUSY when it runs.
 */
int vfio_own_log_start(struct dirty_log *log, const struct vfio_log_range *ranges, uint32_t count,
		       uint64_t *page_size);
/* Stop it, if it runs, and free its memory. */
void vfio_own_log_free(struct dirty_log *log);

#endif
