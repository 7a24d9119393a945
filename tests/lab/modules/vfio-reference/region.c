// SPDX-License-Identifier: GPL-2.0-only
/* Regions: access by read and write, mappings of BARs and how they are taken away. */
#include <linux/mm.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "vfio_reference.h"

/* Accesses go through a buffer on the stack, in pieces that keep their alignment. */
#define VREF_PIECE 256

/*
 * Take away the mappings of all BARs. Whoever touches one next comes to vref_fault(); a vCPU inside
 * of a memory slot over it, too.
 */
static void vref_revoke(struct vref_device *v)
{
	unmap_mapping_range(v->vdev.inode->i_mapping, 0,
			    (loff_t)VFIO_PCI_ROM_REGION_INDEX << VREF_REGION_SHIFT, true);
}

void vref_act(struct vref_device *v, u32 effects)
{
	bool decodes = reference_decodes(&v->model);

	lockdep_assert_held(&v->lock);
	if (decodes != v->decodes || effects & (REFERENCE_EFFECT_DECODE | REFERENCE_EFFECT_RESET)) {
		scoped_guard(rwsem_write, &v->memory_lock) v->decodes = decodes;
		/* A fault after the flag was set finds it, one before it has been zapped. */
		if (!decodes || effects & (REFERENCE_EFFECT_DECODE | REFERENCE_EFFECT_RESET))
			vref_revoke(v);
	}
	if (effects & REFERENCE_EFFECT_RESET)
		vref_stream_end(v);
	if (effects & REFERENCE_EFFECT_REMOVED)
		vref_signal_error(v);
	if (effects & REFERENCE_EFFECT_KICK && !v->closing)
		queue_work(vref_workqueue, &v->engine);
	/* What was written may be there to be read now. */
	if (v->stream)
		wake_up_all(&v->stream_wait);
}

void vref_tell_mapped(struct vref_device *v)
{
	lockdep_assert_held(&v->lock);
	if (atomic_xchg(&v->was_mapped, 0))
		reference_set_mapped(&v->model, true);
	reference_set_mapped(&v->model, atomic_read(&v->mappings) > 0);
}

ssize_t vref_read(struct vfio_device *vdev, char __user *buffer, size_t count, loff_t *pos)
{
	struct vref_device *v = to_vref(vdev);
	u32 index = *pos >> VREF_REGION_SHIFT;
	u64 offset = *pos & VREF_REGION_MASK;
	u8 piece[VREF_PIECE];
	ssize_t done = 0, ret;

	ret = reference_clip(&v->model, index, &count, offset);
	if (ret)
		return ret;
	while (count) {
		size_t part = min_t(size_t, count, VREF_PIECE - offset % VREF_PIECE);

		scoped_guard(mutex, &v->lock) ret =
			reference_read(&v->model, index, piece, part, offset);
		if (ret > 0 && copy_to_user(buffer + done, piece, ret))
			ret = -EFAULT;
		if (ret <= 0)
			return done ?: ret;
		done += ret;
		*pos += ret;
		offset += ret;
		count -= ret;
	}
	return done;
}

ssize_t vref_region_write(struct vref_device *v, u32 index, const void *data, size_t count,
			  u64 offset)
{
	u32 effects = 0;
	ssize_t ret;

	scoped_guard(mutex, &v->lock)
	{
		ret = reference_write(&v->model, index, data, count, offset, &effects);
		if (ret != -EAGAIN)
			vref_act(v, effects);
	}
	if (ret != -EAGAIN)
		return ret;

	/* It resets the device, and the engine is at work. */
	vref_quiesce(v);
	effects = 0;
	ret = reference_write(&v->model, index, data, count, offset, &effects);
	vref_act(v, effects);
	vref_resume(v);
	return ret;
}

