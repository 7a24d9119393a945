// SPDX-License-Identifier: Apache-2.0
/*
 * VFIO_DEVICE_SET_IRQS as drivers/vfio/pci/vfio_pci_intrs.c has it: INTx (masked at each delivery until
 * it is unmasked), MSI-X vectors one by one, ERR and REQ; one of INTx and MSI-X at a time.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/vfio/message.h"
#include "devices/vfio/providers/soft/soft.h"
#include "vmm/base/eventfd.h"
#include "vmm/base/host.h"
#include "vmm/base/loop.h"

#define DATA   (set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK)
#define ACTION (set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK)

/* ---- eventfds ----------------------------------------------------------------------------------- */

void soft_signal(struct soft_device *sd, int fd)
{
	if (fd >= 0)
		eventfd_signal(sd->signaller, fd);
}

int soft_eventfd_get(int fd)
{
	struct stat st;

	/* No type in its mode, and a write of less than a counter is invalid: so eventfds are. */
	if (fstat(fd, &st) < 0)
		return -errno;
	if ((st.st_mode & S_IFMT) || write(fd, "", 0) != -1 || errno != EINVAL)
		return -EINVAL;
	return host_dup(fd);
}

static void drop(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- delivery: under the lock ------------------------------------------------------------------- */

void soft_raise(void *ctx, uint32_t vector)
{
	struct soft_device *sd = ctx;

	soft_signal(sd, sd->vectors[vector]);
}

static void intx_deliver(struct soft_device *sd)
{
	struct soft_intx *intx = &sd->intx;

	if (!intx->asserted || intx->masked || intx->trigger < 0)
		return;
	intx->masked = true;
	soft_signal(sd, intx->trigger);
}

void soft_intx(void *ctx, bool asserted)
{
	struct soft_device *sd = ctx;

	sd->intx.asserted = asserted;
	intx_deliver(sd);
}

static void intx_mask(struct soft_device *sd, bool masked)
{
	sd->intx.masked = masked;
	intx_deliver(sd);
}

/* ---- INTx --------------------------------------------------------------------------------------- */

static void on_unmask(void *ctx, uint32_t events)
{
	struct soft_device *sd = ctx;

	(void)events;
	soft_lock(sd);
	/* A signal may not be there any more. */
	if (sd->intx.unmask >= 0 && eventfd_take(sd->intx.unmask))
		intx_mask(sd, false);
	soft_unlock(sd);
}

static void unmask_off(struct soft_device *sd)
{
	if (sd->intx.source)
		loop_remove(sd->loop, sd->intx.source);
	sd->intx.source = NULL;
	soft_lock(sd);
	drop(&sd->intx.unmask);
	soft_unlock(sd);
}

/* One at a time (vfio_virqfd_enable). */
static int unmask_on(struct soft_device *sd, int user_fd)
{
	int fd, rc;

	if (sd->intx.unmask >= 0)
		return -EBUSY;
	if (!sd->loop)
		return -ENOTTY;
	fd = soft_eventfd_get(user_fd);
	if (fd < 0)
		return fd;
	soft_lock(sd);
	sd->intx.unmask = fd;
	soft_unlock(sd);
	rc = loop_add_fd(sd->loop, fd, EPOLLIN, on_unmask, sd, &sd->intx.source);
	if (rc)
		unmask_off(sd);
	return rc;
}

static void intx_off(struct soft_device *sd)
{
	unmask_off(sd);
	soft_lock(sd);
	drop(&sd->intx.trigger);
	sd->intx.masked = false;
	soft_unlock(sd);
	sd->irq_type = VFIO_PCI_NUM_IRQS;
}

/* Without an eventfd (-1) the pin is in use all the same, and tells nobody. */
static int intx_trigger(struct soft_device *sd, const struct vfio_irq_set *set, const int32_t *fds,
			const uint8_t *bools)
{
	const bool active = sd->irq_type == VFIO_PCI_INTX_IRQ_INDEX;
	struct soft_intx *intx = &sd->intx;
	int fd = -1;

	if (active && DATA == VFIO_IRQ_SET_DATA_NONE && set->count == 0) {
		intx_off(sd);
		return 0;
	}
	if ((!active && sd->irq_type != VFIO_PCI_NUM_IRQS) || set->count != 1)
		return -EINVAL;
	if (DATA != VFIO_IRQ_SET_DATA_EVENTFD) {
		if (!active)
			return -EINVAL;
		soft_lock(sd);
		if ((DATA == VFIO_IRQ_SET_DATA_NONE || bools[0]) &&
		    !reference_intx_disabled(&sd->model))
			soft_signal(sd, intx->trigger);
		soft_unlock(sd);
		return 0;
	}
	if (fds[0] >= 0) {
		fd = soft_eventfd_get(fds[0]);
		if (fd < 0)
			return fd;
	}
	sd->irq_type = VFIO_PCI_INTX_IRQ_INDEX;
	soft_lock(sd);
	drop(&intx->trigger);
	intx->trigger = fd;
	if (!active)
		intx->masked = false;
	intx_deliver(sd);
	soft_unlock(sd);
	return 0;
}

static int set_intx(struct soft_device *sd, const struct vfio_irq_set *set, const int32_t *fds,
		    const uint8_t *bools)
{
	const bool mask = ACTION == VFIO_IRQ_SET_ACTION_MASK;

	if (ACTION == VFIO_IRQ_SET_ACTION_TRIGGER)
		return intx_trigger(sd, set, fds, bools);
	if (!mask && ACTION != VFIO_IRQ_SET_ACTION_UNMASK)
		return -ENOTTY;
	if (sd->irq_type != VFIO_PCI_INTX_IRQ_INDEX || set->count != 1)
		return -EINVAL;
	if (DATA == VFIO_IRQ_SET_DATA_EVENTFD && !mask && fds[0] < 0) {
		unmask_off(sd);
		return 0;
	}
	if (DATA == VFIO_IRQ_SET_DATA_EVENTFD)
		return mask ? -ENOTTY : unmask_on(sd, fds[0]);
	if (DATA == VFIO_IRQ_SET_DATA_BOOL && !bools[0])
		return 0;
	soft_lock(sd);
	intx_mask(sd, mask);
	soft_unlock(sd);
	return 0;
}

/* ---- MSI-X -------------------------------------------------------------------------------------- */

static void vector_set(struct soft_device *sd, uint32_t vector, int fd)
{
	soft_lock(sd);
	drop(&sd->vectors[vector]);
	sd->vectors[vector] = fd;
	soft_unlock(sd);
}

static void msix_off(struct soft_device *sd)
{
	for (uint32_t i = 0; i < sd->keys.vectors; i++)
		vector_set(sd, i, -1);
	sd->irq_type = VFIO_PCI_NUM_IRQS;
}

/* A bad descriptor takes the block off, what its vector had before too; if that switched MSI-X on, it is off. */
static int msix_connect(struct soft_device *sd, const struct vfio_irq_set *set, const int32_t *fds)
{
	const uint32_t before = sd->irq_type;

	sd->irq_type = VFIO_PCI_MSIX_IRQ_INDEX;
	for (uint32_t i = 0; i < set->count; i++) {
		const int fd = fds[i] < 0 ? -1 : soft_eventfd_get(fds[i]);

		if (fds[i] < 0 || fd >= 0) {
			vector_set(sd, set->start + i, fd);
			continue;
		}
		do
			vector_set(sd, set->start + i, -1);
		while (i-- > 0);
		sd->irq_type = before;
		return fd;
	}
	return 0;
}

static int set_msix(struct soft_device *sd, const struct vfio_irq_set *set, const int32_t *fds,
		    const uint8_t *bools)
{
	const bool active = sd->irq_type == VFIO_PCI_MSIX_IRQ_INDEX;

	if (ACTION != VFIO_IRQ_SET_ACTION_TRIGGER)
		return -ENOTTY;
	if (active && DATA == VFIO_IRQ_SET_DATA_NONE && set->count == 0) {
		msix_off(sd);
		return 0;
	}
	if (!active && sd->irq_type != VFIO_PCI_NUM_IRQS)
		return -EINVAL;
	if (DATA == VFIO_IRQ_SET_DATA_EVENTFD)
		return msix_connect(sd, set, fds);
	if (!active)
		return -EINVAL;
	for (uint32_t i = 0; i < set->count; i++) {
		if (DATA == VFIO_IRQ_SET_DATA_NONE || bools[i])
			soft_signal(sd, sd->vectors[set->start + i]);
	}
	return 0;
}

/* ---- ERR and REQ -------------------------------------------------------------------------------- */

/* vfio_pci_set_ctx_trigger_single() of the kernel. */
static int set_single(struct soft_device *sd, int *at, const struct vfio_irq_set *set,
		      const int32_t *fds, const uint8_t *bools)
{
	int fd = -1;

	if (ACTION != VFIO_IRQ_SET_ACTION_TRIGGER)
		return -ENOTTY;
	if (DATA == VFIO_IRQ_SET_DATA_NONE && *at < 0)
		return -EINVAL;
	if (DATA != VFIO_IRQ_SET_DATA_EVENTFD && set->count > 0) {
		if (DATA == VFIO_IRQ_SET_DATA_NONE || bools[0])
			soft_signal(sd, *at);
		return 0;
	}
	if (set->count > 0 && fds[0] < -1)
		return -EINVAL;
	if (set->count > 0 && fds[0] >= 0) {
		fd = soft_eventfd_get(fds[0]);
		if (fd < 0)
			return fd;
	}
	soft_lock(sd);
	drop(at);
	*at = fd;
	soft_unlock(sd);
	return 0;
}

/* ---- commands ----------------------------------------------------------------------------------- */

static uint32_t count_of(const struct soft_device *sd, uint32_t index)
{
	switch (index) {
	case VFIO_PCI_MSIX_IRQ_INDEX:
		return sd->keys.vectors;
	case VFIO_PCI_INTX_IRQ_INDEX:
	case VFIO_PCI_ERR_IRQ_INDEX:
	case VFIO_PCI_REQ_IRQ_INDEX:
		return 1;
	default:
		return 0;
	}
}

int soft_irq_info(struct soft_device *sd, struct vfio_irq_info *info)
{
	if (info->argsz < sizeof(*info) || info->index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;
	info->count = count_of(sd, info->index);
	info->flags = info->count ? VFIO_IRQ_INFO_EVENTFD : 0;
	if (info->index == VFIO_PCI_INTX_IRQ_INDEX)
		info->flags |= VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
	else if (info->index != VFIO_PCI_MSIX_IRQ_INDEX)
		info->flags |= VFIO_IRQ_INFO_NORESIZE;
	return 0;
}

static int dispatch(struct soft_device *sd, const struct vfio_irq_set *set, const int32_t *fds,
		    const uint8_t *bools)
{
	switch (set->index) {
	case VFIO_PCI_INTX_IRQ_INDEX:
		return set_intx(sd, set, fds, bools);
	case VFIO_PCI_MSIX_IRQ_INDEX:
		return set_msix(sd, set, fds, bools);
	case VFIO_PCI_ERR_IRQ_INDEX:
		return set_single(sd, &sd->err, set, fds, bools);
	default:
		return set_single(sd, &sd->req, set, fds, bools);
	}
}

int soft_set_irqs(struct soft_device *sd, const struct vfio_irq_set *set)
{
	int32_t *fds = NULL;
	int rc = vfio_set_irqs_validate_and_prepare(set, count_of(sd, set->index),
						    VFIO_PCI_NUM_IRQS);

	if (rc)
		return rc;
	/* The data need not be aligned. */
	if (DATA == VFIO_IRQ_SET_DATA_EVENTFD) {
		fds = calloc(set->count, sizeof(*fds));
		if (!fds)
			return -ENOMEM;
		memcpy(fds, set->data, set->count * sizeof(*fds));
	}
	pthread_mutex_lock(&sd->irq_lock);
	rc = dispatch(sd, set, fds, set->data);
	pthread_mutex_unlock(&sd->irq_lock);
	free(fds);
	return rc;
}

int soft_irqs_create(struct soft_device *sd)
{
	int rc;

	sd->irq_type = VFIO_PCI_NUM_IRQS;
	sd->intx.trigger = sd->intx.unmask = sd->err = sd->req = sd->wakeup = -1;
	sd->vectors = malloc(sd->keys.vectors * sizeof(*sd->vectors));
	if (!sd->vectors)
		return -ENOMEM;
	for (uint32_t i = 0; i < sd->keys.vectors; i++)
		sd->vectors[i] = -1;
	rc = eventfd_signaller_create(&sd->signaller);
	if (rc)
		vfio_error(sd->vdev.dev, rc, "no file to signal its interrupts by: %s",
			   host_strerror(-rc));
	return rc;
}

void soft_irqs_destroy(struct soft_device *sd)
{
	free(sd->vectors);
	eventfd_signaller_destroy(sd->signaller);
}

void soft_irqs_close(struct soft_device *sd)
{
	pthread_mutex_lock(&sd->irq_lock);
	msix_off(sd);
	intx_off(sd);
	soft_lock(sd);
	drop(&sd->err);
	drop(&sd->req);
	drop(&sd->wakeup);
	sd->low_power = false;
	soft_unlock(sd);
	pthread_mutex_unlock(&sd->irq_lock);
}
