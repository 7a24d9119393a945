/* SPDX-License-Identifier: Apache-2.0 */
/*
 * THE CONTRACT: the kernel's include/linux/vfio.h in user space.
 *
 * The names, the meaning and the errno of every item are the kernel's (Linux 7.3,
 * include/linux/vfio.h and drivers/vfio/); where user space must differ, the comment says how.
 * Providers (kernel, user, soft) implement the tables; the core (device.c, device_set.c, feature.c)
 * implements the functions; the front end and the server call the functions and know no provider.
 *
 * Commands and their argument structures are those of <linux/vfio.h>: argsz first, unknown flags
 * refused with -EINVAL.
 */
#ifndef SLUICE_VFIO_DEVICE_H
#define SLUICE_VFIO_DEVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <linux/vfio.h>

struct iommufd_ctx;
struct ioas;
struct kvm;
struct vfio_device;

/*
 * Devices that are reset together. set_id comes from sysfs before open by the kernel's rule
 * (vfio_pci_core.c: devices on the root bus and VFs alone, else the slot, else the bus).
 * The lock is a life-cycle lock: held around open, close and hot reset; never taken on a vCPU's
 * exit path and never under another lock.
 */
struct vfio_device_set {
	uint64_t set_id;
	pthread_mutex_t lock;
	struct vfio_device *device_list;
	unsigned device_count;
	struct vfio_device_set *next; /* in the core's list of sets */
};

/* Which kind of IOMMU relation a bound device has (iommufd_device / iommufd_access of the kernel). */
enum vfio_iommufd_kind {
	VFIO_IOMMUFD_NONE,     /* not bound */
	VFIO_IOMMUFD_PHYSICAL, /* an IOMMU translates; HWPTs and PASIDs are possible */
	VFIO_IOMMUFD_EMULATED, /* software translates; attaches to an IOAS only */
};

#define VFIO_DEVICE_MAX_PASIDS (1u << 20)

/*
 * Upward: what a provider tells the owner of the device. Set before open, delivered on the event
 * loop, never after close has returned. Every entry may be NULL.
 */
struct vfio_device_events {
	/* The provider wants its device back; @count rises with each repetition (every 10 s). */
	void (*request)(void *ctx, unsigned count);
	/* Unrecoverable device error (VFIO_PCI_ERR_IRQ_INDEX). */
	void (*error)(void *ctx);
	/* The device stopped answering for good (all ones, dead server). */
	void (*gone)(void *ctx);
	/* DMA by message, of vfio-user servers: as ioas_read / ioas_write. */
	int (*dma_read)(void *ctx, uint64_t iova, void *buffer, size_t length);
	int (*dma_write)(void *ctx, uint64_t iova, const void *buffer, size_t length);
};

struct vfio_device_ops {
	const char *name; /* of the provider, for messages */

	/* Provider state made; paired with release, which runs exactly once after the last put. */
	int (*init)(struct vfio_device *vdev);
	void (*release)(struct vfio_device *vdev);

	/* VFIO_DEVICE_BIND_IOMMUFD. vdev->kvm is associated by then. @out_device_id: iommufd's name. */
	int (*bind_iommufd)(struct vfio_device *vdev, struct iommufd_ctx *ictx,
			    uint32_t *out_device_id);
	void (*unbind_iommufd)(struct vfio_device *vdev);

	/*
	 * Attach to the address space (or, for a physical device, HWPT) *@pt_id; on success *@pt_id is
	 * what it really is attached to. Attached already: replaced atomically, on failure the old
	 * attachment stays. Detach is idempotent.
	 */
	int (*attach_ioas)(struct vfio_device *vdev, uint32_t *pt_id);
	void (*detach_ioas)(struct vfio_device *vdev);
	int (*pasid_attach_ioas)(struct vfio_device *vdev, uint32_t pasid, uint32_t *pt_id);
	void (*pasid_detach_ioas)(struct vfio_device *vdev, uint32_t pasid);

	/* First open and last close, under the set's lock. */
	int (*open_device)(struct vfio_device *vdev);
	void (*close_device)(struct vfio_device *vdev);

	/* Region access at a region offset (region info's offset + byte). Bytes done, or -errno. */
	ssize_t (*read)(struct vfio_device *vdev, void *buffer, size_t count, uint64_t offset);
	ssize_t (*write)(struct vfio_device *vdev, const void *buffer, size_t count,
			 uint64_t offset);

	/* The VFIO_DEVICE_* commands that the core does not answer itself; @arg is the uAPI struct. */
	int (*ioctl)(struct vfio_device *vdev, unsigned command, void *arg);

	/*
	 * Region info with its capability chain. In the kernel the core copies a chain built by the
	 * driver; here the provider fills @info and, when info->argsz allows, the chain behind it.
	 */
	int (*get_region_info_caps)(struct vfio_device *vdev, struct vfio_region_info *info);

