// SPDX-License-Identifier: GPL-2.0-only
/* Page tables of the software IOMMU: map, unmap, dirty tracking. */
#include <linux/iommu.h>
#include <linux/slab.h>

#include "iommu_internal.h"

#define VREF_APERTURE_BITS 48

static int vref_map_pages(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr,
			  size_t pgsize, size_t pgcount, int prot, gfp_t gfp, size_t *mapped)
{
	struct vref_domain *table = to_vref_domain(domain);
	unsigned long count = pgsize / PAGE_SIZE * pgcount, rights = 0, i;

	if (prot & IOMMU_READ)
		rights |= VREF_PTE_READ;
	if (prot & IOMMU_WRITE)
		rights |= VREF_PTE_WRITE;
	for (i = 0; i < count; i++) {
		unsigned long pte = (PHYS_PFN(paddr) + i) << VREF_PTE_SHIFT | rights;

		if (xa_err(xa_store(&table->pages, PHYS_PFN(iova) + i, xa_mk_value(pte), gfp)))
			return -ENOMEM;
		*mapped += PAGE_SIZE;
	}
	return 0;
}

static size_t vref_unmap_pages(struct iommu_domain *domain, unsigned long iova, size_t pgsize,
			       size_t pgcount, struct iommu_iotlb_gather *gather)
{
	struct vref_domain *table = to_vref_domain(domain);
	unsigned long count = pgsize / PAGE_SIZE * pgcount, i;

	/* The caller unpins the pages next. */
	guard(rwsem_write)(&table->lock);
	for (i = 0; i < count; i++)
		if (!xa_erase(&table->pages, PHYS_PFN(iova) + i))
			break;
	return i * PAGE_SIZE;
}

static void vref_iotlb_sync(struct iommu_domain *domain, struct iommu_iotlb_gather *gather)
{
	/* Nothing is cached. */
}

static phys_addr_t vref_iova_to_phys(struct iommu_domain *domain, dma_addr_t iova)
{
	void *entry = xa_load(&to_vref_domain(domain)->pages, PHYS_PFN(iova));

	if (!entry)
		return 0;
	return PFN_PHYS(xa_to_value(entry) >> VREF_PTE_SHIFT) + offset_in_page(iova);
}

static bool vref_enforce_cache_coherency(struct iommu_domain *domain)
{
	return true; /* its DMA are stores of this CPU */
}

static void vref_domain_free(struct iommu_domain *domain)
{
	struct vref_domain *table = to_vref_domain(domain);

	xa_destroy(&table->pages);
	kfree(table);
}

static const struct iommu_domain_ops vref_paging_ops = {
	.attach_dev = vref_attach_dev,
	.set_dev_pasid = vref_set_dev_pasid,
	.map_pages = vref_map_pages,
	.unmap_pages = vref_unmap_pages,
	.iotlb_sync = vref_iotlb_sync,
	.iova_to_phys = vref_iova_to_phys,
	.enforce_cache_coherency = vref_enforce_cache_coherency,
	.free = vref_domain_free,
};

static int vref_set_dirty_tracking(struct iommu_domain *domain, bool on)
{
	struct vref_domain *table = to_vref_domain(domain);

	guard(rwsem_write)(&table->lock);
	table->tracking = on;
	return 0;
}

static int vref_read_and_clear_dirty(struct iommu_domain *domain, unsigned long iova, size_t size,
				     unsigned long flags, struct iommu_dirty_bitmap *dirty)
{
	struct vref_domain *table = to_vref_domain(domain);
	unsigned long last = PHYS_PFN(iova + size - 1), page;
	void *entry;

	guard(rwsem_write)(&table->lock);
	/* Without a bitmap the core clears what is left over from before, and then turns it on. */
	if (!table->tracking && dirty->bitmap)
		return -EINVAL;
	xa_for_each_marked(&table->pages, page, entry, VREF_DIRTY) {
		if (page < PHYS_PFN(iova))
			continue;
		if (page > last)
			break;
		if (!(flags & IOMMU_DIRTY_NO_CLEAR))
			xa_clear_mark(&table->pages, page, VREF_DIRTY);
		iommu_dirty_bitmap_record(dirty, PFN_PHYS(page), PAGE_SIZE);
	}
	return 0;
}

static const struct iommu_dirty_ops vref_dirty_ops = {
	.set_dirty_tracking = vref_set_dirty_tracking,
	.read_and_clear_dirty = vref_read_and_clear_dirty,
};

struct iommu_domain *vref_domain_alloc(struct device *dev, u32 flags,
				       const struct iommu_user_data *user_data)
{
	struct vref_domain *table;

	if (user_data || flags & ~(IOMMU_HWPT_ALLOC_DIRTY_TRACKING | IOMMU_HWPT_ALLOC_PASID))
		return ERR_PTR(-EOPNOTSUPP);

	table = kzalloc(sizeof(*table), GFP_KERNEL_ACCOUNT);
	if (!table)
		return ERR_PTR(-ENOMEM);
	init_rwsem(&table->lock);
	xa_init(&table->pages);
	table->domain.type = IOMMU_DOMAIN_UNMANAGED;
	table->domain.ops = &vref_paging_ops;
	table->domain.pgsize_bitmap = PAGE_SIZE;
	table->domain.geometry.aperture_end = BIT_ULL(VREF_APERTURE_BITS) - 1;
	table->domain.geometry.force_aperture = true;
	if (flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING)
		table->domain.dirty_ops = &vref_dirty_ops;
	return &table->domain;
}
