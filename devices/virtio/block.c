/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/block.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "devices/virtio/device.h"
#include "devices/virtio/disk.h"
#include "devices/virtio/pci.h"
#include "vmm/base/dma.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"

#define FEATURE(bit) (1ull << (bit))
#define SECTOR_SHIFT 9
#define HEADER       sizeof(struct virtio_blk_outhdr)
#define TURN_MAX     64u               /* requests before the others on the loop have their turn */
#define PIECES_MAX   512u              /* of guest memory, in one request */
#define RANGES_MAX   16u               /* of one discard or write-zeroes request */
#define DISCARD_MAX  (1u << (30 - 9))  /* sectors of one range */
#define ZERO_MAX     (16u << (20 - 9)) /* less, since it may have to be written */

struct request {
	struct disk_request disk; /* first */
	struct block *block;
	uint16_t head;
	const char *what;     /* for the message when it fails */
	bool write;           /* the device writes guest memory */
	uint32_t length;      /* bytes of data */
	uint64_t status_at;   /* IOVA of the status byte */
	unsigned piece_count; /* pinned */
	struct virtqueue_pin *pins;
	struct iovec iov[]; /* or the ranges of a discard */
};

struct block {
	struct virtio_device dev; /* first */
	struct disk disk;
	struct loop_source *completions;
	bool stopping;
	bool error_said;
	struct virtqueue_chain chain;
	struct iovec iov[PIECES_MAX];
	struct virtqueue_pin pins[PIECES_MAX];
};

/* Answers */

static void answer(struct block *block, uint16_t head, uint64_t status_at, uint8_t status,
		   uint32_t written)
{
	struct virtqueue *q = &block->dev.queues[0];

	if (ioas_write(q->ioas, status_at, &status, sizeof(status)) < 0) {
		virtio_device_fail(&block->dev, "the status of a request cannot be written");
		return;
	}
	virtqueue_push(q, head, status == VIRTIO_BLK_S_OK ? written + 1 : 0);
}

static uint8_t status_of(struct block *block, const char *what, int64_t result)
{
	if (result >= 0)
		return VIRTIO_BLK_S_OK;
	if (!block->error_said)
		log_warn("disk %s: %s failed: %s; the guest gets an I/O error, further ones are "
			 "not reported",
			 block->dev.id, what, strerror((int)-result));
	block->error_said = true;
	return VIRTIO_BLK_S_IOERR;
}

static void request_done(struct disk_request *disk_request, int64_t result)
{
	struct request *request = (struct request *)disk_request;
	struct block *block = request->block;
	uint8_t status;

	virtqueue_unpin(&block->dev.queues[0], request->pins, request->piece_count, request->write);
	if (!block->stopping) {
		if (result >= 0 && result < request->length)
			result = -EIO; /* cut off under us */
		status = status_of(block, request->what, result);
		answer(block, request->head, request->status_at, status,
		       request->write ? request->length : 0);
	}
	free(request);
}

/* Requests */

/* What is left of the request once its header is read. */
struct parsed {
	uint32_t type;
	uint64_t sector;
	uint32_t length; /* data bytes */
	uint64_t status_at;
};

static bool in_range(const struct block *block, uint64_t sector, uint64_t bytes)
{
	uint64_t sectors = block->disk.size >> SECTOR_SHIFT;

	return sector <= sectors && bytes <= (sectors - sector) << SECTOR_SHIFT &&
	       (sector << SECTOR_SHIFT) % block->disk.block_size == 0 &&
	       bytes % block->disk.block_size == 0;
}

