/* SPDX-License-Identifier: Apache-2.0 */
/* The channel against a peer that is a bare socket, and against another channel. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/vfio/user/channel.h"
#include "tests/unit/support.h"

struct pair {
	struct vfio_user_channel *channel;
	int peer;
};

static struct pair pair_with(const struct vfio_user_channel_config *config)
{
	struct pair pair;
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	cr_assert_eq(vfio_user_channel_create(fds[0], config, &pair.channel), 0);
	pair.peer = fds[1];
	return pair;
}

static struct pair new_pair(void)
{
	return pair_with(&(struct vfio_user_channel_config){0});
}

static void done(struct pair *pair)
{
	vfio_user_channel_destroy(pair->channel);
	if (pair->peer >= 0)
		close(pair->peer);
}

static unsigned open_descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* A message of the bare peer in one sendmsg(). */
static void peer_send_raw(int peer, const void *bytes, size_t size, const int *fds, unsigned count)
{
	union {
		char bytes[CMSG_SPACE(253 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)bytes, size};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (count) {
		control.align = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(count * sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
		};
		memcpy(CMSG_DATA(&control.align), fds, count * sizeof(int));
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(count * sizeof(int));
	}
	cr_assert_eq(sendmsg(peer, &m, MSG_NOSIGNAL), (ssize_t)size);
}

static size_t build(uint8_t *out, uint16_t id, uint16_t command, uint32_t flags,
		    const void *payload, size_t size)
{
	struct vfio_user_header header = {.msg_id = id,
					  .command = command,
					  .msg_size = (uint32_t)(sizeof(header) + size),
					  .flags = flags};

	memcpy(out, &header, sizeof(header));
	if (size)
		memcpy(out + sizeof(header), payload, size);
	return sizeof(header) + size;
}

static void peer_send(int peer, uint16_t id, uint16_t command, uint32_t flags, const void *payload,
		      size_t size)
{
	uint8_t bytes[4096];

	peer_send_raw(peer, bytes, build(bytes, id, command, flags, payload, size), NULL, 0);
}

static void peer_read(int peer, void *buffer, size_t size)
{
	size_t got = 0;

	while (got < size) {
		ssize_t n = read(peer, (char *)buffer + got, size - got);

		cr_assert_gt(n, 0);
		got += (size_t)n;
	}
}

/* ---- receiving ---- */

Test(channel, a_command_comes_whole_however_it_is_cut, .timeout = 60)
{
	struct pair pair = new_pair();
	uint8_t bytes[64];
	const size_t size = build(bytes, 7, 9, 0, "0123456789abcdef", 16);
	struct vfio_user_packet *packet;

	for (size_t cut = 0; cut <= size; cut++) {
		if (cut)
			peer_send_raw(pair.peer, bytes, cut, NULL, 0);
		if (cut < size) {
			cr_assert_eq(vfio_user_channel_next(pair.channel, 0, &packet), -ETIMEDOUT);
			peer_send_raw(pair.peer, bytes + cut, size - cut, NULL, 0);
		}
		cr_assert_eq(vfio_user_channel_next(pair.channel, 10000, &packet), 0);
		cr_assert_eq(packet->header.msg_id, 7);
		cr_assert_eq(packet->size, 16);
		cr_assert_eq(memcmp(packet->payload, "0123456789abcdef", 16), 0);
		cr_assert_eq(packet->fd_count, 0);
		cr_assert_eq(packet->error, 0);
		vfio_user_packet_free(packet);
	}
	done(&pair);
}

Test(channel, many_commands_in_one_piece_come_in_order, .timeout = 60)
{
	struct pair pair = new_pair();
	struct vfio_user_packet *packet;
	uint8_t bytes[100 * 20];
	size_t size = 0;

	for (uint16_t i = 0; i < 100; i++)
		size += build(bytes + size, i, 13, 0, "abc", i % 4);
	peer_send_raw(pair.peer, bytes, size, NULL, 0);
	for (uint16_t i = 0; i < 100; i++) {
		cr_assert_eq(vfio_user_channel_next(pair.channel, 10000, &packet), 0);
		cr_assert_eq(packet->header.msg_id, i);
		cr_assert_eq(packet->size, i % 4);
		vfio_user_packet_free(packet);
	}
	cr_assert_eq(vfio_user_channel_next(pair.channel, 0, &packet), -ETIMEDOUT);
	cr_assert_null(packet);
	done(&pair);
}

Test(channel, descriptors_are_those_of_their_message, .timeout = 60)
{
	struct pair pair = new_pair();
	struct vfio_user_packet *packet;
	uint8_t bytes[256];
	struct stat sent, got;
	size_t size;
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(fstat(fds[1], &sent), 0);
	/* Before and behind messages that have none, all read at once. */
	peer_send(pair.peer, 1, 13, 0, NULL, 0);
	size = build(bytes, 2, 8, 0, "01234567890123456789", 20);
	peer_send_raw(pair.peer, bytes, size, fds, 2);
	peer_send(pair.peer, 3, 13, 0, NULL, 0);
	for (uint16_t i = 1; i <= 3; i++) {
		cr_assert_eq(vfio_user_channel_next(pair.channel, 10000, &packet), 0);
		cr_assert_eq(packet->header.msg_id, i);
		cr_assert_eq(packet->fd_count, i == 2 ? 2 : 0);
		if (i == 2) {
			cr_assert_eq(fstat(packet->fds[1], &got), 0);
			cr_assert_eq(got.st_ino, sent.st_ino);
			cr_assert(fcntl(packet->fds[0], F_GETFD) & FD_CLOEXEC);
		}
		vfio_user_packet_free(packet);
	}
	/* With half a header, and with the payload alone. */
	for (size_t cut = 5; cut <= 20; cut += 15) {
		peer_send_raw(pair.peer, bytes, cut, fds, cut == 5 ? 2 : 0);
		cr_assert_eq(vfio_user_channel_next(pair.channel, 0, &packet), -ETIMEDOUT);
		peer_send_raw(pair.peer, bytes + cut, size - cut, fds, cut == 5 ? 0 : 2);
		cr_assert_eq(vfio_user_channel_next(pair.channel, 10000, &packet), 0);
		cr_assert_eq(packet->fd_count, 2);
		vfio_user_packet_free(packet);
	}
	close(fds[0]);
	close(fds[1]);
	done(&pair);
}

Test(channel, too_many_descriptors_are_closed_and_said, .timeout = 60)
{
	struct pair pair = new_pair();
	struct vfio_user_packet *packet;
	uint8_t bytes[64];
	const size_t size = build(bytes, 2, 8, 0, NULL, 0);
	unsigned before = open_descriptors();
	int fds[VFIO_USER_MAX_MSG_FDS + 1];

	for (unsigned i = 0; i <= VFIO_USER_MAX_MSG_FDS; i++)
		fds[i] = pair.peer;
	peer_send_raw(pair.peer, bytes, size, fds, VFIO_USER_MAX_MSG_FDS + 1);
	cr_assert_eq(vfio_user_channel_next(pair.channel, 10000, &packet), 0);
	cr_assert_eq(packet->error, -E2BIG);
	cr_assert_eq(packet->fd_count, 0);
	cr_assert_eq(open_descriptors(), before);
	vfio_user_packet_free(packet);
	/* Piece by piece, too. */
	for (size_t i = 0; i < size; i++)
		peer_send_raw(pair.peer, bytes + i, 1, fds, 2);
	cr_assert_eq(vfio_user_channel_next(pair.channel, 10000, &packet), 0);
	cr_assert_eq(packet->error, -E2BIG);
	cr_assert_eq(open_descriptors(), before);
	vfio_user_packet_free(packet);
	done(&pair);
}

Test(channel, descriptors_for_which_there_is_no_room_are_said, .timeout = 60)
{
	struct pair pair = new_pair();
	struct rlimit old, tight;
	struct vfio_user_packet *packet;
	uint8_t bytes[64];
	const size_t size = build(bytes, 2, 8, 0, NULL, 0);
	int fds[8], highest = dup(pair.peer);

	for (unsigned i = 0; i < 8; i++)
		fds[i] = pair.peer;
	getrlimit(RLIMIT_NOFILE, &old);
	tight = old;
	tight.rlim_cur = (rlim_t)highest + 3;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
	close(highest);
	peer_send_raw(pair.peer, bytes, size, fds, 8);
	cr_assert_eq(vfio_user_channel_next(pair.channel, 10000, &packet), 0);
	setrlimit(RLIMIT_NOFILE, &old);
	cr_assert_eq(packet->error, -EMFILE);
	cr_assert_eq(packet->fd_count, 0);
	cr_assert_eq(fcntl(highest, F_GETFD), -1, "one that came is left open");
	vfio_user_packet_free(packet);
	/* And the next message is all right. */
	peer_send(pair.peer, 3, 13, 0, NULL, 0);
	cr_assert_eq(vfio_user_channel_next(pair.channel, 10000, &packet), 0);
	cr_assert_eq(packet->error, 0);
	vfio_user_packet_free(packet);
	done(&pair);
}

Test(channel, nothing_leaks_when_it_is_destroyed_in_the_middle, .timeout = 60)
{
	const unsigned before = open_descriptors();
	struct vfio_user_packet *packet;
	uint8_t bytes[64];
	const size_t size = build(bytes, 2, 8, 0, "12345678", 8);
	uint32_t watch;

	for (size_t cut = 1; cut <= size; cut++) {
		struct pair pair = new_pair();
		int fd = pair.peer;

		/* One whole command that nobody takes, and a part of another. */
		peer_send_raw(pair.peer, bytes, size, &fd, 1);
		peer_send_raw(pair.peer, bytes, cut, &fd, 1);
		cr_assert_eq(vfio_user_channel_dispatch(pair.channel, &watch), 0);
		cr_assert_eq(vfio_user_channel_dispatch(pair.channel, &watch), 0);
		done(&pair);
		cr_assert_eq(open_descriptors(), before);
	}
	/* Descriptors of a message that cannot be followed. */
	struct pair pair = new_pair();

	memset(bytes, 0, 16);
	peer_send_raw(pair.peer, bytes, 16, &pair.peer, 1);
	cr_assert_eq(vfio_user_channel_next(pair.channel, 10000, &packet), -EPROTO);
	done(&pair);
	cr_assert_eq(open_descriptors(), before);
}

/* ---- how it ends ---- */

Test(channel, a_closed_peer_is_a_reset_connection_after_what_it_said, .timeout = 60)
{
	struct pair pair = new_pair();
	struct vfio_user_packet *packet;
	uint32_t watch;

	peer_send(pair.peer, 1, 13, 0, NULL, 0);
	close(pair.peer);
	pair.peer = -1;
	cr_assert_eq(vfio_user_channel_next(pair.channel, -1, &packet), 0);
	vfio_user_packet_free(packet);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(vfio_user_channel_next(pair.channel, -1, &packet), -ECONNRESET);
	cr_assert_eq(vfio_user_channel_error(pair.channel), -ECONNRESET);
	cr_assert_eq(vfio_user_channel_dispatch(pair.channel, &watch), -ECONNRESET);
	cr_assert_eq(vfio_user_channel_send(pair.channel, &(struct vfio_user_message){0}, NULL, 0),
		     -ECONNRESET);
	done(&pair);
}

Test(channel, a_message_that_is_too_large_ends_it_before_it_is_read, .timeout = 60)
{
	struct pair pair = pair_with(&(struct vfio_user_channel_config){.max_payload = 64});
	struct vfio_user_header header = {.command = 9, .msg_size = 16 + 65};
	struct vfio_user_packet *packet;

	peer_send_raw(pair.peer, &header, sizeof(header), NULL, 0);
	cr_assert_eq(vfio_user_channel_next(pair.channel, -1, &packet), -EPROTO);
	done(&pair);
}

Test(channel, a_message_that_is_begun_and_not_finished_times_out, .timeout = 60)
{
	struct pair pair = pair_with(&(struct vfio_user_channel_config){.message_timeout_ms = 50});
	struct vfio_user_packet *packet;

	peer_send_raw(pair.peer, "abc", 3, NULL, 0);
	cr_assert_eq(vfio_user_channel_next(pair.channel, -1, &packet), -ETIMEDOUT);
	cr_assert_eq(vfio_user_channel_error(pair.channel), -ETIMEDOUT);
	done(&pair);
}

Test(channel, a_reply_that_nobody_waits_for_ends_it, .timeout = 60)
{
	struct pair pair = new_pair();
	struct vfio_user_packet *packet;

	peer_send(pair.peer, 1, 13, VFIO_USER_FLAGS_REPLY, NULL, 0);
	cr_assert_eq(vfio_user_channel_next(pair.channel, -1, &packet), -EPROTO);
	done(&pair);
}

Test(channel, a_flood_of_commands_while_a_reply_is_waited_for_is_cut_off, .timeout = 60)
{
	struct pair pair = new_pair();
	struct vfio_user_message command = {.command = VFIO_USER_DMA_READ};
	struct vfio_user_packet *reply;
	uint8_t bytes[4096]; /* goes out whole or not at all */
	size_t size = 0;

	for (unsigned i = 0; i < sizeof(bytes) / 16; i++)
		size += build(bytes + size, 1, 13, 0, NULL, 0);
	fcntl(pair.peer, F_SETFL, O_NONBLOCK);
	while (!vfio_user_channel_error(pair.channel)) {
		vfio_user_channel_call(pair.channel, &command, NULL, 0, 1, &reply);
		if (send(pair.peer, bytes, size, MSG_NOSIGNAL) < 0)
			cr_assert(errno == EAGAIN || errno == EPIPE);
	}
	cr_assert_eq(vfio_user_channel_call(pair.channel, &command, NULL, 0, 1, &reply), -ENOBUFS);
	done(&pair);
}

/* Shut down while a thread waits. */
static void *wait_for_command(void *arg)
{
	struct vfio_user_packet *packet;

	return (void *)(intptr_t)vfio_user_channel_next(arg, -1, &packet);
}

Test(channel, shutdown_wakes_who_waits, .timeout = 60)
{
	struct pair pair = new_pair();
	pthread_t threads[3];
	void *result;

	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, wait_for_command, pair.channel);
	vfio_user_channel_shutdown(pair.channel, -ECANCELED);
	vfio_user_channel_shutdown(pair.channel, -EIO);
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], &result);
		cr_assert_eq((intptr_t)result, -ECANCELED);
	}
	done(&pair);
}

