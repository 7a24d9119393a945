// SPDX-License-Identifier: Apache-2.0
/*
 * The client's memory in the device's address space.
 *
 * With a descriptor of memory whose size is sealed against shrinking it is mapped and read by pointer.
 * Memory that can be cut, and huge pages, which a hole takes away for good when there are no others, are
 * mapped, too, but copied by system calls: where an access by pointer would kill the server by SIGBUS,
 * these fail. (Files of hugetlbfs cannot be written by pwrite(2) at all.) A file that is no memory is
 * read and written by nobody: it may be one whose owner never answers (FUSE). Its accesses are
 * messages, as all are without a descriptor.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "devices/vfio/server/session.h"
#include "vmm/base/host.h"

#define DMA_TIMEOUT_MS 5000
#define PAGE           4096u

/* ---- by messages -------------------------------------------------------------------------------- */

/* One DMA_READ or DMA_WRITE. A client that does not answer is sent away. */
static int message(struct session *s, uint16_t command, uint64_t iova, void *bytes, size_t count)
{
	const bool write = command == VFIO_USER_DMA_WRITE;
	struct vfio_user_message m = {
		.command = command,
		.dma = {.addr = iova, .count = count},
		.data = write ? bytes : NULL,
		.data_size = write ? count : 0,
	};
	struct vfio_user_packet *packet;
	struct vfio_user_message reply;
	int rc;

	rc = vfio_user_channel_call(s->channel, &m, NULL, 0, DMA_TIMEOUT_MS, &packet);
	if (rc) {
		if (rc == -ETIMEDOUT)
			vfio_user_channel_shutdown(s->channel, rc);
		return rc;
	}
	rc = vfio_user_decode_reply(&m, &packet->header, packet->payload, packet->size,
				    packet->fd_count, &s->own, &reply);
	if (rc)
		vfio_user_channel_shutdown(s->channel, rc);
	else if (reply.error)
		rc = -(int)reply.error;
	else if (reply.dma.count != count)
		rc = -EIO;
	else if (!write)
		memcpy(bytes, reply.data, count);
	vfio_user_packet_free(packet);
	return rc;
}

static int messages(struct session *s, uint16_t command, uint64_t iova, void *bytes, size_t length)
{
	int rc = 0;

	while (length && !rc) {
		const size_t part =
			length < s->peer.max_data_xfer_size ? length : s->peer.max_data_xfer_size;

		rc = message(s, command, iova, bytes, part);
		bytes = (char *)bytes + part;
		iova += part;
		length -= part;
	}
	return rc;
}

static int message_read(void *ctx, uint64_t iova, void *buffer, size_t length)
{
	const struct server_map *map = ctx;

	return messages(map->session, VFIO_USER_DMA_READ, iova, buffer, length);
}

static int message_write(void *ctx, uint64_t iova, const void *buffer, size_t length)
{
	const struct server_map *map = ctx;

	return messages(map->session, VFIO_USER_DMA_WRITE, iova, (void *)(uintptr_t)buffer, length);
}

static const struct ioas_area_ops message_ops = {.read = message_read, .write = message_write};

/* ---- as a file ---------------------------------------------------------------------------------- */

