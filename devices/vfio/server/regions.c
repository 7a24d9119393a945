// SPDX-License-Identifier: Apache-2.0
/* Regions of the device: what they are, reads and writes, doorbells without a message. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <linux/kvm.h>

#include "devices/vfio/message.h"
#include "devices/vfio/server/session.h"

int session_load_regions(struct session *s)
{
	struct vfio_device_info device = {.argsz = sizeof(device)};
	int rc = vfio_device_ioctl(s->vdev, VFIO_DEVICE_GET_INFO, &device);

	if (rc < 0)
		return rc;
	if (device.num_regions > SERVER_MAX_REGIONS || device.num_irqs > SERVER_MAX_IRQS)
		return -E2BIG;
	s->device_flags = device.flags & (VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI);
	s->region_count = device.num_regions;
	s->irq_count = device.num_irqs;
	for (uint32_t i = 0; i < s->region_count; i++) {
		struct vfio_region_info info = {.argsz = sizeof(info), .index = i};

		/* What is not there is an empty region: vfio-pci has no VGA for most devices. */
		if (vfio_device_ioctl(s->vdev, VFIO_DEVICE_GET_REGION_INFO, &info) < 0)
			continue;
		s->regions[i] = (struct server_region){
			.offset = info.offset, .size = info.size, .flags = info.flags};
	}
	return 0;
}

/* ---- info --------------------------------------------------------------------------------------- */

/*
 * The capabilities that the client gets: those that speak of mapping only when it can map. @caps is
 * a chain whose offsets count from its start.
 */
static int choose_caps(const struct vfio_region_info *info, bool mappable,
		       struct vfio_info_cap *caps)
{
	const uint8_t *base = (const uint8_t *)info;
	uint32_t offset = info->flags & VFIO_REGION_INFO_FLAG_CAPS ? info->cap_offset : 0;
	const uint32_t size = info->argsz;

	while (offset) {
		struct vfio_info_cap_header header;
		uint32_t end;
		int rc;

		if (offset > size || size - offset < sizeof(header))
			return -EIO;
		memcpy(&header, base + offset, sizeof(header));
		end = header.next ? header.next : size;
		if (end > size || end < offset + sizeof(header))
			return -EIO;
		if (mappable || (header.id != VFIO_REGION_INFO_CAP_SPARSE_MMAP &&
				 header.id != VFIO_REGION_INFO_CAP_MSIX_MAPPABLE)) {
			rc = vfio_info_add_capability(
				caps, (const struct vfio_info_cap_header *)(base + offset),
				end - offset);
			if (rc)
				return rc;
		}
		offset = header.next;
	}
	return 0;
}

int session_region_info(struct session *s, const struct vfio_user_message *in,
			struct server_reply *out)
{
	struct vfio_region_info *info, *reply = &out->message.region_info;
	struct vfio_info_cap caps = {0};
	uint64_t offset = 0;
	int rc, fd = -1;

	if (in->region_info.index >= s->region_count)
		return -EINVAL;
	rc = vfio_device_region_info(s->vdev, in->region_info.index, &info);
	if (rc)
		return rc;
	if ((info->flags & VFIO_REGION_INFO_FLAG_MMAP) &&
	    vfio_device_region_fd(s->vdev, info->index, s->config->share_fd, &fd, &offset))
		fd = -1;
	rc = choose_caps(info, fd >= 0, &caps);
	if (rc)
		goto out;

