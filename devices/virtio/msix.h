/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSI-X of an emulated function: the capability, the vector table and the pending bits (PCI Local
 * Bus 3.0 section 6.8.2). Messages are sent through `send`, so nothing is allocated for a vector
 * and a table write costs no system call.
 *
 * Not thread-safe: the device's lock is held around every call.
 */
#ifndef SLUICE_VIRTIO_MSIX_H
#define SLUICE_VIRTIO_MSIX_H

#include <stdbool.h>
#include <stdint.h>

#define MSIX_VECTORS_MAX 8u

struct msi_message;
struct pci_function;

struct msix {
	unsigned count;
	uint32_t capability; /* offset in configuration space */
	bool enabled;
	bool masked; /* the function mask */
	uint64_t pending;
	uint8_t table[MSIX_VECTORS_MAX * 16];
	void (*send)(void *ctx, const struct msi_message *message);
	void *ctx;
};

/*
 * Add the capability to @fn: @count (up to MSIX_VECTORS_MAX) vectors, table at @table_offset and
 * pending bits at @pba_offset of @bar. -ENOSPC.
 */
int msix_init(struct msix *msix, struct pci_function *fn, unsigned count, unsigned bar,
	      uint32_t table_offset, uint32_t pba_offset,
	      void (*send)(void *ctx, const struct msi_message *message), void *ctx);

/* Power-on state, the registers in @fn included. */
void msix_reset(struct msix *msix, struct pci_function *fn);

/* The guest wrote configuration space: take the control word over and send what it lets through. */
void msix_config_changed(struct msix *msix, const struct pci_function *fn);

/* Guest access to the table, at @offset in it; out of range reads as 0. @size is 1, 2, 4 or 8. */
uint64_t msix_table_read(const struct msix *msix, uint64_t offset, unsigned size);
void msix_table_write(struct msix *msix, uint64_t offset, uint64_t value, unsigned size);
uint64_t msix_pba_read(const struct msix *msix, uint64_t offset, unsigned size);

/* Send vector @vector, or set its pending bit while it is masked. Does nothing while disabled. */
void msix_notify(struct msix *msix, unsigned vector);

#endif
