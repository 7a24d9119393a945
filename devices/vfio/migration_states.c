/* SPDX-License-Identifier: Apache-2.0 */
/* Migration version 2: which states follow which. */
#include "devices/vfio/migration_states.h"

#include <errno.h>

#define STATE(name) (1u << VFIO_DEVICE_STATE_##name)

/* Where one arc of a device leads from each state; what the device lacks is masked out. */
static const uint8_t arcs_p2p[VFIO_DEVICE_NUM_STATES] = {
	[VFIO_DEVICE_STATE_STOP] = STATE(RUNNING_P2P) | STATE(STOP_COPY) | STATE(RESUMING),
	[VFIO_DEVICE_STATE_RUNNING] = STATE(RUNNING_P2P) | STATE(PRE_COPY),
	[VFIO_DEVICE_STATE_STOP_COPY] = STATE(STOP),
	[VFIO_DEVICE_STATE_RESUMING] = STATE(STOP),
	[VFIO_DEVICE_STATE_RUNNING_P2P] = STATE(RUNNING) | STATE(STOP) | STATE(PRE_COPY_P2P),
	[VFIO_DEVICE_STATE_PRE_COPY] = STATE(RUNNING) | STATE(PRE_COPY_P2P),
	[VFIO_DEVICE_STATE_PRE_COPY_P2P] = STATE(RUNNING_P2P) | STATE(PRE_COPY) | STATE(STOP_COPY),
};

/* Without P2P the device goes between RUNNING and STOP at once. */
static const uint8_t arcs_plain[VFIO_DEVICE_NUM_STATES] = {
	[VFIO_DEVICE_STATE_STOP] = STATE(RUNNING) | STATE(STOP_COPY) | STATE(RESUMING),
	[VFIO_DEVICE_STATE_RUNNING] = STATE(STOP) | STATE(PRE_COPY),
	[VFIO_DEVICE_STATE_STOP_COPY] = STATE(STOP),
	[VFIO_DEVICE_STATE_RESUMING] = STATE(STOP),
	[VFIO_DEVICE_STATE_PRE_COPY] = STATE(RUNNING) | STATE(STOP_COPY),
};

#define SAVING (STATE(STOP_COPY) | STATE(PRE_COPY) | STATE(PRE_COPY_P2P))

bool vfio_mig_flags_valid(uint32_t flags)
{
	return (flags & VFIO_MIGRATION_STOP_COPY) &&
	       !(flags &
		 ~(VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P | VFIO_MIGRATION_PRE_COPY));
}

bool vfio_mig_state_supported(uint32_t flags, uint32_t state)
{
	const bool p2p = flags & VFIO_MIGRATION_P2P, pre_copy = flags & VFIO_MIGRATION_PRE_COPY;

	if (!(flags & VFIO_MIGRATION_STOP_COPY))
		return false;

	switch (state) {
	case VFIO_DEVICE_STATE_STOP:
	case VFIO_DEVICE_STATE_RUNNING:
	case VFIO_DEVICE_STATE_STOP_COPY:
	case VFIO_DEVICE_STATE_RESUMING:
		return true;
	case VFIO_DEVICE_STATE_RUNNING_P2P:
		return p2p;
	case VFIO_DEVICE_STATE_PRE_COPY:
		return pre_copy;
	case VFIO_DEVICE_STATE_PRE_COPY_P2P:
		return p2p && pre_copy;
	default:
		return false;
	}
}

int vfio_mig_get_next_state(uint32_t flags, uint32_t cur, uint32_t new, uint32_t *next)
{
	const uint8_t *arcs = flags & VFIO_MIGRATION_P2P ? arcs_p2p : arcs_plain;
	unsigned inside = ~0u, reached;

	if (!vfio_mig_state_supported(flags, cur) || !vfio_mig_state_supported(flags, new))
		return -EINVAL;
	if (cur == new) {
		*next = cur;
		return 0;
	}
	/* A finished copy is never taken up again: PRE_COPY starts from a running device. */
	if (cur == VFIO_DEVICE_STATE_STOP_COPY && (SAVING & (1u << new)))
		return -EINVAL;
	if (!((SAVING & (1u << cur)) && (SAVING & (1u << new))))
		inside &= ~SAVING;

	/*
	 * Backwards from the goal, one arc at a time, until @cur is one arc away from what has been
	 * reached: that state is the next on the shortest way.
	 */
	reached = 1u << new;
	for (unsigned distance = 0; distance < VFIO_DEVICE_NUM_STATES; distance++) {
		const unsigned hit = arcs[cur] & reached;
		unsigned grown = reached;

		if (hit) {
			*next = (uint32_t)__builtin_ctz(hit);
			return 0;
		}
		for (uint32_t state = 0; state < VFIO_DEVICE_NUM_STATES; state++) {
			if ((arcs[state] & reached) && (inside & (1u << state)) &&
			    vfio_mig_state_supported(flags, state))
				grown |= 1u << state;
		}
		reached = grown;
	}
	return -EINVAL;
}

const char *vfio_mig_state_name(uint32_t state)
{
	static const char *const names[VFIO_DEVICE_NUM_STATES] = {
		"ERROR",    "STOP",        "RUNNING",  "STOP_COPY",
		"RESUMING", "RUNNING_P2P", "PRE_COPY", "PRE_COPY_P2P",
	};

	return state < VFIO_DEVICE_NUM_STATES ? names[state] : "unknown";
}
