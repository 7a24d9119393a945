// SPDX-License-Identifier: Apache-2.0
/* Findings about the device and its IOMMU group. */
#include "devices/vfio/check/judge.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void judge_iommu_off(struct judge *judge)
{
	static const char *const switches[] = {"intel_iommu=off", "amd_iommu=off", "iommu=off",
					       "iommu.passthrough=off"};
	const struct check_facts *f = judge->facts;
	struct check_finding *finding;

	judge->host = true;
	for (size_t i = 0; f->cmdline && i < sizeof(switches) / sizeof(switches[0]); i++) {
		const char *p = strstr(f->cmdline, switches[i]);

		/* "iommu=off" is also the end of "intel_iommu=off". */
		if (!p || (p != f->cmdline && p[-1] != ' '))
			continue;
		finding = judge_obstacle(judge, "iommu.off", "iommu",
					 "the IOMMU is switched off by %s on the kernel command "
					 "line",
					 switches[i]);
		judge_remedy_cmdline(judge, finding, switches[i], false);
		judge->host = false;
		return;
	}
	if (f->iommu_table) {
		finding = judge_obstacle(judge, "iommu.off", "iommu",
					 "the firmware describes an IOMMU (ACPI table %s), but the "
					 "kernel does not use it",
					 f->iommu_table);
		if (strcmp(f->iommu_table, "DMAR") == 0)
			judge_remedy_cmdline(judge, finding, "intel_iommu=on", true);
		else
			judge_remedy(judge, finding, "%sdmesg | grep -iE 'iommu|AMD-Vi|smmu'",
				     judge->sudo);
	} else {
		finding = judge_obstacle(judge, "iommu.off", "iommu",
					 "this host shows no IOMMU: switch on VT-d, AMD-Vi or the "
					 "SMMU in the firmware's set-up");
		judge_remedy(judge, finding, "%ssystemctl reboot --firmware-setup", judge->sudo);
	}
	judge->host = false;
}

static void judge_iommu(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	struct check_finding *finding;

	if (f->emulated) {
		judge_ok(judge, "iommu.ok", "iommu",
			 "not needed: the device's driver reads and writes guest memory itself");
		return;
	}
	if (f->iommu_group && !f->group_noiommu) {
		char width[32] = "";

		if (f->iommu_width)
			snprintf(width, sizeof(width), ", %u bits of address", f->iommu_width);
		judge_ok(judge, "iommu.ok", "iommu", "on%s%s%s", f->group_type ? "; type " : "",
			 f->group_type ? f->group_type : "", width);
		return;
	}
	if (!f->iommu_any) {
		judge_iommu_off(judge);
		return;
	}
	finding = judge_obstacle(judge, "iommu.no_group", "iommu", "no IOMMU translates for %s%s",
				 f->address,
				 f->group_noiommu ? " (a no-IOMMU group protects nothing)" : "");
	judge_remedy(judge, finding, "sluice list   # shows the devices that have an IOMMU group");
}

static void judge_msi(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	struct check_finding *finding;

	if (!f->pci || !f->iommu_group || f->group_noiommu)
		return;
	if (f->msi_isolated == CHECK_YES) {
		judge_ok(judge, "msi.ok", "msi", "isolated by interrupt remapping");
		return;
	}
	if (f->msi_isolated == CHECK_UNKNOWN || f->rehearsal.done) {
		bool bound = f->rehearsal.done && f->rehearsal.bind == 0;

		if (f->msi_isolated == CHECK_NO && bound)
			judge_warning(
				judge, "msi.unsafe_allowed", "msi",
				"not isolated (no interrupt remapping): the guest could forge "
				"interrupts; iommufd.allow_unsafe_interrupts permits it");
		else
			judge_ok(judge, "msi.unknown", "msi",
				 bound ? "isolated, says iommufd"
				       : "whether they are isolated is seen when it is opened");
		return;
	}
	if (f->allow_unsafe_interrupts == CHECK_YES) {
		judge_warning(judge, "msi.unsafe_allowed", "msi",
			      "not isolated (no interrupt remapping): the guest could forge "
			      "interrupts; iommufd.allow_unsafe_interrupts permits it");
		return;
	}
	judge->host = true;
	finding = judge_obstacle(judge, "msi.unsafe", "msi",
				 "not isolated: this host has no interrupt remapping, and iommufd "
				 "refuses the device");
	judge->host = false;
	if (f->cmdline && strstr(f->cmdline, "intremap=off"))
		judge_remedy_cmdline(judge, finding, "intremap=off", false);
	judge_remedy_write(judge, finding, "1",
			   "/sys/module/iommufd/parameters/allow_unsafe_interrupts");
	finding->remedies[finding->remedy_count - 1] =
		check_format(judge->arena, "%s   # only for a guest that you trust",
			     finding->remedies[finding->remedy_count - 1]);
	if (!finding->remedies[finding->remedy_count - 1])
		judge->out_of_memory = true;
}

