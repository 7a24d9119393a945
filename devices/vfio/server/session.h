/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the server share; nobody else includes it but the fuzzers.
 *
 * A session is one client: it has a thread of its own, which takes the client's commands one after the
 * other and answers each. Everything in it belongs to that thread, but for what `lock` guards.
 */
#ifndef SLUICE_VFIO_SERVER_SESSION_H
#define SLUICE_VFIO_SERVER_SESSION_H

#include <pthread.h>

#include "devices/vfio/device.h"
#include "devices/vfio/server/server.h"
#include "devices/vfio/user/channel.h"
#include "devices/vfio/user/protocol.h"
#include "vmm/base/dma.h"

#define SERVER_MAX_REGIONS 64
#define SERVER_MAX_IRQS    16

struct loop_source;

struct server_region {
	uint64_t offset; /* of the contract's read and write */
	uint64_t size;
	uint32_t flags;
};

struct server_irq {
	uint32_t flags;
	uint32_t count;
};

/* One DMA_MAP of the client. */
struct server_map {
	uint64_t iova, size;
	uint64_t offset; /* in @fd */
	int fd;          /* -1: by messages */
	void *mapping;   /* NULL: by messages or file I/O; else @mapped bytes, pages whole */
	size_t mapped;
	void *hva; /* of @iova in it */
	struct session *session;
};

/* What answers a command. */
struct server_reply {
	struct vfio_user_message message;
	int fds[VFIO_USER_MAX_MSG_FDS]; /* stay who they belong to */
	unsigned fd_count;
};

struct session {
	struct vfio_device *vdev;
	struct ioas *ioas;
	const struct vfio_server_config *config;
	struct vfio_user_channel *channel;

	uint32_t device_flags;
	uint32_t region_count, irq_count;

	bool greeted;
	bool gave_memory;             /* of a region, by descriptor */
	struct vfio_user_limits own;  /* what we take */
	struct vfio_user_limits peer; /* what we send */

	struct server_map **maps; /* sorted by iova */
	uint32_t map_count, map_room;

	uint64_t irqs_on;  /* indices that have eventfds */
	int *doorbell_fds; /* of each config->doorbells; -1 until they are asked for */
	int migration_fd;  /* of the session of the device; -1 */
	bool low_power;
	uint8_t *buffer; /* VFIO_USER_MAX_DATA_XFER_SIZE */

	pthread_mutex_t lock;
	int event_fds[2]; /* ERR, REQ: the client's; -1 */
	struct eventfd_signaller *signaller;

	struct server_region regions[SERVER_MAX_REGIONS]; /* region_count */
	struct server_irq irqs[SERVER_MAX_IRQS];          /* irq_count */
};

/*
 * A session over @channel, which stays the caller's. Asks the device for its regions and interrupts.
 * -ENOMEM, -E2BIG more of them than are served, or what the device says.
 */
int session_create(struct vfio_device *vdev, struct ioas *ioas,
		   const struct vfio_server_config *config, struct vfio_user_channel *channel,
		   struct session **out);
/*
 * Take back all that the client had of the device and reset it. 0, or why the device is not as after
 * power-on (-EOPNOTSUPP: it knows no reset).
 */
int session_destroy(struct session *session);

/*
 * Do what @packet asks and say what to answer (unless reply->message.no_reply). Returns 0, also for
 * what is refused, or -EPROTO: the client is to be sent away.
 */
int session_answer(struct session *session, struct vfio_user_packet *packet,
		   struct server_reply *reply);

/* Serve until the channel is dead. Returns what it died of. */
int session_run(struct session *session);

/* The device's own events for the client, on the loop thread. False: the client does not listen. */
bool session_signal(struct session *session, unsigned irq_index);

/*
 * The commands, by file. Each returns 0 or the -errno to answer; out->message has id, command and the
 * fixed part of the command, and may be given data and descriptors.
 */

/* regions.c */
int session_load_regions(struct session *session);
int session_region_info(struct session *session, const struct vfio_user_message *in,
			struct server_reply *out);
int session_region_read(struct session *session, const struct vfio_user_message *in,
			struct server_reply *out);
int session_region_write(struct session *session, const struct vfio_user_message *in,
			 struct server_reply *out);
int session_write_multi(struct session *session, const struct vfio_user_message *in,
			struct server_reply *out);
int session_io_fds(struct session *session, const struct vfio_user_message *in,
		   struct server_reply *out);
void session_release_doorbells(struct session *session);

/* irqs.c */
int session_load_irqs(struct session *session);
int session_set_irqs(struct session *session, const struct vfio_user_message *in,
		     struct vfio_user_packet *packet);
void session_release_irqs(struct session *session);

/* dma.c */
int session_dma_map(struct session *session, const struct vfio_user_message *in,
		    struct vfio_user_packet *packet);
int session_dma_unmap(struct session *session, const struct vfio_user_message *in);
void session_release_maps(struct session *session);

/* feature.c */
int session_feature(struct session *session, const struct vfio_user_message *in,
		    struct server_reply *out);
int session_mig_data_read(struct session *session, const struct vfio_user_message *in,
			  struct server_reply *out);
int session_mig_data_write(struct session *session, const struct vfio_user_message *in);
void session_release_features(struct session *session);

#endif
