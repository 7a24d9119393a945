/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a kernel file says about itself (plan): which bytes go where, and where it is entered.
 *
 * Takes bzImage (Documentation/arch/x86/boot.rst, protocol 2.12 or newer with a 64-bit entry) and
 * ELF for x86-64 with the PVH note (xen/include/public/arch-x86/hvm/start_info.h), with a 64-bit
 * entry as Linux's vmlinux has, or both. Nothing the file says is believed unchecked.
 */
#ifndef SLUICE_X86_KERNEL_IMAGE_H
#define SLUICE_X86_KERNEL_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KERNEL_SEGMENTS  16
#define SETUP_HEADER_AT  0x1f1 /* in a bzImage and in the zero page */
#define SETUP_HEADER_MAX 0x9f  /* up to edd_mbr_sig_buffer in the zero page */

/* Random access to the file. @read returns 0 only when all @size bytes were there. */
struct kernel_source {
	int (*read)(void *ctx, uint64_t offset, void *buffer, size_t size);
	void *ctx;
	uint64_t size;
};

struct kernel_segment {
	uint64_t offset; /* in the file */
	uint64_t file_size;
	uint64_t gpa;
	uint64_t size; /* in memory; what is beyond @file_size is zero */
};

struct kernel_image {
	bool bzimage;
	struct kernel_segment segments[KERNEL_SEGMENTS]; /* sorted by gpa, disjoint */
	unsigned segment_count;
	uint64_t entry_64;  /* 0: none */
	uint64_t entry_pvh; /* 0: none */

	/* bzImage: may be loaded elsewhere at a multiple of this; 0: it may not. */
	uint64_t relocation_alignment;
	uint64_t initrd_limit; /* no byte of the initrd at or above this address */
	uint32_t cmdline_max;  /* bytes without the end of the string */
	uint8_t setup_header[SETUP_HEADER_MAX];
	size_t setup_header_size; /* 0 for ELF */
};

/*
 * -ENOEXEC: no kernel of a kind that can be booted here; -EINVAL: damaged; what the source answered.
 * *@why is a text for the message (static storage), NULL when reading failed.
 */
int kernel_image_plan(const struct kernel_source *source, struct kernel_image *out,
		      const char **why);

#endif
