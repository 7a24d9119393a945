// SPDX-License-Identifier: GPL-2.0-only
/*
 * vfio-reference: VFIO devices without hardware, to test user space with.
 *
 * Each is a platform device with the reference device's model in it. The *emulated* ones are what
 * mediated devices are: VFIO has no IOMMU for them, their DMA is by vfio_dma_rw(). The *physical* ones
 * sit behind an IOMMU, though one of software, with PASIDs, dirty tracking and page requests.
 */
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/vfio.h>

#include "iommu.h"
#include "vfio_reference.h"

#define VREF_DEVICES_MAX 16

static unsigned int emulated = 1, physical = 1;
module_param(emulated, uint, 0444);
MODULE_PARM_DESC(emulated, "number of devices without an IOMMU (default 1)");
module_param(physical, uint, 0444);
MODULE_PARM_DESC(physical, "number of devices behind the software IOMMU (default 1)");

unsigned int vref_vectors = REFERENCE_VECTORS_DEFAULT;
module_param_named(vectors, vref_vectors, uint, 0444);
MODULE_PARM_DESC(vectors, "number of MSI-X vectors of each");
unsigned long vref_memory = REFERENCE_MEMORY_DEFAULT;
module_param_named(memory, vref_memory, ulong, 0444);
MODULE_PARM_DESC(memory, "bytes of device memory of each (BAR 2), a power of two");
unsigned int vref_migration =
	VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P | VFIO_MIGRATION_PRE_COPY;
module_param_named(migration, vref_migration, uint, 0444);
MODULE_PARM_DESC(migration,
		 "VFIO_MIGRATION_* flags, 0 for devices that do not migrate (default 7)");

bool vref_shared_sets;
module_param_named(shared_sets, vref_shared_sets, bool, 0444);
MODULE_PARM_DESC(shared_sets, "the devices of a kind are reset together (default: each alone)");

struct workqueue_struct *vref_workqueue;

static int vref_probe(struct platform_device *pdev)
{
	return vref_register(pdev, platform_get_device_id(pdev)->driver_data);
}

static void vref_remove(struct platform_device *pdev)
{
	vref_unregister(pdev);
}

static const struct platform_device_id vref_ids[] = {
	{VREF_NAME_EMULATED, false},
	{VREF_NAME_PHYSICAL, true},
	{},
};

static struct platform_driver vref_driver = {
	.driver = {.name = "vfio-reference"},
	.probe = vref_probe,
	.remove = vref_remove,
	.id_table = vref_ids,
	/* The DMA is user space's: VFIO claims it, not this driver. */
	.driver_managed_dma = true,
};

static DEFINE_MUTEX(vref_devices_lock);
static struct platform_device *vref_devices[VREF_DEVICES_MAX];
static unsigned int vref_nr_devices;

static int vref_add(const char *name, int id, bool behind_iommu)
{
	struct platform_device *pdev;
	int ret = 0;

	if (vref_nr_devices == VREF_DEVICES_MAX)
		return -ENOSPC;
	pdev = platform_device_alloc(name, id);
	if (!pdev)
		return -ENOMEM;
	if (behind_iommu)
		ret = vref_iommu_add(&pdev->dev);
	ret = ret ?: platform_device_add(pdev);
	if (ret) {
		platform_device_put(pdev);
		return ret;
	}
	vref_devices[vref_nr_devices++] = pdev;
	return 0;
}

static void vref_remove_devices(void)
{
	guard(mutex)(&vref_devices_lock);
	while (vref_nr_devices)
		platform_device_unregister(vref_devices[--vref_nr_devices]);
}

/*
 * The IOMMU core holds the module of an IOMMU for every device behind it, and ours are made by the
 * same module: before rmmod they have to go, by writing to this parameter.
 */
static int vref_set_teardown(const char *value, const struct kernel_param *param)
{
	vref_remove_devices();
	return 0;
}

static const struct kernel_param_ops vref_teardown_ops = {.set = vref_set_teardown};
module_param_cb(teardown, &vref_teardown_ops, NULL, 0200);
MODULE_PARM_DESC(teardown, "write anything: the devices go, so that the module can be removed");

static int __init vref_init(void)
{
	unsigned int i;
	int ret;

	vref_workqueue = alloc_workqueue("vfio-reference", WQ_UNBOUND, 0);
	if (!vref_workqueue)
		return -ENOMEM;
	ret = vref_iommu_register();
	if (ret)
		goto err_workqueue;
	ret = platform_driver_register(&vref_driver);
	if (ret)
		goto err_iommu;
	for (i = 0; i < emulated && !ret; i++)
		ret = vref_add(VREF_NAME_EMULATED, i, false);
	for (i = 0; i < physical && !ret; i++)
		ret = vref_add(VREF_NAME_PHYSICAL, i, true);
	if (ret)
		goto err_devices;
	return 0;

err_devices:
	vref_remove_devices();
	platform_driver_unregister(&vref_driver);
err_iommu:
	vref_iommu_unregister();
err_workqueue:
	destroy_workqueue(vref_workqueue);
	return ret;
}

static void __exit vref_exit(void)
{
	vref_remove_devices();
	platform_driver_unregister(&vref_driver);
	vref_iommu_unregister();
	destroy_workqueue(vref_workqueue);
}

module_init(vref_init);
module_exit(vref_exit);

MODULE_IMPORT_NS("IOMMUFD");
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("VFIO devices of software, with an IOMMU of software, for tests");
