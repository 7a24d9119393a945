/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * /dev/refdevN: what the driver of the reference device (docs/reference-device.md) offers to programs
 * of the guest. One node for each device.
 *
 * read, write, lseek: device memory (BAR2) by offset. mmap: the same, shared.
 * ioctl: below. Structures begin with argsz, the size the caller knows; a smaller one than the first
 * version's is -EINVAL. All calls answer -ENODEV once the device has gone.
 */
#ifndef SLUICE_REFDEV_H
#define SLUICE_REFDEV_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define REFDEV_IOCTL 0xfe

/* What the device is and what it has counted; irqs and lost are the driver's own figures. */
struct refdev_info {
	__u32 argsz;
	__u32 flags;
#define REFDEV_INFO_MSIX (1u << 0) /* interrupts are MSI-X messages; else the pin */
	__u32 version;             /* REFERENCE_VERSION */
	__u32 features;            /* REFERENCE_FEATURE_* */
	__u32 vectors;             /* in use: a request may name 0..vectors-1 */
	__u32 vectors_device;      /* that the device has */
	__u32 length_limit;        /* bytes of one request */
	__u32 reserved;
	__u64 memory_size;                                    /* bytes of BAR2 */
	__u64 completed, failed, bytes, interrupts, rejected; /* the device's counters */
	__u64 irqs;                                           /* interrupts that arrived */
	__u64 lost; /* requests that ended without the interrupt they were to send */
};
#define REFDEV_GET_INFO _IOWR(REFDEV_IOCTL, 0, struct refdev_info)

/*
 * Do one request and wait for its interrupt. Memory of the caller is pinned and handed to the device
 * as a scatter list, or as a plain address where it is contiguous.
 *
 * Returns 0 when the device has ended the request, well or not: see error. -EINVAL: unknown flag,
 * length beyond the limit, vector out of range. -EFAULT: no such memory. -ETIMEDOUT: the device did
 * not end it and was reset. -EINTR: a fatal signal came; the request was aborted.
 */
struct refdev_request {
	__u32 argsz;
	__u32 flags;
#define REFDEV_SOURCE_MEMORY      (1u << 0) /* source is an offset in BAR2 */
#define REFDEV_DESTINATION_MEMORY (1u << 1) /* destination is */
#define REFDEV_CRC                (1u << 2) /* with COPY: checksum as well */
	__u32 opcode;                       /* REFERENCE_OPCODE_* */
	__u32 vector;                       /* to be interrupted by */
	__u64 source;                       /* address in the caller's memory, or offset */
	__u64 destination;                  /* likewise */
	__u64 length;
	__u64 pattern; /* for FILL */
	/* What came of it. */
	__u64 error_address;                       /* REFERENCE_ERROR_ADDRESS */
	__u32 error;                               /* REFERENCE_ERROR_* */
	__u32 crc;                                 /* REFERENCE_RESULT */
	__u32 source_entries, destination_entries; /* of the scatter lists; 0: none was needed */
};
#define REFDEV_REQUEST _IOWR(REFDEV_IOCTL, 1, struct refdev_request)

/* Interrupts that arrived by each of the vectors start..start+count-1. -EINVAL: out of range. */
struct refdev_counts {
	__u32 argsz;
	__u32 start;
	__u32 count;
	__u32 reserved;
	__u64 counts; /* address of count __u64 */
};
#define REFDEV_GET_COUNTS _IOW(REFDEV_IOCTL, 2, struct refdev_counts)

#endif
