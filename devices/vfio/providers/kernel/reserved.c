/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses that the host's IOMMU keeps for itself: no guest RAM can be there. */
#include "devices/vfio/providers/kernel/reserved.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "devices/vfio/message.h"
#include "devices/vfio/providers/kernel/kernel.h"

int kernel_reserved_parse(const char *text, struct iova_range *ranges, size_t *count)
{
	size_t found = 0;
	size_t room = *count;

	while (*text != '\0') {
		struct iova_range range;
		char type[32];

		if (sscanf(text, "%" SCNx64 " %" SCNx64 " %31s", &range.first, &range.last, type) !=
			    3 ||
		    range.first > range.last)
			return -EINVAL;
		/* iommufd allows these (iopt_table_enforce_dev_resv_regions). */
		if (strcmp(type, "direct-relaxable") != 0) {
			if (found < room)
				ranges[found] = range;
			found++;
		}
		text += strcspn(text, "\n");
		text += strspn(text, "\n");
	}
	*count = found;
	return found > room ? -EMSGSIZE : 0;
}

int kernel_reserved(struct vfio_device *vdev, struct iova_range *ranges, size_t *count)
{
	const struct kernel_device *kd = kernel_device(vdev);
	char path[VFIO_PATH_SIZE + 32], text[4096];
	ssize_t n;
	int r;

	/* Without a directory or a group (an mdev, no sysfs) nothing is known, and attaching tells. */
	if (kd->sysfs[0] == '\0') {
		*count = 0;
		return 0;
	}
	snprintf(path, sizeof(path), "%s/iommu_group/reserved_regions", kd->sysfs);
	n = kd->calls->read_text(kd->calls->ctx, path, text, sizeof(text));
	if (n < 0) {
		*count = 0;
		return 0;
	}
	r = kernel_reserved_parse(text, ranges, count);
	if (r == -EINVAL) {
		vfio_debug(kd->name, 0, "%s is not understood", path);
		*count = 0;
		return 0;
	}
	return r;
}
