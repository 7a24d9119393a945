/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which page table object a device is attached to: a pure function from what the IOMMU can do and
 * what the user asked for. Neither dirty tracking nor the page size of a table can be changed later,
 * so both are decided at launch.
 */
#ifndef SLUICE_VFIO_KERNEL_HWPT_CHOICE_H
#define SLUICE_VFIO_KERNEL_HWPT_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hwpt_need {
	bool emulated;           /* no IOMMU behind it: an access object, which has no page table */
	uint64_t capabilities;   /* iommu_hw_info.out_capabilities, 0 when not known */
	unsigned max_pasid_log2; /* iommu_hw_info.out_max_pasid_log2 */
	bool migratable;         /* the VM is to be migrated or snapshot while it runs */
	bool pasid;              /* the guest is to attach PASIDs */
};

/* A table asked for explicitly (IOMMU_HWPT_ALLOC), or the kernel's own choice for the IOAS. */
struct hwpt_candidate {
	bool automatic;
	uint32_t flags; /* IOMMU_HWPT_ALLOC_*; 0 when automatic */
};

#define HWPT_CANDIDATES 4

struct hwpt_choice {
	struct hwpt_candidate candidates[HWPT_CANDIDATES]; /* to be tried in this order */
	size_t count;
	/*
	 * IOMMU_OPTION_HUGE_PAGES = 0 for the IOAS: an IOMMU reports a write by the page of its table,
	 * and one write to a 2 MiB page would send 2 MiB again.
	 */
	bool small_pages;
};

/* At least one candidate; the last one is automatic and has none of the wishes. */
struct hwpt_choice hwpt_choose(const struct hwpt_need *need);

#endif
