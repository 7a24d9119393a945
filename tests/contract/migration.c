/* SPDX-License-Identifier: Apache-2.0 */
/* Migration version 2: every state from every state, and ERROR. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <linux/pci_regs.h>

#include "devices/vfio/migration_states.h"
#include "tests/contract/contract.h"
#include "tests/contract/spy.h"

#define STATES 8

/* The rules of <linux/vfio.h> by word, not by the core's own plan, which is under test. */
static bool state_exists(const struct run *run, uint32_t state)
{
	switch (state) {
	case VFIO_DEVICE_STATE_ERROR:
		return false;
	case VFIO_DEVICE_STATE_RUNNING_P2P:
		return run->target->has & HAS_P2P;
	case VFIO_DEVICE_STATE_PRE_COPY:
		return run->target->has & HAS_PRE_COPY;
	case VFIO_DEVICE_STATE_PRE_COPY_P2P:
		return (run->target->has & HAS_P2P) && (run->target->has & HAS_PRE_COPY);
	default:
		return state < STATES;
	}
}

static bool is_pre_copy(uint32_t state)
{
	return state == VFIO_DEVICE_STATE_PRE_COPY || state == VFIO_DEVICE_STATE_PRE_COPY_P2P;
}

/* A descriptor comes back where the way begins a session that did not run. */
static bool begins_session(uint32_t from, uint32_t to)
{
	if (from == to)
		return false;
	if (to == VFIO_DEVICE_STATE_RESUMING)
		return true;
	if (is_pre_copy(to) || to == VFIO_DEVICE_STATE_STOP_COPY)
		return !is_pre_copy(from);
	return false;
}

static void one_arc(struct run *run, uint32_t from, uint32_t to)
{
	const char *name = vfio_mig_state_name(from), *goal = vfio_mig_state_name(to);
	uint32_t state;
	int rc, fd = -7, session = -1;

	step(run, "%s to %s", name, goal);
	expect_rc(run, device_reset(run), 0, "reset");
	expect_rc(run, state_set(run, from, &session), 0, "RUNNING to %s", name);
	run->vdev->last_transition_ns = 0;
	rc = state_set(run, to, &fd);

	if (!state_exists(run, to) || (from == VFIO_DEVICE_STATE_STOP_COPY && is_pre_copy(to))) {
		expect_rc(run, rc, -EINVAL, "%s to %s", name, goal);
		expect_rc(run, fd, -1, "the descriptor of %s to %s, which is refused", name, goal);
		state_get(run, &state);
		expect_rc(run, state, from, "the state after %s to %s was refused", name, goal);
	} else if (from == VFIO_DEVICE_STATE_RESUMING && to != from) {
		/* No data came: what is not a device's state is refused, here or at the write. */
		expect(run, rc < 0, "%s to %s without data: %d", name, goal, rc);
		state_get(run, &state);
		expect(run, state == from || state == VFIO_DEVICE_STATE_ERROR,
		       "%s after %s to %s without data", vfio_mig_state_name(state), name, goal);
	} else {
		expect_rc(run, rc, 0, "%s to %s", name, goal);
		expect(run, (fd >= 0) == begins_session(from, to),
		       "%s to %s gives the descriptor %d", name, goal, fd);
		state_get(run, &state);
		expect_rc(run, state, to, "the state after %s to %s", name, goal);
		expect_rc(run, run->vdev->last_state, to, "the state that is remembered");
		expect(run, run->vdev->last_transition_ns, "%s to %s took no time", name, goal);
	}
	if (fd >= 0)
		close(fd);
	if (session >= 0)
		close(session);
}

static void every_state_from_every_state(struct run *run)
{
	for (uint32_t from = 1; from < STATES; from++) {
		if (!state_exists(run, from))
			continue;
		for (uint32_t to = 0; to <= STATES; to++)
			one_arc(run, from, to);
	}
	expect_rc(run, device_reset(run), 0, "reset");
}

