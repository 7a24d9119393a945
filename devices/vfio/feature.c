/* SPDX-License-Identifier: Apache-2.0 */
/* VFIO_DEVICE_FEATURE: what the core answers itself (drivers/vfio/vfio_main.c). */
#include <stdlib.h>
#include <unistd.h>

#include "devices/vfio/core.h"
#include "devices/vfio/migration_states.h"
#include "vmm/base/host.h"

static int feature_migration(struct vfio_device *vdev, struct vfio_device_feature_migration *mig)
{
	mig->flags = vdev->migration_flags;
	return 0;
}

/* Remember the state for vfio_device_status(). */
static void note_state(struct vfio_device *vdev, uint32_t state, uint64_t took_ns)
{
	pthread_mutex_lock(&vdev->lock);
	vdev->last_state = state;
	if (took_ns)
		vdev->last_transition_ns = took_ns;
	pthread_mutex_unlock(&vdev->lock);
}

static int set_state(struct vfio_device *vdev, struct vfio_device_feature_mig_state *mig)
{
	enum vfio_device_mig_state state;
	uint64_t start;
	int rc, fd = -1;

	mig->data_fd = -1;
	if (!vfio_mig_state_supported(vdev->migration_flags, mig->device_state))
		return -EINVAL;
	/*
	 * Out of ERROR only a reset leads, and asking a kernel device for anything else makes the
	 * host print a warning with a stack trace, fatal under panic_on_warn (vfio_main.c,
	 * vfio_mig_get_next_state). The device is asked, not our memory of it: it may have failed by
	 * itself, or been reset by the guest (FLR).
	 */
	rc = vdev->mig_ops->migration_get_state(vdev, &state);
	if (rc)
		return rc;
	if (state == VFIO_DEVICE_STATE_ERROR) {
		note_state(vdev, state, 0);
		return -EINVAL;
	}

	start = host_now_ns();
	rc = vdev->mig_ops->migration_set_state(vdev, mig->device_state, &fd);
	if (!rc) {
		note_state(vdev, mig->device_state, host_now_ns() - start);
		mig->data_fd = fd;
		return 0;
	}

	/* Where a failed arc left the device, only the device knows. */
	if (!vdev->mig_ops->migration_get_state(vdev, &state))
		note_state(vdev, state, 0);
	return rc;
}

static int feature_mig_device_state(struct vfio_device *vdev, uint32_t flags,
				    struct vfio_device_feature_mig_state *mig)
{
	enum vfio_device_mig_state state;
	int rc;

	if (flags & VFIO_DEVICE_FEATURE_SET)
		return set_state(vdev, mig);

	rc = vdev->mig_ops->migration_get_state(vdev, &state);
	if (rc)
		return rc;
	note_state(vdev, state, 0);
	mig->device_state = state;
	mig->data_fd = -1;
	return 0;
}

static int feature_mig_data_size(struct vfio_device *vdev,
				 struct vfio_device_feature_mig_data_size *size)
{
	uint64_t stop_copy_length;
	int rc;

	rc = vdev->mig_ops->migration_get_data_size(vdev, &stop_copy_length);
	if (rc)
		return rc;
	size->stop_copy_length = stop_copy_length;
	return 0;
}

static int feature_precopy_info_v2(struct vfio_device *vdev, uint32_t flags)
{
	int rc;

	/* Who stands behind a kernel's or a server's device has to hear of it, or never says REINIT. */
	rc = vdev->ops->device_feature ? vdev->ops->device_feature(vdev, flags, NULL, 0) : -ENOTTY;
	if (rc && rc != -ENOTTY)
		return rc;
	pthread_mutex_lock(&vdev->lock);
	vdev->precopy_info_v2 = true;
	pthread_mutex_unlock(&vdev->lock);
	return 0;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct vfio_log_range *left = a, *right = b;

	return left->iova < right->iova ? -1 : left->iova > right->iova;
}

/* Check @ranges as the kernel does and sort them: -EINVAL unaligned, empty, overlap; -EOVERFLOW. */
static int check_log_ranges(struct vfio_log_range *ranges, uint32_t count, uint64_t page_size)
{
	uint64_t end;

	if (!page_size || (page_size & (page_size - 1)))
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++) {
		if (!ranges[i].length || (ranges[i].iova | ranges[i].length) & (page_size - 1))
			return -EINVAL;
		if (__builtin_add_overflow(ranges[i].iova, ranges[i].length, &end))
			return -EOVERFLOW;
	}
	qsort(ranges, count, sizeof(*ranges), compare_ranges);
	for (uint32_t i = 1; i < count; i++) {
		if (ranges[i].iova < ranges[i - 1].iova + ranges[i - 1].length)
			return -EINVAL;
	}
	return 0;
}

/* Move dma_logging from @from to the opposite; false when it is not @from. */
static bool logging_turn(struct vfio_device *vdev, bool from)
{
	bool turned;

	pthread_mutex_lock(&vdev->lock);
	turned = vdev->dma_logging == from;
	if (turned)
		vdev->dma_logging = !from;
	pthread_mutex_unlock(&vdev->lock);
	return turned;
}

static int feature_logging_start(struct vfio_device *vdev,
				 struct vfio_device_feature_dma_logging_control *control)
{
	const struct vfio_device_feature_dma_logging_range *user;
	struct vfio_log_range *ranges;
	uint64_t page_size;
	uint32_t count;
	int rc;

