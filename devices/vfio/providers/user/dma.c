/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: a mirror of the address space at the server, by descriptor, and the DMA that the server
 * does by message.
 *
 * No access mode is asked for in DMA_MAP (map or file I/O): older servers refuse the bits, and a
 * descriptor without them is mapped by all.
 */
#include <stdlib.h>

#include "devices/vfio/message.h"
#include "devices/vfio/providers/user/user.h"

/* ---- what the server has ----------------------------------------------------------------------- */

/* Under dma_lock. */
static struct user_map *find(struct user_device *ud, uint64_t iova)
{
	for (size_t i = 0; i < ud->map_count; i++) {
		if (ud->maps[i].area.iova == iova)
			return &ud->maps[i];
	}
	return NULL;
}

static int add(struct user_device *ud, const struct ioas_area *area)
{
	if (ud->map_count == ud->map_room) {
		const size_t room = ud->map_room ? ud->map_room * 2 : 8;
		struct user_map *maps = reallocarray(ud->maps, room, sizeof(*maps));

		if (!maps)
			return -ENOMEM;
		ud->maps = maps;
		ud->map_room = room;
	}
	ud->maps[ud->map_count++] = (struct user_map){.area = *area};
	return 0;
}

/* Under dma_lock. 0 also when there is no server: it gets the map when it comes. */
static int map_at_server(struct user_device *ud, struct user_map *map)
{
	const struct ioas_area *area = &map->area;
	struct vfio_user_message command = {
		.command = VFIO_USER_DMA_MAP,
		.dma_map =
			{
				.argsz = sizeof(command.dma_map),
				.flags = (area->rights & IOAS_READ ? VFIO_USER_DMA_MAP_READ : 0) |
					 (area->rights & IOAS_WRITE ? VFIO_USER_DMA_MAP_WRITE : 0),
				.offset = area->fd >= 0 ? area->offset : 0,
				.addr = area->iova,
				.size = area->length,
			},
	};
	const int rc = user_command(ud, &command, &area->fd, area->fd >= 0 ? 1 : 0);

	if (rc && !user_connected(ud))
		return 0;
	if (rc)
		vfio_error(ud->vdev.dev, rc,
			   "the server does not take the guest's memory at %#llx, %#llx bytes: %m",
			   (unsigned long long)area->iova, (unsigned long long)area->length);
	else
		map->mapped = true;
	return rc;
}

/* Under dma_lock. When it returns the server has acknowledged, or is cut off. */
static void unmap_at_server(struct user_device *ud, struct user_map *map)
{
	struct vfio_user_message command = {
		.command = VFIO_USER_DMA_UNMAP,
		.dma_unmap =
			{
				.argsz = sizeof(command.dma_unmap),
				.addr = map->area.iova,
				.size = map->area.length,
			},
	};
	int rc;

	if (!map->mapped)
		return;
	map->mapped = false;
	rc = user_command(ud, &command, NULL, 0);
	if (rc && user_connected(ud))
		user_lied(ud, VFIO_USER_DMA_UNMAP,
			  "it does not let go of the guest's memory, and may go on to write there");
}

/* ---- the mirror -------------------------------------------------------------------------------- */

static int mirror_map(void *ctx, const struct ioas_area *area)
{
	struct user_device *ud = ctx;
	const uint32_t most = user_agreed(ud).max_dma_maps;
	int rc;

	/* Memory of another device: a dma-buf, which a server cannot map. */
	if (area->peer)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&ud->dma_lock);
	if (user_connected(ud) && ud->map_count >= most) {
		rc = vfio_error(
			ud->vdev.dev, -ENOSPC,
			"the server takes %u maps of memory, and the guest's has more pieces",
			most);
	} else {
		rc = add(ud, area);
		if (!rc) {
			rc = map_at_server(ud, &ud->maps[ud->map_count - 1]);
			ud->map_count -= rc != 0;
		}
	}
	pthread_mutex_unlock(&ud->dma_lock);
	return rc;
}

static void mirror_unmap(void *ctx, const struct ioas_area *area)
{
	struct user_device *ud = ctx;
	struct user_map *map;

	pthread_mutex_lock(&ud->dma_lock);
	map = find(ud, area->iova);
	if (map) {
		unmap_at_server(ud, map);
		*map = ud->maps[--ud->map_count];
	}
	pthread_mutex_unlock(&ud->dma_lock);
}

static const struct ioas_mirror_ops mirror_ops = {
	.map = mirror_map,
	.unmap = mirror_unmap,
};

void user_dma_unmap(struct vfio_device *vdev, uint64_t iova, uint64_t length)
{
	struct user_device *ud = user_device(vdev);
	uint64_t last;

	if (!length || __builtin_add_overflow(iova, length - 1, &last))
		last = UINT64_MAX;
	pthread_mutex_lock(&ud->dma_lock);
	for (size_t i = 0; i < ud->map_count; i++) {
		const struct ioas_area *area = &ud->maps[i].area;

		if (area->iova <= last && area->iova + (area->length - 1) >= iova)
			unmap_at_server(ud, &ud->maps[i]);
	}
	pthread_mutex_unlock(&ud->dma_lock);
}

int user_dma_remap(struct user_device *ud)
{
	int rc = 0;

	pthread_mutex_lock(&ud->dma_lock);
	for (size_t i = 0; i < ud->map_count && !rc; i++) {
		ud->maps[i].mapped = false;
		rc = map_at_server(ud, &ud->maps[i]);
	}
	pthread_mutex_unlock(&ud->dma_lock);
	return rc;
}

