// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/check/findings.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/vfio.h>

#include "devices/vfio/check/print.h"

/* A device and a host with which a launch works, seen by an ordinary user. */
struct scene {
	struct check_facts f;
	struct check_member members[4];
	struct check_process processes[3];
	struct check_reserved reserved[3];
	struct check_use uses[3];
};

static void good(struct scene *s)
{
	*s = (struct scene){
		.f =
			{
				.name = "01:00.0",
				.memory = 512ull << 20,
				.user = "alice",
				.memlock_soft = 8ull << 30,
				.memlock_hard = 8ull << 30,
				.kernel = "7.3.4",
				.config_path = "/boot/config-7.3.4",
				.config_iommufd = CHECK_CONFIG_BUILT_IN,
				.config_cdev = CHECK_CONFIG_BUILT_IN,
				.config_vfio = CHECK_CONFIG_MODULE,
				.config_vfio_pci = CHECK_CONFIG_MODULE,
				.cmdline = "root=/dev/sda1 quiet",
				.x86 = true,
				.virt_flags = CHECK_YES,
				.kvm = {"/dev/kvm", true, true, 0660, "root", "kvm"},
				.iommu = {"/dev/iommu", true, true, 0660, "root", "root"},
				.iommufd_present = true,
				.iommufd_major = 10,
				.iommufd_minor = 124,
				.iommufd_probed = true,
				.iommufd_features = 0x1f,
				.iommu_any = true,
				.iommu_table = "DMAR",
				.msi_isolated = CHECK_YES,
				.allow_unsafe_interrupts = CHECK_NO,
				.memory_total = 16ull << 30,
				.memory_available = 12ull << 30,
				.found = true,
				.pci = true,
				.address = "0000:01:00.0",
				.sysfs = "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0",
				.vendor = 0x1b36,
				.device = 0x0010,
				.class_code = 0x010802,
				.config_read = true,
				.driver = "vfio-pci",
				.driver_override = "vfio-pci",
				.vfio = true,
				.vfio_loaded = true,
				.vfio_name = "vfio3",
				.vfio_cdev = true,
				.cdev = {"/dev/vfio/devices/vfio3", true, true, 0600, "alice",
					 "root"},
				.cdev_major = 511,
				.cdev_minor = 3,
				.enable_count = 0,
				.numa_node = -1,
				.iommu_group = "22",
				.group_type = "DMA-FQ",
				.reset_methods = "flr bus",
				.can_reset = true,
				.power_state = "D3hot",
				.runtime_status = "suspended",
				.bars = {[0] = {0xfe000000, 0x4000,
						CHECK_RESOURCE_MEM | CHECK_RESOURCE_MEM64}},
				.rehearse = true,
			},
	};
	s->members[0] = (struct check_member){
		.name = "0000:01:00.0", .driver = "vfio-pci", .vfio_name = "vfio3"};
	s->f.members = s->members;
	s->f.member_count = 1;
	s->f.processes = s->processes;
	s->f.reserved = s->reserved;
	s->f.uses = s->uses;
}

static void bad_kvm_missing(struct scene *s)
{
	s->f.kvm.exists = false;
}

static void bad_kvm_open(struct scene *s)
{
	s->f.kvm_error = -ENODEV;
}

static void bad_kvm_irqchip(struct scene *s)
{
	s->f.kvm_no_irqchip = true;
}

static void bad_kvm_permission(struct scene *s)
{
	s->f.kvm.access = false;
}

static void bad_kvm_permission_root_group(struct scene *s)
{
	s->f.kvm.access = false;
	s->f.kvm.group = "root";
}

static void bad_no_virt_flags(struct scene *s)
{
	s->f.virt_flags = CHECK_NO;
}

static void bad_no_iommufd_in_config(struct scene *s)
{
	s->f.kernel = "6.12.30-amd64";
	s->f.iommufd_present = false;
	s->f.iommu.exists = s->f.iommu.access = false;
	s->f.config_iommufd = CHECK_CONFIG_NOT_SET;
	s->f.config_cdev = CHECK_CONFIG_NOT_SET;
	s->f.vfio_cdev = false;
	s->f.vfio_name = NULL;
}

static void bad_old_kernel(struct scene *s)
{
	bad_no_iommufd_in_config(s);
	s->f.kernel = "6.1.0-18-amd64";
}

static void bad_no_iommufd_unknown_config(struct scene *s)
{
	bad_no_iommufd_in_config(s);
	s->f.config_iommufd = s->f.config_cdev = CHECK_CONFIG_UNKNOWN;
}

static void bad_iommufd_not_loaded(struct scene *s)
{
	s->f.iommufd_present = false;
	s->f.config_iommufd = CHECK_CONFIG_MODULE;
}

static void bad_iommufd_module_file(struct scene *s)
{
	s->f.iommufd_present = false;
	s->f.config_iommufd = CHECK_CONFIG_UNKNOWN;
	s->f.iommufd_module_file = true;
}

static void bad_iommufd_built_in_but_dead(struct scene *s)
{
	s->f.iommufd_present = false;
}

static void bad_iommu_node(struct scene *s)
{
	s->f.iommu.exists = s->f.iommu.access = false;
}

static void bad_iommu_permission(struct scene *s)
{
	s->f.iommu.access = false;
}

static void bad_iommu_permission_but_descriptor(struct scene *s)
{
	s->f.iommu.access = false;
	s->f.iommufd_by_fd = true;
}

static void bad_no_cdev(struct scene *s)
{
	s->f.vfio_cdev = false;
	s->f.config_cdev = CHECK_CONFIG_NOT_SET;
}

static void bad_memlock_soft(struct scene *s)
{
	s->f.memlock_soft = 8 << 20;
}

static void bad_memlock_hard(struct scene *s)
{
	s->f.memlock_soft = s->f.memlock_hard = 8 << 20;
}

static void bad_memlock_hard_root(struct scene *s)
{
	bad_memlock_hard(s);
	s->f.root = true;
	s->f.user = "root";
}

