/* SPDX-License-Identifier: Apache-2.0 */
/* Regions of a device as plain data (VFIO_DEVICE_GET_REGION_INFO with its capability chain). */
#ifndef SLUICE_VFIO_FRONT_REGION_H
#define SLUICE_VFIO_FRONT_REGION_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "devices/vfio/front/bar_layout.h"

struct vfio_device;

/*
 * Region @index. A device without it (-EINVAL of the ioctl) gives one of size 0. A chain that is
 * broken ends where it breaks; sparse areas beyond BAR_SPARSE_MAX are left out, so trapped.
 * Other -errno of the ioctl, -ENOMEM.
 */
int front_region_get(struct vfio_device *vdev, uint32_t index, struct bar_region *region);

/* Read all of [@offset, @offset + @length) of @region, in as many reads as it takes. Bytes read. */
ssize_t front_region_read_all(struct vfio_device *vdev, const struct bar_region *region,
			      uint64_t offset, void *buffer, size_t length);

#endif
