/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A software IOMMU for the physical kind of the reference device.
 *
 * To the IOMMU core it is one more IOMMU instance; what is behind it asks for its DMA with
 * vref_iommu_rw(), which translates, checks, marks dirty pages, raises page requests and copies.
 * Its page table is a flat xarray: it is there to be right and looked at, not to be fast.
 */
#ifndef VFIO_REFERENCE_IOMMU_H
#define VFIO_REFERENCE_IOMMU_H

#include <linux/device.h>
#include <linux/types.h>

/* As PASIDs have in PCI Express' TLP prefix at most 20 bits, and the reference device 16. */
#define VREF_IOMMU_PASID_BITS 16

int vref_iommu_register(void);
void vref_iommu_unregister(void);

/* Put @dev behind the IOMMU: before device_add(). */
int vref_iommu_add(struct device *dev);

/*
 * DMA of @dev: read or write @length bytes at @iova of address space @pasid, 0 for the one of
 * requests without a PASID. Sleeps; with a fault-capable domain it sleeps until user space has
 * answered the page request. The bytes before the one that failed may be done.
 *
 * -EFAULT: not mapped, or not for this access, and no page request could cure it.
 * -EINTR: vref_iommu_interrupt() came while it waited for an answer.
 */
int vref_iommu_rw(struct device *dev, u32 pasid, u64 iova, void *data, size_t length, bool write);

/*
 * Whoever waits in vref_iommu_rw() for the answer to a page request gives up, and nobody begins
 * to wait until vref_iommu_resume(). A driver calls it when it must stop its DMA: the answer may
 * never come, since the one who would give it may be the one who closes the device.
 */
void vref_iommu_interrupt(struct device *dev);
void vref_iommu_resume(struct device *dev);

/* The next attachments of @dev, RID or PASID, fail with @error (0: they work again). */
void vref_iommu_fail_attach(struct device *dev, int error);
/* So many microseconds pass between translation and copy: who must wait for DMA in flight finds some. */
void vref_iommu_delay(struct device *dev, unsigned int us);
/* Page requests @dev has raised so far. */
unsigned long vref_iommu_page_requests(struct device *dev);

#endif
