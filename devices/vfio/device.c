/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core of the contract: life and use of a vfio_device. Above it nobody knows a provider, below
 * it no provider knows the guest. The order of everything is that of drivers/vfio/vfio_main.c,
 * device_cdev.c and iommufd.c.
 */
#include "devices/vfio/device.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/core.h"
#include "devices/vfio/migration_states.h"
#include "vmm/base/host.h"
#include "vmm/base/kvm.h"

#define PASID_WORDS(count) (((size_t)(count) + 63) / 64)

/* ---- life ------------------------------------------------------------------------------------- */

int vfio_device_init(struct vfio_device *vdev, const char *dev, const struct vfio_device_ops *ops)
{
	int rc;

	vdev->dev = strdup(dev);
	if (!vdev->dev)
		return -ENOMEM;
	vdev->ops = ops;
	vdev->index = UINT_MAX;
	vdev->request_interval_ms = 10000;
	vdev->last_state = VFIO_DEVICE_STATE_RUNNING;
	atomic_init(&vdev->access_granted, false);
	pthread_mutex_init(&vdev->lock, NULL);
	pthread_cond_init(&vdev->comp, NULL);

	rc = ops->init ? ops->init(vdev) : 0;
	if (rc)
		goto undo;
	return 0;

undo:
	pthread_cond_destroy(&vdev->comp);
	pthread_mutex_destroy(&vdev->lock);
	free(vdev->dev);
	vdev->dev = NULL;
	return rc;
}

/* Whole tables or none: what vfio_pci_core_register_device() demands of a driver. */
static int check_tables(const struct vfio_device *vdev)
{
	const struct vfio_migration_ops *mig = vdev->mig_ops;
	const struct vfio_log_ops *log = vdev->log_ops;

	if (mig && (!mig->migration_set_state || !mig->migration_get_state ||
		    !mig->migration_get_data_size || !vfio_mig_flags_valid(vdev->migration_flags)))
		return -EINVAL;
	if (mig && (vdev->migration_flags & VFIO_MIGRATION_PRE_COPY) &&
	    !mig->migration_get_precopy_info)
		return -EINVAL;
	if (log && (!log->log_start || !log->log_stop || !log->log_read_and_clear))
		return -EINVAL;
	return 0;
}

int vfio_register_device(struct vfio_device *vdev)
{
	int rc;

	if (!vdev->ops->bind_iommufd || !vdev->ops->unbind_iommufd || !vdev->ops->attach_ioas ||
	    !vdev->ops->detach_ioas)
		return -EINVAL;
	if (!vdev->ops->pasid_attach_ioas != !vdev->ops->pasid_detach_ioas)
		return -EINVAL;
	rc = check_tables(vdev);
	if (rc)
		return rc;

	if (!vdev->dev_set) {
		rc = vfio_assign_device_set(vdev, NULL, 0);
		if (rc)
			return rc;
	}

	pthread_mutex_lock(&vdev->lock);
	vdev->registered = true;
	vdev->refcount = 1;
	pthread_mutex_unlock(&vdev->lock);
	return 0;
}

bool vfio_device_try_get_registration(struct vfio_device *vdev)
{
	bool got;

	pthread_mutex_lock(&vdev->lock);
	got = vdev->registered;
	if (got)
		vdev->refcount++;
	pthread_mutex_unlock(&vdev->lock);
	return got;
}

void vfio_device_put_registration(struct vfio_device *vdev)
{
	pthread_mutex_lock(&vdev->lock);
	if (vdev->refcount && !--vdev->refcount)
		pthread_cond_broadcast(&vdev->comp);
	pthread_mutex_unlock(&vdev->lock);
}

