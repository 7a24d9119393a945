/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/support.h"
#include "vmm/base/dma.h"
#include "vmm/base/memory.h"

#define K   1024ull
#define MIB (K * K)
#define GIB (K * MIB)

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

/* ---- plan ------------------------------------------------------------------------------------ */

static struct memory_piece pieces[MEMORY_MAX_PIECES];
static unsigned count;

static int plan(const struct memory_request *request, unsigned room)
{
	count = room;
	return memory_plan(request, pieces, &count);
}

/* What holds for every plan. Counts what is wrong: an assertion for each would take minutes. */
static unsigned faults(const struct memory_request *request)
{
	uint64_t page = request->page_size, total = 0, above = request->base, file = 0;
	unsigned wrong = count == 0 || pieces[0].gpa != request->base;

	for (unsigned i = 0; i < count; i++) {
		const struct memory_piece *p = &pieces[i];
		uint64_t last = p->gpa + p->size - 1;

		wrong += p->size == 0 || p->gpa % page || p->size % page || p->offset % page;
		wrong += i && p->gpa <= above; /* sorted, disjoint and not adjacent */
		wrong += last < p->gpa || last > request->last;
		wrong += p->offset < file || (i == 0 && p->offset % page);
		wrong += p->hva != NULL;
		for (size_t j = 0; j < request->forbidden_count; j++) {
			const struct iova_range *r = &request->forbidden[j];

			wrong += r->first <= r->last && r->first <= last && r->last >= p->gpa;
		}
		above = p->gpa + p->size;
		file = p->offset + p->size;
		total += p->size;
	}
	return wrong + (total != request->size);
}

Test(memory_plan, lays_ram_out_around_what_is_forbidden)
{
	static const struct {
		uint64_t size, last;
		struct iova_range forbidden[3];
		size_t forbidden_count;
		struct memory_piece pieces[4];
		unsigned count;
	} cases[] = {
		/* Nothing in the way. */
		{256 * MIB, UINT64_MAX, {{0}}, 0, {{0, 256 * MIB, 0, NULL}}, 1},
		/* The hole below 4 GiB. */
		{5 * GIB,
		 UINT64_MAX,
		 {{3 * GIB, 4 * GIB - 1}},
		 1,
		 {{0, 3 * GIB, 0, NULL}, {4 * GIB, 2 * GIB, 3 * GIB, NULL}},
		 2},
		/* RAM that ends exactly at the hole does not touch it. */
		{3 * GIB, UINT64_MAX, {{3 * GIB, 4 * GIB - 1}}, 1, {{0, 3 * GIB, 0, NULL}}, 1},
		/* The MSI window: pieces end and begin at 2 MiB around it. */
		{5 * GIB,
		 UINT64_MAX,
		 {{0xfee00000, 0xfeefffff}},
		 1,
		 {{0, 0xfee00000, 0, NULL}, {0xff000000, 0x41200000, 0xfee00000, NULL}},
		 2},
		/* An odd page in the middle costs 2 MiB of addresses. */
		{64 * MIB,
		 UINT64_MAX,
		 {{0x1234567, 0x1234567}},
		 1,
		 {{0, 0x1200000, 0, NULL}, {0x1400000, 0x2e00000, 0x1200000, NULL}},
		 2},
		/* Close to the base the first piece is cut at a page; the file keeps the alignment. */
		{64 * MIB,
		 UINT64_MAX,
		 {{0xa0000, 0xfffff}},
		 1,
		 {{0, 0xa0000, 0, NULL}, {0x200000, 0x3f60000, 0x200000, NULL}},
		 2},
		/* Ranges that overlap, touch, and come in any order. */
		{16 * MIB,
		 UINT64_MAX,
		 {{0x900000, 0xffffff}, {0x800000, 0x9fffff}, {0x1000000, 0x11fffff}},
		 3,
		 {{0, 0x800000, 0, NULL}, {0x1200000, 0x800000, 0x800000, NULL}},
		 2},
		/* An inverted range forbids nothing. */
		{16 * MIB, UINT64_MAX, {{5, 4}}, 1, {{0, 16 * MIB, 0, NULL}}, 1},
		/* It fits only when pieces may begin at pages. */
		{15 * MIB,
		 16 * MIB - 1,
		 {{8 * MIB, 9 * MIB - 1}},
		 1,
		 {{0, 8 * MIB, 0, NULL}, {9 * MIB, 7 * MIB, 8 * MIB, NULL}},
		 2},
		/* Up to the last byte there is. */
		{1ull << 63,
		 UINT64_MAX,
		 {{1ull << 62, (1ull << 63) + (1ull << 62) - 1}},
		 1,
		 {{0, 1ull << 62, 0, NULL},
		  {(1ull << 63) + (1ull << 62), 1ull << 62, 1ull << 62, NULL}},
		 2},
	};

	for (size_t i = 0; i < LEN(cases); i++) {
		struct memory_request request = {
			.size = cases[i].size,
			.last = cases[i].last,
			.page_size = 4096,
			.forbidden = cases[i].forbidden,
			.forbidden_count = cases[i].forbidden_count,
		};

		cr_assert_eq(plan(&request, MEMORY_MAX_PIECES), 0, "case %zu", i);
		cr_assert_eq(faults(&request), 0, "case %zu", i);
		cr_assert_eq(count, cases[i].count, "case %zu: %u pieces", i, count);
		for (unsigned j = 0; j < count; j++) {
			cr_assert_eq(pieces[j].gpa, cases[i].pieces[j].gpa,
				     "case %zu piece %u: %lx", i, j, pieces[j].gpa);
			cr_assert_eq(pieces[j].size, cases[i].pieces[j].size,
				     "case %zu piece %u: size %lx", i, j, pieces[j].size);
			cr_assert_eq(pieces[j].offset, cases[i].pieces[j].offset,
				     "case %zu piece %u: offset %lx", i, j, pieces[j].offset);
		}
	}
}