static void a_fresh_device_runs(struct run *run)
{
	uint32_t state;
	int fd;

	expect_rc(run, state_get(run, &state), 0, "the state");
	expect_rc(run, state, VFIO_DEVICE_STATE_RUNNING, "the state after open");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_STOP, &fd), 0, "to STOP");
	step(run, "close and open");
	vfio_device_close(run->vdev);
	expect_rc(run, device_open(run, run->vdev), 0, "open again");
	expect_rc(run, state_get(run, &state), 0, "the state");
	expect_rc(run, state, answer(run, "next", VFIO_DEVICE_STATE_RUNNING),
		  "the state of the next user");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_STOP, &fd), 0, "to STOP");
	expect_rc(run, device_reset(run), 0, "reset");
	expect_rc(run, state_get(run, &state), 0, "the state");
	expect_rc(run, state, VFIO_DEVICE_STATE_RUNNING, "the state after a reset");
}

/* A stream that is none takes the device there; out of it leads only a reset. */
static void error_is_left_by_reset_only(struct run *run)
{
	struct spy *spy = spy_on(run->vdev);
	uint32_t state;
	int fd;

	expect_rc(run, device_open(run, run->vdev), 0, "open");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_RESUMING, &fd), 0, "to RESUMING");
	vfio_device_mig_write(run->vdev, fd, "This is no device's state at all.", 33);
	close(fd);
	expect(run, state_set(run, VFIO_DEVICE_STATE_STOP, &fd) < 0, "garbage was taken");
	expect_rc(run, state_get(run, &state), 0, "the state");
	if (!expect_rc(run, state, VFIO_DEVICE_STATE_ERROR, "the state after garbage"))
		return;

	spy_on_migration(run->vdev);
	for (uint32_t to = 0; to <= STATES; to++) {
		expect_rc(run, state_set(run, to, &fd), -EINVAL, "ERROR to %s",
			  vfio_mig_state_name(to));
		expect_rc(run, fd, -1, "the descriptor");
	}
	expect(run, !spy->set_states, "a device in ERROR was poked %d times", spy->set_states);
	expect_rc(run, device_reset(run), 0, "reset");
	expect_rc(run, state_get(run, &state), 0, "the state");
	expect_rc(run, state, VFIO_DEVICE_STATE_RUNNING, "the state after the reset");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_STOP, &fd), 0, "to STOP after the reset");
	expect(run, spy->set_states == 1, "%d arcs", spy->set_states);
}

/* The guest's own reset leads out of ERROR just as well, and nobody tells the core of it. */
static void error_is_left_by_the_guests_reset(struct run *run)
{
	const uint32_t cap = config_capability(run, PCI_CAP_ID_EXP);
	uint32_t state;
	int fd;

	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_RESUMING, &fd), 0, "to RESUMING");
	vfio_device_mig_write(run->vdev, fd, "This is no device's state at all.", 33);
	close(fd);
	state_set(run, VFIO_DEVICE_STATE_STOP, &fd);
	state_get(run, &state);
	expect_rc(run, state, VFIO_DEVICE_STATE_ERROR, "the state after garbage");
	config_write(run, cap + PCI_EXP_DEVCTL,
		     config_read(run, cap + PCI_EXP_DEVCTL, 2) | PCI_EXP_DEVCTL_BCR_FLR, 2);
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_STOP, &fd), 0, "to STOP after the FLR");
}

/* Likewise out of PRE_COPY, in which the guest goes on: the session is over, and the next one is another. */
static void the_guests_reset_ends_pre_copy(struct run *run)
{
	const uint32_t cap = config_capability(run, PCI_CAP_ID_EXP);
	int old, fd = -1;
	uint32_t state;
	uint8_t byte;

	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_PRE_COPY, &old), 0, "to PRE_COPY");
	expect_rc(run, vfio_device_mig_read(run->vdev, old, &byte, 1), 1, "a read");
	config_write(run, cap + PCI_EXP_DEVCTL,
		     config_read(run, cap + PCI_EXP_DEVCTL, 2) | PCI_EXP_DEVCTL_BCR_FLR, 2);
	expect_rc(run, state_get(run, &state), 0, "the state");
	expect_rc(run, state, VFIO_DEVICE_STATE_RUNNING, "the state after the FLR");
	expect(run, vfio_device_mig_read(run->vdev, old, &byte, 1) <= 0,
	       "data from a session that is over");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_PRE_COPY, &fd), 0, "to PRE_COPY again");
	expect(run, fd >= 0, "no descriptor");
	expect_rc(run, vfio_device_mig_read(run->vdev, fd, &byte, 1), 1, "a read of the next one");
	close(old);
	close(fd);
}

