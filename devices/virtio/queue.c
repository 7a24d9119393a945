/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/queue.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <string.h>

#include "vmm/base/dma.h"

/* Where the parts of the rings are (virtio 1.2 sections 2.7.6 and 2.7.8). */
#define AVAIL_FLAGS       0
#define AVAIL_IDX         2
#define AVAIL_RING        4
#define USED_FLAGS        0
#define USED_IDX          2
#define USED_RING         4
#define AVAIL_BYTES(size) (6u + 2u * (size))
#define USED_BYTES(size)  (6u + 8u * (size))

static int broken(struct virtqueue *q, const char *why)
{
	if (!q->fault)
		q->fault = why;
	return -EPROTO;
}

/*
 * Indices are shared with vCPUs that run: they are loaded and stored as a whole, never bytewise.
 * Alignment was checked by virtqueue_enable(), and an area begins at a page, so two bytes are
 * always contiguous.
 */
static bool load16(struct virtqueue *q, uint64_t address, uint16_t *value)
{
	size_t length = sizeof(*value);
	uint16_t *p = ioas_pin(q->ioas, address, &length, false);

	if (!p)
		return false;
	*value = le16toh(__atomic_load_n(p, __ATOMIC_ACQUIRE));
	ioas_unpin(q->ioas, address, length, false);
	return true;
}

static bool store16(struct virtqueue *q, uint64_t address, uint16_t value)
{
	size_t length = sizeof(value);
	uint16_t *p = ioas_pin(q->ioas, address, &length, true);

	if (!p)
		return false;
	__atomic_store_n(p, htole16(value), __ATOMIC_RELEASE);
	ioas_unpin(q->ioas, address, length, true);
	return true;
}

void virtqueue_reset(struct virtqueue *q)
{
	*q = (struct virtqueue){
		.ioas = q->ioas,
		.size_max = q->size_max,
		.size = q->size_max,
	};
}

static bool fits(uint64_t address, uint64_t bytes, uint64_t alignment)
{
	return address % alignment == 0 && address + bytes > address;
}

int virtqueue_enable(struct virtqueue *q)
{
	q->enabled = true;
	if (q->size == 0 || q->size > q->size_max || (q->size & (q->size - 1)) ||
	    !fits(q->desc, (uint64_t)q->size * sizeof(struct vring_desc), VRING_DESC_ALIGN_SIZE) ||
	    !fits(q->avail, AVAIL_BYTES(q->size), VRING_AVAIL_ALIGN_SIZE) ||
	    !fits(q->used, USED_BYTES(q->size), VRING_USED_ALIGN_SIZE)) {
		broken(q, "a ring has a bad size or alignment");
		return -EINVAL;
	}
	return 0;
}

/* Chains */

static int add_segment(struct virtqueue *q, struct virtqueue_chain *chain,
		       const struct vring_desc *desc)
{
	unsigned count = chain->out_count + chain->in_count;
	uint32_t length = le32toh(desc->len);
	bool write = le16toh(desc->flags) & VRING_DESC_F_WRITE;
	uint32_t *total = write ? &chain->in_length : &chain->out_length;

	if (!write && chain->in_count > 0)
		return broken(q, "a chain has a buffer to read after one to write");
	if (count >= VIRTQUEUE_SEGMENTS)
		return broken(q, "a chain is too long");
	if (UINT32_MAX - chain->in_length - chain->out_length < length)
		return broken(q, "a chain has 4 GiB or more");
	if (length == 0)
		return 0;
	chain->segments[count].address = le64toh(desc->addr);
	chain->segments[count].length = length;
	*total += length;
	if (write)
		chain->in_count++;
	else
		chain->out_count++;
	return 0;
}

