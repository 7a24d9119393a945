/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vfio/providers/kernel/hwpt_choice.h"

#include <linux/iommufd.h>

struct hwpt_choice hwpt_choose(const struct hwpt_need *need)
{
	struct hwpt_choice choice = {0};
	uint32_t dirty = 0, pasid = 0;

	if (!need->emulated) {
		if (need->migratable && (need->capabilities & IOMMU_HW_CAP_DIRTY_TRACKING))
			dirty = IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
		if (need->pasid && need->max_pasid_log2)
			pasid = IOMMU_HWPT_ALLOC_PASID;
	}

	/*
	 * Some IOMMUs have both but not in one table (AMD answers EOPNOTSUPP), and an IOMMU may have
	 * less than it says: then the wish that cannot be had in another way comes first.
	 */
	if (dirty && pasid)
		choice.candidates[choice.count++].flags = dirty | pasid;
	if (pasid)
		choice.candidates[choice.count++].flags = pasid;
	if (dirty)
		choice.candidates[choice.count++].flags = dirty;
	choice.candidates[choice.count++].automatic = true;

	choice.small_pages = dirty != 0;
	return choice;
}
