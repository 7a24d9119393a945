/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An address bus of the guest (memory-mapped or port I/O): which handler answers which range.
 *
 * vCPU threads look up and call without a lock of their own: the table is replaced as a whole
 * (copy on write), and an old table lives until no search can be reading it.
 *
 *   bus_add / bus_remove   take effect for later accesses at once; never wait for handlers, so they
 *                          may be called from inside a handler and under any lock.
 *   bus_synchronize        waits until every access that began before the call has left its handler.
 *                          Call it before freeing a context, from the loop thread, with no lock held
 *                          that a handler takes.
 */
#ifndef SLUICE_BASE_BUS_H
#define SLUICE_BASE_BUS_H

#include <stdint.h>

struct bus;

struct bus_ops {
	/* @offset is relative to the range, @size is 1, 2, 4 or 8; the access lies inside the range. */
	uint64_t (*read)(void *ctx, uint64_t offset, unsigned size);
	void (*write)(void *ctx, uint64_t offset, uint64_t value, unsigned size);
};

/* Make an empty bus. Returns 0 or -ENOMEM. Owned by the caller; bus_destroy() after the vCPUs ended. */
int bus_create(struct bus **out);
void bus_destroy(struct bus *bus);

/*
 * Answer [@base, @base + @size) by @ops with @ctx. @name (static storage) is for messages.
 * Errors: -EINVAL empty or wrapping range, -EEXIST overlap with another range, -ENOMEM.
 */
int bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops, void *ctx,
	    const char *name);

/* Take the range that begins at @base with context @ctx away. Returns 0 or -ENOENT. */
int bus_remove(struct bus *bus, uint64_t base, const void *ctx);

void bus_synchronize(struct bus *bus);

/*
 * One access of a vCPU. An address nobody answers reads as all ones and drops writes, as on real
 * buses. An access that crosses the end of a range is split, and so is one of an odd size, from the
 * lowest address on. Returns 0, or -ENOENT when nobody answered any byte (for a debug message; the
 * access is complete either way).
 */
int bus_read(struct bus *bus, uint64_t address, void *data, unsigned size);
int bus_write(struct bus *bus, uint64_t address, const void *data, unsigned size);

#endif
