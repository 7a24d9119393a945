// SPDX-License-Identifier: Apache-2.0
/* Sockets that others connect to, and descriptors that came from them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <linux/magic.h>

#include "vmm/base/host.h"

#define QUEUE 16

/* What is at @path itself, be it a link. */
static int look(const char *path, struct stat *st)
{
	return fstatat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

/* Is the socket at @address one that nobody listens on any more? */
static bool is_stale(const struct sockaddr_un *address)
{
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool stale;

	if (fd < 0)
		return false;
	stale = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
		errno == ECONNREFUSED;
	close(fd);
	return stale;
}

/* The socket file is its owner's alone, whatever the process's mask: it stands for the device. */
static int bind_private(int fd, const struct sockaddr_un *address)
{
	if (fchmod(fd, 0600))
		return -errno;
	return host_result(bind(fd, (const struct sockaddr *)address, sizeof(*address)));
}

int host_listen_unix(const char *path, struct host_listener *listener)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;
	int fd, rc;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	if (!*path)
		return -ENOENT;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	rc = bind_private(fd, &address);
	if (rc == -EADDRINUSE) {
		if (look(path, &st) == 0 && !S_ISSOCK(st.st_mode))
			rc = -EEXIST;
		else if (is_stale(&address) && unlink(path) == 0)
			rc = bind_private(fd, &address);
	}
	if (!rc && (listen(fd, QUEUE) || look(path, &st)))
		rc = -errno;
	if (rc) {
		close(fd);
		return rc;
	}
	*listener = (struct host_listener){.fd = fd, .device = st.st_dev, .inode = st.st_ino};
	strcpy(listener->path, path);
	return 0;
}

void host_listener_close(struct host_listener *listener)
{
	struct stat st;

	/* Not one that another process has put there since. */
	if (look(listener->path, &st) == 0 && st.st_dev == listener->device &&
	    st.st_ino == listener->inode)
		unlink(listener->path);
	close(listener->fd);
	listener->fd = -1;
}

bool host_eventfd_add(int fd)
{
	const uint64_t one = 1;

	return write(fd, &one, sizeof(one)) == sizeof(one);
}

int host_check_eventfd(int fd)
{
	static const char eventfd[] = "anon_inode:[eventfd]";
	char path[32], target[sizeof(eventfd)];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target));
	if (n < 0)
		return -errno;
	if ((size_t)n != sizeof(eventfd) - 1 || memcmp(target, eventfd, (size_t)n))
		return -EINVAL;
	return 0;
}

bool host_size_is_sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals >= 0 && !(seals & F_SEAL_SHRINK) && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0)
		seals |= F_SEAL_SHRINK;
	return seals >= 0 && (seals & F_SEAL_SHRINK);
}

int64_t host_file_size(int fd)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_SIZE, &st))
		return -errno;
	return S_ISREG(st.stx_mode) ? (int64_t)st.stx_size : -EINVAL;
}

/* What no other file system has. */
bool host_is_memory(int fd)
{
	return fcntl(fd, F_GET_SEALS) >= 0;
}

uint64_t host_huge_page(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : 0;
}
