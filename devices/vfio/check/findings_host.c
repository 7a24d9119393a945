// SPDX-License-Identifier: Apache-2.0
/* Findings about the host and the caller, the same for every device. */
#include "devices/vfio/check/judge.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/host_memory.h"

/* The first kernel with the VFIO device node that iommufd needs. */
#define MINIMUM_KERNEL "6.6"

static const char *or_unknown(const char *text)
{
	return text ? text : "unknown";
}

static bool older_than_minimum(const char *release)
{
	unsigned major, minor;

	return release && sscanf(release, "%u.%u", &major, &minor) == 2 &&
	       (major < 6 || (major == 6 && minor < 6));
}

static void judge_kvm(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	struct check_finding *finding;

	if (!f->kvm.exists) {
		finding =
			judge_obstacle(judge, "kvm.missing", "kvm",
				       "/dev/kvm is not there: KVM is not loaded, or switched off "
				       "in the firmware");
		if (f->x86)
			judge_remedy(judge, finding, "%smodprobe kvm_amd || %smodprobe kvm_intel",
				     judge->sudo, judge->sudo);
		else
			judge_remedy(judge, finding, "%sdmesg | grep -i kvm", judge->sudo);
		return;
	}
	if (!f->kvm.access) {
		finding = judge_obstacle(judge, "kvm.permission", "kvm",
					 "%s may not open /dev/kvm (%s:%s %04o)", f->user,
					 f->kvm.owner, f->kvm.group, f->kvm.mode);
		judge_remedy_node(judge, finding, &f->kvm);
		return;
	}
	if (f->virt_flags == CHECK_NO)
		judge_warning(judge, "kvm.cpu", "kvm",
			      "/dev/kvm opens, but the CPU shows neither svm nor vmx: a Linux "
			      "guest may not run on this host");
	else
		judge_ok(judge, "kvm.ok", "kvm", "/dev/kvm opens");
}

static void judge_iommufd_absent(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	struct check_finding *finding;

	if (f->config_iommufd == CHECK_CONFIG_MODULE || f->iommufd_module_file) {
		finding = judge_obstacle(judge, "iommufd.module", "iommufd",
					 "the kernel module iommufd is not loaded");
		judge_remedy(judge, finding, "%smodprobe iommufd", judge->sudo);
		return;
	}
	if (f->config_iommufd == CHECK_CONFIG_BUILT_IN) {
		finding = judge_obstacle(judge, "iommufd.module", "iommufd",
					 "kernel %s has iommufd built in, but it did not start",
					 or_unknown(f->kernel));
		judge_remedy(judge, finding, "%sdmesg | grep -i iommufd", judge->sudo);
		return;
	}
	finding = judge_obstacle(
		judge, "iommufd.kernel", "iommufd",
		"kernel %s %s; sluice needs Linux " MINIMUM_KERNEL
		" or newer with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV (Debian's kernels have "
		"both off)",
		or_unknown(f->kernel),
		older_than_minimum(f->kernel) ? "is too old for iommufd with VFIO device nodes"
		: f->config_iommufd == CHECK_CONFIG_NOT_SET ? "was built without CONFIG_IOMMUFD"
							    : "has no iommufd (CONFIG_IOMMUFD)");
	judge_remedy(judge, finding,
		     "scripts/config --module IOMMUFD --enable VFIO_DEVICE_CDEV   # in the source "
		     "of such a kernel; then build and boot it");
}

static void judge_iommufd(struct judge *judge)
{
	static const struct {
		unsigned feature;
		const char *name, *since;
	} features[] = {
		{CHECK_IOMMUFD_MAP_FILE, "mapping by file", "6.13"},
		{CHECK_IOMMUFD_DIRTY, "dirty tracking", "6.7"},
		{CHECK_IOMMUFD_FAULT, "page faults", "6.11"},
		{CHECK_IOMMUFD_PASID, "PASID", "6.15"},
		{CHECK_IOMMUFD_VIOMMU, "vIOMMU", "6.13"},
	};
	const struct check_facts *f = judge->facts;
	struct check_finding *finding;
	const char *has = "", *lacks = "";

	if (!f->iommufd_present && !f->iommufd_by_fd) {
		judge_iommufd_absent(judge);
		return;
	}
	if (!f->iommufd_by_fd && !f->iommu.exists) {
		finding = judge_obstacle(judge, "iommufd.node", "iommufd",
					 "the kernel has iommufd, but /dev/iommu is not there");
		judge_remedy(judge, finding, "%smknod -m 0660 /dev/iommu c %u %u", judge->sudo,
			     f->iommufd_major, f->iommufd_minor);
		return;
	}
	if (!f->iommufd_by_fd && !f->iommu.access) {
		finding = judge_obstacle(judge, "iommufd.permission", "iommufd",
					 "%s may not open /dev/iommu (%s:%s %04o)", f->user,
					 f->iommu.owner, f->iommu.group, f->iommu.mode);
		judge_remedy_node(judge, finding, &f->iommu);
		return;
	}
	if (!f->iommufd_probed) {
		judge_ok(judge, "iommufd.ok", "iommufd", "/dev/iommu is there");
		return;
	}
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		const char *text = features[i].name;

		if (f->iommufd_features & features[i].feature) {
			has = judge_join(judge, has, text);
			continue;
		}
		text = check_format(judge->arena, "%s (Linux %s)", text, features[i].since);
		lacks = judge_join(judge, lacks, text ? text : features[i].name);
	}
	judge_ok(judge, "iommufd.ok", "iommufd", "opens; has %s%s%s",
		 *has ? has : "the basics only", *lacks ? "; lacks " : "", lacks);
}

