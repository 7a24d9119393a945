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

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <linux/vfio.h>

struct iommufd_ctx;
struct ioas;
struct json_t;
struct kvm;
struct vfio_device;
struct vfio_device_sets;

/*
 * Devices that are reset together. set_id comes from sysfs before open by the kernel's rule
 * (vfio_pci_core.c: devices on the root bus and VFs alone, else the slot, else the bus).
 * The lock is a life-cycle lock: held around open, close, attach and hot reset; never taken on a
 * vCPU's exit path and never under a lock of another layer.
 */
struct vfio_device_set {
	uint64_t set_id; /* 0: of one device that is reset alone */
	pthread_mutex_t lock;
	struct vfio_device *device_list;
	unsigned device_count;
	struct vfio_device_sets *sets; /* the list it is in, or NULL */
	struct vfio_device_set *next;
};

/*
 * The device sets of one VM by set_id (vfio_device_set_xa of the kernel, which has one for the whole
 * system). Made by the machine, handed to the providers, empty again before it is destroyed.
 */
struct vfio_device_sets {
	pthread_mutex_t lock; /* joining and leaving; the set's own lock is taken inside it */
	struct vfio_device_set *list;
};

void vfio_device_sets_init(struct vfio_device_sets *sets);
void vfio_device_sets_destroy(struct vfio_device_sets *sets);
/* The device that answers to @name (see vfio_device_match), or NULL. */
struct vfio_device *vfio_device_sets_find(struct vfio_device_sets *sets, const char *name);

/* Which kind of IOMMU relation a bound device has (iommufd_device / iommufd_access of the kernel). */
enum vfio_iommufd_kind {
	VFIO_IOMMUFD_NONE,     /* not bound */
	VFIO_IOMMUFD_PHYSICAL, /* an IOMMU translates; HWPTs and PASIDs are possible */
	VFIO_IOMMUFD_EMULATED, /* software translates; attaches to an IOAS only */
};

#define VFIO_DEVICE_MAX_PASIDS (1u << 20)

/*
 * A capability chain in the making (struct vfio_info_cap of the kernel): offsets count from @buf
 * until the core hands the chain out behind its structure. vfio_info_cap_free() is the core's work.
 */
struct vfio_info_cap {
	void *buf;
	size_t size;
};

/* Append @cap (its header's id and version are set, next is not) of @size bytes. -ENOMEM. */
int vfio_info_add_capability(struct vfio_info_cap *caps, const struct vfio_info_cap_header *cap,
			     size_t size);
/*
 * Append the chain that begins at @offset of the structure @info of @size bytes, as a kernel or a
 * server returned it. Nothing in it is trusted: -EINVAL for a capability outside the structure,
 * unaligned, or a chain that runs backwards.
 */
int vfio_info_add_chain(struct vfio_info_cap *caps, const void *info, size_t size, uint32_t offset);
void vfio_info_cap_free(struct vfio_info_cap *caps);
/* The chain is to stand behind a structure of @shift bytes, from whose start its offsets count. */
void vfio_info_cap_shift(struct vfio_info_cap *caps, uint32_t shift);

/*
 * A write to a region that an eventfd stands for (a doorbell): one of @size bytes at @offset, with
 * exactly the value @datamatch if @match. The descriptor is the provider's, and good until the device
 * is reset or closed; after a reset it is asked for anew.
 */
struct vfio_region_ioeventfd {
	uint64_t offset; /* in the region */
	uint32_t size;   /* 1, 2, 4, 8; 0: any */
	int fd;
	bool match;
	uint64_t datamatch;
};

/*
 * Upward: what a provider tells the owner of the device. Set before open, delivered on the event
 * loop, never after close has returned. Every entry may be NULL.
 */
struct vfio_device_events {
	/* The provider wants its device back; @count is 0 at first and rises with each repetition (10 s). */
	void (*request)(void *ctx, unsigned count);
	/* Unrecoverable device error (VFIO_PCI_ERR_IRQ_INDEX). */
	void (*error)(void *ctx);
	/* The device stopped answering for good (all ones, dead server). */
	void (*gone)(void *ctx);
	/*
	 * DMA by message, of vfio-user servers: as ioas_read / ioas_write, on any thread that calls the
	 * device. NULL: in the space that the device is attached to. It may call no device.
	 */
	int (*dma_read)(void *ctx, uint64_t iova, void *buffer, size_t length);
	int (*dma_write)(void *ctx, uint64_t iova, const void *buffer, size_t length);
};

