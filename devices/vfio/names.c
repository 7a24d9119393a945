// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/names.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define CDEV_DIR "/dev/vfio/devices/"
#define VFIO_DIR "/dev/vfio/"

/* 1 to @digits_max digits of @base at *@text, at most @max; moves *@text behind them. */
static bool take_number(const char **text, unsigned base, unsigned digits_max, uint64_t max,
			uint64_t *value)
{
	const char *p = *text;
	uint64_t v = 0;
	unsigned n;

	for (n = 0; n < digits_max; n++, p++) {
		unsigned digit;

		if (*p >= '0' && *p <= '9')
			digit = (unsigned)(*p - '0');
		else if (base == 16 && *p >= 'a' && *p <= 'f')
			digit = (unsigned)(*p - 'a') + 10;
		else if (base == 16 && *p >= 'A' && *p <= 'F')
			digit = (unsigned)(*p - 'A') + 10;
		else
			break;
		v = v * base + digit;
	}
	if (n == 0 || v > max)
		return false;
	*text = p;
	*value = v;
	return true;
}

static bool take_char(const char **text, char c)
{
	if (**text != c)
		return false;
	(*text)++;
	return true;
}

/* "BB:DD.F" to the end of @p. */
static bool parse_bus_part(const char *p, uint64_t *bus, uint64_t *device, uint64_t *function)
{
	return take_number(&p, 16, 2, 0xff, bus) && take_char(&p, ':') &&
	       take_number(&p, 16, 2, 0x1f, device) && take_char(&p, '.') &&
	       take_number(&p, 16, 1, 7, function) && *p == '\0';
}

int vfio_bdf_parse(const char *text, char out[VFIO_BDF_SIZE])
{
	uint64_t domain = 0, bus, device, function;
	const char *p = text;

	if (!parse_bus_part(p, &bus, &device, &function)) {
		/* Linux prints domains with %04x and has them up to 31 bits (VMD starts at 0x10000). */
		if (!take_number(&p, 16, 8, INT32_MAX, &domain) || !take_char(&p, ':') ||
		    !parse_bus_part(p, &bus, &device, &function))
			return -EINVAL;
	}
	snprintf(out, VFIO_BDF_SIZE, "%04x:%02x:%02x.%x", (unsigned)domain, (unsigned)bus,
		 (unsigned)device, (unsigned)function);
	return 0;
}

static int parse_fd(const char *number, struct vfio_name *name)
{
	uint64_t fd;

	if (!take_number(&number, 10, 10, INT_MAX, &fd) || *number != '\0')
		return -EINVAL;
	name->kind = VFIO_NAME_FD;
	name->fd = (int)fd;
	return 0;
}

static int parse_node(struct vfio_name *name)
{
	const char *p = name->path + strlen(VFIO_DIR);
	uint64_t index;

	if (strncmp(name->path, CDEV_DIR, strlen(CDEV_DIR)) != 0) {
		bool noiommu = strncmp(p, "noiommu-", 8) == 0;

		p += noiommu ? 8 : 0;
		if (take_number(&p, 10, 10, UINT_MAX, &index) && *p == '\0')
			return -EOPNOTSUPP;
		return -EINVAL;
	}
	p = name->path + strlen(CDEV_DIR);
	if (strncmp(p, "noiommu-vfio", 12) == 0) {
		p += 12;
		if (take_number(&p, 10, 10, UINT_MAX, &index) && *p == '\0')
			return -EOPNOTSUPP;
		return -EINVAL;
	}
	if (strncmp(p, "vfio", 4) != 0)
		return -EINVAL;
	p += 4;
	if (!take_number(&p, 10, 10, UINT_MAX, &index) || *p != '\0')
		return -EINVAL;
	name->kind = VFIO_NAME_CDEV;
	name->index = (unsigned)index;
	return 0;
}

static int parse_path(const char *text, struct vfio_name *name)
{
	size_t length = strlen(text);

	while (length > 1 && text[length - 1] == '/')
		length--;
	if (length >= sizeof(name->path))
		return -ENAMETOOLONG;
	memcpy(name->path, text, length);
	name->path[length] = '\0';

	if (strncmp(name->path, VFIO_DIR, strlen(VFIO_DIR)) == 0)
		return parse_node(name);
	if (strncmp(name->path, "/sys/", 5) != 0)
		return -EINVAL;
	name->kind = VFIO_NAME_SYSFS;
	/* Bridges on the way have PCI addresses too; only the last component is the device. */
	if (vfio_bdf_parse(strrchr(name->path, '/') + 1, name->bdf) < 0)
		name->bdf[0] = '\0';
	return 0;
}

int vfio_name_parse(const char *text, struct vfio_name *out)
{
	struct vfio_name name = {.fd = -1};
	int ret;

	if (text[0] == '/') {
		ret = parse_path(text, &name);
	} else if (strncmp(text, "fd=", 3) == 0) {
		ret = parse_fd(text + 3, &name);
	} else {
		name.kind = VFIO_NAME_BDF;
		ret = vfio_bdf_parse(text, name.bdf);
	}
	if (ret == 0)
		*out = name;
	return ret;
}

const char *vfio_name_reason(int error)
{
	switch (error) {
	case -ENAMETOOLONG:
		return "the path is too long";
	case -EOPNOTSUPP:
		return "legacy groups and no-IOMMU nodes are not used; name the device by its PCI "
		       "address or by /dev/vfio/devices/vfioN";
	default:
		return "not the name of a device; it is a PCI address such as 0000:01:00.0, a "
		       "directory in /sys, /dev/vfio/devices/vfioN or fd=N; `sluice list` shows "
		       "what "
		       "there is";
	}
}