	*reply = (struct vfio_region_info){
		.argsz = (uint32_t)(sizeof(*reply) + caps.size),
		.flags = info->flags & (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE),
		.index = info->index,
		.size = info->size,
		.offset = fd >= 0 ? offset : 0,
	};
	if (fd >= 0)
		reply->flags |= VFIO_REGION_INFO_FLAG_MMAP;
	if (caps.size) {
		reply->flags |= VFIO_REGION_INFO_FLAG_CAPS;
		/*
		 * Also where there is no room for them, other than the kernel: QEMU takes a reply with the
		 * flag and without an offset for malformed (hw/vfio-user/device.c).
		 */
		reply->cap_offset = sizeof(*reply);
	}
	/* Too little room: how much it takes, and the client asks again. */
	if (reply->argsz > in->region_info.argsz)
		goto out;
	if (caps.size) {
		vfio_info_cap_shift(&caps, sizeof(*reply));
		memcpy(s->buffer, caps.buf, caps.size);
		out->message.data = s->buffer;
		out->message.data_size = caps.size;
	}
	if (fd >= 0) {
		out->fds[out->fd_count++] = fd;
		s->gave_memory = true;
	}
out:
	vfio_info_cap_free(&caps);
	free(info);
	return rc;
}

/* ---- access ------------------------------------------------------------------------------------- */

/* The offset for the contract of @count bytes at @offset of @region. */
static int locate(const struct session *s, uint32_t region, uint64_t offset, uint32_t count,
		  uint32_t right, uint64_t *where)
{
	const struct server_region *r;

	if (region >= s->region_count)
		return -EINVAL;
	r = &s->regions[region];
	if (!(r->flags & right) || offset > r->size || count > r->size - offset)
		return -EINVAL;
	*where = r->offset + offset;
	return 0;
}

int session_region_read(struct session *s, const struct vfio_user_message *in,
			struct server_reply *out)
{
	const struct vfio_user_region_access *access = &in->region;
	uint64_t where;
	uint32_t done = 0;
	int rc = locate(s, access->region, access->offset, access->count,
			VFIO_REGION_INFO_FLAG_READ, &where);

	while (!rc && done < access->count) {
		const ssize_t n = vfio_device_read(s->vdev, s->buffer + done, access->count - done,
						   where + done);

		if (n > 0)
			done += (uint32_t)n;
		else if (n == 0 || done)
			break; /* short: as much as there was */
		else
			rc = (int)n;
	}
	if (rc)
		return rc;
	out->message.region.count = done;
	out->message.data = s->buffer;
	out->message.data_size = done;
	return 0;
}

static int write_region(struct session *s, uint32_t region, uint64_t offset, const uint8_t *bytes,
			uint32_t count, uint32_t *done)
{
	uint64_t where;
	int rc = locate(s, region, offset, count, VFIO_REGION_INFO_FLAG_WRITE, &where);

	*done = 0;
	while (!rc && *done < count) {
		const ssize_t n =
			vfio_device_write(s->vdev, bytes + *done, count - *done, where + *done);

		if (n > 0)
			*done += (uint32_t)n;
		else if (n == 0 || *done)
			break;
		else
			rc = (int)n;
	}
	return rc;
}

int session_region_write(struct session *s, const struct vfio_user_message *in,
			 struct server_reply *out)
{
	return write_region(s, in->region.region, in->region.offset, in->data, in->region.count,
			    &out->message.region.count);
}

int session_write_multi(struct session *s, const struct vfio_user_message *in,
			struct server_reply *out)
{
	struct vfio_user_single_write write;
	uint32_t done;
	uint64_t i;

	for (i = 0; i < in->write_multi.wr_cnt; i++) {
		vfio_user_single_write_at(in, i, &write);
		if (write_region(s, write.region, write.offset, write.data, write.count, &done) ||
		    done != write.count)
			break;
	}
	if (i == 0 && in->write_multi.wr_cnt)
		return -EINVAL;
	out->message.write_multi.wr_cnt = i;
	return 0;
}

/* ---- doorbells ---------------------------------------------------------------------------------- */

static int ioeventfd(struct session *s, const struct vfio_server_doorbell *bell, int fd)
{
	struct vfio_device_ioeventfd io = {
		.argsz = sizeof(io),
		.flags = bell->size, /* VFIO_DEVICE_IOEVENTFD_8 and so on are the sizes */
		.offset = s->regions[bell->region].offset + bell->offset,
		.data = bell->value,
		.fd = fd,
	};

	return vfio_device_ioctl(s->vdev, VFIO_DEVICE_IOEVENTFD, &io);
}

