/* SPDX-License-Identifier: Apache-2.0 */
/* The reference device moves: states, the stream, what a bad stream can do, and the log of its DMA. */
#include "devices/vfio/migration_states.h"
#include "tests/unit/reference_bench.h"

#define S(name) VFIO_DEVICE_STATE_##name
#define ALL     (VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P | VFIO_MIGRATION_PRE_COPY)
#define COPY    REFERENCE_OPCODE_COPY
#define FILL    REFERENCE_OPCODE_FILL
#define A       (BENCH_BASE + 0x1003u)
#define B       (BENCH_BASE + 0x40005u)
#define PAGES   ((BENCH_MEMORY + REFERENCE_SCRATCH_SIZE) / REFERENCE_PAGE)
#define RECORD  REFERENCE_RECORD_MAX

struct stream {
	uint8_t *bytes;
	size_t length;
};

/* Way to @state by arcs; returns the first error. Session changes are added up in @sessions. */
static int go(struct bench *b, uint32_t state)
{
	while (reference_state(&b->device) != state) {
		enum reference_session_change session;
		uint32_t next;
		int rc = vfio_mig_get_next_state(b->device.migration_flags,
						 reference_state(&b->device), state, &next);

		if (rc == 0)
			rc = reference_arc(&b->device, next, &session);
		if (rc)
			return rc;
	}
	return 0;
}

