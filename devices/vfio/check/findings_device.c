// SPDX-License-Identifier: Apache-2.0
/* Findings about the device and its IOMMU group. */
#include "devices/vfio/check/judge.h"

#include <inttypes.h>
#include <string.h>

/* @text and what is in front of it, or nothing for NULL. */
static const char *with(struct judge *judge, const char *before, const char *text)
{
	return text ? judge_format(judge, "%s%s", before, text) : "";
}

static void judge_iommu_off(struct judge *judge)
{
	static const char switches[][24] = {"intel_iommu=off", "amd_iommu=off", "iommu=off",
					    "iommu.passthrough=off"};
	const struct check_facts *f = judge->facts;

	for (size_t i = 0; f->cmdline && i < sizeof(switches) / sizeof(switches[0]); i++) {
		const char *p = strstr(f->cmdline, switches[i]);

		/* "iommu=off" is also the end of "intel_iommu=off". */
		if (!p || (p != f->cmdline && p[-1] != ' '))
			continue;
		judge_obstacle(
			judge,
			"iommu.off: the IOMMU is switched off by %s on the kernel command line",
			switches[i]);
		judge_remedy_cmdline(judge, switches[i], false);
		return;
	}
	if (!f->iommu_table) {
		judge_obstacle(judge, "iommu.off: this host shows no IOMMU: switch on VT-d, AMD-Vi "
				      "or the SMMU in "
				      "the firmware's set-up"
				      "\nsudo systemctl reboot --firmware-setup");
		return;
	}
	judge_obstacle(judge,
		       "iommu.off: the firmware describes an IOMMU (ACPI table %s), but the kernel "
		       "does not "
		       "use it",
		       f->iommu_table);
	if (strcmp(f->iommu_table, "DMAR") == 0)
		judge_remedy_cmdline(judge, "intel_iommu=on", true);
	else
		judge_remedy(judge, "sudo dmesg | grep -iE 'iommu|AMD-Vi|smmu'");
}

static void judge_iommu(struct judge *judge)
{
	const struct check_facts *f = judge->facts;

	if (f->emulated) {
		judge_ok(judge, "iommu.ok: not needed: the device's driver reads and writes guest "
				"memory itself");
		return;
	}
	if (f->iommu_group && !f->group_noiommu) {
		const char *type = with(judge, "; type ", f->group_type);

		if (f->iommu_width)
			judge_ok(judge, "iommu.ok: on%s, %u bits of address", type, f->iommu_width);
		else
			judge_ok(judge, "iommu.ok: on%s", type);
		return;
	}
	if (!f->iommu_any) {
		judge->host = true;
		judge_iommu_off(judge);
		judge->host = false;
		return;
	}
	judge_obstacle(judge,
		       "iommu.no_group: no IOMMU translates for %s%s"
		       "\nsluice list   # shows the devices that have an IOMMU group",
		       f->address, f->group_noiommu ? " (a no-IOMMU group protects nothing)" : "");
}