/* Follow the descriptors from @index in a table of @size; each is looked at once at most. */
static int walk(struct virtqueue *q, struct virtqueue_chain *chain, uint64_t table, uint32_t size,
		uint32_t index, bool in_ring)
{
	struct vring_desc desc;
	uint32_t seen, length;
	uint16_t flags;
	int ret;

	for (seen = 0; seen < size; seen++) {
		if (index >= size)
			return broken(q, "a descriptor points out of its table");
		if (ioas_read(q->ioas, table + (uint64_t)index * sizeof(desc), &desc, sizeof(desc)))
			return broken(q, "a descriptor table is not in memory");
		flags = le16toh(desc.flags);
		if (flags & VRING_DESC_F_INDIRECT) {
			length = le32toh(desc.len);
			if (!q->indirect || !in_ring || (flags & VRING_DESC_F_NEXT))
				return broken(q, "an indirect descriptor where none may be");
			if (length == 0 || length % sizeof(desc) ||
			    length / sizeof(desc) > VIRTQUEUE_SEGMENTS)
				return broken(q, "an indirect table has a bad length");
			if (le64toh(desc.addr) + length < length)
				return broken(q, "an indirect table wraps");
			return walk(q, chain, le64toh(desc.addr), length / (uint32_t)sizeof(desc),
				    0, false);
		}
		ret = add_segment(q, chain, &desc);
		if (ret < 0)
			return ret;
		if (!(flags & VRING_DESC_F_NEXT))
			return 0;
		index = le16toh(desc.next);
	}
	return broken(q, "a chain has a loop");
}

int virtqueue_pop(struct virtqueue *q, struct virtqueue_chain *chain)
{
	uint16_t idx, head;
	int ret;

	if (q->fault)
		return -EPROTO;
	if (!q->enabled)
		return 0;
	if (!load16(q, q->avail + AVAIL_IDX, &idx))
		return broken(q, "the available ring is not in memory");
	if (idx == q->next_avail)
		return 0;
	if ((uint16_t)(idx - q->next_avail) > q->size)
		return broken(q, "more chains are available than the ring holds");
	if (q->in_flight >= q->size)
		return broken(q, "more chains are in flight than the ring holds");
	if (!load16(q, q->avail + AVAIL_RING + 2u * (q->next_avail % q->size), &head))
		return broken(q, "the available ring is not in memory");
	chain->head = head;
	chain->out_count = 0;
	chain->in_count = 0;
	chain->out_length = 0;
	chain->in_length = 0;
	ret = walk(q, chain, q->desc, q->size, head, true);
	if (ret < 0)
		return ret;
	q->next_avail++;
	q->in_flight++;
	return 1;
}

void virtqueue_unpop(struct virtqueue *q)
{
	q->next_avail--;
	q->in_flight--;
}

bool virtqueue_empty(struct virtqueue *q)
{
	uint16_t idx;

	if (q->fault || !q->enabled || !load16(q, q->avail + AVAIL_IDX, &idx))
		return true;
	return idx == q->next_avail;
}

void virtqueue_push(struct virtqueue *q, uint16_t head, uint32_t written)
{
	struct vring_used_elem elem = {.id = htole32(head), .len = htole32(written)};
	uint64_t at = q->used + USED_RING + sizeof(elem) * (q->next_used % q->size);

	if (q->fault)
		return;
	if (ioas_write(q->ioas, at, &elem, sizeof(elem))) {
		broken(q, "the used ring is not in memory");
		return;
	}
	q->next_used++;
	q->in_flight--;
}

void virtqueue_publish(struct virtqueue *q)
{
	if (q->fault || q->published == q->next_used)
		return;
	if (!store16(q, q->used + USED_IDX, q->next_used))
		broken(q, "the used ring is not in memory");
	q->published = q->next_used;
}

bool virtqueue_wants_interrupt(struct virtqueue *q)
{
	uint16_t old = q->signalled;
	uint16_t event;

	if (q->fault || !q->enabled || q->published == old)
		return false;
	/* The used index must be out before the driver's wish is read (section 2.7.10). */
	atomic_thread_fence(memory_order_seq_cst);
	if (!q->event_idx) {
		q->signalled = q->published;
		return load16(q, q->avail + AVAIL_FLAGS, &event) &&
		       !(event & VRING_AVAIL_F_NO_INTERRUPT);
	}
	if (!load16(q, q->avail + AVAIL_RING + 2u * q->size, &event))
		return false;
	q->signalled = q->published;
	return vring_need_event(event, q->published, old);
}