void vfio_unregister_device(struct vfio_device *vdev)
{
	unsigned count = 0;
	uint64_t until;

	pthread_mutex_lock(&vdev->lock);
	if (!vdev->registered) {
		pthread_mutex_unlock(&vdev->lock);
		return;
	}
	vdev->registered = false;
	vdev->refcount--;

	while (vdev->refcount) {
		/* The one who is asked may close at once, which takes the lock. */
		pthread_mutex_unlock(&vdev->lock);
		if (vdev->ops->request)
			vdev->ops->request(vdev, count++);
		pthread_mutex_lock(&vdev->lock);

		until = host_now_ns() + vdev->request_interval_ms * 1000000ull;
		while (vdev->refcount && !host_cond_wait(&vdev->comp, &vdev->lock, until))
			;
	}
	pthread_mutex_unlock(&vdev->lock);
}

void vfio_device_free(struct vfio_device *vdev)
{
	vfio_release_device_set(vdev);
	pthread_cond_destroy(&vdev->comp);
	pthread_mutex_destroy(&vdev->lock);
	free(vdev->pasids);
	vdev->pasids = NULL;
	free(vdev->dev);
	vdev->dev = NULL;
	/* May free the memory of @vdev: nothing after it. */
	if (vdev->ops->release)
		vdev->ops->release(vdev);
}

/* ---- before open ------------------------------------------------------------------------------ */

int vfio_device_set_kvm(struct vfio_device *vdev, struct kvm *kvm)
{
	if (atomic_load_explicit(&vdev->access_granted, memory_order_acquire))
		return -EBUSY;
	vdev->user_kvm = kvm;
	return 0;
}

int vfio_device_set_token(struct vfio_device *vdev, const uint8_t *uuid)
{
	if (atomic_load_explicit(&vdev->access_granted, memory_order_acquire))
		return -EBUSY;
	vdev->has_token = uuid != NULL;
	if (uuid)
		memcpy(vdev->token, uuid, sizeof(vdev->token));
	return 0;
}

void vfio_device_set_events(struct vfio_device *vdev, const struct vfio_device_events *events,
			    void *ctx)
{
	vdev->events = events;
	vdev->events_ctx = ctx;
}

void vfio_device_set_revoke(struct vfio_device *vdev, void (*revoke)(void *ctx), void *ctx)
{
	vdev->revoke = revoke;
	vdev->revoke_ctx = ctx;
}

/* ---- open and close --------------------------------------------------------------------------- */

static int check_token(struct vfio_device *vdev)
{
	if (!vdev->ops->match_token_uuid)
		return vdev->has_token ? -EINVAL : 0;
	return vdev->ops->match_token_uuid(vdev, vdev->has_token ? vdev->token : NULL);
}

static void get_kvm(struct vfio_device *vdev)
{
	if (!vdev->user_kvm)
		return;
	vdev->kvm = kvm_get(vdev->user_kvm);
	vdev->put_kvm = kvm_put;
}

static void put_kvm(struct vfio_device *vdev)
{
	if (vdev->kvm)
		vdev->put_kvm(vdev->kvm);
	vdev->kvm = NULL;
	vdev->put_kvm = NULL;
}

/* Every PASID, then the RID: in the order of vfio_iommufd_physical_unbind(). */
static void detach_all(struct vfio_device *vdev)
{
	for (uint32_t word = 0; vdev->pasids && word < PASID_WORDS(vdev->max_pasids); word++) {
		while (vdev->pasids[word]) {
			const unsigned bit = (unsigned)__builtin_ctzll(vdev->pasids[word]);

			vdev->ops->pasid_detach_ioas(vdev, word * 64 + bit);
			vdev->pasids[word] &= ~(1ull << bit);
		}
	}
	if (vdev->iommufd_attached)
		vdev->ops->detach_ioas(vdev);
	vdev->iommufd_attached = false;
}

static void unbind(struct vfio_device *vdev)
{
	detach_all(vdev);
	vdev->ops->unbind_iommufd(vdev);
	vdev->iommufd_ictx = NULL;
	vdev->iommufd_kind = VFIO_IOMMUFD_NONE;
	vdev->iommufd_devid = 0;
	vdev->iommufd_pt_id = 0;
	free(vdev->pasids);
	vdev->pasids = NULL;
	vdev->max_pasids = 0;
}

