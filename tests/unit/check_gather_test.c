// SPDX-License-Identifier: Apache-2.0
/* Facts gathered from a host that is made of files: sysfs, procfs and /dev below a directory. */
#include "devices/vfio/check/facts.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <ftw.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/vfio/check/findings.h"
#include "devices/vfio/check/list.h"

#define NVME "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0"
#define PORT "/sys/devices/pci0000:00/0000:00:01.0"

static char root[] = "/tmp/sluice-check-XXXXXX";
static struct check_arena *arena;

static void parents(char *path)
{
	for (char *p = path + sizeof(root); (p = strchr(p, '/')) != NULL; p++) {
		*p = '\0';
		mkdir(path, 0755);
		*p = '/';
	}
}

/* The file @path below the root holds @text (which need not end in a newline). */
static void put(const char *path, const char *text)
{
	char full[1024];
	FILE *file;

	snprintf(full, sizeof(full), "%s%s", root, path);
	parents(full);
	file = fopen(full, "w");
	cr_assert_not_null(file, "%s: %s", full, strerror(errno));
	fputs(text, file);
	fclose(file);
}

/* A link as sysfs has them: relative, to @target below the root. */
static void link_to(const char *path, const char *target)
{
	char full[1024], relative[2048] = "";

	snprintf(full, sizeof(full), "%s%s", root, path);
	parents(full);
	for (const char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/'))
		strcat(relative, "../");
	strcat(relative, target + 1);
	unlink(full);
	cr_assert_eq(symlink(relative, full), 0, "%s", full);
}

/* A link with exactly this text, as in /proc/PID/fd. */
static void link_text(const char *path, const char *text)
{
	char full[1024];

	snprintf(full, sizeof(full), "%s%s", root, path);
	parents(full);
	cr_assert_eq(symlink(text, full), 0);
}

static void make_directory(const char *path)
{
	char full[1024];

	snprintf(full, sizeof(full), "%s%s/", root, path);
	parents(full);
}

static void drop(const char *path)
{
	char full[1024];

	snprintf(full, sizeof(full), "%s%s", root, path);
	unlink(full);
}

/* A PCI device at @path with the driver @driver in IOMMU group @group. */
static void make_device(const char *path, const char *class, const char *vendor, const char *device,
			const char *driver, const char *group)
{
	const char *bdf = strrchr(path, '/') + 1;
	char name[1024], target[512];

#define PUT(file, text)                                                                            \
	do {                                                                                       \
		snprintf(name, sizeof(name), "%s/" file, path);                                    \
		put(name, text);                                                                   \
	} while (0)
	PUT("class", class);
	PUT("vendor", vendor);
	PUT("device", device);
	PUT("enable", "0\n");
	PUT("numa_node", "-1\n");
	PUT("power_state", "D0\n");
	PUT("power/runtime_status", "active\n");
	PUT("driver_override", "(null)\n");
	PUT("reset_method", "flr bus\n");
	PUT("resource", "0x00000000fe000000 0x00000000fe003fff 0x0000000000140204\n"
			"0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
			"0x000000000000c000 0x000000000000c01f 0x0000000000040101\n"
			"0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
			"0x0000004000000000 0x0000005fffffffff 0x000000002014220c\n"
			"0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
			"0x00000000fe010000 0x00000000fe01ffff 0x0000000000046200\n");
#undef PUT
	snprintf(name, sizeof(name), "%s/subsystem", path);
	link_to(name, "/sys/bus/pci");
	snprintf(name, sizeof(name), "/sys/bus/pci/devices/%s", bdf);
	link_to(name, path);
	if (driver) {
		snprintf(name, sizeof(name), "%s/driver", path);
		snprintf(target, sizeof(target), "/sys/bus/pci/drivers/%s", driver);
		link_to(name, target);
		make_directory(target);
	}
	if (group) {
		snprintf(name, sizeof(name), "%s/iommu_group", path);
		snprintf(target, sizeof(target), "/sys/kernel/iommu_groups/%s", group);
		link_to(name, target);
		snprintf(name, sizeof(name), "%s/devices/%s", target, bdf);
		link_to(name, path);
		snprintf(name, sizeof(name), "%s/type", target);
		put(name, "DMA-FQ\n");
	}
}

/* The device at @path is with vfio-pci and has node vfio@index. */
static void make_vfio(const char *path, unsigned index)
{
	char name[1024], target[512];

	snprintf(name, sizeof(name), "%s/driver", path);
	link_to(name, "/sys/bus/pci/drivers/vfio-pci");
	make_directory("/sys/bus/pci/drivers/vfio-pci");
	snprintf(name, sizeof(name), "%s/driver_override", path);
	put(name, "vfio-pci\n");
	snprintf(name, sizeof(name), "%s/vfio-dev/vfio%u/dev", path, index);
	snprintf(target, sizeof(target), "511:%u\n", index);
	put(name, target);
	snprintf(name, sizeof(name), "%s/vfio-dev/vfio%u/device", path, index);
	link_to(name, path);
	snprintf(name, sizeof(name), "/sys/class/vfio-dev/vfio%u", index);
	snprintf(target, sizeof(target), "%s/vfio-dev/vfio%u", path, index);
	link_to(name, target);
	snprintf(name, sizeof(name), "/dev/vfio/devices/vfio%u", index);
	put(name, "");
}

static void setup(void)
{
	cr_assert_not_null(mkdtemp(root));
	arena = check_arena_create();
	cr_assert_not_null(arena);

	put("/proc/sys/kernel/osrelease", "7.3.4-lab\n");
	put("/proc/cmdline", "root=/dev/vda intel_iommu=on\n");
	put("/proc/cpuinfo", "processor\t: 0\nmodel name\t: x\nflags\t\t: fpu svm sse\n\n");
	put("/proc/meminfo",
	    "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:    8000000 kB\n");
	put("/proc/interrupts", "   CPU0\n  1:  0  IR-IO-APIC  1-edge  i8042\n");
	put("/proc/self/status",
	    "Name:\tsh\nUid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n");
	put("/proc/self/limits",
	    "Limit                     Soft Limit           Hard Limit           Units     \n"
	    "Max cpu time              unlimited            unlimited            seconds   \n"
	    "Max locked memory         8388608              16777216             bytes     \n");
	put("/proc/self/mountinfo", "27 1 254:0 / / rw - ext4 /dev/vda rw\n");
	put("/proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
	put("/proc/net/route", "Iface\tDestination\tGateway "
			       "\tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n");
	put("/proc/1/comm", "init\n");
	put("/etc/passwd",
	    "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n");
	put("/etc/group", "root:x:0:\nkvm:x:109:alice\n");
	put("/boot/config-7.3.4-lab", "# CONFIG_OLD is not set\nCONFIG_IOMMUFD=y\nCONFIG_VFIO=m\n"
				      "CONFIG_VFIO_PCI=m\nCONFIG_VFIO_DEVICE_CDEV=y\n");
	put("/dev/kvm", "");
	put("/dev/iommu", "");
	put("/sys/class/misc/iommu/dev", "10:124\n");
	put("/sys/firmware/acpi/tables/DMAR", "");
	put("/sys/module/iommufd/parameters/allow_unsafe_interrupts", "N\n");
	make_device(PORT, "0x060400\n", "0x8086\n", "0x1901\n", "pcieport", "1");
	make_device(NVME, "0x010802\n", "0x1b36\n", "0x0010\n", "nvme", "2");
	put("/sys/kernel/iommu_groups/2/reserved_regions",
	    "0x00000000fee00000 0x00000000feefffff msi\n0x000000fd00000000 0x000000ffffffffff "
	    "reserved\n");
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void teardown(void)
{
	check_arena_destroy(arena);
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(gather, .init = setup, .fini = teardown);

static struct check_request request(const char *name)
{
	struct check_request r = {
		.root = root,
		.name = name,
		.memory.size = 512ull << 20,
		.iommufd = -1,
	};

	cr_assert_eq(vfio_name_parse(name, &r.parsed), 0, "%s", name);
	return r;
}

static struct check_facts gather(const char *name)
{
	struct check_request r = request(name);
	struct check_facts facts;

	cr_assert_eq(check_gather(arena, &r, &facts), 0);
	return facts;
}

/* The code of the first obstacle, or "". */
static const char *first_obstacle(const char *name)
{
	struct check_facts facts = gather(name);
	struct check_report report;

	cr_assert_eq(check_judge(arena, &facts, &report), 0);
	for (size_t i = 0; i < report.count; i++) {
		if (report.findings[i].severity == CHECK_OBSTACLE)
			return report.findings[i].code;
	}
	return "";
}

Test(gather, a_device_is_found_by_every_name_it_has)
{
	static const char *const names[] = {
		"0000:01:00.0",
		"01:00.0",
		"/sys/bus/pci/devices/0000:01:00.0",
		NVME,
		"/dev/vfio/devices/vfio7",
	};

	make_vfio(NVME, 7);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct check_facts f = gather(names[i]);

		cr_assert(f.found, "%s", names[i]);
		cr_expect(f.pci);
		cr_expect_str_eq(f.address, "0000:01:00.0");
		cr_expect_str_eq(f.sysfs, NVME);
	}
}

Test(gather, what_is_not_there_is_not_found)
{
	cr_expect_not(gather("0000:07:00.0").found);
	cr_expect_not(gather("/sys/bus/pci/devices/0000:07:00.0").found);
	cr_expect_not(gather("/dev/vfio/devices/vfio99").found);
	/* Out of the root by a link: not ours. */
	link_text("/sys/outside", "/usr");
	cr_expect_not(gather("/sys/outside").found);
}

Test(gather, the_host_is_read)
{
	struct check_facts f = gather("01:00.0");

	cr_expect_str_eq(f.kernel, "7.3.4-lab");
	cr_expect_str_eq(f.config_path, "/boot/config-7.3.4-lab");
	cr_expect_eq(f.config_iommufd, CHECK_CONFIG_BUILT_IN);
	cr_expect_eq(f.config_vfio, CHECK_CONFIG_MODULE);
	cr_expect_eq(f.config_cdev, CHECK_CONFIG_BUILT_IN);
	cr_expect(f.x86);
	cr_expect_eq(f.virt_flags, CHECK_YES);
	cr_expect(f.kvm.exists);
	cr_expect_str_eq(f.kvm.path, "/dev/kvm");
	cr_expect_str_eq(f.kvm.owner, "root");
	cr_expect(f.iommufd_present);
	cr_expect_eq(f.iommufd_major, 10);
	cr_expect_eq(f.iommufd_minor, 124);
	cr_expect_not(f.iommufd_probed);
	cr_expect(f.iommu_any);
	cr_expect_str_eq(f.iommu_table, "DMAR");
	cr_expect_eq(f.msi_isolated, CHECK_YES);
	cr_expect_eq(f.allow_unsafe_interrupts, CHECK_NO);
	cr_expect_eq(f.memory_total, 16000000ull << 10);
	cr_expect_eq(f.memory_available, 8000000ull << 10);
	cr_expect_not(f.root);
	cr_expect_str_eq(f.user, "alice");
	cr_expect_not(f.ipc_lock);
	cr_expect_eq(f.memlock_soft, 8388608);
	cr_expect_eq(f.memlock_hard, 16777216);
}

Test(gather, the_device_is_read)
{
	struct check_facts f = gather("01:00.0");

	cr_expect_eq(f.vendor, 0x1b36);
	cr_expect_eq(f.device, 0x0010);
	cr_expect_eq(f.class_code, 0x010802);
	cr_expect_str_eq(f.driver, "nvme");
	cr_expect_null(f.driver_override);
	cr_expect_not(f.vfio);
	cr_expect_eq(f.enable_count, 0);
	cr_expect_eq(f.numa_node, -1);
	cr_expect_str_eq(f.reset_methods, "flr bus");
	cr_expect(f.can_reset);
	cr_expect_str_eq(f.power_state, "D0");
	cr_expect_eq(f.bars[0].size, 0x4000);
	cr_expect_eq(f.bars[0].flags & CHECK_RESOURCE_MEM64, CHECK_RESOURCE_MEM64);
	cr_expect_eq(f.bars[1].size, 0);
	cr_expect_eq(f.bars[2].size, 0x20);
	cr_expect_neq(f.bars[2].flags & CHECK_RESOURCE_IO, 0);
	cr_expect_eq(f.bars[4].size, 1ull << 37);
	cr_expect_neq(f.bars[4].flags & CHECK_RESOURCE_UNSET, 0);
	cr_expect_eq(f.rom.size, 0x10000);
	cr_expect_str_eq(f.iommu_group, "2");
	cr_expect_str_eq(f.group_type, "DMA-FQ");
	cr_expect_not(f.group_noiommu);
	cr_assert_eq(f.member_count, 1);
	cr_expect_str_eq(f.members[0].name, "0000:01:00.0");
	cr_expect_str_eq(f.members[0].driver, "nvme");
	cr_assert_eq(f.reserved_count, 2);
	cr_expect_eq(f.reserved[1].first, 0xfd00000000);
	cr_expect_eq(f.reserved[1].last, 0xffffffffff);
	cr_expect_str_eq(f.reserved[1].type, "reserved");
}

Test(gather, a_bound_device_has_its_node)
{
	struct check_facts f;

	make_vfio(NVME, 3);
	f = gather("01:00.0");
	cr_expect(f.vfio);
	cr_expect(f.vfio_cdev);
	cr_expect_str_eq(f.driver, "vfio-pci");
	cr_expect_str_eq(f.driver_override, "vfio-pci");
	cr_expect_str_eq(f.vfio_name, "vfio3");
	cr_expect_str_eq(f.cdev.path, "/dev/vfio/devices/vfio3");
	cr_expect(f.cdev.exists);
	cr_expect_eq(f.cdev_major, 511);
	cr_expect_eq(f.cdev_minor, 3);
	cr_expect_str_eq(f.members[0].vfio_name, "vfio3");
}

Test(gather, a_kernel_without_nodes_is_told_by_the_missing_number)
{
	make_vfio(NVME, 3);
	drop(NVME "/vfio-dev/vfio3/dev");
	cr_expect_str_eq(first_obstacle("01:00.0"), "cdev.kernel");
}

Test(gather, vectors_come_from_the_capabilities)
{
	char path[512];
	uint8_t config[256] = {0x36, 0x1b, 0x10, 0x00, [6] = 0x10, [0x34] = 0x40};
	struct check_facts f;
	FILE *file;

	config[0x40] = 5; /* MSI, 8 vectors, 64-bit */
	config[0x41] = 0x50;
	config[0x42] = 0x86;
	config[0x50] = 0x11; /* MSI-X, 65 entries */
	config[0x51] = 0x40; /* back to the first: a loop */
	config[0x52] = 64;
	config[0x53] = 0x80;
	snprintf(path, sizeof(path), "%s%s/config", root, NVME);
	for (size_t size = 0; size <= 256; size += 16) {
		file = fopen(path, "w");
		cr_assert_not_null(file);
		cr_assert_eq(fwrite(config, 1, size, file), size);
		fclose(file);
		f = gather("01:00.0");
		cr_expect_eq(f.config_read, size >= 64);
		cr_expect_eq(f.config_whole, size == 256);
		cr_expect_eq(f.msi, size == 256 ? 8 : 0);
		cr_expect_eq(f.msix, size == 256 ? 65 : 0);
		cr_expect_not(f.gone);
	}
	/* A virtual function has no IDs in its configuration space. */
	memset(config, 0xff, 4);
	file = fopen(path, "w");
	cr_assert_not_null(file);
	cr_assert_eq(fwrite(config, 1, 64, file), 64);
	fclose(file);
	cr_expect_not(gather("01:00.0").gone);
	memset(config, 0xff, sizeof(config));
	file = fopen(path, "w");
	cr_assert_not_null(file);
	cr_assert_eq(fwrite(config, 1, 64, file), 64);
	fclose(file);
	cr_expect(gather("01:00.0").gone);
}

Test(gather, any_bytes_of_configuration_space_are_survived)
{
	char path[512];
	uint8_t config[256];
	unsigned seed = 1;

	snprintf(path, sizeof(path), "%s%s/config", root, NVME);
	for (unsigned round = 0; round < 300; round++) {
		FILE *file = fopen(path, "w");

		cr_assert_not_null(file);
		for (unsigned i = 0; i < 256; i++)
			config[i] = (uint8_t)rand_r(&seed);
		config[6] |= 0x10;
		cr_assert_eq(fwrite(config, 1, 256, file), 256);
		fclose(file);
		gather("01:00.0");
	}
}

Test(gather, damaged_attributes_are_unknown_and_not_believed)
{
	static const char *const files[] = {
		"/resource",    "/class",           "/vendor",       "/enable", "/numa_node",
		"/power_state", "/driver_override", "/reset_method", "/config",
	};
	static const char *const texts[] = {"",          "\n",
					    "x",         "-1\n",
					    "0x",        "0xffffffffffffffffff\n",
					    "1 2\n",     "0x1 0x2 0x3\nzzz",
					    "\xff\xfe\n"};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char path[512];

		snprintf(path, sizeof(path), NVME "%s", files[i]);
		for (size_t j = 0; j < sizeof(texts) / sizeof(texts[0]); j++) {
			struct check_report report;
			struct check_facts f;

			put(path, texts[j]);
			f = gather("01:00.0");
			cr_expect(f.found);
			cr_expect_eq(check_judge(arena, &f, &report), 0);
		}
		drop(path);
	}
	put("/sys/kernel/iommu_groups/2/reserved_regions", "0x1 nonsense\n");
	cr_expect_eq(gather("01:00.0").reserved_count, 0);
}

Test(gather, the_mistakes_of_the_field_are_told_apart)
{
	cr_expect_str_eq(first_obstacle("01:00.0"), "memlock.small");
	put("/proc/self/limits",
	    "Max locked memory         unlimited            unlimited            bytes\n");
	cr_expect_str_eq(first_obstacle("01:00.0"), "driver.host");
	make_vfio(NVME, 0);
	put(NVME "/resource", "0x00000000fe000000 0x00000000fe003fff 0x0000000000140204\n");
	cr_expect_str_eq(first_obstacle("01:00.0"), "");

	drop("/sys/class/misc/iommu/dev");
	put("/boot/config-7.3.4-lab", "# CONFIG_IOMMUFD is not set\n");
	cr_expect_str_eq(first_obstacle("01:00.0"), "iommufd.kernel");
	put("/sys/class/misc/iommu/dev", "10:124\n");
	put("/boot/config-7.3.4-lab",
	    "\nCONFIG_IOMMUFD=y\nCONFIG_VFIO_PCI=m\nCONFIG_VFIO_DEVICE_CDEV=y\n");
	drop("/dev/iommu");
	cr_expect_str_eq(first_obstacle("01:00.0"), "iommufd.node");
	put("/dev/iommu", "");

	put("/proc/interrupts", "  1:  0  IO-APIC  1-edge  i8042\n");
	cr_expect_str_eq(first_obstacle("01:00.0"), "msi.unsafe");
	put("/sys/module/iommufd/parameters/allow_unsafe_interrupts", "Y\n");
	cr_expect_str_eq(first_obstacle("01:00.0"), "");

	make_device(PORT "/0000:01:00.1", "0x040300\n", "0x8086\n", "0x1234\n", "snd_hda_intel",
		    "2");
	cr_expect_str_eq(first_obstacle("01:00.0"), "group.not_viable");
	drop(PORT "/0000:01:00.1/driver");
	cr_expect_str_eq(first_obstacle("01:00.0"), "");

	drop("/dev/vfio/devices/vfio0");
	cr_expect_str_eq(first_obstacle("01:00.0"), "node.missing");
	put("/dev/vfio/devices/vfio0", "");
	put("/sys/kernel/iommu_groups/2/name", "vfio-noiommu\n");
	cr_expect_str_eq(first_obstacle("01:00.0"), "iommu.no_group");
	drop("/sys/kernel/iommu_groups/2/name");

	put("/sys/kernel/iommu_groups/2/reserved_regions", "0x1000 0x1fff direct\n");
	cr_expect_str_eq(first_obstacle("01:00.0"), "reserved.direct");
	cr_expect_str_eq(first_obstacle("0000:0a:00.0"), "device.missing");
	cr_expect_str_eq(first_obstacle("00:01.0"), "device.bridge");
}

Test(gather, an_iommu_that_is_off_is_told_from_one_that_is_missing)
{
	drop(NVME "/iommu_group");
	drop("/sys/kernel/iommu_groups/1/devices/0000:00:01.0");
	drop("/sys/kernel/iommu_groups/2/devices/0000:01:00.0");
	/* The kernel's self-test of iommufd has an IOMMU and devices of its own. */
	put("/sys/class/iommu/iommufd_selftest_iommu.0/x", "");
	link_to("/sys/kernel/iommu_groups/3/devices/iommufd_mock0", "/sys/devices/iommufd_mock0");
	put("/proc/self/limits", "");
	cr_expect_str_eq(first_obstacle("01:00.0"), "iommu.off");
	cr_expect_str_eq(gather("01:00.0").iommu_table, "DMAR");
	cr_expect_not(gather("01:00.0").iommu_any);
	cr_expect_null(gather("01:00.0").iommu_group);
	/* A no-IOMMU group is none, a real one of another device is. */
	link_to("/sys/kernel/iommu_groups/0/devices/0000:01:00.0", NVME);
	put("/sys/kernel/iommu_groups/0/name", "vfio-noiommu\n");
	cr_expect_not(gather("01:00.0").iommu_any);
	link_to("/sys/kernel/iommu_groups/1/devices/0000:00:01.0", PORT);
	cr_expect(gather("01:00.0").iommu_any);
	drop("/sys/firmware/acpi/tables/DMAR");
	cr_expect_null(gather("01:00.0").iommu_table);
}

Test(gather, processes_that_hold_the_device_or_its_group_are_named)
{
	struct check_facts f;

	make_vfio(NVME, 3);
	make_device(PORT "/0000:01:00.1", "0x040300\n", "0x8086\n", "0x1234\n", "x", "2");
	make_vfio(PORT "/0000:01:00.1", 4);
	put("/proc/100/comm", "sluice\n");
	link_text("/proc/100/fd/0", "/dev/null");
	link_text("/proc/100/fd/9", "/dev/vfio/devices/vfio3");
	put("/proc/200/comm", "qemu-system-x86\n");
	link_text("/proc/200/fd/12", "/dev/vfio/vfio");
	link_text("/proc/200/fd/13", "/dev/vfio/2");
	put("/proc/300/comm", "other\n");
	link_text("/proc/300/fd/4", "/dev/vfio/devices/vfio33");
	link_text("/proc/300/fd/5", "/dev/vfio/22");
	link_text("/proc/300/fd/6", "socket:[12345]");
	put("/proc/400/comm", "chrooted\n");
	link_text("/proc/400/fd/4", "/jail/dev/vfio/devices/vfio4");
	make_directory("/proc/500/fd");
	put("/proc/sys/fd/1", "");

	f = gather("01:00.0");
	cr_assert_eq(f.process_count, 3);
	cr_expect_eq(f.processes[0].pid, 100);
	cr_expect_str_eq(f.processes[0].name, "sluice");
	cr_expect_str_eq(f.processes[0].device, "0000:01:00.0");
	cr_expect_eq(f.processes[1].pid, 200);
	cr_expect_null(f.processes[1].device);
	cr_expect_str_eq(f.processes[1].node, "/dev/vfio/2");
	cr_expect_eq(f.processes[2].pid, 400);
	cr_expect_str_eq(f.processes[2].device, "0000:01:00.1");
}

Test(gather, huge_pages_are_those_that_a_launch_can_have)
{
	static const struct {
		const char *total, *free, *reserved, *overcommit, *surplus;
		uint64_t left;
	} pools[] = {
		{"100", "100", "0", "0", "0", 100},  {"100", "40", "30", "0", "0", 10},
		{"100", "40", "30", "64", "0", 74},  {"160", "40", "30", "64", "60", 14},
		{"160", "40", "30", "32", "60", 10}, {"100", "0", "8", "0", "0", 0},
	};

	for (size_t i = 0; i < sizeof(pools) / sizeof(pools[0]); i++) {
		struct check_request r = request("01:00.0");
		struct check_facts f;

		r.memory.huge_page = 2 << 20;
		put("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", pools[i].total);
		put("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", pools[i].free);
		put("/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", pools[i].reserved);
		put("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages",
		    pools[i].overcommit);
		put("/sys/kernel/mm/hugepages/hugepages-2048kB/surplus_hugepages",
		    pools[i].surplus);
		cr_assert_eq(check_gather(arena, &r, &f), 0);
		cr_expect_eq(f.huge_free, pools[i].left, "%zu: %llu", i,
			     (unsigned long long)f.huge_free);
	}
}

/* ---- what the host does with it -------------------------------------------------------------- */

static bool has_use(const struct check_facts *f, enum check_use_kind kind, const char *name,
		    const char *where)
{
	for (size_t i = 0; i < f->use_count; i++) {
		if (f->uses[i].kind == kind && strcmp(f->uses[i].name, name) == 0 &&
		    strcmp(f->uses[i].where, where) == 0)
			return true;
	}
	return false;
}

static void make_block(const char *directory, const char *name, const char *number)
{
	char path[1024], target[512];

	snprintf(target, sizeof(target), "%s/%s", directory, name);
	snprintf(path, sizeof(path), "%s/dev", target);
	put(path, number);
	snprintf(path, sizeof(path), "/sys/class/block/%s", name);
	link_to(path, target);
}

Test(gather, a_mounted_partition_is_a_use)
{
	struct check_facts f;

	make_block(NVME "/nvme/nvme0", "nvme0n1", "259:0\n");
	make_block(NVME "/nvme/nvme0/nvme0n1", "nvme0n1p1", "259:1\n");
	make_block("/sys/devices/virtual/block", "loop0", "7:0\n");
	put("/proc/self/mountinfo", "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
				    "28 27 259:1 / /my\\040data rw shared:1 - ext4 /dev/x rw\n"
				    "29 27 7:0 / /loop rw - ext4 /dev/loop0 rw\n");
	f = gather("01:00.0");
	cr_expect_eq(f.use_count, 1);
	cr_expect(has_use(&f, CHECK_USE_MOUNT, "nvme0n1p1", "/my data"));
	cr_expect_str_eq(first_obstacle("01:00.0"), "memlock.small");
}

Test(gather, btrfs_is_known_by_its_source)
{
	struct check_facts f;

	make_block(NVME "/nvme/nvme0", "nvme0n1", "259:0\n");
	put("/proc/self/mountinfo", "28 27 0:44 /@ / rw - btrfs /dev/nvme0n1 rw\n");
	f = gather("01:00.0");
	cr_expect(has_use(&f, CHECK_USE_MOUNT, "nvme0n1", "/"));
}

Test(gather, the_second_disk_of_a_btrfs_is_a_use)
{
	struct check_facts f;

	make_block(NVME "/nvme/nvme0", "nvme0n1", "259:0\n");
	make_block(NVME "/nvme/nvme0/nvme0n1", "nvme0n1p1", "259:1\n");
	put("/proc/self/mountinfo", "28 27 0:44 / /srv rw - btrfs /dev/sda1 rw\n");
	put("/sys/fs/btrfs/features/extended_iref", "1\n");
	put("/sys/fs/btrfs/0a1b-2c3d/devices/sda1", "");
	f = gather("01:00.0");
	cr_expect_eq(f.use_count, 0);
	put("/sys/fs/btrfs/0a1b-2c3d/devices/nvme0n1p1", "");
	f = gather("01:00.0");
	cr_expect_eq(f.use_count, 1);
	cr_expect(has_use(&f, CHECK_USE_STACK, "nvme0n1p1", "0a1b-2c3d"));
}

Test(gather, a_mount_that_only_init_sees_is_a_use)
{
	struct check_facts f;

	make_block(NVME "/nvme/nvme0", "nvme0n1", "259:0\n");
	put("/proc/1/mountinfo", "28 27 259:0 / /srv rw - ext4 /dev/nvme0n1 rw\n");
	f = gather("01:00.0");
	cr_expect(has_use(&f, CHECK_USE_MOUNT, "nvme0n1", "/srv"));
}

Test(gather, volumes_on_a_disk_are_followed_to_their_mounts_and_swap)
{
	struct check_facts f;

	make_block(NVME "/nvme/nvme0", "nvme0n1", "259:0\n");
	make_block("/sys/devices/virtual/block", "dm-0", "253:0\n");
	put("/sys/devices/virtual/block/dm-0/dm/name", "vg-swap\n");
	make_block("/sys/devices/virtual/block", "dm-1", "253:1\n");
	put("/sys/devices/virtual/block/dm-1/dm/name", "vg-idle\n");
	put(NVME "/nvme/nvme0/nvme0n1/holders/dm-0", "");
	put(NVME "/nvme/nvme0/nvme0n1/holders/dm-1", "");
	put("/proc/swaps",
	    "Filename Type Size Used Priority\n/dev/mapper/vg-swap partition 1 0 -2\n");
	f = gather("01:00.0");
	cr_expect_eq(f.use_count, 2);
	cr_expect(has_use(&f, CHECK_USE_SWAP, "dm-0", ""));
	cr_expect(has_use(&f, CHECK_USE_STACK, "nvme0n1", "dm-1"));
}

Test(gather, the_head_of_nvme_multipath_is_found)
{
	struct check_facts f;

	make_block(NVME "/nvme/nvme4", "nvme0c4n1", "259:8\n");
	make_block("/sys/devices/virtual/nvme-subsystem/nvme-subsys0", "nvme0n1", "259:0\n");
	make_block("/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1", "nvme0n1p2",
		   "259:2\n");
	put("/proc/self/mountinfo", "28 27 259:2 / / rw - ext4 /dev/nvme0n1p2 rw\n");
	f = gather("01:00.0");
	cr_expect_eq(f.use_count, 1);
	cr_expect(has_use(&f, CHECK_USE_MOUNT, "nvme0n1p2", "/"));
}

Test(gather, the_default_route_is_a_use_also_over_a_bridge)
{
	struct check_facts f;

	put(NVME "/net/eth0/operstate", "up\n");
	link_to("/sys/class/net/eth0", NVME "/net/eth0");
	f = gather("01:00.0");
	cr_expect_eq(f.use_count, 1);
	cr_expect(has_use(&f, CHECK_USE_UP, "eth0", ""));

	put("/proc/net/route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n"
			       "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n"
			       "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n");
	f = gather("01:00.0");
	cr_expect(has_use(&f, CHECK_USE_ROUTE, "eth0", "eth0"));

	put("/proc/net/route", "br0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n");
	make_directory("/sys/devices/virtual/net/br0");
	link_to("/sys/class/net/br0", "/sys/devices/virtual/net/br0");
	link_to(NVME "/net/eth0/upper_br0", "/sys/devices/virtual/net/br0");
	f = gather("01:00.0");
	cr_expect(has_use(&f, CHECK_USE_ROUTE, "eth0", "br0"));

	put("/proc/net/route", "");
	put("/proc/net/ipv6_route",
	    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
	    "fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n");
	f = gather("01:00.0");
	cr_expect(has_use(&f, CHECK_USE_ROUTE, "eth0", "eth0"));
	/* A route to one network is no default route. */
	put("/proc/net/ipv6_route",
	    "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 "
	    "00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n");
	f = gather("01:00.0");
	cr_expect_not(has_use(&f, CHECK_USE_ROUTE, "eth0", "eth0"));
}

/* ---- other hosts ----------------------------------------------------------------------------- */

/* An address of this host and the interface that has it; false without any. */
static bool own_address(char *name, char *text)
{
	struct ifaddrs *all, *one;
	bool found = false;

	if (getifaddrs(&all) < 0)
		return false;
	for (one = all; one && !found; one = one->ifa_next) {
		if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET)
			continue;
		inet_ntop(AF_INET, &((struct sockaddr_in *)one->ifa_addr)->sin_addr, text,
			  INET_ADDRSTRLEN);
		strcpy(name, one->ifa_name);
		found = true;
	}
	freeifaddrs(all);
	return found;
}

Test(gather, the_login_of_who_calls_by_sudo_is_a_use)
{
	char name[IF_NAMESIZE], address[INET_ADDRSTRLEN], path[64], target[256], environment[128];
	struct check_facts f;

	if (!own_address(name, address))
		cr_skip_test("no interface here has an address");
	snprintf(path, sizeof(path), "/sys/class/net/%s", name);
	snprintf(target, sizeof(target), NVME "/net/%s", name);
	snprintf(environment, sizeof(environment), "SSH_CONNECTION=198.51.100.9 50000 %s 22",
		 address);
	link_to(path, target);
	make_directory(target);
	put("/proc/self/environ", "NO_SSH_CONNECTION=198.51.100.9 50000 198.51.100.1 22");
	put("/proc/self/status", "Name:\tsluice\nPPid:\t88\nUid:\t0\t0\t0\t0\n");
	put("/proc/88/status", "Name:\tsudo\nPPid:\t77\n");
	f = gather("01:00.0");
	cr_expect_not(has_use(&f, CHECK_USE_LOGIN, name, name));
	put("/proc/77/environ", environment);
	f = gather("01:00.0");
	cr_expect(has_use(&f, CHECK_USE_LOGIN, name, name));
}

Test(gather, interrupts_tell_whether_they_are_isolated)
{
	static const struct {
		const char *text;
		enum check_tri isolated;
	} cases[] = {
		{"  1:  0  IR-PCI-MSI-0000:00:02.0  0-edge  x\n", CHECK_YES},
		{"  1:  0  IR-IO-APIC  1-edge  x\n  2: 0 DMAR-MSI 0-edge dmar0\n", CHECK_YES},
		{"  1:  0  PCI-MSIX-0000:00:01.0  0-edge  x\n", CHECK_NO},
		{"  1:  0  IO-APIC  1-edge  x\n", CHECK_NO},
		{" 11:  0  ITS-PCI-MSIX-0000:01:00.0  0 Edge  x\n", CHECK_YES},
		{" 11:  0  ITS-MSI 524288 Edge  x\n", CHECK_YES},
		{" 11:  0  GICv2m-PCI-MSI-0000:01:00.0  0 Edge  x\n", CHECK_NO},
		{" 11:  0  GICv3  27 Level  arch_timer\n", CHECK_UNKNOWN},
		{"", CHECK_UNKNOWN},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put("/proc/interrupts", cases[i].text);
		cr_expect_eq(gather("01:00.0").msi_isolated, cases[i].isolated, "%s",
			     cases[i].text);
	}
}

Test(gather, the_capability_to_lock_memory_is_seen)
{
	put("/proc/self/status", "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n");
	cr_expect(gather("01:00.0").ipc_lock);
	cr_expect(gather("01:00.0").root);
	put("/proc/self/status", "Name:\tx\nUid:\t0\t1000\t0\t0\nCapEff:\tffffffffffffbfff\n");
	cr_expect_not(gather("01:00.0").ipc_lock);
	cr_expect_not(gather("01:00.0").root);
}

Test(gather, the_width_of_vt_d_is_the_smaller_of_its_two_limits)
{
	static const struct {
		const char *cap;
		unsigned width;
	} cases[] = {
		{"1d2078c106f0466\n", 48}, /* MGAW 48, 4-level tables */
		{"1c0000c40660462\n", 39}, /* MGAW 39 */
		{"2f0c00\n", 48},
		{"380800\n", 57},
	};

	put("/sys/devices/virtual/iommu/dmar0/x", "");
	link_to(NVME "/iommu", "/sys/devices/virtual/iommu/dmar0");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put("/sys/devices/virtual/iommu/dmar0/intel-iommu/cap", cases[i].cap);
		cr_expect_eq(gather("01:00.0").iommu_width, cases[i].width, "%s is %u",
			     cases[i].cap, gather("01:00.0").iommu_width);
	}
}

