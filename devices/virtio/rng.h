/* SPDX-License-Identifier: Apache-2.0 */
/* Virtio entropy device: the guest's requests are filled by getrandom(2). */
#ifndef SLUICE_VIRTIO_RNG_H
#define SLUICE_VIRTIO_RNG_H

struct ioas;
struct loop;
struct pci_function;

/* What the user asked for. */
struct virtio_rng_config {
	const char *id; /* "rng0" */
};

/* Make the function; its destroy op ends it. Errors, with a message: -ENOMEM, -errno of eventfd. */
int virtio_rng_create(const struct virtio_rng_config *config, struct loop *loop, struct ioas *ioas,
		      struct pci_function **out);

#endif
