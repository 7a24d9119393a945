/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of the fake kernel: iommufd and VFIO device nodes. */
#include <errno.h>
#include <string.h>
#include <linux/iommufd.h>
#include <linux/vfio.h>

#include "tests/unit/fake_kernel.h"

const char *fake_kernel_ioctl_name(unsigned long request)
{
	switch (request) {
	case IOMMU_DESTROY:
		return "DESTROY";
	case IOMMU_IOAS_ALLOC:
		return "IOAS_ALLOC";
	case IOMMU_IOAS_MAP:
		return "MAP";
	case IOMMU_IOAS_MAP_FILE:
		return "MAP_FILE";
	case IOMMU_IOAS_UNMAP:
		return "UNMAP";
	case IOMMU_IOAS_IOVA_RANGES:
		return "RANGES";
	case IOMMU_OPTION:
		return "OPTION";
	case IOMMU_HWPT_ALLOC:
		return "HWPT_ALLOC";
	case IOMMU_GET_HW_INFO:
		return "HW_INFO";
	case VFIO_DEVICE_BIND_IOMMUFD:
		return "BIND";
	case VFIO_DEVICE_ATTACH_IOMMUFD_PT:
		return "ATTACH";
	case VFIO_DEVICE_DETACH_IOMMUFD_PT:
		return "DETACH";
	case VFIO_DEVICE_GET_IRQ_INFO:
		return "IRQ_INFO";
	case VFIO_DEVICE_SET_IRQS:
		return "SET_IRQS";
	case VFIO_DEVICE_GET_REGION_INFO:
		return "REGION_INFO";
	case VFIO_DEVICE_FEATURE:
		return "FEATURE";
	case VFIO_DEVICE_RESET:
		return "RESET";
	case VFIO_MIG_GET_PRECOPY_INFO:
		return "PRECOPY_INFO";
	default:
		return "?";
	}
}

/* ---- objects ---- */

static struct fake_object *object(struct fake_kernel *fk, uint32_t id)
{
	return id && id <= FAKE_OBJECTS && fk->objects[id - 1].kind != FAKE_NONE
		       ? &fk->objects[id - 1]
		       : NULL;
}

static uint32_t new_object(struct fake_kernel *fk, enum fake_object_kind kind, int owner)
{
	for (uint32_t i = 0; i < FAKE_OBJECTS; i++) {
		if (fk->objects[i].kind != FAKE_NONE)
			continue;
		fk->objects[i] = (struct fake_object){.kind = kind, .owner = owner};
		return i + 1;
	}
	return 0;
}

/* The IOAS that @id is, or stands on. */
static uint32_t ioas_of(struct fake_kernel *fk, uint32_t id)
{
	const struct fake_object *o = object(fk, id);

	return !o ? 0 : o->kind == FAKE_HWPT ? o->ioas : id;
}

static bool in_use(struct fake_kernel *fk, uint32_t id)
{
	for (unsigned i = 0; i < fk->device_count; i++) {
		const struct fake_kernel_device *d = &fk->devices[i];

		if (d->attached == id || (d->attached && ioas_of(fk, d->attached) == id))
			return true;
		for (int k = 0; k < FAKE_PASIDS; k++) {
			const uint32_t table = d->pasids[k].attached;

			if (table == id || (table && ioas_of(fk, table) == id))
				return true;
		}
	}
	for (uint32_t i = 0; i < FAKE_OBJECTS; i++) {
		if (fk->objects[i].kind == FAKE_HWPT && fk->objects[i].ioas == id)
			return true;
	}
	return false;
}

static void drop_maps(struct fake_kernel *fk, uint32_t ioas)
{
	for (int i = 0; i < FAKE_MAPS; i++) {
		if (fk->maps[i].ioas == ioas)
			fk->maps[i].used = false;
	}
}

static int destroy(struct fake_kernel *fk, const struct iommu_destroy *arg)
{
	struct fake_object *o = object(fk, arg->id);

	if (!o)
		return -ENOENT;
	if (o->kind == FAKE_DEVICE || in_use(fk, arg->id))
		return -EBUSY;
	if (o->kind == FAKE_IOAS)
		drop_maps(fk, arg->id);
	o->kind = FAKE_NONE;
	return 0;
}

