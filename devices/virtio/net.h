/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio network device on a tap interface (virtio 1.2 section 5.1): one queue pair, mergeable
 * receive buffers, checksum and segmentation offloads as far as the host's tap and the driver have
 * them. Packets wait in the tap while the guest gives no buffers; what does not fit the buffers it
 * gives is dropped, as on a wire.
 */
#ifndef SLUICE_VIRTIO_NET_H
#define SLUICE_VIRTIO_NET_H

#include <stdbool.h>
#include <stdint.h>

struct ioas;
struct loop;
struct pci_function;

/* What the user asked for. */
struct virtio_tap_config {
	const char *id;  /* "net0" */
	const char *tap; /* name of an existing tap interface */
	bool has_mac;    /* else one is made from the names of host and interface */
	uint8_t mac[6];
};

/*
 * Attach to the tap and make the function; its destroy op ends both. Errors, with a message: those
 * of host_open_tap(), -EINVAL a multicast address, -ENOMEM, -errno of eventfd.
 */
int virtio_net_create(const struct virtio_tap_config *config, struct loop *loop, struct ioas *ioas,
		      struct pci_function **out);

#endif
