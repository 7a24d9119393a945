/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of VFIO migration version 2 and the arcs between them, as a pure function
 * (<linux/vfio.h>, "FEATURE_MIG_DEVICE_STATE"; vfio_mig_get_next_state() of the kernel).
 */
#ifndef SLUICE_VFIO_MIGRATION_STATES_H
#define SLUICE_VFIO_MIGRATION_STATES_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/vfio.h>

#define VFIO_DEVICE_NUM_STATES (VFIO_DEVICE_STATE_PRE_COPY_P2P + 1)

/* STOP_COPY is there; P2P and PRE_COPY may be; nothing else is known. */
bool vfio_mig_flags_valid(uint32_t flags);

/* Does a device with @flags (VFIO_MIGRATION_*) have @state? Never true of ERROR. */
bool vfio_mig_state_supported(uint32_t flags, uint32_t state);

/*
 * The next arc of the way from @cur to @new that a device with @flags has. The way is the shortest
 * one that has no saving state (STOP_COPY, PRE_COPY, PRE_COPY_P2P) inside, unless both its ends are
 * saving states. *@next == @cur when they are equal. -EINVAL: a state the device does not have, no
 * way, or from or to ERROR (out of which only a reset leads).
 */
int vfio_mig_get_next_state(uint32_t flags, uint32_t cur, uint32_t new, uint32_t *next);

/* "RUNNING", "STOP_COPY", ...; "unknown". Static storage. */
const char *vfio_mig_state_name(uint32_t state);

#endif
