/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where everything that the guest starts with goes, and the bytes of the structures that tell it
 * (plan). Addresses below 1 MiB are those of platform.h.
 */
#ifndef SLUICE_X86_BOOT_PLAN_H
#define SLUICE_X86_BOOT_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "arch/arch.h"
#include "arch/x86/kernel_image.h"

struct boot_request {
	const struct arch_layout *layout;
	const struct kernel_image *image;
	const uint64_t *initrd_sizes;
	unsigned initrd_count;
	size_t cmdline_length;
};

struct boot_placement {
	uint64_t kernel_shift; /* to add to every address of the image */
	uint64_t initrd;       /* of the first; 0: none */
	uint64_t initrd_size;  /* of all, each padded to 4 bytes but the last */
	struct arch_entry entry;
};

/*
 * -E2BIG with *@why when the layout has no room for something. The initrd goes as high as the kernel
 * takes it, so that nothing the kernel unpacks runs over it.
 */
int boot_plan(const struct boot_request *request, struct boot_placement *out, const char **why);

/* Offset of initrd @index from the first; the kernel wants each archive on 4 bytes. */
uint64_t boot_initrd_offset(const uint64_t *sizes, unsigned index);

/* An entry of the firmware's memory map, with the types of E820. */
struct boot_memory {
	uint64_t base;
	uint64_t size;
	uint32_t type;
};
#define BOOT_MEMORY_RAM      1
#define BOOT_MEMORY_RESERVED 2
#define BOOT_MEMORY_MAX      (ARCH_RAM_RANGES + 4)

/* Sorted; RAM, the first MiB's structures and the ECAM. Returns the number of entries. */
unsigned boot_memory_map(const struct arch_layout *layout, struct boot_memory *out);

/* One page each, of zeroes before. */
void boot_zero_page(const struct boot_request *request, const struct boot_placement *placement,
		    uint8_t *page);
void boot_start_info(const struct boot_request *request, const struct boot_placement *placement,
		     uint8_t *page);

#define BOOT_PAGE_TABLE_BYTES (6 * 4096)
#define BOOT_GDT_BYTES        40
/* Selectors of boot.rst, section "64-bit boot protocol", and of the PVH entry. */
#define BOOT_CS               0x10
#define BOOT_DS               0x18
#define BOOT_TSS              0x20
void boot_page_tables(uint64_t *tables);
void boot_gdt(uint64_t *entries);

#endif
