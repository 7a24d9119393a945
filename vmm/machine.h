/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine: its parts list, and its life from launch to end.
 */
#ifndef SLUICE_MACHINE_H
#define SLUICE_MACHINE_H

struct vm_config;

/* Exit statuses of `sluice run`. A test guest's own status may be any byte. */
enum {
	STATUS_OFF = 0,
	STATUS_HOST_FAILURE = 1,
	STATUS_BAD_ARGUMENTS = 2,
	STATUS_RESET = 3,
	STATUS_CRASH = 4,
};

/*
 * Build the machine that @config describes, run it on the calling thread until it ends, take it
 * apart again. Returns the exit status; messages were printed. Signals that it takes are blocked
 * in the calling thread before the first other thread exists, and stay so.
 */
int machine_run(const struct vm_config *config);

#endif
