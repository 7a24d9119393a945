/* SPDX-License-Identifier: Apache-2.0 */
/* Split virtqueues against drivers that are right, wrong and random. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

#include "devices/virtio/queue.h"
#include "tests/unit/virtio_ring.h"

#define BUFFERS 0x100000ull

static struct virtqueue q;
static struct virtqueue_chain chain;
static struct ring ring;

static void setup(void)
{
	q = (struct virtqueue){.ioas = fake_ioas(), .size_max = VIRTQUEUE_SIZE_MAX};
	virtqueue_reset(&q);
	ring_place(&ring, RAM_LOW, 8);
	q.size = 8;
	q.desc = ring.desc;
	q.avail = ring.avail;
	q.used = ring.used;
	q.indirect = true;
	cr_assert_eq(virtqueue_enable(&q), 0);
}

static void teardown(void)
{
	cr_expect_eq(fake_pins, 0, "something stays pinned");
}

TestSuite(virtqueue, .init = setup, .fini = teardown);

static void expect_broken(const char *why)
{
	cr_expect_eq(virtqueue_pop(&q, &chain), -EPROTO);
	cr_expect_str_eq(q.fault, why);
	cr_expect_eq(virtqueue_pop(&q, &chain), -EPROTO, "stays broken");
	cr_expect(virtqueue_empty(&q));
	virtqueue_push(&q, 0, 0);
	virtqueue_publish(&q);
	cr_expect_eq(ring_used(&ring)->idx, 0, "a broken queue gives nothing back");
}

Test(virtqueue, hands_chains_over_and_back_in_order)
{
	uint32_t id, length;

	cr_expect_eq(virtqueue_pop(&q, &chain), 0);
	for (unsigned round = 0; round < 70000; round++) {
		struct ring_buffer buffers[3] = {{BUFFERS, 16, false},
						 {BUFFERS + 16, 100 + round, false},
						 {BUFFERS + 0x20000, 7, true}};
		uint16_t head = ring_add(&ring, buffers, 3);

		cr_assert_not(virtqueue_empty(&q));
		cr_assert_eq(virtqueue_pop(&q, &chain), 1);
		cr_assert(virtqueue_empty(&q));
		cr_assert_eq(chain.head, head);
		cr_assert_eq(chain.out_count, 2);
		cr_assert_eq(chain.in_count, 1);
		cr_assert_eq(chain.out_length, 116 + round);
		cr_assert_eq(chain.in_length, 7);
		cr_assert_eq(chain.segments[2].address, BUFFERS + 0x20000);
		virtqueue_push(&q, chain.head, round);
		cr_assert_not(ring_take(&ring, &id, &length), "not before it is published");
		virtqueue_publish(&q);
		cr_assert(ring_take(&ring, &id, &length));
		cr_assert_eq(id, head);
		cr_assert_eq(length, round);
	}
}

Test(virtqueue, an_unpopped_chain_comes_again)
{
	struct ring_buffer buffer = {BUFFERS, 16, true};
	uint16_t head = ring_add(&ring, &buffer, 1);

	for (unsigned i = 0; i < 20; i++) {
		cr_expect_eq(virtqueue_pop(&q, &chain), 1);
		cr_expect_eq(chain.head, head);
		virtqueue_unpop(&q);
	}
}

Test(virtqueue, publishes_all_pushed_chains_at_once)
{
	struct ring_buffer buffer = {BUFFERS, 16, true};

	for (unsigned i = 0; i < 4; i++)
		ring_add(&ring, &buffer, 1);
	for (unsigned i = 0; i < 4; i++) {
		cr_assert_eq(virtqueue_pop(&q, &chain), 1);
		virtqueue_push(&q, chain.head, i);
		cr_expect_eq(ring_used(&ring)->idx, 0);
	}
	virtqueue_publish(&q);
	cr_expect_eq(ring_used(&ring)->idx, 4);
}

Test(virtqueue, follows_indirect_tables)
{
	struct vring_desc *table = guest(BUFFERS);

	for (unsigned i = 0; i < 200; i++)
		table[i] = (struct vring_desc){
			.addr = BUFFERS + 0x10000 + i,
			.len = 1,
			.flags = (uint16_t)((i < 199 ? VRING_DESC_F_NEXT : 0) |
					    (i >= 100 ? VRING_DESC_F_WRITE : 0)),
			.next = (uint16_t)(i + 1),
		};
	*ring_desc(&ring, 3) = (struct vring_desc){
		.addr = BUFFERS, .len = 200 * 16, .flags = VRING_DESC_F_INDIRECT};
	ring_offer(&ring, 3);
	cr_assert_eq(virtqueue_pop(&q, &chain), 1);
	cr_expect_eq(chain.head, 3);
	cr_expect_eq(chain.out_count, 100);
	cr_expect_eq(chain.in_count, 100);
	cr_expect_eq(chain.segments[199].address, BUFFERS + 0x10000 + 199);
}

Test(virtqueue, empty_buffers_are_no_segments)
{
	struct ring_buffer buffers[3] = {{BUFFERS, 0, false}, {BUFFERS, 5, false}, {0, 0, true}};

	ring_add(&ring, buffers, 3);
	cr_assert_eq(virtqueue_pop(&q, &chain), 1);
	cr_expect_eq(chain.out_count, 1);
	cr_expect_eq(chain.in_count, 0);
	cr_expect_eq(chain.out_length, 5);
}

/* Descriptors of hostile drivers: written from index 0, head 0 offered. */
struct hostile {
	const char *why;
	bool no_indirect;
	struct vring_desc ring[3];
	struct vring_desc table[3];
};