/*
 * Is @hdr a VFIO_DEVICE_SET_IRQS for an index with @num_irqs interrupts, one of @max_irq_type indices, with
 * all the data that its flags speak of? 0 or -EINVAL. For providers; the kernel's, but that data of no interrupt
 * (a count of 0 with BOOL or EVENTFD) is refused, which there is left to the driver.
 */
int vfio_set_irqs_validate_and_prepare(const struct vfio_irq_set *hdr, uint32_t num_irqs,
				       uint32_t max_irq_type);

struct vfio_device_ops {
	const char *name; /* of the provider, for messages */

	/* Provider state made; paired with release, which runs exactly once after the last put. */
	int (*init)(struct vfio_device *vdev);
	void (*release)(struct vfio_device *vdev);

	/*
	 * VFIO_DEVICE_BIND_IOMMUFD to the address spaces of the VM. vdev->kvm is referenced by then; a
	 * kernel device is associated with it first. @out_device_id: iommufd's name of the device.
	 * Sets iommufd_kind, and max_pasids where PASIDs work. The four ops of this group are required.
	 */
	int (*bind_iommufd)(struct vfio_device *vdev, struct iommufd_ctx *ictx,
			    uint32_t *out_device_id);
	void (*unbind_iommufd)(struct vfio_device *vdev);

	/*
	 * Attach to the address space (or, for a physical device, HWPT) *@pt_id; on success *@pt_id is
	 * what it really is attached to. Attached already: replaced atomically, on failure the old
	 * attachment stays; a provider that lost it nevertheless clears vdev->iommufd_attached.
	 * Under the set's lock. Detach is called for what is attached only.
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
	 * Region info of info->index and its capability chain, which the core copies out behind it
	 * (or says how much room it needs).
	 */
	int (*get_region_info_caps)(struct vfio_device *vdev, struct vfio_region_info *info,
				    struct vfio_info_cap *caps);

	/*
	 * The writes of region @index that may be signalled in place of being done by write. @count in:
	 * room of @list, out: number, which may be more. NULL: none. No kernel device has it; what a
	 * vfio-user server offers by DEVICE_GET_REGION_IO_FDS, and what ours answers there.
	 */
	int (*get_region_ioeventfds)(struct vfio_device *vdev, uint32_t index,
				     struct vfio_region_ioeventfd *list, uint32_t *count);

	/*
	 * Put [@offset, @offset + @length) of the device's regions at the reserved address @where
	 * (MAP_FIXED). The caller owns the mapping and munmaps it.
	 */
	int (*mmap)(struct vfio_device *vdev, void *where, size_t length, int prot,
		    uint64_t offset);

	/*
	 * The descriptor behind what mmap maps of region @index, for another process: *@offset is where the
	 * region begins in it. It stays the provider's, and open while the device is. @device: the
	 * caller agrees to one by which all of the device can be reached, not this region alone.
	 * -ENODEV there is none (or only such a one).
	 */
	int (*region_fd)(struct vfio_device *vdev, uint32_t index, bool device, int *fd,
			 uint64_t *offset);

	/* Server side: ask the one who uses this device to let go. */
	void (*request)(struct vfio_device *vdev, unsigned count);

	/* Is @name, without options, a name of this device? positive yes, 0 no, -errno. NULL: vdev->dev is. */
	int (*match)(struct vfio_device *vdev, const char *name);
	/* -EACCES wrong or missing VF token, -EINVAL token given but none is needed. NULL: no token. */
	int (*match_token_uuid)(struct vfio_device *vdev, const uint8_t *uuid);

	/* Guest memory leaves: nothing may hold or touch it when this returns. */
	void (*dma_unmap)(struct vfio_device *vdev, uint64_t iova, uint64_t length);

	/*
	 * VFIO_DEVICE_FEATURE numbers that the core does not handle; -ENOTTY for unknown ones. Also told
	 * when the user opts in to MIG_PRECOPY_INFOv2 (SET, no payload), so that it can pass that on.
	 */
	int (*device_feature)(struct vfio_device *vdev, uint32_t flags, void *arg, size_t argsz);

	/* What a driver adds to debug_root: more members of the object vfio_device_status() returns. */
	void (*debug)(struct vfio_device *vdev, struct json_t *root);
};

/*
 * Migration v2. @data_fd: a descriptor the caller owns, or -1 when the arc starts no session.
 *
 * In the kernel it is a struct file with read, write, ioctl and poll. Here the first three are ops of
 * their own, since a provider in user space has no file that could say -ENOMSG or take an ioctl; its
 * descriptor stands for the session and can be polled. Leaving the state that the session belongs to
 * ends it: from then on they answer 0 or an error (-ENODEV), never data.
 */
