/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference device under a hostile driver, a hostile stream and hostile guest memory. The sanitizers
 * judge; besides, every request ends, and nothing outside of guest memory is asked for twice at once.
 */
#include "devices/vfio/migration_states.h"
#include "tests/unit/reference_bench.h"

#define ROUNDS 200000

static uint64_t seed;

/* xorshift64* */
static uint64_t draw(void)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * 0x2545f4914f6cdd1dull;
}

/* Numbers that are often near a border. */
static uint64_t odd(void)
{
	static const uint64_t borders[] = {0,
					   1,
					   REFERENCE_PAGE,
					   BENCH_MEMORY,
					   BENCH_BASE,
					   BENCH_BASE + BENCH_SIZE,
					   REFERENCE_LENGTH_LIMIT_VALUE,
					   REFERENCE_SCRATCH_OFFSET,
					   UINT32_MAX,
					   UINT64_MAX};
	const uint64_t border = borders[draw() % (sizeof(borders) / sizeof(borders[0]))];

	return draw() % 4 ? border + draw() % 33 - 16 : draw();
}

static void random_access(struct bench *b, uint32_t regions)
{
	uint8_t buffer[64];
	const uint32_t region = (uint32_t)(draw() % regions);
	const size_t count = draw() % sizeof(buffer);
	const uint64_t at = draw() % 3 ? draw() % 0x200 : odd();
	ssize_t n;

	for (size_t i = 0; i < sizeof(buffer); i++)
		buffer[i] = (uint8_t)draw();
	n = draw() % 2 ? reference_read(&b->device, region, buffer, count, at)
		       : reference_write(&b->device, region, buffer, count, at, NULL);
	cr_assert(n == (region == VFIO_PCI_CONFIG_REGION_INDEX ? -EFAULT : -EINVAL) ||
		  (n >= 0 && (size_t)n <= count));
}

static void random_request(struct bench *b)
{
	static const uint32_t registers[] = {
		REFERENCE_SOURCE,         REFERENCE_DESTINATION, REFERENCE_PATTERN,
		REFERENCE_SOURCE_ENTRIES, REFERENCE_PASID,       REFERENCE_VECTOR,
		REFERENCE_INT_STATUS,     REFERENCE_INT_ENABLE,
	};

	bench_write(b, CONFIG, PCI_COMMAND, draw() % 8 ? 6 : draw() & 0xffff, 2);
	for (unsigned i = 0; i < sizeof(registers) / sizeof(registers[0]); i++) {
		const uint64_t value = draw() % 4 ? BENCH_BASE + draw() % BENCH_SIZE : odd();

		reference_write(&b->device, BAR0, &value, 8, registers[i], NULL);
	}
	set32(b, REFERENCE_DESTINATION_ENTRIES, (uint32_t)(draw() % 5));
	set32(b, REFERENCE_LENGTH, (uint32_t)(draw() % 8 ? draw() % 0x9000 : odd()));
	set32(b, REFERENCE_COMMAND,
	      (uint32_t)(draw() % 2 ? draw() % 4 : (draw() & 0x7f00) | draw() % 5));
	if (draw() % 3 == 0)
		bench_entry(b, BENCH_BASE + (uint32_t)(draw() % 8) * 16, 0, odd(), (uint32_t)odd(),
			    (uint32_t)(draw() % 3));
	reference_set_translation(&b->device, draw() % 2, draw() % 2, draw() % 2);
	set32(b, REFERENCE_DOORBELL, (uint32_t)draw());
}

/* Steps until it ends; so many only that a request of a GiB in device memory ends as well. */
static void to_an_end(struct bench *b)
{
	uint64_t steps = 0;

	while (bench_step(b))
		cr_assert_lt(steps++, 4u * REFERENCE_LIST_LIMIT_VALUE);
}

Test(reference_fuzz, accesses_and_requests_of_any_kind, .timeout = 240)
{
	struct bench *b = bench_new();

	seed = 20261;
	for (unsigned i = 0; i < ROUNDS; i++) {
		/* A write of configuration often ends all by a reset or D3hot: seldom, then. */
		random_access(b, draw() % 64 ? VFIO_PCI_ROM_REGION_INDEX : 10);
		if (draw() % 4 == 0)
			random_request(b);
		if (draw() % 2)
			bench_step(b);
		else
			to_an_end(b);
		if (draw() % 64 == 0)
			cr_assert_eq(reference_reset(&b->device), 0);
	}
	cr_assert_gt(b->accesses, ROUNDS / 20);
	bench_free(b);
}