/* Read on until there is nothing now; 0 or -ENOMSG as the last read said. */
static ssize_t drain(struct bench *b, struct stream *s, size_t piece)
{
	ssize_t n;

	do {
		s->bytes = realloc(s->bytes, s->length + piece);
		n = reference_save(&b->device, s->bytes + s->length, piece);
		s->length += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	return n;
}

static ssize_t load(struct bench *b, const struct stream *s, size_t piece)
{
	for (size_t at = 0; at < s->length; at += piece) {
		const size_t part = s->length - at < piece ? s->length - at : piece;
		const ssize_t n = reference_load(&b->device, s->bytes + at, part);

		if (n < 0)
			return n;
		cr_assert_eq((size_t)n, part);
	}
	return 0;
}

static struct stream save_whole(struct bench *b)
{
	struct stream s = {0};

	cr_assert_eq(go(b, S(STOP_COPY)), 0);
	cr_assert_eq(drain(b, &s, 100000), 0);
	return s;
}

/* ---- states ---- */

Test(reference_migration, arcs_are_the_kernels_and_no_others)
{
	const uint32_t sets[] = {VFIO_MIGRATION_STOP_COPY,
				 VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P,
				 VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_PRE_COPY, ALL};
	unsigned taken = 0;

	for (unsigned i = 0; i < 4; i++) {
		struct bench *b = bench_new_flags(sets[i]);

		for (uint32_t from = 0; from < VFIO_DEVICE_NUM_STATES + 2; from++) {
			for (uint32_t to = 0; to < VFIO_DEVICE_NUM_STATES + 2; to++) {
				enum reference_session_change session;
				uint32_t next;
				/* One arc: the way's first step is its last, and it is a way. */
				const bool arc =
					vfio_mig_get_next_state(sets[i], from, to, &next) == 0 &&
					next == to && from != to;
				int rc;

				if (from != S(ERROR) && !vfio_mig_state_supported(sets[i], from))
					continue; /* it cannot get there */
				cr_assert_eq(reference_reset(&b->device), 0);
				b->device.state = from;
				rc = reference_arc(&b->device, to, &session);
				if (from == S(RESUMING) && arc) {
					cr_assert_eq(rc, -EINVAL); /* no stream */
					cr_assert_eq(reference_state(&b->device), S(ERROR));
					continue;
				}
				cr_assert_eq(rc, arc ? 0 : -EINVAL, "flags %x: %u to %u", sets[i],
					     from, to);
				cr_assert_eq(reference_state(&b->device), arc ? to : from);
				taken += arc;
			}
		}
		bench_free(b);
	}
	cr_assert_eq(taken, 5 + 7 + 8 + 14);
}

Test(reference_migration, out_of_error_leads_only_a_reset)
{
	struct bench *b = bench_new();
	enum reference_session_change session;

	b->device.faults.fail_state = S(STOP);
	b->device.faults.fail_state_times = 1;
	cr_assert_eq(go(b, S(STOP)), -EIO);
	cr_assert_eq(reference_state(&b->device), S(ERROR));
	for (uint32_t to = 0; to < VFIO_DEVICE_NUM_STATES; to++)
		cr_assert_eq(reference_arc(&b->device, to, &session), -EINVAL);
	cr_assert_eq(reference_reset(&b->device), 0);
	cr_assert_eq(go(b, S(STOP)), 0); /* once only */
	bench_free(b);
}

Test(reference_migration, every_state_can_be_made_to_fail_and_ends_the_session)
{
	const uint32_t states[] = {S(STOP),     S(RUNNING),     S(STOP_COPY),
				   S(RESUMING), S(RUNNING_P2P), S(PRE_COPY_P2P)};

	for (unsigned i = 0; i < 6; i++) {
		struct bench *b = bench_new();
		uint8_t byte;

		cr_assert_eq(go(b, S(PRE_COPY)), 0);
		cr_assert_eq(reference_save(&b->device, &byte, 1), 1);
		b->device.faults.fail_state = states[i];
		b->device.faults.fail_state_times = 1;
		cr_assert_eq(go(b, states[i]), -EIO);
		cr_assert_eq(reference_state(&b->device), S(ERROR));
		cr_assert_eq(reference_save(&b->device, &byte, 1), -ENODEV);
		bench_free(b);
	}
}

Test(reference_migration, a_stopped_device_takes_a_request_and_runs_it_later)
{
	const uint32_t stopped[] = {S(RUNNING_P2P), S(STOP), S(STOP_COPY), S(PRE_COPY_P2P)};

	for (unsigned i = 0; i < 4; i++) {
		struct bench *b = bench_new();

		cr_assert_eq(go(b, stopped[i]), 0);
		bench_request(b, COPY | REFERENCE_COMMAND_INTERRUPT, A, B, 100);
		cr_assert_eq(get32(b, REFERENCE_STATUS),
			     REFERENCE_STATUS_BUSY | REFERENCE_STATUS_PENDING);
		cr_assert_eq(b->accesses + b->raised[0], 0);
		cr_assert_eq(go(b, S(RUNNING)), 0);
		bench_run(b);
		cr_assert_eq(b->raised[0], 1);
		cr_assert_eq(get64(b, REFERENCE_COMPLETED), 1);
		bench_free(b);
	}
}

/* ---- the stream ---- */

Test(reference_migration, everything_arrives_in_pieces_of_any_size)
{
	const size_t pieces[] = {61, 777, 4096, 1000000};

	for (unsigned i = 0; i < 4; i++) {
		struct bench *a = bench_new(), *b = bench_new();
		struct stream s = {0};

		for (uint32_t at = 0; at < BENCH_MEMORY; at++)
			a->device.mem.memory[at] = (uint8_t)(at * 3 + at / 300);
		a->device.mem.scratch[5] = 0x77;
		set32(a, REFERENCE_INT_ENABLE, 3);
		cr_assert_eq(bench_request(a, COPY, 0, B, 100), REFERENCE_ERROR_READ);
		cr_assert_eq(go(a, S(STOP_COPY)), 0);
		cr_assert_eq(drain(a, &s, pieces[i]), 0);
		cr_assert_eq(s.length, reference_data_size(&a->device));
		cr_assert_eq(reference_save(&a->device, s.bytes, 1), 0); /* the end stays the end */

		cr_assert_eq(go(b, S(RESUMING)), 0);
		cr_assert_eq(load(b, &s, pieces[i]), 0);
		cr_assert_not(b->intx);
		cr_assert_eq(go(b, S(RUNNING)), 0);
		cr_assert(b->intx);
		cr_assert_eq(memcmp(a->device.mem.memory, b->device.mem.memory, BENCH_MEMORY), 0);
		cr_assert_eq(memcmp(a->device.mem.scratch, b->device.mem.scratch,
				    REFERENCE_SCRATCH_SIZE),
			     0);
		cr_assert_eq(memcmp(a->device.config, b->device.config, REFERENCE_CONFIG_SIZE), 0);
		for (uint32_t at = 0; at < REFERENCE_REGISTERS_END; at += 4)
			cr_assert_eq(get32(a, at), get32(b, at), "register %x", at);
		free(s.bytes);
		bench_free(a);
		bench_free(b);
	}
}

Test(reference_migration, a_request_halted_anywhere_goes_on_at_the_destination)
{
	const uint32_t list = BENCH_BASE;

	/* Halted after each number of steps that it takes. */
	for (unsigned steps = 0;; steps++) {
		struct bench *a = bench_new(), *b = bench_new();
		struct stream s;
		unsigned done = 0;

		bench_entry(a, list, 0, A, 10000, 0);
		bench_entry(a, list, 1, 0x2000, 9000, REFERENCE_ENTRY_MEMORY);
		memset(a->device.mem.memory + 0x2000, 0x42, 9000);
		set64(a, REFERENCE_SOURCE, list);
		set32(a, REFERENCE_SOURCE_ENTRIES, 2);
		set64(a, REFERENCE_DESTINATION, B);
		set32(a, REFERENCE_LENGTH, 19000);
		set32(a, REFERENCE_COMMAND,
		      COPY | REFERENCE_COMMAND_CRC | REFERENCE_COMMAND_SOURCE_LIST |
			      REFERENCE_COMMAND_INTERRUPT);
		set32(a, REFERENCE_DOORBELL, 0x7a6);
		while (done < steps && bench_step(a))
			done++;
		s = save_whole(a);
		cr_assert_eq(go(b, S(RESUMING)), 0);
		cr_assert_eq(load(b, &s, 5000), 0);
		/* The guest's memory moves as well. */
		memcpy(b->ram, a->ram, BENCH_SIZE);
		cr_assert_eq(go(b, S(RUNNING)), 0);
		bench_run(b);
		cr_assert_eq(get64(b, REFERENCE_COMPLETED), 1);
		cr_assert_eq(get32(b, REFERENCE_ERROR), 0);
		cr_assert_eq(get32(b, REFERENCE_TAG), 0x7a6);
		cr_assert_eq(get64(b, REFERENCE_BYTES), 19000);
		cr_assert_eq(a->raised[0] + b->raised[0], 1);
		cr_assert_eq(memcmp(b->ram + (B - BENCH_BASE), b->ram + (A - BENCH_BASE), 10000),
			     0);
		cr_assert_eq(b->ram[B - BENCH_BASE + 18999], 0x42);
		bench_request(b, REFERENCE_OPCODE_CRC, B, 0, 19000);
		free(s.bytes);
		bench_free(a);
		bench_free(b);
		if (done < steps) {
			cr_assert_gt(steps, 8);
			return;
		}
	}
}

Test(reference_migration, precopy_gives_initial_then_dirty_bytes)
{
	struct bench *b = bench_new(), *c = bench_new();
	struct stream s = {0};
	uint64_t initial, dirty;
	uint32_t flags;

	cr_assert_eq(reference_precopy_info(&b->device, true, &flags, &initial, &dirty), -EINVAL);
	cr_assert_eq(go(b, S(PRE_COPY)), 0);
	cr_assert_eq(reference_precopy_info(&b->device, true, &flags, &initial, &dirty), 0);
	cr_assert_eq(initial, 56 + PAGES * RECORD);
	cr_assert_eq(dirty, 0);
	cr_assert_eq(flags, 0);
	/* A page that has not gone yet goes as it is then, not twice. */
	bench_write(b, BAR2, BENCH_MEMORY - 1, 1, 1);
	s.bytes = malloc(100);
	cr_assert_eq(reference_save(&b->device, s.bytes, 100), 100);
	s.length = 100;
	cr_assert_eq(reference_precopy_info(&b->device, true, &flags, &initial, &dirty), 0);
	cr_assert_eq(initial, 56 + PAGES * RECORD - 100);
	cr_assert_eq(dirty, 0);
	cr_assert_eq(drain(b, &s, 10000), -ENOMSG);
	cr_assert_eq(s.length, 56 + PAGES * RECORD);
	/* By a trapped write, by the engine, by scratch memory: three pages. */
	bench_write(b, BAR2, 3 * REFERENCE_PAGE, 0x66, 1);
	bench_write(b, BAR2, 3 * REFERENCE_PAGE + 8, 0x67, 1);
	cr_assert_eq(bench_request(b, FILL | REFERENCE_COMMAND_DESTINATION_MEMORY, 0,
				   5 * REFERENCE_PAGE, 10),
		     0);
	bench_write(b, BAR0, REFERENCE_SCRATCH_OFFSET, 0x68, 1);
	cr_assert_eq(reference_precopy_info(&b->device, true, &flags, &initial, &dirty), 0);
	cr_assert_eq(initial, 0);
	cr_assert_eq(dirty, 3 * RECORD);
	cr_assert_eq(drain(b, &s, 10000), -ENOMSG);
	cr_assert_eq(s.length, 56 + (PAGES + 3) * RECORD);
	cr_assert_eq(go(b, S(STOP_COPY)), 0);
	cr_assert_eq(reference_precopy_info(&b->device, true, &flags, &initial, &dirty), -EINVAL);
	cr_assert_eq(drain(b, &s, 10000), 0);
	cr_assert_eq(s.length, 56 + (PAGES + 3) * RECORD + 16 + 4096 + 16 + 256 + 16 + 8);

	cr_assert_eq(go(c, S(RESUMING)), 0);
	cr_assert_eq(load(c, &s, 3000), 0);
	cr_assert_eq(go(c, S(STOP)), 0);
	cr_assert_eq(c->device.mem.memory[BENCH_MEMORY - 1], 1);
	cr_assert_eq(c->device.mem.memory[3 * REFERENCE_PAGE + 8], 0x67);
	cr_assert_eq(c->device.mem.scratch[0], 0x68);
	free(s.bytes);
	bench_free(b);
	bench_free(c);
}

Test(reference_migration, mapped_memory_goes_again_at_the_end)
{
	struct bench *b = bench_new(), *c = bench_new();
	struct stream s = {0};

	reference_set_mapped(&b->device, true);
	cr_assert_eq(go(b, S(PRE_COPY)), 0);
	cr_assert_eq(drain(b, &s, 10000), -ENOMSG);
	b->device.mem.memory[77] = 0x99; /* a store that nobody sees */
	reference_set_mapped(&b->device, false);
	cr_assert_eq(go(b, S(STOP_COPY)), 0);
	cr_assert_eq(drain(b, &s, 10000), 0);
	cr_assert_eq(go(c, S(RESUMING)), 0);
	cr_assert_eq(load(c, &s, 3000), 0);
	cr_assert_eq(go(c, S(STOP)), 0);
	cr_assert_eq(c->device.mem.memory[77], 0x99);
	free(s.bytes);
	bench_free(b);
	bench_free(c);
}

Test(reference_migration, reinit_makes_all_bytes_initial_again)
{
	struct bench *b = bench_new();
	struct stream s = {0};
	uint64_t initial, dirty;
	uint32_t flags;

	cr_assert_eq(go(b, S(PRE_COPY)), 0);
	cr_assert_eq(drain(b, &s, 10000), -ENOMSG);
	bench_write(b, BAR2, 0, 1, 1);
	b->device.faults.reinit = true;
	/* One who does not know the flag is not told, and loses nothing. */
	cr_assert_eq(reference_precopy_info(&b->device, false, &flags, &initial, &dirty), 0);
	cr_assert_eq(flags, 0);
	cr_assert_eq(dirty, RECORD);
	cr_assert_eq(reference_precopy_info(&b->device, true, &flags, &initial, &dirty), 0);
	cr_assert_eq(flags, VFIO_PRECOPY_INFO_REINIT);
	cr_assert_eq(initial, PAGES * RECORD);
	cr_assert_eq(dirty, 0);
	cr_assert_eq(reference_precopy_info(&b->device, true, &flags, &initial, &dirty), 0);
	cr_assert_eq(flags, 0);
	free(s.bytes);
	bench_free(b);
}

static int resume(struct bench *b, const struct stream *s)
{
	ssize_t fed;
	int rc;

	cr_assert_eq(reference_reset(&b->device), 0);
	cr_assert_eq(go(b, S(RESUMING)), 0);
	fed = load(b, s, 60000);
	rc = go(b, S(STOP));
	cr_assert(fed == 0 || rc == -EINVAL);
	cr_assert_eq(reference_state(&b->device), rc ? S(ERROR) : S(STOP));
	return rc;
}

Test(reference_migration, a_stream_cut_anywhere_is_refused, .timeout = 120)
{
	struct bench *a = bench_new(), *b = bench_new();
	const struct stream s = save_whole(a);

	cr_assert_eq(resume(b, &s), 0);
	for (size_t length = 0; length < s.length;
	     length += length < 6000 || length > s.length - 4500 ? 1 : 997) {
		const struct stream cut = {s.bytes, length};

		cr_assert_eq(resume(b, &cut), -EINVAL, "%zu bytes", length);
	}
	free(s.bytes);
	bench_free(a);
	bench_free(b);
}

Test(reference_migration, a_flipped_bit_is_refused, .timeout = 120)
{
	struct bench *a = bench_new(), *b = bench_new();
	const struct stream s = save_whole(a);

	for (size_t at = 0; at < s.length; at += at < 4300 || at > s.length - 4500 ? 1 : 991) {
		const uint8_t bit = (uint8_t)(1u << at % 8);

		s.bytes[at] ^= bit;
		cr_assert_eq(resume(b, &s), -EINVAL, "byte %zu", at);
		s.bytes[at] ^= bit;
	}
	free(s.bytes);
	bench_free(a);
	bench_free(b);
}

Test(reference_migration, bytes_behind_the_end_are_refused)
{
	struct bench *a = bench_new(), *b = bench_new();
	struct stream s = save_whole(a);

	s.bytes = realloc(s.bytes, s.length + 1);
	s.bytes[s.length++] = 0;
	cr_assert_eq(resume(b, &s), -EINVAL);
	free(s.bytes);
	bench_free(a);
	bench_free(b);
}

Test(reference_migration, a_sealed_lie_does_no_harm, .timeout = 120)
{
	struct bench *a = bench_new(), *b = bench_new();
	struct stream s;
	size_t state;
	unsigned taken = 0, refused = 0;

	set32(a, REFERENCE_INT_ENABLE, 3);
	set64(a, REFERENCE_SOURCE, A);
	set64(a, REFERENCE_DESTINATION, 0x100);
	set32(a, REFERENCE_LENGTH, 30000);
	set32(a, REFERENCE_COMMAND,
	      COPY | REFERENCE_COMMAND_DESTINATION_MEMORY | REFERENCE_COMMAND_INTERRUPT);
	set32(a, REFERENCE_DOORBELL, 5);
	for (unsigned i = 0; i < 3; i++)
		bench_step(a);
	s = save_whole(a);
	state = s.length - (16 + 8) - 256;
	/* Every byte of STATE, to extremes; what is taken must then run to an end. */
	for (size_t at = 0; at < 256; at++) {
		const uint8_t values[] = {0xff, 0x80, 0x7f, 1, 0};
		const uint8_t old = s.bytes[state + at];

		for (unsigned i = 0; i < 5; i++) {
			s.bytes[state + at] = values[i];
			bench_seal(a, s.bytes, s.length);
			if (resume(b, &s)) {
				refused++;
				continue;
			}
			taken++;
			cr_assert_eq(go(b, S(RUNNING)), 0);
			bench_run(b);
			cr_assert_eq(get32(b, REFERENCE_STATUS), 0, "byte %zu", at);
		}
		s.bytes[state + at] = old;
	}
	cr_assert_gt(taken, 300);
	cr_assert_gt(refused, 100);
	/* Configuration: what is read-only stays. */
	memset(s.bytes + state - 16 - 4096, 0xff, 4096);
	bench_seal(a, s.bytes, s.length);
	cr_assert_eq(resume(b, &s), 0);
	for (unsigned i = 0; i < REFERENCE_CONFIG_SIZE; i++)
		cr_assert_eq(b->device.config[i] & ~b->device.writable[i] & (i < 0x40 ? 0xff : 0),
			     i < 0x40 ? a->device.config[i] & ~a->device.writable[i] : 0);
	free(s.bytes);
	bench_free(a);
	bench_free(b);
}

Test(reference_migration, records_out_of_order_or_out_of_bounds_are_refused)
{
	struct bench *a = bench_new(), *b = bench_new();
	struct stream s = save_whole(a);
	uint8_t *header = s.bytes, *page = s.bytes + 56, *second = page + RECORD;
	const struct {
		uint8_t *at;
		uint64_t value;
		size_t size;
	} lies[] = {
		{header + 16, 1, 8},                              /* magic */
		{header + 24, 2, 4},                              /* version */
		{header + 28, BENCH_VECTORS + 1, 4},              /* another device */
		{header + 32, BENCH_MEMORY * 2, 8},               /* likewise */
		{header + 40, 0, 8},                              /* scratch */
		{header + 48, 0x12345678, 4},                     /* ids */
		{header + 52, 1, 4},                              /* reserved */
		{header + 8, 1, 4},                               /* sequence */
		{header, 2, 4},                                   /* type */
		{page + 16, PAGES * (uint64_t)REFERENCE_PAGE, 8}, /* beyond the memory */
		{page + 16, UINT64_MAX - 4095, 8},                /* likewise */
		{page + 16, 1, 8},                                /* unaligned */
		{page + 4, 8, 4},                                 /* length */
		{page + 4, 0xffffffff, 4},                        /* likewise */
		{page, 0, 4},                                     /* unknown type */
		{page, 6, 4},                                     /* likewise */
		{page, 1, 4},                                     /* a second header */
		{second + 8, 1, 4},                               /* sequence twice */
		{s.bytes + s.length - 8, 0, 8},                   /* position in END */
		{s.bytes + s.length - 24, 3, 4},                  /* END becomes CONFIG */
	};

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		uint64_t old = 0;

		memcpy(&old, lies[i].at, lies[i].size);
		memcpy(lies[i].at, &lies[i].value, lies[i].size);
		bench_seal(a, s.bytes, s.length);
		cr_assert_eq(resume(b, &s), -EINVAL, "lie %zu", i);
		memcpy(lies[i].at, &old, lies[i].size);
	}
	bench_seal(a, s.bytes, s.length);
	cr_assert_eq(resume(b, &s), 0);
	free(s.bytes);
	bench_free(a);
	bench_free(b);
}

