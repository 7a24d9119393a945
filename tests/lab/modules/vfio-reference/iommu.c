// SPDX-License-Identifier: GPL-2.0-only
/* The software IOMMU as the IOMMU core sees it: registration, devices, attachments. */
#include <linux/iommu.h>
#include <linux/lockdep.h>
#include <linux/module.h>
#include <linux/property.h>
#include <linux/slab.h>

#include "iommu_internal.h"

/* Where x86 has its interrupt window: user space must keep it free, as behind a real IOMMU. */
#define VREF_MSI_START  0xfee00000
#define VREF_MSI_LENGTH 0x00100000

struct iopf_queue *vref_fault_queue;
static struct iommu_device vref_iommu;
static struct fwnode_handle *vref_fwnode;

/* A fault-capable domain comes (@on) or goes. */
static int vref_count_fault_domain(struct vref_master *master, struct iommu_domain *domain, bool on)
{
	int ret = 0;

	if (!domain || !domain->iopf_handler)
		return 0;
	if (!on) {
		if (!--master->fault_domains)
			iopf_queue_remove_device(vref_fault_queue, master->dev);
		return 0;
	}
	if (!master->fault_domains)
		ret = iopf_queue_add_device(vref_fault_queue, master->dev);
	if (!ret)
		master->fault_domains++;
	return ret;
}

/* Replace @old by @domain (NULL: block) for @pasid; on failure the old one stays. */
static int vref_set(struct device *dev, ioasid_t pasid, struct iommu_domain *domain,
		    struct iommu_domain *old)
{
	struct vref_master *master = vref_master_of(dev);
	int ret;

	if (domain && READ_ONCE(master->fail_attach))
		return READ_ONCE(master->fail_attach);

	/*
	 * A DMA that waits for a page response does so without the lock, so this does not wait for user
	 * space. When it has the answer it looks its domain up again.
	 */
	guard(rwsem_write)(&master->lock);
	ret = vref_count_fault_domain(master, domain, true);
	if (ret)
		return ret;
	if (pasid == IOMMU_NO_PASID)
		master->rid = domain;
	else if (domain)
		ret = xa_err(xa_store(&master->pasids, pasid, domain, GFP_KERNEL));
	else
		xa_erase(&master->pasids, pasid);
	vref_count_fault_domain(master, ret ? domain : old, false);
	return ret;
}

static int vref_block_dev(struct iommu_domain *domain, struct device *dev, struct iommu_domain *old)
{
	return vref_set(dev, IOMMU_NO_PASID, NULL, old);
}

static int vref_block_pasid(struct iommu_domain *domain, struct device *dev, ioasid_t pasid,
			    struct iommu_domain *old)
{
	return vref_set(dev, pasid, NULL, old);
}

static const struct iommu_domain_ops vref_blocked_ops = {
	.attach_dev = vref_block_dev,
	.set_dev_pasid = vref_block_pasid,
};

struct iommu_domain vref_blocked_domain = {
	.type = IOMMU_DOMAIN_BLOCKED,
	.ops = &vref_blocked_ops,
};

int vref_attach_dev(struct iommu_domain *domain, struct device *dev, struct iommu_domain *old)
{
	return vref_set(dev, IOMMU_NO_PASID, domain, old);
}

int vref_set_dev_pasid(struct iommu_domain *domain, struct device *dev, ioasid_t pasid,
		       struct iommu_domain *old)
{
	return vref_set(dev, pasid, domain, old);
}

static bool vref_capable(struct device *dev, enum iommu_cap cap)
{
	switch (cap) {
	case IOMMU_CAP_CACHE_COHERENCY:
	case IOMMU_CAP_ENFORCE_CACHE_COHERENCY:
	case IOMMU_CAP_DIRTY_TRACKING:
	case IOMMU_CAP_PCI_ATS_SUPPORTED:
		return true;
	default:
		return false;
	}
}

static struct iommu_device *vref_probe_device(struct device *dev)
{
	struct vref_master *master = kzalloc(sizeof(*master), GFP_KERNEL);

