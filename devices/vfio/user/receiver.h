/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From chunks of a stream to whole messages with their descriptors. Part of the channel, apart from it
 * because it makes no call: what a hostile peer may send is tried out on it.
 */
#ifndef SLUICE_VFIO_USER_RECEIVER_H
#define SLUICE_VFIO_USER_RECEIVER_H

#include <sys/uio.h>

#include "devices/vfio/user/channel.h"

#define VFIO_USER_READ_AHEAD 32768

struct vfio_user_fds {
	int error; /* as of struct vfio_user_packet; then the list is empty */
	unsigned count;
	int fds[VFIO_USER_MAX_MSG_FDS];
};

struct vfio_user_receiver {
	size_t max_payload;
	uint8_t head[sizeof(struct vfio_user_header)];
	size_t head_filled;              /* of a header that is not complete */
	struct vfio_user_fds head_fds;   /* that came with its first bytes */
	struct vfio_user_packet *packet; /* header complete, payload not */
	size_t filled;
	uint8_t buffer[VFIO_USER_READ_AHEAD];
};

/* Whether a message was begun and is not complete. */
bool vfio_user_receiver_partial(const struct vfio_user_receiver *receiver);

/* Where the next bytes go: the rest of a payload, then the buffer. Returns 1 or 2. */
unsigned vfio_user_receiver_room(struct vfio_user_receiver *receiver, struct iovec room[2]);

/*
 * @size bytes (not 0) were put there by one recvmsg(), and with them came @fd_count descriptors, which
 * are the receiver's from now on, closed where nobody may have them; @fds_lost: and more that are lost
 * (MSG_CTRUNC). Whole messages are appended at *@tail, which is moved. -EPROTO, -ENOMEM: the stream
 * cannot be followed any more; messages before that are appended all the same.
 *
 * Descriptors ride on bytes, and the kernel ends a read behind bytes that carry some (net/unix/
 * af_unix.c, unix_stream_read_generic): they are those of the last message that begins in the
 * chunk, or, when none does, of the one that it continues.
 */
int vfio_user_receiver_take(struct vfio_user_receiver *receiver, size_t size, const int *fds,
			    unsigned fd_count, bool fds_lost, struct vfio_user_packet ***tail);

/* Frees what is half there. */
void vfio_user_receiver_destroy(struct vfio_user_receiver *receiver);

#endif
