/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VFIO front end: a vfio_device as a PCI function of the guest. It knows no provider.
 */
#ifndef SLUICE_VFIO_FRONT_FUNCTION_H
#define SLUICE_VFIO_FRONT_FUNCTION_H

#include <stdbool.h>

struct bus;
struct ioas;
struct iommufd_ctx;
struct irq_router;
struct kvm;
struct loop;
struct pci_function;
struct vfio_config;
struct vfio_device;
struct vfio_function;
struct json_t;

struct vfio_function_env {
	struct kvm *kvm;
	struct loop *loop;
	struct bus *mmio, *pio;
	struct irq_router *irq;
	struct iommufd_ctx *ictx;
	struct ioas *ioas; /* the VM's address space: all its devices share it */
	/*
	 * The device must leave the guest. @force: at once (surprise removal), else ask first.
	 * Called on the loop thread. The machine unplugs the function and destroys it.
	 */
	void (*unplug)(void *machine, struct vfio_function *vf, bool force);
	/* stop_on_error: end the VM. */
	void (*fatal)(void *machine, struct vfio_function *vf);
	/* @vf is being destroyed, and must not be named again. Loop thread; may be NULL. */
	void (*destroyed)(void *machine, struct vfio_function *vf);
	void *machine;
};

/*
 * Open and attach @vdev, plan its configuration space, BARs and vectors, and make the guest
 * function. Ownership of @vdev passes on success. One message on failure.
 */
int vfio_function_create(const struct vfio_function_env *env, const struct vfio_config *config,
			 struct vfio_device *vdev, struct vfio_function **out);
struct pci_function *vfio_function_pci(struct vfio_function *vf);
struct vfio_device *vfio_function_device(struct vfio_function *vf);

/*
 * KVM_RUN gave -EFAULT: a memory slot lies over a BAR that the device no longer backs (surprise
 * removal, D3cold). If it is one of ours, its slots go, the guest reads ones from now on, and true
 * is returned; the vCPU may go on. Any thread.
 */
bool vfio_function_fault(struct vfio_function *vf);
/*
 * No device admitted to that. Where the file behind a BAR of this one is its peer's to cut (vfio-user
 * without seals, memfd_create(2)), it can be the reason: BARs whose file is shorter than they are (@cut)
 * or may have been have no slot from now on, each access goes to the device by message. True when there
 * were some; the vCPU may go on. Any thread.
 */
bool vfio_function_distrust(struct vfio_function *vf, bool cut);

/* The state as one JSON object (jansson, new reference): SIGUSR1, and later the control socket. */
struct json_t *vfio_function_status(struct vfio_function *vf);

#endif
