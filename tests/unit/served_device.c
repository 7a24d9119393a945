/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/served_device.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/dma.h"

#define PAGE 4096u

static struct served_device *served_of(struct vfio_device *vdev)
{
	return (struct served_device *)vdev;
}

static void put(int *fd, int new_fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = new_fd;
}

static void power_on(struct served_device *d)
{
	d->address = 0;
	d->dma_result = 0;
	memset(d->memory, 0, SERVED_MEMORY);
	memset(d->config, 0, sizeof(d->config));
	d->config[0] = 0x5c;
	d->config[1] = 0x1a;
	for (unsigned i = 0; i < SERVED_VECTORS; i++)
		put(&d->vectors[i], -1);
	d->vector_count = 0;
	put(&d->intx, -1);
	put(&d->ioeventfd, -1);
	put(&d->session[0], -1);
	d->state = VFIO_DEVICE_STATE_RUNNING;
}

/* ---- life ---- */

static int served_bind(struct vfio_device *vdev, struct iommufd_ctx *ictx, uint32_t *id)
{
	struct served_device *d = served_of(vdev);

	if (d->open_rc)
		return d->open_rc;
	d->ictx = ictx;
	d->opens++;
	vdev->iommufd_kind = VFIO_IOMMUFD_EMULATED;
	*id = 1;
	power_on(d);
	return 0;
}

static void served_unbind(struct vfio_device *vdev)
{
	power_on(served_of(vdev));
}

static int served_attach(struct vfio_device *vdev, uint32_t *pt_id)
{
	struct ioas *ioas = ioas_find(served_of(vdev)->ictx, *pt_id);

	if (!ioas)
		return -ENOENT;
	served_of(vdev)->ioas = ioas;
	return 0;
}

static void served_detach(struct vfio_device *vdev)
{
	served_of(vdev)->ioas = NULL;
}

/* ---- regions ---- */

static int served_region(struct vfio_device *vdev, struct vfio_region_info *info,
			 struct vfio_info_cap *caps)
{
	static const uint64_t sizes[VFIO_PCI_NUM_REGIONS] = {
		[0] = PAGE, [2] = SERVED_MEMORY, [4] = PAGE, [VFIO_PCI_CONFIG_REGION_INDEX] = 256};
	const struct vfio_region_info_cap_type type = {
		.header = {.id = VFIO_REGION_INFO_CAP_TYPE, .version = 1}, .type = 7};
	uint64_t room[4];
	struct vfio_region_info_cap_sparse_mmap *sparse = (void *)room;

	int rc;

	_Static_assert(sizeof(room) == sizeof(*sparse) + sizeof(sparse->areas[0]), "one area");
	(void)vdev;
	if (info->index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	info->offset = (uint64_t)info->index << 40;
	if (info->index == VFIO_PCI_VGA_REGION_INDEX)
		return -EINVAL; /* as vfio-pci of a device without VGA */
	info->size = sizes[info->index];
	info->flags = info->size ? VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE : 0;
	if (info->index == 4)
		info->flags |= VFIO_REGION_INFO_FLAG_MMAP; /* for this process alone */
	if (info->index != 2)
		return 0;
	info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
	*sparse = (struct vfio_region_info_cap_sparse_mmap){
		.header = {.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1}, .nr_areas = 1};
	sparse->areas[0] =
		(struct vfio_region_sparse_mmap_area){.offset = PAGE, .size = SERVED_MEMORY - PAGE};
	rc = vfio_info_add_capability(caps, &sparse->header, sizeof(room));
	return rc ? rc : vfio_info_add_capability(caps, &type.header, sizeof(type));
}

static int served_region_fd(struct vfio_device *vdev, uint32_t index, bool device, int *fd,
			    uint64_t *offset)
{
	(void)device;
	if (index != 2)
		return -ENODEV;
	*fd = served_of(vdev)->memfd;
	*offset = 0;
	return 0;
}

static uint8_t *plain_bytes(struct served_device *d, uint64_t offset, size_t count)
{
	const uint64_t at = offset & 0xffffffffffull;

	if (offset >> 40 == 2 && at + count <= SERVED_MEMORY)
		return d->memory + at;
	if (offset >> 40 == VFIO_PCI_CONFIG_REGION_INDEX && at + count <= 256)
		return d->config + at;
	return NULL;
}

static ssize_t served_read(struct vfio_device *vdev, void *buffer, size_t count, uint64_t offset)
{
	struct served_device *d = served_of(vdev);
	const uint8_t *bytes = plain_bytes(d, offset, count);
	uint8_t registers[16];

	if (bytes) {
		memcpy(buffer, bytes, count);
		return (ssize_t)count;
	}
	/* Some registers cannot be read, others end early. */
	if (offset >> 40 == 4)
		return offset & 0x800 ? -EIO : 0;
	memcpy(registers, &d->address, 8);
	memset(registers + 8, 0, 4);
	memcpy(registers + 12, &d->dma_result, 4);
	memset(buffer, 0xff, count);
	if (offset < sizeof(registers))
		memcpy(buffer, registers + offset,
		       count < sizeof(registers) - offset ? count : sizeof(registers) - offset);
	return (ssize_t)count;
}

static void copy_by_dma(struct served_device *d)
{
	uint8_t bytes[16];
	int rc = d->ioas ? ioas_read(d->ioas, d->address, bytes, sizeof(bytes)) : -ENODEV;

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i]++;
	if (!rc)
		rc = ioas_write(d->ioas, d->address + 16, bytes, sizeof(bytes));
	if (!rc)
		d->log_pages |= 1;
	d->dma_result = rc ? rc : 1;
}

