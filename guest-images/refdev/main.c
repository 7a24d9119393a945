// SPDX-License-Identifier: GPL-2.0-only
/* The driver's life: probe, interrupts, reset, removal. */
#include <linux/cpumask.h>
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "driver.h"

static unsigned int vectors = 64;
module_param(vectors, uint, 0444);
MODULE_PARM_DESC(vectors, "MSI-X vectors to use at most; 0: the interrupt pin");

static DEFINE_IDA(refdev_ids);

/* ---- interrupts ---- */

static irqreturn_t refdev_msix(int irq, void *cookie)
{
	struct refdev_vector *vector = cookie;
	struct refdev *dev = vector->dev;

	atomic64_inc(&vector->count);
	if (READ_ONCE(dev->awaited) == vector->index)
		complete(&dev->done);
	return IRQ_HANDLED;
}

static irqreturn_t refdev_pin(int irq, void *cookie)
{
	struct refdev_vector *vector = cookie;
	struct refdev *dev = vector->dev;
	u32 status = refdev_read(dev, REFERENCE_INT_STATUS);

	/* The pin is shared; and all ones is a device that has gone. */
	if (!status || status == ~0u)
		return IRQ_NONE;
	refdev_write(dev, REFERENCE_INT_STATUS, status);
	/* The level must be down before the line is looked at again. */
	refdev_read(dev, REFERENCE_INT_STATUS);
	atomic64_inc(&vector->count);
	complete(&dev->done);
	return IRQ_HANDLED;
}

void refdev_enable(struct refdev *dev)
{
	refdev_write(dev, REFERENCE_INT_STATUS, REFERENCE_INT_DONE | REFERENCE_INT_ERROR);
	refdev_write(dev, REFERENCE_INT_ENABLE,
		     dev->msix ? 0 : REFERENCE_INT_DONE | REFERENCE_INT_ERROR);
}

static void refdev_free_irqs(struct refdev *dev, unsigned int count)
{
	while (count--) {
		int irq = pci_irq_vector(dev->pdev, count);

		irq_update_affinity_hint(irq, NULL);
		free_irq(irq, &dev->vector[count]);
	}
	pci_free_irq_vectors(dev->pdev);
}

static int refdev_request_irqs(struct refdev *dev)
{
	unsigned int wanted = min(vectors, refdev_read(dev, REFERENCE_VECTORS));
	unsigned int i;
	int cpu = -1;
	int ret = -ENOSPC;

	if (wanted)
		ret = pci_alloc_irq_vectors(dev->pdev, 1, wanted, PCI_IRQ_MSIX);
	dev->msix = ret > 0;
	if (ret < 0)
		ret = pci_alloc_irq_vectors(dev->pdev, 1, 1, PCI_IRQ_INTX);
	if (ret < 0)
		return dev_err_probe(&dev->pdev->dev, ret, "no interrupt of any kind\n");
	dev->vectors = ret;
	dev->vector = kcalloc(dev->vectors, sizeof(*dev->vector), GFP_KERNEL);
	if (!dev->vector) {
		pci_free_irq_vectors(dev->pdev);
		return -ENOMEM;
	}
	for (i = 0; i < dev->vectors; i++) {
		struct refdev_vector *vector = &dev->vector[i];
		int irq = pci_irq_vector(dev->pdev, i);

		vector->dev = dev;
		vector->index = i;
		if (dev->msix)
			snprintf(vector->name, sizeof(vector->name), "%s-%u", dev->name, i);
		else
			strscpy(vector->name, dev->name, sizeof(vector->name));
		ret = request_irq(irq, dev->msix ? refdev_msix : refdev_pin,
				  dev->msix ? 0 : IRQF_SHARED, vector->name, vector);
		if (ret) {
			refdev_free_irqs(dev, i);
			kfree(dev->vector);
			return ret;
		}
		/* Vector by vector, processor by processor. */
		cpu = cpumask_next(cpu, cpu_online_mask);
		if (cpu >= nr_cpu_ids)
			cpu = cpumask_first(cpu_online_mask);
		if (dev->msix)
			irq_set_affinity_and_hint(irq, cpumask_of(cpu));
	}
	return 0;
}

/* ---- probe and removal ---- */

void refdev_release(struct kref *kref)
{
	struct refdev *dev = container_of(kref, struct refdev, kref);

	ida_free(&refdev_ids, dev->id);
	kfree(dev->vector);
	kfree(dev);
}

