// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * The arcs of migration version 2 that a device makes itself (include/uapi/linux/vfio.h, "Device State
 * Implementation"); vfio_mig_get_next_state() of the kernel strings them together.
 */
#include "devices/vfio/reference/internal.h"

#define STATE(name) (1u << VFIO_DEVICE_STATE_##name)

static uint32_t supported(const struct reference_device *device)
{
	const bool p2p = device->migration_flags & VFIO_MIGRATION_P2P;
	const bool pre_copy = device->migration_flags & VFIO_MIGRATION_PRE_COPY;

	return STATE(STOP) | STATE(RUNNING) | STATE(STOP_COPY) | STATE(RESUMING) |
	       (p2p ? STATE(RUNNING_P2P) : 0) | (pre_copy ? STATE(PRE_COPY) : 0) |
	       (p2p && pre_copy ? STATE(PRE_COPY_P2P) : 0);
}

/* Where one arc leads from the present state. */
static uint32_t arcs(const struct reference_device *device)
{
	const bool p2p = device->migration_flags & VFIO_MIGRATION_P2P;

	switch (device->state) {
	case VFIO_DEVICE_STATE_STOP:
		return STATE(STOP_COPY) | STATE(RESUMING) |
		       (p2p ? STATE(RUNNING_P2P) : STATE(RUNNING));
	case VFIO_DEVICE_STATE_RUNNING:
		return STATE(PRE_COPY) | (p2p ? STATE(RUNNING_P2P) : STATE(STOP));
	case VFIO_DEVICE_STATE_STOP_COPY:
	case VFIO_DEVICE_STATE_RESUMING:
		return STATE(STOP);
	case VFIO_DEVICE_STATE_RUNNING_P2P:
		return STATE(RUNNING) | STATE(STOP) | STATE(PRE_COPY_P2P);
	case VFIO_DEVICE_STATE_PRE_COPY:
		return STATE(RUNNING) | (p2p ? STATE(PRE_COPY_P2P) : STATE(STOP_COPY));
	case VFIO_DEVICE_STATE_PRE_COPY_P2P:
		return STATE(RUNNING_P2P) | STATE(PRE_COPY) | STATE(STOP_COPY);
	default:
		return 0; /* out of ERROR leads only a reset */
	}
}

static bool is_saving(uint32_t state)
{
	return (1u << state) & (STATE(STOP_COPY) | STATE(PRE_COPY) | STATE(PRE_COPY_P2P));
}

static enum reference_session_change end_session(struct reference_device *device)
{
	const bool was = device->session.saving || device->session.loading;

	device->session.saving = device->session.loading = false;
	return was ? REFERENCE_SESSION_END : REFERENCE_SESSION_KEEP;
}

static int to_error(struct reference_device *device, int rc, enum reference_session_change *session)
{
	*session = end_session(device);
	device->state = VFIO_DEVICE_STATE_ERROR;
	return rc;
}

static bool injected(struct reference_device *device, uint32_t next)
{
	struct reference_faults *faults = &device->faults;

	if (faults->fail_state_times == 0 || faults->fail_state != next)
		return false;
	faults->fail_state_times--;
	return true;
}

uint32_t reference_state(const struct reference_device *device)
{
	return device->state;
}

int reference_arc(struct reference_device *device, uint32_t next,
		  enum reference_session_change *session)
{
	const uint32_t from = device->state;

	*session = REFERENCE_SESSION_KEEP;
	if (device->removed)
		return -ENODEV;
	if (next > VFIO_DEVICE_STATE_PRE_COPY_P2P ||
	    !(arcs(device) & supported(device) & 1u << next))
		return -EINVAL;
	if (!reference_state_does_dma(next) && reference_access_out(device))
		return -EAGAIN;
	if (injected(device, next))
		return to_error(device, -EIO, session);

	if (from == VFIO_DEVICE_STATE_RESUMING && reference_load_commit(device))
		return to_error(device, -EINVAL, session);
	device->state = next;
	if (next == VFIO_DEVICE_STATE_RESUMING) {
		reference_load_begin(device);
		*session = REFERENCE_SESSION_LOAD;
	} else if (is_saving(next) && !is_saving(from)) {
		reference_save_begin(device);
		*session = REFERENCE_SESSION_SAVE;
	} else if (is_saving(next)) {
		if (next == VFIO_DEVICE_STATE_STOP_COPY)
			reference_save_final(device);
	} else {
		*session = end_session(device);
	}
	return 0;
}
