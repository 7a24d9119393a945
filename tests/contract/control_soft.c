/* SPDX-License-Identifier: Apache-2.0 */
/* Faults of a soft device: it has no outside but its own memory. */
#include <stdio.h>
#include <string.h>

#include "devices/vfio/providers/soft/soft.h"
#include "tests/contract/contract.h"

void soft_control_set(struct run *run, const char *name, const char *value)
{
	struct soft_device *sd = soft_device(run->vdev);
	struct reference_faults *faults = &sd->model.faults;
	static unsigned requests;

	if (!strcmp(name, "trigger") && !strcmp(value, "request")) {
		run->vdev->ops->request(run->vdev, requests++);
		return;
	}
	soft_lock(sd);
	if (!strcmp(name, "fail_state")) {
		expect(run,
		       sscanf(value, "%u %u", &faults->fail_state, &faults->fail_state_times) == 2,
		       "fail_state takes two numbers");
	} else if (!strcmp(name, "reinit")) {
		faults->reinit = true;
	} else if (!strcmp(name, "trigger") && !strcmp(value, "error")) {
		soft_effects(sd, REFERENCE_EFFECT_ERROR);
	} else if (!strcmp(name, "trigger") && !strcmp(value, "remove")) {
		reference_remove(&sd->model);
		soft_effects(sd, REFERENCE_EFFECT_REMOVED);
	} else {
		expect(run, false, "a soft device has no %s to be set to %s", name, value);
	}
	soft_unlock(sd);
}
