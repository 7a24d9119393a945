/* SPDX-License-Identifier: Apache-2.0 */
/* The devices of this host and their states. */
#ifndef SLUICE_VFIO_CHECK_LIST_H
#define SLUICE_VFIO_CHECK_LIST_H

#include "devices/vfio/check/options.h"
#include "devices/vfio/check/print.h"
#include "devices/vfio/check/read.h"

struct check_listed {
	struct check_facts facts;
	struct check_report report;
	enum check_state state;
	const struct check_finding *reason; /* of a state that has one, else NULL */
};

struct check_list_of {
	struct check_listed *devices; /* by address */
	size_t count;
};

/* Gather and judge every PCI device; without @all those that a guest could have use for. */
int check_list_gather(struct check_arena *arena, const char *root, bool all,
		      struct check_list_of *list);

void check_list_print(FILE *out, const struct check_list_of *list, bool color);

/* The document of `list --json` (docs/check.md), NULL without memory. */
json_t *check_list_json(const struct check_list_of *list);

#endif