/* Data of the chain, pinned, in a new request. Returns NULL with *@status set when it cannot be. */
static struct request *request_new(struct block *block, const struct parsed *p, bool write,
				   uint8_t *status)
{
	struct virtqueue *q = &block->dev.queues[0];
	struct request *request;
	int count;

	*status = VIRTIO_BLK_S_IOERR;
	count = virtqueue_pin(q, &block->chain, write, write ? 0 : HEADER, p->length, block->iov,
			      block->pins, PIECES_MAX);
	if (count < 0)
		return NULL;
	request = malloc(sizeof(*request) +
			 (unsigned)count * (sizeof(struct iovec) + sizeof(struct virtqueue_pin)));
	if (!request) {
		virtqueue_unpin(q, block->pins, (unsigned)count, write);
		return NULL;
	}
	*request = (struct request){
		.disk.done = request_done,
		.block = block,
		.head = block->chain.head,
		.write = write,
		.length = p->length,
		.status_at = p->status_at,
		.piece_count = (unsigned)count,
		.pins = (struct virtqueue_pin *)(request->iov + count),
	};
	memcpy(request->iov, block->iov, (unsigned)count * sizeof(struct iovec));
	memcpy(request->pins, block->pins, (unsigned)count * sizeof(struct virtqueue_pin));
	return request;
}

/* VIRTIO_BLK_S_OK: under way or answered; else the status to answer with. */
static uint8_t begin_transfer(struct block *block, const struct parsed *p)
{
	bool write = p->type == VIRTIO_BLK_T_IN; /* the device writes what is read from the disk */
	struct disk *disk = &block->disk;
	struct request *request;
	uint8_t status;
	uint64_t at = p->sector << SECTOR_SHIFT;

	if (!in_range(block, p->sector, p->length) || (!write && disk->readonly))
		return VIRTIO_BLK_S_IOERR;
	request = request_new(block, p, write, &status);
	if (!request)
		return status;
	request->what = write ? "a read" : "a write";
	if (p->length == 0)
		request_done(&request->disk, 0);
	else if (!disk_aligned(disk, request->iov, request->piece_count))
		(write ? disk_read_unaligned : disk_write_unaligned)(
			disk, &request->disk, request->iov, request->piece_count, at);
	else
		(write ? disk_read : disk_write)(disk, &request->disk, request->iov,
						 request->piece_count, at);
	return VIRTIO_BLK_S_OK;
}

static uint8_t begin_flush(struct block *block, const struct parsed *p)
{
	struct parsed empty = {.status_at = p->status_at};
	struct request *request;
	uint8_t status;

	request = request_new(block, &empty, false, &status);
	if (!request)
		return status;
	request->what = "a flush";
	disk_flush(&block->disk, &request->disk);
	return VIRTIO_BLK_S_OK;
}

static uint8_t get_id(struct block *block, const struct parsed *p)
{
	struct virtqueue *q = &block->dev.queues[0];
	char id[VIRTIO_BLK_ID_BYTES] = {0};
	uint32_t length = p->length < sizeof(id) ? p->length : sizeof(id);

	for (unsigned i = 0; i < sizeof(id) && block->dev.id[i]; i++)
		id[i] = block->dev.id[i];
	if (virtqueue_write(q, &block->chain, 0, id, length) < 0)
		return VIRTIO_BLK_S_IOERR;
	answer(block, block->chain.head, p->status_at, VIRTIO_BLK_S_OK, length);
	return VIRTIO_BLK_S_OK;
}