static void judge_msi(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	bool no = f->msi_isolated == CHECK_NO, tried = f->rehearsal.done;
	bool bound = tried && f->rehearsal.bind == 0;

	if (!f->pci || !f->iommu_group || f->group_noiommu)
		return;
	if (f->msi_isolated == CHECK_YES) {
		judge_ok(judge, "msi.ok: isolated by interrupt remapping");
	} else if (no && (tried ? bound : f->allow_unsafe_interrupts == CHECK_YES)) {
		judge_warning(judge, "msi.unsafe_allowed: not isolated (no interrupt remapping): "
				     "the guest could forge "
				     "interrupts; iommufd.allow_unsafe_interrupts permits it");
	} else if (no && !tried) {
		judge->host = true;
		judge_obstacle(judge, "msi.unsafe: not isolated: this host has no interrupt "
				      "remapping, and iommufd "
				      "refuses the device");
		judge->host = false;
		if (f->cmdline && strstr(f->cmdline, "intremap=off"))
			judge_remedy_cmdline(judge, "intremap=off", false);
		judge_remedy(judge, "%s   # only for a guest that you trust",
			     judge_write(judge, "1",
					 "/sys/module/iommufd/parameters/allow_unsafe_interrupts"));
	} else {
		judge_ok(judge, "msi.unknown: %s",
			 bound ? "isolated, says iommufd"
			       : "whether they are isolated is seen when it is opened");
	}
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

	if (f->gone || (f->runtime_status && strcmp(f->runtime_status, "error") == 0)) {
		judge_obstacle(
			judge,
			"device.gone: %s"
			"\n%s && %s",
			f->gone ? "it does not answer: its configuration space reads all ones"
				: "it did not wake up from power management",
			judge_write(
				judge, "1",
				judge_format(judge, "/sys/bus/pci/devices/%s/remove", f->address)),
			judge_write(judge, "1", "/sys/bus/pci/rescan"));
	}
	if (!f->pci)
		return;
	if (f->bridge) {
		judge_obstacle(
			judge,
			"device.bridge: a bridge stays with the host; pass the devices behind it"
			"\nsluice list");
	}
	if (!f->vfio && !f->denylist_off && denylisted(f)) {
		judge_obstacle(judge,
			       "device.denylisted: vfio-pci does not take %04x:%04x (an untrusted "
			       "user could hang it)"
			       "\nsudo modprobe -r vfio-pci; "
			       "sudo modprobe vfio-pci disable_denylist=1",
			       f->vendor, f->device);
	}
}

static void judge_use(struct judge *judge, const struct check_use *use)
{
	const char *name = use->name, *where = use->where;

	switch (use->kind) {
	case CHECK_USE_MOUNT:
		judge_obstacle(judge, "use.mount: the host has its %s mounted at %s", name, where);
		if (strcmp(where, "/") == 0)
			judge_remedy(judge,
				     "sluice list   # take another one: the host runs from this");
		else
			judge_remedy(judge, "sudo umount %s", judge_quote(judge, where));
		return;
	case CHECK_USE_SWAP:
		judge_obstacle(judge,
			       "use.swap: the host swaps to its %s"
			       "\nsudo swapoff /dev/%s",
			       name, name);
		return;
	case CHECK_USE_HELD:
		judge_obstacle(
			judge,
			"use.held: the host has its %s in use: a volume, a journal, or a mount "
			"of another container"
			"\nsudo grep -s %s /proc/[0-9]*/mountinfo; lsblk /dev/%s",
			name, name, name);
		return;
	case CHECK_USE_STACK:
		judge_obstacle(judge,
			       "use.stack: its %s is part of the host's volume %s"
			       "\nlsblk /dev/%s",
			       name, where, name);
		return;
	case CHECK_USE_ROUTE:
		judge_obstacle(
			judge,
			"use.route: the host's default route goes over its %s%s"
			"\nsudo ip route del default dev %s   # when the host has another way "
			"out",
			name, with(judge, " by way of ", strcmp(name, where) == 0 ? NULL : where),
			where);
		return;
	case CHECK_USE_LOGIN:
		judge_obstacle(judge,
			       "use.login: you are logged in over its %s"
			       "\nsluice list   # take another one, or log in another way",
			       name);
		return;
	case CHECK_USE_UP:
		judge_ok(judge, "use.up: its %s is up and goes away from the host", name);
		return;
	}
}