/* Devices that vfio-pci does not take without being told (vfio_pci_dev_in_denylist()). */
static bool denylisted(const struct check_facts *f)
{
	static const uint16_t devices[] = {
		0x19e2, 0x19e3, /* QAT C3XXX and its VFs */
		0x37c8, 0x37c9, /* QAT C62X */
		0x0435, 0x0443, /* QAT DH895XCC */
		0x0b25, 0x0cfe, /* DSA and IAX of Sapphire Rapids */
	};

	for (size_t i = 0; f->vendor == 0x8086 && i < sizeof(devices) / sizeof(devices[0]); i++) {
		if (f->device == devices[i])
			return true;
	}
	return false;
}

static void judge_presence(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	struct check_finding *finding;

	if (f->gone || (f->runtime_status && strcmp(f->runtime_status, "error") == 0)) {
		finding = judge_obstacle(
			judge, "device.gone", "device",
			f->gone ? "it does not answer: its configuration space reads "
				  "all ones"
				: "it did not wake up from power management");
		judge_remedy(judge, finding,
			     f->root ? "echo 1 > /sys/bus/pci/devices/%s/remove && "
				       "echo 1 > /sys/bus/pci/rescan"
				     : "echo 1 | sudo tee /sys/bus/pci/devices/%s/remove && "
				       "echo 1 | sudo tee /sys/bus/pci/rescan",
			     f->address);
	}
	if (f->pci && f->bridge) {
		finding =
			judge_obstacle(judge, "device.bridge", "device",
				       "a bridge stays with the host; pass the devices behind it");
		judge_remedy(judge, finding, "sluice list");
	}
	if (f->pci && !f->vfio && !f->denylist_off && denylisted(f)) {
		finding =
			judge_obstacle(judge, "device.denylisted", "device",
				       "vfio-pci does not take %04x:%04x (an untrusted user could "
				       "hang it)",
				       f->vendor, f->device);
		judge_remedy(judge, finding,
			     "%smodprobe -r vfio-pci; %smodprobe vfio-pci disable_denylist=1",
			     judge->sudo, judge->sudo);
	}
}

static void judge_use(struct judge *judge, const struct check_use *use)
{
	struct check_finding *finding;

	switch (use->kind) {
	case CHECK_USE_MOUNT:
		finding =
			judge_obstacle(judge, "use.mount", "use",
				       "the host has its %s mounted at %s", use->name, use->where);
		if (strcmp(use->where, "/") == 0)
			judge_remedy(judge, finding,
				     "sluice list   # take another one: the host runs from this");
		else
			judge_remedy(judge, finding, "%sumount %s", judge->sudo,
				     judge_quote(judge, use->where));
		return;
	case CHECK_USE_SWAP:
		finding = judge_obstacle(judge, "use.swap", "use", "the host swaps to its %s",
					 use->name);
		judge_remedy(judge, finding, "%sswapoff /dev/%s", judge->sudo, use->name);
		return;
	case CHECK_USE_STACK:
		finding = judge_obstacle(judge, "use.stack", "use",
					 "its %s is part of the host's volume %s", use->name,
					 use->where);
		judge_remedy(judge, finding, "lsblk /dev/%s", use->name);
		return;
	case CHECK_USE_ROUTE:
		finding = judge_obstacle(judge, "use.route", "use",
					 "the host's default route goes over its %s%s%s", use->name,
					 strcmp(use->name, use->where) ? " by way of " : "",
					 strcmp(use->name, use->where) ? use->where : "");
		judge_remedy(judge, finding,
			     "%sip route del default dev %s   # when the host has another way out",
			     judge->sudo, use->where);
		return;
	case CHECK_USE_LOGIN:
		finding = judge_obstacle(judge, "use.login", "use", "you are logged in over its %s",
					 use->name);
		judge_remedy(judge, finding,
			     "sluice list   # take another one, or log in another "
			     "way");
		return;
	case CHECK_USE_UP:
		judge_ok(judge, "use.up", "use", "its %s is up and goes away from the host",
			 use->name);
		return;
	}
}