static void bad_memlock_one_short(struct scene *s)
{
	s->f.memlock_soft = s->f.memory - 1;
}

static void fine_memlock_exact(struct scene *s)
{
	s->f.memlock_soft = s->f.memlock_hard = s->f.memory;
}

static void fine_memlock_capability(struct scene *s)
{
	bad_memlock_hard(s);
	s->f.ipc_lock = true;
}

static void bad_huge_pages(struct scene *s)
{
	s->f.huge_page = 2 << 20;
	s->f.huge_total = 100;
	s->f.huge_free = 56;
}

static void fine_huge_pages(struct scene *s)
{
	s->f.huge_page = 2 << 20;
	s->f.huge_total = s->f.huge_free = 256;
	s->f.memory_available = 1 << 20;
}

static void bad_memory_small(struct scene *s)
{
	s->f.memory_total = 256 << 20;
}

static void bad_memory_low(struct scene *s)
{
	s->f.memory_available = 256 << 20;
}

/* As much as the guest has, and nothing for its page tables. */
static void bad_memory_cgroup(struct scene *s)
{
	s->f.memory_available = 512 << 20;
	s->f.memory_cgroup = "/jail";
}

static void bad_missing(struct scene *s)
{
	s->f.found = false;
	s->f.kvm.exists = false;
}

static void bad_gone(struct scene *s)
{
	s->f.gone = true;
}

static void bad_runtime_error(struct scene *s)
{
	s->f.runtime_status = "error";
}

static void bad_no_group(struct scene *s)
{
	s->f.iommu_group = NULL;
	s->f.member_count = 0;
}

static void bad_noiommu(struct scene *s)
{
	s->f.group_noiommu = true;
}

static void bad_iommu_off_dmar(struct scene *s)
{
	bad_no_group(s);
	s->f.iommu_any = false;
}

static void bad_iommu_off_ivrs(struct scene *s)
{
	bad_iommu_off_dmar(s);
	s->f.iommu_table = "IVRS";
}

static void bad_iommu_off_firmware(struct scene *s)
{
	bad_iommu_off_dmar(s);
	s->f.iommu_table = NULL;
}

static void bad_iommu_off_cmdline(struct scene *s)
{
	bad_iommu_off_dmar(s);
	s->f.cmdline = "quiet intel_iommu=off";
}

static void bad_iommu_off_cmdline_first(struct scene *s)
{
	bad_iommu_off_dmar(s);
	s->f.cmdline = "iommu=off quiet";
}

static void bad_msi(struct scene *s)
{
	s->f.msi_isolated = CHECK_NO;
}

static void bad_msi_cmdline(struct scene *s)
{
	bad_msi(s);
	s->f.cmdline = "intremap=off";
	s->f.root = true;
}

static void bad_msi_allowed(struct scene *s)
{
	bad_msi(s);
	s->f.allow_unsafe_interrupts = CHECK_YES;
}

static void fine_msi_unknown(struct scene *s)
{
	s->f.msi_isolated = CHECK_UNKNOWN;
}

static void unbound(struct scene *s)
{
	s->f.driver = "nvme";
	s->f.driver_override = NULL;
	s->f.vfio = false;
	s->f.vfio_name = NULL;
	s->f.vfio_cdev = false;
	s->f.enable_count = 1;
	s->members[0].driver = "nvme";
	s->members[0].vfio_name = NULL;
}

static void bad_driver_none(struct scene *s)
{
	unbound(s);
	s->f.driver = s->members[0].driver = NULL;
}

static void bad_driver_override(struct scene *s)
{
	bad_driver_none(s);
	s->f.driver_override = "pci-stub";
}

static void bad_driver_root(struct scene *s)
{
	unbound(s);
	s->f.root = true;
}

static void bad_driver_not_pci(struct scene *s)
{
	unbound(s);
	s->f.pci = false;
}

static void bad_bridge(struct scene *s)
{
	s->f.bridge = true;
	s->f.driver = "pcieport";
	s->f.vfio = s->f.vfio_cdev = false;
	s->f.vfio_name = s->members[0].vfio_name = NULL;
	s->f.class_code = 0x060400;
}

static void bad_denylisted(struct scene *s)
{
	unbound(s);
	s->f.vendor = 0x8086;
	s->f.device = 0x37c8;
}

static void bad_mount(struct scene *s)
{
	unbound(s);
	s->uses[0] = (struct check_use){CHECK_USE_MOUNT, "nvme0n1p2", "/srv/it's"};
	s->f.use_count = 1;
}

static void bad_mount_root(struct scene *s)
{
	bad_mount(s);
	s->uses[0].where = "/";
}

static void bad_swap(struct scene *s)
{
	bad_mount(s);
	s->uses[0] = (struct check_use){CHECK_USE_SWAP, "nvme0n1p3", ""};
}

static void bad_held(struct scene *s)
{
	bad_mount(s);
	s->uses[0] = (struct check_use){CHECK_USE_HELD, "nvme0n1p3", ""};
}

static void bad_stack(struct scene *s)
{
	bad_mount(s);
	s->uses[0] = (struct check_use){CHECK_USE_STACK, "nvme0n1p3", "md0"};
}

static void bad_route(struct scene *s)
{
	bad_mount(s);
	s->uses[0] = (struct check_use){CHECK_USE_ROUTE, "eth0", "br0"};
}

static void bad_login(struct scene *s)
{
	bad_mount(s);
	s->uses[0] = (struct check_use){CHECK_USE_LOGIN, "eth0", "eth0"};
}

static void bad_interface_up(struct scene *s)
{
	bad_mount(s);
	s->uses[0] = (struct check_use){CHECK_USE_UP, "eth0", ""};
}

static void fine_uses_of_a_bound_device(struct scene *s)
{
	s->uses[0] = (struct check_use){CHECK_USE_MOUNT, "nvme0n1p2", "/srv"};
	s->f.use_count = 1;
}