#define NEXT     VRING_DESC_F_NEXT
#define WRITE    VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

Test(virtqueue, refuses_every_kind_of_hostile_chain)
{
	static const struct hostile cases[] = {
		{"a chain has a loop", false, {{BUFFERS, 1, NEXT, 0}}, {{0}}},
		{"a chain has a loop",
		 false,
		 {{BUFFERS, 1, NEXT, 1}, {BUFFERS, 1, NEXT, 0}},
		 {{0}}},
		{"a chain has a loop", false, {{BUFFERS, 0, NEXT, 0}}, {{0}}},
		{"a descriptor points out of its table", false, {{BUFFERS, 1, NEXT, 8}}, {{0}}},
		{"a descriptor points out of its table", false, {{BUFFERS, 1, NEXT, 65535}}, {{0}}},
		{"a chain has a buffer to read after one to write",
		 false,
		 {{BUFFERS, 1, NEXT | WRITE, 1}, {BUFFERS, 1, 0, 0}},
		 {{0}}},
		{"a chain has 4 GiB or more",
		 false,
		 {{BUFFERS, UINT32_MAX, NEXT, 1}, {BUFFERS, 1, 0, 0}},
		 {{0}}},
		{"a chain has 4 GiB or more",
		 false,
		 {{BUFFERS, 0x80000000, NEXT, 1}, {BUFFERS, 0x80000000, WRITE, 0}},
		 {{0}}},
		{"an indirect descriptor where none may be",
		 true,
		 {{BUFFERS, 16, INDIRECT, 0}},
		 {{BUFFERS, 1, 0, 0}}},
		{"an indirect descriptor where none may be",
		 false,
		 {{BUFFERS, 16, INDIRECT | NEXT, 1}},
		 {{BUFFERS, 1, 0, 0}}},
		{"an indirect descriptor where none may be",
		 false,
		 {{BUFFERS, 16, INDIRECT, 0}},
		 {{BUFFERS, 16, INDIRECT, 0}}},
		{"an indirect table has a bad length", false, {{BUFFERS, 0, INDIRECT, 0}}, {{0}}},
		{"an indirect table has a bad length", false, {{BUFFERS, 17, INDIRECT, 0}}, {{0}}},
		{"an indirect table has a bad length",
		 false,
		 {{BUFFERS, 16 * 257, INDIRECT, 0}},
		 {{0}}},
		{"an indirect table has a bad length",
		 false,
		 {{BUFFERS, 0xfffffff0, INDIRECT, 0}},
		 {{0}}},
		{"an indirect table wraps", false, {{UINT64_MAX - 15, 32, INDIRECT, 0}}, {{0}}},
		{"a descriptor table is not in memory", false, {{0, 32, INDIRECT, 0}}, {{0}}},
		{"a descriptor points out of its table",
		 false,
		 {{BUFFERS, 32, INDIRECT, 0}},
		 {{BUFFERS, 1, NEXT, 2}}},
		{"a chain has a loop",
		 false,
		 {{BUFFERS, 32, INDIRECT, 0}},
		 {{BUFFERS, 1, NEXT, 1}, {BUFFERS, 1, NEXT, 0}}},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		setup();
		q.indirect = !cases[i].no_indirect;
		memcpy(ring_desc(&ring, 0), cases[i].ring, sizeof(cases[i].ring));
		memcpy(guest(BUFFERS), cases[i].table, sizeof(cases[i].table));
		ring_offer(&ring, 0);
		expect_broken(cases[i].why);
	}
}

