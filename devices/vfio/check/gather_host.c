// SPDX-License-Identifier: Apache-2.0
/* Facts about the host and the caller: KVM, iommufd, kernel options, limits, memory. */
#include "devices/vfio/check/read.h"
#include "vmm/base/host_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <linux/capability.h>
#include <linux/iommufd.h>
#include <linux/kvm.h>

#include "devices/vfio/check/gather.h"
#include "vmm/base/host.h"

/* The name with number @id in /etc/passwd or /etc/group, else the number as text. */
static const char *id_name(const struct check_source *source, const char *file, unsigned id)
{
	const char *text = check_slurp(source, "%s", file);

	/* Read here, not by getpwuid(3): a static binary cannot load NSS modules. */
	for (const char *line = text; line && *line;) {
		const char *end = strchr(line, '\n');
		const char *number = strchr(line, ':');

		number = number ? strchr(number + 1, ':') : NULL;
		if (number && (!end || number < end)) {
			char *rest;
			unsigned long long value = strtoull(number + 1, &rest, 10);

			if (rest > number + 1 && *rest == ':' && value == id)
				return check_format(source->arena, "%.*s", (int)strcspn(line, ":"),
						    line);
		}
		line = end ? end + 1 : NULL;
	}
	return check_format(source->arena, "%u", id);
}

void check_gather_node(const struct check_source *source, const char *path, struct check_node *node)
{
	const char *full = check_path(source, "%s", path);
	struct stat st;

	*node = (struct check_node){.path = check_string(source->arena, path)};
	if (host_stat(full, &st) < 0)
		return;
	node->exists = true;
	node->mode = st.st_mode & 07777;
	node->owner = id_name(source, "/etc/passwd", st.st_uid);
	node->group = id_name(source, "/etc/group", st.st_gid);
	node->access = host_access(full, R_OK | W_OK) == 0;
}

static enum check_config config_option(const char *config, const char *option)
{
	const char *p;
	char line[64];

	if (!config)
		return CHECK_CONFIG_UNKNOWN;
	snprintf(line, sizeof(line), "\n%s=", option);
	p = strstr(config, line);
	if (!p)
		return CHECK_CONFIG_NOT_SET;
	return p[strlen(line)] == 'y' ? CHECK_CONFIG_BUILT_IN : CHECK_CONFIG_MODULE;
}

static void gather_kernel(const struct check_source *source, struct check_facts *facts)
{
	static const struct {
		const char *before, *after;
	} where[] = {{"/boot/config-", ""},
		     {"/lib/modules/", "/config"},
		     {"/lib/modules/", "/build/.config"}};
	const char *config = NULL;

	facts->kernel = check_read(source, "/proc/sys/kernel/osrelease");
	facts->cmdline = check_read(source, "/proc/cmdline");
	for (unsigned i = 0; facts->kernel && i < 3 && !config; i++) {
		const char *path = check_format(source->arena, "%s%s%s", where[i].before,
						facts->kernel, where[i].after);

		config = path ? check_slurp(source, "%s", path) : NULL;
		if (config)
			facts->config_path = path;
	}
	facts->config_iommufd = config_option(config, "CONFIG_IOMMUFD");
	facts->config_cdev = config_option(config, "CONFIG_VFIO_DEVICE_CDEV");
	facts->config_vfio = config_option(config, "CONFIG_VFIO");
	facts->config_vfio_pci = config_option(config, "CONFIG_VFIO_PCI");
}

static void gather_cpu(const struct check_source *source, struct check_facts *facts)
{
	const char *cpus = check_slurp(source, "/proc/cpuinfo");
	const char *flags = cpus ? strstr(cpus, "\nflags") : NULL;
	const char *line;

	if (!flags)
		return;
	facts->x86 = true;
	line = check_format(source->arena, "%.*s", (int)strcspn(flags + 1, "\n"), flags + 1);
	if (line)
		facts->virt_flags = check_has_word(line, "svm") || check_has_word(line, "vmx")
					    ? CHECK_YES
					    : CHECK_NO;
}

