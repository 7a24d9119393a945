// SPDX-License-Identifier: GPL-2.0-only
/* DMA through the software IOMMU: translation, the copy, and page requests where that fails. */
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/iommu.h>
#include <linux/mm.h>

#include "iommu_internal.h"

/* PCI Express 10.4.1: 9 bits of Page Request Group Index. */
#define VREF_GROUPS 512

/*
 * A success that did not help (the page is still not there) is asked for again so often. A device
 * would do so for ever; here somebody waits for it.
 */
#define VREF_REQUEST_TRIES 4

/* Copy inside of one page; the domain's lock is held for read. */
static int vref_copy_page(struct vref_master *master, struct vref_domain *table, u64 iova,
			  void *data, size_t length, bool write)
{
	unsigned long right = write ? VREF_PTE_WRITE : VREF_PTE_READ, pte, pfn;
	void *entry = NULL;
	char *page;

	if (iova <= table->domain.geometry.aperture_end)
		entry = xa_load(&table->pages, PHYS_PFN(iova));
	pte = entry ? xa_to_value(entry) : 0;
	pfn = pte >> VREF_PTE_SHIFT;
	/* Memory of another device (a dma-buf) has no page to copy from: to software it is not there. */
	if (!(pte & right) || !pfn_valid(pfn))
		return -EFAULT;

	if (READ_ONCE(master->delay_us))
		fsleep(READ_ONCE(master->delay_us));
	page = kmap_local_page(pfn_to_page(pfn)) + offset_in_page(iova);
	if (write)
		memcpy(page, data, length);
	else
		memcpy(data, page, length);
	kunmap_local(page);
	if (write && table->tracking)
		xa_set_mark(&table->pages, PHYS_PFN(iova), VREF_DIRTY);
	return 0;
}

void vref_page_response(struct device *dev, struct iopf_fault *fault,
			struct iommu_page_response *response)
{
	struct vref_master *master = vref_master_of(dev);

	/* The answer to one that was given up comes late, and is nobody's. */
	if (response->grpid != READ_ONCE(master->group))
		return;
	master->response = response->code;
	complete(&master->answered);
}

/* Ask user space for a page. 0: try again; -EFAULT it will not come; -EINTR. */
static int vref_page_request(struct vref_master *master, u32 pasid, u64 iova, bool write)
{
	struct iopf_fault fault = {
		.fault =
			{
				.type = IOMMU_FAULT_PAGE_REQ,
				.prm =
					{
						.flags = IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE,
						.addr = iova & PAGE_MASK,
						.perm = write ? IOMMU_FAULT_PERM_WRITE
							      : IOMMU_FAULT_PERM_READ,
					},
			},
	};

	guard(mutex)(&master->request_lock);
	reinit_completion(&master->answered);
	/* After that: an interrupt that came before must not be forgotten. */
	smp_mb();
	if (READ_ONCE(master->interrupted))
		return -EINTR;
	WRITE_ONCE(master->group, (master->group + 1) % VREF_GROUPS);
	fault.fault.prm.grpid = master->group;
	if (pasid) {
		fault.fault.prm.flags |= IOMMU_FAULT_PAGE_REQUEST_PASID_VALID;
		fault.fault.prm.pasid = pasid;
	}
	master->requests++;
	/* The fault-capable domain may have gone in between; then the core answers at once. */
	if (iommu_report_device_fault(master->dev, &fault))
		return -EFAULT;
	wait_for_completion(&master->answered);
	if (READ_ONCE(master->interrupted)) {
		/* An answer from now on is too late. */
		WRITE_ONCE(master->group, (master->group + 1) % VREF_GROUPS);
		return -EINTR;
	}
	return master->response == IOMMU_PAGE_RESP_SUCCESS ? 0 : -EFAULT;
}

/* One page; *@fault_capable: its domain takes page requests. */
static int vref_rw_page(struct vref_master *master, u32 pasid, u64 iova, void *data, size_t length,
			bool write, bool *fault_capable)
{
	struct iommu_domain *domain;
	struct vref_domain *table;

	guard(rwsem_read)(&master->lock);
	domain = pasid ? xa_load(&master->pasids, pasid) : master->rid;
	*fault_capable = domain && domain->iopf_handler;
	if (!domain)
		return -EFAULT;
	table = to_vref_domain(domain);
	guard(rwsem_read)(&table->lock);
	return vref_copy_page(master, table, iova, data, length, write);
}

int vref_iommu_rw(struct device *dev, u32 pasid, u64 iova, void *data, size_t length, bool write)
{
	struct vref_master *master = vref_master_of(dev);
	unsigned int tries = 0;

	while (length) {
		size_t part = min_t(size_t, length, PAGE_SIZE - offset_in_page(iova));
		bool fault_capable;
		int ret;

		ret = vref_rw_page(master, pasid, iova, data, part, write, &fault_capable);
		if (ret && fault_capable && tries++ < VREF_REQUEST_TRIES) {
			/* No lock is held: the answer may take for ever, and may need an attach. */
			ret = vref_page_request(master, pasid, iova, write);
			if (!ret)
				continue;
		}
		if (ret)
			return ret;
		iova += part;
		data += part;
		length -= part;
		tries = 0;
	}
	return 0;
}

void vref_iommu_interrupt(struct device *dev)
{
	struct vref_master *master = vref_master_of(dev);

	WRITE_ONCE(master->interrupted, true);
	smp_mb();
	complete(&master->answered);
}

void vref_iommu_resume(struct device *dev)
{
	WRITE_ONCE(vref_master_of(dev)->interrupted, false);
}