/* A fresh device: nothing of the last user shows. */
static void reset_user_state(struct vfio_device *vdev)
{
	pthread_mutex_lock(&vdev->lock);
	vdev->precopy_info_v2 = false;
	vdev->dma_logging = false;
	vdev->last_state = VFIO_DEVICE_STATE_RUNNING;
	pthread_mutex_unlock(&vdev->lock);
}

static int open_locked(struct vfio_device *vdev, struct iommufd_ctx *ictx)
{
	int rc;

	if (vdev->open_count)
		return -EINVAL;
	rc = check_token(vdev);
	if (rc)
		return rc;

	get_kvm(vdev);
	rc = vdev->ops->bind_iommufd(vdev, ictx, &vdev->iommufd_devid);
	if (rc)
		goto put_kvm;
	vdev->iommufd_ictx = ictx;
	if (vdev->max_pasids > VFIO_DEVICE_MAX_PASIDS)
		vdev->max_pasids = VFIO_DEVICE_MAX_PASIDS;

	rc = vdev->ops->open_device ? vdev->ops->open_device(vdev) : 0;
	if (rc)
		goto unbind;
	rc = check_tables(vdev);
	if (rc)
		goto close_device;

	vdev->open_count = 1;
	atomic_store_explicit(&vdev->access_granted, true, memory_order_release);
	return 0;

close_device:
	if (vdev->ops->close_device)
		vdev->ops->close_device(vdev);
unbind:
	unbind(vdev);
put_kvm:
	put_kvm(vdev);
	reset_user_state(vdev);
	return rc;
}

int vfio_device_open(struct vfio_device *vdev, struct iommufd_ctx *ictx)
{
	int rc;

	if (!ictx)
		return -EINVAL;
	if (!vfio_device_try_get_registration(vdev))
		return -ENODEV;

	pthread_mutex_lock(&vdev->dev_set->lock);
	rc = open_locked(vdev, ictx);
	pthread_mutex_unlock(&vdev->dev_set->lock);

	if (rc)
		vfio_device_put_registration(vdev);
	return rc;
}

void vfio_device_close(struct vfio_device *vdev)
{
	pthread_mutex_lock(&vdev->dev_set->lock);
	if (!vdev->open_count) {
		pthread_mutex_unlock(&vdev->dev_set->lock);
		return;
	}
	atomic_store_explicit(&vdev->access_granted, false, memory_order_release);
	if (vdev->ops->close_device)
		vdev->ops->close_device(vdev);
	unbind(vdev);
	reset_user_state(vdev);
	vdev->open_count = 0;
	put_kvm(vdev);
	pthread_mutex_unlock(&vdev->dev_set->lock);

	/* Last: an unregister that waits for it may free the device. */
	vfio_device_put_registration(vdev);
}

static bool access_granted(struct vfio_device *vdev)
{
	return atomic_load_explicit(&vdev->access_granted, memory_order_acquire);
}

/* ---- attach and detach ------------------------------------------------------------------------ */

int vfio_device_attach(struct vfio_device *vdev, uint32_t *pt_id)
{
	uint32_t id = *pt_id;
	int rc;

	if (!access_granted(vdev))
		return -EINVAL;

	pthread_mutex_lock(&vdev->dev_set->lock);
	rc = vdev->ops->attach_ioas(vdev, &id);
	if (!rc) {
		vdev->iommufd_attached = true;
		vdev->iommufd_pt_id = *pt_id = id;
	}
	pthread_mutex_unlock(&vdev->dev_set->lock);
	return rc;
}

int vfio_device_detach(struct vfio_device *vdev)
{
	if (!access_granted(vdev))
		return -EINVAL;

	pthread_mutex_lock(&vdev->dev_set->lock);
	if (vdev->iommufd_attached)
		vdev->ops->detach_ioas(vdev);
	vdev->iommufd_attached = false;
	vdev->iommufd_pt_id = 0;
	pthread_mutex_unlock(&vdev->dev_set->lock);
	return 0;
}

