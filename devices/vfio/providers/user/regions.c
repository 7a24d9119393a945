/* SPDX-License-Identifier: Apache-2.0 */
/* Regions: asked for once at open and checked, then read, written and mapped. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/vfio/message.h"
#include "devices/vfio/providers/user/user.h"
#include "vmm/base/host.h"

#define MAX_REGION_INFO 65536 /* a chain of 4,000 sparse areas: more is no device */
#define MAX_AREAS       1024
#define PAGE            4096ull

#define KNOWN_FLAGS                                                                                \
	(VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE | VFIO_REGION_INFO_FLAG_MMAP)

static int refuse(const struct user_device *ud, uint32_t index, const char *why)
{
	return vfio_error(ud->vdev.dev, -EPROTO,
			  "region %u of the server %s; the device cannot be used", index, why);
}

/* ---- what the server says ---------------------------------------------------------------------- */

/* The sparse areas of a capability of @size bytes: inside the region, in pages, apart from each other. */
static const char *check_sparse(const struct user_region *region, const uint8_t *cap, size_t size)
{
	struct vfio_region_info_cap_sparse_mmap head;
	struct vfio_region_sparse_mmap_area areas[MAX_AREAS];

	if (size < sizeof(head))
		return "has a list of mappable areas that is cut short";
	memcpy(&head, cap, sizeof(head));
	if (head.nr_areas > MAX_AREAS || head.nr_areas > (size - sizeof(head)) / sizeof(areas[0]))
		return "has more mappable areas than fit in the list";
	memcpy(areas, cap + sizeof(head), head.nr_areas * sizeof(areas[0]));
	for (uint32_t i = 0; i < head.nr_areas; i++) {
		const uint64_t start = areas[i].offset, length = areas[i].size;

		if (!length || (start | length) % PAGE)
			return "has a mappable area that is not made of pages";
		if (start > region->info.size || length > region->info.size - start)
			return "has a mappable area outside of it";
		for (uint32_t k = 0; k < i; k++) {
			if (start < areas[k].offset + areas[k].size &&
			    areas[k].offset < start + length)
				return "has mappable areas that overlap";
		}
	}
	return NULL;
}

/* Capabilities that we know are checked; others mean nothing to whoever asks us, and are dropped. */
static const char *take_caps(struct user_region *region, const struct vfio_info_cap *chain,
			     int *error)
{
	const uint8_t *bytes = chain->buf;
	struct vfio_info_cap_header header;
	const char *why = NULL;
	bool sparse = false;

	for (size_t at = 0, size; at < chain->size && !why && !*error; at += size) {
		memcpy(&header, bytes + at, sizeof(header));
		size = (header.next ? header.next : chain->size) - at;
		if (header.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP) {
			why = sparse ? "has two lists of mappable areas"
				     : check_sparse(region, bytes + at, size);
			sparse = true;
		} else if (header.id != VFIO_REGION_INFO_CAP_TYPE &&
			   header.id != VFIO_REGION_INFO_CAP_MSIX_MAPPABLE) {
			continue;
		}
		if (!why)
			*error = vfio_info_add_capability(
				&region->caps, (const struct vfio_info_cap_header *)(bytes + at),
				size);
	}
	return why;
}

/*
 * Is the file behind @region as long as the region that it is to back? Sealed first, so that it stays so: one
 * that cannot be sealed (no memfd) the owner of the mapping has to watch.
 */
static bool long_enough(const struct user_region *region)
{
	int64_t size;

	host_size_is_sealed(region->fd);
	size = host_file_size(region->fd);
	/* Device nodes have no length to be judged by. */
	return size == -EINVAL || (size >= 0 && region->info.offset <= (uint64_t)size &&
				   region->info.size <= (uint64_t)size - region->info.offset);
}

/*
 * Do the guest's accesses to a mapping of @region wait for nobody? The pages of memory are there, or made; those
 * of another file come when its owner gives them (FUSE: perhaps never), and a huge page that was punched out
 * comes back only while there are others. Device nodes have no length and no pages to wait for.
 */
static bool waits_for_nobody(const struct user_region *region)
{
	return host_file_size(region->fd) < 0 ||
	       (host_is_memory(region->fd) && !host_huge_page(region->fd));
}