/*
 * A command of iommufd with a structure that is too short: -EINVAL where the kernel has it, -ENOTTY
 * where it has not; in neither case anything is done (iommufd_fops_ioctl() in
 * drivers/iommu/iommufd/main.c).
 */
static unsigned probe_iommufd(int fd)
{
	static const struct {
		unsigned long command;
		unsigned feature;
	} commands[] = {
		{IOMMU_HWPT_SET_DIRTY_TRACKING, CHECK_IOMMUFD_DIRTY},
		{IOMMU_FAULT_QUEUE_ALLOC, CHECK_IOMMUFD_FAULT},
		{IOMMU_IOAS_MAP_FILE, CHECK_IOMMUFD_MAP_FILE},
		{IOMMU_VIOMMU_ALLOC, CHECK_IOMMUFD_VIOMMU},
		{IOMMU_VEVENTQ_ALLOC, CHECK_IOMMUFD_PASID},
	};
	unsigned features = 0;

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		uint32_t size = sizeof(size);

		if (ioctl(fd, commands[i].command, &size) < 0 && errno == EINVAL)
			features |= commands[i].feature;
	}
	return features;
}

int check_open_iommu(const struct check_request *request)
{
	int fd = request->iommufd;

	if (fd < 0)
		return host_open_iommu();
	return host_dup(fd);
}

static void gather_iommufd(const struct check_source *source, const struct check_request *request,
			   struct check_facts *facts)
{
	static const char suffixes[][5] = {"", ".xz", ".zst", ".gz"};
	const char *number;
	int fd;

	check_gather_node(source, "/dev/iommu", &facts->iommu);
	number = check_read(source, "/sys/class/misc/iommu/dev");
	if (number && sscanf(number, "%u:%u", &facts->iommufd_major, &facts->iommufd_minor) == 2)
		facts->iommufd_present = true;
	for (size_t i = 0; facts->kernel && i < 4 && !facts->iommufd_module_file; i++)
		facts->iommufd_module_file = check_exists(
			source, "/lib/modules/%s/kernel/drivers/iommu/iommufd/iommufd.ko%s",
			facts->kernel, suffixes[i]);
	facts->iommufd_by_fd = request->iommufd >= 0;

	number = check_read(source, "/sys/module/iommufd/parameters/allow_unsafe_interrupts");
	if (number)
		facts->allow_unsafe_interrupts = *number == 'Y' ? CHECK_YES : CHECK_NO;

	if (source->root[0])
		return; /* what is in another root must not be asked through this host's node */
	fd = check_open_iommu(request);
	if (fd < 0)
		return;
	facts->iommufd_present = true;
	facts->iommufd_features = probe_iommufd(fd);
	facts->iommufd_probed = true;
	close(fd);
}

/* Bytes of memory in a line of /proc/meminfo. */
static uint64_t meminfo(struct check_arena *arena, const char *text, const char *key)
{
	const char *value = text ? check_field(arena, text, key) : NULL;

	return value ? strtoull(value, NULL, 10) << 10 : 0;
}

/* @count of the huge pages of @kib: "nr_hugepages". */
static uint64_t huge_pages(const struct check_source *source, uint64_t kib, const char *count)
{
	return check_read_number(source, 0, "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/%s",
				 kib, count);
}

static void gather_memory(const struct check_source *source, struct check_facts *facts)
{
	const char *text = check_slurp(source, "/proc/meminfo");
	uint64_t kib = facts->huge_page >> 10, more, made;
	struct host_memory host;

	facts->memory_total = meminfo(source->arena, text, "MemTotal:");
	host_memory_read(source->root, &host);
	if (host.available != UINT64_MAX) {
		facts->memory_available = host.available + host.swap_free + !host.available;
		facts->memory_cgroup = check_string(source->arena, host.cgroup);
	}
	facts->huge_2m_total = huge_pages(source, 2048, "nr_hugepages");
	facts->huge_2m_free = huge_pages(source, 2048, "free_hugepages");
	facts->huge_1g_total = huge_pages(source, 1048576, "nr_hugepages");
	facts->huge_1g_free = huge_pages(source, 1048576, "free_hugepages");
	if (facts->huge_page) {
		facts->huge_total = huge_pages(source, kib, "nr_hugepages");
		facts->huge_free = huge_pages(source, kib, "free_hugepages");
		/* Pages reserved by others are not ours; pages still to be made on demand are. */
		facts->huge_free -= huge_pages(source, kib, "resv_hugepages");
		if (facts->huge_free > facts->huge_total)
			facts->huge_free = 0;
		more = huge_pages(source, kib, "nr_overcommit_hugepages");
		made = huge_pages(source, kib, "surplus_hugepages");
		facts->huge_free += more > made ? more - made : 0;
	}
}

