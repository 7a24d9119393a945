// SPDX-License-Identifier: GPL-2.0-only
/* Life of a device, and its two tables of operations. */
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "iommu.h"
#include "vfio_reference.h"

static int vref_init_device(struct vfio_device *vdev)
{
	struct vref_device *v = to_vref(vdev);
	struct reference_env env = {.ctx = v, .raise = vref_raise, .intx = vref_intx};
	struct reference_geometry geometry = {
		.vectors = vref_vectors,
		.memory_size = vref_memory,
		.serial = to_platform_device(vdev->dev)->id,
	};
	struct reference_memory memory;
	int ret = -ENOMEM;

	mutex_init(&v->control);
	mutex_init(&v->lock);
	init_rwsem(&v->memory_lock);
	init_rwsem(&v->pasid_lock);
	mutex_init(&v->pin.lock);
	xa_init(&v->pasids);
	INIT_LIST_HEAD(&v->ioeventfds);
	INIT_WORK(&v->engine, vref_engine);
	init_waitqueue_head(&v->idle);
	init_waitqueue_head(&v->stream_wait);
	v->irq_type = VFIO_PCI_NUM_IRQS;
	v->closing = true;

	if (vref_memory > REFERENCE_MEMORY_MAX || vref_vectors > REFERENCE_VECTORS_MAX)
		return -EINVAL;
	v->scratch = vmalloc_user(REFERENCE_SCRATCH_SIZE);
	v->memory = vmalloc_user(vref_memory);
	v->bounce = kvmalloc(VREF_BOUNCE_SIZE, GFP_KERNEL);
	v->dirty = kvzalloc(REFERENCE_BITMAP_BYTES(vref_memory), GFP_KERNEL);
	v->fresh = kvzalloc(REFERENCE_BITMAP_BYTES(vref_memory), GFP_KERNEL);
	v->vectors = kvcalloc(vref_vectors, sizeof(*v->vectors), GFP_KERNEL);
	if (!v->scratch || !v->memory || !v->bounce || !v->dirty || !v->fresh || !v->vectors)
		goto err_free;
	memory = (struct reference_memory){
		.scratch = v->scratch,
		.memory = v->memory,
		.dirty = (void *)v->dirty,
		.fresh = (void *)v->fresh,
		.bounce = v->bounce,
		.bounce_size = VREF_BOUNCE_SIZE,
	};
	ret = reference_init(&v->model, &env, &geometry, &memory,
			     vref_migration ?: VFIO_MIGRATION_STOP_COPY);
	if (ret)
		goto err_free;

	/* What is set here is set before registration, and stays. */
	if (vref_migration) {
		vdev->migration_flags = vref_migration;
		vdev->mig_ops = &vref_migration_ops;
	}
	vdev->log_ops = &vref_log_ops;
	return 0;

err_free:
	vfree(v->scratch);
	vfree(v->memory);
	kvfree(v->bounce);
	kvfree(v->dirty);
	kvfree(v->fresh);
	kvfree(v->vectors);
	return ret;
}

/* After the last reference, which a migration stream may have held longer than anybody. */
static void vref_release_device(struct vfio_device *vdev)
{
	struct vref_device *v = to_vref(vdev);

	WARN_ON(!xa_empty(&v->pasids) || v->pin.page || v->stream || v->log_bitmap);
	vfree(v->scratch);
	vfree(v->memory);
	kvfree(v->bounce);
	kvfree(v->dirty);
	kvfree(v->fresh);
	kvfree(v->vectors);
}

int vref_reset(struct vref_device *v)
{
	int ret;

	vref_quiesce(v);
	vref_tell_mapped(v);
	ret = reference_reset(&v->model);
	if (!ret)
		vref_act(v, REFERENCE_EFFECT_RESET);
	vref_resume(v);
	return ret;
}

static int vref_open_device(struct vfio_device *vdev)
{
	struct vref_device *v = to_vref(vdev);
	int ret = 0;

	vref_set_enter(v);
	scoped_guard(mutex, &v->lock)
	{
		/* Says so as i915's vGPU does (kvmgt.c), which follows guest pages through KVM. */
		if (v->needs_kvm && !vdev->kvm) {
			ret = -ESRCH;
			break;
		}
		v->closing = false;
		v->opened_with_kvm = vdev->kvm;
		v->opens++;
	}
	/* As vfio-pci does: whatever the last user left is gone. */
	ret = ret ?: vref_reset(v);
	vref_set_leave(v);
	return ret;
}

