/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <linux/iommufd.h>

#include "devices/vfio/providers/kernel/hwpt_choice.h"

#define DIRTY IOMMU_HWPT_ALLOC_DIRTY_TRACKING
#define PASID IOMMU_HWPT_ALLOC_PASID
#define AUTO  (1u << 31) /* in the table below: the kernel's own choice */

Test(hwpt_choice, every_combination_of_device_and_wish)
{
	/* What remains of the two wishes decides all: index = dirty wanted and had | pasid << 1. */
	static const uint32_t expected[4][HWPT_CANDIDATES] = {
		{AUTO},
		{DIRTY, AUTO},
		{PASID, AUTO},
		{DIRTY | PASID, PASID, DIRTY, AUTO},
	};

	for (unsigned i = 0; i < 1u << 9; i++) {
		const struct hwpt_need need = {
			.emulated = i & 1,
			.capabilities = (i >> 1 & 15) | (i & 32 ? 1ull << 63 : 0),
			.max_pasid_log2 = i & 64 ? 20 : 0,
			.migratable = i & 128,
			.pasid = i & 256,
		};
		const bool dirty = !need.emulated && need.migratable &&
				   (need.capabilities & IOMMU_HW_CAP_DIRTY_TRACKING);
		const bool pasid = !need.emulated && need.pasid && need.max_pasid_log2;
		const uint32_t *want = expected[dirty | pasid << 1];
		const struct hwpt_choice choice = hwpt_choose(&need);
		size_t count = 0;

		while (!(want[count++] & AUTO))
			;
		cr_assert_eq(choice.count, count, "case %u", i);
		for (size_t c = 0; c < count; c++) {
			cr_expect_eq(choice.candidates[c].automatic, !!(want[c] & AUTO),
				     "case %u candidate %zu", i, c);
			cr_expect_eq(choice.candidates[c].flags, want[c] & ~AUTO,
				     "case %u candidate %zu", i, c);
		}
		cr_expect_eq(choice.small_pages, dirty, "case %u", i);
	}
}

Test(hwpt_choice, only_the_last_candidate_is_automatic)
{
	for (unsigned i = 0; i < 32; i++) {
		const struct hwpt_need need = {
			.emulated = i & 1,
			.capabilities = i & 2 ? IOMMU_HW_CAP_DIRTY_TRACKING : 0,
			.max_pasid_log2 = i & 4 ? 16 : 0,
			.migratable = i & 8,
			.pasid = i & 16,
		};
		const struct hwpt_choice choice = hwpt_choose(&need);

		cr_assert(choice.count >= 1 && choice.count <= HWPT_CANDIDATES);
		for (size_t c = 0; c < choice.count; c++)
			cr_expect_eq(choice.candidates[c].automatic, c == choice.count - 1);
	}
}