static void bad_console(struct scene *s)
{
	unbound(s);
	s->f.boot_vga = true;
}

static void bad_sriov(struct scene *s)
{
	unbound(s);
	s->f.sriov_vfs = 2;
	s->f.sriov_total = 8;
}

static void fine_sriov_of_a_bound_device(struct scene *s)
{
	s->f.sriov_vfs = 2;
	s->f.sriov_total = 8;
}

static void bad_member(struct scene *s)
{
	s->members[1] = (struct check_member){.name = "0000:01:00.1", .driver = "snd_hda_intel"};
	s->members[2] = (struct check_member){.name = "0000:01:00.2", .driver = "xhci_hcd"};
	s->f.member_count = 3;
}

static void fine_members(struct scene *s)
{
	s->members[1] =
		(struct check_member){.name = "0000:00:01.0", .driver = "pcieport", .bridge = true};
	s->members[2] = (struct check_member){.name = "0000:01:00.1", .driver = "pci-stub"};
	s->members[3] = (struct check_member){
		.name = "0000:01:00.2", .driver = "vfio-pci", .vfio_name = "vfio4"};
	s->f.member_count = 4;
}

static void fine_member_without_driver(struct scene *s)
{
	s->members[1] = (struct check_member){.name = "0000:01:00.1"};
	s->f.member_count = 2;
}

static void bad_legacy(struct scene *s)
{
	s->processes[0] = (struct check_process){1234, "qemu-system-x86", "/dev/vfio/22", NULL};
	s->f.process_count = 1;
}

static void bad_group_busy(struct scene *s)
{
	fine_members(s);
	s->processes[0] =
		(struct check_process){77, "sluice", "/dev/vfio/devices/vfio4", "0000:01:00.2"};
	s->f.process_count = 1;
}

static void bad_busy(struct scene *s)
{
	s->f.enable_count = 1;
	s->processes[0] =
		(struct check_process){77, "sluice", "/dev/vfio/devices/vfio3", "0000:01:00.0"};
	s->f.process_count = 1;
}

static void fine_open_but_unused(struct scene *s)
{
	bad_busy(s);
	s->f.enable_count = 0;
}

static void fine_open_by_the_parent(struct scene *s)
{
	bad_busy(s);
	s->f.by_fd = true;
	s->f.rehearse = false;
	s->f.enable_count = 0;
}

static void bad_busy_hidden(struct scene *s)
{
	s->f.enable_count = 1;
	s->f.processes_hidden = true;
	s->f.rehearse = false;
}

static void bad_enabled(struct scene *s)
{
	s->f.enable_count = 1;
	s->f.rehearse = false;
}

static void fine_enabled_but_to_be_opened(struct scene *s)
{
	s->f.enable_count = 1;
	s->f.processes_hidden = true;
}

static void bad_node_missing(struct scene *s)
{
	s->f.cdev.exists = s->f.cdev.access = false;
}

static void bad_node_permission(struct scene *s)
{
	s->f.cdev =
		(struct check_node){"/dev/vfio/devices/vfio3", true, false, 0600, "root", "root"};
}

static void bad_node_permission_group(struct scene *s)
{
	s->f.cdev =
		(struct check_node){"/dev/vfio/devices/vfio3", true, false, 0660, "root", "vfio"};
}

static void fine_descriptor(struct scene *s)
{
	bad_node_permission(s);
	s->f.by_fd = true;
	s->f.rehearse = false;
}

static void bad_token_missing(struct scene *s)
{
	s->f.physfn = "0000:02:00.0";
	s->f.physfn_driver = "vfio-pci";
}

static void fine_token(struct scene *s)
{
	bad_token_missing(s);
	s->f.has_token = true;
}

static void fine_vf_of_host_pf(struct scene *s)
{
	s->f.physfn = "0000:02:00.0";
	s->f.physfn_driver = "igb";
}

static void bad_token_unused(struct scene *s)
{
	s->f.has_token = true;
}

static void bad_reserved_direct(struct scene *s)
{
	s->reserved[0] = (struct check_reserved){0xfee00000, 0xfeefffff, "msi"};
	s->reserved[1] = (struct check_reserved){0x7b000000, 0x7b7fffff, "direct"};
	s->f.reserved_count = 2;
}

static void fine_reserved(struct scene *s)
{
	s->reserved[0] = (struct check_reserved){0xfee00000, 0xfeefffff, "msi"};
	s->reserved[1] = (struct check_reserved){0x7b000000, 0x7b7fffff, "direct-relaxable"};
	s->f.reserved_count = 2;
}

static void bad_reset(struct scene *s)
{
	s->f.reset_methods = "";
	s->f.can_reset = false;
}

static void fine_reset_of_an_old_kernel(struct scene *s)
{
	s->f.reset_methods = "";
}

static void bad_bar(struct scene *s)
{
	s->f.bars[2] = (struct check_resource){
		0, 1ull << 38, CHECK_RESOURCE_MEM | CHECK_RESOURCE_MEM64 | CHECK_RESOURCE_UNSET};
}

static void rehearsed(struct scene *s)
{
	s->f.rehearsal = (struct check_rehearsal){
		.done = true,
		.iova_usable = 1ull << 48,
		.iova_last = (1ull << 48) - 1,
		.has_irqs = true,
		.config_size = 4096,
	};
}

static void fine_rehearsed(struct scene *s)
{
	rehearsed(s);
}

static void fine_rehearsed_without_isolation_seen(struct scene *s)
{
	rehearsed(s);
	s->f.msi_isolated = CHECK_UNKNOWN;
}

static void bad_open(struct scene *s)
{
	rehearsed(s);
	s->f.rehearsal.open = -EPERM;
}

static void bad_open_iommu(struct scene *s)
{
	rehearsed(s);
	s->f.rehearsal.iommufd = -EPERM;
}

static void bad_bind(struct scene *s)
{
	rehearsed(s);
	s->f.rehearsal.bind = -EPERM;
}

static void bad_bind_other(struct scene *s)
{
	rehearsed(s);
	s->f.rehearsal.bind = -EIO;
}