static void judge_driver(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	const char *where = "";
	struct check_finding *finding;

	if (f->vfio) {
		judge_ok(judge, "driver.ok", "driver", "%s", f->driver ? f->driver : "unknown");
		return;
	}
	for (size_t i = 0; i < f->use_count; i++)
		judge_use(judge, &f->uses[i]);
	if (f->boot_vga)
		judge_warning(
			judge, "use.console", "use",
			"it is the display that the host started with: its console goes dark");
	if (f->pci && f->sriov_vfs) {
		char path[96];

		finding =
			judge_obstacle(judge, "sriov.enabled", "driver",
				       "it has %u virtual functions, and vfio-pci does not take a "
				       "device that has; pass one of them, or take them away",
				       f->sriov_vfs);
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/sriov_numvfs", f->address);
		judge_remedy_write(judge, finding, "0", path);
	}
	if (f->bridge)
		return; /* there is nothing to bind */
	if (f->driver_override)
		where = check_format(judge->arena, "; driver_override is %s", f->driver_override);
	if (!where) {
		judge->out_of_memory = true;
		where = "";
	}
	if (f->driver)
		finding = judge_obstacle(judge, "driver.host", "driver",
					 "the host's %s has it, and vfio-pci must%s", f->driver,
					 where);
	else
		finding = judge_obstacle(judge, "driver.none", "driver",
					 "no driver has it, and vfio-pci must%s", where);
	if (f->pci)
		judge_remedy(judge, finding, "%ssluice bind %s", judge->sudo, f->address);
	else
		judge_remedy(judge, finding, "ls -l %s/driver   # a VFIO driver must have it",
			     judge_quote(judge, f->sysfs));
}

/* Does @member keep the group from being given to a guest (driver_managed_dma is not set)? */
static bool blocks_group(const struct check_member *member)
{
	return member->driver && !member->vfio_name && strcmp(member->driver, "pci-stub") != 0 &&
	       strcmp(member->driver, "pcieport") != 0;
}

static void judge_members(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	const char *blocking = "", *others = "";
	struct check_finding *finding;

	for (size_t i = 0; i < f->member_count; i++) {
		const struct check_member *member = &f->members[i];
		const char *text;

		if (strcmp(member->name, f->address) == 0)
			continue;
		text = check_format(judge->arena, "%s (%s)", member->name,
				    member->driver ? member->driver : "no driver");
		if (blocks_group(member))
			blocking = judge_join(judge, blocking, text ? text : member->name);
		else
			others = judge_join(judge, others, text ? text : member->name);
	}
	if (*blocking) {
		finding = judge_obstacle(judge, "group.not_viable", "group",
					 "IOMMU group %s also holds %s", f->iommu_group, blocking);
		judge_remedy(judge, finding, "%ssluice bind %s --group", judge->sudo, f->address);
		return;
	}
	judge_ok(judge, "group.ok", "group", "IOMMU group %s holds %s%s", f->iommu_group,
		 *others ? "besides it " : "nothing else", others);
}

