// SPDX-License-Identifier: Apache-2.0
/*
 * Migration and the DMA log. The descriptor of a session is an eventfd that is readable while there
 * is something to read: data, the end, or the news that the session is over.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/vfio/migration_states.h"
#include "devices/vfio/own_log.h"
#include "devices/vfio/providers/soft/soft.h"
#include "vmm/base/host.h"

#define CHUNK 262144u /* of the stream at a time: the lock is held meanwhile */

/* ---- the session -------------------------------------------------------------------------------- */

static bool readable(struct soft_device *sd)
{
	uint64_t initial, dirty;
	uint32_t flags;

	if (reference_state(&sd->model) == VFIO_DEVICE_STATE_STOP_COPY)
		return true;
	return reference_precopy_info(&sd->model, false, &flags, &initial, &dirty) == 0 &&
	       initial + dirty > 0;
}

void soft_session_poll(struct soft_device *sd)
{
	eventfd_t times;

	if (sd->session_fd < 0 || !sd->model.session.saving)
		return;
	if (readable(sd))
		soft_signal(sd, sd->session_fd);
	else
		read(sd->session_fd, &times, sizeof(times));
}

void soft_session_end(struct soft_device *sd)
{
	if (sd->session_fd < 0)
		return;
	soft_signal(sd, sd->session_fd);
	close(sd->session_fd);
	sd->session_fd = sd->session_id = -1;
}

/* Ours and the user's. */
static int session_begin(struct soft_device *sd, int *user_fd)
{
	const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	const int copy = fd < 0 ? -errno : host_dup(fd);

	if (copy < 0) {
		if (fd >= 0)
			close(fd);
		return copy;
	}
	soft_session_end(sd);
	sd->session_fd = fd;
	sd->session_id = copy;
	*user_fd = copy;
	return 0;
}

static bool begins_session(uint32_t from, uint32_t to)
{
	switch (to) {
	case VFIO_DEVICE_STATE_RESUMING:
		return true;
	case VFIO_DEVICE_STATE_STOP_COPY:
		return from == VFIO_DEVICE_STATE_STOP;
	case VFIO_DEVICE_STATE_PRE_COPY:
		return from == VFIO_DEVICE_STATE_RUNNING;
	case VFIO_DEVICE_STATE_PRE_COPY_P2P:
		return from == VFIO_DEVICE_STATE_RUNNING_P2P;
	default:
		return false;
	}
}

/* ---- states ------------------------------------------------------------------------------------- */

/* One arc. The descriptor comes first: without one the device stays where it is. */
static int arc(struct soft_device *sd, uint32_t next, int *data_fd)
{
	enum reference_session_change change;
	int rc = 0;

	if (begins_session(reference_state(&sd->model), next))
		rc = session_begin(sd, data_fd);
	if (rc)
		return rc;
	rc = reference_arc(&sd->model, next, &change);
	if (rc || change == REFERENCE_SESSION_END)
		soft_session_end(sd);
	return rc;
}

static int set_state(struct vfio_device *vdev, enum vfio_device_mig_state state, int *data_fd)
{
	struct soft_device *sd = soft_device(vdev);
	int rc = 0;

	*data_fd = -1;
	soft_lock(sd);
	soft_ring_take(sd);
	soft_quiesce(sd);
	while (rc == 0 && reference_state(&sd->model) != state) {
		uint32_t next;

		rc = vfio_mig_get_next_state(sd->model.migration_flags, reference_state(&sd->model),
					     state, &next);
		if (rc == 0)
			rc = arc(sd, next, data_fd);
	}
	if (rc && *data_fd >= 0) {
		close(*data_fd);
		*data_fd = -1;
	}
	soft_session_poll(sd);
	soft_resume(sd);
	soft_unlock(sd);
	return rc;
}

static int get_state(struct vfio_device *vdev, enum vfio_device_mig_state *state)
{
	struct soft_device *sd = soft_device(vdev);

	soft_lock(sd);
	*state = reference_state(&sd->model);
	soft_unlock(sd);
	return 0;
}

static int get_data_size(struct vfio_device *vdev, uint64_t *length)
{
	struct soft_device *sd = soft_device(vdev);

	soft_lock(sd);
	*length = reference_data_size(&sd->model);
	soft_unlock(sd);
	return 0;
}

/* ---- data --------------------------------------------------------------------------------------- */

static ssize_t mig_read(struct vfio_device *vdev, int data_fd, void *buffer, size_t count)
{
	struct soft_device *sd = soft_device(vdev);
	ssize_t done = -ENODEV;

	soft_lock(sd);
	if (sd->session_fd >= 0 && data_fd == sd->session_id)
		done = reference_save(&sd->model, buffer, count < CHUNK ? count : CHUNK);
	soft_session_poll(sd);
	soft_unlock(sd);
	return done;
}

static ssize_t mig_write(struct vfio_device *vdev, int data_fd, const void *buffer, size_t count)
{
	struct soft_device *sd = soft_device(vdev);
	ssize_t done = -ENODEV;

	soft_lock(sd);
	if (sd->session_fd >= 0 && data_fd == sd->session_id)
		done = reference_load(&sd->model, buffer, count < CHUNK ? count : CHUNK);
	soft_unlock(sd);
	return done;
}

static int get_precopy_info(struct vfio_device *vdev, int data_fd, struct vfio_precopy_info *info)
{
	struct soft_device *sd = soft_device(vdev);
	uint64_t initial, dirty;
	uint32_t flags;
	bool v2;
	int rc = -ENODEV;

	pthread_mutex_lock(&vdev->lock);
	v2 = vdev->precopy_info_v2;
	pthread_mutex_unlock(&vdev->lock);
	soft_lock(sd);
	if (sd->session_fd >= 0 && data_fd == sd->session_id)
		rc = reference_precopy_info(&sd->model, v2, &flags, &initial, &dirty);
	if (rc == 0) {
		info->initial_bytes = initial;
		info->dirty_bytes = dirty;
		info->flags |= flags;
		soft_session_poll(sd);
	}
	soft_unlock(sd);
	return rc;
}

const struct vfio_migration_ops soft_migration_ops = {
	.migration_set_state = set_state,
	.migration_get_state = get_state,
	.migration_get_data_size = get_data_size,
	.migration_read = mig_read,
	.migration_write = mig_write,
	.migration_get_precopy_info = get_precopy_info,
};

/* ---- DMA log ------------------------------------------------------------------------------------ */

static int log_start(struct vfio_device *vdev, const struct vfio_log_range *ranges, uint32_t count,
		     uint64_t *page_size)
{
	struct soft_device *sd = soft_device(vdev);
	int rc;

	soft_lock(sd);
	rc = vfio_own_log_start(&sd->model.log, ranges, count, page_size);
	soft_unlock(sd);
	return rc;
}

static int log_stop(struct vfio_device *vdev)
{
	struct soft_device *sd = soft_device(vdev);

	soft_lock(sd);
	vfio_own_log_free(&sd->model.log);
	soft_unlock(sd);
	return 0;
}

static int log_read_and_clear(struct vfio_device *vdev, uint64_t iova, uint64_t length,
			      uint64_t page_size, uint64_t *bitmap)
{
	struct soft_device *sd = soft_device(vdev);
	int rc;

	soft_lock(sd);
	rc = dirty_log_read_bitmap(&sd->model.log, iova, length, page_size, bitmap);
	soft_unlock(sd);
	return rc;
}

const struct vfio_log_ops soft_log_ops = {
	.log_start = log_start,
	.log_stop = log_stop,
	.log_read_and_clear = log_read_and_clear,
};