/* Discard or write zeroes: all ranges are checked before the first is touched. */
static uint8_t change_ranges(struct block *block, const struct parsed *p)
{
	bool discard = p->type == VIRTIO_BLK_T_DISCARD;
	uint32_t most = discard ? DISCARD_MAX : ZERO_MAX;
	uint32_t allowed = discard ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	struct virtio_blk_discard_write_zeroes ranges[RANGES_MAX];
	unsigned count = p->length / sizeof(ranges[0]);
	struct disk_range *wanted;
	struct request *request;

	if (block->disk.readonly || count == 0 || count > RANGES_MAX ||
	    p->length % sizeof(ranges[0]) ||
	    virtqueue_read(&block->dev.queues[0], &block->chain, HEADER, ranges, p->length) < 0)
		return VIRTIO_BLK_S_IOERR;
	for (unsigned i = 0; i < count; i++) {
		uint64_t bytes = (uint64_t)le32toh(ranges[i].num_sectors) << SECTOR_SHIFT;

		if (le32toh(ranges[i].flags) & ~allowed)
			return VIRTIO_BLK_S_UNSUPP;
		if (le32toh(ranges[i].num_sectors) > most ||
		    !in_range(block, le64toh(ranges[i].sector), bytes))
			return VIRTIO_BLK_S_IOERR;
	}
	request = malloc(sizeof(*request) + count * sizeof(*wanted));
	if (!request)
		return VIRTIO_BLK_S_IOERR;
	*request = (struct request){
		.disk.done = request_done,
		.block = block,
		.head = block->chain.head,
		.what = discard ? "a discard" : "zeroing",
		.status_at = p->status_at,
	};
	wanted = (struct disk_range *)request->iov; /* it has none */
	for (unsigned i = 0; i < count; i++)
		wanted[i] = (struct disk_range){
			.offset = le64toh(ranges[i].sector) << SECTOR_SHIFT,
			.length = (uint64_t)le32toh(ranges[i].num_sectors) << SECTOR_SHIFT,
			.unmap = le32toh(ranges[i].flags) & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
		};
	(discard ? disk_discard : disk_zero)(&block->disk, &request->disk, wanted, count);
	return VIRTIO_BLK_S_OK;
}