static void fine_wants_a_kvm(struct scene *s)
{
	rehearsed(s);
	s->f.rehearsal.bind = -ESRCH;
}

static void bad_bind_in_use(struct scene *s)
{
	rehearsed(s);
	s->f.rehearsal.bind = -EINVAL;
}

static void bad_bind_legacy(struct scene *s)
{
	rehearsed(s);
	s->f.rehearsal.bind = -EBUSY;
}

static void bad_bind_token(struct scene *s)
{
	rehearsed(s);
	s->f.rehearsal.bind = -EACCES;
}

static void bad_ioas(struct scene *s)
{
	rehearsed(s);
	s->f.rehearsal.ioas = -ENOMEM;
}

static void bad_attach(struct scene *s)
{
	rehearsed(s);
	s->f.rehearsal.attach = -EINVAL;
}

static void bad_not_pci(struct scene *s)
{
	rehearsed(s);
	s->f.rehearsal.has_irqs = false;
	s->f.rehearsal.config_size = 0;
}

static void bad_config(struct scene *s)
{
	rehearsed(s);
	s->f.rehearsal.config_size = 255;
}

static void fine_emulated(struct scene *s)
{
	rehearsed(s);
	s->f.pci = false;
	s->f.emulated = true;
	s->f.iommu_any = false;
}

static void bad_iova(struct scene *s)
{
	rehearsed(s);
	s->f.rehearsal.iova_usable = s->f.memory - 4096;
}

struct expectation {
	const char *name;
	void (*change)(struct scene *s);
	enum check_severity severity; /* the worst finding */
	const char *code;             /* its code; NULL: there is none but fine ones */
	const char *text;             /* in its text */
	const char *remedy;           /* in its first remedy */
};

#define OBSTACLE(change, code, text, remedy)                                                       \
	{                                                                                          \
#change, change, CHECK_OBSTACLE, code, text, remedy                                \
	}
#define WARNING(change, code, text)                                                                \
	{                                                                                          \
#change, change, CHECK_WARNING, code, text, NULL                                   \
	}
#define FINE(change)                                                                               \
	{                                                                                          \
#change, change, CHECK_OK, NULL, NULL, NULL                                        \
	}

