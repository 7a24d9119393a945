// SPDX-License-Identifier: Apache-2.0
/* One client: its commands in order, and what is left of it at the end. */
#include "devices/vfio/server/session.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "devices/vfio/message.h"
#include "vmm/base/eventfd.h"

#define GREETING_TIMEOUT_MS 10000

int session_create(struct vfio_device *vdev, struct ioas *ioas,
		   const struct vfio_server_config *config, struct vfio_user_channel *channel,
		   struct session **out)
{
	struct session *s = calloc(1, sizeof(*s));
	int rc = -ENOMEM;

	if (!s)
		return rc;
	s->vdev = vdev;
	s->ioas = ioas;
	s->config = config;
	s->channel = channel;
	s->migration_fd = s->event_fds[0] = s->event_fds[1] = -1;
	s->own = (struct vfio_user_limits){VFIO_USER_MAX_MSG_FDS, VFIO_USER_MAX_DATA_XFER_SIZE};
	s->peer = s->own;
	pthread_mutex_init(&s->lock, NULL);
	s->buffer = malloc(VFIO_USER_MAX_DATA_XFER_SIZE);
	s->doorbell_fds = calloc(config->doorbell_count + 1, sizeof(*s->doorbell_fds));
	if (!s->buffer || !s->doorbell_fds)
		goto free_session;
	for (unsigned i = 0; i < config->doorbell_count; i++)
		s->doorbell_fds[i] = -1;
	rc = eventfd_signaller_create(&s->signaller);
	if (!rc)
		rc = session_load_regions(s);
	if (!rc)
		rc = session_load_irqs(s);
	if (rc)
		goto free_session;
	*out = s;
	return 0;

free_session:
	eventfd_signaller_destroy(s->signaller);
	free(s->doorbell_fds);
	free(s->buffer);
	pthread_mutex_destroy(&s->lock);
	free(s);
	return rc;
}

int session_destroy(struct session *s)
{
	int rc = -EOPNOTSUPP;

	session_release_doorbells(s);
	session_release_irqs(s);
	session_release_features(s);
	/* The device stops its DMA by the reset, so before its memory goes. */
	if (s->device_flags & VFIO_DEVICE_FLAGS_RESET)
		rc = vfio_device_ioctl(s->vdev, VFIO_DEVICE_RESET, NULL);
	session_release_maps(s);
	eventfd_signaller_destroy(s->signaller);
	pthread_mutex_destroy(&s->lock);
	free(s->buffer);
	free(s);
	return rc;
}

/* ---- commands ----------------------------------------------------------------------------------- */

static int greet(struct session *s, const struct vfio_user_message *in, struct server_reply *out)
{
	struct vfio_user_version own, proposed, answer;
	int rc;

	if (s->greeted)
		return -EINVAL;
	rc = vfio_user_version_decode(in, &proposed);
	if (rc)
		return rc;
	vfio_user_version_own(&own);
	if (s->vdev->mig_ops)
		own.migration_pgsize = 4096;
	rc = vfio_user_version_answer(&own, &proposed, &answer, &s->peer);
	if (rc)
		return rc;
	rc = vfio_user_version_encode(&answer, (char *)s->buffer, VFIO_USER_MAX_VERSION_TEXT);
	if (rc < 0)
		return rc;
	out->message.version =
		(struct vfio_user_version_header){.major = answer.major, .minor = answer.minor};
	out->message.data = s->buffer;
	out->message.data_size = (size_t)rc;
	s->greeted = true;
	vfio_debug(s->vdev->dev, 0,
		   "client speaks %u.%u, takes %u descriptors and %u bytes a message",
		   proposed.major, proposed.minor, s->peer.max_msg_fds, s->peer.max_data_xfer_size);
	return 0;
}

static int irq_info(struct session *s, struct server_reply *out)
{
	struct vfio_irq_info *info = &out->message.irq_info;

	if (info->index >= s->irq_count)
		return -EINVAL;
	info->argsz = sizeof(*info);
	info->flags = s->irqs[info->index].flags;
	info->count = s->irqs[info->index].count;
	return 0;
}

