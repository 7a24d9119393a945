/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look between the core and any provider: the device's ops with a note taken of each call. One device of
 * a test is watched, or two of one provider with what they do summed up.
 */
#ifndef SLUICE_TESTS_CONTRACT_SPY_H
#define SLUICE_TESTS_CONTRACT_SPY_H

#include "devices/vfio/device.h"

struct spy {
	unsigned releases;
	unsigned calls;       /* of bind, unbind, open, close, attach, detach and hot reset */
	unsigned unlocked;    /* of those without the set's lock */
	atomic_uint overlaps; /* of those while another was not back */
	unsigned dawdle_us;   /* how long each of them takes at least */
	unsigned hot_resets;  /* answered here, never by the device */
	char order[256];      /* "bind open attach detach close unbind" */
	int fail_attach;      /* what the next attach answers, without asking the provider */
	int set_states;       /* calls of migration_set_state() that reached the provider */
};

/* Watch @vdev from now on; before it is opened. */
struct spy *spy_on(struct vfio_device *vdev);
/* Watch @vdev too, when it is of the same provider. */
bool spy_also_on(struct vfio_device *vdev);
/* Watch its migration ops; after it is opened. */
void spy_on_migration(struct vfio_device *vdev);

#endif