Test(gather, a_virtual_function_knows_its_physical_one)
{
	struct check_facts f;

	make_device("/sys/devices/pci0000:00/0000:02:00.0", "0x020000\n", "0x8086\n", "0x10c9\n",
		    "igb", "5");
	link_to(NVME "/physfn", "/sys/devices/pci0000:00/0000:02:00.0");
	f = gather("01:00.0");
	cr_expect_str_eq(f.physfn, "0000:02:00.0");
	cr_expect_str_eq(f.physfn_driver, "igb");
}

Test(gather, a_device_that_is_not_pci_is_taken_by_its_path)
{
	struct check_facts f;

	make_directory("/sys/devices/platform/svfio-emul.0");
	link_to("/sys/devices/platform/svfio-emul.0/subsystem", "/sys/bus/platform");
	make_vfio("/sys/devices/platform/svfio-emul.0", 9);
	f = gather("/sys/devices/platform/svfio-emul.0");
	cr_expect(f.found);
	cr_expect_not(f.pci);
	cr_expect(f.vfio);
	cr_expect_str_eq(f.cdev.path, "/dev/vfio/devices/vfio9");
}

/* Both are in a group that VFIO made, with the same name; only the one with a node of this name needs no IOMMU. */
Test(gather, an_emulated_device_is_told_from_one_that_lacks_its_iommu)
{
	const char *const mdev = "/sys/devices/virtual/mtty/83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
	char name[256];

	snprintf(name, sizeof(name), "%s/subsystem", mdev);
	link_to(name, "/sys/bus/mdev");
	snprintf(name, sizeof(name), "%s/iommu_group", mdev);
	link_to(name, "/sys/kernel/iommu_groups/7");
	put("/sys/kernel/iommu_groups/7/name", "vfio-noiommu\n");
	put("/proc/self/limits", "");
	make_vfio(mdev, 9);
	cr_expect(gather(mdev).emulated);
	cr_expect_not(gather(mdev).group_noiommu);
	cr_expect_str_eq(first_obstacle(mdev), "");

	make_vfio(NVME, 3);
	put("/sys/kernel/iommu_groups/2/name", "vfio-noiommu\n");
	cr_expect_not(gather("01:00.0").emulated);
	cr_expect(gather("01:00.0").group_noiommu);

	snprintf(name, sizeof(name), "%s/vfio-dev/vfio9/dev", mdev);
	drop(name);
	cr_expect_not(gather(mdev).emulated);
	cr_expect(gather(mdev).group_noiommu);
}

