/* SPDX-License-Identifier: Apache-2.0 */
/* ERR and REQ: eventfds of the kernel, delivered on the event loop. */
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "devices/vfio/message.h"
#include "devices/vfio/providers/kernel/kernel.h"
#include "vmm/base/host.h"
#include "vmm/base/loop.h"

static int set_trigger(struct kernel_device *kd, unsigned index, int fd)
{
	union {
		struct vfio_irq_set set;
		uint8_t bytes[sizeof(struct vfio_irq_set) + sizeof(int32_t)];
	} irq = {.set = {
			 .argsz = sizeof(irq.bytes),
			 .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			 .index = index,
			 .start = 0,
			 .count = 1,
		 }};
	const int32_t data = fd;

	memcpy(irq.bytes + sizeof(struct vfio_irq_set), &data, sizeof(data));
	return kernel_ioctl(kd, VFIO_DEVICE_SET_IRQS, irq.bytes);
}

static void on_event(void *ctx, uint32_t events)
{
	struct kernel_event *event = ctx;
	struct vfio_device *vdev = &event->kd->vdev;
	const struct vfio_device_events *upward = vdev->events;
	const bool request = event->index == VFIO_PCI_REQ_IRQ_INDEX;
	unsigned count = event->count;
	uint64_t times;

	(void)events;
	if (read(event->fd, &times, sizeof(times)) != sizeof(times))
		return;
	/* Several signals since the last look are one event with the count of the last. */
	count += (unsigned)times;
	event->count = count;

	/* The handler may close and free the device: nothing of it is touched afterwards. */
	if (request) {
		vfio_info(vdev->dev, 0, "the host asks for the device back (%u)", count);
		if (upward && upward->request)
			upward->request(vdev->events_ctx, count - 1);
	} else {
		vfio_warn(vdev->dev, 0, "the device reports an unrecoverable error");
		if (upward && upward->error)
			upward->error(vdev->events_ctx);
	}
}

static void event_close(struct kernel_event *event)
{
	struct kernel_device *kd = event->kd;

	if (event->fd < 0)
		return;
	/* The device's end first: no signal comes after the source is gone. */
	set_trigger(kd, event->index, -1);
	loop_remove(kd->loop, event->source);
	kd->calls->close(kd->calls->ctx, event->fd);
	event->source = NULL;
	event->fd = -1;
}

/* Arm one event, if the device has it. */
static int event_open(struct kernel_device *kd, struct kernel_event *event, unsigned index)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = index};
	int rc;

	*event = (struct kernel_event){.kd = kd, .index = index, .fd = -1};
	if (!kd->loop)
		return 0;
	/* A conventional PCI device has no ERR, an emulated one perhaps neither. */
	rc = kernel_ioctl(kd, VFIO_DEVICE_GET_IRQ_INFO, &info);
	if (rc || !info.count || !(info.flags & VFIO_IRQ_INFO_EVENTFD))
		return 0;

	event->fd = kd->calls->eventfd(kd->calls->ctx);
	if (event->fd < 0) {
		rc = event->fd;
		goto failed;
	}
	rc = loop_add_fd(kd->loop, event->fd, EPOLLIN, on_event, event, &event->source);
	if (rc)
		goto close_fd;
	rc = set_trigger(kd, index, event->fd);
	if (rc)
		goto remove_source;
	return 0;

remove_source:
	loop_remove(kd->loop, event->source);
close_fd:
	kd->calls->close(kd->calls->ctx, event->fd);
failed:
	event->fd = -1;
	return vfio_error(kd->name, rc, "cannot listen for %s of the host: %s",
			  index == VFIO_PCI_REQ_IRQ_INDEX ? "requests" : "errors",
			  host_strerror(-rc));
}

int kernel_events_open(struct kernel_device *kd)
{
	int rc;

	rc = event_open(kd, &kd->err, VFIO_PCI_ERR_IRQ_INDEX);
	if (rc)
		return rc;
	rc = event_open(kd, &kd->req, VFIO_PCI_REQ_IRQ_INDEX);
	if (rc)
		event_close(&kd->err);
	return rc;
}

void kernel_events_close(struct kernel_device *kd)
{
	event_close(&kd->req);
	event_close(&kd->err);
}
