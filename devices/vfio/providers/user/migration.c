/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Migration: states by DEVICE_FEATURE, data by MIG_DATA_READ and MIG_DATA_WRITE. The protocol has no
 * descriptor for a session, so an eventfd of ours stands for it.
 *
 * The protocol has no word for VFIO_MIG_GET_PRECOPY_INFO either: what can be said for certain is what
 * lies here, so asking reads ahead.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/vfio/migration_states.h"
#include "devices/vfio/providers/user/user.h"

static bool is_precopy(enum vfio_device_mig_state state)
{
	return state == VFIO_DEVICE_STATE_PRE_COPY || state == VFIO_DEVICE_STATE_PRE_COPY_P2P;
}

static bool saves(enum vfio_device_mig_state state)
{
	return state == VFIO_DEVICE_STATE_STOP_COPY || is_precopy(state);
}

static void end_session(struct user_device *ud)
{
	free(ud->ahead);
	ud->ahead = NULL;
	ud->ahead_size = ud->ahead_done = 0;
	ud->session = -1;
	ud->initial_sent = false;
}

/* The device went from one state to another: which session is there now? */
static int follow(struct user_device *ud, enum vfio_device_mig_state state, int *data_fd)
{
	const enum vfio_device_mig_state before = ud->state;
	const bool goes_on = (saves(before) && saves(state)) || before == state;

	ud->state = state;
	*data_fd = -1;
	if (goes_on)
		return 0;
	end_session(ud);
	if (!saves(state) && state != VFIO_DEVICE_STATE_RESUMING)
		return 0;
	/* Always ready: a read or write waits for the server by itself. */
	*data_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	if (*data_fd < 0)
		return -errno;
	ud->session = *data_fd;
	return 0;
}

/* It got to @state in another way: what a session begun on that way would give is lost. */
static void lose_session(struct user_device *ud, enum vfio_device_mig_state state)
{
	if (!saves(ud->state) || !saves(state))
		end_session(ud);
	ud->state = state;
}

static int get_state(struct user_device *ud, enum vfio_device_mig_state *out)
{
	struct vfio_device_feature_mig_state answer = {.data_fd = -1};
	const int rc =
		user_feature(ud, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
			     NULL, 0, &answer, sizeof(answer), NULL);

	if (rc)
		return rc;
	if (answer.device_state != VFIO_DEVICE_STATE_ERROR &&
	    !vfio_mig_state_supported(ud->vdev.migration_flags, answer.device_state))
		return user_lied(ud, VFIO_USER_DEVICE_FEATURE,
				 "it names a migration state that the device does not have");
	*out = answer.device_state;
	return 0;
}

static int migration_set_state(struct vfio_device *vdev, enum vfio_device_mig_state new_state,
			       int *data_fd)
{
	struct user_device *ud = user_device(vdev);
	struct vfio_device_feature_mig_state state = {.device_state = new_state, .data_fd = -1};
	enum vfio_device_mig_state now;
	size_t got;
	int rc;

	*data_fd = -1;
	pthread_mutex_lock(&ud->migration_lock);
	rc = user_feature(ud, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
			  &state, sizeof(state), &state, sizeof(state), &got);
	if (!rc)
		rc = follow(ud, new_state, data_fd);
	else if (!get_state(ud, &now) && now != ud->state)
		lose_session(ud, now); /* part of the way was gone */
	pthread_mutex_unlock(&ud->migration_lock);
	return rc;
}

static int migration_get_state(struct vfio_device *vdev, enum vfio_device_mig_state *out)
{
	struct user_device *ud = user_device(vdev);
	enum vfio_device_mig_state state;
	int rc;

	pthread_mutex_lock(&ud->migration_lock);
	rc = get_state(ud, &state);
	if (!rc) {
		/* It failed by itself, or the guest reset it: the session is over, the next is another. */
		if (state != ud->state)
			lose_session(ud, state);
		*out = state;
	}
	pthread_mutex_unlock(&ud->migration_lock);
	return rc;
}

static int migration_get_data_size(struct vfio_device *vdev, uint64_t *stop_copy_length)
{
	struct vfio_device_feature_mig_data_size size = {0};
	const int rc = user_feature(user_device(vdev),
				    VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DATA_SIZE,
				    NULL, 0, &size, sizeof(size), NULL);

	*stop_copy_length = size.stop_copy_length;
	return rc;
}

/* ---- data --------------------------------------------------------------------------------------- */

static ssize_t read_server(struct user_device *ud, void *buffer, size_t count)
{
	const uint32_t most = ud->max_data_xfer_size;
	const uint32_t size = count < most ? (uint32_t)count : most;
	struct vfio_user_message command = {
		.command = VFIO_USER_MIG_DATA_READ,
		.mig_data = {.argsz = (uint32_t)sizeof(command.mig_data) + size, .size = size},
	};

	return user_read(ud, &command, buffer);
}