Test(reference_migration, faults_of_the_stream)
{
	struct bench *a = bench_new(), *b = bench_new();
	const uint64_t size = reference_data_size(&a->device);
	uint8_t buffer[1000];
	struct stream s;

	a->device.faults.lie_size_percent = 50;
	cr_assert_eq(reference_data_size(&a->device), size / 2);
	a->device.faults.truncate_at = 5000;
	s = save_whole(a);
	cr_assert_eq(s.length, 5000);
	cr_assert_eq(resume(b, &s), -EINVAL);
	free(s.bytes);

	cr_assert_eq(reference_reset(&a->device), 0);
	a->device.faults.truncate_at = 0;
	a->device.faults.flip_at = 70000;
	s = save_whole(a);
	cr_assert_eq(s.length, size);
	cr_assert_eq(resume(b, &s), -EINVAL);
	free(s.bytes);

	cr_assert_eq(reference_reset(&a->device), 0);
	a->device.faults.flip_at = 0;
	a->device.faults.slow_bytes = 10;
	cr_assert_eq(go(a, S(STOP_COPY)), 0);
	cr_assert_eq(reference_save(&a->device, buffer, sizeof(buffer)), 10);
	bench_free(a);
	bench_free(b);
}

/* ---- DMA log ---- */

static uint64_t logged[64];

