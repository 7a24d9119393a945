/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the program `provider` share. */
#ifndef SLUICE_CONTRACT_PROVIDER_H
#define SLUICE_CONTRACT_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/vfio/device.h"
#include "devices/vfio/provider.h"

#define MIB         (1024 * 1024)
#define PAGE        4096
#define MEMORY      (16 * MIB)
#define MAX_DEVICES 4

struct vm {
	struct loop *loop;
	struct kvm *kvm;
	struct iommufd_ctx *ictx;
	struct ioas *ioas;
	struct vfio_device_sets sets;
	struct kernel_iommufd *iommufd;
	struct vfio_provider_env env;
	bool migratable;
	int memfd;
	uint8_t *memory;
	int failed;
};

/* Prints "ok NAME" or "not ok NAME (DETAIL)". */
void verdict(struct vm *vm, bool good, const char *name, long detail);
/* A step whose failure is an errno. */
bool step(struct vm *vm, int rc, const char *name);

int make_device(struct vm *vm, const char *name, const uint8_t *token, struct vfio_device **out);
/* Open for the VM and attach to its memory; closed again when that fails. */
int open_device(struct vm *vm, struct vfio_device *vdev);
void give_back(struct vfio_device *vdev);

struct vfio_region_info region(struct vfio_device *vdev, uint32_t index);
void config_write(struct vfio_device *vdev, uint32_t offset, uint32_t value, size_t size);
/* The first @count vectors of @index. */
int set_irqs(struct vfio_device *vdev, uint32_t index, uint32_t flags, uint32_t count,
	     const void *data, size_t size);

/* provider_cycle.c: N times open, use and close. */
void cycle(struct vm *vm, int times, const char *name);

#endif