void virtqueue_set_notify(struct virtqueue *q, bool on)
{
	bool ok = true;
	uint16_t idx;

	if (q->fault || !q->enabled)
		return;
	/* What is there already need not bring a notification, also where it was not taken yet. */
	if (!q->event_idx)
		ok = store16(q, q->used + USED_FLAGS, on ? 0 : VRING_USED_F_NO_NOTIFY);
	else if (on)
		ok = load16(q, q->avail + AVAIL_IDX, &idx) &&
		     store16(q, q->used + USED_RING + 8u * q->size, idx);
	if (!ok)
		broken(q, "a ring is not in memory");
	atomic_thread_fence(memory_order_seq_cst);
}

/* Bytes of a chain */

/* The part of the chain that is written or read, and where @offset falls into it. */
static const struct virtqueue_segment *locate(const struct virtqueue_chain *chain, bool write,
					      size_t *offset, size_t length)
{
	const struct virtqueue_segment *segment = chain->segments + (write ? chain->out_count : 0);
	size_t total = write ? chain->in_length : chain->out_length;

	if (*offset > total || length > total - *offset)
		return NULL;
	while (length > 0 && *offset >= segment->length) {
		*offset -= segment->length;
		segment++;
	}
	return segment;
}

static int copy(struct virtqueue *q, const struct virtqueue_chain *chain, bool write, size_t offset,
		uint8_t *to, const uint8_t *from, size_t length)
{
	const struct virtqueue_segment *segment = locate(chain, write, &offset, length);
	size_t step;
	int ret;

	if (!segment)
		return -EFAULT;
	for (; length > 0; length -= step, segment++, offset = 0) {
		step = segment->length - offset;
		if (step > length)
			step = length;
		if (segment->address + offset < segment->address)
			return -EFAULT;
		if (write) {
			ret = ioas_write(q->ioas, segment->address + offset, from, step);
			from += step;
		} else {
			ret = ioas_read(q->ioas, segment->address + offset, to, step);
			to += step;
		}
		if (ret)
			return -EFAULT;
	}
	return 0;
}

int virtqueue_read(struct virtqueue *q, const struct virtqueue_chain *chain, size_t offset,
		   void *buffer, size_t length)
{
	return copy(q, chain, false, offset, buffer, NULL, length);
}

int virtqueue_write(struct virtqueue *q, const struct virtqueue_chain *chain, size_t offset,
		    const void *buffer, size_t length)
{
	return copy(q, chain, true, offset, NULL, buffer, length);
}

int virtqueue_pin(struct virtqueue *q, const struct virtqueue_chain *chain, bool write,
		  size_t offset, size_t length, struct iovec *iov, struct virtqueue_pin *pins,
		  unsigned max)
{
	const struct virtqueue_segment *segment = locate(chain, write, &offset, length);
	unsigned count = 0;
	uint64_t address;
	size_t step;
	int ret;

	if (!segment)
		return -EFAULT;
	while (length > 0) {
		if (offset == segment->length) {
			segment++;
			offset = 0;
		}
		step = segment->length - offset;
		if (step > length)
			step = length;
		address = segment->address + offset;
		ret = -EMSGSIZE;
		if (count == max)
			goto unpin;
		ret = -EFAULT;
		if (address < offset)
			goto unpin;
		iov[count].iov_base = ioas_pin(q->ioas, address, &step, write);
		if (!iov[count].iov_base)
			goto unpin;
		iov[count].iov_len = step;
		pins[count] = (struct virtqueue_pin){.address = address, .length = step};
		count++;
		offset += step;
		length -= step;
	}
	return (int)count;

unpin:
	virtqueue_unpin(q, pins, count, write);
	return ret;
}

void virtqueue_unpin(struct virtqueue *q, const struct virtqueue_pin *pins, unsigned count,
		     bool write)
{
	while (count-- > 0)
		ioas_unpin(q->ioas, pins[count].address, pins[count].length, write);
}
