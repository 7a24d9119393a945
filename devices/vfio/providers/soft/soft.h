/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A soft device: what the files of the provider share.
 *
 * Threads. The model is under `lock`; its DMA is done by a worker thread of the device, which holds the
 * lock for one step at a time and not during an access to guest memory. Whoever needs the engine to be
 * still (soft_quiesce) waits for that one access. `irq_lock` serialises who connects eventfds, and is
 * taken before `lock`; callbacks of the loop take `lock` alone, so sources are removed without it.
 */
#ifndef SLUICE_VFIO_SOFT_SOFT_H
#define SLUICE_VFIO_SOFT_SOFT_H

#include <pthread.h>
#include <stdatomic.h>

#include "devices/vfio/device.h"
#include "devices/vfio/providers/soft/keys.h"
#include "devices/vfio/reference/model.h"

struct ioas;
struct loop;
struct loop_source;

#define SOFT_BOUNCE     65536u
#define SOFT_IOEVENTFDS 64

/* Region offsets: the index above this bit, as vfio-pci has it. */
#define SOFT_OFFSET_SHIFT  40
#define SOFT_OFFSET(index) ((uint64_t)(index) << SOFT_OFFSET_SHIFT)

/* One address space that the device has: without a PASID, or of one. */
struct soft_space {
	struct soft_space *next;
	struct ioas *ioas;
	uint32_t pasid; /* 0: the device's own */
};

/* Memory of a region that can be mapped; region byte 0 is file byte 0. */
struct soft_memory {
	int fd;
	uint8_t *bytes;
	uint64_t size;
};

/* VFIO_DEVICE_IOEVENTFD */
struct soft_ioeventfd {
	struct soft_device *sd;
	struct loop_source *source;
	int fd; /* ours */
	uint64_t offset, data;
	uint32_t size;
};

/* The eventfd that stands for REFERENCE_RING. */
struct soft_ring {
	int fd;                     /* -1: nobody has asked for it since the last reset */
	struct loop_source *source; /* under irq_lock */
	uint64_t count;             /* how many times it was rung, since the open */
};

struct soft_intx {
	int trigger; /* -1: not connected */
	int unmask;  /* eventfd that unmasks, ours; -1: none */
	struct loop_source *source;
	bool asserted, masked;
};

/* What is used most comes first: a small offset is a short instruction. */
struct soft_device {
	struct loop *loop; /* NULL in tests: no ioeventfds, no unmasking by eventfd, no events */
	struct eventfd_signaller *signaller; /* constant */

	pthread_mutex_t lock; /* all that follows, unless said otherwise */
	atomic_uint waiting;  /* for the lock */
	bool open, kicked, stop;
	uint32_t irq_type; /* under irq_lock: the index in use; VFIO_PCI_NUM_IRQS: none */
	bool low_power;
	int *vectors; /* of each, -1: none */
	int err, req;
	int wakeup;     /* eventfd; -1: not in low power, or nobody wants to be told */
	int session_fd; /* eventfd of the migration session, ours; -1: none */
	int session_id; /* the number that its user has */

	/* Events for the owner: raised anywhere, told on the loop. */
	int event_fd;
	bool gone, told_gone, requested, failed;

	struct vfio_device vdev;
	pthread_mutex_t irq_lock;
	struct soft_intx intx;
	struct soft_ring ring;
	struct soft_keys keys;
	pthread_cond_t work; /* the worker has something to do, or is to end */
	pthread_cond_t idle; /* an access is done */
	pthread_cond_t turn; /* nobody waits for the lock any more */
	pthread_t worker;
	uint64_t reads, writes; /* of regions, since the open */
	struct soft_space *spaces;
	struct loop_source *event_source;
	unsigned request_count;
	struct soft_memory bar0, bar2;
	struct soft_ioeventfd *ioeventfds[SOFT_IOEVENTFDS]; /* under irq_lock */
	struct reference_device model;
};

