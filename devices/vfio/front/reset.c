/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resets: what the guest asks for, what the device can, and what came of it.
 *
 *   flr       VFIO_DEVICE_RESET of a device that has function level reset
 *   hot       its slot or bus (VFIO_DEVICE_PCI_HOT_RESET), when every function that goes with it
 *             belongs to this VM and is being reset as well
 *   function  VFIO_DEVICE_RESET of another: what else the host's kernel can do to one function,
 *             mostly the way to D3hot and back
 *
 * Before any of them nothing of the guest may reach the device: memory slots and peer mappings gone,
 * interrupts off, decode and bus mastering off, state D0. Afterwards the guest sees power-on
 * registers, whether the device was reset or not: it will set them all. A failure is reported, since
 * state of the time before may then show, and is no reason to end a VM.
 *
 * A hot reset takes the device set's lock, here alone on the way of a vCPU: that is safe, since
 * whoever holds it waits for no vCPU, and rare, since guests reset buses when all else has failed.
 */
#include "devices/vfio/front/front.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <linux/pci_regs.h>

#include "devices/vfio/message.h"

#define BUSY_TRIES    5
#define BUSY_PAUSE_NS 20000000 /* somebody else resets it, or its sysfs is being looked at */

static void quiesce(struct vfio_function *vf)
{
	pci_function_unmap_bars(&vf->pci);
	front_irqs_reset(vf);
	if (atomic_load(&vf->gone))
		return;
	front_device_write(vf, PCI_COMMAND, 0, 2);
	/* Whatever the image says: pci_function_reset() has cleared it by now. */
	if (vf->plan.pm)
		front_device_write(vf, vf->plan.pm + PCI_PM_CTRL, 0, 2);
}

static void power_on_image(struct vfio_function *vf)
{
	/* Whether it has functions beside it is the slot's knowledge (vmm/pci/slot.c). */
	uint8_t type = vf->pci.config[PCI_HEADER_TYPE];

	memcpy(vf->pci.config, vf->plan.image, sizeof(vf->pci.config));
	vf->pci.config[PCI_HEADER_TYPE] = type;
	atomic_store(&vf->revoked, false);
}

static int device_reset(struct vfio_function *vf)
{
	const struct timespec pause = {.tv_nsec = BUSY_PAUSE_NS};
	int ret;

	for (unsigned i = 0;; i++) {
		ret = vfio_device_ioctl(vf->vdev, VFIO_DEVICE_RESET, NULL);
		if (ret != -EAGAIN || i == BUSY_TRIES)
			return ret;
		nanosleep(&pause, NULL);
	}
}

/* ---- hot reset ----------------------------------------------------------------------------------- */

/* Who is reset with it. NULL with *@why when that cannot be known or there is no such reset. */
static struct vfio_pci_hot_reset_info *affected(struct vfio_function *vf, const char **why)
{
	struct vfio_pci_hot_reset_info head = {.argsz = sizeof(head)}, *info;
	uint32_t count = 0;
	int ret;

	ret = vfio_device_ioctl(vf->vdev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &head);
	if (ret == -ENOSPC)
		count = head.count;
	/* A bus has 256 functions; the list of a whole segment would be no answer. */
	if (!count || count > 65536) {
		*why = "its slot and bus cannot be reset";
		return NULL;
	}
	info = calloc(1, sizeof(*info) + count * sizeof(info->devices[0]));
	if (!info) {
		*why = "out of memory";
		return NULL;
	}
	info->argsz = (uint32_t)(sizeof(*info) + count * sizeof(info->devices[0]));
	ret = vfio_device_ioctl(vf->vdev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, info);
	if (ret || info->count > count) {
		*why = "the functions beside it changed meanwhile";
		free(info);
		return NULL;
	}
	return info;
}

/* The function of this VM behind @devid, in its device set. Under the set's lock. */
static struct vfio_function *sibling(const struct vfio_device_set *set, uint32_t devid)
{
	for (struct vfio_device *vdev = set->device_list; vdev; vdev = vdev->dev_set_list)
		if (vdev->open_count && vdev->iommufd_devid == devid &&
		    vdev->revoke == front_bars_revoke)
			return vdev->revoke_ctx;
	return NULL;
}

