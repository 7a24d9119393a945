/* SPDX-License-Identifier: Apache-2.0 */
/* VFIO_DEVICE_FEATURE: PROBE, GET and SET of every number; low power; ioeventfds. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <linux/pci_regs.h>

#include "tests/contract/contract.h"

#define GET   VFIO_DEVICE_FEATURE_GET
#define SET   VFIO_DEVICE_FEATURE_SET
#define PROBE VFIO_DEVICE_FEATURE_PROBE

/* What the core answers: the operations of each feature, and the smallest payload of a GET or SET. */
static const struct core_feature {
	uint32_t number;
	uint32_t needs; /* HAS_* */
	uint32_t operations;
	uint32_t payload;
	int absent; /* the answer without it */
} core_features[] = {
	{VFIO_DEVICE_FEATURE_MIGRATION, HAS_MIGRATION, GET, 8, -ENOTTY},
	{VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, HAS_MIGRATION, GET | SET, 8, -ENOTTY},
	{VFIO_DEVICE_FEATURE_DMA_LOGGING_START, HAS_LOG, SET, 24, -ENOTTY},
	{VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, HAS_LOG, SET, 0, -ENOTTY},
	{VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, HAS_LOG, GET, 32, -ENOTTY},
	{VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, HAS_MIGRATION, GET, 8, -ENOTTY},
	{VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, HAS_PRE_COPY, SET, 0, -EINVAL},
};

#define CORE_FEATURES (sizeof(core_features) / sizeof(core_features[0]))

static void the_header_is_checked(struct run *run)
{
	struct vfio_device_feature header = {.argsz = 7, .flags = PROBE | 1};

	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_FEATURE, NULL), -EFAULT,
		  "no structure");
	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_FEATURE, &header), -EINVAL,
		  "a structure of 7 bytes");
	header = (struct vfio_device_feature){.argsz = 8, .flags = 1u << 19 | PROBE | 1};
	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_FEATURE, &header), -EINVAL,
		  "an unknown flag");
	for (uint32_t number = 0; number < 20; number++)
		expect_rc(run, feature(run, GET | SET | number, NULL, 0), -EINVAL,
			  "GET and SET of %u at once", number);
}

/* vfio_check_feature() for what the core handles, with every set of flags. */
static void probe_get_and_set_as_in_the_kernel(struct run *run)
{
	for (size_t i = 0; i < CORE_FEATURES; i++) {
		const struct core_feature *f = &core_features[i];
		const bool has = run->target->has & f->needs;
		const uint32_t sets[] = {0, GET, SET, GET | SET};

		for (size_t k = 0; k < 4; k++) {
			const int wanted = !has                       ? f->absent
					   : sets[k] & ~f->operations ? -EINVAL
								      : 0;

			expect_rc(run, feature(run, PROBE | sets[k] | f->number, NULL, 0), wanted,
				  "PROBE%s%s of %u", sets[k] & GET ? " GET" : "",
				  sets[k] & SET ? " SET" : "", f->number);
		}
		expect_rc(run, feature(run, f->number, NULL, 0), has ? -EINVAL : f->absent,
			  "neither of %u", f->number);
		for (size_t k = 1; k < 3; k++) {
			/* What would do something is left to the tests of it. */
			if (has && (f->operations & sets[k]) && !f->payload)
				continue;
			expect_rc(run,
				  feature(run, sets[k] | f->number, (uint8_t[32]){0},
					  f->payload ? f->payload - 1 : 0),
				  has ? -EINVAL : f->absent, "%s of %u with too little room",
				  sets[k] & GET ? "GET" : "SET", f->number);
		}
	}
}

/* What the driver handles: present in one way or not at all. */
static void the_drivers_own_are_consistent(struct run *run)
{
	static const uint32_t numbers[] = {
		VFIO_DEVICE_FEATURE_PCI_VF_TOKEN,
		VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY,
		VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP,
		VFIO_DEVICE_FEATURE_LOW_POWER_EXIT,
		VFIO_DEVICE_FEATURE_BUS_MASTER,
		VFIO_DEVICE_FEATURE_DMA_BUF,
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		const int any = feature(run, PROBE | numbers[i], NULL, 0);
		const int get = feature(run, PROBE | GET | numbers[i], NULL, 0);
		const int set = feature(run, PROBE | SET | numbers[i], NULL, 0);
		const int both = feature(run, PROBE | GET | SET | numbers[i], NULL, 0);

		if (any == -ENOTTY) {
			expect(run, get == -ENOTTY && set == -ENOTTY && both == -ENOTTY,
			       "%u is absent, and GET says %d, SET %d, both %d", numbers[i], get,
			       set, both);
			continue;
		}
		expect_rc(run, any, 0, "PROBE of %u", numbers[i]);
		expect(run, !get || !set, "%u is there, but GET says %d and SET %d", numbers[i],
		       get, set);
		expect_rc(run, both, get || set ? -EINVAL : 0, "PROBE of both of %u", numbers[i]);
	}
}