/* The device does not take it: that was said, and is not tried again for this client. */
#define NO_DOORBELL (-2)

/* The eventfd of doorbell @i, which the device listens to from the first time on. */
static int doorbell_fd(struct session *s, unsigned i)
{
	const struct vfio_server_doorbell *bell = &s->config->doorbells[i];
	uint64_t where;
	int fd, rc;

	if (s->doorbell_fds[i] != -1)
		return s->doorbell_fds[i];
	rc = locate(s, bell->region, bell->offset, bell->size, VFIO_REGION_INFO_FLAG_WRITE, &where);
	if (rc)
		return rc;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	rc = ioeventfd(s, bell, fd);
	if (rc < 0) {
		vfio_warn(s->vdev->dev, rc, "doorbell at 0x%llx of region %u goes by messages: %m",
			  (unsigned long long)bell->offset, bell->region);
		close(fd);
		s->doorbell_fds[i] = NO_DOORBELL;
		return rc;
	}
	s->doorbell_fds[i] = fd;
	return fd;
}

/* Of @region: those of our configuration, then what the device itself has. Up to @room of them. */
static uint32_t list_doorbells(struct session *s, uint32_t region,
			       struct vfio_region_ioeventfd *list, uint32_t room)
{
	uint32_t count = 0, more;

	for (unsigned i = 0; i < s->config->doorbell_count && count < room; i++) {
		const struct vfio_server_doorbell *bell = &s->config->doorbells[i];
		const int fd = bell->region == region ? doorbell_fd(s, i) : -1;

		if (fd < 0)
			continue;
		list[count++] = (struct vfio_region_ioeventfd){
			.offset = bell->offset,
			.size = bell->size,
			.fd = fd,
			.match = true,
			.datamatch = bell->value,
		};
	}
	more = room - count;
	if (!more || vfio_device_region_ioeventfds(s->vdev, region, list + count, &more))
		return count;
	return more < room - count ? count + more : room;
}

int session_io_fds(struct session *s, const struct vfio_user_message *in, struct server_reply *out)
{
	struct vfio_user_region_io_fds *reply = &out->message.io_fds;
	struct vfio_region_ioeventfd list[VFIO_USER_MAX_MSG_FDS];
	struct vfio_user_sub_region sub;
	uint32_t count;

	if (in->io_fds.index >= s->region_count)
		return -EINVAL;
	count = list_doorbells(s, in->io_fds.index, list, s->peer.max_msg_fds);
	for (uint32_t i = 0; i < count; i++) {
		sub = (struct vfio_user_sub_region){
			.offset = list[i].offset,
			.size = list[i].size,
			.fd_index = i,
			.type = VFIO_USER_IO_FD_TYPE_IOEVENTFD,
			.flags = list[i].match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0,
			.datamatch = list[i].datamatch,
		};
		memcpy(s->buffer + i * sizeof(sub), &sub, sizeof(sub));
		out->fds[i] = list[i].fd;
	}
	*reply = (struct vfio_user_region_io_fds){
		.argsz = (uint32_t)(sizeof(*reply) + count * sizeof(sub)),
		.index = in->io_fds.index,
		.count = count,
	};
	if (reply->argsz > in->io_fds.argsz)
		return 0;
	out->message.data = s->buffer;
	out->message.data_size = count * sizeof(sub);
	out->fd_count = count;
	return 0;
}

void session_release_doorbells(struct session *s)
{
	for (unsigned i = 0; s->doorbell_fds && i < s->config->doorbell_count; i++) {
		if (s->doorbell_fds[i] < 0)
			continue;
		ioeventfd(s, &s->config->doorbells[i], -1);
		close(s->doorbell_fds[i]);
	}
	free(s->doorbell_fds);
	s->doorbell_fds = NULL;
}
