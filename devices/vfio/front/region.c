/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vfio/front/region.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/device.h"

static void take_sparse(const uint8_t *info, size_t size, size_t at, struct bar_region *region)
{
	struct vfio_region_info_cap_sparse_mmap cap;
	struct vfio_region_sparse_mmap_area area;
	uint32_t count;

	region->sparse = true;
	if (size - at < sizeof(cap))
		return;
	memcpy(&cap, info + at, sizeof(cap));
	at += sizeof(cap);
	count = cap.nr_areas < BAR_SPARSE_MAX ? cap.nr_areas : BAR_SPARSE_MAX;
	for (uint32_t i = 0; i < count && size - at >= sizeof(area); i++, at += sizeof(area)) {
		memcpy(&area, info + at, sizeof(area));
		region->sparse_areas[region->sparse_count++] =
			(struct bar_area){.offset = area.offset, .size = area.size};
	}
}

static void take_chain(const struct vfio_region_info *info, size_t size, struct bar_region *region)
{
	const uint8_t *bytes = (const uint8_t *)info;
	struct vfio_info_cap_header header;
	size_t at = info->cap_offset;

	/* Forward only, so that the walk ends whatever the chain says. */
	for (size_t last = 0; at > last && at <= size && size - at >= sizeof(header);) {
		memcpy(&header, bytes + at, sizeof(header));
		if (header.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP && !region->sparse)
			take_sparse(bytes, size, at, region);
		last = at;
		at = header.next;
	}
}

int front_region_get(struct vfio_device *vdev, uint32_t index, struct bar_region *region)
{
	struct vfio_region_info *info;
	int ret;

	memset(region, 0, sizeof(*region));
	ret = vfio_device_region_info(vdev, index, &info);
	if (ret)
		return ret == -EINVAL ? 0 : ret;
	region->size = info->size;
	region->offset = info->offset;
	region->readable = info->flags & VFIO_REGION_INFO_FLAG_READ;
	region->writable = info->flags & VFIO_REGION_INFO_FLAG_WRITE;
	region->mappable = info->flags & VFIO_REGION_INFO_FLAG_MMAP;
	if (info->flags & VFIO_REGION_INFO_FLAG_CAPS)
		take_chain(info, info->argsz, region);
	free(info);
	return 0;
}

ssize_t front_region_read_all(struct vfio_device *vdev, const struct bar_region *region,
			      uint64_t offset, void *buffer, size_t length)
{
	size_t done = 0;

	while (done < length) {
		ssize_t ret = vfio_device_read(vdev, (uint8_t *)buffer + done, length - done,
					       region->offset + offset + done);

		if (ret == -EINTR)
			continue;
		if (ret < 0)
			return done ? (ssize_t)done : ret;
		if (ret == 0 || (size_t)ret > length - done)
			break;
		done += (size_t)ret;
	}
	return (ssize_t)done;
}
