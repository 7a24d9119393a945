// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/user/receiver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void close_all(const int *fds, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

void vfio_user_packet_free(struct vfio_user_packet *packet)
{
	if (!packet)
		return;
	close_all(packet->fds, packet->fd_count);
	free(packet);
}

/* More descriptors for a message: all of them, or none and the reason. */
static void fds_add(struct vfio_user_fds *to, const int *fds, unsigned count, bool lost)
{
	int error = to->error;

	if (!error && lost)
		error = -EMFILE;
	if (!error && count > VFIO_USER_MAX_MSG_FDS - to->count)
		error = -E2BIG;
	if (error) {
		close_all(fds, count);
		close_all(to->fds, to->count);
		to->count = 0;
		to->error = error;
		return;
	}
	for (unsigned i = 0; i < count; i++)
		to->fds[to->count++] = fds[i];
}

static void packet_add_fds(struct vfio_user_packet *packet, const int *fds, unsigned count,
			   bool lost)
{
	struct vfio_user_fds all = {.error = packet->error, .count = packet->fd_count};

	memcpy(all.fds, packet->fds, sizeof(all.fds));
	fds_add(&all, fds, count, lost);
	packet->error = all.error;
	packet->fd_count = all.count;
	memcpy(packet->fds, all.fds, sizeof(all.fds));
}

bool vfio_user_receiver_partial(const struct vfio_user_receiver *receiver)
{
	return receiver->packet || receiver->head_filled;
}

unsigned vfio_user_receiver_room(struct vfio_user_receiver *receiver, struct iovec room[2])
{
	unsigned count = 0;

	if (receiver->packet)
		room[count++] = (struct iovec){
			.iov_base = receiver->packet->payload + receiver->filled,
			.iov_len = receiver->packet->size - receiver->filled,
		};
	room[count++] = (struct iovec){receiver->buffer, sizeof(receiver->buffer)};
	return count;
}

static void packet_done(struct vfio_user_receiver *receiver, struct vfio_user_packet ***tail)
{
	**tail = receiver->packet;
	*tail = &receiver->packet->next;
	receiver->packet = NULL;
	receiver->filled = 0;
}

/* The header is complete. */
static int packet_begin(struct vfio_user_receiver *receiver)
{
	struct vfio_user_packet *packet;
	struct vfio_user_header header;
	size_t size;
	int rc;

	memcpy(&header, receiver->head, sizeof(header));
	rc = vfio_user_check_header(&header, receiver->max_payload);
	if (rc)
		return rc;
	size = header.msg_size - sizeof(header);
	packet = malloc(sizeof(*packet) + size);
	if (!packet)
		return -ENOMEM;
	*packet = (struct vfio_user_packet){
		.header = header,
		.error = receiver->head_fds.error,
		.fd_count = receiver->head_fds.count,
		.size = size,
	};
	memcpy(packet->fds, receiver->head_fds.fds, sizeof(packet->fds));
	receiver->head_fds = (struct vfio_user_fds){0};
	receiver->head_filled = 0;
	receiver->packet = packet;
	receiver->filled = 0;
	return 0;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

int vfio_user_receiver_take(struct vfio_user_receiver *receiver, size_t size, const int *fds,
			    unsigned fd_count, bool fds_lost, struct vfio_user_packet ***tail)
{
	struct vfio_user_packet *last = receiver->packet; /* that began last, header and all */
	const uint8_t *from = receiver->buffer;
	size_t part;
	int rc = 0;

	if (receiver->packet) {
		part = least(size, receiver->packet->size - receiver->filled);
		receiver->filled += part;
		size -= part;
		if (receiver->filled == receiver->packet->size)
			packet_done(receiver, tail);
	}
	while (size && !rc) {
		part = least(size, sizeof(receiver->head) - receiver->head_filled);
		memcpy(receiver->head + receiver->head_filled, from, part);
		receiver->head_filled += part;
		from += part;
		size -= part;
		if (receiver->head_filled < sizeof(receiver->head))
			break;
		rc = packet_begin(receiver);
		if (rc)
			break;

		last = receiver->packet;
		part = least(size, last->size);
		if (part)
			memcpy(last->payload, from, part);
		receiver->filled = part;
		from += part;
		size -= part;
		if (part == last->size)
			packet_done(receiver, tail);
	}

	if (!fd_count && !fds_lost)
		return rc;
	if (receiver->head_filled || !last)
		fds_add(&receiver->head_fds, fds, fd_count, fds_lost);
	else
		packet_add_fds(last, fds, fd_count, fds_lost);
	return rc;
}

void vfio_user_receiver_destroy(struct vfio_user_receiver *receiver)
{
	vfio_user_packet_free(receiver->packet);
	close_all(receiver->head_fds.fds, receiver->head_fds.count);
	receiver->packet = NULL;
	receiver->head_fds.count = 0;
	receiver->head_filled = 0;
}
