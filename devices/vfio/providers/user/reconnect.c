/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another server for the same device (reconnect=on). Only at a reset: the state of the device went with
 * its server, and a reset is when the guest expects none. Regions are not offered for mapping then,
 * since a mapping would go on to show the memory of the server that is gone.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/message.h"
#include "devices/vfio/providers/user/user.h"

static int refuse(const struct user_device *ud, const char *what)
{
	return vfio_error(ud->vdev.dev, -ENODEV,
			  "the server that listens now has a device with other %s; start one with "
			  "the same device",
			  what);
}

static bool same_info(const struct user_device *ud, const struct vfio_user_device_info *info)
{
	return info->flags == ud->info.flags && info->num_regions == ud->info.num_regions &&
	       info->num_irqs == ud->info.num_irqs;
}

static bool same_region(const struct user_region *a, const struct user_region *b)
{
	return a->info.flags == b->info.flags && a->info.size == b->info.size;
}

static bool same_irq(const struct vfio_irq_info *a, const struct vfio_irq_info *b)
{
	return a->flags == b->flags && a->count == b->count;
}

/* Everything that the guest was told must still be true. */
static int check_same(struct user_device *ud, const struct user_region *regions,
		      const struct vfio_irq_info *irqs)
{
	const char *what = NULL;

	for (uint32_t i = 0; i < ud->info.num_regions && !what; i++)
		what = same_region(&ud->regions[i], &regions[i]) ? NULL : "regions";
	for (uint32_t i = 0; i < ud->info.num_irqs && !what; i++)
		what = same_irq(&ud->irqs[i], &irqs[i]) ? NULL : "interrupts";
	return what ? refuse(ud, what) : 0;
}

static int look(struct user_device *ud)
{
	struct vfio_user_device_info info;
	struct user_region *regions = NULL;
	struct vfio_irq_info *irqs = NULL;
	int rc;

	rc = user_device_info(ud, &info);
	if (!rc && !same_info(ud, &info))
		rc = refuse(ud, "flags, or numbers of regions and interrupts");
	if (!rc)
		rc = user_regions_get(ud, &regions);
	if (!rc)
		rc = user_irqs_get(ud, &irqs);
	if (!rc)
		rc = check_same(ud, regions, irqs);
	for (uint32_t i = 0; i < ud->info.num_regions && !rc; i++)
		user_io_fds_take(ud, i, &regions[i]);
	user_regions_free(regions, ud->info.num_regions);
	free(irqs);
	return rc;
}

int user_reconnect(struct user_device *ud)
{
	int rc;

	pthread_mutex_lock(&ud->reconnect_lock);
	if (user_connected(ud)) {
		pthread_mutex_unlock(&ud->reconnect_lock);
		return 0;
	}
	user_disconnect(ud); /* what is left of the last one */
	user_dma_forget(ud);
	rc = user_connect(ud);
	if (rc)
		goto unlock;
	rc = look(ud);
	if (!rc)
		rc = user_dma_remap(ud);
	if (!rc)
		rc = user_events_rearm(ud);
	if (!rc && !user_connected(ud))
		rc = -ENODEV;
	if (rc) {
		user_disconnect(ud);
		user_dma_forget(ud);
	} else {
		user_migration_reset(ud);
		user_log_free(ud);
		vfio_warn(ud->vdev.dev, 0, "another server has the device");
	}
unlock:
	pthread_mutex_unlock(&ud->reconnect_lock);
	return rc;
}