struct vfio_migration_ops {
	int (*migration_set_state)(struct vfio_device *vdev, enum vfio_device_mig_state new_state,
				   int *data_fd);
	int (*migration_get_state)(struct vfio_device *vdev, enum vfio_device_mig_state *state);
	int (*migration_get_data_size)(struct vfio_device *vdev, uint64_t *stop_copy_length);

	/*
	 * Data of the device, of the session @data_fd; NULL: read(2) and write(2) of the descriptor do it.
	 * Bytes done; read: 0 is the end in STOP_COPY, -ENOMSG all there is for now in PRE_COPY.
	 */
	ssize_t (*migration_read)(struct vfio_device *vdev, int data_fd, void *buffer,
				  size_t count);
	ssize_t (*migration_write)(struct vfio_device *vdev, int data_fd, const void *buffer,
				   size_t count);
	/*
	 * VFIO_MIG_GET_PRECOPY_INFO of the session: how much is there to be read. -EINVAL outside the
	 * PRE_COPY states. Fills initial_bytes and dirty_bytes, and sets VFIO_PRECOPY_INFO_REINIT in
	 * flags (which come as 0) only with vdev->precopy_info_v2. Required by VFIO_MIGRATION_PRE_COPY.
	 */
	int (*migration_get_precopy_info)(struct vfio_device *vdev, int data_fd,
					  struct vfio_precopy_info *info);
};

struct vfio_log_range {
	uint64_t iova;
	uint64_t length;
};

/*
 * Device DMA logging. @ranges: sorted, without overlap, aligned to the page size. @page_size in:
 * wanted, out: what the device does. The core refuses a second start (-EBUSY), and stop and read
 * of a log that was not started (-EINVAL), so a provider never sees them.
 */
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

	/*
	 * Set by the provider before registration, or inside ops->open_device by one who learns them
	 * from the open device (a kernel device answers only when bound); constant while it is open.
	 */
	const struct vfio_migration_ops *mig_ops; /* NULL: cannot migrate (-ENOTTY) */
	const struct vfio_log_ops *log_ops;       /* NULL: no DMA log (-ENOTTY) */
	uint32_t migration_flags;                 /* VFIO_MIGRATION_* */
	unsigned index; /* of the device node vfioN; UINT_MAX when there is none */

	struct vfio_device_set *dev_set;
	struct vfio_device *dev_set_list; /* next in the set */

	/* registered, refcount, and what a user did: precopy_info_v2 to reset_method below. A leaf. */
	pthread_mutex_t lock;
	bool registered;
	unsigned refcount; /* references of registration: one of its own, one while open */

	/* Under the set's lock. 0 or 1: a second open is -EINVAL, as on the cdev. */
	unsigned open_count;
	/* Released by open, acquired by every use: no access before open has finished. */
	atomic_bool access_granted;

	/*
	 * The memory behind region_fd is another after a close and an open: who has the descriptor from before
	 * reaches the device no more. Set before vfio_register_device().
	 */
	bool region_fd_renewed;

	/* IOMMU relation, under the set's lock. */
	bool iommufd_attached;
	uint32_t max_pasids;    /* 0: no PASID capability; the core refuses PASID attach */
	uint64_t *pasids;       /* bitmap of PASIDs with an attachment of their own */
	uint32_t iommufd_pt_id; /* what attach_ioas returned */
	uint32_t iommufd_devid; /* out_devid of the bind */
	enum vfio_iommufd_kind iommufd_kind;
	struct iommufd_ctx *iommufd_ictx; /* bound to; NULL when not bound */

	/*
	 * The VM this device is associated with. user_kvm is what vfio_device_set_kvm() was told; kvm
	 * is the same and referenced while the device is open (put_kvm gives it back).
	 */
	struct kvm *user_kvm;
	struct kvm *kvm;
	void (*put_kvm)(struct kvm *kvm);

	/* VF token for the next open (VFIO_DEVICE_BIND_FLAG_TOKEN). */
	bool has_token;
	uint8_t token[16];

	pthread_cond_t comp;          /* refcount reached 0 */
	unsigned request_interval_ms; /* between two ops->request of an unregister: 10,000 */

	/*
	 * The kernel keeps a pseudo inode so that one call can zap every mapping of the device. Here
	 * that domain is the front end's: it registers how all guest slots and P2P maps go.
	 */
	void (*revoke)(void *ctx);
	void *revoke_ctx;

	const struct vfio_device_events *events;
	void *events_ctx;

	/* All that follows is under `lock`. */
	bool precopy_info_v2; /* the user opted in (feature 12); cleared at close */
	bool dma_logging;     /* started, not stopped */

	/* For `debug_root`: the same state as data, see vfio_device_status(). */
	enum vfio_device_mig_state last_state;
	uint64_t last_transition_ns; /* how long the last change of state took */
	const char *reset_method; /* of the last reset that worked: "device", "hot"; NULL: none */
};

