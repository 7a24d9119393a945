/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The reference device behind the kernel's VFIO core: what the files of this module share.
 *
 * Locks, outermost first:
 *   dev_set->lock    the VFIO core's, around open, close, attach
 *   control          changes that stop the engine (reset, migration arcs), and SET_IRQS: one at a time
 *   lock             the model and all that its callbacks use. Never held over an access to user memory, whose
 *                    fault may be one of vref_fault(), except where iova_bitmap pins pages
 *   memory_lock      whether BARs can be mapped; inside of mmap_lock in vref_fault(), so nothing
 *                    that takes mmap_lock is done under it
 */
#ifndef VFIO_REFERENCE_H
#define VFIO_REFERENCE_H

#include <linux/eventfd.h>
#include <linux/iommufd.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/rwsem.h>
#include <linux/uuid.h>
#include <linux/vfio.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "devices/vfio/reference/model.h"

/* Regions are told apart by the upper bits of the file offset, as vfio-pci does it. */
#define VREF_REGION_SHIFT 40
#define VREF_REGION_MASK  (BIT_ULL(VREF_REGION_SHIFT) - 1)

#define VREF_NAME_EMULATED "vfio-reference-emulated"
#define VREF_NAME_PHYSICAL "vfio-reference-physical"

/* The longest access of the DMA engine. */
#define VREF_BOUNCE_SIZE SZ_64K

/* VFIO_DEVICE_IOEVENTFD: as vfio-pci has it (VFIO_PCI_IOEVENTFD_MAX). */
#define VREF_IOEVENTFDS_MAX 1000

struct vref_device;

/* Devices that are reset together, see set.c. */
struct vref_set {
	atomic_t inside;                    /* in the driver's open, close, hot reset */
	atomic_t calls, unlocked, overlaps; /* of these */
	unsigned int delay_us;              /* each takes so long */
};

/* The page of guest memory that an emulated device keeps pinned, see dma_emulated.c. */
struct vref_pin {
	struct mutex lock;
	struct page *page; /* NULL: none */
	u64 iova;
	bool write;
};

struct vref_device {
	struct vfio_device vdev;
	struct platform_device *pdev;
	bool physical;
	struct vref_set *set, own_set;

	struct mutex control;
	struct mutex lock;

	struct reference_device model;
	void *scratch, *memory, *bounce; /* the first two can be mapped */
	unsigned long *dirty, *fresh;

	/* region.c */
	struct rw_semaphore memory_lock;
	bool decodes;        /* BARs can be mapped and touched */
	atomic_t mappings;   /* areas of user space that show a BAR */
	atomic_t was_mapped; /* one has come since the model was told */

	/* irq.c: under lock; MSI-X or INTx or none, as of vfio-pci */
	int irq_type; /* VFIO_PCI_NUM_IRQS: none */
	struct eventfd_ctx **vectors;
	struct eventfd_ctx *intx;
	bool intx_asserted, intx_masked;
	struct virqfd *unmask;
	struct eventfd_ctx *error, *request;

	/* ioeventfd.c: under control */
	struct list_head ioeventfds;
	unsigned int nr_ioeventfds;

	/* engine.c */
	struct work_struct engine;
	bool busy; /* an access is out; changes under lock */
	wait_queue_head_t idle;
	bool closing; /* nothing is started any more */

	/* dma_emulated.c */
	struct iommufd_ctx *ictx;
	struct rw_semaphore pasid_lock;
	struct xarray pasids; /* PASID -> struct iommufd_access */
	struct vref_pin pin;

	/* migration.c: under lock */
	struct vref_stream *stream; /* of the session that goes on, or NULL */
	wait_queue_head_t stream_wait;

	/* log.c: under lock */
	struct dirty_log_range *log_ranges;
	u64 *log_bitmap;

	/* control.c */
	bool has_token;
	uuid_t token;
	int fail_attach; /* of the emulated kind; the physical one's is the IOMMU's */
	bool opened_with_kvm, needs_kvm;
	unsigned int opens, requests, dma_unmaps;
};

