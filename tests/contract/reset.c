/* SPDX-License-Identifier: Apache-2.0 */
/* VFIO_DEVICE_RESET, the function level reset of PCI Express, and the hot reset of a set. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <linux/pci_regs.h>

#include "tests/contract/contract.h"

/* The device answers, and its registers have their first values again. */
static void check_fresh(struct run *run, const char *after)
{
	const struct driver *driver = run->target->driver;
	uint32_t value = 1;

	expect(run, (config_read(run, PCI_VENDOR_ID, 4) & 0xffff) != 0xffff, "%s: no vendor id",
	       after);
	if (!driver)
		return;
	command(run, PCI_COMMAND_MEMORY, 0);
	expect_rc(run, driver->get(run, &value), 0, "%s: a register", after);
	expect_rc(run, value, 0, "%s: a register that was written before", after);
}

static void write_something(struct run *run)
{
	const struct driver *driver = run->target->driver;
	uint32_t value = 0;

	command(run, PCI_COMMAND_MEMORY, 0);
	if (!driver)
		return;
	expect_rc(run, driver->put(run, 0x1234), 0, "a write of a register");
	expect_rc(run, driver->get(run, &value), 0, "a read of a register");
	expect_rc(run, value, 0x1234, "the register");
}

static void the_device_is_fresh_after_it(struct run *run)
{
	write_something(run);
	expect_rc(run, device_reset(run), 0, "reset");
	check_fresh(run, "after the reset");
	expect(run, run->vdev->reset_method && !strcmp(run->vdev->reset_method, "device"),
	       "the method is %s", run->vdev->reset_method ? run->vdev->reset_method : "not noted");
	expect_rc(run, device_reset(run), 0, "another reset");
}

/* The user's eventfds and the attachment outlive the reset (vfio_pci_core.c writes the messages anew). */
static void vectors_and_attachment_stay(struct run *run)
{
	const uint32_t index =
		run->target->has & HAS_MSIX ? VFIO_PCI_MSIX_IRQ_INDEX : VFIO_PCI_MSI_IRQ_INDEX;
	const int32_t fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	eventfd_t value;

	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, index, 0, 1, &fd, 4), 0, "a vector");
	expect_rc(run, device_reset(run), 0, "reset");
	expect_rc(run, set_irqs(run, TRIGGER_NONE, index, 0, 1, NULL, 0), 0, "the loopback");
	expect(run, !eventfd_read(fd, &value), "the vector is lost");
	expect(run, run->vdev->iommufd_attached, "the attachment is lost");
	expect_rc(run, ioas_destroy(run->space), -EBUSY, "destroying the space");
	close(fd);
}

static void function_level_reset_by_config(struct run *run)
{
	const uint32_t cap = config_capability(run, PCI_CAP_ID_EXP);
	uint32_t control;

	if (!expect(run, cap, "no PCI Express capability"))
		return;
	if (!(config_read(run, cap + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR)) {
		expect(run, answer(run, "flr", 1) == 0, "no function level reset");
		return;
	}
	write_something(run);
	control = config_read(run, cap + PCI_EXP_DEVCTL, 2);
	config_write(run, cap + PCI_EXP_DEVCTL, control | PCI_EXP_DEVCTL_BCR_FLR, 2);
	expect(run, !(config_read(run, cap + PCI_EXP_DEVCTL, 2) & PCI_EXP_DEVCTL_BCR_FLR),
	       "the bit reads as set");
	check_fresh(run, "after the function level reset");
}

/* The device that is reset together with it, opened by the same VM; NULL: there is none. */
static struct vfio_device *open_sibling(struct run *run)
{
	struct vfio_device *sibling;

	if (!(run->target->has & HAS_SIBLING))
		return NULL;
	sibling = other_make(run);
	if (sibling)
		expect_rc(run, device_open(run, sibling), 0, "open of the sibling");
	return sibling;
}

static void close_sibling(struct vfio_device *sibling)
{
	if (sibling)
		device_give_back(sibling);
}

static void hot_reset_names_the_set(struct run *run)
{
	struct vfio_pci_hot_reset_info info = {.argsz = sizeof(info)}, *whole;
	const size_t size = sizeof(info) + 16 * sizeof(struct vfio_pci_dependent_device);
	const unsigned command_nr = VFIO_DEVICE_GET_PCI_HOT_RESET_INFO;
	struct vfio_device *sibling = open_sibling(run);

	expect_rc(run, vfio_device_ioctl(run->vdev, command_nr, NULL), -EFAULT, "no structure");
	info.argsz = sizeof(info) - 1;
	expect_rc(run, vfio_device_ioctl(run->vdev, command_nr, &info), -EINVAL,
		  "a structure that is too short");
	info.argsz = sizeof(info);
	expect_rc(run, vfio_device_ioctl(run->vdev, command_nr, &info), -ENOSPC,
		  "no room for devices");
	expect(run, info.count >= 1 && info.count <= 16, "%u devices", info.count);
	whole = calloc(1, size);
	whole->argsz = (uint32_t)size;
	expect_rc(run, vfio_device_ioctl(run->vdev, command_nr, whole), 0, "with room");
	expect_rc(run, whole->count, info.count, "the count");
	expect(run, whole->flags & VFIO_PCI_HOT_RESET_FLAG_DEV_ID, "flags %#x", whole->flags);
	expect(run, whole->flags & VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED, "not all ours: flags %#x",
	       whole->flags);
	if (whole->count == 1)
		expect_rc(run, whole->devices[0].devid, run->vdev->iommufd_devid, "the device id");
	if (sibling && expect_rc(run, whole->count, 2, "the devices of the set")) {
		const uint32_t first = whole->devices[0].devid, second = whole->devices[1].devid;

		expect(run,
		       (first == run->vdev->iommufd_devid && second == sibling->iommufd_devid) ||
			       (second == run->vdev->iommufd_devid &&
				first == sibling->iommufd_devid),
		       "the device ids are %u and %u", first, second);
	}
	free(whole);
	close_sibling(sibling);
}

static void hot_reset_is_checked(struct run *run)
{
	struct vfio_pci_hot_reset reset = {.argsz = sizeof(reset) - 1};
	const unsigned command_nr = VFIO_DEVICE_PCI_HOT_RESET;

	expect_rc(run, vfio_device_ioctl(run->vdev, command_nr, NULL), -EFAULT, "no structure");
	expect_rc(run, vfio_device_ioctl(run->vdev, command_nr, &reset), -EINVAL,
		  "a structure that is too short");
	reset.argsz = sizeof(reset);
	reset.flags = 1;
	expect_rc(run, vfio_device_ioctl(run->vdev, command_nr, &reset), -EINVAL,
		  "an unknown flag");
	reset.flags = 0;
	reset.count = 1;
	expect_rc(run, vfio_device_ioctl(run->vdev, command_nr, &reset), -EINVAL,
		  "a group descriptor of a device that is bound by itself");
}

static void hot_reset_resets(struct run *run)
{
	struct vfio_pci_hot_reset reset = {.argsz = sizeof(reset)};
	struct vfio_device *sibling = open_sibling(run);

	write_something(run);
	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_PCI_HOT_RESET, &reset), 0,
		  "hot reset");
	check_fresh(run, "after the hot reset");
	expect(run, run->vdev->reset_method && !strcmp(run->vdev->reset_method, "hot"),
	       "the method is not noted");
	close_sibling(sibling);
}

