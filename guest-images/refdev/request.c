// SPDX-License-Identifier: GPL-2.0-only
/* One request: the caller's memory pinned and described to the device, the doorbell, the end. */
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "driver.h"

static unsigned int timeout = 60;
module_param(timeout, uint, 0644);
MODULE_PARM_DESC(timeout, "seconds that a request may take");

/* How long after its end a request's interrupt may still be on its way, in seconds. */
#define GRACE 5

/* As the device reads it. */
struct entry {
	__le64 address;
	__le32 length;
	__le32 flags;
};

/* One end of a request. */
struct end {
	u64 address;          /* what goes into the register */
	unsigned int entries; /* 0: the address is that of the data */

	/* Of memory of the caller: */
	enum dma_data_direction direction;
	struct page **pages;
	unsigned int page_count;
	struct sg_table table;
	struct entry *list;
	size_t list_size;
	dma_addr_t list_address;
};

static void end_unmap(struct refdev *dev, struct end *end)
{
	struct device *device = &dev->pdev->dev;

	if (!end->pages)
		return;
	if (end->list)
		dma_free_coherent(device, end->list_size, end->list, end->list_address);
	dma_unmap_sgtable(device, &end->table, end->direction, 0);
	sg_free_table(&end->table);
	unpin_user_pages_dirty_lock(end->pages, end->page_count, end->direction == DMA_FROM_DEVICE);
	kvfree(end->pages);
}

static int end_make_list(struct refdev *dev, struct end *end)
{
	struct scatterlist *sg;
	unsigned int i;

	if (end->table.nents == 1) {
		end->address = sg_dma_address(end->table.sgl);
		return 0;
	}
	if (end->table.nents > refdev_read(dev, REFERENCE_LIST_LIMIT))
		return -E2BIG;
	end->list_size = array_size(end->table.nents, sizeof(*end->list));
	end->list =
		dma_alloc_coherent(&dev->pdev->dev, end->list_size, &end->list_address, GFP_KERNEL);
	if (!end->list)
		return -ENOMEM;
	for_each_sgtable_dma_sg(&end->table, sg, i)
	{
		end->list[i].address = cpu_to_le64(sg_dma_address(sg));
		end->list[i].length = cpu_to_le32(sg_dma_len(sg));
		end->list[i].flags = 0;
	}
	end->address = end->list_address;
	end->entries = end->table.nents;
	return 0;
}

/* end_map - pin @length bytes of the caller at @address for the device, which reads or writes them. */
static int end_map(struct refdev *dev, struct end *end, u64 address, u64 length,
		   enum dma_data_direction direction)
{
	unsigned int offset = offset_in_page(address);
	unsigned int count = (offset + length + PAGE_SIZE - 1) >> PAGE_SHIFT;
	int pinned, ret;

	if (!length || address + length < address)
		return -EINVAL;
	end->direction = direction;
	end->pages = kvmalloc_array(count, sizeof(*end->pages), GFP_KERNEL);
	if (!end->pages)
		return -ENOMEM;
	pinned = pin_user_pages_fast(address & PAGE_MASK, count,
				     direction == DMA_FROM_DEVICE ? FOLL_WRITE : 0, end->pages);
	if (pinned != count) {
		if (pinned > 0)
			unpin_user_pages(end->pages, pinned);
		ret = pinned < 0 ? pinned : -EFAULT;
		goto free;
	}
	end->page_count = count;
	ret = sg_alloc_table_from_pages(&end->table, end->pages, count, offset, length, GFP_KERNEL);
	if (ret)
		goto unpin;
	ret = dma_map_sgtable(&dev->pdev->dev, &end->table, direction, 0);
	if (ret)
		goto free_table;
	ret = end_make_list(dev, end);
	if (ret)
		goto unmap;
	return 0;

unmap:
	dma_unmap_sgtable(&dev->pdev->dev, &end->table, direction, 0);
free_table:
	sg_free_table(&end->table);
unpin:
	unpin_user_pages(end->pages, count);
free:
	kvfree(end->pages);
	end->pages = NULL;
	return ret;
}

/* Whether the request is over: 1, 0, or -ENODEV. */
static int ended(struct refdev *dev)
{
	u32 status = refdev_read(dev, REFERENCE_STATUS);

	if (status == ~0u)
		return -ENODEV;
	return !(status & REFERENCE_STATUS_BUSY) && refdev_read(dev, REFERENCE_TAG) == dev->tag;
}

/*
 * await_end - wait for the interrupt of the request with the tag dev->tag.
 *
 * Looks at the device each second, so that neither a lost interrupt nor a device that was pulled out
 * stops the caller for good.
 */
