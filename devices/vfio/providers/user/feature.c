/* SPDX-License-Identifier: Apache-2.0 */
/* DEVICE_FEATURE: payloads that mean something in another process. */
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/providers/user/user.h"

int user_feature(struct user_device *ud, uint32_t flags, const void *in, size_t in_size, void *out,
		 size_t out_size, size_t *got)
{
	const size_t larger = in_size > out_size ? in_size : out_size;
	struct vfio_user_message command = {
		.command = VFIO_USER_DEVICE_FEATURE,
		.feature = {.argsz = (uint32_t)(sizeof(command.feature) + larger), .flags = flags},
		.data = in,
		.data_size = in_size,
	};
	struct vfio_user_packet *packet;
	struct vfio_user_message reply;
	int rc;

	if (!user_agreed(ud).extended)
		return user_connected(ud) ? -ENOTTY : -ENODEV;
	rc = user_call(ud, &command, NULL, 0, &reply, &packet);
	if (!rc && reply.error)
		rc = user_errno(reply.error);
	else if (!rc && !got && reply.data_size < out_size)
		rc = user_lied(ud, VFIO_USER_DEVICE_FEATURE,
			       "it is shorter than what was asked for");
	if (!rc) {
		const size_t size = reply.data_size < out_size ? reply.data_size : out_size;

		if (size)
			memcpy(out, reply.data, size);
		if (got)
			*got = size;
	}
	vfio_user_packet_free(packet);
	return rc;
}

/* Size of the payload that a feature has, -1: it is not for another process (pointers, descriptors). */
static ssize_t payload_of(uint32_t feature)
{
	switch (feature) {
	case VFIO_DEVICE_FEATURE_PCI_VF_TOKEN:
		return 16;
	case VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY:
	case VFIO_DEVICE_FEATURE_LOW_POWER_EXIT:
		return 0;
	case VFIO_DEVICE_FEATURE_BUS_MASTER:
		return sizeof(struct vfio_device_feature_bus_master);
	default:
		return -1;
	}
}

int user_device_feature(struct vfio_device *vdev, uint32_t flags, void *arg, size_t argsz)
{
	struct user_device *ud = user_device(vdev);
	const ssize_t size = payload_of(flags & VFIO_DEVICE_FEATURE_MASK);
	const bool probe = flags & VFIO_DEVICE_FEATURE_PROBE;
	size_t got;

	if (size < 0)
		return -ENOTTY;
	if (!probe && argsz < (size_t)size)
		return -EINVAL;
	/* What there is was asked for once: who only looks (SIGUSR1) is the loop, and must not wait. */
	if (probe && !(flags & (VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET))) {
		if (!user_connected(ud))
			return -ENODEV;
		return ud->features & 1u << (flags & VFIO_DEVICE_FEATURE_MASK) ? 0 : -ENOTTY;
	}
	if (probe)
		return user_feature(ud, flags, NULL, 0, NULL, 0, NULL);
	if (flags & VFIO_DEVICE_FEATURE_SET)
		return user_feature(ud, flags, arg, (size_t)size, NULL, 0, &got);
	return user_feature(ud, flags, NULL, 0, arg, (size_t)size, NULL);
}

void user_probe_features(struct user_device *ud)
{
	struct vfio_device_feature_migration migration = {0};
	struct vfio_device *vdev = &ud->vdev;

	ud->features = 0;
	for (uint32_t feature = 0; feature < 32; feature++) {
		if (payload_of(feature) >= 0 &&
		    !user_feature(ud, VFIO_DEVICE_FEATURE_PROBE | feature, NULL, 0, NULL, 0, NULL))
			ud->features |= 1u << feature;
	}
	vdev->mig_ops = NULL;
	vdev->log_ops = NULL;
	vdev->migration_flags = 0;
	if (!user_feature(ud, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION, NULL, 0,
			  &migration, sizeof(migration), NULL)) {
		/* A state that this contract does not know is one that is never asked for. */
		vdev->migration_flags =
			(uint32_t)migration.flags &
			(VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P | VFIO_MIGRATION_PRE_COPY);
		if (vdev->migration_flags & VFIO_MIGRATION_STOP_COPY)
			vdev->mig_ops = &user_migration_ops;
		else
			vdev->migration_flags = 0;
	}
	if (!user_feature(ud,
			  VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_SET |
				  VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
			  NULL, 0, NULL, 0, NULL))
		vdev->log_ops = &user_log_ops;
}