/*
 * May the whole set be reset? @clear: take the mark of those that waited for it. Devices that are in
 * our IOMMU groups but closed (VFIO_PCI_DEVID_OWNED) are nobody's.
 */
static bool set_is_ready(struct vfio_function *vf, const struct vfio_pci_hot_reset_info *info,
			 bool clear, const char **why)
{
	const uint32_t owned =
		VFIO_PCI_HOT_RESET_FLAG_DEV_ID | VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED;
	struct vfio_device_set *set = vf->vdev->dev_set;
	bool ready = true;

	if ((info->flags & owned) != owned) {
		*why = "a function that would be reset with it is not this VM's";
		return false;
	}
	pthread_mutex_lock(&set->lock);
	for (uint32_t i = 0; i < info->count; i++) {
		uint32_t devid = info->devices[i].devid;
		struct vfio_function *other;

		if (devid == VFIO_PCI_DEVID_OWNED || devid == vf->vdev->iommufd_devid)
			continue;
		other = sibling(set, devid);
		if (other && clear)
			other->reset_waits = false;
		ready &= other && (clear || other->reset_waits);
	}
	pthread_mutex_unlock(&set->lock);
	if (!ready)
		*why = "the guest uses a function that would be reset with it";
	return ready;
}

/* True when it worked. */
static bool hot_reset(struct vfio_function *vf, const char **why)
{
	struct vfio_pci_hot_reset reset = {.argsz = sizeof(reset)};
	struct vfio_pci_hot_reset_info *info = affected(vf, why);
	const char *ignored;
	bool done = false;
	int ret;

	if (!info)
		return false;
	if (set_is_ready(vf, info, false, why)) {
		ret = vfio_device_ioctl(vf->vdev, VFIO_DEVICE_PCI_HOT_RESET, &reset);
		done = ret == 0;
		if (ret) {
			*why = "the host could not reset its slot or bus";
			vfio_debug(vf->id, ret, "hot reset: %m");
		} else {
			set_is_ready(vf, info, true, &ignored);
		}
	}
	free(info);
	return done;
}

/* ---- what the guest asks for --------------------------------------------------------------------- */

/* A guest resets as often as it likes: the same failure is one line in the log. */
static void record(struct vfio_function *vf, const char *method, const char *failure)
{
	bool said = failure && vf->reset_failure == failure;

	vf->reset_count++;
	vf->reset_failure = failure;
	if (method) {
		vf->reset_method = method;
		vf->reset_waits = false;
		vfio_debug(vf->id, 0, "reset (%s)", method);
	} else if (!said && !atomic_load(&vf->gone)) {
		vfio_warn(vf->id, 0, "not reset: %s; the guest may meet state from before",
			  failure);
	}
	front_device_alive(vf);
}

void front_reset_function(struct vfio_function *vf)
{
	int ret;

	quiesce(vf);
	ret = atomic_load(&vf->gone) ? -ENODEV : device_reset(vf);
	power_on_image(vf);
	record(vf, ret ? NULL : "flr", ret ? "the host's kernel could not do it" : NULL);
	if (ret)
		vfio_debug(vf->id, ret, "function level reset: %m");
}

void front_reset_conventional(struct pci_function *fn)
{
	struct vfio_function *vf = front_of(fn);
	const char *method = NULL, *why = "it no longer answers";

	quiesce(vf);
	power_on_image(vf);
	if (atomic_load(&vf->gone)) {
		record(vf, NULL, why);
		return;
	}

	if (vf->resets && (vf->plan.flr || vf->plan.af_flr) && !device_reset(vf)) {
		method = "flr";
	} else if (hot_reset(vf, &why)) {
		method = "hot";
	} else if (vf->resets && !device_reset(vf)) {
		method = "function";
	} else {
		/* The last function of the set to come here takes the others along. */
		vf->reset_waits = true;
	}
	record(vf, method, method ? NULL : why);
}

void front_reset_settled(struct vfio_function *vf)
{
	vf->reset_waits = false;
}