int vfio_device_pasid_attach(struct vfio_device *vdev, uint32_t pasid, uint32_t *pt_id)
{
	uint32_t id = *pt_id;
	int rc;

	if (!access_granted(vdev))
		return -EINVAL;
	if (!vdev->ops->pasid_attach_ioas || !vdev->max_pasids)
		return -EOPNOTSUPP;
	/* PASID 0 is the RID's own (IOMMU_NO_PASID); the kernel does not check. */
	if (!pasid || pasid >= vdev->max_pasids)
		return -EINVAL;

	pthread_mutex_lock(&vdev->dev_set->lock);
	if (!vdev->pasids)
		vdev->pasids = calloc(PASID_WORDS(vdev->max_pasids), sizeof(*vdev->pasids));
	rc = vdev->pasids ? vdev->ops->pasid_attach_ioas(vdev, pasid, &id) : -ENOMEM;
	if (!rc) {
		vdev->pasids[pasid / 64] |= 1ull << pasid % 64;
		*pt_id = id;
	}
	pthread_mutex_unlock(&vdev->dev_set->lock);
	return rc;
}

int vfio_device_pasid_detach(struct vfio_device *vdev, uint32_t pasid)
{
	if (!access_granted(vdev))
		return -EINVAL;
	if (!vdev->ops->pasid_detach_ioas)
		return -EOPNOTSUPP;

	pthread_mutex_lock(&vdev->dev_set->lock);
	if (vdev->pasids && pasid < vdev->max_pasids &&
	    (vdev->pasids[pasid / 64] & 1ull << pasid % 64)) {
		vdev->ops->pasid_detach_ioas(vdev, pasid);
		vdev->pasids[pasid / 64] &= ~(1ull << pasid % 64);
	}
	pthread_mutex_unlock(&vdev->dev_set->lock);
	return 0;
}

static int ioctl_attach(struct vfio_device *vdev, struct vfio_device_attach_iommufd_pt *attach)
{
	if (!attach)
		return -EFAULT;
	if (attach->argsz < offsetofend(struct vfio_device_attach_iommufd_pt, pt_id))
		return -EINVAL;
	if (attach->flags & ~VFIO_DEVICE_ATTACH_PASID)
		return -EINVAL;
	if (!(attach->flags & VFIO_DEVICE_ATTACH_PASID))
		return vfio_device_attach(vdev, &attach->pt_id);

	if (!vdev->ops->pasid_attach_ioas)
		return -EOPNOTSUPP;
	if (attach->argsz < offsetofend(struct vfio_device_attach_iommufd_pt, pasid))
		return -EINVAL;
	return vfio_device_pasid_attach(vdev, attach->pasid, &attach->pt_id);
}

static int ioctl_detach(struct vfio_device *vdev, struct vfio_device_detach_iommufd_pt *detach)
{
	if (!detach)
		return -EFAULT;
	if (detach->argsz < offsetofend(struct vfio_device_detach_iommufd_pt, flags))
		return -EINVAL;
	if (detach->flags & ~VFIO_DEVICE_DETACH_PASID)
		return -EINVAL;
	if (!(detach->flags & VFIO_DEVICE_DETACH_PASID))
		return vfio_device_detach(vdev);

	if (!vdev->ops->pasid_detach_ioas)
		return -EOPNOTSUPP;
	if (detach->argsz < offsetofend(struct vfio_device_detach_iommufd_pt, pasid))
		return -EINVAL;
	return vfio_device_pasid_detach(vdev, detach->pasid);
}

/* ---- use -------------------------------------------------------------------------------------- */

ssize_t vfio_device_read(struct vfio_device *vdev, void *buffer, size_t count, uint64_t offset)
{
	if (!access_granted(vdev) || !vdev->ops->read)
		return -EINVAL;
	return vdev->ops->read(vdev, buffer, count, offset);
}

