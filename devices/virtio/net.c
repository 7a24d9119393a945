/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/net.h"

#include <endian.h>
#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "devices/virtio/device.h"
#include "devices/virtio/pci.h"
#include "vmm/base/host.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"

#define FEATURE(bit) (1ull << (bit))
#define RX           0u
#define TX           1u
#define HEADER       sizeof(struct virtio_net_hdr_v1)
#define PACKET_MAX   (HEADER + 65535u + 18u) /* of a segmented packet, with its Ethernet header */
#define TURN_MAX     64u                     /* packets before the others on the loop */
#define PIECES_MAX   300u                    /* of guest memory, in one packet */

struct net {
	struct virtio_device dev; /* first */
	int tap;
	struct loop_source *tap_source; /* NULL: neither direction waits for the tap */
	uint32_t tap_events;
	bool gone;        /* the interface was taken away */
	unsigned pending; /* bytes in `packet` that wait for receive buffers */

	struct virtqueue_chain first, chain;
	uint16_t heads[VIRTQUEUE_SIZE_MAX];
	uint32_t lengths[VIRTQUEUE_SIZE_MAX];
	struct iovec iov[1 + PIECES_MAX];
	struct virtqueue_pin pins[PIECES_MAX];
	uint8_t packet[PACKET_MAX];
};

static void tap_ready(void *ctx, uint32_t events);

/* Wait for @events of the tap from now on (0: for nothing). */
static void tap_wait(struct net *net, uint32_t events)
{
	int ret = 0;

	if (events == net->tap_events)
		return;
	net->tap_events = events;
	if (net->tap_source)
		ret = loop_set_events(net->dev.loop, net->tap_source, events);
	if (ret < 0)
		log_warn("net %s: cannot wait for the tap: %s", net->dev.id, strerror(-ret));
}

/* Receive */

enum delivery {
	DELIVERED,
	NO_BUFFERS, /* not enough of them: try again when the guest has given more */
	DROPPED,
	FAILED, /* the driver broke the rules */
};

/* Copy the packet into chains of the queue, as many as it takes if that was negotiated. */
static enum delivery rx_fill(struct net *net, struct virtqueue *q, size_t length, unsigned *used)
{
	bool mergeable = virtio_device_has(&net->dev, VIRTIO_NET_F_MRG_RXBUF);
	struct virtqueue_chain *chain = &net->first;
	size_t done = 0, step;
	int ret;

	for (*used = 0; done < length; (*used)++, chain = &net->chain) {
		if (*used == q->size)
			return DROPPED;
		ret = virtqueue_pop(q, chain);
		if (ret <= 0)
			return ret == 0 ? NO_BUFFERS : FAILED;
		step = length - done < chain->in_length ? length - done : chain->in_length;
		net->heads[*used] = chain->head;
		net->lengths[*used] = (uint32_t)step;
		/* Each buffer has room for a header at least (section 5.1.6.3.1). */
		if (chain->in_length < HEADER || chain->out_count > 0) {
			virtio_device_fail(&net->dev, "a receive buffer is small or read-only");
			return FAILED;
		}
		if (!mergeable && step < length) {
			/* The packet does not fit: its loss is not the buffer's. */
			virtqueue_unpop(q);
			return DROPPED;
		}
		/* A buffer out of memory takes its part of the packet with it. */
		virtqueue_write(q, chain, 0, net->packet + done, step);
		done += step;
	}
	return DELIVERED;
}

static enum delivery deliver(struct net *net, size_t length)
{
	struct virtqueue *q = &net->dev.queues[RX];
	struct virtio_net_hdr_v1 *header = (struct virtio_net_hdr_v1 *)net->packet;
	enum delivery result;
	uint16_t number;
	unsigned used;

