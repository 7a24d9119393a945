/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storage behind a block device: a file or host block device, with asynchronous reads, writes
 * and flushes by Linux AIO. Discards and zeroing are synchronous; callers bound their length.
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

/* Embedded in the caller's request; in use from disk_read/write/flush() until `done`. */
struct disk_request {
	struct iocb iocb;
	disk_done_fn done;
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

/* Blocking I/O through one aligned buffer, for buffers that are not aligned. 0 or -errno. */
int disk_read_now(struct disk *disk, const struct iovec *iov, unsigned count, uint64_t offset);
int disk_write_now(struct disk *disk, const struct iovec *iov, unsigned count, uint64_t offset);

/* The content becomes undefined (0 even where the storage cannot discard: it is a hint), or zero. */
int disk_discard(struct disk *disk, uint64_t offset, uint64_t length);
int disk_zero(struct disk *disk, uint64_t offset, uint64_t length, bool unmap);

#endif
