// SPDX-License-Identifier: Apache-2.0
/* DEVICE_FEATURE and the data of a migration. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/vfio/server/session.h"

#define GET   VFIO_DEVICE_FEATURE_GET
#define SET   VFIO_DEVICE_FEATURE_SET
#define PROBE VFIO_DEVICE_FEATURE_PROBE

#define SMALL 64 /* bytes of the largest plain feature */

/*
 * What a client may have. Not: those whose payload is a descriptor or a pointer of the caller's
 * (LOW_POWER_ENTRY_WITH_WAKEUP, DMA_BUF), which would be the server's, and the owner's token.
 */
static bool allowed(uint32_t index)
{
	switch (index) {
	case VFIO_DEVICE_FEATURE_MIGRATION:
	case VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE:
	case VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY:
	case VFIO_DEVICE_FEATURE_LOW_POWER_EXIT:
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_START:
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP:
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT:
	case VFIO_DEVICE_FEATURE_MIG_DATA_SIZE:
	case VFIO_DEVICE_FEATURE_BUS_MASTER:
	case VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2:
		return true;
	default:
		return false;
	}
}

/* One feature of @size bytes in @data, both ways. */
static int small(struct session *s, uint32_t flags, void *data, size_t size)
{
	uint64_t room[(sizeof(struct vfio_device_feature) + SMALL) / sizeof(uint64_t)] = {0};
	struct vfio_device_feature *feature = (struct vfio_device_feature *)room;
	int rc;

	if (size > SMALL)
		return -EINVAL;
	feature->argsz = (uint32_t)(sizeof(*feature) + size);
	feature->flags = flags;
	if (size)
		memcpy(feature->data, data, size);
	rc = vfio_device_ioctl(s->vdev, VFIO_DEVICE_FEATURE, feature);
	if (rc >= 0 && size)
		memcpy(data, feature->data, size);
	return rc < 0 ? rc : 0;
}

/* ---- state -------------------------------------------------------------------------------------- */

static bool has_session(uint32_t state)
{
	return state == VFIO_DEVICE_STATE_STOP_COPY || state == VFIO_DEVICE_STATE_RESUMING ||
	       state == VFIO_DEVICE_STATE_PRE_COPY || state == VFIO_DEVICE_STATE_PRE_COPY_P2P;
}

static void set_migration_fd(struct session *s, int fd)
{
	if (s->migration_fd >= 0)
		close(s->migration_fd);
	s->migration_fd = fd;
}

/* The descriptor of the data stays here; the client has MIG_DATA_READ and MIG_DATA_WRITE. */
static int device_state(struct session *s, uint32_t flags,
			struct vfio_device_feature_mig_state *state)
{
	const int rc = small(s, flags, state, sizeof(*state));

	if (rc || !(flags & SET) || (flags & PROBE))
		return rc;
	if (state->data_fd >= 0 || !has_session(state->device_state))
		set_migration_fd(s, state->data_fd);
	state->data_fd = -1;
	return 0;
}

/* ---- DMA logging -------------------------------------------------------------------------------- */

/* No ranges: everything that is mapped, in as few as the contract takes. */
static uint32_t all_ranges(const struct session *s, uint64_t page_size,
			   struct vfio_device_feature_dma_logging_range *range)
{
	const struct server_map *last;
	uint64_t end;

	if (!s->map_count || !page_size || page_size & (page_size - 1))
		return 0;
	last = s->maps[s->map_count - 1];
	range->iova = s->maps[0]->iova & ~(page_size - 1);
	if (__builtin_add_overflow(last->iova, last->size, &end) ||
	    __builtin_add_overflow(end, page_size - 1, &end))
		return 0;
	range->length = (end & ~(page_size - 1)) - range->iova;
	return 1;
}