static ssize_t served_write(struct vfio_device *vdev, const void *buffer, size_t count,
			    uint64_t offset)
{
	struct served_device *d = served_of(vdev);
	uint8_t *bytes = plain_bytes(d, offset, count);
	const uint64_t one = 1;
	uint32_t value;

	if (bytes) {
		memcpy(bytes, buffer, count);
		return (ssize_t)count;
	}
	if (offset >> 40 == 4)
		return offset & 0x800 ? -EIO : 0;
	if (offset == 0 && count == 8)
		memcpy(&d->address, buffer, 8);
	else if (offset == 8 && count == 4)
		copy_by_dma(d);
	else if (offset == 16 && count == 4) {
		memcpy(&value, buffer, 4);
		if (value < SERVED_VECTORS && d->vectors[value] >= 0 &&
		    write(d->vectors[value], &one, sizeof(one)) < 0)
			return -errno;
	}
	return (ssize_t)count;
}

static int served_mmap(struct vfio_device *vdev, void *where, size_t length, int prot,
		       uint64_t offset)
{
	if (offset >> 40 != 2)
		return -EINVAL;
	return mmap(where, length, prot, MAP_SHARED | MAP_FIXED, served_of(vdev)->memfd,
		    (off_t)(offset & 0xffffffffffull)) == MAP_FAILED
		       ? -errno
		       : 0;
}

/* ---- commands ---- */

static int served_set_irqs(struct served_device *d, const struct vfio_irq_set *set)
{
	const int32_t *fds = (const int32_t *)set->data;
	const bool eventfds = set->flags & VFIO_IRQ_SET_DATA_EVENTFD;

	if (!(set->flags & VFIO_IRQ_SET_ACTION_TRIGGER))
		return 0;
	if (set->index == VFIO_PCI_INTX_IRQ_INDEX) {
		put(&d->intx, eventfds && set->count && fds[0] >= 0 ? dup(fds[0]) : -1);
		return 0;
	}
	if (set->index != VFIO_PCI_MSIX_IRQ_INDEX)
		return -EINVAL;
	if (!set->count && (set->flags & VFIO_IRQ_SET_DATA_NONE)) {
		for (unsigned i = 0; i < SERVED_VECTORS; i++)
			put(&d->vectors[i], -1);
		d->vector_count = 0;
		return 0;
	}
	if (!d->vector_count && d->vector_limit && set->start + set->count > d->vector_limit)
		return (int)d->vector_limit;
	/* NORESIZE: the first call allocates, later ones fill in. */
	if (!d->vector_count)
		d->vector_count = set->start + set->count;
	if (set->start + set->count > d->vector_count)
		return -EINVAL;
	for (unsigned i = 0; eventfds && i < set->count; i++) {
		put(&d->vectors[set->start + i], fds[i] >= 0 ? dup(fds[i]) : -1);
		if (fds[i] >= 0 && d->vectors[set->start + i] < 0)
			return -EBADF;
	}
	return 0;
}