static int file_access(const struct server_map *map, uint64_t iova, void *buffer, size_t length,
		       bool write)
{
	uint64_t at = map->offset + (iova - map->iova);
	char *bytes = buffer;

	while (length) {
		const ssize_t n = write ? pwrite(map->fd, bytes, length, (off_t)at)
					: pread(map->fd, bytes, length, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EFAULT; /* the file is shorter now */
		bytes += n;
		at += (uint64_t)n;
		length -= (size_t)n;
	}
	return 0;
}

static int file_read(void *ctx, uint64_t iova, void *buffer, size_t length)
{
	return file_access(ctx, iova, buffer, length, false);
}

static int file_write(void *ctx, uint64_t iova, const void *buffer, size_t length)
{
	return file_access(ctx, iova, (void *)(uintptr_t)buffer, length, true);
}

static const struct ioas_area_ops file_ops = {.read = file_read, .write = file_write};

/* ---- mapped, but not to be trusted ---------------------------------------------------------------- */

static int guarded_read(void *ctx, uint64_t iova, void *buffer, size_t length)
{
	const struct server_map *map = ctx;
	const struct iovec here = {buffer, length};
	const struct iovec there = {(char *)map->hva + (iova - map->iova), length};
	const ssize_t n = process_vm_readv(getpid(), &here, 1, &there, 1, 0);

	return n < 0 ? -errno : (size_t)n < length ? -EFAULT : 0;
}

static int guarded_write(void *ctx, uint64_t iova, const void *buffer, size_t length)
{
	const struct server_map *map = ctx;
	const struct iovec here = {(void *)(uintptr_t)buffer, length};
	const struct iovec there = {(char *)map->hva + (iova - map->iova), length};
	const ssize_t n = process_vm_writev(getpid(), &here, 1, &there, 1, 0);

	return n < 0 ? -errno : (size_t)n < length ? -EFAULT : 0;
}

static const struct ioas_area_ops guarded_ops = {.read = guarded_read, .write = guarded_write};

/* ---- the list of maps --------------------------------------------------------------------------- */

/* Index of the first map at or behind @iova. */
static uint32_t find_map(const struct session *s, uint64_t iova)
{
	uint32_t low = 0, high = s->map_count;

	while (low < high) {
		const uint32_t middle = low + (high - low) / 2;

		if (s->maps[middle]->iova < iova)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int reserve(struct session *s)
{
	const uint32_t room = s->map_room ? s->map_room * 2 : 16;
	struct server_map **maps;

	if (s->map_count < s->map_room)
		return 0;
	maps = reallocarray(s->maps, room, sizeof(*maps));
	if (!maps)
		return -ENOMEM;
	s->maps = maps;
	s->map_room = room;
	return 0;
}

static void free_map(struct server_map *map)
{
	if (map->mapping)
		munmap(map->mapping, map->mapped);
	if (map->fd >= 0)
		close(map->fd);
	free(map);
}

static void remove_map(struct session *s, uint32_t index)
{
	struct server_map *map = s->maps[index];

	vfio_device_dma_unmap(s->vdev, map->iova, map->size);
	ioas_unmap(s->ioas, map->iova, map->size);
	s->map_count--;
	memmove(&s->maps[index], &s->maps[index + 1], (s->map_count - index) * sizeof(*s->maps));
	free_map(map);
}

/* ---- commands ----------------------------------------------------------------------------------- */

/* Its pages whole: those of hugetlbfs are not the client's 4 KiB. */
static int map_pages(struct server_map *map, const struct vfio_user_dma_map *wanted, uint64_t page)
{
	const int prot = (wanted->flags & VFIO_USER_DMA_MAP_READ ? PROT_READ : 0) |
			 (wanted->flags & VFIO_USER_DMA_MAP_WRITE ? PROT_WRITE : 0);
	const uint64_t first = wanted->offset & ~(page - 1);
	void *mapping;

	map->mapped = (wanted->offset + wanted->size - first + page - 1) & ~(page - 1);
	mapping = mmap(NULL, map->mapped, prot, MAP_SHARED, map->fd, (off_t)first);
	if (mapping == MAP_FAILED)
		return -errno;
	map->mapping = mapping;
	map->hva = (char *)mapping + (wanted->offset - first);
	return 0;
}

static int map_descriptor(struct server_map *map, const struct vfio_user_dma_map *wanted,
			  struct ioas_area *area)
{
	const bool file_io = wanted->flags & VFIO_USER_DMA_MAP_FILE_IO;
	/* Before its length is looked at: after that it could be cut still. */
	const bool sealed = !file_io && host_size_is_sealed(map->fd);
	const bool memory = host_is_memory(map->fd);
	const uint64_t huge = memory ? host_huge_page(map->fd) : 0;
	const int64_t size = host_file_size(map->fd);
	int rc;

	if (size < 0)
		return (int)size;
	if (wanted->offset > (uint64_t)size || wanted->size > (uint64_t)size - wanted->offset)
		return -EINVAL;

	area->ops_ctx = map;
	if (!memory) {
		area->ops = &message_ops;
		return file_io ? -EOPNOTSUPP : 0;
	}
	if (file_io && !huge) {
		area->ops = &file_ops;
		return 0;
	}
	rc = map_pages(map, wanted, huge ? huge : PAGE);
	if (sealed && !huge)
		area->hva = map->hva;
	else
		area->ops = &guarded_ops;
	return rc;
}

int session_dma_map(struct session *s, const struct vfio_user_message *in,
		    struct vfio_user_packet *packet)
{
	const struct vfio_user_dma_map *wanted = &in->dma_map;
	struct ioas_area area = {
		.iova = wanted->addr, .length = wanted->size, .fd = -1, .offset = wanted->offset};
	struct server_map *map;
	uint32_t at;
	int rc;

	if (s->map_count >= VFIO_USER_MAX_DMA_MAPS)
		return -ENOSPC;
	rc = reserve(s);
	if (rc)
		return rc;
	map = calloc(1, sizeof(*map));
	if (!map)
		return -ENOMEM;
	*map = (struct server_map){.iova = wanted->addr,
				   .size = wanted->size,
				   .offset = wanted->offset,
				   .fd = -1,
				   .session = s};
	area.rights = (wanted->flags & VFIO_USER_DMA_MAP_READ ? IOAS_READ : 0) |
		      (wanted->flags & VFIO_USER_DMA_MAP_WRITE ? IOAS_WRITE : 0);
	if (packet->fd_count) {
		map->fd = area.fd = packet->fds[0];
		packet->fds[0] = -1;
		rc = map_descriptor(map, wanted, &area);
	} else {
		area.offset = 0;
		area.ops = &message_ops;
		area.ops_ctx = map;
	}
	if (!rc)
		rc = ioas_map(s->ioas, &area);
	if (rc) {
		free_map(map);
		return rc;
	}
	at = find_map(s, map->iova);
	memmove(&s->maps[at + 1], &s->maps[at], (s->map_count - at) * sizeof(*s->maps));
	s->maps[at] = map;
	s->map_count++;
	return 0;
}

int session_dma_unmap(struct session *s, const struct vfio_user_message *in)
{
	const struct vfio_user_dma_unmap *wanted = &in->dma_unmap;
	uint32_t at;

	if (wanted->flags & VFIO_USER_DMA_UNMAP_ALL) {
		session_release_maps(s);
		return 0;
	}
	at = find_map(s, wanted->addr);
	if (at == s->map_count || s->maps[at]->iova != wanted->addr ||
	    s->maps[at]->size != wanted->size)
		return -ENOENT;
	remove_map(s, at);
	return 0;
}

void session_release_maps(struct session *s)
{
	while (s->map_count)
		remove_map(s, s->map_count - 1);
	free(s->maps);
	s->maps = NULL;
	s->map_room = 0;
}