/* ---- calls ---- */

Test(channel, a_call_that_is_given_up_leaves_the_channel_alive, .timeout = 60)
{
	struct pair pair = new_pair();
	struct vfio_user_message command = {.command = VFIO_USER_DMA_READ, .dma = {1, 2}};
	struct vfio_user_packet *reply;
	uint8_t sent[32];
	uint16_t late;

	cr_assert_eq(vfio_user_channel_call(pair.channel, &command, NULL, 0, 10, &reply),
		     -ETIMEDOUT);
	late = command.id;
	peer_read(pair.peer, sent, 32);
	/* Its reply comes now, then that of the next one. */
	peer_send(pair.peer, late, VFIO_USER_DMA_READ, VFIO_USER_FLAGS_REPLY, NULL, 0);
	peer_send(pair.peer, (uint16_t)(late + 1), VFIO_USER_DMA_READ, VFIO_USER_FLAGS_REPLY, "x",
		  1);
	cr_assert_eq(vfio_user_channel_call(pair.channel, &command, NULL, 0, 10000, &reply), 0);
	cr_assert_eq(command.id, (uint16_t)(late + 1));
	cr_assert_eq(reply->size, 1);
	vfio_user_packet_free(reply);
	/* A late one comes once. */
	peer_send(pair.peer, late, VFIO_USER_DMA_READ, VFIO_USER_FLAGS_REPLY, NULL, 0);
	cr_assert_eq(vfio_user_channel_call(pair.channel, &command, NULL, 0, 10000, &reply),
		     -EPROTO);
	done(&pair);
}