	if (!virtio_device_has(&net->dev, VIRTIO_NET_F_GUEST_CSUM))
		header->flags = 0;
	header->num_buffers = htole16(1);
	result = rx_fill(net, q, length, &used);
	if (result != DELIVERED) {
		while (used-- > 0)
			virtqueue_unpop(q);
		return result;
	}
	if (used > 1) {
		number = htole16((uint16_t)used);
		virtqueue_write(q, &net->first, offsetof(struct virtio_net_hdr_v1, num_buffers),
				&number, sizeof(number));
	}
	for (unsigned i = 0; i < used; i++)
		virtqueue_push(q, net->heads[i], net->lengths[i]);
	return DELIVERED;
}

/* Nothing comes from it any more, and it would never stop to be ready. */
static bool tap_gone(struct net *net)
{
	if (!net->gone)
		log_warn("net %s: the tap interface is gone: %s; the guest has no link",
			 net->dev.id, strerror(errno));
	net->gone = true;
	return false;
}

/* Take packets from the tap while there are buffers for them. Returns true when more may come. */
static bool receive(struct net *net)
{
	struct virtqueue *q = &net->dev.queues[RX];
	enum delivery result;
	ssize_t n;

	for (unsigned turn = 0; turn < TURN_MAX; turn++) {
		if (net->pending == 0) {
			if (virtqueue_empty(q))
				return false;
			n = read(net->tap, net->packet, sizeof(net->packet));
			if (n < 0 && errno == EINTR)
				continue;
			if (n < 0 && errno != EAGAIN && errno != EIO)
				return tap_gone(net);
			if (n < 0)
				return true;
			if (n <= (ssize_t)HEADER)
				continue;
			net->pending = (unsigned)n;
		}
		result = deliver(net, net->pending);
		if (result == NO_BUFFERS)
			return false;
		net->pending = 0;
		if (result == FAILED)
			return false;
	}
	return true;
}

static void rx_work(struct net *net)
{
	struct virtqueue *q = &net->dev.queues[RX];
	bool more;

	virtqueue_set_notify(q, false);
	more = receive(net);
	if (!more) {
		/* Starved. Buffers that came before this brought no notification: look again. */
		virtqueue_set_notify(q, true);
		more = virtio_device_ready(&net->dev, RX) && receive(net);
	}
	virtio_device_flush(&net->dev, RX);
	tap_wait(net, (net->tap_events & ~(uint32_t)EPOLLIN) | (more && !net->gone ? EPOLLIN : 0));
}

/* Transmit */

/* What the driver may ask of the host for this packet, given what it negotiated (5.1.6.2). */
static bool header_allowed(const struct net *net, const struct virtio_net_hdr_v1 *header)
{
	const struct virtio_device *dev = &net->dev;
	uint8_t type = header->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;

	if (header->flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM)
		return false;
	if ((header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) &&
	    !virtio_device_has(dev, VIRTIO_NET_F_CSUM))
		return false;
	if ((header->gso_type & VIRTIO_NET_HDR_GSO_ECN) &&
	    !virtio_device_has(dev, VIRTIO_NET_F_HOST_ECN))
		return false;
	switch (type) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return true;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return virtio_device_has(dev, VIRTIO_NET_F_HOST_TSO4);
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return virtio_device_has(dev, VIRTIO_NET_F_HOST_TSO6);
	default:
		return false;
	}
}

/* Send the chain just taken. False: the tap takes no more now. */
static bool tx_send(struct net *net)
{
	struct virtqueue *q = &net->dev.queues[TX];
	struct virtqueue_chain *chain = &net->chain;
	struct virtio_net_hdr_v1 header;
	struct iovec *iov = net->iov;
	ssize_t n;
	int pieces;

	if (chain->out_length <= HEADER || chain->out_length > PACKET_MAX ||
	    virtqueue_read(q, chain, 0, &header, HEADER) < 0 || !header_allowed(net, &header))
		return true;
	header.num_buffers = 0;
	pieces = virtqueue_pin(q, chain, false, HEADER, chain->out_length - HEADER, iov + 1,
			       net->pins, PIECES_MAX);
	if (pieces < 0)
		return true;
	/* The header goes from our copy: the guest could change its own after the check. */
	iov[0].iov_base = &header;
	iov[0].iov_len = HEADER;
	do
		n = writev(net->tap, iov, 1 + pieces);
	while (n < 0 && errno == EINTR);
	virtqueue_unpin(q, net->pins, (unsigned)pieces, false);
	/* Any other error is this packet's: malformed, or the interface is down. */
	return n >= 0 || errno != EAGAIN;
}