/* The processes in the way: of legacy VFIO, of another device of the group, of this device. */
static void judge_processes(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	bool opened_before = f->rehearsal.done && f->rehearsal.bind == 0;
	struct check_finding *finding;
	bool seen = false;

	for (size_t i = 0; i < f->process_count; i++) {
		const struct check_process *process = &f->processes[i];
		bool own = process->device && strcmp(process->device, f->address) == 0;

		if (process->device &&
		    (f->by_fd || opened_before || (own && f->enable_count == 0))) {
			/* Whoever gave us the descriptor has it too; and to open is not to use. */
			judge_ok(judge, "node.open", "node", "%s (pid %d) has %s open, unused",
				 process->name, process->pid, process->device);
			continue;
		}
		if (!process->device) {
			finding = judge_obstacle(judge, "group.legacy_user", "group",
						 "%s holds %s open (pid %d): a legacy VFIO user of "
						 "the group excludes iommufd",
						 process->name, process->node, process->pid);
		} else if (!own) {
			finding = judge_obstacle(judge, "group.busy", "group",
						 "%s (pid %d) uses %s, which is in the same IOMMU "
						 "group",
						 process->name, process->pid, process->device);
		} else {
			finding =
				judge_obstacle(judge, "node.busy", "node", "in use by %s (pid %d)",
					       process->name, process->pid);
		}
		seen |= own;
		judge_remedy(judge, finding, "%skill %d   # or end %s in its own way", judge->sudo,
			     process->pid, process->name);
	}
	if (seen || !f->vfio || f->enable_count <= 0 || f->rehearsal.done || f->rehearse)
		return;
	if (f->processes_hidden) {
		finding = judge_obstacle(judge, "node.busy", "node",
					 "in use by a process that %s may not see", f->user);
		judge_remedy(judge, finding, "sudo sluice check %s", f->address);
	} else if (f->process_count == 0) {
		judge_warning(judge, "node.enabled", "node",
			      "the device is enabled, as if it were in use, but nobody is seen");
	}
}

static void judge_node(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	const struct check_node *node = &f->cdev;
	struct check_finding *finding;

	if (!f->vfio || !f->vfio_cdev || f->group_noiommu)
		return;
	if (f->by_fd) {
		judge_ok(judge, "node.ok", "node", "an open descriptor");
	} else if (!node->exists) {
		finding = judge_obstacle(judge, "node.missing", "node", "%s is not there",
					 node->path);
		judge_remedy(judge, finding,
			     "%smkdir -p /dev/vfio/devices && %smknod -m 0600 %s c %u %u",
			     judge->sudo, judge->sudo, node->path, f->cdev_major, f->cdev_minor);
	} else if (!node->access) {
		finding = judge_obstacle(judge, "node.permission", "node",
					 "%s may not open %s (%s:%s %04o)", f->user, node->path,
					 node->owner, node->group, node->mode);
		judge_remedy_node(judge, finding, node);
	} else {
		judge_ok(judge, "node.ok", "node", "%s opens", node->path);
	}
}

static void judge_token(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	struct check_finding *finding;
	/* Only vfio-pci's own functions check tokens: variant drivers share the code. */
	bool pf_is_vfio = f->physfn_driver && strstr(f->physfn_driver, "vfio") != NULL;

	if (!f->vfio || !f->pci)
		return;
	if (pf_is_vfio && !f->has_token) {
		finding = judge_obstacle(judge, "token.missing", "token",
					 "its physical function %s is with %s: the token that was "
					 "set there is needed",
					 f->physfn, f->physfn_driver);
		judge_remedy(judge, finding, "sluice check %s,token=UUID", f->address);
	} else if (f->has_token && !pf_is_vfio && f->sriov_total == 0) {
		finding =
			judge_obstacle(judge, "token.unused", "token",
				       "a token was given, and the kernel refuses one that is not "
				       "needed");
		judge_remedy(judge, finding, "sluice check %s", f->address);
	}
}

