/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/pci_common.h"

#include <endian.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <string.h>

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

/* What the registers show now; the generation is always 0. */
static void show(struct virtio_pci_common *c, struct virtio_pci_common_cfg *cfg)
{
	const struct virtio_device *dev = c->dev;
	const struct virtqueue *q = selected(c);

	*cfg = (struct virtio_pci_common_cfg){
		.device_feature_select = htole32(c->device_feature_select),
		.device_feature = htole32(
			feature_half(virtio_device_features(dev), c->device_feature_select)),
		.guest_feature_select = htole32(c->driver_feature_select),
		.guest_feature = htole32(feature_half(dev->acked, c->driver_feature_select)),
		.msix_config = htole16(c->config_vector),
		.num_queues = htole16((uint16_t)dev->queue_count),
		.device_status = dev->status,
		.queue_select = htole16(c->queue_select),
	};
	if (!q)
		return;
	cfg->queue_size = htole16(q->size);
	cfg->queue_msix_vector = htole16(c->queue_vector[c->queue_select]);
	cfg->queue_enable = htole16(q->enabled);
	cfg->queue_notify_off = htole16(c->queue_select);
	cfg->queue_desc_lo = htole32((uint32_t)q->desc);
	cfg->queue_desc_hi = htole32((uint32_t)(q->desc >> 32));
	cfg->queue_avail_lo = htole32((uint32_t)q->avail);
	cfg->queue_avail_hi = htole32((uint32_t)(q->avail >> 32));
	cfg->queue_used_lo = htole32((uint32_t)q->used);
	cfg->queue_used_hi = htole32((uint32_t)(q->used >> 32));
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

/* Each register is read and written with its own width (section 4.1.3.1); 0: none begins there. */
static unsigned register_width(uint64_t offset)
{
	unsigned width = 4;

	if (offset == VIRTIO_PCI_COMMON_STATUS || offset == VIRTIO_PCI_COMMON_CFGGENERATION)
		width = 1;
	else if (offset >= VIRTIO_PCI_COMMON_MSIX && offset < VIRTIO_PCI_COMMON_Q_DESCLO)
		width = 2;
	return offset % width == 0 && offset < sizeof(struct virtio_pci_common_cfg) ? width : 0;
}

/* A pair of halves at once. */
static bool both_halves(uint64_t offset, unsigned size)
{
	return size == 8 && register_width(offset) == 4 && register_width(offset + 4) == 4;
}

uint64_t virtio_pci_common_read(struct virtio_pci_common *c, uint64_t offset, unsigned size)
{
	struct virtio_pci_common_cfg cfg;
	uint64_t value = 0;

	if (register_width(offset) != size && !both_halves(offset, size))
		return 0;
	show(c, &cfg);
	memcpy(&value, (uint8_t *)&cfg + offset, size);
	return le64toh(value);
}

bool virtio_pci_common_write(struct virtio_pci_common *c, uint64_t offset, uint64_t value,
			     unsigned size)
{
	if (both_halves(offset, size)) {
		write_register(c, offset, (uint32_t)value);
		write_register(c, offset + 4, (uint32_t)(value >> 32));
	} else if (register_width(offset) == size) {
		write_register(c, offset, (uint32_t)value);
	}
	return offset == VIRTIO_PCI_COMMON_STATUS && size == 1 && c->dev->status == 0;
}
