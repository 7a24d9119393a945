/* SPDX-License-Identifier: Apache-2.0 */
/* The data of a migration: saved, loaded, cut off, and the PRE_COPY sessions. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/pci_regs.h>

#include "tests/contract/contract.h"

/* More than any target's stream: the reference device's memory and then some. */
#define STREAM_MAX (64u << 20)

/* Read on until the end or a failure; @length grows. What the last read answered. */
static ssize_t drain(struct run *run, int fd, uint8_t *data, size_t size, size_t *length,
		     size_t chunk)
{
	ssize_t got = 0;

	while (*length < size) {
		const size_t room = size - *length;

		got = vfio_device_mig_read(run->vdev, fd, data + *length,
					   room < chunk ? room : chunk);
		if (got <= 0)
			return got;
		*length += (size_t)got;
	}
	expect(run, false, "the stream does not end within %zu bytes", size);
	return -EFBIG;
}

static uint8_t *stream_room(struct run *run)
{
	uint8_t *data = calloc(1, STREAM_MAX);

	expect(run, data, "no memory for a stream");
	return data;
}

size_t stream_save(struct run *run, uint8_t *data, size_t size)
{
	size_t length = 0;
	int fd = -1;

	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_STOP_COPY, &fd), 0, "to STOP_COPY");
	expect_rc(run, drain(run, fd, data, size, &length, 1u << 20), 0, "the end of the stream");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_STOP, NULL), 0, "to STOP");
	close(fd);
	return length;
}

int stream_load(struct run *run, const uint8_t *data, size_t length, size_t chunk)
{
	int rc = 0, arc, fd = -1;

	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_RESUMING, &fd), 0, "to RESUMING");
	for (size_t at = 0; at < length;) {
		const size_t rest = length - at;
		const ssize_t put = vfio_device_mig_write(run->vdev, fd, data + at,
							  rest < chunk ? rest : chunk);

		if (put <= 0) {
			/* A device may refuse at the write already. */
			rc = put ? (int)put : -EIO;
			break;
		}
		at += (size_t)put;
	}
	arc = state_set(run, VFIO_DEVICE_STATE_STOP, NULL);
	close(fd);
	return rc ? rc : arc;
}

static void what_is_saved_is_loaded(struct run *run)
{
	const struct driver *driver = run->target->driver;
	uint8_t *data = stream_room(run);
	uint32_t value = 0;
	size_t length;

	command(run, PCI_COMMAND_MEMORY, 0);
	expect_rc(run, driver->put(run, 0x5a), 0, "a write of a register");
	length = stream_save(run, data, STREAM_MAX);
	expect(run, length > 0, "an empty stream");
	expect_rc(run, device_reset(run), 0, "reset");
	command(run, PCI_COMMAND_MEMORY, 0);
	expect_rc(run, driver->put(run, 0x11), 0, "another write");
	expect_rc(run, stream_load(run, data, length, 1u << 20), 0, "loading");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_RUNNING, NULL), 0, "to RUNNING");
	expect_rc(run, driver->get(run, &value), 0, "a read of the register");
	expect_rc(run, value, 0x5a, "the register");
	free(data);
}

/* Sent to a device that a new user has opened: nothing of the old one's session is needed. */
static void another_user_loads_it(struct run *run)
{
	const struct driver *driver = run->target->driver;
	uint8_t *data = stream_room(run);
	uint32_t value = 0;
	size_t length;

	command(run, PCI_COMMAND_MEMORY, 0);
	expect_rc(run, driver->put(run, 0x5a), 0, "a write of a register");
	length = stream_save(run, data, STREAM_MAX);
	vfio_device_close(run->vdev);
	expect_rc(run, device_open(run, run->vdev), 0, "open again");
	expect_rc(run, stream_load(run, data, length, 1u << 20), 0, "loading");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_RUNNING, NULL), 0, "to RUNNING");
	command(run, PCI_COMMAND_MEMORY, 0);
	expect_rc(run, driver->get(run, &value), 0, "a read of the register");
	expect_rc(run, value, 0x5a, "the register");
	free(data);
}