static uint64_t limit(const char *text)
{
	return strncmp(text, "unlimited", 9) == 0 ? UINT64_MAX : strtoull(text, NULL, 10);
}

static void gather_caller(const struct check_source *source, struct check_facts *facts)
{
	const char *limits = check_slurp(source, "/proc/self/limits");
	const char *status = check_slurp(source, "/proc/self/status");
	const char *value;
	uid_t uid = geteuid();

	value = status ? strstr(status, "\nUid:") : NULL;
	if (value) {
		unsigned real, effective;

		if (sscanf(value + 5, "%u %u", &real, &effective) == 2)
			uid = effective;
	}
	facts->root = uid == 0;
	facts->user = id_name(source, "/etc/passwd", uid);

	value = status ? check_field(source->arena, status, "CapEff:") : NULL;
	if (value)
		facts->ipc_lock = strtoull(value, NULL, 16) >> CAP_IPC_LOCK & 1;

	facts->memlock_soft = facts->memlock_hard = UINT64_MAX;
	value = limits ? strstr(limits, "Max locked memory") : NULL;
	if (value) {
		value += strlen("Max locked memory");
		value += strspn(value, " ");
		facts->memlock_soft = limit(value);
		value += strcspn(value, " \n");
		value += strspn(value, " ");
		facts->memlock_hard = limit(value);
	}
}

/*
 * Can a device only raise the interrupts that it was given? With interrupt remapping on x86 every
 * chip is named IR-...; on arm64 the ITS does it and a GICv2m frame does not.
 */
static enum check_tri msi_isolated(const char *interrupts)
{
	if (!interrupts)
		return CHECK_UNKNOWN;
	if (strstr(interrupts, " IR-IO-APIC") || strstr(interrupts, " IR-PCI-MSI") ||
	    strstr(interrupts, " ITS-"))
		return CHECK_YES;
	if (strstr(interrupts, " IO-APIC") || strstr(interrupts, " PCI-MSI") ||
	    strstr(interrupts, " GICv2m"))
		return CHECK_NO;
	return CHECK_UNKNOWN;
}

/* Is @group one of PCI devices behind a real IOMMU? */
static bool translates(const struct check_source *source, const char *group)
{
	const char *name = check_read(source, "/sys/kernel/iommu_groups/%s/name", group);
	struct host_list devices;
	char bdf[VFIO_BDF_SIZE];
	bool pci;

	if (name && strcmp(name, "vfio-noiommu") == 0)
		return false;
	devices = check_list(source, "/sys/kernel/iommu_groups/%s/devices", group);
	pci = devices.count && vfio_bdf_parse(devices.names[0], bdf) == 0;
	host_list_free(&devices);
	return pci;
}

static void gather_iommu(const struct check_source *source, struct check_facts *facts)
{
	static const char tables[][5] = {"DMAR", "IVRS", "IORT", "VIOT"};
	struct host_list groups = check_list(source, "/sys/kernel/iommu_groups");

	/* Not /sys/class/iommu: the mock of iommufd's self-test is in there. */
	for (size_t i = 0; i < groups.count && !facts->iommu_any; i++)
		facts->iommu_any = translates(source, groups.names[i]);
	host_list_free(&groups);
	for (size_t i = 0; i < 4 && !facts->iommu_table; i++) {
		if (check_exists(source, "/sys/firmware/acpi/tables/%s", tables[i]))
			facts->iommu_table = tables[i];
	}
	facts->msi_isolated = msi_isolated(check_slurp(source, "/proc/interrupts"));
}