static int served_ioctl(struct vfio_device *vdev, unsigned command, void *arg)
{
	static const struct vfio_irq_info irqs[VFIO_PCI_NUM_IRQS] = {
		[VFIO_PCI_INTX_IRQ_INDEX] = {.flags =
						     VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE,
					     .count = 1},
		[VFIO_PCI_MSIX_IRQ_INDEX] = {.flags =
						     VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE,
					     .count = SERVED_VECTORS},
		[VFIO_PCI_ERR_IRQ_INDEX] = {.flags = VFIO_IRQ_INFO_EVENTFD, .count = 1},
		[VFIO_PCI_REQ_IRQ_INDEX] = {.flags = VFIO_IRQ_INFO_EVENTFD, .count = 1}};
	struct served_device *d = served_of(vdev);
	struct vfio_device_info *device = arg;
	struct vfio_irq_info *irq = arg;
	struct vfio_device_ioeventfd *io = arg;

	switch (command) {
	case VFIO_DEVICE_GET_INFO:
		device->flags = d->device_flags;
		device->num_regions = VFIO_PCI_NUM_REGIONS;
		device->num_irqs = VFIO_PCI_NUM_IRQS;
		return 0;
	case VFIO_DEVICE_GET_IRQ_INFO:
		irq->flags = irqs[irq->index].flags;
		irq->count = irqs[irq->index].count;
		return 0;
	case VFIO_DEVICE_SET_IRQS:
		return served_set_irqs(d, arg);
	case VFIO_DEVICE_RESET:
		if (!d->reset_rc) {
			power_on(d);
			d->resets++;
		}
		return d->reset_rc;
	case VFIO_DEVICE_IOEVENTFD:
		if (io->data == 0xbad)
			return -ENOSPC;
		put(&d->ioeventfd, io->fd >= 0 ? dup(io->fd) : -1);
		return 0;
	default:
		return -ENOTTY;
	}
}

static int served_feature(struct vfio_device *vdev, uint32_t flags, void *arg, size_t argsz)
{
	int rc;

	(void)vdev, (void)arg;
	switch (flags & VFIO_DEVICE_FEATURE_MASK) {
	case VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY:
	case VFIO_DEVICE_FEATURE_LOW_POWER_EXIT:
		rc = vfio_check_feature(flags, argsz, VFIO_DEVICE_FEATURE_SET, 0);
		return rc == 1 ? 0 : rc;
	default:
		return -ENOTTY;
	}
}

/* ---- migration: any state may be set ---- */

static int served_set_state(struct vfio_device *vdev, enum vfio_device_mig_state state, int *fd)
{
	struct served_device *d = served_of(vdev);

	if (state == VFIO_DEVICE_STATE_ERROR)
		return -EINVAL;
	put(&d->session[0], -1);
	if (state == VFIO_DEVICE_STATE_STOP_COPY || state == VFIO_DEVICE_STATE_PRE_COPY ||
	    state == VFIO_DEVICE_STATE_RESUMING) {
		if (pipe2(d->session, O_CLOEXEC))
			return -errno;
		*fd = d->session[1];
		d->position = 0;
	}
	d->state = state;
	return 0;
}

static int served_get_state(struct vfio_device *vdev, enum vfio_device_mig_state *state)
{
	*state = served_of(vdev)->state;
	return 0;
}

static int served_data_size(struct vfio_device *vdev, uint64_t *size)
{
	(void)vdev;
	*size = SERVED_MEMORY;
	return 0;
}

/* In pieces of at most 1000 bytes, so that whoever reads must go on. */
static ssize_t served_mig_read(struct vfio_device *vdev, int fd, void *buffer, size_t count)
{
	struct served_device *d = served_of(vdev);
	const size_t left = SERVED_MEMORY - d->position;

	(void)fd;
	if (d->fails_at && d->position >= d->fails_at)
		return -EIO;
	if (count > 1000)
		count = 1000;
	if (count > left)
		count = left;
	if (!count && d->state == VFIO_DEVICE_STATE_PRE_COPY)
		return -ENOMSG;
	memcpy(buffer, d->memory + d->position, count);
	d->position += count;
	return (ssize_t)count;
}