void user_dma_forget(struct user_device *ud)
{
	pthread_mutex_lock(&ud->dma_lock);
	for (size_t i = 0; i < ud->map_count; i++)
		ud->maps[i].mapped = false;
	pthread_mutex_unlock(&ud->dma_lock);
}

/* ---- attach ------------------------------------------------------------------------------------ */

static void set_space(struct user_device *ud, struct ioas *space)
{
	pthread_mutex_lock(&ud->space_lock);
	ud->space = space;
	pthread_mutex_unlock(&ud->space_lock);
}

static int join(struct user_device *ud, struct ioas *space)
{
	int rc = ioas_mirror_add(space, &mirror_ops, ud);

	if (rc)
		return rc;
	if (!user_connected(ud)) {
		ioas_mirror_remove(space, ud);
		return -ENODEV;
	}
	set_space(ud, space);
	return 0;
}

static void leave(struct user_device *ud)
{
	struct ioas *space = ud->space;

	ioas_mirror_remove(space, ud);
	set_space(ud, NULL);
}

/*
 * Replacing is not atomic at the server, which cannot hold two spaces at once: in between, the device's
 * DMA is refused. A guest that replaces has its device idle.
 */
int user_attach_ioas(struct vfio_device *vdev, uint32_t *pt_id)
{
	struct user_device *ud = user_device(vdev);
	struct ioas *space = ioas_find(ud->ictx, *pt_id), *old = ud->space;
	int rc;

	if (!space)
		return -ENOENT;
	if (space == old)
		return 0;
	if (old)
		leave(ud);
	rc = join(ud, space);
	if (rc && old && join(ud, old)) {
		vfio_error(vdev->dev, 0, "lost its attachment to the guest's memory");
		vdev->iommufd_attached = false;
	}
	if (rc == -ENOMEM)
		vfio_error(vdev->dev, rc, "cannot be attached to the guest's memory: %m");
	return rc;
}

void user_detach_ioas(struct vfio_device *vdev)
{
	struct user_device *ud = user_device(vdev);

	if (ud->space)
		leave(ud);
}

/* ---- DMA by message ---------------------------------------------------------------------------- */

static int dma_read(struct user_device *ud, uint64_t iova, void *buffer, size_t length)
{
	const struct vfio_device *vdev = &ud->vdev;
	int rc = -EFAULT;

	pthread_mutex_lock(&ud->space_lock);
	if (ud->space)
		rc = vdev->events && vdev->events->dma_read
			     ? vdev->events->dma_read(vdev->events_ctx, iova, buffer, length)
			     : ioas_read(ud->space, iova, buffer, length);
	pthread_mutex_unlock(&ud->space_lock);
	return rc;
}

/* Our part of the device's DMA log: the server's, which has the rest, does not see these. */
static int dma_write(struct user_device *ud, uint64_t iova, const void *buffer, size_t length)
{
	const struct vfio_device *vdev = &ud->vdev;
	int rc = -EFAULT;

	pthread_mutex_lock(&ud->space_lock);
	if (ud->space)
		rc = vdev->events && vdev->events->dma_write
			     ? vdev->events->dma_write(vdev->events_ctx, iova, buffer, length)
			     : ioas_write(ud->space, iova, buffer, length);
	pthread_mutex_unlock(&ud->space_lock);
	/* A write that failed may have begun. */
	user_log_note(ud, iova, length);
	return rc;
}

void user_serve(void *ctx, struct vfio_user_packet *packet)
{
	static const struct vfio_user_limits own = {
		.max_msg_fds = VFIO_USER_MAX_MSG_FDS,
		.max_data_xfer_size = VFIO_USER_MAX_DATA_XFER_SIZE,
	};
	struct user_connection *connection = ctx;
	struct user_device *ud = connection->ud;
	struct vfio_user_message command, reply;
	void *buffer = NULL;
	int rc;

	rc = vfio_user_decode_command(&packet->header, packet->payload, packet->size,
				      packet->fd_count, &own, &command);
	if (!rc && packet->error)
		rc = packet->error;
	if (!rc && !vfio_user_command_to_client(command.command))
		rc = -ENOTSUP;
	reply = (struct vfio_user_message){
		.id = command.id,
		.command = command.command,
		.reply = true,
		.dma = command.dma,
	};

	if (!rc && command.command == VFIO_USER_DMA_READ) {
		atomic_fetch_add(&ud->dma_reads, 1);
		buffer = malloc(command.dma.count + 1);
		rc = buffer ? dma_read(ud, command.dma.addr, buffer, command.dma.count) : -ENOMEM;
		reply.data = buffer;
		reply.data_size = command.dma.count;
	} else if (!rc) {
		atomic_fetch_add(&ud->dma_writes, 1);
		rc = dma_write(ud, command.dma.addr, command.data, command.data_size);
	}
	if (rc)
		vfio_debug(ud->vdev.dev, rc, "%s of the server: %m",
			   vfio_user_command_name(command.command)
				   ? vfio_user_command_name(command.command)
				   : "a command");
	reply.error = (uint32_t)-rc;
	/* Whatever comes of the reply, the next call of the channel says so. */
	if (!command.no_reply)
		vfio_user_channel_send(connection->channel, &reply, NULL, 0);
	free(buffer);
}
