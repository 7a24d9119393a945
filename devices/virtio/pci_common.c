/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/pci_common.h"

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

void virtio_pci_common_reset(struct virtio_pci_common *c)
{
	c->device_feature_select = 0;
	c->driver_feature_select = 0;
	c->queue_select = 0;
	c->config_vector = VIRTIO_MSI_NO_VECTOR;
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		c->queue_vector[i] = VIRTIO_MSI_NO_VECTOR;
}

static uint32_t feature_half(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

static struct virtqueue *selected(struct virtio_pci_common *c)
{
	return c->queue_select < c->dev->queue_count ? &c->dev->queues[c->queue_select] : NULL;
}

static uint32_t queue_read(struct virtio_pci_common *c, uint64_t offset)
{
	const struct virtqueue *q = selected(c);

	if (!q)
		return 0;
	switch (offset) {
	case VIRTIO_PCI_COMMON_Q_SIZE:
		return q->size;
	case VIRTIO_PCI_COMMON_Q_MSIX:
		return c->queue_vector[c->queue_select];
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		return q->enabled;
	case VIRTIO_PCI_COMMON_Q_NOFF:
		return c->queue_select;
	case VIRTIO_PCI_COMMON_Q_DESCLO:
		return (uint32_t)q->desc;
	case VIRTIO_PCI_COMMON_Q_DESCHI:
		return (uint32_t)(q->desc >> 32);
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
		return (uint32_t)q->avail;
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
		return (uint32_t)(q->avail >> 32);
	case VIRTIO_PCI_COMMON_Q_USEDLO:
		return (uint32_t)q->used;
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		return (uint32_t)(q->used >> 32);
	default:
		return 0;
	}
}

static uint32_t read_register(struct virtio_pci_common *c, uint64_t offset)
{
	const struct virtio_device *dev = c->dev;

	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		return c->device_feature_select;
	case VIRTIO_PCI_COMMON_DF:
		return feature_half(virtio_device_features(dev), c->device_feature_select);
	case VIRTIO_PCI_COMMON_GFSELECT:
		return c->driver_feature_select;
	case VIRTIO_PCI_COMMON_GF:
		return feature_half(dev->acked, c->driver_feature_select);
	case VIRTIO_PCI_COMMON_MSIX:
		return c->config_vector;
	case VIRTIO_PCI_COMMON_NUMQ:
		return dev->queue_count;
	case VIRTIO_PCI_COMMON_STATUS:
		return dev->status;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		return c->queue_select;
	default:
		return queue_read(c, offset); /* the generation is always 0 */
	}
}

static uint16_t valid_vector(const struct virtio_pci_common *c, uint32_t vector)
{
	return vector < c->vectors ? (uint16_t)vector : VIRTIO_MSI_NO_VECTOR;
}

static void set_half(uint64_t *value, unsigned half, uint32_t bits)
{
	unsigned shift = 32 * half;

	*value = (*value & ~(0xffffffffull << shift)) | (uint64_t)bits << shift;
}

static void queue_write(struct virtio_pci_common *c, uint64_t offset, uint32_t value)
{
	struct virtqueue *q = selected(c);

	if (!q)
		return;
	if (offset == VIRTIO_PCI_COMMON_Q_MSIX) {
		c->queue_vector[c->queue_select] = valid_vector(c, value);
		return;
	}
	if (q->enabled)
		return; /* what is in use does not change under it */
	switch (offset) {
	case VIRTIO_PCI_COMMON_Q_SIZE:
		q->size = (uint16_t)value;
		break;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		if (value == 1 && virtqueue_enable(q) < 0)
			virtio_device_fail(c->dev, q->fault);
		break;
	case VIRTIO_PCI_COMMON_Q_DESCLO:
	case VIRTIO_PCI_COMMON_Q_DESCHI:
		set_half(&q->desc, offset == VIRTIO_PCI_COMMON_Q_DESCHI, value);
		break;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
		set_half(&q->avail, offset == VIRTIO_PCI_COMMON_Q_AVAILHI, value);
		break;
	case VIRTIO_PCI_COMMON_Q_USEDLO:
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		set_half(&q->used, offset == VIRTIO_PCI_COMMON_Q_USEDHI, value);
		break;
	default:
		break;
	}
}

static void write_register(struct virtio_pci_common *c, uint64_t offset, uint32_t value)
{
	struct virtio_device *dev = c->dev;

	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		c->device_feature_select = value;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT:
		c->driver_feature_select = value;
		break;
	case VIRTIO_PCI_COMMON_GF:
		if (c->driver_feature_select < 2 && !(dev->status & VIRTIO_CONFIG_S_FEATURES_OK))
			set_half(&dev->acked, c->driver_feature_select, value);
		break;
	case VIRTIO_PCI_COMMON_MSIX:
		c->config_vector = valid_vector(c, value);
		break;
	case VIRTIO_PCI_COMMON_STATUS:
		virtio_device_set_status(dev, (uint8_t)value);
		if (dev->status == 0)
			virtio_pci_common_reset(c);
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		c->queue_select = (uint16_t)value;
		break;
	default:
		queue_write(c, offset, value);
		break;
	}
}

/* Each register is read and written with its own width (section 4.1.3.1). */
static unsigned register_width(uint64_t offset)
{
	switch (offset) {
	case VIRTIO_PCI_COMMON_STATUS:
	case VIRTIO_PCI_COMMON_CFGGENERATION:
		return 1;
	case VIRTIO_PCI_COMMON_MSIX:
	case VIRTIO_PCI_COMMON_NUMQ:
	case VIRTIO_PCI_COMMON_Q_SELECT:
	case VIRTIO_PCI_COMMON_Q_SIZE:
	case VIRTIO_PCI_COMMON_Q_MSIX:
	case VIRTIO_PCI_COMMON_Q_ENABLE:
	case VIRTIO_PCI_COMMON_Q_NOFF:
		return 2;
	default:
		return offset % 4 == 0 ? 4 : 0;
	}
}

uint64_t virtio_pci_common_read(struct virtio_pci_common *c, uint64_t offset, unsigned size)
{
	if (size == 8 && register_width(offset) == 4)
		return read_register(c, offset) | (uint64_t)read_register(c, offset + 4) << 32;
	return register_width(offset) == size ? read_register(c, offset) : 0;
}

bool virtio_pci_common_write(struct virtio_pci_common *c, uint64_t offset, uint64_t value,
			     unsigned size)
{
	if (size == 8 && register_width(offset) == 4) {
		write_register(c, offset, (uint32_t)value);
		write_register(c, offset + 4, (uint32_t)(value >> 32));
	} else if (register_width(offset) == size) {
		write_register(c, offset, (uint32_t)value);
	}
	return offset == VIRTIO_PCI_COMMON_STATUS && size == 1 && c->dev->status == 0;
}