/* Where an arc fails on the way, the user learns of it, and where the device is. */
static void a_state_that_fails_is_error(struct run *run)
{
	uint32_t state;
	int fd;

	control_set(run, "fail_state", "3 1"); /* STOP_COPY, once */
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_STOP_COPY, &fd), -EIO, "to STOP_COPY");
	expect_rc(run, fd, -1, "the descriptor");
	expect_rc(run, state_get(run, &state), 0, "the state");
	expect_rc(run, state, VFIO_DEVICE_STATE_ERROR, "the state after the failure");
	expect_rc(run, run->vdev->last_state, VFIO_DEVICE_STATE_ERROR,
		  "the state that is remembered");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_RUNNING, &fd), -EINVAL, "to RUNNING");
	expect_rc(run, device_reset(run), 0, "reset");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_STOP_COPY, &fd), 0, "to STOP_COPY again");
	expect(run, fd >= 0, "no descriptor");
	close(fd);
}

/* No DMA and no interrupt of a device that is stopped; what was asked meanwhile is done later. */
static void a_stopped_device_does_nothing(struct run *run)
{
	const struct driver *driver = run->target->driver;
	uint32_t before, after;
	int fd;

	expect_rc(run, driver->start(run), 0, "start");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_STOP, &fd), 0, "to STOP");
	memset(run->memory, 0x11, 4096);
	expect_rc(run, driver->post_fill(run, MEMORY_IOVA, 4096, 0x22), 0, "a doorbell in STOP");
	expect_rc(run, driver->completed(run, &before), 0, "requests done");
	for (int i = 0; i < 4096; i++) {
		if (!expect(run, run->memory[i] == 0x11, "DMA of a stopped device"))
			break;
	}
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_RUNNING, &fd), 0, "to RUNNING");
	step(run, "waiting for the request that was posted in STOP");
	do {
		expect_rc(run, driver->completed(run, &after), 0, "requests done");
	} while (after == before);
	expect(run, run->memory[0] == 0x22 && run->memory[4095] == 0x22,
	       "what was asked in STOP is not done");
}

const struct contract_test migration_tests[] = {
	{"migration.every_state_from_every_state",
	 "vfio_migration_ops.migration_set_state, vfio_migration_ops.migration_get_state, "
	 "vfio_device.migration_flags, vfio_device.last_state, vfio_device.last_transition_ns",
	 HAS_MIGRATION, 0, every_state_from_every_state},
	{"migration.a_fresh_device_runs",
	 "vfio_migration_ops.migration_get_state, vfio_device.last_state", HAS_MIGRATION, 0,
	 a_fresh_device_runs},
	{"migration.error_is_left_by_reset_only", "vfio_migration_ops.migration_set_state",
	 HAS_MIGRATION | HAS_MIG_ERROR, CLOSED, error_is_left_by_reset_only},
	{"migration.error_is_left_by_the_guests_reset", "vfio_migration_ops.migration_set_state",
	 HAS_MIGRATION | HAS_MIG_ERROR, 0, error_is_left_by_the_guests_reset},
	{"migration.the_guests_reset_ends_pre_copy", "vfio_migration_ops.migration_set_state",
	 HAS_MIGRATION | HAS_MIG_ERROR | HAS_PRE_COPY, 0, the_guests_reset_ends_pre_copy},
	{"migration.a_state_that_fails_is_error",
	 "vfio_migration_ops.migration_set_state, vfio_migration_ops.migration_get_state",
	 HAS_MIGRATION | HAS_FAULTS, 0, a_state_that_fails_is_error},
	{"migration.a_stopped_device_does_nothing", "vfio_migration_ops.migration_set_state",
	 HAS_MIGRATION | HAS_DMA, 0, a_stopped_device_does_nothing},
	{0},
};