static inline struct soft_device *soft_device(struct vfio_device *vdev)
{
	return (struct soft_device *)((char *)vdev - offsetof(struct soft_device, vdev));
}

/* worker.c */
void soft_lock(struct soft_device *sd);
void soft_unlock(struct soft_device *sd);
/* Under the lock: the engine is held and no access is out; soft_resume() lets it go on. */
void soft_quiesce(struct soft_device *sd);
void soft_resume(struct soft_device *sd);
/* Under the lock: see to what a call of the model brought about (REFERENCE_EFFECT_*). */
void soft_effects(struct soft_device *sd, uint32_t effects);
int soft_worker_start(struct soft_device *sd);
void soft_worker_stop(struct soft_device *sd);

/* space.c: the ops, and an access of the engine. */
int soft_attach(struct vfio_device *vdev, uint32_t *pt_id);
void soft_detach(struct vfio_device *vdev);
int soft_pasid_attach(struct vfio_device *vdev, uint32_t pasid, uint32_t *pt_id);
void soft_pasid_detach(struct vfio_device *vdev, uint32_t pasid);
/* Under the lock. NULL: nothing is attached. Stays until the engine is still. */
struct ioas *soft_space_of(struct soft_device *sd, uint32_t pasid);

/* region.c */
void soft_wake(struct soft_device *sd); /* under the lock: any use of the device does it */
int soft_memory_create(struct soft_device *sd);
void soft_memory_destroy(struct soft_device *sd);
ssize_t soft_read(struct vfio_device *vdev, void *buffer, size_t count, uint64_t offset);
ssize_t soft_write(struct vfio_device *vdev, const void *buffer, size_t count, uint64_t offset);
int soft_region_info(struct vfio_device *vdev, struct vfio_region_info *info,
		     struct vfio_info_cap *caps);
int soft_mmap(struct vfio_device *vdev, void *where, size_t length, int prot, uint64_t offset);
int soft_region_fd(struct vfio_device *vdev, uint32_t index, bool device, int *fd,
		   uint64_t *offset);

/* irqs.c */
int soft_irqs_create(struct soft_device *sd);
void soft_irqs_destroy(struct soft_device *sd);
void soft_irqs_close(struct soft_device *sd); /* all off; without the lock */
int soft_irq_info(struct soft_device *sd, struct vfio_irq_info *info);
int soft_set_irqs(struct soft_device *sd, const struct vfio_irq_set *set);
void soft_raise(void *ctx, uint32_t vector);
void soft_intx(void *ctx, bool asserted);
/* Under the lock. -1: nobody. Never waits, whatever the user does with the eventfd. */
void soft_signal(struct soft_device *sd, int fd);
/* A descriptor of our own for the user's eventfd. -EBADF; -EINVAL: not an eventfd. */
int soft_eventfd_get(int fd);

/* ioeventfd.c */
int soft_ioeventfd(struct soft_device *sd, const struct vfio_device_ioeventfd *call);
void soft_ioeventfds_close(struct soft_device *sd);

/* ring.c */
int soft_region_ioeventfds(struct vfio_device *vdev, uint32_t index,
			   struct vfio_region_ioeventfd *list, uint32_t *count);
void soft_ring_take(struct soft_device *sd);  /* under the lock: what was rung is done */
void soft_ring_close(struct soft_device *sd); /* what was rung is dropped */

/* events.c */
int soft_events_open(struct soft_device *sd);
void soft_events_close(struct soft_device *sd);
void soft_events_kick(struct soft_device *sd); /* under the lock */
void soft_request(struct vfio_device *vdev, unsigned count);

/* migration.c */
extern const struct vfio_migration_ops soft_migration_ops;
extern const struct vfio_log_ops soft_log_ops;
void soft_session_end(struct soft_device *sd);  /* under the lock; no session is fine */
void soft_session_poll(struct soft_device *sd); /* under the lock: can something be read? */

#endif
