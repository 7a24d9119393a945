/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What the reference device needs of its surroundings, so that the same sources compile in sluice and
 * in the kernel: integer types, errno, the four functions of memory, PCI register names and the
 * migration states of <linux/vfio.h>. Nothing else: no libc, no kernel calls, no floating point, no
 * allocation.
 */
#ifndef SLUICE_VFIO_REFERENCE_TYPES_H
#define SLUICE_VFIO_REFERENCE_TYPES_H

#ifdef __KERNEL__
#include <linux/errno.h>
#include <linux/pci_regs.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <linux/types.h>
#include <uapi/linux/vfio.h>
#else
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>
#endif

#endif