Test(channel, a_reply_to_another_command_ends_it, .timeout = 60)
{
	struct pair pair = new_pair();
	struct vfio_user_message command = {.command = VFIO_USER_DMA_READ};
	struct vfio_user_packet *reply;

	peer_send(pair.peer, 1, VFIO_USER_DMA_WRITE, VFIO_USER_FLAGS_REPLY, NULL, 0);
	cr_assert_eq(vfio_user_channel_call(pair.channel, &command, NULL, 0, 10000, &reply),
		     -EPROTO);
	cr_assert_null(reply);
	done(&pair);
}

/* Answers every reset by its id; the first one never. */
static void *answer_resets(void *arg)
{
	const int peer = *(const int *)arg;
	struct vfio_user_header header;
	bool first = true;

	while (read(peer, &header, sizeof(header)) == (ssize_t)sizeof(header)) {
		header.flags = VFIO_USER_FLAGS_REPLY;
		if (!first)
			peer_send_raw(peer, &header, sizeof(header), NULL, 0);
		first = false;
	}
	return NULL;
}

Test(channel, ids_wrap_around_those_in_use, .timeout = 120)
{
	struct pair pair = new_pair();
	struct vfio_user_message command = {.command = VFIO_USER_DEVICE_RESET};
	struct vfio_user_packet *reply;
	pthread_t thread;
	uint16_t lost;

	pthread_create(&thread, NULL, answer_resets, &pair.peer);
	cr_assert_eq(vfio_user_channel_call(pair.channel, &command, NULL, 0, 0, &reply),
		     -ETIMEDOUT);
	lost = command.id;
	for (unsigned i = 0; i < 65536; i++) {
		cr_assert_eq(vfio_user_channel_call(pair.channel, &command, NULL, 0, 10000, &reply),
			     0);
		cr_assert_neq(command.id, lost);
		vfio_user_packet_free(reply);
	}
	vfio_user_channel_shutdown(pair.channel, 0);
	pthread_join(thread, NULL);
	done(&pair);
}

