// SPDX-License-Identifier: Apache-2.0
/* Facts about one device: what sysfs says without the device being touched. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/pci_regs.h>

#include "devices/vfio/check/gather.h"

/* The directory of the device in sysfs, resolved, or NULL. */
static const char *find_device(const struct check_source *source,
			       const struct check_request *request)
{
	const struct vfio_name *name = &request->parsed;
	char path[CHECK_PATH], *slash;

	switch (name->kind) {
	case VFIO_NAME_BDF:
		return check_real(source, "/sys/bus/pci/devices/%s", name->bdf);
	case VFIO_NAME_SYSFS:
		return check_real(source, "%s", name->path);
	case VFIO_NAME_CDEV:
		return check_real(source, "/sys/class/vfio-dev/vfio%u/device", name->index);
	case VFIO_NAME_FD:
		/* .../0000:01:00.0/vfio-dev/vfio0 */
		if (host_device_sysfs(name->fd, path, sizeof(path)) < 0)
			return NULL;
		for (int i = 0; i < 2; i++) {
			slash = strrchr(path, '/');
			if (!slash)
				return NULL;
			*slash = '\0';
			if (i == 0 && (slash = strrchr(path, '/')) && strcmp(slash, "/vfio-dev"))
				return NULL;
		}
		return check_string(source->arena, path);
	}
	return NULL;
}

/* The number or the text in the file @name of the directory @at. */
static uint64_t read_number(const struct check_source *source, const char *at, const char *name,
			    int otherwise)
{
	return check_read_number(source, (uint64_t)otherwise, "%s/%s", at, name);
}

static const char *read_text(const struct check_source *source, const char *at, const char *name)
{
	return check_read(source, "%s/%s", at, name);
}

/* Host bridges and PCI-to-PCI bridges; an ISA bridge is a device as others are. */
static bool is_bridge(uint64_t class_code)
{
	return class_code >> 8 == 0x0600 || class_code >> 8 == 0x0604;
}

static void read_resources(const struct check_source *source, struct check_facts *facts)
{
	const char *text = read_text(source, facts->sysfs, "resource");

	for (unsigned i = 0; text && *text && i <= CHECK_BARS; i++) {
		struct check_resource *out = i < CHECK_BARS ? &facts->bars[i] : &facts->rom;
		uint64_t start, end, flags;

		if (sscanf(text, "%" SCNx64 " %" SCNx64 " %" SCNx64, &start, &end, &flags) != 3)
			return;
		/* A length of 1 byte does not exist; 0 to 0 with flags is an empty resource. */
		if (flags && end > start)
			*out = (struct check_resource){start, end - start + 1, flags};
		text = strchr(text, '\n');
		if (text)
			text++;
	}
}

static unsigned config_word(const uint8_t *config, unsigned at)
{
	return (unsigned)config[at] | (unsigned)config[at + 1] << 8;
}

/* Vectors from the capabilities in the first 256 bytes (the caller is root). */
static void read_vectors(const uint8_t *config, struct check_facts *facts)
{
	unsigned at, hops;

	if (!(config_word(config, PCI_STATUS) & PCI_STATUS_CAP_LIST))
		return;
	at = config[PCI_CAPABILITY_LIST] & ~3u;
	/* 48 capabilities fill the space: more hops are a loop. */
	for (hops = 0; hops < 48 && at >= 0x40; hops++) {
		unsigned control = config_word(config, at + 2);

		if (config[at] == PCI_CAP_ID_MSI)
			facts->msi = 1u << ((control & PCI_MSI_FLAGS_QMASK) >> 1);
		else if (config[at] == PCI_CAP_ID_MSIX)
			facts->msix = (control & PCI_MSIX_FLAGS_QSIZE) + 1;
		at = config[at + 1] & ~3u;
	}
}

static void read_config(const struct check_source *source, struct check_facts *facts)
{
	uint8_t config[256];
	ssize_t length = host_read_bytes(check_path(source, "%s/config", facts->sysfs), config,
					 sizeof(config));

	if (length < PCI_STD_HEADER_SIZEOF)
		return;
	facts->config_read = true;
	/* All of the header: the IDs alone are all ones in a healthy VF (SR-IOV 3.4.1.1). */
	facts->gone = true;
	for (unsigned i = 0; i < PCI_STD_HEADER_SIZEOF; i++)
		facts->gone = facts->gone && config[i] == 0xff;
	if (facts->gone)
		return;
	facts->bridge |= (config[PCI_HEADER_TYPE] & 0x7f) != PCI_HEADER_TYPE_NORMAL;
	facts->config_whole = length == sizeof(config);
	if (facts->config_whole)
		read_vectors(config, facts);
}

