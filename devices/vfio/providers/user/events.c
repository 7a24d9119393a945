/* SPDX-License-Identifier: Apache-2.0 */
/* ERR and REQ: eventfds that the server signals, delivered on the event loop. */
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/vfio/message.h"
#include "devices/vfio/providers/user/user.h"
#include "vmm/base/eventfd.h"
#include "vmm/base/host.h"
#include "vmm/base/loop.h"

static bool server_has(const struct user_device *ud, unsigned index)
{
	return index < ud->info.num_irqs && ud->irqs[index].count &&
	       ud->irqs[index].flags & VFIO_IRQ_INFO_EVENTFD;
}

static int arm(struct user_event *event)
{
	union {
		struct vfio_irq_set set;
		uint8_t bytes[sizeof(struct vfio_irq_set) + sizeof(int32_t)];
	} irq = {.set = {
			 .argsz = sizeof(irq.bytes),
			 .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			 .index = event->index,
			 .count = 1,
		 }};
	const int32_t fd = event->fd;

	memcpy(irq.bytes + sizeof(struct vfio_irq_set), &fd, sizeof(fd));
	return user_set_irqs(event->ud, &irq.set);
}

static void on_event(void *ctx, uint32_t events)
{
	struct user_event *event = ctx;
	struct vfio_device *vdev = &event->ud->vdev;
	const struct vfio_device_events *upward = vdev->events;
	const unsigned count = event->count;

	(void)events;
	if (!eventfd_take(event->fd))
		return;
	event->count++;
	if (event->index == VFIO_PCI_REQ_IRQ_INDEX) {
		if (!count)
			vfio_warn(vdev->dev, 0, "the server wants the device back");
		if (upward && upward->request)
			upward->request(vdev->events_ctx, count);
		return;
	}
	/* Once: it signals as often as it likes. */
	if (!count)
		vfio_error(vdev->dev, 0, "the server reports an unrecoverable error of the device");
	if (upward && upward->error)
		upward->error(vdev->events_ctx);
}

static void event_close(struct user_event *event)
{
	if (event->fd < 0)
		return;
	if (event->source)
		loop_remove(event->ud->loop, event->source);
	event->source = NULL;
	close(event->fd);
	event->fd = -1;
}

/* A server that refuses has nothing to tell: no reason not to use the device. */
static int event_open(struct user_device *ud, struct user_event *event, unsigned index)
{
	int rc;

	*event = (struct user_event){.ud = ud, .index = index, .fd = -1};
	if (!ud->loop || !server_has(ud, index))
		return 0;
	event->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (event->fd < 0) {
		rc = -errno;
		return vfio_error(ud->vdev.dev, rc, "no eventfd: %s", host_strerror(-rc));
	}
	rc = arm(event);
	if (rc) {
		vfio_debug(ud->vdev.dev, rc, "the server does not report %s: %m",
			   index == VFIO_PCI_REQ_IRQ_INDEX ? "requests" : "errors");
		event_close(event);
		return user_connected(ud) ? 0 : -ENODEV;
	}
	rc = loop_add_fd(ud->loop, event->fd, EPOLLIN, on_event, event, &event->source);
	if (rc) {
		vfio_error(ud->vdev.dev, rc, "cannot listen to the server's eventfd: %m");
		event_close(event);
	}
	return rc;
}

int user_events_open(struct user_device *ud)
{
	int rc = event_open(ud, &ud->err, VFIO_PCI_ERR_IRQ_INDEX);

	if (!rc)
		rc = event_open(ud, &ud->req, VFIO_PCI_REQ_IRQ_INDEX);
	if (rc)
		user_events_close(ud);
	return rc;
}

int user_events_rearm(struct user_device *ud)
{
	int rc = 0;

	ud->err.count = ud->req.count = 0;
	if (ud->err.fd >= 0)
		rc = arm(&ud->err);
	if (!rc && ud->req.fd >= 0)
		rc = arm(&ud->req);
	return rc;
}

void user_events_close(struct user_device *ud)
{
	event_close(&ud->req);
	event_close(&ud->err);
}
