/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's half of a split virtqueue in the memory of fake_ioas.h, honest or not. */
#ifndef SLUICE_TESTS_VIRTIO_RING_H
#define SLUICE_TESTS_VIRTIO_RING_H

#include <linux/virtio_ring.h>

#include "tests/unit/fake_ioas.h"

#define RING_MAX 256u

struct ring {
	uint16_t size;
	uint64_t desc, avail, used; /* IOVA */
	uint16_t next_desc;         /* descriptors are handed out in turn */
	uint16_t seen;              /* used index up to which the driver looked */
};

/* A buffer of a request. */
struct ring_buffer {
	uint64_t address;
	uint32_t length;
	bool write;
};

static inline void ring_place(struct ring *ring, uint64_t base, uint16_t size)
{
	*ring = (struct ring){
		.size = size,
		.desc = base,
		.avail = base + 16ull * size,
		.used = base + 16ull * size + 8 + 2ull * size,
	};
	ring->used = (ring->used + 3) & ~3ull;
	memset(guest(base), 0, 26ull * size + 32);
}

static struct vring_desc *ring_desc(struct ring *ring, unsigned index)
{
	return (struct vring_desc *)guest(ring->desc) + index;
}

static struct vring_avail *ring_avail(struct ring *ring)
{
	return guest(ring->avail);
}

static struct vring_used *ring_used(struct ring *ring)
{
	return guest(ring->used);
}

static inline uint16_t *ring_used_event(struct ring *ring)
{
	return &ring_avail(ring)->ring[ring->size];
}

static inline uint16_t *ring_avail_event(struct ring *ring)
{
	return (uint16_t *)&ring_used(ring)->ring[ring->size];
}

/* Make the chain at @head available. */
static inline void ring_offer(struct ring *ring, uint16_t head)
{
	struct vring_avail *avail = ring_avail(ring);

	avail->ring[avail->idx % ring->size] = head;
	__atomic_store_n(&avail->idx, (uint16_t)(avail->idx + 1), __ATOMIC_RELEASE);
}

/* Write a chain of @count buffers and offer it. Returns its head. */
static inline uint16_t ring_add(struct ring *ring, const struct ring_buffer *buffers,
				unsigned count)
{
	uint16_t head = ring->next_desc;

	for (unsigned i = 0; i < count; i++) {
		uint16_t next = (uint16_t)((ring->next_desc + 1) % ring->size);

		*ring_desc(ring, ring->next_desc) = (struct vring_desc){
			.addr = buffers[i].address,
			.len = buffers[i].length,
			.flags = (uint16_t)((buffers[i].write ? VRING_DESC_F_WRITE : 0) |
					    (i + 1 < count ? VRING_DESC_F_NEXT : 0)),
			.next = next,
		};
		ring->next_desc = next;
	}
	ring_offer(ring, head);
	return head;
}

/* The next chain given back; false when there is none. */
static inline bool ring_take(struct ring *ring, uint32_t *id, uint32_t *length)
{
	struct vring_used *used = ring_used(ring);

	if (__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) == ring->seen)
		return false;
	*id = used->ring[ring->seen % ring->size].id;
	*length = used->ring[ring->seen % ring->size].len;
	ring->seen++;
	return true;
}

#endif