static const struct expectation expectations[] = {
	OBSTACLE(bad_kvm_missing, "kvm.missing", "/dev/kvm",
		 "sudo modprobe kvm_amd || sudo modprobe kvm_intel"),
	OBSTACLE(bad_kvm_open, "kvm.open", "does not open: No such device", "dmesg"),
	OBSTACLE(bad_kvm_irqchip, "kvm.irqchip", "without CONFIG_KVM_IOAPIC", "KVM_IOAPIC"),
	OBSTACLE(bad_kvm_permission, "kvm.permission", "root:kvm 0660",
		 "sudo usermod -aG kvm alice"),
	OBSTACLE(bad_kvm_permission_root_group, "kvm.permission", "alice",
		 "sudo chown alice /dev/kvm"),
	WARNING(bad_no_virt_flags, "kvm.cpu", "neither svm nor vmx"),
	OBSTACLE(bad_no_iommufd_in_config, "iommufd.kernel",
		 "without CONFIG_IOMMUFD; sluice needs Linux 6.6 or newer with CONFIG_IOMMUFD and "
		 "CONFIG_VFIO_DEVICE_CDEV",
		 "scripts/config"),
	OBSTACLE(bad_old_kernel, "iommufd.kernel", "6.1.0-18-amd64 is too old", "scripts/config"),
	OBSTACLE(bad_no_iommufd_unknown_config, "iommufd.kernel", "has no iommufd",
		 "scripts/config"),
	OBSTACLE(bad_iommufd_not_loaded, "iommufd.module", "not loaded", "sudo modprobe iommufd"),
	OBSTACLE(bad_iommufd_module_file, "iommufd.module", "not loaded", "sudo modprobe iommufd"),
	OBSTACLE(bad_iommufd_built_in_but_dead, "iommufd.module", "did not start", "dmesg"),
	OBSTACLE(bad_iommu_node, "iommufd.node", "/dev/iommu",
		 "sudo mknod -m 0660 /dev/iommu c 10 124"),
	OBSTACLE(bad_iommu_permission, "iommufd.permission", "alice may not open /dev/iommu",
		 "sudo chown alice /dev/iommu"),
	FINE(bad_iommu_permission_but_descriptor),
	OBSTACLE(bad_no_cdev, "cdev.kernel", "CONFIG_VFIO_DEVICE_CDEV",
		 "scripts/config --enable VFIO_DEVICE_CDEV"),
	OBSTACLE(bad_memlock_soft, "memlock.small", "8 MiB", "ulimit -l 524288"),
	OBSTACLE(bad_memlock_hard, "memlock.small", "512 MiB must be locked",
		 "sudo prlimit --pid $$ --memlock=536870912:536870912"),
	OBSTACLE(bad_memlock_hard_root, "memlock.small", "root", "prlimit --pid $$"),
	OBSTACLE(bad_memlock_one_short, "memlock.small", "511.9 MiB", "ulimit -l 524288"),
	FINE(fine_memlock_exact),
	FINE(fine_memlock_capability),
	OBSTACLE(bad_huge_pages, "hugepages.few", "needs 256 huge pages of 2 MiB, 56 are free",
		 "echo 300 | sudo tee /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"),
	FINE(fine_huge_pages),
	OBSTACLE(bad_memory_small, "memory.small", "this host has 256 MiB", "--memory 128M"),
	OBSTACLE(bad_memory_low, "memory.low", "this host has now 256 MiB", "--memory 128M"),
	OBSTACLE(bad_memory_cgroup, "memory.low", "the memory cgroup /jail leaves 512 MiB",
		 "--memory 256M"),
	OBSTACLE(bad_missing, "device.missing", "there is no 01:00.0", "sluice list"),
	OBSTACLE(bad_gone, "device.gone", "all ones",
		 "echo 1 | sudo tee /sys/bus/pci/devices/0000:01:00.0/remove && echo 1 | sudo tee "
		 "/sys/bus/pci/rescan"),
	OBSTACLE(bad_runtime_error, "device.gone", "power management", "remove"),
	OBSTACLE(bad_no_group, "iommu.no_group", "no IOMMU translates for 0000:01:00.0",
		 "sluice list"),
	OBSTACLE(bad_noiommu, "iommu.no_group", "no-IOMMU", "sluice list"),
	OBSTACLE(bad_iommu_off_dmar, "iommu.off", "DMAR", "&intel_iommu=on "),
	OBSTACLE(bad_iommu_off_ivrs, "iommu.off", "IVRS", "dmesg"),
	OBSTACLE(bad_iommu_off_firmware, "iommu.off", "firmware",
		 "sudo systemctl reboot --firmware-setup"),
	OBSTACLE(bad_iommu_off_cmdline, "iommu.off", "by intel_iommu=off",
		 "s/\\bintel_iommu=off\\b//"),
	OBSTACLE(bad_iommu_off_cmdline_first, "iommu.off", "by iommu=off", "s/\\biommu=off\\b//"),
	OBSTACLE(bad_msi, "msi.unsafe", "no interrupt remapping",
		 "echo 1 | sudo tee /sys/module/iommufd/parameters/allow_unsafe_interrupts   # "
		 "only"),
	OBSTACLE(bad_msi_cmdline, "msi.unsafe", "no interrupt remapping", "intremap=off"),
	WARNING(bad_msi_allowed, "msi.unsafe_allowed", "forge"),
	FINE(fine_msi_unknown),
	OBSTACLE(unbound, "driver.host", "nvme has it, and vfio-pci must",
		 "sudo sluice bind 0000:01:00.0"),
	OBSTACLE(bad_driver_none, "driver.none", "no driver", "sudo sluice bind 0000:01:00.0"),
	OBSTACLE(bad_driver_override, "driver.none", "driver_override is pci-stub", "sluice bind"),
	OBSTACLE(bad_driver_root, "driver.host", "nvme", "sluice bind 0000:01:00.0"),
	OBSTACLE(bad_driver_not_pci, "driver.host", "nvme", "ls -l /sys/devices"),
	OBSTACLE(bad_bridge, "device.bridge", "bridge", "sluice list"),
	OBSTACLE(bad_denylisted, "device.denylisted", "8086:37c8", "disable_denylist=1"),
	OBSTACLE(bad_mount, "use.mount", "nvme0n1p2 mounted at /srv",
		 "sudo umount '/srv/it'\\''s'"),
	OBSTACLE(bad_mount_root, "use.mount", "mounted at /", "sluice list"),
	OBSTACLE(bad_swap, "use.swap", "nvme0n1p3", "sudo swapoff /dev/nvme0n1p3"),
	OBSTACLE(bad_held, "use.held", "has its nvme0n1p3 in use", "lsblk /dev/nvme0n1p3"),
	OBSTACLE(bad_stack, "use.stack", "md0", "lsblk /dev/nvme0n1p3"),
	OBSTACLE(bad_route, "use.route", "eth0 by way of br0", "sudo ip route del default dev br0"),
	OBSTACLE(bad_login, "use.login", "logged in over its eth0", "sluice list"),
	OBSTACLE(bad_interface_up, "driver.host", "nvme", "sluice bind"),
	FINE(fine_uses_of_a_bound_device),
	OBSTACLE(bad_console, "driver.host", "nvme", "sluice bind"),
	OBSTACLE(bad_sriov, "sriov.enabled", "2 virtual functions",
		 "echo 0 | sudo tee /sys/bus/pci/devices/0000:01:00.0/sriov_numvfs"),
	FINE(fine_sriov_of_a_bound_device),
	OBSTACLE(bad_member, "group.not_viable",
		 "IOMMU group 22 also holds 0000:01:00.1 (snd_hda_intel), 0000:01:00.2 (xhci_hcd)",
		 "sudo sluice bind 0000:01:00.0 --group"),
	FINE(fine_members),
	FINE(fine_member_without_driver),
	OBSTACLE(bad_legacy, "group.legacy_user",
		 "qemu-system-x86 holds /dev/vfio/22 open (pid 1234)", "sudo kill 1234"),
	OBSTACLE(bad_group_busy, "group.busy", "sluice (pid 77) uses 0000:01:00.2", "sudo kill 77"),
	OBSTACLE(bad_busy, "node.busy", "in use by sluice (pid 77)", "sudo kill 77"),
	FINE(fine_open_but_unused),
	FINE(fine_open_by_the_parent),
	OBSTACLE(bad_busy_hidden, "node.busy", "alice may not see",
		 "sudo sluice check 0000:01:00.0"),
	WARNING(bad_enabled, "node.enabled", "nobody is seen"),
	FINE(fine_enabled_but_to_be_opened),
	OBSTACLE(bad_node_missing, "node.missing", "/dev/vfio/devices/vfio3",
		 "mknod -m 0600 /dev/vfio/devices/vfio3 c 511 3"),
	OBSTACLE(bad_node_permission, "node.permission", "root:root 0600",
		 "sudo chown alice /dev/vfio/devices/vfio3"),
	OBSTACLE(bad_node_permission_group, "node.permission", "root:vfio 0660",
		 "sudo usermod -aG vfio alice"),
	FINE(fine_descriptor),
	OBSTACLE(bad_token_missing, "token.missing", "0000:02:00.0 is with vfio-pci", "token=UUID"),
	FINE(fine_token),
	FINE(fine_vf_of_host_pf),
	OBSTACLE(bad_token_unused, "token.unused", "not needed", "sluice check 0000:01:00.0"),
	OBSTACLE(bad_reserved_direct, "reserved.direct", "7b000000-7b7fffff", "rmrr"),
	FINE(fine_reserved),
	WARNING(bad_reset, "reset.none", "no reset"),
	FINE(fine_reset_of_an_old_kernel),
	OBSTACLE(bad_bar, "bar.unassigned", "BAR 2 (256 GiB)", "pci=realloc"),
	FINE(fine_rehearsed),
	FINE(fine_rehearsed_without_isolation_seen),
	OBSTACLE(bad_open, "launch.open", "container", "dmesg"),
	OBSTACLE(bad_open_iommu, "launch.iommufd", "/dev/iommu does not open", "dmesg"),
	OBSTACLE(bad_bind, "launch.bind", "not isolated", "dmesg"),
	OBSTACLE(bad_bind_other, "launch.bind", "Input/output error", "dmesg"),
	FINE(fine_wants_a_kvm),
	OBSTACLE(bad_bind_in_use, "node.busy", "in use", "sudo fuser -v /dev/vfio/devices/vfio3"),
	OBSTACLE(bad_bind_legacy, "group.legacy_user", "/dev/vfio/22",
		 "sudo fuser -v /dev/vfio/22"),
	OBSTACLE(bad_bind_token, "token.wrong", "token", "token=UUID"),
	OBSTACLE(bad_ioas, "launch.ioas", "Cannot allocate memory", "dmesg"),
	OBSTACLE(bad_attach, "launch.attach", "Invalid argument", "dmesg"),
	OBSTACLE(bad_not_pci, "launch.pci", "it is no PCI device", "sluice list"),
	OBSTACLE(bad_config, "launch.pci", "configuration space is too small", "sluice list"),
	FINE(fine_emulated),
	OBSTACLE(bad_iova, "iova.small", "addresses for 511.9 MiB", "--memory 511M"),
};

