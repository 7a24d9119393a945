/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/support.h"
#include "vmm/base/bus.h"

/* A handler that remembers what it was asked. */
struct probe {
	uint64_t offset, value;
	unsigned size, reads, writes;
	uint64_t answer;
	char log[64]; /* sizes of the accesses, one digit each */
};

static void note(struct probe *probe, uint64_t offset, unsigned size)
{
	size_t n = strlen(probe->log);

	probe->offset = offset;
	probe->size = size;
	if (n + 1 < sizeof(probe->log))
		probe->log[n] = (char)('0' + size);
}

static uint64_t probe_read(void *ctx, uint64_t offset, unsigned size)
{
	struct probe *probe = ctx;

	note(probe, offset, size);
	probe->reads++;
	return probe->answer;
}

static void probe_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct probe *probe = ctx;

	note(probe, offset, size);
	probe->value = value;
	probe->writes++;
}

static const struct bus_ops probe_ops = {.read = probe_read, .write = probe_write};

static struct bus *new_bus(void)
{
	struct bus *bus = NULL;

	cr_assert_eq(bus_create(&bus), 0);
	return bus;
}

Test(bus, hands_an_access_to_the_range_it_falls_into)
{
	struct bus *bus = new_bus();
	struct probe low = {.answer = 0x11223344}, high = {.answer = 0x55667788};
	uint32_t value = 0;

	cr_assert_eq(bus_add(bus, 0x1000, 0x100, &probe_ops, &low, "low"), 0);
	cr_assert_eq(bus_add(bus, 0x2000, 0x100, &probe_ops, &high, "high"), 0);
	cr_assert_eq(bus_read(bus, 0x10fc, &value, 4), 0);
	cr_assert_eq(value, 0x11223344);
	cr_assert_eq(low.offset, 0xfc);
	cr_assert_eq(low.size, 4);
	cr_assert_eq(bus_read(bus, 0x2000, &value, 2), 0);
	cr_assert_eq(value, 0x11227788, "only two bytes are the access's own");
	value = 0xcafe;
	cr_assert_eq(bus_write(bus, 0x2010, &value, 2), 0);
	cr_assert_eq(high.offset, 0x10);
	cr_assert_eq(high.value, 0xcafe);
	cr_assert_eq(low.writes, 0);
	bus_destroy(bus);
}

Test(bus, answers_nobodys_address_with_ones_and_says_so)
{
	struct bus *bus = new_bus();
	struct probe probe = {0};
	uint64_t value = 0;

	cr_assert_eq(bus_read(bus, 0, &value, 8), -ENOENT);
	cr_assert_eq(value, UINT64_MAX);
	cr_assert_eq(bus_write(bus, 0x1234, &value, 8), -ENOENT);
	cr_assert_eq(bus_add(bus, 0x1000, 4, &probe_ops, &probe, "probe"), 0);
	value = 0;
	cr_assert_eq(bus_read(bus, 0xfff, &value, 1), -ENOENT);
	cr_assert_eq(bus_read(bus, 0x1004, &value, 1), -ENOENT);
	cr_assert_eq(value, 0xff);
	cr_assert_eq(probe.reads, 0);
	bus_destroy(bus);
}

Test(bus, splits_an_access_that_crosses_the_end_of_a_range)
{
	struct bus *bus = new_bus();
	struct probe a = {.answer = 0xaaaaaaaa}, b = {.answer = 0xbbbbbbbb};
	uint64_t value = 0;

	/* a: 0x1000..0x1001, hole of 2, b: 0x1004..0x1007 */
	cr_assert_eq(bus_add(bus, 0x1000, 2, &probe_ops, &a, "a"), 0);
	cr_assert_eq(bus_add(bus, 0x1004, 4, &probe_ops, &b, "b"), 0);
	cr_assert_eq(bus_read(bus, 0x1000, &value, 8), 0);
	cr_assert_eq(value, 0xbbbbbbbbffffaaaaull);
	cr_assert_str_eq(a.log, "2");
	cr_assert_str_eq(b.log, "4");
	value = 0x8877665544332211ull;
	cr_assert_eq(bus_write(bus, 0x1001, &value, 8), 0);
	cr_assert_eq(a.offset, 1);
	cr_assert_eq(a.value, 0x11);
	cr_assert_eq(b.offset, 0);
	cr_assert_eq(b.value, 0x77665544);
	/* Begins in nobody's land and ends in a range. */
	value = 0;
	cr_assert_eq(bus_read(bus, 0xffe, &value, 4), 0);
	cr_assert_eq(value, 0xaaaaffff);
	bus_destroy(bus);
}

