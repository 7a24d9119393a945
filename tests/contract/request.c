/* SPDX-License-Identifier: Apache-2.0 */
/* The device is wanted back: by the host, or by the one who unregisters it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/contract/contract.h"

struct requests {
	atomic_uint errors, removals;
	atomic_uint calls;
	atomic_uint last; /* count of the last */
	atomic_bool rising;
};

static void on_request(void *ctx, unsigned count)
{
	struct requests *requests = ctx;

	if (atomic_load(&requests->calls) && count <= atomic_load(&requests->last))
		atomic_store(&requests->rising, false);
	atomic_store(&requests->last, count);
	atomic_fetch_add(&requests->calls, 1);
}

static void on_error(void *ctx)
{
	atomic_fetch_add(&((struct requests *)ctx)->errors, 1);
}

static void on_gone(void *ctx)
{
	atomic_fetch_add(&((struct requests *)ctx)->removals, 1);
}

static const struct vfio_device_events events = {
	.gone = on_gone, .request = on_request, .error = on_error};

static bool requested(void *ctx)
{
	return atomic_load(&((struct requests *)ctx)->calls);
}

static int write_text(const char *path, const char *text)
{
	const int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t done = -1;

	if (fd < 0)
		return -errno;
	done = write(fd, text, strlen(text));
	close(fd);
	return done < 0 ? -errno : 0;
}

/*
 * The host unbinds the driver, which waits inside vfio_unregister_group_dev() until the device is
 * closed. Last of all tests of a target: bound again, it is another device.
 */
static void the_host_has_it_back(struct run *run)
{
	struct requests requests = {.rising = true};
	char link[64], sysfs[PATH_MAX], driver[PATH_MAX], path[PATH_MAX + 16];
	const char *name;
	int status = 0;
	pid_t pid;

	vfio_device_set_events(run->vdev, &events, &requests);
	expect_rc(run, device_open(run, run->vdev), 0, "open");
	snprintf(link, sizeof(link), "/sys/class/vfio-dev/vfio%u/device", run->vdev->index);
	if (!expect(run, realpath(link, sysfs), "%s: %s", link, strerror(errno)))
		return;
	name = strrchr(sysfs, '/') + 1;
	snprintf(path, sizeof(path), "%s/driver", sysfs);
	if (!expect(run, realpath(path, driver), "%s: %s", path, strerror(errno)))
		return;

	snprintf(path, sizeof(path), "%s/unbind", driver);
	pid = fork();
	if (!pid) {
		/* The device's descriptor among them: as long as one is left, nobody has it back. */
		close_range(3, ~0u, 0);
		_exit(-write_text(path, name));
	}
	step(run, "waiting for the host's request");
	wait_until(requested, &requests);
	expect_rc(run, atomic_load(&requests.last), 0, "the first count");
	expect(run, atomic_load(&requests.rising), "the counts do not rise");
	/* It works until it is closed, and the unbind waits for that. */
	config_read(run, 0, 4);
	expect_rc(run, waitpid(pid, &status, WNOHANG), 0, "the unbind, which is to wait");
	vfio_device_close(run->vdev);
	step(run, "waiting for the unbind to end");
	waitpid(pid, &status, 0);
	expect_rc(run, WEXITSTATUS(status), 0, "the unbind");
	snprintf(path, sizeof(path), "/dev/vfio/devices/vfio%u", run->vdev->index);
	expect(run, access(path, F_OK), "the node is there still");
	expect_rc(run, device_open(run, run->vdev), answer(run, "open", -ENOENT),
		  "open of a device that is gone");
	snprintf(path, sizeof(path), "%s/bind", driver);
	expect_rc(run, write_text(path, name), 0, "bound again");
}

static bool failed(void *ctx)
{
	return atomic_load(&((struct requests *)ctx)->errors);
}

static bool removed(void *ctx)
{
	return atomic_load(&((struct requests *)ctx)->removals);
}

static bool requested_again(void *ctx)
{
	return atomic_load(&((struct requests *)ctx)->calls) > 1;
}

static void requests_are_events(struct run *run)
{
	struct requests requests = {.rising = true};

	vfio_device_set_events(run->vdev, &events, &requests);
	expect_rc(run, device_open(run, run->vdev), 0, "open");
	control_set(run, "trigger", "request");
	step(run, "waiting for the request");
	wait_until(requested, &requests);
	expect_rc(run, atomic_load(&requests.last), 0, "the first count");
	control_set(run, "trigger", "request");
	step(run, "waiting for the second request");
	wait_until(requested_again, &requests);
	expect_rc(run, atomic_load(&requests.last), 1, "the second count");
	expect(run, atomic_load(&requests.rising), "the counts do not rise");
	expect_rc(run, atomic_load(&requests.errors), 0, "errors");
	vfio_device_close(run->vdev);
	step(run, "requests of a closed device");
	/* A server that has nobody to ask would give its device up. */
	if (!run->control) {
		control_set(run, "trigger", "request");
		control_set(run, "trigger", "error");
	}
	loop_turn(run);
	expect_rc(run, atomic_load(&requests.calls), 2, "requests after close");
	expect_rc(run, atomic_load(&requests.errors), 0, "errors after close");
	vfio_device_set_events(run->vdev, NULL, NULL);
}