static void vref_close_device(struct vfio_device *vdev)
{
	struct vref_device *v = to_vref(vdev);

	vref_set_enter(v);
	vref_ioeventfds_off(v);
	vref_irqs_off(v);
	vref_quiesce(v);
	v->closing = true;
	vref_log_off(v);
	vref_tell_mapped(v);
	/* Forgets the request and ends the session: its descriptor may live on. */
	reference_reset(&v->model);
	vref_act(v, REFERENCE_EFFECT_RESET);
	vref_resume(v);
	/* The engine looks at the model once more, if it was kicked, and finds nothing. */
	cancel_work_sync(&v->engine);
	vref_set_leave(v);
}

static long vref_get_info(struct vfio_device_info __user *arg)
{
	size_t minsz = offsetofend(struct vfio_device_info, num_irqs);
	struct vfio_device_info info = {};

	if (copy_from_user(&info, arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;
	info.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
	info.num_regions = VFIO_PCI_NUM_REGIONS;
	info.num_irqs = VFIO_PCI_NUM_IRQS;
	minsz = min_t(size_t, info.argsz, sizeof(info));
	return copy_to_user(arg, &info, minsz) ? -EFAULT : 0;
}

static long vref_ioctl(struct vfio_device *vdev, unsigned int command, unsigned long arg)
{
	struct vref_device *v = to_vref(vdev);

	switch (command) {
	case VFIO_DEVICE_GET_INFO:
		return vref_get_info((void __user *)arg);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return vref_get_irq_info(v, (void __user *)arg);
	case VFIO_DEVICE_SET_IRQS:
		return vref_set_irqs(v, (void __user *)arg);
	case VFIO_DEVICE_IOEVENTFD:
		return vref_ioeventfd(v, (void __user *)arg);
	case VFIO_DEVICE_RESET:
		return vref_reset(v);
	case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
		return v->physical ? vref_hot_reset_info(v, (void __user *)arg) : -ENOTTY;
	case VFIO_DEVICE_PCI_HOT_RESET:
		return v->physical ? vref_hot_reset(v, (void __user *)arg) : -ENOTTY;
	default:
		return -ENOTTY;
	}
}

static void vref_request(struct vfio_device *vdev, unsigned int count)
{
	struct vref_device *v = to_vref(vdev);

	guard(mutex)(&v->lock);
	v->requests = count + 1;
	vref_signal_request(v);
}

/* Of the cdev: who gives no token has @uuid NULL. */
static int vref_match_token_uuid(struct vfio_device *vdev, const uuid_t *uuid)
{
	struct vref_device *v = to_vref(vdev);

	guard(mutex)(&v->lock);
	if (!v->has_token)
		return uuid ? -EINVAL : 0;
	return uuid && uuid_equal(uuid, &v->token) ? 0 : -EACCES;
}

/* Of the legacy group: "NAME" or "NAME vf_token=UUID". */
static int vref_match(struct vfio_device *vdev, char *buffer)
{
	static const char key[] = " vf_token=";
	const char *name = dev_name(vdev->dev);
	size_t length = strlen(name);
	uuid_t uuid, *given = NULL;
	int ret;

	if (strncmp(buffer, name, length))
		return 0;
	buffer += length;
	/* Another device whose name only begins the same. */
	if (*buffer && *buffer != ' ')
		return 0;
	if (*buffer) {
		if (strncmp(buffer, key, strlen(key)))
			return -EINVAL;
		buffer += strlen(key);
		if (uuid_parse(buffer, &uuid) || buffer[UUID_STRING_LEN])
			return -EINVAL;
		given = &uuid;
	}
	ret = vref_match_token_uuid(vdev, given);
	return ret ?: 1;
}

static int vref_device_feature(struct vfio_device *vdev, u32 flags, void __user *arg, size_t argsz)
{
	/* Those of migration and logging are the core's; a platform device has no power states. */
	return -ENOTTY;
}

/* ---- the physical kind: all is the core's, the model only hears of it ---------------------------- */

static void vref_tell_translation(struct vref_device *v, bool pasid)
{
	guard(mutex)(&v->lock);
	reference_set_translation(&v->model, pasid, v->physical, v->physical);
}

static int vref_physical_pasid_attach(struct vfio_device *vdev, u32 pasid, u32 *pt_id)
{
	int ret = vfio_iommufd_physical_pasid_attach_ioas(vdev, pasid, pt_id);

	if (!ret)
		vref_tell_translation(to_vref(vdev), true);
	return ret;
}

static void vref_physical_pasid_detach(struct vfio_device *vdev, u32 pasid)
{
	vfio_iommufd_physical_pasid_detach_ioas(vdev, pasid);
	vref_tell_translation(to_vref(vdev), !ida_is_empty(&vdev->pasids));
}

static void vref_physical_unbind(struct vfio_device *vdev)
{
	vfio_iommufd_physical_unbind(vdev);
	vref_tell_translation(to_vref(vdev), false);
}

static const struct vfio_device_ops vref_physical_ops = {
	.name = VREF_NAME_PHYSICAL,
	.init = vref_init_device,
	.release = vref_release_device,
	.bind_iommufd = vfio_iommufd_physical_bind,
	.unbind_iommufd = vref_physical_unbind,
	.attach_ioas = vfio_iommufd_physical_attach_ioas,
	.detach_ioas = vfio_iommufd_physical_detach_ioas,
	.pasid_attach_ioas = vref_physical_pasid_attach,
	.pasid_detach_ioas = vref_physical_pasid_detach,
	.open_device = vref_open_device,
	.close_device = vref_close_device,
	.read = vref_read,
	.write = vref_write,
	.ioctl = vref_ioctl,
	.get_region_info_caps = vref_get_region_info_caps,
	.mmap = vref_mmap,
	.request = vref_request,
	.match = vref_match,
	.match_token_uuid = vref_match_token_uuid,
	.device_feature = vref_device_feature,
};

static const struct vfio_device_ops vref_emulated_ops = {
	.name = VREF_NAME_EMULATED,
	.init = vref_init_device,
	.release = vref_release_device,
	.bind_iommufd = vref_emulated_bind,
	.unbind_iommufd = vref_emulated_unbind,
	.attach_ioas = vref_emulated_attach,
	.detach_ioas = vfio_iommufd_emulated_detach_ioas,
	.pasid_attach_ioas = vref_emulated_pasid_attach,
	.pasid_detach_ioas = vref_emulated_pasid_detach,
	.open_device = vref_open_device,
	.close_device = vref_close_device,
	.read = vref_read,
	.write = vref_write,
	.ioctl = vref_ioctl,
	.get_region_info_caps = vref_get_region_info_caps,
	.mmap = vref_mmap,
	.request = vref_request,
	.match = vref_match,
	.match_token_uuid = vref_match_token_uuid,
	.dma_unmap = vref_emulated_dma_unmap,
	.device_feature = vref_device_feature,
};

int vref_register(struct platform_device *pdev, bool physical)
{
	struct vref_device *v;
	int ret;

	v = vfio_alloc_device(vref_device, vdev, &pdev->dev,
			      physical ? &vref_physical_ops : &vref_emulated_ops);
	if (IS_ERR(v))
		return PTR_ERR(v);
	v->pdev = pdev;
	v->physical = physical;
	platform_set_drvdata(pdev, v);
	ret = vref_set_join(v);
	if (ret)
		goto err_put;
	ret = sysfs_create_groups(&pdev->dev.kobj, vref_groups);
	if (ret)
		goto err_put;
	ret = physical ? vfio_register_group_dev(&v->vdev)
		       : vfio_register_emulated_iommu_dev(&v->vdev);
	if (ret)
		goto err_groups;
	return 0;

err_groups:
	sysfs_remove_groups(&pdev->dev.kobj, vref_groups);
err_put:
	vfio_put_device(&v->vdev);
	return ret;
}

void vref_unregister(struct platform_device *pdev)
{
	struct vref_device *v = platform_get_drvdata(pdev);

	/* Waits for whoever has it open, and lets the attributes be looked at meanwhile. */
	vfio_unregister_group_dev(&v->vdev);
	sysfs_remove_groups(&pdev->dev.kobj, vref_groups);
	vfio_put_device(&v->vdev);
}
