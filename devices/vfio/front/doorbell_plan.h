/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plan: which of the writes that a device takes by eventfd (vfio_device_region_ioeventfds) KVM can
 * signal in the place of the guest's exit. A pure function; nothing in its input is trusted.
 *
 * Only where the write would reach the device as it is: where the guest has the BAR, in what is
 * trapped of it, and never in the MSI-X table or its pending bits, which are ours. What does not
 * fit is no loss: it is written as any register.
 */
#ifndef SLUICE_VFIO_FRONT_DOORBELL_PLAN_H
#define SLUICE_VFIO_FRONT_DOORBELL_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/vfio/device.h"
#include "devices/vfio/front/bar_layout.h"

#define DOORBELL_MAX 256 /* of one BAR; KVM has some 1000 for all of a VM (NR_IOBUS_DEVS) */

struct doorbell_input {
	uint64_t address; /* where the guest has the BAR; PCI_BAR_NONE: nowhere */
	const struct bar_layout *layout;
	uint64_t region_size; /* what is beyond it in the BAR is not the device's */
	bool writable;
	struct bar_area table, pba; /* in this BAR; size 0: not here */
	const struct vfio_region_ioeventfd *list;
	unsigned count; /* what is beyond DOORBELL_MAX is left out */
};

/* One ioeventfd of KVM. */
struct doorbell {
	int fd; /* as in the list */
	uint64_t address, datamatch;
	uint32_t size; /* 0: any */
	bool match, pio;
};

/*
 * Fill @out, which has room for as many as are looked at; returns their number. @why (NULL, or as
 * much room): of each entry of the list, NULL or why it is left out (static).
 */
unsigned doorbell_plan_make(const struct doorbell_input *in, struct doorbell *out,
			    const char **why);

#endif