static int hwpt_alloc(struct fake_kernel *fk, int owner, struct iommu_hwpt_alloc *arg)
{
	const uint32_t dirty = IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
	struct fake_kernel_device *device = NULL;
	struct fake_object *o;

	for (unsigned i = 0; i < fk->device_count; i++) {
		if (fk->devices[i].owner >= 0 && fk->devices[i].devid == arg->dev_id)
			device = &fk->devices[i];
	}
	if (!device || !object(fk, arg->pt_id) || object(fk, arg->pt_id)->kind != FAKE_IOAS)
		return -ENOENT;
	if (((arg->flags & dirty) && !(device->capabilities & IOMMU_HW_CAP_DIRTY_TRACKING)) ||
	    ((arg->flags & dirty) && (arg->flags & IOMMU_HWPT_ALLOC_PASID) && fk->no_combined_hwpt))
		return -EOPNOTSUPP;
	arg->out_hwpt_id = new_object(fk, FAKE_HWPT, owner);
	o = object(fk, arg->out_hwpt_id);
	o->ioas = arg->pt_id;
	o->flags = arg->flags;
	o->iommu = device->iommu;
	return 0;
}

/* ---- maps ---- */

static bool reserved(struct fake_kernel *fk, uint32_t ioas, uint64_t iova, uint64_t length)
{
	for (unsigned i = 0; i < fk->device_count; i++) {
		const struct fake_kernel_device *d = &fk->devices[i];

		if (d->attached && d->reserves && ioas_of(fk, d->attached) == ioas &&
		    iova <= d->reserved.last && iova + length - 1 >= d->reserved.first)
			return true;
	}
	return false;
}

static int map(struct fake_kernel *fk, uint32_t ioas, uint64_t iova, uint64_t length, bool by_file)
{
	struct fake_map *free_map = NULL;
	uint64_t total = length;

	if (!object(fk, ioas) || object(fk, ioas)->kind != FAKE_IOAS)
		return -ENOENT;
	if (reserved(fk, ioas, iova, length))
		return -EINVAL;
	for (int i = 0; i < FAKE_MAPS; i++) {
		struct fake_map *m = &fk->maps[i];

		if (!m->used) {
			free_map = free_map ? free_map : m;
			continue;
		}
		total += m->length;
		if (m->ioas == ioas && iova < m->iova + m->length && m->iova < iova + length)
			return -EEXIST;
	}
	if (total > fk->memlock)
		return -ENOMEM;
	*free_map = (struct fake_map){true, ioas, iova, length, by_file};
	return 0;
}

static int unmap(struct fake_kernel *fk, struct iommu_ioas_unmap *arg)
{
	for (int i = 0; i < FAKE_MAPS; i++) {
		struct fake_map *m = &fk->maps[i];

		if (m->used && m->ioas == arg->ioas_id && m->iova == arg->iova &&
		    m->length == arg->length) {
			m->used = false;
			return 0;
		}
	}
	return -ENOENT;
}

static int iova_ranges(struct fake_kernel *fk, struct iommu_ioas_iova_ranges *arg)
{
	struct iommu_iova_range *out = (void *)(uintptr_t)arg->allowed_iovas;
	uint32_t count = 0;
	uint64_t next = 0;

	if (!object(fk, arg->ioas_id))
		return -ENOENT;
	/* Of all devices the same window, or windows in rising order: enough for the tests. */
	for (unsigned i = 0; i < fk->device_count; i++) {
		const struct fake_kernel_device *d = &fk->devices[i];

		if (!d->attached || !d->reserves || ioas_of(fk, d->attached) != arg->ioas_id ||
		    d->reserved.first < next)
			continue;
		if (count < arg->num_iovas)
			out[count] = (struct iommu_iova_range){next, d->reserved.first - 1};
		count++;
		next = d->reserved.last + 1;
	}
	if (count < arg->num_iovas)
		out[count] = (struct iommu_iova_range){next, UINT64_MAX};
	count++;
	if (count > arg->num_iovas) {
		arg->num_iovas = count;
		return -EMSGSIZE;
	}
	arg->num_iovas = count;
	arg->out_iova_alignment = 4096;
	return 0;
}