/* Who has not all of them resets none of them. */
static void hot_reset_is_of_the_whole_set(struct run *run)
{
	struct vfio_pci_hot_reset reset = {.argsz = sizeof(reset)};
	struct vfio_device *vdev = run->vdev, *sibling;
	union {
		struct vfio_pci_hot_reset_info info;
		uint8_t bytes[sizeof(struct vfio_pci_hot_reset_info) +
			      16 * sizeof(struct vfio_pci_dependent_device)];
	} set = {.info.argsz = sizeof(set)};
	uint32_t value = 0;

	write_something(run);
	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &set), 0,
		  "info");
	expect(run, !(set.info.flags & VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED),
	       "all ours, it says, while the sibling is not open");
	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_PCI_HOT_RESET, &reset), -EINVAL,
		  "hot reset without the sibling");
	expect_rc(run, run->target->driver->get(run, &value), 0, "a register");
	expect_rc(run, value, 0x1234, "a register after a refused reset");

	sibling = open_sibling(run);
	if (!sibling)
		return;
	run->vdev = sibling;
	write_something(run);
	run->vdev = vdev;
	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_PCI_HOT_RESET, &reset), 0, "hot reset");
	check_fresh(run, "after the hot reset");
	run->vdev = sibling;
	check_fresh(run, "the sibling, after the hot reset of the other");
	run->vdev = vdev;
	close_sibling(sibling);
}

const struct contract_test reset_tests[] = {
	{"reset.the_device_is_fresh_after_it", "vfio_device_ops.ioctl, vfio_device.reset_method", 0,
	 0, the_device_is_fresh_after_it},
	{"reset.vectors_and_attachment_stay", "vfio_device_ops.ioctl", 0, 0,
	 vectors_and_attachment_stay},
	{"reset.function_level_reset_by_config", "vfio_device_ops.write", 0, 0,
	 function_level_reset_by_config},
	{"reset.hot_reset_names_the_set", "vfio_device_ops.ioctl, vfio_device_set.set_id",
	 HAS_HOT_RESET, 0, hot_reset_names_the_set},
	{"reset.hot_reset_is_checked", "vfio_device_ops.ioctl", HAS_HOT_RESET, 0,
	 hot_reset_is_checked},
	{"reset.hot_reset_resets", "vfio_device_ops.ioctl, vfio_device.reset_method", HAS_HOT_RESET,
	 0, hot_reset_resets},
	{"reset.hot_reset_is_of_the_whole_set", "vfio_device_ops.ioctl",
	 HAS_HOT_RESET | HAS_SIBLING | HAS_DRIVER, 0, hot_reset_is_of_the_whole_set},
	{0},
};
