/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/device.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/log.h"

#define FEATURE(bit) (1ull << (bit))

uint64_t virtio_device_features(const struct virtio_device *dev)
{
	return dev->features | FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VIRTIO_RING_F_INDIRECT_DESC) |
	       FEATURE(VIRTIO_RING_F_EVENT_IDX);
}

bool virtio_device_has(const struct virtio_device *dev, unsigned feature)
{
	return dev->acked & FEATURE(feature);
}

int virtio_device_init(struct virtio_device *dev, const char *id, struct loop *loop,
		       struct ioas *ioas)
{
	dev->id = strdup(id);
	if (!dev->id)
		return -ENOMEM;
	dev->loop = loop;
	pthread_mutex_init(&dev->lock, NULL);
	for (unsigned i = 0; i < dev->queue_count; i++) {
		dev->queues[i].ioas = ioas;
		dev->queues[i].size_max = VIRTQUEUE_SIZE_MAX;
		virtqueue_reset(&dev->queues[i]);
	}
	return 0;
}

void virtio_device_fini(struct virtio_device *dev)
{
	pthread_mutex_destroy(&dev->lock);
	free(dev->id);
}

void virtio_device_reset(struct virtio_device *dev)
{
	if (dev->running && dev->ops->stop)
		dev->ops->stop(dev);
	dev->running = false;
	dev->status = 0;
	dev->acked = 0;
	for (unsigned i = 0; i < dev->queue_count; i++)
		virtqueue_reset(&dev->queues[i]);
}

static void start(struct virtio_device *dev)
{
	for (unsigned i = 0; i < dev->queue_count; i++) {
		dev->queues[i].event_idx = virtio_device_has(dev, VIRTIO_RING_F_EVENT_IDX);
		dev->queues[i].indirect = virtio_device_has(dev, VIRTIO_RING_F_INDIRECT_DESC);
	}
	dev->running = true;
	if (dev->ops->start)
		dev->ops->start(dev);
	/* Buffers may be there already, for instance those for received packets. */
	for (unsigned i = 0; i < dev->queue_count; i++)
		dev->kick(dev, i);
}

void virtio_device_set_status(struct virtio_device *dev, uint8_t value)
{
	uint8_t added = (uint8_t)(value & ~dev->status);

	if (value == 0) {
		virtio_device_reset(dev);
		return;
	}
	/* Acceptance of the features is for the device to say (section 3.1.1 step 6). */
	if ((added & VIRTIO_CONFIG_S_FEATURES_OK) && (!virtio_device_has(dev, VIRTIO_F_VERSION_1) ||
						      (dev->acked & ~virtio_device_features(dev))))
		added &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
	if (!((dev->status | added) & VIRTIO_CONFIG_S_FEATURES_OK))
		added &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
	/* Only the device sets NEEDS_RESET, and only a reset takes bits away. */
	added &= (uint8_t)~VIRTIO_CONFIG_S_NEEDS_RESET;
	dev->status |= added;
	if (added & VIRTIO_CONFIG_S_DRIVER_OK)
		start(dev);
}

bool virtio_device_ready(const struct virtio_device *dev, unsigned queue)
{
	return dev->running && dev->dma_enable && !(dev->status & VIRTIO_CONFIG_S_NEEDS_RESET) &&
	       queue < dev->queue_count && dev->queues[queue].enabled;
}

void virtio_device_run(struct virtio_device *dev, unsigned queue)
{
	if (!virtio_device_ready(dev, queue))
		return;
	if (dev->ops->run(dev, queue))
		dev->kick(dev, queue);
	if (dev->queues[queue].fault)
		virtio_device_fail(dev, dev->queues[queue].fault);
}

void virtio_device_flush(struct virtio_device *dev, unsigned queue)
{
	struct virtqueue *q = &dev->queues[queue];

	virtqueue_publish(q);
	if (virtqueue_wants_interrupt(q))
		dev->interrupt(dev, (int)queue);
	if (q->fault)
		virtio_device_fail(dev, q->fault);
}

void virtio_device_fail(struct virtio_device *dev, const char *why)
{
	if (dev->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	log_debug("virtio %s: needs a reset: %s", dev->id, why);
	dev->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	if (dev->status & VIRTIO_CONFIG_S_DRIVER_OK)
		dev->interrupt(dev, VIRTIO_CONFIG_CHANGE);
}
