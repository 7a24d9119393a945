// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/own_log.h"

#include <errno.h>
#include <stdlib.h>

#include "devices/vfio/device.h"
#include "devices/vfio/reference/dirty_log.h"

int vfio_own_log_start(struct dirty_log *log, const struct vfio_log_range *ranges, uint32_t count,
		       uint64_t *page_size)
{
	struct dirty_log_range *copy = calloc(count, sizeof(*copy));
	uint64_t size = *page_size, bytes = 0, *bitmap = NULL;
	int rc = copy ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < count && !rc; i++)
		copy[i] = (struct dirty_log_range){ranges[i].iova, ranges[i].length};
	if (!rc)
		rc = dirty_log_size(copy, count, &size, &bytes);
	if (!rc) {
		bitmap = malloc(bytes);
		rc = bitmap ? 0 : -ENOMEM;
	}
	if (!rc)
		rc = dirty_log_start(log, copy, count, size, bitmap);
	if (rc) {
		free(copy);
		free(bitmap);
		return rc;
	}
	*page_size = size;
	return 0;
}

void vfio_own_log_free(struct dirty_log *log)
{
	free((void *)(uintptr_t)log->ranges);
	free(log->bitmap);
	dirty_log_stop(log);
}