static void pieces_may_be_of_any_size(struct run *run)
{
	uint8_t *data = stream_room(run), *other = stream_room(run);
	size_t length, again = 0;
	int fd = -1;

	length = stream_save(run, data, STREAM_MAX);
	/* The same state in odd pieces, after the first of one byte. */
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_STOP_COPY, &fd), 0, "to STOP_COPY again");
	expect_rc(run, vfio_device_mig_read(run->vdev, fd, other, 0), 0, "a read of nothing");
	expect_rc(run, vfio_device_mig_read(run->vdev, fd, other, 1), 1, "a read of one byte");
	again = 1;
	expect_rc(run, drain(run, fd, other, STREAM_MAX, &again, 777), 0, "the end of the stream");
	expect_rc(run, vfio_device_mig_read(run->vdev, fd, other + again, 1), 0,
		  "a read beyond the end");
	expect(run, again == length && !memcmp(data, other, length),
	       "%zu bytes and %zu bytes of a stopped device differ", length, again);
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_STOP, NULL), 0, "to STOP");
	close(fd);
	expect_rc(run, stream_load(run, data, length, 513), 0, "loading pieces of 513");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_RUNNING, NULL), 0, "to RUNNING");
	free(data);
	free(other);
}

static void the_size_is_told(struct run *run)
{
	struct vfio_device_feature_mig_data_size size = {0};
	uint8_t *data = stream_room(run);
	size_t length;

	expect_rc(run,
		  feature(run, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, &size,
			  sizeof(size)),
		  0, "the size");
	length = stream_save(run, data, STREAM_MAX);
	expect(run, size.stop_copy_length >= length, "told %llu, were %zu",
	       (unsigned long long)size.stop_copy_length, length);
	expect(run, size.stop_copy_length <= 2 * length + 65536, "told %llu, were %zu",
	       (unsigned long long)size.stop_copy_length, length);
	free(data);
}

/* How much of a stream there is, and what the device says of so much: never that it runs. */
static void what_is_cut_off_is_refused(struct run *run)
{
	uint8_t *data = stream_room(run);
	const size_t length = stream_save(run, data, STREAM_MAX);
	const size_t cuts[] = {1, 7, 16, length / 2, length - 1};
	uint32_t state;

	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		step(run, "%zu of %zu bytes", cuts[i], length);
		expect_rc(run, device_reset(run), 0, "reset");
		expect(run, stream_load(run, data, cuts[i], 1u << 20) < 0,
		       "%zu of %zu bytes were taken", cuts[i], length);
		state_get(run, &state);
		expect(run, state == VFIO_DEVICE_STATE_ERROR || state == VFIO_DEVICE_STATE_RESUMING,
		       "state %u after %zu bytes", state, cuts[i]);
	}
	expect_rc(run, device_reset(run), 0, "reset");
	expect_rc(run, stream_load(run, data, length, 1u << 20), 0, "all of it");
	free(data);
}

static void what_is_changed_is_refused(struct run *run)
{
	uint8_t *data = stream_room(run);
	const size_t length = stream_save(run, data, STREAM_MAX);

	/* The head, where a stream says what it is. */
	for (size_t at = 0; at < 8; at += 4) {
		expect_rc(run, device_reset(run), 0, "reset");
		data[at] ^= 0x40;
		expect(run, stream_load(run, data, length, 1u << 20) < 0,
		       "a stream with byte %zu changed was taken", at);
		data[at] ^= 0x40;
	}
	/* More than there is. */
	expect_rc(run, device_reset(run), 0, "reset");
	data[length] = 0x99;
	expect(run, stream_load(run, data, length + 1, 1u << 20) < 0, "a byte too many was taken");
	expect_rc(run, device_reset(run), 0, "reset");
	expect_rc(run, stream_load(run, data, length, 1u << 20), 0, "the stream as it was");
	free(data);
}

static void a_session_ends_with_its_state(struct run *run)
{
	uint8_t byte = 0;
	int fd = -1;

	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_STOP_COPY, &fd), 0, "to STOP_COPY");
	expect(run, vfio_device_mig_write(run->vdev, fd, &byte, 1) < 0,
	       "a write to a saving session");
	expect_rc(run, vfio_device_mig_read(run->vdev, fd, &byte, 1), 1, "a read of it");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_STOP, NULL), 0, "to STOP");
	expect(run, vfio_device_mig_read(run->vdev, fd, &byte, 1) <= 0,
	       "data from a session that is over");
	close(fd);

	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_RESUMING, &fd), 0, "to RESUMING");
	expect(run, vfio_device_mig_read(run->vdev, fd, &byte, 1) < 0,
	       "a read of a resuming session");
	expect_rc(run, device_reset(run), 0, "reset");
	expect(run, vfio_device_mig_write(run->vdev, fd, &byte, 1) < 0,
	       "data to a session that a reset ended");
	close(fd);

	/* Its descriptor closed before the end, the device goes on all the same. */
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_STOP_COPY, &fd), 0, "to STOP_COPY again");
	close(fd);
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_RUNNING, NULL), 0, "to RUNNING");
}

