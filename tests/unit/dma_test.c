/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/support.h"
#include "vmm/base/dma.h"

#define K 4096ull

/* One space with its context, and memory to map. */
struct space {
	struct iommufd_ctx *ictx;
	struct ioas *ioas;
	char *memory; /* 16 pages */
};

static struct space new_space(void)
{
	struct space s = {0};

	cr_assert_eq(iommufd_ctx_create(&s.ictx), 0);
	cr_assert_eq(ioas_create(s.ictx, &s.ioas), 0);
	s.memory = calloc(16, K);
	cr_assert_not_null(s.memory);
	return s;
}

static void free_space(struct space *s)
{
	cr_assert_eq(ioas_destroy(s->ioas), 0);
	iommufd_ctx_destroy(s->ictx);
	free(s->memory);
}

static struct ioas_area area(struct space *s, uint64_t iova, uint64_t pages, unsigned first)
{
	return (struct ioas_area){
		.iova = iova,
		.length = pages * K,
		.fd = 7,
		.offset = first * K,
		.hva = s->memory + first * K,
		.rights = IOAS_READ | IOAS_WRITE,
	};
}

static int map(struct space *s, uint64_t iova, uint64_t pages, unsigned first)
{
	struct ioas_area a = area(s, iova, pages, first);

	return ioas_map(s->ioas, &a);
}

/* A mirror that writes down what it is told, as "+iova" and "-iova" in pages. */
struct recorder {
	char log[512];
	int fail_at; /* the n-th map fails (from 1), 0: none */
	int maps;
	const struct iova_range *ranges;
	size_t range_count;
	int ranges_error;
};

static void record(struct recorder *r, char what, uint64_t iova)
{
	size_t n = strlen(r->log);

	snprintf(r->log + n, sizeof(r->log) - n, "%c%llx ", what, (unsigned long long)(iova / K));
}

static int recorder_map(void *ctx, const struct ioas_area *a)
{
	struct recorder *r = ctx;

	if (++r->maps == r->fail_at) {
		record(r, '!', a->iova);
		return -ENOMEM;
	}
	record(r, '+', a->iova);
	return 0;
}

static void recorder_unmap(void *ctx, const struct ioas_area *a)
{
	record(ctx, '-', a->iova);
}

static int recorder_ranges(void *ctx, struct iova_range *ranges, size_t *count)
{
	struct recorder *r = ctx;
	size_t room = *count;

	if (r->ranges_error)
		return r->ranges_error;
	*count = r->range_count;
	if (room < r->range_count)
		return -EMSGSIZE;
	if (r->range_count)
		memcpy(ranges, r->ranges, r->range_count * sizeof(*ranges));
	return 0;
}

static const struct ioas_mirror_ops recorder_ops = {recorder_map, recorder_unmap, NULL};
static const struct ioas_mirror_ops ranges_ops = {recorder_map, recorder_unmap, recorder_ranges};

/* ---- spaces ---------------------------------------------------------------------------------- */

Test(dma, spaces_have_ids_of_their_own_and_are_found_by_them)
{
	struct iommufd_ctx *ictx;
	struct ioas *spaces[100];

	cr_assert_eq(iommufd_ctx_create(&ictx), 0);
	cr_assert_null(ioas_find(ictx, 0));
	for (int i = 0; i < 100; i++)
		cr_assert_eq(ioas_create(ictx, &spaces[i]), 0);
	for (int i = 0; i < 100; i++) {
		cr_assert_neq(ioas_id(spaces[i]), 0);
		cr_assert_eq(ioas_find(ictx, ioas_id(spaces[i])), spaces[i]);
	}
	for (int i = 0; i < 100; i += 2) {
		uint32_t id = ioas_id(spaces[i]);

		cr_assert_eq(ioas_destroy(spaces[i]), 0);
		cr_assert_null(ioas_find(ictx, id));
	}
	for (int i = 1; i < 100; i += 2)
		cr_assert_eq(ioas_destroy(spaces[i]), 0);
	iommufd_ctx_destroy(ictx);
}