Test(bus, gives_handlers_powers_of_two_only)
{
	static const struct {
		unsigned size;
		const char *log;
	} cases[] = {
		{1, "1"},  {2, "2"},   {3, "21"}, {4, "4"},   {5, "41"},
		{6, "42"}, {7, "421"}, {8, "8"},  {12, "84"}, {16, "88"},
	};
	struct bus *bus = new_bus();
	struct probe probe = {0};
	uint8_t data[16];

	cr_assert_eq(bus_add(bus, 0, 0x1000, &probe_ops, &probe, "probe"), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(probe.log, 0, sizeof(probe.log));
		cr_assert_eq(bus_read(bus, 3, data, cases[i].size), 0);
		cr_assert_str_eq(probe.log, cases[i].log, "read of %u: %s", cases[i].size,
				 probe.log);
		memset(probe.log, 0, sizeof(probe.log));
		cr_assert_eq(bus_write(bus, 3, data, cases[i].size), 0);
		cr_assert_str_eq(probe.log, cases[i].log, "write of %u: %s", cases[i].size,
				 probe.log);
	}
	bus_destroy(bus);
}

Test(bus, refuses_empty_wrapping_and_overlapping_ranges)
{
	static const struct {
		uint64_t base, size;
		int result;
	} cases[] = {
		{0x1000, 0, -EINVAL},     {UINT64_MAX, 2, -EINVAL},
		{1, UINT64_MAX, 0}, /* ends with the last byte */
		{2, UINT64_MAX, -EINVAL}, {0x2000, 0x1000, -EEXIST},
		{0x1fff, 2, -EEXIST},     {0x2fff, 1, -EEXIST},
		{0x2800, 1, -EEXIST},     {0x1000, 0x3000, -EEXIST},
		{0x1000, 0x1000, 0}, /* touches from below */
		{0x3000, 0x1000, 0}, /* and from above */
		{UINT64_MAX, 1, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bus *bus = new_bus();
		struct probe probe = {0};
		uint8_t byte;

		if (cases[i].size < UINT64_MAX)
			cr_assert_eq(bus_add(bus, 0x2000, 0x1000, &probe_ops, &probe, "there"), 0);
		cr_assert_eq(bus_add(bus, cases[i].base, cases[i].size, &probe_ops, &probe, "new"),
			     cases[i].result, "case %zu", i);
		if (cases[i].result == 0) {
			uint64_t last = cases[i].base + cases[i].size - 1;

			cr_assert_eq(bus_read(bus, last, &byte, 1), 0);
			cr_assert_eq(probe.offset, cases[i].size - 1);
		}
		bus_destroy(bus);
	}
}

Test(bus, removes_only_the_range_with_that_base_and_context)
{
	struct bus *bus = new_bus();
	struct probe probe = {0}, other = {0};
	uint8_t byte;

	cr_assert_eq(bus_add(bus, 0x1000, 0x10, &probe_ops, &probe, "probe"), 0);
	cr_assert_eq(bus_remove(bus, 0x1001, &probe), -ENOENT);
	cr_assert_eq(bus_remove(bus, 0x1000, &other), -ENOENT);
	cr_assert_eq(bus_remove(bus, 0, &probe), -ENOENT);
	cr_assert_eq(bus_read(bus, 0x1000, &byte, 1), 0);
	cr_assert_eq(bus_remove(bus, 0x1000, &probe), 0);
	cr_assert_eq(bus_read(bus, 0x1000, &byte, 1), -ENOENT);
	cr_assert_eq(bus_remove(bus, 0x1000, &probe), -ENOENT);
	bus_destroy(bus);
}

/* The table against a plain array, through many random changes and growth. */
Test(bus, keeps_its_table_right_through_many_changes)
{
	enum { CELLS = 512, STEPS = 20000 };
	static struct probe probes[CELLS];
	bool there[CELLS] = {false};
	struct bus *bus = new_bus();
	unsigned seed = 1;

	for (int step = 0; step < STEPS; step++) {
		unsigned i = (unsigned)rand_r(&seed) % CELLS;
		uint32_t value = 0;

		probes[i].answer = i;
		if (step % 3 == 0) {
			cr_assert_eq(bus_read(bus, i * 16 + 4, &value, 4), there[i] ? 0 : -ENOENT);
			cr_assert_eq(value, there[i] ? i : UINT32_MAX);
		} else if (there[i]) {
			cr_assert_eq(bus_remove(bus, i * 16, &probes[i]), 0);
			there[i] = false;
		} else {
			cr_assert_eq(bus_add(bus, i * 16, 16, &probe_ops, &probes[i], "cell"), 0);
			there[i] = true;
		}
	}
	for (unsigned i = 0; i < CELLS; i++) {
		uint32_t value = 0;

		cr_assert_eq(bus_read(bus, i * 16, &value, 4), there[i] ? 0 : -ENOENT);
	}
	bus_destroy(bus);
}

/* ---- handlers that change the bus, and threads ----------------------------------------------- */

struct mover {
	struct bus *bus;
	uint64_t base;
};

static uint64_t mover_read(void *ctx, uint64_t offset, unsigned size)
{
	struct mover *mover = ctx;

	(void)offset;
	(void)size;
	return mover->base;
}

static void mover_write(void *ctx, uint64_t offset, uint64_t value, unsigned size);
static const struct bus_ops mover_ops = {.read = mover_read, .write = mover_write};

/* As a BAR does: the write to it takes it away from where it is. */
static void mover_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct mover *mover = ctx;

	(void)offset;
	(void)size;
	cr_assert_eq(bus_remove(mover->bus, mover->base, mover), 0);
	mover->base = value;
	cr_assert_eq(bus_add(mover->bus, value, 0x100, &mover_ops, mover, "mover"), 0);
}

