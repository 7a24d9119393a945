// SPDX-License-Identifier: Apache-2.0
/* What system calls answer, in the way of this house: what was returned, or -errno. */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include "vmm/base/host.h"

int host_result(int returned)
{
	return returned < 0 ? -errno : returned;
}

int host_ioctl(int fd, unsigned long request, void *argument)
{
	int ret;

	do
		ret = ioctl(fd, request, argument);
	while (ret < 0 && errno == EINTR);
	return host_result(ret);
}

int host_dup(int fd)
{
	return host_result(fcntl(fd, F_DUPFD_CLOEXEC, 0));
}