static void unknown_numbers_are_enotty(struct run *run)
{
	static const uint32_t numbers[] = {14, 15, 100, 0x7fff, 0xffff};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		uint8_t payload[32] = {0};

		expect_rc(run, feature(run, PROBE | numbers[i], NULL, 0), -ENOTTY, "PROBE of %u",
			  numbers[i]);
		expect_rc(run, feature(run, GET | numbers[i], payload, sizeof(payload)), -ENOTTY,
			  "GET of %u", numbers[i]);
		expect_rc(run, feature(run, SET | numbers[i], payload, sizeof(payload)), -ENOTTY,
			  "SET of %u", numbers[i]);
	}
	expect_rc(run, vfio_device_ioctl(run->vdev, _IO(';', 250), (uint8_t[64]){64}),
		  answer(run, "command", -ENOTTY), "an unknown command");
}

static void what_is_declared_absent_is_absent(struct run *run)
{
	const uint32_t has = run->target->has;
	struct vfio_device_feature_migration migration = {0};
	const bool migrates =
		!feature(run, GET | VFIO_DEVICE_FEATURE_MIGRATION, &migration, sizeof(migration));
	struct vfio_irq_info info;

	expect_rc(run, migrates, !!(has & HAS_MIGRATION), "migration");
	expect_rc(run, !!(migration.flags & VFIO_MIGRATION_P2P), !!(has & HAS_P2P), "P2P");
	expect_rc(run, !!(migration.flags & VFIO_MIGRATION_PRE_COPY), !!(has & HAS_PRE_COPY),
		  "PRE_COPY");
	expect_rc(run, !feature(run, PROBE | SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START, NULL, 0),
		  !!(has & HAS_LOG), "DMA logging");
	expect_rc(run, !feature(run, PROBE | SET | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, NULL, 0),
		  !!(has & HAS_LOW_POWER), "low power");
	expect_rc(run, !irq_info(run, VFIO_PCI_MSI_IRQ_INDEX, &info) && info.count,
		  !!(has & HAS_MSI), "MSI");
	expect_rc(run, !irq_info(run, VFIO_PCI_MSIX_IRQ_INDEX, &info) && info.count,
		  !!(has & HAS_MSIX), "MSI-X");
	expect_rc(run, !irq_info(run, VFIO_PCI_REQ_IRQ_INDEX, &info) && info.count,
		  !!(has & HAS_REQ), "REQ");
	expect_rc(run, run->vdev->max_pasids > 0, !!(has & HAS_PASID), "PASIDs");
	expect_rc(run, run->vdev->mig_ops != NULL, !!(has & HAS_MIGRATION), "mig_ops");
	expect_rc(run, run->vdev->log_ops != NULL, !!(has & HAS_LOG), "log_ops");
	expect_rc(run, run->vdev->migration_flags, (long)migration.flags, "migration_flags");
	expect_rc(run, run->vdev->ops->request != NULL, !!(has & HAS_REQUEST_OP), "ops.request");
	expect_rc(run, !irq_info(run, VFIO_PCI_ERR_IRQ_INDEX, &info) && info.count,
		  answer(run, "err", !!(has & HAS_ERR)), "ERR");
	if (!(has & HAS_IOEVENTFD)) {
		struct vfio_device_ioeventfd ioeventfd = {
			.argsz = sizeof(ioeventfd),
			.flags = VFIO_DEVICE_IOEVENTFD_32,
			.offset = region(run, run->target->bar).offset,
			.fd = -1,
		};

		expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_IOEVENTFD, &ioeventfd),
			  -ENOTTY, "an ioeventfd");
	}
	if (!(has & HAS_HOT_RESET)) {
		struct vfio_pci_hot_reset_info reset_info = {.argsz = sizeof(reset_info)};
		struct vfio_pci_hot_reset reset = {.argsz = sizeof(reset)};

		expect_rc(run,
			  vfio_device_ioctl(run->vdev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
					    &reset_info),
			  -ENOTTY, "who is reset along");
		expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_PCI_HOT_RESET, &reset),
			  -ENOTTY, "a hot reset");
	}
	if (!(has & HAS_MMAP)) {
		bool mappable = false;

		for (uint32_t i = 0; i <= VFIO_PCI_BAR5_REGION_INDEX; i++)
			mappable |= (region(run, i).flags & VFIO_REGION_INFO_FLAG_MMAP) != 0;
		expect_rc(run, mappable, answer(run, "mmap", 0), "BARs that can be mapped");
	}
}

