// SPDX-License-Identifier: GPL-2.0-only
/* VFIO_DEVICE_IOEVENTFD: an eventfd that writes to a register, so that a guest's doorbell needs nobody. */
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vfio_reference.h"

struct vref_ioeventfd {
	struct list_head next;
	struct vref_device *v;
	struct virqfd *virqfd;
	u32 index, count;
	u64 offset, data;
};

/* The model's lock is a mutex: not in the waker's context. */
static int vref_ioeventfd_handler(void *opaque, void *unused)
{
	return 1;
}

static void vref_ioeventfd_thread(void *opaque, void *unused)
{
	struct vref_ioeventfd *io = opaque;
	struct vref_device *v = io->v;
	__le64 data = cpu_to_le64(io->data);
	u32 effects;

	/* Not by vref_region_write(): who waits for this thread to end holds v->control. */
	guard(mutex)(&v->lock);
	if (reference_write(&v->model, io->index, &data, io->count, io->offset, &effects) > 0)
		vref_act(v, effects);
}

static void vref_ioeventfd_off(struct vref_ioeventfd *io)
{
	vfio_virqfd_disable(&io->virqfd);
	list_del(&io->next);
	io->v->nr_ioeventfds--;
	kfree(io);
}

static long vref_ioeventfd_set(struct vref_device *v, const struct vfio_device_ioeventfd *arg,
			       u32 count)
{
	u64 offset = arg->offset & VREF_REGION_MASK;
	u32 index = arg->offset >> VREF_REGION_SHIFT;
	struct vref_ioeventfd *io;
	int ret;

	guard(mutex)(&v->control);
	list_for_each_entry(io, &v->ioeventfds, next) {
		if (io->index != index || io->offset != offset || io->count != count ||
		    io->data != arg->data)
			continue;
		if (arg->fd != -1)
			return -EEXIST;
		vref_ioeventfd_off(io);
		return 0;
	}
	if (arg->fd < 0)
		return -ENODEV;
	if (v->nr_ioeventfds >= VREF_IOEVENTFDS_MAX)
		return -ENOSPC;

	io = kzalloc(sizeof(*io), GFP_KERNEL_ACCOUNT);
	if (!io)
		return -ENOMEM;
	*io = (struct vref_ioeventfd){
		.v = v,
		.index = index,
		.offset = offset,
		.count = count,
		.data = arg->data,
	};
	ret = vfio_virqfd_enable(io, vref_ioeventfd_handler, vref_ioeventfd_thread, NULL,
				 &io->virqfd, arg->fd);
	if (ret) {
		kfree(io);
		return ret;
	}
	list_add(&io->next, &v->ioeventfds);
	v->nr_ioeventfds++;
	return 0;
}

long vref_ioeventfd(struct vref_device *v, struct vfio_device_ioeventfd __user *arg)
{
	size_t minsz = offsetofend(struct vfio_device_ioeventfd, fd);
	struct vfio_device_ioeventfd io;
	u32 index, count;
	u64 size;

	if (copy_from_user(&io, arg, minsz))
		return -EFAULT;
	if (io.argsz < minsz || io.flags & ~VFIO_DEVICE_IOEVENTFD_SIZE_MASK)
		return -EINVAL;
	count = io.flags & VFIO_DEVICE_IOEVENTFD_SIZE_MASK;
	if (hweight32(count) != 1 || io.fd < -1)
		return -EINVAL;
	/* The table of MSI-X has nothing to ring. */
	index = io.offset >> VREF_REGION_SHIFT;
	if (index >= VFIO_PCI_ROM_REGION_INDEX || index == REFERENCE_BAR_MSIX)
		return -EINVAL;
	size = reference_region_size(&v->model, index);
	if ((io.offset & VREF_REGION_MASK) + count > size)
		return -EINVAL;
	return vref_ioeventfd_set(v, &io, count);
}

void vref_ioeventfds_off(struct vref_device *v)
{
	struct vref_ioeventfd *io, *next;

	guard(mutex)(&v->control);
	list_for_each_entry_safe(io, next, &v->ioeventfds, next)
		vref_ioeventfd_off(io);
}
