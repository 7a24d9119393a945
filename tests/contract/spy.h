/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look between the core and any provider: the device's ops with a note taken of each call. Only one
 * device of a test is watched.
 */
#ifndef SLUICE_TESTS_CONTRACT_SPY_H
#define SLUICE_TESTS_CONTRACT_SPY_H

#include "devices/vfio/device.h"

struct spy {
	unsigned releases;
	unsigned calls;      /* of bind, unbind, open, close, attach and detach */
	unsigned unlocked;   /* of those without the set's lock */
	unsigned hot_resets; /* answered here, never by the device */
	unsigned unlocked_resets;
	char order[256]; /* "bind open attach detach close unbind" */
	int fail_attach; /* what the next attach answers, without asking the provider */
	int set_states;  /* calls of migration_set_state() that reached the provider */
};

/* Watch @vdev from now on; before it is opened. */
struct spy *spy_on(struct vfio_device *vdev);
/* Watch its migration ops; after it is opened. */
void spy_on_migration(struct vfio_device *vdev);

#endif