/* Ring of 256: @direct descriptors, of which the last is an indirect one with @indirect more. */
static int pop_mixed(unsigned direct, unsigned indirect)
{
	struct vring_desc *entries = guest(BUFFERS);

	virtqueue_reset(&q);
	ring_place(&ring, RAM_LOW, 256);
	q.desc = ring.desc;
	q.avail = ring.avail;
	q.used = ring.used;
	q.indirect = true;
	cr_assert_eq(virtqueue_enable(&q), 0);
	for (unsigned i = 0; i < direct; i++)
		*ring_desc(&ring, i) =
			(struct vring_desc){BUFFERS + 0x10000, 1, NEXT, (uint16_t)(i + 1)};
	*ring_desc(&ring, direct - 1) = (struct vring_desc){BUFFERS, indirect * 16, INDIRECT, 0};
	for (unsigned i = 0; i < indirect; i++)
		entries[i] = (struct vring_desc){BUFFERS + 0x10000, 1, i + 1 < indirect ? NEXT : 0,
						 (uint16_t)(i + 1)};
	ring_offer(&ring, 0);
	return virtqueue_pop(&q, &chain);
}

Test(virtqueue, a_chain_has_256_segments_at_most_wherever_they_are)
{
	cr_expect_eq(pop_mixed(57, 200), 1);
	cr_expect_eq(chain.out_count, 256);
	cr_expect_eq(pop_mixed(58, 200), -EPROTO);
	cr_expect_str_eq(q.fault, "a chain is too long");
	cr_expect_eq(pop_mixed(256, 256), -EPROTO);
}

Test(virtqueue, refuses_a_head_out_of_the_ring)
{
	ring_offer(&ring, 8);
	expect_broken("a descriptor points out of its table");
}

Test(virtqueue, refuses_an_available_index_that_runs_ahead)
{
	ring_avail(&ring)->idx = 9;
	expect_broken("more chains are available than the ring holds");
}

Test(virtqueue, refuses_a_chain_offered_again_without_end)
{
	struct ring_buffer buffer = {BUFFERS, 16, true};
	uint16_t head = ring_add(&ring, &buffer, 1);

	for (unsigned i = 0; i < 8; i++) {
		cr_assert_eq(virtqueue_pop(&q, &chain), 1);
		ring_offer(&ring, head);
	}
	expect_broken("more chains are in flight than the ring holds");
}

Test(virtqueue, a_ring_that_is_not_in_memory_breaks_it)
{
	q.avail = 0x2000;
	expect_broken("the available ring is not in memory");
}

Test(virtqueue, a_used_ring_that_may_not_be_written_breaks_it)
{
	struct ring_buffer buffer = {BUFFERS, 16, true};

	q.used = RAM_ROM;
	ring_add(&ring, &buffer, 1);
	cr_assert_eq(virtqueue_pop(&q, &chain), 1);
	virtqueue_push(&q, chain.head, 0);
	cr_expect_str_eq(q.fault, "the used ring is not in memory");
}

struct geometry {
	uint16_t size;
	uint64_t desc, avail, used;
	int result;
};

