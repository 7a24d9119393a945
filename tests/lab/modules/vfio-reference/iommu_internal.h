/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of the software IOMMU share. */
#ifndef VFIO_REFERENCE_IOMMU_INTERNAL_H
#define VFIO_REFERENCE_IOMMU_INTERNAL_H

#include <linux/completion.h>
#include <linux/iommu.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/xarray.h>

#include "iommu.h"

/*
 * A paging domain. @pages: IOVA page number -> PFN and rights (an xarray value); VREF_DIRTY marks
 * the pages that were written while @tracking.
 *
 * @lock is held for read while a DMA uses a translation, for write by whoever takes a translation
 * or a dirty mark away: after unmap_pages no DMA can touch a page that is about to be unpinned, and
 * no write can fall between the reading of a dirty mark and its clearing.
 */
struct vref_domain {
	struct iommu_domain domain;
	struct rw_semaphore lock;
	struct xarray pages;
	bool tracking;
};

#define VREF_DIRTY XA_MARK_0

#define VREF_PTE_READ  BIT(0)
#define VREF_PTE_WRITE BIT(1)
#define VREF_PTE_SHIFT 2

/*
 * What the IOMMU knows of one device, as a context entry with its PASID table would.
 *
 * @lock orders attachments against DMA: an attach that has returned leaves no DMA behind in the old
 * domain. Taken before the domain's lock.
 */
struct vref_master {
	struct device *dev;
	struct rw_semaphore lock;
	struct iommu_domain *rid; /* NULL: blocked */
	struct xarray pasids;     /* PASID -> iommu_domain */
	int fail_attach;
	unsigned int delay_us;

	/*
	 * The queue of page requests is the device's, the domains that want one are many: it is there as
	 * long as one of them is attached.
	 */
	unsigned int fault_domains;

	/* The page request in flight, one at a time. */
	struct mutex request_lock;
	struct completion answered;
	unsigned int group;    /* its PRG index */
	unsigned int response; /* IOMMU_PAGE_RESP_* */
	bool interrupted;
	unsigned long requests;
};

static inline struct vref_domain *to_vref_domain(struct iommu_domain *domain)
{
	return container_of(domain, struct vref_domain, domain);
}

static inline struct vref_master *vref_master_of(struct device *dev)
{
	return dev_iommu_priv_get(dev);
}

/* Attach a paging domain: its operations, done where devices are known. */
int vref_attach_dev(struct iommu_domain *domain, struct device *dev, struct iommu_domain *old);
int vref_set_dev_pasid(struct iommu_domain *domain, struct device *dev, ioasid_t pasid,
		       struct iommu_domain *old);

struct iommu_domain *vref_domain_alloc(struct device *dev, u32 flags,
				       const struct iommu_user_data *user_data);
extern struct iommu_domain vref_blocked_domain;

void vref_page_response(struct device *dev, struct iopf_fault *fault,
			struct iommu_page_response *response);

extern struct iopf_queue *vref_fault_queue;

#endif
