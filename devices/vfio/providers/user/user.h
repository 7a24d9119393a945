/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the user provider share; nobody else includes it.
 *
 * Locks: dma_lock (the maps that the server has) and migration_lock are held over calls, which are
 * bounded by the timeout, and so is reconnect_lock, around both; turn is held over one call, inside
 * all of these; who serves a command of the server,
 * maybe inside such a call, takes neither.
 * space_lock, log_lock and lock (the connection and its users) are leaves.
 */
#ifndef SLUICE_VFIO_USER_USER_H
#define SLUICE_VFIO_USER_USER_H

#include <pthread.h>
#include <stdatomic.h>

#include "devices/vfio/device.h"
#include "devices/vfio/providers/user/options.h"
#include "devices/vfio/reference/dirty_log.h"
#include "devices/vfio/user/channel.h"
#include "devices/vfio/user/protocol.h"
#include "vmm/base/dma.h"

struct loop;
struct loop_source;

#define USER_MAX_REGIONS  64 /* PCI has 9 */
#define USER_MAX_IRQS     64 /* PCI has 5 */
#define USER_REGION_SHIFT 48 /* of the offsets that we hand out: index above, byte below */

/* Mapping and unmapping memory: beyond the timeout, a second for so much of it, up to a day. */
#define USER_BYTES_PER_SECOND (256ull << 20)
#define USER_MAX_SECONDS      86400u

/* One connection. It lives until its last user has left. */
struct user_connection {
	struct user_device *ud;
	struct vfio_user_channel *channel;
	unsigned references; /* of the device, and of every call that is in it; under ud->lock */
	unsigned calls;      /* those who wait for a reply, and so read for the loop */
	struct loop_source *source;
	uint32_t watched; /* what the loop waits for of its socket, while there are no calls */
	struct vfio_user_limits limits; /* of what we send */
	uint32_t max_dma_maps;
	bool extended; /* I/O descriptors, features and migration data may be asked for */
};

struct user_region {
	struct vfio_region_info info; /* as the server said, without capabilities */
	struct vfio_info_cap caps;    /* checked */
	int fd;                       /* -1: not to be mapped */
	struct vfio_region_ioeventfd *ioeventfds;
	uint32_t ioeventfd_count; /* both under ud->lock, since another server brings others */
};

/* An eventfd by which the server tells of one thing (ERR, REQ). */
struct user_event {
	struct user_device *ud;
	unsigned index;
	int fd;            /* -1: not armed */
	atomic_uint count; /* since this server's device was opened */
	struct loop_source *source;
};

/* What the server has of the address space. */
struct user_map {
	struct ioas_area area;
	bool mapped; /* and it said so */
};

/* What is used most comes first: a small offset is a short instruction. */
struct user_device {
	struct loop *loop; /* NULL: no events, DMA by message only while we wait for a reply */

	pthread_mutex_t lock;
	struct user_connection *connection; /* NULL: none, or given up */
	bool open;   /* all of it was asked for, so a failure is one of its life */
	bool failed; /* the message was said; until the next connection */
	bool posted; /* writes of BARs may be posted */

	struct user_region *regions; /* info.num_regions */
	struct vfio_irq_info *irqs;  /* info.num_irqs */
	struct vfio_user_device_info info;
	struct user_map *maps; /* under dma_lock */
	size_t map_count;

	struct vfio_device vdev;
	struct user_options options;
	char *path;

	pthread_mutex_t turn; /* of those who want a reply; a leaf but for the channel's */
	pthread_mutex_t reconnect_lock;    /* one thread at a time looks for another server */
	int connect_error;                 /* why the last look found none; 0: it found one */
	struct loop_source *failure_timer; /* takes the news of a failure to the loop */

	uint32_t features;                   /* bit per feature for other processes that it has */
	_Atomic uint32_t max_data_xfer_size; /* of what we send */
	_Atomic uint64_t irqs_on;            /* bit per index: it has eventfds at the server */
	struct user_event err, req;

