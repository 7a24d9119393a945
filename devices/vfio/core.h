/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the core share among themselves; nobody else includes it. */
#ifndef SLUICE_VFIO_CORE_H
#define SLUICE_VFIO_CORE_H

#include "devices/vfio/device.h"

/* Up to and with MEMBER: the smallest argsz that a command takes. */
#define offsetofend(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))

/* device_set.c: leave the set; the last member frees it. */
void vfio_release_device_set(struct vfio_device *vdev);

/* feature.c: VFIO_DEVICE_FEATURE. The caller has checked that the device is open. */
int vfio_ioctl_device_feature(struct vfio_device *vdev, struct vfio_device_feature *feature);

/* region_info.c: VFIO_DEVICE_GET_REGION_INFO. */
int vfio_get_region_info(struct vfio_device *vdev, struct vfio_region_info *info);

#endif