Test(dma, map_refuses_what_makes_no_sense)
{
	static const struct {
		struct ioas_area area;
		int result;
	} cases[] = {
		{{.iova = 0, .length = 0, .rights = 3}, -EINVAL},
		{{.iova = 1, .length = K, .rights = 3}, -EINVAL},
		{{.iova = 0, .length = K + 1, .rights = 3}, -EINVAL},
		{{.iova = 0, .length = K, .offset = 512, .rights = 3}, -EINVAL},
		{{.iova = -K, .length = 2 * K, .rights = 3}, -EINVAL},
		{{.iova = K, .length = -K, .rights = 3, .offset = 2 * K}, -EINVAL},
		{{.iova = 0, .length = K, .rights = 0}, -EINVAL},
		{{.iova = 0, .length = K, .rights = 4 | 1}, -EINVAL},
		{{.iova = -K, .length = K, .rights = 3}, 0},
		{{.iova = 0, .length = K, .rights = IOAS_READ}, 0},
		{{.iova = K, .length = -K, .rights = IOAS_WRITE}, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct space s = new_space();

		cr_assert_eq(ioas_map(s.ioas, &cases[i].area), cases[i].result, "case %zu", i);
		free_space(&s);
	}
}

Test(dma, map_refuses_overlap_and_takes_neighbours)
{
	static const struct {
		uint64_t page, pages;
		int result;
	} cases[] = {
		{4, 4, -EEXIST},  {5, 1, -EEXIST}, {3, 2, -EEXIST}, {7, 2, -EEXIST},
		{0, 16, -EEXIST}, {4, 1, -EEXIST}, {7, 1, -EEXIST}, {3, 1, 0},
		{8, 1, 0},        {0, 4, 0},       {9, 7, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct space s = new_space();

		cr_assert_eq(map(&s, 4 * K, 4, 0), 0);
		cr_assert_eq(map(&s, cases[i].page * K, cases[i].pages, 0), cases[i].result,
			     "case %zu", i);
		free_space(&s);
	}
}

Test(dma, unmap_takes_only_exactly_what_was_mapped)
{
	struct space s = new_space();

	cr_assert_eq(map(&s, 4 * K, 4, 0), 0);
	cr_assert_eq(ioas_unmap(s.ioas, 4 * K, 2 * K), -ENOENT);
	cr_assert_eq(ioas_unmap(s.ioas, 4 * K, 5 * K), -ENOENT);
	cr_assert_eq(ioas_unmap(s.ioas, 5 * K, 3 * K), -ENOENT);
	cr_assert_eq(ioas_unmap(s.ioas, 0, UINT64_MAX), -ENOENT);
	cr_assert_eq(ioas_unmap(s.ioas, 8 * K, 4 * K), -ENOENT);
	cr_assert_eq(ioas_unmap(s.ioas, 4 * K, 4 * K), 0);
	cr_assert_eq(ioas_unmap(s.ioas, 4 * K, 4 * K), -ENOENT);
	free_space(&s);
}

/* Many areas, mapped in a scrambled order, against a plain array. */
Test(dma, finds_the_right_area_among_many)
{
	enum { AREAS = 256 };
	struct space s = new_space();
	unsigned wrong = 0;
	bool there[AREAS] = {false};

	for (unsigned step = 0; step < 3 * AREAS; step++) {
		unsigned i = step * 77 % AREAS;

		if (there[i])
			wrong += ioas_unmap(s.ioas, i * 2 * K, K) != 0;
		else
			wrong += map(&s, i * 2 * K, 1, i % 16) != 0;
		there[i] = !there[i];
		for (unsigned j = 0; j < AREAS; j += 7) {
			uint64_t value;

			wrong += ioas_read(s.ioas, j * 2 * K + 8, &value, 8) !=
				 (there[j] ? 0 : -ENOENT);
			wrong += ioas_read(s.ioas, j * 2 * K + K, &value, 8) != -ENOENT;
		}
	}
	cr_assert_eq(wrong, 0);
	free_space(&s);
}

/* ---- mirrors --------------------------------------------------------------------------------- */

Test(dma, a_mirror_is_told_what_is_there_and_what_changes)
{
	struct space s = new_space();
	struct recorder r = {0};

	cr_assert_eq(map(&s, 0x20 * K, 1, 0), 0);
	cr_assert_eq(map(&s, 0x10 * K, 1, 0), 0);
	cr_assert_eq(ioas_mirror_add(s.ioas, &recorder_ops, &r), 0);
	cr_assert_eq(ioas_mirror_add(s.ioas, &recorder_ops, &r), -EEXIST);
	cr_assert_eq(map(&s, 0x30 * K, 1, 0), 0);
	cr_assert_eq(ioas_unmap(s.ioas, 0x10 * K, K), 0);
	cr_assert_eq(ioas_destroy(s.ioas), -EBUSY);
	cr_assert_eq(ioas_mirror_remove(s.ioas, &r), 0);
	cr_assert_eq(ioas_mirror_remove(s.ioas, &r), -ENOENT);
	cr_assert_eq(map(&s, 0x40 * K, 1, 0), 0);
	cr_assert_str_eq(r.log, "+10 +20 +30 -10 -30 -20 ", "%s", r.log);
	free_space(&s);
}

Test(dma, a_map_that_one_mirror_refuses_is_taken_back_from_the_others)
{
	struct space s = new_space();
	struct recorder a = {0}, b = {.fail_at = 2}, c = {0};
	char byte;

	cr_assert_eq(ioas_mirror_add(s.ioas, &recorder_ops, &a), 0);
	cr_assert_eq(ioas_mirror_add(s.ioas, &recorder_ops, &b), 0);
	cr_assert_eq(ioas_mirror_add(s.ioas, &recorder_ops, &c), 0);
	cr_assert_eq(map(&s, 1 * K, 1, 0), 0);
	cr_assert_eq(map(&s, 2 * K, 1, 0), -ENOMEM);
	cr_assert_eq(ioas_read(s.ioas, 2 * K, &byte, 1), -ENOENT);
	cr_assert_eq(map(&s, 2 * K, 1, 0), 0, "nothing is left of the failed try");
	cr_assert_str_eq(a.log, "+1 +2 -2 +2 ", "%s", a.log);
	cr_assert_str_eq(b.log, "+1 !2 +2 ", "%s", b.log);
	cr_assert_str_eq(c.log, "+1 +2 ", "%s", c.log);
	cr_assert_eq(ioas_mirror_remove(s.ioas, &a), 0);
	cr_assert_eq(ioas_mirror_remove(s.ioas, &b), 0);
	cr_assert_eq(ioas_mirror_remove(s.ioas, &c), 0);
	free_space(&s);
}

Test(dma, a_mirror_that_refuses_an_area_while_joining_has_none)
{
	struct space s = new_space();

	for (unsigned i = 1; i <= 4; i++)
		cr_assert_eq(map(&s, i * K, 1, 0), 0);
	for (int fail = 1; fail <= 4; fail++) {
		static const char *const logs[] = {"!1 ", "+1 !2 -1 ", "+1 +2 !3 -2 -1 ",
						   "+1 +2 +3 !4 -3 -2 -1 "};
		struct recorder r = {.fail_at = fail};

		cr_assert_eq(ioas_mirror_add(s.ioas, &recorder_ops, &r), -ENOMEM);
		cr_assert_str_eq(r.log, logs[fail - 1], "%s", r.log);
		cr_assert_eq(ioas_mirror_remove(s.ioas, &r), -ENOENT);
	}
	free_space(&s);
}

Test(dma, a_mirror_may_refuse_device_memory_and_is_not_told_of_it_again)
{
	struct space s = new_space();
	struct recorder refuses = {.fail_at = 1}, takes = {0}, late = {.fail_at = 1};
	struct ioas_area bar = {.iova = 9 * K, .length = K, .rights = 3, .peer = true};
	unsigned holders;
	int refusal;

	cr_assert_eq(ioas_mirror_add(s.ioas, &recorder_ops, &refuses), 0);
	cr_assert_eq(ioas_mirror_add(s.ioas, &recorder_ops, &takes), 0);
	cr_assert_eq(ioas_map(s.ioas, &bar), 0);
	cr_assert_eq(ioas_peer_state(s.ioas, 9 * K, &holders, &refusal), 0);
	cr_assert_eq(holders, 1);
	cr_assert_eq(refusal, -ENOMEM);
	cr_assert_eq(ioas_mirror_add(s.ioas, &recorder_ops, &late), 0);
	cr_assert_eq(ioas_unmap(s.ioas, 9 * K, K), 0);
	cr_assert_eq(ioas_peer_state(s.ioas, 9 * K, &holders, &refusal), -ENOENT);
	/* Mapped anew, as after a reset, it is offered anew. */
	cr_assert_eq(ioas_map(s.ioas, &bar), 0);
	cr_assert_eq(ioas_peer_state(s.ioas, 9 * K, &holders, &refusal), 0);
	cr_assert_eq(holders, 3);
	cr_assert_eq(refusal, 0);
	cr_assert_eq(ioas_unmap(s.ioas, 9 * K, K), 0);
	cr_assert_str_eq(refuses.log, "!9 +9 -9 ", "%s", refuses.log);
	cr_assert_str_eq(takes.log, "+9 -9 +9 -9 ", "%s", takes.log);
	cr_assert_str_eq(late.log, "!9 +9 -9 ", "%s", late.log);
	cr_assert_eq(ioas_mirror_remove(s.ioas, &refuses), 0);
	cr_assert_eq(ioas_mirror_remove(s.ioas, &takes), 0);
	cr_assert_eq(ioas_mirror_remove(s.ioas, &late), 0);
	free_space(&s);
}

Test(dma, takes_256_mirrors_and_keeps_their_refusals_apart)
{
	struct space s = new_space();
	static struct recorder r[257];
	struct ioas_area bar = {.iova = K, .length = K, .rights = 3, .peer = true};
	unsigned wrong = 0;

	for (int i = 0; i < 256; i++) {
		r[i].fail_at = i % 3 == 0;
		wrong += ioas_mirror_add(s.ioas, &recorder_ops, &r[i]) != 0;
	}
	cr_assert_eq(ioas_mirror_add(s.ioas, &recorder_ops, &r[256]), -ENOSPC);
	cr_assert_eq(ioas_map(s.ioas, &bar), 0);
	/* The slot of one that refused is used again by one that does not. */
	cr_assert_eq(ioas_mirror_remove(s.ioas, &r[99]), 0);
	cr_assert_eq(ioas_mirror_add(s.ioas, &recorder_ops, &r[256]), 0);
	cr_assert_eq(ioas_unmap(s.ioas, K, K), 0);
	for (int i = 0; i <= 256; i++) {
		wrong += strcmp(r[i].log, i % 3 == 0 && i < 256 ? "!1 " : "+1 -1 ") != 0;
		if (i != 99)
			wrong += ioas_mirror_remove(s.ioas, &r[i]) != 0;
	}
	cr_assert_eq(wrong, 0);
	free_space(&s);
}

/* ---- ranges ---------------------------------------------------------------------------------- */

Test(dma, without_a_mirror_that_cares_everything_can_be_mapped)
{
	struct space s = new_space();
	struct recorder r = {0};
	struct iova_range range = {1, 1};
	size_t count = 0;

	cr_assert_eq(ioas_mirror_add(s.ioas, &recorder_ops, &r), 0);
	cr_assert_eq(ioas_iova_ranges(s.ioas, NULL, &count), -EMSGSIZE);
	cr_assert_eq(count, 1);
	cr_assert_eq(ioas_iova_ranges(s.ioas, &range, &count), 0);
	cr_assert_eq(count, 1);
	cr_assert_eq(range.first, 0);
	cr_assert_eq(range.last, UINT64_MAX);
	cr_assert_eq(ioas_mirror_remove(s.ioas, &r), 0);
	free_space(&s);
}

Test(dma, ranges_are_what_all_mirrors_have_in_common)
{
	static const struct {
		struct iova_range a[4], b[4], both[6];
		size_t na, nb, n;
	} cases[] = {
		{{{0, 99}}, {{50, 150}}, {{50, 99}}, 1, 1, 1},
		{{{0, 9}}, {{10, 20}}, {{0}}, 1, 1, 0},
		{{{0, 9}}, {{9, 20}}, {{9, 9}}, 1, 1, 1},
		{{{0}}, {{0, UINT64_MAX}}, {{0}}, 0, 1, 0},
		{{{0, 0xfedfffff}, {0xfef00000, UINT64_MAX}},
		 {{0, 0xfcffffffffull}, {0x10000000000ull, UINT64_MAX}},
		 {{0, 0xfedfffff}, {0xfef00000, 0xfcffffffffull}, {0x10000000000ull, UINT64_MAX}},
		 2,
		 2,
		 3},
		{{{0, 10}, {20, 30}, {40, 50}}, {{5, 45}}, {{5, 10}, {20, 30}, {40, 45}}, 3, 1, 3},
		{{{0, 100}},
		 {{1, 2}, {4, 5}, {7, 8}, {100, 200}},
		 {{1, 2}, {4, 5}, {7, 8}, {100, 100}},
		 1,
		 4,
		 4},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct space s = new_space();
		struct recorder a = {.ranges = cases[i].a, .range_count = cases[i].na};
		struct recorder b = {.ranges = cases[i].b, .range_count = cases[i].nb};
		struct iova_range got[6];
		size_t count = 6;

		cr_assert_eq(ioas_mirror_add(s.ioas, &ranges_ops, &a), 0);
		cr_assert_eq(ioas_mirror_add(s.ioas, &ranges_ops, &b), 0);
		cr_assert_eq(ioas_iova_ranges(s.ioas, got, &count), 0);
		cr_assert_eq(count, cases[i].n, "case %zu: %zu ranges", i, count);
		cr_assert_eq(memcmp(got, cases[i].both, count * sizeof(got[0])), 0, "case %zu", i);
		cr_assert_eq(ioas_mirror_remove(s.ioas, &a), 0);
		cr_assert_eq(ioas_mirror_remove(s.ioas, &b), 0);
		free_space(&s);
	}
}

/* A mirror whose answer grows with each question. */
static int growing_ranges(void *ctx, struct iova_range *ranges, size_t *count)
{
	(void)ctx;
	(void)ranges;
	++*count;
	return -EMSGSIZE;
}

Test(dma, a_mirror_that_does_not_answer_fails_the_question)
{
	static const struct ioas_mirror_ops growing_ops = {recorder_map, recorder_unmap,
							   growing_ranges};
	struct space s = new_space();
	struct recorder bad = {.ranges_error = -EIO}, growing = {0};
	struct iova_range ranges[4];
	size_t count = 4;

	cr_assert_eq(ioas_mirror_add(s.ioas, &ranges_ops, &bad), 0);
	cr_assert_eq(ioas_iova_ranges(s.ioas, ranges, &count), -EIO);
	cr_assert_eq(ioas_mirror_remove(s.ioas, &bad), 0);
	cr_assert_eq(ioas_mirror_add(s.ioas, &growing_ops, &growing), 0);
	cr_assert_eq(ioas_iova_ranges(s.ioas, ranges, &count), -EAGAIN);
	cr_assert_eq(ioas_mirror_remove(s.ioas, &growing), 0);
	free_space(&s);
}

/* ---- access ---------------------------------------------------------------------------------- */

Test(dma, copies_across_areas_that_are_apart_in_memory)
{
	struct space s = new_space();
	char in[3 * K], out[3 * K] = {0};

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (char)(i * 7);
	cr_assert_eq(map(&s, 0x100 * K, 1, 8), 0);
	cr_assert_eq(map(&s, 0x101 * K, 2, 2), 0);
	cr_assert_eq(map(&s, 0x103 * K, 1, 0), 0);
	cr_assert_eq(ioas_write(s.ioas, 0x100 * K + 100, in, sizeof(in)), 0);
	cr_assert_eq(memcmp(s.memory + 8 * K + 100, in, K - 100), 0);
	cr_assert_eq(memcmp(s.memory + 2 * K, in + K - 100, 2 * K), 0);
	cr_assert_eq(memcmp(s.memory, in + 3 * K - 100, 100), 0);
	cr_assert_eq(ioas_read(s.ioas, 0x100 * K + 100, out, sizeof(out)), 0);
	cr_assert_eq(memcmp(in, out, sizeof(in)), 0);
	free_space(&s);
}

Test(dma, stops_at_holes_and_at_the_end_of_the_space)
{
	struct space s = new_space();
	char bytes[2 * K];
	size_t length = 100;

	memset(bytes, 1, sizeof(bytes));
	cr_assert_eq(map(&s, 0, 1, 1), 0);
	cr_assert_eq(map(&s, 2 * K, 1, 2), 0);
	cr_assert_eq(map(&s, -K, 1, 0), 0);
	cr_assert_eq(ioas_write(s.ioas, 0, bytes, 0), 0);
	cr_assert_eq(ioas_write(s.ioas, 5 * K, bytes, 0), 0, "nothing is always there");
	cr_assert_eq(ioas_write(s.ioas, K, bytes, 1), -ENOENT);
	cr_assert_eq(ioas_write(s.ioas, K - 8, bytes, 16), -ENOENT);
	cr_assert_eq(s.memory[2 * K - 1], 1, "the bytes before the hole");
	cr_assert_eq(ioas_read(s.ioas, -8, bytes, 8), 0);
	cr_assert_eq(ioas_read(s.ioas, -8, bytes, 9), -ENOENT, "no wrap to address 0");
	cr_assert_eq(ioas_pin(s.ioas, -8, &length, true), s.memory + K - 8);
	cr_assert_eq(length, 8);
	ioas_unpin(s.ioas, -8, 8, true);
	free_space(&s);
}

Test(dma, obeys_rights_and_leaves_device_memory_alone)
{
	struct space s = new_space();
	struct ioas_area ro = area(&s, 0, 1, 0), wo = area(&s, 2 * K, 1, 1);
	struct ioas_area peer = area(&s, 4 * K, 1, 2), unmapped = area(&s, 6 * K, 1, 3);
	size_t length;
	char byte = 0;

	ro.rights = IOAS_READ;
	wo.rights = IOAS_WRITE;
	peer.peer = true;
	unmapped.hva = NULL;
	cr_assert_eq(ioas_map(s.ioas, &ro), 0);
	cr_assert_eq(ioas_map(s.ioas, &wo), 0);
	cr_assert_eq(ioas_map(s.ioas, &peer), 0);
	cr_assert_eq(ioas_map(s.ioas, &unmapped), 0);
	cr_assert_eq(ioas_read(s.ioas, 0, &byte, 1), 0);
	cr_assert_eq(ioas_write(s.ioas, 0, &byte, 1), -EPERM);
	cr_assert_eq(ioas_read(s.ioas, 2 * K, &byte, 1), -EPERM);
	cr_assert_eq(ioas_write(s.ioas, 2 * K, &byte, 1), 0);
	for (uint64_t iova = 4 * K; iova <= 6 * K; iova += 2 * K) {
		cr_assert_eq(ioas_read(s.ioas, iova, &byte, 1), -ENOENT);
		cr_assert_eq(ioas_write(s.ioas, iova, &byte, 1), -ENOENT);
		length = 1;
		cr_assert_null(ioas_pin(s.ioas, iova, &length, false));
		cr_assert_eq(length, 0);
	}
	length = 8;
	cr_assert_null(ioas_pin(s.ioas, 0, &length, true));
	cr_assert_eq(length, 0);
	length = 8;
	cr_assert_null(ioas_pin(s.ioas, 2 * K, &length, false));
	free_space(&s);
}

/* ---- pins ------------------------------------------------------------------------------------ */

Test(dma, a_pin_gives_the_address_and_what_is_contiguous_there)
{
	struct space s = new_space();
	size_t length = 5 * K;

	cr_assert_eq(map(&s, 0x10 * K, 3, 4), 0);
	cr_assert_eq(ioas_pin(s.ioas, 0x11 * K + 1, &length, true), s.memory + 5 * K + 1);
	cr_assert_eq(length, 2 * K - 1);
	ioas_unpin(s.ioas, 0x11 * K + 1, length, true);
	length = 16;
	cr_assert_eq(ioas_pin(s.ioas, 0x10 * K, &length, false), s.memory + 4 * K);
	cr_assert_eq(length, 16);
	ioas_unpin(s.ioas, 0x10 * K, length, false);
	length = 0;
	cr_assert_null(ioas_pin(s.ioas, 0x10 * K, &length, false));
	length = 1;
	cr_assert_null(ioas_pin(s.ioas, 0x13 * K, &length, false));
	cr_assert_eq(length, 0);
	ioas_unpin(s.ioas, 0x10 * K, 1, false); /* one too many, and nothing happens */
	ioas_unpin(s.ioas, 0x50 * K, 1, false);
	free_space(&s);
}

struct unmapper {
	struct ioas *ioas;
	uint64_t iova, length;
	_Atomic int result; /* 1: has not returned */
};

static void *unmap_thread(void *arg)
{
	struct unmapper *u = arg;

	atomic_store(&u->result, ioas_unmap(u->ioas, u->iova, u->length));
	return NULL;
}

static void *unpin_thread(void *arg)
{
	struct unmapper *u = arg;

	ioas_unpin(u->ioas, u->iova, 8, true);
	return NULL;
}

Test(dma, unmap_waits_for_pins_that_another_thread_gives_back, .timeout = 30)
{
	struct space s = new_space();
	struct recorder r = {0};
	struct unmapper u = {.ioas = s.ioas, .iova = K, .length = K, .result = 1};
	pthread_t unmapping, unpinning;
	size_t length = 8;
	char byte;

	cr_assert_eq(ioas_mirror_add(s.ioas, &recorder_ops, &r), 0);
	cr_assert_eq(map(&s, K, 1, 0), 0);
	cr_assert_eq(map(&s, 2 * K, 1, 1), 0);
	cr_assert_not_null(ioas_pin(s.ioas, K, &length, true));
	cr_assert_not_null(ioas_pin(s.ioas, K, &length, true));
	cr_assert_eq(pthread_create(&unmapping, NULL, unmap_thread, &u), 0);
	/* From the moment on when it waits, the area takes no new pin; others do. */
	do {
		length = 8;
		if (!ioas_pin(s.ioas, K, &length, true))
			break;
		ioas_unpin(s.ioas, K, 8, true);
		usleep(100);
	} while (1);
	cr_assert_eq(ioas_read(s.ioas, K, &byte, 1), -ENOENT);
	cr_assert_eq(ioas_read(s.ioas, 2 * K, &byte, 1), 0);
	cr_assert_eq(pthread_create(&unpinning, NULL, unpin_thread, &u), 0);
	cr_assert_eq(pthread_join(unpinning, NULL), 0);
	usleep(20000);
	cr_assert_eq(atomic_load(&u.result), 1, "it did not wait for the second pin");
	cr_assert_eq(pthread_create(&unpinning, NULL, unpin_thread, &u), 0);
	cr_assert_eq(pthread_join(unpinning, NULL), 0);
	cr_assert_eq(pthread_join(unmapping, NULL), 0);
	cr_assert_eq(atomic_load(&u.result), 0);
	cr_assert_str_eq(r.log, "+1 +2 -1 ", "the mirror was told before the pins were back: %s",
			 r.log);
	cr_assert_eq(ioas_mirror_remove(s.ioas, &r), 0);
	free_space(&s);
}

Test(dma, a_pin_does_not_hold_up_other_areas_and_copies, .timeout = 10)
{
	struct space s = new_space();
	size_t length = 8;
	char byte = 0;

	cr_assert_eq(map(&s, K, 1, 0), 0);
	cr_assert_not_null(ioas_pin(s.ioas, K, &length, true));
	cr_assert_eq(map(&s, 2 * K, 1, 1), 0);
	cr_assert_eq(ioas_write(s.ioas, K, &byte, 1), 0);
	cr_assert_eq(ioas_unmap(s.ioas, 2 * K, K), 0);
	ioas_unpin(s.ioas, K, length, true);
	free_space(&s);
}

/* A mirror that reads the space while it is told. */
static int reading_map(void *ctx, const struct ioas_area *a)
{
	uint64_t value;

	(void)a;
	return ioas_read(ctx, 0, &value, sizeof(value));
}

static void reading_unmap(void *ctx, const struct ioas_area *a)
{
	reading_map(ctx, a);
}

Test(dma, a_mirror_may_read_the_space_while_it_is_told, .timeout = 10)
{
	static const struct ioas_mirror_ops ops = {reading_map, reading_unmap, NULL};
	struct space s = new_space();

	cr_assert_eq(map(&s, 0, 1, 0), 0);
	cr_assert_eq(ioas_mirror_add(s.ioas, &ops, s.ioas), 0);
	cr_assert_eq(map(&s, K, 1, 0), 0);
	cr_assert_eq(ioas_unmap(s.ioas, K, K), 0);
	cr_assert_eq(ioas_mirror_remove(s.ioas, s.ioas), 0);
	free_space(&s);
}

/*
 * Threads that copy and pin while areas come and go. The memory of an unmapped area is freed at
 * once: whoever touches it afterwards is caught by the sanitizers.
 */
struct user {
	struct ioas *ioas;
	_Atomic bool *stop;
	bool pins;
	unsigned hits, wrong;
};

static void *use_thread(void *arg)
{
	struct user *u = arg;

	while (!atomic_load(u->stop)) {
		uint64_t iova = (u->hits & 1) * 2 * K + 64;

		if (u->pins) {
			size_t length = 64;
			_Atomic char *p = ioas_pin(u->ioas, iova, &length, true);

			if (p) {
				atomic_fetch_add(p, 1);
				ioas_unpin(u->ioas, iova, length, true);
			}
			u->hits++;
		} else {
			uint64_t value;
			int ret = ioas_read(u->ioas, iova + 128, &value, 8);

			u->wrong += ret == 0 ? value != 0x5555555555555555ull : ret != -ENOENT;
			u->hits++;
		}
	}
	return NULL;
}

Test(dma, memory_may_be_freed_once_unmap_has_returned, .timeout = 60)
{
	enum { USERS = 3, ROUNDS = 3000 };
	struct space s = new_space();
	_Atomic bool stop = false;
	struct user users[USERS];
	pthread_t threads[USERS];

	for (int i = 0; i < USERS; i++) {
		users[i] = (struct user){.ioas = s.ioas, .stop = &stop, .pins = i & 1};
		cr_assert_eq(pthread_create(&threads[i], NULL, use_thread, &users[i]), 0);
	}
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t iova = (i & 1) * 2 * K;
		struct ioas_area a = {.iova = iova, .length = K, .rights = 3, .hva = malloc(K)};

		memset(a.hva, 0x55, K);
		cr_assert_eq(ioas_map(s.ioas, &a), 0);
		if (i % 16 == 0)
			usleep(50);
		cr_assert_eq(ioas_unmap(s.ioas, iova, K), 0);
		memset(a.hva, 0xaa, K);
		free(a.hva);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < USERS; i++) {
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
		cr_assert_eq(users[i].wrong, 0);
		cr_assert_gt(users[i].hits, 0);
	}
	free_space(&s);
}

/* ---- areas without memory ---- */

struct fetched {
	uint8_t bytes[0x2000];
	int error;
	unsigned calls;
};

static int fetch(void *ctx, uint64_t iova, void *buffer, size_t length)
{
	struct fetched *f = ctx;

	f->calls++;
	memcpy(buffer, f->bytes + (iova - 0x10000), length);
	return f->error;
}

static int bring(void *ctx, uint64_t iova, const void *buffer, size_t length)
{
	struct fetched *f = ctx;

	f->calls++;
	memcpy(f->bytes + (iova - 0x10000), buffer, length);
	return f->error;
}

static int refuse_map(void *ctx, const struct ioas_area *area)
{
	(void)ctx, (void)area;
	return -EOPNOTSUPP;
}

static void never_unmapped(void *ctx, const struct ioas_area *area)
{
	(void)ctx, (void)area;
	cr_assert(false, "what was not taken is not given back");
}

Test(dma, an_area_with_ops_is_read_and_written_by_them, .timeout = 60)
{
	static const struct ioas_area_ops ops = {.read = fetch, .write = bring};
	static const struct ioas_mirror_ops refusing = {.map = refuse_map, .unmap = never_unmapped};
	static struct fetched f;
	struct ioas_area area = {.iova = 0x10000,
				 .length = 0x2000,
				 .fd = -1,
				 .rights = IOAS_READ | IOAS_WRITE,
				 .ops = &ops,
				 .ops_ctx = &f};
	struct iommufd_ctx *ictx;
	struct ioas *ioas;
	uint8_t bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8}, back[8];
	size_t length = 8;

	cr_assert_eq(iommufd_ctx_create(&ictx), 0);
	cr_assert_eq(ioas_create(ictx, &ioas), 0);
	cr_assert_eq(ioas_mirror_add(ioas, &refusing, &f), 0);
	cr_assert_eq(ioas_map(ioas, &area), 0, "a mirror that cannot map it is no failure");
	cr_assert_eq(ioas_write(ioas, 0x10ffc, bytes, 8), 0);
	cr_assert_eq(ioas_read(ioas, 0x10ffc, back, 8), 0);
	cr_assert_eq(memcmp(bytes, back, 8), 0);
	cr_assert_eq(f.calls, 2);
	cr_assert_null(ioas_pin(ioas, 0x10000, &length, false));
	cr_assert_eq(length, 0);
	cr_assert_eq(ioas_read(ioas, 0x11ffc, back, 8), -ENOENT, "past its end");
	f.error = -ETIMEDOUT;
	cr_assert_eq(ioas_read(ioas, 0x10000, back, 8), -ETIMEDOUT);
	cr_assert_eq(ioas_unmap(ioas, 0x10000, 0x2000), 0, "no pin is left after an error");
	cr_assert_eq(ioas_read(ioas, 0x10000, back, 8), -ENOENT);
	cr_assert_eq(ioas_mirror_remove(ioas, &f), 0);
	cr_assert_eq(ioas_destroy(ioas), 0);
	iommufd_ctx_destroy(ictx);
}
