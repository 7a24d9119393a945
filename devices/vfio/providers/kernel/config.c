/* SPDX-License-Identifier: Apache-2.0 */
/* What the provider itself looks for in the configuration space of a kernel device. */
#include <linux/pci_regs.h>

#include "devices/vfio/providers/kernel/kernel.h"

static uint32_t read_config(struct kernel_device *kd, uint64_t at, size_t size)
{
	uint32_t value = 0;

	if (kd->calls->pread(kd->calls->ctx, kd->fd, &value, size, at) != (ssize_t)size)
		return 0;
	return value;
}

uint32_t kernel_config_pasids(struct kernel_device *kd)
{
	struct vfio_region_info info = {.argsz = sizeof(info),
					.index = VFIO_PCI_CONFIG_REGION_INDEX};
	uint32_t at = PCI_CFG_SPACE_SIZE, width;

	if (kernel_ioctl(kd, VFIO_DEVICE_GET_REGION_INFO, &info) ||
	    info.size < PCI_CFG_SPACE_EXP_SIZE)
		return 0;
	/* Forward only: a chain that runs in circles would never end. */
	for (;;) {
		const uint32_t header = read_config(kd, info.offset + at, 4);
		const uint32_t next = PCI_EXT_CAP_NEXT(header);

		if (PCI_EXT_CAP_ID(header) == PCI_EXT_CAP_ID_PASID)
			break;
		if (next <= at || next > PCI_CFG_SPACE_EXP_SIZE - 8)
			return 0;
		at = next;
	}
	width = read_config(kd, info.offset + at + PCI_PASID_CAP, 2) >> 8 & 0x1f;
	return !width ? 0 : width < 20 ? 1u << width : VFIO_DEVICE_MAX_PASIDS;
}
