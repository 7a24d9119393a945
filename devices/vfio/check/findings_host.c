// SPDX-License-Identifier: Apache-2.0
/* Findings about the host and the caller, the same for every device. */
#include "devices/vfio/check/judge.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/host_memory.h"

/* The first kernel with the VFIO device node that iommufd needs. */
#define MINIMUM_KERNEL "Linux 6.6 or newer"

static const char *or_unknown(const char *text)
{
	return text ? text : "unknown";
}

static bool older_than_minimum(const char *release)
{
	unsigned major, minor;

	return sscanf(release, "%u.%u", &major, &minor) == 2 &&
	       (major < 6 || (major == 6 && minor < 6));
}

static void judge_kvm(struct judge *judge)
{
	const struct check_facts *f = judge->facts;

	if (!f->kvm.exists) {
		judge_obstacle(judge, "kvm.missing: /dev/kvm is not there: KVM is not loaded, or "
				      "switched off in the "
				      "firmware");
		judge_remedy(judge, f->x86 ? "sudo modprobe kvm_amd || sudo modprobe kvm_intel"
					   : "sudo dmesg | grep -i kvm");
	} else if (!f->kvm.access) {
		judge_permission(judge, "kvm.permission", &f->kvm);
	} else if (f->kvm_error < 0) {
		judge_obstacle(judge,
			       "kvm.open: /dev/kvm does not open: %s"
			       "\nsudo dmesg | tail",
			       strerror(-f->kvm_error));
	} else if (f->kvm_no_irqchip) {
		judge_obstacle(judge,
			       "kvm.irqchip: kernel %s's KVM makes no interrupt controllers (built "
			       "without CONFIG_KVM_IOAPIC)",
			       or_unknown(f->kernel));
		judge_remedy_kernel(judge, "--enable KVM_IOAPIC");
	} else if (f->virt_flags == CHECK_NO) {
		judge_warning(
			judge,
			"kvm.cpu: /dev/kvm opens, but the CPU shows neither svm nor vmx: a Linux "
			"guest may not run on this host");
	} else {
		judge_ok(judge, "kvm.ok: /dev/kvm opens");
	}
}

static void judge_iommufd_absent(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	const char *kernel = or_unknown(f->kernel);

	if (f->config_iommufd == CHECK_CONFIG_MODULE || f->iommufd_module_file) {
		judge_obstacle(judge, "iommufd.module: the kernel module iommufd is not loaded"
				      "\nsudo modprobe iommufd");
		return;
	}
	if (f->config_iommufd == CHECK_CONFIG_BUILT_IN) {
		judge_obstacle(
			judge,
			"iommufd.module: kernel %s has iommufd built in, but it did not start"
			"\nsudo dmesg | grep -i iommufd",
			kernel);
		return;
	}
	judge_obstacle(
		judge,
		"iommufd.kernel: kernel %s %s; sluice needs " MINIMUM_KERNEL
		" with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV (Debian's kernels have both off)",
		kernel,
		older_than_minimum(kernel) ? "is too old for iommufd with VFIO device nodes"
		: f->config_iommufd == CHECK_CONFIG_NOT_SET ? "was built without CONFIG_IOMMUFD"
							    : "has no iommufd (CONFIG_IOMMUFD)");
	judge_remedy_kernel(judge, "--module IOMMUFD --enable VFIO_DEVICE_CDEV");
}

static void judge_iommufd_features(struct judge *judge)
{
	static const struct {
		unsigned feature;
		char name[16], since[6];
	} features[] = {
		{CHECK_IOMMUFD_MAP_FILE, "mapping by file", "6.13"},
		{CHECK_IOMMUFD_DIRTY, "dirty tracking", "6.7"},
		{CHECK_IOMMUFD_FAULT, "page faults", "6.11"},
		{CHECK_IOMMUFD_PASID, "PASID", "6.15"},
		{CHECK_IOMMUFD_VIOMMU, "vIOMMU", "6.13"},
	};
	const char *has = "", *lacks = "";

	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		const char *name = features[i].name;

		if (judge->facts->iommufd_features & features[i].feature)
			has = judge_join(judge, has, name);
		else
			lacks = judge_join(
				judge, lacks,
				judge_format(judge, "%s (Linux %s)", name, features[i].since));
	}
	judge_ok(judge, "iommufd.ok: opens; has %s%s%s", *has ? has : "the basics only",
		 *lacks ? "; lacks " : "", lacks);
}

static void judge_iommufd(struct judge *judge)
{
	const struct check_facts *f = judge->facts;

	if (!f->iommufd_present && !f->iommufd_by_fd) {
		judge_iommufd_absent(judge);
	} else if (!f->iommufd_by_fd && !f->iommu.exists) {
		judge_obstacle(judge,
			       "iommufd.node: the kernel has iommufd, but /dev/iommu is not there"
			       "\nsudo mknod -m 0660 /dev/iommu c %u %u",
			       f->iommufd_major, f->iommufd_minor);
	} else if (!f->iommufd_by_fd && !f->iommu.access) {
		judge_permission(judge, "iommufd.permission", &f->iommu);
	} else if (!f->iommufd_probed) {
		judge_ok(judge, "iommufd.ok: /dev/iommu is there");
	} else {
		judge_iommufd_features(judge);
	}
}

