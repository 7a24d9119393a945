/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device for the tests and fuzzers of the vfio-user server: one of everything that can be served.
 *
 *   region 0  trapped registers: 0 u64 address, 8 u32 doorbell (copies 16 bytes from the address to 16
 *             bytes behind it, each plus one; the result is at 12), 16 u32 raises an MSI-X vector
 *   region 2  64 KiB of memory: the first page is trapped, the rest can be mapped
 *   region 4  4 KiB that say they can be mapped, but not by others; cannot be read or end early
 *   region 7  256 bytes of configuration space
 *   INTx 1, MSI-X 32 that are allocated at once (NORESIZE), ERR, REQ
 *   migration with PRE_COPY: the stream is the memory; DMA logging; ioeventfd
 */
#ifndef SLUICE_TESTS_SERVED_DEVICE_H
#define SLUICE_TESTS_SERVED_DEVICE_H

#include "devices/vfio/device.h"

#define SERVED_MEMORY  65536u
#define SERVED_VECTORS 32u

struct served_device {
	struct vfio_device vdev; /* first: the ops cast back */
	struct vfio_device_ops ops;
	struct vfio_migration_ops mig_ops;
	struct vfio_log_ops log_ops;

	uint32_t device_flags;        /* what GET_INFO says */
	atomic_int open_rc, reset_rc; /* answers; 0 unless a test sets them */
	atomic_uint opens, resets;

	struct iommufd_ctx *ictx;
	struct ioas *ioas; /* attached to; NULL */
	uint64_t address;
	int32_t dma_result;
	int memfd;
	uint8_t *memory;
	uint8_t config[256];

	int vectors[SERVED_VECTORS]; /* eventfds, -1 */
	unsigned vector_count;       /* allocated; 0: MSI-X is off */
	unsigned vector_limit;       /* no more can be had, 0: all can */
	int intx;
	int ioeventfd; /* listened to, -1 */
	int own_bell;  /* that the device has itself, for region 0 */
	unsigned own_bells;

	enum vfio_device_mig_state state;
	int session[2]; /* a pipe that stands for the session; [0] the device's */
	size_t position;
	size_t fails_at;    /* reads of the session fail behind so many bytes; 0: never */
	uint64_t log_pages; /* of one range of up to 64 pages */
};

/* Registered. Aborts without memory. */
struct served_device *served_device_new(void);
/* Unregister and free. */
void served_device_done(struct served_device *served);

#endif