/* ---- two sides ---- */

/* The client's memory, read and written by the server while the client waits. */
struct memory {
	struct vfio_user_channel *channel;
	uint8_t bytes[4096];
	atomic_uint served;
};

static void serve_memory(void *ctx, struct vfio_user_packet *packet)
{
	const struct vfio_user_limits limits = {16, 4096};
	struct memory *memory = ctx;
	struct vfio_user_message in, out;
	int rc = vfio_user_decode_command(&packet->header, packet->payload, packet->size,
					  packet->fd_count, &limits, &in);

	out = (struct vfio_user_message){
		.id = in.id, .command = in.command, .reply = true, .dma = in.dma};
	if (rc || in.dma.addr + in.dma.count > sizeof(memory->bytes)) {
		out.error = EFAULT;
	} else if (in.command == VFIO_USER_DMA_READ) {
		out.data = memory->bytes + in.dma.addr;
		out.data_size = in.dma.count;
	} else {
		memcpy(memory->bytes + in.dma.addr, in.data, in.data_size);
	}
	atomic_fetch_add(&memory->served, 1);
	vfio_user_channel_send(memory->channel, &out, NULL, 0);
}

/*
 * A server whose every REGION_READ reads the client's memory by message, adds one and writes it back
 * before it answers with it.
 */