ssize_t vref_write(struct vfio_device *vdev, const char __user *buffer, size_t count, loff_t *pos)
{
	struct vref_device *v = to_vref(vdev);
	u32 index = *pos >> VREF_REGION_SHIFT;
	u64 offset = *pos & VREF_REGION_MASK;
	u8 piece[VREF_PIECE];
	ssize_t done = 0, ret;

	ret = reference_clip(&v->model, index, &count, offset);
	if (ret)
		return ret;
	while (count) {
		size_t part = min_t(size_t, count, VREF_PIECE - offset % VREF_PIECE);

		if (copy_from_user(piece, buffer + done, part))
			ret = -EFAULT;
		else
			ret = vref_region_write(v, index, piece, part, offset);
		if (ret <= 0)
			return done ?: ret;
		done += ret;
		*pos += ret;
		offset += ret;
		count -= ret;
	}
	return done;
}

int vref_get_region_info_caps(struct vfio_device *vdev, struct vfio_region_info *info,
			      struct vfio_info_cap *caps)
{
	struct {
		struct vfio_region_info_cap_sparse_mmap cap;
		struct vfio_region_sparse_mmap_area area;
	} sparse = {
		.cap.header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP,
		.cap.header.version = 1,
		.cap.nr_areas = 1,
		.area.offset = REFERENCE_SCRATCH_OFFSET,
		.area.size = REFERENCE_SCRATCH_SIZE,
	};

	/* There is no VGA, and no region of its own. */
	if (info->index >= VFIO_PCI_VGA_REGION_INDEX)
		return -EINVAL;
	info->offset = (u64)info->index << VREF_REGION_SHIFT;
	info->size = reference_region_size(&to_vref(vdev)->model, info->index);
	info->flags = 0;
	if (!info->size)
		return 0;
	info->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	switch (info->index) {
	case REFERENCE_BAR_REGISTERS:
		info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
		return vfio_info_add_capability(caps, &sparse.cap.header, sizeof(sparse));
	case REFERENCE_BAR_MEMORY:
		info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
		return 0;
	default:
		return 0;
	}
}

/* What is mapped at @offset of BAR @index, or NULL. */
static void *vref_mappable(struct vref_device *v, u32 index, u64 offset, u64 length)
{
	u64 begin = index == REFERENCE_BAR_REGISTERS ? REFERENCE_SCRATCH_OFFSET : 0;
	u64 end = reference_region_size(&v->model, index);

	if (index != REFERENCE_BAR_REGISTERS && index != REFERENCE_BAR_MEMORY)
		return NULL;
	if (offset < begin || offset > end || length > end - offset)
		return NULL;
	return (index == REFERENCE_BAR_REGISTERS ? v->scratch : v->memory) + (offset - begin);
}

static vm_fault_t vref_fault(struct vm_fault *vmf)
{
	struct vref_device *v = vmf->vma->vm_private_data;
	u64 at = (u64)vmf->pgoff << PAGE_SHIFT;
	void *page = vref_mappable(v, at >> VREF_REGION_SHIFT, at & VREF_REGION_MASK, PAGE_SIZE);

	/* BAR memory of hardware has no pages that could be counted; this has, and nobody may. */
	guard(rwsem_read)(&v->memory_lock);
	if (!page || !v->decodes)
		return VM_FAULT_SIGBUS;
	return vmf_insert_pfn(vmf->vma, vmf->address, vmalloc_to_pfn(page));
}

static void vref_vm_open(struct vm_area_struct *vma)
{
	struct vref_device *v = vma->vm_private_data;

	atomic_inc(&v->mappings);
	atomic_set(&v->was_mapped, 1);
}

static void vref_vm_close(struct vm_area_struct *vma)
{
	struct vref_device *v = vma->vm_private_data;

	atomic_dec(&v->mappings);
}

static const struct vm_operations_struct vref_vm_ops = {
	.open = vref_vm_open,
	.close = vref_vm_close,
	.fault = vref_fault,
};

int vref_mmap(struct vfio_device *vdev, struct vm_area_struct *vma)
{
	struct vref_device *v = to_vref(vdev);
	u64 at = (u64)vma->vm_pgoff << PAGE_SHIFT;

	/* A private copy of a device makes no sense. */
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (!vref_mappable(v, at >> VREF_REGION_SHIFT, at & VREF_REGION_MASK,
			   vma->vm_end - vma->vm_start))
		return -EINVAL;
	/* The file the area belongs to keeps the device open: it cannot outlive it. */
	vma->vm_private_data = v;
	vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_ops = &vref_vm_ops;
	vref_vm_open(vma);
	return 0;
}
