/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two locks. `send` makes messages leave whole, one after another. `lock` guards all else and is never
 * held over a system call that may wait. Who sets `reading` alone touches the receiver and reads.
 *
 * Who dispatches must not wait for the peer. What the peer does not take of its reply is the rest, and no
 * more commands are served there until that is gone: with the next that is sent, or when the peer takes it.
 */
#ifndef SLUICE_VFIO_USER_CHANNEL_PRIVATE_H
#define SLUICE_VFIO_USER_CHANNEL_PRIVATE_H

#include <pthread.h>

#include "devices/vfio/user/channel.h"
#include "devices/vfio/user/receiver.h"

#define MS 1000000ull /* in the unit of host_now_ns() */

/* Of a reply: it leaves before anything else. */
struct vfio_user_rest {
	size_t size, done;
	uint8_t bytes[];
};

struct vfio_user_call {
	struct vfio_user_call *next;
	uint16_t id;
	uint16_t command;
	struct vfio_user_packet *reply;
};

/* What is used most comes first, here and in all that is large: a small offset is a short instruction. */
struct vfio_user_channel {
	int fd;

	int error;
	pthread_mutex_t lock;
	bool reading;                /* somebody reads */
	bool serving;                /* somebody is in config.serve, */
	bool may_wait;               /* and may wait for the peer there; the server's own */
	struct vfio_user_rest *rest; /* taken out only with `send` */
	unsigned followers;          /* who wait for what the reader brings */
	struct vfio_user_call *calls;
	struct vfio_user_packet *queue, **queue_tail; /* commands of the peer */
	size_t queued_bytes;
	unsigned queued_fds;
	uint16_t last_id;
	unsigned abandoned_count;
	pthread_cond_t changed;
	uint64_t abandoned[65536 / 64]; /* ids of calls given up, whose reply may still come */

	pthread_mutex_t send;
	struct vfio_user_channel_config config;
	uint64_t partial_until; /* for the rest of a message that was begun */
	struct vfio_user_receiver receiver;
};

/* channel.c. Under the lock, but for channel_poll(); it is let go where that is said. */

/* Returns what it died of: @error (0: -ECONNRESET), or what came first. */
int channel_die(struct vfio_user_channel *channel, int error);
/* Are there as many commands as may be kept? */
bool channel_queue_full(const struct vfio_user_channel *channel);
/* Read as the one who reads. The lock is let go meanwhile. */
void channel_read(struct vfio_user_channel *channel, uint64_t deadline);
/* Serve the commands that are there; who may not @may_wait ends with a reply that stays. It is let go meanwhile. */
void channel_serve(struct vfio_user_channel *channel, bool may_wait);
/* The events that came before @deadline, 0: none. */
int channel_poll(int fd, short events, uint64_t deadline);

/* channel_send.c. Send what is left of a reply, as far as the peer takes it. */
void channel_push_rest(struct vfio_user_channel *channel);

#endif