static int refdev_identify(struct refdev *dev)
{
	u32 id = refdev_read(dev, REFERENCE_ID);
	u32 version = refdev_read(dev, REFERENCE_VERSION);

	if (id != REFERENCE_ID_VALUE)
		return dev_err_probe(&dev->pdev->dev, -ENODEV, "register ID reads %08x\n", id);
	if (version >> 16 != REFERENCE_VERSION_VALUE >> 16)
		return dev_err_probe(&dev->pdev->dev, -ENODEV, "version %u.%u is not known\n",
				     version >> 16, version & 0xffff);
	dev->memory_size = refdev_read64(dev, REFERENCE_MEMORY_SIZE);
	if (dev->memory_size != pci_resource_len(dev->pdev, REFERENCE_BAR_MEMORY))
		return dev_err_probe(&dev->pdev->dev, -ENODEV,
				     "%llu bytes of memory in a BAR of %llu\n", dev->memory_size,
				     (u64)pci_resource_len(dev->pdev, REFERENCE_BAR_MEMORY));
	return 0;
}

static int refdev_map(struct refdev *dev)
{
	struct pci_dev *pdev = dev->pdev;

	if (pci_resource_len(pdev, REFERENCE_BAR_REGISTERS) < REFERENCE_BAR0_SIZE)
		return dev_err_probe(&pdev->dev, -ENODEV, "BAR%d is too small\n",
				     REFERENCE_BAR_REGISTERS);
	dev->registers = pcim_iomap(pdev, REFERENCE_BAR_REGISTERS, 0);
	dev->memory = ioremap_wc(pci_resource_start(pdev, REFERENCE_BAR_MEMORY),
				 pci_resource_len(pdev, REFERENCE_BAR_MEMORY));
	return dev->registers && dev->memory ? 0 : -ENOMEM;
}

static int refdev_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct refdev *dev;
	int ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	ret = pcim_request_all_regions(pdev, "refdev");
	if (ret)
		return ret;
	ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;

	dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	if (!dev)
		return -ENOMEM;
	dev->id = ida_alloc(&refdev_ids, GFP_KERNEL);
	if (dev->id < 0) {
		ret = dev->id;
		kfree(dev);
		return ret;
	}
	kref_init(&dev->kref);
	init_rwsem(&dev->alive);
	mutex_init(&dev->engine);
	init_completion(&dev->done);
	dev->pdev = pdev;
	snprintf(dev->name, sizeof(dev->name), "refdev%d", dev->id);
	pci_set_drvdata(pdev, dev);

	ret = refdev_map(dev);
	if (!ret)
		ret = refdev_identify(dev);
	if (ret)
		goto unmap;
	pci_set_master(pdev);
	ret = refdev_request_irqs(dev);
	if (ret) {
		dev->vector = NULL;
		goto clear_master;
	}
	refdev_enable(dev);

	dev->misc.minor = MISC_DYNAMIC_MINOR;
	dev->misc.name = dev->name;
	dev->misc.fops = &refdev_fops;
	dev->misc.parent = &pdev->dev;
	dev->misc.mode = 0600;
	ret = misc_register(&dev->misc);
	if (ret)
		goto free_irqs;
	return 0;

free_irqs:
	refdev_free_irqs(dev, dev->vectors);
clear_master:
	pci_clear_master(pdev);
unmap:
	if (dev->memory)
		iounmap(dev->memory);
	kref_put(&dev->kref, refdev_release);
	return ret;
}

static void refdev_remove(struct pci_dev *pdev)
{
	struct refdev *dev = pci_get_drvdata(pdev);

	misc_deregister(&dev->misc);
	/* Waits for the request that runs; a device that is no longer there ends it. */
	down_write(&dev->alive);
	dev->gone = true;
	if (dev->mapping)
		unmap_mapping_range(dev->mapping, 0, 0, 1);
	refdev_write(dev, REFERENCE_CONTROL, REFERENCE_CONTROL_RESET);
	up_write(&dev->alive);

	refdev_free_irqs(dev, dev->vectors);
	pci_clear_master(pdev);
	iounmap(dev->memory);
	kref_put(&dev->kref, refdev_release);
}

/* ---- reset, from sysfs or after an error ---- */

static void refdev_reset_prepare(struct pci_dev *pdev)
{
	struct refdev *dev = pci_get_drvdata(pdev);

	down_write(&dev->alive);
}

static void refdev_reset_done(struct pci_dev *pdev)
{
	struct refdev *dev = pci_get_drvdata(pdev);

	refdev_enable(dev);
	up_write(&dev->alive);
}

static const struct pci_error_handlers refdev_err_handler = {
	.reset_prepare = refdev_reset_prepare,
	.reset_done = refdev_reset_done,
};

static const struct pci_device_id refdev_table[] = {
	{PCI_DEVICE(REFERENCE_VENDOR_ID, REFERENCE_DEVICE_ID)}, {}};
MODULE_DEVICE_TABLE(pci, refdev_table);

static struct pci_driver refdev_driver = {
	.name = "refdev",
	.id_table = refdev_table,
	.probe = refdev_probe,
	.remove = refdev_remove,
	.err_handler = &refdev_err_handler,
};
module_pci_driver(refdev_driver);

MODULE_DESCRIPTION("sluice's reference device");
MODULE_LICENSE("GPL");