/* Does the host say that it sleeps? It is put to sleep some time after the call that allowed it. */
static bool sleeps(void *ctx)
{
	const struct run *run = ctx;
	char path[96], text[16] = "";
	ssize_t length = -1;
	int fd;

	snprintf(path, sizeof(path), "/sys/class/vfio-dev/vfio%u/device/power/runtime_status",
		 run->vdev->index);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		length = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	return length > 0 && !strncmp(text, "suspended", 9);
}

/* Who asked for it is told once, and has left the state by that. */
static void told_of_the_wakeup(struct run *run, int fd)
{
	const uint32_t vendor = config_read(run, PCI_VENDOR_ID, 4);
	struct vfio_device_low_power_entry_with_wakeup wakeup = {.wakeup_eventfd = fd};
	const uint32_t enter = SET | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP;
	eventfd_t times = 0;

	for (int i = 0; i < 2; i++) {
		expect_rc(run, feature(run, enter, &wakeup, sizeof(wakeup)), 0,
			  "entry with wakeup");
		expect(run, eventfd_read(fd, &times) < 0, "told before it wakes");
		step(run, "waiting for it to sleep");
		if (run->target->has & HAS_NODE)
			expect(run, wait_until(sleeps, run), "it does not go to sleep");
		expect_rc(run, config_read(run, PCI_VENDOR_ID, 4), vendor, "a read wakes it");
		expect(run, !eventfd_read(fd, &times) && times == 1, "told %llu times",
		       (unsigned long long)times);
		expect_rc(run, config_read(run, PCI_VENDOR_ID, 4), vendor, "another read");
		expect(run, eventfd_read(fd, &times) < 0, "told again");
	}
}