Test(bus, lets_a_handler_move_its_own_range)
{
	struct mover mover = {.bus = new_bus(), .base = 0x1000};
	uint64_t to = 0x1000, value;

	cr_assert_eq(bus_add(mover.bus, 0x1000, 0x100, &mover_ops, &mover, "mover"), 0);
	for (int i = 0; i < 1000; i++) {
		uint64_t from = to;

		to += 0x80; /* overlaps where it was */
		cr_assert_eq(bus_write(mover.bus, from, &to, 8), 0);
		cr_assert_eq(bus_read(mover.bus, to, &value, 8), 0);
		cr_assert_eq(value, to);
	}
	bus_destroy(mover.bus);
}

struct slow {
	_Atomic int inside; /* 0 not yet, 1 in the handler, 2 out of it */
	_Atomic bool go;
};

static uint64_t slow_read(void *ctx, uint64_t offset, unsigned size)
{
	struct slow *slow = ctx;

	(void)offset;
	(void)size;
	atomic_store(&slow->inside, 1);
	while (!atomic_load(&slow->go))
		usleep(100);
	usleep(20000);
	atomic_store(&slow->inside, 2);
	return 0;
}

static const struct bus_ops slow_ops = {.read = slow_read, .write = probe_write};

struct reader {
	struct bus *bus;
	uint64_t address;
};

static void *read_once(void *arg)
{
	struct reader *reader = arg;
	uint8_t byte;

	bus_read(reader->bus, reader->address, &byte, 1);
	return NULL;
}

Test(bus, changes_while_a_handler_runs_and_synchronize_waits_for_it)
{
	struct bus *bus = new_bus();
	struct slow slow = {0};
	struct probe probe = {0};
	struct reader reader = {bus, 0x1000};
	pthread_t thread;
	uint8_t byte;

	cr_assert_eq(bus_add(bus, 0x1000, 1, &slow_ops, &slow, "slow"), 0);
	cr_assert_eq(pthread_create(&thread, NULL, read_once, &reader), 0);
	while (atomic_load(&slow.inside) != 1)
		usleep(100);
	/* None of these waits for the handler: else this would hang. */
	cr_assert_eq(bus_remove(bus, 0x1000, &slow), 0);
	for (uint64_t i = 0; i < 100; i++)
		cr_assert_eq(bus_add(bus, 0x2000 + i, 1, &probe_ops, &probe, "more"), 0);
	cr_assert_eq(bus_read(bus, 0x1000, &byte, 1), -ENOENT);
	cr_assert_eq(bus_read(bus, 0x2063, &byte, 1), 0);
	cr_assert_eq(atomic_load(&slow.inside), 1);

	atomic_store(&slow.go, true);
	bus_synchronize(bus);
	cr_assert_eq(atomic_load(&slow.inside), 2, "synchronize came back while the handler ran");
	cr_assert_eq(pthread_join(thread, NULL), 0);
	bus_destroy(bus);
}

static void *synchronize_once(void *arg)
{
	bus_synchronize(arg);
	return NULL;
}