static int hw_info(struct fake_kernel *fk, struct iommu_hw_info *arg)
{
	if (fk->no_hw_info)
		return -ENOTTY;
	for (unsigned i = 0; i < fk->device_count; i++) {
		const struct fake_kernel_device *d = &fk->devices[i];

		if (d->owner < 0 || d->devid != arg->dev_id || d->emulated)
			continue;
		if (d->noiommu)
			return -EOPNOTSUPP;
		arg->out_capabilities = d->capabilities;
		arg->out_max_pasid_log2 = (uint8_t)d->pasid_log2;
		return 0;
	}
	return -ENOENT;
}

static int iommufd_ioctl(struct fake_kernel *fk, int fd, unsigned long request, void *arg)
{
	switch (request) {
	case IOMMU_IOAS_ALLOC:
		((struct iommu_ioas_alloc *)arg)->out_ioas_id = new_object(fk, FAKE_IOAS, fd);
		return 0;
	case IOMMU_DESTROY:
		return destroy(fk, arg);
	case IOMMU_HWPT_ALLOC:
		return hwpt_alloc(fk, fd, arg);
	case IOMMU_IOAS_MAP: {
		const struct iommu_ioas_map *m = arg;

		return map(fk, m->ioas_id, m->iova, m->length, false);
	}
	case IOMMU_IOAS_MAP_FILE: {
		const struct iommu_ioas_map_file *m = arg;

		return fk->no_map_file ? -ENOTTY : map(fk, m->ioas_id, m->iova, m->length, true);
	}
	case IOMMU_IOAS_UNMAP:
		return unmap(fk, arg);
	case IOMMU_IOAS_IOVA_RANGES:
		return iova_ranges(fk, arg);
	case IOMMU_OPTION: {
		const struct iommu_option *option = arg;

		if (!object(fk, option->object_id))
			return -ENOENT;
		object(fk, option->object_id)->small_pages = !option->val64;
		return 0;
	}
	case IOMMU_GET_HW_INFO:
		return hw_info(fk, arg);
	default:
		return -ENOTTY;
	}
}

/* ---- device nodes ---- */

static bool group_taken(struct fake_kernel *fk, const struct fake_kernel_device *device,
			int iommufd)
{
	for (unsigned i = 0; i < fk->device_count; i++) {
		if (fk->devices[i].group == device->group && fk->devices[i].owner >= 0 &&
		    fk->devices[i].owner != iommufd)
			return true;
	}
	return false;
}

static int bind_device(struct fake_kernel *fk, struct fake_file *file,
		       struct vfio_device_bind_iommufd *arg)
{
	struct fake_kernel_device *d = file->device;
	const struct fake_file *iommufd = fake_kernel_file(fk, arg->iommufd);
	const bool token = arg->flags & VFIO_DEVICE_BIND_FLAG_TOKEN;

	if (arg->argsz < 16 || arg->iommufd < 0 || d->owner >= 0)
		return -EINVAL;
	if (fk->legacy_group[0])
		return -EBUSY;
	if (!d->token_needed && token)
		return -EINVAL;
	if (d->token_needed &&
	    (!token || memcmp(d->token, (void *)(uintptr_t)arg->token_uuid_ptr, 16)))
		return -EACCES;
	if (!iommufd)
		return -EBADF;
	if (iommufd->kind != FAKE_IOMMUFD)
		return -EBADFD;
	if (!fk->allow_unsafe || group_taken(fk, d, arg->iommufd))
		return -EPERM;
	if (d->kvm_needed && !file->kvm)
		return -ESRCH;
	d->owner = arg->iommufd;
	d->devid = new_object(fk, FAKE_DEVICE, arg->iommufd);
	d->kvm_at_bind = file->kvm;
	d->binds++;
	arg->out_devid = d->devid;
	return 0;
}

static bool for_pasids(struct fake_kernel *fk, uint32_t id)
{
	const struct fake_object *o = object(fk, id);

	return o && o->kind == FAKE_HWPT && (o->flags & IOMMU_HWPT_ALLOC_PASID);
}

