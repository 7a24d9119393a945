/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much memory the host can still give this process. Without the question the answer comes from the
 * OOM killer, which says nothing to the user and may end somebody else.
 */
#ifndef SLUICE_BASE_HOST_MEMORY_H
#define SLUICE_BASE_HOST_MEMORY_H

#include <stdint.h>

struct host_memory {
	uint64_t available; /* bytes, without swapping; UINT64_MAX: not known, or no limit */
	uint64_t swap_free; /* bytes that others could be swapped out to */
	uint64_t most; /* what both can come to when nobody else uses any; UINT64_MAX: not known */
	char cgroup[256]; /* the memory cgroup whose limit is the nearest, "": the machine itself */
};

/*
 * The least of MemAvailable (/proc/meminfo) and of what each memory cgroup that this process is in
 * leaves of its limit, page cache not counted as used (Documentation/admin-guide/cgroup-v2.rst,
 * cgroup-v1/memory.rst). Files are looked up below @root, "" for the host itself. What cannot be read
 * sets no limit: a launch is refused for a reason that is known, or not at all.
 */
void host_memory_read(const char *root, struct host_memory *out);

/*
 * Bytes that a guest of @ram bytes takes when all of it is there: it and its page tables, of this
 * process, of KVM and of the IOMMU (8 bytes for 4 KiB each).
 */
uint64_t host_memory_need(uint64_t ram);

#endif