static void set_bit(void *ctx, uint64_t iova, uint64_t length)
{
	const uint64_t base = *(uint64_t *)ctx;

	for (uint64_t at = iova; at < iova + length; at += 4096) {
		const uint64_t bit = (at - base) / 4096;

		cr_assert_lt(bit, 64 * 64);
		logged[bit / 64] |= (uint64_t)1 << bit % 64;
	}
}

static uint64_t log_bits(struct bench *b, uint64_t iova, uint64_t length)
{
	uint64_t base = iova;

	memset(logged, 0, sizeof(logged));
	cr_assert_eq(dirty_log_read(&b->device.log, iova, length, set_bit, &base), 0);
	return logged[0];
}

Test(reference_migration, the_log_has_what_was_written_and_forgets_it_once_told)
{
	struct bench *b = bench_new();
	const struct dirty_log_range ranges[] = {{BENCH_BASE, 0x10000},
						 {BENCH_BASE + 0x20000, 0x10000}};
	uint64_t page_size = 1, bytes, bitmap[64];

	cr_assert_eq(dirty_log_size(ranges, 2, &page_size, &bytes), 0);
	cr_assert_eq(page_size, 4096);
	cr_assert_eq(bytes, 8);
	cr_assert_eq(dirty_log_stop(&b->device.log), -EINVAL);
	cr_assert_eq(dirty_log_read(&b->device.log, BENCH_BASE, 4096, set_bit, NULL), -EINVAL);
	cr_assert_eq(dirty_log_start(&b->device.log, ranges, 0, 4096, bitmap), -EINVAL);
	cr_assert_eq(dirty_log_start(&b->device.log, ranges, 2, 5000, bitmap), -EINVAL);
	cr_assert_eq(dirty_log_start(&b->device.log, ranges, 2, 4096, bitmap), 0);
	cr_assert_eq(dirty_log_start(&b->device.log, ranges, 2, 4096, bitmap), -EBUSY);
	cr_assert_eq(log_bits(b, BENCH_BASE, 0x10000), 0);
	cr_assert_eq(bench_request(b, FILL, 0, BENCH_BASE + 0x1ffe, 4), 0);
	cr_assert_eq(bench_request(b, FILL, 0, BENCH_BASE + 0xf800, 0x11000), 0);
	cr_assert_eq(bench_request(b, REFERENCE_OPCODE_CRC, BENCH_BASE + 0x5000, 0, 4), 0);
	cr_assert_eq(reference_reset(&b->device), 0); /* the log is not the device's */
	cr_assert_eq(log_bits(b, BENCH_BASE, 0x10000), 1u << 1 | 1u << 2 | 1u << 15);
	cr_assert_eq(log_bits(b, BENCH_BASE, 0x10000), 0);
	cr_assert_eq(log_bits(b, BENCH_BASE + 0x20000, 0x10000), 1);
	cr_assert_eq(dirty_log_read(&b->device.log, BENCH_BASE, 0, set_bit, NULL), -EINVAL);
	cr_assert_eq(dirty_log_read(&b->device.log, UINT64_MAX, 2, set_bit, NULL), -EINVAL);
	cr_assert_eq(dirty_log_stop(&b->device.log), 0);
	bench_free(b);
}