/* ---- life: alloc/register/unregister of the kernel ------------------------------------------- */

/*
 * Initialise @vdev (embedded in the provider's structure, zeroed) and call ops->init.
 * @dev is copied. -errno of ops->init, -ENOMEM; nothing is left then.
 */
int vfio_device_init(struct vfio_device *vdev, const char *dev, const struct vfio_device_ops *ops);

/*
 * Join the device set with @set_id of @sets, which is made with its first device. Before
 * registration; a device that joined none is alone in a set of its own. @set_id 0 or @sets NULL:
 * likewise alone. -ENOMEM, -EBUSY when in a set already.
 */
int vfio_assign_device_set(struct vfio_device *vdev, struct vfio_device_sets *sets,
			   uint64_t set_id);
/* How many devices of the set are open. Caller holds the set's lock. */
unsigned vfio_device_set_open_count(struct vfio_device_set *set);

/*
 * After registration the ops never change. -EINVAL: bind, unbind, attach or detach op missing;
 * mig_ops without the three state and size ops, without VFIO_MIGRATION_STOP_COPY, with a flag this
 * contract does not know, or with PRE_COPY and no migration_get_precopy_info; log_ops without all
 * three ops (asked again after open_device). -ENOMEM.
 */
int vfio_register_device(struct vfio_device *vdev);
/*
 * No new open from now on. Waits until the last registration reference is gone, asking the user by
 * ops->request at once and every 10 s. Never on the thread that is to close the device.
 */
void vfio_unregister_device(struct vfio_device *vdev);
/* False once unregistering has begun. */
bool vfio_device_try_get_registration(struct vfio_device *vdev);
void vfio_device_put_registration(struct vfio_device *vdev);

/*
 * Leaves the set, frees what the core holds and calls ops->release, exactly once, which may free
 * the memory of @vdev. The device is unregistered, or never was registered.
 */
void vfio_device_free(struct vfio_device *vdev);

/*
 * Does this device answer to @name? By ops->match, else by comparison. Positive yes, 0 no. As vfio-pci takes it
 * (vfio_pci_core_match()), an option may follow: "NAME vf_token=UUID". -EINVAL the device's name and behind it
 * something else or a malformed UUID, or a token where none is needed; -EACCES a wrong one, where the provider can
 * tell before BIND; -ENOMEM.
 */
int vfio_device_match(struct vfio_device *vdev, const char *name);

/* ---- use -------------------------------------------------------------------------------------- */

/* Before open: which VM the device serves. NULL is allowed (no association). -EBUSY when open. */
int vfio_device_set_kvm(struct vfio_device *vdev, struct kvm *kvm);
/* Before open: the VF token, NULL for none. -EBUSY when open. */
int vfio_device_set_token(struct vfio_device *vdev, const uint8_t *uuid);
void vfio_device_set_events(struct vfio_device *vdev, const struct vfio_device_events *events,
			    void *ctx);
void vfio_device_set_revoke(struct vfio_device *vdev, void (*revoke)(void *ctx), void *ctx);

/*
 * Bind to @ictx and open (VFIO_DEVICE_BIND_IOMMUFD). -ENODEV not registered, -EINVAL open already,
 * no @ictx, or a token that nobody wants; -EACCES wrong token; or the ops' errno. On failure nothing
 * is left. Close undoes it in reverse: the provider's close (interrupts off), PASIDs and RID
 * detached, unbound, KVM put. The caller has no other call of the device in flight then.
 */
int vfio_device_open(struct vfio_device *vdev, struct iommufd_ctx *ictx);
void vfio_device_close(struct vfio_device *vdev);

/*
 * VFIO_DEVICE_ATTACH_IOMMUFD_PT and DETACH. -EINVAL when not open. PASID: no op is -EOPNOTSUPP, so is
 * a device without the PASID capability although the kernel would take it (drivers/iommu/iommu.c
 * skips devices with max_pasids == 0); PASID 0 and those from max_pasids on are -EINVAL.
 * Detach of what is not attached is 0.
 */
