// SPDX-License-Identifier: Apache-2.0
/* VFIO_DEVICE_IOEVENTFD: a write of the device that an eventfd stands for, done on the loop. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "devices/vfio/providers/soft/soft.h"
#include "vmm/base/eventfd.h"
#include "vmm/base/loop.h"

static void on_doorbell(void *ctx, uint32_t events)
{
	struct soft_ioeventfd *io = ctx;

	(void)events;
	if (eventfd_take(io->fd))
		soft_write(&io->sd->vdev, &io->data, io->size, io->offset);
}

static void ioeventfd_free(struct soft_device *sd, unsigned slot)
{
	struct soft_ioeventfd *io = sd->ioeventfds[slot];

	sd->ioeventfds[slot] = NULL;
	loop_remove(sd->loop, io->source);
	close(io->fd);
	free(io);
}

static bool same(const struct soft_ioeventfd *io, const struct vfio_device_ioeventfd *call,
		 uint32_t size)
{
	return io && io->offset == call->offset && io->size == size && io->data == call->data;
}

static int add(struct soft_device *sd, const struct vfio_device_ioeventfd *call, uint32_t size)
{
	struct soft_ioeventfd *io;
	unsigned slot = 0;
	int rc;

	while (slot < SOFT_IOEVENTFDS && sd->ioeventfds[slot])
		slot++;
	if (slot == SOFT_IOEVENTFDS)
		return -ENOSPC;
	io = calloc(1, sizeof(*io));
	if (!io)
		return -ENOMEM;
	*io = (struct soft_ioeventfd){
		.sd = sd, .offset = call->offset, .data = call->data, .size = size};
	io->fd = soft_eventfd_get(call->fd);
	rc = io->fd < 0 ? io->fd : 0;
	if (rc == 0)
		rc = loop_add_fd(sd->loop, io->fd, EPOLLIN, on_doorbell, io, &io->source);
	if (rc) {
		if (io->fd >= 0)
			close(io->fd);
		free(io);
		return rc;
	}
	sd->ioeventfds[slot] = io;
	return 0;
}

/* Like vfio_pci_ioeventfd(): BARs only, aligned, inside, and not the MSI-X table. */
static int check(const struct soft_device *sd, const struct vfio_device_ioeventfd *call,
		 uint32_t *size)
{
	const uint32_t sizes = call->flags & VFIO_DEVICE_IOEVENTFD_SIZE_MASK;
	const uint64_t index = call->offset >> SOFT_OFFSET_SHIFT;
	const uint64_t at = call->offset & (SOFT_OFFSET(1) - 1);
	uint64_t end;

	if (call->argsz < offsetof(struct vfio_device_ioeventfd, fd) + sizeof(call->fd) ||
	    call->flags != sizes || sizes == 0 || (sizes & (sizes - 1)) || call->fd < -1)
		return -EINVAL;
	*size = sizes;
	if (index > VFIO_PCI_BAR5_REGION_INDEX || index == VFIO_PCI_BAR1_REGION_INDEX)
		return -EINVAL;
	end = reference_region_size(&sd->model, (uint32_t)index);
	if (at % sizes || at >= end || sizes > end - at)
		return -EINVAL;
	return 0;
}

int soft_ioeventfd(struct soft_device *sd, const struct vfio_device_ioeventfd *call)
{
	unsigned slot = 0;
	uint32_t size;
	int rc;

	if (!sd->loop)
		return -ENOTTY;
	rc = check(sd, call, &size);
	if (rc)
		return rc;
	pthread_mutex_lock(&sd->irq_lock);
	while (slot < SOFT_IOEVENTFDS && !same(sd->ioeventfds[slot], call, size))
		slot++;
	if (slot < SOFT_IOEVENTFDS && call->fd >= 0)
		rc = -EEXIST;
	else if (slot < SOFT_IOEVENTFDS)
		ioeventfd_free(sd, slot);
	else
		rc = call->fd < 0 ? -ENODEV : add(sd, call, size);
	pthread_mutex_unlock(&sd->irq_lock);
	return rc;
}

void soft_ioeventfds_close(struct soft_device *sd)
{
	pthread_mutex_lock(&sd->irq_lock);
	for (unsigned slot = 0; slot < SOFT_IOEVENTFDS; slot++) {
		if (sd->ioeventfds[slot])
			ioeventfd_free(sd, slot);
	}
	pthread_mutex_unlock(&sd->irq_lock);
}
