/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the kernel provider share; nobody else includes it. */
#ifndef SLUICE_VFIO_KERNEL_KERNEL_H
#define SLUICE_VFIO_KERNEL_KERNEL_H

#include <limits.h>
#include <linux/iommufd.h>

#include "devices/vfio/device.h"
#include "devices/vfio/names.h"
#include "devices/vfio/provider.h"
#include "devices/vfio/providers/kernel/calls.h"
#include "devices/vfio/providers/kernel/hwpt_choice.h"
#include "devices/vfio/providers/kernel/iommufd.h"
#include "vmm/base/dma.h"

struct loop_source;

struct kernel_iommufd {
	const struct kernel_calls *calls;
	struct iommufd_ctx *ictx;
	int fd;
	pthread_mutex_t
		lock; /* spaces and their page tables; an ioas lock may be taken inside it */
	struct kernel_ioas *spaces;
};

/* The kernel's mirror of one struct ioas; there while a device is attached to it. */
struct kernel_ioas {
	struct kernel_iommufd *iommufd;
	struct ioas *ioas;
	uint32_t id;
	unsigned users;
	bool mirrored;       /* ioas_mirror_add() done */
	bool no_map_file;    /* this kernel has no IOAS_MAP_FILE; under the lock of @ioas */
	uint64_t mapped;     /* bytes; under the lock of @ioas */
	uint64_t said_until; /* host_now_ns(): so long @said counts what was not mapped; likewise */
	unsigned said;
	struct kernel_hwpt *hwpts; /* those asked for explicitly */
	struct kernel_ioas *next;
};

struct kernel_hwpt {
	uint32_t id;
	uint32_t flags;
	unsigned users;
	struct kernel_hwpt *next;
};

/* A PASID with an address space of its own; or one that had it, in kernel_device.parted. */
struct kernel_pasid {
	uint32_t pasid;
	struct kernel_ioas *space;
	struct kernel_hwpt *hwpt; /* NULL: an emulated device has no tables */
	struct kernel_pasid *next;
};

/* An eventfd by which the kernel tells of one thing (ERR, REQ). */
struct kernel_event {
	struct kernel_device *kd;
	unsigned index; /* VFIO_PCI_ERR_IRQ_INDEX, VFIO_PCI_REQ_IRQ_INDEX */
	int fd;         /* -1: not armed */
	unsigned count; /* how often it came */
	struct loop_source *source;
};

/* What is used most comes first: a small offset is a short instruction. */
struct kernel_device {
	const struct kernel_calls *calls;
	struct kernel_iommufd *iommufd;
	struct loop *loop; /* NULL: no events */

	int fd;        /* open node; -1 */
	int passed_fd; /* fd=N until the first open uses it up, -1 */
	bool migratable;
	bool wants_pasids; /* a PASID was attached since the bind: tables are made for them */
	unsigned max_pasid_log2;
	uint64_t capabilities; /* IOMMU_HW_CAP_* */

	struct kernel_ioas *space; /* attached to; NULL */
	struct kernel_hwpt *hwpt;  /* NULL: the kernel's own choice */
	struct kernel_pasid *pasids;
	/* What a closing device was attached to, kept until its node is closed. */
	struct kernel_ioas *parted_space;
	struct kernel_hwpt *parted_hwpt;
	struct kernel_pasid *parted;

	char name[64]; /* for messages: vdev.dev, there before it */
	struct vfio_device vdev;
	char bdf[VFIO_BDF_SIZE];      /* "" when it is no PCI device */
	char dev[24];                 /* "511:0" of the node, as sysfs says; "" when it does not */
	char spelled[VFIO_PATH_SIZE]; /* as the user named it */
	char sysfs[VFIO_PATH_SIZE];   /* its directory, resolved; "" when sysfs is not there */
	char node[VFIO_PATH_SIZE];    /* /dev/vfio/devices/vfioN; "" for a passed descriptor */

	struct kernel_event err, req;
};

static inline struct kernel_device *kernel_device(struct vfio_device *vdev)
{
	return (struct kernel_device *)((char *)vdev - offsetof(struct kernel_device, vdev));
}

int kernel_ioctl(struct kernel_device *kd, unsigned long request, void *arg);

/*
 * cdev.c: from a name to the device node. kernel_find() fills name, bdf, sysfs, node, dev, passed_fd
 * and says the index of the node (UINT_MAX: not known). kernel_open_node() gives a descriptor. Both
 * print what is wrong.
 */
int kernel_find(struct kernel_device *kd, const struct vfio_config *config, unsigned *index);
int kernel_open_node(struct kernel_device *kd);
/* The reset domain: 0 alone, else what devices that share it have in common. */
uint64_t kernel_set_id(const struct kernel_device *kd);

/* attach.c */
int kernel_attach_ioas(struct vfio_device *vdev, uint32_t *pt_id);
void kernel_detach_ioas(struct vfio_device *vdev);
int kernel_pasid_attach_ioas(struct vfio_device *vdev, uint32_t pasid, uint32_t *pt_id);
void kernel_pasid_detach_ioas(struct vfio_device *vdev, uint32_t pasid);
/* The node is closed: let go of what the device was attached to. */
void kernel_attach_done(struct kernel_device *kd);

/* iommufd.c: for attach.c, under iommufd->lock. */
int kernel_space_get(struct kernel_iommufd *iommufd, struct ioas *ioas, struct kernel_ioas **out);
void kernel_space_put(struct kernel_ioas *space);
/* Begin to mirror what is mapped, unless that is so already. */
int kernel_space_mirror(struct kernel_ioas *space);
void kernel_space_small_pages(struct kernel_ioas *space);
int kernel_iommufd_ioctl(struct kernel_iommufd *iommufd, unsigned long request, void *arg);
void kernel_explain_pin(const struct kernel_ioas *space, const char *device, uint64_t more);

/* events.c */
int kernel_events_open(struct kernel_device *kd);
void kernel_events_close(struct kernel_device *kd);

/* config.c: how many PASIDs the open device has by its configuration space; 0: it says nothing of them. */
uint32_t kernel_config_pasids(struct kernel_device *kd);

/* feature.c: which migration and log ops the open device has; any feature, payload alone. */
void kernel_probe_features(struct kernel_device *kd);
int kernel_feature(struct kernel_device *kd, uint32_t flags, void *data, size_t size);

/*
 * messages.c: the one message for a failure; each returns @error, kernel_explain_fd() -EBADF: @fd, passed
 * as @who says ("--iommufd fd=9"), is not @node, open for both.
 */
int kernel_explain_fd(const struct kernel_calls *calls, const char *who, int fd, const char *node,
		      int error);
int kernel_explain_unbound(const struct kernel_device *kd);
int kernel_explain_node(const struct kernel_device *kd, int error);
int kernel_explain_bind(const struct kernel_device *kd, int error);
int kernel_explain_attach(const struct kernel_device *kd, const struct kernel_ioas *space,
			  int error);

#endif
