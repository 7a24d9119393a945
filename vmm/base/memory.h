/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest RAM: a plan of where it lies, and one shared memfd that holds it.
 *
 * All RAM is one file and one mapping, so that it can be handed to another process or saved as a
 * whole; the plan says which piece of the file is at which guest-physical address.
 */
#ifndef SLUICE_BASE_MEMORY_H
#define SLUICE_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/dma.h"
#include "vmm/base/host.h"

struct kvm;

/* ---- plan ------------------------------------------------------------------------------------ */

struct memory_piece {
	uint64_t gpa;
	uint64_t size;
	uint64_t offset; /* in the file; equal to gpa modulo the alignment */
	uint8_t *hva;    /* where this process sees it; NULL in a plan, set by memory_create() */
};

struct memory_request {
	uint64_t size;      /* of the RAM, a multiple of page_size */
	uint64_t base;      /* where the first piece begins (x86: 0) */
	uint64_t last;      /* the highest address that RAM may have */
	uint64_t page_size; /* of the backing: the host's page, or a huge page */
	/* Addresses where no RAM may be, in any order, overlapping or not. */
	const struct iova_range *forbidden;
	size_t forbidden_count;
};

/*
 * Lay RAM out from the base upwards around what is forbidden. Pieces begin and end at multiples of
 * 2 MiB (or of the page size, if larger), except that the last one ends where RAM ends, and that the
 * first one is cut where it must be. Only where that finds too little room do pieces begin and end at
 * pages. Where alignment leaves a gap in the file, it takes no memory. @count in: room, out: number of
 * pieces, which are sorted. Errors: -EINVAL size 0 or unaligned, base unaligned or above @last, page
 * size no power of two of 4 KiB or more; -EADDRINUSE RAM cannot begin at the base; -ENOSPC no room
 * up to @last, or in that many pieces.
 */
int memory_plan(const struct memory_request *request, struct memory_piece *pieces, unsigned *count);

/*
 * Turn the ranges that devices can use (ioas_iova_ranges) into those that they cannot: the rest of
 * [0, 2^64). @out has room for @count + 1; @usable is sorted. Returns the number of ranges.
 */
size_t memory_unusable(const struct iova_range *usable, size_t count, struct iova_range *out);

/* ---- the memory ------------------------------------------------------------------------------ */

#define MEMORY_MAX_PIECES 64

struct memory;

/*
 * Make the file for @pieces, map it and fill in where they are. Nothing is populated; huge pages are
 * reserved. One message on failure: -ENOMEM (not enough huge pages, or address space), -ENODEV (the
 * host has none of that size), -EINVAL no or too many pieces, or another -errno of the calls.
 */
int memory_create(struct memory_piece *pieces, unsigned count, enum host_page_kind pages,
		  struct memory **out);

/* After the VM and every address space let go of it. NULL is allowed. */
void memory_destroy(struct memory *memory);

int memory_fd(const struct memory *memory);

/*
 * Populate all pages, with huge ones where the kernel has them to give, with up to @threads threads
 * (0: one for each CPU), the caller's among them. Needed before devices pin them, which the kernel
 * would do page by page on one CPU. @progress(@ctx)
 * is called on the caller's thread after each of its chunks and at the end; false ends the work with
 * -ECANCELED. It may be NULL. One message on other failures: -ENOMEM, or what madvise(2) says.
 */
int memory_populate(struct memory *memory, unsigned threads,
		    bool (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx);

/*
 * One KVM memory slot for each piece; all or nothing. Before the interrupt controller is made: the
 * first slot after it waits some 7 ms for a grace period. One message on failure. The slots go with
 * the VM, all at once: to remove them one by one takes a grace period each.
 */
int memory_add_slots(struct memory *memory, struct kvm *kvm);

/* Every piece at its guest-physical address in @ioas; all or nothing. One message on failure. */
int memory_map_ioas(struct memory *memory, struct ioas *ioas);
void memory_unmap_ioas(struct memory *memory, struct ioas *ioas);

/* ---- access by guest-physical address (loaders; devices use their ioas) ---------------------- */

/* The host address of [@gpa, @gpa + @length), or NULL when that is not all in one piece. */
void *memory_at(struct memory *memory, uint64_t gpa, uint64_t length);

/* -EFAULT when not all of it is in one piece; then nothing was copied. */
int memory_read(struct memory *memory, uint64_t gpa, void *buffer, size_t length);
int memory_write(struct memory *memory, uint64_t gpa, const void *buffer, size_t length);

#endif
