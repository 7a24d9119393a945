/* SPDX-License-Identifier: Apache-2.0 */
/* What went wrong with a device, why, and what to do about it. Looks around only after a failure. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/vfio/message.h"
#include "devices/vfio/providers/kernel/kernel.h"
#include "vmm/base/host.h"
#include "vmm/base/log.h"

static const char no_cdev[] =
	"this kernel makes no /dev/vfio/devices nodes; it needs CONFIG_IOMMUFD and "
	"CONFIG_VFIO_DEVICE_CDEV (Linux 6.6 or newer; Debian's kernels have them off)";

/* The driver of the device in directory @dir; false when there is none. */
static bool driver_of(const struct kernel_calls *calls, const char *dir, char *driver, size_t size)
{
	char path[2 * VFIO_PATH_SIZE + 16];

	snprintf(path, sizeof(path), "%s/driver", dir);
	return calls->link_name(calls->ctx, path, driver, size) > 0;
}

/* Drivers that leave DMA ownership to VFIO: the variant drivers, ports and stubs. */
static bool is_vfio_driver(const char *driver)
{
	return strstr(driver, "vfio") != NULL;
}

static bool is_harmless_driver(const char *driver)
{
	return is_vfio_driver(driver) || !strcmp(driver, "pcieport") || !strcmp(driver, "pci-stub");
}

/* How to get at the device, for the end of a message. */
static const char *remedy(const struct kernel_device *kd, char *buffer, size_t size)
{
	if (kd->bdf[0])
		snprintf(buffer, size, "sluice bind %s", kd->bdf);
	else
		snprintf(buffer, size, "bind its VFIO driver");
	return buffer;
}