static uint8_t begin(struct block *block, struct parsed *p)
{
	struct virtqueue_chain *chain = &block->chain;

	p->length = chain->out_length - (uint32_t)HEADER;
	switch (p->type) {
	case VIRTIO_BLK_T_IN:
		p->length = chain->in_length - 1;
		return begin_transfer(block, p);
	case VIRTIO_BLK_T_OUT:
		return begin_transfer(block, p);
	case VIRTIO_BLK_T_FLUSH:
		return begin_flush(block, p);
	case VIRTIO_BLK_T_GET_ID:
		p->length = chain->in_length - 1;
		return get_id(block, p);
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return change_ranges(block, p);
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
}

/* The chain just taken. False when it breaks the rules of the device. */
static bool handle(struct block *block)
{
	struct virtqueue *q = &block->dev.queues[0];
	struct virtqueue_chain *chain = &block->chain;
	const struct virtqueue_segment *last;
	struct virtio_blk_outhdr header;
	struct parsed p;
	uint8_t status;

	if (chain->in_length == 0 || virtqueue_read(q, chain, 0, &header, HEADER) < 0) {
		virtio_device_fail(&block->dev, "a request without header or status");
		return false;
	}
	last = &chain->segments[chain->out_count + chain->in_count - 1];
	p = (struct parsed){
		.type = le32toh(header.type),
		.sector = le64toh(header.sector),
		.status_at = last->address + last->length - 1,
	};
	status = begin(block, &p);
	if (status != VIRTIO_BLK_S_OK)
		answer(block, chain->head, p.status_at, status, 0);
	return true;
}

static bool block_run(struct virtio_device *dev, unsigned queue)
{
	struct block *block = (struct block *)dev;
	struct virtqueue *q = &dev->queues[queue];
	unsigned taken = 0;
	bool more;

	do {
		virtqueue_set_notify(q, false);
		while (taken < TURN_MAX && virtqueue_pop(q, &block->chain) == 1) {
			taken++;
			if (!handle(block))
				break;
		}
		virtqueue_set_notify(q, true);
		more = virtio_device_ready(dev, queue) && !virtqueue_empty(q);
	} while (more && taken < TURN_MAX);
	disk_submit(&block->disk);
	disk_reap(&block->disk); /* buffered requests are done by now */
	/* One slice each turn: the others on the loop have theirs in between. */
	more |= disk_step(&block->disk);
	virtio_device_flush(dev, queue);
	return more;
}

static void completed(void *ctx, uint32_t events)
{
	struct block *block = ctx;

	(void)events;
	pthread_mutex_lock(&block->dev.lock);
	if (disk_reap(&block->disk) > 0 && block->dev.running)
		virtio_device_flush(&block->dev, 0);
	pthread_mutex_unlock(&block->dev.lock);
}

static void block_start(struct virtio_device *dev)
{
	struct block *block = (struct block *)dev;

	/* Without flushes a write is stable when it is done (section 5.2.6.2). */
	block->disk.write_through = !virtio_device_has(dev, VIRTIO_BLK_F_FLUSH);
}

static void block_stop(struct virtio_device *dev)
{
	struct block *block = (struct block *)dev;

	block->stopping = true;
	disk_drain(&block->disk);
	block->stopping = false;
}

static void block_destroy(struct virtio_device *dev)
{
	struct block *block = (struct block *)dev;

	loop_remove(dev->loop, block->completions);
	disk_close(&block->disk);
	virtio_device_fini(dev);
	free(block);
}

static const struct virtio_device_ops block_ops = {
	.run = block_run,
	.start = block_start,
	.stop = block_stop,
	.destroy = block_destroy,
};

static void describe(struct block *block)
{
	const struct disk *disk = &block->disk;
	struct virtio_blk_config config = {
		.capacity = htole64(disk->size >> SECTOR_SHIFT),
		.seg_max = htole32(VIRTQUEUE_SEGMENTS - 2), /* header and status take two */
		.blk_size = htole32(disk->block_size),
		.max_discard_sectors = htole32(DISCARD_MAX),
		.max_discard_seg = htole32(RANGES_MAX),
		.discard_sector_alignment = htole32(disk->block_size >> SECTOR_SHIFT),
		.max_write_zeroes_sectors = htole32(ZERO_MAX),
		.max_write_zeroes_seg = htole32(RANGES_MAX),
		.write_zeroes_may_unmap = 1,
	};

	_Static_assert(sizeof(config) <= VIRTIO_CONFIG_MAX, "configuration space");
	memcpy(block->dev.config, &config, sizeof(config));
	block->dev.config_size = sizeof(config);
	block->dev.features = FEATURE(VIRTIO_BLK_F_SEG_MAX) | FEATURE(VIRTIO_BLK_F_BLK_SIZE) |
			      FEATURE(VIRTIO_BLK_F_FLUSH);
	if (disk->readonly)
		block->dev.features |= FEATURE(VIRTIO_BLK_F_RO);
	else
		block->dev.features |=
			FEATURE(VIRTIO_BLK_F_DISCARD) | FEATURE(VIRTIO_BLK_F_WRITE_ZEROES);
}

int virtio_block_create(const struct virtio_block_config *config, struct loop *loop,
			struct ioas *ioas, struct pci_function **out)
{
	struct block *block;
	int ret;

	block = calloc(1, sizeof(*block));
	if (!block)
		return -ENOMEM;
	block->dev.ops = &block_ops;
	block->dev.type = VIRTIO_ID_BLOCK;
	block->dev.queue_count = 1;
	ret = virtio_device_init(&block->dev, config->id, loop, ioas);
	if (ret < 0)
		goto free_block;
	ret = disk_open(&block->disk, block->dev.id, config->path, config->readonly);
	if (ret < 0)
		goto fini_device;
	describe(block);
	ret = loop_add_fd(loop, block->disk.event_fd, EPOLLIN, completed, block,
			  &block->completions);
	if (ret < 0)
		goto say;
	ret = virtio_pci_create(&block->dev, out);
	if (ret == 0)
		return 0;
	loop_remove(loop, block->completions);
say:
	log_failure(ret, "disk %s: cannot make the device", config->id);
	disk_close(&block->disk);
fini_device:
	virtio_device_fini(&block->dev);
free_block:
	free(block);
	return ret;
}
