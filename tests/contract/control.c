/* SPDX-License-Identifier: Apache-2.0 */
/* What a test sees of a device and does to it besides the contract: attributes of the kernel test device. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/contract/contract.h"

static int control_open(struct run *run, const char *name, int flags)
{
	char path[256];
	int fd;

	if (run->control)
		snprintf(path, sizeof(path), "%s/%s", run->control, name);
	else
		snprintf(path, sizeof(path), "/sys/class/vfio-dev/vfio%u/device/reference/%s",
			 run->vdev->index, name);
	fd = open(path, flags | O_CLOEXEC);
	expect(run, fd >= 0, "%s: %s", path, strerror(errno));
	return fd;
}

void control_set(struct run *run, const char *name, const char *value)
{
	run->target->control_set(run, name, value);
}

void kernel_control_set(struct run *run, const char *name, const char *value)
{
	const int fd = control_open(run, name, O_WRONLY);

	if (fd < 0)
		return;
	expect(run, write(fd, value, strlen(value)) == (ssize_t)strlen(value), "%s to %s: %s",
	       value, name, strerror(errno));
	close(fd);
}

long control_get(struct run *run, const char *name)
{
	const int fd = control_open(run, name, O_RDONLY);
	char text[32] = "";
	ssize_t length;

	if (fd < 0)
		return -1;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	expect(run, length > 0, "%s: %s", name, strerror(errno));
	return strtol(text, NULL, 0);
}