int kernel_explain_fd(const struct kernel_calls *calls, const char *who, int fd, const char *node,
		      int error)
{
	char path[32], what[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (calls->read_link(calls->ctx, path, what, sizeof(what)) <= 0)
		strcpy(what, "something else");

	switch (error) {
	case -EINVAL:
		log_error("%s: 0 to 2 are the standard descriptors; open %s at another number "
			  "(9<>%s in a shell) and pass that",
			  who, node, node);
		break;
	case -EBADF:
		log_error("%s: nothing is open at that number; open %s there (%d<>%s in a shell)",
			  who, node, fd, node);
		break;
	case -EACCES:
		log_error("%s: %s is not open for reading and writing there; open it so (%d<>%s in "
			  "a shell)",
			  who, what, fd, node);
		break;
	default:
		log_error("%s: %s is open at that number; it has to be %s", who, what, node);
		break;
	}
	return -EBADF;
}

int kernel_explain_unbound(const struct kernel_device *kd)
{
	char driver[64], how[64];

	if (!driver_of(kd->calls, kd->sysfs, driver, sizeof(driver)))
		return vfio_error(kd->name, -ENODEV, "not bound to vfio-pci, no driver has it; %s",
				  remedy(kd, how, sizeof(how)));
	if (is_vfio_driver(driver))
		return vfio_error(kd->name, -EOPNOTSUPP, "bound to %s, but %s", driver, no_cdev);
	return vfio_error(kd->name, -EBUSY,
			  "not bound to vfio-pci, the host's driver %s has it; %s", driver,
			  remedy(kd, how, sizeof(how)));
}

int kernel_explain_node(const struct kernel_device *kd, int error)
{
	switch (error) {
	case -ENOENT:
		return vfio_error(
			kd->name, error,
			"sysfs has vfio%u, but there is no %s; is /dev a devtmpfs, and is the "
			"node let into this container?",
			kd->vdev.index, kd->node);
	case -EACCES:
	case -EPERM:
		return vfio_error(kd->name, error,
				  "no permission to open %s; run as root, or chown %u %s", kd->node,
				  (unsigned)geteuid(), kd->node);
	case -ENODEV:
	case -ENXIO:
		return vfio_error(kd->name, error, "the host is taking the device away (%s: %s)",
				  kd->node, host_strerror(-error));
	default:
		return vfio_error(kd->name, error, "%s: %s", kd->node, host_strerror(-error));
	}
}

/* Does process @pid hold @target open? */
static bool holds(const struct kernel_calls *calls, const char *pid, const char *target)
{
	char path[96], link[VFIO_PATH_SIZE];
	struct host_list fds;
	bool found = false;

	snprintf(path, sizeof(path), "/proc/%.16s/fd", pid);
	if (calls->list(calls->ctx, path, &fds))
		return false;
	for (size_t i = 0; i < fds.count && !found; i++) {
		snprintf(path, sizeof(path), "/proc/%.16s/fd/%.16s", pid, fds.names[i]);
		found = calls->read_link(calls->ctx, path, link, sizeof(link)) > 0 &&
			!strcmp(link, target);
	}
	host_list_free(&fds);
	return found;
}

/*
 * "process 812 (qemu-system-x86)", who else has @target open, or false: nobody whom this user may
 * look at.
 */
static bool find_user(const struct kernel_calls *calls, const char *target, char *who, size_t size)
{
	struct host_list pids;
	bool found = false;
	char self[16];

	if (calls->list(calls->ctx, "/proc", &pids))
		return false;
	snprintf(self, sizeof(self), "%d", (int)getpid());
	for (size_t i = 0; i < pids.count && !found; i++) {
		const char *pid = pids.names[i];
		char path[64], comm[32];

		if (pid[0] < '0' || pid[0] > '9' || !strcmp(pid, self) ||
		    !holds(calls, pid, target))
			continue;
		snprintf(path, sizeof(path), "/proc/%.16s/comm", pid);
		if (calls->read_text(calls->ctx, path, comm, sizeof(comm)) <= 0)
			strcpy(comm, "?");
		snprintf(who, size, "process %.16s (%s)", pid, comm);
		found = true;
	}
	host_list_free(&pids);
	return found;
}

/* The number of the device's IOMMU group, "?" when it cannot be read. */
static const char *group_of(const struct kernel_device *kd, char *group, size_t size)
{
	char path[VFIO_PATH_SIZE + 16];

	snprintf(path, sizeof(path), "%s/iommu_group", kd->sysfs);
	if (!kd->sysfs[0] || kd->calls->link_name(kd->calls->ctx, path, group, size) <= 0)
		snprintf(group, size, "?");
	return group;
}

/* EPERM of BIND: somebody else in the group, or interrupts that are not isolated. */
static int explain_eperm(const struct kernel_device *kd, int error)
{
	const struct kernel_calls *calls = kd->calls;
	char dir[VFIO_PATH_SIZE + 32], path[2 * VFIO_PATH_SIZE], driver[64], group[16], who[64];
	struct host_list members = {0}, nodes;
	bool said = false;

	group_of(kd, group, sizeof(group));
	snprintf(dir, sizeof(dir), "%s/iommu_group/devices", kd->sysfs);
	if (!kd->sysfs[0] || calls->list(calls->ctx, dir, &members))
		members = (struct host_list){0};

	for (size_t i = 0; i < members.count && !said; i++) {
		const char *member = members.names[i];

		snprintf(path, sizeof(path), "%s/%.64s", dir, member);
		if (!strcmp(member, kd->name) || !driver_of(calls, path, driver, sizeof(driver)) ||
		    is_harmless_driver(driver))
			continue;
		vfio_error(kd->name, 0, "IOMMU group %s also holds %s (%s); sluice bind %s --group",
			   group, member, driver, kd->name);
		said = true;
	}
	for (size_t i = 0; i < members.count && !said; i++) {
		const char *member = members.names[i];

		snprintf(path, sizeof(path), "%s/%.64s/vfio-dev", dir, member);
		if (!strcmp(member, kd->name) || calls->list(calls->ctx, path, &nodes))
			continue;
		for (size_t n = 0; n < nodes.count && !said; n++) {
			snprintf(path, sizeof(path), "/dev/vfio/devices/%.32s", nodes.names[n]);
			said = find_user(calls, path, who, sizeof(who));
		}
		host_list_free(&nodes);
		if (said)
			vfio_error(kd->name, 0,
				   "IOMMU group %s also holds %s, which %s uses; a group serves "
				   "one VM only",
				   group, member, who);
	}
	if (members.names)
		host_list_free(&members);
	if (said)
		return error;
	return vfio_error(
		kd->name, error,
		"the platform does not isolate its interrupts; turn on interrupt remapping "
		"in the firmware, or accept that the guest can forge interrupts: echo 1 "
		">/sys/module/iommufd/parameters/allow_unsafe_interrupts");
}

int kernel_explain_bind(const struct kernel_device *kd, int error)
{
	const bool token = kd->vdev.has_token;
	char path[64], group[16], who[64];

	switch (error) {
	case -EPERM:
		return explain_eperm(kd, error);
	case -EBUSY:
		snprintf(path, sizeof(path), "/dev/vfio/%s", group_of(kd, group, sizeof(group)));
		if (!find_user(kd->calls, path, who, sizeof(who)))
			snprintf(who, sizeof(who), "somebody");
		return vfio_error(
			kd->name, error,
			"%s uses IOMMU group %s by the legacy interface (%s); end it first", who,
			group, path);
	case -EACCES:
		return vfio_error(
			kd->name, error, "%s",
			token ? "the VF token is not the one that its physical function has"
			      : "a VF token is needed, since its physical function is bound to "
				"vfio-pci too: token=UUID");
	case -EINVAL:
		if (kd->node[0] && find_user(kd->calls, kd->node, who, sizeof(who)))
			return vfio_error(kd->name, error,
					  "%s has the device; it serves one VM at a time", who);
		return vfio_error(kd->name, error, "%s",
				  token ? "it takes no VF token (it is no virtual function of a "
					  "vfio-pci device, or this kernel knows none); leave "
					  "token= out"
					: "the device is in use already, or its descriptor is "
					  "bound already");
	case -ESRCH:
		/* Drivers that follow guest pages through KVM (i915's kvmgt.c). */
		return vfio_error(
			kd->name, error,
			"its driver works only with a KVM, the virtual machine that the device "
			"is for, %s",
			kd->vdev.kvm ? "and does not take this one; see dmesg"
				     : "and there is none here; pass it to a guest of this host "
				       "(sluice run), it cannot be served to another process");
	case -E2BIG:
		return vfio_error(
			kd->name, error,
			"this kernel takes no VF token at the device node; leave token= out or "
			"use a newer kernel");
	case -EBADF:
	case -EBADFD:
		return vfio_error(
			kd->name, error,
			"the iommufd descriptor is none; pass an open /dev/iommu (--iommufd fd=N)");
	case -ENOTTY:
		return vfio_error(kd->name, error,
				  "this descriptor is of the legacy interface, or %s", no_cdev);
	case -EAGAIN:
		return vfio_error(kd->name, error,
				  "a device that shares its reset is being reset; try again");
	default:
		return vfio_error(kd->name, error,
				  "the kernel cannot open the device: %m; see dmesg");
	}
}

int kernel_explain_attach(const struct kernel_device *kd, const struct kernel_ioas *space,
			  int error)
{
	switch (error) {
	case -ENOMEM:
		kernel_explain_pin(space, kd->name, 0);
		return error;
	case -EADDRINUSE:
		return vfio_error(
			kd->name, error,
			"its IOMMU reserves addresses at which the guest has memory; add the "
			"device at launch, so that the memory is laid out around them");
	case -EINVAL:
		return vfio_error(
			kd->name, error,
			"its IOMMU takes no page table of this VM; a device of the same IOMMU "
			"group may be attached elsewhere");
	case -EBUSY:
		return vfio_error(kd->name, error, "the device is being reset; try again");
	default:
		return vfio_error(kd->name, error, "cannot attach it to the guest's memory: %m");
	}
}