static ssize_t served_mig_write(struct vfio_device *vdev, int fd, const void *buffer, size_t count)
{
	struct served_device *d = served_of(vdev);

	(void)fd;
	if (count > SERVED_MEMORY - d->position)
		return -ENOSPC;
	if (count > 1000)
		count = 1000;
	memcpy(d->memory + d->position, buffer, count);
	d->position += count;
	return (ssize_t)count;
}

static int served_precopy(struct vfio_device *vdev, int fd, struct vfio_precopy_info *info)
{
	(void)fd;
	info->initial_bytes = SERVED_MEMORY - served_of(vdev)->position;
	info->dirty_bytes = 0;
	return 0;
}

static int served_log_start(struct vfio_device *vdev, const struct vfio_log_range *ranges,
			    uint32_t count, uint64_t *page_size)
{
	(void)ranges, (void)count;
	*page_size = PAGE;
	served_of(vdev)->log_pages = 0;
	return 0;
}

static int served_log_stop(struct vfio_device *vdev)
{
	(void)vdev;
	return 0;
}

static int served_log_read(struct vfio_device *vdev, uint64_t iova, uint64_t length,
			   uint64_t page_size, uint64_t *bitmap)
{
	(void)iova, (void)length, (void)page_size;
	bitmap[0] |= served_of(vdev)->log_pages;
	served_of(vdev)->log_pages = 0;
	return 0;
}

/* ---- */

/* Every second one for a value. */
static int served_ioeventfds(struct vfio_device *vdev, uint32_t index,
			     struct vfio_region_ioeventfd *list, uint32_t *count)
{
	const struct served_device *d = served_of(vdev);
	const uint32_t room = *count;

	*count = index == 0 ? d->own_bells : 0;
	for (uint32_t i = 0; i < *count && i < room; i++)
		list[i] = (struct vfio_region_ioeventfd){
			.offset = 0x20 + 4 * i,
			.size = 4,
			.fd = d->own_bell,
			.match = i % 2,
			.datamatch = i % 2 ? 9 : 0,
		};
	return 0;
}

struct served_device *served_device_new(void)
{
	struct served_device *d = calloc(1, sizeof(*d));

	if (!d)
		abort();
	d->ops = (struct vfio_device_ops){
		.name = "served",
		.bind_iommufd = served_bind,
		.unbind_iommufd = served_unbind,
		.attach_ioas = served_attach,
		.detach_ioas = served_detach,
		.read = served_read,
		.write = served_write,
		.ioctl = served_ioctl,
		.get_region_info_caps = served_region,
		.get_region_ioeventfds = served_ioeventfds,
		.mmap = served_mmap,
		.region_fd = served_region_fd,
		.device_feature = served_feature,
	};
	d->mig_ops = (struct vfio_migration_ops){
		.migration_set_state = served_set_state,
		.migration_get_state = served_get_state,
		.migration_get_data_size = served_data_size,
		.migration_read = served_mig_read,
		.migration_write = served_mig_write,
		.migration_get_precopy_info = served_precopy,
	};
	d->log_ops = (struct vfio_log_ops){
		.log_start = served_log_start,
		.log_stop = served_log_stop,
		.log_read_and_clear = served_log_read,
	};
	d->own_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->device_flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
	d->intx = d->ioeventfd = d->session[0] = -1;
	for (unsigned i = 0; i < SERVED_VECTORS; i++)
		d->vectors[i] = -1;
	d->memfd = memfd_create("served", MFD_CLOEXEC);
	if (d->memfd < 0 || ftruncate(d->memfd, SERVED_MEMORY))
		abort();
	d->memory = mmap(NULL, SERVED_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, d->memfd, 0);
	if (d->memory == MAP_FAILED || vfio_device_init(&d->vdev, "served", &d->ops))
		abort();
	d->vdev.mig_ops = &d->mig_ops;
	d->vdev.log_ops = &d->log_ops;
	d->vdev.migration_flags = VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_PRE_COPY;
	if (vfio_register_device(&d->vdev))
		abort();
	return d;
}

void served_device_done(struct served_device *d)
{
	vfio_unregister_device(&d->vdev);
	vfio_device_free(&d->vdev);
	munmap(d->memory, SERVED_MEMORY);
	close(d->memfd);
	close(d->own_bell);
	free(d);
}