static inline struct vref_device *to_vref(struct vfio_device *vdev)
{
	return container_of(vdev, struct vref_device, vdev);
}

/* ---- main.c ---- */

extern struct workqueue_struct *vref_workqueue;
extern unsigned int vref_vectors, vref_migration;
extern unsigned long vref_memory;
extern bool vref_shared_sets;

/* ---- device.c ---- */

int vref_register(struct platform_device *pdev, bool physical);
void vref_unregister(struct platform_device *pdev);
int vref_reset(struct vref_device *v);

/* ---- region.c ---- */

ssize_t vref_read(struct vfio_device *vdev, char __user *buffer, size_t count, loff_t *pos);
ssize_t vref_write(struct vfio_device *vdev, const char __user *buffer, size_t count, loff_t *pos);
int vref_get_region_info_caps(struct vfio_device *vdev, struct vfio_region_info *info,
			      struct vfio_info_cap *caps);
int vref_mmap(struct vfio_device *vdev, struct vm_area_struct *vma);
/* Write to a region as user space does, from the kernel. */
ssize_t vref_region_write(struct vref_device *v, u32 index, const void *data, size_t count,
			  u64 offset);
/* Do what the model's REFERENCE_EFFECT_* ask for; under lock. */
void vref_act(struct vref_device *v, u32 effects);
/* Tell the model whether user space can have written to its memory unseen; under lock. */
void vref_tell_mapped(struct vref_device *v);

/* ---- irq.c ---- */

void vref_raise(void *ctx, u32 vector);
void vref_intx(void *ctx, bool asserted);
long vref_get_irq_info(struct vref_device *v, struct vfio_irq_info __user *arg);
long vref_set_irqs(struct vref_device *v, struct vfio_irq_set __user *arg);
/* All of them off: at close. */
void vref_irqs_off(struct vref_device *v);
void vref_signal_error(struct vref_device *v);
void vref_signal_request(struct vref_device *v);

/* ---- ioeventfd.c ---- */

long vref_ioeventfd(struct vref_device *v, struct vfio_device_ioeventfd __user *arg);
void vref_ioeventfds_off(struct vref_device *v);

/* ---- engine.c ---- */

void vref_engine(struct work_struct *work);
/*
 * Take control and lock, and let the engine come to rest: no access to guest memory is out, and
 * none begins, until vref_resume().
 */
void vref_quiesce(struct vref_device *v);
void vref_resume(struct vref_device *v);

/* ---- dma_emulated.c ---- */

int vref_emulated_rw(struct vref_device *v, u32 pasid, u64 iova, void *data, size_t length,
		     bool write);
int vref_emulated_bind(struct vfio_device *vdev, struct iommufd_ctx *ictx, u32 *out_device_id);
void vref_emulated_unbind(struct vfio_device *vdev);
int vref_emulated_attach(struct vfio_device *vdev, u32 *pt_id);
int vref_emulated_pasid_attach(struct vfio_device *vdev, u32 pasid, u32 *pt_id);
void vref_emulated_pasid_detach(struct vfio_device *vdev, u32 pasid);
void vref_emulated_dma_unmap(struct vfio_device *vdev, u64 iova, u64 length);

/* ---- migration.c ---- */

extern const struct vfio_migration_ops vref_migration_ops;
/* The session is over, under lock: its descriptor answers with an error from now on. */
void vref_stream_end(struct vref_device *v);

/* ---- log.c ---- */

extern const struct vfio_log_ops vref_log_ops;
/* Under lock. */
void vref_log_off(struct vref_device *v);

/* ---- set.c ---- */

/* Before registration. */
int vref_set_join(struct vref_device *v);
/* Around what the core does under the lock of the device's set. */
void vref_set_enter(struct vref_device *v);
void vref_set_leave(struct vref_device *v);
long vref_hot_reset_info(struct vref_device *v, struct vfio_pci_hot_reset_info __user *arg);
long vref_hot_reset(struct vref_device *v, struct vfio_pci_hot_reset __user *arg);

/* ---- control.c ---- */

extern const struct attribute_group *vref_groups[];

#endif