static void *server(void *arg)
{
	const struct vfio_user_limits limits = {16, 65536};
	struct vfio_user_channel *channel = arg;
	struct vfio_user_packet *packet, *reply;

	while (vfio_user_channel_next(channel, -1, &packet) == 0) {
		struct vfio_user_message in, out, dma, got;

		cr_assert_eq(vfio_user_decode_command(&packet->header, packet->payload,
						      packet->size, packet->fd_count, &limits, &in),
			     0);
		dma = (struct vfio_user_message){.command = VFIO_USER_DMA_READ,
						 .dma = {in.region.offset, 1}};
		cr_assert_eq(vfio_user_channel_call(channel, &dma, NULL, 0, 30000, &reply), 0);
		cr_assert_eq(vfio_user_decode_reply(&dma, &reply->header, reply->payload,
						    reply->size, 0, &limits, &got),
			     0);
		cr_assert_eq(got.error, 0);
		const uint8_t value = (uint8_t)(*(const uint8_t *)got.data + 1);

		vfio_user_packet_free(reply);
		dma = (struct vfio_user_message){.command = VFIO_USER_DMA_WRITE,
						 .dma = {in.region.offset, 1},
						 .data = &value,
						 .data_size = 1};
		cr_assert_eq(vfio_user_channel_call(channel, &dma, NULL, 0, 30000, &reply), 0);
		vfio_user_packet_free(reply);
		out = (struct vfio_user_message){.id = in.id,
						 .command = in.command,
						 .reply = true,
						 .region = {in.region.offset, in.region.region, 1},
						 .data = &value,
						 .data_size = 1};
		if (!in.no_reply)
			cr_assert_eq(vfio_user_channel_send(channel, &out, NULL, 0), 0);
		vfio_user_packet_free(packet);
	}
	return NULL;
}

