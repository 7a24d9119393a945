/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The common configuration structure of virtio over PCI (virtio 1.2 section 4.1.4.3): registers that
 * describe the device, take the driver's features and status, and set its queues up.
 *
 * The device's lock is held around every call.
 */
#ifndef SLUICE_VIRTIO_PCI_COMMON_H
#define SLUICE_VIRTIO_PCI_COMMON_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/virtio/device.h"

#define VIRTIO_PCI_COMMON_BYTES 0x40u

struct virtio_pci_common {
	struct virtio_device *dev;
	unsigned vectors; /* of MSI-X; a driver that asks for another gets VIRTIO_MSI_NO_VECTOR */

	uint32_t device_feature_select;
	uint32_t driver_feature_select;
	uint16_t queue_select;
	uint16_t config_vector;
	uint16_t queue_vector[VIRTIO_QUEUES_MAX];
};

/* The registers' state after a reset of the device. */
void virtio_pci_common_reset(struct virtio_pci_common *common);

/*
 * Each register is accessed with its own width, pairs of 32-bit halves also with 8 bytes at once;
 * anything else reads as 0 and drops the write. @offset + @size lies inside the structure.
 */
uint64_t virtio_pci_common_read(struct virtio_pci_common *common, uint64_t offset, unsigned size);
/* True when the driver has reset the device by it. */
bool virtio_pci_common_write(struct virtio_pci_common *common, uint64_t offset, uint64_t value,
			     unsigned size);

#endif