static void errors_are_events(struct run *run)
{
	struct requests requests = {.rising = true};

	vfio_device_set_events(run->vdev, &events, &requests);
	expect_rc(run, device_open(run, run->vdev), 0, "open");
	control_set(run, "trigger", "error");
	step(run, "waiting for the error");
	wait_until(failed, &requests);
	expect_rc(run, atomic_load(&requests.errors), 1, "errors");
	expect_rc(run, atomic_load(&requests.calls), 0, "requests");
	vfio_device_close(run->vdev);
	vfio_device_set_events(run->vdev, NULL, NULL);
}

/* A device that was pulled out: ones are all that is left of it, and nothing hangs. */
static void a_removed_device_reads_ones(struct run *run)
{
	struct requests requests = {.rising = true};
	uint32_t value = 0;

	vfio_device_set_events(run->vdev, &events, &requests);
	expect_rc(run, device_open(run, run->vdev), 0, "open");
	expect_rc(run, attach(run, run->space), 0, "attach");
	expect_rc(run, run->target->driver->start(run), 0, "start");
	control_set(run, "trigger", "remove");
	step(run, "waiting for the word that it is gone");
	wait_until(removed, &requests);
	expect_rc(run, atomic_load(&requests.removals), 1, "how often it was told");
	expect_rc(run, config_read(run, 0, 4), (long)UINT32_MAX, "config space");
	expect_rc(run, region_read(run, run->target->bar, run->target->bar_at, &value, 4), 4,
		  "a read of a register");
	expect_rc(run, value, (long)UINT32_MAX, "a register");
	expect_rc(run, region_write(run, run->target->bar, run->target->bar_at, &value, 4), 4,
		  "a write of a register");
	expect_rc(run, vfio_device_detach(run->vdev), 0, "detach");
	vfio_device_close(run->vdev);
	vfio_device_set_events(run->vdev, NULL, NULL);
}

static void *unregister_thread(void *vdev)
{
	vfio_unregister_device(vdev);
	return NULL;
}

static bool asked_thrice(void *ctx)
{
	return atomic_load(&((struct requests *)ctx)->calls) >= 3;
}

/* Who unregisters a device in use asks its user to let go, again and again. */
static void unregister_asks_with_a_rising_count(struct run *run)
{
	struct requests requests = {.rising = true};
	pthread_t thread;

	vfio_device_set_events(run->vdev, &events, &requests);
	expect_rc(run, device_open(run, run->vdev), 0, "open");
	run->vdev->request_interval_ms = 20;
	pthread_create(&thread, NULL, unregister_thread, run->vdev);
	step(run, "waiting for the third request");
	wait_until(asked_thrice, &requests);
	expect(run, atomic_load(&requests.rising), "the counts do not rise");
	config_read(run, 0, 4);
	step(run, "closing, which ends the unregister");
	vfio_device_close(run->vdev);
	pthread_join(thread, NULL);
	vfio_device_free(run->vdev);
	run->vdev = NULL;
}

const struct contract_test request_tests[] = {
	{"request.requests_are_events",
	 "vfio_device.events, vfio_device.events_ctx, vfio_device_events.request",
	 HAS_REQ | HAS_ERR | HAS_FAULTS, CLOSED, requests_are_events},
	{"request.errors_are_events", "vfio_device.events, vfio_device_events.error",
	 HAS_ERR | HAS_FAULTS, CLOSED, errors_are_events},
	{"request.unregister_asks_with_a_rising_count",
	 "vfio_device_ops.request, vfio_device.request_interval_ms, vfio_device_events.request",
	 HAS_REQUEST_OP, CLOSED, unregister_asks_with_a_rising_count},
	{"request.a_removed_device_reads_ones",
	 "vfio_device_ops.read, vfio_device.events, vfio_device_events.gone",
	 HAS_GONE | HAS_DMA | HAS_FAULTS, CLOSED, a_removed_device_reads_ones},
	{"request.the_host_has_it_back",
	 "vfio_device_ops.request, vfio_device.events, vfio_device.events_ctx, "
	 "vfio_device_events.request",
	 HAS_REQ | HAS_TAKE_AWAY, CLOSED, the_host_has_it_back},
	{0},
};
