/* SPDX-License-Identifier: Apache-2.0 */
/* Region info and its capability chain (VFIO_DEVICE_GET_REGION_INFO, vfio_info_cap). */
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/core.h"

/* Capabilities are aligned for their 64-bit members (drivers/vfio/vfio_main.c). */
#define CAP_ALIGN(size) (((size) + 7) & ~(size_t)7)

#define REGION_INFO_MOST 65536u /* room for 4,000 sparse areas: more is no device */

int vfio_info_add_capability(struct vfio_info_cap *caps, const struct vfio_info_cap_header *cap,
			     size_t size)
{
	struct vfio_info_cap_header *header;
	size_t start = caps->size;
	uint8_t *buf;

	if (size < sizeof(*cap) || start > UINT32_MAX / 2 || size > UINT32_MAX / 2)
		return -EINVAL;

	buf = reallocarray(caps->buf, 1, start + CAP_ALIGN(size));
	if (!buf)
		return -ENOMEM;
	caps->buf = buf;
	caps->size = start + CAP_ALIGN(size);

	memset(buf + start, 0, CAP_ALIGN(size));
	memcpy(buf + start, cap, size);
	header = (struct vfio_info_cap_header *)(buf + start);
	header->next = 0;

	/* Link from the last one, which ends where this one starts. */
	if (start) {
		struct vfio_info_cap_header *last = caps->buf;

		while (last->next)
			last = (struct vfio_info_cap_header *)(buf + last->next);
		last->next = (uint32_t)start;
	}
	return 0;
}

int vfio_info_add_chain(struct vfio_info_cap *caps, const void *info, size_t size, uint32_t offset)
{
	const uint8_t *base = info;

	while (offset) {
		struct vfio_info_cap_header header;
		size_t end;
		int rc;

		if (offset % 4 || offset > size || size - offset < sizeof(header))
			return -EINVAL;
		memcpy(&header, base + offset, sizeof(header));
		/* Forward only: a chain that runs in circles would never end. */
		if (header.next && header.next < offset + sizeof(header))
			return -EINVAL;
		end = header.next ? header.next : size;
		if (end > size)
			return -EINVAL;

		rc = vfio_info_add_capability(
			caps, (const struct vfio_info_cap_header *)(base + offset), end - offset);
		if (rc)
			return rc;
		offset = header.next;
	}
	return 0;
}

void vfio_info_cap_free(struct vfio_info_cap *caps)
{
	free(caps->buf);
	*caps = (struct vfio_info_cap){0};
}

void vfio_info_cap_shift(struct vfio_info_cap *caps, uint32_t shift)
{
	struct vfio_info_cap_header *header = caps->buf;

	while (header->next) {
		uint32_t next = header->next;

		header->next = next + shift;
		header = (struct vfio_info_cap_header *)((uint8_t *)caps->buf + next);
	}
}

int vfio_get_region_info(struct vfio_device *vdev, struct vfio_region_info *arg)
{
	const size_t minsz = offsetofend(struct vfio_region_info, offset);
	struct vfio_region_info info;
	struct vfio_info_cap caps = {0};
	int rc;

	if (!vdev->ops->get_region_info_caps)
		return -EINVAL;
	if (!arg)
		return -EFAULT;
	if (arg->argsz < minsz)
		return -EINVAL;

	info = *arg;
	rc = vdev->ops->get_region_info_caps(vdev, &info, &caps);
	if (rc)
		goto free_caps;

	if (caps.size) {
		info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
		if (info.argsz < sizeof(info) + caps.size) {
			/* Too little room: say how much, and that there are capabilities. */
			info.argsz = (uint32_t)(sizeof(info) + caps.size);
			info.cap_offset = 0;
		} else {
			vfio_info_cap_shift(&caps, sizeof(info));
			memcpy(arg + 1, caps.buf, caps.size);
			info.cap_offset = sizeof(info);
		}
	}
	*arg = info;

free_caps:
	vfio_info_cap_free(&caps);
	return rc;
}

int vfio_device_region_info(struct vfio_device *vdev, uint32_t index, struct vfio_region_info **out)
{
	uint32_t size = sizeof(struct vfio_region_info), room = 0;
	struct vfio_region_info *info = NULL;
	int rc;

	while (room < size) {
		room = size;
		free(info);
		info = calloc(1, room);
		if (!info)
			return -ENOMEM;
		info->argsz = room;
		info->index = index;
		rc = vfio_device_ioctl(vdev, VFIO_DEVICE_GET_REGION_INFO, info);
		if (rc) {
			free(info);
			return rc;
		}
		/* Once: who wants more room each time gets no chain. */
		if (room == sizeof(*info))
			size = info->argsz < REGION_INFO_MOST ? info->argsz : REGION_INFO_MOST;
	}
	info->argsz = room;
	*out = info;
	return 0;
}

int vfio_device_region_ioeventfds(struct vfio_device *vdev, uint32_t index,
				  struct vfio_region_ioeventfd *list, uint32_t *count)
{
	if (!atomic_load_explicit(&vdev->access_granted, memory_order_acquire))
		return -EINVAL;
	if (!vdev->ops->get_region_ioeventfds) {
		struct vfio_region_info info = {.argsz = sizeof(info), .index = index};

		*count = 0;
		return vfio_get_region_info(vdev, &info);
	}
	return vdev->ops->get_region_ioeventfds(vdev, index, list, count);
}