/* Kernel options beside iommufd's own. Said only when iommufd is there: else that is the news. */
static void judge_vfio_kernel(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	bool made_node = f->vfio && f->vfio_cdev;
	struct check_finding *finding;

	if (!f->iommufd_present)
		return;
	if (!made_node && (f->config_cdev == CHECK_CONFIG_NOT_SET || f->vfio_name)) {
		finding = judge_obstacle(
			judge, "cdev.kernel", "vfio",
			"kernel %s makes no VFIO device nodes; it needs Linux " MINIMUM_KERNEL
			" or newer with CONFIG_VFIO_DEVICE_CDEV",
			or_unknown(f->kernel));
		judge_remedy(judge, finding,
			     "scripts/config --enable VFIO_DEVICE_CDEV   # in the source of such a "
			     "kernel; then build and boot it");
	}
	if (!f->vfio && !f->vfio_loaded && f->config_vfio_pci == CHECK_CONFIG_NOT_SET) {
		finding = judge_obstacle(judge, "vfio_pci.kernel", "vfio",
					 "kernel %s was built without CONFIG_VFIO_PCI",
					 or_unknown(f->kernel));
		judge_remedy(judge, finding,
			     "scripts/config --module VFIO_PCI   # in the kernel's source; then "
			     "build and boot it");
	}
}

static void judge_memlock(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	struct check_finding *finding;
	char have[24], need[24];
	uint64_t kib = (f->memory + 1023) >> 10;

	check_size(f->memory, need);
	if (f->ipc_lock || f->memlock_soft == UINT64_MAX) {
		judge_ok(judge, "memlock.ok", "memlock", "no limit%s",
			 f->memlock_soft == UINT64_MAX ? "" : " (CAP_IPC_LOCK)");
		return;
	}
	check_size(f->memlock_soft, have);
	if (f->memlock_soft >= f->memory) {
		/* iommufd counts per user, not per process (incr_user_locked_vm()). */
		judge_ok(judge, "memlock.ok", "memlock",
			 "limit %s, the guest needs %s; all virtual machines of %s share it", have,
			 need, f->user);
		return;
	}
	finding = judge_obstacle(judge, "memlock.small", "memlock",
				 "%s may lock %s of memory (ulimit -l), and the guest's %s must be "
				 "locked",
				 f->user, have, need);
	if (f->memlock_hard >= f->memory) {
		judge_remedy(judge, finding, "ulimit -l %" PRIu64, kib);
		return;
	}
	judge_remedy(judge, finding,
		     "%sprlimit --pid $$ --memlock=%" PRIu64 ":%" PRIu64 "   # for this shell",
		     judge->sudo, kib << 10, kib << 10);
	if (f->root)
		return;
	judge_remedy(judge, finding,
		     "echo '%s - memlock %" PRIu64 "' | sudo tee "
		     "/etc/security/limits.d/sluice.conf   # from the next login on",
		     f->user, kib);
}

static void judge_huge_pages(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	uint64_t need = (f->memory + f->huge_page - 1) / f->huge_page;
	struct check_finding *finding;
	char page[24], path[96], value[24];

	check_size(f->huge_page, page);
	if (f->huge_free >= need) {
		judge_ok(judge, "hugepages.ok", "memory",
			 "%" PRIu64 " huge pages of %s are free, the guest needs %" PRIu64,
			 f->huge_free, page, need);
		return;
	}
	finding =
		judge_obstacle(judge, "hugepages.few", "memory",
			       "the guest needs %" PRIu64 " huge pages of %s, %" PRIu64 " are free",
			       need, page, f->huge_free);
	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/nr_hugepages",
		 f->huge_page >> 10);
	snprintf(value, sizeof(value), "%" PRIu64, f->huge_total + need - f->huge_free);
	judge_remedy_write(judge, finding, value, path);
}

static void judge_memory(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	struct check_finding *finding;
	char need[24], have[24];

	if (f->huge_page) {
		judge_huge_pages(judge);
		return;
	}
	check_size(f->memory, need);
	if (f->memory_total && f->memory_total < f->memory) {
		check_size(f->memory_total, have);
		finding = judge_obstacle(judge, "memory.small", "memory",
					 "the guest's %s must all be there, and this host has %s",
					 need, have);
		judge_remedy(judge, finding, "sluice run --memory %" PRIu64 "M ...",
			     f->memory_total >> 21);
		return;
	}
	/* As the launch does it (vmm/ram.c). */
	if (f->memory_available && f->memory_available < host_memory_need(f->memory)) {
		bool cgroup = f->memory_cgroup && f->memory_cgroup[0];

		check_size(f->memory_available, have);
		finding = judge_obstacle(judge, "memory.low", "memory",
					 "the guest's %s must all be there, and %s%s%s %s", need,
					 cgroup ? "the memory cgroup " : "this host has now",
					 cgroup ? f->memory_cgroup : "", cgroup ? " leaves" : "",
					 have);
		judge_remedy(judge, finding, "sluice run --memory %" PRIu64 "M ...",
			     f->memory_available >> 21);
		return;
	}
	check_size(f->memory_available, have);
	judge_ok(judge, "memory.ok", "memory", "%s available, the guest needs %s", have, need);
	judge_ok(judge, "hugepages.ok", "memory",
		 "free huge pages: %" PRIu64 " of 2 MiB, %" PRIu64 " of 1 GiB; not asked for",
		 f->huge_2m_free, f->huge_1g_free);
}

void judge_host(struct judge *judge)
{
	judge->host = true;
	judge_kvm(judge);
	judge_iommufd(judge);
	judge_vfio_kernel(judge);
	judge_memlock(judge);
	judge_memory(judge);
	judge->host = false;
}