/* The rules of iommufd_hwpt_pasid_compat(). */
static int attach_pasid(struct fake_kernel *fk, struct fake_kernel_device *d,
			const struct vfio_device_attach_iommufd_pt *arg)
{
	int place = -1;

	if (d->no_pasid_ops)
		return -EOPNOTSUPP;
	if (!object(fk, arg->pt_id))
		return -ENOENT;
	if (fk->attach_error && !fk->attach_passes--) {
		const int rc = -fk->attach_error;

		fk->attach_error = 0;
		fk->attach_passes = 0;
		return rc;
	}
	if (!d->emulated && (arg->pasid >= 1u << d->pasid_log2 || !for_pasids(fk, arg->pt_id) ||
			     (d->attached && !for_pasids(fk, d->attached))))
		return -EINVAL;
	/* Its own place, else the first that is free. */
	for (int i = FAKE_PASIDS; i--;) {
		if (!d->pasids[i].attached)
			place = i;
	}
	for (int i = 0; i < FAKE_PASIDS; i++) {
		if (d->pasids[i].attached && d->pasids[i].pasid == arg->pasid)
			place = i;
	}
	if (place < 0)
		return -ENOSPC;
	d->pasids[place].pasid = arg->pasid;
	d->pasids[place].attached = arg->pt_id;
	return 0;
}

static int detach(struct fake_kernel_device *d, const struct vfio_device_detach_iommufd_pt *arg)
{
	if (!(arg->flags & VFIO_DEVICE_DETACH_PASID)) {
		d->attached = 0;
		d->reserves = false;
		d->detaches++;
		return 0;
	}
	for (int i = 0; i < FAKE_PASIDS; i++) {
		if (d->pasids[i].pasid == arg->pasid)
			d->pasids[i].attached = 0;
	}
	return 0;
}

static int attach(struct fake_kernel *fk, struct fake_kernel_device *d,
		  struct vfio_device_attach_iommufd_pt *arg)
{
	const struct fake_object *o = object(fk, arg->pt_id);
	const uint32_t ioas = ioas_of(fk, arg->pt_id);
	int rc = 0;

	if (arg->flags & VFIO_DEVICE_ATTACH_PASID)
		return attach_pasid(fk, d, arg);
	if (!o)
		return -ENOENT;
	if (d->emulated && o->kind != FAKE_IOAS)
		return -ENOENT;
	for (int i = 0; i < FAKE_PASIDS; i++) {
		if (!d->emulated && d->pasids[i].attached && !for_pasids(fk, arg->pt_id))
			rc = -EINVAL;
	}
	if (o->kind == FAKE_HWPT && o->iommu != d->iommu)
		rc = -EINVAL;
	if (!rc && fk->attach_error && !fk->attach_passes--) {
		rc = -fk->attach_error;
		fk->attach_error = 0;
		fk->attach_passes = 0;
	}
	for (int i = 0; !rc && i < FAKE_MAPS; i++) {
		if (fk->maps[i].used && fk->maps[i].ioas == ioas &&
		    fk->maps[i].iova <= d->reserved.last &&
		    fk->maps[i].iova + fk->maps[i].length - 1 >= d->reserved.first)
			rc = -EADDRINUSE;
	}
	if (rc) {
		/* A failed replacement in the same IOAS drops what the device reserves. */
		if (d->attached && ioas_of(fk, d->attached) == ioas)
			d->reserves = false;
		return rc;
	}
	if (!d->attached || ioas_of(fk, d->attached) != ioas)
		d->reserves = true;
	d->attached = arg->pt_id;
	return 0;
}

static int region_info(struct vfio_region_info *info)
{
	/* Sparse areas behind MSIX_MAPPABLE: 16 + 48 bytes. */
	struct {
		struct vfio_info_cap_header msix;
		uint32_t pad[2];
		struct vfio_info_cap_header sparse;
		uint32_t nr_areas, reserved;
		struct vfio_region_sparse_mmap_area areas[10];
	} caps = {
		.msix = {.id = VFIO_REGION_INFO_CAP_MSIX_MAPPABLE,
			 .version = 1,
			 .next = sizeof(*info) + 16},
		.sparse = {.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1},
		.nr_areas = 10,
		.areas = {{.offset = 0x1000, .size = 0x2000}},
	};

	if (info->argsz < sizeof(*info) || info->index > 8)
		return -EINVAL;
	info->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	info->size = info->index == VFIO_PCI_CONFIG_REGION_INDEX ? 0x1000
		     : info->index                               ? 0x100
								 : 0x4000;
	info->offset = (uint64_t)info->index << 40;
	info->cap_offset = 0;
	if (info->index)
		return 0;
	info->flags |= VFIO_REGION_INFO_FLAG_CAPS | VFIO_REGION_INFO_FLAG_MMAP;
	if (info->argsz < sizeof(*info) + sizeof(caps)) {
		info->argsz = sizeof(*info) + sizeof(caps);
	} else {
		info->cap_offset = sizeof(*info);
		memcpy(info + 1, &caps, sizeof(caps));
	}
	return 0;
}

