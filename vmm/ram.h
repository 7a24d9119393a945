/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's RAM: whether the host can give it, made, and populated where it has to be.
 */
#ifndef SLUICE_RAM_H
#define SLUICE_RAM_H

#include <stdbool.h>
#include <stdint.h>

struct host_memory;
struct memory;
struct memory_piece;

struct ram_request {
	struct memory_piece *pieces; /* the layout; receives where they are (memory_create) */
	unsigned count;
	uint64_t size;      /* of all pieces */
	uint64_t huge_page; /* bytes of the huge pages that back it, 0: ordinary pages */
	bool prefault;      /* the user wants all of it populated */
	bool pinned;        /* a passed-through device pins all of it */
	/* Asked now and then while it is populated: true gives up. */
	bool (*cancelled)(void *ctx);
	void *ctx;
};

/*
 * Pure: can the host give @request, all of it at once? 0, or -ENOMEM with the message in @text. Memory
 * that fills as the guest touches it, and huge pages, which are reserved, are never refused here.
 */
int ram_judge(const struct ram_request *request, const struct host_memory *host, char *text,
	      unsigned size);

/* Make it. One message on failure: -ENOMEM, or as memory_create(); -ECANCELED without one. */
int ram_create(const struct ram_request *request, struct memory **out);

#endif
