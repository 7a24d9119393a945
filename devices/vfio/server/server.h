/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device of any provider, offered to vfio-user clients on a UNIX socket. It stands above the contract
 * (devices/vfio/device.h) and knows no provider.
 *
 * The device is opened once and stays open. One client has it at a time; the next one waits in the
 * socket's queue. When a client has gone, whatever it was doing, its interrupts, memory and migration
 * session are taken away and the device is reset: the next one finds it as after power-on.
 */
#ifndef SLUICE_VFIO_SERVER_H
#define SLUICE_VFIO_SERVER_H

#include <stdbool.h>
#include <stdint.h>

struct ioas;
struct iommufd_ctx;
struct loop;
struct vfio_device;
struct vfio_server;

/* A write of @value, @size bytes wide, at @offset of region @region that needs no message. */
struct vfio_server_doorbell {
	uint32_t region;
	uint32_t size; /* 1, 2, 4, 8 */
	uint64_t offset;
	uint64_t value;
};

struct vfio_server_config {
	const char *path; /* of the socket */
	/* Hand out a descriptor by which the client reaches all of the device, where there is no other. */
	bool share_fd;
	/* It was passed as a descriptor, so it cannot be closed and opened again. */
	bool open_once;
	const struct vfio_server_doorbell *doorbells;
	unsigned doorbell_count;
	/*
	 * Called on the loop thread when there is nothing to serve any more: 0 the host wants the device
	 * back, else why the device is of no use (-errno). vfio_server_destroy() is then the owner's.
	 */
	void (*ended)(void *ctx, int error);
	void *ctx;
};

/*
 * Open @vdev, attach it to the empty space @ioas of @ictx and listen. @vdev, @ioas, @loop and what @config
 * points to outlive the server. -errno after one message: no PCI device, cannot be opened, the
 * socket's path is taken, a doorbell (-EINVAL) where the device has nothing to write.
 */
int vfio_server_create(struct loop *loop, struct iommufd_ctx *ictx, struct ioas *ioas,
		       struct vfio_device *vdev, const struct vfio_server_config *config,
		       struct vfio_server **out);

/* Sends the client away, removes the socket and closes the device. The loop thread, or none runs. */
void vfio_server_destroy(struct vfio_server *server);

#endif