	/*
	 * Put [@offset, @offset + @length) of the device's regions at the reserved address @where
	 * (MAP_FIXED). The caller owns the mapping and munmaps it.
	 */
	int (*mmap)(struct vfio_device *vdev, void *where, size_t length, int prot,
		    uint64_t offset);

	/* Server side: ask the one who uses this device to let go. */
	void (*request)(struct vfio_device *vdev, unsigned count);

	/* Is @name a name of this device? positive yes, 0 no, -errno malformed or a wrong token. */
	int (*match)(struct vfio_device *vdev, const char *name);
	/* -EACCES wrong or missing VF token, -EINVAL token given but none is needed. NULL: no token. */
	int (*match_token_uuid)(struct vfio_device *vdev, const uint8_t *uuid);

	/* Guest memory leaves: nothing may hold or touch it when this returns. */
	void (*dma_unmap)(struct vfio_device *vdev, uint64_t iova, uint64_t length);

	/* VFIO_DEVICE_FEATURE numbers that the core does not handle; -ENOTTY for unknown ones. */
	int (*device_feature)(struct vfio_device *vdev, uint32_t flags, void *arg, size_t argsz);
};

/*
 * Migration v2. @data_fd: a descriptor the caller owns, or -1 when the arc starts no session.
 * In the kernel a struct file; here the descriptor.
 */
struct vfio_migration_ops {
	int (*migration_set_state)(struct vfio_device *vdev, enum vfio_device_mig_state new_state,
				   int *data_fd);
	int (*migration_get_state)(struct vfio_device *vdev, enum vfio_device_mig_state *state);
	int (*migration_get_data_size)(struct vfio_device *vdev, uint64_t *stop_copy_length);
};

struct vfio_log_range {
	uint64_t iova;
	uint64_t length;
};

/* Device DMA logging. @page_size in: wanted, out: what the device does. */
struct vfio_log_ops {
	int (*log_start)(struct vfio_device *vdev, const struct vfio_log_range *ranges,
			 uint32_t count, uint64_t *page_size);
	int (*log_stop)(struct vfio_device *vdev);
	/* Sets bit n of @bitmap for a write at @iova + n * @page_size; clears the device's record. */
	int (*log_read_and_clear)(struct vfio_device *vdev, uint64_t iova, uint64_t length,
				  uint64_t page_size, uint64_t *bitmap);
};

struct vfio_device {
	/* Identity: set by vfio_device_init(), constant afterwards. */
	char *dev; /* name for messages and sysfs: "0000:01:00.0", "fd=9", a path */
	const struct vfio_device_ops *ops;
	const struct vfio_migration_ops *mig_ops; /* NULL: cannot migrate (-ENOTTY) */
	const struct vfio_log_ops *log_ops;       /* NULL: no DMA log (-ENOTTY) */
	uint32_t migration_flags;                 /* VFIO_MIGRATION_* */
	bool precopy_info_v2; /* the user opted in (feature 12); cleared at close */

	struct vfio_device_set *dev_set;
	struct vfio_device *dev_set_list; /* next in the set */

	unsigned index;    /* of the device node vfioN; UINT_MAX when there is none */
	unsigned refcount; /* references of registration; the last put wakes comp */
	pthread_cond_t comp;
	pthread_mutex_t lock; /* refcount, open_count */
	unsigned open_count;  /* 0 or 1: a second open is -EINVAL, as on the cdev */

	/*
	 * The VM this device is associated with, referenced while it is open (kvm_get / put_kvm).
	 * Set by vfio_device_set_kvm() before open; associated with the kernel before BIND.
	 */
	struct kvm *kvm;
	void (*put_kvm)(struct kvm *kvm);

	/* IOMMU relation. */
	struct iommufd_ctx *iommufd_ictx; /* bound to; NULL when not bound */
	enum vfio_iommufd_kind iommufd_kind;
	uint32_t iommufd_devid; /* out_devid of the bind */
	bool iommufd_attached;
	uint32_t iommufd_pt_id; /* what attach_ioas returned */
	uint64_t *pasids;       /* bitmap of PASIDs with an attachment of their own */
	uint32_t max_pasids;    /* 0: no PASID capability; the core refuses PASID attach */

	/*
	 * The kernel keeps a pseudo inode so that one call can zap every mapping of the device. Here
	 * that domain is the front end's: it registers how all guest slots and P2P maps go.
	 */
	void (*revoke)(void *ctx);
	void *revoke_ctx;

	const struct vfio_device_events *events;
	void *events_ctx;

	/* For `debug_root`: the same state as data, see vfio_device_status(). */
	enum vfio_device_mig_state last_state;
	uint64_t last_transition_ns;
	const char *
		reset_method; /* of the last reset that worked: "flr", "hot", ...; NULL: none yet */
};

