// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts: eventfds by the rules of drivers/vfio/pci/vfio_pci_intrs.c, since user space knows
 * these. Of INTx and MSI-X one is in use at a time.
 */
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vfio_reference.h"

static u32 vref_irq_count(struct vref_device *v, u32 index)
{
	switch (index) {
	case VFIO_PCI_INTX_IRQ_INDEX:
	case VFIO_PCI_ERR_IRQ_INDEX:
	case VFIO_PCI_REQ_IRQ_INDEX:
		return 1;
	case VFIO_PCI_MSIX_IRQ_INDEX:
		return v->model.geometry.vectors;
	default:
		return 0;
	}
}

/* ---- out of the model, under lock ----------------------------------------------------------------- */

void vref_raise(void *ctx, u32 vector)
{
	struct vref_device *v = ctx;

	/* A message to a vector that nobody has set up goes nowhere, as on a bus. */
	if (v->irq_type == VFIO_PCI_MSIX_IRQ_INDEX && v->vectors[vector])
		eventfd_signal(v->vectors[vector]);
}

/* The line is masked when it is told, until user space says that it has served it. */
static void vref_deliver_intx(struct vref_device *v)
{
	if (v->irq_type != VFIO_PCI_INTX_IRQ_INDEX || !v->intx || !v->intx_asserted ||
	    v->intx_masked)
		return;
	v->intx_masked = true;
	eventfd_signal(v->intx);
}

void vref_intx(void *ctx, bool asserted)
{
	struct vref_device *v = ctx;

	v->intx_asserted = asserted;
	vref_deliver_intx(v);
}

void vref_signal_error(struct vref_device *v)
{
	if (v->error)
		eventfd_signal(v->error);
}

void vref_signal_request(struct vref_device *v)
{
	if (v->request)
		eventfd_signal(v->request);
}

/* ---- SET_IRQS ------------------------------------------------------------------------------------ */

static void vref_replace(struct eventfd_ctx **where, struct eventfd_ctx *with)
{
	if (*where)
		eventfd_ctx_put(*where);
	*where = with;
}

/* @fd -1: none. */
static int vref_set_eventfd(struct eventfd_ctx **where, int fd)
{
	struct eventfd_ctx *ctx = NULL;

	if (fd >= 0) {
		ctx = eventfd_ctx_fdget(fd);
		if (IS_ERR(ctx))
			return PTR_ERR(ctx);
	}
	vref_replace(where, ctx);
	return 0;
}

static void vref_msix_off(struct vref_device *v)
{
	u32 i;

	for (i = 0; i < v->model.geometry.vectors; i++)
		vref_replace(&v->vectors[i], NULL);
	v->irq_type = VFIO_PCI_NUM_IRQS;
}

static int vref_set_msix(struct vref_device *v, const struct vfio_irq_set *set, void *data)
{
	u32 type = set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK, i;
	bool active = v->irq_type == VFIO_PCI_MSIX_IRQ_INDEX;
	const s32 *fds = data;
	const u8 *bools = data;
	int ret;

	if ((set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) != VFIO_IRQ_SET_ACTION_TRIGGER)
		return -ENOTTY;
	if (active && !set->count && type == VFIO_IRQ_SET_DATA_NONE) {
		vref_msix_off(v);
		return 0;
	}
	if (!active && v->irq_type != VFIO_PCI_NUM_IRQS)
		return -EINVAL;

	if (type == VFIO_IRQ_SET_DATA_EVENTFD) {
		for (i = 0; i < set->count; i++) {
			ret = vref_set_eventfd(&v->vectors[set->start + i], fds[i]);
			if (!ret)
				continue;
			/* As there: all of this call are off then, and MSI-X when it was not on before. */
			do
				vref_replace(&v->vectors[set->start + i], NULL);
			while (i--);
			return ret;
		}
		v->irq_type = VFIO_PCI_MSIX_IRQ_INDEX;
		return 0;
	}
	if (!active)
		return -EINVAL;
	for (i = 0; i < set->count; i++)
		if (v->vectors[set->start + i] && (type == VFIO_IRQ_SET_DATA_NONE || bools[i]))
			eventfd_signal(v->vectors[set->start + i]);
	return 0;
}

static void vref_unmask_intx(void *opaque, void *data)
{
	struct vref_device *v = opaque;

	guard(mutex)(&v->lock);
	v->intx_masked = false;
	vref_deliver_intx(v);
}

/* In the waker's context: the work is left to the thread. */
static int vref_unmask_handler(void *opaque, void *data)
{
	return 1;
}

static void vref_intx_off(struct vref_device *v)
{
	vref_replace(&v->intx, NULL);
	v->intx_masked = false;
	v->irq_type = VFIO_PCI_NUM_IRQS;
}

static int vref_trigger_intx(struct vref_device *v, const struct vfio_irq_set *set, void *data)
{
	u32 type = set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
	bool active = v->irq_type == VFIO_PCI_INTX_IRQ_INDEX;
	int ret;

	if (active && !set->count && type == VFIO_IRQ_SET_DATA_NONE) {
		vref_intx_off(v);
		return 0;
	}
	if ((!active && v->irq_type != VFIO_PCI_NUM_IRQS) || set->start || set->count != 1)
		return -EINVAL;
	if (type == VFIO_IRQ_SET_DATA_EVENTFD) {
		ret = vref_set_eventfd(&v->intx, *(s32 *)data);
		if (ret)
			return ret;
		v->irq_type = VFIO_PCI_INTX_IRQ_INDEX;
		if (!active)
			v->intx_masked = false;
		vref_deliver_intx(v);
		return 0;
	}
	if (!active)
		return -EINVAL;
	if (v->intx && (type == VFIO_IRQ_SET_DATA_NONE || *(u8 *)data) &&
	    !reference_intx_disabled(&v->model))
		eventfd_signal(v->intx);
	return 0;
}