Test(memory_plan, refuses_what_makes_no_sense_and_what_does_not_fit)
{
	static const struct iova_range everything = {0, UINT64_MAX};
	static const struct iova_range first_byte = {0, 0};
	static const struct iova_range second_page = {0x800, 0x2000};
	static const struct iova_range upper = {2 * MIB, UINT64_MAX};
	static const struct {
		struct memory_request request;
		int result;
	} cases[] = {
		{{.size = 0, .last = UINT64_MAX, .page_size = 4096}, -EINVAL},
		{{.size = 4097, .last = UINT64_MAX, .page_size = 4096}, -EINVAL},
		{{.size = 4096, .last = UINT64_MAX, .page_size = 0}, -EINVAL},
		{{.size = 4096, .last = UINT64_MAX, .page_size = 2048}, -EINVAL},
		{{.size = 12288, .last = UINT64_MAX, .page_size = 12288}, -EINVAL},
		{{.size = 4096, .base = 1, .last = UINT64_MAX, .page_size = 4096}, -EINVAL},
		{{.size = 4096, .base = 8192, .last = 4096, .page_size = 4096}, -EINVAL},
		{{.size = 4096, .last = UINT64_MAX, .page_size = 2 * MIB}, -EINVAL},
		{{.size = 8192, .last = 8190, .page_size = 4096}, -ENOSPC},
		{{.size = 8192, .last = 8191, .page_size = 4096}, 0},
		{{.size = -4096ull, .last = UINT64_MAX, .page_size = 4096}, 0},
		{{.size = -4096ull, .base = 8192, .last = UINT64_MAX, .page_size = 4096}, -ENOSPC},
		{{4096, 0, UINT64_MAX, 4096, &everything, 1}, -EADDRINUSE},
		{{4096, 0, UINT64_MAX, 4096, &first_byte, 1}, -EADDRINUSE},
		{{4096, 0, UINT64_MAX, 4096, &second_page, 1}, -EADDRINUSE},
		{{2 * MIB, 0, UINT64_MAX, 4096, &upper, 1}, 0},
		{{2 * MIB + 4096, 0, UINT64_MAX, 4096, &upper, 1}, -ENOSPC},
		/* Huge pages are not given up for room. */
		{{4 * MIB, 0, 4 * MIB - 2, 2 * MIB, NULL, 0}, -ENOSPC},
	};

	for (size_t i = 0; i < LEN(cases); i++) {
		int ret = plan(&cases[i].request, MEMORY_MAX_PIECES);

		cr_assert_eq(ret, cases[i].result, "case %zu: %d", i, ret);
		if (ret)
			cr_assert_eq(count, 0);
		else
			cr_assert_eq(faults(&cases[i].request), 0);
	}
}

Test(memory_plan, respects_the_room_for_pieces)
{
	struct iova_range holes[40];
	struct memory_request request = {
		.size = 80 * MIB,
		.last = UINT64_MAX,
		.page_size = 4096,
		.forbidden = holes,
		.forbidden_count = 40,
	};

	for (unsigned i = 0; i < 40; i++)
		holes[i] = (struct iova_range){(4 * i + 2) * MIB, (4 * i + 4) * MIB - 1};
	cr_assert_eq(plan(&request, 40), 0);
	cr_assert_eq(count, 40);
	cr_assert_eq(faults(&request), 0);
	for (unsigned room = 0; room < 40; room++)
		cr_assert_eq(plan(&request, room), -ENOSPC, "room %u", room);
}

