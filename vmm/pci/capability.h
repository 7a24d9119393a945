/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plan: capability chains of a configuration space. Pure functions over bytes: emulated functions
 * lay their chains out with it, the VFIO front end reads the chain of a device it does not trust
 * and links a new one from the capabilities it keeps.
 *
 * PCI Local Bus 3.0 section 6.7 (conventional chain), PCI Express 6.0 section 7.6 (extended chain).
 */
#ifndef SLUICE_PCI_CAPABILITY_H
#define SLUICE_PCI_CAPABILITY_H

#include <stddef.h>
#include <stdint.h>

#define PCI_CAPABILITY_FIRST 0x40  /* lowest place of a conventional capability */
#define PCI_CAPABILITY_END   0x100 /* and the end of their space */
#define PCI_EXTENDED_FIRST   0x100 /* where the extended chain begins, always */
#define PCI_EXTENDED_END     0x1000

/* How many entries a chain can have at most: one per dword of its space. */
#define PCI_CAPABILITY_MAX ((PCI_CAPABILITY_END - PCI_CAPABILITY_FIRST) / 4)
#define PCI_EXTENDED_MAX   ((PCI_EXTENDED_END - PCI_EXTENDED_FIRST) / 4)

struct pci_capability {
	uint16_t id;
	uint16_t offset;
	uint16_t
		room; /* bytes up to the next capability (in space, not chain) or the space's end */
	uint8_t version; /* extended capabilities only, else 0 */
};

/*
 * List the chain in chain order. @size: bytes of @config that are there (64..4096; a conventional
 * device has 256, and no extended chain). @caps has room for @max entries.
 *
 * *@count is the number of entries that are sound; they are filled in even on error:
 *   -ELOOP  the next pointer leads to an entry already seen
 *   -ERANGE the next pointer leads out of the space
 *   -EIO    the entry reads as all ones: the device is gone, or does not answer there
 *   -ENOSPC more than @max entries
 * The two lowest bits of a pointer are reserved and ignored.
 */
int pci_capability_walk(const uint8_t *config, size_t size, struct pci_capability *caps, size_t max,
			size_t *count);
int pci_extended_walk(const uint8_t *config, size_t size, struct pci_capability *caps, size_t max,
		      size_t *count);

/* The first entry with @id, or NULL. */
const struct pci_capability *pci_capability_find(const struct pci_capability *caps, size_t count,
						 uint16_t id);

/* Offset of the first capability with @id, 0 when the sound part of the chain has none. */
uint16_t pci_capability_offset(const uint8_t *config, size_t size, uint8_t id);
uint16_t pci_extended_offset(const uint8_t *config, size_t size, uint16_t id);

/*
 * Write the chain that leads through @caps in their order; the capabilities stay where they are,
 * their bodies are not touched. @count 0 is an empty chain.
 *
 * pci_capability_link writes the pointer at 0x34, the status bit, ids and next pointers.
 * pci_extended_link writes ids, versions and next pointers. The extended chain has to begin at
 * 0x100: the entry there, when there is one, must be the first; when there is none, an empty entry
 * with id 0xffff, which no driver takes for anything, is put there to carry the pointer.
 *
 * -EINVAL, and nothing written: an entry out of range, unaligned, or named twice; an extended entry
 * at 0x100 that is not the first.
 */
int pci_capability_link(uint8_t *config, const struct pci_capability *caps, size_t count);
int pci_extended_link(uint8_t *config, const struct pci_capability *caps, size_t count);

/*
 * The lowest free place for @length bytes in [@first, @end) between the capabilities of @caps, each
 * of which takes [offset, offset + room): the caller puts their real length in room. Dword aligned.
 * Returns the offset, or -ENOSPC.
 */
int pci_capability_place(const struct pci_capability *caps, size_t count, unsigned length,
			 unsigned first, unsigned end);

#endif