static int reset(struct session *s)
{
	return s->device_flags & VFIO_DEVICE_FLAGS_RESET
		       ? vfio_device_ioctl(s->vdev, VFIO_DEVICE_RESET, NULL)
		       : -EOPNOTSUPP;
}

static int execute(struct session *s, const struct vfio_user_message *in,
		   struct vfio_user_packet *packet, struct server_reply *out)
{
	switch (in->command) {
	case VFIO_USER_VERSION:
		return greet(s, in, out);
	case VFIO_USER_DMA_MAP:
		return session_dma_map(s, in, packet);
	case VFIO_USER_DMA_UNMAP:
		return session_dma_unmap(s, in);
	case VFIO_USER_DEVICE_GET_INFO:
		out->message.device_info = (struct vfio_user_device_info){
			sizeof(out->message.device_info), s->device_flags, s->region_count,
			s->irq_count};
		return 0;
	case VFIO_USER_DEVICE_GET_REGION_INFO:
		return session_region_info(s, in, out);
	case VFIO_USER_DEVICE_GET_REGION_IO_FDS:
		return session_io_fds(s, in, out);
	case VFIO_USER_DEVICE_GET_IRQ_INFO:
		return irq_info(s, out);
	case VFIO_USER_DEVICE_SET_IRQS:
		return session_set_irqs(s, in, packet);
	case VFIO_USER_REGION_READ:
		return session_region_read(s, in, out);
	case VFIO_USER_REGION_WRITE:
		return session_region_write(s, in, out);
	case VFIO_USER_DEVICE_RESET:
		return reset(s);
	case VFIO_USER_REGION_WRITE_MULTI:
		return session_write_multi(s, in, out);
	case VFIO_USER_DEVICE_FEATURE:
		return session_feature(s, in, out);
	case VFIO_USER_MIG_DATA_READ:
		return session_mig_data_read(s, in, out);
	case VFIO_USER_MIG_DATA_WRITE:
		return session_mig_data_write(s, in);
	default:
		return -ENOTSUP; /* a command of the other direction */
	}
}

int session_answer(struct session *s, struct vfio_user_packet *packet, struct server_reply *reply)
{
	struct vfio_user_message in;
	int rc;

	rc = vfio_user_decode_command(&packet->header, packet->payload, packet->size,
				      packet->fd_count, &s->own, &in);
	reply->fd_count = 0;
	reply->message = in;
	reply->message.reply = true;
	reply->message.data = NULL;
	reply->message.data_size = 0;
	if (!s->greeted && (rc || in.command != VFIO_USER_VERSION))
		return -EPROTO;
	if (!rc)
		rc = packet->error;
	if (!rc)
		rc = execute(s, &in, packet, reply);
	/* Who does not agree on how to speak cannot go on. */
	if (rc && !s->greeted)
		return -EPROTO;
	if (rc < 0) {
		reply->message.error = (uint32_t)-rc;
		reply->fd_count = 0;
		vfio_debug(s->vdev->dev, rc, "client: %s: %m",
			   vfio_user_command_name(in.command) ?: "unknown command");
	}
	return 0;
}

int session_run(struct session *s)
{
	struct vfio_user_packet *packet;
	struct server_reply reply;
	int rc;

	for (;;) {
		rc = vfio_user_channel_next(s->channel, s->greeted ? -1 : GREETING_TIMEOUT_MS,
					    &packet);
		if (rc)
			return rc;
		rc = session_answer(s, packet, &reply);
		/* Data of the reply may lie in the packet. */
		if (!rc && !reply.message.no_reply)
			rc = vfio_user_channel_send(s->channel, &reply.message, reply.fds,
						    reply.fd_count);
		vfio_user_packet_free(packet);
		if (rc)
			return rc;
	}
}