static int await_end(struct refdev *dev)
{
	unsigned long give_up = jiffies + timeout * HZ;
	unsigned int silent = 0;

	for (;;) {
		long left = wait_for_completion_killable_timeout(&dev->done, HZ);
		int over;

		if (left < 0)
			return -EINTR;
		over = ended(dev);
		if (over < 0 || (over && left > 0))
			return over < 0 ? over : 0;
		/* An interrupt of an earlier request, which was given up, is none of this one. */
		if (over && ++silent >= GRACE) {
			dev->lost++;
			return 0;
		}
		if (!over && time_after(jiffies, give_up))
			return -ETIMEDOUT;
	}
}

/* take_back - end a request that nobody waits for any more: its memory must be the caller's again. */
static void take_back(struct refdev *dev)
{
	unsigned int i;

	refdev_write(dev, REFERENCE_CONTROL, REFERENCE_CONTROL_ABORT);
	for (i = 0; i < 100; i++) {
		if (ended(dev))
			return;
		fsleep(10000);
	}
	pci_warn(dev->pdev, "a request does not end; the device is reset\n");
	refdev_write(dev, REFERENCE_CONTROL, REFERENCE_CONTROL_RESET);
	refdev_read(dev, REFERENCE_STATUS);
	refdev_enable(dev);
}

/* ring - hand the request over and wait. Called with @engine held. */
static int ring(struct refdev *dev, struct refdev_request *request, const struct end *source,
		const struct end *destination)
{
	u32 command = request->opcode;
	int ret;

	if (request->flags & REFDEV_SOURCE_MEMORY)
		command |= REFERENCE_COMMAND_SOURCE_MEMORY;
	if (request->flags & REFDEV_DESTINATION_MEMORY)
		command |= REFERENCE_COMMAND_DESTINATION_MEMORY;
	if (request->flags & REFDEV_CRC)
		command |= REFERENCE_COMMAND_CRC;
	if (source->entries)
		command |= REFERENCE_COMMAND_SOURCE_LIST;
	if (destination->entries)
		command |= REFERENCE_COMMAND_DESTINATION_LIST;
	if (dev->msix)
		command |= REFERENCE_COMMAND_INTERRUPT;

	refdev_write64(dev, REFERENCE_SOURCE, source->address);
	refdev_write64(dev, REFERENCE_DESTINATION, destination->address);
	refdev_write(dev, REFERENCE_SOURCE_ENTRIES, source->entries);
	refdev_write(dev, REFERENCE_DESTINATION_ENTRIES, destination->entries);
	refdev_write(dev, REFERENCE_LENGTH, (u32)request->length);
	refdev_write64(dev, REFERENCE_PATTERN, request->pattern);
	refdev_write(dev, REFERENCE_COMMAND, command);
	refdev_write(dev, REFERENCE_VECTOR, request->vector);

	/* 0 is the tag of a device that was reset. */
	if (!++dev->tag)
		dev->tag = 1;
	WRITE_ONCE(dev->awaited, request->vector);
	reinit_completion(&dev->done);
	/* Orders what the caller wrote to memory before the doorbell. */
	refdev_write(dev, REFERENCE_DOORBELL, dev->tag);
	ret = await_end(dev);
	if (ret) {
		if (ret != -ENODEV)
			take_back(dev);
		return ret;
	}
	request->error = refdev_read(dev, REFERENCE_ERROR);
	request->error_address = refdev_read64(dev, REFERENCE_ERROR_ADDRESS);
	request->crc = refdev_read(dev, REFERENCE_RESULT);
	return 0;
}

int refdev_request(struct refdev *dev, struct refdev_request *request)
{
	bool reads =
		request->opcode == REFERENCE_OPCODE_COPY || request->opcode == REFERENCE_OPCODE_CRC;
	bool writes = request->opcode == REFERENCE_OPCODE_COPY ||
		      request->opcode == REFERENCE_OPCODE_FILL;
	struct end source = {}, destination = {};
	int ret = 0;

	if (request->flags & ~(REFDEV_SOURCE_MEMORY | REFDEV_DESTINATION_MEMORY | REFDEV_CRC) ||
	    request->opcode & ~REFERENCE_COMMAND_OPCODE || request->vector >= dev->vectors ||
	    request->length > REFERENCE_LENGTH_LIMIT_VALUE)
		return -EINVAL;

	if (request->flags & REFDEV_SOURCE_MEMORY)
		source.address = request->source;
	else if (reads)
		ret = end_map(dev, &source, request->source, request->length, DMA_TO_DEVICE);
	if (ret)
		return ret;
	if (request->flags & REFDEV_DESTINATION_MEMORY)
		destination.address = request->destination;
	else if (writes)
		ret = end_map(dev, &destination, request->destination, request->length,
			      DMA_FROM_DEVICE);
	if (ret)
		goto unmap_source;
	request->source_entries = source.entries;
	request->destination_entries = destination.entries;

	ret = mutex_lock_killable(&dev->engine);
	if (!ret) {
		ret = ring(dev, request, &source, &destination);
		mutex_unlock(&dev->engine);
	}
	end_unmap(dev, &destination);
unmap_source:
	end_unmap(dev, &source);
	return ret;
}
