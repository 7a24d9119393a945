// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA of the emulated kind: through VFIO and iommufd, to which the device is a user of an address space
 * (struct iommufd_access), not something behind an IOMMU.
 *
 * VFIO has no PASIDs for this kind; here each one is an access of its own.
 *
 * As real mediated devices do, the device keeps memory pinned that it uses again and again: one page.
 * It is what .dma_unmap is for: an unmapping in user space goes no further until it is given back. Detach,
 * replace and close call it too, for all there is.
 */
#include <linux/highmem.h>
#include <linux/sched.h>

#include "vfio_reference.h"

/* ---- the pinned page, under pin.lock --------------------------------------------------------------- */

static void vref_unpin(struct vref_device *v)
{
	if (!v->pin.page)
		return;
	vfio_unpin_pages(&v->vdev, v->pin.iova, 1);
	v->pin.page = NULL;
}

/* The page of @iova, good for this access, or NULL: then it goes without. */
static struct page *vref_pin(struct vref_device *v, u64 iova, bool write)
{
	int prot = IOMMU_READ | (write ? IOMMU_WRITE : 0);

	iova &= PAGE_MASK;
	if (v->pin.page && v->pin.iova == iova && (v->pin.write || !write))
		return v->pin.page;
	vref_unpin(v);
	/* Fails for what is not mapped, not aligned, or not memory; an access without it tells which. */
	if (vfio_pin_pages(&v->vdev, iova, 1, prot, &v->pin.page) != 1) {
		v->pin.page = NULL;
		return NULL;
	}
	v->pin.iova = iova;
	v->pin.write = write;
	return v->pin.page;
}

void vref_emulated_dma_unmap(struct vfio_device *vdev, u64 iova, u64 length)
{
	struct vref_device *v = to_vref(vdev);

	guard(mutex)(&v->pin.lock);
	v->dma_unmaps++;
	/* Begins in the range, or the range in it; by differences, since the last page ends at 0. */
	if (v->pin.page && (v->pin.iova - iova < length || iova - v->pin.iova < PAGE_SIZE))
		vref_unpin(v);
}

/* ---- DMA -------------------------------------------------------------------------------------------- */

static int vref_rw_pinned(struct vref_device *v, u64 iova, void *data, size_t length, bool write)
{
	struct page *page;
	char *mapped;

	if (offset_in_page(iova) + length > PAGE_SIZE)
		return -EAGAIN;
	guard(mutex)(&v->pin.lock);
	page = vref_pin(v, iova, write);
	if (!page)
		return -EAGAIN;
	mapped = kmap_local_page(page) + offset_in_page(iova);
	if (write)
		memcpy(mapped, data, length);
	else
		memcpy(data, mapped, length);
	kunmap_local(mapped);
	return 0;
}

static int vref_rw_pasid(struct vref_device *v, u32 pasid, u64 iova, void *data, size_t length,
			 bool write)
{
	/* The engine is a kernel thread: iommufd has to take the user's memory on. */
	unsigned int flags = IOMMUFD_ACCESS_RW_KTHREAD | (write ? IOMMUFD_ACCESS_RW_WRITE : 0);
	struct iommufd_access *access;

	guard(rwsem_read)(&v->pasid_lock);
	access = xa_load(&v->pasids, pasid);
	if (!access)
		return -EFAULT;
	return iommufd_access_rw(access, iova, data, length, flags);
}

int vref_emulated_rw(struct vref_device *v, u32 pasid, u64 iova, void *data, size_t length,
		     bool write)
{
	int ret;

	if (pasid)
		return vref_rw_pasid(v, pasid, iova, data, length, write);
	ret = vref_rw_pinned(v, iova, data, length, write);
	if (ret == -EAGAIN)
		ret = vfio_dma_rw(&v->vdev, iova, data, length, write);
	return ret;
}

/* ---- bind, attach ------------------------------------------------------------------------------------ */

/* Nothing is pinned through a PASID. */
static void vref_pasid_unmap(void *data, unsigned long iova, unsigned long length)
{
}

static const struct iommufd_access_ops vref_pasid_ops = {
	.unmap = vref_pasid_unmap,
};

int vref_emulated_bind(struct vfio_device *vdev, struct iommufd_ctx *ictx, u32 *out_device_id)
{
	int ret = vfio_iommufd_emulated_bind(vdev, ictx, out_device_id);

	if (!ret)
		to_vref(vdev)->ictx = ictx;
	return ret;
}

void vref_emulated_unbind(struct vfio_device *vdev)
{
	struct vref_device *v = to_vref(vdev);
	unsigned long pasid;
	void *access;

	xa_for_each(&v->pasids, pasid, access)
		vref_emulated_pasid_detach(vdev, pasid);
	vfio_iommufd_emulated_unbind(vdev);
	v->ictx = NULL;
}

int vref_emulated_attach(struct vfio_device *vdev, u32 *pt_id)
{
	int error = READ_ONCE(to_vref(vdev)->fail_attach);

	return error ?: vfio_iommufd_emulated_attach_ioas(vdev, pt_id);
}

static void vref_tell_pasids(struct vref_device *v)
{
	guard(mutex)(&v->lock);
	reference_set_translation(&v->model, !xa_empty(&v->pasids), false, false);
}

int vref_emulated_pasid_attach(struct vfio_device *vdev, u32 pasid, u32 *pt_id)
{
	struct vref_device *v = to_vref(vdev);
	struct iommufd_access *access;
	u32 id;
	int ret;

	if (READ_ONCE(v->fail_attach))
		return READ_ONCE(v->fail_attach);
	if (!pasid || pasid >> REFERENCE_PASID_BITS)
		return -EINVAL;
	access = xa_load(&v->pasids, pasid);
	if (access)
		return iommufd_access_replace(access, *pt_id);

	access = iommufd_access_create(v->ictx, &vref_pasid_ops, v, &id);
	if (IS_ERR(access))
		return PTR_ERR(access);
	ret = iommufd_access_attach(access, *pt_id);
	if (!ret)
		ret = xa_err(xa_store(&v->pasids, pasid, access, GFP_KERNEL));
	if (ret)
		iommufd_access_destroy(access);
	else
		vref_tell_pasids(v);
	return ret;
}

void vref_emulated_pasid_detach(struct vfio_device *vdev, u32 pasid)
{
	struct vref_device *v = to_vref(vdev);
	struct iommufd_access *access;

	/* No DMA is on its way through it when it goes. */
	scoped_guard(rwsem_write, &v->pasid_lock) access = xa_erase(&v->pasids, pasid);
	if (!access)
		return;
	iommufd_access_destroy(access);
	vref_tell_pasids(v);
}
