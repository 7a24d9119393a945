/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storage behind a block device: a file or host block device, with asynchronous reads, writes
 * and flushes by Linux AIO. What that does not do (discards, zeroing, unaligned buffers) blocks, and is
 * done in slices by disk_step().
 *
 * Direct I/O past the page cache is used where the file takes requests of 512 bytes (or, for a block
 * device, of its sector); else I/O is buffered, and then done by the time it is submitted.
 *
 * Not thread-safe: one lock of the owner is held around every call.
 */
#ifndef SLUICE_VIRTIO_DISK_H
#define SLUICE_VIRTIO_DISK_H

#include <libaio.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct disk_request;

#define DISK_REQUESTS_MAX 256u /* in flight and waiting together */

/* @result: bytes transferred, or -errno. */
typedef void (*disk_done_fn)(struct disk_request *request, int64_t result);

#define DISK_SLICE_TRANSFER 65536u      /* bytes of an unaligned transfer, or of zeroes written */
#define DISK_SLICE_RANGE    (16u << 20) /* bytes that one call discards or zeroes */

enum disk_job {
	DISK_JOB_READ,
	DISK_JOB_WRITE,
	DISK_JOB_DISCARD,
	DISK_JOB_ZERO,
};

struct disk_range {
	uint64_t offset, length;
	bool unmap; /* zeroes may be a hole */
};

/* Embedded in the caller's request; in use from disk_read() and its likes until `done`. */
struct disk_request {
	struct iocb iocb;
	disk_done_fn done;

	/* done in slices */
	struct disk_request *next;
	enum disk_job job;
	const struct iovec *iov;         /* transfers */
	const struct disk_range *ranges; /* the others */
	unsigned count, index;           /* of iov or ranges, and how far it is in them */
	uint64_t within;
	uint64_t offset, left, total; /* of a transfer */
};

struct disk {
	const char *id;
	int fd;
	bool readonly;
	bool block_device;
	bool direct;
	bool write_through;  /* set by the owner: a write is on stable storage when done */
	uint32_t block_size; /* 512, or the sector of a block device: unit of offsets and lengths */
	uint32_t alignment;  /* of buffers; 1 when not direct */
	uint64_t size;       /* bytes, a multiple of block_size */

	io_context_t aio;
	int event_fd; /* readable when requests have completed */
	struct iocb *waiting[DISK_REQUESTS_MAX];
	unsigned waiting_count;
	unsigned in_flight;
	struct disk_request *jobs, *jobs_last; /* done in slices */
};

/*
 * Open @path and lock it. @id (kept) names the disk in messages. Errors, with a message: -EBUSY
 * locked by another process, -EINVAL no file or empty, -errno of opening or of io_setup.
 */
int disk_open(struct disk *disk, const char *id, const char *path, bool readonly);
/* Nothing may be in flight. */
void disk_close(struct disk *disk);

/* Whether a buffer can be handed to disk_read() and disk_write() as it is. */
bool disk_aligned(const struct disk *disk, const struct iovec *iov, unsigned count);

/*
 * Begin a request; nothing reaches the kernel before disk_submit(), which calls `done` for those
 * the kernel refuses. The caller checked offset and length against size and block_size, and has no
 * more than DISK_REQUESTS_MAX under way. @iov stays valid until `done`.
 */
void disk_read(struct disk *disk, struct disk_request *request, const struct iovec *iov,
	       unsigned count, uint64_t offset);
void disk_write(struct disk *disk, struct disk_request *request, const struct iovec *iov,
		unsigned count, uint64_t offset);
void disk_flush(struct disk *disk, struct disk_request *request);
void disk_submit(struct disk *disk);

/* Call `done` for what has completed. Returns how many there were. */
unsigned disk_reap(struct disk *disk);
/* Wait for everything under way; `done` is called for each, with -ECANCELED if never submitted. */
void disk_drain(struct disk *disk);

/*
 * Begin a request that is done in slices by disk_step(). `done` gets the bytes transferred, 0 for
 * ranges, or -errno. What they point to stays valid until then.
 */
/* Through an aligned buffer, for buffers that are not (disk_aligned). */
void disk_read_unaligned(struct disk *disk, struct disk_request *request, const struct iovec *iov,
			 unsigned count, uint64_t offset);
void disk_write_unaligned(struct disk *disk, struct disk_request *request, const struct iovec *iov,
			  unsigned count, uint64_t offset);
/* The content of @count (at least one) ranges becomes undefined (a hint: storage need not), or zero. */
void disk_discard(struct disk *disk, struct disk_request *request, const struct disk_range *ranges,
		  unsigned count);
void disk_zero(struct disk *disk, struct disk_request *request, const struct disk_range *ranges,
	       unsigned count);

/* One slice of one of them, in turn; blocks as long as that takes. True while there are more. */
bool disk_step(struct disk *disk);
/* `done` with -ECANCELED for each that has not ended. Part of disk_drain(). */
void disk_jobs_cancel(struct disk *disk);

#endif