static bool can_be_read(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLIN);
}

static void pre_copy_goes_over_into_stop_copy(struct run *run)
{
	const struct driver *driver = run->target->driver;
	struct vfio_precopy_info info = {.argsz = sizeof(info), .flags = 0xffff};
	uint8_t *data = stream_room(run);
	size_t length = 0;
	uint32_t value = 0;
	int fd = -1, none = -7;

	command(run, PCI_COMMAND_MEMORY, 0);
	expect_rc(run, driver->put(run, 0x5a), 0, "a write of a register");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_PRE_COPY, &fd), 0, "to PRE_COPY");
	info.argsz = sizeof(info) - 1;
	expect_rc(run, vfio_device_mig_precopy_info(run->vdev, fd, &info), -EINVAL,
		  "info of a structure too short");
	info.argsz = sizeof(info);
	expect_rc(run, vfio_device_mig_precopy_info(run->vdev, fd, &info), 0, "info");
	expect(run, info.initial_bytes > 0 && !info.dirty_bytes,
	       "%llu initial and %llu dirty bytes at first", (unsigned long long)info.initial_bytes,
	       (unsigned long long)info.dirty_bytes);
	expect_rc(run, info.flags, 0, "flags that nobody opted in to");
	if (answer(run, "poll", 1))
		expect(run, can_be_read(fd), "poll does not see the initial data");
	expect_rc(run, drain(run, fd, data, STREAM_MAX, &length, 4096),
		  answer(run, "drained", -ENOMSG), "all there is for now");
	expect_rc(run, vfio_device_mig_precopy_info(run->vdev, fd, &info), 0, "info");
	expect(run, !info.initial_bytes && !info.dirty_bytes,
	       "%llu initial and %llu dirty bytes when all is read",
	       (unsigned long long)info.initial_bytes, (unsigned long long)info.dirty_bytes);

	/* The device runs on, and what it changes comes later. */
	expect_rc(run, driver->put(run, 0x77), 0, "a write while it runs");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_STOP_COPY, &none), 0, "to STOP_COPY");
	expect_rc(run, none, -1, "the descriptor of a session that goes on");
	expect_rc(run, vfio_device_mig_precopy_info(run->vdev, fd, &info), -EINVAL,
		  "info in STOP_COPY");
	expect_rc(run, drain(run, fd, data, STREAM_MAX, &length, 4096), 0, "the end of the stream");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_STOP, NULL), 0, "to STOP");
	close(fd);

	expect_rc(run, device_reset(run), 0, "reset");
	expect_rc(run, stream_load(run, data, length, 1u << 20), 0, "loading");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_RUNNING, NULL), 0, "to RUNNING");
	command(run, PCI_COMMAND_MEMORY, 0);
	expect_rc(run, driver->get(run, &value), 0, "a read of the register");
	expect_rc(run, value, 0x77, "the register, written in PRE_COPY");
	free(data);
}

static void pre_copy_can_be_given_up(struct run *run)
{
	uint8_t byte;
	int fd = -1;

	for (int i = 0; i < 2; i++) {
		expect_rc(run, state_set(run, VFIO_DEVICE_STATE_PRE_COPY, &fd), 0, "to PRE_COPY");
		expect_rc(run, vfio_device_mig_read(run->vdev, fd, &byte, 1), 1, "a read");
		expect_rc(run, state_set(run, VFIO_DEVICE_STATE_RUNNING, NULL), 0,
			  "back to RUNNING");
		expect(run, vfio_device_mig_read(run->vdev, fd, &byte, 1) <= 0,
		       "data from a session that is over");
		close(fd);
	}
}