/*
 * A small world of eight units, and every set of forbidden units in it: RAM of every size fits
 * exactly when there is room, as counted in the plain way.
 */
Test(memory_plan, finds_room_exactly_where_there_is_some)
{
	enum { UNITS = 10 };
	static const uint64_t sizes[] = {4096, 64 * K, 2 * MIB, GIB};
	unsigned wrong = 0;

	for (size_t s = 0; s < LEN(sizes); s++) {
		uint64_t unit = sizes[s];

		for (unsigned set = 0; set < 1u << UNITS; set++) {
			struct iova_range holes[UNITS];
			struct memory_request request = {
				.last = UNITS * unit - 1,
				.page_size = unit,
				.forbidden = holes,
			};
			unsigned room = 0;

			for (unsigned u = 0; u < UNITS; u++) {
				/* Not the whole unit: one byte of it is enough to lose it. */
				if (set >> u & 1)
					holes[request.forbidden_count++] =
						(struct iova_range){u * unit + u, u * unit + 2 * u};
				else
					room++;
			}
			for (unsigned n = 1; n <= UNITS; n++) {
				int want = set & 1 ? -EADDRINUSE : n <= room ? 0 : -ENOSPC;

				request.size = n * unit;
				wrong += plan(&request, MEMORY_MAX_PIECES) != want;
				if (want == 0)
					wrong += faults(&request) != 0;
			}
		}
	}
	cr_assert_eq(wrong, 0);
}

Test(memory_plan, keeps_its_rules_for_random_hostile_ranges)
{
	unsigned seed = 7, wrong = 0, placed = 0;

	for (int round = 0; round < 30000; round++) {
		struct iova_range holes[12];
		struct memory_request request = {
			.size = ((uint64_t)(rand_r(&seed) % 4096) + 1) << 12,
			.last = UINT64_MAX >> rand_r(&seed) % 40,
			.page_size = rand_r(&seed) % 4 ? 4096 : 65536,
			.forbidden = holes,
			.forbidden_count = (size_t)rand_r(&seed) % 12,
		};
		int ret;

		request.size = (request.size + request.page_size - 1) & -request.page_size;
		for (size_t i = 0; i < request.forbidden_count; i++) {
			uint64_t first = (uint64_t)rand_r(&seed) << rand_r(&seed) % 34;

			/* Some inverted, some to the end of the world. */
			holes[i] = (struct iova_range){
				first, first + (uint64_t)rand_r(&seed) % 50000 - 10};
			if (rand_r(&seed) % 50 == 0)
				holes[i].last = UINT64_MAX;
		}
		ret = plan(&request, MEMORY_MAX_PIECES);
		if (ret == 0) {
			wrong += faults(&request) != 0;
			placed++;
			/* At 2 MiB wherever it was not squeezed: the file follows the guest. */
			for (unsigned i = 1; i < count; i++)
				wrong += (pieces[i].offset ^ pieces[i].gpa) & (2 * MIB - 1) &&
					 pieces[i].gpa % (2 * MIB) == 0;
		} else {
			wrong += ret != -ENOSPC && ret != -EADDRINUSE;
			wrong += count != 0;
		}
	}
	cr_assert_eq(wrong, 0);
	cr_assert_gt(placed, 10000);
}

Test(memory_plan, unusable_ranges_are_the_rest_of_the_usable_ones)
{
	static const struct {
		struct iova_range usable[3];
		size_t n;
		struct iova_range rest[4];
		size_t rest_count;
	} cases[] = {
		{{{0}}, 0, {{0, UINT64_MAX}}, 1},
		{{{0, UINT64_MAX}}, 1, {{0}}, 0},
		{{{0, 0xfedfffff}, {0xfef00000, UINT64_MAX}}, 2, {{0xfee00000, 0xfeefffff}}, 1},
		{{{1, 1}, {3, 3}}, 2, {{0, 0}, {2, 2}, {4, UINT64_MAX}}, 3},
		{{{0, 5}, {6, 10}}, 2, {{11, UINT64_MAX}}, 1},
		{{{UINT64_MAX, UINT64_MAX}}, 1, {{0, UINT64_MAX - 1}}, 1},
		/* Not as promised, but no harm done. */
		{{{5, 10}, {3, 7}}, 2, {{0, 4}, {11, UINT64_MAX}}, 2},
		{{{9, 3}}, 1, {{0, 8}, {4, UINT64_MAX}}, 2},
	};

	for (size_t i = 0; i < LEN(cases); i++) {
		struct iova_range out[4];
		size_t n = memory_unusable(cases[i].usable, cases[i].n, out);

		cr_assert_eq(n, cases[i].rest_count, "case %zu: %zu", i, n);
		cr_assert_eq(memcmp(out, cases[i].rest, n * sizeof(out[0])), 0, "case %zu", i);
	}
}

