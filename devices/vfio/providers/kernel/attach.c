/* SPDX-License-Identifier: Apache-2.0 */
/* Attaching a device to an address space: which page table, and the way back when it fails. */
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/message.h"
#include "devices/vfio/providers/kernel/kernel.h"
#include "vmm/base/log.h"

/* @pasid 0: the device itself (IOMMU_NO_PASID). */
static int ioctl_attach(struct kernel_device *kd, uint32_t pasid, uint32_t pt_id)
{
	struct vfio_device_attach_iommufd_pt attach = {
		.argsz = sizeof(attach),
		.flags = pasid ? VFIO_DEVICE_ATTACH_PASID : 0,
		.pt_id = pt_id,
		.pasid = pasid,
	};

	return kernel_ioctl(kd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
}

static void ioctl_detach(struct kernel_device *kd, uint32_t pasid)
{
	struct vfio_device_detach_iommufd_pt detach = {
		.argsz = sizeof(detach),
		.flags = pasid ? VFIO_DEVICE_DETACH_PASID : 0,
		.pasid = pasid,
	};
	const int rc = kernel_ioctl(kd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach);

	if (rc)
		vfio_error(kd->name, rc, "cannot be detached from the guest's memory: %m");
}

static int hwpt_create(struct kernel_device *kd, struct kernel_ioas *space, uint32_t flags,
		       struct kernel_hwpt **out)
{
	struct iommu_hwpt_alloc alloc = {
		.size = sizeof(alloc),
		.flags = flags,
		.dev_id = kd->vdev.iommufd_devid,
		.pt_id = space->id,
		.data_type = IOMMU_HWPT_DATA_NONE,
	};
	struct kernel_hwpt *hwpt = calloc(1, sizeof(*hwpt));
	int rc;

	if (!hwpt)
		return -ENOMEM;
	rc = kernel_iommufd_ioctl(space->iommufd, IOMMU_HWPT_ALLOC, &alloc);
	if (rc < 0) {
		free(hwpt);
		return rc;
	}
	hwpt->id = alloc.out_hwpt_id;
	hwpt->flags = flags;
	hwpt->users = 1;
	hwpt->next = space->hwpts;
	space->hwpts = hwpt;
	*out = hwpt;
	return 0;
}

/* One user less; the last one takes the table along. */
static void hwpt_put(struct kernel_ioas *space, struct kernel_hwpt *hwpt)
{
	struct iommu_destroy destroy = {.size = sizeof(destroy)};
	struct kernel_hwpt **link = &space->hwpts;
	int rc;

	if (!hwpt || --hwpt->users)
		return;
	destroy.id = hwpt->id;
	rc = kernel_iommufd_ioctl(space->iommufd, IOMMU_DESTROY, &destroy);
	if (rc)
		log_failure(rc, "vfio: page table %u stays in the kernel", hwpt->id);
	while (*link != hwpt)
		link = &(*link)->next;
	*link = hwpt->next;
	free(hwpt);
}

/*
 * Attach to a table with @flags: one that is there, or a new one. -EINVAL is the kernel's word for a
 * table that does not fit the IOMMU of this device, so the next is tried. @failed counts attaches
 * that did not work. The caller gets a reference to the table.
 */
static int attach_explicit(struct kernel_device *kd, uint32_t pasid, struct kernel_ioas *space,
			   uint32_t flags, struct kernel_hwpt **out, unsigned *failed)
{
	struct kernel_hwpt *hwpt;
	int rc;

	for (hwpt = space->hwpts; hwpt; hwpt = hwpt->next) {
		if (hwpt->flags != flags)
			continue;
		rc = ioctl_attach(kd, pasid, hwpt->id);
		if (!rc) {
			hwpt->users++;
			*out = hwpt;
			return 0;
		}
		++*failed;
		if (rc != -EINVAL)
			return rc;
	}

	rc = hwpt_create(kd, space, flags, &hwpt);
	if (rc)
		return rc;
	rc = ioctl_attach(kd, pasid, hwpt->id);
	if (rc) {
		++*failed;
		hwpt_put(space, hwpt);
		return rc;
	}
	*out = hwpt;
	return 0;
}

/*
 * Attach to the best table that can be had; *@out NULL: the kernel's own choice for the space. A PASID
 * takes a table made for PASIDs, or none.
 */
static int attach_best(struct kernel_device *kd, uint32_t pasid, struct kernel_ioas *space,
		       struct kernel_hwpt **out, unsigned *failed)
{
	const struct hwpt_need need = {
		.emulated = kd->vdev.iommufd_kind == VFIO_IOMMUFD_EMULATED,
		.capabilities = kd->capabilities,
		.max_pasid_log2 = kd->max_pasid_log2,
		.migratable = kd->migratable,
		.pasid = kd->wants_pasids,
	};
	const struct hwpt_choice choice = hwpt_choose(&need);
	int rc = -EOPNOTSUPP;

	*out = NULL;
	if (choice.small_pages && !space->mirrored)
		kernel_space_small_pages(space);

	for (size_t i = 0; i < choice.count; i++) {
		const struct hwpt_candidate *candidate = &choice.candidates[i];

		if (pasid && !need.emulated && !(candidate->flags & IOMMU_HWPT_ALLOC_PASID))
			continue;
		if (candidate->automatic) {
			rc = ioctl_attach(kd, pasid, space->id);
			*failed += rc != 0;
		} else {
			rc = attach_explicit(kd, pasid, space, candidate->flags, out, failed);
		}
		/* What the IOMMU cannot do after all, or not together, leaves the next candidate. */
		if (rc != -EOPNOTSUPP && rc != -EINVAL)
			return rc;
	}
	return rc;
}

/*
 * A failed replacement within one IOAS makes the kernel forget the addresses that the device
 * reserves (drivers/iommu/iommufd/device.c, err_unresv of iommufd_device_do_replace), the MSI window
 * among them. Detaching and attaching again makes it learn them; IOVA ranges are never cached here.
 */
static int attach_again(struct kernel_device *kd, const struct kernel_ioas *space,
			const struct kernel_hwpt *hwpt)
{
	ioctl_detach(kd, 0);
	return ioctl_attach(kd, 0, hwpt ? hwpt->id : space->id);
}

/* The device has no attachment any more, if it had one. */
static void forget(struct kernel_device *kd)
{
	if (!kd->space)
		return;
	hwpt_put(kd->space, kd->hwpt);
	kernel_space_put(kd->space);
	kd->hwpt = NULL;
	kd->space = NULL;
	kd->vdev.iommufd_attached = false;
}

/*
 * After a failure: what the device was attached to, or nothing. @again: the kernel has kept it, and only
 * forgot what the device reserves.
 */
static void fall_back(struct kernel_device *kd, bool again)
{
	int rc;

	if (!kd->space) {
		ioctl_detach(kd, 0);
		return;
	}
	rc = again ? attach_again(kd, kd->space, kd->hwpt)
		   : ioctl_attach(kd, 0, kd->hwpt ? kd->hwpt->id : kd->space->id);
	if (rc) {
		vfio_error(kd->name, rc, "lost its attachment to the guest's memory: %m");
		ioctl_detach(kd, 0);
		forget(kd);
	}
}

static int attach_locked(struct kernel_device *kd, struct ioas *ioas)
{
	struct kernel_ioas *space;
	struct kernel_hwpt *hwpt;
	unsigned failed = 0;
	bool within;
	int rc;

	rc = kernel_space_get(kd->iommufd, ioas, &space);
	if (rc)
		return vfio_error(kd->name, rc, "no address space from /dev/iommu: %m");
	/* A replacement by another IOAS that fails leaves the old one as it was. */
	within = kd->space == space;

	rc = attach_best(kd, 0, space, &hwpt, &failed);
	if (!rc && failed && within)
		rc = attach_again(kd, space, hwpt);
	if (rc) {
		kernel_explain_attach(kd, space, rc);
		if (within && failed)
			fall_back(kd, true);
		goto put_space;
	}

	/* What is mapped becomes visible to the device; the first device brings all of it in. */
	rc = kernel_space_mirror(space);
	if (rc) {
		fall_back(kd, false);
		goto put_space;
	}

	if (kd->space) {
		hwpt_put(kd->space, kd->hwpt);
		kernel_space_put(kd->space);
	}
	kd->space = space;
	kd->hwpt = hwpt;
	return 0;

put_space:
	hwpt_put(space, hwpt);
	kernel_space_put(space);
	return rc;
}

int kernel_attach_ioas(struct vfio_device *vdev, uint32_t *pt_id)
{
	struct kernel_device *kd = kernel_device(vdev);
	struct ioas *ioas = ioas_find(kd->iommufd->ictx, *pt_id);
	int rc;

	/* The ids are those of our own spaces; page tables of the kernel stay inside the provider. */
	if (!ioas)
		return -ENOENT;
	pthread_mutex_lock(&kd->iommufd->lock);
	rc = attach_locked(kd, ioas);
	pthread_mutex_unlock(&kd->iommufd->lock);
	return rc;
}

/*
 * A device that is being closed keeps its tables, and with them guest memory mapped and pinned, until
 * the kernel has closed it, which ends its DMA and resets it: even one that could not be detached
 * writes to the guest's memory alone.
 */
static bool is_closing(struct kernel_device *kd)
{
	return !atomic_load_explicit(&kd->vdev.access_granted, memory_order_acquire);
}

void kernel_detach_ioas(struct vfio_device *vdev)
{
	struct kernel_device *kd = kernel_device(vdev);

	pthread_mutex_lock(&kd->iommufd->lock);
	ioctl_detach(kd, 0);
	if (is_closing(kd)) {
		kd->parted_space = kd->space;
		kd->parted_hwpt = kd->hwpt;
		kd->space = NULL;
		kd->hwpt = NULL;
	}
	forget(kd);
	pthread_mutex_unlock(&kd->iommufd->lock);
}

void kernel_attach_done(struct kernel_device *kd)
{
	struct kernel_pasid *entry;

	pthread_mutex_lock(&kd->iommufd->lock);
	while ((entry = kd->parted)) {
		kd->parted = entry->next;
		hwpt_put(entry->space, entry->hwpt);
		kernel_space_put(entry->space);
		free(entry);
	}
	if (kd->parted_space) {
		hwpt_put(kd->parted_space, kd->parted_hwpt);
		kernel_space_put(kd->parted_space);
		kd->parted_space = NULL;
		kd->parted_hwpt = NULL;
	}
	pthread_mutex_unlock(&kd->iommufd->lock);
}

/* ---- PASIDs ----------------------------------------------------------------------------------- */

static struct kernel_pasid *find_pasid(struct kernel_device *kd, uint32_t pasid)
{
	struct kernel_pasid *entry = kd->pasids;

	while (entry && entry->pasid != pasid)
		entry = entry->next;
	return entry;
}

static void explain_pasid(const struct kernel_device *kd, uint32_t pasid, int error)
{
	vfio_error(kd->name, error, "PASID %u cannot be attached: %m", pasid);
}

/*
 * The kernel lets a PASID have a table of its own only when that of the device is made for PASIDs too
 * (drivers/iommu/iommufd/device.c, iommufd_hwpt_pasid_compat). Devices do not begin with one, since
 * it may translate slower and few ever need it: the first PASID moves the device over.
 */
static int make_room_for_pasids(struct kernel_device *kd, uint32_t pasid)
{
	int rc;

	if (kd->vdev.iommufd_kind == VFIO_IOMMUFD_EMULATED)
		return 0;
	kd->wants_pasids = true;
	if (!kd->space || (kd->hwpt && (kd->hwpt->flags & IOMMU_HWPT_ALLOC_PASID)))
		return 0;
	rc = attach_locked(kd, kd->space->ioas);
	if (rc || (kd->hwpt && (kd->hwpt->flags & IOMMU_HWPT_ALLOC_PASID)))
		return rc;
	explain_pasid(kd, pasid, -EOPNOTSUPP);
	return -EOPNOTSUPP;
}

static int pasid_attach_locked(struct kernel_device *kd, uint32_t pasid, struct ioas *ioas)
{
	struct kernel_pasid *entry = find_pasid(kd, pasid), *fresh = NULL;
	struct kernel_ioas *space;
	struct kernel_hwpt *hwpt = NULL;
	unsigned failed = 0;
	int rc;

	if (!entry) {
		fresh = calloc(1, sizeof(*fresh));
		if (!fresh)
			return -ENOMEM;
		fresh->pasid = pasid;
	}
	rc = kernel_space_get(kd->iommufd, ioas, &space);
	if (rc) {
		explain_pasid(kd, pasid, rc);
		goto free_fresh;
	}
	/*
	 * What the PASID is to see is there before it can see it: a replacement then cannot fail any more.
	 * Both say themselves what is wrong.
	 */
	rc = kernel_space_mirror(space);
	rc = rc ? rc : make_room_for_pasids(kd, pasid);
	if (rc)
		goto put_space;
	rc = attach_best(kd, pasid, space, &hwpt, &failed);
	if (rc) {
		explain_pasid(kd, pasid, rc);
		goto put_space;
	}

	if (entry) {
		hwpt_put(entry->space, entry->hwpt);
		kernel_space_put(entry->space);
	} else {
		entry = fresh;
		entry->next = kd->pasids;
		kd->pasids = entry;
	}
	entry->space = space;
	entry->hwpt = hwpt;
	return 0;

put_space:
	kernel_space_put(space);
free_fresh:
	free(fresh);
	return rc;
}

int kernel_pasid_attach_ioas(struct vfio_device *vdev, uint32_t pasid, uint32_t *pt_id)
{
	struct kernel_device *kd = kernel_device(vdev);
	struct ioas *ioas = ioas_find(kd->iommufd->ictx, *pt_id);
	int rc;

	if (!ioas)
		return -ENOENT;
	pthread_mutex_lock(&kd->iommufd->lock);
	rc = pasid_attach_locked(kd, pasid, ioas);
	pthread_mutex_unlock(&kd->iommufd->lock);
	return rc;
}

void kernel_pasid_detach_ioas(struct vfio_device *vdev, uint32_t pasid)
{
	struct kernel_device *kd = kernel_device(vdev);
	struct kernel_pasid **link, *entry;

	pthread_mutex_lock(&kd->iommufd->lock);
	for (link = &kd->pasids; *link && (*link)->pasid != pasid; link = &(*link)->next)
		;
	entry = *link;
	if (entry) {
		ioctl_detach(kd, pasid);
		*link = entry->next;
		if (is_closing(kd)) {
			entry->next = kd->parted;
			kd->parted = entry;
		} else {
			hwpt_put(entry->space, entry->hwpt);
			kernel_space_put(entry->space);
			free(entry);
		}
	}
	pthread_mutex_unlock(&kd->iommufd->lock);
}
