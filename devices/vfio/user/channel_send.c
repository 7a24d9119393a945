// SPDX-License-Identifier: Apache-2.0
/* Messages leave whole, one after another, and what the peer does not take of a reply waits for it. */
#include "devices/vfio/user/channel_private.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "vmm/base/host.h"

#define ROLE_SLICE_MS 10 /* a sender looks at the clock so often while another one reads for it */

/*
 * The peer takes nothing at the moment, maybe because it waits for us in the same way: read, unless
 * somebody does or the queue is full.
 */
static void wait_to_send(struct vfio_user_channel *channel, uint64_t deadline)
{
	const uint64_t soon = host_now_ns() + ROLE_SLICE_MS * MS;

	pthread_mutex_lock(&channel->lock);
	if (channel->reading || channel->error || channel_queue_full(channel)) {
		pthread_mutex_unlock(&channel->lock);
		channel_poll(channel->fd, POLLOUT, soon < deadline ? soon : deadline);
		return;
	}
	channel->reading = true; /* nobody else is to read between the poll and the read */
	pthread_mutex_unlock(&channel->lock);
	channel_poll(channel->fd, POLLIN | POLLOUT, deadline);
	pthread_mutex_lock(&channel->lock);
	channel_read(channel, 0);
	pthread_mutex_unlock(&channel->lock);
}

static void advance(struct msghdr *message, size_t done)
{
	while (message->msg_iovlen && done >= message->msg_iov->iov_len) {
		done -= message->msg_iov->iov_len;
		message->msg_iov++;
		message->msg_iovlen--;
	}
	if (message->msg_iovlen) {
		message->msg_iov->iov_base = (char *)message->msg_iov->iov_base + done;
		message->msg_iov->iov_len -= done;
	}
}

/* Under channel->send. -EAGAIN, unless it @may_wait: @message is what is left. */
static int send_whole(struct vfio_user_channel *channel, struct msghdr *message, bool may_wait)
{
	uint64_t deadline = 0;
	bool begun = false;
	int rc = 0;

	while (message->msg_iovlen && !rc) {
		const ssize_t n = sendmsg(channel->fd, message, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n >= 0) {
			begun = true;
			message->msg_control = NULL; /* gone with the first byte */
			message->msg_controllen = 0;
			advance(message, (size_t)n);
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN) {
			rc = errno == EPIPE ? -ECONNRESET : -errno;
			break;
		}
		if (!may_wait)
			return -EAGAIN;
		if (!deadline)
			deadline = host_now_ns() + channel->config.message_timeout_ms * MS;
		if (host_now_ns() >= deadline)
			rc = -ETIMEDOUT;
		else
			wait_to_send(channel, deadline);
	}
	if (!rc)
		return 0;
	/* Nothing went out for a reason of ours: the channel is none the worse. */
	if (!begun && rc != -ECONNRESET && rc != -ETIMEDOUT)
		return rc;
	pthread_mutex_lock(&channel->lock);
	rc = channel_die(channel, rc);
	pthread_mutex_unlock(&channel->lock);
	return rc;
}

/* Under channel->send. */
static int send_rest(struct vfio_user_channel *channel, bool may_wait)
{
	struct vfio_user_rest *rest;
	struct iovec iov;
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	int rc;

	pthread_mutex_lock(&channel->lock);
	rest = channel->rest;
	channel->rest = NULL;
	pthread_mutex_unlock(&channel->lock);
	if (!rest)
		return 0;
	iov = (struct iovec){rest->bytes + rest->done, rest->size - rest->done};
	rc = send_whole(channel, &message, may_wait);
	pthread_mutex_lock(&channel->lock);
	if (rc == -EAGAIN) {
		rest->done = rest->size - iov.iov_len;
		channel->rest = rest;
		rest = NULL;
		rc = 0;
	} else if (rc) {
		rc = channel_die(channel, rc); /* the first part of it may be gone */
	}
	pthread_mutex_unlock(&channel->lock);
	free(rest);
	return rc;
}

void channel_push_rest(struct vfio_user_channel *channel)
{
	/* Who sends now may wait for the peer, and sends it first if it was there first. */
	if (pthread_mutex_trylock(&channel->send))
		return;
	send_rest(channel, false);
	pthread_mutex_unlock(&channel->send);
}

/* A reply of the one who dispatches: what the peer does not take at once stays. */
static int send_without_waiting(struct vfio_user_channel *channel, const struct iovec *iov)
{
	struct vfio_user_rest *rest = malloc(sizeof(*rest) + iov[0].iov_len + iov[1].iov_len);
	int rc = 0;

	if (rest) {
		rest->done = 0;
		rest->size = iov[0].iov_len + iov[1].iov_len;
		memcpy(rest->bytes, iov[0].iov_base, iov[0].iov_len);
		if (iov[1].iov_len)
			memcpy(rest->bytes + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
	}
	pthread_mutex_lock(&channel->lock);
	channel->rest = rest;
	if (!rest)
		rc = channel_die(channel, -ENOMEM);
	pthread_mutex_unlock(&channel->lock);
	channel_push_rest(channel);
	return rc;
}

/* Is this a reply of the one who dispatches? Nobody else replies while commands are served. */
static bool must_not_wait(struct vfio_user_channel *channel,
			  const struct vfio_user_message *message)
{
	bool must_not;

	pthread_mutex_lock(&channel->lock);
	must_not = message->reply && channel->serving && !channel->may_wait;
	pthread_mutex_unlock(&channel->lock);
	return must_not;
}

int vfio_user_channel_send(struct vfio_user_channel *channel,
			   const struct vfio_user_message *message, const int *fds,
			   unsigned fd_count)
{
	uint8_t head[VFIO_USER_ENCODED_MAX];
	union {
		char bytes[CMSG_SPACE(VFIO_USER_MAX_MSG_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov[2] = {
		{.iov_base = head, .iov_len = vfio_user_encode(message, head)},
		{.iov_base = (void *)(uintptr_t)message->data,
		 .iov_len = message->error ? 0 : message->data_size},
	};
	struct msghdr msghdr = {.msg_iov = iov, .msg_iovlen = iov[1].iov_len ? 2 : 1};
	int rc;

	if (fd_count > VFIO_USER_MAX_MSG_FDS)
		return -E2BIG;
	if (fd_count) {
		memset(&control, 0, sizeof(control));
		control.align = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(fd_count * sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
		};
		memcpy(CMSG_DATA(&control.align), fds, fd_count * sizeof(int));
		msghdr.msg_control = &control;
		msghdr.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
	}
	if (!fd_count && must_not_wait(channel, message))
		return send_without_waiting(channel, iov);
	pthread_mutex_lock(&channel->send);
	rc = vfio_user_channel_error(channel);
	if (!rc)
		rc = send_rest(channel, true);
	if (!rc)
		rc = send_whole(channel, &msghdr, true);
	pthread_mutex_unlock(&channel->send);

	/* What was read while the peer took nothing, and nobody else may come to. */
	pthread_mutex_lock(&channel->lock);
	channel_serve(channel, true);
	pthread_mutex_unlock(&channel->lock);
	return rc;
}
