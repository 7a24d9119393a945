/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/disk.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/base/host.h"
#include "vmm/base/log.h"

#define SECTOR 512u

static int open_failed(const struct disk *disk, const char *path, int error)
{
	switch (error) {
	case -EBUSY:
		log_error(
			"disk %s: %s is in use: another process holds its lock; stop that one, or "
			"use the disk read-only in both",
			disk->id, path);
		break;
	case -EINVAL:
	case -EISDIR:
		log_error("disk %s: %s is neither a file nor a block device", disk->id, path);
		break;
	case -EACCES:
	case -EROFS:
		log_error("disk %s: cannot open %s%s: %s%s", disk->id, path,
			  disk->readonly ? "" : " for writing", strerror(-error),
			  disk->readonly ? "" : "; add `readonly` to only read it");
		break;
	default:
		log_failure(error, "disk %s: cannot open %s", disk->id, path);
		break;
	}
	return error;
}

static int open_storage(struct disk *disk, const char *path)
{
	unsigned flags = HOST_DISK_DIRECT | (disk->readonly ? HOST_DISK_READONLY : 0);
	struct host_disk host;
	int ret;

	ret = host_open_disk(path, flags, &host);
	if (ret == 0 && host.direct && !host.block_device && host.block_size > SECTOR) {
		/* Images are made for sectors of 512 bytes: the page cache puts them together. */
		close(host.fd);
		ret = host_open_disk(path, flags & ~HOST_DISK_DIRECT, &host);
	}
	if (ret < 0)
		return open_failed(disk, path, ret);
	disk->fd = host.fd;
	disk->direct = host.direct;
	disk->block_device = host.block_device;
	disk->alignment = host.direct ? host.block_size : 1;
	disk->block_size = host.direct && host.block_size > SECTOR ? host.block_size : SECTOR;
	disk->size = host.size - host.size % disk->block_size;
	if (disk->size == 0) {
		log_error("disk %s: %s has no whole block of %u bytes; `truncate -s 1G %s` makes "
			  "an image",
			  disk->id, path, disk->block_size, path);
		return -EINVAL;
	}
	if (disk->size != host.size)
		log_warn("disk %s: the guest does not see the last %llu bytes of %s, which are no "
			 "whole block",
			 disk->id, (unsigned long long)(host.size - disk->size), path);
	return 0;
}

int disk_open(struct disk *disk, const char *id, const char *path, bool readonly)
{
	int ret;

	*disk = (struct disk){.id = id, .fd = -1, .readonly = readonly};
	ret = open_storage(disk, path);
	if (ret < 0)
		goto close_fd;
	disk->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (disk->event_fd < 0) {
		ret = -errno;
		log_failure(ret, "disk %s: no event descriptor", id);
		goto close_fd;
	}
	ret = io_setup(DISK_REQUESTS_MAX, &disk->aio);
	if (ret < 0) {
		log_error("disk %s: asynchronous I/O is not to be had: %s%s", id, strerror(-ret),
			  ret == -EAGAIN ? "; raise the limit fs.aio-max-nr" : "");
		goto close_event;
	}
	log_info("disk %s: %s, %llu MiB, %s I/O%s", id, path,
		 (unsigned long long)(disk->size >> 20), disk->direct ? "direct" : "buffered",
		 readonly ? ", read-only" : "");
	return 0;

close_event:
	close(disk->event_fd);
close_fd:
	if (disk->fd >= 0)
		close(disk->fd);
	return ret;
}

void disk_close(struct disk *disk)
{
	io_destroy(disk->aio);
	close(disk->event_fd);
	close(disk->fd);
}

bool disk_aligned(const struct disk *disk, const struct iovec *iov, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (((uintptr_t)iov[i].iov_base | iov[i].iov_len) % disk->alignment)
			return false;
	return true;
}

/* Asynchronous requests */

static void enqueue(struct disk *disk, struct disk_request *request)
{
	request->iocb.data = request;
	io_set_eventfd(&request->iocb, disk->event_fd);
	disk->waiting[disk->waiting_count++] = &request->iocb;
}

void disk_read(struct disk *disk, struct disk_request *request, const struct iovec *iov,
	       unsigned count, uint64_t offset)
{
	io_prep_preadv(&request->iocb, disk->fd, iov, (int)count, (long long)offset);
	enqueue(disk, request);
}

void disk_write(struct disk *disk, struct disk_request *request, const struct iovec *iov,
		unsigned count, uint64_t offset)
{
	io_prep_pwritev2(&request->iocb, disk->fd, iov, (int)count, (long long)offset,
			 disk->write_through ? RWF_DSYNC : 0);
	enqueue(disk, request);
}

void disk_flush(struct disk *disk, struct disk_request *request)
{
	io_prep_fdsync(&request->iocb, disk->fd);
	enqueue(disk, request);
}

static void finish(struct iocb *iocb, int64_t result)
{
	struct disk_request *request = iocb->data;

	request->done(request, result);
}

void disk_submit(struct disk *disk)
{
	unsigned done = 0;
	int ret;

	while (done < disk->waiting_count) {
		ret = io_submit(disk->aio, disk->waiting_count - done, disk->waiting + done);
		if (ret > 0) {
			done += (unsigned)ret;
			disk->in_flight += (unsigned)ret;
			continue;
		}
		/* The kernel is short of something: go on when a request has completed. */
		if (ret == -EAGAIN && disk->in_flight > 0)
			break;
		if (ret == -EINTR)
			continue;
		finish(disk->waiting[done++], ret < 0 ? ret : -EIO);
	}
	disk->waiting_count -= done;
	memmove(disk->waiting, disk->waiting + done,
		disk->waiting_count * sizeof(disk->waiting[0]));
}

static unsigned reap(struct disk *disk, long least)
{
	struct io_event events[32];
	struct timespec none = {0};
	int count;

	do
		count = io_getevents(disk->aio, least, 32, events, least ? NULL : &none);
	while (count == -EINTR);
	for (int i = 0; i < count; i++) {
		disk->in_flight--;
		finish(events[i].obj, (int64_t)events[i].res);
	}
	return count > 0 ? (unsigned)count : 0;
}

unsigned disk_reap(struct disk *disk)
{
	unsigned total = 0, count;
	eventfd_t ignored;

	read(disk->event_fd, &ignored, sizeof(ignored));
	do {
		count = reap(disk, 0);
		total += count;
	} while (count > 0);
	if (disk->waiting_count > 0)
		disk_submit(disk);
	return total;
}

void disk_drain(struct disk *disk)
{
	disk_jobs_cancel(disk);
	for (unsigned i = 0; i < disk->waiting_count; i++)
		finish(disk->waiting[i], -ECANCELED);
	disk->waiting_count = 0;
	while (disk->in_flight > 0)
		if (reap(disk, 1) == 0)
			break;
}