struct caller {
	pthread_t thread;
	struct vfio_user_channel *channel;
	unsigned index, rounds;
};

static void *caller(void *arg)
{
	const struct vfio_user_limits limits = {16, 65536};
	const struct caller *me = arg;

	for (unsigned i = 1; i <= me->rounds; i++) {
		struct vfio_user_message m = {.command = VFIO_USER_REGION_READ,
					      .region = {.offset = me->index, .count = 1}};
		struct vfio_user_packet *reply;
		struct vfio_user_message got;

		cr_assert_eq(vfio_user_channel_call(me->channel, &m, NULL, 0, 30000, &reply), 0);
		cr_assert_eq(vfio_user_decode_reply(&m, &reply->header, reply->payload, reply->size,
						    reply->fd_count, &limits, &got),
			     0);
		cr_assert_eq(*(const uint8_t *)got.data, (uint8_t)i);
		vfio_user_packet_free(reply);
	}
	return NULL;
}

static void talk(unsigned callers, unsigned rounds)
{
	struct memory *memory = calloc(1, sizeof(*memory));
	const struct vfio_user_channel_config client = {.serve = serve_memory, .ctx = memory};
	struct vfio_user_channel *other;
	struct caller all[8];
	pthread_t server_thread;
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	cr_assert_eq(vfio_user_channel_create(fds[0], &client, &memory->channel), 0);
	cr_assert_eq(
		vfio_user_channel_create(fds[1], &(struct vfio_user_channel_config){0}, &other), 0);
	pthread_create(&server_thread, NULL, server, other);
	for (unsigned i = 0; i < callers; i++) {
		all[i] = (struct caller){.channel = memory->channel, .index = i, .rounds = rounds};
		pthread_create(&all[i].thread, NULL, caller, &all[i]);
	}
	for (unsigned i = 0; i < callers; i++)
		pthread_join(all[i].thread, NULL);
	cr_assert_eq(atomic_load(&memory->served), callers * rounds * 2);
	vfio_user_channel_shutdown(memory->channel, 0);
	pthread_join(server_thread, NULL);
	vfio_user_channel_destroy(memory->channel);
	vfio_user_channel_destroy(other);
	free(memory);
}

Test(channel, a_client_that_waits_serves_dma, .timeout = 120)
{
	talk(1, 500);
}

Test(channel, several_threads_wait_on_one_channel, .timeout = 120)
{
	talk(8, 200);
}

/* Both sides send more than the socket holds before either reads. */
static void *big_caller(void *arg)
{
	struct vfio_user_channel *channel = arg;
	struct vfio_user_packet *reply;
	uint8_t *data = calloc(1, 1 << 20);
	struct vfio_user_message m = {.command = VFIO_USER_DMA_WRITE,
				      .dma = {0, 1 << 20},
				      .data = data,
				      .data_size = 1 << 20};

	for (int i = 0; i < 4; i++) {
		cr_assert_eq(vfio_user_channel_call(channel, &m, NULL, 0, 30000, &reply), 0);
		vfio_user_packet_free(reply);
	}
	free(data);
	return NULL;
}

static void serve_anything(void *ctx, struct vfio_user_packet *packet)
{
	struct vfio_user_message out = {
		.id = packet->header.msg_id, .command = packet->header.command, .reply = true};

	vfio_user_channel_send(*(struct vfio_user_channel **)ctx, &out, NULL, 0);
}