static void judge_reserved(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	struct check_finding *finding;
	const char *list = "";

	for (size_t i = 0; i < f->reserved_count; i++) {
		const struct check_reserved *reserved = &f->reserved[i];
		const char *text = check_format(judge->arena, "%" PRIx64 "-%" PRIx64 " (%s)",
						reserved->first, reserved->last, reserved->type);

		if (strcmp(reserved->type, "direct") == 0) {
			finding = judge_obstacle(
				judge, "reserved.direct", "reserved",
				"the firmware demands that the device reach %" PRIx64 "-%" PRIx64
				" untranslated, so the kernel gives it to nobody",
				reserved->first, reserved->last);
			judge_remedy(
				judge, finding,
				"%sdmesg | grep -i rmrr   # then look for the device's sharing "
				"with the firmware in its set-up",
				judge->sudo);
		}
		list = judge_join(judge, list, text ? text : "");
	}
	if (*list)
		judge_ok(judge, "reserved.ok", "reserved", "%s", list);
}

static void judge_bars(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	struct check_finding *finding;
	const char *list = "";
	char size[24];

	for (unsigned i = 0; i < CHECK_BARS; i++) {
		const struct check_resource *bar = &f->bars[i];
		const char *text;

		if (!bar->size)
			continue;
		check_size(bar->size, size);
		text = check_format(judge->arena, "%u: %s%s%s", i, size,
				    bar->flags & CHECK_RESOURCE_IO      ? " I/O"
				    : bar->flags & CHECK_RESOURCE_MEM64 ? " 64-bit"
									: "",
				    bar->flags & CHECK_RESOURCE_PREFETCH ? " prefetchable" : "");
		list = judge_join(judge, list, text ? text : "");
		if (bar->flags & CHECK_RESOURCE_UNSET) {
			finding =
				judge_obstacle(judge, "bar.unassigned", "bars",
					       "BAR %u (%s) has no address: allow 'above 4G "
					       "decoding' in the firmware, or let the kernel place "
					       "it",
					       i, size);
			judge_remedy_cmdline(judge, finding, "pci=realloc", true);
		}
	}
	judge_ok(judge, "bar.ok", "bars", "%s", *list ? list : "none");
	if (f->rom.size) {
		check_size(f->rom.size, size);
		judge_ok(judge, "rom.ok", "rom", "%s", size);
	} else {
		judge_ok(judge, "rom.ok", "rom", "none");
	}
}

static void judge_hardware(struct judge *judge)
{
	const struct check_facts *f = judge->facts;

	if (f->reset_methods && *f->reset_methods)
		judge_ok(judge, "reset.ok", "reset", "%s", f->reset_methods);
	else if (f->can_reset)
		judge_ok(judge, "reset.ok", "reset", "has a method");
	else
		judge_warning(
			judge, "reset.none", "reset",
			"it has no reset of its own: what one guest leaves in it the next one "
			"finds, unless its whole bus is given to one guest");
	judge_bars(judge);
	if (f->rehearsal.has_irqs)
		judge_ok(judge, "vectors.ok", "vectors", "INTx %u, MSI %u, MSI-X %u",
			 f->rehearsal.intx, f->rehearsal.msi, f->rehearsal.msix);
	else if (f->config_whole)
		judge_ok(judge, "vectors.ok", "vectors", "MSI %u, MSI-X %u", f->msi, f->msix);
	else
		judge_ok(judge, "vectors.unknown", "vectors", "only root may read them");
	if (f->power_state)
		judge_ok(judge, "power.ok", "power", "%s%s%s", f->power_state,
			 f->runtime_status ? ", " : "", f->runtime_status ? f->runtime_status : "");
	if (f->pcie_width && f->pcie_speed)
		judge_ok(judge, "link.ok", "link", "x%u at %s", f->pcie_width, f->pcie_speed);
	if (f->numa_node >= 0)
		judge_ok(judge, "numa.ok", "numa", "node %d", f->numa_node);
}

void judge_device(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	struct check_finding *finding;

	if (!f->found) {
		finding = judge_obstacle(judge, "device.missing", "device",
					 "there is no %s on this "
					 "host",
					 f->name);
		judge_remedy(judge, finding, "sluice list");
		return;
	}
	judge_presence(judge);
	judge_iommu(judge);
	judge_msi(judge);
	judge_driver(judge);
	if (f->iommu_group && !f->group_noiommu)
		judge_members(judge);
	judge_node(judge);
	judge_processes(judge);
	judge_token(judge);
	judge_reserved(judge);
	if (f->pci)
		judge_hardware(judge);
}