#define COUNT (sizeof(expectations) / sizeof(expectations[0]))

static struct check_arena *arena;

static void setup(void)
{
	arena = check_arena_create();
	cr_assert_not_null(arena);
}

static void teardown(void)
{
	check_arena_destroy(arena);
}

TestSuite(findings, .init = setup, .fini = teardown);

static void judge_scene(void (*change)(struct scene *s), struct scene *s,
			struct check_report *report)
{
	good(s);
	if (change)
		change(s);
	cr_assert_eq(check_judge(arena, &s->f, report), 0);
}

static const struct check_finding *find(const struct check_report *report, const char *code)
{
	for (size_t i = 0; i < report->count; i++) {
		if (strcmp(report->findings[i].code, code) == 0)
			return &report->findings[i];
	}
	return NULL;
}

Test(findings, a_good_device_on_a_good_host_has_neither_obstacle_nor_warning)
{
	struct check_report report;
	struct scene s;

	judge_scene(NULL, &s, &report);
	for (size_t i = 0; i < report.count; i++)
		cr_expect_eq(report.findings[i].severity, CHECK_OK, "%s: %s",
			     report.findings[i].code, report.findings[i].text);
	cr_expect_eq(report.obstacles, 0);
	cr_expect_eq(report.warnings, 0);
	cr_expect_geq(report.count, 10);
}

Test(findings, each_mistake_gives_its_finding_with_its_remedy)
{
	for (size_t i = 0; i < COUNT; i++) {
		const struct expectation *e = &expectations[i];
		const struct check_finding *finding;
		struct check_report report;
		struct scene s;

		judge_scene(e->change, &s, &report);
		if (!e->code) {
			cr_expect_eq(report.obstacles + report.warnings, 0, "%s", e->name);
			continue;
		}
		finding = find(&report, e->code);
		cr_assert_not_null(finding, "%s: no %s", e->name, e->code);
		cr_expect_eq(finding->severity, e->severity, "%s", e->name);
		cr_expect_not_null(strstr(finding->text, e->text), "%s: %s", e->name,
				   finding->text);
		if (!e->remedy)
			continue;
		cr_assert_gt(finding->remedy_count, 0, "%s", e->name);
		cr_expect_not_null(strstr(finding->remedies[0], e->remedy), "%s: %s", e->name,
				   finding->remedies[0]);
	}
}

Test(findings, one_mistake_gives_one_obstacle)
{
	/* These have a second obstacle by their nature: what is in use must be bound besides. */
	static const char *const twice[] = {"driver.host", "driver.none"};

	for (size_t i = 0; i < COUNT; i++) {
		const struct expectation *e = &expectations[i];
		struct check_report report;
		struct scene s;
		unsigned others = 0;

		judge_scene(e->change, &s, &report);
		for (size_t j = 0; j < report.count; j++) {
			const struct check_finding *finding = &report.findings[j];

			if (finding->severity != CHECK_OBSTACLE ||
			    (e->code && strcmp(finding->code, e->code) == 0) ||
			    strcmp(finding->code, twice[0]) == 0 ||
			    strcmp(finding->code, twice[1]) == 0)
				continue;
			others++;
		}
		cr_expect_eq(others, 0, "%s has %u more obstacles", e->name, others);
	}
}

Test(findings, every_obstacle_has_a_remedy_and_nothing_ends_in_a_full_stop)
{
	for (size_t i = 0; i < COUNT; i++) {
		struct check_report report;
		struct scene s;

		judge_scene(expectations[i].change, &s, &report);
		for (size_t j = 0; j < report.count; j++) {
			const struct check_finding *finding = &report.findings[j];

			cr_expect(finding->severity != CHECK_OBSTACLE || finding->remedy_count > 0,
				  "%s: %s", expectations[i].name, finding->code);
			cr_expect_neq(finding->text[strlen(finding->text) - 1], '.', "%s",
				      finding->text);
			cr_expect_leq(strlen(finding->subject), 8, "%s", finding->subject);
			cr_expect_null(strstr(finding->text, "(null)"), "%s", finding->text);
			for (size_t k = 0; k < finding->remedy_count; k++)
				cr_expect_null(strstr(finding->remedies[k], "(null)"), "%s",
					       finding->remedies[k]);
		}
	}
}