/* Kernel options beside iommufd's own. Said only when iommufd is there: else that is the news. */
static void judge_vfio_kernel(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	bool made_node = f->vfio && f->vfio_cdev;

	if (!f->iommufd_present)
		return;
	if (!made_node && (f->config_cdev == CHECK_CONFIG_NOT_SET || f->vfio_name)) {
		judge_obstacle(judge,
			       "cdev.kernel: kernel %s makes no VFIO device nodes; it "
			       "needs " MINIMUM_KERNEL " with CONFIG_VFIO_DEVICE_CDEV",
			       or_unknown(f->kernel));
		judge_remedy_kernel(judge, "--enable VFIO_DEVICE_CDEV");
	}
	if (!f->vfio && !f->vfio_loaded && f->config_vfio_pci == CHECK_CONFIG_NOT_SET) {
		judge_obstacle(judge,
			       "vfio_pci.kernel: kernel %s was built without CONFIG_VFIO_PCI",
			       or_unknown(f->kernel));
		judge_remedy_kernel(judge, "--module VFIO_PCI");
	}
}

static void judge_memlock(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	const char *have, *need;
	uint64_t kib = (f->memory + 1023) >> 10;

	if (f->ipc_lock || f->memlock_soft == UINT64_MAX) {
		judge_ok(judge, "memlock.ok: no limit%s",
			 f->memlock_soft == UINT64_MAX ? "" : " (CAP_IPC_LOCK)");
		return;
	}
	have = judge_size(judge, f->memlock_soft);
	need = judge_size(judge, f->memory);
	if (f->memlock_soft >= f->memory) {
		/* iommufd counts per user, not per process (incr_user_locked_vm()). */
		judge_ok(judge,
			 "memlock.ok: limit %s, the guest needs %s; all virtual machines of %s "
			 "share it",
			 have, need, f->user);
		return;
	}
	judge_obstacle(judge,
		       "memlock.small: %s may lock %s of memory (ulimit -l), and the guest's %s "
		       "must be locked",
		       f->user, have, need);
	if (f->memlock_hard >= f->memory) {
		judge_remedy(judge, "ulimit -l %" PRIu64, kib);
		return;
	}
	judge_remedy(judge,
		     "sudo prlimit --pid $$ --memlock=%" PRIu64 ":%" PRIu64 "   # for this shell",
		     kib << 10, kib << 10);
	if (!f->root)
		judge_remedy(judge,
			     "echo '%s - memlock %" PRIu64 "' | sudo tee "
			     "/etc/security/limits.d/sluice.conf   # from the next login on",
			     f->user, kib);
}

static void judge_huge_pages(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	uint64_t need = (f->memory + f->huge_page - 1) / f->huge_page;
	const char *page = judge_size(judge, f->huge_page);

	if (f->huge_free >= need) {
		judge_ok(judge,
			 "hugepages.ok: %" PRIu64
			 " huge pages of %s are free, the guest needs %" PRIu64,
			 f->huge_free, page, need);
		return;
	}
	judge_obstacle(
		judge,
		"hugepages.few: the guest needs %" PRIu64 " huge pages of %s, %" PRIu64 " are free"
		"\n%s",
		need, page, f->huge_free,
		judge_write(
			judge, judge_format(judge, "%" PRIu64, f->huge_total + need - f->huge_free),
			judge_format(judge, "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/%s",
				     f->huge_page >> 10, "nr_hugepages")));
}

static void judge_memory(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	const char *code = NULL, *where = "this host has";
	uint64_t have = f->memory_available;
	const char *need;

	if (f->huge_page) {
		judge_huge_pages(judge);
		return;
	}
	if (f->memory_total && f->memory_total < f->memory) {
		code = "memory.small";
		have = f->memory_total;
	} else if (have && have < host_memory_need(f->memory)) { /* as the launch: vmm/ram.c */
		code = "memory.low";
		where = f->memory_cgroup && f->memory_cgroup[0]
				? judge_format(judge, "the memory cgroup %s leaves",
					       f->memory_cgroup)
				: "this host has now";
	}
	need = judge_size(judge, f->memory);
	if (code) {
		judge_obstacle(judge, "%s: the guest's %s must all be there, and %s %s", code, need,
			       where, judge_size(judge, have));
		judge_remedy_memory(judge, have / 2);
		return;
	}
	judge_ok(judge, "memory.ok: %s available, the guest needs %s", judge_size(judge, have),
		 need);
	judge_ok(judge,
		 "hugepages.ok: free huge pages: %" PRIu64 " of 2 MiB, %" PRIu64
		 " of 1 GiB; not asked for",
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