static bool tx_work(struct net *net)
{
	struct virtqueue *q = &net->dev.queues[TX];
	uint32_t events = net->tap_events & ~(uint32_t)EPOLLOUT;
	unsigned turn = 0;
	bool more = false;

	do {
		virtqueue_set_notify(q, false);
		while (turn < TURN_MAX && virtqueue_pop(q, &net->chain) == 1) {
			if (!tx_send(net)) {
				virtqueue_unpop(q);
				events |= EPOLLOUT;
				break;
			}
			virtqueue_push(q, net->chain.head, 0);
			turn++;
		}
		if (events & EPOLLOUT)
			break;
		virtqueue_set_notify(q, true);
		more = !virtqueue_empty(q);
	} while (more && turn < TURN_MAX);
	virtio_device_flush(&net->dev, TX);
	tap_wait(net, events);
	return more && !(events & EPOLLOUT);
}

static void tap_ready(void *ctx, uint32_t events)
{
	struct net *net = ctx;
	struct virtio_device *dev = &net->dev;

	pthread_mutex_lock(&dev->lock);
	if ((events & ~(uint32_t)EPOLLOUT) && (net->tap_events & EPOLLIN)) {
		if (virtio_device_ready(dev, RX))
			rx_work(net);
		else
			tap_wait(net, net->tap_events & ~(uint32_t)EPOLLIN);
		if (dev->queues[RX].fault)
			virtio_device_fail(dev, dev->queues[RX].fault);
	}
	if ((events & EPOLLOUT) && (net->tap_events & EPOLLOUT)) {
		tap_wait(net, net->tap_events & ~(uint32_t)EPOLLOUT);
		virtio_device_run(dev, TX);
	}
	pthread_mutex_unlock(&dev->lock);
}

/* Device */

static bool net_run(struct virtio_device *dev, unsigned queue)
{
	struct net *net = (struct net *)dev;

	if (queue == TX)
		return tx_work(net);
	rx_work(net);
	return false;
}

static unsigned tap_offloads(const struct virtio_device *dev)
{
	unsigned flags = 0;

	if (!virtio_device_has(dev, VIRTIO_NET_F_GUEST_CSUM))
		return 0;
	flags |= TUN_F_CSUM;
	if (virtio_device_has(dev, VIRTIO_NET_F_GUEST_TSO4))
		flags |= TUN_F_TSO4;
	if (virtio_device_has(dev, VIRTIO_NET_F_GUEST_TSO6))
		flags |= TUN_F_TSO6;
	if (virtio_device_has(dev, VIRTIO_NET_F_GUEST_ECN))
		flags |= TUN_F_TSO_ECN;
	return flags;
}

static void net_start(struct virtio_device *dev)
{
	struct net *net = (struct net *)dev;
	int ret = host_tap_offload(net->tap, tap_offloads(dev));

	/* What the tap took when it was asked at creation it takes again; without any it has none. */
	if (ret < 0 && tap_offloads(dev))
		log_warn("net %s: the tap refuses the offloads: %s", dev->id, strerror(-ret));
}

static void net_stop(struct virtio_device *dev)
{
	struct net *net = (struct net *)dev;

	tap_wait(net, 0);
	net->pending = 0;
}

static void net_destroy(struct virtio_device *dev)
{
	struct net *net = (struct net *)dev;

	loop_remove(dev->loop, net->tap_source);
	close(net->tap);
	virtio_device_fini(dev);
	free(net);
}

static const struct virtio_device_ops net_ops = {
	.run = net_run,
	.start = net_start,
	.stop = net_stop,
	.destroy = net_destroy,
};