static int logging_start(struct session *s, uint32_t flags, const struct vfio_user_message *in,
			 struct server_reply *out)
{
	struct vfio_device_feature_dma_logging_range all;
	struct vfio_device_feature_dma_logging_control control;
	struct vfio_user_logging_control wire;
	size_t rest;
	int rc;

	if (in->data_size < sizeof(wire))
		return -EINVAL;
	memcpy(&wire, in->data, sizeof(wire));
	rest = in->data_size - sizeof(wire);
	if (wire.reserved || rest != (uint64_t)wire.num_ranges * sizeof(all))
		return -EINVAL;
	control = (struct vfio_device_feature_dma_logging_control){
		.page_size = wire.page_size,
		.num_ranges = wire.num_ranges,
		.ranges = (uintptr_t)in->data + sizeof(wire),
	};
	/* The ranges lie 8 bytes into the packet's payload, and 16 into those: aligned. */
	if (!wire.num_ranges) {
		control.num_ranges = all_ranges(s, wire.page_size, &all);
		control.ranges = (uintptr_t)&all;
	}
	rc = small(s, flags, &control, sizeof(control));
	if (rc)
		return rc;
	wire.page_size = control.page_size;
	memcpy(s->buffer, &wire, sizeof(wire));
	memcpy(s->buffer + sizeof(wire), (const char *)in->data + sizeof(wire), rest);
	out->message.data = s->buffer;
	out->message.data_size = in->data_size;
	return 0;
}

static int logging_report(struct session *s, uint32_t flags, const struct vfio_user_message *in,
			  struct server_reply *out)
{
	struct vfio_device_feature_dma_logging_report report;
	struct vfio_user_logging_report wire;
	uint64_t pages, bytes;
	int rc;

	if (in->data_size < sizeof(wire))
		return -EINVAL;
	memcpy(&wire, in->data, sizeof(wire));
	if (!wire.page_size || wire.page_size & (wire.page_size - 1))
		return -EINVAL;
	pages = wire.length / wire.page_size + !!(wire.length % wire.page_size);
	bytes = (pages / 64 + !!(pages % 64)) * 8;
	if (bytes > VFIO_USER_MAX_DATA_XFER_SIZE - sizeof(wire))
		return -E2BIG;
	out->message.feature.argsz = (uint32_t)(sizeof(in->feature) + sizeof(wire) + bytes);
	if (out->message.feature.argsz > in->feature.argsz)
		return 0; /* how much it takes, and the client asks again */
	report = (struct vfio_device_feature_dma_logging_report){
		.iova = wire.iova,
		.length = wire.length,
		.page_size = wire.page_size,
		.bitmap = (uintptr_t)s->buffer + sizeof(wire),
	};
	memset(s->buffer + sizeof(wire), 0, bytes);
	rc = small(s, flags, &report, sizeof(report));
	if (rc)
		return rc;
	memcpy(s->buffer, &wire, sizeof(wire));
	out->message.data = s->buffer;
	out->message.data_size = sizeof(wire) + bytes;
	return 0;
}

/* ---- the command -------------------------------------------------------------------------------- */

/* How much a GET of the feature brings. */
static size_t size_of(uint32_t index)
{
	switch (index) {
	case VFIO_DEVICE_FEATURE_MIGRATION:
		return sizeof(struct vfio_device_feature_migration);
	case VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE:
		return sizeof(struct vfio_device_feature_mig_state);
	case VFIO_DEVICE_FEATURE_MIG_DATA_SIZE:
		return sizeof(struct vfio_device_feature_mig_data_size);
	default:
		return 0;
	}
}

static int plain(struct session *s, uint32_t flags, const struct vfio_user_message *in,
		 struct server_reply *out)
{
	const uint32_t index = flags & VFIO_DEVICE_FEATURE_MASK;
	const size_t size = flags & GET ? size_of(index) : in->data_size;
	uint64_t data[SMALL / sizeof(uint64_t)] = {0};
	int rc;

