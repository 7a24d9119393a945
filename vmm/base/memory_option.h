/* SPDX-License-Identifier: Apache-2.0 */
/* The option --memory [size=]SIZE[,hugepages=2M|1G][,prefault], as every command takes it. */
#ifndef SLUICE_BASE_MEMORY_OPTION_H
#define SLUICE_BASE_MEMORY_OPTION_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes, without the option. */
#define MEMORY_DEFAULT (512ull << 20)

struct memory_option {
	uint64_t size;      /* bytes */
	uint64_t huge_page; /* bytes of the huge pages that back it, 0: ordinary pages */
	bool prefault;      /* populate all of it before the guest runs */
};

/* Take what @value names; the rest stays. -EINVAL after a message, -ENOMEM. */
int memory_option_parse(const char *value, struct memory_option *memory);

/* Is it whole pages, and 2 MiB at least? -EINVAL after a message. */
int memory_option_check(const struct memory_option *memory);

#endif
