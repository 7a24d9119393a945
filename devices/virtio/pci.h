/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio over PCI, modern only (virtio 1.2 section 4.1): one 64-bit memory BAR with the common,
 * ISR, device and notification structures and the MSI-X table. Doorbells are ioeventfds that the
 * event loop waits for, interrupts are MSI-X messages, or INTx while MSI-X is off.
 *
 * Lock order: the configuration lock of the host bridge, then the lock of the device. Nothing that
 * takes the configuration lock is called under the latter.
 */
#ifndef SLUICE_VIRTIO_PCI_H
#define SLUICE_VIRTIO_PCI_H

#include <stdint.h>

struct json_t;
struct pci_function;
struct virtio_device;

/*
 * Make a PCI function of @dev, which was set up by virtio_device_init(). From now on the function's
 * destroy op ends both. The bus, the interrupt router and KVM are those of the bridge it gets
 * plugged into. Errors: -errno of eventfd, -ENOMEM; the caller still owns @dev then.
 */
int virtio_pci_create(struct virtio_device *dev, struct pci_function **out);

/*
 * The state of the device as data (jansson, new reference, NULL without memory): id, kind, driver
 * status, negotiated features, interrupt mode, and for each queue how far it is. Any thread.
 */
struct json_t *virtio_pci_status(struct pci_function *fn);

/* The device behind a function made by virtio_pci_create(). */
struct virtio_device *virtio_pci_device(struct pci_function *fn);

#endif
