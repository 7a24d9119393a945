/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two grace periods keep vCPU threads free of locks. A reader of the table is inside `lookups` only
 * for the search, and copies what it found: a writer can wait for that, wherever it is called from,
 * and free the old table at once. The handler runs inside `handlers`, which only bus_synchronize()
 * waits for.
 */
#include "vmm/base/bus.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 32

/*
 * Readers count themselves in the counter of the current phase's parity. A waiter begins the next
 * phase and waits for the counter of the last one to fall to zero: whoever comes later counts in the
 * other one. One waiter at a time, so a parity is empty when it is used anew.
 */
struct grace {
	_Atomic uint64_t phase;
	_Atomic unsigned readers[2];
	_Atomic bool waiting;
	pthread_mutex_t waiter; /* one at a time */
	pthread_mutex_t lock;   /* of the condition only */
	pthread_cond_t empty;
};

static void grace_init(struct grace *grace)
{
	pthread_mutex_init(&grace->waiter, NULL);
	pthread_mutex_init(&grace->lock, NULL);
	pthread_cond_init(&grace->empty, NULL);
}

static void grace_fini(struct grace *grace)
{
	pthread_mutex_destroy(&grace->waiter);
	pthread_mutex_destroy(&grace->lock);
	pthread_cond_destroy(&grace->empty);
}

static void grace_leave(struct grace *grace, unsigned parity)
{
	if (atomic_fetch_sub(&grace->readers[parity], 1) == 1 && atomic_load(&grace->waiting)) {
		pthread_mutex_lock(&grace->lock);
		pthread_cond_broadcast(&grace->empty);
		pthread_mutex_unlock(&grace->lock);
	}
}

static unsigned grace_enter(struct grace *grace)
{
	for (;;) {
		uint64_t phase = atomic_load(&grace->phase);
		unsigned parity = phase & 1;

		atomic_fetch_add(&grace->readers[parity], 1);
		/* Still that phase: its waiter, who changes the phase first, will see us. */
		if (atomic_load(&grace->phase) == phase)
			return parity;
		grace_leave(grace, parity);
	}
}

static void grace_wait(struct grace *grace)
{
	unsigned parity;

	pthread_mutex_lock(&grace->waiter);
	atomic_store(&grace->waiting, true);
	parity = atomic_fetch_add(&grace->phase, 1) & 1;
	pthread_mutex_lock(&grace->lock);
	while (atomic_load(&grace->readers[parity]))
		pthread_cond_wait(&grace->empty, &grace->lock);
	pthread_mutex_unlock(&grace->lock);
	atomic_store(&grace->waiting, false);
	pthread_mutex_unlock(&grace->waiter);
}

struct range {
	uint64_t first, last; /* inclusive: a range may end with the address space */
	const struct bus_ops *ops;
	void *ctx;
	const char *name;
};

struct table {
	size_t count;
	struct range ranges[]; /* sorted */
};

/*
 * The table in use and the one to build the next state in; then they change places. Both have the
 * same room, so that taking a range away needs no memory and cannot fail.
 */
struct bus {
	struct table *_Atomic table;
	struct table *spare;
	size_t room;
	pthread_mutex_t change; /* one writer at a time: spare, room */
	struct grace lookups, handlers;
};

static struct table *table_alloc(size_t room)
{
	struct table *table = malloc(sizeof(*table) + room * sizeof(table->ranges[0]));

	if (table)
		table->count = 0;
	return table;
}

int bus_create(struct bus **out)
{
	struct bus *bus = calloc(1, sizeof(*bus));
	struct table *table = table_alloc(FIRST_ROOM);
	struct table *spare = table_alloc(FIRST_ROOM);

	if (!bus || !table || !spare) {
		free(bus);
		free(table);
		free(spare);
		return -ENOMEM;
	}
	atomic_init(&bus->table, table);
	bus->spare = spare;
	bus->room = FIRST_ROOM;
	pthread_mutex_init(&bus->change, NULL);
	grace_init(&bus->lookups);
	grace_init(&bus->handlers);
	*out = bus;
	return 0;
}

void bus_destroy(struct bus *bus)
{
	if (!bus)
		return;
	free(atomic_load(&bus->table));
	free(bus->spare);
	pthread_mutex_destroy(&bus->change);
	grace_fini(&bus->lookups);
	grace_fini(&bus->handlers);
	free(bus);
}

