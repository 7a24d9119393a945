// SPDX-License-Identifier: Apache-2.0
/* A connection: its life, who reads, and what is done with what comes. Sending is channel_send.c. */
#include "devices/vfio/user/channel_private.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/base/host.h"

#define MESSAGE_TIMEOUT_MS 5000
#define MAX_QUEUED_BYTES   (4u << 20)
#define MAX_QUEUED_FDS     256
#define MAX_ABANDONED      32768
#define SCM_MAX_FDS        253  /* what one sendmsg() may carry (net/core/scm.c) */
#define READ_SLICE_MS      1000 /* a reader with a deadline looks at the clock so often */

/* ---- life --------------------------------------------------------------------------------------- */

int vfio_user_channel_create(int fd, const struct vfio_user_channel_config *config,
			     struct vfio_user_channel **out)
{
	/*
	 * Who serves waits for replies above all, and reads with this as its clock; who does not
	 * waits for commands, without end. Either way a wait is one system call.
	 */
	const struct timeval slice = {.tv_usec = 0, .tv_sec = READ_SLICE_MS / 1000};
	struct vfio_user_channel *channel;

	if (config->serve && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &slice, sizeof(slice)))
		return -errno;
	channel = calloc(1, sizeof(*channel));
	if (!channel)
		return -ENOMEM;
	channel->fd = fd;
	channel->config = *config;
	if (!channel->config.max_payload)
		channel->config.max_payload = VFIO_USER_MAX_PAYLOAD;
	if (!channel->config.message_timeout_ms)
		channel->config.message_timeout_ms = MESSAGE_TIMEOUT_MS;
	channel->receiver.max_payload = channel->config.max_payload;
	channel->queue_tail = &channel->queue;
	pthread_mutex_init(&channel->send, NULL);
	pthread_mutex_init(&channel->lock, NULL);
	pthread_cond_init(&channel->changed, NULL);
	*out = channel;
	return 0;
}

static struct vfio_user_packet *queue_pop(struct vfio_user_channel *channel)
{
	struct vfio_user_packet *packet = channel->queue;

	if (!packet)
		return NULL;
	channel->queue = packet->next;
	if (!channel->queue)
		channel->queue_tail = &channel->queue;
	channel->queued_bytes -= sizeof(*packet) + packet->size;
	channel->queued_fds -= packet->fd_count;
	packet->next = NULL;
	return packet;
}

void vfio_user_channel_destroy(struct vfio_user_channel *channel)
{
	if (!channel)
		return;
	while (channel->queue)
		vfio_user_packet_free(queue_pop(channel));
	vfio_user_receiver_destroy(&channel->receiver);
	free(channel->rest);
	pthread_cond_destroy(&channel->changed);
	pthread_mutex_destroy(&channel->lock);
	pthread_mutex_destroy(&channel->send);
	close(channel->fd);
	free(channel);
}

/* Under the lock. Returns what it died of. */
int channel_die(struct vfio_user_channel *channel, int error)
{
	if (!channel->error) {
		channel->error = error ? error : -ECONNRESET;
		shutdown(channel->fd, SHUT_RDWR); /* wakes who reads or sends */
		pthread_cond_broadcast(&channel->changed);
	}
	return channel->error;
}

void vfio_user_channel_shutdown(struct vfio_user_channel *channel, int error)
{
	pthread_mutex_lock(&channel->lock);
	channel_die(channel, error);
	pthread_mutex_unlock(&channel->lock);
}

int vfio_user_channel_error(struct vfio_user_channel *channel)
{
	int error;

	pthread_mutex_lock(&channel->lock);
	error = channel->error;
	pthread_mutex_unlock(&channel->lock);
	return error;
}

int vfio_user_channel_fd(const struct vfio_user_channel *channel)
{
	return channel->fd;
}

/* ---- reading ------------------------------------------------------------------------------------ */

int channel_poll(int fd, short events, uint64_t deadline)
{
	struct pollfd poll_fd = {.fd = fd, .events = events};
	const uint64_t now = host_now_ns();
	int timeout = -1;

	if (deadline != HOST_FOREVER)
		timeout = deadline <= now ? 0 : (int)((deadline - now + MS - 1) / MS);
	return poll(&poll_fd, 1, timeout) > 0 ? poll_fd.revents : 0;
}

