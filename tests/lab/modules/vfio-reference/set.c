// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices that are reset together. With shared_sets=1 the devices of a kind are one set, as functions of a slot
 * are to vfio-pci, whose hot reset the physical kind has.
 *
 * The VFIO core opens and closes the devices of a set under the set's lock, and a hot reset takes it. Here it
 * is counted who comes without it, or while another is not back.
 */
#include <linux/delay.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vfio_reference.h"

/* More than there are devices (VREF_DEVICES_MAX). */
#define VREF_SET_MAX 64

static struct vref_set vref_shared[2];

int vref_set_join(struct vref_device *v)
{
	v->set = vref_shared_sets ? &vref_shared[v->physical] : &v->own_set;
	return vfio_assign_device_set(&v->vdev, v->set);
}

void vref_set_enter(struct vref_device *v)
{
	struct vref_set *set = v->set;
	unsigned int delay = READ_ONCE(set->delay_us);

	atomic_inc(&set->calls);
	if (!mutex_is_locked(&v->vdev.dev_set->lock))
		atomic_inc(&set->unlocked);
	if (atomic_fetch_inc(&set->inside))
		atomic_inc(&set->overlaps);
	if (delay)
		usleep_range(delay, 2 * delay);
}

void vref_set_leave(struct vref_device *v)
{
	atomic_dec(&v->set->inside);
}

/* ---- hot reset: vfio_pci_core.c, of a device with a cdev ------------------------------------------- */

long vref_hot_reset_info(struct vref_device *v, struct vfio_pci_hot_reset_info __user *arg)
{
	const size_t minsz = offsetofend(struct vfio_pci_hot_reset_info, count);
	struct vfio_device_set *set = v->vdev.dev_set;
	struct vfio_pci_dependent_device *devices;
	struct vfio_pci_hot_reset_info info;
	struct vfio_device *member;
	long ret = 0;

	if (copy_from_user(&info, arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;
	devices = kcalloc(VREF_SET_MAX, sizeof(*devices), GFP_KERNEL);
	if (!devices)
		return -ENOMEM;
	info.flags = VFIO_PCI_HOT_RESET_FLAG_DEV_ID | VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED;
	info.count = 0;

	mutex_lock(&set->lock);
	list_for_each_entry(member, &set->device_list, dev_set_list) {
		int id = vfio_iommufd_get_dev_id(member, vfio_iommufd_device_ictx(&v->vdev));
		struct vfio_pci_dependent_device *device;

		if (info.count == VREF_SET_MAX)
			break;
		device = &devices[info.count++];
		device->devfn = to_vref(member)->pdev->id << 3;
		if (id > 0) {
			device->devid = id;
		} else if (id == -ENOENT) {
			device->devid = VFIO_PCI_DEVID_OWNED;
		} else {
			device->devid = VFIO_PCI_DEVID_NOT_OWNED;
			info.flags &= ~VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED;
		}
	}
	mutex_unlock(&set->lock);

	if (info.count > (info.argsz - minsz) / sizeof(*devices)) {
		info.flags = 0;
		ret = -ENOSPC;
	} else if (copy_to_user(arg->devices, devices, info.count * sizeof(*devices))) {
		ret = -EFAULT;
	}
	if (copy_to_user(arg, &info, minsz))
		ret = -EFAULT;
	kfree(devices);
	return ret;
}

/* All of the set or none: each must be had by whoever asks. */
static int vref_reset_set(struct vref_device *v)
{
	struct iommufd_ctx *ictx = vfio_iommufd_device_ictx(&v->vdev);
	struct vfio_device *member;
	int ret = 0;

	lockdep_assert_held(&v->vdev.dev_set->lock);
	list_for_each_entry(member, &v->vdev.dev_set->device_list, dev_set_list) {
		int id = vfio_iommufd_get_dev_id(member, ictx);

		if (id <= 0 && id != -ENOENT)
			return -EINVAL;
	}
	list_for_each_entry(member, &v->vdev.dev_set->device_list, dev_set_list)
		ret = ret ?: vref_reset(to_vref(member));
	return ret;
}

long vref_hot_reset(struct vref_device *v, struct vfio_pci_hot_reset __user *arg)
{
	const size_t minsz = offsetofend(struct vfio_pci_hot_reset, count);
	struct vfio_pci_hot_reset reset;
	int ret;

	if (copy_from_user(&reset, arg, minsz))
		return -EFAULT;
	if (reset.argsz < minsz || reset.flags)
		return -EINVAL;
	/* Groups are named by who has a group and no cdev; here only the latter will do. */
	if (reset.count || !vfio_device_cdev_opened(&v->vdev))
		return -EINVAL;

	mutex_lock(&v->vdev.dev_set->lock);
	vref_set_enter(v);
	ret = vref_reset_set(v);
	vref_set_leave(v);
	mutex_unlock(&v->vdev.dev_set->lock);
	return ret;
}
