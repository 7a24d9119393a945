/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/base/host.h"
#include "vmm/base/log.h"

#define SECTOR     512u
#define BOUNCE     65536u
#define BUFFER_MAX 4096u /* alignment of the bounce buffer: no storage asks for more */

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
		log_error("disk %s: cannot open %s: %s", disk->id, path, strerror(-error));
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
		log_error("disk %s: no event descriptor: %s", id, strerror(-ret));
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

	eventfd_read(disk->event_fd, &ignored);
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
	for (unsigned i = 0; i < disk->waiting_count; i++)
		finish(disk->waiting[i], -ECANCELED);
	disk->waiting_count = 0;
	while (disk->in_flight > 0)
		if (reap(disk, 1) == 0)
			break;
}

/* Blocking I/O */

static int transfer(struct disk *disk, uint8_t *buffer, size_t length, uint64_t offset, bool write)
{
	ssize_t n;

	while (length > 0) {
		n = write ? pwrite(disk->fd, buffer, length, (off_t)offset)
			  : pread(disk->fd, buffer, length, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		buffer += n;
		length -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

/* Copy up to BOUNCE bytes between @buffer and the vector, and move the position in it on. */
static size_t copy_vector(uint8_t *buffer, const struct iovec *iov, unsigned count, unsigned *index,
			  size_t *within, bool to_vector)
{
	size_t done = 0, step;
	uint8_t *at;

	while (*index < count && done < BOUNCE) {
		at = (uint8_t *)iov[*index].iov_base + *within;
		step = iov[*index].iov_len - *within;
		if (step > BOUNCE - done)
			step = BOUNCE - done;
		if (to_vector)
			memcpy(at, buffer + done, step);
		else
			memcpy(buffer + done, at, step);
		done += step;
		*within += step;
		if (*within == iov[*index].iov_len) {
			*within = 0;
			(*index)++;
		}
	}
	return done;
}

static int bounce(struct disk *disk, const struct iovec *iov, unsigned count, uint64_t offset,
		  bool write)
{
	size_t within = 0, length = 0, step;
	unsigned index = 0;
	uint8_t *buffer;
	int ret = 0;

	for (unsigned i = 0; i < count; i++)
		length += iov[i].iov_len;
	buffer = aligned_alloc(BUFFER_MAX, BOUNCE);
	if (!buffer)
		return -ENOMEM;
	for (; length > 0 && ret == 0; length -= step, offset += step) {
		step = length < BOUNCE ? length : BOUNCE;
		if (write)
			copy_vector(buffer, iov, count, &index, &within, false);
		ret = transfer(disk, buffer, step, offset, write);
		if (ret == 0 && !write)
			copy_vector(buffer, iov, count, &index, &within, true);
	}
	free(buffer);
	return ret;
}

int disk_read_now(struct disk *disk, const struct iovec *iov, unsigned count, uint64_t offset)
{
	return bounce(disk, iov, count, offset, false);
}

int disk_write_now(struct disk *disk, const struct iovec *iov, unsigned count, uint64_t offset)
{
	int ret = bounce(disk, iov, count, offset, true);

	if (ret == 0 && disk->write_through && fdatasync(disk->fd) < 0)
		ret = -errno;
	return ret;
}

static int allocate(struct disk *disk, int mode, uint64_t offset, uint64_t length)
{
	int ret;

	do
		ret = fallocate(disk->fd, mode, (off_t)offset, (off_t)length);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

int disk_discard(struct disk *disk, uint64_t offset, uint64_t length)
{
	uint64_t range[2] = {offset, length};
	int ret;

	if (disk->block_device)
		ret = ioctl(disk->fd, BLKDISCARD, range) < 0 ? -errno : 0;
	else
		ret = allocate(disk, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
	return ret == -EOPNOTSUPP || ret == -ENOTTY ? 0 : ret;
}

static int write_zeroes(struct disk *disk, uint64_t offset, uint64_t length)
{
	uint8_t *zeroes = aligned_alloc(BUFFER_MAX, BOUNCE);
	uint64_t step;
	int ret = 0;

	if (!zeroes)
		return -ENOMEM;
	memset(zeroes, 0, BOUNCE);
	for (; length > 0 && ret == 0; offset += step, length -= step) {
		step = length < BOUNCE ? length : BOUNCE;
		ret = transfer(disk, zeroes, step, offset, true);
	}
	free(zeroes);
	return ret;
}

int disk_zero(struct disk *disk, uint64_t offset, uint64_t length, bool unmap)
{
	int ret = -EOPNOTSUPP;

	if (unmap)
		ret = allocate(disk, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
	if (ret == -EOPNOTSUPP)
		ret = allocate(disk, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length);
	if (ret == -EOPNOTSUPP)
		ret = write_zeroes(disk, offset, length);
	return ret;
}
