/* SPDX-License-Identifier: Apache-2.0 */
/* From the name that the user typed to the device's node, through sysfs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "devices/vfio/message.h"
#include "devices/vfio/providers/kernel/kernel.h"
#include "vmm/base/host.h"

#define PCI_DEVICES "/sys/bus/pci/devices"
#define VFIO_NODE   "/dev/vfio/devices/vfioN"

static const char *last_component(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Resolve @path, which must fit. */
static int resolve(struct kernel_device *kd, const char *path)
{
	return kd->calls->real_path(kd->calls->ctx, path, kd->sysfs, sizeof(kd->sysfs));
}

static int find_sysfs(struct kernel_device *kd, const char *path)
{
	const int rc = resolve(kd, path);

	if (!rc)
		return 0;
	if (rc == -ENOENT)
		vfio_error(kd->name, 0,
			   "there is no such device; `sluice list` shows what there is");
	else
		vfio_error(kd->name, rc, "%s: %s", path, host_strerror(-rc));
	return rc;
}

static int find_cdev(struct kernel_device *kd, unsigned index)
{
	char path[64];
	int rc;

	snprintf(path, sizeof(path), "/sys/class/vfio-dev/vfio%u/device", index);
	rc = resolve(kd, path);
	if (rc)
		vfio_error(kd->name, rc,
			   "no device has this node (%s: %m); `sluice list` shows what there is",
			   path);
	return rc;
}

/* ".../0000:01:00.0/vfio-dev/vfio3" of a passed descriptor: the device and the index. */
static int split_node_path(char *path, unsigned *index)
{
	char *node = strrchr(path, '/'), *dir;
	char tail;

	if (!node || sscanf(node, "/vfio%u%c", index, &tail) != 1)
		return -ENOTTY;
	*node = '\0';
	dir = strrchr(path, '/');
	if (!dir || strcmp(dir, "/vfio-dev"))
		return -ENOTTY;
	*dir = '\0';
	return 0;
}

static int explain_fd(const struct kernel_calls *calls, const char *name, int fd, int error)
{
	char who[80];

	snprintf(who, sizeof(who), "vfio %s", name);
	return kernel_explain_fd(calls, who, fd, VFIO_NODE, error);
}

int kernel_take_fd(const struct kernel_calls *calls, const char *name, int fd)
{
	int rc;

	if (!calls)
		calls = &kernel_calls_host;
	rc = calls->take_device(calls->ctx, fd);
	return rc < 0 ? explain_fd(calls, name, fd, rc) : 0;
}

static int find_fd(struct kernel_device *kd, int fd, unsigned *index)
{
	const struct kernel_calls *calls = kd->calls;
	int rc;

	rc = kernel_take_fd(calls, kd->name, fd);
	if (rc < 0)
		return rc;
	kd->passed_fd = fd;

	rc = calls->device_sysfs(calls->ctx, fd, kd->sysfs, sizeof(kd->sysfs));
	if (rc) {
		/* A jail without sysfs: the descriptor is all there is, and enough. */
		vfio_debug(kd->name, rc, "sysfs: %m");
		kd->sysfs[0] = '\0';
		return 0;
	}
	rc = split_node_path(kd->sysfs, index);
	return rc ? explain_fd(calls, kd->name, fd, rc) : 0;
}

/* The device's entry in vfio-dev/: its index and its device number. */
static int find_node(struct kernel_device *kd, unsigned *index)
{
	const struct kernel_calls *calls = kd->calls;
	char path[VFIO_PATH_SIZE + 64];
	struct host_list list = {0};
	bool found = false, noiommu = false;
	char tail;
	int rc;

	snprintf(path, sizeof(path), "%s/vfio-dev", kd->sysfs);
	rc = calls->list(calls->ctx, path, &list);
	for (size_t i = 0; !rc && i < list.count && !found; i++) {
		found = sscanf(list.names[i], "vfio%u%c", index, &tail) == 1;
		noiommu |= !strncmp(list.names[i], "noiommu-", 8);
	}
	if (!rc)
		host_list_free(&list);
	if (noiommu && !found)
		return vfio_error(
			kd->name, -EOPNOTSUPP,
			"it has no IOMMU (vfio enable_unsafe_noiommu_mode); a guest needs one: "
			"turn on VT-d or AMD-Vi in the firmware and by intel_iommu=on");
	if (rc && rc != -ENOENT)
		return vfio_error(kd->name, rc, "%s: %s", path, host_strerror(-rc));
	if (!found)
		return kernel_explain_unbound(kd);

	snprintf(kd->node, sizeof(kd->node), "/dev/vfio/devices/vfio%u", *index);
	snprintf(path, sizeof(path), "%s/vfio-dev/vfio%u/dev", kd->sysfs, *index);
	if (calls->read_text(calls->ctx, path, kd->dev, sizeof(kd->dev)) < 0)
		kd->dev[0] = '\0';
	return 0;
}

