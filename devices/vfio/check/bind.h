/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving a device to a VFIO driver and back. What to do is a plan (pure); bind.c carries it out.
 *
 * The driver that a device had, and its driver_override, are remembered in
 * /run/sluice/drivers/ADDRESS as two lines, "-" for none, so that unbind restores both.
 */
#ifndef SLUICE_VFIO_CHECK_BIND_H
#define SLUICE_VFIO_CHECK_BIND_H

#include "devices/vfio/check/findings.h"

#define BIND_STATE_DIR "/run/sluice/drivers"
#define BIND_STEPS_MAX 4

/* What a device had before. */
struct bind_memory {
	bool known;
	char driver[64];   /* "" none */
	char override[64]; /* "" none */
};

/* The two lines of a file in BIND_STATE_DIR, and back. Parse: -EINVAL for anything else. */
void bind_memory_format(const struct bind_memory *memory, char out[160]);
int bind_memory_parse(const char *text, struct bind_memory *memory);

/* Is the device with no driver of the host's own: none, a VFIO driver, or pci-stub? */
bool bind_is_parked(const struct check_facts *facts);

/* One write into sysfs, in order. */
struct bind_step {
	char path[160]; /* absolute */
	char text[72];
	bool may_fail; /* the end result is verified instead */
};

struct bind_plan {
	struct bind_step steps[BIND_STEPS_MAX];
	unsigned count;
};

/* From whatever driver the device has to @driver. No steps when it has that. */
void bind_plan_to(const struct check_facts *facts, const char *driver, struct bind_plan *plan);

/* From where it is parked to what @memory tells, or to what the kernel finds for it. */
void bind_plan_back(const struct check_facts *facts, const struct bind_memory *memory,
		    struct bind_plan *plan);

/*
 * Why the device must not be taken from the host (@to_guest) or back from a guest: the first such
 * obstacle of its report, or NULL. @force overrules what only endangers the host's own use.
 */
const struct check_finding *bind_refusal(const struct check_report *report, bool to_guest,
					 bool force);

/*
 * The VFIO driver's module that fits the device with the PCI @modalias best, by the lines of
 * modules.alias: variant drivers (mlx5_vfio_pci) claim single devices, vfio_pci all. Into @module;
 * "vfio_pci" when nothing fits.
 */
void bind_best_module(const char *aliases, const char *modalias, char module[64]);

#endif