static int feature(const struct fake_kernel_device *d, struct vfio_device_feature *arg)
{
	switch (arg->flags & VFIO_DEVICE_FEATURE_MASK) {
	case VFIO_DEVICE_FEATURE_MIGRATION:
		if (!d->migration)
			return -ENOTTY;
		memcpy(arg->data, &d->migration, sizeof(d->migration));
		return 0;
	case VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: {
		struct vfio_device_feature_mig_state state = {
			.device_state = VFIO_DEVICE_STATE_STOP_COPY, .data_fd = FAKE_SESSION};

		memcpy(arg->data, &state, sizeof(state));
		return 0;
	}
	case VFIO_DEVICE_FEATURE_MIG_DATA_SIZE:
		return d->migration ? 0 : -ENOTTY;
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_START:
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP:
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT:
		return d->logs ? 0 : -ENOTTY;
	default:
		return -ENOTTY;
	}
}

static int set_irqs(struct fake_kernel_device *d, const struct vfio_irq_set *set)
{
	int32_t fd;

	if (set->argsz < sizeof(*set) + sizeof(fd) || set->index >= 5 || set->count != 1)
		return -EINVAL;
	memcpy(&fd, set->data, sizeof(fd));
	d->triggers[set->index] = fd;
	return 0;
}

static int node_ioctl(struct fake_kernel *fk, struct fake_file *file, unsigned long request,
		      void *arg)
{
	struct fake_kernel_device *d = file->device;

	if (request == VFIO_DEVICE_BIND_IOMMUFD)
		return bind_device(fk, file, arg);
	if (d->owner < 0)
		return -EINVAL;
	switch (request) {
	case VFIO_DEVICE_ATTACH_IOMMUFD_PT:
		return attach(fk, d, arg);
	case VFIO_DEVICE_DETACH_IOMMUFD_PT:
		return detach(d, arg);
	case VFIO_DEVICE_GET_IRQ_INFO: {
		struct vfio_irq_info *info = arg;
		const bool there = info->index == VFIO_PCI_ERR_IRQ_INDEX ? d->has_err : d->has_req;

		if (info->index < VFIO_PCI_ERR_IRQ_INDEX || !there)
			return -EINVAL;
		info->flags = VFIO_IRQ_INFO_EVENTFD;
		info->count = 1;
		return 0;
	}
	case VFIO_DEVICE_SET_IRQS:
		return set_irqs(d, arg);
	case VFIO_DEVICE_GET_REGION_INFO:
		return region_info(arg);
	case VFIO_DEVICE_FEATURE:
		return feature(d, arg);
	case VFIO_DEVICE_RESET:
		return 0;
	default:
		return -ENOTTY;
	}
}

int fake_kernel_ioctl(struct fake_kernel *fk, struct fake_file *file, unsigned long request,
		      void *arg)
{
	switch (file->kind) {
	case FAKE_IOMMUFD:
		return iommufd_ioctl(fk, file->fd, request, arg);
	case FAKE_NODE:
		return node_ioctl(fk, file, request, arg);
	default:
		return -ENOTTY;
	}
}

/* The last reference to a file is gone. */
void fake_kernel_release(struct fake_kernel *fk, struct fake_file *file)
{
	struct fake_kernel_device *d = file->device;

	if (file->kind == FAKE_NODE && d->owner >= 0) {
		if (object(fk, d->devid))
			object(fk, d->devid)->kind = FAKE_NONE;
		d->owner = -1;
		d->attached = 0;
		d->reserves = false;
		memset(d->pasids, 0, sizeof(d->pasids));
		for (int i = 0; i < 5; i++)
			d->triggers[i] = -1;
	}
	if (file->kind == FAKE_IOMMUFD) {
		for (uint32_t i = 0; i < FAKE_OBJECTS; i++) {
			if (fk->objects[i].kind == FAKE_NONE || fk->objects[i].owner != file->fd)
				continue;
			drop_maps(fk, i + 1);
			fk->objects[i].kind = FAKE_NONE;
		}
	}
	file->kind = FAKE_FREE;
}
