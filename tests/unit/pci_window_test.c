/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "vmm/pci/window.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

static const struct pci_windows usual = {
	.io = {0x1000, 0xf000},
	.mem32 = {3 * GIB, 512 * MIB},
	.mem64 = {64 * GIB, 64 * GIB},
};

static uint64_t random_state;

static uint64_t random64(void)
{
	random_state += 0x9e3779b97f4a7c15;
	uint64_t z = random_state;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static bool inside(uint64_t base, uint64_t size, const struct pci_range *range)
{
	return range->size && base >= range->base && size <= range->size &&
	       base - range->base <= range->size - size;
}

static bool meet(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a_size && b_size && a <= b + (b_size - 1) && b <= a + (a_size - 1);
}

/* What has to hold in every layout, said without the planner's own helpers. */
static void check_layout(const struct pci_windows *windows,
			 const struct pci_bridge_windows *bridges, size_t bridge_count,
			 const struct pci_bar_request *requests, size_t request_count)
{
	for (size_t i = 0; i < bridge_count; i++) {
		const struct pci_range *mine[] = {&bridges[i].io, &bridges[i].mem,
						  &bridges[i].prefetch};
		const struct pci_range *host[] = {&windows->io, &windows->mem32, &windows->mem64};

		for (int k = 0; k < 3; k++) {
			uint64_t granule = k ? MIB : 4 * KIB;

			if (!mine[k]->size) {
				cr_assert_eq(mine[k]->base, 0);
				continue;
			}
			cr_assert_eq(mine[k]->base % granule, 0);
			cr_assert_eq(mine[k]->size % granule, 0);
			cr_assert(inside(mine[k]->base, mine[k]->size, host[k]));
			for (size_t j = 0; j < i; j++) {
				const struct pci_range *other[] = {&bridges[j].io, &bridges[j].mem,
								   &bridges[j].prefetch};

				cr_assert(!meet(mine[k]->base, mine[k]->size, other[k]->base,
						other[k]->size));
			}
		}
	}
	for (size_t i = 0; i < request_count; i++) {
		const struct pci_bar_request *r = &requests[i];

		cr_assert_neq(r->address, 0);
		cr_assert_eq(r->address % r->size, 0, "request %zu", i);
		if (!r->io)
			cr_assert_eq(r->address % PCI_BAR_SPACING, 0);
		if (!r->io && !r->mem64)
			cr_assert(r->address + r->size <= 4 * GIB);
		if (r->bridge == PCI_ON_ROOT_BUS) {
			if (r->io)
				cr_assert(inside(r->address, r->size, &windows->io));
			else
				cr_assert(inside(r->address, r->size, &windows->mem32) ||
					  inside(r->address, r->size, &windows->mem64));
		} else {
			const struct pci_bridge_windows *b = &bridges[r->bridge];

			if (r->io)
				cr_assert(inside(r->address, r->size, &b->io));
			else
				cr_assert(inside(r->address, r->size, &b->mem) ||
					  (r->prefetchable && r->mem64 &&
					   inside(r->address, r->size, &b->prefetch)));
		}
		for (size_t j = 0; j < i; j++) {
			const struct pci_bar_request *o = &requests[j];
			uint64_t mine = r->size, other = o->size;

			if (o->io != r->io)
				continue;
			if (!r->io) {
				mine = mine < PCI_BAR_SPACING ? PCI_BAR_SPACING : mine;
				other = other < PCI_BAR_SPACING ? PCI_BAR_SPACING : other;
			}
			cr_assert(!meet(r->address, mine, o->address, other), "%zu meets %zu", i,
				  j);
		}
		/* A BAR of the root bus is in nobody's window. */
		for (size_t j = 0; r->bridge == PCI_ON_ROOT_BUS && j < bridge_count; j++) {
			const struct pci_bridge_windows *b = &bridges[j];

			if (r->io)
				cr_assert(!meet(r->address, r->size, b->io.base, b->io.size));
			else
				cr_assert(!meet(r->address, r->size, b->mem.base, b->mem.size) &&
					  !meet(r->address, r->size, b->prefetch.base,
						b->prefetch.size));
		}
	}
}

static int plan(const struct pci_windows *windows, struct pci_bridge_windows *bridges,
		size_t bridge_count, struct pci_bar_request *requests, size_t request_count,
		size_t *failed)
{
	int err = pci_plan_windows(windows, bridges, bridge_count, requests, request_count, failed);

	if (!err)
		check_layout(windows, bridges, bridge_count, requests, request_count);
	return err;
}

Test(pci_window, nothing_to_place_is_a_plan)
{
	size_t failed;

	cr_assert_eq(plan(&usual, NULL, 0, NULL, 0, &failed), 0);
}

Test(pci_window, each_kind_of_bar_goes_where_linux_claims_it)
{
	struct pci_bridge_windows bridges[1] = {0};
	struct pci_bar_request requests[] = {
		{.bridge = 0, .mem64 = true, .size = 16 * KIB},
		{.bridge = 0, .mem64 = true, .prefetchable = true, .size = 32 * MIB},
		{.bridge = 0, .prefetchable = true, .size = 8 * KIB},
		{.bridge = 0, .io = true, .size = 32},
		{.bridge = PCI_ON_ROOT_BUS, .mem64 = true, .size = 16 * KIB},
		{.bridge = PCI_ON_ROOT_BUS, .size = 4 * KIB},
	};
	size_t failed;

	cr_assert_eq(plan(&usual, bridges, 1, requests, 6, &failed), 0);
	cr_expect(inside(requests[0].address, requests[0].size, &bridges[0].mem));
	cr_expect(inside(requests[1].address, requests[1].size, &bridges[0].prefetch));
	cr_expect(inside(requests[2].address, requests[2].size, &bridges[0].mem));
	cr_expect(inside(requests[3].address, requests[3].size, &bridges[0].io));
	cr_expect(inside(requests[4].address, requests[4].size, &usual.mem64));
	cr_expect(inside(requests[5].address, requests[5].size, &usual.mem32));
	cr_expect_eq(bridges[0].mem.size, MIB);
	cr_expect_eq(bridges[0].prefetch.size, 32 * MIB);
	cr_expect_eq(bridges[0].io.size, 4 * KIB);
}

Test(pci_window, without_a_64_bit_window_everything_goes_low)
{
	struct pci_windows low = usual;
	struct pci_bridge_windows bridges[1] = {0};
	struct pci_bar_request requests[] = {
		{.bridge = 0, .mem64 = true, .prefetchable = true, .size = 32 * MIB},
		{.bridge = PCI_ON_ROOT_BUS, .mem64 = true, .size = 16 * KIB},
	};
	size_t failed;

	low.mem64.size = 0;
	cr_assert_eq(plan(&low, bridges, 1, requests, 2, &failed), 0);
	cr_expect(inside(requests[0].address, requests[0].size, &bridges[0].mem));
	cr_expect(inside(requests[1].address, requests[1].size, &low.mem32));
	cr_expect_eq(bridges[0].prefetch.size, 0);
}

Test(pci_window, a_bridge_without_requests_and_spare_room_gets_no_window)
{
	struct pci_bridge_windows bridges[2] = {{.spare_mem = 2 * MIB}};
	size_t failed;

	cr_assert_eq(plan(&usual, bridges, 2, NULL, 0, &failed), 0);
	cr_expect_eq(bridges[0].mem.size, 2 * MIB);
	cr_expect_eq(bridges[0].mem.base % (2 * MIB), 0);
	cr_expect_eq(bridges[0].prefetch.size, 0);
	cr_expect_eq(bridges[0].io.size, 0);
	cr_expect_eq(bridges[1].mem.size, 0);
}

Test(pci_window, spare_room_gives_way_but_needs_do_not)
{
	struct pci_bridge_windows bridges[31] = {0};
	struct pci_bar_request requests[] = {
		{.bridge = 30, .io = true, .size = 256},
		{.bridge = 30, .size = 256 * MIB},
	};
	size_t with_io = 0, failed;

	for (size_t i = 0; i < 31; i++)
		bridges[i] = (struct pci_bridge_windows){
			.spare_io = 4 * KIB, .spare_mem = 64 * MIB, .spare_prefetch = 4 * GIB};
	cr_assert_eq(plan(&usual, bridges, 31, requests, 2, &failed), 0);
	for (size_t i = 0; i < 31; i++) {
		with_io += bridges[i].io.size != 0;
		cr_expect_geq(bridges[i].mem.size, 4 * MIB);
		cr_expect_geq(bridges[i].prefetch.size, GIB);
	}
	/* 15 windows of 4 KiB fit between 0x1000 and 0xffff; the last is the one that is needed. */
	cr_expect_eq(with_io, 15);
	cr_expect_eq(bridges[30].io.size, 4 * KIB);
}

Test(pci_window, large_bars_are_aligned_for_large_pages)
{
	struct pci_bridge_windows bridges[3] = {0};
	struct pci_bar_request requests[] = {
		{.bridge = 0, .mem64 = true, .prefetchable = true, .size = 16 * GIB},
		{.bridge = 0, .mem64 = true, .prefetchable = true, .size = 32 * MIB},
		{.bridge = 1, .mem64 = true, .prefetchable = true, .size = 16 * GIB},
		{.bridge = 2, .mem64 = true, .prefetchable = true, .size = 64 * KIB},
		{.bridge = 2, .size = 2 * MIB},
	};
	struct pci_windows odd = usual;
	size_t failed;

	odd.mem64.base = 64 * GIB - 3 * MIB;
	cr_assert_eq(plan(&odd, bridges, 3, requests, 5, &failed), 0);
	cr_expect_eq(bridges[0].prefetch.base % (16 * GIB), 0);
	cr_expect_eq(requests[4].address % (2 * MIB), 0);
}

Test(pci_window, a_full_window_is_packed_without_gaps)
{
	struct pci_windows tight = {.mem32 = {3 * GIB, 32 * MIB}};
	struct pci_bridge_windows bridges[4] = {0};
	struct pci_bar_request requests[] = {
		{.bridge = 0, .size = MIB},
		{.bridge = 1, .size = 8 * MIB},
		{.bridge = 0, .size = 4 * MIB},
		{.bridge = 2, .size = 16 * MIB},
		{.bridge = PCI_ON_ROOT_BUS, .size = 2 * MIB},
		{.bridge = 3, .size = 512 * KIB},
		{.bridge = 3, .size = 512 * KIB},
	};
	struct pci_bar_request more[8];
	size_t failed = 0;

	cr_assert_eq(plan(&tight, bridges, 4, requests, 7, &failed), 0);
	memcpy(more, requests, sizeof(requests));
	more[7] = (struct pci_bar_request){.bridge = 3, .size = 512 * KIB};
	cr_assert_eq(plan(&tight, bridges, 4, more, 8, &failed), -ENOSPC);
	cr_expect(failed < 8);
}

Test(pci_window, the_strictest_alignment_is_placed_first)
{
	struct pci_windows tight = {.mem32 = {3 * GIB, 17 * MIB}};
	struct pci_bridge_windows bridges[3] = {0};
	struct pci_bar_request requests[] = {
		{.bridge = 0, .size = MIB},
		{.bridge = 1, .size = 16 * MIB},
	};
	size_t failed;

	cr_assert_eq(plan(&tight, bridges, 2, requests, 2, &failed), 0);
	cr_expect_eq(bridges[1].mem.base, 3 * GIB);

	/* Spare room is aligned as what may come into it. */
	tight = (struct pci_windows){.mem32 = {3 * GIB + MIB, 64 * MIB}};
	memset(bridges, 0, sizeof(bridges));
	bridges[0].spare_mem = 5 * MIB;
	cr_assert_eq(plan(&tight, bridges, 1, NULL, 0, &failed), 0);
	cr_expect_eq(bridges[0].mem.base, 3 * GIB + 4 * MIB);
	cr_expect_eq(bridges[0].mem.size, 5 * MIB);
}

Test(pci_window, a_bar_that_finds_no_room_is_named)
{
	struct pci_bridge_windows bridges[2] = {{.spare_mem = 2 * MIB}, {.spare_mem = 2 * MIB}};
	struct pci_bar_request requests[] = {
		{.bridge = PCI_ON_ROOT_BUS, .size = 16},
		{.bridge = 1, .mem64 = true, .size = GIB},
		{.bridge = 1, .mem64 = true, .size = MIB},
	};
	size_t failed = 0;

	cr_expect_eq(plan(&usual, bridges, 2, requests, 3, &failed), -ENOSPC);
	cr_expect_eq(failed, 1);
	requests[1] = (struct pci_bar_request){.bridge = 0, .io = true, .size = 0x10000};
	cr_expect_eq(plan(&usual, bridges, 2, requests, 3, &failed), -ENOSPC);
	cr_expect_eq(failed, 1);
}

Test(pci_window, hostile_requests_are_refused_and_named)
{
	static const struct {
		const char *name;
		struct pci_bar_request second;
		int err;
	} rows[] = {
		{"size 0", {.bridge = 0, .size = 0}, -EINVAL},
		{"no power of two", {.bridge = 0, .size = 48 * KIB}, -EINVAL},
		{"all ones", {.bridge = 0, .size = UINT64_MAX}, -EINVAL},
		{"no such bridge", {.bridge = 1, .size = 4 * KIB}, -EINVAL},
		{"nearly the root bus", {.bridge = PCI_ON_ROOT_BUS - 1, .size = 4 * KIB}, -EINVAL},
		{"half of all",
		 {.bridge = 0, .mem64 = true, .prefetchable = true, .size = UINT64_C(1) << 63},
		 -ENOSPC},
		{"half of all, low", {.bridge = 0, .size = UINT64_C(1) << 63}, -ENOSPC},
		{"half of all, on the root",
		 {.bridge = PCI_ON_ROOT_BUS, .mem64 = true, .size = UINT64_C(1) << 63},
		 -ENOSPC},
		{"I/O of 2^63", {.bridge = 0, .io = true, .size = UINT64_C(1) << 63}, -ENOSPC},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct pci_bridge_windows bridges[1] = {{.spare_prefetch = UINT64_MAX}};
		struct pci_bar_request requests[] = {{.bridge = 0, .size = 4 * KIB},
						     rows[i].second};
		size_t failed = 99;

		cr_expect_eq(plan(&usual, bridges, 1, requests, 2, &failed), rows[i].err, "%s",
			     rows[i].name);
		cr_expect_eq(failed, 1, "%s", rows[i].name);
	}
}

Test(pci_window, sums_that_wrap_find_no_room)
{
	struct pci_windows whole = {.mem64 = {4 * GIB, UINT64_MAX - 4 * GIB}};
	struct pci_bridge_windows bridges[1] = {{.spare_mem = UINT64_MAX, .spare_io = UINT64_MAX}};
	struct pci_bar_request requests[4];
	size_t failed = 99;

	for (int i = 0; i < 4; i++)
		requests[i] = (struct pci_bar_request){
			.mem64 = true, .prefetchable = true, .size = UINT64_C(1) << 62};
	cr_expect_eq(plan(&whole, bridges, 1, requests, 2, &failed), 0);
	cr_expect_eq(bridges[0].prefetch.base, UINT64_C(1) << 62);
	/* Four make 2^64, which is 0. */
	cr_expect_eq(plan(&whole, bridges, 1, requests, 4, &failed), -ENOSPC);
	cr_expect_lt(failed, 4);

	/* 2^63 + 2^62 + ... + 2^16: wraps only when it is rounded up to what a bridge can decode. */
	struct pci_bar_request all[48];

	for (int i = 0; i < 48; i++)
		all[i] = (struct pci_bar_request){
			.mem64 = true, .prefetchable = true, .size = UINT64_C(1) << (16 + i)};
	cr_expect_eq(plan(&whole, bridges, 1, all, 48, &failed), -ENOSPC);
}

Test(pci_window, host_windows_out_of_place_are_refused)
{
	static const struct pci_windows rows[] = {
		{.io = {0xffffffff, 2}},
		{.mem32 = {4 * GIB - MIB, 2 * MIB}},
		{.mem32 = {UINT64_MAX, 2}},
		{.mem64 = {2 * GIB, 4 * GIB}},
		{.mem64 = {UINT64_MAX - MIB, 2 * MIB}},
		{.mem64 = {8 * GIB, UINT64_MAX}},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t failed = 0;

		cr_expect_eq(plan(&rows[i], NULL, 0, NULL, 0, &failed), -EINVAL, "row %zu", i);
		cr_expect_eq(failed, SIZE_MAX);
	}
}

Test(pci_window, a_window_that_begins_at_0_gives_no_address_0)
{
	struct pci_windows zero = {.io = {0, 0x10000}, .mem32 = {0, GIB}};
	struct pci_bridge_windows bridges[1] = {0};
	struct pci_bar_request requests[] = {
		{.bridge = PCI_ON_ROOT_BUS, .io = true, .size = 4},
		{.bridge = PCI_ON_ROOT_BUS, .size = 16},
		{.bridge = 0, .size = 16},
		{.bridge = 0, .io = true, .size = 4},
	};
	size_t failed;

	cr_expect_eq(plan(&zero, bridges, 1, requests, 4, &failed), 0);
}

#define MOST_BRIDGES  6
#define MOST_REQUESTS 24

Test(pci_window, random_machines_keep_every_invariant_and_are_deterministic)
{
	unsigned fits = 0, full = 0;

	for (unsigned round = 0; round < 20000; round++) {
		struct pci_bridge_windows bridges[MOST_BRIDGES] = {0}, again[MOST_BRIDGES];
		struct pci_bar_request requests[MOST_REQUESTS] = {0}, twice[MOST_REQUESTS];
		struct pci_windows windows = usual;
		size_t b, n, failed = 0, failed_again = 0;
		int err;

		random_state = round;
		b = random64() % (MOST_BRIDGES + 1);
		n = random64() % (MOST_REQUESTS + 1);
		windows.mem32.base += random64() % 64 * KIB;
		windows.mem64.base += random64() % GIB;
		windows.io.base += random64() % 0x800;
		windows.io.size = random64() % 0xe000;
		if (round % 5 == 0)
			windows.mem64.size = 0;
		for (size_t i = 0; i < b; i++) {
			bridges[i].spare_io = random64() % 3 * 2048;
			bridges[i].spare_mem = random64() % (8 * MIB);
			bridges[i].spare_prefetch = random64() % (32 * GIB);
		}
		for (size_t i = 0; i < n; i++) {
			struct pci_bar_request *r = &requests[i];

			r->bridge =
				b && random64() % 4 ? (unsigned)(random64() % b) : PCI_ON_ROOT_BUS;
			r->io = random64() % 8 == 0;
			r->mem64 = !r->io && random64() % 2;
			r->prefetchable = !r->io && random64() % 2;
			r->size = UINT64_C(4) << random64() % (r->io ? 7 : r->mem64 ? 31 : 26);
		}
		memcpy(again, bridges, sizeof(bridges));
		memcpy(twice, requests, sizeof(requests));
		for (size_t i = 0; i < n; i++)
			twice[i].address = random64(); /* what was there before does not matter */

		err = plan(&windows, bridges, b, requests, n, &failed);
		if (err) {
			cr_assert_eq(err, -ENOSPC);
			cr_assert_lt(failed, n);
			full++;
		} else {
			fits++;
		}
		cr_assert_eq(pci_plan_windows(&windows, again, b, twice, n, &failed_again), err);
		if (err) {
			cr_assert_eq(failed, failed_again);
		} else {
			cr_assert_arr_eq(again, bridges, sizeof(bridges));
			cr_assert_arr_eq(twice, requests, sizeof(requests));
		}
	}
	/* The generator is of use only when both happen often. */
	cr_expect_gt(fits, 5000);
	cr_expect_gt(full, 500);
}

Test(pci_window, every_set_of_small_powers_that_fits_by_sum_is_placed)
{
	/* On the root bus powers of two packed largest first leave no gap: the sum decides. */
	for (unsigned mask = 0; mask < 4096; mask++) {
		struct pci_windows tight = {.mem32 = {3 * GIB, 4 * MIB}};
		struct pci_bar_request requests[6];
		uint64_t sum = 0;
		size_t failed;

		for (int i = 0; i < 6; i++) {
			requests[i] = (struct pci_bar_request){
				.bridge = PCI_ON_ROOT_BUS,
				.size = 256 * KIB << (mask >> 2 * i & 3),
			};
			sum += requests[i].size;
		}
		cr_assert_eq(plan(&tight, NULL, 0, requests, 6, &failed),
			     sum <= 4 * MIB ? 0 : -ENOSPC);
	}
}