Test(channel, two_sides_that_send_at_once_do_not_hang, .timeout = 120)
{
	struct vfio_user_channel *channels[2];
	pthread_t threads[2];
	uint32_t watch;
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(vfio_user_channel_create(
				     fds[i],
				     &(struct vfio_user_channel_config){.serve = serve_anything,
									.ctx = &channels[i]},
				     &channels[i]),
			     0);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, big_caller, channels[i]);
	/* The one that is done first must go on to serve: by its loop, as it were. */
	for (int i = 0; i < 2; i++) {
		while (pthread_tryjoin_np(threads[i], NULL)) {
			for (int j = 0; j < 2; j++)
				cr_assert_eq(vfio_user_channel_dispatch(channels[j], &watch), 0);
		}
	}
	for (int i = 0; i < 2; i++)
		vfio_user_channel_destroy(channels[i]);
}

Test(channel, a_peer_that_takes_nothing_times_out, .timeout = 60)
{
	struct pair pair = pair_with(&(struct vfio_user_channel_config){.message_timeout_ms = 100});
	uint8_t *data = calloc(1, 1 << 20);
	struct vfio_user_message m = {
		.command = VFIO_USER_DMA_WRITE, .data = data, .data_size = 1 << 20};

	cr_assert_eq(vfio_user_channel_send(pair.channel, &m, NULL, 0), -ETIMEDOUT);
	cr_assert_eq(vfio_user_channel_error(pair.channel), -ETIMEDOUT);
	free(data);
	done(&pair);
}

/* ---- who dispatches ---- */

#define LARGE (1u << 20) /* more than a socket holds */

struct large {
	struct vfio_user_channel *channel;
	uint8_t bytes[LARGE];
	unsigned served;
};

static void serve_large(void *ctx, struct vfio_user_packet *packet)
{
	struct large *large = ctx;
	struct vfio_user_message out = {
		.id = packet->header.msg_id,
		.command = packet->header.command,
		.reply = true,
		.dma = {.count = LARGE},
		.data = large->bytes,
		.data_size = LARGE,
	};

	memset(large->bytes, (int)++large->served, LARGE);
	cr_assert_eq(vfio_user_channel_send(large->channel, &out, NULL, 0), 0);
}

/* With a peer that has to read @count replies and reads none. A wait would end after @timeout_ms. */
static struct large *owing(struct pair *pair, unsigned count, unsigned timeout_ms)
{
	struct large *large = calloc(1, sizeof(*large));
	const struct vfio_user_channel_config config = {
		.serve = serve_large, .ctx = large, .message_timeout_ms = timeout_ms};
	uint32_t watch;

	*pair = pair_with(&config);
	large->channel = pair->channel;
	for (unsigned i = 0; i < count; i++)
		peer_send(pair->peer, (uint16_t)i, VFIO_USER_DMA_READ, 0,
			  &(struct vfio_user_dma_access){.count = LARGE}, 16);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(vfio_user_channel_dispatch(pair->channel, &watch), 0);
	cr_assert_eq(watch, EPOLLIN | EPOLLRDHUP | EPOLLOUT);
	cr_assert_eq(large->served, 1, "the next waits for the reply to the first");
	return large;
}

static void take_reply(const struct pair *pair, unsigned id)
{
	static uint8_t bytes[sizeof(struct vfio_user_header) + 16 + LARGE];
	struct vfio_user_header header;

	peer_read(pair->peer, bytes, sizeof(bytes));
	memcpy(&header, bytes, sizeof(header));
	cr_assert_eq(header.msg_id, id);
	cr_assert_eq(header.msg_size, sizeof(bytes));
	for (size_t i = sizeof(header) + 16; i < sizeof(bytes); i++)
		cr_assert_eq(bytes[i], id + 1);
}

static void *take_three(void *arg)
{
	for (unsigned id = 0; id < 3; id++)
		take_reply(arg, id);
	return NULL;
}