/* ---- life: alloc/register/unregister of the kernel ------------------------------------------- */

/*
 * Initialise @vdev (embedded in the provider's structure) and call ops->init.
 * @dev is copied. -errno of ops->init, -ENOMEM.
 */
int vfio_device_init(struct vfio_device *vdev, const char *dev, const struct vfio_device_ops *ops);

/* Join the device set with @set_id (0: a set of its own). Before registration. -ENOMEM. */
int vfio_assign_device_set(struct vfio_device *vdev, uint64_t set_id);
/* How many devices of the set are open. Caller holds the set's lock. */
unsigned vfio_device_set_open_count(struct vfio_device_set *set);

/*
 * After registration the tables never change. mig_ops need all three ops, VFIO_MIGRATION_STOP_COPY
 * and a legal combination of flags; log_ops need all three ops: else -EINVAL.
 */
int vfio_register_device(struct vfio_device *vdev);
/* Waits until the last registration reference is gone, asking by ops->request every 10 s. */
void vfio_unregister_device(struct vfio_device *vdev);
bool vfio_device_try_get_registration(struct vfio_device *vdev);
void vfio_device_put_registration(struct vfio_device *vdev);

/* Leaves the set, frees what the core holds and calls ops->release, exactly once. */
void vfio_device_free(struct vfio_device *vdev);

/* ---- use -------------------------------------------------------------------------------------- */

/* Before open: which VM the device serves. NULL is allowed (no association). -EBUSY when open. */
int vfio_device_set_kvm(struct vfio_device *vdev, struct kvm *kvm);
void vfio_device_set_events(struct vfio_device *vdev, const struct vfio_device_events *events,
			    void *ctx);
void vfio_device_set_revoke(struct vfio_device *vdev, void (*revoke)(void *ctx), void *ctx);

/*
 * Bind to @ictx and open (VFIO_DEVICE_BIND_IOMMUFD). -EINVAL when open already, or the ops' errno;
 * on failure nothing is left. close undoes it: irqs off, PASIDs and RID detached, unbound, KVM put.
 */
int vfio_device_open(struct vfio_device *vdev, struct iommufd_ctx *ictx);
void vfio_device_close(struct vfio_device *vdev);

/*
 * VFIO_DEVICE_ATTACH_IOMMUFD_PT and DETACH. -EINVAL when not open or no such op. PASID: 0 is -EINVAL,
 * a device without the PASID capability is -EOPNOTSUPP although the kernel would take it
 * (iommu.c skips devices with max_pasids == 0), as is a provider without the op.
 */
int vfio_device_attach(struct vfio_device *vdev, uint32_t *pt_id);
int vfio_device_detach(struct vfio_device *vdev);
int vfio_device_pasid_attach(struct vfio_device *vdev, uint32_t pasid, uint32_t *pt_id);
int vfio_device_pasid_detach(struct vfio_device *vdev, uint32_t pasid);

/* Region access; -EINVAL when not open or no such op (drivers/vfio/vfio_main.c). */
ssize_t vfio_device_read(struct vfio_device *vdev, void *buffer, size_t count, uint64_t offset);
ssize_t vfio_device_write(struct vfio_device *vdev, const void *buffer, size_t count,
			  uint64_t offset);

/*
 * Any VFIO_DEVICE_* command. FEATURE, GET_REGION_INFO, ATTACH and DETACH are answered by the core as
 * in the kernel, the rest by ops->ioctl; unknown ones are -ENOTTY, an absent ops->ioctl is -EINVAL.
 */
int vfio_device_ioctl(struct vfio_device *vdev, unsigned command, void *arg);
int vfio_device_mmap(struct vfio_device *vdev, void *where, size_t length, int prot,
		     uint64_t offset);

/* One call takes every guest slot and P2P map of the device away (see `revoke`). */
void vfio_device_revoke(struct vfio_device *vdev);

/* Guest memory [@iova, +@length) leaves; returns when no provider holds it. */
void vfio_device_dma_unmap(struct vfio_device *vdev, uint64_t iova, uint64_t length);

/*
 * Is what the user asked permitted for this feature? @supported_ops: VFIO_DEVICE_FEATURE_GET | _SET.
 * -EINVAL wrong flags or argsz too small, 0 a PROBE is answered, 1 go on. Exactly the kernel's.
 */
static inline int vfio_check_feature(uint32_t flags, size_t argsz, uint32_t supported_ops,
				     size_t minsz)
{
	if ((flags & (VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET)) & ~supported_ops)
		return -22; /* -EINVAL */
	if (flags & VFIO_DEVICE_FEATURE_PROBE)
		return 0;
	if (!(flags & (VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET)))
		return -22;
	if (argsz < minsz)
		return -22;
	return 1;
}

#endif
