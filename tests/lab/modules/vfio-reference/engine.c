// SPDX-License-Identifier: GPL-2.0-only
/*
 * The DMA engine's motor: it takes accesses from the model and does them, on a worker, since an access may
 * take long: behind the software IOMMU, until user space has answered a page request. A doorbell
 * that waited for it would keep the vCPU that rang it from giving the answer.
 */
#include "iommu.h"
#include "vfio_reference.h"

static int vref_access(struct vref_device *v, const struct reference_access *access)
{
	bool write = access->kind == REFERENCE_ACCESS_WRITE;

	/* To both kinds below, PASID 0 means none. */
	if (access->has_pasid && !access->pasid)
		return -EFAULT;
	if (v->physical)
		return vref_iommu_rw(&v->pdev->dev, access->pasid, access->iova, access->buffer,
				     access->length, write);
	return vref_emulated_rw(v, access->pasid, access->iova, access->buffer, access->length,
				write);
}

void vref_engine(struct work_struct *work)
{
	struct vref_device *v = container_of(work, struct vref_device, engine);
	struct reference_access access;
	int ret;

	mutex_lock(&v->lock);
	while (reference_next(&v->model, &access)) {
		if (access.kind == REFERENCE_ACCESS_NONE) {
			/* Inside of the device: let others at it now and then. */
			mutex_unlock(&v->lock);
			cond_resched();
			mutex_lock(&v->lock);
			continue;
		}
		WRITE_ONCE(v->busy, true);
		mutex_unlock(&v->lock);
		ret = vref_access(v, &access);
		mutex_lock(&v->lock);
		vref_act(v, reference_done(&v->model, ret) & ~REFERENCE_EFFECT_KICK);
		WRITE_ONCE(v->busy, false);
		wake_up_all(&v->idle);
	}
	mutex_unlock(&v->lock);
}

void vref_quiesce(struct vref_device *v)
{
	mutex_lock(&v->control);
	scoped_guard(mutex, &v->lock) reference_hold(&v->model);
	/* A page request is given up, and raised again when the engine goes on. */
	if (v->physical)
		vref_iommu_interrupt(&v->pdev->dev);
	/* Held, it begins no access: once this is false it stays so. */
	wait_event(v->idle, !READ_ONCE(v->busy));
	mutex_lock(&v->lock);
}

void vref_resume(struct vref_device *v)
{
	if (v->physical)
		vref_iommu_resume(&v->pdev->dev);
	reference_release(&v->model);
	if (!v->closing)
		queue_work(vref_workqueue, &v->engine);
	mutex_unlock(&v->lock);
	mutex_unlock(&v->control);
}