	count = control->num_ranges;
	page_size = control->page_size;
	user = (const void *)(uintptr_t)control->ranges;
	if (!count)
		return -EINVAL;
	/* As many as fit into one page of the host, as in the kernel: 256 for 4 KiB. */
	if (count > (size_t)sysconf(_SC_PAGESIZE) / sizeof(*user))
		return -E2BIG;
	if (!user)
		return -EFAULT;

	ranges = calloc(count, sizeof(*ranges));
	if (!ranges)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		ranges[i] = (struct vfio_log_range){user[i].iova, user[i].length};
	rc = check_log_ranges(ranges, count, page_size);
	if (rc)
		goto free_ranges;

	if (!logging_turn(vdev, false)) {
		rc = -EBUSY;
		goto free_ranges;
	}
	rc = vdev->log_ops->log_start(vdev, ranges, count, &page_size);
	if (rc)
		logging_turn(vdev, true);
	else
		control->page_size = page_size;

free_ranges:
	free(ranges);
	return rc;
}

static int feature_logging_stop(struct vfio_device *vdev)
{
	/* A log whose stop failed is not to be trusted any more: off either way. */
	if (!logging_turn(vdev, true))
		return -EINVAL;
	return vdev->log_ops->log_stop(vdev);
}

static int feature_logging_report(struct vfio_device *vdev,
				  struct vfio_device_feature_dma_logging_report *report)
{
	uint64_t end;
	bool logging;

	if (report->page_size < 4096 || (report->page_size & (report->page_size - 1)))
		return -EINVAL;
	if (__builtin_add_overflow(report->iova, report->length, &end))
		return -EOVERFLOW;
	/* The kernel lets a length of 0 through to the driver; there is nothing it could mean. */
	if (!report->length)
		return -EINVAL;
	if (!report->bitmap)
		return -EFAULT;

	pthread_mutex_lock(&vdev->lock);
	logging = vdev->dma_logging;
	pthread_mutex_unlock(&vdev->lock);
	if (!logging)
		return -EINVAL;
	return vdev->log_ops->log_read_and_clear(vdev, report->iova, report->length,
						 report->page_size,
						 (uint64_t *)(uintptr_t)report->bitmap);
}

#define GET VFIO_DEVICE_FEATURE_GET
#define SET VFIO_DEVICE_FEATURE_SET

/* What the core answers: what it needs of the device, what may be asked, and the least payload. */
static const struct feature {
	uint32_t number, ops;
	enum { MIGRATION, PRE_COPY, LOGGING } needs;
	uint32_t size;
} features[] = {
	{VFIO_DEVICE_FEATURE_MIGRATION, GET, MIGRATION,
	 sizeof(struct vfio_device_feature_migration)},
	{VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, GET | SET, MIGRATION,
	 sizeof(struct vfio_device_feature_mig_state)},
	{VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, GET, MIGRATION,
	 sizeof(struct vfio_device_feature_mig_data_size)},
	{VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, SET, PRE_COPY, 0},
	{VFIO_DEVICE_FEATURE_DMA_LOGGING_START, SET, LOGGING,
	 sizeof(struct vfio_device_feature_dma_logging_control)},
	{VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, SET, LOGGING, 0},
	{VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, GET, LOGGING,
	 sizeof(struct vfio_device_feature_dma_logging_report)},
};

/* 1 go on, 0 that was all, or -errno. */
static int check(const struct vfio_device *vdev, uint32_t flags, size_t argsz)
{
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		const struct feature *f = &features[i];

		if (f->number != (flags & VFIO_DEVICE_FEATURE_MASK))
			continue;
		if (f->needs == PRE_COPY && !(vdev->migration_flags & VFIO_MIGRATION_PRE_COPY))
			return -EINVAL;
		if ((f->needs == MIGRATION && !vdev->mig_ops) ||
		    (f->needs == LOGGING && !vdev->log_ops))
			return -ENOTTY;
		return vfio_check_feature(flags, argsz, f->ops, f->size);
	}
	return 1; /* the provider's */
}

int vfio_ioctl_device_feature(struct vfio_device *vdev, struct vfio_device_feature *feature)
{
	const size_t minsz = offsetofend(struct vfio_device_feature, flags);
	uint32_t flags;
	size_t argsz;
	void *data;
	int rc;

	if (!feature)
		return -EFAULT;
	if (feature->argsz < minsz)
		return -EINVAL;
	flags = feature->flags;
	if (flags & ~(VFIO_DEVICE_FEATURE_MASK | GET | SET | VFIO_DEVICE_FEATURE_PROBE))
		return -EINVAL;
	/* Both at once only to ask whether both are there. */
	if (!(flags & VFIO_DEVICE_FEATURE_PROBE) && (flags & (GET | SET)) == (GET | SET))
		return -EINVAL;

	argsz = feature->argsz - minsz;
	data = feature->data;
	rc = check(vdev, flags, argsz);
	if (rc != 1)
		return rc;
	switch (flags & VFIO_DEVICE_FEATURE_MASK) {
	case VFIO_DEVICE_FEATURE_MIGRATION:
		return feature_migration(vdev, data);
	case VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE:
		return feature_mig_device_state(vdev, flags, data);
	case VFIO_DEVICE_FEATURE_MIG_DATA_SIZE:
		return feature_mig_data_size(vdev, data);
	case VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2:
		return feature_precopy_info_v2(vdev, flags);
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_START:
		return feature_logging_start(vdev, data);
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP:
		return feature_logging_stop(vdev);
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT:
		return feature_logging_report(vdev, data);
	default:
		if (!vdev->ops->device_feature)
			return -ENOTTY;
		return vdev->ops->device_feature(vdev, flags, data, argsz);
	}
}