	if (!master)
		return ERR_PTR(-ENOMEM);
	master->dev = dev;
	init_rwsem(&master->lock);
	xa_init(&master->pasids);
	mutex_init(&master->request_lock);
	init_completion(&master->answered);
	dev_iommu_priv_set(dev, master);
	return &vref_iommu;
}

static void vref_release_device(struct device *dev)
{
	struct vref_master *master = vref_master_of(dev);

	WARN_ON(master->fault_domains || !xa_empty(&master->pasids));
	xa_destroy(&master->pasids);
	kfree(master);
}

static void vref_get_resv_regions(struct device *dev, struct list_head *list)
{
	struct iommu_resv_region *region;

	region = iommu_alloc_resv_region(VREF_MSI_START, VREF_MSI_LENGTH,
					 IOMMU_WRITE | IOMMU_NOEXEC, IOMMU_RESV_MSI, GFP_KERNEL);
	if (region)
		list_add_tail(&region->list, list);
}

/*
 * Blocked is the default domain, so that a device that
 * nobody has attached reaches nothing.
 */
static const struct iommu_ops vref_iommu_ops = {
	.owner = THIS_MODULE,
	.default_domain = &vref_blocked_domain,
	.blocked_domain = &vref_blocked_domain,
	.release_domain = &vref_blocked_domain,
	.capable = vref_capable,
	.domain_alloc_paging_flags = vref_domain_alloc,
	.probe_device = vref_probe_device,
	.release_device = vref_release_device,
	.device_group = generic_device_group,
	.get_resv_regions = vref_get_resv_regions,
	.page_response = vref_page_response,
};

void vref_iommu_fail_attach(struct device *dev, int error)
{
	WRITE_ONCE(vref_master_of(dev)->fail_attach, error);
}

void vref_iommu_delay(struct device *dev, unsigned int us)
{
	WRITE_ONCE(vref_master_of(dev)->delay_us, us);
}

unsigned long vref_iommu_page_requests(struct device *dev)
{
	return READ_ONCE(vref_master_of(dev)->requests);
}

int vref_iommu_add(struct device *dev)
{
	static const struct property_entry properties[] = {
		PROPERTY_ENTRY_U32("pasid-num-bits", VREF_IOMMU_PASID_BITS), {}};
	int ret;

	/* Where a device on a bus without PASID capabilities says how many it has. */
	ret = device_create_managed_software_node(dev, properties, NULL);
	if (ret)
		return ret;
	/*
	 * The core has this done under a lock of its own while it walks a firmware's description, and
	 * asserts that. Here there is none, and nobody else can know a device that is not added yet.
	 */
	lockdep_off();
	ret = iommu_fwspec_init(dev, vref_fwnode);
	lockdep_on();
	return ret;
}

int vref_iommu_register(void)
{
	int ret;

	vref_fault_queue = iopf_queue_alloc("vfio-reference");
	if (!vref_fault_queue)
		return -ENOMEM;
	vref_fwnode = fwnode_create_software_node(NULL, NULL);
	if (IS_ERR(vref_fwnode)) {
		ret = PTR_ERR(vref_fwnode);
		goto err_queue;
	}
	ret = iommu_device_sysfs_add(&vref_iommu, NULL, NULL, "vfio-reference-iommu");
	if (ret)
		goto err_fwnode;
	vref_iommu.fwnode = vref_fwnode;
	vref_iommu.max_pasids = 1u << VREF_IOMMU_PASID_BITS;
	vref_blocked_domain.owner = &vref_iommu_ops;
	ret = iommu_device_register(&vref_iommu, &vref_iommu_ops, NULL);
	if (ret)
		goto err_sysfs;
	return 0;

err_sysfs:
	iommu_device_sysfs_remove(&vref_iommu);
err_fwnode:
	fwnode_remove_software_node(vref_fwnode);
err_queue:
	iopf_queue_free(vref_fault_queue);
	return ret;
}

void vref_iommu_unregister(void)
{
	iommu_device_unregister(&vref_iommu);
	iommu_device_sysfs_remove(&vref_iommu);
	fwnode_remove_software_node(vref_fwnode);
	iopf_queue_free(vref_fault_queue);
}