static void low_power_is_entered_and_left(struct run *run)
{
	const uint32_t exit_it = SET | VFIO_DEVICE_FEATURE_LOW_POWER_EXIT;
	const uint32_t enter = SET | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY;
	const uint32_t with_wakeup = SET | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP;
	struct vfio_device_low_power_entry_with_wakeup wakeup = {
		.wakeup_eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	const uint32_t vendor = config_read(run, PCI_VENDOR_ID, 4);

	expect_rc(run, feature(run, PROBE | GET | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, NULL, 0),
		  -EINVAL, "PROBE of GET");
	expect_rc(run, feature(run, enter, NULL, 0), 0, "entry");
	expect_rc(run, feature(run, enter, NULL, 0), -EINVAL, "entry again");
	expect_rc(run, config_read(run, PCI_VENDOR_ID, 4), vendor, "config space wakes it");
	expect_rc(run, feature(run, exit_it, NULL, 0), 0, "exit");
	expect_rc(run, feature(run, exit_it, NULL, 0), 0, "exit again");
	if (answer(run, "wakeup", 0))
		expect_rc(run, feature(run, with_wakeup, &wakeup, sizeof(wakeup)),
			  answer(run, "wakeup", 0), "entry with wakeup");
	else
		told_of_the_wakeup(run, wakeup.wakeup_eventfd);
	expect_rc(run, feature(run, exit_it, NULL, 0), 0, "exit");
	close(wakeup.wakeup_eventfd);
	wakeup.wakeup_eventfd = -1;
	expect_rc(run, feature(run, with_wakeup, &wakeup, sizeof(wakeup)),
		  answer(run, "wakeup", -EINVAL), "entry with a wakeup that is none");
	expect_rc(run, config_read(run, PCI_VENDOR_ID, 4), vendor, "awake again");
}

static bool written(void *ctx)
{
	struct run *run = ctx;
	uint32_t value = 0;

	region_read(run, run->target->map_bar, 16, &value, 4);
	return value == 0x600dca11;
}

static void a_doorbell_can_be_an_eventfd(struct run *run)
{
	const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	const uint32_t bar = run->target->has & HAS_MMAP ? run->target->map_bar : run->target->bar;
	const struct vfio_region_info info = region(run, bar);
	struct vfio_device_ioeventfd call = {
		.argsz = sizeof(call),
		.flags = VFIO_DEVICE_IOEVENTFD_32,
		.offset = info.offset + 16,
		.data = 0x600dca11,
		.fd = fd,
	};
	const unsigned ioeventfd = VFIO_DEVICE_IOEVENTFD;
	struct vfio_device_ioeventfd bad = call;

	command(run, PCI_COMMAND_MEMORY, 0);
	expect_rc(run, vfio_device_ioctl(run->vdev, ioeventfd, NULL), -EFAULT, "no structure");
	bad.argsz = 8;
	expect_rc(run, vfio_device_ioctl(run->vdev, ioeventfd, &bad), -EINVAL, "too short");
	bad = call;
	bad.flags = VFIO_DEVICE_IOEVENTFD_32 | VFIO_DEVICE_IOEVENTFD_16;
	expect_rc(run, vfio_device_ioctl(run->vdev, ioeventfd, &bad), -EINVAL, "two sizes");
	bad.flags = 1u << 5;
	expect_rc(run, vfio_device_ioctl(run->vdev, ioeventfd, &bad), -EINVAL, "an unknown flag");
	bad = call;
	bad.offset = region(run, VFIO_PCI_CONFIG_REGION_INDEX).offset;
	expect_rc(run, vfio_device_ioctl(run->vdev, ioeventfd, &bad), -EINVAL, "config space");
	bad.offset = info.offset + info.size;
	expect_rc(run, vfio_device_ioctl(run->vdev, ioeventfd, &bad), -EINVAL, "beyond the BAR");
	bad = call;
	bad.fd = -1;
	expect_rc(run, vfio_device_ioctl(run->vdev, ioeventfd, &bad), -ENODEV,
		  "taking off what is not there");
	bad.fd = -2;
	expect_rc(run, vfio_device_ioctl(run->vdev, ioeventfd, &bad), -EINVAL, "descriptor -2");

	expect_rc(run, vfio_device_ioctl(run->vdev, ioeventfd, &call), 0, "put on");
	expect_rc(run, vfio_device_ioctl(run->vdev, ioeventfd, &call), -EEXIST, "put on again");
	if (run->target->has & HAS_MMAP) {
		eventfd_write(fd, 1);
		step(run, "waiting for the write by eventfd");
		wait_until(written, run);
	}
	bad.fd = -1;
	expect_rc(run, vfio_device_ioctl(run->vdev, ioeventfd, &bad), 0, "taken off");
	expect_rc(run, vfio_device_ioctl(run->vdev, ioeventfd, &bad), -ENODEV, "taken off again");
	close(fd);
}

const struct contract_test features_tests[] = {
	{"features.the_header_is_checked", "vfio_device_ops.device_feature", 0, 0,
	 the_header_is_checked},
	{"features.probe_get_and_set_as_in_the_kernel",
	 "vfio_device_ops.device_feature, vfio_check_feature", 0, 0,
	 probe_get_and_set_as_in_the_kernel},
	{"features.the_drivers_own_are_consistent", "vfio_device_ops.device_feature", 0, 0,
	 the_drivers_own_are_consistent},
	{"features.unknown_numbers_are_enotty",
	 "vfio_device_ops.device_feature, vfio_device_ops.ioctl", 0, 0, unknown_numbers_are_enotty},
	{"features.what_is_declared_absent_is_absent",
	 "vfio_device.mig_ops, vfio_device.log_ops, vfio_device.migration_flags, "
	 "vfio_device.max_pasids",
	 0, 0, what_is_declared_absent_is_absent},
	{"features.low_power_is_entered_and_left", "vfio_device_ops.device_feature", HAS_LOW_POWER,
	 0, low_power_is_entered_and_left},
	{"features.a_doorbell_can_be_an_eventfd", "vfio_device_ops.ioctl", HAS_IOEVENTFD, 0,
	 a_doorbell_can_be_an_eventfd},
	{0},
};
