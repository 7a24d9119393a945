// SPDX-License-Identifier: Apache-2.0
/*
 * The rehearsal: what a launch does with the kernel, up to the point where guest memory would be
 * mapped. It is played only for a device that is with a VFIO driver and in nobody's hands, since
 * the kernel resets the device when it is bound to iommufd and again when it is closed.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>
#include <linux/iommufd.h>
#include <linux/vfio.h>

#include "devices/vfio/check/facts.h"
#include "vmm/base/host.h"

#define RANGES 64

static int bind_device(int device, int iommufd, const struct check_request *request,
		       uint32_t *device_id)
{
	struct vfio_device_bind_iommufd bind = {
		/* Older kernels do not know the token, and refuse what lies behind out_devid. */
		.argsz = request->has_token
				 ? sizeof(bind)
				 : offsetof(struct vfio_device_bind_iommufd, token_uuid_ptr),
		.flags = request->has_token ? VFIO_DEVICE_BIND_FLAG_TOKEN : 0,
		.iommufd = iommufd,
		.token_uuid_ptr = request->has_token ? (uintptr_t)request->token : 0,
	};
	int ret = host_ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind);

	*device_id = bind.out_devid;
	return ret;
}

static void ask_hardware(int iommufd, uint32_t device_id, struct check_rehearsal *r)
{
	struct iommu_hw_info info = {.size = sizeof(info), .dev_id = device_id};

	/* An emulated device has no IOMMU behind it: -ENOENT. */
	if (host_ioctl(iommufd, IOMMU_GET_HW_INFO, &info) < 0)
		return;
	r->hw_type = info.out_data_type;
	r->hw_dirty = info.out_capabilities & IOMMU_HW_CAP_DIRTY_TRACKING;
	r->pasid_bits = info.out_max_pasid_log2;
}

static void ask_ranges(int iommufd, uint32_t ioas, struct check_rehearsal *r)
{
	struct iommu_iova_range ranges[RANGES];
	struct iommu_ioas_iova_ranges command = {
		.size = sizeof(command),
		.ioas_id = ioas,
		.num_iovas = RANGES,
		.allowed_iovas = (uintptr_t)ranges,
	};
	int ret = host_ioctl(iommufd, IOMMU_IOAS_IOVA_RANGES, &command);

	/* With -EMSGSIZE the first ones are there; a lower bound is good enough for a size. */
	if (ret < 0 && ret != -EMSGSIZE)
		return;
	for (uint32_t i = 0; i < command.num_iovas && i < RANGES; i++) {
		uint64_t length = ranges[i].last - ranges[i].start;

		if (length != UINT64_MAX)
			length++;
		r->iova_usable =
			length > UINT64_MAX - r->iova_usable ? UINT64_MAX : r->iova_usable + length;
		r->iova_last = ranges[i].last;
	}
}

static unsigned irq_count(int device, uint32_t index)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = index};

	return host_ioctl(device, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0 ? 0 : info.count;
}

static bool has_feature(int device, uint32_t feature, uint32_t operation)
{
	struct vfio_device_feature probe = {
		.argsz = sizeof(probe),
		.flags = feature | operation | VFIO_DEVICE_FEATURE_PROBE,
	};

	return host_ioctl(device, VFIO_DEVICE_FEATURE, &probe) == 0;
}

static void ask_device(int device, struct check_rehearsal *r)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	struct vfio_region_info config = {
		.argsz = sizeof(config),
		.index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	uint64_t buffer[(sizeof(struct vfio_device_feature) +
			 sizeof(struct vfio_device_feature_migration)) /
			sizeof(uint64_t)];
	struct vfio_device_feature *get = (void *)buffer;
	struct vfio_device_feature_migration *migration = (void *)get->data;

	*get = (struct vfio_device_feature){
		.argsz = sizeof(buffer),
		.flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION,
	};
	if (host_ioctl(device, VFIO_DEVICE_GET_INFO, &info) == 0) {
		r->can_reset = info.flags & VFIO_DEVICE_FLAGS_RESET;
		r->has_irqs = info.flags & VFIO_DEVICE_FLAGS_PCI;
	}
	if (r->has_irqs) {
		r->intx = irq_count(device, VFIO_PCI_INTX_IRQ_INDEX);
		r->msi = irq_count(device, VFIO_PCI_MSI_IRQ_INDEX);
		r->msix = irq_count(device, VFIO_PCI_MSIX_IRQ_INDEX);
		if (host_ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config) == 0)
			r->config_size = config.size;
	}
	if (host_ioctl(device, VFIO_DEVICE_FEATURE, get) == 0) {
		r->migratable = true;
		r->migration_flags = (uint32_t)migration->flags;
	}
	r->dma_logging =
		has_feature(device, VFIO_DEVICE_FEATURE_DMA_LOGGING_START, VFIO_DEVICE_FEATURE_SET);
	r->dma_buf = has_feature(device, VFIO_DEVICE_FEATURE_DMA_BUF, VFIO_DEVICE_FEATURE_GET);
}

/* From the address space to its end, with the device bound. */
static void play(int device, int iommufd, uint32_t device_id, struct check_rehearsal *r)
{
	struct iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
	struct vfio_device_attach_iommufd_pt attach = {.argsz = sizeof(attach)};
	struct vfio_device_detach_iommufd_pt detach = {.argsz = sizeof(detach)};
	struct iommu_destroy destroy = {.size = sizeof(destroy)};

	r->ioas = host_ioctl(iommufd, IOMMU_IOAS_ALLOC, &alloc);
	if (r->ioas < 0)
		return;
	ask_hardware(iommufd, device_id, r);
	attach.argsz = offsetof(struct vfio_device_attach_iommufd_pt, pasid);
	attach.pt_id = alloc.out_ioas_id;
	r->attach = host_ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
	if (r->attach == 0) {
		ask_ranges(iommufd, alloc.out_ioas_id, r);
		ask_device(device, r);
		detach.argsz = offsetof(struct vfio_device_detach_iommufd_pt, pasid);
		host_ioctl(device, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach);
	}
	/* /dev/iommu may be the caller's own descriptor: nothing of ours stays in it. */
	destroy.id = alloc.out_ioas_id;
	host_ioctl(iommufd, IOMMU_DESTROY, &destroy);
}

void check_rehearse(const struct check_request *request, struct check_facts *facts)
{
	struct check_rehearsal *r = &facts->rehearsal;
	uint32_t device_id;
	int device, iommufd;

	*r = (struct check_rehearsal){.done = true};
	device = host_open_vfio(facts->cdev.path);
	if (device < 0) {
		r->open = device;
		return;
	}
	iommufd = check_open_iommu(request);
	if (iommufd < 0) {
		r->iommufd = iommufd;
		goto close_device;
	}
	r->bind = bind_device(device, iommufd, request, &device_id);
	if (r->bind == 0)
		play(device, iommufd, device_id, r);
	close(iommufd);
close_device:
	close(device);
}