static int vref_set_intx(struct vref_device *v, const struct vfio_irq_set *set, void *data)
{
	u32 action = set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
	u32 type = set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;

	if (action == VFIO_IRQ_SET_ACTION_TRIGGER)
		return vref_trigger_intx(v, set, data);
	if (action != VFIO_IRQ_SET_ACTION_MASK && action != VFIO_IRQ_SET_ACTION_UNMASK)
		return -ENOTTY;
	if (v->irq_type != VFIO_PCI_INTX_IRQ_INDEX || set->start || set->count != 1)
		return -EINVAL;
	/* UNMASK by eventfd has been done outside of the lock. */
	if (type == VFIO_IRQ_SET_DATA_EVENTFD)
		return action == VFIO_IRQ_SET_ACTION_UNMASK ? 0 : -ENOTTY;
	if (type == VFIO_IRQ_SET_DATA_BOOL && !*(u8 *)data)
		return 0;
	v->intx_masked = action == VFIO_IRQ_SET_ACTION_MASK;
	vref_deliver_intx(v);
	return 0;
}

static int vref_set_single(struct eventfd_ctx **where, const struct vfio_irq_set *set, void *data)
{
	if ((set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) != VFIO_IRQ_SET_ACTION_TRIGGER)
		return -ENOTTY;
	if (set->start || set->count > 1)
		return -EINVAL;
	switch (set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK) {
	case VFIO_IRQ_SET_DATA_NONE:
		if (!*where)
			return -EINVAL;
		if (set->count)
			eventfd_signal(*where);
		else
			vref_replace(where, NULL);
		return 0;
	case VFIO_IRQ_SET_DATA_BOOL:
		if (!set->count)
			return -EINVAL;
		if (*(u8 *)data && *where)
			eventfd_signal(*where);
		return 0;
	default:
		if (!set->count || *(s32 *)data < -1)
			return -EINVAL;
		return vref_set_eventfd(where, *(s32 *)data);
	}
}

static int vref_set_index(struct vref_device *v, const struct vfio_irq_set *set, void *data)
{
	guard(mutex)(&v->lock);
	switch (set->index) {
	case VFIO_PCI_INTX_IRQ_INDEX:
		return vref_set_intx(v, set, data);
	case VFIO_PCI_MSIX_IRQ_INDEX:
		return vref_set_msix(v, set, data);
	case VFIO_PCI_ERR_IRQ_INDEX:
		return vref_set_single(&v->error, set, data);
	case VFIO_PCI_REQ_IRQ_INDEX:
		return vref_set_single(&v->request, set, data);
	default:
		return -ENOTTY;
	}
}

/* The virqfd's thread takes the lock, and is waited for here: not under it. */
static int vref_set_unmask(struct vref_device *v, int fd)
{
	if (fd < 0) {
		vfio_virqfd_disable(&v->unmask);
		return 0;
	}
	return vfio_virqfd_enable(v, vref_unmask_handler, vref_unmask_intx, NULL, &v->unmask, fd);
}

long vref_set_irqs(struct vref_device *v, struct vfio_irq_set __user *arg)
{
	size_t minsz = offsetofend(struct vfio_irq_set, count), size;
	u32 resample = VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_DATA_EVENTFD;
	struct vfio_irq_set set;
	void *data = NULL;
	int ret;

	if (copy_from_user(&set, arg, minsz))
		return -EFAULT;
	ret = vfio_set_irqs_validate_and_prepare(&set, vref_irq_count(v, set.index),
						 VFIO_PCI_NUM_IRQS, &size);
	if (ret)
		return ret;
	if (size) {
		data = memdup_user((u8 __user *)arg + minsz, size);
		if (IS_ERR(data))
			return PTR_ERR(data);
	}

	scoped_guard(mutex, &v->control)
	{
		ret = vref_set_index(v, &set, data);
		if (!ret && set.index == VFIO_PCI_INTX_IRQ_INDEX) {
			if ((set.flags & resample) == resample)
				ret = vref_set_unmask(v, *(s32 *)data);
			else if (v->irq_type != VFIO_PCI_INTX_IRQ_INDEX)
				vref_set_unmask(v, -1);
		}
	}
	kfree(data);
	return ret;
}

long vref_get_irq_info(struct vref_device *v, struct vfio_irq_info __user *arg)
{
	size_t minsz = offsetofend(struct vfio_irq_info, count);
	struct vfio_irq_info info;

	if (copy_from_user(&info, arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz || info.index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;
	info.flags = VFIO_IRQ_INFO_EVENTFD;
	if (info.index == VFIO_PCI_INTX_IRQ_INDEX)
		info.flags |= VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
	else if (info.index != VFIO_PCI_MSIX_IRQ_INDEX)
		info.flags |= VFIO_IRQ_INFO_NORESIZE;
	info.count = vref_irq_count(v, info.index);
	return copy_to_user(arg, &info, minsz) ? -EFAULT : 0;
}

void vref_irqs_off(struct vref_device *v)
{
	guard(mutex)(&v->control);
	scoped_guard(mutex, &v->lock)
	{
		vref_msix_off(v);
		vref_intx_off(v);
		vref_replace(&v->error, NULL);
		vref_replace(&v->request, NULL);
	}
	vref_set_unmask(v, -1);
}