static const char *check_region(const struct user_region *region, uint32_t index)
{
	const uint64_t size = region->info.size;

	if (size > 1ull << USER_REGION_SHIFT)
		return "is larger than any device's";
	if (index <= VFIO_PCI_BAR5_REGION_INDEX && size & (size - 1))
		return "is a BAR whose size is no power of two";
	if (index == VFIO_PCI_CONFIG_REGION_INDEX && (size < 64 || size > 4096))
		return "is a configuration space of neither 256 nor 4096 bytes";
	return NULL;
}

/* Take the reply over into @region, its descriptor too. */
static int take(struct user_device *ud, uint32_t index, const struct vfio_user_message *reply,
		struct vfio_user_packet *packet, struct user_region *region)
{
	const struct vfio_region_info *info = &reply->region_info;
	struct vfio_info_cap chain = {0};
	const char *why;
	int rc = 0;

	region->info = *info;
	region->info.flags &= KNOWN_FLAGS;
	/* libvfio-user says of a configuration space that it can neither be read nor written. */
	if (index == VFIO_PCI_CONFIG_REGION_INDEX && ud->info.flags & VFIO_DEVICE_FLAGS_PCI)
		region->info.flags |= VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	region->info.cap_offset = 0;
	why = info->size ? check_region(region, index) : NULL;
	if (why)
		return refuse(ud, index, why);

	if (info->flags & VFIO_REGION_INFO_FLAG_CAPS) {
		/* The payload is the structure as the kernel would have it: header, then chain. */
		rc = vfio_info_add_chain(&chain, packet->payload, packet->size, info->cap_offset);
		why = NULL;
		if (!rc)
			why = take_caps(region, &chain, &rc);
		vfio_info_cap_free(&chain);
		if (rc == -EINVAL)
			why = "has a list of capabilities that leads nowhere";
		if (why)
			return refuse(ud, index, why);
		if (rc)
			return rc;
	}

	if (!(region->info.flags & VFIO_REGION_INFO_FLAG_MMAP) || ud->options.reconnect)
		region->info.flags &= ~(uint32_t)VFIO_REGION_INFO_FLAG_MMAP;
	else if (packet->fd_count == 0)
		return refuse(ud, index, "is said to be mappable, but comes without a descriptor");
	if (region->info.flags & VFIO_REGION_INFO_FLAG_MMAP) {
		/* libvfio-user sends the same one again for each area. */
		region->fd = packet->fds[0];
		packet->fds[0] = -1;
		if (region->info.offset % PAGE || !long_enough(region))
			return refuse(ud, index, "is longer than the file that is to back it");
	}
	if (region->fd >= 0 && !waits_for_nobody(region)) {
		vfio_info(ud->vdev.dev, 0,
			  "the file of region %u is no memory of small pages: not mapped, each "
			  "access goes "
			  "to the server",
			  index);
		close(region->fd);
		region->fd = -1;
		region->info.flags &= ~(uint32_t)VFIO_REGION_INFO_FLAG_MMAP;
	}
	if (region->fd < 0)
		vfio_info_cap_free(&region->caps);
	return 0;
}

static int get(struct user_device *ud, uint32_t index, struct user_region *region)
{
	struct vfio_user_message command = {
		.command = VFIO_USER_DEVICE_GET_REGION_INFO,
		.region_info = {.argsz = sizeof(command.region_info), .index = index},
	};
	struct vfio_user_packet *packet;
	struct vfio_user_message reply;
	int rc;

	/* Not by the flag: libvfio-user sets it, and sends the descriptor, only when there is room. */
	rc = user_call_sized(ud, &command, MAX_REGION_INFO, &reply, &packet);
	if (rc == -E2BIG)
		rc = refuse(ud, index, "has more capabilities than any device");
	else if (rc == -EOVERFLOW)
		rc = refuse(ud, index, "wants more room each time");
	/* A region that the server does not know is not there. */
	if (!rc && reply.error) {
		region->info = (struct vfio_region_info){.index = index};
		rc = index == VFIO_PCI_CONFIG_REGION_INDEX && ud->info.flags & VFIO_DEVICE_FLAGS_PCI
			     ? refuse(ud, index, "is the configuration space and is not there")
			     : 0;
	} else if (!rc) {
		rc = take(ud, index, &reply, packet, region);
	}
	vfio_user_packet_free(packet);
	if (!rc && region->info.size && user_agreed(ud).extended)
		rc = user_io_fds_get(ud, index, region);
	return rc;
}