Test(channel, who_dispatches_does_not_wait_for_the_peer, .timeout = 60)
{
	struct pair pair;
	struct large *large = owing(&pair, 3, 100);
	pthread_t thread;
	uint32_t watch = EPOLLOUT;

	/* When it is taken the rest follows, and the next are served, by who waits for that alone. */
	pthread_create(&thread, NULL, take_three, &pair);
	while (watch & EPOLLOUT) {
		struct pollfd out = {.fd = vfio_user_channel_fd(pair.channel), .events = POLLOUT};

		cr_assert_eq(poll(&out, 1, 30000), 1);
		cr_assert_eq(vfio_user_channel_dispatch(pair.channel, &watch), 0);
	}
	pthread_join(thread, NULL);
	cr_assert_eq(large->served, 3);
	done(&pair);
	free(large);
}

static void *take_and_answer(void *arg)
{
	const struct pair *pair = arg;
	uint8_t command[16];

	take_reply(pair, 0);
	peer_read(pair->peer, command, sizeof(command));
	/* Commands that came before ours are served while we wait. */
	take_reply(pair, 1);
	memcpy(command + 8, &(uint32_t){VFIO_USER_FLAGS_REPLY}, 4);
	peer_send_raw(pair->peer, command, sizeof(command), NULL, 0);
	return NULL;
}

Test(channel, what_is_left_of_a_reply_leaves_before_a_command, .timeout = 60)
{
	struct pair pair;
	struct large *large = owing(&pair, 2, 30000);
	struct vfio_user_message reset = {.command = VFIO_USER_DEVICE_RESET};
	struct vfio_user_packet *reply;
	pthread_t thread;

	pthread_create(&thread, NULL, take_and_answer, &pair);
	cr_assert_eq(vfio_user_channel_call(pair.channel, &reset, NULL, 0, 30000, &reply), 0);
	vfio_user_packet_free(reply);
	pthread_join(thread, NULL);
	cr_assert_eq(large->served, 2);
	done(&pair);
	free(large);
}

/* Commands, too, stay at the peer then: as many as may be kept, and no more. */
Test(channel, a_flood_of_a_peer_that_takes_no_reply_stays_with_it, .timeout = 60)
{
	struct pair pair;
	struct large *large = owing(&pair, 2, 100);
	static const uint8_t data[4000];
	uint32_t watch = EPOLLIN;

	while (watch & EPOLLIN) {
		peer_send(pair.peer, 9, VFIO_USER_DMA_WRITE, 0, data, sizeof(data));
		cr_assert_eq(vfio_user_channel_dispatch(pair.channel, &watch), 0);
	}
	cr_assert_eq(watch, EPOLLOUT);
	done(&pair);
	free(large);
}

Test(channel, descriptors_are_sent_once_with_the_first_byte, .timeout = 60)
{
	struct vfio_user_channel *channels[2];
	struct vfio_user_message m = {.command = VFIO_USER_DEVICE_SET_IRQS};
	struct vfio_user_packet *packet;
	int fds[2], many[VFIO_USER_MAX_MSG_FDS + 1];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(vfio_user_channel_create(fds[i], &(struct vfio_user_channel_config){0},
						      &channels[i]),
			     0);
	for (unsigned i = 0; i <= VFIO_USER_MAX_MSG_FDS; i++)
		many[i] = fds[0];
	cr_assert_eq(vfio_user_channel_send(channels[0], &m, many, VFIO_USER_MAX_MSG_FDS + 1),
		     -E2BIG);
	cr_assert_eq(vfio_user_channel_send(channels[0], &m, many, VFIO_USER_MAX_MSG_FDS), 0);
	cr_assert_eq(vfio_user_channel_next(channels[1], 10000, &packet), 0);
	cr_assert_eq(packet->fd_count, VFIO_USER_MAX_MSG_FDS);
	close(packet->fds[3]);
	packet->fds[3] = -1; /* taken out */
	vfio_user_packet_free(packet);
	/* A descriptor that is none hurts nobody but the message. */
	many[0] = 9999;
	cr_assert_eq(vfio_user_channel_send(channels[0], &m, many, 1), -EBADF);
	cr_assert_eq(vfio_user_channel_send(channels[0], &m, NULL, 0), 0);
	cr_assert_eq(vfio_user_channel_next(channels[1], 10000, &packet), 0);
	vfio_user_packet_free(packet);
	for (int i = 0; i < 2; i++)
		vfio_user_channel_destroy(channels[i]);
}
