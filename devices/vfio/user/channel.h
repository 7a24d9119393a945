/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection of vfio-user: whole messages with their descriptors over a UNIX stream socket.
 *
 * Any thread may call a command and wait for its reply; there is no thread of the channel's own. Of
 * those who wait one reads for all: replies go to their callers by id, commands of the peer to the
 * owner. So commands that come while a reply is waited for are served or kept, never in the way
 * (a server that needs DMA_READ to answer a REGION_READ would hang otherwise), and whoever cannot
 * send because the peer's buffer is full reads meanwhile.
 *
 * A channel dies once, with one errno, by a closed connection (-ECONNRESET), a message that cannot be
 * followed or a reply that nobody waits for (-EPROTO), a message begun and not finished in time
 * (-ETIMEDOUT), more commands than may be kept (-ENOBUFS), or -errno of the socket. Every call says
 * so from then on. Descriptors that came are closed unless they were taken out of their packet.
 */
#ifndef SLUICE_VFIO_USER_CHANNEL_H
#define SLUICE_VFIO_USER_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/vfio/user/protocol.h"

struct vfio_user_channel;

/* One message as it came. */
struct vfio_user_packet {
	struct vfio_user_packet *next; /* the channel's */
	struct vfio_user_header header;
	/*
	 * 0, or why its descriptors are not there: -EMFILE this process could not take them all,
	 * -E2BIG more came than VFIO_USER_MAX_MSG_FDS. Of those that came none is left.
	 */
	int error;
	unsigned fd_count;
	int fds[VFIO_USER_MAX_MSG_FDS]; /* close-on-exec; -1: taken out */
	size_t size;                    /* bytes behind the header */
	uint8_t payload[];
};

struct vfio_user_channel_config {
	/*
	 * Serve a command of the peer, on a thread that waits for a reply or calls
	 * vfio_user_channel_dispatch(); one at a time, in the order of the commands. It may send and
	 * call, and replies once. It does not free @packet, but may take descriptors out. NULL: commands
	 * are kept for vfio_user_channel_next().
	 */
	void (*serve)(void *ctx, struct vfio_user_packet *packet);
	void *ctx;
	/* Bytes that may be behind a header; 0: VFIO_USER_MAX_PAYLOAD. */
	size_t max_payload;
	/* To finish a message that was begun, either way; 0: 5000. */
	unsigned message_timeout_ms;
};

/*
 * Takes over the connected stream socket @fd on success; it stays in blocking mode. -ENOMEM, -errno of
 * the socket.
 */
int vfio_user_channel_create(int fd, const struct vfio_user_channel_config *config,
			     struct vfio_user_channel **out);
/* No thread is inside any more. NULL is allowed. */
void vfio_user_channel_destroy(struct vfio_user_channel *channel);

/*
 * Kill the channel with @error (negative, 0: -ECONNRESET): every thread that waits returns. Any thread,
 * any number of times; the first error stays.
 */
void vfio_user_channel_shutdown(struct vfio_user_channel *channel, int error);

/* 0, or what it died of. */
int vfio_user_channel_error(struct vfio_user_channel *channel);

/* The socket, to watch for EPOLLIN and EPOLLRDHUP; not to read, write or close. */
int vfio_user_channel_fd(const struct vfio_user_channel *channel);

/*
 * Send @message (its id counts when it is a reply or wants none) with @fds, which stay the
 * caller's. -errno of a dead channel; -ETIMEDOUT (and dead) when the peer took a part and no more.
 */
int vfio_user_channel_send(struct vfio_user_channel *channel,
			   const struct vfio_user_message *message, const int *fds,
			   unsigned fd_count);

/*
 * Send @command with an id of its own and wait up to @timeout_ms for the reply, the caller's by
 * vfio_user_packet_free(). message->id is set. -ETIMEDOUT: no reply in time, and the channel lives on (a
 * late one is dropped); -EAGAIN: 32768 calls were given up already; or what the channel died of.
 */
int vfio_user_channel_call(struct vfio_user_channel *channel, struct vfio_user_message *command,
			   const int *fds, unsigned fd_count, unsigned timeout_ms,
			   struct vfio_user_packet **reply);

/*
 * The next command of the peer, the caller's. Waits up to @timeout_ms, -1 without end. -ETIMEDOUT none
 * came; or what the channel died of, once all that came before was handed out.
 */
int vfio_user_channel_next(struct vfio_user_channel *channel, int timeout_ms,
			   struct vfio_user_packet **command);

/*
 * Read what is there without waiting and serve it, for a loop that watches the socket. A reply that the peer
 * does not take stays behind, and the next command waits for that: *@watch are the events of epoll(7) by
 * which to come again. Returns 0, also when another thread is reading, or what the channel died of.
 */
int vfio_user_channel_dispatch(struct vfio_user_channel *channel, uint32_t *watch);

/* Closes the descriptors that are left. NULL is allowed. */
void vfio_user_packet_free(struct vfio_user_packet *packet);

#endif