static void judge_driver(struct judge *judge)
{
	const struct check_facts *f = judge->facts;

	if (f->vfio) {
		judge_ok(judge, "driver.ok: %s", f->driver ? f->driver : "unknown");
		return;
	}
	for (size_t i = 0; i < f->use_count; i++)
		judge_use(judge, &f->uses[i]);
	if (f->boot_vga)
		judge_warning(judge, "use.console: it is the display that the host started with: "
				     "its console goes dark");
	if (f->pci && f->sriov_vfs) {
		judge_obstacle(
			judge,
			"sriov.enabled: it has %u virtual functions, and vfio-pci does not "
			"take a device "
			"that has; pass one of them, or take them away"
			"\n%s",
			f->sriov_vfs,
			judge_write(judge, "0",
				    judge_format(judge, "/sys/bus/pci/devices/%s/sriov_numvfs",
						 f->address)));
	}
	if (f->bridge)
		return; /* there is nothing to bind */
	judge_obstacle(judge, "%s: %s has it, and vfio-pci must%s",
		       f->driver ? "driver.host" : "driver.none",
		       f->driver ? with(judge, "the host's ", f->driver) : "no driver",
		       with(judge, "; driver_override is ", f->driver_override));
	if (f->pci)
		judge_remedy(judge, "sudo sluice bind %s", f->address);
	else
		judge_remedy(judge, "ls -l %s/driver   # a VFIO driver must have it",
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

	for (size_t i = 0; i < f->member_count; i++) {
		const struct check_member *member = &f->members[i];
		const char **list = blocks_group(member) ? &blocking : &others;

		if (strcmp(member->name, f->address) != 0)
			*list = judge_join(
				judge, *list,
				judge_format(judge, "%s (%s)", member->name,
					     member->driver ? member->driver : "no driver"));
	}
	if (*blocking) {
		judge_obstacle(judge,
			       "group.not_viable: IOMMU group %s also holds %s"
			       "\nsudo sluice bind %s --group",
			       f->iommu_group, blocking, f->address);
		return;
	}
	judge_ok(judge, "group.ok: IOMMU group %s holds %s%s", f->iommu_group,
		 *others ? "besides it " : "nothing else", others);
}

/* The processes in the way: of legacy VFIO, of another device of the group, of this device. */
static void judge_processes(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	bool opened_before = f->rehearsal.done && f->rehearsal.bind == 0;
	bool seen = false;

	for (size_t i = 0; i < f->process_count; i++) {
		const struct check_process *process = &f->processes[i];
		const char *name = process->name, *device = process->device;
		bool own = device && strcmp(device, f->address) == 0;

		if (device && (f->by_fd || opened_before || (own && f->enable_count == 0))) {
			/* Whoever gave us the descriptor has it too; and to open is not to use. */
			judge_ok(judge, "node.open: %s (pid %d) has %s open, unused", name,
				 process->pid, device);
			continue;
		}
		if (!device)
			judge_obstacle(judge,
				       "group.legacy_user: %s holds %s open (pid %d): a legacy "
				       "VFIO user of the "
				       "group excludes iommufd",
				       name, process->node, process->pid);
		else if (!own)
			judge_obstacle(
				judge,
				"group.busy: %s (pid %d) uses %s, which is in the same IOMMU group",
				name, process->pid, device);
		else
			judge_obstacle(judge, "node.busy: in use by %s (pid %d)", name,
				       process->pid);
		seen |= own;
		judge_remedy(judge, "sudo kill %d   # or end %s in its own way", process->pid,
			     name);
	}
	if (seen || !f->vfio || f->enable_count <= 0 || f->rehearsal.done || f->rehearse)
		return;
	if (f->processes_hidden) {
		judge_obstacle(judge,
			       "node.busy: in use by a process that %s may not see"
			       "\nsudo sluice check %s",
			       f->user, f->address);
	} else if (f->process_count == 0) {
		judge_warning(judge, "node.enabled: the device is enabled, as if it were in use, "
				     "but nobody is seen");
	}
}

static void judge_node(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	const struct check_node *node = &f->cdev;

	if (!f->vfio || !f->vfio_cdev || f->group_noiommu)
		return;
	if (f->by_fd) {
		judge_ok(judge, "node.ok: an open descriptor");
	} else if (!node->exists) {
		judge_obstacle(judge,
			       "node.missing: %s is not there"
			       "\nsudo mkdir -p /dev/vfio/devices && sudo mknod -m 0600 %s c %u %u",
			       node->path, node->path, f->cdev_major, f->cdev_minor);
	} else if (!node->access) {
		judge_permission(judge, "node.permission", node);
	} else {
		judge_ok(judge, "node.ok: %s opens", node->path);
	}
}

static void judge_token(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	/* Only vfio-pci's own functions check tokens: variant drivers share the code. */
	bool pf_is_vfio = f->physfn_driver && strstr(f->physfn_driver, "vfio") != NULL;

	if (!f->vfio || !f->pci)
		return;
	if (pf_is_vfio && !f->has_token) {
		judge_obstacle(judge,
			       "token.missing: its physical function %s is with %s: the token that "
			       "was set there "
			       "is needed"
			       "\nsluice check %s,token=UUID",
			       f->physfn, f->physfn_driver, f->address);
	} else if (f->has_token && !pf_is_vfio && f->sriov_total == 0) {
		judge_obstacle(judge,
			       "token.unused: a token was given, and the kernel refuses one "
			       "that is not needed"
			       "\nsluice check %s",
			       f->address);
	}
}

static void judge_reserved(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	const char *list = "";

	for (size_t i = 0; i < f->reserved_count; i++) {
		const struct check_reserved *reserved = &f->reserved[i];
		const char *range = judge_format(judge, "%" PRIx64 "-%" PRIx64, reserved->first,
						 reserved->last);

		if (strcmp(reserved->type, "direct") == 0) {
			judge_obstacle(
				judge,
				"reserved.direct: the firmware demands that the device reach %s "
				"untranslated, so the kernel gives it to nobody"
				"\nsudo dmesg | grep -i rmrr   # then look for the "
				"device's sharing with the firmware in its set-up",
				range);
		}
		list = judge_join(judge, list,
				  judge_format(judge, "%s (%s)", range, reserved->type));
	}
	if (*list)
		judge_ok(judge, "reserved.ok: %s", list);
}

static void judge_bars(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	const char *list = "";

	for (unsigned i = 0; i < CHECK_BARS; i++) {
		const struct check_resource *bar = &f->bars[i];
		const char *size;

		if (!bar->size)
			continue;
		size = judge_size(judge, bar->size);
		list = judge_join(
			judge, list,
			judge_format(judge, "%u: %s%s%s", i, size,
				     bar->flags & CHECK_RESOURCE_IO      ? " I/O"
				     : bar->flags & CHECK_RESOURCE_MEM64 ? " 64-bit"
									 : "",
				     bar->flags & CHECK_RESOURCE_PREFETCH ? " prefetchable" : ""));
		if (bar->flags & CHECK_RESOURCE_UNSET) {
			judge_obstacle(judge,
				       "bar.unassigned: BAR %u (%s) has no address: allow 'above "
				       "4G decoding' in "
				       "the firmware, or let the kernel place it",
				       i, size);
			judge_remedy_cmdline(judge, "pci=realloc", true);
		}
	}
	judge_ok(judge, "bar.ok: %s", *list ? list : "none");
	judge_ok(judge, "rom.ok: %s", f->rom.size ? judge_size(judge, f->rom.size) : "none");
}

static void judge_hardware(struct judge *judge)
{
	const struct check_facts *f = judge->facts;

	if (f->can_reset || (f->reset_methods && *f->reset_methods))
		judge_ok(judge, "reset.ok: %s",
			 f->reset_methods && *f->reset_methods ? f->reset_methods : "has a method");
	else
		judge_warning(judge, "reset.none: it has no reset of its own: what one guest "
				     "leaves in it the next "
				     "one finds, unless its whole bus is given to one guest");
	judge_bars(judge);
	if (f->rehearsal.has_irqs)
		judge_ok(judge, "vectors.ok: INTx %u, MSI %u, MSI-X %u", f->rehearsal.intx,
			 f->rehearsal.msi, f->rehearsal.msix);
	else if (f->config_whole)
		judge_ok(judge, "vectors.ok: MSI %u, MSI-X %u", f->msi, f->msix);
	else
		judge_ok(judge, "vectors.unknown: only root may read them");
	if (f->power_state)
		judge_ok(judge, "power.ok: %s%s", f->power_state,
			 with(judge, ", ", f->runtime_status));
	if (f->pcie_width && f->pcie_speed)
		judge_ok(judge, "link.ok: x%u at %s", f->pcie_width, f->pcie_speed);
	if (f->numa_node >= 0)
		judge_ok(judge, "numa.ok: node %d", f->numa_node);
}

void judge_device(struct judge *judge)
{
	const struct check_facts *f = judge->facts;

	if (!f->found) {
		judge_obstacle(judge, "device.missing: there is no %s on this host", f->name);
		judge_remedy(judge, "sluice list");
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
