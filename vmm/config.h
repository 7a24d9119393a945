/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine that the user wants, as plain data: all that the command line (and later the control
 * API) produces. Nothing below reads argv or JSON.
 */
#ifndef SLUICE_CONFIG_H
#define SLUICE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/vfio/config.h"
#include "vmm/base/memory_option.h"

struct vm_disk {
	char *path;
	bool readonly;
};

struct vm_net {
	char *tap; /* name of the host interface */
	bool has_mac;
	uint8_t mac[6];
};

enum vm_serial {
	VM_SERIAL_STDIO,
	VM_SERIAL_NONE,
	VM_SERIAL_PTY,
	VM_SERIAL_FILE,
};

/* What to do when the guest resets the machine. */
enum vm_on_reset {
	VM_ON_RESET_EXIT,   /* end with exit status 3 */
	VM_ON_RESET_REBOOT, /* reset every device, load the kernel again and go on */
};

struct vm_config {
	char *kernel;
	char **initrds;
	unsigned initrd_count;
	char *cmdline; /* never NULL */
	unsigned cpus;

	struct memory_option memory;

	struct vm_disk *disks;
	unsigned disk_count;
	struct vm_net *nets;
	unsigned net_count;
	enum vm_serial serial;
	char *serial_path; /* VM_SERIAL_FILE */

	/* Devices to pass through; the strings inside are owned by this struct. */
	struct vfio_config *vfio;
	unsigned vfio_count;
	int iommufd;     /* a descriptor of /dev/iommu to use, -1: open it when it is needed */
	bool migratable; /* dirty tracking and IOMMU page size, which cannot change later */
	uint32_t unplug_timeout_s;

	enum vm_on_reset on_reset;
	int verbosity;  /* number of -v */
	char *log_file; /* NULL: stderr */
};

/* One vCPU, 512 MiB, serial port on stdio; no kernel yet. -ENOMEM. */
int vm_config_init(struct vm_config *config);
/* Frees the strings and arrays; descriptors are not closed here. */
void vm_config_destroy(struct vm_config *config);

/*
 * What can only be judged as a whole: a kernel is given, no vfio device or disk is named twice, names
 * of devices are well formed, ids are unique, memory suits the page size, passed descriptors come with
 * --iommufd, and that with a device which needs it. -EINVAL with one message naming the option.
 */
int vm_config_check(const struct vm_config *config);

/* The part of it that is about devices to pass through, their provider's own keys included. */
int vm_config_check_vfio(const struct vm_config *config);

#endif