	if (size > sizeof(data))
		return -EINVAL;
	if ((flags & SET) && size)
		memcpy(data, in->data, size);
	if (index == VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE) {
		if (size < sizeof(struct vfio_device_feature_mig_state))
			return -EINVAL;
		rc = device_state(s, flags, (void *)data);
	} else {
		rc = small(s, flags, data, size);
	}
	if (rc)
		return rc;
	if (index == VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY && (flags & SET))
		s->low_power = true;
	else if (index == VFIO_DEVICE_FEATURE_LOW_POWER_EXIT && (flags & SET))
		s->low_power = false;
	out->message.feature.argsz = (uint32_t)(sizeof(in->feature) + size);
	if (out->message.feature.argsz > in->feature.argsz)
		return flags & SET ? 0 : -EINVAL;
	if (flags & SET) {
		out->message.data = in->data; /* the reply to a SET is its request */
	} else {
		memcpy(s->buffer, data, sizeof(data));
		out->message.data = s->buffer;
	}
	out->message.data_size = size;
	return 0;
}

int session_feature(struct session *s, const struct vfio_user_message *in, struct server_reply *out)
{
	const uint32_t flags = in->feature.flags, index = flags & VFIO_DEVICE_FEATURE_MASK;

	if (!allowed(index))
		return -ENOTTY;
	if (flags & ~(VFIO_DEVICE_FEATURE_MASK | GET | SET | PROBE))
		return -EINVAL;
	if (flags & PROBE)
		return small(s, flags, NULL, 0);
	if ((flags & (GET | SET)) != GET && (flags & (GET | SET)) != SET)
		return -EINVAL;
	if (index == VFIO_DEVICE_FEATURE_DMA_LOGGING_START)
		return logging_start(s, flags, in, out);
	if (index == VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT)
		return logging_report(s, flags, in, out);
	return plain(s, flags, in, out);
}

/* ---- data --------------------------------------------------------------------------------------- */

/*
 * Less than was asked for means that there is no more: so as much as there is. What fails on the way is an error
 * therefore, or the client took a stream that was cut off for whole.
 */
int session_mig_data_read(struct session *s, const struct vfio_user_message *in,
			  struct server_reply *out)
{
	uint32_t done = 0;
	ssize_t n = 0;

	if (s->migration_fd < 0 ||
	    in->mig_data.argsz < sizeof(in->mig_data) + (uint64_t)in->mig_data.size)
		return -EINVAL;
	while (done < in->mig_data.size) {
		n = vfio_device_mig_read(s->vdev, s->migration_fd, s->buffer + done,
					 in->mig_data.size - done);
		if (n <= 0)
			break;
		done += (uint32_t)n;
	}
	/* ENOMSG: all there is for now, in PRE_COPY. */
	if (n < 0 && n != -ENOMSG)
		return (int)n;
	out->message.mig_data = (struct vfio_user_mig_data){
		.argsz = (uint32_t)sizeof(in->mig_data) + done, .size = done};
	out->message.data = s->buffer;
	out->message.data_size = done;
	return 0;
}

int session_mig_data_write(struct session *s, const struct vfio_user_message *in)
{
	const char *bytes = in->data;
	size_t left = in->data_size;

	if (s->migration_fd < 0)
		return -EINVAL;
	while (left) {
		const ssize_t n = vfio_device_mig_write(s->vdev, s->migration_fd, bytes, left);

		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		bytes += n;
		left -= (size_t)n;
	}
	return 0;
}

void session_release_features(struct session *s)
{
	if (s->low_power)
		small(s, SET | VFIO_DEVICE_FEATURE_LOW_POWER_EXIT, NULL, 0);
	s->low_power = false;
	set_migration_fd(s, -1);
	if (s->vdev->dma_logging)
		small(s, SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, NULL, 0);
	pthread_mutex_lock(&s->vdev->lock);
	s->vdev->precopy_info_v2 = false;
	pthread_mutex_unlock(&s->vdev->lock);
}
