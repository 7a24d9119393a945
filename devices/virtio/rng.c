/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/rng.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#include "devices/virtio/device.h"
#include "devices/virtio/pci.h"
#include "vmm/base/log.h"

#define REQUEST_MAX 4096u /* bytes given per request: a guest that wants more asks again */
#define TURN_MAX    16u   /* requests before the others on the loop have their turn */

struct rng {
	struct virtio_device dev;
	struct virtqueue_chain chain;
};

static uint32_t fill(struct rng *rng, struct virtqueue *q)
{
	uint8_t bytes[256];
	uint32_t want = rng->chain.in_length < REQUEST_MAX ? rng->chain.in_length : REQUEST_MAX;
	uint32_t done = 0;
	ssize_t n;

	while (done < want) {
		size_t step = want - done < sizeof(bytes) ? want - done : sizeof(bytes);

		n = getrandom(bytes, step, 0);
		if (n <= 0)
			break;
		if (virtqueue_write(q, &rng->chain, done, bytes, (size_t)n) < 0)
			break;
		done += (uint32_t)n;
	}
	return done;
}

static bool rng_run(struct virtio_device *dev, unsigned queue)
{
	struct rng *rng = (struct rng *)dev;
	struct virtqueue *q = &dev->queues[queue];
	unsigned done;

	for (done = 0; done < TURN_MAX && virtqueue_pop(q, &rng->chain) == 1; done++)
		virtqueue_push(q, rng->chain.head, fill(rng, q));
	virtio_device_flush(dev, queue);
	virtqueue_set_notify(q, true);
	return !virtqueue_empty(q);
}

static void rng_destroy(struct virtio_device *dev)
{
	virtio_device_fini(dev);
	free(dev);
}

static const struct virtio_device_ops rng_ops = {.run = rng_run, .destroy = rng_destroy};

int virtio_rng_create(const struct virtio_rng_config *config, struct loop *loop, struct ioas *ioas,
		      struct pci_function **out)
{
	struct rng *rng;
	int ret;

	rng = calloc(1, sizeof(*rng));
	if (!rng)
		return -ENOMEM;
	rng->dev.ops = &rng_ops;
	rng->dev.type = VIRTIO_ID_RNG;
	rng->dev.queue_count = 1;
	ret = virtio_device_init(&rng->dev, config->id, loop, ioas);
	if (ret < 0)
		goto free_rng;
	ret = virtio_pci_create(&rng->dev, out);
	if (ret == 0)
		return 0;
	virtio_device_fini(&rng->dev);
free_rng:
	free(rng);
	return log_failure(ret, "virtio %s: cannot make the entropy device", config->id);
}