/* Add what process @pid holds of VFIO. */
static int gather_process(const struct check_source *source, const char *pid,
			  struct check_facts *facts)
{
	char target[256];
	struct host_list fds;
	int ret = 0;

	ret = host_list(check_path(source, "/proc/%s/fd", pid), &fds);
	if (ret < 0) {
		facts->processes_hidden |= ret == -EACCES || ret == -EPERM;
		return 0;
	}
	for (size_t i = 0; i < fds.count; i++) {
		struct check_process *process;
		const char *name, *node;

		if (host_read_link(check_path(source, "/proc/%s/fd/%s", pid, fds.names[i]), target,
				   sizeof(target)) < 0)
			continue;
		/* The root of the process may be another one: only the end of the path counts. */
		node = strstr(target, "/vfio/");
		if (!node || strcmp(node, "/vfio/vfio") == 0)
			continue;
		process = check_append(source->arena, (void **)&facts->processes,
				       &facts->process_count, sizeof(*process));
		name = check_read(source, "/proc/%s/comm", pid);
		if (!process) {
			ret = -ENOMEM;
			break;
		}
		process->pid = (int)strtoull(pid, NULL, 10);
		process->name = name ? name : "?";
		process->node = check_format(source->arena, "/dev%s", node);
		if (!process->node) {
			ret = -ENOMEM;
			break;
		}
	}
	host_list_free(&fds);
	return ret < 0 ? ret : 0;
}

static int gather_processes(const struct check_source *source, struct check_facts *facts)
{
	struct host_list all = check_list(source, "/proc");
	char self[16];
	int ret = 0;

	snprintf(self, sizeof(self), "%d", (int)getpid());
	/* With hidepid the processes of others are not even listed. */
	facts->processes_hidden = !facts->root && !check_exists(source, "/proc/1/comm");
	for (size_t i = 0; i < all.count && ret == 0; i++) {
		const char *name = all.names[i];

		if (strspn(name, "0123456789") != strlen(name) || strcmp(name, self) == 0)
			continue;
		ret = gather_process(source, name, facts);
	}
	host_list_free(&all);
	return ret;
}

int check_gather_host(struct check_arena *arena, const struct check_request *request,
		      struct check_facts *facts)
{
	const struct check_source source = {.arena = arena, .root = request->root};
	const char *parameter;

	*facts = (struct check_facts){
		.name = request->name,
		.memory = request->memory.size,
		.huge_page = request->memory.huge_page,
		.has_token = request->has_token,
		.by_fd = request->parsed.kind == VFIO_NAME_FD,
		/* A bound descriptor stays bound until its last copy is closed, by its owner. */
		.rehearse = request->open && request->parsed.kind != VFIO_NAME_FD,
		.numa_node = -1,
		.enable_count = -1,
	};
	gather_caller(&source, facts);
	gather_kernel(&source, facts);
	gather_cpu(&source, facts);
	gather_iommufd(&source, request, facts);
	gather_memory(&source, facts);
	gather_iommu(&source, facts);
	check_gather_node(&source, "/dev/kvm", &facts->kvm);
	if (facts->kvm.access && !source.root[0]) {
		facts->kvm_error = host_open_kvm();
		/* KVM_CAP_IRQCHIP is there either way; what goes with the I/O APIC is the timer (arch/x86/kvm/x86.c). */
		facts->kvm_no_irqchip =
			facts->x86 && host_ioctl(facts->kvm_error, KVM_CHECK_EXTENSION,
						 (void *)KVM_CAP_PIT2) == 0;
		close(facts->kvm_error);
	}
	facts->vfio_loaded = check_exists(&source, "/sys/bus/pci/drivers/vfio-pci");
	parameter = check_read(&source, "/sys/module/vfio_pci/parameters/disable_denylist");
	facts->denylist_off = parameter && *parameter == 'Y';
	return gather_processes(&source, facts);
}
