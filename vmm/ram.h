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
	/* Asked now and then while it is waited for or populated: true gives up. NULL: never. */
	bool (*cancelled)(void *ctx);
	void *ctx;
};

/*
 * Pure: can the host give @request, all of it at once? 0, or -ENOMEM with the message in @text. Memory
 * that fills as the guest touches it, and huge pages, which are reserved, are never refused here.
 */
int ram_judge(const struct ram_request *request, const struct host_memory *host, char *text,
	      unsigned size);

/* How ram_wait() looks at the host. @ctx is for both functions. */
struct ram_host {
	void (*read)(void *ctx, struct host_memory *out);
	void (*pause)(void *ctx); /* some RAM_PAUSE_MS milliseconds */
	void *ctx;
};

#define RAM_PAUSE_MS 50
#define RAM_PATIENCE 40 /* pauses without more memory than ever before: nobody gives any back */
#define RAM_GROWTH   (1ull << 20) /* what counts as more */
#define RAM_PAUSES   1200         /* in all */

/*
 * ram_judge() until it is content, as long as memory comes back: that of a VM whose process was just
 * killed does so after its devices' pins have gone, and whoever launches its successor at once does
 * not know. What the host cannot have whoever gives back is refused at once. A request that is never
 * refused does not look. 0, -ENOMEM with the message in @text, or -ECANCELED when the request is
 * cancelled.
 */
int ram_wait(const struct ram_request *request, const struct ram_host *host, char *text,
	     unsigned size);

/* Make it. One message on failure: -ENOMEM, or as memory_create(); -ECANCELED without one. */
int ram_create(const struct ram_request *request, struct memory **out);

#endif
