// SPDX-License-Identifier: Apache-2.0
/* Upward: requests, errors and surprise removal, raised on any thread and told on the loop. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/vfio/message.h"
#include "devices/vfio/providers/soft/soft.h"
#include "vmm/base/host.h"
#include "vmm/base/loop.h"

static void on_event(void *ctx, uint32_t events)
{
	struct soft_device *sd = ctx;
	const struct vfio_device_events *upward = sd->vdev.events;
	void *upward_ctx = sd->vdev.events_ctx;
	bool requested, failed, gone;
	unsigned count;
	eventfd_t times;

	(void)events;
	if (read(sd->event_fd, &times, sizeof(times)) < 0)
		return;
	soft_lock(sd);
	requested = sd->requested;
	count = sd->request_count;
	failed = sd->failed;
	gone = sd->gone && !sd->told_gone;
	sd->told_gone |= gone;
	if (!gone)
		sd->failed = false;
	if (!gone && !failed)
		sd->requested = false;
	if ((gone && failed) || ((gone || failed) && requested))
		soft_events_kick(sd);
	soft_unlock(sd);

	/*
	 * A handler may close and free the device: one is called, and nothing of it is touched
	 * afterwards. What else there is comes with the next turn of the loop.
	 */
	if (gone) {
		vfio_warn(sd->vdev.dev, 0, "the device was taken away");
		if (upward && upward->gone)
			upward->gone(upward_ctx);
	} else if (failed) {
		vfio_warn(sd->vdev.dev, 0, "the device reports an unrecoverable error");
		if (upward && upward->error)
			upward->error(upward_ctx);
	} else if (requested && upward && upward->request) {
		upward->request(upward_ctx, count);
	}
}

void soft_events_kick(struct soft_device *sd)
{
	soft_signal(sd, sd->event_fd);
}

void soft_request(struct vfio_device *vdev, unsigned count)
{
	struct soft_device *sd = soft_device(vdev);

	soft_lock(sd);
	sd->requested = true;
	sd->request_count = count;
	soft_signal(sd, sd->req);
	soft_events_kick(sd);
	soft_unlock(sd);
}

int soft_events_open(struct soft_device *sd)
{
	int rc;

	if (!sd->loop)
		return 0;
	sd->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = sd->event_fd < 0 ? -errno
			      : loop_add_fd(sd->loop, sd->event_fd, EPOLLIN, on_event, sd,
					    &sd->event_source);
	if (rc) {
		vfio_error(sd->vdev.dev, 0, "cannot listen for its events: %s", host_strerror(-rc));
		soft_events_close(sd);
	}
	return rc;
}

void soft_events_close(struct soft_device *sd)
{
	if (sd->event_source)
		loop_remove(sd->loop, sd->event_source);
	sd->event_source = NULL;
	soft_lock(sd);
	if (sd->event_fd >= 0)
		close(sd->event_fd);
	sd->event_fd = -1;
	soft_unlock(sd);
}
