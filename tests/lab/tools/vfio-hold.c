// SPDX-License-Identifier: Apache-2.0
// vfio-hold [--token UUID] NODE: hold a VFIO device as another user of it would, until standard input ends or a signal comes. Prints "held" when it does.
// With a token, the holder of a physical function says what users of its virtual functions must know.
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

// The 16 bytes of a UUID in the order of its text.
static int parse_uuid(const char *text, unsigned char *uuid)
{
	int byte = 0;

	while (byte < 16) {
		if (*text == '-')
			text++;
		if (sscanf(text, "%2hhx", &uuid[byte]) != 1)
			return -1;
		text += 2;
		byte++;
	}
	return *text ? -1 : 0;
}

static int hold_device(int device, const unsigned char *token)
{
	int iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	struct vfio_device_bind_iommufd bind = {.argsz = sizeof(bind), .iommufd = iommufd};

	if (token) {
		bind.flags = VFIO_DEVICE_BIND_FLAG_TOKEN;
		bind.token_uuid_ptr = (unsigned long)token;
	}

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
	unsigned char uuid[16], *token = NULL;
	const char *path;
	char byte;
	int node;

	if (argc == 4 && strcmp(argv[1], "--token") == 0 && parse_uuid(argv[2], uuid) == 0) {
		token = uuid;
	} else if (argc != 2) {
		fprintf(stderr, "usage: vfio-hold [--token UUID] NODE\n");
		return 2;
	}
	path = argv[argc - 1];
	node = open(path, O_RDWR | O_CLOEXEC);
	if (node < 0)
		return fail(path);
	if (strstr(path, "/devices/") ? hold_device(node, token) : hold_group(node))
		return 1;
	puts("held");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