	struct iommufd_ctx *ictx;
	pthread_mutex_t space_lock; /* held while a DMA message is carried out */
	struct ioas *space;         /* attached to; NULL */

	pthread_mutex_t dma_lock;
	size_t map_room;

	pthread_mutex_t log_lock;      /* a leaf */
	struct dirty_log log;          /* its ranges and bitmap are ours */
	uint64_t log_server_page_size; /* of the server's reports */
	bool log_whole_maps;           /* this server reports only whole maps */

	/* Migration; under migration_lock, which is held over calls. */
	pthread_mutex_t migration_lock;
	enum vfio_device_mig_state state;
	int session; /* descriptor that stands for it, the caller's; -1 */
	bool initial_sent;
	uint8_t *ahead; /* data read before they were asked for */
	size_t ahead_size, ahead_done;

	_Atomic uint64_t commands;              /* messages sent */
	_Atomic uint64_t dma_reads, dma_writes; /* messages served */
};

static inline struct user_device *user_device(struct vfio_device *vdev)
{
	return (struct user_device *)((char *)vdev - offsetof(struct user_device, vdev));
}

/* ---- connection.c ------------------------------------------------------------------------------ */

/* Connect and agree on a version; one message on failure. */
int user_connect(struct user_device *ud);
/* End it: the server drops what it has of us. Waits until it has, as long as one reply may take. */
void user_disconnect(struct user_device *ud);
/* Is there a server to talk to? */
bool user_connected(struct user_device *ud);
/* What was agreed on; all 0 when there is no connection. */
struct user_connection user_agreed(struct user_device *ud);

/*
 * One command and its reply, decoded; reply->data lives until vfio_user_packet_free(*@packet). 0, with
 * reply->error set when the server refuses; else the device has failed (said once): -ENODEV, or
 * -EAGAIN when it may be connected anew.
 */
int user_call(struct user_device *ud, struct vfio_user_message *command, const int *fds,
	      unsigned fd_count, struct vfio_user_message *reply, struct vfio_user_packet **packet);
/*
 * The same for a command whose reply says in its argsz, the first of both, how much room it wants: asked once
 * more with as much. -E2BIG: more than @most; -EOVERFLOW: more again.
 */
int user_call_sized(struct user_device *ud, struct vfio_user_message *command, uint32_t most,
		    struct vfio_user_message *reply, struct vfio_user_packet **packet);
/*
 * The same for a command that reads: its data, no more than the command asks for, to @buffer. How many bytes, or
 * -errno of either side.
 */
ssize_t user_read(struct user_device *ud, struct vfio_user_message *command, void *buffer);
/* The same for a command whose reply says no more than yes or no: 0 or -errno. */
int user_command(struct user_device *ud, struct vfio_user_message *command, const int *fds,
		 unsigned fd_count);
/* A command without reply. */
int user_post(struct user_device *ud, struct vfio_user_message *command);
/* The server's answer to @command cannot be true: it failed, with @why in the message. */
int user_lied(struct user_device *ud, unsigned command, const char *why);
/* @errno_ of the server (positive) as -errno. */
int user_errno(uint32_t errno_);

/* No news of a failure reaches the owner any more. */
void user_ignore_failures(struct user_device *ud);

/* ---- provider.c -------------------------------------------------------------------------------- */

/* What the device is. One message on failure. */
int user_device_info(struct user_device *ud, struct vfio_user_device_info *out);

/* ---- reconnect.c ------------------------------------------------------------------------------- */

/* VFIO_DEVICE_RESET found no server: look for one and give it what the last one had. */
int user_reconnect(struct user_device *ud);

/* ---- regions.c, io_fds.c ----------------------------------------------------------------------- */