/* Commands wait for their turn, replies go to their calls. Under the lock. */
static int deliver(struct vfio_user_channel *channel, struct vfio_user_packet *packet)
{
	const struct vfio_user_header header = packet->header;
	struct vfio_user_call *call = channel->calls;

	packet->next = NULL;
	if ((header.flags & VFIO_USER_FLAGS_TYPE) == VFIO_USER_FLAGS_COMMAND) {
		channel->queued_bytes += sizeof(*packet) + packet->size;
		channel->queued_fds += packet->fd_count;
		*channel->queue_tail = packet;
		channel->queue_tail = &packet->next;
		return 0;
	}
	while (call && (call->id != header.msg_id || call->reply))
		call = call->next;
	if (call && call->command == header.command) {
		call->reply = packet;
		return 0;
	}
	vfio_user_packet_free(packet);
	if (!call && channel->abandoned[header.msg_id / 64] & 1ull << header.msg_id % 64) {
		channel->abandoned[header.msg_id / 64] &= ~(1ull << header.msg_id % 64);
		channel->abandoned_count--;
		return 0;
	}
	return -EPROTO;
}

/* One message of the kernel's has all that came with it: nothing else was asked for (SO_PASSCRED and the like). */
static unsigned take_fds(struct msghdr *message, int *fds)
{
	const struct cmsghdr *c = CMSG_FIRSTHDR(message);
	size_t bytes;

	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return 0;
	bytes = c->cmsg_len - CMSG_LEN(0);
	memcpy(fds, CMSG_DATA(c), bytes);
	return (unsigned)(bytes / sizeof(int));
}

/*
 * One read of what is there, waiting for it until @deadline (0: not at all), by who has the role and not
 * the lock. Returns the packets, or NULL with *@error: 0 nothing came (look at the clock and come
 * again), else what the channel is to die of, also along with packets.
 */