/* The VFIO device of @sysfs ("vfio0"), or NULL. */
static const char *vfio_device(const struct check_source *source, const char *sysfs)
{
	struct host_list names = check_list(source, "%s/vfio-dev", sysfs);
	const char *name = names.count ? check_string(source->arena, names.names[0]) : NULL;

	host_list_free(&names);
	return name;
}

static void read_driver(const struct check_source *source, struct check_facts *facts)
{
	const char *override = read_text(source, facts->sysfs, "driver_override");
	const char *number;

	facts->driver = check_link(source, "%s/driver", facts->sysfs);
	if (override && strcmp(override, "(null)") != 0 && *override)
		facts->driver_override = override;
	facts->vfio_name = vfio_device(source, facts->sysfs);
	/* Kernels before 6.1 have no vfio-dev; sluice cannot use those, but says so of others. */
	facts->vfio = facts->vfio_name || (facts->driver && strcmp(facts->driver, "vfio-pci") == 0);
	if (facts->vfio_name) {
		number = check_read(source, "%s/vfio-dev/%s/dev", facts->sysfs, facts->vfio_name);
		facts->vfio_cdev = number && sscanf(number, "%u:%u", &facts->cdev_major,
						    &facts->cdev_minor) == 2;
		number = check_format(source->arena, "/dev/vfio/devices/%s", facts->vfio_name);
		if (number)
			check_gather_node(source, number, &facts->cdev);
	}
}

static void read_pci(const struct check_source *source, struct check_facts *facts)
{
	const char *at = facts->sysfs;
	const char *methods, *physfn;

	facts->vendor = (uint16_t)read_number(source, at, "vendor", 0);
	facts->device = (uint16_t)read_number(source, at, "device", 0);
	facts->subsystem_vendor = (uint16_t)read_number(source, at, "subsystem_vendor", 0);
	facts->subsystem_device = (uint16_t)read_number(source, at, "subsystem_device", 0);
	facts->class_code = (uint32_t)read_number(source, at, "class", 0) & 0xffffff;
	facts->bridge = is_bridge(facts->class_code);
	facts->enable_count = (int)read_number(source, at, "enable", -1);
	facts->numa_node = (int)read_number(source, at, "numa_node", -1);
	facts->boot_vga = read_number(source, at, "boot_vga", 0) == 1;
	facts->power_state = read_text(source, at, "power_state");
	facts->runtime_status = read_text(source, at, "power/runtime_status");
	facts->pcie_speed = read_text(source, at, "current_link_speed");
	facts->pcie_width = (unsigned)read_number(source, at, "current_link_width", 0);
	facts->sriov_vfs = (unsigned)read_number(source, at, "sriov_numvfs", 0);
	facts->sriov_total = (unsigned)read_number(source, at, "sriov_totalvfs", 0);
	physfn = check_link(source, "%s/physfn", at);
	if (physfn) {
		facts->physfn = physfn;
		facts->physfn_driver = check_link(source, "%s/physfn/driver", at);
	}
	methods = read_text(source, at, "reset_method");
	facts->reset_methods = methods ? methods : "";
	facts->can_reset = *facts->reset_methods || check_exists(source, "%s/reset", at);
	read_resources(source, facts);
	read_config(source, facts);
}

static int read_group(const struct check_source *source, struct check_facts *facts)
{
	static const char groups[] = "/sys/kernel/iommu_groups";
	const char *name, *cap;
	struct host_list members;
	int ret = 0;

	facts->iommu_group = check_link(source, "%s/iommu_group", facts->sysfs);
	if (!facts->iommu_group)
		return 0;
	name = check_read(source, "%s/%s/name", groups, facts->iommu_group);
	facts->group_noiommu = name && strcmp(name, "vfio-noiommu") == 0;
	/*
	 * The group of an emulated device is called so, too (vfio_noiommu_group_alloc() in drivers/vfio/group.c);
	 * without the IOMMU that it needs a device has no such node, or one with another name.
	 */
	facts->emulated = facts->group_noiommu && !facts->pci && facts->vfio_cdev &&
			  strncmp(facts->vfio_name, "noiommu-", 8) != 0;
	facts->group_noiommu &= !facts->emulated;
	facts->group_type = check_read(source, "%s/%s/type", groups, facts->iommu_group);

	members = check_list(source, "%s/%s/devices", groups, facts->iommu_group);
	for (size_t i = 0; i < members.count && ret == 0; i++) {
		struct check_member *member;
		const char *sysfs = check_real(source, "%s/%s/devices/%s", groups,
					       facts->iommu_group, members.names[i]);

		member = check_append(source->arena, (void **)&facts->members, &facts->member_count,
				      sizeof(*member));
		if (!member || !(member->name = check_string(source->arena, members.names[i]))) {
			ret = -ENOMEM;
			break;
		}
		if (!sysfs)
			continue;
		member->driver = check_link(source, "%s/driver", sysfs);
		member->vfio_name = vfio_device(source, sysfs);
		member->bridge = is_bridge(read_number(source, sysfs, "class", 0));
		member->sriov_vfs = (unsigned)read_number(source, sysfs, "sriov_numvfs", 0);
	}
	host_list_free(&members);

	/* VT-d: MGAW in bits 21:16, the widest page table in SAGAW (10.4.2 of the VT-d spec). */
	cap = check_read(source, "%s/iommu/intel-iommu/cap", facts->sysfs);
	if (cap) {
		uint64_t bits = strtoull(cap, NULL, 16);
		unsigned mgaw = (unsigned)(bits >> 16 & 0x3f) + 1;
		unsigned agaw = bits >> 8 & 0x8 ? 57 : bits >> 8 & 0x4 ? 48 : 39;

		facts->iommu_width = mgaw < agaw ? mgaw : agaw;
	}
	return ret;
}