ssize_t vfio_device_write(struct vfio_device *vdev, const void *buffer, size_t count,
			  uint64_t offset)
{
	if (!access_granted(vdev) || !vdev->ops->write)
		return -EINVAL;
	return vdev->ops->write(vdev, buffer, count, offset);
}

int vfio_device_mmap(struct vfio_device *vdev, void *where, size_t length, int prot,
		     uint64_t offset)
{
	if (!access_granted(vdev) || !vdev->ops->mmap)
		return -EINVAL;
	return vdev->ops->mmap(vdev, where, length, prot, offset);
}

int vfio_device_region_fd(struct vfio_device *vdev, uint32_t index, bool device, int *fd,
			  uint64_t *offset)
{
	if (!access_granted(vdev))
		return -EINVAL;
	if (!vdev->ops->region_fd)
		return -ENODEV;
	return vdev->ops->region_fd(vdev, index, device, fd, offset);
}

/* A reset that worked: the device runs again, whatever state its migration was in. */
static void note_reset(struct vfio_device *vdev, const char *method)
{
	pthread_mutex_lock(&vdev->lock);
	vdev->last_state = VFIO_DEVICE_STATE_RUNNING;
	vdev->reset_method = method;
	pthread_mutex_unlock(&vdev->lock);
}

static int ioctl_reset(struct vfio_device *vdev, unsigned command, void *arg)
{
	const int rc = vdev->ops->ioctl(vdev, command, arg);

	if (!rc)
		note_reset(vdev, "device");
	return rc;
}

static int ioctl_hot_reset(struct vfio_device *vdev, unsigned command, void *arg)
{
	struct vfio_device_set *set = vdev->dev_set;
	struct vfio_device *member;
	int rc;

	pthread_mutex_lock(&set->lock);
	/* Every member loses its memory decode: no mapping may be left in the guest. */
	for (member = set->device_list; member; member = member->dev_set_list) {
		if (member->open_count)
			vfio_device_revoke(member);
	}
	rc = vdev->ops->ioctl(vdev, command, arg);
	for (member = set->device_list; !rc && member; member = member->dev_set_list) {
		if (member->open_count)
			note_reset(member, "hot");
	}
	pthread_mutex_unlock(&set->lock);
	return rc;
}

int vfio_device_ioctl(struct vfio_device *vdev, unsigned command, void *arg)
{
	/* Binding is vfio_device_open(), and a bound device is not bound again. */
	if (command == VFIO_DEVICE_BIND_IOMMUFD || !access_granted(vdev))
		return -EINVAL;

	switch (command) {
	case VFIO_DEVICE_ATTACH_IOMMUFD_PT:
		return ioctl_attach(vdev, arg);
	case VFIO_DEVICE_DETACH_IOMMUFD_PT:
		return ioctl_detach(vdev, arg);
	case VFIO_DEVICE_FEATURE:
		return vfio_ioctl_device_feature(vdev, arg);
	case VFIO_DEVICE_GET_REGION_INFO:
		return vfio_get_region_info(vdev, arg);
	default:
		break;
	}

	if (!vdev->ops->ioctl)
		return -EINVAL;
	switch (command) {
	case VFIO_DEVICE_RESET:
		return ioctl_reset(vdev, command, arg);
	case VFIO_DEVICE_PCI_HOT_RESET:
		return ioctl_hot_reset(vdev, command, arg);
	default:
		return vdev->ops->ioctl(vdev, command, arg);
	}
}

void vfio_device_revoke(struct vfio_device *vdev)
{
	if (vdev->revoke)
		vdev->revoke(vdev->revoke_ctx);
}

void vfio_device_dma_unmap(struct vfio_device *vdev, uint64_t iova, uint64_t length)
{
	if (access_granted(vdev) && vdev->ops->dma_unmap)
		vdev->ops->dma_unmap(vdev, iova, length);
}