/*
 * One try: an access begins, a waiter begins, another access begins, the first ends. True when the
 * waiter came back while the second access was inside. Nobody can see from outside that the waiter has
 * begun: on a busy machine it may come too late, and then it rightly waits for both.
 */
static bool later_access_is_not_waited_for(unsigned patience)
{
	struct bus *bus = new_bus();
	struct slow first = {0}, second = {0};
	struct reader one = {bus, 0x1000}, two = {bus, 0x2000};
	pthread_t threads[2], waiter;
	struct timespec bound;
	bool back;

	cr_assert_eq(bus_add(bus, 0x1000, 1, &slow_ops, &first, "first"), 0);
	cr_assert_eq(bus_add(bus, 0x2000, 1, &slow_ops, &second, "second"), 0);
	cr_assert_eq(pthread_create(&threads[0], NULL, read_once, &one), 0);
	while (atomic_load(&first.inside) != 1)
		usleep(100);
	cr_assert_eq(pthread_create(&waiter, NULL, synchronize_once, bus), 0);
	usleep(50000 * patience);
	cr_assert_eq(pthread_create(&threads[1], NULL, read_once, &two), 0);
	while (atomic_load(&second.inside) != 1)
		usleep(100);
	atomic_store(&first.go, true);
	clock_gettime(CLOCK_REALTIME, &bound);
	bound.tv_sec += 2 * patience;
	back = pthread_timedjoin_np(waiter, NULL, &bound) == 0;
	if (back)
		cr_assert_eq(atomic_load(&first.inside), 2, "it came back too early");
	atomic_store(&second.go, true);
	if (!back)
		cr_assert_eq(pthread_join(waiter, NULL), 0);
	cr_assert_eq(pthread_join(threads[0], NULL), 0);
	cr_assert_eq(pthread_join(threads[1], NULL), 0);
	bus_destroy(bus);
	return back;
}

Test(bus, synchronize_does_not_wait_for_accesses_that_begin_later, .timeout = 120)
{
	bool seen = false;

	for (unsigned patience = 1; patience <= 6 && !seen; patience++)
		seen = later_access_is_not_waited_for(patience);
	cr_assert(seen, "the later access was waited for");
}

Test(bus, synchronize_without_readers_returns_at_once)
{
	struct bus *bus = new_bus();

	for (int i = 0; i < 1000; i++)
		bus_synchronize(bus);
	bus_destroy(bus);
}

/* What devices do at unplug: remove, synchronize, free; with vCPUs that hammer the address. */
struct box {
	uint64_t magic;
};

static uint64_t box_read(void *ctx, uint64_t offset, unsigned size)
{
	struct box *box = ctx;

	(void)offset;
	(void)size;
	return box->magic;
}

static const struct bus_ops box_ops = {.read = box_read, .write = probe_write};

struct hammer {
	struct bus *bus;
	_Atomic bool *stop;
	unsigned hits;
	unsigned wrong;
};

static void *hammer_run(void *arg)
{
	struct hammer *hammer = arg;

	while (!atomic_load(hammer->stop)) {
		uint64_t value = 0;

		if (bus_read(hammer->bus, 0x5000, &value, 8) == 0) {
			hammer->hits++;
			hammer->wrong += value != 0x1122334455667788ull;
		} else {
			hammer->wrong += value != UINT64_MAX;
		}
	}
	return NULL;
}

Test(bus, frees_contexts_safely_after_synchronize_under_fire, .timeout = 60)
{
	enum { THREADS = 3, ROUNDS = 3000 };
	struct bus *bus = new_bus();
	_Atomic bool stop = false;
	struct hammer hammers[THREADS];
	pthread_t threads[THREADS];
	unsigned hits = 0;

	for (int i = 0; i < THREADS; i++) {
		hammers[i] = (struct hammer){.bus = bus, .stop = &stop};
		cr_assert_eq(pthread_create(&threads[i], NULL, hammer_run, &hammers[i]), 0);
	}
	for (int i = 0; i < ROUNDS; i++) {
		struct box *box = malloc(sizeof(*box));

		box->magic = 0x1122334455667788ull;
		cr_assert_eq(bus_add(bus, 0x5000, 8, &box_ops, box, "box"), 0);
		if (i % 16 == 0)
			usleep(100);
		cr_assert_eq(bus_remove(bus, 0x5000, box), 0);
		bus_synchronize(bus);
		box->magic = 0;
		free(box);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < THREADS; i++) {
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
		cr_assert_eq(hammers[i].wrong, 0);
		hits += hammers[i].hits;
	}
	cr_assert_gt(hits, 0);
	bus_destroy(bus);
}
