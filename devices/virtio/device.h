/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all virtio devices have in common, whatever transport carries them: status, features,
 * queues, and the way into NEEDS_RESET (virtio 1.2 sections 2.1 to 2.4 and 3.1).
 *
 * A device fills the first half of the struct, a transport (pci.h) drives it. All functions and ops
 * run with `lock` held unless they say otherwise; `run` on the loop thread, the others on whichever
 * thread the guest's access came from.
 */
#ifndef SLUICE_VIRTIO_DEVICE_H
#define SLUICE_VIRTIO_DEVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/virtio/queue.h"

struct ioas;
struct loop;
struct virtio_device;

#define VIRTIO_QUEUES_MAX    4
#define VIRTIO_CONFIG_MAX    128
#define VIRTIO_CONFIG_CHANGE (-1) /* in place of a queue: the configuration changed */

struct virtio_device_ops {
	/*
	 * The guest says that there are chains in @queue. Returns true when there is more to do that
	 * should wait for others on the loop to have their turn.
	 */
	bool (*run)(struct virtio_device *dev, unsigned queue);
	/* The driver is ready (DRIVER_OK): features are final. May be NULL. */
	void (*start)(struct virtio_device *dev);
	/*
	 * Reset, or the end: nothing of the device is under way when it returns, and no chain taken
	 * before is given back afterwards. Called for a running or failed device. May be NULL.
	 */
	void (*stop)(struct virtio_device *dev);
	/* Free everything, the struct around @dev included. Loop thread, without the lock. */
	void (*destroy)(struct virtio_device *dev);
};

struct virtio_device {
	/* Given by the device. */
	const struct virtio_device_ops *ops;
	char *id;      /* the user's name for it; freed by virtio_device_fini() */
	uint16_t type; /* VIRTIO_ID_* */
	uint64_t
		features; /* offered by the device, those of the rings and the transport excluded */
	unsigned queue_count;
	uint8_t config[VIRTIO_CONFIG_MAX];
	size_t config_size;
	struct loop *loop;

	/* Driven by the transport. */
	pthread_mutex_t lock;
	uint64_t acked;  /* by the driver */
	uint8_t status;  /* VIRTIO_CONFIG_S_* */
	bool dma_enable; /* the transport lets it reach memory */
	bool running;    /* between start and stop */
	struct virtqueue queues[VIRTIO_QUEUES_MAX];

	void *transport;
	/* Transport: interrupt the guest for a queue or VIRTIO_CONFIG_CHANGE; run a queue soon. */
	void (*interrupt)(struct virtio_device *dev, int queue);
	void (*kick)(struct virtio_device *dev, unsigned queue);
};

/* Everything the driver may choose from. */
uint64_t virtio_device_features(const struct virtio_device *dev);
bool virtio_device_has(const struct virtio_device *dev, unsigned feature);

/* -ENOMEM. @id is copied. The caller has filled ops, type, features, queue_count and config. */
int virtio_device_init(struct virtio_device *dev, const char *id, struct loop *loop,
		       struct ioas *ioas);
/* After the transport is gone. Without the lock. */
void virtio_device_fini(struct virtio_device *dev);

/* The driver writes the status register. */
void virtio_device_set_status(struct virtio_device *dev, uint8_t value);
void virtio_device_reset(struct virtio_device *dev);

/* Whether a queue can be worked on. */
bool virtio_device_ready(const struct virtio_device *dev, unsigned queue);
/* Let the device look at @queue; then NEEDS_RESET when the queue turned out broken. */
void virtio_device_run(struct virtio_device *dev, unsigned queue);

/* Publish what was pushed, and interrupt the driver where it wants that. */
void virtio_device_flush(struct virtio_device *dev, unsigned queue);

/*
 * The driver did what no driver may: the device stops working until it is reset. @why goes to the
 * log at debug level only, since a guest can do this as often as it likes.
 */
void virtio_device_fail(struct virtio_device *dev, const char *why);

#endif
