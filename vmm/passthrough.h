/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices passed through: found, opened and plugged in below root ports at launch, taken out when
 * the host wants them back.
 */
#ifndef SLUICE_PASSTHROUGH_H
#define SLUICE_PASSTHROUGH_H

#include <stdbool.h>
#include <stddef.h>

#include "devices/vfio/front/function.h"

struct iommufd_ctx;
struct json_t;
struct loop;
struct passthrough;
struct pci_host_bridge;
struct pci_range;
struct vm_config;

/*
 * Find every device of the configuration (nothing is opened yet but /dev/iommu, when a device needs
 * it). One message on failure. Without devices *@out is NULL, which all functions here take.
 */
int passthrough_find(const struct vm_config *config, struct loop *loop, struct iommufd_ctx *ictx,
		     struct passthrough **out);
/* Does @error of passthrough_find() mean that the arguments are wrong, and not the host? */
bool passthrough_misnamed(int error);
/* After the bridge is gone, and with it the functions. */
void passthrough_destroy(struct passthrough *pass);

/* Do devices pin all of the guest's memory? Those behind /dev/iommu do. */
bool passthrough_pins_memory(const struct passthrough *pass);

/* Device @index in the order of the configuration; @pass keeps it. Before passthrough_plug(). */
struct vfio_device *passthrough_device(const struct passthrough *pass, unsigned index);

/*
 * Where no RAM may be because of the devices: *@ranges (owned by @pass) and their number.
 * -errno with a message.
 */
int passthrough_reserved(struct passthrough *pass, const struct pci_range **ranges, size_t *count);

/* Ports that the devices need on the root bus. */
unsigned passthrough_port_count(const struct passthrough *pass);

/*
 * Open all devices and plug them in, those with a given slot first. @env has everything but the
 * callbacks of unplugging; its `fatal` and `machine` stay the caller's.
 */
int passthrough_plug(struct passthrough *pass, const struct vfio_function_env *env,
		     struct pci_host_bridge *bridge);

/* vcpu_events.fault: any thread. */
bool passthrough_fault(struct passthrough *pass);

/* Append the state of every device to @list (jansson). */
void passthrough_status(struct passthrough *pass, struct json_t *list);

#endif
