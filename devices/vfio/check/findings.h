/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verdict: from facts to findings, each of which is fine, a warning or an obstacle, and has a
 * remedy that can be typed. Pure: nothing is read and nothing is printed.
 */
#ifndef SLUICE_VFIO_CHECK_FINDINGS_H
#define SLUICE_VFIO_CHECK_FINDINGS_H

#include "devices/vfio/check/facts.h"

enum check_severity {
	CHECK_OK,       /* as it should be, or only worth knowing */
	CHECK_WARNING,  /* a launch works, but not as well as it could */
	CHECK_OBSTACLE, /* a launch fails */
};

#define CHECK_REMEDIES 3

struct check_finding {
	enum check_severity severity;
	const char *code;                     /* stable, for programs: "driver.host" */
	const char *subject;                  /* one word: "driver" */
	const char *text;                     /* one sentence without a full stop */
	const char *remedies[CHECK_REMEDIES]; /* commands for a shell */
	size_t remedy_count;
	bool host; /* about the host or the caller: the same for every device */
};

struct check_report {
	struct check_finding *findings; /* in the order in which to mend them */
	size_t count;
	unsigned obstacles, warnings;
};

/* Judge @facts. The report lives in @arena. Returns 0 or -ENOMEM. */
int check_judge(struct check_arena *arena, const struct check_facts *facts,
		struct check_report *report);

/* What `sluice list` says of a device in few words. */
enum check_state {
	CHECK_READY,
	CHECK_NEEDS_BIND,       /* `sluice bind` is all that is missing */
	CHECK_NEEDS_BIND_GROUP, /* `sluice bind --group` is */
	CHECK_IN_USE,           /* by another virtual machine */
	CHECK_BLOCKED,          /* see @reason */
};

/*
 * Obstacles about the host are left out: the list says them once. *@reason is the finding behind
 * CHECK_IN_USE and CHECK_BLOCKED.
 */
enum check_state check_state(const struct check_report *report,
			     const struct check_finding **reason);

/* "512 MiB", "1.5 GiB": as short as it is exact to a tenth; into @out. */
void check_size(uint64_t bytes, char out[24]);

/* A name for a PCI class code (24 bits); "PCI device" when it is not known. */
const char *check_class_name(uint32_t class_code);

#endif
