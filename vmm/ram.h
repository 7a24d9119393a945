/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's RAM: one shared memfd, mapped once, shown to KVM and to the devices piece by piece as
 * the layout says.
 */
#ifndef SLUICE_RAM_H
#define SLUICE_RAM_H

#include <stdint.h>

#include "arch/arch.h"

struct ioas;
struct kvm;

struct ram {
	int fd; /* -1: none */
	uint64_t size;
	uint8_t *hva;
	unsigned slot_count;
	uint32_t slots[ARCH_RAM_RANGES];
	unsigned area_count; /* pieces mapped into the address space */
};

/*
 * Make the memory object and map it. @huge_page: bytes of the pages that back it, 0 for ordinary
 * ones. One message on failure, which names --memory and what to do.
 */
int ram_create(uint64_t size, uint64_t huge_page, struct ram *ram);
/* After the VM and the address space let go of it. */
void ram_destroy(struct ram *ram);

/*
 * Populate all of it now, by as many threads as there are CPUs (at most 16). Needed before devices
 * pin it, which the kernel would do page by page on one CPU. -errno with a message.
 */
int ram_populate(struct ram *ram);

/* Fill in where this process sees each piece, and give the pieces to KVM. */
int ram_map_kvm(struct ram *ram, struct arch_layout *layout, struct kvm *kvm);
void ram_unmap_kvm(struct ram *ram, struct kvm *kvm);

/* The same pieces for DMA, IOVA = guest-physical address. */
int ram_map_ioas(struct ram *ram, const struct arch_layout *layout, struct ioas *ioas);
void ram_unmap_ioas(struct ram *ram, const struct arch_layout *layout, struct ioas *ioas);

#endif
