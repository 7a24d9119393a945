/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues, device side (virtio 1.2 section 2.7).
 *
 * The rings and every buffer are reached through the device's I/O address space alone, so a driver
 * that lies can harm nobody: each descriptor is checked before it is used, and a chain has at most
 * VIRTQUEUE_SEGMENTS segments and less than 4 GiB. What no driver may do makes the queue *broken*:
 * it yields nothing more until the device is reset, and `fault` says why.
 *
 * Not thread-safe: the device's lock is held around every call.
 */
#ifndef SLUICE_VIRTIO_QUEUE_H
#define SLUICE_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct ioas;

#define VIRTQUEUE_SIZE_MAX 256u
#define VIRTQUEUE_SEGMENTS 256u /* of one chain, in the ring or in an indirect table */

struct virtqueue {
	struct ioas *ioas;

	/* Set up by the driver. */
	uint16_t size_max;
	uint16_t size; /* a power of two up to size_max */
	bool enabled;
	uint64_t desc, avail, used; /* IOVA of the three parts */

	/* Negotiated. */
	bool event_idx;
	bool indirect;

	/* Progress. */
	uint16_t next_avail; /* entry of the available ring to look at next */
	uint16_t next_used;  /* entry of the used ring to fill next */
	uint16_t published;  /* used index the driver has seen */
	uint16_t signalled;  /* used index at the last interrupt decision */
	uint16_t in_flight;  /* chains taken and not given back */
	const char *fault;   /* not NULL: broken, and why */
};

struct virtqueue_segment {
	uint64_t address;
	uint32_t length;
};

/* One request: first the segments the device reads, then those that it writes. */
struct virtqueue_chain {
	uint16_t head;
	uint16_t out_count;
	uint16_t in_count;
	uint32_t out_length;
	uint32_t in_length;
	struct virtqueue_segment segments[VIRTQUEUE_SEGMENTS];
};

/* A piece of guest memory held in place for I/O by pointer. */
struct virtqueue_pin {
	uint64_t address;
	size_t length;
};

/* Back to the state after a reset of the device; @size_max stays. */
void virtqueue_reset(struct virtqueue *q);

/*
 * The driver enables the queue: check size, addresses and alignment, and begin at index 0.
 * -EINVAL: the queue is broken from the start.
 */
int virtqueue_enable(struct virtqueue *q);

/* Take the next chain. 1: got one; 0: none there; -EPROTO: the queue is broken (now or before). */
int virtqueue_pop(struct virtqueue *q, struct virtqueue_chain *chain);
/* Undo the last virtqueue_pop(): it comes again. */
void virtqueue_unpop(struct virtqueue *q);
bool virtqueue_empty(struct virtqueue *q);

/*
 * Give a chain back with @written bytes written to it. The driver sees it after virtqueue_publish(),
 * which makes everything pushed before visible at once.
 */
void virtqueue_push(struct virtqueue *q, uint16_t head, uint32_t written);
void virtqueue_publish(struct virtqueue *q);

/* Whether the driver wants an interrupt for what was published since the last call. */
bool virtqueue_wants_interrupt(struct virtqueue *q);

/*
 * Ask the driver for a notification when it adds to what is there now, or say that none is needed
 * while the queue is being looked at. After switching on, look once more: a chain that came in
 * between brings none.
 */
void virtqueue_set_notify(struct virtqueue *q, bool on);

/*
 * Copy from the part of the chain that the device reads, or to the part that it writes, from byte
 * @offset of that part. -EFAULT: not inside the part, or not mapped.
 */
int virtqueue_read(struct virtqueue *q, const struct virtqueue_chain *chain, size_t offset,
		   void *buffer, size_t length);
int virtqueue_write(struct virtqueue *q, const struct virtqueue_chain *chain, size_t offset,
		    const void *buffer, size_t length);

/*
 * Hold [@offset, @offset + @length) of the written part (@write) or the read part in place. Fills
 * @iov and @pins, both with room for @max, and returns how many were used; undone by
 * virtqueue_unpin() with the same numbers. -EFAULT: not inside the part, or not mapped;
 * -EMSGSIZE: more than @max pieces. Nothing stays pinned on error.
 */
int virtqueue_pin(struct virtqueue *q, const struct virtqueue_chain *chain, bool write,
		  size_t offset, size_t length, struct iovec *iov, struct virtqueue_pin *pins,
		  unsigned max);
void virtqueue_unpin(struct virtqueue *q, const struct virtqueue_pin *pins, unsigned count,
		     bool write);

#endif
