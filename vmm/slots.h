/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is plugged into the machine: the host bridge, passed-through devices below root ports, and
 * virtio devices on the root bus.
 */
#ifndef SLUICE_SLOTS_H
#define SLUICE_SLOTS_H

#include <stdbool.h>

#include "vmm/pci/window.h"

struct arch_layout;
struct bus;
struct ioas;
struct iommufd_ctx;
struct irq_router;
struct json_t;
struct kvm;
struct loop;
struct passthrough;
struct slots;
struct vfio_function;
struct vm_config;

struct slots_wiring {
	const struct vm_config *config;
	const struct arch_layout *layout;
	struct kvm *kvm;
	struct loop *loop;
	struct bus *mmio, *pio;
	struct irq_router *irq;
	struct iommufd_ctx *ictx;
	struct ioas *ioas;
	struct passthrough *passthrough;
	/* A device with on-error=stop failed. Called with @ctx on the loop thread. */
	void (*fatal)(void *ctx, struct vfio_function *vf);
	void *ctx;
};

/*
 * Make the bridge and plug in everything that the configuration names; addresses are assigned. One
 * message on failure, and then nothing is left.
 */
int slots_create(const struct slots_wiring *wiring, struct slots **out);
/* After vCPUs and loop have ended. NULL is allowed. */
void slots_destroy(struct slots *slots);

/* Machine reset, with the vCPUs paused. */
int slots_reset(struct slots *slots);

/* The state of every device: an array (jansson, new reference). */
struct json_t *slots_status(struct slots *slots);

#endif