/* The device begins its PRE_COPY anew; only who opted in (feature 12) is told so. */
static void pre_copy_can_begin_anew(struct run *run)
{
	const uint32_t opt_in = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2;
	struct vfio_precopy_info info = {.argsz = sizeof(info)};
	const bool told = answer(run, "told", 1);
	uint8_t *data = stream_room(run);
	size_t length = 0;
	int fd = -1;

	expect(run, !run->vdev->precopy_info_v2, "opted in at first");
	expect_rc(run, feature(run, opt_in, NULL, 0), 0, "opting in");
	expect(run, run->vdev->precopy_info_v2, "not opted in");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_PRE_COPY, &fd), 0, "to PRE_COPY");
	expect_rc(run, drain(run, fd, data, STREAM_MAX, &length, 1u << 20), -ENOMSG,
		  "all there is for now");
	expect_rc(run, vfio_device_mig_precopy_info(run->vdev, fd, &info), 0, "info");
	expect(run, !info.flags && !info.initial_bytes, "flags %#x, %llu initial bytes", info.flags,
	       (unsigned long long)info.initial_bytes);
	control_set(run, "reinit", "1");
	expect_rc(run, vfio_device_mig_precopy_info(run->vdev, fd, &info), 0, "info");
	expect_rc(run, info.flags, told ? VFIO_PRECOPY_INFO_REINIT : 0, "flags after REINIT");
	expect(run, info.initial_bytes > 0 || !told, "no initial bytes after REINIT");
	expect_rc(run, vfio_device_mig_precopy_info(run->vdev, fd, &info), 0, "info");
	expect_rc(run, info.flags, 0, "the flags, told once");
	expect_rc(run, drain(run, fd, data, STREAM_MAX, &length, 1u << 20), -ENOMSG, "it, again");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_STOP_COPY, NULL), 0, "to STOP_COPY");
	expect_rc(run, drain(run, fd, data, STREAM_MAX, &length, 1u << 20), 0, "the end");
	expect_rc(run, state_set(run, VFIO_DEVICE_STATE_STOP, NULL), 0, "to STOP");
	close(fd);
	expect_rc(run, device_reset(run), 0, "reset");
	expect_rc(run, stream_load(run, data, length, 1u << 20), 0, "loading");
	expect(run, run->vdev->precopy_info_v2, "a reset took the opt-in back");
	vfio_device_close(run->vdev);
	expect(run, !run->vdev->precopy_info_v2, "the next user is opted in");
	free(data);
}

const struct contract_test stream_tests[] = {
	{"stream.what_is_saved_is_loaded",
	 "vfio_migration_ops.migration_set_state, vfio_migration_ops.migration_read, "
	 "vfio_migration_ops.migration_write",
	 HAS_MIGRATION | HAS_DRIVER, 0, what_is_saved_is_loaded},
	{"stream.another_user_loads_it", "vfio_migration_ops.migration_set_state",
	 HAS_MIGRATION | HAS_DRIVER, 0, another_user_loads_it},
	{"stream.pieces_may_be_of_any_size",
	 "vfio_migration_ops.migration_read, vfio_migration_ops.migration_write", HAS_MIGRATION, 0,
	 pieces_may_be_of_any_size},
	{"stream.the_size_is_told", "vfio_migration_ops.migration_get_data_size", HAS_MIGRATION, 0,
	 the_size_is_told},
	{"stream.what_is_cut_off_is_refused", "vfio_migration_ops.migration_set_state",
	 HAS_MIGRATION, 0, what_is_cut_off_is_refused},
	{"stream.what_is_changed_is_refused",
	 "vfio_migration_ops.migration_set_state, vfio_migration_ops.migration_write",
	 HAS_MIGRATION, 0, what_is_changed_is_refused},
	{"stream.a_session_ends_with_its_state",
	 "vfio_migration_ops.migration_read, vfio_migration_ops.migration_write", HAS_MIGRATION, 0,
	 a_session_ends_with_its_state},
	{"stream.pre_copy_goes_over_into_stop_copy",
	 "vfio_migration_ops.migration_get_precopy_info, vfio_migration_ops.migration_read",
	 HAS_MIGRATION | HAS_PRE_COPY | HAS_DRIVER, 0, pre_copy_goes_over_into_stop_copy},
	{"stream.pre_copy_can_be_given_up", "vfio_migration_ops.migration_read",
	 HAS_MIGRATION | HAS_PRE_COPY, 0, pre_copy_can_be_given_up},
	{"stream.pre_copy_can_begin_anew",
	 "vfio_device.precopy_info_v2, vfio_migration_ops.migration_get_precopy_info",
	 HAS_MIGRATION | HAS_PRE_COPY | HAS_FAULTS, 0, pre_copy_can_begin_anew},
	{0},
};
