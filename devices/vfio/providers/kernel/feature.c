/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VFIO_DEVICE_FEATURE of a kernel device: the features that the core leaves to its provider, and
 * those behind the migration and DMA logging ops.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/providers/kernel/kernel.h"

/* The largest payload there is takes a few ranges; a caller who says more is wrong. */
#define MAX_PAYLOAD 4096

/* The core hands over the payload alone; the kernel wants the header in front of it. */
int kernel_feature(struct kernel_device *kd, uint32_t flags, void *data, size_t size)
{
	struct vfio_device_feature *feature;
	int rc;

	if (size > MAX_PAYLOAD)
		return -EINVAL;
	feature = calloc(1, sizeof(*feature) + size);
	if (!feature)
		return -ENOMEM;
	feature->argsz = (uint32_t)(sizeof(*feature) + size);
	feature->flags = flags;
	if (size)
		memcpy(feature->data, data, size);
	rc = kernel_ioctl(kd, VFIO_DEVICE_FEATURE, feature);
	/* Failures answer too: SET_STATE says data_fd -1. */
	if (size)
		memcpy(data, feature->data, size);
	free(feature);
	return rc;
}

/* ---- migration -------------------------------------------------------------------------------- */

static int migration_set_state(struct vfio_device *vdev, enum vfio_device_mig_state new_state,
			       int *data_fd)
{
	struct vfio_device_feature_mig_state state = {.device_state = new_state, .data_fd = -1};
	const int rc = kernel_feature(
		kernel_device(vdev), VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
		&state, sizeof(state));

	*data_fd = rc ? -1 : state.data_fd;
	return rc;
}

static int migration_get_state(struct vfio_device *vdev, enum vfio_device_mig_state *out)
{
	struct vfio_device_feature_mig_state state = {0};
	const int rc = kernel_feature(
		kernel_device(vdev), VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
		&state, sizeof(state));

	if (!rc)
		*out = state.device_state;
	return rc;
}

static int migration_get_data_size(struct vfio_device *vdev, uint64_t *stop_copy_length)
{
	struct vfio_device_feature_mig_data_size size = {0};
	const int rc = kernel_feature(kernel_device(vdev),
				      VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DATA_SIZE,
				      &size, sizeof(size));

	*stop_copy_length = size.stop_copy_length;
	return rc;
}

/* The session is a file of the kernel, which read(2) and write(2) do too. */
static int migration_get_precopy_info(struct vfio_device *vdev, int data_fd,
				      struct vfio_precopy_info *info)
{
	const struct kernel_calls *calls = kernel_device(vdev)->calls;
	struct vfio_precopy_info reply = {.argsz = sizeof(reply)};
	const int rc = calls->ioctl(calls->ctx, data_fd, VFIO_MIG_GET_PRECOPY_INFO, &reply);

	if (rc)
		return rc;
	info->initial_bytes = reply.initial_bytes;
	info->dirty_bytes = reply.dirty_bytes;
	/* Of no meaning before feature 12 (vfio_check_precopy_ioctl() of the kernel). */
	if (vdev->precopy_info_v2)
		info->flags = reply.flags;
	return 0;
}

static const struct vfio_migration_ops migration_ops = {
	.migration_set_state = migration_set_state,
	.migration_get_state = migration_get_state,
	.migration_get_data_size = migration_get_data_size,
	.migration_get_precopy_info = migration_get_precopy_info,
};

/* ---- DMA logging ------------------------------------------------------------------------------ */

static int log_start(struct vfio_device *vdev, const struct vfio_log_range *ranges, uint32_t count,
		     uint64_t *page_size)
{
	_Static_assert(sizeof(*ranges) == sizeof(struct vfio_device_feature_dma_logging_range),
		       "the core's ranges are the kernel's");
	struct vfio_device_feature_dma_logging_control control = {
		.page_size = *page_size,
		.num_ranges = count,
		.ranges = (uintptr_t)ranges,
	};
	const int rc =
		kernel_feature(kernel_device(vdev),
			       VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
			       &control, sizeof(control));

	if (!rc)
		*page_size = control.page_size;
	return rc;
}

static int log_stop(struct vfio_device *vdev)
{
	return kernel_feature(kernel_device(vdev),
			      VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, NULL,
			      0);
}

static int log_read_and_clear(struct vfio_device *vdev, uint64_t iova, uint64_t length,
			      uint64_t page_size, uint64_t *bitmap)
{
	struct vfio_device_feature_dma_logging_report report = {
		.iova = iova,
		.length = length,
		.page_size = page_size,
		.bitmap = (uintptr_t)bitmap,
	};

	return kernel_feature(kernel_device(vdev),
			      VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
			      &report, sizeof(report));
}

static const struct vfio_log_ops log_ops = {
	.log_start = log_start,
	.log_stop = log_stop,
	.log_read_and_clear = log_read_and_clear,
};

void kernel_probe_features(struct kernel_device *kd)
{
	struct vfio_device_feature_migration migration = {0};
	struct vfio_device *vdev = &kd->vdev;

	vdev->mig_ops = NULL;
	vdev->log_ops = NULL;
	vdev->migration_flags = 0;
	if (!kernel_feature(kd, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION, &migration,
			    sizeof(migration))) {
		vdev->mig_ops = &migration_ops;
		/* A state that this contract does not know is one that is never asked for. */
		vdev->migration_flags =
			(uint32_t)migration.flags &
			(VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P | VFIO_MIGRATION_PRE_COPY);
	}
	if (!kernel_feature(kd,
			    VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_SET |
				    VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
			    NULL, 0))
		vdev->log_ops = &log_ops;
}