int user_regions_get(struct user_device *ud, struct user_region **out)
{
	const uint32_t count = ud->info.num_regions;
	struct user_region *regions = calloc(count, sizeof(*regions));
	int rc = 0;

	if (!regions)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		regions[i].fd = -1;
	for (uint32_t i = 0; i < count && !rc; i++)
		rc = get(ud, i, &regions[i]);
	if (rc) {
		user_regions_free(regions, count);
		return rc;
	}
	*out = regions;
	return 0;
}

void user_regions_free(struct user_region *regions, uint32_t count)
{
	for (uint32_t i = 0; regions && i < count; i++) {
		vfio_info_cap_free(&regions[i].caps);
		if (regions[i].fd >= 0)
			close(regions[i].fd);
		user_io_fds_free(&regions[i]);
	}
	free(regions);
}

/* ---- what the core asks ------------------------------------------------------------------------ */

int user_region_info(struct vfio_device *vdev, struct vfio_region_info *info,
		     struct vfio_info_cap *caps)
{
	struct user_device *ud = user_device(vdev);
	const struct user_region *region;
	const uint32_t argsz = info->argsz, index = info->index;

	if (index >= ud->info.num_regions)
		return -EINVAL;
	region = &ud->regions[index];
	/* No PCI device of today has VGA, and the kernel answers the same. */
	if (index == VFIO_PCI_VGA_REGION_INDEX && !region->info.size)
		return -EINVAL;
	*info = region->info;
	info->argsz = argsz;
	info->index = index;
	info->offset = (uint64_t)index << USER_REGION_SHIFT;
	if (!region->caps.size)
		return 0;
	caps->buf = malloc(region->caps.size);
	if (!caps->buf)
		return -ENOMEM;
	memcpy(caps->buf, region->caps.buf, region->caps.size);
	caps->size = region->caps.size;
	return 0;
}

/* The region that @offset is in. */
static struct user_region *region_at(struct user_device *ud, uint64_t offset)
{
	const uint64_t index = offset >> USER_REGION_SHIFT;

	return index < ud->info.num_regions && ud->regions[index].info.size ? &ud->regions[index]
									    : NULL;
}

static uint64_t place_in(uint64_t offset)
{
	return offset & ((1ull << USER_REGION_SHIFT) - 1);
}

/*
 * How much of an access of @count bytes is one: config space takes no access that goes beyond its end,
 * a BAR cuts it (drivers/vfio/pci/vfio_pci_config.c, vfio_pci_rdwr.c).
 */
static ssize_t clip(const struct user_region *region, uint64_t at, size_t count)
{
	const uint64_t size = region->info.size;

	if (region->info.index == VFIO_PCI_CONFIG_REGION_INDEX)
		return at >= size || count > size - at ? -EFAULT : (ssize_t)count;
	if (at >= size)
		return -EINVAL;
	return (ssize_t)(count > size - at ? size - at : count);
}

static ssize_t read_piece(struct user_device *ud, uint32_t index, uint64_t at, void *buffer,
			  uint32_t count)
{
	struct vfio_user_message command = {
		.command = VFIO_USER_REGION_READ,
		.region = {.offset = at, .region = index, .count = count},
	};

	return user_read(ud, &command, buffer);
}

static ssize_t write_piece(struct user_device *ud, uint32_t index, uint64_t at, const void *buffer,
			   uint32_t count)
{
	struct vfio_user_message command = {
		.command = VFIO_USER_REGION_WRITE,
		.region = {.offset = at, .region = index, .count = count},
		.data = buffer,
		.data_size = count,
	};
	struct vfio_user_packet *packet;
	struct vfio_user_message reply;
	ssize_t done;

	if (ud->posted && index <= VFIO_PCI_BAR5_REGION_INDEX) {
		done = user_post(ud, &command);
		return done ? done : (ssize_t)count;
	}
	done = user_call(ud, &command, NULL, 0, &reply, &packet);
	if (!done)
		done = reply.error ? user_errno(reply.error) : (ssize_t)reply.region.count;
	vfio_user_packet_free(packet);
	return done;
}