Test(findings, root_is_not_told_to_use_sudo)
{
	for (size_t i = 0; i < COUNT; i++) {
		struct check_report report;
		struct scene s;

		good(&s);
		expectations[i].change(&s);
		s.f.root = true;
		cr_assert_eq(check_judge(arena, &s.f, &report), 0);
		for (size_t j = 0; j < report.count; j++) {
			if (strcmp(report.findings[j].code, "node.busy") == 0 &&
			    s.f.processes_hidden)
				continue; /* root sees all processes */
			for (size_t k = 0; k < report.findings[j].remedy_count; k++)
				cr_expect_null(strstr(report.findings[j].remedies[k], "sudo"), "%s",
					       report.findings[j].remedies[k]);
		}
	}
}

Test(findings, facts_of_which_nothing_is_known_are_survived)
{
	struct check_facts f = {.name = "x", .user = "u", .numa_node = -1, .enable_count = -1};
	struct check_report report;
	json_t *json;

	for (unsigned bits = 0; bits < 256; bits++) {
		struct check_style style = {.verbose = true, .color = true, .width = bits};
		FILE *out = fopen("/dev/null", "w");

		f.found = bits & 1;
		f.pci = bits & 2;
		f.vfio = bits & 4;
		f.vfio_cdev = bits & 8;
		f.iommufd_present = bits & 16;
		f.bridge = bits & 32;
		f.iommu_group = bits & 64 ? "1" : NULL;
		f.rehearsal.done = bits & 128;
		f.address = f.sysfs = f.found ? "/sys/x" : NULL;
		cr_assert_eq(check_judge(arena, &f, &report), 0);
		cr_assert_not_null(out);
		check_print(out, &f, &report, &style);
		fclose(out);
		json = check_json(&f, &report);
		cr_assert_not_null(json, "%u", bits);
		json_decref(json);
	}
}

Test(findings, a_long_group_is_listed_whole)
{
	static struct check_member members[40];
	const struct check_finding *finding;
	struct check_report report;
	struct scene s;

	good(&s);
	for (unsigned i = 0; i < 40; i++)
		members[i] = (struct check_member){
			.name = check_format(arena, "0000:05:%02x.0", i & 31),
			.driver = "a_driver_with_quite_a_name",
		};
	s.f.members = members;
	s.f.member_count = 40;
	cr_assert_eq(check_judge(arena, &s.f, &report), 0);
	finding = find(&report, "group.not_viable");
	cr_assert_not_null(finding);
	cr_expect_not_null(strstr(finding->text, "0000:05:07.0 (a_driver_with_quite_a_name)"));
	cr_expect_not_null(strstr(finding->text, "0000:05:1f.0 (a_driver_with_quite_a_name)"));
}

/* ---- states of the list ---------------------------------------------------------------------- */

Test(findings, the_list_sums_a_report_up)
{
	static const struct {
		void (*change)(struct scene *s);
		enum check_state state;
		const char *reason;
	} cases[] = {
		{NULL, CHECK_READY, NULL},
		{bad_reset, CHECK_READY, NULL},
		{bad_no_iommufd_in_config, CHECK_READY, NULL}, /* the host's, said once */
		{bad_memlock_hard, CHECK_READY, NULL},
		{unbound, CHECK_NEEDS_BIND, NULL},
		{bad_driver_none, CHECK_NEEDS_BIND, NULL},
		{bad_member, CHECK_NEEDS_BIND_GROUP, NULL},
		{bad_busy, CHECK_IN_USE, "node.busy"},
		{bad_mount, CHECK_BLOCKED, "use.mount"},
		{bad_bridge, CHECK_BLOCKED, "device.bridge"},
		{bad_node_permission, CHECK_BLOCKED, "node.permission"},
		{bad_legacy, CHECK_BLOCKED, "group.legacy_user"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct check_finding *reason;
		struct check_report report;
		struct scene s;

		judge_scene(cases[i].change, &s, &report);
		cr_expect_eq(check_state(&report, &reason), cases[i].state, "case %zu", i);
		if (cases[i].reason)
			cr_expect(reason && strcmp(reason->code, cases[i].reason) == 0, "case %zu",
				  i);
		else
			cr_expect_null(reason, "case %zu", i);
	}
}

/* ---- showing --------------------------------------------------------------------------------- */

static char *shown(void (*change)(struct scene *s), struct check_style style)
{
	struct check_report report;
	struct scene s;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	cr_assert_not_null(out);
	judge_scene(change, &s, &report);
	check_print(out, &s.f, &report, &style);
	fclose(out);
	return text;
}

Test(findings, what_is_fine_is_not_shown_unless_asked_for)
{
	char *text = shown(NULL, (struct check_style){.verbose = false});

	cr_expect_str_eq(text,
			 "0000:01:00.0  NVMe controller 1b36:0010, driver vfio-pci, IOMMU group "
			 "22\nready: sluice run --vfio 0000:01:00.0 ...\n");
	free(text);
	text = shown(NULL, (struct check_style){.verbose = true});
	cr_expect_not_null(
		strstr(text, "  ok        group     IOMMU group 22 holds nothing else\n"));
	free(text);
}

Test(findings, an_obstacle_is_shown_with_its_remedy_below)
{
	char *text = shown(unbound, (struct check_style){.verbose = false});

	cr_expect_str_eq(text,
			 "0000:01:00.0  NVMe controller 1b36:0010, driver nvme, IOMMU group 22\n"
			 "  obstacle  driver    the host's nvme has it, and vfio-pci must\n"
			 "                          sudo sluice bind 0000:01:00.0\n"
			 "not ready: 1 obstacle\n");
	free(text);
}

Test(findings, sentences_are_broken_at_the_width_of_the_terminal_and_commands_are_not)
{
	for (unsigned width = 43; width < 200; width++) {
		char *text =
			shown(bad_mount, (struct check_style){.verbose = true, .width = width});
		unsigned long_lines = 0;

		for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
			bool command = strspn(line, " ") == 26;

			/* A single word may be longer than its room. */
			if (strlen(line) > width && !command && strchr(line + 22, ' ') &&
			    strncmp(line, "  ", 2) == 0)
				long_lines++;
		}
		cr_expect_eq(long_lines, 0, "width %u", width);
		free(text);
	}
}