Test(reference_migration, a_part_of_a_log_page_is_told_and_kept)
{
	struct bench *b = bench_new();
	const struct dirty_log_range range = {BENCH_BASE, BENCH_SIZE};
	uint64_t page_size = 65536 + 5, bytes, bitmap[64];

	cr_assert_eq(dirty_log_size(&range, 1, &page_size, &bytes), 0);
	cr_assert_eq(page_size, 65536);
	cr_assert_eq(dirty_log_start(&b->device.log, &range, 1, page_size, bitmap), 0);
	bench_write(b, CONFIG, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	cr_assert_eq(bench_request(b, FILL, 0, BENCH_BASE + 0x10000, 4), 0);
	cr_assert_eq(log_bits(b, BENCH_BASE + 0x11000, 0x2000), 3);
	cr_assert_eq(log_bits(b, BENCH_BASE + 0x10000, 0x10000), 0xffff);
	cr_assert_eq(log_bits(b, BENCH_BASE + 0x10000, 0x10000), 0);
	bench_free(b);
}

Test(reference_migration, a_log_too_large_or_crooked_is_refused)
{
	const struct dirty_log_range all = {0, UINT64_MAX}, wraps = {4096, UINT64_MAX},
				     none = {4096, 0}, top = {UINT64_MAX - 4095, 4096};
	uint64_t page_size = 4096, bytes;

	cr_assert_eq(dirty_log_size(&all, 1, &page_size, &bytes), -EOVERFLOW);
	cr_assert_eq(dirty_log_size(&wraps, 1, &page_size, &bytes), -EOVERFLOW);
	cr_assert_eq(dirty_log_size(&none, 1, &page_size, &bytes), -EOVERFLOW);
	cr_assert_eq(dirty_log_size(&top, 1, &page_size, &bytes), 0);
	page_size = UINT64_MAX;
	cr_assert_eq(dirty_log_size(&top, 1, &page_size, &bytes), 0);
	cr_assert_eq(page_size, 2u << 20);
}

Test(reference_migration, writes_with_a_pasid_are_not_logged)
{
	struct bench *b = bench_new();
	const struct dirty_log_range range = {BENCH_BASE, 0x10000};
	uint64_t bitmap[64];

	reference_set_translation(&b->device, true, false, false);
	cr_assert_eq(dirty_log_start(&b->device.log, &range, 1, 4096, bitmap), 0);
	set32(b, REFERENCE_PASID, BENCH_PASID);
	cr_assert_eq(bench_request(b, FILL | REFERENCE_COMMAND_PASID, 0, BENCH_BASE, 4), 0);
	cr_assert_eq(log_bits(b, BENCH_BASE, 0x10000), 0);
	bench_free(b);
}