static int read_reserved(const struct check_source *source, struct check_facts *facts)
{
	const char *text = check_read(source, "/sys/kernel/iommu_groups/%s/reserved_regions",
				      facts->iommu_group);

	while (text && *text) {
		struct check_reserved *reserved;
		uint64_t first, last;
		char type[32];

		if (sscanf(text, "%" SCNx64 " %" SCNx64 " %31s", &first, &last, type) != 3)
			return 0;
		reserved = check_append(source->arena, (void **)&facts->reserved,
					&facts->reserved_count, sizeof(*reserved));
		if (!reserved)
			return -ENOMEM;
		*reserved = (struct check_reserved){first, last, check_string(source->arena, type)};
		if (!reserved->type)
			return -ENOMEM;
		text = strchr(text, '\n');
		if (text)
			text++;
	}
	return 0;
}

/* Of all processes that hold VFIO nodes, keep those that stand in the way of this device. */
static int keep_processes(const struct check_source *source, struct check_facts *facts)
{
	struct check_process *all = facts->processes;
	size_t count = facts->process_count;

	facts->processes = NULL;
	facts->process_count = 0;
	for (size_t i = 0; i < count; i++) {
		struct check_process *kept;
		const char *device = NULL;
		const char *node = all[i].node + strlen("/dev/vfio/");
		bool group = facts->iommu_group && strcmp(node, facts->iommu_group) == 0;

		for (size_t m = 0; m < facts->member_count && !device; m++) {
			const char *name = facts->members[m].vfio_name;

			if (name && strncmp(node, "devices/", 8) == 0 &&
			    strcmp(node + 8, name) == 0)
				device = facts->members[m].name;
		}
		/* A device without a group (none is known yet) still has a node of its own. */
		if (!device && facts->vfio_name && strncmp(node, "devices/", 8) == 0 &&
		    strcmp(node + 8, facts->vfio_name) == 0)
			device = facts->address;
		if (!device && !group)
			continue;
		kept = check_append(source->arena, (void **)&facts->processes,
				    &facts->process_count, sizeof(*kept));
		if (!kept)
			return -ENOMEM;
		*kept = all[i];
		kept->device = device;
	}
	return 0;
}

int check_gather_device(struct check_arena *arena, const struct check_request *request,
			struct check_facts *facts)
{
	const struct check_source source = {.arena = arena, .root = request->root};
	const char *bus;
	int ret;

	facts->sysfs = find_device(&source, request);
	if (!facts->sysfs)
		return keep_processes(&source, facts);
	facts->found = true;
	facts->address = strrchr(facts->sysfs, '/') + 1;
	bus = check_link(&source, "%s/subsystem", facts->sysfs);
	facts->pci = bus && strcmp(bus, "pci") == 0;

	read_driver(&source, facts);
	if (facts->pci)
		read_pci(&source, facts);
	ret = read_group(&source, facts);
	if (ret == 0 && facts->iommu_group)
		ret = read_reserved(&source, facts);
	if (ret == 0)
		ret = keep_processes(&source, facts);
	if (ret == 0)
		ret = check_gather_uses(&source, facts->sysfs, facts);
	return ret;
}

int check_gather(struct check_arena *arena, const struct check_request *request,
		 struct check_facts *facts)
{
	int ret = check_gather_host(arena, request, facts);

	return ret < 0 ? ret : check_gather_device(arena, request, facts);
}