Test(findings, colors_only_when_asked_for)
{
	char *plain = shown(unbound, (struct check_style){.verbose = true});
	char *colored = shown(unbound, (struct check_style){.verbose = true, .color = true});

	cr_expect_null(strchr(plain, '\033'));
	cr_expect_not_null(strstr(colored, "\033[1;31mobstacle\033[0m"));
	free(plain);
	free(colored);
}

Test(findings, json_says_what_the_report_says)
{
	for (size_t i = 0; i < COUNT; i++) {
		const struct expectation *e = &expectations[i];
		struct check_report report;
		json_t *json, *list, *one;
		struct scene s;
		size_t at;
		bool seen = e->code == NULL;

		judge_scene(e->change, &s, &report);
		json = check_json(&s.f, &report);
		cr_assert_not_null(json, "%s", e->name);
		cr_expect_eq(json_integer_value(json_object_get(json, "version")), 1);
		cr_expect_eq(json_is_true(json_object_get(json, "ready")), report.obstacles == 0);
		cr_expect_eq(json_integer_value(json_object_get(json, "obstacles")),
			     report.obstacles);
		list = json_object_get(json, "findings");
		cr_expect_eq(json_array_size(list), report.count);
		json_array_foreach(list, at, one)
		{
			cr_expect(json_is_array(json_object_get(one, "remedies")));
			seen |= e->code && strcmp(json_string_value(json_object_get(one, "code")),
						  e->code) == 0;
		}
		cr_expect(seen, "%s", e->name);
		if (s.f.found) {
			json_t *device = json_object_get(json, "device");

			cr_expect_str_eq(json_string_value(json_object_get(device, "address")),
					 "0000:01:00.0");
			cr_expect(json_is_array(
				json_object_get(json_object_get(device, "group"), "members")));
		} else {
			cr_expect(json_is_null(json_object_get(json, "device")));
		}
		json_decref(json);
	}
}

/* Every member is in the document's description, as `name`, or in a table or list of its own. */
static void expect_described(const char *description, json_t *json)
{
	const char *key;
	json_t *value;
	size_t at;

	json_object_foreach(json, key, value)
	{
		char quoted[64], first[64], more[64];

		snprintf(quoted, sizeof(quoted), "`%s`", key);
		snprintf(first, sizeof(first), "| %s", key);
		snprintf(more, sizeof(more), ", %s |", key);
		cr_expect(strstr(description, quoted) || strstr(description, first) ||
				  strstr(description, more),
			  "%s is not in docs/check.md", key);
		expect_described(description, value);
	}
	if (json_is_array(json)) {
		json_array_foreach(json, at, value)
		{
			expect_described(description, value);
		}
	}
}

Test(findings, every_member_of_the_document_is_described)
{
	static char description[65536];
	FILE *file = fopen("docs/check.md", "r");
	struct check_report report;
	struct scene s;
	json_t *json;

	cr_assert_not_null(file, "run it in the top directory");
	fread(description, 1, sizeof(description) - 1, file);
	fclose(file);
	good(&s);
	bad_busy(&s);
	bad_reserved_direct(&s);
	rehearsed(&s);
	s.f.config_whole = true;
	cr_assert_eq(check_judge(arena, &s.f, &report), 0);
	json = check_json(&s.f, &report);
	cr_assert_not_null(json);
	cr_expect(json_is_object(json_object_get(json, "launch")));
	expect_described(description, json);
	json_decref(json);
}

Test(findings, json_takes_a_command_name_that_is_not_text)
{
	struct check_report report;
	struct scene s;
	json_t *json;

	good(&s);
	bad_busy(&s);
	s.processes[0].name = "\xff\xfe";
	cr_assert_eq(check_judge(arena, &s.f, &report), 0);
	json = check_json(&s.f, &report);
	cr_assert_not_null(json);
	json_decref(json);
}

/* ---- small things ---------------------------------------------------------------------------- */

Test(findings, sizes_are_said_in_the_unit_that_fits)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{0, "0 bytes"},
		{1, "1 bytes"},
		{1023, "1023 bytes"},
		{1024, "1 KiB"},
		{1536, "1.5 KiB"},
		{16384, "16 KiB"},
		{512ull << 20, "512 MiB"},
		{(1ull << 30) + (1ull << 29), "1.5 GiB"},
		{1ull << 40, "1 TiB"},
		{UINT64_MAX, "15.9 EiB"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[24];

		check_size(cases[i].bytes, text);
		cr_expect_str_eq(text, cases[i].text);
	}
}

Test(findings, classes_have_names)
{
	cr_expect_str_eq(check_class_name(0x010802), "NVMe controller");
	cr_expect_str_eq(check_class_name(0x010801), "non-volatile memory");
	cr_expect_str_eq(check_class_name(0x020000), "Ethernet controller");
	cr_expect_str_eq(check_class_name(0x0200ff), "Ethernet controller");
	cr_expect_str_eq(check_class_name(0x020900), "network controller");
	cr_expect_str_eq(check_class_name(0x060400), "PCI bridge");
	cr_expect_str_eq(check_class_name(0x0c0330), "USB controller");
	cr_expect_str_eq(check_class_name(0xff0000), "PCI device");
	cr_expect_str_eq(check_class_name(0xffffff), "PCI device");
}

Test(findings, an_array_of_an_arena_grows_without_losing_anything)
{
	size_t count = 0;
	unsigned *array = NULL;

	for (unsigned i = 0; i < 1000; i++) {
		unsigned *next = check_append(arena, (void **)&array, &count, sizeof(*array));

		cr_assert_not_null(next);
		cr_assert_eq(*next, 0);
		*next = i;
	}
	for (unsigned i = 0; i < 1000; i++)
		cr_expect_eq(array[i], i);
}
