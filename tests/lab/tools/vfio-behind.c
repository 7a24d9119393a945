// SPDX-License-Identifier: Apache-2.0
// vfio-behind PID OFFSET BYTE [NODE]: write a byte into the configuration space of the VFIO device that process PID holds (the one of /dev/vfio/devices/vfioN, else
// the first), by a copy of its descriptor: what the process does not know of, as when a device falls off its bus. Exit status 0 when the kernel took it.
#include <dirent.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// The number that PID has the VFIO device open as, or -1.
static int find_device(const char *pid, const char *node)
{
	char path[64], link[64], name[320];
	struct dirent *entry;
	int found = -1;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	dir = opendir(path);
	while (dir && found < 0 && (entry = readdir(dir))) {
		ssize_t length;

		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		length = readlink(name, link, sizeof(link) - 1);
		if (length <= 0)
			continue;
		link[length] = 0;
		if (node ? !strcmp(link, node) : !strncmp(link, "/dev/vfio/devices/", 18))
			found = atoi(entry->d_name);
	}
	if (dir)
		closedir(dir);
	return found;
}

int main(int argc, char **argv)
{
	struct vfio_region_info info = {.argsz = sizeof(info),
					.index = VFIO_PCI_CONFIG_REGION_INDEX};
	unsigned char byte;
	int pidfd, number, device;

	if (argc != 4 && argc != 5) {
		fprintf(stderr, "usage: vfio-behind PID OFFSET BYTE [NODE]\n");
		return 2;
	}
	number = find_device(argv[1], argv[4]);
	pidfd = (int)syscall(SYS_pidfd_open, atoi(argv[1]), 0);
	device = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	if (device < 0 || ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info) < 0) {
		perror("vfio-behind: the device of the process");
		return 1;
	}
	byte = (unsigned char)strtoul(argv[3], NULL, 0);
	if (pwrite(device, &byte, 1, (off_t)(info.offset + strtoul(argv[2], NULL, 0))) != 1) {
		perror("vfio-behind: configuration space");
		return 1;
	}
	return 0;
}