int kernel_find(struct kernel_device *kd, const struct vfio_config *config, unsigned *index)
{
	struct vfio_name name;
	char path[64];
	int rc;

	*index = UINT_MAX;
	snprintf(kd->name, sizeof(kd->name), "%s", config->name);
	snprintf(kd->spelled, sizeof(kd->spelled), "%s", config->name);
	rc = vfio_name_parse(config->name, &name);
	if (rc)
		return vfio_error(config->name, rc, "%s", vfio_name_reason(rc));

	switch (name.kind) {
	case VFIO_NAME_BDF:
		snprintf(kd->name, sizeof(kd->name), "%s", name.bdf);
		snprintf(path, sizeof(path), PCI_DEVICES "/%s", name.bdf);
		rc = find_sysfs(kd, path);
		break;
	case VFIO_NAME_SYSFS:
		rc = find_sysfs(kd, name.path);
		break;
	case VFIO_NAME_CDEV:
		rc = find_cdev(kd, name.index);
		break;
	case VFIO_NAME_FD:
		rc = find_fd(kd, config->fd >= 0 ? config->fd : name.fd, index);
		break;
	default:
		rc = -EINVAL;
		break;
	}
	if (rc)
		return rc;

	/* From here on messages speak of the device as the host does. */
	if (kd->sysfs[0]) {
		snprintf(kd->name, sizeof(kd->name), "%.*s", (int)sizeof(kd->name) - 1,
			 last_component(kd->sysfs));
		if (vfio_bdf_parse(kd->name, kd->bdf))
			kd->bdf[0] = '\0';
	}
	return name.kind == VFIO_NAME_FD ? 0 : find_node(kd, index);
}

int kernel_open_node(struct kernel_device *kd)
{
	const struct kernel_calls *calls = kd->calls;
	char dev[sizeof(kd->dev)];
	struct stat st;
	int fd, rc;

	if (kd->passed_fd >= 0) {
		fd = kd->passed_fd;
		kd->passed_fd = -1;
		return fd;
	}
	if (!kd->node[0])
		return vfio_error(kd->name, -ENODEV,
				  "the passed descriptor is used up; pass it again");

	fd = calls->open_vfio(calls->ctx, kd->node);
	if (fd < 0)
		return kernel_explain_node(kd, fd);
	if (!kd->dev[0])
		return fd;

	/* A stale node of an earlier device must not give the guest another one. */
	rc = calls->fstat(calls->ctx, fd, &st);
	if (rc) {
		vfio_error(kd->name, rc, "%s: %s", kd->node, host_strerror(-rc));
		goto close_fd;
	}
	snprintf(dev, sizeof(dev), "%u:%u", major(st.st_rdev), minor(st.st_rdev));
	if (strcmp(dev, kd->dev) != 0) {
		rc = vfio_error(kd->name, -ENODEV,
				"%s is device %s, but sysfs says %s; let udev make the node again",
				kd->node, dev, kd->dev);
		goto close_fd;
	}
	return fd;

close_fd:
	calls->close(calls->ctx, fd);
	return rc;
}

/*
 * drivers/vfio/pci/vfio_pci_core.c: devices on a root bus and VFs are reset alone, others with their
 * slot, or with their bus where the slot cannot be reset. Whether it can, sysfs does not tell; the
 * bus holds the slot, and on PCI Express it is the slot.
 */
uint64_t kernel_set_id(const struct kernel_device *kd)
{
	char path[VFIO_PATH_SIZE + 16], link[16];
	unsigned domain, bus;
	const char *parent;

	if (!kd->bdf[0] || sscanf(kd->bdf, "%x:%x:", &domain, &bus) != 2)
		return 0;

	snprintf(path, sizeof(path), "%s", kd->sysfs);
	*strrchr(path, '/') = '\0';
	parent = last_component(path);
	if (!strncmp(parent, "pci", 3))
		return 0;
	snprintf(path, sizeof(path), "%s/physfn", kd->sysfs);
	if (kd->calls->link_name(kd->calls->ctx, path, link, sizeof(link)) > 0)
		return 0;
	return ((uint64_t)domain << 8 | bus) + 1;
}
