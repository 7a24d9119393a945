// SPDX-License-Identifier: Apache-2.0
// vfio-hold NODE: hold a VFIO device as another user of it would, until standard input ends or a signal comes. Prints "held" when it does.
// NODE is /dev/vfio/devices/vfioN (bound to an iommufd) or /dev/vfio/GROUP (in a legacy container).
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/vfio.h>

static int fail(const char *what)
{
	fprintf(stderr, "vfio-hold: %s: %s\n", what, strerror(errno));
	return 1;
}

static int hold_device(int device)
{
	int iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = iommufd };

	if (iommufd < 0)
		return fail("/dev/iommu");
	if (ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind) < 0)
		return fail("VFIO_DEVICE_BIND_IOMMUFD");
	return 0;
}

static int hold_group(int group)
{
	int container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);

	if (container < 0)
		return fail("/dev/vfio/vfio");
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) < 0)
		return fail("VFIO_GROUP_SET_CONTAINER");
	if (ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
		return fail("VFIO_SET_IOMMU");
	return 0;
}

int main(int argc, char **argv)
{
	char byte;
	int node;

	if (argc != 2) {
		fprintf(stderr, "usage: vfio-hold NODE\n");
		return 2;
	}
	node = open(argv[1], O_RDWR | O_CLOEXEC);
	if (node < 0)
		return fail(argv[1]);
	if (strstr(argv[1], "/devices/") ? hold_device(node) : hold_group(node))
		return 1;
	puts("held");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
