/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a user may name a device to be passed through, everywhere in sluice (--vfio, check, bind):
 *
 *   0000:01:00.0, 01:00.0              PCI address, domain 0 when left out
 *   /sys/bus/pci/devices/0000:01:00.0  any sysfs directory of a device (mdev and platform as well)
 *   /dev/vfio/devices/vfio3            the VFIO device node
 *   fd=9                               that node, opened by somebody else
 *
 * Pure: text only, nothing is looked up.
 */
#ifndef SLUICE_VFIO_NAMES_H
#define SLUICE_VFIO_NAMES_H

#include <stddef.h>

/* A PCI address with an 8-digit domain, as behind Intel VMD ("10000:01:00.0"), and its NUL fit. */
#define VFIO_BDF_SIZE  20
#define VFIO_PATH_SIZE 512

enum vfio_name_kind {
	VFIO_NAME_BDF,   /* bdf */
	VFIO_NAME_SYSFS, /* path; bdf too when the last component is a PCI address */
	VFIO_NAME_CDEV,  /* path and index */
	VFIO_NAME_FD,    /* fd */
};

struct vfio_name {
	enum vfio_name_kind kind;
	char bdf[VFIO_BDF_SIZE];   /* as sysfs spells it: lower case, domain first; "" if unknown */
	int fd;                    /* -1 but for VFIO_NAME_FD */
	unsigned index;            /* N of vfioN; 0 but for VFIO_NAME_CDEV */
	char path[VFIO_PATH_SIZE]; /* without trailing slashes; "" for BDF and FD */
};

/*
 * Parse @text. Returns 0, or with *@out untouched: -EINVAL not a name of a device,
 * -ENAMETOOLONG the path is too long, -EOPNOTSUPP a VFIO node that sluice does not use (a legacy
 * group /dev/vfio/N, a no-IOMMU node). vfio_name_reason() says each in words.
 */
int vfio_name_parse(const char *text, struct vfio_name *out);

/* The words for an error of vfio_name_parse(), to follow "NAME: ". Static storage. */
const char *vfio_name_reason(int error);

/* Normalise a PCI address ("1:0.0" -> "0000:01:00.0"). Returns 0 or -EINVAL. */
int vfio_bdf_parse(const char *text, char out[VFIO_BDF_SIZE]);

#endif