/* The index of the first range that ends at or behind @address. */
static size_t table_search(const struct table *table, uint64_t address)
{
	size_t low = 0, high = table->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (table->ranges[middle].last < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Make @table the one in use. On return nobody reads the old one, which is returned. */
static struct table *table_replace(struct bus *bus, struct table *table)
{
	struct table *old = atomic_exchange(&bus->table, table);

	grace_wait(&bus->lookups);
	return old;
}

static int table_grow(struct bus *bus)
{
	struct table *old = atomic_load(&bus->table);
	struct table *table = table_alloc(bus->room * 2);
	struct table *spare = table_alloc(bus->room * 2);

	if (!table || !spare) {
		free(table);
		free(spare);
		return -ENOMEM;
	}
	table->count = old->count;
	memcpy(table->ranges, old->ranges, old->count * sizeof(old->ranges[0]));
	free(table_replace(bus, table));
	free(bus->spare);
	bus->spare = spare;
	bus->room *= 2;
	return 0;
}

int bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops, void *ctx,
	    const char *name)
{
	struct table *old, *table;
	uint64_t last;
	size_t at;
	int ret;

	if (size == 0 || __builtin_add_overflow(base, size - 1, &last))
		return -EINVAL;

	pthread_mutex_lock(&bus->change);
	old = atomic_load(&bus->table);
	at = table_search(old, base);
	ret = -EEXIST;
	if (at < old->count && old->ranges[at].first <= last)
		goto unlock;
	if (old->count == bus->room) {
		ret = table_grow(bus);
		if (ret)
			goto unlock;
		old = atomic_load(&bus->table);
	}
	table = bus->spare;
	table->count = old->count + 1;
	memcpy(table->ranges, old->ranges, at * sizeof(old->ranges[0]));
	table->ranges[at] = (struct range){
		.first = base,
		.last = last,
		.ops = ops,
		.ctx = ctx,
		.name = name,
	};
	memcpy(&table->ranges[at + 1], &old->ranges[at],
	       (old->count - at) * sizeof(old->ranges[0]));
	bus->spare = table_replace(bus, table);
	ret = 0;
unlock:
	pthread_mutex_unlock(&bus->change);
	return ret;
}

int bus_remove(struct bus *bus, uint64_t base, const void *ctx)
{
	struct table *old, *table;
	int ret = -ENOENT;
	size_t at;

	pthread_mutex_lock(&bus->change);
	old = atomic_load(&bus->table);
	at = table_search(old, base);
	if (at == old->count || old->ranges[at].first != base || old->ranges[at].ctx != ctx)
		goto unlock;
	table = bus->spare;
	table->count = old->count - 1;
	memcpy(table->ranges, old->ranges, at * sizeof(old->ranges[0]));
	memcpy(&table->ranges[at], &old->ranges[at + 1],
	       (table->count - at) * sizeof(old->ranges[0]));
	bus->spare = table_replace(bus, table);
	ret = 0;
unlock:
	pthread_mutex_unlock(&bus->change);
	return ret;
}

void bus_synchronize(struct bus *bus)
{
	grace_wait(&bus->handlers);
}

/*
 * Who answers @address, and how many of the next @size bytes does the answer hold for? True with
 * *@found filled, or false when nobody does.
 */
static bool bus_find(struct bus *bus, uint64_t address, unsigned size, struct range *found,
		     unsigned *bytes)
{
	unsigned parity = grace_enter(&bus->lookups);
	const struct table *table = atomic_load(&bus->table);
	size_t at = table_search(table, address);
	bool answered = false;
	uint64_t room = UINT64_MAX - address; /* bytes - 1 */

	if (at < table->count) {
		answered = table->ranges[at].first <= address;
		if (answered) {
			*found = table->ranges[at];
			room = found->last - address;
		} else {
			room = table->ranges[at].first - address - 1;
		}
	}
	grace_leave(&bus->lookups, parity);

	if (room < size - 1)
		size = (unsigned)room + 1;
	if (answered) /* handlers know powers of two up to 8 */
		size = size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
	*bytes = size;
	return answered;
}

int bus_read(struct bus *bus, uint64_t address, void *data, unsigned size)
{
	unsigned parity = grace_enter(&bus->handlers);
	uint8_t *bytes = data;
	int ret = -ENOENT;

	while (size) {
		struct range range;
		unsigned n;

		if (bus_find(bus, address, size, &range, &n)) {
			uint64_t value = range.ops->read(range.ctx, address - range.first, n);

			memcpy(bytes, &value, n); /* guest and host are little-endian */
			ret = 0;
		} else {
			memset(bytes, 0xff, n);
		}
		bytes += n;
		address += n;
		size -= n;
	}
	grace_leave(&bus->handlers, parity);
	return ret;
}

int bus_write(struct bus *bus, uint64_t address, const void *data, unsigned size)
{
	unsigned parity = grace_enter(&bus->handlers);
	const uint8_t *bytes = data;
	int ret = -ENOENT;

	while (size) {
		struct range range;
		unsigned n;

		if (bus_find(bus, address, size, &range, &n)) {
			uint64_t value = 0;

			memcpy(&value, bytes, n);
			range.ops->write(range.ctx, address - range.first, value, n);
			ret = 0;
		}
		bytes += n;
		address += n;
		size -= n;
	}
	grace_leave(&bus->handlers, parity);
	return ret;
}