/* Arcs, sessions and the log in any order, with any bytes for a stream. */
Test(reference_fuzz, sessions_in_any_order_with_any_bytes, .timeout = 240)
{
	struct bench *b = bench_new();
	static uint8_t saved[400000], piece[5000];
	size_t length = 0;

	seed = 20262;
	for (unsigned i = 0; i < ROUNDS; i++) {
		enum reference_session_change change;
		uint64_t initial, dirty;
		uint32_t flags;
		size_t at, count;
		ssize_t n;

		switch (draw() % 8) {
		case 0:
		case 1:
			reference_arc(&b->device, (uint32_t)(draw() % 9), &change);
			if (change == REFERENCE_SESSION_SAVE)
				length = 0;
			break;
		case 2:
			count = draw() % (sizeof(saved) - length + 1) % 9000;
			n = reference_save(&b->device, saved + length, count);
			cr_assert(n <= (ssize_t)count);
			length += n > 0 ? (size_t)n : 0;
			break;
		case 3: /* what was saved, with a mistake here and there */
			count = draw() % sizeof(piece);
			at = draw() % 2 ? (size_t)b->device.session.position : draw() % 100000;
			if (at > sizeof(saved) - count)
				at = 0;
			memcpy(piece, saved + at, count);
			if (count && draw() % 4 == 0)
				piece[draw() % count] ^= 1u << draw() % 8;
			reference_load(&b->device, piece, count);
			break;
		case 4:
			reference_precopy_info(&b->device, draw() % 2, &flags, &initial, &dirty);
			b->device.faults.reinit = draw() % 16 == 0;
			b->device.faults.slow_bytes = draw() % 4 ? 0 : 7;
			break;
		case 5:
			random_request(b);
			break;
		case 6:
			random_access(b, VFIO_PCI_ROM_REGION_INDEX); /* no reset by configuration */
			break;
		default:
			to_an_end(b);
			if (reference_state(&b->device) == VFIO_DEVICE_STATE_ERROR ||
			    draw() % 32 == 0)
				cr_assert_eq(reference_reset(&b->device), 0);
			break;
		}
	}
	bench_free(b);
}

/* Change a number of a record, mostly one of its first words. */
static void lie(uint8_t *bytes, size_t length)
{
	/* Records: one header, pages of one size, and three of the end. */
	const size_t tail = 16 + 4096 + 16 + 256 + 16 + 8;
	const size_t records[] = {0, 56 + draw() % 32 * REFERENCE_RECORD_MAX, length - tail,
				  length - (16 + 256 + 16 + 8), length - (16 + 8)};
	const size_t at = records[draw() % 5] + draw() % (draw() % 2 ? 24 : 272);
	const uint64_t value = odd();
	const size_t size = 1u << draw() % 4;

	if (at + size <= length)
		memcpy(bytes + at, &value, size);
}

Test(reference_fuzz, streams_of_a_hostile_sender, .timeout = 240)
{
	struct bench *a = bench_new(), *b = bench_new();
	static uint8_t whole[400000], bytes[400000];
	enum reference_session_change change;
	unsigned taken = 0, refused = 0;
	size_t length;
	ssize_t n;

	seed = 20263;
	set64(a, REFERENCE_SOURCE, BENCH_BASE);
	set64(a, REFERENCE_DESTINATION, 100);
	set32(a, REFERENCE_LENGTH, 30000);
	set32(a, REFERENCE_COMMAND, REFERENCE_OPCODE_COPY | REFERENCE_COMMAND_DESTINATION_MEMORY);
	set32(a, REFERENCE_DOORBELL, 1);
	bench_step(a);
	bench_step(a);
	cr_assert_eq(reference_arc(&a->device, VFIO_DEVICE_STATE_RUNNING_P2P, &change), 0);
	cr_assert_eq(reference_arc(&a->device, VFIO_DEVICE_STATE_STOP, &change), 0);
	cr_assert_eq(reference_arc(&a->device, VFIO_DEVICE_STATE_STOP_COPY, &change), 0);
	n = reference_save(&a->device, whole, sizeof(whole));
	cr_assert_gt(n, 0);
	length = (size_t)n;
	for (unsigned i = 0; i < 3000; i++) {
		int rc;

		memcpy(bytes, whole, length);
		for (uint64_t lies = draw() % 3 + 1; lies > 0; lies--)
			lie(bytes, length);
		if (draw() % 16)
			bench_seal(a, bytes, length);
		cr_assert_eq(reference_reset(&b->device), 0);
		cr_assert_eq(reference_arc(&b->device, VFIO_DEVICE_STATE_RUNNING_P2P, &change), 0);
		cr_assert_eq(reference_arc(&b->device, VFIO_DEVICE_STATE_STOP, &change), 0);
		cr_assert_eq(reference_arc(&b->device, VFIO_DEVICE_STATE_RESUMING, &change), 0);
		n = reference_load(&b->device, bytes, length);
		rc = reference_arc(&b->device, VFIO_DEVICE_STATE_STOP, &change);
		cr_assert_eq(rc, n < 0 ? -EINVAL : 0);
		refused += rc != 0;
		taken += rc == 0;
		if (rc)
			continue;
		cr_assert_eq(reference_arc(&b->device, VFIO_DEVICE_STATE_RUNNING_P2P, &change), 0);
		cr_assert_eq(reference_arc(&b->device, VFIO_DEVICE_STATE_RUNNING, &change), 0);
		to_an_end(b);
	}
	cr_assert_gt(taken, 300);
	cr_assert_gt(refused, 300);
	bench_free(a);
	bench_free(b);
}
