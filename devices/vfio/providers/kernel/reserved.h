/* SPDX-License-Identifier: Apache-2.0 */
/* Reserved IOVA of a device, for provider.c. */
#ifndef SLUICE_VFIO_KERNEL_RESERVED_H
#define SLUICE_VFIO_KERNEL_RESERVED_H

#include <stddef.h>

#include "vmm/base/dma.h"

struct vfio_device;

/*
 * The text of a group's reserved_regions (Documentation/ABI/testing/sysfs-kernel-iommu_groups):
 * lines of first, last and type. @count in: room, out: number. -EINVAL something else, -EMSGSIZE.
 */
int kernel_reserved_parse(const char *text, struct iova_range *ranges, size_t *count);

/* The `reserved` op. */
int kernel_reserved(struct vfio_device *vdev, struct iova_range *ranges, size_t *count);

#endif
