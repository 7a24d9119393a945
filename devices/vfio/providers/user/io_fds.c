/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DEVICE_GET_REGION_IO_FDS: writes of a region that the server takes by eventfd. They save an exit to
 * user space each, and no more: whatever is wrong with them, the writes go by message.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/kvm.h>

#include "devices/vfio/message.h"
#include "devices/vfio/providers/user/user.h"
#include "vmm/base/host.h"

#define MAX_IOEVENTFDS 1024
#define MAX_ANSWER                                                                                 \
	(sizeof(struct vfio_user_region_io_fds) +                                                  \
	 MAX_IOEVENTFDS * sizeof(struct vfio_user_sub_region))
#define KNOWN_FLAGS (KVM_IOEVENTFD_FLAG_DATAMATCH | KVM_IOEVENTFD_FLAG_PIO)

/* An ioeventfd that KVM can do. Shadows and ioregionfds are not. */
static bool usable(const struct vfio_user_sub_region *sub, const struct user_region *region)
{
	const uint64_t size = region->info.size;

	return sub->type == VFIO_USER_IO_FD_TYPE_IOEVENTFD && !(sub->flags & ~KNOWN_FLAGS) &&
	       sub->offset < size && sub->size <= size - sub->offset &&
	       (sub->size == 0 || sub->size == 1 || sub->size == 2 || sub->size == 4 ||
		sub->size == 8) &&
	       !(sub->size == 0 && sub->flags & KVM_IOEVENTFD_FLAG_DATAMATCH);
}

static void take(const struct vfio_user_message *reply, const struct vfio_user_packet *packet,
		 struct user_region *region)
{
	struct vfio_user_sub_region sub;

	region->ioeventfds = calloc(reply->io_fds.count + 1, sizeof(*region->ioeventfds));
	if (!region->ioeventfds)
		return;
	for (uint32_t i = 0; i < reply->io_fds.count; i++) {
		struct vfio_region_ioeventfd *entry = &region->ioeventfds[region->ioeventfd_count];

		vfio_user_sub_region_at(reply, i, &sub);
		if (!usable(&sub, region))
			continue;
		/* One descriptor may stand for several: each entry has one of its own. */
		*entry = (struct vfio_region_ioeventfd){
			.offset = sub.offset,
			.size = (uint32_t)sub.size,
			.fd = host_dup(packet->fds[sub.fd_index]),
			.match = sub.flags & KVM_IOEVENTFD_FLAG_DATAMATCH,
			.datamatch = sub.datamatch,
		};
		if (entry->fd < 0)
			return;
		region->ioeventfd_count++;
	}
}

int user_io_fds_get(struct user_device *ud, uint32_t index, struct user_region *region)
{
	struct vfio_user_message command = {
		.command = VFIO_USER_DEVICE_GET_REGION_IO_FDS,
		.io_fds = {.argsz = sizeof(command.io_fds), .index = index},
	};
	struct vfio_user_packet *packet;
	struct vfio_user_message reply;
	int rc = user_call_sized(ud, &command, MAX_ANSWER, &reply, &packet);

	if (rc == -E2BIG || rc == -EOVERFLOW || rc == -EMFILE) {
		vfio_debug(ud->vdev.dev, rc, "eventfds for writes of region %u: %m", index);
		rc = 0;
	} else if (!rc && !reply.error) {
		take(&reply, packet, region);
	}
	vfio_user_packet_free(packet);
	return rc;
}

void user_io_fds_take(struct user_device *ud, uint32_t index, struct user_region *region)
{
	struct user_region *mine = &ud->regions[index];
	struct vfio_region_ioeventfd *list;
	uint32_t count;

	pthread_mutex_lock(&ud->lock);
	list = mine->ioeventfds;
	count = mine->ioeventfd_count;
	mine->ioeventfds = region->ioeventfds;
	mine->ioeventfd_count = region->ioeventfd_count;
	pthread_mutex_unlock(&ud->lock);
	region->ioeventfds = list;
	region->ioeventfd_count = count;
}

void user_io_fds_renew(struct user_device *ud)
{
	for (uint32_t i = 0; i < ud->info.num_regions; i++) {
		struct user_region region = {.info = ud->regions[i].info, .fd = -1};

		if (!ud->regions[i].ioeventfd_count)
			continue;
		/* Half of an answer is none. */
		if (user_io_fds_get(ud, i, &region)) {
			user_io_fds_free(&region);
			region.ioeventfds = NULL;
			region.ioeventfd_count = 0;
		}
		user_io_fds_take(ud, i, &region);
		user_io_fds_free(&region);
	}
}

void user_io_fds_free(struct user_region *region)
{
	for (uint32_t i = 0; i < region->ioeventfd_count; i++)
		close(region->ioeventfds[i].fd);
	free(region->ioeventfds);
}

int user_region_ioeventfds(struct vfio_device *vdev, uint32_t index,
			   struct vfio_region_ioeventfd *list, uint32_t *count)
{
	struct user_device *ud = user_device(vdev);
	const struct user_region *region;
	const uint32_t room = *count;

	*count = 0;
	if (index >= ud->info.num_regions)
		return -EINVAL;
	/* Posted writes would come after what is signalled behind them: another server may have eventfds. */
	if (!user_connected(ud) || ud->posted)
		return 0;
	pthread_mutex_lock(&ud->lock);
	region = &ud->regions[index];
	*count = region->ioeventfd_count;
	for (uint32_t i = 0; i < *count && i < room; i++)
		list[i] = region->ioeventfds[i];
	pthread_mutex_unlock(&ud->lock);
	return 0;
}