Test(gather, an_empty_host_is_survived)
{
	struct check_report report;
	struct check_facts f;

	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	cr_assert_eq(mkdir(root, 0755), 0);
	f = gather("01:00.0");
	cr_expect_not(f.found);
	cr_expect_eq(check_judge(arena, &f, &report), 0);
	cr_expect_eq(report.obstacles, 1);
}

/* ---- the list -------------------------------------------------------------------------------- */

static const struct check_listed *listed(const struct check_list_of *list, const char *address)
{
	for (size_t i = 0; i < list->count; i++) {
		if (strcmp(list->devices[i].facts.address, address) == 0)
			return &list->devices[i];
	}
	return NULL;
}

Test(gather, the_list_has_what_a_guest_could_use_and_all_has_everything)
{
	struct check_list_of list;
	char *text = NULL;
	size_t size;
	FILE *out;
	json_t *json;

	make_device("/sys/devices/pci0000:00/0000:02:00.0", "0x020000\n", "0x8086\n", "0x10c9\n",
		    NULL, "5");
	make_vfio("/sys/devices/pci0000:00/0000:02:00.0", 1);
	put("/sys/devices/pci0000:00/0000:02:00.0/resource", "0x1000 0x1fff 0x200\n");
	put(NVME "/resource", "0x1000 0x1fff 0x200\n");
	cr_assert_eq(check_list_gather(arena, root, false, &list), 0);
	cr_expect_eq(list.count, 2);
	cr_expect_null(listed(&list, "0000:00:01.0"));
	cr_assert_not_null(listed(&list, "0000:01:00.0"));
	cr_expect_eq(listed(&list, "0000:01:00.0")->state, CHECK_NEEDS_BIND);
	cr_assert_not_null(listed(&list, "0000:02:00.0"));
	cr_expect_eq(listed(&list, "0000:02:00.0")->state, CHECK_READY);

	out = open_memstream(&text, &size);
	check_list_print(out, &list, false);
	fclose(out);
	cr_expect_str_eq(
		text,
		"ADDRESS       CLASS                ID         DRIVER    GROUP  STATE\n"
		"0000:01:00.0  NVMe controller      1b36:0010  nvme      2      needs bind\n"
		"0000:02:00.0  Ethernet controller  8086:10c9  vfio-pci  5      ready\n"
		"No launch with one of these will work on this host yet: alice may lock 8 MiB of "
		"memory (ulimit "
		"-l), and the guest's 512 MiB must be locked\n"
		"\n"
		"On any host --vfio also takes\n"
		"  soft:reference  a PCI Express device that sluice makes: DMA, MSI-X, memory, "
		"PASIDs, migration\n"
		"  user:PATH       a device that another process serves at the UNIX socket PATH "
		"by vfio-user, as sluice serve does\n");
	free(text);

	json = check_list_json(&list);
	cr_assert_not_null(json);
	cr_expect_eq(json_array_size(json_object_get(json, "devices")), 2);
	cr_expect_str_eq(json_string_value(json_object_get(
				 json_array_get(json_object_get(json, "devices"), 1), "state")),
			 "ready");
	cr_expect_str_eq(json_string_value(json_object_get(json, "host_obstacle_code")),
			 "memlock.small");
	cr_expect_eq(json_array_size(json_object_get(json, "named")), 2);
	cr_expect_str_eq(json_string_value(json_object_get(
				 json_array_get(json_object_get(json, "named"), 0), "name")),
			 "soft:reference");
	cr_expect_str_eq(
		json_string_value(json_array_get(
			json_object_get(json_array_get(json_object_get(json, "named"), 1), "keys"),
			0)),
		"timeout");
	json_decref(json);

	cr_assert_eq(check_list_gather(arena, root, true, &list), 0);
	cr_expect_eq(list.count, 3);
	cr_expect_eq(listed(&list, "0000:00:01.0")->state, CHECK_BLOCKED);
}