/* ---- the memory ------------------------------------------------------------------------------ */

static struct memory *new_memory(struct memory_piece *p, unsigned n)
{
	struct memory *memory = NULL;

	cr_assert_eq(memory_create(p, n, HOST_PAGES_NORMAL, &memory), 0);
	return memory;
}

Test(memory, is_one_sealed_file_seen_at_addresses_that_agree_modulo_2_mib)
{
	struct memory_piece p[] = {{.gpa = 0, .size = 640 * K},
				   {.gpa = 2 * MIB, .size = 6 * MIB, .offset = 2 * MIB}};
	struct memory *memory = new_memory(p, 2);
	struct stat st;
	char byte = 0;

	cr_assert_eq(fstat(memory_fd(memory), &st), 0);
	cr_assert_eq(st.st_size, 8 * MIB);
	cr_assert_eq(st.st_blocks, 0, "nothing is populated");
	cr_assert_eq(fcntl(memory_fd(memory), F_GETFD), FD_CLOEXEC);
	cr_assert_eq(ftruncate(memory_fd(memory), 4096), -1);
	cr_assert_eq((uintptr_t)p[0].hva % (2 * MIB), 0);
	cr_assert_eq(p[1].hva, p[0].hva + 2 * MIB);
	p[1].hva[5] = 42;
	cr_assert_eq(pread(memory_fd(memory), &byte, 1, 2 * MIB + 5), 1);
	cr_assert_eq(byte, 42);
	memory_destroy(memory);
	memory_destroy(NULL);
}

Test(memory, refuses_an_empty_list_and_more_pieces_than_it_holds)
{
	static struct memory_piece many[MEMORY_MAX_PIECES + 1];
	struct memory *memory = NULL;

	cr_assert_eq(memory_create(many, 0, HOST_PAGES_NORMAL, &memory), -EINVAL);
	cr_assert_eq(memory_create(many, LEN(many), HOST_PAGES_NORMAL, &memory), -EINVAL);
	cr_assert_null(memory);
}

Test(memory, says_when_it_cannot_be_had)
{
	struct memory_piece huge = {.size = 1ull << 62};
	struct memory_piece page = {.size = GIB};
	struct memory *memory = NULL;

	cr_assert_lt(memory_create(&huge, 1, HOST_PAGES_NORMAL, &memory), 0);
	if (host_huge_pages_free(HOST_PAGES_1G) == 0)
		cr_assert_lt(memory_create(&page, 1, HOST_PAGES_1G, &memory), 0);
	cr_assert_null(memory);
}

Test(memory, access_is_inside_one_piece_or_refused)
{
	struct memory_piece p[] = {{.gpa = 0, .size = 64 * K},
				   {.gpa = MIB, .size = 64 * K, .offset = 64 * K}};
	static const struct {
		uint64_t gpa, length;
		int piece; /* -1: refused */
	} cases[] = {
		{0, 0, 0},
		{0, 64 * K, 0},
		{0, 64 * K + 1, -1},
		{64 * K - 1, 1, 0},
		{64 * K - 1, 2, -1},
		{64 * K, 1, -1},
		{MIB - 1, 1, -1},
		{MIB - 1, 2, -1},
		{MIB, 64 * K, 1},
		{MIB + 1, 64 * K, -1},
		{MIB, UINT64_MAX, -1},
		{UINT64_MAX, 1, -1},
		{UINT64_MAX - 10, 100, -1},
		{10, UINT64_MAX - 5, -1},
	};
	struct memory *memory = new_memory(p, 2);
	char in[100], out[100] = {0};

	for (size_t i = 0; i < LEN(cases); i++) {
		void *want = NULL;

		if (cases[i].piece >= 0)
			want = p[cases[i].piece].hva + (cases[i].gpa - p[cases[i].piece].gpa);
		cr_assert_eq(memory_at(memory, cases[i].gpa, cases[i].length), want, "case %zu", i);
	}
	memset(in, 0x5a, sizeof(in));
	cr_assert_eq(memory_write(memory, MIB + 100, in, sizeof(in)), 0);
	cr_assert_eq(memory_read(memory, MIB + 100, out, sizeof(out)), 0);
	cr_assert_eq(memcmp(in, out, sizeof(in)), 0);
	cr_assert_eq(memory_write(memory, MIB + 64 * K - 50, in, sizeof(in)), -EFAULT);
	cr_assert_eq(p[1].hva[64 * K - 50], 0, "nothing was copied");
	cr_assert_eq(memory_read(memory, 64 * K - 50, out, sizeof(out)), -EFAULT);
	memory_destroy(memory);
}