static ssize_t take_ahead(struct user_device *ud, void *buffer, size_t count)
{
	const size_t left = ud->ahead_size - ud->ahead_done;

	if (count > left)
		count = left;
	memcpy(buffer, ud->ahead + ud->ahead_done, count);
	ud->ahead_done += count;
	return (ssize_t)count;
}

static ssize_t migration_read(struct vfio_device *vdev, int data_fd, void *buffer, size_t count)
{
	struct user_device *ud = user_device(vdev);
	ssize_t done;

	pthread_mutex_lock(&ud->migration_lock);
	if (data_fd < 0 || data_fd != ud->session || !saves(ud->state)) {
		done = -ENODEV;
	} else if (!count) {
		done = 0;
	} else if (ud->ahead_done < ud->ahead_size) {
		done = take_ahead(ud, buffer, count);
	} else {
		done = read_server(ud, buffer, count);
		if (!done && is_precopy(ud->state)) {
			ud->initial_sent = true;
			done = -ENOMSG;
		}
	}
	pthread_mutex_unlock(&ud->migration_lock);
	return done;
}

static ssize_t migration_write(struct vfio_device *vdev, int data_fd, const void *buffer,
			       size_t count)
{
	struct user_device *ud = user_device(vdev);
	const uint32_t most = ud->max_data_xfer_size;
	const uint32_t size = count < most ? (uint32_t)count : most;
	struct vfio_user_message command = {
		.command = VFIO_USER_MIG_DATA_WRITE,
		.mig_data = {.argsz = (uint32_t)sizeof(command.mig_data) + size, .size = size},
		.data = buffer,
		.data_size = size,
	};
	ssize_t done;

	pthread_mutex_lock(&ud->migration_lock);
	if (data_fd < 0 || data_fd != ud->session || ud->state != VFIO_DEVICE_STATE_RESUMING) {
		done = -ENODEV;
	} else if (!count) {
		done = 0;
	} else {
		done = user_command(ud, &command, NULL, 0);
		if (!done)
			done = size;
	}
	pthread_mutex_unlock(&ud->migration_lock);
	return done;
}

static int migration_get_precopy_info(struct vfio_device *vdev, int data_fd,
				      struct vfio_precopy_info *info)
{
	struct user_device *ud = user_device(vdev);
	ssize_t done = 0;

	pthread_mutex_lock(&ud->migration_lock);
	if (data_fd < 0 || data_fd != ud->session || !is_precopy(ud->state)) {
		pthread_mutex_unlock(&ud->migration_lock);
		return -EINVAL;
	}
	if (ud->ahead_done == ud->ahead_size) {
		/* Not what this server moves at once: the next one (reconnect=on) may move more. */
		const uint32_t room = VFIO_USER_MAX_DATA_XFER_SIZE;

		ud->ahead_done = ud->ahead_size = 0;
		if (!ud->ahead)
			ud->ahead = malloc(room);
		done = ud->ahead ? read_server(ud, ud->ahead, room) : -ENOMEM;
		if (done > 0)
			ud->ahead_size = (size_t)done;
		else if (!done)
			ud->initial_sent = true;
	}
	if (done >= 0) {
		const uint64_t left = ud->ahead_size - ud->ahead_done;

		info->initial_bytes = ud->initial_sent ? 0 : left;
		info->dirty_bytes = ud->initial_sent ? left : 0;
	}
	pthread_mutex_unlock(&ud->migration_lock);
	return done < 0 ? (int)done : 0;
}

const struct vfio_migration_ops user_migration_ops = {
	.migration_set_state = migration_set_state,
	.migration_get_state = migration_get_state,
	.migration_get_data_size = migration_get_data_size,
	.migration_read = migration_read,
	.migration_write = migration_write,
	.migration_get_precopy_info = migration_get_precopy_info,
};

void user_migration_reset(struct user_device *ud)
{
	pthread_mutex_lock(&ud->migration_lock);
	end_session(ud);
	ud->state = VFIO_DEVICE_STATE_RUNNING;
	pthread_mutex_unlock(&ud->migration_lock);
}

bool user_migration_runs(struct user_device *ud)
{
	bool runs;

	pthread_mutex_lock(&ud->migration_lock);
	runs = ud->state == VFIO_DEVICE_STATE_RUNNING || is_precopy(ud->state) ||
	       ud->state == VFIO_DEVICE_STATE_RUNNING_P2P;
	pthread_mutex_unlock(&ud->migration_lock);
	return runs;
}
