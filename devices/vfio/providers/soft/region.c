// SPDX-License-Identifier: Apache-2.0
/* Regions: registers by the model, memory as two memfds that can be mapped and handed on. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/vfio/message.h"
#include "devices/vfio/providers/soft/soft.h"
#include "vmm/base/host.h"

static int memory_create(struct soft_device *sd, struct soft_memory *memory, uint64_t size,
			 const char *name)
{
	int rc;

	memory->size = size;
	memory->fd = host_memfd(name, size, HOST_PAGES_NORMAL);
	if (memory->fd < 0) {
		rc = memory->fd;
		goto failed;
	}
	memory->bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd, 0);
	if (memory->bytes != MAP_FAILED)
		return 0;
	rc = -errno;
	memory->bytes = NULL;
failed:
	return vfio_error(sd->vdev.dev, rc, "no memory of %llu bytes for the device: %s",
			  (unsigned long long)size, host_strerror(-rc));
}

static void memory_destroy(struct soft_memory *memory)
{
	if (memory->bytes)
		munmap(memory->bytes, memory->size);
	if (memory->fd >= 0)
		close(memory->fd);
}

void soft_memory_destroy(struct soft_device *sd)
{
	memory_destroy(&sd->bar0);
	memory_destroy(&sd->bar2);
}

/*
 * BAR0 as a whole, so that offsets in region and file agree; its registers take no memory. What was there before is the
 * device's no more, whoever has it mapped; on failure it stays.
 */
int soft_memory_create(struct soft_device *sd)
{
	struct soft_memory bar0 = {.fd = -1}, bar2 = {.fd = -1};
	int rc = memory_create(sd, &bar0, REFERENCE_BAR0_SIZE, "soft-bar0");

	if (rc == 0)
		rc = memory_create(sd, &bar2, sd->keys.memory, "soft-bar2");
	if (rc) {
		memory_destroy(&bar0);
		memory_destroy(&bar2);
		return rc;
	}
	soft_memory_destroy(sd);
	sd->bar0 = bar0;
	sd->bar2 = bar2;
	sd->model.mem.scratch = bar0.bytes + REFERENCE_SCRATCH_OFFSET;
	sd->model.mem.memory = bar2.bytes;
	return 0;
}

/* ---- access ------------------------------------------------------------------------------------- */

/*
 * vfio_pci_core_runtime_resume(): who asked to be told of it is told once, and has left the state by
 * that. The device of who did not sleeps again after the access.
 */
void soft_wake(struct soft_device *sd)
{
	if (sd->wakeup < 0)
		return;
	soft_signal(sd, sd->wakeup);
	close(sd->wakeup);
	sd->wakeup = -1;
	sd->low_power = false;
}

ssize_t soft_read(struct vfio_device *vdev, void *buffer, size_t count, uint64_t offset)
{
	struct soft_device *sd = soft_device(vdev);
	const uint64_t index = offset >> SOFT_OFFSET_SHIFT;
	ssize_t done;

	if (index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	soft_lock(sd);
	soft_wake(sd);
	soft_ring_take(sd);
	sd->reads++;
	done = reference_read(&sd->model, (uint32_t)index, buffer, count,
			      offset & (SOFT_OFFSET(1) - 1));
	soft_unlock(sd);
	return done;
}

ssize_t soft_write(struct vfio_device *vdev, const void *buffer, size_t count, uint64_t offset)
{
	struct soft_device *sd = soft_device(vdev);
	const uint64_t index = offset >> SOFT_OFFSET_SHIFT, at = offset & (SOFT_OFFSET(1) - 1);
	uint32_t effects;
	ssize_t done;

	if (index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	soft_lock(sd);
	soft_wake(sd);
	soft_ring_take(sd);
	sd->writes++;
	done = reference_write(&sd->model, (uint32_t)index, buffer, count, at, &effects);
	if (done == -EAGAIN) {
		soft_quiesce(sd);
		done = reference_write(&sd->model, (uint32_t)index, buffer, count, at, &effects);
		soft_resume(sd);
	}
	soft_effects(sd, effects);
	soft_session_poll(sd);
	soft_unlock(sd);
	return done;
}

/* ---- what there is ------------------------------------------------------------------------------ */

static int add_sparse(struct vfio_info_cap *caps)
{
	union {
		struct vfio_region_info_cap_sparse_mmap cap;
		uint8_t bytes[sizeof(struct vfio_region_info_cap_sparse_mmap) +
			      sizeof(struct vfio_region_sparse_mmap_area)];
	} sparse = {.cap = {
			    .header = {.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1},
			    .nr_areas = 1,
		    }};
	const struct vfio_region_sparse_mmap_area area = {
		.offset = REFERENCE_SCRATCH_OFFSET,
		.size = REFERENCE_SCRATCH_SIZE,
	};

	memcpy(sparse.bytes + sizeof(sparse.cap), &area, sizeof(area));
	return vfio_info_add_capability(caps, &sparse.cap.header, sizeof(sparse.bytes));
}

int soft_region_info(struct vfio_device *vdev, struct vfio_region_info *info,
		     struct vfio_info_cap *caps)
{
	struct soft_device *sd = soft_device(vdev);

	if (info->index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	info->offset = SOFT_OFFSET(info->index);
	info->size = reference_region_size(&sd->model, info->index);
	info->flags = info->size ? VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE : 0;
	if (!sd->keys.mmap)
		return 0;
	if (info->index == VFIO_PCI_BAR2_REGION_INDEX)
		info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
	if (info->index != VFIO_PCI_BAR0_REGION_INDEX)
		return 0;
	info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
	return add_sparse(caps);
}

static struct soft_memory *mappable(struct soft_device *sd, uint64_t index)
{
	if (!sd->keys.mmap)
		return NULL;
	return index == VFIO_PCI_BAR0_REGION_INDEX   ? &sd->bar0
	       : index == VFIO_PCI_BAR2_REGION_INDEX ? &sd->bar2
						     : NULL;
}

int soft_mmap(struct vfio_device *vdev, void *where, size_t length, int prot, uint64_t offset)
{
	struct soft_device *sd = soft_device(vdev);
	const struct soft_memory *memory = mappable(sd, offset >> SOFT_OFFSET_SHIFT);
	const uint64_t at = offset & (SOFT_OFFSET(1) - 1);

	if (!memory || length == 0 || at > memory->size || length > memory->size - at ||
	    (memory == &sd->bar0 && at < REFERENCE_SCRATCH_OFFSET))
		return -EINVAL;
	if (mmap(where, length, prot, MAP_SHARED | MAP_FIXED, memory->fd, (off_t)at) == MAP_FAILED)
		return -errno;
	/* Until the close: nobody tells when the mapping goes. */
	soft_lock(sd);
	reference_set_mapped(&sd->model, true);
	soft_unlock(sd);
	return 0;
}

int soft_region_fd(struct vfio_device *vdev, uint32_t index, bool device, int *fd, uint64_t *offset)
{
	struct soft_device *sd = soft_device(vdev);
	const struct soft_memory *memory = mappable(sd, index);

	(void)device; /* each region has a file of its own */
	if (!memory)
		return -ENODEV;
	*fd = memory->fd;
	*offset = 0;
	soft_lock(sd);
	reference_set_mapped(&sd->model, true);
	soft_unlock(sd);
	return 0;
}