Test(virtqueue, enabling_checks_size_alignment_and_wrapping)
{
	static const struct geometry cases[] = {
		{256, 0x10000, 0x20000, 0x30000, 0},
		{1, 0x10010, 0x20002, 0x30004, 0},
		{0, 0x10000, 0x20000, 0x30000, -EINVAL},
		{3, 0x10000, 0x20000, 0x30000, -EINVAL},
		{512, 0x10000, 0x20000, 0x30000, -EINVAL},
		{8, 0x10008, 0x20000, 0x30000, -EINVAL},
		{8, 0x10000, 0x20001, 0x30000, -EINVAL},
		{8, 0x10000, 0x20000, 0x30002, -EINVAL},
		{8, 0xfffffffffffffff0, 0x20000, 0x30000, -EINVAL},
		{8, 0x10000, 0xfffffffffffffffe, 0x30000, -EINVAL},
		{8, 0x10000, 0x20000, 0xfffffffffffffffc, -EINVAL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		virtqueue_reset(&q);
		q.size = cases[i].size;
		q.desc = cases[i].desc;
		q.avail = cases[i].avail;
		q.used = cases[i].used;
		cr_expect_eq(virtqueue_enable(&q), cases[i].result, "case %zu", i);
		cr_expect_eq(q.fault != NULL, cases[i].result != 0);
	}
}

Test(virtqueue, a_queue_not_enabled_yields_nothing)
{
	virtqueue_reset(&q);
	cr_expect_eq(virtqueue_pop(&q, &chain), 0);
	cr_expect(virtqueue_empty(&q));
	cr_expect_not(virtqueue_wants_interrupt(&q));
	virtqueue_set_notify(&q, true);
}

static void give_back(unsigned count)
{
	struct ring_buffer buffer = {BUFFERS, 16, true};

	for (unsigned i = 0; i < count; i++) {
		ring_add(&ring, &buffer, 1);
		cr_assert_eq(virtqueue_pop(&q, &chain), 1);
		virtqueue_push(&q, chain.head, 0);
	}
	virtqueue_publish(&q);
}

Test(virtqueue, interrupts_follow_the_flag_without_event_index)
{
	cr_expect_not(virtqueue_wants_interrupt(&q), "nothing was given back");
	give_back(1);
	cr_expect(virtqueue_wants_interrupt(&q));
	cr_expect_not(virtqueue_wants_interrupt(&q), "once for each");
	ring_avail(&ring)->flags = VRING_AVAIL_F_NO_INTERRUPT;
	give_back(1);
	cr_expect_not(virtqueue_wants_interrupt(&q));
}

Test(virtqueue, interrupts_follow_the_event_index)
{
	q.event_idx = true;
	give_back(1);
	cr_expect(virtqueue_wants_interrupt(&q), "event 0 is passed by the first");
	give_back(1);
	cr_expect_not(virtqueue_wants_interrupt(&q));
	*ring_used_event(&ring) = 5;
	give_back(3);
	cr_expect_not(virtqueue_wants_interrupt(&q));
	give_back(1);
	cr_expect(virtqueue_wants_interrupt(&q));
	*ring_used_event(&ring) = 7;
	give_back(4);
	cr_expect(virtqueue_wants_interrupt(&q), "passed in the middle of a batch");
}

Test(virtqueue, notifications_are_switched_by_flag_or_event_index)
{
	virtqueue_set_notify(&q, false);
	cr_expect_eq(ring_used(&ring)->flags, VRING_USED_F_NO_NOTIFY);
	virtqueue_set_notify(&q, true);
	cr_expect_eq(ring_used(&ring)->flags, 0);
	q.event_idx = true;
	give_back(3);
	virtqueue_set_notify(&q, false);
	cr_expect_eq(*ring_avail_event(&ring), 0);
	virtqueue_set_notify(&q, true);
	cr_expect_eq(*ring_avail_event(&ring), 3);
	cr_expect_eq(ring_used(&ring)->flags, 0);
}

Test(virtqueue, copies_across_segments_and_areas)
{
	struct ring_buffer buffers[4] = {
		{RAM_HIGH - 5, 10, false}, /* over the border of two areas */
		{BUFFERS, 3, false},
		{BUFFERS + 0x1000, 4, true},
		{RAM_HIGH - 2, 4, true}};
	char text[16] = {0};

	memcpy(guest(RAM_HIGH - 5), "01234", 5);
	memcpy(guest(RAM_HIGH), "56789", 5);
	memcpy(guest(BUFFERS), "abc", 3);
	ring_add(&ring, buffers, 4);
	cr_assert_eq(virtqueue_pop(&q, &chain), 1);
	cr_expect_eq(virtqueue_read(&q, &chain, 0, text, 13), 0);
	cr_expect_str_eq(text, "0123456789abc");
	memset(text, 0, sizeof(text));
	cr_expect_eq(virtqueue_read(&q, &chain, 9, text, 3), 0);
	cr_expect_str_eq(text, "9ab");
	cr_expect_eq(virtqueue_read(&q, &chain, 0, text, 14), -EFAULT);
	cr_expect_eq(virtqueue_read(&q, &chain, 14, text, 0), -EFAULT);
	cr_expect_eq(virtqueue_read(&q, &chain, SIZE_MAX, text, 2), -EFAULT);
	cr_expect_eq(virtqueue_read(&q, &chain, 13, text, 0), 0);
	cr_expect_eq(virtqueue_write(&q, &chain, 2, "WXYZ", 4), 0);
	cr_expect_eq(memcmp(guest(BUFFERS + 0x1002), "WX", 2), 0);
	cr_expect_eq(memcmp(guest(RAM_HIGH - 2), "YZ", 2), 0);
	cr_expect_eq(virtqueue_write(&q, &chain, 5, "WXYZ", 4), -EFAULT);
}

Test(virtqueue, copies_fail_where_memory_is_missing_or_read_only)
{
	struct ring_buffer buffers[3] = {
		{0x1000, 4, false}, {RAM_ROM, 4, true}, {UINT64_MAX, 4, true}};
	char text[4];

	ring_add(&ring, buffers, 3);
	cr_assert_eq(virtqueue_pop(&q, &chain), 1);
	cr_expect_eq(virtqueue_read(&q, &chain, 0, text, 4), -EFAULT);
	cr_expect_eq(virtqueue_write(&q, &chain, 0, text, 4), -EFAULT);
	cr_expect_eq(virtqueue_write(&q, &chain, 4, text, 4), -EFAULT);
	cr_expect_eq(virtqueue_write(&q, &chain, 5, text, 1), -EFAULT);
}

Test(virtqueue, a_buffer_does_not_wrap_around_the_end_of_the_address_space)
{
	struct ring_buffer buffer = {UINT64_MAX - 0xffff, 0x40000, false};
	struct virtqueue_pin pin;
	struct iovec iov;
	char byte;

	ring_add(&ring, &buffer, 1);
	cr_assert_eq(virtqueue_pop(&q, &chain), 1);
	/* These bytes would be at the start of RAM. */
	cr_expect_eq(virtqueue_read(&q, &chain, 0x20000, &byte, 1), -EFAULT);
	cr_expect_eq(virtqueue_pin(&q, &chain, false, 0x20000, 1, &iov, &pin, 1), -EFAULT);
}

Test(virtqueue, pins_pieces_and_lets_them_go)
{
	struct ring_buffer buffers[3] = {
		{RAM_HIGH - 5, 10, false}, {BUFFERS, 3, false}, {BUFFERS, 8, true}};
	struct virtqueue_pin pins[4];
	struct iovec iov[4];

	ring_add(&ring, buffers, 3);
	cr_assert_eq(virtqueue_pop(&q, &chain), 1);
	cr_expect_eq(virtqueue_pin(&q, &chain, false, 2, 10, iov, pins, 4), 3);
	cr_expect_eq(fake_pins, 3);
	cr_expect_eq(iov[0].iov_base, guest(RAM_HIGH - 3));
	cr_expect_eq(iov[0].iov_len, 3);
	cr_expect_eq(iov[1].iov_base, guest(RAM_HIGH));
	cr_expect_eq(iov[1].iov_len, 5);
	cr_expect_eq(iov[2].iov_len, 2);
	virtqueue_unpin(&q, pins, 3, false);
	cr_expect_eq(fake_pins, 0);
	cr_expect_eq(virtqueue_pin(&q, &chain, false, 0, 13, iov, pins, 2), -EMSGSIZE);
	cr_expect_eq(virtqueue_pin(&q, &chain, false, 0, 14, iov, pins, 4), -EFAULT);
	cr_expect_eq(virtqueue_pin(&q, &chain, true, 0, 8, iov, pins, 4), 1);
	virtqueue_unpin(&q, pins, 1, true);
	cr_expect_eq(virtqueue_pin(&q, &chain, true, 8, 0, iov, pins, 4), 0);
}

Test(virtqueue, pinning_fails_whole_where_a_piece_is_missing)
{
	struct ring_buffer buffers[2] = {{BUFFERS, 8, false}, {0x1000, 8, false}};
	struct virtqueue_pin pins[4];
	struct iovec iov[4];

	ring_add(&ring, buffers, 2);
	cr_assert_eq(virtqueue_pop(&q, &chain), 1);
	cr_expect_eq(virtqueue_pin(&q, &chain, false, 0, 16, iov, pins, 4), -EFAULT);
	cr_expect_eq(fake_pins, 0);
}

/* Random descriptors, indices and flags, mostly plausible: nothing may crash or run away. */
Test(virtqueue, survives_a_random_driver)
{
	unsigned seed = 12345, popped = 0, faults = 0;
	uint8_t bytes[64];
	struct virtqueue_pin pins[64];
	struct iovec iov[64];

	for (unsigned round = 0; round < 30000; round++) {
		if (q.fault || round % 50 == 0) {
			faults += q.fault != NULL;
			virtqueue_reset(&q);
			q.size = (uint16_t)(1u << rand_r(&seed) % 9);
			ring_place(&ring, RAM_LOW, q.size);
			q.desc = ring.desc;
			q.avail = ring.avail;
			q.used = rand_r(&seed) % 16 ? ring.used : RAM_ROM;
			q.indirect = rand_r(&seed) % 4;
			q.event_idx = rand_r(&seed) % 2;
			virtqueue_enable(&q);
		}
		for (unsigned i = 0; i < 8u; i++) {
			unsigned r = (unsigned)rand_r(&seed);
			struct vring_desc *d =
				rand_r(&seed) % 3 ? ring_desc(&ring, r % q.size)
						  : (struct vring_desc *)guest(BUFFERS) + r % 32;

			d->addr = r % 32 ? BUFFERS + (unsigned)rand_r(&seed) % 0x1000
					 : (uint64_t)rand_r(&seed) << 33;
			d->len = r % 64 ? (unsigned)rand_r(&seed) % 512
					: (uint32_t)rand_r(&seed) * 2;
			d->flags = (uint16_t)((unsigned)rand_r(&seed) & 7);
			if (rand_r(&seed) % 8)
				d->flags &= (uint16_t)~VRING_DESC_F_INDIRECT;
			else
				d->len &= ~15u;
			d->next = (uint16_t)((unsigned)rand_r(&seed) % (q.size + 1));
		}
		ring_offer(&ring,
			   (uint16_t)((unsigned)rand_r(&seed) % (q.size + rand_r(&seed) % 2)));
		if (rand_r(&seed) % 256 == 0)
			ring_avail(&ring)->idx = (uint16_t)rand_r(&seed);
		if (virtqueue_pop(&q, &chain) == 1) {
			size_t length = (size_t)rand_r(&seed) % sizeof(bytes);
			size_t offset = (size_t)rand_r(&seed) % 1024;
			int n;

			popped++;
			virtqueue_read(&q, &chain, offset, bytes, length);
			virtqueue_write(&q, &chain, offset, bytes, length);
			n = virtqueue_pin(&q, &chain, true, 0, chain.in_length, iov, pins, 64);
			if (n > 0)
				virtqueue_unpin(&q, pins, (unsigned)n, true);
			if (rand_r(&seed) % 8)
				virtqueue_push(&q, chain.head, (uint32_t)rand_r(&seed));
		}
		virtqueue_set_notify(&q, rand_r(&seed) % 2);
		virtqueue_publish(&q);
		virtqueue_wants_interrupt(&q);
	}
	cr_expect_gt(popped, 1000);
	cr_expect_gt(faults, 1000);
}
