/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of the contract as functions, for the tests. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/pci_regs.h>

#include "tests/contract/contract.h"

struct vfio_region_info region(struct run *run, uint32_t index)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = index};

	if (vfio_device_ioctl(run->vdev, VFIO_DEVICE_GET_REGION_INFO, &info))
		info.size = 0;
	return info;
}

ssize_t region_read(struct run *run, uint32_t index, uint64_t at, void *buffer, size_t count)
{
	return vfio_device_read(run->vdev, buffer, count, region(run, index).offset + at);
}

ssize_t region_write(struct run *run, uint32_t index, uint64_t at, const void *buffer, size_t count)
{
	return vfio_device_write(run->vdev, buffer, count, region(run, index).offset + at);
}

uint32_t config_read(struct run *run, uint32_t at, size_t size)
{
	uint32_t value = 0;

	expect_rc(run, region_read(run, VFIO_PCI_CONFIG_REGION_INDEX, at, &value, size), (long)size,
		  "read of config space at %#x", at);
	return value;
}

void config_write(struct run *run, uint32_t at, uint32_t value, size_t size)
{
	expect_rc(run, region_write(run, VFIO_PCI_CONFIG_REGION_INDEX, at, &value, size),
		  (long)size, "write of config space at %#x", at);
}

uint32_t config_capability(struct run *run, uint8_t id)
{
	uint32_t at;

	if (!(config_read(run, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST))
		return 0;
	at = config_read(run, PCI_CAPABILITY_LIST, 1) & ~3u;
	for (int i = 0; i < 48 && at; i++) {
		if (config_read(run, at, 1) == id)
			return at;
		at = config_read(run, at + 1, 1) & ~3u;
	}
	return 0;
}

void command(struct run *run, uint16_t set, uint16_t clear)
{
	const uint32_t value = config_read(run, PCI_COMMAND, 2);

	config_write(run, PCI_COMMAND, (value | set) & ~(uint32_t)clear, 2);
}

int feature(struct run *run, uint32_t flags, void *data, size_t size)
{
	struct vfio_device_feature *call = calloc(1, sizeof(*call) + size);
	int rc;

	call->argsz = (uint32_t)(sizeof(*call) + size);
	call->flags = flags;
	if (size)
		memcpy(call->data, data, size);
	rc = vfio_device_ioctl(run->vdev, VFIO_DEVICE_FEATURE, call);
	if (size)
		memcpy(data, call->data, size);
	free(call);
	return rc;
}

int state_get(struct run *run, uint32_t *state)
{
	struct vfio_device_feature_mig_state data = {.device_state = 99, .data_fd = -7};
	const int rc = feature(run, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
			       &data, sizeof(data));

	*state = data.device_state;
	return rc;
}

int state_set(struct run *run, uint32_t state, int *fd)
{
	struct vfio_device_feature_mig_state data = {.device_state = state, .data_fd = -7};
	const int rc = feature(run, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
			       &data, sizeof(data));

	if (fd)
		*fd = data.data_fd;
	else if (!rc && data.data_fd >= 0)
		close(data.data_fd);
	return rc;
}

int irq_info(struct run *run, uint32_t index, struct vfio_irq_info *info)
{
	*info = (struct vfio_irq_info){.argsz = sizeof(*info), .index = index};
	return vfio_device_ioctl(run->vdev, VFIO_DEVICE_GET_IRQ_INFO, info);
}

int set_irqs(struct run *run, uint32_t flags, uint32_t index, uint32_t start, uint32_t count,
	     const void *data, size_t size)
{
	struct vfio_irq_set *set = calloc(1, sizeof(*set) + size);
	int rc;

	*set = (struct vfio_irq_set){.argsz = (uint32_t)(sizeof(*set) + size),
				     .flags = flags,
				     .index = index,
				     .start = start,
				     .count = count};
	if (size)
		memcpy(set->data, data, size);
	rc = vfio_device_ioctl(run->vdev, VFIO_DEVICE_SET_IRQS, set);
	free(set);
	return rc;
}

int device_reset(struct run *run)
{
	return vfio_device_ioctl(run->vdev, VFIO_DEVICE_RESET, NULL);
}
