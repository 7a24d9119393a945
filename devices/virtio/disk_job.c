/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Linux AIO does not do: transfers by unaligned buffers, discards, zeroing. Each call blocks, so
 * that they are done a slice at a time, and the loop serves others in between.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/virtio/disk.h"
#include "vmm/base/host.h"

#define BOUNCE DISK_SLICE_TRANSFER

static void enqueue(struct disk *disk, struct disk_request *request)
{
	request->next = NULL;
	if (disk->jobs_last)
		disk->jobs_last->next = request;
	else
		disk->jobs = request;
	disk->jobs_last = request;
}

static struct disk_request *dequeue(struct disk *disk)
{
	struct disk_request *request = disk->jobs;

	disk->jobs = request->next;
	if (!disk->jobs)
		disk->jobs_last = NULL;
	return request;
}

static void add_transfer(struct disk *disk, struct disk_request *request, enum disk_job job,
			 const struct iovec *iov, unsigned count, uint64_t offset)
{
	request->job = job;
	request->iov = iov;
	request->count = count;
	request->index = 0;
	request->within = 0;
	request->offset = offset;
	request->left = 0;
	request->total = 0;
	for (unsigned i = 0; i < count; i++)
		request->left += iov[i].iov_len;
	enqueue(disk, request);
}

void disk_read_unaligned(struct disk *disk, struct disk_request *request, const struct iovec *iov,
			 unsigned count, uint64_t offset)
{
	add_transfer(disk, request, DISK_JOB_READ, iov, count, offset);
}

void disk_write_unaligned(struct disk *disk, struct disk_request *request, const struct iovec *iov,
			  unsigned count, uint64_t offset)
{
	add_transfer(disk, request, DISK_JOB_WRITE, iov, count, offset);
}

static void add_ranges(struct disk *disk, struct disk_request *request, enum disk_job job,
		       const struct disk_range *ranges, unsigned count)
{
	request->job = job;
	request->ranges = ranges;
	request->count = count;
	request->index = 0;
	request->within = 0;
	request->total = 0;
	enqueue(disk, request);
}

void disk_discard(struct disk *disk, struct disk_request *request, const struct disk_range *ranges,
		  unsigned count)
{
	add_ranges(disk, request, DISK_JOB_DISCARD, ranges, count);
}

void disk_zero(struct disk *disk, struct disk_request *request, const struct disk_range *ranges,
	       unsigned count)
{
	add_ranges(disk, request, DISK_JOB_ZERO, ranges, count);
}

/* Transfers */

static int transfer(struct disk *disk, uint8_t *buffer, size_t length, uint64_t offset, bool write)
{
	ssize_t n;

	while (length > 0) {
		struct iovec whole = {.iov_base = buffer, .iov_len = length};

		n = write ? pwritev2(disk->fd, &whole, 1, (off_t)offset,
				     disk->write_through ? RWF_DSYNC : 0)
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

/* Zeroes, and aligned as any storage asks (4096). MAP_FAILED: no memory. */
static uint8_t *bounce_get(void)
{
	return mmap(NULL, BOUNCE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Copy up to BOUNCE bytes between @buffer and the vector, and move the position in it on. */
static size_t copy_vector(uint8_t *buffer, const struct iovec *iov, unsigned count, unsigned *index,
			  uint64_t *within, bool to_vector)
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

/* One slice; *@over when it was the last. */
static int transfer_slice(struct disk *disk, struct disk_request *r, bool *over)
{
	size_t step = r->left < BOUNCE ? (size_t)r->left : BOUNCE;
	bool write = r->job == DISK_JOB_WRITE;
	uint8_t *buffer = bounce_get();
	int ret;

	if (buffer == MAP_FAILED)
		return -ENOMEM;
	if (write)
		copy_vector(buffer, r->iov, r->count, &r->index, &r->within, false);
	ret = transfer(disk, buffer, step, r->offset, write);
	if (ret == 0 && !write)
		copy_vector(buffer, r->iov, r->count, &r->index, &r->within, true);
	munmap(buffer, BOUNCE);
	r->offset += step;
	r->left -= step;
	r->total += step;
	*over = r->left == 0;
	return ret;
}

/* Ranges */

static int allocate(struct disk *disk, int mode, uint64_t offset, uint64_t length)
{
	int ret;

	do
		ret = fallocate(disk->fd, mode, (off_t)offset, (off_t)length);
	while (ret < 0 && errno == EINTR);
	return host_result(ret);
}

static int discard(struct disk *disk, uint64_t offset, uint64_t length)
{
	uint64_t range[2] = {offset, length};
	int ret;

	if (disk->block_device)
		ret = host_ioctl(disk->fd, BLKDISCARD, range);
	else
		ret = allocate(disk, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
	/* It is a hint: storage that cannot need not. */
	return ret == -EOPNOTSUPP || ret == -ENOTTY ? 0 : ret;
}

static int write_zeroes(struct disk *disk, uint64_t offset, uint64_t length)
{
	uint8_t *zeroes = bounce_get();
	int ret;

	if (zeroes == MAP_FAILED)
		return -ENOMEM;
	ret = transfer(disk, zeroes, length, offset, true);
	munmap(zeroes, BOUNCE);
	return ret;
}

/*
 * *@length is cut to what was done, where it has to be written. That is always so for a driver that does not flush: only
 * what is written can be made stable in the same call.
 */
static int zero(struct disk *disk, uint64_t offset, uint64_t *length, bool unmap)
{
	int ret = -EOPNOTSUPP;

	if (unmap && !disk->write_through)
		ret = allocate(disk, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, *length);
	if (ret == -EOPNOTSUPP && !disk->write_through)
		ret = allocate(disk, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, *length);
	if (ret == -EOPNOTSUPP) {
		if (*length > BOUNCE)
			*length = BOUNCE;
		ret = write_zeroes(disk, offset, *length);
	}
	return ret;
}

/* One slice, which ends at a multiple of its size: storage discards whole units of its own. */
static int range_slice(struct disk *disk, struct disk_request *r, bool *over)
{
	const struct disk_range *range = &r->ranges[r->index];
	uint64_t at = range->offset + r->within, left = range->length - r->within;
	uint64_t step = DISK_SLICE_RANGE - at % DISK_SLICE_RANGE;
	int ret = 0;

	if (step > left)
		step = left;
	if (step > 0 && r->job == DISK_JOB_DISCARD)
		ret = discard(disk, at, step);
	else if (step > 0)
		ret = zero(disk, at, &step, range->unmap);
	r->within += step;
	if (r->within == range->length) {
		r->index++;
		r->within = 0;
	}
	*over = r->index == r->count;
	return ret;
}

bool disk_step(struct disk *disk)
{
	struct disk_request *request;
	bool over = true;
	int ret;

	if (!disk->jobs)
		return false;
	request = dequeue(disk);
	if (request->job == DISK_JOB_READ || request->job == DISK_JOB_WRITE)
		ret = transfer_slice(disk, request, &over);
	else
		ret = range_slice(disk, request, &over);
	/* A long one does not keep the others from their turn. */
	if (ret == 0 && !over)
		enqueue(disk, request);
	else
		request->done(request, ret < 0 ? ret : (int64_t)request->total);
	return disk->jobs != NULL;
}

void disk_jobs_cancel(struct disk *disk)
{
	while (disk->jobs) {
		struct disk_request *request = dequeue(disk);

		request->done(request, -ECANCELED);
	}
}