/* Ask for everything and check it. One message on failure. */
int user_regions_get(struct user_device *ud, struct user_region **out);
void user_regions_free(struct user_region *regions, uint32_t count);
ssize_t user_region_read(struct vfio_device *vdev, void *buffer, size_t count, uint64_t offset);
ssize_t user_region_write(struct vfio_device *vdev, const void *buffer, size_t count,
			  uint64_t offset);
int user_region_mmap(struct vfio_device *vdev, void *where, size_t length, int prot,
		     uint64_t offset);
int user_region_fd(struct vfio_device *vdev, uint32_t index, bool device, int *fd,
		   uint64_t *offset);
int user_region_info(struct vfio_device *vdev, struct vfio_region_info *info,
		     struct vfio_info_cap *caps);
int user_region_ioeventfds(struct vfio_device *vdev, uint32_t index,
			   struct vfio_region_ioeventfd *list, uint32_t *count);
/* The I/O descriptors of @region. A server that has none, or lies, has none. */
int user_io_fds_get(struct user_device *ud, uint32_t index, struct user_region *region);
/* Those of @region are the device's from now on, and the other way round. */
void user_io_fds_take(struct user_device *ud, uint32_t index, struct user_region *region);
/* After a reset the old ones are good for nothing. A server without new ones has none. */
void user_io_fds_renew(struct user_device *ud);
void user_io_fds_free(struct user_region *region);

/* ---- irqs.c ------------------------------------------------------------------------------------ */

int user_irqs_get(struct user_device *ud, struct vfio_irq_info **out);
int user_irq_info(struct user_device *ud, struct vfio_irq_info *info);
int user_set_irqs(struct user_device *ud, const struct vfio_irq_set *set);

/* ---- events.c ---------------------------------------------------------------------------------- */

int user_events_open(struct user_device *ud);
/* With a new server: the same eventfds. */
int user_events_rearm(struct user_device *ud);
void user_events_close(struct user_device *ud);

/* ---- dma.c ------------------------------------------------------------------------------------- */

int user_attach_ioas(struct vfio_device *vdev, uint32_t *pt_id);
void user_detach_ioas(struct vfio_device *vdev);
void user_dma_unmap(struct vfio_device *vdev, uint64_t iova, uint64_t length);
/* With a new server: the same maps. */
int user_dma_remap(struct user_device *ud);
/* The connection is gone, and the maps with it. */
void user_dma_forget(struct user_device *ud);
/* Serve one command of the server (channel's thread). */
void user_serve(void *ctx, struct vfio_user_packet *packet);

/* ---- log.c, feature.c, migration.c --------------------------------------------------------------- */

extern const struct vfio_log_ops user_log_ops;
void user_log_note(struct user_device *ud, uint64_t iova, uint64_t length);
void user_log_free(struct user_device *ud);

/*
 * DEVICE_FEATURE. @in goes out; up to @out_size bytes of the answer come into @out and their number
 * into *@got (NULL: exactly @out_size must come). -ENOTTY when this server is not to be asked.
 */
int user_feature(struct user_device *ud, uint32_t flags, const void *in, size_t in_size, void *out,
		 size_t out_size, size_t *got);
int user_device_feature(struct vfio_device *vdev, uint32_t flags, void *arg, size_t argsz);
/* Which migration and log ops the open device has. */
void user_probe_features(struct user_device *ud);

extern const struct vfio_migration_ops user_migration_ops;
/* The device runs, and no session is left (open, close, reset). */
void user_migration_reset(struct user_device *ud);
/* Does the server take maps and interrupts now? Not in every state (libvfio-user). */
bool user_migration_runs(struct user_device *ud);

/* ---- messages.c -------------------------------------------------------------------------------- */

int user_explain_connect(const struct user_device *ud, int error);
/*
 * The connection died of @error, in @command (0: in none), @why if that is known better than by the
 * errno. @open: the guest has the device.
 */
void user_explain_failure(const struct user_device *ud, unsigned command, int error,
			  const char *why, bool open);

#endif