static struct vfio_user_packet *read_chunk(struct vfio_user_channel *channel, uint64_t deadline,
					   int *error)
{
	struct vfio_user_receiver *receiver = &channel->receiver;
	struct vfio_user_packet *packets = NULL, **tail = &packets;
	union {
		char bytes[CMSG_SPACE(SCM_MAX_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec room[2];
	struct msghdr message = {
		.msg_iov = room,
		.msg_iovlen = vfio_user_receiver_room(receiver, room),
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	const bool partial = vfio_user_receiver_partial(receiver);
	int fds[SCM_MAX_FDS], flags = MSG_CMSG_CLOEXEC;
	ssize_t n;

	*error = 0;
	if (partial && channel->partial_until < deadline)
		deadline = channel->partial_until;
	if (!deadline) {
		flags |= MSG_DONTWAIT;
	} else if (deadline != HOST_FOREVER &&
		   (!channel->config.serve || deadline < host_now_ns() + READ_SLICE_MS * MS)) {
		channel_poll(channel->fd, POLLIN, deadline);
		flags |= MSG_DONTWAIT;
	}
	n = recvmsg(channel->fd, &message, flags);
	if (n > 0) {
		*error = vfio_user_receiver_take(receiver, (size_t)n, fds, take_fds(&message, fds),
						 message.msg_flags & MSG_CTRUNC, &tail);
		if (!partial || packets)
			channel->partial_until =
				host_now_ns() + channel->config.message_timeout_ms * MS;
		return packets;
	}
	if (n == 0)
		*error = -ECONNRESET;
	else if (errno != EAGAIN && errno != EINTR)
		*error = errno == EPIPE ? -ECONNRESET : -errno;
	else if (partial && host_now_ns() >= channel->partial_until)
		*error = -ETIMEDOUT;
	return NULL;
}

/* Read as the one who reads. Under the lock, which is let go meanwhile. */
void channel_read(struct vfio_user_channel *channel, uint64_t deadline)
{
	struct vfio_user_packet *packets, *next;
	int error, rc;

	channel->reading = true;
	pthread_mutex_unlock(&channel->lock);
	packets = read_chunk(channel, deadline, &error);
	pthread_mutex_lock(&channel->lock);
	channel->reading = false;
	for (; packets; packets = next) {
		next = packets->next;
		rc = deliver(channel, packets);
		if (rc && !error)
			error = rc;
	}
	if (error)
		channel_die(channel, error);
	if (channel->followers)
		pthread_cond_broadcast(&channel->changed);
}

bool channel_queue_full(const struct vfio_user_channel *channel)
{
	return channel->queued_bytes >= MAX_QUEUED_BYTES || channel->queued_fds >= MAX_QUEUED_FDS;
}

/* ---- waiting ------------------------------------------------------------------------------------ */

/* Serve the commands that are there. Under the lock, which is let go meanwhile. */
void channel_serve(struct vfio_user_channel *channel, bool may_wait)
{
	struct vfio_user_packet *packet;

	if (!channel->config.serve || channel->serving)
		return;
	channel->serving = true;
	channel->may_wait = may_wait;
	while (!channel->error && (may_wait || !channel->rest) && (packet = queue_pop(channel))) {
		pthread_mutex_unlock(&channel->lock);
		channel->config.serve(channel->config.ctx, packet);
		vfio_user_packet_free(packet);
		pthread_mutex_lock(&channel->lock);
	}
	channel->serving = false;
}

static bool wait_until(struct vfio_user_channel *channel, uint64_t deadline)
{
	int rc;

	channel->followers++;
	rc = host_cond_wait(&channel->changed, &channel->lock, deadline);
	channel->followers--;
	return rc == 0;
}

/* Until @packet is there. Under the lock. 0, -ETIMEDOUT, or what the channel died of. */
static int wait_for(struct vfio_user_channel *channel, struct vfio_user_packet **packet,
		    uint64_t deadline)
{
	for (;;) {
		if (packet != &channel->queue)
			channel_serve(channel, true);
		if (*packet)
			return 0;
		if (channel->error)
			return channel->error;
		if (deadline != HOST_FOREVER && host_now_ns() >= deadline)
			return -ETIMEDOUT;
		if (channel_queue_full(channel))
			return channel_die(channel, -ENOBUFS);
		if (channel->reading)
			wait_until(channel, deadline);
		else
			channel_read(channel, deadline);
	}
}

/* ---- calls -------------------------------------------------------------------------------------- */

static bool id_in_use(const struct vfio_user_channel *channel, uint16_t id)
{
	if (channel->abandoned[id / 64] & 1ull << id % 64)
		return true;
	for (const struct vfio_user_call *call = channel->calls; call; call = call->next) {
		if (call->id == id)
			return true;
	}
	return false;
}

static int call_begin(struct vfio_user_channel *channel, struct vfio_user_call *call)
{
	if (channel->error)
		return channel->error;
	if (channel->abandoned_count >= MAX_ABANDONED)
		return -EAGAIN;
	do
		channel->last_id++;
	while (id_in_use(channel, channel->last_id));
	call->id = channel->last_id;
	call->next = channel->calls;
	channel->calls = call;
	return 0;
}

static void call_end(struct vfio_user_channel *channel, struct vfio_user_call *call)
{
	struct vfio_user_call **link = &channel->calls;

	while (*link != call)
		link = &(*link)->next;
	*link = call->next;
}

int vfio_user_channel_call(struct vfio_user_channel *channel, struct vfio_user_message *command,
			   const int *fds, unsigned fd_count, unsigned timeout_ms,
			   struct vfio_user_packet **reply)
{
	const uint64_t deadline = host_now_ns() + timeout_ms * MS;
	struct vfio_user_call call = {.command = command->command};
	int rc;

	*reply = NULL;
	pthread_mutex_lock(&channel->lock);
	rc = call_begin(channel, &call);
	pthread_mutex_unlock(&channel->lock);
	if (rc)
		return rc;

	command->id = call.id;
	rc = vfio_user_channel_send(channel, command, fds, fd_count);

	pthread_mutex_lock(&channel->lock);
	if (!rc) {
		rc = wait_for(channel, &call.reply, deadline);
		if (rc == -ETIMEDOUT && !channel->error) {
			channel->abandoned[call.id / 64] |= 1ull << call.id % 64;
			channel->abandoned_count++;
		}
	}
	call_end(channel, &call);
	/* Whoever waits on may have to read now. */
	if (channel->followers)
		pthread_cond_broadcast(&channel->changed);
	pthread_mutex_unlock(&channel->lock);
	if (rc)
		vfio_user_packet_free(call.reply); /* of a peer that answers before it is asked */
	else
		*reply = call.reply;
	return rc;
}

/* ---- commands of the peer ----------------------------------------------------------------------- */

int vfio_user_channel_next(struct vfio_user_channel *channel, int timeout_ms,
			   struct vfio_user_packet **command)
{
	const uint64_t deadline =
		timeout_ms < 0 ? HOST_FOREVER : host_now_ns() + (unsigned)timeout_ms * MS;
	int rc;

	pthread_mutex_lock(&channel->lock);
	rc = wait_for(channel, &channel->queue, deadline);
	*command = rc ? NULL : queue_pop(channel);
	if (channel->followers)
		pthread_cond_broadcast(&channel->changed);
	pthread_mutex_unlock(&channel->lock);
	return rc;
}

int vfio_user_channel_dispatch(struct vfio_user_channel *channel, uint32_t *watch)
{
	int error;

	pthread_mutex_lock(&channel->lock);
	if (channel->rest) {
		pthread_mutex_unlock(&channel->lock);
		channel_push_rest(channel);
		pthread_mutex_lock(&channel->lock);
	}
	channel_serve(channel, false);
	if (!channel->error && !channel->reading && !channel_queue_full(channel)) {
		channel_read(channel, 0);
		channel_serve(channel, false);
	}
	*watch = EPOLLIN | EPOLLRDHUP;
	if (channel->rest)
		*watch = channel_queue_full(channel) ? EPOLLOUT : EPOLLIN | EPOLLRDHUP | EPOLLOUT;
	error = channel->error;
	pthread_mutex_unlock(&channel->lock);
	return error;
}
