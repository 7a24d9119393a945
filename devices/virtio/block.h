/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio block device (virtio 1.2 section 5.2): reads, writes and flushes run asynchronously,
 * discards and zeroing on the loop thread in bounded steps. Errors of the storage are S_IOERR to the
 * guest, and are logged once per disk. A reset waits for what is in flight.
 */
#ifndef SLUICE_VIRTIO_BLOCK_H
#define SLUICE_VIRTIO_BLOCK_H

#include <stdbool.h>

struct ioas;
struct loop;
struct pci_function;

/* What the user asked for. */
struct virtio_block_config {
	const char
		*id; /* "disk0"; also what the guest reads as the serial number, 20 bytes of it */
	const char *path;
	bool readonly;
};

/*
 * Open the storage and make the function; its destroy op ends both. Errors, with a message: those of
 * disk_open() (disk.h), -ENOMEM, -errno of eventfd.
 */
int virtio_block_create(const struct virtio_block_config *config, struct loop *loop,
			struct ioas *ioas, struct pci_function **out);

#endif