static int open_tap(struct net *net, const char *tap)
{
	const char *remedy = "";

	net->tap = host_open_tap(tap, HEADER);
	if (net->tap >= 0)
		return 0;
	switch (net->tap) {
	case -ENODEV:
		log_error("net %s: cannot attach to %s: there is no such interface; make it with "
			  "`ip tuntap add mode tap user $USER name %s`",
			  net->dev.id, tap, tap);
		return net->tap;
	case -EBUSY:
		remedy = "another process uses it";
		break;
	case -EPERM:
	case -EACCES:
		remedy = "it belongs to another user; `ip tuntap add` takes `user`";
		break;
	case -EINVAL:
		remedy = "it is no tap interface";
		break;
	case -ENOENT:
		remedy = "/dev/net/tun is missing; `modprobe tun`";
		break;
	default:
		break;
	}
	log_error("net %s: cannot attach to %s: %s", net->dev.id, tap,
		  *remedy ? remedy : host_strerror(-net->tap));
	return net->tap;
}

/* Locally administered, unicast, and the same at every start (FNV-1a over the names). */
static void make_mac(uint8_t *mac, const char *tap)
{
	uint64_t hash = 0xcbf29ce484222325u;
	char host[65] = {0};

	gethostname(host, sizeof(host) - 1);
	for (const char *c = host; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
	for (const char *c = tap; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
	for (unsigned i = 0; i < 6; i++)
		mac[i] = (uint8_t)(hash >> (8 * i));
	mac[0] = (uint8_t)((mac[0] & ~1u) | 2u);
}

static void describe(struct net *net, const struct virtio_tap_config *config)
{
	struct virtio_net_config space = {.status = htole16(VIRTIO_NET_S_LINK_UP)};

	if (config->has_mac)
		memcpy(space.mac, config->mac, sizeof(space.mac));
	else
		make_mac(space.mac, config->tap);
	memcpy(net->dev.config, &space, sizeof(space));
	/* The fields after these belong to features that are not offered. */
	net->dev.config_size = offsetof(struct virtio_net_config, max_virtqueue_pairs);
	net->dev.features = FEATURE(VIRTIO_NET_F_MAC) | FEATURE(VIRTIO_NET_F_STATUS) |
			    FEATURE(VIRTIO_NET_F_MRG_RXBUF);
	if (host_tap_offload(net->tap, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN) < 0)
		return;
	host_tap_offload(net->tap, 0);
	net->dev.features |= FEATURE(VIRTIO_NET_F_CSUM) | FEATURE(VIRTIO_NET_F_HOST_TSO4) |
			     FEATURE(VIRTIO_NET_F_HOST_TSO6) | FEATURE(VIRTIO_NET_F_HOST_ECN) |
			     FEATURE(VIRTIO_NET_F_GUEST_CSUM) | FEATURE(VIRTIO_NET_F_GUEST_TSO4) |
			     FEATURE(VIRTIO_NET_F_GUEST_TSO6) | FEATURE(VIRTIO_NET_F_GUEST_ECN);
}

int virtio_net_create(const struct virtio_tap_config *config, struct loop *loop, struct ioas *ioas,
		      struct pci_function **out)
{
	struct net *net;
	int ret;

	if (config->has_mac && (config->mac[0] & 1)) {
		log_error("net %s: the MAC address is one of a group; its first byte must be even",
			  config->id);
		return -EINVAL;
	}
	net = calloc(1, sizeof(*net));
	if (!net)
		return -ENOMEM;
	net->dev.ops = &net_ops;
	net->dev.type = VIRTIO_ID_NET;
	net->dev.queue_count = 2;
	ret = virtio_device_init(&net->dev, config->id, loop, ioas);
	if (ret < 0)
		goto free_net;
	ret = open_tap(net, config->tap);
	if (ret < 0)
		goto fini_device;
	describe(net, config);
	ret = loop_add_fd(loop, net->tap, 0, tap_ready, net, &net->tap_source);
	if (ret < 0)
		goto say;
	ret = virtio_pci_create(&net->dev, out);
	if (ret == 0)
		return 0;
	loop_remove(loop, net->tap_source);
say:
	log_failure(ret, "net %s: cannot make the device", config->id);
	close(net->tap);
fini_device:
	virtio_device_fini(&net->dev);
free_net:
	free(net);
	return ret;
}