int vfio_device_attach(struct vfio_device *vdev, uint32_t *pt_id);
int vfio_device_detach(struct vfio_device *vdev);
int vfio_device_pasid_attach(struct vfio_device *vdev, uint32_t pasid, uint32_t *pt_id);
int vfio_device_pasid_detach(struct vfio_device *vdev, uint32_t pasid);

/* Region access; -EINVAL when not open or no such op (drivers/vfio/vfio_main.c). Any thread. */
ssize_t vfio_device_read(struct vfio_device *vdev, void *buffer, size_t count, uint64_t offset);
ssize_t vfio_device_write(struct vfio_device *vdev, const void *buffer, size_t count,
			  uint64_t offset);

/*
 * Any VFIO_DEVICE_* command but BIND_IOMMUFD. FEATURE, GET_REGION_INFO, ATTACH and DETACH are answered
 * by the core as in the kernel, the rest by ops->ioctl; unknown ones are -ENOTTY, an absent ops->ioctl
 * is -EINVAL, @arg NULL where a structure is wanted -EFAULT. A positive answer is the command's own
 * (SET_IRQS: only so many vectors).
 *
 * VFIO_DEVICE_PCI_HOT_RESET takes the set's lock, so the caller holds no other; every open device of
 * the set is revoked first. A failure to reset may have reset all the same.
 */
int vfio_device_ioctl(struct vfio_device *vdev, unsigned command, void *arg);
/*
 * VFIO_DEVICE_GET_REGION_INFO of region @index with its capability chain, within (*@out)->argsz bytes; the
 * caller frees it. A chain beyond all reason (64 KiB) is left out. -errno of the ioctl, -ENOMEM.
 */
int vfio_device_region_info(struct vfio_device *vdev, uint32_t index,
			    struct vfio_region_info **out);
int vfio_device_mmap(struct vfio_device *vdev, void *where, size_t length, int prot,
		     uint64_t offset);

/* See ops->region_fd; -EINVAL not open, -ENODEV no such op. */
int vfio_device_region_fd(struct vfio_device *vdev, uint32_t index, bool device, int *fd,
			  uint64_t *offset);

/*
 * Doorbells of region @index: see the op. -EINVAL not open, or no such region. 0 with *@count 0 where
 * there are none.
 */
int vfio_device_region_ioeventfds(struct vfio_device *vdev, uint32_t index,
				  struct vfio_region_ioeventfd *list, uint32_t *count);

/*
 * The data of a migration session, by the descriptor that SET_STATE gave: read, write, and
 * VFIO_MIG_GET_PRECOPY_INFO (vfio_check_precopy_ioctl() of the kernel). -EINVAL not open, or
 * info->argsz too short; -ENOTTY no migration, or no PRE_COPY; -EFAULT @info NULL; else what the
 * session answers. info->flags is 0 unless the user opted in to feature 12.
 */
ssize_t vfio_device_mig_read(struct vfio_device *vdev, int data_fd, void *buffer, size_t count);
ssize_t vfio_device_mig_write(struct vfio_device *vdev, int data_fd, const void *buffer,
			      size_t count);
int vfio_device_mig_precopy_info(struct vfio_device *vdev, int data_fd,
				 struct vfio_precopy_info *info);

/* One call takes every guest slot and P2P map of the device away (see `revoke`); idempotent. */
void vfio_device_revoke(struct vfio_device *vdev);

/* Guest memory [@iova, +@length) leaves; returns when no provider holds it. */
void vfio_device_dma_unmap(struct vfio_device *vdev, uint64_t iova, uint64_t length);

/*
 * The state of the device as one JSON object (new reference, NULL without memory): what the kernel
 * shows under debug_root. Probes features; the loop thread, not under the set's lock.
 */
struct json_t *vfio_device_status(struct vfio_device *vdev);

/*
 * Is what the user asked permitted for this feature? @supported_ops: VFIO_DEVICE_FEATURE_GET | _SET.
 * -EINVAL wrong flags or argsz too small, 0 a PROBE is answered, 1 go on. Exactly the kernel's.
 */
static inline int vfio_check_feature(uint32_t flags, size_t argsz, uint32_t supported_ops,
				     size_t minsz)
{
	if ((flags & (VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET)) & ~supported_ops)
		return -EINVAL;
	if (flags & VFIO_DEVICE_FEATURE_PROBE)
		return 0;
	if (!(flags & (VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET)))
		return -EINVAL;
	if (argsz < minsz)
		return -EINVAL;
	return 1;
}

#endif