static size_t resident(uint8_t *start, size_t length)
{
	static unsigned char map[65536];
	size_t pages = length / 4096, n = 0;

	if (pages > sizeof(map) || mincore(start, length, map))
		return 0;
	for (size_t i = 0; i < pages; i++)
		n += map[i] & 1;
	return n;
}

struct progress {
	uint64_t last, total;
	unsigned calls, wrong, stop_after;
};

static bool note_progress(void *ctx, uint64_t done, uint64_t total)
{
	struct progress *progress = ctx;

	progress->wrong += done < progress->last || done > total;
	progress->last = done;
	progress->total = total;
	return ++progress->calls != progress->stop_after;
}

Test(memory, is_populated_by_threads_that_report_progress, .timeout = 60)
{
	for (unsigned threads = 0; threads < 4; threads++) {
		struct memory_piece p[] = {
			{.gpa = 0, .size = 70 * MIB},
			{.gpa = GIB, .size = 130 * MIB, .offset = 72 * MIB},
		};
		struct memory *memory = new_memory(p, 2);
		struct progress progress = {0};

		cr_assert_eq(memory_populate(memory, threads, note_progress, &progress), 0);
		cr_assert_eq(progress.wrong, 0);
		cr_assert_eq(progress.last, 200 * MIB);
		cr_assert_eq(progress.total, 200 * MIB);
		cr_assert_geq(progress.calls, 1);
		cr_assert_eq(resident(p[0].hva, p[0].size), p[0].size / 4096);
		cr_assert_eq(resident(p[1].hva, p[1].size), p[1].size / 4096);
		cr_assert_eq(resident(p[0].hva + 70 * MIB, 2 * MIB), 0, "the gap takes no memory");
		memory_destroy(memory);
	}
}

Test(memory, population_can_be_given_up, .timeout = 60)
{
	struct memory_piece p = {.size = 512 * MIB};
	struct memory *memory = new_memory(&p, 1);
	struct progress progress = {.stop_after = 1};

	cr_assert_eq(memory_populate(memory, 1, note_progress, &progress), -ECANCELED);
	cr_assert_eq(progress.calls, 1);
	cr_assert_eq(progress.last, 64 * MIB);
	cr_assert_eq(resident(p.hva + 64 * MIB, 64 * MIB), 0);
	/* What is left can be populated later. */
	cr_assert_eq(memory_populate(memory, 2, NULL, NULL), 0);
	cr_assert_eq(resident(p.hva + 256 * MIB, 256 * MIB), 65536);
	memory_destroy(memory);
}

Test(memory, devices_see_every_piece_at_its_address)
{
	struct memory_piece p[] = {{.gpa = 0, .size = 64 * K},
				   {.gpa = GIB, .size = 64 * K, .offset = 64 * K}};
	struct memory *memory = new_memory(p, 2);
	struct ioas_area blocker = {.iova = GIB, .length = 4096, .rights = IOAS_READ};
	struct iommufd_ctx *ictx;
	struct ioas *ioas;
	uint64_t value = 0x1234;

	cr_assert_eq(iommufd_ctx_create(&ictx), 0);
	cr_assert_eq(ioas_create(ictx, &ioas), 0);
	cr_assert_eq(memory_map_ioas(memory, ioas), 0);
	cr_assert_eq(ioas_write(ioas, GIB + 8, &value, 8), 0);
	cr_assert_eq(memcmp(p[1].hva + 8, &value, 8), 0);
	memory_unmap_ioas(memory, ioas);
	cr_assert_eq(ioas_read(ioas, 0, &value, 8), -ENOENT);
	/* All or nothing. */
	cr_assert_eq(ioas_map(ioas, &blocker), 0);
	cr_assert_eq(memory_map_ioas(memory, ioas), -EEXIST);
	cr_assert_eq(ioas_read(ioas, 0, &value, 8), -ENOENT);
	cr_assert_eq(ioas_destroy(ioas), 0);
	iommufd_ctx_destroy(ictx);
	memory_destroy(memory);
}
