/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets of the host: the part of vmm/base/host.h that is about other processes. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/base/host.h"

int host_connect_unix(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const size_t length = strlen(path);
	int fd, rc;

	if (!length)
		return -ENOENT;
	if (length >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, length);

	/* A blocking connect() would wait for as long as a stopped server keeps its backlog full. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) ||
	    fcntl(fd, F_SETFL, 0)) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}