/* One access of the owner, in as many messages as the server's bound makes of it. */
static ssize_t access_region(struct vfio_device *vdev, uint64_t offset, void *into,
			     const void *from, size_t count)
{
	struct user_device *ud = user_device(vdev);
	struct user_region *region = region_at(ud, offset);
	const uint64_t at = place_in(offset);
	ssize_t most, rc = 0;
	size_t done = 0;

	if (!region)
		return -EINVAL;
	if (!(region->info.flags &
	      (into ? VFIO_REGION_INFO_FLAG_READ : VFIO_REGION_INFO_FLAG_WRITE)))
		return -EINVAL;
	if (!count)
		return 0;
	most = clip(region, at, count);
	if (most < 0)
		return most;

	while (done < (size_t)most) {
		const uint32_t bound = ud->max_data_xfer_size;
		const size_t left = (size_t)most - done;
		const uint32_t piece = left < bound ? (uint32_t)left : bound;

		rc = into ? read_piece(ud, region->info.index, at + done, (uint8_t *)into + done,
				       piece)
			  : write_piece(ud, region->info.index, at + done,
					(const uint8_t *)from + done, piece);
		if (rc <= 0)
			break;
		done += (size_t)rc;
		if ((size_t)rc < piece)
			break;
	}
	if (done)
		return (ssize_t)done;
	return rc < 0 ? rc : -EIO;
}

ssize_t user_region_read(struct vfio_device *vdev, void *buffer, size_t count, uint64_t offset)
{
	return access_region(vdev, offset, buffer, NULL, count);
}

ssize_t user_region_write(struct vfio_device *vdev, const void *buffer, size_t count,
			  uint64_t offset)
{
	return access_region(vdev, offset, NULL, buffer, count);
}

/* ---- mappings ---------------------------------------------------------------------------------- */

/* Does one of the mappable areas hold [@at, @at + @length)? All of it does when there is no list. */
static bool in_area(const struct user_region *region, uint64_t at, uint64_t length)
{
	const uint8_t *bytes = region->caps.buf;
	struct vfio_region_info_cap_sparse_mmap head;
	struct vfio_region_sparse_mmap_area area;
	struct vfio_info_cap_header header;

	for (size_t next = 0, cap = 0; region->caps.size; cap = next) {
		memcpy(&header, bytes + cap, sizeof(header));
		next = header.next;
		if (header.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP) {
			memcpy(&head, bytes + cap, sizeof(head));
			for (uint32_t i = 0; i < head.nr_areas; i++) {
				memcpy(&area, bytes + cap + sizeof(head) + i * sizeof(area),
				       sizeof(area));
				if (at >= area.offset && at - area.offset <= area.size &&
				    length <= area.size - (at - area.offset))
					return true;
			}
			return false;
		}
		if (!next)
			break;
	}
	return true;
}

int user_region_fd(struct vfio_device *vdev, uint32_t index, bool device, int *fd, uint64_t *offset)
{
	const struct user_device *ud = user_device(vdev);

	(void)device; /* what the server gave away, it gave away */
	if (index >= ud->info.num_regions || ud->regions[index].fd < 0)
		return -ENODEV;
	*fd = ud->regions[index].fd;
	*offset = ud->regions[index].info.offset;
	return 0;
}

int user_region_mmap(struct vfio_device *vdev, void *where, size_t length, int prot,
		     uint64_t offset)
{
	struct user_device *ud = user_device(vdev);
	const struct user_region *region = region_at(ud, offset);
	const uint64_t at = place_in(offset);

	if (!region || region->fd < 0 || at % PAGE || !length || at >= region->info.size ||
	    length > region->info.size - at || !in_area(region, at, length))
		return -EINVAL;
	if ((prot & PROT_READ && !(region->info.flags & VFIO_REGION_INFO_FLAG_READ)) ||
	    (prot & PROT_WRITE && !(region->info.flags & VFIO_REGION_INFO_FLAG_WRITE)))
		return -EINVAL;
	/* In the file the region begins where the server's offset says. */
	if (mmap(where, length, prot, MAP_SHARED | MAP_FIXED, region->fd,
		 (off_t)(region->info.offset + at)) == MAP_FAILED)
		return -errno;
	return 0;
}
