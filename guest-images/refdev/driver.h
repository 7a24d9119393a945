/* SPDX-License-Identifier: GPL-2.0-only */
/* The driver's inside: one struct refdev for each device. */
#ifndef SLUICE_REFDEV_DRIVER_H
#define SLUICE_REFDEV_DRIVER_H

#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/io.h>
#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/rwsem.h>

#include "devices/vfio/reference/registers.h"
#include "guest-images/refdev/refdev.h"

struct refdev;

struct refdev_vector {
	struct refdev *dev;
	unsigned int index;
	atomic64_t count;
	char name[24];
};

struct refdev {
	struct kref kref; /* the driver's, and one for each open file */
	struct pci_dev *pdev;
	int id;
	struct miscdevice misc;
	char name[16];

	/*
	 * Held for reading by whoever touches the device; for writing by what takes it away or resets it.
	 * @gone is changed under it.
	 */
	struct rw_semaphore alive;
	bool gone;
	struct address_space *mapping; /* of the node, once somebody has opened it */

	void __iomem *registers;
	void __iomem *memory;
	u64 memory_size;

	bool msix;
	unsigned int vectors;
	struct refdev_vector *vector;

	struct mutex engine; /* the device does one request at a time */
	struct completion done;
	unsigned int awaited; /* vector of the request that runs */
	u32 tag;
	u64 lost;
};

static inline u32 refdev_read(struct refdev *dev, unsigned int offset)
{
	return readl(dev->registers + offset);
}

static inline void refdev_write(struct refdev *dev, unsigned int offset, u32 value)
{
	writel(value, dev->registers + offset);
}

/* Two halves, low one first: 32-bit guests can do that too. */
static inline u64 refdev_read64(struct refdev *dev, unsigned int offset)
{
	u64 low = refdev_read(dev, offset);

	return low | (u64)refdev_read(dev, offset + 4) << 32;
}

static inline void refdev_write64(struct refdev *dev, unsigned int offset, u64 value)
{
	refdev_write(dev, offset, (u32)value);
	refdev_write(dev, offset + 4, (u32)(value >> 32));
}

/* Registers that a reset has cleared. */
void refdev_enable(struct refdev *dev);

/* Last reference: free what the open files still needed. */
void refdev_release(struct kref *kref);

/* A request of a program, see struct refdev_request. Called with @alive held. */
int refdev_request(struct refdev *dev, struct refdev_request *request);

extern const struct file_operations refdev_fops;

#endif
