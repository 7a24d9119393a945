// SPDX-License-Identifier: Apache-2.0
/*
 * There is no write to an eventfd that does not wait whatever its flags are: pwritev2() with RWF_NOWAIT is
 * for files with write_iter. But an asynchronous read can name an eventfd to be signalled when it
 * is done (IOCB_FLAG_RESFD), which the kernel does by eventfd_signal(); one of no bytes of an
 * empty file is done at once.
 */
#include "vmm/base/eventfd.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <linux/aio_abi.h>

#include "vmm/base/host.h"

struct eventfd_signaller {
	pthread_mutex_t lock; /* one read at a time; a leaf */
	aio_context_t aio;    /* 0: none yet, or none to be had */
	bool tried;           /* to have one */
	int empty;            /* the file that is read */
};

int eventfd_signaller_create(struct eventfd_signaller **out)
{
	struct eventfd_signaller *signaller = calloc(1, sizeof(*signaller));
	int rc;

	if (!signaller)
		return -ENOMEM;
	signaller->empty = memfd_create("sluice-empty", MFD_CLOEXEC);
	if (signaller->empty < 0) {
		rc = -errno;
		free(signaller);
		return rc;
	}
	pthread_mutex_init(&signaller->lock, NULL);
	*out = signaller;
	return 0;
}

void eventfd_signaller_destroy(struct eventfd_signaller *signaller)
{
	if (!signaller)
		return;
	if (signaller->aio)
		syscall(SYS_io_destroy, signaller->aio);
	pthread_mutex_destroy(&signaller->lock);
	close(signaller->empty);
	free(signaller);
}

/* A read of nothing, which signals @fd. 0 or -errno. */
static int signal_by_read(struct eventfd_signaller *signaller, int fd)
{
	struct iocb iocb = {
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)signaller->empty,
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = (uint32_t)fd,
	};
	struct iocb *list[] = {&iocb};
	struct io_event event;
	int rc;

	pthread_mutex_lock(&signaller->lock);
	/* Only now: to take one down again takes the kernel tens of milliseconds. */
	if (!signaller->tried && syscall(SYS_io_setup, 1, &signaller->aio) < 0)
		signaller->aio = 0;
	signaller->tried = true;
	if (!signaller->aio) {
		pthread_mutex_unlock(&signaller->lock);
		return -ENOSYS;
	}
	rc = syscall(SYS_io_submit, signaller->aio, 1, list) == 1 ? 0 : -errno;
	/* It is there already, and its place is wanted for the next. */
	if (!rc)
		syscall(SYS_io_getevents, signaller->aio, 1, 1, &event, NULL);
	pthread_mutex_unlock(&signaller->lock);
	return rc;
}

bool eventfd_signal(struct eventfd_signaller *signaller, int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLOUT};
	const int rc = signal_by_read(signaller, fd);

	if (rc != -EAGAIN && rc != -ENOMEM && rc != -ENOSYS)
		return !rc;
	/* A full counter says all that one more could say. */
	if (fd < 0 || poll(&ready, 1, 0) < 0 || ready.revents & POLLNVAL)
		return false;
	return !(ready.revents & POLLOUT) || host_eventfd_add(fd);
}

uint64_t eventfd_take(int fd)
{
	eventfd_t count;
	struct iovec iov = {&count, sizeof(count)};

	if (preadv2(fd, &iov, 1, -1, RWF_NOWAIT) == sizeof(count))
		return count;
	return errno == EOPNOTSUPP && read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}
